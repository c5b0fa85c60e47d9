//! What the checks use: folders for writing, copies by multi-sync and by one rsync, and the comparison of the results.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Request, Verdict};
use crate::config::Config;
use crate::endpoint::{Destination, Source};
use crate::engine::Control;
use crate::error::{Error, Result};
use crate::rsync::command::Invocation;
use crate::rsync::exit;
use crate::rsync::options::Options;
use crate::scan::Limits;
use crate::trial::{self, Copied, Ran, Site, Stopper};
use crate::verify::{self, Difference, DifferenceKind, Report};

/// How many differences are shown.
const SHOWN: usize = 3;

/// A check.
pub(super) struct Check {
    pub name: String,
    pub run: Box<dyn Fn(&Ground<'_>) -> Checked>,
}

pub(super) fn check(name: impl Into<String>, run: impl Fn(&Ground<'_>) -> Checked + 'static) -> Check {
    Check { name: name.into(), run: Box::new(run) }
}

pub(super) type Checked = std::result::Result<Verdict, Failure>;

/// The reason why a check failed.
#[derive(Debug)]
pub(super) struct Failure(pub String);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error.to_string())
    }
}

pub(super) fn passed() -> Checked {
    Ok(Verdict::Passed(String::new()))
}

pub(super) fn passed_with(detail: impl Display) -> Checked {
    Ok(Verdict::Passed(detail.to_string()))
}

pub(super) fn skipped(why: impl Display) -> Checked {
    Ok(Verdict::Skipped(why.to_string()))
}

pub(super) fn failed<T>(how: impl Display) -> std::result::Result<T, Failure> {
    Err(Failure(how.to_string()))
}

pub(super) fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> std::result::Result<(), Failure> {
    if holds { Ok(()) } else { failed(otherwise()) }
}

/// Folders and a destination for the checks.
pub(super) struct Ground<'a> {
    pub stopper: &'a Stopper,
    pub cwd: &'a Path,
    work: Site,
    there: Site,
    more: &'a Options,
    /// The multi-sync that the user has started.
    command: &'a Path,
    count: AtomicU32,
}

/// What is copied, where to, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    pub source: &'a Path,
    pub name: &'a str,
    pub options: &'a str,
    pub processes: usize,
    /// The number of entries in a bucket: few, so that there are several buckets.
    pub entries: u64,
}

impl<'a> Ground<'a> {
    pub fn make(request: &'a Request, stopper: &'a Stopper) -> Result<Ground<'a>> {
        let temporary = request.cwd.join(&request.temporary);
        let temporary = Destination::parse(temporary.as_os_str())?;
        let connection = request.options.connection_options();
        let work = Site::make(&temporary, &connection, &request.cwd, stopper)?;
        let above = request.destination.as_ref().unwrap_or(&temporary);
        let there = Site::make(above, &connection, &request.cwd, stopper)?;
        let ground = Ground {
            stopper,
            cwd: &request.cwd,
            work,
            there,
            more: &request.options,
            command: &request.command,
            count: AtomicU32::new(0),
        };
        let buckets = ground.buckets();
        std::fs::create_dir(&buckets).map_err(|cause| Error::io("make", &buckets, cause))?;
        Ok(ground)
    }

    pub fn close(self) -> Result<()> {
        let there = self.there.close();
        self.work.close().and(there)
    }

    /// A path for a new tree on this machine.
    pub fn new_path(&self, name: &str) -> PathBuf {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.inside(&format!("{name}{number}"))
    }

    pub fn buckets(&self) -> PathBuf {
        self.inside("buckets")
    }

    fn inside(&self, name: &str) -> PathBuf {
        self.work.local(name).expect("the work folder is on this machine")
    }

    /// Where copies go.
    pub fn there(&self) -> &Site {
        &self.there
    }

    /// These options, together with those that the user has given for all copies.
    pub fn options(&self, text: &str) -> Result<Options> {
        let mut words = Options::parse_str(OsStr::new(text))?.argv();
        words.extend(self.more.argv());
        Options::parse(&words)
    }

    /// The configuration for copying `SOURCE/` to `NAME` with these options.
    pub fn config(&self, job: &Job<'_>) -> Result<Config> {
        let source = Source::parse(job.source.join("").as_os_str())?;
        let destination = Destination::parse(&self.there.at(job.name))?;
        let mut config = Config::new(vec![source], destination, self.options(job.options)?, self.cwd.to_owned());
        config.processes = NonZero::new(job.processes).unwrap_or(NonZero::<usize>::MIN);
        config.limits = Limits { entries: NonZero::new(job.entries).unwrap_or(NonZero::<u64>::MIN), ..config.limits };
        // Without this, so small a tree would be a single launch, and nothing would be tested.
        config.limits_given = true;
        config.buckets = Some(self.buckets());
        Ok(config)
    }

    pub fn copy(&self, config: &Config) -> Result<Copied> {
        trial::copy(config, self.stopper, &Arc::<Control>::default(), &|_| {})
    }

    /// Copies, and expects this exit code.
    pub fn copy_ends(&self, config: &Config, code: u8) -> std::result::Result<Copied, Failure> {
        let copied = self.copy(config)?;
        let ended = copied.summary.code;
        expect(ended.get() == code, || {
            format!("it ended with exit code {ended} instead of {code}: {}", copied.output.gist())
        })?;
        Ok(copied)
    }

    /// Lets one rsync do the same job, to `name`.
    pub fn one_rsync(&self, job: &Job<'_>) -> Result<Ran> {
        let mut words = self.options(job.options)?.argv();
        words.extend(["--".into(), job.source.join("").into_os_string(), self.there.at(job.name)]);
        trial::rsync(words, self.cwd, self.stopper)
    }

    /// Runs the command with these arguments; `control` can interrupt it.
    pub fn run_command(&self, words: Vec<OsString>, control: &Arc<Control>) -> Result<Ran> {
        let program = self.command;
        let invocation = Invocation::new(program, words, self.cwd);
        trial::output_of(&invocation, self.stopper, control)
    }

    /// The copy `name` as a tree on this machine.
    pub fn seen(&self, name: &str) -> Result<PathBuf> {
        if let Some(path) = self.there.local(name) {
            return Ok(path);
        }
        let path = self.new_path("seen");
        self.there.pull(name, &path, self.stopper)?;
        Ok(path)
    }

    /// Copies, and expects that the copy equals the source. If a daemon is used, which may change attributes, the copy has to equal that of one rsync.
    pub fn copy_is_same(
        &self,
        job: &Job<'_>,
        config: &Config,
        counts: &verify::Options,
    ) -> std::result::Result<Copied, Failure> {
        let copied = self.copy_ends(config, exit::OK)?;
        self.is_same(job, counts)?;
        Ok(copied)
    }

    /// Expects that `name` equals the source.
    pub fn is_same(&self, job: &Job<'_>, counts: &verify::Options) -> std::result::Result<(), Failure> {
        if self.there.is_daemon() {
            return self.is_as_one_rsync(job, counts);
        }
        let report = verify::compare(job.source, &self.seen(job.name)?, &self.countable(counts))?;
        expect(report.is_same(), || format!("the copy differs from the source: {}", gist(&report)))
    }

    /// Expects that `name` equals the copy that one rsync makes in another place.
    pub fn is_as_one_rsync(&self, job: &Job<'_>, counts: &verify::Options) -> std::result::Result<(), Failure> {
        let twin = format!("{}-one", job.name);
        let ran = self.one_rsync(&Job { name: &twin, ..*job })?;
        expect(ran.ended.code() == exit::OK, || format!("one rsync failed: {}", ran.output.gist()))?;
        let report = verify::compare(&self.seen(&twin)?, &self.seen(job.name)?, &self.countable(counts))?;
        expect(report.is_same(), || format!("the copy differs from that of one rsync: {}", gist(&report)))
    }

    /// Without the comparison of owners for another machine, where it depends on the login whether they can be set.
    fn countable(&self, counts: &verify::Options) -> verify::Options {
        let here = self.there.local("").is_some();
        verify::Options { owner: counts.owner && here, group: counts.group && here, ..counts.clone() }
    }

    /// Expects that no bucket directory is left.
    pub fn no_buckets_left(&self) -> std::result::Result<(), Failure> {
        let folder = self.buckets();
        let left = std::fs::read_dir(&folder).map_err(|cause| Error::io("list", &folder, cause))?.count();
        expect(left == 0, || "the bucket directory was not removed".into())
    }
}

/// The first differences, on one line. Times come last, because a missing entry also changes the time of its directory.
pub(super) fn gist(report: &Report) -> String {
    let mut differences: Vec<&Difference> = report.differences.iter().collect();
    differences.sort_by_key(|found| matches!(found.kind, DifferenceKind::Mtime { .. }));
    let mut shown: Vec<String> = differences.into_iter().take(SHOWN).map(ToString::to_string).collect();
    let more = report.found.saturating_sub(shown.len() as u64);
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join("; ")
}
