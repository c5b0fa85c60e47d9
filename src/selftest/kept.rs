//! Properties that one rsync has and a copy in several pieces easily loses: deletion, hard links, filter rules, odd names, correct exit codes, and a source
//! that is finished when nothing is left to do.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::copies::make_tree;
use super::ground::{Check, Checked, Failure, Ground, Job, check, expect, failed, passed, passed_with, skipped};
use crate::engine::Control;
use crate::error::Error;
use crate::first_pass::Wish;
use crate::report::Event;
use crate::rsync::command::Quoted;
use crate::rsync::exit;
use crate::run_dir;
use crate::thread;
use crate::treegen::{ChangeKind, Fill, Odd, Sizes, Spec, TopLevel, generate, mutate, odd_names, odd_tree};
use crate::trial;
use crate::verify::{DifferenceKind, Options, compare};

const PROCESSES: usize = 4;
const BUCKET: u64 = 120;

pub(super) fn checks() -> Vec<Check> {
    vec![
        check("a second run transfers nothing", second_run),
        check("deletion after changes of every kind", deletion),
        check("hard links across directories", hard_links),
        check("filter rules", filters),
        check("odd names of files", |ground| names(ground, TopLevel::Files, "odd-files")),
        check("odd names of directories", |ground| names(ground, TopLevel::Dirs, "odd-dirs")),
        check("exit code 23 where a directory is in the way", in_the_way),
        check("exit code 23 for what cannot be read", unreadable),
        check("an interrupted run leaves no temporary files, and a second one completes it", interruption),
        check("an interrupted run is resumed", resumption),
    ]
}

fn second_run(ground: &Ground<'_>) -> Checked {
    let source = ground.new_path("tree");
    make_tree(&source, 11)?;
    let job = Job { source: &source, name: "twice", options: "-ai", processes: PROCESSES, entries: BUCKET };
    let config = ground.config(&job)?;
    ground.copy_is_same(&job, &config, &Options::archive())?;
    let again = ground.copy_ends(&config, exit::OK)?;
    let figures = again.summary.figures;
    expect(figures.transferred == 0 && figures.created.total() == 0, || {
        format!("{} files were transferred, {} created", figures.transferred, figures.created.total())
    })?;
    expect(again.output.said == 0, || format!("something was changed: {}", again.output.gist()))?;
    ground.is_same(&job, &Options::archive())?;
    passed()
}

fn deletion(ground: &Ground<'_>) -> Checked {
    const CHANGES: u64 = 60;
    let source = ground.new_path("tree");
    make_tree(&source, 12)?;
    let job = Job { source: &source, name: "deletion", options: "-a --delete", processes: PROCESSES, entries: BUCKET };
    let config = ground.config(&job)?;
    ground.copy_is_same(&job, &config, &Options::archive())?;
    let changes = mutate(&source, 3, CHANGES)?;
    // Not taken from rsync's figures, because rsync 3.2 does not count its deletions in a daemon's module.
    let removed = changes.iter().filter(|change| change.kind == ChangeKind::Remove).count();
    expect(removed > 0, || "nothing was to be deleted".into())?;
    let again = ground.copy_is_same(&job, &config, &Options::archive())?;
    match again.summary.figures.deleted.total() {
        0 => passed(),
        deleted => passed_with(format_args!("{deleted} deleted")),
    }
}

fn hard_links(ground: &Ground<'_>) -> Checked {
    const ENTRIES: u64 = 150;
    let source = ground.new_path("linked");
    // Odd names have a check of their own.
    odd_tree(&source, &Odd { names: false, sockets: false, ..Odd::new(ENTRIES) }, 13)?;
    let job = Job { source: &source, name: "linked", options: "-aH", processes: PROCESSES, entries: 5 };
    let config = ground.config(&job)?;
    let counts = Options { hard_links: true, ..Options::archive() };
    let copied = ground.copy_is_same(&job, &config, &counts)?;
    passed_with(format_args!("{} buckets", copied.summary.buckets))
}

/// Filter rules of each kind, with deletion of what they do not protect.
fn filters(ground: &Ground<'_>) -> Checked {
    const RULES: &str = "-a --delete --include=d1 --exclude=*1 --exclude=/d2/*/ --include=*3 --exclude=f?3*";
    let source = ground.new_path("tree");
    make_tree(&source, 14)?;
    let job = Job { source: &source, name: "filtered", options: RULES, processes: PROCESSES, entries: BUCKET };
    ground.copy_ends(&ground.config(&job)?, exit::OK)?;
    ground.is_as_one_rsync(&job, &Options::archive())?;
    let left_out = compare(&source, &ground.seen(job.name)?, &Options::archive())?;
    let count = left_out.differences.iter().filter(|found| found.kind == DifferenceKind::OnlyLeft).count();
    expect(count > 0, || "nothing was left out".into())?;
    passed_with(format_args!("{count} left out"))
}

fn names(ground: &Ground<'_>, top: TopLevel, name: &str) -> Checked {
    let source = ground.new_path("odd");
    if let Err(error) = odd_names(&source, top) {
        return skipped(format_args!("this file system cannot have them: {error}"));
    }
    let job = Job { source: &source, name, options: "-aS --numeric-ids", processes: PROCESSES, entries: 10 };
    let copied = ground.copy_is_same(&job, &ground.config(&job)?, &Options::archive())?;
    passed_with(format_args!("{} entries", copied.summary.found.entries))
}

/// rsync does not remove a directory with contents to make room for a file, and its exit code says so.
fn in_the_way(ground: &Ground<'_>) -> Checked {
    let source = ground.new_path("tree");
    generate(&source, &Spec::bench(40, Sizes::Empty), 15)?;
    let name = source.join("name");
    make_dir(&name)?;
    write(&name.join("within"))?;
    let job = Job { source: &source, name: "in-the-way", options: "-a", processes: PROCESSES, entries: 10 };
    let config = ground.config(&job)?;
    ground.copy_is_same(&job, &config, &Options::archive())?;
    fs::remove_dir_all(&name).map_err(|cause| Error::io("remove", &name, cause))?;
    write(&name)?;
    write(&source.join("new"))?;
    only_missing(ground, &job, "name")
}

fn unreadable(ground: &Ground<'_>) -> Checked {
    if rustix::process::geteuid().is_root() {
        return skipped("root reads everything");
    }
    let source = ground.new_path("tree");
    generate(&source, &Spec::bench(40, Sizes::Empty), 16)?;
    write(&source.join("locked"))?;
    let lock = |mode| {
        let path = source.join("locked");
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(|cause| Error::io("lock", &path, cause))
    };
    lock(0)?;
    let job = Job { source: &source, name: "unreadable", options: "-a", processes: PROCESSES, entries: 10 };
    let checked = only_missing(ground, &job, "locked");
    lock(0o600)?;
    checked
}

/// Copies, and expects exit code 23, an error about this name, and that everything else arrives.
fn only_missing(ground: &Ground<'_>, job: &Job<'_>, name: &str) -> Checked {
    let copied = ground.copy_ends(&ground.config(job)?, exit::PARTIAL)?;
    let named = copied.output.complained_last().any(|line| line.contains(name));
    expect(named, || format!("`{name}` was not named: {}", copied.output.gist()))?;
    let report =
        compare(job.source, &ground.seen(job.name)?, &Options { owner: false, group: false, ..Options::archive() })?;
    let other = report.differences.iter().find(|found| found.path != name.as_bytes() && found.path != b".");
    if let Some(other) = other {
        return failed(format_args!("also {other}"));
    }
    expect(!report.is_same(), || format!("`{name}` was copied all the same"))?;
    passed()
}

/// A tree whose copy takes long enough to be interrupted: see [`SLOWLY`].
fn make_slow_tree(root: &Path) -> crate::Result<()> {
    const FILES: u64 = 16;
    const DIRS: u64 = 4;
    const BYTES: u64 = 1 << 20;
    let sizes = Sizes::Uniform { min: BYTES, max: BYTES };
    let files_percent = (100 * FILES / (FILES + DIRS)) as u8;
    let spec = Spec { entries: FILES + DIRS, files_percent, max_per_dir: 8, depth: 1, sizes, fill: Fill::Random };
    generate(root, &spec, 17).map(drop)
}

/// Makes the copy take about two seconds.
const SLOWLY: &str = "-a --bwlimit=8M";

fn interruption(ground: &Ground<'_>) -> Checked {
    let source = ground.new_path("slow");
    make_slow_tree(&source)?;
    let slow = Job { source: &source, name: "slow", options: SLOWLY, processes: PROCESSES, entries: 3 };
    let mut config = ground.config(&slow)?;
    config.progress = true;
    // The temporary files of rsync must be visible, so there must be no first pass.
    config.first_pass = Wish::Off;
    let running = AtomicBool::new(false);
    let watch = |event: &Event<'_>| {
        if let Event::Progress(progress) = event
            && progress.running > 0
        {
            running.store(true, Ordering::Relaxed);
        }
    };
    let begun = || running.load(Ordering::Relaxed);
    let copy = |control: &_| trial::copy(&config, ground.stopper, control, &watch);
    let ended = interrupt(ground, slow.name, &begun, copy)?.summary;
    expect(ended.interrupted, || "it ended before it could be interrupted".into())?;
    ground.no_buckets_left()?;
    no_temporary_files(ground, &slow)?;
    let fast = Job { options: "-a", ..slow };
    ground.copy_is_same(&fast, &ground.config(&fast)?, &Options::archive())?;
    passed()
}

fn resumption(ground: &Ground<'_>) -> Checked {
    let source = ground.new_path("slow");
    make_slow_tree(&source)?;
    let job = Job { source: &source, name: "resumed", options: SLOWLY, processes: PROCESSES, entries: 3 };
    let options = ground.options(job.options)?.argv();
    let options = options.iter().map(|word| Quoted(word).to_string()).collect::<Vec<_>>().join(" ");
    let mut words: Vec<OsString> =
        ["-p", "4", "-f", "3", "--first-pass=off", "-r", &options, "-b"].map(Into::into).into();
    words.extend([ground.buckets().into(), "--".into(), source.join("").into(), ground.there().at(job.name)]);
    let ran = interrupt(ground, job.name, &|| true, |control| ground.run_command(words, control))?;
    let code = ran.ended.code();
    expect(code == exit::INTERRUPTED, || format!("exit code {code}: {}", ran.output.gist()))?;
    no_temporary_files(ground, &job)?;
    let runs = run_dir::list(&ground.buckets())?;
    let [run] = &runs[..] else { return failed(format_args!("{} runs are left to go on with", runs.len())) };
    let again = ground.run_command(vec!["--resume".into(), run.into()], &Arc::default())?;
    let code = again.ended.code();
    expect(code == exit::OK, || format!("--resume ended with exit code {code}: {}", again.output.gist()))?;
    ground.is_same(&job, &Options::archive())?;
    ground.no_buckets_left()?;
    passed()
}

/// On another machine rsync notices the end a moment later, so this waits for it.
fn no_temporary_files(ground: &Ground<'_>, job: &Job<'_>) -> Result<(), Failure> {
    let patience = if ground.there().local("").is_some() { Duration::ZERO } else { REMOTE_PATIENCE };
    let end = Instant::now() + patience;
    loop {
        let report = compare(job.source, &ground.seen(job.name)?, &Options::archive())?;
        let left = report.differences.into_iter().find(|found| found.kind == DifferenceKind::OnlyRight);
        match left {
            None => return Ok(()),
            Some(left) if Instant::now() >= end => return failed(format_args!("left behind: {left}")),
            Some(_) => std::thread::sleep(POLL),
        }
    }
}

const POLL: Duration = Duration::from_millis(20);
const REMOTE_PATIENCE: Duration = Duration::from_secs(10);
/// If temporary files cannot be seen, it is assumed that they exist after this time.
const BLIND: Duration = Duration::from_millis(1500);

/// Does `job`, and interrupts it when it has `begun` and temporary files exist for `name`.
fn interrupt<T>(
    ground: &Ground<'_>,
    name: &str,
    begun: &(dyn Fn() -> bool + Sync),
    job: impl FnOnce(&Arc<Control>) -> crate::Result<T>,
) -> crate::Result<T> {
    let control = Arc::<Control>::default();
    let done = AtomicBool::new(false);
    let copy = ground.there().local(name);
    std::thread::scope(|scope| {
        // The scope waits for the thread below, which must end even if something panics.
        let _done = SetWhenDropped(&done);
        thread::start(scope, || {
            let mut since = None;
            while !done.load(Ordering::Relaxed) {
                if begun() {
                    let since = *since.get_or_insert_with(Instant::now);
                    let seen = copy.as_deref().map_or(since.elapsed() > BLIND, has_temporary_file);
                    if seen {
                        return control.interrupt();
                    }
                }
                std::thread::sleep(POLL);
            }
        })?;
        job(&control)
    })
}

struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether there is a file `.NAME.XXXXXX`, which is rsync's form for temporary files; no name in the tree begins with a dot.
fn has_temporary_file(dir: &Path) -> bool {
    fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        entry.file_name().as_encoded_bytes().starts_with(b".") || is_dir && has_temporary_file(&entry.path())
    })
}

fn make_dir(path: &Path) -> crate::Result<()> {
    fs::create_dir(path).map_err(|cause| Error::io("make", path, cause))
}

fn write(path: &Path) -> crate::Result<()> {
    fs::write(path, "content").map_err(|cause| Error::io("write", path, cause))
}
