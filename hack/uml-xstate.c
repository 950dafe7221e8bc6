// hack/uml-xstate.c — lets user-mode Linux before 6.13 run on processors with AMX.
//
// Such a UML hands the host 2696 bytes of extended processor state, everything up to AVX-512 and
// protection keys. A host with AMX has a larger area and takes only a whole one (EFAULT), so UML
// panics before its first process. Preloaded into linux.uml by hack/uml on such hosts, this adds
// the missing end, as zeros: no process in the guest can have asked for AMX.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

typedef long ptrace_function(enum __ptrace_request, int, void *, void *);

static long set_extended(ptrace_function *next, int pid, void *kind, const struct iovec *state) {
    static char whole[1 << 16];
    static size_t size;
    struct iovec area = {whole, sizeof whole};
    if (size == 0) {
        if (next(PTRACE_GETREGSET, pid, kind, &area) != 0)
            return -1;
        size = area.iov_len;
        memset(whole, 0, size);
    }
    memcpy(whole, state->iov_base, state->iov_len < size ? state->iov_len : size);
    area.iov_len = size;
    return next(PTRACE_SETREGSET, pid, kind, &area);
}

long ptrace(enum __ptrace_request request, ...) {
    static ptrace_function *next;
    va_list rest;
    va_start(rest, request);
    int pid = va_arg(rest, int);
    void *address = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);
    if (!next)
        next = (ptrace_function *)dlsym(RTLD_NEXT, "ptrace");
    if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
        return set_extended(next, pid, address, data);
    return next(request, pid, address, data);
}
