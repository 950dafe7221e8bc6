//! Tables of tests, and running them as libtest would.

use crate::case::{Case, Peers, collect_panics, mistakes};
use crate::place::Place;
use crate::runtime::{Name, Runtime};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;
use std::sync::Arc;

/// Registers tests by name, grouped by the place and the needs they share:
/// `cases! { Any: rt_1_a, rt_2_b; Any [TimeNs, Ip]: lnx_3_c; Full: lnx_4_d; }`
#[macro_export]
macro_rules! cases {
    ($($place:ident $([$($need:ident),+])?: $($test:ident),+ $(,)?;)+) => {
        /// The tests of this area.
        pub fn cases() -> Vec<$crate::Case> {
            [$($crate::group(
                $crate::Place::$place,
                &[$($($crate::Need::$need),+)?],
                &[$((stringify!($test), $test as $crate::Test)),+],
            )),+]
            .concat()
        }
    };
}

/// The modules in a folder, each of which has a [`cases!`] table: `areas! { containers: annotations, exec }`
#[macro_export]
macro_rules! areas {
    ($folder:ident: $($area:ident),+ $(,)?) => {
        mod $folder {
            $(pub mod $area;)+
        }

        fn all() -> Vec<$crate::Case> {
            [$($folder::$area::cases()),+].concat()
        }
    };
}

/// Runs `cases` against the binary named by `RUNTIME`, with the options of libtest on the command line. `peers` has
/// what each peer is known to fail.
pub fn run(cases: Vec<Case>, peers: fn(Name) -> Peers) -> ExitCode {
    let arguments = Arguments::from_args();
    let (runtime, here) = match Runtime::from_environment().and_then(|runtime| Ok((runtime, Place::here()?))) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    collect_panics();
    let peers = peers(runtime.name);
    libtest_mimic::run(&arguments, trials(cases, &Arc::new(runtime), here, &Arc::new(peers))).exit_code()
}

fn trials(cases: Vec<Case>, runtime: &Arc<Runtime>, here: Place, peers: &Arc<Peers>) -> Vec<Trial> {
    let wrong = [mistakes(&cases), peers.mistakes(&cases)].concat();
    let mut trials: Vec<Trial> = cases.into_iter().map(|case| trial(case, runtime, here, peers)).collect();
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
