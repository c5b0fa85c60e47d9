//! Which programs can list a tree on another machine, what each of them supports, and which one is used.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::{Reach, agent, find};
use crate::error::{Error, Result};
use crate::scan::{Follow, Scan};
use crate::shell;
use crate::supervise::{Ended, Invocation, Stream, Supervisor};

/// A program that lists the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Means {
    /// This program, in the same version, on the other machine.
    Agent,
    /// `find` in a shell on the other machine.
    Find,
    /// `rsync --list-only`.
    Rsync,
}

/// Which means the user wants for scanning a source on another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Wanted {
    /// The best one available.
    #[default]
    Auto,
    /// This program, in the same version, on the other machine.
    Agent,
    /// `find` on the other machine.
    Find,
    /// rsync's own listing.
    Rsync,
}

/// A property of a scan that not every means supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    HardLinks,
    HardLinksOfRoots,
    Devices,
    MergeFiles,
    Links,
    Gitignore,
}

impl Need {
    fn of(scan: &Scan) -> Vec<Need> {
        let needs = [
            (scan.hard_links, Need::HardLinks),
            (scan.hard_links && scan.roots.len() > 1, Need::HardLinksOfRoots),
            (scan.one_file_system > 0, Need::Devices),
            (!scan.merge_files.is_empty(), Need::MergeFiles),
            (scan.follow != Follow::Nothing || scan.unsafe_links_whole, Need::Links),
            (scan.gitignore, Need::Gitignore),
        ];
        needs.into_iter().filter(|(is_needed, _)| *is_needed).map(|(_, need)| need).collect()
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Need::HardLinks => "which names are hard links of one file",
            Need::HardLinksOfRoots => "which names of several sources are hard links of one file",
            Need::Devices => "where another file system is mounted",
            Need::MergeFiles => "which directories hold filter rules",
            Need::Links => "where symbolic links lead",
            Need::Gitignore => "what ignore rules leave out",
        })
    }
}

impl Wanted {
    /// All values.
    #[doc(hidden)]
    pub const ALL: [Wanted; 4] = [Wanted::Auto, Wanted::Agent, Wanted::Find, Wanted::Rsync];

    /// The word for this value.
    pub fn name(self) -> &'static str {
        match self {
            Wanted::Auto => "auto",
            Wanted::Agent => "agent",
            Wanted::Find => "find",
            Wanted::Rsync => "rsync",
        }
    }

    /// The value that a word stands for.
    #[doc(hidden)]
    pub fn parse(word: &str) -> Option<Wanted> {
        Wanted::ALL.into_iter().find(|wanted| wanted.name() == word)
    }

    /// The only acceptable means; `None` if any is.
    #[doc(hidden)]
    pub fn means(self) -> Option<Means> {
        match self {
            Wanted::Auto => None,
            Wanted::Agent => Some(Means::Agent),
            Wanted::Find => Some(Means::Find),
            Wanted::Rsync => Some(Means::Rsync),
        }
    }
}

impl Means {
    fn knows(self, need: Need) -> bool {
        match self {
            Means::Agent => true,
            Means::Find => match need {
                Need::HardLinks | Need::HardLinksOfRoots | Need::Devices => true,
                Need::MergeFiles | Need::Links | Need::Gitignore => false,
            },
            Means::Rsync => match need {
                Need::HardLinks => true,
                Need::HardLinksOfRoots | Need::Devices | Need::MergeFiles | Need::Links | Need::Gitignore => false,
            },
        }
    }

    /// Refuses a scan that needs something this means does not support.
    ///
    /// # Errors
    /// The scan needs it; the message says what.
    pub fn refuse(self, scan: &Scan) -> Result<()> {
        match Need::of(scan).into_iter().find(|need| !self.knows(*need)) {
            None => Ok(()),
            Some(need) => Err(Error::usage(format!("{self} does not report {need}"))),
        }
    }
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Means::Agent => "multi-sync on the source's machine",
            Means::Find => "find",
            Means::Rsync => "the listing of rsync",
        })
    }
}

/// What is available on the other machine.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The available means, the best one first.
    pub means: Vec<Means>,
    /// The ID of the user who lists there, if it is known.
    pub user: Option<u32>,
    /// The inodes of the directories that were asked about, if these exist; empty if no shell has answered.
    pub inodes: Vec<Option<u64>>,
}

impl Found {
    /// Chooses the means for a scan.
    ///
    /// # Errors
    /// No available means supports everything that the scan needs. One rsync can still copy it all.
    pub fn choose(&self, scan: &Scan, wanted: Wanted) -> Result<Means> {
        let mut error = Error::usage(match wanted.means() {
            None => "nothing on that machine can list the source".to_owned(),
            Some(means) => format!("{means} is not available to list the source"),
        });
        for means in self.means.iter().copied() {
            if wanted.means().is_some_and(|only| only != means) {
                continue;
            }
            match means.refuse(scan) {
                Ok(()) => return Ok(means),
                Err(why) => error = why,
            }
        }
        Err(error)
    }
}

/// A machine that prints nothing for this time is regarded as having no shell.
const LONGEST: Duration = Duration::from_secs(30);
/// The questions for the other machine.
const QUESTIONS: [&str; 5] = [
    "for d; do echo \"inode $(set -f; set -- $(ls -di -- \"$d\" 2>/dev/null); echo \"$1\")\"; done\n\
     echo \"user $(id -u)\"\necho \"agent ",
    agent::ASK,
    "\"\n",
    find::WORKS,
    "then echo find; fi\necho end\n",
];

/// Asks which means are available, in one login.
///
/// # Errors
/// A process could not be started. If the machine gives no shell, that is not an error: rsync's listing remains.
pub fn look(reach: &Reach, supervisor: &Supervisor) -> Result<Found> {
    look_at(reach, &[], supervisor)
}

/// Like [`look`], and also asks for the inodes of directories.
///
/// # Errors
/// As [`look`].
pub fn look_at(reach: &Reach, dirs: &[&[u8]], supervisor: &Supervisor) -> Result<Found> {
    let mut found = Found { means: vec![Means::Rsync], ..Found::default() };
    let Some(shell) = &reach.shell else { return Ok(found) };
    let mut words: Vec<OsString> = vec!["-c".into(), QUESTIONS.concat().into(), "sh".into()];
    words.extend(dirs.iter().map(|dir| OsStr::from_bytes(dir).to_owned()));
    let script = shell::script(&Invocation::new("sh", words, "."));
    let mut lines = Vec::new();
    let asks = Invocation { input: script, held: true, ..shell.clone() };
    let ended = supervisor.run_while_alive(&asks, Some(LONGEST), &mut |stream, line| {
        if stream == Stream::Stdout {
            lines.push(String::from_utf8_lossy(line).into_owned());
        }
    })?;
    // Anything else is ignored, because a restricted login may answer anything.
    if ended == Ended::Code(0) && lines.last().is_some_and(|line| line == "end") {
        let answer = |name: &str| lines.iter().rev().find_map(|line| line.strip_prefix(name));
        found.user = answer("user ").and_then(|number| number.parse().ok());
        let inodes = lines.iter().rev().filter_map(|line| line.strip_prefix("inode ")).take(dirs.len());
        found.inodes = inodes.map(|number| number.parse().ok()).collect();
        found.inodes.reverse();
        if answer("find").is_some() {
            found.means.insert(0, Means::Find);
        }
        if answer("agent ") == Some(agent::HELLO) {
            found.means.insert(0, Means::Agent);
        }
    }
    Ok(found)
}
