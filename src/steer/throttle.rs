//! Throttles: a run pauses while a figure of the machine is too high, and continues when it is lower again.
//!
//! Each throttle has two limits, so that the run does not switch back and forth: it pauses at the first, and continues at the second. Only the functions that
//! read the figures access the system.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use crate::error::{Error, Result};

use super::Why;

/// If no lower limit of a load or a pressure is given, it is this part of the upper limit.
const USUAL_PART: f64 = 0.8;
/// If no lower limit for the destination is given, it is this many per cent of the file system below the upper limit.
const USUAL_GAP: f64 = 5.0;

/// A resource for which programs wait (PSI, the kernel's documentation, accounting/psi).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// A processor.
    Cpu,
    /// Input and output.
    Io,
    /// Memory.
    Memory,
}

impl Resource {
    const ALL: [Resource; 3] = [Resource::Cpu, Resource::Io, Resource::Memory];

    /// The system's name for it.
    fn name(self) -> &'static str {
        match self {
            Resource::Cpu => "cpu",
            Resource::Io => "io",
            Resource::Memory => "memory",
        }
    }

    fn path(self) -> String {
        format!("/proc/pressure/{}", self.name())
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The two limits: a run pauses at the first, and continues at the second.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Band {
    pauses: f64,
    goes_on: f64,
    /// Whether the run pauses now.
    high: bool,
}

impl Band {
    /// Reads `HIGH` or `HIGH:LOW`.
    fn parse(text: &str, most: f64, usual: impl Fn(f64) -> f64) -> Option<Band> {
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| (0.0..=most).contains(number));
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b".:".contains(&byte));
        let (pauses, goes_on) = match text.split_once(':') {
            Some((high, low)) => (number(high)?, number(low)?),
            None => (number(text)?, usual(number(text)?)),
        };
        (plain && pauses > 0.0 && goes_on < pauses).then_some(Band { pauses, goes_on, high: false })
    }

    /// Whether the figure is too high. If it could not be read, the last answer is kept.
    fn judge(&mut self, figure: Option<f64>) -> bool {
        if let Some(figure) = figure {
            self.high = if self.high { figure > self.goes_on } else { figure >= self.pauses };
        }
        self.high
    }
}

impl fmt::Display for Band {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pauses, self.goes_on)
    }
}

/// The limits of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Throttles {
    load: Option<Band>,
    full: Option<Band>,
    pressure: Vec<(Resource, Band)>,
    last: Readings,
}

/// The figures. `None` means that a figure could not be read, or is not needed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Readings {
    /// The load of this machine over the last minute.
    pub load: Option<f64>,
    /// How full the destination is, in per cent.
    pub full: Option<f64>,
    /// In how much of the last ten seconds programs waited, in per cent, in the order of [`Resource::ALL`].
    pub pressure: [Option<f64>; 3],
}

impl Throttles {
    /// Sets `--max-load LOAD[:LOAD]`.
    ///
    /// # Errors
    /// The text is not a valid pair.
    pub fn set_load(&mut self, text: &str) -> Result<()> {
        let band = Band::parse(text, 1e6, |high| high * USUAL_PART);
        self.load = Some(band.ok_or_else(|| {
            Error::usage(format!("--max-load: not a load: '{text}'"))
                .remedy("write the load at which the run pauses, and a lower one at which it continues: 8 or 8:6")
        })?);
        Ok(())
    }

    /// Sets `--max-dest-full PERCENT[:PERCENT]`.
    ///
    /// # Errors
    /// The text is not a valid pair.
    pub fn set_full(&mut self, text: &str) -> Result<()> {
        let band = Band::parse(text, 100.0, |high| (high - USUAL_GAP).max(high / 2.0));
        self.full = Some(band.ok_or_else(|| {
            Error::usage(format!("--max-dest-full: not a percentage: '{text}'"))
                .remedy("write how full DEST is when the run pauses, and when it continues: 90 or 90:80")
        })?);
        Ok(())
    }

    /// Sets `--max-pressure RESOURCE=PERCENT[:PERCENT],...`.
    ///
    /// # Errors
    /// The text is not a valid list.
    pub fn set_pressure(&mut self, text: &str) -> Result<()> {
        let wrong = |part: &str| {
            Error::usage(format!("--max-pressure: not a pressure: '{part}'"))
                .remedy("write cpu, io or memory and the percentages of time at which the run pauses and continues: io=40 or io=40:20,cpu=80")
        };
        self.pressure.clear();
        for part in text.split(',') {
            let (name, band) = part.split_once('=').ok_or_else(|| wrong(part))?;
            let resource = Resource::ALL.into_iter().find(|resource| resource.name() == name);
            let band = Band::parse(band, 100.0, |high| high * USUAL_PART);
            let (Some(resource), Some(band)) = (resource, band) else { return Err(wrong(part)) };
            if self.pressure.iter().any(|(other, _)| *other == resource) {
                return Err(wrong(part).because(io::Error::other("it is given twice")));
            }
            self.pressure.push((resource, band));
        }
        Ok(())
    }

    /// Whether there are no limits.
    pub fn is_empty(&self) -> bool {
        self.load.is_none() && self.full.is_none() && self.pressure.is_empty()
    }

    /// Whether it has to be determined how full the destination is.
    pub fn looks_at_destination(&self) -> bool {
        self.full.is_some()
    }

    /// The first option that concerns this machine.
    pub fn looks_at_this_machine(&self) -> Option<&'static str> {
        let load = self.load.is_some().then_some("--max-load");
        load.or((!self.pressure.is_empty()).then_some("--max-pressure"))
    }

    /// Checks that the system reports the figures for the limits.
    ///
    /// # Errors
    /// It does not report one of them.
    pub fn check(&self) -> Result<()> {
        let unread = |name: &str, path: &str| {
            Error::usage(format!("{name}: this system does not report it in {path}"))
                .remedy(format!("leave {name} out"))
        };
        if self.load.is_some() && load().is_none() {
            return Err(unread("--max-load", LOAD));
        }
        match self.pressure.iter().find(|(resource, _)| pressure(*resource).is_none()) {
            Some((resource, _)) => Err(unread("--max-pressure", &resource.path())),
            None => Ok(()),
        }
    }

    /// Reads the figures of this machine that are needed. This does not block.
    pub fn read(&self, full: Option<f64>) -> Readings {
        let mut readings = Readings { full, ..Readings::default() };
        if self.load.is_some() {
            readings.load = load();
        }
        for (resource, _) in &self.pressure {
            readings.pressure[*resource as usize] = pressure(*resource);
        }
        readings
    }

    /// Why the run pauses, if it does.
    pub(super) fn judge(&mut self, readings: &Readings) -> Vec<Why> {
        let Readings { load, full, pressure } = *readings;
        let last = &mut self.last;
        last.load = load.or(last.load);
        last.full = full.or(last.full);
        let mut why = Vec::new();
        if self.load.as_mut().is_some_and(|band| band.judge(load)) {
            why.push(Why::Load { load: last.load.unwrap_or_default() });
        }
        if self.full.as_mut().is_some_and(|band| band.judge(full)) {
            why.push(Why::DestinationFull { percent: last.full.unwrap_or_default() });
        }
        for (resource, band) in &mut self.pressure {
            let (now, last) = (pressure[*resource as usize], &mut last.pressure[*resource as usize]);
            *last = now.or(*last);
            if band.judge(now) {
                why.push(Why::Pressure { resource: *resource, percent: last.unwrap_or_default() });
            }
        }
        why
    }
}

impl fmt::Display for Throttles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = self.load.iter().map(|band| format!("load {band}"));
        let full = self.full.iter().map(|band| format!("destination {band} %"));
        let pressure = self.pressure.iter().map(|(resource, band)| format!("{resource} pressure {band} %"));
        f.write_str(&load.chain(full).chain(pressure).collect::<Vec<_>>().join(", "))
    }
}

const LOAD: &str = "/proc/loadavg";

fn load() -> Option<f64> {
    fs::read_to_string(LOAD).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

fn pressure(resource: Resource) -> Option<f64> {
    waited(&fs::read_to_string(resource.path()).ok()?)
}

/// The figure in the line about the time in which some programs waited.
fn waited(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

/// How full the file system of a path is, in per cent, as df(1) computes it: of its blocks or its inodes, whichever is more. This may hang with the file
/// system.
pub fn percent_full(path: &Path) -> Option<f64> {
    let there = path.ancestors().find(|dir| dir.symlink_metadata().is_ok())?;
    let found = rustix::fs::statvfs(there).ok()?;
    Some(percent_of(found.f_blocks, found.f_bfree, found.f_bavail).max(percent_of(
        found.f_files,
        found.f_ffree,
        found.f_favail,
    )))
}

/// Space that is reserved for root counts neither as free nor as existing.
fn percent_of(all: u64, free: u64, available: u64) -> f64 {
    let taken = all.saturating_sub(free);
    let usable = taken.saturating_add(available);
    if usable == 0 { 0.0 } else { taken as f64 * 100.0 / usable as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_pauses_at_one_limit_and_goes_on_at_the_other() {
        let mut throttles = Throttles::default();
        throttles.set_full("90:80").unwrap();
        let mut at = |full| !throttles.judge(&Readings { full, ..Readings::default() }).is_empty();
        assert!(!at(Some(89.9)) && at(Some(90.0)) && at(Some(85.0)) && at(None) && at(Some(80.1)));
        assert!(!at(Some(80.0)) && !at(Some(89.0)) && !at(None) && at(Some(100.0)));
    }

    #[test]
    fn each_reason_is_told_with_its_figure() {
        let mut throttles = Throttles::default();
        throttles.set_load("4").unwrap();
        throttles.set_pressure("io=40:20,cpu=80").unwrap();
        let mut readings = Readings { load: Some(4.5), pressure: [Some(79.0), Some(50.0), None], full: None };
        let why = [Why::Load { load: 4.5 }, Why::Pressure { resource: Resource::Io, percent: 50.0 }];
        assert_eq!(throttles.judge(&readings), why);
        readings.load = Some(3.2);
        assert_eq!(throttles.judge(&readings), why[1..]);
        readings.pressure[1] = Some(20.0);
        assert_eq!(throttles.judge(&readings), []);
        assert_eq!(throttles.to_string(), "load 4:3.2, io pressure 40:20 %, cpu pressure 80:64 %");
    }

    #[test]
    fn limits_that_are_none_are_refused() {
        for text in ["", "x", "0", "-1", "80:90", "90:90", "101", "inf", "nan", "1e1", "90:", ":80", "90:80:70", "90%"]
        {
            assert!(Throttles::default().set_full(text).is_err(), "{text}");
        }
        for text in ["", "40", "io", "io=", "disk=40", "io=40,io=50", "io=40,", "io=101"] {
            assert!(Throttles::default().set_pressure(text).is_err(), "{text}");
        }
        for text in ["", "0", "-1", "1:2", "1e3"] {
            assert!(Throttles::default().set_load(text).is_err(), "{text}");
        }
        Throttles::default().set_load("0.5").unwrap();
    }

    #[test]
    fn figures_of_the_system_are_read() {
        assert!(load().is_some());
        assert_eq!(
            waited("some avg10=12.50 avg60=1.00 avg300=0.00 total=5\nfull avg10=3.00 avg60=0 avg300=0 total=1\n"),
            Some(12.5)
        );
        let full = percent_full(Path::new("/nonexistent/a/b")).unwrap();
        assert!((0.0..=100.0).contains(&full), "{full}");
        assert_eq!((percent_of(100, 50, 40) * 10.0).round(), 556.0);
        assert_eq!(percent_of(0, 0, 0), 0.0);
    }
}
