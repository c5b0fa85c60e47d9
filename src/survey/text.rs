//! A survey as text: the most important results on one screen, then the details.

use std::fmt::{Display, Write as _};

use super::figures::{AGES, Examples, Figures, Owners, POWERS, Sum};
use super::live::RANGE_HOLDS;
use super::{Division, Report};
use crate::entry::Printable;
use crate::size::{grouped, grouped_of, human};

/// The length of the longest bar of a histogram.
const BAR: usize = 30;
/// How many owners are shown.
pub(super) const SHOWN: usize = 10;

/// The whole text.
pub(super) fn text(report: &Report) -> String {
    let mut text = screen(report);
    text.push_str("\nDetails\n");
    details(&mut text, report);
    text
}

fn screen(report: &Report) -> String {
    let Report { figures, .. } = report;
    let mut text = String::new();
    let kinds = figures.kinds;
    let to = report.destination.as_ref().map_or(String::new(), |to| format!(" -> {to}"));
    line(&mut text, format!("Survey of {}{to}", report.sources.join(", ")));
    line(&mut text, format!("  rsync options: {}", report.rsync_options.join(" ")));
    line(
        &mut text,
        format!(
            "  {}: {}, {}, {}, {}",
            several(kinds.total(), "entry", "entries"),
            several(kinds.files, "file", "files"),
            several(kinds.directories, "directory", "directories"),
            several(kinds.links, "link", "links"),
            several(kinds.fifos + kinds.sockets + kinds.devices, "other", "others")
        ),
    );
    line(&mut text, format!("  {} in files, {} on disk", human(figures.bytes), human(figures.allocated)));
    if let (Some(half), Some(most)) = (figures.size_below(0.5), figures.size_below(0.9)) {
        let largest = figures.largest_files.sorted().first().map_or(0, |(size, _)| *size);
        let below = |most: u64| if most > 1 { format!("below {}", human(most)) } else { "empty".to_owned() };
        let sizes = format!("half of the files are {}, 90 % {}", below(half), below(most));
        line(&mut text, format!("  {sizes}, the largest has {}", human(largest)));
    }
    let per_second = (kinds.total() as f64 / report.scan_seconds.max(1e-9)) as u64;
    let threads = report.scan_threads;
    let scan = format!("read in {} with {threads} threads", duration(report.scan_seconds));
    line(&mut text, format!("  {scan}: {} entries a second", grouped(per_second)));
    for source in &report.missing_sources {
        line(&mut text, format!("  cannot find source {source}"));
    }
    if report.unread.count > 0 {
        line(
            &mut text,
            format!("  {} could not be read, and what is in them is not counted", grouped(report.unread.count)),
        );
    }
    text.push_str("\nWhat these options would not carry over\n");
    if report.losses.is_empty() {
        line(&mut text, "  nothing that was seen");
    }
    for loss in &report.losses {
        line(
            &mut text,
            format!("  {} {} {}; instead: {}", grouped(loss.entries), loss.what, loss.becomes, loss.instead),
        );
    }
    text.push_str("\nHow it would be divided\n");
    divided(&mut text, report);
    trial(&mut text, report);
    text
}

pub(super) fn divided(text: &mut String, report: &Report) {
    let division = &report.division;
    let Division { processes, units, buckets, split_directories, .. } = division;
    match &division.one_rsync {
        Some(why) => line(text, format!("  one rsync would do it all: {why}")),
        None if *buckets < 2 => line(text, "  one rsync would do it all: there is only one bucket"),
        None => {
            let how = if *processes == 1 {
                "by one rsync after the other".into()
            } else {
                format!("by {processes} rsyncs at once")
            };
            let what = format!(
                "{} in {}",
                grouped_of(*units, "subtree or name", "subtrees and names"),
                grouped_of(*buckets, "bucket", "buckets")
            );
            let split = grouped_of(*split_directories, "directory is", "directories are");
            line(text, format!("  {what}, {how}; {split} split"));
            if *processes as u64 > *buckets {
                line(text, format!("  more than {buckets} rsyncs would have nothing to do"));
            }
        }
    }
    let limits =
        format!("a bucket has up to {} entries and {}", grouped(division.bucket_entries), human(division.bucket_bytes));
    if division.largest_unit_bytes > division.bucket_bytes {
        line(
            text,
            format!(
                "  {limits}; the largest file, {}, is copied by one rsync alone",
                human(division.largest_unit_bytes)
            ),
        );
    }
    for (why, count) in &division.kept_whole {
        line(text, format!("  {} whole: {why}", grouped_of(*count, "directory stays", "directories stay")));
    }
    if report.filtered {
        line(
            text,
            "  filter rules: what they certainly exclude by name or path is left out here, everything else is counted",
        );
    }
    if report.gitignore {
        line(text, "  ignore rules: what they leave out is not counted");
    }
}

pub(super) fn trial(text: &mut String, report: &Report) {
    let Some(trial) = &report.trial else {
        if report.destination.is_some() {
            line(text, "  how long a copy would take: --trial-seconds 30 copies a sample for so long");
        }
        return;
    };
    text.push_str("\nTrial at the destination (a sample, copied into an empty folder that was removed again)\n");
    let what = format!(
        "{}, {}, by {}",
        grouped_of(trial.entries, "entry", "entries"),
        human(trial.bytes),
        grouped_of(trial.launches as u64, "launch", "launches")
    );
    line(text, format!("  {what} in {}, {} at once", duration(trial.seconds), trial.processes));
    match &trial.estimate {
        Some(estimate) => {
            let range = format!("{} to {}", duration(estimate.low), duration(estimate.high));
            line(
                text,
                format!(
                    "  a copy of the whole: {} ({range} in {RANGE_HOLDS} % of the draws)",
                    duration(estimate.likely)
                ),
            );
        }
        None => line(text, "  too few launches finished for an estimate: give --trial-seconds more"),
    }
    if trial.with_errors > 0 {
        line(
            text,
            format!(
                "  {} names",
                grouped_of(
                    trial.with_errors as u64,
                    "launch could not copy all of its",
                    "launches could not copy all of their"
                )
            ),
        );
    }
    if !trial.left_out.is_empty() {
        line(text, format!("  without {}", trial.left_out.join(", ")));
    }
}

fn details(text: &mut String, report: &Report) {
    let figures = &report.figures;
    histograms(figures).iter().for_each(|found| histogram(text, found));
    let shown = |path: &[u8]| if path.is_empty() { ".".to_owned() } else { Printable::bytes(path).to_string() };
    list(text, "Largest files", figures.largest_files.sorted().iter().map(|(size, path)| (human(*size), shown(path))));
    let crowded = figures.most_crowded.sorted();
    list(text, "Directories with the most entries", crowded.iter().map(|(count, path)| (grouped(*count), shown(path))));
    owners(text, "Owners", &figures.users);
    owners(text, "Groups", &figures.groups);
    text.push_str("\n  Also\n");
    also(figures).into_iter().for_each(|what| line(text, format!("    {what}")));
    examples(text, "Names that are not UTF-8", &figures.not_utf8);
    examples(text, &format!("Names longer than {} bytes", report.longest_name), &figures.too_long);
    examples(text, "Names with control characters", &figures.control_characters);
    examples(text, "What could not be read", &report.unread);
}

/// How many entries there are in each class of an ordered property.
pub(super) struct Histogram {
    pub title: &'static str,
    /// For each bar its class, the number of entries, and their bytes. No bar is empty.
    pub bars: Vec<(String, u64, Option<u64>)>,
}

/// All histograms.
pub(super) fn histograms(figures: &Figures) -> Vec<Histogram> {
    let below = |power: usize| match power {
        0 => "empty".to_owned(),
        power => format!("below {}", 1_u64.checked_shl(power as u32).map_or("2^64".to_owned(), human)),
    };
    let older = AGES[AGES.len() - 1].1;
    let age = |at: usize| match AGES.get(at) {
        Some((0, name)) => (*name).to_owned(),
        Some((_, name)) => format!("up to {name}"),
        None => format!("older than {older}"),
    };
    let crowd = |power: usize| match power {
        0 => "none".to_owned(),
        1 => "1".to_owned(),
        power if power < POWERS - 1 => format!("{} to {}", grouped(1 << (power - 1)), grouped((1 << power) - 1)),
        _ => "more".to_owned(),
    };
    let sums = |sums: &[Sum], name: &dyn Fn(usize) -> String| {
        let bars = sums.iter().enumerate().filter(|(_, sum)| sum.entries > 0);
        bars.map(|(at, sum)| (name(at), sum.entries, Some(sum.bytes))).collect()
    };
    let counts = |counts: &[u64], name: &dyn Fn(usize) -> String| {
        let bars = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        bars.map(|(at, count)| (name(at), *count, None)).collect()
    };
    let all: [(&str, Vec<_>); 4] = [
        ("Files by size", sums(&figures.sizes, &below)),
        ("Files by time since their last change", sums(&figures.ages, &age)),
        ("Directories by depth", counts(&figures.depths, &|depth| depth.to_string())),
        ("Directories by number of entries", counts(&figures.crowds, &crowd)),
    ];
    all.into_iter().filter(|(_, bars)| !bars.is_empty()).map(|(title, bars)| Histogram { title, bars }).collect()
}

/// Further results that deserve a line.
pub(super) fn also(figures: &Figures) -> Vec<String> {
    let links = figures.hard_links;
    let mut also = Vec::new();
    if links.names > 0 {
        let (names, files) = (grouped(links.names), grouped(links.files.round() as u64));
        let more = human(links.more_bytes as u64);
        also.push(format!(
            "{names} names of about {files} files with hard links, at most {} of one; without -H {more} more",
            links.most_names
        ));
    }
    let sparse = figures.sparse;
    if sparse.files > 0 {
        let takes = format!("{} of {} are allocated", human(sparse.allocated), human(sparse.bytes));
        also.push(format!("{} with holes, or compressed: {takes}", grouped_of(sparse.files, "file", "files")));
    }
    let kinds = figures.kinds;
    for (count, what) in [
        (kinds.fifos, "FIFOs"),
        (kinds.sockets, "sockets"),
        (kinds.devices, "devices"),
        (figures.set_id_files, "files with a set-user-ID or set-group-ID bit"),
    ] {
        if count > 0 {
            also.push(format!("{} {what}", grouped(count)));
        }
    }
    if figures.file_systems.len() > 1 {
        also.push(format!("{} file systems", figures.file_systems.len()));
    }
    also.push(format!("the longest path has {} bytes", figures.longest_path));
    for (kind, (directories, files)) in &figures.attributes.kinds {
        let of = format!("{} of {} files looked at", grouped(*files), grouped(figures.attributes.files));
        also.push(format!(
            "{kind}: {} of {} directories, {of}",
            grouped(*directories),
            grouped(figures.attributes.directories)
        ));
    }
    if figures.attributes.kinds.is_empty() {
        let (directories, files) = (grouped(figures.attributes.directories), grouped(figures.attributes.files));
        also.push(format!(
            "no extended attributes or ACLs: {directories} directories and a sample of {files} files were looked at"
        ));
    }
    also
}

fn histogram(text: &mut String, found: &Histogram) {
    let Histogram { title, bars } = found;
    let most = bars.iter().map(|(_, count, _)| *count).max().unwrap_or(1);
    let _ = writeln!(text, "\n  {title}");
    let width = bars.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
    let digits = bars.iter().map(|(_, count, _)| grouped(*count).len()).max().unwrap_or(0);
    for (name, count, bytes) in bars {
        let bar = "#".repeat((*count as f64 / most as f64 * BAR as f64).ceil() as usize);
        let bytes = bytes.map_or(String::new(), |bytes| format!("{:>11}", human(bytes)));
        line(text, format!("    {name:>width$} {:>digits$}{bytes} {bar}", grouped(*count)));
    }
}

fn list(text: &mut String, title: &str, rows: impl Iterator<Item = (String, String)>) {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n  {title}");
    let width = rows.iter().map(|(size, _)| size.len()).max().unwrap_or(0);
    rows.into_iter().for_each(|(size, path)| line(text, format!("    {size:>width$}  {path}")));
}

fn owners(text: &mut String, title: &str, owners: &Owners) {
    let all = owners.sorted();
    let more = all.len().saturating_sub(SHOWN);
    let rows = all.iter().take(SHOWN).map(|(id, sum)| (grouped(sum.entries), format!("{id} ({})", human(sum.bytes))));
    list(text, title, rows);
    if more > 0 || owners.others.entries > 0 {
        let rest: u64 = all.iter().skip(SHOWN).map(|(_, sum)| sum.entries).sum::<u64>() + owners.others.entries;
        let at_least = if owners.others.entries > 0 { "more than " } else { "" };
        line(text, format!("    {} belong to {at_least}{more} others", grouped(rest)));
    }
}

fn examples(text: &mut String, title: &str, examples: &Examples) {
    if examples.count == 0 {
        return;
    }
    let _ = writeln!(text, "\n  {title}: {}", grouped(examples.count));
    for name in &examples.first {
        line(text, format!("    {}", Printable::bytes(name)));
    }
    if examples.count > examples.first.len() as u64 {
        line(text, "    ...");
    }
}

fn line(text: &mut String, line: impl Display) {
    let _ = writeln!(text, "{line}");
}

fn several(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..120 => format!("{whole} s"),
        120..7200 => format!("{} min", (whole + 30) / 60),
        7200..172_800 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_for_a_person() {
        for (number, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), shown);
        }
        for (seconds, shown) in
            [(0.04, "0.0 s"), (9.44, "9.4 s"), (61.0, "61 s"), (600.0, "10 min"), (9000.0, "2.5 h"), (1e6, "11.6 days")]
        {
            assert_eq!(duration(seconds), shown);
        }
    }
}
