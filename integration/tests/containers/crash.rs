//! Killed at any of its system calls, a command leaves nothing that `delete --force` does not remove, and no lie about
//! the container; whoever waits for a process that is stopped says so in time.
//!
//! A sample of the calls, evenly spread. `CRASH=all` (`hack/crash`) takes every one, and prints figures.

use integration::case::caught;
use integration::deadline::{DEADLINE, expect_failure, limit};
use integration::hooks::{hook, share, written};
use integration::strike::Init;
use integration::{
    Blow, Call, Container, Left, Output, Party, Process, Runtime, Seen, Snapshot, Strike, follow, until,
};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde_json::json;
use std::env;
use std::fs;
use std::thread;
use std::time::Instant;

cases! {
    Any:
        peer_14_create_is_killed_at_any_call,
        peer_14_create_with_hooks_and_a_filter_is_killed_at_any_call,
        peer_14_create_in_an_existing_cgroup_is_killed_at_any_call,
        peer_10_start_is_killed_at_any_call,
        row_79_exec_is_killed_at_any_call,
        row_79_run_is_killed_at_any_call,
        row_73_delete_of_a_created_container_is_killed_at_any_call,
        row_73_delete_of_a_stopped_container_is_killed_at_any_call,
        row_73_forced_delete_is_killed_at_any_call,
    ;
    Any [TwoProcessors]:
        row_79_nobody_waits_forever_for_a_stopped_process,
    ;
    Any [UserNs]:
        peer_14_create_in_a_user_namespace_is_killed_at_any_call,
        row_79_exec_in_a_user_namespace_is_killed_at_any_call,
    ;
}

/// How many calls of each party are tried in a sample; user-mode Linux is slow.
fn sample_size() -> usize {
    if env::var("PLACE").is_ok_and(|place| place == "uml") { 2 } else { 12 }
}

/// The same where each try takes half a minute.
const SLOW_SAMPLE: usize = 3;
/// How many of those are tried at once.
const AT_ONCE: usize = 96;

/// One command, to be struck at its calls.
struct Series {
    name: &'static str,
    /// A container that fits.
    make: fn(&Runtime) -> Container,
    /// What comes before the first command only. The container outlives the command then, and is used again.
    begin: Option<fn(&Container)>,
    /// What comes before the command, every time.
    prepare: fn(&Container),
    call: fn(&Container) -> Call,
    init: fn(&Container) -> Init,
    /// What has to hold when the command has ended, besides what always has to.
    check: fn(&Scene, &Strike, &Output),
    /// It does not delete the container: whoever ran createRuntime hooks gets poststop hooks.
    undoes: bool,
}

/// A container, and the host around it.
struct Scene {
    container: Container,
    /// Without it.
    without: Snapshot,
    /// Whenever a command has been struck and cleared up after.
    before: Snapshot,
}

fn wants_all() -> bool {
    env::var("CRASH").is_ok_and(|word| word == "all")
}

/// Every number from `first` to `last`, or some of them.
fn sample(first: usize, last: usize, size: usize) -> Vec<usize> {
    let total = (last + 1).saturating_sub(first);
    if wants_all() || total <= size {
        return (first..=last).collect();
    }
    (0..size).map(|index| first + (2 * index + 1) * total / (2 * size)).collect()
}

/// What went wrong, all of it.
#[track_caller]
fn report(name: &str, begin: Instant, tried: usize, wrong: &[String]) {
    if wants_all() {
        eprintln!("{name}: {tried} struck, {} wrong, {} s", wrong.len(), begin.elapsed().as_secs());
    }
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
}

impl Series {
    /// Kills every party at its calls.
    fn run(&self, runtime: &Runtime) {
        let begin = Instant::now();
        let seen = self.undisturbed(runtime);
        let (mut struck, mut wrong) = (0, Vec::new());
        let mut scene = None;
        let of = |(&party, &total): (&Party, &usize)| {
            sample(1, total, sample_size()).into_iter().map(move |at| Strike { party, at, blow: Blow::Kill })
        };
        for strike in seen.calls.iter().flat_map(of) {
            let here = scene.get_or_insert_with(|| self.set(runtime));
            if let Err(problem) = caught(|| struck += usize::from(self.kill(here, strike))) {
                wrong.push(format!("{}: {strike}: {problem}", self.name));
                scene = None;
                if !wants_all() {
                    break;
                }
            }
        }
        if let Some(Err(problem)) = scene.map(|scene| caught(|| scene.end())) {
            wrong.push(problem);
        }
        report(&format!("{} {:?}", self.name, seen.calls), begin, struck, &wrong);
    }

    /// What the command does when nobody is struck.
    fn undisturbed(&self, runtime: &Runtime) -> Seen {
        let scene = self.set(runtime);
        let (seen, output) = self.follow(&scene, None).wait();
        output.ok();
        scene.container.reap_ended();
        scene.end();
        reap(&seen);
        seen
    }

    fn set(&self, runtime: &Runtime) -> Scene {
        let container = (self.make)(runtime);
        let without = Snapshot::take(&container);
        let before = self.begin.map_or(without.clone(), |begin| {
            begin(&container);
            Snapshot::take(&container)
        });
        Scene { container, without, before }
    }

    fn follow(&self, scene: &Scene, strike: Option<Strike>) -> Left {
        let container = &scene.container;
        (self.prepare)(container);
        let call = (self.call)(container).deadline(3 * limit());
        follow(call, container.folder(), (self.init)(container), strike)
    }

    /// Whether the blow has fallen: the party may have made fewer calls this time.
    fn kill(&self, scene: &Scene, strike: Strike) -> bool {
        let [made, undone] = scene.marks();
        let (seen, output) = self.follow(scene, Some(strike)).wait();
        let judged = caught(|| {
            match (strike.party, &seen.struck, output.code) {
                (_, None, _) => drop(output.clone().ok()),
                (Party::Host, ..) => assert_eq!(output.signal, Some(9)),
                // The program runs already, or would have with the next call: it is the one that was killed.
                (_, _, Some(0 | 137)) => {}
                _ => drop(output.clone().fails()),
            }
            is_sane(&scene.container, &["created", "running", "stopped"]);
            (self.check)(scene, &strike, &output);
            if self.begin.is_none() {
                scene.container.delete_force().ok();
                is_absent(&scene.container, scene.container.state_call());
            }
            reap(&seen);
            scene.before.assert_unchanged(&scene.container);
            scene.container.reap_ended();
            let [made, undone] = [scene.marks()[0] - made, scene.marks()[1] - undone];
            assert!(undone <= 1 && (undone >= made || !self.undoes), "createRuntime: {made}, poststop: {undone}");
        });
        judged.unwrap_or_else(|problem| panic!("{problem}\n{:?} {output}", seen.struck));
        seen.struck.is_some()
    }

    /// The calls at which a stop can be answered: while its first child has not executed init, the command is one with it.
    fn stops(&self, runtime: &Runtime) -> Vec<Strike> {
        let seen = self.undisturbed(runtime);
        let of = |(&party, &total): (&Party, &usize)| {
            let first = if party == Party::Usher { seen.before_init + 1 } else { 1 };
            // The last one of init executes the program, which may be stopped for as long as anybody likes.
            let last = if party == Party::Init { total - 1 } else { total };
            let strike = move |at| Strike { party, at, blow: Blow::Stop };
            sample(first, last, SLOW_SAMPLE).into_iter().map(strike)
        };
        seen.calls.iter().flat_map(of).collect()
    }

    fn stop(&self, runtime: &Runtime, strike: Strike) {
        let scene = self.set(runtime);
        let container = &scene.container;
        let mut left = self.follow(&scene, Some(strike));
        if strike.party == Party::Host && left.seen.struck.is_some() {
            is_sane(container, &["creating", "created", "running", "stopped"]);
            let deletion = container.delete_force();
            if deletion.code != Some(0) {
                let text = deletion.fails().stderr;
                // A process that the stopped one does not reap keeps the container's pid namespace.
                let known = ["another command", "still alive 10 s after SIGKILL"];
                assert!(known.iter().any(|known| text.contains(known)), "{text}");
            }
            left.running().signal(Signal::SIGCONT);
        }
        let (seen, output) = left.wait();
        assert_eq!(output.signal, None, "{:?} {output}", seen.struck);
        if strike.party != Party::Host && output.code != Some(0) {
            let output = output.fails_with("gave no sign for 30 s");
            assert!(output.stderr.contains(" at step "), "{output}");
            (self.check)(&scene, &strike, &output);
        }
        scene.container.reap_ended();
        scene.end();
        reap(&seen);
    }
}

impl Scene {
    /// Deletes the container, whatever became of it.
    fn end(&self) {
        self.container.delete_force().ok();
        self.without.assert_unchanged(&self.container);
    }

    /// How many createRuntime and poststop hooks have run, if there are any.
    fn marks(&self) -> [usize; 2] {
        ["createRuntime", "poststop"].map(|phase| written(&self.container, phase).lines().count())
    }
}

/// What is asked about the container is answered: by a status that is one, or by its absence.
#[track_caller]
fn is_sane(container: &Container, statuses: &[&str]) {
    until("a state that is true", || {
        let output = container.state_call();
        if output.code != Some(0) {
            is_absent(container, output);
            return Some(());
        }
        let state = output.no_complaint().json();
        let (status, pid) = (state["status"].as_str().expect("a status"), state["pid"].as_i64().expect("a pid"));
        assert!(status != "stopped" || pid == 0, "{state}");
        // Who was killed lives on for a moment, and what it has locked is locked until its child executes init.
        let process = Process::new(i32::try_from(pid).expect("a pid"));
        (statuses.contains(&status) && (pid == 0 || process.is_alive())).then_some(())
    });
    if container.root.exists() {
        container.call(["list"]).run().ok();
    }
}

#[track_caller]
fn is_absent(container: &Container, state: Output) {
    // crun tells which of its files it lacks.
    if container.runtime.is_ours() { state.fails_with("does not exist") } else { state.fails() };
}

/// Ends up with none of the processes that the command has made, as a shim would.
#[track_caller]
fn reap(seen: &Seen) {
    until("the end of what was made", || {
        let there = || seen.born.iter().filter(|born| born.is_there()).map(|born| born.process);
        for process in there() {
            let _ = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::WNOHANG));
        }
        (!there().any(|process| process.is_alive())).then_some(())
    });
}

fn nothing(_: &Container) {}

/// Where init or its usher was struck, the command that told so has cleared up already.
fn nothing_is_left(scene: &Scene, strike: &Strike, output: &Output) {
    if strike.party != Party::Host && output.code != Some(0) {
        scene.before.assert_unchanged(&scene.container);
    }
}

fn plain(runtime: &Runtime) -> Container {
    let mut container = Container::new(runtime);
    container.bundle.args(["/bin/sleep", "1000"]);
    container
}

fn with_hooks(runtime: &Runtime) -> Container {
    let mut container = plain(runtime);
    share(&mut container);
    for phase in ["createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        hook(&mut container, phase, &format!("cat >/dev/null; echo {phase} >> OUT/{phase}"));
    }
    let refused = json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"});
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [refused]});
    container.bundle.set("/linux/seccomp", profile);
    container
}

fn in_user_namespace(runtime: &Runtime) -> Container {
    let mut container = plain(runtime);
    container.bundle.user_namespace(100_000);
    container
}

/// Kernels that guard births against `cgroup.kill` make a second usher necessary.
fn in_existing_cgroup(runtime: &Runtime) -> Container {
    let container = plain(runtime);
    fs::create_dir(container.cgroup()).unwrap();
    fs::write(container.cgroup().join("cgroup.kill"), "1").unwrap();
    container
}

fn running(container: &Container) {
    container.run_detached().ok();
    assert_eq!(container.process().words(), ["/bin/sleep", "1000"]);
}

fn is_running(scene: &Scene, _: &Strike, _: &Output) {
    assert_eq!(scene.container.status(), "running");
}

/// The byte was sent or not; if not, it can be sent again.
fn can_be_started(scene: &Scene, strike: &Strike, _: &Output) {
    if strike.party == Party::Host {
        scene.container.start();
        scene.container.wait_for("running");
    }
}

const CREATE: Series = Series {
    name: "create",
    make: plain,
    begin: None,
    prepare: nothing,
    call: |container| container.create_call(&[]),
    init: |_| Init::Born,
    check: nothing_is_left,
    undoes: true,
};

fn peer_14_create_is_killed_at_any_call(runtime: &Runtime) {
    CREATE.run(runtime);
}

fn peer_14_create_with_hooks_and_a_filter_is_killed_at_any_call(runtime: &Runtime) {
    Series { name: "create with hooks", make: with_hooks, ..CREATE }.run(runtime);
}

fn peer_14_create_in_a_user_namespace_is_killed_at_any_call(runtime: &Runtime) {
    Series { name: "create in a user namespace", make: in_user_namespace, ..CREATE }.run(runtime);
}

fn peer_14_create_in_an_existing_cgroup_is_killed_at_any_call(runtime: &Runtime) {
    Series { name: "create in an existing cgroup", make: in_existing_cgroup, ..CREATE }.run(runtime);
}

fn peer_10_start_is_killed_at_any_call(runtime: &Runtime) {
    START.run(runtime);
}

const START: Series = Series {
        name: "start",
        make: with_hooks,
        prepare: |container| drop(container.create().ok()),
        call: |container| container.call(["start", &container.id]),
        init: |container| Init::Waits(container.pid()),
        check: can_be_started,
        ..CREATE
};

const EXEC: Series = Series {
    name: "exec",
    make: with_hooks,
    begin: Some(running),
    call: |container| container.call(["exec", &container.id, "/bin/true"]),
    check: is_running,
    ..CREATE
};

fn row_79_exec_is_killed_at_any_call(runtime: &Runtime) {
    EXEC.run(runtime);
}

fn row_79_exec_in_a_user_namespace_is_killed_at_any_call(runtime: &Runtime) {
    Series { name: "exec in a user namespace", make: in_user_namespace, ..EXEC }.run(runtime);
}

fn row_79_run_is_killed_at_any_call(runtime: &Runtime) {
    let make = |runtime: &Runtime| {
        let mut container = with_hooks(runtime);
        container.bundle.args(["/bin/true"]);
        container
    };
    Series { name: "run", make, call: |container| container.run_call(&[]), undoes: false, ..CREATE }.run(runtime);
}

const DELETE: Series = Series {
    name: "delete of a created container",
    make: with_hooks,
    prepare: |container| drop(container.create().ok()),
    call: |container| container.call(["delete", &container.id]),
    init: |_| Init::Nobody,
    check: |_, _, _| {},
    undoes: false,
    ..CREATE
};

fn row_73_delete_of_a_created_container_is_killed_at_any_call(runtime: &Runtime) {
    DELETE.run(runtime);
}

fn row_73_delete_of_a_stopped_container_is_killed_at_any_call(runtime: &Runtime) {
    let prepare = |container: &Container| {
        container.run_detached().ok();
        container.kill("KILL").ok();
        container.wait_for("stopped");
    };
    Series { name: "delete of a stopped container", prepare, ..DELETE }.run(runtime);
}

fn row_73_forced_delete_is_killed_at_any_call(runtime: &Runtime) {
    let prepare = |container: &Container| drop(container.run_detached().ok());
    let call = |container: &Container| container.call(["delete", "--force", &container.id]);
    Series { name: "delete --force", prepare, call, ..DELETE }.run(runtime);
}

fn row_79_nobody_waits_forever_for_a_stopped_process(runtime: &Runtime) {
    let begin = Instant::now();
    let all = [CREATE, EXEC, Series { make: plain, ..START }, DELETE];
    let mut strikes: Vec<(&Series, Strike)> =
        all.iter().flat_map(|series| series.stops(runtime).into_iter().map(move |strike| (series, strike))).collect();
    // Hooks without a timeout have no deadline, but what comes before them has.
    let with_hooks = Series { make: with_hooks, ..CREATE };
    strikes.push((&with_hooks, Strike { party: Party::Init, at: 5, blow: Blow::Stop }));
    let mut wrong = Vec::new();
    for portion in strikes.chunks(AT_ONCE) {
        wrong.extend(thread::scope(|scope| {
            let known = limit() < DEADLINE;
            let strikes = portion.iter().copied();
            let threads: Vec<_> = strikes.map(|strike| scope.spawn(move || stopped(runtime, strike, known))).collect();
            threads.into_iter().filter_map(|thread| thread.join().expect("a thread")).collect::<Vec<_>>()
        }));
    }
    report("stop", begin, strikes.len(), &wrong);
}

fn stopped(runtime: &Runtime, (series, strike): (&Series, Strike), known: bool) -> Option<String> {
    expect_failure(known);
    let problem = caught(|| series.stop(runtime, strike)).err()?;
    Some(format!("{}: {strike}: {problem}", series.name))
}
