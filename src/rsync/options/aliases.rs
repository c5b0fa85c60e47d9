//! Aliases of options, which popt, the reader of rsync's command line, gets from its files: `/etc/popt`, `/etc/popt.d/*`, `~/.popt`.
//!
//! An alias may be a new name (`-Z`, in rsync's manual), or give an existing one another meaning (`-a` with `--hard-links`). rsync would expand it in each
//! command line, even in one that multi-sync makes. Therefore multi-sync writes options without names that are aliases ([`Aliases::respell`]).
//!
//! The meaning of the files, and the order in which words are read, were compared with rsync 3.5.0 and popt 1.19.

use super::operands::Operands;
use super::table::{self, Spec};
use super::{Options, Setting, specs};
use crate::entry::Printable;
use crate::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::OnceLock;

/// The name by which popt's files know rsync.
const PROGRAM: &[u8] = b"rsync";
const SYSTEM: &str = "/etc/popt";
const SYSTEM_FOLDER: &str = "/etc/popt.d";

/// The name of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// A long name, without its dashes.
    Long(Vec<u8>),
    Letter(u8),
}

/// One alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alias {
    pub(super) name: Name,
    /// The words that replace it.
    pub(super) words: Vec<OsString>,
    /// Whether it is a program that would be run instead of rsync.
    pub(super) runs: bool,
}

/// All aliases that apply to rsync.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Aliases {
    list: Vec<Alias>,
}

impl Aliases {
    /// The aliases of this machine and user, read once.
    pub fn installed() -> &'static Aliases {
        static INSTALLED: OnceLock<Aliases> = OnceLock::new();
        INSTALLED.get_or_init(|| Aliases::read(std::env::var_os("HOME").as_deref()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn read(home: Option<&OsStr>) -> Aliases {
        let mut aliases = Aliases::default();
        let mut folder: Vec<PathBuf> = std::fs::read_dir(SYSTEM_FOLDER)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        folder.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            path.is_file() && !name.starts_with('.') && !name.contains(".rpmnew") && !name.contains(".rpmsave")
        });
        folder.sort();
        let own = home.map(|home| PathBuf::from(OsString::from_vec([home.as_bytes(), b"/.popt"].concat())));
        for path in std::iter::once(PathBuf::from(SYSTEM)).chain(folder).chain(own) {
            match std::fs::read(&path) {
                Ok(text) => aliases.list.extend(parse(&text)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                // popt reads no further files in this case.
                Err(_) => break,
            }
        }
        aliases
    }

    /// The aliases in the text of one file.
    #[cfg(test)]
    pub(super) fn of(text: &str) -> Aliases {
        Aliases { list: parse(text.as_bytes()) }
    }

    /// The alias that replaces a name, unless `within` (an index in the list) is an alias of the same name. Later ones win.
    pub(super) fn find(&self, name: &Name, within: Option<usize>) -> Option<(usize, &Alias)> {
        if within.is_some_and(|at| self.list[at].name == *name) {
            return None;
        }
        self.list.iter().enumerate().rev().find(|(_, alias)| alias.name == *name)
    }

    /// An option of rsync that has another meaning on this machine. `-a` is not checked, because rsync's own command line for its other half may contain it
    /// as well.
    pub fn redefined(&self) -> Option<String> {
        let known = |alias: &&Alias| match &alias.name {
            Name::Letter(letter) => *letter != b'a' && table::by_letter(*letter).is_some(),
            Name::Long(name) => name != b"archive" && table::by_name(name).is_some(),
        };
        self.list.iter().find(known).map(|alias| shown(&alias.name))
    }

    /// Fails if an option has no name that is not an alias.
    ///
    /// # Errors
    /// An option has no such name, so multi-sync could not use it.
    pub fn check(&self, options: &Options) -> Result<()> {
        let long = specs().iter().filter(|spec| spec.long.is_some());
        let settings = long
            .flat_map(|spec| {
                let value = spec.takes_value().then(OsString::new);
                let on = Setting { spec, negated: false, value };
                [Some(on), (!spec.negations.is_empty()).then_some(Setting { spec, negated: true, value: None })]
            })
            .flatten();
        let typed = options.settings().iter().cloned();
        match settings.chain(typed).find(|setting| !self.list.is_empty() && self.spell(setting).is_none()) {
            Some(setting) => Err(Error::usage(format!(
                "{} has another meaning here: popt aliases redefine each of its names",
                setting.spec.shown()
            ))
            .remedy(format!("remove the alias from {SYSTEM} or ~/.popt"))),
            None => Ok(()),
        }
    }

    /// The arguments of an rsync, with options that are not aliases; paths after `--` stay unchanged.
    pub fn respell(&self, arguments: Vec<OsString>) -> Vec<OsString> {
        if self.list.is_empty() {
            return arguments;
        }
        let Ok(read) = super::reader::read_words(&arguments, &Aliases::default(), Operands::Refused) else {
            return arguments;
        };
        let mut words: Vec<OsString> =
            read.settings.iter().flat_map(|setting| self.spell(setting).unwrap_or_else(|| setting.argv())).collect();
        if read.ended {
            words.push("--".into());
            words.extend(read.operands);
        }
        words
    }

    /// The words for an option, by a name that is not an alias.
    fn spell(&self, setting: &Setting) -> Option<Vec<OsString>> {
        let free = |name: Name| self.find(&name, None).is_none();
        let free_long = |name: &&&str| free(Name::Long(name.as_bytes().to_vec()));
        let &Spec { short, long, aliases, negations, .. } = setting.spec;
        if setting.negated {
            return negations.iter().find(free_long).map(|name| vec![format!("--{name}").into()]);
        }
        // popt first looks `-x` up as a long name.
        let letter = short.filter(|letter| free(Name::Letter(*letter)) && free(Name::Long(vec![*letter])));
        if letter.is_some_and(|letter| letter != b'@') {
            return Some(setting.argv());
        }
        let name = long.iter().chain(aliases).find(free_long)?;
        let mut word = format!("--{name}").into_bytes();
        if let Some(value) = &setting.value {
            word.push(b'=');
            word.extend_from_slice(value.as_bytes());
        }
        Some(vec![OsString::from_vec(word)])
    }
}

/// The name as the user types it.
pub(super) fn shown(name: &Name) -> String {
    match name {
        Name::Letter(letter) => format!("-{}", char::from(*letter)),
        Name::Long(name) => format!("--{}", Printable::bytes(name)),
    }
}

/// The lines of a file. The last one only counts if it ends with a newline. A backslash keeps the character after it, and joins two lines.
fn parse(text: &[u8]) -> Vec<Alias> {
    let mut aliases = Vec::new();
    let mut line = Vec::new();
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\n' => {
                let begun = line.trim_ascii_start();
                if begun.first().is_some_and(|first| *first != b'#') {
                    aliases.extend(parse_line(begun));
                }
                line.clear();
            }
            b'\\' => match bytes.next() {
                Some(b'\n') | None => {}
                Some(&next) => line.extend([byte, next]),
            },
            byte => line.push(byte),
        }
    }
    aliases
}

/// Reads `rsync alias NAME WORDS`, or `exec`. The program name may be a pattern.
fn parse_line(line: &[u8]) -> Option<Alias> {
    let (program, rest) = word(line)?;
    let (kind, rest) = word(rest)?;
    let (name, rest) = word(rest)?;
    if rest.is_empty() || !matches(program, PROGRAM) {
        return None;
    }
    let name = match name {
        [b'-', b'-', long @ ..] => Name::Long(long.to_vec()),
        [b'-', letter] => Name::Letter(*letter),
        _ => return None,
    };
    let described = |word: &Vec<u8>| word.starts_with(b"--POPTdesc=") || word.starts_with(b"--POPTargs=");
    let words = split(rest)?.into_iter().filter(|word| !described(word)).map(OsString::from_vec).collect();
    match kind {
        b"alias" => Some(Alias { name, words, runs: false }),
        b"exec" => Some(Alias { name, words, runs: true }),
        _ => None,
    }
}

/// The first word, and the text after it without the blanks between.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(u8::is_ascii_whitespace)?;
    Some((&text[..end], text[end..].trim_ascii_start()))
}

/// Splits into words almost like a shell. Within quotation marks of either kind a backslash is literal unless the mark follows, and an empty word is dropped.
/// `None` if the text ends with a backslash.
fn split(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut quote = None;
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match (quote, byte) {
            (Some(open), byte) if open == byte => quote = None,
            (Some(open), b'\\') => {
                let &next = bytes.next()?;
                if next != open {
                    word.push(b'\\');
                }
                word.push(next);
            }
            (Some(_), byte) => word.push(byte),
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'\\') => word.push(*bytes.next()?),
            (None, byte) if byte.is_ascii_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (None, byte) => word.push(byte),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    Some(words)
}

/// Matches `*`, `?` and `[…]` as in fnmatch(3); a character class matches any character.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| matches(rest, &name[at..])),
        ([b'?', rest @ ..], [_, after @ ..]) => matches(rest, after),
        ([b'[', rest @ ..], [_, after @ ..]) => {
            rest.iter().skip(1).position(|byte| *byte == b']').is_some_and(|end| matches(&rest[end + 2..], after))
        }
        ([b'\\', byte, rest @ ..], [first, after @ ..]) => byte == first && matches(rest, after),
        ([byte, rest @ ..], [first, after @ ..]) => byte == first && matches(rest, after),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str, words: &[&str]) -> Vec<String> {
        let options =
            Options::parse_with(words, &Aliases::of(text)).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        options.argv().into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    fn written(text: &str, words: &[&str]) -> Vec<String> {
        let words = words.iter().map(OsString::from).collect();
        Aliases::of(text).respell(words).into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn what_files_say() {
        for (text, words) in [
            ("rsync alias --foo -z\n", &["-z"][..]),
            ("rs* alias --foo -z\n", &["-z"]),
            ("  rsync   alias\t--foo   -z \\\n  -c\n", &["-z", "-c"]),
            ("bogus line\nrsync nonsense --x -z\nrsync alias --foo -z\n", &["-z"]),
            ("rsync alias --foo \"-z\nrsync alias --foo2 -c\n", &["-z"]),
            ("rsync alias --foo -z --POPTdesc=$\"x y\" \n", &["-z"]),
            ("rsync alias --foo '' --suffix='a\\'b' -b -z\n", &["--suffix=a'b", "-b", "-z"]),
            ("rsync alias --foo -v\nrsync alias --foo -z\n", &["-z"]),
            ("rsync alias --foo --exclude='a b' --exclude=e\\ f\n", &["--exclude=a b", "--exclude=e f"]),
        ] {
            assert_eq!(expanded(text, &["--foo"]), words, "{text}");
        }
        for text in ["rsync alias --foo -z", "#rsync alias --foo -z\n", "rsyn alias --foo -z\n", "rsync alias --foo\n"]
        {
            assert!(Options::parse_with(&["--foo"], &Aliases::of(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn words_come_in_their_place() {
        let suffix = "rsync alias --foo --suffix\nrsync alias -Y --suffix\n";
        for (text, words, expected) in [
            (suffix, &["--foo=zz", "-b"][..], &["--suffix=zz", "-b"][..]),
            (suffix, &["--foo", "zz", "-b"], &["--suffix=zz", "-b"]),
            (suffix, &["-bY", "zz"], &["-b", "--suffix=zz"]),
            (suffix, &["-bYz", "zz"], &["-b", "--suffix=zz", "-z"]),
            ("rsync alias --foo -z\n", &["-foo"], &["-z"]),
            ("rsync alias -z -z -c\n", &["-zbz"], &["-z", "-c", "-b", "-z", "-c"]),
            ("rsync alias -a --archive --hard-links\n", &["-av"], &["-a", "-H", "-v"]),
            (
                "rsync alias -Z --no-p --no-g --chmod=ugo=rwX\n",
                &["-aZ"],
                &["-a", "--no-perms", "--no-group", "--chmod=ugo=rwX"],
            ),
        ] {
            assert_eq!(expanded(text, words), expected, "{text} {words:?}");
        }
        let refused =
            |text: &str, words: &[&str]| Options::parse_with(words, &Aliases::of(text)).unwrap_err().to_string();
        assert!(refused("rsync exec --foo echo hi\n", &["--foo"]).contains("runs another program"));
        assert!(refused("rsync alias -r -r --bar\nrsync alias --bar -rz\n", &["-r"]).contains("each other"));
        assert!(refused("rsync alias --foo -- x\n", &["--foo"]).contains("not an rsync option: x"));
    }

    #[test]
    fn words_are_written_without_aliases() {
        let text = "rsync alias -a --archive --hard-links\nrsync alias --no-perms -v\nrsync alias -e -v\n";
        assert_eq!(
            written(text, &["-aR", "--no-p", "-e", "ssh", "--stats", "--", "-a", "--"]),
            ["--archive", "-R", "--no-p", "--rsh=ssh", "--stats", "--", "-a", "--"]
        );
        assert_eq!(written("", &["-aR", "x"]), ["-aR", "x"]);
        let aliases = Aliases::of(text);
        assert_eq!(aliases.redefined().as_deref(), Some("--no-perms"));
        assert_eq!(Aliases::of("rsync alias -a -H\nrsync alias --mine -v\n").redefined(), None);
        aliases.check(&Options::default()).unwrap();
        let all = Aliases::of("rsync alias -P -v\nrsync alias --stats -v\n");
        assert!(all.check(&Options::default()).unwrap_err().to_string().starts_with("--stats has another meaning"));
    }
}
