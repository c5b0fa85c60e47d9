//! `multi-sync set`: sends a request to a running run, and shows the settings in force.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::engine::Answer;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::exit;
use crate::run_dir::{self, Asked, Asking};
use crate::steer::{self, Change, Request};

use super::kept::what_to_type;

/// After `SILENT`, the user is told that there is no answer yet; after `LONGEST`, the command gives up.
const SILENT: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// Sends a request to the run that a word means, and waits for the answer until `is_stopped`. `tell` is called if that takes long. The text shows the settings
/// in force.
///
/// # Errors
/// A value is wrong, no process works on the run, the run refuses or does not answer, or the command was stopped.
pub fn set(typed: &Path, request: &Request, is_stopped: &dyn Fn() -> bool, tell: &dyn Fn(&str)) -> Result<String> {
    // Checks the request before anything is written.
    Change::read(request)?;
    let dir = run_dir::find(typed)?;
    run_dir::refuse_stranger(&dir)?;
    Asked::read(&dir)?;
    let shown = Printable::path(&dir).to_string();
    let mut told = false;
    let asked = run_dir::ask(&dir, request, &mut |waited| {
        if waited >= SILENT && !std::mem::replace(&mut told, true) {
            tell(&format!("the run has not answered for {} s; waiting for it", SILENT.as_secs()));
        }
        is_stopped() || waited >= LONGEST
    })?;
    let stopped = is_stopped();
    let silent = |then: &str| match stopped {
        true => Error::interrupted(format!("interrupted: {then}")),
        false => Error::system(format!("the run in {shown} has not answered for {} s: {then}", LONGEST.as_secs()))
            .exit(exit::TIMEOUT),
    };
    match asked {
        Asking::Ended => Err(Error::usage(format!("the run in {shown} is not running"))
            .remedy(format!("resume it: {}", what_to_type(&dir, false)))),
        Asking::GivenUp => Err(silent("nothing was changed")
            .remedy("check whether its process is stopped, or its directory cannot be read there")),
        Asking::Taken => Err(silent("the run has accepted the request, and may still carry it out")
            .remedy("ask for its settings with `multi-sync set`; if it does not answer, check whether anything reads what it prints")),
        Asking::Answered(answer) => {
            let answer: Answer = serde_json::from_value(answer)
                .map_err(|cause| Error::usage("cannot understand the answer of the run").because(cause))?;
            match answer.refused {
                Some(why) => {
                    let error = Error::usage(format!("the run refuses: {why}"));
                    Err(answer.remedy.into_iter().fold(error, Error::remedy))
                }
                None => Ok(text(&answer)),
            }
        }
    }
}

/// The settings in force.
fn text(answer: &Answer) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name}: {value}");
    };
    let Answer { processes, allowed, running, .. } = *answer;
    match &answer.one_rsync {
        Some(why) => line("Processes", format!("one rsync does it all ({why})")),
        None => {
            let fewer = if allowed < processes { format!(", of which {allowed} may run now") } else { String::new() };
            let too_many = if running > processes { "; the surplus ones finish their work" } else { "" };
            line("Processes", format!("{processes} at most{fewer}, {running} running{too_many}"));
            let all = if answer.bandwidth.is_some() { " for all rsyncs together that start from now on" } else { "" };
            line("Bandwidth", format!("{}{all}", steer::shown(answer.bandwidth)));
        }
    }
    let paused = if answer.paused.is_empty() { "no".to_owned() } else { answer.paused.join(", and ") };
    line("Paused", paused);
    answer.risk.iter().for_each(|risk| line("In the pause", risk.clone()));
    if answer.stops {
        line("Ends", "when the running rsyncs have finished".to_owned());
    }
    if let Some(schedule) = &answer.schedule {
        let until = answer.until.as_ref().map_or(String::new(), |until| format!(" (next change: {until})"));
        line("Timetable", format!("{schedule}{until}"));
    }
    answer.throttles.iter().for_each(|throttles| line("Pauses at", throttles.clone()));
    text
}
