//! Entries: the kind of a name, and how a name (bytes, never text) is shown to users.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// The kind of a name, as far as it matters for scanning and copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file: the only kind with content.
    File,
    /// A symbolic link, never followed.
    Symlink,
    /// FIFO, socket, character or block device.
    Special,
}

/// A name for programs: text, or if it is not UTF-8 an object with its bytes in base64 (RFC 4648, section 4).
pub fn as_json(name: &[u8]) -> serde_json::Value {
    match std::str::from_utf8(name) {
        Ok(text) => text.into(),
        Err(_) => serde_json::json!({ "bytes": BASE64_STANDARD.encode(name) }),
    }
}

/// A name made printable: control characters, the backslash and bytes that are not UTF-8 become `\xNN`, so that a name can neither break a line nor control a
/// terminal. Only for users; it is never parsed again.
pub struct Printable<'a>(&'a [u8]);

impl<'a> Printable<'a> {
    /// Wraps a name given as bytes.
    pub fn bytes(name: &'a [u8]) -> Self {
        Printable(name)
    }

    /// Wraps a path.
    pub fn path(path: &'a Path) -> Self {
        Printable(path.as_os_str().as_bytes())
    }

    /// Wraps a word of a command line.
    pub fn os(word: &'a OsStr) -> Self {
        Printable(word.as_bytes())
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() || c == '\\' {
                    let mut buffer = [0; 4];
                    for byte in c.encode_utf8(&mut buffer).bytes() {
                        write!(f, "\\x{byte:02x}")?;
                    }
                } else {
                    fmt::Write::write_char(f, c)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_for_a_program_is_text_or_bytes() {
        assert_eq!(as_json(b"a b"), "a b");
        assert_eq!(as_json(b"\xff"), serde_json::json!({ "bytes": "/w==" }));
    }

    #[test]
    fn names_print_on_one_line_and_without_escapes_for_the_terminal() {
        let shown = Printable::bytes(b"a b\n\x1b[31m\xff\\ \xc3\xa9").to_string();
        assert_eq!(shown, "a b\\x0a\\x1b[31m\\xff\\x5c \u{e9}");
    }
}
