//! Sources on another machine: which of them several rsyncs can take, what is asked there before that is decided, and how launches name them.
//!
//! Launches get their names as lists ([`FarSource`]), below one source argument that every version, shell and daemon reads as it stands.
//! What cannot be named so, and every option that has not been compared with one rsync in a pull, is one rsync's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::connection::{Connections, WATCHES};
use crate::endpoint::{Addresses, Form, Source, Target};
use crate::far::hold::{Entry, Hold};
use crate::far::{self, Listing, Means, Reach, Wanted};
use crate::hosts;
use crate::rsync::command::{FarSource, Invocation, JUDGED};
use crate::rsync::exit;
use crate::rsync::options::{Meaning, Opt, Options, command_words};
use crate::rsync::prune::Prune;
use crate::scan::{Root, Scan};
use crate::supervise::{Stream, Supervisor};

use super::SourceTree;
use super::facts::Facts;
use super::up_to_date::{self, UpToDate};

/// Options that were compared with one rsync in a pull (`tests/it/oracle`). The others are one rsync's.
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

/// The first option that has not been compared, as it is called.
pub(super) fn not_compared(options: &Options) -> Option<&'static str> {
    let setting = options.settings().iter().find(|setting| !COMPARED.contains(&setting.spec.id));
    setting.map(|setting| setting.spec.name())
}

/// Whether a source may be read as something else than its letters: a shell there, or rsync, expands wildcards and takes away quotes, each
/// version in its own way; and what `..` leads to is known there only.
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

/// How the sources are scanned where they are.
#[derive(Debug, Clone)]
pub struct FarScan {
    /// The way there.
    pub reach: Reach,
    /// What lists.
    pub means: Means,
    /// Number of the user who lists there, if that is known.
    pub user: Option<u32>,
    /// The directory there, and its inode if that is known.
    pub root: (Vec<u8>, Option<u64>),
    /// The way there by each address, if there are several.
    others: Vec<Reach>,
    /// What keeps each rsync in it: where something is deleted.
    pub hold: Option<Hold>,
    /// How rsync lists it.
    line: Vec<u8>,
    /// rsync's listing of all that is in it, if that has begun.
    pub begun: Option<Arc<Listing>>,
    /// Looks whether there is anything to do, if that may be answered soon.
    pub up_to_date: Option<Arc<UpToDate>>,
}

/// What is found by the name of a source when a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Still {
    /// What it was, as far as is known.
    There,
    /// It, with something that was added or removed; or another directory, and nothing tells.
    Changed,
    /// Another directory.
    Replaced,
}

impl FarScan {
    /// Whether only a new connection tells what is found by the name of the source.
    pub fn is_listed_again(&self) -> bool {
        self.hold.is_none() && self.root.1.is_none()
    }

    /// Whether what is found by the name of the source is something else by now. One rsync enters the directory once; several look it up again.
    pub fn is_still_there(&self, config: &Config, supervisor: &Supervisor) -> Still {
        if self.hold.is_some() {
            // None of them has seen anything else.
            return Still::There;
        }
        let (path, Some(before)) = &self.root else {
            // A daemon tells how a directory looks, and not which it is.
            let way = Way { config, early: None, supervisor };
            let now = list(&way, &config.sources[0], None).0;
            return now.map_or(Still::There, |now| compare(&self.line, &now));
        };
        // Who gives no answer has not said that it is gone.
        // The address that was scanned through may be cut by now.
        let mut ways = std::iter::once(&self.reach).chain(&self.others);
        let now = ways.find_map(|reach| far::look_at(reach, path, supervisor).ok().filter(|now| now.user.is_some()));
        let is_another = now.is_some_and(|now| now.inode != Some(*before));
        if is_another { Still::Replaced } else { Still::There }
    }
}

/// Compares two listings of a directory. Whatever is put into it or taken from it makes it younger, and changes neither its kind nor its mode.
fn compare(before: &[u8], now: &[u8]) -> Still {
    let look = |line: &[u8]| {
        let words: Vec<Vec<u8>> =
            line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect();
        Some((words.first()?.clone(), [words.get(2)?.clone(), words.get(3)?.clone()]))
    };
    match (look(before), look(now)) {
        (Some((mode, time)), Some((its_mode, its_time))) if mode != its_mode || its_time < time => Still::Replaced,
        (Some((_, time)), Some((_, its_time))) if its_time > time => Still::Changed,
        _ => Still::There,
    }
}

/// How the machine of the sources is asked.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub config: &'a Config,
    /// Connections of which the first is being opened: a login takes longer than all that is asked.
    pub early: Option<&'a Arc<Connections>>,
    pub supervisor: &'a Supervisor,
}

impl Way<'_> {
    /// The options that lead there.
    fn options(self) -> Vec<OsString> {
        let mut options = way(self.config);
        if let Some(connections) = self.early.filter(|open| open.wait_for_socket(0, self.supervisor).is_some()) {
            options.extend(["-e".into(), connections.wait(0, 0, self.supervisor)]);
        }
        options
    }

    /// The way to a source, through the connection if it is there.
    fn reach(self, source: &Source, meaning: &Meaning) -> Reach {
        let socket = self.early.and_then(|open| open.wait_for_socket(0, self.supervisor));
        let reach = reach(self.config, source, meaning);
        let shell = reach.shell.map(|mut shell| {
            if let Some(socket) = &socket {
                let mut path = OsString::from("ControlPath=");
                path.push(socket);
                let words = ["-o".into(), "ControlMaster=no".into(), "-o".into(), path];
                // In front of all others: the first word counts (ssh(1)).
                shell.arguments.splice(0..0, words);
            }
            shell
        });
        Reach { shell, rsync: Invocation::rsync(&self.config.program, self.options(), &self.config.cwd), ..reach }
    }
}

/// Asks what the source is, what the rules leave of it, and by what it can be scanned; `None` if one rsync has to do it. What goes wrong is for
/// one rsync to say.
pub(super) fn look(way: &Way<'_>, facts: &mut Facts, rules: &[OsString], prune: &Prune) -> Option<FarScan> {
    let Way { config, supervisor, .. } = *way;
    let [source] = &config.sources[..] else { return None };
    let reach = way.reach(source, &facts.meaning);
    let root = directory(source);
    let names_dest = !config.destination.original().as_bytes().ends_with(b"/");
    let is_there = Path::new(&config.destination.as_typed(&config.cwd)).is_dir();
    let asks_rules = !rules.is_empty() && names_dest && !is_there;
    let wanted = Scan {
        hard_links: facts.meaning.hard_links,
        one_file_system: facts.meaning.one_file_system,
        prune: prune.clone(),
        ..Scan::new(vec![place(source, None).1.root], config.limits, far::THREADS)
    };
    let mut early = Early::start(way, &reach, (!asks_rules && !facts.deletes()).then_some(&wanted));
    // A login takes longer than all that is asked.
    let (line, held, found) = std::thread::scope(|scope| {
        let found = scope.spawn(|| far::look_at(&reach, &root, supervisor).unwrap_or_default());
        let entry = if facts.deletes() { entry(config, source) } else { None };
        let held = entry.map(|entry| scope.spawn(|| try_to_hold(way, source, entry)));
        let line = early.first_line(supervisor).or_else(|| list(way, source, None).0);
        (line, held.and_then(|held| held.join().ok()).flatten(), found.join().unwrap_or_default())
    });
    // What was entered has to be what is found by its name.
    let hold = held.and_then(|(hold, entered)| (line.as_ref() == Some(&entered)).then_some(hold));
    let kind = line.as_deref().and_then(listed_kind);
    facts.pull.nowhere = kind.is_none();
    facts.pull.no_directory = kind.is_some_and(|kind| kind != b'd');
    if kind == Some(b'd') && asks_rules {
        match leaves_a_name(way, source, rules) {
            Some(leaves) => facts.rules_leave_a_name = leaves,
            None => facts.pull.nowhere = true,
        }
    }
    if facts.pull.nowhere || facts.pull.no_directory || facts.rules_leave_a_name {
        return None;
    }
    early.ask(way);
    match found.choose(&wanted, config.remote_scan) {
        Ok(means) => {
            let by = |at: usize, all: &Addresses| Source::parse(&all.word(at)).ok();
            let other = |all: &Addresses| (1..all.count()).filter_map(|at| by(at, all)).collect::<Vec<_>>();
            let others = config.addresses.as_ref().map(other).unwrap_or_default();
            let others = others.iter().map(|source| self::reach(config, source, &facts.meaning)).collect();
            // What its listing complains of has to be found in the source.
            let hold = hold.filter(|hold| means != Means::Rsync || hold.is_named_as_typed());
            facts.pull.not_held = facts.deletes() && hold.is_none();
            let reach = match &hold {
                Some(hold) => reach_held(reach, source, hold),
                None => reach,
            };
            let root = (root, found.inode);
            let line = line.unwrap_or_default();
            let Early { begun, up_to_date } = early;
            (!facts.pull.not_held).then(|| FarScan {
                reach,
                means,
                user: found.user,
                root,
                others,
                hold,
                line,
                begun: begun.map(Arc::new),
                up_to_date: up_to_date.map(Arc::new),
            })
        }
        Err(why) => {
            facts.pull.unlisted = Some(why.to_string());
            None
        }
    }
}

/// What goes on while the source is asked what it is.
struct Early {
    begun: Option<Listing>,
    up_to_date: Option<UpToDate>,
}

impl Early {
    /// Has rsync list all that `scan` asks for, where that is how it will be scanned and no other question comes before; and one look whether there is
    /// anything to do. A daemon that lets in one client only is not asked two things at once, unless it is found out that the first was let in.
    fn start(way: &Way<'_>, reach: &Reach, scan: Option<&Scan>) -> Early {
        let config = way.config;
        let is_daemon = config.sources.iter().any(|source| matches!(source.target(), Target::Daemon { .. }));
        let is_wanted = matches!(config.remote_scan, Wanted::Auto | Wanted::Rsync) && config.addresses.is_none();
        let lists = |scan: &&Scan| is_wanted && !scan.hard_links && Means::Rsync.refuse(scan).is_ok();
        let begun = scan.filter(lists).filter(|_| is_daemon).and_then(|scan| far::begin_listing(reach, scan).ok());
        let mut early = Early { begun, up_to_date: None };
        if !is_daemon || early.begun.is_some() {
            early.ask(way);
        }
        early
    }

    /// Looks whether there is anything to do, if that was not begun.
    fn ask(&mut self, way: &Way<'_>) {
        if self.up_to_date.is_none() && up_to_date::may_be(way.config) {
            self.up_to_date = UpToDate::start(way.config, way.early.cloned());
        }
    }

    /// The first line of the listing, if that has begun and was let in.
    fn first_line(&mut self, supervisor: &Supervisor) -> Option<Vec<u8>> {
        let line = self.begun.as_ref()?.first_line(|| supervisor.stopped());
        if line.is_none() {
            // The other question may have been in its way.
            *self = Early { begun: None, up_to_date: None };
        }
        line
    }
}

/// Whether it may be that rsyncs are held in the one source: what is sent by its name is looked up by that even by one rsync.
pub(super) fn may_be_held(config: &Config) -> bool {
    let [source] = &config.sources[..] else { return false };
    entry(config, source).is_some()
}

fn entry(config: &Config, source: &Source) -> Option<Entry> {
    let Target::Ssh { .. } = source.target() else { return None };
    if config.addresses.is_some() {
        // What one address calls it another may call otherwise.
        return None;
    }
    let (base, name) = source.there();
    let typed = config.options.settings().iter().rfind(|setting| setting.spec.id == Opt::RsyncPath);
    let rsync = typed.and_then(|setting| setting.value.as_deref()).unwrap_or(OsStr::new("rsync"));
    if name.is_some() { None } else { Entry::of(base.as_os_str().as_bytes(), rsync.as_bytes()) }
}

/// The machine, and on it the directory that an rsync is in.
fn current(source: &Source) -> OsString {
    let typed = source.original().as_bytes();
    let path = if let Target::Ssh { path, .. } = source.target() { path.len() } else { 0 };
    OsString::from_vec([&typed[..typed.len() - path], b"."].concat())
}

/// Has an rsync list the source that was held in it; what it has listed, and what holds others as well.
fn try_to_hold(way: &Way<'_>, source: &Source, entry: Entry) -> Option<(Hold, Vec<u8>)> {
    let (line, said) = list(way, source, Some(&entry));
    Some((entry.answered(said.iter().map(|line| &line[..]))?, line?))
}

/// The way there for who lists with an rsync that is held.
fn reach_held(mut reach: Reach, source: &Source, hold: &Hold) -> Reach {
    let mut option = OsString::from("--rsync-path=");
    option.push(hold.rsync_path());
    reach.rsync.arguments.push(option);
    reach.words = vec![current(source)];
    reach
}

/// The path of the source there, through a link at its end if rsync goes through it.
pub(super) fn directory(source: &Source) -> Vec<u8> {
    let (base, name) = source.there();
    let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    base.join(name.unwrap_or(OsStr::new("."))).into_os_string().into_vec()
}

/// How the source's machine is reached. Where rsync is started there by other words than its name, as another user perhaps, nothing else sees what it sees.
fn reach(config: &Config, source: &Source, meaning: &Meaning) -> Reach {
    let mut word = source.original().to_owned();
    // rsync sends it itself, and a module is what it holds.
    match source.target() {
        Target::Ssh { path, .. } if path.is_empty() => word.push("."),
        Target::Daemon { path, .. } if path.is_empty() && !word.as_bytes().ends_with(b"/") => word.push("/"),
        _ => {}
    }
    Reach {
        shell: shell_by_name(config, source.target(), meaning),
        rsync: Invocation::rsync(&config.program, way(config), &config.cwd),
        words: vec![word],
        stall: config.stall,
    }
}

/// The same, where what it sees is what rsync sees there.
pub(super) fn shell_by_name(config: &Config, target: &Target, meaning: &Meaning) -> Option<Invocation> {
    let ways = [Opt::RsyncPath, Opt::Ipv4, Opt::Ipv6];
    shell(config, target, meaning).filter(|_| !config.options.mentions(&ways))
}

/// A shell there, by the command that rsync uses.
fn shell(config: &Config, target: &Target, meaning: &Meaning) -> Option<Invocation> {
    let Target::Ssh { user, host, .. } = target else { return None };
    let typed = meaning.rsh.clone().unwrap_or_else(|| "ssh".into());
    let mut words = command_words(&typed)?.into_iter();
    let program = words.next()?;
    let mut arguments: Vec<OsString> = words.collect();
    if Path::new(&program).file_name().is_some_and(|name| name == "ssh") {
        arguments.extend(hosts::Way::KEEPS_ALIVE.iter().flat_map(|option| ["-o".into(), OsString::from(option)]));
        if config.addresses.is_some() {
            arguments.extend(["-o", WATCHES[0]].map(OsString::from));
        }
        arguments.push("-T".into());
    }
    arguments.extend(user.iter().flat_map(|user| ["-l".into(), OsString::from(user)]));
    arguments.extend([OsString::from(host), "sh -s".into()]);
    Some(Invocation::new(program, arguments, &config.cwd))
}

/// The line of the source as rsync lists it, and what that has said besides; with `entry` by an rsync that enters it.
fn list(way: &Way<'_>, source: &Source, entry: Option<&Entry>) -> (Option<Vec<u8>>, Vec<Vec<u8>>) {
    // Of a banner that never ends.
    const MOST: usize = 10_000;
    let Way { config, supervisor, .. } = *way;
    let mut words = way.options();
    words.extend(["--list-only", "--no-motd", "-d"].map(OsString::from));
    // The directory, without what is in it.
    words.extend((source.form() == Form::Contents).then(|| "--exclude=*".into()));
    if let Some(entry) = entry {
        let mut option = OsString::from("--rsync-path=");
        option.push(entry.question());
        words.push(option);
    }
    let word = if entry.is_some() { current(source) } else { source.original().to_owned() };
    words.extend(["--".into(), word]);
    let (mut listed, mut said) = (None, Vec::new());
    let question = Invocation::rsync(&config.program, words, &config.cwd);
    let ended = supervisor.run(&question, &mut |stream, line| match stream {
        Stream::Stdout if listed.is_none() && listed_kind(line).is_some() => listed = Some(line.to_vec()),
        Stream::Stderr if said.len() < MOST => said.push(line.to_vec()),
        _ => {}
    });
    (listed.filter(|_| ended.is_ok_and(|ended| ended.code() == exit::OK)), said)
}

/// The options that lead there.
fn way(config: &Config) -> Vec<OsString> {
    config.options.absolute_files(&config.cwd).connection_options().argv()
}

/// The letter of its type, if this is a line of a listing.
fn listed_kind(line: &[u8]) -> Option<u8> {
    let (mode, rest) = line.split_at_checked(10)?;
    let is_mode = mode[1..].iter().all(|byte| b"rwxsStT-".contains(byte)) && b"-dlbcps".contains(&mode[0]);
    (is_mode && rest.starts_with(b" ")).then_some(mode[0])
}

/// How launches name this source, and what is scanned.
pub(super) fn place(source: &Source, hold: Option<&Hold>) -> (FarSource, SourceTree) {
    let (base, name) = source.there();
    let typed = source.original().as_bytes();
    let named = source.form() == Form::Named;
    let far = match source.target() {
        Target::Daemon { path, .. } => {
            // `HOST::MODULE/`: of that the path is the end.
            let mut word = typed[..typed.len() - path.len()].to_vec();
            if !word.ends_with(b"/") {
                word.push(b'/');
            }
            let below = base.as_os_str().as_bytes();
            let below = below.strip_prefix(b"/").unwrap_or(below).to_vec();
            FarSource { word: OsString::from_vec(word), below, enter: None }
        }
        _ => {
            // Up to the name, if there is one.
            let end = if named {
                typed.iter().rposition(|byte| matches!(byte, b'/' | b':')).map_or(0, |at| at + 1)
            } else {
                typed.len()
            };
            let mut word = typed[..end].to_vec();
            // rsync sends it itself.
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

/// Whether the rules may leave of the source no more than a name, as [`super::alone`] asks of sources here; `None` if there is no answer.
fn leaves_a_name(way: &Way<'_>, source: &Source, rules: &[OsString]) -> Option<bool> {
    let Way { config, supervisor, .. } = *way;
    let (far, tree) = place(source, None);
    let mut words = way.options();
    words.extend_from_slice(rules);
    words.extend(["-n", "-dlR", "--no-implied-dirs", "--no-motd", "--from0", "--files-from=-"].map(OsString::from));
    words.extend([format!("--out-format={JUDGED}%n").into(), "--".into(), far.word.clone(), "/nonexistent/".into()]);
    let mut argument = tree.prefix;
    argument.extend(tree.root.name.iter().flat_map(|name| [name.as_bytes(), b"/"].concat()));
    let mut input = far.name(&argument);
    input.push(0);
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
    fn a_directory_that_has_become_older_is_another() {
        let before = b"drwxr-xr-x          4,096 2026/11/29 14:45:00 .";
        for (now, still) in [
            ("drwxr-xr-x          4,096 2026/11/29 14:45:00 .", Still::There),
            ("drwxr-xr-x         40,960 2026/11/29 14:45:01 .", Still::Changed),
            ("drwxr-xr-x          4,096 2026/12/01 00:00:00 .", Still::Changed),
            ("drwxr-xr-x          4,096 2026/11/29 14:44:59 .", Still::Replaced),
            ("drwx------          4,096 2026/11/29 14:45:00 .", Still::Replaced),
            ("lrwxrwxrwx              3 2026/11/29 14:45:00 s -> t", Still::Replaced),
            ("d", Still::There),
        ] {
            assert_eq!(compare(before, now.as_bytes()), still, "{now}");
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
