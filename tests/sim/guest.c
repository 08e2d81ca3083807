/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest.c - QEMUs in the simulation, and what the outside sees of them
 *
 * The promises (I1 to I10 of docs/testing.md) are checked here against what
 * really happened: which output left at which position, who went live having
 * executed how much, who holds the record. Nothing is asked of the cores.
 */
#include "sim.h"

#include <string.h>

/* What really happened in a generation. */
static struct truth {
    int live, alone; /* host + 1 that went live, or on alone */
    uint64_t output; /* highest position an output was bound to */
    uint64_t off_at; /* the guest powered off at this position */
    bool off_seen;   /* ... and the outside saw it end */
    bool relinquished[HOSTS];
} truths[GENERATIONS];

uint64_t stat_failovers, stat_protected, stat_outputs, stat_alone;

static struct truth *truth(uint64_t generation)
{
    return &truths[generation % GENERATIONS];
}

/* ---- QEMU's words to its agent ------------------------------------------ */

struct word {
    bool pri;
    int kind;
    uint64_t position;
};
enum { WORDS = 1024 };
static struct word words[WORDS];
static uint64_t word_count;

static void spoken(int h, uint64_t tag, uint64_t which, uint64_t b)
{
    const struct word *w = &words[which % WORDS];

    (void)tag, (void)b;
    if (w->pri) {
        agent_pri_event(h, (enum pri_event_kind)w->kind, w->position);
    } else {
        agent_bak_event(h, (enum bak_event_kind)w->kind, w->position);
    }
}

static void say(int h, bool pri, int kind, uint64_t position)
{
    struct agent *a = &hosts[h].agent;
    ft_ns at = sim_now + sim_between(0, MS);

    if (!a->alive) {
        return;
    }
    if (at <= a->vmlink_last) {
        at = a->vmlink_last + 1;
    }
    a->vmlink_last = at;
    words[word_count % WORDS] = (struct word){ pri, kind, position };
    sim_after(at - sim_now, spoken, h, &a->life, word_count++, 0);
}

/* ---- the outside -------------------------------------------------------- */

static void output_left(int h, uint64_t generation, uint64_t position)
{
    struct truth *t = truth(generation);

    stat_outputs++;
    if (t->live && t->live != h + 1) {
        sim_broken("I7: after a side is live the other submits no output");
    }
    if (position > t->output) {
        t->output = position;
    }
}

void guest_told_relinquish(int h, uint64_t generation)
{
    if (hosts[h].qemu.mode != GONE &&
        hosts[h].qemu.generation == generation) {
        sim_broken("RELINQUISH is said only when QEMU is reaped");
    }
    truth(generation)->relinquished[h] = true;
}

void guest_record_changes(const struct record *to)
{
    if (to->generation < record.generation ||
        (to->generation == record.generation &&
         (record.kind != TAS_FREE || to->kind != TAS_OWNED))) {
        sim_broken("I10: records of the arbiter never go back");
    }
}

static bool granted(int h, uint64_t generation)
{
    return (record.kind == TAS_OWNED && record.generation == generation &&
            record.host == h) ||
           truth(generation)->relinquished[1 - h];
}

static void check_live(int h, uint64_t generation, uint64_t executed)
{
    struct truth *t = truth(generation);
    const struct agent *a = &hosts[h].agent;

    if (t->alone || (t->live && t->live != h + 1)) {
        sim_broken("I1: at most one side is live in a generation");
    }
    if (t->output > executed) {
        sim_broken("I2: an output left that the new primary never made");
    }
    if (!granted(h, generation)) {
        sim_broken("I3: live only with the grant or the peer's RELINQUISH");
    }
    if (executed != a->received) {
        sim_broken("I4: live only after consuming all that it received");
    }
    if (t->off_seen) {
        sim_broken("I6: after a power-off the backup never goes live");
    }
    t->live = h + 1;
    stat_failovers++;
}

void guest_settled(void)
{
    unsigned alive = 0, serving = 0;

    for (int h = 0; h < HOSTS; h++) {
        const struct qemu *q = &hosts[h].qemu;

        alive += q->mode != GONE;
        serving += q->mode == RUNS || (q->mode == RECORDS && !q->orphaned &&
                                       q->page.gate != PRI_GATE_SHUT);
    }
    if (alive && !serving) {
        sim_broken("I8: one side alive and storage reachable: live at last");
    }
    if (serving > 1) {
        sim_broken("I1: one guest, one owner");
    }
}

/* ---- a QEMU's life ------------------------------------------------------ */

static bool stopped(const struct qemu *q)
{
    return q->stopped_until > sim_now;
}

void qemu_release(int h)
{
    struct qemu *q = &hosts[h].qemu;
    unsigned n = 0;

    if (q->mode != RECORDS || stopped(q) || q->orphaned) {
        return;
    }
    for (; n < q->held_count; n++) {
        bool rule = q->page.gate == PRI_GATE_RULE &&
                    q->held[n] <= q->page.acked &&
                    host_clock(h) < q->page.lease_until;

        if (q->page.gate != PRI_GATE_FREE && !rule) {
            break;
        }
        output_left(h, q->generation, q->held[n]);
    }
    memmove(q->held, q->held + n, (q->held_count - n) * sizeof *q->held);
    q->held_count -= n;
}

static void commit(int h)
{
    struct qemu *q = &hosts[h].qemu;

    q->committed++;
    if (sim_chance(4000) && q->held_count < HELD) {
        q->held[q->held_count++] = q->committed;
    }
    say(h, true, PRI_EV_LOG, q->committed);
    qemu_release(h);
}

static void replay(int h)
{
    struct qemu *q = &hosts[h].qemu;
    const struct truth *t = truth(q->generation);
    uint64_t received = hosts[h].agent.received;
    uint64_t left = received > q->executed ? received - q->executed : 0;

    if (!left) {
        return;
    }
    q->executed += 1 + sim_random(left < 20 ? left : 20);
    if (q->diverged_at && q->executed >= q->diverged_at) {
        say(h, false, BAK_EV_DIVERGED, q->executed);
        q->executed = q->diverged_at - 1;
        return;
    }
    if (t->off_at && q->executed >= t->off_at) {
        say(h, false, BAK_EV_POWERED_OFF, t->off_at);
        qemu_kill(h);
        return;
    }
    say(h, false, BAK_EV_EXECUTED, q->executed);
}

static void run(int h, uint64_t tag, uint64_t a, uint64_t b)
{
    struct qemu *q = &hosts[h].qemu;

    (void)tag, (void)a, (void)b;
    sim_after(sim_between(5 * MS, 30 * MS), run, h, &q->life, 0, 0);
    if (stopped(q)) {
        return;
    }
    switch (q->mode) {
    case RUNS:
        output_left(h, q->generation, 0);
        break;
    case RECORDS:
        qemu_release(h);
        if (!q->orphaned && !q->off_at && q->held_count < HELD) {
            commit(h);
        }
        break;
    case REPLAYS:
        replay(h);
        break;
    case GONE:
    case LOADS:
        break;
    }
}

void guest_begin(void)
{
    memset(truths, 0, sizeof truths);
}

void qemu_start(int h)
{
    hosts[h].qemu.mode = RUNS;
    sim_after(MS, run, h, &hosts[h].qemu.life, 0, 0);
}

void qemu_kill(int h)
{
    struct qemu *q = &hosts[h].qemu;
    bool replica = q->mode == LOADS || q->mode == REPLAYS;
    uint64_t life = q->life;

    if (q->mode == GONE) {
        return;
    }
    memset(q, 0, sizeof *q);
    q->life = life + 1;
    if (hosts[h].agent.role != NOBODY) {
        say(h, !replica,
            replica ? (int)BAK_EV_QEMU_DIED : (int)PRI_EV_QEMU_DIED, 0);
    }
}

void qemu_stop(int h, ft_ns for_how_long)
{
    struct qemu *q = &hosts[h].qemu;

    if (q->mode != GONE && q->stopped_until < sim_now + for_how_long) {
        sim_tell(h, "QEMU is stopped for %lld ms",
                 (long long)(for_how_long / MS));
        q->stopped_until = sim_now + for_how_long;
    }
}

/* ---- clone -------------------------------------------------------------- */

static void loaded(int h, uint64_t tag, uint64_t generation, uint64_t b)
{
    struct qemu *q = &hosts[h].qemu;

    (void)tag, (void)b;
    if (q->mode == LOADS) {
        q->mode = REPLAYS;
        q->generation = generation;
        sim_after(MS, run, h, &q->life, 0, 0);
        say(h, false, BAK_EV_LOADED, 0);
    }
}

static void copied(int h, uint64_t tag, uint64_t generation, uint64_t peer)
{
    struct qemu *q = &hosts[h].qemu, *to = &hosts[1 - h].qemu;
    struct agent *a = &hosts[h].agent;

    (void)tag;
    if (q->mode != RUNS || !a->alive || a->role != PRIMARY ||
        (a->pri.state != PRI_ST_CLONING &&
         a->pri.state != PRI_ST_CANCELLING)) {
        return;
    }
    if (stopped(q)) {
        sim_after(50 * MS, copied, h, &q->life, generation, peer);
        return;
    }
    if (a->pri.next != generation || to->life != peer || to->mode != LOADS ||
        net.cut || sim_fault(300)) {
        say(h, true, PRI_EV_CLONE_STOPPED, 0);
        return;
    }
    q->mode = RECORDS;
    q->generation = generation;
    q->pair = a->pair;
    q->committed = 0;
    q->held_count = 0;
    say(h, true, PRI_EV_CLONED, 0);
    sim_after(sim_between(5 * MS, 100 * MS), loaded, 1 - h, &to->life,
              generation, 0);
}

void qemu_start_clone(int from, int to, uint64_t generation)
{
    if (hosts[from].qemu.mode == RUNS) {
        sim_after(sim_between(100 * MS, 600 * MS), copied, from,
                  &hosts[from].qemu.life, generation, hosts[to].qemu.life);
    }
}

void qemu_cancel_clone(int h)
{
    /* copied() sees that nobody wants it any more, unless it was first */
    if (hosts[h].qemu.mode == RUNS) {
        sim_tell(h, "the clone is cancelled");
    }
}

/* ---- the end of a session ----------------------------------------------- */

static void goes_alone(int h, uint64_t tag, uint64_t generation, uint64_t b)
{
    struct qemu *q = &hosts[h].qemu;
    struct truth *t = truth(generation);

    (void)tag, (void)b;
    if (q->mode != RECORDS || q->generation != generation) {
        return;
    }
    if (stopped(q)) {
        sim_after(20 * MS, goes_alone, h, &q->life, generation, 0);
        return;
    }
    if (t->live) {
        sim_broken("I1: at most one side is live in a generation");
    }
    t->alone = h + 1;
    stat_alone++;
    q->mode = RUNS;
    q->orphaned = false;
    q->held_count = 0;
    say(h, true, PRI_EV_WENT_ALONE, 0);
    if (q->off_at) {
        t->off_seen = true;
        qemu_kill(h);
    }
}

void qemu_go_alone(int h)
{
    const struct agent *a = &hosts[h].agent;
    struct qemu *q = &hosts[h].qemu;

    if (q->mode != RECORDS) {
        return;
    }
    /* Bound by PROTECTED: then the record, or the peer, must say so. */
    if (a->pri.generation == q->generation && !granted(h, q->generation)) {
        sim_broken("I3: alone only with the grant or the peer's RELINQUISH");
    }
    sim_after(sim_between(0, 2 * MS), goes_alone, h, &q->life, q->generation,
              0);
}

static void goes_live(int h, uint64_t tag, uint64_t last, uint64_t b)
{
    struct qemu *q = &hosts[h].qemu;

    (void)tag, (void)b;
    if (q->mode != REPLAYS) {
        return;
    }
    if (stopped(q)) {
        sim_after(20 * MS, goes_live, h, &q->life, last, 0);
        return;
    }
    if (!storage_up || sim_fault(500)) {
        say(h, false, BAK_EV_LIVE_FAILED, 0);
        return;
    }
    check_live(h, q->generation, q->executed);
    q->mode = RUNS;
    q->pair = hosts[h].agent.pair;
    say(h, false, BAK_EV_WENT_LIVE, 0);
}

void qemu_go_live(int h, uint64_t last)
{
    sim_after(sim_between(2 * MS, 30 * MS), goes_live, h, &hosts[h].qemu.life,
              last, 0);
}

static void powering_off(int h, uint64_t tag, uint64_t until, uint64_t b)
{
    struct qemu *q = &hosts[h].qemu;
    struct truth *t = truth(q->generation);

    (void)tag, (void)b;
    if (q->mode != RECORDS) {
        return;
    }
    if (!stopped(q) && q->page.acked >= q->off_at && !q->orphaned) {
        t->off_seen = true;
        qemu_kill(h);
    } else if (!stopped(q) && sim_now > (ft_ns)until) {
        qemu_kill(h);
    } else {
        sim_after(5 * MS, powering_off, h, &q->life, until, 0);
    }
}

void qemu_power_off(int h)
{
    struct qemu *q = &hosts[h].qemu;

    if (q->mode != RECORDS || q->orphaned || stopped(q)) {
        return;
    }
    sim_tell(h, "the guest powers off");
    q->off_at = ++q->committed;
    truth(q->generation)->off_at = q->off_at;
    say(h, true, PRI_EV_LOG, q->committed);
    say(h, true, PRI_EV_POWERED_OFF, q->off_at);
    sim_after(5 * MS, powering_off, h, &q->life,
              (uint64_t)(sim_now + 1000 * MS), 0);
}
