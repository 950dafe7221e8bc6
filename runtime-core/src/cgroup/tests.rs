//! Against the kernel, in cgroups named `cg-test-…` of this machine's own cgroup2 hierarchy.

mod limits;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::*;
use crate::at::ConfigPath;

const SOON: Duration = Duration::from_secs(10);

/// A place of its own for one test; everything in it is killed and removed at the end.
struct Place {
    host: CgroupHost,
    path: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Ok(Some(cgroup)) = Cgroup::open(&self.host, &self.path) else { return };
        let thawed = fs::write(self.at("").join("cgroup.freeze"), "0");
        let removed = cgroup.kill().and_then(|()| cgroup.wait_empty(SOON)).and_then(|_| cgroup.remove(SOON));
        if !thread::panicking() {
            thawed.expect("thawed");
            removed.expect("removed");
        }
    }
}

impl Place {
    fn at(&self, below: &str) -> PathBuf {
        self.host.mount.join(self.path.trim_start_matches('/')).join(below.trim_start_matches('/'))
    }

    fn read(&self, below: &str) -> String {
        fs::read_to_string(self.at(below)).expect("a file").trim().to_owned()
    }

    fn plan_of(&self, below: &str, document: Value) -> CgroupPlan {
        let mut document = document;
        document["linux"]["cgroupsPath"] = json!(format!("{}/{below}", self.path));
        let linux = serde_json::from_value(document["linux"].clone()).expect("typed");
        crate::plan::cgroup::plan(Some(&linux), &document, "test", &self.host, false).expect("a plan")
    }

    fn plan(&self, below: &str, resources: Value) -> CgroupPlan {
        self.plan_of(below, json!({ "linux": { "resources": resources } }))
    }

    fn create(&self, below: &str, resources: Value) -> Cgroup {
        let plan = self.plan(below, resources);
        let created = Cgroup::create(&self.host, &plan).expect("created");
        assert_eq!(created.notes, []);
        let cgroup = created.cgroup.expect("a cgroup");
        assert_eq!(cgroup.restrict_devices(&plan).expect("restricted"), None);
        cgroup
    }

    fn refusal(&self, below: &str, resources: Value) -> String {
        Cgroup::create(&self.host, &self.plan(below, resources)).expect_err("an error").to_string()
    }

    /// A shell in the cgroup; the script runs when it is there.
    fn shell(&self, below: &str, script: &str) -> Child {
        let script = format!("echo $$ > {}/cgroup.procs && {script}", self.at(below).display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("a shell")
    }

    fn runs(&self, below: &str, script: &str) -> bool {
        self.shell(below, script).wait().expect("its end").success()
    }

    /// A process in the cgroup that stays.
    fn sleeper(&self, below: &str) -> Child {
        let child = self.shell(below, "exec sleep 1000");
        let pid = child.id().to_string();
        let end = Instant::now() + SOON;
        while !self.read(&format!("{below}/cgroup.procs")).lines().any(|line| line == pid) {
            assert!(Instant::now() < end, "the shell moved itself");
            thread::sleep(Duration::from_millis(1));
        }
        child
    }
}

/// `None`, with the reason, where the machine does not allow the test.
fn place(name: &str) -> Option<Place> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let skip = |reason: &str| {
        eprintln!("skipped {name}: {reason}");
        None
    };
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let host = CgroupHost::probe().expect("a cgroup2 hierarchy");
    let path = format!("/cg-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let place = Place { host, path };
    match fs::create_dir(place.at("")) {
        Ok(()) => Some(place),
        Err(error) => skip(&format!("cannot make a cgroup: {error}")),
    }
}

fn place_with(name: &str, controller: &str) -> Option<Place> {
    let place = place(name)?;
    if let Some(why) = place.host.lacks(controller) {
        eprintln!("skipped {name}: controller {controller} {why}");
        return None;
    }
    Some(place)
}

#[test]
fn membership_is_parsed() {
    let text = "9:name=systemd:/\n4:memory:/a:b\n3:cpu,cpuacct:/\n0::/user.slice/a:b\n";
    let (own, v1) = parse_membership(text);
    assert_eq!(own.as_deref(), Some("/user.slice/a:b"));
    assert_eq!(v1, ["cpu", "cpuacct", "memory"].map(str::to_owned).into());
    assert_eq!(parse_membership("1:memory:/\n").0, None);
}

#[test]
fn lnx_59_missing_cgroups_are_made() {
    let Some(place) = place("lnx_59") else { return };
    fs::create_dir(place.at("a")).expect("made");
    for _again in 0..2 {
        Cgroup::create(&place.host, &place.plan("a/b/c", json!({}))).expect("created");
    }
    let available = place.read("cgroup.controllers");
    for level in ["", "a", "a/b"] {
        assert_eq!(place.read(&format!("{level}/cgroup.subtree_control")), available, "{level}");
    }
    assert_eq!(place.read("a/b/c/cgroup.subtree_control"), "", "CLONE_INTO_CGROUP needs it empty");
}

#[test]
fn lnx_60_without_resources_limits_stay() {
    let Some(place) = place("lnx_60") else { return };
    place.create("a", json!({ "unified": { "cgroup.max.depth": "7" } }));
    assert_eq!(place.read("a/cgroup.max.depth"), "7");
    let plan = place.plan_of("a", json!({ "linux": {} }));
    Cgroup::create(&place.host, &plan).expect("created");
    assert_eq!(place.read("a/cgroup.max.depth"), "7");
}

#[test]
fn lnx_53_a_cgroup_with_processes_is_refused() {
    let Some(place) = place("lnx_53") else { return };
    fs::create_dir_all(place.at("a/below")).expect("made");
    let mut child = place.sleeper("a/below");
    let error = place.refusal("a", json!({}));
    assert!(error.starts_with("linux.cgroupsPath: create cgroup /cg-test-"), "{error}");
    assert!(error.ends_with("container's cgroup is not empty: 1 process(es) found"), "{error}");
    child.kill().expect("killed");
    child.wait().expect("reaped");
    place.create("a", json!({}));
}

#[test]
fn lnx_53_a_frozen_cgroup_is_refused() {
    let Some(place) = place("lnx_53") else { return };
    place.create("a/b", json!({})).freeze(SOON).expect("frozen");
    let error = place.refusal("a/b", json!({}));
    assert!(error.ends_with("container's cgroup unexpectedly frozen"), "{error}");
    let error = place.refusal("a/b/c/d", json!({}));
    assert!(error.ends_with("/a/b above it is") && error.contains("container's cgroup unexpectedly frozen"), "{error}");
    assert!(!place.at("a/b/c").exists());
}

#[test]
fn rt_37_a_refused_write_leaves_nothing() {
    let Some(place) = place("rt_37") else { return };
    fs::create_dir(place.at("kept")).expect("made");
    let error = place.refusal("kept/a/b", json!({ "unified": { "cgroup.max.depth": "x" } }));
    let expected =
        "linux.resources.unified[\"cgroup.max.depth\"]: write cgroup.max.depth=x: write: EINVAL (invalid argument)";
    assert_eq!(error, expected);
    assert!(place.at("kept").exists() && !place.at("kept/a").exists());
}

#[test]
fn lnx_101_a_missing_file_is_an_error() {
    let Some(place) = place("lnx_101") else { return };
    let error = place.refusal("a", json!({ "unified": { "cgroup.absent": "1" } }));
    assert!(error.contains("write cgroup.absent=1: openat: ENOENT"), "{error}");
    assert!(!place.at("a").exists());
}

#[test]
fn a_file_or_an_invalid_domain_is_no_place_for_a_container() {
    let Some(place) = place("invalid_domain") else { return };
    let error = place.refusal("cgroup.procs/a", json!({}));
    assert!(error.contains("ENOTDIR"), "{error}");
    fs::create_dir(place.at("threaded")).expect("made");
    fs::write(place.at("threaded/cgroup.type"), "threaded").expect("threaded");
    let error = place.refusal("a", json!({}));
    assert!(error.contains("EOPNOTSUPP") && error.contains("cgroup.type is \"domain invalid\""), "{error}");
    assert!(!place.at("a").exists());
}

#[test]
fn a_cgroup_that_hands_controllers_on_is_no_place_for_a_container() {
    let Some(place) = place("hands_on") else { return };
    let available = place.read("cgroup.controllers");
    let Some(controller) =
        ["memory", "io", "hugetlb"].into_iter().find(|name| available.split(' ').any(|has| has == *name))
    else {
        return eprintln!("skipped hands_on: no domain controller");
    };
    fs::write(place.at("cgroup.subtree_control"), format!("+{controller}")).expect("enabled");
    fs::create_dir_all(place.at("a/b")).expect("made");
    fs::write(place.at("a/cgroup.subtree_control"), format!("+{controller}")).expect("enabled");
    let error = place.refusal("a", json!({}));
    assert!(
        error.contains("EBUSY") && error.contains(&format!("its cgroup.subtree_control has {controller}")),
        "{error}"
    );
}

#[test]
fn lnx_92_hugepage_limits_reach_the_kernel() {
    let Some(place) = place_with("lnx_92", "hugetlb") else { return };
    if !Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists() {
        return eprintln!("skipped lnx_92: no huge pages of 2 MB");
    }
    place.create("a/b", json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }] }));
    assert_eq!(place.read("a/b/hugetlb.2MB.max"), "4194304");
    assert_eq!(place.read("a/b/hugetlb.2MB.rsvd.max"), "4194304");
    let error = place.refusal("c", json!({ "hugepageLimits": [{ "pageSize": "64KB", "limit": 1 }] }));
    assert!(
        error.starts_with("linux.resources.hugepageLimits[0].limit: write hugetlb.64KB.max=1: openat: ENOENT"),
        "{error}"
    );
}

#[test]
fn lnx_69_the_device_program_holds() {
    let Some(place) = place("lnx_69") else { return };
    let rule =
        |allow: bool, access: &str| json!({ "allow": allow, "type": "c", "major": 1, "minor": 11, "access": access });
    place.create("closed", json!({}));
    place.create("read", json!({ "devices": [rule(true, "rw"), rule(false, "w")] }));
    place.create("open", json!({ "devices": [{ "allow": true, "access": "rwm" }] }));
    let node = std::env::temp_dir().join(format!("cg-test-node-{}", std::process::id()));
    let make = format!("mknod {0} c 1 11 && rm {0}", node.display());
    for name in ["closed", "read", "open"] {
        assert!(place.runs(name, "head -c1 /dev/zero && : > /dev/null && : < /dev/urandom"), "{name}");
        assert!(place.runs(name, &make), "{name}: mknod is always allowed");
    }
    // /dev/kmsg, 1:11: not among what every container gets, and harmless to open.
    for (name, read, write, both) in
        [("closed", false, false, false), ("read", true, false, false), ("open", true, true, true)]
    {
        assert_eq!(place.runs(name, ": < /dev/kmsg"), read, "{name} read");
        assert_eq!(place.runs(name, ": >> /dev/kmsg"), write, "{name} write");
        assert_eq!(place.runs(name, ": <> /dev/kmsg"), both, "{name} both");
    }
}

#[test]
fn an_own_program_is_replaced_and_a_foreign_one_stays() {
    use runtime_init::sys::bpf;
    let Some(place) = place("replace") else { return };
    let cgroup = place.create("a", json!({}));
    assert!(!place.runs("a", ": < /dev/kmsg"));
    place.create("a", json!({ "devices": [{ "allow": true, "access": "rwm" }] }));
    assert!(place.runs("a", ": < /dev/kmsg"));
    let mut ids = [0; bpf::MAX_ATTACHED];
    assert_eq!(bpf::attached(cgroup.dir_fd(), &mut ids).expect("a list"), 1);
}

#[test]
fn a_refused_program_comes_with_the_verifiers_words() {
    let Some(place) = place("verifier") else { return };
    let dir = Dir::mount(&place.host.mount).and_then(|dir| dir.descend(&place.path)).expect("open");
    // `exit` without an answer in register 0
    let Err(refused) = devices::put(dir.as_fd(), &[0x95], true) else { panic!("accepted") };
    assert_eq!((refused.refusal.call, refused.refusal.errno), ("bpf(BPF_PROG_LOAD)", Errno::EACCES));
    assert!(refused.log.as_deref().is_some_and(|log| log.contains("R0 !read_ok")), "{:?}", refused.log);
}

#[test]
fn kill_reaches_everything_below_even_if_frozen() {
    let Some(place) = place("kill") else { return };
    let cgroup = place.create("a", json!({}));
    fs::create_dir_all(place.at("a/b/c")).expect("made");
    let mut children = [place.sleeper("a"), place.sleeper("a/b/c"), place.sleeper("a/b")];
    let mut expected = children.each_ref().map(|child| i32::try_from(child.id()).expect("a pid"));
    expected.sort_unstable();
    assert_eq!(cgroup.pids().expect("pids"), expected);
    assert_eq!(cgroup.event("populated").expect("an answer"), Some(1));
    assert!(!cgroup.wait_empty(Duration::from_millis(20)).expect("an answer"));
    cgroup.freeze(SOON).expect("frozen");
    cgroup.kill().expect("killed");
    assert!(cgroup.wait_empty(SOON).expect("an answer"));
    assert_eq!(cgroup.pids().expect("pids"), [0; 0]);
    // Not reaped yet: dead processes are no hindrance.
    cgroup.remove(SOON).expect("removed");
    assert!(!place.at("a").exists());
    for child in &mut children {
        child.wait().expect("reaped");
    }
}

#[test]
fn freeze_stops_and_thaw_lets_go_on() {
    let Some(place) = place("freeze") else { return };
    let cgroup = place.create("a/b", json!({}));
    let above = Cgroup::open(&place.host, &format!("{}/a", place.path)).expect("opened").expect("there");
    let mut child = place.sleeper("a/b");
    assert!(!cgroup.is_frozen().expect("an answer"));
    cgroup.freeze(SOON).expect("frozen");
    assert!(cgroup.is_frozen().expect("an answer"));
    cgroup.thaw(SOON).expect("thawed");
    assert!(!cgroup.is_frozen().expect("an answer"));
    above.freeze(SOON).expect("frozen");
    assert!(cgroup.is_frozen().expect("an answer"));
    let error = cgroup.thaw(Duration::from_millis(10)).expect_err("an error").to_string();
    assert!(error.contains("ETIMEDOUT") && error.ends_with("a cgroup above it is frozen"), "{error}");
    above.thaw(SOON).expect("thawed");
    child.kill().expect("killed");
    child.wait().expect("reaped");
}

#[test]
fn freezing_and_thawing_at_once_do_not_wait_for_each_other() {
    let Some(place) = place("freeze-thaw") else { return };
    let cgroup = place.create("a", json!({}));
    let mut child = place.sleeper("a");
    // Much more than fifty times what it takes to look again, on a machine that stalls as well.
    const PATIENCE: Duration = Duration::from_secs(60);
    let begin = Instant::now();
    let again = |act: &(dyn Fn() -> Result<()> + Sync)| {
        for _ in 0..50 {
            let error = act().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.is_empty() || error.contains("ECANCELED"), "{error}");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| again(&|| cgroup.freeze(PATIENCE)));
        scope.spawn(|| again(&|| cgroup.thaw(PATIENCE)));
    });
    // Fifty times at most what it takes to look again, and not one of the waits in full.
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    cgroup.thaw(SOON).expect("thawed");
    child.kill().expect("killed");
    child.wait().expect("reaped");
}

#[test]
fn rt_66_removal_takes_what_the_container_nested_however_deep() {
    let Some(place) = place("rt_66") else { return };
    let cgroup = place.create("a", json!({}));
    let mut here = place.at("a");
    for level in 0..120 {
        here.push("x");
        fs::create_dir(&here).expect("made");
        if level % 40 == 0 {
            (0..10).for_each(|beside| fs::create_dir(here.join(format!("beside{beside}"))).expect("made"));
        }
    }
    // Only those of this place: other tests have theirs in the same process.
    let of_this_place = |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(place.at("")));
    let descriptors = || fs::read_dir("/proc/self/fd").expect("a list").flatten().filter(of_this_place).count();
    let before = descriptors();
    assert!(before > 0, "the cgroup itself is open");
    cgroup.remove(SOON).expect("removed");
    assert!(!place.at("a").exists() && descriptors() <= before + 20);
    assert!(place.at("").exists(), "RT-67: what was there before stays");
}

#[test]
fn removal_of_a_cgroup_in_use_fails_and_says_so() {
    let Some(place) = place("in_use") else { return };
    let cgroup = place.create("a", json!({}));
    fs::create_dir(place.at("a/b")).expect("made");
    let mut child = place.sleeper("a/b");
    let error = cgroup.remove(Duration::from_millis(30)).expect_err("an error").to_string();
    assert!(error.contains("rmdir: EBUSY"), "{error}");
    let late = thread::spawn(move || {
        thread::sleep(Duration::from_millis(40));
        child.kill().expect("killed");
        child.wait().expect("reaped");
    });
    cgroup.remove(SOON).expect("removed when the process had ended");
    late.join().expect("the thread");
}

#[test]
fn a_cgroup_that_has_gone_is_fine() {
    let Some(place) = place("gone") else { return };
    let cgroup = place.create("a", json!({}));
    fs::remove_dir(place.at("a")).expect("removed");
    assert!(Cgroup::open(&place.host, &cgroup.path).expect("an answer").is_none());
    cgroup.kill().expect("fine");
    assert_eq!(cgroup.pids().expect("fine"), [0; 0]);
    assert!(!cgroup.is_frozen().expect("fine"));
    assert!(cgroup.wait_empty(Duration::ZERO).expect("fine"));
    assert_eq!(cgroup.memory_oom().expect("fine"), None);
    cgroup.remove(SOON).expect("fine");
}

#[test]
fn lnx_66_a_delegated_cgroup_belongs_to_the_user() {
    let Some(place) = place("lnx_66") else { return };
    let mut plan = place.plan("a", json!({}));
    plan.owner = Some(12_345);
    Cgroup::create(&place.host, &plan).expect("created");
    let owner = |file: &str| fs::metadata(place.at(file)).expect("a file").uid();
    for file in ["a", "a/cgroup.procs", "a/cgroup.threads", "a/cgroup.subtree_control"] {
        assert_eq!(owner(file), 12_345, "{file}");
    }
    assert_eq!((owner("a/cgroup.max.depth"), owner("")), (0, 0));
}

#[test]
fn many_threads_at_once() {
    let Some(place) = place("threads") else { return };
    thread::scope(|scope| {
        for thread in 0..8 {
            let place = &place;
            scope.spawn(move || {
                for round in 0..5 {
                    place
                        .create(&format!("pod{}/t{thread}-{round}", round % 2), json!({}))
                        .remove(SOON)
                        .expect("removed");
                }
            });
        }
    });
}

#[test]
fn a_rootless_caller_does_without_if_it_asked_for_nothing() {
    let Some(place) = place("rootless") else { return };
    let mut plan = place.plan("a", json!({}));
    plan.path_at = None;
    plan.rootless = true;
    let denied = || StepError::host(None, "make cgroup /a", "mkdir", Errno::EACCES);
    let created = create::without(&plan, denied().into()).expect("without");
    assert!(created.cgroup.is_none() && created.notes[0].text.contains("stays in the caller's"));
    plan.path_at = Some(ConfigPath::new("linux.cgroupsPath"));
    let error = create::without(&plan, denied().into()).expect_err("an error").to_string();
    assert!(error.ends_with("a rootless container needs a delegated cgroup for limits or a cgroupsPath"), "{error}");
}

const NOBODY: u32 = 65_534;

/// As root, starts itself as a user without privileges, who then is the caller of the runtime.
#[test]
fn lnx_57_a_rootless_caller() {
    use std::os::unix::process::CommandExt;
    const NAME: &str = "lnx_57_a_rootless_caller";
    if let Ok(path) = std::env::var("CG_TEST_PLACE") {
        return as_rootless_caller(path);
    }
    let Some(place) = place(NAME) else { return };
    for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        std::os::unix::fs::chown(place.at(file), Some(NOBODY), None).expect("delegated");
    }
    let mut command = Command::new(std::env::current_exe().expect("a test program"));
    command.args([NAME, "--nocapture"]).env("CG_TEST_PLACE", &place.path).uid(NOBODY).gid(NOBODY).current_dir("/");
    match command.output() {
        Err(error) => eprintln!("skipped {NAME}: the test program cannot be executed by another user: {error}"),
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn as_rootless_caller(path: String) {
    let place = std::mem::ManuallyDrop::new(Place { host: CgroupHost::probe().expect("a hierarchy"), path });
    let delegated = CgroupPlan { rootless: true, ..place.plan("a/b", json!({})) };
    let created = Cgroup::create(&place.host, &delegated).expect("created");
    let cgroup = created.cgroup.expect("a cgroup");
    let note = cgroup.restrict_devices(&delegated).expect("left out").expect("a note").text;
    assert!(note.contains("may not load a device program: bpf(BPF_PROG_LOAD): EPERM"), "{note}");
    let privileged = CgroupPlan { rootless: false, ..delegated.clone() };
    let error = cgroup.restrict_devices(&privileged).expect_err("an error").to_string();
    assert!(
        error.starts_with("linux.resources.devices: attach device program of 11 rules: bpf(BPF_PROG_LOAD): EPERM"),
        "{error}"
    );
    cgroup.remove(SOON).expect("removed");

    let elsewhere = CgroupPlan { path: "/cg-test-not-made".to_owned(), ..delegated.clone() };
    let error = Cgroup::create(&place.host, &elsewhere).expect_err("an error").to_string();
    assert!(error.starts_with("linux.cgroupsPath: make cgroup /cg-test-not-made: mkdir: EACCES"), "{error}");
    assert!(error.ends_with("a rootless container needs a delegated cgroup for limits or a cgroupsPath"), "{error}");
    let by_default = CgroupPlan { path_at: None, ..elsewhere };
    let created = Cgroup::create(&place.host, &by_default).expect("without");
    assert!(created.cgroup.is_none() && created.notes[0].text.contains("stays in the caller's"), "{:?}", created.notes);
    assert!(!place.at("a/b").exists());
}
