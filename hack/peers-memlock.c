// hack/peers-memlock.c — lets crun run where CAP_SYS_RESOURCE is missing.
//
// Before it loads a device program, crun raises RLIMIT_MEMLOCK and gives up if it may not. Kernels
// since 5.11 account such programs to the cgroup and ignore that limit, so the failure means
// nothing. hack/test preloads this into crun, as a peer of our runtime, on such machines only.
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/resource.h>

int setrlimit(__rlimit_resource_t what, const struct rlimit *limit) {
    return what == RLIMIT_MEMLOCK ? 0 : prlimit(0, what, limit, NULL);
}
