//! A process as it can be observed from inside: what a library must leave alone.

use crate::deadline::{limit, within};
use crate::process::Process;
use nix::sys::prctl;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Fields of `/proc/PID/status` that change in a process which only waits, or whose children end.
const RESTLESS: [&str; 12] = [
    "State",
    "SigPnd",
    "ShdPnd",
    "FDSize",
    "SigQ",
    "voluntary_ctxt_switches",
    "nonvoluntary_ctxt_switches",
    "THP_enabled",
    "untag_mask",
    "x86_Thread_features",
    "x86_Thread_features_locked",
    "HugetlbPages",
];

/// Files of `/proc/self` with settings. Not every kernel has all of them.
const FILES: [&str; 14] = [
    "limits",
    "cgroup",
    "oom_score_adj",
    "comm",
    "personality",
    "timerslack_ns",
    "timers",
    "coredump_filter",
    "uid_map",
    "gid_map",
    "setgroups",
    "loginuid",
    "attr/current",
    "timens_offsets",
];

/// Where the process and its main thread are.
const LINKS: [&str; 12] = [
    "cwd",
    "root",
    "exe",
    "ns/cgroup",
    "ns/ipc",
    "ns/mnt",
    "ns/net",
    "ns/pid",
    "ns/pid_for_children",
    "ns/time_for_children",
    "ns/user",
    "ns/uts",
];

/// This process at one moment: facts by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(BTreeMap<String, String>);

impl Caller {
    /// Everything there is: status, limits, places, namespaces, flags, environment, descriptors, children, threads, programs
    /// that are mapped.
    pub fn observe() -> Caller {
        let own = Process::new(std::process::id().cast_signed());
        let mut facts = status(&own.read("status"));
        facts.extend(FILES.iter().map(|name| ((*name).to_string(), own.read(name))));
        facts.extend(LINKS.iter().map(|name| ((*name).to_string(), format!("{:?}", own.link(name)))));
        facts.extend(flags());
        // Process group, session, terminal, priority, nice value, real-time priority, policy.
        for number in [5, 6, 7, 18, 19, 40, 41] {
            facts.insert(format!("stat {number}"), own.stat(number).unwrap_or_default());
        }
        let mut environment: Vec<_> = std::env::vars_os().collect();
        environment.sort();
        facts.insert("environment".to_string(), format!("{environment:?}"));
        facts.insert("files".to_string(), format!("{:?}", files(&own)));
        facts.insert("children".to_string(), format!("{:?}", children(own)));
        facts.insert("programs".to_string(), format!("{:?}", mapped(&own)));
        Caller(facts)
    }

    /// What a library could change for a moment only: masks, dispositions, limits, flags. Of the calling thread, and cheap.
    pub fn glimpse() -> Caller {
        let text = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let mut facts = status(&text);
        facts.retain(|name, _| !matches!(name.as_str(), "Threads" | "Pid"));
        facts.extend(flags());
        let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/{name}")).unwrap_or_default();
        facts.extend(["limits", "oom_score_adj"].map(|name| (name.to_string(), read(name))));
        Caller(facts)
    }

    /// The names of what differs from `other`.
    pub fn differs_from<'a>(&'a self, other: &'a Caller) -> Vec<&'a str> {
        let names: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        names.into_iter().filter(|name| self.0.get(*name) != other.0.get(*name)).map(String::as_str).collect()
    }

    /// Panics unless this is what there is now, or soon: a thread that was joined takes a moment to vanish.
    #[track_caller]
    pub fn assert_unchanged(&self) {
        let mut now = Caller::observe();
        let same = within(limit(), || {
            now = Caller::observe();
            self.differs_from(&now).is_empty().then_some(())
        });
        let show = |name: &&str| format!("{name}: {:?} before, {:?} now", self.0.get(*name), now.0.get(*name));
        let different: Vec<String> = self.differs_from(&now).iter().map(show).collect();
        assert!(same.is_some(), "the caller has changed: {different:#?}");
    }
}

/// The fields of a `status` file that stay as they are, but for sizes of memory.
fn status(text: &str) -> BTreeMap<String, String> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let steady =
        fields.filter(|(name, _)| !RESTLESS.contains(name) && !name.starts_with("Vm") && !name.starts_with("Rss"));
    steady.map(|(name, value)| (name.to_string(), value.trim().to_string())).collect()
}

/// What only prctl(2) tells.
fn flags() -> BTreeMap<String, String> {
    let told = [
        ("dumpable", format!("{:?}", prctl::get_dumpable())),
        ("child subreaper", format!("{:?}", prctl::get_child_subreaper())),
        ("signal on the parent's death", format!("{:?}", prctl::get_pdeathsig())),
        ("capabilities are kept", format!("{:?}", prctl::get_keepcaps())),
    ];
    told.map(|(name, value)| (name.to_string(), value)).into()
}

/// The open files, but for the one by which they are listed.
fn files(own: &Process) -> BTreeMap<u32, String> {
    let listed = |path: &str| path.ends_with("/fd") && path.starts_with("/proc/");
    let files = own.files().into_iter().map(|(number, path)| (number, path.display().to_string()));
    files.filter(|(_, path)| !listed(path)).collect()
}

/// Its children, zombies included.
fn children(own: Process) -> Vec<i32> {
    let is_child = |process: &Process| process.stat(4) == Some(own.pid.to_string());
    Process::all().into_iter().filter(is_child).map(|process| process.pid).collect()
}

/// The files that it has mapped.
fn mapped(own: &Process) -> BTreeSet<String> {
    let maps = own.read("maps");
    maps.lines().filter_map(|line| line.find('/').map(|at| line[at..].to_string())).collect()
}
