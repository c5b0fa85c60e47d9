//! The lists of what was not copied: `failed.nul` and `failed.txt`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::bucket;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::messages::{self, Side};

use super::journal::{Failures, Name};
use super::layout::{FAILED_NAMES, FAILED_TEXT};

/// Something that was not done.
#[derive(Debug)]
pub struct Failure {
    /// The entry, as `rsync --files-from` takes it.
    pub name: Option<Vec<u8>>,
    /// What rsync said of it, or why it was left out.
    pub said: Vec<u8>,
}

/// Adds failures to the lists in a run directory.
pub fn append(dir: &Path, phase: &str, code: u8, failures: &[Failure]) -> Result<()> {
    let (mut names, mut text) = (Vec::new(), Vec::new());
    failures.iter().for_each(|failure| list(phase, code, failure, &mut names, &mut text));
    append_to(&dir.join(FAILED_NAMES), &names)?;
    append_to(&dir.join(FAILED_TEXT), &text)
}

/// Adds one to the text of both lists.
fn list(phase: &str, code: u8, failure: &Failure, names: &mut Vec<u8>, text: &mut Vec<u8>) {
    let Failure { name, said } = failure;
    let shown = name.as_ref().map_or_else(|| "-".to_owned(), |name| Printable::bytes(name).to_string());
    let _ = writeln!(text, "{shown}\t{phase}\t{}\t{code}\t{}", side(said), Printable::bytes(said));
    if let Some(name) = name {
        names.extend_from_slice(name);
        names.push(0);
    }
}

/// The names on the lists, with what was said of each.
pub fn read(dir: &Path) -> Vec<(Name, Name)> {
    let read = |name| fs::read(dir.join(name)).unwrap_or_default();
    let (names, text) = (read(FAILED_NAMES), read(FAILED_TEXT));
    let mut said = text.split(|byte| *byte == b'\n').map(|line| line.rsplit(|byte| *byte == b'\t').next());
    let names = bucket::arguments(&names).map(|name| {
        let said = said.next().flatten().unwrap_or_default();
        (Name::new(name.to_vec()), Name::new(said.to_vec()))
    });
    names.collect()
}

/// Puts the lists of these failures in the place of what was there.
pub fn replace(dir: &Path, failures: &Failures) -> Result<()> {
    let (mut listed, mut text) = (Vec::new(), Vec::new());
    failures.iter().for_each(|(name, phase, code, said)| {
        let name = Some(name.clone().into_bytes()).filter(|name| !name.is_empty());
        let failure = Failure { name, said: said.clone().into_bytes() };
        list(phase, code, &failure, &mut listed, &mut text);
    });
    for (name, bytes) in [(FAILED_NAMES, listed), (FAILED_TEXT, text)] {
        let path = dir.join(name);
        let written = match bytes.is_empty() {
            true => match fs::remove_file(&path) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
            false => tempfile::NamedTempFile::new_in(dir).and_then(|mut file| {
                file.write_all(&bytes)?;
                file.persist(&path).map(drop).map_err(|error| error.error)
            }),
        };
        written.map_err(|cause| Error::io("write", &path, cause).remedy("make room, then resume the run"))?;
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
