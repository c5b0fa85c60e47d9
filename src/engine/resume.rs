//! The checks before a run is resumed: whether DEST still has what the journal calls done, and which device numbers the source's directories have now.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::bucket::{self, BucketDir};
use crate::config::Config;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::plan::{FarRoot, Plan, SourceTree};
use crate::rsync::command::{LookedAt, argument_cost, looked_at};
use crate::rsync::exit;
use crate::run_dir::journal::{Name, Place, Record};
use crate::size;
use crate::supervise::{Stream, Supervisor};

use super::Ledger;
use super::feed::SpineDir;
use super::places::Ways;

/// Identifies a directory, even after its file system was mounted again.
pub(super) fn place(dir: &Path) -> Option<Place> {
    let found = statx(CWD, dir, AtFlags::empty(), StatxFlags::INO | StatxFlags::BTIME).ok()?;
    let born = (found.stx_mask & StatxFlags::BTIME.bits() != 0).then_some(found.stx_btime);
    Some((found.stx_ino, born.map_or(0, |born| born.tv_sec), born.map_or(0, |born| born.tv_nsec)))
}

/// DEST, if it is visible from this machine.
pub(super) fn local_dest(config: &Config, plan: &Plan) -> Option<PathBuf> {
    let local = config.destination.is_local() && config.hosts.is_empty();
    local.then(|| PathBuf::from(&plan.recipe.destination))
}

/// Treats nothing as done if DEST is another directory, or lacks what was copied to it.
///
/// # Errors
/// A source on another machine is another directory than the one that was scanned: DEST would keep what was copied from the old one, and the new one may not
/// have what was found.
pub(super) fn look(
    ledger: &mut Ledger,
    config: &Config,
    plan: &Plan,
    buckets: &BucketDir,
    ways: &Ways,
    supervisor: &Supervisor,
) -> Result<()> {
    if let Some(source) = another_source(ledger, plan) {
        return Err(Error::usage(format!("{source} is not the directory that this run has scanned"))
            .remedy("start a new run")
            .exit(exit::PARTIAL));
    }
    if ledger.before().done.is_empty() {
        return Ok(());
    }
    let was = ledger.before().dest;
    let another = local_dest(config, plan).zip(was).is_some_and(|(dest, was)| place(&dest) != Some(was));
    let found = match another {
        true => Some("DEST is not the directory that it was".to_owned()),
        false if plan.recipe.dry_run => None,
        false => lacks(ledger, plan, buckets, ways, supervisor),
    };
    if let Some(found) = found {
        let count = size::counted(ledger.before().done.len() as u64, "bucket", "buckets");
        ledger.note(format!("{found}: what was marked as done ({count}) is copied again"));
        ledger.take(Record::NothingDone)?;
    }
    Ok(())
}

/// A source on another machine that is not the directory that was scanned.
fn another_source<'a>(ledger: &Ledger, plan: &'a Plan) -> Option<Printable<'a>> {
    let far = plan.far.as_ref()?;
    let mut sources = plan.trees.iter().zip(&far.roots);
    let is_another = |(tree, root): &(&SourceTree, &FarRoot)| {
        // The name of the source among the split directories.
        let name = tree.root.name.as_deref().map(|name| Name::new([&tree.prefix, name.as_bytes()].concat()));
        let scanned = ledger.before().spine.iter().find(|dir| dir.argument == name);
        // A listing of rsync does not contain inodes.
        let scanned = scanned.map(|dir| dir.identity).filter(|(_, inode)| *inode != 0);
        scanned.is_some_and(|scanned| match &far.hold {
            Some(hold) => hold.identity != scanned,
            None => root.inode.is_some_and(|now| now != scanned.1),
        })
    };
    sources.find(is_another).map(|(_, root)| Printable::os(&root.source))
}

/// Asks one rsync what it would do with one unit of each finished bucket.
fn lacks(ledger: &Ledger, plan: &Plan, buckets: &BucketDir, ways: &Ways, supervisor: &Supervisor) -> Option<String> {
    let state = ledger.before();
    // Buckets with failures may lack something.
    let whole = state.done.iter().filter(|(_, code)| **code == exit::OK).filter_map(|(id, _)| state.buckets.get(id));
    let mut units: Vec<OsString> = Vec::new();
    for bucket in whole {
        // A bucket file that cannot be read is reported as damaged elsewhere.
        let Ok(file) = buckets.read(bucket) else { continue };
        let unit = bucket::arguments(&file).nth((bucket.id % bucket.units.max(1)) as usize);
        units.extend(unit.map(|unit| OsStr::from_bytes(unit).to_owned()));
    }
    if units.is_empty() {
        return None;
    }
    let taken: usize = units.iter().map(|unit| argument_cost(unit.len())).sum();
    let every = taken.div_ceil(plan.recipe.argument_room().max(1)).max(1);
    let units: Vec<OsString> = units.into_iter().step_by(every).collect();
    let count = units.len() as u64;
    let (mut missing, mut older) = (0, 0);
    let look = plan.recipe.look(units);
    let look = match plan.bwlimit {
        Some(limit) => look.limited(limit.get()),
        None => look,
    };
    let ended = ways.ask(&look, supervisor, &mut |stream, line| match (stream, looked_at(line)) {
        (Stream::Stdout, Some(LookedAt::Missing)) => missing += 1,
        (Stream::Stdout, Some(LookedAt::Differs)) => older += 1,
        _ => {}
    });
    let code = ended.map_or(exit::IPC, |ended| ended.code());
    if missing > 0 {
        Some("DEST lacks what was copied to it".into())
    } else if older * 2 > count {
        Some("DEST has something other than what was copied to it".into())
    } else if ![exit::OK, exit::PARTIAL, exit::VANISHED].contains(&code) {
        Some(format!("rsync could not look at DEST (code {code})"))
    } else {
        None
    }
}

/// Adapts the device numbers of a source that was mounted again: directories that had the same device and are together on another device now are still the
/// same. A replaced directory is still detected by its inode.
pub(super) fn mounted_again(spine: &mut [SpineDir], base: &Path) {
    let mut devices: HashMap<u64, u64> = HashMap::new();
    for dir in spine {
        let argument = dir.argument.as_deref().unwrap_or(b".");
        let (device, inode) = dir.identity;
        let found = fs::symlink_metadata(base.join(OsStr::from_bytes(argument)));
        if let Ok(found) = found
            && found.is_dir()
            && found.ino() == inode
            // Parents come first, and the paths that lead to a source are trusted.
            && *devices.entry(device).or_insert(found.dev()) == found.dev()
        {
            dir.identity.0 = found.dev();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_device_may_have_changed() {
        let base = tempfile::tempdir().unwrap();
        let dir = |name: &str, device: u64| {
            fs::create_dir_all(base.path().join(name)).unwrap();
            let found = fs::metadata(base.path().join(name)).unwrap();
            let argument = (name != ".").then(|| format!("./{name}").into_bytes());
            let identity = (device, found.ino());
            (SpineDir { argument, identity, locked: false, mount_point: false, exposed: true }, found.dev())
        };
        let ((top, now), (same, _), (replaced, _)) = (dir(".", 7), dir("a", 7), dir("b", 7));
        fs::rename(base.path().join("b"), base.path().join("old")).unwrap();
        fs::create_dir(base.path().join("b")).unwrap();
        let mut spine = [top, same, replaced];
        mounted_again(&mut spine, base.path());
        assert_eq!(spine.each_ref().map(|dir| dir.identity.0), [now, now, 7]);
    }

    #[test]
    fn a_directory_that_was_made_anew_is_another() {
        let above = tempfile::tempdir().unwrap();
        let dir = above.path().join("d");
        fs::create_dir(&dir).unwrap();
        let was = place(&dir).unwrap();
        fs::write(dir.join("f"), "").unwrap();
        assert_eq!(place(&dir), Some(was));
        fs::rename(&dir, above.path().join("e")).unwrap();
        assert_eq!(place(&dir), None);
        fs::create_dir(&dir).unwrap();
        assert_ne!(place(&dir), Some(was));
    }
}
