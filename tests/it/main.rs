//! The integration tests: a single crate, so that shared code is built and linked once.
//!
//! A module is a file of tests about one subject; `cargo test --test it resume::` runs those in `resume.rs`. Shared code is in [`support`], and [`oracle`]
//! compares random cases with one rsync. The tests of a crate run in parallel, as many as there are cores: a test that needs a unique resource of the machine
//! takes a lock.

mod oracle;
mod support;

mod addresses;
mod api;
mod bad_input;
mod bandwidth;
mod batch;
mod bench;
mod big;
mod broken_off;
mod command_line;
mod copy;
mod crash;
mod cut_sender;
mod delete_limit;
mod destination;
mod dir_times;
mod documentation;
mod engines;
mod environment;
mod events;
mod examples;
mod failures;
mod far;
mod faults;
mod first_pass;
mod floors;
mod gitignore;
mod hanging_source;
mod held_source;
mod job;
mod journal;
mod many_to_one;
mod monitor;
mod moved_source;
mod one_rsync;
mod options;
mod output;
mod prune;
mod pull;
mod pull_several;
mod receiver;
mod recheck;
mod remote;
mod report;
mod resume;
mod resume_around;
mod rsync_form;
mod rsync_suite;
mod scan;
mod scenes;
mod selftest;
mod sessions;
mod sources;
mod state;
mod steering;
mod supervision;
mod support_selfcheck;
mod survey;
mod symlink_race;
mod terminal;
mod treegen;
mod turns;
mod up_to_date;
mod verify;

/// A file that is not declared as a module would not be tested, without any message.
#[test]
fn every_file_is_a_module() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let modules = include_str!("main.rs");
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(name == "main" || modules.contains(&format!("\nmod {name};\n")), "`mod {name};` is missing");
    }
}
