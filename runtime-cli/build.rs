//! Tells the program which commit it was built from: `RUNTIME_COMMIT` of the environment (a packager's
//! word), else what git says about this directory, else nothing.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUNTIME_COMMIT");
    // Grows with every commit and every switch of branches. Only if it is there: cargo takes a missing file for a changed one.
    let log = "../.git/logs/HEAD";
    if Path::new(log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    if let Some(commit) = std::env::var("RUNTIME_COMMIT").ok().or_else(git_head) {
        println!("cargo::rustc-env=RUNTIME_COMMIT={commit}");
    }
}

fn git_head() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--verify", "--quiet", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
