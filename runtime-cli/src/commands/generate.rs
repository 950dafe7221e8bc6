//! `generate DIR`, hidden: man pages and shell completions, made from the definitions of the arguments.

#![forbid(unsafe_code)]

use clap_complete::{Shell, generate_to};

use super::Result;
use crate::args::GenerateArgs;
use crate::help;
use crate::phrases::Failure;

/// Writes `runtime.1`, one page per command, and the completions of four shells to the directory.
pub fn generate(args: &GenerateArgs) -> Result {
    let failed = |error: std::io::Error| Failure::file("write to", &args.directory, &error);
    std::fs::create_dir_all(&args.directory).map_err(failed)?;
    clap_mangen::generate_to(help::definitions("runtime"), &args.directory).map_err(failed)?;
    for shell in [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut help::definitions("runtime"), "runtime", &args.directory).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pages_and_completions_are_written() {
        let dir = tempfile::tempdir().unwrap();
        generate(&GenerateArgs { directory: dir.path().join("new") }).unwrap();
        for name in [
            "runtime.1",
            "runtime-create.1",
            "runtime-kill.1",
            "runtime.bash",
            "runtime.elv",
            "runtime.fish",
            "_runtime",
        ] {
            assert!(dir.path().join("new").join(name).is_file(), "{name}");
        }
    }
}
