//! The sources: what exists, and how each becomes a scan and the beginning of rsync's arguments.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::config::{Config, DEFAULT_RSYNC};
use crate::endpoint::{Form, Source};
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::command::Quoted;
use crate::rsync::exit;
use crate::rsync::options::{Meaning, Opt, Setting};
use crate::scan::{Root, Weight};

use super::relative::Relative;
use super::{SingleSource, SourceTree};

/// Which sources exist.
pub(super) struct Found {
    pub present: Vec<(Source, fs::Metadata)>,
    pub missing: Vec<(OsString, io::ErrorKind)>,
}

/// Looks at all sources. If none exists, fails with rsync's exit code, unless `--ignore-missing-args` allows that. A source that may not be looked at counts as
/// existing.
pub(super) fn look(config: &Config, meaning: &Meaning) -> Result<Found> {
    let mut found = Found { present: Vec::new(), missing: Vec::new() };
    let mut first_error = None;
    if config.pulls() {
        // These sources can only be looked at after a login.
        return Ok(found);
    }
    for source in &config.sources {
        let base = source.base(&config.cwd);
        // With a trailing slash, rsync follows a symbolic link; otherwise it does not (rsync(1), USAGE).
        let looked = match source.name() {
            Some(name) => fs::symlink_metadata(base.join(name)),
            None => fs::metadata(&base),
        };
        // With `--relative`, rsync copies a source that is not a directory and does not point to one, even if it has trailing slashes.
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
            // With this option, a missing name is no error, but a missing directory that rsync would change to still is.
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

/// Fails if a source is a directory: without recursion, rsync would skip it, and exit with 0.
pub(super) fn refuse_directories(config: &Config, found: &Found) -> Result<()> {
    let Some((source, _)) = found.present.iter().find(|(_, metadata)| metadata.is_dir()) else { return Ok(()) };
    let turns_off = |setting: &Setting| setting.negated && matches!(setting.spec.id, Opt::Recursive | Opt::Dirs);
    let remedy = if config.options.settings().iter().any(turns_off) {
        "leave out what turns recursion off, or add --dirs (-d)".to_owned()
    } else {
        let typed: Vec<String> = config.options.argv().iter().map(|word| Quoted(word).to_string()).collect();
        let all = format!("{DEFAULT_RSYNC} {}", typed.join(" "));
        format!(
            "write --rsync {} if that is meant: the options given replace the default {DEFAULT_RSYNC}",
            Quoted(OsStr::new(all.trim_end()))
        )
    };
    let shown = Printable::os(source.original());
    Err(Error::usage(format!("rsync would skip the directory {shown}: its options ask for no recursion"))
        .remedy(remedy))
}

/// A source without its trailing slashes, if that exists.
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
    /// The directory in which rsync is started. A source with a trailing slash needs `./` arguments, because only these copy the attributes of the directory
    /// itself.
    pub fn base(&self, config: &Config) -> PathBuf {
        let contents = self.present.iter().find(|(source, _)| source.form() == Form::Contents);
        contents.or(self.present.first()).map_or_else(|| config.cwd.clone(), |(source, _)| source.base(&config.cwd))
    }

    /// Whether rsync certainly needs a directory to copy the sources into.
    pub fn fill_a_directory(&self, meaning: &Meaning) -> bool {
        let all = meaning.recursive && !meaning.has_filter_rules && !meaning.prune_empty_dirs;
        all && meaning.files_from.is_none()
            && !meaning.list_only
            && self.present.iter().any(|(_, found)| found.is_dir())
    }

    /// The sources with the user's own `--relative`; `None` if the meaning of one of them is not certain.
    pub fn relative(&self, config: &Config) -> Option<Vec<Relative>> {
        self.present.iter().map(|(source, _)| Relative::of(source.original(), &config.cwd)).collect()
    }

    /// Divides the sources into trees, which are scanned, and single units.
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
                    singles.push(SingleSource { prefix: tree.prefix, base: tree.root.base, name, weight });
                }
                _ => trees.push(tree),
            }
        }
        (trees, singles)
    }
}

/// The real path of a source.
pub(super) fn real_path(source: &Source, config: &Config) -> PathBuf {
    let mut path = source.base(&config.cwd);
    path.extend(source.name());
    resolve(&path)
}

/// The real path, or, if it does not exist, that of the deepest part that does, with the rest appended.
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
        // The part before `/./` is not copied (rsync(1), `--relative`); unlike `./`, this form does not copy the attributes of the parent directory.
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
