//! What the size of a caller costs: the library's launches from a process with much memory.
//!
//! Each size is a process of its own, this program again, because memory that was touched once stays mapped.

use crate::cases::median;
use crate::subjects::{Name, bundle, folder};
use crate::table::{Figure, Figures};
use runtime_core::{CreateOptions, Host, Plan, Stdio, Store};
use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

const SMALL: &str = "2";
const LARGE: &str = "2048";

/// The time of a launch from a caller of 2 GiB, over that from one of 2 MiB.
pub fn ratio(rounds: usize) -> Result<Figures, String> {
    let bundle = bundle("library", &["/bin/true"]);
    let measured = |mebibytes: &str| -> Result<f64, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut call = Command::new(program);
        call.env("BENCH_LIBRARY", mebibytes).env("BENCH_ROUNDS", rounds.to_string());
        call.env("BENCH_BUNDLE", bundle.path()).env("BENCH_STORE", folder().join("library-state"));
        let output = call.output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim().parse().map_err(|_| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    };
    // Small, large, small: what drifts meanwhile shows between the outer two and is averaged out.
    let (first, large, last) = (measured(SMALL)?, measured(LARGE)?, measured(SMALL)?);
    Ok(vec![(Name::Ours, Figure::Ratio(large / ((first + last) / 2.0)))])
}

/// In the process of its own: touches so many MiB and prints the median time of a create in µs.
pub fn child(mebibytes: &OsStr) -> Result<(), String> {
    let number =
        |word: Option<&str>| word.and_then(|word| word.parse::<usize>().ok()).ok_or("not a number".to_string());
    let variable = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let memory = vec![1_u8; number(mebibytes.to_str())? << 20];
    let times =
        launches(&variable("BENCH_STORE")?, &variable("BENCH_BUNDLE")?, number(Some(&variable("BENCH_ROUNDS")?))?)
            .map_err(|error| error.to_string())?;
    println!("{}", median(times).as_micros());
    drop(std::hint::black_box(memory));
    Ok(())
}

fn launches(store: &str, bundle: &str, rounds: usize) -> runtime_core::Result<Vec<Duration>> {
    let store = Store::open(store)?;
    let bundle = runtime_core::Bundle::open(bundle)?;
    let host = Host::probe()?;
    (0..rounds.max(3))
        .map(|round| {
            let id = format!("library-{round}");
            let start = Instant::now();
            let plan = Plan::create(&bundle, &host, &CreateOptions::new(&id))?;
            let container = store.create(&id, &plan, Stdio::inherit())?;
            let time = start.elapsed();
            container.delete(true)?;
            Ok(time)
        })
        .collect()
}
