//! `spec`: a `config.json` to start from.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, Write};

use nix::unistd::{getegid, geteuid};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::Result;
use crate::args::SpecArgs;
use crate::phrases::Failure;

/// Writes the template to the bundle's directory, and never over a file that is there.
pub fn spec(args: &SpecArgs) -> Result {
    let caller = args.rootless.then(|| (geteuid().as_raw(), getegid().as_raw()));
    let path = args.bundle.join("config.json");
    let mut text = Vec::new();
    let mut json = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
    runtime_core::spec_template(caller)
        .serialize(&mut json)
        .map_err(|error| Failure::new(format!("print config.json: {error}")))?;
    text.push(b'\n');
    match File::create_new(&path).and_then(|mut file| file.write_all(&text)) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Failure::new("File config.json exists. Remove it first"))
        }
        Err(error) => Err(Failure::file("write", &path, &error)),
    }
}
