//! Derives the policy of the scheduler from the configuration and the plan.

use std::time::{Duration, SystemTime};

use crate::bucket::Bucket;
use crate::config::Config;
use crate::cost::CostModel;
use crate::plan::{Plan, Strategy};
use crate::rsync::command::Removal;
use crate::rsync::options::Opt;
use crate::run_dir::journal::State;
use crate::sched::{Before, Policy};

use super::{meeting, small};

/// The time that ending a run may take at most: rsyncs that are ended remove their temporary files, and the journal is closed.
const LONGEST_END: Duration = Duration::from_secs(30);

/// The part of the time until the end in which launches may work.
fn time_for_work(left: Duration) -> Duration {
    left - LONGEST_END.min(left / 10)
}

/// The facts about a run that decide the order of its launches.
pub(super) fn of(config: &Config, plan: &Plan, guess: CostModel, short_scan: Duration) -> Policy {
    let (recipe, meaning) = (&plan.recipe, config.options.meaning());
    Policy {
        processes: config.processes,
        adapts: config.adapts,
        one_bucket_a_launch: config.limits_given,
        room: recipe.argument_room(),
        guess,
        opening: small::opening(plan),
        short_scan,
        one_rsync: match &plan.strategy {
            Strategy::Plain(why) => Some(why.clone()),
            Strategy::Parallel => None,
        },
        survey: config.dry_run,
        pretends: recipe.dry_run,
        dest_is_local: config.stays_here(),
        on_hosts: !config.hosts.is_empty(),
        elsewhere: !config.hosts.is_empty()
            || plan.strategy == Strategy::Parallel && !config.address_hosts().is_empty(),
        retries: config.retries,
        tells_how: config.tells_how,
        stop_after: plan.stop_after,
        ends_after: config.ends_at.map(|end| time_for_work(end.duration_since(SystemTime::now()).unwrap_or_default())),
        stops_itself: plan.stops_itself,
        deletes: plan.deletes,
        ignore_errors: plan.ignore_errors,
        repeatable: plan.repeatable,
        harm: plan.harm,
        gitignore: plan.gitignore,
        as_root: plan.as_root,
        prints: plan.prints,
        watches_names: plan.watches_names,
        removes_singles: recipe.removal == Removal::SinglesLast,
        removes: recipe.removal != Removal::None,
        dir_times: meaning.times && !meaning.omit_dir_times,
        access_times: config.options.has(Opt::Atimes) && !config.options.has(Opt::OpenNoatime),
        hard_links: meaning.hard_links,
        unlocks: recipe.unlock,
        implied_dirs: plan.trees.iter().any(|tree| !tree.above.is_empty()),
        watches_dest: plan.watched_dest.is_some(),
        sets_times_back: plan.watched_dest.is_some() && plan.sets_times_back,
        marks_changes: recipe.marks_changes,
        goes_ahead: plan.goes_ahead,
        lists_exposed: recipe.lists,
        bwlimit: plan.bwlimit,
        makes_much: plan.first_pass.is_ok() && plan.is_dest_new,
        missing_sources: !plan.missing.is_empty(),
    }
}

/// What an earlier part of a run has left.
pub(super) fn before(state: &State) -> Before {
    let buckets: Vec<Bucket> = state.done.keys().filter_map(|id| state.buckets.get(id)).copied().collect();
    let is_told = |(text, ..): &(String, bool, bool)| state.scanned.is_some() && text.ends_with(meeting::MEETS);
    Before {
        launches: state.launches,
        done: state.done_weight(),
        codes: state.done.values().copied().collect(),
        buckets,
        sender_failed: state.sender_failed,
        again: state.copies_again(),
        dirs_again: state.copies_dirs_again(),
        removed: state.removed && !(state.scanned.is_some() && state.spine.is_empty()),
        names_meet: state.unread.iter().any(is_told),
    }
}
