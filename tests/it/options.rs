//! Options that have to be understood, not just passed on, in situations that random trees rarely contain: mounts, links that form loops, sources that are
//! removed, groups of names that do not fit the arguments of a process. Each is compared with one rsync.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support;
use crate::support::command::{command, multi_sync, run, run_within, sh};
use crate::support::twin::{Twin, fake_rsync, table};
use crate::support::work::{Work, set_mode};

/// Directories of files, one of them flat and larger than the others.
fn grow(root: &Path) {
    for (dir, count) in [("a", 3), ("a/b", 4), ("flat", 12), ("c", 2)] {
        fs::create_dir_all(root.join(dir)).unwrap();
        for number in 0..count {
            fs::write(root.join(dir).join(format!("f{number}")), format!("{dir} {number}")).unwrap();
        }
    }
    fs::write(root.join("top"), "top").unwrap();
    fs::create_dir_all(root.join("empty")).unwrap();
    old(root);
}

/// Sets old times, beginning with the deepest names.
fn old(root: &Path) {
    let work = Work::new();
    let mut touch = sh(&work, "find \"$1\" -depth -exec touch -h -d '2003-04-05 06:07:08' {} +");
    touch.arg("sh").arg(root);
    run(touch).expect_code(0);
}

/// A file system below a directory, until the end of the test.
struct Mounted(PathBuf);

impl Mounted {
    fn at(work: &Work, dir: &Path) -> Option<Mounted> {
        fs::create_dir_all(dir).unwrap();
        let mut mount = command(work, "mount");
        mount.args(["-t", "tmpfs", "-o", "size=2M", "none"]).arg(dir);
        (support::is_root() && run(mount).status.success()).then(|| Mounted(dir.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let work = Work::new();
        let mut unmount = command(&work, "umount");
        unmount.arg("-l").arg(&self.0);
        run(unmount);
    }
}

/// Each side has a source and a destination, and each of these contains a mount if requested.
fn one_file_system(test: &str, options: &str, in_dest: bool, plain: bool) {
    let work = Work::public();
    let mounts = std::cell::RefCell::new(Vec::new());
    let failed = std::cell::Cell::new(false);
    let twin = Twin::new(&work, ["SIDE/src/", "SIDE/D"]).options(options).flags("-p 3 -f 3 --stats").prepare(|side| {
        let dirs = ["src/a/mount", "src/flat/mount"].into_iter().chain(in_dest.then_some("D/a/kept"));
        for dir in dirs {
            match Mounted::at(&work, &side.join(dir)) {
                Some(mounted) => mounts.borrow_mut().push(mounted),
                None => failed.set(true),
            }
            fs::create_dir_all(side.join(dir).join("below")).unwrap();
            fs::write(side.join(dir).join("below/f"), "on the mount").unwrap();
            set_mode(&side.join(dir), 0o711);
        }
        grow(&side.join("src"));
        fs::create_dir_all(side.join("D/a/extra/deep")).unwrap();
        fs::write(side.join("D/a/extra/deep/f"), "x").unwrap();
        fs::write(side.join("D/flat"), "a file in the way").unwrap();
    });
    let difference = twin.difference();
    if failed.get() {
        return support::skip(test, "cannot mount a small tmpfs");
    }
    assert!(difference.is_none(), "{}", difference.unwrap_or_default());
    let mut again = multi_sync(&work);
    again
        .args(["-p", "3", "-f", "3", "--stats", "-r", options])
        .arg(twin.many().join("src/"))
        .arg(twin.many().join("D"));
    let again = run(again);
    assert_eq!(again.stdout_text().contains("One rsync for everything"), plain, "{}", again.report());
}

#[test]
fn mounts_in_the_source_are_not_entered() {
    one_file_system("mounts_in_the_source_are_not_entered", "-ax --delete", false, false);
}

#[test]
fn a_mount_in_dest_is_protected_from_deletion() {
    one_file_system("a_mount_in_dest_is_protected_from_deletion", "-ax --delete", true, true);
}

#[test]
fn mount_points_are_left_out() {
    one_file_system("mount_points_are_left_out", "-axx", false, false);
}

#[test]
fn links_that_are_followed() {
    let work = Work::public();
    let src = work.dir("src");
    grow(&src);
    let out = work.dir("out");
    grow(&out.join("tree"));
    symlink("a", src.join("to-a")).unwrap();
    symlink("../../out/tree", src.join("c/unsafe")).unwrap();
    symlink("../top", src.join("c/file")).unwrap();
    symlink("to-a", src.join("two-steps")).unwrap();
    old(&src);
    let cases = ["-aL", "-ak", "-a --copy-unsafe-links", "-rltL --delete", "-ak --delete --exclude=f1", "-aL -n -i"];
    table(&cases, |options| {
        let prepare = |side: &Path| {
            fs::create_dir_all(side.join("D/to-a/gone")).unwrap();
            fs::write(side.join("D/two-steps"), "x").unwrap();
        };
        let twin = Twin::new(&work, ["src/", "SIDE/D"]).options(*options).flags("-p 3 -f 3 --stats").prepare(prepare);
        twin.difference().or_else(|| {
            let many = Twin::new(&work, ["src/", "SIDE/D"]).options(*options).flags("-p 3 -f 3 --stats").same().1;
            many.stdout_text().contains("One rsync for everything").then(|| many.report())
        })
    });
}

#[test]
fn a_link_that_leads_round_in_a_circle_ends() {
    let work = Work::public();
    let src = work.dir("src");
    grow(&src);
    symlink(".", src.join("a/b/round")).unwrap();
    old(&src);
    // Too deep for one rsync as well: both report it.
    Twin::new(&work, ["src/", "SIDE/D"]).options("-aL").flags("-p 3 -f 3").same();
}

#[test]
fn a_link_that_leads_nowhere_is_an_error_and_keeps_what_would_be_deleted() {
    let work = Work::public();
    let src = work.dir("src");
    grow(&src);
    symlink("nowhere", src.join("flat/dangling")).unwrap();
    old(&src);
    let prepare = |side: &Path| {
        fs::create_dir_all(side.join("D/flat/extra")).unwrap();
        fs::write(side.join("D/flat/dangling"), "keep me").unwrap();
    };
    for options in ["-aL", "-aL --delete-after", "-aL --delete --ignore-errors", "-rlt -k --delete"] {
        let twin = Twin::new(&work, ["src/", "SIDE/D"]).options(options).flags("-p 3 -f 3").prepare(prepare);
        let (one, _) = twin.same();
        assert_eq!(one.status.code() == Some(23), options.contains('L'), "{}", one.report());
    }
}

#[test]
fn sources_are_removed() {
    let work = Work::public();
    for options in ["-a", "-aH", "-rl", "-a --delete", "-aO", "-a --exclude=f2", "-a -n"] {
        let options = format!("{options} --remove-source-files");
        let twin =
            Twin::new(&work, ["SIDE/src/", "SIDE/D"]).options(&options).flags("-p 3 -f 3 --stats").prepare(|side| {
                grow(&side.join("src"));
                fs::hard_link(side.join("src/a/f0"), side.join("src/flat/link")).unwrap();
                old(&side.join("src"));
                fs::create_dir_all(side.join("D/a/f1/in-the-way")).unwrap();
            });
        let (_, many) = twin.same();
        assert!(!many.stdout_text().contains("One rsync for everything"), "{}", many.report());
    }
}

#[test]
fn a_source_that_a_failed_rsync_has_removed_is_no_failure() {
    let work = Work::public();
    let script = "case \" $* \" in *' ./flat/f0 '*) [ -e \"$0.once\" ] || { : >\"$0.once\"; REAL \"$@\"; exit 12; } ;; esac\nexec REAL \"$@\"";
    grow(&work.join("src"));
    let mut many = multi_sync(&work);
    many.args(["-f", "4", "-r", "-a --remove-source-files", "src/", "D"]);
    fake_rsync(&mut many, &work, script);
    run_within(many, std::time::Duration::from_secs(30)).expect_code(0);
    assert!(work.join("D/flat/f11").exists() && !work.join("src/flat/f11").exists());
}

#[test]
fn missing_sources_that_are_ignored() {
    let work = Work::public();
    grow(&work.join("src"));
    for (sources, options) in [
        (&["src/", "none"][..], "-a --ignore-missing-args"),
        (&["none", "src"], "-a --ignore-missing-args --delete"),
        (&["none"], "-a --ignore-missing-args"),
        (&["none", "no/where"], "-a --ignore-missing-args"),
        (&["src/", "no/where/"], "-a --ignore-missing-args"),
    ] {
        let words: Vec<&str> = sources.iter().copied().chain(["SIDE/D"]).collect();
        Twin::new(&work, words).options(options).same();
    }
}

#[test]
fn several_sources_delete_in_dest_what_none_of_them_has() {
    let work = Work::public();
    for name in ["s", "t", "u"] {
        grow(&work.join(name));
    }
    work.file("alone", "a file");
    old(work.path());
    let prepare = |side: &Path| {
        for path in ["D/t/extra/f", "D/extra/f", "D/alone/in/the/way", "D/u/a/extra", "D/a/extra"] {
            fs::create_dir_all(side.join(path)).unwrap();
        }
    };
    for (sources, options) in [
        (&["s/", "t", "u", "alone"][..], "-a --delete"),
        (&["t", "s/"], "-a --delete-excluded --exclude=extra"),
        (&["t", "u"], "-a --delete"),
        (&["s/", "t"], "-a --delete --exclude=/t"),
        (&["s/", "t", "u"], "-a --delete -n -i"),
    ] {
        let words: Vec<&str> = sources.iter().copied().chain(["SIDE/D"]).collect();
        let twin = Twin::new(&work, words).options(options).flags("-p 3 -f 3 --stats").prepare(prepare);
        let (_, many) = twin.same();
        assert!(!many.stdout_text().contains("One rsync for everything"), "{}", many.report());
    }
}

fn lines(text: &str) -> BTreeSet<&str> {
    let of_the_process = ["sent ", "total size is ", "sending incremental", "building file list"];
    text.lines()
        .filter(|line| !line.is_empty() && !of_the_process.iter().any(|begin| line.starts_with(begin)))
        .collect()
}

#[test]
fn a_dry_run_says_what_one_would_say_and_touches_nothing() {
    let work = Work::public();
    grow(&work.join("src"));
    let full = |side: &Path| {
        fs::create_dir_all(side.join("D/flat/extra/deep")).unwrap();
        fs::write(side.join("D/a"), "a file in the way").unwrap();
        fs::write(side.join("D/c"), "a file in the way").unwrap();
        fs::write(side.join("D/old"), "x").unwrap();
    };
    let empty = |_: &Path| {};
    type Prepare<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Prepare); 5] = [
        ("-a -n -i", &full),
        ("-a -n -i --delete", &full),
        ("-a -n -v --delete", &empty),
        ("-a -n -i --exclude=/a", &empty),
        ("-rl -n -i --delete-after --force", &full),
    ];
    for (options, prepare) in cases {
        let twin = || Twin::new(&work, ["src/", "SIDE/D"]).options(options).prepare(prepare);
        let (one, many) = twin().flags("-p 3 -f 3").same();
        let (one, many) = (one.stdout_text(), many.stdout_text());
        let side = |text: &str| text.replace("one", "SIDE").replace("many", "SIDE");
        let strip = |text: &str| side(text).chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        assert_eq!(lines(&strip(&one)), lines(&strip(&many)), "{options}");
        let stats = twin().flags("-p 3 -f 3 --stats").same().1;
        assert!(!stats.stdout_text().contains("One rsync for everything"), "{}", stats.report());
    }
}

/// One file with more names than fit into the arguments of a process.
#[test]
fn a_group_of_names_that_no_process_can_take() {
    let work = Work::on_tmpfs().unwrap_or_else(Work::public);
    let src = work.dir("src");
    let name = |number: u32| format!("d{}/{}{number}", number % 7, "long-name-of-a-link-".repeat(9));
    (0..7).for_each(|number| fs::create_dir_all(src.join(format!("d{number}"))).unwrap());
    fs::write(src.join(name(0)), "content").unwrap();
    (1..14_000).for_each(|number| fs::hard_link(src.join(name(0)), src.join(name(number))).unwrap());
    fs::write(src.join("rules"), "- nothing-of-this-name\n").unwrap();
    old(&src);
    for options in ["-aH", "-aH --exclude-from=src/rules"] {
        let _ = fs::remove_dir_all(work.join("D"));
        let mut many = multi_sync(&work);
        many.args(["-p", "2", "-f", "100", "-r", options, "src/", "D"]);
        // The limit of arguments is a quarter of this.
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -s 8192; exec \"$@\"", "sh"]).arg(many.get_program()).args(many.get_args());
        limited.current_dir(work.path());
        run_within(limited, std::time::Duration::from_secs(60)).expect_code(0);
        let copied = fs::metadata(work.join("D").join(name(13_999))).unwrap();
        assert_eq!(copied.nlink(), 14_000, "{options}");
    }
}

#[test]
fn a_number_of_processes_that_is_found() {
    let work = Work::public();
    grow(&work.join("src"));
    for flags in ["-p auto", "-p auto -f 2 --stats"] {
        let (_, many) = Twin::new(&work, ["src/", "SIDE/D"]).options("-a").flags(flags).same();
        assert!(many.stderr_text().contains("finding the best number of rsyncs, at most "), "{}", many.report());
    }
    // multi-sync begins with two rsyncs. Those with buckets wait until there are three, as if they were slow.
    let mut many = multi_sync(&work);
    many.args(["-p", "auto", "-f", "2", "--stats", "-r", "-a", "src/", "D"]);
    let begun = work.dir("begun");
    let script = r#"case " $* " in *' --no-implied-dirs '*)
        echo >BEGUN/$$; n=0
        until [ "$(ls BEGUN | wc -l)" -ge 3 ] || [ $n = 150 ]; do sleep 0.1; n=$((n + 1)); done; [ $n != 150 ] || exit 20 ;;
    esac
    exec REAL "$@""#;
    fake_rsync(&mut many, &work, &script.replace("BEGUN", begun.to_str().unwrap()));
    let ran = run_within(many, std::time::Duration::from_secs(60)).expect_code(0);
    let text = ran.stdout_text();
    let workers = text.lines().find_map(|line| line.strip_prefix("Rsync workers: "));
    let (end, most) = workers.and_then(|line| line.split_once(" in the end, at most ")).expect("the number of workers");
    let (end, most): (u32, u32) = (end.parse().unwrap(), most.parse().unwrap());
    assert!((3..=most).contains(&end), "{}", ran.report());
    assert!(ran.stderr_text().contains(&format!("at most {most}\n")), "{}", ran.report());
}

/// With --fuzzy an rsync may choose a temporary file of another rsync as the basis, which is gone a moment later.
#[test]
fn names_of_one_directory_are_copied_by_one_rsync_with_fuzzy() {
    let work = Work::new();
    for number in 0..40 {
        work.file(format!("src/d/report-2024-{number}.txt"), vec![number; 3000]);
    }
    work.file("src/other/f", "");
    work.file("dest/d/report-2023-1.txt", vec![7; 3000]);
    let mut command = multi_sync(&work);
    command.args(["-p", "4", "-f", "5", "-r", "-a --fuzzy", "src/", "dest/"]);
    let log = work.join("launches");
    fake_rsync(&mut command, &work, &format!("echo \"$*\" >>'{}'\nexec REAL \"$@\"", log.display()));
    let ran = run(command).expect_code(0);
    let launches = std::fs::read_to_string(&log).unwrap();
    let writing = launches.lines().filter(|line| line.contains("report-2024-")).count();
    ran.expect(writing == 1, &format!("{writing} write into one directory:\n{launches}"));
    assert_eq!(std::fs::read(work.join("dest/d/report-2024-39.txt")).unwrap(), vec![39; 3000]);
}

#[test]
fn what_rsync_says_before_its_version_is_not_taken_for_it() {
    let work = Work::new();
    work.file("src/version 9.8.7", "");
    let mut many = multi_sync(&work);
    many.args(["-p", "2", "-r", "-r --debug=FILTER1 '--exclude=- version 1.2.3 '", "src/", "D"]);
    run(many).expect_code(0);
    assert!(work.join("D/version 9.8.7").exists());
}

#[test]
fn absolute_names_are_printed_with_their_slash() {
    let work = Work::new();
    grow(&work.join("src"));
    let (src, odd) = (work.join("src"), work.join("o dd"));
    grow(&odd);
    let sorted = |text: String| {
        let sums = |line: &&str| {
            !["sending incremental ", "sent ", "total size is "].iter().any(|begin| line.starts_with(begin))
        };
        // Other tests change the time of the directories above.
        let above = |line: &&str| {
            let mut dirs = work.path().ancestors().skip(1).map(|dir| format!("{}/", dir.display()));
            dirs.any(|dir| *line == dir || line.ends_with(&format!(" {dir}")))
        };
        let lines = text.lines().filter(|line| !line.is_empty() && !above(line)).filter(sums);
        lines.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    for (options, source, several) in [
        ("-aRv", &src, true),
        ("-aRi --no-implied-dirs --delete", &src, true),
        ("-aRvi", &odd, false),
        ("-aR --out-format=%n", &src, false),
    ] {
        let below = work.dir("D").join(source.strip_prefix("/").unwrap());
        let mut printed = [&["rsync"][..], &["-p", "2", "-f", "3", "rsync"]].map(|words| {
            fs::remove_dir_all(work.join("D")).unwrap();
            fs::create_dir_all(below.join("a")).unwrap();
            fs::write(below.join("a/extra"), "").unwrap();
            let mut copies = if words.len() == 1 { command(&work, "rsync") } else { multi_sync(&work) };
            copies.args(&words[usize::from(words.len() == 1)..]).args(options.split(' ')).arg(source).arg("D/");
            run(copies).expect_code(0)
        });
        let [one, many] = printed.each_mut().map(|ran| ran.stdout_text());
        assert_eq!(sorted(many), sorted(one), "{options}");
        // multi-sync prints the reason only if several rsyncs were requested.
        let mut counts = multi_sync(&work);
        counts.args(["-p", "2", "-f", "3", "--stats", "-r", options]).arg(source).arg("D/");
        let told = run(counts).expect_code(0).stderr_text();
        assert_eq!(!told.contains("printed with their leading slash"), several, "{options}: {told}");
    }
}
