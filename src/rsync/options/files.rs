//! Makes file names in options absolute, because rsync is started in another working directory than multi-sync. The file names inside a remote shell command
//! are not known here, so the command is wrapped to run in the right directory.
//!
//! Only names that rsync resolves against its working directory are changed. Names relative to the destination (`--temp-dir`, `--backup-dir`, `--link-dest`,
//! `--partial-dir` ...) and names on another host stay as they are.

use super::rule::Rule;
use super::table::{Class, Takes};
use super::{Opt, Options, Setting};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

impl Options {
    /// The same options, with every relative name of a file on this machine resolved against `cwd`, which must be absolute. The text inside filter files is
    /// not changed: a relative `merge` in it stays relative.
    pub fn absolute_files(&self, cwd: &Path) -> Options {
        Options { settings: self.settings.iter().map(|setting| self.absolute(setting, cwd)).collect() }
    }

    /// A remote shell command (`--rsh`, `RSYNC_RSH`) that runs in `cwd`, whatever the working directory of rsync. The command may name a program or files
    /// relative to `cwd` (`ssh -F config -i key`), and so may the configuration of ssh (`ProxyCommand`). If the command has no arguments and no relative
    /// path, `cwd` may be missing, as on another machine.
    ///
    /// rsync splits such a command only at spaces, and reads `'…'` and `"…"` with the quote doubled inside (rsync(1), `--rsh`). It treats three programs
    /// specially by their names: `ssh` gets its `-4` or `-6` from here, `rsh` and `remsh` keep their names.
    pub fn remote_shell(&self, command: &OsStr, cwd: &Path) -> OsString {
        let text = command.as_bytes();
        let start = text.iter().position(|&byte| byte != b' ').unwrap_or(text.len());
        let Some((program, rest)) = first_word(&text[start..]) else { return command.to_owned() };
        let name = program.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let anywhere = program.starts_with(b"/") || !program.contains(&b'/');
        let alone = rest.iter().all(|&byte| byte == b' ');
        if [&b"rsh"[..], b"remsh"].contains(&name) && !anywhere {
            return OsString::from_vec([&quoted(&cwd.join(OsStr::from_bytes(&program))), rest].concat());
        }
        if program.is_empty() || [&b"rsh"[..], b"remsh"].contains(&name) {
            return command.to_owned();
        }
        let family = self.settings.iter().rev().find_map(|setting| match setting.spec.id {
            Opt::Ipv4 => Some(&b" -4"[..]),
            Opt::Ipv6 => Some(b" -6"),
            _ => None,
        });
        let family = family.filter(|_| name == b"ssh").unwrap_or_default();
        let shell = in_dir(anywhere && alone);
        OsString::from_vec([shell.as_bytes(), &quoted(cwd), b" ", text, family].concat())
    }

    /// The files on the machine of an rsync that it reads because of these options, typed in `cwd`.
    pub fn files_read(&self, cwd: &Path) -> Vec<OsString> {
        self.input_files().iter().filter(|file| !file.is_stdin).map(|file| join(cwd, &file.name)).collect()
    }

    /// What rsync reads because of these options, in rsync's order: rules while it reads its options, and afterwards, for each other kind of file, the last
    /// one that was named.
    pub fn input_files(&self) -> Vec<InputFile> {
        const AFTERWARDS: [Opt; 3] = [Opt::FilesFrom, Opt::EarlyInput, Opt::PasswordFile];
        let file = |(at, setting): (usize, &Setting)| {
            let value = setting.value.as_deref()?;
            let (name, merges) = match (setting.spec.takes, Rule::of(setting)) {
                (Takes::Input, _) if setting.spec.class != Class::Refused && !is_remote(value) => (value, false),
                (_, Some(Rule::Merge { file, .. })) => (OsStr::from_bytes(file), true),
                _ => return None,
            };
            let is_stdin = name == "-" && setting.spec.id != Opt::EarlyInput;
            let opt = setting.spec.id;
            (!name.is_empty()).then(|| InputFile { at, opt, name: name.to_owned(), is_stdin, merges })
        };
        let place = |file: &InputFile| AFTERWARDS.iter().position(|opt| *opt == self.settings[file.at].spec.id);
        let all: Vec<InputFile> = self.settings.iter().enumerate().filter_map(file).collect();
        let counts = |file: &&InputFile| {
            place(file).is_none_or(|kind| all.iter().all(|other| other.at <= file.at || place(other) != Some(kind)))
        };
        let mut read: Vec<InputFile> = all.iter().filter(counts).cloned().collect();
        read.sort_by_key(|file| place(file).map_or(0, |kind| kind + 1));
        read
    }

    /// Whether rsync reads `CVSIGNORE` and `~/.cvsignore`, or may do so because of a file of rules.
    pub fn reads_cvs_rules(&self) -> bool {
        let has_modifier = |setting: &Setting| {
            let rule = setting.value.as_deref().filter(|_| setting.spec.takes == Takes::Rule).map(OsStr::as_bytes);
            let head = |rule: &[u8]| rule.split(|byte| matches!(byte, b' ' | b'_')).next().unwrap_or_default().to_vec();
            rule.is_some_and(|rule| head(rule).contains(&b'C'))
        };
        self.meaning().cvs_exclude
            || self.settings.iter().any(has_modifier)
            || self.input_files().iter().any(|file| file.merges)
    }

    /// The same options, with another file in place of one of [`Options::input_files`].
    #[must_use]
    pub fn with_input(&self, at: usize, file: &Path) -> Options {
        let mut options = self.clone();
        if let Some(setting) = options.settings.get_mut(at) {
            let name = file.as_os_str();
            setting.value = Some(match Rule::of(setting) {
                Some(Rule::Merge { head, .. }) => merging(head, name),
                _ => name.to_owned(),
            });
        }
        options
    }

    fn absolute(&self, setting: &Setting, cwd: &Path) -> Setting {
        let value = setting.value.as_deref().and_then(|value| self.absolute_value(setting, value, cwd));
        Setting { value: value.or_else(|| setting.value.clone()), ..setting.clone() }
    }

    fn absolute_value(&self, setting: &Setting, value: &OsStr, cwd: &Path) -> Option<OsString> {
        match (setting.spec.takes, Rule::of(setting)) {
            (Takes::Output, _) => Some(join(cwd, value)),
            (Takes::Input, _) if !(value == "-" || is_remote(value)) => Some(join(cwd, value)),
            (Takes::Command, _) => Some(self.remote_shell(value, cwd)),
            (_, Some(Rule::Merge { head, file })) if file != b"-" => {
                Some(merging(head, &join(cwd, OsStr::from_bytes(file))))
            }
            _ => None,
        }
    }
}

/// A file that rsync reads because of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// The index of the option in [`Options::settings`].
    pub at: usize,
    /// The option that names the file.
    pub opt: Opt,
    /// The name as typed.
    pub name: OsString,
    /// Whether the name means standard input.
    pub is_stdin: bool,
    /// Whether it contains rules that may merge other files.
    pub merges: bool,
}

/// The files that rules in the text of a rule file merge, as rsync reads them; `-` is standard input.
pub fn merged_files(text: &[u8]) -> Vec<OsString> {
    let merged = |line: &[u8]| match Rule::parse(line) {
        Rule::Merge { file, .. } => Some(OsStr::from_bytes(file).to_owned()),
        _ => None,
    };
    text.split(|byte| matches!(byte, b'\n' | b'\r' | 0)).filter_map(merged).collect()
}

/// A rule that merges a file.
fn merging(head: &[u8], file: &OsStr) -> OsString {
    // `.C` has a default file name, so that one cannot be given without a separator.
    let gap: &[u8] = if matches!(head.last(), Some(b' ' | b'_')) { b"" } else { b" " };
    OsString::from_vec([head, gap, file.as_bytes()].concat())
}

/// Shell code that runs a command in a directory, or in `/` if `or_elsewhere`. It ends with rsync's exit code if the directory cannot be entered.
fn in_dir(or_elsewhere: bool) -> String {
    let otherwise = if or_elsewhere { "2>/dev/null || cd /" } else { "|| exit 14" };
    let run = r#"command -v "$1" >/dev/null || { echo "cannot run $1" >&2; exit 14; }; exec "$@""#;
    format!(r#"sh -c 'cd "$1" {otherwise}; shift; {run}' sh "#)
}

/// An empty name stays empty, because rsync's message about it is better than one about the directory.
fn join(cwd: &Path, name: &OsStr) -> OsString {
    if name.is_empty() { OsString::new() } else { cwd.join(name).into_os_string() }
}

/// Whether it is `host:file` or `:file`, which only `--files-from` supports.
fn is_remote(name: &OsStr) -> bool {
    name.as_bytes().iter().find(|byte| matches!(byte, b':' | b'/')) == Some(&b':')
}

/// Quotes a word of a remote shell command.
fn quoted(path: &Path) -> Vec<u8> {
    let inside = path.as_os_str().as_bytes().split(|&byte| byte == b'\'').collect::<Vec<_>>().join(&b"''"[..]);
    [b"'", &inside[..], b"'"].concat()
}

/// The words of a remote shell command, as rsync reads them; `None` if a quote stays open.
pub fn command_words(command: &OsStr) -> Option<Vec<OsString>> {
    let mut words = Vec::new();
    let mut rest = command.as_bytes();
    loop {
        rest = &rest[rest.iter().position(|&byte| byte != b' ').unwrap_or(rest.len())..];
        if rest.is_empty() {
            return Some(words);
        }
        let (word, after) = first_word(rest)?;
        words.push(OsString::from_vec(word));
        rest = after;
    }
}

/// The first word without its quotes, and the text after it; `None` if a quote stays open.
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
            ("--rsh=rsh", "--rsh=rsh"),
            ("--rsh=ssh", &format!("--rsh={}'/c d' ssh", in_dir(true))),
            ("--rsh=ssh -i k", &format!("--rsh={}'/c d' ssh -i k", in_dir(false))),
        ] {
            let absolute = Options::parse(&[typed]).unwrap().absolute_files(Path::new("/c d"));
            assert_eq!(absolute, Options::parse(&[wanted]).unwrap(), "{typed}");
        }
    }

    #[test]
    fn a_command_has_words() {
        let words = |text: &str| command_words(OsStr::new(text));
        assert_eq!(words(" ssh  -p 22 'a ''b' "), Some(["ssh", "-p", "22", "a 'b"].map(OsString::from).into()));
        assert_eq!((words(""), words("ssh 'x")), (Some(vec![]), None));
    }

    #[test]
    fn a_remote_shell_that_may_name_files_runs_where_they_are() {
        let of = |options: &str, command: &str| {
            let options = Options::parse_str(OsStr::new(options)).unwrap();
            options.remote_shell(OsStr::new(command), Path::new("/it's")).into_string().unwrap()
        };
        let inside = |command: &str| format!("{}'/it''s' {command}", in_dir(false));
        for command in ["  a/b  -x", "'a d''x\"y/b' 'z'", "\"a\"/b", "ssh x/y", "/bin/ssh -i k", "./rsh.sh"] {
            assert_eq!(of("-a", command), inside(command));
        }
        for command in ["ssh", " /bin/ssh  "] {
            let wanted = format!("{}'/it''s' {command}", in_dir(true));
            assert_eq!(of("-a", command), wanted);
        }
        for command in ["", "  ", "'a/b", "rsh -n", "/usr/bin/remsh x"] {
            assert_eq!(of("-a -4", command), command);
        }
        assert_eq!(of("-a", " ./rsh -n"), "'/it''s/./rsh' -n");
        assert_eq!(of("-a -6 -4", "/bin/ssh -v"), inside("/bin/ssh -v -4"));
        assert_eq!(of("-a -6", "ssh -v"), inside("ssh -v -6"));
        assert_eq!(of("-a -6", "./gate"), inside("./gate"));
    }
}
