//! Surveys on the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;
use multi_sync::harness::survey;
use multi_sync::{Error, Result};

use super::definition::command;
use super::line::Line;
use super::outlets;
use super::{Request, run, seconds_of};

/// The destination if none is given.
const NOWHERE: &str = "/dev/null/nowhere";

/// The options that can be used with a survey.
const MAY: [&str; 16] = [
    "survey",
    "json",
    "trial-seconds",
    "processes",
    "files",
    "size",
    "rsync",
    "scan-threads",
    "gitignore",
    "report",
    "paths",
    "mode",
    "hosts",
    "hosts-file",
    "ssh",
    "config",
];

/// The survey for a copy, or for a source alone.
pub(super) fn request(matches: &ArgMatches, line: Line, cwd: impl FnOnce() -> Result<PathBuf>) -> Result<Request> {
    let names = command();
    let names = names.get_arguments().map(|argument| argument.get_id().as_str());
    let typed = |name: &&str| matches.value_source(name) == Some(ValueSource::CommandLine);
    if let Some(other) = names.filter(typed).find(|name| !MAY.contains(name)) {
        return Err(Error::usage(format!("--{other} cannot be used with --survey, which copies nothing"))
            .remedy("leave it out"));
    }
    let time = matches.get_one::<OsString>("trial-seconds");
    let trial: Option<Duration> = time.map(|seconds| seconds_of("--trial-seconds", seconds)).transpose()?;
    let count = matches.get_many::<OsString>("paths").map_or(0, Iterator::count);
    let has_destination = line.rsync.is_some() || count != 1;
    let mut config = match line.rsync {
        Some(rsync) => match rsync.request(matches, &line.ours, false, cwd)? {
            Request::Run(run) => run.config,
            _ => return Err(Error::usage("--survey: this rsync command copies nothing").remedy("give SRC and DEST")),
        },
        None if has_destination => run(matches, &line.ours, cwd()?)?.config,
        None => {
            let mut words = line.ours;
            words.push(NOWHERE.into());
            let matches = command().try_get_matches_from(&words).map_err(|cause| {
                Error::usage("SRC of a survey is not understood").because(cause).remedy("write it before the options")
            })?;
            run(&matches, &words, cwd()?)?.config
        }
    };
    outlets::Words::of(matches).set(&mut config)?;
    let request = Box::new(survey::Request { config, has_destination, trial });
    Ok(Request::Survey { request, json: matches.get_flag("json") })
}

/// Refuses options that only a survey has.
pub(super) fn refuse_without(matches: &ArgMatches) -> Result<()> {
    if matches.contains_id("trial-seconds") {
        return Err(Error::usage("--trial-seconds without --survey").remedy("write multi-sync survey, or leave it out"));
    }
    let tells = matches.get_flag("runs") || matches.contains_id("status");
    if matches.get_flag("json") && !tells {
        return Err(Error::usage("--json without --survey, --status or --runs").remedy("leave it out"));
    }
    Ok(())
}
