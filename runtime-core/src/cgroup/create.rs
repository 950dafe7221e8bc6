//! From a plan to a cgroup that is ready for its first process.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::fs::{Dir, Refusal, components, unless_gone};
use super::{Cgroup, CgroupHost, devices, pids};
use crate::at::ConfigPath;
use crate::error::{Error, Need, Result, StepError};
use crate::plan::Note;
use crate::plan::cgroup::{CgroupPlan, CgroupWrite, MemoryCheck, Refused};

/// What [`Cgroup::create`] made.
#[derive(Debug)]
pub struct Created {
    /// The cgroup; `None` for a rootless container without limits where none may be made.
    pub cgroup: Option<Cgroup>,
    /// What was left out, with the field concerned.
    pub notes: Vec<Note>,
}

/// The delegatable files of kernels without `/sys/kernel/cgroup/delegate` (LNX-68).
const DELEGATED: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

pub(super) fn create(host: &CgroupHost, plan: &CgroupPlan) -> Result<Created> {
    let root =
        Dir::mount(&host.mount).map_err(|refusal| refusal.step(None, format!("open {}", host.mount.display())))?;
    check_fitness(&root, plan)?;
    let mut made = Made { first: None, depth: 0 };
    let result = made.directories(&root, plan).and_then(|dir| equip(dir, plan));
    match result {
        Ok((dir, notes)) => {
            let cgroup = Cgroup { dir, mount: host.mount.clone(), path: plan.path.clone(), fresh: made.is_fresh() };
            Ok(Created { cgroup: Some(cgroup), notes })
        }
        Err(error) => {
            made.undo(&root, plan);
            without(plan, error)
        }
    }
}

/// The first `count` components of a path.
fn prefix(path: &str, count: usize) -> String {
    components(path).take(count).fold(String::new(), |path, name| path + "/" + name)
}

fn doing(plan: &CgroupPlan) -> String {
    format!("create cgroup {}", plan.path)
}

fn check_failed(plan: &CgroupPlan, errno: Errno, detail: String) -> Error {
    let mut error = StepError::host(plan.path_at.clone(), doing(plan), "check", errno);
    error.detail = Some(detail);
    error.into()
}

/// A container in a frozen cgroup would never start, and one among foreign processes would share its
/// limits with them and take them along when it is killed (LNX-53). The texts are runc's.
fn check_fitness(root: &Dir, plan: &CgroupPlan) -> Result<()> {
    let refused = |refusal: Refusal| refusal.step(plan.path_at.clone(), doing(plan));
    let mut here = root.child(".").map_err(refused)?;
    let depth = components(&plan.path).count();
    for (level, name) in components(&plan.path).enumerate() {
        let Some(child) = unless_gone(here.child(name)).map_err(refused)? else { return Ok(()) };
        here = child;
        if here.word("cgroup.freeze").map_err(refused)?.as_deref() == Some("1") {
            let of = if level + 1 == depth {
                String::new()
            } else {
                format!(": {} above it is", prefix(&plan.path, level + 1))
            };
            return Err(check_failed(plan, Errno::EBUSY, format!("container's cgroup unexpectedly frozen{of}")));
        }
    }
    match pids(&here).map_err(refused)?.len() {
        0 => Ok(()),
        count => {
            Err(check_failed(plan, Errno::EBUSY, format!("container's cgroup is not empty: {count} process(es) found")))
        }
    }
}

/// Which of the directories of a path were made, so that they can be unmade.
struct Made {
    /// Index of the first component that was made.
    first: Option<usize>,
    /// Number of components that exist.
    depth: usize,
}

impl Made {
    /// Makes what is missing of the path and enables the controllers on the way down (LNX-59, 100).
    fn directories(&mut self, root: &Dir, plan: &CgroupPlan) -> Result<Dir> {
        let mut here = root.child(".").map_err(|refusal| refusal.step(plan.path_at.clone(), doing(plan)))?;
        for (index, name) in components(&plan.path).enumerate() {
            enable(&here, &prefix(&plan.path, index), &plan.controllers)?;
            let refused = |refusal: Refusal| {
                refusal.step(plan.path_at.clone(), format!("make cgroup {}", prefix(&plan.path, index + 1)))
            };
            if here.make(name).map_err(refused)? && self.first.is_none() {
                self.first = Some(index);
            }
            self.depth = index + 1;
            here = here.child(name).map_err(refused)?;
        }
        Ok(here)
    }

    /// Whether the last directory was made here.
    const fn is_fresh(&self) -> bool {
        self.first.is_some()
    }

    /// Removes what was made, the deepest first. What cannot be removed is in use by somebody else
    /// meanwhile, and stays.
    fn undo(&self, root: &Dir, plan: &CgroupPlan) {
        let Some(first) = self.first else { return };
        for index in (first..self.depth).rev() {
            let parent = root.child(".").and_then(|root| root.descend(&prefix(&plan.path, index)));
            let name = components(&plan.path).nth(index).unwrap_or_default();
            if parent.and_then(|parent| parent.remove(name)).is_err() {
                return;
            }
        }
    }
}

const SUBTREE_CONTROL: &str = "cgroup.subtree_control";

/// Hands the controllers of `here` on to the cgroups below it. Those that the plan needs must be handed
/// on; the others are for accounting (`memory.events`, `pids.current`, which engines read of containers
/// without limits, too), and one that cannot be enabled here is left out.
fn enable(here: &Dir, path: &str, needed: &BTreeMap<String, ConfigPath>) -> Result<()> {
    let path = if path.is_empty() { "/" } else { path };
    let refused = |refusal: Refusal| refusal.step(None, format!("read controllers of cgroup {path}"));
    let available = here.read("cgroup.controllers").map_err(refused)?;
    let enabled = here.read(SUBTREE_CONTROL).map_err(refused)?;
    let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    for (name, at) in needed {
        if !has(&available, name) && !has(&enabled, name) {
            let why = "is not handed on to the place that linux.cgroupsPath names";
            return Err(Error::Host { what: Need::Controller { at: at.clone(), controller: name.clone(), why } });
        }
    }
    let missing: Vec<&str> = available.split_whitespace().filter(|name| !has(&enabled, name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Not even tried: some controllers would turn a cgroup with processes into a threaded one.
    if let Some(count) = own_processes(here).map_err(refused)? {
        return match missing.iter().find_map(|name| Some((*name, needed.get(*name)?))) {
            None => Ok(()),
            Some((name, at)) => Err(below_processes(path, name, at, count).into()),
        };
    }
    let all: Vec<String> = missing.iter().map(|name| format!("+{name}")).collect();
    if here.write(SUBTREE_CONTROL, &all.join(" ")).is_ok() {
        return Ok(());
    }
    enable_singly(here, path, &missing, needed)
}

/// How many processes are in a cgroup itself, if there are any. The root cgroup, which alone has no
/// `cgroup.type`, may have both processes and controllers below it.
fn own_processes(here: &Dir) -> super::fs::Result<Option<usize>> {
    if here.word("cgroup.type")?.is_none_or(|kind| kind == "threaded") {
        return Ok(None);
    }
    Ok(Some(here.read("cgroup.procs")?.lines().count()).filter(|count| *count > 0))
}

fn enabling(controller: &str, path: &str) -> String {
    format!("enable controller {controller} below cgroup {path}")
}

fn below_processes(path: &str, controller: &str, at: &ConfigPath, count: usize) -> StepError {
    let mut error = StepError::host(Some(at.clone()), enabling(controller, path), "check", Errno::EBUSY);
    error.detail = Some(format!(
        "{count} process(es) are in {path}: no limits are possible below a cgroup with processes; choose another linux.cgroupsPath"
    ));
    error
}

fn enable_singly(here: &Dir, path: &str, missing: &[&str], needed: &BTreeMap<String, ConfigPath>) -> Result<()> {
    for name in missing {
        match (here.write(SUBTREE_CONTROL, &format!("+{name}")), needed.get(*name)) {
            (Ok(()), _) | (Err(_), None) => {}
            (Err(refusal), Some(at)) => return Err(refusal.step(Some(at.clone()), enabling(name, path)).into()),
        }
    }
    Ok(())
}

/// What a rootless caller has to do without. Not worth a warning: it is so for each of its containers.
const fn left_out(at: ConfigPath, text: String) -> Note {
    Note { at, text, warn: false }
}

/// Limits and owner of a cgroup that exists.
fn equip(dir: Dir, plan: &CgroupPlan) -> Result<(Dir, Vec<Note>)> {
    check_habitable(&dir, plan)?;
    apply(&dir, plan)?;
    let note = plan.owner.map_or(Ok(None), |uid| delegate(&dir, uid, plan))?;
    Ok((dir, note.into_iter().collect()))
}

pub(super) fn restrict_devices(cgroup: &Cgroup, plan: &CgroupPlan) -> Result<Option<Note>> {
    let Err(problem) = devices::put(cgroup.as_fd(), &plan.devices.program, cgroup.fresh) else { return Ok(None) };
    let at = ConfigPath::new("linux.resources.devices");
    let what = format!("attach device program of {} rules", plan.devices.rules.len());
    let mut error = problem.refusal.step(Some(at.clone()), what);
    error.detail = problem.log;
    if !(plan.rootless && problem.refusal.errno == Errno::EPERM) {
        return Err(error.into());
    }
    // Without privileges on the host a container can reach no device that its user cannot.
    let StepError { call, errno, .. } = error;
    let note = format!("not applied, because a rootless caller may not load a device program: {call}: {errno:?}");
    Ok(Some(left_out(at, note)))
}

/// Controllers that may be handed on by a cgroup with processes (cgroup-v2.rst, "Threads").
const THREADED: [&str; 4] = ["cpu", "cpuset", "perf_event", "pids"];

/// Whether a process can be born there: clone3 would say EOPNOTSUPP or EBUSY, without a reason.
fn check_habitable(dir: &Dir, plan: &CgroupPlan) -> Result<()> {
    let refused = |refusal: Refusal| refusal.step(plan.path_at.clone(), doing(plan));
    if dir.word("cgroup.type").map_err(refused)?.as_deref() == Some("domain invalid") {
        let detail = "cgroup.type is \"domain invalid\": a cgroup above or beside it is threaded; \
                      choose another linux.cgroupsPath";
        return Err(check_failed(plan, Errno::EOPNOTSUPP, detail.to_owned()));
    }
    let handed_on = dir.read(SUBTREE_CONTROL).map_err(refused)?;
    match handed_on.split_whitespace().find(|name| !THREADED.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let detail = format!(
                "its cgroup.subtree_control has {name}, so that processes can only be below it; choose another linux.cgroupsPath"
            );
            Err(check_failed(plan, Errno::EBUSY, detail))
        }
    }
}

/// Gives the cgroup to the container's user: the directory, and the files that the kernel lists as safe
/// to delegate, as far as they are there (LNX-62, 66 to 68).
fn delegate(dir: &Dir, uid: u32, plan: &CgroupPlan) -> Result<Option<Note>> {
    let files = match std::fs::read_to_string("/sys/kernel/cgroup/delegate") {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => DELEGATED.to_owned(),
        Err(error) => return Err(StepError::io(None, "read /sys/kernel/cgroup/delegate", "open", &error).into()),
    };
    let origin = ConfigPath::new("process.user.uid");
    for name in std::iter::once(".").chain(files.lines()) {
        let Err(refusal) = dir.chown(name, uid) else { continue };
        if plan.rootless && refusal.is_denied() {
            let text = format!("the cgroup is not given to uid {uid}: {}: {:?}", refusal.call, refusal.errno);
            return Ok(Some(left_out(origin, text)));
        }
        return Err(refusal.step(Some(origin), format!("give {name} of cgroup {} to uid {uid}", plan.path)).into());
    }
    Ok(None)
}

/// A rootless caller that may not make a cgroup can do without, unless it asked for a path or a limit.
pub(super) fn without(plan: &CgroupPlan, error: Error) -> Result<Created> {
    let Error::Step(mut step) = error else { return Err(error) };
    let denied = Refusal { call: step.call, errno: step.errno }.is_denied();
    if !plan.rootless || !denied {
        return Err(Error::Step(step));
    }
    if plan.path_at.is_none() && plan.writes.is_empty() {
        let text = format!("no cgroup is made, the container stays in the caller's: {step}");
        return Ok(Created { cgroup: None, notes: vec![left_out(ConfigPath::new("linux.cgroupsPath"), text)] });
    }
    step.detail
        .get_or_insert_with(|| "a rootless container needs a delegated cgroup for limits or a cgroupsPath".to_owned());
    Err(Error::Step(step))
}

/// Carries out the writes of `plan`, in order.
pub(super) fn apply(dir: &Dir, plan: &CgroupPlan) -> Result<()> {
    if let Some(check) = &plan.memory_check {
        check_memory(dir, check)?;
    }
    let mut again: Option<&CgroupWrite> = None;
    for write in &plan.writes {
        let retry = again.take();
        if !carry_out(dir, write)? {
            again = Some(write);
        }
        if let Some(retry) = retry {
            dir.write(&retry.file, &retry.value).map_err(|refusal| refused(refusal, retry))?;
        }
    }
    match again {
        Some(write) => Err(refused(Refusal { call: "write", errno: Errno::EINVAL }, write).into()),
        None => Ok(()),
    }
}

/// `false` if the write is to be tried again after the next one.
fn carry_out(dir: &Dir, write: &CgroupWrite) -> Result<bool> {
    let Err(refusal) = dir.write(&write.file, &write.value) else { return Ok(true) };
    match &write.refused {
        Refused::SkipIfMissing if refusal.errno == Errno::ENOENT => Ok(true),
        Refused::AgainAfterNext if refusal.errno == Errno::EINVAL => Ok(false),
        Refused::ElseWrite { file, value } if refusal.errno == Errno::ENOENT => {
            dir.write(file, value).map_err(|refusal| refused(refusal, write))?;
            Ok(true)
        }
        _ => Err(refused(refusal, write).into()),
    }
}

fn refused(refusal: Refusal, write: &CgroupWrite) -> StepError {
    let mut error = refusal.step(Some(write.at.clone()), format!("write {write}"));
    if refusal.errno == Errno::ENOENT {
        error.detail = Some("the container's cgroup has no such file".to_owned());
    }
    error
}

/// `checkBeforeUpdate` (LNX-80): the kernel would reclaim and then kill instead of refusing. A cgroup
/// without `memory.current` uses nothing that a limit could be compared with.
fn check_memory(dir: &Dir, check: &MemoryCheck) -> Result<()> {
    let doing = "check the memory limit against the use";
    let current = dir.word("memory.current").map_err(|refusal| refusal.step(Some(check.at.clone()), doing))?;
    let Some(usage) = current.and_then(|current| current.parse::<u64>().ok()) else { return Ok(()) };
    for (what, limit) in [("memory+swap", check.swap), ("memory", check.limit)] {
        if let Some(limit) = limit.filter(|limit| *limit <= usage) {
            let mut error = StepError::host(Some(check.at.clone()), doing, "check", Errno::EBUSY);
            error.detail = Some(format!("rejecting {what} limit {limit} <= usage {usage}"));
            return Err(error.into());
        }
    }
    Ok(())
}
