//! What is printed about a run, and the line of progress that makes way for it.

use std::io::IsTerminal;
use std::sync::Mutex;

use multi_sync::command::entry::Printable;
use multi_sync::command::report::ProgressLine;
use multi_sync::job::{Event, Progress, Running, Stream};

use crate::streams;

/// Prints a line of our own on standard error.
pub fn complain_text(text: &str) {
    streams::err(format!("multi-sync: {text}\n"));
}

/// Prints events: rsync's own lines unchanged, everything else with our name.
pub struct Printer {
    shows_directory: bool,
    live: Mutex<LiveLine>,
}

/// The live lines while a run is going on, and the progress that was shown last.
#[derive(Default)]
struct LiveLine {
    line: Option<(ProgressLine, Progress)>,
    launches: Vec<Running>,
}

impl Printer {
    /// `shows_directory`: the user wants to know where the run directory is.
    pub fn new(shows_directory: bool) -> Printer {
        Printer { shows_directory, live: Mutex::default() }
    }

    pub fn print(&self, event: Event<'_>) {
        let mut live = self.live.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let LiveLine { line, launches } = &mut *live;
        if let Event::Launches(running) = event {
            running.clone_into(launches);
            return;
        }
        if let Event::Progress(progress) = event {
            let (shown, last) = line.get_or_insert_with(|| (ProgressLine::new(), progress));
            *last = progress;
            if streams::err_is_ready() {
                shown.show(&progress, launches).iter().for_each(streams::err);
            }
            return;
        }
        let prints = match event {
            Event::Said(_)
            | Event::Output(..)
            | Event::Complained(_)
            | Event::Failed(_)
            | Event::Note(_)
            | Event::Steered(_)
            | Event::Asked(_) => true,
            Event::RunDirectory(_) => self.shows_directory,
            _ => false,
        };
        if !prints {
            return;
        }
        let stays = !matches!(event, Event::Said(_) | Event::RunDirectory(_)) || std::io::stdout().is_terminal();
        let makes_way = line.as_mut().and_then(|(shown, _)| shown.makes_way());
        makes_way.iter().for_each(streams::err);
        if let Event::Output(..) = event {
            // From now on rsync itself shows progress, if it was asked to.
            *line = None;
        }
        match event {
            Event::Said(text) => streams::out([text, b"\n"].concat()),
            Event::Output(Stream::Stdout, bytes) => streams::out(bytes),
            Event::Output(Stream::Stderr, bytes) => streams::err(bytes),
            Event::Complained(text) => streams::err([text, b"\n"].concat()),
            Event::Failed(what) => what.to_string().lines().for_each(complain_text),
            Event::Note(what) => complain_text(&what.to_string()),
            Event::Steered(what) => complain_text(&what.to_string()),
            Event::Asked(live) => live.lines().iter().for_each(|line| streams::err(format!("{line}\n"))),
            Event::RunDirectory(dir) => streams::out(format!("{}\n", Printable::path(dir))),
            _ => {}
        }
        // With -v names are printed all the time, and the line would hardly ever be seen. Lines for each launch are too much text for that. What goes through
        // a pipe may reach the same terminal later (`| tee`), and finds room only if nothing was drawn.
        if let Some((shown, last)) = line.as_mut().filter(|_| makes_way.is_some() && launches.is_empty() && stays)
            && streams::err_is_ready()
        {
            shown.show(last, launches).iter().for_each(streams::err);
        }
    }

    /// Leaves the last line of progress on the screen.
    pub fn finish(&self) {
        let mut live = self.live.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((shown, last)) = live.line.as_mut().filter(|_| streams::err_is_ready()) {
            shown.finish(last).iter().for_each(streams::err);
        }
    }
}
