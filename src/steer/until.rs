//! When a run must have ended: at a time of day, at a date, or after a duration.

use std::time::{Duration, SystemTime};

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, ZonedDateTime};

use crate::error::{Error, Result};

/// Reads `18:30` (the next time that the local clock shows it), `2026-12-24T06:00`, a time with its zone, or `@SECONDS` since 1970.
///
/// # Errors
/// It is not a time, or the time is over.
pub fn at(text: &str, now: SystemTime) -> Result<SystemTime> {
    let begins = Timestamp::try_from(now).map(|now| ZonedDateTime::new(now, TimeZone::system()));
    let found = begins.ok().and_then(|now| read(text, &now)).ok_or_else(|| {
        Error::usage(format!("not a time: {text}")).remedy("write HH:MM, YYYY-MM-DDTHH:MM, or @SECONDS since 1970")
    })?;
    let since = Duration::from_secs(found.as_second().try_into().unwrap_or(0));
    let end = SystemTime::UNIX_EPOCH + since;
    if end <= now {
        return Err(Error::usage(format!("this time is in the past: {text}")).remedy("give a time in the future"));
    }
    Ok(end)
}

fn read(text: &str, now: &ZonedDateTime) -> Option<Timestamp> {
    if let Some(seconds) = text.strip_prefix('@') {
        return Timestamp::from_second(seconds.parse().ok()?).ok();
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let local = |time: DateTime| now.time_zone().to_timestamp(time).ok();
    // Without this check, a date alone would be read as its midnight.
    if text.contains('T') || text.contains(' ') {
        return local(text.parse().ok()?);
    }
    let time: Time = text.parse().ok()?;
    let today = local(now.date().to_datetime(time))?;
    if today > now.timestamp() {
        return Some(today);
    }
    local(now.date().checked_add(1.day()).ok()?.to_datetime(time))
}

/// Reads `90m`, `1h 30m`, `2d`, or a number of seconds.
///
/// # Errors
/// It is not a duration, or it is zero.
pub fn after(text: &str, now: SystemTime) -> Result<SystemTime> {
    const DAY: u64 = 24 * 60 * 60;
    let days = |text: &str| text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()?.checked_mul(DAY));
    let seconds = text.parse::<u64>().ok().or_else(|| days(text)).or_else(|| {
        let length: SignedDuration = text.parse().ok()?;
        length.as_secs().try_into().ok()
    });
    let end = seconds.filter(|seconds| *seconds > 0).and_then(|seconds| now.checked_add(Duration::from_secs(seconds)));
    end.ok_or_else(|| Error::usage(format!("not a length of time: {text}")).remedy("write 90m, 1h30m, 2d, or seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_or_a_length() {
        let now: ZonedDateTime = "2026-11-29T15:00[Europe/Berlin]".parse().unwrap();
        let shown = |text: &str| {
            read(text, &now).map(|time| ZonedDateTime::new(time, now.time_zone().clone()).datetime().to_string())
        };
        for (text, expected) in [
            ("18:30", Some("2026-11-29T18:30:00")),
            ("09:00", Some("2026-11-30T09:00:00")),
            ("2026-12-24T06:00", Some("2026-12-24T06:00:00")),
            ("2026-12-24 06:00:30", Some("2026-12-24T06:00:30")),
            ("2026-12-24T06:00Z", Some("2026-12-24T07:00:00")),
            ("@0", Some("1970-01-01T01:00:00")),
            ("noon", None),
            ("25:00", None),
            ("@x", None),
            ("", None),
        ] {
            assert_eq!(shown(text).as_deref(), expected, "{text}");
        }
        let start = SystemTime::UNIX_EPOCH;
        let seconds = |text: &str| after(text, start).ok().map(|end| end.duration_since(start).unwrap().as_secs());
        for (text, expected) in [
            ("90", Some(90)),
            ("90m", Some(5400)),
            ("1h30m", Some(5400)),
            ("1h 30m", Some(5400)),
            ("2d", Some(172_800)),
            ("999999999999999999d", None),
            ("0", None),
            ("-5m", None),
            ("x", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        assert!(at("@5", SystemTime::now()).unwrap_err().to_string().contains("is in the past"));
    }
}
