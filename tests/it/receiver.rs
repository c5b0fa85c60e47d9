//! The user who writes at the destination may differ from the one who reads the source: the result is that of one rsync nevertheless.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use crate::support;
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::twin::{Twin, table};
use crate::support::work::{NOBODY, Work, set_mode};

/// Directories that their owner may not write, or enter, and directories with special bits: each is split.
const MODES: [(&str, u32); 7] = [
    ("ro", 0o555),
    ("ro/in", 0o755),
    ("none", 0o000),
    ("setgid", 0o2755),
    ("sticky", 0o1777),
    ("x", 0o300),
    ("y", 0o2500),
];

fn fill(dir: &Path, content: &str) {
    for (name, _) in MODES {
        fs::create_dir_all(dir.join(name)).unwrap();
        for number in 0..7 {
            fs::write(dir.join(name).join(format!("f{number}")), format!("{content}{number}")).unwrap();
        }
    }
    for (name, mode) in MODES.iter().rev() {
        set_mode(&dir.join(name), *mode);
    }
}

/// A destination with other modes, and with names that the source lacks. It belongs to nobody if nobody writes there.
fn old(dir: &Path, owner: u32) {
    fs::create_dir(dir.join("D")).unwrap();
    for (name, mode) in [("ro", 0o755), ("setgid", 0o555), ("gone", 0o555), ("sticky", 0o500)] {
        let path = dir.join("D").join(name);
        fs::create_dir(&path).unwrap();
        for file in ["f1", "extra"] {
            fs::write(path.join(file), "old").unwrap();
            chown(path.join(file), Some(owner), Some(owner)).unwrap();
        }
        set_mode(&path, mode);
        chown(&path, Some(owner), Some(owner)).unwrap();
        set_mode(&path, mode);
    }
    chown(dir.join("D"), Some(owner), Some(owner)).unwrap();
}

const OPTIONS: [&str; 6] = ["-a", "-rlt", "-a --delete", "-aHAX --delete", "-rt --delete-after", "-aX --no-p"];

fn copies(work: &Work, shell: Option<&str>, to: &str, owner: u32, as_nobody: bool) {
    let cases: Vec<(&str, bool)> = OPTIONS.iter().flat_map(|options| [(*options, false), (*options, true)]).collect();
    table(&cases, |(options, exists)| {
        let options = shell.map_or((*options).to_owned(), |shell| format!("{options} -e {shell}"));
        let exists = *exists;
        let mut twin = Twin::new(work, ["src/", to]).options(&options).flags("-p 3 -f 3").prepare(move |side| {
            chown(side, Some(owner), Some(owner)).unwrap();
            set_mode(side, 0o755);
            if exists {
                old(side, owner);
            }
        });
        if as_nobody {
            twin = twin.nobody();
        }
        twin.difference()
    });
}

/// A remote shell that runs the command on this machine as nobody.
fn shell_of_nobody(work: &Work) -> String {
    let script = "#!/bin/sh\nshift\nexec setpriv --reuid 65534 --regid 65534 --clear-groups sh -c \"$*\"\n";
    let shell = work.file("shell", script);
    set_mode(&shell, 0o755);
    shell.display().to_string()
}

macro_rules! needs_root {
    ($test:literal) => {
        if !support::is_root() {
            return support::skip($test, "needs root");
        }
    };
}

#[test]
fn root_here_and_nobody_there_through_a_shell() {
    needs_root!("root_here_and_nobody_there_through_a_shell");
    let work = Work::public();
    fill(&work.join("src"), "new");
    let to = format!("host:{}/SIDE/D", work.path().display());
    let shell = shell_of_nobody(&work);
    copies(&work, Some(&shell), &to, NOBODY, false);
}

/// Other users could swap directories that they own: then names are passed as a list, and the directories above them are sent too.
#[test]
fn trees_of_users_reach_nobody_there() {
    needs_root!("trees_of_users_reach_nobody_there");
    let work = Work::public();
    fill(&work.join("src"), "new");
    for (name, mode) in MODES.iter().rev() {
        chown(work.join("src").join(name), Some(NOBODY), Some(NOBODY)).unwrap();
        set_mode(&work.join("src").join(name), *mode);
    }
    let to = format!("host:{}/SIDE/D", work.path().display());
    let shell = shell_of_nobody(&work);
    copies(&work, Some(&shell), &to, NOBODY, false);
}

#[test]
fn root_here_and_nobody_there_through_a_daemon() {
    needs_root!("root_here_and_nobody_there_through_a_daemon");
    let work = Work::public();
    fill(&work.join("src"), "new");
    let module = Module::new("copy", work.path()).line("uid = nobody").line("gid = nogroup");
    let daemon = match Rsyncd::start(&[module]) {
        Ok(daemon) => daemon,
        Err(why) => return support::skip("root_here_and_nobody_there_through_a_daemon", &why),
    };
    copies(&work, None, &format!("{}/SIDE/D", daemon.url("copy")), NOBODY, false);
}

#[test]
fn the_same_or_more_rights_there() {
    needs_root!("the_same_or_more_rights_there");
    let work = Work::public();
    fill(&work.join("src"), "new");
    let daemon = match Rsyncd::start(&[Module::new("copy", work.path())]) {
        Ok(daemon) => daemon,
        Err(why) => return support::skip("the_same_or_more_rights_there", &why),
    };
    let to = format!("{}/SIDE/D", daemon.url("copy"));
    copies(&work, None, &to, 0, false);
    for (name, mode) in MODES.iter().rev() {
        chown(work.join("src").join(name), Some(NOBODY), Some(NOBODY)).unwrap();
        set_mode(&work.join("src").join(name), *mode);
    }
    copies(&work, None, &to, 0, true);
    assert_eq!(fs::metadata(work.join("src/none")).unwrap().permissions().mode() & 0o7777, 0);
}
