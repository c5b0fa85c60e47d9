//! rsync lists: one `rsync --list-only` for each root, one after the other, because a daemon may let in one client only.
//!
//! It tells names, kinds, lengths and permissions. It does not tell inodes, devices and owners: mount points are not known. Which names are hard links of one file is
//! asked first, of an rsync that copies to nowhere: it knows them within one root. What it could not read it says on standard error, and ends with code 23 or 24.

mod links;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::{Far, child};
use crate::entry::Printable;
use crate::error::{EXIT_PARTIAL, Error, Result};
use crate::rsync::listing::{self, Line};
use crate::rsync::messages::{self, About};
use crate::rsync::prune::Prune;
use crate::scan::{Event, Listed, ListedWalk, Small, Watch};
use crate::supervise::{Ended, Invocation, Lines, Stream};
use links::Links;

/// A destination that is not there: nothing is made with `--dry-run`.
const NOWHERE: &str = "/nonexistent/";
/// The listing is complete but for what was told to be missing.
const INCOMPLETE: [u8; 2] = [EXIT_PARTIAL, 24];

pub fn scan(far: Far<'_>, small: Option<Small<'_>>, watch: &Watch, sink: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
    let mut walk = ListedWalk::new(far.scan, far.user, small, watch, sink)?;
    let none = Prune::default();
    for (index, (word, scanned)) in far.reach.words.iter().zip(&far.scan.roots).enumerate() {
        if watch.stopped() {
            break;
        }
        let rsync = &far.reach.rsync;
        let name = scanned.name.as_deref().map_or(&b""[..], OsStrExt::as_bytes);
        // A root is scanned whatever the rules say of its name.
        let prune = if far.scan.prune.excludes(name, || name.to_vec()) { &none } else { &far.scan.prune };
        let command = |options: Vec<OsString>, words: &[OsString]| {
            let arguments = [&rsync.arguments[..], &options, &["--".into(), word.clone()], words].concat();
            Invocation { arguments, ..rsync.clone() }
        };
        let links = match far.scan.hard_links {
            true => Links::ask(far, &command(listing::link_options(prune), &[NOWHERE.into()]), watch)?,
            false => Links::default(),
        };
        root(far, index, &command(listing::options(prune), &[]), &links, watch, &mut walk)?;
    }
    walk.end();
    Ok(())
}

fn root(
    far: Far<'_>,
    index: usize,
    rsync: &Invocation,
    links: &Links,
    watch: &Watch,
    walk: &mut ListedWalk<'_>,
) -> Result<()> {
    walk.begin_root(index as u32, None);
    let mut lines = Lines::new(Stream::Stdout);
    let mut troubles = Vec::new();
    let finished = child::run(
        rsync,
        None,
        far.reach.stall,
        far.supervisor,
        watch,
        &mut |bytes| {
            let mut done = Ok(());
            let each = &mut |_, line: &[u8]| {
                if done.is_ok() {
                    done = take(line, links, far.identity, walk);
                }
            };
            match bytes {
                Some(bytes) => lines.feed(bytes, each),
                None => lines.finish(each),
            }
            done
        },
        &mut |line| hear(line, &mut troubles),
    )?;
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
    // Of a root that is not there it is said once, by the walk.
    let unread = troubles.first().map_or(Errno::NOENT, |trouble| trouble.errno);
    if walk.has_begun() {
        let base = scanned.base.as_os_str().as_bytes();
        let name = scanned.name.as_deref().map_or(&b""[..], OsStrExt::as_bytes);
        for Trouble { path, attempted, errno, in_unit } in troubles {
            let path = below_base(path, base);
            // A root that is split is in no unit.
            let in_unit = in_unit && path != name;
            walk.failed(index as u32, &path, attempted, errno, in_unit);
        }
    }
    walk.end_root(unread);
    Ok(())
}

/// Something that rsync could not list.
struct Trouble {
    /// As rsync names it, on that machine or in a module.
    path: Vec<u8>,
    attempted: &'static str,
    errno: Errno,
    in_unit: bool,
}

/// `root` is the identity of the root: an rsync that is held in it lists nothing else.
fn take(line: &[u8], links: &Links, root: Option<(u64, u64)>, walk: &mut ListedWalk<'_>) -> Result<()> {
    let Some(Line { kind, mode, size, path }) = listing::read(line) else {
        let shown = Printable::bytes(line);
        return Err(Error::usage(format!("cannot understand rsync's listing of the source: '{shown}'"))
            .remedy("choose another way to scan it with --remote-scan")
            .exit(EXIT_PARTIAL));
    };
    let path = if path == b"." { &b""[..] } else { &path };
    let inode = if path.is_empty() { root.map(|identity| (identity, 1)) } else { links.of(path) };
    walk.entry(&Listed { path, kind, mode, size, owner: None, inode, unread: None })
}

/// Takes a line of standard error; false if it is about nothing that is missing in the list.
fn hear(line: &[u8], troubles: &mut Vec<Trouble>) -> bool {
    let Some(message) = messages::read(line) else { return false };
    let errno = message.errno.and_then(|number| i32::try_from(number).ok()).map(Errno::from_raw_os_error);
    let path = message.names().into_iter().next().map(|name| name.bytes).unwrap_or_default();
    let trouble = match message.about {
        About::Vanished => Trouble { path, attempted: "look up", errno: Errno::NOENT, in_unit: false },
        // rsync names it again when it is to copy it.
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

/// A path on that machine, relative to the base.
fn below_base(path: Vec<u8>, base: &[u8]) -> Vec<u8> {
    let base = base.strip_suffix(b"/").unwrap_or(base);
    match path.strip_prefix(base).map(|rest| (rest.first(), rest)) {
        Some((None, _)) => Vec::new(),
        Some((Some(b'/'), rest)) => rest[1..].to_vec(),
        _ => path,
    }
}
