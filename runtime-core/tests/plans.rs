//! Golden plans: every configuration of `configs/` becomes `plans/NAME.plan`, which holds what is printed on each of
//! three fixed machines: the plan with its notes, or the error. `UPDATE=1` rewrites the files.
//!
//! Names: `error-*` plans nowhere, everything else on at least one machine; `*no-pivot*` is planned with that option.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use runtime_core::{Bundle, CreateOptions, Host, Plan};

/// The capabilities 0 to 40, all that Linux 6 knows.
const CAPABILITIES: u64 = (1 << 41) - 1;
const WIDTH: usize = 120;

fn set(words: &str) -> BTreeSet<String> {
    words.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// Root on a machine with cgroup v2 only.
fn privileged() -> Host {
    let mut host = Host::default();
    (host.privileged, host.initial_user_namespace) = (true, true);
    (host.capabilities, host.known_capabilities) = (CAPABILITIES, CAPABILITIES);
    host.cgroup.mount = "/sys/fs/cgroup".into();
    host.cgroup.own = "/system.slice/engine.service".to_owned();
    host.cgroup.controllers = set("cpuset cpu io memory hugetlb pids rdma misc");
    host.environment = vec![("PATH".into(), "/usr/bin:/bin".into())];
    host.kernel_mounts = Some(["/bundle/rootfs/proc", "/sys", "/proc"].map(PathBuf::from).into());
    host.apparmor = true;
    host
}

/// User 1000 on the same machine.
fn rootless() -> Host {
    let mut host = privileged();
    host.cgroup.own = "/user.slice/user-1000.slice/session-1.scope".to_owned();
    (host.uid, host.gid) = (1000, 1000);
    (host.privileged, host.capabilities) = (false, 0);
    host
}

/// Root on a machine whose controllers are bound to cgroup v1.
fn hybrid() -> Host {
    let mut host = privileged();
    host.cgroup.mount = "/sys/fs/cgroup/unified".into();
    host.cgroup.controllers = set("");
    (host.apparmor, host.selinux) = (false, true);
    host.cgroup.v1 =
        set("cpuset cpu cpuacct blkio memory devices freezer net_cls perf_event net_prio hugetlb pids rdma");
    host
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// The names of the files in a folder, without their extension, sorted.
fn names(name: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder(name)).expect("the folder is there");
    let stem = |path: PathBuf| path.file_stem().and_then(|s| s.to_str()).expect("the names are text").to_owned();
    let mut names: Vec<String> = entries.map(|entry| stem(entry.expect("the folder can be read").path())).collect();
    names.sort();
    names
}

fn plan(name: &str, host: &Host) -> Result<Plan, runtime_core::Error> {
    let text = std::fs::read(folder("configs").join(name).with_extension("json")).expect("the file can be read");
    let bundle = Bundle::parse("/bundle".into(), text)?;
    let mut options = CreateOptions::new("web");
    options.no_pivot = name.contains("no-pivot");
    if name.contains("passed") {
        (options.pass_fds, options.notify) = (vec![3, 5], true);
        options.environment =
            ["LISTEN_FDS=3", "LISTEN_PID=1", "NOTIFY_SOCKET=/run/notify/notify.sock"].map(str::to_owned).into();
    }
    Plan::create(&bundle, host, &options)
}

/// What is printed on each machine; a machine on which it is the same as on one above says only that.
fn printed(name: &str) -> (String, bool) {
    let hosts = [("privileged", privileged()), ("rootless", rootless()), ("hybrid", hybrid())];
    let mut seen: Vec<(&str, String)> = Vec::new();
    let mut text = String::new();
    let mut planned = false;
    for (host, facts) in hosts {
        let result = plan(name, &facts);
        planned |= result.is_ok();
        let outcome = result.map_or_else(|error| format!("error: {error}\n"), |plan| plan.to_string());
        let same = seen.iter().find(|(_, other)| *other == outcome);
        text += &format!("── {host} ──\n");
        text += &same.map_or_else(|| outcome.clone(), |(other, _)| format!("as on {other}\n"));
        seen.push((host, outcome));
    }
    (text, planned)
}

#[test]
fn plans_are_as_written_down() {
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let mut different = Vec::new();
    for name in names("configs") {
        let (text, planned) = printed(&name);
        assert_eq!(planned, !name.starts_with("error-"), "{name} has the wrong name for what it does:\n{text}");
        let golden = folder("plans").join(&name).with_extension("plan");
        if update {
            std::fs::write(&golden, &text).expect("the folder is writable");
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != text {
            different.push(format!("{}\n{text}", golden.display()));
        }
    }
    assert!(different.is_empty(), "run with UPDATE=1 if this is meant:\n{}", different.join("\n"));
}

/// And the fields that 1.3 took away are unknown ones: `odd-intel-rdt` has one.
#[test]
fn lnx_107_123_nothing_of_resctrl_is_touched_unless_asked_for() {
    for name in names("configs") {
        let text = std::fs::read_to_string(folder("configs").join(&name).with_extension("json")).expect("text");
        assert_eq!(printed(&name).0.contains("resctrl"), text.contains("\"intelRdt\""), "{name}");
    }
}

#[test]
fn every_golden_file_has_its_configuration() {
    assert_eq!(names("plans"), names("configs"));
}

#[test]
fn lines_fit_a_terminal() {
    for name in names("configs") {
        // What is said below the columns is prose, and as long as it has to be.
        let prose = ["note: ", "error: "];
        for line in printed(&name).0.lines().filter(|line| !prose.iter().any(|p| line.starts_with(p))) {
            assert!(line.chars().count() <= WIDTH, "{name}: {} columns: {line}", line.chars().count());
        }
    }
}

#[test]
fn engines_configurations_are_planned_by_root() {
    let engines = ["bench-", "containerd-", "docker-", "podman-", "runc-spec"];
    let of_engines = |name: &String| engines.iter().any(|engine| name.starts_with(engine));
    let all: Vec<String> = names("configs").into_iter().filter(of_engines).collect();
    assert!(all.len() >= 15, "{all:?}");
    for name in all {
        assert!(plan(&name, &privileged()).is_ok(), "{name}: {:?}", plan(&name, &privileged()).err());
    }
}
