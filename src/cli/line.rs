//! The word `rsync` on the command line: the words before it belong to multi-sync, and those after it to rsync.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::Command;
use multi_sync::command::entry::Printable;
use multi_sync::command::shell::Quoted;
use multi_sync::{Error, Result};

use super::definition::command;

/// A command line, split at the word `rsync`.
pub(super) struct Line {
    /// The program's name, and the arguments of multi-sync.
    pub ours: Vec<OsString>,
    /// The rsync command, if there is one.
    pub rsync: Option<Rsync>,
}

/// An rsync command as it would be typed without multi-sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rsync {
    /// `rsync`, or the path that was typed.
    pub program: OsString,
    pub words: Vec<OsString>,
}

impl Line {
    /// # Errors
    /// It is ambiguous whether `rsync` is the program or a source of this name.
    pub fn divide(words: &[OsString]) -> Result<Line> {
        let whole = || Line { ours: words.to_vec(), rsync: None };
        let found = operands(words, &command());
        let Some(&at) = found.places.first() else { return Ok(whole()) };
        let program = &words[at];
        if !is_program(program) {
            return Ok(whole());
        }
        let theirs = &words[at + 1..];
        refuse_a_source(program, theirs)?;
        let ours = words[..found.end.map_or(at, |end| end.min(at))].to_vec();
        Ok(Line { ours, rsync: Some(Rsync { program: program.clone(), words: theirs.to_vec() }) })
    }
}

/// The words that are neither options of multi-sync nor their values.
pub(super) struct Operands {
    pub places: Vec<usize>,
    /// The index of a `--`.
    pub end: Option<usize>,
    /// The indexes of options whose value is the next word.
    takes: Vec<usize>,
}

pub(super) fn operands(words: &[OsString], definition: &Command) -> Operands {
    let takes = |found: Option<&clap::Arg>| {
        found.is_some_and(|argument| argument.get_action().takes_values() && !argument.is_require_equals_set())
    };
    let long = |name: &[u8]| {
        definition.get_arguments().find(|argument| argument.get_long().is_some_and(|long| long.as_bytes() == name))
    };
    let short = |letter: u8| {
        let letter = char::from(letter);
        definition.get_arguments().find(|argument| argument.get_short() == Some(letter))
    };
    let mut found = Operands { places: Vec::new(), end: None, takes: Vec::new() };
    let mut at = 1;
    while at < words.len() {
        match words[at].as_bytes() {
            b"--" => {
                found.end = Some(at);
                found.places.extend(at + 1..words.len());
                break;
            }
            [b'-', b'-', name @ ..] => {
                if !name.contains(&b'=') && takes(long(name)) {
                    found.takes.push(at);
                    at += 1;
                }
            }
            [b'-', letters @ ..] if !letters.is_empty() => {
                // The rest of the word after such a letter is its value.
                let taking = letters.iter().position(|letter| takes(short(*letter)));
                if taking == Some(letters.len() - 1) {
                    found.takes.push(at);
                    at += 1;
                }
            }
            _ => found.places.push(at),
        }
        at += 1;
    }
    found
}

/// The words without these options and their values.
pub(super) fn without(words: &[OsString], names: &[&str], definition: &Command) -> Vec<OsString> {
    let is_one = |word: &OsString| {
        let name = word.as_bytes().strip_prefix(b"--")?;
        let name = name.split(|byte| *byte == b'=').next().unwrap_or(name);
        names.iter().find(|known| known.as_bytes() == name)
    };
    // A word that is neither an option nor an operand is the value of the option before it.
    let found = operands(words, definition);
    let end = found.end.unwrap_or(words.len());
    let mut left: Vec<OsString> = words.iter().take(1).cloned().collect();
    let mut at = 1;
    while at < words.len() {
        let takes = at < end && found.takes.contains(&at);
        if at >= end || found.places.contains(&at) || is_one(&words[at]).is_none() {
            left.extend(words[at..].iter().take(1 + usize::from(takes)).cloned());
        }
        at += 1 + usize::from(takes);
    }
    left
}

/// Whether it is `rsync`, or the path of a program of that name. A directory of that name is a source, and so is `./rsync`, whatever it is.
fn is_program(word: &OsStr) -> bool {
    let bytes = word.as_bytes();
    if bytes == b"rsync" {
        return true;
    }
    let remote = bytes.iter().position(|byte| matches!(byte, b':' | b'/')).is_some_and(|at| bytes[at] == b':');
    if !bytes.ends_with(b"/rsync") || bytes == b"./rsync" || remote {
        return false;
    }
    // If it does not exist, starting it will fail with a clear message.
    Path::new(word).metadata().map_or(true, |found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Refuses `rsync DEST` without any option. It would list DEST, and users with a folder called `rsync` would get no copy.
fn refuse_a_source(program: &OsStr, words: &[OsString]) -> Result<()> {
    let has_options = words.iter().any(|word| word.as_bytes().starts_with(b"-"));
    if program != "rsync" || words.is_empty() || has_options || Path::new(program).symlink_metadata().is_err() {
        return Ok(());
    }
    let rest = words.iter().map(|word| Quoted(word).to_string()).collect::<Vec<_>>().join(" ");
    let shown = Printable::os(program);
    Err(Error::usage(format!("'{shown}' may be the program, or something of that name in this directory")).remedy(
        format!(
            "write ./rsync for what is in this directory (multi-sync ./rsync {rest}), or the program with its path"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(words: &[&str]) -> (Vec<String>, Option<(String, Vec<String>)>) {
        let words: Vec<OsString> = std::iter::once("multi-sync").chain(words.iter().copied()).map(Into::into).collect();
        let text = |words: Vec<OsString>| words.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>();
        let line = Line::divide(&words).unwrap();
        let theirs = line.rsync.map(|rsync| (rsync.program.into_string().unwrap(), text(rsync.words)));
        (text(line.ours).split_off(1), theirs)
    }

    #[test]
    fn the_first_word_of_ours_decides() {
        for (words, ours) in [
            (&["rsync", "-a", "s", "d"][..], 0),
            (&["-p", "4", "rsync", "-a", "s", "d"], 2),
            (&["-p4", "-kP", "rsync", "-a", "s", "d"], 2),
            (&["--processes=4", "--stats", "/nowhere/bin/rsync", "-a", "s", "d"], 2),
            (&["--verify", "-kp", "4", "rsync", "-a", "s", "d"], 3),
            (&["-b", "rsync", "rsync", "-a", "s", "d"], 2),
        ] {
            let (before, theirs) = divided(words);
            assert_eq!(before, words[..ours], "{words:?}");
            let (program, rest) = theirs.unwrap_or_else(|| panic!("{words:?}"));
            assert_eq!(
                (program.as_str(), &rest[..]),
                (words[ours], &words[ours + 1..].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()[..])
            );
        }
        let (before, theirs) = divided(&["-p", "2", "--", "rsync", "-a", "s", "d"]);
        assert_eq!(
            (before, theirs.unwrap().1),
            (vec!["-p".into(), "2".into()], ["-a", "s", "d"].map(String::from).to_vec())
        );
    }

    #[test]
    fn options_are_left_out_with_their_values() {
        let left = |words: &[&str]| {
            let words: Vec<OsString> = std::iter::once("x").chain(words.iter().copied()).map(Into::into).collect();
            let left = without(&words, &["nodes", "submit"], &command());
            left[1..].iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        for (words, expected) in [
            (&["--submit", "-p", "2", "--nodes", "4", "s", "d"][..], "-p 2 s d"),
            (&["--nodes=4", "-b", "--submit", "s", "--submit"], "-b --submit s"),
            (&["-r", "--submit", "--", "--nodes", "--submit"], "-r --submit -- --nodes --submit"),
        ] {
            assert_eq!(left(words), expected, "{words:?}");
        }
    }

    #[test]
    fn what_is_a_source_stays_one() {
        for words in [
            &["./rsync", "d"][..],
            &["rsync/", "d"],
            &["s", "rsync"],
            &["-p", "2", "s", "rsync", "d"],
            &["host:/x/rsync", "d"],
            &["-b", "rsync", "s", "d"],
            &["--rsync", "rsync", "s", "d"],
            &["-r", "rsync", "s", "d"],
            &["--", "s", "rsync"],
            &["/etc/default/../../etc/rsync/", "d"],
        ] {
            assert_eq!(divided(words).1, None, "{words:?}");
        }
        let work = tempfile::tempdir().unwrap();
        let there = work.path().join("rsync");
        std::fs::create_dir(&there).unwrap();
        assert_eq!(divided(&[there.to_str().unwrap(), "d"]).1, None);
        std::fs::remove_dir(&there).unwrap();
        std::fs::write(&there, "settings").unwrap();
        assert_eq!(divided(&[there.to_str().unwrap(), "d"]).1, None);
        std::fs::set_permissions(&there, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(divided(&[there.to_str().unwrap(), "d"]).1.is_some());
    }
}
