//! `hooks`: who runs which. The host runs those that see the host, init those that see the container.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use oci_spec::runtime::{Hook as Given, Spec};
use runtime_init::hooks::{CREATE_CONTAINER, START_CONTAINER};
use runtime_init::{Gate, Step};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::HostStep;
use super::draft::Draft;
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// The lists of `hooks`, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// During create, before the root is entered; on the host. Deprecated by the specification, but used.
    Prestart,
    /// The same, after prestart.
    CreateRuntime,
    /// The same, in the container's namespaces.
    CreateContainer,
    /// During start, before the program; in the container.
    StartContainer,
    /// After the program was started; on the host.
    Poststart,
    /// After the container was deleted; on the host.
    Poststop,
}

impl Phase {
    /// The name of the list.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    fn at(self) -> ConfigPath {
        ConfigPath::new("hooks").field(self.name())
    }
}

/// A program to be run at a point of the container's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute path.
    pub path: PathBuf,
    /// Its arguments, the zeroth included; empty means the path alone.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its environment; `None` is the runtime's own.
    #[serde(default)]
    pub env: Option<Vec<String>>,
    /// Seconds after which it is killed.
    #[serde(default)]
    pub timeout: Option<u32>,
}

/// The hooks that the host runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    /// See [`Phase::Prestart`].
    pub prestart: Vec<Hook>,
    /// See [`Phase::CreateRuntime`].
    pub create_runtime: Vec<Hook>,
    /// See [`Phase::Poststart`].
    pub poststart: Vec<Hook>,
    /// See [`Phase::Poststop`].
    pub poststop: Vec<Hook>,
}

/// The host's hooks of a configuration.
pub(super) fn read(spec: &Spec) -> Result<Hooks> {
    Ok(Hooks {
        prestart: phase(spec, Phase::Prestart)?,
        create_runtime: phase(spec, Phase::CreateRuntime)?,
        poststart: phase(spec, Phase::Poststart)?,
        poststop: phase(spec, Phase::Poststop)?,
    })
}

fn given(spec: &Spec, phase: Phase) -> &[Given] {
    let Some(hooks) = spec.hooks().as_ref() else { return &[] };
    let list = match phase {
        Phase::Prestart => hooks.prestart(),
        Phase::CreateRuntime => hooks.create_runtime(),
        Phase::CreateContainer => hooks.create_container(),
        Phase::StartContainer => hooks.start_container(),
        Phase::Poststart => hooks.poststart(),
        Phase::Poststop => hooks.poststop(),
    };
    list.as_deref().unwrap_or_default()
}

fn phase(spec: &Spec, phase: Phase) -> Result<Vec<Hook>> {
    given(spec, phase).iter().enumerate().map(|(index, hook)| checked(hook, &phase.at().index(index))).collect()
}

fn checked(hook: &Given, at: &ConfigPath) -> Result<Hook> {
    let path = hook.path();
    if !path.is_absolute() {
        return Err(Error::invalid(at.field("path"), path, "the absolute path of a program"));
    }
    let timeout = match hook.timeout() {
        None => None,
        Some(seconds) => match u32::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Some(seconds),
            _ => return Err(Error::invalid(at.field("timeout"), seconds, "a number of seconds, at least 1")),
        },
    };
    for (index, entry) in hook.env().iter().flatten().enumerate() {
        if !entry.contains('=') || entry.contains('\0') {
            return Err(Error::invalid(at.field("env").index(index), entry, "NAME=value, without NUL"));
        }
    }
    let args = hook.args().clone().unwrap_or_default();
    Ok(Hook { path: path.clone(), args, env: hook.env().clone(), timeout })
}

/// prestart and createRuntime: init stands at a gate with everything mounted and the root not yet entered.
pub(super) fn outside(p: &mut Draft<'_>) {
    let phases = [(Phase::Prestart, p.hooks.prestart.len()), (Phase::CreateRuntime, p.hooks.create_runtime.len())];
    let wanted: Vec<Phase> = phases.into_iter().filter(|(_, count)| *count > 0).map(|(phase, _)| phase).collect();
    if wanted.is_empty() {
        return;
    }
    for phase in wanted {
        p.host_for(&phase.at(), HostStep::Hooks(phase));
    }
    p.host(HostStep::Release(Gate::Mounted));
    p.init(Step::Await { gate: Gate::Mounted });
}

/// Whether the configuration has hooks of this phase.
pub(super) fn any(p: &Draft<'_>, phase: Phase) -> bool {
    !given(p.spec, phase).is_empty()
}

/// createContainer and startContainer: one step for each.
pub(super) fn inside(p: &mut Draft<'_>, phase: Phase) -> Result<()> {
    for (index, given) in given(p.spec, phase).iter().enumerate() {
        let at = phase.at().index(index);
        let hook = checked(given, &at)?;
        let record = record(p, phase, index, &hook, &at)?;
        p.init_for(&at, Step::Hook { record });
    }
    Ok(())
}

fn record(p: &mut Draft<'_>, phase: Phase, index: usize, hook: &Hook, at: &ConfigPath) -> Result<runtime_init::Words> {
    let (number, status) = match phase {
        Phase::StartContainer => (START_CONTAINER, "created"),
        _ => (CREATE_CONTAINER, "creating"),
    };
    let args = if hook.args.is_empty() { vec![hook.path.to_string_lossy().into_owned()] } else { hook.args.clone() };
    let env = environment(p, phase, hook);
    let state = state(p, status);
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut words = vec![number, small(index), hook.timeout.unwrap_or(0), p.path(&hook.path, &at.field("path"))?.0];
    for part in state {
        words.push(p.texts.add(part, &ConfigPath::new("annotations"))?.0);
    }
    let as_program = phase == Phase::StartContainer && hook.env.is_none();
    words.extend([small(args.len()), small(env.len()), u32::from(as_program)]);
    for (index, arg) in args.iter().enumerate() {
        words.push(p.texts.add(arg, &at.field("args").index(index))?.0);
    }
    for (index, entry) in env.iter().enumerate() {
        words.push(p.texts.add(entry, &at.field("env").index(index))?.0);
    }
    Ok(p.words(&words))
}

/// Without an `env` of its own, startContainer gets the program's; createContainer the caller's, never a variable of
/// the image (rule R13, CVE-2025-23266).
fn environment(p: &Draft<'_>, phase: Phase, hook: &Hook) -> Vec<Vec<u8>> {
    let bytes = |entries: &[String]| entries.iter().map(|e| e.clone().into_bytes()).collect();
    match (&hook.env, phase) {
        (Some(env), _) => bytes(env),
        (None, Phase::StartContainer) => {
            bytes(p.process().and_then(|process| process.env().as_deref()).unwrap_or_default())
        }
        (None, _) => {
            let entry = |(name, value): &(OsString, OsString)| [name.as_bytes(), b"=", value.as_bytes()].concat();
            p.host.environment.iter().map(entry).collect()
        }
    }
}

/// The state on a hook's standard input, before and after the pid, which init fills in as the container sees it.
fn state(p: &Draft<'_>, status: &str) -> [String; 2] {
    let annotations: std::collections::BTreeMap<_, _> = p.spec.annotations().iter().flatten().collect();
    let head = json!({ "ociVersion": p.spec.version(), "id": p.id, "status": status });
    let tail = json!({ "bundle": p.bundle.dir(), "annotations": annotations });
    [format!("{},\"pid\":", open(&head)), format!(",{}", &tail.to_string()[1..])]
}

/// An object without its closing brace.
fn open(object: &Value) -> String {
    let mut text = object.to_string();
    text.pop();
    text
}
