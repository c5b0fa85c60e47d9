use std::io::Write;

use super::*;

fn sh(script: &str) -> Invocation {
    Invocation::new("sh", vec!["-c".into(), script.into()], "/")
}

fn run(script: &str) -> (Ended, Vec<String>) {
    let mut lines = Vec::new();
    let ended = Supervisor::default()
        .run(&sh(script), &mut |stream, line| lines.push(format!("{stream:?} {}", String::from_utf8_lossy(line))))
        .unwrap();
    (ended, lines)
}

#[test]
fn codes_signals_and_lines_come_back() {
    assert_eq!(run("exit 23").0, Ended::Code(23));
    assert_eq!(run("kill -9 $$").0, Ended::Signal(9));
    let (_, lines) = run(r"printf 'a\rb\n\nlast'; printf 'error\n' >&2");
    let of = |name: &str| lines.iter().filter(|l| l.starts_with(name)).cloned().collect::<Vec<_>>();
    assert_eq!(of("Stdout"), ["Stdout a", "Stdout b", "Stdout ", "Stdout last"]);
    assert_eq!(of("Stderr"), ["Stderr error"]);
}

#[test]
fn a_child_whose_end_another_has_taken_is_no_fault_of_the_library() {
    let mut takes = |_, line: &[u8]| {
        let number: i32 = String::from_utf8_lossy(line).parse().unwrap();
        rustix::process::waitpid(Pid::from_raw(number), rustix::process::WaitOptions::empty()).unwrap();
    };
    let error = Supervisor::default().run(&sh("echo $$"), &mut takes).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::System, "{error}");
    assert!(error.advice().is_some_and(|advice| advice.contains("SIGCHLD")), "{error:?}");
}

#[test]
fn input_is_read_to_its_end() {
    let invocation = Invocation { input: b"a\nb\n".to_vec(), ..sh("cat; cat") };
    let mut lines = Vec::new();
    Supervisor::default().run(&invocation, &mut |_, line| lines.push(line.to_vec())).unwrap();
    assert_eq!(lines, [b"a", b"b"]);
}

#[test]
fn input_that_is_held_open_is_written_whole_and_ends_with_the_child() {
    let text = vec![b'x'; 1 << 20];
    let script = "head -c 1048576 | wc -c; read more && echo more; echo end";
    let mut invocation = sh("head -c 1048576 | wc -c; echo end");
    (invocation.held, invocation.input) = (true, text);
    let mut lines = Vec::new();
    Supervisor::default().run(&invocation, &mut |_, line| lines.push(line.to_vec())).unwrap();
    assert_eq!(lines, [&b"1048576"[..], b"end"]);
    // A reader waits until it is ended.
    invocation.arguments[1] = script.into();
    let stall = Some(Duration::from_secs(2));
    let ended = Supervisor::default().run_while_alive(&invocation, stall, &mut |_, line| assert_ne!(line, b"end"));
    assert_eq!(ended.unwrap(), Ended::Stalled);
}

#[test]
fn names_are_waited_for() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            writer.write_all(b"a\nb\n").unwrap();
        });
        let mut lines = Vec::new();
        let mut each = |_, line: &[u8]| lines.push(line.to_vec());
        let ended = Supervisor::default().run_reading(&sh("cat"), Some(reader), None, &|_| {}, &mut each);
        assert_eq!((ended.unwrap(), lines), (Ended::Code(0), vec![b"a".to_vec(), b"b".to_vec()]));
    });
}

#[test]
fn much_output_on_both_streams_does_not_block() {
    let (ended, lines) = run("yes 12345678 | head -n 100000 & yes 12345678 | head -n 100000 >&2; wait");
    assert_eq!((ended, lines.len()), (Ended::Code(0), 200_000));
}

#[test]
fn errors_are_heard_before_what_was_printed_after_them() {
    let (_, lines) = run("for n in $(seq 2000); do echo e$n >&2; echo o$n; done");
    let place = |line: String| lines.iter().position(|heard| *heard == line).unwrap();
    for n in 1..=2000 {
        assert!(place(format!("Stderr e{n}")) < place(format!("Stdout o{n}")), "{n}");
    }
}

#[test]
fn a_process_left_behind_with_the_pipe_does_not_hang_us() {
    let began = Instant::now();
    assert_eq!(run("sleep 60 & echo $!").0, Ended::Code(0));
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn stop_ends_children_and_starts_no_more() {
    let supervisor = Supervisor::default();
    std::thread::scope(|scope| {
        let child = scope.spawn(|| {
            supervisor.run(&sh("echo up; sleep 60; sleep 60"), &mut |_, line| {
                assert_eq!(line, b"up");
                supervisor.stop(Stop::Terminate);
            })
        });
        assert_eq!(child.join().unwrap().unwrap(), Ended::Signal(15));
    });
    assert_eq!(supervisor.run(&sh("true"), &mut |_, _| {}).unwrap(), Ended::NotStarted);
}

#[test]
fn a_panic_ends_what_was_started() {
    let supervisor = Supervisor::default();
    let mut pid = None;
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        supervisor.run(&sh("sleep 100 & echo $!; wait"), &mut |_, line| {
            pid = std::str::from_utf8(line).unwrap().parse().ok().and_then(Pid::from_raw);
            panic!("on purpose")
        })
    }));
    assert!(ran.is_err() && supervisor.lock().leaders.is_empty());
    let table = session::table().unwrap();
    assert!(!table.iter().any(|process| Some(process.pid) == pid), "{pid:?}");
}

#[test]
fn what_was_printed_before_the_end_is_heard_whatever_others_print() {
    let began = Instant::now();
    let (ended, lines) = run("(while echo x; do :; done) & head -c 3000000 /dev/zero | tr '\\0' '\\n' >&2; echo last");
    assert_eq!(ended, Ended::Code(0));
    assert!(lines.contains(&"Stdout last".to_owned()));
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let invocation = Invocation::new("no-such-rsync", vec![], "/");
    let error = Supervisor::default().run(&invocation, &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("no-such-rsync"), "{error}");
    assert_eq!(error.exit_code(), crate::error::EXIT_USAGE);
}

#[test]
fn a_pause_stops_all_of_a_session_and_holds_up_what_is_about_to_start() {
    let supervisor = Supervisor::default();
    let lines = Mutex::new(0);
    let count = || *lines.lock().unwrap();
    let counts = sh("i=0; while [ $i -lt 60 ]; do (sleep 0.02; echo .); i=$((i+1)); done");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| supervisor.run(&counts, &mut |_, _| *lines.lock().unwrap() += 1));
        while count() == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        supervisor.pause();
        std::thread::sleep(Duration::from_millis(50));
        let before = count();
        let second = scope.spawn(|| supervisor.run(&counts, &mut |_, _| *lines.lock().unwrap() += 1));
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(count(), before);
        supervisor.go_on();
        assert_eq!(first.join().unwrap().unwrap(), Ended::Code(0));
        assert_eq!(second.join().unwrap().unwrap(), Ended::Code(0));
        assert_eq!(count(), 120);
        // A thread that waits for the end of a pause also notices the end of everything.
        supervisor.pause();
        let waits = scope.spawn(|| supervisor.run(&counts, &mut |_, _| ()));
        std::thread::sleep(Duration::from_millis(50));
        supervisor.stop(Stop::Terminate);
        assert_eq!(waits.join().unwrap().unwrap(), Ended::NotStarted);
    });
}

#[test]
fn a_child_that_is_paused_is_not_taken_for_stalled_and_can_be_ended() {
    let supervisor = Supervisor::default();
    let sleeps = sh("sleep 0.4; exit 3");
    let stall = Some(Duration::from_millis(900));
    std::thread::scope(|scope| {
        let ran = scope.spawn(|| supervisor.run_while_alive(&sleeps, stall, &mut |_, _| ()));
        std::thread::sleep(Duration::from_millis(100));
        supervisor.pause();
        std::thread::sleep(Duration::from_millis(1500));
        supervisor.go_on();
        assert_eq!(ran.join().unwrap().unwrap(), Ended::Code(3));
        let ran = scope.spawn(|| supervisor.run(&sh("sleep 100; exit 4"), &mut |_, _| ()));
        std::thread::sleep(Duration::from_millis(100));
        supervisor.pause();
        let began = Instant::now();
        supervisor.stop(Stop::Terminate);
        assert!(matches!(ran.join().unwrap().unwrap(), Ended::Signal(_)));
        assert!(began.elapsed() < Duration::from_secs(2));
    });
}
