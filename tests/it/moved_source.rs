//! A source or a destination whose path leads elsewhere during the copy: renamed, replaced, or unmounted. Like one rsync, which stays in the directory that
//! it has entered, multi-sync copies the directory that it found at the beginning, and deletes nothing because of the change.

use std::process::Command;

use crate::support;
use crate::support::command::{Run, multi_sync, rsync, run, sh};
use crate::support::twin::{fake_rsync, snapshot, table};
use crate::support::work::Work;

/// What is done to the path, in a folder with `src`, or with `up/src`.
const WAYS: [(&str, &str); 4] = [
    ("renamed", "mv src old"),
    ("and an empty directory put in its place", "mv src old; mkdir src"),
    ("and another directory put in its place", "mv src old; cp -a other src"),
    ("and a link put in its place", "mv src old; ln -s other src"),
];

/// A source for several launches, and a destination that has it with other times and some extraneous entries.
fn fill(work: &Work, below: &str) {
    let script = r#"
        mkdir -p src other/d1 "$1"
        for d in 1 2 3 4 5 6; do mkdir -p src/d$d/deep; for f in 1 2 3; do echo "$d $f" >src/d$d/f$f; echo "$d $f" >src/d$d/deep/g$f; done; done
        for f in 1 2 3 4 5 6 7; do echo "$f" >src/s$f; done
        echo wrong >other/d1/f1; echo wrong >other/s1
        cp -a src/. "$1"; find "$1" -type f -exec touch -d @1000 {} +
        echo more >"$1/d1/deep/more"; echo more >"$1/d6/more"
        touch -d @2000 src/d*/deep src/d* src
    "#;
    let mut fill = sh(work, script);
    fill.arg("sh").arg(below);
    run(fill).expect_code(0);
}

/// Changes the source when the `launch`-th rsync that copies is started.
fn at_launch(command: &mut Command, work: &Work, launch: u32, what: &str) {
    let script = format!(
        "case \" $* \" in *' --server '*) ;; *' --no-implied-dirs '*)\n\
         n=1; while ! mkdir '{0}'/launch$n 2>/dev/null; do n=$((n + 1)); done\n\
         [ $n != {launch} ] || (cd '{0}' && {{ {what}; }}) ;;\nesac\nexec REAL \"$@\"",
        work.path().display()
    );
    fake_rsync(command, work, &script);
}

/// The differences from the original source.
fn differences(work: &Work, old: &str, dest: &str) -> String {
    let mut check = rsync(work);
    check.args(["-anic", "--delete"]).arg(format!("{old}/")).arg(format!("{dest}/"));
    run(check).stdout_text()
}

fn judge(work: &Work, ran: Run, named: bool, what: &str) -> Option<String> {
    let (dest, codes) = if named { ("dest/src", &[0, 23][..]) } else { ("dest", &[0][..]) };
    let differs = differences(work, "old", dest);
    // If a source is sent with its name, its attributes are set by that name.
    let wrong = differs.lines().filter(|line| !(named && *line == ".d..t...... ./")).collect::<Vec<_>>().join("\n");
    let code = ran.status.code().unwrap_or(-1);
    let said = ran.stderr_text();
    let right = wrong.is_empty() && codes.contains(&code) && !said.contains("/proc/");
    (!right).then(|| format!("{what}: code {code}\n{wrong}\n{}", ran.report()))
}

#[test]
fn a_source_that_is_moved_between_launches_is_copied_to_its_end() {
    let mut cases = Vec::new();
    for way in WAYS {
        for options in ["-a --delete", "-a --delete-before", "-a --delete-after"] {
            for source in ["src/", "src"] {
                // All ways once, and all options once.
                if way == WAYS[0] || options == "-a --delete" {
                    cases.push((way, options, source));
                }
            }
        }
    }
    table(&cases, |((way, does), options, source)| {
        let work = Work::new();
        let named = *source == "src";
        fill(&work, if named { "dest/src" } else { "dest" });
        let mut command = multi_sync(&work);
        command.args(["-p", "1", "-f", "5", "-r", options, source, "dest/"]);
        at_launch(&mut command, &work, 2, does);
        judge(&work, run(command), named, &format!("{options} {source} {way}"))
    });
}

/// rsync has read its arguments, but not yet opened the directories that they name.
#[test]
fn a_source_that_is_moved_in_the_middle_of_a_launch_is_copied_to_its_end() {
    let cases: Vec<_> = WAYS.iter().flat_map(|way| ["src/", "src"].map(|source| (*way, source))).collect();
    table(&cases, |((way, does), source)| {
        let work = Work::new();
        let named = *source == "src";
        fill(&work, if named { "dest/src" } else { "dest" });
        let (top, real) = (work.path().display(), run(sh(&work, "command -v rsync")).stdout_text());
        let script = format!(
            "#!/bin/sh\nshift\nn=1; while ! mkdir '{top}'/shell$n 2>/dev/null; do n=$((n + 1)); done\n\
             [ $n != 2 ] || (cd '{top}' && {{ {does}; }})\nexec \"$@\"\n"
        );
        let shell = work.file("shell", script);
        run(sh(&work, "chmod 755 shell")).expect_code(0);
        let options = format!("-a --delete -e {} --rsync-path={}", shell.display(), real.trim());
        let mut command = multi_sync(&work);
        command.args(["-p", "1", "-f", "20", "-r", &options, source]);
        command.arg(format!("there:{top}/dest/"));
        judge(&work, run(command), named, &format!("{source} {way}"))
    });
}

#[test]
fn a_source_that_is_unmounted_lazily_is_copied_to_its_end() {
    const NAME: &str = "a_source_that_is_unmounted_lazily_is_copied_to_its_end";
    let work = Work::new();
    let mounts = "mkdir up && mount -t tmpfs none up && umount up";
    if !support::is_root() || run(sh(&work, &format!("unshare -m sh -c '{mounts}'"))).status.code() != Some(0) {
        return support::skip(NAME, "no file system can be mounted here");
    }
    fill(&work, "dest");
    let mut inner = multi_sync(&work);
    at_launch(&mut inner, &work, 2, "umount -l mounted");
    let path = inner.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value).unwrap().to_owned();
    let script = r#"mkdir mounted && mount -t tmpfs -o mode=755 none mounted && cp -a src/. mounted && mv src old && PATH=$1 && export PATH &&
        "$2" -p 1 -f 5 -r "-a --delete" mounted/ dest"#;
    let mut outer = support::command::command(&work, "unshare");
    outer.args(["-m", "sh", "-c", script, "sh"]).arg(path).arg(inner.get_program());
    let wrong = judge(&work, run(outer), false, "unmounted");
    assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
}

/// A source that cannot be held, because its name and the directories above are part of what is sent.
#[test]
fn nothing_is_deleted_because_of_a_source_under_relative_that_is_moved() {
    for does in ["mv up/src old", "mv up/src old; mkdir up/src", "mv up/src old; ln -s other up/src"] {
        let work = Work::new();
        fill(&work, "dest/up/src");
        run(sh(&work, "mkdir up; mv src up; cp -a up/src/d6/. dest/up/src/d6")).expect_code(0);
        let before = snapshot(&work.join("dest/up/src/d6"));
        let mut command = multi_sync(&work);
        command.args(["-p", "1", "-f", "5", "-r", "-aR --delete-after", "up/src", "dest/"]);
        at_launch(&mut command, &work, 1, does);
        let ran = run(command).expect_code(23);
        let named = ran.stderr_text().contains("up/src was replaced");
        ran.expect(snapshot(&work.join("dest/up/src/d6")) == before, "something was deleted")
            .expect(named, "it is not named");
    }
}

#[test]
fn a_split_directory_that_is_replaced_stays_at_the_destination() {
    let work = Work::new();
    fill(&work, "dest");
    let before = snapshot(&work.join("dest/d2/deep"));
    let mut command = multi_sync(&work);
    command.args(["-p", "1", "-f", "4", "-r", "-a --delete-after", "src/", "dest/"]);
    at_launch(&mut command, &work, 1, "mv src/d2 elsewhere; mkdir src/d2");
    let ran = run(command).expect_code(23);
    let named = ran.stderr_text().contains("./d2 was replaced");
    ran.expect(snapshot(&work.join("dest/d2/deep")) == before, "it was deleted").expect(named, "it is not named");
}

/// One rsync would write everything into the directory that it has entered. A part of the copy must not be taken for all of it.
#[test]
fn a_destination_that_is_moved_is_an_error() {
    for does in ["mv dest old", "mv dest old; mkdir dest", "mv dest old; ln -s other dest"] {
        let work = Work::new();
        fill(&work, "dest");
        let mut command = multi_sync(&work);
        command.args(["-p", "1", "-f", "5", "-r", "-a --delete", "src/", "dest/"]);
        at_launch(&mut command, &work, 3, does);
        let ran = run(command).expect_code(11);
        let named = ran.stderr_text().contains("destination dest/ was renamed");
        ran.expect(named, "it does not say why");
    }
}

/// A wrapper that changes the user: such an rsync finds sources by their paths.
#[test]
fn an_rsync_of_another_user_copies_too() {
    const NAME: &str = "an_rsync_of_another_user_copies_too";
    if !support::is_root() {
        return support::skip(NAME, "only root may start a process of another user");
    }
    for (lists, code) in [(false, 0), (true, 0)] {
        let work = Work::public();
        fill(&work, "dest");
        // Names that others may change are passed as a list.
        let owner = if lists { "65534:65534 src dest" } else { "65534:65534 dest" };
        run(sh(&work, &format!("chmod -R a+rX src dest; chown -R {owner}"))).expect_code(0);
        let mut command = multi_sync(&work);
        command.args(["-p", "2", "-f", "5", "-r", "-rtp --delete", "src/", "dest/"]);
        fake_rsync(&mut command, &work, "exec setpriv --reuid 65534 --regid 65534 --clear-groups REAL \"$@\"");
        let ran = run(command).expect_code(code);
        let mut check = rsync(&work);
        check.args(["-rtpnic", "--delete", "src/", "dest/"]);
        let differs = run(check).stdout_text();
        ran.expect(differs.is_empty(), &differs);
    }
}
