//! The events of a run as lines of JSON (`--events`), for programs. `docs/events.md` describes them.
//!
//! A slow reader never delays a run: each output has a thread of its own and a buffer of bounded size. Lines that do not fit into it are dropped, counted and
//! reported.

mod outbox;
mod record;
mod recorder;
mod text;

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

use crate::error::Result;
use crate::outlet::Outlets;
use crate::report::Event;
use crate::supervise::Stream;

use outbox::Outbox;
pub use record::*;
use recorder::Recorder;
pub use text::Text;

/// Writes the events of a run.
pub struct EventLog {
    recorder: Mutex<Recorder>,
    state: Mutex<State>,
}

struct State {
    /// The outputs for the lines.
    outboxes: Vec<Outbox>,
    /// The spool file from which the report is made, and which output writes it.
    spool: Option<(File, usize)>,
}

/// The results when a run has ended.
pub struct Written {
    /// The spool file from which the report is made, at its beginning.
    pub spool: Option<File>,
    /// Which output is incomplete, in words for users.
    pub lacks: Vec<String>,
}

impl EventLog {
    /// Opens the requested outputs; `None` if there are none. If the run `resumes`, lines are appended to those of its earlier parts.
    ///
    /// # Errors
    /// An output cannot be written.
    pub fn open(outlets: &Outlets, resumes: bool) -> Result<Option<EventLog>> {
        if outlets.is_empty() {
            return Ok(None);
        }
        // Outputs that may be refused are opened before any file is overwritten.
        let spool = outlets.report.as_ref().map(|report| report.spool()).transpose()?;
        let mut outboxes = Vec::new();
        if let Some(outlet) = &outlets.events {
            outboxes.push(Outbox::new(format!("the events for {}", outlet.name()), outlet.open(resumes)?)?);
        }
        let spool = match spool {
            Some(file) => {
                let own = file.try_clone().map_err(|cause| crate::thread::refused().because(cause))?;
                outboxes.push(Outbox::new("the report".to_owned(), own)?);
                Some((file, outboxes.len() - 1))
            }
            None => None,
        };
        let recorder = Mutex::new(Recorder::new(outlets.interval));
        Ok(Some(EventLog { recorder, state: Mutex::new(State { outboxes, spool }) }))
    }

    /// Writes an event, if it is one that is written. May be called from any thread.
    pub fn hear(&self, event: &Event<'_>) {
        // These frequent events are only for the terminal.
        if let Event::Said(_) | Event::Output(Stream::Stdout, _) | Event::Progress(_) | Event::Asked(_) = event {
            return;
        }
        // Held until the lines are passed on, so that they are in the order of their times.
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.hear(event, Instant::now(), &mut |record| state.write(record));
    }

    /// Waits until everything is written, as long as the outputs accept it.
    pub fn close(self, interrupted: bool) -> Written {
        let State { outboxes, spool } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut whole = true;
        let mut lacks = Vec::new();
        for (place, outbox) in outboxes.into_iter().enumerate() {
            if let Some(lack) = outbox.close(interrupted) {
                whole &= spool.as_ref().is_none_or(|(_, of_spool)| *of_spool != place);
                lacks.push(lack);
            }
        }
        let spool =
            spool.filter(|_| whole).and_then(|(mut file, _)| file.seek(SeekFrom::Start(0)).is_ok().then_some(file));
        Written { spool, lacks }
    }
}

impl State {
    fn write(&mut self, record: Record) {
        // One time for all outputs, so that each of them gives the same report.
        let time = Timestamp::now();
        let line = |record: &Record| {
            let line = Line { v: VERSION, time, record };
            let mut text = serde_json::to_vec(&line).unwrap_or_default();
            text.push(b'\n');
            Arc::<[u8]>::from(text)
        };
        if let Record::Summary(summary) = record {
            // Each output has a summary with its own number of dropped lines.
            for outbox in &mut self.outboxes {
                let own = Summary { dropped: outbox.dropped(), ..(*summary).clone() };
                outbox.put_last(line(&Record::Summary(Box::new(own))), &line);
            }
            return;
        }
        let text = line(&record);
        self.outboxes.iter_mut().for_each(|outbox| outbox.put(&text, &line));
    }
}
