//! The guarantees of the scan (`multi_sync::scan`), for both walkers and several numbers of threads, compared with a model that reads the tree independently.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support;
use crate::support::work::Work;
use multi_sync::harness::rsync::filter::Filters;
use multi_sync::harness::rsync::options::Options;
use multi_sync::harness::treegen::{self, Odd, Sizes, Spec, TopLevel};
use multi_sync::scan::{Event, KeptWhole, Limits, LinkedDir, Root, Scan, ScanError, Small, Units, Watch, Weight};

pub type Name = Vec<u8>;

/// The events of a scan, in order.
#[derive(Default)]
pub struct Told {
    /// Root and path.
    spine: Vec<(u32, Name)>,
    pub mounts: Vec<Name>,
    /// Root, path, weight, and the number of spine directories reported before it.
    units: Vec<(u32, Name, Weight, usize)>,
    pub linked: Vec<(Name, (u64, u64))>,
    pub linked_dirs: Vec<Together>,
    kept_whole: Vec<KeptWhole>,
    pub errors: Vec<ScanError>,
    largest_batch: usize,
}

#[derive(Debug, PartialEq)]
pub struct Together {
    pub dirs: BTreeSet<Name>,
    inodes: BTreeSet<(u64, u64)>,
}

fn join(dir: &[u8], name: &[u8]) -> Name {
    if dir.is_empty() || name.is_empty() { [dir, name].concat() } else { [dir, b"/", name].concat() }
}

impl Told {
    pub fn hear(&mut self, event: Event<'_>) {
        match event {
            Event::Spine(spine) => {
                assert_eq!(spine.index as usize, self.spine.len(), "spine directories are numbered in order");
                if spine.mount_point {
                    self.mounts.push(spine.path.to_vec());
                }
                self.spine.push((spine.root, spine.path.to_vec()));
            }
            Event::Units(units) => self.units(units),
            Event::Linked(linked) => {
                assert_eq!(self.spine[linked.spine as usize], (linked.root, linked.dir.to_vec()));
                let path = join(linked.dir, linked.name);
                self.linked.push((path.clone(), linked.inode));
                self.units.push((linked.root, path, linked.weight, self.spine.len()));
            }
            Event::LinkedDirs(dirs) => {
                let mut together = BTreeSet::new();
                for LinkedDir { root, spine, dir, name, weight, .. } in dirs.units {
                    assert_eq!(self.spine[spine as usize], (root, dir.clone()));
                    let path = join(&dir, &name);
                    together.insert(path.clone());
                    self.units.push((root, path, weight, self.spine.len()));
                }
                self.linked_dirs.push(Together { dirs: together, inodes: dirs.inodes.into_iter().collect() });
            }
            Event::KeptWhole { why, .. } => self.kept_whole.push(why),
            Event::Error(error) => self.errors.push(error),
            other => panic!("{other:?}"),
        }
    }

    fn units(&mut self, units: Units<'_>) {
        if let Some(spine) = units.spine {
            assert_eq!(
                self.spine[spine as usize],
                (units.root, units.dir.to_vec()),
                "units come after their directory"
            );
        }
        self.largest_batch = self.largest_batch.max(units.iter().count());
        for unit in units.iter() {
            self.units.push((units.root, join(units.dir, unit.name), unit.weight, self.spine.len()));
        }
    }

    /// Everything except the order.
    pub fn shape(&self) -> impl std::fmt::Debug + PartialEq + use<> {
        let units: BTreeSet<_> = self
            .units
            .iter()
            .map(|(root, path, weight, _)| (*root, path.clone(), weight.entries, weight.bytes))
            .collect();
        let mut together: Vec<_> =
            self.linked_dirs.iter().map(|Together { dirs, inodes }| (dirs.clone(), inodes.clone())).collect();
        together.sort();
        let spine: BTreeSet<_> = self.spine.iter().cloned().collect();
        let linked: BTreeSet<_> = self.linked.iter().cloned().collect();
        let mut kept_whole = self.kept_whole.clone();
        kept_whole.sort();
        (spine, units, linked, together, kept_whole, self.errors.len())
    }

    pub fn paths(&self) -> BTreeSet<Name> {
        self.units.iter().map(|(_, path, ..)| path.clone()).collect()
    }
}

pub fn limits(entries: u64, bytes: u64) -> Limits {
    Limits { entries: NonZero::new(entries).unwrap(), bytes: NonZero::new(bytes).unwrap() }
}

fn inode(path: &Path) -> (u64, u64) {
    let found = fs::metadata(path).unwrap();
    (found.dev(), found.ino())
}

pub fn root(base: &Path) -> Root {
    Root { base: base.to_owned(), name: None }
}

pub fn run_sized(scan: &Scan, small: Option<Small<'_>>) -> (Told, Watch) {
    let told = Mutex::new(Told::default());
    let watch = Watch::default();
    scan.run_sized(small, &watch, &|event| told.lock().unwrap().hear(event)).unwrap();
    (told.into_inner().unwrap(), watch)
}

/// Runs a scan, also as one that learns its limits after half of the tree, or all of it, and must report the same.
fn run(scan: &Scan) -> (Told, Watch) {
    let (told, watch) = run_sized(scan, None);
    let all = watch.found();
    let half = Small { entries: all.entries / 2, limits: &|_| scan.limits };
    let (late, found) = run_sized(scan, Some(half));
    assert_eq!((late.shape(), found.found()), (told.shape(), all), "limits that are known when half of the tree is");
    let asked = AtomicUsize::new(0);
    let limits = |found: Weight| {
        asked.fetch_add(1, Ordering::Relaxed);
        assert_eq!(found, all);
        scan.limits
    };
    for other in [1, u64::MAX] {
        let other = with(scan.clone(), |scan| scan.limits = self::limits(other, other));
        let (late, found) = run_sized(&other, Some(Small { entries: all.entries, limits: &limits }));
        assert_eq!((late.shape(), found.found()), (told.shape(), all), "limits that are known at the end");
    }
    assert_eq!(asked.into_inner(), 2);
    (told, watch)
}

/// A scan with a changed setting.
pub fn with(mut scan: Scan, change: impl FnOnce(&mut Scan)) -> Scan {
    change(&mut scan);
    scan
}

/// Both walkers, with one thread and with several.
fn every_way(scan: impl Fn(NonZero<usize>) -> Scan, each: impl Fn(&str, &Scan)) {
    for gitignore in [false, true] {
        for threads in [1, 2, 8] {
            let scan = with(scan(NonZero::new(threads).unwrap()), |scan| scan.gitignore = gitignore);
            each(&format!("{} threads, gitignore: {gitignore}", threads), &scan);
        }
    }
}

/// Everything in a tree: whether it is a directory, and its weight with its contents.
struct Model(BTreeMap<Name, (bool, Weight)>);

impl Model {
    fn of(top: &Path, name: &[u8]) -> Model {
        let mut model = Model(BTreeMap::new());
        model.add(top, name.to_vec());
        model
    }

    fn add(&mut self, path: &Path, name: Name) -> Weight {
        let found = path.symlink_metadata().unwrap();
        let mut weight = Weight { entries: 1, bytes: if found.is_file() { found.len() } else { 0 } };
        if found.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                weight += self.add(&entry.path(), join(&name, entry.file_name().as_bytes()));
            }
        }
        self.0.insert(name, (found.is_dir(), weight));
        weight
    }

    /// A path and everything below it.
    fn below(&self, path: &[u8]) -> impl Iterator<Item = &Name> {
        let inside = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let end = [path, b"0"].concat();
        let own = self.0.get_key_value(path).map(|(name, _)| name).filter(|_| !path.is_empty());
        let names = self.0.range(inside..).map(|(name, _)| name);
        own.into_iter().chain(names.take_while(move |name| end == b"0" || **name < end))
    }

    fn total(&self) -> Weight {
        self.0.first_key_value().unwrap().1.1
    }
}

/// The guarantees of the module, for one root.
#[track_caller]
fn check(how: &str, scan: &Scan, model: &Model) -> Told {
    let (told, watch) = run(scan);
    assert_eq!(told.errors, [], "{how}");
    let mut seen = BTreeSet::new();
    let mut places = BTreeMap::new();
    for (place, (_, path)) in told.spine.iter().enumerate() {
        assert!(model.0[path].0, "{how}: spine are directories only");
        assert!(seen.insert(path.clone()), "{how}: told twice");
        if let Some(at) = path.iter().rposition(|byte| *byte == b'/') {
            let named = scan.roots[0].name.as_ref().is_some_and(|name| *name == *OsStr::from_bytes(path));
            assert!(named || places.contains_key(&path[..at]), "{how}: {} came too early", path.escape_ascii());
        }
        places.insert(path.clone(), place);
    }
    for (_, path, weight, spine_before) in &told.units {
        let shown = path.escape_ascii();
        assert_eq!(model.0.get(path).map(|found| found.1), Some(*weight), "{how}: weight of {shown}");
        let single = !model.0[path].0 || weight.entries == 1;
        // An argument of rsync may not be longer than the path limit of system calls, including a name of 255 bytes at its end.
        let too_long = scan.roots[0].base.as_os_str().len() + path.len() > 3700;
        assert!(single || too_long || scan.limits.hold(*weight), "{how}: {shown} is too large");
        if let Some(at) = path.iter().rposition(|byte| *byte == b'/') {
            let place = places.get(&path[..at]);
            assert!(place.is_some_and(|place| place < spine_before), "{how}: {shown} came too early");
        }
        for entry in model.below(path) {
            assert!(seen.insert(entry.clone()), "{how}: {} is told twice", entry.escape_ascii());
        }
    }
    let missing: Vec<_> = model.0.keys().filter(|path| !seen.contains(*path)).collect();
    assert!(missing.is_empty() && seen.len() == model.0.len(), "{how}: missing {missing:?}");
    assert_eq!(watch.found(), model.total(), "{how}");
    let directories = model.0.values().filter(|(is_dir, _)| *is_dir).count() as u64;
    assert_eq!(watch.directories(), directories, "{how}");
    told
}

#[test]
fn each_entry_is_told_once_whatever_the_shape_and_the_limits() {
    let work = Work::new();
    let shapes: [(&str, Spec); 4] = [
        ("bench", Spec::bench(1500, Sizes::Uniform { min: 0, max: 1000 })),
        ("flat", Spec::flat(1500, Sizes::Uniform { min: 0, max: 100 })),
        ("wide", Spec { files_percent: 10, max_per_dir: 600, depth: 2, ..Spec::bench(1200, Sizes::Empty) }),
        ("deep", Spec { files_percent: 0, max_per_dir: 1, depth: 300, ..Spec::bench(300, Sizes::Empty) }),
    ];
    for (name, spec) in shapes {
        let top = work.join(name);
        treegen::generate(&top, &spec, 1).unwrap();
        let model = Model::of(&top, b"");
        for limits in [limits(1, u64::MAX), limits(7, u64::MAX), limits(500, 5000), limits(u64::MAX, u64::MAX)] {
            let scan = |threads| Scan::new(vec![root(&top)], limits, threads);
            every_way(scan, |how, scan| {
                check(&format!("{name}, {limits:?}, {how}"), scan, &model);
            });
        }
    }
}

#[test]
fn every_kind_of_entry_and_every_odd_name() {
    let work = Work::new();
    treegen::odd_names(&work.join("names"), TopLevel::Dirs).unwrap();
    for seed in 0..6 {
        treegen::odd_tree(&work.join(format!("odd{seed}")), &Odd::new(200), seed).unwrap();
    }
    for name in ["names", "odd0", "odd1", "odd2", "odd3", "odd4", "odd5"] {
        let model = Model::of(&work.join(name), name.as_bytes());
        for entries in [1, 20] {
            let named = Root { base: work.path().to_owned(), name: Some(name.into()) };
            let scan = |threads| Scan::new(vec![named.clone()], limits(entries, 1 << 20), threads);
            every_way(scan, |how, scan| {
                check(&format!("{name}, {entries}, {how}"), scan, &model);
            });
        }
    }
}

#[test]
fn a_tree_within_the_limits_is_one_unit_unless_it_is_to_be_split() {
    let work = Work::new();
    work.file("tree/a/b/c", "text");
    work.dir("none");
    let named = Root { base: work.path().to_owned(), name: Some("tree".into()) };
    let scan = |threads| Scan::new(vec![named.clone(), root(&work.join("none"))], limits(100, 100), threads);
    every_way(scan, |how, scan| {
        let (told, _) = run(scan);
        assert_eq!(told.paths(), BTreeSet::from([b"".to_vec(), b"tree".to_vec()]), "{how}");
        assert!(told.spine.is_empty(), "{how}");
        let split = with(Scan::new(vec![], scan.limits, scan.threads), |split| {
            split.roots = scan.roots.clone();
            split.split_roots = true;
            split.gitignore = scan.gitignore
        });
        let (told, _) = run(&split);
        assert_eq!(told.paths(), BTreeSet::from([b"tree/a".to_vec()]), "{how}");
        assert_eq!(told.spine.len(), 2, "{how}");
    });
}

#[test]
fn a_large_directory_is_told_in_small_batches() {
    let work = Work::new();
    treegen::generate(&work.join("flat"), &Spec::flat(20_000, Sizes::Empty), 1).unwrap();
    let scan = |threads| Scan::new(vec![root(&work.join("flat"))], limits(1000, 1), threads);
    every_way(scan, |how, scan| {
        let (told, _) = run(scan);
        assert_eq!(told.units.len(), 20_000, "{how}");
        // The entries that were held until the directory outgrew the limits, and one more batch.
        assert!(told.largest_batch <= 2500, "{how}: {}", told.largest_batch);
    });
}

#[test]
fn names_of_one_inode_are_told_wherever_their_directories_are_split() {
    let work = Work::new();
    for file in ["a/one", "a/x", "b/c/two", "b/y", "own/first"] {
        work.file(file, file);
    }
    fs::hard_link(work.join("a/one"), work.join("b/c/two-of-a")).unwrap();
    fs::hard_link(work.join("own/first"), work.join("own/second")).unwrap();
    fs::remove_dir_all(work.join("tmp")).unwrap();
    fs::remove_dir_all(work.join("home")).unwrap();
    let inode = |path: &str| inode(&work.join(path));
    let model = Model::of(work.path(), b"");
    let linked = |entries, threads| {
        with(Scan::new(vec![root(work.path())], limits(entries, 1 << 20), threads), |scan| scan.hard_links = true)
    };
    every_way(
        |threads| linked(4, threads),
        |how, scan| {
            let told = check(how, scan, &model);
            let names: BTreeMap<Name, (u64, u64)> = told.linked.into_iter().collect();
            // `own` is a unit that contains all names of its file. The names of the other files have no common directory except the root.
            let expected = [(b"a/one".to_vec(), inode("a/one")), (b"b/c/two-of-a".to_vec(), inode("a/one"))];
            assert_eq!(names, BTreeMap::from(expected), "{how}");
        },
    );
    every_way(
        |threads| linked(1, threads),
        |how, scan| {
            assert_eq!(check(how, scan, &model).linked.len(), 4, "{how}");
        },
    );
}

#[test]
fn directories_that_share_files_go_together_unless_they_are_too_much() {
    let work = Work::new();
    for file in ["p/a", "p/b", "p/c", "q/d", "q/e", "q/f"] {
        work.file(format!("farm/0/{file}"), file);
        for snapshot in ["1", "2"] {
            let (dir, name) = file.split_once('/').unwrap();
            let dir = work.dir(format!("farm/{snapshot}/{dir}"));
            fs::hard_link(work.join(format!("farm/0/{file}")), dir.join(name)).unwrap();
        }
    }
    let top = work.join("farm");
    let model = Model::of(&top, b"");
    assert_eq!(model.total().entries, 28);
    let inodes = |files: [&str; 3]| files.map(|file| inode(&top.join("0").join(file)));
    let together = |dir: &str, files| Together {
        dirs: ["0", "1", "2"].map(|snapshot| format!("{snapshot}/{dir}").into_bytes()).into(),
        inodes: inodes(files).into(),
    };
    let farm = |parts, threads| {
        with(Scan::new(vec![root(&top)], limits(5, 1 << 20), threads), |scan| {
            scan.hard_links = true;
            scan.linked_parts = NonZero::new(parts)
        })
    };
    // 12 entries are within half of all entries.
    every_way(
        |threads| farm(2, threads),
        |how, scan| {
            let mut told = check(how, scan, &model);
            told.linked_dirs.sort_by(|a, b| a.dirs.cmp(&b.dirs));
            let expected = [together("p", ["p/a", "p/b", "p/c"]), together("q", ["q/d", "q/e", "q/f"])];
            assert_eq!(told.linked_dirs, expected, "{how}");
            assert_eq!(told.linked, [], "{how}");
        },
    );
    for parts in [0, 3] {
        every_way(
            |threads| farm(parts, threads),
            |how, scan| {
                let told = check(how, scan, &model);
                assert_eq!((told.linked.len(), told.linked_dirs.len()), (18, 0), "{how}");
            },
        );
    }
}

#[test]
fn a_directory_and_a_name_that_share_a_file_are_told_as_such() {
    let work = Work::new();
    for file in ["top/dir/one", "top/dir/two", "top/x", "top/y"] {
        work.file(file, file);
    }
    let top = work.join("top");
    fs::hard_link(top.join("dir/one"), top.join("name")).unwrap();
    let model = Model::of(&top, b"");
    let scan = |entries, threads| {
        with(Scan::new(vec![root(&top)], limits(entries, 1 << 20), threads), |scan| scan.hard_links = true)
    };
    let shared = inode(&top.join("name"));
    // With this name the directory weighs 4.
    every_way(
        |threads| scan(4, threads),
        |how, scan| {
            let told = check(how, scan, &model);
            assert_eq!(told.linked, [(b"name".to_vec(), shared)], "{how}");
            let expected = Together { dirs: [b"dir".to_vec()].into(), inodes: [shared].into() };
            assert_eq!(told.linked_dirs, [expected], "{how}");
        },
    );
    every_way(
        |threads| scan(3, threads),
        |how, scan| {
            let told = check(how, scan, &model);
            assert_eq!((told.linked.len(), told.linked_dirs.len()), (2, 0), "{how}");
        },
    );
}

#[test]
fn directories_that_are_not_entered() {
    let work = Work::new();
    for file in ["tree/cache/a", "tree/sub/cache/b", "tree/sub/path/d", "tree/sub/f", "tree/out/c", "tree/file"] {
        work.file(file, "text");
    }
    // The rule only applies to a directory.
    work.file("tree/sub/out/cache", "text");
    let out = fs::metadata(work.join("tree/out")).unwrap();
    let rules = Options::parse(&["--exclude=cache/", "--exclude=/sub/path"]).unwrap();
    let rules = Filters::of(&rules, work.path()).unwrap().prune;
    let scan = |threads| {
        with(Scan::new(vec![root(&work.join("tree"))], limits(100, 1 << 20), threads), |scan| {
            scan.left_out = Some((out.dev(), out.ino()))
        })
        .pruned_by(rules.clone())
    };
    every_way(scan, |how, scan| {
        let (told, watch) = run(scan);
        assert_eq!(told.spine, [(0, Vec::new())], "{how}: the parent of what is left out is split");
        let expected = ["cache", "file", "sub"].map(|name| name.as_bytes().to_vec());
        assert_eq!(told.paths(), BTreeSet::from(expected), "{how}");
        let weight = |name: &[u8]| told.units.iter().find(|(_, path, ..)| path == name).unwrap().2.entries;
        assert_eq!((weight(b"cache"), weight(b"sub")), (1, 6), "{how}");
        assert_eq!(watch.found().entries, 10, "{how}: {:?}", told.paths());
    });
}

#[test]
fn a_pruned_directory_is_not_read_on() {
    let work = Work::new();
    for dir in 0..40 {
        for file in 0..50 {
            work.file(format!("tree/pruned/d{dir}/f{file}"), "");
        }
    }
    work.file("tree/kept/f", "");
    let scan = |threads| Scan::new(vec![root(&work.join("tree"))], limits(10, 1), threads);
    every_way(scan, |how, scan| {
        let told = Mutex::new(Told::default());
        let watch = Watch::default();
        let ran = scan.run(&watch, &|event| {
            if let Event::Spine(spine) = &event
                && spine.path == b"pruned"
            {
                spine.pruner().prune();
            }
            told.lock().unwrap().hear(event);
        });
        ran.unwrap();
        let told = told.into_inner().unwrap();
        assert!(told.paths().contains(&b"kept"[..]) || told.paths().contains(&b"kept/f"[..]), "{how}");
        assert!(watch.found().entries < 2044, "{how}: {:?}", watch.found());
    });
}

#[test]
fn a_stopped_scan_ends() {
    let work = Work::new();
    treegen::generate(&work.join("tree"), &Spec::bench(5000, Sizes::Empty), 1).unwrap();
    let scan = |threads| Scan::new(vec![root(&work.join("tree"))], limits(10, 1), threads);
    every_way(scan, |how, scan| {
        let watch = Watch::default();
        scan.run(&watch, &|_| watch.stop()).unwrap();
        assert!(watch.found().entries < 5001, "{how}: {:?}", watch.found());
    });
}

#[test]
fn a_panic_of_the_sink_ends_the_scan() {
    let work = Work::new();
    treegen::generate(&work.join("tree"), &Spec::bench(2000, Sizes::Empty), 1).unwrap();
    let scan = |threads| Scan::new(vec![root(&work.join("tree"))], limits(10, 1), threads);
    every_way(scan, |how, scan| {
        let watch = Watch::default();
        let ran = catch_unwind(AssertUnwindSafe(|| {
            scan.run(&watch, &|event| assert!(!matches!(event, Event::Spine(spine) if spine.index == 20)))
        }));
        assert!(ran.is_err(), "{how}");
    });
}

#[test]
fn a_mount_point_is_entered_or_not() {
    // A directory that contains mount points on every Linux.
    let top = Path::new("/dev");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)?.strip_prefix("/dev/"));
    let points: BTreeSet<Name> =
        points.filter(|name| !name.contains('/')).map(|name| name.as_bytes().to_vec()).collect();
    if !points.contains(&b"shm"[..]) || !top.join("shm").is_dir() {
        return support::skip("a_mount_point_is_entered_or_not", "nothing is mounted on /dev/shm");
    }
    let scan =
        |threads| with(Scan::new(vec![root(top)], limits(u64::MAX, u64::MAX), threads), |scan| scan.split_roots = true);
    every_way(scan, |how, scan| {
        for one_file_system in [1, 2] {
            let scan = with(Scan::new(vec![root(top)], scan.limits, scan.threads), |split| {
                split.one_file_system = one_file_system;
                split.split_roots = true;
                split.gitignore = scan.gitignore
            });
            let (told, _) = run(&scan);
            assert_eq!(told.mounts.contains(&b"shm".to_vec()), one_file_system == 1, "{how}: {:?}", told.mounts);
            assert!(!told.paths().contains(&b"shm"[..]), "{how}: {:?}", told.paths());
        }
    });
}

#[test]
fn paths_longer_than_the_system_takes() {
    let work = Work::new();
    let tree = work.join("tree");
    let spec = Spec { files_percent: 0, max_per_dir: 1, depth: u32::MAX, ..Spec::bench(2000, Sizes::Empty) };
    treegen::generate(&tree, &spec, 1).unwrap();
    every_way(
        |threads| Scan::new(vec![root(&tree)], limits(1, 1), threads),
        |how, scan| {
            let (told, watch) = run_sized(scan, None);
            assert_eq!((told.errors.len(), watch.found().entries), (0, 2001), "{how}");
        },
    );
}

#[test]
fn directories_that_must_stay_whole_do_not_go_with_ignore_rules() {
    let work = Work::new();
    let threads = NonZero::new(1).unwrap();
    let scan = || with(Scan::new(vec![root(work.path())], limits(1, 1), threads), |scan| scan.gitignore = true);
    let whole = [
        with(scan(), |scan| scan.keep_locked_whole = true),
        with(scan(), |scan| scan.merge_files = vec![".rsync-filter".into()]),
        with(scan(), |scan| scan.follow = multi_sync::scan::Follow::All),
    ];
    for scan in whole {
        assert!(scan.run(&Watch::default(), &|_| {}).is_err());
    }
}

#[test]
fn a_root_that_is_not_there() {
    let work = Work::new();
    symlink("home", work.join("link")).unwrap();
    let named = |name: &str| Root { base: work.path().to_owned(), name: Some(name.into()) };
    every_way(
        |threads| Scan::new(vec![named("gone")], limits(1, 1), threads),
        |how, scan| {
            let (told, _) = run(scan);
            assert!(told.errors[0].vanished(), "{how}");
        },
    );
    let missing = root(&work.join("gone"));
    every_way(
        |threads| Scan::new(vec![missing.clone()], limits(1, 1), threads),
        |how, scan| {
            assert!(scan.run(&Watch::default(), &|_| {}).is_err(), "{how}");
        },
    );
}

/// Files and links below `top` that git does not ignore.
fn kept_by_git(work: &Work, top: &Path) -> BTreeSet<Name> {
    let mut git = support::command::command(work, "git");
    git.args(["ls-files", "-z", "--others", "--exclude-standard"]).current_dir(top);
    let listed = support::command::run(git).expect_code(0).stdout;
    listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Files and links that a scan reported, without `.git`.
fn kept_by_scan(told: &Told, model: &Model) -> BTreeSet<Name> {
    let mut kept = BTreeSet::new();
    for (_, path, ..) in &told.units {
        for entry in model.below(path).filter(|entry| !model.0[*entry].0 && !entry.starts_with(b".git/")) {
            assert!(kept.insert(entry.clone()), "{} is told twice", entry.escape_ascii());
        }
    }
    kept
}

/// A tree with few different names, which match rules in most of its directories.
fn ignored_tree(top: &Path, seed: u64) {
    const NAMES: [&str; 10] = ["a", "b.o", "keep.o", "build", "doc", "tmp", "#x", "d1", "x.txt", "z z"];
    const RULES: [&str; 18] = [
        "*.o",
        "!keep.o",
        "/build",
        "build/",
        "doc/*.txt",
        "**/tmp",
        "a/**/x.txt",
        "d?",
        "[ab]*",
        "*/doc",
        "!doc/",
        "\\#x",
        "/a/*",
        "!/a/b.o",
        "z z",
        "*",
        "!*/",
        "x.txt",
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below
    };
    let mut dirs = vec![(top.to_owned(), 0)];
    while let Some((dir, level)) = dirs.pop() {
        fs::create_dir_all(&dir).unwrap();
        for name in NAMES {
            match next(4) {
                0 if level < 4 => dirs.push((dir.join(name), level + 1)),
                1 => fs::write(dir.join(name), name).unwrap(),
                2 if next(4) == 0 => symlink("a", dir.join(name)).unwrap(),
                _ => {}
            }
        }
        if next(3) == 0 {
            let rules: Vec<&str> = (0..1 + next(3)).map(|_| RULES[next(RULES.len())]).collect();
            fs::write(dir.join(".gitignore"), rules.join("\n")).unwrap();
        }
    }
}

#[test]
fn what_git_ignores_is_in_no_unit_and_all_else_is_in_one() {
    let work = Work::new();
    let mut ignored = 0;
    for seed in 0..24 {
        let top = work.join(format!("tree{seed}"));
        ignored_tree(&top, seed);
        let mut git = support::command::sh(&work, "command -v git >/dev/null && git init -q");
        git.current_dir(&top);
        if !support::command::run(git).status.success() {
            return support::skip("what_git_ignores_is_in_no_unit_and_all_else_is_in_one", "git is not installed");
        }
        let model = Model::of(&top, b"");
        let expected = kept_by_git(&work, &top);
        ignored += model.0.iter().filter(|(name, (is_dir, _))| !is_dir && !expected.contains(*name)).count();
        for (entries, threads) in [(1, 2), (12, 1), (u64::MAX, 4)] {
            let limits = limits(entries, u64::MAX);
            let scan =
                with(Scan::new(vec![root(&top)], limits, NonZero::new(threads).unwrap()), |scan| scan.gitignore = true);
            let (told, _) = run(&scan);
            assert_eq!(told.errors, []);
            assert_eq!(kept_by_scan(&told, &model), expected, "seed {seed}, {entries} entries");
        }
        fs::remove_dir_all(&top).unwrap();
    }
    assert!(ignored > 200, "{ignored}: the trees should try something");
}

#[test]
fn rules_count_where_there_is_no_repository_and_from_above_where_there_is_one() {
    let work = Work::new();
    let threads = NonZero::new(2).unwrap();
    let kept = |top: &str| {
        let scan =
            with(Scan::new(vec![root(&work.join(top))], limits(1, u64::MAX), threads), |scan| scan.gitignore = true);
        let told = run(&scan).0;
        told.paths().into_iter().map(|path| OsStr::from_bytes(&path).to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    work.file("out/.gitignore", "*.o");
    work.file("out/.ignore", "*.tmp");
    for file in ["a", "a.o", "a.tmp", "a.log"] {
        work.file(format!("out/in/{file}"), file);
    }
    assert_eq!(kept("out"), [".gitignore", ".ignore", "in/a", "in/a.log"]);
    assert_eq!(kept("out/in"), ["a", "a.log", "a.o", "a.tmp"]);
    work.file("out/.git/info/exclude", "*.log");
    work.file("out/.git/HEAD", "ref: refs/heads/main");
    assert_eq!(kept("out/in"), ["a"]);
}

#[test]
fn a_directory_that_holds_something_ignored_is_spine() {
    let work = Work::new();
    for file in ["tree/a/b/c/f", "tree/a/b/c/f.o", "tree/a/g", "tree/d/e/f", "tree/.gitignore"] {
        work.file(file, "*.o");
    }
    let roots = vec![root(&work.join("tree"))];
    let scan = with(Scan::new(roots, limits(1000, u64::MAX), NonZero::new(2).unwrap()), |scan| scan.gitignore = true);
    let (told, watch) = run(&scan);
    let spine: BTreeSet<PathBuf> = told.spine.iter().map(|(_, path)| OsStr::from_bytes(path).into()).collect();
    assert_eq!(spine, ["", "a", "a/b", "a/b/c"].map(PathBuf::from).into());
    let units = [".gitignore", "a/b/c/f", "a/g", "d"].map(|name| name.as_bytes().to_vec());
    assert_eq!(told.paths(), BTreeSet::from(units));
    assert_eq!(watch.found().entries, 10);
}
