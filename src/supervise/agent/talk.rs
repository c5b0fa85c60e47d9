//! A command that an agent runs: what is written to the agent, how its output is interpreted, and what happens if none comes.

use std::io;
use std::time::{Duration, Instant};

use super::frames::Part;
use super::there;
use super::{ASKED, Agent, CHUNK, NO_PIPE, POLITE};
use crate::supervise::child::{self, has_died};
use crate::supervise::pipes::{read_some, wait_for_output};
use crate::supervise::{Ended, LOOK_EVERY, Sign, Stop, Stream, Supervisor, session};

/// A shell that does not answer within this time is regarded as not there, unless another time was given.
const GREETING: Duration = Duration::from_secs(120);
/// How often a silent agent is asked whether it is there.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// An agent that has sent nothing at all for this time, although it was asked, is regarded as gone.
const GONE: Duration = Duration::from_secs(60);
/// The same if everything is to end at once.
const FIRM: Duration = Duration::from_secs(1);
/// How often the request to pause is repeated, in case it was not received.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// How long to wait for error messages of a connection that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A longer time between two checks means that this process itself was stopped, so it is not counted as silence.
const ABSENT: Duration = Duration::from_secs(1);
/// Output is acknowledged at most once in this time.
const ANSWER_EVERY: Duration = Duration::from_millis(1);
/// How often writing to a full pipe is tried again.
const FEED_EVERY: Duration = Duration::from_millis(2);
/// Exit codes of shells for commands that they cannot start. Any other exit code of the local process means that the connection has ended.
const OF_SHELLS: std::ops::RangeInclusive<u8> = 123..=127;
pub(super) const CONNECTION: u8 = 255;
/// The output of `cksum` for empty input: the system does not show the activity of the command.
const NOTHING: &str = "4294967295 0";

/// A command that an agent runs.
pub(super) struct Talk<'a> {
    supervisor: &'a Supervisor,
    agent: &'a mut Agent,
    left: &'a [u8],
    stall: Option<Duration>,
    begun: [bool; 2],
    ended: [bool; 2],
    code: Option<u8>,
    /// How long nothing was received, and how long nothing showed that the command is active.
    silent: Duration,
    idle: Duration,
    looked: Instant,
    /// When it was asked last, on the time scale of `silent`.
    asked: Duration,
    /// How much the command had read and written.
    figures: Option<String>,
    paused: Option<Instant>,
    /// Whether output was received that is not acknowledged yet.
    owes: bool,
    answered: Option<Instant>,
    closing: Option<Instant>,
    stalled: bool,
}

impl<'a> Talk<'a> {
    pub fn new(
        supervisor: &'a Supervisor,
        agent: &'a mut Agent,
        script: &'a [u8],
        stall: Option<Duration>,
    ) -> Talk<'a> {
        Talk {
            supervisor,
            agent,
            left: script,
            stall,
            begun: [false; 2],
            ended: [false; 2],
            code: None,
            silent: Duration::ZERO,
            idle: Duration::ZERO,
            looked: Instant::now(),
            asked: Duration::ZERO,
            figures: None,
            paused: None,
            owes: false,
            answered: None,
            closing: None,
            stalled: false,
        }
    }

    pub fn run(mut self, signs: &dyn Fn(Sign), each: &mut dyn FnMut(Stream, Option<&[u8]>)) -> io::Result<Ended> {
        let mut buffer = vec![0; CHUNK];
        loop {
            self.write()?;
            let patience = match (self.owes, self.has_more()) {
                (true, _) => ANSWER_EVERY,
                (false, true) => FEED_EVERY,
                (false, false) => LOOK_EVERY,
            };
            let (out, err) =
                wait_for_output(self.agent.stdout.as_ref(), self.agent.stderr.as_ref(), NO_PIPE, patience)?;
            if self.count_silence(out || err) || self.supervisor.is_paused() {
                signs(Sign::Held);
            }
            // Standard error is read first, so that a message written before some output is also passed on before it.
            if err {
                self.hear(Stream::Stderr, &mut buffer, each)?;
            }
            if out {
                self.hear(Stream::Stdout, &mut buffer, each)?;
            }
            if let Some(code) = self.code.filter(|_| self.ended == [true; 2]) {
                self.agent.is_over |= self.closing.is_some();
                return Ok(if self.stalled { Ended::Stalled } else { Ended::Code(code) });
            }
            self.answer();
            let is_lost = self.agent.stdout.is_none() || self.agent.stderr.is_none();
            if is_lost || !out && !err && has_died(&self.agent.child) {
                return self.lost(&mut buffer, each);
            }
            if let Some(ended) = self.look() {
                return Ok(ended);
            }
        }
    }

    fn is_greeted(&self) -> bool {
        self.agent.greeted == [true; 2]
    }

    /// Whether the pipe has not taken everything yet.
    fn has_more(&self) -> bool {
        self.is_greeted() && !self.left.is_empty()
    }

    fn write(&mut self) -> io::Result<()> {
        if self.has_more() && self.closing.is_none() {
            self.agent.wire.listens(false);
            let mut left = self.left;
            self.agent.feed(&mut left)?;
            self.left = left;
        }
        Ok(())
    }

    /// Reads the available output.
    fn hear(
        &mut self,
        stream: Stream,
        buffer: &mut [u8],
        each: &mut dyn FnMut(Stream, Option<&[u8]>),
    ) -> io::Result<()> {
        let read = match stream {
            Stream::Stdout => read_some(&mut self.agent.stdout, buffer)?,
            Stream::Stderr => read_some(&mut self.agent.stderr, buffer)?,
        };
        let Some(length) = read else { return Ok(()) };
        let mut frames = std::mem::take(&mut self.agent.frames[stream as usize]);
        let mut take = |part: Part<'_>| self.take(stream, part, each);
        match length {
            0 => frames.finish(&mut take),
            length => frames.feed(&buffer[..length], &mut take),
        }
        self.agent.frames[stream as usize] = frames;
        if length == 0 {
            match stream {
                Stream::Stdout => drop(self.agent.stdout.take()),
                Stream::Stderr => drop(self.agent.stderr.take()),
            }
        }
        Ok(())
    }

    fn take(&mut self, stream: Stream, part: Part<'_>, each: &mut dyn FnMut(Stream, Option<&[u8]>)) {
        let at = stream as usize;
        let text = match part {
            Part::Bytes(bytes) => {
                // Standard output before the command is a greeting of the login and ignored; standard error may be a message of ssh and is passed on.
                let is_its = self.begun[at] && !self.ended[at];
                if is_its || stream == Stream::Stderr {
                    self.idle = Duration::ZERO;
                    self.owes |= is_its && self.agent.waits_for_answers;
                    each(stream, Some(bytes));
                }
                return;
            }
            Part::Mark(text) => text,
        };
        let mut words = text.split(' ');
        let kind = words.next().unwrap_or_default();
        let number = |words: &mut std::str::Split<'_, char>| words.next().and_then(|word| word.parse::<u64>().ok());
        match kind {
            there::GREETS => {
                self.agent.greeted[at] = true;
                if let Some(step) = words.next() {
                    step.clone_into(&mut self.agent.step);
                }
                if self.is_greeted() {
                    self.agent.wire.listens(true);
                    self.idle = Duration::ZERO;
                }
            }
            there::BEGINS if number(&mut words) == Some(self.agent.number) => {
                self.begun[at] = true;
                // The shell has read the complete group, so it can take lines now.
                self.agent.wire.listens(true);
                self.agent.wire.say(there::HEARS);
            }
            there::ENDS if number(&mut words) == Some(self.agent.number) => {
                self.ended[at] = true;
                if stream == Stream::Stdout {
                    self.code = number(&mut words).and_then(|code| code.try_into().ok());
                }
                // This line also serves as an acknowledgement, see there.
                if self.ended != [true; 2] {
                    // If the line could not be sent now, it would later be read by the wrong reader, so the agent cannot be used again.
                    self.agent.is_over |= !self.agent.wire.say(there::HEARD);
                }
                each(stream, None);
            }
            there::DOES => {
                let figures = text[there::DOES.len()..].trim();
                if figures == NOTHING {
                    self.supervisor.sees_nothing();
                }
                if figures == NOTHING || self.figures.as_deref() != Some(figures) {
                    self.idle = Duration::ZERO;
                }
                self.figures = Some(figures.to_owned());
            }
            _ => {}
        }
    }

    /// Updates the times of silence. Returns whether this process itself was stopped meanwhile.
    fn count_silence(&mut self, heard: bool) -> bool {
        let passed = self.looked.elapsed();
        self.looked = Instant::now();
        let stood_still = passed > ABSENT;
        let passed = if stood_still { Duration::ZERO } else { passed };
        self.silent = if heard { Duration::ZERO } else { self.silent + passed };
        self.idle = if self.supervisor.is_paused() { Duration::ZERO } else { self.idle + passed };
        if heard {
            self.asked = Duration::ZERO;
        }
        stood_still
    }

    /// Does what is due without any input. Returns how the command has ended, if it has.
    fn look(&mut self) -> Option<Ended> {
        if let Some(since) = self.closing {
            let firmly = self.supervisor.lock().stop == Some(Stop::Kill);
            if since.elapsed() >= if firmly { FIRM } else { POLITE } {
                self.agent.end(Duration::ZERO);
                return Some(if self.stalled { Ended::Stalled } else { Ended::Code(CONNECTION) });
            }
            return None;
        }
        if self.supervisor.stopped() {
            if !self.is_greeted() {
                // No command runs there, so nothing has to be cleaned up.
                self.agent.kill();
                return Some(Ended::NotStarted);
            }
            self.close();
            return None;
        }
        if !self.is_greeted() {
            let patience = self.stall.unwrap_or(GREETING);
            if self.agent.since.elapsed() >= patience && self.idle >= patience {
                self.agent.kill();
                return Some(Ended::Stalled);
            }
            return None;
        }
        if self.silent >= GONE {
            self.agent.kill();
            return Some(Ended::Code(CONNECTION));
        }
        if self.stall.is_some_and(|stall| self.idle >= stall) {
            self.stalled = true;
            self.close();
            return None;
        }
        self.ask();
        self.tell_of_pause();
        None
    }

    /// Acknowledges output; output in quick succession is acknowledged once.
    fn answer(&mut self) {
        if self.owes && self.answered.is_none_or(|at| at.elapsed() >= ANSWER_EVERY) {
            self.owes = false;
            self.answered = Some(Instant::now());
            self.agent.wire.say(there::HEARS);
        }
    }

    fn ask(&mut self) {
        let every = self.stall.map_or(ASK_EVERY, |stall| (stall / 4).min(ASK_EVERY));
        if self.begun == [true; 2] && self.silent >= self.asked + every {
            let question = if self.stall.is_some() { there::DOES } else { there::THERE };
            self.agent.wire.say(question);
            self.asked = self.silent;
        }
    }

    fn tell_of_pause(&mut self) {
        let line = match self.paused {
            Some(_) if !self.supervisor.is_paused() => there::GO_ON,
            None if self.supervisor.is_paused() => there::STOP,
            Some(told) if told.elapsed() >= TELL_AGAIN => there::STOP,
            _ => return,
        };
        if self.begun == [true; 2] && self.agent.wire.say(line) {
            self.paused = (line == there::STOP).then(Instant::now);
        }
    }

    fn close(&mut self) {
        self.agent.wire.close();
        self.closing = Some(Instant::now());
    }

    /// Ends a command whose local process has ended, or sends nothing any more.
    fn lost(mut self, buffer: &mut [u8], each: &mut dyn FnMut(Stream, Option<&[u8]>)) -> io::Result<Ended> {
        self.agent.wire.close();
        let began = Instant::now();
        while (self.agent.stdout.is_some() || self.agent.stderr.is_some()) && began.elapsed() < LAST_WORDS {
            let pipes = (self.agent.stdout.as_ref(), self.agent.stderr.as_ref());
            let (out, err) = wait_for_output(pipes.0, pipes.1, NO_PIPE, session::LOOK_EVERY)?;
            if err {
                self.hear(Stream::Stderr, buffer, each)?;
            }
            if out {
                self.hear(Stream::Stdout, buffer, each)?;
            }
            if !out && !err && has_died(&self.agent.child) && began.elapsed() > LAST_WORDS / 2 {
                break;
            }
        }
        self.agent.is_over = true;
        self.agent.end(ASKED);
        // The command had ended before the connection did.
        if let Some(code) = self.code {
            return Ok(Ended::Code(code));
        }
        let status = self.agent.child.wait()?;
        let code = match child::ended(status) {
            Ended::Code(code) if OF_SHELLS.contains(&code) => code,
            _ => CONNECTION,
        };
        Ok(if self.stalled { Ended::Stalled } else { Ended::Code(code) })
    }
}
