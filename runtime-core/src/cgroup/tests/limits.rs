//! Limits: they need controllers in cgroup v2, which `hack/uml` has, or a host without cgroup v1.

use super::*;

#[test]
fn lnx_73_75_memory_limits_reach_the_kernel() {
    let Some(place) = place_with("lnx_73", "memory") else { return };
    let asked = json!({ "memory": { "limit": 67_108_864, "swap": 67_108_864, "reservation": 4_194_304 } });
    place.create("a/b", asked);
    assert_eq!(place.read("a/b/memory.max"), "67108864");
    assert_eq!(place.read("a/b/memory.low"), "4194304");
    if place.at("a/b/memory.swap.max").exists() {
        assert_eq!(place.read("a/b/memory.swap.max"), "0");
    }
    place.create("c", json!({ "memory": { "limit": -1 } }));
    assert_eq!(place.read("c/memory.max"), "max");
}

#[test]
fn lnx_73_an_oom_kill_is_told() {
    let Some(place) = place_with("lnx_73", "memory") else { return };
    let cgroup = place.create("a", json!({ "memory": { "limit": 8_388_608, "swap": 8_388_608 } }));
    assert_eq!(cgroup.memory_oom().expect("an answer"), None);
    assert!(!place.runs("a", "exec head -c 64000000 /dev/zero | exec tail"));
    assert!(matches!(cgroup.memory_oom().expect("an answer"), Some((1.., Some(8_388_608)))));
}

#[test]
fn lnx_80_a_checked_limit_below_the_use_is_rejected() {
    let Some(place) = place_with("lnx_80", "memory") else { return };
    let cgroup = place.create("a", json!({ "memory": { "limit": 67_108_864 } }));
    let mut child = place.sleeper("a");
    let plan = place.plan("a", json!({ "memory": { "limit": 4096, "checkBeforeUpdate": true } }));
    let error = create::apply(&cgroup.dir, &plan).expect_err("an error").to_string();
    assert!(error.contains("rejecting memory limit 4096 <= usage "), "{error}");
    assert_eq!(place.read("a/memory.max"), "67108864");
    create::apply(&cgroup.dir, &place.plan("a", json!({ "memory": { "limit": 33_554_432 } }))).expect("updated");
    assert_eq!(place.read("a/memory.max"), "33554432");
    child.kill().expect("killed");
    child.wait().expect("reaped");
}

#[test]
fn lnx_81_84_cpu_settings_reach_the_kernel() {
    let Some(place) = place_with("lnx_81", "cpu") else { return };
    let cgroup = place.create("a", json!({ "cpu": { "shares": 22_000, "quota": 50_000, "period": 200_000 } }));
    assert_eq!(place.read("a/cpu.weight"), "1204");
    assert_eq!(place.read("a/cpu.max"), "50000 200000");
    if !place.at("a/cpu.max.burst").exists() {
        return eprintln!("skipped the rest of lnx_84: no cpu.max.burst");
    }
    // The burst is above the old quota, and accepted once the new one is there.
    create::apply(&cgroup.dir, &place.plan("a", json!({ "cpu": { "quota": 90_000, "burst": 80_000 } })))
        .expect("updated");
    assert_eq!(
        (place.read("a/cpu.max"), place.read("a/cpu.max.burst")),
        ("90000 100000".to_owned(), "80000".to_owned())
    );
    create::apply(&cgroup.dir, &place.plan("a", json!({ "cpu": { "quota": 20_000, "burst": 10_000 } })))
        .expect("updated");
    assert_eq!(
        (place.read("a/cpu.max"), place.read("a/cpu.max.burst")),
        ("20000 100000".to_owned(), "10000".to_owned())
    );
    let idle = place.create("b", json!({ "cpu": { "idle": 1 } }));
    assert_eq!(place.read("b/cpu.idle"), "1");
    drop(idle);
}

#[test]
fn lnx_97_pids_limit_0_lets_no_fork_succeed() {
    let Some(place) = place_with("lnx_97", "pids") else { return };
    place.create("a", json!({ "pids": { "limit": 0 } }));
    assert_eq!(place.read("a/pids.max"), "1");
    assert!(!place.runs("a", "/bin/true; /bin/true"));
    place.create("b", json!({ "pids": { "limit": -1 }, "unified": { "pids.max": "5" } }));
    assert_eq!(place.read("b/pids.max"), "5", "LNX-103");
}

#[test]
fn lnx_88_91_io_settings() {
    let Some(place) = place_with("lnx_88", "io") else { return };
    fs::create_dir(place.at("probe")).expect("made");
    fs::write(place.at("cgroup.subtree_control"), "+io").expect("enabled");
    let has = |file: &str| place.at("probe").join(file).exists();
    let result = Cgroup::create(&place.host, &place.plan("a", json!({ "blockIO": { "weight": 500 } })));
    match (has("io.bfq.weight"), has("io.weight")) {
        (true, _) => assert!(result.is_ok() && place.read("a/io.bfq.weight").ends_with("500")),
        (false, true) => assert!(result.is_ok() && place.read("a/io.weight").ends_with("4950")),
        (false, false) => {
            let error = result.expect_err("an error").to_string();
            assert!(error.contains("write io.bfq.weight=500, else io.weight=4950: openat: ENOENT"), "{error}");
        }
    }
}

#[test]
fn lnx_100_a_controller_that_cannot_be_enabled_is_an_error() {
    let Some(place) = place_with("lnx_100", "memory") else { return };
    fs::create_dir(place.at("a")).expect("made");
    let mut child = place.sleeper("a");
    let error = place.refusal("a/b", json!({ "memory": { "limit": 1_000_000 } }));
    assert!(
        error.starts_with("linux.resources.memory.limit: enable controller memory below cgroup /cg-test-"),
        "{error}"
    );
    assert!(error.contains("EBUSY") && error.contains("1 process(es) are in /cg-test-"), "{error}");
    assert_eq!(place.read("a/cgroup.type"), "domain", "not made threaded by the attempt");
    place.create("a/b", json!({}));
    assert_eq!(
        (place.read("a/cgroup.type"), place.read("a/b/cgroup.type")),
        ("domain".to_owned(), "domain".to_owned())
    );
    child.kill().expect("killed");
    child.wait().expect("reaped");
}
