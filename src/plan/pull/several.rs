//! Several sources on one machine: one argument above all of them, and what is asked about them.
//!
//! With a list of names, rsync accepts only one source. Therefore all names are below the deepest directory that contains all sources (or below the module of a
//! daemon), and the part of a path that only leads to a source is written as in `DIR/./NAME`.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::{FarRoot, Placed, Way};
use crate::endpoint::{Form, Source, Target};
use crate::entry::Kind;
use crate::rsync::command::{FarSource, Invocation};
use crate::rsync::exit;
use crate::rsync::listing::{self, Line};
use crate::rsync::messages::{self, About};
use crate::scan::{Root, Weight};
use crate::supervise::{Ended, Stream};

use super::super::{SingleSource, SourceTree};

/// With a list of names, rsync needs a destination even if it only lists.
const NOWHERE: &str = "/nonexistent/";
/// ENOENT as rsync prints it.
const NOT_FOUND: u32 = 2;

/// How several sources are named together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Together {
    /// The common argument.
    word: OsString,
    /// The directory that it names on the other machine.
    top: PathBuf,
}

impl Together {
    /// `None` if no single argument leads to all of them: they are in several modules, or some paths begin at the root and others at the login directory.
    pub fn of(sources: &[Source]) -> Option<Together> {
        let first = sources.first()?;
        let (base, _) = first.there();
        if let Target::Daemon { module, .. } = first.target() {
            let is_there =
                |source: &Source| matches!(source.target(), Target::Daemon { module: its, .. } if its == module);
            let word = OsString::from_vec([first.machine(), module.as_bytes(), b"/"].concat());
            return sources.iter().all(is_there).then_some(Together { word, top: PathBuf::new() });
        }
        let mut top = base.to_owned();
        for source in sources {
            let (base, _) = source.there();
            if base.is_absolute() != top.is_absolute() {
                return None;
            }
            while !base.starts_with(&top) {
                top.pop();
            }
        }
        let mut word = [first.machine(), top.as_os_str().as_bytes()].concat();
        match top.as_os_str().as_bytes() {
            b"" => word.push(b'.'),
            b"/" => {}
            _ => word.push(b'/'),
        }
        Some(Together { word: OsString::from_vec(word), top })
    }

    /// The path of a directory below the argument.
    fn below<'a>(&self, base: &'a Path) -> &'a [u8] {
        let below = base.strip_prefix(&self.top).unwrap_or(base).as_os_str().as_bytes();
        below.strip_prefix(b"/").unwrap_or(below)
    }

    /// The prefix for a source that is copied by its name.
    fn prefix(&self, base: &Path) -> Vec<u8> {
        match self.below(base) {
            b"" => b"/./".to_vec(),
            below => [b"/", below, b"/./"].concat(),
        }
    }
}

/// Whether two sources copy the same name to DEST, as far as their paths tell.
pub(in super::super) fn share_a_name(sources: &[Source]) -> bool {
    let mut names: Vec<Option<&OsStr>> = sources.iter().map(Source::name).collect();
    names.sort();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

/// What was found out about several sources.
pub(super) struct Found<'a> {
    pub placed: Placed,
    /// The sources that are directories.
    pub roots: Vec<FarRoot>,
    pub is: Is,
    pub missing: Vec<&'a Source>,
    /// What a daemon printed.
    pub greeting: Vec<Vec<u8>>,
}

/// Properties of the sources that the rules check.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Is {
    pub several: bool,
    pub file: bool,
    pub link: bool,
    pub same_name: bool,
    /// The permissions of the source that gives its attributes to DEST.
    pub contents: Option<u32>,
}

/// Asks rsync what each source is; `None` if it does not answer for all of them.
pub(super) fn look<'a>(way: &Way<'_>, together: &Together, sources: &'a [Source]) -> Option<Found<'a>> {
    let (named, contents): (Vec<&Source>, Vec<&Source>) = sources.iter().partition(|one| one.form() == Form::Named);
    let Named { lines, said, greeting } = ask_named(way, together, &named)?;
    let of_contents = match contents[..] {
        [] => None,
        [one] => Some((one, ask_contents(way, &sources[0], one, &named)?)),
        // Several sources would be copied to DEST itself.
        _ => return None,
    };
    let mut is = Is::default();
    let (mut trees, mut singles, mut roots, mut missing) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let below = of_contents.as_ref().map(|(source, _)| together.below(source.there().0).to_vec());
    for source in sources {
        let (base, name) = source.there();
        let Some(name) = name else {
            let (_, contents) = of_contents.as_ref()?;
            is.contents = Some(contents.line.mode);
            is.same_name |= contents.meets;
            trees.push(SourceTree {
                root: Root { base: base.to_owned(), name: None },
                prefix: b"./".to_vec(),
                above: Vec::new(),
            });
            roots.push(FarRoot::of(source, contents.typed.clone()));
            continue;
        };
        let Some((line, typed)) = lines.get(name.as_bytes()) else {
            missing.push(source);
            continue;
        };
        let (prefix, name) = (together.prefix(base), name.to_owned());
        if line.kind == Kind::Dir {
            let root = Root { base: base.to_owned(), name: Some(name) };
            trees.push(SourceTree { root, prefix, above: Vec::new() });
            roots.push(FarRoot::of(source, typed.clone()));
        } else {
            is.file = true;
            is.link |= line.kind == Kind::Symlink;
            let bytes = if line.kind == Kind::File { line.size } else { 0 };
            singles.push(SingleSource { prefix, base: base.to_owned(), name, weight: Weight { entries: 1, bytes } });
        }
    }
    is.several = trees.len() + singles.len() > 1;
    let source = FarSource { word: together.word.clone(), below: below.unwrap_or_default(), enter: None };
    Some(Found { placed: Placed { source, trees, singles, missing: Vec::new(), said }, roots, is, missing, greeting })
}

impl Found<'_> {
    /// The result without the answers. Missing sources are listed as the user is told of them.
    pub fn placed(self) -> (Placed, Vec<FarRoot>) {
        let why = io::ErrorKind::NotFound;
        let missing = self.missing.iter().map(|source| (source.original().to_owned(), why)).collect();
        (Placed { missing, ..self.placed }, self.roots)
    }
}

/// The lines of a listing by the names in them, parsed and as printed.
pub(super) type Lines = HashMap<Vec<u8>, (Line, Vec<u8>)>;

/// The sources that are copied by their names.
struct Named {
    lines: Lines,
    /// What rsync printed about those that do not exist.
    said: Vec<Vec<u8>>,
    greeting: Vec<Vec<u8>>,
}

fn ask_named(way: &Way<'_>, together: &Together, named: &[&Source]) -> Option<Named> {
    let mut input = Vec::new();
    for source in named {
        let (base, name) = source.there();
        let far = FarSource { word: OsString::new(), below: Vec::new(), enter: None };
        input.extend(far.name(&[&together.prefix(base), name?.as_bytes()].concat()));
        input.push(0);
    }
    let options = ["-d", "-R", "--no-implied-dirs", "--from0", "--files-from=-"];
    let Answer { lines, said, greeting, ended } = ask(way, &options, together.word.clone(), input)?;
    let said: Vec<Vec<u8>> = said.into_iter().filter(|line| line.starts_with(b"rsync: ")).collect();
    let is_missing = |line: &Vec<u8>| {
        messages::read(line).is_some_and(|it| it.about == About::LookedUp && it.errno == Some(NOT_FOUND))
    };
    let all_told = lines.len() + said.len() == named.len() && said.iter().all(is_missing);
    let expected = if said.is_empty() { exit::OK } else { exit::PARTIAL };
    (all_told && ended.code() == expected).then_some(Named { lines, said, greeting })
}

/// The source whose contents are copied.
struct Contents {
    line: Line,
    typed: Vec<u8>,
    /// It contains an entry with the name of another source.
    meets: bool,
}

fn ask_contents(way: &Way<'_>, first: &Source, source: &Source, named: &[&Source]) -> Option<Contents> {
    let mut options: Vec<OsString> = vec!["-d".into()];
    for name in named.iter().filter_map(|source| source.name()) {
        let mut option = OsString::from("--include=/");
        option.push(name);
        options.push(option);
    }
    options.push("--exclude=*".into());
    let Answer { mut lines, ended, .. } = ask(way, &options, super::whole_word(first, source), Vec::new())?;
    let (line, typed) = lines.remove(&b"."[..])?;
    let is_answer = ended.code() == exit::OK && line.kind == Kind::Dir;
    is_answer.then_some(Contents { line, typed, meets: !lines.is_empty() })
}

/// What rsync listed, what else it printed, and how it ended.
pub(super) struct Answer {
    pub lines: Lines,
    pub said: Vec<Vec<u8>>,
    greeting: Vec<Vec<u8>>,
    pub ended: Ended,
}

pub(super) fn ask(way: &Way<'_>, options: &[impl AsRef<OsStr>], word: OsString, input: Vec<u8>) -> Option<Answer> {
    let mut words = way.options();
    words.extend(["--list-only", "--no-links", "--no-human-readable"].map(OsString::from));
    words.extend(super::without_motd(way.config));
    words.extend(options.iter().map(|option| option.as_ref().to_owned()));
    words.extend(["--".into(), word]);
    words.extend((!input.is_empty()).then(|| NOWHERE.into()));
    let question = Invocation { input, ..Invocation::rsync(&way.config.program, words, &way.config.cwd) };
    let (mut lines, mut said, mut greeting) = (Lines::new(), Vec::new(), Vec::new());
    let ended = way.supervisor.run(&question, &mut |stream, line| match (stream, listing::read(line)) {
        (Stream::Stdout, Some(read)) => drop(lines.insert(read.path.clone(), (read, line.to_vec()))),
        (Stream::Stdout, None) if greeting.len() < super::MOST_SAID => greeting.push(line.to_vec()),
        (Stream::Stderr, _) if said.len() < super::MOST_SAID => said.push(line.to_vec()),
        _ => {}
    });
    Some(Answer { lines, said, greeting, ended: ended.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Destination;

    fn sources(words: &[&str]) -> Vec<Source> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        Source::parse_all(&words, &Destination::parse("d".as_ref()).unwrap()).unwrap()
    }

    #[test]
    fn all_sources_are_below_one_argument() {
        for (words, word, prefixes) in [
            (&["h:/a/x", ":/a/y"][..], "h:/a/", &["/./", "/./"][..]),
            (&["h:/a/x", ":/b/c/y", ":/z"], "h:/", &["/a/./", "/b/c/./", "/./"]),
            (&["u@h:/d/a/x", "h:/d/b/"], "u@h:/d/", &["/a/./", "/b/./"]),
            (&["h:x", ":p/y"], "h:.", &["/./", "/p/./"]),
            (&["h:p/q/x", ":p/y"], "h:p/", &["/q/./", "/./"]),
            (&["h:/ab/x", ":/a/y"], "h:/", &["/ab/./", "/a/./"]),
            (&["h::m/a/x", "::m/y"], "h::m/", &["/a/./", "/./"]),
            (&["rsync://h/m/a/x", "rsync://h/m"], "rsync://h/m/", &["/a/./", "/./"]),
        ] {
            let sources = sources(words);
            let together = Together::of(&sources).unwrap();
            assert_eq!(together.word, word, "{words:?}");
            let found: Vec<Vec<u8>> = sources.iter().map(|source| together.prefix(source.there().0)).collect();
            assert_eq!(found, prefixes.iter().map(|prefix| prefix.as_bytes()).collect::<Vec<_>>(), "{words:?}");
        }
        for words in [&["h:/a", ":b"][..], &["h::m/a", "::n/b"], &["rsync://h/m", "rsync://h/n/b"]] {
            assert_eq!(Together::of(&sources(words)), None, "{words:?}");
        }
    }

    #[test]
    fn sources_of_one_name_are_found() {
        for (words, shares) in [
            (&["h:/a/x", ":/b/x"][..], true),
            (&["h:/a/x/", ":/b/"], true),
            (&["h:/a/x", ":/b/", ":y"], false),
            (&["h:/a/x", ":/b/x/"], false),
        ] {
            assert_eq!(share_a_name(&sources(words)), shares, "{words:?}");
        }
    }
}
