//! Hooks that leave marks in a folder which they and the container's program share.

use crate::container::Container;
use serde_json::json;
use std::fs;
use std::path::PathBuf;

/// The phases in their order.
pub const PHASES: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// The folder on the host that [`share`] makes.
pub fn shared(container: &Container) -> PathBuf {
    container.folder().join("shared")
}

/// Makes a folder of the test that the container sees as `/shared`.
pub fn share(container: &mut Container) {
    let folder = shared(container);
    fs::create_dir(&folder).expect("make the shared folder");
    container.bundle.mount("/shared", "bind", folder.to_str().expect("a text"), &["bind", "rw"]);
}

/// Adds a hook that runs `script`, in which `OUT` is the shared folder as the phase sees it.
pub fn hook(container: &mut Container, phase: &str, script: &str) {
    let outside = shared(container).display().to_string();
    let script = script.replace("OUT", if phase == "startContainer" { "/shared" } else { &outside });
    container.bundle.push(&format!("/hooks/{phase}"), json!({"path": "/bin/sh", "args": ["sh", "-c", script]}));
}

/// What was written to a file of the shared folder; empty without it.
pub fn written(container: &Container, name: &str) -> String {
    fs::read_to_string(shared(container).join(name)).unwrap_or_default()
}
