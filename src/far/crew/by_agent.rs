//! A host on which this program reads.

use std::io::{PipeWriter, Write};
use std::sync::mpsc;

use super::{Common, Line};
use crate::error::{EXIT_PARTIAL, Error, Result};
use crate::far::agent::wire::{self, Asked, HELLO, Lines, Request, Told};
use crate::far::agent::{LONGEST_GREETING, LONGEST_LINE, START};
use crate::far::child;
use crate::hosts::Host;
use crate::scan::{Order, Said, Scan, Watch};
use crate::supervise::Invocation;
use crate::thread;

/// Printed by the shell before it starts this program.
const SHELL: &str = "multi-sync-shell";
const SAYS: &str = "echo; echo multi-sync-shell\n";

/// How reading on a host ended.
pub enum End {
    /// Together with the scan.
    Over,
    /// Before the end of the scan.
    Lost(String),
    /// It did not begin, because this program is not installed there, or in another version.
    Missing,
}

/// A message to the thread that writes to the host.
enum Writes {
    Asked(Box<Asked>),
    Order(Order),
    Close,
}

/// Reads on the host until everything was read, or the host is lost.
///
/// # Errors
/// The local program that connects to the host could not be started, or a message from the host cannot be understood.
pub fn read(common: &Common<'_>, host: &Host, line: &Line) -> Result<End> {
    let pipe = std::io::pipe().map_err(|cause| Error::system("cannot make a pipe").because(cause));
    let (reader, writer) = pipe?;
    let (says, said) = mpsc::channel();
    let closes = says.clone();
    // The receiver may be gone, if the connection was already closed.
    line.closes_by(move || drop(closes.send(Writes::Close)));
    let mut hearing =
        Hearing { common, host, line, says: says.clone(), lines: Lines::default(), has_shell: false, is_there: false };
    let invocation = Invocation { held: false, input: Vec::new(), ..common.crew.way.leads_to(host) };
    // It is stopped only by its `Line`.
    let never = Watch::default();
    let ran = std::thread::scope(|scope| {
        let writes = thread::start(scope, move || write(writer, &said))?;
        let out = &mut |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => hearing.feed(bytes),
            None => {
                drop(says.send(Writes::Close));
                Ok(())
            }
        };
        let ran = child::run(&invocation, Some(reader), None, &line.supervisor, &never, out, &mut |_| false);
        // In case the run ended before this was sent.
        drop(says.send(Writes::Close));
        drop(writes.join());
        ran
    })?;
    Ok(match (hearing.has_shell, hearing.is_there) {
        _ if common.is_over() => End::Over,
        (true, false) if line.why.get().is_none() => End::Missing,
        (_, true) => End::Lost(ran.error("multi-sync has stopped reading there").to_string()),
        (_, false) => End::Lost(ran.error("it cannot be reached").to_string()),
    })
}

/// Writes in a thread of its own, so that no other thread has to wait for a host that does not read.
fn write(mut pipe: PipeWriter, said: &mpsc::Receiver<Writes>) {
    let begun = pipe.write_all([SAYS, START].concat().as_bytes());
    while let Ok(writes) = said.recv() {
        let line = match writes {
            Writes::Asked(asked) => wire::line(&asked),
            Writes::Order(order) => wire::line(&wire::asked(order)),
            Writes::Close => return,
        };
        // The thread that follows the local process notices that it is gone.
        if begun.is_err() || pipe.write_all(&line).is_err() {
            return;
        }
    }
}

struct Hearing<'a> {
    common: &'a Common<'a>,
    host: &'a Host,
    line: &'a Line,
    says: mpsc::Sender<Writes>,
    lines: Lines,
    /// Whether a shell has answered.
    has_shell: bool,
    /// Whether this program has sent its greeting.
    is_there: bool,
}

impl Hearing<'_> {
    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let mut lines = std::mem::take(&mut self.lines);
        let fed = lines.feed(bytes, &mut |line| self.line(line));
        self.lines = lines;
        fed?;
        let longest = if self.is_there { LONGEST_LINE } else { LONGEST_GREETING };
        if self.lines.begun().len() > longest { Err(unclear("a line has no end")) } else { Ok(()) }
    }

    fn line(&mut self, line: &[u8]) -> Result<()> {
        let Common { crew, divided, .. } = self.common;
        if !self.is_there {
            self.has_shell |= line == SHELL.as_bytes();
            if line == HELLO.as_bytes() {
                self.is_there = true;
                let there = Scan { roots: crew.roots.to_vec(), ..crew.scan.clone() };
                let request = Box::new(Request::new(&there, None));
                // If the receiver is gone, the host is lost, and that is noticed elsewhere.
                let _ = self.says.send(Writes::Asked(Box::new(Asked::Help(request, crew.threads))));
            }
            return Ok(());
        }
        let told = serde_json::from_slice(line).map_err(|cause| unclear(&cause.to_string()))?;
        let member = self.line.member.get().copied();
        match (told, member) {
            (Told::Ready(threads), None) => {
                let says = self.says.clone();
                let member = divided.join(threads, false, move |order| drop(says.send(Writes::Order(order))));
                let _ = self.line.member.set(member);
                self.common.joined(self.host, "multi-sync");
            }
            (Told::Part(part), Some(member)) => {
                part.read(|part| divided.hear(member, Said::Part(part))).map_err(unclear)?;
            }
            (Told::Given(ids), Some(member)) => divided.hear(member, Said::Given(ids)),
            (Told::Looks(_), Some(member)) => divided.is_there(member),
            // This is the answer to a request to end.
            (Told::End(_), _) => {}
            _ => return Err(unclear("nobody has asked for it")),
        }
        Ok(())
    }
}

fn unclear(why: &str) -> Error {
    Error::system(format!("what multi-sync there says cannot be understood: {why}")).exit(EXIT_PARTIAL)
}
