//! Checks what users type: sizes, the command line, rsync's options. Invalid ones have to be refused before anything is written.

use std::ffi::OsStr;
use std::time::Duration;

use super::ground::{Check, Checked, Ground, Job, check, expect, failed, passed};
use crate::plan::Plan;
use crate::rsync::exit;
use crate::rsync::options::Options;
use crate::size::{self, Size};
use crate::supervise::Supervisor;
use crate::treegen::{Sizes, Spec, generate};

pub(super) fn checks(command_line: fn() -> Result<(), String>) -> Vec<Check> {
    vec![
        check("sizes are read and shown", |_| sizes()),
        check("the command line is read", move |_| command_line().or_else(failed).and_then(|()| passed())),
        check("rsync's options are read", |_| options()),
        check("wrong options of rsync are refused", refused),
    ]
}

fn sizes() -> Checked {
    let read = [("1", 1), ("1k", 1 << 10), ("10K", 10 << 10), ("1M", 1 << 20), ("3g", 3 << 30), ("2T", 2 << 40)];
    for (word, bytes) in read {
        let read = Size::parse(OsStr::new(word))?.bytes();
        expect(read == bytes, || format!("{word} is read as {read} bytes"))?;
    }
    for word in ["", "0", "-1", "1KB", "K", "1.5G", "one", "99999E"] {
        expect(Size::parse(OsStr::new(word)).is_err(), || format!("'{word}' is taken for a size"))?;
    }
    for (bytes, shown) in [(17, "17 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB")] {
        let human = size::human(bytes);
        expect(human == shown, || format!("{bytes} bytes are shown as {human}"))?;
    }
    let rate = size::human_rate(10 << 20, Duration::from_secs(5));
    expect(rate == "2.0 MiB/s", || format!("2 MiB a second are shown as {rate}"))?;
    passed()
}

fn options() -> Checked {
    for (typed, words) in [
        ("-aS --numeric-ids", &["-a", "-S", "--numeric-ids"][..]),
        ("-a --exclude='a b' --bwlimit 1M", &["-a", "--exclude=a b", "--bwlimit=1M"]),
        ("", &[]),
    ] {
        let read = Options::parse_str(OsStr::new(typed))?.argv();
        expect(read == words, || format!("`{typed}` is read as {read:?}"))?;
    }
    passed()
}

fn refused(ground: &Ground<'_>) -> Checked {
    let source = ground.new_path("refused");
    generate(&source, &Spec::flat(3, Sizes::Empty), 1)?;
    for options in ["--no-such-option", "-a --daemon", "-a --bwlimit", "-a 'no end", "-a --read-batch=x"] {
        let job = Job { source: &source, name: "refused", options, processes: 2, entries: 1 };
        let made = ground.config(&job).and_then(|config| Plan::make(&config, &Supervisor::default()));
        match made {
            Ok(_) => return failed(format_args!("`{options}` is accepted")),
            Err(error) => expect(error.exit_code() == exit::USAGE, || {
                format!("`{options}` gives exit code {}: {error}", error.exit_code())
            })?,
        }
    }
    let written = ground.there().local("refused").is_some_and(|path| path.exists());
    expect(!written, || "something was written all the same".into())?;
    passed()
}
