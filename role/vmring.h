/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmring.h - one session's shared memory: ring, gate and their eventfds
 *
 * The agent makes a fresh one for each generation and direction and hands the
 * descriptors to QEMU with VL_CLONE or VL_INCOMING. The memfd is sealed, so
 * that neither side can shrink it under the other.
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
    int fd[FT_VMRING_FDS];
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

/* Write, or empty, one of the eventfds. */
void ft_vmring_bell(struct ft_vmring *v, int which);
void ft_vmring_hush(struct ft_vmring *v, int which);

#endif
