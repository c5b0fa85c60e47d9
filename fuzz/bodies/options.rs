//! rsync's options, once read, keep their meaning and multi-sync's judgement in any spelling that is handed on.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use multi_sync::Error;
use multi_sync::harness::rsync::options::{Class, Meaning, Options, Setting, Takes, command_words};

/// Takes the input as words, one a line, and as one string.
pub fn check(data: &[u8]) {
    let lines = data.strip_suffix(b"\n").unwrap_or(data);
    let words: Vec<&OsStr> = lines.split(|&byte| byte == b'\n').map(OsStr::from_bytes).collect();
    let (listed, text) = (Options::parse(&words), Options::parse_str(OsStr::from_bytes(data)));
    let quotes = |byte: &u8| b" \t'\"\\".contains(byte);
    if !data.iter().any(quotes) && words.iter().all(|word| !word.is_empty()) {
        assert_eq!(listed.as_ref().ok(), text.as_ref().ok(), "{words:?}: nothing is quoted");
    }
    // A word that starts with # is a comment there; here it stands for itself.
    if let Some(string) = str::from_utf8(data).ok().filter(|text| !text.contains('#')) {
        let theirs = shell_words::split(string).ok().and_then(|words| Options::parse(&words).ok());
        assert_eq!(text.as_ref().ok(), theirs.as_ref(), "{string:?}");
    }
    for read in [listed, text] {
        match read {
            Ok(options) => {
                spellings_are_one(&options);
                files_are_found_from_anywhere(&options);
                judgement_is_explained(&options);
            }
            Err(error) => explains_itself(&error),
        }
    }
}

fn spellings_are_one(options: &Options) {
    let argv = options.argv();
    let again = Options::parse(&argv).unwrap_or_else(|error| panic!("{options:?} became {argv:?}: {error}"));
    assert_eq!(&again, options);
    assert_eq!(again.argv(), argv);
    assert_eq!(again.meaning_with(environment), options.meaning_with(environment));
    assert_eq!(again.verdicts_with(environment), options.verdicts_with(environment));
    assert_eq!(Options::parse_str(&quoted(&argv)).ok().as_ref(), Some(options), "quoted as for a shell");
    for setting in options.settings() {
        let names = setting.spec.long.iter().chain(setting.spec.aliases).filter(|_| !setting.negated);
        for name in names.chain(setting.spec.negations.iter().filter(|_| setting.negated)) {
            let word = OsString::from(format!("--{name}"));
            match &setting.value {
                None => means(setting, &[word]),
                Some(value) => {
                    means(setting, &[word.clone(), value.clone()]);
                    means(setting, &[joined(&[word.as_bytes(), b"=", value.as_bytes()])]);
                }
            }
        }
        if let (Some(letter), false) = (setting.spec.short, setting.negated) {
            let word = [b'-', letter];
            match &setting.value {
                None => means(setting, &[joined(&[&word])]),
                Some(value) => {
                    means(setting, &[joined(&[&word]), value.clone()]);
                    means(setting, &[joined(&[&word, b"=", value.as_bytes()])]);
                }
            }
        }
    }
}

fn means(setting: &Setting, words: &[OsString]) {
    let read = Options::parse(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert_eq!(read.settings(), std::slice::from_ref(setting), "{words:?}");
}

fn files_are_found_from_anywhere(options: &Options) {
    let cwd = Path::new("/it's :there");
    let absolute = options.absolute_files(cwd);
    // A command that was made to run there may be made so again: the first directory counts.
    let settled = |options: &Options| options.without(|setting| setting.spec.takes == Takes::Command);
    let elsewhere = absolute.absolute_files(Path::new("/elsewhere"));
    assert_eq!(settled(&elsewhere), settled(&absolute), "{options:?}");
    assert_eq!(Options::parse(&absolute.argv()).ok().as_ref(), Some(&absolute));
    assert_eq!(absolute.settings().len(), options.settings().len());
    for (new, old) in absolute.settings().iter().zip(options.settings()) {
        assert_eq!((new.spec, new.negated), (old.spec, old.negated));
        let (Some(value), Some(typed)) = (&new.value, &old.value) else {
            assert_eq!(new.value, old.value);
            continue;
        };
        match old.spec.takes {
            Takes::Output => assert!(value == &cwd.join(typed) || typed.is_empty(), "{typed:?} became {value:?}"),
            Takes::Input => {
                assert!(value == typed || value == &cwd.join(typed), "{typed:?} became {value:?}");
                let kept = typed.is_empty() || typed == "-" || typed.as_bytes().contains(&b':');
                assert!(kept || Path::new(value).is_absolute(), "{typed:?} stayed");
            }
            Takes::Command => runs_there(value, typed, cwd),
            Takes::Rule => {}
            _ => assert_eq!(value, typed),
        }
    }
    assert_eq!(without_names(absolute.meaning()), without_names(options.meaning()));
    let judged = |options: &Options| {
        options.verdicts().into_iter().map(|verdict| (verdict.option, verdict.class)).collect::<Vec<_>>()
    };
    assert_eq!(judged(&absolute), judged(options), "{options:?}");
}

/// The words stay what they were, behind those that lead to `cwd`; ssh may get its address family.
fn runs_there(command: &OsStr, typed: &OsStr, cwd: &Path) {
    // rsync refuses an open quote, and must still see it.
    let (Some(words), Some(own)) = (command_words(command), command_words(typed)) else {
        return assert_eq!(command_words(command), command_words(typed), "{typed:?} became {command:?}");
    };
    if words == own {
        return;
    }
    let at = words.iter().position(|word| word == cwd).unwrap_or_else(|| panic!("{command:?}: not in {cwd:?}"));
    let rest = words[at + 1..].strip_prefix(&own[..]).unwrap_or_else(|| panic!("{typed:?} became {command:?}"));
    assert!(rest.is_empty() || rest == ["-4"] || rest == ["-6"], "{typed:?} became {command:?}");
}

/// All but where the files are.
fn without_names(meaning: Meaning) -> Meaning {
    Meaning { files_from: None, log_file: None, rsh: None, ..meaning }
}

fn judgement_is_explained(options: &Options) {
    let verdicts = options.verdicts_with(environment);
    assert!(verdicts.len() >= options.settings().len());
    for verdict in &verdicts {
        let native = verdict.class == Class::Native;
        assert_eq!(verdict.why.is_empty(), native, "{verdict:?}");
        assert!(native || !verdict.remedy.is_empty(), "{verdict:?}");
    }
    let refused = verdicts.iter().find(|verdict| verdict.class == Class::Refused);
    match (options.refuse_unsupported_with(environment), refused) {
        (Ok(()), None) => {}
        (Err(error), Some(verdict)) => {
            explains_itself(&error);
            let said = error.to_string();
            assert!(said.contains(&verdict.option) && said.contains(verdict.why), "{said}: {verdict:?}");
            assert_eq!(error.advice(), Some(verdict.remedy));
        }
        (outcome, _) => panic!("{outcome:?}: {verdicts:?}"),
    }
}

fn explains_itself(error: &Error) {
    assert_eq!(error.exit_code(), 1);
    assert!(!error.to_string().contains(char::is_control), "{error}");
    let clear = |advice: &str| !advice.is_empty() && !advice.contains(char::is_control);
    assert!(error.advice().is_some_and(clear), "{error}");
}

fn environment(name: &str) -> Option<OsString> {
    ["RSYNC_PARTIAL_DIR", "RSYNC_ICONV"].contains(&name).then(|| "a,b".into())
}

/// Each word between `'`, where only that byte itself is special.
fn quoted(words: &[OsString]) -> OsString {
    let mut text = Vec::new();
    for word in words {
        text.push(b'\'');
        for &byte in word.as_bytes() {
            text.extend_from_slice(if byte == b'\'' { b"'\\''" } else { std::slice::from_ref(&byte) });
        }
        text.extend_from_slice(b"' ");
    }
    OsString::from_vec(text)
}

fn joined(parts: &[&[u8]]) -> OsString {
    OsString::from_vec(parts.concat())
}
