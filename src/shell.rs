//! Scripts for the POSIX shell of another machine: a command line with its directory and its input, quoted so that nothing in it means
//! anything to a shell.
//!
//! A script is read from standard input by `sh -s`, so no limit of one argument counts and any login shell will do that can start
//! `sh`. Standard input stays open behind it: lines that come there stop the command, and let it go on ([`STOP`]). When it ends, because
//! the connection or the process at its other end is gone, the command is ended too. The command itself reads nothing, or what the script holds. It is one group, which the shell reads whole before
//! it begins.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::rsync::command::Invocation;
use crate::supervise::{GO_ON, STOP};

/// What a command that ended with 255 is given back as: 255 itself means that the remote shell failed. rsync has no such code.
pub const FOR_255: u8 = 254;
/// The directory of a command cannot be entered.
pub const NO_DIRECTORY: u8 = 124;
/// A script that should be read there ([`crate::shared`]) cannot be seen.
pub const NO_SCRIPT: u8 = 123;
/// Given back for a command that a signal has ended, as rsync does of its own processes.
const KILLED: u8 = crate::rsync::exit::TERMINATED;
/// Bytes of input in one `printf`.
const PIECE: usize = 4096;
/// Messages and numbers are read here, names are those of that machine. A shell may complain of a locale that is not there.
const LOCALE: &[u8] = b"{ LC_CTYPE=${LC_ALL:-${LC_CTYPE:-$LANG}}; unset LC_ALL; LC_MESSAGES=C; LC_NUMERIC=C; \
    export LC_CTYPE LC_MESSAGES LC_NUMERIC; } 2>/dev/null\n";
/// Seconds between SIGTERM and SIGKILL.
const GRACE: u32 = 3;
/// `s PID` prints when a process was started (proc_pid_stat(5)): its number may be another one's later.
const STARTED: &str = "s() { read -r y </proc/$1/stat && y=${y##*') '} && set -- $y && echo ${20}; }\n";
/// `f PID` prints it with all that it has started, as `PID:START`. A script in the place of rsync does not hand on the signal that ends it. Nothing
/// where the system does not tell.
const FAMILY: &str = "f() { [ -r /proc/$1/stat ] || return; echo $1:$(s $1); \
                      for x in $(cat /proc/$1/task/$1/children); do f $x; done; }\n";
/// `t SIGNAL` sends it to those of `$l` that are still there.
const TELL: &str = "t() { for x in $l; do [ \"$(s ${x%:*})\" = ${x#*:} ] && kill -$1 ${x%:*}; done; }\n";

/// One word, as a shell reads it back.
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

/// The script that runs a command. It ends with the command's exit code, or as the constants above say.
pub fn script(invocation: &Invocation) -> Vec<u8> {
    let mut script = [b"{\nexec 3<&0 </dev/null\n", LOCALE, b"cd -- "].concat();
    script.extend(quote(invocation.cwd.as_os_str()));
    script.extend(format!(" || exit {NO_DIRECTORY}\n").into_bytes());
    if !invocation.input.is_empty() {
        script.extend(b"{\n");
        for piece in invocation.input.chunks(PIECE) {
            script.extend(b"printf '");
            piece.iter().for_each(|byte| printf(*byte, &mut script));
            script.extend(b"'\n");
        }
        script.extend(b"} | ");
    }
    script.extend(quote(&invocation.program));
    for argument in &invocation.arguments {
        script.push(b' ');
        script.extend(quote(argument));
    }
    // `read` is a part of the shell: nothing is left over when this subshell ends.
    script.extend(
        format!(
            " &\nr=$!\n{STARTED}{FAMILY}{TELL}\
             p() {{ l=$(f $r); if [ -n \"$l\" ]; then t $1; else kill -$1 $r; fi; }}\n\
             {{ while read -r x; do case $x in {STOP}) p STOP;; {GO_ON}) p CONT;; esac; done <&3; \
             l=$(f $r); [ -n \"$l\" ] && trap '' TERM; kill -TERM $r; \
             if [ -n \"$l\" ]; then t CONT; else kill -CONT $r; fi; sleep 1; t TERM; \
             sleep {GRACE}; [ -n \"$l\" ] || kill -KILL $r; t KILL; }} >/dev/null 2>&1 &\nw=$!\n\
             exec 3<&-\nwait $r; c=$?\nkill $w 2>/dev/null\n\
             if [ $c -eq 255 ]; then c={FOR_255}; elif [ $c -gt 128 ]; then c={KILLED}; fi\nexit $c\n}}\n"
        )
        .into_bytes(),
    );
    script
}

/// A byte in the format of printf(1).
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
    use crate::supervise::{Ended, Stream, Supervisor};
    use proptest::prelude::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::time::{Duration, Instant};

    /// Through `sh -s`, as another machine would.
    fn run(invocation: &Invocation, held: bool) -> (Ended, Vec<u8>) {
        let shell = Invocation { input: script(invocation), held, ..Invocation::new("sh", vec!["-s".into()], "/") };
        let mut out = Vec::new();
        let ended = Supervisor::default().run(&shell, &mut |stream, line| {
            if stream == Stream::Stdout {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
        });
        (ended.unwrap(), out)
    }

    fn sh(text: &str) -> Invocation {
        Invocation::new("sh", vec!["-c".into(), text.into()], "/")
    }

    #[test]
    fn codes_come_back() {
        for (text, code) in [("exit 0", 0), ("exit 23", 23), ("exit 255", FOR_255), ("kill -9 $$", KILLED)] {
            assert_eq!(run(&sh(text), true).0, Ended::Code(code), "{text}");
        }
        let nowhere = Invocation::new("true", vec![], "/no/such directory");
        assert_eq!(run(&nowhere, true).0, Ended::Code(NO_DIRECTORY));
    }

    #[test]
    fn the_command_ends_with_its_input() {
        let began = Instant::now();
        // Not held: the input ends behind the script.
        assert_eq!(run(&sh("sleep 30"), false).0, Ended::Code(KILLED));
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn what_the_command_has_started_ends_with_its_input() {
        // Its input ends at once, so that it may be ended before it has started both.
        let tried = (0..50).find_map(|_| {
            let (ended, out) = run(&sh("sleep 100 & echo $!; (trap '' TERM; sleep 101) & echo $!; wait"), false);
            assert_eq!(ended, Ended::Code(KILLED));
            let pids: Vec<u32> = String::from_utf8(out).unwrap().lines().map(|line| line.parse().unwrap()).collect();
            (pids.len() == 2).then_some(pids)
        });
        let pids = tried.expect("one of fifty starts both");
        let lives = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|text| !text.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
        };
        let began = Instant::now();
        while pids.iter().any(lives) {
            assert!(began.elapsed() < Duration::from_secs(30), "{pids:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn the_command_stands_still_with_all_that_it_has_started() {
        let text = "(i=0; while [ $i -lt 100 ]; do echo .; i=$((i+1)); sleep 0.02; done); echo done";
        let shell =
            Invocation { input: script(&sh(text)), held: true, ..Invocation::new("sh", vec!["-s".into()], "/") };
        let (supervisor, lines) = (Supervisor::default(), std::sync::Mutex::new(Vec::new()));
        let count = || lines.lock().unwrap().len();
        std::thread::scope(|scope| {
            let ran = scope.spawn(|| supervisor.run(&shell, &mut |_, line| lines.lock().unwrap().push(line.to_vec())));
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
        assert_eq!(lines.lock().unwrap().len(), 101);
    }

    #[test]
    fn the_command_reads_nothing_but_its_own_input() {
        assert_eq!(run(&sh("cat"), true), (Ended::Code(0), Vec::new()));
        let invocation = Invocation { input: b"a\0b\n'%s\\n\xff".to_vec(), ..sh("od -An -c | tr -d ' \n'") };
        let (ended, out) = run(&invocation, true);
        assert_eq!((ended, out), (Ended::Code(0), b"a\\0b\\n'%s\\n377\n".to_vec()));
    }

    #[test]
    fn much_input_arrives_whole() {
        let invocation = Invocation { input: vec![b'\n'; 300_000], ..sh("wc -c") };
        assert_eq!(run(&invocation, true).1, b"300000\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn words_arrive_as_they_are(words in prop::collection::vec(prop::collection::vec(1u8.., 0..20), 1..6)) {
            let arguments: Vec<OsString> = words.iter().cloned().map(OsString::from_vec).collect();
            let all = [vec!["-c".into(), r#"for w; do printf '<%s>' "$w"; done | od -An -v -tx1"#.into(), "sh".into()], arguments].concat();
            let (ended, out) = run(&Invocation::new("sh", all, "/"), true);
            prop_assert_eq!(ended, Ended::Code(0));
            let expected: Vec<u8> = words.iter().flat_map(|word| [b"<", &word[..], b">"].concat()).collect();
            let found: Vec<u8> = String::from_utf8(out).unwrap().split_ascii_whitespace()
                .map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
