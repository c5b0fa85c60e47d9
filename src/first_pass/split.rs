//! Creates split directories before any rsync was started.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use rustix::fs::{Mode, Stat, fstat, mkdirat};
use rustix::io::Errno;

use super::attributes::Own;
use super::pair::{Pair, open_below, open_dest, open_top};
use super::{Group, Made, Order, way};

/// Creates directories, parents first. DEST is created as well if `of_dest` is given, with the attributes of that group's directory. `None` if one of them is
/// in doubt or fails: then rsync creates what is missing.
pub fn make_dirs(order: &Order, of_dest: Option<&Group>) -> Option<Made> {
    let began = Instant::now();
    let (makes, own) = (order.makes, Own::look());
    let mut made = Made::default();
    let source = match of_dest {
        Some(group) => Some(open_below(&open_top(&group.base).ok()?, &group.source).ok()?),
        None => None,
    };
    let top = source.map(|source| fstat(&source).map(|found| (source, found))).transpose().ok()?;
    let is_new = order.identity.is_none() && {
        let mode = top.as_ref().map_or(Mode::from_raw_mode(0o777), |(_, found)| own.first_mode_of_dir(found));
        let is_left = |(source, found): &(OwnedFd, Stat)| own.leaves(Some(source), found, false, makes);
        if top.as_ref().is_some_and(is_left) {
            return None;
        }
        let (above, name) = way::open_above(&order.dest).ok()?;
        match mkdirat(&above, name, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(_) => return None,
        }
    };
    made.dirs += u64::from(is_new);
    let dest = open_dest(order).ok()?;
    if let Some((_, found)) = top.filter(|_| is_new) {
        let other_group = fstat(&dest).ok()?.st_mode & Mode::SGID.bits() != 0;
        if makes.own_group_only && other_group {
            return None;
        }
        own.of_dir(&dest, &found, other_group, makes).ok()?;
    }
    for group in &order.groups {
        let tops = Pair::open(&dest, group, makes).ok()??;
        for name in &group.names {
            let source = open_below(&tops.source, name).ok()?;
            let found = fstat(&source).ok()?;
            let is_left = own.leaves(Some(&source), &found, tops.other_group, makes);
            if name.len() > tops.room || found.st_dev != tops.device || is_left {
                return None;
            }
            mkdirat(&tops.dest, OsStr::from_bytes(name), own.first_mode_of_dir(&found)).ok()?;
            made.dirs += 1;
            own.of_dir(&open_below(&tops.dest, name).ok()?, &found, tops.other_group, makes).ok()?;
        }
    }
    Some(Made { took: began.elapsed(), ..made })
}
