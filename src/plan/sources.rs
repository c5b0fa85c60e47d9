//! The sources: what is there, how each becomes a scan and the beginning of rsync arguments, and which of them one rsync has to merge.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::config::Config;
use crate::endpoint::{Form, Source};
use crate::error::{Error, Result};
use crate::rsync::exit;
use crate::rsync::options::{Meaning, Opt};
use crate::scan::{self, Root, Weight};

use super::aux_dirs;
use super::mounts;
use super::relative::Relative;
use super::rooted;
use super::{SingleSource, SourceTree};

/// Why one rsync has to copy a directory into itself.
pub(super) const NESTED: &str = "source and destination lie inside each other";

/// Which sources exist.
pub(super) struct Found {
    pub present: Vec<(Source, fs::Metadata)>,
    pub missing: Vec<(OsString, io::ErrorKind)>,
}

/// Looks at all sources. Fails, with rsync's code, if none exists, unless `--ignore-missing-args` makes that no error. What is not allowed to
/// be looked at may exist.
pub(super) fn look(config: &Config, meaning: &Meaning) -> Result<Found> {
    let mut found = Found { present: Vec::new(), missing: Vec::new() };
    let mut first_error = None;
    for source in &config.sources {
        let base = source.base(&config.cwd);
        // A trailing slash follows a link, a bare name does not (rsync(1), USAGE).
        let looked = match source.name() {
            Some(name) => fs::symlink_metadata(base.join(name)),
            None => fs::metadata(&base),
        };
        // With --relative rsync copies what is no directory, and leads to none, whatever slashes follow it.
        let is_dir = looked.as_ref().is_ok_and(fs::Metadata::is_dir);
        if let Some(named) = before_slashes(source, &config.cwd).filter(|_| meaning.relative && !is_dir) {
            found.present.push(named);
            continue;
        }
        match looked {
            Ok(metadata) if source.form() == Form::Contents && !metadata.is_dir() => {
                let error = io::ErrorKind::NotADirectory;
                found.missing.push((source.original().to_owned(), error));
                first_error.get_or_insert_with(|| io::Error::from(error));
            }
            Ok(metadata) => found.present.push((source.clone(), metadata)),
            // A name is missing; a directory that rsync would change to is an error all the same.
            Err(error)
                if meaning.ignore_missing_args
                    && error.kind() == io::ErrorKind::NotFound
                    && source.form() == Form::Named
                    && base.is_dir() => {}
            Err(error) => {
                found.missing.push((source.original().to_owned(), error.kind()));
                first_error.get_or_insert(error);
            }
        }
    }
    match (found.present.is_empty(), first_error) {
        (true, Some(cause)) if cause.kind() != io::ErrorKind::PermissionDenied => {
            Err(Error::io("find source", Path::new(config.sources[0].original()), cause)
                .remedy("check the name; nothing was copied")
                .exit(exit::PARTIAL))
        }
        (true, None) if config.sources.is_empty() => Err(Error::usage("no source given")),
        _ => Ok(found),
    }
}

/// What a source names with slashes behind it.
fn before_slashes(source: &Source, cwd: &Path) -> Option<(Source, fs::Metadata)> {
    let mut word = source.original().as_bytes();
    while let Some(shorter) = word.strip_suffix(b"/").or(word.strip_suffix(b"/.")) {
        word = shorter;
    }
    let without = Source::parse(OsStr::from_bytes(word)).ok().filter(|_| source.form() == Form::Contents)?;
    let found = fs::symlink_metadata(without.base(cwd).join(without.name()?)).ok()?;
    Some((without, found))
}

impl Found {
    /// The directory that rsync is started in. The contents form needs `./` arguments: they bring the attributes of the directory
    /// itself.
    pub fn base(&self, config: &Config) -> PathBuf {
        let contents = self.present.iter().find(|(source, _)| source.form() == Form::Contents);
        contents.or(self.present.first()).map_or_else(|| config.cwd.clone(), |(source, _)| source.base(&config.cwd))
    }

    /// Whether rsync certainly needs a directory to copy them into.
    pub fn fill_a_directory(&self, meaning: &Meaning) -> bool {
        let all = meaning.recursive && !meaning.has_filter_rules && !meaning.prune_empty_dirs;
        all && meaning.files_from.is_none()
            && !meaning.list_only
            && self.present.iter().any(|(_, found)| found.is_dir())
    }

    /// The sources under the user's own `--relative`; `None` if one of them is not of a certain form.
    pub fn relative(&self, config: &Config) -> Option<Vec<Relative>> {
        self.present.iter().map(|(source, _)| Relative::of(source.original(), &config.cwd)).collect()
    }

    /// What is scanned, and what is a unit without a scan.
    pub fn split(&self, config: &Config, relative: Option<Vec<Relative>>) -> (Vec<SourceTree>, Vec<SingleSource>) {
        let base = self.base(config);
        let placed: Vec<(SourceTree, &fs::Metadata)> = match relative {
            Some(relative) => relative
                .into_iter()
                .zip(&self.present)
                .map(|(source, (_, found))| {
                    let root = Root { base: source.parent, name: Some(source.name) };
                    (SourceTree { root, prefix: source.prefix, above: source.above }, found)
                })
                .collect(),
            None => self
                .present
                .iter()
                .map(|(source, found)| {
                    let own_base = source.base(&config.cwd);
                    let prefix = prefix(source.form(), &own_base, &base);
                    let root = Root { base: own_base, name: source.name().map(OsStr::to_owned) };
                    (SourceTree { root, prefix, above: Vec::new() }, found)
                })
                .collect(),
        };
        let (mut trees, mut singles) = (Vec::new(), Vec::new());
        for (tree, found) in placed {
            match tree.root.name {
                Some(name) if !found.is_dir() => {
                    let weight = Weight { entries: 1, bytes: if found.is_file() { found.len() } else { 0 } };
                    singles.push(SingleSource { prefix: tree.prefix, name, weight });
                }
                _ => trees.push(tree),
            }
        }
        (trees, singles)
    }
}

/// Directories that must not be split.
pub(super) struct Whole<'a> {
    /// Those without `u+rwx`.
    pub locked: bool,
    /// Those that hold a link which may lead out of the source to a directory.
    pub unsafe_links: bool,
    /// Those that hold one of these names.
    pub merge_files: &'a [OsString],
}

impl Whole<'_> {
    fn is(&self, dir: &Path, metadata: &fs::Metadata) -> bool {
        // Well below the length that the scan would still split.
        const LONG_PATH: usize = 3000;
        dir.as_os_str().len() > LONG_PATH
            || self.locked && metadata.permissions().mode() & 0o700 != 0o700
            || self.merge_files.iter().any(|name| fs::symlink_metadata(dir.join(name)).is_ok())
            || self.unsafe_links && fs::File::open(dir).is_ok_and(scan::holds_unsafe_link)
    }
}

/// Sources that one rsync has to copy, with the reason.
pub(super) fn one(
    config: &Config,
    found: &Found,
    meaning: &Meaning,
    relative: Option<&[Relative]>,
    whole: &Whole<'_>,
) -> Option<&'static str> {
    let sources = &found.present;
    if sources.is_empty() {
        return Some("no source is found");
    }
    if meaning.relative && !found.missing.is_empty() {
        return Some("with --relative a source that is not found does not bring the directories above it");
    }
    if let Some(why) = rooted::is_unclear(sources, meaning) {
        return Some(why);
    }
    let files = sources.iter().filter(|(_, metadata)| !metadata.is_dir()).count();
    if files > 0 && sources.len() == 1 {
        return Some("the source is a single file");
    }
    let is_readable = |source: &Source| {
        let path = source.base(&config.cwd).join(source.name().unwrap_or_default());
        rustix::fs::access(&path, Access::READ_OK | Access::EXEC_OK).is_ok()
    };
    if sources.len() > 1 && sources.iter().any(|(source, found)| found.is_dir() && !is_readable(source)) {
        return Some("one of several sources cannot be read");
    }
    let into_dest = |source: &Source| sources.len() > 1 && source.form() == Form::Contents;
    if sources.iter().any(|(source, found)| into_dest(source) && whole.is(&source.base(&config.cwd), found)) {
        return Some("a source that has to stay whole gives its attributes to DEST, which others write into");
    }
    let local = config.destination.is_local().then(|| config.destination.as_typed(&config.cwd));
    if meaning.existing && local.is_some_and(|dest| !Path::new(&dest).exists()) {
        return Some("with --existing and no DEST hardly anything is done");
    }
    let follows = meaning.copy_links || meaning.copy_dirlinks || meaning.copy_unsafe_links;
    if follows && sources.iter().any(|(_, metadata)| metadata.is_symlink()) {
        return Some("a source is a link that may be followed");
    }
    if meaning.has_filter_rules && !meaning.mkpath && config.destination.is_local() {
        let dest = PathBuf::from(config.destination.as_typed(&config.cwd));
        if !dest.exists() && dest.parent().is_some_and(|parent| !parent.is_dir()) {
            return Some("how a missing parent of DEST is answered depends on what the rules leave");
        }
    }
    if files > 0 && meaning.relative {
        return Some("a source under --relative is no directory");
    }
    if files > 0 && meaning.has_filter_rules {
        return Some("a source that is a file may be excluded, and DEST is not made for nothing");
    }
    if files > 0 && is_fuzzy(config) {
        return Some("with --fuzzy files beside each other need one rsync");
    }
    if files > 0 && meaning.hard_links {
        return Some("a source that is a file may have links in the other sources");
    }
    if !found.missing.is_empty() && meaning.delete.is_some() && !meaning.ignore_errors {
        return Some("a source is missing, which keeps rsync from deleting");
    }
    let meets = match relative {
        Some(all) => all.iter().enumerate().any(|(at, one)| all[..at].iter().any(|other| one.meets(other))),
        None if meaning.relative => return Some("a source under --relative is not a plain path"),
        None => overlapping(config, sources),
    };
    if meets {
        return Some("several sources bring the same name");
    }
    if meaning.remove_source_files && are_nested(config, sources) {
        return Some("sources lie inside each other, and what one of them brings is removed from the other");
    }
    if meaning.one_file_system > 0 && meaning.delete.is_some() && !config.destination.is_local() {
        return Some("with --one-file-system a mount at the destination is protected from deletion");
    }
    if aux_dirs::backups_are_made_in_sources(config, meaning, sources, relative) {
        return Some("the directory for backups is made in one that is sent");
    }
    if config.destination.is_local() {
        let destination = resolve(Path::new(&config.destination.as_typed(&config.cwd)));
        if meaning.one_file_system > 0 && meaning.delete.is_some() && !mounts::none_below(&destination) {
            return Some("with --one-file-system the mount inside the destination is protected from deletion");
        }
        // One rsync reads its time before that.
        let above = destination.parent().filter(|_| !destination.exists());
        if above.is_some_and(|above| relative.is_some_and(|all| all.iter().any(|source| source.sends(above)))) {
            return Some("DEST is made in a directory that is sent");
        }
        let nested = sources.iter().any(|(source, found)| {
            let path = real_path(source, config);
            let by_path = destination.starts_with(&path) || path.starts_with(&destination);
            by_path || found.is_dir() && mounts::share(&path, &destination)
        });
        if nested {
            return Some(NESTED);
        }
    }
    None
}

pub(super) fn real_path(source: &Source, config: &Config) -> PathBuf {
    let mut path = source.base(&config.cwd);
    path.extend(source.name());
    resolve(&path)
}

/// Whether a source is another one, or lies in it.
fn are_nested(config: &Config, sources: &[(Source, fs::Metadata)]) -> bool {
    let mut paths: Vec<PathBuf> = sources.iter().map(|(source, _)| real_path(source, config)).collect();
    paths.sort();
    // What lies in a directory follows it at once.
    paths.windows(2).any(|pair| pair[1].starts_with(&pair[0]))
}

/// Whether rsync may begin with a file of another name (`--fuzzy`).
pub(super) fn is_fuzzy(config: &Config) -> bool {
    config.options.has(Opt::Fuzzy)
}

/// Whether a name at the top of the destination comes from more than one source: which of them wins is one rsync's to decide.
fn overlapping(config: &Config, sources: &[(Source, fs::Metadata)]) -> bool {
    let mut names: Vec<&OsStr> = sources.iter().filter_map(|(source, _)| source.name()).collect();
    let contents: Vec<PathBuf> = sources
        .iter()
        .filter(|(source, _)| source.name().is_none())
        .map(|(source, _)| source.base(&config.cwd))
        .collect();
    let many = contents.len() > 1;
    let inside = contents.iter().any(|base| names.iter().any(|name| fs::symlink_metadata(base.join(name)).is_ok()));
    names.sort();
    many || inside || names.windows(2).any(|pair| pair[0] == pair[1])
}

/// The real path, of the deepest part that exists if not all does.
pub(super) fn resolve(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(mut resolved) = existing.canonicalize() {
            resolved.extend(missing.iter().rev());
            return resolved;
        }
        match (existing.parent(), existing.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name);
                existing = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

fn prefix(form: Form, own_base: &Path, base: &Path) -> Vec<u8> {
    match (form, own_base == base) {
        (Form::Contents, true) => b"./".to_vec(),
        // The part before `/./` is not sent (rsync(1), --relative), and unlike `./` it brings no attributes of the parent.
        (Form::Named, true) => b"././".to_vec(),
        (_, false) => {
            let mut prefix = own_base.as_os_str().as_bytes().to_vec();
            while prefix.ends_with(b"/") {
                prefix.pop();
            }
            prefix.extend_from_slice(b"/./");
            prefix
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_keeps_the_base_out_of_what_is_sent() {
        let (base, other) = (Path::new("/s"), Path::new("/t"));
        assert_eq!(prefix(Form::Contents, base, base), b"./");
        assert_eq!(prefix(Form::Named, base, base), b"././");
        assert_eq!(prefix(Form::Named, other, base), b"/t/./");
        assert_eq!(prefix(Form::Named, Path::new("/"), base), b"/./");
    }

    #[test]
    fn a_path_resolves_as_far_as_it_exists() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert_eq!(resolve(&real.join("link/x/y")), real.join("x/y"));
    }
}
