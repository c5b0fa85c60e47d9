//! `multi-sync explain`: what would become of a command line. Nothing is copied or changed.

use std::fmt::Write as _;

use crate::config::Config;
use crate::engine::Control;
use crate::entry::Printable;
use crate::error::Result;
use crate::plan::{Plan, Strategy};
use crate::rsync::command::{Copying, Invocation};
use crate::rsync::options::{Class, Options, Verdict};

/// The answer. `typed` is the rsync that may do the job in our place.
pub fn explain(config: &Config, typed: Option<&str>) -> Result<String> {
    let as_typed = |why: &str| typed.map(|typed| one_as_typed(typed, why));
    let plan = match Plan::make(config, Control::default().supervisor()) {
        Ok(plan) => plan,
        Err(why) => {
            return as_typed(&why.to_string()).map(|text| text + &options(&config.options)).ok_or(why);
        }
    };
    let mut text = String::new();
    match &plan.strategy {
        Strategy::Plain(why) => {
            let ours = || format!("One rsync does it: {}\nWhy: {why}\n", shown(&plan.plain));
            text.push_str(&as_typed(why).unwrap_or_else(ours));
        }
        Strategy::Parallel => {
            let processes = config.processes;
            let _ = writeln!(text, "Several rsyncs do it, at most {processes} at once.");
            let unit = vec!["./NAME".into()];
            let create = plan.recipe.create(Some(b"./"), unit.clone(), false);
            let copy = plan.recipe.buckets(unit, Copying::default(), plan.recipe.argument_room());
            let _ = writeln!(text, "Directories that are divided are made by: {}", shown(&create));
            let _ = writeln!(text, "A launch copies names (NAME) with: {}", shown(&copy));
            if text.contains(" /proc/") {
                text.push_str("/proc/PID/fd/N is the directory of the sources, which is held open.\n");
            }
            let _ = writeln!(text, "One rsync does a tree that is not worth several: {}", shown(&plan.plain));
        }
    }
    for (source, kind) in &plan.missing {
        let _ = writeln!(text, "Source {} cannot be had: {kind}", Printable::os(source));
    }
    let _ = writeln!(text, "rsync: {} ({})", plan.version, Printable::os(&config.program));
    text.push_str(&options(&config.options));
    Ok(text)
}

/// What is said where the rsync that was typed does it.
pub fn one_as_typed(typed: &str, why: &str) -> String {
    format!("One rsync does it, as it was typed: {typed}\nWhy: {why}\n")
}

fn shown(invocation: &Invocation) -> String {
    format!("{invocation} (in {})", Printable::path(&invocation.cwd))
}

/// A line for each option.
fn options(options: &Options) -> String {
    let mut text = String::new();
    for Verdict { option, class, why, .. } in options.verdicts_with(|name| std::env::var_os(name)) {
        let handled = match class {
            Class::Native => "every rsync gets it".to_owned(),
            Class::Special => format!("handled: {why}"),
            Class::Whole => format!("some directories are not divided: {why}"),
            Class::Plain => format!("one rsync does it all: {why}"),
            Class::Refused => format!("one rsync alone can do this: {why}"),
        };
        let _ = writeln!(text, "{option}: {handled}");
    }
    text
}
