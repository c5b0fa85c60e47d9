//! The names in a run directory, and who writes what.
//!
//! | name | what it is | the disk has it |
//! |---|---|---|
//! | `lock` | who works on the run | when it gets there |
//! | `plan.json` | what was asked for | with the first buckets; at once if the user names the place |
//! | `inputs/` | what was read from streams that options name | before anything is copied |
//! | `0000/0000/000000.bucket` | the units of a bucket ([`crate::bucket`]) | before the journal that says that the scan is complete |
//! | `journal.jsonl` | how far the run came | when the scan is complete, and at the end |
//! | `journal.damaged` | a journal that could not be trusted | when it gets there |
//! | `failed.nul`, `failed.txt` | what was not copied | when it gets there: the journal has it too |
//! | `deletions-withheld` | that the run deletes nothing, whatever part of it | before anything is copied |
//! | `differences.txt` | what a verification found | when it gets there |
//! | `control/` | what was asked of the run while it goes on, and the answers | when it gets there |
//! | `status.json` | where the run stands, for who asks | when it gets there |
//! | `logs/` | what the rsyncs of each source host said | when it gets there |
//! | `scripts/` | what source hosts run, if they see the run directory | when it gets there |
//! | `verify/` | the run directory of a verification | as its own files |
//! | `job.sh`, `job.out`, `job.id` | the batch job of a run that was submitted: its script, what it printed, its number ([`super::Batch`]) | when it gets there |
//! | `requeued.json` | how far the run was when its job was queued again | when it gets there |

/// What was asked for.
pub const PLAN: &str = "plan.json";
/// Who works on the run.
pub const LOCK: &str = "lock";
/// What was found, written, started and finished.
pub const JOURNAL: &str = "journal.jsonl";
/// A journal that was damaged, put aside.
pub const DAMAGED_JOURNAL: &str = "journal.damaged";
/// Names that were not copied, each ended by a NUL: what `rsync --files-from=failed.nul --from0` takes with the directory that the sources
/// are named from, or with `/` where they have no directory in common.
pub const FAILED_NAMES: &str = "failed.nul";
/// What was not copied, for people: name, part of the run, side, exit code, and what was said. What has no name in the source has a `-`.
pub const FAILED_TEXT: &str = "failed.txt";
/// Is there if the run has copied without deleting: a part of it that deletes would leave what an earlier one has passed over.
pub const WITHHELD: &str = "deletions-withheld";
/// What a verification found.
pub const DIFFERENCES: &str = "differences.txt";
/// Where the run stands.
pub const STATUS: &str = "status.json";
/// What takes the place of [`STATUS`] when it is whole.
pub const NEW_STATUS: &str = "status.new";
/// What was read from streams, by the place of the option.
pub const INPUTS: &str = "inputs";
/// What was asked of the run while it goes on, and the answers.
pub const CONTROL: &str = "control";
/// What the rsyncs of each source host said.
pub const LOGS: &str = "logs";
/// What source hosts run.
pub const SCRIPTS: &str = "scripts";
/// The run directory of a verification.
pub const VERIFICATION: &str = "verify";
/// The script of the batch job.
pub const JOB_SCRIPT: &str = "job.sh";
/// What the batch job printed.
pub const JOB_OUTPUT: &str = "job.out";
/// The number of the batch job.
pub const JOB: &str = "job.id";
/// How far the run was when its job was queued again.
pub const REQUEUED: &str = "requeued.json";

/// What is removed last, in this order: whoever is killed meanwhile leaves a run that has come to its end, or none.
pub const LAST: [&str; 3] = [PLAN, JOURNAL, LOCK];
