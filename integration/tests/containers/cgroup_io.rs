//! `linux.resources.blockIO`, `.hugepageLimits` and `.rdma`, as seen on cgroup v2.

use super::cgroup_memory::{limit, not_written, written};
use integration::{Container, Runtime};
use serde_json::{Value, json};
use std::fs;

cases! {
    Any:
        lnx_90_weight_of_a_device_needs_its_members,
        lnx_91_throttle_needs_its_members,
        lnx_93_page_sizes_that_do_not_exist_are_refused,
        lnx_94_limit_is_required,
        lnx_98_rdma_needs_a_limit,
    ;
    Full:
        lnx_88_weight_goes_where_the_kernel_has_it,
        lnx_91_throttle_of_an_unknown_device_is_refused,
    ;
    Full [BlockDevice]:
        lnx_91_throttles_are_merged_per_device,
    ;
    Full [BlockDevice, Bfq]:
        lnx_90_weight_of_a_device_is_written,
    ;
    Full [Hugetlb]:
        lnx_92_hugepage_limits_are_written,
        lnx_94_great_limits_survive,
    ;
    Full [Rdma]:
        lnx_98_rdma_of_an_unknown_device_is_refused,
    ;
}

/// Where neither `io.bfq.weight` nor `io.weight` exists, the error surfaces (P8).
fn lnx_88_weight_goes_where_the_kernel_has_it(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    fs::write(container.parent_cgroup().join("cgroup.subtree_control"), "+io").unwrap();
    fs::create_dir(container.cgroup()).unwrap();
    let has = |file: &str| container.cgroup().join(file).exists();
    let io = json!({"blockIO": {"weight": 500}});
    if has("io.bfq.weight") {
        written(runtime, io, &[("io.bfq.weight", "default 500")]);
    } else if has("io.weight") {
        written(runtime, io, &[("io.weight", "default 4950")]);
    } else {
        not_written(runtime, &io, "weight");
    }
}

/// The first block device of the machine, as major and minor number.
fn block_device() -> (u64, u64) {
    let disks = fs::read_dir("/sys/block").expect("/sys/block").flatten();
    let numbers = disks.filter_map(|disk| fs::read_to_string(disk.path().join("dev")).ok()).min().expect("a disk");
    let (major, minor) = numbers.trim().split_once(':').expect("two numbers");
    (major.parse().expect("a number"), minor.parse().expect("a number"))
}

fn lnx_90_weight_of_a_device_is_written(runtime: &Runtime) {
    let (major, minor) = block_device();
    let mut container = Container::sleeper(runtime);
    let device = json!([{"major": major, "minor": minor, "weight": 300}]);
    container.bundle.set("/linux/resources", json!({"blockIO": {"weightDevice": device}}));
    container.create().ok();
    assert!(limit(&container, "io.bfq.weight").lines().any(|line| line == format!("{major}:{minor} 300")));
}

fn without(mut entry: Value, name: &str) -> Value {
    entry.as_object_mut().expect("an object").remove(name);
    entry
}

fn lnx_90_weight_of_a_device_needs_its_members(runtime: &Runtime) {
    let whole = json!({"major": 8, "minor": 0, "weight": 300});
    for name in ["major", "minor", "weight"] {
        not_written(runtime, &json!({"blockIO": {"weightDevice": [without(whole.clone(), name)]}}), name);
    }
}

const THROTTLES: [(&str, &str); 4] = [
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
];

fn lnx_91_throttles_are_merged_per_device(runtime: &Runtime) {
    let (major, minor) = block_device();
    let mut container = Container::sleeper(runtime);
    for (index, (field, _)) in THROTTLES.iter().enumerate() {
        let entry = json!([{"major": major, "minor": minor, "rate": 1000 * (index + 1)}]);
        container.bundle.set(&format!("/linux/resources/blockIO/{field}"), entry);
    }
    container.create().ok();
    let line = format!("{major}:{minor} rbps=1000 wbps=2000 riops=3000 wiops=4000");
    assert_eq!(limit(&container, "io.max"), line);
}

fn lnx_91_throttle_of_an_unknown_device_is_refused(runtime: &Runtime) {
    let entry = json!([{"major": 4000, "minor": 77, "rate": 1000}]);
    not_written(runtime, &json!({"blockIO": {"throttleReadBpsDevice": entry}}), "4000:77");
}

fn lnx_91_throttle_needs_its_members(runtime: &Runtime) {
    for (field, _) in THROTTLES {
        for name in ["major", "minor", "rate"] {
            let entry = without(json!({"major": 8, "minor": 0, "rate": 1000}), name);
            not_written(runtime, &json!({"blockIO": {field: [entry]}}), name);
        }
    }
}

fn huge(size: &str, limit: u64) -> Value {
    json!({"hugepageLimits": [{"pageSize": size, "limit": limit}]})
}

fn lnx_92_hugepage_limits_are_written(runtime: &Runtime) {
    let files = [("hugetlb.2MB.max", "4194304"), ("hugetlb.2MB.rsvd.max", "4194304")];
    written(runtime, huge("2MB", 4 << 20), &files);
}

fn lnx_93_page_sizes_that_do_not_exist_are_refused(runtime: &Runtime) {
    for size in ["3MB", "2mb", "2M", "MB", "", "2MB/../x", "+2MB"] {
        not_written(runtime, &huge(size, 0), "hugepageLimits");
    }
    not_written(runtime, &json!({"hugepageLimits": [{"limit": 0}]}), "pageSize");
}

fn lnx_94_limit_is_required(runtime: &Runtime) {
    not_written(runtime, &json!({"hugepageLimits": [{"pageSize": "2MB"}]}), "limit");
    not_written(runtime, &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": -1}]}), "limit");
}

fn lnx_94_great_limits_survive(runtime: &Runtime) {
    written(runtime, huge("2MB", 9_223_372_036_854_772_000), &[("hugetlb.2MB.max", "max")]);
}

fn lnx_98_rdma_needs_a_limit(runtime: &Runtime) {
    not_written(runtime, &json!({"rdma": {"mlx4_0": {}}}), "mlx4_0");
}

fn lnx_98_rdma_of_an_unknown_device_is_refused(runtime: &Runtime) {
    not_written(runtime, &json!({"rdma": {"not-there": {"hcaHandles": 3}}}), "not-there");
}
