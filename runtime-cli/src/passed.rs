//! What the caller hands over beside the standard streams: the descriptors of `--preserve-fds` and of socket activation.

#![forbid(unsafe_code)]

use std::env::var;

use runtime_core::Stdio;

use crate::phrases::Failure;

/// Descriptors for the program, and what its environment says of them.
pub struct Passed {
    /// The standard streams and the others.
    pub stdio: Stdio,
    /// `LISTEN_FDS` and its like.
    pub environment: Vec<String>,
}

/// Takes `preserve` descriptors from 3 on. To be called before anything is opened.
pub fn take(preserve: u32) -> Result<Stdio, Failure> {
    Ok(Stdio::inherit().pass_open(preserve)?)
}

/// Takes the descriptors of socket activation (sd_listen_fds(3)) and `preserve` more behind them. The program's number is 1 in
/// its own pid namespace, as runc has it in every case.
pub fn take_with_sockets(preserve: u32) -> Result<Passed, Failure> {
    let sockets = sockets(std::process::id(), |name| var(name).ok());
    let stdio = take(sockets.saturating_add(preserve))?;
    let mut environment = Vec::new();
    if sockets > 0 {
        environment.extend([format!("LISTEN_FDS={sockets}"), "LISTEN_PID=1".to_owned()]);
        environment.extend(var("LISTEN_FDNAMES").ok().map(|names| format!("LISTEN_FDNAMES={names}")));
    }
    Ok(Passed { stdio, environment })
}

/// How many descriptors are meant for the process with that number. Others' variables may be in the environment.
fn sockets(own: u32, variable: impl Fn(&str) -> Option<String>) -> u32 {
    let number = |name| variable(name)?.parse::<u32>().ok();
    if number("LISTEN_PID") == Some(own) { number("LISTEN_FDS").unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_29_listen_fds_are_ours_if_listen_pid_is() {
        let of = |pid: &'static str, fds: &'static str| {
            sockets(7, move |name| {
                Some(if name == "LISTEN_PID" { pid } else { fds }.to_owned()).filter(|value| !value.is_empty())
            })
        };
        assert_eq!(of("7", "2"), 2);
        for (pid, fds) in [("8", "2"), ("", "2"), ("7", ""), ("7", "-1"), ("7", "x"), ("7", "0")] {
            assert_eq!(of(pid, fds), 0, "{pid} {fds}");
        }
    }
}
