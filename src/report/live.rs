//! How far a run is, and what is running: the data for the status of a run, in this process and in others.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Progress;
use super::launch::{Launch, LaunchKind};
use super::progress::{columns as width_of, width};
use crate::entry::Printable;
use crate::scan::Weight;
use crate::size;

/// How far a run is, and what is running.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Live {
    /// The progress of the whole run.
    pub progress: Progress,
    /// The bytes per second that rsyncs have transferred in the last minute, if that is known.
    pub minute: Option<u64>,
    /// Buckets that were found so far.
    pub buckets: u64,
    /// Buckets that are done.
    pub buckets_done: u64,
    /// Done buckets with entries that were not copied.
    pub buckets_failed: u64,
    /// Split directories, which are in no bucket.
    pub split: u64,
    /// Names that were not copied, as far as rsyncs have reported.
    pub not_copied: u64,
    /// Entries that the scan could not read.
    pub unread: u64,
    /// Launches that had to be repeated.
    pub retried: u64,
    /// Why one rsync does everything, if it does.
    pub one_rsync: Option<String>,
    /// Whether it ends when the running rsyncs have finished.
    #[serde(default)]
    pub winds_down: bool,
    /// The running launches, by slot.
    pub launches: Vec<Running>,
}

/// A running launch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Running {
    /// The launch.
    pub launch: Launch,
    /// What it has to process.
    pub weight: Weight,
    /// How much of that it has processed, by its own report.
    pub done: Weight,
    /// The time since its start.
    pub age: Duration,
    /// The bytes per second that it transfers now, if that is known.
    pub rate: Option<u64>,
}

impl Running {
    /// A line with at most `columns` columns: the slot and the host, the progress, and the first of its names, which is shortened in its middle if there is
    /// not enough room. If there is little room, the rate and the name remain.
    pub fn line(&self, columns: usize) -> String {
        let Launch { slot, host, kind, first, units, .. } = &self.launch;
        let host = host.as_ref().map_or_else(String::new, |host| format!(" {host}"));
        let kind = if *kind == LaunchKind::Copy { String::new() } else { format!("  {}", kind.name()) };
        let head = format!("{:>4}{host}{kind}", slot + 1);
        let done = match self.weight.bytes {
            0 => format!("  {}/{} entries", self.done.entries, self.weight.entries),
            bytes => format!("  {}/{}", size::human(self.done.bytes), size::human(bytes)),
        };
        let done = if self.weight == Weight::default() { String::new() } else { done };
        let rate = self.rate.map(|rate| size::human_rate(rate, Duration::from_secs(1)));
        let rate = rate.map_or_else(String::new, |rate| format!("  {rate}"));
        let age = format!("  {}", super::progress::clock(self.age));
        let name = first.as_ref().map(|first| Printable::bytes(first).to_string());
        let mut room = columns.saturating_sub(width_of(&head));
        let wanted = name.as_ref().map_or(0, |name| width_of(name).min(SHORTEST_NAME) + 2);
        let mut fits = |part: String, leaves: usize| {
            let fits = room >= width_of(&part) + leaves;
            room -= if fits { width_of(&part) } else { 0 };
            if fits { part } else { String::new() }
        };
        let rate = fits(rate, 0);
        let (done, age) = (fits(done, wanted), fits(age, wanted));
        let mut text = [head, done, rate, age].concat();
        if let Some(name) = name.filter(|_| wanted > 0 && room >= wanted) {
            let more = if *units > 1 { format!(" +{}", units - 1) } else { String::new() };
            let more = if more.len() + wanted <= room { more } else { String::new() };
            text.push_str("  ");
            text.push_str(&cut(&name, room - 2 - more.len()));
            text.push_str(&more);
        }
        text
    }
}

/// A name that is shortened further than this is useless.
const SHORTEST_NAME: usize = 12;

/// Shortens to this number of columns: beginning and end, with more of the end, where names differ.
fn cut(name: &str, room: usize) -> String {
    if width_of(name) <= room {
        return name.to_owned();
    }
    let left = room.saturating_sub(3);
    let begin = left / 3;
    let taken = |characters: &mut dyn Iterator<Item = char>, room: usize| {
        let mut columns = 0;
        characters
            .take_while(|character| {
                columns += width(*character);
                columns <= room
            })
            .collect::<Vec<char>>()
    };
    let head: String = taken(&mut name.chars(), begin).into_iter().collect();
    let tail: String = taken(&mut name.chars().rev(), left - begin).into_iter().rev().collect();
    format!("{head}...{tail}")
}

impl Live {
    /// Lines for users: the whole run, then each launch, then what went wrong so far.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![super::progress::line(&self.progress)];
        lines.extend(self.winds_down.then(|| "the run ends when the running rsyncs have finished".to_owned()));
        lines.extend(self.launches.iter().map(|launch| launch.line(usize::MAX)));
        let told = [
            (self.not_copied, "name was not copied so far", "names were not copied so far"),
            (self.unread, "entry could not be read by the scan", "entries could not be read by the scan"),
            (self.retried, "rsync was retried", "rsyncs were retried"),
        ];
        lines.extend(
            told.iter().filter(|(count, ..)| *count > 0).map(|(count, one, many)| size::counted(*count, one, many)),
        );
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Running {
        let launch = Launch {
            id: 7,
            slot: 1,
            host: Some("nfs1".into()),
            first: Some(b"home/al\xffice/mail/archive/of/long/ago\n".to_vec()),
            units: 12,
            ..Launch::default()
        };
        Running {
            launch,
            weight: Weight { entries: 1000, bytes: 1 << 30 },
            done: Weight { entries: 3, bytes: 1 << 29 },
            age: Duration::from_secs(75),
            rate: Some(12 << 20),
        }
    }

    #[test]
    fn a_launch_fits_into_any_width() {
        let whole = one().line(usize::MAX);
        assert_eq!(
            whole,
            "   2 nfs1  512.0 MiB/1.0 GiB  12.0 MiB/s  0:01:15  home/al\\xffice/mail/archive/of/long/ago\\x0a +11"
        );
        for columns in 12..200 {
            let line = one().line(columns);
            assert!(width_of(&line) <= columns, "{columns}: {line}");
        }
        assert_eq!(one().line(80), "   2 nfs1  512.0 MiB/1.0 GiB  12.0 MiB/s  0:01:15  home/al...of/long/ago\\x0a +11");
        assert_eq!(one().line(40), "   2 nfs1  12.0 MiB/s  hom...ago\\x0a +11");
        assert_eq!(one().line(24), "   2 nfs1  12.0 MiB/s");
    }

    #[test]
    fn a_launch_without_units_says_what_it_does() {
        let launch = Launch { kind: LaunchKind::Attributes, ..Launch::default() };
        let attributes = Running { launch, age: Duration::from_secs(1), ..Running::default() };
        assert_eq!(attributes.line(80), "   1  attributes  0:00:01");
        let weight = Weight { entries: 3, bytes: 0 };
        let names = Running { weight, launch: Launch::default(), ..attributes };
        assert_eq!(names.line(80), "   1  0/3 entries  0:00:01");
    }
}
