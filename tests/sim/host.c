/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host.c - an agent in the simulation: the shipped cores and a thin driver
 *
 * What the product's drivers do with libev, TLS and threads is done here with
 * sim_after(). An agent that is stopped takes no event; it may also be stopped
 * between a core's decision and the effects of it.
 */
#include "sim.h"

#include <string.h>

static const struct ft_timing timing = FT_TIMING_DEFAULT;

enum { TICK_MS = 5 };
static uint64_t links, pairs;

ft_ns host_clock(int h)
{
    return hosts[h].offset + sim_now + sim_now / 1000000 * hosts[h].drift_ppm;
}

/* ---- the queue in front of the cores ------------------------------------ */

static void push(int h, const struct item *item)
{
    struct agent *a = &hosts[h].agent;

    if (!a->alive) {
        return;
    }
    if (a->count == QUEUE) {
        sim_broken("an agent's queue is bounded (the simulation's own)");
        return;
    }
    a->queue[(a->first + a->count++) % QUEUE] = *item;
}

void agent_pri_event(int h, enum pri_event_kind kind, uint64_t position)
{
    struct item item = { .pri = true,
                         .pe = { .kind = kind, .position = position } };

    push(h, &item);
    agent_wake(h);
}

void agent_bak_event(int h, enum bak_event_kind kind, uint64_t position)
{
    struct item item = {
        .be = { .kind = kind, .position = position, .ok = true }
    };

    push(h, &item);
    agent_wake(h);
}

/* ---- the channel -------------------------------------------------------- */

enum { IN_FLIGHT = 4096 };
static struct flight {
    uint64_t link;
    struct item item;
} flights[IN_FLIGHT];
static uint64_t flight_count;

static ft_ns latency(void)
{
    ft_ns ns = sim_between(MS / 10, 3 * MS);

    return sim_now < net.spike_until ? ns + sim_between(0, 900 * MS) : ns;
}

static void arrive(int to, uint64_t tag, uint64_t flight, uint64_t from_boot)
{
    struct flight *f = &flights[flight % IN_FLIGHT];
    struct agent *a = &hosts[to].agent;

    (void)tag;
    if (net.cut) { /* what a host has not got rid of dies with it */
        if (hosts[1 - to].up && hosts[1 - to].boots == from_boot) {
            ft_ns at = sim_now + 20 * MS;

            net.last[to] = net.last[to] > at ? net.last[to] : at;
            sim_after(20 * MS, arrive, to, NULL, flight, from_boot);
        }
        return;
    }
    if (a->alive && a->link == f->link) {
        push(to, &f->item);
        agent_wake(to);
    }
}

static void send_item(int h, uint64_t link, const struct item *item)
{
    int to = 1 - h;
    ft_ns at = sim_now + latency();

    if (!link) {
        return;
    }
    if (at <= net.last[to]) {
        at = net.last[to] + 1;
    }
    net.last[to] = at;
    flights[flight_count % IN_FLIGHT] = (struct flight){ link, *item };
    sim_after(at - sim_now, arrive, to, NULL, flight_count++, hosts[h].boots);
}

static void to_primary(int h, enum pri_event_kind kind, uint64_t position,
                       ft_ns stamp)
{
    struct item item = {
        .pri = true,
        .pe = { .kind = kind, .position = position, .stamp = stamp }
    };

    send_item(h, hosts[h].agent.link, &item);
}

static void to_backup(int h, enum bak_event_kind kind, uint64_t position,
                      ft_ns stamp, enum lc_end_reason code)
{
    struct item item = { .be = { .kind = kind,
                                 .position = position,
                                 .stamp = stamp,
                                 .code = code } };

    send_item(h, hosts[h].agent.link, &item);
}

static void close_link(int h)
{
    struct agent *a = &hosts[h].agent;

    if (a->link && hosts[h].up) {
        if (a->role == PRIMARY) {
            to_backup(h, BAK_EV_CLOSED, 0, 0, 0);
        } else {
            to_primary(h, PRI_EV_CLOSED, 0, 0);
        }
    }
    a->link = 0;
}

void network_reset(void)
{
    for (int h = 0; h < HOSTS; h++) {
        struct agent *a = &hosts[h].agent;

        if (a->alive && a->link) {
            a->link = 0;
            if (a->role == PRIMARY) {
                agent_pri_event(h, PRI_EV_CLOSED, 0);
            } else {
                agent_bak_event(h, BAK_EV_CLOSED, 0);
            }
        }
    }
}

static void heard(int to, uint64_t tag, uint64_t link, uint64_t b)
{
    (void)tag, (void)b;
    if (hosts[to].agent.alive && hosts[to].agent.link == link) {
        if (hosts[to].agent.role == PRIMARY) {
            agent_pri_event(to, PRI_EV_HEARD, 0);
        } else {
            agent_bak_event(to, BAK_EV_HEARD, 0);
        }
    }
}

static void heartbeat(int h)
{
    if (!net.cut && !sim_fault(500)) {
        sim_after(latency(), heard, 1 - h, NULL, hosts[h].agent.link, 0);
    }
}

static void refused(int h, uint64_t tag, uint64_t generation, uint64_t b)
{
    struct agent *a = &hosts[h].agent;

    (void)tag, (void)b;
    if (a->role == PRIMARY && a->pri.state == PRI_ST_CONNECTING &&
        a->pri.next == generation) {
        agent_pri_event(h, PRI_EV_CONNECT_FAILED, 0);
    }
}

/* The second connection is open, or the first one broke meanwhile. */
static void connected(int h, uint64_t tag, uint64_t generation, uint64_t link)
{
    struct agent *a = &hosts[h].agent;

    (void)tag;
    if (a->role == PRIMARY && a->pri.state == PRI_ST_CONNECTING &&
        a->pri.next == generation) {
        agent_pri_event(h,
                        a->link == link ? PRI_EV_CONNECTED
                                        : PRI_EV_CONNECT_FAILED,
                        0);
    }
}

static void connect_peer(int h, uint64_t tag, uint64_t generation, uint64_t b)
{
    struct agent *a = &hosts[h].agent, *o = &hosts[1 - h].agent;
    struct item hello = { .be = { .kind = BAK_EV_CONNECTED,
                                  .detect = timing.detect,
                                  .lease = timing.lease,
                                  .margin = timing.margin / 2 } };
    struct ft_timing own = timing;

    (void)tag, (void)b;
    if (a->role != PRIMARY || a->pri.state != PRI_ST_CONNECTING ||
        a->pri.next != generation) {
        return;
    }
    if (net.cut || !hosts[1 - h].up || !o->alive || o->role != NOBODY ||
        hosts[1 - h].qemu.mode != GONE || o->stopped_until > sim_now ||
        sim_fault(200)) {
        sim_after(500 * MS, refused, h, &a->life, generation, 0);
        return;
    }
    o->role = BACKUP;
    o->pair = a->pair;
    o->received = 0;
    own.detect /= 2; /* the primary's hold; its margin is the smaller one */
    own.lease /= 2;
    bak_init(&o->bak, &own, generation);
    tas_init(&o->tas, &TAS_TIMING_DEFAULT);
    hosts[1 - h].qemu.mode = LOADS;
    a->link = o->link = ++links;
    push(1 - h, &hello);
    agent_wake(1 - h);
    agent_pri_event(h, PRI_EV_WELCOMED, 0);
    /* A busy host may take longer over TLS than the peer waits in silence. */
    sim_after(sim_chance(1000) ? sim_between(0, 2500 * MS) : latency(),
              connected, h, &a->life, generation, a->link);
}

/* ---- the storage -------------------------------------------------------- */

static bool same_record(const struct record *x, const struct record *y)
{
    return x->kind == y->kind && x->generation == y->generation &&
           x->pair == y->pair && x->host == y->host;
}

static void tas_event(int h, const struct tas_event *ev);
static void storage_replies(int h, uint64_t tag, uint64_t number,
                            uint64_t what);

static ft_ns storage_delay(void)
{
    return sim_now < storage_slow_until ? sim_between(0, 3000 * MS)
                                        : sim_between(MS / 5, 10 * MS);
}

/* Replies wait for an agent that is stopped. */
static void reply(int h, uint64_t number, enum tas_event_kind kind,
                  enum tas_status status)
{
    sim_after(sim_between(MS / 5, 5 * MS), storage_replies, h,
              &hosts[h].agent.life, number, (uint64_t)(kind << 8 | status));
}

static void storage_replies(int h, uint64_t tag, uint64_t number,
                            uint64_t what)
{
    struct agent *a = &hosts[h].agent;
    struct tas_event ev = { .kind = (enum tas_event_kind)(what >> 8),
                            .number = (uint32_t)number,
                            .status = (enum tas_status)(what & 255) };

    (void)tag;
    if (a->stopped_until > sim_now) {
        sim_after(a->stopped_until - sim_now, storage_replies, h, &a->life,
                  number, what);
        return;
    }
    if (ev.kind == TAS_EV_READ) {
        ev.seen.kind = a->seen.kind;
        ev.seen.generation = a->seen.generation;
        ev.seen.same_pair = a->seen.pair == a->pair;
        ev.seen.mine = a->seen.kind == TAS_OWNED && ev.seen.same_pair &&
                       a->seen.host == h;
    }
    tas_event(h, &ev);
}

static void read_record(int h, uint64_t tag, uint64_t number, uint64_t b)
{
    struct agent *a = &hosts[h].agent;
    bool ok = storage_up && !sim_fault(200);

    (void)tag, (void)b;
    if (ok && number == a->tas.number) {
        a->seen = record;
    }
    reply(h, number, TAS_EV_READ, ok ? TAS_OK : TAS_UNKNOWN);
}

struct writing {
    struct record expect, desired;
    uint32_t number;
    int tries;
};
enum { WRITINGS = 256 };
static struct writing writings[WRITINGS];
static uint64_t writing_count;

/* A write lands whether or not its writer still lives. */
static void write_record(int h, uint64_t tag, uint64_t which, uint64_t life)
{
    struct writing *w = &writings[which % WRITINGS];
    struct agent *a = &hosts[h].agent;
    enum tas_status status = TAS_MISCOMPARE;

    (void)tag;
    if (!storage_up) {
        if (w->tries++ < 40 && !sim_fault(200)) {
            sim_after(100 * MS, write_record, h, NULL, which, life);
        }
        return;
    }
    if (same_record(&record, &w->expect)) {
        guest_record_changes(&w->desired);
        record = w->desired;
        status = TAS_OK;
        sim_tell(h, "the record is %s(%llu)",
                 record.kind == TAS_FREE ? "free" : "owned",
                 (unsigned long long)record.generation);
    }
    if (life == a->life && !sim_fault(800)) { /* else the reply is lost */
        reply(h, w->number, TAS_EV_WROTE, status);
    }
}

static void prepare_take(int h, uint64_t tag, uint64_t number, uint64_t b)
{
    (void)tag, (void)b;
    reply(h, number, TAS_EV_PREPARED,
          storage_up && !sim_fault(200) ? TAS_OK : TAS_UNKNOWN);
}

/* What the arbiter's core has found out, to the role's. */
static void arbiter_said(int h, enum tas_result result)
{
    const struct agent *a = &hosts[h].agent;
    enum tas_op op = a->tas.op;
    struct item item = { 0 };

    if (a->role == PRIMARY) {
        item.pri = true;
        item.pe.kind = op == TAS_OP_PREPARE ? PRI_EV_PREPARED
                     : op == TAS_OP_FREE    ? PRI_EV_FREED
                                            : PRI_EV_ARBITRATED;
        item.pe.generation = a->tas.generation;
        item.pe.ok = result == TAS_RES_DONE || result == TAS_RES_WON;
    } else {
        item.be.kind = op == TAS_OP_PREPARE ? BAK_EV_PREPARED
                                            : BAK_EV_ARBITRATED;
        item.be.ok = result == TAS_RES_WON;
    }
    push(h, &item);
    agent_wake(h);
}

static void tas_event(int h, const struct tas_event *event)
{
    struct agent *a = &hosts[h].agent;
    struct tas_event ev = *event;
    struct tas_update up;
    const char *wrong;

    ev.now = host_clock(h);
    tas_step(&a->tas, &ev, &up);
    wrong = tas_invariant(&a->tas);
    if (wrong) {
        sim_broken(wrong);
    }
    for (unsigned i = 0; i < up.count; i++) {
        const struct tas_effect *e = &up.effect[i];
        struct writing *w;

        switch (e->kind) {
        case TAS_DO_PREPARE:
            sim_after(storage_delay(), prepare_take, h, &a->life, e->number,
                      0);
            break;
        case TAS_DO_READ:
            sim_after(storage_delay(), read_record, h, &a->life, e->number,
                      0);
            break;
        case TAS_DO_WRITE:
            w = &writings[writing_count % WRITINGS];
            *w = (struct writing){
                .expect = a->seen,
                .number = e->number,
                .desired = { e->desired, e->generation, a->pair,
                             e->desired == TAS_OWNED ? h : 0 },
            };
            sim_after(storage_delay(), write_record, h, NULL, writing_count++,
                      a->life);
            break;
        case TAS_DO_RESULT:
            sim_tell(h, "the arbiter says: %s(%llu)",
                     tas_result_name(e->result),
                     (unsigned long long)a->tas.generation);
            arbiter_said(h, e->result);
            break;
        case TAS_DO_COUNT:
            break;
        }
    }
}

static void tas_begin(int h, enum tas_op op, uint64_t generation)
{
    struct tas_event ev = { .kind = op ? TAS_EV_BEGIN : TAS_EV_STOP,
                            .op = op,
                            .generation = generation };

    tas_event(h, &ev);
}

/* ---- effects ------------------------------------------------------------ */

static void probed(int h, uint64_t tag, uint64_t a, uint64_t b)
{
    struct item item = { .be = { .kind = BAK_EV_DISK } };

    (void)tag, (void)a, (void)b;
    item.be.ok = storage_up && hosts[h].qemu.stopped_until <= sim_now;
    push(h, &item);
    agent_wake(h);
}

static void pri_carry_out(int h, const struct pri_effect *e)
{
    struct agent *a = &hosts[h].agent;
    struct page *page = &hosts[h].qemu.page;

    switch (e->kind) {
    case PRI_DO_CONNECT:
        a->pair = ++pairs;
        sim_after(latency(), connect_peer, h, &a->life, e->generation, 0);
        break;
    case PRI_DO_START_CLONE:
        page->gate = PRI_GATE_FREE;
        page->acked = 0;
        page->lease_until = 0;
        qemu_start_clone(h, 1 - h, e->generation);
        break;
    case PRI_DO_CANCEL_CLONE:
        qemu_cancel_clone(h);
        break;
    case PRI_DO_SEND_HEARTBEAT:
        heartbeat(h);
        break;
    case PRI_DO_SEND_ENTRIES:
        to_backup(h, BAK_EV_ENTRIES, e->position, e->stamp, 0);
        break;
    case PRI_DO_SHUT_GATE:
        page->gate = PRI_GATE_SHUT;
        agent_pri_event(h, PRI_EV_SHUT, hosts[h].qemu.committed + 1);
        break;
    case PRI_DO_PREPARE_TAKE:
        tas_begin(h, TAS_OP_PREPARE, e->generation);
        break;
    case PRI_DO_WRITE_FREE:
        tas_begin(h, TAS_OP_FREE, e->generation);
        break;
    case PRI_DO_SEND_PROTECTED:
        to_backup(h, BAK_EV_PROTECTED, e->position, 0, 0);
        break;
    case PRI_DO_OPEN_GATE:
    case PRI_DO_RELEASE:
        page->acked = e->position;
        page->lease_until = e->lease_until;
        if (e->kind == PRI_DO_OPEN_GATE) {
            page->gate = PRI_GATE_RULE;
        }
        qemu_release(h);
        break;
    case PRI_DO_ARBITRATE:
        tas_begin(h, TAS_OP_TAKE, e->generation);
        break;
    case PRI_DO_STOP_ARBITER:
        tas_begin(h, TAS_OP_NONE, 0);
        break;
    case PRI_DO_GO_ALONE:
        qemu_go_alone(h);
        break;
    case PRI_DO_FENCE:
        qemu_kill(h);
        break;
    case PRI_DO_SEND_RELINQUISH:
        to_backup(h, BAK_EV_RELINQUISH, e->position, 0, 0);
        guest_told_relinquish(h, a->pri.generation);
        break;
    case PRI_DO_SEND_RELINQUISH_ACK:
        to_backup(h, BAK_EV_RELINQUISH_ACK, e->position, 0, 0);
        break;
    case PRI_DO_SEND_END:
        to_backup(h, BAK_EV_END, 0, 0, e->code);
        break;
    case PRI_DO_SEND_CLONE_FAILED:
        to_backup(h, BAK_EV_CLONE_FAILED, 0, 0, 0);
        break;
    case PRI_DO_CLOSE:
        close_link(h);
        break;
    case PRI_DO_COUNT:
        break;
    }
}

static void bak_carry_out(int h, const struct bak_effect *e)
{
    struct agent *a = &hosts[h].agent;

    switch (e->kind) {
    case BAK_DO_LOAD: /* part of the clone, see guest.c */
        break;
    case BAK_DO_SEND_HEARTBEAT:
        heartbeat(h);
        break;
    case BAK_DO_SEND_ACK:
        a->received = a->bak.received;
        to_primary(h, PRI_EV_ACK, e->position, e->stamp);
        break;
    case BAK_DO_SEND_LOADED:
        to_primary(h, PRI_EV_LOADED, e->position, 0);
        break;
    case BAK_DO_SEND_DIVERGED:
        to_primary(h, PRI_EV_DIVERGED, e->position, 0);
        break;
    case BAK_DO_SEND_RELINQUISH:
        to_primary(h, PRI_EV_RELINQUISH, e->position, 0);
        guest_told_relinquish(h, a->bak.generation);
        break;
    case BAK_DO_SEND_RELINQUISH_ACK:
        to_primary(h, PRI_EV_RELINQUISH_ACK, e->position, 0);
        break;
    case BAK_DO_SEND_CLONE_FAILED:
        to_primary(h, PRI_EV_CLONE_FAILED, 0, 0);
        break;
    case BAK_DO_CLOSE:
        close_link(h);
        break;
    case BAK_DO_PROBE_DISK:
        sim_after(sim_between(MS, 20 * MS), probed, h, &a->life, 0, 0);
        break;
    case BAK_DO_PREPARE_TAKE:
        tas_begin(h, TAS_OP_PREPARE, e->generation);
        break;
    case BAK_DO_ARBITRATE:
        tas_begin(h, TAS_OP_TAKE, e->generation);
        break;
    case BAK_DO_STOP_ARBITER:
        tas_begin(h, TAS_OP_NONE, 0);
        break;
    case BAK_DO_FENCE_PEER:
        agent_bak_event(h, BAK_EV_PEER_FENCED, 0);
        break;
    case BAK_DO_GO_LIVE:
        qemu_go_live(h, e->position);
        break;
    case BAK_DO_BECOME_PRIMARY:
        a->role = PRIMARY;
        pri_init(&a->pri, &timing, e->generation);
        break;
    case BAK_DO_KILL_QEMU:
        qemu_kill(h);
        break;
    case BAK_DO_COUNT:
        break;
    }
}

static void carry_out(int h)
{
    struct agent *a = &hosts[h].agent;
    struct pri_update pu = a->pri_late;
    struct bak_update bu = a->bak_late;

    a->late = false;
    a->pri_late.count = a->bak_late.count = 0;
    for (unsigned i = 0; i < pu.count; i++) {
        pri_carry_out(h, &pu.effect[i]);
    }
    for (unsigned i = 0; i < bu.count; i++) {
        bak_carry_out(h, &bu.effect[i]);
    }
}

static const char *step_pri(int h, struct pri_event *ev)
{
    struct agent *a = &hosts[h].agent;
    enum pri_state before = a->pri.state;

    if (a->role != PRIMARY || !pri_expects(&a->pri, ev->kind)) {
        return NULL; /* meant for a role that this agent left */
    }
    ev->now = host_clock(h);
    pri_step(&a->pri, ev, &a->pri_late);
    if (a->pri.state != before) {
        sim_tell(h, "primary %llu: %s -> %s on %s",
                 (unsigned long long)a->pri.generation,
                 pri_state_name(before), pri_state_name(a->pri.state),
                 pri_event_name(ev->kind));
        stat_protected += a->pri.state == PRI_ST_PROTECTED;
    }
    return pri_invariant(&a->pri);
}

static const char *step_bak(int h, struct bak_event *ev)
{
    struct agent *a = &hosts[h].agent;
    enum bak_state before = a->bak.state;

    if (a->role != BACKUP || !bak_expects(&a->bak, ev->kind)) {
        return NULL;
    }
    ev->now = host_clock(h);
    bak_step(&a->bak, ev, &a->bak_late);
    if (a->bak.state != before) {
        sim_tell(h, "backup %llu: %s -> %s on %s",
                 (unsigned long long)a->bak.generation,
                 bak_state_name(before), bak_state_name(a->bak.state),
                 bak_event_name(ev->kind));
    }
    return bak_invariant(&a->bak);
}

void agent_wake(int h)
{
    struct agent *a = &hosts[h].agent;

    if (a->draining) {
        return;
    }
    a->draining = true;
    while (a->alive && !sim_failed && a->stopped_until <= sim_now) {
        struct item *item = &a->queue[a->first];
        const char *wrong;

        if (a->late) {
            carry_out(h);
            continue;
        }
        if (!a->count) {
            break;
        }
        a->first = (a->first + 1) % QUEUE;
        a->count--;
        wrong = item->pri ? step_pri(h, &item->pe) : step_bak(h, &item->be);
        if (wrong) {
            sim_broken(wrong);
        }
        a->late = true;
        if (sim_fault(2)) {
            agent_stop(h, sim_between(0, 3000 * MS));
        }
    }
    a->draining = false;
}

/* ---- an agent's life ---------------------------------------------------- */

static void lockstepd_restarts(int h, uint64_t tag, uint64_t a, uint64_t b)
{
    (void)tag, (void)a, (void)b;
    agent_start(h);
}

static void tick(int h, uint64_t tag, uint64_t x, uint64_t y)
{
    struct agent *a = &hosts[h].agent;
    ft_ns now = host_clock(h);

    (void)tag, (void)x, (void)y;
    sim_after(TICK_MS * MS, tick, h, &a->life, 0, 0);
    if (a->stopped_until > sim_now) {
        return;
    }
    if (tas_deadline(&a->tas) <= now) {
        tas_event(h, &(struct tas_event){ .kind = TAS_EV_TIMEOUT });
    }
    if (a->role == PRIMARY && pri_deadline(&a->pri) <= now) {
        agent_pri_event(h, PRI_EV_TIMEOUT, 0);
    } else if (a->role == BACKUP && bak_deadline(&a->bak) <= now) {
        agent_bak_event(h, BAK_EV_TIMEOUT, 0);
    }
    agent_wake(h);
    if (hosts[h].qemu.mode == GONE && !a->count &&
        ((a->role == PRIMARY &&
          (a->pri.state == PRI_ST_ENDED || a->pri.state == PRI_ST_FENCED)) ||
         (a->role == BACKUP &&
          (a->bak.state == BAK_ST_ENDED || a->bak.state == BAK_ST_FENCED)))) {
        close_link(h);
        a->role = NOBODY;
    }
    if (sim_chance(60)) {
        agent_protect(h);
    }
}

void agent_start(int h)
{
    struct agent *a = &hosts[h].agent;
    struct qemu *q = &hosts[h].qemu;
    uint64_t life = a->life;

    if (!hosts[h].up || a->alive) {
        return;
    }
    memset(a, 0, sizeof *a);
    a->life = life;
    a->alive = true;
    hosts[h].boots++;
    tas_init(&a->tas, &TAS_TIMING_DEFAULT);
    sim_after(TICK_MS * MS, tick, h, &a->life, 0, 0);
    if (q->mode != RUNS && q->mode != RECORDS) {
        return;
    }
    a->role = PRIMARY;
    a->pair = q->pair;
    pri_init(&a->pri, &timing, q->mode == RUNS ? q->generation : 0);
    if (q->mode == RECORDS) {
        struct item item = { .pri = true,
                             .pe = { .kind = PRI_EV_ORPHAN,
                                     .generation = q->generation } };
        push(h, &item);
        if (q->off_at) { /* QEMU says it again to a new agent */
            agent_pri_event(h, PRI_EV_POWERED_OFF, q->off_at);
        }
        agent_wake(h);
    }
}

void agent_kill(int h)
{
    struct agent *a = &hosts[h].agent;
    struct qemu *q = &hosts[h].qemu;

    if (!a->alive) {
        return;
    }
    close_link(h);
    a->alive = false;
    a->life++;
    if (q->mode == LOADS || q->mode == REPLAYS) {
        qemu_kill(h);
    } else if (q->mode == RECORDS) {
        q->orphaned = true;
    }
    sim_after(sim_between(50 * MS, 300 * MS), lockstepd_restarts, h, &a->life,
              0, 0);
}

static void resume(int h, uint64_t tag, uint64_t a, uint64_t b)
{
    (void)tag, (void)a, (void)b;
    agent_wake(h);
}

void agent_stop(int h, ft_ns for_how_long)
{
    struct agent *a = &hosts[h].agent;

    if (a->alive && a->stopped_until < sim_now + for_how_long) {
        sim_tell(h, "the agent is stopped for %lld ms",
                 (long long)(for_how_long / MS));
        a->stopped_until = sim_now + for_how_long;
        sim_after(for_how_long, resume, h, &a->life, 0, 0);
    }
}

void agent_protect(int h)
{
    struct agent *a = &hosts[h].agent;
    struct item item = { .pri = true, .pe = { .kind = PRI_EV_PROTECT } };

    if (a->role != PRIMARY || a->pri.state != PRI_ST_ALONE ||
        hosts[h].qemu.mode != RUNS || !storage_up) {
        return;
    }
    item.pe.generation = record.generation > a->pri.highest
                           ? record.generation + 1
                           : a->pri.highest + 1;
    push(h, &item);
    agent_wake(h);
}
