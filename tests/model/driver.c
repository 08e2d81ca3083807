/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver.c - what the shipped cores ask for, done in the explorer's world
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "steps.h"

/* The effects' words, for the trace. */
static const char *pri_effect_name(enum pri_effect_kind k);
static const char *bak_effect_name(enum bak_effect_kind k);
FT_WORDS(pri_effect_name, pri_effect_kind, PRI_EFFECTS)
FT_WORDS(bak_effect_name, bak_effect_kind, BAK_EFFECTS)

bool tracing;
char trace_text[1024];
struct step now;
const char *const host[SLOTS] = { "A", "B", "C" };

void say(const char *fmt, ...)
{
    size_t n = strlen(trace_text);
    va_list ap;

    if (!tracing) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(trace_text + n, sizeof(trace_text) - n, fmt, ap);
    va_end(ap);
}

void wrong(const char *promise)
{
    if (now.wrong == NULL) {
        now.wrong = promise;
    }
}

/* The storage. */

bool storage_is(const struct record *r)
{
    return memcmp(r, &now.w.record, sizeof(*r)) == 0;
}

bool storage_has_room(const struct slot *h, bool take)
{
    return !now.from->full || (take && h->prepared);
}

void storage_set(uint8_t kind, uint8_t generation, uint8_t owner)
{
    struct record *r = &now.w.record;

    if (generation < r->generation ||
        (generation == r->generation && kind < r->kind)) {
        wrong("I10: the arbiter's record went back");
    }
    if (r->kind == TAS_OWNED && generation == r->generation &&
        owner != r->owner) {
        wrong("I10: a generation changed its owner");
    }
    r->kind = kind;
    r->generation = generation;
    r->owner = kind == TAS_OWNED ? owner : 0;
    say("; the record is %s(%u)", kind == TAS_OWNED ? "owned" : "free",
        generation);
    if (kind == TAS_OWNED) {
        say(" by %s", host[owner]);
    }
}

/* Has slot s the right to be the only one of generation g? */
static bool may_go(unsigned s, unsigned g)
{
    const struct record *r = &now.w.record;
    unsigned peer;

    if (g == 0) { /* its QEMU is gone already */
        return true;
    }
    peer = s == g ? now.w.primary[g - 1] - 1u : g;
    return !(now.w.bound & 1u << (g - 1)) ||
           (r->kind == TAS_OWNED && r->generation == g && r->owner == s) ||
           now.w.slot[peer].mode == GONE;
}

/* Is what the arbiter's core found out true? */
static void judge(unsigned s, enum tas_op op, uint64_t generation,
                  enum tas_result result)
{
    const struct record *r = &now.w.record;
    bool mine = r->kind == TAS_OWNED && r->generation == generation &&
                r->owner == s;
    bool gone = r->generation > generation || (r->generation == generation &&
                                               r->kind == TAS_OWNED && !mine);

    if (op == TAS_OP_TAKE && result == TAS_RES_WON && !mine) {
        wrong("I3: told to have won what is not on record");
    }
    if (op == TAS_OP_TAKE && result == TAS_RES_LOST && !gone) {
        wrong("I8: told to have lost what nobody else owns");
    }
    if (op == TAS_OP_FREE && result == TAS_RES_DONE && !gone && !mine &&
        (r->kind != TAS_FREE || r->generation != generation)) {
        wrong("rule 8: told that a record is free that is not");
    }
}

/* What the arbiter's core found out, to the role's. */
static void tell_role(unsigned s, const struct tas *t)
{
    static const enum pri_event_kind pri[] = {
        [TAS_OP_FREE] = PRI_EV_FREED,
        [TAS_OP_TAKE] = PRI_EV_ARBITRATED,
        [TAS_OP_PREPARE] = PRI_EV_PREPARED,
    };
    bool ok = t->result == TAS_RES_WON || t->result == TAS_RES_DONE;

    if (now.w.slot[s].role == PRIMARY) {
        pri_happens(s, (struct pri_event){ .kind = pri[t->op],
                                           .generation = t->generation,
                                           .ok = ok });
    } else {
        bak_happens(s, (struct bak_event){ .kind = t->op == TAS_OP_PREPARE
                                                     ? BAK_EV_PREPARED
                                                     : BAK_EV_ARBITRATED,
                                           .ok = ok });
    }
}

void tas_happens(unsigned s, struct tas_event ev)
{
    struct slot *h = &now.w.slot[s];
    struct tas_update up;
    struct tas t;

    tas_thaw(&t, h);
    ev.now = NOW;
    ev.number = 1;
    tas_step(&t, &ev, &up);
    if (t.state == TAS_ST_PAUSING) { /* no step of interest: reads again */
        ev.kind = TAS_EV_TIMEOUT;
        ev.now = tas_deadline(&t);
        tas_step(&t, &ev, &up);
    }
    if (tas_invariant(&t) != NULL) {
        wrong(tas_invariant(&t));
    }
    /* Whatever was written before and has not landed may land later. */
    if (h->write == ISSUED) {
        unsigned bit = h->write_generation - 1u;

        if (h->desired == TAS_OWNED) {
            h->late_takes |= (uint8_t)(1u << bit);
        } else {
            h->late_frees |= (uint8_t)(1u << bit);
            h->late_expect[bit] = h->expect;
        }
    }
    h->write = NO_WRITE;
    tas_freeze(h, &t);
    for (unsigned i = 0; i < up.count; i++) {
        const struct tas_effect *e = &up.effect[i];

        if (e->kind == TAS_DO_WRITE) {
            h->write = ISSUED;
            h->desired = (uint8_t)e->desired;
            h->write_generation = (uint8_t)e->generation;
            h->expect = (struct record){ (uint8_t)e->expect.kind,
                                         (uint8_t)e->expect.generation, 0 };
            if (e->expect.kind == TAS_OWNED) {
                h->expect.owner = now.w.record.owner;
            }
        }
        if (e->kind == TAS_DO_RESULT) {
            judge(s, t.op, t.generation, e->result);
        }
        if (e->kind == TAS_DO_RESULT) {
            say("; %s: %s", host[s], tas_result_name(e->result));
            tell_role(s, &t);
        }
    }
}

void arbiter(unsigned s, enum tas_event_kind kind, enum tas_op op,
             uint64_t generation)
{
    tas_happens(s, (struct tas_event){ .kind = kind,
                                       .op = op,
                                       .generation = generation });
}

/* Generation 2's preparation is made at once: nothing depends on it there. */
static void prepare_take(unsigned s, unsigned g)
{
    arbiter(s, TAS_EV_BEGIN, TAS_OP_PREPARE, g);
    if (g == GENERATIONS) {
        tas_happens(s, (struct tas_event){ .kind = TAS_EV_PREPARED });
    }
}

/* The channel. */

static void send(struct channel *c, int d, enum message_type type,
                 uint64_t position, ft_ns stamp)
{
    struct message *m;

    if (c == NULL || c->cut[d] || c->closed[1 - d]) {
        return; /* nobody will ever read it */
    }
    if (c->count[d] == QUEUE) {
        now.impossible = true;
        return;
    }
    m = &c->queue[d][c->count[d]++];
    m->type = (uint8_t)type;
    m->position = type == M_ENTRIES || type == M_ACK || type == M_PROTECTED
                    ? (uint8_t)position
                    : 0;
    m->stamp = 0;
    if (type == M_ENTRIES || type == M_ACK) {
        ft_ns n = (stamp - NOW) / TICK;

        m->stamp = (int8_t)(stamp == 0 ? 127 : n < -1 ? -1 : n);
    }
}

void close_side(struct channel *c, int d)
{
    if (c != NULL) {
        c->closed[d] = 1;
        c->count[1 - d] = 0;
        memset(c->queue[1 - d], 0, sizeof(c->queue[0]));
    }
}

void cut(struct channel *c, int d)
{
    c->cut[d] = 1;
    c->count[d] = 0;
    memset(c->queue[d], 0, sizeof(c->queue[d]));
}

/* The primary's driver. */

void page_store(unsigned s)
{
    struct slot *h = &now.w.slot[s];
    struct channel *c = world_channel(&now.w, s);

    if (h->mode == RECORDS && h->gate == PRI_GATE_FREE &&
        h->pri.gate != PRI_GATE_FREE && c != NULL) {
        /* the open batch's outputs have left as well */
        c->out = (uint8_t)(h->committed + 1);
    }
    h->gate = h->pri.gate;
    h->page_acked = h->pri.acked;
    h->page_lease = h->pri.lease;
    h->stopped = 0;
}

static void pri_effect(unsigned s, const struct pri_effect *e,
                       struct channel *c)
{
    struct slot *h = &now.w.slot[s];

    say(" %s", pri_effect_name(e->kind));
    switch (e->kind) {
    case PRI_DO_CONNECT:
    case PRI_DO_START_CLONE:
    case PRI_DO_CANCEL_CLONE:
    case PRI_DO_SEND_HEARTBEAT:
        break;
    case PRI_DO_SEND_ENTRIES:
        send(c, 0, M_ENTRIES, e->position, e->stamp);
        break;
    case PRI_DO_SHUT_GATE:
    case PRI_DO_OPEN_GATE:
    case PRI_DO_RELEASE:
        if (now.stop_at_page) {
            h->stopped = 1;
            say(" (stopped before it)");
        } else {
            page_store(s);
        }
        break;
    case PRI_DO_PREPARE_TAKE:
        prepare_take(s, (unsigned)e->generation);
        break;
    case PRI_DO_WRITE_FREE:
        arbiter(s, TAS_EV_BEGIN, TAS_OP_FREE, e->generation);
        break;
    case PRI_DO_ARBITRATE:
        arbiter(s, TAS_EV_BEGIN, TAS_OP_TAKE, e->generation);
        break;
    case PRI_DO_STOP_ARBITER:
        arbiter(s, TAS_EV_STOP, TAS_OP_NONE, 0);
        break;
    case PRI_DO_SEND_PROTECTED:
        if (now.w.record.generation < h->pri.generation) {
            wrong("rule 8: PROTECTED is sent before free(g) is on record");
        }
        send(c, 0, M_PROTECTED, e->position, 0);
        now.w.bound |= (uint8_t)(1u << (h->pri.generation - 1));
        break;
    case PRI_DO_GO_ALONE:
        if (!may_go(s, h->generation)) {
            wrong("I3: the primary goes alone without the grant");
        }
        if (h->pri.state == PRI_ST_ENDED) {
            h->killed = 1; /* it only waited for leave to exit */
        }
        break;
    case PRI_DO_FENCE:
        h->killed = 1;
        break;
    case PRI_DO_SEND_RELINQUISH:
        if (h->mode != GONE) {
            wrong("rule 6: RELINQUISH before QEMU was reaped");
        }
        send(c, 0, M_RELINQUISH, 0, 0);
        break;
    case PRI_DO_SEND_RELINQUISH_ACK:
        send(c, 0, M_RELINQUISH_ACK, 0, 0);
        break;
    case PRI_DO_SEND_END:
        send(c, 0,
             e->code == LC_END_POWER_OFF ? M_END_POWER_OFF : M_END_UNPROTECT,
             0, 0);
        break;
    case PRI_DO_SEND_CLONE_FAILED:
        send(c, 0, M_CLONE_FAILED, 0, 0);
        break;
    case PRI_DO_CLOSE:
        close_side(c, 0);
        break;
    case PRI_DO_COUNT:
        break;
    }
}

static bool pri_beats(const struct pri_update *up)
{
    for (unsigned i = 0; i < up->count; i++) {
        if (up->effect[i].kind == PRI_DO_SEND_HEARTBEAT) {
            return true;
        }
    }
    return false;
}

void pri_happens(unsigned s, struct pri_event ev)
{
    struct slot *h = &now.w.slot[s];
    struct channel *c = world_channel(&now.w, s);
    struct pri_update up;
    struct pri p;

    pri_thaw(&p, &h->pri);
    ev.now = NOW;
    if (!pri_expects(&p, ev.kind)) {
        wrong("the primary core does not expect what its driver says");
        say("; %s in state %s", pri_event_name(ev.kind),
            pri_state_name(p.state));
        return;
    }
    pri_step(&p, &ev, &up);
    if (pri_invariant(&p) != NULL) {
        wrong(pri_invariant(&p));
    }
    say("; %s is %s%s", host[s], pri_state_name(p.state),
        up.count ? ":" : "");
    pri_freeze(&h->pri, &p);
    if (pri_is_linked(&h->pri) &&
        (pri_deadline(&p) > NOW ||
         (ev.kind == PRI_EV_TIMEOUT && !pri_beats(&up)))) {
        wrong("rule 3: a primary with an open channel sends no heartbeat");
    }
    c = c != NULL ? c : world_channel(&now.w, s);
    for (unsigned i = 0; i < up.count; i++) {
        pri_effect(s, &up.effect[i], c);
    }
}

/* The backup's driver. */

static void bak_effect(unsigned s, const struct bak_effect *e)
{
    struct slot *h = &now.w.slot[s];
    struct channel *c = &now.w.channel[s - 1];

    say(" %s", bak_effect_name(e->kind));
    switch (e->kind) {
    case BAK_DO_LOAD:
    case BAK_DO_SEND_HEARTBEAT:
    case BAK_DO_PROBE_DISK:
    case BAK_DO_FENCE_PEER:
        break;
    case BAK_DO_SEND_ACK:
        send(c, 1, M_ACK, e->position, e->stamp);
        break;
    case BAK_DO_SEND_LOADED:
        send(c, 1, M_LOADED, 0, 0);
        break;
    case BAK_DO_SEND_DIVERGED:
        send(c, 1, M_DIVERGED, 0, 0);
        break;
    case BAK_DO_SEND_RELINQUISH:
        if (h->mode != GONE) {
            wrong("rule 6: RELINQUISH before the replica was reaped");
        }
        send(c, 1, M_RELINQUISH, 0, 0);
        break;
    case BAK_DO_SEND_RELINQUISH_ACK:
        send(c, 1, M_RELINQUISH_ACK, 0, 0);
        break;
    case BAK_DO_SEND_CLONE_FAILED:
        send(c, 1, M_CLONE_FAILED, 0, 0);
        break;
    case BAK_DO_CLOSE:
        close_side(c, 1);
        break;
    case BAK_DO_PREPARE_TAKE:
        prepare_take(s, (unsigned)e->generation);
        break;
    case BAK_DO_ARBITRATE:
        if (!(now.w.bound & 1u << (s - 1))) {
            wrong("rule 8: the backup contends before PROTECTED");
        }
        if (h->disk != DISK_READ) {
            wrong("rule 5: the backup contends with no proof, or an old one, "
                  "that it can read the disk");
        }
        arbiter(s, TAS_EV_BEGIN, TAS_OP_TAKE, e->generation);
        break;
    case BAK_DO_STOP_ARBITER:
        arbiter(s, TAS_EV_STOP, TAS_OP_NONE, 0);
        break;
    case BAK_DO_GO_LIVE:
        if (!may_go(s, s)) {
            wrong("I3: the backup goes live without the grant");
        }
        if (h->bak.executed != h->bak.received) {
            wrong("I4: the backup goes live before it executed all that it "
                  "received");
        }
        break;
    case BAK_DO_BECOME_PRIMARY: {
        struct pri p;

        pri_thaw(&p, &h->pri);
        p.generation = p.highest = e->generation;
        p.state = PRI_ST_ALONE;
        pri_freeze(&h->pri, &p);
        h->role = PRIMARY;
        break;
    }
    case BAK_DO_KILL_QEMU:
        h->killed = 1;
        break;
    case BAK_DO_COUNT:
        break;
    }
}

static bool bak_beats(const struct bak_update *up)
{
    for (unsigned i = 0; i < up->count; i++) {
        if (up->effect[i].kind == BAK_DO_SEND_HEARTBEAT) {
            return true;
        }
    }
    return false;
}

/* The truth about the disk and about the replica, beside what the core thinks
 * of them; and is the core right? */
static void replica_truth(struct slot *h, const struct bak *before,
                          const struct bak_event *ev, const struct bak *after)
{
    bool had_work = before->executed < before->received;

    if (ev->kind == BAK_EV_DISK) {
        h->disk = ev->ok ? DISK_READ : DISK_UNREAD;
    }
    if (ev->kind == BAK_EV_TIMEOUT && after->state == BAK_ST_PROTECTED &&
        had_work && h->still >= STALL) {
        wrong("rule 10: a replica that does not move is kept");
    }
    if (before->state == BAK_ST_PROTECTED && after->state == BAK_ST_ENDING &&
        after->reason == BAK_WHY_STALLED && (!had_work || h->still < STALL)) {
        wrong("rule 10: a replica is given up that moves or has no work");
    }
    if (after->executed > before->executed ||
        (!had_work && after->received > before->received)) {
        h->still = 0;
    }
}

void bak_happens(unsigned s, struct bak_event ev)
{
    struct slot *h = &now.w.slot[s];
    struct bak_update up;
    struct bak b, before;

    bak_thaw(&b, &h->bak, s);
    before = b;
    ev.now = ev.now != 0 ? ev.now : NOW;
    if (!bak_expects(&b, ev.kind)) {
        wrong("the backup core does not expect what its driver says");
        say("; %s in state %s", bak_event_name(ev.kind),
            bak_state_name(b.state));
        return;
    }
    bak_step(&b, &ev, &up);
    if (bak_invariant(&b) != NULL) {
        wrong(bak_invariant(&b));
    }
    say("; %s is %s%s", host[s], bak_state_name(b.state),
        up.count ? ":" : "");
    bak_freeze(&h->bak, &b);
    replica_truth(h, &before, &ev, &b);
    if (b.open && (bak_deadline(&b) > WITHIN_TICK ||
                   (ev.kind == BAK_EV_TIMEOUT && !bak_beats(&up)))) {
        wrong("rule 3: a backup with an open channel sends no heartbeat");
    }
    for (unsigned i = 0; i < up.count; i++) {
        bak_effect(s, &up.effect[i]);
    }
}
