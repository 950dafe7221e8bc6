//! Fields that must be there. The types of `oci-spec` read an absent number as 0 and an absent flag as false,
//! as Go does; the specification wants an error (X16).

#![forbid(unsafe_code)]

use serde_json::Value;

use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// Places and the fields that each object there must have. `*` is every element of a list.
const REQUIRED: &[(&str, &[(&str, &str)])] = &[
    ("", &[("ociVersion", "a version such as \"1.3.0\""), ("root", "an object with the path of the root file system")]),
    ("root", &[("path", "the path of the root file system, absolute or relative to the bundle")]),
    ("mounts.*", &[("destination", "an absolute path in the container")]),
    ("mounts.*.uidMappings.*", ID_MAPPING),
    ("mounts.*.gidMappings.*", ID_MAPPING),
    ("process", &[("cwd", "an absolute path in the container")]),
    ("process.consoleSize", &[("height", "a number of rows"), ("width", "a number of columns")]),
    ("process.rlimits.*", &[("type", "a name such as \"RLIMIT_NOFILE\""), ("soft", LIMIT), ("hard", LIMIT)]),
    ("hooks.prestart.*", HOOK),
    ("hooks.createRuntime.*", HOOK),
    ("hooks.createContainer.*", HOOK),
    ("hooks.startContainer.*", HOOK),
    ("hooks.poststart.*", HOOK),
    ("hooks.poststop.*", HOOK),
    ("linux.namespaces.*", &[("type", "pid, network, mount, ipc, uts, user, cgroup or time")]),
    ("linux.uidMappings.*", ID_MAPPING),
    ("linux.gidMappings.*", ID_MAPPING),
    ("linux.seccomp", &[("defaultAction", "an action such as \"SCMP_ACT_ERRNO\"")]),
    ("linux.seccomp.syscalls.*", &[("names", "at least one name"), ("action", "an action such as \"SCMP_ACT_ALLOW\"")]),
    (
        "linux.seccomp.syscalls.*.args.*",
        &[("index", "0 to 5"), ("value", "a number"), ("op", "such as \"SCMP_CMP_EQ\"")],
    ),
    ("linux.devices.*", &[("type", "c, b, u or p"), ("path", "an absolute path in the container")]),
];

const ID_MAPPING: &[(&str, &str)] = &[("containerID", "an id"), ("hostID", "an id"), ("size", "a number of ids")];
const HOOK: &[(&str, &str)] = &[("path", "the absolute path of a program")];
const LIMIT: &str = "a number; 18446744073709551615 is unlimited";

pub(super) fn check(raw: &Value) -> Result<()> {
    if !raw.is_object() {
        return Err(Error::invalid(ConfigPath::default(), raw, "a JSON object"));
    }
    for (place, fields) in REQUIRED {
        visit(raw, place, &Way::Top, fields)?;
    }
    annotations(raw)?;
    version(raw)
}

/// CFG-119: no key is empty.
fn annotations(raw: &Value) -> Result<()> {
    match raw["annotations"].get("") {
        Some(value) => {
            Err(Error::invalid(ConfigPath::new("annotations").key(""), value.to_string(), "a key that is not empty"))
        }
        None => Ok(()),
    }
}

/// How a value was reached. It becomes a path only where one is missing: most configurations are right.
enum Way<'a> {
    Top,
    Field(&'a Way<'a>, &'a str),
    Element(&'a Way<'a>, usize),
}

impl Way<'_> {
    fn path(&self) -> ConfigPath {
        match self {
            Self::Top => ConfigPath::default(),
            Self::Field(before, name) => before.path().field(name),
            Self::Element(before, index) => before.path().index(*index),
        }
    }
}

/// Every object at `place` below `value` has `fields`.
fn visit(value: &Value, place: &str, way: &Way<'_>, fields: &[(&str, &'static str)]) -> Result<()> {
    if place.is_empty() {
        return present(value, way, fields);
    }
    let (head, rest) = place.split_once('.').unwrap_or((place, ""));
    match value {
        Value::Array(elements) if head == "*" => {
            let visit = |(index, element)| visit(element, rest, &Way::Element(way, index), fields);
            elements.iter().enumerate().try_for_each(visit)
        }
        Value::Object(members) => {
            members.get(head).map_or(Ok(()), |member| visit(member, rest, &Way::Field(way, head), fields))
        }
        _ => Ok(()),
    }
}

fn present(object: &Value, way: &Way<'_>, fields: &[(&str, &'static str)]) -> Result<()> {
    let Value::Object(members) = object else { return Ok(()) };
    match fields.iter().find(|(name, _)| members.get(*name).is_none_or(Value::is_null)) {
        Some((name, expected)) => Err(Error::missing(way.path().field(name), *expected)),
        None => Ok(()),
    }
}

/// D6: SemVer 2.0.0 of major version 1.
fn version(raw: &Value) -> Result<()> {
    let at = ConfigPath::new("ociVersion");
    let expected = "a version 1.x.y of the runtime specification (SemVer 2.0.0), such as \"1.3.0\"";
    match raw.get("ociVersion").and_then(Value::as_str) {
        Some(version) if semver_major(version) == Some(1) => Ok(()),
        Some(version) => Err(Error::invalid(at, version, expected)),
        None => Err(Error::missing(at, expected)),
    }
}

/// The major version of a SemVer 2.0.0 text; `None` if it is not one.
fn semver_major(version: &str) -> Option<u64> {
    let (version, build) = version.split_once('+').map_or((version, None), |(v, b)| (v, Some(b)));
    let (core, pre) = version.split_once('-').map_or((version, None), |(c, p)| (c, Some(p)));
    let identifier = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let number = |text: &str| {
        let plain =
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        plain.then(|| text.parse::<u64>().ok()).flatten()
    };
    let pre_ok = pre.is_none_or(|pre| {
        pre.split('.').all(|id| identifier(id) && (!id.bytes().all(|b| b.is_ascii_digit()) || number(id).is_some()))
    });
    let build_ok = build.is_none_or(|build| build.split('.').all(identifier));
    let numbers: Vec<u64> = core.split('.').map(number).collect::<Option<_>>()?;
    (numbers.len() == 3 && pre_ok && build_ok).then(|| numbers[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cfg_2_versions_are_semver() {
        for right in ["1.0.0", "1.0.2-dev", "1.2.0+dev", "1.99.0", "1.3.0-rc.1+x.y"] {
            assert_eq!(semver_major(right), Some(1), "{right}");
        }
        for wrong in ["", "invalid", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1..0", "1.0.0.0"] {
            assert_eq!(semver_major(wrong), None, "{wrong}");
        }
        assert_eq!(semver_major("2.0.0"), Some(2));
    }

    #[test]
    fn required_fields_are_named_with_their_place() {
        let base = json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}});
        assert!(check(&base).is_ok());
        let cases = [
            (json!({"root": {"path": "r"}}), "ociVersion"),
            (json!({"ociVersion": "1.3.0"}), "root"),
            (json!({"ociVersion": "1.3.0", "root": {}}), "root.path"),
            (
                json!({"ociVersion": "1.3.0", "root": {"path": "r"}, "mounts": [{"destination": "/a"}, {}]}),
                "mounts[1].destination",
            ),
            (json!({"ociVersion": "1.3.0", "root": {"path": "r"}, "process": {}}), "process.cwd"),
            (
                json!({"ociVersion": "1.3.0", "root": {"path": "r"}, "linux": {"uidMappings": [{"containerID": 0, "hostID": 0}]}}),
                "linux.uidMappings[0].size",
            ),
        ];
        for (config, at) in cases {
            let error = check(&config).expect_err(at).to_string();
            assert!(error.starts_with(&format!("{at}: missing")), "{error}");
        }
    }
}
