//! Reads the output of a running rsync line by line: progress, statistics, and whether its errors are only about names that vanished.
//!
//! Lines are in English, and are split at newlines and carriage returns. Lines that are not recognised are left to the caller to show. Nothing is stored per
//! line, so the memory of a launch does not grow with its output.

use super::figures::leading_number;
pub use super::figures::{Counts, Figures};
use super::messages::{self, About, Message};

/// The progress that one rsync reports (`--info=progress2`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of file content that were processed, in files that needed a transfer.
    pub bytes: u64,
    /// Entries checked so far.
    pub checked: u64,
    /// Entries that rsync has found so far.
    pub listed: u64,
}

/// The format of the line that rsync prints for each entry that it changes, if it is asked to ([`super::command::Recipe::marks_changes`]). Without `%o`,
/// rsync would print the names that it deletes in a format of its own.
pub const CHANGE: &str = "~%o";
/// The lines in this format.
const CHANGES: [&str; 3] = ["~send", "~recv", "~del."];

/// Printed by rsync when it has done everything and waits for the processes that it has started, if it is asked to ([`super::command::Recipe::tells_end`]).
/// The PID follows.
const WAITS: &str = "client_run waiting on ";
/// Printed by each of rsync's processes when it fails or ends, after the name of its role: a process on this machine inherits the debug option.
const EXITS: &str = "] _exit_cleanup(code=";

/// The first line of rsync's output, as sender and as receiver.
const HEADERS: [&str; 4] = [
    "sending incremental file list",
    "building file list ... done",
    "receiving incremental file list",
    "receiving file list ... done",
];

/// The meaning of a line on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Progress: not to be shown, except for the text from this position on, because rsync does not always end the line.
    Progress(Progress, usize),
    /// An answer to a question of multi-sync itself.
    Ours,
    /// The line about the file list at the beginning.
    Header,
    /// An empty line.
    Blank,
    /// A part of the block of statistics, added to [`Transcript::figures`].
    Statistics,
    /// One of the two lines that end a transfer with `--verbose`.
    Sums,
    /// Everything is done, and nothing went wrong: rsync is only ending.
    OnlyEnds,
    /// Output for the user.
    Other,
}

/// A summary of the output of one launch so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transcript {
    /// Statistics so far.
    pub figures: Figures,
    /// Whether lines about the end of the launch are the answer to [`super::command::Recipe::tells_end`], and not for the user.
    tells_end: bool,
    /// Whether lines about changes are the answer to [`super::command::Recipe::marks_changes`].
    marks_changes: bool,
    /// Whether the empty line before the statistics was there. Before it, a line that looks like statistics is the name of a file.
    is_at_end: bool,
    /// Whether the line about the file list was there. After it, such a line is the name of a file.
    has_header: bool,
    progress: Progress,
    errors: u64,
    passing: u64,
    times: u64,
    missing: u64,
    vanished: u64,
    denied: bool,
    otherwise: bool,
    list_failed: bool,
    file_failed: bool,
    lost_list: bool,
    below_files: u64,
    below_loops: u64,
    skipped: bool,
    lost_parent: bool,
    lost_count: bool,
    unanswered: bool,
    no_place: bool,
    refused: bool,
    no_files: bool,
    changes: u64,
    has_figures: bool,
    rounded: bool,
}

impl Transcript {
    /// For a launch that was asked, or not asked, to report when it only ends, and what it changes.
    pub fn new(tells_end: bool, marks_changes: bool) -> Transcript {
        Transcript { tells_end, marks_changes, ..Transcript::default() }
    }

    /// Whether this line is no output for the user, whatever its position.
    pub fn is_known(line: &[u8]) -> bool {
        Transcript { marks_changes: true, is_at_end: true, ..Transcript::default() }.stdout(line) != Line::Other
    }

    /// Takes a line of standard output; also one of standard error, because `--stderr=all` sends everything there.
    pub fn stdout(&mut self, line: &[u8]) -> Line {
        let text = String::from_utf8_lossy(line);
        if let Some((progress, end)) = parse_progress(&text, self.progress) {
            self.progress = progress;
            return Line::Progress(progress, end);
        }
        self.is_at_end |= line.is_empty();
        let text = text.trim_end();
        if text.is_empty() {
            return Line::Blank;
        }
        if self.tells_end && is_exit(text) {
            return Line::Ours;
        }
        if self.tells_end && text.starts_with(WAITS) {
            return if self.errors == 0 { Line::OnlyEnds } else { Line::Ours };
        }
        if self.marks_changes && CHANGES.contains(&text) {
            self.changes += 1;
            return Line::Ours;
        }
        if self.is_at_end
            && let Some((label, rest)) = text.split_once(": ")
            && let Some(understood) = self.figures.take(label, rest)
        {
            self.rounded |= !understood;
            self.has_figures = true;
            self.no_files |= label == "Number of files" && self.figures.files == Counts::default();
            return Line::Statistics;
        }
        if HEADERS.contains(&text) && !std::mem::replace(&mut self.has_header, true) {
            return Line::Header;
        }
        let is_sum = text.starts_with("sent ") && text.ends_with(" bytes/sec") || text.starts_with("total size is ");
        if self.is_at_end && is_sum {
            return Line::Sums;
        }
        self.skipped |= text.starts_with("skipping non-regular file \"") && text.ends_with('"');
        Line::Other
    }

    /// Takes a line of standard error, and returns whether it should be shown. rsync's last line, which only repeats the exit code, is not shown. A line that
    /// is not from rsync is shown, and does not count for the launch.
    pub fn stderr(&mut self, line: &[u8]) -> bool {
        if line.is_empty() || messages::is_summary_of(line, &[23, 24]) {
            return false;
        }
        self.refused |= messages::is_refusal(line);
        self.no_place |= messages::is_turned_away(line);
        self.lost_count |= messages::is_lost_count(line);
        self.unanswered |= messages::is_unanswered(line);
        let Some(message) = messages::read(line).filter(Message::is_error) else { return true };
        self.errors += 1;
        self.passing += u64::from(message.may_pass());
        self.times += u64::from(message.is_denied_time());
        self.below_files += u64::from(message.is_below_file());
        self.below_loops += u64::from(message.is_below_loop());
        self.lost_list |= message.about == About::LostList;
        self.no_place |= message.is_no_place();
        self.lost_parent |= message.about == About::LostParent;
        match message.about {
            About::Vanished => self.vanished += 1,
            _ if message.is_missing() => self.missing += 1,
            // rsync's deleting process hears of a file that cannot be read only at the end (experiment).
            About::File if !message.is_of_receiver() => self.file_failed = true,
            About::Summary | About::NoPlace | About::LostList | About::LostParent => {}
            _ => self.list_failed |= !message.is_of_receiver(),
        }
        self.denied |= message.is_denied_change();
        let follows = message.about == About::Follows && message.is_of_receiver();
        self.otherwise |= !message.is_denied_change() && !follows;
        true
    }

    /// Whether it has printed its statistics, as plain numbers.
    pub fn has_figures(&self) -> bool {
        self.has_figures && !self.rounded
    }

    /// Whether it was refused because there were too many clients, or another rsync created DEST at the same moment.
    pub fn found_no_place(&self) -> bool {
        self.no_place
    }

    /// Whether the other side refused an option.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether its file list was empty: everything was excluded, or it never got the names.
    pub fn had_no_files(&self) -> bool {
        self.no_files
    }

    /// Whether it has reported a change, if it was asked to.
    pub fn has_changes(&self) -> bool {
        self.changes > 0
    }

    /// Whether the sending side left out an entry of a kind that it was not asked to copy.
    pub fn skipped(&self) -> bool {
        self.skipped
    }

    /// Whether rsync gave up because a directory above an argument vanished just after the argument was looked up.
    pub fn lost_parent(&self) -> bool {
        self.lost_parent
    }

    /// Whether its two sides disagreed at the end about what was still to come.
    pub fn lost_count(&self) -> bool {
        self.lost_count
    }

    /// Whether the connection ended before the other side had said anything.
    pub fn is_unanswered(&self) -> bool {
        self.unanswered
    }

    /// Whether the sending side could not list something; names that have vanished do not count.
    pub fn list_failed(&self) -> bool {
        self.list_failed
    }

    /// Whether the sending side could not read a file.
    pub fn file_failed(&self) -> bool {
        self.file_failed
    }

    /// Whether all its errors are about names below a file that a dry run leaves in the place of a directory.
    pub fn only_below_files(&self) -> bool {
        self.errors > 0 && self.errors == self.below_files + self.below_loops
    }

    /// Whether all its errors are about names below symbolic links that lead to themselves.
    pub fn only_below_loops(&self) -> bool {
        self.errors > 0 && self.errors == self.below_loops
    }

    /// Whether rsync lost a part of its own list, as 3.5.0 sometimes does with `--hard-links`, unless it reads the whole list first.
    pub fn lost_list(&self) -> bool {
        self.lost_list
    }

    /// Whether all its errors are that it may not set times.
    pub fn only_times(&self) -> bool {
        self.errors > 0 && self.errors == self.times
    }

    /// Whether all its errors are transient, or it printed none.
    pub fn may_pass(&self) -> bool {
        self.errors == self.passing
    }

    /// Whether the receiving side was denied something that rsync may be able to do itself if it gets implied directories.
    pub fn receiver_denied(&self) -> bool {
        self.denied
    }

    /// Whether it reported any other error.
    pub fn complained_otherwise(&self) -> bool {
        self.otherwise
    }

    /// Whether it reported a name that does not exist.
    pub fn tells_missing(&self) -> bool {
        self.missing > 0
    }

    /// The number of arguments that rsync did not find, if these (and files that vanished) are its only errors. rsync exits with 23 for them; one rsync over
    /// the whole tree would have reported "vanished", and exited with 24. The caller checks that they are really gone.
    pub fn only_missing(&self) -> Option<u64> {
        (self.errors > 0 && self.errors == self.missing + self.vanished).then_some(self.missing)
    }
}

/// Reads `  1234  56%  7.89MB/s  0:00:01 (xfr#5, to-chk=6/7)`; in the middle of a file, without the parenthesis. Also returns the position of its end.
fn parse_progress(text: &str, before: Progress) -> Option<(Progress, usize)> {
    let mut rest = text;
    let mut word = || {
        let begun = rest.trim_start_matches(' ');
        let (word, after) = begun.split_at(begun.find(' ')?);
        rest = after;
        Some(word)
    };
    let bytes = size(word()?)?;
    word()?.strip_suffix('%')?;
    word()?.strip_suffix("/s")?;
    let time = word()?;
    if !time.bytes().all(|byte| byte.is_ascii_digit() || b":?".contains(&byte)) {
        return None;
    }
    let mut progress = Progress { bytes, ..before };
    let mut left = rest.trim_start_matches(' ');
    if let Some((counts, after)) = left.strip_prefix("(xfr#").and_then(|counts| counts.split_once(')'))
        && let Some((_, counts)) = counts.split_once("-chk=")
    {
        let (unchecked, listed) = counts.split_once('/')?;
        let listed: u64 = leading_number(listed)?;
        progress.checked = listed.saturating_sub(leading_number(unchecked)?);
        progress.listed = listed;
        left = after;
    }
    let end = if left.trim_end().is_empty() { text.len() } else { text.len() - left.len() };
    Some((progress, end))
}

fn is_exit(text: &str) -> bool {
    text.strip_prefix('[')
        .and_then(|text| text.find(']').map(|end| &text[end..]))
        .is_some_and(|text| text.starts_with(EXITS))
}

/// A number in digits or in units, which is precise enough for progress.
fn size(text: &str) -> Option<u64> {
    let rounded = || {
        let power = "KMGTP".find(text.chars().last()?)? as i32 + 1;
        Some((text[..text.len() - 1].parse::<f64>().ok()? * 1000_f64.powi(power)) as u64)
    };
    text.replace(',', "").parse().ok().or_else(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_only_by_who_was_asked_and_did_not_complain() {
        let waits = b"client_run waiting on 4711";
        let exits = b"[sender] _exit_cleanup(code=0, file=main.c, line=1394): entered";
        let mut named_so = Transcript::default();
        assert_eq!((named_so.stdout(waits), named_so.stdout(exits)), (Line::Other, Line::Other));
        let mut asked = Transcript::new(true, false);
        assert_eq!((asked.stdout(waits), asked.stdout(exits)), (Line::OnlyEnds, Line::Ours));
        let fails = b"[receiver] _exit_cleanup(code=11, file=receiver.c, line=657): about to call exit(11)";
        assert_eq!(asked.stdout(fails), Line::Ours);
        let mut crowded = Transcript::default();
        crowded.stderr(b"rsync: [Receiver] mkdir \"D2\" (in few2) failed: File exists (17)");
        assert!(crowded.found_no_place());
        let mut complained = Transcript::new(true, false);
        complained.stderr(b"rsync: that was odd");
        assert_eq!(complained.stdout(waits), Line::Ours);
    }

    #[test]
    fn progress_is_read_with_and_without_counts() {
        let mut transcript = Transcript::default();
        let line = transcript.stdout(b"      209729093 100%  167.80MB/s    0:00:01 (xfr#3001, ir-chk=1000/3002)");
        assert_eq!(line, Line::Progress(Progress { bytes: 209_729_093, checked: 2002, listed: 3002 }, 72));
        let line = transcript.stdout(b"      310000000  82%  164.01MB/s    0:00:00  ");
        assert_eq!(line, Line::Progress(Progress { bytes: 310_000_000, checked: 2002, listed: 3002 }, 45));
        let glued = b"          1967 100%    0.00kB/s    0:00:00 (xfr#1, to-chk=1/7)cd+++++++++ n1/";
        let Line::Progress(_, end) = transcript.stdout(glued) else { panic!("no progress") };
        assert_eq!(&glued[end..], b"cd+++++++++ n1/");
    }

    #[test]
    fn numbers_are_read_as_the_user_wants_them() {
        let mut transcript = Transcript::default();
        let line = transcript.stdout(b"          2.10M 100%  167.80MB/s    0:00:01 (xfr#1,001, ir-chk=1,000/3,002)");
        assert_eq!(line, Line::Progress(Progress { bytes: 2_100_000, checked: 2002, listed: 3002 }, 75));
        assert_eq!(transcript.stdout(b""), Line::Blank);
        assert_eq!(transcript.stdout(b"Total bytes sent: 1,234,567"), Line::Statistics);
        assert!(transcript.figures.sent == 1_234_567 && transcript.has_figures());
        assert_eq!(transcript.stdout(b"Literal data: 1.23M bytes"), Line::Statistics);
        assert!(!transcript.has_figures());
    }

    #[test]
    fn statistics_are_summed_and_everything_else_is_for_the_user() {
        let mut transcript = Transcript::default();
        assert_eq!(transcript.stdout(b""), Line::Blank);
        for line in [
            "sent 209955343 bytes  received 57038 bytes  84004952.40 bytes/sec",
            "total size is 209729093  speedup is 1.00",
        ] {
            assert_eq!(transcript.stdout(line.as_bytes()), Line::Sums, "{line}");
        }
        assert_eq!(transcript.stdout(b""), Line::Blank);
        for line in [
            "Number of files: 3002 (reg: 3001, dir: 1)",
            "Number of created files: 3002 (reg: 3001, dir: 1)",
            "Number of deleted files: 0",
            "Number of regular files transferred: 3001",
            "Total file size: 209729093 bytes",
            "Total transferred file size: 209729093 bytes",
            "Literal data: 209729000 bytes",
            "Matched data: 93 bytes",
            "File list size: 0",
            "File list generation time: 0.006 seconds",
            "File list transfer time: 0.000 seconds",
            "Total bytes sent: 209955343",
            "Total bytes received: 57038",
        ] {
            assert_eq!(transcript.stdout(line.as_bytes()), Line::Statistics, "{line}");
        }
        assert_eq!(transcript.stdout(b"skipping non-regular file \"fifo\""), Line::Other);
        assert_eq!(
            (transcript.figures.created.reg, transcript.figures.files.dir, transcript.figures.list_made),
            (3001, 1, 6)
        );
        assert_eq!(transcript.figures.matched, 93);
        let mut sum = transcript.figures;
        sum += transcript.figures;
        assert_eq!((sum.transferred, sum.received, sum.literal), (6002, 114_076, 419_458_000));
    }

    #[test]
    fn a_daemon_without_a_place_is_told_from_one_that_refuses() {
        let mut transcript = Transcript::default();
        transcript.stderr(b"@ERROR: Unknown module 'few'");
        assert!(!transcript.found_no_place());
        let full = b"@ERROR: max connections (2) reached -- try again later";
        transcript.stderr(full);
        assert!(transcript.found_no_place());
        transcript.stdout(b"");
        transcript.stdout(b"Number of files: 20 (reg: 19, dir: 1)");
        assert!(!transcript.had_no_files());
        transcript.stdout(b"Number of files: 0");
        assert!(transcript.had_no_files());
    }

    #[test]
    fn names_that_look_like_what_rsync_says_are_names() {
        let header = b"sending incremental file list";
        let names = [
            "~send",
            "~del.",
            "Number of files: 0",
            "total size is 5",
            "sent 1 bytes/sec",
            "sending incremental file list",
        ];
        let mut transcript = Transcript::default();
        assert_eq!(transcript.stdout(header), Line::Header);
        for name in names {
            assert_eq!(transcript.stdout(name.as_bytes()), Line::Other, "{name}");
            assert!(Transcript::is_known(name.as_bytes()), "{name}");
        }
        assert!(!transcript.had_no_files() && !transcript.has_figures());
        assert_eq!(Transcript::new(false, true).stdout(b"~send"), Line::Ours);
    }

    #[test]
    fn names_below_a_file_are_told_from_other_errors() {
        let mut transcript = Transcript::default();
        assert!(!transcript.only_below_files());
        transcript.stderr(b"rsync: [generator] recv_generator: failed to stat \"/d/a/f\": Not a directory (20)");
        transcript.stderr(b"rsync: [generator] opendir \"/d/a\" failed: Not a directory (20)");
        assert!(transcript.only_below_files());
        transcript.stderr(b"rsync: [generator] recv_generator: failed to stat \"/d/a/f\": Permission denied (13)");
        assert!(!transcript.only_below_files());
    }

    #[test]
    fn what_may_pass_is_told_from_what_stays() {
        let mut transcript = Transcript::default();
        assert!(transcript.may_pass());
        transcript.stderr(b"rsync: [sender] read errors mapping \"/s/f\": Input/output error (5)");
        transcript.stderr(b"rsync: [sender] opendir \"/s/d\" failed: Stale file handle (116)");
        assert!(transcript.may_pass());
        transcript.stderr(b"rsync: [sender] send_files failed to open \"/s/x\": Permission denied (13)");
        assert!(!transcript.may_pass());
    }

    #[test]
    fn times_that_may_not_be_set_are_told_from_times_that_cannot() {
        let mut transcript = Transcript::default();
        assert!(!transcript.only_times());
        transcript.stderr(b"rsync: [generator] failed to set times on \"/d/o\": Operation not permitted (1)");
        assert!(transcript.only_times());
        transcript.stderr(b"rsync: [generator] failed to set times on \"/d/o\": Input/output error (5)");
        assert!(!transcript.only_times());
    }

    #[test]
    fn a_lost_list_is_known() {
        let mut transcript = Transcript::default();
        assert!(!transcript.lost_list());
        transcript.stderr(b"File-list index 2 not in 4 - 5 (finish_hard_link) [generator]");
        assert!(transcript.lost_list());
    }

    #[test]
    fn a_missing_argument_is_told_from_every_other_error() {
        let gone = b"rsync: [sender] link_stat \"/s/gone\" failed: No such file or directory (2)";
        let last =
            b"rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1394)";
        let mut transcript = Transcript::default();
        assert_eq!(transcript.only_missing(), None);
        assert!(transcript.stderr(gone));
        assert!(transcript.stderr(b"file has vanished: \"/s/other\""));
        assert!(!transcript.stderr(last));
        assert_eq!(transcript.only_missing(), Some(1));
        assert!(transcript.stderr(b"rsync: [generator] failed to stat \"/d/x\": Not a directory (20)"));
        assert!(transcript.stderr(b"could not make way for new regular file: x"));
        assert!(!transcript.list_failed() && !transcript.file_failed());
        assert!(transcript.stderr(b"rsync: [sender] send_files failed to open \"/s/x\": Permission denied (13)"));
        assert_eq!(transcript.only_missing(), None);
        assert!(!transcript.list_failed() && transcript.file_failed());
        assert!(transcript.stderr(b"rsync: [sender] opendir \"/s/d\" failed: Permission denied (13)"));
        assert!(transcript.list_failed());
    }
}
