//! One file, because the world and what must hold in it are read together.
//!
//! A fake world that answers the scheduler's commands with random ends of launches, and what must hold whatever happens. `MODEL_RUNS=1000000 cargo test
//! --release --lib sched::model` tries more of them; `MODEL_SEED=N` repeats one.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZero;
use std::time::{Duration, Instant};

use crate::bucket::{Bucket, Content};
use crate::cost::CostModel;
use crate::hosts;
use crate::plan::folding::Folding;
use crate::rsync::exit;
use crate::rsync::options::Delete;
use crate::scan::Weight;
use crate::shell;
use crate::supervise::Ended;

use super::outcome::{Case, Outcome, RULES, Rule};
use super::*;

const RUNS: u64 = 20_000;
/// After so many steps nothing fails any more, and a run that goes on for so long does not end.
const TROUBLED: usize = 400;
const LONGEST: usize = 4000;

/// splitmix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// A launch as the world sees it.
struct Alive {
    start: Start,
    prepared: bool,
    /// It has its names, or never needed any.
    works: bool,
    releasing: bool,
    dismissed: bool,
    draining: bool,
}

/// What a launch that has ended has really done.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Truth {
    /// All of it, with this code.
    Done(u8),
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waits,
    Done,
    /// Nothing of it was left, and that was told.
    Skipped,
}

struct World {
    random: Random,
    policy: Policy,
    hosts: Vec<hosts::Host>,
    of_slots: Vec<usize>,
    now: Instant,
    steps: usize,
    /// What the scan is still to tell.
    scan: VecDeque<Input>,
    scanned: bool,
    dirs: usize,
    /// At the destination.
    created: usize,
    buckets: BTreeMap<u64, (Bucket, Fate)>,
    alive: BTreeMap<LaunchId, Alive>,
    /// And whether something of the source could not be listed.
    truths: HashMap<LaunchId, (Truth, Work, bool)>,
    /// Hosts that are set aside, and what they were asked.
    asked: Vec<usize>,
    aside: BTreeSet<usize>,
    asks_folding: bool,
    /// Something of the source is known to have failed.
    sender_failed: bool,
    /// Something went wrong that the exit code has to tell.
    told: bool,
    touched: bool,
    /// Directories that were created or written into and have not got their attributes since.
    unset: BTreeSet<usize>,
    cleaned: BTreeSet<u64>,
    removed: BTreeSet<u64>,
    deleted_in: BTreeSet<usize>,
    /// One rsync was told to do everything, and did.
    everything: Option<bool>,
    /// So many may work after a lost connection.
    most: usize,
    /// Done before the run was taken up again.
    before: Before,
    verdict: Option<Verdict>,
    stopped: bool,
    /// One rsync is to do everything.
    becomes_one: bool,
}

/// What a run comes to.
type Judged = std::result::Result<(), String>;

macro_rules! must {
    ($holds:expr, $($text:tt)*) => { if !$holds { return Err(format!($($text)*)); } };
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let processes = NonZero::new(1 + random.below(4)).unwrap();
        let hosts = match random.below(4) {
            0 => hosts::parse_list(["a", "a,b", "a*2,b*1"][random.below(3)].as_ref()).unwrap(),
            _ => Vec::new(),
        };
        let deletes = match random.below(6) {
            0 => Some(Delete::During),
            1 => Some(Delete::After),
            2 => Some(Delete::Delay),
            3 => Some(Delete::Before),
            _ => None,
        };
        let mut flag = |count| random.one_in(count);
        let on_hosts = !hosts.is_empty();
        let dest_is_local = !on_hosts && flag(2);
        let watches_dest = dest_is_local && flag(2);
        let policy = Policy {
            processes,
            adapts: false,
            one_bucket_a_launch: flag(2),
            room: if flag(3) { 60 } else { 10_000 },
            guess: CostModel::default(),
            opening: 0.0,
            short_scan: Duration::ZERO,
            one_rsync: flag(20).then(|| "because".to_owned()),
            survey: flag(40),
            pretends: flag(12),
            dest_is_local,
            on_hosts,
            retries: if flag(5) { 0 } else { 5 },
            tells_how: true,
            stop_after: flag(40).then(|| Duration::from_secs(20)),
            stops_itself: flag(30),
            deletes,
            ignore_errors: flag(4),
            repeatable: !flag(4),
            leaves_halves: flag(8),
            gitignore: flag(12),
            as_root: flag(2),
            prints: flag(4),
            watches_names: flag(4),
            removes_singles: flag(6),
            removes: false,
            unlocks: flag(3),
            implied_dirs: flag(6),
            watches_dest,
            marks_changes: !watches_dest && flag(2),
            goes_ahead: !dest_is_local && flag(2),
            lists_exposed: flag(2),
            bwlimit: if flag(6) { NonZero::new(1000) } else { None },
            missing_sources: flag(12),
        };
        let policy = Policy { removes: policy.removes_singles || random.one_in(8), ..policy };
        let of_slots = hosts::spread(&hosts, processes);
        let dirs = if random.one_in(4) { 0 } else { random.below(6) };
        let mut world = World {
            scan: VecDeque::new(),
            scanned: false,
            dirs,
            created: 0,
            buckets: BTreeMap::new(),
            alive: BTreeMap::new(),
            truths: HashMap::new(),
            asked: Vec::new(),
            aside: BTreeSet::new(),
            asks_folding: false,
            sender_failed: false,
            told: false,
            touched: false,
            unset: BTreeSet::new(),
            cleaned: BTreeSet::new(),
            removed: BTreeSet::new(),
            deleted_in: BTreeSet::new(),
            everything: None,
            most: processes.get(),
            before: Before::default(),
            verdict: None,
            stopped: false,
            becomes_one: false,
            now: Instant::now(),
            steps: 0,
            random,
            policy,
            hosts,
            of_slots,
        };
        world.fill();
        world
    }

    /// What the scan finds, in the order in which it is told.
    fn fill(&mut self) {
        let count = self.random.below(9) as u64;
        let mut told = 0;
        for id in 0..count {
            while told < self.dirs && self.random.one_in(2) {
                self.find_dir();
                told += 1;
            }
            let weight =
                Weight { entries: 1 + self.random.below(9000) as u64, bytes: self.random.below(1 << 30) as u64 };
            let bucket = Bucket {
                id,
                weight,
                units: 1,
                argument_bytes: 20,
                spine_before: told as u32,
                exposed: self.random.one_in(5),
                singles: self.random.one_in(3),
                content: Content::default(),
            };
            self.buckets.insert(id, (bucket, Fate::Waits));
            self.scan.push_back(Input::Buckets(vec![bucket]));
            if self.random.one_in(20) {
                self.scan.push_back(Input::Unread { vanished: self.random.one_in(2) });
            }
            if self.policy.watches_names && self.random.one_in(6) {
                self.scan.push_back(Input::Meets("d/a".into()));
            }
        }
        while told < self.dirs {
            self.find_dir();
            told += 1;
        }
        self.scan.push_back(Input::ScanEnded);
    }

    fn find_dir(&mut self) {
        let locked = self.random.one_in(6);
        self.scan.push_back(Input::Directory(Directory { argument_bytes: 12, locked }));
    }

    fn scheduler(&self, rules: &'static [Rule]) -> Scheduler {
        let hosts = (!self.hosts.is_empty())
            .then(|| HostPool::new(&self.hosts, self.of_slots.clone(), Duration::from_secs(3600)));
        let scheduler = Scheduler::new(self.policy.clone(), hosts, self.before.clone(), self.now);
        Scheduler { rules, ..scheduler }
    }

    fn fails(&mut self, count: usize) -> bool {
        self.steps < TROUBLED && self.random.one_in(count)
    }

    /// Something happens.
    fn step(&mut self) -> Vec<Input> {
        self.steps += 1;
        self.now += Duration::from_millis(match self.random.below(8) {
            0 => 1500,
            1 => 200,
            _ => 3,
        });
        let mut inputs = Vec::new();
        match self.random.below(10) {
            0..=2 if !self.scan.is_empty() => {
                let input = self.scan.pop_front().unwrap();
                self.scanned |= matches!(input, Input::ScanEnded);
                if let Input::Unread { vanished } = input {
                    self.told = true;
                    self.sender_failed |= !vanished;
                }
                inputs.push(input);
            }
            3 if !self.asked.is_empty() => {
                let host = self.asked.remove(0);
                let is_there = !self.fails(3);
                if is_there {
                    self.aside.remove(&host);
                }
                inputs.push(Input::HostAnswered(host, is_there));
            }
            4 if self.asks_folding => {
                self.asks_folding = false;
                inputs.push(Input::Folding(match self.random.below(3) {
                    0 => Folding::Folds,
                    1 => Folding::Unknown,
                    _ => Folding::Tells,
                }));
            }
            _ if !self.alive.is_empty() => {
                let at = self.random.below(self.alive.len());
                let launch = *self.alive.keys().nth(at).unwrap();
                self.move_on(launch, &mut inputs);
            }
            _ => inputs.push(Input::Tick),
        }
        inputs
    }

    fn findings(&mut self) -> Findings {
        if !self.fails(60) {
            return Findings::default();
        }
        self.told = true;
        let sender_failed = self.random.one_in(2);
        self.sender_failed |= sender_failed;
        Findings { partial: true, sender_failed, ..Findings::default() }
    }

    fn move_on(&mut self, launch: LaunchId, inputs: &mut Vec<Input>) {
        let alive = &self.alive[&launch];
        let (prepared, works, releasing, dismissed) = (alive.prepared, alive.works, alive.releasing, alive.dismissed);
        let work = alive.start.work.clone();
        if !prepared {
            if let Some(why) = self.why_not_launched(launch) {
                let after = self.findings();
                self.alive.remove(&launch);
                self.not_launched(&work, why);
                inputs.push(Input::Ended(launch, Box::new(report(Ending::NotLaunched(why), after))));
                return;
            }
            let findings = self.findings();
            self.alive.get_mut(&launch).unwrap().prepared = true;
            inputs.push(Input::Prepared(launch, findings));
            return;
        }
        if releasing && self.random.one_in(2) {
            let release = match self.random.below(10) {
                0 => Release::Otherwise,
                1 => Release::NothingLeft { told: true },
                _ => Release::Begun,
            };
            let alive = self.alive.get_mut(&launch).unwrap();
            alive.releasing = false;
            alive.works = release == Release::Begun;
            alive.dismissed = release != Release::Begun;
            if let Release::NothingLeft { .. } = release {
                self.not_launched(&work, NotLaunched::NothingLeft { told: true });
            }
            inputs.push(Input::Released(launch, release));
            return;
        }
        // One that waits lives on as long as it is not asked, but for accidents.
        if !works && !dismissed && !self.fails(30) {
            return;
        }
        let drains = matches!(work, Work::Copy(_) | Work::Repair(_)) && !self.alive[&launch].draining;
        if works && drains && self.random.one_in(4) {
            self.alive.get_mut(&launch).unwrap().draining = true;
            inputs.push(Input::Draining(launch));
            return;
        }
        let (report, truth) = self.end(launch);
        self.alive.remove(&launch);
        self.truths.insert(launch, (truth, work, report.said.list_failed));
        inputs.push(Input::Ended(launch, Box::new(report)));
    }

    fn why_not_launched(&mut self, launch: LaunchId) -> Option<NotLaunched> {
        let Start { work, ahead, looks_first, .. } = self.alive[&launch].start.clone();
        match work {
            Work::Create(_) => {
                let stands = looks_first && self.policy.watches_dest && self.random.one_in(3);
                stands.then(|| NotLaunched::Stands { other_times: self.random.one_in(2) })
            }
            Work::Copy(_) if ahead && self.fails(8) => Some(NotLaunched::NoList),
            Work::Copy(_) if !self.policy.as_root && self.fails(8) => Some(NotLaunched::Alone),
            Work::Copy(_) | Work::Repair(_) | Work::Clean(_) | Work::Remove(_) if !ahead && self.fails(25) => {
                Some(NotLaunched::NothingLeft { told: true })
            }
            Work::Attributes(_) if ahead && self.fails(8) => Some(NotLaunched::NoList),
            Work::Attributes(_) if looks_first && self.random.one_in(2) => Some(NotLaunched::Untouched),
            _ => None,
        }
    }

    fn not_launched(&mut self, work: &Work, why: NotLaunched) {
        match (work, why) {
            (Work::Create(part), NotLaunched::Stands { other_times }) => {
                self.created = self.created.max(part.end);
                if other_times {
                    self.unset.extend(part.clone());
                }
            }
            (Work::Copy(buckets), NotLaunched::NothingLeft { .. }) => {
                buckets.iter().for_each(|bucket| self.skip(bucket.id))
            }
            (Work::Repair(bucket), NotLaunched::NothingLeft { .. }) => self.skip(bucket.id),
            (Work::Clean(buckets), _) => self.cleaned.extend(buckets.iter().map(|bucket| bucket.id)),
            (Work::Remove(buckets), _) => self.removed.extend(buckets.iter().map(|bucket| bucket.id)),
            (Work::Attributes(part), NotLaunched::Untouched | NotLaunched::NothingLeft { .. }) => {
                self.unset.retain(|dir| !part.contains(dir));
            }
            _ => {}
        }
    }

    fn skip(&mut self, bucket: u64) {
        self.buckets.get_mut(&bucket).unwrap().1 = Fate::Skipped;
    }

    /// How a launch ends, and what it has really done.
    fn end(&mut self, launch: LaunchId) -> (Report, Truth) {
        let alive = &self.alive[&launch];
        let (works, work) = (alive.works, alive.start.work.clone());
        let mut said = super::Said::default();
        let ended = |code| Ending::Ended(Ended::Code(code));
        if self.stopped {
            let ending = if self.random.one_in(2) { ended(20) } else { Ending::Ended(Ended::NotStarted) };
            return (report(ending, Findings::default()), Truth::Lost);
        }
        if !works {
            let ending = ended(if self.fails(2) { 12 } else { 0 });
            said.no_files = true;
            let report = Report { begun: false, said, ..report(ending, Findings::default()) };
            return (report, Truth::Lost);
        }
        let kind = if self.steps < TROUBLED { self.random.below(60) } else { 59 };
        let (ending, truth) = match kind {
            0 => (ended(12), Truth::Lost),
            1 => (ended(255), Truth::Lost),
            2 => (Ending::Ended(Ended::Signal(9)), Truth::Lost),
            3 => (Ending::Ended(Ended::Stalled), Truth::Lost),
            4 => (ended(exit::VANISHED), Truth::Done(exit::VANISHED)),
            5 | 6 => {
                said.denied = self.random.one_in(2);
                said.transient = self.random.one_in(2);
                said.otherwise = !said.transient && self.random.one_in(2);
                said.list_failed = self.random.one_in(4);
                (ended(exit::PARTIAL), Truth::Done(exit::PARTIAL))
            }
            7 => {
                said.gone = true;
                (ended(exit::PARTIAL), Truth::Done(exit::VANISHED))
            }
            8 => {
                said.no_place = true;
                (ended(5), Truth::Lost)
            }
            9 => {
                said.out_of_reach = true;
                (ended(exit::PARTIAL), Truth::Lost)
            }
            10 => {
                said.lost_list = true;
                (ended(12), Truth::Lost)
            }
            11 => (ended(if self.random.one_in(4) { 11 } else { exit::OK }), Truth::Done(exit::OK)),
            12 => {
                said.refused = true;
                (ended(if self.random.one_in(4) { 1 } else { exit::OK }), Truth::Done(exit::OK))
            }
            13 if self.policy.on_hosts => (ended(shell::FOR_255), Truth::Lost),
            14 => (ended(exit::MAX_DELETE), Truth::Done(exit::MAX_DELETE)),
            15 if self.random.one_in(4) => (ended(124), Truth::Lost),
            16 => {
                said.lost_parent = true;
                (ended(exit::PROTOCOL), Truth::Lost)
            }
            _ => (ended(exit::OK), Truth::Done(exit::OK)),
        };
        let truth = if ending == ended(exit::OK) || truth != Truth::Done(exit::OK) { truth } else { Truth::Lost };
        said.changes = self.random.one_in(2);
        let in_order = ending == ended(exit::OK);
        self.touched |= !matches!(work, Work::Remove(_)) && (!in_order || said.changes);
        self.happens(&work, truth);
        let after = self.findings();
        (Report { said, ..report(ending, after) }, truth)
    }

    /// What a launch has done at the destination, whatever the scheduler makes of it.
    fn happens(&mut self, work: &Work, truth: Truth) {
        match work {
            Work::Copy(buckets) => {
                for bucket in buckets {
                    self.unset.extend(0..bucket.spine_before as usize);
                }
            }
            Work::Repair(bucket) => self.unset.extend(0..bucket.spine_before as usize),
            Work::Create(part) if truth != Truth::Lost => {
                self.created = self.created.max(part.end);
                self.unset.extend(part.clone());
            }
            Work::Clean(buckets) if truth != Truth::Lost => {
                self.cleaned.extend(buckets.iter().map(|bucket| bucket.id));
                self.unset.extend(0..self.dirs);
            }
            Work::Remove(buckets) if truth != Truth::Lost => {
                self.removed.extend(buckets.iter().map(|bucket| bucket.id));
            }
            Work::Delete(part) if truth != Truth::Lost => {
                self.deleted_in.extend(part.clone());
                self.unset.retain(|dir| !part.contains(dir));
            }
            Work::Attributes(part) if truth != Truth::Lost => {
                self.unset.retain(|dir| !part.contains(dir));
            }
            Work::Everything if truth != Truth::Lost => self.unset.clear(),
            _ => {}
        }
    }

    /// So many launches work.
    fn working(&self) -> usize {
        self.alive.values().filter(|alive| (alive.works || alive.releasing) && !alive.draining).count()
    }

    fn is_copied(&self) -> bool {
        self.everything.is_some()
            || self.scanned
                && self.buckets.values().all(|(_, fate)| *fate != Fate::Waits)
                && !self.alive.values().any(|alive| alive.works && alive.start.work.copies())
    }

    fn keeps(&self) -> bool {
        self.sender_failed && self.policy.keeps_if_failed()
    }

    fn carry_out(&mut self, command: Command) -> Judged {
        match command {
            Command::Start(start) => self.start(*start)?,
            Command::Release { launch, .. } => {
                let Some(alive) = self.alive.get_mut(&launch) else { return Ok(()) };
                must!(alive.start.ahead && !alive.releasing && !alive.works, "{launch} is released, and did not wait");
                alive.releasing = true;
                let work = alive.start.work.clone();
                self.may_begin(&work)?;
            }
            Command::Dismiss(launch) => {
                self.alive.get_mut(&launch).into_iter().for_each(|alive| alive.dismissed = true);
            }
            Command::Done { launch, code, buckets, .. } => {
                let Some((truth, _, list_failed)) = self.truths.get(&launch) else {
                    return Err(format!("{launch} is called done, and has not ended"));
                };
                must!(
                    *truth == Truth::Done(code) || code == exit::PARTIAL && *truth != Truth::Lost,
                    "{launch} is called done with {code}, and {truth:?}"
                );
                self.sender_failed |= code == exit::PARTIAL && *truth == Truth::Done(exit::PARTIAL) && *list_failed;
                self.told |= code != exit::OK;
                for id in buckets {
                    let fate = &mut self.buckets.get_mut(&id).unwrap().1;
                    must!(*fate == Fate::Waits, "bucket {id} is done, and was {fate:?}");
                    *fate = Fate::Done;
                }
            }
            Command::TellMissing | Command::TellMeeting(_) | Command::Failed(_) => {
                self.told = true;
                self.sender_failed |= !matches!(command, Command::Failed(_));
            }
            Command::AskFolding => {
                must!(!self.asks_folding, "asked twice");
                self.asks_folding = true;
            }
            Command::Probe(host) => self.asked.push(host),
            Command::Stop => self.stopped = true,
            Command::Abort(launch) => return Err(format!("{launch} has an error that nobody made")),
            Command::Finish(verdict) => {
                must!(self.verdict.is_none(), "it ends twice");
                self.verdict = Some(verdict);
            }
            Command::OneRsync(_) => self.becomes_one = true,
            Command::TellHeld(_)
            | Command::Accept(_)
            | Command::NoteFailures { .. }
            | Command::Count(_)
            | Command::Retried
            | Command::Note(_) => {}
        }
        Ok(())
    }

    fn start(&mut self, start: Start) -> Judged {
        must!(!self.stopped, "{:?} starts, and the run ends", start.work);
        let (launch, ahead) = (start.launch, start.ahead);
        if !ahead {
            self.may_begin(&start.work)?;
        }
        let running = |id: u64| {
            let has = |alive: &Alive| {
                !alive.dismissed
                    && alive.start.work.copies()
                    && alive.start.work.buckets().iter().any(|bucket| bucket.id == id)
            };
            self.alive.values().any(has)
        };
        if start.work.copies() {
            for bucket in start.work.buckets() {
                must!(!running(bucket.id), "bucket {} runs twice", bucket.id);
                must!(self.buckets[&bucket.id].1 == Fate::Waits, "bucket {} was settled before", bucket.id);
            }
        }
        if let Some(how) = start.how {
            must!(how.keep || !self.keeps(), "it may delete after an error");
        }
        let alone = matches!(start.work, Work::Repair(_) | Work::Everything);
        must!(!alone || self.working() == 0, "{:?} is not alone", start.work);
        self.alive.insert(
            launch,
            Alive { start, prepared: false, works: !ahead, releasing: false, dismissed: false, draining: false },
        );
        let (working, processes) = (self.working(), self.policy.processes.get());
        must!(working <= processes, "{working} of {processes} work");
        let waiting = self.alive.values().filter(|alive| !alive.works && !alive.releasing && !alive.dismissed).count();
        must!(
            working <= self.most.max(1) || waiting > 0,
            "{working} work after a connection was lost, not {}",
            self.most
        );
        Ok(())
    }

    /// What has to be there before a launch begins to work.
    fn may_begin(&self, work: &Work) -> Judged {
        match work {
            Work::Copy(_) | Work::Repair(_) => {
                for bucket in work.buckets() {
                    let (needs, created) = (bucket.spine_before as usize, self.created);
                    must!(needs <= created, "bucket {} needs {needs} directories, not {created}", bucket.id);
                }
            }
            Work::Clean(_) | Work::Delete(_) => {
                must!(self.is_copied(), "{work:?} before all is copied");
                must!(self.policy.deletes.is_some(), "{work:?}, and nothing is to be deleted");
                must!(!self.sender_failed || self.policy.ignore_errors, "{work:?} after an error of the source");
            }
            Work::Attributes(_) | Work::Remove(_) => must!(self.is_copied(), "{work:?} before all is copied"),
            Work::Create(part) => must!(part.end <= self.dirs, "{work:?} of {} directories", self.dirs),
            Work::Everything => {}
        }
        Ok(())
    }

    /// After the scheduler has heard of the ends of launches: what it has to have made of them.
    fn note_ends(&mut self, inputs: &[(LaunchId, Report)], settled: bool) {
        for (launch, report) in inputs {
            let Some((truth, work, _)) = self.truths.get(launch).cloned() else { continue };
            let code = match report.ending {
                Ending::Ended(ended) => ended.code(),
                _ => continue,
            };
            let connection = exit::class(code) == exit::Class::Connection;
            let special = report.said.no_place || report.said.out_of_reach || report.said.lost_list;
            if connection && !special && !self.policy.on_hosts && report.begun && !self.policy.stops_itself {
                self.most = self.alive.len().div_ceil(2).max(1);
            } else if matches!(truth, Truth::Done(_)) && settled {
                self.most += 1;
            }
            let repaired = report.said.denied && !self.policy.as_root && code == exit::PARTIAL;
            self.told |= matches!(work, Work::Copy(_)) && repaired && report.said.otherwise;
            if let (Truth::Done(code), Work::Everything) = (truth, &work) {
                self.everything = Some(code == exit::OK);
                self.told = code != exit::OK;
            } else if let (Truth::Done(code), false) = (truth, work.copies()) {
                let gone = matches!(work, Work::Remove(_)) && code == exit::VANISHED;
                self.told |= code != exit::OK && !gone;
            }
        }
    }

    fn judge(&self, scheduler: &Scheduler) -> Judged {
        let code = scheduler.code().get();
        let verdict = self.verdict.as_ref().ok_or("it does not end")?;
        match verdict {
            Verdict::Unaccounted(text) => return Err(text.clone()),
            Verdict::Stopped if self.policy.survey => return Ok(()),
            Verdict::Stopped => {
                must!(code != exit::OK, "it was stopped, with code 0");
                return Ok(());
            }
            Verdict::Complete(_) => {}
        }
        must!(!self.stopped, "it is complete, and was stopped");
        if let Some(well) = self.everything {
            must!(well == (code == exit::OK), "one rsync: {code}");
            return Ok(());
        }
        must!(self.scanned, "it is complete before all is found");
        for (id, (_, fate)) in &self.buckets {
            must!(*fate != Fate::Waits, "bucket {id} was forgotten");
        }
        must!(self.told == (code != exit::OK), "code {code}, and told: {}", self.told);
        let deletes = self.policy.deletes.is_some() && (!self.sender_failed || self.policy.ignore_errors);
        if deletes && code == exit::OK && !self.policy.gitignore {
            let any = self.created > 0 || self.policy.deletes_late() && !self.buckets.is_empty();
            let whole = self.deleted_in.len() == self.dirs;
            must!(!any || whole || self.created < self.dirs, "deleted in {:?} of {}", self.deleted_in, self.dirs);
        }
        if self.policy.deletes_late() && code == exit::OK {
            let left: Vec<_> = self
                .buckets
                .iter()
                .filter(|(id, (_, fate))| *fate == Fate::Done && !self.cleaned.contains(id))
                .collect();
            must!(left.is_empty(), "not cleaned: {}", left.len());
        }
        if self.policy.removes_singles && !self.policy.pretends && code == exit::OK {
            let left = self
                .buckets
                .iter()
                .filter(|(id, (bucket, fate))| bucket.singles && *fate == Fate::Done && !self.removed.contains(id));
            must!(left.count() == 0, "not removed");
        }
        let unmarked = self.policy.marks_changes && !self.touched;
        if code == exit::OK && !self.policy.pretends && !unmarked {
            must!(self.unset.is_empty(), "without their attributes: {:?}", self.unset);
        }
        Ok(())
    }

    /// Kills the run: what is written down is taken up again.
    fn kill(&mut self) {
        let done: Vec<Bucket> =
            self.buckets.values().filter(|(_, fate)| *fate == Fate::Done).map(|(bucket, _)| *bucket).collect();
        // What was left out, and told, comes again.
        self.buckets.values_mut().filter(|(_, fate)| *fate == Fate::Skipped).for_each(|(_, fate)| *fate = Fate::Waits);
        let launches = self.alive.keys().chain(self.truths.keys()).max().map_or(0, |last| last + 1);
        let told = self.told;
        self.before = Before {
            launches,
            done: done.iter().map(|bucket| bucket.weight).sum(),
            // What else was told before is told again by the journal's own records.
            codes: if told { vec![exit::PARTIAL] } else { Vec::new() },
            buckets: done,
            sender_failed: self.sender_failed,
            names_meet: false,
        };
        self.alive.clear();
        self.asked.clear();
        self.aside.clear();
        self.asks_folding = false;
        self.created = 0;
        self.deleted_in.clear();
        self.cleaned.clear();
        self.removed.clear();
        self.touched = launches > 0;
        self.unset = if launches > 0 { (0..self.dirs).collect() } else { BTreeSet::new() };
        self.most = self.policy.processes.get();
        self.scan.clear();
        for _ in 0..self.dirs {
            self.find_dir();
        }
        let left: Vec<Bucket> =
            self.buckets.values().filter(|(_, fate)| *fate == Fate::Waits).map(|(bucket, _)| *bucket).collect();
        self.scan.push_back(Input::Buckets(left));
        self.scan.push_back(Input::ScanEnded);
        self.scanned = false;
        self.steps = 0;
    }
}

fn report(ending: Ending, after: Findings) -> Report {
    Report {
        ending,
        ran: Duration::from_millis(50),
        sent: Some(1000),
        after,
        begun: true,
        said: super::Said::default(),
    }
}

/// One run, and perhaps another one that takes it up again.
fn run(seed: u64, rules: &'static [Rule]) -> Judged {
    let mut world = World::new(seed);
    let cut = world.random.one_in(3).then(|| world.random.below(40));
    let interrupt = world.random.one_in(12).then(|| world.random.below(60));
    let mut scheduler = world.scheduler(rules);
    let mut kills = cut;
    let traced = std::env::var_os("MODEL_SEED").is_some();
    loop {
        let mut inputs = world.step();
        if interrupt == Some(world.steps) {
            inputs.push(Input::Interrupted);
            world.stopped = true;
        }
        let ends: Vec<(LaunchId, Report)> = inputs
            .iter()
            .filter_map(|input| match input {
                Input::Ended(launch, report) => Some((*launch, (**report).clone())),
                _ => None,
            })
            .collect();
        let was_one = world.everything.is_some();
        world.note_ends(&ends, !was_one);
        if traced {
            if world.steps == 1 {
                println!("{:?} {:?}", world.policy, world.before);
            }
            println!("{}: {inputs:?}", world.steps);
        }
        for command in scheduler.handle(world.now, inputs) {
            if traced {
                println!("    {command:?}");
            }
            world.carry_out(command)?;
        }
        if world.verdict.is_some() {
            return world.judge(&scheduler);
        }
        let one = world.becomes_one || world.policy.one_rsync.is_some();
        if kills == Some(world.steps) && !world.stopped && !one {
            kills = None;
            world.kill();
            scheduler = world.scheduler(rules);
        }
        must!(world.steps < LONGEST, "it does not end: {} alive", world.alive.len());
    }
}

fn violations(seeds: std::ops::Range<u64>, rules: &'static [Rule], most: usize) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for seed in seeds {
        if let Err(why) = run(seed, rules) {
            found.push((seed, why));
            if found.len() >= most {
                break;
            }
        }
    }
    found
}

#[test]
fn whatever_happens_the_invariants_hold() {
    if let Ok(seed) = std::env::var("MODEL_SEED") {
        let seed = seed.parse().expect("MODEL_SEED is a number");
        assert_eq!(violations(seed..seed + 1, RULES, 1), []);
        return;
    }
    let runs = std::env::var("MODEL_RUNS").map_or(RUNS, |text| text.parse().expect("MODEL_RUNS is a number"));
    let began = Instant::now();
    let found = violations(0..runs, RULES, 10);
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!("{runs} runs, {:.0} a minute", runs as f64 / minutes);
    assert_eq!(found, []);
}

/// The table with another row in the place of one.
fn broken(id: &str, rule: fn(&Case<'_>) -> Option<Outcome>) -> &'static [Rule] {
    let rules: Vec<Rule> = RULES.iter().map(|row| if row.0 == id { (row.0, rule) } else { *row }).collect();
    assert_ne!(
        rules.iter().map(|row| row.1 as usize).collect::<Vec<_>>(),
        RULES.iter().map(|row| row.1 as usize).collect::<Vec<_>>()
    );
    rules.leak()
}

#[test]
fn a_broken_table_is_noticed() {
    type Break = (&'static str, fn(&Case<'_>) -> Option<Outcome>);
    const LOST: fn(&Case<'_>) -> bool = |case| exit::class(case.code()) == exit::Class::Connection;
    let breaks: [Break; 7] = [
        // A launch that ended before it began counts as done.
        ("idle prestart", |_| None),
        // What a host has lost is forgotten.
        ("host lost", |case| (case.on_hosts && LOST(case)).then_some(Outcome::Nothing)),
        // An rsync that was killed counts as done.
        ("broken off", |case| (exit::class(case.code()) == exit::Class::Broken).then_some(Outcome::Settle(exit::OK))),
        // After a lost connection as many run as before.
        ("connection lost", |case| LOST(case).then_some(Outcome::Again { code: case.code(), most: u32::MAX })),
        // A lost list is no failure.
        ("list lost", |case| case.report.said.lost_list.then_some(Outcome::Settle(exit::OK))),
        // What was not let in is dropped.
        ("turned away", |case| (case.report.said.no_place && !case.stopping).then_some(Outcome::Nothing)),
        // Entries that failed are not in the exit code.
        ("settled", |case| exit::is_settled(case.code()).then_some(Outcome::Settle(exit::OK))),
    ];
    for (id, rule) in breaks {
        assert_ne!(violations(0..RUNS, broken(id, rule), 1), [], "{id}: nobody notices");
    }
}
