//! What is known before anything was launched: what a launch may cost on the way it takes, and whether a tree is so small that the usual
//! buckets would leave slots without work.

use std::num::NonZero;

use crate::config::Config;
use crate::cost::CostModel;
use crate::endpoint::Target;
use crate::plan::{Plan, Strategy};
use crate::scan::{Limits, Weight};

/// Seconds of a handshake of ssh, and of a daemon. Through a connection that is open a launch takes no longer than on this machine (61 ms on
/// loopback).
const SSH: f64 = 0.25;
/// The same of a shell that stays on a host.
const SHELL: f64 = 0.01;
const DAEMON: f64 = 0.1;
/// What a connection of ssh takes that launches share: processor time of both ends on loopback.
const SSH_CONNECTION: f64 = 0.15;
/// Bytes to another machine take longer than to the next directory: 50 MB a second.
const FAR_BYTE: f64 = 20e-9;
/// Buckets for each slot that let all slots end together.
const BUCKETS: u64 = 8;
/// Less than so many launches' worth of work for each slot is not divided further.
const WORTH: f64 = 2.0;

/// What launches are expected to take before one has ended.
pub(super) fn guess(config: &Config, plan: &Plan) -> CostModel {
    let near = CostModel::default();
    let through_hosts = if config.hosts.is_empty() { 0.0 } else { SHELL };
    let (handshake, byte) = match config.far_end() {
        Target::Local => (0.0, near.byte),
        Target::Ssh { .. } if plan.route.is_some() => (0.0, FAR_BYTE),
        Target::Ssh { .. } => (SSH, FAR_BYTE),
        Target::Daemon { .. } => (DAEMON, FAR_BYTE),
    };
    CostModel { launch: near.launch + handshake + through_hosts, byte, ..near }
}

/// Seconds that a slot takes before its first launch.
pub(super) fn opening(plan: &Plan) -> f64 {
    if plan.route.is_some() { SSH_CONNECTION } else { 0.0 }
}

/// How a tree is divided that fits into fewer buckets than there are slots, but is worth several launches: 272 large files on a long link.
pub(super) struct Division {
    /// It has no more entries than that.
    pub most: u64,
    slots: u64,
    usual: Limits,
    guess: CostModel,
}

impl Division {
    /// None where limits were given, or no other launch would have anything to do.
    pub fn of(config: &Config, plan: &Plan, guess: CostModel) -> Option<Division> {
        let slots = config.processes.get() as u64;
        let parallel = plan.strategy == Strategy::Parallel && !config.dry_run;
        let most = config.limits.entries.get().saturating_mul(slots);
        (slots > 1 && !config.limits_given && parallel && !plan.trees.is_empty()).then_some(Division {
            most,
            slots,
            usual: config.limits,
            guess,
        })
    }

    /// The limits of a tree of this weight.
    pub fn limits(&self, found: Weight) -> Limits {
        let Division { slots, usual, guess, .. } = self;
        if guess.work(found) < WORTH * guess.launch * *slots as f64 {
            return *usual;
        }
        let part = |all: u64, usual: NonZero<u64>| {
            NonZero::new(all.div_ceil(BUCKETS.saturating_mul(*slots))).map_or(usual, |part| part.min(usual))
        };
        Limits { entries: part(found.entries, usual.entries), bytes: part(found.bytes, usual.bytes) }
    }
}
