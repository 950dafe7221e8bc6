//! What `config.json` can ask for and this version does not do. Each is refused by name: silence would be worse.

#![forbid(unsafe_code)]

use super::super::draft::Draft;
use crate::at::ConfigPath;

/// Fields of `config.json` that are refused when they are there and not empty, and what they would be.
const MISSING: [(&str, &str); 1] = [("linux.intelRdt", "Intel RDT is")];

/// Collects the refusals.
pub(in crate::plan) fn refuse_what_is_missing(p: &mut Draft<'_>) {
    for (field, what) in MISSING {
        let value = p.bundle.raw().pointer(&format!("/{}", field.replace('.', "/")));
        if value.is_some_and(asks_for_something) {
            p.refuse(ConfigPath::new(field), what);
        }
    }
}

/// Whether a value is more than a way of writing "nothing".
fn asks_for_something(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::String(value) => !value.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(members) => members.values().any(|v| !matches!(v, Value::Null) && *v != Value::Array(Vec::new())),
        Value::Number(_) => true,
    }
}
