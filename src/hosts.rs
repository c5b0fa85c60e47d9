//! The source hosts of a many-to-one run: which they are, how many rsyncs each gets, and how they are reached.
//!
//! Everything about a connection except the host's name is left to ssh's own configuration (ssh_config(5)): ports, keys, jump hosts.

mod agents;
mod queue;
mod slurm;
mod way;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::num::NonZero;
use std::path::Path;

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::version::Version;

pub use agents::Agents;
pub use queue::{JobState, PATIENCE};
pub use way::{Wanted, Way, reach};

/// More rsyncs than this on one host must be a mistake.
const MOST_SLOTS: usize = 1024;

/// A source host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// `HOST` or `USER@HOST`, as ssh takes it.
    pub address: String,
    /// How many rsyncs run at once there, if it was given.
    pub slots: Option<NonZero<usize>>,
    /// Whether it sees the bucket directory; found by `preflight`.
    pub sees_buckets: bool,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// Properties of all hosts of a run together; found by `preflight`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    /// The oldest rsync among them.
    pub version: Version,
    /// Whether the rsyncs on all of them run as root.
    pub are_root: bool,
}

/// Reads `HOST,USER@HOST*SLOTS,...`.
///
/// ```
/// use multi_sync::harness::hosts;
/// let hosts = hosts::parse_list("a,me@b*4".as_ref())?;
/// assert_eq!((hosts[1].address.as_str(), hosts[1].slots.unwrap().get()), ("me@b", 4));
/// assert!(hosts::parse_list("-oProxyCommand=x".as_ref()).is_err());
/// # Ok::<(), multi_sync::Error>(())
/// ```
///
/// # Errors
/// A word is not a host, or the same host comes twice.
pub fn parse_list(text: &OsStr) -> Result<Vec<Host>> {
    let shown = Printable::os(text).to_string();
    let text = text.to_str().ok_or_else(|| no_host(&shown, "it is not text"))?;
    let hosts = text.split(',').map(|word| parse(word.trim())).collect::<Result<Vec<_>>>()?;
    each_once(hosts)
}

/// Reads a file with one host in each line: `HOST`, `USER@HOST`, either with `*SLOTS` or as `SLOTS/HOST`, or `HOST,USER`. A host that is named several times
/// has this number of slots, as in `$PBS_NODEFILE`. Everything after a `#` is ignored.
///
/// # Errors
/// The file cannot be read, contains no host, or has a line that is not a host. The message names the file and the line.
pub fn parse_file(path: &Path) -> Result<Vec<Host>> {
    let remedy = "write a host, user@host or host,user in each line";
    let text =
        fs::read_to_string(path).map_err(|cause| Error::io("read hosts from", path, cause).remedy(remedy).exit(1))?;
    let mut hosts = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let host = match line.split_once(',') {
            Some((host, user)) => parse(&format!("{}@{}", user.trim(), host.trim())),
            None => parse(line),
        };
        let place = format!("{}, line {}", Printable::path(path), number + 1);
        let host = host.map_err(|error| Error::usage(place).because(error).remedy(remedy))?;
        match hosts.iter_mut().find(|known: &&mut Host| known.address == host.address) {
            Some(known) => {
                let count = |host: &Host| host.slots.map_or(1, NonZero::get);
                known.slots = NonZero::new((count(known) + count(&host)).min(MOST_SLOTS));
            }
            None => hosts.push(host),
        }
    }
    if hosts.is_empty() {
        return Err(Error::usage(format!("{} names no host", Printable::path(path))).remedy(remedy));
    }
    Ok(hosts)
}

fn parse(word: &str) -> Result<Host> {
    // The form of GNU parallel: the number comes before the host.
    let before = word.split_once('/').filter(|(count, _)| count.bytes().all(|byte| byte.is_ascii_digit()));
    let divided = word.split_once('*').or(before.map(|(count, address)| (address, count)));
    let (address, slots) = match divided {
        Some((address, count)) => {
            let count = count.parse().ok().and_then(NonZero::new).filter(|count| count.get() <= MOST_SLOTS);
            let count = count
                .ok_or_else(|| no_host(word, &format!("the number of its rsyncs must be from 1 to {MOST_SLOTS}")))?;
            (address.trim_end(), Some(count))
        }
        None => (word, None),
    };
    let (user, name) = match address.rsplit_once('@') {
        Some((user, name)) => (Some(user), name),
        None => (None, address),
    };
    let parts = user.into_iter().chain([name]);
    let strange = |c: char| c.is_whitespace() || c.is_control() || "'\"`$;&|<>()\\{}".contains(c);
    for part in parts {
        if part.is_empty() || part.starts_with('-') || part.contains(strange) {
            return Err(no_host(word, "it must be HOST or USER@HOST"));
        }
    }
    Ok(Host { address: address.to_owned(), slots, sees_buckets: false })
}

fn no_host(word: &str, why: &str) -> Error {
    Error::usage(format!("not a host: '{word}': {why}")).remedy("write HOST or USER@HOST, with *N for N rsyncs on it")
}

fn each_once(hosts: Vec<Host>) -> Result<Vec<Host>> {
    let mut seen = HashSet::new();
    match hosts.iter().find(|host| !seen.insert(&host.address)) {
        Some(twice) => Err(no_host(&twice.address, "it is named twice")),
        None => Ok(hosts),
    }
}

/// The host of each slot: hosts without a given number of slots share `processes`, and each gets at least one. Neighbouring slots are on different hosts.
pub fn spread(hosts: &[Host], processes: NonZero<usize>) -> Vec<usize> {
    let open = hosts.iter().filter(|host| host.slots.is_none()).count();
    let share = |host: &Host| host.slots.map_or_else(|| processes.get().div_ceil(open.max(1)), NonZero::get);
    let counts: Vec<usize> = hosts.iter().map(share).collect();
    let most = counts.iter().copied().max().unwrap_or(0);
    let rounds = (0..most).flat_map(|round| (0..hosts.len()).map(move |host| (round, host)));
    rounds.filter(|(round, host)| *round < counts[*host]).map(|(_, host)| host).collect()
}

/// Repeats the slots in the same order until there is one for each of the processes.
pub fn extend(slots: &mut Vec<usize>, processes: NonZero<usize>) {
    let dealt = slots.len();
    while dealt > 0 && slots.len() < processes.get() {
        slots.push(slots[slots.len() - dealt]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_host_is_refused_and_named() {
        for (text, part) in [
            ("", "not a host"),
            ("a,,b", "not a host"),
            ("a*0", "number of its rsyncs"),
            ("a*x", "number of its rsyncs"),
            ("a*99999", "number of its rsyncs"),
            ("-oProxyCommand=x", "'-oProxyCommand=x'"),
            ("u@-x", "'u@-x'"),
            ("@h", "'@h'"),
            ("a b", "'a b'"),
            ("a;reboot", "'a;reboot'"),
            ("a,a*2", "twice"),
        ] {
            let error = parse_list(text.as_ref()).unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
            assert_eq!(error.exit_code(), 1);
        }
    }

    #[test]
    fn files_of_other_tools_are_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "# sources\n10.0.0.1,backup\n\n  me@h2*3   # fast\nh3\n[::1],root\n").unwrap();
        let hosts = parse_file(file.path()).unwrap();
        let shown: Vec<String> = hosts.iter().map(Host::to_string).collect();
        assert_eq!(shown, ["backup@10.0.0.1", "me@h2", "h3", "root@[::1]"]);
        assert_eq!(hosts[1].slots.map(NonZero::get), Some(3));
        fs::write(file.path(), "n1\nn1\nn2\nn1\n4/n3\n8/me@n4\nn3\n").unwrap();
        let shown = |host: &Host| format!("{host}*{}", host.slots.map_or(0, NonZero::get));
        let hosts: Vec<String> = parse_file(file.path()).unwrap().iter().map(shown).collect();
        assert_eq!(hosts.join(" "), "n1*3 n2*0 n3*5 me@n4*8");
        fs::write(file.path(), "h1\nh 2\n").unwrap();
        let error = parse_file(file.path()).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        fs::write(file.path(), "# none\n").unwrap();
        assert!(parse_file(file.path()).unwrap_err().to_string().contains("names no host"));
    }

    #[test]
    fn slots_are_shared_out_in_turn() {
        let of = |text: &str, processes: usize| {
            spread(&parse_list(text.as_ref()).unwrap(), NonZero::new(processes).unwrap())
        };
        assert_eq!(of("a,b,c", 1), [0, 1, 2]);
        assert_eq!(of("a,b", 4), [0, 1, 0, 1]);
        assert_eq!(of("a*3,b", 2), [0, 1, 0, 1, 0]);
        assert_eq!(of("a*1,b*2", 9), [0, 1, 1]);
    }
}
