//! The statistics block of `--stats`: msrsync's lines, then rsync's own sums, then further facts about this run.

use std::fmt::{self, Write};
use std::path::Path;

use crate::entry::Printable;
use crate::first_pass::Made;
use crate::report::Summary;
use crate::size;

/// The data for the block.
pub struct Statistics<'a> {
    /// The run.
    pub summary: &'a Summary,
    /// The user's working directory.
    pub cwd: &'a Path,
    /// The command line, quoted.
    pub command_line: &'a str,
    /// The most rsync processes at once.
    pub processes: usize,
    /// Whether nothing was to be copied (`--dry-run`).
    pub dry_run: bool,
}

impl fmt::Display for Statistics<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = self.summary;
        let seconds = run.total_time.as_secs_f64().max(1e-9);
        let per_second = |count: u64| (count as f64 / seconds).round() as u64;
        let mean = |sum: u64| sum.checked_div(run.buckets).unwrap_or(0);
        let status = match (run.interrupted, run.code.get()) {
            (true, _) => "INTERRUPTED".to_owned(),
            (false, 0) => "SUCCESS".to_owned(),
            (false, _) => format!("FAILURE, exit code {}", run.code),
        };
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(f, "{name}: {value}");
        line("Status", &status)?;
        line("Working directory", &Printable::path(self.cwd))?;
        line("Command line", &self.command_line)?;
        line("Total size", &size::human(run.found.bytes))?;
        line("Total entries", &run.found.entries)?;
        line("Buckets number", &run.buckets)?;
        line("Mean entries per bucket", &mean(run.packed.entries))?;
        line("Mean size per bucket", &size::human(mean(run.packed.bytes)))?;
        line("Entries per second", &per_second(run.done.entries))?;
        // Data that is already up to date is not transferred, so there are two rates.
        let looked_at = size::human_rate(run.done.bytes, run.total_time);
        let moved = size::human_rate(run.figures.transferred_bytes + run.made.bytes, run.total_time);
        if self.dry_run {
            line("Speed", &format!("{looked_at} found"))?;
        } else if run.has_figures {
            line("Speed", &format!("{looked_at} looked at, {moved} transferred"))?;
        } else {
            line("Speed", &format!("{looked_at} looked at"))?;
        }
        if run.processes == self.processes {
            line("Rsync workers", &self.processes)?;
        } else {
            line("Rsync workers", &format!("{} in the end, at most {}", run.processes, self.processes))?;
        }
        let runtime = format!("{:.1}s", run.rsync_time.as_secs_f64());
        line(&format!("Total rsync's processes ({}) cumulative runtime", run.launches), &runtime)?;
        let part = 100.0 * run.scan_time.as_secs_f64() / seconds;
        line("Crawl time", &format!("{:.1}s ({part:.1}% of total runtime)", run.scan_time.as_secs_f64()))?;
        line("Total time", &format!("{:.1}s", run.total_time.as_secs_f64()))?;
        if !self.dry_run {
            if run.has_figures {
                run.figures.named().iter().try_for_each(|(name, value)| line(name, value))?;
            }
            line("Launches", &run.launches)?;
        }
        if run.made.is_any() {
            let Made { files, dirs, bytes, took } = run.made;
            let text = format!(
                "{}, {}, {} in {:.1}s",
                size::counted(files, "file", "files"),
                size::counted(dirs, "directory", "directories"),
                size::human(bytes),
                took.as_secs_f64()
            );
            line("Made by the first pass", &text)?;
        } else if let Some(why) = &run.no_first_pass {
            line("No first pass", why)?;
        }
        line("Split directories", &run.spine)?;
        if let Some(why) = &run.plain {
            line("One rsync for everything", why)?;
        }
        for (why, (count, example)) in &run.kept_whole {
            line("Directories left whole", &format!("{count} ({why}), such as {example}"))?;
        }
        for host in &run.hosts {
            let mut text = format!(
                "{}, {}, {}, {} at {}, {}",
                size::counted(host.slots as u64, "slot", "slots"),
                size::counted(host.buckets, "bucket", "buckets"),
                size::counted(host.done.entries, "entry", "entries"),
                size::human(host.done.bytes),
                size::human_rate(host.done.bytes, run.total_time),
                size::counted(host.launches, "launch", "launches"),
            );
            if let Some(code) = host.why {
                let seconds = host.aside.as_secs_f64();
                let _ = write!(text, ", {} of them lost (code {code}), set aside for {seconds:.1} s", host.lost);
            }
            if host.is_aside {
                text.push_str(", set aside at the end");
            }
            line(&format!("Host {}", host.host), &text)?;
        }
        if let Some(count) = run.differences {
            line("Differences found after the copy", &count)?;
        }
        if let Some(dir) = &run.bucket_dir {
            line("Bucket directory", &Printable::path(dir))?;
        }
        if run.scan_error_count > 0 {
            line("Not read by the scan", &run.scan_error_count)?;
            run.scan_errors.iter().try_for_each(|error| line("Not read", error))?;
        }
        if run.complaints.count > 0 {
            line("Standard error of rsync", &size::counted(run.complaints.count, "line", "lines"))?;
            run.complaints.lines.iter().try_for_each(|text| line("rsync said", text))?;
        }
        f.write_char('\n')
    }
}
