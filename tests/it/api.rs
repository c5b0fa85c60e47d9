//! The public API is what `docs/api.txt` lists, so that each change of it is seen in a review. `UPDATE_API=1 cargo test --test it api::` writes the list
//! again.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, Type, Visibility};

use crate::support::sources::{Sources, flatten, is_test, join, name_of};

#[test]
fn the_list_of_the_public_api_is_that_of_the_sources() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.txt");
    let list = Api::of_the_library().lines.join("\n") + "\n";
    if std::env::var_os("UPDATE_API").is_some() {
        fs::write(&path, &list).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (committed.lines().collect(), list.lines().collect());
    let gone: String = old.difference(&new).map(|line| format!("- {line}\n")).collect();
    let come: String = new.difference(&old).map(|line| format!("+ {line}\n")).collect();
    assert!(
        committed == list,
        "docs/api.txt is stale (UPDATE_API=1 cargo test --test it api:: writes it anew):\n{gone}{come}"
    );
}

#[test]
fn signatures_name_public_types_and_no_other_crate() {
    let api = Api::of_the_library();
    let mut wrong = Vec::new();
    for (module, name) in &api.named {
        match api.sources.definition(module, name) {
            Some(found) if !api.listed.contains(&found) => wrong.push(format!("{name} in {module} is not public")),
            Some(_) => {}
            None => {
                let imports = api.sources.imports(module);
                if let Some(import) = imports.iter().find(|import| import.name == *name)
                    && !["std", "crate", "super", "self"].contains(&import.path[0].as_str())
                {
                    wrong.push(format!("{name} in {module} is of {}", import.path[0]));
                }
            }
        }
    }
    // Paths with the crate's name are found too, because they need no import.
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap();
    for other in dependencies.lines().filter_map(|line| line.split_once(" = ")) {
        let path = format!("{}::", other.0.replace('-', "_"));
        let uses = |line: &&String| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').any(|word| word.starts_with(&path))
        };
        wrong.extend(api.lines.iter().filter(uses).map(|line| format!("{path} in {line}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(api.listed.len() > 20, "the list is not read: {:?}", api.listed);
}

struct Api {
    sources: Sources,
    lines: Vec<String>,
    /// The items that are listed: module and name where they are defined.
    listed: BTreeSet<(String, String)>,
    /// Names in signatures, with the module that contains the signature.
    named: BTreeSet<(String, String)>,
}

impl Api {
    fn of_the_library() -> Api {
        let sources = Sources::read("lib.rs");
        let mut api = Api { sources, lines: Vec::new(), listed: BTreeSet::new(), named: BTreeSet::new() };
        api.module("", "multi_sync");
        api
    }

    fn module(&mut self, module: &str, public: &str) {
        let mut found = Vec::new();
        for item in &self.sources.modules[module] {
            match item {
                Item::Use(used) if is_public(&used.vis) && !is_hidden(&used.attrs) => {
                    let mut leaves = Vec::new();
                    flatten(&used.tree, &mut Vec::new(), &mut leaves);
                    for leaf in leaves {
                        let definition = self.sources.follow(module, &leaf.path, 0);
                        let definition =
                            definition.unwrap_or_else(|| panic!("{} is of another crate", leaf.path.join("::")));
                        found.push((leaf.name, definition));
                    }
                }
                item => {
                    let Some((attributes, visibility)) = outside(item) else { continue };
                    if is_public(visibility) && !is_hidden(attributes) {
                        let name = name_of(item).expect("such an item has a name");
                        found.push((name.clone(), (module.to_owned(), name)));
                    }
                }
            }
        }
        found.sort();
        for (name, (home, own)) in found {
            let named = |item: &&Item| name_of(item).is_some_and(|name| name == own);
            let item = self.sources.modules[&home].iter().find(named).expect("it is defined there").clone();
            let path = join(public, &name);
            if let Item::Mod(_) = item {
                self.lines.push(format!("mod {path}"));
                self.module(&join(&home, &own), &path);
                continue;
            }
            self.listed.insert((home.clone(), own.clone()));
            self.item(&home, &path, item);
            self.implementations(&(home, own), &path);
        }
    }

    fn item(&mut self, module: &str, path: &str, item: Item) {
        let more = match &item {
            Item::Struct(item) if item.attrs.iter().any(|a| a.path().is_ident("non_exhaustive")) => " (non-exhaustive)",
            Item::Enum(item) if item.attrs.iter().any(|a| a.path().is_ident("non_exhaustive")) => " (non-exhaustive)",
            _ => "",
        };
        let derived = outside(&item).map(|(attributes, _)| derives(attributes)).unwrap_or_default();
        match item {
            Item::Struct(item) => {
                let generics = self.shown(module, item.generics.to_token_stream());
                self.lines.push(format!("struct {path}{generics}{more}{derived}"));
                self.fields(module, path, &item.fields, false);
            }
            Item::Enum(item) => {
                let generics = self.shown(module, item.generics.to_token_stream());
                self.lines.push(format!("enum {path}{generics}{more}{derived}"));
                for variant in &item.variants {
                    let path = join(path, &variant.ident.to_string());
                    match &variant.fields {
                        Fields::Unnamed(fields) => {
                            let fields = self.shown(module, fields.to_token_stream());
                            self.lines.push(format!("  variant {path}{fields}"));
                        }
                        fields => {
                            self.lines.push(format!("  variant {path}"));
                            self.fields(module, &path, fields, true);
                        }
                    }
                }
            }
            Item::Fn(item) => self.function(module, path, item.sig, ""),
            Item::Const(item) => {
                let of = self.shown(module, item.ty.to_token_stream());
                self.lines.push(format!("const {path}: {of}"));
            }
            Item::Type(item) => {
                let (generics, is) = (item.generics.to_token_stream(), item.ty.to_token_stream());
                let (generics, is) = (self.shown(module, generics), self.shown(module, is));
                self.lines.push(format!("type {path}{generics} = {is}"));
            }
            Item::Trait(item) => panic!("no trait is public so far, and this test cannot print {}", item.ident),
            _ => {}
        }
    }

    fn fields(&mut self, module: &str, path: &str, fields: &Fields, all: bool) {
        for (index, field) in fields.iter().enumerate().filter(|(_, field)| all || is_public(&field.vis)) {
            let name = field.ident.as_ref().map_or(index.to_string(), ToString::to_string);
            let of = self.shown(module, field.ty.to_token_stream());
            self.lines.push(format!("  field {path}.{name}: {of}"));
        }
    }

    fn function(&mut self, module: &str, path: &str, mut signature: syn::Signature, indent: &str) {
        let name = path.rsplit_once("::").map_or(path, |(_, name)| name).to_owned();
        signature.ident = syn::Ident::new(&name, proc_macro2::Span::call_site());
        let text = self.shown(module, signature.to_token_stream());
        // `mut` in a parameter is not part of the API.
        let text = text.replacen(&format!("fn {name}"), &format!("fn {path}"), 1).replace("(mut self", "(self");
        self.lines.push(format!("{indent}{text}"));
    }

    /// The implementations for a type, wherever they are in the crate.
    fn implementations(&mut self, of: &(String, String), path: &str) {
        let mut lines = Vec::new();
        std::mem::swap(&mut lines, &mut self.lines);
        let modules: Vec<String> = self.sources.modules.keys().cloned().collect();
        for module in modules {
            let of_it = |item: &ItemImpl| -> bool {
                let Type::Path(typed) = &*item.self_ty else { return false };
                let name = typed.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
                !is_test(&item.attrs) && self.sources.definition(&module, &name).as_ref() == Some(of)
            };
            let items = self.sources.modules[&module].iter();
            let found: Vec<ItemImpl> = items
                .filter_map(|item| if let Item::Impl(item) = item { Some(item) } else { None })
                .filter(|item| of_it(item))
                .cloned()
                .collect();
            for item in found {
                if let Some((_, implemented, _)) = &item.trait_ {
                    let implemented = self.shown("", implemented.to_token_stream());
                    self.lines.push(format!("  impl {implemented} for {path}"));
                    continue;
                }
                for item in item.items {
                    match item {
                        ImplItem::Fn(item) if is_public(&item.vis) && !is_hidden(&item.attrs) => {
                            let path = join(path, &item.sig.ident.to_string());
                            self.function(&module, &path, item.sig, "  ");
                        }
                        ImplItem::Const(item) if is_public(&item.vis) && !is_hidden(&item.attrs) => {
                            let of = self.shown(&module, item.ty.to_token_stream());
                            self.lines.push(format!("  const {}: {of}", join(path, &item.ident.to_string())));
                        }
                        _ => {}
                    }
                }
            }
        }
        std::mem::swap(&mut lines, &mut self.lines);
        lines.sort();
        self.lines.extend(lines);
    }

    /// Formats tokens in the usual way, and remembers the names in them.
    fn shown(&mut self, module: &str, tokens: TokenStream) -> String {
        if !module.is_empty() {
            names(tokens.clone(), &mut |name| {
                self.named.insert((module.to_owned(), name));
            });
        }
        let mut text = String::new();
        write(tokens, &mut text);
        text.replace(", )", ")").replace(",)", ")")
    }
}

/// Calls `each` with every name that begins like the name of a type.
fn names(tokens: TokenStream, each: &mut dyn FnMut(String)) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => names(group.stream(), each),
            TokenTree::Ident(name) if name.to_string().starts_with(char::is_uppercase) => each(name.to_string()),
            _ => {}
        }
    }
}

fn after_lifetime(text: &str) -> bool {
    let last = text.rsplit(|c: char| !c.is_alphanumeric() && c != '_' && c != '\'').next();
    last.is_some_and(|last| last.starts_with('\'') && last.len() > 1)
}

/// Formats tokens with spaces where a person would put them.
fn write(tokens: TokenStream, text: &mut String) {
    use proc_macro2::{Delimiter, Spacing};
    for token in tokens {
        let word = |text: &str| text.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => (" { ", " }"),
                    Delimiter::None => ("", ""),
                };
                if after_lifetime(text) && !open.starts_with(' ') {
                    text.push(' ');
                }
                text.push_str(open);
                write(group.stream(), text);
                text.push_str(close);
            }
            TokenTree::Punct(punct) => {
                let is = punct.as_char();
                match is {
                    '=' | '+' if !text.ends_with(' ') => text.push(' '),
                    '-' if punct.spacing() == Spacing::Joint => text.push(' '),
                    _ => {}
                }
                text.push(is);
                match is {
                    ',' | '=' | '+' => text.push(' '),
                    ':' if punct.spacing() == Spacing::Alone && !text.ends_with("::") => text.push(' '),
                    '>' if text.ends_with("->") => text.push(' '),
                    _ => {}
                }
            }
            other => {
                if word(text) || text.ends_with(['>', ')', ']']) && !text.ends_with("-> ") {
                    text.push(' ');
                }
                text.push_str(&other.to_string());
            }
        }
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("doc")
            && attribute.parse_args::<syn::Path>().is_ok_and(|what| what.is_ident("hidden"))
    })
}

/// The traits that are derived.
fn derives(attributes: &[Attribute]) -> String {
    let mut all = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        let _ = attribute.parse_nested_meta(|what| {
            all.extend(what.path.segments.last().map(|last| last.ident.to_string()));
            Ok(())
        });
    }
    if all.is_empty() { String::new() } else { format!(": {}", all.join(", ")) }
}

fn outside(item: &Item) -> Option<(&[Attribute], &Visibility)> {
    Some(match item {
        Item::Const(item) => (&item.attrs, &item.vis),
        Item::Enum(item) => (&item.attrs, &item.vis),
        Item::Fn(item) => (&item.attrs, &item.vis),
        Item::Mod(item) => (&item.attrs, &item.vis),
        Item::Struct(item) => (&item.attrs, &item.vis),
        Item::Trait(item) => (&item.attrs, &item.vis),
        Item::Type(item) => (&item.attrs, &item.vis),
        _ => return None,
    })
}
