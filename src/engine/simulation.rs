//! A simulated run on many hosts: the real scheduler, list of split directories, journal and estimate run in simulated time. Only the launches, the hosts and
//! the scan are made up.
//!
//! The result says how close the run comes to the least time that any schedule could have, and what the coordinating machine has to do for it.

mod chance;
mod site;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::num::NonZero;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bucket::{Bucket, Content};
use crate::cost::CostModel;
use crate::error::{Error, Result};
use crate::hosts;
use crate::run_dir::journal::Record;
use crate::run_dir::layout::JOURNAL;
use crate::scan::Weight;
use crate::sched::{
    Before, Command, Directory, Ending, Findings, HostPool, Input, LaunchId, Policy, Report, Scheduler, Symptoms,
    Verdict, Work,
};
use crate::supervise::Ended;

use super::estimate::{Estimate, Flight, Look};
use super::feed::SpineDir;
use super::ledger::{self, Ledger};
use super::spine::SpineList;

pub use chance::Chance;
pub use site::{Figures, Site};

/// The intervals of the driver: how often it checks the clock, and how often it computes the progress.
const TICK: f64 = 0.2;
const STANDING: f64 = 1.0;
/// The scan reports this many buckets at once.
const TOLD_AT_ONCE: usize = 16;
/// How long an rsync still exits after its end is known.
const DRAINS: f64 = 0.01;
/// The exit code of ssh for a host that is gone, and that of rsync for a failure that may pass.
const CONNECTION: u8 = 255;
const PARTIAL: u8 = 23;

/// A future event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Scanned,
    Prepared(LaunchId),
    Draining(LaunchId),
    Ended(LaunchId),
    /// A host goes away, that is noticed, and it comes back.
    Gone,
    Noticed(usize),
    Back(usize),
    Answers(usize),
    Standing,
}

/// A launch that has not ended.
struct Alive {
    copies: bool,
    host: usize,
    weight: Weight,
    since: f64,
    /// How long it takes, and its exit code.
    takes: f64,
    code: u8,
}

struct World<'a, B: Iterator<Item = Weight>> {
    site: &'a Site,
    buckets: std::iter::Peekable<B>,
    chance: Chance,
    begin: Instant,
    now: f64,
    order: u64,
    agenda: BinaryHeap<Reverse<(u64, u64, Happens)>>,
    alive: BTreeMap<LaunchId, Alive>,
    /// Since when each host has been gone.
    gone: Vec<Option<f64>>,
    /// The host, beginning and end of each absence.
    absences: Vec<(usize, f64, f64)>,
    work: f64,
    longest: f64,
    directories: u64,
    ledger: Ledger,
    spine: SpineList,
    estimate: Estimate,
    inputs: Vec<Input>,
    figures: Figures,
    scanned: bool,
    copied_launches: u64,
}

/// Simulates a run with buckets of these weights. The journal is written in `dir`.
///
/// # Errors
/// The journal cannot be written, or the run did not end as it should.
pub fn run(site: &Site, buckets: impl Iterator<Item = Weight>, dir: &Path) -> Result<Figures> {
    let words: Vec<String> = (0..site.hosts).map(|host| format!("dtn{host:03}*{}", site.slots)).collect();
    let hosts = hosts::parse_list(words.join(",").as_ref())?;
    let processes = NonZero::new(site.hosts * site.slots).ok_or_else(|| Error::usage("no slots"))?;
    let slots = hosts::spread(&hosts, processes);
    let begin = Instant::now();
    let pool = HostPool::new(&hosts, slots.clone(), Duration::from_secs(3600));
    let mut scheduler = Scheduler::new(policy(processes, site), Some(pool), Before::default(), begin);
    let mut world = World {
        site,
        buckets: buckets.peekable(),
        chance: Chance::new(site.seed),
        begin,
        now: 0.0,
        order: 0,
        agenda: BinaryHeap::new(),
        alive: BTreeMap::new(),
        gone: vec![None; site.hosts],
        absences: Vec::new(),
        work: 0.0,
        longest: 0.0,
        directories: 0,
        ledger: Ledger::open(dir, "on paper", true)?,
        spine: SpineList::default(),
        estimate: Estimate::default(),
        inputs: Vec::new(),
        figures: Figures::default(),
        scanned: false,
        copied_launches: 0,
    };
    world.at(0.0, Happens::Scanned);
    world.at(0.0, Happens::Standing);
    if let Some(each) = site.lost_each {
        world.at(each, Happens::Gone);
    }
    loop {
        let inputs = std::mem::take(&mut world.inputs);
        world.figures.looks += 1;
        let now = world.begin + Duration::from_secs_f64(world.now);
        for command in scheduler.handle(now, inputs) {
            if world.carry_out(command, &slots)? {
                world.ledger.flush()?;
                return world.close(dir);
            }
        }
        world.ledger.flush()?;
        if scheduler.waiting() == 0 && world.scanned && world.figures.drained == 0.0 {
            world.figures.drained = world.now;
        }
        world.next(&scheduler)?;
    }
}

/// A plain copy by hosts.
fn policy(processes: NonZero<usize>, site: &Site) -> Policy {
    let guess = CostModel { launch: site.launch, ..CostModel::default() };
    Policy {
        elsewhere: true,
        processes,
        adapts: false,
        one_bucket_a_launch: false,
        room: 1 << 20,
        guess,
        opening: 0.0,
        short_scan: Duration::from_millis(200),
        one_rsync: None,
        survey: false,
        pretends: false,
        dest_is_local: false,
        on_hosts: true,
        retries: 5,
        tells_how: false,
        stop_after: None,
        ends_after: None,
        stops_itself: false,
        deletes: None,
        ignore_errors: false,
        repeatable: true,
        harm: None,
        gitignore: false,
        as_root: true,
        prints: false,
        watches_names: false,
        removes_singles: false,
        removes: false,
        dir_times: true,
        access_times: false,
        hard_links: false,
        unlocks: false,
        implied_dirs: false,
        watches_dest: false,
        sets_times_back: false,
        marks_changes: true,
        goes_ahead: false,
        lists_exposed: true,
        bwlimit: None,
        makes_much: false,
        missing_sources: false,
    }
}

impl<B: Iterator<Item = Weight>> World<'_, B> {
    fn at(&mut self, time: f64, what: Happens) {
        self.order += 1;
        // Positive numbers have the same order as their bits.
        self.agenda.push(Reverse((time.max(0.0).to_bits(), self.order, what)));
    }

    /// Proceeds to the next event. If the clock has to be checked before that, this comes first.
    fn next(&mut self, scheduler: &Scheduler) -> Result<()> {
        loop {
            let Some(Reverse((time, _, what))) = self.agenda.peek().copied() else {
                return Err(Error::usage("nothing happens any more, and the run is not over"));
            };
            let time = f64::from_bits(time);
            if time > self.now + TICK {
                self.now += TICK;
                self.inputs.push(Input::Tick);
                return Ok(());
            }
            self.agenda.pop();
            self.now = self.now.max(time);
            self.happens(what, scheduler)?;
            if !self.inputs.is_empty() {
                self.figures.events += 1;
                return Ok(());
            }
        }
    }

    fn happens(&mut self, what: Happens, scheduler: &Scheduler) -> Result<()> {
        match what {
            Happens::Scanned => self.scan()?,
            Happens::Prepared(launch) if self.alive.contains_key(&launch) => {
                self.inputs.push(Input::Prepared(launch, Findings::default()));
            }
            Happens::Draining(launch) if self.alive.contains_key(&launch) => {
                self.inputs.push(Input::Draining(launch));
            }
            Happens::Ended(launch) => {
                let Some(alive) = self.alive.get(&launch) else { return Ok(()) };
                // The end of a launch on a host that is gone is not reported.
                if self.gone[alive.host].is_none() {
                    let code = alive.code;
                    self.ends(launch, code);
                }
            }
            Happens::Prepared(_) | Happens::Draining(_) => {}
            Happens::Gone => {
                let host = self.chance.below(self.site.hosts as u64) as usize;
                if self.gone[host].is_none() {
                    self.gone[host] = Some(self.now);
                    self.at(self.now + self.site.noticed_after, Happens::Noticed(host));
                    self.at(self.now + self.site.back_after, Happens::Back(host));
                }
                if let Some(each) = self.site.lost_each {
                    self.at(self.now + each, Happens::Gone);
                }
            }
            Happens::Noticed(host) => {
                let lost: Vec<LaunchId> =
                    self.alive.iter().filter(|(_, alive)| alive.host == host).map(|(launch, _)| *launch).collect();
                for launch in lost {
                    self.ends(launch, CONNECTION);
                }
            }
            Happens::Back(host) => {
                if let Some(since) = self.gone[host].take() {
                    self.absences.push((host, since, self.now));
                }
            }
            Happens::Answers(host) => {
                let is_there = self.gone[host].is_none();
                self.inputs.push(Input::HostAnswered(host, is_there));
            }
            Happens::Standing => {
                self.stand(scheduler);
                self.at(self.now + STANDING, Happens::Standing);
            }
        }
        Ok(())
    }

    /// The scan finds some buckets, and sometimes a split directory before them.
    fn scan(&mut self) -> Result<()> {
        let mut found = Vec::new();
        let mut entries = 0;
        while found.len() < TOLD_AT_ONCE {
            let Some(weight) = self.buckets.next() else { break };
            let id = self.figures.buckets;
            if id.is_multiple_of(self.site.buckets_a_directory) {
                self.split(id)?;
            }
            let bucket = Bucket {
                id,
                weight,
                units: 12,
                argument_bytes: 600,
                spine_before: self.directories as u32,
                exposed: false,
                singles: false,
                content: Content { length: 600, sum: Some(id) },
            };
            self.ledger.write(&ledger::bucket_record(&bucket))?;
            let takes = self.takes(&bucket);
            self.work += takes;
            self.longest = self.longest.max(takes);
            self.figures.buckets += 1;
            self.figures.entries += weight.entries;
            self.figures.bytes += weight.bytes;
            entries += weight.entries;
            found.push(bucket);
        }
        if !found.is_empty() {
            self.inputs.push(Input::Buckets(found));
        }
        if self.buckets.peek().is_some() {
            self.at(self.now + entries as f64 / self.site.scan_rate, Happens::Scanned);
        } else {
            self.scanned = true;
            let Figures { entries, bytes, .. } = self.figures;
            self.ledger.write(&Record::Scanned { entries, bytes })?;
            self.inputs.push(Input::ScanEnded);
        }
        Ok(())
    }

    fn split(&mut self, id: u64) -> Result<()> {
        let argument = format!("./projects/group-{:03}/dataset-{id:08}", id % 997).into_bytes();
        let bytes = argument.len();
        let dir = SpineDir {
            argument: Some(argument),
            identity: (42, id),
            locked: false,
            mount_point: false,
            exposed: false,
        };
        self.ledger.write(&ledger::spine_record(&dir))?;
        self.spine.push(dir);
        self.directories += 1;
        self.inputs.push(Input::Directory(Directory { argument_bytes: bytes, locked: false }));
        Ok(())
    }

    /// How long a bucket really takes on a host that is not slow.
    fn takes(&self, bucket: &Bucket) -> f64 {
        let Weight { entries, bytes } = bucket.weight;
        let model = entries as f64 * self.site.entry + bytes as f64 * self.site.byte;
        // The result is the same each time.
        model * Chance::new(self.site.seed ^ (bucket.id << 20)).lognormal(1.0, self.site.misjudged)
    }

    fn slowness(&self, host: usize) -> f64 {
        self.site.slow.get(host).copied().unwrap_or(1.0)
    }

    fn carry_out(&mut self, command: Command, slots: &[usize]) -> Result<bool> {
        match command {
            Command::Start(start) => {
                let host = slots[start.slot];
                let seconds: f64 = match &start.work {
                    Work::Create(part) | Work::Attributes(part) => part.len() as f64 * self.site.entry,
                    work => work.buckets().iter().map(|bucket| self.takes(bucket)).sum(),
                };
                let copies = start.work.copies();
                if copies {
                    let buckets = start.work.buckets().iter().map(|bucket| bucket.id).collect();
                    self.ledger.write(&Record::Started { launch: start.launch, buckets })?;
                    self.ledger.flush()?;
                }
                let mut takes = seconds * self.slowness(host) + self.site.launch;
                let mut code = 0;
                if copies && self.chance.part() < self.site.repeated {
                    code = if self.chance.part() < 0.5 { PARTIAL } else { CONNECTION };
                    if code == CONNECTION {
                        takes *= self.chance.part();
                    }
                }
                let launch = start.launch;
                let alive = Alive { copies, host, weight: start.weight, since: self.now, takes, code };
                self.alive.insert(launch, alive);
                self.figures.launches += 1;
                self.at(self.now + self.site.launch / 2.0, Happens::Prepared(launch));
                // A launch that is started on a host known to be gone is lost at once.
                if self.gone[host].is_some() && !self.is_unnoticed(host) {
                    self.at(self.now + self.site.launch, Happens::Noticed(host));
                    return Ok(false);
                }
                if code == 0 {
                    self.at(self.now + takes - DRAINS, Happens::Draining(launch));
                }
                self.at(self.now + takes, Happens::Ended(launch));
            }
            Command::Done { launch, code, sender_failed, again, buckets } => {
                self.ledger.write(&Record::Done { launch, code, sender_failed, again, buckets })?;
                self.figures.copied = self.now;
            }
            Command::Probe(host) => self.at(self.now + self.site.launch, Happens::Answers(host)),
            Command::Retried => self.figures.repeated += 1,
            Command::Finish(Verdict::Complete(_)) => return Ok(true),
            Command::Finish(verdict) => return Err(Error::usage(format!("it ended otherwise: {verdict:?}"))),
            Command::OneRsync(why) => return Err(Error::usage(format!("one rsync does it: {why}"))),
            Command::Failed(failed) => return Err(Error::usage(format!("it failed: {failed}"))),
            _ => {}
        }
        Ok(false)
    }

    fn is_unnoticed(&self, host: usize) -> bool {
        self.gone[host].is_some_and(|since| self.now < since + self.site.noticed_after)
    }

    fn ends(&mut self, launch: LaunchId, code: u8) {
        let Some(alive) = self.alive.remove(&launch) else { return };
        let ran = self.now - alive.since;
        let said = Symptoms { changes: true, transient: code == PARTIAL, ..Symptoms::default() };
        if code != 0 {
            self.figures.lost_work += ran;
        } else if alive.copies {
            self.copied_launches += 1;
        }
        let report = Report {
            ending: Ending::Ended(Ended::Code(code)),
            ran: Duration::from_secs_f64(ran),
            sent: None,
            after: Findings::default(),
            begun: true,
            was_held: false,
            said,
        };
        self.inputs.push(Input::Ended(launch, Box::new(report)));
    }

    /// What the driver computes once a second.
    fn stand(&mut self, scheduler: &Scheduler) {
        let flights: Vec<Flight> =
            self.alive.values().filter(|alive| alive.copies).map(|alive| self.flight(alive)).collect();
        let Figures { entries, bytes, .. } = self.figures;
        let look = Look {
            at: Duration::from_secs_f64(self.now),
            ended: scheduler.done(),
            launches: self.copied_launches,
            flights: &flights,
            found: Weight { entries, bytes },
            unfound: None,
            scanned: self.scanned,
            last_run: None,
            cost: scheduler.cost(),
            processes: scheduler.processes().get(),
        };
        std::hint::black_box(self.estimate.look(&look));
    }

    fn flight(&self, alive: &Alive) -> Flight {
        let age = self.now - alive.since;
        let part = (age / alive.takes).clamp(0.0, 1.0);
        let of = |all: u64| (all as f64 * part) as u64;
        let done = Weight { entries: of(alive.weight.entries), bytes: of(alive.weight.bytes) };
        Flight { weight: alive.weight, done, moved: done.bytes, age: Duration::from_secs_f64(age) }
    }

    fn close(mut self, dir: &Path) -> Result<Figures> {
        let path = dir.join(JOURNAL);
        let journal = std::fs::metadata(&path).map_err(|cause| Error::io("look at", &path, cause))?.len();
        let absent = std::mem::take(&mut self.gone);
        let still =
            absent.iter().enumerate().filter_map(|(host, since)| since.map(|since| (host, since, f64::INFINITY)));
        self.absences.extend(still);
        let bound = self.bound();
        Ok(Figures { makespan: self.now, bound, journal, ..self.figures })
    }

    /// The least time in which the available hosts could do all the work, if it could be divided arbitrarily.
    fn bound(&self) -> f64 {
        let speed = |host: usize| self.site.slots as f64 / self.slowness(host);
        let all: f64 = (0..self.site.hosts).map(speed).sum();
        let done_by = |time: f64| {
            let absent = |(host, from, to): &(usize, f64, f64)| (to.min(time) - from).max(0.0) * speed(*host);
            all * time - self.absences.iter().map(absent).sum::<f64>()
        };
        let (mut low, mut high) = (0.0, self.now);
        for _ in 0..100 {
            let middle = (low + high) / 2.0;
            if done_by(middle) < self.work { low = middle } else { high = middle }
        }
        high.max(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10^4 buckets on 20 hosts. Some hosts are slow, some are lost, and some launches are repeated. `examples/simulate.rs` does the same with 10^6 buckets.
    #[test]
    fn slow_and_lost_hosts_hardly_hold_up_a_run() {
        let site = Site {
            hosts: 20,
            slots: 4,
            slow: vec![10.0, 2.0],
            launch: 0.02,
            entry: 5e-3,
            byte: 25e-9,
            misjudged: 0.3,
            lost_each: Some(300.0),
            noticed_after: 20.0,
            back_after: 200.0,
            repeated: 0.01,
            scan_rate: 100_000.0,
            buckets_a_directory: 50,
            seed: 3,
        };
        let mut chance = Chance::new(1);
        let buckets = (0..10_000).map(|_| Weight { entries: 900, bytes: chance.lognormal(5e7, 1.0) as u64 });
        let dir = tempfile::tempdir().unwrap();
        let Figures { makespan, bound, journal, launches, lost_work, .. } = run(&site, buckets, dir.path()).unwrap();
        assert!(makespan <= 1.1 * bound, "{makespan} {bound}");
        assert!(lost_work > 0.0 && lost_work < 0.05 * bound * 80.0, "{lost_work}");
        assert!(journal < 300 * 10_000 && launches < 10_000, "{journal} {launches}");
    }
}
