//! The user's rsync options: what was typed, in order, as typed values.
//!
//! Parsing follows popt as rsync uses it: `-avzH`, `-essh`, `-e ssh`, `-e=ssh`, `--x=y`, `--x y`; the word after an option that takes
//! one is its value, whatever it looks like; long names cannot be shortened. Refused here: an unknown option (without its arity the
//! words after it cannot be told apart), a word that is no option, a missing or superfluous value. Not refused here:
//! combinations, which are rsync's to judge, and what multi-sync cannot do, which is [`Options::refuse_unsupported`]'s.
//!
//! What every option is stands in `options/table.rs`, what a list means in `options/meaning.rs`, what it
//! makes rsync print in `options/shows.rs`, what multi-sync makes of it in
//! `options/verdict.rs`. Other names that the user has given to options are in `options/aliases.rs`.

mod aliases;
mod files;
mod info;
mod meaning;
mod operands;
pub(super) mod rule;
mod shows;
mod similar;
mod table;
mod verdict;
mod words;

pub use aliases::Aliases;
pub use files::{InputFile, command_words, merged_files};
pub use meaning::{Delete, Meaning, Stop, Superuser};
pub use operands::CommandLine;
use operands::Operands;
pub use shows::Shows;
pub use similar::similar;
pub use table::{Class, Group, Opt, Repeats, Spec, Takes, specs};
pub use verdict::{OLDEST_PROTOCOL, Verdict};

use aliases::Name;

use crate::entry::Printable;
use crate::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// rsync options in the order they were typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    settings: Vec<Setting>,
}

/// One option as typed. Spellings of one option (`-H`, `--hard-links`) are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The row of the table.
    pub spec: &'static Spec,
    /// Whether a `--no-…` form was typed.
    pub negated: bool,
    /// The value; present exactly if the option takes one.
    pub value: Option<OsString>,
}

impl Options {
    /// Reads words that a shell has split already. Fails as the top of this file says.
    pub fn parse<S: AsRef<OsStr>>(words: &[S]) -> Result<Options> {
        Options::parse_with(words, &Aliases::default())
    }

    /// The same, where some options have other names.
    ///
    /// # Errors
    /// As [`Options::parse`]; also where an alias runs another program, or aliases lead to each other.
    pub fn parse_with<S: AsRef<OsStr>>(words: &[S], aliases: &Aliases) -> Result<Options> {
        let read = read_words(words, aliases, Operands::Refused)?;
        match read.operands.first() {
            Some(operand) => Err(not_an_option(operand)),
            None => Ok(Options { settings: read.settings }),
        }
    }

    /// Reads one string, split as a POSIX shell splits words; nothing in it is expanded. Fails on an open quote too.
    pub fn parse_str(text: &OsStr) -> Result<Options> {
        Options::parse_str_with(text, &Aliases::default())
    }

    /// The same, where some options have other names.
    ///
    /// # Errors
    /// As [`Options::parse_with`].
    pub fn parse_str_with(text: &OsStr, aliases: &Aliases) -> Result<Options> {
        Options::parse_with(&words::split(text.as_bytes())?, aliases)
    }

    /// Everything that was typed, in order.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Words that mean the same to any rsync that knows what was typed; parsing them gives these options again.
    pub fn argv(&self) -> Vec<OsString> {
        self.settings.iter().flat_map(Setting::argv).collect()
    }

    /// The options except those for which `drop` is true. Implications stay: dropping `-r` leaves the one inside `-a`.
    #[must_use]
    pub fn without(&self, drop: impl Fn(&Setting) -> bool) -> Options {
        Options { settings: self.settings.iter().filter(|setting| !drop(setting)).cloned().collect() }
    }

    /// Whether an option was typed, and not only to turn it off.
    pub fn has(&self, opt: Opt) -> bool {
        self.settings.iter().any(|setting| setting.spec.id == opt && !setting.negated)
    }

    /// Whether one of these options was typed, even if only to turn it off.
    pub fn mentions(&self, opts: &[Opt]) -> bool {
        self.settings.iter().any(|setting| opts.contains(&setting.spec.id))
    }

    /// The options that decide how another machine is reached, and not what is copied.
    #[must_use]
    pub fn connection_options(&self) -> Options {
        self.without(|setting| setting.spec.group != Group::Connection)
    }

    /// How many different times for deletion were named, of which rsync allows one.
    pub fn delete_times(&self) -> usize {
        const TIMES: [&[Opt]; 3] = [&[Opt::DeleteBefore], &[Opt::DeleteDuring, Opt::DeleteDelay], &[Opt::DeleteAfter]];
        TIMES.into_iter().filter(|opts| self.mentions(opts)).count()
    }

    /// Where these options lead rsync, in an empty environment.
    pub fn meaning(&self) -> Meaning {
        self.meaning_with(|_| None)
    }

    /// Where these options lead rsync. `env` answers for the variables that count: `RSYNC_PARTIAL_DIR`, `RSYNC_RSH`, `RSYNC_ICONV`.
    pub fn meaning_with(&self, env: impl Fn(&str) -> Option<OsString>) -> Meaning {
        Meaning::of(&self.settings, env)
    }
}

impl Setting {
    /// The words for this one option.
    pub fn argv(&self) -> Vec<OsString> {
        if self.negated {
            return vec![format!("--{}", self.spec.negations[0]).into()];
        }
        match (self.spec, self.value.clone()) {
            // The letter `-@` is younger than its long name, all others are as old or older.
            (&Spec { short: Some(letter), .. }, value) if letter != b'@' => {
                [OsString::from_vec(vec![b'-', letter])].into_iter().chain(value).collect()
            }
            (spec, Some(value)) => {
                let mut word = OsString::from(format!("--{}=", spec.name()));
                word.push(value);
                vec![word]
            }
            (spec, None) => vec![format!("--{}", spec.name()).into()],
        }
    }

    /// The value as the number rsync reads; `None` unless the option takes one.
    pub fn number(&self) -> Option<i32> {
        if self.spec.takes != Takes::Number {
            return None;
        }
        c_int(self.value.as_deref()?.as_bytes())
    }

    fn new(spec: &'static Spec, value: Option<OsString>) -> Result<Setting> {
        let setting = Setting { spec, negated: false, value };
        if spec.takes == Takes::Number && setting.number().is_none() {
            let value = setting.value.unwrap_or_default();
            return Err(Error::usage(format!(
                "rsync option {}: not a number: {}",
                spec.shown(),
                Printable::os(&value)
            ))
            .remedy("give a whole number of at most 32 bits"));
        }
        Ok(setting)
    }
}

/// What words are.
struct Read {
    settings: Vec<Setting>,
    /// Words that are no options; those after `--` are the last.
    operands: Vec<OsString>,
    /// There was a `--`.
    ended: bool,
}

/// Reads options up to `--`, and what follows that.
fn read_words<S: AsRef<OsStr>>(words: &[S], aliases: &Aliases, may_have: Operands) -> Result<Read> {
    let words = words.iter().map(|word| word.as_ref().to_owned()).collect();
    let mut reader = Reader { aliases, frames: vec![Frame::new(words, None)] };
    let (mut settings, mut operands) = (Vec::new(), Vec::new());
    while let Some(next) = reader.next() {
        match next {
            Next::Letter(letter, cluster) => {
                if !reader.expand(&Name::Letter(letter), None)? {
                    settings.push(reader.read_letter(letter, &cluster)?);
                }
            }
            Next::Word(word) => match word.as_bytes() {
                b"--" => {
                    operands.extend(reader.rest());
                    return Ok(Read { settings, operands, ended: true });
                }
                [b'-', b'-', long @ ..] => {
                    if !reader.expand_long(long)? {
                        settings.push(reader.read_long(long)?);
                    }
                }
                [b'-', letters @ ..] if !letters.is_empty() => {
                    if !reader.expand_long(letters)? {
                        reader.frame().letters = letters.to_vec();
                        reader.frame().cluster = word;
                    }
                }
                _ => match may_have {
                    Operands::Refused => {
                        let error = not_an_option(&word);
                        return Err(
                            match settings.iter().rev().find(|setting: &&Setting| setting.spec.takes == Takes::Command)
                            {
                                Some(setting) => error.remedy(unquoted(setting)),
                                None => error,
                            },
                        );
                    }
                    Operands::Anywhere => operands.push(word),
                    Operands::Last => {
                        operands.push(word);
                        operands.extend(reader.rest());
                        break;
                    }
                },
            },
        }
    }
    Ok(Read { settings, operands, ended: false })
}

/// More aliases within each other than this are refused by popt.
const DEEPEST: usize = 10;

/// Words that are still to be read: those that were typed, and those of aliases in place of some.
struct Reader<'a> {
    aliases: &'a Aliases,
    frames: Vec<Frame>,
}

struct Frame {
    words: std::vec::IntoIter<OsString>,
    /// Letters that are left of the word that was read last.
    letters: Vec<u8>,
    cluster: OsString,
    /// The place of the alias these are the words of.
    alias: Option<usize>,
}

impl Frame {
    fn new(words: Vec<OsString>, alias: Option<usize>) -> Frame {
        Frame { words: words.into_iter(), letters: Vec::new(), cluster: OsString::new(), alias }
    }
}

enum Next {
    /// And the word it stands in.
    Letter(u8, OsString),
    Word(OsString),
}

impl Reader<'_> {
    fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the first frame stays")
    }

    fn next(&mut self) -> Option<Next> {
        while self.frames.len() > 1 && self.frame().letters.is_empty() && self.frame().words.len() == 0 {
            self.frames.pop();
        }
        let frame = self.frame();
        if frame.letters.is_empty() {
            frame.words.next().map(Next::Word)
        } else {
            let letter = frame.letters.remove(0);
            Some(Next::Letter(letter, frame.cluster.clone()))
        }
    }

    /// The next whole word; popt passes over letters that are left before it.
    fn value(&mut self) -> Option<OsString> {
        while self.frames.len() > 1 && self.frame().words.len() == 0 {
            self.frames.pop();
        }
        self.frame().words.next()
    }

    fn rest(mut self) -> Vec<OsString> {
        let mut rest = Vec::new();
        while let Some(frame) = self.frames.pop() {
            rest.extend(frame.words);
        }
        rest
    }

    fn expand_long(&mut self, word: &[u8]) -> Result<bool> {
        let (name, attached) = split_value(word);
        self.expand(&Name::Long(name.to_vec()), attached)
    }

    /// Puts the words of an alias in place of its name, if it is one.
    fn expand(&mut self, name: &Name, attached: Option<&OsStr>) -> Result<bool> {
        let within = self.frame().alias;
        let Some((at, alias)) = self.aliases.find(name, within) else { return Ok(false) };
        let refuse = |why: &str| Err(Error::usage(format!("{}: {why}", aliases::shown(name))));
        if alias.runs {
            return refuse("this option runs another program in place of rsync (exec, in a file of popt)");
        }
        if self.frames.len() == DEEPEST {
            return refuse("the aliases in the files of popt lead to each other");
        }
        let attached = attached.filter(|value| !value.is_empty()).map(OsStr::to_owned);
        let words = alias.words.iter().cloned().chain(attached).collect();
        self.frames.push(Frame::new(words, Some(at)));
        Ok(true)
    }

    /// Reads `NAME` or `NAME=VALUE`, the dashes removed.
    fn read_long(&mut self, word: &[u8]) -> Result<Setting> {
        let (name, attached) = split_value(word);
        let (spec, negated) = table::by_name(name).ok_or_else(|| unknown(&[b"--", name].concat(), None))?;
        if negated || !spec.takes_value() {
            return match attached {
                Some(_) => Err(Error::usage(format!("rsync option --{} takes no value", Printable::bytes(name)))
                    .remedy("leave out the = and what follows it")),
                None => Ok(Setting { spec, negated, value: None }),
            };
        }
        let value = attached.map(OsStr::to_owned).or_else(|| self.value());
        Setting::new(spec, Some(value.ok_or_else(|| value_missing(spec))?))
    }

    /// Reads a letter; one that takes a value takes what is left of its word, or the next word.
    fn read_letter(&mut self, letter: u8, cluster: &OsStr) -> Result<Setting> {
        let within = (cluster.len() > 2).then_some(cluster);
        let spec = table::by_letter(letter).ok_or_else(|| unknown(&[b'-', letter], within))?;
        if !spec.takes_value() {
            return Ok(Setting { spec, negated: false, value: None });
        }
        let left = std::mem::take(&mut self.frame().letters);
        let value = if left.is_empty() {
            self.value().ok_or_else(|| value_missing(spec))?
        } else {
            OsString::from_vec(left.strip_prefix(b"=").unwrap_or(&left).to_vec())
        };
        Setting::new(spec, Some(value))
    }
}

/// `NAME` or `NAME=VALUE`.
fn split_value(word: &[u8]) -> (&[u8], Option<&OsStr>) {
    match word.iter().position(|&byte| byte == b'=') {
        Some(at) => (&word[..at], Some(OsStr::from_bytes(&word[at + 1..]))),
        None => (word, None),
    }
}

/// A number as C's strtol reads it with base 0, which popt requires to be the whole word; an empty word is 0.
fn c_int(text: &[u8]) -> Option<i32> {
    let text = str::from_utf8(text).ok()?;
    if text.is_empty() {
        return Some(0);
    }
    let text = text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (16, hex),
        None if digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    i32::try_from(i64::from_str_radix(digits, radix).ok()?.checked_mul(sign)?).ok()
}

/// `cluster` is the word an unknown letter stands in.
fn unknown(option: &[u8], cluster: Option<&OsStr>) -> Error {
    let place = cluster.map_or(String::new(), |word| format!(" (in {})", Printable::os(word)));
    let meant =
        option.strip_prefix(b"--").and_then(|name| table::long_names().find(|l| l.as_bytes().starts_with(name)));
    let remedy = match meant {
        Some(long) => format!("rsync does not take shortened names: write --{long} if that is meant"),
        None if let Some(long) = option.strip_prefix(b"--").and_then(|name| similar(str::from_utf8(name).ok()?)) => {
            format!("was --{long} meant? the options of rsync 3.1 to 3.5 are known here")
        }
        None => "the options of rsync 3.1 to 3.5 are known here; check the spelling in `rsync --help`".into(),
    };
    Error::usage(format!("unknown rsync option: {}{place}", Printable::bytes(option))).remedy(remedy)
}

fn value_missing(spec: &Spec) -> Error {
    Error::usage(format!("rsync option {} needs a value", spec.shown()))
        .remedy("add the value, or leave the option out")
}

fn not_an_option(word: &OsStr) -> Error {
    Error::usage(format!("not an rsync option: {}", Printable::os(word)))
        .remedy("sources and destination are given to multi-sync itself, outside the rsync options")
}

/// `-e ssh -p 2222`: rsync's own `-p` stands between the command and its value.
fn unquoted(setting: &Setting) -> String {
    let command = setting.value.as_deref().unwrap_or_default();
    let shown = setting
        .spec
        .short
        .map_or_else(|| format!("--{}", setting.spec.name()), |letter| format!("-{}", char::from(letter)));
    format!(
        "quote a command with its own options: {shown} '{} ...'; sources and destination are given to multi-sync itself, outside the rsync options",
        Printable::os(command)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(words: &[&str]) -> Options {
        Options::parse(words).unwrap()
    }

    fn failure(words: &[&str]) -> String {
        Options::parse(words).unwrap_err().to_string()
    }

    fn argv(words: &[&str]) -> Vec<String> {
        parse(words).argv().into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn letters_come_in_clusters_and_values_in_many_places() {
        assert_eq!(argv(&["-avzH", "--no-p"]), ["-a", "-v", "-z", "-H", "--no-perms"]);
        for words in
            [&["-aessh"][..], &["-ae", "ssh"], &["-a", "-e=ssh"], &["-a", "--rsh=ssh"], &["-a", "--rsh", "ssh"]]
        {
            assert_eq!(argv(words), ["-a", "-e", "ssh"], "{words:?}");
        }
        assert_eq!(argv(&["--exclude", "--delete", "-aT", "--"]), ["--exclude=--delete", "-a", "-T", "--"]);
        assert_eq!(
            argv(&["-M--log-file=x", "--exclude=", "--bwlimit", ""]),
            ["-M", "--log-file=x", "--exclude=", "--bwlimit="]
        );
        assert_eq!(
            argv(&["-@-1", "--zc=lz4", "--i-d", "--no-i-d"]),
            ["--modify-window=-1", "--compress-choice=lz4", "--implied-dirs", "--no-implied-dirs"]
        );
        assert_eq!(argv(&["--",]), [""; 0]);
        assert_eq!(parse(&["-s"]), parse(&["--protect-args"]));
        assert_eq!(parse(&["--no-s"]), parse(&["--no-secluded-args"]));
    }

    #[test]
    fn values_are_bytes() {
        let bytes = |text: &[u8]| OsString::from_vec(text.to_vec());
        let options = Options::parse(&[bytes(b"-T\xff/x"), bytes(b"--exclude=\xfe")]).unwrap();
        assert_eq!(options.argv(), [bytes(b"-T"), bytes(b"\xff/x"), bytes(b"--exclude=\xfe")]);
        assert_eq!(Options::parse_str(&bytes(b"'-T\xff/x' --exclude=\xfe")).unwrap(), options);
        assert_eq!(Options::parse(&[bytes(b"--\xff=\n")]).unwrap_err().to_string(), "unknown rsync option: --\\xff");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (words, message) in [
            (&["--foo"][..], "unknown rsync option: --foo"),
            (&["--foo=x"], "unknown rsync option: --foo"),
            (&["--perm"], "unknown rsync option: --perm"),
            (&["---archive"], "unknown rsync option: ---archive"),
            (&["-j"], "unknown rsync option: -j"),
            (&["-ajx"], "unknown rsync option: -j (in -ajx)"),
            (&["-aj"], "unknown rsync option: -j (in -aj)"),
            (&["-a", "--exclude"], "rsync option --exclude needs a value"),
            (&["-ae"], "rsync option --rsh (-e) needs a value"),
            (&["--archive=1"], "rsync option --archive takes no value"),
            (&["--no-v=1"], "rsync option --no-v takes no value"),
            (&["--max-delete=x"], "rsync option --max-delete: not a number: x"),
            (&["-@", "99999999999"], "rsync option --modify-window (-@): not a number: 99999999999"),
            (&["-a", "src/"], "not an rsync option: src/"),
            (&["-a", "--", "-r"], "not an rsync option: -r"),
            (&["-"], "not an rsync option: -"),
            (&[""], "not an rsync option: "),
        ] {
            assert_eq!(failure(words), message);
        }
        let advice = |word: &str| Options::parse(&[word]).unwrap_err().advice().unwrap().to_owned();
        assert!(advice("--perm").contains("--perms"));
        assert!(advice("src").contains("multi-sync itself"));
    }

    #[test]
    fn numbers_are_those_of_c() {
        for (text, number) in [
            ("", Some(0)),
            ("0", Some(0)),
            (" 7", Some(7)),
            ("+7", Some(7)),
            ("-7", Some(-7)),
            ("0x1F", Some(31)),
            ("035", Some(29)),
            ("-2147483648", Some(i32::MIN)),
            ("2147483648", None),
            ("7 ", None),
            ("08", None),
            ("0x", None),
            ("+", None),
            (" ", None),
            ("\u{e9}", None),
            ("--7", None),
            ("+-7", None),
            ("10k", None),
        ] {
            assert_eq!(c_int(text.as_bytes()), number, "{text:?}");
        }
    }

    #[test]
    fn without_drops_settings_and_keeps_the_rest_in_order() {
        let options = parse(&["-aH", "--delete", "--exclude=x", "-H"]);
        assert_eq!(
            options.without(|setting| setting.spec.id == Opt::HardLinks),
            parse(&["-a", "--delete", "--exclude=x"])
        );
    }

    #[test]
    fn options_of_the_connection_lead_to_another_machine_and_copy_nothing() {
        let words =
            ["-aH", "-e", "ssh -p 22", "--delete", "--port=1", "-4", "-M--x", "--exclude=a", "-s", "--timeout=9"];
        let left = ["-e", "ssh -p 22", "--port=1", "-4", "-M", "--x", "-s", "--timeout=9"];
        let left: Vec<OsString> = left.map(OsString::from).into();
        assert_eq!(parse(&words).connection_options().argv(), left);
    }

    #[test]
    fn no_name_is_in_the_table_twice() {
        let mut names: Vec<&str> = table::long_names().collect();
        let mut letters: Vec<u8> = specs().iter().filter_map(|spec| spec.short).collect();
        let (all_names, all_letters) = (names.len(), letters.len());
        names.sort_unstable();
        names.dedup();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!((names.len(), letters.len()), (all_names, all_letters));
        for spec in specs() {
            assert!(spec.long.is_some() || matches!(spec.short, Some(b'D' | b'F' | b'P')), "{spec:?}");
            assert_eq!(spec.why.is_empty(), spec.class == Class::Native, "{spec:?}");
            assert!(spec.negations.iter().all(|name| name.starts_with("no-")), "{spec:?}");
        }
    }

    #[test]
    fn an_option_that_counts_once_means_the_same_when_it_is_typed_again() {
        let once = specs().iter().filter(|spec| spec.repeats == Repeats::Once && spec.class != Class::Refused);
        for spec in once.filter(|spec| !matches!(spec.takes, Takes::Rule | Takes::Pattern)) {
            let setting = Setting { spec, negated: false, value: spec.takes_value().then(|| sample(spec).into()) };
            let [one, two] = [1, 2].map(|times| Options { settings: vec![setting.clone(); times] }.meaning());
            assert_eq!(one, two, "{spec:?}");
        }
        let counted = |text: &str| parse(&[text]).meaning() != parse(&[text, text]).meaning();
        assert!(["-v", "-h", "-i", "-x"].into_iter().all(counted));
    }

    /// A value that rsync accepts while it parses, and that leaves no file behind.
    fn sample(spec: &Spec) -> &'static str {
        match (spec.takes, spec.id) {
            (Takes::Input | Takes::Output, _) => "/dev/null",
            (Takes::Rule, _) => "- x",
            (_, Opt::BlockSize | Opt::MaxSize | Opt::MinSize | Opt::Bwlimit) => "1000",
            (_, Opt::Stderr) => "errors",
            (_, Opt::StopAt) => "2099-01-01T00:00",
            (_, Opt::Chmod) => "a+r",
            (_, Opt::Info | Opt::Debug) => "none",
            (_, Opt::RemoteOption) => "--fsync",
            _ => "1",
        }
    }

    /// Empty if rsync takes these words, else what it says; it reads all options before it prints its version.
    fn complaint(words: &[&str]) -> String {
        #[expect(clippy::disallowed_methods, reason = "the test asks the real rsync")]
        let output = std::process::Command::new("rsync").args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { String::new() } else { said.lines().next().unwrap_or("?").to_owned() }
    }

    fn rsync_is_3_5() -> bool {
        #[expect(clippy::disallowed_methods, reason = "the test asks the real rsync")]
        let output = std::process::Command::new("rsync").arg("--version").output();
        output.is_ok_and(|output| output.stdout.starts_with(b"rsync  version 3.5"))
    }

    #[test]
    fn the_installed_rsync_knows_every_name_with_this_arity() {
        if !rsync_is_3_5() {
            println!("SKIP: rsync 3.5 is not installed");
            return;
        }
        // These change how the words after them are read.
        let modes =
            [Opt::Daemon, Opt::Config, Opt::Dparam, Opt::Detach, Opt::Server, Opt::Sender, Opt::Help, Opt::Version];
        for spec in specs().iter().filter(|spec| !modes.contains(&spec.id)) {
            let long = spec.long.iter().chain(spec.aliases).map(|name| format!("--{name}"));
            let letter = spec.short.map(|letter| format!("-{}", char::from(letter)));
            let off = spec.negations.iter().map(|name| format!("--{name}"));
            let mut words: Vec<String> = off.clone().collect();
            for name in long.clone() {
                words.push(if spec.takes_value() { format!("{name}={}", sample(spec)) } else { name });
            }
            words.extend(letter.map(|name| if spec.takes_value() { name + sample(spec) } else { name }));
            words.push("--version".into());
            let answer = complaint(&words.iter().map(String::as_str).collect::<Vec<_>>());
            assert!(answer.is_empty() || answer.contains("does not support"), "{words:?}: {answer}");
            for name in off.chain(long.clone().filter(|_| !spec.takes_value())) {
                let answer = complaint(&[&format!("{name}=1"), "--version"]);
                assert!(answer.contains("does not take an argument"), "{name}=1: {answer}");
            }
            for name in long.filter(|_| spec.takes == Takes::Number) {
                let answer = complaint(&[&format!("{name}=1x"), "--version"]);
                assert!(answer.contains("invalid numeric value"), "{name}=1x: {answer}");
            }
        }
    }

    #[test]
    fn rsync_help_names_nothing_that_the_table_lacks() {
        if !rsync_is_3_5() {
            println!("SKIP: rsync 3.5 is not installed");
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "the test asks the real rsync")]
        let output = std::process::Command::new("rsync").arg("--help").output().unwrap();
        for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with('-')) {
            let names = line.split("  ").next().unwrap_or_default();
            for name in names.split([',', ' ', '=']).filter(|name| name.starts_with('-') && *name != "--no-OPTION") {
                let known = match name.strip_prefix("--") {
                    Some(long) => table::by_name(long.as_bytes()).is_some(),
                    None => table::by_letter(name.as_bytes()[1]).is_some(),
                };
                assert!(known, "{line}");
            }
        }
    }

    fn any_setting() -> impl Strategy<Value = Setting> {
        let value = prop::collection::vec(1u8.., 0..6);
        (0..specs().len(), any::<bool>(), value, any::<i32>()).prop_map(|(row, off, text, number)| {
            let spec = &specs()[row];
            let negated = off && !spec.negations.is_empty();
            let value = match spec.takes {
                Takes::Nothing => None,
                _ if negated => None,
                Takes::Number => Some(number.to_string().into()),
                _ => Some(OsString::from_vec(text)),
            };
            Setting { spec, negated, value }
        })
    }

    proptest! {
        #[test]
        fn argv_is_read_back_as_the_same(settings in prop::collection::vec(any_setting(), 0..8)) {
            let options = Options { settings };
            prop_assert_eq!(Options::parse(&options.argv()).unwrap(), options);
        }

        #[test]
        fn what_was_read_is_written_and_read_the_same(words in prop::collection::vec("-{0,2}[a-zA-Z@0=]{0,4}", 0..4)) {
            if let Ok(options) = Options::parse(&words) {
                prop_assert_eq!(Options::parse(&options.argv()).unwrap(), options);
            }
        }
    }
}
