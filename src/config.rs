//! The user's settings, checked and typed. The command line makes them, or a program that uses the library.
//!
//! This module does not look at the machine: [`crate::plan`] checks that the source exists and that rsync is installed.

use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::endpoint::{Addresses, Destination, Seen, Source, Target};
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::far::Wanted;
use crate::far::crew::ScanBy;
use crate::first_pass::Wish;
use crate::hosts::{Agents, Host, Way, Workers, spread};
use crate::limit::DeleteLimit;
use crate::outlet::Outlets;
use crate::rsync::options::Options;
use crate::scan::Limits;
use crate::steer::{self, Throttles, Timetable};

/// The default for the most entries of a bucket, as in msrsync.
pub const DEFAULT_FILES: NonZero<u64> = NonZero::new(1000).unwrap();
/// The default for the most bytes of a bucket (1G), as in msrsync.
pub const DEFAULT_SIZE: NonZero<u64> = NonZero::new(1 << 30).unwrap();
/// The rsync that is started by default.
pub const PROGRAM: &str = "rsync";
/// The default rsync options, as in msrsync.
pub const DEFAULT_RSYNC: &str = "-aS --numeric-ids";
/// The most threads of a kind. Idle threads search each other for work: 1024 threads took 17 s for eight files, 256 threads less than one second.
pub const MOST_THREADS: usize = 256;
/// How often a launch whose connection failed is retried by default.
pub const DEFAULT_RETRIES: u32 = 3;

/// How long a run waits for a usable host by default.
pub const DEFAULT_HOST_TIMEOUT: Duration = Duration::from_secs(300);

/// How closely `--verify` compares files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Depth {
    /// By size and time, as rsync does by default, or in the way that the user's options say.
    Quick,
    /// By content (`--checksum`).
    Checksum,
}

/// Everything a run depends on.
#[derive(Debug, Clone)]
pub struct Config {
    /// The sources; at least one.
    pub sources: Vec<Source>,
    /// The destination.
    pub destination: Destination,
    /// rsync's options.
    pub options: Options,
    /// The addresses of the other machine, if the user named several; `sources` or `destination` contains the first.
    pub addresses: Option<Addresses>,
    /// The rsync that is started, looked up in `PATH` if it has no slash.
    pub program: OsString,
    /// The user's working directory, to which relative names are relative.
    pub cwd: PathBuf,
    /// The number of rsyncs that run at once; with `adapts` the most.
    pub processes: NonZero<usize>,
    /// The number of rsyncs is found by measuring (`adapt`).
    pub adapts: bool,
    /// The limits of a unit and of a bucket.
    pub limits: Limits,
    /// The user chose the limits: one bucket is one launch.
    pub limits_given: bool,
    /// The directory in which the run directory is created; [`Config::state`] if `None`.
    pub buckets: Option<PathBuf>,
    /// The place for the directories of runs that may have to be resumed. It is used if it lies neither in a source nor in DEST. If `None`, the
    /// system's temporary folder is used.
    pub state: Option<PathBuf>,
    /// Keep the run directory after success too.
    pub keep: bool,
    /// Scan and write buckets, but start no rsync.
    pub dry_run: bool,
    /// Follow the progress of running rsyncs.
    pub progress: bool,
    /// Report each launch in addition to the progress.
    pub shows_launches: bool,
    /// A single rsync that does everything may ask for a password at the terminal, if it has to connect.
    pub asks: bool,
    /// If the sources are on another machine, ask it about them. If this is not set, multi-sync assumes that several rsyncs can copy them.
    pub looks_far: bool,
    /// Which program scans sources on another machine.
    pub remote_scan: Wanted,
    /// Whether this machine or the source hosts scan sources that both see.
    pub scan_by: ScanBy,
    /// Report as notes how the run is done, for example that a single rsync does everything although several were asked for.
    pub tells_how: bool,
    /// If a single rsync does everything, ask it for figures too ([`crate::report::Summary::figures`]). Its output is then passed on line by line, and
    /// not byte for byte.
    pub figures: bool,
    /// The number of threads that scan the sources; [`crate::scan::usual_threads`] if `None`.
    pub scan_threads: Option<NonZero<usize>>,
    /// Whether a first pass creates what is missing at DEST before rsyncs look at it.
    pub first_pass: Wish,
    /// The number of threads of the first pass, for all launches together; one for each launch if `None`.
    pub first_pass_threads: Option<NonZero<usize>>,
    /// See [`crate::scan::Scan::gitignore`].
    pub gitignore: bool,
    /// Ask rsync after the copy what still differs (`recheck`).
    pub verify: Option<Depth>,
    /// Copy nothing, and only ask rsync what differs.
    pub verify_only: bool,
    /// Count the deletions before the first one, and delete nothing if there are more than this (`guard`).
    pub delete_limit: Option<DeleteLimit>,
    /// This run counts the deletions: each rsync reports what it would delete, and nothing else.
    pub counts_deletions: bool,
    /// How often a launch whose connection failed is retried. A launch that was killed is retried once, unless this is 0.
    pub retries: u32,
    /// An rsync that has neither printed, read nor written anything for this time is ended, and its work is retried.
    pub stall: Option<Duration>,
    /// The source hosts on which the rsyncs run; if there are none, they run on this machine. SRC, DEST and files that rsync's options name are paths
    /// on each of the hosts.
    pub hosts: Vec<Host>,
    /// How the hosts are reached.
    pub way: Way,
    /// The shells on the hosts.
    pub agents: Agents,
    /// What is known about all hosts; required if there are hosts.
    pub workers: Option<Workers>,
    /// The run ends if no host has been usable for this time.
    pub host_timeout: Duration,
    /// Hosts may log in as different users.
    pub mixed_users: bool,
    /// The time by which the run must have ended.
    pub ends_at: Option<SystemTime>,
    /// The timetable of settings.
    pub timetable: Option<Timetable>,
    /// The limits at which the run pauses.
    pub throttles: Throttles,
    /// Where events and a report are written.
    pub outlets: Outlets,
}

/// The most processes that `-p auto` tries: four per core, but at least 4 for a local copy, and at least 16 if another machine takes part, because cores do not
/// limit a network.
pub fn most_processes(local: bool) -> NonZero<usize> {
    const LEAST: [usize; 2] = [16, 4];
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    NonZero::new((4 * cores).max(LEAST[usize::from(local)])).unwrap_or(NonZero::<usize>::MIN)
}

/// The most processes that a run may ask for: the largest process ID of the system.
pub fn largest_processes() -> usize {
    /// The largest value of any system (proc_sys_kernel(5), `pid_max`).
    const LIMIT: usize = 1 << 22;
    let told = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok();
    told.and_then(|text| text.trim().parse().ok()).map_or(LIMIT, |most: usize| most.min(LIMIT))
}

impl Config {
    /// Whether the sources are on another machine.
    pub fn pulls(&self) -> bool {
        self.sources.first().is_some_and(|source| !source.is_local())
    }

    /// The end of the copy that is on another machine: the first source if the run pulls, otherwise DEST, which may be local.
    pub fn far_end(&self) -> &Target {
        self.sources
            .first()
            .map(Source::target)
            .filter(|target| !target.is_local())
            .unwrap_or(self.destination.target())
    }

    /// The word of the command line that names this end.
    pub fn far_word(&self) -> &OsStr {
        let source = self.sources.first().filter(|source| !source.is_local());
        source.map_or(self.destination.original(), Source::original)
    }

    /// The sources as they were typed.
    pub fn source_words(&self) -> Vec<OsString> {
        let of_source = self.addresses.as_ref().filter(|all| all.are_of_source());
        of_source.map_or_else(
            || self.sources.iter().map(|source| source.original().to_owned()).collect(),
            |all| vec![all.typed().to_owned()],
        )
    }

    /// The destination as it was typed.
    pub fn destination_word(&self) -> &OsStr {
        let of_dest = self.addresses.as_ref().filter(|all| !all.are_of_source());
        of_dest.map_or(self.destination.original(), Addresses::typed)
    }

    /// The addresses, each as a host for launches; empty if there is one address or one process.
    pub fn address_hosts(&self) -> Vec<Host> {
        let name = |all: &Addresses, at: usize| Host { address: all.name(at), slots: None, sees_buckets: false };
        let several = self.addresses.as_ref().filter(|all| all.count() > 1 && self.processes.get() > 1);
        several.map_or_else(Vec::new, |all| (0..all.count()).map(|at| name(all, at)).collect())
    }

    /// Makes the launches of the run use only these addresses, with at least one launch at once through each.
    ///
    /// # Errors
    /// The word for an address cannot be parsed, although it was parsed before.
    pub fn use_addresses(&mut self, which: &[(usize, Seen)]) -> Result<()> {
        let Some(all) = self.addresses.take().map(|all| all.only(which)) else { return Ok(()) };
        let first = all.word(0);
        match all.are_of_source() {
            true => self.sources = vec![Source::parse(&first)?],
            false => self.destination = Destination::parse(&first)?,
        }
        self.addresses = Some(all);
        let slots = spread(&self.address_hosts(), self.processes).len();
        self.processes = NonZero::new(slots).unwrap_or(self.processes);
        Ok(())
    }

    /// Checks that no setting excludes several addresses.
    ///
    /// # Errors
    /// There are several addresses, and source hosts or an automatic number of processes.
    pub fn check_addresses(&self) -> Result<()> {
        let Some(all) = &self.addresses else { return Ok(()) };
        let typed = Printable::os(all.typed());
        if !self.hosts.is_empty() {
            return Err(Error::usage(format!(
                "'{typed}' has several addresses, and source hosts reach DEST in their own way"
            ))
            .remedy("name one address, or leave out --mode and --hosts"));
        }
        if self.adapts {
            return Err(Error::usage(format!(
                "-p auto with several addresses ('{typed}'): the best number of processes cannot be found for each of them"
            ))
            .remedy("give a number: it is spread over the addresses"));
        }
        Ok(())
    }

    /// Whether both ends are paths on the machines where rsyncs run.
    pub fn stays_here(&self) -> bool {
        self.far_end().is_local()
    }

    /// Checks that the run cannot delete its own events or report.
    ///
    /// # Errors
    /// One of these files lies in a destination in which something is deleted.
    pub fn check_outlets(&self) -> Result<()> {
        let deletes = self.options.meaning().delete.is_some() && self.destination.is_local() && self.hosts.is_empty();
        let dest = self.destination.as_typed(&self.cwd);
        if deletes { self.outlets.refuse_below(Path::new(&dest)) } else { Ok(()) }
    }

    /// Makes the rsyncs of the run start on these hosts. `workers` is what is known about them.
    pub fn use_hosts(&mut self, hosts: Vec<Host>, workers: Workers) {
        let slots = spread(&hosts, self.processes);
        self.processes = NonZero::new(slots.len()).unwrap_or(NonZero::<usize>::MIN);
        let count = |at: usize| NonZero::new(slots.iter().filter(|slot| **slot == at).count());
        let with_slots = |(at, host): (usize, Host)| Host { slots: count(at), ..host };
        self.hosts = hosts.into_iter().enumerate().map(with_slots).collect();
        self.workers = Some(workers);
    }

    /// Checks that source hosts can scan, if they are to.
    ///
    /// # Errors
    /// The hosts are to scan, but there are none, or ignore rules are used.
    pub fn check_scan_by(&self) -> Result<()> {
        if self.scan_by != ScanBy::Hosts {
            return Ok(());
        }
        let words = "--scan-by hosts";
        if self.hosts.is_empty() {
            return Err(Error::usage(format!("{words} without source hosts"))
                .remedy("give -m many-to-one and --hosts, or leave out --scan-by"));
        }
        if self.gitignore {
            return Err(Error::usage(format!("{words} with --gitignore: ignore rules are read by one machine"))
                .remedy("leave out one of them"));
        }
        Ok(())
    }

    /// Checks that no setting needs the sources on this machine if they are on another one.
    ///
    /// # Errors
    /// A setting needs them on this machine; or a program for a remote scan was chosen, and the sources are on this machine.
    pub fn check_far_sources(&self) -> Result<()> {
        let Some(source) = self.sources.first().filter(|source| !source.is_local()) else {
            let wanted = self.remote_scan;
            return match wanted {
                Wanted::Auto => Ok(()),
                _ => Err(Error::usage(format!("--remote-scan {} without a source on another machine", wanted.name()))
                    .remedy("leave it out: what is on this machine is scanned by multi-sync itself")),
            };
        };
        if !self.hosts.is_empty() {
            return Err(Error::usage(format!(
                "source '{source}' is on another machine, and source hosts copy what they see themselves"
            ))
            .remedy("name the sources by their paths on the hosts, or leave out --mode and --hosts"));
        }
        if self.gitignore {
            return Err(Error::usage(format!(
                "--gitignore reads rules beside the sources, and '{source}' is on another machine"
            ))
            .remedy("leave out --gitignore, or give rules of rsync (--exclude)"));
        }
        if self.dry_run {
            return Err(Error::usage(format!(
                "--dry-run reads the sources without rsync, and '{source}' is on another machine"
            ))
            .remedy("add -n to the rsync options: rsync then says what it would do"));
        }
        Ok(())
    }

    /// Sets how the hosts are reached.
    pub fn reach_by(&mut self, way: Way) {
        self.agents = Agents::new(&way);
        self.way = way;
    }

    /// Checks that this run can follow its timetable and throttles.
    ///
    /// # Errors
    /// It cannot follow one of them.
    pub fn check_steering(&self) -> Result<()> {
        let (here, looks) = (self.hosts.is_empty(), self.throttles.looks_at_this_machine());
        if self.dry_run && (self.timetable.is_some() || !self.throttles.is_empty()) {
            return Err(Error::usage("a timetable or throttle is given for a run that copies nothing")
                .remedy("leave out --schedule, --max-load, --max-pressure and --max-dest-full"));
        }
        if let Some(option) = looks.filter(|_| !here) {
            return Err(Error::usage(format!("{option} looks at this machine, and the rsyncs run on the hosts"))
                .remedy(format!("leave {option} out")));
        }
        if self.throttles.looks_at_destination() && !(here && self.destination.is_local()) {
            return Err(Error::usage("--max-dest-full: this machine does not see how full the destination is")
                .remedy("leave it out: it is for a destination that is a path on this machine"));
        }
        steer::check_processes(self.timetable.as_ref().and_then(Timetable::most_processes))?;
        self.throttles.check()
    }

    /// A configuration with the defaults of the command line.
    ///
    /// ```
    /// use multi_sync::harness::{config::Config, endpoint::{Destination, Source}, rsync::options::Options};
    ///
    /// let config = Config::new(
    ///     vec![Source::parse("photos/".as_ref())?],
    ///     Destination::parse("nas:backup".as_ref())?,
    ///     Options::parse(&["-a"])?,
    ///     "/home/me".into(),
    /// );
    /// assert_eq!(config.processes.get(), 1);
    /// # Ok::<(), multi_sync::Error>(())
    /// ```
    pub fn new(sources: Vec<Source>, destination: Destination, options: Options, cwd: PathBuf) -> Config {
        let way = Way::plain(&cwd);
        Config {
            sources,
            destination,
            options,
            addresses: None,
            program: PROGRAM.into(),
            cwd,
            processes: NonZero::<usize>::MIN,
            adapts: false,
            limits: Limits { entries: DEFAULT_FILES, bytes: DEFAULT_SIZE },
            limits_given: false,
            buckets: None,
            state: None,
            keep: false,
            dry_run: false,
            progress: false,
            shows_launches: false,
            asks: false,
            looks_far: true,
            remote_scan: Wanted::Auto,
            scan_by: ScanBy::default(),
            tells_how: true,
            figures: true,
            scan_threads: None,
            first_pass: Wish::default(),
            first_pass_threads: None,
            gitignore: false,
            verify: None,
            verify_only: false,
            delete_limit: None,
            counts_deletions: false,
            retries: DEFAULT_RETRIES,
            stall: None,
            hosts: Vec::new(),
            agents: Agents::new(&way),
            way,
            workers: None,
            host_timeout: DEFAULT_HOST_TIMEOUT,
            mixed_users: false,
            ends_at: None,
            timetable: None,
            throttles: Throttles::default(),
            outlets: Outlets::default(),
        }
    }
}
