//! Start-up of containers, measured: the kernel's floor, this runtime, crun and runc in one run.
//!
//! `hack/bench` builds what is needed and calls this in a place where containers work. Every case goes
//! round the subjects again and again, so that a slow moment of the machine meets all of them; a
//! figure is a median, and what is shown is its ratio to the floor of `run` in the same case.

mod cases;
mod library;
mod memory;
mod plot;
mod subjects;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use subjects::Subject;
use table::Table;

/// What the command line asks for.
struct Options {
    /// How many rounds a case has.
    rounds: usize,
    /// Only cases whose name contains this.
    filter: String,
    /// Whether figures above their limits are an error.
    check: bool,
    /// Where the table and the plot are written.
    output: PathBuf,
    /// Only the smallest memory limits, which need a memory controller.
    memory: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        rounds: 40,
        filter: String::new(),
        check: false,
        output: PathBuf::from("target/bench"),
        memory: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--check" => options.check = true,
            "--memory" => options.memory = true,
            "--rounds" => {
                options.rounds = words.next().and_then(|n| n.parse().ok()).ok_or("--rounds wants a number")?
            }
            "--output" => options.output = words.next().ok_or("--output wants a folder")?.into(),
            "--bench" => {} // cargo's own word
            word if word.starts_with('-') => return Err(format!("unknown option {word}")),
            word => options.filter = word.to_string(),
        }
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<Table, String> {
    let subjects = Subject::all()?;
    let mut table = Table::new(&subjects, &options.filter);
    if options.memory {
        table.measure("smallest memory limit", |_| memory::smallest_limits(&subjects))?;
        return Ok(table);
    }
    cases::measure(&mut table, &subjects, options.rounds)?;
    table.measure("caller of 2 GiB / of 2 MiB", |_| library::ratio(options.rounds))?;
    table.measure("peak memory", |_| memory::peaks(&subjects))?;
    Ok(table)
}

fn run() -> Result<bool, String> {
    if let Some(mebibytes) = std::env::var_os("BENCH_LIBRARY") {
        library::child(&mebibytes)?;
        return Ok(true);
    }
    let options = options()?;
    let table = measure(&options)?;
    print!("{table}");
    std::fs::create_dir_all(&options.output).map_err(|error| format!("{}: {error}", options.output.display()))?;
    let write = |name: &str, text: String| {
        let path = options.output.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    let name = if options.memory { "memory" } else { "startup" };
    write(&format!("{name}.txt"), table.to_string())?;
    if !options.memory {
        write("startup.svg", plot::svg(&table))?;
    }
    let failures = if options.check { table.above_their_limits() } else { Vec::new() };
    for failure in &failures {
        eprintln!("bench: {failure}");
    }
    Ok(failures.is_empty())
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}
