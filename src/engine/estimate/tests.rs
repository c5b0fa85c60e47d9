use super::*;
use crate::cost::Fit;

/// A made-up run: buckets are copied in slots at a true cost, while a scan finds them one after another.
struct Run {
    buckets: Vec<Weight>,
    processes: usize,
    /// The duration of the scan in seconds.
    scan: f64,
    truth: CostModel,
    /// Bytes are moved. Otherwise everything is up to date.
    moves: bool,
    /// The rsyncs report how many entries they have checked.
    tells: bool,
}

/// One look: its time, what was expected, and which part of the scan was done.
struct Seen {
    at: f64,
    outlook: Outlook,
    scanned: f64,
}

impl Run {
    fn new(buckets: Vec<Weight>, truth: CostModel) -> Run {
        Run { buckets, processes: 4, scan: 0.5, truth, moves: true, tells: true }
    }

    /// Simulates the run to its end. Returns all looks, and the time of the end.
    fn looks(&self) -> (Vec<Seen>, f64) {
        const STEP: f64 = 0.2;
        let (mut estimate, mut fit) = (Estimate::default(), Fit::new(CostModel::default()));
        let (mut seen, mut waiting, mut slots) = (Vec::new(), 0, Vec::<(Weight, f64)>::new());
        let (mut ended, mut launches, mut at) = (Weight::default(), 0, 0.0);
        loop {
            let scanned = (at / self.scan).min(1.0);
            let known = (self.buckets.len() as f64 * scanned).floor() as usize;
            let found: Weight = self.buckets[..known].iter().copied().sum();
            slots.retain(|(weight, since)| {
                let takes = self.truth.launch + self.truth.work(*weight);
                let over = at - since >= takes;
                if over {
                    fit.learn(*weight, takes);
                    ended += *weight;
                    launches += 1;
                }
                !over
            });
            while slots.len() < self.processes && waiting < known {
                slots.push((self.buckets[waiting], at));
                waiting += 1;
            }
            if slots.is_empty() && known == self.buckets.len() {
                return (seen, at);
            }
            let flights: Vec<Flight> = slots.iter().map(|(weight, since)| self.flight(*weight, at - since)).collect();
            let left = (self.buckets.iter().map(|bucket| bucket.entries).sum::<u64>() - found.entries) as f64;
            let unfound = Unfound { entries: left, range: (left * 0.7, left * 1.4) };
            let outlook = estimate.look(&Look {
                at: Duration::from_secs_f64(at),
                ended,
                launches,
                flights: &flights,
                found,
                unfound: (scanned < 1.0).then_some(unfound),
                scanned: scanned >= 1.0,
                last_run: None,
                cost: fit.model(),
                processes: self.processes,
            });
            seen.push(Seen { at, outlook, scanned });
            at += STEP;
        }
    }

    fn flight(&self, weight: Weight, age: f64) -> Flight {
        let part = (age / (self.truth.launch + self.truth.work(weight))).min(1.0);
        let of = |all: u64| (all as f64 * part) as u64;
        let bytes = if self.moves { of(weight.bytes) } else { 0 };
        let entries = if self.tells && self.moves { of(weight.entries) } else { 0 };
        let moved = if self.moves { bytes + TALK * (weight.entries + 1) } else { 0 };
        Flight { weight, done: Weight { entries, bytes }, moved, age: Duration::from_secs_f64(age) }
    }
}

/// The error of the end that was expected at this part of a run, as a fraction of the whole time.
fn error(seen: &[Seen], end: f64, part: f64) -> f64 {
    let look = seen.iter().find(|look| look.at >= end * part).expect("a look");
    let left = look.outlook.left.unwrap_or_else(|| panic!("nothing known at {part}"));
    (look.at + left.likely.as_secs_f64() - end).abs() / end
}

fn inside(seen: &[Seen], end: f64) -> f64 {
    let known = seen.iter().filter_map(|look| Some((look.at, look.outlook.left?)));
    let inside: Vec<bool> = known
        .map(|(at, Left { range: (low, high), .. })| (at + low.as_secs_f64()..=at + high.as_secs_f64()).contains(&end))
        .collect();
    inside.iter().filter(|inside| **inside).count() as f64 / inside.len() as f64
}

fn weights(count: usize, of: impl Fn(usize) -> (u64, u64)) -> Vec<Weight> {
    (0..count).map(of).map(|(entries, bytes)| Weight { entries, bytes }).collect()
}

const LINK: CostModel = CostModel { launch: 0.1, entry: 30e-6, byte: 100e-9 };
const NFS: CostModel = CostModel { launch: 0.2, entry: 2e-3, byte: 1e-12 };

#[test]
fn an_even_run_is_known_early_whatever_costs_time() {
    let even = |_| (1000, 20 << 20);
    let mixed = |n: usize| if n.is_multiple_of(2) { (2000, 1 << 20) } else { (10, 40 << 20) };
    for (name, run) in [
        ("bytes on a link", Run::new(weights(200, even), LINK)),
        ("entries on NFS", Run::new(weights(200, mixed), NFS)),
        ("nothing to do", Run { moves: false, ..Run::new(weights(300, mixed), NFS) }),
        ("without a word", Run { tells: false, ..Run::new(weights(200, even), LINK) }),
        ("a slow scan", Run { scan: 60.0, ..Run::new(weights(200, even), LINK) }),
    ] {
        let (seen, end) = run.looks();
        assert!(error(&seen, end, 0.25) < 0.15, "{name}: {}", error(&seen, end, 0.25));
        assert!(error(&seen, end, 0.5) < 0.1, "{name}: {}", error(&seen, end, 0.5));
        assert!(inside(&seen, end) > 0.8, "{name}: {}", inside(&seen, end));
        let first = seen.iter().find(|look| look.outlook.left.is_some()).unwrap();
        assert!(first.at < 10.0, "{name}: {}", first.at);
    }
}

#[test]
fn no_part_goes_back_and_none_is_more_than_all() {
    for scan in [0.5, 40.0] {
        let buckets = weights(100, |n| (100 + n as u64 * 37 % 900, (n as u64 * 7 % 11) << 22));
        let (seen, end) = Run { scan, ..Run::new(buckets, LINK) }.looks();
        let fractions: Vec<f64> = seen.iter().filter_map(|look| look.outlook.fraction).collect();
        assert!(fractions.is_sorted(), "{fractions:?}");
        assert!(fractions.iter().all(|fraction| (0.0..=1.0).contains(fraction)));
        assert!(seen.iter().all(|look| look.outlook.fraction.is_none() || look.scanned > 0.0));
        // One launch before the end, nearly everything is done.
        assert!(fractions[fractions.len() * 9 / 10] > 0.7, "{end}");
    }
}

#[test]
fn one_large_bucket_at_the_end_is_waited_for() {
    // 40 buckets are done after 20 s, and one takes 100 s.
    let buckets = weights(41, |n| if n == 3 { (1, 1 << 30) } else { (1000, 20 << 20) });
    let (seen, end) = Run::new(buckets, LINK).looks();
    assert!(end > 100.0);
    for look in seen.iter().filter(|look| look.at > 10.0) {
        let left = look.outlook.left.unwrap();
        let right = end - look.at;
        assert!((left.likely.as_secs_f64() - right).abs() < 0.1 * end, "at {}: {left:?} of {right}", look.at);
        assert!(left.likely >= Duration::from_secs(1));
    }
}

#[test]
fn a_run_that_goes_on_begins_where_it_stands() {
    let mut estimate = Estimate::default();
    let whole = Weight { entries: 1000, bytes: 1 << 30 };
    let half = Weight { entries: 500, bytes: 1 << 29 };
    let mut look = |at: f64, moved: u64| {
        let flight =
            Flight { weight: half, done: Weight { entries: 0, bytes: moved }, moved, age: Duration::from_secs_f64(at) };
        estimate.look(&Look {
            at: Duration::from_secs_f64(at),
            ended: half,
            launches: 0,
            flights: &[flight],
            found: whole,
            unfound: None,
            scanned: true,
            last_run: None,
            cost: CostModel::default(),
            processes: 1,
        })
    };
    let first = look(0.0, 0);
    assert!((first.fraction.unwrap() - 0.5).abs() < 0.01 && first.left.is_none(), "{first:?}");
    let later = (1..=10).map(|second| look(f64::from(second), second as u64 * (8 << 20))).last().unwrap();
    // 80 of 512 MiB in ten seconds.
    let left = later.left.unwrap().likely.as_secs_f64();
    assert!((50.0..60.0).contains(&left), "{left}");
}

#[test]
fn the_last_run_tells_what_the_scan_has_still_to_find() {
    let mut estimate = Estimate::default();
    let mut look = |at: f64, last_run| {
        let done = Weight { entries: 10 * at as u64, bytes: 0 };
        let flight = Flight { weight: done, done: Weight::default(), moved: 0, age: Duration::ZERO };
        estimate.look(&Look {
            at: Duration::from_secs_f64(at),
            ended: done,
            launches: at as u64,
            flights: &[flight],
            found: Weight { entries: 20 * at as u64, bytes: 0 },
            unfound: None,
            scanned: false,
            last_run,
            cost: NFS,
            processes: 1,
        })
    };
    (0..20).for_each(|at| assert_eq!(look(f64::from(at), None).left, None));
    let known = look(20.0, Some(Weight { entries: 1000, bytes: 0 }));
    let left = known.left.unwrap();
    assert_eq!(left.likely.as_secs(), 80);
    assert!(left.range.0.as_secs() < 80 && left.range.1.as_secs() > 85, "{left:?}");
    assert!((0.15..0.2).contains(&known.fraction.unwrap()), "{known:?}");
}
