//! `--bwlimit` is the total for all running rsyncs, and a single running rsync gets all of it.

use std::collections::HashMap;
use std::fs;

use crate::support::command::{Run, multi_sync, run};
use crate::support::twin::fake_rsync;
use crate::support::work::Work;

/// A large file next to directories of small ones.
fn grow(work: &Work) {
    work.file("src/large", vec![7; 3_000_000]);
    for number in 0..24 {
        work.file(format!("src/d{}/f{number}", number % 6), vec![1; 900]);
    }
}

/// The share of the limit of each launch, with its arguments. Also checks the sum of the launches that ran at the same time.
fn shares(ran: &Run, log: &str, limit: u64) -> Vec<(u64, String)> {
    let mut running: HashMap<&str, u64> = HashMap::new();
    let mut shares = Vec::new();
    for line in log.lines() {
        let mut words = line.split(' ');
        let (sign, pid) = (words.next().unwrap(), words.next().unwrap());
        if sign == "-" {
            running.remove(pid);
            continue;
        }
        let share = words.find_map(|word| word.strip_prefix("--bwlimit=")).expect("each launch is limited");
        let share: u64 = share.parse().unwrap();
        running.insert(pid, share);
        let total: u64 = running.values().sum();
        assert!(total <= limit, "{total} of {limit} at once:\n{log}\n{}", ran.report());
        shares.push((share, line.to_owned()));
    }
    shares
}

#[test]
fn the_largest_gets_nearly_all_and_the_total_holds() {
    let work = Work::new();
    grow(&work);
    let mut command = multi_sync(&work);
    command.args(["-p", "4", "-f", "4", "-r", "-a --delete --bwlimit=6.5M", "src/", "D"]);
    let log = work.join("launches");
    let script = "echo \"+ $$ $*\" >>'LOG'; REAL \"$@\"; code=$?; echo \"- $$\" >>'LOG'; exit $code";
    fake_rsync(&mut command, &work, &script.replace("LOG", log.to_str().unwrap()));
    let ran = run(command).expect_code(0);
    let log = fs::read_to_string(log).unwrap();
    let shares = shares(&ran, &log, 6656);
    let of_large = shares.iter().find(|(_, line)| line.contains("./large")).unwrap_or_else(|| panic!("{log}"));
    assert!(of_large.0 > 6000, "{log}");
    assert_eq!(fs::read(work.join("D/large")).unwrap().len(), 3_000_000);
    assert_eq!(fs::read_dir(work.join("D/d5")).unwrap().count(), 4);
}

/// The limit also holds for a single rsync that does everything. In single seconds rsync may exceed its limit, so it gets a little less.
#[test]
fn one_rsync_for_everything_is_told_a_little_less() {
    let work = Work::new();
    work.file("src/only", vec![7; 300_000]);
    let log = work.join("launches");
    for (options, told) in [("-a --bwlimit=10M", "9600"), ("-a --bwlimit=900", "900")] {
        let mut command = multi_sync(&work);
        command.args(["-p", "4", "-r", options, "src/", "D"]);
        fake_rsync(&mut command, &work, &format!("echo \"$*\" >>'{}'; REAL \"$@\"", log.display()));
        run(command).expect_code(0);
        let log = fs::read_to_string(&log).unwrap();
        let last = log.lines().rev().find(|line| line.contains("src/")).unwrap();
        let limit = last.split(' ').filter_map(|word| word.strip_prefix("--bwlimit=")).next_back();
        assert_eq!(limit, Some(told), "{last}");
    }
}
