//! Options that name files of this machine, made absolute: rsync is started in another working directory than multi-sync.
//!
//! Only names that rsync resolves against its working directory are touched. Names relative to the destination (`--temp-dir`,
//! `--backup-dir`, `--link-dest`, `--partial-dir` ...) and names on another host stay as they are.

use super::rule::Rule;
use super::table::Takes;
use super::{Options, Setting};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

impl Options {
    /// The same options with every relative name of a file on this machine resolved against `cwd`, which must be absolute. The
    /// text inside filter files is not looked at: a relative `merge` in there stays relative.
    pub fn absolute_files(&self, cwd: &Path) -> Options {
        Options { settings: self.settings.iter().map(|setting| absolute(setting, cwd)).collect() }
    }
}

fn absolute(setting: &Setting, cwd: &Path) -> Setting {
    let mut setting = setting.clone();
    let Some(value) = &setting.value else { return setting };
    let value = match (setting.spec.takes, Rule::of(&setting)) {
        (Takes::Output, _) => join(cwd, value),
        (Takes::Input, _) if !(value == "-" || is_remote(value)) => join(cwd, value),
        (Takes::Command, _) => absolute_command(value, cwd),
        (_, Some(Rule::Merge { head, file })) if file != b"-" => {
            // `.C` names its file only by leaving it out.
            let gap: &[u8] = if matches!(head.last(), Some(b' ' | b'_')) { b"" } else { b" " };
            let file = join(cwd, OsStr::from_bytes(file));
            OsString::from_vec([head, gap, file.as_bytes()].concat())
        }
        _ => return setting,
    };
    setting.value = Some(value);
    setting
}

/// An empty name stays empty: rsync's complaint about it is better than the directory.
fn join(cwd: &Path, name: &OsStr) -> OsString {
    if name.is_empty() { OsString::new() } else { cwd.join(name).into_os_string() }
}

/// `host:file` or `:file`, which only `--files-from` knows.
fn is_remote(name: &OsStr) -> bool {
    name.as_bytes().iter().find(|byte| matches!(byte, b':' | b'/')) == Some(&b':')
}

/// A remote shell command (`--rsh`, `RSYNC_RSH`) whose program is a relative path with a slash, with that path made absolute.
///
/// rsync splits such a command at spaces only, and reads `'…'` and `"…"` with the quote doubled inside (rsync(1), `--rsh`). A
/// program without a slash is found through `PATH` and stays.
pub fn absolute_command(command: &OsStr, cwd: &Path) -> OsString {
    let text = command.as_bytes();
    let start = text.iter().position(|&byte| byte != b' ').unwrap_or(text.len());
    let Some((program, rest)) = first_word(&text[start..]) else { return command.to_owned() };
    if !program.contains(&b'/') || program.starts_with(b"/") {
        return command.to_owned();
    }
    let mut out = vec![b'\''];
    for &byte in cwd.join(OsStr::from_bytes(&program)).as_os_str().as_bytes() {
        out.push(byte);
        if byte == b'\'' {
            out.push(byte);
        }
    }
    out.push(b'\'');
    out.extend_from_slice(rest);
    OsString::from_vec(out)
}

/// The first word without its quotes and what follows it; `None` if a quote stays open.
fn first_word(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut quote = None;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match quote {
            None if byte == b' ' => break,
            None if matches!(byte, b'\'' | b'"') => quote = Some(byte),
            Some(open) if byte == open && text.get(at + 1) == Some(&open) => {
                word.push(byte);
                at += 1;
            }
            Some(open) if byte == open => quote = None,
            _ => word.push(byte),
        }
        at += 1;
    }
    quote.is_none().then_some((word, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_this_machine_become_absolute_and_others_stay() {
        for (typed, wanted) in [
            ("--exclude-from=x", "--exclude-from=/c d/x"),
            ("--include-from=./x", "--include-from=/c d/./x"),
            ("--exclude-from=/x", "--exclude-from=/x"),
            ("--exclude-from=-", "--exclude-from=-"),
            ("--exclude-from=", "--exclude-from="),
            ("--files-from=l", "--files-from=/c d/l"),
            ("--files-from=h:l", "--files-from=h:l"),
            ("--files-from=:l", "--files-from=:l"),
            ("--files-from=./h:l", "--files-from=/c d/./h:l"),
            ("--password-file=p", "--password-file=/c d/p"),
            ("--early-input=p", "--early-input=/c d/p"),
            ("--log-file=-", "--log-file=/c d/-"),
            ("--write-batch=b", "--write-batch=/c d/b"),
            ("--only-write-batch=b", "--only-write-batch=/c d/b"),
            ("--read-batch=b", "--read-batch=/c d/b"),
            ("--exclude=. x", "--exclude=. x"),
            ("--temp-dir=t", "--temp-dir=t"),
            ("--backup-dir=t", "--backup-dir=t"),
            ("--link-dest=t", "--link-dest=t"),
            ("--partial-dir=t", "--partial-dir=t"),
            ("--rsync-path=./r", "--rsync-path=./r"),
            ("--remote-option=--log-file=x", "--remote-option=--log-file=x"),
            ("--filter=merge x y", "--filter=merge /c d/x y"),
            ("--filter=._x", "--filter=._/c d/x"),
            ("--filter=.C", "--filter=.C /c d/.cvsignore"),
            ("--filter=. -", "--filter=. -"),
            ("--filter=: x", "--filter=: x"),
            ("--filter=- x", "--filter=- x"),
            ("--rsh=ssh -i k", "--rsh=ssh -i k"),
            ("--rsh=./ssh -i k", "--rsh='/c d/./ssh' -i k"),
        ] {
            let absolute = Options::parse(&[typed]).unwrap().absolute_files(Path::new("/c d"));
            assert_eq!(absolute, Options::parse(&[wanted]).unwrap(), "{typed}");
        }
    }

    #[test]
    fn commands_are_quoted_as_rsync_reads_them() {
        let shown = |command: &str| absolute_command(OsStr::new(command), Path::new("/it's")).into_string().unwrap();
        assert_eq!(shown("  a/b  -x"), "'/it''s/a/b'  -x");
        assert_eq!(shown("'a d''x\"y/b' 'z'"), "'/it''s/a d''x\"y/b' 'z'");
        assert_eq!(shown("\"a\"/b"), "'/it''s/a/b'");
        assert_eq!(shown("/bin/ssh x/y"), "/bin/ssh x/y");
        assert_eq!(shown("ssh x/y"), "ssh x/y");
        assert_eq!(shown("'a/b"), "'a/b");
        assert_eq!(shown(""), "");
    }
}
