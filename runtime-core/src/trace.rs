//! What was done and when, for whoever asks: an [`Event`] for each line of a plan that was carried out.
//!
//! Nobody pays for it who does not ask: without a tracer no clock is read, on neither side.

#![forbid(unsafe_code)]

use std::time::{Duration, SystemTime};

use runtime_init::Step;
use serde::{Deserialize, Serialize};

use crate::at::ConfigPath;
use crate::container::ContainerDir;
use crate::plan::{Act, Line, Plan};

/// Name of the file that keeps, for [`crate::Container::start_traced`], what init does then.
const FILE: &str = "trace";

/// Who carried out a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The caller.
    Host,
    /// Init before the container's process was born: outside, with the caller's rights.
    Usher,
    /// Init in the container.
    Init,
}

/// A line of a plan that was carried out, or what failed of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Who did it.
    pub role: Role,
    /// Number of the line in its column of the plan, from 1; 0 for what is in no plan.
    pub number: u32,
    /// The line in the words of the printed plan.
    pub text: String,
    /// The field of `config.json` that asked for it; `None` for what every container gets.
    pub origin: Option<ConfigPath>,
    /// When it began.
    pub begin: SystemTime,
    /// How long it took. Zero for what init does behind its system call filter, where it cannot ask the time.
    pub took: Duration,
    /// It was done. The last event of each side of a launch that failed was not.
    pub done: bool,
}

/// Where events go, if anywhere.
pub(crate) struct Tracer<'a> {
    sink: Option<Box<dyn FnMut(Event) + 'a>>,
    /// When the first line of the host began: before there is a launch.
    since: Option<SystemTime>,
    host_lines: u32,
}

impl<'a> Tracer<'a> {
    /// For callers who do not ask.
    pub const fn off() -> Self {
        Self { sink: None, since: None, host_lines: 0 }
    }

    /// Gives events to `sink`; the first line of the host has begun.
    pub fn new(sink: &'a mut dyn FnMut(Event)) -> Self {
        Self { sink: Some(Box::new(sink)), since: Some(SystemTime::now()), host_lines: 0 }
    }

    pub const fn is_on(&self) -> bool {
        self.sink.is_some()
    }

    /// The time, as the beginning of what is traced later.
    pub fn begin(&mut self) -> Option<SystemTime> {
        self.sink.as_ref()?;
        self.since.take().or_else(|| Some(SystemTime::now()))
    }

    /// A line of the host has ended.
    pub fn host(&mut self, plan: &Plan, line: &Line, begin: Option<SystemTime>, done: bool) {
        let Some(begin) = begin else { return };
        self.host_lines += 1;
        let (number, origin) = (self.host_lines, line.origin.clone());
        let text = plan.describe(&line.act).trim_start().to_owned();
        self.tell(Event { role: Role::Host, number, text, origin, begin, took: since(begin), done });
    }

    /// What the host does outside of any plan has ended.
    pub fn beside(&mut self, text: &str, begin: Option<SystemTime>, done: bool) {
        let Some(begin) = begin else { return };
        let (number, origin, text) = (0, None, text.to_owned());
        self.tell(Event { role: Role::Host, number, text, origin, begin, took: since(begin), done });
    }

    /// Init has come as far as line `reached`, from 1. `stamps` are its beginnings in nanoseconds of the epoch: input.
    pub fn init(&mut self, lines: &[InitLine], stamps: &[u64], reached: u32, done: bool) {
        let now = SystemTime::now();
        let time = |stamp: u64| SystemTime::UNIX_EPOCH + Duration::from_nanos(stamp);
        let begun = |number: u32| {
            let stamp = stamps.get((number as usize).checked_sub(1)?).copied();
            stamp.filter(|stamp| *stamp != 0).map(time)
        };
        for line in lines.iter().filter(|line| line.number <= reached) {
            let begin = begun(line.number).unwrap_or(now);
            let end = if line.number == reached { now } else { begun(line.number.saturating_add(1)).unwrap_or(now) };
            let InitLine { is_inside, number, text, origin } = line.clone();
            let took = end.duration_since(begin).unwrap_or_default();
            let origin = origin.as_deref().map(ConfigPath::new);
            self.tell(Event {
                role: if is_inside { Role::Init } else { Role::Usher },
                number,
                text,
                origin,
                begin,
                took,
                done: done || line.number != reached,
            });
        }
    }

    fn tell(&mut self, event: Event) {
        if let Some(sink) = &mut self.sink {
            sink(event);
        }
    }
}

fn since(begin: SystemTime) -> Duration {
    begin.elapsed().unwrap_or_default()
}

/// A line of init's column without its plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InitLine {
    is_inside: bool,
    number: u32,
    text: String,
    origin: Option<String>,
}

/// Init's column of `plan`.
pub(crate) fn init_lines(plan: &Plan) -> Vec<InitLine> {
    let column: Vec<&Line> = plan.lines.iter().filter(|line| matches!(line.act, Act::Init(_))).collect();
    let birth = column.iter().rposition(|line| matches!(line.act, Act::Init(Step::Birth { .. })));
    let numbered = (1..).zip(column).enumerate();
    numbered
        .map(|(index, (number, line))| InitLine {
            is_inside: birth.is_some_and(|birth| index > birth),
            number,
            text: plan.describe(&line.act).trim_start().to_owned(),
            origin: line.origin.as_ref().map(ToString::to_string),
        })
        .collect()
}

/// Keeps the lines behind `number`, which are carried out when the container is started. A container is not given up for
/// a trace of it.
pub(crate) fn keep(dir: &ContainerDir, lines: &[InitLine], number: u32) {
    let rest: Vec<&InitLine> = lines.iter().filter(|line| line.number > number).collect();
    let _ = serde_json::to_vec(&rest).map(|bytes| dir.replace(FILE, &bytes));
}

/// The lines that [`keep`] has kept; none of a container that was created without a tracer.
pub(crate) fn kept(dir: &ContainerDir) -> Vec<InitLine> {
    let bytes = dir.read(FILE).ok().flatten().unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u32, is_inside: bool) -> InitLine {
        InitLine { is_inside, number, text: format!("line {number}"), origin: None }
    }

    fn events(stamps: &[u64], reached: u32, done: bool) -> Vec<Event> {
        let mut events = Vec::new();
        let mut sink = |event| events.push(event);
        let lines = [line(1, false), line(2, true), line(3, true)];
        Tracer::new(&mut sink).init(&lines, stamps, reached, done);
        events
    }

    #[test]
    fn a_line_ends_where_the_next_one_begins() {
        let events = events(&[1_000, 3_000, 7_000], 3, false);
        let seen: Vec<_> = events.iter().map(|event| (event.role, event.number, event.done)).collect();
        assert_eq!(seen, [(Role::Usher, 1, true), (Role::Init, 2, true), (Role::Init, 3, false)]);
        assert_eq!(events[1].begin, SystemTime::UNIX_EPOCH + Duration::from_micros(3));
        let took: Vec<_> = events[..2].iter().map(|event| event.took.as_nanos()).collect();
        assert_eq!(took, [2_000, 4_000]);
        assert!(events[2].took > Duration::from_secs(1_700_000_000), "until now");
    }

    #[test]
    fn what_was_not_reached_is_not_told_and_what_has_no_time_takes_none() {
        assert_eq!(events(&[1_000, 3_000, 7_000], 1, true).len(), 1);
        let behind_a_filter = events(&[1_000, 0, 0], 3, true);
        assert_eq!(behind_a_filter.len(), 3);
        assert_eq!(behind_a_filter[1].took, Duration::ZERO);
    }

    #[test]
    fn stamps_are_input() {
        assert!(events(&[], 0, true).is_empty());
        assert_eq!(events(&[], u32::MAX, true).len(), 3);
        assert_eq!(events(&[u64::MAX, 1, u64::MAX], 3, true)[0].took, Duration::ZERO);
        let mut sink = |_| {};
        Tracer::new(&mut sink).init(&[line(0, true), line(u32::MAX, true)], &[1], u32::MAX, true);
    }

    #[test]
    fn nobody_is_told_who_did_not_ask() {
        let mut off = Tracer::off();
        assert_eq!((off.begin(), off.is_on()), (None, false));
        off.beside("x", None, true);
    }
}
