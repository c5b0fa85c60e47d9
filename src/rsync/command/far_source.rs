//! How launches name a source on another machine, and the names below it.

use std::ffi::OsString;

use super::Invocation;

/// Sources on another machine. Launches get all names as lists: in lists a shell there does not interpret them, they match only themselves with every version
/// of rsync, and their number is not limited (`docs/pull.md` has the experiments).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarSource {
    /// The only source argument of each launch.
    pub word: OsString,
    /// The directory below that argument to which names are relative; empty if it is the argument itself. Names of other sources begin with a slash, which
    /// stands for the argument.
    pub below: Vec<u8>,
    /// The words that start rsync there in the directory that the argument now names (`--rsync-path`), if it must not run in any other.
    pub enter: Option<OsString>,
}

impl FarSource {
    /// An argument as a name in a list. In a daemon module that is not confined by chroot(2), rsync opens files only if the source argument is the module
    /// itself (3.2.7 and 3.5.0, experiment): then the directory is put before each name.
    pub fn name(&self, argument: &[u8]) -> Vec<u8> {
        if let Some(name) = argument.strip_prefix(b"/./") {
            return [b"././", name].concat();
        }
        if let Some(name) = argument.strip_prefix(b"/") {
            return name.to_vec();
        }
        if self.below.is_empty() {
            return argument.to_vec();
        }
        // In a list, `/./` does what `././` does in arguments: it keeps directories out of the transfer.
        let name = argument.strip_prefix(b"././").unwrap_or(argument);
        [&self.below, &b"/./"[..], name].concat()
    }

    /// The option that starts rsync in the held directory.
    pub fn rsync_path(&self) -> Option<OsString> {
        let enter = self.enter.as_ref()?;
        let mut option = OsString::from("--rsync-path=");
        option.push(enter);
        Some(option)
    }

    /// One rsync for everything in one source, held in the same directory as the launches before it.
    pub fn held(&self, plain: &Invocation) -> Invocation {
        let mut held = plain.clone();
        let end = held.arguments.len().saturating_sub(2);
        if let Some(option) = self.rsync_path() {
            held.arguments[end] = self.word.clone();
            // Before the `--` that precedes the source.
            held.arguments.insert(end - 1, option);
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_sources_are_below_the_one_argument() {
        let name = |below: &str, argument: &str| {
            let far = FarSource { word: "h:/".into(), below: below.into(), enter: None };
            String::from_utf8(far.name(argument.as_bytes())).unwrap()
        };
        for (below, argument, expected) in [
            ("", "././s/a", "././s/a"),
            ("", "./a", "./a"),
            ("x/y", "././s/a", "x/y/./s/a"),
            ("x/y", "./a", "x/y/././a"),
            ("x/y", "./", "x/y/././"),
            ("x/y", "/z/./s/a", "z/./s/a"),
            ("x/y", "/./s/a", "././s/a"),
        ] {
            assert_eq!(name(below, argument), expected, "{below} {argument}");
        }
    }
}
