//! One more process in a container.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use serde_json::{Value, json};

use super::state::Sight;
use super::{CONFIG, Container, KILL_WAIT, Process, Status, cgroup_of, process};
use crate::bundle::Bundle;
use crate::cgroup::Cgroup;
use crate::error::{Errno, Error, Result, Side, StateProblem, StepError};
use crate::host::Host;
use crate::launch::{self, Stdio, Target};
use crate::plan::{CreateOptions, Plan};
use crate::trace::{Event, Tracer};

/// What is to be executed.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ExecRequest {
    /// An object like `process` of `config.json`, or after [`ExecRequest::new`] what is to differ from the container's own.
    pub process: Value,
    /// A cgroup below the container's; none for the container's own.
    pub cgroup: Option<String>,
    /// Execute in a paused container. The process starts to run when it is resumed, and until then this waits.
    pub ignore_paused: bool,
    /// As [`CreateOptions::pass_fds`].
    pub pass_fds: Vec<u32>,
    /// As [`CreateOptions::plain_lines`].
    pub plain_lines: bool,
    /// What `process` does not say is as in the container's own.
    like_own: bool,
}

impl ExecRequest {
    /// Executes the program and arguments `args` as the container's own program was: with its user, capabilities, environment,
    /// working directory, limits and all other settings, but without a terminal. What is set in [`Self::process`] replaces
    /// the setting of that name.
    ///
    /// ```
    /// # use runtime_core::ExecRequest;
    /// # use serde_json::json;
    /// let mut request = ExecRequest::new(["ps", "-o", "pid,args"]);
    /// request.process["user"] = json!({ "uid": 1000, "gid": 1000 });
    /// ```
    #[must_use]
    pub fn new(args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let args: Vec<String> = args.into_iter().map(Into::into).collect();
        Self { process: json!({ "args": args, "terminal": false }), like_own: true, ..Self::default() }
    }

    /// Executes what `process`, an object like that of `config.json`, describes in full. Only labels, scheduling and I/O
    /// priority are those of the container's own process where it says nothing.
    #[must_use]
    pub fn from_process(process: Value) -> Self {
        Self { process, ..Self::default() }
    }

    /// The process to be executed beside `own`.
    fn beside(&self, own: &Value) -> Value {
        let (true, Some(own), Some(changes)) = (self.like_own, own.as_object(), self.process.as_object()) else {
            return inherited(self.process.clone(), own);
        };
        let mut process = own.clone();
        process.extend(changes.clone());
        process.into()
    }
}

impl Container {
    /// The `process` of the configuration that the container was created with, to make an [`ExecRequest`] from; null if it had
    /// none.
    ///
    /// # Errors
    /// [`StateProblem::Record`] if the saved configuration cannot be read.
    pub fn own_process(&self) -> Result<Value> {
        Ok(self.saved_config()?["process"].clone())
    }

    /// What a further process may take from the saved configuration. It is read once, because nobody ever changes it.
    fn saved_config(&self) -> Result<&Value> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let text = self.dir.read(CONFIG)?.map_or_else(|| self.absent_config(), Ok)?;
        let mut config = serde_json::from_slice(&text).map_err(|error| self.dir.damaged(CONFIG, error))?;
        drop_what_is_done(&mut config);
        Ok(self.config.get_or_init(|| config))
    }

    /// The configuration comes after the record and goes before it: with a deletion, after the process has.
    fn absent_config(&self) -> Result<Vec<u8>> {
        match self.look()?.status {
            status @ (Status::Creating | Status::Stopped) => Err(self.unfit("exec in", status)),
            // Since it was looked for, the creation was done.
            _ => self.dir.read(CONFIG)?.ok_or_else(|| self.dir.damaged(CONFIG, "missing")),
        }
    }

    /// Executes one more process in the container's namespaces and cgroup, also before the container is started. When this
    /// returns its program runs. It is a child of the caller's, to be waited for: see [`Process`].
    ///
    /// # Errors
    /// [`StateProblem::Status`] for a container that is stopped, or paused without [`ExecRequest::ignore_paused`];
    /// [`Error::Config`] for a request that is wrong, or if only one of it and `stdio` is for a terminal; what the launch
    /// reports.
    pub fn exec(&self, request: &ExecRequest, stdio: Stdio) -> Result<Process> {
        self.exec_told(request, stdio, Tracer::off())
    }

    /// As [`Self::exec`], and tells `trace` what was done and when, as [`crate::Store::create_traced`] does.
    ///
    /// # Errors
    /// As [`Self::exec`].
    pub fn exec_traced(&self, request: &ExecRequest, stdio: Stdio, trace: &mut dyn FnMut(Event)) -> Result<Process> {
        self.exec_told(request, stdio, Tracer::new(trace))
    }

    fn exec_told(&self, request: &ExecRequest, stdio: Stdio, mut tracer: Tracer<'_>) -> Result<Process> {
        let begin = tracer.begin();
        let sight = self.look()?;
        let runs = match sight.status {
            Status::Created | Status::Running => true,
            Status::Paused => request.ignore_paused,
            Status::Creating | Status::Stopped => false,
        };
        let (true, Some((pid, pidfd))) = (runs, &sight.init) else { return Err(self.unfit("exec in", sight.status)) };
        let mut config = self.saved_config()?.clone();
        config["process"] = request.beside(&config["process"]);
        let bundle = Bundle::of_values(sight.record.bundle.clone(), config)?;
        let mut options = CreateOptions::new(self.id());
        options.pass_fds.clone_from(&request.pass_fds);
        options.plain_lines = request.plain_lines;
        options.no_new_keyring = sight.record.no_new_keyring;
        let plan = Plan::exec(&bundle, &Host::probe()?, &options, *pid)?;
        tracer.beside("look at the container and plan", begin, true);
        let cgroup = cgroup(&sight, *pid, request.cgroup.as_deref())?;
        let into_frozen = request.ignore_paused;
        let target = Target { dir: &self.dir, state: sight.state(), init: pidfd.as_fd(), cgroup, into_frozen };
        match launch::exec(&plan, target, stdio, &self.image, tracer) {
            Err(error) if has_ended(*pid, pidfd.as_fd(), &error) => Err(self.unfit("exec in", Status::Stopped)),
            other => {
                let mut init = other?;
                init.notes.extend_from_slice(plan.notes());
                Ok(Process::new(init))
            }
        }
    }

    /// The processes in the container's cgroup and below.
    ///
    /// # Errors
    /// [`Error::Step`] if the cgroup cannot be read.
    pub fn pids(&self) -> Result<Vec<i32>> {
        match cgroup_of(&self.record()?)? {
            Some(cgroup) => cgroup.pids(),
            None => Ok(Vec::new()),
        }
    }
}

/// Drops the longest parts of a configuration that ask for nothing of a further process, so that they are not read again.
fn drop_what_is_done(config: &mut Value) {
    const DONE: [(&str, &[&str]); 2] =
        [("", &["mounts", "hooks"]), ("/linux", &["devices", "resources", "maskedPaths", "readonlyPaths", "sysctl"])];
    for (place, names) in DONE {
        if let Some(Value::Object(members)) = config.pointer_mut(place) {
            names.iter().for_each(|name| drop(members.remove(*name)));
        }
    }
    // The filter is kept as a program. Only an agent that is to be asked is told of each process that has it.
    if let Some(Value::Array(calls)) = config.pointer_mut("/linux/seccomp/syscalls")
        && !calls.iter().any(|call| call["action"] == "SCMP_ACT_NOTIFY")
    {
        calls.clear();
    }
}

/// Whether the container's process has ended, of which `error` may have been the first sign: one that is just ending loses
/// its namespaces, or has the others of its pid namespace killed and waits for them, before it counts as ended.
/// Where that cannot be told, `error` stands.
fn has_ended(pid: i32, pidfd: BorrowedFd<'_>, error: &Error) -> bool {
    const LAST_MOMENTS: Duration = Duration::from_millis(100);
    let is_lost = |step: &StepError| match step.side {
        Side::Host => matches!(step.errno, Errno::ENOENT | Errno::ESRCH),
        // Nobody is born any more in a pid namespace whose first process ends (pid_namespaces(7)).
        Side::Init => step.errno == Errno::ENOMEM,
    };
    let is_sign = match error {
        Error::Step(step) => is_lost(step),
        Error::Died { .. } => true,
        _ => false,
    };
    let within = |limit| process::ended(pidfd, limit).unwrap_or(false);
    within(if is_sign { LAST_MOMENTS } else { Duration::ZERO })
        || is_sign && process::is_ending(pid).unwrap_or(false) && within(KILL_WAIT)
}

/// The process with what it takes from the container's own where it says nothing, as in runc: one that is written without
/// a profile must not run without one.
fn inherited(mut process: Value, own: &Value) -> Value {
    let Some(members) = process.as_object_mut() else { return process };
    for name in ["apparmorProfile", "selinuxLabel", "scheduler", "ioPriority", "execCPUAffinity"] {
        let absent = members.get(name).is_none_or(|value| value.is_null() || value.as_str() == Some(""));
        if let (true, Some(value)) = (absent, own.get(name)) {
            members.insert(name.to_owned(), value.clone());
        }
    }
    process
}

/// Where the process is born: the recorded cgroup, or that of the first process where the container has left the
/// recorded one, or has made it an inner node (a systemd inside), which takes no processes.
fn cgroup(sight: &Sight, pid: i32, below: Option<&str>) -> Result<Option<Cgroup>> {
    // Without one of its own, a process stays in its caller's cgroup, as the first one did.
    let Some(path) = &sight.record.cgroup_path else { return below.map_or(Ok(None), |below| Err(absent(below))) };
    if let Some(below) = below {
        if below.split('/').any(|part| part == "..") {
            return Err(absent(below));
        }
        let path = format!("{path}/{}", below.trim_matches('/'));
        return Ok(Some(Cgroup::at(path.trim_end_matches('/'))?.ok_or_else(|| absent(below))?));
    }
    match Cgroup::at(path)? {
        Some(cgroup) if !cgroup.is_inner()? => Ok(Some(cgroup)),
        // Never the caller's own: there the container's limits do not hold.
        _ => match Cgroup::of(&crate::cgroup::CgroupHost::probe()?, pid)? {
            None => {
                Err(Error::state(&sight.record.id, StateProblem::Status { verb: "exec in", status: Status::Stopped }))
            }
            found => Ok(found),
        },
    }
}

fn absent(path: &str) -> Error {
    Error::invalid(
        crate::at::ConfigPath::new("--cgroup"),
        path,
        "a cgroup below the container's that is there: no such file or directory",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_asks_for_nothing_of_a_further_process() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/configs");
        let mut compared = 0;
        let host = Host { apparmor: true, selinux: true, ..Host::probe().unwrap() };
        for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let Ok(config) = serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()) else { continue };
            let plan = |config: Value| {
                let bundle = Bundle::of_values("/b".into(), config).ok()?;
                Plan::exec(&bundle, &host, &CreateOptions::new("x"), 7).ok()
            };
            let mut less = config.clone();
            drop_what_is_done(&mut less);
            let differs = less != config;
            // The notes of what is dropped were told when the container was created.
            let lines = |plan: Plan| (plan.lines, plan.texts.bytes().to_vec(), plan.words);
            let (all, less) = (plan(config).map(lines), plan(less).map(lines));
            compared += usize::from(differs && all.is_some());
            assert!(all.is_none() || all == less, "{}", file.display());
        }
        assert!(compared > 20, "{compared}");
    }

    #[test]
    fn a_request_differs_from_the_containers_own_process_in_what_it_says() {
        let own =
            json!({ "args": ["sh"], "terminal": true, "cwd": "/a", "user": { "uid": 7 }, "apparmorProfile": "p" });
        let mut request = ExecRequest::new(["ps", "-e"]);
        request.process["user"] = json!({ "uid": 8 });
        let expected = json!({ "args": ["ps", "-e"], "terminal": false, "cwd": "/a", "user": { "uid": 8 }, "apparmorProfile": "p" });
        assert_eq!(request.beside(&own), expected);
        let whole = ExecRequest::from_process(json!({ "args": ["ps"], "cwd": "/" }));
        assert_eq!(whole.beside(&own), json!({ "args": ["ps"], "cwd": "/", "apparmorProfile": "p" }));
        assert_eq!(ExecRequest::new(["ps"]).beside(&Value::Null), json!({ "args": ["ps"], "terminal": false }));
    }
}
