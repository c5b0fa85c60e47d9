//! The threads of multi-sync itself: those of the scan, and those of the first pass.

use std::ffi::{OsStr, OsString};
use std::num::NonZero;

use clap::ArgMatches;
use multi_sync::command::config::{Config, MOST_THREADS};
use multi_sync::command::size;
use multi_sync::job::FirstPass;
use multi_sync::{Error, Result};

use super::about;
use super::definition::{AUTO, ON};

/// Applies the options.
pub(super) fn set(config: &mut Config, matches: &ArgMatches) -> Result<()> {
    let count = |name: &str, option: &str| {
        let word = matches.get_one::<OsString>(name);
        word.map(|word| count_of(option, word)).transpose()
    };
    config.scan_threads = count("scan-threads", "--scan-threads")?;
    config.first_pass_threads = count("first-pass-threads", "--first-pass-threads")?;
    config.first_pass = match matches.get_one::<String>("first-pass").map(String::as_str) {
        Some(AUTO) => FirstPass::Auto,
        Some(ON) => FirstPass::On,
        Some(_) => FirstPass::Off,
        None => FirstPass::default(),
    };
    if config.first_pass_threads.is_some() && config.first_pass == FirstPass::Off {
        return Err(Error::usage("--first-pass-threads with --first-pass=off: there is no first pass")
            .remedy("leave out one of the two"));
    }
    Ok(())
}

fn count_of(option: &str, word: &OsStr) -> Result<NonZero<usize>> {
    let count = about(option, size::parse_count(word))?;
    if count.get() > MOST_THREADS {
        return Err(Error::usage(format!("{option}: {count} are more threads than a machine can be asked for"))
            .remedy(format!("write a whole number from 1 to {MOST_THREADS}")));
    }
    Ok(count)
}
