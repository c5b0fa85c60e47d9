//! Everything that is specific to rsync: its options, command lines, exit codes and output.

pub mod bandwidth;
pub mod command;
pub mod exit;
pub mod figures;
pub mod filter;
pub mod harm;
pub mod listing;
pub mod messages;
pub mod options;
pub mod output;
pub mod prune;
pub mod version;
