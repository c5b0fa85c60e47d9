//! Several addresses of one machine: checks, before anything is copied, whether all of them lead to the same directory.
//!
//! If an address gives a shell, a directory is identified by its inode and owner, and, on one machine, by its device. A machine is identified by the time at
//! which its system was started. If the addresses lead to several machines that share a file system, the names in SRC must have the same inodes, or a file that
//! is created in DEST through one address must be visible through the others. If an address gives only an rsync, SRC is identified by its listing. DEST cannot
//! be identified then, and is refused.

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

/// An address that does not answer for this long counts as unreachable.
const LONGEST: Duration = Duration::from_secs(30);
/// How many lines of an error are shown.
const SHOWN: usize = 2;
/// The exit code of ssh if it cannot connect.
const UNREACHED: u8 = 255;

/// Prints what an address leads to. The arguments are the directory, and whether an existing directory above it is sufficient.
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
/// Creates a file in the directory, and keeps the times of the directory.
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

/// The answer of one address.
#[derive(Debug, Clone)]
pub struct CheckedAddress {
    /// The number of the address.
    pub at: usize,
    name: String,
    /// The reason why the address cannot be used, with the exit code for it.
    pub refused: Option<(String, u8)>,
    /// The identity of what the address leads to.
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
    // The listing goes in the other direction, so that options for the receiving side would reach a sender.
    words = words.without(|setting| setting.spec.id == Opt::RemoteOption);
    let mut words = words.argv();
    words.extend(["--list-only", "--no-motd"].iter().chain(options).map(OsString::from));
    words.extend(["--".into(), word]);
    Invocation::rsync(&config.program, words, &config.cwd)
}

/// Asks all addresses at once. Addresses that do not answer are left out.
///
/// # Errors
/// No address answers; or they do not lead to one directory, or this cannot be found out.
pub fn check(config: &Config, supervisor: &Supervisor) -> Result<Vec<CheckedAddress>> {
    let Some(addresses) = &config.addresses else { return Ok(Vec::new()) };
    let inquiry = Inquiry { config, addresses, supervisor };
    let mut checked = inquiry.of_all(&|at| inquiry.look(at))?;
    let answers = |checked: &[CheckedAddress]| -> Vec<usize> {
        checked.iter().filter(|one| one.refused.is_none()).map(|one| one.at).collect()
    };
    let mut there = answers(&checked);
    let is_listed = |at: &usize| checked[*at].seen.listed.is_some();
    // If one address can only be compared by a listing, the others have to be listed, too.
    if there.iter().any(is_listed) && !there.iter().all(is_listed) && addresses.are_of_source() {
        checked = inquiry.of_all(&|at| inquiry.list(at))?;
        there = answers(&checked);
    }
    let Some(first) = there.first().copied() else {
        let (said, code) = checked[0].refused.clone().unwrap_or_default();
        let text = format!("no address of '{}' can be used: {said}", Printable::os(addresses.typed()));
        return Err(
            Error::of_rsync(text, code.max(1)).remedy("try ssh or rsync with each of them, and see what it says")
        );
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
            return Err(differs(*other, "give no shell that could show whether they lead to the same directory"));
        }
        if let Some(other) = inquiry.who_does_not_see(first, &there)? {
            return Err(differs(other, "do not lead to the same directory"));
        }
    }
    Ok(checked)
}

/// Whether an address that was lost leads to the same directory as before, or to that of another address. `at` is its number.
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
    // The directory may differ from before: a listing changes when something is added to the source, and DEST may have been created meanwhile.
    is_known || (0..addresses.count()).filter(|other| *other != at).filter_map(ask).any(|other| now.is_same(&other))
}

struct Inquiry<'a> {
    config: &'a Config,
    addresses: &'a Addresses,
    supervisor: &'a Supervisor,
}

/// The output of a question, and how it ended.
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
            // A restricted login may give any answer.
            _ => self.list(at),
        }
    }

    /// Lists the directory with rsync, one level deep.
    fn list(&self, at: usize) -> Result<std::result::Result<Seen, (String, u8)>> {
        let mut word = self.addresses.word(at);
        // The home directory has no name, to which a slash could be added.
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

    /// Creates a file through the first address, and returns an address through which it is not visible.
    fn who_does_not_see(&self, first: usize, there: &[usize]) -> Result<Option<usize>> {
        let made = self.ask(first, MAKE, &self.place(first))?;
        let file = made.filter(Answer::is_whole).map(|answer| answer.of("file")).filter(|file| !file.is_empty());
        let Some(file) = file else {
            return Err(Error::file_io(
                "cannot make a file that shows whether the addresses lead to the same directory",
            )
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
            return Err(Error::file_io(format!(
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

    /// Runs a script in a shell on the other machine; `None` if it gives no shell.
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
