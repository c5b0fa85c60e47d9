//! The documentation is correct: its tables are those of the sources (`UPDATE_DOCS=1 cargo test --test it documentation::` writes them again), its links lead
//! somewhere, and its commands are valid.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use multi_sync::harness::first_pass::{Role, listed};
use multi_sync::harness::plan::fallback_rules;
use multi_sync::harness::rsync::options::{Class, Opt, specs};

use crate::support::command::{multi_sync, run, sh};
use crate::support::work::Work;

const LONGEST_README: usize = 150;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README, and all pages in `docs/`.
fn pages() -> BTreeMap<PathBuf, String> {
    let docs = root().join("docs").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let others = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "bench-data/README.md"].map(|name| root().join(name));
    let pages = docs.chain(others).filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    pages.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Compares the text between two marks of a page with the expected text, or writes it.
#[track_caller]
fn expect_table(page: &str, name: &str, table: &str) {
    let path = root().join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->\n"));
    let (before, rest) = text.split_once(&begin).expect("the page has a place for it");
    let (committed, after) = rest.split_once(&end).expect("the place has an end");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return fs::write(&path, format!("{before}{begin}{table}{end}{after}")).unwrap();
    }
    assert!(
        committed == table,
        "{page}: {name} is stale; UPDATE_DOCS=1 cargo test --test it documentation:: writes it anew"
    );
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[test]
fn the_table_of_fallback_rules_is_that_of_the_sources() {
    let mut table =
        "\n| what one rsync does, and why | for example `multi-sync -p 4 rsync ...` |\n|---|---|\n".to_owned();
    for [_, example, reason] in fallback_rules() {
        let _ = writeln!(table, "| {} | `{}` |", cell(reason), cell(example));
    }
    expect_table("docs/one-rsync.md", "rules", &format!("{table}\n"));
}

#[test]
fn the_table_of_rsyncs_options_is_that_of_the_sources() {
    let of_class = |classes: &[Class]| specs().iter().filter(|spec| classes.contains(&spec.class)).collect::<Vec<_>>();
    let native: Vec<String> = of_class(&[Class::Native]).iter().map(|spec| format!("`{}`", spec.shown())).collect();
    let mut text = format!("\n**Passed to every launch**: {}.\n", native.join(", "));
    for (title, classes) in [
        ("Handled", &[Class::Special, Class::Whole][..]),
        ("Done by one rsync", &[Class::Plain]),
        ("Refused with several rsyncs", &[Class::Refused]),
    ] {
        let _ = write!(text, "\n| {title} | because |\n|---|---|\n");
        for spec in of_class(classes) {
            let _ = writeln!(text, "| `{}` | {} |", spec.shown(), cell(spec.why));
        }
    }
    expect_table("docs/one-rsync.md", "options", &format!("{text}\n"));
}

#[test]
fn the_table_of_the_first_pass_is_that_of_the_sources() {
    let mut table = "\n| options | first pass | because |\n|---|---|---|\n".to_owned();
    for (options, role, why) in listed() {
        let shown: Vec<String> = options.iter().map(|opt| format!("`{}`", opt.spec().shown())).collect();
        let role = match role {
            Role::None => "as without them",
            Role::Followed => "follows them",
            Role::Off => "off",
        };
        let _ = writeln!(table, "| {} | {role} | {} |", shown.join(", "), cell(why));
    }
    let _ = writeln!(
        table,
        "| without `{}` or `{}` | off | files get attributes other than those of the source |",
        Opt::Perms.spec().shown(),
        Opt::Times.spec().shown()
    );
    expect_table("docs/first-pass.md", "first-pass", &format!("{table}\n"));
}

#[test]
fn readme_is_read_in_five_minutes() {
    let lines = fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(
        lines <= LONGEST_README,
        "README.md has {lines} lines, and may have {LONGEST_README}: the rest belongs into docs/"
    );
}

/// The package on crates.io has no other file of `bench-data/runs`.
#[test]
fn the_package_has_the_chart_of_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let images: Vec<&str> = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| link.ends_with(".svg"))
        .collect();
    assert!(!images.is_empty());
    for image in images {
        assert!(manifest.contains(&format!("\"!{image}\"")), "Cargo.toml excludes {image}");
    }
}

/// The anchor that GitHub makes for a heading.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .collect::<String>();
    kept.replace(' ', "-")
}

fn anchors(page: &str) -> Vec<String> {
    page.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (path, text) in &pages {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            count += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let target = target.canonicalize().unwrap_or(target);
            let known =
                place.is_empty() || pages.get(&target).is_some_and(|page| anchors(page).contains(&place.to_owned()));
            if !target.exists() || !known {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 30, "only {count} links were found");
}

/// The targets of `make` that README and the pages mention exist.
#[test]
fn make_has_the_targets() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (path, text) in pages() {
        for line in blocks_of_shell(&text).iter().flat_map(|block| block.lines()) {
            let words = line.trim_start_matches("sudo ").strip_prefix("make").and_then(|rest| rest.split('#').next());
            let Some(words) = words.filter(|rest| rest.is_empty() || rest.starts_with(' ')) else { continue };
            for target in words.split_whitespace().filter(|word| !word.contains('=')) {
                count += 1;
                if !makefile.lines().any(|line| line.starts_with(&format!("{target}:"))) {
                    wrong.push(format!("{}: make {target}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 4, "only {count} targets were found");
}

fn blocks_of_shell(page: &str) -> Vec<&str> {
    let begins = page.match_indices("```sh\n").chain(page.match_indices("```bash\n"));
    begins.filter_map(|(at, mark)| page[at + mark.len()..].split("```").next()).collect()
}

/// The lines in shell blocks that begin with `multi-sync`, with their continuation lines.
fn commands(page: &str) -> Vec<String> {
    let blocks = blocks_of_shell(page).into_iter();
    let lines = blocks.map(|block| block.replace("\\\n", " "));
    let lines: Vec<String> = lines.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.into_iter().filter(|line| line.starts_with("multi-sync ")).collect()
}

/// A copy is explained, in a directory that has its files; a command that only prints is run unchanged.
#[test]
fn commands_are_understood() {
    let work = Work::new();
    for dir in ["data", "export", "mnt/new", "mnt/old", "scratch", "bin"] {
        work.file(format!("{dir}/file"), "some");
    }
    work.file("nodes", "n1\nn1\nn2\n");
    let program = multi_sync(&work).get_program().to_owned();
    std::os::unix::fs::symlink(program, work.join("bin/multi-sync")).unwrap();
    let mut count = 0;
    for (path, text) in pages() {
        for line in commands(&text) {
            let rest = line.strip_prefix("multi-sync ").expect("it begins so");
            // Removes a comment, and a pipe after the command.
            let rest = rest.split("  #").next().unwrap_or_default().split(" | ").next().unwrap_or_default().trim();
            // A trial would write to DEST.
            let rest = rest.replace("3> >(my-monitor)", "3>/dev/null").replace("--trial-seconds 60 ", "");
            let begins = rest.split_whitespace().next().unwrap_or_default();
            if ["selftest", "bench", "--bench", "--benchshm", "--selftest"].contains(&begins) {
                continue;
            }
            count += 1;
            // For a run that does not exist: the error shows that everything else was understood.
            if ["resume", "retry", "status", "set", "--forget", "report", "runs"].contains(&begins) {
                let mut command = sh(&work, &format!("PATH={}:$PATH; multi-sync {rest}", work.join("bin").display()));
                command.env("HOME", work.path());
                let ran = run(command);
                let fine = match begins {
                    "runs" => ran.status.success(),
                    "report" => ran.stderr_text().contains("run.jsonl: No such file"),
                    _ => ran.stderr_text().contains("there is no run RUN"),
                };
                ran.expect(fine, &format!("{}: {line}", path.display()));
                continue;
            }
            let rest = rest.strip_prefix("verify ").unwrap_or(&rest);
            let explains = match begins {
                "explain" | "survey" | "help" => "",
                "--submit" => "--print-job ",
                _ => "explain ",
            };
            // Absolute names are replaced by names in the work folder.
            let script = ["/data", "/export", "/mnt", "/scratch"].iter().fold(rest.to_owned(), |line, name| {
                line.replace(&format!(" {name}"), &format!(" {}{name}", work.path().display()))
            });
            let mut command =
                sh(&work, &format!("PATH={}:$PATH; multi-sync {explains}{script}", work.join("bin").display()));
            command.env("HOME", work.path());
            // As in a Slurm job.
            command.env("SLURM_JOB_ID", "1").env("SLURM_JOB_NODELIST", "n[1-4]");
            command.env("PBS_NODEFILE", work.join("nodes")).env("LSB_DJOB_HOSTFILE", work.join("nodes"));
            let ran = run(command);
            let fine = ran.status.code() == Some(0);
            ran.expect(fine, &format!("{}: {line}", path.display()));
        }
    }
    assert!(count > 10, "only {count} commands were found");
}

/// The functions of the bash completion exist, and offer suitable words.
#[test]
fn bash_completes() {
    let work = Work::new();
    if !run(sh(&work, "command -v bash")).status.success() {
        return crate::support::skip("bash_completes", "bash is not installed");
    }
    for (words, expected) in [
        ("multi-sync res", "resume"),
        ("multi-sync --metrics-l", "--metrics-listen"),
        ("multi-sync -m many", "many-to-one"),
        ("multi-sync --verify = check", "checksum"),
        ("multi-sync resume --ret", "--retries"),
    ] {
        let script = format!(
            "bash -c '. {}/share/completions/multi-sync.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _multi_sync_words multi-sync \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\"'",
            root().display()
        );
        let ran = run(sh(&work, &script)).expect_code(0);
        let offered = ran.stdout_text().split_whitespace().any(|word| word == expected) && ran.stderr.is_empty();
        ran.expect(offered, words);
    }
}
