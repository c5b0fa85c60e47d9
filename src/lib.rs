//! multi-sync makes one rsync many.
pub mod bucket;
pub mod endpoint;
pub mod entry;
pub mod error;
pub mod queue;
pub mod rsync;
pub mod scan;
pub mod size;
pub mod supervise;
pub mod treegen;
pub mod verify;

pub use error::{Error, Result};
