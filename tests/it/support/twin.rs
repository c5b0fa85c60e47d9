//! The same copy twice, by one plain rsync and by multi-sync, and all differences between the results.
//!
//! Each side writes into a folder of its own, whose name stands for `SIDE` in the words of the command line. The exit codes and the two folders are compared,
//! with [`multi_sync::harness::verify`]. Times later than the start of the test count as equal, because rsync sets the time of writing in some cases.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rayon::prelude::*;

use multi_sync::harness::verify::{self, Difference, DifferenceKind, compare};

use super::command::{Run, as_nobody, multi_sync, quoted, rsync, run, run_within};
use super::daemon::find_program;
use super::work::Work;

/// Far more than either needs: rsync 3.5.0 itself may sleep for 60 s before it ends (see the limit in the oracle's judge).
const LIMIT: Duration = Duration::from_secs(90);

/// A copy that is done twice.
pub struct Twin<'a> {
    pub work: &'a Work,
    sides: [String; 2],
    words: Vec<OsString>,
    options: OsString,
    option_words: Option<Vec<OsString>>,
    env: Vec<(&'static str, OsString)>,
    flags: Vec<OsString>,
    cwd: OsString,
    umask: Option<&'static str>,
    nobody: bool,
    prepare: Box<dyn Fn(&Path) + 'a>,
    counted: verify::Options,
    allowed: Box<dyn Fn(&Difference) -> bool + Sync + 'a>,
}

impl<'a> Twin<'a> {
    /// `SRC... DEST`, with `SIDE` for the folder of a side, which is below the work folder. Tiny buckets and four rsyncs are used unless [`Twin::flags`] says
    /// otherwise.
    pub fn new<W: AsRef<OsStr>>(work: &'a Work, words: impl IntoIterator<Item = W>) -> Twin<'a> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Twin {
            work,
            sides: [format!("one{count}"), format!("many{count}")],
            words: words.into_iter().map(|word| word.as_ref().to_owned()).collect(),
            options: "-aS --numeric-ids".into(),
            option_words: None,
            env: Vec::new(),
            flags: ["-p", "4", "-f", "3"].map(OsString::from).into(),
            cwd: ".".into(),
            umask: None,
            nobody: false,
            prepare: Box::new(|_| {}),
            counted: verify::Options { root: false, ..verify::Options::archive() },
            allowed: Box::new(|_| false),
        }
    }

    /// rsync's options, split at blanks.
    #[must_use]
    pub fn options(mut self, options: impl Into<OsString>) -> Self {
        self.options = options.into();
        self
    }

    /// multi-sync's options, split at blanks.
    #[must_use]
    pub fn flags(mut self, flags: &str) -> Self {
        self.flags = flags.split_whitespace().map(OsString::from).collect();
        self
    }

    /// rsync's options as words, with `SIDE` replaced in them too; multi-sync gets them quoted.
    #[must_use]
    pub fn words_of_options(mut self, words: &[&str]) -> Self {
        self.option_words = Some(words.iter().map(OsString::from).collect());
        self
    }

    /// An additional environment variable for both.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// The working directory, relative to the work folder; `SIDE` is replaced here too.
    #[must_use]
    pub fn cwd(mut self, cwd: &str) -> Self {
        self.cwd = cwd.into();
        self
    }

    #[must_use]
    pub fn umask(mut self, umask: &'static str) -> Self {
        self.umask = Some(umask);
        self
    }

    /// Runs both as user nobody, who owns the folders of the sides, if the tests run as root.
    #[must_use]
    pub fn nobody(mut self) -> Self {
        self.nobody = true;
        self
    }

    /// Fills the folder of a side before the copy.
    #[must_use]
    pub fn prepare(mut self, prepare: impl Fn(&Path) + 'a) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    /// Also compares extended attributes with ACLs, holes, or both.
    #[must_use]
    pub fn count(mut self, xattrs: bool, holes: bool) -> Self {
        self.counted = verify::Options { xattrs, holes, ..self.counted };
        self
    }

    /// Differences that are accepted.
    #[must_use]
    pub fn allow(mut self, allowed: impl Fn(&Difference) -> bool + Sync + 'a) -> Self {
        self.allowed = Box::new(allowed);
        self
    }

    /// The folder of multi-sync's side.
    pub fn many(&self) -> PathBuf {
        self.work.join(&self.sides[1])
    }

    /// The folder of the plain rsync's side.
    pub fn one(&self) -> PathBuf {
        self.work.join(&self.sides[0])
    }

    /// Copies twice, and panics with all details unless both ended with the same exit code and the same result. Returns the run of the one rsync and that of
    /// multi-sync.
    #[track_caller]
    pub fn same(&self) -> (Run, Run) {
        self.copy().unwrap_or_else(|why| panic!("{why}"))
    }

    /// Copies twice; returns all details if the two differ. For tables, which continue with the next case.
    pub fn difference(&self) -> Option<String> {
        self.copy().err()
    }

    fn copy(&self) -> Result<(Run, Run), String> {
        let (one, many, different) = self.attempt();
        let Some(different) = different else { return Ok((one, many)) };
        let (one, many) = (one.listing([self.one()]), many.listing([self.many()]));
        Err(format!("one rsync (left) and multi-sync (right) differ\n{different}{}\n{}", one.report(), many.report()))
    }

    /// Copies twice; returns both runs and the difference. For copies whose result varies even with one rsync.
    pub fn attempt(&self) -> (Run, Run, Option<String>) {
        let floor = self.now();
        let mut one = rsync(self.work);
        one.args(self.options_for(0)).arg("--").args(self.words_for(0));
        let mut many = multi_sync(self.work);
        let options: Vec<String> = self.options_for(1).iter().map(|word| quoted(word)).collect();
        many.args(&self.flags).arg("-r").arg(options.join(" ")).arg("--").args(self.words_for(1));
        let one = self.run(0, one);
        let many = self.run(1, many);
        let (left, right) = (self.one(), self.many());
        let report = compare(&left, &right, &self.counted).expect("compare the two sides");
        let recent = |kind: &DifferenceKind| matches!(kind, DifferenceKind::Mtime { left, right } if left.0 >= floor && right.0 >= floor);
        let different: Vec<String> = but_for_the_unseen(report.differences)
            .iter()
            .filter(|difference| !recent(&difference.kind) && !(self.allowed)(difference))
            .map(|difference| format!("  {difference}\n"))
            .collect();
        if different.is_empty() && one.status.code() == many.status.code() && !many.over_limit {
            return (one, many, None);
        }
        let different = format!("{} differences:\n{}", different.len(), different.concat());
        (one, many, Some(different))
    }

    fn run(&self, side: usize, mut command: Command) -> Run {
        let folder =
            if self.nobody { self.work.dir_for_nobody(&self.sides[side]) } else { self.work.dir(&self.sides[side]) };
        (self.prepare)(&folder);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let cwd = self.work.join(replace(&self.cwd, b"SIDE", self.sides[side].as_bytes()));
        command.current_dir(&cwd);
        if let Some(umask) = self.umask {
            let mut wrapped = Command::new("sh");
            wrapped.args(["-c", &format!("umask {umask} && exec \"$@\""), "sh"]).arg(command.get_program());
            wrapped.args(command.get_args()).current_dir(&cwd);
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => wrapped.env(name, value),
                    None => wrapped.env_remove(name),
                };
            }
            command = wrapped;
        }
        run_within(if self.nobody { as_nobody(self.work, command) } else { command }, LIMIT)
    }

    fn options_for(&self, side: usize) -> Vec<OsString> {
        match &self.option_words {
            Some(words) => words.iter().map(|word| replace(word, b"SIDE", self.sides[side].as_bytes())).collect(),
            None => {
                let words = self.options.as_bytes().split(|byte| *byte == b' ');
                words.filter(|word| !word.is_empty()).map(|word| OsStr::from_bytes(word).to_owned()).collect()
            }
        }
    }

    fn words_for(&self, side: usize) -> Vec<OsString> {
        self.words.iter().map(|word| replace(word, b"SIDE", self.sides[side].as_bytes())).collect()
    }

    /// The clock of the file system, in seconds.
    fn now(&self) -> i64 {
        self.work.file("clock", "").symlink_metadata().expect("look at a file").mtime()
    }
}

/// Differences without entries that cannot be read on either side: only root sees everything.
pub fn but_for_the_unseen(differences: Vec<Difference>) -> Vec<Difference> {
    let is_unseen = |one: &Difference| match one.kind {
        DifferenceKind::Unreadable { side, errno } => differences.iter().any(|other| {
            let again =
                matches!(other.kind, DifferenceKind::Unreadable { side: s, errno: e } if s != side && e == errno);
            again && other.path == one.path
        }),
        _ => false,
    };
    differences.iter().filter(|difference| !is_unseen(difference)).cloned().collect()
}

fn replace(word: &OsStr, what: &[u8], with: &[u8]) -> OsString {
    let (mut rest, mut out) = (word.as_bytes(), Vec::new());
    while let Some(place) = rest.windows(what.len()).position(|window| window == what) {
        out.extend_from_slice(&rest[..place]);
        out.extend_from_slice(with);
        rest = &rest[place + what.len()..];
    }
    out.extend_from_slice(rest);
    OsString::from_vec(out)
}

/// Checks each case of a table, four at a time because most of the time is waiting, and panics with all failures.
#[track_caller]
pub fn table<T: Sync>(cases: &[T], check: impl Fn(&T) -> Option<String> + Sync) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().expect("start threads");
    let failed: Vec<String> = pool.install(|| cases.par_iter().filter_map(&check).collect());
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

/// Puts a shell script in place of rsync, for commands that look it up in `PATH`. In the script, `REAL` is the real rsync, and the question for the version
/// is already answered.
pub fn fake_rsync(command: &mut Command, work: &Work, script: &str) {
    let script = format!("#!/bin/sh\ncase \" $* \" in *' --version '*) exec REAL \"$@\" ;; esac\n{script}\n");
    faked_rsync(command, work, &script);
}

/// The same without the answer to the question for the version: `script` is everything.
pub fn faked_rsync(command: &mut Command, work: &Work, script: &str) {
    command.env("PATH", path_to_fake(work, script));
}

/// The `PATH` with the script.
pub fn path_to_fake(work: &Work, script: &str) -> OsString {
    let real = find_program("rsync").expect("rsync is installed");
    let script = script.replace("REAL", real.to_str().expect("the path of rsync is UTF-8"));
    let dir = work.dir("fake");
    // Written by another process: a script that this process, or a child forked meanwhile, holds open for writing cannot be started. It is first written
    // under another name, because a running script cannot be overwritten.
    let script_of = "printf %s \"$1\" >\"$2/new\" && chmod 755 \"$2\" \"$2/new\" && mv \"$2/new\" \"$2/rsync\"";
    let mut write = super::command::sh(work, script_of);
    write.arg("sh").arg(script).arg(&dir);
    run(write).expect_code(0);
    let mut path = OsString::from(dir);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

/// Everything that a refused run may not change: all names below a folder, with type, size, mode, and time.
pub fn snapshot(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = path.symlink_metadata().unwrap_or_else(|e| panic!("look at {}: {e}", path.display()));
        let (mode, size, time) = (meta.mode(), meta.size(), (meta.mtime(), meta.mtime_nsec()));
        lines.push(format!("{:?} {mode:o} {size} {time:?}", path.strip_prefix(dir).unwrap_or(&path)));
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).expect("list a folder").map(|entry| entry.expect("list a folder").path()));
        }
    }
    lines.sort();
    lines
}

/// Names below `dir` that look like temporary files of rsync: `.NAME.XXXXXX` (rsync(1), `--temp-dir`).
pub fn temporary_files(dir: &Path) -> Vec<PathBuf> {
    let looks = |name: &[u8]| {
        let end = name.len().saturating_sub(7);
        name.first() == Some(&b'.')
            && end > 1
            && name[end] == b'.'
            && name[end + 1..].iter().all(u8::is_ascii_alphanumeric)
    };
    let (mut found, mut todo) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(entry.path());
            } else if looks(entry.file_name().as_bytes()) {
                found.push(entry.path());
            }
        }
    }
    found
}
