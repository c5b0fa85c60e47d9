//! Scans a source that several hosts see: this machine puts the tree together (`scan::Divided`), and the hosts read its directories.
//!
//! On each host this program reads, if the same version is installed there; otherwise `find` does. A host continues with the directories that it has found,
//! and gives back directories that it has not begun when another host has nothing to do, so that no host is left with one large subtree. A host is lost if it
//! does not answer, or its file system does not. Directories that it has not reported completely are then read by the other hosts, or here.

mod by_agent;
mod by_find;

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::Means;
use crate::error::Result;
use crate::hosts::{Agents, Host, Way};
use crate::scan::{Divided, Event, Member, Order, Reader, Root, Said, Scan, Small, Watch};
use crate::supervise::{Stop, Supervisor};
use crate::thread;

/// How often it is checked whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOK_END: Duration = Duration::from_millis(2);
/// A host is lost if it has directories to read, but has neither reported anything nor accessed its file system for this time.
const SILENCE: Duration = Duration::from_secs(60);
/// How long hosts have to end when everything was read.
const ENDING: Duration = Duration::from_secs(2);

/// Which machines scan a source that source hosts see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ScanBy {
    /// This machine. The hosts help if the source comes over a network, the scan takes long, and rsyncs wait for it.
    Auto,
    /// The hosts. This machine reads what they cannot read.
    Hosts,
    /// This machine.
    #[default]
    Here,
}

impl ScanBy {
    /// All values.
    #[doc(hidden)]
    pub const ALL: [ScanBy; 3] = [ScanBy::Auto, ScanBy::Hosts, ScanBy::Here];

    /// The word for this value.
    pub fn name(self) -> &'static str {
        match self {
            ScanBy::Auto => "auto",
            ScanBy::Hosts => "hosts",
            ScanBy::Here => "here",
        }
    }

    /// The value that a word stands for.
    #[doc(hidden)]
    pub fn parse(word: &str) -> Option<ScanBy> {
        ScanBy::ALL.into_iter().find(|by| by.name() == word)
    }
}

/// Which machines read from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The hosts. This machine only reads what they cannot read.
    WithHosts,
    /// This machine. The hosts join as soon as they are wanted.
    Here,
}

/// The inputs of a scan by hosts.
#[derive(Clone, Copy)]
pub struct Crew<'a> {
    /// The scan.
    pub scan: &'a Scan,
    /// Its roots, by their absolute paths on all hosts.
    pub roots: &'a [Root],
    /// The hosts that see the source.
    pub hosts: &'a [Host],
    /// How the hosts are reached.
    pub way: &'a Way,
    /// The shells on the hosts.
    pub agents: &'a Agents,
    /// The number of threads on each host; by default, as many as suit its file system.
    pub threads: Option<NonZero<usize>>,
    /// Which machines begin.
    pub begin: Begin,
    /// Whether the hosts are wanted now. This is called again and again.
    pub wanted: &'a (dyn Fn() -> bool + Sync),
    /// The scan ends when this supervisor is stopped.
    pub supervisor: &'a Supervisor,
    /// Gets the news about hosts.
    pub tell: &'a (dyn Fn(News) + Sync),
}

/// News about a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A host takes part in reading.
    Joined {
        /// Its address.
        host: String,
        /// The program that reads there.
        by: &'static str,
    },
    /// A host does not read, or has stopped reading: others take over.
    Lost {
        /// Its address.
        host: String,
        /// Why.
        why: String,
    },
}

impl std::fmt::Debug for Crew<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew").field("hosts", &self.hosts).field("begin", &self.begin).finish_non_exhaustive()
    }
}

/// The state that the threads of the hosts share.
struct Common<'a> {
    crew: Crew<'a>,
    divided: Divided<'a>,
    watch: &'a Watch,
    /// The number of hosts that read, or may soon.
    left: AtomicUsize,
}

impl Common<'_> {
    /// Whether nothing more is to be read.
    fn is_over(&self) -> bool {
        self.divided.is_over() || self.watch.stopped() || self.crew.supervisor.stopped()
    }

    fn joined(&self, host: &Host, by: &'static str) {
        (self.crew.tell)(News::Joined { host: host.to_string(), by });
    }

    /// Reports a host that does not read, or has stopped reading.
    fn lost(&self, host: &Host, why: impl Into<String>) {
        if !self.is_over() {
            (self.crew.tell)(News::Lost { host: host.to_string(), why: why.into() });
        }
    }
}

/// How the part of one host can be ended.
#[derive(Default)]
struct Line {
    /// The processes that run for it.
    supervisor: Supervisor,
    member: OnceLock<Member>,
    /// Closes its input, so that it ends by itself.
    closes: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
    /// Why it was ended.
    why: OnceLock<String>,
    /// Whether it has ended.
    is_over: AtomicBool,
}

impl Line {
    fn closes_by(&self, closes: impl Fn() + Send + Sync + 'static) {
        *self.closes.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(closes));
    }

    fn close(&self) {
        if let Some(closes) = &*self.closes.lock().unwrap_or_else(PoisonError::into_inner) {
            closes();
        }
    }

    fn end(&self) {
        self.close();
        self.supervisor.stop(Stop::Terminate);
    }
}

/// For how long a host was silent that should report something.
#[derive(Default)]
struct Silence {
    heard: Option<u64>,
    lasts: Duration,
}

impl Silence {
    fn lasts(&mut self, heard: Option<u64>, passed: Duration) -> Duration {
        let is_silent = heard.is_some() && heard == self.heard;
        self.lasts = if is_silent { self.lasts + passed } else { Duration::ZERO };
        self.heard = heard;
        self.lasts
    }
}

/// Scans all roots, as [`Scan::run_sized`] does on this machine: with the same events, guarantees and counts.
///
/// # Errors
/// Those of `Divided::new`; or a thread could not be started.
pub fn scan(crew: Crew<'_>, small: Option<Small<'_>>, watch: &Watch, sink: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
    let divided = Divided::new(crew.scan, small, watch, sink)?;
    let common = Common { crew, divided, watch, left: AtomicUsize::new(crew.hosts.len()) };
    let lines: Vec<Line> = crew.hosts.iter().map(|_| Line::default()).collect();
    let own = OnceLock::new();
    let tell = |said: Said<'_>| common.divided.hear(*own.wait(), said);
    let here = Reader::new(crew.scan, true, &tell);
    let (orders, ordered) = mpsc::channel::<Option<Order>>();
    let ordered = Mutex::new(ordered);
    let read = std::thread::scope(|scope| {
        let (common, lines, own, here, ordered) = (&common, &lines[..], &own, &here, &ordered);
        let _closing = Closing { here, orders: &orders, lines };
        let mut silences: Vec<Silence> = lines.iter().map(|_| Silence::default()).collect();
        let (mut is_called, mut looked) = (false, Instant::now());
        while !common.is_over() {
            if !is_called && (crew.begin == Begin::WithHosts || (crew.wanted)()) {
                is_called = true;
                for (line, host) in lines.iter().zip(crew.hosts) {
                    thread::start(scope, move || {
                        let _called = Called { common, line };
                        call(common, host, line);
                    })?;
                }
            }
            let takes = crew.begin == Begin::Here || common.left.load(Ordering::Acquire) == 0;
            if own.get().is_none() && (takes || common.divided.needs_this_machine()) {
                let says = orders.clone();
                // The receiver may be gone when everything is over.
                let member =
                    common.divided.join(crew.scan.threads.get(), true, move |order| drop(says.send(Some(order))));
                own.get_or_init(|| member);
                thread::start(scope, move || {
                    let ordered = ordered.lock().unwrap_or_else(PoisonError::into_inner);
                    while let Ok(Some(order)) = ordered.recv() {
                        here.hear(order);
                    }
                })?;
                for _ in 0..crew.scan.threads.get() {
                    thread::start(scope, || here.work())?;
                }
            }
            if let Some(member) = own.get().filter(|_| takes) {
                common.divided.takes(*member, true);
            }
            // A longer time between two checks means that this process itself was stopped, so it is not counted as silence.
            let passed = looked.elapsed().min(LOOK_EVERY * 4);
            looked = Instant::now();
            for (line, silence) in lines.iter().zip(&mut silences) {
                let heard = match line.member.get() {
                    Some(member) => common.divided.heard(*member),
                    None => (is_called && !line.is_over.load(Ordering::Acquire)).then_some(0),
                };
                if silence.lasts(heard, passed) >= SILENCE {
                    let _ = line.why.set(format!("it was silent for {} s", SILENCE.as_secs()));
                    line.end();
                }
            }
            common.divided.wait(LOOK_EVERY);
        }
        // Each ends by itself, so that the processes on the hosts end as well.
        lines.iter().for_each(Line::close);
        let began = Instant::now();
        let waits = || common.left.load(Ordering::Acquire) > 0 && is_called && !watch.stopped();
        while waits() && began.elapsed() < ENDING {
            std::thread::sleep(LOOK_END);
        }
        Ok(())
    });
    read?;
    common.divided.conclude();
    Ok(())
}

/// Ends all readers, however the scan ends.
struct Closing<'a, 'b> {
    here: &'a Reader<'b>,
    orders: &'a mpsc::Sender<Option<Order>>,
    lines: &'a [Line],
}

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        self.here.close();
        // The receiver may already be gone.
        let _ = self.orders.send(None);
        self.lines.iter().for_each(Line::end);
    }
}

/// Marks the host as lost when its thread ends, even by a panic, so that others read what it has not reported completely.
struct Called<'a, 'b> {
    common: &'a Common<'b>,
    line: &'a Line,
}

impl Drop for Called<'_, '_> {
    fn drop(&mut self) {
        if let Some(member) = self.line.member.get() {
            self.common.divided.lost(*member);
        }
        self.line.is_over.store(true, Ordering::Release);
        self.common.left.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Lets a host read until everything was read, or until the host is lost.
fn call(common: &Common<'_>, host: &Host, line: &Line) {
    let mut why = match by_agent::read(common, host, line) {
        Ok(by_agent::End::Over) => return,
        Ok(by_agent::End::Lost(why)) => why,
        Ok(by_agent::End::Missing) => match Means::Find.refuse(common.crew.scan) {
            Ok(()) => match by_find::read(common, host, line) {
                Ok(None) => return,
                Ok(Some(why)) => why,
                Err(error) => error.to_string(),
            },
            Err(error) => format!("multi-sync {} is not installed there, and {error}", env!("CARGO_PKG_VERSION")),
        },
        Err(error) => error.to_string(),
    };
    if let Some(known) = line.why.get() {
        why.clone_from(known);
    }
    common.lost(host, why);
}
