//! Runs a case with one rsync and with multi-sync, and compares. A difference counts only if one rsync has the same result three times: results that depend
//! on chance cannot be reproduced by several rsyncs.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use multi_sync::harness::entry::Printable;
use multi_sync::harness::verify::{self, Difference, DifferenceKind};

use super::case::Case;
use super::known;
use super::place::{self, Place, unmount};
use super::world::{Mount, set_immutable};
use crate::support::command::{self, Run, as_nobody, run_within};
use crate::support::is_root;
use crate::support::twin::but_for_the_unseen;
use crate::support::work::{Work, reachable_by_all};

/// No case takes a tenth of this, but the receiver of rsync 3.5.0 can miss the signal that tells it to end, and then waits for 60 s (io.c: between checking
/// `got_sigusr2` and poll(2); about one in 10^5 launches on a busy machine). `ORACLE_LIMIT` sets another number of seconds.
fn limit() -> Duration {
    Duration::from_secs(super::number("ORACLE_LIMIT").unwrap_or(90))
}

/// A single difference.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    Tree(Difference),
    Code {
        one: Option<i32>,
        many: Option<i32>,
    },
    /// A line that only one of them printed.
    Line {
        by_one: bool,
        text: String,
    },
    /// Something was left in the temporary folder.
    Left(String),
    Hung,
}

impl Finding {
    /// The kind of the difference, without names and values.
    pub fn sort(&self) -> String {
        match self {
            Finding::Tree(difference) => {
                let all = format!("{:?}", difference.kind);
                all.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
            }
            Finding::Code { one, many } => format!("Code {one:?} {many:?}"),
            Finding::Line { by_one, .. } => format!("Line {by_one}"),
            Finding::Left(_) => "Left".into(),
            Finding::Hung => "Hung".into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = |code: &Option<i32>| code.map_or("a signal".to_owned(), |code| code.to_string());
        match self {
            Finding::Tree(difference) => write!(f, "{difference}"),
            Finding::Code { one, many } => write!(f, "exit code: {} by one, {} by many", code(one), code(many)),
            Finding::Line { by_one, text } => {
                write!(f, "printed only by {}: {text}", if *by_one { "one" } else { "many" })
            }
            Finding::Left(name) => write!(f, "left in the temporary folder: {name}"),
            Finding::Hung => f.write_str("did not end"),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Identical,
    Different,
    /// Repeated runs of one rsync differ from each other.
    Unstable,
    /// The difference has this known reason.
    Known(&'static str),
    /// multi-sync refuses the case permanently.
    Refused(String),
}

/// How multi-sync carried it out, according to its own statistics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Way {
    pub plain: Option<String>,
    pub split: u64,
    pub launches: u64,
    /// Whether the first pass created something.
    pub made: bool,
    /// The reasons for which directories were kept whole.
    pub whole: Vec<String>,
}

pub struct Verdict {
    pub outcome: Outcome,
    pub way: Way,
    /// Left is one rsync, right is multi-sync.
    pub findings: Vec<Finding>,
    pub many: Run,
    pub one: Option<Run>,
}

impl Verdict {
    /// The exit code of one rsync.
    pub fn code(&self) -> Option<i32> {
        self.one.as_ref().and_then(|one| one.status.code())
    }

    pub fn sorts(&self) -> BTreeSet<String> {
        self.findings.iter().map(Finding::sort).collect()
    }
}

/// A place in which cases run one after the other.
pub struct Court {
    work: Work,
    program: PathBuf,
    /// The `PATH` with another `rsync`, if not the usual one is used.
    path: Option<OsString>,
}

struct Ran {
    run: Run,
    tree: PathBuf,
    lines: BTreeSet<Vec<u8>>,
}

impl Court {
    /// `program` is the program that is judged.
    pub fn new(program: &Path) -> Court {
        let work = Work::on_tmpfs().unwrap_or_else(Work::public);
        let program = if reachable_by_all(program) {
            program.to_owned()
        } else {
            let copy = work.dir("bin").join("multi-sync");
            command::copy_program(program, &copy);
            copy
        };
        // Both sides use it: `ORACLE_RSYNC` is the path of another rsync.
        let path = std::env::var_os("ORACLE_RSYNC").map(|rsync| {
            let dir = work.dir("rsync");
            command::copy_program(Path::new(&rsync), &dir.join("rsync"));
            let mut path = dir.into_os_string();
            path.push(":");
            path.push(std::env::var_os("PATH").unwrap_or_default());
            path
        });
        if let Some(rsync) = std::env::var_os("ORACLE_OTHER_RSYNC") {
            command::copy_program(Path::new(&rsync), &work.dir("other").join("rsync"));
        }
        Court { work, program, path }
    }

    /// Judges a case. Its worlds `many` and `one` stay in the folder until the next case.
    pub fn judge(&self, case: &Case) -> Verdict {
        let since =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64 - 2);
        // Removes what the previous case has left.
        self.empty_temporary();
        let (many, way) = self.run_many(case, "many");

        let stderr = many.run.stderr_text();
        if many.run.status.code() == Some(1)
            && let Some(refusal) = refusal(&stderr)
        {
            // Nothing may have been changed.
            self.make(case, "w");
            let untouched = self.keep("one");
            let findings = trees(&untouched, &many.tree, i64::MAX);
            let outcome = if findings.is_empty() { refusal } else { Outcome::Different };
            return Verdict { outcome, way, findings, many: many.run, one: None };
        }

        let one = self.run(case, "one", false);
        let mut findings = differences(&one, &many, since);
        findings.extend(self.left_behind(&many.run));
        let mut outcome = Outcome::Identical;
        if one.run.over_limit {
            outcome = Outcome::Known("one rsync does not end");
        } else if !findings.is_empty() {
            let differs = |name| {
                let again = self.run(case, name, false);
                !differences(&one, &again, since).is_empty()
            };
            // Runs one rsync again, because its own results may vary.
            let may_be_same = || {
                let (again, _) = self.run_many(case, "again");
                differences(&one, &again, since).is_empty()
            };
            let lucky = way.plain.is_some() && (may_be_same() || may_be_same());
            outcome = if lucky || differs("again") || differs("again") {
                Outcome::Unstable
            } else {
                known::cause(case, &findings, &known::Runs { one: &one.run, many: &many.run })
                    .map_or(Outcome::Different, Outcome::Known)
            };
        }
        Verdict { outcome, way, findings, many: many.run, one: Some(one.run) }
    }

    fn run_many(&self, case: &Case, name: &str) -> (Ran, Way) {
        let ran = self.run(case, name, true);
        let mut way = Way::default();
        let (mut lines, statistics) = split_statistics(&ran.run.stdout);
        way.read(statistics);
        if !case.itemizes() {
            lines.clear();
        }
        (Ran { lines, ..ran }, way)
    }

    fn make(&self, case: &Case, name: &str) -> PathBuf {
        let world = self.work.join(name);
        remove(&world);
        let mount = |at: &Path| case.place.mount(&self.work, at, case.owner()).map_err(std::io::Error::other);
        // An overlay needs the entries that it hides before it is mounted.
        let (at_once, late) = (case.place.is_mounted() && case.place != Place::Overlay, case.place == Place::Overlay);
        let at_once: Option<Mount> = if at_once { Some(&mount) } else { None };
        let made = case.world.make(&world, case.owner(), at_once);
        let made = made.and_then(|()| if late { mount(&world.join("d")) } else { Ok(()) });
        made.unwrap_or_else(|e| panic!("make the world of {}: {e}", case.seed));
        world
    }

    /// Runs a case always in the same place, so that absolute names are the same, and then moves the world away.
    fn run(&self, case: &Case, name: &str, many: bool) -> Ran {
        let run = match many {
            true => self.run_words(case, name, many, |world| case.many(world)),
            false => self.run_words(case, name, many, |world| case.one(world)),
        };
        let lines = if case.itemizes() { lines(&run.stdout) } else { BTreeSet::new() };
        Ran { run, tree: self.work.join(name), lines }
    }

    /// Starts rsync or multi-sync with these arguments in the world of a case, which stays in the folder of this name.
    pub fn run_words(&self, case: &Case, name: &str, many: bool, words: impl Fn(&Path) -> Vec<OsString>) -> Run {
        let arguments = words;
        let world = self.make(case, "w");
        let run = match &case.stdin {
            Some(file) => format!("umask \"$0\"; cat {file} | \"$@\""),
            None => "umask \"$0\"; exec \"$@\"".to_owned(),
        };
        let mut words: Vec<OsString> = vec!["-c".into(), run.into(), format!("{:03o}", case.umask).into()];
        if many {
            words.push(self.program.clone().into());
        } else {
            words.push("rsync".into());
        }
        words.extend(arguments(&world));
        let mut command = command::command(&self.work, "sh");
        command.args(words).current_dir(world.join(&case.cwd)).env("LC_ALL", case.place.locale());
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        if case.place.is_remote() {
            command.env("RSYNC_RSH", place::shell(&self.work, case.place, &self.program));
        }
        if case.place.has_hosts() {
            place::login(&self.work, case.place, &self.program);
        }
        match case.place {
            Place::Pulled | Place::PulledByAgent | Place::PulledByListing => {
                command.env("RSYNC_RSH", place::shell(&self.work, case.place, &self.program));
            }
            Place::PulledModule => {
                let daemon = place::daemon(&self.work, &self.work.join("w"), !case.nobody && is_root(), case.seed);
                command.env("RSYNC_CONNECT_PROG", daemon);
            }
            _ => {}
        }
        let command = if case.nobody { as_nobody(&self.work, command) } else { command };
        let run = run_within(command, limit());
        self.keep(name);
        run
    }

    /// The path where the world of this name was left.
    pub fn kept(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    fn keep(&self, name: &str) -> PathBuf {
        let kept = self.work.join(name);
        remove(&kept);
        fs::rename(self.work.join("w"), &kept).expect("move a world away");
        kept
    }

    /// Empties the temporary folder, and returns what it contained.
    fn empty_temporary(&self) -> Vec<PathBuf> {
        let tmp = self.work.join("tmp");
        let names: Vec<PathBuf> =
            fs::read_dir(&tmp).expect("list the temporary folder").flatten().map(|e| e.path()).collect();
        for path in &names {
            remove(path);
            let _ = fs::remove_file(path);
        }
        names
    }

    /// What multi-sync has left in the temporary folder, except for a kept run directory, which it reports: if links are followed, that is here.
    fn left_behind(&self, many: &Run) -> Vec<Finding> {
        let names = self.empty_temporary();
        let said = many.stderr_text();
        let is_told = |path: &Path| {
            let run = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_prefix("multi-sync-"));
            run.is_some_and(|run| said.split_whitespace().any(|word| word == run))
        };
        let untold = names.iter().filter(|path| !is_told(path.as_path()));
        untold.map(|path| Finding::Left(format!("{}; it said: {}", Printable::path(path), said.trim()))).collect()
    }

    /// Moves the worlds to a place where neither the next case nor the end of the tests removes them.
    pub fn save(&self, to: &Path) {
        fs::create_dir_all(to).expect("make a folder for what is kept");
        for name in ["one", "many"] {
            let kept = to.join(name);
            remove(&kept);
            let mut copy = command::command(&self.work, "cp");
            copy.arg("-a").arg(self.work.join(name)).arg(kept);
            run_within(copy, limit());
        }
    }
}

impl Drop for Court {
    fn drop(&mut self) {
        for name in ["w", "one", "many", "again"] {
            remove(&self.work.join(name));
        }
    }
}

fn refusal(stderr: &str) -> Option<Outcome> {
    let line = stderr.lines().next()?.strip_prefix("multi-sync: ")?;
    if line.starts_with("rsync would skip the directory ") {
        return Some(Outcome::Refused("a directory without recursion".into()));
    }
    if line.starts_with("source '") && line.ends_with("has a control character in its remote path") {
        return Some(Outcome::Refused("a control character in the name of a source on another machine".into()));
    }
    // One rsync fails in this case as well, with 1 or 11.
    if line.contains("standard input is read twice") {
        return Some(Outcome::Refused("standard input twice".into()));
    }
    line.split_once(" cannot be used here").map(|(what, _)| Outcome::Refused(what.to_owned()))
}

impl Way {
    fn read(&mut self, statistics: &str) {
        for line in statistics.lines() {
            match line.split_once(": ") {
                Some(("One rsync for everything", why)) => self.plain = Some(why.to_owned()),
                Some(("Split directories", count)) => self.split = count.parse().unwrap_or(0),
                Some(("Made by the first pass", _)) => self.made = true,
                Some(("Launches", count)) => self.launches = count.parse().unwrap_or(0),
                Some(("Directories left whole", text)) => {
                    let why = text
                        .split_once('(')
                        .and_then(|(_, rest)| rest.split_once("), such as"))
                        .map_or(text, |(why, _)| why);
                    self.whole.push(why.to_owned());
                }
                _ => {}
            }
        }
    }
}

/// The lines of output without those of `-v`, `--progress` and `--stats` about the process: several rsyncs transfer other numbers of bytes.
fn lines(output: &[u8]) -> BTreeSet<Vec<u8>> {
    const ABOUT_THE_PROCESS: [&[u8]; 11] = [
        b"sending incremental file list",
        b"building file list",
        b"receiving incremental file list",
        b"receiving file list",
        b"sent ",
        b"total size is ",
        b"Number of ",
        b"Total ",
        b"Literal data: ",
        b"Matched data: ",
        b"File list ",
    ];
    let about = |line: &[u8]| ABOUT_THE_PROCESS.iter().any(|begin| line.starts_with(begin)) || line.contains(&b'\r');
    let counts = |line: &&[u8]| !line.is_empty() && !about(line);
    output.split(|&byte| byte == b'\n').filter(counts).map(<[u8]>::to_vec).collect()
}

/// The output that rsync would print, and the block of statistics that `--stats` adds at the end.
fn split_statistics(output: &[u8]) -> (BTreeSet<Vec<u8>>, &str) {
    const BEGIN: &[u8] = b"Status: ";
    let starts = |at: &usize| (*at == 0 || output[at - 1] == b'\n') && output[*at..].starts_with(BEGIN);
    let at = (0..output.len()).rev().find(starts).unwrap_or(output.len());
    (lines(&output[..at]), std::str::from_utf8(&output[at..]).unwrap_or_default())
}

fn differences(one: &Ran, many: &Ran, since: i64) -> Vec<Finding> {
    if one.run.over_limit || many.run.over_limit {
        return vec![Finding::Hung];
    }
    let codes = (one.run.status.code(), many.run.status.code());
    let mut findings = Vec::new();
    if codes.0 != codes.1 {
        findings.push(Finding::Code { one: codes.0, many: codes.1 });
    }
    findings.extend(trees(&one.tree, &many.tree, since));
    let shown = |line: &Vec<u8>| Printable::os(OsStr::from_bytes(line)).to_string();
    findings.extend(one.lines.difference(&many.lines).map(|line| Finding::Line { by_one: true, text: shown(line) }));
    findings.extend(many.lines.difference(&one.lines).map(|line| Finding::Line { by_one: false, text: shown(line) }));
    findings
}

/// Compares the trees. Two times after the start of the run count as equal, because both mean "now".
fn trees(one: &Path, many: &Path, since: i64) -> Vec<Finding> {
    let report = verify::compare(one, many, &verify::Options::default()).expect("compare two worlds");
    // With -R and an absolute source, the world and the directories above it are sent too. Other processes write into these meanwhile, and rsync may look at
    // the world before or after it creates DEST there.
    let above = &one.with_file_name("w");
    let is_above = |path: &[u8]| path.strip_prefix(b"d").is_some_and(|rest| above.starts_with(OsStr::from_bytes(rest)));
    let counts = |difference: &Difference| match &difference.kind {
        DifferenceKind::Mtime { .. } if difference.path.len() > 1 && is_above(&difference.path) => false,
        DifferenceKind::Mtime { left, right } => left.0 < since || right.0 < since,
        _ => true,
    };
    but_for_the_unseen(report.differences).into_iter().filter(counts).map(Finding::Tree).collect()
}

/// Removes a folder, if it exists, whatever modes it contains, and unmounts its `d`.
pub fn remove(dir: &Path) {
    if fs::symlink_metadata(dir).is_err() {
        return;
    }
    unmount(&dir.join("d"));
    if fs::remove_dir_all(dir).is_err() {
        open(dir);
        let _ = fs::remove_dir_all(dir);
    }
}

fn open(dir: &Path) {
    let _ = set_immutable(dir, false);
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open(&entry.path());
        }
    }
}
