//! What the user asked for, checked and typed; made by the command line or by a program that uses the library.
//!
//! Nothing here looks at the machine: that the source exists or that rsync is installed is for [`crate::plan`].

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

/// Entries of a bucket if the user does not say, as in msrsync.
pub const DEFAULT_FILES: NonZero<u64> = NonZero::new(1000).unwrap();
/// Bytes of a bucket if the user does not say (1G), as in msrsync.
pub const DEFAULT_SIZE: NonZero<u64> = NonZero::new(1 << 30).unwrap();
/// The rsync that is started if the user does not name another.
pub const PROGRAM: &str = "rsync";
/// rsync options if the user does not say, as in msrsync.
pub const DEFAULT_RSYNC: &str = "-aS --numeric-ids";
/// How often a launch whose connection failed is tried again if the user does not say.
pub const DEFAULT_RETRIES: u32 = 3;

/// How long a run waits for a host that can be used if the user does not say.
pub const DEFAULT_HOST_TIMEOUT: Duration = Duration::from_secs(300);

/// How closely `--verify` compares files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Depth {
    /// By size and time, as rsync does by default, or as the user's options say.
    Quick,
    /// By content (`--checksum`).
    Checksum,
}

/// Everything a run depends on.
#[derive(Debug, Clone)]
pub struct Config {
    /// What to copy; at least one.
    pub sources: Vec<Source>,
    /// Where to.
    pub destination: Destination,
    /// rsync's options.
    pub options: Options,
    /// Several addresses of the other machine, of which `sources` or `destination` has the first.
    pub addresses: Option<Addresses>,
    /// The rsync that is started, looked up in `PATH` if it has no slash.
    pub program: OsString,
    /// The directory the user is in: relative names are relative to it.
    pub cwd: PathBuf,
    /// rsync processes at once; with `adapts` the most.
    pub processes: NonZero<usize>,
    /// The number of processes is found by measuring (`adapt`).
    pub adapts: bool,
    /// Size of a unit and of a bucket.
    pub limits: Limits,
    /// The user chose the limits: one bucket is one launch.
    pub limits_given: bool,
    /// Parent of the bucket directory; [`Config::state`] if `None`.
    pub buckets: Option<PathBuf>,
    /// Place for the directories of runs that may have to be resumed, used if neither a source nor DEST is around it; the system's temporary folder
    /// if `None`.
    pub state: Option<PathBuf>,
    /// Keep the bucket directory.
    pub keep: bool,
    /// Scan and write buckets, but start no rsync.
    pub dry_run: bool,
    /// Follow the progress of running rsyncs.
    pub progress: bool,
    /// Tell of each launch beside it.
    pub shows_launches: bool,
    /// One rsync that does it all may ask for a password at the terminal, if it has to connect.
    pub asks: bool,
    /// The machine of the sources, if that is another one, is asked about them; without it they are taken for what several rsyncs can copy.
    pub looks_far: bool,
    /// What scans sources on another machine.
    pub remote_scan: Wanted,
    /// Who scans sources that source hosts see.
    pub scan_by: ScanBy,
    /// Notes tell how the run is done, such as that one rsync does it all where several were asked for.
    pub tells_how: bool,
    /// Where one rsync does it all it is asked for figures too ([`crate::report::Summary::figures`]): its output then comes as lines, and not as it
    /// prints it.
    pub figures: bool,
    /// Threads that read the sources; [`crate::scan::usual_threads`] if `None`.
    pub scan_threads: Option<NonZero<usize>>,
    /// Whether what is missing at DEST is made before rsyncs look at it.
    pub first_pass: Wish,
    /// Threads that make it, of all launches together; one for each if `None`.
    pub first_pass_threads: Option<NonZero<usize>>,
    /// See [`crate::scan::Scan::gitignore`].
    pub gitignore: bool,
    /// After the copy rsync is asked what still differs (`recheck`).
    pub verify: Option<Depth>,
    /// Nothing is copied, rsync is only asked that.
    pub verify_only: bool,
    /// Deletions are counted before the first one, and nothing is deleted if there are more (`guard`).
    pub delete_limit: Option<DeleteLimit>,
    /// The run is the one that counts them: each rsync tells what it would delete, and of nothing else.
    pub counts_deletions: bool,
    /// How often a launch whose connection failed is tried again. One that was killed is tried once more, unless this is 0.
    pub retries: u32,
    /// An rsync that for so long prints nothing and neither reads nor writes is ended; its work is tried again.
    pub stall: Option<Duration>,
    /// Source hosts on which the rsyncs run; on this machine if there are none. SRC, DEST and files that rsync's options name are paths
    /// on each of them.
    pub hosts: Vec<Host>,
    /// How they are reached.
    pub way: Way,
    /// The shells there.
    pub agents: Agents,
    /// What is known of all of them; needed where there are hosts.
    pub workers: Option<Workers>,
    /// A run ends when no host could be used for so long.
    pub host_timeout: Duration,
    /// Hosts may log in as different users.
    pub mixed_users: bool,
    /// When the run has to have ended.
    pub ends_at: Option<SystemTime>,
    /// What is in force at which time.
    pub timetable: Option<Timetable>,
    /// What the run pauses for.
    pub throttles: Throttles,
    /// Where events and a report go.
    pub outlets: Outlets,
}

/// The most processes that are tried where the user does not say how many: cores are not what limits a network.
pub fn most_processes(local: bool) -> NonZero<usize> {
    const LEAST: [usize; 2] = [16, 4];
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    NonZero::new((4 * cores).max(LEAST[usize::from(local)])).unwrap_or(NonZero::<usize>::MIN)
}

impl Config {
    /// Whether the sources are on another machine.
    pub fn pulls(&self) -> bool {
        self.sources.first().is_some_and(|source| !source.is_local())
    }

    /// The other machine of the copy, and what is named there: one of its two ends.
    pub fn far_end(&self) -> &Target {
        self.sources
            .first()
            .map(Source::target)
            .filter(|target| !target.is_local())
            .unwrap_or(self.destination.target())
    }

    /// The word that names it, or DEST.
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

    /// The addresses as places for launches; none if launches have no choice.
    pub fn address_hosts(&self) -> Vec<Host> {
        let name = |all: &Addresses, at: usize| Host { address: all.name(at), slots: None, sees_buckets: false };
        let several = self.addresses.as_ref().filter(|all| all.count() > 1 && self.processes.get() > 1);
        several.map_or_else(Vec::new, |all| (0..all.count()).map(|at| name(all, at)).collect())
    }

    /// Has the launches of a run go through these of its addresses: at least one through each.
    ///
    /// # Errors
    /// A word of theirs cannot be read, which was read before.
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

    /// Refuses what cannot be had with several addresses.
    ///
    /// # Errors
    /// It was asked for.
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
                "-p auto with several addresses ('{typed}'): how many processes help is not found for each"
            ))
            .remedy("give a number: it is spread over the addresses"));
        }
        Ok(())
    }

    /// Whether both ends are paths on the machines where rsyncs run.
    pub fn stays_here(&self) -> bool {
        self.far_end().is_local()
    }

    /// Refuses records of the run where it would delete them.
    ///
    /// # Errors
    /// A file of theirs lies in a destination in which something is deleted.
    pub fn check_outlets(&self) -> Result<()> {
        let deletes = self.options.meaning().delete.is_some() && self.destination.is_local() && self.hosts.is_empty();
        let dest = self.destination.as_typed(&self.cwd);
        if deletes { self.outlets.refuse_below(Path::new(&dest)) } else { Ok(()) }
    }

    /// Has the rsyncs of a run start on these hosts, of which this is true.
    pub fn use_hosts(&mut self, hosts: Vec<Host>, workers: Workers) {
        let slots = spread(&hosts, self.processes);
        self.processes = NonZero::new(slots.len()).unwrap_or(NonZero::<usize>::MIN);
        let count = |at: usize| NonZero::new(slots.iter().filter(|slot| **slot == at).count());
        let with_slots = |(at, host): (usize, Host)| Host { slots: count(at), ..host };
        self.hosts = hosts.into_iter().enumerate().map(with_slots).collect();
        self.workers = Some(workers);
    }

    /// Refuses a scan by hosts that there are not, or that they cannot do.
    ///
    /// # Errors
    /// That was asked for.
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

    /// Refuses what needs the sources on this machine.
    ///
    /// # Errors
    /// They are on another one.
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

    /// Reaches the hosts this way.
    pub fn reach_by(&mut self, way: Way) {
        self.agents = Agents::new(&way);
        self.way = way;
    }

    /// Refuses a timetable and throttles that this run cannot follow.
    ///
    /// # Errors
    /// It cannot.
    pub fn check_steering(&self) -> Result<()> {
        let (here, looks) = (self.hosts.is_empty(), self.throttles.looks_at_this_machine());
        if self.dry_run && (self.timetable.is_some() || !self.throttles.is_empty()) {
            return Err(Error::usage("a timetable or a throttle for a run that copies nothing")
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

    /// A run with the defaults of the command line.
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
