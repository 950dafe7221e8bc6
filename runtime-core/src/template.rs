//! The configuration that `spec` writes: a shell in namespaces of its own.

#![forbid(unsafe_code)]

use serde_json::{Value, json};

/// A configuration to start from: `sh` on a terminal, in the root `rootfs`, which is read-only. With `rootless`, the caller's
/// user and group id, one that needs no privileges.
#[must_use]
pub fn spec_template(rootless: Option<(u32, u32)>) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mut spec = json!({
        "ociVersion": "1.3.0",
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "runtime",
        "mounts": mounts(rootless.is_some()),
        "linux": {
            "namespaces": namespaces(rootless.is_some()),
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/sys/devices/virtual/powercap", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    });
    match rootless {
        Some((uid, gid)) => {
            let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
            spec["linux"]["uidMappings"] = map(uid);
            spec["linux"]["gidMappings"] = map(gid);
        }
        None => spec["linux"]["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] }),
    }
    spec
}

fn mounts(rootless: bool) -> Value {
    // A single mapped id has no group tty, and a sysfs needs a network namespace of its own.
    let pts = if rootless {
        json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"])
    } else {
        json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"])
    };
    let sys = if rootless {
        mount("/sys", "none", "/sys", json!(["rbind", "nosuid", "noexec", "nodev", "ro"]))
    } else {
        mount("/sys", "sysfs", "sysfs", json!(["nosuid", "noexec", "nodev", "ro"]))
    };
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        mount("/dev", "tmpfs", "tmpfs", json!(["nosuid", "strictatime", "mode=755", "size=65536k"])),
        mount("/dev/pts", "devpts", "devpts", pts),
        mount("/dev/shm", "tmpfs", "shm", json!(["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"])),
        mount("/dev/mqueue", "mqueue", "mqueue", json!(["nosuid", "noexec", "nodev"])),
        sys,
        mount("/sys/fs/cgroup", "cgroup", "cgroup", json!(["nosuid", "noexec", "nodev", "relatime", "ro"]))
    ])
}

fn mount(destination: &str, kind: &str, source: &str, options: Value) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn namespaces(rootless: bool) -> Value {
    let mut kinds = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    kinds.push(if rootless { "user" } else { "network" });
    kinds.iter().map(|kind| json!({ "type": kind })).collect()
}
