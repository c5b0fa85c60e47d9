//! The programs in `examples/` that use the library work as described.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::support::command::{rsync, run};
use crate::support::work::Work;
use multi_sync::harness::treegen::{self, Sizes, Spec};

#[expect(dead_code, reason = "the main function of a program")]
#[path = "../../examples/pack.rs"]
mod pack;
#[expect(dead_code, reason = "the main function of a program")]
#[path = "../../examples/resume.rs"]
mod resume;
#[expect(dead_code, reason = "the main function of a program")]
#[path = "../../examples/scan.rs"]
mod scan;

fn tree(work: &Work) {
    treegen::generate(&work.join("src"), &Spec::bench(3000, Sizes::Uniform { min: 0, max: 300 }), 9).unwrap();
}

#[test]
fn a_copy_that_is_cancelled_goes_on_to_its_end() {
    let work = Work::new();
    tree(&work);
    let words = [work.join("src").join(""), work.join("D"), work.dir("runs")].map(Into::into);
    for pause in [Duration::ZERO, Duration::from_secs(1)] {
        assert_eq!(resume::copy(words.each_ref(), pause).unwrap(), 0);
        let mut check = rsync(&work);
        check.args(["-ani", "--delete", "src/", "D/"]);
        assert_eq!(run(check).stdout_text(), "");
        assert_eq!(fs::read_dir(work.join("runs")).unwrap().count(), 0);
        fs::remove_dir_all(work.join("D")).unwrap();
    }
}

#[test]
fn a_scan_counts_what_is_there() {
    let work = Work::new();
    tree(&work);
    work.file("src/large", [0; 1000]);
    let text = scan::report(work.join("src").into()).unwrap();
    let found = run({
        let mut find = crate::support::command::sh(&work, "find src | wc -l");
        find.arg("sh");
        find
    });
    assert!(text.starts_with(&format!("{} entries, ", found.stdout_text().trim())), "{text}");
    assert!(text.contains("1000 large\n"), "{text}");
}

#[test]
fn lists_hold_each_name_once() {
    let work = Work::new();
    tree(&work);
    let lists = pack::pack(work.join("src"), &work.dir("lists")).unwrap();
    assert!(lists.len() > 2, "{lists:?}");
    let mut names = BTreeSet::new();
    for (entries, _, file) in &lists {
        assert!(*entries <= 1000);
        for name in fs::read(file).unwrap().split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let path = work.join("src").join(std::str::from_utf8(name).unwrap());
            assert!(path.symlink_metadata().is_ok(), "{}", path.display());
            assert!(names.insert(path), "a name is in two lists");
        }
    }
    // Everything except split directories is in a list, or below a name in one.
    let sum: u64 = lists.iter().map(|(entries, ..)| entries).sum();
    assert!((2900..=3001).contains(&sum), "{sum} entries");
}
