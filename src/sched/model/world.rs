//! The settings of a fake run, what its scan finds, and what happens next.

use super::*;

impl World {
    pub(super) fn new(seed: u64) -> World {
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
            elsewhere: on_hosts,
            retries: if flag(5) { 0 } else { 5 },
            tells_how: true,
            stop_after: flag(40).then(|| Duration::from_secs(20)),
            ends_after: flag(20).then(|| Duration::from_secs(15)),
            stops_itself: flag(30),
            deletes,
            ignore_errors: flag(4),
            repeatable: !flag(4),
            harm: match (flag(8), flag(2)) {
                (false, _) => None,
                (true, true) => Some(Harm::SkipsHalves),
                (true, false) => Some(Harm::OverwritesBackups),
            },
            gitignore: flag(12),
            as_root: flag(2),
            prints: flag(4),
            watches_names: flag(4),
            removes_singles: flag(6),
            removes: false,
            dir_times: !flag(3),
            access_times: flag(6),
            hard_links: flag(4),
            unlocks: flag(3),
            implied_dirs: flag(6),
            watches_dest,
            sets_times_back: watches_dest && flag(2),
            marks_changes: !watches_dest && flag(2),
            goes_ahead: !dest_is_local && flag(2),
            lists_exposed: flag(2),
            bwlimit: if flag(6) { NonZero::new(1000) } else { None },
            makes_much: flag(8),
            missing_sources: flag(12),
        };
        let removes = policy.removes_singles || random.one_in(8);
        // `--remove-source-files` and `--atimes` are never repeatable.
        let repeatable = policy.repeatable && !removes && !policy.access_times;
        let policy = Policy { removes, repeatable, ..policy };
        let of_slots = hosts::spread(&hosts, processes);
        let (steered, bandwidth) = (random.one_in(2), policy.bwlimit.map(NonZero::get));
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
            moved: BTreeSet::new(),
            lost: BTreeSet::new(),
            has_moved: false,
            moved_all: false,
            begun: BTreeSet::new(),
            removes_names: false,
            spoilt: false,
            told_moved: false,
            spoilt_read: false,
            told_read: false,
            spoilt_done: false,
            everything: None,
            most: usize::MAX,
            before: Before::default(),
            verdict: None,
            stopped: false,
            becomes_one: false,
            steered,
            limit: processes.get(),
            bandwidth,
            paused: false,
            winds_down: false,
            stands_still: false,
            held: BTreeSet::new(),
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

    /// Prepares what the scan finds, in the order in which it is reported.
    pub(super) fn fill(&mut self) {
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
                spine_before: if self.random.one_in(15) { u32::MAX } else { told as u32 },
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
        if self.random.one_in(3) {
            self.scan.push_back(Input::LookUp(1e-3 * self.random.below(100) as f64));
        }
        self.scan.push_back(Input::ScanEnded);
    }

    pub(super) fn find_dir(&mut self) {
        let locked = self.random.one_in(6);
        self.scan.push_back(Input::Directory(Directory { argument_bytes: 12, locked }));
    }

    pub(super) fn scheduler(&self, rules: &'static [Rule]) -> Scheduler {
        let hosts = (!self.hosts.is_empty())
            .then(|| HostPool::new(&self.hosts, self.of_slots.clone(), Duration::from_secs(3600)));
        let scheduler = Scheduler::new(self.policy.clone(), hosts, self.before.clone(), self.now);
        Scheduler { rules, ..scheduler }
    }

    pub(super) fn fails(&mut self, count: usize) -> bool {
        self.steps < TROUBLED && self.random.one_in(count)
    }

    /// Lets something happen, and returns the inputs for the scheduler.
    pub(super) fn step(&mut self) -> Vec<Input> {
        self.steps += 1;
        self.now += Duration::from_millis(match self.random.below(8) {
            0 => 1500,
            1 => 200,
            _ => 3,
        });
        let mut inputs = self.steer();
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
            // A stopped launch does nothing, but the other side may give it up.
            _ if self.stands_still && !self.random.one_in(20) => inputs.push(Input::Tick),
            _ if !self.alive.is_empty() => {
                let at = self.random.below(self.alive.len());
                let launch = *self.alive.keys().nth(at).unwrap();
                self.move_on(launch, &mut inputs);
            }
            _ => inputs.push(Input::Tick),
        }
        inputs
    }

    /// The user changes a setting.
    fn steer(&mut self) -> Vec<Input> {
        let over = self.steps >= TROUBLED;
        if !self.steered || self.stopped || over && !self.paused || !over && !self.random.one_in(12) {
            return Vec::new();
        }
        let what = if over { 30 } else { self.random.below(30) };
        match what {
            0..=9 => {
                let processes = (!self.random.one_in(4)).then(|| 1 + self.random.below(8));
                let bandwidth = self.random.one_in(3).then(|| [None, Some(3), Some(1000)][self.random.below(3)]);
                self.limit = processes.unwrap_or(self.limit);
                self.bandwidth = bandwidth.unwrap_or(self.bandwidth);
                let bandwidth = bandwidth.map(|limit| limit.and_then(NonZero::new));
                vec![Input::Adjust { processes: processes.and_then(NonZero::new), bandwidth }]
            }
            10..=19 if !self.paused => {
                self.paused = true;
                if !self.winds_down {
                    self.held.extend(self.alive.keys());
                }
                vec![Input::Pause]
            }
            20 => {
                self.winds_down = true;
                vec![Input::WindDown]
            }
            _ => {
                self.paused = false;
                vec![Input::Continue]
            }
        }
    }

    pub(super) fn findings(&mut self) -> Findings {
        if !self.fails(60) {
            return Findings::default();
        }
        self.told = true;
        let sender_failed = self.random.one_in(2);
        self.sender_failed |= sender_failed;
        Findings { partial: true, sender_failed, ..Findings::default() }
    }

    pub(super) fn move_on(&mut self, launch: LaunchId, inputs: &mut Vec<Input>) {
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
        // A launch that waits for its names lives until it is released or dismissed, except for accidents.
        if !works && !dismissed && !self.fails(30) {
            return;
        }
        let drains = matches!(work, Work::Copy(_) | Work::Repair(_) | Work::Create(_)) && !self.alive[&launch].draining;
        if works && drains && self.random.one_in(4) {
            if let Work::Create(part) = &work {
                self.created = self.created.max(part.end);
            }
            self.alive.get_mut(&launch).unwrap().draining = true;
            inputs.push(Input::Draining(launch));
            return;
        }
        let (report, truth) = self.end(launch);
        self.alive.remove(&launch);
        let said = &report.said;
        let turned_away = said.no_place || said.out_of_reach || said.no_files || said.refused;
        if works && work.copies() && report.begun && !turned_away {
            self.has_moved |= !said.unanswered;
            let buckets = work.buckets().iter().map(|bucket| bucket.id);
            self.lost.extend(buckets.filter(|_| truth == Truth::Lost));
            let is_repaired = said.denied && !self.policy.as_root && truth == Truth::Done(exit::PARTIAL);
            let lost = truth == Truth::Lost || is_repaired && matches!(work, Work::Copy(_));
            let lost = lost && !said.unanswered;
            self.moved_all |= lost && work.is_everything();
            self.moved.extend(work.buckets().iter().filter(|_| lost).map(|bucket| bucket.id));
        }
        self.truths.insert(launch, (truth, work, report.said.list_failed));
        inputs.push(Input::Ended(launch, Box::new(report)));
    }

    /// Kills the run, and keeps what the journal would have.
    pub(super) fn kill(&mut self) {
        let done: Vec<Bucket> =
            self.buckets.values().filter(|(_, fate)| *fate == Fate::Done).map(|(bucket, _)| *bucket).collect();
        // Buckets that were skipped and reported are done again.
        self.buckets.values_mut().filter(|(_, fate)| *fate == Fate::Skipped).for_each(|(_, fate)| *fate = Fate::Waits);
        let launches = self.alive.keys().chain(self.truths.keys()).max().map_or(0, |last| last + 1);
        let told = self.told;
        let working = self.alive.values().filter(|alive| alive.works && alive.start.work.copies());
        self.moved.extend(working.flat_map(|alive| alive.start.work.buckets()).map(|bucket| bucket.id));
        // What was told of in this part is told of again by the next one.
        let is_open = |id: &u64| self.buckets[id].1 != Fate::Done;
        let again = self.spoilt_done || self.begun.iter().any(is_open);
        let is_whole = |id: &&u64| !self.buckets[id].0.singles;
        let dirs_again = self.spoilt_done || self.begun.iter().filter(is_whole).any(is_open);
        self.before = Before {
            launches,
            done: done.iter().map(|bucket| bucket.weight).sum(),
            // Other reports from before are repeated from the journal's records.
            codes: if told { vec![exit::PARTIAL] } else { Vec::new() },
            buckets: done,
            sender_failed: self.sender_failed,
            again,
            dirs_again,
            removed: self.removes_names,
            names_meet: false,
        };
        if self.policy.loses_what_it_moved() {
            // A run that is resumed does not delete then.
            self.policy.deletes = None;
        }
        (self.told_moved, self.told_read) = (false, false);
        // The user has made up for it.
        self.lost.clear();
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
        self.most = usize::MAX;
        self.limit = self.policy.processes.get();
        self.bandwidth = self.policy.bwlimit.map(NonZero::get);
        (self.paused, self.winds_down, self.stands_still) = (false, false, false);
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
