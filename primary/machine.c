/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * machine.c - the primary's protocol: a pure core
 *
 * Theory of Operation
 *
 * To be read next to the paper (Scales, Nelson and Venkitachalam 2010). The
 * sections follow docs/architecture.md, "The rules", in their order:
 *
 *   rule 1    the Output Rule                 paper, 2.2
 *   rule 3    detection                       paper, 2.3
 *   rule 4    arbitration                     paper, 2.3
 *   rule 6    the lease, and RELINQUISH       ours
 *   rule 8    announcing protection           paper, 3.1
 *   rule 11   control entries                 paper, 3.3
 *
 * Rules 2, 5 and 7 are the backup's (backup/machine.c). pri_step() at the end
 * tells one event after the other.
 *
 * Two facts carry the proof:
 * - `generation` becomes the new pair's in the step that sends PROTECTED. Up
 *   to then the backup may not contend, so giving up needs no one's leave;
 *   from then on only ARBITRATED{ok} or the peer's RELINQUISH lead to
 *   GO_ALONE.
 * - what the gate lets out under the rule is bounded by `acked` and
 *   `lease_until`, and both only grow in a generation.
 */
#include "primary/machine.h"

#include <string.h>

#define IN FT_IN

/* The channel is open and both sides are expected to speak. */
#define LINKED                                                               \
    (PRI_B(CLONING) | PRI_B(DRAINING) | PRI_B(FREEING) | PRI_B(ANNOUNCING) | \
     PRI_B(PROTECTED) | PRI_B(ENDING) | PRI_B(POWERING_OFF) |                \
     PRI_B(RELINQUISHING))
/* Before PROTECTED was sent: giving up binds no one. */
#define UNBOUND                                                              \
    (PRI_B(CONNECTING) | PRI_B(CLONING) | PRI_B(DRAINING) | PRI_B(FREEING))
/* After it: only the arbiter or the peer's RELINQUISH set us free. */
#define BOUND                                                                \
    (PRI_B(ANNOUNCING) | PRI_B(PROTECTED) | PRI_B(ENDING) |                  \
     PRI_B(POWERING_OFF))
/* `until` counts in these. */
#define PATIENT                                                              \
    (PRI_B(DRAINING) | PRI_B(FREEING) | PRI_B(ENDING) |                      \
     PRI_B(POWERING_OFF) | PRI_B(SUSPECTING) | PRI_B(RELINQUISHING))

_Static_assert(PRI_ST_COUNT <= 32, "states fit a set");

static struct pri_effect *pri_do(struct pri_update *up,
                                 enum pri_effect_kind kind)
{
    if (up->count == PRI_UPDATE_MAX) {
        FT_ILLEGAL();
    }
    up->effect[up->count] = (struct pri_effect){ .kind = kind };
    return &up->effect[up->count++];
}

static void pri_shut(struct pri *p, struct pri_update *up)
{
    if (p->gate != PRI_GATE_SHUT) {
        p->gate = PRI_GATE_SHUT;
        pri_do(up, PRI_DO_SHUT_GATE);
    }
}

/* The pair is over for this side: nothing of it may linger. */
static void pri_leave_pair(struct pri *p)
{
    p->next = 0;
    p->loaded = p->prepared = p->shut = p->orphan = false;
    p->sent = p->acked = p->awaited = 0;
    p->stamp = p->lease_until = p->until = 0;
}

static void pri_alone(struct pri *p)
{
    pri_leave_pair(p);
    p->gate = PRI_GATE_FREE;
    p->recording = false;
    p->state = p->qemu_gone ? PRI_ST_ENDED : PRI_ST_ALONE;
}

/* Defined below, each in the section of its rule. */
static void pri_contend(struct pri *p, struct pri_update *up);
static bool pri_renew_lease(struct pri *p, ft_ns stamp);
static void pri_abort_clone(struct pri *p, enum pri_reason why,
                            struct pri_update *up);

/* ---- rule 1: the Output Rule -------------------------------------------- */

/*
 * "The primary VM may not send an output to the external world, until the
 * backup VM has received and acknowledged the log entry associated with the
 * operation producing the output."
 *
 * QEMU holds each output and releases it by what stands in the shared page;
 * this core writes the page. Entries go out as QEMU commits them, with our
 * clock as the stamp.
 */
static void pri_send_entries(struct pri *p, const struct pri_event *ev,
                             struct pri_update *up)
{
    struct pri_effect *e;

    p->logged = ev->now;
    if (!IN(p, LINKED & ~PRI_B(RELINQUISHING)) || !p->recording ||
        ev->position <= p->sent) {
        return;
    }
    p->sent = ev->position;
    p->stamp = ev->now;
    e = pri_do(up, PRI_DO_SEND_ENTRIES);
    e->position = p->sent;
    e->stamp = p->stamp;
}

/* Acknowledged: held outputs up to there may leave. Returns false when the
 * peer acknowledges what was never sent. */
static bool pri_take_ack(struct pri *p, const struct pri_event *ev,
                         struct pri_update *up)
{
    bool news = false;
    struct pri_effect *e;

    if (ev->position > p->sent || ev->stamp > p->stamp || ev->stamp < 0) {
        return false;
    }
    if (ev->position > p->acked) {
        p->acked = ev->position;
        news = true;
    }
    news |= pri_renew_lease(p, ev->stamp);
    if (news && p->gate == PRI_GATE_RULE) {
        e = pri_do(up, PRI_DO_RELEASE);
        e->position = p->acked;
        e->lease_until = p->lease_until;
    }
    return true;
}

/* ---- rule 3: detection -------------------------------------------------- */

/*
 * "A failure is declared if heartbeating or logging traffic has stopped for
 * longer than a specific timeout." pri_timeout() counts; a closed channel
 * counts at once.
 *
 * The gate is shut before anything else is done. A primary whose own QEMU
 * writes no log is itself what failed: it contends only when a healthy backup
 * would have won. One whose guest powered off does not wait, since it contends
 * to keep the backup from going live (I6).
 */
static void pri_suspect(struct pri *p, ft_ns now, enum pri_reason why,
                        struct pri_update *up)
{
    ft_ns silent = now - p->logged;

    if (p->reason == PRI_WHY_NONE) {
        p->reason = why;
    }
    pri_shut(p, up);
    pri_do(up, PRI_DO_CLOSE);
    if (!p->powered_off && silent >= p->timing.detect / 4 * 3) {
        p->state = PRI_ST_SUSPECTING;
        p->until = now + p->timing.detect + p->timing.lease +
                   p->timing.margin + p->timing.grace;
        return;
    }
    pri_contend(p, up);
}

/* The other half of detection: this side is to be heard. A busy clone may
 * write no log for long, so heartbeats do not wait for the log. */
static bool pri_is_heard(const struct pri *p)
{
    return IN(p, LINKED) ||
           (p->state == PRI_ST_CONNECTING && p->heartbeat != 0);
}

static void pri_beat(struct pri *p, ft_ns now, struct pri_update *up)
{
    p->heartbeat = now + p->timing.heartbeat;
    pri_do(up, PRI_DO_SEND_HEARTBEAT);
}

/* The peer is lost, or cannot be believed any more. */
static void pri_peer_lost(struct pri *p, ft_ns now, enum pri_reason why,
                          struct pri_update *up)
{
    if (IN(p, UNBOUND)) {
        pri_abort_clone(p, why, up);
    } else if (IN(p, BOUND)) {
        pri_suspect(p, now, why, up);
    } else if (p->state == PRI_ST_RELINQUISHING) {
        pri_do(up, PRI_DO_CLOSE);
        pri_leave_pair(p);
        p->state = PRI_ST_ENDED;
    }
}

/* ---- rule 4: arbitration ------------------------------------------------ */

/*
 * Whoever wants to be alone, the primary too, first wins the test-and-set for
 * its generation. "If the operation succeeds, the VM is allowed to go live.
 * If the operation fails, then the other VM must have already gone live, so
 * the current VM actually halts itself. If the VM cannot access the shared
 * storage when trying to do the atomic operation, then it just waits until it
 * can."
 */
static void pri_contend(struct pri *p, struct pri_update *up)
{
    p->state = PRI_ST_ARBITRATING;
    p->until = 0;
    pri_do(up, PRI_DO_ARBITRATE)->generation = p->generation;
}

/* The guest is granted to us, or nobody was bound: QEMU stops recording
 * and releases everything. */
static void pri_go_alone(struct pri *p, struct pri_update *up)
{
    pri_leave_pair(p);
    if (p->qemu_gone) {
        p->state = PRI_ST_ENDED;
        return;
    }
    p->gate = PRI_GATE_FREE;
    p->state = p->powered_off ? PRI_ST_ENDED : PRI_ST_GOING_ALONE;
    pri_do(up, PRI_DO_GO_ALONE);
}

static void pri_arbitrated(struct pri *p, const struct pri_event *ev,
                           struct pri_update *up)
{
    if (p->state != PRI_ST_ARBITRATING || ev->generation != p->generation) {
        return; /* the claim of a generation that RELINQUISH gave us */
    }
    if (ev->ok) {
        pri_go_alone(p, up);
        return;
    }
    /* Lost: halt for good. */
    p->reason = PRI_WHY_LOST;
    pri_leave_pair(p);
    p->state = p->qemu_gone ? PRI_ST_FENCED : PRI_ST_FENCING;
    if (!p->qemu_gone) {
        pri_do(up, PRI_DO_FENCE);
    }
}

/* The arbiter is still at work for a pair that binds no one yet. */
static bool pri_asks_arbiter(const struct pri *p)
{
    return p->state == PRI_ST_FREEING ||
           (p->state == PRI_ST_CLONING && !p->prepared);
}

/* The peer's RELINQUISH frees us as well. The claim goes on beside it, so that
 * no cold start finds the record free. */
static void pri_relinquished(struct pri *p, struct pri_update *up)
{
    if (p->reason == PRI_WHY_NONE) {
        p->reason = PRI_WHY_PEER_GONE;
    }
    pri_do(up, PRI_DO_SEND_RELINQUISH_ACK)->position = p->acked;
    pri_do(up, PRI_DO_CLOSE);
    pri_do(up, PRI_DO_ARBITRATE)->generation = p->generation;
    pri_go_alone(p, up);
}

/*
 * An agent that finds its QEMU recording: its predecessor died. The gate of
 * such a QEMU is shut. Whether free(g) was written is unknown, hence
 * RECLAIMING before it contends. The grant is this side's, not an agent's: had
 * the predecessor won it, the test-and-set is won.
 */
static void pri_adopt_orphan(struct pri *p, const struct pri_event *ev)
{
    p->generation = ev->generation;
    p->highest = ev->generation > p->highest ? ev->generation : p->highest;
    p->recording = p->orphan = true;
    p->reason = PRI_WHY_ORPHAN;
    p->gate = PRI_GATE_SHUT; /* QEMU has shut it by itself */
    p->state = PRI_ST_SUSPECTING;
    p->until = ev->now + p->timing.detect + p->timing.lease +
               p->timing.margin + p->timing.grace;
}

/* ---- rule 6: the lease, and RELINQUISH ---------------------------------- */

/*
 * An acknowledgement is also the backup's promise not to go live for a while:
 * the timeline stands in common/types.h. Here it counts from the stamp that the
 * acknowledgement echoes. A zero stamp promises nothing. True when the lease
 * has grown.
 */
static bool pri_renew_lease(struct pri *p, ft_ns stamp)
{
    ft_ns until = stamp + p->timing.lease;

    if (stamp == 0 || until <= p->lease_until) {
        return false;
    }
    p->lease_until = until;
    return true;
}

/*
 * RELINQUISH says that the gate is shut and QEMU is reaped, so it is sent only
 * from QEMU_DIED. Afterwards this side never contends.
 */
static void pri_qemu_died(struct pri *p, const struct pri_event *ev,
                          struct pri_update *up)
{
    bool was_gone = p->qemu_gone;

    p->qemu_gone = true;
    p->recording = false;
    if (was_gone || p->state == PRI_ST_POWERING_OFF) {
        return; /* powering off: expected, and it must not revive there */
    }
    if (p->state == PRI_ST_FENCING) {
        p->state = PRI_ST_FENCED;
        return;
    }
    if (IN(p, PRI_B(RELINQUISHING) | PRI_B(FENCED) | PRI_B(ENDED))) {
        return;
    }
    if (p->powered_off &&
        IN(p, PRI_B(SUSPECTING) | PRI_B(RECLAIMING) | PRI_B(ARBITRATING))) {
        return; /* goes on contending, so that it is not revived there */
    }
    p->reason = PRI_WHY_QEMU_DIED;
    if (IN(p, PRI_B(ANNOUNCING) | PRI_B(PROTECTED))) {
        pri_shut(p, up);
        pri_do(up, PRI_DO_SEND_RELINQUISH)->position = p->sent;
        p->state = PRI_ST_RELINQUISHING;
        p->until = ev->now + p->timing.detect;
        return;
    }
    if (IN(p, UNBOUND & ~PRI_B(CONNECTING))) {
        pri_do(up, PRI_DO_SEND_CLONE_FAILED);
    }
    if (IN(p, LINKED | PRI_B(CONNECTING))) {
        pri_do(up, PRI_DO_CLOSE);
    }
    if (pri_asks_arbiter(p) ||
        IN(p, PRI_B(RECLAIMING) | PRI_B(ARBITRATING))) {
        pri_do(up, PRI_DO_STOP_ARBITER);
    }
    pri_leave_pair(p);
    p->state = PRI_ST_ENDED;
}

/* ---- rule 8: announcing protection -------------------------------------- */

/*
 * A clone ends: the gate is shut, everything already released is acknowledged,
 * free(g+1) is on record, PROTECTED is sent, the gate opens under the Output
 * Rule. In this order, each step after the one before is known to be done.
 *
 * What either side needs to take g+1 is made at the arbiter while the guest is
 * copied: a storage that fills up later, which the guests' own images do, cannot
 * keep a protected guest from being live somewhere. The backup says LOADED when
 * it is ready for that.
 *
 * While the gate is shut the guest's clients wait for the sake of a backup
 * that does not protect it yet: `hold` bounds that. Nobody is bound so far, so
 * beyond it the clone is given up.
 */
static void pri_start_clone(struct pri *p, const struct pri_event *ev,
                            struct pri_update *up)
{
    p->state = PRI_ST_CLONING;
    p->heard = p->logged = ev->now;
    pri_beat(p, ev->now, up);
    pri_do(up, PRI_DO_START_CLONE)->generation = p->next;
    pri_do(up, PRI_DO_PREPARE_TAKE)->generation = p->next;
}

static void pri_announce(struct pri *p, const struct pri_event *ev,
                         struct pri_update *up)
{
    struct pri_effect *e;

    if (p->state == PRI_ST_CLONING && p->recording && p->loaded &&
        p->prepared) {
        p->state = PRI_ST_DRAINING;
        p->until = ev->now + p->timing.hold;
        p->shut = false;
        pri_shut(p, up);
    }
    if (p->state == PRI_ST_DRAINING && p->shut && p->acked >= p->awaited) {
        p->state = PRI_ST_FREEING;
        pri_do(up, PRI_DO_WRITE_FREE)->generation = p->next;
    }
    if (p->state == PRI_ST_FREEING && ev->kind == PRI_EV_FREED) {
        p->state = PRI_ST_ANNOUNCING;
        p->generation = p->next;
        p->next = 0;
        p->awaited = p->sent;
        p->until = 0;
        p->gate = PRI_GATE_RULE;
        pri_do(up, PRI_DO_SEND_PROTECTED)->position = p->sent;
        e = pri_do(up, PRI_DO_OPEN_GATE);
        e->position = p->acked;
        e->lease_until = p->lease_until;
    }
    /* Never report `protected` before both sides are validated: entries that
     * were sent after PROTECTED are acknowledged, so it has arrived. */
    if (p->state == PRI_ST_ANNOUNCING && p->acked > p->awaited) {
        p->state = PRI_ST_PROTECTED;
        p->reason = PRI_WHY_NONE;
    }
}

/* Gives up a clone that binds no one yet. The guest runs on by itself. */
static void pri_abort_clone(struct pri *p, enum pri_reason why,
                            struct pri_update *up)
{
    bool copying = p->state == PRI_ST_CLONING && !p->recording;

    p->reason = why;
    if (p->state != PRI_ST_CONNECTING) {
        pri_do(up, PRI_DO_SEND_CLONE_FAILED);
    }
    pri_do(up, PRI_DO_CLOSE);
    if (pri_asks_arbiter(p)) {
        pri_do(up, PRI_DO_STOP_ARBITER);
    }
    if (copying) {
        pri_do(up, PRI_DO_CANCEL_CLONE);
        pri_leave_pair(p);
        p->state = PRI_ST_CANCELLING;
    } else if (p->recording) {
        pri_go_alone(p, up);
    } else {
        pri_alone(p);
    }
}

/* ---- rule 11: control entries ------------------------------------------- */

/* The pair ends with the backup's consent: it kills its replica and says
 * RELINQUISH. Bounded: without it, the arbitration. */
static void pri_end_pair(struct pri *p, ft_ns now, enum pri_reason why)
{
    p->reason = why;
    p->state = PRI_ST_ENDING;
    p->until = now + p->timing.detect;
}

/*
 * A power-off is a log entry; the guest's end may be seen outside when the
 * backup has that entry, and then the backup ends as well (I6). Until then we
 * are bound as before.
 */
static void pri_powered_off(struct pri *p, const struct pri_event *ev,
                            struct pri_update *up)
{
    p->powered_off = true;
    if (IN(p, UNBOUND)) {
        if (p->state != PRI_ST_CONNECTING) {
            pri_do(up, PRI_DO_SEND_CLONE_FAILED);
        }
        pri_do(up, PRI_DO_CLOSE);
        if (pri_asks_arbiter(p)) {
            pri_do(up, PRI_DO_STOP_ARBITER);
        }
        if (p->recording) {
            pri_do(up, PRI_DO_GO_ALONE);
        }
        p->gate = PRI_GATE_FREE;
        pri_leave_pair(p);
        p->state = PRI_ST_ENDED;
    } else if (IN(p, PRI_B(ANNOUNCING) | PRI_B(PROTECTED) | PRI_B(ENDING))) {
        p->state = PRI_ST_POWERING_OFF;
        p->awaited = ev->position;
        p->until = ev->now + p->timing.detect;
    } else if (IN(p, PRI_B(ALONE) | PRI_B(CANCELLING) | PRI_B(GOING_ALONE))) {
        pri_leave_pair(p);
        p->state = PRI_ST_ENDED;
    } else if (!IN(p, PRI_B(SUSPECTING) | PRI_B(RECLAIMING) |
                          PRI_B(ARBITRATING))) {
        return; /* over for this guest, or on its way already */
    }
    /* While it contends the arbitration decides. */
    p->reason = PRI_WHY_POWER_OFF;
}

static void pri_power_off_done(struct pri *p, struct pri_update *up)
{
    if (p->state != PRI_ST_POWERING_OFF || p->acked < p->awaited) {
        return;
    }
    pri_do(up, PRI_DO_SEND_END)->code = LC_END_POWER_OFF;
    pri_do(up, PRI_DO_CLOSE);
    pri_leave_pair(p);
    p->state = PRI_ST_ENDED;
}

/* ---- one event after the other ------------------------------------------ */

static void pri_timeout(struct pri *p, const struct pri_event *ev,
                        struct pri_update *up)
{
    if (IN(p, LINKED) && ev->now >= p->heard + p->timing.detect) {
        pri_peer_lost(p, ev->now, PRI_WHY_PEER_SILENT, up);
    } else if (IN(p, PATIENT) && ev->now >= p->until) {
        switch (p->state) {
        case PRI_ST_DRAINING:
            pri_abort_clone(p, PRI_WHY_DRAIN, up);
            break;
        case PRI_ST_FREEING:
            pri_abort_clone(p, PRI_WHY_ARBITER, up);
            break;
        case PRI_ST_SUSPECTING:
            if (p->orphan) {
                p->state = PRI_ST_RECLAIMING;
                pri_do(up, PRI_DO_WRITE_FREE)->generation = p->generation;
            } else {
                pri_contend(p, up);
            }
            break;
        default:
            pri_peer_lost(p, ev->now, PRI_WHY_PEER_SILENT, up);
            break;
        }
    }
    if (pri_is_heard(p) && ev->now >= p->heartbeat) {
        pri_beat(p, ev->now, up);
    }
}

static bool pri_from_peer(enum pri_event_kind kind)
{
    return kind >= PRI_EV_HEARD && kind <= PRI_EV_CLOSED;
}

void pri_step(struct pri *p, const struct pri_event *ev,
              struct pri_update *up)
{
    up->count = 0;
    if (!pri_expects(p, ev->kind)) {
        FT_ILLEGAL();
    }
    if (pri_from_peer(ev->kind)) {
        if (!IN(p, LINKED)) {
            return; /* the channel was closed, or is not yet validated */
        }
        p->heard = ev->now;
    }

    switch (ev->kind) {
    case PRI_EV_PROTECT:
        if (ev->generation <= p->highest) {
            p->reason = PRI_WHY_GENERATION;
            break;
        }
        p->next = p->highest = ev->generation;
        p->state = PRI_ST_CONNECTING;
        p->reason = PRI_WHY_NONE;
        p->heartbeat = 0;
        pri_do(up, PRI_DO_CONNECT)->generation = p->next;
        break;
    case PRI_EV_UNPROTECT:
        if (IN(p, UNBOUND)) {
            pri_abort_clone(p, PRI_WHY_UNPROTECTED, up);
        } else if (IN(p, PRI_B(ANNOUNCING) | PRI_B(PROTECTED))) {
            pri_do(up, PRI_DO_SEND_END)->code = LC_END_UNPROTECT;
            pri_end_pair(p, ev->now, PRI_WHY_UNPROTECTED);
        }
        break;
    case PRI_EV_ORPHAN:
        pri_adopt_orphan(p, ev);
        break;
    case PRI_EV_WELCOMED:
        pri_beat(p, ev->now, up);
        break;
    case PRI_EV_CONNECTED:
        pri_start_clone(p, ev, up);
        break;
    case PRI_EV_CONNECT_FAILED:
        pri_abort_clone(p, PRI_WHY_CONNECT, up);
        break;
    case PRI_EV_HEARD:
        break;
    case PRI_EV_LOADED:
        p->loaded = true;
        pri_announce(p, ev, up);
        break;
    case PRI_EV_ACK:
        if (p->state == PRI_ST_RELINQUISHING) {
            break;
        }
        if (!pri_take_ack(p, ev, up)) {
            pri_peer_lost(p, ev->now, PRI_WHY_PEER_BAD, up);
            break;
        }
        pri_announce(p, ev, up);
        pri_power_off_done(p, up);
        break;
    case PRI_EV_RELINQUISH:
        if (IN(p, UNBOUND)) {
            pri_abort_clone(p, PRI_WHY_PEER_GONE, up);
        } else if (IN(p, BOUND)) {
            pri_relinquished(p, up);
        }
        break;
    case PRI_EV_RELINQUISH_ACK:
        if (p->state == PRI_ST_RELINQUISHING) {
            pri_peer_lost(p, ev->now, PRI_WHY_NONE, up);
        }
        break;
    case PRI_EV_DIVERGED:
    case PRI_EV_END:
    case PRI_EV_CLONE_FAILED: {
        enum pri_reason why = ev->kind == PRI_EV_DIVERGED ? PRI_WHY_DIVERGED
                            : ev->kind == PRI_EV_END      ? PRI_WHY_PEER_GONE
                                                          : PRI_WHY_LOAD;
        if (IN(p, UNBOUND)) {
            pri_abort_clone(p, why, up);
        } else if (IN(p, PRI_B(ANNOUNCING) | PRI_B(PROTECTED))) {
            pri_end_pair(p, ev->now, why);
        }
        break;
    }
    case PRI_EV_CLOSED:
        pri_peer_lost(p, ev->now, PRI_WHY_PEER_CLOSED, up);
        break;
    case PRI_EV_LOG:
        pri_send_entries(p, ev, up);
        break;
    case PRI_EV_CLONED:
        p->recording = true;
        p->logged = ev->now;
        if (p->state == PRI_ST_CANCELLING) {
            pri_go_alone(p, up);
        } else if (p->state == PRI_ST_CLONING) {
            pri_announce(p, ev, up);
        }
        break;
    case PRI_EV_CLONE_STOPPED:
        if (p->state == PRI_ST_CLONING) {
            p->reason = PRI_WHY_CLONE;
            pri_do(up, PRI_DO_SEND_CLONE_FAILED);
            pri_do(up, PRI_DO_CLOSE);
            if (pri_asks_arbiter(p)) {
                pri_do(up, PRI_DO_STOP_ARBITER);
            }
        }
        if (p->state != PRI_ST_ENDED) {
            pri_alone(p);
        }
        break;
    case PRI_EV_SHUT:
        if (p->state == PRI_ST_DRAINING && !p->shut) {
            p->shut = true;
            p->awaited = ev->position;
            pri_announce(p, ev, up);
        }
        break;
    case PRI_EV_WENT_ALONE:
        if (p->state == PRI_ST_GOING_ALONE) {
            pri_alone(p);
        }
        break;
    case PRI_EV_POWERED_OFF:
        pri_powered_off(p, ev, up);
        pri_power_off_done(p, up);
        break;
    case PRI_EV_QEMU_DIED:
        pri_qemu_died(p, ev, up);
        break;
    case PRI_EV_PREPARED:
        if (p->state == PRI_ST_CLONING && ev->generation == p->next) {
            p->prepared = true;
            pri_announce(p, ev, up);
        }
        break;
    case PRI_EV_FREED:
        if (p->state == PRI_ST_RECLAIMING &&
            ev->generation == p->generation) {
            pri_contend(p, up); /* taken: the test-and-set tells by whom */
        } else if (p->state == PRI_ST_FREEING && ev->generation == p->next &&
                   !ev->ok) {
            pri_abort_clone(p, PRI_WHY_GENERATION, up);
        } else if (p->state == PRI_ST_FREEING && ev->generation == p->next) {
            pri_announce(p, ev, up);
        }
        break;
    case PRI_EV_ARBITRATED:
        pri_arbitrated(p, ev, up);
        break;
    case PRI_EV_TIMEOUT:
        pri_timeout(p, ev, up);
        break;
    case PRI_EV_COUNT:
        FT_ILLEGAL();
    }
}

ft_ns pri_deadline(const struct pri *p)
{
    ft_ns at = FT_NEVER;

    if (IN(p, LINKED)) {
        at = p->heard + p->timing.detect;
    }
    if (pri_is_heard(p)) {
        at = ft_sooner(at, p->heartbeat);
    }
    if (IN(p, PATIENT)) {
        at = ft_sooner(at, p->until);
    }
    return at;
}

void pri_init(struct pri *p, const struct ft_timing *t, uint64_t generation)
{
    memset(p, 0, sizeof(*p));
    p->timing = *t;
    p->state = PRI_ST_ALONE;
    p->generation = p->highest = generation;
}

const char *pri_invariant(const struct pri *p)
{
    bool unbound = IN(p, UNBOUND);

    if (IN(p, PRI_B(ALONE) | PRI_B(CONNECTING) | PRI_B(CLONING) |
                  PRI_B(CANCELLING) | PRI_B(GOING_ALONE)) &&
        p->gate != PRI_GATE_FREE) {
        return "a guest that is bound to nobody has a free gate";
    }
    if (IN(p, PRI_B(DRAINING) | PRI_B(FREEING) | PRI_B(SUSPECTING) |
                  PRI_B(RECLAIMING) | PRI_B(ARBITRATING) |
                  PRI_B(RELINQUISHING)) &&
        p->gate != PRI_GATE_SHUT) {
        return "the gate is shut while it is unknown who may be live";
    }
    if (IN(p, BOUND) && p->gate != PRI_GATE_RULE) {
        return "a protected guest's gate obeys the Output Rule";
    }
    if (unbound != (p->next != 0)) {
        return "a next generation is held just as long as a clone is made";
    }
    if (p->next != 0 && p->next <= p->generation) {
        return "generations grow";
    }
    if (p->highest < p->generation || p->highest < p->next) {
        return "no generation above the highest is in use";
    }
    if (p->acked > p->sent) {
        return "nothing is acknowledged that was not sent";
    }
    if (p->lease_until > p->stamp + p->timing.lease) {
        return "the lease counts from entries that were sent";
    }
    if (p->qemu_gone &&
        !IN(p, PRI_B(POWERING_OFF) | PRI_B(RELINQUISHING) | PRI_B(FENCED) |
                   PRI_B(ENDED)) &&
        !p->powered_off) {
        return "without its QEMU a primary only winds up";
    }
    if (p->reason != PRI_WHY_NONE && p->state == PRI_ST_PROTECTED) {
        return "a protected pair has no reason not to be";
    }
    return NULL;
}
