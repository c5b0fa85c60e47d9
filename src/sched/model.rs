//! A fake world, which answers the scheduler's commands and lets launches end at random, and the invariants that must hold in it. `MODEL_RUNS=1000000 cargo
//! test --release --lib sched::model` tries more runs; `MODEL_SEED=N` repeats one.

/// Returns with an error unless the condition holds.
macro_rules! must {
    ($holds:expr, $($text:tt)*) => { if !$holds { return Err(format!($($text)*)); } };
}

mod answers;
mod invariants;
mod world;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZero;
use std::time::{Duration, Instant};

use crate::bucket::{Bucket, Content};
use crate::cost::CostModel;
use crate::hosts;
use crate::plan::folding::Folding;
use crate::rsync::exit;
use crate::rsync::harm::Harm;
use crate::rsync::options::Delete;
use crate::scan::Weight;
use crate::shell;
use crate::supervise::Ended;

use super::outcome::{Case, Outcome, RULES, Rule};
use super::*;
use answers::report;

const RUNS: u64 = 20_000;
/// After `TROUBLED` steps nothing fails any more. A run of `LONGEST` steps is taken for endless.
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

/// A launch in the fake world.
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
    /// All its work, with this exit code.
    Done(u8),
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waits,
    Done,
    /// Nothing of it was left, and that was reported.
    Skipped,
}

struct World {
    random: Random,
    policy: Policy,
    hosts: Vec<hosts::Host>,
    of_slots: Vec<usize>,
    now: Instant,
    steps: usize,
    /// What the scan has not reported yet.
    scan: VecDeque<Input>,
    scanned: bool,
    dirs: usize,
    /// How many split directories exist at the destination.
    created: usize,
    buckets: BTreeMap<u64, (Bucket, Fate)>,
    alive: BTreeMap<LaunchId, Alive>,
    /// What each launch that has ended has really done, and whether it failed to list something in the source.
    truths: HashMap<LaunchId, (Truth, Work, bool)>,
    /// Hosts that were asked whether they are reachable; `aside` has those that are set aside.
    asked: Vec<usize>,
    aside: BTreeSet<usize>,
    asks_folding: bool,
    /// The scheduler knows that something in the source failed.
    sender_failed: bool,
    /// Something went wrong that has to show in the exit code.
    told: bool,
    touched: bool,
    /// Directories that were created or written into, and whose attributes were not set since.
    unset: BTreeSet<usize>,
    cleaned: BTreeSet<u64>,
    removed: BTreeSet<u64>,
    deleted_in: BTreeSet<usize>,
    /// Buckets of which an rsync may have moved something, and which another one may copy again.
    moved: BTreeSet<u64>,
    /// Buckets whose rsyncs broke off.
    lost: BTreeSet<u64>,
    /// Any rsync may have moved something.
    has_moved: bool,
    /// Set when the one rsync for everything has ended: whether it succeeded.
    everything: Option<bool>,
    /// One rsync for everything may have moved something, and broke off.
    moved_all: bool,
    /// Buckets whose launches have begun, as the journal has them.
    begun: BTreeSet<u64>,
    /// Single names of split directories were removed, or a launch has begun to.
    removes_names: bool,
    /// Something was copied again of which an earlier rsync may have moved a part.
    spoilt: bool,
    told_moved: bool,
    /// The same of what an earlier rsync may have read, if access times are copied.
    spoilt_read: bool,
    told_read: bool,
    /// The journal says so.
    spoilt_done: bool,
    /// How many may work after a connection was lost.
    most: usize,
    /// What was done before the run was resumed.
    before: Before,
    verdict: Option<Verdict>,
    stopped: bool,
    /// One rsync is to do everything.
    becomes_one: bool,
    /// The user changes settings during the run.
    steered: bool,
    /// The settings that were made last.
    limit: usize,
    bandwidth: Option<u64>,
    paused: bool,
    winds_down: bool,
    /// The scheduler has announced the pause.
    stands_still: bool,
    /// Launches that were stopped by the pause.
    held: BTreeSet<LaunchId>,
}

/// How a run ended in which nothing is violated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Stopped,
    OneRsync,
    /// Several rsyncs did everything, but something failed.
    WithErrors,
    Well,
}

/// An error says what is violated.
type Judged<T = ()> = std::result::Result<T, String>;

/// Executes one run, and for some seeds a second one that resumes it.
fn run(seed: u64, rules: &'static [Rule]) -> Judged<End> {
    let mut world = World::new(seed);
    let cut = world.random.one_in(3).then(|| world.random.below(40));
    let cut = if world.random.one_in(6) { Some(world.random.below(160)) } else { cut };
    let interrupt = world.random.one_in(12).then(|| world.random.below(60));
    let mut scheduler = world.scheduler(rules);
    let mut kills = cut;
    let traced = std::env::var_os("MODEL_SEED").is_some();
    loop {
        let mut inputs = world.step();
        if interrupt == Some(world.steps) {
            inputs.push(Input::Interrupted);
            world.stopped = true;
            world.stands_still = false;
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
        let commands = scheduler.handle(world.now, inputs);
        let decided = commands.iter().filter_map(|command| match command {
            Command::Decided { launch, .. } => Some(launch),
            _ => None,
        });
        let (decided, ended): (Vec<_>, Vec<_>) = (decided.collect(), ends.iter().map(|(launch, _)| launch).collect());
        must!(decided == ended, "{ended:?} have ended, and it is told of {decided:?}");
        for command in commands {
            if traced {
                println!("    {command:?}");
            }
            world.carry_out(command)?;
        }
        world.look_at_the_steering(&scheduler)?;
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

/// The results of several runs, up to `most` violations, and how often each end occurred.
fn try_all(
    seeds: std::ops::Range<u64>,
    rules: &'static [Rule],
    most: usize,
) -> (Vec<(u64, String)>, BTreeMap<End, u64>) {
    let (mut found, mut ends) = (Vec::new(), BTreeMap::new());
    for seed in seeds {
        match run(seed, rules) {
            Ok(end) => *ends.entry(end).or_default() += 1,
            Err(why) => found.push((seed, why)),
        }
        if found.len() >= most {
            break;
        }
    }
    (found, ends)
}

fn violations(seeds: std::ops::Range<u64>, rules: &'static [Rule], most: usize) -> Vec<(u64, String)> {
    try_all(seeds, rules, most).0
}

/// Even if work waits that is not worth a launch yet, the scheduler still asks the scan for more.
#[test]
fn a_scan_is_awaited_until_it_has_ended() {
    let mut world = World::new(0);
    // No launch starts before the scan has ended.
    world.policy.short_scan = Duration::from_secs(3600);
    let mut scheduler = world.scheduler(RULES);
    let found: Vec<Input> = std::mem::take(&mut world.scan).into();
    scheduler.handle(world.now, found.into_iter().filter(|input| !matches!(input, Input::ScanEnded)));
    assert!(scheduler.waiting() > 0 && scheduler.awaits_scan());
    scheduler.handle(world.now, [Input::ScanEnded]);
    assert!(!scheduler.awaits_scan());
}

/// A pause and an interruption may arrive in one call. Found by 10^6 runs: stopped launches stayed stopped for ever.
#[test]
fn an_interruption_ends_a_pause() {
    let world = World::new(0);
    let mut scheduler = world.scheduler(RULES);
    let commands = scheduler.handle(world.now, vec![Input::Pause, Input::Interrupted]);
    let at = |wanted: &dyn Fn(&Command) -> bool| commands.iter().position(wanted);
    let paused = at(&|command| matches!(command, Command::Pause)).expect("it pauses");
    let goes_on = at(&|command| matches!(command, Command::Continue)).expect("it goes on");
    assert!(paused < goes_on && !scheduler.in_force().paused);
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
    let (found, ends) = try_all(0..runs, RULES, 10);
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!("{runs} runs, {:.0} a minute: {ends:?}", runs as f64 / minutes);
    assert_eq!(found, []);
    // A world in which nearly every run ends in the same way proves nothing about the others.
    let often = |end: &End| ends.get(end).is_some_and(|count| count * 20 >= runs);
    let rare: Vec<End> =
        [End::Stopped, End::OneRsync, End::WithErrors, End::Well].into_iter().filter(|end| !often(end)).collect();
    assert!(runs < 1000 || rare.is_empty(), "{rare:?} hardly occur: {ends:?}");
}

/// The table with one rule replaced.
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
    let breaks: [Break; 8] = [
        // A launch that ended before it began counts as done.
        ("idle prestart", |_| None),
        // A launch that was ended by a pause counts as done.
        ("ended by a pause", |case| (case.held && LOST(case)).then_some(Outcome::Nothing)),
        // The work of a lost host is forgotten.
        ("host lost", |case| (case.on_hosts && LOST(case)).then_some(Outcome::Nothing)),
        // An rsync that was killed counts as done.
        ("broken off", |case| (exit::class(case.code()) == exit::Class::Broken).then_some(Outcome::Settle(exit::OK))),
        // After a lost connection as many rsyncs run as before.
        ("connection lost", |case| LOST(case).then_some(Outcome::Again { code: case.code(), most: u32::MAX })),
        // A lost list does not count as a failure.
        ("list lost", |case| case.report.said.lost_list.then_some(Outcome::Settle(exit::OK))),
        // The work of a launch that was turned away is dropped.
        ("turned away", |case| (case.report.said.no_place && !case.stopping).then_some(Outcome::Nothing)),
        // Failed entries do not show in the exit code.
        ("settled", |case| exit::is_settled(case.code()).then_some(Outcome::Settle(exit::OK))),
    ];
    for (id, rule) in breaks {
        assert_ne!(violations(0..RUNS, broken(id, rule), 1), [], "{id}: nobody notices");
    }
}
