//! The names that were not copied, as the run directory keeps them.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::messages::{self, Side};

/// Names that were not copied, each ended by a NUL: what `rsync --files-from=failed.nul --from0` takes with the directory that the sources
/// are named from, or with `/` where they have no directory in common.
pub const FAILED_NAMES: &str = "failed.nul";
/// The same for people: name, part of the run, side, exit code, and what was said. What has no name in the source has a `-`.
pub const FAILED_TEXT: &str = "failed.txt";

/// Something that was not done.
#[derive(Debug)]
pub(super) struct Failure {
    /// The entry, as `rsync --files-from` takes it.
    pub name: Option<Vec<u8>>,
    /// What rsync said of it, or why it was left out.
    pub said: Vec<u8>,
}

/// Adds failures to the lists in a run directory.
pub(super) fn append(dir: &Path, phase: &str, code: u8, failures: &[Failure]) -> Result<()> {
    let (mut names, mut text) = (Vec::new(), Vec::new());
    failures.iter().for_each(|failure| list(phase, code, failure, &mut names, &mut text));
    append_to(&dir.join(FAILED_NAMES), &names)?;
    append_to(&dir.join(FAILED_TEXT), &text)
}

/// Adds one to the text of both lists.
pub(super) fn list(phase: &str, code: u8, failure: &Failure, names: &mut Vec<u8>, text: &mut Vec<u8>) {
    let Failure { name, said } = failure;
    let shown = name.as_ref().map_or_else(|| "-".to_owned(), |name| Printable::bytes(name).to_string());
    let _ = writeln!(text, "{shown}\t{phase}\t{}\t{code}\t{}", side(said), Printable::bytes(said));
    if let Some(name) = name {
        names.extend_from_slice(name);
        names.push(0);
    }
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
