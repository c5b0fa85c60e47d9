//! Whether everything at DEST is already up to date: one rsync with `--dry-run` checks that while the sources are examined. Through a connection that takes
//! long to open, the questions, the scan and the launches of several rsyncs take longer than one rsync that finds nothing to do. With this check, multi-sync is
//! not slower than one rsync.
//!
//! A dry run compares as the copy does, and prints a line for each change that the copy would make: each kind of difference was tried with 3.2.7 and 3.5.0, and
//! each was printed. The first such line ends the check, and the copy begins as usual: nothing was changed so far. The result counts only if the dry run ended
//! with code 0, without a line on standard error, and with all totals 0.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::connection::Connections;
use crate::error::Result;
use crate::first_pass::Wish;
use crate::rsync::command::Invocation;
use crate::rsync::exit;
use crate::rsync::options::Opt;
use crate::rsync::output::{Figures, Line, Transcript};
use crate::supervise::{Stop, Stream, Supervisor};
use crate::thread;

/// Precedes each line that a dry run prints about an entry. No message of rsync begins with it.
const MARK: &str = "~";
/// If the check takes longer, there are so many entries that several rsyncs find the answer sooner.
const LONGEST: Duration = Duration::from_secs(1);
/// How long the end of an abandoned check is waited for.
const LONGEST_END: Duration = Duration::from_secs(5);

/// The options that the dry run may get, and that change nothing if everything is up to date. With any other option the copy begins at once.
#[rustfmt::skip] // A table.
const KNOWN: [Opt; 51] = [
    Opt::Acls, Opt::Address, Opt::Archive, Opt::BlockSize, Opt::Bwlimit, Opt::ChecksumChoice, Opt::Compress, Opt::CompressChoice,
    Opt::CompressLevel, Opt::Contimeout, Opt::D, Opt::Delete, Opt::DeleteAfter, Opt::DeleteDelay, Opt::DeleteDuring, Opt::DeleteExcluded,
    Opt::Devices, Opt::DropD, Opt::EightBitOutput, Opt::Exclude, Opt::Executability, Opt::Filter, Opt::Group, Opt::HardLinks,
    Opt::HumanReadable, Opt::Include, Opt::Inplace, Opt::Ipv4, Opt::Ipv6, Opt::Links, Opt::ModifyWindow, Opt::NumericIds,
    Opt::OmitDirTimes, Opt::OmitLinkTimes, Opt::Owner, Opt::Partial, Opt::PasswordFile, Opt::Perms, Opt::Port, Opt::Preallocate,
    Opt::Recursive, Opt::Rsh, Opt::RsyncPath, Opt::SecludedArgs, Opt::SizeOnly, Opt::Sparse, Opt::Specials, Opt::Timeout, Opt::Times,
    Opt::WholeFile, Opt::Xattrs,
];

/// A running check. Dropping it ends the check.
pub struct UpToDate {
    supervisor: Arc<Supervisor>,
    /// `None` after the check has ended.
    answer: Mutex<Option<Receiver<Option<Figures>>>>,
    until: Instant,
}

impl std::fmt::Debug for UpToDate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpToDate").finish_non_exhaustive()
    }
}

/// Whether the job may have nothing to do, and needs nothing else from the run.
pub(super) fn may_be(config: &Config) -> bool {
    let keeps = config.buckets.is_some() || config.keep || config.limits_given;
    let looks_otherwise =
        config.dry_run || config.verify_only || config.counts_deletions || config.delete_limit.is_some();
    let first_pass = config.first_pass == Wish::On;
    // If the user is not root, rsync may be denied something that a dry run does not try: it would make a directory writable, and lock it again.
    let is_root = rustix::process::geteuid().is_root();
    let is_plain = is_root && config.hosts.is_empty() && config.timetable.is_none() && !config.gitignore;
    let dest = config.destination.as_typed(&config.cwd);
    let has_something = || std::fs::read_dir(&dest).is_ok_and(|mut names| names.next().is_some());
    !keeps
        && !looks_otherwise
        && !first_pass
        && is_plain
        && config.destination.is_local()
        && config.options.settings().iter().all(|setting| KNOWN.contains(&setting.spec.id))
        && has_something()
}

impl UpToDate {
    /// Starts the check, through the connection if that opens. `None` if the system allows no more threads.
    pub(super) fn start(config: &Config, early: Option<Arc<Connections>>) -> Option<UpToDate> {
        let supervisor = Arc::<Supervisor>::default();
        let (sender, answer) = mpsc::sync_channel(1);
        let (own, config) = (Arc::clone(&supervisor), config.clone());
        let began = thread::detach(move || {
            let found = look(&config, early.as_deref(), &own).ok().flatten();
            // After the check was abandoned, nothing receives this.
            let _ = sender.send(found);
        });
        let until = Instant::now() + LONGEST;
        began.ok().map(|()| UpToDate { supervisor, answer: Mutex::new(Some(answer)), until })
    }

    /// rsync's figures if everything is up to date; `None` if something is to be done, or if the answer comes too late.
    pub fn wait(&self, given_up: impl Fn() -> bool) -> Option<Figures> {
        /// How often `given_up` is checked.
        const LOOK_EVERY: Duration = Duration::from_millis(20);
        // If the run was given up, even an existing answer does not count.
        while !given_up() {
            let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
            match answer.as_ref()?.recv_timeout(LOOK_EVERY) {
                Ok(found) => return found,
                Err(RecvTimeoutError::Timeout) if Instant::now() < self.until => {}
                Err(_) => break,
            }
        }
        self.end();
        None
    }

    /// Ends the check, and waits for its end, because a daemon may accept only one client.
    pub(super) fn end(&self) {
        self.supervisor.stop(Stop::Kill);
        if let Some(answer) = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = answer.recv_timeout(LONGEST_END);
        }
    }
}

impl Drop for UpToDate {
    fn drop(&mut self) {
        self.end();
    }
}

/// The figures of a dry run that has printed nothing else.
fn look(config: &Config, early: Option<&Connections>, supervisor: &Supervisor) -> Result<Option<Figures>> {
    let mut words = config.options.argv().to_vec();
    if let Some(connections) = early {
        // Without the connection, ssh might ask for a password a second time.
        if connections.wait_for_socket(0, supervisor).is_none() {
            return Ok(None);
        }
        words.extend(["-e".into(), connections.wait(0, 0, supervisor)]);
    }
    // The greeting of a daemon is for the user, so that it counts as a line like any other.
    words.extend(["-n", "--stats", "--no-h", "--outbuf=L"].map(Into::into));
    // Without `%i`, rsync does not print a symbolic link of which only the owner differs (experiment, 3.5.0).
    words.push(format!("--out-format={MARK}%i %n").into());
    words.push("--".into());
    words.extend(config.sources.iter().map(|source| source.original().to_owned()));
    words.push(config.destination.original().to_owned());
    let mut transcript = Transcript::default();
    let mut differs = false;
    let question = Invocation::rsync(&config.program, words, &config.cwd);
    let ended = supervisor.run(&question, &mut |stream, line| {
        let says_nothing = match stream {
            Stream::Stdout if line.starts_with(MARK.as_bytes()) => false,
            Stream::Stdout => matches!(transcript.stdout(line), Line::Statistics | Line::Sums | Line::Blank),
            Stream::Stderr => line.is_empty(),
        };
        if !says_nothing && !differs {
            differs = true;
            supervisor.stop(Stop::Kill);
        }
    })?;
    let figures = transcript.figures;
    let is_nothing = figures.created.total() == 0 && figures.deleted.total() == 0 && figures.transferred == 0;
    let is_known = transcript.has_figures() && figures.files.total() > 0;
    Ok((ended.code() == exit::OK && !differs && is_known && is_nothing).then_some(figures))
}
