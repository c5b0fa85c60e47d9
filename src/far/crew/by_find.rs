//! A host on which `find` reads. One command reads several directories, as many commands run at once as the host has slots, and they use the shells that run
//! rsync there.
//!
//! If `find` does not list a directory completely and without an error, its result for this directory is not trusted, and this machine reads it. Therefore
//! error messages of `find` need not be interpreted.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::io::Errno;

use super::{Common, Line, SILENCE};
use crate::entry::Kind;
use crate::error::Result;
use crate::far::find::{
    FUNCTIONS, Form, LONGEST_GREETING, LONGEST_RECORD, LONGEST_SCRIPT, begins, find, of_printf, of_stat, unclear,
};
use crate::hosts::Host;
use crate::scan::{
    FIRST_FOUND, Handed, LinkedPart, Listed, Member, Met, Opened, Order, Part, Root, Said, Step, Weight, locked,
};
use crate::shell;
use crate::supervise::{Ended, Invocation, Stream};
use crate::thread;

/// The most directories of one command.
const BATCH: usize = 32;
/// How many names are reported together.
const TOGETHER: usize = 128;
/// The number of commands at once, if it is not given for the host.
const USUAL: usize = 4;

#[derive(Default)]
struct Queue(Mutex<State>, Condvar);

#[derive(Default)]
struct State {
    dirs: VecDeque<Handed>,
    wanted: Option<usize>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, order: Order) {
        let mut state = self.lock();
        match order {
            Order::Read(dirs) => state.dirs.extend(dirs),
            Order::Give(count) => state.wanted = Some(count),
            // Not needed: results for dropped directories are ignored, and all names are always reported.
            Order::Drop(_) | Order::Limits(_) => {}
        }
        drop(state);
        self.1.notify_all();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.1.notify_all();
    }

    /// The directories that the next command reads, all of one root; `None` at the end. `give` gets directories that are to be given back.
    fn next(&self, commands: usize, give: &dyn Fn(Vec<u64>)) -> Option<Vec<Handed>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(count) = state.wanted.take() {
                let count = count.min(state.dirs.len());
                let given = state.dirs.drain(..count).map(|dir| dir.id).collect();
                drop(state);
                give(given);
                state = self.lock();
                continue;
            }
            let most = state.dirs.len().div_ceil(commands).min(BATCH);
            let (mut batch, mut length) = (Vec::new(), 0);
            while batch.len() < most {
                let fits = |dir: &&Handed| {
                    let size: usize = dir.steps.iter().map(|step| 4 * step.name.len() + 1).sum();
                    length += size;
                    batch.is_empty()
                        || batch.first().is_some_and(|first: &Handed| first.root == dir.root)
                            && length < LONGEST_SCRIPT / 2
                };
                match state.dirs.back().filter(fits) {
                    Some(_) => batch.extend(state.dirs.pop_back()),
                    None => break,
                }
            }
            if !batch.is_empty() {
                return Some(batch);
            }
            state = self.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The state that the commands of one host share.
struct Finds<'a> {
    common: &'a Common<'a>,
    host: &'a Host,
    line: &'a Line,
    member: Member,
    queue: Arc<Queue>,
    next: AtomicU64,
    why: OnceLock<String>,
}

/// Reads on the host until everything was read, or returns why it has stopped.
///
/// # Errors
/// A thread could not be started.
pub fn read(common: &Common<'_>, host: &Host, line: &Line) -> Result<Option<String>> {
    let queue = Arc::new(Queue::default());
    let (hears, closes) = (Arc::clone(&queue), Arc::clone(&queue));
    line.closes_by(move || closes.close());
    if common.is_over() {
        return Ok(None);
    }
    let commands = host.slots.map_or(USUAL, NonZero::get);
    let member = common.divided.join(2 * commands, false, move |order| hears.hear(order));
    let _ = line.member.set(member);
    common.joined(host, "find");
    let (next, why) = (AtomicU64::new(FIRST_FOUND), OnceLock::new());
    let finds = &Finds { common, host, line, member, queue, next, why };
    std::thread::scope(|scope| {
        let threads: Result<Vec<_>> = (0..commands).map(|_| thread::start(scope, || finds.work(commands))).collect();
        if threads.is_err() {
            finds.queue.close();
        }
        threads.map(drop)
    })?;
    Ok(finds.why.get().cloned())
}

impl Finds<'_> {
    fn work(&self, commands: usize) {
        let give = |ids| self.common.divided.hear(self.member, Said::Given(ids));
        while let Some(batch) = self.queue.next(commands, &give) {
            let mut records = Records::new(self, &batch);
            let Common { crew, .. } = self.common;
            let script = script(&crew.roots[batch[0].root as usize], &batch);
            let words = vec!["-c".into(), OsString::from_vec(script), "sh".into()];
            let body = shell::body(&Invocation::new("sh", words, "/"));
            let mut failed = None;
            let ran = crew.agents.run_raw(
                &self.line.supervisor,
                self.host,
                &body,
                Some(SILENCE),
                &|_| {},
                &mut |stream, bytes| {
                    if let (Stream::Stdout, Some(bytes), None) = (stream, bytes, &failed) {
                        self.common.divided.is_there(self.member);
                        failed = records.feed(bytes).err();
                    }
                },
            );
            let why = match (failed, ran) {
                (Some(error), _) | (None, Err(error)) => error.to_string(),
                (None, Ok(Ended::Code(0))) if records.is_complete() => continue,
                (None, Ok(Ended::Stalled)) => "find there made no more progress".to_owned(),
                (None, Ok(ended)) => format!("find there has ended with code {}", ended.code()),
            };
            // Another reader continues with them, and knows which names were reported.
            give(records.left());
            let _ = self.why.set(why);
            self.queue.close();
        }
    }
}

/// Lists the root, for its device, which all directories must have, and then the contents of each directory.
fn script(root: &Root, batch: &[Handed]) -> Vec<u8> {
    let quoted = |path: &[u8]| shell::quote(OsStr::from_bytes(path));
    let mut text =
        [FUNCTIONS.as_bytes(), b"w=p\ncd ", &quoted(root.base.as_os_str().as_bytes()), b" || exit 1\n"].concat();
    let top = root.name.as_deref().map_or(b".".to_vec(), |name| [b"./", name.as_bytes()].concat());
    text.extend([b"m root; f ", &quoted(&top)[..], b" -maxdepth 0\n"].concat());
    for dir in batch {
        text.extend([b"m dir; f ", &quoted(&printed(dir))[..], b" -maxdepth 1; m end $?\n"].concat());
    }
    text.extend(b"m done\n");
    text
}

/// The path of a directory as find gets it.
fn printed(dir: &Handed) -> Vec<u8> {
    let names = dir.steps.iter().flat_map(|step| [b"/", &step.name[..]].concat());
    b".".iter().copied().chain(names).collect()
}

/// The position in the output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Begin,
    Root,
    /// Between two directories.
    Between,
    /// In a directory of which nothing was listed yet.
    Dir,
    In,
    Done,
}

/// Parses the output of the command for some directories.
struct Records<'a> {
    finds: &'a Finds<'a>,
    dirs: &'a [Handed],
    /// The index of the directory that is being listed, or comes next.
    at_dir: usize,
    at: At,
    form: Option<Form>,
    begun: Vec<u8>,
    device: Option<u64>,
    found: Found,
}

/// Entries of a directory that were not reported yet.
#[derive(Default)]
struct Found {
    met: Option<Met>,
    names: Vec<u8>,
    weights: Vec<Weight>,
    linked: Vec<LinkedPart>,
    directories: Vec<Step>,
}

impl Found {
    fn count(&self) -> usize {
        self.weights.len() + self.linked.len() + self.directories.len()
    }
}

impl<'a> Records<'a> {
    fn new(finds: &'a Finds<'a>, dirs: &'a [Handed]) -> Records<'a> {
        Records {
            finds,
            dirs,
            at_dir: 0,
            at: At::Begin,
            form: None,
            begun: Vec::new(),
            device: None,
            found: Found::default(),
        }
    }

    fn is_complete(&self) -> bool {
        self.at == At::Done && self.at_dir == self.dirs.len() && self.begun.is_empty()
    }

    /// The directories that were not listed completely.
    fn left(&self) -> Vec<u64> {
        self.dirs[self.at_dir..].iter().map(|dir| dir.id).collect()
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let mut text = std::mem::take(&mut self.begun);
        text.extend_from_slice(bytes);
        let mut rest = &text[..];
        let form = match self.form {
            Some(form) => form,
            None => match begins(rest) {
                Some((form, length)) => {
                    rest = &rest[length..];
                    *self.form.insert(form)
                }
                None if rest.len() > LONGEST_GREETING => return Err(unclear(&rest[..80])),
                None => {
                    self.begun = text;
                    return Ok(());
                }
            },
        };
        let end = form.end();
        while let Some(length) = find(rest, end) {
            self.record(&rest[..length], form)?;
            rest = &rest[length + end.len()..];
        }
        if rest.len() > LONGEST_RECORD {
            return Err(unclear(&rest[..80]));
        }
        self.begun = rest.to_vec();
        Ok(())
    }

    fn record(&mut self, record: &[u8], form: Form) -> Result<()> {
        match (record, self.at) {
            (b"root", At::Begin) => self.at = At::Root,
            (b"dir", At::Root | At::Between) if self.at_dir < self.dirs.len() => self.at = At::Dir,
            (b"done", At::Between) => self.at = At::Done,
            (b"end 0", At::In) => self.end(true),
            (record, At::Dir | At::In) if record.starts_with(b"end ") => self.end(false),
            (record, At::Root | At::Dir | At::In) => {
                let mut path = Vec::new();
                let listed = match form {
                    Form::Printf => of_printf(record, b"", &mut path),
                    Form::Stat => of_stat_as_printed(record, &mut path),
                };
                let Some(listed) = listed else { return Err(unclear(record)) };
                match self.at {
                    At::Root => self.device = listed.inode.map(|((device, _), _)| device),
                    At::Dir => self.meet(&listed).ok_or_else(|| unclear(record))?,
                    _ => self.entry(&listed).ok_or_else(|| unclear(record))?,
                }
            }
            _ => return Err(unclear(record)),
        }
        Ok(())
    }

    /// Takes the record of the directory itself.
    fn meet(&mut self, listed: &Listed<'_>) -> Option<()> {
        let dir = &self.dirs[self.at_dir];
        let ((device, inode), _) = listed.inode?;
        if listed.path != printed(dir) {
            return None;
        }
        let scan = self.finds.common.crew.scan;
        self.found.met = Some(if listed.kind != Kind::Dir {
            Met::Unopened(Errno::NOTDIR)
        } else if let Some(errno) = listed.unread {
            Met::Unopened(errno)
        } else if Some(device) != self.device {
            Met::Elsewhere
        } else {
            let (mode, owner) = (listed.mode, listed.owner?);
            Met::Opened(Opened { mode, owner, identity: (0, inode), whole: locked(scan, mode) })
        });
        self.at = At::In;
        Some(())
    }

    fn entry(&mut self, listed: &Listed<'_>) -> Option<()> {
        let scan = self.finds.common.crew.scan;
        let dir = printed(&self.dirs[self.at_dir]);
        let name = listed.path.strip_prefix(&dir[..])?.strip_prefix(b"/")?;
        if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return None;
        }
        let bytes = if listed.kind == Kind::File { listed.size } else { 0 };
        let weight = Weight { entries: 1, bytes };
        // Its path below the base, without the leading dot.
        let path = || listed.path.get(2..).unwrap_or_default().to_vec();
        let (inode, names) = listed.inode?;
        if listed.kind == Kind::Dir && !scan.prune.excludes(name, path) {
            self.found.directories.push(Step { name: name.to_vec(), link: false });
        } else if scan.hard_links && names > 1 && listed.kind != Kind::Dir {
            let names = if scan.found_again { u32::MAX } else { names };
            self.found.linked.push(LinkedPart { name: name.to_vec(), weight, inode, names });
        } else {
            self.found.names.extend_from_slice(name);
            self.found.names.push(0);
            self.found.weights.push(weight);
        }
        if self.found.count() >= TOGETHER {
            self.tell(false);
        }
        Some(())
    }

    /// Ends a directory. If it was listed with an error, this machine finds out what the error is.
    fn end(&mut self, listed: bool) {
        if listed {
            self.tell(true);
        } else {
            self.found = Found::default();
            let id = self.dirs[self.at_dir].id;
            let unread = crate::scan::Unread { name: Vec::new(), attempted: "read", errno: Errno::IO, in_unit: false };
            // If nothing was reported about the directory, it may not have been opened.
            let met = Some(Met::Unopened(Errno::IO));
            let part = Part { id, met, unread: vec![unread], is_last: true, ..Part::default() };
            self.hear(part);
        }
        self.at_dir += 1;
        self.at = At::Between;
    }

    fn tell(&mut self, is_last: bool) {
        let Found { met, names, weights, linked, directories } = std::mem::take(&mut self.found);
        let id = self.dirs[self.at_dir].id;
        let children = self.finds.next.fetch_add(directories.len() as u64, Ordering::Relaxed);
        let root = self.dirs[self.at_dir].root;
        let steps = &self.dirs[self.at_dir].steps;
        let handed: Vec<Handed> = directories
            .iter()
            .enumerate()
            .map(|(at, step)| Handed {
                id: children + at as u64,
                root,
                steps: [&steps[..], std::slice::from_ref(step)].concat(),
            })
            .collect();
        self.hear(Part {
            id,
            met,
            names: &names,
            weights: &weights,
            linked,
            directories,
            children,
            unread: Vec::new(),
            is_last,
        });
        self.finds.queue.hear(Order::Read(handed));
    }

    fn hear(&self, part: Part<'_>) {
        self.finds.common.divided.hear(self.finds.member, Said::Part(part));
    }
}

/// Like `of_stat`, but keeps the path as find has printed it, because it was passed to stat in this form.
fn of_stat_as_printed<'p>(record: &[u8], path: &'p mut Vec<u8>) -> Option<Listed<'p>> {
    let mut below = Vec::new();
    let listed = of_stat(record, &mut below)?;
    path.push(b'.');
    if !listed.path.is_empty() {
        path.push(b'/');
        path.extend_from_slice(listed.path);
    }
    Some(Listed { path, ..listed })
}
