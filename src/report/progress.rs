//! The live line of `--progress` on standard error, and a plain line every few seconds where there is no terminal that can move its cursor.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::{Phase, Progress};
use crate::size;

/// How often a line is printed without a terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// The width of a terminal that does not know its own.
const USUAL_WIDTH: usize = 80;
/// To the beginning of the line, and nothing is left of it (console_codes(4)).
const CLEAR: &str = "\r\x1b[K";

/// Says what is to be written to standard error. Who writes it does so in one piece.
#[derive(Debug)]
pub struct ProgressLine {
    /// The terminal can move its cursor.
    moves: bool,
    /// A line stands there, and the cursor behind it.
    stands: bool,
    printed: Option<(Instant, String)>,
}

impl ProgressLine {
    /// A line on standard error.
    pub fn new() -> Self {
        let moves = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        ProgressLine { moves: moves && std::io::stderr().is_terminal(), stands: false, printed: None }
    }

    /// Where the run stands, if that is to be shown now.
    pub fn show(&mut self, progress: &Progress) -> Option<String> {
        if self.moves {
            self.stands = true;
            return Some(format!("{CLEAR}{}", fitted(progress, width())));
        }
        // At the very beginning there is nothing to tell.
        let has_begun = progress.done.bytes > 0 || progress.elapsed >= PLAIN_EVERY;
        let due = self.printed.as_ref().is_none_or(|(at, _)| at.elapsed() >= PLAIN_EVERY);
        (due && has_begun).then(|| self.print(line(progress)))
    }

    /// What has to be written before anything else is; the line comes back with the next [`ProgressLine::show`].
    pub fn makes_way(&mut self) -> Option<&'static str> {
        std::mem::take(&mut self.stands).then_some(CLEAR)
    }

    /// The last state, which stays.
    pub fn finish(&mut self, last: &Progress) -> Option<String> {
        if self.moves {
            self.stands = false;
            return Some(format!("{CLEAR}{}\n", fitted(last, width())));
        }
        let line = line(last);
        let is_news = self.printed.as_ref().is_none_or(|(_, printed)| *printed != line);
        is_news.then(|| self.print(line))
    }

    fn print(&mut self, line: String) -> String {
        let text = format!("{line}\n");
        self.printed = Some((Instant::now(), line));
        text
    }
}

impl Default for ProgressLine {
    fn default() -> Self {
        ProgressLine::new()
    }
}

/// How long the line may be: asked each time, because a window can be resized. `^C` is echoed behind it, and must not begin another one.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    columns.unwrap_or(USUAL_WIDTH).saturating_sub(2)
}

/// One line: entries and bytes done of those found, how much that is, rate, time left, what runs and waits, time since the start.
pub fn line(progress: &Progress) -> String {
    fitted(progress, usize::MAX)
}

/// The same with as many parts as so many columns have room for, each whole. What says the most comes first.
fn fitted(progress: &Progress, columns: usize) -> String {
    let mut parts = parts(progress);
    let mut ranked: Vec<(u8, usize)> = parts.iter().map(|(rank, text)| (*rank, text.chars().count())).collect();
    ranked.sort_unstable();
    let mut taken = 0;
    ranked.retain(|(_, length)| {
        let with_gap = length + if taken > 0 { GAP.len() } else { 0 };
        let fits = taken + with_gap <= columns;
        taken += if fits { with_gap } else { 0 };
        fits
    });
    parts.retain(|(rank, _)| ranked.iter().any(|(fitting, _)| fitting == rank));
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(GAP)
}

const GAP: &str = "  ";

/// Each with its rank: the higher it is the sooner it is left out.
fn parts(progress: &Progress) -> Vec<(u8, String)> {
    let Progress { found, done, phase, scanned, running, waiting, elapsed, rate, left } = progress;
    let more = if *scanned { "" } else { "+" };
    let count = |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    let state = match (phase, left) {
        (Phase::Ended, _) => None,
        (Phase::Connecting, _) => Some("connecting".to_owned()),
        (Phase::Finishing, _) => Some("finishing".to_owned()),
        (Phase::Copying, _) if !scanned => Some("scanning".to_owned()),
        (Phase::Copying, Some(left)) => Some(format!("ETA {}", clock(*left))),
        (Phase::Copying, None) => Some("ETA -".to_owned()),
    };
    let runs = *phase != Phase::Ended;
    let rate = rate.filter(|_| runs).map(|rate| size::human_rate(rate, Duration::from_secs(1)));
    [
        (5, Some(format!("{}/{}{more} entries", done.entries, found.entries))),
        (1, Some(format!("{}/{}{more}", size::human(done.bytes), size::human(found.bytes)))),
        (0, progress.percent().map(|percent| format!("{percent}%"))),
        (3, rate),
        (2, state),
        (6, (runs && *running > 0).then(|| count(*running, "rsync running", "rsyncs running"))),
        (7, (runs && *waiting > 0).then(|| count(*waiting, "bucket waiting", "buckets waiting"))),
        (4, Some(format!("{} elapsed", clock(*elapsed)))),
    ]
    .into_iter()
    .filter_map(|(rank, text)| Some((rank, text?)))
    .collect()
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Weight;

    fn some() -> Progress {
        Progress {
            found: Weight { entries: 12_345_678, bytes: 1023 << 40 },
            done: Weight { entries: 1_234_567, bytes: 400 << 40 },
            phase: Phase::Copying,
            scanned: true,
            running: 16,
            waiting: 12_000,
            elapsed: Duration::from_secs(100_000),
            rate: Some(123 << 20),
            left: Some(Duration::from_secs(3700)),
        }
    }

    #[test]
    fn a_line_says_what_is_done_found_and_left() {
        let mut progress = Progress {
            found: Weight { entries: 200, bytes: 2048 },
            done: Weight { entries: 100, bytes: 512 },
            phase: Phase::Copying,
            scanned: false,
            running: 2,
            waiting: 7,
            elapsed: Duration::from_secs(3700),
            rate: None,
            left: None,
        };
        assert_eq!(
            line(&progress),
            "100/200+ entries  512 B/2.0 KiB+  scanning  2 rsyncs running  7 buckets waiting  1:01:40 elapsed"
        );
        progress.phase = Phase::Connecting;
        assert!(line(&progress).contains("  connecting  "));
        (progress.phase, progress.scanned, progress.rate, progress.running) = (Phase::Copying, true, Some(1024), 1);
        assert!(line(&progress).contains("  512 B/2.0 KiB  25%  1.0 KiB/s  ETA -  1 rsync running  "));
        progress.left = Some(Duration::from_secs(65));
        assert!(line(&progress).contains("  ETA 0:01:05  "));
        (progress.done, progress.waiting, progress.left) = (progress.found, 0, None);
        assert!(line(&progress).contains("  99%  1.0 KiB/s  ETA -  1 rsync running  1:01:40 elapsed"));
        progress.phase = Phase::Ended;
        assert_eq!(line(&progress), "200/200 entries  2.0 KiB/2.0 KiB  100%  1:01:40 elapsed");
    }

    #[test]
    fn nothing_is_cut_and_what_matters_stays_longest() {
        let all = line(&some());
        for columns in 0..=all.len() {
            let fitted = fitted(&some(), columns);
            assert!(fitted.len() <= columns, "{columns}: {fitted}");
            let whole = fitted.split(GAP).all(|part| part.is_empty() || all.split(GAP).any(|of_all| of_all == part));
            assert!(whole, "{columns}: {fitted}");
        }
        assert_eq!(fitted(&some(), 80), "400.0 TiB/1023.0 TiB  9%  123.0 MiB/s  ETA 1:01:40  27:46:40 elapsed");
        assert_eq!(fitted(&some(), 40), "400.0 TiB/1023.0 TiB  9%  ETA 1:01:40");
        assert_eq!(fitted(&some(), 20), "9%  ETA 1:01:40");
        assert_eq!(fitted(&some(), 10), "9%");
    }
}
