//! Error messages for a command line that is not understood. Many users type rsync's options by habit: they are shown the correct line, with the word `rsync`
//! before these options.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command};
use multi_sync::command::entry::Printable;
use multi_sync::command::options::{Aliases, CommandLine, Options, nearest, similar, specs};
use multi_sync::command::shell::Quoted;
use multi_sync::command::size::Size;
use multi_sync::{Error, Result};

use super::definition::{AUTO, CHECKSUM, MANY_TO_ONE, QUICK, command};
use super::line::operands;
use super::words::WORDS;

const SEE_HELP: &str = "see multi-sync --help";
/// The number of rsyncs in a suggested line.
const PROCESSES: [&str; 2] = ["-p", "4"];

/// Turns an error of clap into an error of multi-sync.
pub(super) fn of(error: &clap::Error, words: &[OsString]) -> Error {
    let text = error.render().to_string();
    let mut text = text.strip_prefix("error: ").unwrap_or(&text).lines().next().unwrap_or_default().to_owned();
    let named = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(all)) => all.first().cloned(),
        _ => None,
    };
    let typed = named(ContextKind::InvalidArg).unwrap_or_default();
    if error.kind() == ErrorKind::UnknownArgument {
        if let Some(option) = negative_value(words, &typed) {
            return Error::usage(format!("{option}: not a number: {typed}")).remedy("write a whole number from 1");
        }
        if let Some(cluster) = words.iter().find(|word| is_cluster_with(word, &typed)) {
            text = format!("unexpected argument '{typed}' in '{}'", Printable::os(cluster));
        }
    }
    let values = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => values.join(" or "),
        _ => String::new(),
    };
    let line = suggestion(words).map(|line| format!("for rsync's own options write: {line}"));
    if error.kind() == ErrorKind::UnknownArgument
        && line.is_none()
        && let Some(refused) = word_before_rsync(words)
    {
        return refused;
    }
    let is_theirs = error.kind() != ErrorKind::UnknownArgument || is_option_of_rsync(&typed);
    let remedy = match error.kind() {
        ErrorKind::ArgumentConflict if !typed.starts_with("--rsync") => "give it once".into(),
        _ if line.is_some() && is_theirs && values.is_empty() => line.unwrap_or_default(),
        ErrorKind::ArgumentConflict => "give all of rsync's options in one word: --rsync '-a --delete'".into(),
        ErrorKind::UnknownArgument => misspelt(&typed, named(ContextKind::SuggestedArg), words),
        ErrorKind::InvalidValue if values.is_empty() => format!("add the value: {typed}"),
        ErrorKind::InvalidValue => {
            let line = line.map_or(String::new(), |line| format!("; {line}"));
            format!("write {values}{line}")
        }
        _ => SEE_HELP.into(),
    };
    Error::usage(text).remedy(remedy)
}

/// For `verfy rsync -a SRC DEST`: the word `rsync` is taken for a source if another word comes before it.
fn word_before_rsync(words: &[OsString]) -> Option<Error> {
    let places = operands(words, &command()).places;
    let (first, others) = places.split_first()?;
    let word = words.get(*first)?;
    if !others.iter().any(|at| words[*at] == "rsync") {
        return None;
    }
    let error = Error::usage(format!("{} before the word rsync", Printable::os(word)));
    let mode = word.to_str().and_then(|word| nearest(word, ["verify", "survey", "explain"].into_iter()));
    Some(match mode {
        Some(mode) => error.remedy(format!("write {mode} instead of {} if that is meant", Printable::os(word))),
        None => {
            error.remedy("write rsync as the first word that is not an option, or before it verify, survey or explain")
        }
    })
}

/// For `multi-sync stauts RUN`, which was taken for a source that does not exist: the word that may be meant.
pub fn misspelt_word(words: &[OsString]) -> Option<String> {
    let word = words.get(1)?.to_str().filter(|word| !Path::new(word).exists())?;
    let meant = nearest(word, WORDS.iter().map(|told| told.name))?;
    Some(format!("write {meant} instead of {word} if that is meant; nothing was copied"))
}

/// For `rsync -a SRC DEST --verify`: an option of multi-sync that rsync does not have.
pub(super) fn ours_after_rsync(words: &[OsString]) -> Option<Error> {
    let command = command();
    let is_ours = |word: &&OsString| {
        let name = word.to_str().and_then(|word| word.strip_prefix("--")).map(|name| name.split('=').next());
        let known = command.get_arguments().filter_map(|argument| argument.get_long());
        name.flatten().is_some_and(|name| known.into_iter().any(|known| known == name))
            && !is_option_of_rsync(&word.to_string_lossy())
    };
    let word = words.iter().take_while(|word| *word != "--").find(is_ours)?;
    let text = word.to_string_lossy();
    let name = text.split('=').next().unwrap_or(&text);
    Some(Error::usage(format!("{name} is an option of multi-sync, which has to be before the word rsync")))
}

/// Refuses options that only change a run that is going on.
pub(super) fn refuse_without_set(matches: &ArgMatches, words: &[OsString]) -> Result<()> {
    if matches.contains_id("set") {
        return Ok(());
    }
    let flag = ["pause", "continue", "stop"].into_iter().find(|name| matches.get_flag(name));
    let Some(name) = flag.or(matches.contains_id("bwlimit").then_some("bwlimit")) else { return Ok(()) };
    let remedy = match suggestion(words).filter(|_| name == "bwlimit") {
        Some(line) => format!("for rsync's own option write: {line}"),
        None if name == "bwlimit" => {
            "give it among rsync's options: multi-sync -p 4 rsync -a --bwlimit=RATE SRC DEST".to_owned()
        }
        None => format!("name the run that is under way: multi-sync set RUN --{name}"),
    };
    Err(Error::usage(format!("--{name} without --set RUN")).remedy(remedy))
}

/// The remedy for an unknown option; `ours` is a similar option of multi-sync.
fn misspelt(typed: &str, ours: Option<String>, words: &[OsString]) -> String {
    let theirs = typed.strip_prefix("--").and_then(similar).map(|name| format!("--{name}"));
    match (ours, theirs) {
        (ours, Some(meant)) if ours.as_ref().is_none_or(|ours| *ours != meant) => {
            let replaced: Vec<OsString> = words
                .iter()
                .map(|word| match word.to_str().and_then(|text| text.strip_prefix(typed)) {
                    Some(rest) if rest.is_empty() || rest.starts_with('=') => format!("{meant}{rest}").into(),
                    _ => word.clone(),
                })
                .collect();
            let line = suggestion(&replaced).unwrap_or_else(|| format!("multi-sync -p 4 rsync {meant} ..."));
            format!("if rsync's {meant} is meant, write: {line}")
        }
        (Some(meant), _) => format!("write {meant} if that is meant"),
        (None, _) => format!(
            "{SEE_HELP}; write options of rsync after the word rsync (multi-sync -p 4 rsync -a SRC DEST), and a name that begins with - after --"
        ),
    }
}

/// For `-p -4`: the option before a word that looks like a negative number.
fn negative_value(words: &[OsString], typed: &str) -> Option<String> {
    let number = typed.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let at = words.iter().position(|word| number && word.as_bytes().starts_with(typed.as_bytes()))?;
    let before = words.get(at.checked_sub(1)?)?.to_str()?;
    let counts = [
        "processes",
        "files",
        "size",
        "retries",
        "stall",
        "scan-threads",
        "first-pass-threads",
        "host-timeout",
        "hook-seconds",
    ];
    let command = command();
    let option = command.get_arguments().find(|argument| {
        let short = argument.get_short().map(|letter| format!("-{letter}"));
        counts.contains(&argument.get_id().as_str())
            && (short.as_deref() == Some(before)
                || argument.get_long().map(|long| format!("--{long}")).as_deref() == Some(before))
    })?;
    Some(format!("--{}", option.get_long()?))
}

fn is_option_of_rsync(typed: &str) -> bool {
    let word = typed.split('=').next().unwrap_or(typed);
    let name = word.trim_start_matches('-');
    specs().iter().any(|spec| {
        let mut long = spec.long.iter().chain(spec.aliases).chain(spec.negations);
        let short = spec.short.is_some_and(|letter| name.as_bytes() == [letter]);
        if word.starts_with("--") { long.any(|long| *long == name) } else { short }
    })
}

/// Whether `word` consists of more than the `letter` (with its dash) that it contains.
fn is_cluster_with(word: &OsStr, letter: &str) -> bool {
    match (word.as_bytes(), letter.as_bytes()) {
        ([b'-', letters @ ..], [b'-', letter]) if *letter != b'-' => letters.len() > 1 && letters.contains(letter),
        _ => false,
    }
}

/// The line that a user meant who has typed options of rsync among ours, if the words can be understood in this way.
pub(super) fn suggestion(words: &[OsString]) -> Option<String> {
    let words = words.get(1..)?;
    if let Some(at) = words.iter().position(|word| word == "rsync") {
        return moved(&words[..at], &words[at + 1..]);
    }
    // `-b` may be ours and take a directory, or be rsync's.
    [true, false].into_iter().find_map(|ours| suggested(words, ours))
}

/// The line already has the word `rsync`, but options before it that multi-sync does not have belong after it.
fn moved(before: &[OsString], after: &[OsString]) -> Option<String> {
    let (mut ours, mut theirs): (Vec<OsString>, Vec<OsString>) = (Vec::new(), Vec::new());
    let definition = command();
    let mut words = before.iter();
    while let Some(word) = words.next() {
        match takes_next(word, &definition) {
            Some(takes) => ours.extend([word].into_iter().chain(words.by_ref().take(usize::from(takes))).cloned()),
            None => theirs.push(word.clone()),
        }
    }
    let read = CommandLine::parse(&theirs, Aliases::installed(), false).ok()?;
    if !read.operands.is_empty() || read.options.settings().is_empty() {
        return None;
    }
    theirs.extend_from_slice(after);
    let read = CommandLine::parse(&theirs, Aliases::installed(), false).ok()?;
    (read.operands.len() > 1).then(|| as_line(ours, theirs))
}

/// Whether this option of multi-sync takes the next word as its value; `None` if it is not an option of multi-sync. `--bwlimit` is one only with `--set`.
fn takes_next(word: &OsStr, definition: &Command) -> Option<bool> {
    let takes = |found: &Arg| found.get_action().takes_values() && !found.is_require_equals_set();
    let text = word.to_str()?;
    if let Some(name) = text.strip_prefix("--") {
        let (name, has_value) = name.split_once('=').map_or((name, false), |(name, _)| (name, true));
        let found = definition.get_arguments().find(|argument| argument.get_long() == Some(name))?;
        return (name != "bwlimit").then(|| takes(found) && !has_value);
    }
    let letters = text.strip_prefix('-').filter(|letters| !letters.is_empty())?;
    for (at, letter) in letters.char_indices() {
        let found = definition.get_arguments().find(|argument| argument.get_short() == Some(letter))?;
        if takes(found) {
            return Some(at + letter.len_utf8() == letters.len());
        }
    }
    Some(false)
}

fn suggested(words: &[OsString], buckets_are_ours: bool) -> Option<String> {
    let (ours, mut theirs) = divided(words, buckets_are_ours)?;
    let read = CommandLine::parse(&theirs, Aliases::installed(), false).ok()?;
    let starts = |name: &str| ours.iter().any(|word| word.to_str().is_some_and(|text| text.starts_with(name)));
    if read.operands.len() < 2 || read.options.settings().is_empty() || starts("--selftest") || starts("--bench") {
        return None;
    }
    let meaning = read.options.meaning();
    if !meaning.recursive && !meaning.dirs && meaning.files_from.is_none() {
        theirs.insert(0, "-a".into());
    }
    Some(as_line(ours, theirs))
}

/// The line with these options of multi-sync and these words for rsync.
fn as_line(mut ours: Vec<OsString>, theirs: Vec<OsString>) -> String {
    let named = |name: &str| ours.iter().any(|word| word.to_str().is_some_and(|text| text.starts_with(name)));
    if !named("-p") && !named("--processes") && !named("--mode") && !named("-m") {
        ours.splice(0..0, PROCESSES.map(OsString::from));
    }
    let words = ["multi-sync".into()].into_iter().chain(ours).chain(["rsync".into()]).chain(theirs);
    words.map(|word| Quoted(&word).to_string()).collect::<Vec<_>>().join(" ")
}

/// Options of multi-sync, and everything else.
fn divided(words: &[OsString], buckets_are_ours: bool) -> Option<(Vec<OsString>, Vec<OsString>)> {
    let (mut ours, mut theirs): (Vec<OsString>, Vec<OsString>) = (Vec::new(), Vec::new());
    let definition = command();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        let (text, next) = (word.to_str().unwrap_or_default(), words.get(at));
        let number = |word: &OsStr| word.to_str().is_some_and(|text| text == AUTO || text.parse::<u32>().is_ok());
        let with_value = match (text, next) {
            ("-p" | "--processes" | "-f" | "--files", Some(value)) => number(value),
            ("-s" | "--size", Some(value)) => Size::parse(value).is_ok(),
            ("-m" | "--mode", Some(value)) => value == MANY_TO_ONE,
            ("-b", Some(_)) => buckets_are_ours,
            _ => false,
        };
        let attached = text.strip_prefix("-p").or(text.strip_prefix("-f")).is_some_and(|rest| number(OsStr::new(rest)));
        let options = match (text, next) {
            ("-r" | "--rsync", Some(value)) if value.as_bytes().starts_with(b"-") => Some((value.clone(), 1)),
            _ => text
                .strip_prefix("--rsync=")
                .or(text.strip_prefix("-r").filter(|rest| rest.starts_with('-')))
                .map(|rest| (rest.into(), 0)),
        };
        let long = text
            .strip_prefix("--")
            .map(|rest| rest.split('=').next().unwrap_or(rest))
            .filter(|_| !is_option_of_rsync(text));
        let known = long.and_then(|name| definition.get_arguments().find(|argument| argument.get_long() == Some(name)));
        if let Some((options, taken)) = options {
            theirs.extend(Options::parse_str(&options).ok()?.argv());
            at += taken;
        } else if with_value {
            ours.extend([word.clone(), next?.clone()]);
            at += 1;
        } else if attached {
            ours.push(word.clone());
        } else if let Some(argument) = known {
            ours.push(word.clone());
            let takes =
                argument.get_action().takes_values() && !argument.is_require_equals_set() && !text.contains('=');
            if takes {
                ours.push(next?.clone());
                at += 1;
            }
        } else {
            theirs.push(word.clone());
        }
    }
    Some((ours, theirs))
}

/// Refuses `-v SRC DEST`, which users type for rsync's `-v`.
pub(super) fn refuse_version(matches: &ArgMatches, words: &[OsString]) -> Result<()> {
    refuse_to_copy(matches, words, "-v and --version print the version of multi-sync, and nothing is copied")
}

/// Refuses `-h SRC DEST` for the same reason.
pub(super) fn refuse_help(matches: &ArgMatches, words: &[OsString]) -> Result<()> {
    if words.iter().any(|word| word == "--help") {
        return Ok(());
    }
    refuse_to_copy(matches, words, "-h prints the help of multi-sync, and nothing is copied")
}

fn refuse_to_copy(matches: &ArgMatches, words: &[OsString], what: &str) -> Result<()> {
    if !matches.contains_id("paths") {
        return Ok(());
    }
    let error = Error::usage(what);
    Err(match suggestion(words) {
        Some(line) => error.remedy(format!("for rsync's own options write: {line}")),
        None => error.remedy("leave it out"),
    })
}

/// Refuses `--verify checksum`, where `checksum` would be taken for a source.
pub(super) fn refuse_depth(matches: &ArgMatches, words: &[OsString]) -> Result<()> {
    let meant = words.windows(2).find(|pair| pair[0] == "--verify" && (pair[1] == CHECKSUM || pair[1] == QUICK));
    let Some(pair) = meant.filter(|pair| matches.contains_id("verify") && !Path::new(&pair[1]).exists()) else {
        return Ok(());
    };
    let depth = Printable::os(&pair[1]);
    Err(Error::usage(format!("--verify {depth}: '{depth}' would be a source, and there is no such source"))
        .remedy(format!("write --verify={depth}")))
}

/// Refuses `-r SRC DEST` and `-rtv SRC DEST`: the value of our `-r` is not a list of options.
pub(super) fn refuse_paths_for_options(matches: &ArgMatches, words: &[OsString]) -> Result<()> {
    let Some(typed) = matches.get_one::<OsString>("rsync") else { return Ok(()) };
    let text = typed.as_bytes().trim_ascii();
    // The first one may be quoted.
    if text.is_empty() || matches!(text[0], b'-' | b'\'' | b'"' | b'\\') {
        return Ok(());
    }
    let error = Error::usage(format!(
        "-r, --rsync takes rsync's options in one word, and '{}' is not an option",
        Printable::os(typed)
    ));
    Err(match suggestion(words) {
        Some(line) => error.remedy(format!("for rsync's own options write: {line}")),
        None => error.remedy("write --rsync '-a --delete', or put multi-sync in front of the rsync command: multi-sync -p 4 rsync -r SRC DEST"),
    })
}

/// Refuses `ssh://HOST/PATH`, which would be the path `//HOST/PATH` on a machine called `ssh`.
pub(super) fn refuse_scheme(destination: &OsStr) -> Result<()> {
    let text = destination.to_str().unwrap_or_default();
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(()) };
    let is_name = !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if !is_name || scheme.eq_ignore_ascii_case("rsync") {
        return Ok(());
    }
    let remedy = match rest.split_once('/').filter(|_| matches!(scheme, "ssh" | "sftp" | "scp" | "rsync+ssh")) {
        Some((host, path)) => format!("write {}", Quoted(OsStr::new(&format!("{host}:/{path}")))),
        None => format!(
            "write a path, HOST:PATH, or rsync://HOST/MODULE/PATH; for a machine called {scheme} write {scheme}:/..."
        ),
    };
    Err(Error::usage(format!("rsync cannot copy to {scheme}:// ('{}')", Printable::os(destination))).remedy(remedy))
}

/// The error for a missing SRC or DEST.
pub(super) fn too_few(matches: &ArgMatches, words: &[OsString]) -> Error {
    let error = Error::usage("a source and a destination are needed");
    let mut paths = matches.get_many::<OsString>("paths").into_iter().flatten();
    let quoted = paths.find(|path| path.as_bytes().contains(&b' ') && Path::new(path).symlink_metadata().is_err());
    if let Some(line) = suggestion(words) {
        return error.remedy(format!("for rsync's own options write: {line}"));
    }
    match quoted {
        Some(path) => {
            error.remedy(format!("write SRC and DEST without quotes around both: {} is one word", Quoted(path)))
        }
        None if matches.get_flag("survey") => error.remedy("write multi-sync survey SRC"),
        None if matches.get_flag("verify-only") => error.remedy("write multi-sync verify -p 4 rsync -a SRC DEST"),
        None => error.remedy("write multi-sync -p 4 rsync -a SRC DEST; see multi-sync --help"),
    }
}
