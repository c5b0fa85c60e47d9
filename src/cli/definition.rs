//! The options and words of the command line, and their help.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, value_parser};
use multi_sync::command::config::{DEFAULT_FILES, DEFAULT_HOST_TIMEOUT, DEFAULT_RETRIES, DEFAULT_RSYNC, DEFAULT_SIZE};
use multi_sync::command::outlet::USUAL_INTERVAL;
use multi_sync::command::runs::Keep;
use multi_sync::command::size::Size;
use multi_sync::harness::bench;
use multi_sync::job::{RemoteScan, ScanBy};

use super::words::Told;
use crate::monitor::Wanted;

/// The value with which the number of processes is found by measuring.
pub(super) const AUTO: &str = "auto";
/// The configuration folder that the Python tool of this name uses.
pub(super) const CONFIG: &str = "/etc/multi-sync";
pub(super) const QUICK: &str = "quick";
pub(super) const CHECKSUM: &str = "checksum";
pub(super) const ON: &str = "on";
pub(super) const OFF: &str = "off";
pub(super) const ONE_TO_ONE: &str = "one-to-one";
pub(super) const MANY_TO_ONE: &str = "many-to-one";

/// The short help, which fits on a screen of 80 columns and 24 lines, with the prompt.
pub(super) const SHORT_HELP: &str = "\
Copies a tree with several rsyncs at once, with the result of a single rsync.

Usage: multi-sync [OPTIONS] rsync RSYNC-ARGUMENTS...
       multi-sync [OPTIONS] SRC... DEST
       multi-sync resume | retry | status | set | runs | verify | survey |
                  explain | report | selftest | bench | help [WORD | all]
  -p, --processes N    run N rsyncs at once [default: 1]; auto: find the best N
  -r, --rsync 'OPTS'   rsync's options, quoted [default: '-aS --numeric-ids']
  -P, --progress       show progress on one live line; -PP: each rsync as well
      --stats          print statistics at the end, and why one rsync was used
  -b, --buckets DIR    keep the run's state in DIR, for resume and status
  -k, --keep           keep it after success too; -j, --show: print its path
  -f, --files N        most entries in a bucket; -s, --size BYTES: most bytes
  -d, --dry-run        scan and pack the source, but copy nothing
      --verify         after the copy, list what rsync -n -i would still change
  -h, --help           print this; -hh: all options
Examples:
  multi-sync -p 8 rsync -aHAX --delete /data/ nas:/backup/
  multi-sync -p 8 -P -b runs -r '-aHAX --delete' /data/ nas:/backup/
  multi-sync verify -p 8 rsync -aHAX --delete /data/ nas:/backup/
Exit codes are rsync's: 0 all copied, 23 some not. More: multi-sync help all
";

/// The complete help, in groups.
pub(super) fn long_help() -> String {
    command().render_help().to_string()
}

/// The help of a word, with the options that can be used with it.
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

/// All options with their help.
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
        // clap's own help option would be recognised inside a word: `-host:x` does not request help.
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(
            Arg::new("mode")
                .short('m')
                .long("mode")
                .value_name("MODE")
                .value_parser([ONE_TO_ONE, MANY_TO_ONE])
                .help(format!("{ONE_TO_ONE}: this machine copies [default]; {MANY_TO_ONE}: the hosts in --hosts copy")),
        )
        .arg(long_value(
            "hosts",
            "LIST",
            "source hosts, separated by commas: HOST or USER@HOST; HOST*N runs N rsyncs there".into(),
        ))
        .arg(long_value("hosts-file", "FILE", "read the source hosts from FILE, one `host`, `host,user` or `N/host` per line; a host that is listed N times gets N rsyncs".into()))
        .arg(long_value(
            "engine",
            "ENGINE",
            "how to reach the source hosts: ssh; slurm: the nodes of the Slurm job in which multi-sync runs [default there, without --hosts]; or a command that starts a shell on {host}".into(),
        ))
        .arg(long_value("ssh", "COMMAND", "the ssh that reaches the source hosts, with options [default: ssh]".into()))
        .arg(long_value(
            "host-timeout",
            "SECONDS",
            format!("end the run if no host has been usable for this long [default: {}]", DEFAULT_HOST_TIMEOUT.as_secs()),
        ))
        .arg(
            Arg::new("mixed-users")
                .long("mixed-users")
                .action(ArgAction::SetTrue)
                .help("allow hosts to log in as different users; owners then depend on which host copies"),
        )
        .arg(long_value(
            "config",
            "DIR",
            format!(
                "read SRC, DEST, hosts and bucket directory from the files in DIR [default if SRC and DEST are missing: {CONFIG}]"
            ),
        ))
        .arg(value("processes", 'p', "N", format!("number of rsyncs that run at once; {AUTO}: find the best number while copying [default: 1]")))
        .arg(value("files", 'f', "N", format!("most entries in a bucket; if given, each bucket is copied by an rsync of its own [default: {DEFAULT_FILES}, and an rsync copies several buckets]")))
        .arg(value(
            "size",
            's',
            "BYTES",
            format!("most bytes in a bucket; if given, each bucket is copied by an rsync of its own; K M G T P E are powers of 1024 [default: {}, and an rsync copies several buckets]", Size::new(DEFAULT_SIZE)),
        ))
        .arg(value("buckets", 'b', "DIR", "keep the state of the run (its run directory) below DIR [default: the user's state directory]".into()))
        .arg(flag("keep", 'k', "keep the run directory after success too"))
        .arg(flag("show", 'j', "print the path of the run directory"))
        .arg(
            flag("progress", 'P', "show progress: one live line, or without a terminal a line every 5 seconds; -PP: a line for each rsync as well")
                .action(ArgAction::Count),
        )
        .arg(Arg::new("stats").long("stats").action(ArgAction::SetTrue).help("print statistics at the end, and the reason if one rsync did everything"))
        .arg(long_value("events", "FILE", "write events as JSON lines to FILE, to - (standard output, which is then used for nothing else), or to fd:N".into()))
        .arg(long_value("progress-interval", "SECONDS", format!("how often a progress event is written [default: {}]", USUAL_INTERVAL.as_secs())))
        .arg(long_value("report", "FILE", "write a report at the end: a web page (.html), its data (.json), or one line per rsync (.csv); with --survey: the survey".into()))
        .arg(long_value("report-of", "EVENTS", "copy nothing; make the report from events that were written earlier; -: read them from standard input".into()))
        .arg(flag("dry-run", 'd', "scan the source and pack it into buckets, but copy nothing"))
        .arg(
            Arg::new("survey")
                .long("survey")
                .action(ArgAction::SetTrue)
                .help("copy nothing; report what the source contains, what these options would lose, how the work would be divided, and how long it would take"),
        )
        .arg(long_value("trial-seconds", "N", "with --survey: copy a sample into a temporary folder at DEST for N seconds, and estimate the whole copy from it".into()))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("with --survey, --status or --runs: print JSON"))
        .arg(
            value("rsync", 'r', "OPTS", format!("rsync's options, quoted as one word; they replace the default [default: '{DEFAULT_RSYNC}']"))
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
                .help(format!("after the copy, list what rsync -n -i would still change; {CHECKSUM}: compare contents")),
        )
        .arg(Arg::new("verify-only").long("verify-only").action(ArgAction::SetTrue).help("copy nothing; list what rsync -n -i would change"))
        .arg(long_value(
            "delete-limit",
            "N|P%|none",
            "count deletions first, and delete nothing if there are more than N, or more than P% of the entries at DEST (exit code 25); none: delete even if a source is empty or on another file system than before".into(),
        ))
        .arg(long_value(
            "retries",
            "N",
            format!("how often an rsync whose connection failed is retried [default: {DEFAULT_RETRIES}]"),
        ))
        .arg(long_value(
            "stall",
            "SECONDS",
            "end and retry an rsync that has neither printed, read nor written anything for SECONDS".into(),
        ))
        .arg(long_value(
            "resume",
            "RUN",
            "continue a run, given by its name, the beginning of its name, or its directory; multi-sync resume --help lists what may be changed; with --submit: in another batch job".into(),
        ))
        .arg(long_value("retry-failed", "RUN", "copy again what failed in a run".into()))
        .arg(long_value("status", "RUN", "show the state of a run".into()))
        .arg(
            Arg::new("runs")
                .long("runs")
                .action(ArgAction::SetTrue)
                .help("list your runs that did not finish; --runs --buckets DIR: those below DIR"),
        )
        .arg(long_value(
            "set",
            "RUN",
            "change a running run with --processes, --schedule and the options below; print the settings in force".into(),
        ))
        .arg(long_value("bwlimit", "RATE", "with --set: total bandwidth of the rsyncs that start from now on, in rsync's notation; or none".into()))
        .arg(
            Arg::new("pause")
                .long("pause")
                .action(ArgAction::SetTrue)
                .help("with --set: stop the running rsyncs (SIGSTOP), and start no more"),
        )
        .arg(Arg::new("continue").long("continue").action(ArgAction::SetTrue).help("with --set: continue after --pause"))
        .arg(
            Arg::new("stop")
                .long("stop")
                .action(ArgAction::SetTrue)
                .help("with --set: start no more rsyncs, and end when the running ones have finished; the run can be resumed (exit code 30)"),
        )
        .arg(long_value(
            "schedule",
            "TIMETABLE",
            "settings by local time: 'Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sun pause; else p=16'; or none".into(),
        ))
        .arg(long_value("max-load", "LOAD[:LOAD]", "pause when the load of this machine reaches the first value, continue below the second [default: 0.8 of the first]".into()))
        .arg(long_value(
            "max-dest-full",
            "PERCENT[:PERCENT]",
            "pause when a local DEST is this full, continue below the second value [default: 5 less]".into(),
        ))
        .arg(long_value(
            "max-pressure",
            "WHAT=PERCENT[:PERCENT]",
            "pause while programs on this machine are held up by cpu, io or memory for this share of the time (PSI): io=40:20,cpu=80".into(),
        ))
        .arg(long_value("end-at", "TIME", "start no rsync that would not end by then, end what runs in time, and leave the rest to resume (code 30): HH:MM, YYYY-MM-DDTHH:MM".into()))
        .arg(long_value("end-in", "TIME", "the same, after this length of time: 90m, 1h30m, 2d [default in a Slurm job whose nodes copy: when the job ends]".into()))
        .arg(
            Arg::new("requeue")
                .long("requeue")
                .action(ArgAction::SetTrue)
                .help("have Slurm queue the job again if its time was too short; with --buckets, the run then continues. Not after two jobs in a row in which nothing was done"),
        )
        .arg(
            Arg::new("submit")
                .long("submit")
                .action(ArgAction::SetTrue)
                .help("submit the copy as a Slurm batch job whose nodes copy, and show its progress; ^C does not end the job; a job whose time is too short is queued again"),
        )
        .arg(long_value("nodes", "N", "with --submit: number of nodes [default: 1]; -p N rsyncs at once on all of them [default: one per processor that Slurm allocates]".into()))
        .arg(long_value("partition", "NAME", "with --submit: the partition of the job [default: the site's default]".into()))
        .arg(long_value("time", "TIME", "with --submit: the time limit of the job, as in sbatch (MINUTES, HH:MM:SS, DAYS-HH:MM:SS), or 90m, 24h, 2d [default: that of the partition]".into()))
        .arg(
            long_value("sbatch", "OPTIONS", "with --submit: further options of sbatch, quoted as one word: '--account=x --mem=4G'".into())
                .allow_hyphen_values(true),
        )
        .arg(
            Arg::new("print-job")
                .long("print-job")
                .action(ArgAction::SetTrue)
                .help("print the batch script of such a job, and submit nothing; you can change it and give it to sbatch"),
        )
        .arg(
            Arg::new("follow")
                .long("follow")
                .action(ArgAction::SetTrue)
                .help("with --status: show the progress of the run until it ends, and end with its exit code; ^C does not end the run"),
        )
        .arg(long_value("forget", "RUN", "remove the directory of a run that will not be resumed".into()))
        .arg(long_value(
            "keep-runs",
            "DAYS[,COUNT]",
            format!(
                "for how many days the directories of unfinished runs are kept, and how many of them [default: {},{}]; 0: keep none",
                Keep::USUAL.days,
                Keep::USUAL.most
            ),
        ))
        .arg(long_value("on-end", "COMMAND", "run COMMAND (sh -c) when the run has ended, with MULTI_SYNC_* variables and a JSON summary on standard input".into()))
        .arg(long_value("on-failure", "COMMAND", "run COMMAND in the same way, before --on-end, if the exit code is not 0".into()))
        .arg(long_value(
            "hook-seconds",
            "N",
            format!("kill such a command after N seconds [default: {}]", Wanted::HOOK_LIMIT.as_secs()),
        ))
        .arg(long_value("metrics", "FILE.prom", "write metrics to FILE.prom every few seconds, for the textfile collector of Prometheus' node exporter".into()))
        .arg(long_value("metrics-listen", "ADDR", "serve metrics at http://ADDR/metrics; ADDR is a PORT of the loopback interface, or ADDRESS:PORT".into()))
        .arg(
            Arg::new("scan-threads")
                .long("scan-threads")
                .value_name("N")
                .value_parser(bytes())
                .help("number of threads that scan the source [default: one per core, more on network and FUSE file systems]"),
        )
        .arg(
            Arg::new("remote-scan")
                .long("remote-scan")
                .value_name("HOW")
                .value_parser(RemoteScan::ALL.map(RemoteScan::name))
                .help("how a source on another machine is scanned: agent: by multi-sync there; find: by find; rsync: from rsync's own listing; auto: by the first of these that is available there [default: auto]"),
        )
        .arg(
            Arg::new("scan-by")
                .long("scan-by")
                .value_name("WHO")
                .value_parser(ScanBy::ALL.map(ScanBy::name))
                .help("who scans a source that source hosts see: hosts: the hosts; here: this machine; auto: this machine, and the hosts as well if the source is on a network file system, the scan takes more than 10 seconds, and rsyncs wait for it [default: here]"),
        )
        .arg(
            Arg::new("first-pass")
                .long("first-pass")
                .value_name("WHEN")
                .value_parser([AUTO, ON, OFF])
                .help(format!("if DEST is on this machine, create missing files and directories before rsyncs check every entry: {AUTO}: if that is exact and several rsyncs copy; {ON}: also for one process; {OFF} [default: {AUTO}]")),
        )
        .arg(long_value("first-pass-threads", "N", "number of threads that create them, for all rsyncs together [default: one for each rsync]".into()))
        .arg(
            Arg::new("gitignore")
                .long("gitignore")
                .action(ArgAction::SetTrue)
                .help("leave out what .gitignore and .ignore files exclude; cannot be combined with --delete"),
        )
        .arg(flag(
            "selftest",
            't',
            "test this machine, its rsync and, if given, DEST; -r adds options to every copy",
        ))
        .arg(flag("bench", 'e', "measure one rsync against 1, 2, 4, 8 and 16 processes, on a tree in the temporary folder"))
        .arg(flag("benchshm", 'g', "measure like --bench, in /dev/shm or $SHM"))
        .arg(long_value("bench-entries", "N", format!("number of entries in the tree [default: {}]", bench::DEFAULT_ENTRIES)))
        .arg(long_value("bench-runs", "N", format!("number of rounds [default: {}]", bench::DEFAULT_RUNS)))
        .arg(long_value("bench-shape", "PATH", "the tree: a specification (bench-data/NAME.json) or a folder".into()))
        .arg(long_value("bench-dest", "DEST", "with --bench: copy to a new folder in DEST".into()))
        .arg(long_value("bench-json", "FILE", "write every measured time to FILE".into()))
        .arg(long_value("bench-chart", "FILE.svg", "draw a chart of the speedup by number of processes".into()))
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
                .help("print a short help; -hh: the whole help; after a mode (multi-sync resume --help): the help of that mode"),
        )
        .arg(Arg::new("paths").value_name("SRC... DEST").num_args(1..).value_parser(bytes()).help(
            "what to copy, and where: DEST is a path, [USER@]HOST:PATH, [USER@]HOST::MODULE/PATH or \
             rsync://[USER@]HOST[:PORT]/MODULE/PATH; SRC/ means the contents of SRC, as in rsync",
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
        "verify" | "verify-only" | "resume" | "retry-failed" | "status" | "follow" | "runs" | "forget"
        | "keep-runs" | "retries" | "stall" | "buckets" | "keep" | "show" => "Verify and resume",
        "on-end" | "on-failure" | "hook-seconds" | "metrics" | "metrics-listen" => "Be told",
        "end-at" | "end-in" | "set" | "bwlimit" | "pause" | "continue" | "stop" | "schedule" | "max-load"
        | "max-dest-full" | "max-pressure" => "While it runs",
        "mode" | "hosts" | "hosts-file" | "engine" | "ssh" | "host-timeout" | "mixed-users" | "config" | "submit"
        | "nodes" | "partition" | "time" | "sbatch" | "print-job" | "requeue" => "Many hosts",
        "events" | "progress-interval" | "report" | "report-of" => "Watch and report",
        "selftest" | "bench" | "benchshm" | "bench-entries" | "bench-runs" | "bench-shape" | "bench-dest"
        | "bench-json" | "bench-chart" | "dry-run" | "survey" | "trial-seconds" | "json" => "Test and measure",
        "help" | "version" => "Help",
        _ => "Copy",
    })
}

const AFTER_HELP: &str = "\
Exit codes are rsync's own: 0 all copied, 1 usage, 3 and 11 destination or file error, 20 interrupted, 23 some entries were not \
copied, 24 some vanished; 255 and others are those of the failed rsync.

With --files or --size every bucket is copied by its own rsync; otherwise one rsync copies several buckets.
A copy that is too small for several rsyncs, or that only one rsync can do exactly, is left to one rsync; --stats says why.";
