//! A simulated run on many hosts: 10^9 entries, 100 hosts with 8 rsyncs each, some of them slow, some lost. Prints how near it comes to the least time that
//! any schedule could have, and the resources of the coordinating machine.
//!
//! ```text
//! cargo run --release --example simulate -- [ENTRIES [CASE...]]
//! ```
//!
//! Each case runs in a process of its own, so that its peak memory is its own.

use std::error::Error;
use std::process::Command;
use std::time::Instant;

use multi_sync::harness::config::{DEFAULT_FILES, DEFAULT_SIZE};
use multi_sync::harness::simulation::{self, Chance, Figures, Site};
use multi_sync::scan::Weight;

/// 200 files and 40 MB per second for each rsync, 20 ms for a launch.
fn plain() -> Site {
    Site {
        hosts: 100,
        slots: 8,
        slow: Vec::new(),
        launch: 0.02,
        entry: 5e-3,
        byte: 25e-9,
        misjudged: 0.3,
        lost_each: None,
        noticed_after: 60.0,
        back_after: 900.0,
        repeated: 0.0,
        scan_rate: 400_000.0,
        buckets_a_directory: 20,
        seed: 7,
    }
}

/// The name, a description, and how it differs from the plain case.
type Case = (&'static str, &'static str, fn(&mut Site));

const CASES: [Case; 6] = [
    ("plain", "all hosts alike, nothing fails", |_| ()),
    ("lost", "a host is lost each hour, and back after 15 minutes", |site| site.lost_each = Some(3600.0)),
    ("repeated", "1 % of the launches are repeated", |site| site.repeated = 0.01),
    ("slow", "5 hosts take twice as long, one 10 times", |site| site.slow = vec![10.0, 2.0, 2.0, 2.0, 2.0, 2.0]),
    ("all", "all of that", |site| {
        site.lost_each = Some(3600.0);
        site.repeated = 0.01;
        site.slow = vec![10.0, 2.0, 2.0, 2.0, 2.0, 2.0];
    }),
    ("nothing", "all of that, and nothing to do: 20 us an entry", |site| {
        site.lost_each = Some(3600.0);
        site.repeated = 0.01;
        site.slow = vec![10.0, 2.0, 2.0, 2.0, 2.0, 2.0];
        (site.entry, site.byte, site.scan_rate) = (20e-6, 0.0, 40_000_000.0);
    }),
];

#[expect(clippy::disallowed_methods, reason = "it starts itself, and no rsync")]
fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let entries: u64 = words.first().map_or(Ok(1_000_000_000), |word| word.parse())?;
    if let [_, name] = &words[..]
        && let Some(case) = CASES.iter().find(|case| case.0 == name)
    {
        return one(entries, case);
    }
    println!(
        "| case | buckets | launches, repeated | bound | makespan / bound | peak memory | journal | heard a second | processor, of a core |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    for (name, ..) in CASES.iter().filter(|case| words.len() < 2 || words[1..].iter().any(|word| word == case.0)) {
        let ended = Command::new(std::env::current_exe()?).args([&entries.to_string(), *name]).status()?;
        if !ended.success() {
            return Err(format!("{name} failed").into());
        }
    }
    Ok(())
}

fn one(entries: u64, (_, what, differs): &Case) -> Result<(), Box<dyn Error>> {
    let mut site = plain();
    differs(&mut site);
    let dir = tempfile::tempdir()?;
    let began = Instant::now();
    let Figures {
        buckets,
        bytes,
        makespan,
        bound,
        launches,
        repeated,
        journal,
        events,
        drained,
        copied,
        lost_work,
        looks,
        entries,
    } = simulation::run(&site, weights(entries), dir.path())?;
    let (peak, processor) = used()?;
    println!(
        "| {what} | {buckets} | {launches}, {repeated} | {} | **{:.3}** | {peak} MiB | {} MiB | {:.0} | {:.2} % |",
        hours(bound),
        makespan / bound,
        journal >> 20,
        events as f64 / makespan,
        100.0 * processor / makespan,
    );
    eprintln!(
        "{what}: {entries} entries, {bytes} bytes; nothing waited after {drained:.0} s, copied after {copied:.0} s of {makespan:.0} s (bound {bound:.0} s); {lost_work:.0} s \
         of work lost; {events} messages, {looks} looks; {processor:.1} s of processor in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

fn hours(seconds: f64) -> String {
    if seconds < 600.0 { format!("{seconds:.0} s") } else { format!("{:.2} h", seconds / 3600.0) }
}

/// Buckets as the packer closes them, at 1000 entries or 1 GiB, of realistic files: directories have files of one kind, medians are spread over the kinds (16
/// KiB, sigma 2), and sizes over the files of one kind (sigma 1.5). A file that is larger than a bucket is a bucket by itself.
fn weights(entries: u64) -> impl Iterator<Item = Weight> {
    let mut chance = Chance::new(11);
    let mut left = entries;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let mean = chance.lognormal(16384.0, 2.0) * (1.5f64 * 1.5 / 2.0).exp();
        let fit = (DEFAULT_SIZE.get() as f64 / mean) as u64;
        let entries = fit.clamp(1, DEFAULT_FILES.get()).min(left);
        left -= entries;
        let bytes = if fit == 0 { mean } else { entries as f64 * mean * chance.lognormal(1.0, 0.2) };
        Some(Weight { entries, bytes: bytes.min(1e12) as u64 })
    })
}

/// The peak memory in MiB and the processor seconds of this process.
fn used() -> Result<(u64, f64), Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().ok_or("no fields")?.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok((peak / 1024, ticks / 100.0))
}
