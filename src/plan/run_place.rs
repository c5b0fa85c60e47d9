//! Where the run directory is created: outside of everything that is copied or written, if possible.

use std::io;
use std::path::{Path, PathBuf};

use crate::bucket::BucketDir;
use crate::config::Config;
use crate::error::{Error, Result};

use super::{Plan, mounts, sources};

impl Plan {
    /// The local directories among the sources, as real paths.
    fn trees_here(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let here = if self.far.is_some() { &[][..] } else { &self.trees };
        here.iter().map(|tree| sources::resolve(&tree.root.path()))
    }

    /// Creates the bucket directory in the place for run directories ([`Config::state`]). `None` if there is no such place, or if it lies inside what is copied
    /// or written: there it would change what this run finds, or be found by the run.
    ///
    /// # Errors
    /// The directory cannot be created there.
    pub fn make_in_state(&self, config: &Config) -> io::Result<Option<BucketDir>> {
        let Some(place) = config.state.as_deref().filter(|_| config.buckets.is_none() && !config.keep) else {
            return Ok(None);
        };
        let meaning = config.options.meaning();
        // A symbolic link in the source may lead to this place.
        if meaning.copy_links || meaning.copy_dirlinks || meaning.copy_unsafe_links {
            return Ok(None);
        }
        let real = sources::resolve(place);
        // For a list of names there are no trees, so that the sources are added as typed.
        let typed = config.sources.iter().filter(|source| source.is_local()).map(|source| {
            let base = source.base(&config.cwd);
            sources::resolve(&source.name().map_or(base.clone(), |name| base.join(name)))
        });
        let mut sources: Vec<PathBuf> = self.trees_here().chain(typed).collect();
        sources.sort();
        sources.dedup();
        let local = config.destination.is_local().then(|| sources::resolve(Path::new(&self.recipe.destination)));
        let mut around = sources.iter().chain(&local);
        if around.any(|tree| real.starts_with(tree) || tree.starts_with(&real) || mounts::share(tree, &real)) {
            return Ok(None);
        }
        BucketDir::in_state(place, &sources, local.as_deref()).map(Some)
    }

    /// Creates the bucket directory, outside of what is copied if possible.
    ///
    /// # Errors
    /// As [`BucketDir::create`]; also if the directory is to be kept and would be copied.
    pub fn make_buckets(&self, config: &Config) -> Result<BucketDir> {
        let sources: Vec<PathBuf> = self.trees_here().collect();
        let local = config.destination.is_local().then(|| sources::resolve(Path::new(&self.recipe.destination)));
        let mut buckets = BucketDir::create(config.buckets.as_deref(), &sources, local.as_deref())?;
        if config.keep {
            if buckets.is_in_source() {
                return Err(Error::usage("a bucket directory that is kept cannot lie inside a source")
                    .remedy("give one elsewhere with --buckets DIR"));
            }
            buckets.keep();
        }
        Ok(buckets)
    }

    /// Opens the directory of a run that is resumed.
    ///
    /// # Errors
    /// As [`BucketDir::open`].
    pub fn open_buckets(&self, dir: &Path) -> Result<BucketDir> {
        let sources: Vec<PathBuf> = self.trees_here().collect();
        BucketDir::open(dir, &sources)
    }

    /// Whether one rsync for everything may copy or delete the run directory, because it does not know that it has to leave it out.
    pub fn one_rsync_meets(&self, config: &Config, buckets: &BucketDir) -> bool {
        let meaning = config.options.meaning();
        let follows = meaning.copy_links || meaning.copy_dirlinks || meaning.copy_unsafe_links;
        let dir = sources::resolve(buckets.path());
        let sources = self.trees_here();
        let local = config.destination.is_local().then(|| sources::resolve(Path::new(&self.recipe.destination)));
        let mut around = sources.chain(local);
        follows
            || buckets.is_in_source()
            || buckets.is_in_destination()
            || around.any(|tree| mounts::share(&tree, &dir))
    }
}
