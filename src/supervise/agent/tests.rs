use std::fs;

use rustix::process::kill_process;

use super::super::by_line;
use super::talk::CONNECTION;
use super::*;
use crate::supervise::Stop;

/// The shells of this machine, each as `sh`.
fn shells() -> Vec<Invocation> {
    let found = |words: &&[&str]| {
        let dirs = ["/bin", "/usr/bin"];
        dirs.iter().any(|dir| fs::metadata(format!("{dir}/{}", words[0])).is_ok())
    };
    let known: [&[&str]; 6] =
        [&["dash"], &["bash", "--posix"], &["busybox", "sh"], &["mksh"], &["zsh", "--emulate", "sh"], &["ksh"]];
    let way = |words: &[&str]| {
        let arguments = words[1..].iter().chain(&["-s"]).map(Into::into).collect();
        Invocation::new(words[0], arguments, "/")
    };
    known.into_iter().filter(found).map(way).collect()
}

fn sh() -> Invocation {
    Invocation::new("sh", vec!["-s".into()], "/")
}

fn begin(way: &Invocation) -> Agent {
    Agent::start(way, &Supervisor::default()).unwrap().unwrap()
}

fn body(text: &str) -> Vec<u8> {
    format!("sh -c '{text}' </dev/null 3<&- &\nr=$!\n").into_bytes()
}

fn run(agent: &mut Agent, text: &str) -> (Ended, Vec<String>) {
    let mut lines = Vec::new();
    let mut each = |stream, line: &[u8]| lines.push(format!("{stream:?} {}", String::from_utf8_lossy(line)));
    let ended = by_line(&mut each, |each| Supervisor::default().run_there(agent, &body(text), None, &|_| {}, each));
    (ended.unwrap(), lines)
}

/// How many processes have this word in their command line, and are not ending.
fn marked(mark: &str) -> usize {
    let lives = |pid: &str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter(|entry| entry.file_name().to_str().is_some_and(lives)).count()
}

/// Of a shell: what ends it if nothing is heard, the command, and the reader of lines.
fn children(of: rustix::process::Pid) -> usize {
    let of = of.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    children.split_whitespace().count()
}

fn wait_until(what: &str, limit: Duration, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < limit, "{what}: not after {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A command that starts a process which does not end by itself, and one that ignores SIGTERM.
fn lasting(mark: &str) -> String {
    format!("sleep {mark} & (trap \"\" TERM; exec sleep {mark}) & echo up; wait")
}

#[test]
fn streams_stay_apart_and_codes_come_back_in_every_shell() {
    for shell in shells() {
        let mut agent = begin(&shell);
        for n in 0..20 {
            let (ended, lines) = run(&mut agent, &format!("printf \"o{n}\\nlast\"; echo e{n} >&2; exit {n}"));
            let of = |name: &str| lines.iter().filter(|line| line.starts_with(name)).cloned().collect::<Vec<_>>();
            assert_eq!(ended, Ended::Code(n), "{shell}");
            assert_eq!(of("Stdout"), [format!("Stdout o{n}"), "Stdout last".into()], "{shell}");
            assert_eq!(of("Stderr"), [format!("Stderr e{n}")], "{shell}");
        }
        let began = Instant::now();
        agent.end(POLITE);
        assert!(began.elapsed() < Duration::from_secs(2), "{shell}");
    }
}

#[test]
fn nothing_is_left_however_the_other_end_goes() {
    let ways = [("its input ends", None), ("asked to end", Some(Signal::TERM)), ("killed", Some(Signal::KILL))];
    let goes = |shell: &Invocation, mark: &str, (what, signal): (&str, Option<Signal>)| {
        let mut agent = begin(shell);
        let (wire, leader) = (Arc::clone(&agent.wire), pid(&agent.child));
        let (supervisor, text) = (Supervisor::default(), body(&lasting(mark)));
        let ended = std::thread::scope(|scope| {
            let ran = scope.spawn(|| supervisor.run_there(&mut agent, &text, None, &|_| {}, &mut |_, _| {}));
            // A shell that is killed before its reader has started leaves the command.
            let is_read = || children(leader) >= 3;
            wait_until("it runs", Duration::from_secs(60), || marked(mark) == 2 && is_read());
            match signal {
                None => wire.close(),
                Some(signal) => kill_process(leader, signal).unwrap(),
            }
            ran.join().unwrap().unwrap()
        });
        assert_ne!(ended, Ended::Code(0), "{shell}, {what}");
        wait_until(what, Duration::from_secs(30), || marked(mark) == 0);
    };
    std::thread::scope(|scope| {
        for (at, shell) in shells().into_iter().enumerate() {
            for (number, way) in ways.into_iter().enumerate() {
                let (shell, mark) = (shell.clone(), format!("9{at}{number}.{}", std::process::id()));
                scope.spawn(move || goes(&shell, &mark, way));
            }
        }
    });
}

#[test]
fn a_signal_between_the_start_of_a_command_and_its_number_ends_it() {
    for (at, shell) in shells().into_iter().enumerate() {
        let mark = format!("86{at}.{}", std::process::id());
        let text = format!("sleep {mark} </dev/null 3<&- &\nkill -TERM $$\nr=$!\n");
        let mut agent = begin(&shell);
        let ended =
            Supervisor::default().run_there(&mut agent, text.as_bytes(), None, &|_| {}, &mut |_, _| {}).unwrap();
        assert_ne!(ended, Ended::Code(0), "{shell}");
        wait_until("its end", Duration::from_secs(10), || has_died(&agent.child));
        wait_until("what it ran", Duration::from_secs(1), || marked(&mark) == 0);
    }
}

/// The signal starts the process that ends a command. The shell must not end that process when it means to end the reader of lines.
#[test]
fn a_signal_beside_the_start_of_the_reader_of_lines_ends_what_a_command_has_started() {
    // Twice, because ksh93 misses a signal that comes just before it waits.
    const SIGNALS: &str =
        "g() { kill -TERM $$; sleep 2; kill -TERM $$; while read -r y; do [ $y != E ] || exit 0; done; }";
    let ends = |shell: &Invocation, mark: &str| {
        let text = format!("{SIGNALS}\n{}", String::from_utf8(body(&format!("sleep {mark} & wait"))).unwrap());
        let mut agent = begin(shell);
        let ended = Supervisor::default().run_there(&mut agent, text.as_bytes(), None, &|_| {}, &mut |_, _| {});
        assert_ne!(ended.unwrap(), Ended::Code(0), "{shell}");
        wait_until("what it ran", Duration::from_secs(10), || marked(mark) == 0);
    };
    std::thread::scope(|scope| {
        for (at, shell) in shells().into_iter().enumerate() {
            for number in 0..8 {
                let (shell, mark) = (shell.clone(), format!("7{at}{number}.{}", std::process::id()));
                scope.spawn(move || ends(&shell, &mark));
            }
        }
    });
}

/// Like a machine that is gone: the pipe stays open, and nothing comes.
#[test]
fn a_shell_that_hears_nothing_ends_what_it_runs() {
    for (mark, runs) in [("851", true), ("852", false)] {
        let mark = format!("{mark}.{}", std::process::id());
        let mut agent = Agent::start_with(&sh(), &Supervisor::default(), 1).unwrap().unwrap();
        let supervisor = Supervisor::default();
        assert_eq!(run(&mut agent, "true").0, Ended::Code(0));
        let began = Instant::now();
        if runs {
            let ended =
                supervisor.run_there(&mut agent, &body(&lasting(&mark)), None, &|_| {}, &mut |_, _| {}).unwrap();
            assert_ne!(ended, Ended::Code(0));
        }
        wait_until("a shell that hears nothing", Duration::from_secs(30), || has_died(&agent.child));
        assert!(began.elapsed() > Duration::from_secs(2));
        wait_until("what it ran", Duration::from_secs(10), || marked(&mark) == 0);
    }
}

#[test]
fn what_keeps_output_back_is_answered_whatever_comes() {
    let lines = std::env::temp_dir().join(format!("multi-sync-answers-{}", std::process::id()));
    let way = format!("tee '{}' | sh -s", lines.display());
    for (waits, answers) in [(false, 2..=2), (true, 4..=5)] {
        let way = Invocation::new("sh", vec!["-c".into(), way.clone().into()], "/");
        let mut agent = begin(&way).that_waits_for_answers(waits);
        assert_eq!(run(&mut agent, "echo a; sleep 1; echo b; sleep 1").0, Ended::Code(0));
        agent.end(POLITE);
        let sent = fs::read_to_string(&lines).unwrap();
        // One for each mark of a beginning.
        let count = sent.lines().filter(|line| *line == there::HEARS).count();
        assert!(answers.contains(&count), "{waits}: {count}");
    }
    fs::remove_file(&lines).unwrap();
}

/// The thread that would end a pause may be the one that has a shell ready on a host.
#[test]
fn a_pause_does_not_hold_up_who_starts_an_agent() {
    let supervisor = Supervisor::default();
    supervisor.pause();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let started = scope.spawn(|| Agent::start(&sh(), &supervisor).unwrap());
        while !started.is_finished() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let in_time = started.is_finished();
        supervisor.go_on();
        assert!(in_time && started.join().unwrap().is_some());
    });
}

#[test]
fn one_that_is_kept_alive_stays() {
    let mut agent = Agent::start_with(&sh(), &Supervisor::default(), 1).unwrap().unwrap();
    assert_eq!(run(&mut agent, "true").0, Ended::Code(0));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        agent.wire.pulse();
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(run(&mut agent, "true").0, Ended::Code(0));
}

#[test]
fn the_end_of_everything_ends_it_politely() {
    let (supervisor, mut agent) = (Supervisor::default(), begin(&sh()));
    let text = body("trap \"echo asked; exit 20\" TERM; echo up; sleep 100 & wait");
    let mut out = Vec::new();
    let ended = supervisor.run_there(&mut agent, &text, None, &|_| {}, &mut |_, bytes| {
        out.extend_from_slice(bytes.unwrap_or_default());
        supervisor.stop(Stop::Terminate);
    });
    assert_eq!((ended.unwrap(), &out[..]), (Ended::Code(20), &b"up\nasked\n"[..]));
    assert!(!agent.is_usable());
    assert_eq!(supervisor.run_there(&mut agent, &text, None, &|_| {}, &mut |_, _| {}).unwrap(), Ended::NotStarted);
}

#[test]
fn one_that_does_nothing_is_stalled_and_one_that_reads_is_not() {
    let stall = Some(Duration::from_secs(2));
    let mut each = |_: Stream, _: Option<&[u8]>| {};
    let supervisor = Supervisor::default();
    let reads = "n=0; while [ $n -lt 40 ]; do read -r x </proc/self/stat; sleep 0.1; n=$((n+1)); done";
    let ended = supervisor.run_there(&mut begin(&sh()), &body(reads), stall, &|_| {}, &mut each);
    assert_eq!(ended.unwrap(), Ended::Code(0));
    let ended = supervisor.run_there(&mut begin(&sh()), &body("sleep 50"), stall, &|_| {}, &mut each);
    assert_eq!(ended.unwrap(), Ended::Stalled);
}

#[test]
fn what_is_no_shell_is_the_end_of_a_connection() {
    for (program, code) in [("true", CONNECTION), ("false", CONNECTION)] {
        let mut agent = begin(&Invocation::new(program, vec![], "/"));
        assert_eq!(run(&mut agent, "true").0, Ended::Code(code));
        assert!(!agent.is_usable());
    }
    let mut agent = begin(&Invocation::new("sh", vec!["-c".into(), "echo no >&2; exit 127".into()], "/"));
    assert_eq!(run(&mut agent, "true"), (Ended::Code(127), vec!["Stderr no".to_owned()]));
}
