//! Tests the oracle: plants each kind of difference in one of two equal trees and checks that exactly this one is found, on exactly this path, and again with
//! the sides exchanged. The trees are created here, without any code of the library.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use multi_sync::harness::verify::{Content, Difference, DifferenceKind, Mtime, Options, Report, Side, compare};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, makedev, mkdirat, mknodat, openat,
    utimensat,
};
use tempfile::TempDir;

/// The modification time of everything in a settled tree.
const SETTLED: Timespec = Timespec { tv_sec: 1_600_000_000, tv_nsec: 123_456_789 };
const SETTLED_TIME: (i64, u32) = (1_600_000_000, 123_456_789);
const NOBODY: u32 = 65534;

/// Two trees that were created in the same way.
struct Trees {
    dir: TempDir,
    left: PathBuf,
    right: PathBuf,
}

impl Trees {
    fn new() -> Trees {
        let dir = tempfile::tempdir().unwrap();
        let (left, right) = (dir.path().join("left"), dir.path().join("right"));
        make(&left);
        make(&right);
        Trees { dir, left, right }
    }

    fn bare() -> Trees {
        let dir = tempfile::tempdir().unwrap();
        let (left, right) = (dir.path().join("left"), dir.path().join("right"));
        fs::create_dir(&left).unwrap();
        fs::create_dir(&right).unwrap();
        settle(&left);
        settle(&right);
        Trees { dir, left, right }
    }

    fn compare(&self, options: &Options) -> Report {
        compare(&self.left, &self.right, options).unwrap()
    }

    /// Exactly these differences are found, and mirrored ones with the sides exchanged.
    #[track_caller]
    fn differ(&self, options: &Options, wanted: &[(&[u8], DifferenceKind)]) {
        let mut wanted: Vec<Difference> =
            wanted.iter().map(|(path, kind)| Difference { path: path.to_vec(), kind: kind.clone() }).collect();
        wanted.sort();
        let found = self.compare(options);
        assert_eq!(found.differences, wanted, "left and right:\n{found}");
        assert_eq!(found.found, wanted.len() as u64);

        let mut mirrored: Vec<Difference> =
            wanted.into_iter().map(|d| Difference { path: d.path, kind: mirror(d.kind) }).collect();
        mirrored.sort();
        let found = compare(&self.right, &self.left, options).unwrap();
        assert_eq!(found.differences, mirrored, "right and left:\n{found}");
    }
}

fn mirror(kind: DifferenceKind) -> DifferenceKind {
    use DifferenceKind::*;
    match kind {
        OnlyLeft => OnlyRight,
        OnlyRight => OnlyLeft,
        Type { left, right } => Type { left: right, right: left },
        Mode { left, right } => Mode { left: right, right: left },
        Owner { left, right } => Owner { left: right, right: left },
        Group { left, right } => Group { left: right, right: left },
        Size { left, right } => Size { left: right, right: left },
        Content => Content,
        Mtime { left, right } => Mtime { left: right, right: left },
        LinkTarget { left, right } => LinkTarget { left: right, right: left },
        Device { left, right } => Device { left: right, right: left },
        Xattr(name) => Xattr(name),
        HardLinks { left, right } => HardLinks { left: right, right: left },
        Holes { left, right } => Holes { left: right, right: left },
        Unreadable { side: Side::Left, errno } => Unreadable { side: Side::Right, errno },
        Unreadable { side: Side::Right, errno } => Unreadable { side: Side::Left, errno },
    }
}

fn odd(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// A tree with every type of file that needs no privilege.
fn make(root: &Path) {
    fs::create_dir_all(root.join("dir/deeper/deepest")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("file"), "some content").unwrap();
    fs::write(root.join("none"), "").unwrap();
    fs::write(root.join("dir/deeper/deepest/file"), "deep content").unwrap();
    fs::write(root.join("large"), vec![b'x'; 700_000]).unwrap();
    fs::write(root.join(odd(b"\xff\nodd")), "odd content").unwrap();
    fs::write(root.join("n".repeat(255)), "").unwrap();
    fs::create_dir(root.join(odd(b"\xfe dir"))).unwrap();
    fs::write(root.join(odd(b"\xfe dir")).join("within"), "").unwrap();
    symlink("file", root.join("link")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("dir", root.join("dirlink")).unwrap();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from(0o644), 0).unwrap();
    for group in ["one", "two"] {
        fs::write(root.join(format!("{group}1")), "linked").unwrap();
        fs::hard_link(root.join(format!("{group}1")), root.join(format!("{group}2"))).unwrap();
    }
    fs::hard_link(root.join("one1"), root.join("dir/one3")).unwrap();
    File::create(root.join("sparse")).unwrap().set_len(1 << 20).unwrap();
    for (name, mode) in [("none", 0o4755), ("file", 0o644), ("dir", 0o755), ("empty", 0o755), ("fifo", 0o644)] {
        chmod(&root.join(name), mode);
    }
    settle(root);
}

/// Gives everything below the root, and the root, the same modification time.
fn settle(root: &Path) {
    if fs::symlink_metadata(root).unwrap().is_dir() {
        for entry in fs::read_dir(root).unwrap() {
            settle(&entry.unwrap().path());
        }
    }
    touch(root, SETTLED);
}

fn touch(path: &Path, time: Timespec) {
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Plants a difference on the right, settles the tree, and checks that these are the only differences.
#[track_caller]
fn planted(wanted: &[(&[u8], DifferenceKind)], plant: impl FnOnce(&Path)) {
    let trees = Trees::new();
    plant(&trees.right);
    settle(&trees.right);
    trees.differ(&Options::default(), wanted);
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn skip(test: &str, why: &str) {
    eprintln!("SKIP: {test}: {why}");
}

#[test]
fn equal_trees_have_no_difference() {
    let trees = Trees::new();
    let report = trees.compare(&Options { mtime: Mtime::Nanoseconds, ..Options::default() });
    assert!(report.is_same(), "{report}");
    assert_eq!(report.to_string(), "");
    assert_eq!(report.entries, 22);
    trees.differ(&Options::archive(), &[]);
}

#[test]
fn a_directory_listed_in_another_order_is_equal() {
    let trees = Trees::bare();
    for i in 0..1000 {
        fs::write(trees.left.join(format!("f{i}")), "").unwrap();
        fs::write(trees.right.join(format!("f{}", 999 - i)), "").unwrap();
    }
    settle(&trees.left);
    settle(&trees.right);
    let report = trees.compare(&Options::default());
    assert!(report.is_same(), "{report}");
    assert_eq!(report.entries, 1000);
}

#[test]
fn extra_and_missing_names_are_found_once_wherever_they_are() {
    let long = "o".repeat(255);
    let names: [&[u8]; 6] = [b"extra", b"\xff\xfe", b"new\nline", b"-rf", b" ", long.as_bytes()];
    for folder in ["", "dir/deeper/deepest"] {
        for name in names {
            let path = Path::new(folder).join(odd(name));
            let wanted = path.as_os_str().as_bytes();
            planted(&[(wanted, DifferenceKind::OnlyRight)], |root| fs::write(root.join(&path), "").unwrap());
            planted(&[(wanted, DifferenceKind::OnlyRight)], |root| {
                fs::create_dir(root.join(&path)).unwrap();
                fs::write(root.join(&path).join("within"), "").unwrap();
            });
            planted(&[(wanted, DifferenceKind::OnlyRight)], |root| symlink("dir", root.join(&path)).unwrap());
        }
    }
    planted(&[(b"file", DifferenceKind::OnlyLeft)], |root| fs::remove_file(root.join("file")).unwrap());
    planted(&[(b"dir/deeper/deepest", DifferenceKind::OnlyLeft)], |root| {
        fs::remove_dir_all(root.join("dir/deeper/deepest")).unwrap();
    });
    planted(&[(b"\xff\nodd", DifferenceKind::OnlyLeft)], |root| {
        fs::remove_file(root.join(odd(b"\xff\nodd"))).unwrap();
    });
}

#[test]
fn a_name_of_another_type_is_found_for_every_pair_of_types() {
    fn put(path: &Path, letter: char) {
        match letter {
            'f' => fs::write(path, "").unwrap(),
            'd' => {
                fs::create_dir(path).unwrap();
                fs::write(path.join("within"), "").unwrap();
            }
            'l' => symlink("..", path).unwrap(),
            'p' => mknodat(CWD, path, FileType::Fifo, Mode::from(0o644), 0).unwrap(),
            _ => mknodat(CWD, path, FileType::Socket, Mode::from(0o644), 0).unwrap(),
        }
    }
    for left in ['f', 'd', 'l', 'p', 's'] {
        for right in ['f', 'd', 'l', 'p', 's'] {
            let trees = Trees::bare();
            put(&trees.left.join("name"), left);
            put(&trees.right.join("name"), right);
            settle(&trees.left);
            settle(&trees.right);
            let wanted: &[(&[u8], DifferenceKind)] = &[(b"name", DifferenceKind::Type { left, right })];
            trees.differ(&Options::default(), if left == right { &[] } else { wanted });
        }
    }
}

#[test]
fn one_changed_byte_is_found_first_last_and_between() {
    for at in [0, 131_071, 131_072, 400_000, 699_999] {
        planted(&[(b"large", DifferenceKind::Content)], |root| {
            File::options().write(true).open(root.join("large")).unwrap().write_at(b"y", at).unwrap();
        });
    }
    planted(&[(b"dir/deeper/deepest/file", DifferenceKind::Content)], |root| {
        fs::write(root.join("dir/deeper/deepest/file"), "deep c0ntent").unwrap();
    });
}

#[test]
fn another_size_is_found_also_of_a_file_that_only_ends_in_zeros() {
    planted(&[(b"file", DifferenceKind::Size { left: 12, right: 13 })], |root| {
        fs::write(root.join("file"), "some content\0").unwrap();
    });
    planted(&[(b"large", DifferenceKind::Size { left: 700_000, right: 699_999 })], |root| {
        File::options().write(true).open(root.join("large")).unwrap().set_len(699_999).unwrap();
    });
}

#[test]
fn each_mode_bit_is_found_on_files_directories_and_fifos() {
    for bit in 0..12 {
        for (name, left) in [("file", 0o644), ("dir", 0o755), ("fifo", 0o644)] {
            let right = left ^ (1 << bit);
            let trees = Trees::new();
            chmod(&trees.right.join(name), right);
            let got = fs::symlink_metadata(trees.right.join(name)).unwrap().mode() & 0o7777;
            if got != right {
                skip("each_mode_bit_is_found", "the system does not let this user set the setgid bit");
                continue;
            }
            let mut wanted: Vec<(&[u8], DifferenceKind)> =
                vec![(name.as_bytes(), DifferenceKind::Mode { left, right })];
            if !is_root() && name != "fifo" && matches!(bit, 6 | 8) {
                let listable = right & 0o400 != 0;
                let denied = DifferenceKind::Unreadable { side: Side::Right, errno: 13 };
                match (name, bit, listable) {
                    ("file", 8, _) | ("dir", 8, _) => wanted.push((name.as_bytes(), denied)),
                    // Without the x bit the names can be listed but not looked up.
                    ("dir", ..) => {
                        wanted.extend([b"dir/deeper".as_slice(), b"dir/one3"].map(|path| (path, denied.clone())))
                    }
                    _ => {}
                }
            }
            trees.differ(&Options::default(), &wanted);
            chmod(&trees.right.join(name), 0o755);
        }
    }
    planted(&[(b"none", DifferenceKind::Mode { left: 0o4755, right: 0o755 })], |root| chmod(&root.join("none"), 0o755));
}

#[test]
fn another_owner_is_found_on_every_type() {
    if !is_root() {
        return skip("another_owner_is_found_on_every_type", "only root can give files away");
    }
    for name in ["file", "dir", "link", "fifo", "dir/deeper/deepest/file"] {
        planted(&[(name.as_bytes(), DifferenceKind::Owner { left: 0, right: NOBODY })], |root| {
            lchown(root.join(name), Some(NOBODY), None).unwrap();
        });
    }
}

#[test]
fn another_group_is_found_on_every_type() {
    let own = rustix::process::getegid().as_raw();
    let groups = rustix::process::getgroups().unwrap();
    let other = match groups.iter().map(|group| group.as_raw()).find(|&group| group != own) {
        _ if is_root() => NOBODY,
        Some(group) => group,
        None => return skip("another_group_is_found_on_every_type", "this user has one group only"),
    };
    for name in ["file", "dir", "link", "fifo"] {
        planted(&[(name.as_bytes(), DifferenceKind::Group { left: own, right: other })], |root| {
            lchown(root.join(name), None, Some(other)).unwrap();
        });
    }
}

#[test]
fn a_second_of_mtime_is_found_on_every_type_and_a_fraction_only_when_asked() {
    for name in ["file", "dir", "link", "dangling", "fifo", "empty", "."] {
        let later = Timespec { tv_sec: SETTLED.tv_sec + 1, tv_nsec: SETTLED.tv_nsec };
        let trees = Trees::new();
        touch(&trees.right.join(name), later);
        let wanted = DifferenceKind::Mtime { left: SETTLED_TIME, right: (SETTLED_TIME.0 + 1, SETTLED_TIME.1) };
        trees.differ(&Options::default(), &[(name.as_bytes(), wanted)]);
        trees.differ(&Options { mtime: Mtime::Ignore, ..Options::default() }, &[]);

        touch(&trees.right.join(name), Timespec { tv_sec: SETTLED.tv_sec, tv_nsec: SETTLED.tv_nsec + 1 });
        trees.differ(&Options::default(), &[]);
        let wanted = DifferenceKind::Mtime { left: SETTLED_TIME, right: (SETTLED_TIME.0, SETTLED_TIME.1 + 1) };
        trees.differ(&Options { mtime: Mtime::Nanoseconds, ..Options::default() }, &[(name.as_bytes(), wanted)]);
    }
}

#[test]
fn another_link_target_is_found_also_of_the_same_length() {
    for target in ["filf", "elsewhere", "./file"] {
        let wanted = DifferenceKind::LinkTarget { left: b"file".to_vec(), right: target.as_bytes().to_vec() };
        planted(&[(b"link", wanted)], |root| {
            fs::remove_file(root.join("link")).unwrap();
            symlink(target, root.join("link")).unwrap();
        });
    }
}

#[test]
fn links_are_not_followed() {
    let trees = Trees::bare();
    let outside = trees.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "").unwrap();
    symlink("../outside", trees.left.join("link")).unwrap();
    symlink("../outside", trees.right.join("link")).unwrap();
    settle(&trees.left);
    settle(&trees.right);
    let report = trees.compare(&Options::default());
    assert!(report.is_same() && report.entries == 1, "{report}");

    let error = compare(&trees.left.join("link"), &trees.right, &Options::default()).unwrap_err();
    assert!(error.to_string().contains("left/link"), "{error}");
}

#[test]
fn other_device_numbers_are_found() {
    let name = "other_device_numbers_are_found";
    let trees = Trees::bare();
    for (root, minor) in [(&trees.left, 3), (&trees.right, 5)] {
        for (node, kind) in [("char", FileType::CharacterDevice), ("block", FileType::BlockDevice)] {
            if let Err(error) = mknodat(CWD, root.join(node), kind, Mode::from(0o600), makedev(7, minor)) {
                return skip(name, &format!("cannot make devices: {error}"));
            }
        }
        settle(root);
    }
    let wanted = DifferenceKind::Device { left: (7, 3), right: (7, 5) };
    trees.differ(&Options::default(), &[(b"char", wanted.clone()), (b"block", wanted)]);
}

#[test]
fn extended_attributes_are_found_when_added_changed_or_removed() {
    for name in ["file", "dir", "dir/deeper/deepest/file", "."] {
        let trees = Trees::new();
        let set = |root: &Path, key: &str, value: &[u8]| {
            rustix::fs::lsetxattr(root.join(name), key, value, XattrFlags::empty())
        };
        if let Err(error) = set(&trees.right, "user.one", b"value") {
            return skip("extended_attributes_are_found", &format!("cannot set one: {error}"));
        }
        let one: &[(&[u8], DifferenceKind)] = &[(name.as_bytes(), DifferenceKind::Xattr(b"user.one".to_vec()))];
        trees.differ(&Options::default(), one);
        trees.differ(&Options::archive(), &[]);

        set(&trees.left, "user.one", b"valuf").unwrap();
        trees.differ(&Options::default(), one);
        set(&trees.left, "user.one", b"").unwrap();
        trees.differ(&Options::default(), one);
        set(&trees.left, "user.one", b"value").unwrap();
        trees.differ(&Options::default(), &[]);

        set(&trees.left, "user.two", b"value").unwrap();
        let two = DifferenceKind::Xattr(b"user.two".to_vec());
        trees.differ(&Options::default(), &[(name.as_bytes(), two)]);
    }
}

#[test]
fn acls_are_found() {
    // Version 2, then tag, permissions and id of: owner rw, user 1234 r, group r, mask r, others r. The mode stays 0644.
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in
        [(1_u16, 6_u16, u32::MAX), (2, 4, 1234), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 4, u32::MAX)]
    {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    for (name, key) in [("file", "system.posix_acl_access"), ("dir", "system.posix_acl_default")] {
        let trees = Trees::new();
        if let Err(error) = rustix::fs::setxattr(trees.right.join(name), key, &acl, XattrFlags::empty()) {
            skip("acls_are_found", &format!("cannot set {key}: {error}"));
            continue;
        }
        trees.differ(&Options::default(), &[(name.as_bytes(), DifferenceKind::Xattr(key.into()))]);
    }
}

#[test]
fn hard_link_groups_are_found_when_split_merged_or_exchanged() {
    fn group(left: &[u8], right: &[u8]) -> DifferenceKind {
        DifferenceKind::HardLinks { left: left.to_vec(), right: right.to_vec() }
    }
    fn relink(root: &Path, name: &str, to: Option<&str>) {
        fs::remove_file(root.join(name)).unwrap();
        match to {
            Some(to) => fs::hard_link(root.join(to), root.join(name)).unwrap(),
            None => fs::write(root.join(name), "linked").unwrap(),
        }
    }
    planted(&[(b"two2", group(b"two1", b"two2"))], |root| relink(root, "two2", None));
    planted(&[(b"one2", group(b"dir/one3", b"one2"))], |root| relink(root, "one2", None));
    planted(&[(b"two1", group(b"two1", b"dir/one3")), (b"two2", group(b"two1", b"dir/one3"))], |root| {
        relink(root, "two1", Some("one1"));
        relink(root, "two2", Some("one1"));
    });
    planted(&[(b"one2", group(b"dir/one3", b"one2")), (b"two2", group(b"two1", b"one2"))], |root| {
        relink(root, "two2", None);
        relink(root, "one2", Some("two2"));
    });
    // If one side lacks a name of a group, this is a missing name. A link to a file outside of the tree does not matter.
    planted(&[(b"two2", DifferenceKind::OnlyLeft)], |root| fs::remove_file(root.join("two2")).unwrap());
    planted(&[], |root| fs::hard_link(root.join("file"), root.parent().unwrap().join("outside")).unwrap());
}

#[test]
fn a_filled_hole_is_found() {
    let trees = Trees::new();
    fs::write(trees.right.join("sparse"), vec![0; 1 << 20]).unwrap();
    File::open(trees.right.join("sparse")).unwrap().sync_all().unwrap();
    settle(&trees.right);
    let allocated = |root: &Path| (fs::metadata(root.join("sparse")).unwrap().blocks() * 512).min(1 << 20);
    let (left, right) = (allocated(&trees.left), allocated(&trees.right));
    if left > 4096 || right < 1 << 20 {
        return skip("a_filled_hole_is_found", "this file system allocates in its own way");
    }
    trees.differ(&Options::default(), &[(b"sparse", DifferenceKind::Holes { left, right })]);
    trees.differ(&Options::archive(), &[]);
}

#[test]
fn the_attributes_of_the_roots_count_unless_told_otherwise() {
    let trees = Trees::new();
    chmod(&trees.left, 0o755);
    chmod(&trees.right, 0o1750);
    let wanted = DifferenceKind::Mode { left: 0o755, right: 0o1750 };
    trees.differ(&Options::default(), &[(b".", wanted)]);
    trees.differ(&Options { root: false, ..Options::default() }, &[]);
}

#[test]
fn what_cannot_be_read_is_a_difference() {
    let trees = Trees::new();
    for path in [trees.dir.path(), &trees.left, &trees.right] {
        chmod(path, 0o755);
    }
    let denied = |side| DifferenceKind::Unreadable { side, errno: rustix::io::Errno::ACCESS.raw_os_error() };
    for root in [&trees.left, &trees.right] {
        for name in ["file", "none", "dir/deeper"] {
            chmod(&root.join(name), 0);
        }
    }
    chmod(&trees.left.join("none"), 0o644);
    let options = Options { perms: false, ..Options::default() };
    let report = as_nobody(|| compare(&trees.left, &trees.right, &options).unwrap());
    for root in [&trees.left, &trees.right] {
        chmod(&root.join("dir/deeper"), 0o755);
    }
    let mut wanted = vec![];
    for (path, side) in [
        ("dir/deeper", Side::Left),
        ("dir/deeper", Side::Right),
        ("file", Side::Left),
        ("file", Side::Right),
        ("none", Side::Right),
    ] {
        wanted.push(Difference { path: path.into(), kind: denied(side) });
    }
    assert_eq!(report.differences, wanted, "{report}");
    assert!(report.to_string().contains("file: unreadable left: Permission denied"), "{report}");
}

/// Runs this without the privileges of root, who can read everything.
fn as_nobody<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    if !is_root() {
        return act();
    }
    let give_up = |_| rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(NOBODY)).unwrap();
    rayon::ThreadPoolBuilder::new().num_threads(2).start_handler(give_up).build().unwrap().install(act)
}

#[test]
fn paths_longer_than_any_path_argument_are_compared() {
    let trees = Trees::bare();
    let name = "p".repeat(250);
    let mut path = Vec::new();
    for (root, content) in [(&trees.left, "content"), (&trees.right, "c0ntent")] {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut dir = openat(CWD, root, flags, Mode::empty()).unwrap();
        path.clear();
        for _ in 0..20 {
            mkdirat(&dir, &name, Mode::from(0o755)).unwrap();
            dir = openat(&dir, &name, flags, Mode::empty()).unwrap();
            path.extend_from_slice(name.as_bytes());
            path.push(b'/');
        }
        path.push(b'f');
        let file = openat(&dir, "f", OFlags::CREATE | OFlags::WRONLY, Mode::from(0o644)).unwrap();
        rustix::io::write(&file, content.as_bytes()).unwrap();
    }
    assert!(path.len() > 4096);
    trees.differ(&Options { mtime: Mtime::Ignore, ..Options::default() }, &[(&path, DifferenceKind::Content)]);
}

#[test]
fn what_does_not_count_is_not_reported() {
    let trees = Trees::new();
    let right = &trees.right;
    chmod(&right.join("file"), 0o600);
    fs::write(right.join("none"), "").unwrap();
    chmod(&right.join("none"), 0o4755);
    File::options().write(true).open(right.join("large")).unwrap().write_at(b"y", 5).unwrap();
    fs::remove_file(right.join("two2")).unwrap();
    fs::write(right.join("two2"), "linked").unwrap();
    settle(right);
    touch(&right.join("dir"), Timespec { tv_sec: 1, tv_nsec: 0 });
    touch(&right.join("link"), Timespec { tv_sec: 1, tv_nsec: 0 });
    assert_eq!(trees.compare(&Options::default()).found, 5);
    let lax = Options {
        content: Content::SizeOnly,
        perms: false,
        hard_links: false,
        dir_mtime: false,
        link_mtime: false,
        ..Options::default()
    };
    trees.differ(&lax, &[]);
}

#[test]
fn independent_differences_of_one_name_are_all_found() {
    let trees = Trees::new();
    let file = trees.right.join("file");
    fs::write(&file, "Some content").unwrap();
    chmod(&file, 0o640);
    touch(&file, Timespec { tv_sec: 1, tv_nsec: 2 });
    trees.differ(
        &Options::default(),
        &[
            (b"file", DifferenceKind::Content),
            (b"file", DifferenceKind::Mode { left: 0o644, right: 0o640 }),
            (b"file", DifferenceKind::Mtime { left: SETTLED_TIME, right: (1, 2) }),
        ],
    );
}

#[test]
fn all_are_counted_and_no_more_kept_than_wanted() {
    let trees = Trees::bare();
    for i in 0..1000 {
        fs::write(trees.right.join(format!("{i:04}\n")), "").unwrap();
    }
    settle(&trees.right);
    let report = trees.compare(&Options { keep: 3, ..Options::default() });
    assert_eq!((report.found, report.differences.len(), report.is_same()), (1000, 3, false));
    assert_eq!(report.to_string().lines().count(), 4);
    assert!(report.to_string().starts_with("0000\\x0a: only right\n"), "{report}");
    assert!(report.to_string().ends_with("and 997 more\n"), "{report}");
}
