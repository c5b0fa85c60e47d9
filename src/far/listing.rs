//! Lists with rsync: one `rsync --list-only` for each root, one after the other, because a daemon may admit only one client.
//!
//! It reports names, kinds, lengths and permissions, but neither inodes, devices nor owners: mount points are unknown. Which names are hard links of one file
//! is asked before, by an rsync that copies to nowhere, which knows this within one root. What rsync could not read it reports on standard error, and it ends
//! with code 23 or 24.

mod links;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::LazyLock;

use rustix::io::Errno;
use tempfile::TempDir;

use super::begun::{Begun, Piece};
use super::child::Finished;
use super::{Far, PAUSES, Reach};
use crate::entry::Printable;
use crate::error::{EXIT_PARTIAL, Error, Result};
use crate::rsync::listing::{self, Line};
use crate::rsync::messages::{self, About};
use crate::rsync::prune::Prune;
use crate::scan::{Event, Listed, ListedWalk, Scan, Small, Watch};
use crate::supervise::{Ended, Invocation, Lines, Stream, leave_no_folder};
use crate::temporary;
use links::Links;

/// rsync's exit codes for a listing that is complete except for what was reported as missing.
const INCOMPLETE: [u8; 2] = [EXIT_PARTIAL, 24];

/// rsync's exit code if a daemon refuses the client.
const NOT_LET_IN: u8 = 5;

/// A listing of the only root of a scan.
pub type Listing = Begun<Vec<Trouble>>;

/// Begins to list the first root of a scan that does not need hard links, because another rsync would have to be asked about these before.
///
/// # Errors
/// The system allows no more threads.
pub fn begin(reach: &Reach, scan: &Scan) -> Result<Listing> {
    list(reach, command(reach, 0, listing::options(prune(scan, 0)), &[]))
}

fn list(reach: &Reach, rsync: Invocation) -> Result<Listing> {
    Begun::start(rsync, reach.stall, hear)
}

/// The rules that rsync gets for a root: `--exclude` rules, except if they exclude the root itself.
fn prune(scan: &Scan, index: usize) -> &Prune {
    static NONE: LazyLock<Prune> = LazyLock::new(Prune::default);
    let name = scan.roots[index].name.as_deref().map_or(&b""[..], OsStrExt::as_bytes);
    // A root is scanned even if the rules exclude its name.
    if scan.prune.excludes(name, || name.to_vec()) { &NONE } else { &scan.prune }
}

fn command(reach: &Reach, index: usize, options: Vec<OsString>, words: &[OsString]) -> Invocation {
    let word = reach.words[index].clone();
    let arguments = [&reach.rsync.arguments[..], &options, &["--".into(), word], words].concat();
    Invocation { arguments, ..reach.rsync.clone() }
}

pub fn scan(far: Far<'_>, small: Option<Small<'_>>, watch: &Watch, sink: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
    let mut walk = ListedWalk::new(far.scan, far.user, small, watch, sink)?;
    let nowhere = if far.scan.hard_links { Some(nowhere()?) } else { None };
    for index in 0..far.scan.roots.len().min(far.reach.words.len()) {
        if watch.stopped() {
            break;
        }
        let prune = prune(far.scan, index);
        let links = match &nowhere {
            Some(nowhere) => {
                let to = nowhere.path().join("").into_os_string();
                Links::ask(far, &command(far.reach, index, listing::link_options(prune), &[to]), watch)?
            }
            None => Links::default(),
        };
        walk.begin_root(index as u32, None);
        match far.begun.filter(|_| index == 0) {
            Some(begun) => root(far, index, begun, &links, watch, &mut walk)?,
            None => listed(far, index, prune, &links, watch, &mut walk)?,
        }
    }
    walk.end();
    Ok(())
}

/// Lists a root. If a daemon has no place, tries again after a pause, because a client that has just gone may still be counted.
fn listed(
    far: Far<'_>,
    index: usize,
    prune: &Prune,
    links: &Links,
    watch: &Watch,
    walk: &mut ListedWalk<'_>,
) -> Result<()> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let listing = list(far.reach, command(far.reach, index, listing::options(prune), &[]))?;
        let ended = root(far, index, &listing, links, watch, walk);
        let is_turned_away = ended.as_ref().is_err_and(|error| error.exit_code() == NOT_LET_IN) && !walk.has_begun();
        match pauses.next().filter(|_| is_turned_away && !watch.stopped()) {
            Some(pause) => std::thread::sleep(pause),
            None => return ended,
        }
    }
}

/// An empty directory as the destination of a `--dry-run`. If the destination did not exist, rsync would look some names up in its own current directory
/// (3.5.0, a symbolic link that has several names).
fn nowhere() -> Result<TempDir> {
    let unmade = |cause| Error::file_io("cannot make a temporary folder").because(cause);
    let mut made = Err(std::io::ErrorKind::NotFound.into());
    for place in temporary::places() {
        made = temporary::folder_in(&place, "multi-sync-");
        if let Ok(folder) = &made {
            leave_no_folder(folder.path());
            break;
        }
    }
    made.map_err(unmade)
}

/// Reads a listing to its end.
fn read(
    far: Far<'_>,
    listing: &Listing,
    links: &Links,
    watch: &Watch,
    walk: &mut ListedWalk<'_>,
) -> Result<(Finished, Vec<Trouble>)> {
    let mut lines = Lines::new(Stream::Stdout);
    let mut failure = None;
    loop {
        if watch.stopped() || far.supervisor.stopped() || failure.is_some() {
            listing.stop();
        }
        let mut each = |_, line: &[u8]| {
            if failure.is_none() {
                failure = take(line, links, far.identity, walk).err();
            }
        };
        match listing.next() {
            Some(Piece::Out(Some(bytes))) => lines.feed(&bytes, &mut each),
            Some(Piece::Out(None)) => lines.finish(&mut each),
            Some(Piece::Ended(ended)) => return failure.map_or(ended, Err),
            None => {}
        }
    }
}

fn root(
    far: Far<'_>,
    index: usize,
    listing: &Listing,
    links: &Links,
    watch: &Watch,
    walk: &mut ListedWalk<'_>,
) -> Result<()> {
    let (finished, mut troubles) = read(far, listing, links, watch, walk)?;
    if watch.stopped() || far.supervisor.stopped() {
        return Ok(());
    }
    match finished.ended {
        Ended::Code(0) => {}
        Ended::Code(code) if INCOMPLETE.contains(&code) => {
            if troubles.is_empty() {
                troubles.push(Trouble { errno: Errno::IO, path: Vec::new(), attempted: "list all of", in_unit: false });
            }
        }
        _ => return Err(finished.error("cannot list the source with rsync")),
    }
    let scanned = &far.scan.roots[index];
    // If the root does not exist, the walk reports that, once.
    let unread = troubles.first().map_or(Errno::NOENT, |trouble| trouble.errno);
    if walk.has_begun() {
        let base = scanned.base.as_os_str().as_bytes();
        let name = scanned.name.as_deref().map_or(&b""[..], OsStrExt::as_bytes);
        for Trouble { path, attempted, errno, in_unit } in troubles {
            let path = below_base(path, base);
            // The root itself is in no unit if it is split.
            let in_unit = in_unit && path != name;
            walk.failed(index as u32, &path, attempted, errno, in_unit);
        }
    }
    walk.end_root(unread);
    Ok(())
}

/// An entry that rsync could not list.
pub struct Trouble {
    /// The path as rsync prints it, on that machine or in a module.
    path: Vec<u8>,
    attempted: &'static str,
    errno: Errno,
    in_unit: bool,
}

/// `root` is the identity of the root, which is known if the rsync is held in it.
fn take(line: &[u8], links: &Links, root: Option<(u64, u64)>, walk: &mut ListedWalk<'_>) -> Result<()> {
    let Some(Line { kind, mode, size, path }) = listing::read(line) else {
        let shown = Printable::bytes(line);
        return Err(Error::system(format!("cannot understand rsync's listing of the source: '{shown}'"))
            .remedy("choose another way to scan it with --remote-scan")
            .exit(EXIT_PARTIAL));
    };
    let path = if path == b"." { &b""[..] } else { &path };
    let inode = if path.is_empty() { root.map(|identity| (identity, 1)) } else { links.of(path) };
    walk.entry(&Listed { path, kind, mode, size, owner: None, inode, unread: None })
}

/// Takes a line of standard error; false if the line does not mean that something is missing in the list.
fn hear(line: &[u8], troubles: &mut Vec<Trouble>) -> bool {
    let Some(message) = messages::read(line) else { return false };
    let errno = message.errno.map(|number| super::errno(number.into()));
    let path = message.names().into_iter().next().map(|name| name.bytes).unwrap_or_default();
    let trouble = match message.about {
        About::Vanished => Trouble { path, attempted: "look up", errno: Errno::NOENT, in_unit: false },
        // The rsync that copies it will report it again, so it is in a unit.
        About::List if line.windows(8).any(|word| word == b"opendir ") => {
            Trouble { path, attempted: "open directory", errno: errno.unwrap_or(Errno::IO), in_unit: true }
        }
        About::List | About::LookedUp | About::There => {
            Trouble { path, attempted: "read", errno: errno.unwrap_or(Errno::IO), in_unit: false }
        }
        _ => return false,
    };
    troubles.push(trouble);
    true
}

/// A path on that machine, made relative to the base.
fn below_base(path: Vec<u8>, base: &[u8]) -> Vec<u8> {
    let base = base.strip_suffix(b"/").unwrap_or(base);
    match path.strip_prefix(base).map(|rest| (rest.first(), rest)) {
        Some((None, _)) => Vec::new(),
        Some((Some(b'/'), rest)) => rest[1..].to_vec(),
        _ => path,
    }
}
