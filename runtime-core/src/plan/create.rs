//! THE ORDER of creating a container, host and init in one list. Read this first.
//!
//! Each line says why it stands where it stands. The details of a line are in the module it calls.

#![forbid(unsafe_code)]

use runtime_init::{Gate, Step};

use super::draft::Draft;
use super::process::{labels, scheduling};
use super::{
    HostStep, devices, hooks, mounts, namespaces, net_devices, process, rdt, rootfs, seccomp, sysctl, terminal,
};
use crate::error::Result;

/// Appends every line of the creation to the draft.
pub(super) fn order(p: &mut Draft<'_>) -> Result<()> {
    // Host, before there is a process.
    p.host(HostStep::Record); //          before the first side effect, so that it can be undone
    cgroup(p); //                         limits exist before the first process does
    let hooked = hooks::any(p, hooks::Phase::CreateContainer);
    if hooked {
        p.host(HostStep::CgroupDevices); // before the first program that is not ours: such a hook
    }
    namespaces::open(p)?; //              with the caller's rights
    rootfs::open(p)?; //                  before anything of the container is looked at
    mounts::open(p)?; //                  the same for every source
    p.host(HostStep::Spawn); //           the caller's thread is back after init's exec

    // The usher: outside, with the caller's rights.
    p.init(Step::ResetInherited {}); //   an embedder's descriptors never meet names of the container (CVE-2024-21626)
    if !hooked {
        p.host(HostStep::CgroupDevices); // meanwhile: the kernel takes its time to check the program
    }
    process::oom_score(p)?; //            inherited over birth; lowering it needs the caller's rights
    mounts::hold_user_namespaces(p); //   by the caller's rights: what maps the ids of mounts
    namespaces::join(p)?; //              host-owned namespaces cannot be joined from a new user namespace
    namespaces::births(p)?; //            the container's process; from here on killing is by its pidfd

    // Init, in its namespaces.
    p.init(Step::Session {}); //          before anything is started
    labels::open(p)?; //                  our own procfs, whatever is mounted on the container's
    labels::keyring(p)?; //               before anything is labelled
    scheduling::check_exec_cpus(p)?;
    scheduling::all_cpus(p); //           a runtime started from a pinned shell must not pin the container
    namespaces::set_up(p)?; //            names and loopback, while the namespaces are only ours
    net_devices::move_in(p)?; //         before hooks and sysctls, which may be about them
    rootfs::attach(p)?; //                propagation first, so that no mount reaches the host
    devices::place(p); //                 where nodes will be; checked before anything is made there
    mounts::mount(p)?; //                 in the order of the configuration
    devices::make(p)?; //                 on the mounts; nodes, links, ptmx
    process::working_directory_exists(p)?; // while the root is writable
    hooks::outside(p); //                 the host's, then the container's: they may still add mounts
    hooks::inside(p, hooks::Phase::CreateContainer)?;
    terminal::of_container(p)?; //        from the container's devpts, which hooks may have mounted; while /dev is writable
    sysctl::write(p)?; //                 through our own procfs, whatever is mounted on the container's
    mounts::make_readonly(p); //          what had to be writable until the nodes were made
    mounts::cover(p)?; //                 read-only paths and masks, after every mount that could undo them
    rootfs::enter(p)?; //                 after this line no host path can be named

    // The host's last word: what init lacks the rights for.
    seccomp::compile(p)?; //              takes a while, so it is done while init works
    process::limits(p)?;
    scheduling::scheduler(p)?;
    scheduling::io_priority(p)?;
    rdt::assign(p)?;
    p.host(HostStep::Release(Gate::Ready));
    p.init(Step::Await { gate: Gate::Ready });
    process::tail(p, HostStep::Created) // a missing program or a refused id is still an error of `create`
}

/// The host's lines for the cgroup.
fn cgroup(p: &mut Draft<'_>) {
    let at = p.cgroup.path_at.clone();
    match &at {
        Some(at) => p.host_for(at, HostStep::Cgroup),
        None => p.host(HostStep::Cgroup),
    }
    for index in 0..p.cgroup.writes.len() {
        let at = p.cgroup.writes[index].at.clone();
        p.host_for(&at, HostStep::CgroupWrite(index));
    }
}
