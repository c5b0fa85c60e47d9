//! Several sources on one machine: launches name them below a common directory, and the result is that of one rsync.

use std::fs;
use std::time::Duration;

use crate::support::command::{multi_sync, run, run_within, sh};
use crate::support::twin::{Twin, table};
use crate::support::work::Work;

/// A stand-in for ssh.
fn shell(work: &Work) -> String {
    let path = work.file("shell", "#!/bin/sh\n[ \"$1\" != -l ] || shift 2\nshift\nexec sh -c \"$*\"\n");
    run(sh(work, "chmod 755 shell")).expect_code(0);
    path.display().to_string()
}

/// Trees next to each other and inside each other, with equal names, and a link to one of them.
fn fill(work: &Work) {
    let script = r#"
        for d in 1 2 3 4 5; do mkdir -p m/a/x$d/deep m/up/b/y$d; for f in 1 2; do echo "$d$f" >m/a/x$d/f$f; ln m/a/x$d/f$f m/up/b/y$d/h$f; done; done
        mkdir -p m/c/up m/other/a; echo 1 >m/c/f; echo 2 >m/other/a/g; echo 3 >m/file; ln -s up/b m/link; ln -s nowhere m/gone-link
        chmod 2750 m/a m/up/b; chmod 1777 m/c; chmod 700 m/up; find m -exec touch -h -d @1000000000 {} +"#;
    run(sh(work, script)).expect_code(0);
}

const SOON: Duration = Duration::from_secs(60);

/// The sources, and whether several rsyncs copy them.
const FORMS: [(&[&str], bool); 16] = [
    (&["a", "up/b"], true),
    (&["a", "up"], true),
    (&["a/", "up/b", "file"], true),
    (&["up/b", "c/", "a"], true),
    (&["up/b/", "a"], true),
    (&["", "up/b/y1"], true),
    (&["c", "up/b/y2", "a/x1/deep/"], true),
    (&["file", "a", "gone-link"], true),
    (&["link", "a"], true),
    (&["link/", "a"], true),
    (&["a", "none", "up/b"], true),
    (&["none", "nowhere"], false),
    (&["a", "other/a"], false),
    (&["a/", "c/"], false),
    (&["c/", "up"], false),
    (&["a", "none/x"], false),
];

#[test]
fn several_sources_arrive_as_one_rsync_brings_them() {
    let work = Work::new();
    fill(&work);
    let (top, shell) = (work.path().display().to_string(), shell(&work));
    let user = rustix::process::geteuid().as_raw();
    work.file("conf", format!("use chroot = no\nuid = {user}\ngid = {user}\n[m]\npath = {top}/m\n"));
    let connect = format!("rsync --daemon --config={top}/conf");
    let mut cases = Vec::new();
    for (at, (names, several)) in FORMS.iter().enumerate() {
        // If one of them is a file, some options are left to one rsync.
        let has_file = names.iter().any(|name| ["file", "gone-link", "link"].contains(name));
        let options = if has_file { "-a" } else { ["-aH", "-a --no-perms", "-rlpt --exclude=deep"][at % 3] };
        cases.push((format!("there:{top}/m/"), format!(":{top}/m/"), names, *several, options));
        // For a daemon it is unknown which names in several sources are one file.
        let options = options.trim_end_matches('H');
        match at % 3 {
            0 => cases.push(("rsync://there/m/".into(), "rsync://there/m/".into(), names, *several, options)),
            1 => cases.push(("there::m/".into(), "::m/".into(), names, *several, options)),
            _ => {}
        }
    }
    table(&cases, |(first, next, names, several, options)| {
        let sources = names.iter().enumerate().map(|(at, name)| [if at == 0 { first } else { next }, *name].concat());
        let words: Vec<String> = sources.chain(["SIDE/D".to_owned()]).collect();
        let twin = Twin::new(&work, &words).options(*options).flags("-p 3 -f 3 --stats");
        let twin = twin.env("RSYNC_RSH", &shell).env("RSYNC_CONNECT_PROG", &connect);
        let (one, many, different) = twin.attempt();
        let is_one = many.stdout_text().contains("One rsync for everything");
        let says_it = one
            .stderr_text()
            .lines()
            .filter(|line| line.contains("link_stat"))
            .all(|line| many.stderr_text().contains(line));
        let right = different.is_none() && is_one != *several && says_it;
        (!right).then(|| format!("{words:?} {options}: {different:?}\n{}\n{}", one.report(), many.report()))
    });
}

/// If several rsyncs cannot do it, the reason is printed.
#[test]
fn sources_without_a_directory_in_common_are_one_rsyncs() {
    let work = Work::new();
    fill(&work);
    let (top, shell) = (work.path().display(), shell(&work));
    for (sources, why) in [
        ([format!("h:{top}/m/a"), ":up".to_owned()], "not named below one common directory"),
        (["rsync://h/m/a".into(), "rsync://h/n/b".into()], "not named below one common directory"),
        ([format!("h:{top}/m/a"), format!(":{top}/m/other/a")], "contain the same name"),
        ([format!("h:{top}/m/a"), format!(":{top}/m/none/x")], "the source could not be listed"),
    ] {
        let mut explain = multi_sync(&work);
        explain.args(["explain", "-p", "4", "rsync", "-a"]).args(&sources).arg("D/").env("RSYNC_RSH", &shell);
        let told = run(explain).expect_code(0);
        assert!(told.stdout_text().contains(why), "{}", told.report());
    }
}

/// Each source is looked up again at the end of the run; if one does not answer any more, this is reported.
#[test]
fn each_of_several_sources_is_looked_at_again() {
    for (does, code, said) in [
        ("mv m/up/b m/up/old; cp -a m/up/old m/up/b", 23, ":TOP/m/up/b: was replaced"),
        ("mv m/a m/old", 23, "there:TOP/m/a: was replaced"),
        ("touch cut", 23, "there:TOP/m/a: can no longer be looked at"),
        ("true", 0, ""),
    ] {
        let work = Work::new();
        fill(&work);
        let top = work.path().display().to_string();
        let script = format!(
            "#!/bin/sh\n[ \"$1\" != -l ] || shift 2\nshift\n\
             case $* in *'sh -s') [ ! -e '{top}'/cut ] || exit 255 ;; *--files-from*) (cd '{top}' && [ -e D/b/y5 ] && mkdir once 2>/dev/null && {{ {does}; }}) ;; esac\nexec sh -c \"$*\"\n"
        );
        work.file("shell", script);
        run(sh(&work, "chmod 755 shell")).expect_code(0);
        let mut command = multi_sync(&work);
        let runs = work.dir("runs").display().to_string();
        let sources = [format!("there:{top}/m/a"), format!(":{top}/m/up/b")];
        command.args(["-p", "1", "-f", "3", "-b", &runs, "-r", "-r"]).args(&sources).arg("D/");
        command.env("RSYNC_RSH", work.join("shell"));
        let ran = run_within(command, SOON).expect_code(code);
        let is_told = ran.stderr_text().contains(&said.replace("TOP", &top));
        ran.expect(is_told, does);
        if work.join("cut").exists() {
            fs::remove_file(work.join("cut")).unwrap();
            let dir = fs::read_dir(&runs).unwrap().next().unwrap().unwrap().path();
            let mut resumed = multi_sync(&work);
            resumed.arg("resume").arg(dir).env("RSYNC_RSH", work.join("shell"));
            run_within(resumed, SOON).expect_code(0);
        }
    }
}

/// If a module hides names that begin with a dot, it hides `.` as well, but sends it when a list of names contains it. Other modules refuse such lists.
#[test]
fn a_module_that_hides_names_or_refuses_lists_gives_what_one_rsync_gets() {
    let work = Work::new();
    fill(&work);
    work.file("m/.hidden/file", "not shown");
    work.file("m/a/.hidden", "not shown");
    let (top, user) = (work.path().display(), rustix::process::geteuid().as_raw());
    let head = format!("use chroot = no\nuid = {user}\ngid = {user}\n");
    let module = |name: &str, line: &str| format!("[{name}]\npath = {top}/m\n{line}\n");
    let modules = [
        module("dots", "exclude = .*"),
        module("short", "exclude = ?"),
        module("no-lists", "refuse options = files-from"),
        module("no-gaps", "refuse options = ignore-missing-args"),
    ];
    work.file("conf", head + &modules.concat());
    let connect = format!("rsync --daemon --config={top}/conf");
    let mut failed = Vec::new();
    for (sources, options) in [
        (&["dots/"][..], "-a"),
        (&["dots/"], "-ai"),
        (&["dots/up/"], "-aHi"),
        (&["dots/a"], "-a"),
        (&["dots/a", "dots/up"], "-ai"),
        (&["dots/a/", "dots/up"], "-a"),
        (&["short/"], "-an"),
        (&["short/"], "-a"),
        (&["no-lists/"], "-a"),
        (&["no-gaps/"], "-a"),
    ] {
        let words = sources.iter().map(|source| format!("rsync://h/{source}")).chain(["SIDE/D".to_owned()]);
        let twin = Twin::new(&work, words).options(options).flags("-p 3 -f 2");
        failed.extend(twin.env("RSYNC_CONNECT_PROG", &connect).difference());
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// A remote rsync without support for lists, or for options that they need, ends after several launches have begun.
#[test]
fn where_a_login_refuses_lists_one_rsync_copies() {
    let work = Work::new();
    fill(&work);
    for option in ["--files-from", "--ignore-missing-args"] {
        let script = format!(
            r#"#!/bin/sh
[ "$1" != -l ] || shift 2
shift
case $* in *{option}*) echo "rsync: on remote machine: {option}: unknown option" >&2; exit 1;; esac
exec sh -c "$*"
"#
        );
        let path = work.file("refuses", script);
        run(sh(&work, "chmod 755 refuses")).expect_code(0);
        let mut copy = multi_sync(&work);
        copy.args(["-p", "3", "-f", "3", "--remote-scan", "rsync", "-r", "-a", "there:m/", "D"])
            .env("RSYNC_RSH", &path);
        let copy = run(copy).expect_code(0);
        assert!(copy.stderr_text().contains("the server refuses"), "{option}: {}", copy.report());
        run(sh(&work, "diff -r --no-dereference m D && rm -rf D")).expect_code(0);
    }
}

/// With a daemon that was started by a shell, the client ends with 0 even if a name in its list has vanished.
#[test]
fn what_vanishes_from_a_daemon_is_told() {
    let work = Work::new();
    fill(&work);
    let (top, user) = (work.path().display(), rustix::process::geteuid().as_raw());
    work.file("conf", format!("use chroot = no\nuid = {user}\ngid = {user}\n[m]\npath = {top}/m\n"));
    // As soon as something was copied, because then the names of all others are known.
    let script = format!(
        "#!/bin/sh\n[ ! -e {top}/D/a ] || rm -rf {top}/m/up/b/y*\nexec rsync --server --daemon --config={top}/conf .\n"
    );
    work.file("connect", &script);
    run(sh(&work, "chmod 755 connect")).expect_code(0);
    let mut command = multi_sync(&work);
    command.args(["-p", "1", "-f", "2", "-r", "-a", "rsync://h/m/", "D"]);
    command.env("RSYNC_CONNECT_PROG", work.join("connect"));
    let run = run(command);
    let text = run.report();
    assert!(run.stderr_text().contains("link_stat "), "nothing vanished:\n{text}");
    assert!(matches!(run.status.code(), Some(23 | 24)), "{text}");
}

/// The greeting that a daemon sends to each client is not printed for each rsync.
#[test]
fn a_daemon_greets_once_at_most() {
    let work = Work::new();
    fill(&work);
    work.file("motd", "Welcome\n\ndrwxr-xr-x          4,096 2026/11/29 14:45:00 trap\nBye\n");
    let (top, user) = (work.path().display(), rustix::process::geteuid().as_raw());
    let conf = format!("motd file = {top}/motd\nuse chroot = no\nuid = {user}\ngid = {user}\n[m]\npath = {top}/m\n");
    work.file("conf", conf);
    let connect = format!("rsync --daemon --config={top}/conf");
    for options in ["-a", "-ai", "-av", "-aq", "-a --no-motd"] {
        let twin = Twin::new(&work, ["rsync://h/m/", "SIDE/D"]).options(options).flags("-p 3 -f 4");
        let (_, many) = twin.env("RSYNC_CONNECT_PROG", &connect).same();
        assert!(many.stdout_text().matches("Welcome").count() < 2, "{}", many.report());
    }
}
