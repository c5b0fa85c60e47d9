//! rsync command lines as values: printed, compared in tests, and started in one place only ([`crate::supervise`]).

mod far_source;
mod invocation;
mod recipe;

pub use crate::supervise::{Invocation, Quoted};
pub use far_source::FarSource;
pub use invocation::argument_cost;
pub use recipe::{Copying, JUDGED, LookedAt, NO_NAME, Recipe, Removal, looked_at};
