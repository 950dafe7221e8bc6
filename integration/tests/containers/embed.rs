//! What a program that embeds the library may rely on (`runtime_core`, "What a caller may rely on").
//!
//! Each test is a process of its own, this program again, see [`caller`]: what is compared belongs to the whole process.

use integration::caller::Caller;
use integration::{Container, Runtime, Snapshot, container, until};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, mkfifo};
use nix::libc::RLIMIT_FSIZE;
use runtime_core::{Bundle, CreateOptions, Death, Error, ExecRequest, Host, Plan, Process, Result, Stdio, Store};
use runtime_init::sys::process::prlimit;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, pipe};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, scope};
use std::time::{Duration, Instant};

cases! {
    Any:
        lib_1_the_comparison_sees_what_changes,
        lib_1_2_3_many_threads_beside_others_change_nothing,
        lib_2_threads_execute_in_one_container_at_once,
        lib_5_a_cgroup_frozen_by_a_hook_is_an_error_in_time,
        lib_6_another_thread_waits_for_any_child,
        lib_6_the_caller_ignores_sigchld,
    ;
    Any [Strace]:
        lib_1_no_call_changes_the_process_for_a_moment,
    ;
    Full:
        lib_4_out_of_memory_in_a_group_spares_the_caller,
    ;
}

type Act = fn(&Embedder);

/// What the processes do.
const ACTS: [(&str, Act); 8] = [
    ("controls", controls),
    ("calls", calls),
    ("threads", threads),
    ("one container", one_container),
    ("frozen", frozen),
    ("reaper", reaper),
    ("ignored", ignored),
    ("out of memory", out_of_memory),
];

fn lib_1_the_comparison_sees_what_changes(runtime: &Runtime) {
    call(runtime, "controls", &[], |_| ());
}

fn lib_1_2_3_many_threads_beside_others_change_nothing(runtime: &Runtime) {
    call(runtime, "threads", &[], |_| ());
}

/// Calls that change something of the whole process. Of the children strace sees nothing: they are others.
const CHANGES: &str = "umask,chdir,fchdir,chroot,rt_sigaction,sigaltstack,rt_sigprocmask,setrlimit,prlimit64,prctl,\
    personality,setpriority,ioprio_set,sched_setaffinity,sched_setscheduler,sched_setattr,setsid,setpgid,setuid,setgid,\
    setresuid,setresgid,setgroups,capset,unshare,setns,keyctl,set_mempolicy,seccomp,sethostname,mount,umount2,move_mount,\
    pivot_root,fork,vfork,clone,dup2";

fn lib_1_no_call_changes_the_process_for_a_moment(runtime: &Runtime) {
    // Other views of the machine have the same process ids.
    let file = container::all().join("embed-calls");
    let traced = format!("trace={CHANGES}");
    call(runtime, "calls", &["strace", "-o", file.to_str().unwrap(), "-e", &traced], |_| ());
    let Ok(text) = fs::read_to_string(&file) else { return assert!(!runtime.is_ours(), "no trace") };
    fs::remove_file(file).unwrap();
    let marks = |line: &&str| line.starts_with(&format!("chdir(\"{MARK}\")"));
    let lives: Vec<&str> = text.lines().skip_while(|line| !marks(line)).collect();
    assert_eq!(lives.iter().filter(|line| marks(line)).count(), 2, "{text}");
    let between = lives.into_iter().skip(1).take_while(|line| !marks(line));
    // The limits of another process; signals that arrive.
    let of_another = |line: &&str| line.starts_with("prlimit64(") && !line.starts_with("prlimit64(0,");
    let changes: Vec<&str> = between.filter(|line| !of_another(line) && !line.starts_with("---")).collect();
    // The control is the last of them: the caller's own.
    assert_eq!(changes.len(), 1, "{changes:#?}");
    assert!(changes[0].starts_with("umask("), "{changes:#?}");
}

fn lib_2_threads_execute_in_one_container_at_once(runtime: &Runtime) {
    call(runtime, "one container", &[], |_| ());
}

fn lib_5_a_cgroup_frozen_by_a_hook_is_an_error_in_time(runtime: &Runtime) {
    call(runtime, "frozen", &[], |container| {
        let freeze = format!("echo 1 >{}/a/cgroup.freeze", container.parent_cgroup().display());
        container.bundle.push("/hooks/prestart", json!({"path": "/bin/sh", "args": ["sh", "-c", freeze]}));
    });
}

fn lib_6_another_thread_waits_for_any_child(runtime: &Runtime) {
    call(runtime, "reaper", &[], |_| ());
}

fn lib_6_the_caller_ignores_sigchld(runtime: &Runtime) {
    call(runtime, "ignored", &["env", "--ignore-signal=CHLD"], |_| ());
}

fn lib_4_out_of_memory_in_a_group_spares_the_caller(runtime: &Runtime) {
    call(runtime, "out of memory", &[], |_| ());
}

/// Lets a process of its own act with a bundle and an empty store; panics with its words if it does not succeed, or leaves
/// anything behind.
#[track_caller]
fn call(runtime: &Runtime, act: &str, wrapper: &[&str], prepare: fn(&mut Container)) {
    if !runtime.is_ours() {
        return; // The library is ours, whatever binary is tested.
    }
    let mut container = Container::sleeper(runtime);
    prepare(&mut container);
    let before = Snapshot::take(&container);
    let program = std::env::current_exe().unwrap();
    let words: Vec<&Path> = wrapper.iter().map(Path::new).chain([program.as_path()]).collect();
    let mut call = Command::new(words[0]);
    call.args(&words[1..]).env("EMBED", act).env("EMBED_NAME", container.name());
    call.env("EMBED_BUNDLE", container.bundle.path()).env("EMBED_STORE", &container.root);
    let output = call.output().unwrap();
    assert!(output.status.success(), "{}{}", output.status, String::from_utf8_lossy(&output.stderr));
    before.assert_unchanged(&container);
}

/// The process that acts, if this is one.
pub fn caller() -> Option<ExitCode> {
    let act = std::env::var("EMBED").ok()?;
    let (_, act) = ACTS.iter().find(|(name, _)| *name == act)?;
    // The first thread makes the C library catch a signal of its own. Joined, it takes a moment to vanish.
    thread::spawn(|| ()).join().unwrap();
    until("the end of the first thread", || (fs::read_dir("/proc/self/task").unwrap().count() == 1).then_some(()));
    act(&Embedder::of_this_process()?);
    Some(ExitCode::SUCCESS)
}

/// A program that embeds the library.
struct Embedder {
    bundle: PathBuf,
    config: Value,
    cgroup: String,
    store: Store,
    host: Host,
}

impl Embedder {
    fn of_this_process() -> Option<Embedder> {
        let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let (bundle, store) = (path("EMBED_BUNDLE")?, path("EMBED_STORE")?);
        let config = serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
        let cgroup = format!("/{}", std::env::var("EMBED_NAME").ok()?);
        Some(Embedder { bundle, config, cgroup, store: Store::open(store).unwrap(), host: Host::probe().unwrap() })
    }

    /// Creates a container whose cgroup is named after it.
    fn create(&self, id: &str, change: impl Fn(&mut Value)) -> Result<runtime_core::Container> {
        let mut config = self.config.clone();
        config["linux"]["cgroupsPath"] = json!(format!("{}/{id}", self.cgroup));
        change(&mut config);
        let bundle = Bundle::parse(self.bundle.clone(), config.to_string().into_bytes())?;
        let plan = Plan::create(&bundle, &self.host, &CreateOptions::new(id))?;
        self.store.create(id, &plan, nothing())
    }

    /// A running container.
    fn run(&self, id: &str) -> runtime_core::Container {
        let container = self.create(id, |_| ()).unwrap();
        container.start().unwrap();
        container
    }

    /// The life of a container, with all that is asked of it on the way.
    fn live(&self, id: &str) {
        let container = self.run(id);
        assert_eq!(said(&container, ["echo", "hello"]), "hello\n");
        assert_eq!(code(&container.exec(&ExecRequest::new(["sh", "-c", "exit 7"]), nothing()).unwrap()), Some(7));
        let killed = container.exec(&ExecRequest::new(["sleep", "1000"]), nothing()).unwrap();
        assert!(killed.kill(Signal::SIGKILL as i32).unwrap());
        assert!(killed.ends_within(LONG).unwrap());
        killed.wait().unwrap();
        container.kill(Signal::SIGKILL as i32).unwrap();
        container.init().unwrap().wait().unwrap();
        container.delete(false).unwrap();
    }
}

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(60);

/// Streams without a caller.
fn nothing() -> Stdio {
    let null = || File::options().read(true).write(true).open("/dev/null").unwrap().into();
    Stdio::from_fds(null(), null(), null())
}

fn code(process: &Process) -> Option<i32> {
    process.wait().unwrap().and_then(|status| status.code())
}

/// What a program of the container prints, by way of a pipe.
fn said<const N: usize>(container: &runtime_core::Container, words: [&str; N]) -> String {
    let (mut reader, writer) = pipe().unwrap();
    let null = || File::open("/dev/null").unwrap().into();
    let stdio = Stdio::from_fds(null(), writer.into(), null());
    let process = container.exec(&ExecRequest::new(words), stdio).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    process.wait().unwrap();
    text
}

/// User-mode Linux has one slow processor.
fn is_slow() -> bool {
    std::env::var("PLACE").is_ok_and(|place| place == "uml")
}

/// A caller that is not as everybody is, so that a setting which is taken for granted shows.
fn be_peculiar() {
    umask(Mode::from_bits_truncate(0o027));
    [Signal::SIGUSR2].into_iter().collect::<SigSet>().thread_block().unwrap();
    fs::write("/proc/self/oom_score_adj", "7").unwrap();
    fs::write("/proc/self/comm", "peculiar").unwrap();
}

fn controls(_: &Embedder) {
    /// Does something to the process; what is returned undoes it when it is dropped.
    type Change = fn() -> Box<dyn std::any::Any>;
    let changes: [(&str, Change); 13] = [
        ("Umask", || Box::new(umask(Mode::from_bits_truncate(0o070)))),
        ("SigBlk", || Box::new([Signal::SIGUSR1].into_iter().collect::<SigSet>().thread_block())),
        ("cwd", || Box::new(std::env::set_current_dir("/proc"))),
        ("files", || Box::new(File::open("/dev/null"))),
        ("children", || Box::new(Command::new("sleep").arg("60").stdout(process::Stdio::null()).stderr(process::Stdio::null()).spawn())),
        ("Threads", || Box::new(thread::spawn(|| thread::sleep(LONG)))),
        ("limits", || Box::new(prlimit(0, RLIMIT_FSIZE, 1 << 40, 1 << 40))),
        ("dumpable", || Box::new(prctl::set_dumpable(false))),
        ("child subreaper", || Box::new(prctl::set_child_subreaper(true))),
        ("signal on the parent's death", || Box::new(prctl::set_pdeathsig(Signal::SIGTERM))),
        ("NoNewPrivs", || Box::new(prctl::set_no_new_privs())),
        ("oom_score_adj", || Box::new(fs::write("/proc/self/oom_score_adj", "8"))),
        ("ns/uts", || Box::new(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS))),
    ];
    let mut kept = Vec::new();
    for (name, change) in changes {
        let (before, glimpse) = (Caller::observe(), Caller::glimpse());
        assert!(before.differs_from(&Caller::observe()).is_empty(), "nothing happens, and there is a difference");
        kept.push(change());
        let now = Caller::observe();
        assert!(before.differs_from(&now).contains(&name), "{name}: {:?}", before.differs_from(&now));
        let at_once = !["cwd", "files", "children", "Threads", "ns/uts"].contains(&name);
        assert_eq!(glimpse.differs_from(&Caller::glimpse()).contains(&name), at_once, "{name}");
    }
    let sleeper = Command::new("pkill").args(["-P", &std::process::id().to_string(), "sleep"]).status().unwrap();
    assert!(sleeper.success());
}

/// Takes memory of every size and gives it back.
fn take_memory() {
    drop((0..100).map(|size| vec![1_u8; size * 7]).collect::<Vec<_>>());
    drop(std::hint::black_box([vec![1_u8; 50_000], vec![1_u8; 3_000_000]]));
}

/// The descriptors that a program finds which is started here. One that the library leaks is among them.
fn inherited(call: &mut Command) -> String {
    let listed = call.arg("/proc/self/fd").output().unwrap();
    String::from_utf8_lossy(&listed.stdout).into_owned()
}

/// A directory that is not there, by which the trace is told where it begins and ends.
const MARK: &str = "/embed-mark";

fn calls(embedder: &Embedder) {
    embedder.live("first");
    std::env::set_current_dir(MARK).unwrap_err();
    embedder.live("second");
    umask(Mode::from_bits_truncate(0o027));
    std::env::set_current_dir(MARK).unwrap_err();
}

/// Threads that do what programs do, until `done`.
fn stress<'a>(scope: &'a thread::Scope<'a, '_>, done: &'a AtomicBool) {
    let again = move |act: &dyn Fn()| {
        while !done.load(Ordering::Relaxed) {
            act();
            thread::sleep(Duration::from_millis(1));
        }
    };
    for _ in 0..2 {
        scope.spawn(move || again(&take_memory));
    }
    // By vfork, and as the standard library does for another user by fork.
    let expected = inherited(&mut Command::new("/bin/ls"));
    let same = expected.clone();
    scope.spawn(move || again(&|| assert_eq!(inherited(&mut Command::new("/bin/ls")), expected)));
    scope.spawn(move || again(&|| assert_eq!(inherited(Command::new("/bin/ls").uid(0)), same)));
    // Whoever else changed the directory would be seen by this one.
    let home = std::env::current_dir().unwrap();
    scope.spawn(move || {
        while !done.load(Ordering::Relaxed) {
            for place in ["/proc", "/usr"] {
                std::env::set_current_dir(place).unwrap();
                thread::sleep(Duration::from_millis(1));
                assert_eq!(std::env::current_dir().unwrap(), Path::new(place));
            }
        }
        std::env::set_current_dir(home).unwrap();
    });
    scope.spawn(move || {
        let before = Caller::glimpse();
        while !done.load(Ordering::Relaxed) {
            let now = Caller::glimpse();
            assert_eq!(before.differs_from(&now), [""; 0], "before {before:?}\nnow {now:?}");
            thread::sleep(Duration::from_millis(if is_slow() { 10 } else { 0 }));
        }
    });
}

fn threads(embedder: &Embedder) {
    let (threads, rounds) = if is_slow() { (16, 1) } else { (64, 3) };
    be_peculiar();
    // What is made once.
    embedder.live("first");
    let before = Caller::observe();
    let done = AtomicBool::new(false);
    scope(|all| {
        stress(all, &done);
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                all.spawn(move || {
                    let mine = Caller::glimpse();
                    for round in 0..rounds {
                        embedder.live(&format!("c{number}-{round}"));
                    }
                    assert_eq!(mine.differs_from(&Caller::glimpse()), [""; 0]);
                })
            })
            .collect();
        let failed = workers.into_iter().filter_map(|worker| worker.join().err()).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0, "threads failed");
    });
    before.assert_unchanged();
}

fn one_container(embedder: &Embedder) {
    let before = Caller::observe();
    share(&embedder.run("a"));
    before.assert_unchanged();
}

fn share(container: &runtime_core::Container) {
    const THREADS: usize = 16;
    let rounds = if is_slow() { 1 } else { 5 };
    let together = Barrier::new(THREADS);
    let deleted = AtomicBool::new(false);
    scope(|all| {
        for number in 0..THREADS {
            let (together, deleted) = (&together, &deleted);
            all.spawn(move || {
                together.wait();
                for round in 0..rounds {
                    let word = format!("{number} {round}");
                    assert_eq!(said(container, ["echo", &word]), format!("{word}\n"));
                    assert_eq!(container.state().unwrap().pid, container.init().unwrap().pid());
                }
                // All kill and delete; for one it is done, for the others it is gone.
                together.wait();
                let _ = container.kill(Signal::SIGKILL as i32);
                container.init().unwrap().wait().unwrap();
                match container.delete(true) {
                    Ok(_) => deleted.store(true, Ordering::Relaxed),
                    Err(error) => assert!(error.to_string().contains("does not exist"), "{error}"),
                }
            });
        }
    });
    assert!(deleted.into_inner());
}

fn frozen(embedder: &Embedder) {
    be_peculiar();
    let before = Caller::observe();
    let start = Instant::now();
    let error = embedder.create("a", |_| ()).map(drop).unwrap_err();
    assert!(matches!(error, Error::Died { how: Death::Deadline { frozen: true, .. }, .. }), "{error:?}");
    assert!(error.to_string().contains("its cgroup is frozen"), "{error}");
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    before.assert_unchanged();
}

/// Whether the kernel keeps the status of a process that was reaped (Linux 6.15).
fn status_is_kept() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|word| word.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

/// A life in a caller that loses the status of its children.
fn live_unreaped(embedder: &Embedder, id: &str) {
    let container = embedder.run(id);
    assert_eq!(said(&container, ["echo", "hello"]), "hello\n");
    let failing = container.exec(&ExecRequest::new(["sh", "-c", "exit 7"]), nothing()).unwrap();
    let told = code(&failing);
    assert!(told == Some(7) || told.is_none() && !status_is_kept(), "{told:?}");
    let refused = container.exec(&ExecRequest::new(["/no/such/program"]), nothing()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("ENOENT"), "{refused}");
    container.kill(Signal::SIGKILL as i32).unwrap();
    container.init().unwrap().wait().unwrap();
    container.delete(false).unwrap();
    let refused = embedder.create(id, |config| config["process"]["args"] = json!(["missing"])).map(drop).unwrap_err();
    assert!(refused.to_string().starts_with("process.args: find missing: "), "{refused}");
    hooked_unreaped(embedder, id);
}

/// A hook is a child as well. What is not known of it must not be taken for success.
fn hooked_unreaped(embedder: &Embedder, id: &str) {
    let hooked = |script: &str| {
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        embedder.create(id, |config| config["hooks"] = json!({ "prestart": [hook] }))
    };
    let failed = hooked("sleep nonsense").map(drop).unwrap_err();
    assert!(matches!(failed, Error::Hook { .. }), "{failed:?}");
    let [file, go] = ["pid", "go"].map(|name| embedder.bundle.join(format!("{id}.{name}")));
    mkfifo(&go, Mode::S_IRWXU).unwrap();
    let outcome = scope(|all| {
        // It goes on when the library has a descriptor of it: of what was reaped before that, no kernel keeps anything.
        all.spawn(|| {
            let pid = until("the hook", || fs::read_to_string(&file).ok()?.strip_suffix('\n').map(str::to_string));
            until("a descriptor of the hook", || has_pidfd_of(&pid).then_some(()));
            fs::write(&go, "\n").unwrap();
        });
        hooked(&format!("echo $$ >'{}'; read word <'{}'", file.display(), go.display()))
    });
    match outcome {
        Ok(container) => drop(container.delete(false).unwrap()),
        Err(lost) => assert!(!status_is_kept() && lost.to_string().contains("is not known"), "{lost}"),
    }
}

/// Whether this process has a pidfd of `pid`.
fn has_pidfd_of(pid: &str) -> bool {
    let infos = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let mut texts = infos.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.any(|text| text.lines().any(|line| line.strip_prefix("Pid:").is_some_and(|found| found.trim() == pid)))
}

fn reaper(embedder: &Embedder) {
    let before = Caller::observe();
    let done = AtomicBool::new(false);
    scope(|all| {
        all.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                    Ok(_) | Err(Errno::ECHILD) => thread::yield_now(),
                    Err(errno) => panic!("{errno}"),
                }
            }
        });
        for round in 0..if is_slow() { 2 } else { 20 } {
            live_unreaped(embedder, &format!("c{round}"));
        }
        done.store(true, Ordering::Relaxed);
    });
    before.assert_unchanged();
}

fn ignored(embedder: &Embedder) {
    let before = Caller::observe();
    // The control: a child's status is indeed lost.
    let lost = Command::new("true").status().unwrap_err();
    assert_eq!(lost.raw_os_error(), Some(Errno::ECHILD as i32), "{lost}");
    live_unreaped(embedder, "a");
    before.assert_unchanged();
}

/// A memory limit under which a whole cgroup is killed at once, as Kubernetes has it.
fn limited(bytes: u64) -> impl Fn(&mut Value) + Copy {
    move |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": bytes });
        config["linux"]["resources"]["unified"] = json!({ "memory.oom.group": "1" });
    }
}

fn out_of_memory(embedder: &Embedder) {
    be_peculiar();
    let before = Caller::observe();
    scope(|all| {
        for number in 0..4 {
            all.spawn(move || {
                let error = embedder.create(&format!("c{number}"), limited(4096)).map(drop).unwrap_err();
                assert!(matches!(error, Error::Died { how: Death::Signaled { oom: Some(_), .. }, .. }), "{error:?}");
                assert!(error.to_string().contains("oom_kill"), "{error}");
            });
        }
    });
    starve(&embedder.create("a", limited(8 << 20)).unwrap());
    before.assert_unchanged();
}

/// A process that was executed takes more than there is, and takes the container with it.
fn starve(container: &runtime_core::Container) {
    container.start().unwrap();
    let words = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M"];
    let hungry = container.exec(&ExecRequest::new(words), nothing()).unwrap();
    assert!(hungry.ends_within(LONG).unwrap());
    assert_eq!(hungry.wait().unwrap().and_then(|status| status.signal()), Some(Signal::SIGKILL as i32));
    // Not before: the first process waits for it.
    assert!(container.init().unwrap().ends_within(LONG).unwrap());
    container.init().unwrap().wait().unwrap();
    container.delete(false).unwrap();
}
