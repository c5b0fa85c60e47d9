//! A live trial: for some seconds, a sample of the tree is copied into a folder of its own at the destination, by as many rsyncs as the run would have. From
//! this it is estimated how long the whole copy would take. The folder is removed afterwards, also after a failure or an interruption.

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

/// The bytes of a KiB, the unit of rsync's limits.
pub const KIB: u64 = 1024;
/// The number of units in the sample. A trial of minutes does not need more.
const SAMPLE: usize = 4096;
/// How often the launches of a trial are resampled to find the spread of the estimate.
const DRAWS: usize = 400;
/// The share of these resamples that lies within the range, in per cent.
pub const RANGE_HOLDS: usize = 80;
/// The part of the trial's time that a launch should take, within the bounds below.
const PART: f64 = 0.1;
/// A launch gets at most this part of the sample for each rsync.
const PARTS: usize = 8;
const SHORTEST: f64 = 0.3;
const LONGEST: f64 = 3.0;

/// Options that concern the existing DEST, names in it outside of the trial's folder, or actions of the trial itself.
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

/// A random sample of all units that a scan reports: each has the same chance.
#[derive(Debug)]
pub struct Sample(Mutex<Drawn>);

#[derive(Debug)]
struct Drawn {
    units: Vec<Unit>,
    seen: u64,
    random: Random,
}

/// A unit: its place and its weight.
#[derive(Debug, Clone)]
pub struct Unit {
    /// The root's base.
    pub base: PathBuf,
    /// The path below the base.
    pub path: Vec<u8>,
    /// The weight of everything in it.
    pub weight: Weight,
}

impl Default for Sample {
    fn default() -> Sample {
        let random = Random(RandomState::new().hash_one(std::process::id()));
        Sample(Mutex::new(Drawn { units: Vec::new(), seen: 0, random }))
    }
}

impl Sample {
    /// Offers units for the sample.
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

    /// The units in the sample, in random order.
    fn take(self) -> VecDeque<Unit> {
        let Drawn { mut units, mut random, .. } = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        for last in (1..units.len()).rev() {
            units.swap(last, random.below(last as u64 + 1) as usize);
        }
        units.into()
    }
}

/// A random number generator (SplitMix64).
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

/// The results of a trial.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// How many seconds it took.
    pub seconds: f64,
    /// The number of rsyncs at once.
    pub processes: usize,
    /// The number of launches that finished.
    pub launches: usize,
    /// The number of entries that they copied.
    pub entries: u64,
    /// The number of bytes in these.
    pub bytes: u64,
    /// The number of launches that ended with an error about single entries.
    pub with_errors: usize,
    /// The estimate for the whole; `None` if too little was finished.
    pub estimate: Option<Estimate>,
    /// Options of the user that were left out of the trial.
    pub left_out: Vec<String>,
}

/// Estimated seconds for a copy of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// One of ten resamples of the launches gives less.
    pub low: f64,
    /// The estimate from all launches.
    pub likely: f64,
    /// One of ten resamples gives more.
    pub high: f64,
}

/// Copies as much as fits into `time`, and estimates how long a copy of `whole` would take.
///
/// # Errors
/// The folder cannot be created or removed, an rsync failed, or the trial was stopped.
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
        .map_err(|error| error.remedy("create DEST before a trial, or leave out --trial-seconds"))?;
    let done = copy(config, &options, bwlimit, sample, time, &site, stopper);
    // The folder is removed even after a failure, and an error in this is reported.
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

/// The options of a launch of the trial, and the user's options that are left out.
fn options(typed: &Options) -> Result<(Vec<OsString>, Vec<String>)> {
    let kept = guard::keeping(typed)?;
    let is_left_out = |opt: Opt| LEFT_OUT.contains(&opt);
    let left_out = kept.settings().iter().filter(|setting| is_left_out(setting.spec.id));
    // The bandwidth limit is not lost: it is divided among the rsyncs.
    let left_out = left_out
        .filter(|setting| setting.spec.id != Opt::Bwlimit)
        .map(|setting| format!("--{}", setting.spec.name()))
        .collect();
    let kept = kept.without(|setting| is_left_out(setting.spec.id) || setting.spec.group == Group::Printing);
    // A list of names cancels the recursion of -a.
    let more = ["-R", "-r", "--files-from=-", "--from0"].map(OsString::from);
    Ok((kept.argv().into_iter().chain(more).collect(), left_out))
}

#[derive(Debug, Clone, Copy)]
struct Launch {
    weight: Weight,
    seconds: f64,
    code: u8,
}

/// The state that the threads of a trial share.
struct Shared {
    units: VecDeque<Unit>,
    /// The largest number of units for a launch.
    most: usize,
    fit: Fit,
    launches: Vec<Launch>,
    running: Vec<Arc<Control>>,
    failed: Option<Error>,
    over: bool,
    /// The number of threads that still copy.
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
        // Launches that are still running when the time is over are not counted.
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

/// The units of the next launch: all of one base, and as many as fill its time.
fn next(shared: &Mutex<Shared>, part: f64) -> Option<(Vec<Unit>, Arc<Control>)> {
    let mut shared = lock(shared);
    if shared.over {
        return None;
    }
    let first = shared.units.pop_front()?;
    let model = shared.fit.model();
    // Before the first launch has ended it is unknown how long anything takes, so the first launches are smaller.
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
            fatal(&mut shared, Error::of_rsync(text, code));
        }
        Ok(ran) => {
            let weight: Weight = batch.iter().map(|unit| unit.weight).sum();
            let seconds = took.as_secs_f64();
            shared.fit.learn(weight, seconds);
            shared.launches.push(Launch { weight, seconds, code: ran.ended.code() });
        }
    }
}

/// The estimate for the whole from these launches, and from resamples of them.
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
