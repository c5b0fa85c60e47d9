//! A source with one directory that hangs, like a hard NFS mount whose server does not answer (`support/hanging_fs.c`): everything else is copied meanwhile,
//! progress continues, ^C ends the run at once, and a killed run can be resumed when the server answers again.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::command::{Run, Signal, Started, multi_sync, rsync, run, run_within, sh, start};
use crate::support::fuse::Fuse;
use crate::support::processes::expect_gone;
use crate::support::twin::fake_rsync;
use crate::support::work::Work;

/// Reached only if the test fails.
const SOON: Duration = Duration::from_secs(60);
/// ^C should take at most 2 s; on a busy machine it takes longer.
const AT_ONCE: Duration = Duration::from_secs(4);

const FREE: [&str; 4] = ["d0", "d1", "d2", "d3"];
/// More than a bucket may have, so that this directory is split.
const FILES: usize = 8;
const FILES_OF_A_BUCKET: usize = 4;
/// The number of buckets of the directories that do not hang.
const BUCKETS: usize = FREE.len() * FILES / FILES_OF_A_BUCKET;

/// When the directory begins to hang.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// From the beginning: the scan waits.
    Scan,
    /// After the scan, before anything in it is launched: the check of the directory before the launch waits, or rsync does.
    BeforeLaunch,
    /// After rsync has copied its contents: only what follows the launch waits.
    AfterLaunch,
}

/// The source, mounted at `src`, and a place for the run directory.
struct Scene<'a> {
    work: &'a Work,
    phase: Phase,
    _mounted: Fuse<'a>,
}

impl<'a> Scene<'a> {
    /// `Err` says why it is not possible here.
    fn new(work: &'a Work, phase: Phase) -> Result<Scene<'a>, String> {
        for dir in FREE.iter().chain(&["stuck/inner"]) {
            for number in 0..FILES {
                work.file(format!("real/{dir}/f{number}"), format!("{dir} {number}"));
            }
        }
        work.dir("runs");
        let words: [OsString; 2] = [work.join("real").into(), work.join("hangs").into()];
        let scene = Scene { work, phase, _mounted: Fuse::mount(work, "hanging_fs", &words, "src")? };
        if phase == Phase::Scan {
            scene.hang();
        }
        Ok(scene)
    }

    fn hang(&self) {
        self.work.file("hangs.new", "/stuck/inner");
        fs::rename(self.work.join("hangs.new"), self.work.join("hangs")).unwrap();
    }

    fn answers(&self) {
        let _ = fs::remove_file(self.work.join("hangs"));
    }

    /// Several buckets for each directory, and more processes than hanging work can occupy. Each bucket is a launch.
    fn copy(&self) -> Command {
        let mut command = multi_sync(self.work);
        command.args(["-P", "--stats", "-p", "4", "-f", "4", "-b", "runs", "src/", "D"]);
        self.gate(&mut command);
        command
    }

    fn resume(&self) -> Command {
        let mut command = multi_sync(self.work);
        command.args(["-P", "--resume"]).arg(self.run_dir().expect("a killed run leaves its directory"));
        self.gate(&mut command);
        command
    }

    /// To make the directory hang at the right moment, launches of units wait for `go`: before they copy, or after they have copied. In the second case, the
    /// first launches of other directories do not wait, because otherwise no launch of the hanging directory might be running.
    fn gate(&self, command: &mut Command) {
        let wait = "while [ ! -e WORK/go ]; do sleep 0.05; done";
        let (before, after) = match self.phase {
            Phase::Scan => ("", ""),
            Phase::BeforeLaunch => ("WAIT", ""),
            Phase::AfterLaunch => (
                "",
                "case \"$*\" in *stuck*) echo >>WORK/copied; WAIT ;; *)
                 for place in 1 2 3 4 5 6; do mkdir WORK/free.$place 2>/dev/null && exit $code; done; WAIT ;; esac",
            ),
        };
        let script = format!(
            "case \" $* \" in *' --no-implied-dirs '*) ;; *) exec REAL \"$@\" ;; esac\n{before}\nREAL \"$@\"; code=$?\n{after}\nexit $code"
        );
        let script = script.replace("WAIT", wait).replace("WORK", self.work.path().to_str().unwrap());
        fake_rsync(command, self.work, &script);
    }

    /// Starts a copy, and returns it when the directory hangs and every other launch has ended.
    #[track_caller]
    fn start(&self) -> Started {
        let mut started = start(self.copy());
        match self.phase {
            Phase::Scan => {}
            // By then its name exists at the destination: the launch that creates it there also looks at the source.
            Phase::BeforeLaunch => started.wait_for("end of the scan", SOON, |_| {
                self.records("scanned") > 0 && self.work.join("D/stuck/inner").exists()
            }),
            Phase::AfterLaunch => {
                started.wait_for("copy of what will hang", SOON, |_| self.work.join("copied").exists());
            }
        }
        if self.phase != Phase::Scan {
            self.hang();
            self.work.file("go", "");
        }
        // The last bucket stays open until the end of the scan.
        let least = BUCKETS - usize::from(self.phase == Phase::Scan);
        started.wait_for("end of the launches that do not hang", SOON, |_| self.records("done") >= least);
        let files = FREE.iter().flat_map(|dir| (0..FILES).map(move |number| format!("D/{dir}/f{number}")));
        let copied = files.filter(|file| self.work.join(file).exists()).count();
        assert!(copied >= least * FILES_OF_A_BUCKET, "{copied} files of {least} launches");
        started
    }

    fn run_dir(&self) -> Option<PathBuf> {
        fs::read_dir(self.work.join("runs")).unwrap().map(|entry| entry.unwrap().path()).next()
    }

    /// The number of records of this kind in the journal.
    fn records(&self, kind: &str) -> usize {
        let file = self.run_dir().map(|dir| dir.join("journal.jsonl"));
        let journal = file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        journal.matches(&format!("{{\"is\":\"{kind}\"")).count()
    }

    #[track_caller]
    fn expect_same(&self, ran: &Run) {
        let mut check = rsync(self.work);
        check.args(["-ani", "--delete", "real/", "D/"]);
        assert_eq!(run(check).stdout_text(), "", "{:?}: {}", self.phase, ran.report());
        assert_eq!(self.run_dir(), None, "a complete run leaves nothing");
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        self.answers();
    }
}

/// Ends the run as a terminal does.
#[track_caller]
fn interrupt(scene: &Scene, started: Started) {
    let mark = started.mark().to_owned();
    let began = Instant::now();
    started.signal_group(Signal::INT);
    let ran = started.finish(SOON).expect_code(20);
    let took = began.elapsed();
    let ran = ran.expect(took < AT_ONCE, &format!("{:?}: {took:?} after the signal", scene.phase));
    expect_gone(&mark, AT_ONCE);
    let advice = ran.stderr_text().contains("to go on: multi-sync --resume ");
    ran.expect(advice, "it does not say how to continue");
}

fn lines_of_progress(started: &Started) -> usize {
    String::from_utf8_lossy(&started.stderr_so_far()).matches(" elapsed").count()
}

/// Other launches start and end, progress continues, and when the directory answers, the copy is complete. `HANG_SECONDS=60` lets it hang longer.
#[track_caller]
fn the_rest_goes_on(name: &str, phase: Phase) {
    let work = Work::new();
    let scene = match Scene::new(&work, phase) {
        Ok(scene) => scene,
        Err(why) => return support::skip(name, &why),
    };
    let least = std::env::var("HANG_SECONDS").map_or(0, |text| text.parse().expect("HANG_SECONDS is a number"));
    let mut started = scene.start();
    let (hung, told) = (Instant::now(), lines_of_progress(&started));
    started.wait_for("progress", SOON + Duration::from_secs(least), |started| {
        hung.elapsed() >= Duration::from_secs(least) && lines_of_progress(started) >= told + 2
    });
    started.signal(Signal::USR1);
    let asked = lines_of_progress(&started);
    started.wait_for("answer to SIGUSR1", SOON, |started| lines_of_progress(started) > asked);
    scene.answers();
    let ran = started.finish(SOON).expect_code(0);
    scene.expect_same(&ran);
}

#[track_caller]
fn an_interrupt_ends_it(name: &str, phase: Phase) {
    let work = Work::new();
    match Scene::new(&work, phase) {
        Ok(scene) => interrupt(&scene, scene.start()),
        Err(why) => support::skip(name, &why),
    }
}

#[track_caller]
fn a_killed_run_resumes(name: &str, phase: Phase) {
    let work = Work::new();
    let scene = match Scene::new(&work, phase) {
        Ok(scene) => scene,
        Err(why) => return support::skip(name, &why),
    };
    let started = scene.start();
    let mark = started.mark().to_owned();
    started.signal(Signal::KILL);
    let killed = started.finish(SOON);
    assert_eq!(killed.status.code(), None, "{}", killed.report());
    expect_gone(&mark, Duration::from_secs(10));
    let done = scene.records("done");

    // While the directory still hangs, the resumed run continues as far as possible.
    let mut resumed = start(scene.resume());
    resumed.wait_for("progress", SOON, |started| lines_of_progress(started) > 0);
    interrupt(&scene, resumed);
    assert_eq!(scene.records("done"), done, "what was finished is launched again");

    scene.answers();
    let ran = run_within(scene.resume(), SOON).expect_code(0);
    scene.expect_same(&ran);
}

/// Not the source hangs, but something that is needed for starting an rsync: a directory in `PATH`, or the directory in which the copy was started.
#[test]
fn an_interrupt_ends_a_copy_whose_rsync_cannot_be_started() {
    for hanging in ["folder of PATH", "directory", "folder of PATH from the beginning"] {
        let work = Work::new();
        (0..80).for_each(|number| drop(work.file(format!("src/d{}/{number}", number / 4), "")));
        work.file("bins/home/of", "");
        let words: [OsString; 2] = [work.join("bins").into(), work.join("hangs").into()];
        let _mounted = match Fuse::mount(&work, "hanging_fs", &words, "m") {
            Ok(mounted) => mounted,
            Err(why) => return support::skip("an_interrupt_ends_a_copy_whose_rsync_cannot_be_started", &why),
        };
        let mut copy = multi_sync(&work);
        copy.args(["-p", "2", "-f", "4", "--first-pass", "off", "-b"]).arg(work.dir("runs"));
        copy.args([work.join("src/"), work.join("D")]);
        let log = work.join("launched");
        fake_rsync(&mut copy, &work, &format!("echo >>{}; sleep 0.2; exec REAL \"$@\"", log.display()));
        let home = work.join("m/home");
        if hanging == "directory" {
            copy.current_dir(&home);
        } else {
            let path = copy.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value).unwrap();
            let path = [home.as_os_str(), ":".as_ref(), path].into_iter().collect::<OsString>();
            copy.env("PATH", path);
        }
        let launched = || fs::read_to_string(&log).map_or(0, |text| text.lines().count());
        let at_once = hanging.ends_with("beginning");
        if at_once {
            work.file("hangs", "/home");
        }
        let mut started = start(copy);
        if !at_once {
            started.wait_for("the third launch", SOON, |_| launched() > 2);
            work.file("hangs", "/home");
        }
        let before = launched();
        std::thread::sleep(Duration::from_secs(1));
        let after = launched();
        assert!(after <= before + 2, "{hanging}: {after} launches after {before}");
        let began = Instant::now();
        started.signal(Signal::INT);
        let ran = started.finish(SOON);
        let took = began.elapsed();
        fs::remove_file(work.join("hangs")).unwrap();
        ran.expect_code(20).expect(took < AT_ONCE, &format!("{hanging}: {took:?} after the signal"));
    }
}

#[test]
fn the_rest_goes_on_while_it_is_scanned() {
    the_rest_goes_on("the_rest_goes_on_while_it_is_scanned", Phase::Scan);
}

#[test]
fn an_interrupt_ends_it_while_it_is_scanned() {
    an_interrupt_ends_it("an_interrupt_ends_it_while_it_is_scanned", Phase::Scan);
}

#[test]
fn a_killed_run_resumes_while_it_is_scanned() {
    a_killed_run_resumes("a_killed_run_resumes_while_it_is_scanned", Phase::Scan);
}

#[test]
fn the_rest_goes_on_before_it_is_launched() {
    the_rest_goes_on("the_rest_goes_on_before_it_is_launched", Phase::BeforeLaunch);
}

#[test]
fn an_interrupt_ends_it_before_it_is_launched() {
    an_interrupt_ends_it("an_interrupt_ends_it_before_it_is_launched", Phase::BeforeLaunch);
}

#[test]
fn a_killed_run_resumes_before_it_is_launched() {
    a_killed_run_resumes("a_killed_run_resumes_before_it_is_launched", Phase::BeforeLaunch);
}

#[test]
fn the_rest_goes_on_when_it_was_copied() {
    the_rest_goes_on("the_rest_goes_on_when_it_was_copied", Phase::AfterLaunch);
}

#[test]
fn an_interrupt_ends_it_when_it_was_copied() {
    an_interrupt_ends_it("an_interrupt_ends_it_when_it_was_copied", Phase::AfterLaunch);
}

#[test]
fn a_killed_run_resumes_when_it_was_copied() {
    a_killed_run_resumes("a_killed_run_resumes_when_it_was_copied", Phase::AfterLaunch);
}

/// If each lookup takes a while, one rsync needs long for a tree that is otherwise copied in a moment.
#[test]
fn a_slow_source_is_worth_several_rsyncs() {
    let work = Work::new();
    // The first tree fits into the usual buckets of four slots, the other one does not.
    for (name, count) in [("real/few", 1200), ("real/more", 5000)] {
        (0..count).for_each(|number| drop(work.file(format!("{name}/{}/{number}", number / 30), "")));
    }
    let control = work.file("speed", "@500");
    let mounted = Fuse::mount(&work, "hanging_fs", &[work.join("real").into(), control.into()], "src");
    let _mounted = match mounted {
        Ok(mounted) => mounted,
        Err(why) => return support::skip("a_slow_source_is_worth_several_rsyncs", &why),
    };
    for (source, is_one) in [("real/few/", true), ("real/more/", true), ("src/few/", false), ("src/more/", false)] {
        let mut copy = multi_sync(&work);
        copy.args(["-p", "4", "--stats", "-r", "-a", source, "D/"]);
        let ran = run(copy).expect_code(0);
        assert_eq!(ran.stdout_text().contains("the tree is too small for several"), is_one, "{}", ran.report());
        fs::remove_dir_all(work.join("D")).unwrap();
    }
}

/// The same for a destination: names that are new there are looked up several times, existing ones once.
#[test]
fn a_slow_destination_is_worth_several_rsyncs() {
    let work = Work::new();
    (0..1200).for_each(|number| drop(work.file(format!("src/{}/{number}", number / 30), "")));
    let real = work.dir("real");
    let variables = [("FAILING_SOURCE", real.as_os_str()), ("FAILING_DELAY_US", "500".as_ref())];
    let _mounted = match Fuse::mount_told(&work, "failing_fs", &[], &variables, "late") {
        Ok(mounted) => mounted,
        Err(why) => return support::skip("a_slow_destination_is_worth_several_rsyncs", &why),
    };
    for first_pass in ["auto", "off"] {
        for (dest, is_one) in [("D/", true), ("late/D/", false), ("late/D/", false)] {
            let mut copy = multi_sync(&work);
            copy.args(["-p", "4", "--stats", "--first-pass", first_pass, "-r", "-a", "src/", dest]);
            let ran = run(copy).expect_code(0);
            assert_eq!(ran.stdout_text().contains("the tree is too small for several"), is_one, "{}", ran.report());
        }
        run(sh(&work, "diff -r src real/D && rm -r real/D")).expect_code(0);
    }
}

/// If the scan takes long because of slow lookups, what it has found is launched before its end.
#[test]
fn launches_begin_while_a_slow_source_is_scanned() {
    let work = Work::new();
    (0..7000).for_each(|number| drop(work.file(format!("real/{}/{number}", number / 30), "")));
    let control = work.file("speed", "@1000");
    let mounted = Fuse::mount(&work, "hanging_fs", &[work.join("real").into(), control.into()], "src");
    let _mounted = match mounted {
        Ok(mounted) => mounted,
        Err(why) => return support::skip("launches_begin_while_a_slow_source_is_scanned", &why),
    };
    let mut copy = multi_sync(&work);
    copy.args(["-p", "2", "--scan-threads", "8", "--events", "run.jsonl", "-r", "-a", "src/", "D/"]);
    let mut started = start(copy);
    let events = || fs::read_to_string(work.join("run.jsonl")).unwrap_or_default();
    let is_scan = |line: &str| line.contains(r#""type":"scan""#);
    started.wait_for("the end of the scan", SOON, |_| events().lines().any(is_scan));
    started.signal(Signal::INT);
    started.finish(SOON).expect_code(20);
    let text = events();
    let before = text.lines().take_while(|line| !is_scan(line));
    let copies = before.filter(|line| line.contains("launch_start") && line.contains(r#""kind":"copy""#));
    assert!(copies.count() >= 2, "{text}");
}
