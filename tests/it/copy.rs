//! A local copy by multi-sync has the result and the exit code of one rsync: every form of source and destination, every kind of entry, with buckets so small
//! that everything is split. Also what the command writes besides the copy: buckets, and nothing else.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support;
use crate::support::command::{Run, Signal, command, multi_sync, rsync, run, sh, start};
use crate::support::twin::{Twin, fake_rsync, snapshot, table, temporary_files};
use crate::support::work::{Work, set_mode};
use crate::support::{skip, this_test};
use multi_sync::bucket;
use multi_sync::harness::first_pass::can_be_apart;
use multi_sync::harness::treegen::{self, Odd, Sizes, Spec, TopLevel};
use multi_sync::harness::verify;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, mknodat, setxattr, utimensat};

/// Two levels, a link of each kind, an empty directory, and old times.
fn small_tree(root: &Path) {
    for dir in ["a/deep/deeper", "b", "empty", "c"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    let files =
        ["top", "a/one", "a/two", "a/three", "a/deep/x", "a/deep/y", "a/deep/deeper/z", "b/one", "b/two", "c/f"];
    for (number, name) in files.iter().enumerate() {
        fs::write(root.join(name), format!("{name} {}", "content ".repeat(number))).unwrap();
    }
    symlink("a", root.join("link-to-dir")).unwrap();
    symlink("top", root.join("link-to-file")).unwrap();
    symlink("../nowhere", root.join("b/dangling")).unwrap();
    set_mode(&root.join("b"), 0o700);
    set_mode(&root.join("c"), 0o2775);
    set_mode(&root.join("a/deep"), 0o1777);
    set_mode(&root.join("a/two"), 0o600);
    age(root, 1_000_000_000);
}

/// Gives each entry a time of its own, children first.
fn age(path: &Path, base: i64) -> i64 {
    let mut next = base;
    if path.symlink_metadata().unwrap().is_dir() {
        // Some directories cannot be read by every user.
        let listed = fs::read_dir(path).into_iter().flatten();
        let mut names: Vec<_> = listed.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        for name in &names {
            next = age(name, next) + 1000;
        }
    }
    let time = Timespec { tv_sec: next, tv_nsec: 123_456_789 };
    utimensat(CWD, path, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW)
        .unwrap();
    next
}

fn nothing(_: &Path) {}

fn dest_dir(side: &Path) {
    fs::create_dir(side.join("D")).unwrap();
    set_mode(&side.join("D"), 0o750);
}

fn dest_with_content(side: &Path) {
    for dir in ["D/a/deep", "D/src/a", "D/kept", "D/top"] {
        fs::create_dir_all(side.join(dir)).unwrap();
    }
    for file in ["D/a/one", "D/src/a/one", "D/kept/file", "D/empty", "D/src/top"] {
        fs::write(side.join(file), "old").unwrap();
    }
    symlink("kept", side.join("D/b")).unwrap();
    set_mode(&side.join("D/kept"), 0o711);
}

fn dest_link(side: &Path) {
    fs::create_dir_all(side.join("real/a")).unwrap();
    symlink("real", side.join("D")).unwrap();
}

fn dest_dangling(side: &Path) {
    symlink("nowhere", side.join("D")).unwrap();
}

fn dest_file(side: &Path) {
    fs::write(side.join("D"), "a file").unwrap();
}

/// The working directory, `SRC... DEST`, and a function that creates the previous contents of the destination.
type Form<'a> = (&'a str, &'a [&'a str], fn(&Path));

#[test]
fn every_form_of_source_and_destination() {
    let work = Work::new();
    small_tree(&work.dir("src"));
    small_tree(&work.dir("with space: and \"colon\""));
    small_tree(&work.dir("-dash"));
    small_tree(&work.dir("a:b"));
    for (name, file) in [("other", "n1"), ("other", "n2"), ("other/deep", "n3"), ("third", "m1")] {
        work.file(format!("{name}/{file}"), file);
    }
    work.file("same/a/one", "another one");
    work.file("same/more", "more");
    work.file("single", "a single file");
    work.dir("nil");
    work.dir("hollow/src");
    symlink("src", work.join("link")).unwrap();
    symlink("single", work.join("filelink")).unwrap();
    symlink("gone", work.join("dangling")).unwrap();
    for name in ["src", "other", "third", "same", "nil", "hollow"] {
        age(&work.join(name), 1_100_000_000);
    }
    let here = work.path().to_str().unwrap();
    let absolute = format!("{here}/src");
    let slash = format!("{here}/src/");
    let dest = format!("{here}/SIDE/D");
    let forms: &[Form] = &[
        (".", &["src/", "SIDE/D"], nothing),
        (".", &["src", "SIDE/D"], nothing),
        (".", &["src/", "SIDE/D/"], dest_dir),
        (".", &["src", "SIDE/D"], dest_dir),
        (".", &["src//", "SIDE//D//"], nothing),
        (".", &["./src/.", "./SIDE/D/."], dest_dir),
        (".", &["./src/.", "./SIDE/D/."], nothing),
        (".", &["src/", "SIDE/D"], dest_with_content),
        (".", &["src", "SIDE/D"], dest_with_content),
        (".", &["src/", "SIDE/D"], dest_link),
        (".", &["src", "SIDE/D/"], dest_link),
        (".", &["src/", "SIDE/D"], dest_dangling),
        (".", &["src/", "SIDE/D"], dest_file),
        (".", &["src", "SIDE/D/"], dest_file),
        (".", &["src/", "SIDE/no/D"], nothing),
        (".", &["src/", "SIDE/"], nothing),
        (".", &["src", "SIDE"], nothing),
        (".", &[&absolute, &dest], nothing),
        (".", &[&slash, &dest], nothing),
        ("src", &[".", "../SIDE/D"], nothing),
        ("src", &["./", "../SIDE/D"], dest_dir),
        ("src/a", &["..", "../../SIDE/D"], nothing),
        ("src", &["a/..", "../SIDE/D"], nothing),
        ("src", &["../src", "../SIDE/D"], nothing),
        ("src", &["a/../b/../a", "../SIDE/D"], nothing),
        ("src", &["a", "b", "c", "empty", "link-to-dir", "top", "../SIDE/D"], nothing),
        ("src", &["a/", "b", "top", "../SIDE/D"], nothing),
        (".", &["src/a/deep/", "SIDE/D"], nothing),
        (".", &["src/a/deep", "SIDE/D"], nothing),
        (".", &["link/", "SIDE/D"], nothing),
        (".", &["link", "SIDE/D"], nothing),
        (".", &["link", "SIDE/D"], dest_dir),
        (".", &["link/a", "SIDE/D"], nothing),
        (".", &["filelink", "SIDE/D"], nothing),
        (".", &["filelink/", "SIDE/D"], nothing),
        (".", &["dangling", "SIDE/D"], nothing),
        (".", &["dangling/", "SIDE/D"], nothing),
        (".", &["single", "SIDE/D"], nothing),
        (".", &["single", "SIDE/D/"], nothing),
        (".", &["single", "SIDE/D"], dest_dir),
        (".", &["single", "SIDE/D"], dest_file),
        (".", &["nil/", "SIDE/D"], nothing),
        (".", &["nil", "SIDE/D"], nothing),
        (".", &["nil", "SIDE/D/"], dest_dir),
        (".", &["hollow", "SIDE/D"], nothing),
        (".", &["./with space: and \"colon\"/", "SIDE/d e: s't"], nothing),
        (".", &["./with space: and \"colon\"", "SIDE/-d"], nothing),
        (".", &["-dash/", "SIDE/D"], nothing),
        (".", &["-dash", "SIDE/D"], nothing),
        (".", &["./a:b", "SIDE/a:b"], nothing),
        (".", &["./a:b/", "SIDE/D"], nothing),
        ("SIDE", &["../src/", "a/b:c"], nothing),
        (".", &["src", "other", "third", "SIDE/D"], nothing),
        (".", &["src/", "other", "third", "SIDE/D"], nothing),
        (".", &["other", "src/", "SIDE/D"], nothing),
        (".", &["other", "src", "single", "SIDE/D"], dest_with_content),
        (".", &["single", "filelink", "SIDE/D"], nothing),
        (".", &["single", "filelink", "link", "src/a/one", "SIDE/D"], dest_file),
        (".", &["src/", "same/", "SIDE/D"], nothing),
        (".", &["same/", "src/", "SIDE/D"], nothing),
        (".", &["src", "hollow/src", "SIDE/D"], nothing),
        (".", &["src", "src", "SIDE/D"], nothing),
        (".", &["src/", "src/top", "SIDE/D"], nothing),
        (".", &["src", "src/a", "SIDE/D"], nothing),
        (".", &["gone", "src", "SIDE/D"], nothing),
        (".", &["src/", "gone/", "other", "SIDE/D"], nothing),
        (".", &["gone", "other", "single/", "SIDE/D"], dest_dir),
        (".", &["gone", "SIDE/D"], nothing),
        (".", &["nil", "hollow", "single", "SIDE/D"], nothing),
        (".", &["/dev/null", "single", "SIDE/D"], nothing),
    ];
    table(forms, |(cwd, words, prepare)| {
        let twin = Twin::new(&work, *words).cwd(cwd).prepare(*prepare);
        Some(format!("{words:?} in {cwd}: {}", twin.difference()?))
    });
}

/// Sets of rsync options that are exact when they are simply passed on, each for an odd tree with another odd tree at the destination.
#[test]
fn every_option_that_is_passed_on() {
    let work = Work::new();
    let src = work.join("src");
    treegen::odd_tree(&src, &Odd { sockets: false, ..Odd::new(32) }, 7).unwrap();
    let mirror = work.join("mirror");
    run(rsync_of(&work, "-a", &src, &mirror)).expect_code(0);
    treegen::mutate(&mirror, 3, 12).unwrap();
    let before = |side: &Path| {
        run(rsync_of(&work, "-a", &mirror, &side.join("D"))).expect_code(0);
        run(rsync_of(&work, "-a", &mirror, &side.join("basis"))).expect_code(0);
    };
    let sets = [
        "-a",
        "-r",
        "-rt",
        "-rl",
        "-rlt",
        "-rp",
        "-rlp",
        "-rlD",
        "-rtog",
        "-aO",
        "-aJ",
        "-aS",
        "-aW",
        "-ac",
        "-au",
        "-aI",
        "-aK",
        "-az",
        "-aX",
        "-aA",
        "-aE --no-p",
        "-a --no-t",
        "-a --size-only",
        "-a --existing",
        "-a --ignore-existing",
        "-a --inplace",
        "-a --append",
        "-a --append-verify",
        "-a --force",
        "-ab --suffix=.old",
        "-ay",
        "-a --safe-links",
        "-a --munge-links",
        "-a --max-size=100",
        "-a --min-size=10",
        "-a --chmod=D2711,F640",
        "-a --chmod=a-w",
        "-a --link-dest=../basis",
        "-a --copy-dest=../basis",
        "-a --compare-dest=../basis",
        "-a --modify-window=-1",
        "-a --numeric-ids",
        "-a --no-whole-file",
        "-a --preallocate",
        "-a --fsync",
        "-a --temp-dir=..",
        "-a --partial",
        "-aP",
        "-a --stats",
        "-aq",
        "-a --progress",
        "-a --info=none",
        "-a --no-implied-dirs",
        "-a --mkpath",
        "-ahh",
        "-a --no-inc-recursive",
        "-a --fake-super",
        "-a --usermap=0:12",
        "-a --chown=12:13",
        "-a --checksum-seed=1",
        "-a --protocol=30",
        "-a --outbuf=L",
        "-a8",
        "-a --super",
        "-aU",
        "-a --no-specials",
    ];
    let cases: Vec<_> = (0..).zip(sets).flat_map(|(number, set)| [(number, set, true), (number, set, false)]).collect();
    table(&cases, |&(number, set, over)| {
        let source = if number % 2 == 0 { "src/" } else { "src" };
        let twin = match over {
            true => Twin::new(&work, [source, "SIDE/D"]).prepare(before).flags("-p 4 -f 9"),
            false => Twin::new(&work, [source, "SIDE/D"]).flags("-p 3 -f 7 -s 3000"),
        };
        Some(format!("{set}: {}", twin.options(set).difference()?))
    });
}

fn rsync_of(work: &Work, options: &str, from: &Path, to: &Path) -> std::process::Command {
    let mut command = rsync(work);
    command.args(options.split_whitespace()).arg(from.join("")).arg(to);
    command
}

#[test]
fn a_regular_tree_whatever_the_limits_and_the_number_of_processes() {
    let work = Work::new();
    let sizes = Sizes::LogNormal { median: 2000, sigma: 2.0, max: 300_000 };
    treegen::generate(&work.join("src"), &Spec::bench(500, sizes), 1).unwrap();
    for flags in [
        "",
        "-p 8",
        "-p 1 -f 40",
        "-p 2 -f 20",
        "-p 4 -s 100K",
        "-p 8 -f 60 -s 30000",
        "-p 4 -f 1000000 -s 7E",
        "-P -p 3 -f 50",
    ] {
        for (source, dest) in [("src/", "SIDE/D"), ("src", "SIDE/new")] {
            Twin::new(&work, [source, dest]).flags(flags).count(false, true).same();
        }
    }
}

#[test]
fn the_smallest_buckets_of_all() {
    let work = Work::new();
    treegen::odd_tree(&work.join("src"), &Odd { sockets: false, ..Odd::new(40) }, 5).unwrap();
    for flags in ["-p 8 -f 1", "-p 4 -s 1", "-p 1 -f 1 -s 1"] {
        Twin::new(&work, ["src/", "SIDE/D"]).flags(flags).same();
    }
}

#[test]
fn every_odd_name_as_file_and_directory_on_two_levels() {
    let work = Work::new();
    treegen::odd_names(&work.join("files"), TopLevel::Files).unwrap();
    treegen::odd_names(&work.join("dirs"), TopLevel::Dirs).unwrap();
    for source in ["files/", "dirs/", "files", "dirs"] {
        Twin::new(&work, [source, "SIDE/D"]).flags("-p 4 -f 12").same();
    }
    // Every spine directory has an odd name.
    Twin::new(&work, ["dirs/", "SIDE/D"]).flags("-p 4 -s 1 -f 60").same();
}

/// Each odd name as a source, and as the destination.
#[test]
fn odd_names_on_the_command_line() {
    let work = Work::new();
    let mut words = vec![];
    let mut failed = Vec::new();
    for name in treegen::all_odd_names() {
        // A name with a colon is read as a remote source, which a test of bad input covers.
        let remote = name.contains(&b':');
        let path = work.dir("all").join(OsStr::from_bytes(&name));
        fs::create_dir(&path).unwrap();
        for file in ["one", "two"] {
            fs::write(path.join(file), &name).unwrap();
        }
        if !remote {
            words.push(OsStr::from_bytes(&name).to_owned());
        }
    }
    words.push("../SIDE/D".into());
    failed.extend(Twin::new(&work, &words).cwd("all").flags("-p 4 -f 40").difference());
    // Every eighth name, with DEST of the same name as well.
    for name in treegen::all_odd_names().into_iter().step_by(8) {
        let name = OsStr::from_bytes(&name);
        let source = Path::new("./all").join(name).join("");
        let dest = Path::new("SIDE").join(name);
        failed.extend(Twin::new(&work, [source.as_os_str(), dest.as_os_str()]).flags("-p 2 -f 1").difference());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_kind_of_entry_and_attribute() {
    let work = Work::new();
    let src = work.dir("src");
    small_tree(&src);
    for (number, name) in ["fifo", "a/fifo", "a/deep/fifo"].iter().enumerate() {
        mknodat(CWD, src.join(name), FileType::Fifo, Mode::from(0o600 + number as u32), 0).unwrap();
    }
    let _sockets = ["a/socket", "b/socket"].map(|name| std::os::unix::net::UnixListener::bind(src.join(name)).unwrap());
    for (name, mode) in
        [("setuid", 0o4755), ("a/setgid", 0o2755), ("a/sticky", 0o1644), ("b/none", 0), ("b/write-only", 0o222)]
    {
        fs::write(src.join(name), name).unwrap();
        set_mode(&src.join(name), mode);
    }
    for (name, mode) in [("a/locked", 0o555), ("a/closed", 0o000), ("c/sticky", 0o3777)] {
        fs::create_dir(src.join(name)).unwrap();
        fs::write(src.join(name).join("in"), name).unwrap();
        set_mode(&src.join(name), mode);
    }
    for (name, blocks) in
        [("sparse", &[0u64, 90][..]), ("a/tail-hole", &[3]), ("b/all-hole", &[]), ("c/dense", &[0, 1, 2])]
    {
        let file = File::create(src.join(name)).unwrap();
        blocks.iter().for_each(|block| file.write_all_at(&[7; 65536], block * 65536).unwrap());
        file.set_len(100 * 65536).unwrap();
    }
    if support::is_root() {
        for (name, kind) in [("a/null", FileType::CharacterDevice), ("a/block", FileType::BlockDevice)] {
            mknodat(CWD, src.join(name), kind, Mode::from(0o640), rustix::fs::makedev(1, 3)).unwrap();
        }
        for (name, uid, gid) in [("top", 12, 13), ("a", 65534, 12), ("a/deep", 12, 0), ("b/one", 4_000_000, 4_000_000)]
        {
            std::os::unix::fs::lchown(src.join(name), Some(uid), Some(gid)).unwrap();
        }
        std::os::unix::fs::lchown(src.join("link-to-dir"), Some(12), Some(13)).unwrap();
    }
    set_mode(&src, 0o1775);
    age(&src, 900_000_000);
    let options = ["-a", "-aS", "-rlt", "-rp", "-r", "-rlptD", "-rlptgoS", "-a --no-D", "-a --no-links"];
    for options in options {
        Twin::new(&work, ["src/", "SIDE/D"]).options(options).same();
        Twin::new(&work, ["src", "SIDE/D"]).options(options).flags("-p 8 -s 100").same();
    }
    Twin::new(&work, ["src/", "SIDE/D"]).options("-aS").count(false, true).same();
}

#[test]
fn extended_attributes_and_access_lists() {
    let work = Work::new();
    let src = work.dir("src");
    small_tree(&src);
    // An ACL (acl(5)) as linux/posix_acl_xattr.h stores it: owner rwx, user 12 r--, group r-x, mask r-x, others none.
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, u32::MAX), (2, 4, 12), (4, 5, u32::MAX), (16, 5, u32::MAX), (32, 0, u32::MAX)];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, perms, id) in entries {
        list.extend([tag.to_le_bytes(), perms.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let set = |name: &str, key: &str, value: &[u8]| setxattr(src.join(name), key, value, XattrFlags::empty());
    for name in ["", "a", "a/deep", "a/one", "top", "empty", "c"] {
        if let Err(errno) = set(name, "user.lab", format!("value of {name}").as_bytes()) {
            return support::skip(
                "extended_attributes_and_access_lists",
                &format!("the file system has none: {errno}"),
            );
        }
    }
    let lists = ["", "a", "b/one", "c"].iter().all(|name| set(name, "system.posix_acl_access", &list).is_ok())
        && ["", "a/deep"].iter().all(|name| set(name, "system.posix_acl_default", &list).is_ok());
    for options in ["-aX", "-aXS", "-a", "-rX", "-rltX", "-rpA"] {
        if options.contains('A') && !lists {
            support::skip("access lists", "the file system has none");
            continue;
        }
        Twin::new(&work, ["src/", "SIDE/D"]).options(options).count(true, false).same();
        Twin::new(&work, ["src", "SIDE/D"]).options(options).count(true, false).flags("-p 8 -f 2").same();
    }
    if lists {
        // New entries inherit the default ACL of their parent.
        let inherit = |side: &Path| setxattr(side, "system.posix_acl_default", &list, XattrFlags::empty()).unwrap();
        for options in ["-r", "-a", "-aAX"] {
            Twin::new(&work, ["src/", "SIDE/D"]).options(options).count(true, false).prepare(inherit).same();
        }
    }
}

#[test]
fn the_umask_and_the_mode_of_the_parent() {
    let work = Work::new();
    small_tree(&work.dir("src"));
    set_mode(&work.join("src"), 0o711);
    let setgid = |side: &Path| set_mode(side, 0o2770);
    for umask in ["022", "077", "000", "0777"] {
        for options in ["-r", "-rlt", "-a"] {
            if umask == "0777" && !support::is_root() {
                continue;
            }
            Twin::new(&work, ["src/", "SIDE/D"]).options(options).umask(umask).same();
            Twin::new(&work, ["src", "SIDE/D"]).options(options).umask(umask).prepare(setgid).same();
        }
    }
}

#[test]
fn directories_without_write_permission_for_a_normal_user() {
    let work = Work::public();
    let src = work.dir_for_nobody("src");
    small_tree(&src);
    for (name, mode) in
        [("a/deep/deeper", 0o555), ("a/deep", 0o555), ("a", 0o555), ("b", 0o577), ("c", 0o500), ("empty", 0o755)]
    {
        set_mode(&src.join(name), mode);
    }
    set_mode(&src, 0o555);
    own(&work, "src");
    // The previous contents: the same directories, read-only, with old files.
    let locked = |side: &Path| {
        for file in ["D/a/one", "D/a/deep/x", "D/c/f", "D/empty/old", "D/src/a/deep/y"] {
            fs::create_dir_all(side.join(file).parent().unwrap()).unwrap();
            fs::write(side.join(file), "old").unwrap();
        }
        own(&work, side.file_name().unwrap().to_str().unwrap());
        for dir in ["D/a/deep", "D/a", "D/c", "D/empty", "D/src/a/deep", "D/src/a", "D/src"] {
            set_mode(&side.join(dir), 0o555);
        }
    };
    let mut failed = Vec::new();
    for options in ["-a", "-rlt", "-r", "-rp", "-a --no-p", "-aO"] {
        for (source, flags) in [("src/", "-p 8 -f 2 --stats"), ("src", "-p 8 -s 20 --stats")] {
            for over in [false, true] {
                let twin = || {
                    let fresh = Twin::new(&work, [source, "SIDE/D"]).options(options).flags(flags).nobody();
                    if over { fresh.prepare(locked) } else { fresh }
                };
                // Sometimes one rsync itself fails to write into a directory that it has made read-only again, and so does a single rsync that multi-sync
                // starts. Then the comparison is repeated. With several rsyncs it must not happen.
                let denied = |run: &Run| run.stderr_text().contains("recv_generator: mkdir");
                let by_one = |many: &Run| many.stdout_text().contains("One rsync for everything");
                let mut tries = (0..8).map(|_| twin()).map(|twin| (twin.attempt(), twin));
                let ((one, many, different), twin) = tries
                    .find(|((one, many, _), _)| if denied(many) { !by_one(many) } else { !denied(one) })
                    .expect("one rsync fails every time");
                if different.is_some() || denied(&many) {
                    let different = different.unwrap_or_default();
                    let (one, many) = (one.listing([twin.one()]), many.listing([twin.many()]));
                    failed.push(format!("{different}{}\n{}", one.report(), many.report()));
                }
                let left = temporary_files(&twin.many());
                failed.extend(left.iter().map(|left| format!("left behind: {}", left.display())));
            }
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// Gives everything below a folder to nobody, if the tests run as root.
fn own(work: &Work, name: &str) {
    if support::is_root() {
        run(sh(work, &format!("chown -hR 65534:65534 {name}"))).expect_code(0);
    }
}

#[test]
fn what_a_normal_user_may_not_read() {
    let work = Work::public();
    let src = work.dir_for_nobody("src");
    small_tree(&src);
    let plain = ["ok", "dir/ok", "unlisted/in", "unentered/in", "unentered/in2", "secret"];
    plain.iter().for_each(|name| drop(work.file(Path::new("src").join(name), *name)));
    own(&work, "src");
    for (name, mode) in
        [("secret", 0o000), ("a/one", 0o000), ("unlisted", 0o311), ("unentered", 0o644), ("empty", 0o000)]
    {
        set_mode(&src.join(name), mode);
    }
    // Directories that cannot be listed, but whose entries can be copied by name.
    for parent in ["closed", "closed-root"] {
        small_tree(&work.dir_for_nobody(Path::new(parent).join("tree")));
    }
    own(&work, "closed");
    own(&work, "closed-root");
    set_mode(&work.join("closed"), 0o111);
    set_mode(&work.join("closed-root/tree"), 0o311);
    let mut failed = Vec::new();
    for (words, flags) in [
        (&["src/", "SIDE/D"][..], "-p 4 -f 3"),
        (&["src", "SIDE/D"], "-p 8 -f 1"),
        (&["src/", "SIDE/D"], ""),
        (&["closed/tree", "SIDE/D"], "-p 4 -f 3"),
        (&["closed/tree/", "SIDE/D"], "-p 4 -f 3"),
        (&["closed/", "SIDE/D"], "-p 4 -f 3"),
        (&["closed", "SIDE/D"], "-p 4 -f 3"),
        (&["closed-root/tree/", "SIDE/D"], "-p 4 -f 3"),
        (&["closed-root/tree", "SIDE/D"], "-p 4 -f 3"),
        (&["closed-root/tree/", "closed/tree", "src", "SIDE/D"], "-p 4 -f 3"),
        (&["src/secret", "src/ok", "SIDE/D"], "-p 4 -f 1"),
    ] {
        for options in ["-a", "-rlt"] {
            failed.extend(Twin::new(&work, words).options(options).flags(flags).nobody().difference());
        }
    }
    // Also a destination that is not writable.
    let forbidden = |side: &Path| set_mode(side, 0o555);
    failed.extend(Twin::new(&work, ["src/", "SIDE/D"]).nobody().prepare(forbidden).difference());
    failed.extend(Twin::new(&work, ["src/", "SIDE"]).nobody().prepare(forbidden).difference());
    for options in ["-a", "-rlt"] {
        let inside = |side: &Path| {
            fs::create_dir(side.join("D")).unwrap();
            // Owned by root, so that its mode cannot be changed.
            set_mode(&side.join("D"), 0o755);
        };
        failed.extend(Twin::new(&work, ["src/", "SIDE/D"]).options(options).nobody().prepare(inside).difference());
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn files_named_by_options_are_those_of_the_working_directory() {
    let work = Work::new();
    small_tree(&work.dir("src"));
    work.file("sub/patterns", "one\n");
    let shell = work.file("sub/shell", "#!/bin/sh\nshift\nexec \"$@\"\n");
    set_mode(&shell, 0o755);
    let dest = format!("any:{}/SIDE/D", work.path().display());
    Twin::new(&work, ["../src/", &dest]).cwd("sub").options("-a -e ./shell").same();
    Twin::new(&work, ["../src", &dest]).cwd("sub").options("-a --rsh=./shell").flags("-p 2 -f 2").same();
}

#[test]
fn a_second_run_has_nothing_to_do() {
    let work = Work::new();
    treegen::odd_tree(&work.join("src"), &Odd { sockets: false, ..Odd::new(60) }, 11).unwrap();
    for (source, again, first_pass) in
        [("src/", "D/", "off"), ("src", "E/src/", "off"), ("src/", "F/", "auto"), ("src", "G/src/", "auto")]
    {
        let copy = || {
            let mut command = multi_sync(&work);
            command.args(["-p", "4", "-f", "5", "--stats", "--first-pass", first_pass, source, &again[..1]]);
            run(command).expect_code(0)
        };
        let first = copy();
        let transferred = figure(&first.stdout_text(), "Number of regular files transferred") > 0;
        let made = first.stdout_text().contains("Made by the first pass");
        let makes = first_pass == "auto" && can_be_apart();
        assert_eq!((transferred, made), (!makes, makes), "{}", first.report());
        let second = copy();
        let names = [
            "Number of created files",
            "Number of regular files transferred",
            "Total transferred file size",
            "Literal data",
        ];
        for name in names {
            assert_eq!(figure(&second.stdout_text(), name), 0, "{name}\n{}", second.report());
        }
        let mut check = rsync(&work);
        check.args(["-aSni", "--numeric-ids", "src/", again]);
        let check = run(check).expect_code(0);
        assert_eq!(check.stdout_text(), "", "{}", check.report());
    }
}

/// The number after `NAME: ` in statistics.
#[track_caller]
fn figure(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let digits = value.unwrap_or_else(|| panic!("no {name:?} in:\n{text}")).split_whitespace().next().unwrap();
    digits.parse().unwrap_or_else(|_| panic!("{name}: {digits:?}"))
}

#[test]
fn statistics_have_every_line_and_add_up_to_what_one_rsync_says() {
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(200, Sizes::Uniform { min: 0, max: 5000 }), 3).unwrap();
    let one = Twin::new(&work, ["src/", "SIDE/D"]).options("-aS --stats --no-h").flags("-p 3 -f 10 --stats");
    let (one, many) = one.same();
    let (one_said, many_said) = (one.stdout_text(), many.stdout_text());
    for name in [
        "Number of created files",
        "Number of regular files transferred",
        "Total transferred file size",
        "Literal data",
    ] {
        assert_eq!(figure(&one_said, name), figure(&many_said, name), "{name}\n{}", many.report());
    }
    assert_eq!(figure(&many_said, "Total entries"), 201, "{}", many.report());
    assert_eq!(figure(&many_said, "Rsync workers"), 3, "{}", many.report());
    let lines = [
        "Status: SUCCESS",
        "Working directory: ",
        "Command line: ",
        "Total size: ",
        "Buckets number: ",
        "Mean entries per bucket: ",
        "Mean size per bucket: ",
        "Entries per second: ",
        "Speed: ",
        "Total rsync's processes (",
        "Crawl time: ",
        "Total time: ",
        "Launches: ",
    ];
    for line in lines {
        assert!(many_said.lines().any(|said| said.starts_with(line)), "no {line:?}\n{}", many.report());
    }
}

/// With these options rsync prints everything on standard error, including its version and its statistics.
#[test]
fn an_rsync_that_speaks_on_standard_error_is_understood() {
    let work = Work::new();
    small_tree(&work.dir("src"));
    for options in ["-aS --stderr=all", "-aS --msgs2stderr"] {
        let (_, many) = Twin::new(&work, ["src/", "SIDE/D"]).options(options).flags("-p 3 -f 3 --stats").same();
        let said = many.stdout_text();
        assert_eq!(figure(&said, "Number of created files"), figure(&said, "Total entries"), "{}", many.report());
        assert!(!many.stderr_text().contains("Number of"), "{}", many.report());
    }
}

/// The bucket files of a kept bucket directory, each with its arguments.
fn buckets(dir: &Path) -> Vec<Vec<Vec<u8>>> {
    let (mut files, mut todo) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() { todo.push(entry) } else { files.push(entry) }
        }
    }
    // The directory also contains the records of the run.
    files.retain(|file| file.extension().is_some_and(|end| end == "bucket"));
    files.sort();
    files.iter().map(|file| bucket::arguments(&fs::read(file).unwrap()).map(<[u8]>::to_vec).collect()).collect()
}

/// The number of entries and bytes of a path, with everything below it.
fn weigh(path: &Path) -> (u64, u64) {
    let meta = path.symlink_metadata().unwrap();
    let mut sum = (1, if meta.is_file() { meta.len() } else { 0 });
    if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let below = weigh(&entry.unwrap().path());
            sum = (sum.0 + below.0, sum.1 + below.1);
        }
    }
    sum
}

fn every_path(root: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        if root.join(&path).symlink_metadata().unwrap().is_dir() {
            every_path(root, &path, found);
        }
        assert!(found.insert(path));
    }
}

#[test]
fn kept_buckets_hold_each_entry_once_and_keep_the_limits() {
    let work = Work::new();
    let src = work.join("src");
    treegen::odd_tree(&src, &Odd::new(150), 21).unwrap();
    for (limits, entries, bytes) in
        [("-f 4", 4, u64::MAX), ("-f 25 -s 4000", 25, 4000), ("-s 2K", 1000, 2048), ("", 1000, 1 << 30)]
    {
        for source in ["src/", "src"] {
            let parent = work.dir(format!("buckets {limits} {}", source.len()));
            let mut command = multi_sync(&work);
            command
                .args(limits.split_whitespace())
                .args(["-p", "2", "-k", "-j", "-b"])
                .arg(&parent)
                .args([source, "dest"]);
            let ran = run(command).expect_code(0);
            let shown = PathBuf::from(ran.stdout_text().lines().next().unwrap());
            assert!(shown.starts_with(&parent) && shown.is_dir(), "{}", ran.report());
            assert_eq!(
                fs::metadata(shown.join("0000")).unwrap().permissions().mode() & 0o777,
                0o700,
                "{}",
                ran.report()
            );
            let base = if source == "src" { work.path() } else { &src };
            let (mut all, mut covered) = (BTreeSet::new(), BTreeSet::new());
            every_path(&src, Path::new(""), &mut all);
            for units in buckets(&shown) {
                let mut sum = (0, 0);
                for unit in &units {
                    let path = base.join(OsStr::from_bytes(unit));
                    let weight = weigh(&path);
                    sum = (sum.0 + weight.0, sum.1 + weight.1);
                    let name = path.components().collect::<PathBuf>();
                    let name = name.strip_prefix(&src).unwrap().to_owned();
                    let mut below = BTreeSet::new();
                    if path.symlink_metadata().unwrap().is_dir() {
                        every_path(&src, &name, &mut below);
                    }
                    for path in below.into_iter().chain([name]) {
                        assert!(covered.insert(path.clone()), "twice: {}\n{}", path.display(), ran.report());
                    }
                }
                let alone = units.len() == 1;
                assert!(
                    sum.0 <= entries && sum.1 <= bytes || alone,
                    "a bucket of {sum:?}: {units:?}\n{}",
                    ran.report()
                );
            }
            // An entry that is in no unit must be a split directory, with units below it.
            for path in all.iter().filter(|path| !covered.contains(*path)) {
                assert!(src.join(path).symlink_metadata().unwrap().is_dir(), "in no bucket: {}", path.display());
                let (entries_below, bytes_below) = weigh(&src.join(path));
                assert!(entries_below > entries || bytes_below > bytes, "{} was split for nothing", path.display());
            }
        }
    }
}

#[test]
fn a_dry_run_starts_no_rsync_and_writes_only_buckets() {
    let work = Work::new();
    small_tree(&work.dir("src"));
    for dest in ["absent", "present", "absent/deep", "nohost.invalid:dest"] {
        work.dir("present");
        let before = snapshot(&work.join("present"));
        let mut command = multi_sync(&work);
        command.args(["-d", "-p", "4", "-f", "3", "-k", "-j", "--stats", "-r", "-aS --log-file=log", "src/", dest]);
        fake_rsync(&mut command, &work, &format!("echo \"$@\" >>{}/started; exit 0", work.path().display()));
        let ran = run(command).expect_code(0);
        let shown = PathBuf::from(ran.stdout_text().lines().next().unwrap());
        assert!(shown.starts_with(work.join("tmp")), "{}", ran.report());
        assert!(buckets(&shown).concat().len() > 5, "{}", ran.report());
        assert!(!work.join("started").exists(), "an rsync was started\n{}", ran.report());
        assert!(!work.join("absent").exists() && before == snapshot(&work.join("present")), "{}", ran.report());
        assert!(!work.join("log").exists(), "{}", ran.report());
    }
}

#[test]
fn the_temporary_folder_is_empty_afterwards() {
    let work = Work::new();
    small_tree(&work.dir("src"));
    work.file("file", "");
    let empty = |ran: &support::command::Run| {
        assert_eq!(fs::read_dir(work.join("tmp")).unwrap().count(), 0, "{}", ran.report());
    };
    for (words, code) in [
        (&["-p", "4", "-f", "3", "src/", "D"][..], 0),
        (&["src/", "D"], 0),
        (&["-d", "-j", "src/", "D"], 0),
        (&["-f", "3", "src/", "gone", "D"], 23),
        (&["-f", "3", "src/", "no/such/D"], 11),
        (&["-f", "3", "src/", "file"], 3),
        (&["-f", "3", "gone", "D"], 23),
        (&["-f", "3", "-r", "-a --rsync-path=/nonexistent -e false", "src/", "nohost:D"], 12),
    ] {
        let mut command = multi_sync(&work);
        command.args(words);
        let ran = run(command);
        empty(&ran);
        ran.expect_code(code);
    }
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut command = multi_sync(&work);
        command.args(["-p", "2", "-f", "3", "src/", "E"]);
        fake_rsync(&mut command, &work, &format!("echo >{}/up; exec sleep 60", work.path().display()));
        let _ = fs::remove_file(work.join("up"));
        let mut started = start(command);
        started.wait_for("an rsync", Duration::from_secs(60), |_| work.join("up").exists());
        started.signal(signal);
        let ran = started.finish(Duration::from_secs(60)).expect_code(20);
        empty(&ran);
    }
}

/// The bucket directory is not part of the source, wherever it is, because one rsync would not have found it there.
#[test]
fn buckets_below_the_source_are_not_copied() {
    let work = Work::new();
    small_tree(&work.dir("src"));
    for inside in ["tmp", "tmp/deep/er"] {
        work.dir(Path::new("src").join(inside));
    }
    for (place, source) in [("src/tmp", "src/"), ("src/tmp/deep/er", "src"), ("src", "src/")] {
        for flags in ["-p 4 -f 3", "-p 4 -f 1000", "-p 2 -s 1"] {
            let place = work.join(place);
            // Creating the bucket directory changes the time of its parent, so the same is done for one rsync.
            let touch = |_: &Path| {
                fs::write(place.join("touch"), "").unwrap();
                fs::remove_file(place.join("touch")).unwrap();
            };
            let twin = || Twin::new(&work, [source, "SIDE/D"]).prepare(touch);
            twin().flags(&format!("{flags} -b {}", place.display())).same();
            twin().flags(flags).env("TMPDIR", &place).same();
        }
    }
}

#[test]
fn what_rsync_says_is_passed_on_and_nothing_else_is_said() {
    let work = Work::new();
    small_tree(&work.dir("src"));
    let (_, many) = Twin::new(&work, ["src/", "SIDE/D"]).same();
    assert!(many.stdout.is_empty() && many.stderr.is_empty(), "{}", many.report());
    let _socket = std::os::unix::net::UnixListener::bind(work.join("src/a/socket")).unwrap();
    let (one, many) = Twin::new(&work, ["src/", "SIDE/D"]).options("-rlt").same();
    assert_eq!(one.stdout_text(), many.stdout_text(), "{}", many.report());
}

#[test]
fn the_oracle_of_these_tests_finds_a_planted_difference() {
    let work = Work::new();
    small_tree(&work.dir("src"));
    let twin = Twin::new(&work, ["src/", "SIDE/D"]).prepare(|side| {
        if side.to_string_lossy().contains("many") {
            let mut file = File::create(side.join("more")).unwrap();
            file.write_all(b"more").unwrap();
        }
    });
    let why = twin.difference().expect("a difference is found");
    assert!(why.contains("more: only right"), "{why}");
    let report = verify::compare(&work.join("src"), &twin.many().join("D"), &verify::Options::archive()).unwrap();
    assert!(report.is_same(), "{report}");
}

/// With one process, one rsync does everything, and it does not wait for the scan. Options that need more than that are respected.
#[test]
fn one_process_is_one_rsync_at_once() {
    let more: [&[&str]; 5] = [&["-p", "2"], &["-f", "3"], &["-s", "1K"], &["-b", "runs"], &["--keep"]];
    for options in std::iter::once(&[][..]).chain(more) {
        let work = Work::new();
        small_tree(&work.join("src"));
        work.dir("runs");
        let mut command = multi_sync(&work);
        command.arg("--stats").args(options).args(["src/", "D"]);
        let ran = run(command).expect_code(0);
        let at_once = ran.stdout_text().contains("one process was asked for, and no bucket limit");
        assert_eq!(at_once, options.is_empty(), "{options:?}: {}", ran.report());
        let report = verify::compare(&work.join("src"), &work.join("D"), &verify::Options::default()).unwrap();
        assert_eq!(report.differences, [], "{options:?}");
    }
}

/// Within the usual limits these directories are copied together; with small limits they are split, and a name in a split directory is copied together with
/// them.
#[test]
fn directories_that_share_files_keep_their_links() {
    for options in [&["-p", "2"][..], &["-p", "2", "-f", "200"], &["-p", "3", "-f", "3"]] {
        let work = Work::new();
        treegen::generate(&work.dir("src").join("0"), &Spec::bench(300, Sizes::Uniform { min: 0, max: 99 }), 1)
            .unwrap();
        let farm = "for n in 1 2 3 4; do cp -al src/0 src/$n; done; ln \"$(find src/0 -mindepth 2 -type f | head -n 1)\" src/name";
        run(support::command::sh(&work, farm)).expect_code(0);
        let mut command = multi_sync(&work);
        command.args(["-r", "-aH", "--stats"]).args(options).args(["src/", "D"]);
        let ran = run(command).expect_code(0);
        assert!(ran.stdout_text().contains("Split directories: "), "{options:?}: {}", ran.report());
        let report = verify::compare(&work.join("src"), &work.join("D"), &verify::Options::default()).unwrap();
        assert_eq!(report.differences, [], "{options:?}");
    }
}

/// If the destination already has the split directories, each slot gets one launch; otherwise there are more.
#[test]
fn where_it_seems_to_be_there_each_slot_gets_one_launch() {
    let name = "where_it_seems_to_be_there_each_slot_gets_one_launch";
    if !support::is_root() {
        return support::skip(name, "only root can know that a directory stands as rsync would make it");
    }
    let work = Work::new();
    for number in 0..8 {
        let file = work.file(format!("src/d{number}/f"), "");
        File::options().write(true).open(file).unwrap().set_len(200 << 20).unwrap();
    }
    let mut copy = rsync(&work);
    copy.args(["-aS", "src/", "dest/"]);
    run(copy).expect_code(0);
    work.dir("kept");
    // Launches that copy are in the journal.
    let launches = |dest: &str| {
        let mut many = multi_sync(&work);
        many.args(["-p", "2", "--keep", "--buckets", "kept", "src/", dest]);
        run(many).expect_code(0);
        let run_dir = fs::read_dir(work.join("kept")).unwrap().next().unwrap().unwrap().path();
        let journal = fs::read_to_string(run_dir.join("journal.jsonl")).unwrap();
        fs::remove_dir_all(run_dir).unwrap();
        journal.matches("\"is\":\"started\"").count()
    };
    assert_eq!(launches("dest"), 2);
    assert!(launches("fresh") > 2);
}

/// A small tree is divided into smaller units than others, which is decided only after the complete scan.
#[test]
fn each_name_is_looked_at_once_whatever_the_size_of_the_tree() {
    let work = Work::new();
    if !run(sh(&work, "command -v strace")).status.success() {
        return skip(&this_test(), "no strace");
    }
    run(sh(
        &work,
        "mkdir -p s/a s/b/c; for n in $(seq 100); do echo $n >s/a/f$n; echo $n >s/b/f$n; echo $n >s/b/c/f$n; done",
    ))
    .expect_code(0);
    for limits in [&[][..], &["-f", "20"]] {
        let mut traced = command(&work, "strace");
        traced.args(["-f", "-qq", "-e", "trace=statx", "-o", "trace"]).arg(env!("CARGO_BIN_EXE_multi-sync"));
        traced.args(["-p", "4", "--buckets", ".", "-r", "-a"]).args(limits).args(["s/", "d"]);
        run(traced).expect_code(0);
        let trace = fs::read_to_string(work.join("trace")).unwrap();
        let looks = (1..=100).map(|n| trace.matches(&format!("\"f{n}\"")).count()).sum::<usize>();
        assert_eq!(looks, 300, "{limits:?}");
        fs::remove_dir_all(work.join("d")).unwrap();
    }
}
