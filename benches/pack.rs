//! Packing: units into bucket files, with one thread and with several, and reading such a file.

mod common;

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode, Throughput};
use multi_sync::bucket::{self, BucketDir, Packer, Place};
use multi_sync::harness::config::{DEFAULT_FILES, DEFAULT_SIZE};
use multi_sync::scan::{Limits, Unit, Weight};

use common::{Random, entries};

const LIMITS: Limits = Limits { entries: DEFAULT_FILES, bytes: DEFAULT_SIZE };
/// The room for arguments of one launch if the stack is limited to 8 MiB.
const ROOM: usize = 2 << 20;
/// How many units a directory provides at once.
const BATCH: u64 = 1000;
const PREFIX: &[u8] = b"./projects/2024/measurements/raw/";

fn main() {
    common::run(|criterion, above| {
        pack(criterion, above);
        codec(criterion);
    });
}

/// The names and weights of one directory.
struct Units {
    names: Vec<String>,
    weights: Vec<Weight>,
}

impl Units {
    fn files() -> Units {
        let mut random = Random(1);
        let weight = |random: &mut Random| Weight { entries: 1, bytes: random.lognormal(16e3, 2.0) as u64 };
        Units {
            names: (0..BATCH).map(|n| format!("measurement-{n:06}.dat")).collect(),
            weights: (0..BATCH).map(|_| weight(&mut random)).collect(),
        }
    }

    fn subtrees() -> Units {
        let mut random = Random(2);
        let weight = |random: &mut Random| {
            let entries = random.lognormal(60.0, 1.0).clamp(1.0, 1000.0) as u64;
            Weight { entries, bytes: entries * random.lognormal(16e3, 1.0) as u64 }
        };
        Units {
            names: (0..BATCH).map(|n| format!("d{n:04}")).collect(),
            weights: (0..BATCH).map(|_| weight(&mut random)).collect(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = Unit<'_>> {
        self.names.iter().zip(&self.weights).map(|(name, weight)| Unit { name: name.as_bytes(), weight: *weight })
    }
}

fn pack(criterion: &mut Criterion, above: &Path) {
    let count = entries(500_000);
    let mut group = criterion.benchmark_group("pack");
    group.throughput(Throughput::Elements(count)).sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(3));
    for (what, units) in [("files", Units::files()), ("subtrees", Units::subtrees())] {
        for threads in [1, 4] {
            group.bench_function(format!("{what}, {threads} threads"), |bencher| {
                bencher.iter_batched(
                    || BucketDir::create(Some(above), &[], None).expect("make a bucket directory"),
                    |dir| {
                        let packer = Packer::new(LIMITS, ROOM, &dir);
                        std::thread::scope(|scope| {
                            for _ in 0..threads {
                                scope.spawn(|| {
                                    for _ in 0..count / BATCH / threads {
                                        black_box(
                                            packer.pack(PREFIX, Place::default(), units.iter()).expect("write buckets"),
                                        );
                                    }
                                });
                            }
                        });
                        packer.finish().expect("write the last bucket");
                        // Returned, so that its removal is not timed.
                        dir
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

fn codec(criterion: &mut Criterion) {
    let units = Units::files();
    let file: Vec<u8> = units.iter().flat_map(|unit| [PREFIX, unit.name, b"\0"].concat()).collect();
    let mut group = criterion.benchmark_group("bucket file");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2)).sample_size(50);
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("arguments", |bencher| {
        bencher.iter(|| bucket::arguments(black_box(&file)).map(|argument| black_box(argument).len()).sum::<usize>());
    });
    group.finish();
}
