/* SPDX-License-Identifier: GPL-2.0-or-later */
/* world.c - the explorer's world: frozen cores, normal form, clocks */
#include "world.h"

#include <string.h>

const struct ft_timing world_timing = {
    .detect = TICK,
    .lease = TICK,
    .margin = TICK,
    .heartbeat = 0,
    .retry = 0,
    .grace = 0, /* any time is a good time */
    .hold = TICK,
    .stall = STALL * TICK,
};
/* What a backup is started with, before HELLO (see connect_steps()). */
static const struct ft_timing own_timing = {
    .detect = TICK / 2,
    .lease = 0,
    .margin = TICK,
    .stall = STALL * TICK,
};

static int8_t ticks(ft_ns t, int low, int high)
{
    ft_ns n = (t - NOW) / TICK;

    return (int8_t)(n < low ? low : n > high ? high : n);
}

static ft_ns at(int8_t n)
{
    return NOW + (ft_ns)n * TICK;
}

enum {
    F_RECORDING = 1,
    F_LOADED = 2,
    F_SHUT = 4,
    F_ORPHAN = 8,
    F_OFF = 16,
    F_GONE = 32,
    F_PREPARED = 64
};
enum { READY_LOADED = 1, READY_PREPARED = 2 };

void pri_thaw(struct pri *p, const struct frozen_pri *f)
{
    pri_init(p, &world_timing, f->generation);
    p->state = f->state;
    p->gate = f->gate;
    p->next = f->next;
    p->highest = f->highest;
    p->recording = f->flags & F_RECORDING;
    p->loaded = f->flags & F_LOADED;
    p->prepared = f->flags & F_PREPARED;
    p->shut = f->flags & F_SHUT;
    p->orphan = f->flags & F_ORPHAN;
    p->powered_off = f->flags & F_OFF;
    p->qemu_gone = f->flags & F_GONE;
    p->sent = f->sent;
    p->acked = f->acked;
    p->awaited = f->awaited;
    p->stamp = at(f->stamp);
    p->lease_until = at(f->lease);
    p->heard = at(f->heard);
    p->logged = at(f->logged);
    p->heartbeat = NOW;
    p->until = at(f->until);
}

bool pri_is_linked(const struct frozen_pri *f)
{
    switch (f->state) {
    case PRI_ST_CLONING:
    case PRI_ST_DRAINING:
    case PRI_ST_FREEING:
    case PRI_ST_ANNOUNCING:
    case PRI_ST_PROTECTED:
    case PRI_ST_ENDING:
    case PRI_ST_POWERING_OFF:
    case PRI_ST_RELINQUISHING:
        return true;
    default:
        return false;
    }
}

void pri_freeze(struct frozen_pri *f, const struct pri *p)
{
    memset(f, 0, sizeof(*f));
    f->state = (uint8_t)p->state;
    f->gate = (uint8_t)p->gate;
    f->generation = (uint8_t)p->generation;
    f->next = (uint8_t)p->next;
    f->highest = (uint8_t)p->highest;
    f->flags = (uint8_t)((p->recording ? F_RECORDING : 0) |
                         (p->loaded ? F_LOADED : 0) | (p->shut ? F_SHUT : 0) |
                         (p->orphan ? F_ORPHAN : 0) |
                         (p->powered_off ? F_OFF : 0) |
                         (p->prepared && p->state == PRI_ST_CLONING
                              ? F_PREPARED
                              : 0) |
                         (p->qemu_gone ? F_GONE : 0));
    switch (p->state) {
    case PRI_ST_DRAINING:
    case PRI_ST_FREEING:
    case PRI_ST_ENDING:
    case PRI_ST_POWERING_OFF:
    case PRI_ST_SUSPECTING:
    case PRI_ST_RELINQUISHING:
        f->until = ticks(p->until, 0, 100);
        break;
    default:
        break;
    }
    if (!pri_is_linked(f)) {
        return;
    }
    f->sent = (uint8_t)p->sent;
    f->acked = (uint8_t)p->acked;
    if ((p->state == PRI_ST_DRAINING && p->shut) ||
        p->state == PRI_ST_ANNOUNCING || p->state == PRI_ST_POWERING_OFF) {
        f->awaited = (uint8_t)p->awaited;
    }
    f->stamp = ticks(p->stamp, -1, 0);
    f->lease = ticks(p->lease_until, 0, 100);
    f->heard = ticks(p->heard, -1, 0);
    f->logged = ticks(p->logged, -1, 0);
}

enum {
    F_ANNOUNCED = 1,
    F_RELINQUISHED = 2,
    F_OPEN = 4,
    F_DISK = 8,
    F_WAITING = 16,
    F_BAK_GONE = 32,
    F_UNTIL = 64,
    F_PROVED = 128
};

void bak_thaw(struct bak *b, const struct frozen_bak *f, unsigned generation)
{
    bak_init(b, &own_timing, generation);
    if (f->state != BAK_ST_WAITING) {
        b->timing.detect = world_timing.detect;
        b->timing.lease = f->lease * TICK;
        b->timing.margin = f->margin * TICK;
    }
    b->state = f->state;
    b->loaded = f->ready & READY_LOADED;
    b->prepared = f->ready & READY_PREPARED;
    b->announced = f->flags & F_ANNOUNCED;
    b->relinquished = f->flags & F_RELINQUISHED;
    b->open = f->flags & F_OPEN;
    b->disk_ok = f->flags & F_DISK;
    b->waiting = f->flags & F_WAITING;
    b->qemu_gone = f->flags & F_BAK_GONE;
    b->received = f->received;
    b->executed = f->executed;
    b->promise = at(f->promise);
    b->heard = at(f->heard);
    b->logged = at(f->logged);
    /* Any proof of before the last tick is as good as none. */
    b->proved = f->flags & F_PROVED ? NOW : NOW - TICK - 1;
    b->moved = at(f->moved);
    b->heartbeat = NOW;
    b->until = f->flags & F_UNTIL ? at(f->until) : 0;
}

void bak_freeze(struct frozen_bak *f, const struct bak *b)
{
    bool listening = b->state == BAK_ST_LOADING ||
                     b->state == BAK_ST_LOADED ||
                     b->state == BAK_ST_PROTECTED;
    bool is_protected = b->state == BAK_ST_PROTECTED;
    /* in PROTECTED it only says when not to try again, and that is over */
    bool until = b->until != 0 && (!is_protected || b->until > NOW);

    memset(f, 0, sizeof(*f));
    f->state = (uint8_t)b->state;
    f->flags = (uint8_t)((b->announced ? F_ANNOUNCED : 0) |
                         (b->relinquished ? F_RELINQUISHED : 0) |
                         (b->open ? F_OPEN : 0) | (b->disk_ok ? F_DISK : 0) |
                         (b->waiting ? F_WAITING : 0) |
                         (b->qemu_gone ? F_BAK_GONE : 0) |
                         (until ? F_UNTIL : 0) |
                         (is_protected && b->proved > NOW - TICK ? F_PROVED
                                                                 : 0));
    if (b->state == BAK_ST_LOADING) {
        f->ready = (uint8_t)((b->loaded ? READY_LOADED : 0) |
                             (b->prepared ? READY_PREPARED : 0));
    }
    f->received = (uint8_t)b->received;
    f->executed = (uint8_t)b->executed;
    f->until = until ? ticks(b->until, 0, 100) : 0;
    if (is_protected) { /* without work it may be as long ago as it likes */
        f->moved = b->executed < b->received ? ticks(b->moved, -STALL, 0)
                                             : -STALL;
    }
    if (listening) {
        f->heard = ticks(b->heard, -1, 0);
        f->logged = ticks(b->logged, -1, 0);
    }
    if (listening) {
        f->lease = (uint8_t)(b->timing.lease / TICK);
        f->margin = (uint8_t)(b->timing.margin / TICK);
    }
    if (listening || b->state == BAK_ST_SUSPECTING) {
        f->promise = ticks(b->promise, 0, 100);
    }
}

/* The arbiter's core is given no time at all: it may time out whenever. */
void tas_thaw(struct tas *t, const struct slot *s)
{
    static const struct tas_timing none = { 0, 0 };

    tas_init(t, &none);
    t->state = s->tas_state;
    t->op = s->tas_op;
    t->generation = s->tas_generation;
    t->highest = s->tas_highest;
    t->number = 1;
}

void tas_freeze(struct slot *s, const struct tas *t)
{
    bool busy = t->state == TAS_ST_READING || t->state == TAS_ST_TRYING ||
                t->state == TAS_ST_PREPARING;

    s->tas_state = (uint8_t)(busy ? t->state : TAS_ST_IDLE);
    s->tas_op = (uint8_t)(busy ? t->op : 0);
    s->tas_generation = (uint8_t)(busy ? t->generation : 0);
    s->tas_highest = (uint8_t)t->highest;
}

bool bak_is_open(const struct slot *s)
{
    return s->role == BACKUP && s->agent && (s->bak.flags & F_OPEN);
}

static bool bak_is_bound(const struct slot *s)
{
    return s->role == BACKUP && s->agent && (s->bak.flags & F_ANNOUNCED) &&
           s->bak.state != BAK_ST_DIVERGED && s->bak.state < BAK_ST_LIVE;
}

static unsigned pri_pair(const struct frozen_pri *f)
{
    return f->next ? f->next : f->generation;
}

struct channel *world_channel(struct world *w, unsigned s)
{
    unsigned g = pri_pair(&w->slot[s].pri);

    if (g == 0 || w->primary[g - 1] != s + 1) {
        return NULL;
    }
    return &w->channel[g - 1];
}

void world_init(struct world *w)
{
    static const struct pri zero;
    struct pri p = zero;

    memset(w, 0, sizeof(*w));
    pri_init(&p, &world_timing, 0);
    w->slot[0].role = PRIMARY;
    w->slot[0].agent = 1;
    w->slot[0].mode = RUNS;
    pri_freeze(&w->slot[0].pri, &p);
    world_normalise(w);
}

/* Normal form. */

static void move(uint8_t *position, int by, int low)
{
    int n = *position + by;

    *position = (uint8_t)(n < low ? low : n > 14 ? 14 : n);
}

static void move_queue(struct channel *c, int by)
{
    for (int d = 0; d < 2; d++) {
        for (int i = 0; i < c->count[d]; i++) {
            struct message *m = &c->queue[d][i];

            if (m->type == M_ENTRIES || m->type == M_ACK ||
                m->type == M_PROTECTED) {
                move(&m->position, by, 0);
            }
        }
    }
}

static void drop_queue(struct channel *c, int d)
{
    memset(c->queue[d], 0, sizeof(c->queue[d]));
    c->count[d] = 0;
}

static void normalise_pair(struct world *w, unsigned g)
{
    struct slot *p, *b = &w->slot[g];
    struct channel *c = &w->channel[g - 1];
    bool p_on, b_on;
    int by = 0;

    if (w->primary[g - 1] == 0) {
        return;
    }
    p = &w->slot[w->primary[g - 1] - 1];
    p_on = p->role == PRIMARY && p->agent && pri_is_linked(&p->pri) &&
           pri_pair(&p->pri) == g;
    b_on = b->role == BACKUP && b->agent && b->bak.state != BAK_ST_FENCED &&
           b->bak.state != BAK_ST_ENDED;
    if (!p_on) { /* nobody listens to the backup, and no more comes */
        drop_queue(c, 1);
        c->cut[1] = c->closed[0] = 1;
    }
    if (!b_on || !bak_is_open(b)) {
        drop_queue(c, 0);
        c->cut[0] = c->closed[1] = 1;
    }
    if (p_on) {
        by = ANCHOR - p->pri.acked;
    } else if (b_on) {
        by = ANCHOR - b->bak.received;
    }
    if (p_on) {
        move(&p->pri.acked, by, 0);
        move(&p->pri.sent, by, 0);
        move(&p->committed, by, 0);
        if (p->pri.awaited) {
            move(&p->pri.awaited, by, ANCHOR - 1);
        }
    } else if (p->generation == g) {
        p->committed = 0;
    }
    if (c->out) {
        move(&c->out, by, 1);
    }
    if (c->off) {
        move(&c->off, by, 1);
    }
    if (p->generation == g) {
        if (p->mode == RECORDS && p->gate == PRI_GATE_RULE &&
            p->page_lease > 0 && (p_on || b_on)) {
            move(&p->page_acked, by, ANCHOR - 2);
        } else {
            p->page_acked = 0;
        }
    }
    if (b_on) {
        move(&b->bak.received, by, 0);
        move(&b->bak.executed, by, 0);
        if (b->bak.executed < b->bak.received) {
            b->bak.executed = (uint8_t)(b->bak.received - 1);
        }
        if (c->out <= b->bak.received) {
            c->out = 0;
        }
    } else if (b->role == BACKUP) {
        b->bak.received = b->bak.executed = 0;
        c->out = 0;
    }
    if (!p_on && !b_on) {
        memset(c, 0, sizeof(*c));
        return;
    }
    move_queue(c, by);
    if (!b_on || b->bak.state != BAK_ST_LOADING) {
        c->streamed = 0;
    }
}

/* A late write whose expectation can never be met again is no more. */
static void normalise_late(struct world *w, struct slot *s)
{
    for (unsigned g = 1; g <= GENERATIONS; g++) {
        bool free_now = w->record.kind == TAS_FREE &&
                        w->record.generation == g;

        if (!free_now && w->record.generation >= g) {
            s->late_takes &= (uint8_t) ~(1u << (g - 1));
        }
        if ((s->late_frees & 1u << (g - 1)) &&
            memcmp(&s->late_expect[g - 1], &w->record, sizeof(w->record)) !=
                0) {
            s->late_frees &= (uint8_t) ~(1u << (g - 1));
            memset(&s->late_expect[g - 1], 0, sizeof(struct record));
        }
    }
}

static bool may_output(const struct slot *s)
{
    switch (s->mode) {
    case RUNS:
    case COPYING:
        return true;
    case RECORDS:
        return s->gate == PRI_GATE_FREE ||
               (s->gate == PRI_GATE_RULE && s->page_lease > 0);
    default:
        return false;
    }
}

/* An agent that has nothing left to do, and never will. */
static bool is_spent(const struct slot *s)
{
    if (s->mode != GONE || !s->told || s->tas_state != TAS_ST_IDLE) {
        return false;
    }
    return s->role == PRIMARY
             ? s->pri.state == PRI_ST_ENDED || s->pri.state == PRI_ST_FENCED
             : s->bak.state == BAK_ST_ENDED || s->bak.state == BAK_ST_FENCED;
}

static void normalise_slot(struct slot *s)
{
    if (is_spent(s)) {
        s->agent = 0;
    }
    if (!s->agent) {
        memset(&s->pri, 0, sizeof(s->pri));
        memset(&s->bak, 0, sizeof(s->bak));
        s->stopped = 0;
        s->told = 0;
        s->tas_state = s->tas_op = s->tas_generation = s->tas_highest = 0;
    } else if (s->role == PRIMARY) {
        memset(&s->bak, 0, sizeof(s->bak));
    }
    if (s->mode != RECORDS) {
        s->gate = s->page_acked = 0;
        s->page_lease = 0;
        s->committed = 0;
        if (s->mode == GONE) {
            s->killed = 0;
        }
    } else if (s->gate != PRI_GATE_RULE) {
        s->page_lease = 0;
        s->page_acked = 0;
    }
    if (s->write == NO_WRITE) {
        s->desired = s->write_generation = 0;
        memset(&s->expect, 0, sizeof(s->expect));
    }
    if (s->mode != REPLAYS) {
        s->diverged = 0;
    }
    if (s->role != BACKUP || s->bak.state != BAK_ST_PROTECTED) {
        s->still = 0;
    }
    /* What the proof was worth is settled when it contends. */
    if (s->role != BACKUP || (s->bak.state != BAK_ST_PROTECTED &&
                              s->bak.state != BAK_ST_SUSPECTING)) {
        s->disk = 0;
    }
    if (s->mode == RUNS || s->mode == GONE || s->mode == REPLAYS) {
        s->generation = 0;
    }
}

/* Does this slot's clock matter now? */
static bool is_timed(const struct world *w, unsigned i)
{
    const struct slot *s = &w->slot[i];

    if (s->mode == RECORDS && s->page_lease > 0) {
        return true;
    }
    if (!s->agent) {
        return false;
    }
    if (s->role == PRIMARY) {
        return pri_is_linked(&s->pri) || s->pri.until > 0;
    }
    return s->role == BACKUP &&
           (s->bak.promise > 0 || s->bak.state == BAK_ST_LOADING ||
            s->bak.state == BAK_ST_LOADED ||
            s->bak.state == BAK_ST_PROTECTED ||
            (s->bak.state == BAK_ST_RELINQUISHING && s->bak.until > 0));
}

void world_normalise(struct world *w)
{
    unsigned turns = 0;

    for (unsigned s = 0; s < SLOTS; s++) {
        struct slot *h = &w->slot[s];

        /* Once a new pair is on its way, a loser is as good as dead. */
        if (w->primary[1] != 0 && s != 2 && w->primary[1] != s + 1 &&
            h->agent && !may_output(h) &&
            (h->role == PRIMARY ? h->pri.state == PRI_ST_FENCING
                                : h->bak.state == BAK_ST_FENCING)) {
            h->agent = 0;
            h->mode = GONE;
        }
        normalise_slot(&w->slot[s]);
    }
    for (unsigned g = 1; g <= GENERATIONS; g++) {
        normalise_pair(w, g);
    }
    for (unsigned s = 0; s < SLOTS; s++) {
        if (w->record.kind == TAS_OWNED || w->primary[1] != 0) {
            w->slot[s].prepared = w->full = 0; /* nobody needs it any more */
        }
        normalise_late(w, &w->slot[s]);
    }
    while (turns < SLOTS && !is_timed(w, w->phase)) {
        w->phase = (uint8_t)((w->phase + 1) % SLOTS);
        turns++;
    }
    if (turns == SLOTS) {
        w->phase = 0;
    }
}

/* Clocks. */

static void age(int8_t *t, int low)
{
    if (*t > low) {
        (*t)--;
    }
}

bool world_tick(struct world *w)
{
    struct slot *s = &w->slot[w->phase];
    struct channel *c;

    if (!is_timed(w, w->phase)) {
        return false;
    }
    age(&s->page_lease, 0);
    age(&s->pri.until, 0);
    age(&s->bak.until, 0);
    age(&s->bak.promise, 0);
    age(&s->bak.heard, -1);
    age(&s->bak.logged, -1);
    if (s->bak.state == BAK_ST_PROTECTED) {
        s->bak.flags &= (uint8_t)~F_PROVED;
        s->disk = s->disk == DISK_READ ? DISK_READ_LONG_AGO : s->disk;
        if (s->bak.executed < s->bak.received) {
            age(&s->bak.moved, -STALL);
            s->still += s->still < STALL;
        }
    }
    age(&s->pri.heard, -1);
    age(&s->pri.logged, -1);
    age(&s->pri.lease, 0);
    if (pri_is_linked(&s->pri)) {
        age(&s->pri.stamp, -1);
    } else {
        s->pri.heard = s->pri.logged = 0;
    }
    if (s->role == BACKUP && s->bak.state != BAK_ST_LOADING &&
        s->bak.state != BAK_ST_LOADED && s->bak.state != BAK_ST_PROTECTED) {
        s->bak.heard = s->bak.logged = 0;
    }
    c = s->role == PRIMARY && s->agent ? world_channel(w, w->phase) : NULL;
    if (c != NULL) {
        for (int d = 0; d < 2; d++) {
            for (int i = 0; i < c->count[d]; i++) {
                if (c->queue[d][i].type == M_ENTRIES ||
                    c->queue[d][i].type == M_ACK) {
                    age(&c->queue[d][i].stamp, -1);
                }
            }
        }
    }
    w->phase = (uint8_t)((w->phase + 1) % SLOTS);
    return true;
}

/* Promises. */

const char *world_check(const struct world *w)
{
    unsigned able = 0;

    for (unsigned i = 0; i < SLOTS; i++) {
        const struct slot *s = &w->slot[i];

        able += may_output(s);
        if (s->mode == RECORDS && s->gate == PRI_GATE_RULE &&
            s->page_lease > 0) {
            const struct slot *b = &w->slot[s->generation];

            if (bak_is_bound(b) && s->page_acked > b->bak.received) {
                return "I2: an output may leave that the backup has not "
                       "acknowledged";
            }
        }
        if (s->role == PRIMARY && s->agent && s->pri.state == PRI_ST_ENDED &&
            (s->pri.flags & F_OFF) && s->pri.generation != 0 &&
            w->primary[s->pri.generation - 1] == i + 1 &&
            w->slot[s->pri.generation].role == PRIMARY) {
            return "I6: the backup went live although the guest had "
                   "powered off";
        }
    }
    if (able > 1) {
        return "I1, I7: two sides may submit outputs at the same time";
    }
    return NULL;
}

bool world_is_live(const struct world *w)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if ((w->slot[i].mode == RUNS || w->slot[i].mode == COPYING) &&
            !w->slot[i].killed) {
            return true;
        }
    }
    return false;
}

/* May the agent in slot i still be granted generation g? */
static bool may_be_granted(const struct world *w, unsigned i, unsigned g)
{
    if (!(w->bound & 1u << (g - 1)) || w->record.generation < g) {
        return true;
    }
    return w->record.generation == g &&
           (w->record.kind == TAS_FREE || w->record.owner == i);
}

bool world_should_live(const struct world *w)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        const struct slot *s = &w->slot[i];

        if (!s->agent || s->killed) {
            continue;
        }
        if (s->role == PRIMARY && s->mode == RECORDS &&
            !(s->pri.flags & (F_OFF | F_GONE)) &&
            s->pri.state != PRI_ST_FENCING && s->pri.state != PRI_ST_ENDED &&
            may_be_granted(w, i, s->generation)) {
            return true;
        }
        if (s->role == BACKUP && s->mode == REPLAYS && bak_is_bound(s) &&
            !s->diverged && may_be_granted(w, i, i)) {
            if (w->channel[i - 1].off == 0) {
                return true;
            }
        }
    }
    return false;
}
