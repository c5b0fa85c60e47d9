//! Everything that is known about rsync itself: its options, its command lines, its exit codes and its output.

pub mod bandwidth;
pub mod command;
pub mod exit;
pub mod figures;
pub mod filter;
pub mod listing;
pub mod messages;
pub mod options;
pub mod output;
pub mod prune;
pub mod version;
