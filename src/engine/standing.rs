//! Whether the split directories that an rsync creates exist already, although it has not ended: over a long link, its last exchanges take as long as creating
//! them, and the launches that wait for the directories can begin meanwhile.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::plan::Plan;
use crate::sched::Work;
use crate::thread;

use super::context::Context;
use super::created::{self, Created};
use super::feed::SpineDir;

/// How often is looked. What is found twice counts.
const GLANCE: Duration = Duration::from_millis(3);

/// New split directories of a local DEST that an rsync is about to create.
pub(super) struct Expected {
    dirs: Vec<SpineDir>,
    /// For each of them, whether others are created in it, which changes its time until rsync sets that once more.
    hold_others: Vec<bool>,
    dest: PathBuf,
}

/// Ends the watch when it is dropped.
pub(super) struct Watch(Arc<AtomicBool>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Context {
    /// The directories that this launch creates, if others may wait for it, and it can be seen at DEST when they are complete: none of them exists, and each
    /// gets its time. rsync sets the mode of a directory last, so that what is created in it must not inherit anything.
    pub fn expected(&self, work: &Work) -> Option<Expected> {
        let Work::Create(part) = work else { return None };
        let Plan { goes_ahead, sets_times_back, inherits_nothing, .. } = self.plan;
        let can_tell = self.config.pulls() && goes_ahead && sets_times_back && inherits_nothing;
        let dest = self.plan.watched_dest.clone().filter(|_| can_tell)?;
        let dirs = self.spine().dirs(part.clone());
        let is_new = |dir: &SpineDir| {
            let path = dir.argument.as_deref().map(|argument| created::at_dest(&dest, argument));
            path.is_none_or(|path| std::fs::symlink_metadata(path).is_err())
        };
        if dirs.is_empty() || !dirs.iter().all(is_new) {
            return None;
        }
        let above =
            |argument: &[u8]| argument.iter().rposition(|byte| *byte == b'/').map(|end| argument[..end].to_vec());
        let parents: HashSet<Vec<u8>> = dirs.iter().filter_map(|dir| above(dir.argument.as_deref()?)).collect();
        let holds = |dir: &SpineDir| dir.argument.as_ref().is_none_or(|argument| parents.contains(argument));
        Some(Expected { hold_others: dirs.iter().map(holds).collect(), dirs, dest })
    }

    /// Looks in a thread that nothing waits for, because DEST may hang, and tells once when the directories exist.
    pub fn watch(self: &Arc<Self>, expected: Expected, tell: impl FnOnce() + Send + 'static) -> Watch {
        let over = Arc::<AtomicBool>::default();
        let (context, ended) = (Arc::clone(self), Arc::clone(&over));
        let watch = move || {
            let mut before = None;
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(GLANCE);
                let found = expected.complete();
                if found.is_some() && found == before {
                    context.spine().note_standing(&expected.dirs, found.unwrap_or_default());
                    return tell();
                }
                before = found;
            }
        };
        // Without the thread, the end of the launch tells it.
        let _ = thread::detach(watch);
        Watch(over)
    }
}

impl Expected {
    /// What the directories are, if all of them exist and those in which no other one is have their final time; `None` for those in which others are created.
    fn complete(&self) -> Option<Vec<Option<Created>>> {
        let found = created::look(&self.dirs, &self.dest).into_iter().collect::<Option<Vec<Created>>>()?;
        let state = |(found, holds_others): (Created, &bool)| match (found.is_settled(), *holds_others) {
            (_, true) => Some(None),
            (true, false) => Some(Some(found)),
            (false, false) => None,
        };
        found.into_iter().zip(&self.hold_others).map(state).collect()
    }
}
