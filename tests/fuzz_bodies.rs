//! The bodies of the fuzz targets, run with stable Rust: over the committed corpus, mixtures of it, and random bytes.

use std::fs;
use std::path::{Path, PathBuf};

use multi_sync::harness::rsync::options::{Spec, specs};
use proptest::prelude::*;

/// Runs `$name::check` of `fuzz/bodies/$name.rs` over `fuzz/corpus/$name` and `$cases` other inputs.
macro_rules! drive {
    ($name:ident, $cases:expr) => {
        #[test]
        fn $name() {
            drive(stringify!($name), $cases, $name::check);
        }
    };
}

const MANY: u32 = 4096;
/// The number of cases for targets that start rsync for each case.
const FEW: u32 = 64;

#[path = "../fuzz/bodies/bucket.rs"]
mod bucket;
drive!(bucket, MANY);

#[path = "../fuzz/bodies/endpoint.rs"]
mod endpoint;
drive!(endpoint, MANY);

#[path = "../fuzz/bodies/options.rs"]
mod options;
drive!(options, MANY);

#[path = "../fuzz/bodies/popt.rs"]
mod popt;
drive!(popt, FEW);

#[path = "../fuzz/bodies/prune.rs"]
mod prune;
drive!(prune, FEW);

#[path = "../fuzz/bodies/rsync.rs"]
mod rsync;

#[path = "../fuzz/bodies/size.rs"]
mod size;
drive!(size, MANY);

proptest! {
    #![proptest_config(config(FEW))]

    #[test]
    fn rules_in_files_leave_out_what_rsync_leaves_out(words in prop::collection::vec(word_with_rules(), 1..5)) {
        prune::check(words.join("\0").as_bytes());
    }
}

proptest! {
    #![proptest_config(config(FEW))]

    #[test]
    fn words_are_read_as_rsync_reads_them(words in prop::collection::vec(word_of_a_command_line(), 1..5)) {
        popt::check(words.join("\n").as_bytes());
    }
}

/// Every name of an option, alone or in a cluster, with and without a value, and words that may be values.
fn word_of_a_command_line() -> impl Strategy<Value = String> {
    let all = specs();
    let named = |spec: &'static Spec| spec.long.iter().chain(spec.aliases).chain(spec.negations).copied();
    let long: Vec<&str> = all.iter().flat_map(named).collect();
    let letters: Vec<char> = all.iter().filter_map(|spec| spec.short).map(char::from).collect();
    let name = || prop::sample::select(long.clone()).prop_map(|name| format!("--{name}"));
    let cluster = prop::collection::vec(prop::sample::select(letters), 1..4);
    prop_oneof![
        4 => name(),
        2 => (name(), "=[0-9a-z,.-]{0,3}").prop_map(|(name, value)| name + &value),
        4 => (cluster, "[=0-9]{0,2}").prop_map(|(letters, value)| format!("-{}{value}", String::from_iter(letters))),
        2 => "-{0,2}[a-z0=]{0,2}",
    ]
}

/// Rules made of few letters, so that they interact, in files with all kinds of line ends; `\u{1}` stands for a NUL.
fn word_with_rules() -> impl Strategy<Value = String> {
    let rule = || "[-+#;]{0,1}[ _]{0,1}/{0,1}[ab]{1,2}[*?/]{0,1}[ab]{0,1}/{0,1}";
    let end = "[\n\n\n\r\u{1}]";
    let file = ("[xxxnmm]", prop::collection::vec((rule(), end), 1..4))
        .prop_map(|(kind, lines)| kind + &lines.into_iter().map(|(rule, end)| rule + &end).collect::<String>());
    let option = ("[eeif]", rule()).prop_map(|(kind, rule)| kind + &rule);
    prop_oneof![3 => file, 2 => option, 1 => "0"]
}

fn drive(name: &str, cases: u32, check: fn(&[u8])) {
    let mut files: Vec<PathBuf> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "fuzz/corpus/{name} is empty");
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    for (file, seed) in files.iter().zip(&seeds) {
        println!("{}", file.display());
        check(seed);
    }
    let seed = prop::sample::select(seeds);
    let mixture = (
        seed.clone(),
        seed,
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<u8>(), 0..3),
    )
        .prop_map(|(head, tail, to, from, between)| {
            [&head[..to.index(head.len() + 1)], &between, &tail[from.index(tail.len() + 1)..]].concat()
        });
    let input = prop_oneof![4 => mixture, 1 => prop::collection::vec(any::<u8>(), 0..32)];
    proptest!(config(cases), |(data in input)| check(&data));
}

/// Failures are saved as named corpus files, not as seeds.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
