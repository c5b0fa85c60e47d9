//! Odd names: each one has been misread by some tool, shell or list format, and must arrive unchanged.
//!
//! This module contains the list of names and the fixed tree that has all of them.

use std::path::Path;

use super::folder::{Attributes, Folder, Mtime, split};
use super::{Fill, Totals};
use crate::error::Result;

/// The length of [`deep_path`].
pub const DEEP_PATH_BYTES: usize = 4000;

/// The longest name on common file systems, in bytes.
const LONGEST: usize = 255;

/// Whether the odd names at the top level of [`odd_names`] are files or directories; those one level down are the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopLevel {
    /// Files.
    Files,
    /// Directories with a file in each.
    Dirs,
}

/// Creates the fixed tree of odd names in `root`, which must be empty or not exist yet.
///
/// Each of [`all_odd_names`] exists at the top level and in the directory `below`, as a file in one and as a directory with a file `within` in the other;
/// create both trees for all combinations. One more file is at [`deep_path`]. Fails if the file system does not support such names, for example because it
/// insists on UTF-8.
pub fn odd_names(root: &Path, top: TopLevel) -> Result<Totals> {
    let root = Folder::new_root(root)?;
    let mut totals = Totals::default();
    root.make_dir(b"below")?;
    let below = root.enter(b"below")?;
    let (files, dirs) = match top {
        TopLevel::Files => (&root, &below),
        TopLevel::Dirs => (&below, &root),
    };
    for (number, name) in (0..).zip(all_odd_names()) {
        make_file(files, &name, number, &mut totals)?;
        dirs.make_dir(&name)?;
        let dir = dirs.enter(&name)?;
        make_file(&dir, b"within", number, &mut totals)?;
        dir.settle(attributes(0o755, number))?;
        totals.dirs += 1;
    }
    below.settle(attributes(0o755, 0))?;
    totals.dirs += 1;
    make_deep(&root, &mut totals)?;
    root.settle(attributes(0o755, 1))?;
    Ok(totals)
}

/// The odd names. None is `.` or `..`, no two are equal, and all are at most 255 bytes long.
pub fn all_odd_names() -> Vec<Vec<u8>> {
    let plain: &[&[u8]] = &[
        // Options, and rules in filters and lists.
        b"-",
        b"--",
        b"-rf",
        b"--delete",
        b"--files-from=-",
        b"-e sh",
        b"- x",
        b"+ x",
        b"!",
        b"#",
        b"# comment",
        b"#x",
        b";",
        b"; x",
        b":",
        b":x",
        b"a:b",
        b"host:path",
        b"host::module",
        b"rsync:",
        b"user@host",
        b"@",
        // Dots and tildes.
        b"...",
        b"..x",
        b".x",
        b". ",
        b".\\",
        b"x.",
        b"~",
        b"~root",
        b".~tmp~",
        b".multi-sync-none",
        b".x.AbCdEf",
        // Patterns and shell words.
        b"*",
        b"**",
        b"?",
        b"[a]",
        b"[",
        b"]",
        b"[!a]",
        b"{a,b}",
        b"'",
        b"\"",
        b"it's",
        b"`id`",
        b"$HOME",
        b"$(id)",
        b"${x}",
        b"\\",
        b"\\n",
        b"\\#012",
        b"x\\",
        b"&",
        b"|",
        b"<",
        b">",
        b"(",
        b")",
        b"^",
        b"=",
        b"a=b",
        b",",
        b"%",
        b"%s",
        b"%n%d",
        b"%2F",
        b"+",
        // White space and control characters.
        b" ",
        b"  ",
        b" leading",
        b"trailing ",
        b"in between",
        b"\t",
        b"a\tb",
        b"\n",
        b"a\nb",
        b"trailing\n",
        b"\nleading",
        b"\r",
        b"a\rb",
        b"\r\n",
        b"\x01",
        b"\x07\x08\x0b\x0c",
        b"\x1b[31mred",
        b"\x7f",
        // Bytes that are not ASCII.
        b"\xff",
        b"\xfe\xff",
        b"latin1 \xe9",
        b"\x80",
        b"cut \xc3",
        b"\xed\xa0\x80",
        "gr\u{fc}n".as_bytes(),
        "gru\u{308}n".as_bytes(),
        "\u{65e5}\u{672c}".as_bytes(),
        "\u{1f980}".as_bytes(),
        "\u{feff}bom".as_bytes(),
        "\u{202e}right to left".as_bytes(),
        "\u{2028}".as_bytes(),
        "\u{85}".as_bytes(),
        // Words that have a special meaning elsewhere.
        b"CON",
        b"con",
        b"null",
        b"0",
        b"lost+found",
    ];
    let mut names: Vec<Vec<u8>> = plain.iter().map(|name| name.to_vec()).collect();
    names.push(vec![b'n'; LONGEST]);
    names.push(vec![b'\n'; LONGEST]);
    names.push(vec![0xff; LONGEST]);
    names.push([vec![b'-'; LONGEST - 1], vec![b' ']].concat());
    names
}

/// The path, relative to the root of [`odd_names`], of the file that is as deep as a path argument can reach.
pub fn deep_path() -> Vec<u8> {
    let mut path = b"deep".to_vec();
    while path.len() + 1 + LONGEST < DEEP_PATH_BYTES {
        path.push(b'/');
        path.extend([b'd'; 199]);
    }
    path.push(b'/');
    path.resize(DEEP_PATH_BYTES, b'f');
    path
}

fn make_deep(root: &Folder, totals: &mut Totals) -> Result<()> {
    let path = deep_path();
    let (above, name) = split(&path);
    let mut made = Vec::new();
    let mut lowest = root.reach(b"")?;
    for name in above.split(|&byte| byte == b'/') {
        lowest.make_dir(name)?;
        let entered = lowest.enter(name)?;
        made.push(std::mem::replace(&mut lowest, entered));
        totals.dirs += 1;
    }
    make_file(&lowest, name, 0, totals)?;
    made.push(lowest);
    made.iter().rev().try_for_each(|folder| folder.settle(attributes(0o755, 2)))
}

fn make_file(folder: &Folder, name: &[u8], number: u64, totals: &mut Totals) -> Result<()> {
    let size = number % 50;
    folder.make_file(name, size, Fill::Random, number, attributes(0o644, number))?;
    totals.files += 1;
    totals.bytes += size;
    Ok(())
}

fn attributes(mode: u32, number: u64) -> Attributes {
    Attributes { mode, mtime: Mtime(1_234_567_890 + number as i64, 987_654_321) }
}
