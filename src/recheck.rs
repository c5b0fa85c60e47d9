//! After a copy: what would one more rsync still change? (`--verify`)
//!
//! The answer is a run like any other, with `-n -i` added to the user's options, and without options that would only print more or compare less: several
//! rsyncs together list the same as one `rsync -n -i`. The source is scanned again, so the answer is about the source at that time. Not to be confused with
//! [`crate::verify`], which compares trees without rsync.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::config::Depth;
use crate::error::{Error, Result};
use crate::report::Event;
use crate::rsync::options::{Group, Opt, Options, Spec};
use crate::run_dir::layout::DIFFERENCES;

/// Options that concern how or when files are copied, or that would hide a difference or report a false one.
const COPYING: [Opt; 7] =
    [Opt::IgnoreTimes, Opt::Fuzzy, Opt::MaxDelete, Opt::StopAfter, Opt::StopAt, Opt::Mkpath, Opt::Preallocate];
/// Options after which there is nothing to compare.
const WITHOUT_A_RESULT: [(Opt, &str); 4] = [
    (Opt::DryRun, "nothing was copied"),
    (Opt::ListOnly, "nothing was copied"),
    (Opt::RemoveSourceFiles, "what was copied is no longer in the source"),
    (Opt::ReadBatch, "there is no source"),
];

/// The options that ask for the remaining differences.
///
/// # Errors
/// With these options there is nothing to compare, or a quick check cannot decide.
///
/// ```
/// use multi_sync::harness::{recheck, rsync::options::Options};
/// use multi_sync::job::Depth;
/// let asked = recheck::options(&Options::parse(&["-avI", "--delete"])?, Depth::Checksum)?;
/// assert_eq!(asked.argv(), ["-a", "--delete", "-n", "-i", "-c"]);
/// assert!(recheck::options(&Options::parse(&["-rl"])?, Depth::Quick).is_err());
/// # Ok::<(), multi_sync::Error>(())
/// ```
pub fn options(copied_with: &Options, depth: Depth) -> Result<Options> {
    let refuse =
        |opt: Opt, why: &str| Error::usage(format!("--verify cannot be used with --{}: {why}", opt.spec().name()));
    if let Some((opt, why)) = WITHOUT_A_RESULT.into_iter().find(|(opt, _)| copied_with.has(*opt)) {
        return Err(refuse(opt, why).remedy("leave out one of them"));
    }
    let meaning = copied_with.meaning();
    let has_times = meaning.times || copied_with.has(Opt::SizeOnly) || copied_with.has(Opt::Checksum);
    if depth == Depth::Quick && !has_times {
        return Err(Error::usage("--verify compares times, and without -t they are not copied")
            .remedy("give --verify=checksum, or add -t to the rsync options"));
    }
    // Options that print more, or in another format.
    let left_out = |spec: &Spec| spec.group == Group::Printing || COPYING.contains(&spec.id);
    let mut words = Vec::new();
    for setting in copied_with.settings() {
        // -P is --partial --progress. Only --partial is kept.
        match setting.spec.id {
            Opt::P => words.push("--partial".into()),
            _ if !left_out(setting.spec) => words.extend(setting.argv()),
            _ => {}
        }
    }
    words.extend(["-n".into(), "-i".into()]);
    if depth == Depth::Checksum && !copied_with.has(Opt::Checksum) {
        words.push("-c".into());
    }
    Options::parse(&words)
}

/// Whether a line of rsync is one of `-i`: eleven characters (nine in old versions) for the change, a blank, and the name.
pub fn is_difference(line: &[u8]) -> bool {
    difference(line).is_some()
}

/// The change and the name as rsync prints them; `None` if the line is not a difference.
pub fn difference(line: &[u8]) -> Option<(&[u8], &[u8])> {
    const DELETING: &[u8] = b"*deleting ";
    let of_width = |width: usize| {
        let (what, [b' ', name @ ..]) = line.split_at_checked(width)? else { return None };
        let attributes = |byte: &u8| byte.is_ascii_alphabetic() || b".+? ".contains(byte);
        let is_it = b"<>ch.".contains(&what[0]) && b"fdLDS".contains(&what[1]) && what[2..].iter().all(attributes);
        (is_it && !name.is_empty()).then(|| (what.trim_ascii_end(), name))
    };
    if line.starts_with(DELETING) {
        let (what, name) = line.split_at(DELETING.len() - 1);
        // The word is padded to the width of the other changes, which differs between versions.
        return Some((what, name.strip_prefix(b"   ").or(name.strip_prefix(b" ")).unwrap_or(name)));
    }
    of_width(11).or_else(|| of_width(9))
}

/// Collects differences as they are reported.
#[derive(Debug)]
pub struct Differences {
    path: Option<PathBuf>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    count: u64,
    file: Option<File>,
    failed: Option<io::Error>,
}

impl Differences {
    /// Only counts them.
    pub fn counted() -> Differences {
        Differences { path: None, seen: Mutex::default() }
    }

    /// Also writes them to [`DIFFERENCES`] in a run directory, in place of an earlier list.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn listed(dir: &Path) -> Result<Differences> {
        let path = dir.join(DIFFERENCES);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path, cause)),
            _ => Ok(Differences { path: Some(path), seen: Mutex::default() }),
        }
    }

    /// Passes each event to `tell`, and collects differences.
    pub fn noted<'a>(&'a self, tell: &'a (dyn Fn(Event<'_>) + Sync)) -> impl Fn(Event<'_>) + Sync + 'a {
        move |event: Event<'_>| {
            if let Event::Said(line) = event
                && is_difference(line)
            {
                self.note(line);
                tell(Event::Difference(line));
            }
            tell(event);
        }
    }

    fn note(&self, line: &[u8]) {
        let mut seen = self.lock();
        seen.count += 1;
        let Some(path) = &self.path else { return };
        match seen.append(path, line) {
            // The run directory was removed to make way for one rsync that would have copied it.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => drop(seen.failed.get_or_insert(cause)),
            Ok(()) => {}
        }
    }

    /// The number of differences.
    ///
    /// # Errors
    /// The list could not be written.
    pub fn count(&self) -> Result<u64> {
        let mut seen = self.lock();
        match (seen.failed.take(), &self.path) {
            (Some(cause), Some(path)) => Err(Error::io("write", path, cause).remedy("make room, then resume the run")),
            _ => Ok(seen.count),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Seen {
    /// Written at once, because a launch is recorded as done after its lines.
    fn append(&mut self, path: &Path, line: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(OpenOptions::new().create(true).append(true).open(path)?),
        };
        file.write_all(&[line, b"\n"].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_itemize_are_told_from_others() {
        for line in [
            ">f+++++++++ a b",
            ".d..t...... ./",
            "cL+++++++++ l -> t",
            "hf+++++++++ h => g",
            "hf          h => g",
            "*deleting   extra/",
            ".f...p.....  name with a blank in front",
            "cS+++++++++ socket",
            ">f.st.... of an old rsync",
        ] {
            assert!(is_difference(line.as_bytes()), "{line}");
        }
        for line in [
            "",
            "skipping non-regular file \"f\"",
            "created directory d",
            "cannot delete non-empty directory: x",
            ".f",
            "*",
        ] {
            assert!(!is_difference(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn what_hides_a_difference_is_left_out() {
        let asked = |text: &str, depth| options(&Options::parse_str(text.as_ref()).unwrap(), depth);
        let words = |text: &str, depth| asked(text, depth).unwrap().argv().join(" ".as_ref()).into_string().unwrap();
        assert_eq!(words("-aP --delete --max-delete=3 --out-format=%n", Depth::Quick), "-a --partial --delete -n -i");
        assert_eq!(words("-acq", Depth::Checksum), "-a -c -n -i");
        assert_eq!(words("-r --size-only", Depth::Quick), "-r --size-only -n -i");
        for (text, part) in
            [("-an", "dry-run"), ("-a --remove-source-files", "remove-source-files"), ("-r", "without -t")]
        {
            let error = asked(text, Depth::Quick).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn differences_are_counted_and_listed_in_the_place_of_older_ones() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(DIFFERENCES), ">f+++++++++ older\n").unwrap();
        let told = Mutex::new(Vec::new());
        let tell = |event: Event<'_>| {
            if let Event::Said(line) = event {
                told.lock().unwrap().push(line.to_vec());
            }
        };
        let differences = Differences::listed(dir.path()).unwrap();
        let lines = [b">f+++++++++ a".as_slice(), b">f+++++++++ b", b"other"];
        lines.iter().for_each(|line| differences.noted(&tell)(Event::Said(line)));
        assert_eq!(differences.count().unwrap(), 2);
        assert_eq!(*told.lock().unwrap(), lines);
        assert_eq!(fs::read(dir.path().join(DIFFERENCES)).unwrap(), [lines[0], b"\n", lines[1], b"\n"].concat());
        assert_eq!(Differences::listed(dir.path()).unwrap().count().unwrap(), 0);
    }
}
