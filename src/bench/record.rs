//! The results: every time that was measured, and statistics of them.

use std::fmt::{self, Write};

use serde::{Serialize, Serializer};

use super::machine::Machine;
use crate::size;

/// The work that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Everything: the copy did not exist.
    Fresh,
    /// Nothing: the copy was complete.
    NothingToDo,
}

/// The tool that did it. Prints as the command without its paths and rsync's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// One rsync.
    Rsync,
    /// multi-sync with this number of processes.
    MultiSync(usize),
}

/// All facts about a benchmark except its times.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Facts {
    pub machine: Machine,
    pub tree: String,
    pub entries: u64,
    pub bytes: u64,
    /// rsync's options, quoted.
    pub options: String,
    /// The file system of the source.
    pub source: String,
    /// The file system of the copies, or where they went.
    pub destination: String,
    pub caches: String,
    /// How copies were compared.
    pub checked: String,
    /// When copies were removed.
    pub removed: String,
    pub runs: u32,
}

/// A measured time.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Measurement {
    pub work: Work,
    pub tool: Tool,
    pub run: u32,
    pub seconds: f64,
}

/// The whole record.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Record {
    #[serde(flatten)]
    pub facts: Facts,
    pub measurements: Vec<Measurement>,
}

/// The statistics of one kind of work and one tool: seconds, and the speedup over one rsync in the same round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    pub tool: Tool,
    pub seconds: Spread,
    pub speedup: Spread,
}

/// The median and range of several values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Work {
    /// In the order in which they are measured.
    pub const ALL: [Work; 2] = [Work::Fresh, Work::NothingToDo];
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Work::Fresh => "fresh copy",
            Work::NothingToDo => "nothing to do",
        })
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tool::Rsync => f.write_str("rsync"),
            Tool::MultiSync(processes) => write!(f, "multi-sync -p {processes}"),
        }
    }
}

impl Serialize for Tool {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Facts {
    /// The tree and its size as text.
    pub fn tree_in_words(&self) -> String {
        let content = if self.bytes == 0 { "all files empty".to_owned() } else { size::human(self.bytes) };
        format!("{}: {} entries, {content}", self.tree, self.entries)
    }

    /// The results as text for users.
    pub fn lines(&self) -> Vec<String> {
        let Facts { machine, source, destination, caches, checked, removed, runs, .. } = self;
        let Machine { date, multi_sync, rsync, kernel, processor, cores, memory, load } = machine;
        vec![
            format!("{date}: multi-sync {multi_sync}, rsync {rsync}, Linux {kernel}"),
            format!("{processor}, {cores} cores for us, {memory}, load {load}"),
            format!(
                "{}; {source} to {destination}; {}",
                self.tree_in_words(),
                size::counted(u64::from(*runs), "run", "runs")
            ),
            format!("caches {caches}; each copy is compared ({checked}) before its time counts, and removed {removed}"),
        ]
    }
}

impl Record {
    pub fn new(facts: Facts) -> Record {
        Record { facts, measurements: Vec::new() }
    }

    /// The last measurement, in the form of msrsync.
    pub fn last_line(&self) -> Option<String> {
        let last = self.measurements.last()?;
        let mut line = String::new();
        if self.facts.runs > 1 {
            let _ = write!(line, "run {} of {}: ", last.run, self.facts.runs);
        }
        if last.work == Work::NothingToDo {
            let _ = write!(line, "{}: ", last.work);
        }
        let _ = match last.tool {
            Tool::Rsync => write!(line, "{} {}", last.tool, self.facts.options),
            Tool::MultiSync(_) => write!(line, "{}", last.tool),
        };
        let speedup = match last.tool {
            Tool::Rsync => "1".to_owned(),
            Tool::MultiSync(_) => format!("{:.2}", self.speedup(last)?),
        };
        let _ = write!(line, " took {:.2} seconds (speedup x{speedup})", last.seconds);
        Some(line)
    }

    pub fn rows(&self, work: Work) -> Vec<Row> {
        let mut tools: Vec<Tool> = Vec::new();
        for measured in &self.measurements {
            if !tools.contains(&measured.tool) {
                tools.push(measured.tool);
            }
        }
        let row = |tool: Tool| {
            let of = || self.measurements.iter().filter(move |found| found.work == work && found.tool == tool);
            let seconds = Spread::of(of().map(|found| found.seconds))?;
            let speedup = Spread::of(of().filter_map(|found| self.speedup(found)))?;
            Some(Row { tool, seconds, speedup })
        };
        tools.into_iter().filter_map(row).collect()
    }

    /// The speedup over one rsync in the same round.
    fn speedup(&self, of: &Measurement) -> Option<f64> {
        let is_base = |other: &&Measurement| (other.run, other.work, other.tool) == (of.run, of.work, Tool::Rsync);
        Some(self.measurements.iter().find(is_base)?.seconds / of.seconds)
    }

    /// A table in Markdown.
    pub fn table(&self, work: Work) -> String {
        let mut table = format!("\n| {work} | median | min | max | speedup |\n|---|--:|--:|--:|--:|\n");
        for Row { tool, seconds, speedup } in self.rows(work) {
            let Spread { median, min, max } = seconds;
            let _ = write!(table, "| {tool} | {median:.2} s | {min:.2} s | {max:.2} s | ");
            let _ = match (tool, self.facts.runs) {
                (Tool::Rsync, _) => writeln!(table, "x1 |"),
                (_, 1) => writeln!(table, "x{:.2} |", speedup.median),
                _ => writeln!(table, "x{:.2} ({:.2} to {:.2}) |", speedup.median, speedup.min, speedup.max),
            };
        }
        table.truncate(table.trim_end().len());
        table
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let (min, max, upper) = (*values.first()?, *values.last()?, *values.get(middle)?);
        let lower = if values.len().is_multiple_of(2) { values[middle - 1] } else { upper };
        Some(Spread { median: (lower + upper) / 2.0, min, max })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn facts(runs: u32) -> Facts {
        let unknown = || "unknown".to_owned();
        let machine = Machine {
            date: unknown(),
            multi_sync: "1".into(),
            rsync: "3".into(),
            kernel: unknown(),
            processor: "<&>".into(),
            cores: 2,
            memory: unknown(),
            load: unknown(),
        };
        Facts {
            machine,
            tree: "a tree".into(),
            entries: 1000,
            bytes: 0,
            options: "-a".into(),
            source: "ext4".into(),
            destination: "ext4".into(),
            caches: unknown(),
            checked: unknown(),
            removed: unknown(),
            runs,
        }
    }

    pub fn record(times: &[(Tool, &[f64])]) -> Record {
        let mut record = Record::new(facts(times[0].1.len() as u32));
        for work in Work::ALL {
            for (tool, seconds) in times {
                let numbered = (1..).zip(*seconds);
                record.measurements.extend(numbered.map(|(run, s)| Measurement {
                    work,
                    tool: *tool,
                    run,
                    seconds: *s,
                }));
            }
        }
        record
    }

    #[test]
    fn a_speedup_is_that_of_the_same_run() {
        let record = record(&[(Tool::Rsync, &[4.0, 8.0, 2.0]), (Tool::MultiSync(2), &[2.0, 4.0, 4.0])]);
        let rows = record.rows(Work::Fresh);
        assert_eq!(rows[0].seconds, Spread { median: 4.0, min: 2.0, max: 8.0 });
        assert_eq!(rows[1].speedup, Spread { median: 2.0, min: 0.5, max: 2.0 });
        assert_eq!(
            record.table(Work::Fresh),
            "\n| fresh copy | median | min | max | speedup |\n|---|--:|--:|--:|--:|\n\
             | rsync | 4.00 s | 2.00 s | 8.00 s | x1 |\n\
             | multi-sync -p 2 | 4.00 s | 2.00 s | 4.00 s | x2.00 (0.50 to 2.00) |"
        );
    }

    #[test]
    fn lines_are_those_of_msrsync() {
        let mut record = Record::new(facts(1));
        let mut line = |work, tool, seconds| {
            record.measurements.push(Measurement { work, tool, run: 1, seconds });
            record.last_line().unwrap()
        };
        assert_eq!(line(Work::Fresh, Tool::Rsync, 14.05), "rsync -a took 14.05 seconds (speedup x1)");
        assert_eq!(line(Work::Fresh, Tool::MultiSync(2), 7.0), "multi-sync -p 2 took 7.00 seconds (speedup x2.01)");
        assert_eq!(line(Work::NothingToDo, Tool::Rsync, 1.0), "nothing to do: rsync -a took 1.00 seconds (speedup x1)");
        record.facts.runs = 3;
        assert!(record.last_line().unwrap().starts_with("run 1 of 3: nothing to do: rsync"));
    }

    #[test]
    fn the_median_of_two_lies_between_them() {
        assert_eq!(Spread::of([3.0, 1.0].into_iter()), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(std::iter::empty()), None);
    }
}
