/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver.h - arbitration for a role's driver: the core, its clock, its storage
 *
 * Runs the core of arbiter.h for one VM over the back end that a URI names.
 * One operation at a time; it goes on until it is decided, however long the
 * storage is away, or until tas_driver_stop().
 */
#ifndef TAS_DRIVER_H
#define TAS_DRIVER_H

#include <ev.h>

#include "common/bytes.h"
#include "common/host/err.h"
#include "shared-disk/arbiter.h"
#include "shared-disk/block.tbl.h"

struct tas_driver;

/* pair, side: for which copy of the guest; nonce, host: who asks, for people
 * that read the record. decided(d, op, generation, result, arg): in the loop,
 * once for each operation; may begin the next or close d. Only the URI's form
 * is checked here. NULL: err. */
struct tas_driver *tas_driver_open(
    struct ev_loop *loop, const char *uri, const ft_id *vm, const ft_id *pair,
    enum tas_side side, const ft_id *nonce, const char *host,
    void (*decided)(struct tas_driver *d, enum tas_op op, uint64_t generation,
                    enum tas_result result, void *arg),
    void *arg, struct ft_err *err);
/* Drops what was under way (a write may still land). */
void tas_driver_begin(struct tas_driver *d, enum tas_op op,
                      uint64_t generation);
void tas_driver_stop(struct tas_driver *d);
/* Why the operation under way is not decided yet, for status: NULL when
 * nothing is under way or no attempt has failed. Lives until the next call
 * with d. NULL is allowed. */
const char *tas_driver_trouble(const struct tas_driver *d);
void tas_driver_close(struct tas_driver *d); /* NULL is allowed */

#endif
