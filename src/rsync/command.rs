//! rsync command lines as values: printed, compared in tests, and started in one place only ([`crate::supervise`]).

mod invocation;
mod recipe;

pub use crate::supervise::{Invocation, Quoted};
pub use invocation::argument_cost;
pub use recipe::{Copying, FarSource, JUDGED, LookedAt, Recipe, Removal, looked_at};
