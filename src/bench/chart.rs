//! The results as a chart: speedup by number of processes, with the spread of the runs. SVG 1.1, readable on light and dark pages.

use std::fmt::Write;

use super::record::{Record, Row, Spread, Tool, Work};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 456.0;
/// The edges of the plot area.
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 84.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = HEIGHT - 100.0;

const INK: &str = "#1f2933";
const PALE: &str = "#66727f";
const GRID: &str = "#e3e7eb";
const FONT: &str = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif";

/// The style of a line: its colour, the shape of its points, and a shift that keeps the spreads of two lines apart.
struct Style {
    colour: &'static str,
    round: bool,
    shift: f64,
}

const fn style(work: Work) -> Style {
    match work {
        Work::Fresh => Style { colour: "#1763b8", round: true, shift: -7.0 },
        Work::NothingToDo => Style { colour: "#c2570c", round: false, shift: 7.0 },
    }
}

/// Draws the chart.
pub(super) fn svg(record: &Record) -> String {
    let lines: Vec<(Work, Vec<(usize, Spread)>)> =
        Work::ALL.into_iter().map(|work| (work, points(&record.rows(work)))).collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let mut processes: Vec<usize> = all().map(|(processes, _)| *processes).collect();
    processes.sort_unstable();
    processes.dedup();
    let highest = all().map(|(_, spread)| spread.max).fold(1.0, f64::max);
    let (step, top) = scale(highest);
    let chart = Chart { processes, top };

    let mut out = String::new();
    let _ = writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="{FONT}">"#
    );
    let facts = &record.facts;
    let title = "How many times as fast as one rsync";
    let _ = writeln!(out, "<title>{title}</title>");
    let _ = writeln!(out, r##"<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#ffffff"/>"##);
    text(&mut out, LEFT, 30.0, "start", 17, INK, "600", title);
    let runs = if facts.runs == 1 {
        "1 run".to_owned()
    } else {
        format!(
            "median of {}, bars from slowest to fastest",
            crate::size::counted(u64::from(facts.runs), "run", "runs")
        )
    };
    let what = format!("{}; {} to {}; {runs}", facts.tree_in_words(), facts.source, facts.destination);
    text(&mut out, LEFT, 50.0, "start", 12, PALE, "400", &what);
    legend(&mut out, &lines);
    chart.grid(&mut out, step);
    for (work, points) in &lines {
        chart.line(&mut out, &style(*work), points);
    }
    for (work, points) in &lines {
        let others = lines.iter().filter(|(other, _)| other != work).flat_map(|(_, points)| points);
        chart.labels(&mut out, &style(*work), points, &others.collect::<Vec<_>>());
    }
    let machine = &facts.machine;
    let on = format!("{}, {} cores; Linux {}; {}", machine.processor, machine.cores, machine.kernel, machine.date);
    let with = format!("multi-sync {}, rsync {} {}", machine.multi_sync, machine.rsync, facts.options);
    for (number, footer) in [(0.0, with), (1.0, on)] {
        text(&mut out, LEFT, HEIGHT - 32.0 + 16.0 * number, "start", 11, PALE, "400", &footer);
    }
    out.push_str("</svg>\n");
    out
}

fn points(rows: &[Row]) -> Vec<(usize, Spread)> {
    let point = |row: &Row| match row.tool {
        Tool::MultiSync(processes) => Some((processes, row.speedup)),
        Tool::Rsync => None,
    };
    rows.iter().filter_map(point).collect()
}

/// The distance of grid lines, and the end of the axis, which leaves some room above the highest value.
fn scale(highest: f64) -> (f64, f64) {
    const MOST_LINES: f64 = 8.0;
    let top = highest * 1.12;
    let step = [0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0].into_iter().find(|step| top / step <= MOST_LINES);
    let step = step.unwrap_or(top / MOST_LINES);
    (step, (top / step).ceil() * step)
}

struct Chart {
    processes: Vec<usize>,
    top: f64,
}

impl Chart {
    fn x(&self, processes: usize) -> f64 {
        let at = self.processes.iter().position(|other| *other == processes).unwrap_or(0) as f64;
        LEFT + (RIGHT - LEFT) * (at + 0.5) / self.processes.len().max(1) as f64
    }

    fn y(&self, speedup: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * speedup / self.top
    }

    fn grid(&self, out: &mut String, step: f64) {
        let count = (self.top / step).round() as u32;
        for number in 0..=count {
            let value = f64::from(number) * step;
            let y = self.y(value);
            let _ = writeln!(out, r#"<path d="M{LEFT} {y:.1}H{RIGHT}" stroke="{GRID}"/>"#);
            text(out, LEFT - 8.0, y + 4.0, "end", 12, PALE, "400", &format!("{value}×"));
        }
        let one = self.y(1.0);
        let _ = writeln!(
            out,
            r#"<path d="M{LEFT} {one:.1}H{RIGHT}" stroke="{INK}" stroke-width="1.5" stroke-dasharray="5 4"/>"#
        );
        text(out, RIGHT + 8.0, one + 4.0, "start", 12, INK, "400", "one rsync");
        for processes in &self.processes {
            text(out, self.x(*processes), BOTTOM + 20.0, "middle", 12, INK, "400", &processes.to_string());
        }
        text(out, (LEFT + RIGHT) / 2.0, BOTTOM + 42.0, "middle", 12, PALE, "400", "processes (-p)");
    }

    fn line(&self, out: &mut String, style: &Style, points: &[(usize, Spread)]) {
        let Style { colour, shift, .. } = style;
        let at = |(processes, spread): &(usize, Spread)| (self.x(*processes) + shift, self.y(spread.median));
        let path: Vec<String> = points.iter().map(|point| format!("{:.1} {:.1}", at(point).0, at(point).1)).collect();
        if !path.is_empty() {
            let _ = writeln!(out, r#"<path d="M{}" fill="none" stroke="{colour}" stroke-width="2"/>"#, path.join("L"));
        }
        for point in points {
            let (_, Spread { min, max, .. }) = *point;
            let (x, y) = at(point);
            let (low, high) = (self.y(min), self.y(max));
            if max > min {
                let (from, to) = (x - 4.0, x + 4.0);
                let _ = writeln!(
                    out,
                    r#"<path d="M{x:.1} {low:.1}V{high:.1}M{from:.1} {low:.1}H{to:.1}M{from:.1} {high:.1}H{to:.1}" stroke="{colour}" stroke-width="1.5"/>"#
                );
            }
            mark(out, style, x, y);
        }
    }

    /// The higher of two points has its value above it, the lower one below it.
    fn labels(&self, out: &mut String, style: &Style, points: &[(usize, Spread)], others: &[&(usize, Spread)]) {
        for (processes, Spread { median, min, max }) in points {
            let lower = others.iter().any(|(other, spread)| other == processes && spread.median > *median);
            let y = if lower { self.y(*min) + 17.0 } else { self.y(*max) - 9.0 };
            text(out, self.x(*processes) + style.shift, y, "middle", 12, style.colour, "600", &format!("{median:.2}"));
        }
    }
}

fn mark(out: &mut String, Style { colour, round, .. }: &Style, x: f64, y: f64) {
    let _ = if *round {
        writeln!(out, r##"<circle cx="{x:.1}" cy="{y:.1}" r="4.5" fill="{colour}" stroke="#ffffff"/>"##)
    } else {
        let (left, top) = (x - 4.0, y - 4.0);
        writeln!(out, r##"<rect x="{left:.1}" y="{top:.1}" width="8" height="8" fill="{colour}" stroke="#ffffff"/>"##)
    };
}

fn legend(out: &mut String, lines: &[(Work, Vec<(usize, Spread)>)]) {
    const EACH: f64 = 150.0;
    for (number, (work, _)) in (0_u32..).zip(lines) {
        let x = LEFT + 12.0 + EACH * f64::from(number);
        let style = style(*work);
        let (from, to) = (x - 12.0, x + 12.0);
        let _ = writeln!(out, r#"<path d="M{from} 70H{to}" stroke="{}" stroke-width="2"/>"#, style.colour);
        mark(out, &style, x, 70.0);
        text(out, x + 20.0, 74.0, "start", 12, INK, "400", &work.to_string());
    }
}

/// Text with a white edge, so that it can be read where it crosses a line.
#[expect(clippy::too_many_arguments, reason = "the attributes of an SVG element")]
fn text(out: &mut String, x: f64, y: f64, anchor: &str, size: u32, colour: &str, weight: &str, words: &str) {
    let _ = write!(
        out,
        r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{colour}" stroke="#ffffff" stroke-width="3" stroke-linejoin="round" paint-order="stroke">"##
    );
    for letter in words.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            other => out.push(other),
        }
    }
    out.push_str("</text>\n");
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    #[test]
    fn everything_measured_is_drawn_inside_of_the_picture() {
        let record = record(&[
            (Tool::Rsync, &[4.0, 4.2]),
            (Tool::MultiSync(1), &[4.1, 4.3]),
            (Tool::MultiSync(2), &[2.1, 2.6]),
            (Tool::MultiSync(16), &[0.5, 0.6]),
        ]);
        let svg = svg(&record);
        assert_eq!(svg.matches("<circle").count(), 3 + 1, "three points and the legend");
        assert!(svg.contains("&lt;&amp;&gt;") && !svg.contains("<&>"), "{svg}");
        for y in svg.split(" y=\"").skip(1).map(|rest| rest.split('"').next().unwrap().parse::<f64>().unwrap()) {
            assert!((0.0..HEIGHT).contains(&y), "{y}");
        }
    }

    #[test]
    fn the_axis_has_room_for_the_highest_value() {
        for highest in [0.3, 1.0, 1.9, 3.7, 15.0, 400.0] {
            let (step, top) = scale(highest);
            assert!(top >= highest && top / step <= 9.0, "{highest}: {step} {top}");
        }
    }
}
