//! The times of split directories: they are what one rsync leaves, also where no rsync sets them at the end.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use multi_sync::harness::treegen::{self, Sizes, Spec};
use multi_sync::harness::verify::{self, compare};
use serde_json::Value;

use crate::support;
use crate::support::command::{multi_sync, run};
use crate::support::events::{of, read};
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::twin::{Twin, fake_rsync};
use crate::support::work::Work;

/// Sets an old time with nanoseconds for a directory and all directories in it.
fn age(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            age(&entry.path());
        }
    }
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_200_000_000, 123_456_789);
    File::open(dir).unwrap().set_modified(time).unwrap();
}

fn tree(work: &Work) {
    treegen::generate(&work.join("src"), &Spec::bench(90, Sizes::Uniform { min: 1, max: 99 }), 1).unwrap();
    age(&work.join("src"));
}

#[test]
fn the_times_are_those_of_one_rsync() {
    let work = Work::new();
    tree(&work);
    let exists = |side: &Path| {
        treegen::generate(&side.join("D"), &Spec::bench(60, Sizes::Uniform { min: 1, max: 50 }), 2).unwrap();
        age(&side.join("D"));
    };
    for options in [
        "-a",
        "-a --delete",
        "-ab",
        "-ab --suffix=.old",
        "-ab --backup-dir=old",
        "-aO",
        "-aU",
        "-r",
        "-rlpt",
        "-a --modify-window=5",
        "-a -M--omit-dir-times",
        "-a --existing",
        "-a --chmod=Du+w,Dg-w",
        "-av",
    ] {
        for flags in ["-p 3 -f 5 --first-pass=off", "-p 3 -f 5"] {
            for prepared in [false, true] {
                let twin = Twin::new(&work, ["src/", "SIDE/D/"]).options(options).flags(flags);
                let twin = if prepared { twin.prepare(exists) } else { twin };
                assert_eq!(twin.difference(), None, "{options} {flags} {prepared}");
            }
        }
    }
}

/// rsync is not started for the times of directories alone, but for whatever else it would set.
#[test]
fn rsync_sets_them_only_if_it_has_to() {
    let work = Work::new();
    tree(&work);
    for (options, expected) in [("-a", 0), ("-aAX", 0), ("-av", 0), ("-aU", 1), ("-a --modify-window=5", 1)] {
        let dest = format!("D{options}/");
        let mut command = multi_sync(&work);
        command.args(["-p", "3", "-f", "5", "--first-pass=off", "--events", "events", "-r", options, "src/", &dest]);
        run(command).expect_code(0);
        let lines = read(&work.join("events"));
        let started = of(&lines, "launch_start").into_iter().filter(|line| line["kind"] == "attributes").count();
        assert_eq!(started, expected, "{options}");
        fs::remove_file(work.join("events")).unwrap();
    }
}

/// The rsync that creates the directories may end late: what is copied into them does not wait for it, and they get the times of the source nevertheless.
#[test]
fn copies_begin_when_their_new_directories_exist() {
    let work = Work::new();
    tree(&work);
    let daemon = match Rsyncd::start(&[Module::new("m", work.join("src"))]) {
        Ok(daemon) => daemon,
        Err(why) => return support::skip("copies_begin_when_their_new_directories_exist", &why),
    };
    let slow = "case \" $* \" in *' --no-D '*) REAL \"$@\"; code=$?; sleep 3; exit $code ;; esac; exec REAL \"$@\"";
    let mut command = multi_sync(&work);
    fake_rsync(&mut command, &work, slow);
    command.args(["-p", "2", "-f", "40", "--events", "events", "-r", "-a", &format!("{}/", daemon.url("m")), "D/"]);
    run(command).expect_code(0);
    let lines = read(&work.join("events"));
    let ended: Vec<&Value> = of(&lines, "launch_end").into_iter().map(|line| &line["kind"]).collect();
    let at = |kind: &str| ended.iter().position(|ended| *ended == kind);
    assert!(at("copy").unwrap() < at("create").unwrap(), "{ended:?}");
    let report = compare(&work.join("src"), &work.join("D"), &verify::Options::archive()).unwrap();
    assert!(report.is_same(), "{report}");
}
