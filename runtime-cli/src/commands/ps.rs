//! `ps ID`: the processes of a container.

#![forbid(unsafe_code)]

use std::process::{Command, Stdio};

use super::{Context, Result, print};
use crate::args::{Format, PsArgs};
use crate::phrases::Failure;
use crate::root;

/// Prints the numbers of the container's processes, or what the host's `ps` says about them.
pub fn ps(args: &PsArgs, context: &Context) -> Result {
    let pids = root::container(context.globals.root.as_deref(), &args.id)?.pids()?;
    let text = match args.format {
        Format::Json => json(&pids),
        Format::Table => rows_of(&table(&args.words)?, &pids)?,
    };
    print(&text);
    Ok(())
}

/// An array on one line: `go-runc` reads nothing else.
fn json(pids: &[i32]) -> String {
    let numbers: Vec<String> = pids.iter().map(ToString::to_string).collect();
    format!("[{}]\n", numbers.join(","))
}

/// What the host's `ps` prints about all processes.
fn table(words: &[String]) -> Result<String> {
    let mut command = Command::new("ps");
    if words.is_empty() {
        command.arg("-ef");
    }
    let output = command.args(words).stdin(Stdio::null()).output();
    // The error's own text would be taken for one about a container's program.
    let output = output.map_err(|error| Failure::new(format!("run ps: {}", error.kind())))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("ps: {}: {}", output.status, complaint.trim_end())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The head of the table, and the rows of these processes.
fn rows_of(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|title| title == "PID");
    let column = column.ok_or_else(|| Failure::new("couldn't find PID field in ps output"))?;
    let mut text = format!("{head}\n");
    for line in lines.filter(|line| !line.is_empty()) {
        let word = line.split_whitespace().nth(column).unwrap_or_default();
        let pid: i32 = word.parse().map_err(|_| Failure::new(format!("unable to parse pid {word:?} in ps output")))?;
        if pids.contains(&pid) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_one_array() {
        assert_eq!((json(&[]), json(&[7]), json(&[1, 22])), ("[]\n".into(), "[7]\n".into(), "[1,22]\n".into()));
    }

    #[test]
    fn rows_of_other_processes_are_left_out() {
        let table = "UID          PID    PPID CMD\nroot           1       0 init a b\nroot          12       1 12 1\n\nroot          21      12 x\n";
        assert_eq!(
            rows_of(table, &[12, 1]),
            Ok("UID          PID    PPID CMD\nroot           1       0 init a b\nroot          12       1 12 1\n"
                .into())
        );
        assert_eq!(rows_of("  PID COMMAND\n    1 init", &[]), Ok("  PID COMMAND\n".into()));
    }

    #[test]
    fn a_table_needs_numbers() {
        for table in ["", "UID CMD\nroot x\n", "COMMAND\n"] {
            assert_eq!(rows_of(table, &[1]).unwrap_err().to_string(), "couldn't find PID field in ps output");
        }
        let error = rows_of("COMMAND PID\nnpm run 7\n", &[7]).unwrap_err().to_string();
        assert_eq!(error, "unable to parse pid \"run\" in ps output");
    }

    #[test]
    fn complaints_of_ps_are_passed_on() {
        let error = table(&["--no-such-option".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("ps: exit status: ") && error.contains("option"), "{error}");
        assert!(table(&[]).unwrap().contains("PID"));
    }
}
