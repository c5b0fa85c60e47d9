//! Which spine directories the user's filter rules exclude: asked of rsync itself, in batches, while the scan goes on.
//!
//! Inside a unit rsync applies the rules; a directory that is divided never reaches it as a whole, so rsync is asked about its name
//! with a dry run that sends nothing (`Recipe::judge`). It is asked about each name alone; that a directory above is excluded
//! is known here, because the scan tells parents first.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::command::{Recipe, argument_cost};
use crate::rsync::{exit, filter};
use crate::supervise::{Stream, Supervisor};

/// A spine directory that is to be judged.
pub(super) struct Candidate {
    pub index: u32,
    /// Path in the transfer; empty for DEST itself, which no rule excludes.
    pub path: Vec<u8>,
    /// The same as an rsync argument.
    pub argument: Vec<u8>,
}

/// Remembers what was excluded.
pub(super) struct Judge<'a> {
    recipe: &'a Recipe,
    supervisor: &'a Supervisor,
    /// A directory in which nothing else is made.
    empty: &'a Path,
    room: usize,
    excluded: HashSet<Vec<u8>>,
}

impl<'a> Judge<'a> {
    pub fn new(recipe: &'a Recipe, supervisor: &'a Supervisor, empty: &'a Path, room: usize) -> Self {
        Judge { recipe, supervisor, empty, room, excluded: HashSet::new() }
    }

    /// Says of each candidate, in order, whether it is copied. Fails if rsync refuses the rules.
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
        let arguments = candidates.iter().map(|candidate| OsStr::from_bytes(&candidate.argument).to_owned()).collect();
        let nowhere = OsString::from(self.empty.join("nowhere/"));
        let Some(invocation) = self.recipe.judge(arguments, nowhere) else { return Ok(()) };
        let mut complaint = None;
        let ended = self.supervisor.run(&invocation, &mut |stream, line| match stream {
            Stream::Stdout => {
                copied.insert(filter::unescape(line));
            }
            Stream::Stderr => {
                complaint.get_or_insert_with(|| Printable::bytes(line).to_string());
            }
        })?;
        match ended.code() {
            exit::OK => Ok(()),
            code => Err(Error::usage(format!(
                "rsync could not say which directories its filter rules exclude: {}",
                complaint.unwrap_or_default()
            ))
            .remedy("correct the rules")
            .exit(code)),
        }
    }
}
