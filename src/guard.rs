//! The guard of deletions (`--delete-limit`): the options that ask rsync what it would delete, the sum of its answers, and the options that delete nothing.
//! The state of the sources in the last run is remembered in [`memory`].
//!
//! The count is a run like any other, with `-n`: several rsyncs together report the same deletions as one `rsync -n --delete`.

pub mod memory;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::limit::DeleteLimit;
use crate::report::Event;
use crate::rsync::filter::unescape;
use crate::rsync::options::{Delete, Group, Opt, Options};

/// How many names of entries that are not deleted are reported.
const NAMED: usize = 10;
/// How rsync's lines about deletions begin (`--info=del`).
const DELETING: &[u8] = b"deleting ";

/// Options that concern how, when and whether files are copied, or that would end the count early. The count runs without them.
const COPYING: [Opt; 9] = [
    Opt::Checksum,
    Opt::Fuzzy,
    Opt::IgnoreTimes,
    Opt::MaxDelete,
    Opt::Preallocate,
    Opt::RemoveSourceFiles,
    Opt::StopAfter,
    Opt::StopAt,
    Opt::WriteBatch,
];
/// Options that only choose when something is deleted, not what.
const TIMES: [Opt; 5] = [Opt::Delete, Opt::DeleteBefore, Opt::DeleteDuring, Opt::DeleteDelay, Opt::DeleteAfter];
/// Options with which nothing is deleted at the destination.
const COPIES_NOTHING: [Opt; 3] = [Opt::ListOnly, Opt::OnlyWriteBatch, Opt::ReadBatch];

/// Refuses a limit that is none, or if nothing would be deleted, or if `rsync -n` would count something else than is deleted.
///
/// # Errors
/// A percentage is not one, the options delete nothing, or their deletions cannot be counted beforehand.
pub fn refuse(options: &Options, limit: DeleteLimit) -> Result<()> {
    refuse_without_deletion(options)?;
    if let DeleteLimit::Percent(most) = limit
        && !DeleteLimit::PERCENTAGES.contains(&most)
    {
        return Err(
            Error::usage(format!("--delete-limit {limit}: not a percentage")).remedy("give a percentage from 0 to 100")
        );
    }
    if limit == DeleteLimit::Unlimited {
        return Ok(());
    }
    if let Some(why) = uncountable(options) {
        return Err(Error::usage(format!("--delete-limit: {why}"))
            .remedy("leave these options out, or give --delete-limit none"));
    }
    let skips = SKIPPING.into_iter().find(|opt| options.has(*opt));
    if let (DeleteLimit::Percent(_), Some(opt)) = (limit, skips) {
        let name = opt.spec().name();
        return Err(Error::usage(format!(
            "--delete-limit {limit} with --{name}: rsync does not report how much of the transfer is at the destination"
        ))
        .remedy("give a number of entries"));
    }
    Ok(())
}

/// Why the deletions can differ from what `rsync -n` reports, if they can.
fn uncountable(options: &Options) -> Option<&'static str> {
    let meaning = options.meaning();
    let after = meaning.delete == Some(Delete::After);
    let late = after || options.has(Opt::DeleteDelay);
    let merges = meaning.per_dir_merge || options.has(Opt::Filter);
    if after && merges {
        Some("with --delete-after, rsync follows rules in files that the copy brings (--filter, -F, -C)")
    } else if late && meaning.backup {
        Some("with --delete-after and --delete-delay, backups that the copy has made may be deleted (-b)")
    } else if options.receiver_alone_deletes() {
        Some("deletions that only the receiving side is told about (-M, --rsync-path) are not counted")
    } else {
        None
    }
}

/// Options with which an entry that does not exist at the destination may not be reported as created.
const SKIPPING: [Opt; 6] = [Opt::Existing, Opt::MaxSize, Opt::MinSize, Opt::LinkDest, Opt::CopyDest, Opt::CompareDest];

fn refuse_without_deletion(options: &Options) -> Result<()> {
    if let Some(opt) = COPIES_NOTHING.into_iter().find(|opt| options.has(*opt)) {
        let name = opt.spec().name();
        return Err(Error::usage(format!("--delete-limit with --{name}: nothing is deleted")).remedy("leave it out"));
    }
    let meaning = options.meaning();
    if meaning.delete.is_none() && !meaning.delete_missing_args && !meaning.force {
        return Err(Error::usage("--delete-limit without --delete: nothing is deleted")
            .remedy("leave it out, or add --delete to the rsync options"));
    }
    Ok(())
}

/// The options for the run that counts deletions.
///
/// ```
/// use multi_sync::harness::{guard, rsync::options::Options};
/// let asked = guard::counting(&Options::parse(&["-avIc", "--delete-after", "--delete-excluded", "--max-delete=3"])?)?;
/// assert_eq!(asked.argv(), ["-a", "--delete-excluded", "--delete", "-n"]);
/// # Ok::<(), multi_sync::Error>(())
/// ```
pub fn counting(options: &Options) -> Result<Options> {
    let mut words = Vec::new();
    for setting in options.settings() {
        match setting.spec.id {
            // -P is --partial --progress. --partial is kept, because a partial directory is protected from deletion.
            Opt::P => words.push("--partial".into()),
            Opt::DryRun => {}
            opt if setting.spec.group == Group::Printing || COPYING.contains(&opt) || TIMES.contains(&opt) => {}
            _ => words.extend(setting.argv()),
        }
    }
    words.extend(options.mentions(&TIMES).then(|| "--delete".into()));
    words.push("-n".into());
    Options::parse(&words)
}

/// The options that copy the same but delete nothing, not even an entry that is in the way of a copy.
///
/// ```
/// use multi_sync::harness::{guard, rsync::options::Options};
/// let kept = guard::keeping(&Options::parse(&["-a", "--delete", "--force", "--delete-missing-args", "-n"])?)?;
/// assert_eq!(kept.argv(), ["-a", "-n", "--ignore-missing-args"]);
/// # Ok::<(), multi_sync::Error>(())
/// ```
pub fn keeping(options: &Options) -> Result<Options> {
    let deletes = |opt: Opt| opt.spec().group == Group::Deletion && opt != Opt::RemoveSourceFiles;
    let mut words = options.without(|setting| deletes(setting.spec.id)).argv();
    // With --delete-missing-args missing sources are not errors, so they must not become errors here.
    words.extend(options.has(Opt::DeleteMissingArgs).then(|| "--ignore-missing-args".into()));
    Options::parse(&words)
}

/// Whether entries are removed from the source, and deleted at the destination if the source lacks them. If such a copy breaks off, a second one would delete
/// what the first one has moved, and it would be lost.
pub fn deletes_what_it_moves(options: &Options) -> bool {
    let meaning = options.meaning();
    let deletes = meaning.delete.is_some() || options.has(Opt::DeleteMissingArgs);
    meaning.remove_source_files && deletes && !meaning.dry_run
}

/// Collects deletions as they are reported.
#[derive(Debug, Default)]
pub struct Deletions(Mutex<Found>);

/// What would be deleted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Found {
    /// The number of entries.
    pub count: u64,
    /// The first of them, in byte order.
    pub first: BTreeSet<Vec<u8>>,
}

impl Deletions {
    /// Takes a line of rsync's output.
    pub fn note(&self, event: &Event<'_>) {
        let Event::Said(line) = event else { return };
        let Some(name) = line.strip_prefix(DELETING) else { return };
        let mut found = self.lock();
        found.count += 1;
        let name = unescape(name);
        if found.first.len() < NAMED || found.first.last().is_some_and(|last| name < *last) {
            found.first.insert(name);
            if found.first.len() > NAMED {
                found.first.pop_last();
            }
        }
    }

    /// Takes what was found so far.
    pub fn take(&self) -> Found {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_names_are_kept_and_all_are_counted() {
        let deletions = Deletions::default();
        for number in (0..100).rev() {
            deletions.note(&Event::Said(format!("deleting d{number:02}/").as_bytes()));
        }
        deletions.note(&Event::Said(b"deleting a\\#012b"));
        for line in ["*deleting   x", "cannot delete non-empty directory: x", "created directory deleting y"] {
            deletions.note(&Event::Said(line.as_bytes()));
        }
        deletions.note(&Event::Complained(b"deleting z"));
        let found = deletions.take();
        assert_eq!(found.count, 101);
        assert_eq!(found.first.len(), NAMED);
        assert_eq!(found.first.first().unwrap(), b"a\nb");
        assert_eq!(found.first.last().unwrap(), b"d08");
    }

    #[test]
    fn what_cannot_be_counted_is_not_limited() {
        let refused = |text: &str, limit| refuse(&Options::parse_str(text.as_ref()).unwrap(), limit).is_err();
        for text in [
            "-aF --delete-after",
            "-aC --delete-after",
            "-a --delete-after -f '. rules'",
            "-ab --delete-after",
            "-ab --delete-delay --backup-dir=x",
            "-a --delete -M--delete-before",
            "-a --force -M--del",
            "-a --delete --rsync-path='rsync --delete'",
        ] {
            assert!(refused(text, DeleteLimit::Entries(9)) && refused(text, DeleteLimit::Percent(9.0)), "{text}");
            assert!(!refused(text, DeleteLimit::Unlimited), "{text}");
        }
        for text in ["-aF --delete", "-ab --delete", "-a --delete-after --exclude=x", "-a --delete -M--fake-super"] {
            assert!(!refused(text, DeleteLimit::Percent(9.0)), "{text}");
        }
        for text in ["-a --delete --existing", "-a --delete --link-dest=x", "-a --delete --max-size=1"] {
            assert!(refused(text, DeleteLimit::Percent(9.0)) && !refused(text, DeleteLimit::Entries(9)), "{text}");
        }
    }

    #[test]
    fn a_limit_needs_something_to_limit() {
        for (text, part) in [
            ("-a", "without --delete"),
            ("-a --delete --list-only", "--list-only"),
            ("-a --delete --only-write-batch=x", "--only-write-batch"),
        ] {
            let error = refuse_without_deletion(&Options::parse_str(text.as_ref()).unwrap()).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        for text in ["-a --delete-excluded", "-a --force", "-a --delete-missing-args", "-a --del -n"] {
            assert!(refuse_without_deletion(&Options::parse_str(text.as_ref()).unwrap()).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_asked_and_what_is_kept() {
        let words = |options: Options| options.argv().join(" ".as_ref()).into_string().unwrap();
        let options = |text: &str| Options::parse_str(text.as_ref()).unwrap();
        for (text, asked, kept) in [
            (
                "-aP --delete-before --out-format=%n --log-file=x",
                "-a --partial --delete -n",
                "-a -P --out-format=%n --log-file=x",
            ),
            ("-a --delete-excluded -b --exclude=x", "-a --delete-excluded -b --exclude=x -n", "-a -b --exclude=x"),
            ("-a --force --remove-source-files", "-a --force -n", "-a --remove-source-files"),
            ("-an --del --ignore-errors --write-batch=x", "-a --ignore-errors --delete -n", "-a -n --write-batch=x"),
        ] {
            assert_eq!(words(counting(&options(text)).unwrap()), asked, "{text}");
            assert_eq!(words(keeping(&options(text)).unwrap()), kept, "{text}");
        }
    }
}
