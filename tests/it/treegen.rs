//! Checks that generated trees are as promised: the same for the same seed, with the totals they claim, within their limits.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use multi_sync::harness::treegen::{
    Change, ChangeKind, DEEP_PATH_BYTES, Fill, Odd, Sizes, Spec, TopLevel, Totals, all_odd_names, deep_path,
    from_manifest, generate, mutate, odd_names, odd_tree,
};
use multi_sync::harness::verify::{DifferenceKind, Mtime, Options, compare};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use tempfile::TempDir;

const SIZES: Sizes = Sizes::LogNormal { median: 300, sigma: 1.5, max: 100_000 };

/// Compares everything, times in nanoseconds.
fn exact() -> Options {
    Options { mtime: Mtime::Nanoseconds, ..Options::default() }
}

/// Creates a tree twice, and compares the two exactly.
#[track_caller]
fn make_twice<T: PartialEq + std::fmt::Debug>(make: impl Fn(&Path) -> T) -> (TempDir, PathBuf, T) {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let (first, second) = (make(&one), make(&two));
    assert_eq!(first, second);
    let report = compare(&one, &two, &exact()).unwrap();
    assert!(report.is_same(), "{report}");
    (dir, one, first)
}

/// Counts everything below, and calls `each` for every directory with its level and its number of entries.
fn count(root: &Path, level: u32, each: &mut dyn FnMut(u32, u64)) -> Totals {
    let mut totals = Totals::default();
    let mut entries = 0;
    for entry in fs::read_dir(root).unwrap() {
        entries += 1;
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        if kind.is_dir() {
            totals.dirs += 1;
            totals += count(&path, level + 1, each);
        } else if kind.is_symlink() {
            totals.symlinks += 1;
        } else if kind.is_fifo() || kind.is_socket() {
            totals.specials += 1;
        } else {
            totals.files += 1;
            totals.bytes += meta.len();
        }
    }
    each(level, entries);
    totals
}

fn on_disk(root: &Path) -> Totals {
    count(root, 0, &mut |_, _| {})
}

#[test]
fn a_regular_tree_is_determined_by_its_seed_and_keeps_its_limits() {
    for (spec, seed) in [
        (Spec::bench(1500, SIZES), 1),
        (Spec::bench(1500, Sizes::Empty), 2),
        (Spec { entries: 120, files_percent: 50, max_per_dir: 4, depth: 9, ..Spec::bench(0, SIZES) }, 3),
        (Spec { entries: 500, files_percent: 0, ..Spec::bench(0, SIZES) }, 4),
        (Spec { fill: Fill::Islands, ..Spec::bench(50, Sizes::Uniform { min: 100_000, max: 500_000 }) }, 5),
        (Spec { fill: Fill::Hole, ..Spec::bench(50, Sizes::Uniform { min: 0, max: 1 << 40 }) }, 6),
        (Spec::flat(1000, Sizes::Uniform { min: 1, max: 9 }), 7),
        (Spec::flat(0, SIZES), 8),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        let totals = generate(&root, &spec, seed).unwrap();
        let (mut deepest, mut fullest) = (0, 0);
        let counted = count(&root, 0, &mut |level, entries| {
            deepest = deepest.max(level);
            fullest = fullest.max(entries);
        });
        assert_eq!(counted, totals, "{spec:?}");
        assert_eq!(totals.entries(), spec.entries);
        assert_eq!(totals.dirs, spec.entries * u64::from(100 - spec.files_percent) / 100);
        assert!(deepest <= spec.depth && fullest <= spec.max_per_dir, "{spec:?}: {deepest} {fullest}");
        if spec.fill == Fill::Hole {
            continue; // Reading terabytes of zeros would take too long.
        }
        let again = dir.path().join("again");
        assert_eq!(generate(&again, &spec, seed).unwrap(), totals);
        let report = compare(&root, &again, &exact()).unwrap();
        assert!(report.is_same(), "{spec:?}\n{report}");
        assert_eq!(report.entries, spec.entries);
    }
}

#[test]
fn a_tree_does_not_depend_on_the_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let roots = [1, 7].map(|threads| {
        let root = dir.path().join(threads.to_string());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| generate(&root, &Spec::bench(1000, SIZES), 5)).unwrap();
        root
    });
    let report = compare(&roots[0], &roots[1], &exact()).unwrap();
    assert!(report.is_same(), "{report}");
}

/// A seed means the same tree in later versions and on other machines.
#[test]
fn a_seed_means_the_same_tree_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    let spec = Spec { files_percent: 70, ..Spec::bench(10, SIZES) };
    let totals = generate(&root, &spec, 1).unwrap();
    let mut listing = Vec::new();
    let mut pending = vec![root.clone()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::metadata(&path).unwrap();
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            let size = if meta.is_file() { meta.len() } else { 0 };
            let first = if size > 0 { fs::read(&path).unwrap()[0] } else { 0 };
            listing.push(format!("{name} {size} {first} {}.{}", meta.mtime(), meta.mtime_nsec()));
            if meta.is_dir() {
                pending.push(path);
            }
        }
    }
    listing.sort();
    assert_eq!(listing, PINNED, "{totals:?}");
}

const PINNED: [&str; 10] = [
    "d1 0 0 1239928359.943753550",
    "d1/d2 0 0 1125411090.654549751",
    "d1/f0 265 161 1003116908.711851531",
    "d1/f1 635 124 1498666643.0",
    "d1/f2 2382 145 1362495471.911099736",
    "d3 0 0 1215750473.0",
    "d3/f0 159 244 1030024818.457961153",
    "f0 1293 85 1397870632.455322302",
    "f1 5092 244 1014932338.270443773",
    "f2 1134 151 1038812816.31127148",
];

#[test]
fn another_seed_makes_another_tree() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    generate(&one, &Spec::bench(500, SIZES), 1).unwrap();
    generate(&two, &Spec::bench(500, SIZES), 2).unwrap();
    assert!(compare(&one, &two, &Options::default()).unwrap().found > 100);
}

#[test]
fn what_does_not_fit_and_what_is_not_empty_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    let base = Spec::bench(100, Sizes::Empty);
    for bad in [
        Spec { max_per_dir: 9, depth: 0, files_percent: 100, ..base.clone() },
        Spec { max_per_dir: 2, depth: 2, files_percent: 90, ..base.clone() },
        Spec { max_per_dir: 0, ..base.clone() },
        Spec { depth: 0, ..base.clone() },
        Spec { files_percent: 101, ..base.clone() },
        Spec { sizes: Sizes::Uniform { min: 2, max: 1 }, ..base.clone() },
    ] {
        let error = generate(&root, &bad, 1).unwrap_err();
        assert_eq!(error.exit_code(), multi_sync::harness::error::EXIT_USAGE, "{error}");
        assert!(!root.exists(), "{bad:?}");
    }

    fs::create_dir(&root).unwrap();
    generate(&root, &base, 1).unwrap();
    for error in [
        generate(&root, &base, 1).unwrap_err(),
        odd_tree(&root, &Odd::new(1), 1).unwrap_err(),
        odd_names(&root, TopLevel::Files).unwrap_err(),
        from_manifest(&root, &b""[..], Fill::Hole, 1).unwrap_err(),
    ] {
        assert!(error.to_string().contains("not empty"), "{error}");
    }
    std::os::unix::fs::symlink("elsewhere", dir.path().join("link")).unwrap();
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    generate(&dir.path().join("link"), &base, 1).unwrap_err();
    assert_eq!(on_disk(&dir.path().join("elsewhere")), Totals::default());
}

#[test]
fn an_odd_tree_is_determined_by_its_seed_and_has_a_bit_of_everything() {
    for seed in 0..5 {
        let odd = Odd::new(400);
        let (_dir, root, totals) = make_twice(|root| odd_tree(root, &odd, seed).unwrap());
        assert_eq!(on_disk(&root), totals);
        assert_eq!(totals.entries(), 400);
        assert!(totals.files > 0 && totals.dirs > 0 && totals.symlinks > 0 && totals.specials > 0, "{totals:?}");

        let mut modes = HashSet::new();
        let (mut linked, mut empty_dirs) = (0, 0);
        let mut pending = vec![root];
        while let Some(folder) = pending.pop() {
            let entries: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            empty_dirs += u32::from(entries.is_empty());
            for path in entries {
                let meta = fs::symlink_metadata(&path).unwrap();
                modes.insert(meta.mode() & 0o7000);
                if meta.is_dir() {
                    pending.push(path);
                } else {
                    linked += u32::from(meta.nlink() > 1);
                }
            }
        }
        assert!(linked > 1 && empty_dirs > 0 && modes.len() > 3, "{linked} {empty_dirs} {modes:?}");
    }
}

#[test]
fn an_odd_tree_has_locked_files_and_directories_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    let odd = Odd { read_only_dirs: true, unreadable: true, depth: 1, ..Odd::new(800) };
    let totals = odd_tree(&root, &odd, 3).unwrap();
    assert_eq!(totals.entries(), 800);
    let mut modes = Vec::new();
    for entry in fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        modes.push((meta.is_dir(), meta.mode() & 0o7777));
        if meta.is_dir() {
            let unlocked = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
            fs::set_permissions(&path, unlocked).unwrap();
        }
    }
    for wanted in [(true, 0), (true, 0o555)] {
        assert!(modes.contains(&wanted), "{wanted:?} is not among {modes:?}");
    }
}

#[test]
fn all_odd_names_are_there_as_files_and_as_directories_on_both_levels() {
    let names = all_odd_names();
    let unique: HashSet<&Vec<u8>> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
    for name in &names {
        assert!(!name.is_empty() && name.len() <= 255 && !name.contains(&b'/') && !name.contains(&0), "{name:?}");
    }

    for top in [TopLevel::Files, TopLevel::Dirs] {
        let (_dir, root, totals) = make_twice(|root| odd_names(root, top).unwrap());
        let (files, dirs) = match top {
            TopLevel::Files => (root.clone(), root.join("below")),
            TopLevel::Dirs => (root.join("below"), root.clone()),
        };
        for name in &names {
            let name = OsStr::from_bytes(name);
            assert!(fs::symlink_metadata(files.join(name)).unwrap().is_file(), "{name:?}");
            assert!(fs::symlink_metadata(dirs.join(name).join("within")).unwrap().is_file(), "{name:?}");
        }

        let path = deep_path();
        assert_eq!(path.len(), DEEP_PATH_BYTES);
        let mut folder = openat(CWD, &root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut levels = 0;
        for name in path.split(|&byte| byte == b'/') {
            if statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).unwrap().st_mode & 0o170_000 == 0o40_000 {
                folder = openat(&folder, name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
                levels += 1;
            }
        }
        assert_eq!(totals.files, 2 * names.len() as u64 + 1);
        assert_eq!(totals.dirs, names.len() as u64 + 1 + levels);
    }
}

#[test]
fn a_manifest_becomes_the_tree_it_lists() {
    let manifest = b"d\t750\t0\t.\nd\t555\t0\ta\nd\t755\t0\ta/b\nf\t600\t100000\ta/b/file\nf\t4755\t0\ta/\xff\nl\t777\t0\tl\ta/b\n";
    for fill in [Fill::Random, Fill::Hole, Fill::Islands] {
        let (_dir, root, totals) = make_twice(|root| from_manifest(root, &manifest[..], fill, 9).unwrap());
        assert_eq!(totals, Totals { files: 2, dirs: 2, symlinks: 1, specials: 0, bytes: 100_000 });
        assert_eq!(on_disk(&root), totals);
        let mode = |path: &OsStr| fs::symlink_metadata(root.join(path)).unwrap().mode() & 0o7777;
        assert_eq!(mode(OsStr::new(".")), 0o750);
        assert_eq!(mode(OsStr::new("a")), 0o555);
        assert_eq!(mode(OsStr::new("a/b/file")), 0o600);
        assert_eq!(mode(OsStr::from_bytes(b"a/\xff")), 0o4755);
        assert_eq!(fs::read_link(root.join("l")).unwrap().into_os_string().into_vec(), b"a/b");
        unlock(root.parent().unwrap());
    }
}

/// Makes directories writable, so that the folder can be removed without privileges.
fn unlock(folder: &Path) {
    let unlocked = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
    fs::set_permissions(folder, unlocked).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            unlock(&entry.path());
        }
    }
}

#[test]
fn a_bad_manifest_is_refused_with_the_number_of_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    let error = from_manifest(&root, &b"d\t755\t0\t.\nf\t644\t5\t../out\n"[..], Fill::Random, 1).unwrap_err();
    assert!(error.to_string().starts_with("line 2 of the manifest"), "{error}");
    assert!(!root.exists());
}

#[test]
fn equal_trees_are_changed_in_the_same_way() {
    let mut seen = HashSet::new();
    for seed in 0..8 {
        let (dir, root, changes) = make_twice(|root| {
            odd_tree(root, &Odd { read_only_dirs: true, ..Odd::new(150) }, seed).unwrap();
            mutate(root, seed, 60).unwrap()
        });
        assert_eq!(changes.len(), 60);
        seen.extend(changes.iter().map(|change| std::mem::discriminant(&change.kind)));
        let untouched = dir.path().join("untouched");
        odd_tree(&untouched, &Odd { read_only_dirs: true, ..Odd::new(150) }, seed).unwrap();
        assert!(!compare(&untouched, &root, &Options::default()).unwrap().is_same());
        unlock(dir.path());
    }
    assert_eq!(seen.len(), 9, "some kind of change was never made");
}

/// Each single change does what it says and nothing else, apart from the times of the directories in which it happens.
#[test]
fn a_change_is_what_it_says() {
    let spec = Spec { files_percent: 60, ..Spec::bench(30, Sizes::Uniform { min: 1, max: 50 }) };
    for seed in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        let (before, after) = (dir.path().join("before"), dir.path().join("after"));
        generate(&before, &spec, 1).unwrap();
        generate(&after, &spec, 1).unwrap();
        let changes = mutate(&after, seed, 1).unwrap();
        let Change { path, kind } = &changes[0];
        let options = Options { dir_mtime: false, ..Options::default() };
        let report = compare(&before, &after, &options).unwrap();
        let found: Vec<&DifferenceKind> =
            report.differences.iter().filter(|d| d.path == *path).map(|d| &d.kind).collect();
        use DifferenceKind as D;
        let right = match kind {
            ChangeKind::Add => matches!(found[..], [D::OnlyRight]),
            ChangeKind::Remove => matches!(found[..], [D::OnlyLeft]),
            ChangeKind::Content => matches!(found[..], [D::Size { .. }, D::Mtime { .. }]),
            ChangeKind::SameSize => matches!(found[..], [D::Content, D::Mtime { .. }]),
            ChangeKind::Touch => matches!(found[..], [D::Mtime { .. }] | []),
            ChangeKind::Chmod => matches!(found[..], [D::Mode { .. }]),
            ChangeKind::FileToDir => matches!(found[..], [D::Type { left: 'f', right: 'd' }]),
            ChangeKind::DirToFile => matches!(found[..], [D::Type { left: 'd', right: 'f' }]),
            ChangeKind::Rename(to) => {
                matches!(found[..], [D::OnlyLeft])
                    && report.differences.iter().any(|d| d.path == *to && d.kind == D::OnlyRight)
            }
        };
        let others = report.found - found.len() as u64;
        assert!(right && others == u64::from(matches!(kind, ChangeKind::Rename(_))), "{}\n{report}", changes[0]);
    }
}

/// The two modules agree with a real copy: what rsync says it has copied is equal, and a change is found.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test may start rsync")]
fn a_copy_by_rsync_is_equal_until_the_tree_changes() {
    for seed in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        odd_tree(&from, &Odd { read_only_dirs: true, ..Odd::new(300) }, seed).unwrap();
        let copy = || {
            let mut rsync = std::process::Command::new("rsync");
            rsync.args(["-aHS", "--delete"]).arg(from.join("")).arg(&to).output()
        };
        let output = match copy() {
            Ok(output) => output,
            Err(error) => return eprintln!("SKIP: a_copy_by_rsync_is_equal_until_the_tree_changes: rsync: {error}"),
        };
        assert!(output.status.success(), "{output:?}");
        let options = Options { holes: false, ..Options::default() };
        let report = compare(&from, &to, &options).unwrap();
        assert!(report.is_same(), "seed {seed}\n{report}");

        let changes = mutate(&from, seed, 20).unwrap();
        assert!(!compare(&from, &to, &options).unwrap().is_same(), "{changes:?}");
        // Without privileges, rsync gives a file the w bit before it deletes it, and this also affects the hard links that stay. A second run, with nothing
        // to delete, corrects that.
        copy().unwrap();
        let output = copy().unwrap();
        assert!(output.status.success(), "{output:?}");
        let report = compare(&from, &to, &options).unwrap();
        let changes: Vec<String> = changes.iter().map(Change::to_string).collect();
        assert!(report.is_same(), "seed {seed}\n{}\n{output:?}\n{report}", changes.join("\n"));
        unlock(dir.path());
    }
}
