//! The string table: every string of a plan once, NUL-terminated.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use runtime_init::Text;

use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// Strings by their offset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    known: BTreeMap<Vec<u8>, Text>,
}

impl Texts {
    /// Puts a string that the field `at` asked for into the table.
    pub fn add(&mut self, text: impl AsRef<[u8]>, at: &ConfigPath) -> Result<Text> {
        let text = text.as_ref();
        if text.contains(&0) {
            return Err(Error::invalid(at.clone(), String::from_utf8_lossy(text), "a text without NUL"));
        }
        self.put(text).ok_or_else(|| Error::refused(at.clone(), "all texts of the plan together have 4 GiB or more"))
    }

    /// Puts a string of ours, which has no NUL.
    pub fn fixed(&mut self, text: &str) -> Text {
        self.put(text.as_bytes()).unwrap_or(Text(u32::MAX))
    }

    fn put(&mut self, text: &[u8]) -> Option<Text> {
        if let Some(known) = self.known.get(text) {
            return Some(*known);
        }
        let place = Text(u32::try_from(self.bytes.len()).ok()?);
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
        self.known.insert(text.to_vec(), place);
        Some(place)
    }

    /// The table.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A string, for people.
    pub fn show(&self, text: Text) -> String {
        let rest = self.bytes.get(text.0 as usize..).unwrap_or_default();
        let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
        String::from_utf8_lossy(&rest[..end]).into_owned()
    }
}
