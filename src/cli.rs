//! The command line. This module and its [`definition`] are the only ones that use clap. It says what was typed; [`Config`] says what is meant.

mod begun;
mod definition;
#[cfg(test)]
mod generated;
mod hosts;
mod line;
mod monitoring;
mod outlets;
mod prefixed;
mod refusal;
mod submitting;
mod surveys;
mod threads;
mod trials;
mod words;

use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::ArgMatches;
use multi_sync::command::config::{Config, DEFAULT_RSYNC, Depth, largest_processes, most_processes};
use multi_sync::command::endpoint::Ends;
use multi_sync::command::entry::Printable;
use multi_sync::command::options::{Aliases, Options};
use multi_sync::command::options::{asking, refuse_limit};
use multi_sync::command::outlet::ReportFile;
use multi_sync::command::runs;
use multi_sync::command::runs::{Form, Keep};
use multi_sync::command::shell::Quoted;
use multi_sync::command::size::{self, Size};
use multi_sync::command::steer::{self, Timetable};
use multi_sync::command::temporary;
use multi_sync::harness::bench;
use multi_sync::harness::selftest;
use multi_sync::harness::survey;
use multi_sync::job::{DeleteLimit, RemoteScan, ScanBy};
use multi_sync::{Error, Result};

use crate::batch::Submission;
use crate::folder::Typed;
use crate::monitor::Wanted;
pub use begun::Overrides;
use begun::about_a_run;
use definition::{AUTO, CHECKSUM, CONFIG, MANY_TO_ONE, SHORT_HELP, command};
use hosts::{HostWords, set_hosts};
use line::Line;
pub use prefixed::Alone;
pub use refusal::misspelt_word;
use trials::Mode;
use words::Word;

/// The task of the command.
pub enum Request {
    /// Copy.
    Run(Box<Run>),
    /// Become the rsync that was typed, without any change.
    Alone(Alone),
    /// Print this and exit with 0.
    Print(String),
    /// Scan this machine for the multi-sync on another machine that has started this one.
    ScanAgent,
    /// Explain how this request would be carried out, and do nothing.
    Explain(Box<Request>),
    /// Test this machine.
    Selftest(Box<selftest::Request>),
    /// Benchmark this machine.
    Bench(Box<bench::Request>),
    /// Describe the contents of a source.
    Survey {
        /// What to survey.
        request: Box<survey::Request>,
        /// Whether the result is printed as JSON.
        json: bool,
    },
    /// Continue a run.
    Resume {
        /// The run directory.
        dir: PathBuf,
        /// Copy again only what failed.
        failed_only: bool,
        /// Options that may be given again.
        overrides: Box<Overrides>,
    },
    /// Change the settings of a run that is going on, and print the settings that apply.
    Set {
        /// The run directory.
        dir: PathBuf,
        /// The requested changes.
        request: Box<steer::Request>,
    },
    /// Submit a copy as a batch job.
    Submit(Box<Submission>),
    /// Submit another job for the run in this directory.
    SubmitAgain(PathBuf),
    /// Show the progress of a run until it ends.
    Follow(PathBuf),
    /// Print how far a run is.
    Status(PathBuf, Form),
    /// List the runs below this folder, or in the usual places.
    Runs(Option<PathBuf>, Form),
    /// Remove the directory of a run.
    Forget(PathBuf),
    /// Write a report.
    Report {
        /// The file with the events; `None` for standard input.
        events: Option<PathBuf>,
        /// Where the report is written.
        report: ReportFile,
    },
}

/// A copy, and what the command adds to it.
pub struct Run {
    /// The run.
    pub config: Config,
    /// Print the bucket directory.
    pub show: bool,
    /// Print statistics at the end.
    pub stats: bool,
    /// Who is told about the run, besides its user.
    pub wanted: Wanted,
    /// The rsync that was typed, if it may take the place of this program when one rsync does everything.
    pub alone: Option<Alone>,
    /// Arguments that request the same run again, without the program's name.
    pub again: Vec<OsString>,
    /// How long run directories of unfinished runs are kept.
    pub keep_runs: Keep,
    /// Whether Slurm is asked to queue the job again if its time was too short.
    pub requeues: bool,
}

/// Reads the command line. `words` starts with the program's name.
///
/// # Errors
/// A usage error: the message names the word, and nothing has been looked at or written yet.
pub fn parse(words: Vec<OsString>, cwd: impl FnOnce() -> Result<PathBuf>) -> Result<Request> {
    // This option is not for users: nothing may come with it, and no help mentions it.
    if words.get(1..).is_some_and(|words| words == ["--scan-agent"]) {
        return Ok(Request::ScanAgent);
    }
    let Some((word, rest)) = Word::take(&words)? else { return parse_options(words, false, cwd) };
    if let Some(text) = word.help(&rest)? {
        return Ok(Request::Print(text));
    }
    let nothing = word == Word::Explain && line::operands(&rest, &command()).places.is_empty();
    if nothing && !rest.iter().any(|word| word.to_string_lossy().starts_with("--config")) && !Path::new(CONFIG).is_dir()
    {
        let error = Error::usage("explain: a source and a destination are needed");
        return Err(error.remedy("write multi-sync explain -p 4 rsync -a SRC DEST"));
    }
    let request = parse_options(rest, word == Word::Explain, cwd)?;
    Ok(if word == Word::Explain { Request::Explain(Box::new(request)) } else { request })
}

/// If `explains`, a command that would be left to the rsync that was typed is also read as a copy, as far as possible.
fn parse_options(words: Vec<OsString>, explains: bool, cwd: impl FnOnce() -> Result<PathBuf>) -> Result<Request> {
    let line = Line::divide(&words)?;
    let matches = command().try_get_matches_from(&line.ours).map_err(|error| refusal::of(&error, &words))?;
    let help = matches.get_count("help");
    if help > 0 {
        refusal::refuse_help(&matches, &words)?;
        return Ok(Request::Print(if help > 1 { definition::long_help() } else { SHORT_HELP.to_owned() }));
    }
    refusal::refuse_depth(&matches, &words)?;
    refusal::refuse_without_set(&matches, &words)?;
    if matches.get_flag("survey") {
        return surveys::request(&matches, line, cwd);
    }
    surveys::refuse_without(&matches)?;
    if matches.get_flag("submit") || matches.get_flag("print-job") {
        if explains {
            return Err(
                Error::usage("explain: a batch job cannot be explained").remedy("leave out --submit and its options")
            );
        }
        return submitting::request(&matches, line, cwd()?);
    }
    submitting::refuse_without(&matches)?;
    if let Some(rsync) = line.rsync {
        return with_outlets(rsync.request(&matches, &line.ours, explains, cwd)?, &matches);
    }
    if matches.get_flag("version") {
        refusal::refuse_version(&matches, &words)?;
        return Ok(Request::Print(command().render_version()));
    }
    let mode = Mode::of(&matches)?;
    mode.refuse_others(&matches, &words)?;
    Ok(match mode {
        Mode::Copy => match (about_a_run(&matches)?, matches.get_one::<OsString>("report-of")) {
            (Some(request), _) => request,
            (None, Some(events)) => outlets::report_of(events, &matches, &cwd()?)?,
            (None, None) => with_outlets(Request::Run(Box::new(run(&matches, &line.ours, cwd()?)?)), &matches)?,
        },
        Mode::Selftest => Request::Selftest(Box::new(trials::selftest(&matches, &words, cwd()?)?)),
        Mode::Bench => Request::Bench(Box::new(trials::bench(&matches, cwd()?, temporary::usual())?)),
        Mode::Benchshm => Request::Bench(Box::new(trials::benchshm(&matches, cwd()?)?)),
    })
}

/// Adds where the records of a run are written.
fn with_outlets(mut request: Request, matches: &ArgMatches) -> Result<Request> {
    if let Request::Run(run) = &mut request {
        outlets::Words::of(matches).set(&mut run.config)?;
        run.config.check_outlets()?;
        // These options concern only this part of the run.
        let word = |name: &str| matches.get_one::<OsString>(name);
        set_end(&mut run.config, [word("end-at"), word("end-in")])?;
        submitting::refuse_requeue(run)?;
    }
    Ok(request)
}

/// The run that was begun with these arguments in this directory, with the options that were given again.
pub fn parse_again(words: Vec<OsString>, cwd: PathBuf, overrides: &Overrides) -> Result<Run> {
    let line = Line::divide(&words)?;
    let matches = command().try_get_matches_from(&line.ours).map_err(|error| {
        Error::usage("cannot understand the command line with which the run was started").because(error)
    })?;
    let (ours, matches) = overrides.among(line.ours, matches)?;
    let mut run = match line.rsync {
        Some(rsync) => Run { alone: None, ..rsync.run(&matches, &ours, cwd)? },
        None => run(&matches, &words, cwd)?,
    };
    if let Some(count) = &overrides.processes {
        set_processes(&mut run.config, count)?;
    }
    let about_hosts = HostWords::of(&matches).anew(overrides);
    if is_many_to_one(&matches) {
        about_hosts.set(&mut run.config)?;
    } else if !overrides.is_silent_about_hosts() {
        return Err(
            Error::usage(format!("the run was not begun with --mode {MANY_TO_ONE}")).remedy("leave out the hosts")
        );
    }
    set_patience(&mut run.config, overrides.retries.as_ref(), overrides.stall.as_ref())?;
    overrides.wanted.clone().change(&mut run.wanted, &run.config.cwd)?;
    set_steering(&mut run.config, overrides.steering.each_ref().map(Option::as_ref))?;
    run.config.check_steering()?;
    run.config.ends_at = overrides.ends_at;
    set_end(&mut run.config, overrides.ends.each_ref().map(Option::as_ref))?;
    let outlets = outlets::Words::of(&matches).of_an_earlier_part();
    outlets.anew(&overrides.outlets).set(&mut run.config)?;
    run.config.check_outlets()?;
    run.config.progress |= overrides.progress > 0;
    run.config.shows_launches |= overrides.progress > 1;
    run.stats |= overrides.stats;
    run.requeues |= overrides.requeues;
    run.config.figures = run.stats;
    Ok(run)
}

/// SRC and DEST of a command line (without the program's name) that was typed in a directory; `None` if it cannot be parsed.
pub fn ways(words: Vec<OsString>, cwd: PathBuf) -> Option<String> {
    let words: Vec<OsString> = std::iter::once("multi-sync".into()).chain(words).collect();
    // A run of a Slurm job names no hosts, which is an error outside of the job. With a placeholder it can be shown nevertheless.
    let anywhere = || Overrides { hosts: Some("localhost".into()), engine: Some("ssh".into()), ..Overrides::default() };
    let run = parse_again(Vec::clone(&words), cwd.clone(), &Overrides::default());
    let run = run.or_else(|_| parse_again(words, cwd, &anywhere())).ok()?;
    let words = run.config.source_words();
    let first = Quoted(words.first()?);
    let more = match run.config.sources.len() {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Some(format!("{first}{more} -> {}", Quoted(run.config.destination_word())))
}

fn set_processes(config: &mut Config, count: &OsString) -> Result<()> {
    config.adapts = count == AUTO;
    config.processes = if config.adapts {
        most_processes(config.stays_here())
    } else {
        let most = largest_processes();
        let range = format!("write a whole number from 1 to {most}, or {AUTO}");
        let count = about("--processes", size::parse_count(count).map_err(|error| error.remedy(&range)))?;
        if count.get() > most {
            return Err(Error::usage(format!("--processes: {count} are more processes than this system can have"))
                .remedy(format!("write a number from 1 to {most}, or {AUTO}")));
        }
        count
    };
    Ok(())
}

fn is_many_to_one(matches: &ArgMatches) -> bool {
    matches.get_one::<String>("mode").is_some_and(|mode| mode == MANY_TO_ONE)
}

/// What to copy, from the command line or from the files of a configuration folder.
fn typed(matches: &ArgMatches, words: &[OsString]) -> Result<Typed> {
    let mut sources: Vec<OsString> = matches.get_many("paths").into_iter().flatten().cloned().collect();
    let buckets = matches.get_one::<OsString>("buckets").map(PathBuf::from);
    let folder = matches.get_one::<OsString>("config").map(PathBuf::from);
    match (sources.pop(), folder) {
        (Some(destination), None) if !sources.is_empty() => {
            Ok(Typed { sources, destination, buckets, hosts_file: None })
        }
        (Some(_), Some(_)) => Err(Error::usage("SRC, DEST and --config").remedy("give one or the other")),
        (None, folder) if folder.is_some() || Path::new(CONFIG).is_dir() => {
            Typed::from_folder(&folder.unwrap_or_else(|| CONFIG.into()), buckets)
        }
        _ => Err(refusal::too_few(matches, words)),
    }
}

fn seconds_of(option: &str, word: &OsString) -> Result<Duration> {
    let seconds = word.to_str().and_then(|text| text.parse::<u32>().ok()).filter(|seconds| *seconds > 0);
    let seconds = seconds.ok_or_else(|| {
        Error::usage(format!("{option}: not a number of seconds: {}", Printable::os(word)))
            .remedy(format!("write a whole number from 1 to {}", u32::MAX))
    })?;
    Ok(Duration::from_secs(seconds.into()))
}

fn set_patience(config: &mut Config, retries: Option<&OsString>, stall: Option<&OsString>) -> Result<()> {
    if let Some(retries) = retries {
        let number = retries.to_str().and_then(|text| text.parse().ok());
        config.retries = number.ok_or_else(|| {
            Error::usage(format!("--retries: not a number of retries: {}", Printable::os(retries)))
                .remedy(format!("write a whole number from 0 to {}", u32::MAX))
        })?;
    }
    if let Some(stall) = stall {
        config.stall = Some(seconds_of("--stall", stall)?);
    }
    Ok(())
}

/// Sets the timetable and the throttles. Those that are not given stay; `none` removes one.
fn set_steering(config: &mut Config, typed: [Option<&OsString>; 4]) -> Result<()> {
    let [schedule, load, full, pressure] = typed;
    if let Some(word) = schedule {
        config.timetable = match text_of("--schedule", word)? {
            "none" => None,
            text => Some(about("--schedule", Timetable::of_this_machine(text))?),
        };
    }
    let throttles = &mut config.throttles;
    if let Some(word) = load {
        throttles.set_load(text_of("--max-load", word)?)?;
    }
    if let Some(word) = full {
        throttles.set_full(text_of("--max-dest-full", word)?)?;
    }
    if let Some(word) = pressure {
        throttles.set_pressure(text_of("--max-pressure", word)?)?;
    }
    Ok(())
}

/// Sets when the run must have ended.
fn set_end(config: &mut Config, typed: [Option<&OsString>; 2]) -> Result<()> {
    let now = SystemTime::now();
    config.ends_at = match typed {
        [None, None] => return Ok(()),
        [Some(_), Some(_)] => return Err(Error::usage("--end-at and --end-in").remedy("give one of them")),
        [Some(time), None] => Some(about("--end-at", steer::until::at(text_of("--end-at", time)?, now))?),
        [None, Some(length)] => Some(about("--end-in", steer::until::after(text_of("--end-in", length)?, now))?),
    };
    if config.dry_run {
        return Err(Error::usage("--end-at and --end-in: this run copies nothing").remedy("leave them out"));
    }
    Ok(())
}

fn text_of<'w>(option: &str, word: &'w OsStr) -> Result<&'w str> {
    word.to_str().ok_or_else(|| Error::usage(format!("{option}: not text: {}", Printable::os(word))))
}

/// Sets what is verified, and whether that is all.
fn set_verification(config: &mut Config, matches: &ArgMatches) -> Result<()> {
    config.verify_only = matches.get_flag("verify-only");
    config.verify = match matches.get_one::<String>("verify").map(String::as_str) {
        Some(CHECKSUM) => Some(Depth::Checksum),
        Some(_) => Some(Depth::Quick),
        None => config.verify_only.then_some(Depth::Quick),
    };
    let Some(depth) = config.verify else { return Ok(()) };
    if config.dry_run {
        return Err(Error::usage("--verify and --dry-run: nothing is copied").remedy("give one of them"));
    }
    let asked = asking(&config.options, depth)?;
    if config.verify_only {
        config.options = asked;
    }
    Ok(())
}

/// Sets how much may be deleted.
fn set_delete_limit(config: &mut Config, matches: &ArgMatches) -> Result<()> {
    let Some(word) = matches.get_one::<OsString>("delete-limit") else { return Ok(()) };
    let text = word.to_str().unwrap_or("%");
    let limit = about("--delete-limit", text.parse::<DeleteLimit>())?;
    config.delete_limit = Some(limit);
    let copies_nothing = [("dry-run", config.dry_run), ("verify-only", config.verify_only)];
    match copies_nothing.into_iter().find(|(_, given)| *given) {
        Some((other, _)) => Err(Error::usage(format!("--delete-limit and --{other}: nothing is deleted"))
            .remedy("give one of them; to see what would be deleted add -n to the rsync options")),
        // A command that is left to the rsync that was typed has no options here.
        None if config.sources.is_empty() => Ok(()),
        None => refuse_limit(&config.options, limit),
    }
}

fn run(matches: &ArgMatches, words: &[OsString], cwd: PathBuf) -> Result<Run> {
    let word = |name: &str| matches.get_one::<OsString>(name);
    refusal::refuse_paths_for_options(matches, words)?;
    let typed = typed(matches, words)?;
    refusal::refuse_scheme(&typed.destination)?;
    let Ends { sources, destination, addresses } = Ends::parse(&typed.sources, &typed.destination)?;
    let options =
        Options::parse_str_with(word("rsync").map_or(OsStr::new(DEFAULT_RSYNC), |text| text), Aliases::installed())?;
    let mut config = Config::new(sources, destination, options, cwd);
    config.addresses = addresses;
    let keep_runs = configure(&mut config, matches, typed)?;
    Ok(Run {
        keep_runs,
        show: matches.get_flag("show"),
        requeues: matches.get_flag("requeue"),
        stats: matches.get_flag("stats"),
        wanted: monitoring::wanted(matches, &config)?,
        config,
        alone: None,
        again: words.iter().skip(1).cloned().collect(),
    })
}

/// Sets everything except what is copied, where to, and with which rsync options. Returns how long directories of unfinished runs are kept.
fn configure(config: &mut Config, matches: &ArgMatches, typed: Typed) -> Result<Keep> {
    let word = |name: &str| matches.get_one::<OsString>(name);
    let keep = keep_runs(matches)?;
    if let Some(count) = word("processes") {
        set_processes(config, count)?;
    }
    if let Some(count) = word("files") {
        let count = about("--files", size::parse_count(count))?;
        config.limits.entries = NonZero::try_from(count).unwrap_or(NonZero::<u64>::MAX);
    }
    if let Some(size) = word("size") {
        let size = about("--size", Size::parse(size))?;
        config.limits.bytes = NonZero::new(size.bytes()).unwrap_or(NonZero::<u64>::MAX);
    }
    threads::set(config, matches)?;
    config.limits_given = word("files").is_some() || word("size").is_some();
    set_hosts(config, matches, &typed)?;
    config.buckets = typed.buckets;
    config.keep = matches.get_flag("keep");
    // Progress options of rsync are taken as a request to multi-sync.
    let asked = config.options.meaning();
    config.progress = matches.get_count("progress") > 0 || asked.progress && !asked.quiet;
    config.shows_launches = matches.get_count("progress") > 1;
    config.dry_run = matches.get_flag("dry-run");
    config.gitignore = matches.get_flag("gitignore");
    config.figures = matches.get_flag("stats");
    config.state = runs::place().ok().filter(|_| keep.days > 0);
    set_patience(config, word("retries"), word("stall"))?;
    set_steering(config, [word("schedule"), word("max-load"), word("max-dest-full"), word("max-pressure")])?;
    set_verification(config, matches)?;
    config.check_steering()?;
    let wanted = matches.get_one::<String>("remote-scan").and_then(|word| RemoteScan::parse(word));
    config.remote_scan = wanted.unwrap_or_default();
    let by = matches.get_one::<String>("scan-by").and_then(|word| ScanBy::parse(word));
    config.scan_by = by.unwrap_or_default();
    config.check_far_sources()?;
    config.check_scan_by()?;
    config.check_addresses()?;
    set_delete_limit(config, matches)?;
    Ok(keep)
}

/// Reads `DAYS` or `DAYS,COUNT`.
fn keep_runs(matches: &ArgMatches) -> Result<Keep> {
    let Some(word) = matches.get_one::<OsString>("keep-runs") else { return Ok(Keep::USUAL) };
    let read = || {
        let text = word.to_str()?;
        let (days, most) = match text.split_once(',') {
            Some((days, most)) => (days, most.parse().ok().filter(|most| *most > 0)?),
            None => (text, Keep::USUAL.most),
        };
        Some(Keep { days: days.parse().ok()?, most })
    };
    read().ok_or_else(|| {
        Error::usage(format!("--keep-runs: not a number of days: {}", Printable::os(word)))
            .remedy("write DAYS or DAYS,COUNT, such as 30,50; 0 keeps none")
    })
}

fn about<T>(option: &str, value: Result<T>) -> Result<T> {
    value.map_err(|error| {
        let advice = error.advice().map(str::to_owned);
        let named = Error::usage(option.to_owned()).because(error);
        advice.into_iter().fold(named, Error::remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Run> {
        let words = std::iter::once("multi-sync").chain(words.iter().copied()).map(OsString::from).collect();
        match parse(words, || Ok("/cwd".into()))? {
            Request::Run(run) => Ok(*run),
            Request::Print(text) => panic!("{text}"),
            _ => panic!("no new copy"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn rsync_options_may_stand_anywhere() {
        for words in [
            ["-r", "-a --numeric-ids", "s", "d", "-p", "2"],
            ["s", "-p", "2", "-r", "-a --numeric-ids", "d"],
            ["s", "d", "-p", "2", "-r", "-a --numeric-ids"],
            ["-p2", "s", "d", "-k", "--rsync", "-a --numeric-ids"],
        ] {
            let run = parsed(&words).unwrap();
            assert_eq!(run.config.processes.get(), 2, "{words:?}");
            assert_eq!(run.config.options.argv(), ["-a", "--numeric-ids"], "{words:?}");
        }
        assert_eq!(parsed(&["s", "d", "-r-a"]).unwrap().config.options.argv(), ["-a"]);
    }

    #[test]
    fn progress_may_be_asked_of_rsync() {
        for (options, expected) in
            [("-a", false), ("-aP", true), ("-a --progress", true), ("-a --info=progress2", true), ("-aqP", false)]
        {
            assert_eq!(parsed(&["s", "d", "-r", options]).unwrap().config.progress, expected, "{options}");
            assert!(parsed(&["s", "d", "-P", "-r", options]).unwrap().config.progress);
        }
    }

    #[test]
    fn the_number_of_processes_may_be_found() {
        let config = parsed(&["-p", "auto", "s", "d"]).unwrap().config;
        assert!(config.adapts && config.processes.get() > 1);
        assert!(!parsed(&["-p", "3", "s", "d"]).unwrap().config.adapts);
    }

    #[test]
    fn the_command_line_of_the_selftest_is_true() {
        trials::reads_itself().unwrap();
    }

    #[test]
    fn a_word_that_is_refused_is_named() {
        for (words, named) in [
            (&["-p", "0", "s", "d"][..], "--processes"),
            (&["-f", "0", "s", "d"], "--files"),
            (&["--scan-threads", "many", "s", "d"], "--scan-threads"),
            (&["--scan-threads", "100000", "s", "d"], "100000"),
            (&["-s", "10KK", "s", "d"], "10KK"),
            (&["-s", "1Y", "s", "d"], "--size"),
            (&["--frobnicate", "s", "d"], "--frobnicate"),
            (&["-v", "-p", "2", "s", "d"], "-v and --version print"),
            (&["s", "-host:d"], "'-o' in '-host:d'"),
            (&["s", "-vault:d"], "'-a' in '-vault:d'"),
            (&["-m", "both", "s", "d"], "both"),
            (&["-m", "many-to-one", "s", "d"], "needs hosts"),
            (&["--hosts", "h", "s", "d"], "without --mode"),
            (&["--engine", "ssh", "s", "d"], "without --mode"),
            (&["-m", "many-to-one", "--engine", "blaunch sh", "--hosts", "h", "s", "d"], "no place for the host"),
            (
                &["-m", "many-to-one", "--engine", "x {host}", "--ssh", "ssh", "--hosts", "h", "s", "d"],
                "another engine",
            ),
            (&["-m", "many-to-one", "--hosts", "a,-b", "s", "d"], "'-b'"),
            (&["-m", "many-to-one", "--hosts", "h", "-p", "auto", "s", "d"], "auto"),
            (&["-t", "-e"], "--selftest and --bench"),
            (&["-t", "a", "b"], "one destination"),
            (&["-t", "-p", "2"], "--processes cannot be used with --selftest"),
            (&["-e", "s", "d"], "SRC and DEST cannot be used with --bench"),
            (&["-g", "--bench-dest", "d"], "--bench-dest cannot be used with --benchshm"),
            (&["-e", "--bench-entries", "0"], "--bench-entries"),
            (&["-e", "-k"], "--keep"),
            (&["--bench-runs", "2", "s", "d"], "--bench-runs"),
            (&["-t", "--resume", "d"], "--resume cannot be used with --selftest"),
            (&["--status", "d", "--stall", "3"], "--stall cannot be used"),
            (&["--resume", "d", "--gitignore"], "--gitignore cannot be given"),
            (&["--resume", "d", "--scan-threads", "2"], "--scan-threads cannot be given"),
            (&["--schedule", "Mon", "s", "d"], "it sets nothing"),
            (&["--end-at", "noon", "s", "d"], "--end-at"),
            (&["--end-at", "2020-01-01T00:00", "s", "d"], "is in the past"),
            (&["--end-in", "0", "s", "d"], "--end-in"),
            (&["--end-in", "5m", "--end-at", "09:00", "s", "d"], "--end-at and --end-in"),
            (&["-d", "--end-in", "5m", "s", "d"], "copies nothing"),
            (&["--max-load", "0", "s", "d"], "--max-load"),
            (&["--max-dest-full", "80:90", "s", "d"], "--max-dest-full"),
            (&["--max-dest-full", "90", "s", "h:d"], "does not see how full"),
            (&["--max-pressure", "disk=3", "s", "d"], "--max-pressure"),
            (&["-d", "--schedule", "else p=2", "s", "d"], "copies nothing"),
            (&["--pause", "s", "d"], "--pause without --set"),
            (&["--bwlimit", "5M", "s", "d"], "--bwlimit without --set"),
            (&["--stop", "rsync", "-a", "s", "d"], "--stop without --set"),
            (&["--set", "d", "--pause", "--continue"], "--pause and --continue"),
            (&["--set", "d", "--retries", "3"], "--retries cannot be used with --set"),
            (&["--set", "d", "rsync", "-a", "s", "d"], "--set and an rsync command"),
            (&["s"], "destination"),
            (&["-r", "-a 'x", "s", "d"], "no closing '"),
        ] {
            let error = parsed(words).err().unwrap_or_else(|| panic!("{words:?} was accepted"));
            assert!(error.to_string().contains(named), "{words:?}: {error}");
            assert_eq!(error.exit_code(), 1, "{words:?}");
        }
    }
}
