//! The self-test: does multi-sync work on this machine, with this rsync, and to this destination?
//!
//! It consists of named checks through the public API and, if a run has to be interrupted from outside, with the command, in temporary folders that are
//! removed afterwards. The comparison of trees comes first and has to find planted differences of every kind, because a check that cannot fail proves
//! nothing. Then come checks of the machine, then those of msrsync's built-in tests, then checks of properties that one rsync has and lists of files easily
//! lose.

mod copies;
mod environment;
mod ground;
mod kept;
mod oracle;
mod words;

use std::fmt;
use std::path::PathBuf;

use crate::endpoint::Destination;
use crate::error::{Error, Result};
use crate::rsync::exit;
use crate::rsync::options::Options;
use crate::trial::Stopper;
use ground::Ground;

/// What is tested.
pub struct Request {
    /// Where copies go: a new folder in this place, or in the temporary folder.
    pub destination: Option<Destination>,
    /// rsync's options for every copy, such as how to reach the destination.
    pub options: Options,
    /// The user's working directory.
    pub cwd: PathBuf,
    /// The parent of the trees that are copied, and of bucket directories.
    pub temporary: PathBuf,
    /// The command, for the check that interrupts and continues a run.
    pub command: PathBuf,
    /// The command's own check of its command line parser.
    pub command_line: fn() -> std::result::Result<(), String>,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passed; possibly with a remark.
    Passed(String),
    /// It failed, for this reason.
    Failed(String),
    /// It could not be carried out, for this reason.
    Skipped(String),
}

/// A check that was carried out. Prints as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The name of the check.
    pub name: String,
    /// Its result.
    pub verdict: Verdict,
}

/// The number of checks by result. Prints as `N passed, N failed, N skipped`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Passed.
    pub passed: u32,
    /// Failed.
    pub failed: u32,
    /// Could not be made.
    pub skipped: u32,
}

/// Carries out all checks, and reports each as soon as its result is known. A check that fails does not end the test.
///
/// # Errors
/// The folders for it cannot be created or removed; or it was stopped (exit code 20), and then nothing is left behind either.
pub fn run(request: &Request, stopper: &Stopper, tell: &mut dyn FnMut(&Outcome)) -> Result<Tally> {
    if request.options.meaning().remove_source_files {
        return Err(Error::usage("the self-test removes nothing from its sources").remedy("leave out that option"));
    }
    let ground = Ground::make(request, stopper)?;
    let groups = [
        oracle::checks(),
        environment::checks(),
        words::checks(request.command_line),
        copies::checks(),
        kept::checks(),
    ];
    let mut tally = Tally::default();
    for check in groups.into_iter().flatten() {
        let verdict = match (check.run)(&ground) {
            Ok(verdict) => verdict,
            Err(failure) => Verdict::Failed(failure.0),
        };
        // A check that fails because of the stop has not failed by itself.
        stopper.go_on()?;
        *match verdict {
            Verdict::Passed(_) => &mut tally.passed,
            Verdict::Failed(_) => &mut tally.failed,
            Verdict::Skipped(_) => &mut tally.skipped,
        } += 1;
        tell(&Outcome { name: check.name, verdict });
    }
    ground.close()?;
    Ok(tally)
}

impl Tally {
    /// 0 if nothing failed, otherwise 1.
    pub fn exit_code(self) -> u8 {
        if self.failed == 0 { exit::OK } else { exit::USAGE }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.verdict {
            Verdict::Passed(detail) if detail.is_empty() => write!(f, "PASS: {name}"),
            Verdict::Passed(detail) => write!(f, "PASS: {name} ({detail})"),
            Verdict::Failed(how) => write!(f, "FAIL: {name}: {how}"),
            Verdict::Skipped(why) => write!(f, "SKIP: {name}: {why}"),
        }
    }
}
