//! A launch that was started ahead waits at a pipe for its names until it may begin.

use std::ffi::OsString;
use std::io::{PipeReader, PipeWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};
use crate::rsync::command::Copying;
use crate::sched::{LaunchId, Release, Work};
use crate::thread;

use super::context::{Context, Found};
use super::driver::Message;

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
            let _ = pipe.write_all(&names);
        };
        if let Err(error) = thread::detach(release) {
            let _ = sender.send(Message::Released(launch, Release::Otherwise, Found::default(), Some(error)));
        }
    }
}
