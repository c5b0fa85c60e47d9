//! The man page, the completions and the table of options in the documentation are generated from the [`definition`](super::definition), and committed, so
//! that installing them needs no generator. `UPDATE_DOCS=1 cargo test --bin multi-sync generated` writes them again.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::definition::command;
use super::words::WORDS;

/// The date of the man page.
const DATE: &str = "2026-11-29";
const NAME: &str = "multi-sync";

fn root(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Compares a file with its expected contents, or writes it.
#[track_caller]
fn expect_current(file: &str, text: &str) {
    let path = root(file);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "{file} is stale: UPDATE_DOCS=1 cargo test --bin multi-sync generated writes it anew");
}

/// The definition with the words as subcommands, for generators that need to know which options belong to which word.
fn with_words() -> Command {
    let all = command();
    let words = WORDS.iter().map(|told| {
        let takes = |argument: &&Arg| told.options.contains(&argument.get_id().as_str());
        let paths = all.get_arguments().filter(|argument| argument.get_id() == "paths").cloned();
        let options = all.get_arguments().filter(takes).cloned();
        let about = told.about.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned();
        Command::new(told.name).about(about).disable_help_flag(true).args(options.chain(paths))
    });
    let words: Vec<Command> = words.collect();
    command().disable_help_subcommand(true).subcommands(words)
}

fn completion(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut with_words(), NAME, &mut text);
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    format!("{}\n", lines.join("\n"))
}

#[test]
fn completions_are_current() {
    let more = |name: &str| fs::read_to_string(root("share/completions").join(name)).unwrap();
    // clap_complete 4.6 takes the hyphen in our name for a separator of words, in one of two places.
    let bash = completion(Shell::Bash).replace("multi__subcmd__sync", "multi__sync");
    // The generated part stays unchanged. A function around it completes runs and rsync's own words.
    let begins = bash.find("\nif [[ \"${BASH_VERSINFO[0]}\"").unwrap_or(bash.len());
    expect_current("share/completions/multi-sync.bash", &format!("{}\n{}", &bash[..begins], more("more.bash")));
    expect_current("share/completions/_multi-sync", &completion(Shell::Zsh));
    expect_current("share/completions/multi-sync.fish", &format!("{}{}", completion(Shell::Fish), more("more.fish")));
}

/// The sections that are written by hand. They begin with `.SH`.
fn written(section: &str) -> String {
    let all = fs::read_to_string(root("share/man/written.man")).unwrap();
    let found = all.split("\n.SH ").find(|part| part.lines().next() == Some(section));
    format!(".SH {}\n", found.unwrap_or_else(|| panic!("{section} is not written")).trim_end())
}

fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let begins_as_request = text.starts_with(['.', '\'']);
    if begins_as_request { format!("\\&{text}") } else { text }
}

/// The words, which are not subcommands for clap.
fn modes() -> String {
    let mut text =
        ".SH MODES\nThe first word that is not an option selects what is done. Without one of these words,\n.B multi\\-sync\ncopies.\n"
            .to_owned();
    for told in &WORDS {
        for (at, usage) in told.usage.lines().enumerate() {
            let rest = usage.trim().strip_prefix("multi-sync ").unwrap_or_default();
            let macro_ = if at == 0 { "TP" } else { "TQ" };
            let _ = writeln!(text, ".{macro_}\n\\fB{}\\fR", roff(rest));
        }
        let _ = writeln!(text, "{}", roff(told.about));
    }
    text
}

/// The groups of options in the order in which they are useful to read. Other groups follow.
const GROUPS: [&str; 6] = ["Copy", "Verify and resume", "While it runs", "Watch and report", "Be told", "Many hosts"];

/// All groups of options.
fn groups(definition: &Command) -> Vec<&str> {
    let mut groups = GROUPS.to_vec();
    for heading in definition.get_arguments().filter_map(Arg::get_help_heading) {
        if !groups.contains(&heading) {
            groups.push(heading);
        }
    }
    groups
}

/// The options in their groups.
fn options() -> String {
    // The help already lists the possible values.
    let definition = command().mut_args(|argument| match argument.get_action().takes_values() {
        true => argument.hide_possible_values(true),
        false => argument,
    });
    let mut text = ".SH OPTIONS\n".to_owned();
    for group in groups(&definition) {
        let of_group = definition.get_arguments().filter(|argument| argument.get_help_heading() == Some(group));
        let part = Command::new(NAME).disable_help_flag(true).disable_version_flag(true).args(of_group.cloned());
        let mut rendered = Vec::new();
        Man::new(part).render_options_section(&mut rendered).unwrap();
        let _ = writeln!(text, ".SS {group}");
        // roff's definition of quotes, and headings, are left out.
        let rendered = String::from_utf8(rendered).unwrap().replace("\\*(Aq", "\\(aq");
        let lines = rendered.lines().filter(|line| ![".ie ", ".el ", ".SH "].iter().any(|word| line.starts_with(word)));
        lines.for_each(|line| text.push_str(&format!("{}\n", line.trim_end())));
    }
    text
}

/// The page with short lines, for readers of its source. Examples stay as they are.
fn folded(page: &str) -> String {
    const WIDTH: usize = 79;
    let mut text = String::new();
    let mut is_example = false;
    for line in page.lines() {
        is_example = (is_example || line == ".EX") && line != ".EE";
        if is_example || line.starts_with('.') || line.len() <= WIDTH {
            text.push_str(line);
            text.push('\n');
            continue;
        }
        let mut width = 0;
        for word in line.split(' ') {
            if width > 0 && width + 1 + word.len() > WIDTH {
                text.push('\n');
                width = 0;
            }
            let word = match word {
                // At the beginning of a line these characters would begin a roff request.
                word if width == 0 && word.starts_with(['.', '\'']) => format!("\\&{word}"),
                word => word.to_owned(),
            };
            if width > 0 {
                text.push(' ');
                width += 1;
            }
            width += word.len();
            text.push_str(&word);
        }
        text.push('\n');
    }
    text
}

fn man() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        ".\\\" Generated from src/cli/definition.rs and share/man/written.man: UPDATE_DOCS=1 cargo test --bin multi-sync generated\n\
         .TH MULTI\\-SYNC 1 {DATE} \"multi\\-sync {version}\" \"User Commands\"\n"
    );
    for part in [
        written("NAME"),
        written("SYNOPSIS"),
        written("DESCRIPTION"),
        modes(),
        options(),
        written("EXIT STATUS"),
        written("ENVIRONMENT"),
        written("FILES"),
        written("SIGNALS"),
        written("NOTES"),
        written("EXAMPLES"),
        written("SEE ALSO"),
    ] {
        text.push_str(&part);
    }
    folded(&text)
}

#[test]
fn the_man_page_is_current_and_has_every_option() {
    let man = man();
    expect_current("share/man/multi-sync.1", &man);
    for argument in command().get_arguments().filter(|argument| !argument.is_positional() && !argument.is_hide_set()) {
        let long = argument.get_long().expect("every option has a long name");
        assert!(man.contains(&format!("\\-\\-{}", long.replace('-', "\\-"))), "--{long} is not in the man page");
    }
    for told in &WORDS {
        assert!(man.contains(&format!("\\fB{}", told.name)), "{} is not in the man page", told.name);
    }
}

/// Replaces a Markdown table between marks in a page.
fn table(page: &str, name: &str, table: &str) -> String {
    let text = fs::read_to_string(root(page)).unwrap();
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->\n"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{page} has no place for {name}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{page}: {name} has no end"));
    format!("{before}{begin}{table}{end}{after}")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

fn markdown() -> String {
    let definition = command();
    let mut text = String::new();
    for group in groups(&definition) {
        let _ = write!(text, "\n### {group}\n\n| option | |\n|---|---|\n");
        let of_group = definition.get_arguments().filter(|argument| argument.get_help_heading() == Some(group));
        for argument in of_group.filter(|argument| !argument.is_hide_set()) {
            let mut names: Vec<String> = argument.get_short().map(|letter| format!("-{letter}")).into_iter().collect();
            names.extend(argument.get_visible_short_aliases().into_iter().flatten().map(|letter| format!("-{letter}")));
            names.extend(argument.get_long().map(|long| format!("--{long}")));
            let value = argument.get_value_names().filter(|_| argument.get_action().takes_values());
            let value = value.and_then(|names| names.first()).map_or(String::new(), |name| {
                if argument.is_require_equals_set() { format!("[={name}]") } else { format!(" {name}") }
            });
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "| `{}{value}` | {} |", names.join("`, `"), cell(&help));
        }
    }
    text.push('\n');
    text
}

#[test]
fn the_table_of_options_is_current() {
    expect_current("docs/options.md", &table("docs/options.md", "options", &markdown()));
}
