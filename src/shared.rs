//! A bucket directory that source hosts also see (by NFS or similar): they read their scripts there, so that only one line has to be sent.
//!
//! A host may log in as another user. Therefore files in it can be read by everybody who knows their names, but the names are long, random, and cannot be
//! listed.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::{Builder, NamedTempFile};

use crate::bucket::BucketDir;
use crate::error::Result;
use crate::run_dir::layout::SCRIPTS;
use crate::shell;

const FILE_MODE: u32 = 0o644;
/// The length of a name that cannot be guessed.
const RANDOM: usize = 16;
/// How many seconds a host waits for a script, because a network file system may show it late.
const LATEST: u32 = 10;

/// A file below `--buckets DIR`, by which a host shows that it sees the directory. It is removed with this value.
#[derive(Debug)]
pub struct Token(NamedTempFile);

impl Token {
    /// Creates the file. `None` if it cannot be created, or if other users could replace our scripts.
    pub fn place(parent: &Path) -> Option<Token> {
        let parent = std::path::absolute(parent).ok()?;
        if !parent.canonicalize().ok()?.ancestors().all(only_we_replace_in) {
            return None;
        }
        let mut file = readable(&parent, ".multi-sync-").ok()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        write!(file, "{} {}", std::process::id(), now.as_nanos()).ok()?;
        Some(Token(file))
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The folder for the scripts of a run.
#[derive(Debug)]
pub struct Scripts(PathBuf);

impl Scripts {
    /// Creates the folder in the bucket directory.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(buckets: &BucketDir) -> Result<Scripts> {
        buckets.passable(SCRIPTS).map(Scripts)
    }

    /// Writes a script for hosts to read.
    ///
    /// # Errors
    /// The file cannot be written: then the script itself has to be sent.
    pub fn write(&self, script: &[u8]) -> io::Result<Script> {
        let mut file = readable(&self.0, "")?;
        file.write_all(script)?;
        // The file is closed, so that other machines see its complete contents (nfs(5), close-to-open).
        Ok(Script { path: file.into_temp_path(), size: script.len() })
    }
}

/// A script that a host reads. It is removed with this value.
#[derive(Debug)]
pub struct Script {
    path: tempfile::TempPath,
    size: usize,
}

impl Script {
    /// The command that is sent instead, in the form of [`shell::body`]: it runs the script, or ends with [`shell::NO_SCRIPT`] if the script cannot be seen.
    pub fn that_reads(&self) -> Vec<u8> {
        let mut script = b"o=".to_vec();
        script.extend(shell::quote(self.path.as_os_str()));
        let (size, code) = (self.size, shell::NO_SCRIPT);
        script.extend(
            format!(
                "\nz=0\nuntil [ \"$(wc -c <\"$o\" || echo 0)\" -eq {size} ]; do\n\
                 z=$((z + 1)); if [ $z -gt {LATEST} ]; then c={code}; break; fi; sleep 1\ndone\n\
                 [ -n \"$c\" ] || . \"$o\"\n"
            )
            .into_bytes(),
        );
        script
    }
}

/// Whether only this user and root can rename our files in a directory (inode(7), on the sticky bit; the owner of the directory always can).
fn only_we_replace_in(dir: &Path) -> bool {
    const GROUP_OR_OTHERS: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    fs::metadata(dir).is_ok_and(|found| {
        let ours = found.uid() == 0 || found.uid() == rustix::process::geteuid().as_raw();
        ours && (found.mode() & GROUP_OR_OTHERS == 0 || found.mode() & STICKY != 0)
    })
}

fn readable(folder: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    let mode = fs::Permissions::from_mode(FILE_MODE);
    let made = Builder::new().prefix(prefix).rand_bytes(RANDOM).permissions(mode.clone()).tempfile_in(folder)?;
    // Set explicitly, because the umask does not apply.
    made.as_file().set_permissions(mode)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsync::command::Invocation;
    use crate::supervise::{Agent, Ended, Supervisor, by_line};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn run(script: Vec<u8>) -> (Ended, Vec<Vec<u8>>) {
        let mut shell =
            Agent::start(&Invocation::new("sh", vec!["-s".into()], "/"), &Supervisor::default()).unwrap().unwrap();
        let mut lines = Vec::new();
        let ended = by_line(&mut |_, line| lines.push(line.to_vec()), |each| {
            Supervisor::default().run_there(&mut shell, &script, None, &|_| {}, each)
        });
        (ended.unwrap(), lines)
    }

    #[test]
    fn a_script_is_read_from_there() {
        let parent = tempfile::Builder::new().prefix("it's $HOME").tempdir().unwrap();
        let buckets = BucketDir::create(Some(parent.path()), &[], None).unwrap();
        let scripts = Scripts::create(&buckets).unwrap();
        let told =
            Invocation::new("sh", vec!["-c".into(), "echo \"$1\"; exit 23".into(), "sh".into(), "a b".into()], "/");
        let script = scripts.write(&shell::body(&told)).unwrap();
        let path = script.path.to_path_buf();
        assert_eq!(run(script.that_reads()), (Ended::Code(23), vec![b"a b".to_vec()]));
        // Another user can open a file with a known name, but cannot find names.
        assert_eq!((mode(&path), mode(path.parent().unwrap()), mode(buckets.path())), (0o644, 0o711, 0o711));
        drop(script);
        assert!(!path.exists());
    }

    #[test]
    fn who_does_not_see_it_says_so() {
        let parent = tempfile::tempdir().unwrap();
        let buckets = BucketDir::create(Some(parent.path()), &[], None).unwrap();
        let script = Scripts::create(&buckets).unwrap().write(b"exit 0\n").unwrap();
        fs::write(&script.path, b"exit").unwrap();
        assert_eq!(run(script.that_reads()).0, Ended::Code(shell::NO_SCRIPT));
    }

    #[test]
    fn where_anybody_writes_nothing_is_read() {
        let parent = tempfile::tempdir().unwrap();
        for (mode, shared) in [(0o700, true), (0o755, true), (0o1777, true), (0o777, false), (0o770, false)] {
            fs::set_permissions(parent.path(), fs::Permissions::from_mode(mode)).unwrap();
            let token = Token::place(parent.path());
            assert_eq!(token.is_some(), shared, "{mode:o}");
        }
        // The same for a directory above it, and for one that belongs to another user.
        let below = parent.path().join("below");
        fs::create_dir(&below).unwrap();
        assert!(Token::place(&below).is_none());
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Token::place(&below).is_some());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(parent.path(), Some(12345), None).unwrap();
            assert!(Token::place(&below).is_none());
        }
        assert_eq!(fs::read_dir(&below).unwrap().count(), 0);
    }
}
