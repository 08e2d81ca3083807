/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver.c - arbitration for a role's driver: the core, its clock, its store
 *
 * paper, 2.3; rule 4: an operation goes on until it is decided
 */
#include "shared-disk/driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/host/log.h"
#include "common/host/loop.h"
#include "shared-disk/file.h"
#include "shared-disk/store.h"

struct tas_driver {
    struct tas core;
    struct tas_store *store;
    struct ft_timer timer;
    char uri[TAS_URI_TEXT];
    void (*decided)(struct tas_driver *d, enum tas_op op, uint64_t generation,
                    enum tas_result result, void *arg);
    void *arg;
    char trouble[FT_ERR_TEXT];
    char owner[64]; /* that the last read told */
    unsigned depth;
    bool closed;
};

static bool under_way(const struct tas_driver *d)
{
    return d->core.state != TAS_ST_IDLE && d->core.state != TAS_ST_OVER;
}

static const char *op_name(enum tas_op op)
{
    return op == TAS_OP_TAKE ? "test-and-set"
         : op == TAS_OP_FREE ? "free record"
                             : "preparation for the test-and-set";
}

static void over(struct tas_driver *d, enum tas_result result)
{
    enum tas_op op = d->core.op;
    uint64_t generation = d->core.generation;

    d->trouble[0] = '\0';
    ft_info("arbiter %s: %s of generation %llu: %s%s%s", d->uri, op_name(op),
            (unsigned long long)generation, tas_result_name(result),
            result == TAS_RES_LOST ? " to " : "",
            result == TAS_RES_LOST ? d->owner : "");
    d->decided(d, op, generation, result, d->arg);
}

static void arbiter_step(struct tas_driver *d, struct tas_event *ev)
{
    struct tas_update up;
    unsigned i;

    ev->now = ft_boottime();
    d->depth++;
    tas_step(&d->core, ev, &up);
    for (i = 0; i < up.count && !d->closed; i++) {
        const struct tas_effect *e = &up.effect[i];

        ft_debug("arbiter %s: %s #%u", d->uri, tas_effect_name(e->kind),
                 e->number);
        if (e->kind == TAS_DO_RESULT) {
            over(d, e->result);
        } else {
            tas_store_do(d->store, e);
        }
    }
    if (!d->closed) {
        ft_timer_at(&d->timer, tas_deadline(&d->core));
    }
    if (--d->depth == 0 && d->closed) {
        free(d);
    }
}

/* The log says it once for each new reason, not for each attempt. */
static void note_trouble(struct tas_driver *d, const char *why)
{
    if (under_way(d) && strcmp(d->trouble, why)) {
        snprintf(d->trouble, sizeof(d->trouble), "%s", why);
        ft_warning("arbiter %s: %s of generation %llu is undecided: %s; "
                   "trying again",
                   d->uri, op_name(d->core.op),
                   (unsigned long long)d->core.generation, why);
    }
}

static void on_answer(const struct tas_answer *a, void *arg)
{
    struct tas_driver *d = arg;
    struct tas_event ev = {
        .kind = a->kind,
        .number = a->number,
        .status = a->status,
        .seen = a->seen,
    };

    if (a->kind == TAS_EV_READ && a->status == TAS_OK) {
        memcpy(d->owner, a->owner, sizeof(d->owner));
    }
    if (a->status == TAS_UNKNOWN) {
        note_trouble(d, a->err.text);
    } else if (a->kind == TAS_EV_READ && a->seen.kind == TAS_ABSENT &&
               d->core.op == TAS_OP_TAKE) {
        note_trouble(d, "arbiter: it has no record of this VM");
    }
    arbiter_step(d, &ev);
}

static void on_timer(struct ft_timer *t, void *arg)
{
    struct tas_driver *d = arg;
    struct tas_event ev = { .kind = TAS_EV_TIMEOUT };

    (void)t;
    if (tas_deadline(&d->core) > ft_boottime()) {
        ft_timer_at(&d->timer, tas_deadline(&d->core));
        return;
    }
    if (d->core.state != TAS_ST_PAUSING) {
        note_trouble(d, "arbiter: the storage does not answer");
    }
    arbiter_step(d, &ev);
}

struct tas_driver *tas_driver_open(
    struct ev_loop *loop, const char *uri, const ft_id *vm, const ft_id *pair,
    enum tas_side side, const ft_id *nonce, const char *host,
    void (*decided)(struct tas_driver *d, enum tas_op op, uint64_t generation,
                    enum tas_result result, void *arg),
    void *arg, struct ft_err *err)
{
    struct tas_driver *d = calloc(1, sizeof(*d));
    struct tas_who who;

    if (!d) {
        ft_err_set(err, ENOMEM, "arbiter %s: no memory", uri);
        return NULL;
    }
    memset(&who, 0, sizeof(who));
    memcpy(who.vm, vm->b, 16);
    memcpy(who.pair, pair->b, 16);
    who.side = (uint8_t)side;
    memcpy(who.nonce, nonce->b, 16);
    snprintf(who.host, sizeof(who.host), "%s", host);
    snprintf(d->uri, sizeof(d->uri), "%s", uri);
    d->decided = decided;
    d->arg = arg;
    tas_init(&d->core, &TAS_TIMING_DEFAULT);
    ft_timer_init(&d->timer, loop, on_timer, d);
    d->store = tas_store_open(loop, uri, &who, on_answer, d, err);
    if (!d->store) {
        free(d);
        return NULL;
    }
    return d;
}

void tas_driver_begin(struct tas_driver *d, enum tas_op op,
                      uint64_t generation)
{
    struct tas_event ev = {
        .kind = TAS_EV_BEGIN,
        .op = op,
        .generation = generation,
    };

    d->trouble[0] = '\0';
    arbiter_step(d, &ev);
}

void tas_driver_stop(struct tas_driver *d)
{
    struct tas_event ev = { .kind = TAS_EV_STOP };

    d->trouble[0] = '\0';
    arbiter_step(d, &ev);
}

const char *tas_driver_trouble(const struct tas_driver *d)
{
    return d && under_way(d) && d->trouble[0] ? d->trouble : NULL;
}

void tas_driver_close(struct tas_driver *d)
{
    if (!d || d->closed) {
        return;
    }
    ft_timer_stop(&d->timer);
    tas_store_close(d->store);
    d->closed = true;
    if (!d->depth) {
        free(d);
    }
}
