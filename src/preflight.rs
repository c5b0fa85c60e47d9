//! Checks before a many-to-one run whether each host can do its part. All hosts are asked at the same time, and each has a limited time to answer.
//!
//! Each host runs one script that looks and changes nothing: rsync and its version, the user, the clock, the sources, the files that rsync's options name,
//! the destination, the bucket directory. The sources and files are those of this run if the same questions have the same answers here. For the destination,
//! the answers of the hosts are compared with each other, because this machine may not see it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::config::Config;
use crate::endpoint::Source;
use crate::entry::Printable;
use crate::error::{EXIT_FILE_IO, Error, Result};
use crate::hosts::{Host, Workers};
use crate::rsync::command::Invocation;
use crate::rsync::exit;
use crate::rsync::options::Opt;
use crate::rsync::version::{OLDEST_RSYNC, Version};
use crate::shared::Token;
use crate::shell;
use crate::supervise::{Ended, Stream, Supervisor};
use crate::thread;

/// A host that prints nothing for this time is left out.
const LONGEST: Duration = Duration::from_secs(30);
/// Clocks that differ by more than this are reported, because rsync's `--update` compares times of two machines.
const SKEW: Duration = Duration::from_secs(2);
/// How many lines of an error are shown.
const SHOWN: usize = 2;

/// Arguments: a file that shows whether the bucket directory is visible (or nothing), the number of sources, the sources, the number of files, the files, and
/// the destination (if it is checked): its path if it is on that machine, its name, and rsync's options to reach it. A root directory is identified by its
/// inode, its owner and its first name, because its times change while it is used.
const QUESTIONS: &str = r#"
LC_ALL=C; export LC_ALL
newline='
'
inode_and_owner() { echo "$1 $4 $5"; }
names() {
    if [ -d "$1" ]; then
        { ls -f "$1" 2>/dev/null || (cd "$1" && find . -maxdepth 1 | sed 's,^\./,,'); } | sed -e '/^\.$/d' -e '/^\.\.$/d'
    fi
}
here() {
    aliases='4294967295 0'
    for file in /etc/popt /etc/popt.d/* "$HOME/.popt"; do
        if [ -r "$file" ]; then
            aliases=$(cat /etc/popt /etc/popt.d/* "$HOME/.popt" 2>/dev/null | grep rsync | cksum)
            break
        fi
    done
    echo "aliases $aliases"
    version=$(rsync --version 2>/dev/null)
    echo "version ${version%%"$newline"*}"
    uid=$(id -u)
    echo "uid $uid"
    if [ "$uid" = 0 ]; then echo "login 0"; else echo "login $uid $(id -g) $(id -G | tr ' ' '\n' | sort -n | tr '\n' ' ')"; fi
    echo "clock $(date +%s)"
    if [ -r "$1" ]; then echo "token $(cksum <"$1")"; fi
    shift
    n=$1; shift
    while [ "$n" -gt 0 ]; do
        if [ -e "$1" ]; then
            set -f
            echo "source $(inode_and_owner $(ls -din "$1")) $(names "$1" | head -n 1000 | sort | cksum)"
            set +f
        else echo "source none"; fi
        shift; n=$((n - 1))
    done
    n=$1; shift
    while [ "$n" -gt 0 ]; do
        echo "file $(cksum <"$1" 2>/dev/null || echo none)"
        shift; n=$((n - 1))
    done
}
there() {
    shift; shift $(($1 + 1)); shift $(($1 + 1))
    [ $# -gt 0 ] || return 0
    place=$1; to=$2; shift 2
    if [ -n "$place" ]; then
        while [ ! -e "$place" ]; do place=$(dirname "$place"); done
        if [ ! -w "$place" ] || [ ! -x "$place" ]; then echo "unwritable $place"; fi
    fi
    listed=$(rsync "$@" --list-only -- "$to" 2>&1 </dev/null); code=$?
    sum=$(printf %s "$listed" | cksum)
    case $code in 0 | 5 | 10 | 23 | 30 | 35 | 255) ;; *)
        # What may only be written cannot be listed: it is asked about a copy of nothing, which is not made.
        empty=$(mktemp -d) && { rsync "$@" -rn -- "$empty/" "$to" >/dev/null 2>&1 </dev/null && code=23; rmdir "$empty"; }
    esac
    echo "dest $code $sum"
    case $code in 0 | 23) ;; *) printf '%s\n' "$listed" >&2 ;; esac
}
# At the same time: the destination may be far away.
there "$@" | { here "$@"; cat; }
echo end
"#;

/// The result for one host.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The host.
    pub host: Host,
    /// Why it cannot be used, if so, with an exit code for the reason.
    pub refused: Option<(String, u8)>,
    /// The version of its rsync.
    pub version: Option<Version>,
    /// Whether its rsync runs as root.
    pub is_root: bool,
    /// The IDs of its user and of the relevant groups.
    pub login: String,
    /// Whether it may write at a destination that is on its own machine.
    pub may_write: bool,
    /// The difference of its clock from ours, if it is larger than the duration of the check explains.
    pub skew: Option<Duration>,
    /// How long it took to answer.
    pub took: Duration,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        match (&self.refused, self.version) {
            (Some((why, _)), _) => write!(f, "{}: left out: {why} ({seconds:.1} s)", self.host),
            (None, Some(version)) => {
                let buckets = if self.host.sees_buckets { ", sees the bucket directory" } else { "" };
                let same = "the same source, reaches the destination";
                write!(f, "{}: rsync {version}, {same}{buckets} ({seconds:.1} s)", self.host)?;
                self.skew.map_or(Ok(()), |skew| write!(f, "; its clock differs by {} s", skew.as_secs()))
            }
            (None, None) => write!(f, "{}", self.host),
        }
    }
}

/// The common properties of all usable hosts; `None` if there are none.
pub fn workers(checked: &[Checked]) -> Option<Workers> {
    let fit = || checked.iter().filter(|host| host.refused.is_none());
    let version = fit().filter_map(|host| host.version).min()?;
    Some(Workers { version, are_root: fit().all(|host| host.is_root) })
}

/// Asks all hosts of a run. `shared` is where the bucket directory is or will be, if hosts may see it.
///
/// # Errors
/// This machine itself cannot answer.
pub fn check(config: &Config, shared: Option<&Path>, supervisor: &Supervisor) -> Result<Vec<Checked>> {
    let token = shared.and_then(Token::place);
    let token_path = token.as_ref().map(|token| OsString::from(token.path())).unwrap_or_default();
    let paths = paths(config);
    let files = config.options.files_read(&config.cwd);
    let words = |dest: Vec<OsString>| {
        let counted = |list: &[OsString]| [vec![list.len().to_string().into()], list.to_vec()].concat();
        let own = ["-c".into(), QUESTIONS.into(), "sh".into()];
        let arguments = [own.to_vec(), vec![token_path.clone()], counted(&paths), counted(&files), dest].concat();
        Invocation::new("sh", arguments, "/")
    };
    let question = shell::body(&words(list(config)));
    let ask_one = |host: &Host| {
        let began = Instant::now();
        let asked = SystemTime::now();
        let answer = ask(|each| config.agents.run(supervisor, host, &question, Some(LONGEST), each));
        (answer, asked, began.elapsed())
    };
    // This machine answers at the same time as the hosts.
    let (here, answers) = std::thread::scope(|scope| {
        let threads = config.hosts.iter().map(|host| thread::start(scope, move || ask_one(host)));
        let threads = threads.collect::<Result<Vec<_>>>()?;
        let here = ask(|each| supervisor.run_while_alive(&words(Vec::new()), Some(LONGEST), each));
        let joined = threads.into_iter().map(|thread| thread.join().expect("a thread that asks a host panicked"));
        Ok::<_, Error>((here, joined.collect::<Vec<_>>()))
    })?;
    let here = here?;
    if let Some(code) = here.failed() {
        let said = here.said.join("; ");
        return Err(Error::system(format!("cannot look at the source (code {code}): {said}")));
    }
    let judged = config.hosts.iter().zip(answers);
    let mut answers: Vec<(Checked, Option<String>)> =
        judged.map(|(host, (answer, asked, took))| judge(host, answer, &here, asked, took)).collect();
    // DEST must be the same directory for all of them.
    let first = answers.iter().find(|(host, _)| host.refused.is_none()).and_then(|(_, dest)| dest.clone());
    for (host, dest) in answers.iter_mut().filter(|(host, _)| host.refused.is_none()) {
        if *dest != first {
            let why = "it sees a different destination than the first host".to_owned();
            host.refused = Some((why, exit::FILE_SELECT));
        }
    }
    let mut checked: Vec<Checked> = answers.into_iter().map(|(host, _)| host).collect();
    leave_out_who_may_not_write(&mut checked);
    if !config.mixed_users {
        refuse_mixed_users(&checked)?;
    }
    Ok(checked)
}

/// Leaves out hosts that may not write at the destination, unless none may: then rsync will report it.
fn leave_out_who_may_not_write(checked: &mut [Checked]) {
    let may = |host: &Checked| host.refused.is_none() && host.may_write;
    if checked.iter().any(may) {
        for host in checked.iter_mut().filter(|host| host.refused.is_none() && !host.may_write) {
            host.refused = Some(("it may not write at the destination".to_owned(), EXIT_FILE_IO));
        }
    }
}

/// Refuses different users, because the readable files, and the owners of the copies, would depend on the host that copies.
fn refuse_mixed_users(checked: &[Checked]) -> Result<()> {
    let mut fit = checked.iter().filter(|host| host.refused.is_none());
    let Some(first) = fit.next() else { return Ok(()) };
    let Some(other) = fit.find(|host| host.login != first.login) else { return Ok(()) };
    let user = |host: &Checked| format!("{} (user and groups {})", host.host, host.login.trim());
    Err(Error::usage(format!("the hosts log in as different users: {} and {}", user(first), user(other))).remedy(
        "log in as the same user everywhere, or accept with --mixed-users that owners depend on the host that copies",
    ))
}

fn paths(config: &Config) -> Vec<OsString> {
    let path = |source: &Source| {
        let base = source.base(&config.cwd);
        source.name().map_or(base.clone(), |name| base.join(name)).into_os_string()
    };
    config.sources.iter().map(path).collect()
}

/// DEST in the form that the script takes.
fn list(config: &Config) -> Vec<OsString> {
    let to = config.destination.as_directory(&config.cwd);
    let place = if config.destination.is_local() { to.clone() } else { OsString::new() };
    [vec![place, to], way(config)].concat()
}

/// An rsync that lists one name below DEST, and reports if it does not exist.
pub fn listing(config: &Config, name: &OsStr) -> Invocation {
    let mut path = config.destination.as_directory(&config.cwd);
    path.push(name);
    let words = [way(config), vec!["--list-only".into(), "--".into(), path]].concat();
    Invocation::new(&config.program, words, &config.cwd)
}

/// The user's options that are needed to reach DEST.
fn way(config: &Config) -> Vec<OsString> {
    let options = config.options.absolute_files(&config.cwd).connection_options();
    // A listing is sent in the other direction, so options for the receiving side would reach a sender.
    options.without(|setting| setting.spec.id == Opt::RemoteOption).argv()
}

/// The output of a command, and how it ended.
struct Answer {
    ended: Ended,
    lines: Vec<String>,
    said: Vec<String>,
}

impl Answer {
    /// Its exit code, if it did not finish.
    fn failed(&self) -> Option<u8> {
        (self.ended != Ended::Code(0) || self.lines.last().is_none_or(|line| line != "end")).then(|| self.ended.code())
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect()
    }
}

fn ask(run: impl FnOnce(&mut dyn FnMut(Stream, &[u8])) -> Result<Ended>) -> Result<Answer> {
    let (mut lines, mut said) = (Vec::new(), Vec::new());
    let ended = run(&mut |stream, line| {
        let text = Printable::bytes(line).to_string();
        match stream {
            Stream::Stdout => lines.push(text),
            Stream::Stderr if said.len() < SHOWN => said.push(text),
            Stream::Stderr => {}
        }
    })?;
    Ok(Answer { ended, lines, said })
}

/// The result for a host, and what it reported about DEST.
fn judge(
    host: &Host,
    answer: Result<Answer>,
    here: &Answer,
    asked: SystemTime,
    took: Duration,
) -> (Checked, Option<String>) {
    let mut checked = Checked {
        host: host.clone(),
        refused: None,
        version: None,
        is_root: false,
        login: String::new(),
        may_write: true,
        skew: None,
        took,
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            checked.refused = Some((error.to_string(), error.exit_code()));
            return (checked, None);
        }
    };
    checked.version = answer.all("version").first().and_then(|line| Version::parse(line));
    checked.is_root = answer.all("uid") == ["0"];
    checked.login = answer.all("login").concat();
    checked.may_write = answer.all("unwritable").is_empty();
    checked.host.sees_buckets = !here.all("token").is_empty() && answer.all("token") == here.all("token");
    checked.skew = skew(answer.all("clock").first().copied(), asked, took);
    let dest = answer.all("dest").first().map(|line| (*line).to_owned());
    checked.refused = refusal(&answer, here, &checked, dest.as_deref());
    // A destination that does not exist yet is the same for all hosts.
    let seen = dest.filter(|dest| dest.starts_with("0 "));
    (checked, seen)
}

fn refusal(answer: &Answer, here: &Answer, checked: &Checked, dest: Option<&str>) -> Option<(String, u8)> {
    let lines: Vec<&str> = answer.said.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let said = |otherwise: &str| if lines.is_empty() { otherwise.to_owned() } else { lines.join("; ") };
    if answer.ended == Ended::Stalled {
        return Some((format!("no answer for {} s", LONGEST.as_secs()), exit::TIMEOUT));
    }
    if let Some(code) = answer.failed() {
        return Some((format!("code {code}: {}", said("it said nothing")), code.max(1)));
    }
    match checked.version {
        None => return Some(("no rsync there".into(), exit::IPC)),
        Some(version) if version < OLDEST_RSYNC => {
            return Some((format!("its rsync {version} is older than {OLDEST_RSYNC}"), exit::USAGE));
        }
        Some(_) => {}
    }
    if answer.all("source") != here.all("source") {
        return Some(("its source is a different one".into(), exit::FILE_SELECT));
    }
    if answer.all("file") != here.all("file") {
        return Some(("a file that the rsync options name is a different one there".into(), exit::FILE_SELECT));
    }
    if answer.all("aliases") != here.all("aliases") {
        return Some(("options of rsync have different aliases there (~/.popt, /etc/popt)".into(), exit::USAGE));
    }
    let code = dest.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(exit::IPC);
    match code {
        exit::OK => None,
        // The destination does not exist yet.
        exit::PARTIAL => None,
        code => Some((format!("cannot reach the destination (code {code}): {}", said("it said nothing")), code)),
    }
}

fn skew(clock: Option<&str>, asked: SystemTime, took: Duration) -> Option<Duration> {
    let there = SystemTime::UNIX_EPOCH + Duration::from_secs(clock?.parse().ok()?);
    let differs = match there.duration_since(asked) {
        Ok(ahead) => ahead.saturating_sub(took),
        Err(behind) => behind.duration(),
    };
    (differs > SKEW).then_some(differs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Destination;
    use crate::rsync::options::Options;
    use std::path::PathBuf;

    #[test]
    fn a_clock_that_runs_elsewhere_is_noticed() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let took = Duration::from_secs(3);
        assert_eq!(skew(Some("1002"), now, took), None);
        assert_eq!(skew(Some("999"), now, took), None);
        assert_eq!(skew(Some("1100"), now, took), Some(Duration::from_secs(97)));
        assert_eq!(skew(Some("900"), now, took), Some(Duration::from_secs(100)));
        assert_eq!(skew(Some("x"), now, took), None);
    }

    #[test]
    fn the_way_to_the_destination_is_the_users() {
        let options =
            Options::parse(&["-aHX", "-e", "ssh -p 22", "--delete", "--exclude-from=rules", "-f", "merge more"])
                .unwrap();
        let dest = Destination::parse("nas:b".as_ref()).unwrap();
        let config = Config::new(vec![Source::parse("s/".as_ref()).unwrap()], dest, options, PathBuf::from("/home"));
        let words = list(&config);
        let shown: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        assert_eq!(shown[..3], ["", "nas:b/", "-e"]);
        assert_eq!(shown.len(), 4);
        let shown = listing(&config, "c".as_ref()).to_string();
        assert!(shown.ends_with("--list-only -- nas:b/c"), "{shown}");
        assert_eq!(config.options.files_read(&config.cwd), [OsStr::new("/home/rules"), OsStr::new("/home/more")]);
    }
}
