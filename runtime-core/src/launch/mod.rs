//! The host half: carries out the host's column, serves the gates, and turns what init reports into an error.
//!
//! Nothing here knows `config.json`: it works from the plan alone. Nothing process-wide is changed, and the
//! calling thread is the only one used.

#![forbid(unsafe_code)]

mod descriptors;
mod filter;
pub(crate) mod frame;
mod gate;
mod hooks;
mod id_maps;
mod image;
mod listener;
mod net_devices;
mod netlink;
mod patience;
mod rdt;
mod rebirth;
mod report;
mod start;
mod stdio;
mod trees;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use runtime_init::sys::owned::{pidfd_getfd, pidfd_send_signal};
use runtime_init::sys::process::{prlimit, set_io_priority, set_scheduler};
use runtime_init::sys::spawn::spawn;
use runtime_init::{Fault, Gate};

use crate::at::ConfigPath;
use crate::cgroup::Cgroup;
use crate::container::{ContainerDir, Entry, Identity, Record, State, Status, Undo, process};
use crate::error::{Error, Result, StepError};
use crate::plan::hooks::Phase as HookPhase;
use crate::plan::{Act, HostStep, Note, Plan};
use crate::seccomp::Profile;
use crate::trace::{self, Tracer};
use descriptors::Descriptors;
use frame::{Frame, Phase};
use gate::Gates;
use listener::Agent;
use net_devices::Moved;
use patience::{PATIENCE, Patience, UNLIMITED};

pub(crate) use hooks::run as run_hooks;
pub use image::InitImage;
pub(crate) use start::start;
pub use stdio::{Master, Stdio, Terminal, WindowSize, window_size};

/// A container's first process, as its creator knows it.
#[derive(Debug)]
pub(crate) struct Init {
    /// Its pid in the caller's pid namespace.
    pub pid: i32,
    /// A descriptor of it.
    pub pidfd: OwnedFd,
    /// It was born into the container's cgroup; otherwise it is in its creator's.
    pub in_cgroup: bool,
    /// What only the launch could find out.
    pub notes: Vec<Note>,
    /// What tells it from every other process, if that was asked for on the way.
    pub identity: Option<Identity>,
}

/// Carries out `plan` up to the point at which init waits for [`start`].
///
/// # Errors
/// What the plan refuses, what the kernel refused on either side, and init's death. No process is left then; what is on
/// disk or in the cgroup tree is in the undo record of `dir`.
pub(crate) fn create<'a>(
    plan: &'a Plan,
    dir: &'a ContainerDir,
    stdio: Stdio,
    image: &'a InitImage,
    tracer: Tracer<'a>,
) -> Result<Init> {
    let mut launch = Launch::new(plan, Some(dir), stdio, image);
    launch.tracer = tracer;
    launch.run()
}

/// The container that one more process is for.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// Its directory.
    pub dir: &'a ContainerDir,
    /// Its state.
    pub state: State,
    /// Its first process, whose namespaces are joined.
    pub init: BorrowedFd<'a>,
    /// Where the new process is born.
    pub cgroup: Option<Cgroup>,
    /// That cgroup may be frozen: thawing it is waited for without a deadline.
    pub into_frozen: bool,
}

/// Carries out `plan`, made for one more process beside that of `target`, up to the point at which its program runs.
///
/// # Errors
/// As [`create`]. No process is left then.
pub(crate) fn exec<'a>(
    plan: &'a Plan,
    mut target: Target<'a>,
    stdio: Stdio,
    image: &'a InitImage,
    tracer: Tracer<'a>,
) -> Result<Init> {
    let (cgroup, into_frozen) = (target.cgroup.take(), target.into_frozen);
    let mut launch = Launch::new(plan, None, stdio, image);
    launch.cgroup = cgroup;
    launch.target = Some(target);
    launch.tracer = tracer;
    if into_frozen {
        launch.patience = UNLIMITED;
    }
    launch.run()
}

/// Names the asking field in an error of the host's side that has none yet.
fn placed(error: Error, origin: Option<&ConfigPath>) -> Error {
    match error {
        Error::Step(mut step) => {
            if step.origin.is_none() && step.side == crate::Side::Host {
                step.origin = origin.cloned();
            }
            Error::Step(step)
        }
        other => other,
    }
}

/// A launch on its way.
struct Launch<'a> {
    plan: &'a Plan,
    /// The container's directory, where its creation leaves something; none for one more process.
    dir: Option<&'a ContainerDir>,
    stdio: Stdio,
    image: &'a InitImage,
    descriptors: Descriptors<'a>,
    frame: Option<Frame>,
    gates: Option<Gates>,
    usher: Option<OwnedFd>,
    init: Option<Init>,
    /// What tells that process from every other one, for the container's record.
    identity: Option<Identity>,
    cgroup: Option<Cgroup>,
    /// The top of init's own copy of the host's mounts, while sources are looked up in it.
    top: Option<OwnedFd>,
    /// User namespaces that are there for their id maps.
    user_namespaces: Vec<OwnedFd>,
    /// The container that is there already.
    target: Option<Target<'a>>,
    /// Who gets the filter's listener.
    agent: Option<Agent>,
    /// How long init may stay at one step.
    patience: Duration,
    /// Network devices that have left the host.
    net_devices: Option<Moved>,
    /// Groups of resctrl that were made.
    groups: Vec<PathBuf>,
    /// What was left out.
    notes: Vec<Note>,
    /// Who wants to know how long what takes.
    tracer: Tracer<'a>,
    /// The usher enters the cgroup before it bears init.
    enters_cgroup: bool,
}

impl<'a> Launch<'a> {
    fn new(plan: &'a Plan, dir: Option<&'a ContainerDir>, stdio: Stdio, image: &'a InitImage) -> Self {
        let descriptors = Descriptors::new(plan);
        Self {
            plan,
            dir,
            stdio,
            image,
            descriptors,
            frame: None,
            gates: None,
            usher: None,
            init: None,
            identity: None,
            cgroup: None,
            target: None,
            top: None,
            user_namespaces: Vec::new(),
            agent: None,
            patience: PATIENCE,
            net_devices: None,
            groups: Vec::new(),
            notes: Vec::new(),
            tracer: Tracer::off(),
            enters_cgroup: false,
        }
    }

    fn run(mut self) -> Result<Init> {
        self.streams_fit()?;
        let mut lines = self.plan.lines.as_slice();
        while let [line, rest @ ..] = lines {
            lines = rest;
            let Act::Host(step) = &line.act else { continue };
            let begin = self.tracer.begin();
            let done = self.carry_out(step);
            self.tracer.host(self.plan, line, begin, done.is_ok());
            match done {
                Ok(()) => {}
                Err(error) if self.is_stillborn(&error) => lines = self.again()?,
                Err(error) => {
                    self.trace_init(false);
                    self.abandon();
                    return Err(placed(error, line.origin.as_ref()));
                }
            }
        }
        self.trace_init(true);
        let none = || StepError::host(None, "create", "plan without a birth", nix::errno::Errno::EINVAL);
        let init = self.init.ok_or_else(none)?;
        Ok(Init { notes: self.notes, identity: self.identity, ..init })
    }

    /// Tells what init has done, and keeps what there will be to tell of `start`.
    fn trace_init(&mut self, done: bool) {
        let (true, Some(frame)) = (self.tracer.is_on(), &self.frame) else { return };
        let lines = trace::init_lines(self.plan);
        self.tracer.init(&lines, &frame.stamps(), frame.step(), done);
        if let (true, Some(dir)) = (done, self.dir) {
            trace::keep(dir, &lines, frame.step());
        }
    }

    /// A terminal needs somebody who holds its other side, and the other way round.
    fn streams_fit(&self) -> Result<()> {
        let reason = match (self.plan.has_terminal(), self.stdio.socket().is_some()) {
            (true, false) => "a terminal needs somebody to hold its master side: pass Stdio::terminal",
            (false, true) => "there is no terminal to pass the master side of: set it to true",
            _ => return Ok(()),
        };
        Err(Error::refused(ConfigPath::new("process.terminal"), reason))
    }

    fn carry_out(&mut self, step: &HostStep) -> Result<()> {
        match step {
            // The container's directory did the first; the other is part of the line above it.
            HostStep::Record | HostStep::CgroupWrite(_) => Ok(()),
            HostStep::Cgroup => {
                let created = Cgroup::create(&self.plan.host.cgroup, &self.plan.cgroup)?;
                (self.cgroup, self.notes) = (created.cgroup, created.notes);
                Ok(())
            }
            // They hold since the first birth.
            HostStep::CgroupDevices if self.enters_cgroup => Ok(()),
            HostStep::CgroupDevices => {
                let Some(cgroup) = &self.cgroup else { return Ok(()) };
                self.notes.extend(cgroup.restrict_devices(&self.plan.cgroup)?);
                Ok(())
            }
            HostStep::Open(slot) => self.descriptors.open(*slot),
            HostStep::Filter => self.filter(),
            HostStep::Agent => {
                self.reach(Gate::Notify)?;
                let listener = self.plan.filter.as_ref().and_then(|filter| filter.listener.as_ref());
                self.agent = listener.map(|listener| Agent::connect(&listener.path)).transpose()?;
                Ok(())
            }
            HostStep::Listener => self.hand_over_listener(),
            HostStep::NetDevices => self.move_net_devices(),
            HostStep::Spawn => self.spawn(),
            HostStep::Born => self.born(),
            HostStep::MapIds => {
                self.reach(Gate::Mapped)?;
                id_maps::write(&self.plan.id_maps, self.pid(), &crate::ConfigPath::new("linux"))
            }
            HostStep::HoldUserNamespace(index) => self.hold_user_namespace(*index),
            HostStep::Give(slot) => self.give(*slot),
            HostStep::MapTree { maps, recursive } => self.map_tree(*maps, *recursive),
            HostStep::Limit { resource, name, soft, hard } => {
                self.reach(Gate::Ready)?;
                let doing = || format!("set {name} to {soft} {hard}");
                prlimit(self.pid(), *resource, *soft, *hard).map_err(|fault| refused(doing(), fault).into())
            }
            HostStep::Scheduler { attr, name } => {
                self.reach(Gate::Ready)?;
                set_scheduler(self.pid(), attr).map_err(|fault| self.unscheduled(name, fault))
            }
            HostStep::IoPriority { value, name, level } => {
                self.reach(Gate::Ready)?;
                set_io_priority(self.pid(), *value)
                    .map_err(|fault| refused(format!("set the I/O priority {name} {level}"), fault).into())
            }
            HostStep::Rdt => {
                self.reach(Gate::Ready)?;
                self.assign_group()
            }
            HostStep::Hooks(phase) => {
                self.reach(Gate::Mounted)?;
                self.run_hooks(*phase)
            }
            HostStep::Release(gate) => {
                self.reach(*gate)?;
                self.top = self.gates()?.shown();
                self.gates()?.release(*gate)
            }
            HostStep::Created => self.finished(Phase::Waiting),
            HostStep::Executed => self.finished(Phase::Exec),
        }
    }

    /// The hooks that see the host, while init stands with everything mounted and the root not yet entered.
    fn run_hooks(&self, phase: HookPhase) -> Result<()> {
        let list = match phase {
            HookPhase::Prestart => &self.plan.hooks.prestart,
            _ => &self.plan.hooks.create_runtime,
        };
        hooks::run(phase, list, &self.state()?)
    }

    /// Through the socket that init shows, which belongs to its network namespace.
    fn move_net_devices(&mut self) -> Result<()> {
        self.reach(Gate::Network)?;
        let Some(socket) = self.gates()?.shown() else { return Err(self.failure()) };
        let pid = self.pid();
        self.net_devices.insert(Moved::none(socket)?).take(&self.plan.net_devices, pid)
    }

    fn assign_group(&mut self) -> Result<()> {
        let (Some(rdt), dir, pid) = (&self.plan.rdt, self.dir, self.pid()) else { return Ok(()) };
        rdt::assign(&rdt::root()?, rdt, pid, &mut self.groups, &mut |path| match dir {
            Some(dir) => Undo::open(dir)?.append(&Entry::Rdt(path.to_string_lossy().into_owned())),
            None => Ok(()),
        })
    }

    /// Compiles the filter, or takes the one that was kept, and leaves it to init, which looks after its last gate.
    fn filter(&mut self) -> Result<()> {
        let Some(filter) = &self.plan.filter else { return Ok(()) };
        let program = match (&filter.profile, &self.target) {
            (None, Some(target)) => filter::kept(target.dir)?,
            (profile, _) => profile.as_ref().map_or(Ok(Vec::new()), Profile::compile)?,
        };
        if let Some(dir) = self.dir {
            filter::keep(dir, &program)?;
        }
        if self.frame.as_mut().is_some_and(|frame| frame.set_filter(&program)) {
            return Ok(());
        }
        Err(StepError::host(None, "leave the filter to init", "size", nix::errno::Errno::E2BIG).into())
    }

    /// Takes the listener from init, which makes no system call meanwhile, and sends it to the agent.
    fn hand_over_listener(&mut self) -> Result<()> {
        let number = self.offered()?;
        let (Some(agent), Some(init), Some(frame)) = (&self.agent, &self.init, &self.frame) else { return Ok(()) };
        let Some(wanted) = self.plan.filter.as_ref().and_then(|filter| filter.listener.as_ref()) else { return Ok(()) };
        let taken = pidfd_getfd(init.pidfd.as_fd(), number);
        let taken = taken.map_err(|fault| refused("take the filter's listener from init", fault))?;
        let state = listener::process_state(wanted, &self.state()?, init.pid);
        let rest = agent.send(taken.as_fd(), &state)?;
        frame.taken();
        agent.send_rest(rest)?;
        self.agent = None;
        Ok(())
    }

    /// The number of the listener that init offers, waiting for it to come: right after the gate.
    fn offered(&mut self) -> Result<i32> {
        const LOOK_AGAIN: Duration = Duration::from_micros(20);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (Some(frame), Some(init)) = (&self.frame, &self.init) else { return Err(self.failure()) };
            if let Some(number) = frame.offered() {
                return Ok(number);
            }
            if gate::readable(init.pidfd.as_fd(), Duration::ZERO) || Instant::now() > deadline {
                return Err(self.failure());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// The container's state, for hooks and agents.
    fn state(&self) -> Result<State> {
        match &self.target {
            Some(target) => Ok(target.state.clone()),
            None => {
                let record = self.dir.map_or(Ok(None), Record::read)?.unwrap_or_default();
                Ok(record.state(Status::Creating, self.pid()))
            }
        }
    }

    /// A deadline needs every CPU (`sched_setattr(2)`), of which the kernel only says EPERM. In runc's words.
    fn unscheduled(&self, name: &str, fault: Fault) -> Error {
        let mut error = refused(format!("set the scheduler {name}"), fault);
        let pinned = self.plan.cgroup.writes.iter().any(|write| write.file == "cpuset.cpus");
        if pinned && error.errno == nix::errno::Errno::EPERM {
            error.detail = Some("process scheduler can't be used together with AllowedCPUs".to_owned());
        }
        error.into()
    }

    fn pid(&self) -> i32 {
        self.init.as_ref().map_or(0, |init| init.pid)
    }

    fn gates(&mut self) -> Result<&mut Gates> {
        self.patient_gates().map(|(gates, _)| gates)
    }

    /// The gates, and the patience with which to wait at them.
    fn patient_gates(&mut self) -> Result<(&mut Gates, Patience<'_>)> {
        let patience = Patience { limit: self.patience, frame: self.frame.as_ref() };
        let none = || StepError::host(None, "use a gate", "plan", nix::errno::Errno::EINVAL);
        Ok((self.gates.as_mut().ok_or_else(none)?, patience))
    }

    fn spawn(&mut self) -> Result<()> {
        // Alive now, so the pid was its own when its namespaces were opened.
        if self.target.as_ref().is_some_and(|target| gate::readable(target.init, Duration::ZERO)) {
            return Err(StepError::host(None, "join the container", "poll", nix::errno::Errno::ESRCH).into());
        }
        let (gates, inits_end) = Gates::new()?;
        let inits_end = self.descriptors.above_passed(inits_end)?;
        if !self.enters_cgroup {
            self.descriptors.fill(self.dir, self.cgroup.as_ref(), &self.stdio)?;
        }
        let (numbers, stamped) = (self.descriptors.numbers(), self.tracer.is_on());
        let frame = Frame::lay_out(self.plan, self.dir, &numbers, inits_end.as_raw_fd(), stamped)?;
        frame.set_entering(self.enters_cgroup);
        let mut inherit = self.descriptors.open_numbers();
        inherit.push(inits_end.as_raw_fd());
        let spawned = spawn(self.image.image(), frame.file(), &inherit, self.stdio.numbers());
        let (_, usher) = spawned.map_err(|fault| self.image.not_started(fault))?;
        // From here on only init holds it: its end of the gate closing means that it is gone.
        drop(inits_end);
        (self.usher, self.gates, self.frame) = (Some(usher), Some(gates), Some(frame));
        Ok(())
    }

    /// Takes the pidfd of the process that was born, writes it down, and reaps the process that bore it.
    fn born(&mut self) -> Result<()> {
        let (pid, pidfd) = self.newborn()?;
        if let Some(dir) = self.dir {
            let identity = Identity::of(pid, pidfd.as_fd())?;
            Undo::open(dir)?.append(&Entry::process(&identity))?;
            self.identity = Some(identity);
        }
        let earlier =
            self.init.replace(Init { pid, pidfd, in_cgroup: self.cgroup.is_some(), notes: Vec::new(), identity: None });
        if let Some(bearer) = earlier.map(|init| init.pidfd).or_else(|| self.usher.take()) {
            // Its end is all that it has left to do, and not worth a deadline.
            kill(bearer.as_fd());
            reap(bearer.as_fd());
        }
        Ok(())
    }

    /// The process that the usher tells of, or the process born before.
    fn newborn(&mut self) -> Result<(i32, OwnedFd)> {
        let patience = Patience { limit: self.patience, frame: self.frame.as_ref() };
        let bearer = self.init.as_ref().map(|init| &init.pidfd).or(self.usher.as_ref());
        let told = match (&mut self.gates, bearer) {
            (Some(gates), Some(bearer)) => gates.born(bearer.as_fd(), patience)?,
            _ => None,
        };
        told.ok_or_else(|| self.failure())
    }

    /// Waits until init stands at `gate`.
    fn reach(&mut self, gate: Gate) -> Result<()> {
        let (gates, patience) = self.patient_gates()?;
        if !gates.reached(gate, patience)? {
            return Err(self.failure());
        }
        // Init lives, and what was opened for it is in its hands.
        self.descriptors.close();
        self.stdio = Stdio::inherit();
        Ok(())
    }

    /// Waits until init has closed its end of the gate: right before it waits for `start`, or by its `execve`.
    fn finished(&mut self, phase: Phase) -> Result<()> {
        let (gates, patience) = self.patient_gates()?;
        gates.closed(patience)?;
        let there = self.frame.as_ref().is_some_and(|frame| frame.phase() == phase && frame.fault().is_none());
        if there { Ok(()) } else { Err(self.failure()) }
    }

    /// Why init is gone, or does not answer.
    fn failure(&mut self) -> Error {
        let status = self.end();
        match &self.frame {
            Some(frame) => {
                let exited = frame.step() == 0 && matches!(status, Some(WaitStatus::Exited(..)));
                let foreign = self.image.not_ours().filter(|_| exited);
                foreign
                    .unwrap_or_else(|| report::failure(self.plan, frame, status, self.cgroup.as_ref(), self.patience))
            }
            None => StepError::host(None, "start init", "spawn", nix::errno::Errno::ESRCH).into(),
        }
    }

    /// Ends whichever process there is and says how it ended; `None` if it had to be killed for being silent. One that is
    /// ending already, which takes long where many mounts go with it, need not be.
    fn end(&mut self) -> Option<WaitStatus> {
        let pid = self.init.as_ref().map(|init| init.pid);
        let process = self.init.take().map(|init| init.pidfd).or_else(|| self.usher.take())?;
        let is_ending = || pid.is_some_and(|pid| process::is_ending(pid).unwrap_or(false));
        let ends = gate::readable(process.as_fd(), Duration::from_secs(1)) || is_ending();
        if !ends {
            kill(process.as_fd());
        }
        reap(process.as_fd()).filter(|_| ends)
    }

    /// Leaves no process behind.
    fn abandon(&mut self) {
        self.net_devices.take().into_iter().for_each(Moved::give_back);
        for group in self.groups.drain(..).rev() {
            // The error that led here is the one to tell; what is in the undo record is tried again.
            let _ = std::fs::remove_dir(group);
        }
        self.gates = None;
        for process in self.init.take().map(|init| init.pidfd).into_iter().chain(self.usher.take()) {
            kill(process.as_fd());
            reap(process.as_fd());
        }
    }
}

fn kill(process: BorrowedFd<'_>) {
    // Only fails if it is gone already.
    let _: std::result::Result<(), Fault> = pidfd_send_signal(process, nix::libc::SIGKILL);
}

/// Waits for a child that has ended or is about to. `None` if somebody else in this process reaped it.
fn reap(process: BorrowedFd<'_>) -> Option<WaitStatus> {
    waitid(Id::PIDFd(process), WaitPidFlag::WEXITED).ok()
}

fn refused(doing: impl Into<String>, fault: Fault) -> StepError {
    let call = runtime_init::sys::name(fault.call).unwrap_or("system call");
    StepError::host(None, doing, call, nix::errno::Errno::from_raw(fault.errno()))
}
