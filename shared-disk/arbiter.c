/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * arbiter.c - the test-and-set on shared storage: a pure core
 *
 * Each rule of the storage stands above the code that obeys it. Who may ask
 * when is the roles' business.
 *
 * paper, 2.3; rule 4
 */
#include "shared-disk/arbiter.h"

#include <string.h>

static struct tas_effect *tas_do(struct tas_update *up,
                                 enum tas_effect_kind kind)
{
    struct tas_effect *e;

    if (up->count == TAS_UPDATE_MAX) {
        FT_ILLEGAL();
    }
    e = &up->effect[up->count++];
    memset(e, 0, sizeof(*e));
    e->kind = kind;
    return e;
}

static enum tas_kind tas_desired(const struct tas *t)
{
    return t->op == TAS_OP_TAKE ? TAS_OWNED : TAS_FREE;
}

/* Every attempt begins with a read. */
static void tas_read(struct tas *t, ft_ns now, struct tas_update *up)
{
    struct tas_effect *e = tas_do(up, TAS_DO_READ);

    t->state = TAS_ST_READING;
    t->until = now + t->timing.io;
    t->attempts++;
    e->number = ++t->number;
    e->desired = tas_desired(t);
}

/* A preparation needs no read: what is made for g takes no part until TAKE,
 * and that one looks. */
static void tas_prepare(struct tas *t, ft_ns now, struct tas_update *up)
{
    struct tas_effect *e = tas_do(up, TAS_DO_PREPARE);

    t->state = TAS_ST_PREPARING;
    t->until = now + t->timing.io;
    t->attempts++;
    e->number = ++t->number;
    e->generation = t->generation;
}

static void tas_attempt(struct tas *t, ft_ns now, struct tas_update *up)
{
    if (t->op == TAS_OP_PREPARE) {
        tas_prepare(t, now, up);
    } else {
        tas_read(t, now, up);
    }
}

/* Rule 4: an error or a time-out is unknown, so try again, for ever. */
static void tas_pause(struct tas *t, ft_ns now)
{
    t->state = TAS_ST_PAUSING;
    t->until = now + t->timing.retry;
}

static void tas_over(struct tas *t, enum tas_result result,
                     struct tas_update *up)
{
    t->state = TAS_ST_OVER;
    t->result = result;
    t->until = 0;
    tas_do(up, TAS_DO_RESULT)->result = result;
}

static void tas_write(struct tas *t, const struct tas_event *ev,
                      struct tas_update *up)
{
    struct tas_effect *e = tas_do(up, TAS_DO_WRITE);

    t->state = TAS_ST_TRYING;
    t->until = ev->now + t->timing.io;
    e->number = ++t->number;
    e->expect = ev->seen;
    e->desired = tas_desired(t);
    e->generation = t->generation;
}

/*
 * Rule 4: test-and-set is free(g) -> owned(g, me). Free is a positive record
 * that must be read; absence is an error, an older record than one seen before
 * is a stale read, and neither says anything. Records never go back below the
 * highest generation. Owned by me: an earlier try of this side won, and its
 * reply was lost, or the agent that made it.
 */
static void tas_look_take(struct tas *t, const struct tas_event *ev,
                          struct tas_update *up)
{
    const struct tas_record *r = &ev->seen;

    if (r->generation > t->generation) {
        tas_over(t, TAS_RES_LOST, up);
    } else if (r->generation < t->generation || !r->same_pair) {
        tas_pause(t, ev->now);
    } else if (r->kind == TAS_FREE) {
        tas_write(t, ev, up);
    } else {
        tas_over(t, r->mine ? TAS_RES_WON : TAS_RES_LOST, up);
    }
}

/* Putting free(g) on record is the running side's right alone, and needs a
 * positive read as well, be it "this store has no record of the VM". */
static void tas_look_free(struct tas *t, const struct tas_event *ev,
                          struct tas_update *up)
{
    const struct tas_record *r = &ev->seen;

    if (r->generation < t->generation) {
        tas_write(t, ev, up);
    } else if (r->generation == t->generation && r->kind == TAS_FREE &&
               r->same_pair) {
        tas_over(t, TAS_RES_DONE, up);
    } else {
        tas_over(t, TAS_RES_TAKEN, up);
    }
}

static void tas_look(struct tas *t, const struct tas_event *ev,
                     struct tas_update *up)
{
    bool absent = ev->seen.kind == TAS_ABSENT;

    if (ev->status != TAS_OK || ev->seen.generation < t->highest ||
        absent != (ev->seen.generation == 0)) {
        tas_pause(t, ev->now);
        return;
    }
    t->highest = ev->seen.generation;
    if (t->op == TAS_OP_TAKE) {
        tas_look_take(t, ev, up);
    } else {
        tas_look_free(t, ev, up);
    }
}

/* A miscompare is followed by a read: it may have been my own earlier try. */
static void tas_wrote(struct tas *t, const struct tas_event *ev,
                      struct tas_update *up)
{
    switch (ev->status) {
    case TAS_OK:
        t->highest = t->generation;
        tas_over(t, t->op == TAS_OP_TAKE ? TAS_RES_WON : TAS_RES_DONE, up);
        break;
    case TAS_MISCOMPARE:
        tas_read(t, ev->now, up);
        break;
    case TAS_UNKNOWN:
        tas_pause(t, ev->now);
        break;
    }
}

void tas_step(struct tas *t, const struct tas_event *ev,
              struct tas_update *up)
{
    up->count = 0;
    switch (ev->kind) {
    case TAS_EV_BEGIN:
        if (ev->op == TAS_OP_NONE || ev->generation == 0) {
            FT_ILLEGAL();
        }
        t->op = ev->op;
        t->generation = ev->generation;
        t->result = TAS_RES_NONE;
        t->attempts = 0;
        tas_attempt(t, ev->now, up);
        break;
    case TAS_EV_STOP:
        t->op = TAS_OP_NONE;
        t->state = TAS_ST_IDLE;
        t->until = 0;
        break;
    case TAS_EV_READ:
        if (t->state == TAS_ST_READING && ev->number == t->number) {
            tas_look(t, ev, up);
        }
        break;
    case TAS_EV_WROTE:
        if (t->state == TAS_ST_TRYING && ev->number == t->number) {
            tas_wrote(t, ev, up);
        }
        break;
    case TAS_EV_PREPARED:
        if (t->state != TAS_ST_PREPARING || ev->number != t->number) {
            break;
        }
        if (ev->status == TAS_OK) {
            tas_over(t, TAS_RES_DONE, up);
        } else {
            tas_pause(t, ev->now);
        }
        break;
    case TAS_EV_TIMEOUT:
        if (ev->now < tas_deadline(t)) {
            break;
        }
        if (t->state == TAS_ST_PAUSING) {
            tas_attempt(t, ev->now, up);
        } else {
            tas_pause(t, ev->now);
        }
        break;
    case TAS_EV_COUNT:
        FT_ILLEGAL();
    }
}

static bool is_at_work(const struct tas *t)
{
    return t->state != TAS_ST_IDLE && t->state != TAS_ST_OVER;
}

ft_ns tas_deadline(const struct tas *t)
{
    return is_at_work(t) ? t->until : FT_NEVER;
}

void tas_init(struct tas *t, const struct tas_timing *timing)
{
    memset(t, 0, sizeof(*t));
    t->timing = *timing;
}

const char *tas_invariant(const struct tas *t)
{
    bool at_work = is_at_work(t);

    if (at_work && t->op == TAS_OP_NONE) {
        return "only an operation reads or writes";
    }
    if (at_work && t->result != TAS_RES_NONE) {
        return "an operation has one result";
    }
    if (t->result == TAS_RES_WON && t->op != TAS_OP_TAKE &&
        t->op != TAS_OP_NONE) {
        return "only a test-and-set is won";
    }
    return NULL;
}

FT_WORDS(tas_effect_name, tas_effect_kind, TAS_EFFECTS)

const char *tas_result_name(enum tas_result r)
{
    static const char *const names[] = { "none", "done", "taken", "won",
                                         "lost" };

    _Static_assert(sizeof(names) / sizeof(names[0]) == TAS_RES_LOST + 1,
                   "one name for each");
    return r <= TAS_RES_LOST ? names[r] : "?";
}
