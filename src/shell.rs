//! Commands for the POSIX shell of another machine: a command line with its working directory and its input, quoted so that the shell expands nothing in it.
//!
//! A shell that stays ([`crate::hosts::Agents`]) reads them from its standard input. Therefore the length limit of an argument does not matter, and every
//! login shell works that can start `sh`. The command itself has no standard input, or the input that is given here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::rsync::command::Invocation;

pub use crate::supervise::FOR_255;
use crate::supervise::once;
/// The exit code if the working directory of a command cannot be entered.
pub const NO_DIRECTORY: u8 = 124;
/// The exit code if a script that should be read there ([`crate::shared`]) cannot be seen.
pub const NO_SCRIPT: u8 = 123;
/// The bytes of input in one `printf`.
const PIECE: usize = 4096;

/// Quotes a word for a shell.
pub fn quote(word: &OsStr) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => quoted.extend(br"'\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

/// Starts a command in the background: sets `r` to its PID, or `c` to an exit code if it cannot be started.
pub fn body(invocation: &Invocation) -> Vec<u8> {
    let mut script = b"if cd -- ".to_vec();
    script.extend(quote(invocation.cwd.as_os_str()));
    script.extend(b"; then\n");
    let has_input = !invocation.input.is_empty();
    if has_input {
        script.extend(b"{\n");
        for piece in invocation.input.chunks(PIECE) {
            script.extend(b"printf '");
            piece.iter().for_each(|byte| printf(*byte, &mut script));
            script.extend(b"'\n");
        }
        script.extend(b"} 3<&- | ");
    }
    script.extend(quote(&invocation.program));
    for argument in &invocation.arguments {
        script.push(b' ');
        script.extend(quote(argument));
    }
    let input: &[u8] = if has_input { b"" } else { b" </dev/null" };
    script.extend([input, b" 3<&- &\nr=$!\n"].concat());
    script.extend(format!("else c={NO_DIRECTORY}; fi\n").into_bytes());
    script
}

/// A script that runs a single command, and ends with its exit code.
pub fn script(invocation: &Invocation) -> Vec<u8> {
    once(&body(invocation))
}

/// Writes a byte in the format of printf(1).
fn printf(byte: u8, script: &mut Vec<u8>) {
    match byte {
        b'%' => script.extend(b"%%"),
        b' '..=b'~' if !b"\\'".contains(&byte) => script.push(byte),
        byte => script.extend(format!("\\{byte:03o}").into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::{Agent, Ended, KILLED, Stream, Supervisor};
    use proptest::prelude::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::time::Duration;

    fn agent() -> Agent {
        Agent::start(&Invocation::new("sh", vec!["-s".into()], "/"), &Supervisor::default()).unwrap().unwrap()
    }

    /// Runs a command by a shell that stays, as on another machine.
    fn run_by(agent: &mut Agent, invocation: &Invocation) -> (Ended, Vec<u8>) {
        let mut out = Vec::new();
        let ended = Supervisor::default().run_there(agent, &body(invocation), None, &|_| {}, &mut |stream, bytes| {
            if stream == Stream::Stdout {
                out.extend_from_slice(bytes.unwrap_or_default());
            }
        });
        (ended.unwrap(), out)
    }

    fn run(invocation: &Invocation) -> (Ended, Vec<u8>) {
        run_by(&mut agent(), invocation)
    }

    fn sh(text: &str) -> Invocation {
        Invocation::new("sh", vec!["-c".into(), text.into()], "/")
    }

    #[test]
    fn codes_come_back_from_one_command_after_another() {
        let mut agent = agent();
        for (text, code) in [("exit 0", 0), ("exit 23", 23), ("exit 255", FOR_255), ("kill -9 $$", KILLED)] {
            assert_eq!(run_by(&mut agent, &sh(text)).0, Ended::Code(code), "{text}");
        }
        let nowhere = Invocation::new("true", vec![], "/no/such directory");
        assert_eq!(run_by(&mut agent, &nowhere).0, Ended::Code(NO_DIRECTORY));
        assert_eq!(run_by(&mut agent, &sh("echo still here")), (Ended::Code(0), b"still here\n".to_vec()));
    }

    #[test]
    fn one_command_alone_gives_its_code_and_ends_with_its_input() {
        let once = |text: &str, held: bool| {
            let way = Invocation::new("sh", vec!["-s".into()], "/");
            let shell = Invocation { input: script(&sh(text)), held, ..way };
            Supervisor::default().run(&shell, &mut |_, _| {}).unwrap()
        };
        for (text, code) in [("exit 23", 23), ("exit 255", FOR_255), ("kill -9 $$", KILLED)] {
            assert_eq!(once(text, true), Ended::Code(code), "{text}");
        }
        // Not held: the input ends after the script.
        let began = std::time::Instant::now();
        assert_eq!(once("sleep 30", false), Ended::Code(KILLED));
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn the_command_stands_still_with_all_that_it_has_started() {
        let text = "(i=0; while [ $i -lt 100 ]; do echo .; i=$((i+1)); sleep 0.02; done); echo done";
        let (supervisor, lines) = (Supervisor::default(), std::sync::Mutex::new(0));
        let count = || *lines.lock().unwrap();
        let mut agent = agent();
        std::thread::scope(|scope| {
            let ran = scope.spawn(|| {
                supervisor.run_there(&mut agent, &body(&sh(text)), None, &|_| {}, &mut |_, bytes| {
                    let bytes = bytes.unwrap_or_default();
                    *lines.lock().unwrap() += bytes.iter().filter(|byte| **byte == b'\n').count();
                })
            });
            while count() == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            supervisor.pause();
            std::thread::sleep(Duration::from_millis(600));
            let before = count();
            assert!(before < 60, "{before}");
            std::thread::sleep(Duration::from_millis(600));
            assert_eq!(count(), before, "it goes on in a pause");
            supervisor.go_on();
            assert_eq!(ran.join().unwrap().unwrap(), Ended::Code(0));
        });
        assert_eq!(count(), 101);
    }

    #[test]
    fn the_command_reads_nothing_but_its_own_input() {
        assert_eq!(run(&sh("cat")), (Ended::Code(0), Vec::new()));
        let invocation = Invocation { input: b"a\0b\n'%s\\n\xff".to_vec(), ..sh("od -An -c | tr -d ' \n'") };
        assert_eq!(run(&invocation), (Ended::Code(0), b"a\\0b\\n'%s\\n377".to_vec()));
    }

    #[test]
    fn much_input_arrives_whole() {
        let invocation = Invocation { input: vec![b'\n'; 300_000], ..sh("wc -c") };
        assert_eq!(run(&invocation).1, b"300000\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn words_arrive_as_they_are(words in prop::collection::vec(prop::collection::vec(1u8.., 0..20), 1..6)) {
            let arguments: Vec<OsString> = words.iter().cloned().map(OsString::from_vec).collect();
            let all = [vec!["-c".into(), r#"for w; do printf '<%s>' "$w"; done | od -An -v -tx1"#.into(), "sh".into()], arguments].concat();
            let (ended, out) = run(&Invocation::new("sh", all, "/"));
            prop_assert_eq!(ended, Ended::Code(0));
            let expected: Vec<u8> = words.iter().flat_map(|word| [b"<", &word[..], b">"].concat()).collect();
            let found: Vec<u8> = String::from_utf8(out).unwrap().split_ascii_whitespace()
                .map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
