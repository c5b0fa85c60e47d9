//! Checks the journal with a decision table that was written independently: whatever happened in whatever order, the journal reports about a bucket what the
//! last events about it mean. Also, journals of older versions stay readable.

use std::path::Path;

use multi_sync::bucket::Bucket;
use multi_sync::harness::journal::{Journal, Read, Record, State};
use multi_sync::harness::run_dir::Asked;
use multi_sync::scan::Weight;
use proptest::prelude::*;

const BUCKETS: u64 = 6;

#[derive(Debug, Clone, PartialEq)]
enum Happens {
    Begins,
    Writes(u64),
    Starts(Vec<u64>),
    Ends(Vec<u64>, u8),
    ScanIsComplete,
    Finishes(u8),
}

/// What happens to a bucket when the run is resumed.
#[derive(Debug, PartialEq)]
enum Fate {
    /// The journal does not know it.
    Unknown,
    /// It is launched.
    Launched,
    /// It is not launched again.
    Done(u8),
}

/// The table, read from the last event to the first.
fn fate(events: &[Happens], id: u64) -> Fate {
    let scanned_by = |at: usize| events[..at].contains(&Happens::ScanIsComplete);
    for (at, event) in events.iter().enumerate().rev() {
        match event {
            Happens::Ends(ids, code) if ids.contains(&id) => return Fate::Done(*code),
            Happens::Writes(written) if *written == id => {
                // A bucket that is done stays done: it is not written again, and its number is not reused.
                let before = events[..at].iter().rev().find_map(|event| match event {
                    Happens::Ends(ids, code) if ids.contains(&id) => Some(*code),
                    _ => None,
                });
                return before.map_or(Fate::Launched, Fate::Done);
            }
            Happens::Begins if !scanned_by(at) => {
                // The scan begins again, and everything that is not done is packed into other buckets.
                let done = events[..at].iter().rev().find_map(|event| match event {
                    Happens::Ends(ids, code) if ids.contains(&id) => Some(*code),
                    _ => None,
                });
                return done.map_or(Fate::Unknown, Fate::Done);
            }
            _ => {}
        }
    }
    Fate::Unknown
}

fn record(happens: &Happens, launch: u64) -> Record {
    match happens.clone() {
        Happens::Begins => Record::Begun { version: 1, run: String::new() },
        Happens::Writes(id) => Record::Bucket { b: (id, 1 + id, 10, 1, 5, 1, false, false), content: None },
        Happens::Starts(buckets) => Record::Started { launch, buckets },
        Happens::Ends(buckets, code) => Record::Done { launch, code, sender_failed: false, again: false, buckets },
        Happens::ScanIsComplete => Record::Scanned { entries: 9, bytes: 90 },
        Happens::Finishes(code) => Record::Finished { code },
    }
}

fn seen(state: &State, id: u64) -> Fate {
    match (state.done.get(&id), state.buckets.get(&id)) {
        (Some(code), _) => Fate::Done(*code),
        (None, Some(_)) => Fate::Launched,
        (None, None) => Fate::Unknown,
    }
}

fn happens() -> impl Strategy<Value = Happens> {
    let ids = || prop::collection::vec(0..BUCKETS, 1..3);
    prop_oneof![
        1 => Just(Happens::Begins),
        6 => (0..BUCKETS).prop_map(Happens::Writes),
        3 => ids().prop_map(Happens::Starts),
        3 => (ids(), prop::sample::select(vec![0u8, 23, 24, 25])).prop_map(|(ids, code)| Happens::Ends(ids, code)),
        1 => Just(Happens::ScanIsComplete),
        1 => (0u8..30).prop_map(Happens::Finishes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_order_of_events_means_what_the_table_says(events in prop::collection::vec(happens(), 0..40)) {
        let mut state = State::default();
        for (at, event) in events.iter().enumerate() {
            state.take(record(event, at as u64), at as u64);
            let so_far = &events[..=at];
            for id in 0..BUCKETS {
                prop_assert_eq!(seen(&state, id), fate(so_far, id), "bucket {} after {:?}", id, so_far);
            }
            let finished = so_far.iter().rev().find_map(|event| match event {
                Happens::Finishes(code) => Some(Some(*code)),
                Happens::Begins => Some(None),
                _ => None,
            });
            prop_assert_eq!(state.finished, finished.flatten());
            prop_assert_eq!(state.scanned.is_some(), so_far.contains(&Happens::ScanIsComplete));
        }
    }

    /// A journal that was cut off at any place never reports a bucket as done that the complete journal does not.
    #[test]
    fn a_cut_never_makes_a_bucket_done(events in prop::collection::vec(happens(), 1..20), cut in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), "").unwrap();
        for (at, event) in events.iter().enumerate() {
            journal.append(&record(event, at as u64)).unwrap();
        }
        journal.flush().unwrap();
        let file = dir.path().join(multi_sync::harness::run_dir::JOURNAL);
        let whole = std::fs::read(&file).unwrap();
        let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
        let cut = cut.index(whole.len() + 1);
        std::fs::write(&file, &whole[..cut]).unwrap();
        let read = Read::from(dir.path()).unwrap();
        let state = read.state();
        // The first line begins the run.
        let all: Vec<Happens> = std::iter::once(Happens::Begins).chain(events).collect();
        for id in 0..BUCKETS {
            prop_assert_eq!(seen(state, id), fate(&all[..lines(&whole[..cut])], id));
        }
    }
}

#[test]
fn a_run_of_version_1_is_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/run-version-1");
    let asked = Asked::read(&dir).unwrap();
    assert_eq!(asked.words(), ["-p", "2", "-f", "3", "-b", "runs", "src/", "D"]);
    let read = Read::from(&dir).unwrap();
    let state = read.state();
    assert_eq!((state.scanned, state.begun, state.finished), (Some(Weight { entries: 12, bytes: 64 }), 1, None));
    assert_eq!(state.spine.len(), 2);
    assert_eq!(state.done.values().copied().collect::<Vec<_>>(), [0, 23]);
    let left: Vec<&Bucket> = state.buckets.values().filter(|bucket| !state.done.contains_key(&bucket.id)).collect();
    assert_eq!(left.len(), 2);
    // Its buckets have no checksum, and are recognised by their lengths.
    let lengths = state.buckets.values().map(|bucket| (bucket.content.length, bucket.content.sum));
    assert_eq!(lengths.collect::<Vec<_>>(), [(4, None), (18, None), (6, None), (4, None)]);
    assert!(state.started.contains(&left[0].id) || state.started.contains(&left[1].id));
}
