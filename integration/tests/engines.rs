//! Runs every test in `engines/`: containerd, Docker and Podman with the binary named by `RUNTIME`.
//!
//! hack/engines makes the machine for it: `PLACE=engines`. What Debian's runc fails is in `peers/engines.txt`.
#![forbid(unsafe_code)]

#[macro_use(areas, cases)]
extern crate integration;

use integration::case::Peers;
use integration::{deadline, harness};
use std::process::ExitCode;

/// Tests that are the same with Docker and with Podman: the name with each, and the test.
macro_rules! with_both {
    ($($docker:ident, $podman:ident: $test:ident;)+) => {
        $(
            fn $docker(_: &integration::Runtime) {
                $test(integration::Engine::Docker);
            }

            fn $podman(_: &integration::Runtime) {
                $test(integration::Engine::Podman);
            }
        )+
    };
}

areas! { engines:
    containerd,
    docker,
    errors,
    isolation,
    life,
    podman,
    rootless,
    streams,
}

fn main() -> ExitCode {
    // Many programs stand behind each call, in a slow machine. What is waited for in a test begins with such calls, too.
    deadline::multiply(4);
    harness::run(all(), Peers::behind_engines)
}
