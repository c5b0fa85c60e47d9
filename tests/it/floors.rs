//! The floors of `docs/architecture.md` are respected: a module of `src/` imports only from lower floors, so that there is no cycle; and no file is long
//! without a reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Item;

use crate::support::sources::{Sources, folder, is_test};

/// The modules of the command, which is a separate crate.
const COMMAND: &str = "command";
/// The parts of the library that the command may use.
const FOR_THE_COMMAND: [&str; 5] = ["job", "command", "harness", "Error", "Result"];
/// The most lines of a file, without its unit tests.
const LONGEST: usize = 500;
/// Files that are still longer, and have to become shorter.
const STILL_LONG: [&str; 0] = [];

/// The floor of each module, from the table in the documentation; higher floors have larger numbers.
fn floors() -> BTreeMap<String, usize> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md")).unwrap();
    let table = page.split("```floors\n").nth(1).and_then(|rest| rest.split("```").next()).expect("it has the table");
    let mut floors = BTreeMap::new();
    for (floor, line) in table.lines().rev().enumerate() {
        let (name, modules) = line.split_once(' ').expect("a floor has a name and modules");
        for module in modules.split_whitespace() {
            // The command's modules may have the same names as modules of the library.
            let module = if name == COMMAND { format!("{COMMAND}/{module}") } else { module.to_owned() };
            assert!(floors.insert(module.clone(), floor).is_none(), "{module} is on two floors");
        }
    }
    floors
}

/// Calls `each` with the first name of each path below `root`, including paths in macros.
fn paths(tokens: TokenStream, root: &str, each: &mut dyn FnMut(String)) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => paths(group.stream(), root, each),
            TokenTree::Ident(name) if name == root => {
                let colons = tokens[at + 1..].iter().take(2).filter(|token| token.to_string() == ":").count();
                match tokens.get(at + 3) {
                    Some(TokenTree::Ident(name)) if colons == 2 => each(name.to_string()),
                    Some(TokenTree::Group(group)) if colons == 2 && group.delimiter() == Delimiter::Brace => {
                        firsts(group.stream(), each);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// The first name of each path in the braces of a `use`.
fn firsts(tokens: TokenStream, each: &mut dyn FnMut(String)) {
    let mut begins = true;
    for token in tokens {
        if let TokenTree::Ident(name) = &token
            && begins
        {
            each(name.to_string());
        }
        begins = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ',');
    }
}

/// The items of a module without its unit tests and submodules, which are checked separately.
fn own(items: &[Item]) -> impl Iterator<Item = TokenStream> {
    items.iter().filter_map(|item| match item {
        Item::Mod(_) => None,
        Item::Impl(item) if is_test(&item.attrs) => None,
        Item::Fn(item) if is_test(&item.attrs) => None,
        Item::Use(item) if is_test(&item.attrs) => None,
        item => Some(item.to_token_stream()),
    })
}

#[test]
fn modules_import_from_lower_floors_only() {
    let floors = floors();
    let sources = Sources::read("lib.rs");
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (path, items) in sources.modules.iter().filter(|(path, _)| !path.is_empty()) {
        let module = path.split("::").next().expect("a path has a first part");
        let Some(floor) = floors.get(module) else {
            wrong.push(format!("{module} is on no floor"));
            continue;
        };
        for item in own(items) {
            let mut look = |name: String| {
                looked_at += 1;
                // A re-export of the root belongs to the floor where it is defined.
                let name = match name.as_str() {
                    "Error" | "ErrorKind" | "Result" => "error".to_owned(),
                    _ => name,
                };
                match floors.get(&name) {
                    _ if name == module => {}
                    Some(below) if below < floor => {}
                    Some(_) => wrong.push(format!("{path} imports {name}, which is not below it")),
                    None => wrong.push(format!("{path} imports {name}, which is on no floor")),
                }
            };
            paths(item.clone(), "crate", &mut look);
            // In a module directly below the root, `super` is the root.
            if !path.contains("::") {
                paths(item, "super", &mut look);
            }
        }
    }
    for module in floors.keys().filter(|module| !module.starts_with("command/")) {
        assert!(sources.modules.contains_key(module), "{module} has a floor, and is not there");
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked_at > 300, "only {looked_at} paths were found");
}

#[test]
fn the_command_uses_the_facade_and_its_doors_only() {
    let (floors, sources) = (floors(), Sources::read("main.rs"));
    let mut wrong = Vec::new();
    for (path, items) in &sources.modules {
        let module = path.split("::").next().filter(|module| !module.is_empty()).unwrap_or("main");
        assert!(floors.contains_key(&format!("{COMMAND}/{module}")), "{module} is on no floor");
        for item in own(items) {
            paths(item, "multi_sync", &mut |name| {
                if !FOR_THE_COMMAND.contains(&name.as_str()) {
                    wrong.push(format!("{module} uses {name}"));
                }
            });
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_file_is_long_without_a_reason() {
    let mut long = Vec::new();
    let mut folders = vec![folder()];
    while let Some(folder_) = folders.pop() {
        for entry in folder_.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count();
            let name = path.strip_prefix(folder()).unwrap().to_str().unwrap().to_owned();
            let begins = text.lines().take_while(|line| line.starts_with("//!")).collect::<String>();
            let is_tests = name.ends_with("tests.rs");
            if lines > LONGEST && !is_tests && !begins.contains("One file, because") {
                long.push(name);
            }
        }
    }
    long.sort();
    assert_eq!(long, STILL_LONG, "a file that is long says in its first lines why: `One file, because ...`");
}

/// Only one file contains the names of files in a run directory.
#[test]
fn only_the_run_directory_knows_its_names() {
    let layout = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/run_dir/layout.rs")).unwrap();
    let names: Vec<&str> = layout
        .lines()
        .filter(|line| line.starts_with("pub const") && line.contains(": &str"))
        .map(|line| line.split('"').nth(1).expect("it is a name"))
        .filter(|name| name.contains('.'))
        .collect();
    assert!(names.len() > 6, "{names:?}");
    for (module, items) in Sources::read("lib.rs").modules {
        if module.starts_with("run_dir") {
            continue;
        }
        let text: String = items.iter().map(|item| item.to_token_stream().to_string()).collect();
        let knows: Vec<&&str> = names.iter().filter(|name| text.contains(&format!("\"{name}\""))).collect();
        assert!(knows.is_empty(), "{module} knows {knows:?}");
    }
}
