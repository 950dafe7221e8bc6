//! `generate DIR`, hidden: what a package installs beside the program. Man pages and shell completions, made from the
//! definitions of the arguments, and the program of `--init`.

#![forbid(unsafe_code)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use clap_complete::{Shell, generate_to};
use runtime_core::InitImage;

use super::Result;
use crate::args::GenerateArgs;
use crate::help;
use crate::phrases::Failure;

/// Writes `runtime.1`, one page per command, the completions of four shells, and `init` to the directory.
pub fn generate(args: &GenerateArgs) -> Result {
    let failed = |error: std::io::Error| Failure::file("write to", &args.directory, &error);
    std::fs::create_dir_all(&args.directory).map_err(failed)?;
    clap_mangen::generate_to(help::definitions("runtime"), &args.directory).map_err(failed)?;
    for shell in [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut help::definitions("runtime"), "runtime", &args.directory).map_err(failed)?;
    }
    let init = args.directory.join("init");
    std::fs::write(&init, InitImage::bytes()).map_err(failed)?;
    std::fs::set_permissions(&init, Permissions::from_mode(0o755)).map_err(failed)?;
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
            "init",
        ] {
            assert!(dir.path().join("new").join(name).is_file(), "{name}");
        }
    }
}
