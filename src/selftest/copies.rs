//! Copies of msrsync's test tree with one and several processes, with and without progress.

use std::path::Path;

use super::ground::{Check, Checked, Ground, Job, check, expect, passed_with};
use crate::treegen::{Sizes, Spec, generate};
use crate::verify::Options;

/// msrsync's tree: this number of entries, most of them files, in directories nested a few levels deep.
const ENTRIES: u64 = 1234;
const FILES_PERCENT: u8 = 95;
const DEPTH: u32 = 5;
const MAX_PER_DIR: u64 = 128;
const SIZES: Sizes = Sizes::Uniform { min: 0, max: 3000 };
const PROCESSES: [usize; 4] = [1, 2, 4, 8];
/// More buckets than processes.
const BUCKET: u64 = 120;

pub(super) fn checks() -> Vec<Check> {
    let variants = PROCESSES.into_iter().flat_map(|processes| [(processes, false), (processes, true)]);
    variants
        .map(|(processes, progress)| {
            let plural = if processes == 1 { "" } else { "es" };
            let with = if progress { " and progress" } else { "" };
            let name = format!("copy with {processes} process{plural}{with}");
            check(name, move |ground| copy(ground, processes, progress))
        })
        .collect()
}

pub(super) fn make_tree(root: &Path, seed: u64) -> crate::Result<()> {
    let spec = Spec {
        entries: ENTRIES,
        files_percent: FILES_PERCENT,
        max_per_dir: MAX_PER_DIR,
        depth: DEPTH,
        ..Spec::bench(ENTRIES, SIZES)
    };
    generate(root, &spec, seed).map(|_| ())
}

fn copy(ground: &Ground<'_>, processes: usize, progress: bool) -> Checked {
    let source = ground.new_path("tree");
    make_tree(&source, processes as u64)?;
    let name = format!("copy-{processes}-{progress}");
    let job = Job { source: &source, name: &name, options: "-aS --numeric-ids", processes, entries: BUCKET };
    let mut config = ground.config(&job)?;
    config.progress = progress;
    let copied = ground.copy_is_same(&job, &config, &Options::archive())?;
    let summary = &copied.summary;
    // The root is an entry too.
    expect(summary.found.entries == ENTRIES + 1, || format!("the scan found {} entries", summary.found.entries))?;
    if let Some(why) = &summary.plain {
        expect(processes == 1, || format!("one rsync did it: {why}"))?;
    }
    expect(!progress || copied.progressed > 0, || "there was no progress".into())?;
    ground.no_buckets_left()?;
    passed_with(format_args!("{} buckets, {} launches", summary.buckets, summary.launches))
}
