//! Finds marks in a stream: they are removed from it, and everything else stays unchanged.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A text that no other output contains: it is random, and only the two ends know it.
#[derive(Debug, Clone)]
pub(in crate::supervise) struct Token(String);

impl Token {
    pub fn random() -> Token {
        let word = || RandomState::new().build_hasher().finish();
        Token(format!("{:016x}{:016x}", word(), word()))
    }

    pub fn halves(&self) -> (&str, &str) {
        self.0.split_at(self.0.len() / 2)
    }

    fn bytes(&self) -> Vec<u8> {
        format!("{}{} ", char::from(FIRST), self.0).into_bytes()
    }
}

/// A mark begins with this byte, and ends with a newline.
const FIRST: u8 = 1;
/// No mark is longer.
const LONGEST: usize = 256;

/// A part of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Bytes(&'a [u8]),
    Mark(&'a str),
}

/// Splits a stream into marks and other bytes.
#[derive(Debug, Default)]
pub(super) struct Frames {
    begins: Vec<u8>,
    /// Bytes that may be the beginning of a mark.
    held: Vec<u8>,
}

impl Frames {
    pub fn new(token: &Token) -> Frames {
        Frames { begins: token.bytes(), held: Vec::new() }
    }

    /// Takes the next bytes. Bytes that may be a part of a mark are held back until the rest comes.
    pub fn feed(&mut self, bytes: &[u8], each: &mut dyn FnMut(Part<'_>)) {
        let mut held = std::mem::take(&mut self.held);
        let whole = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        let left = self.divide(whole, each).to_vec();
        self.held = left;
    }

    fn divide<'a>(&self, mut left: &'a [u8], each: &mut dyn FnMut(Part<'_>)) -> &'a [u8] {
        let mut plain = 0;
        while let Some(at) = left[plain..].iter().position(|byte| *byte == FIRST).map(|at| at + plain) {
            let here = &left[at..];
            let text = here.strip_prefix(&self.begins[..]);
            let end = text.and_then(|text| text.iter().position(|byte| *byte == b'\n'));
            match (text, end) {
                (Some(text), Some(end)) => {
                    if at > 0 {
                        each(Part::Bytes(&left[..at]));
                    }
                    each(Part::Mark(std::str::from_utf8(&text[..end]).unwrap_or_default()));
                    left = &text[end + 1..];
                    plain = 0;
                }
                _ if (text.is_some() || self.begins.starts_with(here)) && here.len() < LONGEST => {
                    if at > 0 {
                        each(Part::Bytes(&left[..at]));
                    }
                    return here;
                }
                _ => plain = at + 1,
            }
        }
        if !left.is_empty() {
            each(Part::Bytes(left));
        }
        &[]
    }

    /// Passes on the bytes that were held back, at the end of the stream.
    pub fn finish(&mut self, each: &mut dyn FnMut(Part<'_>)) {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            each(Part::Bytes(&held));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes and marks, with neighbouring bytes joined.
    fn divided(frames: &mut Frames, pieces: &[&[u8]]) -> (Vec<u8>, Vec<String>) {
        let (mut bytes, mut marks) = (Vec::new(), Vec::new());
        let mut each = |part: Part<'_>| match part {
            Part::Bytes(part) => bytes.extend_from_slice(part),
            Part::Mark(text) => marks.push(text.to_owned()),
        };
        pieces.iter().for_each(|piece| frames.feed(piece, &mut each));
        frames.finish(&mut each);
        (bytes, marks)
    }

    proptest! {
        #[test]
        fn a_stream_stays_what_it_is_wherever_it_is_cut(
            parts in prop::collection::vec((prop::collection::vec(prop_oneof![Just(1u8), Just(b'\n'), any::<u8>()], 0..20), "[a-z0-9 ]{0,8}"), 0..6),
            cut in 1usize..40,
        ) {
            let token = Token::random();
            let (mut stream, mut bytes, mut marks) = (Vec::new(), Vec::new(), Vec::new());
            for (plain, text) in &parts {
                bytes.extend_from_slice(plain);
                marks.push(text.clone());
                stream.extend([plain, &token.bytes()[..], text.as_bytes(), b"\n"].concat());
            }
            stream.extend_from_slice(b"\x01rest");
            bytes.extend_from_slice(b"\x01rest");
            let pieces: Vec<&[u8]> = stream.chunks(cut).collect();
            prop_assert_eq!(divided(&mut Frames::new(&token), &pieces), (bytes, marks));
        }
    }

    #[test]
    fn a_line_does_not_wait_for_what_follows_it() {
        let mut frames = Frames::new(&Token::random());
        let mut lines = Vec::new();
        frames.feed(b"a\nb\r", &mut |part| lines.push(format!("{part:?}")));
        assert_eq!(lines, [format!("{:?}", Part::Bytes(b"a\nb\r"))]);
    }
}
