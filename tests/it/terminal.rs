//! multi-sync at a terminal: the progress line, keys that send signals, a window that is closed, and SIGUSR1.

use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use crate::support;
use crate::support::command::{Signal, command, multi_sync, run, sh, start};
use crate::support::processes::{self, expect_gone};
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::sshd::Sshd;
use crate::support::terminal::Terminal;
use crate::support::twin::{fake_rsync, temporary_files};
use crate::support::work::Work;

/// Reached only if the test fails.
const SOON: Duration = Duration::from_secs(60);

/// Files whose copy takes longer than any test, and that need no space.
fn slow(work: &Work) {
    for name in ["src/a/1", "src/a/2", "src/b/3", "src/b/4"] {
        File::create(work.file(name, "")).unwrap().set_len(64 << 30).unwrap();
    }
    (0..20).for_each(|number| drop(work.file(format!("src/small/{number}"), "small")));
}

fn slowly(work: &Work, more: &[&str]) -> Command {
    slow(work);
    let mut command = multi_sync(work);
    command.args(["-p", "2", "-f", "3"]).args(more).args(["src/", "dest"]);
    command
}

#[track_caller]
fn at_a_terminal(command: Command, columns: u16) -> Terminal {
    Terminal::start(command, columns).unwrap_or_else(|why| panic!("{why}"))
}

fn in_transfer(work: &Work, terminal: &Terminal) {
    terminal.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("dest")).len() > 1);
}

fn expect_clean(work: &Work) {
    assert_eq!(temporary_files(&work.join("dest")), Vec::<std::path::PathBuf>::new());
    assert_eq!(fs::read_dir(work.join("tmp")).unwrap().count(), 0, "nothing is left in TMPDIR");
}

/// Each line as it was drawn.
fn drawn(seen: &str) -> Vec<&str> {
    let lines = seen.split("\r\x1b[K").map(|line| line.split(['\r', '\n', '\x1b']).next().unwrap_or_default());
    lines.filter(|line| line.contains('%')).collect()
}

#[test]
fn the_line_fits_the_terminal_and_keeps_what_matters() {
    for columns in [80, 40] {
        let work = Work::new();
        let terminal = at_a_terminal(slowly(&work, &["-P"]), columns);
        let expects = |line: &&&str| {
            line.split_once("ETA ").is_some_and(|(_, end)| end.starts_with(|c: char| c.is_ascii_digit()))
        };
        terminal.wait_for("estimate", SOON, |seen| drawn(seen).iter().filter(expects).count() > 5);
        for line in drawn(&terminal.seen()) {
            assert!(line.len() < usize::from(columns), "{line:?}");
            let ends_whole = ["elapsed", "running", "waiting", "-", " s", " min", " h", " days"]
                .iter()
                .any(|end| line.ends_with(end))
                || line.rsplit_once("ETA ").is_some_and(|(_, time)| time.matches(':').count() == 2);
            // An estimate of many days leaves no room for the sizes.
            let tells_size = line.contains("/256.0 GiB") || columns == 40 && line.ends_with(" days");
            assert!(ends_whole && tells_size && line.contains("ETA"), "{line:?}");
        }
        terminal.resize(20);
        terminal.wait_for("narrow line", SOON, |seen| drawn(seen).last().is_some_and(|line| line.len() < 20));
    }
}

/// Below the line of the whole run there is one for each slot, and all of them are redrawn in place.
#[test]
fn each_slot_has_a_line_if_that_is_asked_for() {
    for columns in [120, 40] {
        let work = Work::new();
        let mut terminal = at_a_terminal(slowly(&work, &["-PP"]), columns);
        let last = |seen: &str| seen.rsplit("\x1b[J").next().unwrap_or_default().replace('\r', "");
        let is_whole = |seen: &str| {
            let last = last(seen);
            let lines: Vec<&str> = last.split('\n').collect();
            lines.len() == 3 && lines[0].contains('%') && lines[1].contains("/s") && lines[2].starts_with("   2  ")
        };
        terminal.wait_for("lines", SOON, is_whole);
        assert!(last(&terminal.seen()).split('\n').all(|line| line.len() < columns.into()));
        // A window that has become narrower has broken each line into several.
        terminal.resize(30);
        let narrow = |seen: &str| is_whole(seen) && last(seen).split('\n').all(|line| line.len() < 30);
        terminal.wait_for("narrow lines", SOON, narrow);
        terminal.types("\x03");
        terminal.ends(SOON);
        // The last line is that of the whole run, and later output is below it.
        let seen = terminal.seen();
        let end = last(&seen);
        let lines: Vec<&str> = end.lines().collect();
        assert!(
            lines.len() > 2 && lines[0].contains('%') && lines.iter().skip(1).all(|line| line.contains("multi-sync")),
            "{end}"
        );
    }
}

/// Such as a serial console, or the shell of an editor.
#[test]
fn a_terminal_that_cannot_move_its_cursor_gets_lines() {
    let work = Work::new();
    let mut command = slowly(&work, &["-P"]);
    command.env("TERM", "dumb");
    let mut terminal = at_a_terminal(command, 80);
    terminal.wait_for("two lines", SOON, |seen| seen.matches("elapsed").count() > 1);
    terminal.types("\x03");
    assert_eq!(terminal.ends(SOON).0, Some(20));
    let seen = terminal.seen();
    assert!(!seen.contains('\x1b') && !seen.replace("\r\n", "").contains('\r'), "{seen:?}");
    let first = seen.lines().next().unwrap_or_default();
    assert!(first.contains("entries") && !first.contains("  0 B/"), "{seen}");
}

/// With `-v` names are printed all the time. The line is drawn again below each of them, but not if they reach the terminal through a pipe, and therefore later.
#[test]
fn the_line_stays_while_names_are_printed() {
    for piped in [false, true] {
        let work = Work::new();
        slow(&work);
        let mut command = multi_sync(&work);
        let words = ["-p", "2", "-f", "3", "-P", "-r", "-av", "src/", "dest"];
        if piped {
            let program = command.get_program().to_str().unwrap().to_owned();
            command = sh(&work, &format!("{program} {} | cat", words.join(" ")));
        } else {
            command.args(words);
        }
        let numbers: Vec<String> = (1..=20).map(|number| number.to_string()).collect();
        let prints =
            format!("sleep 1; for n in {}; do echo name$n.; sleep 0.02; done; exec REAL \"$@\"", numbers.join(" "));
        fake_rsync(&mut command, &work, &prints);
        let mut terminal = at_a_terminal(command, 80);
        let after_a_line = |seen: &str| seen.split_once("elapsed").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        let names = |seen: &str| after_a_line(seen).matches("name").count();
        terminal.wait_for("names", SOON, |seen| names(seen) > 30);
        terminal.types("\x03");
        terminal.ends(SOON);
        let seen = terminal.seen();
        let rest = after_a_line(&seen);
        let followed = rest.split("name").skip(1).filter(|after| after.contains("elapsed")).count();
        let mixed = seen.matches("elapsedname").count();
        let right = if piped { mixed < 5 } else { 2 * followed > names(&seen) && mixed == 0 };
        assert!(right, "{followed} of {} names are followed by a line, {mixed} are in one: {seen:?}", names(&seen));
    }
}

/// Progress never decreases when a launch is lost, and nothing is counted twice.
#[test]
fn progress_never_goes_back() {
    let work = Work::new();
    let mut terminal = at_a_terminal(slowly(&work, &["-P"]), 120);
    terminal.wait_for("percent", SOON, |seen| drawn(seen).last().is_some_and(|line| !line.contains("  0%")));
    terminal.types("\x03");
    let (code, took) = terminal.ends(SOON);
    assert_eq!(code, Some(20));
    assert!(took < Duration::from_secs(10), "{took:?}");
    let seen = terminal.seen();
    let percents: Vec<u32> = drawn(&seen)
        .iter()
        .filter_map(|line| line.split("  ").find_map(|part| part.strip_suffix('%')?.parse().ok()))
        .collect();
    assert!(percents.is_sorted() && percents.last().is_some_and(|last| (1..99).contains(last)), "{percents:?}\n{seen}");
    expect_clean(&work);
}

#[test]
fn who_asks_by_sigusr1_is_told_and_the_run_goes_on() {
    let work = Work::new();
    for number in 0..40 {
        work.file(format!("src/d{}/{number}", number % 4), [b'x'; 4096]);
    }
    File::create(work.file("src/d0/big", "")).unwrap().set_len(6 << 20).unwrap();
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-f", "8", "-r", "-a --bwlimit=4m", "src/", "dest"]);
    let mut started = start(command);
    started.wait_for("files", SOON, |_| work.join("dest/d0").exists());
    started.signal(Signal::USR1);
    started.wait_for("an answer", SOON, |started| started.stderr_so_far().contains(&b'\n'));
    let ran = started.finish(SOON).expect_code(0);
    let said = ran.stderr_text();
    let mut lines = said.lines();
    let whole = lines.next().is_some_and(|line| line.contains("/46 entries  ") && line.ends_with("elapsed"));
    // Each launch with its slot and its current name.
    let launches = lines.all(|line| ["   1  ", "   2  "].iter().any(|slot| line.starts_with(slot)));
    let as_wanted = whole && launches && ran.stdout.is_empty();
    ran.expect(as_wanted, "a line of progress and one for each launch, on standard error");
}

/// Also before anything runs, and if one rsync does everything.
#[test]
fn sigusr1_ends_nothing() {
    let work = Work::new();
    work.file("src/a", "a");
    let mut command = multi_sync(&work);
    command.args(["src/", "dest"]);
    fake_rsync(&mut command, &work, "echo >up; sleep 2; exec REAL \"$@\"");
    let mut started = start(command);
    let begun = |work: &Work| work.join("up").exists() || work.join("src/up").exists();
    started.wait_for("rsync", SOON, |_| begun(&work));
    started.signal(Signal::USR1);
    let ran = started.finish(SOON).expect_code(0);
    let told = ran.stderr_text().contains("1 rsync running");
    ran.expect(told, "where it stands");
}

#[test]
fn one_interrupt_is_polite_and_the_second_kills() {
    let work = Work::new();
    let mut terminal = at_a_terminal(slowly(&work, &[]), 80);
    in_transfer(&work, &terminal);
    terminal.types("\x03");
    let (code, took) = terminal.ends(SOON);
    assert_eq!(code, Some(20), "{}", terminal.seen());
    assert!(took < Duration::from_secs(10), "{took:?}");
    expect_gone(terminal.mark(), Duration::ZERO);
    expect_clean(&work);
    assert!(terminal.echoes());

    let work = Work::new();
    let mut command = slowly(&work, &[]);
    fake_rsync(
        &mut command,
        &work,
        "trap '' TERM INT HUP; echo >>UP; while :; do sleep 1; done"
            .replace("UP", work.join("up").to_str().unwrap())
            .as_str(),
    );
    let mut terminal = at_a_terminal(command, 80);
    terminal.wait_for("rsync", SOON, |_| work.join("up").exists());
    terminal.types("\x03");
    std::thread::sleep(Duration::from_millis(500));
    terminal.types("\x03");
    let (code, took) = terminal.ends(SOON);
    assert_eq!(code, Some(20), "{}", terminal.seen());
    assert!(took < Duration::from_secs(10), "{took:?}");
    expect_gone(terminal.mark(), Duration::ZERO);
}

/// With a shell that has job control.
#[test]
fn a_job_that_is_stopped_stops_all_and_goes_on() {
    let work = Work::new();
    if !run(sh(&work, "command -v bash")).status.success() {
        return support::skip("a_job_that_is_stopped_stops_all_and_goes_on", "bash is not installed");
    }
    let script = slowly(&work, &["-P", "--stall", "1", "-r", "-a --bwlimit=30m"]);
    let mut shell = command(&work, "bash");
    shell.args(["--norc", "--noprofile", "-i"]).env("PS1", "@ ");
    let mut terminal = at_a_terminal(shell, 120);
    terminal.wait_for("prompt", SOON, |seen| seen.contains("@ "));
    let words: Vec<&str> = script.get_args().filter_map(|word| word.to_str()).collect();
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    terminal.types(&format!("{} {}; echo code $?.\r", script.get_program().to_str().unwrap(), words.join(" ")));
    in_transfer(&work, &terminal);
    terminal.types("\x1a");
    terminal.wait_for("stop", SOON, |seen| seen.contains("Stopped"));
    let written = || -> u64 {
        let files = temporary_files(&work.join("dest"));
        files
            .iter()
            .map(|file| fs::metadata(file).map_or(0, |found| std::os::unix::fs::MetadataExt::blocks(&found)))
            .sum()
    };
    // The processes of the other side process the rest of their pipes.
    std::thread::sleep(Duration::from_secs(1));
    let before = written();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(written(), before, "something is written while all is stopped");
    terminal.types("fg\r");
    terminal.wait_for("more data", SOON, |_| written() > before);
    std::thread::sleep(Duration::from_millis(1500));
    let seen = terminal.seen();
    assert!(!seen.contains("trying again"), "time while it was stopped does not count: {seen}");
    terminal.types("\x03");
    terminal.wait_for("end", SOON, |seen| seen.contains("interrupted: "));
    expect_clean(&work);
    terminal.types("exit\r");
    terminal.ends(SOON);
}

#[test]
fn a_window_that_is_closed_ends_the_run_unless_that_was_ruled_out() {
    let work = Work::new();
    let mut terminal = at_a_terminal(slowly(&work, &["-P"]), 80);
    in_transfer(&work, &terminal);
    terminal.closes();
    assert_eq!(terminal.ends(SOON).0, Some(20));
    expect_gone(terminal.mark(), Duration::ZERO);
    expect_clean(&work);

    let work = Work::new();
    let program = slowly(&work, &[]).get_program().to_str().unwrap().to_owned();
    let mut terminal = at_a_terminal(sh(&work, &format!("exec nohup {program} -P -p 2 -f 3 src/ dest >out 2>&1")), 80);
    in_transfer(&work, &terminal);
    terminal.closes();
    std::thread::sleep(Duration::from_millis(800));
    assert!(!temporary_files(&work.join("dest")).is_empty() && !processes::marked(terminal.mark()).is_empty());
}

#[test]
fn a_terminal_that_nobody_reads_does_not_keep_a_signal_from_ending_the_run() {
    let work = Work::new();
    let mut command = multi_sync(&work);
    for number in 0..30 {
        work.file(format!("src/{}/{number}", number % 3), "");
    }
    fake_rsync(&mut command, &work, "yes line | head -c 300000; exec REAL \"$@\"");
    command.args(["-p", "2", "-f", "5", "-P", "-r", "-av", "src/", "dest"]);
    let mut terminal = at_a_terminal(command, 80);
    terminal.wait_for("output", SOON, |seen| seen.contains("line"));
    terminal.stops_reading();
    std::thread::sleep(Duration::from_millis(500));
    // ^C would flush the terminal's buffer.
    let pid = rustix::process::Pid::from_raw(terminal.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(terminal.ends(SOON / 4).0, Some(20));
    expect_gone(terminal.mark(), Duration::ZERO);
    expect_clean(&work);
}

/// Like one rsync with a reader that closes the pipe.
#[test]
fn a_reader_that_goes_away_changes_nothing() {
    let work = Work::new();
    (0..200).for_each(|number| drop(work.file(format!("src/{}/{number}", number % 5), "x")));
    let program = multi_sync(&work).get_program().to_str().unwrap().to_owned();
    let script = format!("{{ {program} -p 2 -f 20 -r -av src/ dest; echo $? >code; }} | head -n 1; cat code");
    let ran = run(sh(&work, &script)).expect_code(0);
    let ended = ran.stdout_text().ends_with("0\n");
    let ran = ran.expect(ended, "it ends with 0");
    let report = multi_sync::harness::verify::compare(
        &work.join("src"),
        &work.join("dest"),
        &multi_sync::harness::verify::Options::archive(),
    );
    ran.expect(report.unwrap().is_same(), "everything is there");
}

/// A remote shell that asks for a word at the terminal without showing it, as ssh asks for a password.
fn asking_shell(work: &Work) -> String {
    let shell = "#!/bin/sh\n\
        exec 3<>/dev/tty || exit 255\n\
        printf 'word: ' >&3; stty -echo <&3; read -r word <&3; stty echo <&3\n\
        [ \"$word\" = sesame ] || { echo 'h: Permission denied (password).' >&2; exit 255; }\n\
        exec 3>&-; shift; exec sh -c \"$*\"\n";
    support::work::set_mode(&work.file("shell", shell), 0o755);
    format!("-a -e {}", work.join("shell").display())
}

#[test]
fn what_one_rsync_does_alone_may_ask_at_the_terminal() {
    let work = Work::new();
    let options = asking_shell(&work);
    work.file("src/d/file", "content");
    let asked = |more: &[&str]| {
        let mut command = multi_sync(&work);
        command.args(["-p", "4", "-P", "-r", &options]).args(more);
        command.arg("src/").arg(format!("h:{}", work.join("dest").display()));
        let terminal = at_a_terminal(command, 80);
        terminal.wait_for("question", SOON, |seen| seen.contains("word: "));
        terminal.wait_for("secrecy", SOON, |_| !terminal.echoes());
        // The progress line does not overwrite the question.
        std::thread::sleep(Duration::from_millis(600));
        assert!(terminal.seen().ends_with("word: "), "{}", terminal.seen());
        terminal
    };
    let mut terminal = asked(&[]);
    terminal.types("\x03");
    assert_eq!(terminal.ends(SOON).0, Some(20), "{}", terminal.seen());
    assert!(terminal.echoes(), "settings are as before");
    expect_gone(terminal.mark(), Duration::ZERO);

    let mut terminal = asked(&[]);
    terminal.types("sesame\r");
    assert_eq!(terminal.ends(SOON).0, Some(0), "{}", terminal.seen());
    assert!(terminal.echoes() && !terminal.seen().contains("sesame"), "{}", terminal.seen());
    assert_eq!(fs::read_to_string(work.join("dest/d/file")).unwrap(), "content");

    // A killed run also ends the processes that it has started, even if it shares its session with others.
    let terminal = asked(&[]);
    let pid = rustix::process::Pid::from_raw(terminal.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    expect_gone(terminal.mark(), SOON / 6);
}

#[test]
fn several_rsyncs_ask_nothing_and_say_what_to_do() {
    let work = Work::new();
    let options = asking_shell(&work);
    (0..40).for_each(|number| drop(work.file(format!("src/{}/{number}", number % 4), "")));
    // As ssh does without a terminal. The pipe is held open for a moment, because an rsync that finds it closed before its shell has ended returns 12.
    let says = "#!/bin/sh\n(exec 3>/dev/tty) 2>/dev/null && exit 3\n\
        for _ in 1 2; do echo 'Permission denied, please try again.' >&2; done\n\
        echo 'u@h: Permission denied (publickey,password).' >&2; sleep 0.3 2>/dev/null & exit 255\n";
    support::work::set_mode(&work.file("shell", says), 0o755);
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-f", "5", "-r", &options, "src/"]).arg(format!("u@h:{}", work.join("dest").display()));
    let mut terminal = at_a_terminal(command, 120);
    assert_eq!(terminal.ends(SOON).0, Some(255), "{}", terminal.seen());
    let seen = terminal.seen();
    assert!(
        !seen.contains("try again") && seen.contains("to do: use an ssh key or an agent (`ssh-copy-id u@h`)"),
        "{seen}"
    );
    assert!(!seen.contains("--buckets"), "nothing was begun: {seen}");
}

/// With a real ssh and an rsync daemon: an unknown host key, and a password that was not given.
#[test]
fn host_keys_and_passwords_are_asked_for_by_one_rsync_and_explained_by_several() {
    const NAME: &str = "host_keys_and_passwords_are_asked_for_by_one_rsync_and_explained_by_several";
    let work = Work::new();
    (0..40).for_each(|number| drop(work.file(format!("src/{}/{number}", number % 4), "")));
    let several = ["-p", "2", "-f", "5"];
    // The pipe is held open for a moment, because an rsync that finds it closed before its ssh has ended returns 12.
    let patient = work.file(
        "bin/ssh",
        "#!/bin/sh\nPATH=${PATH#*:}\nssh \"$@\"; code=$?\n[ $code != 255 ] || sleep 0.3 2>/dev/null &\nexit $code\n",
    );
    support::work::set_mode(&patient, 0o755);
    let path = format!("{}:{}", work.join("bin").display(), std::env::var("PATH").unwrap());
    let copy = |more: &[&str], options: &str, dest: &std::ffi::OsStr| {
        let mut command = multi_sync(&work);
        command.env("PATH", &path);
        command.args(more).args(["-r", options, "src/"]).arg(dest);
        at_a_terminal(command, 200)
    };
    match Sshd::start() {
        Err(why) => support::skip(NAME, &why),
        Ok(sshd) => {
            let known = work.join("known");
            let options = format!(
                "-a -e \"{} -o BatchMode=no -o StrictHostKeyChecking=ask -o UserKnownHostsFile={}\"",
                sshd.rsh(),
                known.display()
            );
            let dest = sshd.remote(work.join("by-ssh"));
            let mut terminal = copy(&several, &options, &dest);
            assert_eq!(terminal.ends(SOON).0, Some(255), "{}", terminal.seen());
            let (seen, known) = (terminal.seen(), known.display());
            let todo = format!("-o UserKnownHostsFile={known} {}` and accept the host key", sshd.host());
            assert!(
                seen.contains("to do: log in once with `ssh ")
                    && seen.contains(&todo)
                    && !terminal.seen().contains("(yes/no"),
                "{}",
                terminal.seen()
            );
            let mut terminal = copy(&[], &options, &dest);
            terminal.wait_for("question", SOON, |seen| seen.contains("(yes/no"));
            terminal.types("yes\r");
            assert_eq!(terminal.ends(SOON).0, Some(0), "{}", terminal.seen());
            assert!(work.join("by-ssh/0").exists() && terminal.echoes());
        }
    }
    let module = Module::new("secret", work.dir("module")).line("read only = no").login("lab", "word");
    match Rsyncd::start(&[module]) {
        Err(why) => support::skip(NAME, &why),
        Ok(daemon) => {
            let dest = format!("{}/d", daemon.url("secret").trim_end_matches('/'));
            let dest = if dest.contains('@') { dest } else { dest.replace("rsync://", "rsync://lab@") };
            let mut terminal = copy(&several, "-a", dest.as_ref());
            assert_eq!(terminal.ends(SOON).0, Some(5), "{}", terminal.seen());
            let seen = terminal.seen();
            assert!(
                seen.contains("to do: check the name lab")
                    && seen.contains("--password-file")
                    && !seen.contains("Password:"),
                "{seen}"
            );
            let mut terminal = copy(&[], "-a", dest.as_ref());
            terminal.wait_for("question", SOON, |seen| seen.contains("Password:"));
            terminal.types("word\r");
            assert_eq!(terminal.ends(SOON).0, Some(0), "{}", terminal.seen());
            assert!(work.join("module/d/0").exists() && terminal.echoes() && !terminal.seen().contains("word\r"));
        }
    }
}

/// A host that drops all packets: nothing is done, and no rsync waits for files.
#[test]
fn who_has_not_been_answered_connects() {
    let work = Work::new();
    (0..40).for_each(|number| drop(work.file(format!("src/{}/{number}", number % 4), "content")));
    support::work::set_mode(&work.file("shell", "#!/bin/sh\nexec sleep 100\n"), 0o755);
    let options = format!("-a -e {}", work.join("shell").display());
    let waiting = [&["-p", "2", "-f", "5", "-P"][..], &["-P"]].map(|more| {
        let mut command = multi_sync(&work);
        command.args(more).args(["-r", &options, "src/", "h:dest"]);
        start(command)
    });
    for mut started in waiting {
        let says = |started: &support::command::Started| String::from_utf8_lossy(&started.stderr_so_far()).into_owned();
        started.wait_for("line", SOON, |started| says(started).contains("elapsed"));
        let said = says(&started);
        let line = said.lines().find(|line| line.contains("elapsed")).unwrap_or_default();
        assert!(line.contains("  connecting  ") && line.contains("  0 B/") && line.starts_with("0/"), "{said}");
    }
}
