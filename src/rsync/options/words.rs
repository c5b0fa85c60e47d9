//! Splits one string into words as a POSIX shell does (XCU 2.2, quoting), on bytes: names need not be UTF-8.
//!
//! Nothing is expanded: `$`, `*`, `~` and `#` are literal, because the user's shell has already expanded the string.

use crate::entry::Printable;
use crate::{Error, Result};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Splits at blanks and newlines, unless they are in `'…'`, `"…"` or after `\`. Fails on an open quote.
pub(super) fn split(text: &[u8]) -> Result<Vec<OsString>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b' ' | b'\t' | b'\n' => words.extend(word.take()),
            b'\'' => {
                let len = text[at..].iter().position(|&b| b == b'\'').ok_or_else(|| open('\'', text))?;
                word.get_or_insert_default().extend_from_slice(&text[at..at + len]);
                at += len + 1;
            }
            b'"' => at = double_quoted(text, at, word.get_or_insert_default())?,
            // A backslash before a newline joins two lines; at the end of the text it is literal.
            b'\\' => match text.get(at) {
                Some(b'\n') => at += 1,
                next => {
                    word.get_or_insert_default().push(next.copied().unwrap_or(byte));
                    at += 1;
                }
            },
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    Ok(words.into_iter().map(OsString::from_vec).collect())
}

/// Reads the inside of `"…"` from `at` into `word`, and returns the position after the closing quote.
fn double_quoted(text: &[u8], mut at: usize, word: &mut Vec<u8>) -> Result<usize> {
    loop {
        let &byte = text.get(at).ok_or_else(|| open('"', text))?;
        at += 1;
        match (byte, text.get(at)) {
            (b'"', _) => return Ok(at),
            (b'\\', Some(b'\n')) => at += 1,
            (b'\\', Some(&next @ (b'$' | b'`' | b'"' | b'\\'))) => {
                word.push(next);
                at += 1;
            }
            _ => word.push(byte),
        }
    }
}

fn open(quote: char, text: &[u8]) -> Error {
    Error::usage(format!("no closing {quote} in rsync options: {}", Printable::bytes(text)))
        .remedy("quote the options as for a shell, which splits them into words")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt;

    fn words(text: &str) -> Vec<String> {
        split(text.as_bytes()).unwrap().into_iter().map(|w| w.into_string().unwrap()).collect()
    }

    #[test]
    fn quotes_keep_blanks_and_disappear() {
        assert_eq!(
            words("-a  -e 'ssh -p 22'\t--exclude=\"a b\"\n-S"),
            ["-a", "-e", "ssh -p 22", "--exclude=a b", "-S"]
        );
        assert_eq!(words(r#"a'b'"c"\ d ''"#), ["abc d", ""]);
        assert_eq!(words(r#""a\"b\$\x" 'a\b' a\\b"#), [r#"a"b$\x"#, r"a\b", r"a\b"]);
        assert_eq!(words("a\\\nb \"c\\\nd\" e\\"), ["ab", "cd", "e\\"]);
        assert_eq!(words("--exclude=#x# #y $HOME ~ *"), ["--exclude=#x#", "#y", "$HOME", "~", "*"]);
        assert!(words(" \t\n").is_empty());
    }

    #[test]
    fn bytes_that_are_no_text_pass() {
        assert_eq!(split(b"'\xff a' \xfe").unwrap()[0].as_bytes(), b"\xff a");
    }

    #[test]
    fn an_open_quote_is_named() {
        assert_eq!(split(b"-e 'ssh").unwrap_err().to_string(), "no closing ' in rsync options: -e 'ssh");
        assert_eq!(split(b"-e \"ssh").unwrap_err().to_string(), "no closing \" in rsync options: -e \"ssh");
    }

    proptest! {
        #[test]
        fn agrees_with_shell_words(text in r#"[-ab '"\\$\n=]{0,20}"#) {
            let theirs = shell_words::split(&text).ok();
            let ours = split(text.as_bytes()).ok().map(|w| w.into_iter().map(|w| w.into_string().unwrap()).collect::<Vec<_>>());
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn undoes_the_quoting_of_a_shell(words in prop::collection::vec(prop::collection::vec(1u8.., 0..8), 0..5)) {
            let quoted: Vec<Vec<u8>> = words.iter().map(|word| {
                let mut out = vec![b'\''];
                for &byte in word {
                    if byte == b'\'' { out.extend_from_slice(b"'\\''") } else { out.push(byte) }
                }
                out.push(b'\'');
                out
            }).collect();
            let back: Vec<Vec<u8>> = split(&quoted.join(&b' ')).unwrap().into_iter().map(OsString::into_vec).collect();
            prop_assert_eq!(back, words);
        }
    }
}
