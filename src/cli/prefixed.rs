//! `multi-sync [OPTIONS] rsync RSYNC-ARGUMENTS...`: multi-sync in front of an existing rsync command.
//!
//! If several rsyncs cannot do exactly the same, the command is left to the rsync that was typed, with every word unchanged. It takes the place of this
//! program, so that its output, exit code, terminal and standard input are as without multi-sync.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::ArgMatches;
use multi_sync::command::config::{Config, PROGRAM};
use multi_sync::command::endpoint::{Addresses, Destination, Ends};
use multi_sync::command::options::{Aliases, Class, CommandLine, Opt, Options};
use multi_sync::command::shell::Quoted;
use multi_sync::{Error, Result};

use super::definition::MANY_TO_ONE;
use super::line::Rsync;
use super::refusal::ours_after_rsync;
use super::{Request, Run, configure, monitoring};
use crate::folder::Typed;

/// The rsync that was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alone {
    /// The program.
    pub program: OsString,
    /// Its arguments, as they were typed.
    pub words: Vec<OsString>,
    /// Why several rsyncs cannot do it, if that is known.
    pub why: Option<String>,
    /// Whether the reason is printed.
    pub tells: bool,
}

impl Alone {
    /// The command, quoted.
    pub fn typed(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.words);
        words.map(|word| Quoted(word).to_string()).collect::<Vec<_>>().join(" ")
    }
}

/// Options with which rsync gives information, or serves another rsync.
const TELLS: [Opt; 4] = [Opt::Help, Opt::Version, Opt::Daemon, Opt::Server];

/// Why several rsyncs cannot do it.
enum Why {
    /// rsync is asked for information, and copies nothing.
    Tells,
    /// For this reason.
    Cannot(Error),
}

impl Rsync {
    /// The request for this command.
    pub(super) fn request(
        self,
        matches: &ArgMatches,
        ours: &[OsString],
        explains: bool,
        cwd: impl FnOnce() -> Result<PathBuf>,
    ) -> Result<Request> {
        self.refuse_with(matches)?;
        let read = CommandLine::parse(&self.words, Aliases::installed(), CommandLine::is_posix());
        // Checks of our own arguments look at rsync's options. If these are not understood, they are not what is wrong with ours.
        let options = read
            .as_ref()
            .map_or_else(|_| Options::parse_str("-a --delete".as_ref()), |read| Ok(read.options.clone()))?;
        let lacks_a_path = read.as_ref().is_ok_and(|read| read.operands.len() < 2 && !read.options.mentions(&TELLS));
        let why = match read {
            Ok(read) => self.why_alone(&read, matches, explains),
            Err(error) => Some(Why::Cannot(ours_after_rsync(&self.words).unwrap_or(error))),
        };
        let Some(why) = why else { return Ok(Request::Run(Box::new(self.run(matches, ours, cwd()?)?))) };
        // Our own arguments must be valid, whether or not they are used.
        let mut nothing = Config::new(Vec::new(), Destination::parse("/".as_ref())?, options, cwd()?);
        configure(&mut nothing, matches, typed(matches, Vec::new(), OsString::new()))?;
        if let Some(needed) = needs_us(matches) {
            if lacks_a_path {
                let error = Error::usage(format!("--{needed}: a source and a destination are needed"));
                return Err(error.remedy("write both after the word rsync: rsync -a SRC DEST"));
            }
            let error = Error::usage(format!("--{needed} cannot be used with this rsync command"));
            return Err(match why {
                Why::Tells => error.remedy("leave it out: this command copies nothing"),
                Why::Cannot(why) => error
                    .because(why)
                    .remedy("leave it out, so that one rsync does it, or read from a file what comes from a stream"),
            });
        }
        let why = match why {
            Why::Cannot(why) => Some(why.to_string()),
            Why::Tells => None,
        };
        Ok(Request::Alone(Alone { program: self.program, words: self.words, why, tells: wants_notes(matches) }))
    }

    /// The run that this command requests.
    pub(super) fn run(self, matches: &ArgMatches, ours: &[OsString], cwd: PathBuf) -> Result<Run> {
        let read = CommandLine::parse(&self.words, Aliases::installed(), CommandLine::is_posix())?;
        let mut sources = read.operands.clone();
        let destination = sources.pop().unwrap_or_default();
        let Ends { sources: all, destination: to, addresses } = Ends::parse(&sources, &destination)?;
        let mut config = Config::new(all, to, read.options.clone(), cwd.clone());
        config.addresses = addresses;
        if self.program != PROGRAM {
            config.program = std::path::absolute(cwd.join(&self.program)).unwrap_or(self.program.clone().into()).into();
        }
        let keep_runs = configure(&mut config, matches, typed(matches, sources, destination))?;
        if self.program != PROGRAM && !config.hosts.is_empty() {
            return Err(Error::usage(format!("a path to rsync with --mode {MANY_TO_ONE}"))
                .remedy("write the word rsync: each host starts its own"));
        }
        config.tells_how = wants_notes(matches);
        // Options come first, because then their meaning does not depend on the environment (popt may stop at the first source).
        let mut again: Vec<OsString> = ours.iter().skip(1).cloned().collect();
        again.push(config.program.clone());
        again.extend(Aliases::installed().respell(read.options.argv()));
        again.push("--".into());
        again.extend(read.operands);
        let (show, stats, requeues) =
            (matches.get_flag("show"), matches.get_flag("stats"), matches.get_flag("requeue"));
        let wanted = monitoring::wanted(matches, &config)?;
        // A single rsync does not understand several addresses.
        let may_be_alone = needs_us(matches).is_none() && config.addresses.is_none();
        let alone = may_be_alone.then_some(Alone { program: self.program, words: self.words, why: None, tells: false });
        Ok(Run { config, requeues, show, stats, wanted, keep_runs, alone, again })
    }

    /// Refuses options that belong to other ways of using the program.
    pub(super) fn refuse_with(&self, matches: &ArgMatches) -> Result<()> {
        let command = std::iter::once(&self.program).chain(&self.words).map(|word| Quoted(word).to_string());
        let command = command.collect::<Vec<_>>().join(" ");
        let flags =
            ["version", "selftest", "bench", "benchshm", "runs"].into_iter().find(|name| matches.get_flag(name));
        let others = ["resume", "retry-failed", "status", "forget", "set", "config", "rsync", "report-of"];
        let other = others.into_iter().find(|name| matches.contains_id(name));
        let Some(name) = flags.or(other) else { return Ok(()) };
        let remedy = match name {
            "rsync" => "give rsync's options after the word rsync".to_owned(),
            _ => format!(
                "leave it out: multi-sync {command}; if something in this directory is called rsync, write it as ./rsync"
            ),
        };
        Err(Error::usage(format!("--{name} and an rsync command")).remedy(remedy))
    }

    /// Finds out why without looking at the machine. The plan would find most reasons too, but only after it has read streams.
    fn why_alone(&self, read: &CommandLine, matches: &ArgMatches, explains: bool) -> Option<Why> {
        if read.operands.len() < 2 || read.options.mentions(&TELLS) {
            return Some(Why::Tells);
        }
        if read.operands.iter().any(|word| Addresses::are_in(word)) {
            return None;
        }
        let environment = |name: &str| std::env::var_os(name);
        let (destination, sources) = read.operands.split_last()?;
        let refused = Ends::parse(sources, destination).err();
        let refused = refused.or_else(|| read.options.refuse_unsupported_with(environment).err());
        let verdicts = read.options.verdicts_with(environment);
        let plain = verdicts.into_iter().find(|verdict| verdict.class == Class::Plain);
        let plain = plain.map(|verdict| Error::usage(format!("{}: {}", verdict.option, verdict.why)));
        // These are also available if multi-sync runs a single rsync.
        let ours = matches.get_count("progress") > 0 || matches.get_flag("stats") || needs_us(matches).is_some();
        refused.or(plain.filter(|_| !ours && !explains)).map(Why::Cannot)
    }
}

fn typed(matches: &ArgMatches, sources: Vec<OsString>, destination: OsString) -> Typed {
    let buckets = matches.get_one::<OsString>("buckets").map(PathBuf::from);
    Typed { sources, destination, buckets, hosts_file: None }
}

/// The name of an option of multi-sync that needs more than the copy.
fn needs_us(matches: &ArgMatches) -> Option<&'static str> {
    let flags = ["keep", "show", "dry-run", "verify-only", "gitignore", "survey", "requeue"];
    let values = [
        "buckets",
        "verify",
        "delete-limit",
        "stall",
        "hosts",
        "hosts-file",
        "end-at",
        "end-in",
        "schedule",
        "max-load",
        "max-dest-full",
        "max-pressure",
        "events",
        "report",
    ];
    let flag = flags.into_iter().find(|name| matches.get_flag(name));
    let many = matches.get_one::<String>("mode").is_some_and(|mode| mode == MANY_TO_ONE).then_some("mode");
    let mut values = values.into_iter().chain(monitoring::OPTIONS);
    flag.or_else(|| values.find(|name| matches.contains_id(name))).or(many)
}

/// A job that nobody watches prints nothing that rsync would not print.
fn wants_notes(matches: &ArgMatches) -> bool {
    matches.get_count("progress") > 0 || matches.get_flag("stats") || std::io::stderr().is_terminal()
}
