//! Cases in files: they do not change when the generator does. The format is JSON, with one line for each entry of the world; a name that is not UTF-8 is a
//! list of its bytes.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::case::Case;
use super::place::Place;
use super::world::{Node, World};

/// A case without its entries, in the form of a file.
#[derive(Serialize, Deserialize)]
struct Head {
    seed: u64,
    options: Vec<Vec<String>>,
    cwd: String,
    #[serde(with = "names")]
    sources: Vec<Vec<u8>>,
    #[serde(with = "name")]
    destination: Vec<u8>,
    files: u64,
    bytes: Option<u64>,
    processes: u64,
    nobody: bool,
    umask: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stdin: Option<String>,
    #[serde(default, skip_serializing_if = "Place::is_here")]
    place: Place,
}

#[derive(Deserialize)]
struct Saved {
    case: Head,
    nodes: Vec<Node>,
}

/// The case as text that [`read`] reads.
pub fn text(case: &Case) -> String {
    let head = Head {
        seed: case.seed,
        options: case.options.clone(),
        cwd: case.cwd.clone(),
        sources: case.sources.clone(),
        destination: case.destination.clone(),
        files: case.files,
        bytes: case.bytes,
        processes: case.processes,
        nobody: case.nobody,
        umask: case.umask,
        stdin: case.stdin.clone(),
        place: case.place,
    };
    let head = serde_json::to_string(&head).expect("a case is plain data");
    let nodes = case.world.nodes.iter().map(|node| serde_json::to_string(node).expect("a node is plain data"));
    format!("{{\"case\": {head},\n\"nodes\": [\n{}\n]}}\n", nodes.collect::<Vec<_>>().join(",\n"))
}

/// Reads a case that [`text`] has written.
pub fn read(text: &str) -> serde_json::Result<Case> {
    let Saved { case, nodes } = serde_json::from_str(text)?;
    Ok(Case {
        seed: case.seed,
        world: World { nodes },
        options: case.options,
        cwd: case.cwd,
        sources: case.sources,
        destination: case.destination,
        files: case.files,
        bytes: case.bytes,
        processes: case.processes,
        nobody: case.nobody,
        umask: case.umask,
        stdin: case.stdin,
        place: case.place,
    })
}

pub fn read_file(path: &Path) -> Case {
    let content = fs::read_to_string(path).unwrap_or_else(|e| panic!("read the case {}: {e}", path.display()));
    read(&content).unwrap_or_else(|e| panic!("read the case {}: {e}", path.display()))
}

/// The folder with the cases that once differed.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/oracle/cases")
}

/// All saved cases, ordered by name.
pub fn all() -> Vec<(String, Case)> {
    let entries = fs::read_dir(folder()).expect("list the saved cases");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("list the saved cases").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let name = |path: &Path| path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), read_file(path))).collect()
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Bytes(Vec<u8>),
}

impl Name {
    fn of(bytes: &[u8]) -> Name {
        String::from_utf8(bytes.to_vec()).map_or_else(|e| Name::Bytes(e.into_bytes()), Name::Text)
    }

    fn bytes(self) -> Vec<u8> {
        match self {
            Name::Text(text) => text.into_bytes(),
            Name::Bytes(bytes) => bytes,
        }
    }
}

pub mod name {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Name;

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        Name::of(bytes).serialize(to)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<u8>, D::Error> {
        Ok(Name::deserialize(from)?.bytes())
    }
}

mod names {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Name;

    pub fn serialize<S: Serializer>(list: &[Vec<u8>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(|bytes| Name::of(bytes)))
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<Vec<u8>>, D::Error> {
        Ok(Vec::<Name>::deserialize(from)?.into_iter().map(Name::bytes).collect())
    }
}
