//! The cost of a run per bucket, for `scripts/compare.sh`: a run by the library over SRC with one entry in each bucket, with the rsync in `PATH`, whatever it
//! is. Prints, separated by commas: buckets, launches, seconds, own processor seconds, peak memory in KiB, bytes of the journal.
//!
//! ```text
//! PATH=FOLDER_OF_AN_RSYNC_THAT_DOES_NOTHING:$PATH cargo run --release --example manybuckets -- SRC DEST RUNS [alone] [EVENTS REPORT.html]
//! ```
//!
//! With `alone` each bucket is a launch; otherwise a launch takes as many buckets as are worth it. With two files the run writes events and a report, and its
//! directory is kept.

use std::error::Error;
use std::ffi::OsString;
use std::num::NonZero;

use multi_sync::command::outlet::{Outlet, ReportFile};
use multi_sync::command::report::Summary;
use multi_sync::command::runs::Keep;
use multi_sync::harness::config::Config;
use multi_sync::harness::endpoint::{Destination, Source};
use multi_sync::harness::engine::{self, Control, Ledger};
use multi_sync::harness::plan::Plan;
use multi_sync::harness::report::Event;
use multi_sync::harness::rsync::options::Options;
use multi_sync::harness::run_dir::JOURNAL;
use multi_sync::job::Job;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [source, dest, runs, more @ ..] = &words[..] else {
        return Err("usage: manybuckets SRC/ DEST RUNS [alone] [EVENTS REPORT.html]".into());
    };
    let (alone, files) = match more {
        [word, files @ ..] if word == "alone" => (true, files),
        files => (false, files),
    };
    let options = Options::parse(&["-a"])?;
    let cwd = std::env::current_dir()?;
    let mut config = Config::new(vec![Source::parse(source)?], Destination::parse(dest)?, options, cwd);
    config.processes = NonZero::new(2).ok_or("two")?;
    config.limits.entries = NonZero::<u64>::MIN;
    config.limits_given = alone;
    config.buckets = Some(runs.into());
    if let [events, report] = files {
        config.keep = true;
        config.outlets.events = Some(Outlet::parse(events, &config.cwd)?);
        config.outlets.report = Some(ReportFile::parse(report, &config.cwd)?);
        let outcome = Job::of_command_line(config, words, Keep::USUAL).run(|_| ())?;
        let run = outcome.summary().ok_or("no run")?;
        return print(run, 0);
    }
    let control = Control::default();
    let plan = Plan::make(&config, control.supervisor())?;
    let buckets = plan.make_buckets(&config)?;
    let ledger = Ledger::open(buckets.path(), "", true)?;
    let tell = |event: Event<'_>| eprintln!("{event:?}");
    let run = engine::run_recorded(&config, &plan, &buckets, Some(ledger), &control, &tell)?;
    if run.code.get() != 0 {
        return Err(format!("exit code {}", run.code).into());
    }
    let journal = std::fs::metadata(buckets.path().join(JOURNAL))?.len();
    print(&run, journal)
}

fn print(run: &Summary, journal: u64) -> Result<(), Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let ticks = |field: usize| -> f64 {
        let after = stat.rsplit(") ").next().unwrap_or_default();
        after.split(' ').nth(field).and_then(|word| word.parse().ok()).unwrap_or(0.0)
    };
    let own = (ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64;
    println!(
        "{},{},{:.3},{own:.2},{},{journal}",
        run.buckets,
        run.launches,
        run.total_time.as_secs_f64(),
        peak.trim().trim_end_matches(" kB"),
    );
    Ok(())
}
