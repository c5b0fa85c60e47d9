//! The benchmark: how fast are one rsync and multi-sync on this machine, with one tree and one destination?
//!
//! The comparison is fair by construction: source and destination are separate, rounds are interleaved so that a change of the machine's load affects all
//! tools alike, the limits of buckets are the defaults of the command, and a time counts only after the copy was compared with the source. After each fresh
//! copy the same command runs again, with nothing to do. Each copy is a new one, and if there is room, none is removed before the end: ext4 creates files
//! slowly for minutes after others were removed, because it looks at all inodes that were freed lately, and so a tool would pay for the copy of another one.

mod chart;
mod machine;
mod record;
mod room;
mod shape;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, DEFAULT_RSYNC};
use crate::endpoint::{Destination, Source};
use crate::engine::Control;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::exit;
use crate::rsync::options::Options;
use crate::scan::Weight;
use crate::trial::{self, Site, Stopper};
use crate::verify;
use machine::Machine;
use record::{Facts, Measurement, Record};

pub use record::{Tool, Work};
pub use shape::{Scale, Shape, Tree};

/// The number of names in msrsync's tree.
pub const DEFAULT_ENTRIES: u64 = 100_000;
/// The number of rounds. With a single round, the influence of chance would be unknown.
pub const DEFAULT_RUNS: NonZero<u32> = NonZero::new(3).unwrap();
/// The numbers of processes that are compared with one rsync, as in msrsync.
pub const PROCESSES: [usize; 5] = [1, 2, 4, 8, 16];

const SEED: u64 = 1;
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// What is measured.
#[derive(Debug, Clone)]
pub struct Request {
    /// The tree.
    pub shape: Shape,
    /// The number of names, if it differs from that of the shape.
    pub entries: Option<NonZero<u64>>,
    /// The number of rounds.
    pub runs: NonZero<u32>,
    /// The multi-sync that is measured: the command, as a user would start it.
    pub command: PathBuf,
    /// rsync's options for all tools, as one word.
    pub rsync: OsString,
    /// The user's working directory.
    pub cwd: PathBuf,
    /// Where the tree is created and, without a destination, copied to.
    pub place: PathBuf,
    /// Whether this place is in memory.
    pub in_memory: bool,
    /// Copies go into a new folder here.
    pub destination: Option<Destination>,
    /// A file for the results.
    pub json: Option<PathBuf>,
    /// A file for a chart of the results.
    pub chart: Option<PathBuf>,
}

/// A line to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A result.
    Line(String),
    /// Progress, or a caution about the results.
    Note(String),
}

/// Carries out the benchmark. Each time is reported as soon as the copy was compared; the tables come last.
///
/// # Errors
/// There is not enough room (the message says how much is needed); a copy failed, or differs from the source: then its time is not reported; the benchmark
/// was stopped (exit code 20). Nothing is left behind in any case.
pub fn run(request: &Request, stopper: &Stopper, tell: &mut dyn FnMut(Told)) -> Result<()> {
    for file in request.json.iter().chain(&request.chart) {
        check_can_write(file)?;
    }
    let bench = Bench::prepare(request, stopper, tell)?;
    let record = bench.measure(tell);
    bench.close().and(record).and_then(|record| {
        for work in Work::ALL {
            tell(Told::Line(record.table(work)));
        }
        if let Some(path) = &request.json {
            let json = serde_json::to_vec_pretty(&record)
                .map_err(|cause| Error::file_io("cannot write the results").because(cause))?;
            write(path, &json)?;
        }
        request.chart.as_ref().map_or(Ok(()), |path| write(path, chart::svg(&record).as_bytes()))
    })
}

struct Bench<'a> {
    request: &'a Request,
    options: Options,
    stopper: &'a Stopper,
    source: PathBuf,
    /// Whether the copy can be compared: both trees are on this machine and were created here, with options whose result is known.
    compares: bool,
    work: Site,
    there: Site,
    facts: Facts,
    drops: bool,
    /// Whether the copies stay until the end.
    keeps: bool,
    /// Whether the source has to be read once before the first round, because otherwise the first tool would pay for an empty cache.
    warms: bool,
}

impl<'a> Bench<'a> {
    fn prepare(request: &'a Request, stopper: &'a Stopper, tell: &mut dyn FnMut(Told)) -> Result<Bench<'a>> {
        let Request { shape, rsync, cwd, .. } = request;
        let options = Options::parse_str(rsync)?;
        if options.meaning().remove_source_files {
            return Err(Error::usage("a benchmark removes nothing from its source").remedy("leave out that option"));
        }
        let place = cwd.join(&request.place);
        if !place.is_dir() {
            return Err(Error::usage(format!("{} is not a folder", Printable::path(&place)))
                .remedy("name a folder in which you may write"));
        }
        let here = Destination::parse(place.as_os_str())?;
        let connection = options.connection_options();
        let above = request.destination.as_ref().unwrap_or(&here);
        let local = above.is_local().then(|| PathBuf::from(above.as_directory(cwd)));
        let tree = Tree::of(shape, request.entries, cwd, stopper)?;
        if let Tree::Folder(folder) = &tree {
            local.iter().chain([&place]).try_for_each(|place| check_outside(place, folder))?;
        }
        let work = Site::make(&here, &connection, cwd, stopper)?;
        let inside = |name: &str| work.local(name).unwrap_or_default();
        let (source, weight) = match &tree {
            Tree::Folder(folder) => (folder.clone(), weigh(folder, &options, cwd, &inside("buckets"), stopper)?),
            made => (inside("source"), made.weight()),
        };
        let made = !matches!(tree, Tree::Folder(_));
        let places = made.then(|| place.clone()).into_iter().chain(local.clone()).collect::<Vec<_>>();
        room::check(&places, weight, request.in_memory)?;
        let there = Site::make(above, &connection, cwd, stopper)?;
        if made {
            tell(Told::Note(format!("making {tree}: {} entries", weight.entries)));
        }
        let weight = if made {
            let totals = tree.make(&source, SEED)?;
            Weight { entries: totals.entries(), bytes: totals.bytes }
        } else {
            weight
        };
        stopper.go_on()?;
        let machine = Machine::look(cwd, stopper)?;
        let (drops, caches) = can_drop_caches(request.in_memory);
        let mut caches = caches.to_owned();
        if local.is_none() {
            caches.push_str("; those of the other machine stay as they are");
        }
        let compares = made && local.is_some() && rsync == DEFAULT_RSYNC;
        let copies = u64::from(request.runs.get()).saturating_mul(PROCESSES.len() as u64 + 1);
        let keeps = !request.in_memory && local.as_deref().is_some_and(|place| room::is_ample(place, weight, copies));
        let facts = Facts {
            tree: tree.to_string(),
            entries: weight.entries,
            bytes: weight.bytes,
            options: Printable::os(rsync).to_string(),
            source: machine::file_system(&source),
            destination: local.as_deref().map_or_else(|| above.to_string(), machine::file_system),
            caches,
            checked: if compares { "byte by byte" } else { "rsync -n -i --delete" }.into(),
            removed: if keeps { "when all is done" } else { "before the next one" }.into(),
            runs: request.runs.get(),
            machine,
        };
        facts.lines().into_iter().for_each(|line| tell(Told::Note(line)));
        let warms = !made && !drops;
        Ok(Bench { request, options, stopper, source, compares, work, there, facts, drops, keeps, warms })
    }

    fn measure(&self, tell: &mut dyn FnMut(Told)) -> Result<Record> {
        let mut record = Record::new(self.facts.clone());
        if self.warms {
            tell(Told::Note("one copy first, which is not timed: all find the caches alike".into()));
            self.time(Tool::Rsync, "warm")?;
            self.there.clear("warm")?;
        }
        let tools: Vec<Tool> = std::iter::once(Tool::Rsync).chain(PROCESSES.map(Tool::MultiSync)).collect();
        for run in 1..=self.request.runs.get() {
            for (nth, tool) in tools.iter().enumerate() {
                let copy = format!("copy-{run}-{nth}");
                for work in Work::ALL {
                    self.prepare_caches()?;
                    let took = self.time(*tool, &copy)?;
                    self.check(*tool, &copy)?;
                    record.measurements.push(Measurement { work, tool: *tool, run, seconds: took.as_secs_f64() });
                    let line = record.last_line();
                    line.into_iter().for_each(|line| tell(Told::Line(line)));
                }
                if !self.keeps {
                    self.there.clear(&copy)?;
                }
            }
        }
        Ok(record)
    }

    fn close(self) -> Result<()> {
        let there = self.there.close();
        self.work.close().and(there)
    }

    fn time(&self, tool: Tool, copy: &str) -> Result<Duration> {
        let Request { command, rsync, cwd, .. } = self.request;
        let ran = match tool {
            Tool::Rsync => trial::rsync(self.words(self.options.argv(), copy), cwd, self.stopper)?,
            Tool::MultiSync(processes) => {
                let options = vec!["-p".into(), processes.to_string().into(), "-r".into(), rsync.clone()];
                trial::program(command.into(), self.words(options, copy), cwd, self.stopper)?
            }
        };
        match ran.ended.code() {
            exit::OK => Ok(ran.took),
            code => Err(Error::of_rsync(format!("{tool} ended with exit code {code}: {}", ran.output.gist()), code)),
        }
    }

    /// Checks that the copy equals the source. The time of a wrong copy is worthless.
    fn check(&self, tool: Tool, copy: &str) -> Result<()> {
        let wrong = |how: String| Error::usage(format!("the copy of {tool} differs from the source: {how}"));
        if let Some(path) = self.there.local(copy).filter(|_| self.compares) {
            let report =
                verify::compare(&self.source, &path, &verify::Options { keep: 1, ..verify::Options::archive() })?;
            return if report.is_same() {
                Ok(())
            } else {
                Err(wrong(report.to_string().trim_end().replace('\n', "; ")))
            };
        }
        let mut options: Vec<OsString> = ["-n", "-i", "--delete"].map(Into::into).into();
        options.extend(self.options.argv());
        let ran = trial::rsync(self.words(options, copy), &self.request.cwd, self.stopper)?;
        let right = ran.ended.code() == exit::OK && ran.output.said == 0;
        if right { Ok(()) } else { Err(wrong(ran.output.gist())) }
    }

    fn words(&self, mut words: Vec<OsString>, copy: &str) -> Vec<OsString> {
        words.extend(["--".into(), self.source.join("").into_os_string(), self.there.at(copy)]);
        words
    }

    /// Prepares the caches, so that data written before do not slow down the next measurement.
    fn prepare_caches(&self) -> Result<()> {
        let folders = [Some(self.source.clone()), self.there.local("")];
        for folder in folders.into_iter().flatten().filter(|_| !self.request.in_memory) {
            File::open(&folder)
                .and_then(|opened| Ok(rustix::fs::syncfs(opened)?))
                .map_err(|cause| Error::io("write back what is in", &folder, cause))?;
        }
        if self.drops {
            let path = Path::new(DROP_CACHES);
            fs::write(path, "3").map_err(|cause| Error::io("drop the caches by", path, cause))?;
        }
        self.stopper.go_on()
    }
}

/// Refuses a place inside the folder, because a copy of a folder into itself would not end.
fn check_outside(place: &Path, folder: &Path) -> Result<()> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if !real(place).starts_with(real(folder)) {
        return Ok(());
    }
    let (place, folder) = (Printable::path(place), Printable::path(folder));
    Err(Error::usage(format!("{place} lies in {folder}, which is to be copied"))
        .remedy("set TMPDIR to a folder elsewhere, and --bench-dest"))
}

/// The weight of `folder`, found by the scan that a copy would make.
fn weigh(folder: &Path, options: &Options, cwd: &Path, nowhere: &Path, stopper: &Stopper) -> Result<Weight> {
    let source = Source::parse(folder.join("").as_os_str())?;
    let destination = Destination::parse(nowhere.as_os_str())?;
    let mut config = Config::new(vec![source], destination, options.clone(), cwd.to_owned());
    config.dry_run = true;
    Ok(trial::copy(&config, stopper, &Arc::<Control>::default(), &|_| {})?.summary.found)
}

/// Whether caches can be dropped, and a text that says so.
fn can_drop_caches(in_memory: bool) -> (bool, &'static str) {
    if in_memory {
        return (false, "not dropped: everything is in memory");
    }
    if !rustix::process::geteuid().is_root() {
        return (false, "not dropped before each run: only root can");
    }
    // Opening without writing has no effect.
    match File::options().write(true).open(DROP_CACHES) {
        Ok(_) => (true, "dropped before each run"),
        Err(_) => (false, "not dropped before each run: this system does not allow it"),
    }
}

/// Checked before minutes of work, and without creating the file.
fn check_can_write(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let target = if file.exists() { file } else { folder };
    if file.is_dir() {
        return Err(Error::io("write", file, std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    rustix::fs::access(target, rustix::fs::Access::WRITE_OK).map_err(|cause| Error::io("write", file, cause))
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    File::create(file).and_then(|mut file| file.write_all(bytes)).map_err(|cause| Error::io("write", file, cause))
}
