//! Sources on another machine: which of them several rsyncs can copy, what is asked there before that is decided, and how launches name them.
//!
//! Launches get their names as lists ([`FarSource`]), below one source argument that all versions, shells and daemons read as it stands. A source that cannot
//! be named in this way is left to one rsync, and so is every option for which pulling was not compared with one rsync.

mod early;
mod list;
mod lists;
mod reach;
mod several;
mod sources;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::connection::Connections;
use crate::endpoint::{Addresses, Form, Source, Target};
use crate::far::hold::{Entry, Hold};
use crate::far::{self, Means, Reach};
use crate::rsync::command::{FarSource, Invocation, JUDGED};
use crate::rsync::exit;
use crate::rsync::options::{Meaning, Opt, Options, Setting};
use crate::rsync::prune::Prune;
use crate::scan::{Root, Scan};
use crate::supervise::{Stream, Supervisor};
use crate::thread::{self, Beside};

use super::SourceTree;
use super::facts::Facts;
use early::Early;
use list::{Listed, list, listed_kind, patiently, without_motd};
use lists::Lists;
use several::Together;

pub(super) use reach::shell_by_name;
use reach::{reach, way, whole_word};
pub(super) use several::share_a_name;
use sources::Placed;
pub use sources::{FarRoot, FarScan, Still};

/// How many lines on standard error are kept, because a banner may never end.
const MOST_SAID: usize = 10_000;

/// Options for which pulling was compared with one rsync (`tests/it/oracle`). All others are left to one rsync.
#[rustfmt::skip] // A table.
const COMPARED: [Opt; 96] = [
    Opt::Acls, Opt::Address, Opt::Append, Opt::AppendVerify, Opt::Archive, Opt::Atimes, Opt::Backup, Opt::BackupDir,
    Opt::BlockSize, Opt::BlockingIo, Opt::Bwlimit, Opt::Checksum, Opt::ChecksumChoice, Opt::ChecksumSeed, Opt::Chmod,
    Opt::Chown, Opt::CompareDest, Opt::Compress, Opt::CompressChoice, Opt::CompressLevel, Opt::Contimeout,
    Opt::CopyDest, Opt::D, Opt::DelayUpdates, Opt::Delete, Opt::DeleteAfter, Opt::DeleteDelay, Opt::DeleteDuring,
    Opt::DeleteExcluded, Opt::Devices, Opt::DropD, Opt::DryRun, Opt::EightBitOutput, Opt::Exclude, Opt::Executability,
    Opt::Existing, Opt::FakeSuper, Opt::Filter, Opt::Force, Opt::Fsync, Opt::Fuzzy, Opt::Group, Opt::Groupmap,
    Opt::HardLinks, Opt::HumanReadable, Opt::IgnoreErrors, Opt::IgnoreExisting, Opt::IgnoreTimes, Opt::Include,
    Opt::Inplace, Opt::Ipv4, Opt::Ipv6, Opt::ItemizeChanges, Opt::LinkDest, Opt::Links, Opt::MaxSize, Opt::MinSize,
    Opt::Mkpath, Opt::ModifyWindow, Opt::Motd, Opt::MungeLinks, Opt::NumericIds, Opt::OldArgs, Opt::OmitDirTimes,
    Opt::OmitLinkTimes, Opt::OutFormat, Opt::Owner, Opt::P, Opt::Partial, Opt::PartialDir, Opt::PasswordFile,
    Opt::Perms, Opt::Port, Opt::Preallocate, Opt::Progress, Opt::Quiet, Opt::Recursive,
    Opt::Rsh, Opt::RsyncPath, Opt::SafeLinks, Opt::SecludedArgs, Opt::SizeOnly, Opt::Sparse, Opt::Specials,
    Opt::Stats, Opt::StopAfter, Opt::Suffix, Opt::Super, Opt::TempDir, Opt::Timeout, Opt::Times, Opt::Update,
    Opt::Usermap, Opt::Verbose, Opt::WholeFile, Opt::Xattrs,
];

/// The name of the first option that was not compared.
pub(super) fn not_compared(options: &Options) -> Option<String> {
    let is_compared = |setting: &Setting| COMPARED.contains(&setting.spec.id) || asks_for_progress_only(setting);
    options.settings().iter().find(|setting| !is_compared(setting)).map(|setting| setting.spec.shown())
}

/// `--info=progress2`, which is no more than `--progress`: multi-sync shows the progress of the whole run.
fn asks_for_progress_only(setting: &Setting) -> bool {
    let value = setting.value.as_deref().and_then(OsStr::to_str).unwrap_or_default();
    let is_progress = |item: &str| item.trim_end_matches(|c: char| c.is_ascii_digit()).eq_ignore_ascii_case("progress");
    setting.spec.id == Opt::Info && value.split(',').all(is_progress)
}

/// Whether the path of a source may be interpreted: a shell there, or rsync, expands wildcards and removes quotes, each version in its own way; and what `..`
/// leads to is known only there.
pub(super) fn has_odd_word(sources: &[Source]) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/+,@:".contains(&byte) || !byte.is_ascii();
    sources.iter().any(|source| {
        let bytes = match source.target() {
            Target::Local => return false,
            Target::Ssh { path, .. } => path.as_bytes().to_vec(),
            Target::Daemon { module, path, .. } => [module.as_bytes(), b"/", path.as_bytes()].concat(),
        };
        let goes_up = bytes.split(|byte| *byte == b'/').any(|part| part == b"..");
        goes_up || !bytes.iter().copied().all(is_plain)
    })
}

/// How the machine of the sources is asked.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub config: &'a Config,
    /// Connections, of which the first one is being opened: a login takes longer than all questions.
    pub early: Option<&'a Arc<Connections>>,
    pub supervisor: &'a Supervisor,
}

impl Way<'_> {
    /// rsync's options for reaching the machine.
    fn options(self) -> Vec<OsString> {
        let mut options = way(self.config);
        if let Some(connections) = self.early.filter(|open| open.wait_for_socket(0, self.supervisor).is_some()) {
            options.extend(["-e".into(), connections.wait(0, 0, self.supervisor)]);
        }
        options
    }

    /// How a source is reached; through the connection if it is open.
    fn reach(self, source: &Source, meaning: &Meaning) -> Reach {
        let socket = self.early.and_then(|open| open.wait_for_socket(0, self.supervisor));
        let reach = reach(self.config, source, meaning);
        let shell = reach.shell.map(|mut shell| {
            if let Some(socket) = &socket {
                let mut path = OsString::from("ControlPath=");
                path.push(socket);
                let words = ["-o".into(), "ControlMaster=no".into(), "-o".into(), path];
                // They precede all other words, because the first one of each setting counts (ssh(1)).
                shell.arguments.splice(0..0, words);
            }
            shell
        });
        Reach { shell, rsync: Invocation::rsync(&self.config.program, self.options(), &self.config.cwd), ..reach }
    }
}

/// Asks what the sources are, what the rules leave of them, and how they can be scanned; `None` if one rsync has to copy. Errors are not reported here, because
/// that rsync will report them.
pub(super) fn look(way: &Way<'_>, facts: &mut Facts, rules: &[OsString], prune: &Prune) -> Option<FarScan> {
    let config = way.config;
    match &config.sources[..] {
        [source] => look_at_one(way, source, facts, rules, prune),
        sources => look_at_several(way, sources, facts, rules),
    }
}

fn look_at_one(
    way: &Way<'_>,
    source: &Source,
    facts: &mut Facts,
    rules: &[OsString],
    prune: &Prune,
) -> Option<FarScan> {
    let Way { config, supervisor, .. } = *way;
    let reach = way.reach(source, &facts.meaning);
    let root = directory(source);
    let (far, tree) = place(source, None);
    let all = Scan { prune: prune.clone(), ..wanted(config, facts, vec![tree.root.clone()]) };
    // A daemon's source is left to one rsync if something is deleted.
    let comes_first = !matters(config, rules) && !facts.deletes();
    let is_daemon = matches!(source.target(), Target::Daemon { .. });
    let mut early = Early::start(way, &reach, comes_first.then_some(&all));
    // All questions are asked at once, because a login takes longer than all of them.
    let (line, lists, held, found) = std::thread::scope(|scope| {
        let lists = is_daemon.then(|| thread::beside(scope, || lists::ask(way, &far, &tree)));
        let found = thread::beside(scope, || far::look_at(&reach, &[&root], supervisor).unwrap_or_default());
        let entry = if facts.deletes() { entry(config, source) } else { None };
        let held = entry.map(|entry| thread::beside(scope, || try_to_hold(way, source, entry)));
        let first = early.first_line(way).map(|line| Listed { line: Some(line), ..Listed::default() });
        // Waits first, because a daemon may accept only one client.
        let lists = lists.and_then(Beside::join);
        let line = first.unwrap_or_else(|| early.let_in(list(way, source, None), || list(way, source, None), way));
        (line, lists, held.and_then(Beside::join).flatten(), found.join().unwrap_or_default())
    });
    let Listed { line, greeting, .. } = line;
    // The directory that was entered must be the one that has the source's name.
    let hold = held.and_then(|(hold, entered)| (line.as_ref() == Some(&entered)).then_some(hold));
    let kind = line.as_deref().and_then(listed_kind);
    facts.pull.nowhere = kind.is_none();
    facts.pull.no_directory = kind.is_some_and(|kind| kind != b'd');
    if facts.pull.nowhere || facts.pull.no_directory {
        return None;
    }
    let lists = match lists {
        Some(Lists::NoPlace) => {
            early = Early::default();
            Some(patiently(supervisor, || lists::ask(way, &far, &tree), |lists| *lists == Lists::NoPlace))
        }
        lists => lists,
    };
    if is_daemon && lists != Some(Lists::Taken) {
        facts.pull.unlisted = Some(lists::REFUSED.to_owned());
        return None;
    }
    ask_of_rules(way, facts, rules, &far, std::slice::from_ref(&tree));
    if facts.pull.nowhere || facts.rules_leave_a_name {
        return None;
    }
    early.ask(way);
    let means = choose(config, facts, &found, Vec::new())?;
    let by = |at: usize, all: &Addresses| Source::parse(&all.word(at)).ok();
    let other = |all: &Addresses| (1..all.count()).filter_map(|at| by(at, all)).collect::<Vec<_>>();
    let others = config.addresses.as_ref().map(other).unwrap_or_default();
    let others = others.iter().map(|source| self::reach(config, source, &facts.meaning)).collect();
    // If rsync lists the source, the paths in its complaints must be those of the source as typed.
    let hold = hold.filter(|hold| means != Means::Rsync || hold.is_named_as_typed());
    facts.pull.not_held = facts.deletes() && hold.is_none();
    if facts.pull.not_held {
        return None;
    }
    let reach = match &hold {
        Some(hold) => reach_held(reach, source, hold),
        None => reach,
    };
    let inode = found.inodes.first().copied().flatten();
    let roots = vec![FarRoot { inode, ..FarRoot::of(source, line.unwrap_or_default()) }];
    let (source, tree) = place(source, hold.as_ref());
    let placed = Placed { source, trees: vec![tree], singles: Vec::new(), missing: Vec::new(), said: Vec::new() };
    let (begun, up_to_date) = early.shared();
    Some(FarScan { reach, means, user: found.user, roots, placed, others, hold, greeting, begun, up_to_date })
}

fn look_at_several(way: &Way<'_>, sources: &[Source], facts: &mut Facts, rules: &[OsString]) -> Option<FarScan> {
    let Way { config, supervisor, .. } = *way;
    let together = Together::of(sources)?;
    let reach = way.reach(&sources[0], &facts.meaning);
    let dirs: Vec<Vec<u8>> = sources.iter().map(directory).collect();
    let dirs: Vec<&[u8]> = dirs.iter().map(|dir| &dir[..]).collect();
    let mut early = Early::start(way, &reach, None);
    let (asked, found) = std::thread::scope(|scope| {
        let found = thread::beside(scope, || far::look_at(&reach, &dirs, supervisor).unwrap_or_default());
        let asked = several::look(way, &together, sources);
        (asked, found.join().unwrap_or_default())
    });
    let Some(asked) = asked else {
        facts.pull.nowhere = true;
        return None;
    };
    let (is, greeting) = (asked.is, asked.greeting.clone());
    facts.sources.none = asked.placed.trees.is_empty() && asked.placed.singles.is_empty();
    facts.sources.several = is.several;
    facts.sources.missing = !asked.missing.is_empty();
    facts.sources.file = is.file;
    facts.sources.link = is.link;
    facts.sources.same_name = is.same_name;
    let (placed, mut roots) = asked.placed();
    // This directory must get its attributes after everything in it was written.
    let locked = |mode: u32| facts.locked_whole && mode & 0o700 != 0o700;
    facts.sources.whole_in_dest = is.several && is.contents.is_some_and(|mode| locked(mode) || facts.merges());
    if placed.singles.is_empty() {
        ask_of_rules(way, facts, rules, &placed.source, &placed.trees);
    }
    if facts.pull.nowhere || facts.rules_leave_a_name || placed.trees.is_empty() {
        return None;
    }
    let contents = placed.trees.iter().find(|tree| tree.root.name.is_none());
    if let Some(tree) = contents.filter(|_| matches!(sources[0].target(), Target::Daemon { .. }))
        && lists::ask(way, &placed.source, tree) != Lists::Taken
    {
        facts.pull.unlisted = Some(lists::REFUSED.to_owned());
        return None;
    }
    let means = choose(config, facts, &found, placed.trees.iter().map(|tree| tree.root.clone()).collect())?;
    let inode = |path: &[u8]| {
        let at = dirs.iter().position(|dir| *dir == path)?;
        found.inodes.get(at).copied().flatten()
    };
    roots.iter_mut().for_each(|root| root.inode = inode(&root.path));
    let words = sources.iter().filter(|source| roots.iter().any(|root| root.source == source.original()));
    let words = words.map(|source| whole_word(&sources[0], source)).collect();
    let reach = Reach { words, ..reach };
    early.ask(way);
    let (begun, up_to_date) = early.shared();
    let (user, others, hold) = (found.user, Vec::new(), None);
    Some(FarScan { reach, means, user, roots, placed, others, hold, greeting, begun, up_to_date })
}

/// The scan that these roots need.
fn wanted(config: &Config, facts: &Facts, roots: Vec<Root>) -> Scan {
    Scan {
        hard_links: facts.meaning.hard_links,
        one_file_system: facts.meaning.one_file_system,
        ..Scan::new(roots, config.limits, far::THREADS)
    }
}

/// What can list these roots, if anything can.
fn choose(config: &Config, facts: &mut Facts, found: &far::Found, roots: Vec<Root>) -> Option<Means> {
    let means = found.choose(&wanted(config, facts, roots), config.remote_scan);
    facts.pull.unlisted = means.as_ref().err().map(ToString::to_string);
    means.ok()
}

/// Whether it matters what the rules leave: a DEST that does not exist might become a file.
fn matters(config: &Config, rules: &[OsString]) -> bool {
    let names_dest = !config.destination.original().as_bytes().ends_with(b"/");
    !rules.is_empty() && names_dest && !Path::new(&config.destination.as_typed(&config.cwd)).is_dir()
}

/// Asks, if it matters, whether the rules may leave only one name.
fn ask_of_rules(way: &Way<'_>, facts: &mut Facts, rules: &[OsString], far: &FarSource, trees: &[SourceTree]) {
    if !matters(way.config, rules) || trees.is_empty() {
        return;
    }
    match leaves_a_name(way, far, trees, rules) {
        Some(leaves) => facts.rules_leave_a_name = leaves,
        None => facts.pull.nowhere = true,
    }
}

/// Whether several sources have no common directory that all launches could name.
pub(super) fn are_apart(sources: &[Source]) -> bool {
    sources.len() > 1 && sources.iter().all(|source| !source.is_local()) && Together::of(sources).is_none()
}

/// Whether rsyncs can perhaps be held in the only source. Not if the source is copied by its name, because even one rsync looks up that name.
pub(super) fn may_be_held(config: &Config) -> bool {
    let [source] = &config.sources[..] else { return false };
    entry(config, source).is_some()
}

fn entry(config: &Config, source: &Source) -> Option<Entry> {
    let Target::Ssh { .. } = source.target() else { return None };
    if config.addresses.is_some() {
        // Addresses may have different names for the same directory.
        return None;
    }
    let (base, name) = source.there();
    let typed = config.options.settings().iter().rfind(|setting| setting.spec.id == Opt::RsyncPath);
    let rsync = typed.and_then(|setting| setting.value.as_deref()).unwrap_or(OsStr::new("rsync"));
    if name.is_some() { None } else { Entry::of(base.as_os_str().as_bytes(), rsync.as_bytes()) }
}

/// The machine, and on it the current directory of an rsync.
fn current(source: &Source) -> OsString {
    let typed = source.original().as_bytes();
    let path = if let Target::Ssh { path, .. } = source.target() { path.len() } else { 0 };
    OsString::from_vec([&typed[..typed.len() - path], b"."].concat())
}

/// Has an rsync enter the source and list it there. Returns what can hold others there as well, and the line that was listed.
fn try_to_hold(way: &Way<'_>, source: &Source, entry: Entry) -> Option<(Hold, Vec<u8>)> {
    let Listed { line, said, .. } = list(way, source, Some(&entry));
    Some((entry.answered(said.iter().map(|line| &line[..]))?, line?))
}

/// Changes the way to the source for a listing by an rsync that is held there.
fn reach_held(mut reach: Reach, source: &Source, hold: &Hold) -> Reach {
    let mut option = OsString::from("--rsync-path=");
    option.push(hold.rsync_path());
    reach.rsync.arguments.push(option);
    reach.words = vec![current(source)];
    reach
}

/// The path of the source there. If rsync follows a symbolic link at the end of it, so does this path.
pub(super) fn directory(source: &Source) -> Vec<u8> {
    let (base, name) = source.there();
    let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    base.join(name.unwrap_or(OsStr::new("."))).into_os_string().into_vec()
}

/// How launches name this source, and what is scanned.
pub(super) fn place(source: &Source, hold: Option<&Hold>) -> (FarSource, SourceTree) {
    let (base, name) = source.there();
    let typed = source.original().as_bytes();
    let named = source.form() == Form::Named;
    let far = match source.target() {
        Target::Daemon { path, .. } => {
            // `path` is the end of `HOST::MODULE/PATH`.
            let mut word = typed[..typed.len() - path.len()].to_vec();
            if !word.ends_with(b"/") {
                word.push(b'/');
            }
            let below = base.as_os_str().as_bytes();
            let below = below.strip_prefix(b"/").unwrap_or(below).to_vec();
            FarSource { word: OsString::from_vec(word), below, enter: None }
        }
        _ => {
            // The part before the name, if there is a name.
            let end = if named {
                typed.iter().rposition(|byte| matches!(byte, b'/' | b':')).map_or(0, |at| at + 1)
            } else {
                typed.len()
            };
            let mut word = typed[..end].to_vec();
            // rsync itself sends `.` if nothing follows the colon.
            if word.ends_with(b":") {
                word.push(b'.');
            }
            FarSource { word: OsString::from_vec(word), below: Vec::new(), enter: None }
        }
    };
    let far = match hold {
        Some(hold) => FarSource { word: current(source), below: Vec::new(), enter: Some(hold.rsync_path()) },
        None => far,
    };
    let prefix: &[u8] = if named { b"././" } else { b"./" };
    let root = Root { base: base.to_owned(), name: name.map(OsStr::to_owned) };
    (far, SourceTree { root, prefix: prefix.to_vec(), above: Vec::new() })
}

/// Whether the rules may leave only one name of the sources, as [`super::alone`] finds out for local sources; `None` if there is no answer.
fn leaves_a_name(way: &Way<'_>, far: &FarSource, trees: &[SourceTree], rules: &[OsString]) -> Option<bool> {
    let Way { config, supervisor, .. } = *way;
    let mut words = way.options();
    words.extend_from_slice(rules);
    words.extend(["-n", "-dlR", "--no-implied-dirs", "--no-motd", "--from0", "--files-from=-"].map(OsString::from));
    words.extend([format!("--out-format={JUDGED}%n").into(), "--".into(), far.word.clone(), "/nonexistent/".into()]);
    let mut input = Vec::new();
    for tree in trees {
        let mut argument = tree.prefix.clone();
        argument.extend(tree.root.name.iter().flat_map(|name| [name.as_bytes(), b"/"].concat()));
        input.extend(far.name(&argument));
        input.push(0);
    }
    let question = Invocation { input, ..Invocation::rsync(&config.program, words, &config.cwd) };
    let mut names = 0;
    let ended = supervisor.run(&question, &mut |stream, line| {
        names += u64::from(stream == Stream::Stdout && line.starts_with(JUDGED.as_bytes()));
    });
    (ended.ok()?.code() == exit::OK).then_some(names < 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(word: &str) -> Source {
        Source::parse(word.as_ref()).unwrap()
    }

    #[test]
    fn launches_name_a_source_by_its_directory() {
        for (word, argument, below, prefix, base, name) in [
            ("h:/s/", "h:/s/", "", "./", "/s", None),
            ("h:/a/s", "h:/a/", "", "././", "/a", Some("s")),
            ("u@h:/s", "u@h:/", "", "././", "/", Some("s")),
            ("h:s", "h:.", "", "././", "", Some("s")),
            ("h:", "h:.", "", "./", "", None),
            ("[::1]:s", "[::1]:.", "", "././", "", Some("s")),
            ("h:a/s/.", "h:a/s/.", "", "./", "a/s", None),
            ("h::m", "h::m/", "", "./", "", None),
            ("h::m/", "h::m/", "", "./", "", None),
            ("h::m/s", "h::m/", "", "././", "", Some("s")),
            ("h::m/a/s/", "h::m/", "a/s", "./", "a/s", None),
            ("u@h::m//a/s", "u@h::m/", "a", "././", "/a", Some("s")),
            ("rsync://h:9/m/a/s", "rsync://h:9/m/", "a", "././", "a", Some("s")),
            ("rsync://h/m", "rsync://h/m/", "", "./", "", None),
        ] {
            let (far, tree) = place(&source(word), None);
            assert_eq!((far.word.to_str(), &far.below[..]), (Some(argument), below.as_bytes()), "{word}");
            assert_eq!(tree.prefix, prefix.as_bytes(), "{word}");
            assert_eq!(
                (tree.root.base.as_os_str(), tree.root.name.as_deref()),
                (base.as_ref(), name.map(OsStr::new)),
                "{word}"
            );
        }
    }

    #[test]
    fn what_may_be_more_than_its_letters_is_found() {
        let odd = |word: &str| has_odd_word(&[source(word)]);
        for word in [
            "h:a*",
            "h:a?",
            "h:[a]",
            "h:~/a",
            "h:$a",
            "h:a b",
            "h:a\\b",
            "h:../a",
            "h:a/..",
            "h::m/{a,b}",
            "rsync://h/m/a'",
        ] {
            assert!(odd(word), "{word}");
        }
        for word in ["h:", "h:/a-b_c.d/", "h::m/a+b,c", "h:/...", "h:/\u{e4}", "u@h:a@b:c"] {
            assert!(!odd(word), "{word}");
        }
    }

    #[test]
    fn progress_may_be_asked_for_in_each_way() {
        for (options, expected) in [
            ("-aP", None),
            ("-a --info=progress2", None),
            ("-a --info=PROGRESS,progress0", None),
            ("-a --info=progress2,name", Some("--info")),
            ("-a --info=stats", Some("--info")),
            ("-a --open-noatime", Some("--open-noatime")),
        ] {
            let options = Options::parse_str(options.as_ref()).unwrap();
            assert_eq!(not_compared(&options).as_deref(), expected, "{options:?}");
        }
    }

    #[test]
    fn a_listing_is_told_from_a_greeting() {
        for (line, kind) in [
            ("drwxr-xr-x          4,096 2026/11/29 14:45:00 .", Some(b'd')),
            ("lrwxrwxrwx              3 2026/11/29 14:45:00 a -> b", Some(b'l')),
            ("drwxrwsr-t 4096 2026/11/29 14:45:00 s", Some(b'd')),
            ("d", None),
            ("daemons are welcome here", None),
            ("", None),
        ] {
            assert_eq!(listed_kind(line.as_bytes()), kind, "{line}");
        }
    }
}
