//! The description of a job.
//!
//! One file, because each setting is a field, a method and a word of a command line.

use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::words::option;
use super::{CancelHandle, DeleteLimit, Depth, FirstPass, Job, RemoteScan, ScanBy};
use crate::config::{Config, DEFAULT_RETRIES, DEFAULT_RSYNC, MOST_THREADS, PROGRAM, largest_processes, most_processes};
use crate::endpoint::Ends;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::hosts::{self, Wanted};
use crate::outlet::{Outlet, Outlets, ReportFile};
use crate::rsync::options::{Aliases, CommandLine};
use crate::run_dir::Keep;
use crate::state;
use crate::steer::Timetable;

/// Describes a job: what is copied, where to, and how. Values are checked by [`JobBuilder::build`].
///
/// Settings that are not given have the defaults of the command line: one process, rsync's options `-aS --numeric-ids`, a run directory in the
/// user's state directory.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct JobBuilder {
    sources: Vec<OsString>,
    destination: Option<OsString>,
    rsync_options: Option<Vec<OsString>>,
    rsync_program: Option<OsString>,
    current_dir: Option<PathBuf>,
    processes: Option<usize>,
    adapts: bool,
    bucket_entries: Option<u64>,
    bucket_bytes: Option<u64>,
    run_parent: Option<PathBuf>,
    keep: bool,
    keep_days: Option<u64>,
    scan_threads: Option<usize>,
    remote_scan: Option<RemoteScan>,
    scan_by: Option<ScanBy>,
    first_pass: Option<FirstPass>,
    first_pass_threads: Option<usize>,
    gitignore: bool,
    verify: Option<Depth>,
    delete_limit: Option<DeleteLimit>,
    progress: bool,
    launches: bool,
    retries: Option<u32>,
    stall: Option<Duration>,
    hosts: Option<OsString>,
    ssh: Option<OsString>,
    engine: Option<OsString>,
    ends_at: Option<SystemTime>,
    host_timeout: Option<Duration>,
    mixed_users: bool,
    schedule: Option<String>,
    max_load: Option<String>,
    max_dest_full: Option<String>,
    max_pressure: Option<String>,
    events: Option<PathBuf>,
    progress_interval: Option<Duration>,
    report: Option<PathBuf>,
}

impl JobBuilder {
    /// Adds a source, with rsync's meaning of a trailing slash. It is a path on this machine, a path on each of the [`hosts`](JobBuilder::hosts), or a
    /// source on another machine in rsync's notation. All sources are on the same machine.
    pub fn source(mut self, path: impl AsRef<OsStr>) -> Self {
        self.sources.push(path.as_ref().to_owned());
        self
    }

    /// Sets the destination in rsync's notation: a path, `[USER@]HOST:PATH`, `[USER@]HOST::MODULE/PATH` or `rsync://[USER@]HOST[:PORT]/MODULE/PATH`.
    pub fn destination(mut self, destination: impl AsRef<OsStr>) -> Self {
        self.destination = Some(destination.as_ref().to_owned());
        self
    }

    /// Sets rsync's options, one word each. The value of an option may be in the next word.
    pub fn rsync_options<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.rsync_options = Some(words.into_iter().map(|word| word.as_ref().to_owned()).collect());
        self
    }

    /// Sets the rsync that is started: `rsync`, which is looked up in `PATH`, or a path that ends in `/rsync`. If it cannot be started, or is older than 3.1,
    /// the job does not begin: [`ErrorKind::Usage`](crate::ErrorKind::Usage), and a cause if it could not be started.
    pub fn rsync_program(mut self, program: impl AsRef<OsStr>) -> Self {
        self.rsync_program = Some(program.as_ref().to_owned());
        self
    }

    /// Sets the directory to which relative names are relative; the default is the working directory of the process. A run that is
    /// [resumed](Job::resume) needs the same one, even if all names are absolute.
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(dir.into());
        self
    }

    /// Sets the number of rsyncs that run at once; the default is 1, with which a single rsync does everything unless the size of buckets is set.
    pub fn processes(mut self, count: usize) -> Self {
        self.processes = Some(count);
        self.adapts = false;
        self
    }

    /// Finds the best number of rsyncs by trying more and fewer while copying.
    pub fn adaptive_processes(mut self) -> Self {
        self.adapts = true;
        self
    }

    /// Sets the most entries of a bucket; the default is 1000. Each bucket is then copied by a launch of its own.
    pub fn bucket_entries(mut self, count: u64) -> Self {
        self.bucket_entries = Some(count);
        self
    }

    /// Sets the most bytes of a bucket; the default is 1 GiB. Each bucket is then copied by a launch of its own.
    pub fn bucket_bytes(mut self, bytes: u64) -> Self {
        self.bucket_bytes = Some(bytes);
        self
    }

    /// Sets the directory in which the run directory is created. A run directory there remains until everything has been copied.
    pub fn run_parent(mut self, dir: impl Into<PathBuf>) -> Self {
        self.run_parent = Some(dir.into());
        self
    }

    /// Keeps the run directory after success too.
    pub fn keep_run_directory(mut self) -> Self {
        self.keep = true;
        self
    }

    /// Sets for how many days the directories of runs that did not complete are kept in the user's state directory; the default is 30. With 0 none is
    /// created there.
    pub fn keep_runs_for_days(mut self, days: u64) -> Self {
        self.keep_days = Some(days);
        self
    }

    /// Sets the number of threads that scan the sources, at most 256; the default is [`usual_threads`](crate::scan::usual_threads).
    pub fn scan_threads(mut self, count: usize) -> Self {
        self.scan_threads = Some(count);
        self
    }

    /// Sets whether this machine or the source hosts scan sources that both see.
    pub fn scan_by(mut self, by: ScanBy) -> Self {
        self.scan_by = Some(by);
        self
    }

    /// Sets which program scans sources on another machine.
    pub fn remote_scan(mut self, wanted: RemoteScan) -> Self {
        self.remote_scan = Some(wanted);
        self
    }

    /// Sets whether threads create the directories and files that a destination on this machine lacks, before rsyncs look at everything. By default they
    /// do if that is exact and several rsyncs copy ([`FirstPass::Auto`]).
    pub fn first_pass(mut self, wish: FirstPass) -> Self {
        self.first_pass = Some(wish);
        self
    }

    /// Sets the number of threads of the [first pass](JobBuilder::first_pass), for all rsyncs together, at most 256.
    pub fn first_pass_threads(mut self, count: usize) -> Self {
        self.first_pass_threads = Some(count);
        self
    }

    /// Leaves out what `.gitignore` and `.ignore` files exclude.
    pub fn gitignore(mut self) -> Self {
        self.gitignore = true;
        self
    }

    /// Asks rsync after the copy what it would still change ([`Outcome::differences`](super::Outcome::differences)).
    pub fn verify(mut self, depth: Depth) -> Self {
        self.verify = Some(depth);
        self
    }

    /// Sets how much may be deleted: deletions are counted before anything is copied. If there are more than the limit, nothing is deleted, everything
    /// else is done, and the exit code is 25.
    pub fn delete_limit(mut self, limit: DeleteLimit) -> Self {
        self.delete_limit = Some(limit);
        self
    }

    /// Makes the job report [`Event::Progress`](super::Event::Progress) several times a second.
    pub fn progress(mut self) -> Self {
        self.progress = true;
        self
    }

    /// Makes the job report [`Event::Launches`](super::Event::Launches) as well.
    pub fn launches(mut self) -> Self {
        (self.progress, self.launches) = (true, true);
        self
    }

    /// Sets how often a launch whose connection failed is retried; the default is 3.
    pub fn retries(mut self, count: u32) -> Self {
        self.retries = Some(count);
        self
    }

    /// Ends an rsync that has neither printed, read nor written anything for this time, and retries its work; by default none is ended. Rounded up to
    /// whole seconds, to one at least.
    pub fn stall_timeout(mut self, patience: Duration) -> Self {
        self.stall = Some(patience);
        self
    }

    /// Runs the rsyncs on source hosts, which must all see the sources: `HOST,USER@HOST*PROCESSES,...`.
    pub fn hosts(mut self, list: impl AsRef<OsStr>) -> Self {
        self.hosts = Some(list.as_ref().to_owned());
        self
    }

    /// Sets the command that reaches the hosts; the default is `ssh`.
    pub fn ssh(mut self, command: impl AsRef<OsStr>) -> Self {
        self.ssh = Some(command.as_ref().to_owned());
        self
    }

    /// Sets how the hosts are reached: `ssh`; `slurm`, through steps of the Slurm job in which this process runs (the nodes of the job are the hosts if
    /// none are named); or a command that starts a shell on `{host}` which reads its standard input, such as `kubectl exec -i {host} -- sh -s`.
    pub fn engine(mut self, engine: impl AsRef<OsStr>) -> Self {
        self.engine = Some(engine.as_ref().to_owned());
        self
    }

    /// Sets the time by which the job must have ended: no rsync is started that would not end by then, running ones are ended in time, and the job can be
    /// resumed. A resumed job does not have this limit unless it is set again.
    pub fn end_at(mut self, end: SystemTime) -> Self {
        self.ends_at = Some(end);
        self
    }

    /// Sets for how long no host may be usable before the job ends; the default is 300 seconds. Rounded up to whole seconds, to one at least.
    pub fn host_timeout(mut self, patience: Duration) -> Self {
        self.host_timeout = Some(patience);
        self
    }

    /// Allows the hosts to log in as different users. Owners at the destination then depend on which host copies.
    pub fn mixed_users(mut self) -> Self {
        self.mixed_users = true;
        self
    }

    /// Sets a timetable of settings, such as `Mon-Fri 08:00-18:00 p=2,bwlimit=50M; else p=16`, in the time zone of this machine.
    pub fn schedule(mut self, timetable: impl Into<String>) -> Self {
        self.schedule = Some(timetable.into());
        self
    }

    /// Pauses the job while the load of this machine is too high: `LOAD`, or `LOAD:LOAD`, of which the second is the load below which the job continues.
    pub fn max_load(mut self, limits: impl Into<String>) -> Self {
        self.max_load = Some(limits.into());
        self
    }

    /// Pauses the job while a destination on this machine is too full: `PERCENT`, or `PERCENT:PERCENT`, of which the second is the value below which the
    /// job continues.
    pub fn max_destination_full(mut self, limits: impl Into<String>) -> Self {
        self.max_dest_full = Some(limits.into());
        self
    }

    /// Pauses the job while programs on this machine are held up too much by cpu, io or memory: `cpu=PERCENT,io=PERCENT:PERCENT,memory=PERCENT`, as the
    /// kernel measures it (PSI).
    pub fn max_pressure(mut self, limits: impl Into<String>) -> Self {
        self.max_pressure = Some(limits.into());
        self
    }

    /// Writes the events of the job to a file as lines of JSON, in addition to reporting them. A resumed job appends to the file.
    pub fn events(mut self, file: impl Into<PathBuf>) -> Self {
        self.events = Some(file.into());
        self
    }

    /// Sets how often progress is written among the [events](JobBuilder::events). Rounded up to whole seconds, to one at least.
    pub fn progress_interval(mut self, interval: Duration) -> Self {
        self.progress_interval = Some(interval);
        self
    }

    /// Writes a report when the job has ended: a page, its data, or a line for each launch, depending on whether the name ends in `.html`, `.json` or
    /// `.csv`.
    pub fn report(mut self, file: impl Into<PathBuf>) -> Self {
        self.report = Some(file.into());
        self
    }

    /// Checks the description. It reads only the working directory, popt's alias files, and what timetables and throttles depend on (time zone, load).
    ///
    /// # Errors
    /// Something is missing, wrong, or contradicts something else, or several rsyncs or this library do not support one of rsync's options.
    pub fn build(&self) -> Result<Job> {
        let cwd = match &self.current_dir {
            Some(dir) => std::path::absolute(dir).map_err(|cause| Error::io("find", dir, cause))?,
            None => std::env::current_dir().map_err(|cause| Error::io("find", Path::new("."), cause))?,
        };
        let Some(destination) = self.destination.as_ref().filter(|_| !self.sources.is_empty()) else {
            return Err(Error::usage("a job needs a source and a destination")
                .remedy("call JobBuilder::source and JobBuilder::destination"));
        };
        let typed: Vec<OsString> = match &self.rsync_options {
            Some(words) => words.clone(),
            None => DEFAULT_RSYNC.split(' ').map(OsString::from).collect(),
        };
        let read = CommandLine::parse(&typed, Aliases::installed(), CommandLine::is_posix())?;
        if let Some(operand) = read.operands.first() {
            return Err(Error::usage(format!("not an option of rsync: {}", Printable::os(operand)))
                .remedy("name sources and the destination by JobBuilder::source and JobBuilder::destination"));
        }
        let Ends { sources, destination, addresses } = Ends::parse(&self.sources, destination)?;
        let mut config = Config::new(sources, destination, read.options, cwd);
        config.addresses = addresses;
        self.set_program(&mut config)?;
        self.set_sizes(&mut config)?;
        self.set_hosts(&mut config)?;
        config.ends_at = self.ends_at;
        config.buckets = self.run_parent.as_ref().map(|parent| config.cwd.join(parent));
        config.keep = self.keep;
        config.first_pass = self.first_pass.unwrap_or_default();
        if let Some(count) = self.first_pass_threads {
            config.first_pass_threads = Some(counted("first_pass_threads", count, MOST_THREADS)?);
        }
        config.gitignore = self.gitignore;
        config.verify = self.verify;
        config.delete_limit = self.delete_limit;
        if let Some(limit) = config.delete_limit {
            crate::guard::refuse(&config.options, limit)?;
        }
        config.progress = self.progress;
        config.shows_launches = self.launches;
        config.retries = self.retries.unwrap_or(DEFAULT_RETRIES);
        config.stall = self.stall.map(whole_seconds);
        self.set_steering(&mut config)?;
        config.remote_scan = self.remote_scan.unwrap_or_default();
        config.scan_by = self.scan_by.unwrap_or_default();
        config.check_far_sources()?;
        config.check_scan_by()?;
        config.check_addresses()?;
        config.outlets = self.outlets(&config.cwd)?;
        config.check_outlets()?;
        if let Some(depth) = config.verify {
            crate::recheck::options(&config.options, depth)?;
        }
        let keep_runs = Keep { days: self.keep_days.unwrap_or(Keep::USUAL.days), ..Keep::USUAL };
        config.state = state::place().ok().filter(|_| keep_runs.days > 0);
        let words = self.words(&config);
        Ok(Job { config, words, keep_runs, gives_way: None, cancel: CancelHandle::default() })
    }

    fn outlets(&self, cwd: &Path) -> Result<Outlets> {
        let report = self.report.as_ref().map(|path| ReportFile::parse(path.as_os_str(), cwd)).transpose()?;
        let mut outlets = Outlets {
            events: self.events.as_ref().map(|path| Outlet::File(cwd.join(path))),
            report,
            ..Outlets::default()
        };
        if let Some(interval) = self.progress_interval {
            if outlets.is_empty() {
                return Err(Error::usage("progress_interval without events or a report")
                    .remedy("call JobBuilder::events or JobBuilder::report, or leave it out"));
            }
            outlets.interval = whole_seconds(interval);
        }
        outlets.refuse_one_file()?;
        Ok(outlets)
    }

    fn set_program(&self, config: &mut Config) -> Result<()> {
        let Some(program) = self.rsync_program.as_ref().filter(|program| *program != PROGRAM) else { return Ok(()) };
        if !program.as_bytes().ends_with(b"/rsync") {
            return Err(Error::usage(format!("not a path to rsync: {}", Printable::os(program)))
                .remedy("give a path that ends in /rsync"));
        }
        if self.hosts.is_some() || self.engine.is_some() {
            return Err(
                Error::usage("a path to rsync with source hosts").remedy("leave it out: each host starts its own")
            );
        }
        let path = config.cwd.join(program);
        config.program = std::path::absolute(&path).unwrap_or(path).into();
        Ok(())
    }

    fn set_sizes(&self, config: &mut Config) -> Result<()> {
        if self.adapts {
            config.adapts = true;
            config.processes = most_processes(config.stays_here());
        } else if let Some(count) = self.processes {
            config.processes = counted("processes", count, largest_processes())?;
        }
        if let Some(count) = self.bucket_entries {
            config.limits.entries = NonZero::new(count).ok_or_else(|| none("bucket_entries"))?;
        }
        if let Some(bytes) = self.bucket_bytes {
            config.limits.bytes = NonZero::new(bytes).ok_or_else(|| none("bucket_bytes"))?;
        }
        config.limits_given = self.bucket_entries.is_some() || self.bucket_bytes.is_some();
        if let Some(count) = self.scan_threads {
            config.scan_threads = Some(counted("scan_threads", count, MOST_THREADS)?);
        }
        Ok(())
    }

    fn set_hosts(&self, config: &mut Config) -> Result<()> {
        let in_job = self.engine.as_ref().is_some_and(|engine| engine == "slurm");
        if self.hosts.is_none() && !in_job {
            if self.engine.is_some() || self.ssh.is_some() || self.host_timeout.is_some() || self.mixed_users {
                return Err(Error::usage("engine, ssh, host_timeout or mixed_users without hosts")
                    .remedy("name the hosts by JobBuilder::hosts"));
            }
            return Ok(());
        }
        if self.adapts {
            return Err(
                Error::usage("adaptive_processes with hosts").remedy("give a number, or USER@HOST*N for each host")
            );
        }
        let wanted = Wanted {
            engine: self.engine.as_deref(),
            hosts: self.hosts.as_ref().map(|list| hosts::parse_list(list)).transpose()?,
            ssh: self.ssh.as_deref(),
            most: self.processes.and(Some(config.processes)),
            looks_for_job: false,
        };
        let (way, hosts) = hosts::reach(wanted, &config.cwd, |name| std::env::var_os(name))?;
        config.hosts = hosts;
        config.reach_by(way);
        if let Some(patience) = self.host_timeout {
            config.host_timeout = whole_seconds(patience);
        }
        config.mixed_users = self.mixed_users;
        Ok(())
    }

    fn set_steering(&self, config: &mut Config) -> Result<()> {
        config.timetable = self.schedule.as_deref().map(Timetable::of_this_machine).transpose()?;
        let throttles = &mut config.throttles;
        self.max_load.iter().try_for_each(|text| throttles.set_load(text))?;
        self.max_dest_full.iter().try_for_each(|text| throttles.set_full(text))?;
        self.max_pressure.iter().try_for_each(|text| throttles.set_pressure(text))?;
        config.check_steering()
    }

    /// The command line for the same job.
    fn words(&self, config: &Config) -> Vec<OsString> {
        let mut words = Vec::new();
        let mut say = |name: &str, value: Option<String>| words.extend(value.map(|value| option(name, value)));
        let count = self.processes.map(|count| count.to_string());
        // The first words are those that may differ when the run is resumed.
        say("--processes=", if self.adapts { Some("auto".into()) } else { count });
        say("--retries=", self.retries.map(|count| count.to_string()));
        say("--stall=", config.stall.map(|patience| patience.as_secs().to_string()));
        say("--schedule=", self.schedule.clone());
        say("--max-load=", self.max_load.clone());
        say("--max-dest-full=", self.max_dest_full.clone());
        say("--max-pressure=", self.max_pressure.clone());
        say("--progress-interval=", self.progress_interval.map(|_| config.outlets.interval.as_secs().to_string()));
        words.extend(config.outlets.words());
        let mut say = |name: &str, value: Option<String>| words.extend(value.map(|value| option(name, value)));
        say("--files=", self.bucket_entries.map(|count| count.to_string()));
        say("--size=", self.bucket_bytes.map(|bytes| bytes.to_string()));
        say("--scan-threads=", self.scan_threads.map(|count| count.to_string()));
        say("--remote-scan=", self.remote_scan.map(|wanted| wanted.name().to_owned()));
        say("--scan-by=", self.scan_by.map(|by| by.name().to_owned()));
        say("--first-pass=", self.first_pass.map(|wish| wish.name().to_owned()));
        say("--first-pass-threads=", self.first_pass_threads.map(|count| count.to_string()));
        say("--keep-runs=", self.keep_days.map(|days| days.to_string()));
        say("--delete-limit=", self.delete_limit.map(|limit| limit.to_string()));
        let timeout = self.host_timeout.map(|_| config.host_timeout.as_secs().to_string());
        say("--host-timeout=", timeout);
        words.extend(self.run_parent.as_ref().map(|dir| option("--buckets=", dir)));
        if !config.hosts.is_empty() {
            words.push("--mode=many-to-one".into());
        }
        words.extend(self.hosts.as_ref().map(|hosts| option("--hosts=", hosts)));
        words.extend(self.engine.as_ref().map(|engine| option("--engine=", engine)));
        words.extend(self.ssh.as_ref().map(|command| option("--ssh=", command)));
        let flags = [(self.keep, "--keep"), (self.gitignore, "--gitignore"), (self.mixed_users, "--mixed-users")];
        words.extend(flags.into_iter().filter(|(given, _)| *given).map(|(_, flag)| flag.into()));
        words.extend(self.verify.map(|depth| match depth {
            Depth::Quick => "--verify".into(),
            Depth::Checksum => "--verify=checksum".into(),
        }));
        words.push(config.program.clone());
        words.extend(Aliases::installed().respell(config.options.argv()));
        words.push("--".into());
        words.extend(self.sources.iter().chain(&self.destination).cloned());
        words
    }
}

/// The next value that the command line can express: whole seconds, and at least one.
fn whole_seconds(patience: Duration) -> Duration {
    let up = u64::from(patience.subsec_nanos() > 0);
    Duration::from_secs(patience.as_secs().saturating_add(up).clamp(1, u32::MAX.into()))
}

/// A number of processes or threads.
fn counted(what: &str, count: usize, most: usize) -> Result<NonZero<usize>> {
    let count = NonZero::new(count).ok_or_else(|| none(what))?;
    if count.get() > most {
        return Err(Error::usage(format!("{what}: {count} are more than this machine can be asked for"))
            .remedy(format!("give a number from 1 to {most}")));
    }
    Ok(count)
}

fn none(what: &str) -> Error {
    Error::usage(format!("{what}: 0 is none")).remedy("give 1 or more")
}
