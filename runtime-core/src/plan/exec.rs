//! THE ORDER of executing one more process in a container.
//!
//! The namespaces are those of the container's first process, the tail is that of its creation.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use runtime_init::step::Enter;
use runtime_init::{Gate, Ns, Slot, Step, Words};

use super::draft::Draft;
use super::process::{labels, scheduling};
use super::{HostStep, SlotUse, namespaces, process, rdt, seccomp, terminal};
use crate::at::ConfigPath;
use crate::error::Result;

/// Appends every line of the execution to the draft. `target` is the container's first process.
pub(super) fn order(p: &mut Draft<'_>, target: i32) -> Result<()> {
    let joined = open(p, target); //      with the caller's rights; the process is verified after this
    p.host(HostStep::Spawn);

    // The usher: outside, with the caller's rights.
    p.init(Step::ResetInherited {}); //   as in create (CVE-2024-21626)
    process::oom_score(p)?; //            needs the caller's rights
    scheduling::cpus_before(p)?; //       whatever is done until the process is in its cgroup is done there
    p.init(Step::NotDumpable {}); //      the container's processes see init from birth on (CVE-2016-9962)
    let user_first = !p.host.privileged;
    let outside = [Ns::Pid, Ns::Net, Ns::Ipc, Ns::Uts, Ns::Time];
    join(p, &joined, if user_first { &[Ns::User] } else { &[] }); // unprivileged: it gives the right to the others
    join(p, &joined, &outside);
    let cgroup = p.slot(SlotUse::Cgroup);
    p.init(Step::Birth { namespaces: 0, cgroup: Some(cgroup) }); // before the cgroup namespace is joined (nsdelegate)
    p.host(HostStep::Born);

    // Init, in the container's cgroup.
    labels::open(p)?; //                  before the container's mounts are joined
    join(p, &joined, &[Ns::Cgroup, Ns::Mount]);
    join(p, &joined, if user_first { &[] } else { &[Ns::User] }); // last: the other joins need the caller's rights
    if p.namespaces.has(Ns::User) {
        namespaces::setgroups_rule(p)?;
        p.init_for(&p.namespaces.at(Ns::User), Step::BecomeRoot {});
    }
    if !p.namespaces.has(Ns::Mount) {
        root_of(p, target)?; //           without a mount namespace the root is only where that process sees it
    }
    p.init(Step::Session {});
    labels::keyring(p)?;
    scheduling::cpus_after(p)?;
    terminal::of_further(p)?; //          from the container's devpts, in a session of its own

    seccomp::compile(p)?;
    process::limits(p)?;
    scheduling::scheduler(p)?;
    scheduling::io_priority(p)?;
    rdt::assign(p)?;
    p.host(HostStep::Release(Gate::Ready));
    p.init(Step::Await { gate: Gate::Ready });
    process::tail(p, HostStep::Executed) // a missing program or a refused id is an error of `exec`
}

/// Opens every namespace that the container has apart from the caller.
fn open(p: &mut Draft<'_>, target: i32) -> Vec<(Ns, Slot)> {
    let mut joined = Vec::new();
    for ns in Ns::ALL {
        if p.namespaces.has(ns) {
            let slot =
                p.slot(SlotUse::Namespace { path: PathBuf::from(format!("/proc/{target}/ns/{}", ns.name())), ns });
            let at = p.namespaces.at(ns);
            p.host_for(&at, HostStep::Open(slot));
            joined.push((ns, slot));
        }
    }
    joined
}

fn join(p: &mut Draft<'_>, joined: &[(Ns, Slot)], kinds: &[Ns]) {
    for kind in kinds {
        if let Some((ns, slot)) = joined.iter().find(|(ns, _)| ns == kind) {
            let at = p.namespaces.at(*ns);
            p.init_for(&at, Step::Join { ns: *ns, slot: *slot });
        }
    }
}

fn root_of(p: &mut Draft<'_>, target: i32) -> Result<()> {
    let at = ConfigPath::new("root.path");
    let path = p.texts.add(format!("/proc/{target}/root"), &at)?;
    p.init_for(&at, Step::PlainRootfs { path });
    p.init(Step::EnterRoot { how: Enter::Chroot, kept: Words { start: 0, count: 0 } });
    Ok(())
}
