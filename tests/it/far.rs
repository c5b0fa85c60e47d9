//! The scan of another machine (`multi_sync::harness::far`): each means must report what a scan of this machine reports, or fail. The other machine is this
//! one, behind a shell, an sshd or a daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::num::NonZero;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::scan::{Told, limits, root, with};
use crate::support;
use crate::support::processes;
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::sshd::Sshd;
use crate::support::work::Work;
use multi_sync::Result;
use multi_sync::harness::far::crew::{self, Begin, Crew, News};
use multi_sync::harness::far::{self, Far, Found, Invocation, Means, Reach, Supervisor, Wanted};
use multi_sync::harness::hosts::{Agents, Way as HostWay, parse_list};
use multi_sync::harness::rsync::filter::Filters;
use multi_sync::harness::rsync::options::Options;
use multi_sync::harness::treegen::{self, Odd, Sizes, Spec, TopLevel};
use multi_sync::scan::{Event, Root, Scan, Small, Watch, Weight};

type Sink<'a> = &'a (dyn Fn(Event<'_>) + Sync);

/// How a tree is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Agent,
    /// `find` with `-printf`.
    Find,
    /// `find` with `stat`, for systems without `-printf`.
    Stat,
    Rsync,
}

use Way::{Agent, Rsync, Stat};

const ALL: [Way; 4] = [Agent, Way::Find, Stat, Rsync];

impl Way {
    fn means(self) -> Means {
        match self {
            Agent => Means::Agent,
            Way::Find | Stat => Means::Find,
            Rsync => Means::Rsync,
        }
    }
}

/// A machine behind a shell.
struct Lab<'a> {
    work: &'a Work,
}

impl Lab<'_> {
    /// Adds a program to the other machine that is first in its `PATH`.
    fn program(&self, folder: &str, name: &str, text: &str) {
        let path = self.work.file(format!("{folder}/{name}"), format!("#!/bin/sh\n{text}"));
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn shell(&self, folder: &str, words: &[&str]) -> Invocation {
        let built = Path::new(env!("CARGO_BIN_EXE_multi-sync")).parent().unwrap();
        let path = format!("{}:{}:/usr/bin:/bin", self.work.join(folder).display(), built.display());
        let arguments = words[1..].iter().map(OsString::from).collect();
        let shell = Invocation::new(words[0], arguments, "/");
        Invocation { environment: vec![("PATH".into(), path.into())], ..shell }
    }

    fn reach(&self, way: Way, roots: &[Root]) -> Reach {
        if way == Stat {
            let text = "for a; do [ \"$a\" = -printf ] && exit 1; done\nexec /usr/bin/find \"$@\"\n";
            self.program("no-printf", "find", text);
        }
        let folder = if way == Stat { "no-printf" } else { "none" };
        let word = |root: &Root| {
            let mut word = root.path().into_os_string();
            word.push(if root.name.is_none() { "/" } else { "" });
            word
        };
        Reach {
            shell: Some(self.shell(folder, &["sh", "-s"])),
            rsync: Invocation::new("rsync", vec![], "/"),
            words: roots.iter().map(word).collect(),
            stall: None,
        }
    }
}

fn run_on(reach: &Reach, means: Means, scan: &Scan, small: Option<Small<'_>>) -> Result<(Told, Watch)> {
    let (told, watch, supervisor) = (Mutex::new(Told::default()), Watch::default(), Supervisor::default());
    let far = Far { scan, reach, means, user: Some(0), identity: None, begun: None, supervisor: &supervisor };
    far::scan(far, small, &watch, &|event| told.lock().unwrap().hear(event))?;
    Ok((told.into_inner().unwrap(), watch))
}

/// Connects to a host. The beginning of the host's name selects the program that reads there. One host loses its connection after a number of bytes.
const LOGIN: &str = r#"HOME=/nonexistent; export HOME
case $1 in
none*) exit 3;;
agent*) PATH=$BUILT:/usr/bin:/bin;;
find*) PATH=/usr/bin:/bin;;
stat*) PATH=$BARE:/usr/bin:/bin;;
esac
export PATH
case $1 in
*cut*) sh -s | { dd bs=1 count="${1#*cut}" 2>/dev/null; kill -KILL $$; };;
*) exec sh -s;;
esac
"#;

/// Runs a scan by hosts. Also returns the news about the hosts.
fn run_crew(lab: &Lab<'_>, names: &[&str], scan: &Scan, small: Option<Small<'_>>) -> Result<(Told, Watch, Vec<News>)> {
    let (told, watch) = (Mutex::new(Told::default()), Watch::default());
    let news = call_crew(lab, names, scan, small, &watch, &|event| told.lock().unwrap().hear(event))?;
    Ok((told.into_inner().unwrap(), watch, news))
}

fn call_crew(
    lab: &Lab<'_>,
    names: &[&str],
    scan: &Scan,
    small: Option<Small<'_>>,
    watch: &Watch,
    sink: Sink<'_>,
) -> Result<Vec<News>> {
    let text = "for a; do [ \"$a\" = -printf ] && exit 1; done\nexec /usr/bin/find \"$@\"\n";
    lab.program("no-printf", "find", text);
    let built = Path::new(env!("CARGO_BIN_EXE_multi-sync")).parent().unwrap();
    let known = format!("BUILT={} BARE={}\n{LOGIN}", built.display(), lab.work.join("no-printf").display());
    lab.program("logins", "login", &known);
    let supervisor = Supervisor::default();
    let hosts = parse_list(names.join(",").as_ref()).unwrap();
    let way =
        HostWay::command(format!("{} {{host}}", lab.work.join("logins/login").display()).as_ref(), Path::new("/"))?;
    let agents = Agents::new(&way);
    let news = Mutex::new(Vec::new());
    let tell = |one| news.lock().unwrap().push(one);
    let crew = Crew {
        scan,
        roots: &scan.roots,
        hosts: &hosts,
        way: &way,
        agents: &agents,
        threads: NonZero::new(1),
        begin: Begin::WithHosts,
        wanted: &|| true,
        supervisor: &supervisor,
        tell: &tell,
    };
    let ran = crew::scan(crew, small, watch, sink);
    agents.close();
    ran?;
    Ok(news.into_inner().unwrap())
}

/// Hosts that read with these programs.
fn crew_of(ways: &[Way], how: &str) -> &'static [&'static str] {
    let number = how.bytes().map(usize::from).sum::<usize>();
    match ways {
        [Agent] => &["agent1", "agent2"],
        // Only in some cases, because a find for each directory takes time.
        _ if number % 8 == 0 => &["find1*2", "stat1"],
        _ => [&["agent1", "find1"][..], &["agent1", "agent2"]][number % 2],
    }
}

/// Compares a scan of this machine with scans by other means.
#[track_caller]
fn compare(lab: &Lab<'_>, ways: &[Way], how: &str, scan: &Scan) -> Told {
    let (told, watch) = crate::scan::run_sized(scan, None);
    for way in ways {
        let ran = run_on(&lab.reach(*way, &scan.roots), way.means(), scan, None);
        let (far, found) = ran.unwrap_or_else(|error| panic!("{how}, {way:?}: {error}"));
        assert!(far.shape() == told.shape(), "{how}, {way:?}:\n{:#?}\n{:#?}", far.shape(), told.shape());
        assert_eq!(found.found(), watch.found(), "{how}, {way:?}");
        assert_eq!(found.directories(), watch.directories(), "{how}, {way:?}");
    }
    if ways.contains(&Agent) && !scan.gitignore {
        let names = crew_of(ways, how);
        same_by_crew(lab, names, how, scan, &told, &watch);
    }
    told
}

/// Checks that hosts report the same as a scan of this machine.
#[track_caller]
fn same_by_crew(lab: &Lab<'_>, names: &[&str], how: &str, scan: &Scan, told: &Told, watch: &Watch) -> Vec<News> {
    let ran = run_crew(lab, names, scan, None);
    let (far, found, news) = ran.unwrap_or_else(|error| panic!("{how}, {names:?}: {error}"));
    assert!(far.shape() == told.shape(), "{how}, {names:?}, {news:?}:\n{:#?}\n{:#?}", far.shape(), told.shape());
    assert_eq!(found.found(), watch.found(), "{how}, {names:?}, {news:?}");
    assert_eq!(found.directories(), watch.directories(), "{how}, {names:?}");
    news
}

/// Like [`compare`], with limits that are known late.
#[track_caller]
fn compare_late(lab: &Lab<'_>, ways: &[Way], how: &str, scan: &Scan) {
    let (told, watch) = crate::scan::run_sized(scan, None);
    for way in ways {
        let reach = lab.reach(*way, &scan.roots);
        let all = watch.found();
        let late = |found: Weight| {
            assert_eq!(found, all, "{how}, {way:?}");
            scan.limits
        };
        let half = Small { entries: all.entries / 2, limits: &|_| scan.limits };
        let whole = Small { entries: all.entries, limits: &late };
        for (small, name) in [(half, "half"), (whole, "whole")] {
            let other = with(scan.clone(), |other| {
                other.limits = if name == "whole" { limits(1, 1) } else { scan.limits };
            });
            let ran = run_on(&reach, way.means(), &other, Some(small));
            let (far, found) = ran.unwrap_or_else(|error| panic!("{how}, {way:?}, {name}: {error}"));
            assert!(far.shape() == told.shape(), "{how}, {way:?}, {name}:\n{:#?}\n{:#?}", far.shape(), told.shape());
            assert_eq!(found.found(), all, "{how}, {way:?}, {name}");
            if *way == Agent {
                let (far, found, _) = run_crew(lab, crew_of(ways, how), &other, Some(small)).unwrap();
                assert!(far.shape() == told.shape(), "{how}, {name}:\n{:#?}\n{:#?}", far.shape(), told.shape());
                assert_eq!(found.found(), all, "{how}, {name}");
            }
        }
    }
}

fn named(base: &Path, name: impl Into<OsString>) -> Root {
    Root { base: base.to_owned(), name: Some(name.into()) }
}

fn scan_of(roots: Vec<Root>, entries: u64) -> Scan {
    Scan::new(roots, limits(entries, 1 << 20), NonZero::new(2).unwrap())
}

/// A scan by this means, with an unknown user.
fn far_of<'a>(scan: &'a Scan, reach: &'a Reach, way: Way, supervisor: &'a Supervisor) -> Far<'a> {
    Far { scan, reach, means: way.means(), user: None, identity: None, begun: None, supervisor }
}

#[test]
fn each_means_tells_what_a_scan_of_this_machine_tells() {
    let work = Work::new();
    let lab = Lab { work: &work };
    let trees = work.dir("trees");
    treegen::odd_names(&trees.join("files"), TopLevel::Files).unwrap();
    treegen::odd_names(&trees.join("dirs"), TopLevel::Dirs).unwrap();
    for seed in 0..2 {
        treegen::odd_tree(&trees.join(format!("odd{seed}")), &Odd::new(150), seed).unwrap();
    }
    let wide = Spec { files_percent: 10, max_per_dir: 600, depth: 2, ..Spec::bench(800, Sizes::Empty) };
    treegen::generate(&trees.join("wide"), &wide, 1).unwrap();
    let deep = Spec { files_percent: 0, max_per_dir: 1, depth: 150, ..Spec::bench(150, Sizes::Empty) };
    treegen::generate(&trees.join("deep"), &deep, 1).unwrap();
    work.dir("trees/empty");
    for (name, late) in [
        ("files", false),
        ("dirs", true),
        ("odd0", true),
        ("odd1", false),
        ("wide", false),
        ("deep", true),
        ("empty", true),
    ] {
        compare(&lab, &ALL, name, &scan_of(vec![named(&trees, name)], 1));
        let contents = with(scan_of(vec![root(&trees.join(name))], 30), |scan| scan.split_roots = true);
        compare(&lab, &ALL, &format!("{name}/"), &contents);
        if late {
            compare_late(&lab, &ALL, name, &scan_of(vec![named(&trees, name)], 20));
        }
    }
    compare(&lab, &ALL, "whole", &scan_of(vec![named(&trees, "odd0")], 100_000));
    // Several roots, some with odd names.
    let names = treegen::all_odd_names().into_iter().take(40);
    let roots = names.map(|name| named(&trees.join("dirs"), OsString::from_vec(name)));
    let scan = with(scan_of(roots.collect(), 1), |scan| scan.keep_locked_whole = true);
    compare(&lab, &[Agent, Way::Find, Stat], "roots", &scan);
    compare(&lab, &[Rsync], "roots", &with(scan.clone(), |scan| scan.roots.truncate(5)));
}

#[test]
fn what_a_lost_host_was_reading_is_read_by_others_or_here() {
    let work = Work::new();
    let lab = Lab { work: &work };
    treegen::odd_tree(&work.join("tree"), &Odd::new(250), 3).unwrap();
    for number in 0..700 {
        work.file(format!("tree/flat/a file with a name {number}"), "");
    }
    let scan = with(scan_of(vec![root(&work.join("tree"))], 20), |scan| scan.hard_links = true);
    let (told, watch) = crate::scan::run_sized(&scan, None);
    let is_lost =
        |news: &[News], name: &str| news.iter().any(|one| matches!(one, News::Lost { host, .. } if host == name));
    // The greeting needs some bytes, and a shell that runs find prints more than one.
    for (name, at) in [("agent", [30, 900, 9000, 20_000]), ("find", [100, 1500, 9000, 30_000])] {
        for bytes in at {
            let cut = format!("{name}cut{bytes}");
            let news = same_by_crew(&lab, &[&cut], &cut, &scan, &told, &watch);
            assert!(is_lost(&news, &cut), "{cut}: {news:?}");
            same_by_crew(&lab, &[&cut, "agent2"], &cut, &scan, &told, &watch);
        }
    }
    let news = same_by_crew(&lab, &["agentcut3000", "findcut3000"], "all are lost", &scan, &told, &watch);
    assert!(is_lost(&news, "agentcut3000") && is_lost(&news, "findcut3000"), "{news:?}");
}

#[test]
fn hard_links_are_told_by_each_and_by_rsync_within_a_root() {
    let work = Work::new();
    let lab = Lab { work: &work };
    for seed in 0..2 {
        treegen::odd_tree(&work.join(format!("odd{seed}")), &Odd::new(300), seed).unwrap();
        fs::create_dir_all(work.join(format!("two/{seed}"))).unwrap();
        let file = work.file(format!("two/{seed}/file"), "text");
        fs::hard_link(&file, work.join(format!("odd{seed}/its other name"))).unwrap();
        let roots = [vec![root(&work.join(format!("odd{seed}")))], vec![named(&work.join("two"), seed.to_string())]];
        for (roots, entries) in [(roots[..1].concat(), 10), (roots.concat(), 40), (roots.concat(), 1)] {
            for parts in [None, NonZero::new(3)] {
                let scan = with(scan_of(roots.clone(), entries), |scan| {
                    scan.hard_links = true;
                    scan.linked_parts = parts
                });
                let told = compare(&lab, &[Agent, Way::Find, Stat], &format!("{seed}, {entries}, {parts:?}"), &scan);
                if parts.is_none() {
                    compare_late(&lab, &[Agent, Way::Find], "late", &scan);
                }
                assert!(!told.linked.is_empty() || !told.linked_dirs.is_empty() || entries > 10);
                if roots.len() == 1 {
                    same_but_for_inodes(
                        &run_on(&lab.reach(Rsync, &roots), Means::Rsync, &scan, None).unwrap().0,
                        &told,
                    );
                    continue;
                }
                let error = run_on(&lab.reach(Rsync, &roots), Means::Rsync, &scan, None).err().unwrap();
                assert!(error.to_string().contains("several sources are hard links"), "{error}");
            }
        }
    }
}

/// rsync's listing invents inode numbers, and knows only names in the source.
#[track_caller]
fn same_but_for_inodes(far: &Told, told: &Told) {
    let groups = |told: &Told| {
        let mut groups: BTreeMap<(u64, u64), BTreeSet<Vec<u8>>> = BTreeMap::new();
        for (path, inode) in &told.linked {
            groups.entry(*inode).or_default().insert(path.clone());
        }
        groups.into_values().filter(|names| names.len() > 1).collect::<BTreeSet<_>>()
    };
    assert_eq!(groups(far), groups(told));
    let together = |told: &Told| -> BTreeSet<BTreeSet<Vec<u8>>> {
        told.linked_dirs.iter().map(|together| together.dirs.clone()).filter(|dirs| dirs.len() > 1).collect()
    };
    assert_eq!(together(far), together(told));
    let units = |told: &Told| told.paths();
    assert_eq!(units(far), units(told));
}

#[test]
fn rules_and_locked_directories_count_there_too() {
    let work = Work::new();
    let lab = Lab { work: &work };
    for file in
        ["tmp/cache/a", "tmp/sub/cache/b", "tmp/sub/path/d", "tmp/sub/f", "tmp/keep/cache/c", "tmp/it's [a]/e", "tmp/x"]
    {
        work.file(format!("tree/{file}"), "text");
    }
    work.file("tree/tmp/sub/out/cache", "text");
    fs::set_permissions(work.dir("tree/tmp/locked/in"), PermissionsExt::from_mode(0o500)).unwrap();
    fs::set_permissions(work.join("tree/tmp/locked"), PermissionsExt::from_mode(0o555)).unwrap();
    for rules in [
        &["--exclude=cache/", "--exclude=/tmp/sub/path"][..],
        &["--include=/tmp/keep/cache", "--exclude=cache", "--exclude=sub"],
        &["--exclude=tmp"],
        &["--exclude=it's*", "--include=k?ep", "--exclude=*e*"],
        &["--filter=- */"],
    ] {
        let prune = Filters::of(&Options::parse(rules).unwrap(), work.path()).unwrap().prune;
        for entries in [1, 4, 100] {
            let scan =
                with(scan_of(vec![named(&work.join("tree"), "tmp")], entries), |scan| scan.keep_locked_whole = true);
            compare(&lab, &ALL, &format!("{rules:?}, {entries}"), &scan.pruned_by(prune.clone()));
        }
    }
    fs::set_permissions(work.join("tree/tmp/locked"), PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn what_no_listing_tells_is_told_by_this_program_there() {
    let work = Work::new();
    let lab = Lab { work: &work };
    treegen::odd_tree(&work.join("odd"), &Odd::new(200), 7).unwrap();
    work.file("odd/rules/.rules", "- x");
    work.file("odd/rules/a/b", "");
    work.file("odd/ignoring/.gitignore", "*.o\n");
    work.file("odd/ignoring/x.o", "");
    work.file("odd/ignoring/x.c", "");
    symlink("rules", work.join("odd/link")).unwrap();
    symlink("../odd/rules", work.join("odd/rules/unsafe")).unwrap();
    type Change = fn(&mut Scan);
    let changes: [(&str, Change); 4] = [
        ("filter rules", |scan| scan.merge_files = vec![".rules".into()]),
        ("symbolic links", |scan| scan.follow = multi_sync::scan::Follow::All),
        ("symbolic links", |scan| scan.unsafe_links_whole = true),
        ("ignore rules", |scan| scan.gitignore = true),
    ];
    for (what, change) in changes {
        let scan = with(scan_of(vec![root(&work.join("odd"))], 5), change);
        compare(&lab, &[Agent], what, &scan);
        for way in [Way::Find, Rsync] {
            let error = run_on(&lab.reach(way, &scan.roots), way.means(), &scan, None).err().unwrap();
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}

#[test]
fn mount_points_are_told_by_all_but_rsync() {
    let top = Path::new("/dev");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    if !table.contains(" /dev/shm ") {
        return support::skip("mount_points_are_told_by_all_but_rsync", "nothing is mounted on /dev/shm");
    }
    let work = Work::new();
    let lab = Lab { work: &work };
    for one_file_system in [1, 2] {
        for roots in [vec![root(top)], vec![named(Path::new("/"), "dev")]] {
            let scan = with(scan_of(roots, 2), |scan| scan.one_file_system = one_file_system);
            let told = compare(&lab, &[Agent, Way::Find, Stat], &format!("-x {one_file_system}"), &scan);
            assert_eq!(told.mounts.iter().any(|path| path.ends_with(b"shm")), one_file_system == 1);
            let error = run_on(&lab.reach(Rsync, &scan.roots), Means::Rsync, &scan, None).err().unwrap();
            assert!(error.to_string().contains("mounted"), "{error}");
        }
    }
}

#[test]
fn who_may_swap_a_directory_is_known_where_owners_are() {
    let work = Work::new();
    let lab = Lab { work: &work };
    for (dir, mode) in
        [("tree/open/in", 0o755), ("tree/open", 0o777), ("tree/shut/in", 0o777), ("tree/theirs/in", 0o755)]
    {
        fs::set_permissions(work.dir(dir), PermissionsExt::from_mode(mode)).unwrap();
        work.file(format!("{dir}/f"), "");
    }
    if support::is_root() {
        std::os::unix::fs::chown(work.join("tree/theirs"), Some(4711), None).unwrap();
    }
    let scan = scan_of(vec![named(work.path(), "tree")], 1);
    let exposed = |run: &dyn Fn(Sink<'_>)| {
        let found = Mutex::new(BTreeSet::new());
        run(&|event| {
            if let Event::Spine(spine) = event {
                found.lock().unwrap().insert((spine.path.to_vec(), spine.exposed, spine.mode));
            }
        });
        found.into_inner().unwrap()
    };
    let here = exposed(&|sink| scan.run(&Watch::default(), sink).unwrap());
    assert!(here.iter().any(|(_, exposed, _)| *exposed) && here.iter().any(|(_, exposed, _)| !exposed));
    let user = rustix::process::getuid().as_raw();
    for way in ALL {
        let supervisor = Supervisor::default();
        let reach = lab.reach(way, &scan.roots);
        let far = Far {
            scan: &scan,
            reach: &reach,
            means: way.means(),
            user: Some(user),
            identity: None,
            begun: None,
            supervisor: &supervisor,
        };
        let there = exposed(&|sink| far::scan(far, None, &Watch::default(), sink).unwrap());
        if way == Rsync {
            // The owners are unknown, so every directory that another user could own is regarded as exposed.
            assert!(
                here.iter().all(|(path, exposed, _)| there.iter().any(|other| other.0 == *path && other.1 >= *exposed))
            );
        } else {
            assert_eq!(there, here, "{way:?}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_told() {
    let work = Work::new();
    let lab = Lab { work: &work };
    for file in ["tree/a", "tree/locked/b", "tree/odd '\n' name/c", "tree/open/d", "shut/e"] {
        work.file(file, "text");
    }
    let denied = ["tree/locked", "tree/odd '\n' name", "shut"];
    if support::is_root() {
        symlink(".", work.join("all")).unwrap();
        for path in [Path::new(""), Path::new("tree"), Path::new("tree/open")] {
            fs::set_permissions(work.join(path), PermissionsExt::from_mode(0o755)).unwrap();
        }
    }
    denied.iter().for_each(|path| fs::set_permissions(work.join(path), PermissionsExt::from_mode(0o000)).unwrap());
    let as_nobody = |invocation: Invocation| {
        if !support::is_root() {
            return invocation;
        }
        let own = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"].map(OsString::from);
        let arguments = [own.to_vec(), vec![invocation.program.clone()], invocation.arguments.clone()].concat();
        Invocation { program: "setpriv".into(), arguments, ..invocation }
    };
    let roots = vec![root(&work.join("tree")), named(work.path(), "shut"), named(work.path(), "gone")];
    let scan = scan_of(roots.clone(), 3);
    for way in ALL {
        let mut reach = lab.reach(way, &roots);
        if way == Agent {
            // A copy of the program that cannot be executed.
            let built = work.dir("built").join("multi-sync");
            fs::copy(env!("CARGO_BIN_EXE_multi-sync"), &built).unwrap();
            reach.shell = Some(lab.shell("built", &["sh", "-s"]));
        }
        reach.shell = reach.shell.map(as_nobody);
        reach.rsync = as_nobody(reach.rsync);
        let (told, watch) = run_on(&reach, way.means(), &scan, None).unwrap_or_else(|e| panic!("{way:?}: {e}"));
        let errors: BTreeSet<(u32, Vec<u8>, bool, bool)> =
            told.errors.iter().map(|error| (error.root, error.path.clone(), error.in_unit, error.vanished())).collect();
        let error = |root, path: &str, in_unit, vanished| (root, path.as_bytes().to_vec(), in_unit, vanished);
        let mut expected =
            vec![error(0, "locked", true, false), error(1, "shut", true, false), error(2, "gone", false, true)];
        expected.push(error(0, "odd '\n' name", true, false));
        let found: BTreeSet<Vec<u8>> = told.paths();
        for path in ["a", "locked", "odd '\n' name", "open", "shut", "gone"] {
            assert!(found.contains(path.as_bytes()), "{way:?}: {path}: {found:?}");
        }
        assert_eq!(watch.found().entries, 8, "{way:?}");
        if way == Rsync {
            // If only the name of a root is listed, it is in no unit that rsync gets for it.
            expected[1].2 = false;
        }
        if way == Stat {
            // The format in which find prints names is meant for people.
            assert_eq!(errors.len(), 4, "{way:?}: {errors:?}");
            assert!(expected[..3].iter().all(|error| errors.contains(error)), "{way:?}: {errors:?}");
        } else {
            assert_eq!(errors, BTreeSet::from_iter(expected), "{way:?}");
        }
    }
    denied.iter().for_each(|path| fs::set_permissions(work.join(path), PermissionsExt::from_mode(0o755)).unwrap());
}

#[test]
fn a_root_that_is_no_directory_is_one_unit_and_an_error() {
    let work = Work::new();
    let lab = Lab { work: &work };
    work.file("file", "text");
    symlink("home", work.join("link")).unwrap();
    for roots in [
        vec![named(work.path(), "file")],
        vec![named(work.path(), "link")],
        vec![named(work.path(), "gone"), named(work.path(), "home")],
    ] {
        compare(&lab, &ALL, &format!("{roots:?}"), &scan_of(roots.clone(), 10));
    }
    // If the base does not exist, a scan of this machine does not begin.
    let scan =
        scan_of(vec![root(&work.join("gone")), named(&work.join("no/where"), "x"), root(&work.join("home"))], 10);
    for way in [Way::Find, Stat, Rsync] {
        let (told, _) = run_on(&lab.reach(way, &scan.roots), way.means(), &scan, None).unwrap();
        assert_eq!(told.errors.len(), 2, "{way:?}: {:?}", told.errors);
        assert!(told.errors.iter().all(|error| error.vanished()), "{way:?}");
    }
    assert!(run_on(&lab.reach(Agent, &scan.roots), Means::Agent, &scan, None).is_err());
}

/// A listing that was cut off is an error, with each means and at each place.
#[test]
fn a_listing_that_was_cut_is_never_complete() {
    let work = Work::new();
    let lab = Lab { work: &work };
    for file in ["tree/a/one", "tree/a/two", "tree/b/three"] {
        work.file(file, "text");
    }
    let roots = vec![named(work.path(), "tree")];
    let scan = scan_of(roots.clone(), 1);
    let (all, _) = crate::scan::run_sized(&scan, None);
    let mut complete = 0;
    for way in ALL {
        let whole = lab.reach(way, &roots);
        assert!(run_on(&whole, way.means(), &scan, None).is_ok());
        for (place, cut) in [0, 20, 40, 80, 130, 210, 300, 700, 1_000_000].into_iter().enumerate() {
            // The ways in which a connection can end: normally, by a signal, or with an exit code of ssh or rsync.
            let how = ["exit 0", "kill -KILL $$", "exit 255", "exit 12"][place % 4];
            let cut_short = |command: &str| {
                format!(
                    "exec 3<&0; trap '{how}' TERM\n{command} <&3 3<&- | {{ exec 3<&-; dd bs=1 count={cut} 2>/dev/null; kill -TERM $$; }} &\nwait\n"
                )
            };
            let mut reach = whole.clone();
            if way == Rsync {
                lab.program("cut", "rsync", &cut_short("/usr/bin/rsync \"$@\""));
                reach.rsync = Invocation::new(work.join("cut/rsync"), vec![], "/");
            } else {
                let shell = whole.shell.clone().unwrap();
                reach.shell = Some(Invocation { arguments: vec!["-c".into(), cut_short("sh -s").into()], ..shell });
            }
            if let Ok((told, _)) = run_on(&reach, way.means(), &scan, None) {
                // rsync never ends with code 0 before its list is complete.
                assert!(how == "exit 0", "{way:?}, {cut} bytes, {how}");
                assert!(told.shape() == all.shape() || way == Rsync, "{way:?}, {cut} bytes, {how}");
                complete += 1;
            }
        }
    }
    assert!(complete >= 4);
}

#[test]
fn what_a_login_prints_does_not_count() {
    let work = Work::new();
    let lab = Lab { work: &work };
    treegen::odd_tree(&work.join("odd"), &Odd::new(60), 3).unwrap();
    let scan = scan_of(vec![root(&work.join("odd"))], 5);
    let (told, _) = crate::scan::run_sized(&scan, None);
    for way in [Agent, Way::Find, Stat] {
        let mut reach = lab.reach(way, &scan.roots);
        let noise = "echo Welcome; printf 'no end'; echo 'a banner' >&2; exec sh -s";
        let shell = reach.shell.take().unwrap();
        reach.shell = Some(Invocation { arguments: vec!["-c".into(), noise.into()], ..shell });
        let (far, _) = run_on(&reach, way.means(), &scan, None).unwrap();
        assert!(far.shape() == told.shape(), "{way:?}");
    }
}

#[test]
fn a_scan_that_is_stopped_ends_with_all_its_processes() {
    let work = Work::new();
    let lab = Lab { work: &work };
    let spec = Spec { files_percent: 50, max_per_dir: 20, ..Spec::bench(8000, Sizes::Empty) };
    treegen::generate(&work.join("tree"), &spec, 1).unwrap();
    // Each program waits after it has begun.
    lab.program("slow", "find", "/usr/bin/find \"$@\"; case $* in *mindepth*) sleep 600;; esac\n");
    lab.program("slow", "rsync", "/usr/bin/rsync \"$@\"; sleep 600\n");
    let scan = scan_of(vec![root(&work.join("tree"))], 10);
    let cases = [(Agent, true), (Agent, false), (Way::Find, true), (Rsync, true)];
    let stop = |(way, by_watch): (Way, bool)| {
        let mut reach = lab.reach(way, &scan.roots);
        let mark = format!("far:{way:?}:{by_watch}:{}", work.path().display());
        let environment = (OsString::from(crate::support::command::MARK), OsString::from(&mark));
        let mut shell = lab.shell("slow", &["sh", "-s"]);
        shell.environment.push(environment.clone());
        reach.shell = Some(shell);
        reach.rsync = Invocation::new(work.join("slow/rsync"), vec![], "/");
        reach.rsync.environment.push(environment);
        let (watch, supervisor) = (Watch::default(), Supervisor::default());
        let far = far_of(&scan, &reach, way, &supervisor);
        let began = Instant::now();
        let ran = far::scan(far, None, &watch, &|_| {
            if by_watch { watch.stop() } else { supervisor.stop(multi_sync::harness::far::Stop::Terminate) }
        });
        assert!(ran.is_ok(), "{way:?}: {ran:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{way:?}: {:?}", began.elapsed());
        processes::expect_gone(&mark, Duration::from_secs(10));
    };
    std::thread::scope(|scope| {
        for case in cases {
            let stop = &stop;
            scope.spawn(move || stop(case));
        }
    });
}

#[test]
fn a_pruned_directory_is_not_told_on() {
    let work = Work::new();
    let lab = Lab { work: &work };
    for dir in 0..40 {
        for file in 0..50 {
            work.file(format!("tree/pruned/d{dir}/f{file}"), "");
        }
    }
    work.file("tree/kept/f", "");
    let scan = scan_of(vec![root(&work.join("tree"))], 10);
    for way in ALL {
        let told = Mutex::new(Told::default());
        let (watch, supervisor, reach) = (Watch::default(), Supervisor::default(), lab.reach(way, &scan.roots));
        let far = far_of(&scan, &reach, way, &supervisor);
        let ran = far::scan(far, None, &watch, &|event| {
            if let Event::Spine(spine) = &event
                && spine.path == b"pruned"
            {
                spine.pruner().prune();
            }
            told.lock().unwrap().hear(event);
        });
        ran.unwrap();
        let told = told.into_inner().unwrap();
        assert!(told.paths().contains(&b"kept"[..]) || told.paths().contains(&b"kept/f"[..]), "{way:?}");
    }
    for names in [&["agent1", "agent2"][..], &["agent1", "find1*2"], &["find1"], &["none"]] {
        let told = Mutex::new(Told::default());
        let prunes = |event: Event<'_>| {
            if let Event::Spine(spine) = &event
                && spine.path == b"pruned"
            {
                spine.pruner().prune();
            }
            told.lock().unwrap().hear(event);
        };
        call_crew(&lab, names, &scan, None, &Watch::default(), &prunes).unwrap();
        let told = told.into_inner().unwrap();
        assert!(told.paths().contains(&b"kept"[..]) || told.paths().contains(&b"kept/f"[..]), "{names:?}");
        // It also ends if it is stopped in the middle.
        let (watch, began) = (Watch::default(), Instant::now());
        call_crew(&lab, names, &scan, None, &watch, &|_| watch.stop()).unwrap();
        assert!(began.elapsed() < Duration::from_secs(20), "{names:?}: {:?}", began.elapsed());
    }
}

#[test]
fn the_best_means_is_found_and_taken() {
    let work = Work::new();
    let lab = Lab { work: &work };
    let roots = vec![root(work.path())];
    let look = |reach: &Reach| -> Found { far::look(reach, &Supervisor::default()).unwrap() };
    let user = Some(rustix::process::geteuid().as_raw());
    let found = look(&lab.reach(Way::Find, &roots));
    assert_eq!((&found.means[..], found.user), (&[Means::Agent, Means::Find, Means::Rsync][..], user));
    // Another version, and a program called find that is none.
    lab.program("poor", "multi-sync", "echo multi-sync-scan 0.0.1 1\n");
    lab.program("poor", "find", "exit 127\n");
    let other = Reach { shell: Some(lab.shell("poor", &["sh", "-s"])), ..lab.reach(Agent, &roots) };
    let error = run_on(&other, Means::Agent, &scan_of(roots.clone(), 10), None).err().unwrap();
    assert!(error.to_string().contains("another version"), "{error}");
    let poor = Reach { shell: Some(lab.shell("poor", &["sh", "-s"])), ..lab.reach(Way::Find, &roots) };
    assert_eq!(look(&poor).means, [Means::Rsync]);
    lab.program("no-stat", "find", "for a; do [ \"$a\" = -printf ] && exit 1; done\nexec /usr/bin/find \"$@\"\n");
    lab.program("no-stat", "multi-sync", "exit 127\n");
    assert_eq!(look(&Reach { shell: Some(lab.shell("no-stat", &["sh", "-s"])), ..poor.clone() }).means[0], Means::Find);
    lab.program("no-stat", "stat", "exit 1\n");
    assert_eq!(look(&Reach { shell: Some(lab.shell("no-stat", &["sh", "-s"])), ..poor.clone() }).means, [Means::Rsync]);
    // A login that runs only rsync.
    for words in [&["false"][..], &["sh", "-c", "echo only rsync; exit 1"], &["echo", "end"]] {
        let only = Reach { shell: Some(lab.shell("none", words)), ..poor.clone() };
        assert_eq!(look(&only).means, [Means::Rsync], "{words:?}");
    }
    assert_eq!(look(&Reach { shell: None, ..poor.clone() }).means, [Means::Rsync]);

    let plain = scan_of(roots.clone(), 10);
    let links = with(plain.clone(), |scan| scan.hard_links = true);
    let apart = with(plain.clone(), |scan| scan.one_file_system = 1);
    assert_eq!(found.choose(&plain, Wanted::Auto).unwrap(), Means::Agent);
    assert_eq!(found.choose(&plain, Wanted::Rsync).unwrap(), Means::Rsync);
    let without = Found { means: vec![Means::Find, Means::Rsync], ..found.clone() };
    assert_eq!(without.choose(&links, Wanted::Auto).unwrap(), Means::Find);
    for (found, scan, wanted, part) in [
        (&without, &plain, Wanted::Agent, "not available"),
        (&found, &apart, Wanted::Rsync, "mounted"),
        (&Found { means: vec![Means::Rsync], ..found.clone() }, &apart, Wanted::Auto, "mounted"),
    ] {
        let error = found.choose(scan, wanted).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn each_means_works_over_ssh_and_rsync_by_a_daemon() {
    let work = Work::new();
    let name = "each_means_works_over_ssh_and_rsync_by_a_daemon";
    let tree = work.join("tree");
    treegen::odd_tree(&tree, &Odd::new(150), 11).unwrap();
    let scan = scan_of(vec![root(&tree)], 10);
    let (told, _) = crate::scan::run_sized(&scan, None);
    match Sshd::start() {
        Err(why) => support::skip(name, &why),
        Ok(sshd) => {
            let config = sshd.ssh_config();
            let built = Path::new(env!("CARGO_BIN_EXE_multi-sync")).parent().unwrap().display().to_string();
            let ssh = |command: String| {
                let words =
                    ["-F", &config.display().to_string(), "-T", "--", sshd.host(), &command].map(OsString::from);
                Invocation::new("ssh", words.to_vec(), "/")
            };
            let rsync = vec!["-e".into(), OsString::from(sshd.rsh())];
            let reach = Reach {
                shell: Some(ssh(format!("PATH={built}:$PATH sh -s"))),
                rsync: Invocation::new("rsync", rsync, "/"),
                words: vec![sshd.remote([tree.as_os_str().as_bytes(), b"/"].concat().as_os())],
                stall: Some(Duration::from_secs(60)),
            };
            let found = far::look(&reach, &Supervisor::default()).unwrap();
            assert_eq!(found.means, [Means::Agent, Means::Find, Means::Rsync]);
            for means in found.means {
                let (far, _) = run_on(&reach, means, &scan, None).unwrap_or_else(|error| panic!("{means}: {error}"));
                assert!(far.shape() == told.shape(), "{means}");
            }
        }
    }
    let daemon = match Rsyncd::start(&[Module::new("m", work.path()).max_connections(1)]) {
        Err(why) => return support::skip(name, &why),
        Ok(daemon) => daemon,
    };
    let reach = Reach {
        shell: None,
        rsync: Invocation::new("rsync", vec![], "/"),
        words: vec![format!("{}/tree/", daemon.url("m")).into(), format!("{}/home", daemon.url("m")).into()],
        stall: None,
    };
    let scan = with(scan, |scan| scan.roots.push(named(work.path(), "home")));
    let (told, _) = crate::scan::run_sized(&scan, None);
    let (far, _) = run_on(&reach, Means::Rsync, &scan, None).unwrap();
    assert!(far.shape() == told.shape());
}

#[test]
fn the_words_of_the_option_are_read() {
    assert!(Wanted::ALL.iter().all(|wanted| Wanted::parse(wanted.name()) == Some(*wanted)));
    assert_eq!(Wanted::parse("other"), None);
}

trait AsOs {
    fn as_os(&self) -> PathBuf;
}

impl AsOs for Vec<u8> {
    fn as_os(&self) -> PathBuf {
        OsStr::from_bytes(self).into()
    }
}
