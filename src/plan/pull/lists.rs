//! Whether a daemon accepts lists of names as launches have them, and shows the entries that they name.
//!
//! A module may refuse `--files-from`, or what comes with it (rsyncd.conf(5), `refuse options`). It may also exclude `.`, as `exclude = .*` does: a list
//! contains that name for a directory whose contents are copied, but one rsync does not ask for it (3.5.0, flist.c, `send_file_list`). Then nothing would fail,
//! but DEST would not get the attributes of the source.

use std::os::unix::ffi::OsStrExt;

use super::list::tells_no_place;
use super::several::{self, Answer};
use super::{SourceTree, Way};
use crate::rsync::command::{FarSource, NO_NAME};
use crate::rsync::exit;

/// Whether lists are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lists {
    Taken,
    Refused,
    /// Unknown, because the daemon accepts no further client.
    NoPlace,
}

/// Lists the source as a launch would name it.
pub(super) fn ask(way: &Way<'_>, far: &FarSource, tree: &SourceTree) -> Lists {
    let name = tree.root.name.as_deref().map(OsStrExt::as_bytes);
    let argument = [&tree.prefix[..], name.unwrap_or(NO_NAME.as_bytes())].concat();
    let input = [&far.name(&argument)[..], b"\0"].concat();
    let options = ["-d", "-R", "--no-motd", "--ignore-missing-args", "--from0", "--files-from=-"];
    let Some(Answer { lines, said, ended, .. }) = several::ask(way, &options, far.word.clone(), input) else {
        return Lists::Refused;
    };
    match lines.contains_key(name.unwrap_or(b".")) && ended.code() == exit::OK {
        true => Lists::Taken,
        false if tells_no_place(&said) => Lists::NoPlace,
        false => Lists::Refused,
    }
}

/// The reason why one rsync copies.
pub(super) const REFUSED: &str = "the daemon refuses lists of names, or hides the directory that contains them";
