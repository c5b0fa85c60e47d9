//! Rsyncs that delete entries which a source on another machine does not have: each is held in the directory that was scanned, sends nothing from another
//! one, and ends with the run, whatever ended it.
//!
//! `KILLS=100 cargo test --test it held_source::killed -- --ignored` kills a pull this often, at random moments.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use multi_sync::harness::treegen::{self, Odd, Sizes, Spec};

use crate::oracle::number;
use crate::oracle::random::Random;
use crate::support;
use crate::support::command::{Signal, multi_sync, rsync, run, sh, start};
use crate::support::processes;
use crate::support::sshd::Sshd;
use crate::support::twin::{Twin, table};
use crate::support::work::Work;

/// A stand-in for ssh that changes the source when the `launch`-th rsync that gets names is started.
fn at_launch(work: &Work, launch: u32, does: &str) -> String {
    let top = work.path().display();
    let script = format!(
        "#!/bin/sh\n[ \"$1\" != -l ] || shift 2\nshift\ncase $* in *--files-from*)\n\
         n=1; while ! mkdir '{top}'/launch$n 2>/dev/null; do n=$((n + 1)); done\n\
         [ $n != {launch} ] || (cd '{top}' && {{ {does}; }}) ;;\nesac\nexec sh -c \"$*\"\n"
    );
    let shell = work.file("shell", script);
    run(sh(work, "chmod 755 shell")).expect_code(0);
    shell.display().to_string()
}

/// The entries of the source that DEST had and has no longer.
fn lost(work: &Work, before: &[String]) -> Vec<String> {
    let old = if work.join("old").exists() { "old" } else { "first" };
    let is_lost = |name: &&String| work.join(old).join(name).exists() && !work.join("dest").join(name).exists();
    before.iter().filter(is_lost).cloned().collect()
}

/// Each rsync runs in the directory that was there at the beginning, or sends nothing and deletes nothing.
#[test]
fn nothing_is_deleted_because_of_a_source_that_is_replaced() {
    const SWITCH: &str = "ln -sfn second current";
    let mut cases = Vec::new();
    for options in ["-a --delete", "-a --delete-after", "-rlt --delete-delay", "-a --delete-excluded --exclude=*.o"] {
        cases.extend([2, 6].map(|launch| (SWITCH, "ln -sfn first current", options, launch)));
    }
    for (does, undoes) in [
        ("mv first old", "mv old first"),
        ("mv first old; mkdir first", "rmdir first; mv old first"),
        ("mv first old; cp -a second first", "rm -r first; mv old first"),
        ("mv first old; ln -s second first", "rm first; mv old first"),
    ] {
        cases.extend([4].map(|launch| (does, undoes, "-a --delete --ignore-errors", launch)));
    }
    table(&cases, |&(does, undoes, options, launch)| {
        let work = Work::new();
        let script = r#"
            mkdir -p first second/d1; ln -s first current
            for d in 1 2 3 4 5 6; do mkdir -p first/d$d/deep; for f in 1 2 3; do echo "$d $f" >first/d$d/f$f; echo "$d $f" >first/d$d/deep/g$f; done; done
            echo wrong >second/d1/f1; cp -a first dest; echo new >first/d3/new; echo more >dest/d1/deep/more; echo more >dest/more
            find dest -type f -exec touch -d @1000 {} +"#;
        run(sh(&work, script)).expect_code(0);
        let before = run(sh(&work, "cd dest && find . -mindepth 1")).stdout_text();
        let before: Vec<String> = before.lines().map(str::to_owned).collect();
        let shell = at_launch(&work, launch, does);
        let go = |words: &[&str]| {
            let mut command = multi_sync(&work);
            command.args(words).env("RSYNC_RSH", &shell);
            run(command)
        };
        let source = format!("there:{}/current/", work.path().display());
        let runs = work.dir("runs").display().to_string();
        let ran = go(&["-p", "2", "-f", "5", "-b", &runs, "-r", options, &source, "dest/"]);
        let is_moved = ran.stderr_text().contains("was renamed, replaced or unmounted while multi-sync ran");
        let case = format!("{options}, launch {launch}: {does}");
        let gone = lost(&work, &before);
        if !gone.is_empty() || ran.status.code() != Some(23) || !is_moved {
            return Some(format!("{case}: lost {gone:?}\n{}", ran.report()));
        }
        let dir = fs::read_dir(&runs).unwrap().next().unwrap().unwrap().path();
        let resume = ["resume", dir.to_str().unwrap()];
        let resumed = go(&resume);
        let differs_from = |source: &str| {
            let mut check = rsync(&work);
            check.args(shell_words::split(options).unwrap()).args(["-nic", source, "dest/"]);
            run(check).stdout_text()
        };
        if resumed.status.code() == Some(0) && differs_from("current/").is_empty() {
            // The scan had not finished, so the resumed run starts again with the present directory.
            return None;
        }
        let gone = lost(&work, &before);
        if !gone.is_empty() || resumed.status.code() == Some(0) {
            return Some(format!("{case}, resumed: lost {gone:?}\n{}", resumed.report()));
        }
        run(sh(&work, undoes)).expect_code(0);
        let resumed = go(&resume);
        let differs = differs_from("first/");
        let right = resumed.status.code() == Some(0) && differs.is_empty();
        (!right).then(|| format!("{case}, gone on: {differs}\n{}", resumed.report()))
    });
}

/// Several rsyncs delete through any command that starts rsync there. If they cannot be held, a single rsync does.
#[test]
fn what_deletes_is_held_or_is_one() {
    let work = Work::new();
    treegen::odd_tree(&work.join("src"), &Odd { sockets: false, ..Odd::new(40) }, 3).unwrap();
    symlink("src", work.join("link")).unwrap();
    let top = work.path().display().to_string();
    let shell = at_launch(&work, 0, "true");
    let forced = work.file("forced", format!("#!/bin/sh\nexec rsync --server --sender -de.iLsfxCIvu . {top}/src/\n"));
    let elsewhere = work.file("elsewhere", "#!/bin/sh\ncd /; exec rsync \"$@\"\n");
    run(sh(&work, "chmod 755 forced elsewhere")).expect_code(0);
    let mut failed = Vec::new();
    let (forced, elsewhere) = (forced.display().to_string(), elsewhere.display().to_string());
    for (shell, options, path, several) in [
        (&shell, "-a --delete".to_owned(), "src/", true),
        (&shell, "-a --delete".into(), "link/", true),
        (&shell, "-a --delete -s".into(), "src/.", true),
        (&shell, "-a --delete-after --old-args".into(), "src/", true),
        (&shell, "-a --delete --rsync-path='env A=b rsync'".into(), "src/", true),
        (&shell, "-a --delete --rsync-path='env A=b rsync'".into(), "link/", false),
        (&shell, format!("-a --delete --rsync-path={elsewhere}"), "src/", false),
        (&shell, "-a --delete --rsync-path='sh -c '\"'rsync \\\"$@\\\"'\"' sh'".into(), "src/", false),
        (&shell, "-a --delete".into(), "src", false),
        (&forced, "-a --delete".into(), "src/", false),
    ] {
        let source = format!("there:{top}/{path}");
        let mut explain = multi_sync(&work);
        explain.args(["explain", "-p", "2", "-f", "9", "-r", &options, &source, "D/"]).env("RSYNC_RSH", shell);
        let told = run(explain);
        if told.stdout_text().contains("Several rsyncs do it") != several {
            failed.push(format!("{options} {path}: {}", told.report()));
        }
        if *shell != forced {
            let words = [&source, "SIDE/D"];
            let twin = Twin::new(&work, words).options(&options).flags("-p 2 -f 9").env("RSYNC_RSH", shell);
            failed.extend(twin.difference());
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// A daemon does not tell which directory it serves, but it shows the attributes: if the directory is older than at the beginning, it is another one.
#[test]
fn a_module_that_is_replaced_is_told() {
    for (switch, code, said) in [
        // Atomically, so that either the old or the new directory is found at any time.
        ("ln -s second n; mv -T n m", 23, "was replaced while multi-sync ran"),
        ("touch m", 0, " changed while multi-sync ran"),
        ("true", 0, ""),
    ] {
        let work = Work::new();
        let fill = "mkdir first; for d in 1 2 3 4; do mkdir first/d$d; echo $d >first/d$d/f; done; touch -d @2000 first; \
                    cp -a first second; touch -d @1000 second; ln -s first m";
        run(sh(&work, fill)).expect_code(0);
        let top = work.path().display();
        work.file("conf", format!("use chroot = no\nuid = {0}\ngid = {0}\n[m]\npath = {top}/m\n", user()));
        let connect = format!(
            "cd '{top}'; n=1; while ! mkdir c$n 2>/dev/null; do n=$((n + 1)); done; [ $n != 5 ] || {{ {switch}; }}; \
             exec rsync --daemon --config='{top}/conf'"
        );
        let mut command = multi_sync(&work);
        command.args(["-p", "2", "-f", "2", "-r", "-a", "rsync://h/m/", "dest/"]).env("RSYNC_CONNECT_PROG", connect);
        let ran = run(command).expect_code(code);
        let silent = said.is_empty() && ran.stderr.is_empty();
        assert!(silent || !said.is_empty() && ran.stderr_text().contains(said), "{switch}: {}", ran.report());
    }
}

/// Whenever the module is replaced, either it is told, or everything was copied from the same directory.
#[test]
fn a_module_that_is_replaced_at_any_connection_is_told_or_does_not_matter() {
    let mut told = 0;
    for at in 1..12 {
        let work = Work::new();
        let fill = "mkdir first second; for d in 1 2 3 4; do mkdir first/d$d second/d$d; echo 1 >first/d$d/f; echo 2 >second/d$d/f; done; \
                    touch -d @2000 first; touch -d @1000 second; ln -s first m";
        run(sh(&work, fill)).expect_code(0);
        let top = work.path().display();
        work.file("conf", format!("use chroot = no\nuid = {0}\ngid = {0}\n[m]\npath = {top}/m\n", user()));
        let connect = format!(
            "cd '{top}'; n=1; while ! mkdir c$n 2>/dev/null; do n=$((n + 1)); done; \
             [ $n != {at} ] || {{ ln -s second n; mv -T n m; }}; exec rsync --daemon --config='{top}/conf'"
        );
        let mut command = multi_sync(&work);
        command.args(["-p", "2", "-f", "2", "-r", "-a", "rsync://h/m/", "dest/"]).env("RSYNC_CONNECT_PROG", connect);
        let ran = run(command);
        let of = |d: u32| fs::read_to_string(work.join(format!("dest/d{d}/f"))).unwrap_or_default();
        let copied: BTreeSet<String> = (1..5).map(of).collect();
        match ran.status.code() {
            Some(0) => assert_eq!(copied.len(), 1, "connection {at}: {copied:?}: {}", ran.report()),
            _ => told += u32::from(ran.stderr_text().contains("was replaced while multi-sync ran")),
        }
    }
    assert!(told > 2, "told {told} times");
}

/// If a daemon refuses something that only several rsyncs need, a single rsync is used.
#[test]
fn a_daemon_that_refuses_lists_is_asked_by_one() {
    let work = Work::new();
    run(sh(&work, "mkdir m; for d in 1 2 3 4; do mkdir m/d$d; echo $d >m/d$d/f; done")).expect_code(0);
    let top = work.path().display();
    let conf = "use chroot = no\nrefuse options = files-from";
    work.file("conf", format!("{conf}\nuid = {0}\ngid = {0}\n[m]\npath = {top}/m\n", user()));
    let connect = format!("rsync --daemon --config={top}/conf");
    let twin = Twin::new(&work, ["rsync://h/m/", "SIDE/D"]).options("-a").env("RSYNC_CONNECT_PROG", connect);
    let (_, many) = twin.same();
    assert!(many.stderr_text().contains("the daemon refuses lists of names"), "{}", many.report());
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[test]
#[ignore = "takes minutes: cargo test --test it held_source:: -- --ignored --nocapture"]
fn killed_at_random_moments_and_gone_on_with_is_identical() {
    let sshd = match Sshd::start() {
        Ok(sshd) => sshd,
        Err(why) => return support::skip("killed_at_random_moments_and_gone_on_with_is_identical", &why),
    };
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(600, Sizes::Uniform { min: 0, max: 20_000 }), 1).unwrap();
    let source = format!("{}:{}/src/", sshd.host(), work.path().display());
    let temporary = work.dir("tmp");
    let command = |words: &[&str]| {
        let mut command = multi_sync(&work);
        command.args(words).env("RSYNC_RSH", sshd.rsh()).env("TMPDIR", &temporary);
        command
    };
    let copy = |runs: &str| command(&["-p", "3", "-f", "60", "-b", runs, "-r", "-a --delete", &source, "dest/"]);
    let prepare =
        || run(sh(&work, "rm -rf dest runs; mkdir runs; mkdir -p dest/old/er; echo x >dest/old/er/f")).expect_code(0);
    let runs = work.join("runs").display().to_string();
    prepare();
    let began = Instant::now();
    run(copy(&runs)).expect_code(0);
    let whole = began.elapsed();
    let seed = number("KILL_SEED").unwrap_or(1);
    let mut random = Random::new(seed);
    let (mut killed, mut same, mut gone_on) = (0, 0, 0);
    let wanted = number("KILLS").unwrap_or(100);
    while killed < wanted {
        prepare();
        let started = start(copy(&runs));
        std::thread::sleep(whole.mul_f64(random.below(1000) as f64 / 1000.0));
        let signal = random.pick(&[Signal::KILL, Signal::KILL, Signal::TERM, Signal::INT]);
        started.signal(signal);
        let ran = started.finish(Duration::from_secs(60));
        if ran.status.code() == Some(0) {
            continue;
        }
        killed += 1;
        let ended = Instant::now();
        let ours = || {
            let all = processes::marked(&sshd.folder().display().to_string());
            all.into_iter()
                .filter(|live| live.command.contains("rsync --server") || live.command.starts_with("ssh "))
                .count()
        };
        let folders = || {
            fs::read_dir(&temporary)
                .unwrap()
                .flatten()
                .filter(|e| e.file_name().to_string_lossy().starts_with("ms-"))
                .count()
        };
        while ours() + folders() > 0 {
            assert!(ended.elapsed() < Duration::from_secs(5), "{} processes, {} folders are left", ours(), folders());
            std::thread::sleep(Duration::from_millis(50));
        }
        let dir =
            fs::read_dir(&runs).unwrap().flatten().map(|entry| entry.path()).find(|dir| dir.join("plan.json").exists());
        gone_on += u64::from(dir.is_some());
        let again = match dir {
            Some(dir) => run(command(&["resume", dir.to_str().unwrap()])),
            None => run(copy(&runs)),
        };
        let mut check = rsync(&work);
        check.args(["-anic", "--delete", "src/", "dest/"]);
        let differs = run(check).stdout_text();
        let again = again.expect_code(0).expect(differs.is_empty(), &differs);
        drop(again);
        same += 1;
    }
    println!("{same} of {killed} identical (KILL_SEED={seed}), {gone_on} resumed; a whole run took {whole:?}");
    assert!(gone_on * 4 >= killed, "only {gone_on} of {killed} runs left something to resume");
}
