use std::fs::{self, File, FileTimes, Permissions};
use std::num::NonZero;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::fs::CWD;

use super::super::make_dirs;
use super::*;

#[derive(Default)]
struct Counts {
    entries: AtomicU64,
    bytes: AtomicU64,
    /// After this many questions, the answer is no.
    patience: Option<AtomicU64>,
    asked_to_stop: AtomicBool,
}

impl Watch for Counts {
    fn goes_on(&self) -> bool {
        let left =
            |patience: &AtomicU64| patience.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        self.patience.as_ref().is_none_or(|patience| left(patience).is_ok())
            && !self.asked_to_stop.load(Ordering::SeqCst)
    }

    fn made(&self, entries: u64, bytes: u64) {
        self.entries.fetch_add(entries, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }
}

/// A source and a destination next to each other.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.source()).unwrap();
        fs::create_dir(place.dest()).unwrap();
        place
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    fn dest(&self) -> PathBuf {
        self.dir.path().join("dest")
    }

    /// Creates a file that was written long ago.
    fn file(&self, path: &str, content: &[u8]) -> PathBuf {
        let path = self.source().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let time = UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
        File::open(&path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        path
    }

    /// Makes all entries old, because entries that were just changed are left to rsync.
    fn age(dir: &Path) {
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() {
                Place::age(&entry.path());
            }
        }
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::open(dir).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    }

    fn order(&self, names: &[&str]) -> Order {
        Place::age(&self.source());
        let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let group = Group { base: self.source(), source: Vec::new(), dest: Vec::new(), names };
        Order {
            makes: Makes { owner: true, group: true, ..Makes::default() },
            dest: self.dest(),
            identity: None,
            groups: vec![group],
            most: u64::MAX,
            limit: None,
            threads: NonZero::new(1).unwrap(),
        }
    }

    fn make(&self, order: &Order) -> (u64, u64) {
        let watch = Counts::default();
        let made = make(order, &watch);
        assert_eq!(watch.entries.load(Ordering::SeqCst), made.files + made.dirs);
        assert!(watch.bytes.load(Ordering::SeqCst) >= made.bytes);
        (made.files, made.dirs)
    }

    fn has(&self, path: &str) -> bool {
        self.dest().join(path).symlink_metadata().is_ok()
    }
}

fn same(one: &Path, other: &Path) -> bool {
    let look = |path: &Path| {
        let found = fs::metadata(path).unwrap();
        (found.mode(), found.uid(), found.gid(), found.mtime(), found.mtime_nsec(), fs::read(path).unwrap())
    };
    look(one) == look(other)
}

#[test]
fn files_and_directories_are_made_as_they_are_and_all_else_is_left() {
    for threads in [1, 4] {
        let place = Place::new();
        let names: Vec<String> = (0..50).map(|at| format!("tree/d{}/e{}/f{at}", at % 5, at % 7)).collect();
        for (at, name) in names.iter().enumerate() {
            let path = place.file(name, &vec![b'x'; at * 1000]);
            fs::set_permissions(path, Permissions::from_mode([0o644, 0o4755, 0o400, 0o2666][at % 4])).unwrap();
        }
        place.file("single", b"1");
        place.file("new\nline \u{e4}", b"odd");
        symlink("single", place.source().join("tree/link")).unwrap();
        fs::create_dir(place.source().join("tree/empty")).unwrap();
        rustix::fs::mknodat(CWD, place.source().join("tree/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let mut order = place.order(&["tree", "single", "new\nline \u{e4}", "gone"]);
        order.threads = NonZero::new(threads).unwrap();
        assert_eq!(place.make(&order), (52, 42));
        for name in names.iter().map(String::as_str).chain(["single", "new\nline \u{e4}"]) {
            assert!(same(&place.source().join(name), &place.dest().join(name)), "{name}");
        }
        assert!(place.has("tree/empty") && !place.has("tree/link") && !place.has("tree/fifo"));
        // Existing entries are left as they are, with all their contents.
        fs::remove_file(place.dest().join("tree/d0/e0/f0")).unwrap();
        fs::write(place.dest().join("single"), "mine").unwrap();
        assert_eq!(place.make(&order), (0, 0));
        assert!(!place.has("tree/d0/e0/f0") && fs::read(place.dest().join("single")).unwrap() == b"mine");
    }
}

#[test]
fn names_are_made_where_they_belong() {
    let place = Place::new();
    place.file("a/b/f", b"1");
    fs::create_dir_all(place.dest().join("to/a")).unwrap();
    let mut order = place.order(&["b"]);
    order.groups[0].source = b"a".to_vec();
    order.groups[0].dest = b"to/a".to_vec();
    assert_eq!(place.make(&order), (1, 1));
    assert!(place.has("to/a/b/f"));
    // Nothing is created in a destination that was replaced.
    order.identity = Some((0, 0));
    fs::remove_dir_all(place.dest().join("to/a/b")).unwrap();
    assert_eq!(place.make(&order), (0, 0));
}

#[test]
fn what_is_in_doubt_is_left_to_rsync() {
    let place = Place::new();
    let linked = place.file("linked", b"1");
    fs::hard_link(&linked, place.source().join("second")).unwrap();
    let plain = place.file("plain", b"1");
    let with_more = place.file("more", b"1");
    fs::write(place.source().join("recent"), "1").unwrap();
    let has_more = rustix::fs::setxattr(&with_more, "user.more", b"1", rustix::fs::XattrFlags::empty()).is_ok();
    let mut order = place.order(&["linked", "second", "plain", "more", "recent"]);
    order.makes = Makes { single_names_only: true, plain_only: true, ..order.makes };
    assert_eq!(place.make(&order), (if has_more { 1 } else { 2 }, 0));
    assert!(place.has("plain") && !place.has("linked") && !place.has("recent"));
    // If the group must be the own one, only files of the own group are created.
    fs::remove_file(place.dest().join("plain")).unwrap();
    let own = fs::metadata(&plain).unwrap().gid() == rustix::process::getegid().as_raw();
    order.makes = Makes { own_group_only: true, ..Makes::default() };
    assert_eq!(place.make(&order).0, if own { 4 } else { 0 });
    // In this directory, new files would have its group.
    let place = Place::new();
    place.file("f", b"1");
    fs::set_permissions(place.dest(), Permissions::from_mode(0o2755)).unwrap();
    let mut order = place.order(&["f"]);
    order.makes = Makes::default();
    assert_eq!(place.make(&order), (0, 0));
}

#[test]
fn no_link_leads_elsewhere_on_either_side() {
    let place = Place::new();
    place.file("dir/f", b"1");
    let secret = place.dir.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "secret").unwrap();
    // A split directory of the source was replaced by a symbolic link.
    symlink(&secret, place.source().join("swapped")).unwrap();
    fs::create_dir(place.dest().join("swapped")).unwrap();
    let mut order = place.order(&["key"]);
    (order.groups[0].source, order.groups[0].dest) = (b"swapped".to_vec(), b"swapped".to_vec());
    assert_eq!(place.make(&order), (0, 0));
    // A unit was replaced.
    assert_eq!(place.make(&place.order(&["swapped"])), (0, 0));
    // A directory of the destination was replaced.
    symlink(&secret, place.dest().join("out")).unwrap();
    let mut order = place.order(&["dir"]);
    order.groups[0].dest = b"out".to_vec();
    assert_eq!(place.make(&order), (0, 0));
    for path in ["../dest", "..", "/"] {
        order.groups[0].dest = path.as_bytes().to_vec();
        assert_eq!(place.make(&order), (0, 0), "{path}");
    }
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
}

#[test]
fn who_stops_finds_whole_files_only() {
    for patience in 0..40 {
        let place = Place::new();
        let files: Vec<String> = (0..6).map(|at| format!("tree/{at}")).collect();
        for name in &files {
            place.file(name, &vec![b'x'; 600_000]);
        }
        let watch = Counts { patience: Some(AtomicU64::new(patience)), ..Counts::default() };
        let made = make(&place.order(&["tree"]), &watch);
        let there = files.iter().filter(|name| place.has(name));
        let whole = there.filter(|name| same(&place.source().join(name), &place.dest().join(name))).count() as u64;
        let listed = fs::read_dir(place.dest().join("tree")).map_or(0, |all| all.count() as u64);
        assert_eq!((whole, listed), (made.files, made.files), "{patience}");
    }
}

#[test]
fn a_limit_is_kept() {
    let place = Place::new();
    place.file("f", &vec![b'x'; 60_000]);
    let mut order = place.order(&["f"]);
    order.limit = NonZero::new(100_000);
    let began = Instant::now();
    assert_eq!(place.make(&order), (1, 0));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(400), "{took:?}");
}

#[test]
fn names_for_the_time_being_are_gone_afterwards() {
    let place = Place::new();
    place.file("f", b"1");
    place.file("taken", b"1");
    fs::write(place.dest().join("taken"), "mine").unwrap();
    let (order, watch) = (place.order(&["f", "taken"]), Counts::default());
    let mut pass = Pass::new(&order, &watch).unwrap();
    pass.temporary = temporary::Ways::with_names();
    pass.work();
    assert!(same(&place.source().join("f"), &place.dest().join("f")));
    assert_eq!(
        (fs::read_dir(place.dest()).unwrap().count(), fs::read(place.dest().join("taken")).unwrap()),
        (2, b"mine".to_vec())
    );
}

#[test]
fn an_empty_file_that_cannot_be_read_is_left_to_rsync() {
    let place = Place::new();
    for (at, mode) in [0o644, 0o644, 0o600, 0o644, 0, 0].into_iter().enumerate() {
        let path = place.file(&format!("tree/{at}"), b"");
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    place.file("tree/content", b"1");
    let as_root = rustix::process::geteuid().is_root();
    assert_eq!(place.make(&place.order(&["tree"])), (if as_root { 7 } else { 5 }, 1));
    for name in ["tree/0", "tree/1", "tree/2", "tree/3", "tree/content"] {
        assert!(same(&place.source().join(name), &place.dest().join(name)), "{name}");
    }
}

#[test]
fn split_directories_are_made_with_their_modes_and_only_where_nothing_is() {
    let place = Place::new();
    place.file("a/b/f", b"1");
    place.file("c", b"1");
    symlink("a", place.source().join("link")).unwrap();
    fs::set_permissions(place.source().join("a"), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(place.source().join("a/b"), Permissions::from_mode(0o3051)).unwrap();
    fs::set_permissions(place.source(), Permissions::from_mode(0o750)).unwrap();
    let group = |above: &str, name: &str| Group {
        source: above.as_bytes().to_vec(),
        dest: above.as_bytes().to_vec(),
        ..place.order(&[name]).groups.remove(0)
    };
    let order = |groups: Vec<Group>| Order { groups, ..place.order(&[]) };
    let mode = |path: &str| fs::metadata(place.dest().join(path)).unwrap().mode() & 0o7777;
    let made = |groups: Vec<Group>| make_dirs(&order(groups), None).map(|made| made.dirs);
    fs::remove_dir(place.dest()).unwrap();
    assert_eq!(made(vec![group("", "a"), group("a", "b")]), Some(3));
    let writable = if rustix::process::geteuid().is_root() { 0 } else { 0o700 };
    assert_eq!((mode("a"), mode("a/b")), (0o755, 0o3051 | writable));
    // Existing directories, and names that are not directories, are left to rsync. A symbolic link is followed on neither side.
    symlink("a", place.dest().join("d")).unwrap();
    for (above, name) in [("", "a"), ("", "c"), ("", "link"), ("", "gone"), ("d", "b")] {
        assert_eq!(made(vec![group(above, name)]), None, "{above} {name}");
    }
    fs::remove_dir_all(place.dest()).unwrap();
    let top = Group { names: Vec::new(), ..group("", "") };
    assert_eq!(make_dirs(&order(vec![group("", "a")]), Some(&top)).map(|made| made.dirs), Some(2));
    assert_eq!(mode(""), 0o750);
    // An existing DEST keeps its mode until the end.
    fs::set_permissions(place.dest(), Permissions::from_mode(0o711)).unwrap();
    fs::remove_dir(place.dest().join("a")).unwrap();
    assert_eq!(make_dirs(&order(vec![group("", "a")]), Some(&top)).map(|made| made.dirs), Some(1));
    assert_eq!(mode(""), 0o711);
    // DEST was replaced by another directory.
    let identity = Some((1, 1));
    fs::remove_dir(place.dest().join("a")).unwrap();
    assert_eq!(make_dirs(&Order { identity, ..order(vec![group("", "a")]) }, None), None);
}

/// A run that is killed leaves directories as one rsync would.
#[test]
fn a_directory_is_made_with_owner_and_mode() {
    let is_root = rustix::process::geteuid().is_root();
    let place = Place::new();
    place.file("top/in/f", b"1");
    place.file("top/in/deep/f", b"1");
    let modes = [("top", 0o2775), ("top/in", 0o1777), ("top/in/deep", 0o500)];
    for (path, mode) in modes {
        let path = place.source().join(path);
        if is_root {
            std::os::unix::fs::chown(&path, Some(12), Some(34)).unwrap();
        }
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    assert_eq!(place.make(&place.order(&["top"])), (2, 3));
    let look =
        |path: PathBuf| fs::metadata(path).map(|found| (found.mode() & 0o7777, found.uid(), found.gid())).unwrap();
    for (path, mode) in modes {
        let (_, user, group) = look(place.source().join(path));
        let writable = if is_root { 0 } else { 0o700 };
        assert_eq!(look(place.dest().join(path)), (mode | writable, user, group), "{path}");
    }
    // The group that a directory passes on to new entries is replaced by that of the source.
    assert!(same(&place.source().join("top/in/deep/f"), &place.dest().join("top/in/deep/f")));
    assert!(same(&place.source().join("top/in/f"), &place.dest().join("top/in/f")));
}

/// With the mode alone, the group would have permissions that the ACL denies, and for a split directory this would last until the end.
#[test]
fn a_directory_that_gets_an_acl_is_left_to_rsync() {
    let place = Place::new();
    place.file("with/f", b"1");
    let with = place.source().join("with");
    if rustix::fs::setxattr(&with, "user.more", b"1", rustix::fs::XattrFlags::empty()).is_err() {
        eprintln!("SKIP: no extended attributes here");
        return;
    }
    let mut order = place.order(&["with"]);
    order.makes.plain_only = true;
    assert_eq!(place.make(&order), (0, 0));
    assert_eq!(make_dirs(&order, None), None);
    assert!(!place.has("with"));
    order.makes.plain_only = false;
    assert_eq!(make_dirs(&order, None).map(|made| made.dirs), Some(1));
}

/// DEST may be visible in the source through another file system: then the source grows while entries are created.
#[test]
fn what_changes_meanwhile_and_more_than_was_scanned_is_left() {
    let place = Place::new();
    for at in 0..20 {
        place.file(&format!("tree/old/{at}"), b"1");
        place.file(&format!("tree/new/{at}"), b"1");
    }
    let mut order = place.order(&["tree"]);
    File::open(place.source().join("tree/new")).unwrap().set_modified(SystemTime::now()).unwrap();
    assert_eq!(place.make(&order), (20, 2));
    assert!(!place.has("tree/new"));
    fs::remove_dir_all(place.dest().join("tree")).unwrap();
    order.most = 7;
    assert_eq!(place.make(&order), (5, 2));
}
