//! Copies to another machine have the result and the exit codes of one rsync: through a real sshd and a real rsync daemon on this machine.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::support;
use crate::support::command::{command, multi_sync, rsync, run};
use crate::support::processes;
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::sshd::Sshd;
use crate::support::twin::{Twin, path_to_fake, snapshot};
use crate::support::work::{Work, set_mode};
use multi_sync::harness::treegen::{self, Odd, Sizes, Spec, TopLevel};

macro_rules! or_skip {
    ($started:expr, $test:literal) => {
        match $started {
            Ok(started) => started,
            Err(why) => return support::skip($test, &why),
        }
    };
}

/// The shell comes from the environment, because quotes in `--rsh` differ from those of a command line.
fn twin<'a>(work: &'a Work, sshd: &Sshd, words: &[&str]) -> Twin<'a> {
    Twin::new(work, words).options("-aS --numeric-ids").env("RSYNC_RSH", sshd.rsh())
}

#[test]
fn through_ssh_every_form_of_destination() {
    let sshd = or_skip!(Sshd::start(), "through_ssh_every_form_of_destination");
    let work = Work::new();
    treegen::odd_tree(&work.join("src"), &Odd { sockets: false, ..Odd::new(40) }, 3).unwrap();
    work.file("single", "single");
    let at = |path: &str| format!("{}:{}/{path}", sshd.host(), work.path().display());
    let user = String::from_utf8(run(support::command::sh(&work, "id -un")).stdout).unwrap();
    let with_user = format!("{}@{}", user.trim(), at("SIDE/D"));
    let mut failed = Vec::new();
    for (words, flags) in [
        (&["src/", &at("SIDE/D")][..], "-p 4 -f 5"),
        (&["src", &at("SIDE/D")], "-p 8 -f 5"),
        (&["src", &at("SIDE/")], "-p 2 -f 8"),
        (&["src/", &at("SIDE/D/")], "-p 1 -f 8"),
        (&["src/", &at("SIDE/D")], ""),
        (&["src/", &with_user], "-p 4 -f 10"),
        (&["single", &at("SIDE/D")], "-p 4 -f 1"),
        (&["single", "src", &at("SIDE/D")], "-p 4 -f 10"),
        (&["src/", &at("SIDE/with space")], "-p 4 -f 10"),
        (&["src/", &at("SIDE/it's \"$HOME\" `id` $(id) * ? [a] ; & | < > ( ) \\ # ! ~ %")], "-p 4 -f 10"),
        (&["src", &at("SIDE/$HOME/*")], "-p 4 -f 10"),
        (&["src/", &at("SIDE/no/such/D")], "-p 4 -f 10"),
        (&["src/", &at("single")], "-p 4 -f 10"),
        (&["gone", &at("SIDE/D")], "-p 4 -f 10"),
        (&["gone", "src", &at("SIDE/D")], "-p 4 -f 10"),
    ] {
        failed.extend(twin(&work, &sshd, words).flags(flags).difference());
    }
    let deep = |side: &Path| fs::create_dir_all(side.join("a")).unwrap();
    let mkpath = twin(&work, &sshd, &["src/", &at("SIDE/a/b/c/D")]).options("-a --mkpath").prepare(deep);
    failed.extend(mkpath.difference());
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// Files in the remote shell command are relative to the user's directory, in which no launch starts.
#[test]
fn through_ssh_with_files_of_the_working_directory() {
    let sshd = or_skip!(Sshd::start(), "through_ssh_with_files_of_the_working_directory");
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(40, Sizes::Uniform { min: 0, max: 99 }), 1).unwrap();
    symlink(sshd.ssh_config(), work.join("it's a config")).unwrap();
    let shell = "ssh -F 'it''s a config' -o BatchMode=yes";
    set_mode(&work.file("gate", format!("#!/bin/sh\nexec ssh -F \"{}\" \"$@\"\n", sshd.ssh_config().display())), 0o755);
    let dest = format!("{}:{}/SIDE/D", sshd.host(), work.path().display());
    for shell in [shell, "./gate"] {
        let twin = Twin::new(&work, ["src/", &dest]).flags("-p 4 -f 10");
        let (_, many) = twin.words_of_options(&["-a", "-4", "-e", shell]).same();
        many.expect_code(0);
    }
    for shell in [shell, "./gate"] {
        let twin = Twin::new(&work, ["src/", &dest]).options("-a").flags("-p 4 -f 10").env("RSYNC_RSH", shell);
        let (_, many) = twin.same();
        many.expect_code(0);
    }
}

#[test]
fn through_ssh_relative_to_the_home_directory() {
    let sshd = or_skip!(Sshd::start(), "through_ssh_relative_to_the_home_directory");
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(40, Sizes::Uniform { min: 0, max: 99 }), 1).unwrap();
    // The home directory of the login must not be written, so another directory is entered in the same way.
    let homes = |side: &str| format!("--rsync-path=cd {}/SIDE/{side} && rsync", work.path().display());
    let make_home = |side: &Path| fs::create_dir(side.join("home")).unwrap();
    for dest in [":", ":D", ":./D", ":D/"] {
        let dest = format!("{}{dest}", sshd.host());
        let twin = twin(&work, &sshd, &["src/", &dest]).words_of_options(&["-a", &homes("home")]).prepare(make_home);
        twin.same();
    }
}

#[test]
fn through_ssh_odd_names_and_much_at_once() {
    let sshd = or_skip!(Sshd::start(), "through_ssh_odd_names_and_much_at_once");
    let work = Work::new();
    treegen::odd_names(&work.join("odd"), TopLevel::Dirs).unwrap();
    treegen::generate(&work.join("src"), &Spec::bench(1000, Sizes::Uniform { min: 0, max: 4000 }), 1).unwrap();
    let at = |path: &str| format!("{}:{}/{path}", sshd.host(), work.path().display());
    twin(&work, &sshd, &["odd/", &at("SIDE/D")]).flags("-p 4 -f 50").same();
    twin(&work, &sshd, &["odd", &at("SIDE/D")]).flags("-p 4 -f 50").same();
    twin(&work, &sshd, &["src/", &at("SIDE/D")]).flags("-p 4 -f 50").same();
}

#[test]
fn through_ssh_what_fails_fails_as_one_rsync() {
    let sshd = or_skip!(Sshd::start(), "through_ssh_what_fails_fails_as_one_rsync");
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(20, Sizes::Empty), 1).unwrap();
    let at = |path: &str| format!("{}:{}/{path}", sshd.host(), work.path().display());
    // If the remote command ends at once, one rsync also returns either its code or that of the broken stream, whichever it notices first.
    for (options, dest, codes) in [
        ("-a --rsync-path=/nonexistent", at("D"), &[127, 12][..]),
        ("-a --rsync-path=/dev/null", at("D"), &[126, 12]),
        ("-a --rsync-path=false", at("D"), &[1, 12]),
        ("-a --rsync-path=true", at("D"), &[12]),
        ("-a -e /nonexistent/ssh", at("D"), &[14, 12]),
        ("-a -e false", at("D"), &[1, 12]),
        ("-a", "nobody-is-called-this.invalid:D".to_owned(), &[255, 12]),
        ("-a", format!("nobody-is-called-this@{}:D", sshd.host()), &[255, 12]),
        ("-a", at("no/such/D"), &[11]),
        ("-a -M--no-such-option", at("D"), &[1, 4, 12]),
    ] {
        let mut one = rsync(&work);
        one.args(options.split(' ')).args(["src/", &dest]).env("RSYNC_RSH", sshd.rsh());
        let one = run(one);
        assert!(one.status.code().is_some_and(|code| codes.contains(&code)), "{}", one.report());
        for flags in [&["-p", "4", "-f", "3"][..], &[]] {
            let mut many = multi_sync(&work);
            many.args(flags).args(["-r", options, "src/", &dest]).env("RSYNC_RSH", sshd.rsh());
            let many = run(many);
            assert!(many.status.code().is_some_and(|code| codes.contains(&code)), "{codes:?}\n{}", many.report());
            let said = many.stderr_text();
            assert!(!said.contains("trying again"), "{}", many.report());
            // A single launch reports it, and some versions of rsync report it twice.
            let lines = said.lines().filter(|line| line.starts_with("rsync error")).count();
            assert!(lines <= 2, "said {lines} times\n{}", many.report());
            assert!(!work.join("D").exists(), "{}", many.report());
        }
    }
}

#[test]
fn through_ssh_at_an_ipv6_address() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return support::skip("through_ssh_at_an_ipv6_address", "::1 does not work here");
    };
    drop(listener);
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(30, Sizes::Empty), 1).unwrap();
    // No sshd of these tests listens at this address: a shell takes the address and runs the command.
    let shell = work.file(
        "shell",
        "#!/bin/sh\n[ \"$1\" != -l ] || shift 2\necho \"$1\" >>\"$(dirname \"$0\")/hosts\"\nshift\nexec sh -c \"$*\"\n",
    );
    set_mode(&shell, 0o755);
    for host in ["[::1]", "me@[::1]"] {
        let dest = format!("{host}:{}/SIDE/D", work.path().display());
        let shell = shell.to_str().unwrap();
        let shell = format!("{shell}{}", if host.starts_with("me") { " " } else { "" });
        Twin::new(&work, ["src/", &dest]).env("RSYNC_RSH", shell.trim()).same();
    }
    let hosts = fs::read_to_string(work.join("hosts")).unwrap();
    assert!(hosts.lines().all(|host| host == "::1"), "{hosts}");
    assert!(hosts.lines().count() > 8, "{hosts}");
}

fn modules(work: &Work) -> [Module; 2] {
    let exact = |module: Module| if support::is_root() { module.line("use chroot = yes") } else { module };
    [exact(Module::new("all", work.path())), exact(Module::new("secret", work.path()).login("lab", "word"))]
}

#[test]
fn through_a_daemon_every_form_of_destination() {
    let work = Work::new();
    let daemon = or_skip!(Rsyncd::start(&modules(&work)), "through_a_daemon_every_form_of_destination");
    treegen::odd_tree(&work.join("src"), &Odd { sockets: false, ..Odd::new(40) }, 4).unwrap();
    work.file("single", "single");
    symlink("/absolute/target", work.join("src/absolute")).unwrap();
    let url = daemon.url("all");
    let url = url.trim_end_matches('/');
    let colons = daemon.double_colon("all");
    let colons = colons.trim_end_matches('/');
    let port = format!("-a {}", daemon.port_option());
    let mut failed = Vec::new();
    for (options, words, flags) in [
        ("-a", &["src/", &format!("{url}/SIDE/D")][..], "-p 4 -f 5"),
        ("-a", &["src", &format!("{url}/SIDE/D")], "-p 8 -f 5"),
        ("-aS", &["src", &format!("{url}/SIDE/D/")], "-p 1 -f 9"),
        ("-rlt", &["src/", &format!("{url}/SIDE/")], "-p 4 -f 9"),
        ("-a", &["src/", &format!("{url}/SIDE/with space $HOME * 'x' \"y\"")], "-p 4 -f 9"),
        ("-a", &["single", &format!("{url}/SIDE/D")], "-p 4 -f 1"),
        ("-a", &["src/", "single", &format!("{url}/SIDE/D")], "-p 4 -f 9"),
        (&port, &["src/", &format!("{colons}/SIDE/D")], "-p 4 -f 5"),
        (&port, &["src", &format!("{colons}/SIDE")], "-p 4 -f 5"),
        ("-a", &["src/", &format!("{url}/SIDE/no/such")], "-p 4 -f 5"),
        ("-a", &["src/", &format!("{url}/single")], "-p 4 -f 5"),
        ("-a", &["src/", &format!("{}x/SIDE", daemon.url("none").trim_end_matches('/'))], "-p 4 -f 5"),
        ("-a --mkpath", &["src/", &format!("{url}/SIDE/a/b")], "-p 4 -f 5"),
    ] {
        failed.extend(Twin::new(&work, words).options(options).flags(flags).difference());
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// The destination cannot be checked directly: rsync reports whether it changes something.
#[test]
fn through_a_daemon_attributes_are_set_again_only_where_something_changed() {
    let work = Work::new();
    let daemon = or_skip!(
        Rsyncd::start(&modules(&work)),
        "through_a_daemon_attributes_are_set_again_only_where_something_changed"
    );
    treegen::generate(&work.join("src"), &Spec::bench(60, Sizes::Uniform { min: 0, max: 99 }), 1).unwrap();
    for name in ["file", "second"] {
        work.file(format!("src/sub/{name}"), name);
    }
    symlink("file", work.join("src/sub/link")).unwrap();
    fs::hard_link(work.join("src/sub/file"), work.join("src/sub/other name")).unwrap();
    work.dir("src/sub/empty");
    let sh = |script: String| drop(run(support::command::sh(&work, &script)).expect_code(0));
    sh("touch -d @1000000000 src/sub src".to_owned());
    let dest = format!("{}/SIDE/D", daemon.url("all").trim_end_matches('/'));
    // The launches that set attributes.
    let settings = |change: &dyn Fn(&Path)| {
        let prepare = |side: &Path| {
            sh(format!("cp -a src '{}'", side.join("D").display()));
            change(&side.join("D/sub"));
        };
        let log = work.file("log", "");
        let script = format!("#!/bin/sh\necho \" $* \" >>'{}'\nexec REAL \"$@\"\n", log.display());
        let twin = Twin::new(&work, ["src/", &dest]).options("-aH").flags("-p 2 -f 5").prepare(prepare);
        let (_, many) = twin.env("PATH", path_to_fake(&work, &script)).same();
        many.expect_code(0);
        // With names as arguments or as a list.
        let sets = |line: &&str| line.contains(" -q ") || line.contains(" --info=nonreg0 ");
        fs::read_to_string(&log).unwrap().lines().filter(sets).count()
    };
    assert_eq!(settings(&|_| {}), 0, "nothing to do");
    type Change<'a> = (&'a str, &'a dyn Fn(&Path));
    let changes: [Change<'_>; 6] = [
        ("a file is gone", &|sub| fs::remove_file(sub.join("second")).unwrap()),
        ("another file", &|sub| fs::write(sub.join("second"), "changed").unwrap()),
        ("a link leads elsewhere", &|sub| {
            fs::remove_file(sub.join("link")).unwrap();
            symlink("second", sub.join("link")).unwrap();
        }),
        ("a name of another file", &|sub| {
            fs::remove_file(sub.join("other name")).unwrap();
            sh(format!("cd '{}' && cp -a file 'other name'", sub.display()));
        }),
        ("a directory is gone", &|sub| fs::remove_dir(sub.join("empty")).unwrap()),
        ("a file in the place of a directory", &|sub| {
            fs::remove_dir(sub.join("empty")).unwrap();
            fs::write(sub.join("empty"), "").unwrap();
        }),
    ];
    for (what, change) in changes {
        assert_eq!(settings(change), 1, "{what}");
    }
}

#[test]
fn through_a_daemon_that_asks_for_a_password() {
    let work = Work::new();
    let daemon = or_skip!(Rsyncd::start(&modules(&work)), "through_a_daemon_that_asks_for_a_password");
    treegen::generate(&work.join("src"), &Spec::bench(30, Sizes::Uniform { min: 0, max: 99 }), 1).unwrap();
    set_mode(&work.file("password", "word\n"), 0o600);
    set_mode(&work.file("wrong", "wrong\n"), 0o600);
    let dest = format!("{}/SIDE/D", daemon.url("secret").trim_end_matches('/'));
    let dest = if dest.contains('@') { dest } else { dest.replace("rsync://", "rsync://lab@") };
    Twin::new(&work, ["src/", &dest]).options("-a --password-file=password").same();
    Twin::new(&work, ["src", &dest]).options("-a").env("RSYNC_PASSWORD", "word").same();
    for options in ["-a --password-file=wrong", "-a --password-file=missing", "-a"] {
        let (_, many) = Twin::new(&work, ["src/", &dest]).options(options).same();
        assert!(many.status.code() != Some(0) && !many.stderr_text().contains("trying again"), "{}", many.report());
    }
}

#[test]
fn nobody_listens() {
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(30, Sizes::Empty), 1).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for flags in ["-p 4 -f 3", ""] {
        let dest = format!("rsync://127.0.0.1:{port}/module/SIDE");
        let (_, many) = Twin::new(&work, ["src/", &dest]).options("-a").flags(flags).same();
        many.expect_code(10);
        let (_, many) =
            Twin::new(&work, ["src/", "rsync://no-such-host.invalid/module/SIDE"]).options("-a").flags(flags).same();
        many.expect_code(10);
    }
}

/// If a daemon accepts fewer connections than there are slots, or none for a moment, the copy must not fail: refused connections are retried.
#[test]
fn a_daemon_with_few_connections() {
    let work = Work::new();
    let modules = [1, 2, 3].map(|most| Module::new(&format!("few{most}"), work.path()).max_connections(most));
    let daemon = or_skip!(Rsyncd::start(&modules), "a_daemon_with_few_connections");
    treegen::generate(&work.join("src"), &Spec::bench(60, Sizes::Uniform { min: 0, max: 99 }), 1).unwrap();
    for most in [1, 2, 3] {
        let dest = format!("{}/D{most}", daemon.url(&format!("few{most}")).trim_end_matches('/'));
        let mut copy = multi_sync(&work);
        copy.args(["-p", "2", "-f", "10", "-r", "-a", "src/", &dest]);
        run(copy).expect_code(0);
        let mut check = rsync(&work);
        check.args(["-ani", "src/", &format!("D{most}/")]);
        let check = run(check).expect_code(0);
        assert!(check.stdout.is_empty(), "{}", check.report());
    }
}

/// The launch that creates the spine is refused, or finds that another one has just created DEST, while waiting launches already have all buckets.
#[test]
fn a_spine_that_is_not_let_in() {
    let made = "rsync: [Receiver] mkdir \"D\" (in all) failed: File exists (17)";
    for (said, code) in [("@ERROR: max connections (2) reached", 5), (made, 11)] {
        let work = Work::new();
        let daemon = or_skip!(Rsyncd::start(&[Module::new("all", work.path())]), "a_spine_that_is_not_let_in");
        for name in ["src/a/f", "src/a/g", "src/b/f", "src/b/g"] {
            work.file(name, name);
        }
        work.dir("bin");
        let path = std::env::var("PATH").unwrap();
        let refused = work.join("refused");
        // Refuses once, after the others have connected.
        let refuses =
            format!("if mkdir '{}' 2>/dev/null; then sleep 0.5; echo '{said}' >&2; exit {code}; fi", refused.display());
        let script = format!("case \" $* \" in *' --info=nonreg '*) {refuses};; esac; exec rsync \"$@\"");
        let script = format!("#!/bin/sh\nPATH='{path}'\n{script}\n");
        let program = work.file("bin/rsync", script);
        set_mode(&program, 0o755);
        let mut copy = multi_sync(&work);
        let dest = format!("{}/D", daemon.url("all").trim_end_matches('/'));
        copy.args(["-p", "2", "-f", "3", "-r", "-a", "src/", &dest]);
        copy.env("PATH", format!("{}:{path}", work.join("bin").display()));
        let copy = run(copy).expect_code(0);
        assert_eq!(copy.stderr_text(), "");
        assert!(refused.exists());
        let mut check = rsync(&work);
        check.args(["-ani", "src/", "D/"]);
        assert_eq!(run(check).stdout_text(), "");
    }
}

/// Names that were passed on standard input must arrive.
#[test]
fn an_rsync_that_does_not_hand_on_its_input() {
    let work = Work::new();
    let daemon =
        or_skip!(Rsyncd::start(&[Module::new("all", work.path())]), "an_rsync_that_does_not_hand_on_its_input");
    treegen::generate(&work.join("src"), &Spec::bench(60, Sizes::Uniform { min: 0, max: 99 }), 1).unwrap();
    work.dir("bin");
    let path = std::env::var("PATH").unwrap();
    // Any launch, and the one that sets attributes at the end.
    for (name, which) in [("any", "*"), ("last", "*nonreg0*")] {
        let used = work.join(format!("used-{name}"));
        let hit = format!("echo >>'{}'; exec rsync \"$@\" </dev/null", used.display());
        let script = format!("case \"$*\" in {which}) {hit};; esac; exec rsync \"$@\"");
        let program = work.file("bin/rsync", format!("#!/bin/sh\nPATH='{path}'\n{script}\n"));
        set_mode(&program, 0o755);
        let dest = format!("{}/{name}", daemon.url("all").trim_end_matches('/'));
        let mut copy = multi_sync(&work);
        copy.args(["-p", "2", "-f", "10", "-r", "-a", "src/", &dest]);
        copy.env("PATH", format!("{}:{path}", work.join("bin").display()));
        run(copy).expect_code(0);
        let mut check = rsync(&work);
        check.args(["-ani", "src/", &format!("{name}/")]);
        assert_eq!(run(check).stdout_text(), "", "{name}");
        assert!(used.exists(), "no launch was started ahead: {name}");
    }
}

/// The last launch prints no line again, even after a launch that failed.
#[test]
fn through_a_daemon_lines_come_once() {
    let work = Work::new();
    let daemon = or_skip!(Rsyncd::start(&modules(&work)), "through_a_daemon_lines_come_once");
    treegen::generate(&work.join("src"), &Spec::bench(120, Sizes::Empty), 1).unwrap();
    // This entry cannot make way.
    let prepare = |side: &Path| {
        let full = side.join("D/f0/full");
        fs::create_dir_all(full).unwrap();
    };
    let dest = format!("{}/SIDE/D", daemon.url("all").trim_end_matches('/'));
    let (one, many) = Twin::new(&work, ["src/", &dest]).options("-a -i").flags("-p 2 -f 5").prepare(prepare).same();
    let many = many.expect_code(23);
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(one.stdout_text()), sorted(many.stdout_text()));
}

#[test]
fn a_read_only_daemon_refuses_and_nothing_is_written() {
    let work = Work::new();
    let module = Module::new("closed", work.dir("served")).line("read only = yes");
    let daemon = or_skip!(Rsyncd::start_at(IpAddr::from([127, 0, 0, 11]), &[module]), "a_read_only_daemon");
    treegen::generate(&work.join("src"), &Spec::bench(30, Sizes::Empty), 1).unwrap();
    let before = snapshot(&work.join("served"));
    let dest = daemon.url("closed");
    let mut one = rsync(&work);
    one.args(["-a", "src/", &dest]);
    let one = run(one);
    let mut many = multi_sync(&work);
    many.args(["-p", "4", "-f", "3", "-r", "-a", "src/", &dest]);
    let many = run(many);
    assert_eq!(one.status.code(), many.status.code(), "{}{}", one.report(), many.report());
    assert_eq!(before, snapshot(&work.join("served")), "{}", many.report());
}

/// The other machine may have an older rsync.
#[test]
fn an_old_rsync_on_the_other_side_is_not_a_success() {
    let sshd = or_skip!(Sshd::start(), "an_old_rsync_on_the_other_side_is_not_a_success");
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(20, Sizes::Empty), 1).unwrap();
    let dest = format!("{}:{}/D", sshd.host(), work.path().display());
    let mut copy = command(&work, env!("CARGO_BIN_EXE_multi-sync"));
    copy.args(["-p", "4", "-f", "3", "-r", "-a --protocol=30", "src/", &dest]).env("RSYNC_RSH", sshd.rsh());
    run(copy).expect_code(0);
}

fn connections(sshd: &Sshd) -> usize {
    sshd.log().matches("Accepted publickey").count()
}

#[test]
fn launches_of_a_slot_share_a_connection() {
    let sshd = or_skip!(Sshd::start(), "launches_of_a_slot_share_a_connection");
    let work = Work::new();
    let tree = Spec::bench(60, Sizes::Uniform { min: 0, max: 100 });
    treegen::generate(&work.join("src"), &tree, 5).unwrap();
    for (more, at_most) in [("", 2), (" -o ControlPath=none", usize::MAX)] {
        let before = connections(&sshd);
        let mut many = multi_sync(&work);
        many.args(["-p", "2", "-f", "8", "--stats", "-r", "-a", "src/"]);
        many.arg(sshd.remote(work.join(format!("D{}", more.len())))).env("RSYNC_RSH", sshd.rsh() + more);
        let many = run(many).expect_code(0);
        let text = many.stdout_text();
        let launches = text.lines().find_map(|line| line.strip_prefix("Launches: ")).unwrap().parse::<usize>().unwrap();
        let made = connections(&sshd) - before;
        assert!(launches > 6 && made <= at_most.min(launches), "{launches} launches, {made} connections");
        assert!(at_most == 2 || made == launches, "{launches} launches, {made} connections");
        processes::expect_gone(&many.mark, Duration::from_secs(1));
    }
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    let sshd = or_skip!(Sshd::start(), "a_connection_that_breaks_is_made_again");
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(60, Sizes::Uniform { min: 0, max: 100 }), 6).unwrap();
    // Of the remote rsyncs that recurse, which are those that copy, the first one ends while it waits for its names; it is replaced without a message
    // (creating directories takes a second here, so that it does wait). Of all remote rsyncs, the sixth kills the server's end of its connection. With
    // --timeout no rsync waits for its names, so the first one has already begun.
    let first = "case $2 in *r*e.*) echo >>COUNT; [ $(wc -l <COUNT) != 1 ] || exit 12;; *) sleep 1;; esac";
    let sixth = "echo >>COUNT; [ $(wc -l <COUNT) != 6 ] || kill -9 $PPID";
    for (name, script, more, is_told) in [("first", first, "", false), ("sixth", sixth, " --timeout=60", true)] {
        let script = script.replace("COUNT", work.join(format!("count-{name}")).to_str().unwrap());
        let program = work.file(name, format!("#!/bin/sh\n{script}; exec rsync \"$@\"\n"));
        set_mode(&program, 0o755);
        let mut many = multi_sync(&work);
        let options = format!("-a --rsync-path={}{more}", program.display());
        many.args(["-p", "2", "-f", "8", "-r", &options, "src/"]);
        many.arg(sshd.remote(work.join(format!("D-{name}")))).env("RSYNC_RSH", sshd.rsh());
        let many = run(many).expect_code(0);
        assert_eq!(many.stderr_text().contains("trying again"), is_told, "{}", many.report());
        assert!(is_told || many.stderr_text().is_empty(), "{}", many.report());
        let mut check = rsync(&work);
        check.args(["-ani", "--delete", "src/", &format!("D-{name}/")]);
        assert_eq!(run(check).stdout_text(), "");
    }
}

/// Forwardings of the configuration can exist only once, and only a single rsync of the user may need them.
#[test]
fn through_ssh_with_forwards_and_without_sessions() {
    let name = "through_ssh_with_forwards_and_without_sessions";
    let sshd = match Sshd::start_with(Ipv4Addr::new(127, 0, 0, 9), "MaxSessions 1\n") {
        Ok(sshd) => sshd,
        Err(why) => return support::skip(name, &why),
    };
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(120, Sizes::Uniform { min: 0, max: 99 }), 1).unwrap();
    let plain = fs::read_to_string(sshd.ssh_config()).unwrap().replace("LogLevel ERROR\n", "");
    let listener = TcpListener::bind(("127.0.0.9", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let forwards = format!("{plain}RemoteForward 127.0.0.9:{port} 127.0.0.9:9\nExitOnForwardFailure yes\n");
    for (number, config) in [plain, forwards].iter().enumerate() {
        let config = work.file(format!("config{number}"), config);
        let shell = format!("-a -e 'ssh -F {}'", config.display());
        let to = format!("{}:{}/D{number}/", sshd.host(), work.path().display());
        let mut copy = multi_sync(&work);
        copy.args(["-p", "3", "-f", "8", "-r", &shell, "src/", &to]);
        let ran = run(copy).expect_code(0);
        assert_eq!(ran.stderr_text(), "", "{}", ran.report());
        let mut check = rsync(&work);
        check.args(["-ani", "--delete", "src/", &format!("D{number}/")]);
        assert_eq!(run(check).stdout_text(), "", "{}", ran.report());
    }
}
