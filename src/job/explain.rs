//! `multi-sync explain`: says what a command line would do. Nothing is copied or changed.

use std::fmt::Write as _;
use std::num::NonZero;

use crate::config::Config;
use crate::engine::Control;
use crate::entry::Printable;
use crate::error::Result;
use crate::plan::{Plan, Strategy};
use crate::rsync::command::{Copying, Invocation};
use crate::rsync::options::{Class, Options, Setting, Verdict};

/// How many options are left out, one after another, to find those that matter together.
const TOGETHER: usize = 4;

const NO_OPTION: &str = "no option is the reason: it lies in the sources and DEST, or in the way rsync is reached";

/// The explanation. `typed` is the rsync command that may do the job instead of multi-sync.
pub fn explain(config: &Config, typed: Option<&str>) -> Result<String> {
    let as_typed = |why: &str| typed.map(|typed| one_as_typed(typed, why));
    let plan = match Plan::make(config, Control::default().supervisor()) {
        Ok(plan) => plan,
        Err(why) => {
            let text = as_typed(&why.to_string());
            let remedy = why.advice().map_or(String::new(), |advice| format!("For several rsyncs: {advice}\n"));
            return text.map(|text| text + &remedy + &options(&config.options)).ok_or(why);
        }
    };
    let mut text = String::new();
    match &plan.strategy {
        Strategy::Plain(why) => {
            let ours = || format!("One rsync does it: {}\nWhy: {why}\n", shown(&plan.plain));
            text.push_str(&as_typed(why).unwrap_or_else(ours));
            let _ = writeln!(text, "For several rsyncs: {}", way_to_several(config, why));
        }
        Strategy::Parallel => {
            let processes = config.processes;
            let _ = writeln!(text, "Several rsyncs do it, at most {processes} at once.");
            let unit = vec!["./NAME".into()];
            let create = plan.recipe.create(Some(b"./"), unit.clone(), false);
            let copy = plan.recipe.buckets(unit, Copying::default(), plan.recipe.argument_room());
            let _ = writeln!(text, "Split directories are created by: {}", shown(&create));
            let _ = writeln!(text, "Names (NAME) are copied by: {}", shown(&copy));
            if text.contains(" /proc/") {
                text.push_str("/proc/PID/fd/N is the directory of the sources, which is held open.\n");
            }
            let _ = match &plan.first_pass {
                Ok(_) => writeln!(
                    text,
                    "First pass: threads create what is new at the destination, then rsync checks every entry."
                ),
                Err(why) => writeln!(text, "No first pass: {why}"),
            };
            if let Some(far) = &plan.far {
                let _ = writeln!(text, "The source is scanned there by {}.", far.means);
            }
            let _ = writeln!(text, "A tree that is too small for several is copied by: {}", shown(&plan.plain));
        }
    }
    if let Some(limit) = config.delete_limit {
        let _ = writeln!(
            text,
            "Deletions are counted first, with -n: with more than --delete-limit {limit} nothing is deleted."
        );
    }
    for (source, kind) in &plan.missing {
        let _ = writeln!(text, "Source {} cannot be found: {kind}", Printable::os(source));
    }
    let _ = writeln!(text, "rsync: {} ({})", plan.version, Printable::os(&config.program));
    text.push_str(&options(&config.options));
    Ok(text)
}

/// The text for a job that is left to the rsync that was typed.
pub fn one_as_typed(typed: &str, why: &str) -> String {
    format!("One rsync does it, as it was typed: {typed}\nWhy: {why}\n")
}

/// What would have to change for several rsyncs to copy. Found by making the plan without each option, and with options that others need.
fn way_to_several(config: &Config, why: &str) -> String {
    /// Without these, some options need the order of one rsync.
    const NEEDED: [&str; 4] = ["-r", "-p", "-t", "--ignore-errors"];
    const SEVERAL: NonZero<usize> = NonZero::new(4).unwrap();
    if Plan::is_one_by_choice(config) {
        let more = Config { processes: SEVERAL, ..config.clone() };
        return match reason(&more) {
            Some(None) => "ask for more processes, such as -p 4".into(),
            _ => format!("ask for more processes, such as -p 4; then: {}", way_to_several(&more, why)),
        };
    }
    // The other machine was asked already, and its answer does not depend on the options.
    let near = Config { looks_far: false, ..config.clone() };
    if config.pulls() && reason(&near) == Some(None) {
        return NO_OPTION.into();
    }
    let with = |options: Options| Config { options, ..near.clone() };
    let named = |setting: &Setting| {
        let words: Vec<String> = setting.argv().iter().map(|word| Printable::os(word).to_string()).collect();
        words.join(" ")
    };
    let mut ways: Vec<String> = Vec::new();
    let settings = config.options.settings();
    for (at, setting) in settings.iter().enumerate() {
        // An option that is typed twice is left out, and named, only once.
        let is_first = !settings[..at].iter().any(|other| other.spec == setting.spec);
        let less = config.options.without(|other| other.spec == setting.spec);
        if is_first && reason(&with(less)) == Some(None) {
            ways.push(format!("leave out {}", named(setting)));
        }
    }
    for word in NEEDED {
        let words: Vec<_> = config.options.argv().into_iter().chain([word.into()]).collect();
        if Options::parse(&words).is_ok_and(|more| reason(&with(more)) == Some(None)) {
            ways.push(format!("add {word}"));
        }
    }
    if ways.is_empty() {
        ways.extend(together(config, why, &with, &named));
    }
    match ways.split_last() {
        None => NO_OPTION.into(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{}, or {last}", others.join(", ")),
    }
}

/// Finds options that have to be left out together: each is the reason that remains after those before it were left out.
fn together(
    config: &Config,
    why: &str,
    with: &dyn Fn(Options) -> Config,
    named: &dyn Fn(&Setting) -> String,
) -> Option<String> {
    let (mut options, mut left_out, mut why) = (config.options.clone(), Vec::new(), why.to_owned());
    for _ in 0..TOGETHER {
        let (less, name, next) = options.settings().iter().find_map(|setting| {
            let less = options.without(|other| other.spec == setting.spec);
            let next = reason(&with(less.clone()))?;
            (next.as_ref() != Some(&why)).then(|| (less, named(setting), next))
        })?;
        options = less;
        left_out.push(name);
        match next {
            None => return Some(format!("leave out {}", left_out.join(" and "))),
            Some(next) => why = next,
        }
    }
    None
}

/// The reason why one rsync would copy; `Some(None)` if several would; `None` if the job would be refused.
fn reason(config: &Config) -> Option<Option<String>> {
    match Plan::make(config, Control::default().supervisor()).ok()?.strategy {
        Strategy::Parallel => Some(None),
        Strategy::Plain(why) => Some(Some(why)),
    }
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
