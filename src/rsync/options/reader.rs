//! Reads the words of a command line as rsync does, with popt: clusters of letters, values in the same or the next word, and aliases of names.

use super::Setting;
use super::aliases::{self, Aliases, Name};
use super::operands::Operands;
use super::similar::similar;
use super::table::{self, Spec, Takes};
use crate::entry::Printable;
use crate::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The result of reading.
pub(super) struct Read {
    pub settings: Vec<Setting>,
    /// Words that are not options. Those after `--` come last.
    pub operands: Vec<OsString>,
    /// Whether there was a `--`.
    pub ended: bool,
}

/// Reads options up to `--`, and the words after it.
pub(super) fn read_words<S: AsRef<OsStr>>(words: &[S], aliases: &Aliases, may_have: Operands) -> Result<Read> {
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

/// popt refuses aliases that are nested more deeply.
const DEEPEST: usize = 10;

/// Words that are still to be read: those that were typed, and those of aliases that replace some of them.
struct Reader<'a> {
    aliases: &'a Aliases,
    frames: Vec<Frame>,
}

struct Frame {
    words: std::vec::IntoIter<OsString>,
    /// The remaining letters of the word that was read last.
    letters: Vec<u8>,
    cluster: OsString,
    /// The index of the alias from which these words come.
    alias: Option<usize>,
}

impl Frame {
    fn new(words: Vec<OsString>, alias: Option<usize>) -> Frame {
        Frame { words: words.into_iter(), letters: Vec::new(), cluster: OsString::new(), alias }
    }
}

enum Next {
    /// With the word that contains it.
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

    /// The next whole word; popt skips letters that are left before it.
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

    /// Replaces a name by the words of its alias, if it is one.
    fn expand(&mut self, name: &Name, attached: Option<&OsStr>) -> Result<bool> {
        let within = self.frame().alias;
        let Some((at, alias)) = self.aliases.find(name, within) else { return Ok(false) };
        let refuse = |why: &str| Err(Error::usage(format!("{}: {why}", aliases::shown(name))));
        if alias.runs {
            return refuse("this option runs another program in place of rsync (exec, in a popt file)");
        }
        if self.frames.len() == DEEPEST {
            return refuse("the aliases in the popt files refer to each other");
        }
        let attached = attached.filter(|value| !value.is_empty()).map(OsStr::to_owned);
        let words = alias.words.iter().cloned().chain(attached).collect();
        self.frames.push(Frame::new(words, Some(at)));
        Ok(true)
    }

    /// Reads `NAME` or `NAME=VALUE`, without the dashes.
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

    /// Reads a letter. If it takes a value, this is the rest of its word, or the next word.
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

/// Splits `NAME` or `NAME=VALUE`.
fn split_value(word: &[u8]) -> (&[u8], Option<&OsStr>) {
    match word.iter().position(|&byte| byte == b'=') {
        Some(at) => (&word[..at], Some(OsStr::from_bytes(&word[at + 1..]))),
        None => (word, None),
    }
}

/// `cluster` is the word that contains an unknown letter.
fn unknown(option: &[u8], cluster: Option<&OsStr>) -> Error {
    let place = cluster.map_or(String::new(), |word| format!(" (in {})", Printable::os(word)));
    let meant =
        option.strip_prefix(b"--").and_then(|name| table::long_names().find(|l| l.as_bytes().starts_with(name)));
    let remedy = match meant {
        Some(long) => format!("write --{long} if that is meant: rsync does not accept abbreviated names"),
        None if let Some(long) = option.strip_prefix(b"--").and_then(|name| similar(str::from_utf8(name).ok()?)) => {
            format!("write --{long} if that is meant: multi-sync knows the options of rsync 3.1 to 3.5")
        }
        None => "check the spelling in `rsync --help`: multi-sync knows the options of rsync 3.1 to 3.5".into(),
    };
    Error::usage(format!("unknown rsync option: {}{place}", Printable::bytes(option))).remedy(remedy)
}

fn value_missing(spec: &Spec) -> Error {
    Error::usage(format!("rsync option {} needs a value", spec.shown()))
        .remedy("add the value, or leave the option out")
}

pub(super) fn not_an_option(word: &OsStr) -> Error {
    Error::usage(format!("not an rsync option: {}", Printable::os(word)))
        .remedy("give the sources and the destination to multi-sync itself, outside the rsync options")
}

/// A hint for `-e ssh -p 2222`, where `-p` is read as an option of rsync, because the command was not quoted.
fn unquoted(setting: &Setting) -> String {
    let command = setting.value.as_deref().unwrap_or_default();
    let shown = setting
        .spec
        .short
        .map_or_else(|| format!("--{}", setting.spec.name()), |letter| format!("-{}", char::from(letter)));
    format!(
        "quote a command with its own options: {shown} '{} ...'; give the sources and the destination to multi-sync itself, outside the rsync options",
        Printable::os(command)
    )
}
