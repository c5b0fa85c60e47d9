//! The remote end: this program scans the machine on which it runs for the multi-sync that has started it. It ends with its standard input.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::wire::{self, Asked, Bytes, HELLO, Request, SaidPart, Told};
use crate::error::{Error, Result};
use crate::scan::{Event, Limits, Pruner, Reader, Said, Small, Watch, Weight};
use crate::thread;

/// How often the counts so far are sent, and buffered output is flushed.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How long a scan has to end when nobody receives its results any more. It may hang with its file system.
const GRACE: Duration = Duration::from_secs(1);

/// Sends a greeting, carries out the scan that is requested, and sends its results. `abandon` ends the process, and is called when multi-sync is gone.
///
/// # Errors
/// A request cannot be read, or a result cannot be written.
pub fn serve(
    input: impl Read + Send + 'static,
    output: impl Write + Send,
    abandon: impl FnOnce() + Send + 'static,
) -> Result<()> {
    let output = Mutex::new(BufWriter::new(output));
    let cannot_write = |cause| Error::system("cannot write to standard output").because(cause);
    {
        let mut output = lock(&output);
        // On a new line, because a login may have printed text without a newline.
        writeln!(output, "\n{HELLO}").and_then(|()| output.flush()).map_err(cannot_write)?;
    }
    let mut input = BufReader::new(input);
    let Some(asked) = read(&mut input)? else { return Ok(()) };
    let request = match asked {
        Asked::Scan(request) => request,
        Asked::Help(request, threads) => return help(*request, threads, input, &output, abandon),
        _ => return Err(unclear("it is no scan")),
    };
    let shared = Arc::new(Shared::default());
    let (limits, known) = mpsc::channel();
    let listens = Arc::clone(&shared);
    thread::detach(move || {
        listens.listen(&mut input, &limits);
        drop(limits);
        listens.watch.stop();
        std::thread::sleep(GRACE);
        abandon();
    })?;
    let told = scan(*request, &shared, known, &output);
    let end = Told::End(told.err().map(|error| error.to_string()));
    let mut output = lock(&output);
    let said = output.write_all(&wire::line(&Told::Found(shared.watch.counts())));
    said.and_then(|()| output.write_all(&wire::line(&end))).and_then(|()| output.flush()).map_err(cannot_write)
}

#[derive(Default)]
struct Shared {
    watch: Watch,
    pruners: Mutex<HashMap<u32, Pruner>>,
}

impl Shared {
    /// Receives requests until the input ends.
    fn listen(&self, input: &mut impl BufRead, limits: &Sender<Limits>) {
        while let Ok(Some(asked)) = read(input) {
            match asked {
                Asked::Limits(entries, bytes) => {
                    // The scan that waits for the limits may have been stopped.
                    let _ = limits.send(wire::limits(entries, bytes));
                }
                Asked::Prune(index) => {
                    if let Some(pruner) = lock(&self.pruners).remove(&index) {
                        pruner.prune();
                    }
                }
                _ => return,
            }
        }
    }
}

fn scan(
    request: Request,
    shared: &Shared,
    known: Receiver<Limits>,
    output: &Mutex<BufWriter<impl Write + Send>>,
) -> Result<()> {
    let watch = &shared.watch;
    let write = |told: &Told| {
        let line = wire::line(told);
        if lock(output).write_all(&line).is_err() {
            watch.stop();
        }
    };
    let small = request.small;
    let scan = request.scan();
    let known = Mutex::new(known);
    let usual = scan.limits;
    let limits = |found: Weight| {
        write(&Told::Small(found.entries, found.bytes));
        if lock(output).flush().is_err() {
            watch.stop();
        }
        lock(&known).recv().unwrap_or(usual)
    };
    let small = small.map(|entries| Small { entries, limits: &limits });
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let tells = thread::start(scope, || {
            while !over.load(Ordering::Acquire) {
                write(&Told::Found(watch.counts()));
                if lock(output).flush().is_err() {
                    watch.stop();
                }
                std::thread::park_timeout(TELL_EVERY);
            }
        })?;
        let done = scan.run_sized(small, watch, &|event| {
            if let Event::Spine(spine) = &event {
                lock(&shared.pruners).insert(spine.index, spine.pruner());
            }
            if let Some(told) = told(event) {
                write(&told);
            }
        });
        over.store(true, Ordering::Release);
        tells.thread().unpark();
        done
    })
}

/// How often it is reported that the file system answers, and buffered output is flushed.
const SEND_EVERY: Duration = Duration::from_millis(20);

/// Reads directories on request until the input ends.
fn help(
    request: Request,
    threads: Option<NonZero<usize>>,
    mut input: impl BufRead + Send,
    output: &Mutex<BufWriter<impl Write + Send>>,
    abandon: impl FnOnce() + Send + 'static,
) -> Result<()> {
    let scan = request.scan();
    let threads = threads.unwrap_or(scan.threads);
    let sent = Mutex::new(Instant::now());
    let gone = AtomicBool::new(false);
    let write = |told: &Told| {
        let line = wire::line(told);
        let mut output = lock(output);
        let mut sent = lock(&sent);
        let mut done = output.write_all(&line);
        // One system call for each directory would be too slow, and no output may be delayed for long if there is little of it.
        if sent.elapsed() >= SEND_EVERY {
            *sent = Instant::now();
            done = done.and_then(|()| output.flush());
        }
        gone.fetch_or(done.is_err(), Ordering::AcqRel);
    };
    let tell = |said: Said<'_>| match said {
        Said::Part(part) => write(&Told::Part(Box::new(SaidPart::new(part)))),
        Said::Given(ids) => write(&Told::Given(ids)),
    };
    let reader = Reader::new(&scan, false, &tell);
    write(&Told::Ready(threads.get()));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (reader, over) = (&reader, &over);
        let works = (0..threads.get()).map(|_| thread::start(scope, || reader.work()));
        let works = works.collect::<Result<Vec<_>>>();
        let ticks = thread::start(scope, || {
            let mut looks = 0;
            while !over.load(Ordering::Acquire) {
                if reader.looks() != looks {
                    looks = reader.looks();
                    write(&Told::Looks(looks));
                }
                *lock(&sent) = Instant::now();
                if lock(output).flush().is_err() || gone.load(Ordering::Acquire) {
                    reader.close();
                }
                std::thread::park_timeout(SEND_EVERY);
            }
        });
        if works.is_ok() && ticks.is_ok() {
            while let Ok(Some(asked)) = read(&mut input) {
                match wire::order(asked) {
                    Some(order) => reader.hear(order),
                    None => break,
                }
            }
        }
        reader.close();
        over.store(true, Ordering::Release);
        // A directory read may hang with its file system.
        thread::detach(move || {
            std::thread::sleep(GRACE);
            abandon();
        })?;
        ticks.map(|ticks| ticks.thread().unpark())?;
        works.map(drop)
    })?;
    let mut output = lock(output);
    let said = output.write_all(&wire::line(&Told::End(None)));
    // Nobody waits for this line, so an error does not matter.
    drop(said.and_then(|()| output.flush()));
    Ok(())
}

fn told(event: Event<'_>) -> Option<Told> {
    let bytes = |bytes: &[u8]| Bytes(bytes.to_vec());
    Some(match event {
        Event::Spine(spine) => Told::Spine {
            index: spine.index,
            root: spine.root,
            path: bytes(spine.path),
            mode: spine.mode,
            identity: spine.identity,
            mount_point: spine.mount_point,
            exposed: spine.exposed,
        },
        Event::Units(units) => {
            let (names, weights) = units.parts();
            let weights = weights.iter().map(|weight| wire::pair(*weight)).collect();
            Told::Units { root: units.root, spine: units.spine, dir: bytes(units.dir), names: bytes(names), weights }
        }
        Event::Linked(linked) => Told::Linked {
            root: linked.root,
            spine: linked.spine,
            dir: bytes(linked.dir),
            name: bytes(linked.name),
            weight: wire::pair(linked.weight),
            inode: linked.inode,
            names: linked.names,
        },
        Event::LinkedDirs(dirs) => wire::linked_dirs(dirs),
        Event::KeptWhole { root, path, why } => Told::KeptWhole { root, path: bytes(path), why },
        Event::Error(error) => wire::error(&error),
    })
}

/// The next line; `None` at the end of the input.
fn read(input: &mut impl BufRead) -> Result<Option<Asked>> {
    let mut line = Vec::new();
    let read = input.read_until(b'\n', &mut line);
    read.map_err(|cause| Error::system("cannot read standard input").because(cause))?;
    if line.last() != Some(&b'\n') {
        return Ok(None);
    }
    serde_json::from_slice(&line).map(Some).map_err(|cause| unclear("it is no request").because(cause))
}

fn unclear(why: &str) -> Error {
    Error::usage(format!("cannot understand what is asked of the scan: {why}"))
        .remedy("this mode is for multi-sync itself, which starts it on another machine")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
