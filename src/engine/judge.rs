//! Which split directories the user's filter rules exclude: rsync itself is asked, in batches, while the scan is running.
//!
//! Inside a unit, rsync applies the rules. But a split directory never reaches rsync as a whole, so rsync is asked about its name with a dry run that sends
//! nothing (`Recipe::judge`). It is asked about each name alone. Whether a directory above is excluded is known here, because the scan reports parents first.
//! The names are those of a model that consists of empty directories, so that a change in the source cannot be mistaken for a rule.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::rsync::command::{JUDGED, Recipe, argument_cost};
use crate::rsync::{exit, filter};
use crate::supervise::{Stream, Supervisor};

/// A split directory that is to be judged.
pub(super) struct Candidate {
    pub index: u32,
    /// Its path in the transfer; empty for DEST itself, which no rule can exclude.
    pub path: Vec<u8>,
    /// The same as an argument of rsync.
    pub argument: Vec<u8>,
}

/// Asks rsync, and remembers what was excluded.
pub(super) struct Judge<'a> {
    recipe: &'a Recipe,
    supervisor: &'a Supervisor,
    /// A directory for the model. The path `nowhere` in it must not exist.
    empty: &'a Path,
    room: usize,
    /// The model; `None` if rules may also come from files in the source, or above it.
    model: Option<PathBuf>,
    excluded: HashSet<Vec<u8>>,
}

impl<'a> Judge<'a> {
    pub fn new(plan: &'a Plan, supervisor: &'a Supervisor, empty: &'a Path, room: usize) -> Self {
        let model = plan.merge_files.is_empty().then(|| empty.join("model"));
        Judge { recipe: &plan.recipe, supervisor, empty, room, model, excluded: HashSet::new() }
    }

    /// Whether each candidate is copied, in the same order. An error means that rsync refuses the rules.
    pub fn decide(&mut self, candidates: &[Candidate]) -> Result<Vec<bool>> {
        let mut copied = HashSet::new();
        let mut asked: Vec<&Candidate> = Vec::new();
        let mut taken = 0;
        for candidate in candidates.iter().filter(|candidate| !candidate.path.is_empty()) {
            taken += argument_cost(candidate.argument.len());
            if taken > self.room && !asked.is_empty() {
                self.ask(&asked, &mut copied)?;
                asked.clear();
                taken = argument_cost(candidate.argument.len());
            }
            asked.push(candidate);
        }
        if !asked.is_empty() {
            self.ask(&asked, &mut copied)?;
        }
        Ok(candidates.iter().map(|candidate| self.conclude(candidate, &copied)).collect())
    }

    fn conclude(&mut self, candidate: &Candidate, copied: &HashSet<Vec<u8>>) -> bool {
        let path = &candidate.path;
        let above = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| &path[..end]);
        let is_copied =
            path.is_empty() || copied.contains(path) && !above.into_iter().any(|dir| self.excluded.contains(dir));
        if !is_copied {
            self.excluded.insert(path.clone());
        }
        is_copied
    }

    fn ask(&self, candidates: &[&Candidate], copied: &mut HashSet<Vec<u8>>) -> Result<()> {
        let nowhere = OsString::from(self.empty.join("nowhere/"));
        let (cwd, prefix) = match &self.model {
            Some(model) => {
                add(model, candidates).map_err(|cause| Error::io("make directories in", model, cause))?;
                (model, Some(&b"./"[..]))
            }
            None => (&self.recipe.base, None),
        };
        let argument = |candidate: &&Candidate| match prefix {
            Some(prefix) => OsString::from_vec([prefix, &candidate.path].concat()),
            None => OsString::from_vec(candidate.argument.clone()),
        };
        let arguments = candidates.iter().map(argument).collect();
        let Some(invocation) = self.recipe.judge(cwd.clone(), arguments, nowhere) else { return Ok(()) };
        let mut complaint = None;
        let ended = self.supervisor.run(&invocation, &mut |stream, line| match stream {
            Stream::Stdout => {
                // If a shell was started in place of rsync, its lines are not names.
                copied.extend(line.strip_prefix(JUDGED.as_bytes()).map(filter::unescape));
            }
            Stream::Stderr => {
                complaint.get_or_insert_with(|| Printable::bytes(line).to_string());
            }
        })?;
        match ended.code() {
            exit::OK => Ok(()),
            code => {
                let said = complaint.unwrap_or_default();
                let text = format!("rsync could not say which directories its filter rules exclude: {said}");
                Err(Error::of_rsync(text, code).remedy("correct the rules"))
            }
        }
    }
}

impl Drop for Judge<'_> {
    fn drop(&mut self) {
        // With `--keep`, the bucket directory stays, but the model is not part of it. Without `--keep`, whatever cannot be removed here is removed with that
        // directory.
        let _ = self.model.as_ref().map(std::fs::remove_dir_all);
    }
}

/// Creates the directories of the candidates in the model. Names are relative, so that the path of the model does not make them too long.
fn add(model: &Path, candidates: &[&Candidate]) -> std::io::Result<()> {
    std::fs::create_dir_all(model)?;
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let top = rustix::fs::open(model, flags, Mode::empty())?;
    for path in candidates.iter().map(|candidate| &candidate.path[..]) {
        let above = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| &path[..end]);
        for dir in above.chain([path]) {
            match rustix::fs::mkdirat(&top, dir, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}
