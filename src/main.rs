//! The command `multi-sync`: a thin user of the library. It parses, prints, waits for signals and sets the exit code.

mod batch;
mod cli;
mod folder;
mod in_place;
mod monitor;
#[cfg(all(
    target_arch = "x86_64",
    target_pointer_width = "64",
    any(test, all(target_env = "musl", target_feature = "crt-static"))
))]
mod musl;
mod printer;
mod streams;
mod terminal;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use multi_sync::command::exit;
use multi_sync::command::far::serve;
use multi_sync::command::outlet::{Outlet, ReportFile};
use multi_sync::command::report::Summary;
use multi_sync::command::runs;
use multi_sync::command::shell::Quoted;
use multi_sync::command::supervise::{Guardian, Masked, signal_is_ignored};
use multi_sync::command::{size, thread};
use multi_sync::harness::bench::{self, Told};
use multi_sync::harness::trial::Stopper;
use multi_sync::harness::{selftest, survey};
use multi_sync::job::{self, BegunRun, Event, Job, Outcome};
use multi_sync::{Error, Result};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::{Handle, Signals};

use cli::{Alone, Request, Run};
use monitor::{Ended, Monitor, Subject, Wanted};
use printer::{Printer, complain_text};
use terminal::Terminal;

fn main() -> ExitCode {
    hide_refused_threads();
    let words: Vec<OsString> = std::env::args_os().collect();
    let done = cli::parse(words.clone(), working_directory).and_then(|request| match request {
        Request::Print(text) => print(&text),
        Request::ScanAgent => scan_for_another(),
        Request::Run(run) => match batch::queued_again(&run) {
            Some(begun) => resume(begun, false, &cli::Overrides::that_ends_at(run.config.ends_at), &words),
            None => copy(*run, &words, None),
        },
        Request::Alone(rsync) => become_rsync(&rsync),
        Request::Explain(request) => while_listening(&|| (), &|| (), || print(&explain(*request)?)),
        Request::Resume { dir, failed_only, overrides } => {
            resume(BegunRun::find(&dir)?, failed_only, &overrides, &words)
        }
        Request::Selftest(request) => test(&request),
        Request::Bench(request) => measure(&request),
        Request::Set { dir, request } => {
            let (stopper, tell) = (Stopper::default(), |text: &str| complain_text(text));
            let ask = || runs::set(&dir, &request, &|| stopper.stopped(), &tell);
            while_listening(&|| stopper.stop(), &|| (), || print(&ask()?))
        }
        Request::Survey { request, json } => look_around(&request, json),
        Request::Submit(submission) => batch::submit(*submission),
        Request::SubmitAgain(dir) => batch::submit_again(&dir),
        Request::Follow(dir) => batch::follow(&dir),
        Request::Status(dir, form) => print(&runs::of(&dir, form, &cli::ways)?),
        Request::Runs(parent, form) => print(&runs::list(parent.as_deref(), form, &cli::ways)?),
        Request::Report { events, report } => make_report(events.as_deref(), &report),
        Request::Forget(dir) => runs::forget(&runs::find(&dir)?).map(|()| exit::OK),
    });
    ExitCode::from(told(done))
}

/// The exit code. Reports the error, if there is one.
fn told(done: Result<u8>) -> u8 {
    done.unwrap_or_else(|error| {
        complain(&error);
        error.exit_code()
    })
}

/// The walker of ignore rules panics if a thread cannot be started. The panic message is hidden, because this is reported as an error.
fn hide_refused_threads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref().is_none_or(|text: &String| !text.starts_with("failed to spawn thread")) {
            usual(panic);
        }
    }));
}

fn working_directory() -> Result<PathBuf> {
    std::env::current_dir().map_err(|cause| {
        Error::usage("cannot find the working directory").because(cause).remedy("change to a directory that exists")
    })
}

fn make_report(events: Option<&Path>, report: &ReportFile) -> Result<u8> {
    job::report_of(events, report)?;
    Ok(exit::OK)
}

/// Ends when its standard input ends, because then the process that has started it is gone.
fn scan_for_another() -> Result<u8> {
    let output = io::stdout().as_fd().try_clone_to_owned();
    let output = output.map_err(|cause| Error::system("cannot use standard output").because(cause))?;
    serve(io::stdin(), File::from(output), || std::process::exit(exit::IPC.into()))?;
    Ok(exit::OK)
}

fn print(text: &str) -> Result<u8> {
    let written = streams::answer(text);
    written.map_err(|cause| Error::usage("cannot write to standard output").because(cause))?;
    Ok(exit::OK)
}

/// A run that is continued.
struct Begun {
    run: BegunRun,
    failed_only: bool,
}

/// Continues a run.
fn resume(run: BegunRun, failed_only: bool, overrides: &cli::Overrides, words: &[OsString]) -> Result<u8> {
    let typed = words.iter().take(1).cloned().chain(run.arguments()).collect();
    let again = cli::parse_again(typed, run.current_dir(), overrides)?;
    let again = Run { again: run.arguments(), ..again };
    copy(again, words, Some(&Begun { run, failed_only }))
}

fn copy(run: Run, words: &[OsString], begun: Option<&Begun>) -> Result<u8> {
    let terminal = Terminal::find(signal_is_ignored(SIGHUP));
    let Run { mut config, show, stats, keep_runs, requeues, alone, again, wanted } = run;
    config.asks = terminal.is_some();
    if let Some(Outlet::Stdout) = config.outlets.events {
        // From now on standard output is for programs.
        streams::divert_out();
    }
    let asked = config.options.meaning();
    // These are also available if a single rsync does everything.
    let ours = config.progress && !asked.progress || stats;
    // If one process was requested, it is no news that one rsync does everything.
    let tells_of_one = config.tells_how && config.processes.get() > 1 && !asked.quiet;
    let tells_amount = config.dry_run && !stats && (asked.quiet || config.options.shows().stats == 0);
    let subject = Subject::of(&config);
    let wanted = wanted_of(wanted, config.dry_run || asked.dry_run);
    let mut job = Job::of_command_line(config, again, keep_runs);
    if alone.is_some() {
        job = job.giving_way(!ours);
    }
    let cancel = job.cancel_handle();
    let monitor = Monitor::new(wanted, subject)?;
    // Why the rsync that was typed is to take our place.
    let mut instead = None;
    let copy = || {
        monitor.begin()?;
        let printer = Printer::new(show);
        let tell = |event: Event<'_>| {
            monitor.hear(&event);
            batch::hear(&event, requeues);
            printer.print(event);
        };
        let done = match begun {
            Some(Begun { run, failed_only: true }) => job.retry_failed(run.directory(), tell),
            Some(Begun { run, failed_only: false }) => job.resume(run.directory(), tell),
            None => job.run(tell),
        };
        let outcome = match done {
            Ok(outcome) => outcome,
            Err(error) => {
                // The kind of error that a source has which does not exist.
                let meant = cli::misspelt_word(words).filter(|_| begun.is_none() && error.exit_code() == exit::PARTIAL);
                let error = if let Some(meant) = meant { error.remedy(meant) } else { error };
                complain(&error);
                monitor.ended(&Ended::refused(&error));
                return Ok(error.exit_code());
            }
        };
        printer.finish();
        instead = outcome.gave_way().map(str::to_owned);
        if let Some(error) = outcome.failure() {
            complain(error);
        }
        if let Some(summary) = outcome.summary() {
            if stats {
                let command_line = words.iter().map(|word| Quoted(word).to_string()).collect::<Vec<_>>().join(" ");
                streams::out(outcome.statistics(&command_line));
            }
            if tells_amount {
                tell_of_dry_run(summary);
            }
            conclude(summary, &outcome);
        }
        // A run directory that could not be removed is not part of the outcome.
        if let Some(error) = outcome.leftover() {
            complain(error);
        }
        outcome.advice().iter().for_each(|line| complain_text(line));
        if instead.is_none() {
            monitor.ended(&Ended::of(&outcome));
        }
        if requeues && outcome.summary().is_some_and(|summary| summary.out_of_time) {
            batch::requeue(outcome.run_directory());
        }
        Ok(outcome.exit_code())
    };
    let stop = || {
        cancel.cancel();
        monitor.is_to_end();
    };
    let done = while_listening(&stop, &|| cancel.ask_progress(), copy);
    match (alone, instead) {
        (Some(alone), Some(why)) if !cancel.is_cancelled() => {
            // Its threads must end before another program takes the place of this one.
            drop(monitor);
            become_rsync(&Alone { why: Some(why), tells: tells_of_one, ..alone })
        }
        _ => done,
    }
}

/// Reports nothing to others about a run that copies nothing: a monitor would take it for the nightly mirror.
fn wanted_of(wanted: Wanted, copies_nothing: bool) -> Wanted {
    match wanted.named().filter(|_| copies_nothing) {
        Some(option) => {
            complain_text(&format!("nothing is copied (-n, -d): {option} and other hooks and metrics are not used"));
            Wanted::default()
        }
        None => wanted,
    }
}

fn become_rsync(rsync: &Alone) -> Result<u8> {
    if let Some(why) = rsync.why.as_ref().filter(|_| rsync.tells) {
        complain_text(&format!("one rsync does it all ({why})"));
    }
    monitor::gives_way();
    Err(in_place::start(&rsync.program, &rsync.words))
}

/// Explains how a command line would be carried out.
fn explain(request: Request) -> Result<String> {
    match request {
        Request::Run(run) => {
            let Run { config, alone, keep_runs, again, .. } = *run;
            let typed = alone.as_ref().map(Alone::typed);
            Job::of_command_line(config, again, keep_runs).explain_typed(typed.as_deref())
        }
        Request::Alone(alone) => {
            let why = alone.why.as_deref().unwrap_or("it copies nothing that could be divided");
            Ok(job::one_as_typed(&alone.typed(), why))
        }
        _ => Err(Error::usage("explain: this is not a copy")
            .remedy("give a copy: multi-sync explain -p 4 rsync -a SRC DEST")),
    }
}

fn test(request: &selftest::Request) -> Result<u8> {
    let stopper = Stopper::default();
    let job = || {
        job::raise_descriptor_limit();
        start_pool()?;
        let tally = selftest::run(request, &stopper, &mut |outcome| {
            streams::out(format!("{outcome}\n"));
        })?;
        streams::out(format!("{tally}\n"));
        Ok(tally.exit_code())
    };
    yes_or_no(while_listening(&|| stopper.stop(), &|| {}, || yes_or_no(job())))
}

fn look_around(request: &survey::Request, json: bool) -> Result<u8> {
    let (stopper, watch) = (Stopper::default(), survey::Watch::default());
    let stop = || {
        watch.stop();
        stopper.stop();
    };
    while_listening(&stop, &|| {}, || {
        job::raise_descriptor_limit();
        let report = survey::run(request, &stopper, &watch)?;
        request.config.outlets.report.iter().try_for_each(|file| report.write(file))?;
        let written = streams::answer(if json { report.json()? } else { report.text() });
        written.map_err(|cause| Error::usage("cannot write the survey to standard output").because(cause))?;
        Ok(report.exit_code())
    })
}

fn measure(request: &bench::Request) -> Result<u8> {
    let stopper = Stopper::default();
    let job = || {
        job::raise_descriptor_limit();
        start_pool()?;
        bench::run(request, &stopper, &mut |told| match told {
            Told::Line(line) => streams::out(format!("{line}\n")),
            Told::Note(note) => complain_text(&note),
        })?;
        Ok(exit::OK)
    };
    yes_or_no(while_listening(&|| stopper.stop(), &|| {}, || yes_or_no(job())))
}

/// Starts the threads that create and compare trees here, because where they would otherwise be started, a failure could not be reported.
fn start_pool() -> Result<()> {
    rayon::ThreadPoolBuilder::new().build_global().map_err(|cause| thread::refused().because(cause))
}

/// Self-test and benchmark end with 1 after any error, and with 20 if they were interrupted.
fn yes_or_no(done: Result<u8>) -> Result<u8> {
    done.map_err(|error| if error.exit_code() == exit::INTERRUPTED { error } else { error.exit(exit::USAGE) })
}

/// How long the end may take after a second signal: everything that runs has been killed by then.
const LONGEST_END: Duration = Duration::from_secs(5);

/// Does `job`, and reports its error. Each signal that asks for the end calls `stop`, and SIGUSR1 calls `ask`, both in another thread.
fn while_listening(stop: &(dyn Fn() + Sync), ask: &(dyn Fn() + Sync), job: impl FnOnce() -> Result<u8>) -> Result<u8> {
    // Must come before the first thread.
    let _guardian = Guardian::start();
    let masked = Masked::new();
    let mut signals = listen().map_err(|cause| Error::usage("cannot listen to signals").because(cause))?;
    std::thread::scope(|scope| {
        // The scope waits for the thread below, which must end even if something panics.
        let _listening = Listening(signals.handle());
        let masked = &masked;
        thread::start(scope, move || {
            masked.lift();
            let mut earlier = 0;
            for signal in signals.forever() {
                if signal == SIGUSR1 {
                    ask();
                    continue;
                }
                earlier += 1;
                streams::stop();
                stop();
                if earlier == 2 {
                    // If something hangs then, such as a file system, the process exits anyway: the guardian does the rest.
                    let _ = std::thread::Builder::new().spawn(|| {
                        std::thread::sleep(LONGEST_END);
                        std::process::exit(exit::INTERRUPTED.into())
                    });
                }
            }
        })?;
        Ok(told(job()))
    })
}

/// Ends the thread that waits for signals when it is dropped.
struct Listening(Handle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// SIGHUP stays ignored if it was ignored at the start: `nohup multi-sync ...` must continue. SIGCHLD does not, because the system would forget how an rsync
/// ended.
fn listen() -> io::Result<Signals> {
    signal_hook::flag::register(SIGCHLD, Arc::default())?;
    // A file that grows beyond `ulimit -f` is then an error of the write, rather than the end of this process.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    let nohup = signal_is_ignored(SIGHUP);
    Signals::new([SIGINT, SIGTERM, SIGUSR1].into_iter().chain((!nohup).then_some(SIGHUP)))
}

/// Prints the result of a dry run, because silence would be read as "nothing to do".
fn tell_of_dry_run(summary: &Summary) {
    let count = |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let (entries, buckets) =
        (count(summary.found.entries, "entry", "entries"), count(summary.buckets, "bucket", "buckets"));
    let bytes = size::human(summary.found.bytes);
    complain_text(&format!("nothing was copied: the source has {entries}, {bytes}, in {buckets}"));
    complain_text("to do: to see what rsync would change, leave out -d, --dry-run and add -n -i to rsync's options");
}

/// Reports how the run ended.
fn conclude(summary: &Summary, outcome: &Outcome) {
    let code = summary.code;
    match summary.differences {
        Some(0) if code.get() == exit::OK => complain_text("verified: nothing differs"),
        Some(0) => complain_text("not verified: not everything could be compared; what was compared does not differ"),
        Some(1) => complain_text("verified: 1 difference"),
        Some(count) => complain_text(&format!("verified: {count} differences")),
        None => {}
    }
    if summary.interrupted {
        let completes = if !outcome.advice().is_empty() { "" } else { "; the same command completes it" };
        complain_text(&format!("interrupted: the copy is incomplete{completes}"));
    }
    if summary.buckets_left > 0 {
        let (left, all) = (summary.buckets_left, summary.buckets);
        let (buckets, were) = (if all == 1 { "bucket" } else { "buckets" }, if left == 1 { "was" } else { "were" });
        complain_text(&format!("{left} of {all} {buckets} {were} not done"));
    }
    if !summary.interrupted && code.get() != exit::OK {
        complain_text(&format!("exit code {code}"));
        outcome.remedy().iter().for_each(|todo| complain_text(&format!("to do: {todo}")));
    } else if code.get() == exit::OK && summary.retried > 0 {
        // Otherwise the last line on the screen would be about the failure.
        let rsyncs = if summary.retried == 1 { "1 rsync" } else { &format!("{} rsyncs", summary.retried) };
        complain_text(&format!("everything was copied; {rsyncs} had to be retried"));
    }
}

fn complain(error: &Error) {
    complain_text(&error.to_string());
    if let Some(advice) = error.advice() {
        complain_text(&format!("to do: {advice}"));
    }
}
