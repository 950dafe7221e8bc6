//! `linux.resources` → writes, in runc's order: pids, memory, io, cpu, cpuset, hugetlb, rdma, unified.

#![forbid(unsafe_code)]

use std::fmt::{Debug, Write as _};

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxResources, LinuxThrottleDevice,
    LinuxWeightDevice,
};

use super::{CgroupWrite, MemoryCheck, Node, Refused};
use crate::at::ConfigPath;
use crate::error::{Error, Result};

type Writes = Vec<CgroupWrite>;

/// Every write that `resources`, found at `node`, asks for.
pub(super) fn writes(resources: &LinuxResources, node: &Node<'_>) -> Result<Writes> {
    let mut out = Writes::new();
    if let Some(network) = resources.network() {
        network_asks_for_nothing(network, &node.field("network"))?;
    }
    pids(resources, &node.field("pids"), &mut out);
    if let Some(settings) = resources.memory() {
        memory(settings, &node.field("memory"), &mut out)?;
    }
    if let Some(settings) = resources.block_io() {
        block_io(settings, &node.field("blockIO"), &mut out)?;
    }
    if let Some(settings) = resources.cpu() {
        cpu(settings, &node.field("cpu"), &mut out)?;
        cpuset(settings, &node.field("cpu"), &mut out)?;
    }
    for (index, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        hugepages(limit, &node.field("hugepageLimits").index(index), &mut out)?;
    }
    rdma(resources, &node.field("rdma"), &mut out)?;
    unified(resources, &node.field("unified"), &mut out)?;
    Ok(out)
}

fn write(file: impl Into<String>, value: impl ToString, at: ConfigPath) -> CgroupWrite {
    CgroupWrite { file: file.into(), value: value.to_string(), refused: Refused::Fail, at }
}

/// D10: the text names the value and what helps; the path in front of it names the field.
fn no_equivalent(at: ConfigPath, value: impl Debug, nothing: &str) -> Error {
    Error::refused(at, format!("{value:?} has no cgroup v2 equivalent; remove the field{nothing}"))
}

fn network_asks_for_nothing(network: &LinuxNetwork, node: &Node<'_>) -> Result<()> {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        return Err(no_equivalent(node.at("classID"), class, " (0 asks for nothing)"));
    }
    let priorities = network.priorities().as_deref().unwrap_or_default();
    let list = node.field("priorities");
    for index in 0..priorities.len() {
        list.index(index).require("name", "the name of a network interface")?;
        list.index(index).require("priority", "a priority")?;
    }
    match priorities.first() {
        None => Ok(()),
        Some(first) => Err(no_equivalent(list.at, first.name(), " (an empty list asks for nothing)")),
    }
}

/// `pids.max` counts tasks. 0 becomes 1, which is as tight: the program runs, and no fork succeeds (D9).
fn pids(resources: &LinuxResources, node: &Node<'_>, out: &mut Writes) {
    let Some(pids) = resources.pids().as_ref().filter(|_| node.has("limit")) else { return };
    let value = if pids.limit() < 0 { "max".to_owned() } else { pids.limit().max(1).to_string() };
    out.push(write("pids.max", value, node.at("limit")));
}

/// Bytes, `max` for −1, and nothing for 0, which is how the Go types spell "not set".
fn bytes(value: Option<i64>, at: &ConfigPath) -> Result<Option<String>> {
    match value {
        None | Some(0) => Ok(None),
        Some(-1) => Ok(Some("max".to_owned())),
        Some(bytes) if bytes > 0 => Ok(Some(bytes.to_string())),
        Some(other) => Err(Error::invalid(at.clone(), other, "a number of bytes, -1 (no limit) or 0 (not set)")),
    }
}

fn memory(memory: &LinuxMemory, node: &Node<'_>, out: &mut Writes) -> Result<()> {
    memory_of_v1(memory, node)?;
    let limit = bytes(memory.limit(), &node.at("limit"))?;
    if let Some(value) = swap_only(memory, node)? {
        // Without swap the file is missing, and neither of these values asks for any.
        let refused = if matches!(value.as_str(), "max" | "0") { Refused::SkipIfMissing } else { Refused::Fail };
        let asked = if memory.swap().is_some_and(|swap| swap != 0) { "swap" } else { "limit" };
        out.push(CgroupWrite { refused, ..write("memory.swap.max", value, node.at(asked)) });
    }
    if let Some(value) = limit {
        out.push(write("memory.max", value, node.at("limit")));
    }
    if let Some(value) = bytes(memory.reservation(), &node.at("reservation"))? {
        out.push(write("memory.low", value, node.at("reservation")));
    }
    Ok(())
}

/// `memory.swap` is memory and swap together, `memory.swap.max` is swap only. The cases are runc's
/// (`ConvertMemorySwapToCgroupV2Value`); an unlimited memory alone lifts the swap limit as well.
fn swap_only(memory: &LinuxMemory, node: &Node<'_>) -> Result<Option<String>> {
    let at = node.at("swap");
    let swap = bytes(memory.swap(), &at)?;
    let number = memory.swap().unwrap_or(0);
    match (memory.limit().unwrap_or(0), number) {
        (-1, 0) => Ok(Some("max".to_owned())),
        (_, 0 | -1) | (-1, _) => Ok(swap),
        (0, _) => Err(Error::invalid(at, number, "a memory.limit beside it: it counts memory and swap together")),
        (limit, swap) if swap < limit => {
            Err(Error::invalid(at, swap, format!("at least memory.limit, {limit}: it counts memory and swap together")))
        }
        (limit, swap) => Ok(Some((swap - limit).to_string())),
    }
}

/// What cgroup v2 does not have. `useHierarchy` is not among them: v2 always is hierarchical, so that
/// both values change nothing.
fn memory_of_v1(memory: &LinuxMemory, node: &Node<'_>) -> Result<()> {
    for (field, value) in [("kernel", memory.kernel()), ("kernelTCP", memory.kernel_tcp())] {
        if let Some(value) = value.filter(|value| !matches!(value, 0 | -1)) {
            return Err(no_equivalent(node.at(field), value, " (0 and -1 ask for nothing)"));
        }
    }
    if let Some(value) = memory.swappiness() {
        return Err(no_equivalent(node.at("swappiness"), value, ""));
    }
    if memory.disable_oom_killer() == Some(true) {
        return Err(no_equivalent(node.at("disableOOMKiller"), true, " (false asks for nothing)"));
    }
    Ok(())
}

/// What `checkBeforeUpdate` compares, if it is set (LNX-80).
pub(super) fn memory_check(resources: &LinuxResources, node: &Node<'_>) -> Option<MemoryCheck> {
    let memory = resources.memory().as_ref().filter(|memory| memory.check_before_update() == Some(true))?;
    let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0);
    let at = node.field("memory").at("checkBeforeUpdate");
    Some(MemoryCheck { limit: positive(memory.limit()), swap: positive(memory.swap()), at })
}

/// The range of weights in the specification; `io.bfq.weight` takes them as they are.
const WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;

/// `io.weight` has the range 1 to 10000: a straight line through the ends.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight) - u64::from(*WEIGHTS.start())) * 9999 / 990
}

fn weight(weight: u16, at: &ConfigPath) -> Result<u16> {
    if WEIGHTS.contains(&weight) { Ok(weight) } else { Err(Error::invalid(at.clone(), weight, "10 to 1000")) }
}

/// A weight for the BFQ scheduler, or the same for `io.weight` where that scheduler is not there (P8).
fn weight_write(prefix: &str, weight: u16, at: ConfigPath) -> CgroupWrite {
    let refused = Refused::ElseWrite { file: "io.weight".to_owned(), value: format!("{prefix}{}", io_weight(weight)) };
    CgroupWrite { refused, ..write("io.bfq.weight", format!("{prefix}{weight}"), at) }
}

fn block_io(block: &LinuxBlockIo, node: &Node<'_>, out: &mut Writes) -> Result<()> {
    no_leaf_weight(block.leaf_weight(), node)?;
    if let Some(value) = block.weight().filter(|value| *value != 0) {
        let at = node.at("weight");
        out.push(weight_write("", weight(value, &at)?, at));
    }
    let list = node.field("weightDevice");
    for (index, device) in block.weight_device().iter().flatten().enumerate() {
        out.extend(weight_device(device, &list.index(index))?);
    }
    throttle(block, node, out)
}

fn no_leaf_weight(leaf_weight: Option<u16>, node: &Node<'_>) -> Result<()> {
    match leaf_weight {
        None | Some(0) => Ok(()),
        Some(value) => Err(no_equivalent(node.at("leafWeight"), value, " (0 asks for nothing)")),
    }
}

fn weight_device(device: &LinuxWeightDevice, node: &Node<'_>) -> Result<Option<CgroupWrite>> {
    let number = device_number((device.major(), device.minor()), node)?;
    if device.weight().is_none() && device.leaf_weight().is_none() {
        return Err(Error::missing(node.at("weight"), "weight, or leafWeight, or both"));
    }
    no_leaf_weight(device.leaf_weight(), node)?;
    let Some(value) = device.weight() else { return Ok(None) };
    let at = node.at("weight");
    Ok(Some(weight_write(&format!("{number} "), weight(value, &at)?, at)))
}

/// `MAJOR:MINOR` of a block device; both are required (X16).
fn device_number((major, minor): (i64, i64), node: &Node<'_>) -> Result<String> {
    for (field, value) in [("major", major), ("minor", minor)] {
        node.require(field, "the number of a block device")?;
        if u32::try_from(value).is_err() {
            return Err(Error::invalid(node.at(field), value, "0 to 4294967295"));
        }
    }
    Ok(format!("{major}:{minor}"))
}

/// The four lists give one line for each device: `8:0 rbps=1048576 wiops=100` (LNX-91).
fn throttle(block: &LinuxBlockIo, node: &Node<'_>, out: &mut Writes) -> Result<()> {
    let lists: [(_, _, &Option<Vec<LinuxThrottleDevice>>); 4] = [
        ("throttleReadBpsDevice", "rbps", block.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", "wbps", block.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", "riops", block.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", "wiops", block.throttle_write_iops_device()),
    ];
    let first = out.len();
    for (field, key, devices) in lists {
        for (index, device) in devices.iter().flatten().enumerate() {
            let node = node.field(field).index(index);
            let number = device_number((device.major(), device.minor()), &node)?;
            node.require("rate", "bytes or operations per second")?;
            if device.rate() == 0 {
                return Err(Error::invalid(node.at("rate"), 0, "1 or more per second"));
            }
            let lines = &mut out[first..];
            match lines.iter_mut().find(|line| line.value.split(' ').next() == Some(&number)) {
                // Writing to a String cannot fail.
                Some(line) => drop(write!(line.value, " {key}={}", device.rate())),
                None => out.push(self::write("io.max", format!("{number} {key}={}", device.rate()), node.at)),
            }
        }
    }
    Ok(())
}

/// `cpu.shares` 2 to 262144 → `cpu.weight` 1 to 10000: a curve through both ends and through 1024 → 100,
/// the defaults (runc and crun since 2025; the older straight line gave 39 for the default).
fn cpu_weight(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            #[expect(clippy::cast_precision_loss, reason = "below 2^18")]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10000")]
            let weight = 10_f64.powf(exponent).ceil() as u64;
            weight
        }
    }
}

fn cpu(cpu: &LinuxCpu, node: &Node<'_>, out: &mut Writes) -> Result<()> {
    realtime_asks_for_nothing(cpu, node)?;
    // Before the weight, as in runc: the kernel refuses a weight for an idle cgroup, not the reverse.
    if let Some(idle) = cpu.idle() {
        if !matches!(idle, 0 | 1) {
            return Err(Error::invalid(node.at("idle"), idle, "0 or 1"));
        }
        out.push(write("cpu.idle", idle, node.at("idle")));
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        out.push(write("cpu.weight", cpu_weight(shares), node.at("shares")));
    }
    let quota = cpu.quota().unwrap_or(0);
    let period = cpu.period().unwrap_or(0);
    let bandwidth = quota != 0 || period != 0;
    if let Some(burst) = cpu.burst() {
        out.push(CgroupWrite {
            refused: if bandwidth { Refused::AgainAfterNext } else { Refused::Fail },
            ..write("cpu.max.burst", self::burst(burst, quota, node)?, node.at("burst"))
        });
    }
    if bandwidth {
        let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
        let period = if period == 0 { DEFAULT_PERIOD } else { period };
        let at = node.at(if cpu.quota().unwrap_or(0) == 0 { "period" } else { "quota" });
        out.push(write("cpu.max", format!("{quota} {period}"), at));
    }
    Ok(())
}

/// The kernel's default period in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// Microseconds that may be saved up; not more than a quota that is set (LNX-83).
fn burst(burst: u64, quota: i64, node: &Node<'_>) -> Result<u64> {
    match u64::try_from(quota) {
        Ok(quota) if quota > 0 && burst > quota => {
            Err(Error::invalid(node.at("burst"), burst, format!("at most the quota, {quota}")))
        }
        _ => Ok(burst),
    }
}

fn realtime_asks_for_nothing(cpu: &LinuxCpu, node: &Node<'_>) -> Result<()> {
    if let Some(value) = cpu.realtime_runtime().filter(|value| *value != 0) {
        return Err(no_equivalent(node.at("realtimeRuntime"), value, " (0 asks for nothing)"));
    }
    match cpu.realtime_period().filter(|value| *value != 0) {
        Some(value) => Err(no_equivalent(node.at("realtimePeriod"), value, " (0 asks for nothing)")),
        None => Ok(()),
    }
}

fn cpuset(cpu: &LinuxCpu, node: &Node<'_>, out: &mut Writes) -> Result<()> {
    for (field, file, list) in [("cpus", "cpuset.cpus", cpu.cpus()), ("mems", "cpuset.mems", cpu.mems())] {
        let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else { continue };
        if !list.split(',').all(|item| is_range(item.trim())) {
            return Err(Error::invalid(node.at(field), list, "a list of numbers and ranges such as 0-3,8"));
        }
        out.push(write(file, list, node.at(field)));
    }
    Ok(())
}

/// `N`, `N-M` or `N-M:USED/GROUP` (cpuset(7), "List format").
fn is_range(item: &str) -> bool {
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    let (range, stride) = item.split_once(':').map_or((item, None), |(range, stride)| (range, Some(stride)));
    let ordered = match range.split_once('-') {
        None => number(range).is_some() && stride.is_none(),
        Some((first, last)) => matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last),
    };
    let stride = stride.map_or(Some((1, 1)), |stride| {
        let (used, group) = stride.split_once('/')?;
        Some((number(used)?, number(group)?))
    });
    ordered && stride.is_some_and(|(used, group)| used <= group && group > 0)
}

/// The limit of use, and that of reservations where the kernel has it (Linux 5.7), as runc does.
fn hugepages(limit: &LinuxHugepageLimit, node: &Node<'_>, out: &mut Writes) -> Result<()> {
    const SIZE: &str = "a huge page size of this machine such as 2MB or 1GB: a number, then KB, MB or GB";
    node.require("pageSize", SIZE)?;
    node.require("limit", "a number of bytes")?;
    let size = limit.page_size();
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    let is_power = |text: &str| !text.starts_with('+') && text.parse::<u64>().is_ok_and(u64::is_power_of_two);
    if !number.is_some_and(is_power) {
        return Err(Error::invalid(node.at("pageSize"), size, SIZE));
    }
    // The typed form is signed; a limit of 2^63 and more only is in the text (LNX-94).
    let at = node.at("limit");
    let json = &node.json["limit"];
    let bytes = json.as_u64().ok_or_else(|| Error::invalid(at.clone(), json.to_string(), "a number of bytes"))?;
    out.push(write(format!("hugetlb.{size}.max"), bytes, at.clone()));
    let reserved = write(format!("hugetlb.{size}.rsvd.max"), bytes, at);
    out.push(CgroupWrite { refused: Refused::SkipIfMissing, ..reserved });
    Ok(())
}

/// `rdma.max`: `mlx4_0 hca_handle=2 hca_object=2000`, one write for each device.
fn rdma(resources: &LinuxResources, node: &Node<'_>, out: &mut Writes) -> Result<()> {
    let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
    devices.sort_by_key(|(name, _)| *name);
    for (name, limits) in devices {
        let at = node.at.key(name);
        if name.is_empty() || name.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Err(Error::invalid(at, name, "the name of an RDMA device"));
        }
        let limits = [("hca_handle", limits.hca_handles()), ("hca_object", limits.hca_objects())];
        let limits: Vec<_> = limits.iter().filter_map(|(key, value)| Some(format!("{key}={}", (*value)?))).collect();
        if limits.is_empty() {
            return Err(Error::missing(at, "hcaHandles, or hcaObjects, or both"));
        }
        out.push(write("rdma.max", format!("{name} {}", limits.join(" ")), at));
    }
    Ok(())
}

/// Files by their names, after everything else so that they win (LNX-103), sorted by name; each line of
/// a value is one write(2), because files such as `io.max` take one line at a time.
fn unified(resources: &LinuxResources, node: &Node<'_>, out: &mut Writes) -> Result<()> {
    let mut files: Vec<_> = resources.unified().iter().flatten().collect();
    files.sort();
    for (file, value) in files {
        let at = node.at.key(file);
        let in_form = file.split_once('.').is_some_and(|(controller, rest)| !controller.is_empty() && !rest.is_empty());
        if !in_form || file.contains(['/', '\0']) {
            return Err(Error::invalid(
                at,
                file,
                "CONTROLLER.PARAMETER, the name of one file in the container's cgroup",
            ));
        }
        let lines: Vec<&str> = if value.is_empty() { vec![""] } else { value.lines().collect() };
        // An empty value is a newline: writing no byte at all would not reach the kernel.
        let lines = lines.into_iter().map(|line| if line.is_empty() { "\n" } else { line });
        out.extend(lines.map(|line| write(file, line, at.clone())));
    }
    Ok(())
}
