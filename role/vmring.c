/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmring.c - one session's shared memory: ring, gate and their bells */
#include "role/vmring.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static void vmring_clear(struct ft_vmring *v)
{
    memset(v, 0, sizeof(*v));
    for (int i = 0; i < FT_VMRING_FDS; i++) {
        v->fd[i] = v->qemu[i] = -1;
    }
}

static int map(struct ft_vmring *v, uint64_t bytes, struct ft_err *err)
{
    v->map_bytes = bytes;
    v->map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                  v->fd[FT_VMRING_MEMFD], 0);
    if (v->map == MAP_FAILED) {
        v->map = NULL;
        return ft_err_sys(err, errno, "log ring: mmap of %llu bytes",
                          (unsigned long long)bytes);
    }
    return 0;
}

int ft_vmring_create(struct ft_vmring *v, uint64_t size, enum ft_gate gate,
                     struct ft_err *err)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    int fd;

    vmring_clear(v);
    fd = memfd_create("lockstep-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    v->fd[FT_VMRING_MEMFD] = fd;
    if (fd < 0 || ftruncate(fd, (off_t)(FT_RING_DATA + size)) < 0 ||
        fcntl(fd, F_ADD_SEALS, seals) < 0) {
        ft_err_sys(err, errno, "log ring: memfd of %llu bytes",
                   (unsigned long long)size);
        goto out;
    }
    for (int i = FT_VMRING_DATA; i < FT_VMRING_FDS; i++) {
        int bell[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, bell) < 0) {
            ft_err_sys(err, errno, "log ring: socketpair");
            goto out;
        }
        v->fd[i] = bell[0];
        v->qemu[i] = bell[1];
    }
    v->qemu[FT_VMRING_MEMFD] = fd;
    if (map(v, FT_RING_DATA + size, err) < 0) {
        goto out;
    }
    ft_ring_init(&v->ring, v->map, size);
    ft_vmring_set_gate(v, gate);
    return 0;
out:
    ft_vmring_destroy(v);
    return -1;
}

void ft_vmring_sent(struct ft_vmring *v)
{
    for (int i = FT_VMRING_DATA; i < FT_VMRING_FDS; i++) {
        if (v->qemu[i] > 0) {
            close(v->qemu[i]);
        }
        v->qemu[i] = -1;
    }
}

void ft_vmring_destroy(struct ft_vmring *v)
{
    if (v->map != NULL) {
        munmap(v->map, v->map_bytes);
    }
    ft_vmring_sent(v);
    for (int i = 0; i < FT_VMRING_FDS; i++) {
        /* A zeroed struct has never owned descriptor 0. */
        if (v->fd[i] > 0) {
            close(v->fd[i]);
        }
    }
    vmring_clear(v);
}

void ft_vmring_set_gate(struct ft_vmring *v, enum ft_gate gate)
{
    __atomic_store_n(&v->ring.page->gate, (uint64_t)gate, __ATOMIC_RELEASE);
}

void ft_vmring_set_acked(struct ft_vmring *v, uint64_t position,
                         uint64_t lease_until)
{
    struct ft_ring_page *p = v->ring.page;

    __atomic_store_n(&p->lease_until, lease_until, __ATOMIC_RELEASE);
    __atomic_store_n(&p->acked, position, __ATOMIC_RELEASE);
}

uint64_t ft_vmring_executed(const struct ft_vmring *v)
{
    return __atomic_load_n(&v->ring.page->executed, __ATOMIC_ACQUIRE);
}

uint64_t ft_vmring_committed(const struct ft_vmring *v)
{
    return __atomic_load_n(&v->ring.page->committed, __ATOMIC_ACQUIRE);
}

void ft_vmring_bell(struct ft_vmring *v, int which)
{
    /* One that is full is ringing already; one that QEMU has closed wakes
     * nobody. */
    (void)send(v->fd[which], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool ft_vmring_hush(struct ft_vmring *v, int which)
{
    uint8_t rings[4096];
    ssize_t n = recv(v->fd[which], rings, sizeof(rings), MSG_DONTWAIT);

    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}
