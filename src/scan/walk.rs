//! The walker: work stealing over directory handles.
//!
//! A directory is opened relative to its parent's handle and never by its full path. Therefore neither `PATH_MAX` nor a directory that is renamed meanwhile
//! leads the walker astray. Links are not followed. A large directory is divided while it is read: the thread that has read a portion looks its names up, and
//! leaves the rest to another thread.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rayon::Scope;

use super::ignored::{Present, READ_RULES, Rules, Unread};
use super::look::{Look, READ_DIRECTORY, c_strings, is_exposed, may_hold_ignored, open_base, open_dir, open_root};
use super::observe::{Listing, Observer};
use super::portion::Portion;
use super::subtree::{Node, Small, Tree};
use super::{Event, Root, Scan, Watch, linked};
use crate::error::{Error, Result};

thread_local! {
    static READ: RefCell<Portion> = RefCell::default();
}

impl Portion {
    /// Removes the names that the rules ignore in the directory at this path, and returns their number.
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
        // All names here have the same weight. They may be directories only if rsync's own rules exclude them.
        sift(&mut self.known.names, false);
        let left = c_strings(&self.known.names).count();
        self.known.weights.truncate(left);
        ignored
    }

    /// Which files of rules the portion contains.
    fn present(&self) -> Present {
        let mut present = Present::default();
        [&self.directories, &self.listed, &self.known.names]
            .into_iter()
            .flat_map(|names| c_strings(names))
            .for_each(|name| present.see(name));
        present
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
            Error::system(format!("cannot start the threads of the scan: {cause}"))
                .remedy("allow more processes (`ulimit -u`)")
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

    /// Visits a directory. The piece of work that [`Walk::spawn`] announced ends when the child's own node ends, or at once.
    fn visit<'s>(
        &'s self,
        scope: &Scope<'s>,
        parent: &Arc<Node>,
        parent_dir: &OwnedFd,
        name: &CStr,
        link: bool,
        rules: Option<Rules>,
    ) {
        let Walk(Look { tree, .. }) = self;
        if tree.watch.stopped() || parent.is_pruned() {
            return parent.done(tree);
        }
        let (opened, dir) = match open_dir(parent_dir, name, link) {
            Ok((attributes, dir)) => (Ok(attributes), Some(dir)),
            Err(errno) => (Err(errno), None),
        };
        let whole = |attributes| self.0.keep_whole(attributes, dir.as_ref().expect("it was opened"));
        if let Some(node) = self.0.meet(parent, name.to_bytes(), link, opened, whole) {
            self.read(scope, &node, Arc::new(dir.expect("it was opened")), None, rules);
            node.done(&self.0.tree);
        }
    }

    /// Reads a portion of a directory and processes it. The rest becomes a task of its own, and the sub-directories are queued on top of it: an idle thread
    /// continues with the rest meanwhile, and this thread goes down into the sub-directories first. `before` is the number of entries in earlier portions
    /// without those that are left out; `None` for the first portion.
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
                // Split, because rsync would copy ignored entries if it copied the whole directory. If its path is too long to be split, that is an error.
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
                // A file that has become a directory meanwhile: the rules for directories were not applied to it, and it is too late to read it.
                Some(_) => node.split(&look.tree),
            };
            look.take(node, &dir, listed, known, entered, !more, enter);
        });
    }

    /// The rules in a directory whose first portion was listed.
    fn rules(&self, above: &Rules, node: &Arc<Node>, dir: &OwnedFd, portion: &Portion, more: bool) -> Rules {
        let present = if more { Present::unknown() } else { portion.present() };
        let (rules, unread) = above.inside(dir, &node.path(), present);
        for Unread { name, errno } in unread {
            self.0.tell_error(node, &name, READ_RULES, errno, false);
        }
        rules
    }

    /// Fills a portion. Returns whether the directory may have more, and how many entries were read. Inlined for the reason given in [`super::look`].
    #[inline(always)]
    fn list(&self, node: &Arc<Node>, dir: &OwnedFd, portion: &mut Portion) -> (bool, u64) {
        let Walk(look) = self;
        let excludes = |name: &[u8]| look.excludes(node, name);
        let (more, count, failed) = portion.fill(look.scan, look.observer.is_some(), dir, excludes);
        if let Some(errno) = failed {
            look.tell_error(node, b"", READ_DIRECTORY, errno, false);
            if look.scan.gitignore {
                // It is unknown whether the directory contains ignored entries, so it must not be copied as a whole.
                node.split(&look.tree);
            }
        }
        (more, count)
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
