//! The part of JSON schema draft 4 that the runtime specification's schemas use.

use serde_json::Value;

const FILES: &[(&str, &str)] = &[
    ("config-schema.json", include_str!("../data/schema/config-schema.json")),
    ("config-linux.json", include_str!("../data/schema/config-linux.json")),
    ("defs.json", include_str!("../data/schema/defs.json")),
    ("defs-linux.json", include_str!("../data/schema/defs-linux.json")),
    ("state-schema.json", include_str!("../data/schema/state-schema.json")),
    ("features-schema.json", include_str!("../data/schema/features-schema.json")),
    ("features-linux.json", include_str!("../data/schema/features-linux.json")),
];

/// What is wrong with `value` according to the schema in `file`, one line per place.
pub fn violations(file: &'static str, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let schema = load(file);
    check(&Place { file, path: String::new() }, &schema, value, &mut found);
    found
}

struct Place {
    file: &'static str,
    path: String,
}

impl Place {
    fn below(&self, name: &str) -> Place {
        Place { file: self.file, path: format!("{}/{name}", self.path) }
    }
}

fn load(file: &str) -> Value {
    let (_, text) = FILES.iter().find(|(name, _)| *name == file).unwrap_or_else(|| panic!("no schema {file}"));
    serde_json::from_str(text).expect("a schema")
}

fn check(place: &Place, schema: &Value, value: &Value, found: &mut Vec<String>) {
    if let Some(target) = schema["$ref"].as_str() {
        return refer(place, target, value, found);
    }
    let mut complain = |text: String| found.push(format!("{}: {text}", place.path));
    if let Some(kind) = schema["type"].as_str().filter(|kind| !is(kind, value)) {
        complain(format!("is not of type {kind}"));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        complain(format!("{value} is not in {}", schema["enum"]));
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < least
    {
        complain(format!("{number} is less than {least}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.is_object() && value.get(name).is_none() {
            complain(format!("{name} is missing"));
        }
    }
    branches(place, schema, value, found);
    members(place, schema, value, found);
}

fn refer(place: &Place, target: &str, value: &Value, found: &mut Vec<String>) {
    let (file, pointer) = target.split_once('#').unwrap_or((target, ""));
    let file = FILES.iter().map(|(name, _)| *name).find(|name| *name == file);
    assert!(file.is_some() || target.starts_with('#'), "no schema {target}");
    let place = Place { file: file.unwrap_or(place.file), path: place.path.clone() };
    let schema = load(place.file);
    let schema = schema.pointer(pointer).unwrap_or_else(|| panic!("nothing at {target}"));
    check(&place, schema, value, found);
}

fn branches(place: &Place, schema: &Value, value: &Value, found: &mut Vec<String>) {
    for part in schema["allOf"].as_array().into_iter().flatten() {
        check(place, part, value, found);
    }
    for word in ["anyOf", "oneOf"] {
        let Some(parts) = schema[word].as_array() else { continue };
        let fits = |part: &Value| {
            let mut wrong = Vec::new();
            check(place, part, value, &mut wrong);
            wrong.is_empty()
        };
        if !parts.iter().any(fits) {
            found.push(format!("{}: fits none of {word}", place.path));
        }
    }
}

fn members(place: &Place, schema: &Value, value: &Value, found: &mut Vec<String>) {
    for (name, member) in value.as_object().into_iter().flatten() {
        let known = schema["properties"].get(name).or_else(|| pattern(schema));
        if let Some(known) = known {
            check(&place.below(name), known, member, found);
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        if schema["items"].is_object() {
            check(&place.below(&index.to_string()), &schema["items"], item, found);
        }
    }
}

/// The one pattern the specification uses is "any name".
fn pattern(schema: &Value) -> Option<&Value> {
    schema["patternProperties"].as_object()?.values().next()
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => false,
    }
}
