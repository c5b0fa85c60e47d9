//! A timetable: which settings apply at which time of the week (`--schedule`).
//!
//! `Mon-Fri 08:00-18:00 p=2,bwlimit=50M; else p=16`: rules separated by `;`, of which the first that applies is used. A rule has days, times, or both, and
//! settings: `p=N`, `bwlimit=RATE` (as rsync reads it, or `none`), `pause`. `else` stands for all other times, and comes last. A time that ends before it
//! begins continues into the next day, and belongs to the day on which it begins.
//!
//! Times are local times of the machine of the run. When clocks change, a rule that begins at 02:30 on a day without this time begins at 03:30, and a rule
//! that begins at 01:30 on a day that has this time twice begins at the first, and lasts until its end without a break.

use std::num::NonZero;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};

use crate::error::{Error, Result};
use crate::rsync::bandwidth::kib_per_second;
use crate::size::parse_count;

const EXAMPLE: &str = "write rules such as 'Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sat,Sun 22:00-06:00 pause; else p=16'";
const DAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];
/// The minutes of a day.
const DAY: u16 = 24 * 60;
/// The rules repeat after this number of days at the latest.
const WEEK: i32 = 8;

/// The settings of a rule. `None` leaves a setting as it is without the rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Setting {
    pub processes: Option<NonZero<usize>>,
    /// In KiB a second; the inner `None` means no limit.
    pub bandwidth: Option<Option<NonZero<u64>>>,
    pub pause: bool,
}

impl Setting {
    /// Adds the settings of `other` that this one does not have.
    pub fn or(self, other: Setting) -> Setting {
        Setting {
            processes: self.processes.or(other.processes),
            bandwidth: self.bandwidth.or(other.bandwidth),
            pause: self.pause || other.pause,
        }
    }
}

/// Which settings apply when.
#[derive(Debug, Clone)]
pub struct Timetable {
    text: String,
    rules: Vec<Rule>,
    zone: TimeZone,
}

impl PartialEq for Timetable {
    fn eq(&self, other: &Timetable) -> bool {
        self.text == other.text
    }
}

/// A rule of a timetable.
#[derive(Debug, Clone)]
struct Rule {
    /// The days, beginning with Monday.
    days: [bool; 7],
    /// In minutes after midnight. An end that is not after its beginning is on the next day.
    times: Vec<(u16, u16)>,
    setting: Setting,
}

impl Timetable {
    /// Reads a timetable with times of this time zone.
    ///
    /// # Errors
    /// It is not valid; the message names the part that is not understood.
    pub(crate) fn parse(text: &str, zone: TimeZone) -> Result<Timetable> {
        let mut rules = Vec::new();
        let mut ends = false;
        for piece in text.split(';').map(str::trim).filter(|piece| !piece.is_empty()) {
            if ends {
                return Err(wrong(piece, "nothing can come after `else`"));
            }
            let (rule, is_last) = Rule::parse(piece)?;
            ends = is_last;
            rules.push(rule);
        }
        if rules.is_empty() {
            return Err(Error::usage("a timetable without a rule").remedy(EXAMPLE));
        }
        Ok(Timetable { text: text.trim().to_owned(), rules, zone })
    }

    /// Reads a timetable in the time zone of this machine, or of `TZ`.
    ///
    /// # Errors
    /// As [`Timetable::parse`]; or the time zone is unknown.
    pub fn of_this_machine(text: &str) -> Result<Timetable> {
        let zone = TimeZone::try_system().map_err(|cause| {
            Error::usage("the time zone of this machine is not known")
                .because(cause)
                .remedy("set TZ, such as TZ=Europe/Berlin")
        })?;
        Timetable::parse(text, zone)
    }

    /// The timetable as it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether a rule sets the bandwidth.
    pub fn sets_bandwidth(&self) -> bool {
        self.rules.iter().any(|rule| rule.setting.bandwidth.is_some())
    }

    /// The most rsyncs that a rule sets.
    pub fn most_processes(&self) -> Option<NonZero<usize>> {
        self.rules.iter().filter_map(|rule| rule.setting.processes).max()
    }

    /// The settings that apply at this moment.
    pub(crate) fn at(&self, now: Timestamp) -> Setting {
        let today = self.today(now);
        let applies = |rule: &&Rule| {
            let days = (-1..=1).filter_map(|days| shifted(today, days));
            days.flat_map(|date| self.moments(rule, date)).any(|(from, to)| from <= now && now < to)
        };
        self.rules.iter().find(applies).map_or(Setting::default(), |rule| rule.setting)
    }

    /// When the settings change next.
    pub(crate) fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let (today, current) = (self.today(now), self.at(now));
        let mut bounds: Vec<Timestamp> = (-1..=WEEK)
            .filter_map(|days| shifted(today, days))
            .flat_map(|date| self.rules.iter().flat_map(move |rule| self.moments(rule, date)))
            .flat_map(|(from, to)| [from, to])
            .filter(|bound| *bound > now)
            .collect();
        bounds.sort_unstable();
        bounds.dedup();
        bounds.into_iter().find(|bound| self.at(*bound) != current)
    }

    fn today(&self, now: Timestamp) -> Date {
        ZonedDateTime::new(now, self.zone.clone()).date()
    }

    /// The periods of a rule that begin on this day.
    fn moments<'t>(&'t self, rule: &'t Rule, date: Date) -> impl Iterator<Item = (Timestamp, Timestamp)> + 't {
        let is_day = rule.days[date.weekday().to_monday_zero_offset() as usize];
        rule.times.iter().filter(move |_| is_day).filter_map(move |(from, to)| {
            let next = if to <= from { shifted(date, 1)? } else { date };
            Some((self.moment(date, *from)?, self.moment(next, *to)?))
        })
    }

    fn moment(&self, date: Date, minute: u16) -> Option<Timestamp> {
        let date = if minute == DAY { shifted(date, 1)? } else { date };
        let minute = minute % DAY;
        let time = Time::new((minute / 60) as i8, (minute % 60) as i8, 0, 0).ok()?;
        self.zone.to_timestamp(DateTime::from_parts(date, time)).ok()
    }
}

fn shifted(date: Date, days: i32) -> Option<Date> {
    date.checked_add(Span::new().days(days)).ok()
}

impl Rule {
    /// Reads a rule. Also returns whether it must be the last one.
    fn parse(piece: &str) -> Result<(Rule, bool)> {
        let (mut days, mut times, mut setting, mut set, mut is_last) =
            (None, None, Setting::default(), Vec::new(), false);
        for word in piece.split_whitespace() {
            let twice = |name: &str| wrong(piece, &format!("{name} are given twice"));
            if word == "else" {
                is_last = true;
            } else if word.starts_with(|c: char| c.is_ascii_digit()) {
                if times.replace(parse_times(word, piece)?).is_some() {
                    return Err(twice("times"));
                }
            } else if let Some(found) = parse_days(word, piece)? {
                if days.replace(found).is_some() {
                    return Err(twice("days"));
                }
            } else {
                for part in word.split(',').filter(|part| !part.is_empty()) {
                    let name = part.split('=').next().unwrap_or_default().to_owned();
                    if set.contains(&name) {
                        return Err(wrong(piece, &format!("{name} is given twice")));
                    }
                    set_one(&mut setting, part, piece)?;
                    set.push(name);
                }
            }
        }
        match (is_last, days.is_some() || times.is_some()) {
            (true, true) => return Err(wrong(piece, "`else` has no days and no times")),
            (false, false) => return Err(wrong(piece, "there are neither days nor times")),
            _ => {}
        }
        if set.is_empty() {
            return Err(wrong(piece, "it sets nothing"));
        }
        let rule = Rule { days: days.unwrap_or([true; 7]), times: times.unwrap_or(vec![(0, DAY)]), setting };
        Ok((rule, is_last))
    }
}

fn set_one(setting: &mut Setting, part: &str, piece: &str) -> Result<()> {
    match part.split_once('=') {
        Some(("p" | "processes", "0")) => {
            return Err(wrong(piece, "no rsync at all is a pause: write `pause`"));
        }
        Some(("p" | "processes", count)) => {
            let count = parse_count(count.as_ref()).map_err(|error| wrong(piece, &error.to_string()))?;
            setting.processes = Some(count);
        }
        Some(("bwlimit", rate)) => {
            let kib = bandwidth(rate).ok_or_else(|| wrong(piece, &format!("'{rate}' is not a bandwidth")))?;
            setting.bandwidth = Some(kib);
        }
        None if part == "pause" => setting.pause = true,
        _ => return Err(wrong(piece, &format!("'{part}' is not known"))),
    }
    Ok(())
}

/// A bandwidth in KiB a second, as rsync reads it. The inner `None` means no limit: `none`, or 0.
pub(super) fn bandwidth(text: &str) -> Option<Option<NonZero<u64>>> {
    if text == "none" { Some(None) } else { kib_per_second(text).map(NonZero::new) }
}

/// `None` if the word is not about days.
fn parse_days(word: &str, piece: &str) -> Result<Option<[bool; 7]>> {
    let mut days = [false; 7];
    for (nth, part) in word.split(',').enumerate() {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (Some(from), Some(to)) = (day(from), day(to)) else {
            return if nth == 0 && day(from).is_none() {
                Ok(None)
            } else {
                Err(wrong(piece, &format!("'{part}' is not a day")))
            };
        };
        let length = (to + 7 - from) % 7;
        (from..=from + length).for_each(|day| days[day % 7] = true);
    }
    Ok(Some(days))
}

/// The number of a day, beginning with Monday, by its name or its first three letters.
fn day(name: &str) -> Option<usize> {
    let name = name.to_ascii_lowercase();
    let found = DAYS.iter().find(|(long, _)| *long == name || long[..3] == name)?;
    Some(found.1.to_monday_zero_offset() as usize)
}

fn parse_times(word: &str, piece: &str) -> Result<Vec<(u16, u16)>> {
    let one = |part: &str| {
        let (from, to) = part.split_once('-')?;
        let (from, to) = (minute(from)?, minute(to)?);
        (from < DAY && from != to).then_some((from, to))
    };
    let times = word.split(',').map(|part| {
        one(part).ok_or_else(|| {
            wrong(piece, &format!("'{part}' is not a time: write HH:MM-HH:MM, or 00:00-24:00 for the whole day"))
        })
    });
    times.collect()
}

fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() <= 2 && !text.starts_with('+'));
    let (hours, minutes) = (number(hours)?, number(minutes).filter(|_| minutes.len() == 2)?);
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= DAY).then_some(all)
}

fn wrong(piece: &str, why: &str) -> Error {
    Error::usage(format!("not a rule of a timetable: '{piece}': {why}")).remedy(EXAMPLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        // The same rules, for systems without time zone files.
        let posix = match name {
            "America/New_York" => "EST5EDT,M3.2.0,M11.1.0",
            "Europe/Berlin" => "CET-1CEST,M3.5.0,M10.5.0/3",
            _ => "UTC0",
        };
        TimeZone::get(name).unwrap_or_else(|_| TimeZone::posix(posix).unwrap())
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn processes(table: &Timetable, moment: &str) -> usize {
        table.at(at(moment)).processes.map_or(0, NonZero::get)
    }

    #[test]
    fn the_first_rule_that_applies_counts() {
        let text = "Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sat 22:00-06:00 p=3; Sun pause; else p=16 bwlimit=none";
        let table = Timetable::parse(text, zone("UTC")).unwrap();
        for (moment, count) in [
            ("2026-11-27T07:59:59Z", 16),
            ("2026-11-27T08:00:00Z", 2),
            ("2026-11-27T17:59:59Z", 2),
            ("2026-11-27T18:00:00Z", 16),
            ("2026-11-28T12:00:00Z", 16),
            ("2026-11-28T22:00:00Z", 3),
            // Sunday morning belongs to Saturday night.
            ("2026-11-29T05:59:59Z", 3),
            ("2026-11-29T06:00:00Z", 0),
            ("2026-11-30T00:00:00Z", 16),
        ] {
            assert_eq!(processes(&table, moment), count, "{moment}");
        }
        let monday = table.at(at("2026-11-30T10:00:00Z"));
        assert_eq!(monday.bandwidth, Some(NonZero::new(50 << 10)));
        assert_eq!(table.at(at("2026-11-30T20:00:00Z")).bandwidth, Some(None));
        assert!(table.at(at("2026-11-29T12:00:00Z")).pause);
        let changes = |from: &str| table.next_change(at(from)).map(|moment| moment.to_string()).unwrap();
        assert_eq!(changes("2026-11-27T10:00:00Z"), "2026-11-27T18:00:00Z");
        assert_eq!(changes("2026-11-27T18:00:00Z"), "2026-11-28T22:00:00Z");
        assert_eq!(changes("2026-11-29T06:00:00Z"), "2026-11-30T00:00:00Z");
        assert_eq!(Timetable::parse("Mon-Sun p=4", zone("UTC")).unwrap().next_change(at("2026-11-29T06:00:00Z")), None);
    }

    /// The settings just before and just after each change after `from`, as local times.
    fn changes(table: &Timetable, from: &str, count: usize) -> Vec<(String, usize)> {
        let mut now = at(from);
        (0..count)
            .map(|_| {
                now = table.next_change(now).expect("it changes");
                let local = ZonedDateTime::new(now, table.zone.clone());
                (local.strftime("%d %H:%M %:z").to_string(), table.at(now).processes.map_or(0, NonZero::get))
            })
            .collect()
    }

    fn expect(found: Vec<(String, usize)>, expected: &[(&str, usize)]) {
        let found: Vec<(&str, usize)> = found.iter().map(|(text, count)| (&text[..], *count)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_clock_is_put_forward_in_new_york_and_berlin() {
        let table = |name: &str| Timetable::parse("00:30-02:30 p=1; 02:30-05:00 p=2; else p=9", zone(name)).unwrap();
        // On 2026-03-08, 02:00 EST is 03:00 EDT.
        expect(
            changes(&table("America/New_York"), "2026-03-07T12:00:00-05:00", 6),
            &[
                ("08 00:30 -05:00", 1),
                ("08 03:30 -04:00", 2),
                ("08 05:00 -04:00", 9),
                ("09 00:30 -04:00", 1),
                ("09 02:30 -04:00", 2),
                ("09 05:00 -04:00", 9),
            ],
        );
        // On 2026-03-29, 02:00 CET is 03:00 CEST.
        expect(
            changes(&table("Europe/Berlin"), "2026-03-28T12:00:00+01:00", 3),
            &[("29 00:30 +01:00", 1), ("29 03:30 +02:00", 2), ("29 05:00 +02:00", 9)],
        );
    }

    #[test]
    fn the_clock_is_put_back_in_new_york_and_berlin() {
        let table = |name: &str| Timetable::parse("01:30-02:30 p=1; 02:30-05:00 p=2; else p=9", zone(name)).unwrap();
        // On 2026-11-01, 02:00 EDT is 01:00 EST. 01:30 comes twice; a rule that begins then lasts two hours, without a break.
        let york = table("America/New_York");
        expect(
            changes(&york, "2026-10-31T12:00:00-04:00", 4),
            &[("01 01:30 -04:00", 1), ("01 02:30 -05:00", 2), ("01 05:00 -05:00", 9), ("02 01:30 -05:00", 1)],
        );
        assert_eq!(processes(&york, "2026-11-01T01:10:00-05:00"), 1);
        // On 2026-10-25, 03:00 CEST is 02:00 CET. 02:30 comes twice.
        let berlin = table("Europe/Berlin");
        expect(
            changes(&berlin, "2026-10-24T12:00:00+02:00", 3),
            &[("25 01:30 +02:00", 1), ("25 02:30 +02:00", 2), ("25 05:00 +01:00", 9)],
        );
        assert_eq!(processes(&berlin, "2026-10-25T02:10:00+01:00"), 2);
        // This day has 25 hours.
        let day = Timetable::parse("Sun p=3; else p=1", zone("Europe/Berlin")).unwrap();
        expect(changes(&day, "2026-10-24T12:00:00+02:00", 2), &[("25 00:00 +02:00", 3), ("26 00:00 +01:00", 1)]);
    }

    #[test]
    fn what_is_no_timetable_is_refused() {
        for (text, why) in [
            ("", "without a rule"),
            (" ; ", "without a rule"),
            ("p=3", "neither days nor times"),
            ("Mon", "it sets nothing"),
            ("else", "it sets nothing"),
            ("else p=2; Mon p=3", "after `else`"),
            ("Mon else p=2", "no days and no times"),
            ("Mon p=0", "write `pause`"),
            ("Mon p=x", "'x'"),
            ("Mon p=2,p=3", "p is given twice"),
            ("Mon q=2", "'q=2' is not known"),
            ("Mon bwlimit=fast", "'fast' is not a bandwidth"),
            ("Mon-Foo p=2", "'Mon-Foo' is not a day"),
            ("Foo p=2", "'Foo' is not known"),
            ("Mon Tue p=2", "days are given twice"),
            ("8:00-9:00 10:00-11:00 p=2", "times are given twice"),
            ("08:00 p=2", "is not a time"),
            ("08:00-08:00 p=2", "is not a time"),
            ("24:00-08:00 p=2", "is not a time"),
            ("08:00-25:00 p=2", "is not a time"),
            ("08:60-09:00 p=2", "is not a time"),
            ("08:0-09:00 p=2", "is not a time"),
        ] {
            let error = Timetable::parse(text, zone("UTC")).map(drop).expect_err(text);
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
        for text in ["monday-WED 8:00-9:30,23:00-01:00 p=2", "Sat-Mon bwlimit=1.5m,pause", "22:00-24:00 pause;"] {
            Timetable::parse(text, zone("UTC")).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}
