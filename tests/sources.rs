//! Odd sources beside one rsync: what lies above a source of `--relative`, forms that are typed rarely, links that lead elsewhere, paths
//! that are too long, many sources at once.

mod lab;

use std::fs;
use std::path::Path;

use lab::is_root;
use lab::twin::{Twin, table};
use lab::work::{Work, set_mode};

/// `s/p/q/r` with directories enough for several launches in it, and one more beside `p`.
fn chain(root: &Path) {
    for dir in ["s/p/q/r/a", "s/p/q/r/b", "s/x"] {
        fs::create_dir_all(root.join(dir)).unwrap();
        for number in 0..3 {
            fs::write(root.join(dir).join(format!("f{number}")), dir).unwrap();
        }
    }
}

/// What is above a source of `--relative` arrives with its own attributes, or with none under `--no-implied-dirs`; DEST never gets those
/// of the directory that the names start at.
#[test]
fn the_chain_above_a_relative_source() {
    const CHAIN: [&str; 4] = ["s", "s/p", "s/p/q", "s/p/q/r"];
    let work = Work::public();
    let absolute = |path: &str| format!("{}/{path}", work.path().display());
    let mut cases = Vec::new();
    for (number, mode) in [0o2775, 0o1777, 0o555, 0o700, 0o777, 0o0].into_iter().enumerate() {
        for (at, special) in CHAIN.iter().enumerate() {
            let tree = format!("{mode:o}-{at}");
            chain(&work.dir(&tree));
            if is_root() {
                std::os::unix::fs::lchown(work.join(&tree).join(CHAIN[(at + 1) % 4]), Some(7), Some(8)).unwrap();
            }
            set_mode(&work.join(&tree).join(special), mode);
            let forms: [&[&str]; 6] = [
                &["T/s/"],
                &["T/s/p/q/r", "T/s/x"],
                &["T/./s/p/q"],
                &["T/s/p/./q/r/"],
                &["T/s/p/q/./r", "T/s/x/"],
                &["/./T/s/p//"],
            ];
            let form = forms[(number + at) % forms.len()];
            let names = form.iter().map(|word| match word.strip_prefix("/./") {
                Some(rest) => format!("/.{}", absolute(&rest.replace('T', &tree))),
                None if (number / 2 + at) % 2 == 0 => absolute(&word.replace('T', &tree)),
                None => word.replace('T', &tree),
            });
            let options = ["-aR", "-aR --no-implied-dirs", "-rlR --delete"][(number + 2 * at) % 3];
            cases.push((names.collect::<Vec<_>>(), options, mode, *special));
        }
    }
    table(&cases, |(names, options, mode, special)| {
        let words = names.iter().map(String::as_str).chain(["SIDE/D/"]);
        let twin = Twin::new(&work, words).options(*options).flags("-p 3 -f 2").prepare(|side| {
            fs::create_dir(side.join("D")).unwrap();
            set_mode(&side.join("D"), 0o700);
        });
        Some(format!("{names:?} {options}, {special} with {mode:o}: {}", twin.difference()?))
    });
}
