//! The installed rsync: its version, and that it knows the user's options. One process, which copies nothing.

use std::path::Path;

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::command::{Invocation, Quoted};
use crate::rsync::exit;
use crate::rsync::options::{Options, Takes};
use crate::supervise::{Stream, Supervisor};

/// The rsync that is started, looked up in `PATH`.
pub(super) const PROGRAM: &str = "rsync";
/// `--info=progress2` and `--ignore-missing-args` came with it.
pub const OLDEST_RSYNC: Version = Version(3, 1, 0);
/// Newer ones refuse, in a list of names, a link that an untrusted user put into the place of a directory.
pub const TRUSTS_LISTS: Version = Version(3, 5, 0);

/// rsync's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Asks rsync. An option it does not know makes it fail before it prints its version. It is not asked about a log file, which every
/// version knows: it would log its version.
pub(super) fn probe(options: &Options, cwd: &Path, supervisor: &Supervisor) -> Result<Version> {
    let invocation = asking(options, &["--version"], cwd);
    let (mut first, mut errors) = (String::new(), Vec::new());
    let ended = supervisor.run(&invocation, &mut |stream, line| {
        let line = Printable::bytes(line).to_string();
        match stream {
            Stream::Stdout if first.is_empty() => first = line,
            Stream::Stdout => {}
            Stream::Stderr => errors.push(line),
        }
    })?;
    if ended.code() != exit::OK {
        return Err(refused(options, &errors).exit(ended.code()));
    }
    // With --stderr=all it answers there.
    let first = if first.is_empty() { errors.into_iter().next().unwrap_or_default() } else { first };
    let version = parse_version(&first).ok_or_else(|| {
        Error::usage(format!("cannot tell the version of rsync from its first line '{first}'"))
            .remedy("put the folder of rsync 3.1 or newer first in PATH")
    })?;
    if version < OLDEST_RSYNC {
        return Err(Error::usage(format!("rsync {version} is too old: {OLDEST_RSYNC} or newer is needed"))
            .remedy("install a newer rsync on this machine"));
    }
    Ok(version)
}

/// Asks whether the options go together, which `--version` does not tell: for a run that cannot be done anyway, of which one rsync would
/// complain about this first.
pub(super) fn check_combination(options: &Options, cwd: &Path, supervisor: &Supervisor) -> Result<()> {
    let invocation = asking(options, &["--list-only", "--", "/dev/null"], cwd);
    let mut errors = Vec::new();
    let ended = supervisor.run(&invocation, &mut |stream, line| {
        if stream == Stream::Stderr {
            errors.push(Printable::bytes(line).to_string());
        }
    })?;
    if ended.code() == exit::USAGE { Err(refused(options, &errors)) } else { Ok(()) }
}

fn asking(options: &Options, what: &[&str], cwd: &Path) -> Invocation {
    let mut arguments = options.without(|setting| setting.spec.takes == Takes::Output).argv();
    arguments.extend(what.iter().map(Into::into));
    Invocation { program: PROGRAM.into(), arguments, cwd: cwd.to_owned(), input: Vec::new() }
}

fn refused(options: &Options, said: &[String]) -> Error {
    let said = said.first().map_or("it said nothing", String::as_str);
    Error::usage(format!("the installed rsync refuses the options `{}`: {said}", show(options)))
        .remedy("correct --rsync")
}

fn show(options: &Options) -> String {
    options.argv().iter().map(|word| Quoted(word).to_string()).collect::<Vec<_>>().join(" ")
}

/// `rsync  version 3.2.7  protocol version 31`; development versions have a `v` and a suffix.
fn parse_version(line: &str) -> Option<Version> {
    let word = line.split("version").nth(1)?.split_whitespace().next()?.trim_start_matches('v');
    let mut numbers = word.split(['.', '-', '+', 'd', 'p']).map_while(|part| part.parse().ok());
    Some(Version(numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_every_kind_of_first_line() {
        for (line, expected) in [
            ("rsync  version 3.5.0  protocol version 32", Some(Version(3, 5, 0))),
            ("rsync  version v3.2.3  protocol version 31", Some(Version(3, 2, 3))),
            ("rsync  version 3.1.3dev  protocol version 31", Some(Version(3, 1, 3))),
            ("rsync  version 3.4.0pre1  protocol version 32", Some(Version(3, 4, 0))),
            ("openrsync: protocol version 29", None),
        ] {
            assert_eq!(parse_version(line), expected, "{line}");
        }
        assert!(Version(3, 0, 9) < OLDEST_RSYNC && OLDEST_RSYNC < Version(3, 1, 3));
    }
}
