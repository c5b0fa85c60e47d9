//! A case: a world, the arguments of one rsync in it, and the limits of multi-sync; as a value, as two command lines, and as a script.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::place::{MODULE, Place};
use super::world::World;
use crate::support::command::quoted;
use crate::support::work::NOBODY;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub seed: u64,
    pub world: World,
    /// Words that only make sense together form a group; the shrinker drops whole groups.
    pub options: Vec<Vec<String>>,
    /// The working directory, relative to the world.
    pub cwd: String,
    /// The sources as typed; a leading [`ABSOLUTE`] stands for the path of the world.
    pub sources: Vec<Vec<u8>>,
    pub destination: Vec<u8>,
    pub files: u64,
    pub bytes: Option<u64>,
    pub processes: u64,
    /// Whether it runs as nobody instead of root.
    pub nobody: bool,
    pub umask: u32,
    /// The file in the working directory that is passed as standard input, through a pipe.
    pub stdin: Option<String>,
    pub place: Place,
}

/// With this variable there is a first pass whenever that is exact.
pub const FIRST_PASS: &str = "ORACLE_FIRST_PASS";

pub const ABSOLUTE: u8 = b'%';

impl Case {
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.options.iter().flatten().map(String::as_str)
    }

    /// Whether this is one of the words.
    pub fn has(&self, word: &str) -> bool {
        self.words().any(|other| other == word)
    }

    /// Whether a word begins with this.
    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.words().any(|word| word.starts_with(prefix))
    }

    /// Whether a group of letters contains this one.
    pub fn has_letter(&self, letter: char) -> bool {
        self.words().any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(letter))
    }

    /// Whether rsync prints its changes.
    pub fn itemizes(&self) -> bool {
        self.has_letter('i') || self.has_prefix("--out-format")
    }

    fn paths(&self, world: &Path) -> Vec<OsString> {
        let destination = match (self.place.is_remote(), self.destination.strip_prefix(b"../")) {
            (false, _) => self.destination.clone(),
            (true, Some(rest)) => [b"%/", rest].concat(),
            (true, None) if self.destination.first() == Some(&ABSOLUTE) => self.destination.clone(),
            (true, None) => [b"%/", &self.destination[..]].concat(),
        };
        let typed = self.sources.iter().chain([&destination]);
        let real = |path: &Vec<u8>| match path.split_first() {
            Some((&ABSOLUTE, rest)) => {
                let mut real = world.as_os_str().to_owned();
                real.push(OsStr::from_bytes(rest));
                real
            }
            _ => OsStr::from_bytes(path).to_owned(),
        };
        let mut paths: Vec<OsString> = typed.map(real).collect();
        if self.place.is_pulled() {
            let count = self.sources.len();
            for (at, path) in paths.iter_mut().take(count).enumerate() {
                *path = self.pulled(world, path, at == 0);
            }
        }
        if self.place.is_remote()
            && let Some(last) = paths.last_mut()
        {
            let mut there = OsString::from("there:");
            there.push(&*last);
            *last = there;
        }
        paths
    }

    /// A source as a word for another machine. Only the first source names the machine.
    fn pulled(&self, world: &Path, typed: &OsStr, first: bool) -> OsString {
        let typed = typed.as_bytes();
        let slash = if world.as_os_str().as_bytes().ends_with(b"/") { &b""[..] } else { b"/" };
        let whole = match typed.first() {
            Some(b'/') => typed.to_vec(),
            _ if self.cwd.is_empty() => [world.as_os_str().as_bytes(), slash, typed].concat(),
            _ => [world.as_os_str().as_bytes(), slash, self.cwd.as_bytes(), b"/", typed].concat(),
        };
        let (machine, path) = match self.place {
            Place::PulledModule => {
                let inside = whole.strip_prefix(world.as_os_str().as_bytes()).unwrap_or(&whole);
                ("rsync://there/".to_owned() + MODULE, inside.to_vec())
            }
            _ => ((if first { "there:" } else { ":" }).to_owned(), whole),
        };
        OsString::from_vec([machine.as_bytes(), &path].concat())
    }

    /// The arguments of the single rsync.
    pub fn one(&self, world: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = self.words().map(OsString::from).collect();
        words.push("--".into());
        words.extend(self.paths(world));
        words
    }

    /// The arguments of multi-sync.
    pub fn many(&self, world: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["-r".into(), shell_words::join(self.words()).into()];
        words.extend(["-p".into(), self.processes.to_string().into(), "-f".into(), self.files.to_string().into()]);
        words.extend(self.bytes.iter().flat_map(|bytes| ["-s".into(), bytes.to_string().into()]));
        let forced = std::env::var_os(FIRST_PASS).map(|_| "--first-pass=on");
        // A minority of the cases has no first pass.
        words.extend(forced.or(self.seed.is_multiple_of(3).then_some("--first-pass=off")).map(OsString::from));
        words.extend(self.place.remote_scan().map(|means| format!("--remote-scan={means}").into()));
        if self.place.has_hosts() {
            let login = world.with_file_name("bin").join(self.place.login());
            let engine = format!("{} {{host}}", quoted(login.as_os_str()));
            words.extend(["-m", "many-to-one", "--scan-by", "hosts", "--hosts", "a,b"].map(OsString::from));
            words.extend(["--engine".into(), engine.into()]);
        }
        words.extend(["--stats".into(), "--".into()]);
        words.extend(self.paths(world));
        words
    }

    pub fn owner(&self) -> u32 {
        if self.nobody { NOBODY } else { 0 }
    }

    /// Bash commands that repeat the case.
    pub fn script(&self) -> String {
        let world = Path::new("/tmp/w");
        let line = |words: Vec<OsString>| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let owner = self.owner();
        let mut text = String::from("mkdir /tmp/w; cd /tmp/w\n");
        text.push_str(&self.world.script(owner));
        if owner != 0 {
            let _ = writeln!(text, "chown {owner}:{owner} .");
        }
        let user = if self.nobody {
            format!("setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups ")
        } else {
            String::new()
        };
        let _ = writeln!(text, "touch -d @{} .; umask {:03o}", super::world::OLD, self.umask);
        if !self.cwd.is_empty() {
            let _ = writeln!(text, "cd {}", self.cwd);
        }
        let pipe = self.stdin.as_ref().map_or(String::new(), |file| format!("cat {file} | "));
        let _ = writeln!(text, "{pipe}{user}rsync {}", line(self.one(world)));
        let _ = writeln!(text, "# in another copy:");
        let _ = writeln!(text, "{pipe}{user}multi-sync {}", line(self.many(world)));
        text
    }
}
