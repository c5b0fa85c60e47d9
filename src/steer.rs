//! Computes which settings apply while a run is going on: how many rsyncs, how much bandwidth, and whether it pauses. They follow from the settings with
//! which the run was begun, a [`Timetable`], [`Throttles`], and later requests ([`Change`]). This module reads no clock and no file: it is given the time and
//! the readings.
//!
//! A request overrides the timetable until the next change of the timetable, as with a thermostat. A requested pause lasts until it is taken back, a pause of
//! a throttle as long as there is a reason for it. A requested end ends all pauses.

mod request;
mod throttle;
mod timetable;
pub mod until;

use std::fmt;
use std::mem::discriminant;
use std::num::NonZero;

use jiff::Timestamp;
use rustix::process::getrlimit;

use crate::error::{Error, Result};
use crate::size;

pub use request::{Change, Request};
pub use throttle::{Readings, Resource, Throttles, percent_full};
pub use timetable::{Setting, Timetable};

/// How many files a launch holds open, including its connection.
const FILES_OF_A_LAUNCH: u64 = 6;
/// How many other files are open at once.
const OTHER_FILES: u64 = 64;

/// Who has changed a setting of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum By {
    /// A user, with `multi-sync set` or a [`JobHandle`](crate::job::JobHandle).
    Request,
    /// The timetable of the run.
    Timetable,
}

/// Why a run pauses.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Why {
    /// A user has requested it.
    Request,
    /// The timetable of the run demands it.
    Timetable,
    /// The load of this machine is too high.
    Load {
        /// The load over the last minute, when it was found too high.
        load: f64,
    },
    /// The destination has little room left.
    DestinationFull {
        /// How full it was, in per cent, when this was found.
        percent: f64,
    },
    /// Programs on this machine have to wait too often for a resource.
    Pressure {
        /// The resource.
        resource: Resource,
        /// In how much of the last ten seconds they waited, in per cent, when this was found.
        percent: f64,
    },
}

/// A setting of a run that was changed while it runs. It prints as a line.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Steered {
    /// From now on this number of rsyncs runs at once. If more are running, these finish their work.
    Processes {
        /// The number.
        most: NonZero<usize>,
        /// Who has changed it.
        by: By,
    },
    /// The limit for all rsyncs together. Running rsyncs keep the limit with which they were started.
    Bandwidth {
        /// In KiB a second; `None` means no limit.
        kib: Option<NonZero<u64>>,
        /// Who has changed it.
        by: By,
    },
    /// Nothing is started, and running rsyncs are stopped.
    Paused {
        /// All reasons.
        why: Vec<Why>,
    },
    /// A pause is over.
    Continued,
    /// The run ends when the running rsyncs have finished.
    WindsDown,
}

/// The settings that apply.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub processes: NonZero<usize>,
    pub bandwidth: Option<NonZero<u64>>,
    /// The reasons for a pause; the run pauses if there are any.
    pub paused: Vec<Why>,
    pub winds_down: bool,
}

/// What was requested since the last change of the timetable. A requested pause is kept longer, and not here.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    processes: Option<NonZero<usize>>,
    bandwidth: Option<Option<NonZero<u64>>>,
    /// Whether the pause of the timetable was taken back.
    goes_on: bool,
}

/// Decides which settings apply.
#[derive(Debug)]
pub struct Steering {
    begun_with: Setting,
    timetable: Option<Timetable>,
    throttles: Throttles,
    asked: Asked,
    pauses: bool,
    winds_down: bool,
    /// What the timetable says, and the period for which this is valid.
    says: Setting,
    valid: Option<(Timestamp, Option<Timestamp>)>,
    now: Wanted,
}

impl Steering {
    /// For a run that is begun with this number of rsyncs and this bandwidth.
    pub fn new(
        processes: NonZero<usize>,
        bandwidth: Option<NonZero<u64>>,
        timetable: Option<Timetable>,
        throttles: Throttles,
    ) -> Steering {
        Steering {
            begun_with: Setting { processes: Some(processes), bandwidth: Some(bandwidth), pause: false },
            timetable,
            throttles,
            asked: Asked::default(),
            pauses: false,
            winds_down: false,
            says: Setting::default(),
            valid: None,
            now: Wanted { processes, bandwidth, paused: Vec::new(), winds_down: false },
        }
    }

    /// Adds a user's request.
    pub fn change(&mut self, change: &Change) {
        self.asked.processes = change.processes.or(self.asked.processes);
        self.asked.bandwidth = change.bandwidth.or(self.asked.bandwidth);
        if let Some(pauses) = change.pause {
            self.pauses = pauses;
            self.asked.goes_on = !pauses;
        }
        self.winds_down |= change.stop;
        if let Some(timetable) = &change.timetable {
            self.timetable.clone_from(timetable);
            self.valid = None;
        }
    }

    /// The settings that change now, in this order.
    pub fn look(&mut self, now: Timestamp, readings: &Readings) -> Vec<Steered> {
        self.look_at_the_timetable(now);
        let by_throttles = self.throttles.judge(readings);
        let setting = self.says.or(self.begun_with);
        let wanted = Wanted {
            processes: self.asked.processes.or(setting.processes).unwrap_or(self.now.processes),
            bandwidth: self.asked.bandwidth.or(setting.bandwidth).unwrap_or(self.now.bandwidth),
            paused: match self.winds_down {
                true => Vec::new(),
                false => {
                    let asked = self.pauses.then_some(Why::Request);
                    let timetable = (setting.pause && !self.asked.goes_on).then_some(Why::Timetable);
                    asked.into_iter().chain(timetable).chain(by_throttles).collect()
                }
            },
            winds_down: self.winds_down,
        };
        let by = |asked| if asked { By::Request } else { By::Timetable };
        let mut adjusted = Vec::new();
        if wanted.processes != self.now.processes {
            let by = by(self.asked.processes.is_some() || self.timetable.is_none());
            adjusted.push(Steered::Processes { most: wanted.processes, by });
        }
        if wanted.bandwidth != self.now.bandwidth {
            let by = by(self.asked.bandwidth.is_some() || self.timetable.is_none());
            adjusted.push(Steered::Bandwidth { kib: wanted.bandwidth, by });
        }
        let reasons = |wanted: &Wanted| wanted.paused.iter().map(kind).collect::<Vec<_>>();
        if reasons(&wanted) != reasons(&self.now) {
            adjusted.push(match wanted.paused.is_empty() {
                true => Steered::Continued,
                false => Steered::Paused { why: wanted.paused.clone() },
            });
        }
        if wanted.winds_down && !self.now.winds_down {
            adjusted.push(Steered::WindsDown);
        }
        self.now = wanted;
        adjusted
    }

    fn look_at_the_timetable(&mut self, now: Timestamp) {
        // The check of the beginning matters if the clock was set back.
        let holds = self.valid.is_some_and(|(from, until)| from <= now && until.is_none_or(|until| now < until));
        if holds {
            return;
        }
        let first = self.valid.is_none();
        self.valid = Some((now, self.timetable.as_ref().and_then(|timetable| timetable.next_change(now))));
        let says = self.timetable.as_ref().map_or(Setting::default(), |timetable| timetable.at(now));
        if std::mem::replace(&mut self.says, says) != says && !first {
            self.asked = Asked::default();
        }
    }

    /// The settings found at the last look.
    pub fn wanted(&self) -> &Wanted {
        &self.now
    }

    /// The timetable, and the time of its next change.
    pub fn timetable(&self) -> Option<(&Timetable, Option<Timestamp>)> {
        self.timetable.as_ref().map(|timetable| (timetable, self.valid.and_then(|(_, until)| until)))
    }

    pub fn throttles(&self) -> &Throttles {
        &self.throttles
    }
}

fn kind(why: &Why) -> (std::mem::Discriminant<Why>, Option<Resource>) {
    let resource = if let Why::Pressure { resource, .. } = why { Some(*resource) } else { None };
    (discriminant(why), resource)
}

/// Refuses a number of rsyncs for which this process may not open enough files.
///
/// # Errors
/// It may not.
pub fn check_processes(wanted: Option<NonZero<usize>>) -> Result<()> {
    let files = getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    // The scan needs the rest: it holds a file open for each directory that it reads.
    let most = ((files - files / 4).saturating_sub(OTHER_FILES) / FILES_OF_A_LAUNCH).max(1);
    match wanted.filter(|wanted| wanted.get() as u64 > most) {
        Some(wanted) => {
            Err(Error::usage(format!("{wanted} rsyncs at once need more open files than the {files} that are allowed"))
                .remedy(format!("write a number up to {most}, or allow more open files (`ulimit -n`) and start again")))
        }
        None => Ok(()),
    }
}

/// A bandwidth as text for users.
pub fn shown(kib: Option<NonZero<u64>>) -> String {
    kib.map_or_else(|| "no limit".to_owned(), |kib| format!("{}/s", size::human(kib.get().saturating_mul(1024))))
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            By::Request => "as requested",
            By::Timetable => "by the timetable",
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Request => f.write_str("it was requested"),
            Why::Timetable => f.write_str("the timetable says so"),
            Why::Load { load } => write!(f, "the load of this machine is {load:.1}"),
            Why::DestinationFull { percent } => write!(f, "the destination is {percent:.0} % full"),
            Why::Pressure { resource, percent } => {
                write!(f, "programs wait for {resource} in {percent:.0} % of the time")
            }
        }
    }
}

impl fmt::Display for Steered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Steered::Processes { most, by } => {
                let rsyncs = if most.get() == 1 { "rsync" } else { "rsyncs" };
                write!(f, "{most} {rsyncs} at once from now on, {by}")
            }
            Steered::Bandwidth { kib, by } => {
                write!(f, "bandwidth of all rsyncs that start from now on: {}, {by}", shown(*kib))
            }
            Steered::Paused { why } => {
                let why: Vec<String> = why.iter().map(Why::to_string).collect();
                write!(f, "paused: {}", why.join(", and "))
            }
            Steered::Continued => f.write_str("continues after a pause"),
            Steered::WindsDown => f.write_str("ends when the running rsyncs have finished, as requested"),
        }
    }
}

#[cfg(test)]
mod tests;
