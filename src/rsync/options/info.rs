//! The flags of `--info` and `--debug` (rsync(1), `--info`): a name in upper or lower case, then a level.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Each flag in lower case with its level; without digits the level is 1.
pub(super) fn words(value: &OsStr) -> impl Iterator<Item = (Vec<u8>, u32)> {
    value.as_bytes().split(|&byte| byte == b',').filter(|word| !word.is_empty()).map(|word| {
        let digits = word.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (name, level) = word.split_at(word.len() - digits);
        let level = str::from_utf8(level).ok().filter(|text| !text.is_empty());
        (name.to_ascii_lowercase(), level.map_or(1, |text| text.parse().unwrap_or(u32::MAX)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_levels() {
        let words: Vec<_> = words(OsStr::new("Progress2,,stats,name0,all99999999999")).collect();
        let wanted = [("progress", 2), ("stats", 1), ("name", 0), ("all", u32::MAX)];
        assert_eq!(words, wanted.map(|(name, level)| (name.as_bytes().to_vec(), level)));
    }
}
