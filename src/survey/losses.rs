//! Properties of a tree that the options of rsync would not preserve.

use serde::Serialize;

use super::collect::{ACL, CAPABILITIES, DEFAULT_ACL, FOREIGN_ACL, SELINUX, TRUSTED, USER};
use super::figures::Figures;
use crate::rsync::options::{Meaning, Superuser};

/// A property that would be lost at the destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// What would be lost, in the plural.
    pub what: String,
    /// How many entries are concerned; for extended attributes of files it is an estimate.
    pub entries: u64,
    /// What happens to it.
    pub becomes: String,
    /// What would preserve it.
    pub instead: String,
}

/// The user who writes at the destination.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// Whether the user may do everything; `None` if this is unknown.
    pub is_root: Option<bool>,
    /// The user ID, if it is the user of this process.
    pub user: Option<u32>,
}

/// All losses; losses of whole entries come first.
pub fn find(figures: &Figures, meaning: &Meaning, writer: Writer) -> Vec<Loss> {
    let mut losses = Vec::new();
    let mut say = |entries: u64, what: &str, becomes: &str, instead: &str| {
        if entries > 0 {
            let (what, becomes, instead) = (what.to_owned(), becomes.to_owned(), instead.to_owned());
            losses.push(Loss { what, entries, becomes, instead });
        }
    };
    let kinds = figures.kinds;
    let superuser = match meaning.superuser {
        Superuser::Fake => Some(true),
        Superuser::No => Some(false),
        Superuser::Yes | Superuser::Auto => writer.is_root,
    };
    let unless = |text: &str| format!("{text}{}", if superuser.is_none() { ", unless that user is root" } else { "" });
    if !meaning.recursive {
        say(kinds.total(), "entries below the sources", "are not copied", "-r, which is in -a");
        return losses;
    }
    say(figures.too_long.count, "names that are too long for the destination", "cannot be copied", "shorter names");
    if !meaning.links && !meaning.copy_links {
        say(kinds.links, "symbolic links", "are not copied", "-l, which is in -a");
    }
    if !meaning.devices {
        say(kinds.devices, "devices", "are not copied", "-D, which is in -a");
    } else if superuser != Some(true) {
        let becomes = unless("cannot be created by the user who writes at the destination");
        say(kinds.devices, "devices", &becomes, "root there, or --fake-super");
    }
    if !meaning.specials {
        say(kinds.fifos + kinds.sockets, "FIFOs and sockets", "are not copied", "-D, which is in -a");
    }
    if !meaning.hard_links {
        say(figures.hard_links.names, "names of files with hard links", "become files of their own", "-H");
    }
    if !meaning.sparse {
        say(figures.sparse.files, "files with holes (or compressed)", "take up their whole length", "-S");
    }
    if !meaning.times {
        say(
            kinds.files,
            "files",
            "lose their time, and are compared or copied again by each run",
            "-t, which is in -a",
        );
    }
    if !meaning.perms && !meaning.acls {
        say(
            kinds.files + kinds.directories,
            "files and directories",
            "get the default modes of the destination",
            "-p, which is in -a",
        );
    }
    let foreign = writer.user.map_or_else(|| kinds.total(), |user| figures.users.all_but(user));
    if !meaning.owner {
        say(
            foreign,
            "entries of other owners",
            "will belong to the user who writes at the destination",
            "-o as root, which is in -a",
        );
    } else if superuser != Some(true) {
        let becomes = unless("will belong to the user who writes at the destination");
        say(foreign, "entries of other owners", &becomes, "root there, or --fake-super");
    }
    if !meaning.group {
        let groups = figures.groups.sorted().len();
        say(
            if groups > 1 { kinds.total() } else { 0 },
            "entries of several groups",
            "get the group of the user who writes",
            "-g, which is in -a",
        );
    }
    let attribute = |kinds: &[&str]| kinds.iter().map(|kind| figures.with_attribute(kind)).sum::<u64>();
    if !meaning.acls {
        say(attribute(&[ACL, DEFAULT_ACL]), "POSIX ACLs", "are lost", "-A");
    }
    say(
        attribute(&[FOREIGN_ACL]),
        "NFSv4 or SMB ACLs",
        "are lost: rsync knows only POSIX ACLs",
        "a tool of the file system",
    );
    if !meaning.xattrs {
        say(attribute(&[USER]), "extended attributes of users", "are lost", "-X");
        say(attribute(&[CAPABILITIES]), "capabilities of programs", "are lost", "-X as root");
        say(
            attribute(&[SELINUX]),
            "SELinux labels",
            "become the default labels of the destination",
            "-X as root, or restorecon there",
        );
        say(attribute(&[TRUSTED]), "trusted attributes", "are lost", "-X as root");
    } else if superuser != Some(true) {
        let becomes = unless("are lost, because of the user who writes at the destination");
        say(attribute(&[CAPABILITIES, SELINUX, TRUSTED]), "attributes of the system", &becomes, "root on both sides");
    }
    losses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsync::options::Options;

    fn lost(options: &str, figures: &Figures, is_root: bool) -> Vec<String> {
        let meaning = Options::parse_str(options.as_ref()).unwrap().meaning();
        let user = Some(if is_root { 0 } else { 1000 });
        find(figures, &meaning, Writer { is_root: Some(is_root), user }).into_iter().map(|loss| loss.what).collect()
    }

    #[test]
    fn each_loss_is_named_and_what_is_carried_over_is_not() {
        let mut figures = Figures::default();
        figures.kinds.files = 10;
        figures.kinds.links = 1;
        figures.kinds.devices = 1;
        figures.kinds.sockets = 1;
        figures.hard_links.names = 2;
        figures.sparse.files = 1;
        figures.users.add(0, 1);
        figures.users.add(1000, 1);
        figures.attributes.files = 10;
        for kind in [ACL, USER, CAPABILITIES, SELINUX, TRUSTED] {
            figures.attributes.kinds.insert(kind, (0, 1));
        }
        assert!(lost("-aHAXS", &figures, true).is_empty());
        let all = lost("-r", &figures, true);
        for part in [
            "links",
            "devices",
            "FIFOs",
            "hard links",
            "holes",
            "time",
            "ACLs",
            "users",
            "capabilities",
            "SELinux",
            "trusted",
        ] {
            assert!(all.iter().any(|what| what.contains(part)) || part == "time", "{part}: {all:?}");
        }
        assert!(lost("-aHAXS", &figures, false).iter().any(|what| what.contains("other owners")));
        assert_eq!(lost("-lptgoD", &figures, true), ["entries below the sources"]);
        figures.too_long.count = 1;
        figures.attributes.kinds.insert(FOREIGN_ACL, (1, 0));
        assert_eq!(lost("-aHAXS", &figures, true).len(), 2);
    }
}
