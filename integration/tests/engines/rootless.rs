//! Podman without root: its containers are in a user namespace that it has made, and have no cgroup of their own.

use integration::container;
use integration::engine::{IMAGE, call, fresh_name};
use integration::{Call, Runtime};
use std::fs;
use std::path::PathBuf;
use std::sync::Once;

cases! {
    Engines:
        row_21_podman_without_root_keeps_state_in_its_own_folder,
        row_37_podman_without_root_gives_terminals,
        row_56_podman_without_root_missing_program_is_127,
        row_67_podman_without_root_builds,
        row_75_podman_without_root_cannot_pause,
        row_93_podman_without_root_runs,
        row_93_podman_without_root_limits_need_a_cgroup,
    ;
}

/// The user's, as hack/engines has made them.
const USER: [&str; 4] = ["--reuid=900", "--regid=900", "--init-groups", "podman"];
const HOME: &str = "/run/rootless";
const RUNTIME_DIR: &str = "/run/user/900";

fn podman(words: &[&str]) -> Call {
    static IMPORTED: Once = Once::new();
    IMPORTED.call_once(|| {
        as_user(&["import", "--quiet", "/run/image.tar", IMAGE]).run().ok();
    });
    as_user(words)
}

fn as_user(words: &[&str]) -> Call {
    let call = call("setpriv").args(USER).args(words).cwd(HOME).env("HOME", HOME).env("XDG_RUNTIME_DIR", RUNTIME_DIR);
    call.env("CONTAINERS_STORAGE_CONF", format!("{HOME}/storage.conf"))
}

fn run(options: &[&str], words: &[&str]) -> Call {
    podman(&["run", "--rm"]).args(options).arg(IMAGE).args(words)
}

/// The name of a container that sleeps; it is removed when dropped.
struct Sleeping(String);

impl Sleeping {
    fn start() -> Sleeping {
        let sleeping = Sleeping(fresh_name());
        podman(&["run", "--detach", "--name", &sleeping.0, IMAGE, "sleep", "1000"]).run().ok();
        sleeping
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        podman(&["rm", "--force", "--time=0", &self.0]).spawn().wait_quietly();
    }
}

fn row_93_podman_without_root_runs(_: &Runtime) {
    let script = "id -u; head -n 1 /proc/self/uid_map; echo >/new && echo >/dev/null && echo written";
    let output = run(&[], &["sh", "-c", script]).run().ok();
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "900", "1", "written"]);
    assert_eq!(run(&["--user=5"], &["id", "-u"]).run().ok().stdout, "5\n");
    assert_eq!(run(&["--userns=keep-id"], &["id", "-u"]).run().ok().stdout, "900\n");
    run(&["--read-only"], &["touch", "/a"]).run().exits(1);
}

fn row_56_podman_without_root_missing_program_is_127(_: &Runtime) {
    let output = run(&[], &["nothing-of-that-name"]).run().exits(127);
    assert!(output.stderr.contains("executable file not found in $PATH"), "{output}");
}

fn row_37_podman_without_root_gives_terminals(_: &Runtime) {
    assert_eq!(run(&["--tty"], &["tty"]).run().ok().stdout, "/dev/pts/0\r\n");
    let container = Sleeping::start();
    assert_eq!(podman(&["exec", "--tty", &container.0, "tty"]).run().ok().stdout, "/dev/pts/0\r\n");
    podman(&["exec", &container.0, "sh", "-c", "exit 7"]).run().exits(7);
}

fn row_21_podman_without_root_keeps_state_in_its_own_folder(runtime: &Runtime) {
    let container = Sleeping::start();
    let id = podman(&["inspect", "--format={{.Id}}", &container.0]).run().ok();
    let name = if runtime.is_runc() { "runc" } else { "runtime" };
    let folder: PathBuf = [RUNTIME_DIR, name, id.text()].iter().collect();
    assert!(folder.is_dir(), "{}", folder.display());
    drop(container);
    assert!(!folder.exists(), "{}", folder.display());
}

fn row_67_podman_without_root_builds(_: &Runtime) {
    let (folder, image) = (container::all().join(fresh_name()), fresh_name());
    fs::create_dir_all(&folder).expect("make a context");
    fs::write(folder.join("Containerfile"), format!("FROM {IMAGE}\nRUN echo built >/file\n")).expect("write Containerfile");
    podman(&["build", "--isolation=oci", "--network=none", "--tag", &image]).arg(&folder).run().ok();
    assert_eq!(podman(&["run", "--rm", &image, "cat", "/file"]).run().ok().stdout, "built\n");
}

fn row_75_podman_without_root_cannot_pause(_: &Runtime) {
    let container = Sleeping::start();
    podman(&["pause", &container.0]).run().fails_with("the container has no cgroup of its own");
    podman(&["exec", &container.0, "true"]).run().ok();
}

fn row_93_podman_without_root_limits_need_a_cgroup(_: &Runtime) {
    run(&["--memory=64m"], &["true"]).run().fails_with("cgroup");
}
