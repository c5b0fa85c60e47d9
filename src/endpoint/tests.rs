//! Words as the real rsync reads them.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::prelude::*;

use super::*;

/// A temporary directory with an empty `src` and a remote shell `rsh` that records its arguments, plays a daemon up to the module name, and gives up.
struct Real {
    dir: tempfile::TempDir,
}

impl Real {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        let real = Real { dir };
        real.script(
            "rsh",
            r#"printf '%s\0' "$@" >"$NOTES"
            case "$*" in *' --daemon '*)
                echo '@RSYNCD: 31.0 md5'; read -r greeting; IFS= read -r module; printf '%s\0' "$module" >>"$NOTES";;
            esac
            exit 3"#,
        );
        match run(Command::new("rsync").arg("--version")) {
            Ok(_) => Some(real),
            Err(error) => {
                println!("SKIP: rsync cannot be started: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn script(&self, name: &str, body: &str) {
        fs::write(self.path().join(name), format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(self.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn rsync(&self, cwd: &Path, shell: &str, words: &[&OsStr]) -> Output {
        let mut command = Command::new("rsync");
        command.current_dir(cwd).env("NOTES", self.path().join("notes")).env("HOME", self.path().join("home"));
        for name in ["RSYNC_OLD_ARGS", "RSYNC_PROTECT_ARGS", "RSYNC_PROXY", "RSYNC_PORT", "RSYNC_PARTIAL_DIR"] {
            command.env_remove(name);
        }
        command.arg("-e").arg(self.path().join(shell)).args(words);
        run(&mut command).unwrap()
    }

    /// How rsync reads a destination.
    fn reads(&self, word: &OsStr) -> Seen {
        let notes = self.path().join("notes");
        let _ = fs::remove_file(&notes);
        let output = self.rsync(self.path(), "rsh", &["-nr".as_ref(), "--".as_ref(), "src".as_ref(), word]);
        match (fs::read(&notes), output.status.code()) {
            (Ok(notes), _) => Seen::Remote(notes.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()),
            (Err(_), Some(1 | 5)) => Seen::Refused,
            (Err(_), _) => Seen::Local,
        }
    }
}

#[derive(Debug)]
enum Seen {
    Local,
    Refused,
    /// Arguments of the remote shell, then the requested module if it is a daemon, then nothing.
    Remote(Vec<Vec<u8>>),
}

#[expect(clippy::disallowed_methods, reason = "asks the real rsync in a test")]
fn run(command: &mut Command) -> std::io::Result<Output> {
    command.output()
}

/// If the type reads a word, rsync must read it in the same way; if the type refuses it, rsync must not take it for a local path. Returns whether the type reads
/// it as a place on another machine.
fn agrees(real: &Real, word: &str) -> bool {
    let seen = real.reads(word.as_ref());
    let read = Destination::parse(word.as_ref());
    match (read.as_ref().map(Destination::target), &seen) {
        (Ok(Target::Local), Seen::Local) => {}
        (Ok(Target::Ssh { user, host, path }), Seen::Remote(words)) => {
            let path = if path.is_empty() { b"." } else { path.as_bytes() };
            assert_eq!(login(words), (user.as_deref(), host.as_str()), "{word:?}");
            // rsync protects blanks and shell characters with backslashes, each version in its own way.
            let bare = |path: &[u8]| -> Vec<u8> { path.iter().copied().filter(|&byte| byte != b'\\').collect() };
            assert_eq!(bare(&words[words.len() - 2]), bare(path), "{word:?}");
        }
        (Ok(Target::Daemon { user, host, module, .. }), Seen::Remote(words)) => {
            assert_eq!(login(words), (user.as_deref(), host.as_str()), "{word:?}");
            assert_eq!(OsStr::from_bytes(&words[words.len() - 2]), module, "{word:?}");
            assert!(words.contains(&b"--daemon".to_vec()), "{word:?}");
        }
        (Err(_), Seen::Refused | Seen::Remote(_)) => {}
        _ => panic!("{word:?} is read as {read:?}, by rsync as {seen:?}"),
    }
    let source = Source::parse(word.as_ref());
    assert_eq!(source.as_ref().map(Source::target).ok(), read.as_ref().map(Destination::target).ok(), "{word:?}");
    read.is_ok_and(|read| !read.is_local())
}

/// User and host among the arguments of a remote shell.
fn login(words: &[Vec<u8>]) -> (Option<&str>, &str) {
    let text = |index: usize| std::str::from_utf8(&words[index]).unwrap();
    if text(0) == "-l" { (Some(text(1)), text(2)) } else { (None, text(0)) }
}

#[test]
fn rsync_reads_words_the_same_way() {
    let Some(real) = Real::new() else { return };
    assert!(matches!(real.reads("p".as_ref()), Seen::Local), "the oracle knows a local path");
    assert!(matches!(real.reads("h:p".as_ref()), Seen::Remote(_)), "the oracle knows a machine");
    let atom = prop::sample::select(vec![
        "a", "b", "@", "@", ":", ":", "::", "[", "]", "[", "]", "/", "/", ".", "-", "~", " ", "\\", "1", "%", "rsync:",
        "//",
    ]);
    let word = (prop::bool::weighted(0.3), prop::collection::vec(atom, 0..9))
        .prop_map(|(url, atoms)| format!("{}{}", if url { "rsync://" } else { "" }, atoms.concat()));
    let remote = Cell::new(0);
    proptest!(ProptestConfig::with_cases(400), |(word in word)| {
        remote.set(remote.get() + u32::from(agrees(&real, &word)));
    });
    assert!(remote.get() > 5, "only {} of 400 words lead to another machine", remote.get());
    for word in
        ["u@[fe80::1%eth0]:p", "[u@h]:p", "u@v@[::1]::m", "RSYNC://u@[::1]:8/m", "rsync://u:p@h/m", "h:a b$c;*'"]
    {
        agrees(&real, word);
    }
}

fn names(dir: &Path) -> BTreeSet<OsString> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn what_arrives_is_the_contents_of_the_base_or_the_name_in_it() {
    let Some(real) = Real::new() else { return };
    let tree = real.path().join("tree");
    for name in ["x/src/sub", "x/src/...", ".x/y", ".../z", "-d/e", "a:b/c"] {
        fs::create_dir_all(tree.join(name)).unwrap();
    }
    fs::write(tree.join("x/src/f"), "f").unwrap();
    symlink("x/src", tree.join("lnk")).unwrap();
    let mut seen = BTreeSet::new();
    let words = "x/src x/src/ x/src// x/src/. x/src/./ x/src/.// x/src//. x//src x/./src ./x/src . ./ .// ././ x/.. x/../ x/..// x/../. x/../x \
                 x/src/.. lnk lnk/ lnk// lnk/. ./lnk .x .x/ ... .../ .../. x/src/... -d -d/ ./a:b ./a:b/ a:b/. x/src/f x/src/../src";
    for word in words.split_whitespace() {
        let read = Source::parse(word.as_ref()).unwrap();
        if !read.is_local() {
            assert_eq!(word, "a:b/.", "only a colon names a machine");
            continue;
        }
        let to = tempfile::tempdir_in(real.path()).unwrap();
        let output =
            real.rsync(&tree, "rsh", &["-a".as_ref(), "--".as_ref(), word.as_ref(), to.path().join("").as_os_str()]);
        assert!(output.status.success(), "rsync {word}: {output:?}");
        let base = read.base(&tree);
        match read.name() {
            None => assert_eq!(names(to.path()), names(&base), "{word}"),
            Some(name) => {
                assert_eq!(names(to.path()), BTreeSet::from([name.to_owned()]), "{word}");
                let (from, to) = (base.join(name), to.path().join(name));
                assert_eq!(
                    fs::symlink_metadata(&from).unwrap().file_type(),
                    fs::symlink_metadata(&to).unwrap().file_type()
                );
                assert!(!to.is_dir() || to.is_symlink() || names(&to) == names(&from), "{word}");
            }
        }
        seen.insert(read.form() == Form::Named);
    }
    assert_eq!(seen.len(), 2, "both forms were seen");
}

/// All paths below a directory.
fn tree_of(dir: &Path, found: &mut BTreeSet<PathBuf>) {
    for name in names(dir) {
        let path = dir.join(name);
        if path.is_dir() && !path.is_symlink() {
            tree_of(&path, found);
        }
        found.insert(path);
    }
}

#[test]
fn a_directory_spelling_goes_where_the_typed_word_goes() {
    let Some(real) = Real::new() else { return };
    fs::write(real.path().join("src/f"), "f").unwrap();
    fs::write(real.path().join("src/g"), "g").unwrap();
    // A remote shell that runs the command line on this machine, in the home directory.
    real.script("here", r#"[ "$1" = -l ] && shift 2; shift; cd "$HOME" && exec sh -c "$*""#);
    let home = real.path().join("home");
    let copy = |cwd: &Path, word: &OsStr| {
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(home.join("there/in")).unwrap();
        fs::create_dir(home.join("aim")).unwrap();
        fs::write(home.join("file"), "").unwrap();
        symlink("aim", home.join("lnk")).unwrap();
        symlink("nowhere", home.join("gone")).unwrap();
        let from = real.path().join("src/");
        let output = real.rsync(cwd, "here", &["-r".as_ref(), "--".as_ref(), from.join("").as_os_str(), word]);
        let mut found = BTreeSet::new();
        tree_of(&home, &mut found);
        (output.status.code(), found)
    };
    let mut arrived = 0;
    let plain = "new new/ new/. new/.. there there// there/in/.. lnk lnk/ lnk/.. gone file no/new -x ./a:b ~";
    for path in plain.split(' ').chain(["a b", ""]) {
        for word in [path.to_owned(), format!("u@[::1]:{path}")] {
            let Ok(read) = Destination::parse(word.as_ref()) else {
                assert!(path.is_empty() || path.starts_with('-'), "{word}");
                continue;
            };
            let typed = copy(&home, read.original());
            arrived += usize::from(typed.0 == Some(0));
            assert_eq!(copy(Path::new("/"), &read.as_directory(&home)), typed, "{word}");
            if read.is_local() {
                assert_eq!(copy(Path::new("/"), &read.as_typed(&home)), typed, "{word}");
            }
        }
    }
    assert!(arrived > 10, "only {arrived} copies went anywhere");
}
