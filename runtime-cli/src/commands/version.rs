//! `--version`: the lines that Docker and go-runc look for.

#![forbid(unsafe_code)]

use std::fmt::Write;

use serde_json::Value;

/// The text of `--version` of a program called `name`. Only the first line may contain the word "version": Docker takes the last one that does.
pub fn version(name: &str) -> String {
    let features = runtime_core::features();
    let commit = option_env!("RUNTIME_COMMIT").unwrap_or("unknown");
    let mut text = format!("{name} version {}\ncommit: {commit}\n", env!("CARGO_PKG_VERSION"));
    if let Some(spec) = features.get("ociVersionMax").and_then(Value::as_str) {
        let _ = writeln!(text, "spec: {spec}");
    }
    if let Some(libseccomp) =
        features.pointer("/annotations/io.github.seccomp.libseccomp.version").and_then(Value::as_str)
    {
        let _ = writeln!(text, "libseccomp: {libseccomp}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_and_go_runc_find_what_they_look_for() {
        let text = version("runc");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], concat!("runc version ", env!("CARGO_PKG_VERSION")));
        assert!(lines[1].starts_with("commit: "));
        assert_eq!(lines[2], "spec: 1.3.0");
        assert_eq!(text.matches("version").count(), 1);
    }
}
