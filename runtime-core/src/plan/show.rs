//! The printed plan: the host's column on the left, init's on the right, the asking field at the end of the line.

#![forbid(unsafe_code)]

use std::fmt;

use runtime_init::{Gate, Step};
use serde_json::{Value, json};

use super::{Act, HostStep, Line, Plan};
use crate::error::Side;

/// Widths for a terminal of 120 columns.
const WIDTH: usize = 120;
const LEFT: usize = 38;
const RIGHT: usize = 46;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<w$}   init", "host", w = LEFT + 3)?;
        let mut rows = Rows { plan: self, host: 0, init: 0 };
        let mut lines = self.lines.iter().peekable();
        while let Some(line) = lines.next() {
            let next = lines.peek().copied();
            if next.is_some_and(|next| meet(&line.act, &next.act)) {
                rows.both(f, line, next)?;
                lines.next();
            } else {
                rows.one(f, line)?;
            }
        }
        for note in &self.notes {
            writeln!(f, "note: {}: {}", note.at, note.text)?;
        }
        Ok(())
    }
}

/// Lines that stand beside each other: one side acts, the other waits for it.
fn meet(first: &Act, second: &Act) -> bool {
    matches!(
        (first, second),
        (Act::Host(HostStep::Spawn), Act::Init(_))
            | (Act::Init(Step::Birth { .. }), Act::Host(HostStep::Born))
            | (Act::Host(HostStep::Release(_)), Act::Init(Step::Await { .. }))
            | (Act::Init(Step::HoldUserNamespace {}), Act::Host(HostStep::HoldUserNamespace(_)))
            | (Act::Host(HostStep::Give(_)), Act::Init(Step::OpenSource { .. }))
            | (Act::Init(Step::Mount { .. }), Act::Host(HostStep::MapTree { .. }))
            | (Act::Host(HostStep::Created | HostStep::Executed), Act::Init(_))
    )
}

struct Rows<'a> {
    plan: &'a Plan,
    host: u32,
    init: u32,
}

impl Rows<'_> {
    fn cell(&mut self, line: &Line, width: usize) -> String {
        let number = match line.act {
            Act::Host(_) => &mut self.host,
            Act::Init(_) => &mut self.init,
        };
        *number += 1;
        format!("{number:>2} {}", shorten(&self.plan.describe(&line.act), width))
    }

    fn one(&mut self, f: &mut fmt::Formatter<'_>, line: &Line) -> fmt::Result {
        let (left, right) = match line.act {
            Act::Host(_) => (self.cell(line, LEFT), String::new()),
            Act::Init(_) => (String::new(), self.cell(line, RIGHT)),
        };
        row(f, &left, &right, line.origin.as_ref().map(ToString::to_string))
    }

    fn both(&mut self, f: &mut fmt::Formatter<'_>, first: &Line, second: Option<&Line>) -> fmt::Result {
        let Some(second) = second else { return self.one(f, first) };
        let (host, init) = if matches!(first.act, Act::Host(_)) { (first, second) } else { (second, first) };
        let arrow = match init.act {
            Act::Init(Step::Await { gate }) => format!(" ══ {} ", gate_name(gate)),
            _ => " ".to_owned(),
        };
        let fill = if arrow == " " { '─' } else { '═' };
        let mut left = self.cell(host, LEFT) + &arrow;
        while left.chars().count() < LEFT + 5 {
            left.push(fill);
        }
        let right = self.cell(init, RIGHT);
        let origin = init.origin.as_ref().or(host.origin.as_ref()).map(ToString::to_string);
        row(f, &left, &right, origin)
    }
}

/// The asking field has a column of its own; a long one begins before it, as far as the line leaves room.
fn row(f: &mut fmt::Formatter<'_>, left: &str, right: &str, origin: Option<String>) -> fmt::Result {
    let (l, r) = (LEFT + 6, RIGHT + 4);
    let text = format!("{left:<l$}{right}");
    let text = text.trim_end();
    let Some(origin) = origin else { return writeln!(f, "{text}") };
    let room = WIDTH.saturating_sub(text.chars().count() + " # ".len());
    let origin = shorten(&origin, room);
    let column = (l + r).min(WIDTH.saturating_sub(origin.chars().count() + "# ".len()));
    writeln!(f, "{text:<column$}# {origin}")
}

const fn gate_name(gate: Gate) -> &'static str {
    match gate {
        Gate::Born => "Born",
        Gate::Mapped => "Mapped",
        Gate::Placed => "Placed",
        Gate::Trees => "Trees",
        Gate::Mounted => "Mounted",
        Gate::Ready => "Ready",
        Gate::Notify => "Notify",
        Gate::Network => "Network",
    }
}

/// Cuts the middle out of what does not fit: both ends of a path matter.
fn shorten(text: &str, width: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= width {
        return text.to_owned();
    }
    let tail = width / 3;
    let head: String = chars[..width - tail - 1].iter().collect();
    let end: String = chars[chars.len() - tail..].iter().collect();
    format!("{head}…{end}")
}

impl Plan {
    /// The plan as data: `lines` with side, number, text and asking field, and `notes`. Nothing is cut.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (mut host, mut init) = (0, 0);
        let line = |line: &Line| {
            let (side, number) = match line.act {
                Act::Host(_) => (Side::Host, &mut host),
                Act::Init(_) => (Side::Init, &mut init),
            };
            *number += 1;
            let side = if side == Side::Host { "host" } else { "init" };
            let mut value = json!({"side": side, "number": *number, "text": self.describe(&line.act).trim_start()});
            if let (Some(origin), Value::Object(members)) = (&line.origin, &mut value) {
                members.insert("for".to_owned(), origin.to_string().into());
            }
            value
        };
        let lines: Vec<Value> = self.lines.iter().map(line).collect();
        let notes: Vec<Value> =
            self.notes.iter().map(|n| json!({"for": n.at.to_string(), "text": n.text, "warn": n.warn})).collect();
        json!({"lines": lines, "notes": notes})
    }
}
