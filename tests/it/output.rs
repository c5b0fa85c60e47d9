//! The output for the user: both streams and the log file have the lines of one rsync, and nothing that multi-sync requests for itself.

use std::fs;
use std::process::Command;

use crate::support;
use crate::support::command::{Run, multi_sync, rsync, run, sh};
use crate::support::sshd::Sshd;
use crate::support::twin::{fake_rsync, table};
use crate::support::work::Work;

/// Four directories of five files.
fn tree(work: &Work, name: &str) {
    for dir in ["a", "b", "c", "d/e"] {
        for file in 1..=5 {
            work.file(format!("{name}/{dir}/f{file}"), format!("{dir} {file}\n"));
        }
    }
}

/// Copies `s` to `D` with one rsync, in a folder of its own, and with several.
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

/// The sorted lines, without the name of the side.
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
    assert!(many.stderr_text().contains("%f prints paths"), "{}", many.report());
    let (_, many) = both(&work, "-a --out-format=%n%%f", &["../s/", "D/"]);
    many.expect_code(0);
}

#[test]
fn what_every_launch_warns_of_is_told_once() {
    let work = Work::new();
    tree(&work, "s");
    for options in ["-a --link-dest=../none", "-a --log-file=none/such/log"] {
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
    assert_eq!(last, "multi-sync: everything was copied; 1 rsync had to be retried", "{}", ran.report());
    assert_eq!(run(several(&work, "-a", &["s/", "other/"])).stderr_text(), "");
}

/// Replaces what differs from one run of rsync to the next.
fn steady(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("/one/", "/SIDE/").replace("/many/", "/SIDE/");
    let lines = text.split_inclusive(['\n', '\r']).map(|line| {
        let end = if line.ends_with('\r') { "\r" } else { "\n" };
        let kept = ["sent ", "File list ", "Total bytes "].into_iter().find(|begin| line.starts_with(begin));
        if let Some((size, _)) = line.split_once("  speedup") {
            return format!("{size}{end}");
        }
        if let Some(begin) = kept {
            return format!("{begin}{end}");
        }
        match line.split_once('%') {
            // The rate and the time.
            Some((bytes, rest)) if rest.contains("B/s") => format!("{bytes}{}{end}", rest.trim().ends_with(')')),
            _ => line.to_owned(),
        }
    });
    lines.collect()
}

#[test]
fn what_one_rsync_does_for_all_is_printed_as_it_prints_it() {
    let work = Work::new();
    tree(&work, "s");
    work.file("s/large", vec![b'x'; 300_000]);
    let with_log = "-av --log-file=log";
    for options in [
        "-av",
        "-avv",
        "-ah --stats",
        "-aP",
        "-av --progress",
        "-a --info=progress2",
        "-aq --stats",
        "-avn --stats",
        "-aqv",
        "-a --info=name,del,stats2,flist2",
        "-vrn --list-only",
        "-avz --no-h --stats",
        with_log,
    ] {
        let mut one = rsync(&work);
        one.args(options.split(' ')).args(["../s/", "D/"]);
        let mut plain = multi_sync(&work);
        plain.args(["-r", options, "../s/", "D/"]);
        let (one, plain) = (run(beside(&work, "one", one)), run(beside(&work, "many", plain)));
        assert_eq!(steady(&one.stdout), steady(&plain.stdout), "{options}\n{}\n{}", one.report(), plain.report());
        assert_eq!(one.stderr_text(), plain.stderr_text(), "{options}");
        if options == with_log {
            let log = |side: &str| {
                let text = fs::read_to_string(work.join(side).join("log")).unwrap();
                let lines = text.lines().map(|line| line.split_once("] ").unwrap().1.to_owned());
                lines.filter(|line| !line.starts_with("sent ")).collect::<Vec<_>>()
            };
            assert_eq!(log("one"), log("many"));
        }
        run(sh(&work, "rm -r one many")).expect_code(0);
    }
}

/// Statistics that multi-sync requests for itself are not shown, and those that the user requests are.
#[test]
fn statistics_of_our_own_leave_the_lines_of_rsync_alone() {
    let work = Work::new();
    tree(&work, "s");
    for options in ["-a", "-av", "-ah --stats", "-aq", "-av --info=stats2", "-avh"] {
        let mut one = rsync(&work);
        one.args(options.split(' ')).args(["../s/", "D/"]);
        let mut plain = multi_sync(&work);
        plain.args(["--stats", "-r", options, "../s/", "D/"]);
        let (one, plain) = (run(beside(&work, "one", one)), run(beside(&work, "many", plain)));
        let said = steady(&plain.stdout);
        let (rsyncs, ours) = said.split_once("Status: ").unwrap_or_else(|| panic!("{}", plain.report()));
        assert_eq!(steady(&one.stdout), rsyncs, "{options}\n{}", plain.report());
        assert_eq!(ours.contains("Number of regular files transferred: 20\n"), !options.contains('h'), "{ours}");
        run(sh(&work, "rm -r one many")).expect_code(0);
    }
}

/// A destination with some entries that are up to date, some that differ, and some extraneous ones.
fn used(work: &Work, name: &str) {
    run(sh(work, &format!("mkdir -p {name} && cp -a s/b {name}/"))).expect_code(0);
    work.file(format!("{name}/a/f1"), "older");
    work.file(format!("{name}/a/extra/f"), "too much");
    work.file(format!("{name}/extra"), "too much");
    // Otherwise it would depend on the second whether they have the time of the source.
    run(sh(work, &format!("find {name} -exec touch -h -d 2001-02-03 {{}} +; cp -a s/b {name}/"))).expect_code(0);
}

fn all_lines(bytes: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = steady(bytes).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Command lines from manuals and forums, and which outputs are compared.
const USUAL: [(&str, &str); 18] = [
    ("-av", "SRC/s/"),
    ("-avz", "SRC/s"),
    ("-avh --stats", "SRC/s/"),
    ("-aAXv --exclude=f3", "SRC/s/"),
    ("-avn --delete", "SRC/s/"),
    ("-ai --link-dest=../previous", "SRC/s/"),
    ("-rltvi", "SRC/s/"),
    ("-a --info=name,del,stats2", "SRC/s/"),
    ("-aq", "SRC/s/"),
    ("-avR", "SRC/./s/a SRC/./s/d"),
    ("-a --stats --delete", "SRC/s/"),
    ("-avn --stats --delete --no-h", "SRC/s/"),
    ("-ahh --stats --delete-after -v", "SRC/s/"),
    ("-av --stats", "SRC/s/a SRC/s/b SRC/s/d"),
    ("-aRn --stats", "SRC/./s/a SRC/./s/d"),
    ("-av --delay-updates", "SRC/s/"),
    ("-aq --stats -v", "SRC/s/"),
    ("-avb --out-format=%i_%n_%l_%B_%o", "SRC/s"),
];

/// Compares both streams as sets of lines, and the exit code; `to` is the prefix of DEST.
fn usual_lines(work: &Work, to: &str, rsh: Option<&str>) {
    tree(work, "s");
    std::os::unix::fs::symlink("f1", work.join("s/a/link")).unwrap();
    let numbered: Vec<_> = USUAL.iter().enumerate().collect();
    table(&numbered, |(number, (options, sources))| {
        let path = work.path().display().to_string();
        let sources: Vec<String> = sources.split(' ').map(|word| word.replace("SRC", &path)).collect();
        let sides = [format!("one{number}"), format!("many{number}")].map(|side| {
            used(work, &format!("{side}/D"));
            used(work, &format!("{side}/previous"));
            let mut command = if side.starts_with("one") { rsync(work) } else { multi_sync(work) };
            if side.starts_with("one") {
                command.args(options.split(' '));
            } else {
                command.args(["-p", "3", "-f", "5", "-r", options]);
            }
            command.args(&sources).arg(format!("{to}{path}/{side}/D/"));
            command.current_dir(work.join(&side));
            command.envs(rsh.map(|rsh| ("RSYNC_RSH", rsh)));
            run(command)
        });
        let [one, many] = sides;
        let notes = |line: &String| line.starts_with("multi-sync: one rsync does it all");
        let mut complaints = all_lines(&many.stderr);
        complaints.retain(|line| !notes(line));
        let same = all_lines(&one.stdout) == all_lines(&many.stdout)
            && all_lines(&one.stderr) == complaints
            && one.status.code() == many.status.code();
        (!same).then(|| format!("{options}\n{}\n{}", one.report(), many.report()))
    });
}

#[test]
fn usual_command_lines_print_the_lines_of_one_rsync() {
    let work = Work::new();
    usual_lines(&work, "", None);
}

#[test]
fn usual_command_lines_print_the_same_through_ssh() {
    let sshd = match Sshd::start() {
        Ok(sshd) => sshd,
        Err(why) => return support::skip("usual_command_lines_print_the_same_through_ssh", &why),
    };
    let work = Work::new();
    usual_lines(&work, &format!("{}:", sshd.host()), Some(&sshd.rsh()));
}

#[test]
fn a_log_file_has_the_lines_of_one_rsync() {
    let work = Work::new();
    tree(&work, "s");
    for options in [
        "-a --log-file=log",
        "-av --stats --delete --log-file=log",
        "-an --delete --log-file=log",
        "-ai --log-file=log --log-file-format=%o_%n",
    ] {
        used(&work, "one/D");
        used(&work, "many/D");
        both(&work, options, &["../s/", "D/"]);
        let log = |side: &str| {
            let text = fs::read_to_string(work.join(side).join("log")).unwrap();
            let lines = text.lines().map(|line| line.split_once("] ").unwrap_or(("", line)).1);
            all_lines(lines.collect::<Vec<_>>().join("\n").as_bytes())
        };
        assert_eq!(log("one"), log("many"), "{options}");
        run(sh(&work, "rm -r one many")).expect_code(0);
    }
}

/// With --progress, names are printed as rsync prints them, and the progress goes to standard error.
#[test]
fn progress_shows_names_where_rsync_does() {
    let work = Work::new();
    tree(&work, "s");
    for (options, names) in [("-aP", true), ("-a --progress", true), ("-a --info=progress2", false), ("-aqP", false)] {
        let (one, many) = both(&work, options, &["../s/", "D/"]);
        let no_bytes = |line: &String| !line.contains('%') && !line.is_empty();
        let shown = |run: &Run| sorted(&run.stdout).into_iter().filter(no_bytes).collect::<Vec<_>>();
        assert_eq!(shown(&one), shown(&many), "{options}");
        assert_eq!(shown(&many).iter().any(|line| line == "a/f1"), names, "{}", many.report());
        run(sh(&work, "rm -r one many")).expect_code(0);
    }
}
