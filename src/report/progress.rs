//! The live line of `--progress` on standard error, with a line for each launch if requested, and plain lines every few seconds if there is no terminal that
//! can move its cursor.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::{Phase, Progress, Running};
use crate::size;

/// How often a line is printed without such a terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// The assumed size of a terminal that does not know its own.
const USUAL: Window = Window { columns: 80, rows: 24 };
/// Moves to the beginning of the line, and clears it (console_codes(4)).
const CLEAR: &str = "\r\x1b[K";

/// Computes the text for standard error. The caller has to write it in one piece.
#[derive(Debug)]
pub struct ProgressLine {
    /// Whether the terminal can move its cursor.
    moves: bool,
    /// The columns of each line on the screen. The cursor is at the end of the last one.
    drawn: Vec<usize>,
    printed: Option<(Instant, String)>,
}

impl ProgressLine {
    /// A line on standard error.
    pub fn new() -> Self {
        let moves = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        ProgressLine { moves: moves && std::io::stderr().is_terminal(), drawn: Vec::new(), printed: None }
    }

    /// The text that shows the progress, if it is due, with a line for each of the launches.
    pub fn show(&mut self, progress: &Progress, launches: &[Running]) -> Option<String> {
        if self.moves {
            let window = Window::now();
            let text = self.clear(window);
            return Some(text + &self.draw(progress, launches, window));
        }
        // At the very beginning there is nothing to report.
        let has_begun = progress.done.bytes > 0 || progress.elapsed >= PLAIN_EVERY;
        let due = self.printed.as_ref().is_none_or(|(at, _)| at.elapsed() >= PLAIN_EVERY);
        (due && has_begun).then(|| {
            let more = launches.iter().map(|launch| launch.line(usize::MAX));
            let lines: Vec<String> = std::iter::once(line(progress)).chain(more).collect();
            self.print(lines.join("\n"))
        })
    }

    /// The text that has to be written before any other output. [`ProgressLine::show`] brings the lines back.
    pub fn makes_way(&mut self) -> Option<String> {
        (!self.drawn.is_empty()).then(|| self.clear(Window::now()))
    }

    /// The text for the final state, which stays on the screen.
    pub fn finish(&mut self, last: &Progress) -> Option<String> {
        if self.moves {
            let window = Window::now();
            return Some(format!("{}{}\n", self.clear(window), fitted(last, window.room())));
        }
        let line = line(last);
        let is_news = self.printed.as_ref().is_none_or(|(_, printed)| *printed != line);
        is_news.then(|| self.print(line))
    }

    /// Moves to the beginning of the lines, and clears them. If the terminal has become narrower, it has broken the lines into more rows.
    fn clear(&mut self, window: Window) -> String {
        let rows = |columns: &usize| columns.div_ceil(window.columns).max(1);
        let rows: usize = std::mem::take(&mut self.drawn).iter().map(rows).sum();
        match rows {
            0 | 1 => CLEAR.to_owned(),
            _ => format!("\r\x1b[{}A\x1b[J", rows - 1),
        }
    }

    fn draw(&mut self, progress: &Progress, launches: &[Running], window: Window) -> String {
        let room = window.room();
        let mut lines = vec![fitted(progress, room)];
        // Lines that scroll out of the screen could not be redrawn.
        let most = window.rows.saturating_sub(3).max(1);
        let shown = if launches.len() > most { most.saturating_sub(1) } else { launches.len() };
        lines.extend(launches.iter().take(shown).map(|launch| launch.line(room)));
        if shown < launches.len() {
            let more = format!("     {} more", launches.len() - shown);
            lines.push(more.chars().take(room).collect());
        }
        self.drawn = lines.iter().map(|line| columns(line)).collect();
        lines.join("\r\n")
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

/// The size of the terminal. It is determined each time, because a window can be resized.
#[derive(Debug, Clone, Copy)]
struct Window {
    columns: usize,
    rows: usize,
}

impl Window {
    fn now() -> Window {
        let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
        let known = |value: u16, usual: usize| if value > 0 { usize::from(value) } else { usual };
        size.map_or(USUAL, |size| Window {
            columns: known(size.ws_col, USUAL.columns),
            rows: known(size.ws_row, USUAL.rows),
        })
    }

    /// The longest length of a line. `^C` is echoed after it, and must not begin another line.
    fn room(self) -> usize {
        self.columns.saturating_sub(2)
    }
}

/// How many columns of a terminal a text may occupy: East Asian characters, and all later ones, may take two.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

pub(super) fn width(character: char) -> usize {
    1 + usize::from(character >= '\u{1100}')
}

/// One line: entries and bytes done and found, percentage, rate, time left, running and waiting work, time since the start.
pub fn line(progress: &Progress) -> String {
    fitted(progress, usize::MAX)
}

/// The same, with as many complete parts as fit into this number of columns. The most important ones come first.
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

/// The parts, each with its rank: parts with a higher rank are left out first.
fn parts(progress: &Progress) -> Vec<(u8, String)> {
    let Progress { found, done, phase, scanned, paused, running, waiting, elapsed, rate, .. } = progress;
    let (more, about) = if *scanned { ("", "") } else { ("+", "~") };
    let count = |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    let copies = *phase == Phase::Copying;
    let state = match phase {
        Phase::Ended => None,
        _ if *paused => Some("paused".to_owned()),
        Phase::Connecting => Some("connecting".to_owned()),
        Phase::Finishing => Some("finishing".to_owned()),
        Phase::Copying => eta(progress).or_else(|| Some(if *scanned { "ETA -" } else { "scanning" }.to_owned())),
    };
    let scans = (copies && !scanned && (*paused || eta(progress).is_some())).then(|| "scanning".to_owned());
    let runs = *phase != Phase::Ended;
    let names = if *paused { ("rsync stopped", "rsyncs stopped") } else { ("rsync running", "rsyncs running") };
    let rate = rate.filter(|_| runs && !paused).map(|rate| size::human_rate(rate, Duration::from_secs(1)));
    [
        (5, Some(format!("{}/{}{more} entries", done.entries, found.entries))),
        (2, Some(format!("{}/{}{more}", size::human(done.bytes), size::human(found.bytes)))),
        (0, progress.percent().map(|percent| format!("{about}{percent}%"))),
        (3, rate),
        (1, state),
        (8, scans),
        (6, (runs && *running > 0).then(|| count(*running, names.0, names.1))),
        (7, (runs && *waiting > 0).then(|| count(*waiting, "bucket waiting", "buckets waiting"))),
        (4, Some(format!("{} elapsed", clock(*elapsed)))),
    ]
    .into_iter()
    .filter_map(|(rank, text)| Some((rank, text?)))
    .collect()
}

/// The estimated end: a time, or a range if the estimate is uncertain.
fn eta(progress: &Progress) -> Option<String> {
    /// If the ends of the range differ by more than this factor, a single time would be misleading.
    const WIDE: f64 = 1.5;
    /// For shorter times no range is shown.
    const SHORT: Duration = Duration::from_secs(60);
    let left = progress.left?;
    let wide = progress.range.filter(|(low, high)| {
        let ratio = high.as_secs_f64() / low.as_secs_f64().max(1.0);
        ratio > WIDE && (!progress.scanned || high.saturating_sub(*low) > SHORT)
    });
    Some(match wide {
        Some((low, high)) => format!("ETA {}", span(low, high)),
        None => format!("ETA {}", clock(left)),
    })
}

/// A range of time, with its ends rounded outwards: `10-25 min`, `50 min-3 h`.
fn span(low: Duration, high: Duration) -> String {
    let (low, low_unit) = rounded(low, f64::floor);
    let (high, high_unit) = rounded(high, f64::ceil);
    if low_unit == high_unit {
        format!("{low}-{high} {high_unit}")
    } else {
        format!("{low} {low_unit}-{high} {high_unit}")
    }
}

fn rounded(time: Duration, toward: fn(f64) -> f64) -> (f64, &'static str) {
    let seconds = time.as_secs_f64();
    let (unit, name) = match seconds {
        ..=100.0 => (1.0, "s"),
        ..=6000.0 => (60.0, "min"),
        ..=172_800.0 => (3600.0, "h"),
        _ => (86_400.0, "days"),
    };
    let time = seconds / unit;
    // For small numbers of hours or days, halves matter.
    let count = if unit >= 3600.0 && time < 10.0 { toward(time * 2.0) / 2.0 } else { toward(time) };
    (count, name)
}

/// Hours, minutes and seconds.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Launch;
    use crate::scan::Weight;

    fn some() -> Progress {
        Progress {
            found: Weight { entries: 12_345_678, bytes: 1023 << 40 },
            done: Weight { entries: 1_234_567, bytes: 400 << 40 },
            phase: Phase::Copying,
            scanned: true,
            paused: false,
            running: 16,
            waiting: 12_000,
            elapsed: Duration::from_secs(100_000),
            rate: Some(123 << 20),
            left: Some(Duration::from_secs(3700)),
            range: None,
            fraction: Some(0.099),
            expected: None,
        }
    }

    #[test]
    fn a_line_says_what_is_done_found_and_left() {
        let mut progress = Progress {
            found: Weight { entries: 200, bytes: 2048 },
            done: Weight { entries: 100, bytes: 512 },
            phase: Phase::Copying,
            scanned: false,
            paused: false,
            running: 2,
            waiting: 7,
            elapsed: Duration::from_secs(3700),
            rate: None,
            left: None,
            range: None,
            fraction: None,
            expected: None,
        };
        assert_eq!(
            line(&progress),
            "100/200+ entries  512 B/2.0 KiB+  scanning  2 rsyncs running  7 buckets waiting  1:01:40 elapsed"
        );
        progress.phase = Phase::Connecting;
        assert!(line(&progress).contains("  connecting  "));
        let seconds = Duration::from_secs;
        (progress.phase, progress.fraction, progress.left) = (Phase::Copying, Some(0.125), Some(seconds(1000)));
        progress.range = Some((seconds(590), seconds(1500)));
        assert!(line(&progress).contains("  512 B/2.0 KiB+  ~12%  ETA 9-25 min  scanning  2 rsyncs running  "));
        (progress.left, progress.range, progress.fraction) = (None, None, Some(0.25));
        (progress.scanned, progress.rate, progress.running) = (true, Some(1024), 1);
        assert!(line(&progress).contains("  512 B/2.0 KiB  25%  1.0 KiB/s  ETA -  1 rsync running  "));
        (progress.left, progress.range) = (Some(seconds(65)), Some((seconds(50), seconds(100))));
        assert!(line(&progress).contains("  ETA 0:01:05  "), "seconds do not matter");
        progress.range = Some((seconds(50), seconds(150)));
        assert!(line(&progress).contains("  ETA 50 s-3 min  "));
        progress.paused = true;
        assert!(line(&progress).contains("  25%  paused  1 rsync stopped  7 buckets waiting  "));
        assert!(fitted(&progress, 25).contains("paused"));
        progress.paused = false;
        (progress.done, progress.waiting, progress.left) = (progress.found, 0, None);
        progress.fraction = Some(1.0);
        assert!(line(&progress).contains("  99%  1.0 KiB/s  ETA -  1 rsync running  1:01:40 elapsed"));
        progress.phase = Phase::Ended;
        assert_eq!(line(&progress), "200/200 entries  2.0 KiB/2.0 KiB  100%  1:01:40 elapsed");
        // A single rsync with a list of names that was interrupted: 0 of 0 is not 100 %.
        (progress.found, progress.done, progress.fraction) = (Weight::default(), Weight::default(), None);
        assert_eq!(progress.percent(), None);
    }

    fn launches(count: usize) -> Vec<Running> {
        let first = Some("\u{540d}\u{524d}".repeat(9).into_bytes());
        let launch = |slot| Launch { slot, first: first.clone(), ..Launch::default() };
        let one = |slot| Running { launch: launch(slot), ..Running::default() };
        (0..count).map(one).collect()
    }

    #[test]
    fn what_was_drawn_is_found_again_also_in_a_window_that_was_made_narrower() {
        let mut line = ProgressLine { moves: true, drawn: Vec::new(), printed: None };
        let window = Window { columns: 80, rows: 24 };
        assert_eq!(line.clear(window), CLEAR);
        let text = line.draw(&some(), &launches(3), window);
        assert_eq!((text.matches("\r\n").count(), line.drawn.len()), (3, 4));
        assert!(line.drawn.iter().all(|columns| *columns < 80), "{text}");
        assert_eq!(line.clear(window), "\r\x1b[3A\x1b[J");
        assert!(line.drawn.is_empty());
        line.draw(&some(), &launches(3), window);
        let narrow = Window { columns: 40, ..window };
        let rows: usize = line.drawn.iter().map(|columns| columns.div_ceil(40)).sum();
        assert!(rows > 4);
        assert_eq!(line.clear(narrow), format!("\r\x1b[{}A\x1b[J", rows - 1));
        // More lines than the screen has room for.
        let text = line.draw(&some(), &launches(100), Window { columns: 80, rows: 10 });
        assert!(line.drawn.len() < 10 && text.ends_with("94 more"), "{text}");
        line.draw(&some(), &launches(9), Window { columns: 1, rows: 1 });
        assert!(line.drawn.len() < 4);
    }

    #[test]
    fn a_range_is_rounded_away_from_its_middle() {
        for (low, high, expected) in [
            (1, 3, "1-3 s"),
            (40, 100, "40-100 s"),
            (50, 130, "50 s-3 min"),
            (600, 5900, "10-99 min"),
            (600, 6100, "10 min-2 h"),
            (6100, 9000, "1.5-2.5 h"),
            (36_000, 90_000, "10-25 h"),
            (100_000, 400_000, "27 h-5 days"),
        ] {
            assert_eq!(span(Duration::from_secs(low), Duration::from_secs(high)), expected);
        }
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
