use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn host() -> CgroupHost {
    let controllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];
    CgroupHost {
        mount: "/sys/fs/cgroup".into(),
        own: "/user.slice/session-1.scope".to_owned(),
        controllers: controllers.map(str::to_owned).into(),
        v1: [].into(),
    }
}

fn plan_of(document: &Value, host: &CgroupHost) -> Result<CgroupPlan> {
    let linux: Option<Linux> = serde_json::from_value(document["linux"].clone()).expect("typed");
    plan(linux.as_ref(), document, "web", host, false)
}

fn resources(resources: Value) -> Result<CgroupPlan> {
    plan_of(&json!({ "linux": { "resources": resources } }), &host())
}

fn writes(asked: Value) -> Vec<String> {
    resources(asked).expect("a plan").writes.iter().map(ToString::to_string).collect()
}

fn error(asked: Value) -> String {
    resources(asked).expect_err("an error").to_string()
}

fn path_of(asked: Value) -> Result<String> {
    plan_of(&json!({ "linux": { "cgroupsPath": asked } }), &host()).map(|plan| plan.path)
}

#[test]
fn lnx_54_an_absolute_path_is_below_the_mount() {
    let plan = plan_of(&json!({ "linux": { "cgroupsPath": "//a/./b:c:d/" } }), &host()).expect("a plan");
    assert_eq!(plan.path, "/a/b:c:d");
    assert_eq!(plan.path_at, Some(ConfigPath::new("linux.cgroupsPath")));
}

#[test]
fn lnx_55_a_relative_path_is_below_the_parent_of_the_own_cgroup() {
    assert_eq!(path_of(json!("pods/web")).expect("a path"), "/user.slice/pods/web");
}

#[test]
fn lnx_57_the_default_is_the_id_below_the_parent_of_the_own_cgroup() {
    for asked in [json!(null), json!("")] {
        assert_eq!(path_of(asked).expect("a path"), "/user.slice/web");
    }
    let root = CgroupHost { own: "/".to_owned(), ..host() };
    assert_eq!(plan_of(&json!({}), &root).expect("a plan").path, "/web");
    let outside = CgroupHost { own: "/../..".to_owned(), ..host() };
    assert!(plan_of(&json!({}), &outside).expect_err("an error").to_string().contains("give an absolute one"));
}

#[test]
fn lnx_58_invalid_paths_name_the_field() {
    for (asked, text) in [
        ("../x", "linux.cgroupsPath: \"../x\": expected a path without \"..\""),
        ("/a/../../x", "expected a path without \"..\""),
        ("a\0b", "without NUL"),
        ("/a\nb", "without NUL and newline"),
        ("system.slice:runc:web", "systemd cgroup driver"),
        ("/", "a path below the root cgroup"),
        ("./", "a path below the root cgroup"),
    ] {
        let error = path_of(json!(asked)).expect_err("an error").to_string();
        assert!(error.starts_with("linux.cgroupsPath: ") && error.contains(text), "{error}");
    }
}

#[test]
fn lnx_60_without_resources_nothing_is_written() {
    let plan = plan_of(&json!({ "linux": {} }), &host()).expect("a plan");
    assert!(plan.writes.is_empty() && !plan.has_resources && plan.controllers.is_empty());
    assert!(!plan.devices.program.is_empty(), "the device policy always holds (P7)");
    assert!(resources(json!({})).expect("a plan").has_resources);
}

fn owner_of(change: impl FnOnce(&mut Value)) -> Option<u32> {
    let mut document = json!({
        "process": { "user": { "uid": 5 } },
        "mounts": [{ "source": "cgroup", "destination": "/sys/fs/cgroup/", "type": "cgroup", "options": ["nosuid"] }],
        "linux": {
            "namespaces": [{ "type": "cgroup" }, { "type": "user" }],
            "uidMappings": [{ "containerID": 0, "hostID": 1000, "size": 1 }, { "containerID": 1, "hostID": 100_000, "size": 9 }],
        },
    });
    change(&mut document);
    plan_of(&document, &host()).expect("a plan").owner
}

#[test]
fn lnx_62_the_owner_is_the_mapped_uid_of_the_process() {
    assert_eq!(owner_of(|_| ()), Some(100_004));
    assert_eq!(owner_of(|document| document["process"] = json!(null)), Some(1000));
    assert_eq!(owner_of(|document| document["process"]["user"]["uid"] = json!(10)), None);
    assert_eq!(owner_of(|document| document["linux"]["namespaces"] = json!([{ "type": "cgroup" }])), Some(5));
    let joined = json!([{ "type": "cgroup" }, { "type": "user", "path": "/proc/1/ns/user" }]);
    assert_eq!(owner_of(|document| document["linux"]["namespaces"] = joined), None);
}

#[test]
fn lnx_64_no_owner_without_a_new_cgroup_namespace() {
    assert_eq!(owner_of(|document| document["linux"]["namespaces"] = json!([{ "type": "user" }])), None);
    let joined = json!([{ "type": "cgroup", "path": "/proc/1/ns/cgroup" }]);
    assert_eq!(owner_of(|document| document["linux"]["namespaces"] = joined), None);
}

#[test]
fn lnx_65_no_owner_without_a_writable_cgroup_mount() {
    assert_eq!(owner_of(|document| document["mounts"][0]["options"] = json!(["ro"])), None);
    assert_eq!(owner_of(|document| document["mounts"][0]["options"] = json!(["ro", "rw"])), Some(100_004));
    assert_eq!(owner_of(|document| document["mounts"][0]["destination"] = json!("/cgroup")), None);
    assert_eq!(owner_of(|document| document["mounts"] = json!([])), None);
}

#[test]
fn lnx_70_allow_is_required() {
    let error = error(json!({ "devices": [{ "allow": false, "access": "rwm" }, { "access": "rwm" }] }));
    assert_eq!(error, "linux.resources.devices[1].allow: missing: expected true or false");
}

#[test]
fn lnx_71_type_and_numbers_may_be_absent() {
    let devices = json!({ "devices": [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 10, "minor": -1, "access": "r" },
    ] });
    let rules = resources(devices).expect("a plan").devices.rules;
    assert_eq!(rules[0].to_string(), "deny a *:* rwm");
    assert_eq!(rules[1].to_string(), "allow c 10:* r");
    let error = error(json!({ "devices": [{ "allow": true, "type": "p", "access": "r" }] }));
    assert_eq!(error, "linux.resources.devices[0].type: \"p\": expected a, b or c");
    let error = self::error(json!({ "devices": [{ "allow": true, "major": -2, "access": "r" }] }));
    assert!(error.starts_with("linux.resources.devices[0].major: -2: expected"), "{error}");
}

#[test]
fn lnx_72_access_is_made_of_r_w_m() {
    for access in [json!("x"), json!(""), json!("rwx"), json!(null)] {
        let error = error(json!({ "devices": [{ "allow": true, "access": access }] }));
        assert!(error.starts_with("linux.resources.devices[0].access: "), "{error}");
    }
}

#[test]
fn lnx_73_memory_limit() {
    assert_eq!(writes(json!({ "memory": { "limit": 268_435_456 } })), ["memory.max=268435456"]);
    assert_eq!(writes(json!({ "memory": { "limit": 0 } })), [""; 0]);
    let unlimited = ["memory.swap.max=max, if there is such a file", "memory.max=max"];
    assert_eq!(writes(json!({ "memory": { "limit": -1 } })), unlimited);
    assert!(error(json!({ "memory": { "limit": -2 } })).starts_with("linux.resources.memory.limit: -2: expected"));
}

#[test]
fn lnx_74_memory_reservation() {
    assert_eq!(writes(json!({ "memory": { "reservation": 4096 } })), ["memory.low=4096"]);
    assert_eq!(writes(json!({ "memory": { "reservation": -1 } })), ["memory.low=max"]);
}

#[test]
fn lnx_75_swap_is_without_memory() {
    let both = |limit: i64, swap: i64| json!({ "memory": { "limit": limit, "swap": swap } });
    assert_eq!(writes(both(100, 300)), ["memory.swap.max=200", "memory.max=100"]);
    assert_eq!(writes(both(100, 100)), ["memory.swap.max=0, if there is such a file", "memory.max=100"]);
    assert_eq!(writes(both(100, -1)), ["memory.swap.max=max, if there is such a file", "memory.max=100"]);
    assert_eq!(writes(both(100, 0)), ["memory.max=100"]);
    assert_eq!(writes(both(-1, 300)), ["memory.swap.max=300", "memory.max=max"]);
    assert!(error(both(100, 99)).contains("memory.swap: 99: expected at least memory.limit, 100"));
    assert!(error(both(0, 99)).contains("memory.swap: 99: expected a memory.limit beside it"));
    assert!(error(both(-1, -5)).starts_with("linux.resources.memory.swap: -5: expected"));
}

#[test]
fn lnx_104_settings_of_v1_only() {
    for (asked, field) in [
        (json!({ "memory": { "kernel": 4096 } }), "memory.kernel"),
        (json!({ "memory": { "kernelTCP": 4096 } }), "memory.kernelTCP"),
        (json!({ "memory": { "swappiness": 0 } }), "memory.swappiness"),
        (json!({ "memory": { "swappiness": 101 } }), "memory.swappiness"),
        (json!({ "memory": { "disableOOMKiller": true } }), "memory.disableOOMKiller"),
        (json!({ "cpu": { "realtimeRuntime": 1 } }), "cpu.realtimeRuntime"),
        (json!({ "cpu": { "realtimePeriod": 1 } }), "cpu.realtimePeriod"),
        (json!({ "blockIO": { "leafWeight": 10 } }), "blockIO.leafWeight"),
        (json!({ "network": { "classID": 1 } }), "network.classID"),
        (json!({ "network": { "priorities": [{ "name": "lo", "priority": 1 }] } }), "network.priorities"),
        (
            json!({ "blockIO": { "weightDevice": [{ "major": 8, "minor": 0, "leafWeight": 10 }] } }),
            "blockIO.weightDevice[0].leafWeight",
        ),
    ] {
        let error = error(asked);
        assert!(error.starts_with(&format!("linux.resources.{field}: ")), "{error}");
        assert!(error.contains("no cgroup v2 equivalent; remove the field"), "{error}");
    }
}

#[test]
fn lnx_104_values_that_ask_for_nothing() {
    for asked in [
        json!({ "memory": { "kernel": 0, "kernelTCP": -1, "disableOOMKiller": false, "useHierarchy": true } }),
        json!({ "memory": { "kernel": -1, "kernelTCP": 0, "useHierarchy": false } }),
        json!({ "cpu": { "realtimeRuntime": 0, "realtimePeriod": 0 } }),
        json!({ "blockIO": { "leafWeight": 0 } }),
        json!({ "network": { "classID": 0, "priorities": [] } }),
    ] {
        assert_eq!(writes(asked), [""; 0]);
    }
}

#[test]
fn lnx_95_priorities_need_name_and_priority() {
    let error = error(json!({ "network": { "priorities": [{ "name": "lo" }] } }));
    assert!(error.starts_with("linux.resources.network.priorities[0].priority: missing"), "{error}");
}

#[test]
fn lnx_80_check_before_update() {
    let asked = json!({ "memory": { "limit": 100, "swap": -1, "checkBeforeUpdate": true } });
    let check = resources(asked).expect("a plan").memory_check.expect("a check");
    assert_eq!((check.limit, check.swap), (Some(100), None));
    let asked = json!({ "memory": { "limit": 100, "checkBeforeUpdate": false } });
    assert_eq!(resources(asked).expect("a plan").memory_check, None);
}

#[test]
fn lnx_81_shares_become_a_weight() {
    for (shares, weight) in [(1, 1), (2, 1), (1024, 100), (22_000, 1204), (262_144, 10_000), (u64::MAX, 10_000)] {
        assert_eq!(writes(json!({ "cpu": { "shares": shares } })), [format!("cpu.weight={weight}")]);
    }
    assert_eq!(writes(json!({ "cpu": { "shares": 0 } })), [""; 0]);
}

#[test]
fn lnx_82_quota_and_period() {
    for (cpu, max) in [
        (json!({ "quota": 50_000, "period": 200_000 }), "50000 200000"),
        (json!({ "quota": 50_000 }), "50000 100000"),
        (json!({ "period": 200_000 }), "max 200000"),
        (json!({ "quota": -1 }), "max 100000"),
        (json!({ "quota": 0, "period": 50_000 }), "max 50000"),
    ] {
        assert_eq!(writes(json!({ "cpu": cpu })), [format!("cpu.max={max}")]);
    }
    assert_eq!(writes(json!({ "cpu": { "quota": 0 } })), [""; 0]);
}

#[test]
fn lnx_83_burst_is_at_most_the_quota() {
    let error = error(json!({ "cpu": { "quota": 1000, "burst": 2000 } }));
    assert_eq!(error, "linux.resources.cpu.burst: 2000: expected at most the quota, 1000");
}

#[test]
fn lnx_84_burst_is_written_before_the_quota_and_perhaps_again() {
    let asked = json!({ "cpu": { "quota": 1000, "burst": 1000 } });
    let writes = resources(asked).expect("a plan").writes;
    assert_eq!(writes[0].to_string(), "cpu.max.burst=1000");
    assert_eq!(writes[0].refused, Refused::AgainAfterNext);
    assert_eq!(writes[1].to_string(), "cpu.max=1000 100000");
    let alone = resources(json!({ "cpu": { "burst": 5 } })).expect("a plan").writes;
    assert_eq!((alone.len(), &alone[0].refused), (1, &Refused::Fail));
}

#[test]
fn lnx_86_cpus_and_mems() {
    let lists = ["0", "0-3", "0-3,8", "0, 2", "0-31:1/2"];
    for list in lists {
        assert_eq!(writes(json!({ "cpu": { "cpus": list } })), [format!("cpuset.cpus={list}")]);
    }
    assert_eq!(writes(json!({ "cpu": { "cpus": "", "mems": "0" } })), ["cpuset.mems=0"]);
    for list in ["3-0", "a", "-1", "0-", "0,,1", "1:1/2", "0-3:2/1", "+1", "99999999999"] {
        let error = error(json!({ "cpu": { "mems": list } }));
        assert!(error.starts_with("linux.resources.cpu.mems: "), "{error}");
    }
}

#[test]
fn lnx_87_idle_is_written_before_the_weight() {
    assert_eq!(writes(json!({ "cpu": { "shares": 1024, "idle": 0 } })), ["cpu.idle=0", "cpu.weight=100"]);
    assert!(error(json!({ "cpu": { "idle": 2 } })).contains("cpu.idle: 2: expected 0 or 1"));
}

#[test]
fn lnx_88_weight_for_bfq_or_converted() {
    for (weight, converted) in [(10, 1), (500, 4950), (1000, 10_000)] {
        let expected = format!("io.bfq.weight={weight}, else io.weight={converted}");
        assert_eq!(writes(json!({ "blockIO": { "weight": weight } })), [expected]);
    }
    assert!(error(json!({ "blockIO": { "weight": 9 } })).contains("blockIO.weight: 9: expected 10 to 1000"));
}

#[test]
fn lnx_90_weight_of_a_device() {
    let device = |device: Value| json!({ "blockIO": { "weightDevice": [device] } });
    let expected = "io.bfq.weight=8:0 500, else io.weight=8:0 4950";
    assert_eq!(writes(device(json!({ "major": 8, "minor": 0, "weight": 500 }))), [expected]);
    for (asked, field) in [
        (json!({ "major": 8, "minor": 0 }), "weight: missing"),
        (json!({ "minor": 0, "weight": 10 }), "major: missing"),
        (json!({ "major": 8, "weight": 10 }), "minor: missing"),
        (json!({ "major": -8, "minor": 0, "weight": 10 }), "major: -8"),
    ] {
        let error = error(device(asked));
        assert!(error.starts_with(&format!("linux.resources.blockIO.weightDevice[0].{field}")), "{error}");
    }
}

#[test]
fn lnx_91_throttles_are_merged_for_each_device() {
    let asked = json!({ "blockIO": {
        "throttleReadBpsDevice": [{ "major": 8, "minor": 0, "rate": 1 }, { "major": 8, "minor": 16, "rate": 2 }],
        "throttleWriteBpsDevice": [{ "major": 8, "minor": 0, "rate": 3 }],
        "throttleReadIOPSDevice": [{ "major": 8, "minor": 16, "rate": 4 }],
        "throttleWriteIOPSDevice": [{ "major": 8, "minor": 0, "rate": 5 }],
    } });
    assert_eq!(writes(asked), ["io.max=8:0 rbps=1 wbps=3 wiops=5", "io.max=8:16 rbps=2 riops=4"]);
    let asked = json!({ "blockIO": { "throttleReadIOPSDevice": [{ "major": 8, "minor": 0 }] } });
    let error = error(asked);
    assert!(error.starts_with("linux.resources.blockIO.throttleReadIOPSDevice[0].rate: missing"), "{error}");
}

#[test]
fn lnx_92_hugepages_limit_use_and_reservations() {
    let expected = ["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304, if there is such a file"];
    assert_eq!(writes(json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }] })), expected);
}

#[test]
fn lnx_93_page_sizes() {
    for size in ["3MB", "2mb", "2M", "MB", "+2MB", "2 MB", "-2MB", "2MB/../x"] {
        let error = error(json!({ "hugepageLimits": [{ "pageSize": size, "limit": 1 }] }));
        assert!(error.starts_with("linux.resources.hugepageLimits[0].pageSize: "), "{error}");
    }
    assert!(error(json!({ "hugepageLimits": [{ "limit": 1 }] })).contains("pageSize: missing"));
}

#[test]
fn lnx_94_the_limit_is_required_and_unsigned() {
    assert!(error(json!({ "hugepageLimits": [{ "pageSize": "1GB" }] })).contains("limit: missing"));
    assert!(error(json!({ "hugepageLimits": [{ "pageSize": "1GB", "limit": -1 }] })).contains("limit: "));
    let large = json!({ "hugepageLimits": [{ "pageSize": "1GB", "limit": 9_223_372_036_854_772_000_u64 }] });
    assert_eq!(writes(large)[0], "hugetlb.1GB.max=9223372036854772000");
}

#[test]
fn lnx_96_pids_limit() {
    assert_eq!(writes(json!({ "pids": { "limit": 77 } })), ["pids.max=77"]);
    assert_eq!(writes(json!({ "pids": { "limit": -1 } })), ["pids.max=max"]);
    assert_eq!(writes(json!({ "pids": {} })), [""; 0], "absent is not set (X2)");
}

#[test]
fn lnx_97_pids_limit_0_is_the_tightest_limit() {
    assert_eq!(writes(json!({ "pids": { "limit": 0 } })), ["pids.max=1"]);
}

#[test]
fn lnx_98_rdma() {
    let asked =
        json!({ "rdma": { "mlx5_1": { "hcaHandles": 3, "hcaObjects": 10_000 }, "mlx4_0": { "hcaObjects": 0 } } });
    let expected = ["rdma.max=mlx4_0 hca_object=0", "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"];
    assert_eq!(writes(asked), expected);
    let error = error(json!({ "rdma": { "mlx5_1": {} } }));
    assert!(error.starts_with("linux.resources.rdma[\"mlx5_1\"]: missing"), "{error}");
}

#[test]
fn lnx_99_unified_is_written_by_name_and_line() {
    let asked =
        json!({ "unified": { "memory.high": "1000", "io.max": "8:0 rbps=1\n8:16 rbps=2\n", "cpuset.cpus": "" } });
    let plan = resources(asked).expect("a plan");
    let shown: Vec<_> = plan.writes.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["cpuset.cpus=\n", "io.max=8:0 rbps=1", "io.max=8:16 rbps=2", "memory.high=1000"]);
    assert_eq!(plan.writes[3].at.to_string(), "linux.resources.unified[\"memory.high\"]");
}

#[test]
fn lnx_100_needed_controllers_are_listed() {
    let asked = json!({ "unified": { "memory.high": "1", "cgroup.max.depth": "3", "cpu.pressure": "x" }, "pids": { "limit": 1 } });
    let controllers = resources(asked).expect("a plan").controllers;
    let at = |name: &str| controllers.get(name).map(ToString::to_string);
    assert_eq!(at("memory").as_deref(), Some("linux.resources.unified[\"memory.high\"]"));
    assert_eq!(at("pids").as_deref(), Some("linux.resources.pids.limit"));
    assert_eq!(controllers.len(), 2, "cgroup.* and *.pressure belong to no controller");
}

#[test]
fn lnx_101_unknown_files_of_known_controllers_are_written() {
    assert_eq!(writes(json!({ "unified": { "misc.max": "res_a 1", "cgroup.max.depth": "3" } })).len(), 2);
}

#[test]
fn lnx_102_unknown_controllers_and_bad_names() {
    let error = error(json!({ "unified": { "foo.bar": "1" } }));
    assert_eq!(
        error,
        "linux.resources.unified[\"foo.bar\"]: cgroup controller \"foo\" is not available in cgroup v2 on this host"
    );
    for name in ["memory", "../x.y", "a/b.c", "..", ".", ".x", "x.", "", "a.\0"] {
        let error = self::error(json!({ "unified": { name: "1" } }));
        assert!(error.contains("expected CONTROLLER.PARAMETER"), "{error}");
    }
}

#[test]
fn lnx_103_unified_comes_last() {
    let asked = json!({ "unified": { "pids.max": "5" }, "pids": { "limit": 7 } });
    assert_eq!(writes(asked), ["pids.max=7", "pids.max=5"]);
}

#[test]
fn a_controller_in_v1_is_found_before_anything_is_made() {
    let hybrid = CgroupHost { controllers: [].into(), v1: ["memory".to_owned(), "blkio".to_owned()].into(), ..host() };
    let plan =
        |asked: Value| plan_of(&json!({ "linux": { "resources": asked } }), &hybrid).expect_err("an error").to_string();
    let memory = plan(json!({ "memory": { "limit": 1 } }));
    assert_eq!(memory, "linux.resources.memory.limit: cgroup controller \"memory\" is in cgroup v1 on this host");
    let io = plan(json!({ "blockIO": { "weight": 10 } }));
    assert_eq!(io, "linux.resources.blockIO.weight: cgroup controller \"io\" is in cgroup v1 on this host");
}

#[test]
fn the_order_is_runcs() {
    let asked = json!({
        "unified": { "misc.max": "1" }, "rdma": { "a": { "hcaHandles": 1 } }, "pids": { "limit": 1 },
        "hugepageLimits": [{ "pageSize": "2MB", "limit": 1 }],
        "cpu": { "cpus": "0", "mems": "0", "shares": 2, "idle": 0, "quota": 9, "burst": 1 },
        "blockIO": { "weight": 10 }, "memory": { "limit": 1, "swap": 3, "reservation": 1 },
    });
    let files: Vec<_> = resources(asked).expect("a plan").writes.into_iter().map(|write| write.file).collect();
    let expected = [
        "pids.max",
        "memory.swap.max",
        "memory.max",
        "memory.low",
        "io.bfq.weight",
        "cpu.idle",
        "cpu.weight",
        "cpu.max.burst",
        "cpu.max",
        "cpuset.cpus",
        "cpuset.mems",
        "hugetlb.2MB.max",
        "hugetlb.2MB.rsvd.max",
        "rdma.max",
        "misc.max",
    ];
    assert_eq!(files, expected);
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), Just(-1), Just(i64::MIN), Just(i64::MAX), -5_i64..2000, any::<i64>()]
}

fn unsigned() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), 0_u64..300_000, any::<u64>()]
}

proptest! {
    #[test]
    fn planning_never_panics(
        (limit, reservation, swap, quota, idle, pids, major) in (number(), number(), number(), number(), number(), number(), number()),
        (shares, period, burst, rate, weight, text) in (unsigned(), unsigned(), unsigned(), unsigned(), any::<u16>(), ".{0,12}"),
    ) {
        let device = json!({ "major": major, "minor": major, "rate": rate, "weight": weight });
        for asked in [
            json!({ "memory": { "limit": limit, "reservation": reservation, "swap": swap } }),
            json!({ "cpu": { "shares": shares, "period": period, "burst": burst, "quota": quota, "idle": idle } }),
            json!({ "cpu": { "cpus": text, "mems": text } }),
            json!({ "pids": { "limit": pids } }),
            json!({ "blockIO": { "weight": weight, "weightDevice": [device], "throttleReadBpsDevice": [device, device] } }),
            json!({ "hugepageLimits": [{ "pageSize": text, "limit": limit }] }),
            json!({ "rdma": { &text: { "hcaHandles": 1 } }, "unified": { &text: &text } }),
            json!({ "devices": [{ "allow": true, "major": major, "minor": limit, "access": text }] }),
        ] {
            let first = resources(asked.clone());
            let planned = first.as_ref().map(|plan| plan.writes.clone()).map_err(ToString::to_string);
            let again = resources(asked).map(|plan| plan.writes).map_err(|error| error.to_string());
            prop_assert_eq!(planned, again, "planning is deterministic");
        }
        let _: Result<String> = path_of(json!(text));
    }
}
