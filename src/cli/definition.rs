//! What can be typed, and what `--help` says of it.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, value_parser};
use multi_sync::command::config::{DEFAULT_FILES, DEFAULT_HOST_TIMEOUT, DEFAULT_RETRIES, DEFAULT_RSYNC, DEFAULT_SIZE};
use multi_sync::command::outlet::USUAL_INTERVAL;
use multi_sync::command::runs::Keep;
use multi_sync::command::size::Size;
use multi_sync::harness::bench;

use super::words::Told;
use crate::monitor::Wanted;

/// The number of processes that is found by measuring.
pub(super) const AUTO: &str = "auto";
/// Files that say what is to be done, as the Python tool of this name has them.
pub(super) const CONFIG: &str = "/etc/multi-sync";
pub(super) const QUICK: &str = "quick";
pub(super) const CHECKSUM: &str = "checksum";
pub(super) const ONE_TO_ONE: &str = "one-to-one";
pub(super) const MANY_TO_ONE: &str = "many-to-one";

/// What fits a screen of 80 columns and 24 lines, with the prompt.
pub(super) const SHORT_HELP: &str = "\
Copies a tree with several rsyncs at once; the result is that of one rsync.

Usage: multi-sync [OPTIONS] rsync RSYNC-ARGUMENTS...
       multi-sync [OPTIONS] SRC... DEST
       multi-sync resume | retry | status | runs | verify | survey | explain |
                  selftest | bench | help [WORD | all]
  -p, --processes N    N rsyncs at once [default: 1]; auto: as many as help
  -r, --rsync 'OPTS'   rsync's options, quoted [default: '-aS --numeric-ids']
  -P, --progress       show progress on one live line; -PP: each rsync as well
      --stats          print statistics at the end, and why it was one rsync
  -b, --buckets DIR    keep the run's state in DIR: for resume, retry, status
  -k, --keep           keep it also after success; -j, --show: print its path
  -f, --files N        entries in a bucket; -s, --size BYTES limits its bytes
  -d, --dry-run        read and pack the source, copy nothing
      --verify         after the copy list what rsync -n -i still finds to do
  -h, --help           print this; -hh: all options
Examples:
  multi-sync -p 8 rsync -aHAX --delete /data/ nas:/backup/
  multi-sync -p 8 -P -b runs -r '-aHAX --delete' /data/ nas:/backup/
  multi-sync verify -p 8 rsync -aHAX --delete /data/ nas:/backup/
Exit codes are rsync's own: 0 all copied, 23 some not; see multi-sync help all
";

/// Everything, grouped.
pub(super) fn long_help() -> String {
    command().render_help().to_string()
}

/// The help of a word, with the options that go with it.
pub(super) fn help_of(told: &Told) -> String {
    let shown = command()
        .about(told.about)
        .override_usage(told.usage)
        .after_help("Exit codes and all options: multi-sync help all")
        .mut_args(|argument| {
            let hidden = !told.options.contains(&argument.get_id().as_str());
            argument.hide(hidden).help_heading("Options")
        });
    shown.clone().render_help().to_string()
}

/// Every option with its help.
pub(super) fn command() -> Command {
    let bytes = || value_parser!(OsString);
    let flag = |name: &'static str, letter: char, help: &'static str| {
        Arg::new(name).short(letter).long(name).action(ArgAction::SetTrue).help(help)
    };
    let value = |name: &'static str, letter: char, shown: &'static str, help: String| {
        Arg::new(name).short(letter).long(name).value_name(shown).value_parser(bytes()).help(help)
    };
    let long_value = |name: &'static str, shown: &'static str, help: String| {
        Arg::new(name).long(name).value_name(shown).value_parser(bytes()).help(help)
    };
    Command::new("multi-sync")
        .about("Copies a tree with several rsyncs at once; the result is that of one rsync.")
        .override_usage(
            "multi-sync [OPTIONS] rsync RSYNC-ARGUMENTS...\n       multi-sync [OPTIONS] SRC... DEST\n       multi-sync --selftest [-r OPTS] [DEST]\n       \
             multi-sync --bench | --benchshm [-r OPTS] [--bench-...]",
        )
        .version(env!("CARGO_PKG_VERSION"))
        // clap's own would act in the middle of a word: `-host:x` is no call for help.
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(
            Arg::new("mode")
                .short('m')
                .long("mode")
                .value_name("MODE")
                .value_parser([ONE_TO_ONE, MANY_TO_ONE])
                .help(format!("{ONE_TO_ONE}: this machine copies [default]; {MANY_TO_ONE}: the hosts of --hosts do")),
        )
        .arg(long_value(
            "hosts",
            "LIST",
            "source hosts: HOST or USER@HOST, with commas; HOST*N for N rsyncs there".into(),
        ))
        .arg(long_value("hosts-file", "FILE", "source hosts from FILE, a host or `host,user` in each line".into()))
        .arg(long_value("ssh", "COMMAND", "how to reach the source hosts [default: ssh]".into()))
        .arg(long_value(
            "host-timeout",
            "SECONDS",
            format!("end the run when no host could be used for so long [default: {}]", DEFAULT_HOST_TIMEOUT.as_secs()),
        ))
        .arg(
            Arg::new("mixed-users")
                .long("mixed-users")
                .action(ArgAction::SetTrue)
                .help("hosts may log in as different users: owners then depend on the host that copies"),
        )
        .arg(long_value(
            "config",
            "DIR",
            format!(
                "SRC, DEST, hosts and bucket directory from the files in DIR [default without SRC and DEST: {CONFIG}]"
            ),
        ))
        .arg(value("processes", 'p', "N", format!("rsyncs that copy at once; {AUTO}: as many as help [default: 1]")))
        .arg(value("files", 'f', "N", format!("entries in a bucket, which is one rsync then [default: {DEFAULT_FILES}, several buckets for each rsync]")))
        .arg(value(
            "size",
            's',
            "BYTES",
            format!("bytes in a bucket, which is one rsync then; K M G T P E are powers of 1024 [default: {}, several buckets for each rsync]", Size::new(DEFAULT_SIZE)),
        ))
        .arg(value("buckets", 'b', "DIR", "keep the state of the run (the run directory) below DIR [default: the user's place for state]".into()))
        .arg(flag("keep", 'k', "keep the run directory also after success"))
        .arg(flag("show", 'j', "print the path of the run directory"))
        .arg(
            flag("progress", 'P', "show progress: one live line, or a line every 5 seconds without a terminal; -PP: a line for each rsync as well")
                .action(ArgAction::Count),
        )
        .arg(Arg::new("stats").long("stats").action(ArgAction::SetTrue).help("print statistics at the end, and why one rsync did it all"))
        .arg(long_value("events", "FILE", "write what happens as JSON lines to FILE, - (standard output, which then has nothing else), or fd:N".into()))
        .arg(long_value("progress-interval", "SECONDS", format!("how often progress is among the events [default: {}]", USUAL_INTERVAL.as_secs())))
        .arg(long_value("report", "FILE", "write a report at the end: a page (.html), its data (.json), or the launches (.csv)".into()))
        .arg(long_value("report-of", "EVENTS", "copy nothing, and make the report of events that were written before; -: from standard input".into()))
        .arg(flag("dry-run", 'd', "read the source and pack it into buckets, copy nothing"))
        .arg(
            Arg::new("survey")
                .long("survey")
                .action(ArgAction::SetTrue)
                .help("copy nothing; tell what the source has, what of it would be lost, how it would be divided, and how long it would take"),
        )
        .arg(long_value("trial-seconds", "N", "with --survey: copy a sample into a folder of its own at DEST for so long, and estimate the whole".into()))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("with --survey, --status and --runs: print JSON"))
        .arg(
            value("rsync", 'r', "OPTS", format!("rsync's options, as one word in quotes, in the place of the default [default: '{DEFAULT_RSYNC}']"))
                .allow_hyphen_values(true),
        )
        .arg(
            Arg::new("verify")
                .long("verify")
                .value_name("HOW")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value(QUICK)
                .value_parser([QUICK, CHECKSUM])
                .help(format!("after the copy list what rsync -n -i still finds to do; {CHECKSUM}: by content")),
        )
        .arg(Arg::new("verify-only").long("verify-only").action(ArgAction::SetTrue).help("copy nothing, only list what rsync -n -i finds to do"))
        .arg(long_value(
            "delete-limit",
            "N|P%|none",
            "count deletions first: if they are more than N, or P% of what DEST has, delete nothing (exit code 25); none: also where a source is empty or on another file system".into(),
        ))
        .arg(long_value(
            "retries",
            "N",
            format!("how often a launch whose connection failed is tried again [default: {DEFAULT_RETRIES}]"),
        ))
        .arg(long_value(
            "stall",
            "SECONDS",
            "end an rsync that for so long prints nothing and neither reads nor writes, and try again".into(),
        ))
        .arg(long_value(
            "resume",
            "RUN",
            "go on with a run: its name, the beginning of it, or its directory; -p, -P, --retries, --stall, --stats, --schedule and the throttles may be given anew".into(),
        ))
        .arg(long_value("retry-failed", "RUN", "launch once more what failed in a run".into()))
        .arg(long_value("status", "RUN", "print where a run stands".into()))
        .arg(
            Arg::new("runs")
                .long("runs")
                .action(ArgAction::SetTrue)
                .help("print your runs that did not come to their end; --runs DIR: those below --buckets DIR"),
        )
        .arg(long_value(
            "set",
            "RUN",
            "change a run that is under way, with --processes, --schedule and what follows; print what is in force".into(),
        ))
        .arg(long_value("bwlimit", "RATE", "with --set: bandwidth of all rsyncs together that start from now on, as rsync writes it; or none".into()))
        .arg(
            Arg::new("pause")
                .long("pause")
                .action(ArgAction::SetTrue)
                .help("with --set: stop the rsyncs that run (SIGSTOP), and start none"),
        )
        .arg(Arg::new("continue").long("continue").action(ArgAction::SetTrue).help("with --set: go on after --pause"))
        .arg(
            Arg::new("stop")
                .long("stop")
                .action(ArgAction::SetTrue)
                .help("with --set: start no more, and end when what runs has come to its end; the run can be resumed (code 30)"),
        )
        .arg(long_value(
            "schedule",
            "TIMETABLE",
            "what is in force when, by the local clock: 'Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sun pause; else p=16'; or none".into(),
        ))
        .arg(long_value("max-load", "LOAD[:LOAD]", "pause while this machine's load is so high, go on at the second [default: 0.8 of it]".into()))
        .arg(long_value(
            "max-dest-full",
            "PERCENT[:PERCENT]",
            "pause when a DEST on this machine is so full, go on at the second [default: 5 less]".into(),
        ))
        .arg(long_value(
            "max-pressure",
            "WHAT=PERCENT[:PERCENT]",
            "pause while programs of this machine wait so often for cpu, io or memory (PSI): io=40:20,cpu=80".into(),
        ))
        .arg(long_value("forget", "RUN", "remove the directory of a run that is not to be resumed".into()))
        .arg(long_value(
            "keep-runs",
            "DAYS[,COUNT]",
            format!(
                "how long directories of runs that did not come to their end stay, and how many [default: {},{}]; 0: keep none",
                Keep::USUAL.days,
                Keep::USUAL.most
            ),
        ))
        .arg(long_value("on-end", "COMMAND", "run COMMAND by sh -c when the run has ended, with MULTI_SYNC_... in its environment and a summary as JSON on standard input".into()))
        .arg(long_value("on-failure", "COMMAND", "the same, before --on-end, if the exit code is not 0".into()))
        .arg(long_value(
            "hook-seconds",
            "N",
            format!("end such a command after so long [default: {}]", Wanted::HOOK_LIMIT.as_secs()),
        ))
        .arg(long_value("metrics", "FILE.prom", "write figures of the run into FILE.prom every few seconds, for Prometheus' node exporter".into()))
        .arg(long_value("metrics-listen", "ADDR", "let Prometheus read them at http://ADDR/metrics: a PORT of this machine alone, or ADDRESS:PORT".into()))
        .arg(
            Arg::new("scan-threads")
                .long("scan-threads")
                .value_name("N")
                .value_parser(bytes())
                .help("threads that read the source [default: one per core, more on network and FUSE file systems]"),
        )
        .arg(
            Arg::new("gitignore")
                .long("gitignore")
                .action(ArgAction::SetTrue)
                .help("leave out what .gitignore and .ignore files say; not with --delete"),
        )
        .arg(flag(
            "selftest",
            't',
            "test this machine, its rsync, and DEST if it is given; -r adds options to every copy",
        ))
        .arg(flag("bench", 'e', "measure one rsync and 1, 2, 4, 8, 16 processes on a tree in the temporary folder"))
        .arg(flag("benchshm", 'g', "measure as --bench does, in /dev/shm, or $SHM"))
        .arg(long_value("bench-entries", "N", format!("entries of the tree that is measured [default: {}]", bench::DEFAULT_ENTRIES)))
        .arg(long_value("bench-runs", "N", format!("rounds of the benchmark [default: {}]", bench::DEFAULT_RUNS)))
        .arg(long_value("bench-shape", "PATH", "the tree that is measured: a specification (bench-data/NAME.json), or a folder".into()))
        .arg(long_value("bench-dest", "DEST", "with --bench: copy into a new folder there".into()))
        .arg(long_value("bench-json", "FILE", "write every time that --bench has measured into FILE".into()))
        .arg(long_value("bench-chart", "FILE.svg", "draw the speedup by processes that --bench has measured".into()))
        .arg(
            Arg::new("version")
                .short('v')
                .long("version")
                .visible_short_alias('V')
                .action(ArgAction::SetTrue)
                .help("print the version of multi-sync"),
        )
        .arg(
            Arg::new("help")
                .short('h')
                .long("help")
                .action(ArgAction::Count)
                .help("print a short help; -hh: all of it; behind a mode (multi-sync resume --help): that of the mode"),
        )
        .arg(Arg::new("paths").value_name("SRC... DEST").num_args(1..).value_parser(bytes()).help(
            "what to copy, and where to: a path, [USER@]HOST:PATH, [USER@]HOST::MODULE/PATH or \
             rsync://[USER@]HOST[:PORT]/MODULE/PATH; SRC/ is the contents of SRC, as in rsync",
        ))
        .after_help(AFTER_HELP)
        .mut_args(|argument| match heading(argument.get_id().as_str()) {
            Some(heading) => argument.help_heading(heading),
            None => argument,
        })
}

/// The group of an option in the long help; `None` for what is copied.
fn heading(option: &str) -> Option<&'static str> {
    Some(match option {
        "paths" => return None,
        "verify" | "verify-only" | "resume" | "retry-failed" | "status" | "runs" | "forget" | "keep-runs"
        | "retries" | "stall" | "buckets" | "keep" | "show" => "Verify and resume",
        "on-end" | "on-failure" | "hook-seconds" | "metrics" | "metrics-listen" => "Be told",
        "set" | "bwlimit" | "pause" | "continue" | "stop" | "schedule" | "max-load" | "max-dest-full"
        | "max-pressure" => "While it runs",
        "mode" | "hosts" | "hosts-file" | "ssh" | "host-timeout" | "mixed-users" | "config" => "Many hosts",
        "events" | "progress-interval" | "report" | "report-of" => "Watch and report",
        "selftest" | "bench" | "benchshm" | "bench-entries" | "bench-runs" | "bench-shape" | "bench-dest"
        | "bench-json" | "bench-chart" | "dry-run" | "survey" | "trial-seconds" | "json" => "Test and measure",
        "help" | "version" => "Help",
        _ => "Copy",
    })
}

const AFTER_HELP: &str = "\
Exit codes are rsync's own: 0 all copied, 1 usage, 3 and 11 destination or file error, 20 interrupted, 23 some entries were not \
copied, 24 some vanished, 255 and others as rsync gave them.

One bucket is one rsync if --files or --size is given; else a launch takes as many buckets as are worth it.
A run that is not worth several launches, or that only one rsync can do exactly, is one plain rsync; --stats says why.";
