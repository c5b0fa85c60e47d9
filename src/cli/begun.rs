//! Requests about a run that was begun earlier.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::ArgMatches;
use clap::parser::ValueSource;
use multi_sync::command::runs::Form;
use multi_sync::command::steer;
use multi_sync::{Error, Result};

use super::definition::command;
use super::monitoring;
use super::outlets;
use super::{Request, is_many_to_one, text_of};

/// The options that may differ when a run is continued.
#[derive(Default)]
pub struct Overrides {
    pub(super) processes: Option<OsString>,
    pub(super) hosts: Option<OsString>,
    pub(super) hosts_file: Option<OsString>,
    pub(super) ssh: Option<OsString>,
    pub(super) engine: Option<OsString>,
    pub(super) retries: Option<OsString>,
    pub(super) stall: Option<OsString>,
    /// How often the option was given.
    pub(super) progress: u8,
    pub(super) stats: bool,
    pub(super) requeues: bool,
    pub(super) wanted: monitoring::Words,
    pub(super) outlets: outlets::Words,
    /// When this part must have ended, already computed as for a new run.
    pub(super) ends_at: Option<SystemTime>,
    /// `--end-at` and `--end-in`.
    pub(super) ends: [Option<OsString>; 2],
    /// `--schedule`, `--max-load`, `--max-dest-full` and `--max-pressure`.
    pub(super) steering: [Option<OsString>; 4],
}

impl Overrides {
    /// For a run that was begun with the same arguments, and has to end at this time.
    pub fn that_ends_at(ends_at: Option<SystemTime>) -> Overrides {
        Overrides { ends_at, ..Overrides::default() }
    }

    /// Whether none of the options concerns hosts.
    pub(super) fn is_silent_about_hosts(&self) -> bool {
        [&self.hosts, &self.hosts_file, &self.ssh, &self.engine].into_iter().all(Option::is_none)
    }

    /// Adds the hosts that are named now to the arguments of a run that named none, because it was begun in a Slurm job: without hosts the arguments are
    /// invalid.
    pub(super) fn among(&self, ours: Vec<OsString>, matches: ArgMatches) -> Result<(Vec<OsString>, ArgMatches)> {
        let names_some = matches.contains_id("hosts") || matches.contains_id("hosts-file");
        if names_some || self.is_silent_about_hosts() || !is_many_to_one(&matches) {
            return Ok((ours, matches));
        }
        let mut all = ours;
        for (name, value) in [("hosts", &self.hosts), ("hosts-file", &self.hosts_file), ("engine", &self.engine)] {
            if let Some(value) = value.as_ref().filter(|_| !matches.contains_id(name)) {
                let mut word = OsString::from(format!("--{name}="));
                word.push(value);
                all.insert(1, word);
            }
        }
        let matches = command().try_get_matches_from(&all).map_err(|error| {
            Error::usage("cannot understand the command line with which the run was started").because(error)
        })?;
        Ok((all, matches))
    }
}

/// Requests about a run that was begun earlier.
pub(super) fn about_a_run(matches: &ArgMatches) -> Result<Option<Request>> {
    let dir = |name: &str| matches.get_one::<OsString>(name).map(PathBuf::from);
    let asked = ["resume", "retry-failed", "status", "forget", "set"].map(|name| dir(name).is_some());
    let listed = matches.get_flag("runs");
    // `--runs --forget ID` is accepted, because its meaning is clear.
    if asked.iter().filter(|asked| **asked).count() + usize::from(listed && dir("forget").is_none()) > 1 {
        return Err(Error::usage("--resume, --retry-failed, --status, --set, --runs and --forget exclude each other")
            .remedy("give one of them"));
    }
    let form = if matches.get_flag("json") { Form::Json } else { Form::Text };
    let mut typed_paths = matches.get_many::<OsString>("paths").into_iter().flatten();
    if let Some(dir) = dir("set") {
        return set(matches, dir).map(Some);
    }
    let request = match (dir("resume"), dir("retry-failed"), dir("status"), dir("forget"), listed) {
        (Some(dir), ..) => resume(matches, dir, false)?,
        (_, Some(dir), ..) => resume(matches, dir, true)?,
        (_, _, Some(dir), ..) if matches.get_flag("follow") => Request::Follow(dir),
        (_, _, Some(dir), ..) => Request::Status(dir, form),
        (_, _, _, Some(dir), _) => Request::Forget(dir),
        (.., true) => {
            let named = typed_paths.next().map(PathBuf::from);
            if typed_paths.next().is_some() || named.is_some() && dir("buckets").is_some() {
                return Err(Error::usage("--runs takes one directory").remedy("give --runs DIR"));
            }
            Request::Runs(named.or(dir("buckets")), form)
        }
        _ => return Ok(None),
    };
    let tells_only = match request {
        Request::Status(..) | Request::Follow(_) => Some("--status"),
        Request::Runs(..) => Some("--runs"),
        Request::Forget(_) => Some("--forget"),
        _ => None,
    };
    if let Some(mode) = tells_only {
        let may: &[&str] = match request {
            Request::Runs(..) => &["runs", "buckets", "paths", "json"],
            Request::Forget(_) => &["runs", "forget"],
            _ => &["status", "json", "follow"],
        };
        return only(matches, mode, may).map(|()| Some(request));
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
        "delete-limit",
        "scan-threads",
        "remote-scan",
        "scan-by",
        "first-pass",
        "first-pass-threads",
        "keep-runs",
        "report-of",
    ];
    let typed = fixed.into_iter().find(|name| matches.contains_id(name));
    let flag = ["keep", "show", "dry-run", "verify-only", "gitignore", "mixed-users"]
        .into_iter()
        .find(|name| matches.get_flag(name));
    match typed.or(flag) {
        Some(name) => {
            let shown = if name == "paths" { "SRC and DEST".to_owned() } else { format!("--{name}") };
            Err(Error::usage(format!("{shown} cannot be given for a run that was started earlier"))
                .remedy("leave it out, because the run knows it already, or start another run"))
        }
        None => Ok(Some(request)),
    }
}

/// Refuses all other options with a mode that copies nothing.
fn only(matches: &ArgMatches, mode: &str, may: &[&str]) -> Result<()> {
    let typed = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    let command = command();
    let names = command.get_arguments().map(|argument| argument.get_id().as_str());
    match names.filter(|name| typed(name)).find(|name| !may.contains(name)) {
        Some(other) => {
            let other = if other == "paths" { "SRC and DEST".to_owned() } else { format!("--{other}") };
            Err(Error::usage(format!("{other} cannot be used with {mode}, which copies nothing"))
                .remedy("leave it out"))
        }
        None => Ok(()),
    }
}

/// A request to change a run that is going on. The run itself checks the values.
fn set(matches: &ArgMatches, dir: PathBuf) -> Result<Request> {
    only(matches, "--set", &["set", "processes", "bwlimit", "pause", "continue", "stop", "schedule"])?;
    let word = |name: &str| matches.get_one::<OsString>(name);
    let text = |name: &str| word(name).map(|word| text_of(&format!("--{name}"), word).map(str::to_owned)).transpose();
    let pause = match (matches.get_flag("pause"), matches.get_flag("continue")) {
        (true, true) => return Err(Error::usage("--pause and --continue").remedy("give one of them")),
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    let stop = matches.get_flag("stop");
    let request = steer::Request::new(text("processes")?, text("bwlimit")?, pause, stop, text("schedule")?);
    Ok(Request::Set { dir, request: Box::new(request) })
}

fn resume(matches: &ArgMatches, dir: PathBuf, failed_only: bool) -> Result<Request> {
    let word = |name: &str| matches.get_one::<OsString>(name).cloned();
    if matches.get_flag("requeue") {
        super::submitting::refuse_requeue_here()?;
    }
    let overrides = Overrides {
        processes: word("processes"),
        hosts: word("hosts"),
        hosts_file: word("hosts-file"),
        ssh: word("ssh"),
        engine: word("engine"),
        retries: word("retries"),
        stall: word("stall"),
        progress: matches.get_count("progress"),
        stats: matches.get_flag("stats"),
        requeues: matches.get_flag("requeue"),
        wanted: monitoring::Words::of(matches).below_here(),
        outlets: outlets::Words::of(matches).anywhere()?,
        ends_at: None,
        ends: ["end-at", "end-in"].map(word),
        steering: ["schedule", "max-load", "max-dest-full", "max-pressure"].map(word),
    };
    Ok(Request::Resume { dir, failed_only, overrides: Box::new(overrides) })
}
