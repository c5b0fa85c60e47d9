//! Checks the installed rsync: its version, and whether it knows the user's options. One process does this, and copies nothing.

use crate::config::Config;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::command::{Invocation, Quoted};
use crate::rsync::exit;
use crate::rsync::options::{Opt, Options, Takes};
use crate::rsync::version::{OLDEST_RSYNC, Version};
use crate::supervise::{Stream, Supervisor};

/// Asks rsync for its version. If rsync does not know an option, it fails before it prints the version. A log file is not passed, because every version knows
/// that option, and rsync would write its version there.
pub(super) fn probe(config: &Config, options: &Options, supervisor: &Supervisor) -> Result<Version> {
    let invocation = asking(config, options, &["--version"]);
    let (mut version, mut first, mut errors) = (None, String::new(), Vec::new());
    let ended = supervisor.run(&invocation, &mut |stream, line| {
        let line = Printable::bytes(line).to_string();
        // With `--stderr=all`, rsync answers on standard error, and with `--debug` it prints other lines first.
        version = version.or_else(|| Version::parse(&line));
        match stream {
            Stream::Stdout if first.is_empty() => first = line,
            Stream::Stdout => {}
            Stream::Stderr => errors.push(line),
        }
    })?;
    if ended.code() != exit::OK {
        return Err(refused(options, &errors, ended.code()));
    }
    let version = version.ok_or_else(|| {
        Error::usage(format!("cannot tell the version of rsync from its first line '{first}'"))
            .remedy("put the folder of rsync 3.1 or newer first in PATH")
    })?;
    if version < OLDEST_RSYNC {
        return Err(Error::usage(format!("rsync {version} is too old: {OLDEST_RSYNC} or newer is needed"))
            .remedy("install a newer rsync on this machine"));
    }
    Ok(version)
}

/// Checks whether the options can be combined, which `--version` does not check. This is done for a run that cannot succeed anyway, if one rsync would complain
/// about the options first.
pub(super) fn check_combination(config: &Config, options: &Options, supervisor: &Supervisor) -> Result<()> {
    // The directory would be looked for below DEST, which does not exist here.
    let options = options.without(|setting| setting.spec.id == Opt::TempDir);
    let invocation = asking(config, &options, &["--list-only", "--", "/dev/null"]);
    let mut errors = Vec::new();
    let ended = supervisor.run(&invocation, &mut |stream, line| {
        if stream == Stream::Stderr {
            errors.push(Printable::bytes(line).to_string());
        }
    })?;
    if ended.code() == exit::USAGE { Err(refused(&options, &errors, exit::USAGE)) } else { Ok(()) }
}

fn asking(config: &Config, options: &Options, what: &[&str]) -> Invocation {
    let mut arguments = options.without(|setting| setting.spec.takes == Takes::Output).argv();
    arguments.extend(what.iter().map(Into::into));
    Invocation::rsync(&config.program, arguments, &config.cwd)
}

fn refused(options: &Options, said: &[String], code: u8) -> Error {
    let said = said.first().map_or("it said nothing", String::as_str);
    let text = format!("the installed rsync refuses the options `{}`: {said}", show(options));
    let error = if code == exit::USAGE { Error::usage(text) } else { Error::of_rsync(text, code) };
    error.remedy("correct --rsync")
}

fn show(options: &Options) -> String {
    options.argv().iter().map(|word| Quoted(word).to_string()).collect::<Vec<_>>().join(" ")
}
