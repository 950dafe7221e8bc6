//! Where errors and warnings go: the file of `--log`, and standard error.
//!
//! Engines read both. The shim of containerd takes the last error object of the file, Podman reads the
//! file as one object, conmon and CRI-O read standard error once and at most 8191 bytes of it. So an error
//! is one object in the file and one line, in one write, on standard error; nothing else is written unless
//! it is a warning that the specification asks for, or `--debug` was given.

#![forbid(unsafe_code)]

use std::fmt;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::args::LogFormat;

/// The place that the log is written to, and how.
#[derive(Clone, Debug)]
pub struct Log {
    /// File to append to; without it the log goes to standard error.
    pub file: Option<PathBuf>,
    /// How its lines look.
    pub format: LogFormat,
    /// Write what is done as well.
    pub debug: bool,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Debug => "debug",
        }
    }
}

impl Log {
    /// Reports why the command failed. To be called once, as the last thing.
    pub fn error(&self, message: &str) {
        let message = one_line(message);
        let plain = match (&self.file, self.format) {
            (None, LogFormat::Json) => line(Level::Error, &message, self.format, now()),
            (None, LogFormat::Text) => message,
            (Some(_), _) => match self.append(Level::Error, &message) {
                Ok(()) => message,
                Err(error) => format!("{message} (this could not be written to --log: {error})"),
            },
        };
        to_stderr(&plain);
    }

    /// Reports what the user should know about although the command goes on.
    pub fn warning(&self, message: &str) {
        self.note(Level::Warning, message);
    }

    /// Reports what is done, if `--debug` was given.
    pub fn debug(&self, message: impl fmt::Display) {
        if self.debug {
            self.note(Level::Debug, &message.to_string());
        }
    }

    fn note(&self, level: Level, message: &str) {
        let message = one_line(message);
        if self.file.is_none() || self.append(level, &message).is_err() {
            to_stderr(&line(level, &message, self.format, now()));
        }
    }

    /// Appends a line to the file, which is opened for each line: a command that succeeds leaves no trace of it.
    fn append(&self, level: Level, message: &str) -> std::io::Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let mut line = line(level, message, self.format, now());
        line.push('\n');
        OpenOptions::new().append(true).create(true).mode(0o644).open(path)?.write_all(line.as_bytes())
    }
}

/// One line of the log, without its end.
fn line(level: Level, message: &str, format: LogFormat, time: Duration) -> String {
    let (time, level) = (rfc3339(time), level.name());
    match format {
        LogFormat::Json => serde_json::json!({ "level": level, "msg": message, "time": time }).to_string(),
        LogFormat::Text => format!("time={time:?} level={level} msg={message:?}"),
    }
}

/// Writes a line with its end in one write. Whoever reads it may have gone; that changes nothing here.
fn to_stderr(text: &str) {
    let mut line = shorten(text);
    line.push('\n');
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The text without line ends and other control characters: Podman's expressions see one line only,
/// and a container must not be able to send escape sequences to a terminal by way of an error.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// The text in less than 8191 bytes, by leaving out its middle: the end holds what engines look for.
fn shorten(text: &str) -> String {
    const HEAD: usize = 6000;
    const TAIL: usize = 2000;
    if text.len() <= HEAD + TAIL {
        return text.to_owned();
    }
    let boundary = |index: &usize| text.is_char_boundary(*index);
    let head = (0..=HEAD).rev().find(boundary).unwrap_or(0);
    let tail = (text.len() - TAIL..text.len()).find(boundary).unwrap_or(text.len());
    format!("{} … {}", &text[..head], &text[tail..])
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A time since 1970 in UTC as RFC 3339 has it, which Go refuses to read in any other form.
fn rfc3339(time: Duration) -> String {
    let (days, seconds) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let mut text = String::with_capacity(27);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ =
        write!(text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", time.subsec_micros());
    text
}

/// The Gregorian date of a day, counted from 1970-01-01. Years are taken to begin in March, so that
/// the leap day is the last one and all other months keep their distance from the start of the year.
fn date(day: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    const FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    let day = day + FROM_MARCH_OF_YEAR_0;
    let (era, day) = (day / DAYS_IN_400_YEARS, day % DAYS_IN_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (400 * era + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339() {
        let at = |seconds, micros: u32| rfc3339(Duration::new(seconds, micros * 1000));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000000Z");
        assert_eq!(at(951_868_799, 999_999), "2000-02-29T23:59:59.999999Z");
        assert_eq!(at(1_709_164_800, 0), "2024-02-29T00:00:00.000000Z");
        assert_eq!(at(1_795_224_684, 5), "2026-11-21T01:31:24.000005Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000000Z");
    }

    #[test]
    fn lines_are_what_engines_parse() {
        let time = Duration::from_secs(0);
        let json = line(Level::Error, r#"a "b" \n"#, LogFormat::Json, time);
        assert_eq!(json, r#"{"level":"error","msg":"a \"b\" \\n","time":"1970-01-01T00:00:00.000000Z"}"#);
        let text = line(Level::Warning, r#"a "b""#, LogFormat::Text, time);
        assert_eq!(text, r#"time="1970-01-01T00:00:00.000000Z" level=warning msg="a \"b\"""#);
    }

    #[test]
    fn messages_are_one_line_without_control_characters() {
        assert_eq!(one_line("a\nb\r\x1b[31mc\n"), r"a\nb\r\u{1b}[31mc");
        assert_eq!(one_line("ä → ü"), "ä → ü");
    }

    #[test]
    fn long_messages_keep_their_ends() {
        let long = format!("begin {}: permission denied", "ü".repeat(10_000));
        let short = shorten(&long);
        assert!(short.len() < 8191, "{}", short.len());
        assert!(short.starts_with("begin ü") && short.ends_with(": permission denied"));
        assert_eq!(shorten("short"), "short");
    }

    #[test]
    fn failures_are_appended_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log { file: Some(dir.path().join("log")), format: LogFormat::Json, debug: false };
        log.debug("not asked for");
        assert!(!dir.path().join("log").exists());
        log.error("first");
        log.error("second\nline");
        let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["msg"], "first");
        assert_eq!(lines[1]["msg"], r"second\nline");
        assert_eq!(lines[1]["level"], "error");
    }
}
