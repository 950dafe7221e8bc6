//! Where memory files may not be executed, and an init that is installed.

use integration::bundle::{copy_program, write_program};
use integration::{Call, Container, Output, Runtime};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

cases! {
    Any [Unshare, MemfdNoexec]:
        sec_3_memory_files_that_may_not_be_executed,
        sec_3_installed_init_needs_no_memory_file,
    ;
    Any:
        sec_3_installed_init_is_the_one_of_this_build,
        sec_3_installed_init_is_not_open_to_others,
        sec_3_installed_init_cannot_be_written_from_a_container,
    ;
}

/// Where memory files are executable to nobody: a setting of the pid namespace (`vm.memfd_noexec`).
fn forbidden(call: Call) -> Output {
    let script = "echo 2 >/proc/sys/vm/memfd_noexec && \"$@\"";
    call.wrapped(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh"]).run()
}

/// A container whose own folder has the init of the runtime under test.
fn with_installed_init(container: &Container) -> PathBuf {
    container.bare_call().args(["generate", container.folder().join("share").to_str().unwrap()]).run().ok();
    container.folder().join("share/init")
}

/// `--init FILE COMMAND ID…`
fn with_init(container: &Container, init: &Path, words: &[&str]) -> Call {
    let call = container.bare_call().arg("--root").arg(&container.root).arg("--init").arg(init).args(words);
    if words == ["run"] { call.arg("--bundle").arg(container.bundle.path()).arg(&container.id) } else { call }
}

fn sec_3_memory_files_that_may_not_be_executed(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo done");
    let output = forbidden(container.run_call(&[])).fails_with("sysctl vm.memfd_noexec");
    assert!(output.stderr.contains("memfd_create: EACCES") && output.stderr.contains("--init FILE"), "{output:?}");
    container.state_call().fails_with("does not exist");
    assert!(!container.cgroup().exists());
}

fn sec_3_installed_init_needs_no_memory_file(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "echo done; exit 3");
    // A hook of init's own, which gets the state from it.
    let hook = serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", "grep -q ociVersion"]});
    container.bundle.push("/hooks/createContainer", hook);
    let init = with_installed_init(&container);
    let output = forbidden(with_init(&container, &init, &["run"])).exits(3);
    assert_eq!(output.stdout, "done\n");
    container.bundle.args(["/bin/sleep", "1000"]);
    container.run_detached().ok();
    let executed = with_init(&container, &init, &["exec", &container.id, "/bin/echo", "hello"]);
    assert_eq!(executed.run().ok().stdout, "hello\n");
}

fn sec_3_installed_init_is_the_one_of_this_build(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo done");
    let init = with_installed_init(&container);
    let mut foreign = fs::read(&init).unwrap();
    let build = build_of(&foreign, &container);
    foreign[build] ^= 1;
    write_program(&init, foreign);
    with_init(&container, &init, &["run"]).run().fails_with("it is not the init program of this build");
    copy_program("/bin/true", &init);
    with_init(&container, &init, &["run"]).run().fails_with("it is not the init program of this build");
    write_program(&init, "#!/bin/nothing\n");
    with_init(&container, &init, &["run"]).run().fails_with("share/init: execveat: ENOENT");
    write_program(&init, "no program");
    with_init(&container, &init, &["run"]).run().fails_with("share/init: execveat: ENOEXEC");
    container.state_call().fails_with("does not exist");
    assert!(!container.cgroup().exists());
}

/// Where the number of the build is in the program: the runtime says it when it refuses another program.
fn build_of(program: &[u8], container: &Container) -> usize {
    let other = container.folder().join("true");
    copy_program("/bin/true", &other);
    let refusal = with_init(container, &other, &["run"]).run();
    let (_, rest) = refusal.stderr.split_once("of this build (").expect("the number of the build");
    let build = u64::from_str_radix(&rest[..16], 16).expect("a number").to_le_bytes();
    program.windows(8).position(|bytes| bytes == build).expect("the number of the build in the program")
}

fn sec_3_installed_init_is_not_open_to_others(runtime: &Runtime) {
    let container = Container::sh(runtime, "echo done");
    let init = with_installed_init(&container);
    fs::set_permissions(&init, fs::Permissions::from_mode(0o757)).unwrap();
    with_init(&container, &init, &["run"]).run().fails_with("others than its owner may write to it");
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    with_init(&container, &init, &["run"]).run().ok();
}

/// The file behind `path`, kept as a container would keep it: a running program cannot be written to, but one that has ended.
fn kept(path: &Path) -> File {
    File::options().read(true).custom_flags(OFlag::O_PATH.bits()).open(path).unwrap()
}

fn write_to(kept: &File) -> io::Result<File> {
    File::options().write(true).open(format!("/proc/self/fd/{}", kept.as_raw_fd()))
}

fn sec_3_installed_init_cannot_be_written_from_a_container(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    let init = with_installed_init(&container);
    let bundle = container.bundle.path().to_str().unwrap();
    container.record(with_init(&container, &init, &["create", "--bundle", bundle, &container.id]).run()).ok();
    let executed = kept(&container.process().path("exe"));
    let (found, installed) = (executed.metadata().unwrap(), init.metadata().unwrap());
    assert_eq!((found.dev(), found.ino()), (installed.dev(), installed.ino()), "it is executed from the file");
    container.delete_force().ok();
    // The control: the way to the file itself is open.
    write_to(&kept(&init)).unwrap();
    let refused = write_to(&executed).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::EROFS as i32), "{refused}");
}
