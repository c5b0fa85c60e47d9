//! Real trees: after a copy with several rsyncs, a plain rsync finds nothing to do, and the copy is identical byte by byte.

use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;

use crate::support;
use crate::support::command::{command, multi_sync, rsync, run};
use crate::support::sshd::Sshd;
use crate::support::work::Work;
use multi_sync::harness::treegen::{Fill, from_manifest};
use multi_sync::harness::verify::{Options, compare};

/// The names, sizes, and times of the Linux source, each file being one hole: about 78,600 files in memory only.
fn linux_tree(work: &Work) -> Result<(), String> {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench-data/linux-6.1.tree.zst");
    if !packed.is_file() {
        return Err(format!("{} is missing", packed.display()));
    }
    let mut unpack = command(work, "zstd");
    unpack.args(["-dqo", "manifest"]).arg(&packed);
    if !run(support::command::sh(work, "command -v zstd")).status.success() {
        return Err("zstd is not installed".into());
    }
    run(unpack).expect_code(0);
    let manifest = BufReader::new(fs::File::open(work.join("manifest")).unwrap());
    let totals = from_manifest(&work.join("src"), manifest, Fill::Hole, 1).unwrap();
    assert!(totals.files > 78_000, "{totals:?}");
    Ok(())
}

/// Copies, and then lets a plain rsync look for differences.
#[track_caller]
fn copy_and_check(work: &Work, copy: Command, check: &[&str]) {
    let ran = run(copy).expect_code(0);
    let launches = ran.stdout_text().lines().find_map(|line| line.strip_prefix("Launches: ")?.parse::<u64>().ok());
    assert!(launches.is_some_and(|launches| launches > 2), "several rsyncs did it\n{}", ran.report());
    let mut look = rsync(work);
    look.args(["-aSni", "--numeric-ids"]).args(check);
    let look = run(look).expect_code(0);
    assert!(look.stdout.is_empty(), "after\n{}\n{}", ran.report(), look.report());
}

#[test]
fn the_linux_source_locally_and_through_sshd() {
    let name = "the_linux_source_locally_and_through_sshd";
    let Some(work) = Work::on_tmpfs() else { return support::skip(name, "no tmpfs") };
    if let Err(why) = linux_tree(&work) {
        return support::skip(name, &why);
    }
    let mut copy = multi_sync(&work);
    copy.args(["-p", "4", "--stats", "src/", "local"]);
    copy_and_check(&work, copy, &["src/", "local/"]);
    // Again with nothing to do, with the source under its own name.
    let mut copy = multi_sync(&work);
    copy.args(["-p", "4", "--stats", "src/", "local"]);
    copy_and_check(&work, copy, &["src/", "local/"]);
    fs::remove_dir_all(work.join("local")).unwrap();

    let sshd = match Sshd::start() {
        Ok(sshd) => sshd,
        Err(why) => return support::skip(name, &why),
    };
    let dest = format!("{}:{}/remote", sshd.host(), work.path().display());
    let mut copy = multi_sync(&work);
    copy.args(["-p", "4", "--stats", "src", &dest]).env("RSYNC_RSH", sshd.rsh());
    copy_and_check(&work, copy, &["src", "remote"]);
}

#[test]
fn usr_share_is_identical() {
    let source = Path::new("/usr/share");
    let work = Work::new();
    let mut measure = command(&work, "du");
    measure.args(["-sk", "/usr/share"]);
    let measured = run(measure).stdout_text();
    let kilobytes: u64 = measured.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    // If the source is large, a part of it is enough, because these tests should be short.
    let source = if kilobytes > 2_000_000 { source.join("doc") } else { source.to_owned() };
    if !source.is_dir() || !support::is_root() {
        return support::skip("usr_share_is_identical", "it cannot be read as a whole without root");
    }
    let mut copy = multi_sync(&work);
    copy.args(["-p", "4", "-f", "400", "-s", "20M", "--stats"]).arg(source.join("")).arg("dest");
    copy_and_check(&work, copy, &[source.join("").to_str().unwrap(), "dest/"]);
    let report = compare(&source, &work.join("dest"), &Options::archive()).unwrap();
    assert!(report.is_same() && report.entries > 100, "{report}");
}
