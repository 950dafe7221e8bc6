//! Steps in throw-away children: a Frame written by hand, the real init, and a look at what it left.
//!
//! What a step does to its own process is asked from a program that the same init executes; what it does to files is
//! looked at from here. Tests that make namespaces or nodes need root; without it they say so and pass.

#![forbid(unsafe_code)]

mod child;

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::socket::{MsgFlags, recv};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use runtime_init::step::{Enter, MountRecord};
use runtime_init::sys::fd::kind;
use runtime_init::sys::mount::propagation;
use runtime_init::sys::spawn::{Image, spawn};
use runtime_init::{Call, Errno, Gate, Ns, Slot, Step, Words};

use child::{Column, End, FrameFile, INIT, NO_FRAME, PATH, gate, serve, wait};

/// Whether a test that needs root can do its work.
fn root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("{test}: skipped: it makes namespaces or nodes, which needs root");
    }
    root
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room")
}

/// Architecture §3.2: whoever gets hold of init gets nothing from it.
#[test]
fn init_without_a_frame_exits_2() {
    let not_numbers: [&[&str]; 9] = [&[], &["x"], &[""], &["-1"], &["99"], &["0"], &["12345678"], &["3x"], &["1", "2"]];
    for args in not_numbers {
        let mut init = Command::new(env!("RUNTIME_INIT_IMAGE"));
        let status = init.args(args).stdin(Stdio::null()).status().expect("it is executable");
        assert_eq!(status.code(), Some(NO_FRAME), "{args:?}");
    }
}

/// Architecture §5: a Frame of another build is refused, and nothing in it is carried out.
#[test]
fn a_frame_of_another_build_exits_2() {
    let spoilers: [fn(&mut Vec<u8>); 4] =
        [|b| b[8] ^= 1, |b| b[0] ^= 1, |b| b.push(0), |b| b[16..20].copy_from_slice(&u32::MAX.to_ne_bytes())];
    for spoil in spoilers {
        let frame = FrameFile::new(&Column::of(&[Step::Session {}]), -1, spoil);
        let (pid, _) = spawn(Image::Memory(INIT), frame.file.as_fd(), &[], [-1; 3]).expect("init is started");
        assert_eq!(wait(pid), NO_FRAME);
        let slate = frame.mapping.slate(frame.slate).expect("it is in the mapping");
        assert_eq!((slate.step(), slate.fault()), (0, None));
    }
}

/// Architecture §5: call, errno and line of what failed; the lines behind it are not reached.
#[test]
fn a_refused_step_is_on_the_slate() {
    let dir = directory();
    let mut column = Column::below(dir.path());
    let (missing, after) = (column.text("/no/such/directory"), column.text("/made"));
    column.steps.extend([Step::PlainRootfs { path: missing }, Step::MakeDirectory { path: after, ordinary: 0 }]);
    let end = column.run();
    end.refused(2, end.fault.expect("a fault").call, Errno::NOENT);
    assert_eq!(end.fault.and_then(|fault| runtime_init::sys::name(fault.call)), Some("openat2"));
    assert!(!dir.path().join("made").exists());
}

/// Rust ignores SIGPIPE; a container's program must not start with that, nor with the caller's umask.
#[test]
fn reset_inherited_resets_signals_and_umask() {
    let status = ["cat", "/proc/self/status"];
    let as_it_is = Column::default().execute(&status).run();
    assert_ne!(as_it_is.fine().value("SigIgn"), "0000000000000000", "there is nothing to be reset");
    let end = Column::of(&[Step::ResetInherited {}]).execute(&status).run();
    for name in ["SigIgn", "SigBlk", "SigCgt"] {
        assert_eq!(end.fine().value(name), "0000000000000000", "{name}");
    }
    assert_eq!(end.value("Umask"), "0000");
}

/// CVE-2024-21626: no descriptor but 0, 1 and 2 reaches the program.
#[test]
fn reset_inherited_closes_descriptors_cve_2024_21626() {
    let leaked = File::open("/").expect("it is there");
    let listing = ["ls", "-l", "/proc/self/fd"];
    for (steps, leaks) in [(vec![], true), (vec![Step::ResetInherited {}], false)] {
        let mut column = Column::of(&steps);
        column.slots.push(leaked.as_raw_fd());
        let end = column.execute(&listing).run();
        let names: Vec<&str> = end.fine().output.lines().filter_map(|line| line.split(" -> ").nth(1)).collect();
        assert_eq!(names.contains(&"/"), leaks, "{end:?}");
        assert_eq!(end.output.contains("socket:"), leaks, "the gate: {end:?}");
    }
}

#[test]
fn cfg_70_oom_score_is_the_programs() {
    let mut column = Column::default();
    let score = column.text("789");
    column.steps.push(Step::OomScore { score });
    let end = column.execute(&["cat", "/proc/self/oom_score_adj"]).run();
    assert_eq!(end.fine().output.trim(), "789");
    let mut column = Column::default();
    let score = column.text("1001");
    column.steps.push(Step::OomScore { score });
    assert_eq!(column.run().fault.map(|fault| fault.errno), Some(Errno::INVAL));
}

/// CVE-2016-9962: a process with the same ids and no capability, as in a joined namespace, cannot look into init.
#[test]
fn not_dumpable_hides_init_cve_2016_9962() {
    if !root("not_dumpable_hides_init_cve_2016_9962") {
        return;
    }
    let powerless = [Step::Bounding { keep: 0 }, Step::Capabilities { effective: 0, permitted: 0, inheritable: 0 }];
    let look = |pid: i32| Column::of(&powerless).execute(&["readlink", &format!("/proc/{pid}/exe")]).run();
    let stand = Step::Await { gate: Gate::Ready };
    Column::of(&[powerless.as_slice(), &[stand]].concat()).run_with(|pid| {
        let end = look(pid);
        assert!(end.fine().output.contains("memfd:runtime-init"), "the control: {end:?}");
    });
    let hidden = Column::of(&[powerless.as_slice(), &[Step::NotDumpable {}, stand]].concat());
    hidden.run_with(|pid| assert_eq!(look(pid).fine().status, 1, "init can be looked into"));
}

#[test]
fn lnx_161_personality_is_the_programs() {
    let end = Column::of(&[Step::Personality { domain: 8 }]).execute(&["uname", "-m"]);
    assert_eq!(end.run().output, "i686\n");
}

#[test]
fn cpus_are_a_mask_of_halves() {
    let mut column = Column::default();
    let mask = column.words(&[1, 0, 1]);
    column.steps.push(Step::Cpus { mask });
    let end = column.execute(&["grep", "-c", "^Cpus_allowed_list:.0$", "/proc/self/status"]).run();
    assert_eq!(end.output, "1\n");
}

#[test]
fn passed_descriptors_get_their_numbers() {
    let file = File::open("/etc/passwd").expect("it is there");
    let mut column = Column { slots: vec![file.as_raw_fd()], ..Column::of(&[Step::ResetInherited {}]) };
    let files = column.words(&[90, 0, 91, 0]);
    column.steps.push(Step::Pass { files });
    let end = column.execute(&["sh", "-c", "readlink /proc/$$/fd/90 /proc/$$/fd/91"]).run();
    assert_eq!(end.output, "/etc/passwd\n/etc/passwd\n");
}

#[test]
fn session_makes_a_leader() {
    let stat = ["cat", "/proc/self/stat"];
    let fields = |end: &End| {
        let text = end.fine().output.clone();
        let after = text.rsplit_once(") ").expect("the name is in parentheses").1.to_owned();
        let pid = text.split(' ').next().map(str::to_owned);
        let mut fields = after.split(' ').skip(2).map(str::to_owned);
        (pid, fields.next(), fields.next())
    };
    let (pid, group, session) = fields(&Column::of(&[Step::Session {}]).execute(&stat).run());
    assert_eq!((&pid, &pid), (&group, &session));
    let (pid, _, session) = fields(&Column::default().execute(&stat).run());
    assert_ne!(pid, session, "the control: without the step it is in the session of this test");
}

/// CFG-90, LNX-12.
#[test]
fn hostname_is_that_of_a_new_uts_namespace() {
    if !root("hostname_is_that_of_a_new_uts_namespace") {
        return;
    }
    let before = fs::read_to_string("/proc/sys/kernel/hostname").expect("procfs");
    let mut column = Column::of(&[Step::ResetInherited {}, Step::Birth { namespaces: Ns::Uts.flag(), cgroup: None }]);
    let (name, domain) = (column.text("step-test"), column.text("example.org"));
    column.steps.extend([Step::Hostname { name }, Step::Domainname { name: domain }]);
    let end = column.execute(&["cat", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname"]).run();
    assert_eq!(end.fine().output, "step-test\nexample.org\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").expect("procfs"), before);
}

#[test]
fn loopback_is_up_in_a_new_network_namespace() {
    if !root("loopback_is_up_in_a_new_network_namespace") {
        return;
    }
    let birth = Step::Birth { namespaces: Ns::Net.flag(), cgroup: None };
    let look = ["grep", "-c", "127.0.0.1", "/proc/self/net/fib_trie"];
    let end = Column::of(&[birth]).execute(&look).run();
    assert_eq!(end.fine().status, 1, "the control: {end:?}");
    let end = Column::of(&[birth, Step::Loopback {}]).execute(&look).run();
    assert_eq!(end.fine().status, 0, "{end:?}");
}

/// LNX-27: the offsets are those of the process that is born, not of the usher.
#[test]
fn time_offsets_are_entered_by_birth() {
    if !root("time_offsets_are_entered_by_birth") {
        return;
    }
    const TEN_DAYS: f64 = 864_000.0;
    let mut column = Column::default();
    let offsets = column.text("boottime 864000 0\nmonotonic 60 7\n");
    column.steps.extend([Step::TimeOffsets { offsets }, Step::Birth { namespaces: 0, cgroup: None }]);
    let end = column.execute(&["cat", "/proc/uptime", "/proc/self/timens_offsets"]).run();
    let uptime: f64 = end.fine().output.split(' ').next().and_then(|t| t.parse().ok()).expect("seconds");
    let here = fs::read_to_string("/proc/uptime").expect("procfs");
    let here: f64 = here.split(' ').next().and_then(|t| t.parse().ok()).expect("seconds");
    assert!((uptime - here - TEN_DAYS).abs() < 300.0, "{uptime} {here}");
    let lines: Vec<Vec<&str>> = end.output.lines().skip(1).map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines, [vec!["monotonic", "60", "7"], vec!["boottime", "864000", "0"]]);
}

/// CFG-42 in the real init; the cases are in `init/src/path/tests.rs`.
#[test]
fn directories_are_made_inside_the_root_cve_2024_45310() {
    let dir = directory();
    symlink("../../../../../../escaped", dir.path().join("link")).expect("new");
    let mut column = Column::below(dir.path());
    let path = column.text("/link/x");
    column.steps.push(Step::MakeDirectory { path, ordinary: 0 });
    column.run().fine();
    assert!(dir.path().join("escaped/x").is_dir());
    let mut column = Column::below(dir.path());
    symlink("loop", dir.path().join("loop")).expect("new");
    let path = column.text("/loop/x");
    column.steps.push(Step::MakeDirectory { path, ordinary: 0 });
    assert_eq!(column.run().fault.map(|fault| fault.errno), Some(Errno::LOOP));
}

fn device(dir: &Path, path: &str, mode: u32, number: u32) -> End {
    let mut column = Column::below(dir);
    let path = column.text(path);
    let mode_and_device = u64::from(mode) | u64::from(number) << 32;
    column.steps.insert(0, Step::ResetInherited {});
    column.steps.push(Step::Device { path, mode_and_device, owner: 5 | 6 << 32 });
    column.run()
}

const NULL: u32 = 1 << 8 | 3;

/// LNX-35, LNX-37.
#[test]
fn devices_are_made_with_mode_and_owner() {
    if !root("devices_are_made_with_mode_and_owner") {
        return;
    }
    let dir = directory();
    device(dir.path(), "/opt/deep/null", kind::CHR | 0o666, NULL).fine();
    let made = fs::metadata(dir.path().join("opt/deep/null")).expect("it is there");
    assert!(made.file_type().is_char_device());
    assert_eq!((made.rdev(), made.mode() & 0o7777), (makedev(1, 3), 0o666), "whatever the umask");
    assert_eq!((made.uid(), made.gid()), (5, 6));
    device(dir.path(), "/loop300", kind::BLK | 0o600, 7 << 8 | (300 & 0xff) | (300 & !0xff) << 12).fine();
    assert_eq!(fs::metadata(dir.path().join("loop300")).expect("it is there").rdev(), makedev(7, 300));
    device(dir.path(), "/fifo", kind::FIFO | 0o640, 0).fine();
    assert!(fs::metadata(dir.path().join("fifo")).is_ok_and(|m| m.file_type().is_fifo()));
}

/// D13, LNX-34: the same node is kept as it is; anything else is an error and stays.
#[test]
fn d13_an_existing_file_is_the_same_node_or_an_error() {
    if !root("d13_an_existing_file_is_the_same_node_or_an_error") {
        return;
    }
    let dir = directory();
    let at = |name: &str| dir.path().join(name);
    mknod(&at("same"), SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 3)).expect("root");
    mknod(&at("other"), SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 5)).expect("root");
    mknod(&at("block"), SFlag::S_IFBLK, Mode::S_IRUSR, makedev(1, 3)).expect("root");
    fs::write(at("file"), "kept").expect("new");
    fs::create_dir(at("directory")).expect("new");
    symlink("same", at("link")).expect("new");
    device(dir.path(), "/same", kind::CHR | 0o666, NULL).fine();
    let same = fs::metadata(at("same")).expect("it is there");
    assert_eq!((same.mode() & 0o7777, same.uid()), (0o400, 0), "mode and owner are left");
    for name in ["other", "block", "file", "directory", "link"] {
        device(dir.path(), &format!("/{name}"), kind::CHR | 0o666, NULL).refused(3, Call::DEVICE, Errno::EXIST);
    }
    assert_eq!(fs::read(at("file")).expect("it is there"), b"kept");
    mknod(&at("pipe"), SFlag::S_IFIFO, Mode::S_IRUSR, 0).expect("a fifo");
    device(dir.path(), "/pipe", kind::FIFO | 0o666, 0).fine();
}

#[test]
fn links_are_made_where_what_they_say_exists() {
    let dir = directory();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("proc/self")).expect("new");
    symlink("host", at("proc/self/fd")).expect("a magic link is not followed");
    fs::create_dir(at("dev")).expect("new");
    fs::write(at("dev/taken"), "kept").expect("new");
    let mut column = Column::below(dir.path());
    for (path, target) in [("/dev/fd", "/proc/self/fd"), ("/dev/core", "/proc/kcore"), ("/dev/taken", "/proc/self/fd")]
    {
        let (path, target) = (column.text(path), column.text(target));
        column.steps.push(Step::Symlink { path, target });
    }
    column.run().fine();
    assert_eq!(fs::read_link(at("dev/fd")).expect("made"), Path::new("/proc/self/fd"));
    assert!(at("dev/core").symlink_metadata().is_err(), "there is no /proc/kcore");
    assert_eq!(fs::read(at("dev/taken")).expect("it is there"), b"kept");
}

/// LNX-43.
#[test]
fn ptmx_is_always_the_containers_own() {
    for before in [None, Some("file"), Some("link")] {
        let dir = directory();
        let ptmx = dir.path().join("dev/ptmx");
        fs::create_dir(dir.path().join("dev")).expect("new");
        match before {
            Some("file") => fs::write(&ptmx, "the image's").expect("new"),
            Some(_) => symlink("/etc/passwd", &ptmx).expect("new"),
            None => {}
        }
        let mut column = Column::below(dir.path());
        column.steps.push(Step::Ptmx {});
        column.run().fine();
        assert_eq!(fs::read_link(&ptmx).expect("made"), Path::new("pts/ptmx"), "{before:?}");
    }
}

/// A container of its own mounts with a procfs, and a directory of the host in a slot that was not closed.
fn leaking_container(dir: &Path, leaked: &File, cwd: &str) -> End {
    #[expect(clippy::cast_possible_truncation, reason = "propagation flags fit 32 bits")]
    let private = propagation::PRIVATE as u32;
    let mut column =
        Column::of(&[Step::Birth { namespaces: Ns::Mount.flag(), cgroup: None }, Step::Propagation { kind: private }]);
    column.slots.push(leaked.as_raw_fd());
    let path = column.text(dir.to_str().expect("text"));
    let record = MountRecord {
        from: MountRecord::FROM_FILESYSTEM,
        slot: MountRecord::NO_SLOT,
        what: column.text("proc").0,
        source: MountRecord::NO_TEXT,
        target: column.text("/proc").0,
        ..MountRecord::default()
    };
    let record = column.words(&record.words());
    column.steps.extend([
        Step::Rootfs { path, slot: None, propagation: private },
        Step::Mount { record },
        Step::EnterRoot { how: Enter::Pivot, kept: Words { start: 0, count: 0 } },
    ]);
    let path = column.text(cwd);
    column.steps.push(Step::Cwd { path });
    column.run()
}

/// CFG-52, CVE-2024-21626: a descriptor that was left open is no way out.
#[test]
fn a_working_directory_outside_is_refused_cve_2024_21626() {
    if !root("a_working_directory_outside_is_refused_cve_2024_21626") {
        return;
    }
    let (dir, leaked) = (directory(), File::open("/").expect("it is there"));
    leaking_container(dir.path(), &leaked, "/proc").fine();
    let way_out = format!("/proc/self/fd/{}", leaked.as_raw_fd());
    leaking_container(dir.path(), &leaked, &way_out).refused(6, Call::CWD, Errno::NOENT);
    let end = leaking_container(dir.path(), &leaked, "/missing");
    assert_eq!(end.fault.map(|fault| fault.errno), Some(Errno::NOENT));
    assert_ne!(end.fault.map(|fault| fault.call), Some(Call::CWD), "it is chdir that says so");
}

/// `--no-pivot`: the host's procfs and sysfs do not stay below the root, also where they are locked in place.
#[test]
fn mounts_of_the_host_are_unmounted_or_covered() {
    if !root("mounts_of_the_host_are_unmounted_or_covered") {
        return;
    }
    let mapped = [Step::Await { gate: Gate::Mapped }, Step::BecomeRoot {}];
    let write_maps = |pid: i32| {
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{pid}/{map}"), "0 0 65536").expect("root may");
        }
    };
    for (user, steps) in [(0, &[] as &[Step]), (Ns::User.flag(), &mapped)] {
        let birth = Step::Birth { namespaces: Ns::Mount.flag() | user, cgroup: None };
        let mut column = Column::of(&[&[birth], steps].concat());
        #[expect(clippy::cast_possible_truncation, reason = "propagation flags fit 32 bits")]
        let private = propagation::PRIVATE as u32;
        let path = column.text("/proc");
        column.steps.extend([Step::Propagation { kind: private }, Step::Unmount { path }]);
        let end = column.execute(&["ls", "-A", "/proc"]).run_with(write_maps);
        assert_eq!((end.fine().status, end.output.as_str()), (0, ""), "{end:?}");
    }
}

/// CFG-55: what is said of a program that cannot be executed, and whether `PATH` was searched.
#[test]
fn programs_are_found_as_execvp_finds_them() {
    let dir = directory();
    let at = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    for sub in ["empty", "plain", "right", "dirs/tool"] {
        fs::create_dir_all(at(sub)).expect("new");
    }
    for (file, mode) in [("plain/tool", 0o644), ("right/tool", 0o755)] {
        fs::write(at(file), "#!/bin/sh\n").expect("new");
        fs::set_permissions(at(file), fs::Permissions::from_mode(mode)).expect("ours");
    }
    let find = |name: &str, path: &[&str]| {
        let mut column = Column::default();
        column.find(&[name], &path.iter().map(|dir| at(dir)).collect::<Vec<_>>().join(":"));
        let end = column.run();
        assert!(end.fault.is_none_or(|fault| fault.call == Call::PROGRAM), "{end:?}");
        end.fault.map(|fault| (fault.errno, fault.aux))
    };
    assert_eq!(find("tool", &["empty", "right"]), None);
    assert_eq!(find("tool", &["plain", "right"]), None, "the search goes on behind one that may not be executed");
    assert_eq!(find("tool", &["dirs", "right"]), None, "a directory is no program");
    assert_eq!(find("tool", &["empty"]), Some((Errno::NOENT, 1)));
    assert_eq!(find("tool", &["empty", "plain", "missing"]), Some((Errno::ACCES, 1)));
    assert_eq!(find("", &["right"]), Some((Errno::NOENT, 1)));
    assert_eq!(find(&at("right/tool"), &[]), None);
    assert_eq!(find(&at("missing"), &["right"]), Some((Errno::NOENT, 0)));
    assert_eq!(find(&at("plain/tool"), &[]), Some((Errno::ACCES, 0)));
    assert_eq!(find(&at("dirs/tool"), &[]), Some((Errno::ISDIR, 0)));
    assert_eq!(find(&at("right/tool/x"), &[]), Some((Errno::NOTDIR, 0)));
}

/// The arguments and the environment of the program are those of the Frame, in their order, and nothing else.
#[test]
fn the_program_gets_its_words() {
    let mut column = Column::default();
    let args = column.find(&["sh", "-c", "echo \"$0 $1\"; cat /proc/self/environ", "a b", "c"], PATH);
    let env = column.list(&["A=1", "B=two words"]);
    column.steps.push(Step::Prepare { args, env, home_of: u32::MAX });
    column.steps.push(Step::Execute { args, env });
    let end = column.run();
    assert_eq!(end.fine().output.lines().next(), Some("a b c"));
    let rest = end.output.split_once('\n').expect("two lines").1.to_owned();
    let mut set: Vec<&str> = rest.split('\0').filter(|word| !word.is_empty() && !word.starts_with("PWD=")).collect();
    set.sort_unstable();
    assert_eq!(set, ["A=1", "B=two words"]);
}

/// §6.3: at the wait for `start` the gate is closed and the phase says so; the byte lets init go on.
#[test]
fn waiting_for_start_closes_the_gate() {
    let (read, write) = nix::unistd::pipe().expect("a pipe");
    let mut column = Column::default();
    column.slots.push(read.as_raw_fd());
    column.steps.push(Step::WaitForStart { slot: Slot(0) });
    let column = column.execute(&["true"]);
    let (host, inits) = gate();
    let frame = FrameFile::new(&column, inits.as_raw_fd(), |_| ());
    let inherit = [read.as_raw_fd(), inits.as_raw_fd()];
    let (pid, _) = spawn(Image::Memory(INIT), frame.file.as_fd(), &inherit, [-1; 3]).expect("init is started");
    drop(inits);
    assert_eq!(serve(&host, pid, 0, |_| ()), pid);
    let slate = frame.mapping.slate(frame.slate).expect("it is in the mapping");
    assert_eq!((slate.phase(), slate.fault()), (runtime_init::slate::Phase::Waiting, None));
    nix::unistd::write(&write, &[0]).expect("init reads");
    assert_eq!(wait(pid), 0);
    assert_eq!(slate.phase(), runtime_init::slate::Phase::Exec);
}

/// A host that goes away while init stands at a gate leaves nothing running.
#[test]
fn init_ends_when_the_host_is_gone() {
    let column = Column::of(&[Step::Await { gate: Gate::Ready }, Step::Session {}]);
    let (host, inits) = gate();
    let frame = FrameFile::new(&column, inits.as_raw_fd(), |_| ());
    let inherit = [inits.as_raw_fd()];
    let (pid, _) = spawn(Image::Memory(INIT), frame.file.as_fd(), &inherit, [-1; 3]).expect("init is started");
    drop(inits);
    let mut byte = [0; 8];
    assert_eq!(recv(host.as_raw_fd(), &mut byte, MsgFlags::empty()), Ok(1));
    drop(host);
    assert_eq!(wait(pid), 1);
    let slate = frame.mapping.slate(frame.slate).expect("it is in the mapping");
    assert_eq!((slate.step(), slate.fault().map(|fault| fault.call)), (1, Some(Call::GATE)));
}
