//! The names in a run directory. Files that are not synced reach the disk whenever the system writes them.
//!
//! | name | content | when it is durable |
//! |---|---|---|
//! | `lock` | which process works on the run | not synced |
//! | `plan.json` | the command line, and what else decides the result | with the first buckets; at once if the user names the place |
//! | `inputs/` | the contents of streams that options name | before anything is copied |
//! | `0000/0000/000000.bucket` | the units of a bucket ([`crate::bucket`]) | before the journal record that the scan is complete |
//! | `journal.jsonl` | the progress of the run | when the scan is complete, and at the end |
//! | `journal.damaged` | a journal that was found damaged | not synced |
//! | `failed.nul`, `failed.txt` | what was not copied | not synced: the journal contains it, too |
//! | `deletions-withheld` | exists if no part of the run may delete anything | before anything is copied |
//! | `differences.txt` | what a verification found | not synced |
//! | `control/` | requests to the running run, and the answers | not synced |
//! | `status.json` | the current progress, for other processes | not synced |
//! | `logs/` | the output of the rsyncs of each source host | not synced |
//! | `scripts/` | scripts for source hosts that see the run directory | not synced |
//! | `verify/` | the run directory of a verification | like the files here |
//! | `job.sh`, `job.out`, `job.id` | the batch job of a run that was submitted: script, output, number ([`super::Batch`]) | not synced |
//! | `requeued.json` | how far the run was when its job was queued again | not synced |

/// The command line of the run.
pub const PLAN: &str = "plan.json";
/// The process that works on the run.
pub const LOCK: &str = "lock";
/// What was found, written, started and finished.
pub const JOURNAL: &str = "journal.jsonl";
/// A damaged journal that was renamed.
pub const DAMAGED_JOURNAL: &str = "journal.damaged";
/// The names that were not copied, each followed by a NUL, for `rsync --files-from=failed.nul --from0`. They are relative to the common directory of the
/// sources, or to `/` if there is none.
pub const FAILED_NAMES: &str = "failed.nul";
/// What was not copied, for users: name, phase, side, exit code, and message. An entry without a name in the source has `-`.
pub const FAILED_TEXT: &str = "failed.txt";
/// Exists if a part of the run has copied without deleting. A later part must not delete either, because it would miss what the earlier one has passed.
pub const WITHHELD: &str = "deletions-withheld";
/// What a verification found.
pub const DIFFERENCES: &str = "differences.txt";
/// The current progress.
pub const STATUS: &str = "status.json";
/// The next version of [`STATUS`], which replaces that file when it is complete.
pub const NEW_STATUS: &str = "status.new";
/// The contents of streams, by the position of the option.
pub const INPUTS: &str = "inputs";
/// Requests to the running run, and the answers.
pub const CONTROL: &str = "control";
/// The output of the rsyncs of each source host.
pub const LOGS: &str = "logs";
/// The scripts that source hosts run.
pub const SCRIPTS: &str = "scripts";
/// The run directory of a verification.
pub const VERIFICATION: &str = "verify";
/// The script of the batch job.
pub const JOB_SCRIPT: &str = "job.sh";
/// The output of the batch job.
pub const JOB_OUTPUT: &str = "job.out";
/// The number of the batch job.
pub const JOB: &str = "job.id";
/// How far the run was when its job was queued again.
pub const REQUEUED: &str = "requeued.json";

/// Removed last, in this order: if the process is killed meanwhile, the rest is still a run that has ended, or no run.
pub const LAST: [&str; 3] = [PLAN, JOURNAL, LOCK];
