//! Where the records of a run are written: `--events`, `--progress-interval` and `--report`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use multi_sync::command::config::Config;
use multi_sync::command::outlet::{Outlet, ReportFile};
use multi_sync::{Error, Result};

use super::definition::command;
use super::{Request, seconds_of};

/// The options as they were typed.
#[derive(Default)]
pub(super) struct Words {
    events: Option<OsString>,
    interval: Option<OsString>,
    report: Option<OsString>,
}

impl Words {
    pub fn of(matches: &ArgMatches) -> Words {
        let word = |name: &str| matches.get_one::<OsString>(name).cloned();
        Words { events: word("events"), interval: word("progress-interval"), report: word("report") }
    }

    /// Whether one of them is a stream of this process.
    pub fn is_for_streams(&self) -> bool {
        self.events.as_ref().is_some_and(is_stream)
    }

    /// Without those that were streams of another process.
    pub fn of_an_earlier_part(mut self) -> Words {
        self.events = self.events.filter(|word| !is_stream(word));
        if self.events.is_none() && self.report.is_none() {
            self.interval = None;
        }
        self
    }

    /// Replaces those that were given again.
    pub fn anew(self, typed: &Words) -> Words {
        let Words { events, interval, report } = typed;
        Words {
            events: events.clone().or(self.events),
            interval: interval.clone().or(self.interval),
            report: report.clone().or(self.report),
        }
    }

    /// Makes paths absolute, so that they are valid in another directory.
    ///
    /// # Errors
    /// The working directory cannot be determined.
    pub fn anywhere(mut self) -> Result<Words> {
        for word in self.events.iter_mut().filter(|word| !is_stream(word)).chain(self.report.iter_mut()) {
            if !word.is_empty() {
                let path = std::path::absolute(&*word);
                *word = path.map_err(|cause| Error::usage("cannot find the working directory").because(cause))?.into();
            }
        }
        Ok(self)
    }

    /// Applies the options.
    ///
    /// # Errors
    /// One of them is invalid, or has no effect here.
    pub fn set(&self, config: &mut Config) -> Result<()> {
        let outlets = &mut config.outlets;
        if let Some(word) = &self.events {
            outlets.events = Some(Outlet::parse(word, &config.cwd)?);
        }
        if let Some(word) = &self.report {
            outlets.report = Some(ReportFile::parse(word, &config.cwd)?);
            outlets.refuse_one_file()?;
        }
        if let Some(word) = &self.interval {
            if outlets.is_empty() {
                return Err(Error::usage("--progress-interval without --events or --report")
                    .remedy("add one of them, or leave it out"));
            }
            outlets.interval = seconds_of("--progress-interval", word)?;
        }
        Ok(())
    }
}

fn is_stream(word: &OsString) -> bool {
    word == "-" || word.as_bytes().starts_with(b"fd:")
}

/// `--report-of EVENTS --report FILE`: writes a report, and copies nothing.
pub(super) fn report_of(events: &OsString, matches: &ArgMatches, cwd: &Path) -> Result<Request> {
    let typed = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    let command = command();
    let mut names = command.get_arguments().map(|argument| argument.get_id().as_str()).filter(|name| typed(name));
    if let Some(other) = names.find(|name| !["report-of", "report"].contains(name)) {
        let other = if other == "paths" { "SRC and DEST".to_owned() } else { format!("--{other}") };
        return Err(Error::usage(format!("{other} cannot be used with a report of events, which copies nothing"))
            .remedy("leave it out"));
    }
    let Some(report) = matches.get_one::<OsString>("report") else {
        return Err(Error::usage("no file was named for the report")
            .remedy("write multi-sync report EVENTS FILE.html (or .json, .csv)"));
    };
    let events = if events == OsStr::new("-") { None } else { Some(cwd.join(PathBuf::from(events))) };
    Ok(Request::Report { events, report: ReportFile::parse(report, cwd)? })
}
