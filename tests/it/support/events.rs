//! Lines that `--events` wrote: read, and checked against the schema that others rely on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::{Value, json};

/// The schema, and nothing that it does not name.
fn schema() -> &'static Validator {
    static SCHEMA: OnceLock<Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.schema.json");
        let mut schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        // What is written and not in the schema is noticed.
        schema["unevaluatedProperties"] = json!(false);
        close(&mut schema["$defs"]);
        jsonschema::validator_for(&schema).unwrap()
    })
}

/// An object has no other fields.
fn close(part: &mut Value) {
    if let Value::Object(fields) = part {
        if fields.get("type") == Some(&json!("object")) && !fields.contains_key("additionalProperties") {
            fields.insert("additionalProperties".into(), json!(false));
        }
        fields.values_mut().for_each(close);
    }
}

/// All lines of a file, each of which is as the schema says.
#[track_caller]
pub fn read(path: &Path) -> Vec<Value> {
    check(&fs::read(path).unwrap())
}

/// The same of what was written elsewhere.
#[track_caller]
pub fn check(text: &[u8]) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with(b"\n"), "the last line has no end");
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let lines: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    for line in &lines {
        let wrong: Vec<String> = schema().iter_errors(line).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "not as the schema says: {line}\n{wrong:?}");
    }
    let times: Vec<&str> = lines.iter().map(|line| line["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    lines
}

/// The lines of a type.
pub fn of<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

/// The last line, which is the summary; launches that have started have ended.
#[track_caller]
pub fn summary(lines: &[Value]) -> &Value {
    let number = |line: &&Value| (line["part"].to_string(), line["launch"].as_u64().unwrap());
    let started: BTreeSet<_> = of(lines, "launch_start").iter().map(number).collect();
    let ended: BTreeSet<_> = of(lines, "launch_end").iter().map(number).collect();
    assert_eq!(started, ended, "launches that have started, and those that have ended");
    let last = lines.last().unwrap();
    assert_eq!(last["type"], "summary", "{last}");
    last
}
