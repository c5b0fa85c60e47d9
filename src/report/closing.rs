//! Prints what rsync prints at the end of a transfer, but for the sums of several: the block of `--stats`, and the two lines of `--verbose`.
//!
//! Numbers are written as rsync writes them with `--human-readable` at the same level (rsync 3.5.0, main.c and lib/compat.c).

use std::time::Duration;

use crate::rsync::options::Shows;
use crate::rsync::output::{Counts, Figures};
use crate::size;

/// A transfer that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Closing {
    /// The sums.
    pub figures: Figures,
    /// Which parts are printed.
    pub shows: Shows,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// How long it took.
    pub took: Duration,
}

impl Closing {
    /// All lines, as on standard output.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for part in [self.block(), self.sums()] {
            if !part.is_empty() {
                lines.push(String::new());
                lines.extend(part);
            }
        }
        lines
    }

    /// The block of figures, if it was requested.
    pub fn block(&self) -> Vec<String> {
        if self.shows.stats < 2 {
            return Vec::new();
        }
        let Figures { files, created, deleted, .. } = self.figures;
        let size = |bytes| units(bytes, self.shows.human);
        let seconds = |milliseconds: u64| decimal(milliseconds as f64 / 1000.0, self.separates(), 3);
        let figures = &self.figures;
        let mut lines = vec![
            self.counted("Number of files", &files),
            self.counted("Number of created files", &created),
            self.counted("Number of deleted files", &deleted),
            format!("Number of regular files transferred: {}", grouped(figures.transferred, self.separates())),
            format!("Total file size: {} bytes", size(figures.total_size)),
            format!("Total transferred file size: {} bytes", size(figures.transferred_bytes)),
            format!("Literal data: {} bytes", size(figures.literal)),
            format!("Matched data: {} bytes", size(figures.matched)),
            format!("File list size: {}", size(figures.list_size)),
        ];
        if figures.list_made > 0 {
            lines.push(format!("File list generation time: {} seconds", seconds(figures.list_made)));
            lines.push(format!("File list transfer time: {} seconds", seconds(figures.list_sent)));
        }
        lines.push(format!("Total bytes sent: {}", size(figures.sent)));
        lines.push(format!("Total bytes received: {}", size(figures.received)));
        lines
    }

    /// The two lines about bytes and speedup, if they were requested.
    pub fn sums(&self) -> Vec<String> {
        if self.shows.stats < 1 {
            return Vec::new();
        }
        let Figures { sent, received, total_size, .. } = self.figures;
        let moved = (sent + received) as f64;
        // In whole seconds, plus half a second, as rsync does.
        let rate = moved / (0.5 + self.took.as_secs() as f64);
        let speedup = if moved > 0.0 { total_size as f64 / moved } else { 0.0 };
        vec![
            format!(
                "sent {} bytes  received {} bytes  {} bytes/sec",
                units(sent, self.shows.human),
                units(received, self.shows.human),
                rounded(rate, self.shows.human),
            ),
            format!(
                "total size is {}  speedup is {}{}",
                units(total_size, self.shows.human),
                decimal(speedup, self.separates(), 2),
                if self.dry_run { " (DRY RUN)" } else { "" },
            ),
        ]
    }

    fn separates(&self) -> bool {
        self.shows.human > 0
    }

    fn counted(&self, label: &str, counts: &Counts) -> String {
        let kinds = counts.named().into_iter().filter(|(_, count)| *count > 0);
        let kinds: Vec<String> =
            kinds.map(|(kind, count)| format!("{kind}: {}", grouped(count, self.separates()))).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
        format!("{label}: {}{kinds}", grouped(counts.total(), self.separates()))
    }
}

fn grouped(number: u64, separates: bool) -> String {
    if separates { size::grouped(number) } else { number.to_string() }
}

/// `1.23K` from a thousand (or 1024) on, if such units were requested.
fn in_units(number: f64, human: u8) -> Option<String> {
    let step = if human == 2 { 1000.0 } else { 1024.0 };
    if human < 2 || number < step {
        return None;
    }
    let mut left = number / step;
    let mut unit = "KMGTP".chars();
    let mut name = unit.next()?;
    while left >= step
        && let Some(next) = unit.next()
    {
        left /= step;
        name = next;
    }
    Some(format!("{left:.2}{name}"))
}

fn units(number: u64, human: u8) -> String {
    in_units(number as f64, human).unwrap_or_else(|| grouped(number, human > 0))
}

fn rounded(number: f64, human: u8) -> String {
    in_units(number.trunc(), human).unwrap_or_else(|| decimal(number, human > 0, 2))
}

fn decimal(number: f64, separates: bool, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    match text.split_once('.') {
        Some((_, fraction)) if separates && number >= 1000.0 => format!("{}.{fraction}", grouped(number as u64, true)),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closing(human: u8) -> Closing {
        let figures = Figures {
            files: Counts { reg: 3001, dir: 1, ..Counts::default() },
            created: Counts { reg: 3001, ..Counts::default() },
            transferred: 3001,
            total_size: 209_729_093,
            transferred_bytes: 209_729_093,
            literal: 1000,
            list_made: 6,
            sent: 209_955_343,
            received: 57_038,
            ..Figures::default()
        };
        Closing { figures, shows: Shows { stats: 2, human, ..Shows::default() }, dry_run: true, took: Duration::ZERO }
    }

    #[test]
    fn numbers_are_written_as_the_user_wants_them() {
        let lines = closing(1).lines();
        assert_eq!(lines[0], "");
        assert_eq!(lines[1], "Number of files: 3,002 (reg: 3,001, dir: 1)");
        assert_eq!(lines[3], "Number of deleted files: 0");
        assert_eq!(lines[5], "Total file size: 209,729,093 bytes");
        assert_eq!(lines[10], "File list generation time: 0.006 seconds");
        assert_eq!(lines[15], "sent 209,955,343 bytes  received 57,038 bytes  420,024,762.00 bytes/sec");
        assert_eq!(lines[16], "total size is 209,729,093  speedup is 1.00 (DRY RUN)");
        assert_eq!(lines.len(), 17);
        let lines = closing(0).lines();
        assert_eq!(lines[1], "Number of files: 3002 (reg: 3001, dir: 1)");
        assert_eq!(lines[15], "sent 209955343 bytes  received 57038 bytes  420024762.00 bytes/sec");
        let lines = closing(2).lines();
        assert_eq!(lines[7], "Literal data: 1.00K bytes");
        assert_eq!(lines[15], "sent 209.96M bytes  received 57.04K bytes  420.02M bytes/sec");
        let lines = closing(3).lines();
        assert_eq!(lines[7], "Literal data: 1,000 bytes");
        assert_eq!(lines[15], "sent 200.23M bytes  received 55.70K bytes  400.57M bytes/sec");
    }

    #[test]
    fn what_is_not_asked_for_is_not_printed() {
        let shows = |stats| Closing { shows: Shows { stats, ..Shows::default() }, ..closing(1) }.lines().len();
        assert_eq!([0, 1, 2].map(shows), [0, 3, 17]);
    }
}
