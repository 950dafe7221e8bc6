//! The life of a container, for callers: create, look, start, signal, delete.
//!
//! Every operation works from nothing but the root directory and the id, so that it can be another
//! process than the creator's. What changes the container holds its lock; looking and signalling do not,
//! because a hook may do both while `create` or `start` waits for it.

#![forbid(unsafe_code)]

mod child;
mod exec;
pub(crate) mod notify;
pub(crate) mod process;
mod state;
pub(crate) mod store;
mod undo;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::libc::SIGKILL;
use serde_json::Value;

pub use child::Process;
pub use exec::ExecRequest;
pub(crate) use process::Identity;
pub(crate) use state::Record;
pub use state::{State, Status};
pub use store::Store;
pub(crate) use store::{ContainerDir, Lock};
pub(crate) use undo::{Entry, Undo};

use crate::cgroup::Cgroup;
use crate::error::{Errno, Error, Result, StateProblem, StepError};
use crate::id::ContainerId;
use crate::launch::{self, Init, InitImage, Stdio};
use crate::plan::hooks::Phase;
use crate::plan::{Hook, Plan};
use crate::trace::{Event, Tracer};
use state::{Sight, look};
use store::LOCK_WAIT;

/// How long the end of processes is waited for after SIGKILL, and then the removal of their cgroup.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// The saved configuration.
const CONFIG: &str = "config.json";

/// One container of a [`Store`].
#[derive(Debug)]
pub struct Container {
    dir: ContainerDir,
    image: InitImage,
    /// In the hands of whoever created it.
    made: Option<Made>,
    /// The saved configuration, once it was needed.
    config: OnceLock<Value>,
}

/// What the creator of a container knows about it without looking.
#[derive(Debug)]
struct Made {
    init: Process,
    record: Record,
}

impl Made {
    /// Its first process, while that runs.
    fn running(&self) -> Result<Option<(i32, OwnedFd)>> {
        if self.init.ends_within(Duration::ZERO)? {
            return Ok(None);
        }
        Ok(Some(self.init.try_clone()?.into_parts()))
    }
}

impl Store {
    /// Creates the container `id` as `plan` says, which is one for that id. When this returns, all of it is in place and its
    /// first process waits for [`Container::start`].
    ///
    /// # Errors
    /// [`StateProblem::InvalidId`], [`StateProblem::AlreadyExists`], [`StateProblem::OtherPlan`], [`Error::Config`] if only one
    /// of `plan` and `stdio` is for a terminal, and what the launch reports. Nothing is left of the container then.
    pub fn create(&self, id: &str, plan: &Plan, stdio: Stdio) -> Result<Container> {
        self.create_told(id, plan, stdio, Tracer::off())
    }

    /// As [`Self::create`], and tells `trace` of each line of the plan when it was begun and how long it took: those of the
    /// host as they end, then those of init, also if one has failed.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_traced(
        &self,
        id: &str,
        plan: &Plan,
        stdio: Stdio,
        trace: &mut dyn FnMut(Event),
    ) -> Result<Container> {
        self.create_told(id, plan, stdio, Tracer::new(trace))
    }

    fn create_told(&self, id: &str, plan: &Plan, stdio: Stdio, tracer: Tracer<'_>) -> Result<Container> {
        let id = ContainerId::new(id)?;
        if id != *plan.id() {
            let planned = plan.id().to_string();
            return Err(Error::state(id.as_str(), StateProblem::OtherPlan { planned }));
        }
        let outline = plan.record();
        let record = Record::new(&id, &outline);
        let launch = |dir: &ContainerDir| launch::create(plan, dir, stdio, &self.image, tracer);
        self.create_with(&id, record, outline.config_json, launch)
    }

    fn create_with(
        &self,
        id: &ContainerId,
        record: Record,
        config: &[u8],
        launch: impl FnOnce(&ContainerDir) -> Result<Init>,
    ) -> Result<Container> {
        let (dir, lock) = self.make(id)?;
        match bring_up(&dir, record, config, launch) {
            Ok(made) => Ok(self.container(dir, Some(made))),
            Err(error) => {
                // If this fails too, the record stays for `delete --force`; the first error is the one to tell.
                let _ = remove(&dir, &lock, false, None);
                Err(error)
            }
        }
    }

    fn container(&self, dir: ContainerDir, made: Option<Made>) -> Container {
        Container { dir, image: self.image.clone(), made, config: OnceLock::new() }
    }

    /// The container `id`.
    ///
    /// # Errors
    /// [`StateProblem::InvalidId`], [`StateProblem::DoesNotExist`].
    pub fn load(&self, id: &str) -> Result<Container> {
        let id = ContainerId::new(id)?;
        match self.find(&id)? {
            Some(dir) if dir.has(state::FILE)? => Ok(self.container(dir, None)),
            _ => Err(missing(&id)),
        }
    }

    /// The states of all containers, sorted by id. One that cannot be read does not hide the others.
    ///
    /// # Errors
    /// [`Error::Step`] if the root directory is there but cannot be read.
    pub fn list(&self) -> Result<Vec<(String, Result<State>)>> {
        let mut all = Vec::new();
        for id in self.ids()? {
            if let Some(state) = self.listed(&id).transpose() {
                all.push((id.to_string(), state));
            }
        }
        Ok(all)
    }

    /// `None` for what vanished since, and for an id that `create` is just taking.
    fn listed(&self, id: &ContainerId) -> Result<Option<State>> {
        let Some(dir) = self.find(id)? else { return Ok(None) };
        if let Some(sight) = look(&dir, false)? {
            return Ok(Some(sight.state()));
        }
        if dir.is_locked()? || self.find(id)?.is_none() {
            return Ok(None);
        }
        Err(dir.damaged(state::FILE, "missing: a command was killed here"))
    }

    /// Deletes the container `id` and returns what went wrong meanwhile; see [`Container::delete`]. A directory without a
    /// record, which a killed command may leave, is removed in any case; with `force` also what is no directory.
    ///
    /// # Errors
    /// As [`Container::delete`], and [`StateProblem::DoesNotExist`] unless `force`.
    pub fn delete(&self, id: &str, force: bool) -> Result<Vec<Error>> {
        let id = ContainerId::new(id)?;
        match self.find(&id) {
            Ok(Some(dir)) => delete(&dir, force, None),
            Ok(None) if force => Ok(Vec::new()),
            Ok(None) => Err(missing(&id)),
            Err(_) if force && self.remove_file(&id)? => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

impl Container {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.dir.id().as_str()
    }

    /// Its first process, if this handle comes from [`Store::create`]: a child of the caller, whose exit status only the
    /// caller can take. Others see [`Self::open_init`].
    #[must_use]
    pub fn init(&self) -> Option<&Process> {
        self.made.as_ref().map(|made| &made.init)
    }

    /// Opens its first process, to watch or signal it from another process than the one that created the container.
    /// `None` if it has ended. It is the one that was recorded, not another that has its number by now.
    ///
    /// # Errors
    /// As [`Self::state`].
    pub fn open_init(&self) -> Result<Option<Process>> {
        Ok(self.look()?.init.map(|(pid, pidfd)| Process::found(pid, pidfd)))
    }

    fn record(&self) -> Result<Record> {
        Record::read(&self.dir)?.ok_or_else(|| missing(self.dir.id()))
    }

    /// Its state at this moment, computed from its processes and its cgroup as they are.
    ///
    /// # Errors
    /// [`StateProblem::DoesNotExist`] if it has been deleted; [`StateProblem::Record`] or [`StateProblem::Newer`] if what was
    /// recorded cannot be read; [`Error::Step`] if its processes cannot be looked at.
    pub fn state(&self) -> Result<State> {
        Ok(self.look()?.state())
    }

    /// Starts the program. It has begun to run when this returns.
    ///
    /// # Errors
    /// [`StateProblem::Status`] for every one but created, [`StateProblem::NoProcess`], and what the
    /// launch reports; after a failed hook the container does not exist any more.
    pub fn start(&self) -> Result<()> {
        self.start_told(Tracer::off())
    }

    /// As [`Self::start`], and tells `trace` what was done and when; of init's part if the container was created with
    /// [`Store::create_traced`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_traced(&self, trace: &mut dyn FnMut(Event)) -> Result<()> {
        self.start_told(Tracer::new(trace))
    }

    fn start_told(&self, tracer: Tracer<'_>) -> Result<()> {
        let Some(lock) = self.dir.lock(LOCK_WAIT, OFlag::empty())? else {
            self.record()?;
            return Err(self.dir.damaged(store::LOCK, "missing"));
        };
        let sight = look_locked(&self.dir, self.made.as_ref())?.ok_or_else(|| missing(self.dir.id()))?;
        let (Status::Created, Some((_, pidfd))) = (sight.status, &sight.init) else {
            return Err(self.unfit("start", sight.status));
        };
        if !sight.record.has_process {
            return Err(Error::state(self.id(), StateProblem::NoProcess));
        }
        let result = launch::start(&self.dir, pidfd.as_fd(), tracer).and_then(|()| poststart(&sight));
        if matches!(result, Err(Error::Hook { .. })) {
            // runtime-spec, lifecycle: a failed startContainer or poststart hook ends the container.
            let _ = remove(&self.dir, &lock, false, None);
        }
        result
    }

    /// Sends `signal`, a number as in signal(7), to the first process. SIGKILL ends all processes of a container that has no pid
    /// namespace of its own, since there the kernel does not do that; they may have outlived the first one.
    /// Nobody's end is waited for.
    ///
    /// # Errors
    /// [`StateProblem::Status`] unless it is created, running or paused, or there are such processes.
    pub fn kill(&self, signal: i32) -> Result<()> {
        let sight = self.look()?;
        let cgroup = match signal {
            SIGKILL if sight.record.shares_pid_namespace => cgroup_of(&sight.record)?,
            _ => None,
        };
        if sight.status == Status::Stopped
            && let Some(cgroup) = &cgroup
            && !cgroup.pids()?.is_empty()
        {
            return cgroup.kill();
        }
        let (Status::Created | Status::Running | Status::Paused, Some((_, pidfd))) = (sight.status, &sight.init) else {
            return Err(self.unfit("kill", sight.status));
        };
        if let Some(cgroup) = cgroup {
            cgroup.kill()?;
            // It may have been the last moment of init: gone is what was wanted.
            return process::send(pidfd.as_fd(), signal).map(drop);
        }
        if process::send(pidfd.as_fd(), signal)? { Ok(()) } else { Err(self.unfit("kill", Status::Stopped)) }
    }

    /// Sends `signal`, a number as in signal(7), to every process in the container's cgroup and below, whatever the status; a
    /// container without processes is fine.
    ///
    /// # Errors
    /// [`Error::Step`] if the cgroup cannot be read or the number is no signal.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        let record = self.record()?;
        match cgroup_of(&record)? {
            Some(cgroup) if signal == SIGKILL => cgroup.kill(),
            Some(cgroup) => signal_each(&cgroup, signal),
            None => match record.init.as_ref().map_or(Ok(None), Identity::open_verified)? {
                Some(pidfd) => process::send(pidfd.as_fd(), signal).map(drop),
                None => Ok(()),
            },
        }
    }

    /// Stops every process of the container where it is (`cgroup.freeze`), until [`Self::resume`]. The kernel is given 10 seconds.
    ///
    /// # Errors
    /// [`StateProblem::Status`] unless it is created or running; [`Error::Step`] if the kernel does not freeze its
    /// cgroup in time, or it has none.
    pub fn pause(&self) -> Result<()> {
        let sight = self.look()?;
        match sight.status {
            Status::Created | Status::Running => self.unless_ended(&sight, "pause", |cgroup| cgroup.freeze(KILL_WAIT)),
            status => Err(self.unfit("pause", status)),
        }
    }

    /// Lets the processes of a paused container go on.
    ///
    /// # Errors
    /// [`StateProblem::Status`] unless it is paused; [`Error::Step`] as for [`Self::pause`].
    pub fn resume(&self) -> Result<()> {
        let sight = self.look()?;
        match sight.status {
            Status::Paused => self.unless_ended(&sight, "resume", |cgroup| cgroup.thaw(KILL_WAIT)),
            status => Err(self.unfit("resume", status)),
        }
    }

    /// Does something to the cgroup. What fails because the container is just ending is told as such.
    fn unless_ended(&self, sight: &Sight, verb: &'static str, act: impl Fn(&Cgroup) -> Result<()>) -> Result<()> {
        let none = || {
            let mut error = StepError::host(None, format!("{verb} {}", self.id()), "openat", Errno::ENOENT);
            error.detail = Some("the container has no cgroup of its own".to_owned());
            error
        };
        let result = cgroup_of(&sight.record).and_then(|cgroup| act(&cgroup.ok_or_else(none)?));
        match &sight.init {
            Some((_, pidfd)) if result.is_err() && process::ended(pidfd.as_fd(), Duration::ZERO)? => {
                Err(self.unfit(verb, Status::Stopped))
            }
            _ => result,
        }
    }

    /// Removes the container and everything that creating it made. One that is created but was never
    /// started is killed, as runc does; any other that is not stopped only with `force`. Returned is what did not stop the
    /// deletion: poststop hooks that failed, and with `force` what was too damaged to be read.
    ///
    /// # Errors
    /// [`StateProblem::NotStopped`], [`StateProblem::Busy`], [`StateProblem::Lingers`],
    /// [`StateProblem::Newer`]; [`Error::Step`] for what the kernel refuses. What is left then can be
    /// deleted again.
    pub fn delete(&self, force: bool) -> Result<Vec<Error>> {
        let failed = delete(&self.dir, force, self.made.as_ref())?;
        // A zombie of the caller's, unless the caller took its status before.
        if let Some(made) = &self.made {
            process::reap(made.init.as_fd());
        }
        Ok(failed)
    }

    fn unfit(&self, verb: &'static str, status: Status) -> Error {
        Error::state(self.id(), StateProblem::Status { verb, status })
    }

    fn look(&self) -> Result<Sight> {
        look(&self.dir, false)?.ok_or_else(|| missing(self.dir.id()))
    }
}

/// Looks at a container whose lock the caller holds. Then the record is what its creator wrote, and the creator
/// need not read it again.
fn look_locked(dir: &ContainerDir, made: Option<&Made>) -> Result<Option<Sight>> {
    made.map_or_else(|| look(dir, true), |made| Sight::of(dir, made.record.clone(), made.running()?).map(Some))
}

/// The poststart hooks: the program runs.
fn poststart(sight: &Sight) -> Result<()> {
    let pid = sight.init.as_ref().map_or(0, |(pid, _)| *pid);
    launch::run_hooks(Phase::Poststart, &sight.record.hooks.poststart, &sight.record.state(Status::Running, pid))
}

/// The acts of `create`, each after the note that it takes to undo it.
fn bring_up(
    dir: &ContainerDir,
    mut record: Record,
    config: &[u8],
    launch: impl FnOnce(&ContainerDir) -> Result<Init>,
) -> Result<Made> {
    record.write(dir)?;
    let mut undo = Undo::open(dir)?;
    let existing = cgroup_of(&record)?;
    let cgroup = record.cgroup_path.clone().map(if existing.is_some() { Entry::Members } else { Entry::Cgroup });
    // Noted is only what can become ours: undoing kills what stands in it. A cgroup in use or frozen is
    // refused by the launch, in the name of the field that chose it.
    let vacant = existing.map_or(Ok(true), |cgroup| is_vacant(&cgroup))?;
    if let Some(entry) = cgroup.as_ref().filter(|_| vacant) {
        undo.append(entry)?;
    }
    dir.replace(CONFIG, config)?;
    let mut init = launch(dir)?;
    if let Some(entry) = cgroup.filter(|_| !vacant) {
        // It was vacated between the two looks.
        undo.append(&entry)?;
    }
    // A rootless caller that may make none does without.
    record.cgroup_path.take_if(|_| !init.in_cgroup);
    record.init = Some(init.identity.take().map_or_else(|| Identity::of(init.pid, init.pidfd.as_fd()), Ok)?);
    record.write(dir)?;
    Ok(Made { init: Process::new(init), record })
}

fn is_vacant(cgroup: &Cgroup) -> Result<bool> {
    Ok(cgroup.pids()?.is_empty() && !cgroup.is_frozen()?)
}

/// `made` is what its creator knows.
fn delete(dir: &ContainerDir, force: bool, made: Option<&Made>) -> Result<Vec<Error>> {
    let absent = || if force { Ok(Vec::new()) } else { Err(missing(dir.id())) };
    // A directory that lost its lock file is one that a killed command left.
    let lock = match dir.lock(LOCK_WAIT, OFlag::O_CREAT) {
        Err(_) if force && dir.remove_what_is_no_lock()? => dir.lock(LOCK_WAIT, OFlag::O_CREAT),
        other => other,
    };
    let Some(lock) = lock? else { return absent() };
    let recorded = if force { check_version(dir)? } else { check_deletable(dir, made)? };
    let failed = remove(dir, &lock, force, made)?;
    if recorded { Ok(failed) } else { absent() }
}

/// Force overrides a damaged record, but not a newer one: that may mean things which would be left behind.
fn check_version(dir: &ContainerDir) -> Result<bool> {
    match Record::read(dir) {
        Err(error) if matches!(error.state_problem(), Some(StateProblem::Newer { .. })) => Err(error),
        _ => Ok(true),
    }
}

fn check_deletable(dir: &ContainerDir, made: Option<&Made>) -> Result<bool> {
    let Some(sight) = look_locked(dir, made)? else { return Ok(false) };
    match sight.status {
        Status::Created | Status::Stopped => Ok(true),
        status @ (Status::Creating | Status::Running | Status::Paused) => {
            Err(Error::state(dir.id().as_str(), StateProblem::NotStopped { id: dir.id().to_string(), status }))
        }
    }
}

/// Undoes everything, then forgets it. The record and the undo lines go after all other files, so that
/// whoever is killed in between leaves something that can be deleted in the same way.
///
/// The poststop hooks run when nothing but the directory is left. One that fails does not stop the others or the
/// deletion (D4); the failures are returned, as is what a forced deletion could not read.
fn remove(dir: &ContainerDir, lock: &Lock, force: bool, made: Option<&Made>) -> Result<Vec<Error>> {
    // A damaged record has no hooks to run; force goes on without.
    let record = made.map_or_else(|| Record::read(dir).ok().flatten(), |made| Some(made.record.clone()));
    let unread = undo::replay(dir, record.as_ref(), force)?;
    dir.remove_all(&[undo::FILE, state::FILE], lock)?;
    let Some(record) = record else { return Ok(unread.into_iter().collect()) };
    let state = record.state(Status::Stopped, 0);
    let one = |(index, hook): (usize, &Hook)| {
        let failed = launch::run_hooks(Phase::Poststop, std::slice::from_ref(hook), &state).err()?;
        Some(match failed {
            Error::Hook { phase, problem, .. } => Error::Hook { phase, index, problem },
            other => other,
        })
    };
    Ok(unread.into_iter().chain(record.hooks.poststop.iter().enumerate().filter_map(one)).collect())
}

fn missing(id: &ContainerId) -> Error {
    Error::state(id.as_str(), StateProblem::DoesNotExist)
}

fn cgroup_of(record: &Record) -> Result<Option<Cgroup>> {
    record.cgroup_path.as_deref().map_or(Ok(None), Cgroup::at)
}

/// Kills whatever is in `cgroup` and below.
fn empty_cgroup(id: &ContainerId, cgroup: &Cgroup) -> Result<()> {
    cgroup.kill()?;
    if cgroup.wait_empty(KILL_WAIT)? {
        return Ok(());
    }
    Err(Error::state(id.as_str(), StateProblem::Lingers { waited: KILL_WAIT }))
}

/// Sends `signal` to the processes of `cgroup` and below.
fn signal_each(cgroup: &Cgroup, signal: i32) -> Result<()> {
    // In portions, so that a cgroup of thousands does not take all file descriptors of the caller.
    for portion in cgroup.pids()?.chunks(128) {
        let mut open = Vec::with_capacity(portion.len());
        for &pid in portion {
            open.extend(process::open(pid)?.map(|pidfd| (pid, pidfd)));
        }
        // A number that is still listed after the open meant a process of this cgroup at the open,
        // or one that has ended since and gets no signal any more.
        let still = cgroup.pids()?;
        for (pid, pidfd) in &open {
            if still.contains(pid) {
                process::send(pidfd.as_fd(), signal)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
