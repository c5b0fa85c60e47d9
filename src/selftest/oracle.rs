//! Tests the comparison of trees first: with two equal trees, and then with one planted difference of each kind, which it has to find and to name.
//!
//! rsync is not involved: both trees are created from the same seed.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, setxattr, utimensat,
};

use super::ground::{Check, Checked, Failure, Ground, check, expect, failed, gist, passed, passed_with, skipped};
use crate::error::Error;
use crate::verify::{DifferenceKind, Options, compare};

/// A kind of difference: how it is planted, and how it is reported.
struct Kind {
    name: &'static str,
    plant: fn(&Path) -> io::Result<Planted>,
    is: fn(&DifferenceKind) -> bool,
}

/// The result of planting a difference.
enum Planted {
    /// It was planted in the entry of this name.
    In(&'static str),
    /// It is not possible here.
    Impossible(&'static str),
}

use Planted::{Impossible, In};

const KINDS: [Kind; 15] = [
    Kind {
        name: "a missing file",
        plant: |tree| fs::remove_file(tree.join("d/file")).map(|()| In("d/file")),
        is: |kind| matches!(kind, DifferenceKind::OnlyLeft),
    },
    Kind {
        name: "a file too many",
        plant: |tree| fs::write(tree.join("d/more"), "").map(|()| In("d/more")),
        is: |kind| matches!(kind, DifferenceKind::OnlyRight),
    },
    Kind {
        name: "another type",
        plant: |tree| {
            fs::remove_file(tree.join("d/file"))?;
            fs::create_dir(tree.join("d/file")).map(|()| In("d/file"))
        },
        is: |kind| matches!(kind, DifferenceKind::Type { .. }),
    },
    Kind {
        name: "another mode",
        plant: |tree| fs::set_permissions(tree.join("d/file"), Permissions::from_mode(0o604)).map(|()| In("d/file")),
        is: |kind| matches!(kind, DifferenceKind::Mode { .. }),
    },
    Kind {
        name: "another owner",
        plant: |tree| change_owner(tree, |path, other| chown(path, Some(other), None)),
        is: |kind| matches!(kind, DifferenceKind::Owner { .. }),
    },
    Kind {
        name: "another group",
        plant: |tree| change_owner(tree, |path, other| lchown(path, None, Some(other))),
        is: |kind| matches!(kind, DifferenceKind::Group { .. }),
    },
    Kind {
        name: "another size",
        plant: |tree| {
            fs::write(tree.join("d/file"), "content and more")?;
            set_time(&tree.join("d/file"), TIME).map(|()| In("d/file"))
        },
        is: |kind| matches!(kind, DifferenceKind::Size { .. }),
    },
    Kind {
        name: "another content of the same size and time",
        plant: |tree| {
            fs::write(tree.join("d/file"), "c0ntent")?;
            set_time(&tree.join("d/file"), TIME).map(|()| In("d/file"))
        },
        is: |kind| matches!(kind, DifferenceKind::Content),
    },
    Kind {
        name: "another time of a file",
        plant: |tree| set_time(&tree.join("d/file"), TIME + 1).map(|()| In("d/file")),
        is: |kind| matches!(kind, DifferenceKind::Mtime { .. }),
    },
    Kind {
        name: "another time of a directory",
        plant: |tree| set_time(&tree.join("d"), TIME + 1).map(|()| In("d")),
        is: |kind| matches!(kind, DifferenceKind::Mtime { .. }),
    },
    Kind {
        name: "another target of a link",
        plant: |tree| {
            fs::remove_file(tree.join("d/link"))?;
            symlink("elsewhere", tree.join("d/link"))?;
            set_time(&tree.join("d/link"), TIME).map(|()| In("d/link"))
        },
        is: |kind| matches!(kind, DifferenceKind::LinkTarget { .. }),
    },
    Kind {
        name: "a hard link that is a copy",
        plant: |tree| {
            fs::remove_file(tree.join("d/twin"))?;
            fs::write(tree.join("d/twin"), "twin")?;
            set_time(&tree.join("d/twin"), TIME).map(|()| In("d/twin"))
        },
        is: |kind| matches!(kind, DifferenceKind::HardLinks { .. }),
    },
    Kind {
        name: "an extended attribute",
        plant: |tree| match setxattr(tree.join("d/file"), "user.planted", b"1", XattrFlags::empty()) {
            Ok(()) => Ok(In("d/file")),
            Err(_) => Ok(Impossible("there are no extended attributes on this file system")),
        },
        is: |kind| matches!(kind, DifferenceKind::Xattr(_)),
    },
    Kind {
        name: "a hole that is filled",
        plant: |tree| {
            let path = tree.join("d/hole");
            if fs::metadata(&path)?.blocks() > 0 {
                return Ok(Impossible("there are no holes on this file system"));
            }
            fs::write(&path, vec![0; HOLE as usize])?;
            set_time(&path, TIME).map(|()| In("d/hole"))
        },
        is: |kind| matches!(kind, DifferenceKind::Holes { .. }),
    },
    Kind {
        name: "another device",
        plant: |tree| {
            if !rustix::process::geteuid().is_root() {
                return Ok(Impossible("only root makes devices"));
            }
            let make =
                |path: &Path, minor| mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR, makedev(1, minor));
            let (left, right) = (tree.with_file_name("left").join("device"), tree.join("device"));
            if make(&left, 3).and_then(|()| make(&right, 5)).is_err() {
                return Ok(Impossible("devices cannot be made here"));
            }
            set_time(&left, TIME)?;
            set_time(&right, TIME).map(|()| In("device"))
        },
        is: |kind| matches!(kind, DifferenceKind::Device { .. }),
    },
];

/// 2001-09-09.
const TIME: i64 = 1_000_000_000;
const HOLE: u64 = 1 << 20;

pub(super) fn checks() -> Vec<Check> {
    let mut checks = vec![check("comparison: equal trees are equal", equal)];
    checks.extend(
        KINDS.iter().map(|kind| check(format!("comparison: finds {}", kind.name), move |ground| finds(ground, kind))),
    );
    checks.push(check("comparison: finds what cannot be read", finds_unreadable));
    checks
}

fn equal(ground: &Ground<'_>) -> Checked {
    let both = ground.new_path("equal");
    make_both(&both)?;
    let report = compare(&both.join("left"), &both.join("right"), &Options::default())?;
    expect(report.is_same(), || format!("told as different: {}", gist(&report)))?;
    passed_with(format_args!("{} entries", report.entries))
}

fn finds(ground: &Ground<'_>, kind: &Kind) -> Checked {
    let both = ground.new_path("planted");
    make_both(&both)?;
    let right = both.join("right");
    let name = match (kind.plant)(&right).map_err(|cause| Error::io("plant a difference in", &right, cause))? {
        In(name) => name,
        Impossible(why) => return skipped(why),
    };
    // A change of a name is also a change of its directory.
    for dir in ["left", "right", "right/d"].map(|dir| both.join(dir)).iter().filter(|dir| **dir != right.join(name)) {
        set_time(dir, TIME).map_err(|cause| Error::io("set the time of", dir, cause))?;
    }
    let report = compare(&both.join("left"), &right, &Options::default())?;
    match &report.differences[..] {
        [found] if found.path == name.as_bytes() && (kind.is)(&found.kind) => passed(),
        [] => failed("it was not found"),
        _ => failed(format_args!("it was told as: {}", gist(&report))),
    }
}

fn finds_unreadable(ground: &Ground<'_>) -> Checked {
    if rustix::process::geteuid().is_root() {
        return skipped("root reads everything");
    }
    let both = ground.new_path("unreadable");
    make_both(&both)?;
    for side in ["left", "right"] {
        let file = both.join(side).join("d/file");
        fs::set_permissions(&file, Permissions::from_mode(0o000)).map_err(|cause| Error::io("lock", &file, cause))?;
    }
    let report = compare(&both.join("left"), &both.join("right"), &Options::default())?;
    let found = |kind: &DifferenceKind| matches!(kind, DifferenceKind::Unreadable { .. });
    expect(report.differences.iter().any(|difference| found(&difference.kind)), || "it was not found".into())?;
    passed()
}

/// Creates the same small tree twice, `left` and `right`.
fn make_both(both: &Path) -> Result<(), Failure> {
    for side in ["left", "right"] {
        let tree = both.join(side);
        make(&tree).map_err(|cause| Error::io("make", &tree, cause))?;
    }
    Ok(())
}

fn make(tree: &Path) -> io::Result<()> {
    let dir = tree.join("d");
    fs::create_dir_all(&dir)?;
    for (name, content) in [("file", "content"), ("first", "twin")] {
        fs::write(dir.join(name), content)?;
        fs::set_permissions(dir.join(name), Permissions::from_mode(0o644))?;
    }
    fs::hard_link(dir.join("first"), dir.join("twin"))?;
    symlink("file", dir.join("link"))?;
    File::create(dir.join("hole"))?.set_len(HOLE)?;
    for name in ["file", "first", "link", "hole", ""] {
        set_time(&dir.join(name), TIME)?;
    }
    set_time(tree, TIME)
}

/// Sets the time of an entry; a link is not followed.
fn set_time(path: &Path, seconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(Into::into)
}

fn change_owner(tree: &Path, change: fn(&Path, u32) -> io::Result<()>) -> io::Result<Planted> {
    const OTHER: u32 = 12345;
    match change(&tree.join("d/file"), OTHER) {
        Ok(()) => Ok(In("d/file")),
        Err(_) => Ok(Impossible("only root gives files away")),
    }
}
