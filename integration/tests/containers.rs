//! Runs every test in `containers/` against the binary named by `RUNTIME`.
//!
//! `PLACE` says where: `native`, `uml` or `full`; without it the cgroup controllers decide.
//! `KEEP=1` keeps the tests' folders. All other options are those of libtest.
#![forbid(unsafe_code)]

use integration::case::{Peers, collect_panics, mistakes};
use integration::{Case, Place, Runtime, container};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;
use std::sync::Arc;

/// Registers tests by name, grouped by the place and the needs they share:
/// `cases! { Any: rt_1_a, rt_2_b; Any [TimeNs, Ip]: lnx_3_c; Full: lnx_4_d; }`
macro_rules! cases {
    ($($place:ident $([$($need:ident),+])?: $($test:ident),+ $(,)?;)+) => {
        /// The tests of this area.
        pub fn cases() -> Vec<integration::Case> {
            [$(integration::group(
                integration::Place::$place,
                &[$($(integration::Need::$need),+)?],
                &[$((stringify!($test), $test as integration::Test)),+],
            )),+]
            .concat()
        }
    };
}

/// The modules in `containers/`, each of which has a `cases!` table.
macro_rules! areas {
    ($($area:ident),+ $(,)?) => {
        mod containers {
            $(pub mod $area;)+
        }

        fn all() -> Vec<Case> {
            [$(containers::$area::cases()),+].concat()
        }
    };
}

// One line per area.
areas! {
    annotations,
    bad_input,
    capabilities,
    cgroup_cpu,
    cgroup_io,
    cgroup_memory,
    cgroup_path,
    cgroup_unified,
    command_line,
    config_errors,
    copy_up,
    cves,
    damage,
    deletion,
    descriptors,
    device_rules,
    devices,
    engine_configs,
    environment,
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
    if let Some(done) = containers::leaks::embedder() {
        return done;
    }
    let arguments = Arguments::from_args();
    let (runtime, here) = match Runtime::from_environment().and_then(|runtime| Ok((runtime, Place::here()?))) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    nix::sys::prctl::set_child_subreaper(true).expect("become the reaper of the containers");
    collect_panics();
    let runtime = Arc::new(runtime);
    let conclusion = libtest_mimic::run(&arguments, trials(&runtime, here));
    let _ = std::fs::remove_dir_all(container::all());
    conclusion.exit_code()
}

fn trials(runtime: &Arc<Runtime>, here: Place) -> Vec<Trial> {
    let cases = all();
    let peers = Arc::new(Peers::of(runtime.name));
    let wrong = [mistakes(&cases), peers.mistakes(&cases)].concat();
    let mut trials: Vec<Trial> = cases.into_iter().map(|case| trial(case, runtime, here, &peers)).collect();
    trials.push(Trial::test("names_and_lists_are_right", move || {
        if wrong.is_empty() { Ok(()) } else { Err(Failed::from(wrong.join("\n"))) }
    }));
    trials
}

fn trial(case: Case, runtime: &Arc<Runtime>, here: Place, peers: &Arc<Peers>) -> Trial {
    let skipped = case.skipped(here);
    let listed = peers.reason(case.name);
    let (runtime, peers) = (runtime.clone(), peers.clone());
    let trial = Trial::test(case.name, move || case.run(&runtime, &peers).map_err(Failed::from));
    match (skipped, listed) {
        (Some(reason), _) => trial.with_kind(format!("skipped: {reason}")).with_ignored_flag(true),
        (None, Some(reason)) => trial.with_kind(format!("must fail: {reason}")),
        (None, None) => trial,
    }
}
