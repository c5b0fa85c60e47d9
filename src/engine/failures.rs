//! The failures of one launch, of which there may be as many as its buckets have names. The first ones stay in memory, the others are in an unnamed file in the
//! run directory.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::run_dir::failed::Failure;

/// How many failures stay in memory.
const IN_MEMORY: usize = 100_000;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Failures {
    dir: PathBuf,
    first: Vec<Failure>,
    rest: Option<BufWriter<File>>,
    in_file: u64,
    lost: u64,
}

impl Failures {
    /// Failures that do not stay in memory are written to a file in `dir`.
    pub fn new(dir: &Path) -> Failures {
        Failures { dir: dir.to_owned(), ..Failures::default() }
    }

    pub fn push(&mut self, failure: Failure) {
        if self.first.len() < IN_MEMORY {
            self.first.push(failure);
            return;
        }
        // If an entry was written only in part, nothing after it can be read.
        match if self.lost == 0 { self.write(&failure) } else { Err(io::ErrorKind::StorageFull.into()) } {
            Ok(()) => self.in_file += 1,
            Err(_) => self.lost += 1,
        }
    }

    /// Adds failures of which only the number is known.
    pub fn lose(&mut self, count: u64) {
        self.lost += count;
    }

    fn write(&mut self, failure: &Failure) -> io::Result<()> {
        let rest = match &mut self.rest {
            Some(rest) => rest,
            none => none.insert(BufWriter::new(tempfile::tempfile_in(&self.dir)?)),
        };
        let mut bytes = vec![u8::from(failure.name.is_some())];
        for field in [failure.name.as_deref().unwrap_or_default(), &failure.said[..]] {
            bytes.extend((field.len() as u64).to_le_bytes());
            bytes.extend(field);
        }
        rest.write_all(&bytes)
    }

    /// The failures in memory.
    pub fn first(&self) -> &[Failure] {
        &self.first
    }

    /// Whether all failures are in memory.
    pub fn is_in_memory(&self) -> bool {
        self.in_file == 0 && self.lost == 0
    }

    pub fn count(&self) -> u64 {
        self.first.len() as u64 + self.in_file + self.lost
    }

    /// Passes all failures to `take`, in groups. Returns how many could not be written or read.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn read<E>(mut self, mut take: impl FnMut(Vec<Failure>) -> Result<(), E>) -> Result<u64, E> {
        take(std::mem::take(&mut self.first))?;
        let Some(rest) = self.rest.take() else { return Ok(self.lost) };
        let mut left = self.in_file;
        let Ok(mut file) = rest.into_inner() else { return Ok(self.lost + left) };
        if file.seek(SeekFrom::Start(0)).is_err() {
            return Ok(self.lost + left);
        }
        let mut file = BufReader::new(file);
        while left > 0 {
            let mut batch = Vec::new();
            while batch.len() < IN_MEMORY.min(left as usize)
                && let Ok(failure) = read(&mut file)
            {
                batch.push(failure);
            }
            if batch.is_empty() {
                break;
            }
            left -= batch.len() as u64;
            take(batch)?;
        }
        Ok(self.lost + left)
    }
}

fn read(file: &mut impl Read) -> io::Result<Failure> {
    let mut has_name = [0];
    file.read_exact(&mut has_name)?;
    let mut field = || {
        let mut length = [0; size_of::<u64>()];
        file.read_exact(&mut length)?;
        let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
        file.read_exact(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    let (name, said) = (field()?, field()?);
    Ok(Failure { name: (has_name[0] != 0).then_some(name), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(number: usize) -> Failure {
        let name = (!number.is_multiple_of(3)).then(|| format!("name\n{number}").into_bytes());
        Failure { name, said: format!("said {number}").into_bytes() }
    }

    fn all(failures: Failures) -> (Vec<Failure>, u64) {
        let mut all = Vec::new();
        let lost = failures.read(|batch| {
            assert!(batch.len() <= IN_MEMORY);
            all.extend(batch);
            Ok::<_, ()>(())
        });
        (all, lost.unwrap())
    }

    #[test]
    fn none_is_lost_however_many_there_are() {
        let dir = tempfile::tempdir().unwrap();
        for count in [0, 1, IN_MEMORY, IN_MEMORY + 1, 2 * IN_MEMORY + 77] {
            let mut failures = Failures::new(dir.path());
            (0..count).for_each(|number| failures.push(failure(number)));
            assert_eq!((failures.count(), failures.is_in_memory()), (count as u64, count <= IN_MEMORY));
            let (read, lost) = all(failures);
            assert!(lost == 0 && read.len() == count, "{count}");
            assert!(read.into_iter().eq((0..count).map(failure)), "{count}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let mut failures = Failures::new(Path::new("/nonexistent"));
        (0..IN_MEMORY + 5).for_each(|number| failures.push(failure(number)));
        assert_eq!(failures.count(), IN_MEMORY as u64 + 5);
        let (read, lost) = all(failures);
        assert_eq!((read.len(), lost), (IN_MEMORY, 5));
    }
}
