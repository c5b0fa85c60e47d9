//! Regular trees: how the entries are distributed over directories, and their creation in parallel.
//!
//! The plan is made first, by one thread. Then each directory depends only on the plan and its own number, so that the threads may finish in any order.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::Scope;

use super::folder::{Attributes, Folder, Mtime};
use super::random::Random;
use super::{Sizes, Spec, Totals};
use crate::error::{Error, Result};

const DIR_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

pub(super) fn generate(root: &Path, spec: &Spec, seed: u64) -> Result<Totals> {
    let dirs = plan(spec, seed)?;
    let folder = Folder::new_root(root)?;
    let making = Making {
        spec,
        seed,
        dirs: &dirs,
        bytes: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        error: Mutex::new(None),
    };
    rayon::scope(|scope| making.dir(scope, 0, folder));
    let dirs_made = dirs.len() as u64 - 1;
    match making.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(Totals {
            files: spec.entries - dirs_made,
            dirs: dirs_made,
            bytes: making.bytes.into_inner(),
            ..Totals::default()
        }),
    }
}

/// A directory to be created; the first one is the root.
#[derive(Debug, Default, Clone)]
struct Planned {
    level: u32,
    dirs: Vec<usize>,
    files: u64,
}

impl Planned {
    fn entries(&self) -> u64 {
        self.dirs.len() as u64 + self.files
    }
}

fn plan(spec: &Spec, seed: u64) -> Result<Vec<Planned>> {
    let Spec { entries, files_percent, max_per_dir, depth, sizes, fill: _ } = *spec;
    if files_percent > 100 {
        return Err(Error::usage(format!("{files_percent} percent of files")));
    }
    if let Sizes::Uniform { min, max } = sizes
        && min > max
    {
        return Err(Error::usage(format!("sizes from {min} to {max}")));
    }
    let too_many = || {
        Error::usage(format!(
            "{entries} entries do not fit: {max_per_dir} in a directory, {depth} levels of directories"
        ))
    };
    let dirs = (u128::from(entries) * u128::from(100 - files_percent) / 100) as u64;

    let mut random = Random::part(seed, u64::MAX);
    let mut planned = vec![Planned::default()];
    let mut open: Vec<usize> = if depth > 0 && max_per_dir > 0 { vec![0] } else { Vec::new() };
    for dir in 1..=dirs as usize {
        if open.is_empty() {
            return Err(too_many());
        }
        let at = random.index(open.len());
        let above = open[at];
        planned[above].dirs.push(dir);
        if planned[above].entries() == max_per_dir {
            open.swap_remove(at);
        }
        let level = planned[above].level + 1;
        planned.push(Planned { level, ..Planned::default() });
        if level < depth {
            open.push(dir);
        }
    }

    let mut open: Vec<usize> = (0..planned.len()).filter(|&dir| planned[dir].entries() < max_per_dir).collect();
    for _ in dirs..entries {
        if open.is_empty() {
            return Err(too_many());
        }
        let at = random.index(open.len());
        planned[open[at]].files += 1;
        if planned[open[at]].entries() == max_per_dir {
            open.swap_remove(at);
        }
    }
    Ok(planned)
}

/// A tree that is being created.
struct Making<'a> {
    spec: &'a Spec,
    seed: u64,
    dirs: &'a [Planned],
    bytes: AtomicU64,
    failed: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl Making<'_> {
    /// Fills and settles a folder, then starts the ones below it, which are opened only when it is their turn.
    fn dir<'s>(&'s self, scope: &Scope<'s>, number: usize, folder: Folder) {
        if self.failed.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.fill(number, &folder) {
            return self.fail(error);
        }
        let folder = Arc::new(folder);
        for &below in &self.dirs[number].dirs {
            let folder = Arc::clone(&folder);
            scope.spawn(move |scope| match folder.enter(&dir_name(below)) {
                Ok(entered) => {
                    drop(folder);
                    self.dir(scope, below, entered);
                }
                Err(error) => self.fail(error),
            });
        }
    }

    fn fill(&self, number: usize, folder: &Folder) -> Result<()> {
        let mut random = Random::part(self.seed, number as u64);
        let planned = &self.dirs[number];
        for &below in &planned.dirs {
            folder.make_dir(&dir_name(below))?;
        }
        for file in 0..planned.files {
            let size = random.size(self.spec.sizes);
            let to = Attributes { mode: FILE_MODE, mtime: Mtime::random(&mut random) };
            folder.make_file(format!("f{file}").as_bytes(), size, self.spec.fill, random.next(), to)?;
            self.bytes.fetch_add(size, Ordering::Relaxed);
        }
        folder.settle(Attributes { mode: DIR_MODE, mtime: Mtime::random(&mut random) })
    }

    fn fail(&self, error: Error) {
        self.failed.store(true, Ordering::Relaxed);
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

fn dir_name(number: usize) -> Vec<u8> {
    format!("d{number}").into_bytes()
}
