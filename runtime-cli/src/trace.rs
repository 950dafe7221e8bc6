//! `--trace FILE`: what the host, the usher and init did, and when, in the trace event format of Chrome's developers, which
//! ui.perfetto.dev and chrome://tracing show.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use runtime_core::{Event, Role};
use serde_json::{Value, json};

/// Their rows, from the top.
const ROWS: [(Role, &str); 3] = [(Role::Host, "host"), (Role::Usher, "usher"), (Role::Init, "init")];

/// The trace of one command, or nothing if none was asked for.
#[derive(Debug)]
pub struct Trace {
    file: Option<PathBuf>,
    since: SystemTime,
    events: RefCell<Vec<Value>>,
}

impl Trace {
    /// The trace to be written to `file`. It begins now.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, since: SystemTime::now(), events: RefCell::default() }
    }

    /// Whether there is one.
    pub const fn is_on(&self) -> bool {
        self.file.is_some()
    }

    /// Adds what the library tells.
    pub fn note(&self, event: &Event) {
        let mut args = json!({});
        if event.number > 0 {
            args["step"] = event.number.into();
        }
        if let Some(origin) = &event.origin {
            args["for"] = origin.to_string().into();
        }
        if !event.done {
            args["done"] = false.into();
        }
        let begin = event.begin.duration_since(self.since).unwrap_or_default();
        self.add(&event.text, event.role, begin, event.took, args);
    }

    /// Carries out what is no part of a plan, and adds it.
    pub fn span<T>(&self, text: &str, act: impl FnOnce() -> T) -> T {
        if !self.is_on() {
            return act();
        }
        let begin = self.since.elapsed().unwrap_or_default();
        let result = act();
        let end = self.since.elapsed().unwrap_or_default();
        self.add(text, Role::Host, begin, end.saturating_sub(begin), json!({}));
        result
    }

    /// Writes the trace of the command `words`, which has ended, with `error` if it failed.
    ///
    /// # Errors
    /// The path of the file, and why it cannot be written.
    pub fn finish(self, words: &str, error: Option<&str>) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        let args = error.map_or(json!({}), |error| json!({"error": error}));
        self.add(words, Role::Host, Duration::ZERO, self.since.elapsed().unwrap_or_default(), args);
        let mut events = vec![json!({"name": "process_name", "ph": "M", "pid": 1, "args": {"name": words}})];
        for (number, (_, name)) in (1..).zip(ROWS) {
            let row = |what: &str, args: Value| json!({"name": what, "ph": "M", "pid": 1, "tid": number, "args": args});
            events.push(row("thread_name", json!({"name": name})));
            events.push(row("thread_sort_index", json!({"sort_index": number})));
        }
        events.append(&mut self.events.borrow_mut());
        let text = json!({"displayTimeUnit": "ns", "traceEvents": events}).to_string();
        std::fs::write(file, text).map_err(|error| format!("--trace {}: {}", file.display(), error.kind()))
    }

    /// Times are in microseconds there.
    fn add(&self, text: &str, role: Role, begin: Duration, took: Duration, args: Value) {
        let (number, row) =
            (1..).zip(ROWS).find(|(_, (of, _))| *of == role).map_or((0, ""), |(n, (_, name))| (n, name));
        let [ts, dur] = [begin, took].map(|time| time.as_secs_f64() * 1e6);
        self.events.borrow_mut().push(json!({
            "name": text, "cat": row, "ph": "X", "ts": ts, "dur": dur, "pid": 1, "tid": number, "args": args,
        }));
    }
}
