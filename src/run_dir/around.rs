//! What decides the result of a run besides its command line: files with rules and names, the environment of rsync, the umask, aliases of options.
//!
//! A run that is continued while one of these differs would be made of two halves, with code 0. Therefore it is refused. What only decides how another
//! machine is reached may differ, and is never written to the disk: it may be secret.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::config::Config;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::first_pass::umask;
use crate::rsync::options::{Aliases, InputFile, Opt, Options, merged_files};

use super::journal::Name;

/// The file of rules that `-C` reads.
const CVS_RULES: &str = "~/.cvsignore";
/// Variables that change what rsync makes of the names of another machine.
const OF_REMOTE_NAMES: [&str; 2] = ["RSYNC_OLD_ARGS", "RSYNC_PROTECT_ARGS"];
/// Variables that name the character set, which counts if rsync converts names. The first that is set decides.
const OF_CHARACTERS: [&str; 3] = ["LC_ALL", "LC_CTYPE", "LANG"];
/// How deep files of rules may merge others.
const DEEPEST: u32 = 16;

/// What decides the result of a run besides its command line, as far as it does with the options of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Around {
    /// The umask, if a mode at DEST follows from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    umask: Option<u32>,
    /// The variables that count and are set.
    environment: Vec<(String, Name)>,
    /// Files on this machine that rsync reads because of its options.
    files: Vec<Sum>,
    /// The checksum of the options without aliases, and whether there are aliases at all. Another version of this program may write the same options in
    /// another way, so that the checksum counts only if there are.
    options: String,
    aliased: bool,
}

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    name: Name,
    /// The XXH3 checksum (128 bits); `None` if the file cannot be read.
    sum: Option<String>,
}

impl Around {
    /// Looks at what surrounds a run now. `read` are its options with copies in place of streams.
    pub fn look(config: &Config, read: &Options) -> Around {
        Around::with(config, read, |name| std::env::var_os(name))
    }

    fn with(config: &Config, read: &Options, env: impl Fn(&str) -> Option<OsString>) -> Around {
        let typed = &config.options;
        let (meaning, alone) = (typed.meaning_with(&env), typed.meaning());
        let is_here = config.destination.is_local() || !config.hosts.is_empty();
        let makes_modes = is_here && !meaning.perms || meaning.chmod;
        let reads_cvs_rules = typed.reads_cvs_rules();
        let mut counts: Vec<&str> = Vec::new();
        if meaning.partial_dir != alone.partial_dir {
            counts.push("RSYNC_PARTIAL_DIR");
        }
        if meaning.iconv != alone.iconv {
            counts.push("RSYNC_ICONV");
        }
        if meaning.iconv.is_some() {
            counts.extend(OF_CHARACTERS.into_iter().find(|name| env(name).is_some_and(|value| !value.is_empty())));
        }
        if reads_cvs_rules {
            counts.push("CVSIGNORE");
        }
        if config.pulls() || !config.destination.is_local() {
            counts.extend(OF_REMOTE_NAMES);
        }
        let set = |name: &str| Some((name.to_owned(), Name::new(env(name)?.into_vec())));
        let mut files = Files { cwd: &config.cwd, found: Vec::new() };
        let streams = |file: &InputFile| !typed.input_files().contains(file);
        for file in read.input_files() {
            // What an option reads to reach the other machine may differ, and may be secret.
            if ![Opt::PasswordFile, Opt::EarlyInput].contains(&file.opt) {
                files.add(&file.name, file.merges, streams(&file), 0);
            }
        }
        let mut files = files.found;
        if reads_cvs_rules && let Some(home) = env("HOME").filter(|home| !home.is_empty()) {
            let path = PathBuf::from(home).join(".cvsignore");
            // A missing file has no rules.
            let sum = sum_of(&path, false).map_or_else(|_| sum(b""), |(sum, _)| sum);
            files.push(Sum { name: Name::new(CVS_RULES.into()), sum: Some(sum) });
        }
        let words: Vec<OsString> = typed.argv();
        Around {
            umask: makes_modes.then(umask),
            environment: counts.into_iter().filter_map(set).collect(),
            files,
            options: sum(words.join(OsStr::from_bytes(b"\0")).as_bytes()),
            aliased: !Aliases::installed().is_empty(),
        }
    }

    /// Refuses to continue a run if what counts differs `now`. `on_hosts`: the files are read on source hosts, and may be missing on this machine.
    ///
    /// # Errors
    /// It differs: the message says what, and the remedy what to do.
    pub fn refuse_other(&self, now: &Around, on_hosts: bool) -> Result<()> {
        const ANEW: &str = "start the same copy anew: what was copied stays, and rsync finds what is left";
        if (self.aliased || now.aliased) && self.options != now.options {
            let what = "aliases of rsync's options (/etc/popt, /etc/popt.d, ~/.popt) are not those with which the run was begun";
            return Err(Error::usage(what).remedy(format!("restore them, or {ANEW}")));
        }
        for file in self.files.iter().filter(|file| file.sum.is_some()) {
            let same = now.files.iter().find(|other| other.name == file.name).and_then(|other| other.sum.as_ref());
            if same == file.sum.as_ref() || same.is_none() && on_hosts {
                continue;
            }
            let what = if same.is_none() { "cannot be read any more" } else { "was changed since the run was begun" };
            let shown = Printable::bytes(&file.name.clone().into_bytes()).to_string();
            return Err(Error::usage(format!("{shown} {what}: what it says decides what is copied"))
                .remedy(format!("restore the file, or {ANEW}")));
        }
        let names = self.environment.iter().chain(&now.environment).map(|(name, _)| name);
        for name in names {
            let [then, now] = [self, now].map(|around| around.variable(name));
            if then == now {
                continue;
            }
            let shown = |value: Option<&Name>| match value {
                Some(value) => format!("{:?}", text(value)),
                None => "not set".to_owned(),
            };
            let set = match then {
                Some(value) => format!("export {name}={}", shell_words::quote(&text(value))),
                None => format!("unset {name}"),
            };
            let (then, now) = (shown(then), shown(now));
            return Err(Error::usage(format!("{name} was {then} when the run was begun, and is {now} now"))
                .remedy(format!("set it as it was (`{set}`), or {ANEW}")));
        }
        match (self.umask, now.umask) {
            (Some(then), Some(now)) if then != now => {
                Err(Error::usage(format!("the umask was {then:04o} when the run was begun, and is {now:04o} now"))
                    .remedy(format!("set it as it was (`umask {then:04o}`), or {ANEW}")))
            }
            _ => Ok(()),
        }
    }

    fn variable(&self, name: &str) -> Option<&Name> {
        self.environment.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }
}

fn text(value: &Name) -> String {
    Printable::bytes(&value.clone().into_bytes()).to_string()
}

/// The files that are read.
struct Files<'a> {
    cwd: &'a Path,
    found: Vec<Sum>,
}

impl Files<'_> {
    /// Adds a file, and the files that its rules merge. The copy of a stream is the same file in each part of the run.
    fn add(&mut self, name: &OsStr, merges: bool, is_copy: bool, depth: u32) {
        let path = self.cwd.join(name);
        let shown = Name::new(path.as_os_str().as_bytes().to_vec());
        if name == "-" || depth > DEEPEST || self.found.iter().any(|file| file.name == shown) {
            return;
        }
        let (sum, text) = sum_of(&path, merges).map_or((None, Vec::new()), |(sum, text)| (Some(sum), text));
        if !is_copy {
            self.found.push(Sum { name: shown, sum });
        }
        merged_files(&text).into_iter().for_each(|name| self.add(&name, true, false, depth + 1));
    }
}

/// The checksum of a file; with `keeps` also its content.
fn sum_of(path: &Path, keeps: bool) -> io::Result<(String, Vec<u8>)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (mut hasher, mut text, mut piece) = (Xxh3::new(), Vec::new(), vec![0; 1 << 16]);
    loop {
        let count = match file.read(&mut piece) {
            Ok(0) => return Ok((format!("{:032x}", hasher.digest128()), text)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&piece[..count]);
        if keeps {
            text.extend_from_slice(&piece[..count]);
        }
    }
}

fn sum(text: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Destination, Source};

    fn around(options: &str, dest: &str, env: &'static [(&'static str, &'static str)]) -> Around {
        let options = Options::parse_str(OsStr::new(options)).unwrap();
        let (source, dest) =
            (Source::parse(OsStr::new("src/")).unwrap(), Destination::parse(OsStr::new(dest)).unwrap());
        let config = Config::new(vec![source], dest, options.clone(), "/nonexistent".into());
        let env = |asked: &str| env.iter().find(|(name, _)| *name == asked).map(|(_, value)| OsString::from(value));
        Around::with(&config, &options, env)
    }

    #[test]
    fn only_variables_that_count_are_recorded() {
        const ALL: &[(&str, &str)] = &[
            ("RSYNC_ICONV", "a,b"),
            ("RSYNC_PARTIAL_DIR", "p"),
            ("CVSIGNORE", "c"),
            ("RSYNC_OLD_ARGS", "1"),
            ("RSYNC_RSH", "secret"),
            ("RSYNC_PASSWORD", "secret"),
            ("LANG", "C"),
        ];
        let names = |options: &str, dest: &str| -> Vec<String> {
            around(options, dest, ALL).environment.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names("-a --no-iconv", "D"), [""; 0]);
        assert_eq!(names("-a", "D"), ["RSYNC_ICONV", "LANG"]);
        assert_eq!(names("-aP --no-iconv", "D"), ["RSYNC_PARTIAL_DIR"]);
        assert_eq!(names("-a --no-iconv -f -C", "h:D"), ["CVSIGNORE", "RSYNC_OLD_ARGS"]);
    }

    #[test]
    fn secrets_are_no_rules_and_a_missing_file_may_be_supplied() {
        let files = |options: &str| around(options, "D", &[]).files;
        assert_eq!(files("-a --password-file=p --early-input=e"), []);
        let then = around("-a --exclude-from=x", "D", &[]);
        assert_eq!(then.files.len(), 1);
        let mut now = then.clone();
        now.files[0].sum = Some(sum(b"x"));
        assert!(then.refuse_other(&now, false).is_ok());
        assert!(now.refuse_other(&then, false).is_err() && now.refuse_other(&then, true).is_ok());
    }
}
