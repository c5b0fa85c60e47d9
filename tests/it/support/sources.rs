//! The sources of the library, read by a parser: the contents of a module without its unit tests, and the meaning of names in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Item, UseTree};

/// The modules of a crate, by their path: `""` is the root, `job::outcome` a module in a module.
pub struct Sources {
    pub modules: BTreeMap<String, Vec<Item>>,
    /// The file of each module that has one.
    pub files: BTreeMap<String, PathBuf>,
}

/// A name that a `use` brings into a module.
pub struct Imported {
    pub path: Vec<String>,
    pub name: String,
}

/// The folder `src`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Whether an item exists only for unit tests.
pub fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

impl Sources {
    /// Reads a crate from the file of its root.
    pub fn read(root: &str) -> Sources {
        let mut sources = Sources { modules: BTreeMap::new(), files: BTreeMap::new() };
        sources.load(String::new(), &folder().join(root), &folder());
        sources
    }

    fn load(&mut self, path: String, file: &Path, folder: &Path) {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("read {}: {e}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("parse {}: {e}", file.display()));
        self.files.insert(path.clone(), file.to_owned());
        self.take(path, parsed.items, folder);
    }

    fn take(&mut self, path: String, items: Vec<Item>, folder: &Path) {
        let mut kept = Vec::new();
        for item in items {
            if let Item::Mod(module) = &item {
                if is_test(&module.attrs) {
                    continue;
                }
                let name = module.ident.to_string();
                let (inner, below) = (join(&path, &name), folder.join(&name));
                match &module.content {
                    Some((_, items)) => self.take(inner, items.clone(), &below),
                    None => {
                        let files = [folder.join(format!("{name}.rs")), below.join("mod.rs")];
                        let file = files.iter().find(|file| file.exists()).expect("a module has a file");
                        self.load(inner, file, &below);
                    }
                }
            }
            kept.push(item);
        }
        self.modules.insert(path, kept);
    }

    /// Everything that a module imports.
    pub fn imports(&self, module: &str) -> Vec<Imported> {
        let mut all = Vec::new();
        for item in &self.modules[module] {
            if let Item::Use(used) = item {
                flatten(&used.tree, &mut Vec::new(), &mut all);
            }
        }
        all
    }

    /// Where a name that is written in a module is defined: module and name there. `None` if it belongs to another crate.
    pub fn definition(&self, module: &str, name: &str) -> Option<(String, String)> {
        self.definition_within(module, name, 0)
    }

    fn definition_within(&self, module: &str, name: &str, depth: u32) -> Option<(String, String)> {
        let items = self.modules.get(module).filter(|_| depth < 9)?;
        if items.iter().any(|item| name_of(item).is_some_and(|own| own == name)) {
            return Some((module.to_owned(), name.to_owned()));
        }
        let imports = self.imports(module);
        let import = imports.iter().find(|import| import.name == name)?;
        self.follow(module, &import.path, depth + 1)
    }

    /// The definition to which a path in a module leads.
    pub fn follow(&self, module: &str, path: &[String], depth: u32) -> Option<(String, String)> {
        let (last, above) = path.split_last()?;
        let mut at = module.to_owned();
        for (index, step) in above.iter().enumerate() {
            at = match step.as_str() {
                "crate" => String::new(),
                "self" => at,
                "super" => at.rsplit_once("::").map_or(String::new(), |(above, _)| above.to_owned()),
                name if self.modules.contains_key(&join(&at, name)) => join(&at, name),
                name if index == 0 => {
                    let (above, name) = self.definition_within(module, name, depth + 1)?;
                    join(&above, &name)
                }
                _ => return None,
            };
        }
        self.definition_within(&at, last, depth)
    }
}

pub fn join(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}::{name}") }
}

/// The name of an item that a signature may name.
pub fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Mod(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        _ => return None,
    })
}

/// The leaves of a `use`.
pub fn flatten(tree: &UseTree, above: &mut Vec<String>, all: &mut Vec<Imported>) {
    match tree {
        UseTree::Path(path) => {
            above.push(path.ident.to_string());
            flatten(&path.tree, above, all);
            above.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, above, all)),
        UseTree::Name(name) if name.ident == "self" => {
            let name = above.last().cloned().unwrap_or_default();
            all.push(Imported { path: above.clone(), name });
        }
        UseTree::Name(name) => {
            let path = [&above[..], &[name.ident.to_string()]].concat();
            all.push(Imported { path, name: name.ident.to_string() });
        }
        UseTree::Rename(renamed) => {
            let path = [&above[..], &[renamed.ident.to_string()]].concat();
            all.push(Imported { path, name: renamed.rename.to_string() });
        }
        UseTree::Glob(_) => all.push(Imported { path: above.clone(), name: "*".into() }),
    }
}
