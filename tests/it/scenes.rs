//! Runs in which something goes wrong, compared with one rsync: deletions that reach their limit, directories that cannot be read or vanish, a full
//! destination. The destination and the exit code are those of one rsync, and nothing is deleted that one rsync keeps.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support;
use crate::support::command::{multi_sync, rsync, run, sh};
use crate::support::processes::expect_gone;
use crate::support::twin::{Twin, fake_rsync, table, temporary_files};
use crate::support::work::{Work, set_mode};
use multi_sync::harness::verify::{Difference, DifferenceKind, Options, compare};

/// Enough directories for several launches, each with a few files; `name` distinguishes trees.
fn tree(root: &Path, name: &str) {
    for dir in ["a", "a/deep", "a/deep/er", "b", "c/1", "c/2", "c/3", "d"] {
        fs::create_dir_all(root.join(dir)).unwrap();
        for number in 0..4 {
            fs::write(root.join(dir).join(format!("{name}{number}")), format!("{name} {dir}")).unwrap();
        }
    }
    fs::write(root.join(name), name).unwrap();
}

/// A destination with everything that the source has, and additional entries everywhere.
fn full(side: &Path) {
    tree(&side.join("D"), "f");
    tree(&side.join("D"), "extra");
    for dir in ["D/gone", "D/a/gone/deep", "D/c/2/gone"] {
        fs::create_dir_all(side.join(dir)).unwrap();
        fs::write(side.join(dir).join("file"), "gone").unwrap();
    }
}

const TIMINGS: [&str; 6] =
    ["--delete", "--delete-before", "--delete-during", "--delete-delay", "--delete-after", "--delete-excluded"];

#[test]
fn deletions_up_to_a_limit() {
    let work = Work::new();
    tree(&work.join("src"), "f");
    let limits = ["-1", "0", "1", "5", "19", "39", "40", "41", "100000"];
    let cases: Vec<_> = limits.iter().flat_map(|limit| TIMINGS.map(|timing| (limit, timing))).collect();
    table(&cases, |(limit, timing)| {
        let options = format!("-a {timing} --max-delete={limit}");
        let twin = Twin::new(&work, ["src/", "SIDE/D"]).options(&options).prepare(full);
        Some(format!("{options}: {}", twin.difference()?))
    });
}

/// One rsync stops deleting everywhere once it has met something that it cannot read. If it deletes during the copy, it depends on the order of names how
/// much it has deleted by then: multi-sync may have kept more, but never less.
#[test]
fn deletion_with_a_source_directory_that_cannot_be_read() {
    let work = Work::public();
    let places = ["a", "a/deep", "c/2", "d", "a/deep/er"];
    for place in places {
        let source = place.replace('/', "-");
        tree(&work.dir_for_nobody(&source), "f");
        if support::is_root() {
            run(sh(&work, &format!("chown -R 65534:65534 {source}"))).expect_code(0);
        }
        set_mode(&work.join(&source).join(place), 0o300);
    }
    let timings = TIMINGS.iter().flat_map(|timing| ["", " --ignore-errors"].map(|more| format!("{timing}{more}")));
    let cases: Vec<_> = timings.flat_map(|options| places.map(|place| (options.clone(), place))).collect();
    let own = |side: &Path| {
        full(side);
        if support::is_root() {
            run(sh(&work, &format!("chown -R 65534:65534 {}", side.display()))).expect_code(0);
        }
    };
    table(&cases, |(options, place)| {
        let source = format!("{}/", place.replace('/', "-"));
        let as_it_goes = !["-before", "-after", "--ignore-errors"].iter().any(|word| options.contains(word));
        let kept = |difference: &Difference| {
            let extra = ["extra", "gone"].iter().any(|name| String::from_utf8_lossy(&difference.path).contains(name));
            as_it_goes && extra && difference.kind == DifferenceKind::OnlyRight
        };
        let twin = Twin::new(&work, [&source, "SIDE/D"]).options(format!("-a {options}"));
        let twin = twin.prepare(own).nobody().allow(kept);
        Some(format!("{options}, {place}: {}", twin.difference()?))
    });
}

/// Removes a directory that the scan has found just before this launch (counting those that copy).
fn vanish(options: &str, flags: &str, victim: &str, launch: u32) -> Option<String> {
    let work = Work::new();
    tree(&work.join("src"), "f");
    if options.contains("--delete") {
        full(work.path());
        fs::create_dir_all(work.join("D").join(victim)).unwrap();
        fs::write(work.join("D").join(victim).join("old"), "old").unwrap();
    }
    let mut command = multi_sync(&work);
    command.args(flags.split_whitespace()).args(["-r", options, "src/", "D"]);
    let here = work.path().display();
    let count = format!("n=1; while ! mkdir {here}/tmp/launch$n 2>/dev/null; do n=$((n + 1)); done");
    fake_rsync(
        &mut command,
        &work,
        &format!("{count}\nif [ $n = {launch} ]; then rm -r {here}/src/{victim}; fi\nexec REAL \"$@\""),
    );
    let ran = run(command).listing([work.join("src"), work.join("D")]);
    let report = compare(&work.join("src"), &work.join("D"), &Options::archive()).unwrap();
    // Without deletion, the directory, or an older version of it, stays. rsync does not set its time after writing into it.
    let left = |difference: &&Difference| {
        let kept = difference.kind == DifferenceKind::OnlyRight && difference.path == victim.as_bytes();
        let touched = Path::new(victim).parent().is_some_and(|parent| {
            difference.path == parent.as_os_str().as_encoded_bytes()
                || parent.as_os_str().is_empty() && difference.path == b"."
        });
        let counts = !kept || options.contains("--delete");
        counts && !(touched && matches!(difference.kind, DifferenceKind::Mtime { .. }))
    };
    let wrong: Vec<_> = report.differences.iter().filter(left).map(|difference| format!("{difference}\n")).collect();
    let removed = !work.join("src").join(victim).exists();
    let right = removed && wrong.is_empty() && ran.status.code() == Some(24);
    (!right).then(|| format!("{options}, {flags}, {victim} at {launch}: {}\n{}", wrong.concat(), ran.report()))
}

#[test]
fn a_directory_that_vanishes_between_scan_and_copy_is_24() {
    let victims = [("b", 1), ("c/2", 2), ("a/deep", 2), ("a", 2), ("c", 3)];
    let sets = ["-a", "-a --delete", "-a --delete-after", "-aH"];
    let cases: Vec<_> = sets.iter().flat_map(|set| victims.map(|victim| (set, victim))).collect();
    table(&cases, |(options, (victim, launch))| vanish(options, "-p 2 -f 5", victim, *launch));
}

/// A file system of a few megabytes that can be enlarged.
struct Small {
    work: Work,
    /// The file that contains it, unless it is in memory.
    image: Option<PathBuf>,
}

impl Small {
    /// `None` if mounting is not allowed.
    fn mount(kind: &str) -> Option<Small> {
        let work = Work::new();
        let image = (kind == "ext4").then(|| work.join("image"));
        work.dir("small");
        let script = match kind {
            "ext4" => {
                "truncate -s 8M image && mkfs.ext4 -qF image && mount -o loop image small && rmdir small/lost+found"
            }
            _ => "mount -t tmpfs -o size=6M none small",
        };
        let mounted = support::is_root() && run(sh(&work, script)).status.success();
        mounted.then_some(Small { work, image })
    }

    fn dir(&self) -> PathBuf {
        self.work.join("small")
    }

    fn grow(&self) {
        let script = match self.image {
            // The image is written by another process: a process that another test is just starting has a copy of the open files of this one until it
            // executes its program.
            Some(_) => {
                "n=0; until umount small; do n=$((n + 1)); [ $n -lt 20 ] || exit 1; sleep 0.1; done; truncate -s 64M image && e2fsck -pf image; resize2fs image && mount -o loop image small"
            }
            None => "mount -o remount,size=64M small",
        };
        run(sh(&self.work, script)).expect_code(0);
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run(sh(&self.work, "umount -l small"));
    }
}

/// Files that existed before a failed run, and have vanished or have neither their old nor their new content.
fn lost(before: &Path, source: &Path, after: &Path) -> Vec<PathBuf> {
    let mut lost = Vec::new();
    for entry in fs::read_dir(before).unwrap().map(|entry| entry.unwrap()) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            lost.extend(self::lost(&path, &source.join(&name), &after.join(&name)));
        } else {
            let now = fs::read(after.join(&name)).ok();
            if now.is_none() || now != fs::read(&path).ok() && now != fs::read(source.join(&name)).ok() {
                lost.push(after.join(&name));
            }
        }
    }
    lost
}

#[test]
fn a_full_destination_loses_nothing_and_is_completed_when_it_has_grown() {
    for kind in ["tmpfs", "ext4"] {
        let work = Work::new();
        for number in 0..40u8 {
            work.file(format!("src/d{}/f{number}", number % 5), vec![number; 300_000]);
        }
        for number in (0..40u8).step_by(7) {
            work.file(format!("before/d{}/f{number}", number % 5), vec![255 - number; 90_000]);
            work.file(format!("before/d{}/extra{number}", number % 5), vec![number; 5_000]);
        }
        for options in ["-a", "-a --delete", "-a --delete-after"] {
            let mut codes = Vec::new();
            for many in [false, true] {
                let Some(small) = Small::mount(kind) else {
                    return support::skip(&format!("a full {kind}"), "it cannot be mounted");
                };
                let dest = small.dir().join("D");
                let mut copy = rsync(&work);
                copy.args(["-a", "before/"]).arg(&dest);
                run(copy).expect_code(0);
                let copy = || {
                    let mut command = if many { multi_sync(&work) } else { rsync(&work) };
                    match many {
                        true => command.args(["-p", "2", "-f", "9", "-r", options]),
                        false => command.args(options.split(' ')),
                    };
                    command.arg("src/").arg(&dest);
                    run(command).listing([&dest])
                };
                let ran = copy();
                let left = temporary_files(&dest);
                let gone = lost(&work.join("before"), &work.join("src"), &dest);
                // With deletion, each launch deletes inside what it has copied.
                let extra = |path: &&PathBuf| path.to_string_lossy().contains("extra") && options.contains("--delete");
                let gone: Vec<_> = gone.iter().filter(|path| !extra(path)).collect();
                codes.push(ran.status.code());
                let ran = ran.expect(
                    left.is_empty() && gone.is_empty(),
                    &format!("{kind}, {options}: lost {gone:?}, left {left:?}"),
                );
                expect_gone(&ran.mark, Duration::ZERO);
                small.grow();
                let ran = copy().expect_code(0);
                let report = compare(&work.join("src"), &dest, &Options::archive()).unwrap();
                let deletes = options.contains("--delete");
                let wrong = report
                    .differences
                    .iter()
                    .filter(|difference| deletes || difference.kind != DifferenceKind::OnlyRight);
                let wrong: Vec<_> = wrong.map(|difference| difference.to_string()).collect();
                ran.expect(wrong.is_empty(), &wrong.join("\n"));
            }
            assert_eq!(codes, [Some(11), Some(11)], "{kind}, {options}");
        }
    }
}

/// Snapshots of a file server: `.snapshot` in `dir`, with this number of entries.
fn snapshots(dir: &Path, entries: usize) {
    for number in 0..entries / 100 {
        let snapshot = dir.join(format!(".snapshot/hourly.{}/{number}", number % 10));
        fs::create_dir_all(&snapshot).unwrap();
        for file in 0..99 {
            fs::write(snapshot.join(file.to_string()), "").unwrap();
        }
    }
}

/// `SNAPSHOT_ENTRIES` sets the number of entries.
#[test]
fn excluded_snapshots_are_not_scanned() {
    let entries = std::env::var("SNAPSHOT_ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let work = Work::on_tmpfs().unwrap_or_else(Work::new);
    snapshots(&work.join("src/volume"), entries);
    for place in ["src/volume", "src"] {
        for number in 0..3000 {
            work.file(format!("{place}/home/{}/{number}", number % 40), "");
        }
    }
    work.file("names", "# of a file server\n.snapshot\n*.tmp\n");
    work.file("rules", "- *.tmp\n- /.snap*\n");
    for (source, options) in [
        ("src/", "--exclude=.snapshot"),
        ("src/volume/", "--exclude=/.snap*"),
        ("src/volume", "--exclude=/volume/.snap*/"),
        ("src/", "--exclude-from=names"),
        ("src/volume/", "--exclude=*.t[mn]p --filter=._rules"),
    ] {
        let twin = Twin::new(&work, [source, "SIDE/D"]).options(format!("-a {options}")).flags("-p 2 --stats");
        let (_, many) = twin.same();
        let found =
            many.stdout_text().lines().find_map(|line| line.strip_prefix("Total entries: ")?.parse::<u64>().ok());
        // The entries to be copied, and less than two additional buckets.
        let most = if source == "src/" { 6200 } else { 3100 } + 2000;
        let many = many.expect(found.is_some_and(|found| found < most), options);
        println!("{options}: {found:?} entries in {:?}", many.elapsed);
    }
}
