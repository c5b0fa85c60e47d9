//! Shows the progress of a run that another process carries out, as if it ran here.

use std::path::Path;

use multi_sync::Result;
use multi_sync::command::batch::{Followed, FollowedEnd, News, follow as watch};
use multi_sync::command::entry::Printable;
use multi_sync::command::exit;
use multi_sync::command::report::ProgressLine;
use multi_sync::command::runs;
use multi_sync::command::shell::Quoted;
use multi_sync::harness::trial::Stopper;
use multi_sync::job::Progress;

use super::script::UNSEEN;
use crate::{complain_text, streams, while_listening};

/// Shows the progress until the run ends, and returns its exit code. A signal ends only the display, and leaves the run as it is.
///
/// # Errors
/// There is no such run, or it is not running.
pub fn follow(run: &Path) -> Result<u8> {
    let stopper = Stopper::default();
    while_listening(&|| stopper.stop(), &|| (), || {
        let mut line = ProgressLine::new();
        let mut last: Option<Progress> = None;
        let followed = watch(run, &|| stopper.stopped(), &mut |news| match news {
            News::Stands(live) => {
                last = Some(live.progress);
                if streams::err_is_ready() {
                    line.show(&live.progress, &[]).iter().for_each(streams::err);
                }
            }
            News::Waits(text) => {
                line.makes_way().iter().for_each(streams::err);
                complain_text(text);
            }
        })?;
        match &followed.end {
            None => {
                line.makes_way().iter().for_each(streams::err);
                leave(&followed);
                Ok(exit::INTERRUPTED)
            }
            Some(end) => {
                line.makes_way().iter().for_each(streams::err);
                conclude(&followed, end);
                Ok(end.code)
            }
        }
    })
}

fn leave(followed: &Followed) {
    complain_text("the run continues without being watched");
    complain_text(&format!("to watch it again: multi-sync status --follow {}", Quoted(&runs::word(&followed.dir))));
    if let Some(job) = &followed.job {
        complain_text(&format!("to end it, so that it can be resumed: scancel {job}"));
    }
}

fn conclude(followed: &Followed, end: &FollowedEnd) {
    let is_bad = end.code != exit::OK || !end.finished;
    if is_bad && !end.last_lines.is_empty() {
        complain_text("the last lines that the job printed:");
        end.last_lines.iter().for_each(|text| streams::err(format!("  {}\n", Printable::bytes(text))));
    }
    let job = match (&followed.job, &end.state) {
        (Some(job), Some(state)) => format!("; job {job} of Slurm: {state}"),
        _ => String::new(),
    };
    complain_text(&format!("the run ended with code {} ({}){job}", end.code, exit::meaning(end.code)));
    if end.code == UNSEEN && end.state.is_some() && end.last_lines.is_empty() {
        complain_text(&format!(
            "to do: give a directory with --buckets that all nodes share; the node on which the job began does not see {}",
            Printable::path(&followed.dir)
        ));
    }
    if !end.finished {
        complain_text(&format!("to go on: {}", runs::what_to_type(&followed.dir, false)));
    }
}
