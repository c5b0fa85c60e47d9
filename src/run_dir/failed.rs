//! The lists of what was not copied: `failed.nul` and `failed.txt`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::bucket;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::messages::{self, Side};

use super::journal::{Batch, Failures, Name};
use super::layout::{FAILED_NAMES, FAILED_TEXT, JOURNAL};

/// The end of the line in [`FAILED_TEXT`] that stands for names that could not be written.
pub const UNLISTED: &str = "more names of this rsync are not listed";

/// Something that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The name of the entry, as `rsync --files-from` takes it.
    pub name: Option<Vec<u8>>,
    /// rsync's message about it, or the reason why it was left out.
    pub said: Vec<u8>,
}

/// Adds failures to the lists in a run directory.
pub fn append(dir: &Path, phase: &str, code: u8, failures: &[Failure]) -> Result<()> {
    let (mut names, mut text) = (Vec::new(), Vec::new());
    failures.iter().for_each(|failure| list(phase, code, failure, &mut names, &mut text));
    append_to(&dir.join(FAILED_NAMES), &names)?;
    append_to(&dir.join(FAILED_TEXT), &text)
}

/// Adds one failure to the texts of both lists.
fn list(phase: &str, code: u8, failure: &Failure, names: &mut Vec<u8>, text: &mut Vec<u8>) {
    let Failure { name, said } = failure;
    let shown = name.as_ref().map_or_else(|| "-".to_owned(), |name| Printable::bytes(name).to_string());
    let _ = writeln!(text, "{shown}\t{phase}\t{}\t{code}\t{}", side(said), Printable::bytes(said));
    if let Some(name) = name {
        names.extend_from_slice(name);
        names.push(0);
    }
}

/// The names in the lists, each with its message, if the two lists fit together. A failure without a name is only in [`FAILED_TEXT`].
pub fn read(dir: &Path) -> Vec<(Name, Name)> {
    let read = |name| fs::read(dir.join(name)).unwrap_or_default();
    let (names, text) = (read(FAILED_NAMES), read(FAILED_TEXT));
    let names: Vec<&[u8]> = bucket::arguments(&names).collect();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"-\t"));
    let said: Vec<&[u8]> = lines.filter_map(|line| line.rsplit(|byte| *byte == b'\t').next()).collect();
    let said = if said.len() == names.len() { said } else { vec![&b""[..]; names.len()] };
    names.into_iter().zip(said).map(|(name, said)| (Name::new(name.to_vec()), Name::new(said.to_vec()))).collect()
}

/// Replaces the lists by the failures that the journal has.
pub fn replace(dir: &Path, failures: &Failures) -> Result<()> {
    let fail = |name: &str, cause| Error::io("write", &dir.join(name), cause).remedy("make room, then resume the run");
    if failures.is_empty() {
        for name in [FAILED_NAMES, FAILED_TEXT] {
            match fs::remove_file(dir.join(name)) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(fail(name, cause)),
                _ => {}
            }
        }
        return Ok(());
    }
    let begin = |name| tempfile::NamedTempFile::new_in(dir).map_err(|cause| fail(name, cause));
    let (mut listed, mut text) = (begin(FAILED_NAMES)?, begin(FAILED_TEXT)?);
    let journal = dir.join(JOURNAL);
    for batch in failures.read(&journal) {
        let Batch { phase, code, names } = batch.map_err(|cause| Error::io("read", &journal, cause))?;
        let (mut more_names, mut more_text) = (Vec::new(), Vec::new());
        for (name, said) in names {
            let name = Some(name.into_bytes()).filter(|name| !name.is_empty());
            list(&phase, code, &Failure { name, said: said.into_bytes() }, &mut more_names, &mut more_text);
        }
        listed.write_all(&more_names).map_err(|cause| fail(FAILED_NAMES, cause))?;
        text.write_all(&more_text).map_err(|cause| fail(FAILED_TEXT, cause))?;
    }
    for (name, file) in [(FAILED_NAMES, listed), (FAILED_TEXT, text)] {
        if file.as_file().metadata().is_ok_and(|found| found.len() > 0) {
            file.persist(dir.join(name)).map_err(|error| fail(name, error.error))?;
        } else if let Err(cause) = fs::remove_file(dir.join(name))
            && cause.kind() != io::ErrorKind::NotFound
        {
            return Err(fail(name, cause));
        }
    }
    Ok(())
}

fn side(said: &[u8]) -> &'static str {
    match messages::read(said).map(|message| message.side) {
        Some(Side::Sender) => "sender",
        Some(Side::Receiver) => "receiver",
        Some(Side::Generator) => "generator",
        Some(Side::Starting | Side::Unknown) => "-",
        None => "multi-sync",
    }
}

fn append_to(path: &Path, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let written = OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(|cause| Error::io("write", path, cause).remedy("make room, then resume the run"))
}
