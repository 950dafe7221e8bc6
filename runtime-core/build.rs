//! Compiles init (`init/src`) into a freestanding static program and embeds it.
//!
//! Always with the same flags, whatever the profile: without optimisation and LTO the prebuilt `core` would
//! want an unwinder at link time.

use std::path::PathBuf;
use std::process::Command;

/// More would no longer be "a process of a few dozen pages".
const LIMIT: u64 = 96 * 1024;

fn var(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by cargo"))
}

fn main() {
    println!("cargo::rerun-if-env-changed=DOCS_RS");
    let out = PathBuf::from(var("OUT_DIR")).join("init");
    println!("cargo::rustc-env=RUNTIME_INIT_IMAGE={}", out.display());
    if std::env::var_os("CARGO_CFG_MIRI").is_some() || std::env::var_os("DOCS_RS").is_some() {
        std::fs::write(&out, []).expect("OUT_DIR is writable");
        return;
    }
    compile(&out);
    let size = std::fs::metadata(&out).expect("rustc wrote init").len();
    assert!(size <= LIMIT, "init has {size} bytes, the limit is {LIMIT}");
    println!("cargo::rustc-env=RUNTIME_INIT_SIZE={size}");
}

fn compile(out: &std::path::Path) {
    let source = PathBuf::from(var("DEP_RUNTIME_INIT_SRC"));
    println!("cargo::rerun-if-changed={}", source.display());
    let mut rustc = Command::new(var("RUSTC"));
    rustc
        .args(["--crate-name", "runtime_init", "--crate-type", "bin", "--edition", "2024", "--cfg", "freestanding"])
        .args(["--target", &var("TARGET"), "--cap-lints", "allow"])
        .args(["-C", "opt-level=s", "-C", "lto=fat", "-C", "codegen-units=1", "-C", "panic=abort"])
        .args(["-C", "relocation-model=static", "-C", "overflow-checks=off", "-C", "strip=symbols"])
        .args(["-C", "link-arg=-nostartfiles", "-C", "link-arg=-nostdlib", "-C", "link-arg=-static"])
        .args(["-C", "link-arg=-Wl,--build-id=none", "-C", "link-arg=-Wl,-z,noexecstack"])
        .arg(format!("--remap-path-prefix={}=/init", source.display()))
        .env("RUNTIME_INIT_BUILD", var("DEP_RUNTIME_INIT_BUILD"))
        .arg(source.join("lib.rs"))
        .arg("-o")
        .arg(out);
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        let mut argument = std::ffi::OsString::from("linker=");
        argument.push(linker);
        rustc.arg("-C").arg(argument);
    }
    if std::env::var_os("CARGO_CFG_NAIVE_PATHS").is_some() {
        assert_eq!(var("PROFILE"), "debug", "naive_paths is for hack/test: its containers can be escaped from");
        rustc.args(["--cfg", "naive_paths"]);
    }
    let status = rustc.status().expect("the compiler that cargo names can be run");
    assert!(status.success(), "init does not compile: {status}");
}
