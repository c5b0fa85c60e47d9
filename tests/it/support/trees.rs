//! `src` in a work folder for copies by hosts, and checks that `D` is the same.

use std::fs;

use multi_sync::harness::treegen::{self, Sizes, Spec};

use super::command::{Run, rsync, run, sh};
use super::twin::temporary_files;
use super::work::Work;

/// Small files, always the same.
pub fn tree(work: &Work, entries: u64) {
    treegen::generate(&work.join("src"), &Spec::bench(entries, Sizes::Uniform { min: 0, max: 3000 }), 7).unwrap();
}

/// Files whose copy takes a while, with `--bwlimit` for each rsync.
pub fn slow_tree(work: &Work) {
    for number in 0..36 {
        let file = fs::File::create(work.file(format!("src/d{}/f{number}", number % 4), "")).unwrap();
        file.set_len(400_000).unwrap();
    }
}

/// Checks that nothing would be copied or deleted, also by content.
#[track_caller]
pub fn expect_same(work: &Work, ran: &Run) {
    let mut check = rsync(work);
    check.args(["-aHnic", "--delete", "src/", "D/"]);
    assert_eq!(run(check).stdout_text(), "", "{}", ran.report());
}

/// The same for the slow tree, without temporary files of a killed rsync, which are not removed, as with one rsync.
#[track_caller]
pub fn expect_slow_tree(work: &Work, ran: &Run) {
    for left in temporary_files(&work.join("D")) {
        fs::remove_file(left).unwrap();
    }
    run(sh(work, "for n in 0 1 2 3; do touch -r src/d$n D/d$n; done")).expect_code(0);
    expect_same(work, ran);
}
