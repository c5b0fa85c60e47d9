//! Chooses which machines scan a source that several hosts see.

use super::{Plan, SourceTree, Strategy};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::far::crew::{Begin, ScanBy};
use crate::file_system::{is_elsewhere, renumbers};
use crate::scan::Root;

impl Plan {
    /// When the hosts scan, if they do at all. A single rsync reads the source itself, so that nothing is scanned.
    ///
    /// # Errors
    /// The hosts have to scan, but their results could not be combined.
    pub fn hosts_scan(&self, config: &Config) -> Result<Option<Begin>> {
        let is_one = matches!(self.strategy, Strategy::Plain(_));
        if config.hosts.is_empty() || config.gitignore || self.trees.is_empty() || is_one {
            return Ok(None);
        }
        // On such file systems, each machine makes up its own inode numbers, so that names of one file cannot be recognized.
        let mut paths = self.trees.iter().map(|tree| tree.root.path());
        let is_odd = self.hard_links && paths.any(|path| renumbers(&path));
        match (config.scan_by, is_odd) {
            (ScanBy::Here, _) | (ScanBy::Auto, true) => Ok(None),
            (ScanBy::Hosts, true) => Err(Error::usage(
                "--scan-by hosts with -H: the file system of the source makes up inode numbers, and each host has others",
            )
            .remedy("leave out one of them")),
            (ScanBy::Hosts, false) => Ok(Some(Begin::WithHosts)),
            (ScanBy::Auto, false) => {
                let comes_over_a_network = self.trees.iter().all(|tree| is_elsewhere(&tree.root.path()));
                Ok(comes_over_a_network.then_some(Begin::Here))
            }
        }
    }

    /// The roots of the scan, as source hosts name them.
    pub fn roots_there(&self, config: &Config) -> Vec<Root> {
        let there = |tree: &SourceTree| Root { base: config.cwd.join(&tree.root.base), ..tree.root.clone() };
        self.trees.iter().map(there).collect()
    }
}
