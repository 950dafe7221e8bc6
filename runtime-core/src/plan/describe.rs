//! Every line of a plan in words. Errors and the printed plan use the same.

#![forbid(unsafe_code)]

use std::fmt::Write;

use runtime_init::step::{Enter, MountRecord, terminal};
use runtime_init::sys::mount::{attr, propagation};
use runtime_init::sys::process::SchedAttr;
use runtime_init::{Gate, Ns, Slot, Step, Text, Words};

use super::process::scheduling::memory_policy_name;
use super::{Act, HostStep, Plan, SlotUse};
use crate::seccomp::flag;

const PROPAGATIONS: [(u64, &str); 4] = [
    (propagation::SHARED, "shared"),
    (propagation::SLAVE, "slave"),
    (propagation::PRIVATE, "private"),
    (propagation::UNBINDABLE, "unbindable"),
];

impl Plan {
    pub(crate) fn describe(&self, act: &Act) -> String {
        match act {
            Act::Host(step) => self.describe_host(step),
            Act::Init(step) => self.describe_init(*step),
        }
    }

    fn describe_host(&self, step: &HostStep) -> String {
        match step {
            HostStep::Record => "record what may have to be undone".to_owned(),
            HostStep::Cgroup => format!("make cgroup {}", self.cgroup.path),
            HostStep::CgroupWrite(index) => format!("  {}", self.cgroup.writes[*index]),
            HostStep::CgroupDevices => {
                format!("{} device rules, as a program", self.cgroup.devices.rules.len())
            }
            HostStep::Open(slot) => format!("open {}", self.slot_name(*slot)),
            HostStep::Spawn => "start init, outside".to_owned(),
            HostStep::Born => "take its pidfd".to_owned(),
            HostStep::Hooks(phase) => format!("run {} hooks", phase.name()),
            HostStep::MapIds => {
                format!("{} {}", if self.id_maps.by_helpers { "newuidmap, newgidmap" } else { "write" }, self.id_maps)
            }
            HostStep::HoldUserNamespace(index) => {
                format!("keep a map: {}", self.mount_maps.get(*index).map_or(String::new(), |m| m.maps.to_string()))
            }
            HostStep::Give(slot) => format!("look up {}", self.slot_name(*slot)),
            HostStep::MapTree { maps, recursive } => {
                let depth = if *recursive { ", with all below" } else { "" };
                let whose = maps.map_or("container's".to_owned(), |index| format!("{}. kept", index + 1));
                format!("map its ids, {whose} map{depth}")
            }
            HostStep::Rdt => self.describe_rdt(),
            HostStep::NetDevices => self.describe_net_devices(),
            HostStep::Filter => match self.filter.as_ref().and_then(|filter| filter.profile.as_ref()) {
                Some(profile) => format!("compile the filter: {} names", profile.names()),
                None => "take the filter that was kept".to_owned(),
            },
            HostStep::Agent => format!("connect to the agent {}", self.agent()),
            HostStep::Listener => "send it the filter's listener".to_owned(),
            HostStep::Limit { name, soft, hard, .. } => format!("{name} {} {}", limit(*soft), limit(*hard)),
            HostStep::Scheduler { attr, name } => describe_scheduler(attr, name),
            HostStep::IoPriority { name, level, .. } => format!("{name} {level}"),
            HostStep::Release(_) => "go on".to_owned(),
            HostStep::Executed => "executed".to_owned(),
            HostStep::Created => "created: init waits for start".to_owned(),
        }
    }

    fn describe_net_devices(&self) -> String {
        let one = |device: &super::NetDevice| match &device.inside {
            inside if *inside == device.name => inside.clone(),
            inside => format!("{} → {inside}", device.name),
        };
        format!("move {}", self.net_devices.iter().map(one).collect::<Vec<_>>().join(", "))
    }

    fn describe_rdt(&self) -> String {
        let Some(rdt) = &self.rdt else { return String::new() };
        let schemata = rdt.schemata.iter().map(|line| format!(" {line}")).collect::<String>();
        format!("resctrl group {}{schemata}", if rdt.group.is_empty() { "/" } else { &rdt.group })
    }

    fn agent(&self) -> String {
        let listener = self.filter.as_ref().and_then(|filter| filter.listener.as_ref());
        listener.map_or_else(String::new, |listener| listener.path.display().to_string())
    }

    /// What a slot holds.
    pub(crate) fn slot_name(&self, slot: Slot) -> String {
        match self.slots.get(slot.0 as usize) {
            Some(SlotUse::Cgroup) => "the cgroup".to_owned(),
            Some(SlotUse::Namespace { path, ns }) => format!("{} namespace {}", ns.name(), path.display()),
            Some(SlotUse::Rootfs { path }) => format!("root {}", path.display()),
            Some(SlotUse::Source { path, .. } | SlotUse::Inside { path, .. }) => path.display().to_string(),
            Some(SlotUse::Reserved) => "what was opened".to_owned(),
            Some(SlotUse::Start) => "exec.fifo".to_owned(),
            Some(SlotUse::Passed { number }) => format!("the caller's descriptor {number}"),
            Some(SlotUse::Notify) => "the directory of the notify socket".to_owned(),
            Some(SlotUse::Terminal) => "the socket for the terminal".to_owned(),
            None => "nothing".to_owned(),
        }
    }

    fn text(&self, text: Text) -> String {
        self.texts.show(text)
    }

    fn describe_init(&self, step: Step) -> String {
        match step {
            Step::ResetInherited {} => "reset signals and umask, close other files".to_owned(),
            Step::OomScore { score } => format!("oom_score_adj {}", self.text(score)),
            Step::NotDumpable {} => "cannot be traced from now on".to_owned(),
            Step::Join { ns, slot } => {
                format!("join {}{}", self.slot_name(slot), if ns == Ns::Pid { " (for children)" } else { "" })
            }
            Step::TimeOffsets { offsets } => {
                format!("new time namespace {}", self.text(offsets).trim_end().replace('\n', ", "))
            }
            Step::CheckMaps { .. } => "check the id maps of the joined namespace".to_owned(),
            Step::Birth { namespaces, cgroup } => describe_birth(namespaces, cgroup.is_some()),
            Step::HoldUserNamespace {} => "user namespace for id maps".to_owned(),
            Step::Await { gate } => describe_gate(gate).to_owned(),
            Step::BecomeRoot {} => "become root of the user namespace".to_owned(),
            Step::Session {} => "new session".to_owned(),
            Step::Cpus { mask } if mask.count == 0 => "run on every CPU of its cpuset".to_owned(),
            Step::Cpus { mask } => format!("run on CPUs {}", list_of_bits(self.words_of(mask))),
            Step::Keyring { name, .. } => format!("session keyring {}", self.text(name)),
            Step::Hostname { name } => format!("hostname {}", self.text(name)),
            Step::Domainname { name } => format!("domainname {}", self.text(name)),
            Step::Loopback {} => "raise lo".to_owned(),
            _ => self.describe_files(step),
        }
    }

    fn describe_files(&self, step: Step) -> String {
        match step {
            Step::Propagation { kind } => format!("make every mount {}", propagation_name(kind)),
            Step::OpenSource { path, .. } => format!("open {}", self.text(path)),
            Step::OpenNull {} => "open our own null device".to_owned(),
            Step::OpenProc {} => "open our own procfs".to_owned(),
            Step::Rootfs { path, .. } => format!("mount root on {}", self.text(path)),
            Step::PlainRootfs { path } => format!("open root {}", self.text(path)),
            Step::Mount { record } => self.describe_mount(&self.mount_record(record)),
            Step::ReadonlyMount { slot } => format!("make {} read-only", self.held_target(slot)),
            Step::Device { path, mode_and_device, .. } => describe_device(&self.text(path), mode_and_device),
            Step::DeviceBind { path, .. } => format!("bind the host's {}", self.text(path)),
            Step::Symlink { path, target } => format!("link {} → {}", self.text(path), self.text(target)),
            Step::Ptmx {} => "link /dev/ptmx → pts/ptmx".to_owned(),
            Step::MakeDirectory { path, ordinary } => {
                format!("make directory {}{}", self.text(path), if ordinary == 1 { ", by no link" } else { "" })
            }
            Step::Sysctl { path, value } => {
                let name = self.text(path).trim_start_matches("sys/").replace('/', ".");
                format!("sysctl {name} = {}", self.text(value))
            }
            Step::ReadonlyPath { path, within } => format!("read-only {}", self.covered(path, within)),
            Step::MaskPath { path, within } => format!("mask {}", self.covered(path, within)),
            Step::ReadonlyRoot {} => "make the root read-only".to_owned(),
            Step::Hook { record } => self.describe_hook(record),
            Step::Terminal { size, flags, .. } => describe_terminal(size, flags),
            Step::Unmount { path } => format!("unmount or cover the host's {}", self.text(path)),
            Step::EnterRoot { how: Enter::Pivot, .. } => "enter root (pivot_root)".to_owned(),
            Step::EnterRoot { how: Enter::Move, .. } => "enter root (move, chroot)".to_owned(),
            Step::EnterRoot { how: Enter::Chroot, .. } => "enter root (chroot)".to_owned(),
            Step::RootPropagation { kind, .. } => format!("make / {}", propagation_name(kind)),
            _ => self.describe_tail(step),
        }
    }

    fn describe_tail(&self, step: Step) -> String {
        match step {
            // Podman knows a refused label by the path in back-quotes.
            Step::Label { path, value } => format!("`/proc/self/attr/{}`: {}", self.text(path), self.text(value)),
            Step::Personality { domain: 0 } => "personality LINUX".to_owned(),
            Step::Personality { .. } => "personality LINUX32".to_owned(),
            Step::MemoryPolicy { mode, nodes } => {
                format!("{} nodes {}", memory_policy_name(mode), list_of_bits(self.words_of(nodes)))
            }
            Step::NoNewPrivs {} => "no new privileges".to_owned(),
            Step::Bounding { keep } => format!("bounding set: {}", capabilities(keep)),
            Step::OwnStdio { uid } => format!("give stdin, stdout, stderr to {uid}"),
            Step::Groups { groups } => format!("groups {:?}", self.words_of(groups)),
            Step::Ids { uid, gid } => format!("user {uid}, group {gid}"),
            Step::Capabilities { effective, permitted, inheritable } => {
                let counts = [effective, permitted, inheritable].map(u64::count_ones);
                format!("capabilities: {} effective, {} permitted, {} inheritable", counts[0], counts[1], counts[2])
            }
            Step::Ambient { raise } => format!("ambient: {}", capabilities(raise)),
            Step::Umask { mask } => format!("umask {mask:04o}"),
            Step::Enterdir { path } => format!("enter {}", self.text(path)),
            Step::Cwd { path } => format!("working directory {}", self.text(path)),
            Step::FindProgram { args, .. } => format!("find {}", self.first(args)),
            Step::Prepare { home_of: u32::MAX, .. } => "lay out arguments and environment".to_owned(),
            Step::Prepare { home_of, .. } => format!("lay out arguments and environment, home of {home_of}"),
            Step::WaitForStart { .. } => "wait for start".to_owned(),
            Step::Pass { files } => {
                let numbers: Vec<u32> = self.words_of(files).iter().copied().step_by(2).collect();
                format!("pass the caller's descriptors {numbers:?}")
            }
            Step::Filter { flags } if flags & flag::NEW_LISTENER != 0 => {
                "install the filter, offer its listener".to_owned()
            }
            Step::Filter { .. } => "install the system call filter".to_owned(),
            Step::Execute { args, .. } => format!("execute {}", self.first(args)),
            _ => format!("{step:?}"),
        }
    }

    fn describe_hook(&self, record: Words) -> String {
        let words = self.words_of(Words { count: runtime_init::hooks::HEAD, ..record });
        format!("run {}", words.get(3).map_or_else(String::new, |path| self.text(Text(*path))))
    }

    fn words_of(&self, range: Words) -> &[u32] {
        self.words.get(range.start as usize..(range.start + range.count) as usize).unwrap_or_default()
    }

    fn first(&self, args: Words) -> String {
        let name = self.words_of(args).first().map(|word| self.text(Text(*word)));
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| r#""""#.to_owned())
    }

    fn mount_record(&self, range: Words) -> MountRecord {
        let mut words = [0; MountRecord::LEN as usize];
        for (place, word) in words.iter_mut().zip(self.words_of(range)) {
            *place = *word;
        }
        MountRecord::from_words(words)
    }

    fn describe_mount(&self, record: &MountRecord) -> String {
        let target = self.text(Text(record.target));
        let mut text = match record.from {
            MountRecord::FROM_FILESYSTEM => format!("mount {} on {target}", self.text(Text(record.what))),
            MountRecord::FROM_TARGET => format!("remount {target}"),
            MountRecord::FROM_ROOT => format!("bind its own {} on {target}", self.text(Text(record.what))),
            _ => format!("bind {} on {target}", self.slot_name(Slot(record.slot))),
        };
        let options = self.mount_options(record);
        if !options.is_empty() {
            let _ = write!(text, " ({})", options.join(","));
        }
        text
    }

    /// Where the mount in `slot` is.
    fn held_target(&self, slot: Slot) -> String {
        let held = self.steps().find_map(|step| match step {
            Step::Mount { record } => Some(self.mount_record(record)).filter(|r| r.slot == slot.0),
            _ => None,
        });
        held.map_or_else(String::new, |record| self.text(Text(record.target)))
    }

    fn covered(&self, path: Text, within: Option<Slot>) -> String {
        match within {
            Some(mounted) => format!("{}/{}", self.held_target(mounted), self.text(path)),
            None => self.text(path),
        }
    }

    fn mount_options(&self, record: &MountRecord) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for (flag, word) in [
            (MountRecord::WITH_COPY, "tmpcopyup"),
            (MountRecord::WITH_IDS, "idmap"),
            (MountRecord::WITH_LINK, "copy-symlink"),
            (MountRecord::WITH_SOURCE_AS_IT_IS, "src-nofollow"),
            (MountRecord::WITH_TARGET_AS_IT_IS, "dest-nofollow"),
        ] {
            if record.flags & flag != 0 {
                words.push(word.to_owned());
            }
        }
        attributes(record.set, record.clear, "", &mut words);
        attributes(record.set_all, record.clear_all, "r", &mut words);
        for (kind, prefix) in [(record.propagation, ""), (record.propagation_all, "r")] {
            if kind != 0 {
                words.push(format!("{prefix}{}", propagation_name(kind)));
            }
        }
        for pair in self.words_of(Words { start: record.options, count: 2 * record.option_count }).chunks_exact(2) {
            let key = self.text(Text(pair[0]));
            words.push(if pair[1] == MountRecord::NO_TEXT {
                key
            } else {
                format!("{key}={}", self.text(Text(pair[1])))
            });
        }
        words
    }
}

fn attributes(set: u32, clear: u32, prefix: &str, words: &mut Vec<String>) {
    const NAMES: [(u64, &str, &str); 6] = [
        (attr::RDONLY, "ro", "rw"),
        (attr::NOSUID, "nosuid", "suid"),
        (attr::NODEV, "nodev", "dev"),
        (attr::NOEXEC, "noexec", "exec"),
        (attr::NODIRATIME, "nodiratime", "diratime"),
        (attr::NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ];
    let (set, clear) = (u64::from(set), u64::from(clear));
    for (bit, on, off) in NAMES {
        if set & bit != 0 {
            words.push(format!("{prefix}{on}"));
        } else if clear & bit != 0 {
            words.push(format!("{prefix}{off}"));
        }
    }
    if clear & attr::ATIME != 0 {
        let mode = match set & attr::ATIME {
            attr::NOATIME => "noatime",
            attr::STRICTATIME => "strictatime",
            _ => "relatime",
        };
        words.push(format!("{prefix}{mode}"));
    }
}

fn propagation_name(kind: u32) -> &'static str {
    PROPAGATIONS.iter().find(|(bit, _)| *bit == u64::from(kind)).map_or("unchanged", |(_, name)| name)
}

fn describe_birth(namespaces: u32, into_cgroup: bool) -> String {
    let names: Vec<_> = Ns::ALL.into_iter().filter(|ns| namespaces & ns.flag() != 0).map(Ns::name).collect();
    let place = if into_cgroup { " into the cgroup" } else { "" };
    let news = if names.is_empty() { String::new() } else { format!(", new {}", names.join(" ")) };
    format!("birth{place}{news}")
}

fn describe_terminal(size: u32, flags: u32) -> String {
    let mut text = "terminal".to_owned();
    if size != 0 {
        let _ = write!(text, " {}x{}", size >> 16, size & 0xffff);
    }
    if flags & terminal::PLAIN_LINES != 0 {
        text.push_str(" with plain lines");
    }
    if flags & terminal::ON_CONSOLE != 0 {
        text.push_str(", also on /dev/console");
    }
    text
}

const fn describe_gate(gate: Gate) -> &'static str {
    match gate {
        Gate::Born => "tell its pid",
        Gate::Mapped => "wait for the id maps",
        Gate::Placed => "wait for the cgroup",
        Gate::Trees => "show its own copy of the mounts",
        Gate::Mounted => "wait for the hooks",
        Gate::Ready => "wait for the limits",
        Gate::Notify => "wait for the agent",
        Gate::Network => "show its network namespace",
    }
}

fn describe_device(path: &str, mode_and_device: u64) -> String {
    use runtime_init::sys::fd::kind;
    let mode = (mode_and_device & 0xffff_ffff) as u32;
    let device = (mode_and_device >> 32) as u32;
    let (major, minor) = ((device >> 8) & 0xfff, device & 0xff | (device >> 12) & !0xff);
    match mode & kind::MASK {
        kind::FIFO => format!("fifo {path} {:04o}", mode & 0o7777),
        kind::BLK => format!("block device {path} {major}:{minor} {:04o}", mode & 0o7777),
        _ => format!("device {path} {major}:{minor} {:04o}", mode & 0o7777),
    }
}

fn describe_scheduler(attr: &SchedAttr, name: &str) -> String {
    match name {
        "SCHED_DEADLINE" => format!("{name} {}/{}/{}", attr.runtime, attr.deadline, attr.period),
        "SCHED_FIFO" | "SCHED_RR" => format!("{name} {}", attr.priority),
        _ => format!("{name} nice {}", attr.nice),
    }
}

/// Bits as a list such as `0-3,7`.
fn list_of_bits(words: &[u32]) -> String {
    let bits = (0_u32..)
        .zip(words)
        .flat_map(|(index, word)| (0..32).filter(move |bit| word & 1 << bit != 0).map(move |bit| index * 32 + bit));
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for bit in bits {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == bit => *last = bit,
            _ => ranges.push((bit, bit)),
        }
    }
    let text = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

fn limit(value: u64) -> String {
    if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() }
}

/// Capabilities by name, without `CAP_`; a number where there are many.
fn capabilities(bits: u64) -> String {
    const FEW: u32 = 4;
    if bits == 0 {
        return "none".to_owned();
    }
    if bits.count_ones() > FEW {
        return format!("{} capabilities", bits.count_ones());
    }
    let mut names: Vec<_> =
        caps::all().into_iter().filter(|c| bits & c.bitmask() != 0).map(|c| c.to_string()).collect();
    names.sort();
    names.iter().map(|n| n.trim_start_matches("CAP_").to_lowercase()).collect::<Vec<_>>().join(" ")
}
