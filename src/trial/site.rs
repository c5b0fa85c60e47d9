//! A new folder at a destination, here or on another machine, that is removed when it is no longer needed.
//!
//! It has a name of its own, and nothing next to it is touched. On another machine it is created, read and removed by rsync, because a daemon may be the only
//! access.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Stopper, rsync};
use crate::endpoint::{Destination, Target};
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::exit;
use crate::rsync::options::Options;

const PREFIX: &str = "multi-sync-trial-";

/// The folder. Dropping it removes it, as far as possible; [`Site::close`] reports errors.
#[derive(Debug)]
pub struct Site {
    /// An empty folder on this machine, with the site's name; for a local site, the site.
    folder: Option<TempDir>,
    name: String,
    remote: Option<Remote>,
}

#[derive(Debug)]
struct Remote {
    /// The destination in which the site lies, with its slash.
    above: OsString,
    target: Target,
    /// The options that are needed to reach it.
    options: Vec<OsString>,
    cwd: PathBuf,
    made: bool,
}

impl Site {
    /// Creates the folder in `above`, which must exist. `connection` contains the options of rsync to reach it.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn make(above: &Destination, connection: &Options, cwd: &Path, stopper: &Stopper) -> Result<Site> {
        let parent = if above.is_local() { PathBuf::from(above.as_directory(cwd)) } else { crate::temporary::usual() };
        // The process ID in the name keeps the sites of two machines apart that share a destination.
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder = temporary_folder(&parent, &prefix)?;
        let name = folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let remote = (!above.is_local()).then(|| Remote {
            above: above.as_directory(cwd),
            target: above.target().clone(),
            options: connection.argv(),
            cwd: cwd.to_owned(),
            made: false,
        });
        let mut site = Site { folder: Some(folder), name, remote };
        site.make_remote(stopper)?;
        Ok(site)
    }

    fn make_remote(&mut self, stopper: &Stopper) -> Result<()> {
        let (from, to) = (self.empty(), self.word());
        let Some(remote) = &mut self.remote else { return Ok(()) };
        let words = remote.words(&["-d"], from, to);
        remote.made = true;
        finished("make a folder there", rsync(words, &remote.cwd, stopper)?)
    }

    /// The destination `name` in the site, as a user would type it, without a trailing slash.
    pub fn at(&self, name: &str) -> OsString {
        let mut word = self.word();
        word.push(name);
        word
    }

    /// The path of `name`, if the site is on this machine.
    pub fn local(&self, name: &str) -> Option<PathBuf> {
        self.folder.as_ref().filter(|_| self.remote.is_none()).map(|folder| folder.path().join(name))
    }

    /// Whether it is reached through a daemon, which may change links, owners and modes.
    pub fn is_daemon(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| matches!(remote.target, Target::Daemon { .. }))
    }

    /// Whether it is reached through ssh.
    pub fn is_ssh(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| matches!(remote.target, Target::Ssh { .. }))
    }

    /// Copies `name` from another machine to `to`, a new folder here, with hard links, holes and numeric owners.
    ///
    /// # Errors
    /// rsync failed.
    pub fn pull(&self, name: &str, to: &Path, stopper: &Stopper) -> Result<()> {
        let mut from = self.at(name);
        from.push("/");
        let Some(remote) = &self.remote else {
            return Err(Error::usage(format!("{} is not on another machine", Printable::os(&from))));
        };
        let words = remote.words(&["-aHS", "--numeric-ids"], from, to.as_os_str().to_owned());
        finished("read back what was copied", rsync(words, &remote.cwd, stopper)?)
    }

    /// Removes `name` and everything in it. It is no error if it does not exist.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn clear(&self, name: &str) -> Result<()> {
        match (self.local(name), &self.remote) {
            (Some(path), _) => remove(&path),
            (None, Some(remote)) => remote.remove(name, self.empty(), self.word()),
            (None, None) => Ok(()),
        }
    }

    /// Removes the site.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn close(mut self) -> Result<()> {
        self.remove_all()
    }

    fn remove_all(&mut self) -> Result<()> {
        let Some(folder) = self.folder.take() else { return Ok(()) };
        let there = match &self.remote {
            Some(remote) if remote.made => {
                remote.remove(&self.name, folder.path().join("").into_os_string(), remote.above.clone())
            }
            _ => Ok(()),
        };
        there.and(remove(&folder.keep()))
    }

    fn word(&self) -> OsString {
        let mut word = match (&self.remote, &self.folder) {
            (Some(remote), _) => {
                let mut word = remote.above.clone();
                word.push(&self.name);
                word
            }
            (None, folder) => folder.as_ref().map(|folder| folder.path().as_os_str().to_owned()).unwrap_or_default(),
        };
        word.push("/");
        word
    }

    fn empty(&self) -> OsString {
        self.folder.as_ref().map(|folder| folder.path().join("").into_os_string()).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Callers that want to report errors use `close`.
        let _ = self.remove_all();
    }
}

impl Remote {
    /// Deletes `name` in `above`: everything else there is excluded, and therefore protected (rsync(1), `--delete`).
    fn remove(&self, name: &str, empty: OsString, above: OsString) -> Result<()> {
        let mut words: Vec<OsString> = ["-r", "--delete"].map(Into::into).into();
        words.extend([format!("--include=/{name}").into(), format!("--include=/{name}/**").into()]);
        words.push("--exclude=*".into());
        words.extend(self.words(&[], empty, above));
        // With a new stopper, because the removal matters most after a stop.
        finished("remove what was made there", rsync(words, &self.cwd, &Stopper::default())?)
    }

    fn words(&self, more: &[&str], from: OsString, to: OsString) -> Vec<OsString> {
        let mut words: Vec<OsString> = more.iter().map(Into::into).collect();
        words.extend_from_slice(&self.options);
        words.extend(["--".into(), from, to]);
        words
    }
}

fn finished(what: &str, ran: super::Ran) -> Result<()> {
    match ran.ended.code() {
        exit::OK => Ok(()),
        code => Err(Error::of_rsync(format!("rsync cannot {what}: {}", ran.output.gist()), code)),
    }
}

/// A new folder in `parent` that only this user can enter.
///
/// # Errors
/// It cannot be created.
pub(super) fn temporary_folder(parent: &Path, prefix: &str) -> Result<TempDir> {
    let parent = std::path::absolute(parent).map_err(|cause| Error::io("find", parent, cause))?;
    tempfile::Builder::new().prefix(prefix).tempdir_in(&parent).map_err(|cause| {
        Error::io("make a folder in", &parent, cause).remedy("name a folder in which you may write, or set TMPDIR")
    })
}

/// Removes a folder, even if it contains folders that their owner may not change.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => {
            open_folders(path);
            fs::remove_dir_all(path).map_err(|cause| Error::io("remove", path, cause).remedy("remove it by hand"))
        }
    }
}

fn open_folders(folder: &Path) {
    // If this fails, the removal below reports it.
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_folders(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site_in(above: &Path) -> Site {
        let above = Destination::parse(above.as_os_str()).unwrap();
        let options = Options::parse::<&str>(&[]).unwrap();
        Site::make(&above, &options, Path::new("/"), &Stopper::default()).unwrap()
    }

    #[test]
    fn a_site_goes_with_all_that_is_in_it_and_nothing_else() {
        let above = tempfile::tempdir().unwrap();
        fs::write(above.path().join("mine"), "mine").unwrap();
        for closed in [true, false] {
            let site = site_in(above.path());
            let locked = site.local("copy/locked").unwrap();
            fs::create_dir_all(&locked).unwrap();
            fs::write(locked.join("file"), "file").unwrap();
            fs::set_permissions(&locked, Permissions::from_mode(0o000)).unwrap();
            if closed {
                site.close().unwrap();
            } else {
                drop(site);
            }
            let left: Vec<_> = fs::read_dir(above.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, ["mine"]);
        }
    }

    #[test]
    fn what_is_not_there_is_clear() {
        let above = tempfile::tempdir().unwrap();
        let site = site_in(above.path());
        site.clear("copy").unwrap();
        fs::create_dir(site.local("copy").unwrap()).unwrap();
        site.clear("copy").unwrap();
        assert!(!site.local("copy").unwrap().exists());
    }
}
