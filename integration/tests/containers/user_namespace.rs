//! `linux.uidMappings` and `linux.gidMappings`.

use integration::mountinfo::{host_folder, refused, text};
use integration::{Container, Runtime, Snapshot};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;

cases! {
    Any [UserNs]:
        lnx_13_ids_are_mapped,
        lnx_22_maps_are_written_as_configured,
        lnx_22_user_and_group_maps_may_differ,
        lnx_23_every_member_is_required,
        lnx_23_numbers_out_of_range_are_refused,
        lnx_23_size_0_and_overlaps_are_refused,
        lnx_24_new_user_namespace_needs_mappings,
        lnx_24_mappings_need_a_user_namespace,
        point_6_equal_mappings_with_a_path_are_accepted,
        point_6_other_mappings_with_a_path_are_refused,
        lnx_25_no_owner_is_changed,
        lnx_26_340_entries_work_and_341_are_refused,
        peer_46_limits_are_set_before_it_is_entered,
    ;
}

fn lnx_13_ids_are_mapped(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "id -u; id -g; touch /tmp/new; stat -c %u:%g /tmp/new; sleep 1000");
    container.bundle.user_namespace(100_000).writable();
    container.run_detached().ok();
    assert_eq!(container.wait_stdout("0:0\n"), "0\n0\n0:0\n");
    assert_eq!(container.process().status("Uid").unwrap(), "100000\t100000\t100000\t100000");
    assert_eq!(container.process().status("Gid").unwrap(), "100000\t100000\t100000\t100000");
    let made = container.bundle.inside("/tmp/new").metadata().unwrap();
    assert_eq!((made.uid(), made.gid()), (100_000, 100_000));
}

/// A map as the kernel shows it, sorted.
fn map(text: &str) -> Vec<Vec<u32>> {
    let line = |line: &str| line.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let mut lines: Vec<Vec<u32>> = text.lines().map(line).collect();
    lines.sort();
    lines
}

fn mapping(inside: u32, outside: u32, size: u32) -> Value {
    json!({"containerID": inside, "hostID": outside, "size": size})
}

fn lnx_22_maps_are_written_as_configured(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let maps = json!([mapping(5000, 300_000, 10), mapping(0, 100_000, 1000), mapping(1000, 250_000, 7)]);
    container.bundle.user_namespace(100_000).set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    container.create().ok();
    let expected = [[0, 100_000, 1000], [1000, 250_000, 7], [5000, 300_000, 10]];
    assert_eq!(map(&container.process().read("uid_map")), expected);
    assert_eq!(map(&container.process().read("gid_map")), expected);
}

fn lnx_22_user_and_group_maps_may_differ(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    container.bundle.user_namespace(100_000).set("/linux/gidMappings", json!([mapping(0, 200_000, 500)]));
    container.create().ok();
    assert_eq!(map(&container.process().read("uid_map")), [[0, 100_000, 65536]]);
    assert_eq!(map(&container.process().read("gid_map")), [[0, 200_000, 500]]);
}

/// A container in a user namespace with this list of mappings is refused.
fn refused_with(runtime: &Runtime, maps: &Value) -> String {
    let mut container = Container::sleeper(runtime);
    container.bundle.user_namespace(100_000).set("/linux/uidMappings", maps.clone());
    refused(&container)
}

fn lnx_23_every_member_is_required(runtime: &Runtime) {
    for member in ["containerID", "hostID", "size"] {
        let mut entry = mapping(0, 100_000, 65536);
        entry.as_object_mut().unwrap().remove(member);
        let message = refused_with(runtime, &json!([entry]));
        assert!(message.contains(member), "{message}");
    }
}

fn lnx_23_numbers_out_of_range_are_refused(runtime: &Runtime) {
    for member in ["containerID", "hostID", "size"] {
        for number in [json!(-1), json!(4_294_967_296_u64), json!(1.5), json!("1")] {
            let mut entry = mapping(0, 100_000, 65536);
            entry[member] = number;
            refused_with(runtime, &json!([entry]));
        }
    }
}

fn lnx_23_size_0_and_overlaps_are_refused(runtime: &Runtime) {
    refused_with(runtime, &json!([mapping(0, 100_000, 0)]));
    refused_with(runtime, &json!([mapping(0, 100_000, 10), mapping(5, 200_000, 10)]));
    refused_with(runtime, &json!([mapping(0, 100_000, 10), mapping(10, 100_005, 10)]));
    refused_with(runtime, &json!([mapping(0, 4_294_967_290, 10)]));
}

fn lnx_24_new_user_namespace_needs_mappings(runtime: &Runtime) {
    for missing in [&["uidMappings", "gidMappings"][..], &["uidMappings"], &["gidMappings"]] {
        let mut container = Container::sleeper(runtime);
        container.bundle.user_namespace(100_000);
        for list in missing {
            container.bundle.remove(&format!("/linux/{list}"));
        }
        refused(&container);
        for list in missing {
            container.bundle.set(&format!("/linux/{list}"), json!([]));
        }
        refused(&container);
    }
}

fn lnx_24_mappings_need_a_user_namespace(runtime: &Runtime) {
    for list in ["uidMappings", "gidMappings"] {
        let mut container = Container::sleeper(runtime);
        container.bundle.set(&format!("/linux/{list}"), json!([mapping(0, 100_000, 65536)]));
        let message = refused(&container);
        assert!(message.contains("user namespace"), "{message}");
    }
}

/// A container that joins the user namespace of another one and has mappings to `host`.
fn joining(first: &mut Container, host: u32) -> Container {
    first.bundle.user_namespace(100_000);
    first.create().ok();
    let mut second = Container::sleeper(&first.runtime);
    second.bundle.user_namespace(host).join_namespace("user", &format!("/proc/{}/ns/user", first.pid()));
    second
}

fn point_6_equal_mappings_with_a_path_are_accepted(runtime: &Runtime) {
    let mut first = Container::sleeper(runtime);
    let second = joining(&mut first, 100_000);
    second.create().ok();
    assert_eq!(second.process().namespace("user"), first.process().namespace("user"));
}

fn point_6_other_mappings_with_a_path_are_refused(runtime: &Runtime) {
    let mut first = Container::sleeper(runtime);
    refused(&joining(&mut first, 200_000));
}

fn lnx_25_no_owner_is_changed(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    let source = host_folder(&container, "bundle/source");
    fs::write(source.join("file"), "").unwrap();
    container.bundle.user_namespace(100_000).mount("/b", "none", text(&source), &["bind"]);
    let before = Snapshot::take(&container);
    container.create().ok();
    container.start().ok();
    container.delete_force().ok();
    before.assert_unchanged(&container);
}

fn lnx_26_340_entries_work_and_341_are_refused(runtime: &Runtime) {
    // The kernel takes a map in one write of less than a page, so the numbers must be short.
    let maps = |count: u32| -> Value { (0..count).map(|id| mapping(id, 20_000 + 2 * id, 1)).collect() };
    let mut container = Container::sleeper(runtime);
    container.bundle.user_namespace(20_000).set("/linux/uidMappings", maps(340)).set("/linux/gidMappings", maps(340));
    container.create().ok();
    assert_eq!(container.process().read("uid_map").lines().count(), 340);
    refused_with(runtime, &maps(341));
}

fn peer_46_limits_are_set_before_it_is_entered(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "cat /proc/self/oom_score_adj; ulimit -Hn; ulimit -Sn");
    container.bundle.user_namespace(100_000).set("/process/oomScoreAdj", json!(345));
    container.bundle.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}]));
    assert_eq!(container.run().ok().text(), "345\n99\n77");
}
