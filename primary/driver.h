/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver.h - the primary core's hands: channel, vmlink, ring, arbiter, clock
 *
 * One driver lives as long as a QEMU runs here by itself or as a primary: it
 * begins `alone`, is told to protect, and after a lost backup is alone again.
 * Everything happens in the caller's loop.
 */
#ifndef PRI_DRIVER_H
#define PRI_DRIVER_H

#include "role/host.h"

struct pri_driver;

struct pri_driver_config {
    struct ft_host_config host;
    lc_id pair;          /* of `generation` */
    uint64_t generation; /* whose grant we hold; 0: none */
    bool live;           /* it went live as a backup */
    const char *claim;   /* arbiter whose record of `generation`
                                           is still to be taken; NULL: none */
};

/* What the command says. All texts are copied. */
struct pri_pair {
    lc_id pair;
    uint64_t generation;
    const char *peer, *address, *arbiter;
    uint16_t port;
    uint32_t downtime_ms;
};

/* NULL only without memory. */
struct pri_driver *pri_driver_new(const struct pri_driver_config *c);
/* Closes everything and sends nothing. NULL is allowed. */
void pri_driver_free(struct pri_driver *d);

/* Begin; the state tells what follows. -1: refused, and nothing has
 * changed. */
int pri_driver_protect(struct pri_driver *d, const struct pri_pair *pair,
                       struct ft_err *err);
/* To be called before all others: QEMU was found recording for this
 * generation, with batches up to position. */
int pri_driver_orphan(struct pri_driver *d, const lc_id *pair,
                      uint64_t generation, uint64_t position,
                      const char *arbiter, struct ft_err *err);
void pri_driver_unprotect(struct pri_driver *d);

/* From the vmlink's owner. gone: the process is no more. */
void pri_driver_message(struct pri_driver *d, const struct lc_msg *msg);
void pri_driver_gone(struct pri_driver *d);

void pri_driver_status(struct pri_driver *d, struct ft_pair_status *s);
/* A pair exists, or one is being made or ended. */
bool pri_driver_is_busy(const struct pri_driver *d);
/* QEMU is gone or going, and nothing is left to do but to show why. */
bool pri_driver_is_over(const struct pri_driver *d);
/* This guest has been a primary (else it is an ordinary one). */
bool pri_driver_is_primary(const struct pri_driver *d);

#endif
