/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver.h - the backup core's hands: channel, vmlink, ring, arbiter, clock
 *
 * One driver lives from the moment that a primary is expected to the replica's
 * end or go-live. Everything happens in the caller's loop.
 */
#ifndef BAK_DRIVER_H
#define BAK_DRIVER_H

#include "role/host.h"

struct bak_driver;

struct bak_driver_config {
    struct ft_host_config host; /* its QEMU waits for a clone */
    /* The pair that is expected. Texts are copied. */
    lc_id pair;
    uint64_t generation;
    const char *peer, *arbiter;
};

/* NULL: err; nothing has changed. */
struct bak_driver *bak_driver_new(const struct bak_driver_config *c,
                                  struct ft_err *err);
/* Closes everything and sends nothing. NULL is allowed. */
void bak_driver_free(struct bak_driver *d);

/* An accepted socket whose preamble said `kind`. Takes fd, also on failure. */
int bak_driver_connection(struct bak_driver *d, enum lc_kind kind, int fd,
                          struct ft_err *err);
/* This host wants to be rid of its replica. */
void bak_driver_give_up(struct bak_driver *d);

/* From the vmlink's owner. gone: the process is no more. */
void bak_driver_message(struct bak_driver *d, const struct lc_msg *msg);
void bak_driver_gone(struct bak_driver *d);

void bak_driver_status(struct bak_driver *d, struct ft_pair_status *s);
/* The replica is no more, and nothing is left to do but to show why. */
bool bak_driver_is_over(const struct bak_driver *d);
/* It is the guest now: go on with pri_driver_new(). *claim: the arbiter's
 * record may still have to be taken, since the peer's RELINQUISH was enough
 * to go live. */
bool bak_driver_is_live(const struct bak_driver *d, bool *claim);

#endif
