//! The invariants: of each command when it is given, and of the run when it has ended.

use super::*;

impl World {
    /// The number of launches that work.
    pub(super) fn working(&self) -> usize {
        self.alive.values().filter(|alive| (alive.works || alive.releasing) && !alive.draining).count()
    }

    pub(super) fn is_copied(&self) -> bool {
        self.everything.is_some()
            || self.scanned
                && self.buckets.values().all(|(_, fate)| *fate != Fate::Waits)
                && !self.alive.values().any(|alive| alive.works && alive.start.work.copies())
    }

    pub(super) fn keeps(&self) -> bool {
        self.sender_failed && self.policy.keeps_if_failed()
    }

    pub(super) fn carry_out(&mut self, command: Command) -> Judged {
        match command {
            Command::Start(start) => self.start(*start)?,
            Command::Release { launch, .. } => {
                let Some(alive) = self.alive.get_mut(&launch) else { return Ok(()) };
                must!(!self.stands_still && !self.winds_down, "{launch} is released in a pause, or at the end");
                must!(alive.start.ahead && !alive.releasing && !alive.works, "{launch} is released, and did not wait");
                alive.releasing = true;
                let (working, limit) = (self.working(), self.limit);
                must!(working <= limit, "{working} of {limit} work, and {launch} is released");
                let Some(alive) = self.alive.get_mut(&launch) else { return Ok(()) };
                let work = alive.start.work.clone();
                self.may_begin(&work)?;
                self.begins(&work);
            }
            Command::Dismiss(launch) => {
                self.alive.get_mut(&launch).into_iter().for_each(|alive| alive.dismissed = true);
            }
            Command::Done { launch, code, again, buckets, .. } => {
                self.spoilt_done |= again;
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
            Command::Failed(Failed::MovedBefore { dir_times, hard_links }) => {
                let Policy { removes, pretends, .. } = self.policy;
                must!(removes && !pretends, "it tells of moves that nobody made");
                let same = dir_times == self.policy.dir_times && hard_links == self.policy.hard_links;
                must!(same && (dir_times || hard_links), "it tells of what is not copied");
                let by_copying = self.moved_all || self.moved.iter().any(|id| !self.buckets[id].0.singles);
                let before = self.before.dirs_again || self.before.removed && dir_times;
                must!(by_copying || before, "it tells of moves, and nothing was moved before");
                must!(!std::mem::replace(&mut self.told_moved, true), "it tells of moves twice");
                self.told = true;
            }
            Command::Failed(Failed::ReadBefore) => {
                must!(
                    self.policy.access_times && !self.policy.pretends,
                    "it tells of access times that it does not copy"
                );
                let is_again = self.moved_all || !self.moved.is_empty() || self.before.again;
                must!(is_again, "it tells of reads, and nothing was read before");
                must!(!std::mem::replace(&mut self.told_read, true), "it tells of reads twice");
                self.told = true;
            }
            Command::TellMissing | Command::TellMeeting(_) | Command::Failed(_) => {
                self.told = true;
                self.sender_failed |= !matches!(command, Command::Failed(_));
            }
            Command::AskFolding => {
                must!(!self.asks_folding, "asked twice");
                self.asks_folding = true;
            }
            Command::Probe(host) => {
                self.asked.push(host);
                self.aside.insert(host);
            }
            Command::Stop => {
                self.stopped = true;
                self.stands_still = false;
            }
            Command::Pause => {
                must!(!self.stands_still && self.paused, "it is stopped, and was not to be");
                self.stands_still = true;
            }
            Command::Continue => {
                must!(self.stands_still || self.stopped, "it goes on, and did not stand still");
                self.stands_still = false;
            }
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
            | Command::Decided { .. }
            | Command::HostBack(_)
            | Command::Note(_) => {}
        }
        Ok(())
    }

    pub(super) fn start(&mut self, start: Start) -> Judged {
        must!(!self.stopped, "{:?} starts, and the run ends", start.work);
        must!(
            !self.stands_still && !self.paused && !self.winds_down,
            "{:?} starts in a pause, or at the end",
            start.work
        );
        match start.limit {
            Some(share) => must!(share <= self.bandwidth.unwrap_or(0), "{share} of {:?} KiB a second", self.bandwidth),
            None => must!(self.bandwidth.is_none() || start.work.is_everything(), "{:?} has no limit", start.work),
        }
        let host = self.of_slots.get(start.slot).copied();
        must!(
            host.is_none_or(|host| !self.aside.contains(&host)),
            "{:?} starts on a host that is set aside",
            start.work
        );
        let (launch, ahead) = (start.launch, start.ahead);
        if !ahead {
            self.may_begin(&start.work)?;
            self.begins(&start.work);
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
                let harms = self.policy.harm.is_some() && self.lost.contains(&bucket.id);
                must!(!harms, "bucket {} is repeated, which does harm", bucket.id);
                must!(self.buckets[&bucket.id].1 == Fate::Waits, "bucket {} was settled before", bucket.id);
            }
        }
        if let Some(how) = start.how {
            must!(how.keep || !self.keeps(), "it may delete after an error");
            let moved = start.work.buckets().iter().any(|bucket| self.moved.contains(&bucket.id));
            must!(how.keep || !moved || !self.policy.loses_what_it_moved(), "it may delete what another one has moved");
        }
        let alone = matches!(start.work, Work::Repair(_) | Work::Everything);
        must!(!alone || self.working() == 0, "{:?} is not alone", start.work);
        self.alive.insert(
            launch,
            Alive { start, prepared: false, works: !ahead, releasing: false, dismissed: false, draining: false },
        );
        let (working, processes) = (self.working(), self.limit);
        must!(working <= processes, "{working} of {processes} work");
        let waiting = self.alive.values().filter(|alive| !alive.works && !alive.releasing && !alive.dismissed).count();
        must!(
            working <= self.most.max(1) || waiting > 0,
            "{working} work after a connection was lost, not {}",
            self.most
        );
        Ok(())
    }

    /// Notes what a launch that begins to work may spoil, because another one has moved a part of it before.
    fn begins(&mut self, work: &Work) {
        let Policy { dir_times, hard_links, removes, pretends, access_times, .. } = self.policy;
        let again = |bucket: &Bucket| self.moved.contains(&bucket.id);
        let read = work.copies() && work.buckets().iter().any(again) || work.is_everything() && self.has_moved;
        self.spoilt_read |= read && access_times && !pretends;
        let whole: Vec<u64> = work.buckets().iter().filter(|bucket| !bucket.singles).map(|bucket| bucket.id).collect();
        let again = match work {
            Work::Copy(_) | Work::Repair(_) => {
                whole.iter().any(|id| self.moved.contains(id)) && (dir_times || hard_links)
            }
            Work::Everything => self.moved_all && (dir_times || hard_links),
            Work::Create(_) | Work::Delete(_) | Work::Attributes(_) => self.removes_names && dir_times,
            Work::Clean(_) | Work::Remove(_) => false,
        };
        self.spoilt |= again && removes && !pretends;
        if work.copies() {
            self.begun.extend(work.buckets().iter().map(|bucket| bucket.id));
        }
        self.removes_names |= matches!(work, Work::Remove(_)) && self.dirs > 0;
    }

    /// The settings in force are those that were made last, and a run that is ending is not paused.
    pub(super) fn look_at_the_steering(&self, scheduler: &Scheduler) -> Judged {
        let InForce { most, processes, bandwidth, paused, winds_down, .. } = scheduler.in_force();
        let over = self.stopped || self.verdict.is_some();
        must!(most.get() == self.limit && processes <= most, "{processes} of {most}, and {} were set", self.limit);
        must!(bandwidth.map(NonZero::get) == self.bandwidth, "{bandwidth:?}, and {:?} was set", self.bandwidth);
        must!(over || winds_down == self.winds_down, "winds down: {winds_down}");
        must!(over || paused == (self.paused && !self.winds_down), "paused: {paused}, and {} was set", self.paused);
        must!(over || paused == self.stands_still, "paused: {paused}, and {} was said", self.stands_still);
        Ok(())
    }

    /// Checks whether everything exists that a launch needs before it begins to work.
    pub(super) fn may_begin(&self, work: &Work) -> Judged {
        match work {
            Work::Copy(_) | Work::Repair(_) => {
                for bucket in work.buckets() {
                    let all_exist = self.scanned && self.created == self.dirs;
                    let (needs, created) = (bucket.spine_before as usize, self.created);
                    must!(
                        needs <= created || needs == u32::MAX as usize && all_exist,
                        "bucket {} needs {needs} directories, not {created}",
                        bucket.id
                    );
                }
            }
            Work::Clean(_) | Work::Delete(_) => {
                must!(self.is_copied(), "{work:?} before all is copied");
                must!(self.policy.deletes.is_some(), "{work:?}, and nothing is to be deleted");
                must!(!self.sender_failed || self.policy.ignore_errors, "{work:?} after an error of the source");
                must!(
                    self.moved.is_empty() || !self.policy.loses_what_it_moved(),
                    "{work:?} after something was moved"
                );
            }
            Work::Attributes(_) | Work::Remove(_) => must!(self.is_copied(), "{work:?} before all is copied"),
            Work::Create(part) => must!(part.end <= self.dirs, "{work:?} of {} directories", self.dirs),
            Work::Everything => {
                must!(
                    !self.has_moved || !self.policy.loses_what_it_moved(),
                    "one rsync may delete what another one has moved"
                );
            }
        }
        Ok(())
    }

    /// Records what the scheduler has to conclude from the launches that have ended.
    pub(super) fn note_ends(&mut self, inputs: &[(LaunchId, Report)], settled: bool) {
        for (launch, report) in inputs {
            let Some((truth, work, _)) = self.truths.get(launch).cloned() else { continue };
            let code = match report.ending {
                Ending::Ended(ended) => ended.code(),
                _ => continue,
            };
            let connection = exit::class(code) == exit::Class::Connection;
            let held = self.held.contains(launch);
            let special = report.said.no_place || report.said.out_of_reach || report.said.lost_list;
            if connection && !special && !held && !self.policy.on_hosts && report.begun && !self.policy.stops_itself {
                self.most = self.alive.len().div_ceil(2).max(1);
            } else if matches!(truth, Truth::Done(_)) && settled {
                self.most = self.most.saturating_add(1);
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

    pub(super) fn judge(&self, scheduler: &Scheduler) -> Judged<End> {
        let code = scheduler.code().get();
        let verdict = self.verdict.as_ref().ok_or("it does not end")?;
        match verdict {
            Verdict::Unaccounted(text) => return Err(text.clone()),
            Verdict::Stopped if self.policy.survey => return Ok(End::Stopped),
            Verdict::Stopped => {
                must!(code != exit::OK, "it was stopped, with code 0");
                return Ok(End::Stopped);
            }
            Verdict::Complete(_) => {}
        }
        must!(!self.stopped, "it is complete, and was stopped");
        if let Some(well) = self.everything {
            must!((well && !self.told_moved && !self.told_read) == (code == exit::OK), "one rsync: {code}");
            must!(!self.spoilt || self.told_moved, "it has spoilt what was moved before, and says nothing");
            must!(!self.spoilt_read || self.told_read, "it has spoilt what was read before, and says nothing");
            return Ok(End::OneRsync);
        }
        must!(self.scanned, "it is complete before all is found");
        for (id, (_, fate)) in &self.buckets {
            must!(*fate != Fate::Waits, "bucket {id} was forgotten");
        }
        must!(self.told == (code != exit::OK), "code {code}, and told: {}", self.told);
        must!(!self.spoilt_read || self.told_read, "it has spoilt what was read before, and says nothing");
        must!(!self.spoilt || self.told_moved, "it has spoilt what was moved before, and says nothing");
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
        Ok(if code == exit::OK { End::Well } else { End::WithErrors })
    }
}
