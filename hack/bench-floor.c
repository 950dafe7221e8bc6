/*
 * bench-floor CGROUP ROOTFS — the kernel's part of `run`, and nothing else: what no runtime can undercut.
 *
 * It makes the cgroup, clones a child into it and into six new namespaces as vfork(2) does, gives it
 * the mounts, devices and links of `runc spec`, changes the root, executes /bin/true, waits, and
 * removes the cgroup. It parses nothing, keeps no state, drops no right and checks nothing but errors.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(long result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "bench-floor: %s: %s\n", what, strerror(errno));
        _exit(1);
    }
}

/* Inline, so that the child, which shares this stack until it executes, overwrites no return address. */
static inline __attribute__((always_inline)) long clone3(struct clone_args *args)
{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((long)SYS_clone3), "D"(args), "S"(sizeof *args)
                     : "rcx", "r11", "memory");
    return result;
}

static void mount_at(const char *type, const char *target, unsigned long flags, const char *data)
{
    if (strcmp(type, "proc") && strcmp(type, "sysfs") && strcmp(target, "dev")) {
        mkdir(target, 0755);
    }
    check(mount(type, target, type, flags, data), target);
}

static void mounts(void)
{
    const unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;

    mount_at("proc", "proc", 0, NULL);
    mount_at("tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
    mount_at("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount_at("tmpfs", "dev/shm", safe, "mode=1777,size=65536k");
    mount_at("mqueue", "dev/mqueue", safe, NULL);
    mount_at("sysfs", "sys", safe | MS_RDONLY, NULL);
    check(mount("cgroup2", "sys/fs/cgroup", "cgroup2", safe | MS_RELATIME | MS_RDONLY, NULL), "cgroup2");
}

static void devices(void)
{
    static const struct { const char *path; unsigned major, minor; } nodes[] = {
        {"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7},
        {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0},
    };
    static const char *const links[][2] = {
        {"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"}, {"/proc/self/fd/1", "dev/stdout"},
        {"/proc/self/fd/2", "dev/stderr"}, {"/proc/kcore", "dev/core"}, {"pts/ptmx", "dev/ptmx"},
    };
    size_t i;

    umask(0);
    for (i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        check(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].path);
    }
    for (i = 0; i < sizeof links / sizeof *links; i++) {
        check(symlink(links[i][0], links[i][1]), links[i][1]);
    }
    umask(022);
}

static void container(const char *rootfs)
{
    static char *const argv[] = {"true", NULL}, *const envp[] = {"PATH=/bin", NULL};

    setsid();
    check(sethostname("floor", 5), "sethostname");
    check(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "propagation");
    check(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), rootfs);
    check(chdir(rootfs), rootfs);
    mounts();
    devices();
    check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    check(umount2(".", MNT_DETACH), "umount");
    check(chdir("/"), "chdir");
    execve("/bin/true", argv, envp);
    check(-1, "execve");
}

int main(int argc, char **argv)
{
    struct clone_args args;
    int cgroup, status = 0;
    long pid;

    if (argc != 3) {
        fputs("usage: bench-floor CGROUP ROOTFS\n", stderr);
        return 2;
    }
    check(mkdir(argv[1], 0755), argv[1]);
    check(cgroup = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC), argv[1]);
    memset(&args, 0, sizeof args);
    args.flags = CLONE_VM | CLONE_VFORK | CLONE_INTO_CGROUP | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
                 CLONE_NEWNET | CLONE_NEWCGROUP;
    args.exit_signal = SIGCHLD;
    args.cgroup = (uint64_t)cgroup;
    pid = clone3(&args);
    if (pid == 0) {
        container(argv[2]);
    }
    errno = pid < 0 ? (int)-pid : 0;
    check(pid < 0 ? -1 : 0, "clone3");
    check(waitpid((pid_t)pid, &status, 0), "waitpid");
    while (rmdir(argv[1]) < 0) {
        check(errno == EBUSY ? 0 : -1, "rmdir");
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
