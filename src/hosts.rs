//! Source hosts of a many-to-one run: who they are, how many rsyncs each gets, and how they are reached.
//!
//! Everything about a connection but the host's name belongs to ssh's own configuration (ssh_config(5)): ports, keys, jump hosts.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::command::Invocation;
use crate::rsync::version::Version;

/// More rsyncs on one host than this are a mistake.
const MOST_SLOTS: usize = 1024;

/// A source host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// `HOST` or `USER@HOST`, as ssh takes it.
    pub address: String,
    /// rsyncs at once, if it was said.
    pub slots: Option<NonZero<usize>>,
    /// It sees the bucket directory, as `preflight` has found.
    pub sees_buckets: bool,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// What is true of all the hosts of a run, as `preflight` has found.
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
/// A word that is no host, or the same host twice.
pub fn parse_list(text: &OsStr) -> Result<Vec<Host>> {
    let shown = Printable::os(text).to_string();
    let text = text.to_str().ok_or_else(|| no_host(&shown, "it is not text"))?;
    let hosts = text.split(',').map(|word| parse(word.trim())).collect::<Result<Vec<_>>>()?;
    each_once(hosts)
}

/// Reads a file with a host in each line: `HOST`, `USER@HOST`, either with `*SLOTS`, or `HOST,USER`. What follows a `#` is ignored.
///
/// # Errors
/// The file cannot be read, has no host, or a line that is none; file and line are named.
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
        hosts.push(host.map_err(|error| Error::usage(place).because(error).remedy(remedy))?);
    }
    if hosts.is_empty() {
        return Err(Error::usage(format!("{} names no host", Printable::path(path))).remedy(remedy));
    }
    each_once(hosts)
}

fn parse(word: &str) -> Result<Host> {
    let (address, slots) = match word.split_once('*') {
        Some((address, count)) => {
            let count = count.parse().ok().and_then(NonZero::new).filter(|count| count.get() <= MOST_SLOTS);
            let count = count.ok_or_else(|| {
                no_host(word, &format!("after the * stands the number of its rsyncs, from 1 to {MOST_SLOTS}"))
            })?;
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
            return Err(no_host(word, "it has to be HOST or USER@HOST"));
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

/// The host of each slot, by its number: hosts that do not say how many they take share `processes`, and each gets one at least.
/// Neighbouring slots are on different hosts.
pub fn spread(hosts: &[Host], processes: NonZero<usize>) -> Vec<usize> {
    let open = hosts.iter().filter(|host| host.slots.is_none()).count();
    let share = |host: &Host| host.slots.map_or_else(|| processes.get().div_ceil(open.max(1)), NonZero::get);
    let counts: Vec<usize> = hosts.iter().map(share).collect();
    let most = counts.iter().copied().max().unwrap_or(0);
    let rounds = (0..most).flat_map(|round| (0..hosts.len()).map(move |host| (round, host)));
    rounds.filter(|(round, host)| *round < counts[*host]).map(|(_, host)| host).collect()
}

/// Slots for so many processes, if there are fewer: the places are dealt out once more, in the same order.
pub fn extend(slots: &mut Vec<usize>, processes: NonZero<usize>) {
    let dealt = slots.len();
    while dealt > 0 && slots.len() < processes.get() {
        slots.push(slots[slots.len() - dealt]);
    }
}

/// The way to hosts: ssh with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    words: Vec<OsString>,
    cwd: PathBuf,
}

impl Ssh {
    /// Nobody is asked anything, and a connection that stands still ends after 15 seconds.
    pub const KEEPS_ALIVE: [&str; 4] =
        ["BatchMode=yes", "ServerAliveInterval=5", "ServerAliveCountMax=3", "ClearAllForwardings=yes"];

    /// Reads a command such as `ssh -F FILE`, typed in `cwd`.
    ///
    /// # Errors
    /// A quote that is not closed, or no word at all.
    pub fn parse(text: &OsStr, cwd: &Path) -> Result<Ssh> {
        let shown = Printable::os(text).to_string();
        let remedy = "give the command that reaches the hosts, such as 'ssh -F FILE'";
        let words = text.to_str().and_then(|text| shell_words::split(text).ok()).filter(|words| !words.is_empty());
        let words = words.ok_or_else(|| Error::usage(format!("--ssh: not a command: {shown}")).remedy(remedy))?;
        Ok(Ssh { words: words.into_iter().map(OsString::from).collect(), cwd: cwd.to_owned() })
    }

    /// `ssh` and nothing else.
    pub fn plain(cwd: &Path) -> Ssh {
        Ssh { words: vec!["ssh".into()], cwd: cwd.to_owned() }
    }

    /// Program and options.
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// The directory they were typed in.
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// Runs a script ([`crate::shell`]) on a host, through the open connection of `socket` if there is one.
    pub fn run(&self, host: &Host, socket: Option<&Path>, script: Vec<u8>) -> Invocation {
        let mut arguments = self.words[1..].to_vec();
        arguments.extend(Ssh::KEEPS_ALIVE.iter().flat_map(|option| ["-o".into(), OsString::from(option)]));
        if let Some(socket) = socket {
            let mut path = OsString::from("ControlPath=");
            path.push(socket);
            arguments.extend(["-o".into(), "ControlMaster=no".into(), "-o".into(), path]);
        }
        arguments.extend(["-T", "--", &host.address, "sh -s"].map(OsString::from));
        Invocation { input: script, held: true, ..Invocation::new(self.words[0].clone(), arguments, &self.cwd) }
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
    fn files_of_the_python_tool_are_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "# sources\n10.0.0.1,backup\n\n  me@h2*3   # fast\nh3\n[::1],root\n").unwrap();
        let hosts = parse_file(file.path()).unwrap();
        let shown: Vec<String> = hosts.iter().map(Host::to_string).collect();
        assert_eq!(shown, ["backup@10.0.0.1", "me@h2", "h3", "root@[::1]"]);
        assert_eq!(hosts[1].slots.map(NonZero::get), Some(3));
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
