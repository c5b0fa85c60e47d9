//! The command line of a job: the command `multi-sync` can also resume a run that another program has begun.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::run_dir::Asked;

/// The options that may differ when a run is resumed. [`super::JobBuilder`] puts them first, with their values in the same word.
pub(super) const MAY_DIFFER: [&str; 10] = [
    "--processes=",
    "--retries=",
    "--stall=",
    "--schedule=",
    "--max-load=",
    "--max-dest-full=",
    "--max-pressure=",
    "--progress-interval=",
    "--events=",
    "--report=",
];

/// The part of a command line that identifies the run: all words except those that may differ.
fn essence(words: &[OsString]) -> &[OsString] {
    let may_differ = |word: &&OsString| MAY_DIFFER.iter().any(|option| word.as_bytes().starts_with(option.as_bytes()));
    &words[words.iter().take_while(may_differ).count()..]
}

/// Refuses to resume a run of another job.
pub(super) fn check_same(words: &[OsString], cwd: &Path, asked: &Asked, dir: &Path) -> Result<()> {
    if essence(words) == essence(&asked.words()) && cwd == asked.cwd() {
        return Ok(());
    }
    Err(Error::usage(format!("the run in {} was started with another description", Printable::path(dir)))
        .remedy("describe the job as it was then, or continue the run with `multi-sync resume`"))
}

/// `--NAME=VALUE` as one word.
pub(super) fn option(name: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut word = OsString::from(name);
    word.push(value);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_run_is_that_of_the_job_whatever_the_number_of_processes() {
        let asked =
            Asked::new(&words("--processes=4 rsync -a -- src/ --processes=4"), Path::new("/here"), String::new());
        let same = |text: &str, cwd: &str| check_same(&words(text), Path::new(cwd), &asked, Path::new("/run")).is_ok();
        assert!(same("rsync -a -- src/ --processes=4", "/here"));
        assert!(same("--processes=2 --stall=9 rsync -a -- src/ --processes=4", "/here"));
        assert!(!same("--processes=4 rsync -a -- src/ --processes=4", "/elsewhere"));
        assert!(!same("--processes=4 rsync -a -- src/ --processes=5", "/here"));
        assert!(!same("--processes=4 rsync -a --delete -- src/ --processes=4", "/here"));
    }
}
