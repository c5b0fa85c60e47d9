//! The first pass: entries that are new at a destination on this machine are created before rsyncs look at them, and the result is that of one rsync. For
//! random cases: `ORACLE_FIRST_PASS=1 ORACLE_CASES=3000 cargo test --test it one_rsync::random_cases`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use crate::support::command::{Run, Signal, multi_sync, rsync, run, run_within, sh, start};
use crate::support::fuse::Fuse;
use crate::support::mount::Mounted;
use crate::support::processes::expect_gone;
use crate::support::twin::{Twin, table, temporary_files};
use crate::support::work::{Work, set_mode};
use crate::support::{is_root, skip, this_test};
use multi_sync::harness::first_pass::{Role, can_be_apart, listed};
use multi_sync::harness::rsync::options::{Takes, specs};
use multi_sync::harness::treegen::{self, Sizes, Spec};

const SOON: Duration = Duration::from_secs(60);
const ON: &str = "-p 3 -f 6 --first-pass=on --stats";

/// Directories, files of all sizes, links, hard links, a FIFO and holes; all of them old.
fn tree(work: &Work) {
    let root = work.dir("src");
    for at in 0..40 {
        let dir = root.join(format!("d{}/e{}", at % 4, at % 3));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{at}")), vec![b'a' + at as u8 % 26; at * 700]).unwrap();
    }
    fs::hard_link(root.join("d0/e0/f0"), root.join("d1/linked")).unwrap();
    symlink("e0/f0", root.join("d0/link")).unwrap();
    fs::create_dir(root.join("d0/empty")).unwrap();
    fs::write(root.join("zeros"), [&[b'x'; 5000][..], &[0; 200_000], b"y"].concat()).unwrap();
    fs::File::create(root.join("hole")).unwrap().set_len(300_000).unwrap();
    set_mode(&root.join("d0/e0/f12"), 0o4711);
    set_mode(&root.join("d3"), 0o2775);
    set_mode(&root.join("d2/e2"), 0o555);
    let script = "mkfifo src/d1/fifo; [ \"$(id -u)\" != 0 ] || chown -R 1000:1001 src/d2; find src -depth -exec touch -h -d @1000000000.123456789 {} +";
    run(sh(work, script)).expect_code(0);
}

/// Whether there is no first pass on this system (an old kernel in a container).
fn has_none() -> bool {
    let none = !can_be_apart();
    if none {
        skip(&this_test(), "this system has no first pass");
    }
    none
}

/// What the statistics report about the first pass.
fn made(ran: &Run) -> Option<String> {
    ran.stdout_text().lines().find_map(|line| line.strip_prefix("Made by the first pass: ")).map(str::to_owned)
}

#[test]
fn a_new_destination_is_made_and_is_what_one_rsync_makes() {
    let work = Work::public();
    if has_none() {
        return;
    }
    tree(&work);
    let cases = ["-a", "-aH", "-aHAX --numeric-ids --delete", "-aS", "-rpt", "-aO", "-aH -x --bwlimit=100m"];
    table(&cases, |options| {
        let counted = options.contains('S') || *options == "-a";
        for (words, flags) in [
            (["src/", "SIDE/D"], ON),
            (["src", "SIDE/D"], "-p 2 -f 4 --first-pass=auto --first-pass-threads 6 --stats"),
        ] {
            let twin = Twin::new(&work, words).options(*options).flags(flags).count(true, counted);
            if let Some(why) = twin.difference() {
                return Some(why);
            }
        }
        let twin = Twin::new(&work, ["src/", "SIDE/D"]).options(*options).flags(ON).nobody();
        twin.difference()
    });
    let (_, many) = Twin::new(&work, ["src/", "SIDE/D"]).options("-aH").flags(ON).same();
    let text = made(&many).unwrap_or_else(|| panic!("{}", many.report()));
    assert!(text.starts_with("41 files, "), "{text}\n{}", many.report());
}

#[test]
fn what_cannot_be_read_is_reported_by_rsync() {
    let work = Work::public();
    for name in ["a/empty", "a/open", "b/full"] {
        work.file(format!("src/{name}"), if name == "b/full" { "1" } else { "" });
    }
    // With or without content, because rsync opens every file that it copies.
    ["a/empty", "b/full"].iter().for_each(|name| set_mode(&work.join("src").join(name), 0));
    run(sh(&work, "find src -depth -exec touch -h -d @1000000000 {} +")).expect_code(0);
    for options in ["-a", "-rpt"] {
        let twin = Twin::new(&work, ["src/", "SIDE/D"]).options(options).flags(ON).nobody();
        assert_eq!(twin.difference(), None, "{options}");
    }
}

#[test]
fn what_is_there_is_rsyncs_alone() {
    let work = Work::new();
    if has_none() {
        return;
    }
    tree(&work);
    let there = |side: &Path| {
        fs::create_dir_all(side.join("D/d0/e0")).unwrap();
        fs::write(side.join("D/d0/e0/f0"), "mine").unwrap();
        fs::write(side.join("D/d1"), "a file in the way").unwrap();
        symlink("d0", side.join("D/d2")).unwrap();
    };
    for options in ["-a", "-aH --delete"] {
        Twin::new(&work, ["src/", "SIDE/D"]).options(options).flags(ON).prepare(there).same();
    }
    // A second run creates nothing.
    let mut copy = multi_sync(&work);
    copy.args(ON.split(' ')).args(["-r", "-aH", "src/", "D"]);
    assert!(made(&run(copy).expect_code(0)).is_some());
    let mut again = multi_sync(&work);
    again.args(ON.split(' ')).args(["-r", "-aH", "src/", "D"]);
    let again = run(again).expect_code(0);
    assert_eq!(made(&again), None, "{}", again.report());
}

#[test]
fn each_option_is_followed_or_turns_it_off() {
    let work = Work::new();
    if has_none() {
        return;
    }
    tree(&work);
    let off: Vec<_> = listed().filter(|(_, role, _)| *role == Role::Off).flat_map(|(opts, ..)| opts.to_vec()).collect();
    // These options are only for a daemon.
    let apart = ["password-file", "early-input"];
    let words: Vec<String> = specs()
        .iter()
        .filter(|spec| !off.contains(&spec.id) && !apart.contains(&spec.name()))
        .map(|spec| {
            let value = match (spec.name(), spec.takes) {
                (_, Takes::Nothing) => String::new(),
                ("checksum-choice", _) => "=md5".into(),
                ("compress-choice", _) => "=zlib".into(),
                ("skip-compress", _) => "=gz".into(),
                ("outbuf", _) => "=L".into(),
                ("bwlimit", _) => "=200m".into(),
                ("port", _) => "=873".into(),
                ("max-alloc", _) => "=1g".into(),
                ("compress-threads", _) => "=2".into(),
                ("rsh" | "rsync-path", _) => "=none".into(),
                _ => "=10".into(),
            };
            if spec.long.is_some() { format!("--{}{value}", spec.name()) } else { format!("-{}", spec.name()) }
        })
        .collect();
    assert!(words.len() > 40, "{words:?}");
    table(&words, |word| Twin::new(&work, ["src/", "SIDE/D"]).options(format!("-a {word}")).flags(ON).difference());
    for (options, why) in
        [("-ac", "--checksum (-c)"), ("-rlt", "without --perms (-p)"), ("-a --exclude=x", "--exclude")]
    {
        let mut explained = multi_sync(&work);
        explained.args(["explain", "-p", "4", "--first-pass=auto", "-r", options, "src/", "new"]);
        let text = run(explained).expect_code(0).stdout_text();
        assert!(text.contains(&format!("No first pass: {why}")), "{text}");
    }
}

#[test]
fn killed_and_gone_on_with_it_is_what_one_rsync_makes() {
    let mut gone_on = 0;
    for at in 0..4_u64 {
        let work = Work::new();
        treegen::generate(&work.join("src"), &Spec::bench(900, Sizes::Uniform { min: 0, max: 60_000 }), 9).unwrap();
        run(sh(&work, "find src -depth -exec touch -h -d @1000000000 {} +")).expect_code(0);
        work.dir("runs");
        let mut copy = multi_sync(&work);
        copy.args(["-p", "2", "-b", "runs", "--first-pass=on", "-r", "-aH", "src/", "D"]);
        let running = start(copy);
        std::thread::sleep(Duration::from_millis(60 + at * 70));
        let signal = if at % 2 == 0 { Signal::KILL } else { Signal::TERM };
        running.signal(signal);
        let mark = running.mark().to_owned();
        let stopped = running.finish(SOON);
        // Killed launches are ended by the guardian, and may change directories until then.
        expect_gone(&mark, SOON);
        if at % 2 == 1 {
            assert_eq!(temporary_files(&work.join("D")), Vec::<std::path::PathBuf>::new(), "{}", stopped.report());
        }
        // No file has its final name before it is complete.
        expect_whole(&work.join("src"), &work.join("D"));
        let dir = fs::read_dir(work.join("runs")).unwrap().next().map(|entry| entry.unwrap().path());
        let mut resumed = multi_sync(&work);
        match dir.filter(|dir| dir.join("plan.json").exists()) {
            Some(dir) => {
                gone_on += 1;
                resumed.arg("--resume").arg(dir)
            }
            None => resumed.args(["-p", "2", "--first-pass=on", "-r", "-aH", "src/", "D"]),
        };
        run_within(resumed, SOON).expect_code(0);
        let mut check = rsync(&work);
        check.args(["-aHnic", "--delete", "src/", "D/"]);
        assert_eq!(run(check).stdout_text(), "", "{at}");
    }
    println!("{gone_on} gone on");
    assert!(gone_on > 0, "no run was killed before its end");
}

/// Checks that every file with a name of the source has its content.
fn expect_whole(source: &Path, dest: &Path) {
    for entry in fs::read_dir(source).unwrap().map(|entry| entry.unwrap()) {
        let there = dest.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() && there.is_dir() => expect_whole(&entry.path(), &there),
            kind if kind.is_file() && there.is_file() => {
                assert!(fs::read(entry.path()).unwrap() == fs::read(&there).unwrap(), "{}", there.display());
            }
            _ => {}
        }
    }
}

#[test]
fn a_full_destination_ends_as_with_one_rsync() {
    if !is_root() {
        return skip("a_full_destination_ends_as_with_one_rsync", "needs root");
    }
    let work = Work::new();
    tree(&work);
    let mounted = Mounted::new(&work, "small", 2, "true", "mount -t tmpfs -o size=300k none \"$2\"");
    let Ok(small) = mounted else { return skip("a_full_destination_ends_as_with_one_rsync", "no tmpfs") };
    let mut copy = multi_sync(&work);
    copy.args(ON.split(' ')).args(["-r", "-a", "src/", "small/D"]);
    let ran = run_within(copy, SOON).expect_code(11);
    assert!(ran.stderr_text().contains("No space left on device"), "{}", ran.report());
    expect_whole(&work.join("src"), &small.path.join("D"));
}

#[test]
fn rights_that_new_files_inherit_are_left_to_rsync() {
    let work = Work::new();
    if has_none() {
        return;
    }
    tree(&work);
    let set_gid = |side: &Path| {
        fs::create_dir(side.join("D")).unwrap();
        if is_root() {
            std::os::unix::fs::chown(side.join("D"), None, Some(1234)).unwrap();
        }
        fs::set_permissions(side.join("D"), fs::Permissions::from_mode(0o2777)).unwrap();
    };
    for options in ["-rpt", "-a", "-rptg"] {
        Twin::new(&work, ["src/", "SIDE/D"]).options(options).flags(ON).prepare(set_gid).same();
    }
    let with_acl = |side: &Path| {
        fs::create_dir(side.join("D")).unwrap();
        let entries: [(u16, u16, u32); 5] =
            [(1, 7, u32::MAX), (2, 7, 1000), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 5, u32::MAX)];
        let mut acl = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            acl.extend(tag.to_le_bytes());
            acl.extend(rights.to_le_bytes());
            acl.extend(id.to_le_bytes());
        }
        let flags = rustix::fs::XattrFlags::empty();
        let _ = rustix::fs::setxattr(side.join("D"), "system.posix_acl_default", &acl, flags);
    };
    for options in ["-rpt", "-a", "-aA"] {
        Twin::new(&work, ["src/", "SIDE/D"]).options(options).flags(ON).prepare(with_acl).count(true, false).same();
    }
}

#[test]
fn events_and_statistics_tell_it_apart() {
    let work = Work::new();
    if has_none() {
        return;
    }
    tree(&work);
    let mut copy = multi_sync(&work);
    copy.args(ON.split(' ')).args(["--events", "run.jsonl", "--report", "run.html", "-r", "-a", "src/", "D"]);
    let ran = run(copy).expect_code(0);
    let text = fs::read_to_string(work.join("run.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_launches: u64 = lines
        .iter()
        .filter(|line| line["type"] == "launch_end")
        .filter_map(|line| line["made"]["files"].as_u64())
        .sum();
    let summary = &lines.last().unwrap()["totals"]["made"];
    assert!(of_launches > 40 && summary["files"].as_u64() == Some(of_launches), "{summary}\n{}", ran.report());
    // No rsync was waited for before there was something to do.
    assert!(!lines.iter().any(|line| line["kind"] == "create"), "{text}");
    assert!(summary["bytes"].as_u64() > Some(500_000) && summary["directories"].as_u64() > Some(4), "{summary}");
    assert!(fs::read_to_string(work.join("run.html")).unwrap().contains("created by the first pass"));
    // rsync has transferred nothing of what the first pass created.
    let transferred = lines.last().unwrap()["totals"]["figures"]["transferred"].as_u64();
    assert!(transferred < Some(5), "{transferred:?}");
    // A first pass is also worthwhile for a single large file, which gets its time.
    let large = work.dir("large").join("file");
    fs::File::create(&large).unwrap().set_len(400 << 20).unwrap();
    run(sh(&work, "touch -d @1000000000 large/file")).expect_code(0);
    let mut copy = multi_sync(&work);
    copy.args(["-p", "2", "--first-pass=auto", "--stats", "-r", "-aS", "large/", "L"]);
    let ran = run(copy).expect_code(0);
    assert!(
        made(&ran).is_some_and(|text| text.starts_with("1 file,") || text.starts_with("1 file ")),
        "{}",
        ran.report()
    );
    assert_eq!(fs::metadata(work.join("L/file")).unwrap().mtime(), 1_000_000_000);
}

/// rsync 3.5.0 refuses to write through a link of another user on the way to DEST, and older versions follow it: the first pass leaves such a DEST to rsync.
#[test]
fn a_link_of_another_user_on_the_way_leads_where_rsync_lets_it() {
    const NAME: &str = "a_link_of_another_user_on_the_way_leads_where_rsync_lets_it";
    if !is_root() {
        return skip(NAME, "only root can make a link of another user");
    }
    if has_none() {
        return;
    }
    let work = Work::public();
    let names = |dir: &str| {
        let listed = run(sh(&work, &format!("find {dir} -printf '%P %m %u %s\n' | sort"))).expect_code(0);
        listed.stdout_text()
    };
    for owner in ["nobody", "root"] {
        for (destination, link) in [("way/", "way"), ("way", "way"), ("way/new/", "way"), ("in/way/new", "in/way")] {
            let mut found = Vec::new();
            for program in ["rsync", "off", "on"] {
                let script = "rm -rf src way in outside; mkdir -p src/a src/b in outside; for n in 1 2 3 4 5 6; do echo $n >src/a/$n; \
                     echo $n >src/b/$n; done; find src -exec touch -d @1000000000 {} +; ln -s \"$PWD/outside\" $1; chown -h $2: $1";
                let mut make = sh(&work, script);
                make.args(["sh", link, owner]);
                run(make).expect_code(0);
                let mut copy = if program == "rsync" { rsync(&work) } else { multi_sync(&work) };
                match program {
                    "rsync" => copy.args(["-a", "src/", destination]),
                    wish => copy.args([
                        "-p",
                        "4",
                        "-f",
                        "2",
                        "--first-pass",
                        wish,
                        "--stats",
                        "-r",
                        "-a",
                        "src/",
                        destination,
                    ]),
                };
                let ran = run(copy);
                assert!(program != "on" || owner != "root" || made(&ran).is_some(), "{}", ran.report());
                found.push((ran.status.code(), names("outside")));
            }
            assert_eq!(found[0], found[1], "{owner} {destination}: without a first pass");
            assert_eq!(found[0], found[2], "{owner} {destination}: with it");
        }
    }
}

/// A network file system or FUSE may report only when a file is closed that its bytes were lost, and only once. One rsync fails then, with a message without
/// a name. With several launches, one may begin while such a file is open. A destination on FUSE has no first pass.
#[test]
fn what_is_lost_on_the_way_is_not_called_done() {
    const FILES: usize = 600;
    let work = Work::new();
    for at in 0..FILES {
        work.file(format!("src/d{}/f{at}", at % 4), vec![b'a' + at as u8 % 26; 3000 + 40 * at]);
        work.file(format!("empty/d{}/f{at}", at % 4), "");
    }
    run(sh(&work, "find src empty -exec touch -d @1000000000 {} +")).expect_code(0);
    work.dir("low");
    for (source, first_pass, over) in
        [("src", "on", true), ("src", "off", true), ("src", "on", false), ("empty", "on", true)]
    {
        let name = format!("{source}-{first_pass}-{over}");
        let real = work.dir(format!("real-{name}"));
        work.dir(format!("real-{name}/upper"));
        work.dir(format!("real-{name}/work"));
        let variables = [("FAILING_SOURCE", real.as_os_str()), ("FAILING_LOST_PER_MILLE", "50".as_ref())];
        // The kernel caches that created entries exist.
        let words = ["-o".into(), "entry_timeout=60,attr_timeout=60".into()];
        let lossy = match Fuse::mount_told(&work, "failing_fs", &words, &variables, &format!("lossy-{name}")) {
            Ok(lossy) => lossy,
            Err(why) => return skip("what is lost on the way", &why),
        };
        let layers =
            format!("lowerdir=low,upperdir={0}/upper,workdir={0}/work", lossy.path.file_name().unwrap().display());
        let mount = format!("mount -t overlay overlay -o {layers} \"$2\"");
        let overlay = match Mounted::new(&work, &format!("over-{name}"), 1, "true", &mount) {
            Ok(overlay) => overlay,
            Err(why) => return skip("what is lost on the way", &why),
        };
        let dest = if over { overlay.path.join("D") } else { lossy.path.join("upper/D") };
        let mut copy = multi_sync(&work);
        copy.args(["-p", "8", "-f", "10", "--stats", "--first-pass", first_pass, "-r", "-a", &format!("{source}/")]);
        copy.arg(dest);
        let ran = run_within(copy, SOON).expect_code(11);
        assert_eq!(made(&ran).is_some(), first_pass == "on" && over && can_be_apart(), "{}", ran.report());
        drop(overlay);
        drop(lossy);
        let wrong = |at: &usize| {
            let name = format!("d{}/f{at}", at % 4);
            let (source, copied) = (work.join(source).join(&name), real.join("upper/D").join(&name));
            let Ok(found) = fs::metadata(&copied) else { return false };
            let looks_done = found.len() == fs::metadata(&source).unwrap().len() && found.mtime() == 1_000_000_000;
            looks_done && fs::read(source).unwrap() != fs::read(copied).unwrap()
        };
        let wrong: Vec<usize> = (0..FILES).filter(wrong).collect();
        ran.expect(wrong.is_empty(), &format!("{name}: taken for done: {wrong:?}"));
    }
}

/// For `-x` a subvolume is another file system, although it is not a mount point.
#[test]
fn a_subvolume_is_another_file_system() {
    let work = Work::new();
    let mounted = match Mounted::btrfs(&work, "volume") {
        Ok(mounted) => mounted,
        Err(why) => return skip("a subvolume", &why),
    };
    let script = r#"cd volume; mkdir -p s/a/b; btrfs subvolume create s/a/sub >/dev/null || exit 77; mkdir -p s/a/sub/inner s/c s/d
for f in 1 2 3 4 5 6; do for d in s s/c s/d s/a s/a/b s/a/sub s/a/sub/inner; do echo $f >$d/f$f; done; done; find s -depth -exec touch -d @1000000000 {} +"#;
    if run(sh(&work, script)).status.code() != Some(0) {
        return skip("a subvolume", "it cannot be made");
    }
    for options in ["-ax", "-axx"] {
        let (one, many) = (mounted.path.join(format!("one{options}")), mounted.path.join(format!("many{options}")));
        let mut copy = rsync(&work);
        copy.arg(options).arg("volume/s/").arg(&one);
        run(copy).expect_code(0);
        let mut copy = multi_sync(&work);
        copy.args(["-p", "2", "-f", "16", "--first-pass=on", "--stats", "-r", options, "volume/s/"]).arg(&many);
        let ran = run(copy).expect_code(0);
        assert!(made(&ran).is_some(), "{}", ran.report());
        let names = |dir: &Path| run(sh(&work, &format!("cd '{}' && find . | sort", dir.display()))).stdout_text();
        assert_eq!(names(&many), names(&one), "{options}");
    }
}

/// A first pass may take long. If another directory takes the place of DEST meanwhile, nothing is written or deleted there.
#[test]
fn a_destination_that_is_replaced_while_something_is_made_is_left_alone() {
    if has_none() {
        return;
    }
    table(&["mv x y; ln -s else x", "mv x y", "mv x y; mkdir x"], |does| {
        let work = Work::new();
        let fill = "for d in a b c; do mkdir -p src/$d else/$d; echo precious >else/$d/mine; for f in $(seq 20); do head -c 60000 /dev/urandom >src/$d/f$f; done; done
            find src -exec touch -d @1000000000 {} +; mkdir x";
        run(sh(&work, fill)).expect_code(0);
        let mut copy = multi_sync(&work);
        copy.args(["-p", "3", "-f", "25", "--first-pass=on", "-r", "-a --delete --bwlimit=1m", "src/", "x"]);
        let copy = start(copy);
        let begun = || fs::read_dir(work.join("x/a")).is_ok_and(|names| names.count() > 0);
        let since = std::time::Instant::now();
        while !begun() && since.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(5));
        }
        run(sh(&work, does)).expect_code(0);
        let ran = copy.finish(SOON);
        let list =
            |dir: &str| run(sh(&work, &format!("[ ! -e {dir} ] || (cd {dir} && find . -type f | sort)"))).stdout_text();
        let elsewhere = list("else");
        let here = if does.contains("ln") { String::new() } else { list("x") };
        let right = elsewhere == "./a/mine\n./b/mine\n./c/mine\n" && here.is_empty() && ran.status.code() == Some(11);
        (!right).then(|| format!("{does}: {elsewhere}{here}{}", ran.report()))
    });
}
