//! Where init's bytes come from.

#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::unistd::geteuid;
use runtime_init::sys::fd::open as flag;
use runtime_init::sys::mount::{self, MountAttr};
use runtime_init::sys::owned::{clone_tree, open};
use runtime_init::sys::spawn::Image;
use runtime_init::{Errno as RawErrno, Fault};

use crate::error::{Error, Need, Result, StepError};

/// The program that carries out init's column; `build.rs` made it.
const INIT: &[u8] = include_bytes!(env!("RUNTIME_INIT_IMAGE"));

/// Where the bytes of init come from, the small program that becomes the container's.
///
/// By default every launch makes a sealed memory file of its own with the program that is embedded in this library: nothing
/// has to be installed, and nothing that a container does to its init can reach the next one (CVE-2019-5736). Where the
/// execution of memory files is forbidden – the sysctl `vm.memfd_noexec` is 2, or a policy such as IPE, IMA appraisal or
/// fapolicyd – [`InitImage::open`] takes an installed copy, which can be signed or labelled like any other program:
///
/// ```no_run
/// # use runtime_core::{InitImage, Result, Store};
/// # fn example() -> Result<()> {
/// // When the embedding program is packaged:
/// # #[allow(clippy::disallowed_methods)]
/// std::fs::write("/usr/libexec/example-init", InitImage::bytes()).expect("write the init program"); // mode 0755, root's
/// // When it runs:
/// let store = Store::open("/run/example")?.with_init(InitImage::open("/usr/libexec/example-init")?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct InitImage(Option<Arc<Installed>>);

#[derive(Debug)]
struct Installed {
    file: File,
    path: PathBuf,
}

impl InitImage {
    /// A memory file of its own for every launch, the default.
    #[must_use]
    pub const fn memory() -> Self {
        Self(None)
    }

    /// The installed copy at `path`. It is opened now, and executed by its descriptor ever after.
    ///
    /// That it is the init of this build is found out when it is started; another one refuses its work and is named by
    /// [`Need::Init`].
    ///
    /// Whoever can write to it has the caller's rights, so it has to be root's and closed to the writing of others. What runs
    /// in a container as root of the host could still come upon it (CVE-2019-5736); for a caller with CAP_SYS_ADMIN it is
    /// executed by way of a read-only mount of its own, which is attached nowhere.
    ///
    /// # Errors
    /// [`Error::Step`] if it cannot be opened or mounted; [`Need::Init`] for what is no regular file, is not root's, or may be
    /// written to by others.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let failed =
            |error: std::io::Error| StepError::io(None, format!("open init {}", path.display()), "open", &error);
        let file = File::options().read(true).custom_flags(O_NONBLOCK).open(&path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        let wrong = |problem: &str| Err(Need::Init { path: path.clone(), problem: problem.to_owned() }.into());
        if !found.is_file() {
            return wrong("it is no regular file");
        }
        if found.uid() != 0 {
            return wrong("it does not belong to root");
        }
        if found.mode() & 0o022 != 0 {
            return wrong("others than its owner may write to it: chmod go-w");
        }
        let file = read_only(file).map_err(|fault| super::refused(format!("mount init {}", path.display()), fault))?;
        Ok(Self(Some(Arc::new(Installed { file, path }))))
    }

    /// The program itself, to be installed: a static executable for this architecture, the same for every build of the same
    /// sources with the same compiler.
    #[must_use]
    pub const fn bytes() -> &'static [u8] {
        INIT
    }

    /// For the launch.
    pub(super) fn image(&self) -> Image<'_> {
        match &self.0 {
            None => Image::Memory(INIT),
            Some(installed) => Image::File(installed.file.as_fd()),
        }
    }

    /// Why init could not be executed.
    pub(super) fn not_started(&self, fault: Fault) -> Error {
        let call = runtime_init::sys::name(fault.call).unwrap_or("system call");
        let denied = fault.is(RawErrno::ACCES) || fault.is(RawErrno::PERM);
        let errno = Errno::from_raw(fault.errno());
        match &self.0 {
            Some(installed) if call == "execveat" => installed.refused(format!("{call}: {errno:?}")),
            None if denied && matches!(call, "memfd_create" | "execveat") => {
                Need::MemfdExec { call, errno: errno as i32 }.into()
            }
            _ => super::refused("start init", fault).into(),
        }
    }

    /// The error for an init that ended before its first step, where that is the fault of the file.
    pub(super) fn not_ours(&self) -> Option<Error> {
        let problem = format!(
            "it is not the init program of this build ({:016x}): install that, or leave the file out",
            runtime_init::BUILD
        );
        self.0.as_ref().map(|installed| installed.refused(problem))
    }
}

/// The same file by way of a mount that is read-only. To a user who may not mount, a file of root's is read-only anyway.
fn read_only(file: File) -> std::result::Result<File, Fault> {
    let tree = match clone_tree(file.as_fd(), false) {
        Err(fault) if fault.is(RawErrno::PERM) && !geteuid().is_root() => return Ok(file),
        other => other?,
    };
    mount::set_attr(tree.as_fd().into(), false, &MountAttr { set: mount::attr::RDONLY, ..MountAttr::default() })?;
    let path = CString::new(format!("/proc/thread-self/fd/{}", tree.as_raw_fd())).unwrap_or_default();
    open(&path, flag::RDONLY).map(File::from)
}

impl Installed {
    fn refused(&self, problem: String) -> Error {
        Need::Init { path: self.path.clone(), problem }.into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn problem(path: &Path) -> String {
        InitImage::open(path).unwrap_err().to_string()
    }

    #[test]
    fn an_installed_init_is_a_file_that_others_cannot_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("init");
        assert!(problem(&path).ends_with("open: ENOENT (no such file or directory)"));
        assert!(problem(dir.path()).ends_with("it is no regular file"));
        std::fs::write(&path, InitImage::bytes()).unwrap();
        let _ = std::os::unix::fs::chown(&path, Some(65534), None);
        assert!(problem(&path).ends_with("it does not belong to root"));
        if !geteuid().is_root() {
            return;
        }
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        for (mode, fine) in [(0o755, true), (0o500, true), (0o775, false), (0o757, false)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(InitImage::open(&path).is_ok(), fine, "{mode:o}");
        }
    }
}
