//! What is to be in force while a run goes on: how many rsyncs, how much bandwidth, and whether it pauses. Made of what the run was begun with, of a
//! [`Timetable`], of [`Throttles`], and of what was asked for since ([`Change`]). Pure: it is told the time and what was read.
//!
//! What is asked for outweighs the timetable until that changes next, as with a thermostat. A pause that is asked for lasts until it is taken back,
//! and one of a throttle as long as there is a reason for it. An end that is asked for ends all pauses.

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

/// Files that a launch holds open, with its connection.
const FILES_OF_A_LAUNCH: u64 = 6;
/// And what else is open at once.
const OTHER_FILES: u64 = 64;

/// Who has changed something of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum By {
    /// Somebody, with `multi-sync set` or a [`JobHandle`](crate::job::JobHandle).
    Request,
    /// The timetable of the run.
    Timetable,
}

/// Why a run pauses.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Why {
    /// Somebody has asked for it.
    Request,
    /// The timetable of the run says so.
    Timetable,
    /// This machine has too much to do.
    Load {
        /// Its load over the last minute, when that was found.
        load: f64,
    },
    /// The destination has little room left.
    DestinationFull {
        /// How full it was when that was found.
        percent: f64,
    },
    /// Programs of this machine wait for something too often.
    Pressure {
        /// What for.
        resource: Resource,
        /// For how much of the last ten seconds they did, when that was found.
        percent: f64,
    },
}

/// Something of a run that was changed while it goes on. It prints as a line.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Steered {
    /// So many rsyncs run at once from now on. Those that are too many come to their end.
    Processes {
        /// How many.
        most: NonZero<usize>,
        /// Who has changed it.
        by: By,
    },
    /// All rsyncs together have this bandwidth. What runs keeps what it was started with.
    Bandwidth {
        /// KiB a second; `None` is no limit.
        kib: Option<NonZero<u64>>,
        /// Who has changed it.
        by: By,
    },
    /// Nothing is started, and what runs is stopped.
    Paused {
        /// All reasons there are.
        why: Vec<Why>,
    },
    /// A pause is over.
    Continued,
    /// The run ends when what runs has come to its end.
    WindsDown,
}

/// What is to be in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub processes: NonZero<usize>,
    pub bandwidth: Option<NonZero<u64>>,
    /// It pauses if there are some.
    pub paused: Vec<Why>,
    pub winds_down: bool,
}

/// What was asked for since the timetable has changed last. A pause stays.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    processes: Option<NonZero<usize>>,
    bandwidth: Option<Option<NonZero<u64>>>,
    /// The pause of the timetable is taken back.
    goes_on: bool,
}

/// Decides what is to be in force.
#[derive(Debug)]
pub struct Steering {
    begun_with: Setting,
    timetable: Option<Timetable>,
    throttles: Throttles,
    asked: Asked,
    pauses: bool,
    winds_down: bool,
    /// What the timetable says, and from when until when.
    says: Setting,
    valid: Option<(Timestamp, Option<Timestamp>)>,
    now: Wanted,
}

impl Steering {
    /// A run that is begun with so many rsyncs and this bandwidth.
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

    /// Takes in what somebody asks for.
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

    /// What has to change now, in this order.
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
        // The clock may also have been put back.
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

    /// What was found at the last look.
    pub fn wanted(&self) -> &Wanted {
        &self.now
    }

    /// The timetable, and when it changes something next.
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

/// Refuses more rsyncs than this process has open files for.
///
/// # Errors
/// There are not so many.
pub fn check_processes(wanted: Option<NonZero<usize>>) -> Result<()> {
    let files = getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    // The scan holds a file for each directory that it reads.
    let most = ((files - files / 4).saturating_sub(OTHER_FILES) / FILES_OF_A_LAUNCH).max(1);
    match wanted.filter(|wanted| wanted.get() as u64 > most) {
        Some(wanted) => {
            Err(Error::usage(format!("{wanted} rsyncs at once need more open files than the {files} that are allowed"))
                .remedy(format!("write a number up to {most}, or allow more open files (`ulimit -n`) and begin again")))
        }
        None => Ok(()),
    }
}

/// A bandwidth, as a person reads it.
pub fn shown(kib: Option<NonZero<u64>>) -> String {
    kib.map_or_else(|| "no limit".to_owned(), |kib| format!("{}/s", size::human(kib.get().saturating_mul(1024))))
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            By::Request => "as was asked for",
            By::Timetable => "by the timetable",
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Request => f.write_str("it was asked for"),
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
            Steered::Continued => f.write_str("goes on after a pause"),
            Steered::WindsDown => f.write_str("ends when the running rsyncs have finished, as was asked for"),
        }
    }
}

#[cfg(test)]
mod tests;
