//! The remote end of an [`Agent`](super::Agent): the shell code that it is sent. Any POSIX shell works, and only the shell and the POSIX tools
//! are needed. With Linux's /proc the code also reaches the processes that a command has started.
//!
//! The shell reads the code from its standard input. First comes a greeting, which defines the functions that all commands need. Each command is a
//! `{ ... }` group, which a shell reads completely before it begins. Nothing more is sent before the group has reported that it has begun, because a
//! shell may read ahead. From then on the function `g` reads lines, one byte at a time, until the command has ended and multi-sync has confirmed that
//! ([`HEARD`]). If the lines end, because the connection or the process at the other end is gone, the command is ended too.
//!
//! Output is not changed: a command writes to the streams of the shell, and marks show where its output begins and ends. All marks begin with a token
//! that is not contained in any text that was sent, so that an echo of the sent text is not mistaken for a mark.

use super::Token;
use crate::error::EXIT_TERMINATED;

/// Stops the command and all processes that it has started, or continues them.
pub(super) const STOP: &str = "S";
pub(super) const GO_ON: &str = "C";
/// Confirms that the end of a command was received.
pub(super) const HEARD: &str = "E";
/// A sign of life of multi-sync.
pub(super) const PULSE: &str = "k";
/// Means nothing, and only acknowledges output. A connection holds back small data until earlier data was acknowledged (Nagle, RFC 896), and the receiver
/// acknowledges at once only data that it answers, otherwise after 40 ms. Through srun (22.05, as strace shows) a command waited for up to 90 ms, most often if
/// an rsync prints in several pieces.
pub(super) const HEARS: &str = "n";
/// Asks whether the shell is there, and how much the command has read and written so far.
pub(super) const THERE: &str = "q";
pub(super) const DOES: &str = "i";

/// The first word after the token of a mark: the shell is ready to read, a command begins, a command has ended. Answers to questions have the word of the question.
pub(super) const GREETS: &str = "h";
pub(super) const BEGINS: &str = "b";
pub(super) const ENDS: &str = "e";
/// The answer to [`HEARD`]. It carries no information except that it was sent.
const READY: &str = "r";

/// The exit code that is reported for a command that ended with 255, because 255 itself means that the connection failed. rsync has no code 254.
pub const FOR_255: u8 = 254;
/// The exit code that is reported for a command that was ended by a signal. rsync reports it for its own processes, too.
pub const KILLED: u8 = EXIT_TERMINATED;

/// multi-sync is regarded as gone after this many periods in a row without a line from it, each of this many seconds.
const SILENCES: u32 = 4;
pub(super) const SILENCE: u32 = 30;

/// Messages and numbers have to be parsed, so they are in the C locale; names keep the character set of that machine. A shell may complain about a locale
/// that does not exist.
const LOCALE: &str = "{ LC_CTYPE=${LC_ALL:-${LC_CTYPE:-$LANG}}; unset LC_ALL; LC_MESSAGES=C; LC_NUMERIC=C
export LC_CTYPE LC_MESSAGES LC_NUMERIC; } 2>/dev/null
";

/// `m WORDS` prints a mark. `s PID` prints when a process was started (proc_pid_stat(5)), because its PID may belong to another process later. `f PID` prints the
/// process and all processes that it has started, as `PID:START`; it prints nothing if the system does not tell. `t SIGNAL` sends the signal to those processes in
/// `$l` that still exist, `p SIGNAL` sends it to the command and the processes that it has started. `h` is true if the command has ended already, so that its PID
/// may belong to another process. `a` is true if a process of the command is left, `v` waits a moment for their end. `x` ends the command, first with SIGTERM. `i`
/// prints how much the command, and the processes of the same program that it has started, have read and written. `g` reads lines.
///
/// `d` stops the processes in `$l` and lists the processes that they have started, until no new one is found; `u` is true if all of them are stopped. A process that is
/// started between a list and a signal would be left over, and a shell that gets a signal before it has become the command runs its own trap and continues. Therefore
/// each signal has a list of its own.
///
/// Inside a trap, `return` and `exit` without a number give the status from before the trap.
///
/// A script in place of rsync does not pass on the signal that ends it. Therefore the signal goes first to the command alone, and to the other processes later.
const FUNCTIONS: &str = r#"m() { printf '%s %s\n' "$T" "$*"; }
s() { read -r y </proc/$1/stat && y=${y##*') '} && set -- $y && [ $1 != Z ] && echo ${20}; }
f() { y=$(s $1) && echo $1:$y || return 0; for x in $(cat /proc/$1/task/$1/children); do f $x; done; }
t() { for x in $l; do [ "$(s ${x%:*})" = ${x#*:} ] && kill -$1 ${x%:*}; done; }
h() { [ -z "$l" ] && [ -r /proc/self/stat ]; }
p() { l=$(f $r); if [ -n "$l" ]; then t $1; elif ! h; then kill -$1 $r; fi; }
a() { [ -n "$l" ] || { kill -0 $r && return 0 || return 1; }; for x in $l; do [ "$(s ${x%:*})" = ${x#*:} ] && return 0; done; return 1; }
v() { for y in 1 2 3 4 5; do sleep 0.2 || sleep 1; a || return 1; done; }
u() { for x in $l; do read -r y </proc/${x%:*}/stat && case ${y##*') '} in [RS]*) return 1;; esac; done; return 0; }
d() { for n in 1 2 3 4 5 6 7 8 9 10; do t STOP; if u; then y=$l
l=$(for x in $l; do [ "$(s ${x%:*})" = ${x#*:} ] && f ${x%:*}; done | sort -u); [ "$y" != "$l" ] || return 0
else sleep 0.1 || sleep 1; fi; done; }
x() { l=$(f $r); h && return 0; d; kill -TERM $r; if [ -n "$l" ]; then t CONT; else kill -CONT $r; fi
v || return 0; d; t TERM; t CONT; v && v && v || return 0; d; [ -n "$l" ] || kill -KILL $r; t KILL; }
i() { y=$(cat /proc/$r/comm); for x in $(f $r); do x=${x%:*}; [ "$(cat /proc/$x/comm)" != "$y" ] || cat /proc/$x/io || exit 1; done; }
g() { while read -r y; do case $y in E) exit 0;; k) kill -USR1 $k;; q) m q;; i) m i $(i | cksum);; S) p STOP;; C) p CONT;; esac; done
trap '' TERM HUP INT; x; kill $k; exit 0; }
E() { :; }; n() { :; }; S() { :; }; C() { :; }; q() { :; }; k() { kill -USR1 $k; }
"#;

/// The text that the shell reads first. The shell answers with the Slurm job and step in which it runs, if any. `$k` is a process that ends the shell if it has received
/// nothing for too long, because a machine that is gone sends nothing; it checks this every `silence` seconds.
pub(super) fn greeting(token: &Token, silence: u32) -> Vec<u8> {
    let (a, b) = token.halves();
    format!(
        "{{\n{LOCALE}T=$(printf '\\001%s%s' {a} {b})\n{FUNCTIONS}{}exec 3<&0\n\
         ( trap 'n=0' USR1; trap 'kill $z; exit' TERM HUP INT; n=0\n\
         while [ $n -lt {SILENCES} ] && kill -0 $$; do sleep {silence} & z=$!; n=$((n+1)); while kill -0 $z; do wait $z; done; done\n\
         kill -USR2 $$; sleep 8; kill -KILL $$ ) </dev/null >/dev/null 2>&1 3<&- &\nk=$!\n\
         trap 'kill $k 2>/dev/null; wait $k' EXIT\ntrap : PIPE\nm {GREETS} \"$SLURM_JOB_ID.$SLURM_STEP_ID\"; m {GREETS} >&2\n}}\n",
        around()
    )
    .into_bytes()
}

/// Functions for each command: `b NUMBER` begins a command, and `z` follows the process `$r` to its end. They are defined once, so that the groups stay short: srun
/// reads 1024 bytes at once, and if a group is read in pieces, the last piece may wait for 40 ms, see [`HEARS`].
///
/// A signal may come at any moment. It is recorded even before the command is started, and `o` ends the command as soon as the PIDs of the command and of the reader of
/// lines are known. It does not do so earlier, because the PID of a process that a trap starts would be taken for that of the process started just before (`$!`). It
/// does so only once, even if the signal comes again.
fn around() -> String {
    format!(
        "b() {{ r= w= c= e= v= n=$1; trap 'e=1; o' TERM HUP INT USR2; m {BEGINS} $n; m {BEGINS} $n >&2; }}\n\
         o() {{ [ -z \"$w\" ] || [ -n \"$v\" ] || {{ v=0; x </dev/null >/dev/null 2>&1 3<&- & v=$!; }}; }}\n\
         z() {{ if [ -n \"$r\" ]; then\n\
         g <&3 2>/dev/null 3<&- & w=$!\n[ -z \"$e\" ] || o\nwait $r; c=$?\n\
         while [ -n \"$e\" ] && kill -0 $r 2>/dev/null; do wait $r; c=$?; done\n\
         fi; trap - TERM HUP INT USR2\n\
         {}m {ENDS} $n $c; m {ENDS} $n >&2; cd /\n\
         [ -z \"$e\" ] || {{ [ -z \"$w\" ] || {{ kill $w 2>/dev/null; wait $w $v; }}; exit 0; }}\n\
         [ -z \"$w\" ] || wait $w; m {READY}; }}\n",
        code()
    )
}

/// Shell code that changes `$c` to the exit code that is reported.
fn code() -> String {
    format!("if [ $c -eq 255 ]; then c={FOR_255}; elif [ $c -gt 128 ]; then c={KILLED}; fi\n")
}

/// A command for a shell that runs nothing else, and that ends with the exit code of the command. [`STOP`] and [`GO_ON`] may follow it. They must be sent
/// repeatedly, because a shell that has not begun the command yet loses them.
pub(crate) fn once(body: &[u8]) -> Vec<u8> {
    let mut script = format!("{{\nexec 3<&0 </dev/null\n{LOCALE}{FUNCTIONS}r= c= k=\n").into_bytes();
    script.extend(body);
    script.extend(
        format!(
            "[ -z \"$r\" ] || {{ g <&3 >/dev/null 2>&1 3<&- & w=$!\nexec 3<&-\nwait $r; c=$?\nkill $w 2>/dev/null; }}\n\
             {}exit $c\n}}\n",
            code()
        )
        .into_bytes(),
    );
    script
}

/// A command, as the group that the shell reads. `body` either starts the command in the background, without file descriptor 3, and sets `r` to its PID, or it sets `c` to
/// the exit code that the command would have had.
pub(super) fn group(number: u64, body: &[u8]) -> Vec<u8> {
    [format!("{{\nb {number}\n").as_bytes(), body, b"\nz\n}\n"].concat()
}
