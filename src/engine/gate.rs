//! A launch that was started ahead waits at a pipe for its names until it may begin.
//!
//! The client of a remote source reads its list only after the handshake (rsync 3.5.0, strace), so that an empty pipe shows that the other side was there.

use std::ffi::OsString;
use std::io::{PipeReader, PipeWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::io::{Errno, ioctl_fionread};

use crate::error::{Error, Result};
use crate::rsync::command::Copying;
use crate::sched::{LaunchId, Release, Work};
use crate::thread;

use super::context::{Context, Found};
use super::driver::Message;

/// How often a pipe is looked at until it is empty. rsync gets the end of its list that much later.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// Releases a launch that was started ahead.
pub(super) struct Gate {
    names: PipeWriter,
    begun: Arc<AtomicBool>,
    /// The arguments with which it was started. Work that needs other arguments cannot be done by it.
    arguments: Arc<OnceLock<Vec<OsString>>>,
    /// A release was requested before the launch was prepared.
    pub asked: Option<Option<Copying>>,
}

/// The other end of a [`Gate`]: what the launch reads, and whether it may begin.
pub(super) struct Awaited {
    pub names: PipeReader,
    pub begun: Arc<AtomicBool>,
    pub arguments: Arc<OnceLock<Vec<OsString>>>,
}

/// Creates both ends of the pipe through which a launch gets its names.
pub(super) fn gate() -> Result<(Gate, Awaited)> {
    let pipe = std::io::pipe();
    let (reader, writer) = pipe.map_err(|cause| Error::system("cannot make a pipe").because(cause))?;
    let (begun, arguments) = (Arc::<AtomicBool>::default(), Arc::<OnceLock<_>>::default());
    let awaited = Awaited { names: reader, begun: Arc::clone(&begun), arguments: Arc::clone(&arguments) };
    Ok((Gate { names: writer, begun, arguments, asked: None }, awaited))
}

impl Gate {
    pub fn is_prepared(&self) -> bool {
        self.arguments.get().is_some()
    }

    /// Gives the launch its names, or lets it end without them, and reports which of the two. This is done in a thread that nothing waits for.
    pub fn open(
        self,
        launch: LaunchId,
        work: Work,
        how: Option<Copying>,
        context: &Arc<Context>,
        sender: &Sender<Message>,
    ) {
        let (context, its_sender) = (Arc::clone(context), sender.clone());
        let release = move || {
            let sender = its_sender;
            let mut found = Found::default();
            let arguments = self.arguments.get().map(Vec::as_slice).unwrap_or_default();
            let names = context.names(&work, how, arguments, &mut found);
            let (release, error, names) = match names {
                Ok(Ok(names)) => (Release::Begun, None, names),
                Ok(Err(other)) => (other, None, Vec::new()),
                Err(error) => (Release::Otherwise, Some(error), Vec::new()),
            };
            self.begun.store(release == Release::Begun, Ordering::SeqCst);
            // The driver only goes away after the run has ended.
            let _ = sender.send(Message::Released(launch, release, found, error));
            let mut pipe = self.names;
            // If rsync has stopped reading, it reports the reason itself.
            let written = pipe.write_all(&names);
            let tells = context.plan.far.as_ref().is_some_and(|far| far.is_entered_at_once(&context.config));
            if tells && release == Release::Begun && written.is_ok() && is_read(&pipe) {
                let _ = sender.send(Message::Entered(launch));
            }
        };
        if let Err(error) = thread::detach(release) {
            let _ = sender.send(Message::Released(launch, Release::Otherwise, Found::default(), Some(error)));
        }
    }
}

/// Waits until everything was read from a pipe. False if nobody reads it any more.
fn is_read(pipe: &PipeWriter) -> bool {
    loop {
        match ioctl_fionread(pipe) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
        // Without events, only an error is reported: there is no reader (poll(2)).
        let mut watched = [PollFd::new(pipe, PollFlags::empty())];
        match poll(&mut watched, Some(&GLANCE)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pipe_is_read_when_it_is_empty() {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        assert!(is_read(&writer));
        writer.write_all(b"names").unwrap();
        let waits = std::thread::spawn(move || (is_read(&writer), writer));
        std::thread::sleep(Duration::from_millis(50));
        reader.read_exact(&mut [0; 3]).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waits.is_finished());
        reader.read_exact(&mut [0; 2]).unwrap();
        let (read, mut writer) = waits.join().unwrap();
        assert!(read);
        writer.write_all(b"more").unwrap();
        drop(reader);
        assert!(!is_read(&writer));
    }
}
