//! The bucket directory: where it is created, the file of each bucket, and what is synced to disk when.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::fs::Access;

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::state;
use crate::temporary;

use super::Bucket;

/// The number of buckets in a folder, and of folders in a folder.
const FOLDER: u64 = 1024;
/// Only the owner may see the names in a tree.
const FOLDER_MODE: u32 = 0o700;
/// The prefix of the names of run directories in places with other content: in temporary folders, and in a place that the user names. Scripts search for it
/// there.
pub const IN_TEMPORARY: &str = "multi-sync-";
/// Others can go through the folder, but not list it.
const PASSABLE_MODE: u32 = 0o711;

/// The bucket directory. A temporary one is removed when this value is dropped, unless it is kept.
#[derive(Debug)]
pub struct BucketDir {
    path: PathBuf,
    identity: (u64, u64),
    in_source: bool,
    in_destination: bool,
    temporary: Option<tempfile::TempDir>,
    /// Whether it is removed with the run.
    is_temporary: bool,
    /// Further places, if the user has named none: they are used if this directory takes no more.
    spare: Option<Arc<Spare>>,
}

/// Where buckets go if their directory takes no more.
#[derive(Debug, Default)]
struct Spare {
    places: Vec<PathBuf>,
    made: Mutex<Option<tempfile::TempDir>>,
}

impl Spare {
    fn of(places: Vec<PathBuf>) -> Spare {
        Spare { places, made: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<tempfile::TempDir>> {
        self.made.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Writes a file of this name to the first place that takes it; `None` if no place does.
    fn write(&self, name: &Path, bytes: &[u8]) -> Option<()> {
        let path = {
            let mut made = self.lock();
            if made.is_none() {
                *made = self.places.iter().find_map(|place| temporary::folder_in(place, IN_TEMPORARY).ok());
            }
            made.as_ref()?.path().join(name)
        };
        write_file(&path, bytes).ok()
    }
}

impl BucketDir {
    /// Creates a new folder for this run: below `parent` if the user has given one, otherwise below the system's temporary folder, or in another temporary
    /// place if that one lies in a source or in the destination. `sources` and `destination` are real paths.
    ///
    /// # Errors
    /// `parent` does not exist, is not a directory, is not writable, or lies in the destination. Nothing has been written then.
    pub fn create(parent: Option<&Path>, sources: &[PathBuf], destination: Option<&Path>) -> Result<BucketDir> {
        let real = |dir: &Path| dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
        let in_source = |dir: &Path| sources.iter().any(|tree| real(dir).starts_with(tree));
        let in_destination = |dir: &Path| destination.is_some_and(|tree| real(dir).starts_with(tree));
        let prefix = format!("{IN_TEMPORARY}{}", state::prefix());
        let places = match parent {
            Some(parent) => {
                check_parent(parent)?;
                if in_destination(parent) {
                    let shown = Printable::path(parent);
                    return Err(Error::usage(format!("bucket directory {shown} lies inside the destination"))
                        .remedy("give another one with --buckets DIR"));
                }
                vec![parent.to_path_buf()]
            }
            None => {
                // If a source such as `/` contains all places, the scan leaves the folder out.
                let mut places = temporary::places();
                places.sort_by_key(|place| (in_destination(place), in_source(place)));
                places
            }
        };
        let mut made = places.iter().map(|place| temporary::folder_in(place, &prefix).map_err(|e| (place, e)));
        let first = made.next().expect("there is a place");
        let made =
            first.or_else(|failed| made.find_map(|next| next.ok()).ok_or(failed)).map_err(|(place, cause)| {
                Error::io("create a bucket directory in", place, cause)
                    .remedy("give a writable directory with --buckets DIR, or set TMPDIR")
            })?;
        let found = fs::metadata(made.path()).map_err(|cause| Error::io("look at", made.path(), cause))?;
        let identity = (found.dev(), found.ino());
        Ok(BucketDir {
            in_source: in_source(made.path()),
            in_destination: in_destination(made.path()),
            path: made.path().to_owned(),
            identity,
            temporary: Some(made),
            is_temporary: true,
            spare: parent.is_none().then(|| Arc::new(Spare::of(temporary::places_outside(sources, destination)))),
        })
    }

    /// Creates a new folder for this run in the place for run directories, which is created if it does not exist. The place must lie in no source, and not in
    /// the destination; `sources` and `destination` are as in [`BucketDir::create`].
    ///
    /// # Errors
    /// See [`state::make`]; or there is no room.
    pub(crate) fn in_state(place: &Path, sources: &[PathBuf], destination: Option<&Path>) -> io::Result<BucketDir> {
        let made = temporary::folder_in(&state::make(place)?, &state::prefix())?;
        let found = fs::metadata(made.path())?;
        Ok(BucketDir {
            in_source: false,
            in_destination: false,
            path: made.path().to_owned(),
            identity: (found.dev(), found.ino()),
            temporary: Some(made),
            is_temporary: true,
            spare: Some(Arc::new(Spare::of(temporary::places_outside(sources, destination)))),
        })
    }

    /// Opens the folder of a run that did not finish. It is not removed when this value is dropped.
    ///
    /// # Errors
    /// There is no such folder.
    pub(crate) fn open(path: &Path, sources: &[PathBuf]) -> Result<BucketDir> {
        let fail = |cause| Error::io("use run directory", path, cause).exit(crate::error::EXIT_USAGE);
        let path = path.canonicalize().map_err(fail)?;
        let found = fs::metadata(&path).map_err(fail)?;
        let in_source = sources.iter().any(|tree| path.starts_with(tree));
        let identity = (found.dev(), found.ino());
        Ok(BucketDir {
            identity,
            in_source,
            in_destination: false,
            path,
            temporary: None,
            is_temporary: false,
            spare: None,
        })
    }

    /// Whether it is removed when this value is dropped.
    pub(crate) fn goes(&self) -> bool {
        self.temporary.is_some()
    }

    /// The same directory, for threads that may outlive this value. Only this value removes it.
    pub(crate) fn shared(&self) -> BucketDir {
        BucketDir {
            path: self.path.clone(),
            identity: self.identity,
            in_source: self.in_source,
            in_destination: self.in_destination,
            temporary: None,
            is_temporary: self.is_temporary,
            spare: self.spare.clone(),
        }
    }

    /// A folder inside it, for another run that belongs to this one. It is created if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub(crate) fn below(&self, name: &str) -> Result<BucketDir> {
        let path = self.path.join(name);
        let made = fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&path);
        made.map_err(|cause| {
            Error::io("create", &path, cause).remedy("give a directory with room with --buckets DIR")
        })?;
        // The scan leaves out the outer directory as a whole, so its identity is used.
        let (in_source, in_destination, identity) = (self.in_source, self.in_destination, self.identity);
        let spare = self.spare.as_ref().map(|spare| Arc::new(Spare::of(spare.places.clone())));
        Ok(BucketDir { path, identity, in_source, in_destination, temporary: None, is_temporary: false, spare })
    }

    /// A folder inside it in which another user can open files whose names are known to that user.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub(crate) fn passable(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        let made = fs::DirBuilder::new().recursive(true).create(&path);
        let passable = |dir: &Path| fs::set_permissions(dir, fs::Permissions::from_mode(PASSABLE_MODE));
        made.and_then(|()| passable(&path)).and_then(|()| passable(&self.path)).map_err(|cause| {
            Error::io("create", &path, cause).remedy("give a directory with room with --buckets DIR")
        })?;
        Ok(path)
    }

    /// Whether it lies in a source. Then it is left out of the copy, but only if it is temporary.
    pub(crate) fn is_in_source(&self) -> bool {
        self.in_source
    }

    /// Whether it lies in the destination. Only a temporary one may.
    pub(crate) fn is_in_destination(&self) -> bool {
        self.in_destination
    }

    /// Device and inode, so that a scan can leave it out.
    pub(crate) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Whether the copy continues if nothing more can be written there, because the user has not asked for this directory.
    pub(crate) fn is_optional(&self) -> bool {
        self.spare.is_some()
    }

    /// Whether new buckets are written elsewhere, because nothing more could be written there.
    pub(crate) fn has_moved(&self) -> bool {
        self.spare.as_ref().is_some_and(|spare| spare.lock().is_some())
    }

    /// Whether the directory exists. See [`BucketDir::vacate`].
    pub(crate) fn stands(&self) -> bool {
        self.path.is_dir()
    }

    /// Removes the directory now, because one rsync is about to copy the tree that contains it and needs nothing in it.
    pub(crate) fn vacate(&self) {
        if self.is_temporary {
            // Anything that could not be removed is removed, or reported, at the end.
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory in place when this value is dropped.
    pub fn keep(&mut self) {
        // Other threads may still hold the spare place, so it is taken out of the shared value.
        self.spare.take().into_iter().for_each(|spare| drop(spare.lock().take()));
        if let Some(temporary) = self.temporary.take() {
            let _ = temporary.keep();
        }
    }

    /// Removes the directory now, unless it is kept.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn remove(mut self) -> Result<()> {
        let path = self.path.clone();
        self.temporary
            .take()
            .map_or(Ok(()), tempfile::TempDir::close)
            .or_else(|cause| if cause.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(cause) })
            .map_err(|cause| Error::io("remove bucket directory", &path, cause).remedy("remove it by hand"))
    }

    /// The path of the file of a bucket.
    pub fn file(&self, id: u64) -> PathBuf {
        let folder = id / FOLDER;
        let name = format!("{:04}/{:04}/{id:06}.bucket", folder / FOLDER, folder % FOLDER);
        let spare = self.spare.as_ref().map(|spare| spare.lock());
        let elsewhere = spare.as_ref().and_then(|spare| spare.as_ref()).map(|spare| spare.path().join(&name));
        elsewhere.filter(|file| file.exists()).unwrap_or_else(|| self.path.join(name))
    }

    /// The arguments of a bucket, each terminated by a NUL.
    ///
    /// # Errors
    /// The file cannot be read, or does not contain what was written to it.
    pub fn read(&self, bucket: &Bucket) -> Result<Vec<u8>> {
        const REMEDY: &str = "resume the run: it scans again";
        let path = self.file(bucket.id);
        let bytes = fs::read(&path).map_err(|cause| Error::io("read bucket", &path, cause).remedy(REMEDY))?;
        match bucket.content.differs(&bytes, bucket.units) {
            None => Ok(bytes),
            Some(why) => {
                Err(Error::io("use bucket", &path, io::Error::other(format!("{why}: the file is damaged")))
                    .remedy(REMEDY))
            }
        }
    }

    /// Syncs the files of these buckets, and all directories that lead to them, to disk. Returns `false` if `stop` returned true before everything was done.
    ///
    /// # Errors
    /// Something could not be synced.
    pub(crate) fn sync(&self, buckets: impl Iterator<Item = u64> + Clone, stop: &dyn Fn() -> bool) -> Result<bool> {
        let fail = |path: &Path, cause: io::Error| Error::io("write to disk", path, cause);
        // Writing of all files is started before the first is waited for: one commit of the file system's journal then serves many files.
        for id in buckets.clone() {
            if let Ok(file) = File::open(self.file(id)) {
                let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
            }
            if stop() {
                return Ok(false);
            }
        }
        let mut folders = BTreeSet::new();
        for id in buckets {
            let path = self.file(id);
            match File::open(&path).and_then(|file| file.sync_all()) {
                // The file may have been removed because it is not needed any more.
                Err(_) if stop() => return Ok(false),
                synced => synced.map_err(|cause| fail(&path, cause))?,
            }
            folders.extend(path.ancestors().skip(1).take(2).map(Path::to_owned));
            if stop() {
                return Ok(false);
            }
        }
        folders.insert(self.path.clone());
        // The parent directory is synced too, because it contains the name by which others find this directory.
        folders.extend(self.path.parent().map(Path::to_owned));
        for folder in folders.iter().rev() {
            // A directory that is writable but not readable cannot be synced, and file systems that cannot sync directories report EINVAL.
            if let Err(cause) = File::open(folder).and_then(|folder| folder.sync_all())
                && ![io::ErrorKind::PermissionDenied, io::ErrorKind::InvalidInput].contains(&cause.kind())
                && !stop()
            {
                return Err(fail(folder, cause));
            }
        }
        Ok(true)
    }

    pub(super) fn write(&self, id: u64, arguments: &[u8]) -> Result<()> {
        let path = self.file(id);
        let written = write_file(&path, arguments).or_else(|cause| {
            let name = path.strip_prefix(&self.path).unwrap_or(&path);
            self.spare.as_ref().and_then(|spare| spare.write(name, arguments)).ok_or(cause)
        });
        written.map_err(|cause| {
            Error::io("write bucket", &path, cause).remedy("give a directory with more room with --buckets DIR")
        })
    }
}

/// Writes a file, and first creates its folder if necessary.
fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::write(path, bytes) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().expect("a bucket file has a folder");
            fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
            fs::write(path, bytes)
        }
        other => other,
    }
}

fn check_parent(parent: &Path) -> Result<()> {
    let found = fs::metadata(parent).map_err(|cause| {
        Error::io("use bucket directory", parent, cause)
            .remedy("create it, or leave out --buckets")
            .exit(crate::error::EXIT_USAGE)
    })?;
    let usable = if found.is_dir() {
        rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK)
    } else {
        Err(rustix::io::Errno::NOTDIR)
    };
    usable.map_err(|errno| {
        Error::io("use bucket directory", parent, errno)
            .remedy("give a directory in which you may create files")
            .exit(crate::error::EXIT_USAGE)
    })
}
