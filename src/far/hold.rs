//! Keeps the rsyncs of a run in one directory of another machine, whatever its path leads to later.
//!
//! A single rsync enters its source once. With several rsyncs, each looks its source up by path, and deletions would empty DEST if another directory had that
//! path by then. Therefore a shell there enters the directory, checks which directory it has entered, and only then becomes the rsync that sends `.`. If
//! something is renamed, unmounted or replaced after that, it does not matter, because nothing is looked up by its path any more (rsync 3.2.7 and 3.5.0,
//! strace(1)). If the shell has entered another directory, it sends nothing, and prints [`LOST`].
//!
//! All this is in the words that start rsync there (`--rsync-path`), for every login shell that reads single quotes literally: sh, bash, dash, fish, csh.
//! Whether it works is found by trying ([`Entry::question`]), not by asking which programs exist.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use bstr::ByteSlice;

use crate::file_system;

/// Printed by a launch that has found another directory.
pub const LOST: &[u8] = b"multi-sync: the source is not the directory that it was";
/// How the lines of an answer begin.
const HELD: &[u8] = b"multi-sync-held ";
const HOME: &[u8] = b"multi-sync-home ";
const DIRECTORY: &[u8] = b"multi-sync-directory ";
/// Device and inode, and the creation time if it is known, because ext4 soon gives the inode of a removed file to a new one. Uses stat of GNU or busybox,
/// otherwise that of BSD.
const IDENTITY: &str = r#"$(stat -c "%d:%i:%W" . 2>/dev/null || stat -f "%d:%i:%B" . 2>/dev/null)"#;
/// A directory there, and the words that start rsync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path as `cd` takes it.
    directory: Vec<u8>,
    /// Its path as rsync has it. A relative path begins at the directory where a login begins.
    path: Vec<u8>,
    rsync: Vec<u8>,
}

/// A directory that was entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    entry: Entry,
    /// Device and inode.
    pub identity: (u64, u64),
    /// The value that the shell has computed for [`IDENTITY`].
    word: String,
    /// The path that rsync prints for this directory when it is held, and the path that one rsync would print.
    pub printed: (Vec<u8>, Vec<u8>),
}

impl Entry {
    /// How a directory is entered; `None` if a shell could interpret characters of the path or of the words that start rsync.
    pub fn of(path: &[u8], rsync: &[u8]) -> Option<Entry> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/+,@:".contains(&byte) || !byte.is_ascii();
        let is_plain_word = |byte: u8| is_plain(byte) || b" =%~".contains(&byte);
        if !path.iter().copied().all(is_plain)
            || !rsync.iter().copied().all(is_plain_word)
            || rsync.iter().all(|byte| *byte == b' ')
        {
            return None;
        }
        let directory = if path.starts_with(b"/") { path.to_vec() } else { [b"./", path].concat() };
        Some(Entry { directory, path: path.to_vec(), rsync: rsync.to_vec() })
    }

    /// Words that start rsync in the directory, and print which directory that is.
    pub fn question(&self) -> OsString {
        let says = format!(
            "echo {}{IDENTITY} $(stat -f -c %T . 2>/dev/null) >&2 && echo \"{}$H\" >&2 && echo \"{}$(pwd -P)\" >&2",
            HELD.as_bstr(),
            HOME.as_bstr(),
            DIRECTORY.as_bstr()
        );
        self.words(b"H=$(pwd -P); ", says.as_bytes(), b"exit 1")
    }

    fn words(&self, before: &[u8], then: &[u8], or: &[u8]) -> OsString {
        let (directory, rsync) = (&self.directory[..], &self.rsync[..]);
        let parts: [&[u8]; 10] = [
            b"sh -c '",
            before,
            b"cd -P -- ",
            directory,
            b" 2>/dev/null && ",
            then,
            b" || { ",
            or,
            b"; }; exec ",
            rsync,
        ];
        OsString::from_vec([&parts.concat()[..], b" \"$@\"' sh"].concat())
    }

    /// Reads the standard error of an rsync that was started with [`Entry::question`]; `None` if it is not certain that this directory can be recognised
    /// again.
    pub fn answered<'a>(self, lines: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Hold> {
        let said = |name: &[u8]| lines.clone().filter_map(|line| line.strip_prefix(name)).last();
        let mut words = said(HELD)?.split_str(" ");
        let word = words.next()?;
        let (device, rest) = word.split_once_str(":")?;
        let (inode, made) = rest.split_once_str(":")?;
        // Busybox prints no creation time.
        if !made.iter().all(|byte| byte.is_ascii_digit() || b"-?%W".contains(byte)) {
            return None;
        }
        if words.next().is_some_and(file_system::named_renumbers) {
            return None;
        }
        let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok();
        let identity = (number(device)?, number(inode)?);
        let word = String::from_utf8(word.to_vec()).ok()?;
        let (home, physical) = (said(HOME)?, said(DIRECTORY)?);
        if !home.starts_with(b"/") || !physical.starts_with(b"/") {
            return None;
        }
        let typed = match &self.path[..] {
            b"" => home.to_vec(),
            path if path.starts_with(b"/") => path.to_vec(),
            path => [home.trim_end_with(|letter| letter == '/'), b"/", path].concat(),
        };
        Some(Hold { entry: self, identity, word, printed: (physical.to_vec(), typed) })
    }
}

impl Hold {
    /// Words that start rsync in this directory, or print [`LOST`]. In the latter case the rsync here ends with its exit code for a stream that breaks off,
    /// and never with success.
    pub fn rsync_path(&self) -> OsString {
        let is_it = format!("test \"{IDENTITY}\" = \"{}\"", self.word);
        let or = [b"echo \"", LOST, b"\" >&2; exit 12"].concat();
        self.entry.words(b"", is_it.as_bytes(), &or)
    }

    /// Whether rsync prints this directory as one rsync would.
    pub fn is_named_as_typed(&self) -> bool {
        self.printed.0 == self.printed.1
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    use super::*;
    use crate::supervise::{Ended, Invocation, Stream, Supervisor};

    /// How a command has ended, and its lines on standard output and on standard error.
    type Ran = (Ended, Vec<Vec<u8>>, Vec<Vec<u8>>);

    /// Runs the words of a remote command in a login shell.
    fn run(shell: &str, home: &Path, words: &OsString) -> Option<Ran> {
        let command = OsString::from_vec([words.as_bytes(), b" --server . ."].concat());
        let invocation = Invocation::new(shell, vec!["-c".into(), command], home);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let ended = Supervisor::default().run(&invocation, &mut |stream, line| {
            if stream == Stream::Stdout { out.push(line.to_vec()) } else { err.push(line.to_vec()) }
        });
        Some((ended.ok()?, out, err))
    }

    fn hold(shell: &str, home: &Path, entry: &Entry) -> Option<Hold> {
        let (_, _, said) = run(shell, home, &entry.question())?;
        entry.clone().answered(said.iter().map(|line| &line[..]))
    }

    #[test]
    fn every_login_shell_enters_the_directory_and_notices_another() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().canonicalize().unwrap();
        for dir in ["first", "second"] {
            std::fs::create_dir(at.join(dir)).unwrap();
        }
        symlink("first", at.join("current")).unwrap();
        let absolute = at.join("current").into_os_string().into_vec();
        let mut shells = 0;
        for shell in ["sh", "bash", "dash", "fish", "csh", "tcsh", "zsh", "ksh"] {
            if run(shell, &at, &"true".into()).is_none_or(|ran| ran.0 != Ended::Code(0)) {
                continue;
            }
            shells += 1;
            for path in [&absolute[..], b"current"] {
                let entry = Entry::of(path, b"env A=b echo").unwrap();
                let held = hold(shell, &at, &entry).unwrap_or_else(|| panic!("{shell}"));
                let first = at.join("first").metadata().unwrap();
                assert_eq!(held.identity, (first.dev(), first.ino()), "{shell}");
                let bytes = |name: &str| at.join(name).into_os_string().into_vec();
                assert_eq!(held.printed, (bytes("first"), bytes("current")), "{shell}");
                assert!(!held.is_named_as_typed());
                let sent = run(shell, &at, &held.rsync_path()).unwrap();
                assert_eq!(sent, (Ended::Code(0), vec![b"--server . .".to_vec()], Vec::new()), "{shell}");
                // A directory with the same inode but another creation time, as on ext4 after a removal.
                let made_later = Hold { word: format!("{}:{}:1", first.dev(), first.ino()), ..held.clone() };
                assert_eq!(run(shell, &at, &made_later.rsync_path()).unwrap().0, Ended::Code(12), "{shell}");
                for leads_to in [Some("second"), None] {
                    std::fs::remove_file(at.join("current")).unwrap();
                    leads_to.iter().for_each(|to| symlink(to, at.join("current")).unwrap());
                    let lost = run(shell, &at, &held.rsync_path()).unwrap();
                    assert_eq!(lost, (Ended::Code(12), Vec::new(), vec![LOST.to_vec()]), "{shell}");
                }
                symlink("first", at.join("current")).unwrap();
            }
        }
        assert!(shells > 1);
    }

    #[test]
    fn what_a_shell_could_read_otherwise_is_not_entered() {
        for (path, rsync) in [
            ("/a b", "rsync"),
            ("/a'b", "rsync"),
            ("/a*", "rsync"),
            ("~/a", "rsync"),
            ("/a\nb", "rsync"),
            ("/$a", "rsync"),
            ("/a", "rsync; rm x"),
            ("/a", "sh -c 'rsync'"),
            ("/a", "rsync!"),
            ("/a", " "),
            ("/a", ""),
        ] {
            assert_eq!(Entry::of(path.as_bytes(), rsync.as_bytes()), None, "{path} {rsync}");
        }
        for (path, rsync) in [("/a-b/c.d", "sudo -n rsync"), ("-a", "~/bin/rsync"), ("", "rsync"), ("/\u{e4}", "rsync")]
        {
            assert!(Entry::of(path.as_bytes(), rsync.as_bytes()).is_some(), "{path} {rsync}");
        }
    }

    #[test]
    fn an_answer_is_read_behind_a_banner_or_not_at_all() {
        let entry = || Entry::of(b"data", b"rsync").unwrap();
        let read = |text: &str| entry().answered(text.as_bytes().lines());
        let whole = "Welcome\nmulti-sync-held 7:9:1 ext2/ext3\nmulti-sync-home /root\nmulti-sync-directory /root/data";
        assert_eq!(read(whole).map(|held| (held.identity, held.is_named_as_typed())), Some(((7, 9), true)));
        for (part, other) in [
            ("7:9:1", ""),
            ("7:9:1", "9"),
            ("7:9:1", "7:9"),
            ("7:9:1", "7:a:1"),
            ("7:9:1", "7:9:$(x)"),
            ("ext2/ext3", "overlayfs"),
            ("multi-sync-home /root\n", ""),
            ("/root/data", "data"),
        ] {
            assert_eq!(read(&whole.replace(part, other)), None, "{part} {other}");
        }
    }
}
