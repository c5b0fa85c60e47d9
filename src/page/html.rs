//! The page of a run: tables, and charts of the data in the page.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use crate::events::{Figures, Host, Made, Text};
use crate::size;

use super::data::{Item, List, Report};
use super::sheet::{self, escape, figure, grouped, seconds, table};
use super::timeline::{Bar, Lane, Point};

const SCRIPT: &str = include_str!("draw.js");
/// Longer names are cut off.
const LONGEST: usize = 300;
/// The same for names in a chart.
const BRIEF: usize = 80;
/// How many items of a list are shown before the rest is folded away.
const SHOWN: usize = 20;

/// Writes the page.
pub fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let title = match &report.start {
        Some(start) => format!("multi-sync: {} to {}", sources(&start.sources), start.destination.shown()),
        None => "multi-sync".to_owned(),
    };
    let data = serde_json::to_string(&Drawn::of(report))?;
    sheet::write(out, &title, &body(report), &data, SCRIPT)
}

/// The data for the charts.
#[derive(Serialize)]
struct Drawn<'a> {
    seconds: f64,
    lanes: &'a [Lane],
    bars: Vec<Bar>,
    points: &'a [Point],
    lengths: &'a [(f64, u64)],
}

impl Drawn<'_> {
    fn of(report: &Report) -> Drawn<'_> {
        let bar =
            |bar: &Bar| Bar { first: bar.first.as_ref().map(|name| Text::from(&*cut(name, BRIEF))), ..bar.clone() };
        Drawn {
            seconds: report.seconds,
            lanes: &report.lanes,
            bars: report.bars.iter().map(bar).collect(),
            points: &report.points,
            lengths: &report.lengths,
        }
    }
}

fn body(report: &Report) -> String {
    let mut page = String::new();
    head(&mut page, report);
    let failed = |item: &Item| [item.kind.clone(), shown(item.name.as_ref()), shown(item.text.as_ref())];
    list(&mut page, "Failures", &report.failed, ["kind", "name", "what it says"], failed);
    if report.launches > 0 || !report.bars.is_empty() {
        charts(&mut page, report);
    }
    how(&mut page, report);
    hosts(&mut page, &report.hosts);
    slowest(&mut page, report);
    let differs = |item: &Item| [item.kind.clone(), shown(item.name.as_ref()), String::new()];
    list(&mut page, "Differences that rsync would still correct", &report.differences, ["change", "name", ""], differs);
    let note = |item: &Item| [item.kind.clone(), String::new(), shown(item.text.as_ref())];
    list(&mut page, "Notes", &report.notes, ["kind", "", "what it says"], note);
    asked(&mut page, report);
    page
}

fn head(page: &mut String, report: &Report) {
    let (class, result) = match &report.summary {
        Some(end) if end.interrupted => ("bad", format!("exit code {}: interrupted", end.code)),
        Some(end) if end.code == 0 => ("good", "exit code 0: success".to_owned()),
        Some(end) => (
            if [23, 24, 25].contains(&end.code) { "fair" } else { "bad" },
            format!("exit code {}: {}", end.code, end.reason),
        ),
        None => ("bad", "no end: it was killed, or is still running".to_owned()),
    };
    let from = report.start.as_ref().map_or(String::new(), |start| sources(&start.sources));
    let to = report.start.as_ref().map_or(String::new(), |start| start.destination.shown());
    let _ = writeln!(
        page,
        "<header>\n<h1><code>{}</code> <span>to</span> <code>{}</code></h1>",
        escape(&from),
        escape(&to)
    );
    let _ = writeln!(page, "<p class=\"result {class}\">{}</p>", escape(&result));
    let _ = writeln!(page, "<dl class=\"figures\">");
    figure(page, "began", &moment(report));
    figure(page, "took", &seconds(report.seconds));
    if let Some(totals) = report.totals() {
        figure(
            page,
            "found",
            &format!(
                "{}, {}",
                size::grouped_of(totals.found_entries, "entry", "entries"),
                size::human(totals.found_bytes)
            ),
        );
        figure(
            page,
            "done",
            &format!(
                "{}, {}",
                size::grouped_of(totals.done_entries, "entry", "entries"),
                size::human(totals.done_bytes)
            ),
        );
        if let Some(Made { files, directories, bytes, .. }) = totals.made {
            let text = format!(
                "{}, {}, {}",
                size::grouped_of(files, "file", "files"),
                size::grouped_of(directories, "directory", "directories"),
                size::human(bytes)
            );
            figure(page, "created by the first pass", &text);
        }
        if let Some(Figures { transferred, transferred_bytes, deleted, .. }) = totals.figures {
            figure(
                page,
                "transferred",
                &format!("{}, {}", size::grouped_of(transferred, "file", "files"), size::human(transferred_bytes)),
            );
            if deleted > 0 {
                figure(page, "deleted", &size::grouped_of(deleted, "entry", "entries"));
            }
        }
    }
    figure(page, "rsyncs", &grouped(report.launches));
    if let Some(retried) = report.totals().map(|totals| totals.retried).filter(|retried| *retried > 0) {
        figure(page, "tried again", &grouped(retried));
    }
    figure(page, "failures", &grouped(report.failed.count));
    if let Some(count) = report.summary.as_ref().and_then(|end| end.differences) {
        figure(page, "differences", &grouped(count));
    }
    page.push_str("</dl>\n");
    let missing = [
        (report.dropped, "were dropped, because the events were not written fast enough"),
        (report.unread, "could not be read"),
    ];
    for (count, why) in missing.into_iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(page, "<p class=\"warning\">{count} lines of events {why}: this report lacks them.</p>");
    }
    for line in report.summary.iter().flat_map(|end| &end.advice) {
        let _ = writeln!(page, "<p class=\"advice\">{}</p>", escape(line));
    }
    page.push_str("</header>\n");
}

fn charts(page: &mut String, report: &Report) {
    let _ = writeln!(page, "<section>\n<h2>Launches</h2>");
    let bars = match report.sums_up {
        true => {
            "Each bar stands for the launches that began in its period; its colour shows the worst result among them."
        }
        false => "Each bar is an rsync, in the lane of its slot.",
    };
    let _ = writeln!(page, "<p>{bars}</p>");
    if report.undrawn > 0 {
        let _ = writeln!(
            page,
            "<p class=\"warning\">{} launches in other slots are not drawn.</p>",
            grouped(report.undrawn)
        );
    }
    let _ = writeln!(
        page,
        "<div class=\"lanes\"><canvas id=\"timeline\" role=\"img\" aria-label=\"launches over time\"></canvas></div>\n</section>"
    );
    // Two points are not enough for a curve.
    let has_course = report.points.iter().filter(|point| point.bytes.is_some()).count() > 2;
    if has_course {
        for (id, name) in [("bytes", "Bytes a second"), ("entries", "Entries a second")] {
            let _ = writeln!(
                page,
                "<section class=\"half\">\n<h2>{name}</h2>\n<div class=\"chart\"><canvas id=\"{id}\" role=\"img\" aria-label=\"{name}\"></canvas></div>\n</section>"
            );
        }
    }
    let _ = writeln!(
        page,
        "<section class=\"half\">\n<h2>How long launches took</h2>\n<div class=\"chart\"><canvas id=\"lengths\" role=\"img\" aria-label=\"how long launches took\"></canvas></div>\n</section>"
    );
    if has_course {
        let _ = writeln!(
            page,
            "<section class=\"half\">\n<h2>rsyncs that ran</h2>\n<div class=\"chart\"><canvas id=\"running\" role=\"img\" aria-label=\"rsyncs that ran\"></canvas></div>\n</section>"
        );
    }
}

fn how(page: &mut String, report: &Report) {
    let _ = writeln!(page, "<section>\n<h2>How it was done</h2>");
    for (part, why) in &report.singles {
        let part = if part == "copy" { "" } else { " of the verification" };
        let _ = writeln!(page, "<p>One rsync did it all{part}: {}.</p>", escape(why));
    }
    if report.parts > 1 {
        let _ = writeln!(page, "<p>The run had {} parts: it was resumed.</p>", report.parts);
    }
    let rows = report.steps.iter().map(|step| [step.part.clone(), step.step.clone(), seconds(step.seconds)]);
    table(page, &["part", "step", "took"], rows, &[2]);
    if !report.adjusted.is_empty() {
        page.push_str("<p>What was changed during the run:</p>\n");
        let rows = report.adjusted.iter().map(|(at, now)| {
            let rate = now.bandwidth.map_or("no limit".to_owned(), |rate| format!("{}/s", size::human(rate)));
            let state = if now.paused {
                "paused"
            } else if now.winds_down {
                "ends"
            } else {
                ""
            };
            [seconds(*at), now.processes.to_string(), rate, state.to_owned()]
        });
        table(page, &["after", "rsyncs at once", "bandwidth", ""], rows, &[0, 1, 2]);
    }
    page.push_str("</section>\n");
}

fn hosts(page: &mut String, hosts: &[Host]) {
    let _ = writeln!(page, "<section>\n<h2>Hosts</h2>");
    let rows = hosts.iter().map(|host| {
        let of = |result: &str| grouped(host.results.get(result).copied().unwrap_or(0));
        [
            host.host.clone().unwrap_or_else(|| "this machine".to_owned()),
            grouped(host.launches),
            of("done"),
            of("partial"),
            of("again"),
            of("failed"),
            grouped(host.down),
            grouped(host.entries),
            size::human(host.bytes),
            seconds(host.seconds),
        ]
    });
    let head =
        ["host", "rsyncs", "done", "partial", "again", "failed", "set aside", "entries", "bytes", "time of rsyncs"];
    table(page, &head, rows, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    page.push_str("</section>\n");
}

fn slowest(page: &mut String, report: &Report) {
    let _ = writeln!(page, "<section>\n<h2>The slowest launches</h2>");
    let on_hosts = report.slowest.iter().any(|slow| slow.host.is_some());
    // A column that would be the same in all rows is left out, so that names have more room on narrow screens.
    let in_parts = report.slowest.iter().any(|slow| slow.part != "copy");
    let head = ["took", "entries", "bytes"].into_iter().chain(in_parts.then_some("part")).chain(["launch"]);
    let head: Vec<&str> = head.chain(on_hosts.then_some("host")).chain(["first name"]).collect();
    let rows = report.slowest.iter().map(|slow| {
        let mut row = vec![seconds(slow.seconds), grouped(slow.entries), size::human(slow.bytes)];
        row.extend(in_parts.then(|| slow.part.clone()));
        row.push(slow.launch.to_string());
        row.extend(on_hosts.then(|| slow.host.clone().unwrap_or_default()));
        row.push(shown(slow.first.as_ref()));
        row
    });
    table(page, &head, rows, &[0, 1, 2, if in_parts { 4 } else { 3 }]);
    page.push_str("</section>\n");
    if report.directories.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "<section>\n<h2>Where the time went</h2>\n<p>Launches by the directory that contains everything they were given.</p>"
    );
    let rows = report.directories.iter().map(|dir| {
        let name = if dir.below.0.is_empty() { "(throughout the tree)".to_owned() } else { shown(Some(&dir.below)) };
        [seconds(dir.seconds), grouped(dir.launches), grouped(dir.entries), size::human(dir.bytes), name]
    });
    table(page, &["time of rsyncs", "rsyncs", "entries", "bytes", "directory"], rows, &[0, 1, 2, 3]);
    page.push_str("</section>\n");
}

fn list(page: &mut String, title: &str, list: &List, head: [&str; 3], row: impl Fn(&Item) -> [String; 3]) {
    if list.count == 0 {
        return;
    }
    let _ = writeln!(page, "<section>\n<h2>{title} ({})</h2>", grouped(list.count));
    let columns: Vec<usize> = (0..3).filter(|column| !head[*column].is_empty()).collect();
    let head: Vec<&str> = std::iter::once("after").chain(columns.iter().map(|column| head[*column])).collect();
    let cells = |item: &Item| {
        let cells = row(item);
        std::iter::once(seconds(item.at)).chain(columns.iter().map(|column| cells[*column].clone())).collect::<Vec<_>>()
    };
    let (first, rest) = list.first.split_at(list.first.len().min(SHOWN));
    table(page, &head, first.iter().map(cells), &[0]);
    if !rest.is_empty() {
        let _ = writeln!(page, "<details><summary>{} more</summary>", grouped(rest.len() as u64));
        table(page, &head, rest.iter().map(cells), &[0]);
        page.push_str("</details>\n");
    }
    let untold = list.count - list.first.len() as u64;
    if untold > 0 {
        let _ = writeln!(
            page,
            "<p>{} more are not listed here; they are in the events and in the run directory.</p>",
            grouped(untold)
        );
    }
    page.push_str("</section>\n");
}

fn asked(page: &mut String, report: &Report) {
    let Some(start) = &report.start else { return };
    let words = |words: &[Text]| words.iter().map(quoted).collect::<Vec<_>>().join(" ");
    let _ = writeln!(page, "<section>\n<h2>What was asked</h2>");
    let mut rows = vec![
        ["command".to_owned(), format!("multi-sync {}", words(&start.arguments))],
        ["in the directory".to_owned(), start.current_dir.shown()],
        ["rsync's options".to_owned(), words(&start.options)],
        ["rsyncs at once".to_owned(), start.processes.to_string()],
    ];
    if !start.hosts.is_empty() {
        rows.push(["source hosts".to_owned(), start.hosts.join(", ")]);
    }
    if start.dry_run {
        rows.push(["dry run".to_owned(), "nothing was copied".to_owned()]);
    }
    rows.push(["run directory".to_owned(), start.run_directory.shown()]);
    rows.push(["versions".to_owned(), format!("multi-sync {}, rsync {}", start.multi_sync, start.rsync)]);
    table(page, &[], rows.into_iter(), &[]);
    page.push_str("</section>\n");
}

fn sources(sources: &[Text]) -> String {
    match sources {
        [] => String::new(),
        [one] => one.shown(),
        [first, rest @ ..] => format!("{} and {} more", first.shown(), rest.len()),
    }
}

/// In UTC, because a report may be read elsewhere, and must be the same if it is written again.
fn moment(report: &Report) -> String {
    report.began.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn shown(name: Option<&Text>) -> String {
    name.map(|name| cut(name, LONGEST)).unwrap_or_default()
}

fn cut(name: &Text, longest: usize) -> String {
    let text = name.shown();
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A word as one would type it in a shell.
fn quoted(word: &Text) -> String {
    use std::os::unix::ffi::OsStrExt;
    crate::rsync::command::Quoted(std::ffi::OsStr::from_bytes(&word.0)).to_string()
}
