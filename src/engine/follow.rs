//! Follows an rsync to its end: each line that it prints is recognized, and then reported, or held back until its meaning is known.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::far::hold;
use crate::report::Event;
use crate::rsync::exit;
use crate::rsync::messages::{self, About, Message as Complaint};
use crate::rsync::output::{Line, Transcript};
use crate::run_dir::failed::Failure;
use crate::supervise::{Ended, Lines, Sign, Stream, Supervisor, by_line};

use super::failures::Failures;
use super::gate::Awaited;
use super::meter::Meter;
use super::places::Carrier;
use super::said::{Holds, LINES_REMEMBERED, TRY_AGAIN, Tells, Voice, count, is_of_shared, without_question};

/// How an rsync ended, and what it printed.
pub(super) struct Followed {
    pub ended: Result<Ended>,
    pub transcript: Transcript,
    pub ran: Duration,
    /// Complaints that were held back, see [`Holds`]. The number says how often the line had come by then.
    pub held: Vec<(Vec<u8>, u32)>,
    /// Complaints that name an entry, reported or held back.
    pub named: Failures,
    /// It had been released when it ended.
    pub begun: bool,
    /// It could not enter a source directory that multi-sync holds open.
    pub out_of_reach: bool,
    /// It found another directory in place of its source.
    pub source_lost: bool,
    /// It was stopped for a while.
    pub was_held: bool,
}

/// Runs an rsync to its end. Never panics. If `awaited` is given, the rsync was started ahead, and its lines are not processed before it is released.
pub(super) fn follow(
    carrier: &Carrier<'_>,
    awaited: Option<Awaited>,
    supervisor: &Supervisor,
    stall: Option<Duration>,
    meter: &Arc<Meter>,
    voice: &Voice<'_>,
) -> Followed {
    let began = Instant::now();
    voice.note(b"begins");
    let was_held = Cell::new(false);
    let mut listener = Listener::new(voice, meter, supervisor, &was_held);
    let (names, released) = awaited.map(|awaited| (awaited.names, awaited.begun)).unzip();
    let mut begun = true;
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let signs = |sign| match sign {
            Sign::Started(leader) => meter.belongs_to(leader),
            Sign::Held => was_held.set(true),
        };
        let run = |each: Each<'_>| carrier.run_raw(supervisor, names, stall, &signs, each);
        if voice.verbatim {
            return pass_on(&mut listener, run);
        }
        let mut ahead = Ahead { released, early: Vec::new() };
        let ended = by_line(&mut |stream, line| listener.receive(&mut ahead, carrier.asks(), stream, line), run);
        // Read only once: a launch that is released after this is reported as one that had not begun.
        begun = ahead.let_through(&mut listener);
        ended
    }))
    .unwrap_or_else(|_| Err(Error::internal("the thread that ran an rsync panicked")));
    let Listener { transcript, held_back, named, out_of_reach, source_lost, .. } = listener;
    let held = held_back.settle(&ended, voice);
    let ran = began.elapsed();
    voice.log.iter().for_each(|log| log.ends(&ended, ran));
    Followed { ended, transcript, ran, held, named, begun, out_of_reach, source_lost, was_held: was_held.get() }
}

/// Takes the output of an rsync, as in [`Supervisor::run_raw`].
type Each<'a> = &'a mut dyn FnMut(Stream, Option<&[u8]>);

/// Passes the output of an rsync on as it comes, and only observes it.
fn pass_on(listener: &mut Listener<'_>, run: impl FnOnce(Each<'_>) -> Result<Ended>) -> Result<Ended> {
    let mut lines = [Lines::new(Stream::Stdout), Lines::new(Stream::Stderr)];
    let (voice, meter) = (listener.voice, listener.meter);
    let mut hear = |stream, line: &[u8]| listener.hear(stream, line);
    run(&mut |stream, bytes| match bytes {
        Some(bytes) => {
            meter.answers(stream == Stream::Stdout);
            (voice.tell)(Event::Output(stream, bytes));
            lines[stream as usize].feed(bytes, &mut hear);
        }
        None => lines[stream as usize].finish(&mut hear),
    })
}

/// What a launch that was started ahead has printed before its release.
struct Ahead {
    /// Set when it is released; `None` if it was not started ahead.
    released: Option<Arc<AtomicBool>>,
    early: Vec<(Stream, Vec<u8>)>,
}

impl Ahead {
    fn keep(&mut self, stream: Stream, line: &[u8]) {
        if self.early.len() < LINES_REMEMBERED {
            self.early.push((stream, line.to_vec()));
        }
    }

    /// Lets the early lines be heard if the launch is released, and returns whether it is.
    fn let_through(&mut self, listener: &mut Listener<'_>) -> bool {
        let is_released = self.released.as_ref().is_none_or(|released| released.load(Ordering::SeqCst));
        if is_released {
            self.early.drain(..).for_each(|(stream, line)| listener.hear(stream, &line));
        }
        is_released
    }
}

/// Recognizes the lines of an rsync, and reports them or holds them back.
struct Listener<'a> {
    voice: &'a Voice<'a>,
    meter: &'a Meter,
    supervisor: &'a Supervisor,
    /// The rsync was stopped for a while.
    was_held: &'a Cell<bool>,
    transcript: Transcript,
    held_back: HeldBack,
    named: Failures,
    out_of_reach: bool,
    source_lost: bool,
    /// An empty line waits for the line after it.
    blank: bool,
}

impl<'a> Listener<'a> {
    fn new(voice: &'a Voice<'a>, meter: &'a Meter, supervisor: &'a Supervisor, was_held: &'a Cell<bool>) -> Self {
        Listener {
            voice,
            meter,
            supervisor,
            was_held,
            transcript: Transcript::new(voice.only_ends.is_some(), voice.marks_changes),
            held_back: HeldBack::default(),
            named: Failures::new(voice.dir),
            out_of_reach: false,
            source_lost: false,
            blank: false,
        }
    }

    /// Takes a line as it was printed. `asks`: the rsync may ask something at the terminal.
    fn receive(&mut self, ahead: &mut Ahead, asks: bool, stream: Stream, line: &[u8]) {
        self.meter.answers(stream == Stream::Stdout);
        let line = if stream == Stream::Stderr { without_question(line) } else { line };
        if line == TRY_AGAIN && !asks {
            self.voice.note(line);
            return;
        }
        if stream == Stream::Stderr && self.voice.handles.is_out_of_reach(line) {
            self.out_of_reach = true;
            return;
        }
        let line = self.voice.handles.shown(line);
        if ahead.let_through(self) {
            self.hear(stream, &line);
        } else {
            ahead.keep(stream, &line);
        }
    }

    /// Takes a line in the form in which the user may see it. With `--stderr=all`, rsync prints statistics on standard error.
    fn hear(&mut self, stream: Stream, line: &[u8]) {
        match (self.transcript.stdout(line), stream) {
            (Line::Progress(progress, end), _) => {
                self.meter.hear(progress);
                self.hear_after_progress(line.get(end..).unwrap_or_default());
            }
            (Line::Ours, _) => {}
            (kind @ (Line::Header | Line::Blank | Line::Statistics | Line::Sums), _) => {
                self.blank = self.voice.say_of_all(kind, line, self.blank);
            }
            (Line::OnlyEnds, _) => self.voice.only_ends(),
            (Line::Other, Stream::Stdout) => self.hear_output(line),
            (Line::Other, Stream::Stderr) => self.hear_error(line),
        }
    }

    fn hear_after_progress(&mut self, rest: &[u8]) {
        match self.transcript.stdout(rest) {
            Line::OnlyEnds => self.voice.only_ends(),
            Line::Other => self.voice.say(rest),
            _ => {}
        }
    }

    fn hear_output(&mut self, line: &[u8]) {
        self.voice.note(line);
        self.voice.say(line);
        // When directories were to be created, rsync has skipped something that is not a directory.
        let skipped = || messages::read(line).is_some_and(|message| message.about == About::Skipped);
        if self.voice.tells == Tells::AllAndRemember && skipped() {
            self.named.push(Failure { name: None, said: line.to_vec() });
        }
    }

    fn hear_error(&mut self, line: &[u8]) {
        self.voice.note(line);
        if line == hold::LOST || self.source_lost && messages::breaks_off(line) {
            // The source was replaced, so that rsync copies nothing. The user is told in other words.
            self.source_lost = true;
        } else if self.voice.shares && is_of_shared(line) {
            self.held_back.keep_of_shared(line);
        } else {
            self.hear_complaint(line);
        }
    }

    fn hear_complaint(&mut self, line: &[u8]) {
        let counts = self.transcript.stderr(line);
        if !counts || self.supervisor.stopped() && messages::is_signal(line) {
            return;
        }
        let message = messages::read(line);
        if message.as_ref().is_some_and(Complaint::names_a_failure) {
            self.named.push(Failure { name: None, said: line.to_vec() });
        }
        let nth = count(&mut self.held_back.times, line);
        let by_pause = self.was_held.get() && messages::breaks_off(line);
        let in_doubt = by_pause || is_in_doubt(self.voice, line, message.as_ref());
        let held = if by_pause { &mut self.held_back.of_pause } else { &mut self.held_back.others };
        if in_doubt && !self.voice.verbatim && held.len() < LINES_REMEMBERED {
            held.push((line.to_vec(), nth));
        } else {
            self.voice.complain(line, nth, message.as_ref());
        }
    }
}

/// Whether it is known only later if a complaint counts.
fn is_in_doubt(voice: &Voice<'_>, line: &[u8], message: Option<&Complaint<'_>>) -> bool {
    let no_place = || message.is_some_and(Complaint::is_no_place) || messages::is_turned_away(line);
    let crowded = voice.crowded && (no_place() || messages::ends_without_place(line));
    let refused = voice.holds == Holds::All || messages::is_refusal(line);
    refused || crowded || message.is_some_and(|message| voice.holds.back(message))
}

/// Complaints that are held back, each with the number of times that it had come by then.
#[derive(Default)]
struct HeldBack {
    /// How often each line has come.
    times: HashMap<Vec<u8>, u32>,
    /// About a shared connection: they count if the rsync fails.
    of_shared: Vec<(Vec<u8>, u32)>,
    /// They may come from a pause, and then do not count by themselves.
    of_pause: Vec<(Vec<u8>, u32)>,
    /// See [`Holds`].
    others: Vec<(Vec<u8>, u32)>,
}

impl HeldBack {
    fn keep_of_shared(&mut self, line: &[u8]) {
        if self.of_shared.len() < LINES_REMEMBERED {
            self.of_shared.push((line.to_vec(), count(&mut self.times, line)));
        }
    }

    /// What is still to be held back after the end of the rsync.
    fn settle(self, ended: &Result<Ended>, voice: &Voice<'_>) -> Vec<(Vec<u8>, u32)> {
        let code = ended.as_ref().ok().map(|ended| ended.code());
        let mut held = if code == Some(exit::OK) { Vec::new() } else { self.of_shared };
        held.extend(self.others);
        // If the pause did not end the rsync, its complaints count.
        match code.is_some_and(exit::breaks_off) {
            true => held.extend(self.of_pause),
            false => self.of_pause.iter().for_each(|(line, nth)| {
                voice.complain(line, *nth, messages::read(line).as_ref());
            }),
        }
        held
    }
}
