//! Tells `runtime-core/build.rs` where the sources are and which build they make.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the source folder is readable") {
        let path = entry.expect("the source folder is readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn main() {
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let src = manifest.join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    files.sort();
    let mut hash = DefaultHasher::new();
    for file in &files {
        fs::read(file).expect("a source file is readable").hash(&mut hash);
    }
    let build = format!("{:016x}", hash.finish());
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rustc-env=RUNTIME_INIT_BUILD={build}");
    println!("cargo::metadata=src={}", src.display());
    println!("cargo::metadata=build={build}");
}
