//! Lines that `--events` has written: reads them, and checks them with the public schema.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use regex::Regex;
use serde_json::{Map, Value, json};

/// The schema. A crate for the complete JSON Schema takes longer to build than all other tests. This code supports what the schema uses, and an unknown
/// keyword is an error.
struct Schema(Value);

impl Schema {
    fn of_events() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.schema.json");
            Schema(serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
        })
    }

    /// What is wrong with a line. A field that its type does not have is also wrong, so that a written field that is missing in the schema is noticed.
    fn wrong(&self, line: &Value) -> Option<String> {
        let rules = self.0.as_object().expect("the schema is an object");
        let common = rules["properties"].as_object().expect("all lines have fields");
        self.check(rules, line).err().or_else(|| {
            let named = self.0["$defs"][line["type"].as_str()?]["properties"].as_object()?;
            let fields = line.as_object()?.keys();
            let other = fields.into_iter().find(|name| !named.contains_key(*name) && !common.contains_key(*name))?;
            Some(format!("{other} is not in the schema"))
        })
    }

    fn check(&self, rules: &Map<String, Value>, value: &Value) -> Result<(), String> {
        let fail = |what: &str| Err(format!("{value}: {what}"));
        for (word, rule) in rules {
            match (word.as_str(), rule) {
                ("$schema" | "$id" | "$defs" | "title" | "description" | "contentEncoding", _) => {}
                ("$ref", Value::String(name)) => {
                    let name = name.strip_prefix("#/$defs/").expect("a reference within the schema");
                    self.check(self.0["$defs"][name].as_object().expect(name), value)?;
                }
                ("const", rule) if rule != value => return fail(&format!("is not {rule}")),
                ("const", _) => {}
                ("enum", Value::Array(all)) if !all.contains(value) => return fail(&format!("is none of {all:?}")),
                ("enum", Value::Array(_)) => {}
                ("type", Value::String(name)) if !is_a(name, value) => return fail(&format!("is no {name}")),
                ("type", Value::Array(names)) if !names.iter().any(|name| is_a(name.as_str().unwrap(), value)) => {
                    return fail(&format!("is none of {names:?}"));
                }
                ("type", _) => {}
                ("minimum", rule) if value.as_f64() < rule.as_f64() => return fail(&format!("is less than {rule}")),
                ("maximum", rule) if value.as_f64() > rule.as_f64() => return fail(&format!("is more than {rule}")),
                ("minimum" | "maximum", _) => {}
                ("pattern", Value::String(pattern)) => {
                    let matches = value.as_str().is_none_or(|text| Regex::new(pattern).unwrap().is_match(text));
                    if !matches {
                        return fail(&format!("does not match {pattern}"));
                    }
                }
                ("required", Value::Array(names)) => {
                    if let Some(missing) = names.iter().find(|name| value.get(name.as_str().unwrap()).is_none()) {
                        return fail(&format!("lacks {missing}"));
                    }
                }
                ("properties", Value::Object(fields)) => {
                    for (name, rules) in fields {
                        if let Some(value) = value.get(name) {
                            self.check(rules.as_object().expect(name), value)?;
                        }
                    }
                }
                ("additionalProperties", Value::Object(rules)) => {
                    value.as_object().into_iter().flatten().try_for_each(|(_, value)| self.check(rules, value))?;
                }
                ("items", Value::Object(rules)) => {
                    value.as_array().into_iter().flatten().try_for_each(|value| self.check(rules, value))?;
                }
                ("oneOf", Value::Array(all)) => {
                    let tried: Vec<_> = all.iter().map(|one| self.check(one.as_object().unwrap(), value)).collect();
                    let fits = tried.iter().filter(|tried| tried.is_ok()).count();
                    if fits != 1 {
                        return fail(&format!("fits {fits} of {} alternatives: {tried:?}", all.len()));
                    }
                }
                (word, rule) => panic!("the schema says {word}: {rule}, and nobody here knows what that means"),
            }
        }
        // An object within a line must not have other fields either.
        if let (Some(Value::Object(named)), Value::Object(fields)) = (rules.get("properties"), value)
            && rules.get("type") == Some(&json!("object"))
            && !rules.contains_key("$defs")
            && let Some(other) = fields.keys().find(|name| !named.contains_key(*name))
        {
            return fail(&format!("{other} is not in the schema"));
        }
        Ok(())
    }
}

fn is_a(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        name => panic!("the schema says {name}, and nobody here knows what that is"),
    }
}

/// All lines of a file; each must match the schema.
#[track_caller]
pub fn read(path: &Path) -> Vec<Value> {
    check(&fs::read(path).unwrap())
}

/// The same for text from elsewhere.
#[track_caller]
pub fn check(text: &[u8]) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with(b"\n"), "the last line has no end");
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let lines: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    for line in &lines {
        let wrong = Schema::of_events().wrong(line);
        assert!(wrong.is_none(), "not as the schema says: {line}\n{wrong:?}");
    }
    let times: Vec<&str> = lines.iter().map(|line| line["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    lines
}

/// The lines of a type.
pub fn of<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

/// The last line, which is the summary. Also checks that all launches that have started have ended.
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

#[test]
fn the_check_finds_what_is_wrong() {
    let line = json!({"v": 1, "time": "2026-11-29T11:46:56.423Z", "type": "host_up", "host": "a"});
    assert_eq!(Schema::of_events().wrong(&line), None);
    for (field, value) in [
        ("v", json!(2)),
        ("time", json!("2026-11-29")),
        ("type", json!("host_high")),
        ("type", json!("host_down")),
        ("host", json!(1)),
        ("more", json!(1)),
    ] {
        let mut line = line.clone();
        line[field] = value;
        assert!(Schema::of_events().wrong(&line).is_some(), "{line}");
    }
    let figures = json!({"created": 1, "deleted": 0, "transferred": 0, "transferred_bytes": 0, "literal": 0, "matched": 0, "sent": 0, "received": 0});
    let rules = json!({"$ref": "#/$defs/figures"});
    let wrong = |value: &Value| Schema::of_events().check(rules.as_object().unwrap(), value).is_err();
    assert!(!wrong(&figures));
    for (field, value) in [("created", json!(-1)), ("created", json!(1.5)), ("more", json!(0)), ("sent", Value::Null)] {
        let mut figures = figures.clone();
        figures[field] = value;
        assert!(wrong(&figures), "{figures}");
    }
}
