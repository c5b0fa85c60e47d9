use super::*;
use crate::scan::Weight;
use proptest::prelude::*;
use std::collections::BTreeMap;

const RUN: &str = "a run";

fn bucket(id: u64) -> Record {
    Record::Bucket { b: (id, 10 + id, 100, 3, 40, 1, false, false), content: Some((16, 77 + id)) }
}

fn some_records() -> Vec<Record> {
    let name = |text: &str| Name::Text(text.into());
    vec![
        Record::Spine(SpineRecord {
            argument: Some(Name::new(b"./\xff\n".to_vec())),
            identity: (1, 2),
            locked: false,
            mount_point: false,
            exposed: true,
        }),
        bucket(0),
        bucket(1),
        Record::Started { launch: 0, buckets: vec![0] },
        bucket(2),
        Record::Done { launch: 0, code: 0, sender_failed: false, again: false, buckets: vec![0] },
        Record::Started { launch: 1, buckets: vec![1, 2] },
        Record::Scanned { entries: 33, bytes: 300 },
        Record::Failed {
            phase: "copy".into(),
            code: 23,
            buckets: vec![1, 2],
            names: vec![(name("f"), name("no \"f\""))],
        },
        Record::Done { launch: 1, code: 23, sender_failed: true, again: false, buckets: vec![1, 2] },
        Record::Finished { code: 23 },
    ]
}

/// A journal that contains the first `count` records.
fn written(dir: &Path, count: usize) -> Journal {
    let (mut journal, _) = Journal::open(dir, RUN).unwrap();
    for record in some_records().iter().take(count) {
        journal.append(record).unwrap();
    }
    journal.sync().unwrap();
    journal
}

fn all(dir: &Path) -> Journal {
    written(dir, usize::MAX)
}

/// What these records say.
fn expected(count: usize) -> State {
    let (mut state, mut at, mut last) = (State::default(), 0, 0);
    let begun = Record::Begun { version: VERSION, run: RUN.into() };
    for record in std::iter::once(begun).chain(some_records().into_iter().take(count)) {
        let length = line::write(&record, &mut last).len() as u64;
        state.take(record, at);
        at += length;
    }
    state
}

fn state(dir: &Path) -> State {
    match Read::from(dir).unwrap() {
        Read::Whole { state, .. } => state,
        damaged => panic!("{damaged:?}"),
    }
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    drop(all(dir.path()));
    let read = state(dir.path());
    assert_eq!(read, expected(usize::MAX));
    assert_eq!(read.done, BTreeMap::from([(0, 0), (1, 23), (2, 23)]));
    assert_eq!(read.spine[0].argument.clone().unwrap().into_bytes(), b"./\xff\n");
    assert_eq!((read.scanned, read.launches, read.begun), (Some(Weight { entries: 33, bytes: 300 }), 2, 1));
    assert!(read.sender_failed && read.started.is_empty() && read.finished == Some(23));
    assert_eq!(read.done_weight(), Weight { entries: 33, bytes: 300 });
    let [batch] = &read.failures.read(&dir.path().join(JOURNAL)).map(|batch| batch.unwrap()).collect::<Vec<_>>()[..]
    else {
        panic!()
    };
    assert_eq!((read.failures.count(), batch.names.len(), batch.code), (1, 1, 23));
    // A journal accepts the next part of the same run, but not another run.
    drop(Journal::open(dir.path(), RUN).unwrap());
    let again = state(dir.path());
    assert_eq!((again.begun, again.finished, again.done.len(), again.spine.len()), (2, None, 3, 1));
    let other = Journal::open(dir.path(), "another run").unwrap_err().to_string();
    assert!(other.contains("another run"), "{other}");
}

#[test]
fn cut_anywhere_it_never_says_more_than_was_written() {
    let dir = tempfile::tempdir().unwrap();
    drop(all(dir.path()));
    let whole = std::fs::read(dir.path().join(JOURNAL)).unwrap();
    for cut in 0..=whole.len() {
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join(JOURNAL), &whole[..cut]).unwrap();
        // Exactly the records with complete lines are read.
        let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
        let known = if lines == 0 { State::default() } else { expected(lines - 1) };
        assert_eq!(state(other.path()), known, "cut at {cut}");
        // The journal can be continued.
        let (mut journal, before) = Journal::open(other.path(), RUN).unwrap();
        assert_eq!(*before.state(), known);
        journal.append(&bucket(77)).unwrap();
        journal.flush().unwrap();
        assert!(state(other.path()).buckets.contains_key(&77), "cut at {cut}");
    }
}

#[test]
fn a_newer_journal_is_refused_and_a_missing_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Read::from(dir.path()).unwrap_err().to_string().contains("journal.jsonl"));
    let mut journal = written(dir.path(), 0);
    journal.append(&Record::Begun { version: VERSION + 1, run: RUN.into() }).unwrap();
    journal.flush().unwrap();
    assert!(Read::from(dir.path()).unwrap_err().to_string().contains("newer"));
    assert!(Journal::open(dir.path(), RUN).is_err());
}

proptest! {
    #[test]
    fn a_changed_byte_is_noticed(at in any::<prop::sample::Index>(), by in 1u8..) {
        let dir = tempfile::tempdir().unwrap();
        drop(all(dir.path()));
        let path = dir.path().join(JOURNAL);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        // Everything before this line is read, but nothing of the line or after it.
        let before = bytes[..at].iter().filter(|byte| **byte == b'\n').count();
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        bytes[at] ^= by;
        std::fs::write(&path, &bytes).unwrap();
        let read = Read::from(dir.path()).unwrap();
        let known = if before == 0 { State::default() } else { expected(before - 1) };
        prop_assert_eq!(read.state(), &known);
        // Only damage near the end may look like an incomplete last line. A lost line break turns two lines into one.
        let is_damaged = matches!(read, Read::Damaged { line, .. } if line as usize == before + 1);
        prop_assert!(is_damaged || before + 4 > lines, "line {before} of {lines}: {read:?}");
    }
}

#[test]
fn lines_that_are_missing_or_elsewhere_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    drop(all(dir.path()));
    let path = dir.path().join(JOURNAL);
    let text = std::fs::read(&path).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    for at in 0..lines.len() - 3 {
        let mut without = lines.clone();
        without.remove(at);
        let mut exchanged = lines.clone();
        exchanged.swap(at, at + 1);
        let mut twice = lines.clone();
        twice.insert(at, lines[at]);
        for (how, damaged) in [("without", without), ("exchanged", exchanged), ("twice", twice)] {
            std::fs::write(&path, damaged.concat()).unwrap();
            let read = Read::from(dir.path()).unwrap();
            assert!(matches!(read, Read::Damaged { .. }), "{how} {at}: {read:?}");
        }
    }
    // The damaged journal is renamed, and nothing in it counts.
    let (_, before) = Journal::open(dir.path(), RUN).unwrap();
    assert!(matches!(before, Read::Damaged { .. }) && dir.path().join(DAMAGED_JOURNAL).exists());
    assert_eq!(state(dir.path()), expected(0));
}

#[test]
fn bytes_come_back() {
    for bytes in [&b"text"[..], b"\xff\x00", "\u{e4}".as_bytes(), b""] {
        let json = serde_json::to_string(&Name::new(bytes.to_vec())).unwrap();
        assert_eq!(serde_json::from_str::<Name>(&json).unwrap().into_bytes(), bytes);
    }
}

#[test]
fn the_end_of_a_journal_tells_whether_the_run_came_to_its_own() {
    let dir = tempfile::tempdir().unwrap();
    assert!(finished(dir.path()).is_err());
    let path = dir.path().join(JOURNAL);
    let mut journal = written(dir.path(), 10);
    assert_eq!(finished(dir.path()).unwrap(), None);
    journal.append(&Record::Finished { code: 23 }).unwrap();
    journal.sync().unwrap();
    assert_eq!(finished(dir.path()).unwrap(), Some(23));
    let whole = fs::read(&path).unwrap();
    // A last line that is incomplete or changed is not the end of the run.
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in last..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        assert_eq!(finished(dir.path()).unwrap(), None, "{end} of {}", whole.len());
        let mut changed = whole.clone();
        changed[end] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert_eq!(finished(dir.path()).unwrap(), None, "byte {end}");
    }
    // The run continues, with a line that is longer than what is read at once.
    fs::write(&path, &whole).unwrap();
    let (mut journal, _) = Journal::open(dir.path(), RUN).unwrap();
    assert_eq!(finished(dir.path()).unwrap(), None);
    journal.append(&Record::Started { launch: 2, buckets: (0..100_000).collect() }).unwrap();
    journal.append(&Record::Finished { code: 0 }).unwrap();
    journal.sync().unwrap();
    assert_eq!(finished(dir.path()).unwrap(), Some(0));
    // There is only one line, or no complete one.
    let begun = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for end in [begun, begun - 1, 0] {
        fs::write(&path, &whole[..end]).unwrap();
        assert_eq!(finished(dir.path()).unwrap(), None);
    }
}

/// The next scan may find fewer split directories than a bucket of this one counts.
#[test]
fn a_bucket_of_an_earlier_scan_waits_for_all_split_directories() {
    let mut state = expected(usize::MAX);
    assert_eq!(state.buckets[&0].spine_before, 1);
    state.take(Record::Unread { text: "x".into(), vanished: false, in_unit: false }, 0);
    state.take(Record::FailedAgain, 0);
    assert!(state.spine.is_empty() && state.scanned.is_none());
    assert_eq!(
        state.buckets.values().map(|bucket| (bucket.id, bucket.spine_before)).collect::<Vec<_>>(),
        [(0, u32::MAX)]
    );
}

/// A directory that could not be read may contain other names of hard-linked files.
#[test]
fn names_that_were_missed_are_known_until_everything_is_scanned_again() {
    let unread = |in_unit| Record::Unread { text: "x".into(), vanished: false, in_unit };
    let begun = || Record::Begun { version: VERSION, run: RUN.into() };
    let done = |code, sender_failed| Record::Done { launch: 0, code, sender_failed, again: false, buckets: vec![0] };
    let everything = || Record::ScanAgain { damaged: vec![0, 1] };
    let after = |records: Vec<Record>| {
        let mut state = State::default();
        [begun(), bucket(0), bucket(1)].into_iter().chain(records).for_each(|record| state.take(record, 0));
        (state.may_miss_links(false), state.may_miss_links(true))
    };
    let scanned = || Record::Scanned { entries: 33, bytes: 300 };
    // Everything was read, or what was not there any more.
    let vanished = Record::Unread { text: "x".into(), vanished: true, in_unit: false };
    assert_eq!(after(vec![scanned(), vanished, done(23, false)]), (false, false));
    // A bucket that is not done contains the directory.
    assert_eq!(after(vec![unread(true), scanned(), done(0, false)]), (true, true));
    // The run ends with 23 in any case: the directory is in no bucket, or in one that is done.
    assert_eq!(after(vec![unread(false), scanned(), done(0, false)]), (false, true));
    assert_eq!(after(vec![scanned(), done(23, true), Record::Finished { code: 23 }]), (false, true));
    // The scan is repeated, and may find names in it.
    assert_eq!(after(vec![unread(false), done(0, false), begun()]), (true, true));
    // The retry was killed at once, or discarded only some buckets.
    assert_eq!(after(vec![scanned(), done(23, true), Record::FailedAgain, begun()]), (true, true));
    let some = Record::ScanAgain { damaged: vec![1] };
    assert_eq!(after(vec![unread(true), scanned(), done(0, false), some]), (true, true));
    // Nothing is left of the earlier scan.
    assert_eq!(after(vec![unread(true), scanned(), done(23, true), everything()]), (false, false));
    assert_eq!(after(vec![scanned(), done(23, true), everything(), Record::FailedAgain, begun()]), (false, false));
    assert_eq!(after(vec![scanned(), done(23, true), everything(), begun(), unread(true)]), (true, true));
    assert_eq!(after(vec![unread(false), scanned(), Record::OneRsync { why: "small".into() }]), (false, false));
}
