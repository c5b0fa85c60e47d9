//! Reads rsync's messages on standard error. A single table of messages (`table`) is used by everything that recognises a line.
//!
//! Lines contain names, and a name can contain anything that a line can. Therefore the speaker and the subject are taken from the fixed words at the
//! beginning, the cause from the fixed words at the end, and nothing in between decides. A line that is not in the table and does not begin like rsync's
//! errors is not from rsync, but for example from a remote shell.
//!
//! In names, bytes that rsync does not print in its locale are written as `\#ooo` (log.c, `filtered_fwrite`). They are decoded here.

mod table;

use bstr::ByteSlice;

use super::exit;
use super::filter::unescape;
use table::{ROWS, Row, Shape, UNKNOWN};

/// The process that wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The process that reads the source.
    Sender,
    /// The process that writes files; also the receiving side before it forks.
    Receiver,
    /// The process that creates everything else at the destination, and deletes.
    Generator,
    /// A process of either side during its start.
    Starting,
    /// Versions before 3.2 do not tell, and neither do some messages.
    Unknown,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A name that vanished while rsync was running.
    Vanished,
    /// A name in the source that could not be looked up, such as an argument that does not exist.
    LookedUp,
    /// The source could not be listed, or an entry was left out of the list.
    List,
    /// A file of the source could not be read.
    File,
    /// A directory could not be created at the destination.
    Directory,
    /// DEST itself could not be created.
    Dest,
    /// An entry could not be created, renamed or replaced at the destination.
    Entry,
    /// A file could not be opened or written in place, or its content was wrong.
    Content,
    /// The time of an entry could not be set.
    Times,
    /// Another attribute could not be set or read.
    Attributes,
    /// A name could not be looked up, or a directory could not be read, at the destination.
    There,
    /// The default modes of new files could not be determined.
    DefaultModes,
    /// An entry that is in the place of a directory could not be deleted.
    Blocked,
    /// An entry that is in the way of another one could not be deleted.
    InTheWay,
    /// Something could not be deleted.
    Deletion,
    /// A source that was copied could not be removed.
    Removal,
    /// A daemon has reached its maximum number of clients.
    NoPlace,
    /// rsync lost a part of its list.
    LostList,
    /// A directory above an argument vanished.
    LostParent,
    /// A consequence of another message.
    Follows,
    /// The last line, which repeats the exit code.
    Summary,
    /// No error: an entry of a kind that is not copied.
    Skipped,
    /// No error.
    Note,
    /// Any other error.
    Other,
}

/// How a name in a message has to be interpreted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A path on the machine of the speaker.
    Path,
    /// A path inside a daemon's module.
    InModule,
    /// The path in the transfer, which is also the path below DEST.
    InTransfer,
}

/// The name that a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How it has to be interpreted.
    pub form: Form,
}

/// A message of rsync.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The process that wrote it.
    pub side: Side,
    /// What it is about.
    pub about: About,
    /// The system's error number.
    pub errno: Option<u32>,
    shape: Shape,
    /// The text between the fixed words.
    text: &'a [u8],
}

/// The connection ended before the first byte came (io.c, `whine_about_eof`).
const NOTHING_RECEIVED: &[u8] = b"rsync: connection unexpectedly closed (0 bytes received so far)";

const NO_SUCH_FILE: u32 = 2;
const NOT_PERMITTED: u32 = 1;
const DENIED: u32 = 13;
const EXISTS: u32 = 17;
const NOT_A_DIRECTORY: u32 = 20;
const LOOP: u32 = 40;
/// EINTR, EIO, EAGAIN, ENOMEM, EBUSY, ETXTBSY, ETIMEDOUT, EHOSTUNREACH, ESTALE, EREMOTEIO
const MAY_PASS: [u32; 10] = [4, 5, 11, 12, 16, 26, 110, 113, 116, 121];

/// Reads a line of standard error; `None` if it is not from rsync.
///
/// ```
/// use multi_sync::harness::rsync::messages::{self, Side};
/// let line = br#"rsync: [sender] send_files failed to open "/s/[generator] x": Permission denied (13)"#;
/// let message = messages::read(line).unwrap();
/// assert_eq!((message.side, message.errno), (Side::Sender, Some(13)));
/// assert_eq!(message.names()[0].bytes, b"/s/[generator] x");
/// assert!(messages::read(b"Warning: Permanently added 'h' to the list of known hosts.").is_none());
/// ```
pub fn read(line: &[u8]) -> Option<Message<'_>> {
    let after = line.strip_prefix(b"rsync: ");
    let (said, rest) = speaker(after.unwrap_or(line));
    let begins = |row: &&Row| row.after_rsync == after.is_some() && rest.starts_with(row.begins.as_bytes());
    let (row, text) = match ROWS.iter().find(begins) {
        Some(row) => (row, &rest[row.begins.len()..]),
        None if after.is_some() || said.is_some() => (&UNKNOWN, rest),
        None => return None,
    };
    let (text, errno) = if after.is_some() { without_cause(text) } else { (text, None) };
    let text = text.strip_suffix(row.ends.as_bytes()).unwrap_or(text);
    let side = said.unwrap_or(row.side);
    let theirs = matches!(side, Side::Receiver | Side::Generator);
    // Both sides use the same words for this.
    let about = if row.about == About::List && theirs { About::There } else { row.about };
    Some(Message { side, about, errno, shape: row.shape, text })
}

/// Splits off `[sender] ` and the like (rsync.c, `who_am_i`).
fn speaker(text: &[u8]) -> (Option<Side>, &[u8]) {
    const SPEAKERS: [(&[u8], Side); 7] = [
        (b"[sender] ", Side::Sender),
        (b"[receiver] ", Side::Receiver),
        (b"[generator] ", Side::Generator),
        (b"[Receiver] ", Side::Receiver),
        (b"[client] ", Side::Starting),
        (b"[server] ", Side::Starting),
        (b"[Sender] ", Side::Sender),
    ];
    SPEAKERS.iter().find_map(|(begin, side)| Some((Some(*side), text.strip_prefix(*begin)?))).unwrap_or((None, text))
}

/// Splits off `: Permission denied (13)`. The system's words contain no colon.
fn without_cause(text: &[u8]) -> (&[u8], Option<u32>) {
    let cut = || {
        let inner = text.strip_suffix(b")")?;
        let open = inner.iter().rposition(|byte| *byte == b'(')?;
        let number = std::str::from_utf8(&inner[open + 1..]).ok()?.parse().ok()?;
        let end = text[..open].rfind(b": ")?;
        Some((&text[..end], Some(number)))
    };
    cut().unwrap_or((text, None))
}

impl Message<'_> {
    /// Whether the receiving side wrote it. If this is unknown, the sender is assumed, because its errors prevent deletion.
    pub fn is_of_receiver(&self) -> bool {
        matches!(self.side, Side::Receiver | Side::Generator)
    }

    /// Whether it reports an error.
    pub fn is_error(&self) -> bool {
        !matches!(self.about, About::Note | About::Skipped)
    }

    /// Whether it reports that an entry is missing at the destination, or is not as it should be.
    pub fn names_a_failure(&self) -> bool {
        self.is_error() && self.about != About::Vanished && !matches!(self.shape, Shape::None)
    }

    /// Whether the receiving side was not allowed to change the contents of a directory: with another mode it succeeds.
    pub fn is_denied_change(&self) -> bool {
        let changes = [About::Directory, About::Dest, About::Entry, About::Deletion];
        self.errno == Some(DENIED) && self.side != Side::Sender && changes.contains(&self.about)
    }

    /// Whether the receiving side may not set the time of an entry that another user owns.
    pub fn is_denied_time(&self) -> bool {
        (self.about, self.side, self.errno) == (About::Times, Side::Generator, Some(NOT_PERMITTED))
    }

    /// Whether a name could not be looked up at the destination because it lies below something that is not a directory.
    pub fn is_below_file(&self) -> bool {
        // Without --perms, rsync also reads the default modes of the directory above.
        self.about == About::DefaultModes || self.about == About::There && self.errno == Some(NOT_A_DIRECTORY)
    }

    /// Whether a name could not be looked up at the destination because a link above it leads to itself.
    pub fn is_below_loop(&self) -> bool {
        self.about == About::There && self.errno == Some(LOOP)
    }

    /// Whether an argument of the sender does not exist.
    pub fn is_missing(&self) -> bool {
        let may_be = matches!(self.side, Side::Sender | Side::Unknown);
        may_be && self.about == About::LookedUp && self.errno == Some(NO_SUCH_FILE)
    }

    /// Whether a daemon refused the client, or another rsync created DEST at the same moment.
    pub fn is_no_place(&self) -> bool {
        self.about == About::NoPlace || self.about == About::Dest && self.errno == Some(EXISTS)
    }

    /// Whether it is about a transient error, such as a server that did not answer, or only follows from another message.
    pub fn may_pass(&self) -> bool {
        self.about == About::Follows || self.errno.is_some_and(|errno| MAY_PASS.contains(&errno))
    }

    /// The name of the entry that it is about. If a line contains two names, and one of them contains the words between them, there are several ways to read
    /// it: the likely one comes first. Empty if it is not about a name.
    pub fn names(&self) -> Vec<Name> {
        let text = self.text;
        let bare = |text: &[u8]| vec![Name { bytes: unescaped(text), form: Form::InTransfer }];
        match self.shape {
            Shape::None => Vec::new(),
            Shape::Bare => bare(text),
            Shape::BareAfter(before) => text.find(before).map_or(Vec::new(), |at| bare(&text[at + before.len()..])),
            Shape::BareBefore(after) => text.rfind(after).map_or(Vec::new(), |at| bare(&text[..at])),
            Shape::Quoted => quoted(text).into_iter().collect(),
            Shape::QuotedOr(after) => {
                let end = if after.is_empty() { Some(text.len()) } else { text.rfind(after) };
                let text = &text[..end.unwrap_or(text.len())];
                quoted(text).map_or_else(|| bare(text), |name| vec![name])
            }
            Shape::First(between) => {
                places(text, between.as_bytes()).into_iter().filter_map(|at| quoted(&text[..at])).collect()
            }
            Shape::Second(between) => {
                let after = |at: usize| text[at + between.len()..].strip_suffix(b"\"");
                let is_split = |at: &usize| quoted(&text[..*at]).is_some();
                places(text, between.as_bytes()).into_iter().filter(is_split).filter_map(after).flat_map(bare).collect()
            }
            Shape::InCall => {
                let inner = text.find("(").map(|at| &text[at + 1..]).unwrap_or_default();
                let end = inner.rfind(b"\",").map(|at| &inner[..=at]);
                end.and_then(quoted).into_iter().collect()
            }
        }
    }
}

/// Reads `"NAME"` or `"NAME" (in MODULE)`: util1.c, `full_fname`.
fn quoted(text: &[u8]) -> Option<Name> {
    let inner = text.strip_prefix(b"\"")?;
    if let Some(path) = inner.strip_suffix(b"\"") {
        return Some(Name { bytes: unescaped(path), form: Form::Path });
    }
    let end = inner.strip_suffix(b")")?.rfind(b"\" (in ")?;
    Some(Name { bytes: unescaped(&inner[..end]), form: Form::InModule })
}

/// Decodes a name. A trailing slash is not part of it.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let name = unescape(text);
    if name.is_empty() { text.to_vec() } else { name }
}

fn places(text: &[u8], part: &[u8]) -> Vec<usize> {
    (0..text.len()).filter(|at| text[*at..].starts_with(part)).collect()
}

/// Whether a line only says that a launch ends because a daemon refused it, or because another rsync was in its way.
pub fn ends_without_place(line: &[u8]) -> bool {
    let ends = [
        &b"rsync error: error starting client-server protocol (code 5)"[..],
        b"rsync error: error in file IO (code 11)",
        NOTHING_RECEIVED,
        b"rsync error: error in rsync protocol data stream (code 12)",
        b"rsync error: unexplained error (code 255)",
    ];
    ends.iter().any(|end| line.starts_with(end))
}

/// Whether the other machine refused a launch because it has too many clients: rrsync's lock, and sshd's `MaxStartups`.
pub fn is_turned_away(line: &[u8]) -> bool {
    const LOCKED: &[u8] = b" error: Another instance of rrsync is already accessing this directory.";
    const HANDSHAKE: [&[u8]; 2] = [b"kex_exchange_identification: ", b"ssh_exchange_identification: "];
    line.ends_with(LOCKED) || HANDSHAKE.iter().any(|begin| line.starts_with(begin))
}

/// Whether the connection ended before the other side had said anything: then nothing was transferred.
pub fn is_unanswered(line: &[u8]) -> bool {
    line.starts_with(NOTHING_RECEIVED)
}

/// Whether the two sides of an rsync disagreed at the end about what was still to come (3.5.0, main.c, `read_final_goodbye`).
pub fn is_lost_count(line: &[u8]) -> bool {
    line.starts_with(b"Invalid packet at end of run (")
}

/// Whether the other side refuses an option, or ends the launch because of that.
pub fn is_refusal(line: &[u8]) -> bool {
    const SAYS: [&[u8]; 3] = [
        b"rsync: The server is configured to refuse ",
        b"Incompatible options specified for ",
        b"rsync: on remote machine: ",
    ];
    const ENDS: [&[u8]; 2] =
        [b"rsync error: requested action not supported (code 4)", b"rsync error: syntax or usage error (code 1)"];
    SAYS.iter().chain(&ENDS).any(|begin| line.starts_with(begin))
}

/// Whether a line is rsync's last line, with one of these exit codes.
pub fn is_summary_of(line: &[u8], codes: &[u8]) -> bool {
    summary_of(line).is_some_and(|code| codes.contains(&code))
}

fn summary_of(line: &[u8]) -> Option<u8> {
    let message = read(line).filter(|message| message.about == About::Summary)?;
    // rsync's description of a code contains no parenthesis with a code (errcode.h, log.c).
    let rest = message.text.find("(code ").map(|at| &message.text[at + 6..])?;
    let end = rest.find(") at ")?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// Whether a line says that the connection to the other side has ended, or that the other side was silent for too long, in the words of rsync or of a remote
/// shell.
pub fn breaks_off(line: &[u8]) -> bool {
    const SAYS: [&str; 3] = ["io timeout after ", "connection unexpectedly closed", "safe_"];
    /// EPIPE and ECONNRESET: reading or writing a file does not cause these.
    const ENDS: [u32; 2] = [32, 104];
    const TIMED_OUT: u32 = 110;
    let Some(message) = read(line) else { return true };
    let is_of_all = message.about == About::Other && matches!(message.shape, Shape::None);
    let says = || SAYS.iter().any(|begin| message.text.starts_with(begin.as_bytes()));
    match summary_of(line) {
        Some(code) => exit::breaks_off(code),
        None if is_of_all && (says() || message.errno == Some(TIMED_OUT)) => true,
        None => message.errno.is_some_and(|errno| ENDS.contains(&errno)),
    }
}

/// Whether it is rsync's last line after it got a signal. This line is never the cause.
pub fn is_signal(line: &[u8]) -> bool {
    line.starts_with(b"rsync error: received SIG")
}

#[cfg(test)]
mod tests;
