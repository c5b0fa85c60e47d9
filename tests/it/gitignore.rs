//! `--gitignore`: ignored entries are not copied, everything else is, and combinations that are impossible are refused.
//!
//! The reference is one rsync with the same rules as filter rules. Both have the same meaning as long as no rule cancels another one.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support;
use crate::support::command::{as_nobody, multi_sync, rsync, run};
use crate::support::twin::snapshot;
use crate::support::work::Work;
use multi_sync::harness::treegen::{self, Sizes, Spec};
use multi_sync::harness::verify::{Options, compare};

const RULES: &str = "--filter=:- .gitignore";

/// Rules in some directories, including the root; most subtrees contain nothing that is ignored.
fn tree(top: &Path) {
    treegen::generate(top, &Spec { files_percent: 80, ..Spec::bench(1500, Sizes::Uniform { min: 0, max: 2000 }) }, 7)
        .unwrap();
    fs::write(top.join(".gitignore"), "*7\n/d131/\nnone\n").unwrap();
    let mut dirs: Vec<PathBuf> = fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.retain(|path| path.is_dir());
    dirs.sort();
    assert!(dirs.len() >= 6);
    for (dir, rules) in dirs.iter().zip(["f1*\n", "*\n", "# nothing\n", "/f2*\nd3*/\n"]) {
        fs::write(dir.join(".gitignore"), rules).unwrap();
    }
}

#[test]
fn a_copy_is_that_of_one_rsync_with_these_rules() {
    let work = Work::public();
    tree(&work.join("src"));
    let mut one = rsync(&work);
    one.args(["-aS", "--numeric-ids", RULES, "src/", "one"]);
    run(one).expect_code(0);
    for (number, flags) in ["-p 1", "-p 2", "-p 4 -f 5", "-p 3 -f 100 --scan-threads 8"].into_iter().enumerate() {
        let dest = format!("many{number}");
        // The second time there is nothing to do.
        for _ in 0..2 {
            let mut many = multi_sync(&work);
            many.args(flags.split(' ')).args(["--gitignore", "src/", &dest]);
            let ran = run(many).expect_code(0);
            let report = compare(&work.join("one"), &work.join(&dest), &Options::archive()).unwrap();
            assert!(report.is_same() && report.entries > 300, "{report}\n{}", ran.report());
        }
    }
}

/// The directories were split, and no bucket needs them.
#[test]
fn directories_of_which_everything_is_ignored_are_made() {
    let work = Work::public();
    for number in 0..50 {
        work.file(format!("src/a/b/f{number}.o"), "");
    }
    work.file("src/.gitignore", "*.o\n.gitignore\n");
    let mut one = rsync(&work);
    one.args(["-a", RULES, "src/", "one"]);
    run(one).expect_code(0);
    let mut many = multi_sync(&work);
    many.args(["-p", "3", "-f", "5", "-r", "-a", "--gitignore", "src/", "many"]);
    let ran = run(many).expect_code(0);
    let report = compare(&work.join("one"), &work.join("many"), &Options::archive()).unwrap();
    assert!(report.is_same() && work.join("many/a/b").is_dir(), "{report}\n{}", ran.report());
}

#[test]
fn rules_of_rsync_and_other_options_hold_as_well() {
    let work = Work::new();
    tree(&work.join("src"));
    let mut files = files_below(&work.join("src"));
    files.sort();
    for pair in files.chunks(40).filter(|pair| pair.len() > 20) {
        let link = pair[20].with_file_name("linked");
        fs::hard_link(&pair[0], link).unwrap();
    }
    // Without --perms it is refused for users other than root, because directories without u+rwx would have to stay whole.
    let few = if support::is_root() { "-rlt" } else { "-rltp" };
    for (number, options) in
        ["-aS --exclude=f3*", "-aH", "-aH --exclude=d2 -x", "-aS --delay-updates", few].into_iter().enumerate()
    {
        let (one, many) = (format!("one{number}"), format!("many{number}"));
        let mut plain = rsync(&work);
        plain.args(options.split(' ')).args([RULES, "src/", &one]);
        run(plain).expect_code(0);
        let mut copy = multi_sync(&work);
        copy.args(["-p", "3", "-f", "20", "--gitignore", "-r", options, "src/", &many]);
        let ran = run(copy).expect_code(0);
        let report = compare(&work.join(&one), &work.join(&many), &Options::archive()).unwrap();
        assert!(report.is_same() && report.entries > 200, "{options}: {report}\n{}", ran.report());
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn a_normal_user_gets_the_same() {
    let work = Work::public();
    tree(&work.join("src"));
    work.dir_for_nobody("nobody");
    let mut one = rsync(&work);
    one.args(["-aS", RULES, "src/", "nobody/one"]);
    run(as_nobody(&work, one)).expect_code(0);
    let mut many = multi_sync(&work);
    many.args(["-p", "2", "-f", "50", "--gitignore", "-r", "-aS", "src/", "nobody/many"]);
    let ran = run(as_nobody(&work, many)).expect_code(0);
    let report = compare(&work.join("nobody/one"), &work.join("nobody/many"), &Options::archive()).unwrap();
    assert!(report.is_same() && report.entries > 300, "{report}\n{}", ran.report());
}

#[test]
fn a_small_tree_is_not_left_to_one_rsync_that_knows_no_rules() {
    let work = Work::new();
    for file in ["src/a", "src/a.o", "src/sub/b", "src/sub/out/c", "src/clean/d"] {
        work.file(file, file);
    }
    work.file("src/.gitignore", "*.o\nout/\n");
    work.file("dest/a.o", "of the destination");
    let mut copy = multi_sync(&work);
    copy.args(["--gitignore", "--stats", "src/", "dest"]);
    run(copy).expect_code(0);
    let there = ["a", "sub/b", "clean/d", ".gitignore"];
    assert!(there.iter().all(|file| work.join("dest").join(file).exists()));
    assert!(!work.join("dest/sub/out").exists());
    assert_eq!(fs::read_to_string(work.join("dest/a.o")).unwrap(), "of the destination");
    // If nothing is ignored, one rsync does everything.
    let mut copy = multi_sync(&work);
    copy.args(["--gitignore", "--stats", "src/clean/", "clean"]);
    assert!(run(copy).expect_code(0).stdout_text().contains("too small for several rsyncs"));
}

#[test]
fn a_dry_run_tells_what_would_be_copied() {
    let work = Work::new();
    tree(&work.join("src"));
    let mut look = multi_sync(&work);
    look.args(["--gitignore", "-d", "--stats", "src/", "dest"]);
    let found = run(look).expect_code(0).stdout_text();
    let mut copy = rsync(&work);
    copy.args(["-aSn", "--stats", RULES, "src/", "dest"]);
    let expected = run(copy).expect_code(0).stdout_text();
    let figure = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line.split(' ').next().unwrap().replace(',', "")
    };
    assert_eq!(figure(&found, "Total entries: "), figure(&expected, "Number of files: "));
}

#[test]
fn what_would_copy_or_delete_what_is_ignored_is_refused() {
    let work = Work::public();
    for file in ["src/a", "src/a.o", "file"] {
        work.file(file, file);
    }
    work.file("src/.gitignore", "*.o");
    let refused = [
        ("-a --delete", "src/", "--delete"),
        ("-a --delete-after", "src/", "--delete"),
        ("-aF", "src/", "filter rules"),
        ("-aC", "src/", "filter rules"),
        ("-aL", "src/", "link"),
        ("-ak", "src/", "link"),
        ("-am", "src/", "one rsync"),
        ("-a", "file", "single file"),
    ];
    for (options, source, why) in refused {
        let mut copy = multi_sync(&work);
        copy.args(["--gitignore", "-r", options, source, "dest"]);
        let before = snapshot(work.path());
        let ran = run(copy).expect_code(1);
        let said = ran.stderr_text();
        assert!(said.contains("--gitignore") && said.contains(why) && said.contains("to do: "), "{}", ran.report());
        assert_eq!(snapshot(work.path()), before, "{}", ran.report());
    }
    work.dir_for_nobody("nobody");
    let mut copy = multi_sync(&work);
    copy.args(["--gitignore", "-r", "-rlt", "src/", "nobody/D"]);
    let ran = run(as_nobody(&work, copy)).expect_code(1);
    assert!(ran.stderr_text().contains("--perms"), "{}", ran.report());
}
