//! Modes as words: `multi-sync resume DIR`. The first word that is not an option is the mode, unless it comes after `--`. A source with the name of a mode is
//! written `./resume`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use multi_sync::command::config::PROGRAM;
use multi_sync::command::entry::Printable;
use multi_sync::{Error, Result};

use super::definition::{self, command};
use super::line::operands;

/// The mode that the first word selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Resume,
    Retry,
    Status,
    Runs,
    Verify,
    Survey,
    Explain,
    Report,
    Set,
    Selftest,
    Bench,
    Help,
}

/// The help of a word, and the options that it shows.
pub(super) struct Told {
    pub name: &'static str,
    word: Word,
    pub usage: &'static str,
    pub about: &'static str,
    pub options: &'static [&'static str],
}

const OF_A_RUN: &[&str] = &[
    "processes",
    "progress",
    "stats",
    "retries",
    "stall",
    "hosts",
    "hosts-file",
    "engine",
    "ssh",
    "end-at",
    "end-in",
    "requeue",
    "on-end",
    "on-failure",
    "hook-seconds",
    "metrics",
    "metrics-listen",
    "schedule",
    "max-load",
    "max-dest-full",
    "max-pressure",
    "events",
    "progress-interval",
    "report",
];
const OF_A_COPY: &[&str] = &[
    "processes",
    "files",
    "size",
    "rsync",
    "buckets",
    "keep",
    "progress",
    "stats",
    "scan-threads",
    "remote-scan",
    "scan-by",
    "first-pass",
    "first-pass-threads",
    "gitignore",
    "delete-limit",
    "retries",
    "stall",
    "schedule",
    "max-load",
    "max-dest-full",
    "max-pressure",
    "end-at",
    "end-in",
    "mode",
    "hosts",
    "hosts-file",
    "engine",
    "ssh",
    "events",
    "progress-interval",
    "report",
];

pub(super) const WORDS: [Told; 12] = [
    Told {
        name: "resume",
        word: Word::Resume,
        usage: "multi-sync resume [OPTIONS] RUN",
        about: "Continues a run that did not finish. What was copied is not copied again; SRC, DEST and rsync's options are those of its start. \
                RUN is its name, the beginning of its name, or its directory. With --submit, another batch job continues a run that was submitted. The same \
                as --resume RUN.",
        options: OF_A_RUN,
    },
    Told {
        name: "retry",
        word: Word::Retry,
        usage: "multi-sync retry [OPTIONS] RUN",
        about: "Copies again what failed in a run, and what the run did not reach. What was copied is left alone. The same as --retry-failed RUN.",
        options: OF_A_RUN,
    },
    Told {
        name: "status",
        word: Word::Status,
        usage: "multi-sync status [--json | --follow] RUN",
        about: "Shows the state of a run, also while it is running. With --follow it shows the progress until the run ends, also through several batch \
                jobs, and ends with its exit code. The same as --status RUN.",
        options: &["json", "follow"],
    },
    Told {
        name: "runs",
        word: Word::Runs,
        usage: "multi-sync runs [--json] [DIR]",
        about: "Lists the runs below DIR. The same as --runs, with --buckets DIR.",
        options: &["json"],
    },
    Told {
        name: "verify",
        word: Word::Verify,
        usage: "multi-sync verify [OPTIONS] rsync RSYNC-ARGUMENTS...\n       multi-sync verify [OPTIONS] SRC... DEST",
        about: "Copies nothing and lists what one more rsync would change, by size and time, or with --verify=checksum by content. The exit code is 23 \
                if there is any difference. The same as --verify-only.",
        options: &[
            "processes",
            "files",
            "size",
            "rsync",
            "verify",
            "buckets",
            "keep",
            "progress",
            "stats",
            "retries",
            "stall",
            "events",
            "report",
        ],
    },
    Told {
        name: "survey",
        word: Word::Survey,
        usage: "multi-sync survey [OPTIONS] SRC [DEST]\n       multi-sync survey [OPTIONS] SRC... DEST\n       multi-sync survey [OPTIONS] rsync RSYNC-ARGUMENTS...",
        about: "Scans the source and reports what it contains, what the rsync options would not carry over, how the work would be divided, and with \
                --trial-seconds how long a copy would take. Copies nothing except for that trial, whose folder is removed afterwards. The same as --survey.",
        options: &[
            "processes",
            "files",
            "size",
            "rsync",
            "scan-threads",
            "gitignore",
            "trial-seconds",
            "json",
            "report",
        ],
    },
    Told {
        name: "explain",
        word: Word::Explain,
        usage: "multi-sync explain [OPTIONS] rsync RSYNC-ARGUMENTS...\n       multi-sync explain [OPTIONS] SRC... DEST",
        about: "Explains a command line: whether several rsyncs or one would copy, and why, what becomes of each option, and how an rsync would be \
                started. Copies and changes nothing; connects to another machine only to look at a source there.",
        options: OF_A_COPY,
    },
    Told {
        name: "report",
        word: Word::Report,
        usage: "multi-sync report EVENTS FILE.html | FILE.json | FILE.csv",
        about: "Makes the report of a run from the events that --events wrote, even if the run was killed; - reads them from standard input. It is the \
                report that --report writes. The same as --report-of EVENTS --report FILE.",
        options: &[],
    },
    Told {
        name: "set",
        word: Word::Set,
        usage: "multi-sync set RUN [OPTIONS]",
        about: "Changes a running run, from any machine that sees its directory, and prints the settings in force; without options it only \
                prints them. RUN is its name, the beginning of its name, or its directory. The same as --set RUN.",
        options: &["processes", "bwlimit", "pause", "continue", "stop", "schedule"],
    },
    Told {
        name: "selftest",
        word: Word::Selftest,
        usage: "multi-sync selftest [OPTIONS] [DEST]",
        about: "Tests this machine and its rsync and, if given, copies to DEST. The same as -t, --selftest.",
        options: &["rsync"],
    },
    Told {
        name: "bench",
        word: Word::Bench,
        usage: "multi-sync bench [OPTIONS]",
        about: "Measures one rsync against 1, 2, 4, 8 and 16 processes, on a tree that it makes. The same as -e, --bench; -g, --benchshm measures in memory.",
        options: &[
            "rsync",
            "bench-entries",
            "bench-runs",
            "bench-shape",
            "bench-dest",
            "bench-json",
            "bench-chart",
            "benchshm",
        ],
    },
    Told {
        name: "help",
        word: Word::Help,
        usage: "multi-sync help [WORD | all]",
        about: "Prints a short help, the help of one word, or everything.",
        options: &[],
    },
];

/// Options that selected a mode before there were words, and take a name.
const FLAGS: [&str; 3] = ["--runs", "--selftest", "-t"];

impl Word {
    fn named(name: &OsStr) -> Option<&'static Told> {
        WORDS.iter().find(|told| name == told.name)
    }

    /// The word, and an equivalent command line without it.
    ///
    /// # Errors
    /// It is ambiguous whether the word is a mode, or it lacks an operand.
    pub fn take(words: &[OsString]) -> Result<Option<(Word, Vec<OsString>)>> {
        let found = operands(words, &command());
        let Some((&at, others)) = found.places.split_first() else { return Ok(None) };
        // The word is the name for a mode that was selected by an option: `--runs runs`.
        if words[1..at].iter().any(|word| FLAGS.iter().any(|flag| word == flag)) {
            return Ok(None);
        }
        let Some(told) = Word::named(&words[at]).filter(|_| found.end.is_none_or(|end| at < end)) else {
            return Ok(None);
        };
        // An rsync command, or the same word again, after it shows that it is a mode: an entry of this name would not be copied into itself.
        let is_mode = others.first().is_some_and(|other| words[*other] == PROGRAM || words[*other] == words[at]);
        if !others.is_empty() && !is_mode && Path::new(&words[at]).symlink_metadata().is_ok() {
            return Err(ambiguous(told));
        }
        let mut rest = words.to_vec();
        rest.remove(at);
        told.word.refuse_places(told, &rest)?;
        Ok(Some((told.word, told.word.in_options(rest))))
    }

    /// The help, if it is requested. This is checked before anything else.
    pub fn help(self, rest: &[OsString]) -> Result<Option<String>> {
        let told = WORDS.iter().find(|told| told.word == self).expect("every word is in the table");
        if self != Word::Help {
            let ours = rest.iter().take_while(|word| *word != "rsync" && *word != "--");
            let asked = ours.into_iter().any(|word| word == "--help" || word == "-h" || word == "-hh");
            return Ok(asked.then(|| definition::help_of(told)));
        }
        let topic = operands(rest, &command()).places.first().map(|at| rest[*at].clone());
        Ok(Some(match topic {
            None => definition::SHORT_HELP.to_owned(),
            Some(topic) if topic == "all" => definition::long_help(),
            Some(topic) => definition::help_of(Word::named(&topic).ok_or_else(|| {
                let names: Vec<&str> = WORDS.iter().map(|told| told.name).collect();
                Error::usage(format!("there is no help for {}", Printable::os(&topic)))
                    .remedy(format!("write help all, or help and one of {}", names.join(", ")))
            })?),
        }))
    }

    fn refuse_places(self, told: &Told, rest: &[OsString]) -> Result<()> {
        let asks_help = rest.iter().any(|word| word == "--help" || word == "-h" || word == "-hh");
        let (least, most) = match self {
            Word::Resume | Word::Retry | Word::Status | Word::Set => (1, 1),
            Word::Runs | Word::Selftest | Word::Help => (0, 1),
            Word::Bench => (0, 0),
            Word::Report => (2, 2),
            _ => return Ok(()),
        };
        let count = operands(rest, &command()).places.len();
        if asks_help || (least..=most).contains(&count) {
            return Ok(());
        }
        let what = if count < least {
            if self == Word::Report { "two names are needed" } else { "no run was named" }.to_owned()
        } else {
            format!("{count} names are too many")
        };
        let list = if least == 1 { "; multi-sync runs lists them" } else { "" };
        Err(Error::usage(format!("{}: {what}", told.name)).remedy(format!("write {}{list}", told.usage)))
    }

    fn in_options(self, mut rest: Vec<OsString>) -> Vec<OsString> {
        let flags: &[&str] = match self {
            Word::Verify => &["--verify-only"],
            Word::Survey => &["--survey"],
            Word::Selftest => &["--selftest"],
            Word::Bench if rest.iter().any(|word| word == "--benchshm" || word == "-g") => &[],
            Word::Bench => &["--bench"],
            Word::Runs => &["--runs"],
            _ => &[],
        };
        rest.splice(1..1, flags.iter().map(OsString::from));
        if self == Word::Report {
            let places = operands(&rest, &command()).places;
            for (at, option) in places.into_iter().zip(["--report-of=", "--report="]) {
                rest[at] = [OsStr::new(option), &rest[at]].into_iter().collect();
            }
            return rest;
        }
        let option = match self {
            Word::Resume => "--resume=",
            Word::Retry => "--retry-failed=",
            Word::Status => "--status=",
            Word::Set => "--set=",
            Word::Runs => "--buckets=",
            _ => return rest,
        };
        if let Some(at) = operands(&rest, &command()).places.first() {
            let mut typed = OsString::from(option);
            typed.push(&rest[*at]);
            rest[*at] = typed;
        }
        rest
    }
}

fn ambiguous(told: &Told) -> Error {
    let other = match told.word {
        Word::Resume => "--resume for the mode",
        Word::Retry => "--retry-failed for the mode",
        Word::Status => "--status for the mode",
        Word::Runs => "--runs for the mode",
        Word::Verify => "--verify-only for the mode",
        Word::Survey => "--survey for the mode",
        Word::Selftest => "--selftest for the mode",
        Word::Bench => "--bench for the mode",
        Word::Set => "--set for the mode",
        Word::Report => "--report-of for the mode",
        Word::Explain | Word::Help => "start multi-sync in another directory for the mode",
    };
    let name = told.name;
    Error::usage(format!("'{name}' is a mode, but this directory also contains something of that name"))
        .remedy(format!("write ./{name} for what is in this directory; {other}"))
}
