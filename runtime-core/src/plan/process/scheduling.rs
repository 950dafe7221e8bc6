//! When, where and in which memory the process runs: `process.scheduler`, `process.ioPriority`,
//! `process.execCPUAffinity`, `linux.memoryPolicy`.
//!
//! Scheduler and I/O priority are set by the host at the last gate: init may lack the rights.

#![forbid(unsafe_code)]

use runtime_init::Step;
use runtime_init::scheduling::{CPUS, NODES};
use runtime_init::sys::process::SchedAttr;

use super::super::HostStep;
use super::super::draft::Draft;
use super::super::object::{Object, bits_of_list};
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// The policies and their numbers (`linux/sched.h`). SCHED_ISO has one, but no kernel ever had the policy.
const POLICIES: [(&str, u32); 6] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];
const POLICY: &str = "SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE or SCHED_DEADLINE";

const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];
const FLAG: &str =
    "SCHED_FLAG_ and RESET_ON_FORK, RECLAIM, DL_OVERRUN, KEEP_POLICY, KEEP_PARAMS, UTIL_CLAMP_MIN or UTIL_CLAMP_MAX";

/// The classes and their numbers (`linux/ioprio.h`).
const CLASSES: [(&str, u32); 3] = [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
const CLASS_SHIFT: u32 = 13;

/// The modes and their numbers (`linux/mempolicy.h`), and how many nodes they take: none, at least one, or any.
const MODES: [(&str, u32, Nodes); 7] = [
    ("MPOL_BIND", 2, Nodes::Some),
    ("MPOL_DEFAULT", 0, Nodes::None),
    ("MPOL_INTERLEAVE", 3, Nodes::Some),
    ("MPOL_LOCAL", 4, Nodes::None),
    ("MPOL_PREFERRED", 1, Nodes::Any),
    ("MPOL_PREFERRED_MANY", 5, Nodes::Some),
    ("MPOL_WEIGHTED_INTERLEAVE", 6, Nodes::Some),
];
const MODE_FLAGS: [(&str, u64); 3] =
    [("MPOL_F_NUMA_BALANCING", 1 << 13), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_STATIC_NODES", 1 << 15)];

/// How many nodes a mode takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nodes {
    None,
    Some,
    Any,
}

/// `process.scheduler`.
pub(in crate::plan) fn scheduler(p: &mut Draft<'_>) -> Result<()> {
    let Some(given) = Object::of(p, "process.scheduler")? else { return Ok(()) };
    let policy = given.word("policy", POLICY)?.ok_or_else(|| Error::missing(given.at.field("policy"), POLICY))?;
    let Some((name, number)) = POLICIES.into_iter().find(|(name, _)| *name == policy) else {
        return Err(Error::invalid(given.at.field("policy"), policy, POLICY));
    };
    let time = |name| Ok::<_, Error>(given.number(name, "a number of nanoseconds")?.unwrap_or(0));
    let attr = SchedAttr {
        policy: number,
        flags: given.flags("flags", &FLAGS, FLAG)?,
        nice: given.number("nice", "-20 to 19")?.unwrap_or(0),
        priority: given.number("priority", "0 to 99")?.unwrap_or(0),
        runtime: time("runtime")?,
        deadline: time("deadline")?,
        period: time("period")?,
    };
    fits(&given, name, &attr)?;
    p.host_for(&given.at, HostStep::Scheduler { attr, name });
    Ok(())
}

/// What the kernel would refuse with a bare EINVAL, or ignore.
fn fits(given: &Object<'_>, policy: &str, attr: &SchedAttr) -> Result<()> {
    let at = |name| given.at.field(name);
    if !(-20..=19).contains(&attr.nice) {
        return Err(Error::invalid(at("nice"), attr.nice, "-20 to 19"));
    }
    let real_time = matches!(policy, "SCHED_FIFO" | "SCHED_RR");
    if real_time != (1..=99).contains(&attr.priority) {
        let expected = if real_time { "1 to 99" } else { "0: only SCHED_FIFO and SCHED_RR have a priority" };
        return Err(Error::invalid(at("priority"), attr.priority, expected));
    }
    let times = [("runtime", attr.runtime), ("deadline", attr.deadline), ("period", attr.period)];
    match times.into_iter().find(|(_, time)| policy != "SCHED_DEADLINE" && *time != 0) {
        Some((name, time)) => Err(Error::invalid(at(name), time, "0: only SCHED_DEADLINE has times")),
        None => Ok(()),
    }
}

/// `process.ioPriority`. An absent priority is the highest, as in runc (X3).
pub(in crate::plan) fn io_priority(p: &mut Draft<'_>) -> Result<()> {
    const CLASS: &str = "IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or IOPRIO_CLASS_IDLE";
    const LEVEL: &str = "0 to 7";
    let Some(given) = Object::of(p, "process.ioPriority")? else { return Ok(()) };
    let class = given.word("class", CLASS)?.ok_or_else(|| Error::missing(given.at.field("class"), CLASS))?;
    let Some((name, number)) = CLASSES.into_iter().find(|(name, _)| *name == class) else {
        return Err(Error::invalid(given.at.field("class"), class, CLASS));
    };
    let level: u32 = given.number("priority", LEVEL)?.unwrap_or(0);
    if level > 7 {
        return Err(Error::invalid(given.at.field("priority"), level, LEVEL));
    }
    p.host_for(&given.at, HostStep::IoPriority { value: number << CLASS_SHIFT | level, name, level });
    Ok(())
}

/// `process.execCPUAffinity.initial`: before the process is in the container's cgroup.
pub(in crate::plan) fn cpus_before(p: &mut Draft<'_>) -> Result<()> {
    if let Some((at, mask)) = cpus(p, "initial")? {
        let mask = p.words(&mask);
        p.init_for(&at, Step::Cpus { mask });
    }
    Ok(())
}

/// `process.execCPUAffinity.final`. Without one the kernel decides, from the initial CPUs if there are any, or else from all:
/// a runtime started from a pinned shell must not pin the process.
pub(in crate::plan) fn cpus_after(p: &mut Draft<'_>) -> Result<()> {
    match (cpus(p, "final")?, cpus(p, "initial")?) {
        (Some((at, mask)), _) => {
            let mask = p.words(&mask);
            p.init_for(&at, Step::Cpus { mask });
        }
        (None, Some(_)) => {}
        (None, None) => all_cpus(p),
    }
    Ok(())
}

/// Every CPU of the cpuset.
pub(in crate::plan) fn all_cpus(p: &mut Draft<'_>) {
    let mask = p.words(&[]);
    p.init(Step::Cpus { mask });
}

/// Checks what concerns later commands only.
pub(in crate::plan) fn check_exec_cpus(p: &Draft<'_>) -> Result<()> {
    ["initial", "final"].into_iter().try_for_each(|name| cpus(p, name).map(drop))
}

fn cpus(p: &Draft<'_>, name: &str) -> Result<Option<(ConfigPath, Vec<u32>)>> {
    const LIST: &str = "CPUs such as 0-3,7, each at most 8191";
    const { assert!(CPUS == 8192) };
    let Some(given) = Object::of(p, "process.execCPUAffinity")? else { return Ok(None) };
    let Some(list) = given.word(name, LIST)?.filter(|list| !list.is_empty()) else { return Ok(None) };
    match bits_of_list(list, CPUS) {
        Some(mask) if !mask.is_empty() => Ok(Some((given.at.field(name), mask))),
        _ => Err(Error::invalid(given.at.field(name), list, LIST)),
    }
}

/// `linux.memoryPolicy`, in runc's words where there is an error.
pub(in crate::plan) fn memory_policy(p: &mut Draft<'_>) -> Result<()> {
    let Some(given) = Object::of(p, "linux.memoryPolicy")? else { return Ok(()) };
    let names = || MODES.map(|(name, ..)| name).join(", ");
    let Some(mode) = given.word("mode", "a mode such as MPOL_BIND")? else {
        let expected = format!("invalid memory policy mode, one of {}", names());
        return Err(Error::missing(given.at.field("mode"), expected));
    };
    let Some((_, number, wanted)) = MODES.into_iter().find(|(name, ..)| *name == mode) else {
        let reason = format!("invalid memory policy mode {mode:?}: expected {}", names());
        return Err(Error::refused(given.at.field("mode"), reason));
    };
    let flags = flags(&given)?;
    let nodes = nodes(&given, wanted)?;
    let nodes = p.words(&nodes);
    p.init_for(&given.at, Step::MemoryPolicy { mode: number | flags, nodes });
    Ok(())
}

/// The words for modes and for flags, sorted.
pub(crate) fn known_memory_policies() -> ([&'static str; 7], [&'static str; 3]) {
    (MODES.map(|(name, ..)| name), MODE_FLAGS.map(|(name, _)| name))
}

/// The word for a mode, without its flags.
pub(in crate::plan) fn memory_policy_name(mode: u32) -> &'static str {
    const FLAGS: u32 = 0b111 << 13;
    MODES.iter().find(|(_, number, _)| *number == mode & !FLAGS).map_or("memory policy", |(name, ..)| name)
}

fn flags(given: &Object<'_>) -> Result<u32> {
    let expected = "MPOL_F_NUMA_BALANCING, MPOL_F_RELATIVE_NODES or MPOL_F_STATIC_NODES: invalid memory policy flag";
    let flags = given.flags("flags", &MODE_FLAGS, expected)?;
    Ok(u32::try_from(flags).unwrap_or_default())
}

fn nodes(given: &Object<'_>, wanted: Nodes) -> Result<Vec<u32>> {
    const { assert!(NODES == 1024) };
    let at = given.at.field("nodes");
    let list = given.word("nodes", "nodes such as 0-3,7")?.unwrap_or_default();
    let Some(nodes) = bits_of_list(list, NODES) else {
        let reason = format!("invalid memory policy nodes {list:?}: expected nodes such as 0-3,7, each at most 1023");
        return Err(Error::refused(at, reason));
    };
    let count: u32 = nodes.iter().map(|word| word.count_ones()).sum();
    match wanted {
        Nodes::None if count > 0 => {
            Err(Error::refused(at, format!("memory policy mode requires 0 nodes but got {count}")))
        }
        Nodes::Some if count == 0 => Err(Error::refused(at, "memory policy mode requires at least one node but got 0")),
        _ => Ok(nodes),
    }
}
