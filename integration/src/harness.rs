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
/// what each peer is known to fail. `PARTITION=2/3` runs every third test from the second on, as in nextest.
pub fn run(cases: Vec<Case>, peers: fn(Name) -> Peers) -> ExitCode {
    let arguments = Arguments::from_args();
    let found = || Ok::<_, String>((Runtime::from_environment()?, Place::here()?, partition()?));
    let (runtime, here, (part, parts)) = match found() {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    collect_panics();
    let peers = peers(runtime.name);
    let trials = trials(cases, &Arc::new(runtime), here, &Arc::new(peers));
    libtest_mimic::run(&arguments, trials.into_iter().skip(part - 1).step_by(parts).collect()).exit_code()
}

/// Which part of the tests is to run, and of how many.
fn partition() -> Result<(usize, usize), String> {
    let Some(word) = std::env::var_os("PARTITION") else { return Ok((1, 1)) };
    let numbers = word.to_str().and_then(|word| {
        let (part, parts) = word.split_once('/')?;
        Some((part.parse().ok()?, parts.parse().ok()?))
    });
    match numbers {
        Some((part, parts)) if 0 < part && part <= parts => Ok((part, parts)),
        _ => Err(format!("PARTITION={}: expected a part and the number of parts, such as 1/2", word.display())),
    }
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
