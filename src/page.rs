//! The report of a run (`--report`): a page that needs no network, its data, or a line for each launch. It is made from the events of the run and nothing
//! else, so that a file of events gives the same report.
//!
//! Memory does not grow with the run: events are read twice, and everything that is drawn or listed is bounded. The rest is summed up, and the report says
//! so.

mod data;
mod dirs;
mod html;
pub(crate) mod sheet;
mod timeline;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use crate::error::{Error, Result};
use crate::events::{Line, Record};
use crate::outlet::{Form, ReportFile};

use data::{Report, Survey};

/// The longest line. Longer ones are skipped, and counted.
const LONGEST_LINE: u64 = 16 << 20;

/// Writes the report of these events.
///
/// # Errors
/// The events cannot be read, there are none, or the report cannot be written.
pub fn make(events: &File, report: &ReportFile) -> Result<()> {
    let unreadable = |cause: io::Error| Error::usage("cannot read the events").because(cause);
    let mut survey = Survey::default();
    let unread = read(events, &mut |line| survey.see(line)).map_err(unreadable)?;
    if survey.is_empty() {
        return Err(Error::usage("there are no events of a run").remedy("give a file that --events wrote"));
    }
    match report.form {
        Form::Csv => report.write(|out| {
            writeln!(out, "{}", data::CSV_HEADER)?;
            let mut failed = Ok(());
            read(events, &mut |line| {
                if let (Record::LaunchEnd(end), true) = (&line.record, failed.is_ok()) {
                    failed = data::csv(out, line, end);
                }
            })?;
            failed
        }),
        form => {
            let mut whole = Report::new(&survey, unread);
            read(events, &mut |line| whole.take(line)).map_err(unreadable)?;
            whole.finish();
            report.write(|out| match form {
                Form::Html => html::write(out, &whole),
                _ => {
                    serde_json::to_writer_pretty(&mut *out, &whole)?;
                    out.write_all(b"\n")
                }
            })
        }
    }
}

/// Passes on every line that is an event. Returns the number of other lines.
fn read(mut events: &File, each: &mut dyn FnMut(&Line)) -> io::Result<u64> {
    events.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(64 << 10, events);
    let (mut text, mut unread) = (Vec::new(), 0);
    loop {
        text.clear();
        if (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut text)? == 0 {
            return Ok(unread);
        }
        match serde_json::from_slice::<Line>(&text) {
            Ok(line) => each(&line),
            // If multi-sync is killed, its last line may be incomplete.
            Err(_) => unread += u64::from(!text.trim_ascii().is_empty()),
        }
    }
}
