use super::*;
use jiff::tz::TimeZone;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn count(number: usize) -> NonZero<usize> {
    NonZero::new(number).unwrap()
}

fn steering(timetable: Option<&str>) -> Steering {
    let timetable = timetable.map(|text| Timetable::parse(text, TimeZone::UTC).unwrap());
    Steering::new(count(8), None, timetable, Throttles::default())
}

fn ask(steering: &mut Steering, now: &str, change: Change) -> Vec<String> {
    steering.change(&change);
    look(steering, now)
}

fn look(steering: &mut Steering, now: &str) -> Vec<String> {
    steering.look(at(now), &Readings::default()).iter().map(Steered::to_string).collect()
}

fn processes(number: usize) -> Change {
    Change { processes: Some(count(number)), ..Change::default() }
}

fn pause(pauses: bool) -> Change {
    Change { pause: Some(pauses), ..Change::default() }
}

#[test]
fn what_is_asked_for_holds_and_is_told_once() {
    let mut steering = steering(None);
    let now = "2026-11-29T10:00:00Z";
    assert_eq!(look(&mut steering, now), [""; 0]);
    assert_eq!(ask(&mut steering, now, processes(2)), ["2 rsyncs at once from now on, as requested"]);
    assert_eq!(ask(&mut steering, now, processes(2)), [""; 0]);
    assert_eq!(look(&mut steering, "2027-01-01T00:00:00Z"), [""; 0]);
    let limit = Change { bandwidth: Some(NonZero::new(2048)), ..Change::default() };
    let told = "bandwidth of all rsyncs that start from now on: 2.0 MiB/s, as requested";
    assert_eq!(ask(&mut steering, now, limit), [told]);
    let none = Change { bandwidth: Some(None), ..Change::default() };
    assert!(ask(&mut steering, now, none)[0].contains("no limit"));
    assert_eq!(steering.wanted().processes, count(2));
}

#[test]
fn the_timetable_takes_over_when_it_changes_next() {
    let mut steering = steering(Some("Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sat pause; else p=16"));
    let friday = |time: &str| format!("2026-11-27T{time}:00Z");
    assert_eq!(look(&mut steering, &friday("07:00")), ["16 rsyncs at once from now on, by the timetable"]);
    assert_eq!(look(&mut steering, &friday("08:00")).len(), 2);
    ask(&mut steering, &friday("09:00"), processes(5));
    assert_eq!(look(&mut steering, &friday("17:59")), [""; 0]);
    assert_eq!(steering.wanted().processes, count(5));
    look(&mut steering, &friday("18:00"));
    assert_eq!((steering.wanted().processes, steering.wanted().bandwidth), (count(16), None));
    assert_eq!(look(&mut steering, "2026-11-28T00:00:00Z")[1..], ["paused: the timetable says so"]);
    // A request to continue holds until the next change; a requested pause stays.
    assert_eq!(ask(&mut steering, "2026-11-28T10:00:00Z", pause(false)), ["continues after a pause"]);
    assert_eq!(ask(&mut steering, "2026-11-28T11:00:00Z", pause(true)).len(), 1);
    look(&mut steering, "2026-11-29T00:00:00Z");
    assert_eq!(steering.wanted().paused, [Why::Request]);
    assert_eq!(ask(&mut steering, "2026-11-29T01:00:00Z", pause(false)), ["continues after a pause"]);
    assert_eq!(look(&mut steering, "2026-12-05T00:00:00Z").last().unwrap(), "paused: the timetable says so");
    // The clock was set back.
    assert_eq!(look(&mut steering, &friday("10:00")).len(), 3);
    let without = Change { timetable: Some(None), ..Change::default() };
    assert_eq!(ask(&mut steering, &friday("10:00"), without)[0], "8 rsyncs at once from now on, as requested");
}

#[test]
fn an_end_ends_all_pauses() {
    let mut throttles = Throttles::default();
    throttles.set_load("1").unwrap();
    let mut steering = Steering::new(count(8), None, None, throttles);
    let high = Readings { load: Some(5.0), ..Readings::default() };
    let now = at("2026-11-29T10:00:00Z");
    assert_eq!(steering.look(now, &high), [Steered::Paused { why: vec![Why::Load { load: 5.0 }] }]);
    steering.change(&pause(true));
    assert_eq!(steering.look(now, &high).len(), 1);
    assert_eq!(steering.look(now, &Readings { load: Some(6.0), ..high }), [], "another figure is no news");
    steering.change(&Change { stop: true, ..Change::default() });
    assert_eq!(steering.look(now, &high), [Steered::Continued, Steered::WindsDown]);
    assert_eq!(steering.look(now, &high), []);
}

#[test]
fn a_request_is_read_whole_or_refused() {
    let text = r#"{"v":1,"processes":"4","bwlimit":"2m","pause":false,"stop":true,"schedule":"none"}"#;
    let change = Change::read(&serde_json::from_str(text).unwrap()).unwrap();
    assert_eq!(change.processes, Some(count(4)));
    assert_eq!((change.bandwidth, change.pause, change.stop), (Some(NonZero::new(2048)), Some(false), true));
    assert_eq!(change.timetable, Some(None));
    assert!(serde_json::from_str::<Request>(r#"{"v":1,"proceses":"4"}"#).is_err());
    for (text, named) in [
        (r#"{"v":2}"#, "version 2"),
        (r#"{"v":1,"processes":"0"}"#, "--processes"),
        (r#"{"v":1,"processes":"auto"}"#, "--processes"),
        (r#"{"v":1,"bwlimit":"quick"}"#, "--bwlimit"),
        (r#"{"v":1,"schedule":"p=2"}"#, "--schedule"),
        (r#"{"v":1,"pause":true,"stop":true}"#, "--pause and --stop"),
    ] {
        let error = Change::read(&serde_json::from_str(text).unwrap()).expect_err(text).to_string();
        assert!(error.contains(named), "{error}");
    }
    assert!(Change::read(&Request::new(None, None, None, false, None)).unwrap().is_nothing());
}
