//! A live trial: a sample of the tree is copied into a folder of its own at the destination for some seconds, by as many rsyncs as the run would
//! have, and what the whole would take is told from that. The folder is gone afterwards, also after a failure or an interruption.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::Config;
use crate::cost::{CostModel, Fit};
use crate::engine::Control;
use crate::error::{Error, Result};
use crate::guard;
use crate::rsync::command::Invocation;
use crate::rsync::exit;
use crate::rsync::options::{Group, Opt, Options};
use crate::scan::Weight;
use crate::thread;
use crate::trial::{self, Site, Stopper};

/// Bytes of a KiB, in which rsync has its limits.
pub const KIB: u64 = 1024;
/// Units of the sample. More are not needed for a trial of minutes.
const SAMPLE: usize = 4096;
/// How many times the launches of a trial are drawn from anew to see how far the estimate goes apart.
const DRAWS: usize = 400;
/// The share of these draws that the range holds, in parts of a hundred.
pub const RANGE_HOLDS: usize = 80;
/// A launch is given so much of the trial's time, and no less or more than these seconds.
const PART: f64 = 0.1;
/// Nor more than this part of the sample for each rsync.
const PARTS: usize = 8;
const SHORTEST: f64 = 0.3;
const LONGEST: f64 = 3.0;

/// Options that are about DEST as it is, about names there that the trial would write beside, or about what the trial does itself.
const LEFT_OUT: [Opt; 22] = [
    Opt::Backup,
    Opt::BackupDir,
    Opt::Bwlimit,
    Opt::CompareDest,
    Opt::CopyDest,
    Opt::DryRun,
    Opt::Existing,
    Opt::FilesFrom,
    Opt::From0,
    Opt::IgnoreExisting,
    Opt::LinkDest,
    Opt::ListOnly,
    Opt::LogFile,
    Opt::LogFileFormat,
    Opt::OnlyWriteBatch,
    Opt::RemoveSourceFiles,
    Opt::StopAfter,
    Opt::StopAt,
    Opt::Suffix,
    Opt::TempDir,
    Opt::Update,
    Opt::WriteBatch,
];

/// Units drawn at random from all that a scan tells: each has the same chance.
#[derive(Debug)]
pub struct Sample(Mutex<Drawn>);

#[derive(Debug)]
struct Drawn {
    units: Vec<Unit>,
    seen: u64,
    random: Random,
}

/// A unit: where it is, and what it weighs.
#[derive(Debug, Clone)]
pub struct Unit {
    /// The root's base.
    pub base: PathBuf,
    /// Path below it.
    pub path: Vec<u8>,
    /// The entries in it.
    pub weight: Weight,
}

impl Default for Sample {
    fn default() -> Sample {
        let random = Random(RandomState::new().hash_one(std::process::id()));
        Sample(Mutex::new(Drawn { units: Vec::new(), seen: 0, random }))
    }
}

impl Sample {
    /// Offers units.
    pub fn offer(&self, count: usize, unit: impl Fn(usize) -> Unit) {
        let mut drawn = lock(&self.0);
        let Drawn { units, seen, random } = &mut *drawn;
        for at in 0..count {
            *seen += 1;
            if units.len() < SAMPLE {
                units.push(unit(at));
            } else if let Some(place) = units.get_mut(random.below(*seen) as usize) {
                *place = unit(at);
            }
        }
    }

    /// Those that were drawn, in no order.
    fn take(self) -> VecDeque<Unit> {
        let Drawn { mut units, mut random, .. } = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        for last in (1..units.len()).rev() {
            units.swap(last, random.below(last as u64 + 1) as usize);
        }
        units.into()
    }
}

/// SplitMix64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * u128::from(bound)) >> 64) as u64
    }
}

/// What a trial has shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// Seconds that it took.
    pub seconds: f64,
    /// rsyncs at once.
    pub processes: usize,
    /// Launches that came to their end.
    pub launches: usize,
    /// Entries that they copied.
    pub entries: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Launches that ended with an error about single entries.
    pub with_errors: usize,
    /// What the whole would take; `None` if too little came to its end.
    pub estimate: Option<Estimate>,
    /// Options that had no part in it.
    pub left_out: Vec<String>,
}

/// Seconds that a copy of the whole would take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// Of ten draws from the launches of the trial one says less.
    pub low: f64,
    /// As the launches say together.
    pub likely: f64,
    /// One says more.
    pub high: f64,
}

/// Copies what fits into `time`, and estimates what a copy of `whole` would take.
///
/// # Errors
/// The folder cannot be made or removed; an rsync failed; stopped.
pub fn run(
    config: &Config,
    bwlimit: Option<u64>,
    sample: Sample,
    whole: Weight,
    time: Duration,
    stopper: &Stopper,
) -> Result<Trial> {
    let (options, left_out) = options(&config.options)?;
    let connection = config.options.connection_options();
    let site = Site::make(&config.destination, &connection, &config.cwd, stopper)
        .map_err(|error| error.remedy("make DEST before a trial, or leave out --trial-seconds"))?;
    let done = copy(config, &options, bwlimit, sample, time, &site, stopper);
    // Also after a failure: and what could not be removed is told.
    let closed = site.close();
    let (launches, seconds) = done?;
    closed?;
    stopper.go_on()?;
    let processes = config.processes.get();
    let sum: Weight = launches.iter().map(|launch| launch.weight).sum();
    let estimate = estimate(&launches, whole, processes, bwlimit);
    let with_errors = launches.iter().filter(|launch| launch.code != exit::OK).count();
    let count = launches.len();
    let Weight { entries, bytes } = sum;
    Ok(Trial { seconds, processes, launches: count, entries, bytes, with_errors, estimate, left_out })
}

/// The options of a launch of the trial, and what of the user's it has not.
fn options(typed: &Options) -> Result<(Vec<OsString>, Vec<String>)> {
    let kept = guard::keeping(typed)?;
    let is_left_out = |opt: Opt| LEFT_OUT.contains(&opt);
    let left_out = kept.settings().iter().filter(|setting| is_left_out(setting.spec.id));
    // The bandwidth is divided.
    let left_out = left_out
        .filter(|setting| setting.spec.id != Opt::Bwlimit)
        .map(|setting| format!("--{}", setting.spec.name()))
        .collect();
    let kept = kept.without(|setting| is_left_out(setting.spec.id) || setting.spec.group == Group::Printing);
    // A list of names takes back the recursion of -a.
    let more = ["-R", "-r", "--files-from=-", "--from0"].map(OsString::from);
    Ok((kept.argv().into_iter().chain(more).collect(), left_out))
}

#[derive(Debug, Clone, Copy)]
struct Launch {
    weight: Weight,
    seconds: f64,
    code: u8,
}

/// What the threads of a trial share.
struct Shared {
    units: VecDeque<Unit>,
    /// The most units of a launch.
    most: usize,
    fit: Fit,
    launches: Vec<Launch>,
    running: Vec<Arc<Control>>,
    failed: Option<Error>,
    over: bool,
    /// Threads that still copy.
    lanes: usize,
}

fn copy(
    config: &Config,
    options: &[OsString],
    bwlimit: Option<u64>,
    sample: Sample,
    time: Duration,
    site: &Site,
    stopper: &Stopper,
) -> Result<(Vec<Launch>, f64)> {
    let lanes = config.processes.get();
    let units = sample.take();
    let shared = Mutex::new(Shared {
        most: units.len().div_ceil(lanes.saturating_mul(PARTS)),
        units,
        fit: Fit::new(CostModel::default()),
        launches: Vec::new(),
        running: Vec::new(),
        failed: None,
        over: false,
        lanes,
    });
    let changed = Condvar::new();
    let kib = bwlimit.map(|limit| (limit / KIB / lanes as u64).max(1));
    let part = (time.as_secs_f64() * PART).clamp(SHORTEST, LONGEST);
    let began = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        for lane in 0..lanes {
            let (shared, changed) = (&shared, &changed);
            let started = thread::start(scope, move || {
                while let Some((batch, control)) = next(shared, part) {
                    let begun = Instant::now();
                    let ran = launch(config, options, kib, &batch, &site.at(&lane.to_string()), stopper, &control);
                    take(shared, &batch, &control, begun.elapsed(), ran);
                }
                lock(shared).lanes -= 1;
                changed.notify_all();
            });
            if let Err(error) = started {
                let mut shared = lock(shared);
                shared.lanes -= lanes - lane;
                shared.over = true;
                return Err(error);
            }
        }
        // What still runs when the time is over is not counted.
        let waiting = lock(&shared);
        let rest = time.saturating_sub(began.elapsed());
        let (mut shared, _) = changed
            .wait_timeout_while(waiting, rest, |shared| shared.lanes > 0)
            .unwrap_or_else(PoisonError::into_inner);
        shared.over = true;
        shared.running.iter().for_each(|control| control.interrupt());
        Ok(())
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let Shared { launches, failed, .. } = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok((launches, seconds)), Err)
}

/// The units of the next launch: of one base, and as much as is worth its time.
fn next(shared: &Mutex<Shared>, part: f64) -> Option<(Vec<Unit>, Arc<Control>)> {
    let mut shared = lock(shared);
    if shared.over {
        return None;
    }
    let first = shared.units.pop_front()?;
    let model = shared.fit.model();
    // As long as nothing has ended nobody knows how long anything takes.
    let part = if shared.launches.is_empty() { part / 3.0 } else { part };
    let mut weight = first.weight;
    let mut batch = vec![first];
    while model.launch + model.work(weight) < part && batch.len() < shared.most {
        if shared.units.front().is_none_or(|unit| unit.base != batch[0].base) {
            break;
        }
        let Some(unit) = shared.units.pop_front() else { break };
        weight += unit.weight;
        batch.push(unit);
    }
    let control = Arc::<Control>::default();
    shared.running.push(Arc::clone(&control));
    Some((batch, control))
}

fn launch(
    config: &Config,
    options: &[OsString],
    kib: Option<u64>,
    batch: &[Unit],
    to: &OsString,
    stopper: &Stopper,
    control: &Arc<Control>,
) -> Result<trial::Ran> {
    let mut arguments = options.to_vec();
    arguments.extend(["--".into(), Path::new("./").into(), to.clone()]);
    let mut input = Vec::new();
    for unit in batch {
        input.extend_from_slice(if unit.path.is_empty() { b"." } else { &unit.path });
        input.push(0);
    }
    let rsync = Invocation::rsync(config.program.clone(), arguments, batch[0].base.clone());
    let rsync = match kib {
        Some(kib) => rsync.limited(kib),
        None => rsync,
    };
    trial::output_of(&Invocation { input, ..rsync }, stopper, control)
}

fn take(shared: &Mutex<Shared>, batch: &[Unit], control: &Arc<Control>, took: Duration, ran: Result<trial::Ran>) {
    let mut shared = lock(shared);
    shared.running.retain(|other| !Arc::ptr_eq(other, control));
    // It was ended because the time is over.
    if control.interrupted() {
        return;
    }
    let fatal = |shared: &mut Shared, error: Error| {
        shared.failed.get_or_insert(error);
        shared.over = true;
    };
    match ran {
        Err(error) => fatal(&mut shared, error),
        Ok(ran) if !exit::is_settled(ran.ended.code()) => {
            let code = ran.ended.code();
            let text = format!("the trial failed: rsync ended with code {code}: {}", ran.output.gist());
            fatal(&mut shared, Error::usage(text).exit(code));
        }
        Ok(ran) => {
            let weight: Weight = batch.iter().map(|unit| unit.weight).sum();
            let seconds = took.as_secs_f64();
            shared.fit.learn(weight, seconds);
            shared.launches.push(Launch { weight, seconds, code: ran.ended.code() });
        }
    }
}

/// What the whole would take by these launches, and by draws from them.
fn estimate(launches: &[Launch], whole: Weight, processes: usize, bwlimit: Option<u64>) -> Option<Estimate> {
    const FEWEST: usize = 3;
    if launches.len() < FEWEST {
        return None;
    }
    let least = bwlimit.map_or(0.0, |limit| whole.bytes as f64 / limit as f64);
    let by = |launches: &mut dyn Iterator<Item = Launch>| {
        let mut fit = Fit::new(CostModel::default());
        launches.for_each(|launch| fit.learn(launch.weight, launch.seconds));
        (fit.model().work(whole) / processes as f64).max(least)
    };
    let likely = by(&mut launches.iter().copied());
    let mut random = Random(launches.len() as u64);
    let mut draws: Vec<f64> = (0..DRAWS)
        .map(|_| by(&mut (0..launches.len()).map(|_| launches[random.below(launches.len() as u64) as usize])))
        .collect();
    draws.sort_by(f64::total_cmp);
    let outside = DRAWS * (100 - RANGE_HOLDS) / 200;
    Some(Estimate { low: draws[outside].min(likely), likely, high: draws[DRAWS - 1 - outside].max(likely) })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(entries: u64, bytes: u64) -> Weight {
        Weight { entries, bytes }
    }

    #[test]
    fn every_unit_has_the_same_chance() {
        let sample = Sample::default();
        let all = 20 * SAMPLE;
        let unit = |at: usize| Unit { base: "/".into(), path: at.to_string().into_bytes(), weight: weight(1, 0) };
        sample.offer(all, unit);
        let drawn: Vec<usize> =
            sample.take().iter().map(|unit| str::from_utf8(&unit.path).unwrap().parse().unwrap()).collect();
        assert_eq!(drawn.len(), SAMPLE);
        let late = drawn.iter().filter(|at| **at >= all / 2).count();
        assert!((SAMPLE * 2 / 5..SAMPLE * 3 / 5).contains(&late), "{late} of the second half");
    }

    #[test]
    fn an_estimate_is_that_of_the_launches_and_its_range_is_theirs() {
        let truth = |weight: Weight| 0.03 + weight.entries as f64 * 50e-6 + weight.bytes as f64 * 10e-9;
        let launches: Vec<Launch> = (1..40_u64)
            .map(|at| {
                let weight = weight(at * 137 % 5000, at * at * 7919 % (1 << 27));
                let noise = if at % 2 == 0 { 1.1 } else { 0.9 };
                Launch { weight, seconds: truth(weight) * noise, code: 0 }
            })
            .collect();
        let whole = weight(10_000_000, 1 << 40);
        let found = estimate(&launches, whole, 4, None).unwrap();
        let expected = truth(whole) / 4.0;
        assert!((found.likely / expected - 1.0).abs() < 0.15, "{found:?} {expected}");
        assert!(found.low < found.likely && found.likely < found.high, "{found:?}");
        assert!(found.low < expected * 1.05 && expected * 0.95 < found.high, "{found:?} {expected}");
        assert_eq!(estimate(&launches[..2], whole, 4, None), None);
        let slow = estimate(&launches, whole, 4, Some(1 << 20)).unwrap();
        assert_eq!(slow.likely, f64::from(1 << 20));
    }

    #[test]
    fn nothing_of_the_users_is_touched() {
        let typed = "-aHv --delete --remove-source-files --backup-dir=../b --log-file=x --exclude=y --bwlimit=5m -n";
        let (options, left_out) = options(&Options::parse_str(typed.as_ref()).unwrap()).unwrap();
        let words = options.join(" ".as_ref()).into_string().unwrap();
        assert_eq!(words, "-a -H --exclude=y -R -r --files-from=- --from0");
        assert_eq!(left_out, ["--remove-source-files", "--backup-dir", "--log-file", "--dry-run"]);
    }
}
