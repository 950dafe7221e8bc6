//! `list`: the containers of one root.

#![forbid(unsafe_code)]

use std::fmt::Write;

use nix::errno::Errno;
use runtime_core::State;

use super::{Context, Result, print};
use crate::args::{Format, ListArgs};
use crate::phrases::Failure;
use crate::root;

/// Prints the containers. One whose record cannot be read is a warning and does not hide the others.
pub fn list(args: &ListArgs, context: &Context) -> Result {
    let root = context.globals.root.as_deref();
    let listed = match (root::open(root)?, root) {
        (Some(store), _) => store.list()?,
        // One that was named and is not there is a mistake; the default one is made by the first container.
        (None, Some(root)) => return Err(Failure::file("list", root, &Errno::ENOENT.into())),
        (None, None) => Vec::new(),
    };
    let mut states = Vec::new();
    for (id, state) in listed {
        match state {
            Ok(state) => states.push(state),
            Err(error) => context.log.warning(&format!("load container {id}: {error}")),
        }
    }
    if args.quiet {
        print(&states.iter().map(|state| format!("{}\n", state.id)).collect::<String>());
        return Ok(());
    }
    match args.format {
        Format::Table => print(&table(states.iter().map(row))),
        Format::Json => print(&(json(&states)? + "\n")),
    }
    Ok(())
}

/// An array on one line, as runc prints it.
fn json(states: &[State]) -> Result<String> {
    serde_json::to_string(states).map_err(|error| Failure::new(format!("write JSON: {error}")))
}

type Row = [String; 6];

fn row(state: &State) -> Row {
    [
        state.id.clone(),
        state.pid.to_string(),
        state.status.to_string(),
        state.bundle.display().to_string(),
        state.created.clone(),
        state.owner.clone(),
    ]
}

/// The table as runc prints it: columns at least 12 wide, with 3 blanks between them, the last one as wide as it is.
fn table(rows: impl Iterator<Item = Row>) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows: Vec<Row> = std::iter::once(head).chain(rows).collect();
    let mut text = String::new();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..5).map(width).collect();
    for [cells @ .., last] in &rows {
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(text, "{cell:width$}");
        }
        text.push_str(last);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_runcs() {
        assert_eq!(table(std::iter::empty()), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
        let row = ["web", "4242", "running", "/run/a/long/bundle", "2026-11-21T02:15:00Z", "root"].map(str::to_owned);
        assert_eq!(
            table(std::iter::once(row)),
            "ID          PID         STATUS      BUNDLE               CREATED                OWNER\n\
             web         4242        running     /run/a/long/bundle   2026-11-21T02:15:00Z   root\n"
        );
    }
}
