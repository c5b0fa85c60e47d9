use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::config::Config;
use crate::endpoint::{Destination, Source};
use crate::plan::facts::{self, Whole};
use crate::plan::receiver::{Locked, Receiver};
use crate::plan::sources;
use crate::rsync::filter::Filters;
use crate::rsync::options::{Aliases, Class, CommandLine, specs};

/// The files that the examples refer to.
fn world(dir: &Path) {
    for name in ["src/a", "other/a", "ruled", "dst"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    for (name, text) in [
        ("file", ""),
        ("src/a/f", ""),
        ("ruled/.rsync-filter", "- x\n"),
        ("clears", "!\n"),
        ("merges", ": .rules\n"),
        ("rules", "- x\n"),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }
    symlink("src", dir.join("link")).unwrap();
}

/// The facts about a command line, as the plan gathers them, but without asking rsync.
fn facts(example: &str, cwd: &Path, as_root: bool) -> Facts {
    facts_of_line(example, cwd, as_root, true)
}

/// Without `looks`, only the command line is considered.
fn facts_of_line(example: &str, cwd: &Path, as_root: bool, looks: bool) -> Facts {
    let words = shell_words::split(example).unwrap();
    let CommandLine { options, mut operands } = CommandLine::parse(&words, &Aliases::default(), false).unwrap();
    if operands.is_empty() {
        operands = vec!["src/".into(), "dst/".into()];
    }
    let destination = Destination::parse(&operands.pop().unwrap()).unwrap();
    let sources = Source::parse_all(&operands, &destination).unwrap();
    let config = Config::new(sources, destination, options.clone(), cwd.to_owned());
    let meaning = options.meaning();
    let receiver = Receiver::of(&config, as_root);
    let Locked { keep_whole, .. } = receiver.locked(&config, &meaning);
    let filters = Filters::of(&options.absolute_files(cwd), cwd);
    let unclear = filters.as_ref().err().copied();
    let filters = filters.unwrap_or_default();
    let mut facts = Facts::of(&config, &options, |_| None, receiver, &filters, unclear);
    if !looks {
        return facts;
    }
    let whole = Whole { locked: keep_whole, unsafe_links: false, merge_files: &filters.merge_files };
    let found = sources::look(&config, &meaning).unwrap();
    let relative = if meaning.relative { found.relative(&config) } else { None };
    facts.look(&config, &found, relative.as_deref(), &whole);
    facts.one_process = facts::asks_for_one_process(&config);
    facts
}

/// Sets facts that no command line can cause here, and that are known before anything is looked at.
fn pretend_of_line(id: &str, facts: &mut Facts) {
    match id {
        "alias" => facts.alias = Some("-H".into()),
        "backup-dir-delete" => facts.on_hosts = true,
        _ => {}
    }
}

/// Sets facts that no command line can cause in a plain directory.
fn pretend(id: &str, facts: &mut Facts) {
    pretend_of_line(id, facts);
    match id {
        "several-unreadable" => facts.sources.unreadable = true,
        "x-delete-mount" => facts.dest.mount = true,
        "rules-leave-a-name" => facts.rules_leave_a_name = true,
        "too-many-names" => facts.too_many_names = true,
        "pull-not-held" => facts.pull.not_held = true,
        "pull-nowhere" => facts.pull.nowhere = true,
        "pull-unlisted" => facts.pull.unlisted = Some("nothing tells".into()),
        "pull-no-directory" => facts.pull.no_directory = true,
        _ => {}
    }
}

#[test]
fn each_rule_is_the_first_that_applies_to_its_example() {
    let dir = tempfile::tempdir().unwrap();
    let cwd = dir.path().canonicalize().unwrap();
    world(&cwd);
    for Rule { id, example, .. } in RULES {
        let first = |as_root: bool| {
            let mut facts = facts(example, &cwd, as_root);
            pretend(id, &mut facts);
            find(&facts).map(|rule| (rule.id, rule.reason(&facts)))
        };
        let found = [true, false].map(first);
        let (_, reason) =
            found.iter().flatten().find(|(found, _)| found == id).unwrap_or_else(|| panic!("{id}: {found:?}"));
        assert!(!reason.is_empty() && !reason.ends_with('.'), "{id}: {reason}");
    }
}

#[test]
fn rules_about_the_command_line_come_before_those_that_need_a_look() {
    let dir = tempfile::tempdir().unwrap();
    let applies_early = |rule: &&Rule| {
        [true, false].into_iter().any(|as_root| {
            let mut facts = facts_of_line(rule.example, dir.path(), as_root, false);
            pretend_of_line(rule.id, &mut facts);
            (rule.applies)(&facts)
        })
    };
    world(dir.path());
    let early = RULES.iter().take_while(applies_early).count();
    let late: Vec<&str> = RULES[early..].iter().filter(applies_early).map(|rule| rule.id).collect();
    assert!(early > 50 && late.is_empty(), "{early}: {late:?}");
}

#[test]
fn no_two_rules_have_one_name_or_example() {
    let mut seen = HashSet::new();
    assert!(RULES.iter().all(|rule| seen.insert(rule.id) && seen.insert(rule.example)));
}

#[test]
fn an_option_that_one_rsync_has_to_have_is_named() {
    let dir = tempfile::tempdir().unwrap();
    world(dir.path());
    for spec in specs().iter().filter(|spec| spec.class == Class::Plain) {
        let value = if spec.takes_value() { "=9" } else { "" };
        let example = format!("-a --{}{value}", spec.name());
        let facts = facts(&example, dir.path(), true);
        let rule = find(&facts).unwrap_or_else(|| panic!("{example}"));
        assert_eq!((rule.id, rule.reason(&facts)), ("option", format!("{}: {}", spec.shown(), spec.why)), "{example}");
    }
}

#[test]
fn a_value_that_one_rsync_has_to_have_is_named() {
    let dir = tempfile::tempdir().unwrap();
    world(dir.path());
    for (example, option) in [
        ("-a --partial-dir=/old", "--partial-dir: files of the same name"),
        ("-a --protocol=29", "--protocol: this protocol cannot transfer a file"),
        ("-a --exclude=!", "--exclude: a rule that clears the list"),
        ("-lt --dirs", "a transfer without --recursive (-r): there is no tree"),
    ] {
        let facts = facts(example, dir.path(), true);
        let reason = find(&facts).filter(|rule| rule.id == "option").map(|rule| rule.reason(&facts));
        assert!(reason.as_ref().is_some_and(|reason| reason.starts_with(option)), "{example}: {reason:?}");
    }
}

#[test]
fn without_a_rule_several_do_it() {
    let dir = tempfile::tempdir().unwrap();
    world(dir.path());
    for example in ["-a", "-aHS --numeric-ids --delete", "-a src other dst/", "-aAXH src other host:dst"] {
        let mut facts = facts(example, dir.path(), true);
        facts.one_process = false;
        assert!(find(&facts).is_none(), "{example}");
    }
}
