//! Asks what a source is, by a listing of rsync.

use std::ffi::OsString;

use super::{MOST_SAID, Way, current};
use crate::config::Config;
use crate::endpoint::{Form, Source, Target};
use crate::far;
use crate::far::hold::Entry;
use crate::rsync::command::Invocation;
use crate::rsync::options::Opt;
use crate::rsync::{exit, messages};
use crate::supervise::{Stream, Supervisor};

/// Asks, and repeats the question after pauses while `is_none` says that there is no answer.
pub(super) fn patiently<T>(supervisor: &Supervisor, ask: impl Fn() -> T, is_none: impl Fn(&T) -> bool) -> T {
    let mut answer = ask();
    for pause in far::PAUSES {
        if !is_none(&answer) || supervisor.stopped() {
            break;
        }
        std::thread::sleep(pause);
        answer = ask();
    }
    answer
}

/// Whether the daemon refused rsync because of too many clients.
pub(super) fn tells_no_place(said: &[Vec<u8>]) -> bool {
    said.iter().any(|line| messages::read(line).is_some_and(|message| message.is_no_place()))
}

/// The answer of an rsync that lists a source.
#[derive(Default)]
pub(super) struct Listed {
    /// What a daemon printed before the listing.
    pub greeting: Vec<Vec<u8>>,
    /// The line of the source, if rsync ended successfully.
    pub line: Option<Vec<u8>>,
    pub said: Vec<Vec<u8>>,
    /// The exit code, if rsync was started.
    pub code: Option<u8>,
}

impl Listed {
    /// Whether rsync was refused because of too many clients.
    pub fn has_no_place(&self) -> bool {
        self.line.is_none() && tells_no_place(&self.said)
    }
}

/// Lists the source with rsync; with `entry`, rsync enters it first.
pub(super) fn list(way: &Way<'_>, source: &Source, entry: Option<&Entry>) -> Listed {
    let Way { config, supervisor, .. } = *way;
    let mut words = way.options();
    words.extend(["--list-only", "-d"].map(OsString::from));
    words.extend(without_motd(config));
    // Lists the directory without its contents.
    words.extend((source.form() == Form::Contents).then(|| "--exclude=*".into()));
    if let Some(entry) = entry {
        let mut option = OsString::from("--rsync-path=");
        option.push(entry.question());
        words.push(option);
    }
    let word = if entry.is_some() { current(source) } else { source.through(&config.sources[0]) };
    words.extend(["--".into(), word]);
    let (mut printed, mut said) = (Vec::new(), Vec::new());
    let question = Invocation::rsync(&config.program, words, &config.cwd);
    let ended = supervisor.run(&question, &mut |stream, line| match stream {
        Stream::Stdout if printed.len() < MOST_SAID => printed.push(line.to_vec()),
        Stream::Stderr if said.len() < MOST_SAID => said.push(line.to_vec()),
        _ => {}
    });
    let code = ended.ok().map(|ended| ended.code());
    // Earlier lines that look like a listing belong to the daemon's greeting.
    let at = printed.iter().rposition(|line| listed_kind(line).is_some());
    let listed = at.map(|at| printed.split_off(at).swap_remove(0));
    Listed { greeting: printed, line: listed.filter(|_| code == Some(exit::OK)), said, code }
}

/// Suppresses the greeting of a daemon if the user is not to see it. Through a shell there is no greeting, but a login may print anything.
pub(super) fn without_motd(config: &Config) -> Option<OsString> {
    let greets = matches!(config.far_end(), Target::Daemon { .. }) && !config.options.mentions(&[Opt::Motd]);
    (!greets).then(|| "--no-motd".into())
}

/// The letter of the file type, if this is a line of a listing.
pub(super) fn listed_kind(line: &[u8]) -> Option<u8> {
    let (mode, rest) = line.split_at_checked(10)?;
    let is_mode = mode[1..].iter().all(|byte| b"rwxsStT-".contains(byte)) && b"-dlbcps".contains(&mode[0]);
    (is_mode && rest.starts_with(b" ")).then_some(mode[0])
}
