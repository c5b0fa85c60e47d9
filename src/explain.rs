//! `multi-sync explain`: what would become of a command line. Nothing is copied or changed.

use std::fmt::Write as _;

use multi_sync::engine::Control;
use multi_sync::entry::Printable;
use multi_sync::plan::{Plan, Strategy};
use multi_sync::rsync::command::{Copying, Invocation, Quoted};
use multi_sync::rsync::options::{Class, Options, Verdict};
use multi_sync::{Error, Result};

use crate::cli::{Alone, Request, Run};

/// The answer.
pub fn explain(request: Request) -> Result<String> {
    match request {
        Request::Run(run) => explain_run(*run),
        Request::Alone(alone) => {
            let why = alone.why.clone().unwrap_or_else(|| "it copies nothing that could be divided".into());
            Ok(format!("One rsync does it, as it was typed: {}\nWhy: {why}\n", typed(&alone)))
        }
        _ => {
            Err(Error::usage("explain: this is no copy")
                .remedy("give a copy: multi-sync explain -p 4 rsync -a SRC DEST"))
        }
    }
}

fn typed(alone: &Alone) -> String {
    let words = std::iter::once(&alone.program).chain(&alone.words);
    words.map(|word| Quoted(word).to_string()).collect::<Vec<_>>().join(" ")
}

fn explain_run(run: Run) -> Result<String> {
    let Run { config, alone, .. } = run;
    let as_typed = |why: &str| {
        alone.as_ref().map(|alone| format!("One rsync does it, as it was typed: {}\nWhy: {why}\n", typed(alone)))
    };
    let plan = match Plan::make(&config, Control::default().supervisor()) {
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
