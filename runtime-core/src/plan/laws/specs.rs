//! Generated configurations and machines for the laws.

#![forbid(unsafe_code)]

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use crate::cgroup::CgroupHost;
use crate::host::Host;

/// Where and how something is planned.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub host: Host,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
}

pub(super) fn any_machine() -> impl Strategy<Value = Machine> {
    // Mostly root: the others can plan less.
    let privileged = prop::bool::weighted(0.8);
    (privileged, any::<bool>(), any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |(root, v1, pivot, keyring, caps)| {
            let names = |on: bool| {
                let all = if on { "cpuset cpu io blkio memory hugetlb pids rdma misc" } else { "" };
                all.split_whitespace().map(str::to_owned).collect()
            };
            let cgroup = CgroupHost {
                mount: "/sys/fs/cgroup".into(),
                own: "/a/b".to_owned(),
                controllers: names(!v1),
                v1: names(v1),
            };
            let host = Host {
                uid: if root { 0 } else { 1000 },
                gid: if root { 0 } else { 1000 },
                privileged: root,
                initial_user_namespace: true,
                setgroups_denied: false,
                capabilities: caps,
                known_capabilities: u64::MAX >> 23,
                cgroup,
                environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
                kernel_mounts: Some(vec!["/bundle/rootfs/proc".into(), "/sys".into(), "/proc".into()]),
                apparmor: !v1,
                selinux: v1,
            };
            Machine { host, no_pivot: pivot, no_new_keyring: keyring }
        },
    )
}

fn path() -> impl Strategy<Value = String> {
    let part = select(vec!["a", "b", "..", ".", "dev", "proc", "sys", "ä", "x y"]);
    vec(part, 0..4).prop_map(|parts| format!("/{}", parts.join("/")))
}

const KINDS: [&str; 8] = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"];

fn namespaces() -> impl Strategy<Value = Value> {
    let some = subsequence(KINDS.to_vec(), 0..=KINDS.len());
    (some, prop::bool::weighted(0.8), vec(prop::bool::weighted(0.7), KINDS.len())).prop_map(
        |(mut kinds, mount, new)| {
            if mount && !kinds.contains(&"mount") {
                kinds.push("mount");
            }
            let entry = |(kind, new): (&str, bool)| {
                if new { json!({"type": kind}) } else { json!({"type": kind, "path": format!("/ns/{kind}")}) }
            };
            kinds.into_iter().zip(new).map(entry).collect()
        },
    )
}

fn maps() -> impl Strategy<Value = Value> {
    let several = vec(1_u32..1000, 1..5).prop_map(|sizes| {
        let map = |(index, size): (usize, u32)| json!({"containerID": index * 1000, "hostID": 100_000 + index * 1000, "size": size});
        sizes.into_iter().enumerate().map(map).collect()
    });
    prop_oneof![several, Just(json!([{"containerID": 0, "hostID": 1000, "size": 1}]))]
}

fn mounts() -> impl Strategy<Value = Value> {
    let words = [
        "ro",
        "rw",
        "nosuid",
        "noatime",
        "rro",
        "rnoexec",
        "rslave",
        "shared",
        "relatime",
        "strictatime",
        "sync",
        "nodev",
        "rprivate",
        "remount",
        "size=1k",
        "idmap",
        "tmpcopyup",
    ];
    let kind = select(vec!["tmpfs", "proc", "sysfs", "mqueue", "devpts", "cgroup", "bind", "rbind"]);
    let options = subsequence(words.to_vec(), 0..4);
    let one = (path(), kind, options, of(maps())).prop_map(|(destination, kind, mut options, maps)| {
        if kind != "tmpfs" {
            options.retain(|option| *option != "tmpcopyup");
        }
        if kind.ends_with("bind") {
            options.retain(|option| *option != "size=1k");
            options.push(kind);
        }
        let special = destination.starts_with("/proc") || destination.starts_with("/.") || destination == "/";
        let destination = if special || destination.contains("..") { "/m".to_owned() } else { destination };
        let source = format!("/srv/{kind}");
        let mut mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
        if options.contains(&"idmap") {
            put(&mut mount, "uidMappings", maps.clone());
            put(&mut mount, "gidMappings", maps);
        }
        mount
    });
    vec(one, 0..8).prop_map(Value::from)
}

fn devices() -> impl Strategy<Value = Value> {
    let one = (select(vec!["c", "b", "u", "p"]), 0_u8..20, 0_i64..4096, 0_i64..1_048_576, of(0_u32..0o7777));
    let device = one.prop_map(|(kind, number, major, minor, mode)| {
        json!({"type": kind, "path": format!("/dev/d{number}"), "major": major, "minor": minor, "fileMode": mode})
    });
    vec(device, 0..4).prop_map(Value::from)
}

fn capabilities() -> impl Strategy<Value = Value> {
    let names = vec!["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SYS_ADMIN", "CAP_NOT_YET"];
    let sets = vec(subsequence(names, 0..=5), 3);
    sets.prop_map(|sets| {
        let [bounding, permitted, ambient] = [&sets[0], &sets[1], &sets[2]];
        json!({"bounding": bounding, "permitted": permitted, "effective": permitted, "inheritable": bounding, "ambient": ambient})
    })
}

fn process() -> impl Strategy<Value = Value> {
    let user = (0_u32..70_000, 0_u32..70_000, vec(0_u32..100, 0..4), of(0_u32..0o777));
    let user = user.prop_map(|(uid, gid, groups, mask)| {
        if groups.is_empty() {
            json!({"uid": uid, "gid": gid, "umask": mask})
        } else {
            json!({"uid": uid, "gid": gid, "additionalGids": groups, "umask": mask})
        }
    });
    let limits = subsequence(vec!["RLIMIT_CPU", "RLIMIT_NOFILE", "RLIMIT_CORE"], 0..=3).prop_map(|kinds| {
        kinds.iter().map(|kind| json!({"type": kind, "soft": 1, "hard": u64::MAX})).collect::<Vec<_>>()
    });
    let env = subsequence(vec!["A=1", "HOME=/h", "HOME=", "PATH=/bin", "A=2"], 0..=5);
    let terminal = of((0_u16..200, 0_u16..200));
    let rest = (of(capabilities()), env, limits, of(-1000_i32..=1000), any::<bool>(), terminal, of(scheduling()));
    (user, path(), vec("[a-z/]{1,8}", 1..4), rest).prop_map(|(user, cwd, args, rest)| {
        let (caps, env, limits, oom, nnp, size, when) = rest;
        let mut process = json!({"user": user, "cwd": cwd, "args": args, "env": env, "rlimits": limits});
        process["noNewPrivileges"] = nnp.into();
        put(&mut process, "capabilities", caps);
        put(&mut process, "oomScoreAdj", oom.map(Value::from));
        process["terminal"] = size.is_some().into();
        put(&mut process, "consoleSize", size.map(|(height, width)| json!({"height": height, "width": width})));
        for (name, value) in when.as_ref().and_then(Value::as_object).into_iter().flatten() {
            process[name] = value.clone();
        }
        process
    })
}

/// When the process runs, and under which profile where there are any.
fn scheduling() -> impl Strategy<Value = Value> {
    let policy = select(vec![("SCHED_BATCH", 0), ("SCHED_FIFO", 1), ("SCHED_OTHER", 0)]);
    (policy, 0..8, of(select(vec!["0", "0-3,7"])), prop::bool::weighted(0.2)).prop_map(
        |((policy, priority), level, cpus, confined)| {
            json!({
                "scheduler": {"policy": policy, "priority": priority},
                "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": level},
                "execCPUAffinity": {"final": cpus},
                "apparmorProfile": if confined { "p" } else { "" },
            })
        },
    )
}

fn put(object: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        object[name] = value;
    }
}

fn resources() -> impl Strategy<Value = Value> {
    (of(1_i64..1 << 40), of(-1_i64..1000), of(2_u64..10_000)).prop_map(|(memory, pids, shares)| {
        let mut resources = json!({});
        put(&mut resources, "memory", memory.map(|limit| json!({"limit": limit})));
        put(&mut resources, "pids", pids.map(|limit| json!({"limit": limit})));
        put(&mut resources, "cpu", shares.map(|shares| json!({"shares": shares})));
        resources
    })
}

/// A filter, of which some leave a call to an agent.
fn seccomp() -> impl Strategy<Value = Value> {
    select(vec!["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_NOTIFY"]).prop_map(|action| {
        let rule = json!({"names": ["mkdir"], "action": action});
        json!({"defaultAction": "SCMP_ACT_LOG", "listenerPath": "/run/agent", "syscalls": [rule]})
    })
}

fn linux() -> impl Strategy<Value = Value> {
    let sysctl =
        of(btree_map(select(vec!["net.ipv4.ip_forward", "kernel.sem", "fs.mqueue.msg_max"]), "[0-9]{1,3}", 0..3));
    let paths = || vec(path(), 0..4);
    let offsets = of(-100_i64..100);
    let devices_of_the_net =
        of(btree_map("[a-z]{1,15}", of("[a-z]{1,5}(%d)?").prop_map(|name| json!({"name": name})), 0..3));
    let kernel = (of(resources()), sysctl, of(seccomp()), devices_of_the_net);
    let first = (namespaces(), maps(), devices(), kernel);
    (first, paths(), paths(), offsets, of(select(vec!["shared", "rslave", "rprivate", "unbindable"]))).prop_map(
        |((namespaces, maps, devices, (resources, sysctl, seccomp, net)), masked, readonly, offset, propagation)| {
            let has = |kind: &str| namespaces.as_array().into_iter().flatten().any(|n| n["type"] == kind);
            let new = |kind: &str| namespaces.as_array().into_iter().flatten().any(|n| *n == json!({"type": kind}));
            let mut linux = json!({"namespaces": namespaces, "devices": devices});
            put(&mut linux, "memoryPolicy", offset.map(|_| json!({"mode": "MPOL_BIND", "nodes": "0,2"})));
            put(&mut linux, "personality", propagation.map(|_| json!({"domain": "LINUX32"})));
            put(&mut linux, "resources", resources);
            put(&mut linux, "seccomp", seccomp);
            put(&mut linux, "netDevices", net.filter(|_| has("network")).map(|net| json!(net)));
            put(&mut linux, "sysctl", sysctl.filter(|_| has("network") && has("ipc")).map(|s| json!(s)));
            put(&mut linux, "timeOffsets", offset.filter(|_| new("time")).map(|s| json!({"boottime": {"secs": s}})));
            if has("user") {
                linux["uidMappings"] = maps.clone();
                linux["gidMappings"] = maps;
            }
            if has("mount") {
                linux["maskedPaths"] = masked.into();
                linux["readonlyPaths"] = readonly.into();
                put(&mut linux, "rootfsPropagation", propagation.map(Value::from));
            }
            linux
        },
    )
}

/// A configuration of which most can be planned.
pub(super) fn any_spec() -> impl Strategy<Value = Value> {
    let hooks = Just(json!({"startContainer": [{"path": "/bin/hook"}]}));
    (of(process()), mounts(), prop::bool::weighted(0.95), linux(), any::<bool>(), of("[a-z]{1,10}"), of(hooks))
        .prop_map(|(process, mounts, has_linux, linux, readonly, hostname, hooks)| {
            let has = |kind: &str| linux["namespaces"].as_array().into_iter().flatten().any(|n| n["type"] == kind);
            let (mount, uts) = (has_linux && has("mount"), has_linux && has("uts"));
            let mut spec = json!({"ociVersion": "1.3.0", "root": {"path": "rootfs", "readonly": readonly && mount}});
            put(&mut spec, "process", process);
            put(&mut spec, "mounts", mount.then_some(mounts));
            put(&mut spec, "hostname", hostname.filter(|_| uts).map(Value::from));
            put(&mut spec, "linux", has_linux.then_some(linux));
            put(&mut spec, "hooks", hooks);
            spec
        })
}

/// The same with one value somewhere replaced by something else.
pub(super) fn broken_spec() -> impl Strategy<Value = Value> {
    let text = select(vec!["", "/", "..", "a\0b", "/proc/self/fd", "a=b=c", "ä", "\u{fffd}", ":::", "-1"]);
    let number = select(vec![i64::MIN, -1, 0, 1, 4_294_967_295, i64::MAX]);
    let value = prop_oneof![
        text.prop_map(Value::from),
        number.prop_map(Value::from),
        Just(json!(u64::MAX)),
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        Just(json!(["/x", ""])),
    ];
    (any_spec(), vec((any::<prop::sample::Index>(), value), 1..4)).prop_map(|(mut spec, changes)| {
        for (index, value) in changes {
            let mut places = Vec::new();
            pointers(&spec, String::new(), &mut places);
            let place = index.get(&places);
            if let Some(found) = spec.pointer_mut(place) {
                *found = value;
            }
        }
        spec
    })
}

fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => each(members, &at, found),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| pointers(v, format!("{at}/{i}"), found)),
        _ => {}
    }
    found.push(at);
}

fn each(members: &Map<String, Value>, at: &str, found: &mut Vec<String>) {
    for (name, member) in members {
        pointers(member, format!("{at}/{name}"), found);
    }
}
