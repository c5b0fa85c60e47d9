//! A survey as a page, in the style of the report of a run: charts of its histograms, and all other contents of its text form.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::Report;
use super::figures::{Examples, Owners};
use super::text::{self, Histogram, SHOWN};
use crate::entry::Printable;
use crate::page::sheet::{self, escape, figure, grouped, seconds, table};
use crate::size::human;

const SCRIPT: &str = include_str!("draw.js");

/// The data of a chart.
#[derive(Serialize)]
struct Chart {
    id: String,
    /// What is counted.
    what: &'static str,
    labels: Vec<String>,
    values: Vec<u64>,
    /// Whether the values are bytes.
    bytes: bool,
}

/// Writes the page.
pub(super) fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let charts = charts(&text::histograms(&report.figures));
    let title = format!("multi-sync survey: {}", report.sources.join(", "));
    let data = serde_json::to_string(&charts.iter().map(|(_, chart)| chart).collect::<Vec<_>>())?;
    sheet::write(out, &title, &body(report, &charts), &data, SCRIPT)
}

/// A chart for the numbers of each histogram, and one for its bytes if it has any.
fn charts(histograms: &[Histogram]) -> Vec<(String, Chart)> {
    let mut charts = Vec::new();
    for Histogram { title, bars } in histograms {
        let (what, by) = title.split_once(' ').unwrap_or((title, ""));
        let what = if what == "Files" { "files" } else { "directories" };
        let labels: Vec<String> = bars.iter().map(|(name, ..)| name.clone()).collect();
        let mut add = |title: String, values: Vec<u64>, bytes: bool| {
            let chart = Chart { id: format!("chart{}", charts.len()), what, labels: labels.clone(), values, bytes };
            charts.push((title, chart));
        };
        add((*title).to_owned(), bars.iter().map(|(_, count, _)| *count).collect(), false);
        let bytes: Option<Vec<u64>> = bars.iter().map(|(.., bytes)| *bytes).collect();
        bytes.into_iter().for_each(|bytes| add(format!("Bytes in files {by}"), bytes, true));
    }
    charts
}

fn body(report: &Report, charts: &[(String, Chart)]) -> String {
    let mut page = String::new();
    head(&mut page, report);
    section(&mut page, "What these options would not carry over");
    if report.losses.is_empty() {
        page.push_str("<p>Nothing that was found.</p>\n");
    } else {
        let rows = report
            .losses
            .iter()
            .map(|loss| [grouped(loss.entries), loss.what.clone(), loss.becomes.clone(), loss.instead.clone()]);
        table(&mut page, &["how many", "what", "becomes", "instead"], rows, &[0]);
    }
    page.push_str("</section>\n");
    section(&mut page, "How it would be divided");
    let mut lines = String::new();
    text::divided(&mut lines, report);
    paragraphs(&mut page, &lines);
    page.push_str("</section>\n");
    if report.trial.is_some() {
        let mut lines = String::new();
        text::trial(&mut lines, report);
        let (title, lines) = lines.trim_start().split_once('\n').unwrap_or((&lines, ""));
        section(&mut page, title);
        paragraphs(&mut page, lines);
        page.push_str("</section>\n");
    }
    for (title, chart) in charts {
        let (title, id) = (escape(title), &chart.id);
        let _ = writeln!(
            page,
            "<section class=\"half\">\n<h2>{title}</h2>\n<div class=\"chart\"><canvas id=\"{id}\" role=\"img\" aria-label=\"{title}\"></canvas></div>\n</section>"
        );
    }
    largest(&mut page, report);
    odd(&mut page, report);
    page
}

fn section(page: &mut String, title: &str) {
    let _ = writeln!(page, "<section>\n<h2>{}</h2>", escape(title));
}

fn paragraphs(page: &mut String, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let _ = writeln!(page, "<p>{}</p>", escape(line));
    }
}

fn head(page: &mut String, report: &Report) {
    let (figures, kinds) = (&report.figures, report.figures.kinds);
    let to = report
        .destination
        .as_ref()
        .map_or_else(String::new, |to| format!(" <span>to</span> <code>{}</code>", escape(to)));
    let from = escape(&report.sources.join(", "));
    let _ = writeln!(page, "<header>\n<h1><span>Survey of</span> <code>{from}</code>{to}</h1>");
    let _ = writeln!(page, "<dl class=\"figures\">");
    for (name, count) in [
        ("entries", kinds.total()),
        ("files", kinds.files),
        ("directories", kinds.directories),
        ("links", kinds.links),
        ("others", kinds.fifos + kinds.sockets + kinds.devices),
    ] {
        figure(page, name, &grouped(count));
    }
    figure(page, "in files", &human(figures.bytes));
    figure(page, "on disk", &human(figures.allocated));
    let threads = report.scan_threads;
    figure(page, "read in", &format!("{} with {threads} threads", seconds(report.scan_seconds)));
    figure(page, "rsync options", &report.rsync_options.join(" "));
    page.push_str("</dl>\n");
    for source in &report.missing_sources {
        let _ = writeln!(page, "<p class=\"warning\">cannot find source {}</p>", escape(source));
    }
    if report.unread.count > 0 {
        let count = grouped(report.unread.count);
        let _ =
            writeln!(page, "<p class=\"warning\">{count} could not be read, and what is in them is not counted.</p>");
    }
    page.push_str("</header>\n");
}

fn largest(page: &mut String, report: &Report) {
    let shown = |path: &[u8]| if path.is_empty() { ".".to_owned() } else { Printable::bytes(path).to_string() };
    let figures = &report.figures;
    let files = figures.largest_files.sorted();
    let crowds = figures.most_crowded.sorted();
    let files: Vec<_> = files.iter().map(|(size, path)| [human(*size), shown(path)]).collect();
    let crowds: Vec<_> = crowds.iter().map(|(count, path)| [grouped(*count), shown(path)]).collect();
    for (title, head, rows) in
        [("Largest files", "size", files), ("Directories with the most entries", "entries", crowds)]
    {
        if !rows.is_empty() {
            section(page, title);
            table(page, &[head, "path"], rows.into_iter(), &[0]);
            page.push_str("</section>\n");
        }
    }
    owners(page, "Owners", &figures.users);
    owners(page, "Groups", &figures.groups);
}

fn owners(page: &mut String, title: &str, owners: &Owners) {
    let all = owners.sorted();
    let _ = writeln!(page, "<section class=\"half\">\n<h2>{title}</h2>");
    let rows = all.iter().take(SHOWN).map(|(id, sum)| [id.to_string(), grouped(sum.entries), human(sum.bytes)]);
    table(page, &["number", "entries", "bytes"], rows, &[0, 1, 2]);
    let more = all.len().saturating_sub(SHOWN);
    if more > 0 || owners.others.entries > 0 {
        let _ = writeln!(page, "<p>There are {more} or more others.</p>");
    }
    page.push_str("</section>\n");
}

fn odd(page: &mut String, report: &Report) {
    section(page, "Also");
    for line in text::also(&report.figures) {
        let _ = writeln!(page, "<p>{}</p>", escape(&line));
    }
    page.push_str("</section>\n");
    examples(page, "Names that are not UTF-8", &report.figures.not_utf8);
    examples(page, &format!("Names longer than {} bytes", report.longest_name), &report.figures.too_long);
    examples(page, "Names with control characters", &report.figures.control_characters);
    examples(page, "What could not be read", &report.unread);
}

fn examples(page: &mut String, title: &str, examples: &Examples) {
    if examples.count == 0 {
        return;
    }
    section(page, &format!("{title}: {}", grouped(examples.count)));
    let more = (examples.count > examples.first.len() as u64).then(|| ["...".to_owned()]);
    let rows = examples.first.iter().map(|name| [Printable::bytes(name).to_string()]).chain(more);
    table(page, &["some of them"], rows, &[]);
    page.push_str("</section>\n");
}
