//! The parts that all pages share: a document that needs no network and forbids it, with Chart.js, which draws the data in the document; tables and figures.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};

/// Chart.js 4.6.1, MIT (vendor/chart.js-LICENSE.md), with its own notice.
const CHARTS: &str = include_str!("vendor/chart.umd.min.js");
const STYLE: &str = include_str!("style.css");
const COMMON: &str = include_str!("sheet.js");
/// Longer texts may be broken into lines.
const SHORT: usize = 24;

/// Writes a document. `data` is JSON, which `script` finds in the element `data`.
pub fn write(out: &mut dyn Write, title: &str, body: &str, data: &str, script: &str) -> io::Result<()> {
    writeln!(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
    writeln!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")?;
    writeln!(
        out,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'; \
         style-src 'unsafe-inline'; img-src data:\">"
    )?;
    writeln!(out, "<meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>", escape(title))?;
    writeln!(out, "<style>\n{STYLE}</style>\n</head>\n<body>")?;
    out.write_all(body.as_bytes())?;
    // A `<` in a name must not end the element.
    let data = data.replace('<', "\\u003c");
    writeln!(out, "<script type=\"application/json\" id=\"data\">{data}</script>")?;
    out.write_all(b"<script>\n")?;
    // Browsers would search for the source map next to the page.
    let lines = CHARTS.lines().filter(|line| !line.starts_with("//# sourceMappingURL="));
    for line in lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "</script>\n<script>\n{COMMON}{script}</script>\n</body>\n</html>")
}

/// Adds a table; `right` are the columns with numbers.
pub fn table<R: AsRef<[String]>>(page: &mut String, head: &[&str], rows: impl Iterator<Item = R>, right: &[usize]) {
    let class = |column: usize, cell: &str| match right.contains(&column) {
        true => " class=\"n\"",
        false if cell.len() > SHORT => " class=\"t\"",
        false => "",
    };
    page.push_str("<div class=\"table\"><table>\n");
    if !head.is_empty() {
        page.push_str("<thead><tr>");
        for (column, name) in head.iter().enumerate() {
            let _ = write!(page, "<th{}>{}</th>", class(column, ""), escape(name));
        }
        page.push_str("</tr></thead>\n");
    }
    page.push_str("<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for (column, cell) in row.as_ref().iter().enumerate() {
            let tag = if head.is_empty() && column == 0 { "th" } else { "td" };
            let _ = write!(page, "<{tag}{}>{}</{tag}>", class(column, cell), escape(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n");
}

/// Adds a figure at the top of a page.
pub fn figure(page: &mut String, name: &str, value: &str) {
    let _ = writeln!(page, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(value));
}

/// A time such as `0.053 s`, `12.3 s`, `1:02:03`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds as u64;
    match seconds {
        _ if seconds < 10.0 => format!("{seconds:.2} s"),
        _ if seconds < 60.0 => format!("{seconds:.1} s"),
        _ => format!("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60),
    }
}

/// A number with narrow spaces between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            // A space that does not break lines.
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Escapes a text for HTML.
pub fn escape(text: &(impl Display + ?Sized)) -> String {
    let mut safe = String::new();
    for c in text.to_string().chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
