//! A run goes on only if what decides its result besides its command line is as it was: files of rules and names, the environment, the umask, aliases.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::command::{Run, Signal, command, multi_sync, rsync, run, run_within, sh, start};
use crate::support::twin::fake_rsync;
use crate::support::work::Work;

const SOON: Duration = Duration::from_secs(60);

/// The environment of a part of the run; `umask` is the umask.
type Env = &'static [(&'static str, &'static str)];

/// What differs when a run is resumed.
struct Case {
    options: &'static str,
    then: Env,
    now: Env,
    changes: &'static str,
    restores: &'static str,
    says: &'static str,
}

const SAME: Case = Case { options: "-a", then: &[], now: &[], changes: "", restores: "", says: "" };

fn make() -> Work {
    let work = Work::new();
    for dir in 0..12 {
        (0..6).for_each(|file| drop(work.file(format!("src/d{dir}/f{file}"), format!("{dir} {file}"))));
    }
    work.dir("runs");
    work.file("rules", "- /d7\n");
    work.file("more", "- /d8\n");
    work.file("merges", format!(". {}\n", work.join("more").display()));
    work.file("list", (0..9).map(|dir| format!("d{dir}\n")).collect::<String>());
    work.file("home/.cvsignore", "f5\n");
    work.file("home/.popt", "rsync alias --mine --exclude=/d7\n");
    work
}

/// multi-sync with slow rsyncs.
fn slowly(work: &Work, env: Env, words: &[&str]) -> Command {
    let umask = env.iter().find(|(name, _)| *name == "umask").map_or("022", |(_, umask)| umask);
    let mut all = command(work, "sh");
    all.arg("-c").arg(format!("umask {umask}; exec \"$@\"")).arg("sh");
    all.arg(multi_sync(work).get_program()).args(words);
    all.envs(env.iter().copied().filter(|(name, _)| *name != "umask"));
    let launched = work.join("launched");
    let script = format!(
        "case \" $* \" in *' --version '*|*' --server '*|*' -n '*) ;; *) echo >>{}; sleep 0.3 ;; esac; exec REAL \"$@\"",
        launched.display()
    );
    fake_rsync(&mut all, work, &script);
    all
}

fn run_dir(work: &Work) -> Option<PathBuf> {
    fs::read_dir(work.join("runs")).unwrap().map(|entry| entry.unwrap().path()).next()
}

/// A run that was killed when it had copied something, or, if one rsync may copy everything, had begun to.
fn killed(work: &Work, env: Env, options: &str) -> PathBuf {
    let mut running = start(slowly(work, env, &["-p", "2", "-f", "6", "-b", "runs", "-r", options, "src/", "D"]));
    running.wait_for("a copy", SOON, |_| {
        let read = |name: &str| fs::read_to_string(run_dir(work)?.join(name)).ok();
        let one_rsync = ["-am ", "merge", "-ar ", "-aC"].iter().any(|part| options.contains(part));
        read("plan.json").is_some()
            && work.join("launched").exists()
            && (one_rsync || read("journal.jsonl").is_some_and(|text| text.matches("\"done\"").count() > 2))
    });
    running.signal(Signal::KILL);
    running.finish(SOON);
    run_dir(work).expect("the run directory stays")
}

fn resumed(work: &Work, env: Env, dir: &Path) -> Run {
    let dir = dir.to_str().unwrap();
    run_within(slowly(work, env, &["resume", dir]), SOON)
}

/// All files below a directory, with their contents.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for path in fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => todo.push(path),
                false => drop(found.insert(path.clone(), fs::read(path).unwrap())),
            }
        }
    }
    found
}

#[test]
fn what_differs_is_refused_and_named() {
    let cases = [
        Case {
            options: "-a --exclude-from=rules",
            changes: "echo big >rules",
            restores: "echo '- /d7' >rules",
            says: "/rules was changed since the run was begun",
            ..SAME
        },
        Case {
            options: "-am --exclude-from=rules",
            changes: "echo big >rules",
            restores: "echo '- /d7' >rules",
            says: "/rules was changed since the run was begun",
            ..SAME
        },
        Case {
            options: "-a --include-from=rules",
            changes: "rm rules",
            restores: "echo '- /d7' >rules",
            says: "/rules cannot be read any more",
            ..SAME
        },
        Case {
            options: "-a --filter=merge_merges",
            // The same size and time, and the same file.
            changes: "touch -r more time; printf '%s\\n' '- /d9' >more; touch -r time more",
            restores: "echo '- /d8' >more",
            says: "/more was changed",
            ..SAME
        },
        Case {
            options: "-ar --files-from=list",
            changes: "echo d10 >>list",
            restores: "sed -i '$d' list",
            says: "/list was changed",
            ..SAME
        },
        Case {
            options: "-aC",
            changes: "rm home/.cvsignore",
            restores: "echo f5 >home/.cvsignore",
            says: "~/.cvsignore was changed",
            ..SAME
        },
        Case {
            options: "-a --mine",
            changes: "echo 'rsync alias --mine --exclude=/d8' >home/.popt",
            restores: "echo 'rsync alias --mine --exclude=/d7' >home/.popt",
            says: "aliases of rsync's options",
            ..SAME
        },
        Case {
            options: "-aC",
            now: &[("CVSIGNORE", "f4")],
            says: "CVSIGNORE was not set when the run was begun, and is \"f4\" now",
            ..SAME
        },
        Case {
            options: "-a --partial --delete",
            then: &[("RSYNC_PARTIAL_DIR", "pd")],
            says: "RSYNC_PARTIAL_DIR was \"pd\" when the run was begun, and is not set now",
            ..SAME
        },
        Case {
            options: "-rlt",
            now: &[("umask", "077")],
            says: "the umask was 0022 when the run was begun, and is 0077 now",
            ..SAME
        },
        Case {
            options: "-a --chmod=+x",
            now: &[("umask", "077")],
            says: "the umask was 0022 when the run was begun, and is 0077 now",
            ..SAME
        },
    ];
    for case in cases {
        let work = make();
        let dir = killed(&work, case.then, case.options);
        let before = [work.join("D"), dir.clone()].map(|dir| contents(&dir));
        run(sh(&work, case.changes)).expect_code(0);
        let ran = resumed(&work, case.now, &dir).expect_code(1);
        let said = ran.stderr_text();
        assert!(said.contains(case.says) && said.contains("start the same copy anew"), "{}", ran.report());
        assert!([work.join("D"), dir.clone()].map(|dir| contents(&dir)) == before, "{}", ran.report());
        // As it was, it goes on.
        run(sh(&work, case.restores)).expect_code(0);
        let ran = resumed(&work, case.then, &dir).expect_code(0);
        let mut check = rsync(&work);
        check.envs(case.then.iter().copied()).args(case.options.split(' ')).args(["-ni", "src/", "D/"]);
        assert_eq!(run(check).stdout_text(), "", "{}", ran.report());
    }
}

#[test]
fn what_does_not_decide_the_result_may_differ_and_is_not_recorded() {
    const SECRET: &str = "hunter2";
    let then: Env = &[("RSYNC_PASSWORD", SECRET), ("RSYNC_RSH", SECRET), ("RSYNC_PROXY", SECRET), ("umask", "022")];
    let now: Env = &[("umask", "077"), ("RSYNC_PARTIAL_DIR", "pd"), ("CVSIGNORE", "f4"), ("RSYNC_MAX_ALLOC", "2g")];
    let work = make();
    let dir = killed(&work, then, "-a --exclude-from=rules");
    for (path, text) in contents(&dir) {
        assert!(!String::from_utf8_lossy(&text).contains(SECRET), "{}", path.display());
    }
    // Another file with the same content.
    run(sh(&work, "cp rules new; rm rules; mv new rules; rm home/.cvsignore")).expect_code(0);
    let ran = resumed(&work, now, &dir).expect_code(0);
    assert!(!work.join("D/d7").exists() && work.join("D/d8").exists(), "{}", ran.report());
}

#[test]
fn a_retry_is_refused_too_and_a_stream_is_the_same_in_each_part() {
    let work = make();
    work.file("D/d1/f1/full", "");
    let script = "echo '- /d7' | \"$0\" -p 2 -f 6 -b runs -r '-a --exclude-from=- --include-from=rules' src/ D";
    let mut copies = sh(&work, script);
    copies.arg(multi_sync(&work).get_program());
    run(copies).expect_code(23);
    let dir = run_dir(&work).unwrap();
    fs::remove_dir_all(work.join("D/d1/f1")).unwrap();
    let retry = || {
        let mut command = multi_sync(&work);
        command.arg("retry").arg(&dir);
        run_within(command, SOON)
    };
    work.file("rules", "- /d9\n");
    let ran = retry().expect_code(1);
    assert!(ran.stderr_text().contains("/rules was changed"), "{}", ran.report());
    assert!(!work.join("D/d1/f1").exists());
    work.file("rules", "- /d7\n");
    retry().expect_code(0);
    assert!(work.join("D/d1/f1").exists() && !work.join("D/d7").exists());
}
