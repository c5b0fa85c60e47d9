//! A power failure: the run directory is on a file system that loses data which were not synced (`tests/it/support/losing_fs.c`). Whatever is left of it, a
//! resumed run makes an identical copy, or ends with an error that says what to do.
//!
//! `CRASHES=200 cargo test --test it crash::` tries more of them; `CRASH_SEED` sets the first seed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support;
use crate::support::command::{Run, Signal, multi_sync, rsync, run, run_within, start};
use crate::support::fuse::Fuse;
use crate::support::twin::fake_rsync;
use crate::support::work::Work;
use multi_sync::harness::treegen::{self, Sizes, Spec};

/// rsync 3.5.0 itself may sleep for 60 s before it ends (see the limit in the oracle's judge).
const SOON: Duration = Duration::from_secs(120);
const CRASHES: u64 = 5;
/// How a resumed run ends if nothing that it needs was lost.
const IDENTICAL: &str = "identical";
/// The approximate duration of a run in milliseconds.
const LONGEST: u64 = 900;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The file system, mounted at `runs`.
struct Losing<'a>(Fuse<'a>);

impl<'a> Losing<'a> {
    /// Mounts it. The error says why this is not possible here.
    fn mount(work: &'a Work) -> Result<Losing<'a>, String> {
        Ok(Losing(Fuse::mount(work, "losing_fs", &["-s".into()], "runs")?))
    }

    /// Loses everything that was not synced.
    fn crash(&self, seed: u64) {
        let _ = fs::create_dir(self.0.path.join(format!(".crash-{seed}")));
    }

    fn run_dir(&self) -> Option<PathBuf> {
        fs::read_dir(&self.0.path).unwrap().map(|entry| entry.unwrap().path()).next()
    }

    fn clear(&self) {
        while let Some(dir) = self.run_dir() {
            fs::remove_dir_all(dir).unwrap();
        }
    }
}

fn slowly(command: &mut Command, work: &Work) {
    fake_rsync(
        command,
        work,
        "case \" $* \" in *' -n '*) ;; *' --no-implied-dirs '*) sleep 0.05 ;; esac; exec REAL \"$@\"",
    );
}

fn resume(work: &Work, dir: &Path) -> Command {
    let mut command = multi_sync(work);
    command.arg("--resume").arg(dir);
    slowly(&mut command, work);
    command
}

/// Lets a command run for a while and kills it. Also returns whether this was before its end.
fn killed(command: Command, random: &mut Random) -> (Run, bool) {
    let running = start(command);
    std::thread::sleep(Duration::from_millis(random.below(LONGEST)));
    running.signal(Signal::KILL);
    let ran = running.finish(SOON);
    let was_killed = ran.status.code().is_none();
    (ran, was_killed)
}

#[test]
fn what_was_not_synced_is_lost_and_nothing_else() {
    const NAME: &str = "what_was_not_synced_is_lost_and_nothing_else";
    let work = Work::new();
    let losing = match Losing::mount(&work) {
        Ok(losing) => losing,
        Err(why) => return support::skip(NAME, &why),
    };
    treegen::generate(&work.join("src"), &Spec::bench(150, Sizes::Uniform { min: 0, max: 300 }), 9).unwrap();
    let number = |name: &str, usual| std::env::var(name).map_or(usual, |text| text.parse().expect(name));
    let (crashes, mut seed) = (number("CRASHES", CRASHES), number("CRASH_SEED", 1));
    let (mut kills, mut ends) = (0, BTreeMap::<String, u64>::new());
    while kills < crashes {
        seed += 1;
        let mut random = Random(seed);
        losing.clear();
        let _ = fs::remove_dir_all(work.join("D"));
        let mut command = multi_sync(&work);
        let options = ["-a", "-aH --delete", "-a --delete-after"][seed as usize % 3];
        command.args(["-p", "2", "-f", "8", "-b", "runs", "-r", options, "src/", "D"]);
        slowly(&mut command, &work);
        if !killed(command, &mut random).1 {
            continue;
        }
        let Some(dir) = losing.run_dir() else { continue };
        losing.crash(random.below(1 << 30));
        kills += 1;
        // In one of three cases the resumed run is killed as well.
        if seed.is_multiple_of(3) && killed(resume(&work, &dir), &mut random).1 {
            losing.crash(random.below(1 << 30));
            kills += 1;
        }
        let ran = run_within(resume(&work, &dir), SOON);
        let end = match ran.status.code() {
            Some(0) => {
                let mut check = rsync(&work);
                check.args(["-aHni", "--delete", "src/", "D/"]);
                assert_eq!(run(check).stdout_text(), "", "seed {seed}: {}", ran.report());
                IDENTICAL.to_owned()
            }
            code => {
                assert!(ran.stderr_text().contains("multi-sync: to do: "), "seed {seed}: {}", ran.report());
                format!("error with code {code:?}")
            }
        };
        *ends.entry(end).or_default() += 1;
    }
    println!("{kills} kills: {ends:?}");
    // A run that goes on is the rule. If it were refused every time, none of these would prove anything.
    let (identical, all) = (ends.get(IDENTICAL).copied().unwrap_or(0), ends.values().sum::<u64>());
    assert!(identical * 2 >= all, "only {identical} of {all} resumed runs made an identical copy: {ends:?}");
}
