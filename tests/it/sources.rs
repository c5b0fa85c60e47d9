//! Odd sources compared with one rsync: directories above a source with `--relative`, unusual forms, links that lead elsewhere, paths that are too long, many
//! sources at once.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::support::command::{Run, multi_sync, run, sh};
use crate::support::twin::{Twin, table};
use crate::support::work::{Work, set_mode};
use crate::support::{is_root, skip};
use multi_sync::harness::verify::{Difference, DifferenceKind};

/// Creates `s/p/q/r` with enough directories for several launches, and one more directory next to `p`.
fn chain(root: &Path) {
    for dir in ["s/p/q/r/a", "s/p/q/r/b", "s/x"] {
        fs::create_dir_all(root.join(dir)).unwrap();
        for number in 0..3 {
            let file = root.join(dir).join(format!("f{number}"));
            fs::write(&file, dir).unwrap();
            // The same time for all sides, whenever they are created.
            let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        }
    }
}

/// Without recursion rsync gets the entries of a source, and nothing below them is counted.
#[test]
fn what_no_rsync_was_given_is_not_counted() {
    let work = Work::public();
    for file in ["s/f", "s/a/g", "s/a/b/h"] {
        work.file(file, file);
    }
    work.file("list", "f\n");
    for (options, sources) in [("-d", &["s/"][..]), ("-lptd --exclude=f", &["s/"]), ("-a --files-from=list", &["s/"])] {
        let mut command = multi_sync(&work);
        command.args(["-r", options, "--stats", "-P", "--"]).args(sources).arg("d/");
        let ran = run(command);
        assert!(ran.status.success(), "{}", ran.report());
        assert!(!work.join("d/a/b").exists() && !work.join("d/a/g").exists(), "{}", ran.report());
        let said = ran.stdout_text();
        let counted = said.lines().find_map(|line| line.strip_prefix("Total entries: "));
        assert_eq!(counted, Some("0"), "{}", ran.report());
        assert!(!said.contains("6 entries"), "{}", ran.report());
        fs::remove_dir_all(work.join("d")).unwrap();
    }
}

/// Directories above a source of `--relative` arrive with their own attributes, or without with `--no-implied-dirs`; DEST never gets the attributes of the
/// directory at which the names start.
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
        // Other tests change the directories above the work folder.
        let moves = |different: &Difference| {
            let above = different.path.strip_prefix(b"D").map(|path| Path::new(OsStr::from_bytes(path)));
            let above = above.is_some_and(|path| work.path().starts_with(path) && path != work.path());
            above && matches!(different.kind, DifferenceKind::Mtime { .. })
        };
        let twin = Twin::new(&work, words).options(*options).flags("-p 3 -f 2").allow(moves).prepare(|side| {
            fs::create_dir(side.join("D")).unwrap();
            set_mode(&side.join("D"), 0o700);
        });
        Some(format!("{names:?} {options}, {special} with {mode:o}: {}", twin.difference()?))
    });
}

/// Options and rules with which a link that leads out of the source counts as a directory.
#[test]
fn links_that_become_directories_under_rules() {
    let work = Work::new();
    for dir in ["s/x", "s/y", "ext/sub/deep"] {
        fs::create_dir_all(work.join(dir)).unwrap();
        for name in ["a", "b", "c"] {
            fs::write(work.join(dir).join(name), dir).unwrap();
        }
    }
    for (name, target) in [
        ("s/x/link", "../../ext"),
        ("s/absolute", work.join("ext/sub").to_str().unwrap()),
        ("s/inside", "x"),
        ("s/y/again", "../absolute"),
        ("s/y/gone", "../../nowhere"),
        ("ext/more", "sub"),
    ] {
        symlink(target, work.join(name)).unwrap();
    }
    let rules = [
        "--include=*/ --include=a --exclude=*",
        "--exclude=link/",
        "--exclude=absolute/ --exclude=inside/",
        "--include=/x/ --include=/x/link/*** --exclude=*",
        "--partial-dir=link",
        "--include=link/ --exclude=l* --delete",
    ];
    let follows = ["--copy-unsafe-links", "-k", "-k --copy-unsafe-links", "-K"];
    let cases: Vec<String> =
        rules.iter().flat_map(|rule| follows.map(|follow| format!("-a {follow} {rule}"))).collect();
    table(&cases, |options| {
        let twin = Twin::new(&work, ["s/", "SIDE/D"]).options(options.as_str());
        Some(format!("{options}: {}", twin.difference()?))
    });
    let twin = Twin::new(&work, ["s/x/", "s/y", "SIDE/D"]).options(cases[0].as_str());
    let (_, many) = twin.same();
    many.expect(twin.many().join("D/link/sub/deep/a").exists(), "what the link leads to was copied");
}

/// With `--relative`, slashes after a name that is not a directory have no meaning.
#[test]
fn slashes_behind_what_is_no_directory() {
    let work = Work::new();
    chain(work.path());
    fs::write(work.join("s/file"), "x").unwrap();
    symlink("nowhere", work.join("s/gone")).unwrap();
    symlink("file", work.join("s/link")).unwrap();
    symlink("p", work.join("s/dir")).unwrap();
    let ends = ["", "/", "//", "/.", "/./"];
    let cases: Vec<String> = ["s/file", "s/gone", "s/link", "s/./gone", "s/dir"]
        .iter()
        .flat_map(|name| ends.map(|end| format!("{name}{end}")))
        .collect();
    table(&cases, |source| {
        let twin = Twin::new(&work, [source.as_str(), "SIDE/D/"]).options("-aR");
        Some(format!("{source}: {}", twin.difference()?))
    });
}

/// Directories at the destination that options name, if they lead back into DEST by way of a directory above it, or of a link.
#[test]
fn directories_of_options_that_lead_into_dest() {
    let work = Work::new();
    chain(work.path());
    let cases = [
        "-a --delete -b --backup-dir=../D/bk",
        "-a --delete -b --backup-dir=../to-dest/bk",
        "-a --delete -b --backup-dir=../../SIDE/D/bk",
        "-a -b --backup-dir=../D/bk",
        "-a --delete -b --backup-dir=..",
        "-a --delete -b --backup-dir=../bk",
        "-a --delete --compare-dest=old",
        "-a --delete --compare-dest=../D/old",
        "-a --delete --copy-dest=../to-dest/old",
        "-a --delete --link-dest=old",
        "-a --delete --temp-dir=old",
        "-a --delete --temp-dir=../to-dest/old",
    ];
    table(&cases, |options| {
        let words: Vec<&str> = options.split(' ').collect();
        let twin = Twin::new(&work, ["s/", "SIDE/D"]).words_of_options(&words).prepare(|side| {
            for place in ["D", "D/old"] {
                chain(&side.join(place));
                fs::rename(side.join(place).join("s/x"), side.join(place).join("x")).unwrap();
                fs::rename(side.join(place).join("s/p"), side.join(place).join("p")).unwrap();
                fs::remove_dir(side.join(place).join("s")).unwrap();
            }
            fs::write(side.join("D/x/f0"), "older than the source").unwrap();
            symlink("D", side.join("to-dest")).unwrap();
        });
        Some(format!("{options}: {}", twin.difference()?))
    });
}

/// Runs a shell script with both programs: `one` and `many OPTIONS SRC... DEST`.
fn script(work: &Work, text: &str) -> Run {
    let program = multi_sync(work).get_program().to_owned();
    let both = "one() { rsync \"$@\"; }\nmany() { o=$1; shift; timeout 60 \"$MS\" -p 3 -f 5 -r \"$o\" \"$@\"; }\n";
    let mut command = sh(work, &format!("{both}{text}"));
    command.env("MS", program).current_dir(work.path());
    run(command)
}

/// The launch that deletes gets the names of all sources: as a list if they do not fit into its arguments.
#[test]
fn deletion_beside_more_sources_than_arguments_take() {
    let work = Work::new();
    let run = script(
        &work,
        r#"d=$(printf '%0150d' 0); mkdir -p $d/c/d $d/t $d/r $d/m; cd $d || exit 9
for i in 1 2 3 4 5 6 7 8; do echo $i >c/d/f$i; done
for i in $(seq 1000 1900); do : >t/a-name-that-is-long-enough-for-arguments-to-add-up-beyond-what-there-is-$i; done
touch r/extra m/extra; ulimit -s 512
one -a --delete c/ t/* r/ || exit 8
many '-a --delete' c/ t/* m/ || exit 7
diff -r r m"#,
    );
    run.expect_code(0);
}

/// A directory whose path leaves no room for names in it stays whole; entries whose paths are too long are reported, and everything else is copied.
#[test]
fn paths_near_the_longest() {
    let work = Work::new();
    let run = script(
        &work,
        r#"n=$(printf '%0200d' 0); mkdir -p s/ok s/zz; for i in $(seq 12); do : >s/ok/$i; : >s/zz/$i; done
(cd s; for i in $(seq 18); do mkdir $n && cd -P $n || exit; for f in 1 2 3 4 5 6; do : >f$f; done; done
l=$((4060 - $(pwd -P | wc -c))); e=$(printf "%0${l}d" 1); [ $l -gt 255 ] && e=$n; mkdir $e && cd -P $e || exit; for i in $(seq 12); do : >$i; done
for i in 1 2 3; do mkdir $n && cd -P $n || exit; for f in 1 2 3 4 5 6; do : >f$f; done; done)
for o in '-a' '-a --exclude=none' '-aH --delete' '-aR'; do
    rm -rf r m; one $o s/ r/ 2>r.err; a=$?; many "$o" s/ m/ 2>m.err; b=$?
    [ $a = $b ] || { echo "$o: one $a, many $b"; cat m.err; exit 7; }
    [ "$(cd r; find . | sort | cksum)" = "$(cd m; find . | sort | cksum)" ] || { echo "$o: other names"; exit 8; }
done; rm -rf s r m"#,
    );
    run.expect_code(0);
}

/// DEST is also inside the source, through a bind mount: one rsync copies, and nothing that it has copied is copied again.
#[test]
fn a_destination_that_is_seen_inside_the_source() {
    let work = Work::new();
    let run = script(
        &work,
        r#"cat >in.sh <<'END'
mkdir -p s/seen d; mount --bind d s/seen || exit 77
for d in 1 2 3 4; do mkdir -p s/d$d/sub; for f in 1 2 3 4 5 6; do echo $f >s/d$d/f$f; echo $f >s/d$d/sub/g$f; done; done
timeout 60 "$MS" -p 3 -f 5 -r -a s/ d/ || exit 8
[ "$(find d | wc -l)" = 58 ] || { find d; exit 9; }
umount s/seen
END
unshare -m true || exit 77
unshare -m sh in.sh"#,
    );
    if run.status.code() != Some(0) && (run.status.code() == Some(77) || !is_root()) {
        return skip("a_destination_that_is_seen_inside_the_source", "nothing can be mounted here");
    }
    run.expect_code(0);
}

/// A file with two names is found four times if its directories are also mounted elsewhere: one rsync regards all four as one file.
#[test]
fn hard_links_that_are_found_on_several_paths() {
    let work = Work::new();
    let run = script(
        &work,
        r#"cat >in.sh <<'END'
mkdir -p s/there s/other
for d in 1 2 3 4; do
    mkdir -p s/here/d$d/sub; for f in 1 2 3; do echo $f >s/here/d$d/f$f; ln s/here/d$d/f$f s/here/d$d/sub/g$f; done
done
mount --bind s/here s/there || exit 77
mount --bind s/here/d1 s/other || exit 77
links() { (cd $1 && find . -type f -printf '%i %p\n' | sort -k 2 | awk '!($1 in seen) { seen[$1] = ++n } { print seen[$1], $2 }'); }
for sources in 's/' 's/here s/there' 's/here/d1 s/other s/there/d2'; do
    rm -rf one many; rsync -aH $sources one/; "$MS" -p 3 -f 4 -r -aH $sources many/ || exit 8
    [ "$(links one)" = "$(links many)" ] || { echo "$sources"; links one | diff - <(links many); exit 9; }
done
umount s/there s/other
END
unshare -m true || exit 77
unshare -m bash in.sh"#,
    );
    if run.status.code() != Some(0) && (run.status.code() == Some(77) || !is_root()) {
        return skip("hard_links_that_are_found_on_several_paths", "nothing can be mounted here");
    }
    run.expect_code(0);
}

/// If there is not enough room for old and new files, a copy that deletes first succeeds.
#[test]
fn room_that_deletion_makes() {
    let work = Work::new();
    let run = script(
        &work,
        r#"cat >in.sh <<'END'
mkdir m s s/a s/b; mount -t tmpfs -o size=6m none m || exit 77
for i in 1 2 3 4 5 6; do echo $i >s/a/$i; echo $i >s/b/$i; done; head -c 4000000 /dev/zero >s/new
for o in --delete --delete-during --delete-before --delete-after '--delete --ignore-errors'; do
    for k in one many; do
        rm -rf m/D; mkdir m/D; head -c 4000000 /dev/zero >m/D/old
        if [ $k = one ]; then rsync -a $o s/ m/D/; else timeout 60 "$MS" -p 3 -f 5 -r "-a $o" s/ m/D/; fi
        eval $k=$?
    done
    [ $one = $many ] || { echo "$o: one $one, many $many"; exit 8; }
    [ $one != 0 ] || diff -r s m/D || exit 9
done
umount m
END
unshare -m true || exit 77
unshare -m sh in.sh"#,
    );
    if run.status.code() != Some(0) && (run.status.code() == Some(77) || !is_root()) {
        return skip("room_that_deletion_makes", "nothing can be mounted here");
    }
    run.expect_code(0);
}

#[test]
fn many_sources_where_few_files_may_be_open() {
    let work = Work::new();
    let run = script(
        &work,
        r#"for i in 1 2 3 4 5 6 7 8 9 10; do for j in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    mkdir -p p$i/d$i.$j; echo $i >p$i/d$i.$j/f
done; done
ulimit -n 256
mkdir D E; "$MS" -p 2 -f 20 -r -a p*/* D || exit
rsync -a p*/* E && diff -r D E"#,
    );
    run.expect_code(0);
}
