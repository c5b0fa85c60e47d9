//! Self-test and benchmark on the command line.

use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;
use multi_sync::command::config::{Config, DEFAULT_RSYNC};
use multi_sync::command::endpoint::Destination;
use multi_sync::command::options::Options;
use multi_sync::command::size;
use multi_sync::command::temporary;
use multi_sync::harness::bench::{self, Shape};
use multi_sync::harness::selftest;
use multi_sync::{Error, Result};

use super::definition::command;
use super::refusal::suggestion;
use super::{Request, about, parse};

/// The mode: each one has options of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Copy,
    Selftest,
    Bench,
    Benchshm,
}

impl Mode {
    const OTHERS: [(&str, Mode); 3] =
        [("selftest", Mode::Selftest), ("bench", Mode::Bench), ("benchshm", Mode::Benchshm)];

    pub fn of(matches: &ArgMatches) -> Result<Mode> {
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

    /// Refuses an option that would have no effect.
    pub fn refuse_others(self, matches: &ArgMatches, words: &[OsString]) -> Result<()> {
        let typed = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let command = command();
        let names = command.get_arguments().map(|argument| argument.get_id().as_str());
        let Some(other) = names.filter(|name| typed(name)).find(|name| !self.takes(name)) else { return Ok(()) };
        let shown = if other == "paths" { "SRC and DEST".to_owned() } else { format!("--{other}") };
        let error = Error::usage(format!("{shown} cannot be used {}", self.shown()));
        // Letters that have another meaning for rsync.
        Err(match suggestion(words).filter(|_| self != Mode::Copy) {
            Some(line) => error.remedy(format!("for a copy with rsync's own options write: {line}")),
            None => error.remedy("see multi-sync help all"),
        })
    }

    fn shown(self) -> String {
        let flag = Mode::OTHERS.iter().find(|(_, mode)| *mode == self);
        flag.map_or_else(|| "without --bench".into(), |(flag, _)| format!("with --{flag}"))
    }
}

pub(super) fn selftest(matches: &ArgMatches, words: &[OsString], cwd: PathBuf) -> Result<selftest::Request> {
    let mut paths = matches.get_many::<OsString>("paths").into_iter().flatten();
    let destination = paths.next().map(|path| Destination::parse(path)).transpose()?;
    if paths.next().is_some() {
        let error = Error::usage("--selftest takes one destination");
        return Err(match suggestion(words) {
            Some(line) => error.remedy(format!("for a copy with rsync's own options write: {line}")),
            None => error.remedy("write multi-sync selftest DEST"),
        });
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

/// A benchmark in memory.
pub(super) fn benchshm(matches: &ArgMatches, cwd: PathBuf) -> Result<bench::Request> {
    let place = std::env::var_os("SHM").filter(|shm| !shm.is_empty()).unwrap_or_else(|| SHM.into());
    Ok(bench::Request { in_memory: true, ..bench(matches, cwd, place.into())? })
}

/// The usual place of a file system in memory, unless the environment names another one.
const SHM: &str = "/dev/shm";

pub(super) fn bench(matches: &ArgMatches, cwd: PathBuf, place: PathBuf) -> Result<bench::Request> {
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

/// Checks the parsing of command lines whose meaning is known, for the self-test.
pub(super) fn reads_itself() -> std::result::Result<(), String> {
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
