/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store.h - an arbiter's back end, as the roles' drivers use it
 *
 * Carries out the effects of the core (arbiter.h) on one VM's record. Work is
 * done in a thread, one operation after the other; storage that hangs never
 * blocks the loop. There is no time-out here: the core has one, and ignores
 * answers that come after it. While an operation hangs at most one other
 * waits behind it (the newest): what the core has given up is not begun.
 *
 * URI: "file:/DIR" (file.h).
 */
#ifndef TAS_STORE_H
#define TAS_STORE_H

#include <ev.h>

#include "common/host/err.h"
#include "shared-disk/arbiter.h"

/* For whom the records are written and read. */
struct tas_who {
    uint8_t vm[16];
    uint8_t pair[16];
    uint8_t side;      /* of that pair: enum tas_side */
    uint8_t nonce[16]; /* of this incarnation of the agent; not zero */
    char host[64];
};

struct tas_answer {
    enum tas_event_kind kind; /* TAS_EV_READ, _WROTE or _PREPARED */
    uint32_t number;
    enum tas_status status;
    struct tas_record seen; /* READ with TAS_OK */
    char owner[64];         /* READ: the owner's host, or "" */
    struct ft_err err;      /* TAS_UNKNOWN: why; for messages */
};

struct tas_store;

/* answer(arg) comes in the loop. Checks the URI's form only: the storage is
 * first looked at by the thread. NULL: err. */
struct tas_store *tas_store_open(struct ev_loop *loop, const char *uri,
                                 const struct tas_who *who,
                                 void (*answer)(const struct tas_answer *a,
                                                void *arg),
                                 void *arg, struct ft_err *err);
/* Begin TAS_DO_READ, TAS_DO_WRITE or TAS_DO_PREPARE. answer() follows, unless the storage
 * hangs or a newer one took its place. Never calls answer() itself. */
void tas_store_do(struct tas_store *s, const struct tas_effect *effect);
/* No answer comes any more; an operation begun may still land. NULL allowed. */
void tas_store_close(struct tas_store *s);

#endif
