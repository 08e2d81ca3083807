/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * steps.c - what may happen in the explorer's world
 *
 * An adversary for a clock, a network, an arbiter, a QEMU and an operator.
 * Each step makes a copy, lets one thing happen to it and hands it on.
 */
#include <string.h>

#include "steps.h"

unsigned generations = GENERATIONS;

/* Generation 2 meets a smaller adversary, since it is explored beside every
 * remainder of generation 1: window 1, no stop before the page, no operator,
 * no divergence or power-off, no failing connection, clone, disk or fence, no
 * early proof of the disk, no heartbeat that is heard, a cut goes both ways. */
static bool is_small(unsigned g)
{
    return g == GENERATIONS;
}

static bool is_zombie(unsigned s)
{
    return now.from->primary[1] != 0 && s != 2 &&
           now.from->primary[1] != s + 1;
}

static bool pri_is_small(const struct slot *h)
{
    return is_small(h->pri.next ? h->pri.next : h->pri.generation);
}

/* One thing that may happen: begin(), it, done(). */
static void begin(void)
{
    now.w = *now.from;
    now.wrong = NULL;
    now.impossible = now.stop_at_page = false;
    trace_text[0] = '\0';
}

static void done(void)
{
    if (now.impossible) {
        return;
    }
    if (now.wrong == NULL) {
        now.wrong = world_check(&now.w);
    }
    world_normalise(&now.w);
    now.each(&now.w, now.wrong, now.opaque);
}

#define PRI_(KIND, ...)                                                      \
    pri_happens(s, (struct pri_event){ .kind = PRI_EV_##KIND, __VA_ARGS__ })
#define BAK_(KIND, ...)                                                      \
    bak_happens(s, (struct bak_event){ .kind = BAK_EV_##KIND, __VA_ARGS__ })

/* An event that may store into the page: also with the agent stopped there. */
static void pri_tries(unsigned s, struct pri_event ev, const char *what)
{
    int stops = pri_is_small(&now.from->slot[s]) ? 1 : 2;

    for (int stop = 0; stop < stops; stop++) {
        begin();
        now.stop_at_page = stop;
        say("%s: %s", host[s], what);
        pri_happens(s, ev);
        if (!stop || now.w.slot[s].stopped) {
            done();
        }
    }
}
#define TRY_PRI(what, KIND, ...)                                             \
    pri_tries(s, (struct pri_event){ .kind = PRI_EV_##KIND, __VA_ARGS__ },   \
              what)

/* For good. Before PROTECTED is sent a clone only fails by it. */
static void fill_step(void)
{
    begin();
    if (now.w.record.kind == TAS_FREE && now.w.bound == 1 && !now.w.full) {
        say("arbiter: the storage is full");
        now.w.full = 1;
        done();
    }
}

/* A write that its agent has given up may still land, once. */
static void late_writes(unsigned s, const struct slot *h)
{
    for (unsigned i = 0; i < GENERATIONS; i++) {
        struct record free_g = { TAS_FREE, (uint8_t)(i + 1), 0 };

        begin();
        if ((h->late_takes & 1u << i) && storage_is(&free_g) &&
            storage_has_room(h, true)) {
            say("arbiter: an old try of %s lands", host[s]);
            now.w.slot[s].late_takes &= (uint8_t) ~(1u << i);
            storage_set(TAS_OWNED, (uint8_t)(i + 1), (uint8_t)s);
            done();
        }
        begin();
        if ((h->late_frees & 1u << i) && storage_is(&h->late_expect[i]) &&
            storage_has_room(h, false)) {
            say("arbiter: an old write of %s lands", host[s]);
            now.w.slot[s].late_frees &= (uint8_t) ~(1u << i);
            storage_set(TAS_FREE, (uint8_t)(i + 1), 0);
            done();
        }
    }
}

static void arbiter_answers(unsigned s, struct tas_event ev)
{
    int stops = pri_is_small(&now.from->slot[s]) ? 1 : 2;

    for (int stop = 0; stop < stops; stop++) {
        begin();
        now.stop_at_page = stop;
        say("%s: the arbiter answers %s", host[s],
            ev.kind == TAS_EV_READ ? "a read"
            : ev.status == TAS_OK  ? "written"
                                   : "miscompare");
        tas_happens(s, ev);
        if (!stop || now.w.slot[s].stopped) {
            done();
        }
    }
}

static void arbiter_steps(unsigned s, const struct slot *h)
{
    const struct record *r = &now.from->record;

    if (h->tas_state == TAS_ST_READING) {
        arbiter_answers(s, (struct tas_event){
                               .kind = TAS_EV_READ,
                               .seen = { .kind = (enum tas_kind)r->kind,
                                         .generation = r->generation,
                                         .mine = r->kind == TAS_OWNED &&
                                                 r->owner == s,
                                         .same_pair = r->generation ==
                                                      h->tas_generation } });
    }
    if (h->tas_state == TAS_ST_PREPARING && !now.from->full) {
        begin();
        say("arbiter: what %s needs to take its generation is made", host[s]);
        now.w.slot[s].prepared = 1;
        tas_happens(s, (struct tas_event){ .kind = TAS_EV_PREPARED });
        done();
    }
    if (h->tas_state != TAS_ST_TRYING) {
        return;
    }
    if (h->write == ISSUED && storage_has_room(h, h->desired == TAS_OWNED)) {
        struct slot *n = &now.w.slot[s];

        begin();
        say("arbiter: the write of %s is carried out", host[s]);
        n->write = MISSED;
        if (storage_is(&h->expect)) {
            n->write = LANDED;
            storage_set(h->desired, h->write_generation, (uint8_t)s);
        }
        done();
    } else if (h->write != ISSUED) {
        arbiter_answers(s,
                        (struct tas_event){ .kind = TAS_EV_WROTE,
                                            .status = h->write == LANDED
                                                        ? TAS_OK
                                                        : TAS_MISCOMPARE });
    }
    begin();
    say("%s: the arbiter's reply does not come in time", host[s]);
    arbiter(s, TAS_EV_TIMEOUT, TAS_OP_NONE, 0);
    done();

    begin();
    say("%s: the arbiter's reply is an error", host[s]);
    tas_happens(s, (struct tas_event){ .kind = TAS_EV_WROTE,
                                       .status = TAS_UNKNOWN });
    done();
}

/* QEMU and agents die. */

static void qemu_steps(unsigned s, const struct slot *h)
{
    if (!is_zombie(s) && h->mode != GONE && (h->killed || h->mode != RUNS)) {
        begin();
        say("%s's QEMU %s", host[s], h->killed ? "is gone" : "dies");
        now.w.slot[s].mode = GONE;
        done();
    }
}

static void agent_crash(unsigned s, const struct slot *h)
{
    struct slot *n = &now.w.slot[s];

    if (is_zombie(s) || (h->role == PRIMARY && h->mode != RECORDS)) {
        return; /* adopted by the next agent, as if it never happened */
    }
    begin();
    say("%s's agent dies", host[s]);
    arbiter(s, TAS_EV_STOP, TAS_OP_NONE, 0);
    if (h->role == BACKUP) {
        n->mode = GONE; /* a replay without an agent exits */
        close_side(&now.w.channel[s - 1], 1);
    } else {
        close_side(world_channel(&now.w, s), 0);
    }
    n->agent = 0;
    done();
}

static void orphan_step(unsigned s, const struct slot *h)
{
    struct slot *n = &now.w.slot[s];

    if (is_zombie(s) || h->role != PRIMARY || h->mode != RECORDS ||
        h->killed || h->incarnation != 0) {
        return;
    }
    begin();
    say("%s: a new agent finds QEMU recording", host[s]);
    n->agent = n->incarnation = 1;
    n->gate = PRI_GATE_SHUT;
    PRI_(ORPHAN, .generation = h->generation);
    done();
}

/* The primary's side. */

/*
 * Generation 2 begins long after generation 1 has ended. What is left of that
 * is what a stopped host brings back, and its first steps touch nobody: its
 * channel is closed, every time has passed, whoever can only die is dead. So
 * they are taken at once, up to where it asks the arbiter; from there on it
 * runs beside the new pair.
 */
static void settle_primary(unsigned s)
{
    struct slot *z = &now.w.slot[s];

    if (!z->agent && z->mode == RECORDS && !z->killed &&
        z->incarnation == 0) {
        z->agent = z->incarnation = 1;
        z->gate = PRI_GATE_SHUT;
        PRI_(ORPHAN, .generation = z->generation);
    }
    if (z->agent && pri_is_linked(&z->pri)) {
        z->pri.heard = z->pri.logged = z->pri.stamp = -1;
        z->pri.lease = 0;
        PRI_(CLOSED, .ok = true);
    }
    z->page_lease = 0;
    z->pri.until = 0;
    if (z->agent && z->pri.state == PRI_ST_SUSPECTING) {
        PRI_(TIMEOUT, .ok = true);
    }
    if (z->pri.state != PRI_ST_ARBITRATING &&
        z->pri.state != PRI_ST_RECLAIMING) {
        z->killed = 1;
    }
}

static void settle_backup(unsigned s)
{
    struct slot *z = &now.w.slot[s];
    const struct channel *c = &now.w.channel[s - 1];

    if (z->agent && z->bak.state == BAK_ST_PROTECTED) {
        BAK_(CLOSED, .ok = true);
    }
    z->bak.promise = z->bak.until = 0;
    if (z->agent && z->bak.state == BAK_ST_SUSPECTING && !z->diverged &&
        !(c->off && c->off <= z->bak.received)) {
        z->bak.flags |= 16;
        BAK_(DISK, .ok = true);
        BAK_(EXECUTED, .position = z->bak.received);
        if (z->bak.state == BAK_ST_SUSPECTING) {
            BAK_(TIMEOUT, .ok = true);
        }
    }
    if (z->bak.state != BAK_ST_ARBITRATING) {
        z->killed = 1;
    }
}

static void settle(unsigned s)
{
    struct slot *z = &now.w.slot[s];

    if (z->stopped) {
        page_store(s);
    }
    if (z->role == PRIMARY) {
        settle_primary(s);
    } else {
        settle_backup(s);
    }
    if (z->agent) { /* a write under way becomes one that lands late */
        arbiter(s, TAS_EV_STOP, TAS_OP_NONE, 0);
    }
    if (z->killed || z->mode == GONE) {
        z->agent = 0;
        z->mode = GONE;
    } else {
        arbiter(s, TAS_EV_BEGIN,
                z->role == PRIMARY && z->pri.state == PRI_ST_RECLAIMING
                    ? TAS_OP_FREE
                    : TAS_OP_TAKE,
                1);
        z->pri.flags &= 1;
        z->bak.flags &= 1 | 8;
        z->tas_highest = 0;
        z->committed = 0;
    }
    memset(&now.w.channel[0], 0, sizeof(now.w.channel[0]));
}

static void protect_step(unsigned s, const struct slot *h)
{
    unsigned g = now.from->primary[0] == 0 ? 1 : 2;

    if (h->pri.state != PRI_ST_ALONE || h->mode != RUNS || g > generations ||
        h->pri.highest >= g || now.from->primary[g - 1] != 0 ||
        now.from->full) {
        return;
    }
    begin();
    say("%s: protect with %s as generation %u", host[s], host[g], g);
    if (g == 2 && now.w.primary[0] != 0) {
        settle(1 - s);
    }
    now.w.primary[g - 1] = (uint8_t)(s + 1);
    PRI_(PROTECT, .generation = g);
    done();
}

static void connect_steps(unsigned s)
{
    unsigned g = now.from->slot[s].pri.next;
    struct slot *n = &now.w.slot[s], *b = &now.w.slot[g];
    struct bak fresh;

    if (!is_small(g)) {
        begin();
        say("%s: the connection fails", host[s]);
        PRI_(CONNECT_FAILED, .ok = false);
        done();
    }

    begin();
    say("%s and %s connect", host[s], host[g]);
    b->role = BACKUP;
    b->agent = 1;
    b->mode = REPLAYS;
    bak_thaw(&fresh, &b->bak, g);
    bak_freeze(&b->bak, &fresh);
    /* Of the margins the backup's own is the larger one, of lease and
     * detection the primary's. */
    bak_happens(g, (struct bak_event){ .kind = BAK_EV_CONNECTED,
                                       .detect = world_timing.detect,
                                       .lease = world_timing.lease,
                                       .margin = 0 });
    n->mode = COPYING;
    n->generation = (uint8_t)g;
    PRI_(WELCOMED, .ok = true);
    PRI_(CONNECTED, .ok = true);
    done();
}

static void copy_steps(unsigned s, const struct slot *h)
{
    struct slot *n = &now.w.slot[s];

    if (h->mode != COPYING) {
        return;
    }
    for (int stop = 0; stop < (pri_is_small(h) ? 1 : 2); stop++) {
        begin();
        now.stop_at_page = stop;
        say("%s's QEMU has copied itself and records", host[s]);
        n->mode = RECORDS;
        n->gate = PRI_GATE_FREE;
        n->committed = h->pri.acked;
        now.w.channel[h->generation - 1].streamed = 1;
        PRI_(CLONED, .ok = true);
        if (!stop || n->stopped) {
            done();
        }
    }
    if (pri_is_small(h) && h->pri.state != PRI_ST_CANCELLING) {
        return;
    }
    begin();
    say("%s's QEMU gives up its copy", host[s]);
    n->mode = RUNS;
    PRI_(CLONE_STOPPED, .ok = true);
    done();
}

static void record_steps(unsigned s, const struct slot *h)
{
    struct slot *n = &now.w.slot[s];
    struct channel *c;
    bool linked = pri_is_linked(&h->pri) &&
                  h->pri.state != PRI_ST_RELINQUISHING;
    bool off = (h->pri.flags & 16) != 0;

    if (h->mode != RECORDS) {
        return;
    }
    if (linked && !off &&
        h->committed < h->pri.acked + (pri_is_small(h) ? 1 : WINDOW)) {
        begin();
        say("%s's QEMU writes log", host[s]);
        PRI_(LOG, .position = ++n->committed);
        done();
    }
    if (linked && !off && !pri_is_small(h) &&
        h->committed < h->pri.acked + WINDOW) {
        begin();
        say("%s's guest powers off", host[s]);
        c = world_channel(&now.w, s);
        c->off = ++n->committed;
        PRI_(LOG, .position = n->committed);
        PRI_(POWERED_OFF, .position = n->committed);
        done();
    }
    if (linked && !off && h->pri.logged < 0) {
        begin();
        say("%s's QEMU shows that it lives", host[s]);
        PRI_(LOG, .position = h->committed);
        done();
    }
    if (!off && !pri_is_small(h) &&
        (h->pri.state == PRI_ST_ARBITRATING ||
         h->pri.state == PRI_ST_SUSPECTING) &&
        !(h->pri.flags & 8)) {
        begin();
        say("%s's guest powers off, unheard", host[s]);
        PRI_(POWERED_OFF, .position = 1);
        done();
    }
    if (h->pri.state == PRI_ST_DRAINING && h->gate == PRI_GATE_SHUT &&
        !(h->pri.flags & 4)) {
        TRY_PRI("the gate is shut", SHUT, .position = h->committed + 1u);
    }
    if (h->pri.state == PRI_ST_GOING_ALONE) {
        begin();
        say("%s's QEMU goes on alone", host[s]);
        n->mode = RUNS;
        PRI_(WENT_ALONE, .ok = true);
        done();
    }
}

static void primary_steps(unsigned s, const struct slot *h)
{
    struct slot *n = &now.w.slot[s];
    struct pri p;

    protect_step(s, h);
    if (h->pri.state == PRI_ST_CONNECTING) {
        connect_steps(s);
    }
    copy_steps(s, h);
    record_steps(s, h);
    if (h->mode == GONE && !h->told) {
        begin();
        say("%s: its QEMU is reaped", host[s]);
        n->told = 1;
        PRI_(QEMU_DIED, .ok = true);
        done();
    }
    switch (pri_is_small(h) ? PRI_ST_ALONE : (int)h->pri.state) {
    case PRI_ST_CLONING:
    case PRI_ST_FREEING:
    case PRI_ST_ANNOUNCING:
    case PRI_ST_PROTECTED:
        TRY_PRI("unprotect", UNPROTECT, .ok = true);
        break;
    default:
        break;
    }
    pri_thaw(&p, &h->pri);
    if (pri_deadline(&p) <= NOW) {
        TRY_PRI("time-out", TIMEOUT, .ok = true);
    }
}

/* The backup's side. */

static void replay_steps(unsigned s, const struct slot *h)
{
    struct slot *n = &now.w.slot[s];
    const struct channel *c = &now.from->channel[s - 1];
    bool replays = h->bak.state == BAK_ST_LOADED ||
                   h->bak.state == BAK_ST_PROTECTED ||
                   h->bak.state == BAK_ST_SUSPECTING;

    if (h->mode != REPLAYS) {
        return;
    }
    if (h->bak.state == BAK_ST_LOADING && c->streamed &&
        !(h->bak.ready & 1)) {
        begin();
        say("%s's QEMU has loaded and replays", host[s]);
        BAK_(LOADED, .ok = true);
        done();
        if (!is_small(s)) {
            begin();
            say("%s's QEMU cannot load", host[s]);
            BAK_(LOAD_FAILED, .ok = true);
            done();
        }
    }
    if (replays && !h->diverged && h->bak.executed < h->bak.received) {
        begin();
        if (c->off && c->off <= h->bak.received) {
            say("%s's replica powers off", host[s]);
            BAK_(POWERED_OFF, .position = h->bak.received);
            BAK_(EXECUTED, .position = h->bak.received);
        } else {
            say("%s's replica has executed all", host[s]);
            BAK_(EXECUTED, .position = h->bak.received);
        }
        done();
    }
    if (replays && !h->diverged && !is_small(s)) {
        begin();
        say("%s's replica diverges", host[s]);
        n->diverged = 1;
        BAK_(DIVERGED, .position = h->bak.received);
        done();
    }
}

static void go_live_steps(unsigned s, const struct slot *h)
{
    struct slot *n = &now.w.slot[s];
    const struct channel *c = &now.from->channel[s - 1];

    if (!(h->bak.flags & 16) || h->mode != REPLAYS) {
        return;
    }
    for (int ok = is_small(s); ok < 2; ok++) {
        begin();
        switch (h->bak.state) {
        case BAK_ST_PROTECTED:
        case BAK_ST_SUSPECTING:
            say("%s: the disk can%s be read", host[s], ok ? "" : "not");
            BAK_(DISK, .ok = ok);
            break;
        case BAK_ST_FENCING_PEER:
            say("%s: fencing the peer: %s", host[s], ok ? "done" : "unknown");
            BAK_(PEER_FENCED, .ok = ok);
            break;
        case BAK_ST_GOING_LIVE:
            if (!ok) {
                say("%s's QEMU cannot open the disk", host[s]);
                BAK_(LIVE_FAILED, .ok = true);
                break;
            }
            say("%s's QEMU is live", host[s]);
            if (c->out > h->bak.received) {
                wrong("I2, I9: an output had left that the new live side "
                      "does not know of");
            }
            if (c->off && c->off <= h->bak.received) {
                wrong("I6: the backup goes live after a power-off entry");
            }
            if (h->diverged) {
                wrong("rule 2: a replica that diverged goes live");
            }
            n->mode = RUNS;
            BAK_(WENT_LIVE, .ok = true);
            break;
        default:
            continue;
        }
        done();
    }
}

static void backup_steps(unsigned s, const struct slot *h)
{
    struct slot *n = &now.w.slot[s];
    struct bak b;

    replay_steps(s, h);
    go_live_steps(s, h);
    if (h->mode == GONE && !h->told) {
        begin();
        say("%s: its replica is reaped", host[s]);
        n->told = 1;
        BAK_(QEMU_DIED, .ok = true);
        done();
    }
    if (!is_small(s) &&
        (h->bak.state == BAK_ST_LOADED || h->bak.state == BAK_ST_PROTECTED)) {
        begin();
        say("%s: gives up its replica", host[s]);
        BAK_(GIVE_UP, .ok = true);
        done();
    }
    bak_thaw(&b, &h->bak, s);
    if (bak_deadline(&b) <= (is_small(s) ? NOW : WITHIN_TICK)) {
        begin();
        say("%s: time-out", host[s]);
        BAK_(TIMEOUT, .now = is_small(s) ? NOW : WITHIN_TICK);
        done();
    }
}

/* The channel. */

static struct message take(unsigned g, int d)
{
    struct channel *c = &now.w.channel[g - 1];
    struct message m = c->queue[d][0];

    memmove(&c->queue[d][0], &c->queue[d][1],
            (QUEUE - 1) * sizeof(c->queue[d][0]));
    c->count[d]--;
    memset(&c->queue[d][c->count[d]], 0, sizeof(m));
    return m;
}

static ft_ns stamp_of(const struct message *m)
{
    return m->stamp == 127 ? 0 : NOW + m->stamp * TICK;
}

static void primary_hears(unsigned g, unsigned s)
{
    static const struct {
        enum pri_event_kind kind;
        const char *text;
    } as[] = {
        [M_RELINQUISH] = { PRI_EV_RELINQUISH, "hears RELINQUISH" },
        [M_RELINQUISH_ACK] = { PRI_EV_RELINQUISH_ACK,
                               "hears RELINQUISH_ACK" },
        [M_CLONE_FAILED] = { PRI_EV_CLONE_FAILED, "hears CLONE_FAILED" },
        [M_ACK] = { PRI_EV_ACK, "hears ACK" },
        [M_LOADED] = { PRI_EV_LOADED, "hears LOADED" },
        [M_DIVERGED] = { PRI_EV_DIVERGED, "hears DIVERGED" },
    };
    const struct channel *c = &now.from->channel[g - 1];

    if (c->count[1] == 0) {
        if (c->cut[1] || c->closed[1]) {
            TRY_PRI("the channel is closed", CLOSED, .ok = true);
        }
        return;
    }
    for (int stop = 0; stop < 2; stop++) {
        struct message m;

        begin();
        now.stop_at_page = stop;
        m = take(g, 1);
        say("%s: %s", host[s], as[m.type].text);
        pri_happens(s, (struct pri_event){ .kind = as[m.type].kind,
                                           .position = m.position,
                                           .stamp = stamp_of(&m) });
        if (!stop || now.w.slot[s].stopped) {
            done();
        }
    }
}

static void backup_hears(unsigned g)
{
    static const struct {
        enum bak_event_kind kind;
        const char *text;
    } as[] = {
        [M_ENTRIES] = { BAK_EV_ENTRIES, "receives entries" },
        [M_PROTECTED] = { BAK_EV_PROTECTED, "hears PROTECTED" },
        [M_RELINQUISH] = { BAK_EV_RELINQUISH, "hears RELINQUISH" },
        [M_RELINQUISH_ACK] = { BAK_EV_RELINQUISH_ACK,
                               "hears RELINQUISH_ACK" },
        [M_END_UNPROTECT] = { BAK_EV_END, "hears END, unprotect" },
        [M_END_POWER_OFF] = { BAK_EV_END, "hears END, power-off" },
        [M_CLONE_FAILED] = { BAK_EV_CLONE_FAILED, "hears CLONE_FAILED" },
    };
    const struct channel *c = &now.from->channel[g - 1];
    struct message m = { M_ENTRIES, 0, 0 };

    begin();
    if (c->count[0] == 0 && !c->cut[0] && !c->closed[0]) {
        return;
    }
    if (c->count[0] == 0) {
        say("%s: the channel is closed", host[g]);
        bak_happens(g, (struct bak_event){ .kind = BAK_EV_CLOSED });
    } else {
        m = take(g, 0);
        say("%s: %s", host[g], as[m.type].text);
        bak_happens(g, (struct bak_event){ .kind = as[m.type].kind,
                                           .code = m.type == M_END_POWER_OFF
                                                     ? LC_END_POWER_OFF
                                                     : LC_END_UNPROTECT,
                                           .position = m.position,
                                           .stamp = stamp_of(&m) });
    }
    done();
}

static void channel_steps(unsigned g)
{
    const struct channel *c = &now.from->channel[g - 1];
    unsigned s = now.from->primary[g - 1] - 1u;
    const struct slot *p, *b = &now.from->slot[g];
    bool p_on, b_on;

    if (now.from->primary[g - 1] == 0) {
        return;
    }
    p = &now.from->slot[s];
    p_on = p->role == PRIMARY && p->agent && pri_is_linked(&p->pri) &&
           (p->pri.next ? p->pri.next : p->pri.generation) == g;
    b_on = bak_is_open(b);
    for (int d = 0; d < 2; d++) {
        if (!c->cut[d] && (d == 0 ? b_on : p_on)) {
            begin();
            say("network: nothing passes any more from %s to %s",
                host[d == 0 ? s : g], host[d == 0 ? g : s]);
            cut(&now.w.channel[g - 1], d);
            if (is_small(g)) {
                cut(&now.w.channel[g - 1], 1 - d);
            }
            done();
        }
    }
    if (p_on && !p->stopped) {
        primary_hears(g, s);
        if (p->pri.heard < 0 && !is_small(g) && !c->cut[1] && !c->closed[1]) {
            TRY_PRI("hears a heartbeat", HEARD, .ok = true);
        }
    }
    if (b_on) {
        backup_hears(g);
        if (b->bak.heard < 0 && !is_small(g) && !c->cut[0] && !c->closed[0]) {
            begin();
            say("%s: hears a heartbeat", host[g]);
            bak_happens(g, (struct bak_event){ .kind = BAK_EV_HEARD });
            done();
        }
    }
}

void world_successors(const struct world *w, world_each *each, void *opaque)
{
    now.from = w;
    now.each = each;
    now.opaque = opaque;
    begin();
    if (world_tick(&now.w)) {
        say("%s's clock ticks", host[w->phase]);
        done();
    }
    fill_step();
    for (unsigned s = 0; s < SLOTS; s++) {
        const struct slot *h = &w->slot[s];

        late_writes(s, h);
        qemu_steps(s, h);
        if (!h->agent) {
            orphan_step(s, h);
            continue;
        }
        agent_crash(s, h);
        if (h->stopped) {
            begin();
            say("%s: goes on, and stores into the page", host[s]);
            page_store(s);
            done();
            continue;
        }
        arbiter_steps(s, h);
        if (h->role == PRIMARY) {
            primary_steps(s, h);
        } else {
            backup_steps(s, h);
        }
    }
    for (unsigned g = 1; g <= GENERATIONS; g++) {
        channel_steps(g);
    }
}
