//! Known differences: cases in which one rsync's own result depends on the order in which it processes a tree, or on a failure of its own. Each is recognised
//! by its cause, and each finding of a case must have one.

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;

use multi_sync::harness::entry::Printable;
use multi_sync::harness::verify::{Difference, DifferenceKind};

use super::case::Case;
use super::judge::Finding;
use super::world::{Kind, Node, parent};
use crate::support::command::Run;

/// The two runs.
pub struct Runs<'a> {
    pub one: &'a Run,
    pub many: &'a Run,
}

/// The first of the causes that together explain all findings, if they do.
pub fn cause(case: &Case, findings: &[Finding], runs: &Runs) -> Option<&'static str> {
    type Cause = (&'static str, fn(&Case, &Finding, &Runs) -> bool);
    const CAUSES: &[Cause] = &[
        ("rsync deletes before it makes directories writable (--delete-before, not root)", locked_before_delete),
        ("destination files that are names of one inode get written one after the other", shared_inode),
        (
            "one rsync makes directories in its own read-only ones or not, as its look-ahead wants (not root, no --perms)",
            locked_without_perms,
        ),
        ("one rsync cannot write into its own read-only directories, and says so (not root)", denied_below_locked),
        (
            "a name that is deleted is made writable first, and with it the file that shares its inode (not root)",
            opened_to_delete,
        ),
        (
            "one rsync cannot write into its own read-only directories with extended attributes (not root)",
            locked_with_xattrs,
        ),
        ("after an error at the destination one rsync stops deleting, wherever it is then", stopped_deleting),
        ("rsync makes the directories of backups read-only too early (--backup-dir, not root)", backup_below_locked),
        ("rsync cannot make a path with `..` (--mkpath)", mkpath),
        (
            "one rsync gets the ACL of a directory with special bits right only when it comes again",
            acl_and_special_bits,
        ),
        (
            "one rsync sets neither time nor special bits where it may not set the group, until it comes again",
            time_without_group,
        ),
        (
            "a link at the destination that stays leads from one directory into another (--ignore-existing, -K)",
            written_through_link,
        ),
        (
            "one rsync gives the time of a directory that could not be made to what is in its place",
            in_the_place_of_a_directory,
        ),
        ("how far a circle of links is followed depends on the links that lead to it", circle_of_links),
        (
            "one rsync locks its own read-only directories when their files have come, soon or late (no times of directories, not root)",
            locked_early,
        ),
        ("a link in the source leads to the destination, which is read while it is written", reads_dest),
        ("a link that is followed leads to a file that --remove-source-files removes, before or after", target_removed),
        ("a file of rules in the middle of the tree ends every rsync that comes upon it", ended_by_rules),
        ("rsync itself failed", crashed),
        ("without any source multi-sync writes nothing, and one rsync creates DEST", no_source),
    ];
    let explained = |finding: &Finding| CAUSES.iter().find(|(_, explains)| explains(case, finding, runs));
    let causes: Option<Vec<_>> = findings.iter().map(explained).collect();
    causes?.first().map(|(name, _)| *name)
}

/// With `--delete-before` one rsync cannot delete inside its own directories without `u+w`, ends with 23 and keeps their contents.
fn locked_before_delete(case: &Case, finding: &Finding, runs: &Runs) -> bool {
    let locked = |path: &[u8]| {
        let mut above = parent(path);
        while !above.is_empty() {
            if case.world.get(above).is_some_and(|node| node.is_dir() && node.mode & 0o200 == 0) {
                return true;
            }
            above = parent(above);
        }
        false
    };
    case.nobody
        && case.has("--delete-before")
        && runs.one.status.code() == Some(23)
        && match finding {
            Finding::Tree(difference) => difference.path.starts_with(b"d/") && locked(&difference.path),
            Finding::Code { one, many } => *one == Some(23) && *many == Some(0),
            _ => false,
        }
}

/// Files of the destination share an inode, those of the source do not, and options write into the files or set their attributes in place.
fn shared_inode(case: &Case, finding: &Finding, runs: &Runs) -> bool {
    let in_place =
        case.has_prefix("--inplace") || case.has_prefix("--append") || !case.has_letter('p') && !case.has_letter('a');
    // With --update, the time that one name gets decides about the other one.
    let in_place = in_place || case.has("--no-p") || case.has("--no-perms") || case.has_letter('u');
    let shared = shared(case);
    let linked = linked_to(case, &shared);
    match finding {
        Finding::Tree(difference) => {
            use DifferenceKind::{Group, Mode, Mtime, OnlyLeft, OnlyRight, Owner, Type, Xattr};
            // rsync 3.2.7 applies --update also to entries that are not files.
            let about_inode = match difference.kind {
                Type { .. } => case.has_letter('u'),
                OnlyLeft | OnlyRight => false,
                _ => true,
            };
            // A file that needs no transfer gets its attributes in place, whatever the options.
            let attribute =
                matches!(difference.kind, Mode { .. } | Owner { .. } | Group { .. } | Mtime { .. } | Xattr(_));
            let is_shared = shared.contains(&difference.path[..]) || linked.contains(base_name(&difference.path));
            // A file that was written through another name is not up to date when it is to be removed from the source.
            let copy = difference.path.strip_prefix(b"s/").map(|rest| [b"d/", rest].concat());
            let stays = difference.kind == OnlyRight && case.has("--remove-source-files");
            // Nor is it up to date when others would be backed up.
            let path = &difference.path;
            let backed_up = path.strip_suffix(b"~").or(path.strip_suffix(b".bak"));
            let backup = matches!(difference.kind, OnlyLeft | OnlyRight) && case.has_letter('b');
            (in_place || attribute) && about_inode && is_shared
                || in_place && backup && backed_up.is_some_and(|path| shared.contains(path))
                || in_place && backup && case.has_prefix("--backup-dir") && is_backup_of(path, &shared)
                || attribute && backed_up.is_some_and(|path| shared.contains(path))
                || in_place && stays && copy.is_some_and(|copy| shared.contains(&copy[..]))
        }
        // After appending to one name, the content of the other one is not as expected.
        Finding::Code { one, many } => {
            let said = runs.one.stderr_text();
            let failed = said.contains("failed verification");
            // A backup that cannot be created is not needed any more if the file has the new content.
            let is_backup = |line: &&str| {
                shared
                    .iter()
                    .any(|path| line.contains(&format!("/{}~\": ", Printable::bytes(&escaped(base_name(path))))))
            };
            let mut errors = said.lines().filter(|line| line.starts_with("rsync: ")).peekable();
            let backed_up = case.has_letter('b') && errors.peek().is_some() && errors.all(|line| is_backup(&line));
            in_place && (failed || backed_up) && !shared.is_empty() && (*one, *many) == (Some(23), Some(0))
        }
        // The first of them that is processed is printed.
        Finding::Line { text, .. } => {
            let shown = |path: &&[u8]| {
                let name = Printable::bytes(&escaped(base_name(path))).to_string();
                // A link is printed with its target, and a name may look like that.
                text.ends_with(&name) || text.split(" -> ").next().is_some_and(|text| text.ends_with(&name))
            };
            // Its mode, owner and other attributes may already have been set through another name.
            (text.starts_with('.') || text.starts_with('>')) && shared.iter().any(shown)
        }
        _ => false,
    }
}

/// DEST as a path in the world, whatever was typed.
fn dest_in_world(case: &Case) -> Vec<u8> {
    let typed = [case.cwd.as_bytes(), b"/", &case.destination].concat();
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in typed.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            // An absolute path of the world.
            b"%" => parts.clear(),
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Whether a path outside of DEST is one of these names in another directory, or a directory above such a path.
fn is_backup_of(path: &[u8], names: &HashSet<&[u8]>) -> bool {
    let is_called = |name: &[u8]| path.strip_suffix(name).is_some_and(|above| above.ends_with(b"/"));
    let leads_to = |name: &&[u8]| {
        let Some(below) = name.strip_prefix(b"d/") else { return false };
        let ends = below.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        ends.chain([below.len()]).any(|end| is_called(&below[..end]))
    };
    !path.starts_with(b"d/") && names.iter().any(leads_to)
}

/// A name as rsync prints it if `LC_ALL` is C.
fn escaped(name: &[u8]) -> Vec<u8> {
    let code = |at: usize, byte: u8| match byte {
        b'\\' if name.get(at + 1) == Some(&b'#') => true,
        b'\t' | b' '..=b'~' => false,
        _ => true,
    };
    let shown = |(at, byte): (usize, &u8)| {
        if code(at, *byte) { format!("\\#{byte:03o}").into_bytes() } else { vec![*byte] }
    };
    name.iter().enumerate().flat_map(shown).collect()
}

/// Names of the destination that share an inode.
fn shared(case: &Case) -> HashSet<&[u8]> {
    let links = case.world.below(b"d").filter_map(|node| match &node.kind {
        Kind::Link(first) => Some([&node.path[..], first]),
        _ => None,
    });
    links.flatten().collect()
}

/// The names of files that `-H` links to the same inodes, because they are names of one file in the source.
fn linked_to<'a>(case: &'a Case, shared: &HashSet<&'a [u8]>) -> HashSet<&'a [u8]> {
    if !case.has_letter('H') {
        return HashSet::new();
    }
    let mut names: HashSet<&[u8]> = shared.iter().map(|path| base_name(path)).collect();
    let pairs = || {
        let sources = case.world.nodes.iter().filter(|node| !node.path.starts_with(b"d/"));
        sources.filter_map(|node| match &node.kind {
            Kind::Link(first) => Some([base_name(&node.path), base_name(first)]),
            _ => None,
        })
    };
    loop {
        let before = names.len();
        for pair in pairs() {
            if pair.iter().any(|name| names.contains(name)) {
                names.extend(pair);
            }
        }
        if names.len() == before {
            return names;
        }
    }
}

/// Writing below a link changes the time of the directory to which it leads, before or after this time is set.
fn written_through_link(case: &Case, finding: &Finding, _: &Runs) -> bool {
    let stays = case.has("--ignore-existing") || case.has("-K");
    let dirs = || case.world.below(b"s").filter(|node| node.is_dir()).map(|node| base_name(&node.path));
    let is_link =
        |node: &&Node| matches!(node.kind, Kind::Symlink(_)) && dirs().any(|dir| dir == base_name(&node.path));
    let about_time = |Difference { path, kind }: &Difference| {
        matches!(kind, DifferenceKind::Mtime { .. }) && (path == b"d" || path.starts_with(b"d/"))
    };
    stays
        && matches!(finding, Finding::Tree(difference) if about_time(difference))
        && case.world.below(b"d").any(|node| is_link(&node))
}

fn opened_to_delete(case: &Case, finding: &Finding, _: &Runs) -> bool {
    let shared = shared(case);
    let linked = linked_to(case, &shared);
    let is_shared = |path: &[u8]| {
        let kept = path.strip_prefix(b"bak/deep/").or(path.strip_prefix(b"bak/"));
        linked.contains(base_name(path))
            || shared.contains(path)
            || kept.is_some_and(|rest| shared.contains(&[b"d/", rest].concat()[..]))
    };
    let about_modes = |kind: &DifferenceKind| match kind {
        DifferenceKind::Mode { left, right } => left ^ right == 0o200,
        DifferenceKind::Xattr(name) => name == b"system.posix_acl_access",
        _ => false,
    };
    matches!(finding, Finding::Tree(Difference { path, kind }) if case.nobody && about_modes(kind) && is_shared(path))
}

/// A link to a file of the source is copied as a file, unless the file was copied and removed before.
fn target_removed(case: &Case, finding: &Finding, runs: &Runs) -> bool {
    let follows = case.has("--copy-unsafe-links") || case.has_letter('L');
    let is_link = |path: &[u8]| {
        let same_name = |node: &&Node| base_name(&node.path) == base_name(path);
        case.world.nodes.iter().filter(same_name).any(|node| matches!(node.kind, Kind::Symlink(_)))
    };
    let vanished = |path: &[u8]| {
        let name = Printable::bytes(base_name(path)).to_string();
        let says = |line: &str| line.contains("file has vanished") && line.contains(&name);
        [runs.one, runs.many].into_iter().any(|run| run.stderr_text().lines().any(says))
    };
    follows
        && case.has("--remove-source-files")
        && match finding {
            Finding::Tree(Difference { path, kind: DifferenceKind::OnlyLeft | DifferenceKind::OnlyRight }) => {
                is_link(path) && vanished(path)
            }
            _ => false,
        }
}

fn acl_and_special_bits(case: &Case, finding: &Finding, _: &Runs) -> bool {
    let special = |node: &Node| node.is_dir() && node.acl && node.mode & 0o7000 != 0;
    let named: HashSet<&[u8]> =
        case.world.nodes.iter().filter(|node| special(node)).map(|node| base_name(&node.path)).collect();
    let is_acl =
        |kind: &DifferenceKind| matches!(kind, DifferenceKind::Xattr(name) if name == b"system.posix_acl_access");
    // DEST gets the attributes of a source whose contents it gets.
    let is_top = |path: &[u8]| {
        !path.contains(&b'/') && case.world.nodes.iter().any(|node| special(node) && !node.path.contains(&b'/'))
    };
    case.has_letter('A')
        && matches!(finding, Finding::Tree(Difference { path, kind })
            if is_acl(kind) && (named.contains(base_name(path)) || is_top(path)))
}

/// Several rsyncs retry what has failed. The group is then the one that the entry got the first time.
fn time_without_group(case: &Case, finding: &Finding, runs: &Runs) -> bool {
    let Finding::Tree(Difference { path, kind: DifferenceKind::Mtime { .. } | DifferenceKind::Mode { .. } }) = finding
    else {
        return false;
    };
    let said = runs.one.stderr_text();
    let refused = |name: &[u8]| {
        let end = format!("/{}\" failed", Printable::bytes(&escaped(name)));
        said.lines().any(|line| line.contains("chgrp \"") && line.contains(&end))
    };
    let first = case.world.nodes.iter().find_map(|node| match &node.kind {
        Kind::Link(first) if base_name(&node.path) == base_name(path) => Some(base_name(first)),
        _ => None,
    });
    case.nobody && (refused(base_name(path)) || first.is_some_and(refused))
}

/// Both end with 23.
fn no_source(case: &Case, finding: &Finding, runs: &Runs) -> bool {
    let said = runs.many.stderr_text();
    let Finding::Tree(difference) = finding else { return false };
    let dest = dest_in_world(case);
    let dest = dest.strip_suffix(b"/").unwrap_or(&dest);
    let is_dest = match difference.kind {
        DifferenceKind::OnlyLeft => difference.path == dest,
        DifferenceKind::Mtime { .. } => {
            difference.path == parent(dest) || difference.path == b"." && parent(dest).is_empty()
        }
        _ => false,
    };
    is_dest && said.starts_with("multi-sync: cannot find source ") && said.trim_end().ends_with("; nothing was copied")
}

/// Several rsyncs create such directories with `u+w` and remove it at the end.
fn locked_with_xattrs(case: &Case, finding: &Finding, runs: &Runs) -> bool {
    // --copy-dest takes them from a directory of that name.
    let dirs = || case.world.nodes.iter().filter(|node| node.is_dir());
    let has_xattr = |name: &[u8]| dirs().any(|node| node.xattr.is_some() && base_name(&node.path) == name);
    let locked = || dirs().any(|node| node.mode & 0o200 == 0 && has_xattr(base_name(&node.path)));
    case.nobody
        && (case.has_letter('X') || case.has_letter('A'))
        && locked()
        && runs.one.stderr_text().contains("Permission denied")
        && match finding {
            Finding::Tree(difference) => {
                let below = difference.path.strip_prefix(&dest_in_world(case)[..]);
                // If setting it failed, the attribute itself may exist or not.
                let is_itself = || {
                    matches!(difference.kind, DifferenceKind::Xattr(_))
                        && runs.one.stderr_text().contains("copy_xattrs")
                        && has_xattr(base_name(&difference.path))
                };
                // An entry that already exists stays as it is.
                let stays = || {
                    let name = Printable::bytes(&escaped(base_name(&difference.path))).to_string();
                    let is_denied = |line: &str| line.contains("mkstemp") && line.contains(&format!("/.{name}."));
                    let has_it = case.world.get(&difference.path).is_some();
                    has_it && runs.one.stderr_text().lines().any(is_denied)
                };
                (difference.kind == DifferenceKind::OnlyRight || is_itself() || stays())
                    && below.is_some_and(|rest| rest.starts_with(b"/"))
            }
            Finding::Code { one, many } => (*one, *many) == (Some(23), Some(0)),
            _ => false,
        }
}

/// After such an error, one rsync deletes nothing more, at whatever point of the tree it is. Several rsyncs delete nothing in split directories, and in the
/// others as it happens. The findings concern names that were at the destination before, and their backups.
fn stopped_deleting(case: &Case, finding: &Finding, runs: &Runs) -> bool {
    let said = |run: &Run, text: &str| run.stdout_text().contains(text) || run.stderr_text().contains(text);
    let stopped = said(runs.one, "skipping file deletion")
        || said(runs.many, "skipping file deletion")
        || said(runs.many, "IO error encountered -- nothing is deleted");
    let old = |path: &[u8]| {
        let is_backup = path.starts_with(b"bak") || path.ends_with(b"~") || path.ends_with(b".bak");
        is_backup || case.world.get(path).is_some()
    };
    stopped
        && case.has_prefix("--del")
        && runs.one.status.code() == Some(23)
        && match finding {
            Finding::Tree(Difference { path, kind }) => match kind {
                DifferenceKind::OnlyLeft | DifferenceKind::OnlyRight => old(path),
                DifferenceKind::Mtime { .. } => path == b"." || path.starts_with(b"bak") || case.world.has_dir(path),
                // rsync makes a directory writable in order to delete it; it stays writable if backups in it prevent the deletion.
                DifferenceKind::Mode { left, right } if left ^ right == 0o200 && case.nobody => {
                    let not_deleted = format!("{}) failed: Permission denied", Printable::bytes(base_name(path)));
                    case.world.has_dir(path) && said(runs.many, "cannot delete non-empty directory")
                        || said(runs.many, &not_deleted)
                        || opened_to_delete(case, finding, runs)
                }
                DifferenceKind::Mode { .. } => opened_to_delete(case, finding, runs),
                _ => false,
            },
            Finding::Line { text, .. } => {
                let about = ["skipping file deletion", "cannot delete non-empty directory"];
                text.starts_with("*deleting") || about.iter().any(|about| text.contains(about))
            }
            _ => false,
        }
}

/// One rsync creates the directories for its backups with the modes of its own directories, and has race conditions with itself for those.
fn backup_below_locked(case: &Case, _: &Finding, runs: &Runs) -> bool {
    let failed =
        |run: &Run| run.stderr_text().contains("backup mkdir") && run.stderr_text().contains("Permission denied");
    case.nobody && case.has_prefix("--backup-dir") && (failed(runs.one) || failed(runs.many))
}

fn mkpath(case: &Case, _: &Finding, runs: &Runs) -> bool {
    case.has("--mkpath")
        && case.destination.starts_with(b"..")
        && runs.one.stderr_text().contains("failed: Invalid argument")
}

/// Without `--perms`, with a user other than root and a source directory without `u+w`: rsync removes the bit after the first of its sub-directories, so that
/// the next one cannot be created; in a larger tree it has already created it.
fn locked_without_perms(case: &Case, finding: &Finding, runs: &Runs) -> bool {
    let locked = Locked::of(case);
    case.nobody
        && !keeps_perms(case)
        && runs.one.status.code().is_some_and(|code| code == 0 || code == 23)
        && match finding {
            Finding::Tree(Difference { path, kind }) => {
                let own_time = matches!(kind, DifferenceKind::Mtime { .. }) && locked.0.contains(base_name(path));
                own_time || path.starts_with(b"d/") && locked.is_above(path)
            }
            Finding::Code { one, many } => matches!((one, many), (Some(0 | 23), Some(0 | 23))),
            // A launch that was denied something is repeated, and copies again what it had created, because there are no times to compare.
            Finding::Line { by_one: false, text } => {
                let made = text.strip_prefix(">f..T...... ").map(|name| format!(">f+++++++++ {name}"));
                let was_made = made.is_some_and(|made| runs.many.stdout_text().lines().any(|line| line == made));
                !locked.0.is_empty() && !case.has_letter('t') && !case.has_letter('a') && was_made
            }
            _ => false,
        }
}

/// The same with `--perms`: several rsyncs create such directories with `u+w`, and have everything that one rsync says it could not create. With
/// `--remove-source-files`, entries that one rsync could not copy stay in the source.
fn denied_below_locked(case: &Case, finding: &Finding, runs: &Runs) -> bool {
    let denied = |run: &Run| {
        run.stderr_text().lines().any(|line| line.contains("[generator]") && line.ends_with(": Permission denied (13)"))
    };
    case.nobody
        && denied(runs.one)
        && !denied(runs.many)
        && match finding {
            Finding::Tree(Difference { path, kind }) if path.starts_with(b"d/") => {
                *kind == DifferenceKind::OnlyRight && Locked::with_dest(case).is_above(path)
            }
            Finding::Tree(Difference { path, kind }) if case.has("--remove-source-files") => match kind {
                DifferenceKind::OnlyLeft => Locked::of(case).is_above(path),
                DifferenceKind::Mtime { .. } => true,
                _ => false,
            },
            Finding::Code { one, many } => (*one, *many) == (Some(23), Some(0)),
            _ => false,
        }
}

/// If rsync sets no times of directories, it creates directories below a read-only one when it comes to them, and makes that one read-only again as soon as
/// its files have arrived: of 15 runs of the same command on the same tree, nine ended with 0 and six with 23. Several rsyncs keep such directories writable,
/// and create everything below them.
fn locked_early(case: &Case, finding: &Finding, runs: &Runs) -> bool {
    let said = runs.one.stderr_text();
    let denied = said.lines().any(|line| line.contains("[generator] ") && line.ends_with(": Permission denied (13)"));
    let without_times = case.has_letter('O') || case.has_prefix("--no-t") || case.has_letter('b');
    let locked = Locked::with_dest(case);
    case.nobody
        && without_times
        && denied
        && match finding {
            Finding::Tree(Difference { path, kind }) => {
                let below = locked.is_above(path);
                (path == b"d" || path.starts_with(b"d/"))
                    && match kind {
                        DifferenceKind::OnlyRight | DifferenceKind::Type { .. } => below,
                        // The time of a directory is not set after something was created in it.
                        DifferenceKind::Mtime { .. } => below || locked.0.contains(base_name(path)),
                        _ => false,
                    }
            }
            Finding::Code { one, many } => *one == Some(23) && matches!(many, Some(0 | 23)),
            Finding::Line { by_one: false, text } => {
                let name = text.split_once(' ').map_or("", |(_, name)| name.split(" -> ").next().unwrap_or(name));
                locked.is_above(&[b"d/", name.as_bytes()].concat())
            }
            _ => false,
        }
}

/// Directories without `u+w`, by their own names, because they may be anywhere at the destination.
struct Locked<'a>(HashSet<&'a [u8]>);

impl<'a> Locked<'a> {
    fn of(case: &'a Case) -> Locked<'a> {
        let locked = case.world.nodes.iter().filter(|node| node.is_dir() && node.mode & 0o200 == 0);
        Locked(locked.map(|node| base_name(&node.path)).collect())
    }

    /// A source may be DEST itself.
    fn with_dest(case: &'a Case) -> Locked<'a> {
        let mut locked = Locked::of(case);
        let is_top = |node: &&Node| node.is_dir() && node.mode & 0o200 == 0 && !node.path.contains(&b'/');
        if case.world.nodes.iter().any(|node| is_top(&node)) {
            locked.0.insert(b"d");
        }
        locked
    }

    fn is_above(&self, path: &[u8]) -> bool {
        let mut above = parent(path);
        while !above.is_empty() {
            if self.0.contains(base_name(above)) {
                return true;
            }
            above = parent(above);
        }
        false
    }
}

fn keeps_perms(case: &Case) -> bool {
    (case.has_letter('p') || case.has_letter('a')) && !case.has("--no-p") && !case.has("--no-perms")
}

fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

fn in_the_place_of_a_directory(case: &Case, finding: &Finding, runs: &Runs) -> bool {
    let named =
        |path: &[u8]| case.world.nodes.iter().any(|node| node.is_dir() && base_name(&node.path) == base_name(path));
    runs.one.stderr_text().contains("could not make way for new directory: ")
        && matches!(finding, Finding::Tree(Difference { path, kind: DifferenceKind::Mtime { .. } })
            if case.world.get(path).is_some_and(|node| !node.is_dir()) && named(path))
}

/// The system follows 40 links of a path (path_resolution(7)), and those that lead to a source that is held open count. A link out of the source may send the
/// world, including DEST, in the state of that moment.
fn reads_dest(case: &Case, finding: &Finding, _: &Runs) -> bool {
    let follows = case.has("--copy-unsafe-links") || case.has_letter('L') || case.has_letter('k');
    let leads_out = |name: &[u8]| {
        let is_it = |node: &&Node| base_name(&node.path) == name;
        case.world.nodes.iter().filter(is_it).any(
            |node| matches!(&node.kind, Kind::Symlink(target) if target.split(|&byte| byte == b'/').any(|part| part == b"..")),
        )
    };
    let Finding::Tree(difference) = finding else {
        // A link that leads to a directory above DEST finds there what was already copied, and several rsyncs, each beginning anew, descend further than one.
        let leads_above = |target: &[u8]| target.split(|&byte| byte == b'/').all(|part| part == b"..");
        let is_above = |node: &Node| matches!(&node.kind, Kind::Symlink(target) if leads_above(target));
        return follows && !matches!(finding, Finding::Line { .. }) && case.world.nodes.iter().any(is_above);
    };
    let parts: Vec<&[u8]> = difference.path.split(|&byte| byte == b'/').collect();
    follows && parts.windows(2).skip(1).any(|pair| leads_out(pair[0]) && pair[1] == b"d")
}

fn circle_of_links(case: &Case, finding: &Finding, _: &Runs) -> bool {
    const DEEP: usize = 35;
    let is_deep = |path: &[u8]| path.iter().filter(|byte| **byte == b'/').count() > DEEP;
    let about_depth = match finding {
        Finding::Tree(Difference { path, .. }) => is_deep(path),
        Finding::Line { text, .. } => is_deep(text.as_bytes()),
        _ => false,
    };
    about_depth && ["-k", "-L", "--copy-unsafe-links"].iter().any(|word| case.has(word))
}

/// A per-directory file that is not a list of rules is a usage error (1) on the side that reads it, which ends at once: how far the other processes are is
/// chance.
fn ended_by_rules(_: &Case, finding: &Finding, runs: &Runs) -> bool {
    let is_so = |run: &Run| run.status.code() == Some(1) && run.stderr_text().contains("Unknown filter rule: ");
    matches!(finding, Finding::Tree(_) | Finding::Line { .. }) && is_so(runs.one) && is_so(runs.many)
}

/// rsync 3.5.0 can lose its own file list with `-H`. If it cannot open a file with several names, or has to copy one again, it may end before the other side has, with 2: the same
/// command on the same tree did so 12 of 15 times, and otherwise ended with 23.
fn crashed(case: &Case, _: &Finding, runs: &Runs) -> bool {
    let said = runs.one.stderr_text();
    let too_early = said.contains("Invalid packet at end of run")
        && (said.contains("send_files failed to open") || said.contains("update retained (will try again)"));
    // A file that --fuzzy has chosen as the basis is gone when the receiver opens it (3.5.0).
    let no_basis = case.has_letter('y') && said.contains("got a block match with no basis file");
    // Links among several sources, one of which is missing (3.2.7).
    let asserts = case.has_letter('H') && said.contains("hlink.c:") && said.contains(": Assertion ");
    // `-b -H --link-dest` with a file that cannot be moved out of the way (3.5.0): multi-sync also reports that its rsync was killed.
    let faults = runs.one.status.signal() == Some(11) && runs.many.status.code() == Some(16);
    said.contains("File-list index") || no_basis || asserts || faults || case.has_letter('H') && too_early
}
