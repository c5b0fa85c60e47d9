//! Follows an rsync to its end: each line that it prints is recognized, and then reported, or held back until its meaning is known.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
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
    let mut transcript = Transcript::new(voice.only_ends.is_some(), voice.marks_changes);
    let (mut held, mut named, mut of_shared) = (Vec::new(), Failures::new(voice.dir), Vec::new());
    let mut complaints = HashMap::new();
    let (names, begun) = awaited.map(|awaited| (awaited.names, awaited.begun)).unzip();
    let mut early: Vec<(Stream, Vec<u8>)> = Vec::new();
    let (mut had_begun, mut out_of_reach, mut source_lost) = (true, false, false);
    let (was_held, mut of_pause) = (Cell::new(false), Vec::new());
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut blank = false;
        // With `--stderr=all`, rsync prints statistics on standard error.
        let mut hear = |stream, line: &[u8]| match (transcript.stdout(line), stream) {
            (Line::Progress(progress, end), _) => {
                meter.hear(progress);
                let rest = line.get(end..).unwrap_or_default();
                match transcript.stdout(rest) {
                    Line::OnlyEnds => voice.only_ends(),
                    Line::Other => voice.say(rest),
                    _ => {}
                }
            }
            (Line::Ours, _) => {}
            (kind @ (Line::Header | Line::Blank | Line::Statistics | Line::Sums), _) => {
                blank = voice.say_of_all(kind, line, blank);
            }
            (Line::OnlyEnds, _) => voice.only_ends(),
            (Line::Other, Stream::Stdout) => {
                voice.note(line);
                voice.say(line);
                // When directories were to be created, rsync has skipped something that is not a directory.
                let skipped = || messages::read(line).is_some_and(|message| message.about == About::Skipped);
                if voice.tells == Tells::AllAndRemember && skipped() {
                    named.push(Failure { name: None, said: line.to_vec() });
                }
            }
            // The source was replaced, so that rsync copies nothing. The user is told in other words.
            (Line::Other, Stream::Stderr) if line == hold::LOST || source_lost && messages::breaks_off(line) => {
                voice.note(line);
                source_lost = true;
            }
            (Line::Other, Stream::Stderr) if voice.shares && is_of_shared(line) => {
                voice.note(line);
                of_shared.extend(
                    (of_shared.len() < LINES_REMEMBERED).then(|| (line.to_vec(), count(&mut complaints, line))),
                );
            }
            (Line::Other, Stream::Stderr) => {
                voice.note(line);
                let told = transcript.stderr(line) && !(supervisor.stopped() && messages::is_signal(line));
                let message = messages::read(line);
                if told && message.as_ref().is_some_and(Complaint::names_a_failure) {
                    named.push(Failure { name: None, said: line.to_vec() });
                }
                let is_no_place = |message: &Complaint<'_>| message.is_no_place();
                let no_place = || message.as_ref().is_some_and(is_no_place) || messages::is_turned_away(line);
                let crowded = voice.crowded && (no_place() || messages::ends_without_place(line));
                let refused = voice.holds == Holds::All || messages::is_refusal(line);
                let by_pause = was_held.get() && messages::breaks_off(line);
                let in_doubt =
                    by_pause || refused || crowded || message.as_ref().is_some_and(|message| voice.holds.back(message));
                let nth = if told { count(&mut complaints, line) } else { 1 };
                let held = if by_pause { &mut of_pause } else { &mut held };
                if told && in_doubt && !voice.verbatim && held.len() < LINES_REMEMBERED {
                    held.push((line.to_vec(), nth));
                } else if told {
                    voice.complain(line, nth, message.as_ref());
                }
            }
        };
        let signs = |sign| match sign {
            Sign::Started(leader) => meter.belongs_to(leader),
            Sign::Held => was_held.set(true),
        };
        if voice.verbatim {
            let mut lines = [Lines::new(Stream::Stdout), Lines::new(Stream::Stderr)];
            return carrier.run_raw(supervisor, names, stall, &signs, &mut |stream, bytes| match bytes {
                Some(bytes) => {
                    meter.answers(stream == Stream::Stdout);
                    (voice.tell)(Event::Output(stream, bytes));
                    lines[stream as usize].feed(bytes, &mut hear);
                }
                None => lines[stream as usize].finish(&mut hear),
            });
        }
        let has_begun = || begun.as_ref().is_none_or(|begun| begun.load(Ordering::SeqCst));
        let mut each = |stream, line: &[u8]| {
            meter.answers(stream == Stream::Stdout);
            let line = if stream == Stream::Stderr { without_question(line) } else { line };
            if line == TRY_AGAIN && !carrier.asks() {
                voice.note(line);
                return;
            }
            if stream == Stream::Stderr && voice.handles.is_out_of_reach(line) {
                out_of_reach = true;
                return;
            }
            if !has_begun() {
                early
                    .extend((early.len() < LINES_REMEMBERED).then(|| (stream, voice.handles.shown(line).into_owned())));
                return;
            }
            early.drain(..).for_each(|(stream, line)| hear(stream, &line));
            hear(stream, &voice.handles.shown(line));
        };
        let ended = by_line(&mut each, |raw| carrier.run_raw(supervisor, names, stall, &signs, raw));
        // Read only once: a launch that is released after this is reported as one that had not begun.
        had_begun = has_begun();
        if had_begun {
            early.drain(..).for_each(|(stream, line)| hear(stream, &line));
        }
        ended
    }))
    .unwrap_or_else(|_| Err(Error::usage("the thread that ran an rsync panicked").exit(exit::TERMINATED)));
    if !ended.as_ref().is_ok_and(|ended| ended.code() == exit::OK) {
        held.splice(0..0, of_shared);
    }
    // If the pause did not end the rsync, its complaints count.
    match ended.as_ref().is_ok_and(|ended| exit::breaks_off(ended.code())) {
        true => held.append(&mut of_pause),
        false => of_pause.iter().for_each(|(line, nth)| voice.complain(line, *nth, messages::read(line).as_ref())),
    }
    let ran = began.elapsed();
    voice.log.iter().for_each(|log| log.ends(&ended, ran));
    let was_held = was_held.get();
    Followed { ended, transcript, ran, held, named, begun: had_begun, out_of_reach, source_lost, was_held }
}
