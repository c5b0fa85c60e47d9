//! Names, which are bytes: text if they are UTF-8, otherwise `{"bytes": BASE64}`, as in the output of ripgrep's `--json`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::entry::Printable;

/// A name, or a line that contains one.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(pub Vec<u8>);

impl Text {
    /// The printable form.
    pub fn shown(&self) -> String {
        Printable::bytes(&self.0).to_string()
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Text {
        Text(bytes.to_vec())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.as_bytes().to_vec())
    }
}

impl From<&OsStr> for Text {
    fn from(name: &OsStr) -> Text {
        Text(name.as_bytes().to_vec())
    }
}

impl From<&Path> for Text {
    fn from(path: &Path) -> Text {
        Text::from(path.as_os_str())
    }
}

#[derive(Serialize, Deserialize)]
struct Bytes {
    bytes: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Bytes(Bytes),
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Bytes { bytes: BASE64_STANDARD.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Text(text.into_bytes())),
            Form::Bytes(Bytes { bytes }) => BASE64_STANDARD.decode(bytes).map(Text).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_where_it_can_be_and_comes_back_as_it_was() {
        for (name, json) in [
            (&b"a \"b\"\n"[..], r#""a \"b\"\n""#),
            ("ä".as_bytes(), "\"ä\""),
            (b"\xff\x00x", r#"{"bytes":"/wB4"}"#),
            (b"", r#""""#),
        ] {
            let text = Text::from(name);
            assert_eq!(serde_json::to_string(&text).unwrap(), json);
            assert_eq!(serde_json::from_str::<Text>(json).unwrap(), text);
        }
        assert!(serde_json::from_str::<Text>(r#"{"bytes":"?"}"#).is_err());
    }
}
