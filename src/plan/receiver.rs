//! The user as whom the receiving rsync runs: root may write into directories that lack `u+w`, but other users have to make them writable first.
//!
//! With a local destination, it is the user who runs multi-sync. With a remote shell or a daemon it is not known here: `root@nas` may be mapped to another
//! user, and a daemon runs as nobody by default. The launches then work in a way that is right for both.

use crate::config::Config;
use crate::rsync::options::{Meaning, Superuser};

/// The user as whom receiving rsyncs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiver {
    Root,
    User,
    Unknown,
}

/// How to treat directories without `u+rwx` that would otherwise be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Locked {
    /// They are created with `u+rwx`, and get their own modes last.
    pub unlock: bool,
    /// They are not split.
    pub keep_whole: bool,
}

impl Receiver {
    /// `is_root` is true if rsyncs that are started here run as root.
    pub fn of(config: &Config, is_root: bool) -> Receiver {
        match (config.destination.is_local(), is_root) {
            (true, true) => Receiver::Root,
            (true, false) => Receiver::User,
            (false, _) => Receiver::Unknown,
        }
    }

    pub fn is_root(self) -> bool {
        self == Receiver::Root
    }

    pub fn locked(self, config: &Config, meaning: &Meaning) -> Locked {
        // With these options, a single rsync that is not root does not make directories writable for itself, and fails.
        let strict = meaning.acls || meaning.xattrs;
        // Names of one inode may be inside and outside a directory that is not split, and it may contain ignored entries.
        let must_split = self == Receiver::Unknown && (meaning.hard_links || config.gitignore);
        let unlock = !self.is_root() && meaning.perms && meaning.superuser != Superuser::Yes && (!strict || must_split);
        let splits = self == Receiver::Unknown && config.gitignore;
        Locked { unlock, keep_whole: !self.is_root() && !unlock && !splits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Destination, Source};
    use crate::rsync::options::Options;

    #[test]
    fn locked_directories_are_right_for_whoever_may_receive_them() {
        let locked = |dest: &str, options: &[&str], root: bool| {
            let dest = Destination::parse(dest.as_ref()).unwrap();
            let source = Source::parse("s/".as_ref()).unwrap();
            let config = Config::new(vec![source], dest, Options::parse(options).unwrap(), "/".into());
            let found = Receiver::of(&config, root).locked(&config, &config.options.meaning());
            (found.unlock, found.keep_whole)
        };
        for root in [true, false] {
            assert_eq!(locked("h:d", &["-a"], root), (true, false));
            assert_eq!(locked("rsync://h/m", &["-aHAX"], root), (true, false));
            assert_eq!(locked("h:d", &["-aX"], root), (false, true));
            assert_eq!(locked("h:d", &["-rlt"], root), (false, true));
        }
        assert_eq!(locked("d", &["-rlt"], true), (false, false));
        assert_eq!(locked("d", &["-a"], false), (true, false));
        assert_eq!(locked("d", &["-aH", "-A"], false), (false, true));
    }
}
