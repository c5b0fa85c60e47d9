//! Turns the output of many rsyncs into that of one: which lines are printed, each only once, and which are held back until it is known whether they count.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;

use crate::handle::Handles;
use crate::plan::Rooted;
use crate::report::Event;
use crate::rsync::filter::unescape;
use crate::rsync::messages::Message;
use crate::rsync::options::Shows;
use crate::rsync::output::Line;
use crate::supervise::Stream;

use super::logs::Log;

/// The number of lines that are remembered, so that a second launch for the same directories does not repeat them.
pub(super) const LINES_REMEMBERED: usize = 10_000;

/// Lines about split directories that were printed when they were created. Launches that meet these directories again must not repeat them.
#[derive(Default)]
pub(super) struct Said {
    complaints: Mutex<HashSet<Vec<u8>>>,
    /// At most one line for each split directory.
    lines: Mutex<HashSet<Vec<u8>>>,
    /// How often each complaint was printed. Each launch complains about a problem of the whole run, but one rsync would complain once.
    told: Mutex<HashMap<Vec<u8>, u32>>,
    /// The split directories by their paths in the transfer, if lines are printed.
    spine: Mutex<HashSet<Vec<u8>>>,
    /// The line to print before the first other one.
    header: Mutex<Option<&'static str>>,
    /// The greeting of a daemon.
    greeting: Mutex<Vec<Vec<u8>>>,
}

/// Which lines of a launch are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    All,
    /// All lines, and they are remembered.
    AllAndRemember,
    /// Lines that were not remembered.
    New,
    /// All lines except changes of directories: a repetition also sees the directories above its units, and these are not its work.
    NoDirs,
    /// All lines except changes of split directories: these were printed when the directories were created.
    NotSpine,
    /// Complaints, and lines about deletion. All other lines on standard output were printed before.
    Deletions,
}

impl Said {
    /// For a run with this line before the first other one, and the greeting of a daemon before that.
    pub fn after(header: Option<&'static str>, greeting: Vec<Vec<u8>>) -> Said {
        Said { header: Mutex::new(header), greeting: Mutex::new(greeting), ..Said::default() }
    }

    /// Prints the greeting of the daemon, once.
    pub fn greet(&self, tell: &(dyn Fn(Event<'_>) + Sync)) {
        let greeting = std::mem::take(&mut *self.greeting.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        greeting.iter().for_each(|line| tell(Event::Said(line)));
    }

    /// Prints the line that precedes all others, once.
    pub fn begin(&self, tell: &(dyn Fn(Event<'_>) + Sync)) {
        // Locked until the line is printed, so that no other thread prints before it.
        let mut header = self.header.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        header.take().into_iter().for_each(|line| tell(Event::Said(line.as_bytes())));
    }

    /// Whether no launch has made this complaint as often as this one, which makes it for the `nth` time.
    pub fn is_first(&self, line: &[u8], nth: u32) -> bool {
        let mut told = self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(most) = told.get_mut(line) {
            let is_first = nth > *most;
            *most = nth.max(*most);
            return is_first;
        }
        if told.len() < LINES_REMEMBERED {
            told.insert(line.to_vec(), nth);
        }
        true
    }

    pub fn note_spine(&self, paths: impl Iterator<Item = Vec<u8>>) {
        self.spine.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).extend(paths);
    }

    /// Whether a line only reports a change of a split directory.
    pub fn is_about_spine(&self, line: &[u8]) -> bool {
        let after = |rest: &[u8]| rest.iter().position(|byte| *byte == b' ').map_or(line.len(), |at| 3 + at);
        let name = line.strip_prefix(b".d").map_or(line, |rest| &line[after(rest)..]);
        let spine = || self.spine.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        name.ends_with(b"/") && spine().contains(&unescape(name))
    }

    fn is_news(&self, stream: Stream, line: &[u8], tells: Tells) -> bool {
        let (lines, most) = match stream {
            Stream::Stdout => (&self.lines, usize::MAX),
            Stream::Stderr => (&self.complaints, LINES_REMEMBERED),
        };
        let mut lines = lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match tells {
            Tells::All | Tells::NoDirs => true,
            Tells::NotSpine => stream == Stream::Stderr || !self.is_about_spine(line),
            Tells::AllAndRemember => {
                if lines.len() < most {
                    lines.insert(line.to_vec());
                }
                true
            }
            Tells::New | Tells::Deletions => !lines.contains(line),
        }
    }
}

/// Whether these words precede the name of DEST in the line that reports its creation; with `--mkpath`, the line has the number of directories created.
fn is_about_dest(words: &[u8]) -> bool {
    let of_many = words.strip_prefix(b"created ").is_some_and(|rest| rest.ends_with(b" for "));
    words == b"created directory " || of_many
}

/// Whether a line of `-i` or `-v` is about a deletion, or about one that failed.
pub(super) fn is_about_deletion(line: &[u8]) -> bool {
    [&b"*deleting "[..], b"deleting ", b"cannot delete non-empty directory: "]
        .iter()
        .any(|begin| line.starts_with(begin))
}

/// Whether ssh prints this line because a shared connection refuses one more session (sshd_config(5), `MaxSessions`), or exists already. ssh then opens a
/// connection of its own.
pub(super) fn is_of_shared(line: &[u8]) -> bool {
    [&b"mux_client_"[..], b"ControlSocket ", b"Control socket connect("].iter().any(|begin| line.starts_with(begin))
}

/// ssh asks for a password again, although nobody can type one.
pub(super) const TRY_AGAIN: &[u8] = b"Permission denied, please try again.";

/// Without a terminal, rsync's question for the password of a daemon (getpass(3)) does not end its line; it is removed here.
pub(super) fn without_question(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"Password: ").filter(|rest| rest.starts_with(b"@ERROR: ")).unwrap_or(line)
}

/// Which complaints are held back because they may not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Nothing,
    /// Denied changes: the launch may be repeated in a way in which the receiving side is not denied anything.
    Denials,
    /// Denied times, which may have been right before.
    Times,
    /// All complaints.
    All,
}

impl Holds {
    pub(super) fn back(self, message: &Message<'_>) -> bool {
        match self {
            Holds::Nothing => false,
            // Whatever the message is.
            Holds::All => true,
            Holds::Denials => message.is_denied_change(),
            Holds::Times => message.is_denied_time(),
        }
    }
}

/// How the output of a launch is handled.
pub(super) struct Voice<'a> {
    pub tells: Tells,
    /// The output is passed on as it comes, and only observed.
    pub verbatim: bool,
    /// Which lines about the whole transfer the user wants, if this launch is all of it.
    pub shows: Shows,
    /// The user wants to see errors only.
    pub quiet: bool,
    /// Dry run: a name below a file that blocks a directory is not an error.
    pub pretends: bool,
    /// rsync was asked to print a line for each change.
    pub marks_changes: bool,
    /// The directory for complaints that do not stay in memory.
    pub dir: &'a Path,
    /// What is held back until it is known whether it counts.
    pub holds: Holds,
    /// Other launches of this run may have taken its connection.
    pub crowded: bool,
    /// It uses a connection that multi-sync has opened.
    pub shares: bool,
    pub said: &'a Said,
    /// DEST as passed to rsync, and as the user typed it.
    pub dest: (&'a OsStr, &'a OsStr),
    /// Names that differ between rsync's arguments and the user's.
    pub handles: &'a Handles,
    /// Names that rsync prints differently for the user's own command.
    pub rooted: &'a Rooted,
    pub tell: &'a (dyn Fn(Event<'_>) + Sync),
    /// The log that also gets the lines.
    pub log: Option<Log<'a>>,
    /// Called when rsync has done everything and is only exiting, if it was asked to report that.
    pub only_ends: Option<&'a dyn Fn()>,
}

impl Voice<'_> {
    pub(super) fn only_ends(&self) {
        self.only_ends.iter().for_each(|tell| tell());
    }

    pub(super) fn note(&self, line: &[u8]) {
        self.log.iter().for_each(|log| log.line(line));
    }

    pub(super) fn say(&self, line: &[u8]) {
        let bare = |dest: &OsStr| dest.as_bytes().strip_suffix(b"/").unwrap_or(dest.as_bytes()).to_vec();
        let (given, typed) = self.dest;
        if self.verbatim {
            return;
        }
        if self.tells == Tells::NoDirs && line.starts_with(b".d") {
            return;
        }
        if self.quiet || !self.said.is_news(Stream::Stdout, line, self.tells) {
            return;
        }
        if self.shows == Shows::default() {
            self.said.begin(self.tell);
        }
        if let Some(created) = line.strip_suffix(&bare(given)[..]).filter(|words| is_about_dest(words)) {
            (self.tell)(Event::Said(&[created, &bare(typed)].concat()));
        } else if self.tells != Tells::Deletions || is_about_deletion(line) {
            (self.tell)(Event::Said(&self.rooted.line(line)));
        }
    }

    /// Prints a line about the whole transfer, if the user wants it. An empty line is printed only together with the line after it: `blank` means that one is
    /// waiting, and so does the result.
    pub(super) fn say_of_all(&self, kind: Line, line: &[u8], blank: bool) -> bool {
        let wanted = match kind {
            Line::Header => self.shows.list > 0,
            Line::Statistics => self.shows.stats > 1,
            Line::Sums => self.shows.stats > 0,
            _ => return true,
        };
        if wanted && !self.verbatim {
            blank.then(|| (self.tell)(Event::Said(b"")));
            (self.tell)(Event::Said(line));
        }
        false
    }

    pub(super) fn complain(&self, line: &[u8], nth: u32, message: Option<&Message<'_>>) {
        if self.verbatim {
            return;
        }
        let below_file = |message: &Message<'_>| self.tells == Tells::Deletions && message.is_below_file();
        if self.pretends && message.is_some_and(|message| below_file(message) || message.is_below_loop()) {
            return;
        }
        if self.said.is_news(Stream::Stderr, line, self.tells) && self.said.is_first(line, nth) {
            (self.tell)(Event::Complained(line));
        }
    }
}

/// How often a launch has printed this line, including now.
pub(super) fn count(complaints: &mut HashMap<Vec<u8>, u32>, line: &[u8]) -> u32 {
    if let Some(times) = complaints.get_mut(line) {
        *times += 1;
        return *times;
    }
    if complaints.len() < LINES_REMEMBERED {
        complaints.insert(line.to_vec(), 1);
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Printable;

    #[test]
    fn what_changes_about_a_spine_directory_is_known_by_its_name() {
        let said = Said::default();
        said.note_spine([&b"."[..], b"a b", b"a b/\xff"].into_iter().map(<[u8]>::to_vec));
        for line in [&b".d..t...... ./"[..], b".d..t...... a b/", b".d..tpog... a b/\\#377/", b"a b/"] {
            assert!(said.is_about_spine(line), "{}", Printable::bytes(line));
            assert!(!said.is_news(Stream::Stdout, line, Tells::NotSpine));
            assert!(said.is_news(Stream::Stdout, line, Tells::All));
        }
        for line in [&b".d..t...... a b/c/"[..], b"cd+++++++++ a b/", b".f..t...... a b", b"a b"] {
            assert!(said.is_news(Stream::Stdout, line, Tells::NotSpine), "{}", Printable::bytes(line));
        }
    }

    #[test]
    fn what_each_launch_says_is_told_once_and_what_one_says_twice_is_told_twice() {
        let said = Said::default();
        let told = [1, 1, 2, 1, 2].map(|nth| said.is_first(b"--link-dest arg does not exist: ../x", nth));
        assert_eq!(told, [true, false, true, false, false]);
    }
}
