//! rsync's version, as it prints it.

/// The first version with `--info=progress2` and `--ignore-missing-args`.
pub const OLDEST_RSYNC: Version = Version(3, 1, 0);
/// In a list of names, this version and newer ones refuse a link that an untrusted user has put in the place of a directory.
pub const TRUSTS_LISTS: Version = Version(3, 5, 0);

/// The oldest version whose dry run was seen to print everything that a copy would change.
pub const TELLS_CHANGES: Version = Version(3, 2, 7);

/// rsync's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// Reads the first line of `rsync --version`: `rsync  version 3.2.7  protocol version 31`; development versions have a `v` and a suffix.
    pub fn parse(line: &str) -> Option<Version> {
        let after = line.strip_prefix("rsync")?.trim_start().strip_prefix("version")?;
        // Other programs print the rsync version with which they are compatible.
        after.split_once("protocol version")?;
        let word = after.split_whitespace().next()?.trim_start_matches('v');
        let mut numbers = word.split(['.', '-', '+', 'd', 'p']).map_while(|part| part.parse().ok());
        Some(Version(numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_every_kind_of_first_line() {
        for (line, expected) in [
            ("rsync  version 3.5.0  protocol version 32", Some(Version(3, 5, 0))),
            ("rsync  version v3.2.3  protocol version 31", Some(Version(3, 2, 3))),
            ("rsync  version 3.1.3dev  protocol version 31", Some(Version(3, 1, 3))),
            ("rsync  version 3.4.0pre1  protocol version 32", Some(Version(3, 4, 0))),
            ("openrsync: protocol version 29", None),
            ("rsync version 2.6.9 compatible", None),
            ("[client] add_rule(- version 9.1.2 ) -- CAUTION: trailing whitespace!", None),
        ] {
            assert_eq!(Version::parse(line), expected, "{line}");
        }
        assert!(Version(3, 0, 9) < OLDEST_RSYNC && OLDEST_RSYNC < Version(3, 1, 3));
    }
}
