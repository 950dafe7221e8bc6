//! Many lives of a container, one after the other: nothing of the host may grow with them.
//!
//! `LEAKS=10000` runs that many and then counts the kernel's own memory, too (`hack/leaks`).

use integration::deadline::{limit, within};
use integration::{Container, Process, Runtime, Snapshot};
use nix::sys::prctl::set_child_subreaper;
use runtime_core::{Bundle, CreateOptions, ExecRequest, Host, Plan, Stdio, Store};
use runtime_init::sys::bpf;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

cases! {
    Any:
        rt_66_lives_by_the_command_line_leave_nothing,
        rt_66_lives_by_the_library_leave_nothing,
    ;
}

/// The words by which the process of the library's lives knows itself and gets its bundle, store and name.
const EMBEDDER: [&str; 3] = ["LEAKS_BUNDLE", "LEAKS_STORE", "LEAKS_NAME"];

/// What an embedder's heap may differ by between two moments.
const HEAP: u64 = 128 << 10;

/// What is not asked of a machine on which others work: only where many lives make it small.
fn is_long() -> bool {
    std::env::var_os("LEAKS").is_some()
}

/// How many lives: `LEAKS`, or a number that fits into a test run.
fn lives(runtime: &Runtime) -> u32 {
    let slow = std::env::var("PLACE").is_ok_and(|place| place == "uml") || !runtime.is_ours();
    let asked = std::env::var("LEAKS").ok().and_then(|word| word.parse().ok());
    asked.unwrap_or(if slow { 20 } else { 200 })
}

/// With something of everything that lives in the kernel: namespaces, mounts, a device program, a filter, a session keyring.
fn whole(runtime: &Runtime) -> Container {
    let mut container = Container::sleeper(runtime);
    let syscalls = json!([{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]);
    container.bundle.mount("/scratch", "tmpfs", "tmpfs", &["size=64k"]);
    container.bundle.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls}));
    fs::create_dir(container.folder().join("tmp")).unwrap();
    container
}

/// The host around a container, as far as it can grow: what [`Snapshot`] sees, and what has no path.
struct Ledger {
    snapshot: Snapshot,
    programs: BTreeSet<u32>,
    kernel: BTreeMap<&'static str, u64>,
}

impl Ledger {
    fn open(container: &Container) -> Ledger {
        Ledger { snapshot: Snapshot::take(container), programs: BTreeSet::new(), kernel: kernel_memory() }
    }

    /// Notes what a living container has that bears no name of its.
    fn note(&mut self, cgroup: &Path) {
        let mut ids = [0; bpf::MAX_ATTACHED];
        let count = bpf::attached(fs::File::open(cgroup).unwrap().as_fd(), &mut ids).unwrap();
        self.programs.extend(&ids[..count]);
    }

    /// Panics unless all is as it was, or becomes so: the kernel frees some of it when it finds the time.
    fn close(&self, container: &Container, lives: u32) {
        self.snapshot.assert_unchanged(container);
        assert!(fs::read_dir(container.folder().join("tmp")).unwrap().next().is_none(), "files in TMPDIR");
        for folder in ["/tmp", "/run", "/dev/shm", "/var/tmp"] {
            let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name());
            let left: Vec<_> = entries.filter(|name| name.to_string_lossy().contains(container.name())).collect();
            assert!(left.is_empty(), "{folder}: {left:?}");
        }
        assert!(self.programs.len() >= lives as usize, "{} device programs were seen", self.programs.len());
        none("device programs", || self.programs.iter().filter(|id| bpf::open(**id).is_ok()).collect());
        none("keys", || keys_of(container.name()));
        none("processes, ended ones included", || processes_of(container));
        few_dying_cgroups(container);
        if is_long() {
            self.compare_kernel_memory(lives);
        }
    }

    /// Half a KiB for a life would be a leak of one small object; and there are other tenants of the kernel.
    fn compare_kernel_memory(&self, lives: u32) {
        let allowed = u64::from(lives) / 2 + (8 << 10);
        let grown = || kernel_memory().into_iter().map(|(name, now)| (name, now.saturating_sub(self.kernel[name])));
        let settled = within(limit(), || grown().all(|(_, more)| more < allowed).then_some(()));
        let grown: Vec<_> = grown().collect();
        eprintln!("kernel memory after {lives} lives, in KiB more: {grown:?}");
        assert!(settled.is_some(), "more than {allowed} KiB of kernel memory: {grown:?}");
    }
}

/// What the kernel cannot give back when it wants to, in KiB.
fn kernel_memory() -> BTreeMap<&'static str, u64> {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let names = ["SUnreclaim", "KernelStack", "PageTables", "VmallocUsed", "Percpu"];
    names.into_iter().filter_map(|name| Some((name, value(name)?))).collect()
}

#[track_caller]
fn none<T: std::fmt::Debug>(what: &str, find: impl Fn() -> Vec<T>) {
    let gone = within(limit(), || find().is_empty().then_some(()));
    assert!(gone.is_some(), "{what}: {:?}", find());
}

/// Session keyrings are called after their containers.
fn keys_of(name: &str) -> Vec<String> {
    let keys = fs::read_to_string("/proc/keys").unwrap_or_default();
    keys.lines().filter(|line| line.contains(name)).map(str::to_string).collect()
}

/// A zombie keeps the path of its cgroup.
pub fn processes_of(container: &Container) -> Vec<Process> {
    let ours = |process: &Process| process.cgroup().is_some_and(|path| path.contains(container.name()));
    Process::all().into_iter().filter(ours).collect()
}

/// A removed cgroup stays until nothing points at it any more; with the memory controller that is also cached pages.
fn few_dying_cgroups(container: &Container) {
    let top = container.parent_cgroup();
    let dying = || {
        let _ = fs::write(top.join("memory.reclaim"), "1G");
        let text = fs::read_to_string(top.join("cgroup.stat")).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("nr_dying_descendants ")?.parse().ok());
        count.unwrap_or(0_u32)
    };
    let allowed = 4;
    assert!(within(limit(), || (dying() <= allowed).then_some(())).is_some(), "{} cgroups do not die", dying());
}

fn rt_66_lives_by_the_command_line_leave_nothing(runtime: &Runtime) {
    let container = whole(runtime);
    let call = |words: &[&str]| container.call(words).env("TMPDIR", container.folder().join("tmp")).run().ok().silent();
    let life = |ledger: &mut Ledger| {
        container.create().ok();
        let pid = container.pid();
        assert!(!keys_of(container.name()).is_empty());
        ledger.note(&container.cgroup());
        container.start().ok();
        call(&["exec", &container.id, "/bin/true"]);
        call(&["kill", &container.id, "KILL"]);
        container.reap(pid);
        call(&["delete", &container.id]);
        // The files of the test's own calls.
        for file in fs::read_dir(container.folder().join("calls")).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    };
    // What is made once, such as the root directory, is there after the first.
    life(&mut Ledger::open(&container));
    let mut ledger = Ledger::open(&container);
    let lives = lives(runtime);
    (0..lives).for_each(|_| life(&mut ledger));
    ledger.close(&container, lives);
}

/// In a process of its own, where nothing else opens files and takes memory: this program again, see [`embedder`].
fn rt_66_lives_by_the_library_leave_nothing(runtime: &Runtime) {
    if !runtime.is_ours() {
        return; // The library is ours, whatever binary is tested.
    }
    let container = whole(runtime);
    let mut ledger = Ledger::open(&container);
    let values = [container.bundle.path(), &container.root, Path::new(container.name())];
    let mut call = Command::new(std::env::current_exe().unwrap());
    call.envs(EMBEDDER.into_iter().zip(values)).env("TMPDIR", container.folder().join("tmp"));
    call.env("LEAKS_COUNT", lives(runtime).to_string());
    let output = call.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for id in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        ledger.programs.insert(id.parse().unwrap());
    }
    fs::remove_dir(&container.root).unwrap();
    ledger.close(&container, lives(runtime));
}

/// The process of the library's lives, if this is one. It prints the ids of the device programs it has seen.
pub fn embedder() -> Option<ExitCode> {
    let [bundle, store, name] = EMBEDDER.map(std::env::var_os);
    let (bundle, store, name) = (bundle?, store?, name?.into_string().ok()?);
    let lives: u32 = std::env::var("LEAKS_COUNT").ok()?.parse().ok()?;
    set_child_subreaper(true).expect("become the reaper of the containers");
    let life = |number: u32| embedded_life(Path::new(&bundle), Path::new(&store), &format!("{name}-{number}"));
    // The first ones fill what is kept: the heap, caches of the library's crates.
    let warm = lives.div_ceil(10);
    (0..warm).for_each(|number| drop(life(number)));
    let before = Footprint::of_this_process();
    let programs: Vec<u32> = (0..lives).flat_map(life).collect();
    Footprint::of_this_process().assert_no_more_than(&before);
    let words: Vec<String> = programs.iter().map(u32::to_string).collect();
    println!("{}", words.join(" "));
    Some(ExitCode::SUCCESS)
}

/// One life, with the ids of its device programs.
fn embedded_life(bundle: &Path, store: &Path, id: &str) -> Vec<u32> {
    let store = Store::open(store).unwrap();
    let bundle = Bundle::open(bundle).unwrap();
    let plan = Plan::create(&bundle, &Host::probe().unwrap(), &CreateOptions::new(id)).unwrap();
    let container = store.create(id, &plan, Stdio::inherit()).unwrap();
    let init = container.init().unwrap();
    let mut ids = [0; bpf::MAX_ATTACHED];
    let cgroup = Path::new(integration::container::CGROUPS).join(cgroup_of(init.pid()));
    let count = bpf::attached(fs::File::open(cgroup).unwrap().as_fd(), &mut ids).unwrap();
    container.start().unwrap();
    let mut process = container.own_process().unwrap();
    process["args"] = json!(["/bin/true"]);
    let further = container.exec(&ExecRequest::from_process(process), Stdio::inherit()).unwrap();
    assert_eq!(further.wait().unwrap().and_then(|status| status.code()), Some(0));
    container.kill(nix::libc::SIGKILL).unwrap();
    init.wait().unwrap();
    container.delete(false).unwrap();
    ids[..count].to_vec()
}

fn cgroup_of(pid: i32) -> PathBuf {
    let path = Process::new(pid).cgroup().unwrap();
    PathBuf::from(path.trim_start_matches('/'))
}

/// What a caller of the library is, as far as it can grow.
#[derive(Debug)]
struct Footprint {
    files: BTreeMap<u32, PathBuf>,
    children: Vec<i32>,
    threads: usize,
    heap: u64,
}

impl Footprint {
    fn of_this_process() -> Footprint {
        let own = Process::new(std::process::id().cast_signed());
        let is_child = |process: &Process| process.status("PPid") == Some(own.pid.to_string());
        let heap = own.status("RssAnon").unwrap_or_default();
        Footprint {
            files: own.files(),
            children: Process::all().into_iter().filter(is_child).map(|process| process.pid).collect(),
            threads: fs::read_dir(own.path("task")).unwrap().count(),
            heap: heap.trim_end_matches(" kB").parse::<u64>().unwrap() << 10,
        }
    }

    fn assert_no_more_than(&self, before: &Footprint) {
        let same = (&self.files, &self.children, self.threads) == (&before.files, &before.children, before.threads);
        assert!(same, "before {before:?}\nnow {self:?}");
        assert!(self.heap <= before.heap + HEAP, "heap: {} before, {} now", before.heap, self.heap);
    }
}
