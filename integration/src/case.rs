//! A test with its name and conditions, and what is expected of each peer.

use crate::deadline::expect_failure;
use crate::place::{Need, Place};
use crate::runtime::{Name, Runtime};
use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

/// The body of a test. It panics when the runtime does not do what it must.
pub type Test = fn(&Runtime);

/// A test with its name, which begins with the row it proves, and its conditions.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// For example `rt_45_create_with_a_used_id_fails`.
    pub name: &'static str,
    place: Place,
    needs: &'static [Need],
    test: Test,
}

/// Tests with the same conditions.
pub fn group(place: Place, needs: &'static [Need], tests: &[(&'static str, Test)]) -> Vec<Case> {
    tests.iter().map(|&(name, test)| Case { name, place, needs, test }).collect()
}

impl Case {
    /// Why the test cannot run here.
    pub fn skipped(&self, here: Place) -> Option<String> {
        self.place.missing(here).or_else(|| self.needs.iter().find_map(|need| need.missing()))
    }

    /// Runs the test and says what is wrong.
    pub fn run(&self, runtime: &Runtime, peers: &Peers) -> Result<(), String> {
        let known = peers.reason(self.name);
        expect_failure(known.is_some());
        match (caught(|| (self.test)(runtime)).err(), known) {
            (None, None) | (Some(_), Some(_)) => Ok(()),
            (None, Some(reason)) if reason.starts_with("sometimes") => Ok(()),
            (Some(failure), None) => Err(failure),
            (None, Some(reason)) => Err(format!("passes now, remove it from {}: {reason}", peers.file)),
        }
    }
}

thread_local! {
    static PLACE_OF_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics of tests from being printed as they happen; they are part of the result.
pub fn collect_panics() {
    set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PLACE_OF_PANIC.with(|slot| *slot.borrow_mut() = place);
    }));
}

/// Carries out a part of a test that may panic, and says with what.
pub fn caught(part: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(part)).map_err(|payload| told(&*payload))
}

fn told(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    let place = PLACE_OF_PANIC.with(|slot| slot.borrow().clone());
    format!("{place}: {}", text.unwrap_or("panic"))
}

/// The tests that the runtime under test is known to fail, with the reason of each. A reason that
/// begins with `sometimes` allows the test to pass as well.
#[derive(Debug)]
pub struct Peers {
    file: &'static str,
    reasons: BTreeMap<&'static str, &'static str>,
}

impl Peers {
    /// The list for this runtime; empty for ours.
    pub fn of(name: Name) -> Peers {
        Peers::read(match name {
            Name::Ours => ("", ""),
            Name::Naive => ("peers/naive.txt", include_str!("../peers/naive.txt")),
            Name::Runc => ("peers/runc.txt", include_str!("../peers/runc.txt")),
            Name::Crun => ("peers/crun.txt", include_str!("../peers/crun.txt")),
        })
    }

    /// The list for this runtime behind the engines.
    pub fn behind_engines(name: Name) -> Peers {
        Peers::read(match name {
            Name::Runc => ("peers/engines.txt", include_str!("../peers/engines.txt")),
            _ => ("", ""),
        })
    }

    fn read((file, text): (&'static str, &'static str)) -> Peers {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let reasons = lines.map(|line| line.split_once(char::is_whitespace).unwrap_or((line, ""))).collect();
        Peers { file, reasons }
    }

    /// Why this test is known to fail.
    pub fn reason(&self, name: &str) -> Option<&'static str> {
        self.reasons.get(name).map(|reason| reason.trim())
    }

    /// What is wrong with the list itself: names without a test, entries without a reason.
    pub fn mistakes(&self, cases: &[Case]) -> Vec<String> {
        let unknown = |name: &str| !cases.iter().any(|case| case.name == name);
        let mut mistakes = Vec::new();
        for (name, reason) in &self.reasons {
            if unknown(name) {
                mistakes.push(format!("{}: no test {name}", self.file));
            }
            if reason.trim().is_empty() {
                mistakes.push(format!("{}: no reason for {name}", self.file));
            }
        }
        mistakes
    }
}

/// What is wrong with the names of the tests: every one is unique and begins with a row.
pub fn mistakes(cases: &[Case]) -> Vec<String> {
    let mut seen = BTreeMap::new();
    let mut mistakes = Vec::new();
    for case in cases {
        if seen.insert(case.name, ()).is_some() {
            mistakes.push(format!("two tests are called {}", case.name));
        }
        if !begins_with_row(case.name) {
            mistakes.push(format!("{} does not begin with a row", case.name));
        }
    }
    mistakes
}

fn begins_with_row(name: &str) -> bool {
    let families = ["gen", "bnd", "rt", "lnx", "cfg", "feat", "row", "peer", "sec", "cve", "decision", "point", "lib"];
    let mut words = name.split('_');
    let family = words.next().is_some_and(|word| families.contains(&word));
    family && words.next().is_some_and(|word| word.parse::<u32>().is_ok())
}
