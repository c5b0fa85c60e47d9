//! The live line of `--progress` on standard error, and a plain line every few seconds where there is no terminal.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Progress;
use crate::size;

/// How often a line is printed without a terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Prints progress, and lets other lines of the program through without breaking it.
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    printed: Mutex<Option<(Instant, String)>>,
}

impl ProgressLine {
    /// A line on standard error.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(ProgressStyle::with_template("{wide_msg}").expect("the template is a constant"));
            bar
        });
        ProgressLine { bar, printed: Mutex::new(None) }
    }

    /// Shows where the run stands.
    pub fn show(&self, progress: &Progress) {
        match &self.bar {
            Some(bar) => bar.set_message(render(progress)),
            None => {
                let due = self.printed().as_ref().is_none_or(|(at, _)| at.elapsed() >= PLAIN_EVERY);
                if due {
                    self.print(render(progress));
                }
            }
        }
    }

    /// Prints something else meanwhile.
    pub fn suspend(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Leaves the last state on the screen.
    pub fn finish(&self, last: Option<&Progress>) {
        match (&self.bar, last) {
            (Some(bar), _) => bar.abandon(),
            (None, Some(last)) => {
                let line = render(last);
                let is_news = self.printed().as_ref().is_none_or(|(_, printed)| *printed != line);
                if is_news {
                    self.print(line);
                }
            }
            (None, None) => {}
        }
    }

    fn printed(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.printed.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn print(&self, line: String) {
        // A closed standard error must not end the run.
        let _ = writeln!(std::io::stderr(), "{line}");
        *self.printed() = Some((Instant::now(), line));
    }
}

impl Default for ProgressLine {
    fn default() -> Self {
        ProgressLine::new()
    }
}

/// One line: entries and bytes done of those found, rate, launches, buckets, time left.
fn render(progress: &Progress) -> String {
    let Progress { found, done, scanned, running, waiting, elapsed } = progress;
    let more = if *scanned { "" } else { "+" };
    let left = match (progress.eta(), scanned) {
        (Some(eta), _) => format!("ETA {}", clock(eta)),
        (None, false) => "scanning".into(),
        (None, true) => "ETA -".into(),
    };
    format!(
        "{}/{}{more} entries  {}/{}{more}  {}  {running} running  {waiting} waiting  {}  {left}",
        done.entries,
        found.entries,
        size::human(done.bytes),
        size::human(found.bytes),
        size::human_rate(done.bytes, *elapsed),
        clock(*elapsed),
    )
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Weight;

    #[test]
    fn a_line_says_what_is_done_found_and_left() {
        let mut progress = Progress {
            found: Weight { entries: 200, bytes: 2048 },
            done: Weight { entries: 100, bytes: 512 },
            scanned: false,
            running: 2,
            waiting: 7,
            elapsed: Duration::from_secs(3700),
        };
        let line = render(&progress);
        assert!(line.starts_with("100/200+ entries  512 B/2.0 KiB+"), "{line}");
        assert!(line.ends_with("2 running  7 waiting  1:01:40  scanning"), "{line}");
        progress.scanned = true;
        assert!(render(&progress).ends_with("ETA 3:05:00"), "{}", render(&progress));
        progress.done = Weight::default();
        assert!(render(&progress).ends_with("ETA -"), "{}", render(&progress));
    }
}
