//! The queue: the cost of a launch while many buckets wait and, by simulation, how evenly slots end.
//!
//! The simulation runs slots that take launches from the real queue, filled by the real packer. Time passes only by the cost model. It prints makespans
//! divided by a lower bound that no schedule can beat, and asserts nothing.

mod common;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::num::NonZero;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput};
use multi_sync::bucket::{Bucket, BucketDir, Packer, Place};
use multi_sync::harness::bucket;
use multi_sync::harness::config::{DEFAULT_FILES, DEFAULT_SIZE};
use multi_sync::harness::cost::CostModel;
use multi_sync::harness::queue::{Coalesce, Queue};
use multi_sync::scan::{Limits, Unit, Weight};

use common::{Random, entries, quick};

/// The room for arguments of one launch if the stack is limited to 8 MiB.
const ROOM: usize = 2 << 20;
const WAITING: [u64; 3] = [10_000, 100_000, 1_000_000];
const MODES: [(&str, Coalesce); 2] = [("by cost", Coalesce::ByCost), ("one bucket a launch", Coalesce::Never)];

fn main() {
    common::run(|criterion, above| {
        if !std::env::args().any(|word| word == "--list") {
            simulate(above);
        }
        drain(criterion);
        one_launch(criterion);
    });
}

fn slots(count: usize) -> NonZero<usize> {
    NonZero::new(count).expect("not zero")
}

/// Buckets as they come from trees of small files, each needing one more spine directory than the one before.
fn waiting(count: u64, coalesce: Coalesce) -> Queue {
    let mut queue = Queue::new(CostModel::default(), coalesce);
    let mut random = Random(3);
    for id in 0..count {
        let weight = Weight { entries: 1000, bytes: random.lognormal(16e6, 2.0) as u64 };
        queue.push(bucket(id, weight, id as u32));
    }
    queue
}

/// Takes everything; the time is that of `take` for all buckets.
fn drain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue/take all");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(1));
    for count in WAITING.map(entries) {
        group.throughput(Throughput::Elements(count));
        for (mode, coalesce) in MODES {
            group.bench_function(BenchmarkId::new(mode, count), |bencher| {
                bencher.iter_batched(
                    || waiting(count, coalesce),
                    |mut queue| {
                        while !queue.is_empty() {
                            black_box(queue.take(slots(4), ROOM, u32::MAX, false));
                        }
                        queue
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

/// One launch while this number of buckets waits, with the questions that the engine asks before it. The launch is put back untimed.
fn one_launch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue/one launch");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500));
    for count in WAITING.map(entries) {
        // First all spine directories exist; then only one bucket has its own, as when the scan is far ahead.
        for (what, created) in [("ready", u32::MAX), ("one ready", 0)] {
            group.bench_function(BenchmarkId::new(what, count), |bencher| {
                let mut queue = waiting(count, Coalesce::Never);
                bencher.iter_custom(|launches| {
                    let mut spent = Duration::ZERO;
                    for _ in 0..launches {
                        let begin = Instant::now();
                        black_box(queue.spine_needed());
                        let taken = queue.take(slots(4), ROOM, created, true);
                        spent += begin.elapsed();
                        taken.into_iter().for_each(|bucket| queue.push(bucket));
                    }
                    spent
                });
            });
        }
    }
    group.finish();
}

const SLOTS: [usize; 7] = [1, 2, 4, 8, 16, 64, 256];
/// The entries per second of a scan with two threads in memory.
const SCAN_RATE: f64 = 750_000.0;
/// As in the engine: while the scan is running, waiting buckets are launched after this time.
const LONGEST_WAIT: f64 = 0.9;

/// A bucket of the simulation.
struct Task {
    bucket: Bucket,
    /// The time at which the scan finds it.
    found: f64,
    /// The real time that it takes, which the queue does not know.
    takes: f64,
}

struct Outcome {
    makespan: f64,
    launches: usize,
}

fn simulate(above: &Path) {
    let cost = CostModel::default();
    let bytes = |size: f64| size.min(1e15) as u64;
    let subtree = |random: &mut Random| random.lognormal(60.0, 1.0).clamp(1.0, 1000.0) as u64;
    type Draw<'a> = Box<dyn Fn(&mut Random) -> Weight + 'a>;
    let units = if quick() { 2_000 } else { 100_000 };
    let shapes: [(&str, u64, Draw<'_>); 5] = [
        (
            "lognormal, sigma 2",
            units,
            Box::new(|r| Weight { entries: subtree(r), bytes: bytes(r.lognormal(4e6, 2.0)) }),
        ),
        (
            "lognormal, sigma 3",
            units,
            Box::new(|r| Weight { entries: subtree(r), bytes: bytes(r.lognormal(1e6, 3.0)) }),
        ),
        ("Pareto, alpha 1.5", units, Box::new(|r| Weight { entries: subtree(r), bytes: bytes(r.pareto(4e6, 1.5)) })),
        ("Pareto, alpha 1.1", units, Box::new(|r| Weight { entries: subtree(r), bytes: bytes(r.pareto(1e6, 1.1)) })),
        ("empty files", units, Box::new(|r| Weight { entries: subtree(r), bytes: 0 })),
    ];
    println!(
        "Simulation: makespan / lower bound, which is the larger of (all work / slots) and the longest unit, launches not"
    );
    println!(
        "counted. `known`: the scan is over and the model is right; `found`: the first launches start while the scan goes on"
    );
    println!(
        "(the bound knows when each unit is found); `misjudged`: real times differ from the model (lognormal, sigma 0.5)."
    );
    println!("* the longest unit is the bound.\n");
    println!("| {:<20} | slots |  bound s | launches |  known | found | misjudged |", "units");
    println!("|{:-<22}|------:|---------:|---------:|-------:|------:|----------:|", "");
    for (shape, units, draw) in shapes {
        let tasks = pack(above, units, &draw, &cost);
        let mut random = Random(5);
        let noise: Vec<f64> = tasks.iter().map(|_| random.lognormal(1.0, 0.5)).collect();
        for count in SLOTS {
            let at_once = tasks.iter().map(|task| Task { found: 0.0, ..*task }).collect::<Vec<_>>();
            let (bound, alone) = lower_bound(&at_once, count);
            let known = run(&at_once, count, &cost);
            let (bound_found, _) = lower_bound(&tasks, count);
            let found = run(&tasks, count, &cost);
            let misjudged: Vec<Task> =
                at_once.iter().zip(&noise).map(|(task, factor)| Task { takes: task.takes * factor, ..*task }).collect();
            let (bound_misjudged, _) = lower_bound(&misjudged, count);
            let surprised = run(&misjudged, count, &cost);
            println!(
                "| {shape:<20} | {count:>5} | {bound:>8.2} | {:>8} | {:>5.3}{} | {:>5.3} | {:>9.3} |",
                known.launches,
                known.makespan / bound,
                if alone { '*' } else { ' ' },
                found.makespan / bound_found,
                surprised.makespan / bound_misjudged,
            );
        }
    }
    println!();
}

/// Lets the packer make buckets from this number of units.
fn pack(above: &Path, units: u64, draw: &dyn Fn(&mut Random) -> Weight, cost: &CostModel) -> Vec<Task> {
    let limits = Limits { entries: DEFAULT_FILES, bytes: DEFAULT_SIZE };
    let dir = BucketDir::create(Some(above), &[], None).expect("make a bucket directory");
    let packer = Packer::new(limits, ROOM, &dir);
    let mut random = Random(4);
    let (mut tasks, mut scanned) = (Vec::new(), 0);
    let mut add = |closed: Vec<Bucket>, scanned: u64| {
        for bucket in closed {
            let found = scanned as f64 / SCAN_RATE;
            tasks.push(Task { bucket, found, takes: cost.work(bucket.weight) });
        }
    };
    for number in 0..units {
        let mut weight = draw(&mut random);
        if !limits.hold(weight) {
            // Only a single file may be this large.
            weight.entries = 1;
        }
        scanned += weight.entries;
        let name = format!("{number:08}");
        let unit = Unit { name: name.as_bytes(), weight };
        add(
            packer.pack(b"./some/directory/", Place::default(), std::iter::once(unit)).expect("write buckets"),
            scanned,
        );
    }
    add(packer.finish().expect("write the last bucket").into_iter().collect(), scanned);
    tasks
}

/// A lower bound for all schedules, and whether a single unit causes it.
fn lower_bound(tasks: &[Task], slots: usize) -> (f64, bool) {
    let spread = tasks.iter().map(|task| task.takes).sum::<f64>() / slots as f64;
    // A bucket of several units could be split, so it does not count here.
    let single = |task: &&Task| task.bucket.units == 1;
    let longest = tasks.iter().filter(single).map(|task| task.found + task.takes).fold(0.0, f64::max);
    (spread.max(longest), longest > spread)
}

/// Runs slots that take launches until nothing is left.
fn run(tasks: &[Task], count: usize, cost: &CostModel) -> Outcome {
    let mut queue = Queue::new(*cost, Coalesce::ByCost);
    let mut coming = tasks.iter().peekable();
    // Positive floating-point numbers compare like their bits.
    let mut running: BinaryHeap<Reverse<u64>> = BinaryHeap::new();
    let (mut now, mut last_start, mut launches) = (0.0, 0.0, 0);
    loop {
        while let Some(task) = coming.next_if(|task| task.found <= now) {
            queue.push(task.bucket);
        }
        let scanned = coming.peek().is_none();
        while running.len() < count
            && (scanned || queue.worth_starting(slots(count)) || now >= last_start + LONGEST_WAIT)
        {
            let launch = queue.take(slots(count), ROOM, u32::MAX, !scanned);
            if launch.is_empty() {
                break;
            }
            let takes: f64 = launch.iter().map(|bucket| tasks[bucket.id as usize].takes).sum();
            running.push(Reverse((now + cost.launch + takes).to_bits()));
            last_start = now;
            launches += 1;
        }
        let ends = running.peek().map(|Reverse(bits)| f64::from_bits(*bits));
        let comes = coming.peek().map(|task| task.found);
        let tries = (!scanned && !queue.is_empty() && running.len() < count).then_some(last_start + LONGEST_WAIT);
        let Some(next) = [ends, comes, tries].into_iter().flatten().min_by(f64::total_cmp) else {
            return Outcome { makespan: now, launches };
        };
        now = next;
        while running.peek().is_some_and(|Reverse(bits)| f64::from_bits(*bits) <= now) {
            running.pop();
            // As the engine does, which learns from each finished launch.
            queue.learned(*cost);
        }
    }
}
