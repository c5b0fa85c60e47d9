//! The progress of a run, written for other processes that ask: one small file, `status.json`, which is replaced each time.
//!
//! The run itself does not need it, so it is not synced, and a failure to write it is no error. A thread writes it, so that a hanging file system holds up
//! nothing else.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::report::Live;
use crate::scan::Weight;
use crate::state;
use crate::thread;

use super::layout::{NEW_STATUS, STATUS};

/// The version of the file. Other versions are not read.
const VERSION: u32 = 1;
/// How long the end of a run waits for the file that is being written.
const PATIENCE: Duration = Duration::from_secs(1);

/// The progress of a run when it was last written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Noted {
    version: u32,
    /// The machine on which the run works, and its process there.
    pub host: String,
    pub pid: u32,
    /// When this was written, in milliseconds since 1970 by the clock of that machine.
    written: i64,
    /// How often the run was begun or resumed.
    pub begun: u64,
    /// The source and destination, to recognize runs of the same ones.
    #[serde(default)]
    pair: String,
    /// How this part of the run ended, if it has.
    pub ended: Option<Ended>,
    /// The progress.
    pub live: Live,
}

/// How a part of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The exit code.
    pub code: u8,
    /// The part was interrupted.
    pub interrupted: bool,
}

impl Noted {
    /// Reads the file in a run directory. `None` if there is none, or if it cannot be understood.
    pub fn read(dir: &Path) -> Option<Noted> {
        let noted: Noted = serde_json::from_slice(&super::read_plain(&dir.join(STATUS)).ok()?).ok()?;
        (noted.version == VERSION).then_some(noted)
    }

    /// When it was written.
    pub fn written(&self) -> Timestamp {
        Timestamp::from_millisecond(self.written).unwrap_or_default()
    }

    /// How long ago it was written, as far as the clocks agree.
    pub fn age(&self) -> Duration {
        Duration::from_millis(Timestamp::now().as_millisecond().saturating_sub(self.written).try_into().unwrap_or(0))
    }

    /// Whether it was written on this machine.
    pub fn is_from_here(&self) -> bool {
        self.host == super::host()
    }
}

/// Writes the progress of a run.
#[derive(Debug)]
pub struct Noter {
    dir: PathBuf,
    begun: u64,
    pair: String,
    shared: Option<Arc<Shared>>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    work: Mutex<Work>,
    changes: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    /// The text to be written next.
    next: Option<Vec<u8>>,
    /// A text is being written.
    busy: bool,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next text to write; `None` at the end.
    fn next(&self) -> Option<Vec<u8>> {
        let mut work = self.lock();
        work.busy = false;
        self.changes.notify_all();
        loop {
            if let Some(next) = work.next.take() {
                work.busy = true;
                return Some(next);
            }
            if work.closed {
                return None;
            }
            work = self.changes.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Noter {
    /// For a run directory, and a run that was begun or resumed this often.
    pub fn new(dir: &Path, begun: u64) -> Noter {
        Noter { dir: dir.to_owned(), begun, pair: String::new(), shared: None, closed: false }
    }

    /// Sets the source and the destination of the run.
    pub fn is_about(&mut self, pair: String) {
        self.pair = pair;
    }

    /// Looks in the neighbouring run directories for the last run of the same source and destination, and for what that has found. A thread does this, and sets
    /// the value when it is known.
    pub fn find_last_run(&self) -> Arc<OnceLock<Weight>> {
        let (found, dir, pair) = (Arc::<OnceLock<Weight>>::default(), self.dir.clone(), self.pair.clone());
        let its = Arc::clone(&found);
        // Without a thread, the value is simply missing.
        let _ = thread::detach(move || {
            if let Some(last) = last_run(&dir, &pair) {
                its.get_or_init(|| last);
            }
        });
        found
    }

    /// Has this progress written, replacing one that still waits. Returns at once.
    pub fn note(&mut self, live: &Live, ended: Option<Ended>) {
        if self.closed || self.shared.is_none() && self.start().is_err() {
            return;
        }
        let Some(shared) = &self.shared else { return };
        let noted = Noted {
            version: VERSION,
            host: super::host(),
            pid: std::process::id(),
            written: Timestamp::now().as_millisecond(),
            begun: self.begun,
            pair: self.pair.clone(),
            ended,
            live: live.clone(),
        };
        let text = serde_json::to_vec(&noted).expect("where a run stands is plain data");
        shared.lock().next = Some(text);
        shared.changes.notify_all();
    }

    fn start(&mut self) -> Result<()> {
        let (shared, dir) = (Arc::<Shared>::default(), self.dir.clone());
        let its = Arc::clone(&shared);
        thread::detach(move || {
            while let Some(text) = its.next() {
                write(&dir, &text);
            }
        })?;
        self.shared = Some(shared);
        Ok(())
    }

    /// Ends the writing, unless the file system hangs.
    pub fn close(&mut self) {
        self.closed = true;
        let Some(shared) = self.shared.take() else { return };
        let until = Instant::now() + PATIENCE;
        let mut work = shared.lock();
        while work.busy || work.next.is_some() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                work.next = None;
                break;
            }
            work = shared.changes.wait_timeout(work, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        work.closed = true;
        shared.changes.notify_all();
    }
}

impl Drop for Noter {
    fn drop(&mut self) {
        self.close();
    }
}

fn last_run(own: &Path, pair: &str) -> Option<Weight> {
    /// A place with more directories than these was chosen by the user.
    const MOST: usize = 1000;
    let others = fs::read_dir(own.parent()?).ok()?.flatten().map(|entry| entry.path());
    let others = others.filter(|dir| dir != own && state::is_own_dir(dir)).take(MOST);
    let same = others.filter_map(|dir| Noted::read(&dir)).filter(|noted| noted.pair == pair && !pair.is_empty());
    let scanned = same.filter(|noted| noted.live.progress.scanned);
    scanned.max_by_key(|noted| noted.written).map(|noted| noted.live.progress.found)
}

fn write(dir: &Path, text: &[u8]) {
    let new = dir.join(NEW_STATUS);
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, dir.join(STATUS)));
    // An incomplete file is useless, and takes room on a disk that may be full.
    if written.is_err_and(|cause| cause.kind() != ErrorKind::NotFound) {
        let _ = fs::remove_file(&new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Launch, Progress, Running};

    fn live(entries: u64) -> Live {
        let progress = Progress {
            done: Weight { entries, bytes: 7 },
            left: Some(Duration::from_millis(1500)),
            fraction: Some(0.3),
            ..Progress::default()
        };
        let launch = Launch { first: Some(b"a\xff\n".to_vec()), host: Some("h".into()), ..Launch::default() };
        let one = Running { launch, ..Running::default() };
        Live { progress, launches: vec![one], one_rsync: Some("why".into()), ..Live::default() }
    }

    #[test]
    fn what_was_noted_last_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Noted::read(dir.path()), None);
        let mut noter = Noter::new(dir.path(), 3);
        (0..100).for_each(|entries| noter.note(&live(entries), None));
        let ended = Some(Ended { code: 20, interrupted: true });
        noter.note(&live(100), ended);
        noter.close();
        let noted = Noted::read(dir.path()).unwrap();
        assert_eq!((noted.live.clone(), noted.ended, noted.begun), (live(100), ended, 3));
        assert!(noted.age() < Duration::from_secs(60) && noted.is_from_here());
        // Nothing is written after the end.
        noter.note(&live(101), None);
        drop(noter);
        assert_eq!(Noted::read(dir.path()), Some(noted));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(dir.path().join(STATUS), "{").unwrap();
        assert_eq!(Noted::read(dir.path()), None);
    }

    #[test]
    fn the_last_run_of_the_same_pair_is_found() {
        let place = tempfile::tempdir().unwrap();
        let run = |name: &str, pair: &str, found: u64, scanned: bool| {
            let dir = place.path().join(name);
            fs::create_dir(&dir).unwrap();
            let mut noter = Noter::new(&dir, 1);
            noter.is_about(pair.into());
            let mut live = live(1);
            (live.progress.scanned, live.progress.found) = (scanned, Weight { entries: found, bytes: 0 });
            noter.note(&live, None);
            noter.close();
            std::thread::sleep(Duration::from_millis(5));
            noter
        };
        run("1", "a to b", 10, true);
        run("2", "a to b", 20, true);
        run("3", "a to b", 30, false);
        run("4", "a to c", 40, true);
        fs::write(place.path().join("file"), "").unwrap();
        let own = run("5", "a to b", 50, true);
        let found = own.find_last_run();
        let until = Instant::now() + Duration::from_secs(20);
        while found.get().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(found.get(), Some(&Weight { entries: 20, bytes: 0 }));
        assert_eq!(last_run(&place.path().join("5"), "a to d"), None);
    }

    #[test]
    fn a_file_system_that_hangs_or_refuses_holds_up_nothing() {
        let dir = tempfile::tempdir().unwrap();
        // Opening a named pipe for writing blocks until there is a reader.
        let pipe = dir.path().join(NEW_STATUS);
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let began = Instant::now();
        let mut noter = Noter::new(dir.path(), 1);
        (0..10).for_each(|entries| noter.note(&live(entries), None));
        drop(noter);
        assert!(began.elapsed() < 3 * PATIENCE, "{:?}", began.elapsed());
        // The thread that was left behind ends when the pipe is read.
        fs::read(&pipe).unwrap();
        let mut gone = Noter::new(Path::new("/nonexistent"), 1);
        gone.note(&live(1), None);
        gone.close();
    }
}
