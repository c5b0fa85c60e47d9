//! `multi-sync survey`: what a source contains, what of it the given options would not preserve, how it would be divided, and how long a copy would take.
//! Nothing is copied, except in a live trial if one is requested.
//!
//! The scan is that of a run, with an observer ([`collect`]). Memory is bounded, whatever the tree.

mod collect;
mod figures;
mod live;
mod losses;
mod page;
mod text;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::Config;
use crate::endpoint::Target;
use crate::engine::Control;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::outlet::{Form, ReportFile};
use crate::plan::{Plan, Strategy};
use crate::rsync::exit;
use crate::scan::{Event, KeptWhole, Limits, Watch, Weight};
use crate::trial::Stopper;

use collect::Collector;
use figures::{Examples, Figures};
use live::{Sample, Trial, Unit};
use losses::{Loss, Writer};

/// The version of the JSON.
const VERSION: u32 = 1;
/// The most bytes of a name if the destination's limit is unknown (Linux, NAME_MAX).
const NAME_MAX: usize = 255;

/// What to survey.
#[derive(Debug, Clone)]
pub struct Request {
    /// The copy.
    pub config: Config,
    /// Whether there is a destination.
    pub has_destination: bool,
    /// How long a live trial may take; `None` for no trial.
    pub trial: Option<Duration>,
}

/// The results of a survey.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    v: u32,
    sources: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    rsync_options: Vec<String>,
    scan_seconds: f64,
    scan_threads: usize,
    figures: Figures,
    unread: Examples,
    missing_sources: Vec<String>,
    filtered: bool,
    gitignore: bool,
    losses: Vec<Loss>,
    division: Division,
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<Trial>,
    #[serde(skip)]
    longest_name: usize,
}

/// How a copy would be divided.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Division {
    /// Why one rsync would do everything, if it would.
    #[serde(skip_serializing_if = "Option::is_none")]
    one_rsync: Option<String>,
    processes: usize,
    bucket_entries: u64,
    bucket_bytes: u64,
    units: u64,
    buckets: u64,
    split_directories: u64,
    largest_unit_entries: u64,
    largest_unit_bytes: u64,
    kept_whole: BTreeMap<String, u64>,
}

impl Report {
    /// The report as JSON, on one line.
    ///
    /// # Errors
    /// It cannot be written as JSON; this would be a bug in multi-sync.
    pub fn json(&self) -> Result<String> {
        let text = serde_json::to_string(self);
        Ok(text.map_err(|cause| Error::usage("cannot write the survey as JSON").because(cause))? + "\n")
    }

    /// The report as text: one screen first, then the details.
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// Writes the report as a page or as JSON.
    ///
    /// # Errors
    /// It cannot be written to this file.
    pub fn write(&self, file: &ReportFile) -> Result<()> {
        file.write(|out| match file.form {
            Form::Html => page::write(out, self),
            Form::Json | Form::Csv => {
                serde_json::to_writer_pretty(&mut *out, self)?;
                out.write_all(b"\n")
            }
        })
    }

    /// rsync's exit code for the result: 23 if something could not be read.
    pub fn exit_code(&self) -> u8 {
        if self.unread.count > 0 || !self.missing_sources.is_empty() { exit::PARTIAL } else { exit::OK }
    }
}

/// Counts units as they come, packed as in a run.
#[derive(Debug, Default)]
struct Packing {
    division: Division,
    open: Weight,
}

impl Packing {
    fn add(&mut self, weight: Weight, limits: Limits) {
        let Division { units, buckets, largest_unit_entries, largest_unit_bytes, .. } = &mut self.division;
        *units += 1;
        *largest_unit_entries = weight.entries.max(*largest_unit_entries);
        *largest_unit_bytes = weight.bytes.max(*largest_unit_bytes);
        let fits = |weight: Weight| weight.entries <= limits.entries.get() && weight.bytes <= limits.bytes.get();
        if !fits(weight) {
            *buckets += 1;
        } else if *buckets == 0 || self.open == Weight::default() || !fits(self.open + weight) {
            *buckets += 1;
            self.open = weight;
        } else {
            self.open += weight;
        }
    }
}

/// Carries out a survey.
///
/// # Errors
/// As [`Plan::make`]; also if the scan could not begin, the trial failed, or the survey was stopped.
pub fn run(request: &Request, stopper: &Stopper, watch: &Watch) -> Result<Report> {
    let Request { config, has_destination, trial } = request;
    refuse(request)?;
    let config = Config { dry_run: true, ..config.clone() };
    let plan = Plan::make(&config, Control::default().supervisor())?;
    let mut scan = plan.scan(&config, (0, 0));
    scan.left_out = None;
    // Names of one file are not grouped, because that would need memory that grows with the tree.
    scan.hard_links = false;
    let longest_name = if *has_destination { name_max(&config) } else { NAME_MAX };
    let collector = Collector::new(scan.threads.get(), longest_name);
    let (sample, packing, unread) = (Sample::default(), Mutex::<Packing>::default(), Mutex::<Examples>::default());
    let kept = |why: KeptWhole| {
        *lock(&packing).division.kept_whole.entry(why.to_string()).or_default() += 1;
    };
    let began = Instant::now();
    let bases: Vec<_> = scan.roots.iter().map(|root| root.base.clone()).collect();
    if !scan.roots.is_empty() {
        scan.run_observed(&collector, watch, &|event| match event {
            Event::Units(units) => {
                let all: Vec<_> = units.iter().collect();
                let mut packing = lock(&packing);
                all.iter().for_each(|unit| packing.add(unit.weight, scan.limits));
                drop(packing);
                if trial.is_some() {
                    sample.offer(all.len(), |at| Unit {
                        base: bases[units.root as usize].clone(),
                        path: below(units.dir, all[at].name),
                        weight: all[at].weight,
                    });
                }
            }
            Event::Spine(_) => lock(&packing).division.split_directories += 1,
            Event::KeptWhole { why, .. } => kept(why),
            Event::Error(error) => lock(&unread).add(|| error.to_string().into_bytes()),
            _ => {}
        })?;
    }
    stopper.go_on()?;
    let base = &plan.recipe.base;
    for single in &plan.singles {
        let path = base.join(OsStr::from_bytes(&single.prefix)).join(&single.name);
        collector.single(&path);
        lock(&packing).add(single.weight, scan.limits);
        let path = single.name.as_bytes().to_vec();
        let base = base.join(OsStr::from_bytes(&single.prefix));
        sample.offer(1, |_| Unit { base: base.clone(), path: path.clone(), weight: single.weight });
    }
    let scan_seconds = began.elapsed().as_secs_f64();
    let figures = collector.sum();
    let meaning = config.options.meaning_with(|name| std::env::var_os(name));
    let is_here = config.destination.is_local() && config.hosts.is_empty();
    let user = rustix::process::geteuid().as_raw();
    let writer = match is_here {
        true => Writer { is_root: Some(user == 0), user: Some(user) },
        false => Writer { is_root: None, user: None },
    };
    let whole = Weight { entries: figures.kinds.total(), bytes: figures.bytes };
    let trial = match trial {
        Some(time) => {
            let limit = plan.bwlimit.map(|kib| kib.get().saturating_mul(live::KIB));
            Some(live::run(&config, limit, sample, whole, *time, stopper)?)
        }
        None => None,
    };
    let Packing { division, .. } = packing.into_inner().unwrap_or_else(PoisonError::into_inner);
    let shown = |word: &OsStr| Printable::os(word).to_string();
    Ok(Report {
        v: VERSION,
        sources: config.sources.iter().map(|source| shown(source.original())).collect(),
        destination: has_destination.then(|| shown(config.destination.original())),
        rsync_options: config.options.argv().iter().map(|word| shown(word)).collect(),
        scan_seconds,
        scan_threads: scan.threads.get(),
        losses: losses::find(&figures, &meaning, writer),
        figures,
        unread: unread.into_inner().unwrap_or_else(PoisonError::into_inner),
        missing_sources: plan.missing.iter().map(|(source, _)| shown(source)).collect(),
        filtered: meaning.has_filter_rules,
        gitignore: config.gitignore,
        division: Division {
            one_rsync: match &plan.strategy {
                Strategy::Plain(why) => Some(why.clone()),
                Strategy::Parallel => None,
            },
            processes: config.processes.get(),
            bucket_entries: config.limits.entries.get(),
            bucket_bytes: config.limits.bytes.get(),
            ..division
        },
        trial,
        longest_name,
    })
}

fn refuse(request: &Request) -> Result<()> {
    let Request { config, has_destination, trial } = request;
    if let Some(source) = config.sources.first().filter(|source| !source.is_local()) {
        return Err(Error::usage(format!("a survey reads the sources, and '{source}' is on another machine"))
            .remedy("make the survey on that machine"));
    }
    if config.options.meaning().files_from.is_some() {
        return Err(Error::usage("a survey reads whole directories, and no list of names (--files-from)")
            .remedy("leave out --files-from: the survey is then of all that the list may name"));
    }
    if config.outlets.report.as_ref().is_some_and(|report| report.form == Form::Csv) {
        return Err(Error::usage("--report FILE.csv has a line for each launch, and a survey has none")
            .remedy("write a name that ends in .html or .json"));
    }
    // Checked before the scan, which may take hours.
    config.outlets.report.iter().try_for_each(|report| report.spool().map(drop))?;
    if trial.is_none() {
        return Ok(());
    }
    if !has_destination {
        return Err(Error::usage("--trial-seconds without DEST").remedy("name the DEST that is to be tried"));
    }
    if !config.hosts.is_empty() {
        return Err(Error::usage("--trial-seconds with source hosts: a trial is made by this machine alone")
            .remedy("leave out --trial-seconds, or --mode and --hosts"));
    }
    Ok(())
}

/// How many bytes a name may have in DEST, or in the directory where DEST will be created.
fn name_max(config: &Config) -> usize {
    if !matches!(config.destination.target(), Target::Local) || !config.hosts.is_empty() {
        return NAME_MAX;
    }
    let path = config.destination.as_typed(&config.cwd);
    let existing = Path::new(&path).ancestors().find(|path| path.exists());
    let found = existing.and_then(|path| rustix::fs::statvfs(path).ok());
    found.map_or(NAME_MAX, |found| usize::try_from(found.f_namemax).unwrap_or(NAME_MAX))
}

fn below(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match (dir.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (false, true) => dir.to_vec(),
        (false, false) => [dir, b"/", name].concat(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
