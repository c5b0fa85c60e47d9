//! Names that some file systems regard as equal: letters that differ only in case, the composed and the decomposed form of a letter, and (on FAT) dots and
//! blanks at the end.

use unicode_normalization::UnicodeNormalization;

/// A form that is equal for all names that a file system may regard as equal to this one. It may be equal for names that the file system distinguishes.
///
/// ```
/// use multi_sync::harness::names::fold;
/// assert_eq!(fold("Straße. ".as_bytes()), fold(b"STRASSE"));
/// assert_eq!(fold("\u{e9}".as_bytes()), fold("E\u{301}".as_bytes()));
/// assert_ne!(fold(b"a"), fold(b"b"));
/// ```
pub fn fold(name: &[u8]) -> Vec<u8> {
    let end = name.iter().rposition(|byte| !matches!(byte, b'.' | b' ')).map_or(name.len(), |last| last + 1);
    let name = &name[..end];
    match std::str::from_utf8(name) {
        Ok(text) if !text.is_ascii() => {
            let upper: String = text.nfkd().flat_map(char::to_uppercase).collect();
            upper.nfkd().flat_map(char::to_lowercase).nfkd().collect::<String>().into_bytes()
        }
        _ => name.to_ascii_lowercase(),
    }
}

/// The same name with the case of its first ASCII letter changed; `None` if it has none.
pub fn swapped(name: &[u8]) -> Option<Vec<u8>> {
    let at = name.iter().position(u8::is_ascii_alphabetic)?;
    let mut other = name.to_vec();
    // The bit that distinguishes upper and lower case.
    other[at] ^= 0x20;
    Some(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_text_fold_as_well() {
        assert_eq!(fold(b"A\xff"), fold(b"a\xff"));
        assert_eq!(fold(b"..."), b"...");
        assert_eq!(swapped(b"1a"), Some(b"1A".to_vec()));
        assert_eq!(swapped(b"1_"), None);
    }
}
