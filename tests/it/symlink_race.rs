//! A directory of the source is swapped with a link out of the source, again and again, while root or another user copies: the target of the link is neither
//! copied nor changed, nothing is deleted because of it, and exit code 0 means a correct result.
//!
//! Needs root and an rsync that refuses such links (3.5). `SWAP_SECONDS` makes the tests longer.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support;
use crate::support::command::{command, for_all, multi_sync, rsync_version, run, run_within, sh};
use crate::support::twin::snapshot;
use crate::support::work::{Work, set_mode};
use multi_sync::harness::verify::{DifferenceKind, Options, compare};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

const LIMIT: Duration = Duration::from_secs(60);
const GOOD: &str = "what is to be copied";
const SECRET: &str = "nobody's business!!!";

/// How long all tests of this file together run, in seconds.
fn seconds() -> f64 {
    std::env::var("SWAP_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12.0)
}

/// A directory that has to be split, on two levels.
fn fill(dir: &Path, content: &str, more: &str) {
    for sub in ["u1", "u2", "u3", "deep", "deep/u1", "deep/u2"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
        for number in 0..4 {
            fs::write(dir.join(sub).join(format!("f{number}")), content).unwrap();
        }
    }
    for name in ["g1", "g2", "g3", "g4", "g5", "g6", "deep/g1", "deep/g2", more] {
        fs::write(dir.join(name), content).unwrap();
    }
}

struct Scene {
    work: Work,
    /// The contents of the directory, kept aside.
    real: PathBuf,
    outside: PathBuf,
    before: Vec<String>,
}

impl Scene {
    fn new() -> Scene {
        let work = Work::on_tmpfs().unwrap_or_else(Work::public);
        let outside = work.dir("outside");
        fill(&outside, SECRET, "only");
        fs::create_dir(outside.join("u4")).unwrap();
        fs::write(outside.join("u4/only"), SECRET).unwrap();
        set_mode(&outside.join("g2"), 0o600);
        set_mode(&outside, 0o700);
        let sp = work.dir("src/sp");
        fill(&sp, GOOD, "mine");
        set_mode(&sp, 0o751);
        set_mode(&sp.join("deep"), 0o2775);
        fill(&work.dir("src/other"), GOOD, "more");
        symlink(&outside, work.join("src/alt")).unwrap();
        run(sh(&work, "chown -hR 65534:65534 src; touch -hd @1000000000 src/sp/deep src/sp src")).expect_code(0);
        run(sh(&work, "cp -a src/sp real; cp -a src/other other")).expect_code(0);
        let before = snapshot(&outside);
        Scene { real: work.join("real"), outside, before, work }
    }

    /// Runs `copy` again and again while the two are swapped, for some time. Returns the number of runs by exit code.
    fn swap_while(&self, seconds: f64, mut copy: impl FnMut(u64)) -> u64 {
        let (stop, swaps, rests) = (AtomicBool::new(false), AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| self.swap(&stop, &swaps, &rests));
            // Stopped even if an assertion fails.
            let _stopping = StopAtEnd(&stop);
            let end = Instant::now() + Duration::from_secs_f64(seconds);
            let mut round = 0;
            while round == 0 || Instant::now() < end {
                rests.store(round % 3 > 0, Ordering::Relaxed);
                copy(round);
                round += 1;
            }
        });
        swaps.into_inner()
    }

    /// Swaps and swaps back, each for a while; with `rests` the original stays for so long that a whole run may see a single short swap, in any of its
    /// phases.
    fn swap(&self, stop: &AtomicBool, swaps: &AtomicU64, rests: &AtomicBool) {
        let (sp, alt) = (self.work.join("src/sp"), self.work.join("src/alt"));
        let mut random = 88_172_645_463_325_252u64;
        while !stop.load(Ordering::Relaxed) {
            for out in [true, false] {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                match renameat_with(CWD, &sp, CWD, &alt, RenameFlags::EXCHANGE) {
                    // The link was copied and removed.
                    Err(Errno::NOENT) => return,
                    swapped => swapped.expect("two names change places"),
                }
                swaps.fetch_add(1, Ordering::Relaxed);
                let most = if !out && rests.load(Ordering::Relaxed) { 250_000 } else { 5_000 };
                let pause = Duration::from_micros(random % most);
                let end = Instant::now() + pause;
                if pause > Duration::from_millis(5) {
                    std::thread::sleep(pause);
                }
                while Instant::now() < end {
                    std::thread::yield_now();
                }
            }
        }
    }

    /// What is wrong with the destination, if the exit code claims that it is correct.
    fn judge(&self, source: &str, options: &str, top: &Path, had: bool, code: i32) -> Vec<String> {
        let deletes = options.contains("--delete");
        let mut wrong: Vec<String> = leaks(top);
        if snapshot(&self.outside) != self.before {
            wrong.push("what is outside was changed".into());
        }
        let counted = if options.starts_with("-a") {
            Options::archive()
        } else {
            Options { owner: false, group: false, perms: false, ..Options::archive() }
        };
        let names = if source == "src/sp" { &["sp"][..] } else { &["sp", "alt"] };
        for name in names {
            let path = top.join(name);
            match path.symlink_metadata() {
                Ok(found) if found.is_dir() => {
                    let had = had && *name == "sp";
                    let keeps = had && !options.contains("--ignore-errors");
                    let counts = |kind: &DifferenceKind| match kind {
                        DifferenceKind::OnlyRight => code == 0 && deletes,
                        DifferenceKind::OnlyLeft => code == 0 || keeps,
                        _ => code == 0,
                    };
                    let report = compare(&self.real, &path, &counted).unwrap();
                    let differences = report.differences.iter().filter(|difference| counts(&difference.kind));
                    wrong.extend(differences.map(|difference| format!("{name}/{difference}")));
                    if had && !deletes && !(path.join("extra").exists() && path.join("deep/extra").exists()) {
                        wrong.push("an extra entry was deleted".into());
                    }
                }
                Ok(_) if code == 0 && fs::read_link(&path).ok() != Some(self.outside.clone()) => {
                    wrong.push(format!("{name} is something else"));
                }
                Ok(_) => {}
                Err(_) if code == 0 => wrong.push(format!("{name} is missing")),
                Err(_) => {}
            }
        }
        if source != "src/sp" {
            let report = compare(&self.work.join("other"), &top.join("other"), &counted).unwrap();
            wrong.extend(report.differences.iter().map(|difference| format!("other/{difference}")));
        }
        wrong
    }
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Files below a folder that come from outside, by name or content; links are not followed.
fn leaks(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(leaks(&path));
        } else if entry.file_name() == "only" || kind.is_file() && fs::read_to_string(&path).unwrap() == SECRET {
            found.push(format!("from outside: {}", path.display()));
        }
    }
    found
}

/// Why these tests cannot run here.
fn unable() -> Option<&'static str> {
    let work = Work::new();
    let version = rsync_version(&work);
    if !support::is_root() {
        Some("only root copies for others")
    } else if version < (3, 5) {
        Some("rsync before 3.5 follows such links")
    } else {
        None
    }
}

#[test]
fn nothing_leaks_through_a_directory_that_is_swapped_for_a_link() {
    if let Some(why) = unable() {
        return support::skip("nothing_leaks_through_a_directory_that_is_swapped_for_a_link", why);
    }
    let scene = Scene::new();
    let rules = scene.work.file("rules", "*.o\n");
    let rules = format!("-a --delete --exclude-from={}", rules.display());
    let sets = [
        "-a",
        "-a --delete",
        "-a --delete-after",
        "-rlt --delete --ignore-errors",
        "-a --force -i",
        "-a --delete --exclude=*.o",
        &rules,
    ];
    let forms = [("src/", ""), ("src", "src"), ("src/sp", "")];
    let cases: Vec<_> = forms
        .iter()
        .flat_map(|form| [false, true].map(|had| (*form, had)))
        .flat_map(|(form, had)| sets.map(|set| (set, form, had)))
        .collect();
    let mut codes = BTreeMap::new();
    let swaps = scene.swap_while(seconds(), |round| {
        // 7 has no common factor with the number of cases, so that consecutive cases differ in everything.
        let (set, (source, below), had) = cases[(round * 7) as usize % cases.len()];
        let dest = scene.work.dir("dest");
        let top = dest.join(below);
        if had {
            let fill = r#"mkdir -p "$1" && cp -a real "$1/sp" && mkdir "$1/sp/extra" && echo x >"$1/sp/deep/extra" && chmod 700 "$1/sp""#;
            let mut fill = sh(&scene.work, fill);
            fill.arg("sh").arg(&top);
            run(fill).expect_code(0);
        }
        let mut command = multi_sync(&scene.work);
        command.args(["-p", "3", "-f", "5", "-r", set, source]).arg(&dest);
        let ran = run_within(command, LIMIT).listing([&top]);
        let code = ran.status.code().unwrap_or(-1);
        let wrong = scene.judge(source, set, &top, had, code);
        ran.expect([0, 23, 24].contains(&code), "it ends by itself").expect(wrong.is_empty(), &wrong.join("\n"));
        *codes.entry(code).or_insert(0) += 1;
        fs::remove_dir_all(&dest).unwrap();
    });
    println!("{swaps} swaps; runs by exit code: {codes:?}");
    assert!(codes.contains_key(&0) && codes.contains_key(&23), "not all was tried: {codes:?}");
}

/// A user who copies a tree that another user may change also has secrets.
#[test]
fn nothing_of_the_copying_user_leaks_through_a_swap_by_another() {
    const NAME: &str = "nothing_of_the_copying_user_leaks_through_a_swap_by_another";
    const USER: u32 = 24_817;
    if let Some(why) = unable() {
        return support::skip(NAME, why);
    }
    let mut scene = Scene::new();
    run(sh(&scene.work, &format!("chown -R {USER}:{USER} outside; chmod -R a+rX src"))).expect_code(0);
    scene.before = snapshot(&scene.outside);
    let program = for_all(&scene.work, multi_sync(&scene.work).get_program());
    let cases = [("-rlt", "src/", ""), ("-rltp --delete", "src/", ""), ("-rltp", "src", "src")];
    let mut codes = BTreeMap::new();
    let swaps = scene.swap_while(seconds() / 4.0, |round| {
        let (set, source, below) = cases[round as usize % cases.len()];
        let dest = scene.work.dir("dest");
        run(sh(&scene.work, &format!("chown {USER}:{USER} dest"))).expect_code(0);
        let mut command = command(&scene.work, "setpriv");
        let user = USER.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(&program);
        command.args(["-p", "3", "-f", "5", "-r", set, source]).arg(&dest);
        let ran = run_within(command, LIMIT).listing([&dest]);
        let code = ran.status.code().unwrap_or(-1);
        let wrong = scene.judge(source, set, &dest.join(below), false, code);
        ran.expect([0, 23, 24].contains(&code), "it ends by itself").expect(wrong.is_empty(), &wrong.join("\n"));
        *codes.entry(code).or_insert(0) += 1;
        fs::remove_dir_all(&dest).unwrap();
    });
    println!("{swaps} swaps; runs by exit code: {codes:?}");
    assert!(swaps > 0);
}

/// Files that are removed after copying are removed from the source, and nowhere else; and each of them exists somewhere.
#[test]
fn nothing_outside_is_removed_after_copying() {
    if let Some(why) = unable() {
        return support::skip("nothing_outside_is_removed_after_copying", why);
    }
    let end = Instant::now() + Duration::from_secs_f64(seconds() / 3.0);
    let mut codes = BTreeMap::new();
    while Instant::now() < end {
        let scene = Scene::new();
        let dest = scene.work.join("dest");
        let swaps = scene.swap_while(0.0, |_| {
            let mut command = multi_sync(&scene.work);
            command.args(["-p", "3", "-f", "5", "-r", "-a --remove-source-files", "src/", "dest"]);
            let ran = run_within(command, LIMIT).listing([&dest]);
            let mut wrong = leaks(&dest);
            if snapshot(&scene.outside) != scene.before {
                wrong.push("what is outside was changed".into());
            }
            *codes.entry(ran.status.code()).or_insert(0) += 1;
            ran.expect(wrong.is_empty(), &wrong.join("\n"));
        });
        assert!(swaps > 0);
        for name in ["mine", "g1", "g6", "u1/f0", "u3/f3", "deep/g2", "deep/f1", "deep/u2/f2"] {
            let places = ["src/sp", "src/alt", "dest/sp", "dest/alt"].map(|place| scene.work.join(place).join(name));
            let copies = places.iter().filter(|place| fs::read(place).is_ok_and(|content| content == GOOD.as_bytes()));
            assert!(copies.count() > 0, "{name} is nowhere: {codes:?}");
        }
    }
    println!("runs by exit code: {codes:?}");
}
