//! As whom the rsync that writes runs: root may write into directories that lack `u+w`, everybody else has to make them writable first.
//!
//! At a destination on this machine it is who runs this one. Whom a remote shell or a daemon gives it to is not known here: `root@nas` may
//! be mapped, and a daemon's default is nobody. Then launches do what is right for both.

use crate::config::Config;
use crate::rsync::options::{Meaning, Superuser};

/// As whom the receiving rsyncs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiver {
    Root,
    User,
    Unknown,
}

/// What becomes of directories without `u+rwx` that would be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Locked {
    /// They are made with `u+rwx`, and get their modes last.
    pub unlock: bool,
    /// They are not split.
    pub keep_whole: bool,
}

impl Receiver {
    /// `is_root` says it of the rsyncs that are started.
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
        // With these a single rsync that is not root does not make directories writable for itself, and fails.
        let strict = meaning.acls || meaning.xattrs;
        // Names of one inode may be on both sides of a directory that stays whole, and ignored ones in it.
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
