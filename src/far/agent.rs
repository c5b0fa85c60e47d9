//! Lists with this program: the same version of it scans on the other machine as it would scan its own tree, with as many threads as its file system
//! suggests, and reports the result. Units cross the wire rather than entries, so that a subtree costs as much as a name.

mod serve;
pub(super) mod wire;

use std::io::{PipeWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Far, child};
use crate::entry::Printable;
use crate::error::{EXIT_PARTIAL, Error, Result};
use crate::scan::{Counts, Event, Linked, LinkedDir, LinkedDirs, Pruner, Small, Spine, Units, Watch, Weight};
use crate::supervise::{Ended, Invocation};
use wire::{Asked, Lines, Request, Told, is_name};

pub use serve::serve;
pub use wire::HELLO;

/// Starts it there. The usual directories of programs are added to `PATH`, because a login without a terminal may lack them. The shell reads the whole group
/// before it begins, and nothing more is sent before the program has answered. So the shell takes nothing that is meant for the program.
pub(super) const START: &str = "{ PATH=$PATH:/usr/local/bin:$HOME/.local/bin:$HOME/.cargo/bin:$HOME/bin; export PATH\n\
                     exec multi-sync --scan-agent; }\n";
/// Prints the program's own greeting, or nothing.
pub const ASK: &str = "$(PATH=$PATH:/usr/local/bin:$HOME/.local/bin:$HOME/.cargo/bin:$HOME/bin; export PATH\n\
                       multi-sync --scan-agent </dev/null 2>/dev/null | tail -n 1)";
/// The most bytes that a login may print before the greeting.
pub(super) const LONGEST_GREETING: usize = 1 << 20;
/// The longest line: the names of one batch.
pub(super) const LONGEST_LINE: usize = 1 << 28;

pub fn scan(far: Far<'_>, small: Option<Small<'_>>, watch: &Watch, sink: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
    let Some(shell) = &far.reach.shell else { return Err(Error::usage("there is no shell on that machine")) };
    let pipe = std::io::pipe().map_err(|cause| Error::system("cannot make a pipe").because(cause));
    let (reader, mut writer) = pipe?;
    // The text fits into the pipe, so that this does not block.
    writer.write_all(START.as_bytes()).map_err(lost)?;
    let wire = Arc::new(Wire(Mutex::new(Some(writer))));
    let mut hearing = Hearing {
        far,
        small,
        watch,
        sink,
        wire: Arc::clone(&wire),
        lines: Lines::default(),
        is_there: false,
        spines: 0,
        found: Counts::default(),
        end: None,
    };
    let invocation = Invocation { input: Vec::new(), held: false, ..shell.clone() };
    let out = &mut |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => hearing.feed(bytes),
        // Its output has ended: its input is closed, so that nothing keeps it alive.
        None => {
            wire.close();
            Ok(())
        }
    };
    let ran = child::run(&invocation, Some(reader), far.reach.stall, far.supervisor, watch, out, &mut |_| false);
    wire.close();
    let finished = ran?;
    if watch.stopped() || far.supervisor.stopped() {
        return Ok(());
    }
    match (finished.ended, hearing.end) {
        (Ended::Code(0), Some(None)) => Ok(()),
        (_, Some(Some(why))) => Err(Error::system(format!("cannot scan the source there: {why}")).exit(EXIT_PARTIAL)),
        _ => Err(finished.error("cannot scan the source with multi-sync there")),
    }
}

/// Its standard input.
struct Wire(Mutex<Option<PipeWriter>>);

impl Wire {
    fn say(&self, asked: &Asked) -> Result<()> {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writer.as_mut().map_or(Ok(()), |writer| writer.write_all(&wire::line(asked))).map_err(lost)
    }

    fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn lost(cause: std::io::Error) -> Error {
    Error::system("cannot communicate with multi-sync on the source's machine").because(cause)
}

struct Hearing<'a> {
    far: Far<'a>,
    small: Option<Small<'a>>,
    watch: &'a Watch,
    sink: &'a (dyn Fn(Event<'_>) + Sync),
    wire: Arc<Wire>,
    lines: Lines,
    /// Whether it has sent its greeting.
    is_there: bool,
    spines: u32,
    found: Counts,
    end: Option<Option<String>>,
}

impl Hearing<'_> {
    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let mut lines = std::mem::take(&mut self.lines);
        let fed = lines.feed(bytes, &mut |line| self.line(line));
        self.lines = lines;
        fed?;
        let longest = if self.is_there { LONGEST_LINE } else { LONGEST_GREETING };
        let begun = self.lines.begun();
        if begun.len() > longest { Err(unclear(&begun[..80], "it has no end")) } else { Ok(()) }
    }

    fn line(&mut self, line: &[u8]) -> Result<()> {
        if !self.is_there {
            if line == HELLO.as_bytes() {
                self.is_there = true;
                let request = Request::new(self.far.scan, self.small.map(|small| small.entries));
                self.wire.say(&Asked::Scan(Box::new(request)))?;
            } else if line.starts_with(wire::NAME.as_bytes()) {
                return Err(unclear(line, "it is of another version"));
            }
            return Ok(());
        }
        let told = serde_json::from_slice(line).map_err(|cause| unclear(line, &cause.to_string()))?;
        if self.end.is_some() {
            return Err(unclear(line, "it comes behind the end"));
        }
        if let Told::Spine { root: 0, path, identity, .. } = &told
            && path.0.is_empty()
        {
            super::check_root(self.far.identity, *identity)?;
        }
        self.tell(told).map_err(|why| unclear(line, why))
    }

    /// Checks a message as far as possible, and passes it on to the sink.
    fn tell(&mut self, told: Told) -> std::result::Result<(), &'static str> {
        const NO_NAME: &str = "it has no name that a directory can hold";
        const NO_SPINE: &str = "it has no directory";
        let roots = self.far.scan.roots.len();
        let is_root = |root: u32| (root as usize) < roots;
        let known = |root: u32, spine: u32| if is_root(root) && spine < self.spines { Ok(()) } else { Err(NO_SPINE) };
        match told {
            Told::Spine { index, root, path, mode, identity, mount_point, exposed } => {
                if index != self.spines || !is_root(root) || !is_path(&path.0) {
                    return Err("it is not the next directory");
                }
                self.spines += 1;
                let wire = Arc::clone(&self.wire);
                // If it is already gone, it reads nothing any more, so an error does not matter.
                let prune = move || drop(wire.say(&Asked::Prune(index)));
                let pruner = (!mount_point).then(|| Pruner::far(prune));
                let spine = Spine::of_far(index, root, &path.0, (mode, identity), exposed, pruner.as_ref());
                (self.sink)(Event::Spine(spine));
            }
            Told::Units { root, spine, dir, names, weights } => {
                spine.map_or(Ok(()), |spine| known(root, spine))?;
                let weights: Vec<Weight> = weights.into_iter().map(wire::weight).collect();
                let is_whole = |name: &[u8]| name.is_empty() && spine.is_none();
                let all = names.0.split_inclusive(|byte| *byte == 0).map(|name| name.strip_suffix(b"\0"));
                let all_names = all.clone().all(|name| name.is_some_and(|name| is_whole(name) || is_name(name)));
                if !is_root(root) || !is_path(&dir.0) || !all_names || all.count() != weights.len() {
                    return Err(NO_NAME);
                }
                (self.sink)(Event::Units(Units::new(root, spine, &dir.0, &names.0, &weights)));
            }
            Told::Linked { root, spine, dir, name, weight, inode, names } => {
                known(root, spine)?;
                if !is_path(&dir.0) || !is_name(&name.0) {
                    return Err(NO_NAME);
                }
                let (dir, name, weight) = (&dir.0[..], &name.0[..], wire::weight(weight));
                (self.sink)(Event::Linked(Linked { root, spine, dir, name, weight, inode, names }));
            }
            Told::LinkedDirs { units, inodes } => {
                let unit = |(root, spine, dir, name, weight): (_, _, wire::Bytes, wire::Bytes, _)| {
                    known(root, spine)?;
                    if !is_path(&dir.0) || !is_name(&name.0) {
                        return Err(NO_NAME);
                    }
                    Ok(LinkedDir { root, spine, dir: dir.0, name: name.0, weight: wire::weight(weight) })
                };
                let units = units.into_iter().map(unit).collect::<std::result::Result<_, _>>()?;
                (self.sink)(Event::LinkedDirs(LinkedDirs { units, inodes }));
            }
            Told::KeptWhole { root, path, why } => (self.sink)(Event::KeptWhole { root, path: &path.0, why }),
            Told::Error { root, path, attempted, errno, in_unit } => {
                (self.sink)(Event::Error(wire::scan_error(root, path, attempted, errno, in_unit)));
            }
            Told::Found(counts) => self.watch.count_more(&mut self.found, counts),
            Told::Small(entries, bytes) => {
                let small = self.small.ok_or("nobody has asked for it")?;
                let limits = (small.limits)(Weight { entries, bytes });
                let said = self.wire.say(&Asked::Limits(limits.entries.get(), limits.bytes.get()));
                said.map_err(|_| "its answer cannot be sent")?;
            }
            Told::End(end) => self.end = Some(end),
            Told::Ready(_) | Told::Part(_) | Told::Given(_) | Told::Looks(_) => return Err("nobody has asked for it"),
        }
        Ok(())
    }
}

/// Whether this is a path below a base, or the base itself.
fn is_path(path: &[u8]) -> bool {
    path.is_empty() || path.split(|byte| *byte == b'/').all(is_name)
}

fn unclear(line: &[u8], why: &str) -> Error {
    const SHOWN: usize = 200;
    let shown = Printable::bytes(&line[..line.len().min(SHOWN)]);
    Error::system(format!("cannot understand what multi-sync on the source's machine has said: {why}: '{shown}'"))
        .remedy("choose another way to scan it with --remote-scan")
        .exit(EXIT_PARTIAL)
}
