/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmring.h - one session's shared memory: ring, gate and their bells
 *
 * The agent makes a fresh one for each generation and direction and hands the
 * descriptors to QEMU with VL_CLONE or VL_INCOMING. The memfd is sealed, so
 * that neither side can shrink it under the other.
 *
 * A bell is a pair of sockets, an end for each side, and any bytes in it mean
 * "look". QEMU may have been taken over by its guest and do to its own end what
 * it likes, but our end is ours: we never wait there.
 */
#ifndef FT_ROLE_VMRING_H
#define FT_ROLE_VMRING_H

#include "common/ring.h"
#include "common/host/err.h"

/* The order in which the descriptors travel. */
enum {
    FT_VMRING_MEMFD,
    FT_VMRING_DATA,
    FT_VMRING_SPACE,
    FT_VMRING_GATE,
    FT_VMRING_FDS
};

struct ft_vmring {
    struct ft_ring ring;
    int fd[FT_VMRING_FDS];   /* ours */
    int qemu[FT_VMRING_FDS]; /* to be sent to QEMU, until they are */
    void *map;
    size_t map_bytes;
};

/* size: bytes of the data area, a power of two. The gate begins as `gate`. */
int ft_vmring_create(struct ft_vmring *v, uint64_t size, enum ft_gate gate,
                     struct ft_err *err);
/* Harmless on a zeroed or destroyed one. */
void ft_vmring_destroy(struct ft_vmring *v);
static inline bool ft_vmring_is_open(const struct ft_vmring *v)
{
    return v->map != NULL;
}

/* The gate's words, each with release order; the caller rings the bell. */
void ft_vmring_set_gate(struct ft_vmring *v, enum ft_gate gate);
void ft_vmring_set_acked(struct ft_vmring *v, uint64_t position,
                         uint64_t lease_until);
uint64_t ft_vmring_executed(const struct ft_vmring *v);
uint64_t ft_vmring_committed(const struct ft_vmring *v);

/* QEMU has got its ends, or will not. */
void ft_vmring_sent(struct ft_vmring *v);

/* Ring, or empty, one of the bells. False: the other side has closed it, and it
 * is to be watched no more. */
void ft_vmring_bell(struct ft_vmring *v, int which);
bool ft_vmring_hush(struct ft_vmring *v, int which);

#endif
