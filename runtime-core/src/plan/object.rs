//! Objects of `config.json` that are read member by member: where the types of `oci-spec` know other words than the
//! specification, or take what it leaves out for something else.

#![forbid(unsafe_code)]

use serde_json::Value;

use super::draft::Draft;
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// An object and its place.
pub(super) struct Object<'a> {
    value: &'a Value,
    pub at: ConfigPath,
}

impl<'a> Object<'a> {
    /// The object at `path`; `None` if it is absent, or null.
    pub fn of(p: &Draft<'a>, path: &str) -> Result<Option<Self>> {
        let value = p.bundle.raw().pointer(&format!("/{}", path.replace('.', "/")));
        let at = ConfigPath::new(path);
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(value @ Value::Object(_)) => Ok(Some(Self { value, at })),
            Some(other) => Err(Error::invalid(at, format_args!("{other}"), "an object")),
        }
    }

    fn member(&self, name: &str) -> Option<&'a Value> {
        self.value.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub fn word(&self, name: &str, expected: &'static str) -> Result<Option<&'a str>> {
        let Some(value) = self.member(name) else { return Ok(None) };
        match value.as_str() {
            Some(word) => Ok(Some(word)),
            None => Err(Error::invalid(self.at.field(name), format_args!("{value}"), expected)),
        }
    }

    /// A number of that type.
    pub fn number<T: TryFrom<i128>>(&self, name: &str, expected: &'static str) -> Result<Option<T>> {
        let Some(value) = self.member(name) else { return Ok(None) };
        let whole = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        match whole.and_then(|number| T::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::invalid(self.at.field(name), format_args!("{value}"), expected)),
        }
    }

    /// A list of the words in `known`, as the bits that belong to them.
    pub fn flags(&self, name: &str, known: &[(&str, u64)], expected: &'static str) -> Result<u64> {
        let at = self.at.field(name);
        let list = match self.member(name) {
            None => return Ok(0),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(Error::invalid(at, format_args!("{other}"), "a list of words")),
        };
        list.iter().enumerate().try_fold(0, |flags, (index, word)| {
            match known.iter().find(|(name, _)| word.as_str() == Some(name)) {
                Some((_, bits)) => Ok(flags | bits),
                None => Err(Error::invalid(at.index(index), format_args!("{word}"), expected)),
            }
        })
    }
}

/// The numbers of a list such as `0-3,7` as bits, 32 to a word. Blanks around the numbers and empty places between commas
/// are fine, as in runc; `below` bounds the numbers.
pub(super) fn bits_of_list(list: &str, below: u32) -> Option<Vec<u32>> {
    let mut words = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= below {
            return None;
        }
        words.resize(words.len().max(last as usize / 32 + 1), 0);
        (first..=last).for_each(|number| words[number as usize / 32] |= 1 << (number % 32));
    }
    Some(words)
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cfg_83_lists_are_numbers_and_ranges() {
        for (list, words) in [
            ("", &[][..]),
            (" , ", &[]),
            ("0", &[1]),
            ("0-3,7", &[0b1000_1111]),
            (" 1 , 0,", &[3]),
            ("31-32", &[1 << 31, 1]),
            ("99", &[0, 0, 0, 8]),
        ] {
            assert_eq!(bits_of_list(list, 100).as_deref(), Some(words), "{list:?}");
        }
        for list in
            ["a", "0-", "-1", "5-2", "0-1-2", "100", "0-100", "+1", "0 1", "0- 1", "99999999999", "0-9876543210"]
        {
            assert_eq!(bits_of_list(list, 100), None, "{list:?}");
        }
    }
}
