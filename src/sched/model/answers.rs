//! How launches are prepared and end in the fake world, and what they have really done.

use super::*;

impl World {
    pub(super) fn why_not_launched(&mut self, launch: LaunchId) -> Option<NotLaunched> {
        let Start { work, ahead, looks_first, .. } = self.alive[&launch].start.clone();
        match work {
            Work::Create(_) => {
                let stands = looks_first && self.policy.watches_dest && self.random.one_in(3);
                let made = looks_first && self.policy.dest_is_local && self.random.one_in(4);
                match stands {
                    true => Some(NotLaunched::Stands { other_times: self.random.one_in(2) }),
                    false => made.then_some(NotLaunched::Made),
                }
            }
            Work::Copy(_) if ahead && self.fails(8) => Some(NotLaunched::NoList),
            Work::Copy(_) if !self.policy.as_root && self.fails(8) => Some(NotLaunched::Alone),
            Work::Copy(_) | Work::Repair(_) | Work::Clean(_) | Work::Remove(_) if !ahead && self.fails(25) => {
                Some(NotLaunched::NothingLeft { told: true })
            }
            Work::Attributes(_) if ahead && self.fails(8) => Some(NotLaunched::NoList),
            Work::Attributes(_) if looks_first && self.random.one_in(2) => Some(NotLaunched::AsCreated),
            _ => None,
        }
    }

    pub(super) fn not_launched(&mut self, work: &Work, why: NotLaunched) {
        match (work, why) {
            (Work::Create(part), NotLaunched::Stands { other_times }) => {
                self.created = self.created.max(part.end);
                if other_times {
                    self.unset.extend(part.clone());
                }
            }
            (Work::Create(part), NotLaunched::Made) => {
                self.touched = true;
                self.created = self.created.max(part.end);
                self.unset.extend(part.clone());
            }
            (Work::Copy(buckets), NotLaunched::NothingLeft { .. }) => {
                buckets.iter().for_each(|bucket| self.skip(bucket.id))
            }
            (Work::Repair(bucket), NotLaunched::NothingLeft { .. }) => self.skip(bucket.id),
            (Work::Clean(buckets), _) => self.cleaned.extend(buckets.iter().map(|bucket| bucket.id)),
            (Work::Remove(buckets), _) => self.removed.extend(buckets.iter().map(|bucket| bucket.id)),
            (Work::Attributes(part), NotLaunched::AsCreated | NotLaunched::NothingLeft { .. }) => {
                self.unset.retain(|dir| !part.contains(dir));
            }
            _ => {}
        }
    }

    pub(super) fn skip(&mut self, bucket: u64) {
        self.buckets.get_mut(&bucket).unwrap().1 = Fate::Skipped;
    }

    /// Decides how a launch ends, and what it has really done.
    pub(super) fn end(&mut self, launch: LaunchId) -> (Report, Truth) {
        let alive = &self.alive[&launch];
        let (works, work) = (alive.works, alive.start.work.clone());
        let mut said = Symptoms::default();
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
            17 => {
                said.lost_count = true;
                (ended(exit::PROTOCOL), Truth::Lost)
            }
            _ => (ended(exit::OK), Truth::Done(exit::OK)),
        };
        let truth = if ending == ended(exit::OK) || truth != Truth::Done(exit::OK) { truth } else { Truth::Lost };
        said.unanswered = truth == Truth::Lost && matches!(kind, 0 | 1) && self.random.one_in(3);
        said.changes = self.random.one_in(2);
        let in_order = ending == ended(exit::OK);
        self.touched |= !matches!(work, Work::Remove(_)) && (!in_order || said.changes);
        self.happens(&work, truth);
        let after = self.findings();
        (Report { said, ..report(ending, after) }, truth)
    }

    /// Applies what a launch has really done, whatever the scheduler concludes from its report.
    pub(super) fn happens(&mut self, work: &Work, truth: Truth) {
        match work {
            Work::Copy(buckets) => {
                for bucket in buckets {
                    self.unset.extend(0..self.dirs.min(bucket.spine_before as usize));
                }
            }
            Work::Repair(bucket) => self.unset.extend(0..self.dirs.min(bucket.spine_before as usize)),
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
}

pub(super) fn report(ending: Ending, after: Findings) -> Report {
    Report {
        ending,
        ran: Duration::from_millis(50),
        sent: Some(1000),
        after,
        begun: true,
        was_held: false,
        said: Symptoms::default(),
    }
}
