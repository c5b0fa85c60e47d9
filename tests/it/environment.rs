//! What rsync reads besides its arguments, and from where: streams in place of files, standard input, the working directory, popt's files, the locale. The
//! result is always that of one rsync started in the user's directory.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::support;
use crate::support::command::{Run, Signal, multi_sync, rsync, run, sh, start};
use crate::support::twin::fake_rsync;
use crate::support::work::{Work, set_mode};

const LIMIT: Duration = Duration::from_secs(20);

/// Four directories of files; each contains a file called `skip`.
fn grow(root: &Path) {
    for dir in ["a", "b", "c", "d"] {
        fs::create_dir_all(root.join(dir).join("skip")).unwrap();
        for number in 0..6 {
            fs::write(root.join(dir).join(format!("f{number}")), dir).unwrap();
        }
        fs::write(root.join(dir).join("skip/secret"), dir).unwrap();
    }
}

fn names(root: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            names.insert(entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned());
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
        }
    }
    names
}

/// A script in which `$MS` copies with several rsyncs.
fn script(work: &Work, text: &str) -> Run {
    let text = format!("MS=\"{} -p 3 -f 4\"\n{text}", env!("CARGO_BIN_EXE_multi-sync"));
    let mut command = support::command::command(work, "bash");
    command.arg("-c").arg(text);
    run(command)
}

fn program(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    set_mode(path, 0o755);
}

#[test]
fn rules_from_a_stream_count_for_every_rsync() {
    let work = Work::new();
    grow(&work.join("s"));
    std::os::unix::fs::symlink("/dev/fd/3", work.join("link")).unwrap();
    for (number, text) in [
        "echo skip | $MS -r '-a --delete --exclude-from=-' s/ D",
        "echo '- skip' | $MS -r \"-a --delete -f 'merge -'\" s/ D",
        "echo skip | $MS -r \"-a --delete --filter='merge,- /dev/stdin'\" s/ D",
        "$MS -r '-a --delete --exclude-from=link' s/ D 3< <(echo skip)",
        "mkfifo fifo; (echo skip >fifo) & $MS -r \"-a --delete -f '.n- fifo'\" s/ D",
        "$MS -r \"-a --delete --include-from=\"<(echo '- skip') s/ D",
        "echo skip | $MS -r '-a --delete --exclude-from=- --exclude-from=-' s/ D",
    ]
    .into_iter()
    .enumerate()
    {
        // Entries that the rules protect stay.
        let dest = format!("D{number}");
        fs::create_dir_all(work.join(&dest).join("a/skip/kept")).unwrap();
        fs::create_dir_all(work.join(&dest).join("a/extra")).unwrap();
        let copied = script(&work, &text.replace("s/ D", &format!("s/ {dest}"))).expect_code(0);
        let found = names(&work.join(&dest));
        let plain = copied.stderr_text().contains("one rsync does it all");
        copied.expect(
            !plain && found.contains("a/skip/kept") && !found.contains("a/extra"),
            &format!("{text}: {found:?}"),
        );
        assert!(found.contains("d/f5") && !found.iter().any(|name| name.ends_with("secret")), "{text}: {found:?}");
    }
    assert_eq!(names(&work.join("tmp")), BTreeSet::new());
}

#[test]
fn a_list_may_come_from_standard_input() {
    let work = Work::new();
    grow(&work.join("s"));
    script(&work, "printf 'a/f1\\nb\\n' | $MS -r '-a --files-from=-' s/ D").expect_code(0);
    let found = names(&work.join("D"));
    assert_eq!(found, ["a", "a/f1", "b"].map(String::from).into());
    // rsync fails with this exit code.
    let twice = script(&work, "echo a | $MS -r '-a --files-from=- --exclude-from=-' s/ E").expect_code(1);
    twice.expect(!work.join("E").exists(), "nothing is copied");
    let hosts =
        script(&work, "echo a | $MS -m many-to-one --hosts nobody -r '-a --exclude-from=-' s/ E").expect_code(1);
    let said = hosts.stderr_text();
    hosts.expect(said.contains("which the hosts cannot read"), "it is said");
}

#[test]
fn a_run_that_goes_on_has_what_came_from_a_stream() {
    let work = Work::new();
    grow(&work.join("s"));
    fs::create_dir(work.join("runs")).unwrap();
    let mut first = multi_sync(&work);
    fake_rsync(
        &mut first,
        &work,
        &format!(
            "case \"$* \" in *' --stats '*) [ -e {}/go ] || exit 14 ;; esac\nexec REAL \"$@\"",
            work.path().display()
        ),
    );
    let path = first.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
    let mut begun = sh(&work, "echo skip | \"$0\" -p 2 -f 4 --retries 0 -b runs -r '-a --exclude-from=-' s/ D");
    begun.arg(env!("CARGO_BIN_EXE_multi-sync")).env("PATH", &path);
    run(begun).expect_code(14);
    fs::write(work.join("go"), "").unwrap();
    let dir = fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path();
    let mut resumed = multi_sync(&work);
    resumed.arg("--resume").arg(&dir).env("PATH", path);
    run(resumed).expect_code(0);
    let found = names(&work.join("D"));
    assert!(found.contains("d/f5") && !found.iter().any(|name| name.ends_with("skip")), "{found:?}");
}

#[test]
fn a_stream_that_nobody_writes_is_waited_for_until_it_is_interrupted() {
    let work = Work::new();
    grow(&work.join("s"));
    run(sh(&work, "mkfifo fifo")).expect_code(0);
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-r", "-a --exclude-from=fifo", "s/", "D"]);
    let mut started = start(command);
    started.wait_for("word of what is waited for", LIMIT, |started| {
        String::from_utf8_lossy(&started.stderr_so_far()).contains("fifo (--exclude-from)")
    });
    started.signal(Signal::INT);
    started.finish(LIMIT).expect_code(20);
    assert!(!work.join("D").exists());
    assert_eq!(names(&work.join("tmp")), BTreeSet::new());
}

#[test]
fn programs_are_those_of_the_user_and_not_of_the_source() {
    let work = Work::new();
    let (source, cwd) = (work.join("s"), work.dir("it's here"));
    grow(&source);
    for (dir, mark) in [(&source, "evil"), (&cwd, "own")] {
        program(&dir.join("prog"), &format!("pwd -P >{}/{mark}; exit 1", work.path().display()));
        program(&dir.join("ssh"), &format!("pwd -P >{}/{mark}; exit 1", work.path().display()));
        program(&dir.join("rsync"), &format!("pwd -P >{}/{mark}; exit 1", work.path().display()));
    }
    // An ssh that reports in which directory it was started, because it resolves the names in its configuration there.
    program(&work.dir("bin").join("ssh"), &format!("pwd -P >{}/own; exit 1", work.path().display()));
    let bin = work.join("bin").display().to_string() + ":" + &std::env::var("PATH").unwrap();
    for (name, value, options, dest) in [
        ("RSYNC_CONNECT_PROG", "./prog".to_owned(), "-a", "rsync://h/m/"),
        ("RSYNC_RSH", "./prog".to_owned(), "-a", "h:m"),
        ("RSYNC_RSH", "prog".to_owned() + "/../prog x", "-a", "h:m"),
        ("PATH", bin.clone(), "-a", "h:m"),
        ("PATH", bin.clone(), "-a -e ssh", "h:m"),
        ("PATH", format!("/usr/bin:/bin::{bin}"), "-a -e prog", "h:m"),
    ] {
        let _ = fs::remove_file(work.join("own"));
        let mut command = multi_sync(&work);
        command.args(["-p", "3", "-f", "4", "--retries", "0", "-r", options]).arg(format!("{}/", source.display()));
        command.arg(dest).env(name, &value).current_dir(&cwd);
        let failed = run(command);
        let own = fs::read(work.join("own")).unwrap_or_default();
        let wanted = [cwd.as_os_str().as_bytes(), b"\n"].concat();
        let evil = work.join("evil").exists();
        // A shell cannot find `prog/../prog`.
        let right = own == wanted || value.contains("/..");
        failed.expect(!evil && right, &format!("{name}={value} {options}: {}", String::from_utf8_lossy(&own)));
    }
}

#[test]
fn a_receivers_log_does_not_land_in_the_source() {
    let work = Work::new();
    grow(&work.join("s"));
    let mut command = multi_sync(&work);
    command.args(["-p", "3", "-f", "4", "-r", "-a -M--log-file=log", "s/", "D"]);
    // rsync 3.2.7 enters DEST before it is created, and ends with 3.
    let one = run(sh(&work, "rsync -a -M--log-file=log s/ one; c=$?; rm -f log; exit $c"));
    run(command).expect_code(one.status.code().unwrap());
    assert!(work.join("log").exists() && !work.join("s/log").exists());
}

#[test]
fn aliases_of_popt_mean_what_they_mean_to_rsync() {
    let work = Work::new();
    fs::write(
        work.join("home/.popt"),
        "rsync alias -a --archive --hard-links\nrsync alias -Z --no-o --no-g\nrsync alias --mine --exclude=skip -R\n\
         rsync exec --other echo hi\nrsync alias -H -v\n",
    )
    .unwrap();
    let source = work.join("s");
    grow(&source);
    for number in 0..6 {
        fs::hard_link(source.join(format!("a/f{number}")), source.join(format!("b/h{number}"))).unwrap();
    }
    let linked = |dest: &str| {
        let inode = |name: &str| fs::metadata(work.join(dest).join(name)).unwrap().ino();
        inode("a/f1") == inode("b/h1")
    };
    let copy = |options: &str, dest: &str| {
        let mut command = multi_sync(&work);
        command.args(["-p", "3", "-f", "4", "-r", options, "s/", dest]);
        run(command)
    };
    // -H is an alias here, so one rsync does everything.
    let plain = copy("-a", "D1").expect_code(0);
    let said = plain.stderr_text();
    plain.expect(said.contains("-H is an alias"), "one rsync does it");
    assert!(linked("D1"));
    assert!(copy("-a --other", "D2").expect_code(1).stderr_text().contains("runs another program"));
    let aliases = fs::read_to_string(work.join("home/.popt")).unwrap().replace("rsync alias -H -v\n", "");
    fs::write(work.join("home/.popt"), aliases).unwrap();
    let many = copy("-aZ --mine", "D3").expect_code(0);
    let said = many.stderr_text();
    many.expect(!said.contains("one rsync"), "several rsyncs do it");
    let mut one = rsync(&work);
    one.args(["-aZ", "--mine", "s/", "R3"]);
    run(one).expect_code(0);
    assert!(fs::metadata(work.join("D3/s/a/f1")).unwrap().nlink() == 2);
    assert_eq!(names(&work.join("D3")), names(&work.join("R3")));
    assert!(!names(&work.join("D3")).iter().any(|name| name.ends_with("skip")));
}

#[test]
fn names_are_printed_and_converted_in_the_users_character_set() {
    let work = Work::new();
    grow(&work.join("s"));
    for number in 0..8 {
        fs::write(work.join(format!("s/a/\u{e4}{number}")), "x").unwrap();
        fs::create_dir_all(work.join(format!("s/\u{e4}/\u{f6}{number}"))).unwrap();
        fs::write(work.join(format!("s/\u{e4}/\u{f6}{number}/x")), "x").unwrap();
    }
    fs::write(work.join("s/a").join(OsStr::from_bytes(b"\xff\\#101")), "x").unwrap();
    for (variable, options) in [
        ("LC_ALL", "-a --out-format=%n"),
        ("LANG", "-a --out-format=%n --exclude=\u{e4}/\u{f6}3"),
        ("LC_CTYPE", "-a --out-format=%n --iconv=."),
    ] {
        let lines = |mut command: std::process::Command, dest: &str| {
            command.env_remove("LC_ALL").env(variable, "C.UTF-8").args(["s/", dest]);
            let ended = run(command).expect_code(0);
            ended.stdout_text().lines().map(str::to_owned).filter(|line| !line.is_empty()).collect::<BTreeSet<_>>()
        };
        if options.contains("--iconv") {
            // This name cannot be converted.
            fs::remove_file(work.join("s/a").join(OsStr::from_bytes(b"\xff\\#101"))).unwrap();
        }
        let (one, many) = (format!("R-{variable}"), format!("D-{variable}"));
        let mut command = rsync(&work);
        command.args(options.split(' '));
        let one_lines = lines(command, &one);
        let mut command = multi_sync(&work);
        command.args(["-p", "3", "-f", "4", "-r", options]);
        let many_lines = lines(command, &many);
        assert!(one_lines.iter().any(|line| line.contains("\u{e4}/\u{f6}1")), "{one_lines:?}");
        assert_eq!(one_lines, many_lines, "{options}");
        assert_eq!(names(&work.join(one)), names(&work.join(many)), "{options}");
    }
}

#[test]
fn a_directory_that_no_rsync_would_enter_is_refused() {
    let work = Work::new();
    grow(&work.join("s"));
    for (options, source, code) in [
        ("-z", "s/", 1),
        ("-lptz", "s", 1),
        ("-a --no-r --no-d", "s/", 1),
        ("-t", "s/a/f1", 0),
        ("-dt", "s/", 0),
        ("--list-only", "s/", 0),
    ] {
        let dest = format!("D{options}/");
        let mut command = multi_sync(&work);
        command.args(["-p", "3", "-r", options, source, &dest]);
        let ended = run(command).expect_code(code);
        let said = ended.stderr_text();
        assert!(
            code == 0 || said.contains("would skip the directory") && !work.join(&dest).exists(),
            "{options}: {said}"
        );
        assert!(options != "-z" || said.contains("--rsync '-aS --numeric-ids -z'"), "{said}");
    }
}

#[test]
fn deletions_are_not_told_to_who_did_not_ask() {
    let work = Work::new();
    grow(&work.join("s"));
    program(&work.join("rsh"), "shift; exec sh -c \"$*\"");
    let dest = work.join("D");
    fs::create_dir_all(dest.join("a/extra")).unwrap();
    fs::write(dest.join("a/extra/x"), "").unwrap();
    fs::write(dest.join("more"), "").unwrap();
    let mut command = multi_sync(&work);
    command.args(["-p", "3", "-f", "4", "-r", "-a --delete -e ./rsh", "s/"]).arg(format!("h:{}", dest.display()));
    let ended = run(command).expect_code(0);
    assert_eq!(ended.stdout_text(), "");
    assert_eq!(names(&work.join("s")), names(&dest));
}
