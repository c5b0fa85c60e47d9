//! The walker: work stealing over directory handles.
//!
//! A directory is opened relative to its parent's handle and never by a full path, so that neither `PATH_MAX` nor a directory that
//! is renamed meanwhile leads it astray; links are not followed. A large directory is divided while it is read: whoever has read a
//! portion of it looks those names up, and leaves reading on to the next.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rayon::Scope;
use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use super::ignored::{Present, READ_RULES, Rules, Unread};
use super::look::{
    Look, OPEN_DIRECTORY, READ_AT_ONCE, READ_DIRECTORY, c_strings, is_exposed, open_base, open_dir, open_root,
};
use super::observe::{Listing, Observer};
use super::subtree::{Item, Node, Small, Tree, below};
use super::{Event, KeptWhole, Names, Root, Scan, Watch, Weight, linked};
use crate::error::{EXIT_IPC, Error, Result};

/// Names of a portion, unless the directory ends; more only if one read brings more. File systems may answer a read with little.
const PORTION: usize = 128;

thread_local! {
    static READ: RefCell<Portion> = RefCell::default();
}

/// A part of a directory that one thread deals with. Names end with a NUL.
struct Portion {
    buffer: Vec<MaybeUninit<u8>>,
    directories: Vec<u8>,
    /// Names to be looked up.
    listed: Vec<u8>,
    /// Names of which the listing tells enough.
    known: Names,
}

impl Portion {
    /// Forgets what the rules ignore in the directory at this path, and says how many entries that is.
    fn leave_out(&mut self, rules: &Rules, path: &[u8]) -> u64 {
        if rules.is_empty() {
            return 0;
        }
        let mut path = rules.way_to(path);
        let above = path.len();
        let mut ignores = |name: &CStr, is_dir| {
            path.truncate(above);
            path.extend_from_slice(name.to_bytes());
            rules.ignore(&path, is_dir)
        };
        let mut ignored = 0;
        let mut sift = |names: &mut Vec<u8>, is_dir| {
            let mut kept = Vec::with_capacity(names.len());
            for name in c_strings(names) {
                match ignores(name, is_dir) {
                    true => ignored += 1,
                    false => kept.extend_from_slice(name.to_bytes_with_nul()),
                }
            }
            *names = kept;
        };
        sift(&mut self.directories, true);
        sift(&mut self.listed, false);
        // They have one weight, and may be directories only where rsync's own rules exclude them.
        sift(&mut self.known.names, false);
        let left = c_strings(&self.known.names).count();
        self.known.weights.truncate(left);
        ignored
    }

    /// Which files of rules it has.
    fn present(&self) -> Present {
        let mut present = Present::default();
        [&self.directories, &self.listed, &self.known.names]
            .into_iter()
            .flat_map(|names| c_strings(names))
            .for_each(|name| present.see(name));
        present
    }
}

impl Default for Portion {
    fn default() -> Self {
        let buffer = vec![MaybeUninit::uninit(); READ_AT_ONCE];
        Portion { buffer, directories: Vec::new(), listed: Vec::new(), known: Names::default() }
    }
}

struct Walk<'a>(Look<'a>);

pub(super) fn walk(
    scan: &Scan,
    small: Option<Small<'_>>,
    observer: Option<&dyn Observer>,
    watch: &Watch,
    sink: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(scan.threads.get())
        .thread_name(|n| format!("scan-{n}"))
        .build()
        .map_err(|cause| {
            Error::usage(format!("cannot start the threads of the scan: {cause}"))
                .remedy("allow more processes (`ulimit -u`)")
                .exit(EXIT_IPC)
        })?;
    let bases = scan.roots.iter().map(open_base).collect::<Result<Vec<_>>>()?;
    let rules = |root| scan.gitignore.then(|| Rules::above(root)).transpose();
    let rules = scan.roots.iter().map(rules).collect::<Result<Vec<_>>>()?;
    let split_open_roots = scan.roots.len() > 1;
    let walk = Walk(Look { tree: Tree::new(scan.limits, small, split_open_roots, watch, sink), scan, observer });
    pool.scope(|scope| {
        for (index, ((root, base), rules)) in scan.roots.iter().zip(bases).zip(rules).enumerate() {
            let walk = &walk;
            scope.spawn(move |scope| walk.visit_root(scope, index as u32, root, base, rules));
        }
    });
    walk.0.tree.conclude();
    linked::settle(&walk.0.tree, scan.linked_parts);
    Ok(())
}

impl Walk<'_> {
    fn visit_root<'s>(&'s self, scope: &Scope<'s>, root: u32, wanted: &Root, base: OwnedFd, rules: Option<Rules>) {
        let Walk(look) = self;
        look.tree.watch.count_root();
        let (name, opened) = open_root(&base, wanted);
        let (attributes, dir) = match opened {
            Ok(opened) => opened,
            Err(errno) => {
                let may_copy = may_hold_ignored(errno) && rules.is_some();
                return look.tell_unread_root(root, name, errno, may_copy);
            }
        };
        let exposed = is_exposed(wanted, &base, attributes);
        let node = Node::new(None, root, name, attributes, exposed, look.keep_whole(attributes, &dir));
        let node = node.within(look.scan.path_room(wanted));
        if look.scan.split_roots && !node.is_in_whole() && !node.is_too_long() {
            node.split(&look.tree);
        }
        self.read(scope, &node, Arc::new(dir), None, rules);
        node.done(&look.tree);
    }

    /// Ends the piece of work that [`Walk::spawn`] announced: by the end of the child's own node, or at once.
    fn visit<'s>(
        &'s self,
        scope: &Scope<'s>,
        parent: &Arc<Node>,
        parent_dir: &OwnedFd,
        name: &CStr,
        link: bool,
        rules: Option<Rules>,
    ) {
        let Walk(Look { tree, scan, .. }) = self;
        if tree.watch.stopped() || parent.is_pruned() {
            return parent.done(tree);
        }
        match open_dir(parent_dir, name, link) {
            Ok((attributes, _)) if scan.left_out == Some(attributes.identity) && !parent.is_too_long() => {
                parent.split(tree)
            }
            Ok((attributes, _)) if scan.one_file_system > 0 && attributes.identity.0 != parent.device() => {
                if scan.one_file_system == 1 {
                    parent.take(tree, Item::Mount(name.to_bytes(), attributes));
                }
            }
            Ok((attributes, dir)) => {
                let whole = if link { Some(KeptWhole::Link) } else { self.0.keep_whole(attributes, &dir) };
                let exposed = parent.exposes(attributes);
                let node = Node::new(Some(parent), parent.root(), name.to_bytes(), attributes, exposed, whole);
                self.read(scope, &node, Arc::new(dir), None, rules);
                return node.done(tree);
            }
            Err(errno) => self.unread(parent, name.to_bytes(), errno),
        }
        // Nothing in it is to be found.
        tree.watch.count_in(parent.depth() + 1, 0, Weight::default(), true);
        parent.done(tree);
    }

    fn unread(&self, parent: &Arc<Node>, name: &[u8], errno: Errno) {
        let Walk(look) = self;
        if look.scan.gitignore && may_hold_ignored(errno) {
            look.tell_error(parent, name, OPEN_DIRECTORY, errno, false);
            return parent.split(&look.tree);
        }
        match errno {
            Errno::MFILE | Errno::NFILE => {
                let path = below(&parent.path(), name);
                look.tree.tell(Event::KeptWhole { root: parent.root(), path: &path, why: KeptWhole::NoDescriptor });
            }
            // Another process replaced it by something else, and it is copied as what it is now.
            Errno::NOTDIR | Errno::LOOP => {}
            _ => look.tell_error(parent, name, OPEN_DIRECTORY, errno, errno != Errno::NOENT),
        }
        if errno != Errno::NOENT {
            let mut one = Names::default();
            one.push_bytes(name, Weight { entries: 1, bytes: 0 });
            parent.take(&look.tree, Item::Names(&one));
        }
    }

    /// Reads a portion of a directory, and deals with it. What remains becomes a piece of work of its own, and the sub-directories
    /// come on top of it: a thread with nothing to do reads on meanwhile, and this one goes down before it reads on.
    /// `before` is how many entries there were in the portions before, but for those that are left out; of the first portion none.
    fn read<'s>(
        &'s self,
        scope: &Scope<'s>,
        node: &Arc<Node>,
        dir: Arc<OwnedFd>,
        before: Option<u64>,
        rules: Option<Rules>,
    ) {
        let Walk(look) = self;
        READ.with_borrow_mut(|portion| {
            let (more, count) = self.list(node, &dir, portion);
            let rules =
                rules.map(|rules| if before.is_none() { self.rules(&rules, node, &dir, portion, more) } else { rules });
            let left_out = rules.as_ref().map_or(0, |rules| portion.leave_out(rules, &node.path()));
            if left_out > 0 {
                // rsync would copy what is ignored with the whole. A path that is too long for it is an error then.
                node.split(&look.tree);
            }
            let count = before.unwrap_or(0) + count - left_out;
            if more {
                let (node, dir, rules) = (Arc::clone(node), Arc::clone(&dir), rules.clone());
                node.expect_more();
                scope.spawn(move |scope| {
                    if !look.tree.watch.stopped() && !node.is_pruned() {
                        self.read(scope, &node, dir, Some(count), rules);
                    }
                    node.done(&look.tree);
                });
            }
            if let Some(observer) = look.observer.filter(|_| !more) {
                observer.listed(&Listing { node, dir: &dir }, count);
            }
            let Portion { directories, listed, known, .. } = portion;
            let mut entered = 0;
            for name in c_strings(directories) {
                entered += 1;
                self.spawn(scope, node, &dir, name.to_owned(), false, rules.clone());
            }
            let enter = |name: &CStr, link| match &rules {
                None => self.spawn(scope, node, &dir, name.to_owned(), link, None),
                // A directory meanwhile: it was not judged as one, and came too late.
                Some(_) => node.split(&look.tree),
            };
            look.take(node, &dir, listed, known, entered, !more, enter);
        });
    }

    /// The rules in a directory, of which the first portion was listed.
    fn rules(&self, above: &Rules, node: &Arc<Node>, dir: &OwnedFd, portion: &Portion, more: bool) -> Rules {
        let present = if more { Present::unknown() } else { portion.present() };
        let (rules, unread) = above.inside(dir, &node.path(), present);
        for Unread { name, errno } in unread {
            self.0.tell_error(node, &name, READ_RULES, errno, false);
        }
        rules
    }

    /// Fills a portion, and tells whether the directory may have more, and how many entries it was. Inlined for the reason told in [`super::look`].
    #[inline(always)]
    fn list(&self, node: &Arc<Node>, dir: &OwnedFd, portion: &mut Portion) -> (bool, u64) {
        let Walk(look) = self;
        let Portion { buffer, directories, listed, known } = portion;
        directories.clear();
        listed.clear();
        known.clear();
        let mut entries = RawDir::new(dir, buffer);
        let (mut count, mut dots) = (0, 0);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => {
                    look.tell_error(node, b"", READ_DIRECTORY, errno, false);
                    if look.scan.gitignore {
                        // Nobody knows whether something in it is ignored.
                        node.split(&look.tree);
                    }
                    return (false, (count - dots) as u64);
                }
            };
            let name = entry.file_name();
            let kind = match entry.file_type() {
                // Rules may be about directories only.
                FileType::Unknown if look.scan.gitignore => look.kind(dir, name),
                kind => kind,
            };
            match kind {
                FileType::Directory | FileType::Unknown if name == c"." || name == c".." => dots += 1,
                FileType::Directory if !look.excludes(node, name.to_bytes()) => {
                    directories.extend_from_slice(name.to_bytes_with_nul());
                }
                kind if kind != FileType::Directory && look.needs_more(kind) => {
                    listed.extend_from_slice(name.to_bytes_with_nul());
                }
                _ => known.push(name, Weight { entries: 1, bytes: 0 }),
            }
            count += 1;
            if count >= PORTION && entries.is_buffer_empty() {
                return (true, (count - dots) as u64);
            }
        }
        (false, (count - dots) as u64)
    }

    fn spawn<'s>(
        &'s self,
        scope: &Scope<'s>,
        node: &Arc<Node>,
        dir: &Arc<OwnedFd>,
        name: CString,
        link: bool,
        rules: Option<Rules>,
    ) {
        let (node, dir) = (Arc::clone(node), Arc::clone(dir));
        node.expect_more();
        scope.spawn(move |scope| self.visit(scope, &node, &dir, &name, link, rules));
    }
}

/// Whether rsync may be able to read a directory that could not be opened, and would copy what is ignored in it.
fn may_hold_ignored(errno: Errno) -> bool {
    !matches!(errno, Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}
