//! Runs every test in `containers/` against the binary named by `RUNTIME`.
//!
//! `PLACE` says where: `native`, `uml` or `full`; without it the cgroup controllers decide.
//! `KEEP=1` keeps the tests' folders. All other options are those of libtest.
#![forbid(unsafe_code)]

#[macro_use(areas, cases)]
extern crate integration;

use integration::case::Peers;
use integration::{container, harness};
use std::process::ExitCode;

// One line per area.
areas! { containers:
    annotations,
    bad_input,
    capabilities,
    cgroup_cpu,
    cgroup_io,
    cgroup_memory,
    cgroup_path,
    cgroup_unified,
    command_line,
    contention,
    config_errors,
    copy_up,
    crash,
    cves,
    damage,
    deletion,
    descriptors,
    device_rules,
    devices,
    engine_configs,
    embed,
    environment,
    event_trace,
    exec,
    features,
    features_hold,
    foreground,
    hook_places,
    hooks,
    id_mapped_mounts,
    identity,
    init_image,
    intel_rdt,
    labels,
    leaks,
    lifecycle,
    logs,
    mount_links,
    mount_options,
    mount_targets,
    namespaces,
    net_devices,
    operations,
    passing,
    paths,
    program,
    ps,
    races,
    rootfs,
    scheduling,
    seccomp,
    seccomp_listener,
    signals,
    state,
    sysctl,
    terminal,
    terminal_relay,
    terminal_security,
    time_namespace,
    trace,
    user_namespace,
    values,
}

fn main() -> ExitCode {
    if let Some(done) = containers::leaks::embedder().or_else(containers::embed::caller) {
        return done;
    }
    nix::sys::prctl::set_child_subreaper(true).expect("become the reaper of the containers");
    let code = harness::run(all(), Peers::of);
    let _ = std::fs::remove_dir_all(container::all());
    code
}
