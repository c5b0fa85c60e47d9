//! The user's rsync options: what was typed, in order, as typed values.
//!
//! Parsing follows popt as rsync uses it: `-avzH`, `-essh`, `-e ssh`, `-e=ssh`, `--x=y`, `--x y`. The word after an option that takes a value is its value,
//! whatever it looks like. Long names cannot be abbreviated. This module refuses unknown options (without knowing whether they take a value, the words after
//! them cannot be interpreted), words that are not options, and missing or superfluous values. It does not refuse combinations, which rsync judges, nor
//! options that multi-sync does not support ([`Options::refuse_unsupported`] does that).
//!
//! Words are read in `options/reader.rs`. The properties of each option are in `options/table.rs`, the meaning of a list of options in `options/meaning.rs`,
//! their effect on rsync's output in `options/shows.rs`, and what multi-sync does with them in `options/verdict.rs`. Other names that the user has given to
//! options are in `options/aliases.rs`.

mod aliases;
mod files;
mod info;
mod meaning;
mod operands;
mod reader;
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
pub use shows::Shows;
pub use similar::{nearest, similar};
pub use table::{Class, Group, Opt, Repeats, Spec, Takes, specs};
pub use verdict::{OLDEST_PROTOCOL, Verdict};

use operands::Operands;
use reader::{not_an_option, read_words};

use crate::entry::Printable;
use crate::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// rsync options in the order they were typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    settings: Vec<Setting>,
}

/// An option as it was typed. Spellings of one option (`-H`, `--hard-links`) are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The row of the table.
    pub spec: &'static Spec,
    /// Whether a `--no-…` form was typed.
    pub negated: bool,
    /// The value; present if and only if the option takes one.
    pub value: Option<OsString>,
}

impl Options {
    /// Reads words that a shell has already split. Errors are described at the top of this file.
    pub fn parse<S: AsRef<OsStr>>(words: &[S]) -> Result<Options> {
        Options::parse_with(words, &Aliases::default())
    }

    /// Reads words, some of which may be aliases of options.
    ///
    /// # Errors
    /// As [`Options::parse`]; also if an alias runs another program, or aliases refer to each other.
    pub fn parse_with<S: AsRef<OsStr>>(words: &[S], aliases: &Aliases) -> Result<Options> {
        let read = read_words(words, aliases, Operands::Refused)?;
        match read.operands.first() {
            Some(operand) => Err(not_an_option(operand)),
            None => Ok(Options { settings: read.settings }),
        }
    }

    /// Reads one string, which is split as a POSIX shell splits words, but without any expansion. An open quote is also an error.
    pub fn parse_str(text: &OsStr) -> Result<Options> {
        Options::parse_str_with(text, &Aliases::default())
    }

    /// Splits one string into words, some of which may be aliases of options, and reads them.
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

    /// Words that mean the same to any rsync that supports the options; parsing them gives these options again.
    pub fn argv(&self) -> Vec<OsString> {
        self.settings.iter().flat_map(Setting::argv).collect()
    }

    /// The options except those for which `drop` is true. Implied options stay: dropping `-r` leaves the one inside `-a`.
    #[must_use]
    pub fn without(&self, drop: impl Fn(&Setting) -> bool) -> Options {
        Options { settings: self.settings.iter().filter(|setting| !drop(setting)).cloned().collect() }
    }

    /// Whether an option was typed, other than to turn it off.
    pub fn has(&self, opt: Opt) -> bool {
        self.settings.iter().any(|setting| setting.spec.id == opt && !setting.negated)
    }

    /// Whether the receiving side is asked to delete by options that the sending side does not see (`-M`, `--rsync-path`).
    pub fn receiver_alone_deletes(&self) -> bool {
        let deletes = |word: &[u8]| word.starts_with(b"--del") || word.starts_with(b"--force");
        self.settings.iter().any(|setting| {
            let value = setting.value.as_deref().unwrap_or_default().as_bytes();
            match setting.spec.id {
                Opt::RemoteOption => deletes(value),
                Opt::RsyncPath => value.split(u8::is_ascii_whitespace).any(deletes),
                _ => false,
            }
        })
    }

    /// Whether one of these options was typed, even if only to turn it off.
    pub fn mentions(&self, opts: &[Opt]) -> bool {
        self.settings.iter().any(|setting| opts.contains(&setting.spec.id))
    }

    /// The options that determine how another machine is reached, rather than what is copied.
    #[must_use]
    pub fn connection_options(&self) -> Options {
        self.without(|setting| setting.spec.group != Group::Connection)
    }

    /// How many different times for deletion were given. rsync allows one.
    pub fn delete_times(&self) -> usize {
        const TIMES: [&[Opt]; 3] = [&[Opt::DeleteBefore], &[Opt::DeleteDuring, Opt::DeleteDelay], &[Opt::DeleteAfter]];
        TIMES.into_iter().filter(|opts| self.mentions(opts)).count()
    }

    /// The state of rsync after these options, with an empty environment.
    pub fn meaning(&self) -> Meaning {
        self.meaning_with(|_| None)
    }

    /// The state of rsync after these options. `env` gets the relevant variables: `RSYNC_PARTIAL_DIR`, `RSYNC_RSH`, `RSYNC_ICONV`.
    pub fn meaning_with(&self, env: impl Fn(&str) -> Option<OsString>) -> Meaning {
        Meaning::of(&self.settings, env)
    }
}

impl Setting {
    /// The words for this option.
    pub fn argv(&self) -> Vec<OsString> {
        if self.negated {
            return vec![format!("--{}", self.spec.negations[0]).into()];
        }
        match (self.spec, self.value.clone()) {
            // The letter is known to all versions that know the option, except `-@`, which is younger than its long name.
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

    /// The value as rsync reads it as a number; `None` unless the option takes a number.
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

/// A number as C's strtol reads it with base 0. popt requires that it is the whole word; an empty word is 0.
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

#[cfg(test)]
mod tests;
