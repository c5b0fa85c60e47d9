//! Sources that are scanned on another machine: how they are named, and whether their names still lead to the same directories when a run ends.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use super::{Way, directory, list, patiently};
use crate::config::Config;
use crate::endpoint::{Source, Target};
use crate::far::hold::Hold;
use crate::far::{self, Listing, Means, Reach};
use crate::rsync::command::FarSource;
use crate::rsync::exit;
use crate::supervise::Supervisor;

use super::super::up_to_date::UpToDate;
use super::super::{SingleSource, SourceTree};

/// How the sources are scanned where they are.
#[derive(Debug, Clone)]
pub struct FarScan {
    /// How the machine is reached.
    pub reach: Reach,
    /// What lists the sources.
    pub means: Means,
    /// The number of the user who lists there, if known.
    pub user: Option<u32>,
    /// The directories that are scanned.
    pub roots: Vec<FarRoot>,
    /// How launches name the sources, and which of them are not scanned.
    pub(in super::super) placed: Placed,
    /// How the machine is reached by the other addresses, if there are several.
    pub(super) others: Vec<Reach>,
    /// Holds each rsync in the only source. Used if something is deleted.
    pub hold: Option<Hold>,
    /// rsync's listing of everything in the only source, if that was begun.
    pub begun: Option<Arc<Listing>>,
    /// Checks whether everything is up to date, if an answer may come soon.
    pub up_to_date: Option<Arc<UpToDate>>,
    /// What a daemon printed when it was asked about the sources, unless the listing asks it.
    pub greeting: Vec<Vec<u8>>,
}

/// A source that is scanned where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarRoot {
    /// The source as typed.
    pub source: OsString,
    /// Its inode, if known.
    pub inode: Option<u64>,
    /// The path of the directory on its machine.
    pub(super) path: Vec<u8>,
    /// The line with which rsync lists it.
    pub(super) line: Vec<u8>,
}

impl FarRoot {
    pub(super) fn of(source: &Source, line: Vec<u8>) -> FarRoot {
        FarRoot { source: source.original().to_owned(), path: directory(source), inode: None, line }
    }
}

/// How launches name sources on another machine, in the form of [`super::Plan`].
#[derive(Debug, Clone)]
pub(in super::super) struct Placed {
    pub source: FarSource,
    pub trees: Vec<SourceTree>,
    pub singles: Vec<SingleSource>,
    pub missing: Vec<(OsString, io::ErrorKind)>,
    /// What rsync printed about the missing sources.
    pub said: Vec<Vec<u8>>,
}

/// What the name of a source leads to when a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Still {
    /// The same directory, as far as known.
    There,
    /// The same directory with entries added or removed, or another directory: this cannot be found out.
    Changed,
    /// Another directory.
    Replaced,
    /// There was no answer, although there was one when the run began.
    Unanswered,
}

impl FarScan {
    /// What rsync printed about sources that do not exist.
    pub fn said_of_missing(&self) -> &[Vec<u8>] {
        &self.placed.said
    }

    /// Whether the last look at the sources needs new connections.
    pub fn are_listed_again(&self) -> bool {
        self.hold.is_none() && self.roots.iter().any(|root| root.inode.is_none())
    }

    /// Whether an rsync that has shaken hands has entered the source, and does not look up its name again: it is a module of a daemon, which the daemon enters
    /// before it answers (rsync 3.5.0, strace). The directory in front of each name in a list is looked up with that name.
    pub fn is_entered_at_once(&self, config: &Config) -> bool {
        let [source] = &config.sources[..] else { return false };
        let is_daemon = matches!(source.target(), Target::Daemon { .. });
        is_daemon
            && self.placed.source.below.is_empty()
            && self.placed.trees.iter().all(|tree| tree.root.name.is_none())
    }

    /// What the names of the sources lead to now. One rsync enters each source once, but several rsyncs look up its name again.
    pub fn are_still_there(&self, config: &Config, supervisor: &Supervisor) -> Vec<(OsString, Still)> {
        if self.hold.is_some() {
            // All rsyncs were held in the same directory.
            return Vec::new();
        }
        let is_unanswered = |found: &Vec<Still>| found.contains(&Still::Unanswered);
        let found = patiently(supervisor, || self.look_again(config, supervisor), is_unanswered);
        self.roots.iter().map(|root| root.source.clone()).zip(found).collect()
    }

    fn look_again(&self, config: &Config, supervisor: &Supervisor) -> Vec<Still> {
        let paths: Vec<&[u8]> = self.roots.iter().map(|root| &root.path[..]).collect();
        let asks_shell = self.roots.iter().all(|root| root.inode.is_some());
        let (first, way) = (&config.sources[0], Way { config, early: None, supervisor });
        if !asks_shell {
            // A daemon shows the attributes of a directory, but not its identity.
            let of = |root: &FarRoot| {
                let source = config.sources.iter().find(|source| source.original() == root.source);
                let now = list(&way, source.unwrap_or(first), None);
                match now.line {
                    Some(line) => compare(&root.line, &line),
                    None if now.code == Some(exit::PARTIAL) => Still::Replaced,
                    None => Still::Unanswered,
                }
            };
            return self.roots.iter().map(of).collect();
        }
        let mut found = vec![Still::Unanswered; paths.len()];
        // The address that was used for the scan may be unreachable now, or lead elsewhere; then nothing was copied through it since.
        for reach in std::iter::once(&self.reach).chain(&self.others) {
            let Ok(now) = far::look_at(reach, &paths, supervisor) else { continue };
            if now.user.is_none() {
                continue;
            }
            let is_it = |(root, inode): (&FarRoot, Option<u64>)| {
                if root.inode == inode { Still::There } else { Still::Replaced }
            };
            found = self.roots.iter().zip(now.inodes.into_iter().chain(std::iter::repeat(None))).map(is_it).collect();
            if found.iter().all(|still| *still == Still::There) {
                break;
            }
        }
        found
    }
}

/// Compares two listings of a directory. If entries are added or removed, its time becomes later, but its type and mode stay the same.
fn compare(before: &[u8], now: &[u8]) -> Still {
    let look = |line: &[u8]| {
        let words: Vec<Vec<u8>> =
            line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect();
        Some((words.first()?.clone(), [words.get(2)?.clone(), words.get(3)?.clone()]))
    };
    match (look(before), look(now)) {
        (Some((mode, time)), Some((its_mode, its_time))) if mode != its_mode || its_time < time => Still::Replaced,
        (Some((_, time)), Some((_, its_time))) if its_time > time => Still::Changed,
        _ => Still::There,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_has_become_older_is_another() {
        let before = b"drwxr-xr-x          4,096 2026/11/29 14:45:00 .";
        for (now, still) in [
            ("drwxr-xr-x          4,096 2026/11/29 14:45:00 .", Still::There),
            ("drwxr-xr-x         40,960 2026/11/29 14:45:01 .", Still::Changed),
            ("drwxr-xr-x          4,096 2026/12/01 00:00:00 .", Still::Changed),
            ("drwxr-xr-x          4,096 2026/11/29 14:44:59 .", Still::Replaced),
            ("drwx------          4,096 2026/11/29 14:45:00 .", Still::Replaced),
            ("lrwxrwxrwx              3 2026/11/29 14:45:00 s -> t", Still::Replaced),
            ("d", Still::There),
        ] {
            assert_eq!(compare(before, now.as_bytes()), still, "{now}");
        }
    }
}
