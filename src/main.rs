//! The command `multi-sync`: a thin user of the library. It parses, prints, waits for signals and sets the exit code.

mod cli;
mod explain;
mod folder;
mod in_place;
mod runs;
mod status;
mod streams;
mod terminal;
mod verification;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_sync::bench::{self, Told};
use multi_sync::config::Config;
use multi_sync::engine::{self, Control};
use multi_sync::entry::Printable;
use multi_sync::plan::{Plan, Strategy};
use multi_sync::preflight;
use multi_sync::report::advice;
use multi_sync::report::progress::{self, ProgressLine};
use multi_sync::report::text::Statistics;
use multi_sync::report::{Event, Progress, Summary};
use multi_sync::rsync::command::Quoted;
use multi_sync::rsync::exit;
use multi_sync::rundir;
use multi_sync::selftest;
use multi_sync::size;
use multi_sync::spool::Spool;
use multi_sync::supervise::{Guardian, Stream};
use multi_sync::trial::Stopper;
use multi_sync::{Error, Result, thread};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};

use cli::{Alone, Request, Run};
use runs::{Closed, Opened, Resumed};
use terminal::Terminal;

fn main() -> ExitCode {
    hide_refused_threads();
    let words: Vec<OsString> = std::env::args_os().collect();
    let done = cli::parse(words.clone(), working_directory).and_then(|request| match request {
        Request::Print(text) => print(&text),
        Request::Run(run) => copy(*run, &words, None),
        Request::Alone(rsync) => become_rsync(&rsync),
        Request::Explain(request) => while_listening(&|| (), &|| (), || print(&explain::explain(*request)?)),
        Request::Resume { dir, failed_only, overrides } => {
            let resumed = Resumed::read(&dir, failed_only)?;
            let (typed, cwd) = resumed.command_line();
            let typed: Vec<OsString> = words.iter().take(1).cloned().chain(typed).collect();
            copy(cli::parse_again(typed, cwd, &overrides)?, &words, Some(&resumed))
        }
        Request::Selftest(request) => test(&request),
        Request::Bench(request) => measure(&request),
        Request::Status(dir) => print(&status::of(&dir)?),
        Request::Runs(parent) => print(&status::list(parent.as_deref())?),
        Request::Forget(dir) => rundir::forget(&rundir::find(&dir)?).map(|()| exit::OK),
    });
    ExitCode::from(told(done))
}

/// The exit code, once what went wrong was told.
fn told(done: Result<u8>) -> u8 {
    done.unwrap_or_else(|error| {
        complain(&error);
        error.exit_code()
    })
}

/// The walker of ignore rules knows no other word for a thread that cannot be had; it is told as an error.
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

fn print(text: &str) -> Result<u8> {
    streams::out(text);
    Ok(exit::OK)
}

fn copy(run: Run, words: &[OsString], resumed: Option<&Resumed>) -> Result<u8> {
    let terminal = Terminal::find(signal_is_ignored(SIGHUP));
    let Run { mut config, show, stats, keep_runs, alone, again } = run;
    config.asks = terminal.is_some();
    // Each run has its own; what comes between them stops both.
    let (control, asking) = (Control::default(), Control::default());
    let interrupt = || {
        control.interrupt();
        asking.interrupt();
    };
    let ask = || {
        control.ask();
        asking.ask();
    };
    // Why the rsync that was typed is to take our place.
    let mut instead = None;
    let mut job = || {
        raise_descriptor_limit();
        // Before anybody else opens a file that an option names.
        let spool = match resumed {
            Some(run) => Spool::of_run(&config, &run.dir)?,
            None => Spool::read(&config, || control.interrupted(), |text| complain_text(&text))?,
        };
        config.options = spool.options().clone();
        if !config.hosts.is_empty() && !config.dry_run {
            let shared = resumed.map(|run| run.dir.clone()).or_else(|| config.buckets.clone());
            use_hosts(&mut config, shared.as_deref(), &control)?;
        }
        let made = Plan::make(&config, control.supervisor());
        // What was read from a stream it could not read again.
        if alone.is_some() && !spool.has_read() && !control.interrupted() {
            let ours = config.progress && !config.options.meaning().progress || stats;
            instead = match &made {
                Err(error) => Some(error.to_string()),
                Ok(Plan { strategy: Strategy::Plain(why), .. }) if !ours => Some(why.clone()),
                Ok(_) => None,
            };
            if instead.is_some() {
                return Ok(exit::OK);
            }
        }
        let plan = made?;
        // What can be refused is refused before anything is copied.
        let question = verification::question(&config)?;
        let (ledger, kept) = Opened::open(&config, &plan, &again, resumed)?.split();
        if kept.recorded() {
            let written = spool.keep_in(kept.buckets().path());
            if !kept.buckets().is_optional() {
                written?;
            }
        }
        if show {
            streams::out(format!("{}\n", Printable::path(kept.buckets().path())));
        }
        let printer = Printer::default();
        let tell = |event: Event<'_>| printer.print(event);
        let outcome = if config.verify_only {
            let differences = verification::differences(kept.buckets(), ledger.is_some())?;
            let told = differences.noted(&tell);
            let outcome = engine::run_recorded(&config, &plan, kept.buckets(), ledger, &control, &told);
            verification::conclude(outcome, &differences)
        } else {
            engine::run_recorded(&config, &plan, kept.buckets(), ledger, &control, &tell)
        };
        let outcome = match (outcome, question) {
            (Ok(copied), Some(question)) => verification::after(copied, &question, &kept, &asking, &tell),
            (outcome, _) => outcome,
        };
        printer.finish();
        let Closed { lines, removed } = kept.close(&config, keep_runs, outcome.as_ref().ok());
        if let (Some(place), false) = (&config.state, config.dry_run) {
            keep_runs.tidy(place);
        }
        let code = match outcome {
            Err(_) if control.interrupted() => exit::INTERRUPTED,
            Err(error) => {
                complain(&error);
                error.exit_code()
            }
            Ok(summary) => {
                if stats {
                    let command_line = words.iter().map(|word| Quoted(word).to_string()).collect::<Vec<_>>().join(" ");
                    let block = Statistics {
                        summary: &summary,
                        cwd: &config.cwd,
                        command_line: &command_line,
                        processes: config.processes.get(),
                        dry_run: config.dry_run,
                    };
                    streams::out(block.to_string());
                }
                if config.dry_run && !stats && plan.shows.stats == 0 {
                    tell_of_dry_run(&summary);
                }
                conclude(&summary, &config, !lines.is_empty());
                summary.code.get()
            }
        };
        // What is left of the directory is no part of the outcome.
        if let Err(error) = removed {
            complain(&error);
        }
        lines.iter().for_each(|line| complain_text(line));
        Ok(code)
    };
    let done = while_listening(&interrupt, &ask, || match job() {
        Err(_) if control.interrupted() => Ok(exit::INTERRUPTED),
        other => other,
    });
    match (alone, instead) {
        (Some(alone), Some(why)) if !control.interrupted() => {
            become_rsync(&Alone { why: Some(why), tells: tells_of_one(&config), ..alone })
        }
        _ => done,
    }
}

/// Where one process was asked for, that one does it all is no news.
fn tells_of_one(config: &Config) -> bool {
    config.tells_how && config.processes.get() > 1 && !config.options.meaning().quiet
}

fn become_rsync(rsync: &Alone) -> Result<u8> {
    if let Some(why) = rsync.why.as_ref().filter(|_| rsync.tells) {
        complain_text(&format!("one rsync does it all ({why})"));
    }
    Err(in_place::start(&rsync.program, &rsync.words))
}

/// Leaves the hosts that can do their part, and tells of all.
fn use_hosts(config: &mut Config, shared: Option<&Path>, control: &Control) -> Result<()> {
    let checked = preflight::check(config, shared, control.supervisor())?;
    checked.iter().for_each(|host| complain_text(&format!("host {host}")));
    let Some(workers) = preflight::workers(&checked) else {
        let code = checked.iter().find_map(|host| host.refused.as_ref()).map_or(exit::IPC, |(_, code)| *code);
        return Err(Error::usage("none of the hosts can be used").remedy("see what each of them says").exit(code));
    };
    let fit = checked.into_iter().filter(|host| host.refused.is_none()).map(|host| host.host);
    config.use_hosts(fit.collect(), workers);
    Ok(())
}

fn test(request: &selftest::Request) -> Result<u8> {
    let stopper = Stopper::default();
    let job = || {
        raise_descriptor_limit();
        start_pool()?;
        let tally = selftest::run(request, &stopper, &mut |outcome| {
            streams::out(format!("{outcome}\n"));
        })?;
        streams::out(format!("{tally}\n"));
        Ok(tally.exit_code())
    };
    yes_or_no(while_listening(&|| stopper.stop(), &|| {}, || yes_or_no(job())))
}

fn measure(request: &bench::Request) -> Result<u8> {
    let stopper = Stopper::default();
    let job = || {
        raise_descriptor_limit();
        start_pool()?;
        bench::run(request, &stopper, &mut |told| match told {
            Told::Line(line) => streams::out(format!("{line}\n")),
            Told::Note(note) => complain_text(&note),
        })?;
        Ok(exit::OK)
    };
    yes_or_no(while_listening(&|| stopper.stop(), &|| {}, || yes_or_no(job())))
}

/// Trees are made and compared by threads that would otherwise be started where nobody can be told that they were refused.
fn start_pool() -> Result<()> {
    rayon::ThreadPoolBuilder::new().build_global().map_err(|cause| thread::refused().because(cause))
}

/// Self-test and benchmark end with 1 whatever went wrong, and with 20 when they were interrupted.
fn yes_or_no(done: Result<u8>) -> Result<u8> {
    done.map_err(|error| if error.exit_code() == exit::INTERRUPTED { error } else { error.exit(exit::USAGE) })
}

/// How long the end may take after a second signal: everything that runs has been killed by then.
const LONGEST_END: Duration = Duration::from_secs(5);

/// Does `job`, and tells what went wrong; each signal that asks for the end calls `stop`, and SIGUSR1 calls `ask`, from another thread.
fn while_listening(stop: &(dyn Fn() + Sync), ask: &(dyn Fn() + Sync), job: impl FnOnce() -> Result<u8>) -> Result<u8> {
    // Before the first thread.
    let _guardian = Guardian::start();
    let mut signals = listen().map_err(|cause| Error::usage("cannot listen to signals").because(cause))?;
    std::thread::scope(|scope| {
        // The scope waits for the thread below, also if something panics.
        let _listening = Listening(signals.handle());
        thread::start(scope, move || {
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
                    // Whatever hangs then, such as a file system: the guardian does the rest.
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

/// Ends the thread that waits for signals when it goes.
struct Listening(Handle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// SIGHUP that was ignored when we started stays so: `nohup multi-sync ...` must go on. SIGCHLD does not: the system would forget how
/// an rsync ended.
fn listen() -> io::Result<Signals> {
    signal_hook::flag::register(SIGCHLD, Arc::default())?;
    let nohup = signal_is_ignored(SIGHUP);
    Signals::new([SIGINT, SIGTERM, SIGUSR1].into_iter().chain((!nohup).then_some(SIGHUP)))
}

/// As it was when we started: we ignore none.
fn signal_is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_some_and(|ignored| ignored & (1 << (signal - 1)) != 0)
}

/// The scan holds a descriptor per open directory.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What cannot be raised is worked within.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Silence would be read as "nothing to do".
fn tell_of_dry_run(summary: &Summary) {
    let count = |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let (entries, buckets) =
        (count(summary.found.entries, "entry", "entries"), count(summary.buckets, "bucket", "buckets"));
    let bytes = size::human(summary.found.bytes);
    complain_text(&format!("nothing was copied: the source has {entries}, {bytes}, in {buckets}"));
    complain_text("to do: for what rsync would change leave out -d, --dry-run, and add -n -i to rsync's options");
}

/// Tells how the run ended; `advised` if it is said afterwards what to do.
fn conclude(summary: &Summary, config: &Config, advised: bool) {
    let code = summary.code;
    match summary.differences {
        Some(0) => complain_text("verified: nothing differs"),
        Some(1) => complain_text("verified: 1 difference"),
        Some(count) => complain_text(&format!("verified: {count} differences")),
        None => {}
    }
    if summary.interrupted {
        let completes = if advised { "" } else { "; the same command completes it" };
        complain_text(&format!("interrupted: the copy is incomplete{completes}"));
    }
    if summary.buckets_left > 0 {
        complain_text(&format!("{} of {} buckets were not done", summary.buckets_left, summary.buckets));
    }
    if !summary.interrupted && code.get() != exit::OK {
        complain_text(&format!("exit code {code}"));
        let told = advice::advice(&summary.complaints.lines, code.get(), &config.destination);
        told.iter().for_each(|todo| complain_text(&format!("to do: {todo}")));
    } else if code.get() == exit::OK && summary.retried > 0 {
        // The last line on the screen would be about the trouble.
        let launches = if summary.retried == 1 { "1 launch" } else { &format!("{} launches", summary.retried) };
        complain_text(&format!("everything was copied; {launches} had to be tried again"));
    }
}

fn complain(error: &Error) {
    complain_text(&error.to_string());
    if let Some(advice) = error.advice() {
        complain_text(&format!("to do: {advice}"));
    }
}

fn complain_text(text: &str) {
    streams::err(format!("multi-sync: {text}\n"));
}

/// Prints events: rsync's own lines as they are, everything else with our name.
#[derive(Default)]
struct Printer {
    line: Mutex<Option<(ProgressLine, Progress)>>,
}

impl Printer {
    fn print(&self, event: Event<'_>) {
        let mut line = self.line.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Event::Progress(progress) = event {
            let (shown, last) = line.get_or_insert_with(|| (ProgressLine::new(), progress));
            *last = progress;
            if streams::err_is_ready() {
                shown.show(&progress).iter().for_each(streams::err);
            }
            return;
        }
        line.iter_mut().filter_map(|(shown, _)| shown.makes_way()).for_each(streams::err);
        if let Event::Output(..) = event {
            // From now on it is rsync that shows progress, if anybody does.
            *line = None;
        }
        match event {
            Event::Said(text) => streams::out([text, b"\n"].concat()),
            Event::Output(Stream::Stdout, bytes) => streams::out(bytes),
            Event::Output(Stream::Stderr, bytes) => streams::err(bytes),
            Event::Complained(text) => streams::err([text, b"\n"].concat()),
            Event::Failed(text) | Event::Note(text) => complain_text(&text),
            Event::Asked(progress) => streams::err(format!("{}\n", progress::line(&progress))),
            Event::Progress(_) => {}
        }
    }

    fn finish(&self) {
        let mut line = self.line.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((shown, last)) = line.as_mut().filter(|_| streams::err_is_ready()) {
            shown.finish(last).iter().for_each(streams::err);
        }
    }
}
