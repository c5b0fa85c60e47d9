//! The health of source hosts: which one gets work, which one is set aside, and when it is asked again. Pure: the time is an argument.
//!
//! A host that loses a launch is set aside, and its work goes back to the queue. The host is asked at growing intervals whether it is reachable. When it
//! answers, it gets one launch, and it is trusted again only if that succeeds. While other hosts work, a host whose launches fail at once gets [`UNPROVEN`]
//! launches and no more, so that it can never drain the queue. A host whose launches run for a while gets more.

use std::num::NonZero;
use std::time::{Duration, Instant};

use crate::hosts::{self, Host};
use crate::queue::Pace;
use crate::report::HostFigures;
use crate::scan::Weight;

/// How many launches a host gets at once before one has succeeded. If this many fail in a row, the host is used only if there is no other.
pub(crate) const UNPROVEN: u32 = 3;
/// A launch that has run this long did not fail at once. Otherwise, if a launch takes long, as on slow storage, most slots of a new host would wait for the
/// first one to end (bench-data/runs/2026-11-30-hosts-slow-b).
const AT_ONCE: Duration = Duration::from_millis(500);
/// How long a host that was set aside is left alone before it is asked; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How much weight the latest launch has for the speed of a host; earlier launches have the rest.
const FORGETS: f64 = 0.2;
/// No single launch may make a host count as slower, or faster, by more than this factor.
const MOST_DIFFERENT: f64 = 50.0;
/// The most seconds that a launch on a host should take, unless a single bucket takes longer: this much work is lost with the host, and for this long the
/// schedule cannot be corrected. The shell that stays on the host makes the next launch cheap.
const LONGEST_LAUNCH: f64 = 60.0;

/// All hosts of a run.
pub(crate) struct HostPool {
    /// The time of the latest input.
    now: Option<Instant>,
    workers: Vec<Worker>,
    /// The host of each slot.
    slots: Vec<usize>,
    timeout: Duration,
    /// Since when no host has been usable.
    stranded: Option<Instant>,
    /// Successful launches on all hosts.
    wins: u64,
    /// The exit code of the launch that was lost last.
    last_code: u8,
}

struct Worker {
    host: Host,
    state: State,
    /// The slot of each running launch, and when it started.
    running: Vec<(usize, Option<Instant>)>,
    /// Successful launches.
    wins: u64,
    /// How often the host was set aside since its last success.
    losses: u32,
    /// How many times longer than expected its launches take; `None` before the first one.
    slower: Option<f64>,
    figures: HostFigures,
}

impl Worker {
    fn ended(&mut self, slot: usize) {
        if let Some(at) = self.running.iter().position(|(of, _)| *of == slot) {
            self.running.remove(at);
        }
    }

    /// The host has never completed anything, or has lost several launches since it last did.
    fn has_failed(&self) -> bool {
        self.losses >= UNPROVEN || self.wins == 0 && self.figures.lost >= u64::from(UNPROVEN)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Ready,
    Aside { since: Instant, ask_at: Instant, asked: bool },
}

impl HostPool {
    pub fn new(hosts: &[Host], slots: Vec<usize>, timeout: Duration) -> HostPool {
        let worker = |(at, host): (usize, &Host)| Worker {
            host: host.clone(),
            state: State::Ready,
            running: Vec::new(),
            wins: 0,
            losses: 0,
            slower: None,
            figures: HostFigures {
                host: host.to_string(),
                slots: slots.iter().filter(|of| **of == at).count(),
                ..HostFigures::default()
            },
        };
        let workers = hosts.iter().enumerate().map(worker).collect();
        HostPool { now: None, workers, slots, timeout, stranded: None, wins: 0, last_code: 0 }
    }

    /// Sets the current time.
    pub fn tick(&mut self, now: Instant) {
        self.now = Some(now);
    }

    /// Adds slots up to this number, if there are fewer, in the proportion in which they are spread over the hosts.
    pub fn grow(&mut self, count: NonZero<usize>) {
        let before = self.slots.len();
        hosts::extend(&mut self.slots, count);
        for host in &self.slots[before..] {
            self.workers[*host].figures.slots += 1;
        }
    }

    pub fn host(&self, slot: usize) -> &Host {
        &self.workers[self.slots[slot]].host
    }

    /// The slot for the next launch: on the usable host with the fewest running launches. A host that is much slower than the others comes last.
    pub fn free_slot(&self, taken: impl Fn(usize) -> bool) -> Option<usize> {
        self.free_slot_faster(f64::INFINITY, taken)
    }

    /// The same, but only among hosts that are faster than this.
    pub fn free_slot_faster(&self, than: f64, taken: impl Fn(usize) -> bool) -> Option<usize> {
        let usual = self.usual();
        let key = |at: usize| (self.pace_of(at, usual).is_slow(), self.workers[at].running.len());
        // The key is computed once per host, because a host may have many slots.
        let hosts: Vec<Option<(bool, usize)>> =
            (0..self.workers.len()).map(|at| (self.slower(at) < than && self.usable(at)).then(|| key(at))).collect();
        let free = (0..self.slots.len()).filter(|slot| hosts[self.slots[*slot]].is_some() && !taken(*slot));
        free.min_by_key(|slot| hosts[self.slots[*slot]])
    }

    /// The speed of a slot.
    pub fn pace(&self, slot: usize) -> Pace {
        self.pace_of(self.slots[slot], self.usual())
    }

    fn pace_of(&self, at: usize, usual: f64) -> Pace {
        Pace { slower: self.slower(at), usual, longest: LONGEST_LAUNCH, is_new: self.workers[at].wins == 0 }
    }

    fn slower(&self, at: usize) -> f64 {
        self.workers[at].slower.unwrap_or(1.0)
    }

    /// How much slower than expected all hosts are together that work or could work: the same number of slots at this speed would do the same work.
    fn usual(&self) -> f64 {
        let speeds =
            self.workers.iter().enumerate().filter(|(at, worker)| !worker.running.is_empty() || self.usable(*at));
        let (slots, speed) = speeds.fold((0.0, 0.0), |(slots, speed), (at, worker)| {
            let count = worker.figures.slots as f64;
            (slots + count, speed + count / self.slower(at))
        });
        if speed > 0.0 { slots / speed } else { 1.0 }
    }

    /// A launch took this many times longer than expected.
    pub fn took(&mut self, slot: usize, ratio: f64) {
        if !(ratio.is_finite() && ratio > 0.0) {
            return;
        }
        let ratio = ratio.clamp(1.0 / MOST_DIFFERENT, MOST_DIFFERENT);
        let known = &mut self.workers[self.slots[slot]].slower;
        // The average is geometric, so that half as fast and twice as fast have the same weight.
        *known = Some(known.map_or(ratio, |known| known.powf(1.0 - FORGETS) * ratio.powf(FORGETS)));
    }

    fn usable(&self, at: usize) -> bool {
        let worker = &self.workers[at];
        let ready = worker.state == State::Ready;
        let room = match (worker.wins > 0 && worker.losses == 0, worker.losses) {
            (true, _) => true,
            // A new host gets as many launches as it may lose.
            (false, 0) => worker.running.iter().filter(|(_, since)| self.is_young(*since)).count() < UNPROVEN as usize,
            // A host that comes back gets one launch.
            (false, _) => worker.running.is_empty(),
        };
        ready && room && !(worker.has_failed() && self.others_work(at))
    }

    fn is_young(&self, since: Option<Instant>) -> bool {
        let age = self.now.zip(since).map(|(now, since)| now.duration_since(since));
        age.is_none_or(|age| age < AT_ONCE)
    }

    fn others_work(&self, at: usize) -> bool {
        let works = |worker: &Worker| worker.state == State::Ready && !worker.has_failed();
        self.workers.iter().enumerate().any(|(other, worker)| other != at && works(worker))
    }

    pub fn started(&mut self, slot: usize) {
        let worker = &mut self.workers[self.slots[slot]];
        worker.running.push((slot, self.now));
        worker.figures.launches += 1;
    }

    /// A launch came to its end, whatever rsync reported about the files.
    pub fn won(&mut self, slot: usize, buckets: u64, weight: Weight, ran: Duration) {
        self.wins += 1;
        let worker = &mut self.workers[self.slots[slot]];
        worker.ended(slot);
        worker.wins += 1;
        worker.losses = 0;
        worker.figures.buckets += buckets;
        worker.figures.done += weight;
        worker.figures.busy += ran;
    }

    /// A launch was stopped by multi-sync, or could not begin.
    pub fn left(&mut self, slot: usize) {
        let worker = &mut self.workers[self.slots[slot]];
        worker.ended(slot);
    }

    /// A launch was lost with its host or its connection. Launches that are lost together count once. Returns how long the host is set aside at least, if this
    /// launch is the reason.
    pub fn lost(&mut self, slot: usize, code: u8, now: Instant) -> Option<Duration> {
        self.last_code = code;
        let worker = &mut self.workers[self.slots[slot]];
        worker.ended(slot);
        worker.figures.lost += 1;
        worker.figures.why = Some(code);
        if worker.state != State::Ready {
            return None;
        }
        worker.losses += 1;
        let wait = LONGEST_WAIT.min(FIRST_WAIT * (1 << (worker.losses - 1).min(6)));
        worker.state = State::Aside { since: now, ask_at: now + wait, asked: false };
        Some(wait)
    }

    /// The hosts that are to be asked now whether they are reachable. Each one is returned once until [`HostPool::answered`].
    pub fn due(&mut self, now: Instant) -> Vec<(usize, Host)> {
        let mut due = Vec::new();
        for (at, worker) in self.workers.iter_mut().enumerate() {
            if let State::Aside { ask_at, asked, .. } = &mut worker.state
                && !*asked
                && now >= *ask_at
            {
                *asked = true;
                due.push((at, worker.host.clone()));
            }
        }
        due
    }

    pub fn answered(&mut self, at: usize, is_there: bool, now: Instant) {
        let worker = &mut self.workers[at];
        let State::Aside { since, .. } = worker.state else { return };
        if is_there {
            worker.figures.aside += now.duration_since(since);
            worker.state = State::Ready;
        } else {
            let waited = now.duration_since(since).max(FIRST_WAIT);
            worker.state = State::Aside { since, ask_at: now + waited.min(LONGEST_WAIT), asked: false };
        }
    }

    /// The exit code of the run, if no host was usable for too long. A host that answers but loses each of its launches does not count as usable; a host with a
    /// launch that has run this long does.
    pub fn stranded(&mut self, now: Instant) -> Option<u8> {
        let lasts = |since: Option<Instant>| since.is_some_and(|since| now.duration_since(since) >= self.timeout);
        let is_good = |worker: &Worker| {
            worker.state == State::Ready && worker.losses == 0 || worker.running.iter().any(|(_, since)| lasts(*since))
        };
        if self.workers.iter().any(is_good) {
            self.stranded = None;
            return None;
        }
        let since = *self.stranded.get_or_insert(now);
        // While a host is on trial, the run waits for its launch.
        let tried = (0..self.workers.len()).any(|at| self.usable(at) || !self.workers[at].running.is_empty());
        (!tried && now.duration_since(since) >= self.timeout).then_some(self.last_code)
    }

    /// Restarts the time after which a run without a usable host ends.
    pub fn waits_anew(&mut self) {
        self.stranded = None;
    }

    /// The number of successful launches so far.
    pub fn wins(&self) -> u64 {
        self.wins
    }

    /// Whether a launch on this host has ever succeeded.
    pub fn is_proven(&self, slot: usize) -> bool {
        self.workers[self.slots[slot]].wins > 0
    }

    pub fn of_slot(&self, slot: usize) -> usize {
        self.slots[slot]
    }

    /// A run ends if no host was usable for this long.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The number of hosts.
    pub fn hosts(&self) -> usize {
        self.workers.len()
    }

    pub fn figures(&self, now: Instant) -> Vec<HostFigures> {
        let told = |worker: &Worker| {
            let mut figures = worker.figures.clone();
            if let State::Aside { since, .. } = worker.state {
                figures.aside += now.duration_since(since);
                figures.is_aside = true;
            }
            figures
        };
        self.workers.iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::{parse_list, spread};
    use crate::rsync::exit;
    use std::num::NonZero;

    const LOST: u8 = 255;

    fn pool(text: &str, processes: usize) -> HostPool {
        let hosts = parse_list(text.as_ref()).unwrap();
        let slots = spread(&hosts, NonZero::new(processes).unwrap());
        HostPool::new(&hosts, slots, Duration::from_secs(60))
    }

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn work_goes_to_the_host_with_the_least() {
        let mut pool = pool("a*2,b*2", 1);
        let mut taken = Vec::new();
        for _ in 0..4 {
            let slot = pool.free_slot(|slot| taken.contains(&slot)).unwrap();
            pool.started(slot);
            taken.push(slot);
        }
        assert_eq!(taken.iter().map(|slot| pool.host(*slot).address.as_str()).collect::<String>(), "abab");
        assert_eq!(pool.free_slot(|slot| taken.contains(&slot)), None);
    }

    #[test]
    fn a_host_that_fails_at_once_does_not_take_the_queue() {
        let mut pool = pool("bad*8,good*1", 1);
        let mut now = Instant::now();
        let (mut running, mut of_bad): (Vec<usize>, u32) = (Vec::new(), 0);
        for _ in 0..600 {
            now += second(1);
            for (at, _) in pool.due(now) {
                pool.answered(at, true, now);
            }
            while let Some(slot) = pool.free_slot(|slot| running.contains(&slot)) {
                pool.started(slot);
                running.push(slot);
            }
            for slot in std::mem::take(&mut running) {
                if pool.host(slot).address == "bad" {
                    of_bad += 1;
                    pool.lost(slot, 12, now);
                } else {
                    pool.won(slot, 1, Weight::default(), second(1));
                }
            }
            assert_eq!(pool.stranded(now), None);
        }
        assert_eq!(of_bad, UNPROVEN);
        assert!(pool.wins() > 500);
    }

    #[test]
    fn a_new_host_whose_launches_go_on_gets_more() {
        let mut pool = pool("a*8", 1);
        let now = Instant::now();
        let mut running = Vec::new();
        for (seconds, expected) in [(0, 3), (1, 6), (2, 8)] {
            pool.tick(now + second(seconds));
            while let Some(slot) = pool.free_slot(|slot| running.contains(&slot)) {
                pool.started(slot);
                running.push(slot);
            }
            assert_eq!(running.len(), expected, "after {seconds} s");
        }
    }

    #[test]
    fn a_host_with_one_slot_gets_three_launches_to_fail() {
        let mut pool = pool("bad,good", 1);
        let mut now = Instant::now();
        let mut of_bad = 0;
        for _ in 0..100 {
            now += second(1);
            pool.due(now).into_iter().for_each(|(at, _)| pool.answered(at, true, now));
            for slot in 0..2 {
                if pool.free_slot(|other| other != slot).is_some() {
                    pool.started(slot);
                    if slot == 0 {
                        of_bad += 1;
                        pool.lost(slot, 12, now);
                    } else {
                        pool.won(slot, 1, Weight::default(), second(1));
                    }
                }
            }
        }
        assert_eq!(of_bad, UNPROVEN);
    }

    #[test]
    fn what_hosts_take_is_known_after_some_launches_and_slow_ones_come_last() {
        let mut pool = pool("slow*2,a*2,b*2", 1);
        for _ in 0..8 {
            (0..6).for_each(|slot| pool.took(slot, if pool.of_slot(slot) == 0 { 10.0 } else { 1.0 }));
        }
        (0..6).for_each(|slot| pool.won(slot, 1, Weight::default(), second(1)));
        let slow = pool.pace(0);
        assert!(slow.slower > 9.0 && slow.is_slow() && !pool.pace(1).is_slow(), "{slow:?}");
        // There are six slots, and two of them work at a tenth of the usual speed.
        assert!((slow.usual - 6.0 / 4.2).abs() < 0.01, "{slow:?}");
        let first = pool.free_slot(|_| false).unwrap();
        assert_ne!(pool.of_slot(first), 0);
        let last = pool.free_slot(|slot| pool.of_slot(slot) != 0).unwrap();
        assert_eq!((pool.of_slot(last), pool.free_slot_faster(slow.slower, |slot| pool.of_slot(slot) != 0)), (0, None));
    }

    #[test]
    fn a_host_that_comes_back_is_used_again() {
        let mut pool = pool("a*2", 1);
        let now = Instant::now();
        for slot in [0, 1] {
            pool.started(slot);
        }
        pool.won(0, 1, Weight::default(), second(1));
        pool.started(0);
        assert_eq!(pool.lost(0, LOST, now), Some(second(1)));
        assert_eq!(pool.lost(1, LOST, now), None, "lost together");
        assert!(pool.free_slot(|_| false).is_none() && pool.due(now).is_empty());
        assert_eq!(pool.due(now + second(1)).len(), 1);
        assert!(pool.due(now + second(2)).is_empty(), "asked already");
        pool.answered(0, false, now + second(2));
        assert!(pool.due(now + second(3)).is_empty());
        assert_eq!(pool.due(now + second(4)).len(), 1);
        pool.answered(0, true, now + second(4));
        let slot = pool.free_slot(|_| false).unwrap();
        pool.started(slot);
        assert_eq!(pool.free_slot(|other| other == slot), None, "on trial");
        pool.won(slot, 1, Weight::default(), second(1));
        assert!(pool.free_slot(|_| false).is_some());
        let figures = &pool.figures(now + second(5))[0];
        assert_eq!((figures.aside, figures.lost, figures.buckets), (second(4), 2, 2));
    }

    #[test]
    fn without_any_host_the_run_ends_after_a_while() {
        let mut pool = pool("a,b", 1);
        let now = Instant::now();
        for slot in [0, 1] {
            pool.started(slot);
            pool.lost(slot, exit::TIMEOUT, now);
        }
        assert_eq!(pool.stranded(now), None);
        assert_eq!(pool.stranded(now + second(59)), None);
        assert_eq!(pool.stranded(now + second(60)), Some(exit::TIMEOUT));
        pool.due(now + second(60));
        pool.answered(0, true, now + second(61));
        assert_eq!(pool.stranded(now + second(62)), None);
    }

    /// A host may answer although rsync does not work there.
    #[test]
    fn hosts_that_answer_and_do_nothing_are_no_hosts() {
        for lasts in [1, 45, 70] {
            let mut pool = pool("a*8,b*8", 1);
            let begun = Instant::now();
            let (mut running, mut ended): (Vec<(usize, u64)>, Option<u64>) = (Vec::new(), None);
            for seconds in 0..1000 {
                let now = begun + second(seconds);
                pool.tick(now);
                for (slot, _) in running.extract_if(.., |(_, since)| *since + lasts <= seconds) {
                    pool.lost(slot, 12, now);
                }
                for (at, _) in pool.due(now) {
                    pool.answered(at, true, now);
                }
                if pool.stranded(now).is_some() {
                    ended = Some(seconds);
                    break;
                }
                while let Some(slot) = pool.free_slot(|slot| running.iter().any(|(of, _)| *of == slot)) {
                    pool.started(slot);
                    running.push((slot, seconds));
                }
            }
            // A launch that runs for the whole timeout may have done something.
            let expected = if lasts > 60 { None } else { Some(()) };
            assert_eq!(ended.map(|_| ()), expected, "{lasts}");
            assert!(ended.is_none_or(|ended| (60..=60 + 2 * lasts + 31).contains(&ended)), "{ended:?}");
        }
    }
}
