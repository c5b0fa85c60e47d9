//! Reports a run to others than its user: hooks, a file or an address with metrics, the service manager, and Slurm.
//!
//! It receives the events of the job, and nothing here changes the result of a run: if a command fails, a disk has no room for the file, or a manager does
//! not listen, this is reported, and the run continues. A request that cannot be fulfilled is refused before the job begins.

mod comment;
mod ended;
mod figures;
mod hooks;
mod listener;
mod service;
mod textfile;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use multi_sync::command::config::Config;
use multi_sync::command::thread;
use multi_sync::job::{Event, Phase, Stream};
use multi_sync::{Error, Result};

use comment::Comment;
pub use ended::Ended;
use figures::Figures;
use hooks::Hooks;
use listener::Listener;
use service::Service;
use textfile::Textfile;

/// How often the file is written, and the service manager gets the status.
const EVERY: Duration = Duration::from_secs(5);

/// An engine that reports nothing for this time hangs, because it reports its progress every second.
const SILENT: Duration = Duration::from_secs(10);

/// What the user has requested.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// `--on-end`.
    pub on_end: Option<OsString>,
    /// `--on-failure`.
    pub on_failure: Option<OsString>,
    /// `--hook-seconds`.
    pub hook_limit: Duration,
    /// `--metrics`, absolute.
    pub metrics: Option<PathBuf>,
    /// `--metrics-listen`.
    pub listen: Option<SocketAddr>,
}

impl Wanted {
    /// How long a hook may take by default.
    pub const HOOK_LIMIT: Duration = Duration::from_secs(60);

    /// The name of one of these options that was given.
    pub fn named(&self) -> Option<&'static str> {
        let given = [
            ("--on-end", self.on_end.is_some()),
            ("--on-failure", self.on_failure.is_some()),
            ("--metrics", self.metrics.is_some()),
            ("--metrics-listen", self.listen.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted { on_end: None, on_failure: None, hook_limit: Wanted::HOOK_LIMIT, metrics: None, listen: None }
    }
}

/// What a run copies, as it was typed.
#[derive(Debug, Clone)]
pub struct Subject {
    /// SRC.
    pub sources: Vec<OsString>,
    /// DEST.
    pub destination: OsString,
    /// The working directory of hooks.
    pub cwd: PathBuf,
    /// The Slurm job whose nodes copy.
    pub job: Option<String>,
}

impl Subject {
    /// The subject of this job.
    pub fn of(config: &Config) -> Subject {
        let (sources, destination) = (config.source_words(), config.destination_word().to_owned());
        let job = config.way.job().filter(|_| !config.dry_run && !config.hosts.is_empty()).map(str::to_owned);
        Subject { sources, destination, cwd: config.cwd.clone(), job }
    }

    /// The sources, each formatted by `write`. If there are very many, the first ones, and their number.
    fn sources(&self, write: impl Fn(&OsString) -> String) -> String {
        /// Environment variables and labels of metrics have a limited length.
        const LONGEST: usize = 4096;
        let all: Vec<String> = self.sources.iter().map(write).collect();
        let text = all.join(" ");
        match all.first() {
            Some(first) if text.len() > LONGEST => format!("{first} and {} more", all.len() - 1),
            _ => text,
        }
    }
}

/// Reports that another program takes the place of this one, so that the service manager knows that the work continues.
pub fn gives_way() {
    if let Some(service) = Service::find() {
        service.gives_way("one rsync does it all");
    }
}

/// The listeners of one run. If there are none, it does nothing.
pub struct Monitor {
    hooks: Hooks,
    comment: Option<Comment>,
    shared: Arc<Shared>,
    listener: Option<Listener>,
    ticker: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

struct Shared {
    figures: Mutex<Figures>,
    file: Option<Textfile>,
    service: Option<Service>,
    /// Whether a listener needs the progress.
    watched: bool,
    /// When the engine last reported its progress, while it is working.
    stood: Mutex<Option<Instant>>,
}

impl Monitor {
    /// # Errors
    /// A request cannot be fulfilled: a file cannot be written, or another process has the address.
    pub fn new(wanted: Wanted, subject: Subject) -> Result<Monitor> {
        let Wanted { on_end, on_failure, hook_limit, metrics, listen } = wanted;
        let figures = Figures::new(&subject);
        let file = metrics.map(Textfile::new).transpose()?;
        let listener = listen.map(Listener::bind).transpose()?;
        let service = Service::find();
        let watched = file.is_some() || listener.is_some() || service.is_some();
        let shared = Shared { figures: Mutex::new(figures), file, service, watched, stood: Mutex::default() };
        let comment = subject.job.as_deref().map(Comment::of);
        let hooks = Hooks::new(on_end, on_failure, hook_limit, subject);
        Ok(Monitor { hooks, comment, shared: Arc::new(shared), listener, ticker: Mutex::default() })
    }

    /// Starts to write and to answer.
    ///
    /// # Errors
    /// The file cannot be written, or the system allows no more threads.
    pub fn begin(&self) -> Result<()> {
        if !self.shared.watched {
            return Ok(());
        }
        if let Some(file) = &self.shared.file {
            let mut figures = self.shared.figures();
            figures.keep_last_success(file.read().as_deref());
            file.write(&figures.to_string())?;
        }
        if let Some(listener) = &self.listener {
            let shared = self.shared.clone();
            listener.serve(move || shared.figures().to_string())?;
            if let Some(address) = listener.chosen() {
                crate::streams::err(format!("multi-sync: metrics are at http://{address}/metrics\n"));
            }
        }
        let every = self.shared.service.as_ref().and_then(Service::watchdog).map_or(EVERY, |watchdog| {
            const LEAST: Duration = Duration::from_millis(100);
            (watchdog / 3).clamp(LEAST, EVERY)
        });
        let (stop, stopped) = mpsc::channel();
        let shared = self.shared.clone();
        let ticker = std::thread::Builder::new()
            .spawn(move || {
                while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    shared.tick();
                }
            })
            .map_err(|cause| thread::refused().because(cause))?;
        *lock(&self.ticker) = Some((stop, ticker));
        Ok(())
    }

    /// Processes an event.
    pub fn hear(&self, event: &Event<'_>) {
        if let (Some(comment), Event::Standing(progress)) = (&self.comment, event) {
            comment.stands(progress);
        }
        if !self.shared.watched {
            return;
        }
        match event {
            // These are frequent, and no listener needs them.
            Event::Said(_) | Event::Output(Stream::Stdout, _) | Event::LaunchStarted(_) | Event::Difference(_) => {
                return;
            }
            Event::RunDirectory(_) => self.shared.tell_service(Service::begins),
            Event::Standing(progress) => {
                *lock(&self.shared.stood) = (progress.phase != Phase::Ended).then(Instant::now);
            }
            _ => {}
        }
        self.shared.figures().hear(event);
    }

    /// Reports that a signal has asked for the end. A running hook is ended.
    pub fn is_to_end(&self) {
        self.shared.tell_service(Service::stops);
        self.hooks.interrupt();
    }

    /// Reports that the run has ended and its result is final: the last figures are written, and hooks run.
    pub fn ended(&self, ended: &Ended) {
        *lock(&self.shared.stood) = None;
        self.comment.iter().for_each(|comment| comment.ended(ended.code));
        self.shared.figures().end(ended);
        if self.shared.watched {
            self.shared.tell_service(Service::begins);
            self.shared.write();
        }
        for name in self.hooks.due(ended) {
            self.shared.tell_service(|service| service.status(&format!("runs the command of {name}")));
            self.hooks.run(name, ended);
        }
        self.close();
        self.shared.tell_service(Service::stops);
    }

    fn close(&self) {
        if let Some((stop, ticker)) = lock(&self.ticker).take() {
            drop(stop);
            // The thread ends at once, unless it has panicked.
            let _ = ticker.join();
        }
        if let Some(listener) = &self.listener {
            listener.close();
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn figures(&self) -> MutexGuard<'_, Figures> {
        lock(&self.figures)
    }

    /// Does what is due every few seconds.
    fn tick(&self) {
        self.write();
        let status = self.figures().status();
        let is_silent = lock(&self.stood).is_some_and(|stood| stood.elapsed() > SILENT);
        self.tell_service(|service| {
            if !is_silent {
                service.lives();
            }
            if let Some(status) = status {
                service.status(&status);
            }
        });
    }

    fn write(&self) {
        let Some(file) = &self.file else { return };
        let text = self.figures().to_string();
        if let Err(error) = file.write(&text)
            && file.is_news()
        {
            complain(&error);
        }
    }

    fn tell_service(&self, tell: impl FnOnce(&Service)) {
        if let Some(service) = &self.service {
            tell(service);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn complain(error: &Error) {
    crate::streams::err(format!("multi-sync: {error}\n"));
}
