//! Batch jobs: `--submit`, and the options that belong to it.

use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::ArgMatches;
use multi_sync::command::entry::Printable;
use multi_sync::command::size;
use multi_sync::command::steer::until;
use multi_sync::{Error, Result};

use super::definition::{MANY_TO_ONE, command};
use super::line::{Line, without};
use super::{Request, Run, about, outlets, run, text_of};
use crate::batch::{Script, Submission};

/// The options of the job, which are not part of the run.
const OF_THE_JOB: [&str; 7] = ["submit", "print-job", "nodes", "partition", "time", "sbatch", "requeue"];
/// No site has more nodes.
const MOST_NODES: usize = 1 << 16;
/// Options of sbatch that would result in something else than a single job that continues the run.
const NOT_OF_SBATCH: [(&str, &str, &str); 10] = [
    ("--array", "-a", "several jobs would work on one run"),
    ("--wrap", "", "the script is that of the run"),
    ("--parsable", "", "its answer is read here"),
    ("--wait", "-W", "the run is followed here"),
    ("--test-only", "", "nothing would be submitted; --print-job prints the script"),
    ("--quiet", "-Q", "its answer is read here"),
    ("--clusters", "-M", "the job is asked for on this cluster"),
    ("--cluster", "", "the job is asked for on this cluster"),
    ("--ignore-pbs", "", "the script has no words of PBS"),
    ("--help", "-h", "nothing would be submitted"),
];

/// The request to submit a job, or to print its script.
pub(super) fn request(matches: &ArgMatches, line: Line, cwd: PathBuf) -> Result<Request> {
    if let Some(dir) = matches.get_one::<OsString>("resume") {
        return again(matches, dir.into());
    }
    refuse_others(matches)?;
    let script = script(matches)?;
    let prints = matches.get_flag("print-job");
    if !prints && let Some(job) = std::env::var_os("SLURM_JOB_ID") {
        return Err(Error::usage(format!("--submit: this is already job {} of Slurm", Printable::os(&job))).remedy(
            format!("leave out --submit and its options, and write -m {MANY_TO_ONE}: the nodes of this job copy"),
        ));
    }
    let mut words = without(&line.ours, &OF_THE_JOB, &command());
    let mut insert = |word: String| words.insert(1, word.into());
    if !matches.contains_id("mode") {
        insert(format!("--mode={MANY_TO_ONE}"));
    }
    // Outside of a job, a run with hosts is used to check all other options.
    let mut anywhere = line_with(&words, &["--engine=ssh", "--hosts=localhost"]);
    words = line_with(&words, &["--engine=slurm"]);
    if !prints && !matches.get_flag("keep") {
        // The end of the run is read from its directory.
        (anywhere, words) = (line_with(&anywhere, &["--keep"]), line_with(&words, &["--keep"]));
    }
    let understood = command().try_get_matches_from(&anywhere);
    let understood = understood.map_err(|error| super::refusal::of(&error, &words))?;
    let mut run = match line.rsync {
        Some(rsync) => {
            rsync.refuse_with(&understood)?;
            rsync.run(&understood, &words, cwd)?
        }
        None => run(&understood, &words, cwd)?,
    };
    let records = outlets::Words::of(&understood);
    if records.is_for_streams() {
        return Err(Error::usage("--submit and --events to a stream of this process: the job runs in another process")
            .remedy("give --events a file that the nodes see"));
    }
    records.set(&mut run.config)?;
    run.config.check_outlets()?;
    if run.config.sources.is_empty() {
        return Err(
            Error::usage("--submit without SRC and DEST: no copy to submit").remedy("name what to copy, and where to")
        );
    }
    if run.config.buckets.is_none() {
        return Err(Error::usage("--submit without --buckets DIR: the job would not find the run")
            .remedy("give --buckets DIR, on storage that this machine and all nodes see"));
    }
    Ok(Request::Submit(Box::new(Submission { run, script, prints })))
}

/// Submits another job for a run that was submitted before.
fn again(matches: &ArgMatches, dir: PathBuf) -> Result<Request> {
    let typed = |name: &&str| matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
    let definition = command();
    let names = definition.get_arguments().map(|argument| argument.get_id().as_str());
    let other = names.filter(typed).find(|name| !["resume", "submit"].contains(name));
    match other {
        Some(name) => {
            let shown = if name == "paths" { "SRC and DEST".to_owned() } else { format!("--{name}") };
            Err(Error::usage(format!("{shown} cannot be given when a run is submitted again"))
                .remedy("leave it out; for other options of sbatch change job.sh in the directory of the run"))
        }
        None => Ok(Request::SubmitAgain(dir)),
    }
}

/// Refuses options of submitting without `--submit`.
pub(super) fn refuse_without(matches: &ArgMatches) -> Result<()> {
    let values = ["nodes", "partition", "time", "sbatch"].into_iter().find(|name| matches.contains_id(name));
    if let Some(name) = values {
        return Err(Error::usage(format!("--{name} without --submit")).remedy("add --submit, or leave it out"));
    }
    if matches.get_flag("follow") && !matches.contains_id("status") {
        return Err(Error::usage("--follow without --status RUN").remedy("write multi-sync status --follow RUN"));
    }
    if matches.get_flag("follow") && matches.get_flag("json") {
        return Err(
            Error::usage("--follow and --json").remedy("give one of them; --events writes JSON while a run is active")
        );
    }
    Ok(())
}

/// Refuses `--requeue` if it could have no effect.
pub(super) fn refuse_requeue(run: &Run) -> Result<()> {
    if !run.requeues {
        return Ok(());
    }
    refuse_requeue_here()?;
    if run.config.buckets.is_none() {
        return Err(Error::usage("--requeue without --buckets DIR: the run could not be continued")
            .remedy("give --buckets DIR, on storage that all nodes see"));
    }
    Ok(())
}

/// Refuses `--requeue` outside of a job.
pub(super) fn refuse_requeue_here() -> Result<()> {
    if std::env::var_os("SLURM_JOB_ID").is_some() {
        return Ok(());
    }
    Err(Error::usage("--requeue: this is not a job of Slurm (SLURM_JOB_ID is not set)")
        .remedy("start it inside sbatch"))
}

fn line_with(words: &[OsString], more: &[&str]) -> Vec<OsString> {
    let more = more.iter().map(OsString::from);
    words.iter().take(1).cloned().chain(more).chain(words.iter().skip(1).cloned()).collect()
}

/// Refuses options that make no sense in a batch job.
fn refuse_others(matches: &ArgMatches) -> Result<()> {
    if matches.get_one::<String>("mode").is_some_and(|mode| mode != MANY_TO_ONE) {
        return Err(Error::usage("--submit with another mode than many-to-one")
            .remedy("leave out --mode: the nodes of the job copy, even if there is only one"));
    }
    let hosts = ["hosts", "hosts-file", "engine", "ssh"].into_iter().find(|name| matches.contains_id(name));
    if let Some(name) = hosts {
        return Err(Error::usage(format!("--submit and --{name}: the nodes of the job copy")).remedy("leave it out"));
    }
    if let Some(name) = ["end-at", "end-in"].into_iter().find(|name| matches.contains_id(name)) {
        return Err(Error::usage(format!("--submit and --{name}")).remedy("give --time, the limit of each job"));
    }
    let values = ["retry-failed", "status", "forget", "set", "report-of"];
    let flags = ["dry-run", "selftest", "bench", "benchshm", "runs", "version"];
    let value = values.into_iter().find(|name| matches.contains_id(name));
    match value.or(flags.into_iter().find(|name| matches.get_flag(name))) {
        Some(name) => {
            Err(Error::usage(format!("--submit and --{name}: no copy to submit")).remedy("leave out one of them"))
        }
        None => Ok(()),
    }
}

fn script(matches: &ArgMatches) -> Result<Script> {
    let word = |name: &str| matches.get_one::<OsString>(name);
    let nodes = word("nodes").map(|count| {
        let most = format!("write a whole number from 1 to {MOST_NODES}; ranges go into --sbatch '--nodes=2-4'");
        let count = about("--nodes", size::parse_count(count).map_err(|error| error.remedy(&most)))?;
        if count.get() > MOST_NODES { Err(Error::usage(format!("--nodes: {count}")).remedy(most)) } else { Ok(count) }
    });
    let partition = word("partition").map(|name| {
        let text = text_of("--partition", name)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.,+".contains(c);
        match text.is_empty() || text.starts_with('-') || !text.chars().all(plain) {
            true => Err(Error::usage(format!("--partition: not the name of a partition: {}", Printable::os(name)))
                .remedy("write its name; sinfo lists them")),
            false => Ok(text.to_owned()),
        }
    });
    Ok(Script {
        nodes: nodes.transpose()?.unwrap_or(NonZero::<usize>::MIN),
        // An invalid number is refused together with the other options of the copy.
        rsyncs: word("processes").and_then(|count| size::parse_count(count).ok()),
        partition: partition.transpose()?,
        time: word("time").map(|text| time(text)).transpose()?,
        sbatch: word("sbatch").map(|text| sbatch(text)).transpose()?.unwrap_or_default(),
    })
}

/// A time in the notation of sbatch, or with a letter for each unit.
fn time(word: &OsStr) -> Result<String> {
    let wrong = || {
        Error::usage(format!("--time: not a time limit: {}", Printable::os(word)))
            .remedy("write MINUTES, HH:MM:SS, DAYS-HH:MM:SS, or 90m, 24h, 2d")
    };
    let text = word.to_str().ok_or_else(wrong)?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (days, rest) = text.split_once('-').map_or((None, text), |(days, rest)| (Some(days), rest));
    let parts = rest.split(':').count();
    if days.is_none_or(digits) && rest.split(':').all(digits) && parts <= 3 {
        // Slurm takes 0 as no limit at all.
        return if text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) { Ok(text.to_owned()) } else { Err(wrong()) };
    }
    if !text.ends_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(wrong());
    }
    let length = until::after(text, SystemTime::UNIX_EPOCH).map_err(|_| wrong())?;
    let seconds = length.duration_since(SystemTime::UNIX_EPOCH).as_ref().map_or(0, Duration::as_secs);
    Ok(format!("{}-{:02}:{:02}:{:02}", seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60))
}

/// The additional arguments for sbatch.
fn sbatch(word: &OsStr) -> Result<Vec<String>> {
    let text = text_of("--sbatch", word)?;
    let remedy = "give options of sbatch, such as --sbatch '--account=x --mem=4G'";
    let words = shell_words::split(text)
        .map_err(|cause| Error::usage("--sbatch: not a command line").because(cause).remedy(remedy))?;
    if words.first().is_some_and(|first| !first.starts_with('-')) {
        return Err(Error::usage(format!("--sbatch: not an option of sbatch: {}", words[0])).remedy(remedy));
    }
    for word in &words {
        let name = word.split('=').next().unwrap_or(word);
        // Long options may be abbreviated.
        let is = |long: &str, short: &str| {
            name == long
                || name.len() >= 4 && long.starts_with(name) && name.starts_with("--")
                || !short.is_empty() && word.starts_with(short) && !word.starts_with("--")
        };
        if let Some((long, _, why)) = NOT_OF_SBATCH.iter().find(|(long, short, _)| is(long, short)) {
            return Err(Error::usage(format!("--sbatch: {long}: {why}")).remedy("leave it out"));
        }
        if word.contains(['\n', '\r']) {
            return Err(Error::usage("--sbatch: a line of a batch script cannot hold a line break").remedy(remedy));
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limit_is_one_of_slurm_or_has_letters() {
        for (text, expected) in [
            ("90", Some("90")),
            ("24:00:00", Some("24:00:00")),
            ("1-12", Some("1-12")),
            ("1-00:30:00", Some("1-00:30:00")),
            ("24h", Some("1-00:00:00")),
            ("90m", Some("0-01:30:00")),
            ("2d", Some("2-00:00:00")),
            ("0", None),
            ("00:00", None),
            ("1:2:3:4", None),
            ("-1", None),
            ("1-", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(time(text.as_ref()).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn words_of_sbatch_that_make_another_job_are_refused() {
        assert_eq!(sbatch("--mem=4G -A 'a b'".as_ref()).unwrap(), ["--mem=4G", "-A", "a b"]);
        assert_eq!(sbatch("--mail-type=END --wckey=x".as_ref()).unwrap().len(), 2);
        for text in
            ["--array=1-3", "-a1", "--arr=1", "--ar=1", "--wrap x", "-W", "job.sh", "'", "-A \"a\nb\"", "--clusters=x"]
        {
            assert!(sbatch(text.as_ref()).is_err(), "{text}");
        }
    }
}
