//! The run directory: all that a run leaves for one that goes on, for those who look, and for the user.
//!
//! No other module knows a name in it but [`crate::bucket`], which has the files of the buckets. [`layout`] lists them; [`durable`] says what the
//! disk keeps, and in which order. Directories of older versions are read as they are.

mod asked;
mod channel;
pub mod durable;
pub mod failed;
mod find;
pub mod journal;
pub mod layout;
mod lock;
mod noted;
mod tidy;

pub use asked::Asked;
pub use channel::{Asking, Channel, ask};
pub use find::{find, id, list, usual, usual_places, word};
pub use lock::Lock;
pub use noted::{Ended, Noted, Noter};
pub use tidy::{Keep, close, discard, forget};

use std::fs;

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
