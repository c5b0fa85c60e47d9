//! multi-sync makes one rsync many.
pub mod bucket;
pub mod config;
pub mod endpoint;
pub mod engine;
pub mod entry;
pub mod error;
pub mod plan;
pub mod queue;
pub mod report;
pub mod rsync;
pub mod scan;
pub mod size;
pub mod supervise;
pub mod treegen;
pub mod verify;

pub use error::{Error, Result};
