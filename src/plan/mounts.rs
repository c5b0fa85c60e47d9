//! Mount points below a directory of this machine.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Whether nothing is mounted below `dir`, a resolved path; false if that cannot be told.
pub(super) fn none_below(dir: &Path) -> bool {
    std::fs::read("/proc/self/mountinfo").is_ok_and(|table| !mounts_below(&table, dir))
}

/// The fifth field of a line is the mount point (proc_pid_mountinfo(5)).
fn mounts_below(table: &[u8], dir: &Path) -> bool {
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.map(unescape).any(|point| {
        let point = Path::new(&point);
        point != dir && point.starts_with(dir)
    })
}

/// Blank, tab, newline and backslash are `\` and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut name = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(u8::is_ascii_digit));
        match digits {
            Some(digits) => {
                name.push(digits.iter().fold(0u8, |sum, digit| sum.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &after[3..];
            }
            None => {
                name.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_counts_below_a_directory_and_not_at_it() {
        let table =
            b"36 35 98:0 / /d rw - ext4 /dev/a rw\n37 36 98:1 / /d\\040e/f\\134g rw shared:1 - ext4 /dev/b rw\n";
        for (dir, below) in [("/", true), ("/d", false), ("/d e", true), ("/d e/f\\g", false), ("/d e/f", false)] {
            assert_eq!(mounts_below(table, Path::new(dir)), below, "{dir}");
        }
        assert!(!none_below(Path::new("/")));
        assert!(none_below(tempfile::tempdir().unwrap().path()));
    }
}
