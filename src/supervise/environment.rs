//! The environment of a child. A child starts in a directory of the run, often in a source. Relative paths in the environment must not be looked up there:
//! otherwise root would run programs that the owner of a tree has put into it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lists of directories with colons between them; an empty one means the working directory.
const FOLDERS: [&str; 4] = ["PATH", "LD_LIBRARY_PATH", "GCONV_PATH", "LOCPATH"];
/// Names of one file or directory.
const FILES: [&str; 6] = ["HOME", "OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES", "SSH_AUTH_SOCK", "TZDIR"];
/// Looked up in `PATH` if it has no slash.
const PROGRAMS: [&str; 3] = ["RSYNC_SHELL", "SSH_ASKPASS", "SSH_SK_PROVIDER"];
/// A command that rsync runs with a shell, in place of a connection to a daemon.
const CONNECTS: &str = "RSYNC_CONNECT_PROG";

/// Sets the variables that must differ from those of this process.
pub(super) fn set(command: &mut Command, cwd: &Path) {
    let here = std::env::current_dir().ok();
    let env = |name: &str| std::env::var_os(name);
    for (name, value) in changes(env, here.as_deref(), cwd) {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// The variables to set, or to remove.
fn changes(
    env: impl Fn(&str) -> Option<OsString>,
    here: Option<&Path>,
    cwd: &Path,
) -> Vec<(&'static str, Option<OsString>)> {
    let mut changes = Vec::new();
    // Messages and numbers have to be parsed, so they are in the C locale; names are in the user's character set. LC_ALL would override both.
    if let Some(all) = env("LC_ALL") {
        changes.push(("LC_ALL", None));
        if !all.is_empty() {
            changes.push(("LC_CTYPE", Some(all)));
        }
    }
    changes.extend(["LC_MESSAGES", "LC_NUMERIC"].map(|name| (name, Some("C".into()))));
    if here == Some(cwd) {
        return changes;
    }
    for name in FOLDERS {
        let listed = env(name).filter(|list| !list.is_empty());
        changes.extend(listed.and_then(|list| folders(&list, here)).map(|list| (name, Some(list))));
    }
    let absolute = |file: &OsStr| here.map(|here| here.join(file).into_os_string());
    for name in FILES.into_iter().chain(PROGRAMS) {
        let relative = env(name).filter(|file| !file.is_empty() && !file.as_bytes().starts_with(b"/"));
        let found_in_path = |file: &OsString| PROGRAMS.contains(&name) && !file.as_bytes().contains(&b'/');
        changes.extend(relative.filter(|file| !found_in_path(file)).map(|file| (name, absolute(&file))));
    }
    let library = |file: &[u8]| file.contains(&b'/') && !file.starts_with(b"/");
    if let Some(files) = env("LD_PRELOAD") {
        let files = files.as_bytes().split(|byte| matches!(byte, b':' | b' '));
        let files: Vec<&[u8]> = files.filter(|file| !file.is_empty()).collect();
        if files.iter().any(|file| library(file)) {
            let files = files.iter().filter_map(|file| {
                if library(file) { absolute(OsStr::from_bytes(file)) } else { Some(OsStr::from_bytes(file).to_owned()) }
            });
            changes.push(("LD_PRELOAD", Some(joined(files))));
        }
    }
    let connects = env(CONNECTS).filter(|program| !program.is_empty());
    changes.extend(connects.zip(here).map(|(program, here)| (CONNECTS, Some(in_dir(here, &program)))));
    changes
}

/// The list without relative directories; `None` if it contains none. A directory with a colon in its name cannot be told apart from two directories.
fn folders(list: &OsStr, here: Option<&Path>) -> Option<OsString> {
    if std::env::split_paths(list).all(|folder| folder.is_absolute()) {
        return None;
    }
    let absolute = |folder: PathBuf| if folder.is_absolute() { Some(folder) } else { Some(here?.join(folder)) };
    let can_be_listed = |folder: &OsString| !folder.as_bytes().contains(&b':');
    Some(joined(std::env::split_paths(list).filter_map(absolute).map(PathBuf::into_os_string).filter(can_be_listed)))
}

fn joined(files: impl Iterator<Item = OsString>) -> OsString {
    files.collect::<Vec<_>>().join(OsStr::new(":"))
}

/// A shell command that runs in this directory. rsync expands `%` in it.
fn in_dir(dir: &Path, program: &OsStr) -> OsString {
    let mut command = b"cd '".to_vec();
    for byte in dir.as_os_str().as_bytes() {
        match byte {
            b'\'' => command.extend(br"'\''"),
            b'%' => command.extend(b"%%"),
            byte => command.push(*byte),
        }
    }
    command.extend(b"' && ");
    command.extend_from_slice(program.as_bytes());
    OsString::from_vec(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(name: &str, value: &str) -> Option<Option<String>> {
        let env = |asked: &str| (asked == name).then(|| OsString::from(value));
        let changes = changes(env, Some(Path::new("/it's 5%")), Path::new("/source"));
        changes
            .into_iter()
            .filter(|(name, _)| !["LC_MESSAGES", "LC_NUMERIC"].contains(name))
            .find(|(changed, _)| *changed == name)
            .map(|(_, value)| value.map(|value| value.into_string().unwrap()))
    }

    #[test]
    fn nothing_is_looked_up_in_the_directory_of_a_child() {
        for (name, value, expected) in [
            ("PATH", "/bin:bin:/x", Some("/bin:/it's 5%/bin:/x")),
            ("PATH", "/bin:", Some("/bin:/it's 5%/")),
            ("PATH", "/bin:/x", None),
            ("LD_LIBRARY_PATH", ":/x", Some("/it's 5%/:/x")),
            ("LD_LIBRARY_PATH", "", None),
            ("HOME", "h", Some("/it's 5%/h")),
            ("HOME", "/h", None),
            ("RSYNC_SHELL", "./sh", Some("/it's 5%/./sh")),
            ("RSYNC_SHELL", "sh", None),
            ("LD_PRELOAD", "libx.so ./l.so", Some("libx.so:/it's 5%/./l.so")),
            ("LD_PRELOAD", "libx.so /l.so", None),
            ("RSYNC_CONNECT_PROG", "./c %H", Some(r"cd '/it'\''s 5%%' && ./c %H")),
            ("RSYNC_CONNECT_PROG", "", None),
            ("LC_ALL", "", None),
        ] {
            assert_eq!(changed(name, value).flatten().as_deref(), expected, "{name}={value}");
        }
    }

    #[test]
    fn names_are_the_users_and_messages_are_not() {
        let env = |name: &str| (name == "LC_ALL").then(|| OsString::from("de_DE.UTF-8"));
        let set = changes(env, Some(Path::new("/here")), Path::new("/here"));
        let expected = [
            ("LC_ALL", None),
            ("LC_CTYPE", Some("de_DE.UTF-8")),
            ("LC_MESSAGES", Some("C")),
            ("LC_NUMERIC", Some("C")),
        ];
        assert_eq!(set, expected.map(|(name, value)| (name, value.map(OsString::from))));
    }
}
