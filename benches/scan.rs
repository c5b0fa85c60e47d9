//! The scan: `Scan::run` over trees of different shape with both walkers and 1 to 32 threads, compared with the least that one thread can do with the same
//! system calls (`getdents64` and `statx`, nothing kept). Another measurement also writes bucket files, as `multi-sync -d` does, for a million entries. One
//! more shows the cost of subtree sums, with limits with which nothing, little, or everything is split.

mod common;

use std::fs::File;
use std::hint::black_box;
use std::io::{BufReader, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, SamplingMode, Throughput};
use multi_sync::bucket::{BucketDir, Packer, Place};
use multi_sync::harness::config::{DEFAULT_FILES, DEFAULT_SIZE};
use multi_sync::harness::treegen::{Fill, Sizes, Spec, from_manifest, generate};
use multi_sync::scan::{Event, Limits, Root, Scan, Units, Watch};

use common::{Lazy, bare, entries, tree};

const SEED: u64 = 1;
const LIMITS: Limits = Limits { entries: DEFAULT_FILES, bytes: DEFAULT_SIZE };
const THREADS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// The manifest of a Linux 6.1 source tree, and its uncompressed copy in the folder of the trees.
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench-data/linux-6.1.tree.zst");
const MANIFEST_COPY: &str = "linux-6.1.tree";
/// The room for arguments of one launch if the stack is limited to 8 MiB.
const ROOM: usize = 2 << 20;

fn main() {
    common::run(|criterion, above| {
        let shape = |name, spec: Spec| tree(above, name, move |path| make(path, &spec));
        let bench = entries(100_000);
        scan(criterion, "bench tree", bench, &shape("bench", Spec::bench(bench, Sizes::Empty)));
        let million = entries(1_000_000);
        with_buckets(criterion, above, million, &shape("million", Spec::bench(million, Sizes::Empty)));
        let flat = entries(300_000);
        scan(criterion, "flat", flat, &shape("flat", Spec::flat(flat, Sizes::Empty)));
        let dirs = |depth, max_per_dir, entries| Spec {
            files_percent: 0,
            max_per_dir,
            depth,
            ..Spec::flat(entries, Sizes::Empty)
        };
        let wide = entries(100_000);
        scan(criterion, "directories, wide", wide, &shape("wide", dirs(2, 1000, wide)));
        // 200 chains, because the paths in a single one of 100,000 levels would be too long for any tool.
        let (chains, deep) = (200, 500);
        let deep = if common::quick() { 5 } else { deep };
        let chained = tree(above, "deep", |path| {
            std::fs::create_dir(path).expect("make the tree");
            for chain in 0..chains {
                make(&path.join(format!("chain{chain}")), &dirs(u32::MAX, 1, deep));
            }
        });
        scan(criterion, "directories, deep", chains * (deep + 1), &chained);
        subtree_sums(criterion, chains * (deep + 1), &chained);
        match read_manifest(above) {
            Ok(lines) => scan(criterion, "Linux 6.1", lines - 1, &tree(above, "linux", make_linux)),
            Err(why) => println!("SKIP scan/Linux 6.1: {why}"),
        }
    });
}

fn make(path: &Path, spec: &Spec) {
    generate(path, spec, SEED).unwrap_or_else(|error| panic!("{error}"));
}

/// Uncompresses the manifest and returns its number of lines, one of which is the root.
#[expect(clippy::disallowed_methods, reason = "zstd is a tool of the bench")]
fn read_manifest(above: &Path) -> Result<u64, String> {
    let output = Command::new("zstd").args(["-dc", MANIFEST]).stderr(Stdio::piped()).output();
    let output = output.map_err(|error| format!("zstd: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let written = File::create(above.join(MANIFEST_COPY)).and_then(|mut file| file.write_all(&output.stdout));
    written.map_err(|error| error.to_string())?;
    Ok(output.stdout.iter().filter(|&&byte| byte == b'\n').count() as u64)
}

/// Files are holes, because their content does not matter for a scan.
fn make_linux(path: &Path) {
    let manifest = File::open(path.with_file_name(MANIFEST_COPY)).expect("the manifest was written");
    from_manifest(path, BufReader::new(manifest), Fill::Hole, SEED).unwrap_or_else(|error| panic!("{error}"));
}

fn scan(criterion: &mut Criterion, shape: &str, entries: u64, path: &Lazy<'_, PathBuf>) {
    let mut group = start(criterion, shape, entries);
    bare_walk(&mut group, entries, path);
    for gitignore in [false, true] {
        for threads in THREADS {
            let walker = if gitignore { ", ignore rules" } else { "" };
            let settings = Settings { threads, gitignore, limits: LIMITS };
            group.bench_function(format!("{threads} threads{walker}"), |bencher| {
                bencher.iter(|| count_units(path, settings, entries));
            });
        }
    }
    group.finish();
}

fn subtree_sums(criterion: &mut Criterion, entries: u64, path: &Lazy<'_, PathBuf>) {
    let mut group = start(criterion, "subtree sums", entries);
    bare_walk(&mut group, entries, path);
    for (name, limit) in [("nothing split", u64::MAX), ("split at 1000", 1000), ("all split", 1)] {
        let limits = Limits { entries: NonZero::new(limit).expect("not zero"), bytes: NonZero::<u64>::MAX };
        for threads in [1, 2] {
            let settings = Settings { threads, gitignore: false, limits };
            group.bench_function(format!("{name}, {threads} threads"), |bencher| {
                bencher.iter(|| count_units(path, settings, entries));
            });
        }
    }
    group.finish();
}

/// How a tree is scanned.
#[derive(Clone, Copy)]
struct Settings {
    threads: usize,
    gitignore: bool,
    limits: Limits,
}

fn count_units(path: &Path, settings: Settings, entries: u64) -> u64 {
    let units = AtomicU64::new(0);
    run(path, settings, entries, &|found| {
        units.fetch_add(found.iter().map(black_box).count() as u64, Ordering::Relaxed);
    });
    units.into_inner()
}

fn with_buckets(criterion: &mut Criterion, above: &Path, entries: u64, path: &Lazy<'_, PathBuf>) {
    let mut group = start(criterion, "bench tree to bucket files", entries);
    bare_walk(&mut group, entries, path);
    for threads in [1, 2, 4] {
        group.bench_function(format!("{threads} threads"), |bencher| {
            bencher.iter_batched(
                || BucketDir::create(Some(above), &[], None).expect("make a bucket directory"),
                |dir| {
                    let packer = Packer::new(LIMITS, ROOM, &dir);
                    let settings = Settings { threads, gitignore: false, limits: LIMITS };
                    run(path, settings, entries, &|found| {
                        let prefix = [b"./", found.dir, b"/"].concat();
                        black_box(packer.pack(&prefix, Place::default(), found.iter()).expect("write buckets"));
                    });
                    packer.finish().expect("write the last bucket");
                    // Returned, so that its removal is not timed.
                    dir
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn start<'a>(criterion: &'a mut Criterion, shape: &str, entries: u64) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(format!("scan/{shape}"));
    group.throughput(Throughput::Elements(entries)).sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    group
}

fn run(path: &Path, settings: Settings, entries: u64, units: &(dyn Fn(Units<'_>) + Sync)) {
    let Settings { threads, gitignore, limits } = settings;
    let roots = vec![Root { base: path.to_owned(), name: None }];
    let scan = {
        let mut wanted = Scan::new(roots, limits, NonZero::new(threads).expect("not zero"));
        wanted.gitignore = gitignore;
        wanted
    };
    let watch = Watch::default();
    let sink = |event: Event<'_>| match event {
        Event::Units(found) => units(found),
        Event::Error(error) => panic!("{error}"),
        Event::KeptWhole { why, .. } => panic!("{why}"),
        _ => {}
    };
    scan.run(&watch, &sink).unwrap_or_else(|error| panic!("{error}"));
    // The root is an entry too.
    assert_eq!(watch.found().entries, entries + 1);
}

fn bare_walk(group: &mut BenchmarkGroup<'_, WallTime>, entries: u64, path: &Lazy<'_, PathBuf>) {
    group.bench_function("bare, 1 thread", |bencher| {
        bencher.iter(|| assert_eq!(bare::walk(path).expect("the tree is readable"), entries));
    });
}
