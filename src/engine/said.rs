//! How what an rsync prints becomes what one rsync would have printed: what of it is told, once, and what is held back until it is known whether it
//! counts.

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

/// Lines remembered so that a second pass over the same directories does not repeat them.
pub(super) const LINES_REMEMBERED: usize = 10_000;

/// What was said about spine directories when they were created, not to be repeated by launches that come upon them again.
#[derive(Default)]
pub(super) struct Said {
    complaints: Mutex<HashSet<Vec<u8>>>,
    /// At most a line for each spine directory.
    lines: Mutex<HashSet<Vec<u8>>>,
    /// How often each complaint was told: what is about the run as a whole is said by each launch, and by one rsync once.
    told: Mutex<HashMap<Vec<u8>, u32>>,
    /// Spine directories by their paths in the transfer, where lines are printed.
    spine: Mutex<HashSet<Vec<u8>>>,
    /// What is to be said before the first line.
    header: Mutex<Option<&'static str>>,
    /// How a daemon greets.
    greeting: Mutex<Vec<Vec<u8>>>,
}

/// What of its output a launch tells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    All,
    /// All, and it is remembered.
    AllAndRemember,
    /// What is not remembered.
    New,
    /// All but what changes about directories: those above what is repeated are none of its business.
    NoDirs,
    /// All but what changes about spine directories: they were told of when they were made, and come along.
    NotSpine,
    /// Complaints, and on standard output only what is about deletion: everything else was printed before.
    Deletions,
}

impl Said {
    /// Of a run in which this comes before the first line, and before that the greeting of a daemon.
    pub fn after(header: Option<&'static str>, greeting: Vec<Vec<u8>>) -> Said {
        Said { header: Mutex::new(header), greeting: Mutex::new(greeting), ..Said::default() }
    }

    /// Says how the daemon greets, once.
    pub fn greet(&self, tell: &(dyn Fn(Event<'_>) + Sync)) {
        let greeting = std::mem::take(&mut *self.greeting.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        greeting.iter().for_each(|line| tell(Event::Said(line)));
    }

    /// Says what comes before the first line, once.
    pub fn begin(&self, tell: &(dyn Fn(Event<'_>) + Sync)) {
        // Held until it is said.
        let mut header = self.header.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        header.take().into_iter().for_each(|line| tell(Event::Said(line.as_bytes())));
    }

    /// Whether no launch has made this complaint so often, which this one makes for the `nth` time.
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

    /// Whether a line says no more than that something about a spine directory has changed.
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

/// What stands before the name of DEST where it is made, with `--mkpath` as many directories as had to be.
fn is_about_dest(words: &[u8]) -> bool {
    let of_many = words.strip_prefix(b"created ").is_some_and(|rest| rest.ends_with(b" for "));
    words == b"created directory " || of_many
}

/// Lines of `-i` and `-v` about what is deleted, and the one about what could not be.
pub(super) fn is_about_deletion(line: &[u8]) -> bool {
    [&b"*deleting "[..], b"deleting ", b"cannot delete non-empty directory: "]
        .iter()
        .any(|begin| line.starts_with(begin))
}

/// What ssh says of a shared connection that does not take it (sshd_config(5), `MaxSessions`), or is there already, before it makes one of its own.
pub(super) fn is_of_shared(line: &[u8]) -> bool {
    [&b"mux_client_"[..], b"ControlSocket ", b"Control socket connect("].iter().any(|begin| line.starts_with(begin))
}

/// ssh asks for a password once more, although nobody can type one.
pub(super) const TRY_AGAIN: &[u8] = b"Permission denied, please try again.";

/// rsync's question for the password of a daemon (getpass(3)) has no line of its own where there is no terminal.
pub(super) fn without_question(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"Password: ").filter(|rest| rest.starts_with(b"@ERROR: ")).unwrap_or(line)
}

/// Complaints that may come to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Nothing,
    /// The launch may be repeated in a way that the receiving side is not denied anything.
    Denials,
    /// Times that were right before.
    Times,
    /// All of it.
    All,
}

impl Holds {
    pub(super) fn back(self, message: &Message<'_>) -> bool {
        match self {
            Holds::Nothing => false,
            // Whatever it is.
            Holds::All => true,
            Holds::Denials => message.is_denied_change(),
            Holds::Times => message.is_denied_time(),
        }
    }
}

/// How a launch speaks.
pub(super) struct Voice<'a> {
    pub tells: Tells,
    /// What it prints is handed on as it comes, and only listened to.
    pub verbatim: bool,
    /// What the user wants to hear of the transfer as a whole, if this launch is all of it.
    pub shows: Shows,
    /// The user wants to hear of errors only.
    pub quiet: bool,
    /// Nothing is made: names below a file in the place of a directory are no error.
    pub pretends: bool,
    /// A line for each change is an answer to what it was asked.
    pub marks_changes: bool,
    /// Where complaints go that do not stay in memory.
    pub dir: &'a Path,
    /// What is held back until it is known whether it counts.
    pub holds: Holds,
    /// Other launches of this run may have taken its place.
    pub crowded: bool,
    /// It goes through a connection that multi-sync has made.
    pub shares: bool,
    pub said: &'a Said,
    /// DEST as rsync gets it and as the user typed it.
    pub dest: (&'a OsStr, &'a OsStr),
    /// What rsync names otherwise than the user.
    pub handles: &'a Handles,
    /// What rsync prints otherwise of the user's own command.
    pub rooted: &'a Rooted,
    pub tell: &'a (dyn Fn(Event<'_>) + Sync),
    /// Where its lines are written down as well.
    pub log: Option<Log<'a>>,
    /// Tells that it has done everything and only ends; of a launch that was asked to say so.
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

    /// Tells of the transfer as a whole what the user wants to hear, `blank` lines before a part of the end with it; says whether one waits.
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

/// How often a launch has said this, now included.
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
