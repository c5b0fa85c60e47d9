//! The other end of an [`Agent`](super::Agent): what its shell is given to read. Any POSIX shell will do, and nothing but it and the tools of
//! POSIX is needed; with Linux's /proc it reaches what a command has started as well.
//!
//! The shell reads its standard input itself. First comes a greeting, which defines what all commands need. Each command is a group, which a
//! shell reads whole before it begins; nothing is sent behind it before it has said that it has begun, because a shell may read ahead. From then on
//! lines are read by `g`, one byte at a time, until the command has ended and that was heard ([`HEARD`]). When they end, because the connection
//! or the process at the other end is gone, the command is ended too.
//!
//! Output is not touched: a command writes into the streams of the shell, and marks tell where it begins and ends. All of them begin with a token
//! that is in no text that was sent, so that an echo of that is none.

use super::Token;
use crate::error::EXIT_TERMINATED;

/// The command is to stand still, with all that it has started, or to go on.
pub(super) const STOP: &str = "S";
pub(super) const GO_ON: &str = "C";
/// It was heard that a command has ended.
pub(super) const HEARD: &str = "E";
/// The other end is there.
pub(super) const PULSE: &str = "k";
/// Nothing. What has an answer is not waited for: a connection keeps back what is small until what went before was acknowledged (Nagle, RFC 896), and the other end
/// acknowledges at once only what it answers, and after 40 ms else. Through srun (22.05, as strace shows) a command waited for up to 90 ms, most where an rsync prints
/// in several pieces.
pub(super) const HEARS: &str = "n";
/// A question whether this end is there, and one what the command has read and written so far.
pub(super) const THERE: &str = "q";
pub(super) const DOES: &str = "i";

/// The first word behind the token of a mark: the shell reads, a command begins, a command has ended, and the answers to the questions.
pub(super) const GREETS: &str = "h";
pub(super) const BEGINS: &str = "b";
pub(super) const ENDS: &str = "e";
/// The answer to [`HEARD`], of no interest but as an answer.
const READY: &str = "r";

/// What a command that ended with 255 is given back as: 255 itself means that the connection failed. rsync has no such code.
pub const FOR_255: u8 = 254;
/// Given back for a command that a signal has ended, as rsync does of its own processes.
pub const KILLED: u8 = EXIT_TERMINATED;

/// So often in a row nothing is heard from the other end for so many seconds, before it is taken for gone.
const SILENCES: u32 = 4;
pub(super) const SILENCE: u32 = 30;

/// Messages and numbers are read here, names are those of that machine. A shell may complain of a locale that is not there.
const LOCALE: &str = "{ LC_CTYPE=${LC_ALL:-${LC_CTYPE:-$LANG}}; unset LC_ALL; LC_MESSAGES=C; LC_NUMERIC=C
export LC_CTYPE LC_MESSAGES LC_NUMERIC; } 2>/dev/null
";

/// `m WORDS` prints a mark. `s PID` prints when a process was started (proc_pid_stat(5)): its number may be another one's later. `f PID` prints it with
/// all that it has started, as `PID:START`; nothing where the system does not tell. `t SIGNAL` sends it to those of `$l` that are still there, `p SIGNAL`
/// to the command. `h` says that the command has ended already, so that its number may be another one's. `a` says whether something of it is left, `v` waits a moment for its end; `x` ends it, first politely. `i` prints what it and those of its
/// kind have read and written. `g` reads lines.
///
/// `d` stops `$l` and lists what that has started, until nothing is new; `u` says that all of it stands still. What is started between a list and a signal would be
/// left, and a shell that is signalled before it is the command takes that for its own trap's and goes on, so that each signal has a list of its own.
///
/// In what a trap does `return` and `exit` without a number give the status from before the trap.
///
/// A script in the place of rsync does not hand on the signal that ends it, so that it goes to the command alone at first, and to the others later.
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

/// What the shell reads first. It says in which step of which job of Slurm it is, if in any. `$k` is a process that ends it when nothing was heard for too long, looked at after so many seconds: a machine that is gone says nothing.
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

/// `b NUMBER` begins a command, and `z` follows to its end what was started as `$r`. What all groups need is here, so that they stay short: srun reads 1024
/// bytes at once, and of what it reads in pieces the last one may wait for 40 ms, see [`HEARS`].
///
/// A signal may come at any moment: it is taken note of before the command is started, and `o` ends that as soon as it and the reader of lines have numbers. Not
/// before: what is started in a trap would be taken for the one that was started just then (`$!`). Only once, also where the signal comes again.
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

/// Has `$c` be the code that is given back.
fn code() -> String {
    format!("if [ $c -eq 255 ]; then c={FOR_255}; elif [ $c -gt 128 ]; then c={KILLED}; fi\n")
}

/// A command for a shell that runs nothing else, and ends with its code. Lines that stop it and let it go on may come behind it, and are not lost on a
/// shell that has not begun yet only if they come again.
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

/// A command, as the group that is read. `body` starts it in the background, without descriptor 3, and sets `r` to its number, or sets `c` to the code that it would
/// have ended with.
pub(super) fn group(number: u64, body: &[u8]) -> Vec<u8> {
    [format!("{{\nb {number}\n").as_bytes(), body, b"\nz\n}\n"].concat()
}
