//! What a user requests of a run, as words that can be sent, and their meaning.

use std::num::NonZero;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::size::parse_count;

use super::timetable::{self, Timetable};

const VERSION: u32 = 1;

/// The words of a request. A request with a field that is not known here is refused as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    processes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bwlimit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pause: Option<bool>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stop: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schedule: Option<String>,
}

impl Request {
    /// From what was typed. `pause` is `Some(false)` for the end of a pause.
    pub fn new(
        processes: Option<String>,
        bwlimit: Option<String>,
        pause: Option<bool>,
        stop: bool,
        schedule: Option<String>,
    ) -> Request {
        Request { v: VERSION, processes, bwlimit, pause, stop, schedule }
    }
}

/// The meaning of a request. `None` leaves a setting as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    pub processes: Option<NonZero<usize>>,
    /// In KiB a second; the inner `None` means no limit.
    pub bandwidth: Option<Option<NonZero<u64>>>,
    pub pause: Option<bool>,
    /// Whether the run is to end when the running rsyncs have finished.
    pub stop: bool,
    /// Another timetable, or none.
    pub timetable: Option<Option<Timetable>>,
}

impl Change {
    /// Reads a request.
    ///
    /// # Errors
    /// It has another version, or one of its values is invalid.
    pub fn read(request: &Request) -> Result<Change> {
        if request.v != VERSION {
            return Err(Error::usage(format!("a request of version {}, and {VERSION} is known here", request.v))
                .remedy("use the version of multi-sync with which the run was started"));
        }
        let about = |option: &str, error: Error| {
            let advice = error.advice().map(str::to_owned);
            let named = Error::usage(option.to_owned()).because(error);
            advice.into_iter().fold(named, Error::remedy)
        };
        let processes = request.processes.as_ref().map(|count| {
            let wrong = |error: Error| error.remedy("write a whole number from 1; to have none, use --pause");
            parse_count(count.as_ref()).map_err(|error| about("--processes", wrong(error)))
        });
        let bandwidth = request.bwlimit.as_ref().map(|rate| {
            timetable::bandwidth(rate).ok_or_else(|| {
                Error::usage(format!("--bwlimit: not a bandwidth: '{rate}'"))
                    .remedy("write it as for rsync, such as 50M or 1.5m, or none")
            })
        });
        let timetable = request.schedule.as_ref().map(|text| match &text[..] {
            "none" => Ok(None),
            text => Timetable::of_this_machine(text).map(Some).map_err(|error| about("--schedule", error)),
        });
        if request.stop && request.pause == Some(true) {
            return Err(Error::usage("--pause and --stop: a paused run does not end").remedy("give one of them"));
        }
        Ok(Change {
            processes: processes.transpose()?,
            bandwidth: bandwidth.transpose()?,
            pause: request.pause,
            stop: request.stop,
            timetable: timetable.transpose()?,
        })
    }

    /// Whether nothing is asked for.
    pub fn is_nothing(&self) -> bool {
        *self == Change::default()
    }
}
