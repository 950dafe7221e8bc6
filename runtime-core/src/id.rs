//! The name of a container.

#![forbid(unsafe_code)]

use std::fmt;

use crate::error::{Error, Result, StateProblem};

/// The longest id: the longest name of a directory entry, which is what an id becomes.
const LONGEST: usize = 255;

/// A name that a container can have: 1 to 255 of the characters `A-Z a-z 0-9 _ + . -`,
/// and neither `.` nor `..`.
///
/// Whoever holds one may use it as the name of one directory entry without further checks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(String);

impl ContainerId {
    /// Checks `id`.
    ///
    /// # Errors
    /// [`StateProblem::InvalidId`] with the (shortened) id.
    pub fn new(id: &str) -> Result<Self> {
        let length = (1..=LONGEST).contains(&id.len());
        if length && id != "." && id != ".." && id.bytes().all(is_allowed) {
            return Ok(Self(id.to_owned()));
        }
        let shown = shorten(id);
        Err(Error::state(shown.clone(), StateProblem::InvalidId(shown)))
    }

    /// The id as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'.' | b'-')
}

/// Engines read error texts into small buffers; an id of kilobytes must not push the reason out.
fn shorten(id: &str) -> String {
    let mut shown: String = id.chars().take(64).collect();
    if shown.len() < id.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_runc_accepts() {
        for id in ["a", "web-1", ".hidden", "...", "_+.-", "A0", &"x".repeat(255)] {
            assert_eq!(ContainerId::new(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn refuses_everything_that_is_no_plain_name() {
        for id in ["", ".", "..", "a/b", "/", "a b", "a\0b", "a\n", "ä", &"x".repeat(256), &"/".repeat(2048)] {
            let error = ContainerId::new(id).unwrap_err();
            assert!(matches!(error.state_problem(), Some(StateProblem::InvalidId(_))), "{id:?}");
            let text = error.to_string();
            assert!(text.contains("invalid container ID format") && text.len() < 400, "{text}");
        }
    }
}
