//! Lists with `find`: one login for all roots, with a script that runs one `find` for each. It reports everything that a scan needs that follows no links and
//! uses no rules.
//!
//! With GNU's `-printf` a record consists of the attributes of an entry, its path and a NUL. Without it (busybox, toybox), `stat` prints the records, many in
//! one process. Such a record ends with two slashes and a newline, because no path contains two slashes in a row. A line says which form follows; everything
//! before it, such as the greeting of a login shell, is ignored.
//!
//! The stream is one-way, so that a high-latency connection costs one login, and nothing for each directory.

use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::{Far, child};
use crate::entry::{Kind, Printable};
use crate::error::{EXIT_PARTIAL, Error, Result};
use crate::rsync::prune::Prune;
use crate::scan::{Event, Listed, ListedWalk, Root, Small, Watch};
use crate::shell;
use crate::supervise::{Ended, Invocation};

/// The beginning of the line before the records. The form of the records follows.
const BEGINS: &[u8] = b"multi-sync-find ";
/// The most bytes that may come before this line.
pub const LONGEST_GREETING: usize = 1 << 20;
/// The longest record. A path that is passed to a system call has at most 4,095 bytes, but `find` changes its directory and can have longer ones.
pub const LONGEST_RECORD: usize = 1 << 20;
/// A script is one argument of a shell there, and an argument has at most 128 KiB.
pub const LONGEST_SCRIPT: usize = 100 * 1024;

/// A shell adds the number of the signal to this (sh(1)).
const KILLED: u64 = 128;

/// Functions of a script: `f WORDS...` lists with find, `m WORD...` prints a record that is not an entry. `w` is the directive of GNU's find for the path
/// that is printed.
pub const FUNCTIONS: &str = r#"LC_ALL=C; export LC_ALL; unset CDPATH POSIXLY_CORRECT FIND_BLOCK_SIZE
if [ "$(find / -maxdepth 0 -readable -executable -printf %U 2>/dev/null)" ]; then
    printf '\nmulti-sync-find printf\n'
    f() { find "$@" \( ! -type d -o -readable -executable -o -printf x -prune \) -printf "%y %m %s %U %D %i %n %$w"'\0'; }
    m() { printf '%s\0' "$*"; }
else
    printf '\nmulti-sync-find stat\n'
    f() { find "$@" -exec stat -c '%f %s %u %d %i %h %n//' {} +; }
    m() { printf '%s//\n' "$*"; }
fi
"#;
/// `r NAME [OPTIONS...]` lists a root: its base, the root itself and its contents, and then how that ended.
const HEAD: &str = r#"w=P
r() {
    n=$1; shift
    m base; f . -maxdepth 0
    m root; f "$n" -maxdepth 0
    if [ -d "$n" ] && [ ! -h "$n" ]; then f "$n" -mindepth 1 "$@"; m end $?; else m end 0; fi
}
"#;

/// A shell condition for [`super::look`]: true if one of the two forms works.
pub const WORKS: &str = r#"if [ "$(find / -maxdepth 0 -readable -executable -printf %U 2>/dev/null)" ] ||
    case $(find / -maxdepth 0 -exec stat -c '%f %s %u %d %i %h %n//' {} + 2>/dev/null) in 4*' ///') true;; *) false;; esac
"#;

pub fn scan(far: Far<'_>, small: Option<Small<'_>>, watch: &Watch, sink: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
    let mut walk = ListedWalk::new(far.scan, far.user, small, watch, sink)?;
    let mut begins = 0;
    for (text, count) in scripts(&far.scan.roots, far.scan.one_file_system > 0, &far.scan.prune) {
        if watch.stopped() {
            break;
        }
        run(far, &text, begins..begins + count, watch, &mut walk)?;
        begins += count;
    }
    walk.end();
    Ok(())
}

fn run(
    far: Far<'_>,
    text: &[u8],
    roots: std::ops::Range<usize>,
    watch: &Watch,
    walk: &mut ListedWalk<'_>,
) -> Result<()> {
    let Some(reached) = &far.reach.shell else { return Err(Error::usage("there is no shell on that machine")) };
    let words = vec!["-c".into(), std::ffi::OsStr::from_bytes(text).to_owned(), "sh".into()];
    let script = shell::script(&Invocation::new("sh", words, "."));
    let invocation = Invocation { input: script, held: true, ..reached.clone() };
    let (first, end) = (roots.start, roots.end);
    let (roots, identity) = (&far.scan.roots[..], far.identity);
    let mut records = Records { roots, identity, next: first, end, ..Records::default() };
    let mut troubles = Vec::new();
    let finished = child::run(
        &invocation,
        None,
        far.reach.stall,
        far.supervisor,
        watch,
        &mut |bytes| bytes.map_or(Ok(()), |bytes| records.feed(bytes, walk)),
        &mut |line| hear(line, &mut troubles),
    )?;
    if watch.stopped() || far.supervisor.stopped() {
        return Ok(());
    }
    if finished.ended != Ended::Code(0) || !records.is_complete() {
        return Err(finished.error("cannot list the source with find"));
    }
    if troubles.is_empty() && records.failed {
        troubles.push(Trouble { path: Vec::new(), errno: Errno::IO, attempted: "list all of", in_unit: false });
    }
    for Trouble { path, errno, attempted, in_unit } in troubles {
        // Errors of a root itself have already been reported.
        if !records.unread.contains(&path) {
            // Standard error is not in step with the records, so the root is found by its name in the path, if it has one.
            let is_in = |root: &Root| root.name.as_deref().is_some_and(|name| path.starts_with(name.as_bytes()));
            let root = (first..end).find(|index| is_in(&far.scan.roots[*index])).unwrap_or(first);
            walk.failed(root as u32, &path, attempted, errno, in_unit);
        }
    }
    Ok(())
}

/// The scripts that list all roots, each with its number of roots.
fn scripts(roots: &[Root], one_file_system: bool, prune: &Prune) -> Vec<(Vec<u8>, usize)> {
    let mut options = Vec::new();
    if one_file_system {
        options.extend(b" -xdev");
    }
    let rules = prune.names();
    if !rules.is_empty() {
        options.extend(b" \\( ! -type d");
        for (excludes, pattern) in rules {
            options.extend(b" -o -name ");
            options.extend(shell::quote(std::ffi::OsStr::from_bytes(&pattern)));
            options.extend(if excludes { &b" -prune"[..] } else { b"" });
        }
        options.extend(b" -o -name '*' \\)");
    }
    let mut scripts: Vec<(Vec<u8>, usize)> = Vec::new();
    for root in roots {
        let local = |path: &[u8]| if path.starts_with(b"/") { path.to_vec() } else { [b"./", path].concat() };
        let quoted = |path: &[u8]| shell::quote(std::ffi::OsStr::from_bytes(path));
        let base = quoted(&local(root.base.as_os_str().as_bytes()));
        let name = root.name.as_deref().map_or(b"'.'".to_vec(), |name| quoted(&[b"./", name.as_bytes()].concat()));
        let line = [b"(cd ", &base[..], b" && r ", &name, &options, b") || m lost\n"].concat();
        match scripts.last_mut().filter(|(text, _)| text.len() + line.len() < LONGEST_SCRIPT) {
            Some((text, count)) => {
                text.extend(line);
                *count += 1;
            }
            None => scripts.push(([FUNCTIONS.as_bytes(), HEAD.as_bytes(), &line].concat(), 1)),
        }
    }
    scripts.iter_mut().for_each(|(text, _)| text.extend(b"m done\n"));
    scripts
}

/// The form of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Printf,
    Stat,
}

impl Form {
    pub fn end(self) -> &'static [u8] {
        match self {
            Form::Printf => b"\0",
            Form::Stat => b"//\n",
        }
    }
}

/// The position in the list of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    #[default]
    Between,
    Base,
    Root,
    Done,
}

/// Splits the output into records, and gives them to the walk.
#[derive(Default)]
struct Records<'a> {
    roots: &'a [Root],
    /// See [`Far::identity`].
    identity: Option<(u64, u64)>,
    /// The index of the next root, and the index at which this script ends.
    next: usize,
    end: usize,
    form: Option<Form>,
    begun: Vec<u8>,
    at: At,
    /// Whether the root was announced to the walk.
    is_told: bool,
    /// Whether something could not be listed. Standard error says what.
    failed: bool,
    /// The paths of roots that could not be read.
    unread: Vec<Vec<u8>>,
}

impl Records<'_> {
    fn is_complete(&self) -> bool {
        self.at == At::Done && self.next == self.end && self.begun.is_empty()
    }

    fn feed(&mut self, bytes: &[u8], walk: &mut ListedWalk<'_>) -> Result<()> {
        let mut begun = std::mem::take(&mut self.begun);
        let mut rest = bytes;
        if !begun.is_empty() || self.form.is_none() {
            begun.extend_from_slice(bytes);
            rest = &begun;
        }
        let form = match self.form {
            Some(form) => form,
            None => match begins(rest) {
                Some((form, length)) => {
                    self.form = Some(form);
                    rest = &rest[length..];
                    form
                }
                None if rest.len() > LONGEST_GREETING => return Err(unclear(&rest[..80])),
                None => {
                    self.begun = rest.to_vec();
                    return Ok(());
                }
            },
        };
        let end = form.end();
        while let Some(length) = find(rest, end) {
            self.record(&rest[..length], form, walk)?;
            rest = &rest[length + end.len()..];
        }
        if rest.len() > LONGEST_RECORD {
            return Err(unclear(&rest[..80]));
        }
        self.begun = rest.to_vec();
        Ok(())
    }

    fn record(&mut self, record: &[u8], form: Form, walk: &mut ListedWalk<'_>) -> Result<()> {
        match (record, self.at) {
            (b"base", At::Between) if self.next < self.end => self.at = At::Base,
            (b"root", At::Base) => {
                self.tell_root(None, walk);
                self.at = At::Root;
            }
            (b"lost", At::Between | At::Base | At::Root) if self.next < self.end => {
                self.tell_root(None, walk);
                self.end_root(walk);
            }
            (b"done", At::Between) => self.at = At::Done,
            (record, At::Root) if record.starts_with(b"end ") => {
                // The shell reports this code for a child that was killed: the list is incomplete, and this is not an error of an entry.
                if number(&record[b"end ".len()..], 10).is_none_or(|code| code >= KILLED) {
                    return Err(Error::system("cannot list the source with find: it was killed there")
                        .remedy("run it again: what was found by then may have been copied already")
                        .exit(EXIT_PARTIAL));
                }
                self.failed |= record != b"end 0";
                self.end_root(walk);
            }
            (record, At::Base | At::Root) => {
                let name = self.roots[self.next].name.as_deref().map_or(&b""[..], OsStrExt::as_bytes);
                let mut path = Vec::new();
                let listed = match form {
                    Form::Printf => of_printf(record, name, &mut path),
                    Form::Stat => of_stat(record, &mut path),
                };
                let Some(listed) = listed else { return Err(unclear(record)) };
                if self.at == At::Base {
                    self.tell_root(Some(&listed), walk);
                    return Ok(());
                }
                if listed.unread.is_some() && listed.path == name {
                    self.unread.push(name.to_vec());
                }
                if let (false, Some((identity, _))) = (walk.has_begun(), listed.inode) {
                    super::check_root(self.identity, identity)?;
                }
                walk.entry(&listed)?;
            }
            _ => return Err(unclear(record)),
        }
        Ok(())
    }

    fn tell_root(&mut self, base: Option<&Listed<'_>>, walk: &mut ListedWalk<'_>) {
        if !std::mem::replace(&mut self.is_told, true) {
            walk.begin_root(self.next as u32, base);
        }
    }

    fn end_root(&mut self, walk: &mut ListedWalk<'_>) {
        if !walk.has_begun() {
            let name = self.roots[self.next].name.as_deref().map_or(&b""[..], OsStrExt::as_bytes);
            self.unread.push(name.to_vec());
        }
        walk.end_root(Errno::NOENT);
        self.next += 1;
        (self.at, self.is_told) = (At::Between, false);
    }
}

/// Finds the line before the records. Returns the form of the records, and where they begin.
pub fn begins(text: &[u8]) -> Option<(Form, usize)> {
    let line_end = |at: usize| find(&text[at..], b"\n").map(|length| at + length);
    let at = find(text, &[b"\n", BEGINS].concat())? + 1 + BEGINS.len();
    let end = line_end(at)?;
    match &text[at..end] {
        b"printf" => Some((Form::Printf, end + 1)),
        b"stat" => Some((Form::Stat, end + 1)),
        _ => None,
    }
}

/// `[x]d 755 4096 1000 2049 131074 2 PATH`. The x means a directory that cannot be read.
pub fn of_printf<'p>(record: &[u8], root: &[u8], path: &'p mut Vec<u8>) -> Option<Listed<'p>> {
    let (denied, record) = record.strip_prefix(b"x").map_or((false, record), |rest| (true, rest));
    let mut fields = record.splitn(8, |byte| *byte == b' ');
    let kind = match fields.next()? {
        b"d" => Kind::Dir,
        b"f" => Kind::File,
        b"l" => Kind::Symlink,
        _ => Kind::Special,
    };
    let mode = number(fields.next()?, 8)?;
    let size = number(fields.next()?, 10)?;
    let owner = number(fields.next()?, 10)?;
    let inode = inode(&mut fields)?;
    let below = fields.next()?;
    path.extend_from_slice(root);
    if !below.is_empty() {
        if !root.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(below);
    }
    let unread = denied.then_some(Errno::ACCESS);
    Some(Listed { path, kind, mode: mode as u32, size, owner: Some(owner as u32), inode: Some(inode), unread })
}

/// `41ed 4096 1000 2049 131074 2 ./PATH`. The mode contains the type.
pub fn of_stat<'p>(record: &[u8], path: &'p mut Vec<u8>) -> Option<Listed<'p>> {
    let mut fields = record.splitn(7, |byte| *byte == b' ');
    let mode = number(fields.next()?, 16)? as u32;
    let kind = match mode & 0o170_000 {
        0o040_000 => Kind::Dir,
        0o100_000 => Kind::File,
        0o120_000 => Kind::Symlink,
        _ => Kind::Special,
    };
    let size = number(fields.next()?, 10)?;
    let owner = number(fields.next()?, 10)?;
    let inode = inode(&mut fields)?;
    let printed = fields.next()?;
    path.extend_from_slice(if printed == b"." { b"" } else { printed.strip_prefix(b"./")? });
    Some(Listed { path, kind, mode, size, owner: Some(owner as u32), inode: Some(inode), unread: None })
}

fn inode<'f>(fields: &mut impl Iterator<Item = &'f [u8]>) -> Option<((u64, u64), u32)> {
    let device = number(fields.next()?, 10)?;
    let inode = number(fields.next()?, 10)?;
    let names = number(fields.next()?, 10)?;
    Some(((device, inode), names.try_into().unwrap_or(u32::MAX)))
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

pub fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    match part {
        [byte] => text.iter().position(|other| other == byte),
        _ => text.windows(part.len()).position(|window| window == part),
    }
}

pub fn unclear(record: &[u8]) -> Error {
    Error::system(format!("cannot understand what find has listed of the source: '{}'", Printable::bytes(record)))
        .remedy("choose another way to scan it with --remote-scan")
        .exit(EXIT_PARTIAL)
}

/// An entry that find could not list.
struct Trouble {
    path: Vec<u8>,
    errno: Errno,
    attempted: &'static str,
    in_unit: bool,
}

/// Takes a line of standard error, such as `find: './a b': Permission denied`. Busybox prints no quotation marks.
fn hear(line: &[u8], troubles: &mut Vec<Trouble>) -> bool {
    const REASONS: [(&[u8], Errno); 5] = [
        (b": Permission denied", Errno::ACCESS),
        (b": No such file or directory", Errno::NOENT),
        (b": Input/output error", Errno::IO),
        (b": Stale file handle", Errno::STALE),
        (b": Not a directory", Errno::NOTDIR),
    ];
    // The program name may include its directory.
    let Some((who, said)) = find(line, b": ").map(|at| (&line[..at], &line[at + 2..])) else { return false };
    if !who.ends_with(b"find") && !who.ends_with(b"stat") {
        return false;
    }
    let known = REASONS.iter().find_map(|(words, errno)| Some((said.strip_suffix(*words)?, *errno)));
    let Some((text, errno)) = known else { return false };
    let text = text.strip_prefix(b"can't stat ").or(text.strip_prefix(b"cannot stat ")).unwrap_or(text);
    let quoted = |text: &[u8]| Some(text.strip_prefix(b"'")?.strip_suffix(b"'")?.to_vec());
    let path = quoted(text).unwrap_or_else(|| text.to_vec());
    let path = path.strip_prefix(b"./").unwrap_or(if path == b"." { b"" } else { &path }).to_vec();
    // A directory without permission to read was listed itself, so it is in a unit.
    troubles.push(Trouble { path, errno, attempted: "read", in_unit: errno == Errno::ACCESS });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_both_forms_are_read() {
        let mut path = Vec::new();
        let listed = of_printf(b"f 4755 12 1000 2049 7 3 a b/\n c", b"top", &mut path).unwrap();
        assert_eq!(
            (listed.path, listed.kind, listed.mode, listed.size),
            (&b"top/a b/\n c"[..], Kind::File, 0o4755, 12)
        );
        assert_eq!((listed.owner, listed.inode, listed.unread), (Some(1000), Some(((2049, 7), 3)), None));
        let mut path = Vec::new();
        let listed = of_printf(b"xd 0 4096 0 1 2 2 ", b"", &mut path).unwrap();
        assert_eq!((listed.path, listed.kind, listed.unread), (&b""[..], Kind::Dir, Some(Errno::ACCESS)));
        let mut path = Vec::new();
        let listed = of_stat(b"41ed 4096 0 5 6 2 ./x\n/y z", &mut path).unwrap();
        assert_eq!((listed.path, listed.kind, listed.mode & 0o7777), (&b"x\n/y z"[..], Kind::Dir, 0o755));
        for bad in [&b""[..], b"f", b"f 644 x 0 1 2 3 a", b"f 644 1 0 1 2 3"] {
            assert!(of_printf(bad, b"", &mut Vec::new()).is_none(), "{}", bad.escape_ascii());
        }
        assert!(of_stat(b"41ed 4096 0 5 6 2 /abs", &mut Vec::new()).is_none());
    }

    #[test]
    fn what_is_printed_before_does_not_count() {
        let line = b"\nmulti-sync-find stat\nrest";
        assert_eq!(begins(line), Some((Form::Stat, line.len() - 4)));
        assert_eq!(begins(b"Welcome\nto x\n\nmulti-sync-find printf\n").unwrap().0, Form::Printf);
        assert_eq!(begins(b"\nmulti-sync-find pri"), None);
    }

    #[test]
    fn errors_are_read_in_each_form() {
        let heard = |line: &[u8]| {
            let mut troubles = Vec::new();
            hear(line, &mut troubles).then(|| (troubles[0].path.clone(), troubles[0].errno))
        };
        assert_eq!(heard(b"find: './a b': Permission denied"), Some((b"a b".to_vec(), Errno::ACCESS)));
        assert_eq!(heard(b"find: ./a: Permission denied"), Some((b"a".to_vec(), Errno::ACCESS)));
        assert_eq!(heard(b"stat: can't stat './a': No such file or directory"), Some((b"a".to_vec(), Errno::NOENT)));
        assert_eq!(heard(b"Warning: Permanently added"), None);
        assert_eq!(heard(b"find: something else"), None);
    }
}
