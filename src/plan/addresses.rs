//! Several addresses of one machine: do they lead there, and all to the same directory? Asked before anything is copied.
//!
//! Where a shell answers, a directory is known by its inode and owner, and by its device on one machine, which is known by the start of its system. Addresses may lead
//! to several machines that share a file system: then the inodes of the names in SRC have to be the same, and in DEST a file that is made through one address has to
//! be seen through the others. Where only rsync answers SRC is known by what it lists there, and DEST by nothing: that is refused.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::Xxh3;

use super::pull;
use crate::config::Config;
use crate::endpoint::{Addresses, Destination, Seen, Source, Target};
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::command::Invocation;
use crate::rsync::exit;
use crate::rsync::options::Opt;
use crate::shell;
use crate::supervise::{Ended, Stream, Supervisor};
use crate::thread;

/// An address that says nothing for so long is not there.
const LONGEST: Duration = Duration::from_secs(30);
/// Lines of an error that are shown.
const SHOWN: usize = 2;
/// What ssh ends with where it reaches nobody.
const UNREACHED: u8 = 255;

/// What an address leads to. Arguments: the directory, and whether one above it will do.
const LOOK: &str = r#"
LC_ALL=C; export LC_ALL
place=$1
[ -z "$2" ] || while [ ! -e "$place" ]; do place=$(dirname "$place"); done
echo "boot $(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
echo "device $(stat -Lc %d -- "$place" 2>/dev/null)"
echo "place $(ls -dinL -- "$place" 2>/dev/null | awk '{ print $1, $4, $5; exit }')"
[ -n "$2" ] || echo "names $(ls -fi -- "$place" 2>/dev/null | head -n 1000 | sort | cksum)"
echo end
"#;
/// Makes a file in that directory, whose times stay.
const MAKE: &str = r#"
place=$1
while [ ! -e "$place" ]; do place=$(dirname "$place"); done
times=$(mktemp) && touch -r "$place" "$times"
file=$(mktemp "$place/.multi-sync.XXXXXXXXXX") && echo "file $file"
touch -r "$times" "$place"; rm -f "$times"
echo end
"#;
const SEES: &str = "[ ! -f \"$1\" ] || echo seen\necho end\n";
const REMOVE: &str = r#"
place=$(dirname "$1")
times=$(mktemp) && touch -r "$place" "$times"
rm -f "$1"
touch -r "$times" "$place"; rm -f "$times"
echo end
"#;

/// What one address has answered.
#[derive(Debug, Clone)]
pub struct CheckedAddress {
    /// Its number.
    pub at: usize,
    name: String,
    /// Why it cannot be used, if it cannot, with the exit code that says so.
    pub refused: Option<(String, u8)>,
    /// What it leads to.
    pub seen: Seen,
    took: Duration,
}

impl fmt::Display for CheckedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        match &self.refused {
            Some((why, _)) => write!(f, "{}: left out: {why} ({seconds:.1} s)", self.name),
            None => write!(f, "{}: leads to the same directory ({seconds:.1} s)", self.name),
        }
    }
}

/// The other machine by each of its addresses.
pub(super) fn targets(config: &Config) -> Vec<Target> {
    let Some(all) = &config.addresses else { return Vec::new() };
    let target = |at| match all.are_of_source() {
        true => Source::parse(&all.word(at)).map(|source| source.target().clone()),
        false => Destination::parse(&all.word(at)).map(|destination| destination.target().clone()),
    };
    (0..all.count()).filter_map(|at| target(at).ok()).collect()
}

fn listing(config: &Config, word: OsString, options: &[&str]) -> Invocation {
    let mut words = config.options.absolute_files(&config.cwd).connection_options();
    // A question goes the other way: what is meant for the receiving side would be said to a sender.
    words = words.without(|setting| setting.spec.id == Opt::RemoteOption);
    let mut words = words.argv();
    words.extend(["--list-only", "--no-motd"].iter().chain(options).map(OsString::from));
    words.extend(["--".into(), word]);
    Invocation::rsync(&config.program, words, &config.cwd)
}

/// Asks all addresses at once. Who does not answer is left out.
///
/// # Errors
/// Nobody answers; or they do not lead to one directory, or nobody can tell.
pub fn check(config: &Config, supervisor: &Supervisor) -> Result<Vec<CheckedAddress>> {
    let Some(addresses) = &config.addresses else { return Ok(Vec::new()) };
    let inquiry = Inquiry { config, addresses, supervisor };
    let mut checked = inquiry.of_all(&|at| inquiry.look(at))?;
    let answers = |checked: &[CheckedAddress]| -> Vec<usize> {
        checked.iter().filter(|one| one.refused.is_none()).map(|one| one.at).collect()
    };
    let mut there = answers(&checked);
    let is_listed = |at: &usize| checked[*at].seen.listed.is_some();
    // What one says by rsync only the others have to say by it too.
    if there.iter().any(is_listed) && !there.iter().all(is_listed) && addresses.are_of_source() {
        checked = inquiry.of_all(&|at| inquiry.list(at))?;
        there = answers(&checked);
    }
    let Some(first) = there.first().copied() else {
        let (said, code) = checked[0].refused.clone().unwrap_or_default();
        return Err(Error::usage(format!("no address of '{}' can be used: {said}", Printable::os(addresses.typed())))
            .remedy("see what ssh or rsync says of each of them")
            .exit(code.max(1)));
    };
    let differs = |at: usize, why: &str| {
        Error::usage(format!("addresses {} and {} {why}", checked[first].name, checked[at].name))
            .remedy("name addresses of one machine, or of machines that share the file system")
            .exit(exit::FILE_SELECT)
    };
    if let Some(other) = there.iter().find(|at| !checked[**at].seen.is_same(&checked[first].seen)) {
        return Err(differs(*other, "do not lead to the same directory"));
    }
    let unknown = |at: &&usize| **at != first && !checked[**at].seen.is_one_machine(&checked[first].seen);
    if !addresses.are_of_source()
        && let Some(other) = there.iter().find(unknown)
    {
        if checked[*other].seen.listed.is_some() {
            return Err(differs(*other, "give no shell that tells whether they lead to the same directory"));
        }
        if let Some(other) = inquiry.who_does_not_see(first, &there)? {
            return Err(differs(other, "do not lead to the same directory"));
        }
    }
    Ok(checked)
}

/// Whether an address that was lost leads to what it led to, or to what another one leads to now. `at` is its number.
pub fn leads_there_again(config: &Config, at: usize, supervisor: &Supervisor) -> bool {
    let Some(addresses) = &config.addresses else { return false };
    let inquiry = Inquiry { config, addresses, supervisor };
    let before = addresses.seen(at);
    let ask = |at: usize| {
        let asked = if before.is_some_and(|seen| seen.listed.is_some()) { inquiry.list(at) } else { inquiry.look(at) };
        asked.ok().and_then(std::result::Result::ok)
    };
    let Some(now) = ask(at) else { return false };
    let is_known = before.is_some_and(|before| before.is_again(&now, addresses.are_of_source()));
    // What is put into a source that only rsync lists changes that, and a DEST is made meanwhile.
    is_known || (0..addresses.count()).filter(|other| *other != at).filter_map(ask).any(|other| now.is_same(&other))
}

struct Inquiry<'a> {
    config: &'a Config,
    addresses: &'a Addresses,
    supervisor: &'a Supervisor,
}

/// What was printed, and how it ended.
struct Answer {
    ended: Ended,
    lines: Vec<String>,
    said: Vec<String>,
}

impl Answer {
    fn is_whole(&self) -> bool {
        self.ended == Ended::Code(exit::OK) && self.lines.last().is_some_and(|line| line == "end")
    }

    fn of(&self, name: &str) -> String {
        let found = self.lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_default().to_owned()
    }
}

impl Inquiry<'_> {
    fn of_all(
        &self,
        ask: &(dyn Fn(usize) -> Result<std::result::Result<Seen, (String, u8)>> + Sync),
    ) -> Result<Vec<CheckedAddress>> {
        let one = |at: usize| {
            let began = Instant::now();
            let answer = ask(at)?;
            let name = self.addresses.name(at);
            let (seen, refused) = match answer {
                Ok(seen) => (seen, None),
                Err(why) => (Seen::default(), Some(why)),
            };
            Ok(CheckedAddress { at, name, refused, seen, took: began.elapsed() })
        };
        std::thread::scope(|scope| {
            let threads = (0..self.addresses.count()).map(|at| thread::start(scope, move || one(at)));
            let threads = threads.collect::<Result<Vec<_>>>()?;
            threads.into_iter().map(|thread| thread.join().expect("a thread that asks an address panicked")).collect()
        })
    }

    fn look(&self, at: usize) -> Result<std::result::Result<Seen, (String, u8)>> {
        let Some(answer) = self.ask(at, LOOK, &self.place(at))? else { return self.list(at) };
        if answer.is_whole() {
            let [boot, device, place, names] = ["boot", "device", "place", "names"].map(|name| answer.of(name));
            return Ok(Ok(Seen { boot, device, place, names, listed: None }));
        }
        match answer.ended {
            Ended::Code(UNREACHED) | Ended::Stalled | Ended::NotStarted => Ok(Err(refusal(&answer))),
            // A restricted login may answer anything.
            _ => self.list(at),
        }
    }

    /// What rsync lists there, one level deep.
    fn list(&self, at: usize) -> Result<std::result::Result<Seen, (String, u8)>> {
        let mut word = self.addresses.word(at);
        // The home directory has no name.
        if !word.as_bytes().ends_with(b":") && !word.as_bytes().ends_with(b"/") {
            word.push("/");
        }
        let question = listing(self.config, word, &["-d"]);
        let (mut sum, mut said) = (Xxh3::new(), Vec::new());
        let ended = self.supervisor.run_while_alive(&question, Some(LONGEST), &mut |stream, line| match stream {
            Stream::Stdout => {
                sum.update(line);
                sum.update(b"\n");
            }
            Stream::Stderr if said.len() < SHOWN => said.push(Printable::bytes(line).to_string()),
            Stream::Stderr => {}
        })?;
        Ok(match ended {
            Ended::Code(code @ (exit::OK | exit::PARTIAL | exit::VANISHED)) => {
                Ok(Seen { listed: Some((code, sum.digest())), ..Seen::default() })
            }
            ended => Err(refusal(&Answer { ended, lines: Vec::new(), said })),
        })
    }

    /// Makes a file through one address; and who does not see it through its own.
    fn who_does_not_see(&self, first: usize, there: &[usize]) -> Result<Option<usize>> {
        let made = self.ask(first, MAKE, &self.place(first))?;
        let file = made.filter(Answer::is_whole).map(|answer| answer.of("file")).filter(|file| !file.is_empty());
        let Some(file) = file else {
            return Err(Error::usage("cannot make a file that shows whether the addresses lead to the same directory")
                .remedy("check that DEST, or the directory that it is made in, can be written; or name one address")
                .exit(exit::FILE_SELECT));
        };
        let file = vec![OsString::from(file)];
        let others = there.iter().copied().filter(|at| *at != first);
        let mut unseen = Ok(None);
        for at in others {
            match self.ask(at, SEES, &file) {
                Ok(answer) if answer.as_ref().is_some_and(|answer| answer.lines.iter().any(|line| line == "seen")) => {}
                Ok(_) => unseen = Ok(Some(at)),
                Err(error) => unseen = Err(error),
            }
        }
        let removed = self.ask(first, REMOVE, &file)?;
        if !removed.is_some_and(|answer| answer.is_whole()) {
            return Err(Error::usage(format!(
                "{} on {} could not be removed",
                Printable::os(&file[0]),
                self.addresses.name(first)
            ))
            .remedy("remove it: it was to show whether the addresses lead to the same directory")
            .exit(exit::FILE_SELECT));
        }
        unseen
    }

    /// The arguments of [`LOOK`].
    fn place(&self, at: usize) -> Vec<OsString> {
        let word = self.addresses.word(at);
        match self.addresses.are_of_source() {
            true => {
                let dir = Source::parse(&word).map(|source| pull::directory(&source)).unwrap_or_default();
                vec![OsString::from_vec(dir), OsString::new()]
            }
            false => {
                let target = Destination::parse(&word).ok().map(|destination| destination.target().clone());
                let Some(Target::Ssh { path, .. }) = target else { return vec![".".into(), "above".into()] };
                vec![if path.is_empty() { ".".into() } else { path }, "above".into()]
            }
        }
    }

    /// Has a shell there run a script; `None` if there is none.
    fn ask(&self, at: usize, script: &str, arguments: &[OsString]) -> Result<Option<Answer>> {
        let environment = |name: &str| std::env::var_os(name);
        let meaning = self.config.options.meaning_with(environment);
        let targets = targets(self.config);
        let Some(shell) = targets.get(at).and_then(|target| pull::shell_by_name(self.config, target, &meaning)) else {
            return Ok(None);
        };
        let words = [&["-c".into(), script.into(), "sh".into()], arguments].concat();
        let input = shell::script(&Invocation::new("sh", words, "."));
        let asks = Invocation { input, held: true, ..shell };
        let (mut lines, mut said) = (Vec::new(), Vec::new());
        let ended = self.supervisor.run_while_alive(&asks, Some(LONGEST), &mut |stream, line| match stream {
            Stream::Stdout => lines.push(String::from_utf8_lossy(line).into_owned()),
            Stream::Stderr if said.len() < SHOWN => said.push(Printable::bytes(line).to_string()),
            Stream::Stderr => {}
        })?;
        Ok(Some(Answer { ended, lines, said }))
    }
}

fn refusal(answer: &Answer) -> (String, u8) {
    let said = if answer.said.is_empty() { "it said nothing".to_owned() } else { answer.said.join("; ") };
    match answer.ended {
        Ended::Stalled => (format!("no answer for {} s", LONGEST.as_secs()), exit::TIMEOUT),
        ended => (format!("code {}: {said}", ended.code()), ended.code().max(1)),
    }
}
