//! multi-sync makes one rsync many.
pub mod endpoint;
pub mod entry;
pub mod error;
pub mod rsync;
pub mod size;
pub mod treegen;
pub mod verify;

pub use error::{Error, Result};
