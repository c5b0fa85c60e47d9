//! The requirements of multi-sync: an rsync that supports its options, enough arguments, files and processes, and ssh if it is used.

use std::ffi::OsString;

use rustix::process::{Resource, getrlimit};

use super::ground::{Check, Checked, Ground, Job, check, expect, failed, passed, passed_with, skipped};
use crate::plan::{OLDEST_RSYNC, Plan, TRUSTS_LISTS};
use crate::rsync::exit;
use crate::size;
use crate::supervise::Supervisor;
use crate::treegen::{Sizes, Spec, generate};
use crate::trial;

/// Options that multi-sync adds to those of the user (see [`crate::rsync::command`]).
const ADDED: [&str; 16] = [
    "-R",
    "-d",
    "--no-r",
    "--no-m",
    "--no-H",
    "--no-h",
    "--implied-dirs",
    "--no-implied-dirs",
    "--ignore-missing-args",
    "--existing",
    "--ignore-existing",
    "--no-inc-recursive",
    "--stats",
    "--info=progress2",
    "--out-format=%n",
    "--from0",
];
/// Two pipes for each of many rsyncs, and a directory for each level and thread of the scan.
const DESCRIPTORS: u64 = 256;
/// A local rsync is three processes.
const PROCESSES: u64 = 64;
/// With less room for arguments, an rsync would get too little work to be worth starting.
const ARGUMENTS: usize = 64 << 10;

pub(super) fn checks() -> Vec<Check> {
    vec![
        check("environment: rsync", version),
        check("environment: rsync knows the options that multi-sync adds", options),
        check("environment: rsync keeps ACLs and extended attributes", attributes),
        check("environment: room for arguments", arguments),
        check("environment: open files", |_| limit(Resource::Nofile, DESCRIPTORS)),
        check("environment: processes", |_| limit(Resource::Nproc, PROCESSES)),
        check("environment: ssh", ssh),
    ]
}

fn plan(ground: &Ground<'_>) -> crate::Result<Plan> {
    let source = ground.new_path("planned");
    generate(&source, &Spec::flat(3, Sizes::Empty), 1)?;
    let job = Job { source: &source, name: "planned", options: "-a", processes: 2, entries: 1 };
    Plan::make(&ground.config(&job)?, &Supervisor::default())
}

fn version(ground: &Ground<'_>) -> Checked {
    let found = plan(ground)?.version;
    expect(found >= OLDEST_RSYNC, || format!("{found} is older than {OLDEST_RSYNC}"))?;
    if found < TRUSTS_LISTS {
        return passed_with(format_args!("{found}; below {TRUSTS_LISTS} it follows a link that replaces a directory"));
    }
    passed_with(found)
}

fn options(ground: &Ground<'_>) -> Checked {
    match unknown(ground, &ADDED)? {
        None => passed(),
        Some(said) => failed(said),
    }
}

fn attributes(ground: &Ground<'_>) -> Checked {
    match unknown(ground, &["-A", "-X"])? {
        None => passed(),
        Some(said) => skipped(format_args!("it cannot: {said}")),
    }
}

/// The message of rsync if it does not know one of these options.
fn unknown(ground: &Ground<'_>, options: &[&str]) -> crate::Result<Option<String>> {
    let words = options.iter().copied().chain(["--version"]).map(OsString::from).collect();
    let ran = trial::rsync(words, ground.cwd, ground.stopper)?;
    Ok((ran.ended.code() != exit::OK).then(|| ran.output.gist()))
}

/// Checks that rsync can really be started with as many bytes of arguments as a launch may have.
fn arguments(ground: &Ground<'_>) -> Checked {
    const WORD: usize = 1000;
    let room = plan(ground)?.recipe.argument_room();
    expect(room >= ARGUMENTS, || format!("{room} bytes are too little"))?;
    // Each word also costs its NUL and a pointer.
    let each = WORD + 1 + size_of::<usize>();
    let mut words: Vec<OsString> = Vec::new();
    words.resize(room / each, format!("--exclude={}", "x".repeat(WORD - "--exclude=".len())).into());
    words.push("--version".into());
    let ran = trial::rsync(words, ground.cwd, ground.stopper)?;
    expect(ran.ended.code() == exit::OK, || format!("rsync does not take {room} bytes: {}", ran.output.gist()))?;
    passed_with(size::human(room as u64))
}

fn limit(resource: Resource, least: u64) -> Checked {
    match getrlimit(resource).current {
        Some(limit) if limit < least => failed(format_args!("{limit}, and at least {least} are needed; see ulimit")),
        Some(limit) => passed_with(limit),
        None => passed_with("unlimited"),
    }
}

fn ssh(ground: &Ground<'_>) -> Checked {
    let ran = trial::program("ssh".into(), vec!["-V".into()], ground.cwd, ground.stopper);
    match ran {
        Ok(ran) if ran.ended.code() == exit::OK => passed_with(ran.output.gist()),
        Ok(ran) => failed(ran.output.gist()),
        Err(_) if !ground.there().is_ssh() => skipped("not installed; only needed for other machines"),
        Err(error) => failed(error),
    }
}
