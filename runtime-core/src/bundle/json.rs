//! From text to values: no duplicate names, no unknown capability, every error with its place.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use oci_spec::runtime::{Capability, Spec};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::{invalid_json, place};
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// The text as JSON; a name given twice in one object is an error (D17).
pub(super) fn strict(text: &[u8]) -> Result<Value> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Strict::deserialize(&mut reader).and_then(|Strict(value)| reader.end().map(|()| value));
    read.map_err(|error| refused(&error, text, true))
}

/// What is wrong with `text`: the field is found by the place at which reading ended. The place is told if `text` is
/// what the user wrote.
fn refused(error: &serde_json::Error, text: &[u8], told: bool) -> Error {
    let place = (error.line(), error.column());
    // serde_json ends its messages with ` at line L column C`, which the error already says.
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    invalid_json(&place::path(text, place), told.then_some(place), message.to_owned())
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            match members.entry(name) {
                Entry::Vacant(free) => free.insert(object.next_value::<Strict>()?.0),
                Entry::Occupied(taken) => {
                    return Err(A::Error::custom(format_args!("the name {:?} is given twice", taken.key())));
                }
            };
        }
        Ok(Value::Object(members))
    }
}

const SETS: [&str; 5] = ["bounding", "effective", "inheritable", "permitted", "ambient"];

/// Takes capabilities out that this version does not know: they are a warning, not an error (D5).
pub(super) fn drop_unknown_capabilities(raw: &mut Value) -> Vec<String> {
    let mut unknown = BTreeSet::new();
    let sets = raw.pointer_mut("/process/capabilities").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, names) in sets.filter(|(set, _)| SETS.contains(&set.as_str())) {
        let Value::Array(names) = names else { continue };
        names.retain(|name: &Value| {
            let known = Capability::deserialize(name).is_ok();
            if let (Value::String(name), false) = (name, known) {
                unknown.insert(name.clone());
            }
            known || !name.is_string()
        });
    }
    unknown.into_iter().collect()
}

/// The configuration as types. They are read from the text, which has lines and columns, unless there is none, or
/// something had to be changed for them. (Reading the values directly would double the code of all these types.)
pub(super) fn typed(raw: &Value, text: Option<&[u8]>) -> Result<Spec> {
    let fitted = fitted(raw);
    let values = fitted.as_ref().unwrap_or(raw);
    let given = text.filter(|_| fitted.is_none());
    let text = given.map_or_else(|| Cow::Owned(values.to_string().into_bytes()), Cow::Borrowed);
    let spec = serde_json::from_slice(&text).map_err(|error| refused(&error, &text, given.is_some()))?;
    if has_unusual_list(raw) {
        let read = serde_json::to_value(&spec).map_err(|error| invalid_json(".", None, error.to_string()))?;
        objects_are_objects(values, &read, &ConfigPath::default())?;
    }
    Ok(spec)
}

/// The configuration as the types need it, if they do not take it as it stands.
fn fitted(raw: &Value) -> Option<Value> {
    let process = raw.get("process").and_then(Value::as_object);
    // Absent means uid 0 and gid 0 (X7).
    let without_user = process.is_some_and(|process| !process.contains_key("user"));
    let read_raw = |(parent, names): &(&str, &[&str])| {
        raw.get(parent).is_some_and(|parent| names.iter().any(|name| parent.get(name).is_some()))
    };
    if !without_user && !limits(raw).any(is_too_large) && !READ_RAW.iter().any(read_raw) {
        return None;
    }
    let mut fitted = raw.clone();
    if let Some(Value::Object(process)) = fitted.get_mut("process") {
        process.entry("user").or_insert_with(|| Value::Object(Map::new()));
    }
    cap_hugepage_limits(&mut fitted);
    drop_what_is_read_raw(&mut fitted);
    Some(fitted)
}

/// Members of the specification's objects that are lists.
const LISTS: [&str; 35] = [
    "additionalGids",
    "ambient",
    "architectures",
    "args",
    "bounding",
    "createContainer",
    "createRuntime",
    "devices",
    "effective",
    "env",
    "flags",
    "gidMappings",
    "hugepageLimits",
    "inheritable",
    "maskedPaths",
    "mounts",
    "names",
    "namespaces",
    "options",
    "permitted",
    "poststart",
    "poststop",
    "prestart",
    "priorities",
    "readonlyPaths",
    "rlimits",
    "schemata",
    "startContainer",
    "syscalls",
    "throttleReadBpsDevice",
    "throttleReadIOPSDevice",
    "throttleWriteBpsDevice",
    "throttleWriteIOPSDevice",
    "uidMappings",
    "weightDevice",
];

/// Whether there is a list where the specification has none, so that one might stand for an object.
fn has_unusual_list(value: &Value) -> bool {
    let holds_one = |value: &Value| matches!(value, Value::Array(_) | Value::Object(_)) && has_unusual_list(value);
    match value {
        Value::Array(_) => true,
        Value::Object(members) => members.iter().any(|(name, member)| match member {
            Value::Array(items) => LISTS.binary_search(&name.as_str()).is_err() || items.iter().any(holds_one),
            member => holds_one(member),
        }),
        _ => false,
    }
}

/// serde reads a list as an object whose members come in the order of our types, so that whatever looks at the
/// raw form would miss them. An object of the specification is never a list.
fn objects_are_objects(raw: &Value, read: &Value, at: &ConfigPath) -> Result<()> {
    match (raw, read) {
        (Value::Array(_), Value::Object(_)) => Err(Error::invalid(at.clone(), raw.to_string(), "an object")),
        (Value::Object(members), Value::Object(read)) => members.iter().try_for_each(|(name, member)| {
            read.get(name).map_or(Ok(()), |read| objects_are_objects(member, read, &at.field(name)))
        }),
        (Value::Array(items), Value::Array(read)) => items
            .iter()
            .zip(read)
            .enumerate()
            .try_for_each(|(index, (item, read))| objects_are_objects(item, read, &at.index(index))),
        _ => Ok(()),
    }
}

/// The types of `oci-spec` hold these limits as signed numbers; planning takes the real value from the raw form (LNX-94).
fn cap_hugepage_limits(raw: &mut Value) {
    let limits = raw.pointer_mut("/linux/resources/hugepageLimits").and_then(Value::as_array_mut);
    for limit in limits.into_iter().flatten().filter_map(|entry| entry.get_mut("limit")) {
        if is_too_large(limit) {
            *limit = i64::MAX.into();
        }
    }
}

/// Members that planning reads from the raw form, by their object.
const READ_RAW: [(&str, &[&str]); 2] =
    [("process", &["scheduler", "ioPriority", "execCPUAffinity"]), ("linux", &["memoryPolicy"])];

/// Objects that planning reads member by member: the types of `oci-spec` have other words for some of their values
/// (`SCHED_RESET_ON_FORK`), or make defaults of what has to be there.
fn drop_what_is_read_raw(raw: &mut Value) {
    for (parent, names) in READ_RAW {
        if let Some(Value::Object(members)) = raw.get_mut(parent) {
            names.iter().for_each(|name| drop(members.remove(*name)));
        }
    }
}

fn is_too_large(limit: &Value) -> bool {
    limit.as_u64().is_some_and(|value| i64::try_from(value).is_err())
}

fn limits(raw: &Value) -> impl Iterator<Item = &Value> {
    let limits = raw.pointer("/linux/resources/hugepageLimits").and_then(Value::as_array);
    limits.into_iter().flatten().filter_map(|entry| entry.get("limit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gen_3_a_name_given_twice_is_an_error_with_its_place() {
        let error = strict(b"{\n \"process\": {\"cwd\": \"/\", \"cwd\": \"/x\"}\n}").expect_err("cwd twice");
        assert_eq!(error.to_string(), "process.cwd: line 2, column 30: the name \"cwd\" is given twice");
        assert!(strict(b"{\"a\":1,\"a\":1}").is_err());
        assert!(strict(b"[{\"a\":1},{\"a\":1}]").is_ok(), "two objects may use the same name");
    }

    #[test]
    fn decision_5_unknown_capabilities_leave_every_set() {
        let sets = r#"{"process": {"capabilities": {"bounding": ["CAP_FOO", "CAP_KILL"], "effective": ["CAP_FOO"]}}}"#;
        let mut raw: Value = serde_json::from_str(sets).expect("JSON");
        assert_eq!(drop_unknown_capabilities(&mut raw), ["CAP_FOO"]);
        assert_eq!(raw["process"]["capabilities"], serde_json::json!({"bounding": ["CAP_KILL"], "effective": []}));
    }

    #[test]
    fn gen_2_config_is_utf_8() {
        assert!(strict(b"{\"hostname\":\"\xff\"}").is_err());
        assert!(strict("{\"hostname\":\"h\u{e9}\"}".as_bytes()).is_ok());
    }

    #[test]
    fn cfg_126_a_list_is_no_object() {
        let base = serde_json::json!({"ociVersion": "1.3.0", "root": {"path": "r"}, "process": {"cwd": "/"}});
        let read = |pointer: &str, value: Value| {
            let mut raw = base.clone();
            *raw.pointer_mut(pointer).expect("a place") = value;
            typed(&raw, Some(raw.to_string().as_bytes())).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(read("/root", serde_json::json!({"path": "x"})), Ok(()));
        for (pointer, value, at) in [
            ("/root", serde_json::json!(["r", true]), "root"),
            ("/process", serde_json::json!({"cwd": "/", "capabilities": []}), "process.capabilities"),
            ("/process", serde_json::json!({"cwd": "/", "rlimits": [["RLIMIT_CPU", 1, 1]]}), "process.rlimits[0]"),
        ] {
            let error = read(pointer, value).expect_err(at);
            assert!(error.starts_with(at) && error.contains("object"), "{error}");
        }
    }

    #[test]
    fn the_names_of_lists_are_sorted() {
        assert!(LISTS.is_sorted());
    }

    #[test]
    fn text_behind_the_document_is_an_error() {
        assert!(strict(b"{} {}").is_err());
    }
}
