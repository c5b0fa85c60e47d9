//! The command line: with its [`definition`] the only place that knows clap. It says what was typed; [`Config`] says what is meant.

mod definition;
mod line;
mod prefixed;

use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use multi_sync::bench::{self, Shape};
use multi_sync::config::{Config, DEFAULT_RSYNC, Depth, most_processes};
use multi_sync::endpoint::{Destination, Source};
use multi_sync::entry::Printable;
use multi_sync::hosts::{self, Host, Ssh};
use multi_sync::recheck;
use multi_sync::rsync::command::Quoted;
use multi_sync::rsync::options::{Aliases, Options};
use multi_sync::rundir::Keep;
use multi_sync::selftest;
use multi_sync::size::{self, Size};
use multi_sync::state;
use multi_sync::temporary;
use multi_sync::{Error, Result};

use crate::folder::Typed;
use definition::{AUTO, CHECKSUM, CONFIG, MANY_TO_ONE, command};
use line::Line;
pub use prefixed::Alone;

/// What the command is to do.
pub enum Request {
    /// Copy.
    Run(Box<Run>),
    /// Become the rsync that was typed: nothing is added to what it does.
    Alone(Alone),
    /// Print this and end with 0.
    Print(String),
    /// Test this machine.
    Selftest(Box<selftest::Request>),
    /// Measure it.
    Bench(Box<bench::Request>),
    /// Go on with a run.
    Resume {
        /// Its directory.
        dir: PathBuf,
        /// Launch once more what failed, and nothing else.
        failed_only: bool,
        /// What may be typed anew.
        overrides: Overrides,
    },
    /// Print where a run stands.
    Status(PathBuf),
    /// Print the runs below this folder, or in the usual places.
    Runs(Option<PathBuf>),
    /// Remove the directory of a run.
    Forget(PathBuf),
}

/// What may differ when a run goes on.
#[derive(Default)]
pub struct Overrides {
    processes: Option<OsString>,
    hosts: Option<OsString>,
    hosts_file: Option<OsString>,
    ssh: Option<OsString>,
    retries: Option<OsString>,
    stall: Option<OsString>,
    progress: bool,
    stats: bool,
}

/// A copy, and what only the command does with it.
pub struct Run {
    /// The run.
    pub config: Config,
    /// Print the bucket directory.
    pub show: bool,
    /// Print statistics at the end.
    pub stats: bool,
    /// The rsync that was typed, where it may take the place of this program if one rsync does it all.
    pub alone: Option<Alone>,
    /// The words that ask for the same again, without the program's name.
    pub again: Vec<OsString>,
    /// How long directories of runs stay that did not come to their end.
    pub keep_runs: Keep,
}

/// Reads the command line. `words` starts with the program's name.
///
/// # Errors
/// Usage: the message names the word, and nothing has been looked at or written yet.
pub fn parse(words: Vec<OsString>, cwd: impl FnOnce() -> Result<PathBuf>) -> Result<Request> {
    let line = Line::divide(&words)?;
    let matches = command().try_get_matches_from(&line.ours).map_err(|error| refusal(&error, &line.ours))?;
    if matches.get_flag("help") {
        return Ok(Request::Print(command().render_help().to_string()));
    }
    if let Some(rsync) = line.rsync {
        return rsync.request(&matches, &line.ours, cwd);
    }
    if matches.get_flag("version") {
        refuse_to_copy(&matches)?;
        return Ok(Request::Print(command().render_version()));
    }
    let mode = Mode::of(&matches)?;
    mode.refuse_others(&matches)?;
    Ok(match mode {
        Mode::Copy => match about_a_run(&matches)? {
            Some(request) => request,
            None => Request::Run(Box::new(run(&matches, &words, cwd()?)?)),
        },
        Mode::Selftest => Request::Selftest(Box::new(selftest(&matches, cwd()?)?)),
        Mode::Bench => Request::Bench(Box::new(bench(&matches, cwd()?, temporary::usual())?)),
        Mode::Benchshm => {
            let place = std::env::var_os("SHM").filter(|shm| !shm.is_empty()).unwrap_or_else(|| SHM.into());
            let in_memory = bench(&matches, cwd()?, place.into())?;
            Request::Bench(Box::new(bench::Request { in_memory: true, ..in_memory }))
        }
    })
}

/// What is done: each has options of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Copy,
    Selftest,
    Bench,
    Benchshm,
}

impl Mode {
    const OTHERS: [(&str, Mode); 3] =
        [("selftest", Mode::Selftest), ("bench", Mode::Bench), ("benchshm", Mode::Benchshm)];

    fn of(matches: &ArgMatches) -> Result<Mode> {
        let mut asked = Mode::OTHERS.iter().filter(|(flag, _)| matches.get_flag(flag));
        match (asked.next(), asked.next()) {
            (Some((first, _)), Some((second, _))) => {
                Err(Error::usage(format!("--{first} and --{second}")).remedy("give one of them"))
            }
            (Some((_, mode)), None) => Ok(*mode),
            (None, _) => Ok(Mode::Copy),
        }
    }

    fn takes(self, argument: &str) -> bool {
        let is_mode = Mode::OTHERS.iter().any(|(flag, _)| *flag == argument);
        let of_bench = argument.starts_with("bench-");
        match self {
            Mode::Copy => !is_mode && !of_bench,
            Mode::Selftest => is_mode || ["rsync", "paths"].contains(&argument),
            Mode::Bench => is_mode || of_bench || argument == "rsync",
            // Source and destination are in memory.
            Mode::Benchshm => is_mode || of_bench && argument != "bench-dest" || argument == "rsync",
        }
    }

    /// An option that would change nothing is refused.
    fn refuse_others(self, matches: &ArgMatches) -> Result<()> {
        let typed = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let command = command();
        let names = command.get_arguments().map(|argument| argument.get_id().as_str());
        let Some(other) = names.filter(|name| typed(name)).find(|name| !self.takes(name)) else { return Ok(()) };
        let other = if other == "paths" { "SRC and DEST".to_owned() } else { format!("--{other}") };
        Err(Error::usage(format!("{other} cannot be used {}", self.shown())).remedy("see multi-sync --help"))
    }

    fn shown(self) -> String {
        let flag = Mode::OTHERS.iter().find(|(_, mode)| *mode == self);
        flag.map_or_else(|| "without --bench".into(), |(flag, _)| format!("with --{flag}"))
    }
}

fn selftest(matches: &ArgMatches, cwd: PathBuf) -> Result<selftest::Request> {
    let mut paths = matches.get_many::<OsString>("paths").into_iter().flatten();
    let destination = paths.next().map(|path| Destination::parse(path)).transpose()?;
    if paths.next().is_some() {
        return Err(Error::usage("--selftest takes one destination").remedy("see multi-sync --help"));
    }
    let typed = matches.get_one::<OsString>("rsync");
    Ok(selftest::Request {
        destination,
        options: Options::parse_str(typed.map_or(OsStr::new(""), |text| text))?,
        cwd,
        command: this_command()?,
        temporary: temporary::usual(),
        command_line: reads_itself,
    })
}

fn this_command() -> Result<PathBuf> {
    std::env::current_exe().map_err(|cause| Error::usage("cannot find this program").because(cause))
}

/// Where file systems in memory are, if the environment does not say.
const SHM: &str = "/dev/shm";

fn bench(matches: &ArgMatches, cwd: PathBuf, place: PathBuf) -> Result<bench::Request> {
    let word = |name: &str| matches.get_one::<OsString>(name);
    let count = |name: &str| {
        let count = word(name).map(|count| about(&format!("--{name}"), size::parse_count(count))).transpose()?;
        Ok::<_, Error>(count.map(|count| count.get()))
    };
    let too_many = || Error::usage("--bench-runs is too large");
    let runs = count("bench-runs")?.map(|runs| u32::try_from(runs).map_err(|_| too_many())).transpose()?;
    Ok(bench::Request {
        shape: word("bench-shape").map_or(Shape::Msrsync, |path| Shape::At(path.into())),
        entries: count("bench-entries")?.and_then(|count| NonZero::new(count as u64)),
        runs: runs.and_then(NonZero::new).unwrap_or(bench::DEFAULT_RUNS),
        command: this_command()?,
        rsync: word("rsync").cloned().unwrap_or_else(|| DEFAULT_RSYNC.into()),
        cwd,
        place,
        in_memory: false,
        destination: word("bench-dest").map(|path| Destination::parse(path)).transpose()?,
        json: word("bench-json").map(PathBuf::from),
        chart: word("bench-chart").map(PathBuf::from),
    })
}

/// Command lines of which it is known what they mean, for the self-test.
fn reads_itself() -> std::result::Result<(), String> {
    let read = |words: &[&str]| {
        let words = std::iter::once("multi-sync").chain(words.iter().copied()).map(OsString::from).collect();
        parse(words, || Ok("/".into()))
    };
    for words in [
        &["-p", "3", "-f", "500", "-s", "2G", "-r", "-a --delete", "from/", "to"][..],
        &["from/", "to", "--size=2147483648", "--rsync", "-a --delete", "--files=500", "--processes=3"],
        &["-p3", "from/", "-f500", "to", "-s2g", "-r-a --delete"],
    ] {
        let Ok(Request::Run(run)) = read(words) else { return Err(format!("{words:?} is not taken for a copy")) };
        let Config { processes, limits, options, .. } = &run.config;
        let meant = (processes.get(), limits.entries.get(), limits.bytes.get(), options.argv());
        if meant != (3, 500, 2 << 30, vec!["-a".into(), "--delete".into()]) {
            return Err(format!("{words:?} is read as {meant:?}"));
        }
    }
    for words in
        [&[][..], &["from"], &["-p", "0", "from", "to"], &["-s", "1X", "from", "to"], &["--no-such", "from", "to"]]
    {
        if read(words).is_ok() {
            return Err(format!("{words:?} is accepted"));
        }
    }
    Ok(())
}

/// Requests about a run that was begun before.
fn about_a_run(matches: &ArgMatches) -> Result<Option<Request>> {
    let dir = |name: &str| matches.get_one::<OsString>(name).map(PathBuf::from);
    let asked =
        [dir("resume").is_some(), dir("retry-failed").is_some(), dir("status").is_some(), dir("forget").is_some()];
    let listed = matches.get_flag("runs");
    // `--runs --forget ID` is taken for what is meant.
    if asked.iter().filter(|asked| **asked).count() + usize::from(listed && dir("forget").is_none()) > 1 {
        return Err(Error::usage("--resume, --retry-failed, --status, --runs and --forget exclude each other")
            .remedy("give one of them"));
    }
    let mut typed_paths = matches.get_many::<OsString>("paths").into_iter().flatten();
    let request = match (dir("resume"), dir("retry-failed"), dir("status"), dir("forget"), listed) {
        (Some(dir), ..) => resume(matches, dir, false),
        (_, Some(dir), ..) => resume(matches, dir, true),
        (_, _, Some(dir), ..) => Request::Status(dir),
        (_, _, _, Some(dir), _) => Request::Forget(dir),
        (.., true) => {
            let named = typed_paths.next().map(PathBuf::from);
            if typed_paths.next().is_some() || named.is_some() && dir("buckets").is_some() {
                return Err(Error::usage("--runs takes one directory").remedy("give --runs DIR"));
            }
            Request::Runs(named.or(dir("buckets")))
        }
        _ => return Ok(None),
    };
    let tells_only = match request {
        Request::Status(_) => Some("--status"),
        Request::Runs(_) => Some("--runs"),
        Request::Forget(_) => Some("--forget"),
        _ => None,
    };
    if let Some(mode) = tells_only {
        let may: &[&str] = match request {
            Request::Runs(_) => &["runs", "buckets", "paths"],
            Request::Forget(_) => &["runs", "forget"],
            _ => &["status"],
        };
        let typed = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let command = command();
        let names = command.get_arguments().map(|argument| argument.get_id().as_str());
        return match names.filter(|name| typed(name)).find(|name| !may.contains(name)) {
            Some(other) => {
                let other = if other == "paths" { "SRC and DEST".to_owned() } else { format!("--{other}") };
                Err(Error::usage(format!("{other} cannot be used with {mode}, which copies nothing"))
                    .remedy("leave it out"))
            }
            None => Ok(Some(request)),
        };
    }
    let fixed = [
        "paths",
        "rsync",
        "files",
        "size",
        "buckets",
        "mode",
        "config",
        "host-timeout",
        "verify",
        "scan-threads",
        "keep-runs",
    ];
    let typed = fixed.into_iter().find(|name| matches.contains_id(name));
    let flag = ["keep", "show", "dry-run", "verify-only", "gitignore", "mixed-users"]
        .into_iter()
        .find(|name| matches.get_flag(name));
    match typed.or(flag) {
        Some(name) => {
            let shown = if name == "paths" { "SRC and DEST".to_owned() } else { format!("--{name}") };
            Err(Error::usage(format!("{shown} cannot be given for a run that was begun before"))
                .remedy("leave it out: the run knows it; or begin another run"))
        }
        None => Ok(Some(request)),
    }
}

fn resume(matches: &ArgMatches, dir: PathBuf, failed_only: bool) -> Request {
    let word = |name: &str| matches.get_one::<OsString>(name).cloned();
    let overrides = Overrides {
        processes: word("processes"),
        hosts: word("hosts"),
        hosts_file: word("hosts-file"),
        ssh: word("ssh"),
        retries: word("retries"),
        stall: word("stall"),
        progress: matches.get_flag("progress"),
        stats: matches.get_flag("stats"),
    };
    Request::Resume { dir, failed_only, overrides }
}

/// The run that was begun with these words in this directory, with what was typed anew.
pub fn parse_again(words: Vec<OsString>, cwd: PathBuf, overrides: &Overrides) -> Result<Run> {
    let line = Line::divide(&words)?;
    let matches = command().try_get_matches_from(&line.ours).map_err(|error| {
        Error::usage("the command line that the run was begun with is not understood").because(error)
    })?;
    let mut run = match line.rsync {
        Some(rsync) => Run { alone: None, ..rsync.run(&matches, &line.ours, cwd)? },
        None => run(&matches, &words, cwd)?,
    };
    if let Some(count) = &overrides.processes {
        set_processes(&mut run.config, count)?;
    }
    let (hosts, file) = (overrides.hosts.as_ref(), overrides.hosts_file.as_ref());
    let many = !run.config.hosts.is_empty();
    if !many && (hosts.is_some() || file.is_some() || overrides.ssh.is_some()) {
        return Err(
            Error::usage(format!("the run was not begun with --mode {MANY_TO_ONE}")).remedy("leave out the hosts")
        );
    }
    if hosts.is_some() || file.is_some() {
        run.config.hosts = read_hosts(hosts, file)?;
    }
    if let Some(ssh) = &overrides.ssh {
        run.config.ssh = Ssh::parse(ssh, run.config.ssh.cwd())?;
    }
    set_patience(&mut run.config, overrides.retries.as_ref(), overrides.stall.as_ref())?;
    run.config.progress |= overrides.progress;
    run.stats |= overrides.stats;
    run.config.figures = run.stats;
    Ok(run)
}

fn set_processes(config: &mut Config, count: &OsString) -> Result<()> {
    config.adapts = count == AUTO;
    config.processes = if config.adapts {
        most_processes(config.destination.is_local())
    } else {
        let count = about("--processes", size::parse_count(count))?;
        let most = most_numbers();
        if count.get() > most {
            return Err(Error::usage(format!("--processes: {count} are more processes than this system can have"))
                .remedy(format!("write a number from 1 to {most}, or {AUTO}")));
        }
        count
    };
    Ok(())
}

/// How many processes the system has numbers for.
fn most_numbers() -> usize {
    /// Of any system (proc_sys_kernel(5), `pid_max`).
    const LIMIT: usize = 1 << 22;
    let told = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok();
    told.and_then(|text| text.trim().parse().ok()).map_or(LIMIT, |most: usize| most.min(LIMIT))
}

fn read_hosts(list: Option<&OsString>, file: Option<&OsString>) -> Result<Vec<Host>> {
    match (list, file) {
        (Some(list), None) => about("--hosts", hosts::parse_list(list)),
        (None, Some(file)) => about("--hosts-file", hosts::parse_file(Path::new(file))),
        (Some(_), Some(_)) => Err(Error::usage("--hosts and --hosts-file").remedy("give one of them")),
        (None, None) => Err(Error::usage(format!("--mode {MANY_TO_ONE} needs hosts"))
            .remedy("give --hosts USER@HOST,... or --hosts-file FILE")),
    }
}

/// Where the rsyncs run.
fn set_hosts(config: &mut Config, matches: &ArgMatches, typed: &Typed) -> Result<()> {
    let word = |name: &str| matches.get_one::<OsString>(name);
    if matches.get_one::<String>("mode").is_none_or(|mode| mode != MANY_TO_ONE) {
        let about_hosts = ["hosts", "hosts-file", "ssh", "host-timeout"].into_iter().find(|name| word(name).is_some());
        let about_hosts = about_hosts.or(matches.get_flag("mixed-users").then_some("mixed-users"));
        return about_hosts.map_or(Ok(()), |name| {
            Err(Error::usage(format!("--{name} without --mode {MANY_TO_ONE}")).remedy(format!("add -m {MANY_TO_ONE}")))
        });
    }
    if config.adapts {
        return Err(Error::usage(format!("--processes {AUTO} with --mode {MANY_TO_ONE}"))
            .remedy("give a number, or USER@HOST*N for each host"));
    }
    let file = word("hosts-file")
        .cloned()
        .or(typed.hosts_file.clone())
        .filter(|_| word("hosts").is_none() || word("hosts-file").is_some());
    config.hosts = read_hosts(word("hosts"), file.as_ref())?;
    if let Some(ssh) = word("ssh") {
        config.ssh = Ssh::parse(ssh, &config.cwd)?;
    }
    config.mixed_users = matches.get_flag("mixed-users");
    if let Some(seconds) = word("host-timeout") {
        config.host_timeout = seconds_of("--host-timeout", seconds)?;
    }
    Ok(())
}

/// What is asked for by words, or by the files of a configuration folder.
fn typed(matches: &ArgMatches) -> Result<Typed> {
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
        _ => Err(Error::usage("a source and a destination are needed").remedy("see multi-sync --help")),
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

/// What is to be verified, and whether that is all.
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
    let asked = recheck::options(&config.options, depth)?;
    if config.verify_only {
        config.options = asked;
    }
    Ok(())
}

fn refusal(error: &clap::Error, words: &[OsString]) -> Error {
    let text = error.render().to_string();
    let mut text = text.strip_prefix("error: ").unwrap_or(&text).lines().next().unwrap_or_default().to_owned();
    if let (ErrorKind::UnknownArgument, Some(ContextValue::String(letter))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
        && let Some(cluster) = words.iter().find(|word| is_cluster_with(word, letter))
    {
        text = format!("unexpected argument '{letter}' in '{}'", Printable::os(cluster));
    }
    let remedy = match (error.kind(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::UnknownArgument, _) => {
            "see multi-sync --help; options of rsync go into --rsync 'OPTS', a name that begins with - goes after --"
                .into()
        }
        (ErrorKind::InvalidValue, Some(ContextValue::Strings(values))) => format!("write {}", values.join(" or ")),
        _ => "see multi-sync --help".into(),
    };
    Error::usage(text).remedy(remedy)
}

/// Whether `word` is more than the `letter` (with its dash) that stands in it.
fn is_cluster_with(word: &OsStr, letter: &str) -> bool {
    match (word.as_bytes(), letter.as_bytes()) {
        ([b'-', letters @ ..], [b'-', letter]) if *letter != b'-' => letters.len() > 1 && letters.contains(letter),
        _ => false,
    }
}

/// `-v SRC DEST` is what one types with rsync.
fn refuse_to_copy(matches: &ArgMatches) -> Result<()> {
    let paths: Vec<&OsString> = matches.get_many("paths").into_iter().flatten().collect();
    if paths.is_empty() {
        return Ok(());
    }
    let options = matches.get_one::<OsString>("rsync").map_or(DEFAULT_RSYNC.into(), |text| text.to_string_lossy());
    let meant = format!("{options} -v");
    let paths = paths.iter().map(|path| Quoted(path).to_string()).collect::<Vec<_>>().join(" ");
    Err(Error::usage("-v and --version print the version of multi-sync, and nothing is copied")
        .remedy(format!("to see what is copied: multi-sync --rsync {} {paths}", Quoted(OsStr::new(&meant)))))
}

/// Threads look for work at each other: 1024 of them took 17 s for eight files, 256 less than one.
const MOST_SCAN_THREADS: usize = 256;

fn run(matches: &ArgMatches, words: &[OsString], cwd: PathBuf) -> Result<Run> {
    let word = |name: &str| matches.get_one::<OsString>(name);
    let typed = typed(matches)?;
    let destination = Destination::parse(&typed.destination)?;
    let sources = typed.sources.iter().map(|path| Source::parse(path)).collect::<Result<Vec<_>>>()?;
    let options =
        Options::parse_str_with(word("rsync").map_or(OsStr::new(DEFAULT_RSYNC), |text| text), Aliases::installed())?;
    let mut config = Config::new(sources, destination, options, cwd);
    let keep_runs = configure(&mut config, matches, typed)?;
    Ok(Run {
        config,
        keep_runs,
        show: matches.get_flag("show"),
        stats: matches.get_flag("stats"),
        alone: None,
        again: words.iter().skip(1).cloned().collect(),
    })
}

/// Everything but what is copied, where to, and with which options of rsync. Gives how long what is left of a run stays.
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
    if let Some(count) = word("scan-threads") {
        let count = about("--scan-threads", size::parse_count(count))?;
        if count.get() > MOST_SCAN_THREADS {
            return Err(Error::usage(format!(
                "--scan-threads: {count} are more threads than a machine can be asked for"
            ))
            .remedy(format!("write a whole number from 1 to {MOST_SCAN_THREADS}")));
        }
        config.scan_threads = Some(count);
    }
    config.limits_given = word("files").is_some() || word("size").is_some();
    set_hosts(config, matches, &typed)?;
    config.buckets = typed.buckets;
    config.keep = matches.get_flag("keep");
    // Asked of the whole, as everything that one rsync is asked.
    let asked = config.options.meaning();
    config.progress = matches.get_flag("progress") || asked.progress && !asked.quiet;
    config.dry_run = matches.get_flag("dry-run");
    config.gitignore = matches.get_flag("gitignore");
    config.figures = matches.get_flag("stats");
    config.state = state::place().ok().filter(|_| keep.days > 0);
    set_patience(config, word("retries"), word("stall"))?;
    set_verification(config, matches)?;
    Ok(keep)
}

/// `DAYS` or `DAYS,COUNT`.
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
        reads_itself().unwrap();
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
            (&["s"], "destination"),
            (&["-r", "-a 'x", "s", "d"], "no closing '"),
            (&["host:s", "d"], "host:s"),
        ] {
            let error = parsed(words).err().unwrap_or_else(|| panic!("{words:?} was accepted"));
            assert!(error.to_string().contains(named), "{words:?}: {error}");
            assert_eq!(error.exit_code(), 1, "{words:?}");
        }
    }
}
