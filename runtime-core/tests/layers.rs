//! The dependency rules of ARCHITECTURE.md that the compiler does not enforce.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    assert!(found.len() > 30, "the sources are there");
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn oci_types_are_named_in_bundle_and_plan_only() {
    for (name, text) in all() {
        let may = name.starts_with("bundle") || name.starts_with("plan/");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        assert!(may || !code.into_iter().any(|line| line.contains("oci_spec")), "{name} names oci_spec");
    }
}

#[test]
fn every_file_forbids_unsafe_code() {
    for (name, text) in all() {
        let inherits = name.ends_with("tests.rs") || name.contains("/tests/");
        assert!(inherits || text.contains("#![forbid(unsafe_code)]"), "{name} does not forbid unsafe code");
    }
}

#[test]
fn processes_are_started_by_launch_only() {
    for (name, text) in all() {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let starts = code.contains("Command::new") || code.contains("spawn::spawn");
        assert!(!starts || name.starts_with("launch/") || name.ends_with("tests.rs"), "{name} starts a process");
    }
}
