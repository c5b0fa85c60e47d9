//! The messages that can come with exit codes 23 and 24, and some others that are looked for, from rsync 3.1 to 3.5.0. The last column says where they are in
//! rsync's source.

use super::{About, Side};

/// Where the name of the entry is in the text between the fixed words.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Nowhere.
    None,
    /// The whole text, without quotation marks.
    Bare,
    /// The rest after the first occurrence of this.
    BareAfter(&'static str),
    /// The text before the last occurrence of this.
    BareBefore(&'static str),
    /// The whole text, as `full_fname` prints it.
    Quoted,
    /// As `Quoted`, or without quotation marks up to the last occurrence of this.
    QuotedOr(&'static str),
    /// The first of two names, with this between them.
    First(&'static str),
    /// The second of two names, without a path.
    Second(&'static str),
    /// The first argument of a function.
    InCall,
}

pub(super) struct Row {
    /// Whether `rsync: ` comes before it, and since 3.2 also `[sender] ` and the like. The system's message and error number are at the end then.
    pub after_rsync: bool,
    pub begins: &'static str,
    pub shape: Shape,
    pub ends: &'static str,
    /// The side that wrote it, if the line does not tell.
    pub side: Side,
    pub about: About,
    /// The file of rsync's source.
    #[expect(dead_code, reason = "for readers")]
    pub source: &'static str,
}

/// A message about a system error: the name of the speaker comes before it.
const fn failed(
    begins: &'static str,
    shape: Shape,
    ends: &'static str,
    side: Side,
    about: About,
    source: &'static str,
) -> Row {
    Row { after_rsync: true, begins, shape, ends, side, about, source }
}

/// Any other message.
const fn said(
    begins: &'static str,
    shape: Shape,
    ends: &'static str,
    side: Side,
    about: About,
    source: &'static str,
) -> Row {
    Row { after_rsync: false, begins, shape, ends, side, about, source }
}

/// A line that begins like rsync's errors, but is not in the table.
pub(super) const UNKNOWN: Row = failed("", Shape::None, "", Side::Unknown, About::Other, "");

use About::*;
use Shape::{Bare, BareAfter, BareBefore, First, InCall, Quoted, QuotedOr, Second};
use Side::{Generator, Receiver, Sender, Unknown};

const F: &str = " failed";

/// The first row that matches counts.
pub(super) const ROWS: &[Row] = &[
    // The sender.
    failed("link_stat ", Quoted, F, Sender, LookedUp, "flist.c"),
    failed("readlink_stat(", Quoted, ") failed", Sender, List, "flist.c"),
    failed("opendir ", Quoted, F, Unknown, List, "flist.c"),
    failed("readdir(", Quoted, ")", Unknown, List, "flist.c"),
    failed("change_dir ", Quoted, F, Unknown, List, "flist.c"),
    failed("change_dir#", Shape::None, "", Unknown, List, "flist.c, main.c"),
    failed("send_files failed to open ", Quoted, "", Sender, File, "sender.c"),
    failed("read errors mapping ", Quoted, "", Unknown, File, "sender.c, receiver.c"),
    failed("fstat failed", Shape::None, "", Unknown, Other, "sender.c, receiver.c"),
    failed("sender failed to remove ", Bare, "", Sender, Removal, "sender.c"),
    failed("sender failed to re-lstat ", Bare, "", Sender, Removal, "sender.c"),
    failed("sender failed to ", Shape::None, "", Sender, Removal, "sender.c"),
    said("file has vanished: ", Quoted, "", Sender, Vanished, "flist.c, sender.c"),
    said("directory has vanished: ", Quoted, "", Sender, Vanished, "flist.c"),
    said("symlink has no referent: ", Quoted, "", Sender, List, "flist.c"),
    said("skipping overly long name: ", QuotedOr(""), "", Sender, List, "flist.c"),
    said("path too long: ", Bare, "", Sender, List, "flist.c"),
    said("filename overflows max-path len by ", BareAfter(": "), "", Sender, List, "flist.c"),
    said("cannot send file with empty name in ", Quoted, "", Sender, List, "flist.c"),
    said("cannot add local filter rules in long-named directory: ", Quoted, "", Sender, List, "exclude.c"),
    said("skipping file with bogus (zero) st_mode: ", QuotedOr(""), "", Sender, List, "flist.c"),
    said("skipping symlink with 0-length value: ", QuotedOr(""), "", Sender, List, "flist.c"),
    said("skipping socket (creation unsupported here): ", QuotedOr(""), "", Unknown, List, "flist.c"),
    said("cannot convert filename: ", BareBefore(" ("), "", Sender, List, "flist.c"),
    said("cannot convert symlink data for: ", QuotedOr(" ("), "", Sender, List, "flist.c"),
    said("WARNING: file is too large for checksum sending: ", QuotedOr(""), "", Sender, List, "checksum.c"),
    said("ERROR: Skipping sender remove for changed file: ", Bare, "", Sender, Removal, "sender.c"),
    said("ERROR: Skipping sender remove of destination file: ", Bare, "", Sender, Removal, "sender.c"),
    // The receiving side.
    failed("recv_generator: mkdir ", Quoted, F, Generator, Directory, "generator.c"),
    failed("recv_generator: failed to stat ", Quoted, "", Generator, There, "generator.c"),
    failed("mkdir ", Quoted, F, Receiver, Dest, "main.c"),
    failed("mkstemp ", Quoted, F, Receiver, Entry, "receiver.c"),
    failed("open ", Quoted, F, Receiver, Content, "receiver.c"),
    failed("rename failed for ", First(" (from "), "", Receiver, Entry, "receiver.c"),
    failed("rename ", Second(" -> \""), F, Receiver, Entry, "rsync.c, generator.c"),
    failed("rename ", Second(" -> \""), "", Receiver, Entry, "rsync.c"),
    failed("copy ", Second(" -> \""), "", Receiver, Entry, "rsync.c"),
    failed("copy_file ", First(" => "), "", Receiver, Entry, "generator.c"),
    failed("symlink ", First(" -> "), F, Generator, Entry, "generator.c"),
    failed("mknod ", Quoted, F, Generator, Entry, "generator.c"),
    failed("link ", First(" => "), F, Generator, Entry, "hlink.c"),
    failed("link ", First(" -> "), "", Generator, Entry, "hlink.c"),
    failed("failed to hard-link ", First(" with "), "", Generator, Entry, "generator.c"),
    failed("unlink ", QuotedOr(""), "", Receiver, Deletion, "backup.c, util1.c"),
    failed("delete_file: rmdir(", Bare, ") failed", Generator, Deletion, "delete.c"),
    failed("delete_file: unlink(", Bare, ") failed", Generator, Deletion, "delete.c"),
    failed("backup mkdir ", QuotedOr(F), "", Receiver, Entry, "backup.c"),
    failed("backup lstat ", QuotedOr(F), "", Receiver, Other, "backup.c"),
    failed("backup stat ", QuotedOr(F), "", Receiver, Other, "backup.c"),
    failed("keep_backup failed: ", First(" -> "), "", Receiver, Entry, "backup.c"),
    failed("write failed on ", Quoted, "", Receiver, Content, "receiver.c"),
    failed("write ", QuotedOr(""), "", Receiver, Content, "util1.c"),
    failed("close failed on ", QuotedOr(""), "", Receiver, Content, "receiver.c, util1.c"),
    failed("fsync failed on ", QuotedOr(""), "", Receiver, Content, "receiver.c, util1.c"),
    failed("ftruncate failed on ", Quoted, "", Receiver, Content, "receiver.c"),
    failed("ftruncate ", QuotedOr(""), "", Receiver, Content, "util1.c"),
    failed("do_fallocate ", QuotedOr(""), "", Receiver, Content, "receiver.c, util1.c"),
    failed("lseek of ", First(" returned "), "", Receiver, Content, "receiver.c"),
    failed("fstat ", Quoted, F, Receiver, Content, "receiver.c"),
    failed("failed to open ", BareBefore(", continuing"), "", Generator, Content, "generator.c"),
    failed("failed to set times on ", Quoted, "", Generator, Times, "rsync.c"),
    failed("failed to set permissions on ", Quoted, "", Generator, Attributes, "rsync.c, generator.c"),
    failed("failed to modify permissions on ", Quoted, "", Generator, Attributes, "generator.c"),
    failed("chown ", Quoted, F, Receiver, Attributes, "rsync.c"),
    failed("chgrp ", Quoted, F, Receiver, Attributes, "rsync.c"),
    failed("failed to re-stat ", Quoted, "", Receiver, Attributes, "xattrs.c"),
    failed("failed to write xattr ", BareAfter(" for "), "", Receiver, Attributes, "xattrs.c"),
    failed("failed to read xattr ", BareAfter(" for "), "", Unknown, Attributes, "xattrs.c"),
    failed("delete of stat xattr failed for ", Quoted, "", Receiver, Attributes, "xattrs.c"),
    failed("rsync_xal_set: ", InCall, "", Receiver, Attributes, "xattrs.c"),
    failed("set_xattr_acl: ", InCall, "", Receiver, Attributes, "xattrs.c"),
    failed("copy_xattrs: ", InCall, "", Receiver, Attributes, "xattrs.c"),
    failed("get_xattr_data: ", InCall, "", Unknown, List, "xattrs.c"),
    failed("get_xattr_names: ", InCall, "", Unknown, List, "xattrs.c"),
    failed("set_acl: sys_acl_set_file(", BareBefore(", "), ")", Receiver, Attributes, "acls.c"),
    failed("set_acl: sys_acl_delete_def_file(", Bare, ")", Receiver, Attributes, "acls.c"),
    failed("get_acl: sys_acl_get_file(", BareBefore(", "), ")", Unknown, List, "acls.c"),
    failed("default_perms_for_dir: ", Shape::None, "", Generator, DefaultModes, "acls.c"),
    said("default_perms_for_dir: ", Shape::None, "", Generator, DefaultModes, "acls.c"),
    said("could not make way for new directory: ", Bare, "", Generator, Blocked, "delete.c"),
    said("could not make way for new ", BareAfter(": "), "", Generator, InTheWay, "delete.c"),
    said("could not make way for backup ", BareAfter(": "), "", Generator, InTheWay, "delete.c"),
    said("could not make way for ", BareAfter(": "), "", Generator, InTheWay, "delete.c"),
    said("gid 4294967295 (-1) is impossible to set on ", Quoted, "", Receiver, Attributes, "rsync.c"),
    said("uid 4294967295 (-1) is impossible to set on ", Quoted, "", Receiver, Attributes, "rsync.c"),
    said("temporary filename too long: ", Bare, "", Receiver, Entry, "receiver.c"),
    said("recv_files: ", BareBefore(" is a directory"), "", Receiver, Content, "receiver.c"),
    said("Unable to create partial-dir for ", BareBefore(" -- discarding "), "", Receiver, Entry, "receiver.c"),
    said("(No batched update for", Shape::None, "", Receiver, Other, "receiver.c"),
    said("do_chmod: no symlink-safe chmod for ", Shape::None, "", Receiver, Attributes, "syscall.c"),
    said("Missing abbreviated xattr value, ", BareAfter(" for "), "", Receiver, Attributes, "xattrs.c"),
    said("Corrupt ", Shape::None, "", Unknown, Attributes, "xattrs.c"),
    said("ERROR: rejecting ", Shape::None, "", Receiver, Other, "flist.c, receiver.c"),
    said("ERROR: daemon ", Shape::None, "", Receiver, Other, "main.c, receiver.c"),
    said("ERROR: ", BareBefore(" failed verification -- update "), "", Receiver, Content, "receiver.c"),
    // Not errors: a later message says whether it became one.
    said("WARNING: ", BareBefore(" failed verification -- update "), "", Receiver, Note, "receiver.c"),
    said("cannot delete non-empty directory: ", Bare, "", Generator, Note, "delete.c"),
    said("cannot delete mount point: ", Bare, "", Generator, Note, "generator.c"),
    said("skipping non-regular file \"", Bare, "\"", Unknown, Skipped, "generator.c"),
    said("skipping directory ", Bare, "", Sender, Skipped, "flist.c"),
    said("ignoring unsafe symlink ", Shape::None, "", Unknown, Note, "flist.c, generator.c"),
    said("not creating new ", Shape::None, "", Generator, Note, "generator.c"),
    said("Deletions stopped due to --max-delete limit ", Shape::None, "", Generator, Note, "main.c"),
    // Not about one entry.
    said("IO error encountered", Shape::None, "", Sender, Follows, "generator.c"),
    said("*** Skipping any contents", Shape::None, "", Generator, Follows, "generator.c"),
    said("File-list index ", Shape::None, "", Unknown, LostList, "rsync.c"),
    said("ABORTING due to invalid path from sender: ", Shape::None, "", Receiver, LostParent, "flist.c"),
    said("ABORTING due to ", Shape::None, "", Receiver, Other, "flist.c"),
    said("@ERROR: max connections ", Shape::None, "", Receiver, NoPlace, "clientserver.c"),
    said("@ERROR", Shape::None, "", Receiver, Other, "clientserver.c"),
    said("rsync error: ", Shape::None, "", Unknown, Summary, "log.c"),
    said("rsync warning: ", Shape::None, "", Unknown, Summary, "log.c"),
    said("ERROR: ", Shape::None, "", Unknown, Other, "several"),
    said("WARNING: ", Shape::None, "", Unknown, Note, "several"),
];
