//! A bundle: the directory and its `config.json`, read once.
//!
//! The text is read strictly where the specification is strict (duplicate names, required fields, versions)
//! and leniently where it has to be (unknown properties, capabilities of newer kernels).

#![forbid(unsafe_code)]

mod json;
mod place;
mod required;

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde_json::Value;

use crate::at::ConfigPath;
use crate::error::{Error, Problem, Result, StepError};

/// A bundle directory and the configuration in it.
///
/// Later changes of the directory do not affect it: whatever is planned is planned from what was read here.
#[derive(Clone, Debug)]
pub struct Bundle {
    dir: PathBuf,
    text: Vec<u8>,
    raw: Value,
    spec: Spec,
    unknown_capabilities: Vec<String>,
}

impl Bundle {
    /// Reads `config.json` of the directory `path`.
    ///
    /// # Errors
    /// [`Error::Step`] if the directory or the file cannot be read, [`Error::Config`] if the text is not a
    /// configuration of runtime-spec 1.x. What its values ask for is judged by [`Plan::create`](crate::Plan::create).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let dir = std::fs::canonicalize(path)
            .map_err(|e| StepError::io(None, format!("open the bundle {}", path.display()), "open", &e))?;
        let config = dir.join("config.json");
        let text = std::fs::read(&config)
            .map_err(|e| StepError::io(None, format!("read {}", config.display()), "open", &e))?;
        Self::parse(dir, text)
    }

    /// A bundle whose `config.json` is `text`; nothing is read from `dir`, an absolute path.
    ///
    /// # Errors
    /// [`Error::Config`] if the text is not a configuration of runtime-spec 1.x.
    pub fn parse(dir: PathBuf, text: Vec<u8>) -> Result<Self> {
        Self::checked(dir, json::strict(&text)?, text)
    }

    /// The same of values that were read before; it has no text.
    pub(crate) fn of_values(dir: PathBuf, raw: Value) -> Result<Self> {
        Self::checked(dir, raw, Vec::new())
    }

    fn checked(dir: PathBuf, mut raw: Value, text: Vec<u8>) -> Result<Self> {
        required::check(&raw)?;
        let unknown_capabilities = json::drop_unknown_capabilities(&mut raw);
        let as_given = unknown_capabilities.is_empty() && !text.is_empty();
        let spec = json::typed(&raw, as_given.then_some(text.as_slice()))?;
        Ok(Self { dir, text, raw, spec, unknown_capabilities })
    }

    /// The absolute path of the directory, without symbolic links.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The text of `config.json` as it was read.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether `process.terminal` is on.
    #[must_use]
    pub fn terminal(&self) -> bool {
        self.spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal).unwrap_or(false)
    }

    pub(crate) const fn spec(&self) -> &Spec {
        &self.spec
    }

    pub(crate) const fn raw(&self) -> &Value {
        &self.raw
    }

    /// Names in `process.capabilities` that this version does not know, sorted, each once.
    pub(crate) fn unknown_capabilities(&self) -> &[String] {
        &self.unknown_capabilities
    }
}

fn invalid_json(at: &str, place: Option<(usize, usize)>, message: String) -> Error {
    let at = ConfigPath::new(if matches!(at, "." | "?") { "" } else { at });
    Error::Config { at, problem: Problem::Json { place, message } }
}
