//! Temporary folders of tests: where they are, who may enter them, and their removal whatever modes a test left in them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::processes;

/// User and group of [`as_nobody`](super::command::as_nobody).
pub const NOBODY: u32 = 65534;

/// A folder that already contains `tmp` (TMPDIR), `home` (HOME) and `state` (XDG_STATE_HOME). When this value is dropped, every process with its path in the
/// command line or environment is killed, and then the folder is removed.
pub struct Work {
    dir: tempfile::TempDir,
}

impl Work {
    /// In the default temporary folder, closed to other users.
    pub fn new() -> Work {
        Work::inside(&std::env::temp_dir(), 0o700)
    }

    /// In a temporary folder that every user can reach: for commands that run as nobody.
    pub fn public() -> Work {
        let tried = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
        let parent = tried.iter().find(|dir| reachable_by_all(dir));
        Work::inside(parent.unwrap_or_else(|| panic!("none of {tried:?} can be entered by every user")), 0o755)
    }

    /// On tmpfs, which every user can reach; `None` if /dev/shm is missing or not writable.
    pub fn on_tmpfs() -> Option<Work> {
        let parent = Path::new("/dev/shm");
        let writable = rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).is_ok();
        (writable && reachable_by_all(parent)).then(|| Work::inside(parent, 0o755))
    }

    fn inside(parent: &Path, mode: u32) -> Work {
        let dir =
            tempfile::Builder::new().prefix("multi-sync-lab.").tempdir_in(parent).expect("make a temporary folder");
        // The path that processes will report, even if the temporary folder is a symlink.
        let real = dir.path().canonicalize().expect("resolve the temporary folder");
        assert_eq!(real.file_name(), dir.path().file_name());
        set_mode(dir.path(), mode);
        let work = Work { dir };
        set_mode(&work.dir("tmp"), 0o1777);
        set_mode(&work.dir("home"), 0o1777);
        set_mode(&work.dir("state"), 0o1777);
        work
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The path of `name` in the folder, whether it exists or not.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Creates the folder `name` and its parents.
    pub fn dir(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("make {}: {e}", path.display()));
        path
    }

    /// Creates the folder `name`, owned by nobody if the tests run as root.
    pub fn dir_for_nobody(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.dir(name);
        if super::is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap_or_else(|e| panic!("chown {}: {e}", path.display()));
        }
        path
    }

    /// Writes the file `name`, and creates its parents.
    pub fn file(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().expect("a file has a parent")).expect("make the parents of a file");
        fs::write(&path, content).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
        path
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Commands have this path in their environment: processes that they left, perhaps because a test failed, are killed here.
        if let Some(path) = self.path().to_str() {
            processes::kill_until_gone(|| processes::marked(path));
        }
        // Without root, folders that a test made unreadable have to be made readable first.
        if fs::remove_dir_all(self.path()).is_err() {
            open_folders(self.path());
            let _ = fs::remove_dir_all(self.path());
        }
    }
}

fn open_folders(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_folders(&entry.path());
        }
    }
}

/// Sets the exact mode, whatever the umask.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .unwrap_or_else(|e| panic!("chmod {mode:o} {}: {e}", path.display()));
}

/// Whether other users can reach `path`: each folder in it, and the path itself, has `x` for others.
pub fn reachable_by_all(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|real| {
        real.ancestors().all(|step| fs::metadata(step).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0))
    })
}
