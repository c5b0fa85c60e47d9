//! What `--gitignore` cannot be combined with. rsync does not know these rules: if it gets a directory as a whole, it copies or deletes what is ignored in it.

use crate::error::{Error, Result};
use crate::rsync::options::Meaning;

/// Refuses what would not leave ignored entries alone. `plain`: why one rsync would have to do everything. `locked_whole`: directories without `u+rwx` could
/// not be split. `unsafe_links_whole`: the same for directories with links to which rules may apply.
pub(super) fn check(
    meaning: &Meaning,
    plain: Option<&str>,
    locked_whole: bool,
    unsafe_links_whole: bool,
) -> Result<()> {
    let refused = if meaning.delete.is_some() {
        "--delete would delete entries at the destination that the ignore rules cover".to_owned()
    } else if meaning.per_dir_merge || meaning.cvs_exclude {
        "directories that hold filter rules of rsync cannot be split".to_owned()
    } else if meaning.copy_links || meaning.copy_dirlinks || unsafe_links_whole {
        "a directory to which a link leads cannot be split".to_owned()
    } else if locked_whole {
        "directories without u+rwx cannot be split, for a user other than root and without --perms".to_owned()
    } else if let Some(why) = plain {
        format!("one rsync would have to do this run ({why})")
    } else {
        return Ok(());
    };
    Err(Error::usage(format!("cannot follow --gitignore: {refused}"))
        .remedy("leave out --gitignore, or change the rsync options"))
}
