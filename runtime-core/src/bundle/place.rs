//! Which field of a JSON text stands at a place.
//!
//! Reading stops behind the value that it cannot take, or before what is no JSON at all. The text up to there is
//! looked at once more, only then: keeping track of the path while reading would make every start slower.

#![forbid(unsafe_code)]

use std::fmt::Write;

/// An object or a list that is still open.
struct Open<'a> {
    list: bool,
    /// The member of an object that is read; none before its name.
    name: Option<&'a [u8]>,
    /// The item of a list that is read; none before it begins.
    item: Option<usize>,
}

/// The path, such as `process.rlimits[0].type`, of what ends at `line` and `column`, both counted from 1 in bytes as
/// serde_json does; `.` is the whole text.
pub(super) fn path(text: &[u8], (line, column): (usize, usize)) -> String {
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    let before: usize = lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let end = text.len().min(before + column);
    let mut path = String::new();
    for open in open_at(&text[..end]) {
        let written = match (open.name, open.item) {
            (Some(name), _) => {
                let dot = if path.is_empty() { "" } else { "." };
                write!(path, "{dot}{}", String::from_utf8_lossy(name))
            }
            (None, Some(item)) => write!(path, "[{item}]"),
            (None, None) => Ok(()),
        };
        debug_assert_eq!(written, Ok(()), "a String takes everything");
    }
    if path.is_empty() { ".".to_owned() } else { path }
}

/// What is open at the end of `text`, from the outermost.
fn open_at(text: &[u8]) -> Vec<Open<'_>> {
    let mut stack: Vec<Open<'_>> = Vec::new();
    let mut rest = text;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if let Some(Open { list: true, item, .. }) = stack.last_mut()
            && !byte.is_ascii_whitespace()
            && *byte != b']'
        {
            item.get_or_insert(0);
        }
        match byte {
            b'{' | b'[' => stack.push(Open { list: *byte == b'[', name: None, item: None }),
            b'}' | b']' => drop(stack.pop()),
            b',' => match stack.last_mut() {
                Some(Open { list: true, item, .. }) => *item = item.map(|item| item + 1),
                Some(open) => open.name = None,
                None => {}
            },
            b'"' => {
                let (string, behind) = string(rest);
                rest = behind;
                if let Some(Open { list: false, name, .. }) = stack.last_mut() {
                    name.get_or_insert(string);
                }
            }
            _ => {}
        }
    }
    stack
}

/// Splits behind the string at whose first character `text` begins.
fn string(text: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => return (&text[..at], &text[at + 1..]),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    (text, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_at_a_place() {
        let text = br#"{"a": {"b": [1, {"c": "x"}], "d": {}}, "e\"f": 2}"#;
        let at = |mark: &str| {
            let end = text.windows(mark.len()).position(|window| window == mark.as_bytes()).unwrap() + mark.len();
            path(text, (1, end))
        };
        for (mark, field) in [
            ("{", "."),
            ("\"a\"", "a"),
            ("[", "a.b"),
            ("[1", "a.b[0]"),
            ("\"x\"", "a.b[1].c"),
            ("\"x\"}", "a.b[1]"),
            ("]", "a.b"),
            ("{}", "a.d"),
            ("}}", "a"),
            ("2", "e\\\"f"),
            ("2}", "."),
        ] {
            assert_eq!(at(mark), field, "behind {mark}");
        }
    }

    #[test]
    fn lines_and_broken_texts() {
        assert_eq!(path(b"{\n \"a\": [\n  true,\n  tru\n]}", (4, 5)), "a[1]");
        for text in ["", "}", "]]", ",", "{\"a", "\"\\"] {
            path(text.as_bytes(), (1, 9));
            path(text.as_bytes(), (9, 0));
        }
    }
}
