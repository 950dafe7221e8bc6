//! What a container may and sees: limits, namespaces, volumes, capabilities.

use integration::engine::Kept;
use integration::{Engine, until};
use std::fs;

cases! {
    Engines:
        cfg_9_docker_read_only,
        cfg_9_podman_read_only,
        cfg_19_docker_volumes,
        cfg_19_podman_volumes,
        cfg_65_docker_no_capabilities,
        cfg_65_podman_no_capabilities,
        cfg_84_85_88_docker_user_and_groups,
        cfg_84_85_88_podman_user_and_groups,
        row_33_docker_oom_score,
        row_33_podman_oom_score,
        row_64_docker_namespaces_of_another_container,
        row_64_podman_namespaces_of_another_container,
        row_74_docker_out_of_memory,
        row_74_podman_out_of_memory,
        row_88_docker_limits,
        row_88_podman_limits,
        row_88_docker_devices,
        row_88_podman_devices,
        row_91_docker_cgroup_of_its_own,
        row_91_podman_cgroup_of_its_own,
        row_99_docker_filter_of_system_calls,
        row_99_podman_filter_of_system_calls,
        row_99_docker_privileged,
        row_99_podman_privileged,
        row_102_docker_sysctls,
        row_102_podman_sysctls,
    ;
}

with_both! {
    cfg_9_docker_read_only, cfg_9_podman_read_only: read_only;
    cfg_19_docker_volumes, cfg_19_podman_volumes: volumes;
    cfg_65_docker_no_capabilities, cfg_65_podman_no_capabilities: no_capabilities;
    cfg_84_85_88_docker_user_and_groups, cfg_84_85_88_podman_user_and_groups: user_and_groups;
    row_33_docker_oom_score, row_33_podman_oom_score: oom_score;
    row_64_docker_namespaces_of_another_container, row_64_podman_namespaces_of_another_container: joined;
    row_74_docker_out_of_memory, row_74_podman_out_of_memory: out_of_memory;
    row_88_docker_limits, row_88_podman_limits: limits;
    row_88_docker_devices, row_88_podman_devices: devices;
    row_91_docker_cgroup_of_its_own, row_91_podman_cgroup_of_its_own: own_cgroup;
    row_99_docker_filter_of_system_calls, row_99_podman_filter_of_system_calls: filter;
    row_99_docker_privileged, row_99_podman_privileged: privileged;
    row_102_docker_sysctls, row_102_podman_sysctls: sysctls;
}

/// What `script` prints in a container with these options.
fn printed(engine: Engine, options: &[&str], script: &str) -> String {
    engine.run(options, &["sh", "-c", script]).ok().stdout
}

fn read_only(engine: Engine) {
    let text = printed(engine, &["--read-only", "--tmpfs=/scratch"], "touch /scratch/a && touch /b 2>&1 || echo refused");
    assert!(text.contains("Read-only file system") && text.ends_with("refused\n"), "{text}");
}

fn volumes(engine: Engine) {
    let folder = integration::container::all().join(integration::engine::fresh_name());
    fs::create_dir_all(&folder).expect("make a volume");
    let volume = format!("--volume={}:/volume", folder.display());
    printed(engine, &[&volume, "--volume=named:/named"], "echo one >/volume/a; echo two >/named/a");
    assert_eq!(fs::read_to_string(folder.join("a")).expect("read from a volume"), "one\n");
    assert_eq!(printed(engine, &["--volume=named:/named"], "cat /named/a"), "two\n");
    let text = printed(engine, &[&format!("{volume}:ro")], "cat /volume/a; touch /volume/b 2>&1 || echo refused");
    assert!(text.starts_with("one\n") && text.ends_with("refused\n"), "{text}");
    engine.call("volume").args(["rm", "named"]).run().ok();
}

fn no_capabilities(engine: Engine) {
    let text = printed(engine, &["--cap-drop=ALL"], "grep Cap /proc/self/status | cut -f2 | sort -u");
    assert_eq!(text, "0000000000000000\n");
    let text = printed(engine, &["--cap-drop=ALL", "--cap-add=NET_ADMIN"], "grep CapEff /proc/self/status | cut -f2");
    assert_eq!(text, "0000000000001000\n");
}

fn user_and_groups(engine: Engine) {
    let text = printed(engine, &["--user=1000:7", "--group-add=44"], "id -u; id -g; id -G; touch /a 2>&1 || echo refused");
    assert!(text.starts_with("1000\n7\n7 44\n") && text.ends_with("refused\n"), "{text}");
}

fn oom_score(engine: Engine) {
    assert_eq!(printed(engine, &["--oom-score-adj=500"], "cat /proc/self/oom_score_adj"), "500\n");
}

/// By paths of namespaces. The kernel tells of a namespace by a link in /proc.
fn joined(engine: Engine) {
    let first = engine.sleeping(&["--ipc=shareable"]);
    let of_first = |kind: &str| format!("--{kind}=container:{}", first.name);
    let links = "for kind in net pid ipc; do readlink /proc/self/ns/$kind; done";
    let second = printed(engine, &[&of_first("network"), &of_first("pid"), &of_first("ipc")], links);
    assert_eq!(second, first.exec(&[], &["sh", "-c", links]).ok().stdout);
}

fn out_of_memory(engine: Engine) {
    let container = match engine {
        Engine::Docker => outlives_lack_of_memory(),
        Engine::Podman => engine.detached(&["--memory=32m"], &["tail", "/dev/zero"]),
    };
    assert_eq!(container.wait(), "137");
    assert_eq!(container.inspect("{{.State.OOMKilled}}"), "true");
}

/// A container of Docker's that ends after Docker was told. The memory is taken after `start` has returned, when
/// containerd's shim begins to watch for it, and by a child: of a cgroup that empties or goes meanwhile the shim may not
/// read what has happened.
fn outlives_lack_of_memory() -> Kept {
    let script = "until [ -e /go ]; do sleep 0.1; done; tail /dev/zero; code=$?; until [ -e /end ]; do sleep 0.1; done; exit $code";
    let container = Engine::Docker.detached(&["--memory=32m"], &["sh", "-c", script]);
    container.exec(&[], &["touch", "/go"]).ok();
    until("the news of the lack of memory", || {
        (container.inspect("{{.State.OOMKilled}}") == "true").then_some(())
    });
    container.exec(&[], &["touch", "/end"]).ok();
    container
}

fn limits(engine: Engine) {
    let options = ["--memory=64m", "--cpus=0.5", "--pids-limit=77"];
    let text = printed(engine, &options, "cd /sys/fs/cgroup; cat memory.max cpu.max pids.max");
    assert_eq!(text, "67108864\n50000 100000\n77\n");
}

/// A node alone is not enough: the cgroup has to allow it.
fn devices(engine: Engine) {
    let script = "(: </dev/own) && echo read; (: >/dev/own) 2>&1; mknod /disk b 7 0 && cat /disk 2>&1 || true";
    let text = printed(engine, &["--device=/dev/btrfs-control:/dev/own:r", "--cap-add=MKNOD"], script);
    assert!(text.starts_with("read\n") && text.matches("Operation not permitted").count() == 2, "{text}");
}

fn own_cgroup(engine: Engine) {
    let text = printed(engine, &[], "cat /proc/self/cgroup; mkdir /sys/fs/cgroup/a 2>&1 || echo refused");
    assert!(text.starts_with("0::/\n") && text.ends_with("refused\n"), "{text}");
}

const FILTER: &str = "grep '^Seccomp:' /proc/self/status | cut -f2";

fn filter(engine: Engine) {
    assert_eq!(printed(engine, &[], FILTER), "2\n");
    assert_eq!(printed(engine, &["--security-opt=seccomp=unconfined"], FILTER), "0\n");
    let bit = "grep NoNewPrivs /proc/self/status | cut -f2";
    assert_eq!(printed(engine, &["--security-opt=no-new-privileges"], bit), "1\n");
}

fn privileged(engine: Engine) {
    let script = format!("{FILTER}; test -c /dev/mem && echo mem; mount -t tmpfs none /tmp && echo mounted");
    assert_eq!(printed(engine, &["--privileged"], &script), "0\nmem\nmounted\n");
    let text = printed(engine, &["--privileged"], "grep -E 'CapEff|CapBnd' /proc/self/status | cut -f2 | sort -u");
    let own = fs::read_to_string("/proc/self/status").expect("our own capabilities");
    assert_eq!(text.trim(), own.lines().find_map(|line| line.strip_prefix("CapBnd:")).expect("CapBnd").trim());
}

fn sysctls(engine: Engine) {
    let options = ["--sysctl=net.ipv4.ip_unprivileged_port_start=7", "--sysctl=kernel.msgmax=9999"];
    let text = printed(engine, &options, "cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start kernel/msgmax");
    assert_eq!(text, "7\n9999\n");
}
