//! What multi-sync does with a list of options: the class of each one, with its value and together with the others.

use super::meaning::Meaning;
use super::rule::Rule;
use super::table::{Class, Opt, Takes};
use super::{Options, Setting, info};
use crate::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The oldest protocol with `--no-implied-dirs`, which every launch needs (rsync 3.0.0).
pub const OLDEST_PROTOCOL: i32 = 30;

/// The judgement on one option, or on the list as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The option as a person would look it up.
    pub option: String,
    /// Its class with this value, together with the other options.
    pub class: Class,
    /// The reason; empty for [`Class::Native`].
    pub why: &'static str,
    /// What the user can do instead.
    pub remedy: &'static str,
}

impl Options {
    /// One verdict per setting, in order, and then those on the list as a whole. An option that is turned off again later counts as [`Class::Native`]. `env`
    /// reads the environment that rsync will have.
    pub fn verdicts_with(&self, env: impl Fn(&str) -> Option<OsString>) -> Vec<Verdict> {
        let typed = self.meaning();
        let meaning = self.meaning_with(env);
        let mut verdicts: Vec<Verdict> = (0..self.settings.len())
            .map(|at| {
                let setting = &self.settings[at];
                let cancelled = self.settings[at..].iter().any(|later| later.negated && later.spec == setting.spec);
                let case = if cancelled && !setting.negated { NATIVE } else { judge(setting, &meaning) };
                case.verdict(setting.spec.shown())
            })
            .collect();
        if let Some(dir) = meaning.partial_dir.as_deref().filter(|_| typed.partial_dir.is_none()) {
            verdicts.push(partial_dir(dir).verdict("RSYNC_PARTIAL_DIR".into()));
        }
        if meaning.iconv.is_some() && typed.iconv.is_none() {
            verdicts.push(case_of(Opt::Iconv).verdict("RSYNC_ICONV".into()));
        }
        if !meaning.recursive {
            verdicts.push(NOT_RECURSIVE.verdict("a transfer without --recursive (-r)".into()));
        }
        verdicts
    }

    /// Like [`Options::verdicts_with`], in an empty environment.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.verdicts_with(|_| None)
    }

    /// Fails on the first option that multi-sync does not support.
    pub fn refuse_unsupported_with(&self, env: impl Fn(&str) -> Option<OsString>) -> Result<()> {
        let verdicts = self.verdicts_with(env);
        if let Some(Verdict { option, why, remedy, .. }) = verdicts.iter().find(|v| v.class == Class::Refused) {
            return Err(Error::usage(format!("{option} cannot be used here: {why}")).remedy(*remedy));
        }
        Ok(())
    }

    /// Like [`Options::refuse_unsupported_with`], in an empty environment.
    pub fn refuse_unsupported(&self) -> Result<()> {
        self.refuse_unsupported_with(|_| None)
    }
}

/// A row of the table, or the result of a value or a combination.
#[derive(Clone, Copy)]
struct Case {
    class: Class,
    why: &'static str,
    remedy: &'static str,
}

impl Case {
    fn verdict(self, option: String) -> Verdict {
        Verdict { option, class: self.class, why: self.why, remedy: self.remedy }
    }
}

const RUN_RSYNC: &str = "leave it out, or run rsync itself";

const NATIVE: Case = Case { class: Class::Native, why: "", remedy: "" };
const CLEARS_RULES: Case = Case {
    class: Class::Plain,
    why: "a rule that clears the list also clears the rules that multi-sync needs in it",
    remedy: "leave out this rule and all rules before it",
};
const MERGES_PER_DIR: Case =
    Case { class: Class::Whole, why: "a directory with such a file cannot be split", remedy: RUN_RSYNC };
const NOT_RECURSIVE: Case =
    Case { class: Class::Plain, why: "there is no tree to divide", remedy: "add -r or -a, or run rsync itself" };
const STDIN: Case = Case {
    class: Class::Refused,
    why: "several rsyncs cannot read one stream",
    remedy: "save it to a file and name that file",
};
const SHARED_PARTIAL_DIR: Case = Case {
    class: Class::Plain,
    why: "files of the same name in different directories would share one partial file",
    remedy: "name a directory relative to the file's own, such as .rsync-partial",
};
const OLD_PROTOCOL: Case = Case {
    class: Class::Plain,
    why: "this protocol cannot transfer a file without touching the directories above it",
    remedy: "leave it out, or force protocol 30 or newer",
};
const LISTS_FLAGS: Case = Case { class: Class::Refused, why: "it prints a list and copies nothing", remedy: RUN_RSYNC };

fn case_of(opt: Opt) -> Case {
    let spec = opt.spec();
    Case { class: spec.class, why: spec.why, remedy: RUN_RSYNC }
}

/// The verdict on a setting, given the state of rsync after all settings.
fn judge(setting: &Setting, meaning: &Meaning) -> Case {
    let row = case_of(setting.spec.id);
    let opt = setting.spec.id;
    let value = setting.value.as_deref().unwrap_or_default();
    match Rule::of(setting) {
        Some(Rule::Clear) => return CLEARS_RULES,
        Some(Rule::DirMerge { .. }) => return MERGES_PER_DIR,
        Some(Rule::Merge { file, .. }) if is_a_stream(OsStr::from_bytes(file), true) => return STDIN,
        _ => {}
    }
    if setting.spec.takes == Takes::Input && row.class != Class::Refused && is_a_stream(value, opt != Opt::EarlyInput) {
        return STDIN;
    }
    let harmless = match opt {
        Opt::ImpliedDirs => !setting.negated || !meaning.relative,
        Opt::Detach | Opt::Msgs2stderr => false,
        _ if setting.negated => true,
        Opt::Stderr => value.as_bytes().first() == Some(&b'e'),
        Opt::IgnoreErrors => meaning.delete.is_none(),
        Opt::MaxDelete => setting.number().is_some_and(|limit| limit <= 0),
        Opt::Bwlimit => value == "0",
        Opt::Iconv => value == "-",
        Opt::PartialDir => return partial_dir(value),
        Opt::Protocol if setting.number().is_some_and(|version| version < OLDEST_PROTOCOL) => return OLD_PROTOCOL,
        Opt::Info | Opt::Debug => return flags(opt, value),
        _ => false,
    };
    if harmless { NATIVE } else { row }
}

/// Whether a file name means a stream: `-`, if rsync reads it as standard input, or an open file descriptor, such as `<(command)` of a shell.
fn is_a_stream(file: &OsStr, dash: bool) -> bool {
    let name = file.as_bytes();
    (dash && name == b"-")
        || name == b"/dev/stdin"
        || name.starts_with(b"/dev/fd/")
        || name.starts_with(b"/proc/self/fd/")
}

fn partial_dir(dir: &OsStr) -> Case {
    if dir.as_bytes().starts_with(b"/") {
        SHARED_PARTIAL_DIR
    } else if dir.is_empty() || dir == "." {
        NATIVE
    } else {
        case_of(Opt::PartialDir)
    }
}

/// The verdict on `--info` and `--debug`: flags that only silence something are harmless, and so are those for output that multi-sync prints itself.
fn flags(opt: Opt, value: &OsStr) -> Case {
    let mut case = NATIVE;
    for (word, level) in info::words(value) {
        match word.as_slice() {
            b"help" => return LISTS_FLAGS,
            b"none" => {}
            b"progress" | b"stats" if opt == Opt::Info => {}
            _ if level == 0 => {}
            _ => case = case_of(opt),
        }
    }
    case
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Options {
        Options::parse_str(OsStr::new(text)).unwrap()
    }

    fn refusal(text: &str) -> String {
        parse(text).refuse_unsupported().map_or_else(|error| error.to_string(), |()| String::new())
    }

    fn class(text: &str) -> Class {
        parse(text).verdicts().iter().map(|verdict| verdict.class).max().unwrap()
    }

    #[test]
    fn what_is_taken() {
        for text in [
            "-a",
            "-aS --numeric-ids",
            "-rlptgoD",
            "-avv --no-v",
            "-aHxmR --no-H --no-x --no-m --no-R",
            "-aAXUSKWEJO --no-p --stats --progress -P -h -q --mkpath",
            "-a --no-r -r -d --no-d",
            "-a --force --ignore-errors",
            "-a --no-implied-dirs",
            "-a --max-delete=0 --max-delete=-1",
            "-a --bwlimit=0 --iconv=- --partial-dir=. --partial-dir=",
            "-a --info=progress2,stats2,name0,none --debug=all0",
            "-a --stderr=errors --protocol=31 --timeout=5 -e 'ssh -p 22' -M--fake-super -zz --zl=3",
            "-a --link-dest=../old --compare-dest=/x --copy-dest=y -y -bu --suffix=~ --append",
            "-a --chmod=D755 --usermap=a:b --password-file=x --no-iconv --fake-super --8-bit-output",
        ] {
            assert_eq!(refusal(text), "", "{text}");
        }
    }

    #[test]
    fn refused_for_good() {
        let stdin = "several rsyncs cannot read one stream";
        for (text, message) in [
            ("--daemon", "--daemon cannot be used here: it starts a daemon".to_owned()),
            ("-aV", "--version (-V) cannot be used here: it prints rsync's version and copies nothing".to_owned()),
            ("-a --exclude-from=-", format!("--exclude-from cannot be used here: {stdin}")),
            ("-a --password-file /dev/fd/63", format!("--password-file cannot be used here: {stdin}")),
            ("-a --files-from=-", format!("--files-from cannot be used here: {stdin}")),
            ("-a -f '. -'", format!("--filter (-f) cannot be used here: {stdin}")),
            ("-a --filter='merge /dev/stdin'", format!("--filter (-f) cannot be used here: {stdin}")),
        ] {
            assert_eq!(refusal(text), message, "{text}");
        }
        for text in [
            "--help",
            "--server",
            "--sender",
            "--config=x",
            "--dparam=x=y",
            "--no-detach",
            "--detach",
            "--read-batch=-",
            "--info=help",
            "--debug=HELP",
            "--include-from=/proc/self/fd/3",
        ] {
            assert_eq!(class(&format!("-a {text}")), Class::Refused, "{text}");
        }
        // An option that is never supported is reported before one that may be supported in future.
        assert!(refusal("-a --files-from=x --daemon").starts_with("--daemon cannot"));
        assert_eq!(refusal("-a --early-input=- --password-file=./-"), "");
    }

    #[test]
    fn classes() {
        for (text, class_of) in [
            ("-a --files-from=x", Class::Plain),
            ("-a --delete", Class::Special),
            ("-aH", Class::Special),
            ("-aF", Class::Whole),
            ("-a -f ':C'", Class::Whole),
            ("-a --delay-updates", Class::Special),
            ("-a --max-delete=3", Class::Plain),
            ("-a --exclude=!", Class::Plain),
            ("-a --no-r", Class::Plain),
            ("-aR --no-i-d", Class::Special),
            ("-a --partial-dir=x", Class::Special),
            ("-a --info=name", Class::Plain),
            ("-a --partial-dir=/abs", Class::Plain),
            ("-a --protocol=29", Class::Plain),
            ("-a --write-batch=x", Class::Plain),
            ("-a --only-write-batch=x", Class::Plain),
            ("-a --debug=progress", Class::Plain),
            ("-a --stderr=all", Class::Plain),
            ("-a --no-msgs2stderr", Class::Plain),
        ] {
            assert_eq!(refusal(text), "", "{text}");
            assert_eq!(class(text), class_of, "{text}");
        }
        assert_eq!(class("-d"), Class::Plain);
        assert_eq!(class("-a"), Class::Native);
        assert_eq!(class("-aH --no-H -H"), Class::Special);
    }

    #[test]
    fn the_environment_counts() {
        let refusal = |text: &str, name: &str, value: &str| {
            let env = |asked: &str| (asked == name).then(|| OsString::from(value));
            parse(text).refuse_unsupported_with(env).map_or_else(|error| error.to_string(), |()| String::new())
        };
        assert_eq!(refusal("-a", "RSYNC_PARTIAL_DIR", "x"), "");
        assert_eq!(refusal("-aP", "RSYNC_PARTIAL_DIR", "x"), "");
        assert_eq!(refusal("-aP", "RSYNC_PARTIAL_DIR", "/x"), "");
        let env = |asked: &str| (asked == "RSYNC_PARTIAL_DIR").then(|| OsString::from("/x"));
        assert!(parse("-aP").verdicts_with(env).iter().any(|verdict| verdict.class == Class::Plain));
        assert_eq!(refusal("-a", "RSYNC_ICONV", "a,b"), "");
        assert_eq!(refusal("-a --no-iconv", "RSYNC_ICONV", "a,b"), "");
    }
}
