//! What reaches the user: both streams and the log file have the lines of one rsync, and nothing that multi-sync asks for itself.

mod lab;

use std::process::Command;

use lab::command::{Run, multi_sync, rsync, run, sh};
use lab::twin::fake_rsync;
use lab::work::Work;

/// Four directories of five files.
fn tree(work: &Work, name: &str) {
    for dir in ["a", "b", "c", "d/e"] {
        for file in 1..=5 {
            work.file(format!("{name}/{dir}/f{file}"), format!("{dir} {file}\n"));
        }
    }
}

/// `s` copied to `D` by one rsync, in a folder of its own, and by several.
fn both(work: &Work, options: &str, words: &[&str]) -> (Run, Run) {
    let mut one = rsync(work);
    one.args(options.split(' ')).args(words);
    (run(beside(work, "one", one)), run(beside(work, "many", several(work, options, words))))
}

fn several(work: &Work, options: &str, words: &[&str]) -> Command {
    let mut command = multi_sync(work);
    command.args(["-p", "3", "-f", "5", "-r", options]).args(words);
    command
}

fn beside(work: &Work, side: &str, mut command: Command) -> Command {
    command.current_dir(work.dir(side));
    command
}

/// Lines in any order, without the name of the side.
fn sorted(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes).replace("/one/", "/SIDE/").replace("/many/", "/SIDE/");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn paths_from_where_rsync_was_started_are_those_of_one() {
    let work = Work::new();
    tree(&work, "s");
    for options in ["-a --out-format=%f", "-a --out-format=%i:%-20f"] {
        let (one, many) = both(&work, options, &["../s/", "D/"]);
        assert_eq!(sorted(&one.stdout), sorted(&many.stdout), "{options}");
        run(sh(&work, "rm -r one many")).expect_code(0);
    }
    let (_, many) = both(&work, "-a --log-file=log --log-file-format=%f", &["../s/", "D/"]);
    assert!(many.stderr_text().contains("%f is printed as a path"), "{}", many.report());
    let (_, many) = both(&work, "-a --out-format=%n%%f", &["../s/", "D/"]);
    many.expect_code(0);
}

#[test]
fn what_every_launch_warns_of_is_told_once() {
    let work = Work::new();
    tree(&work, "s");
    for options in ["-a --link-dest=../none"] {
        let (one, many) = both(&work, options, &["../s/", "D/"]);
        assert_eq!(
            (one.status.code(), sorted(&one.stderr)),
            (many.status.code(), sorted(&many.stderr)),
            "{}",
            many.report()
        );
        assert!(!one.stderr.is_empty());
    }
}

#[test]
fn trouble_that_was_overcome_has_a_closing_line() {
    let work = Work::new();
    tree(&work, "s");
    let script = format!(
        "case \"$*\" in *./a/*) [ -e {0}/failed ] || {{ : >{0}/failed; exit 30; }} ;; esac\nexec REAL \"$@\"",
        work.path().display()
    );
    let mut command = several(&work, "-a", &["s/", "many/"]);
    fake_rsync(&mut command, &work, &script);
    let ran = run(command).expect_code(0);
    let last = ran.stderr_text().lines().last().unwrap_or_default().to_owned();
    assert_eq!(last, "multi-sync: everything was copied; 1 launch had to be tried again", "{}", ran.report());
    assert_eq!(run(several(&work, "-a", &["s/", "other/"])).stderr_text(), "");
}
