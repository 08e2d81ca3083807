/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * world.h - everything that the explorer knows of two pairs in turn
 *
 * Theory of Operation
 *
 * Slot 0 is the host of the first primary, slot 1 that of generation 1's
 * backup, slot 2 that of generation 2's backup, whose primary is whoever
 * lived through generation 1; the loser stays where it is, as a zombie. A
 * world is bytes only, so that it can be compared and stored; to take a step
 * the shipped core is thawed from it and frozen again.
 *
 * Finite, because nothing absolute is kept:
 * - times are ticks relative to the owner's clock and cut off where no core
 *   can tell the difference any more (an expired lease is an expired lease);
 * - positions of the log are relative to what the primary knows to be
 *   acknowledged, and at most WINDOW batches are under way.
 *
 * One tick is `detect`, `lease`, `margin` and `stall` alike; `heartbeat`,
 * `retry` and `grace` are no time at all: each comes whenever it likes. The slots' clocks tick in
 * turn, so that over any stretch of time one may count one tick more or less
 * than another: unequal clocks, which the margin must cover.
 *
 * What the adversary may do at any time: let any event come first or never,
 * cut each direction of the channel, kill a QEMU or an agent, let a write to
 * the arbiter land at any later time or lose its reply, stop an agent between
 * its decision and the store into the gate's page, report a heartbeat that
 * nobody sent, fill the storage, power off, diverge, unprotect.
 */
#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "backup/machine.h"
#include "primary/machine.h"
#include "shared-disk/arbiter.h"

enum { SLOTS = 3, GENERATIONS = 2, QUEUE = 3, WINDOW = 2, STALL = 1 };

enum role { NOBODY, PRIMARY, BACKUP };
enum mode { GONE, RUNS, COPYING, RECORDS, REPLAYS };
enum write_state { NO_WRITE, ISSUED, LANDED, MISSED };
/* The truth about a backup's disk: never read, less than a tick ago (or since
 * the primary was lost), before that. */
enum disk { DISK_UNREAD, DISK_READ, DISK_READ_LONG_AGO };
enum message_type {
    M_ENTRIES,
    M_PROTECTED,
    M_RELINQUISH,
    M_RELINQUISH_ACK,
    M_END_UNPROTECT,
    M_END_POWER_OFF,
    M_CLONE_FAILED,
    M_ACK,
    M_LOADED,
    M_DIVERGED,
};

struct frozen_pri {
    uint8_t state, gate, generation, next, highest, flags;
    uint8_t sent, acked, awaited;
    int8_t stamp, lease, heard, logged, until;
};
struct frozen_bak {
    uint8_t state, flags, received, executed;
    uint8_t lease, margin; /* in ticks: what it counts with */
    uint8_t ready;         /* LOADING: loaded, prepared */
    int8_t promise, heard, logged, moved, until;
};
struct record {
    uint8_t kind, generation, owner; /* slot: it has one side in each pair */
};
struct slot {
    uint8_t role, agent, incarnation; /* 1: of the agent that came after */
    uint8_t stopped; /* between a decision and the store into the page */
    struct frozen_pri pri;
    struct frozen_bak bak;
    /* the arbiter's core and its writes */
    uint8_t tas_state, tas_op, tas_generation, tas_highest;
    uint8_t write, desired, write_generation;
    struct record expect;
    uint8_t prepared;   /* what a take of generation 1 needs is there */
    uint8_t late_takes; /* bit generation - 1 */
    uint8_t late_frees; /* bit generation - 1 */
    struct record late_expect[GENERATIONS];
    /* QEMU and the page */
    uint8_t mode, killed, told; /* told: the agent knows that it is gone */
    uint8_t disk;  /* REPLAYS: when it was last read, enum disk */
    uint8_t still; /* PROTECTED: ticks since the replica moved, or got
                           work, cut off at STALL */
    uint8_t generation, committed, diverged;
    uint8_t gate, page_acked;
    int8_t page_lease;
};
struct message {
    uint8_t type, position;
    int8_t stamp;
};
struct channel { /* direction 0: from the primary; 1: from the backup */
    uint8_t count[2], cut[2], closed[2]; /* closed: by the sender of it */
    uint8_t streamed;
    uint8_t out; /* an output has left that is bound to it; 0: received */
    uint8_t off; /* the guest powered off at it; 0: no */
    struct message queue[2][QUEUE];
};
struct world {
    struct slot slot[SLOTS];
    struct channel channel[GENERATIONS];
    struct record record;
    uint8_t primary[GENERATIONS]; /* slot + 1; 0: no such pair yet */
    uint8_t bound;                /* bit generation - 1: PROTECTED sent */
    uint8_t full;                 /* the storage takes no new file */
    uint8_t phase;                /* whose clock ticks next */
};

/* world.c: freezing, thawing, normal form, clocks */
#define TICK 4 /* units of ft_ns in a tick */
#define NOW (1000 * (ft_ns)TICK)
/* When a backup's time-out comes: within a tick, for what `detect` / 2 does. */
#define WITHIN_TICK (NOW + TICK / 2)
/* What the pair counts with. */
extern const struct ft_timing world_timing;
#define ANCHOR 4 /* where the acknowledged position is put */
void pri_thaw(struct pri *p, const struct frozen_pri *f);
void pri_freeze(struct frozen_pri *f, const struct pri *p);
void bak_thaw(struct bak *b, const struct frozen_bak *f, unsigned generation);
void bak_freeze(struct frozen_bak *f, const struct bak *b);
void tas_thaw(struct tas *t, const struct slot *s);
void tas_freeze(struct slot *s, const struct tas *t);
bool pri_is_linked(const struct frozen_pri *f);
bool bak_is_open(const struct slot *s);
/* The channel that slot s as a primary speaks on, or NULL. */
struct channel *world_channel(struct world *w, unsigned s);
void world_init(struct world *w);
void world_normalise(struct world *w);
/* Lets the next clock tick. False: no clock is looked at. */
bool world_tick(struct world *w);
/* NULL, or the promise that w breaks. */
const char *world_check(const struct world *w);
bool world_is_live(const struct world *w);
/* A side is alive and may still be granted the generation (I8). */
bool world_should_live(const struct world *w);

/* steps.c: what may happen. Calls each() with every world that may follow w,
 * in an order that depends on w alone. `wrong` is NULL, or the promise that
 * this step breaks. */
typedef void world_each(const struct world *next, const char *wrong,
                        void *opaque);
void world_successors(const struct world *w, world_each *each, void *opaque);
/* What the step was, for people; written only when tracing. */
extern unsigned generations; /* stop after so many */
extern bool tracing;
extern char trace_text[1024];

#endif
