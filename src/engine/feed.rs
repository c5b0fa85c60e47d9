//! From the scan to buckets: turns what the scan finds into arguments of rsync, packs them, and informs the driver.
//!
//! Two things delay a unit: a split directory that rsync still has to judge (see `judge`), and names of one inode, which must reach one bucket together. Both
//! wait here, and nothing else does.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::bucket::{Bucket, BucketDir, GroupMember, Packer, Place};
use crate::config::Config;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::far::crew::News;
use crate::plan::{Plan, Strategy};
use crate::rsync::command::Removal;
use crate::scan::{
    self, KeptWhole, Limits, Linked, LinkedDir, LinkedDirs, Pruner, Scan, ScanError, Small, Spine, Unit, Units, Watch,
    Weight,
};
use crate::supervise::Supervisor;
use crate::thread;

use super::judge::{Candidate, Judge};
use super::ledger::{Complete, Known};
use super::meeting::Meeting;
use super::resume;
use super::scans::Scans;
use super::small::Division;

/// A split directory that is part of the transfer.
#[derive(Debug, Clone)]
pub(super) struct SpineDir {
    /// Its argument; `None` if it is DEST itself.
    pub argument: Option<Vec<u8>>,
    /// Its device and inode when it was scanned.
    pub identity: (u64, u64),
    /// It lacks `u+rwx`.
    pub locked: bool,
    /// rsync does not enter it, and nothing is deleted in it.
    pub mount_point: bool,
    /// Another user could replace it.
    pub exposed: bool,
}

/// What the driver is told about the scan.
pub(super) enum Found {
    /// A split directory. Parents come before their contents.
    Spine(SpineDir),
    Buckets(Vec<Bucket>),
    KeptWhole(KeptWhole, String),
    Unread(ScanError),
    /// This name and another one may be a single name at the destination.
    Meets(String),
    /// The seconds that an entry of the source takes at least.
    LookUp(f64),
    /// A host takes part in the scan, or no longer does.
    News(News),
    /// The scan has ended after this time. `None` if it was stopped, so that not everything was reported.
    End(Result<Option<Duration>>),
}

/// What a feed needs.
pub(super) struct Inputs<'a> {
    pub config: &'a Config,
    pub plan: &'a Plan,
    pub buckets: &'a BucketDir,
    pub supervisor: &'a Supervisor,
    pub watch: &'a Watch,
    /// How many bytes the arguments of one launch may take.
    pub room: usize,
    /// What an earlier part of the run has done.
    pub known: Known,
    /// How the tree is divided if it is small.
    pub division: Option<Division>,
}

impl Inputs<'_> {
    /// Whether buckets are packed. If a single rsync does everything, the scan only counts.
    pub fn packs(&self) -> bool {
        self.config.dry_run || self.plan.strategy == Strategy::Parallel
    }
}

/// Scans and packs; returns when everything was reported.
pub(super) fn feed(inputs: &Inputs<'_>, tell: &(dyn Fn(Found) + Sync)) {
    let began = Instant::now();
    if let Some(complete) = &inputs.known.complete {
        return replay(inputs, complete, tell);
    }
    let feed = Feed {
        inputs,
        packer: Packer::new(inputs.config.limits, inputs.room, inputs.buckets)
            .starting_at(inputs.known.next_bucket)
            .singles_apart(inputs.plan.recipe.removal == Removal::SinglesLast),
        spines: Mutex::default(),
        to_judge: Mutex::default(),
        judge_wakes: Condvar::new(),
        groups: Mutex::default(),
        linked_dirs: Mutex::default(),
        failure: Mutex::default(),
        meeting: inputs.plan.watches_names.then(Meeting::default),
        began,
        tell,
    };
    for single in &inputs.plan.singles {
        inputs.watch.count_single(single.weight);
        if !inputs.packs() {
            continue;
        }
        let unit = Unit { name: single.name.as_bytes(), weight: single.weight };
        feed.place(None, &single.prefix, Place::default(), std::iter::once(unit));
    }
    let scanned = std::thread::scope(|scope| {
        let closing = Closing(&feed);
        let judging = feed.judges().then(|| thread::start(scope, || feed.judge()));
        let judging = judging.transpose()?;
        let scan = inputs.plan.scan(inputs.config, inputs.buckets.identity());
        // Names are judged in a directory of the run directory, and copied to DEST: they must not be too long at either place.
        let elsewhere = inputs.buckets.path().as_os_str().len().max(inputs.plan.recipe.destination.len());
        let above = inputs.plan.trees.iter().map(|tree| tree.above.len()).max().unwrap_or(0);
        let scan = Scan { longest_base: elsewhere + above, ..scan };
        let limits = |found| feed.limits(found);
        let small = inputs.division.as_ref().map(|division| Small { entries: division.most, limits: &limits });
        let hear = |event: scan::Event<'_>| feed.hear(event);
        let tell_news = |news| (feed.tell)(Found::News(news));
        let scanned = Scans { inputs, scan: &scan, began, tell_news: &tell_news }.run(small, &hear);
        drop(closing);
        if judging.is_some_and(|thread| thread.join().is_err()) {
            feed.fail(Error::usage("the thread that judges directories panicked"));
        }
        scanned
    });
    // A scan that was stopped may return after the run has ended, and the run directory may already belong to another run, so that nothing more is packed.
    let stopped = inputs.watch.stopped();
    if !stopped {
        feed.tell_look_up();
        feed.pack_linked_dirs();
        // The remaining groups are incomplete: some names of an inode are outside the source or were excluded. For a split directory, the number of names is
        // not known at all.
        let left: Vec<Group> = std::mem::take(&mut *lock(&feed.groups)).into_values().collect();
        left.iter().for_each(|group| feed.pack_group(group));
        feed.packed(feed.packer.finish());
    }
    let failure = lock(&feed.failure).take();
    let took = (!stopped).then(|| began.elapsed());
    tell(Found::End(scanned.and(failure.map_or(Ok(()), Err)).map(|()| took)));
}

/// Reports what a scan has found that an earlier part of the run completed.
fn replay(inputs: &Inputs<'_>, complete: &Complete, tell: &(dyn Fn(Found) + Sync)) {
    inputs.watch.count_single(complete.found);
    let mut spine = complete.spine.clone();
    if inputs.plan.recipe.far.is_none() {
        resume::mounted_again(&mut spine, &inputs.plan.recipe.base);
    }
    spine.into_iter().for_each(|dir| tell(Found::Spine(dir)));
    tell(Found::Buckets(complete.buckets.clone()));
    tell(Found::End(Ok(Some(Duration::ZERO))));
}

/// Lets the judging thread end when dropped, even if the scan panics.
struct Closing<'a, 'b>(&'a Feed<'b>);

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        self.0.to_judge.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).closed = true;
        self.0.judge_wakes.notify_all();
    }
}

struct Feed<'a> {
    inputs: &'a Inputs<'a>,
    packer: Packer<'a>,
    /// The split directories, by the numbers of the scan.
    spines: Mutex<Spines>,
    to_judge: Mutex<ToJudge>,
    judge_wakes: Condvar,
    groups: Mutex<HashMap<Together, Group>>,
    linked_dirs: Mutex<Vec<LinkedDirs>>,
    failure: Mutex<Option<Error>>,
    /// Looks for names in split directories that may be one name at the destination.
    meeting: Option<Meeting>,
    began: Instant,
    tell: &'a (dyn Fn(Found) + Sync),
}

#[derive(Default)]
struct Spines {
    verdicts: Vec<Verdict>,
    copied: u32,
}

enum Verdict {
    /// Not judged yet: these units wait for the verdict.
    Waiting(Vec<Waiting>),
    /// It is copied, and its units have to be copied after this place.
    Copied(Place),
    Excluded,
}

enum Waiting {
    Units { prefix: Vec<u8>, units: Vec<(Vec<u8>, Weight)> },
    Linked { argument: Vec<u8>, weight: Weight, inode: (u64, u64), names: u32 },
}

#[derive(Default)]
struct ToJudge {
    candidates: Vec<(Candidate, SpineDir, Pruner)>,
    closed: bool,
}

/// Why names must reach one bucket.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Together {
    Inode((u64, u64)),
    /// The names are in the split directory of this number.
    Spine(u32),
}

/// Names that belong together, as far as they were found.
struct Group {
    /// How many names belong together, if that is known.
    names: Option<u32>,
    members: Vec<GroupMember>,
}

impl Feed<'_> {
    fn judges(&self) -> bool {
        self.inputs.packs() && self.inputs.plan.recipe.rule_options.is_some()
    }

    /// Sets and returns the limits of buckets for a small tree of which nothing was reported yet.
    fn limits(&self, found: Weight) -> Limits {
        let usual = self.inputs.config.limits;
        let divide = |division: &Division| division.limits(found, division.look_up(found, self.began.elapsed()));
        let limits = self.inputs.division.as_ref().map_or(usual, divide);
        self.packer.limit(limits);
        limits
    }

    fn hear(&self, event: scan::Event<'_>) {
        if self.inputs.watch.stopped() {
            return;
        }
        match event {
            scan::Event::Spine(_) | scan::Event::Units(_) | scan::Event::Linked(_) | scan::Event::LinkedDirs(_)
                if !self.inputs.packs() => {}
            scan::Event::Spine(spine) => self.spine(spine),
            scan::Event::Units(units) => self.units(units),
            scan::Event::Linked(linked) => self.linked(linked),
            scan::Event::LinkedDirs(dirs) => lock(&self.linked_dirs).push(dirs),
            scan::Event::KeptWhole { path, why, .. } => {
                (self.tell)(Found::KeptWhole(why, Printable::bytes(path).to_string()));
            }
            scan::Event::Error(error) => (self.tell)(Found::Unread(error)),
        }
    }

    fn prefix(&self, root: u32) -> &[u8] {
        &self.inputs.plan.trees[root as usize].prefix
    }

    fn spine(&self, spine: Spine<'_>) {
        self.meet(spine.root, spine.path);
        let argument = [self.prefix(spine.root), spine.path].concat();
        let dir = SpineDir {
            argument: (!spine.path.is_empty()).then(|| argument.clone()),
            identity: spine.identity,
            locked: spine.mode & 0o700 != 0o700,
            mount_point: spine.mount_point,
            exposed: spine.exposed,
        };
        let mut spines = lock(&self.spines);
        if self.judges() {
            spines.verdicts.push(Verdict::Waiting(Vec::new()));
            drop(spines);
            let above = &self.inputs.plan.trees[spine.root as usize].above[..];
            let candidate = Candidate { index: spine.index, path: [above, spine.path].concat(), argument };
            lock(&self.to_judge).candidates.push((candidate, dir, spine.pruner()));
            self.judge_wakes.notify_all();
        } else {
            spines.copied += 1;
            let place = Place { spine_before: spines.copied, exposed: dir.exposed };
            spines.verdicts.push(Verdict::Copied(place));
            (self.tell)(Found::Spine(dir));
        }
    }

    /// Checks whether the name of a path may be one with another name at the destination.
    fn meet(&self, root: u32, path: &[u8]) {
        let (dir, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        self.meet_all(root, dir, std::iter::once(name).filter(|name| !name.is_empty()));
    }

    fn meet_all<'n>(&self, root: u32, dir: &[u8], names: impl Iterator<Item = &'n [u8]>) {
        let Some(meeting) = &self.meeting else { return };
        let above = &self.inputs.plan.trees[root as usize].above;
        meeting.take(&[above, dir].concat(), names).into_iter().for_each(|name| (self.tell)(Found::Meets(name)));
    }

    fn units(&self, units: Units<'_>) {
        self.meet_all(units.root, units.dir, units.iter().map(|unit| unit.name));
        let mut prefix = [self.prefix(units.root), units.dir].concat();
        if !units.dir.is_empty() {
            prefix.push(b'/');
        }
        let place = match units.spine {
            None => Some(Place::default()),
            Some(spine) => self.verdict(spine, || Waiting::Units {
                prefix: prefix.clone(),
                units: units.iter().map(|unit| (unit.name.to_vec(), unit.weight)).collect(),
            }),
        };
        if let Some(place) = place {
            self.place(units.spine, &prefix, place, units.iter());
        }
    }

    fn place<'u>(&self, spine: Option<u32>, prefix: &[u8], place: Place, units: impl Iterator<Item = Unit<'u>>) {
        let units = units.filter(|unit| !self.inputs.known.is_done(&[prefix, unit.name]));
        let Some(spine) = spine.filter(|_| self.inputs.plan.names_together) else {
            return self.packed(self.packer.pack(prefix, place, units));
        };
        let (names, subtrees): (Vec<Unit<'_>>, Vec<Unit<'_>>) = units.partition(|unit| unit.weight.entries == 1);
        for Unit { name, weight } in names {
            let member = GroupMember { argument: [prefix, name].concat(), weight, place };
            self.gather(Together::Spine(spine), None, member);
        }
        self.packed(self.packer.pack(prefix, place, subtrees.into_iter()));
    }

    fn linked(&self, linked: Linked<'_>) {
        let Linked { root, spine, dir, name, weight, inode, names } = linked;
        self.meet_all(root, dir, std::iter::once(name));
        let mut argument = [self.prefix(root), dir].concat();
        if !dir.is_empty() {
            argument.push(b'/');
        }
        argument.extend_from_slice(name);
        let waiting = || Waiting::Linked { argument: argument.clone(), weight, inode, names };
        if let Some(place) = self.verdict(spine, waiting) {
            self.gather(Together::Inode(inode), Some(names), GroupMember { argument, weight, place });
        }
    }

    fn gather(&self, key: Together, names: Option<u32>, member: GroupMember) {
        let mut groups = lock(&self.groups);
        let group = groups.entry(key).or_insert_with(|| Group { names, members: Vec::new() });
        group.members.push(member);
        let complete = group.names.is_some_and(|names| group.members.len() >= names as usize);
        let group = if complete { groups.remove(&key) } else { None };
        drop(groups);
        if let Some(group) = group {
            self.pack_group(&group);
        }
    }

    /// The place of a unit of this split directory. `None` if the unit waits for the verdict, or is not copied at all.
    fn verdict(&self, spine: u32, waiting: impl FnOnce() -> Waiting) -> Option<Place> {
        match &mut lock(&self.spines).verdicts[spine as usize] {
            Verdict::Waiting(held) => {
                held.push(waiting());
                None
            }
            Verdict::Copied(place) => Some(*place),
            Verdict::Excluded => None,
        }
    }

    fn judge(&self) {
        let Inputs { plan, supervisor, buckets, room, .. } = self.inputs;
        let mut judge = Judge::new(plan, supervisor, buckets.path(), *room);
        loop {
            let mut queue = lock(&self.to_judge);
            while queue.candidates.is_empty() && !queue.closed {
                queue = self.judge_wakes.wait(queue).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            let (candidates, dirs): (Vec<Candidate>, Vec<(SpineDir, Pruner)>) =
                std::mem::take(&mut queue.candidates).into_iter().map(|(c, dir, pruner)| (c, (dir, pruner))).unzip();
            drop(queue);
            if candidates.is_empty() {
                return;
            }
            match judge.decide(&candidates) {
                Ok(verdicts) => {
                    for ((candidate, (dir, pruner)), copied) in candidates.iter().zip(dirs).zip(verdicts) {
                        self.decided(candidate.index, dir, &pruner, copied);
                    }
                }
                Err(error) => self.fail(error),
            }
        }
    }

    fn decided(&self, index: u32, dir: SpineDir, pruner: &Pruner, copied: bool) {
        let mut spines = lock(&self.spines);
        let verdict = if copied {
            spines.copied += 1;
            let place = Place { spine_before: spines.copied, exposed: dir.exposed };
            (self.tell)(Found::Spine(dir));
            Verdict::Copied(place)
        } else {
            pruner.prune();
            Verdict::Excluded
        };
        let place = if let Verdict::Copied(place) = verdict { place } else { Place::default() };
        let held = std::mem::replace(&mut spines.verdicts[index as usize], verdict);
        drop(spines);
        let Verdict::Waiting(held) = held else { return };
        for waiting in held.into_iter().filter(|_| copied) {
            match waiting {
                Waiting::Units { prefix, units } => {
                    let units = units.iter().map(|(name, weight)| Unit { name, weight: *weight });
                    self.place(Some(index), &prefix, place, units);
                }
                Waiting::Linked { argument, weight, inode, names } => {
                    self.gather(Together::Inode(inode), Some(names), GroupMember { argument, weight, place });
                }
            }
        }
    }

    /// Packs directories that share files, after all directories were judged.
    fn pack_linked_dirs(&self) {
        for LinkedDirs { units, inodes } in std::mem::take(&mut *lock(&self.linked_dirs)) {
            let mut together = Group { names: None, members: Vec::new() };
            for LinkedDir { root, spine, dir, name, weight } in units {
                self.meet_all(root, &dir, std::iter::once(&name[..]));
                let verdict = &lock(&self.spines).verdicts[spine as usize];
                if let Verdict::Copied(place) = *verdict {
                    let argument = [self.prefix(root), &scan::below(&dir, &name)].concat();
                    together.members.push(GroupMember { argument, weight, place });
                }
            }
            let mut groups = lock(&self.groups);
            let names = inodes.iter().filter_map(|inode| groups.remove(&Together::Inode(*inode)));
            together.members.extend(names.flat_map(|group| group.members));
            drop(groups);
            self.pack_group(&together);
        }
    }

    /// Packs names that belong together, unless all of them are done.
    fn pack_group(&self, group: &Group) {
        if !group.members.iter().all(|member| self.inputs.known.is_done(&[&member.argument])) {
            self.packed(self.packer.pack_group(&group.members));
        }
    }

    fn packed(&self, packed: Result<Vec<Bucket>>) {
        match packed {
            Ok(closed) if closed.is_empty() => {}
            Ok(closed) => {
                // The time for an entry comes first, because it decides whether these buckets are worth a launch before the scan ends.
                self.tell_look_up();
                (self.tell)(Found::Buckets(closed));
            }
            Err(error) => self.fail(error),
        }
    }

    /// Reports how long looking at an entry takes, as far as the scan shows that.
    fn tell_look_up(&self) {
        let Some(division) = &self.inputs.division else { return };
        let seconds = division.look_up(self.inputs.watch.found(), self.began.elapsed());
        if seconds > 0.0 {
            (self.tell)(Found::LookUp(seconds));
        }
    }

    fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.inputs.watch.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a thread of the scan panicked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Destination, Source};
    use crate::engine::Control;
    use crate::rsync::options::Options;

    /// A scan is stopped by setting two flags, one after the other. Whatever else is known in between, a scan that was stopped must not count as complete.
    #[test]
    fn a_scan_that_was_stopped_is_not_called_complete() {
        let work = tempfile::tempdir().unwrap();
        std::fs::create_dir(work.path().join("src")).unwrap();
        (0..20).for_each(|number| std::fs::write(work.path().join(format!("src/{number}")), "").unwrap());
        let config = Config::new(
            vec![Source::parse("src/".as_ref()).unwrap()],
            Destination::parse("dst".as_ref()).unwrap(),
            Options::parse(&["-a"]).unwrap(),
            work.path().to_owned(),
        );
        let config = Config { limits_given: true, ..config };
        let told = |stops: bool| {
            let control = Control::default();
            let plan = Plan::make(&config, control.supervisor()).unwrap();
            let buckets = plan.make_buckets(&config).unwrap();
            let watch = Watch::default();
            if stops {
                watch.stop();
            }
            let inputs = Inputs {
                config: &config,
                plan: &plan,
                buckets: &buckets,
                supervisor: control.supervisor(),
                watch: &watch,
                room: plan.recipe.argument_room(),
                known: Known::default(),
                division: None,
            };
            let found = Mutex::new((0, None));
            feed(&inputs, &|event| match event {
                Found::Buckets(closed) => lock(&found).0 += closed.len(),
                Found::End(scanned) => lock(&found).1 = Some(scanned.unwrap().is_some()),
                _ => {}
            });
            found.into_inner().unwrap()
        };
        assert_eq!(told(false), (1, Some(true)));
        assert_eq!(told(true), (0, Some(false)));
    }
}
