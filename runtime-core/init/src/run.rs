//! The loop: note the step, carry it out, note what failed. And the one `match`.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering;

use crate::fault::{Call, Errno, Fault, Result};
use crate::frame::Reader;
use crate::slate::Slate;
use crate::step::{Gate, Slot, Step};
use crate::sys::fd::{self, Fd};
use crate::sys::memory::Mapping;
use crate::sys::net::send_with_fd;
use crate::sys::process::{self, CapSets, Prctl};
use crate::{birth, creds, devices, hooks, mounts, namespaces, proc, program, rootfs, scheduling, terminal};

/// The few values that flow from one step to a later one.
pub(crate) struct Context {
    /// The root file system; after `enter rootfs` it is `/`.
    pub root: Fd,
    /// Our own null device.
    pub null: Fd,
    /// The empty directory that masks directories.
    pub empty: Fd,
    /// Our own procfs.
    pub procfs: Fd,
    /// The working directory was entered with the runtime's rights.
    pub entered: bool,
    /// The program, as far as it is known.
    pub program: program::Program,
}

/// What every step may read.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub frame: Reader<'a>,
    pub slate: &'a Slate,
    pub mapping: &'a Mapping,
}

impl View<'_> {
    pub fn slot(&self, slot: Slot) -> Fd {
        self.frame.slot(slot)
    }
}

/// Carries out the Frame in `mapping`. Returns only if a step fails, with the status to exit with.
#[must_use]
pub fn run(mapping: &Mapping) -> i32 {
    const NO_FRAME: i32 = 2;
    const FAILED: i32 = 1;
    let plan = frame_of(mapping);
    let Some((frame, slate)) = plan else { return NO_FRAME };
    let view = View { frame, slate, mapping };
    let none = Fd(-1);
    let mut cx =
        Context { root: none, null: none, empty: none, procfs: none, entered: false, program: program::Program::new() };
    let mut stamps = mapping.stamps(frame.layout().len);
    for index in 0..frame.steps() {
        slate.at(index + 1);
        if let Some(stamp) = stamps.get(index as usize) {
            stamp.store(process::realtime_ns().unwrap_or(0), Ordering::Release);
        }
        let Some(step) = frame.step(index) else {
            slate.fail(Fault::new(Call::FRAME, Errno::INVAL));
            return FAILED;
        };
        if let Err(fault) = carry_out(step, &view, &mut cx) {
            slate.fail(fault);
            return FAILED;
        }
        if matches!(step, Step::Filter { .. }) {
            // It may end init for asking the time.
            stamps = &[];
        }
    }
    FAILED
}

fn frame_of(mapping: &Mapping) -> Option<(Reader<'_>, &Slate)> {
    let layout = crate::frame::layout(mapping.bytes(0, crate::frame::HEADER.min(mapping.len())))?;
    let frame = Reader::new(mapping.bytes(0, layout.slate), mapping.len())?;
    Some((frame, mapping.slate(frame.layout().slate)?))
}

fn carry_out(step: Step, view: &View<'_>, cx: &mut Context) -> Result {
    let frame = &view.frame;
    match step {
        Step::ResetInherited {} => reset_inherited(),
        Step::OomScore { score } => proc::write_own(c"/proc/self/oom_score_adj", frame.text(score)),
        Step::NotDumpable {} => process::prctl(Prctl::SetDumpable, 0, 0),
        Step::Join { ns, slot } => process::setns(view.slot(slot), ns.flag()),
        Step::TimeOffsets { offsets } => namespaces::time_offsets(frame.text(offsets)),
        Step::CheckMaps { uid, gid } => namespaces::check_maps(view, uid, gid),
        Step::Birth { namespaces, cgroup } => birth::birth(view, namespaces, cgroup),
        Step::HoldUserNamespace {} => namespaces::hold_user_namespace(view),
        Step::Await { gate: Gate::Network } => namespaces::show_network(view),
        Step::Await { gate: Gate::Trees } => mounts::show(view),
        Step::Await { gate } => wait_at(view, gate, None),
        Step::BecomeRoot {} => namespaces::become_root(),
        Step::Session {} => process::setsid(),
        Step::Cpus { mask } => scheduling::cpus(view, mask),
        Step::Keyring { name, permissions } => namespaces::keyring(frame.text(name), permissions),
        Step::Label { path, value } => proc::label(cx, frame.text(path), frame.text(value)),
        Step::Personality { domain } => process::set_personality(domain),
        Step::MemoryPolicy { mode, nodes } => scheduling::memory_policy(view, mode, nodes),
        Step::Hostname { name } => process::set_hostname(frame.text(name)),
        Step::Domainname { name } => process::set_domainname(frame.text(name)),
        Step::Loopback {} => crate::sys::net::raise_loopback(),
        Step::Propagation { kind } => rootfs::propagation(kind, true),
        Step::OpenSource { slot, path, flags } => mounts::open_source(view, slot, path, flags),
        Step::OpenNull {} => devices::open_null(cx),
        Step::OpenProc {} => proc::open(cx),
        Step::Rootfs { path, slot, propagation } => rootfs::attach(view, cx, path, slot, propagation),
        Step::PlainRootfs { path } => rootfs::plain(view, cx, path),
        Step::Mount { record } => mounts::mount(view, cx, record),
        Step::ReadonlyMount { slot } => mounts::make_readonly(view.slot(slot)),
        Step::Device { path, mode_and_device, owner } => devices::node(view, cx, path, mode_and_device, owner),
        Step::DeviceBind { path, slot } => devices::bind(view, cx, path, slot),
        Step::Symlink { path, target } => devices::symlink(view, cx, path, target),
        Step::Ptmx {} => devices::ptmx(cx),
        Step::MakeDirectory { path, ordinary } => mounts::make_directory(cx, frame.text(path), ordinary == 1),
        Step::Sysctl { path, value } => proc::sysctl(cx, frame.text(path), frame.text(value)),
        Step::ReadonlyPath { path, within } => mounts::readonly_path(view, cx, path, within),
        Step::MaskPath { path, within } => mounts::mask_path(view, cx, path, within),
        Step::ReadonlyRoot {} => mounts::make_readonly(cx.root),
        Step::Unmount { path } => mounts::unmount(frame.text(path)),
        Step::Terminal { slot, size, flags } => terminal::make(view, cx, slot, size, flags),
        Step::Hook { record } => hooks::run(view, &cx.program, record),
        Step::EnterRoot { how, kept } => rootfs::enter(view, cx, how, kept),
        Step::RootPropagation { kind, recursive } => rootfs::propagation(kind, recursive == 1),
        Step::NoNewPrivs {} => process::prctl(Prctl::SetNoNewPrivs, 1, 0),
        Step::Bounding { keep } => creds::bounding(keep),
        Step::OwnStdio { uid } => creds::own_stdio(uid),
        Step::Groups { groups } => creds::groups(view, groups),
        Step::Ids { uid, gid } => creds::ids(uid, gid),
        Step::Capabilities { effective, permitted, inheritable } => {
            process::capset(&CapSets { effective, permitted, inheritable })
        }
        Step::Ambient { raise } => creds::ambient(raise),
        Step::Umask { mask } => {
            process::umask(mask);
            Ok(())
        }
        Step::Enterdir { path } => program::enter_directory(cx, frame.text(path)),
        Step::Cwd { path } => program::working_directory(cx, frame.text(path)),
        Step::FindProgram { args, path } => program::find(view, cx, args, path),
        Step::Prepare { args, env, home_of } => program::prepare(cx, args, env, home_of),
        Step::WaitForStart { slot } => program::wait_for_start(view, cx, slot),
        Step::Pass { files } => program::pass(view, files),
        Step::Filter { flags } => program::filter(view, flags),
        Step::Execute { args, env } => Err(program::execute(view, cx, args, env)),
    }
}

/// Signals, death signal, umask and descriptors are the caller's until now.
fn reset_inherited() -> Result {
    process::reset_signals()?;
    process::prctl(Prctl::SetPdeathsig, 0, 0)?;
    process::umask(0);
    fd::cloexec_from(3)
}

/// Tells the host where init stands, shows it something if it needs that, and waits for its byte.
pub(crate) fn wait_at(view: &View<'_>, gate: Gate, shown: Option<Fd>) -> Result {
    let (socket, message) = (view.frame.gate(), [gate as u8]);
    match shown {
        Some(fd) => send_with_fd(socket, &message, fd)?,
        None => drop(fd::write(socket, &message)?),
    }
    wait_for(view, gate)
}

/// Waits for the host's byte. An end of file means that the host is gone.
pub(crate) fn wait_for(view: &View<'_>, gate: Gate) -> Result {
    let mut go = [0];
    match fd::read(view.frame.gate(), &mut go)? {
        1 if go[0] == gate as u8 => Ok(()),
        _ => Err(Fault::new(Call::GATE, Errno(32))),
    }
}

#[cfg(test)]
mod tests;
