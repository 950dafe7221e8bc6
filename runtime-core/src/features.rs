//! The `features` structure: what this build recognises, whatever machine it runs on (features.md).

#![forbid(unsafe_code)]

use serde_json::{Value, json};

use crate::plan::{known_memory_policies, known_mount_options};

/// The features structure as JSON. The same on every machine.
#[must_use]
pub fn features() -> Value {
    let mut capabilities: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    capabilities.sort();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": known_mount_options().collect::<Vec<_>>(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": { "v1": false, "v2": true, "systemd": false, "systemdUser": false, "rdma": true },
            "seccomp": seccomp(),
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "memoryPolicy": memory_policy(),
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "potentiallyUnsafeConfigAnnotations": [],
    })
}

/// What `linux.memoryPolicy` understands.
fn memory_policy() -> Value {
    let (modes, flags) = known_memory_policies();
    json!({ "modes": modes, "flags": flags })
}

/// What `linux.seccomp` understands. Words of foreign architectures are accepted; they never apply here.
fn seccomp() -> Value {
    let words = |prefix: &str, ends: &str| -> Vec<String> {
        let mut words: Vec<String> = ends.split(' ').map(|end| format!("{prefix}_{end}")).collect();
        words.sort();
        words
    };
    let flags = words("SECCOMP_FILTER_FLAG", "LOG SPEC_ALLOW TSYNC WAIT_KILLABLE_RECV");
    json!({
        "enabled": true,
        "actions": words("SCMP_ACT", "ALLOW ERRNO KILL KILL_PROCESS KILL_THREAD LOG NOTIFY TRACE TRAP"),
        "operators": words("SCMP_CMP", "EQ GE GT LE LT MASKED_EQ NE"),
        "archs": words("SCMP_ARCH", "X32 X86 X86_64"),
        "knownFlags": flags,
        "supportedFlags": flags,
    })
}
