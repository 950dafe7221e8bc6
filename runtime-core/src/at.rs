//! A place in `config.json`, for whoever has to say who asked.

#![forbid(unsafe_code)]

use std::fmt;

/// A place in `config.json`, printed the way a person would write it:
/// `linux.namespaces[3].path`, `linux.resources.unified["memory.high"]`.
///
/// The empty path is the whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigPath(String);

impl ConfigPath {
    /// The path of a top-level field, or of several levels at once (`"linux.resources"`).
    #[must_use]
    pub fn new(fields: &str) -> Self {
        Self(fields.to_owned())
    }

    /// The field `name` of the object at this path.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { self.longer(".", name, "") }
    }

    /// Element `index` of the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.longer("[", &index.to_string(), "]")
    }

    /// The member `key` of the map at this path; unlike a field, the key is the user's word.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.longer("[", &format!("{key:?}"), "]")
    }

    /// Every line of a plan has such a path, which `format!` would take longer to make than all else about the line.
    fn longer(&self, before: &str, part: &str, behind: &str) -> Self {
        Self([&self.0, before, part, behind].concat())
    }

    /// The text of the path; empty for the whole document.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "config.json" } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_like_json_paths() {
        let path = ConfigPath::new("linux").field("namespaces").index(3).field("path");
        assert_eq!(path.to_string(), "linux.namespaces[3].path");
        let key = ConfigPath::new("linux.resources.unified").key("memory.high");
        assert_eq!(key.to_string(), "linux.resources.unified[\"memory.high\"]");
        assert_eq!(ConfigPath::default().to_string(), "config.json");
    }
}
