/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * machine.c - the backup's protocol: a pure core
 *
 * Theory of Operation
 *
 * To be read next to the paper (Scales, Nelson and Venkitachalam 2010) and
 * primary/machine.c. The sections follow docs/architecture.md, "The rules", in
 * their order:
 *
 *   rule 1    the Output Rule: acknowledging  paper, 2.2
 *   rule 2    divergence                      ours
 *   rule 3    detection                       paper, 2.3
 *   rule 4    arbitration                     paper, 2.3
 *   rule 5    when it may contend             paper, 2.3
 *   rule 6    the promise, and RELINQUISH     ours
 *   rule 7    go-live                         paper, 2.3 and 3.4
 *   rule 8    announced protection            paper, 3.1
 *   rule 10   lag                             paper, 3.2
 *   rule 11   control entries                 paper, 3.3
 *
 * bak_step() at the end tells one event after the other.
 *
 * Three facts carry the proof:
 * - the only way to ARBITRATING leads through SUSPECTING, and that is entered
 *   from PROTECTED alone;
 * - SUSPECTING closes the channel first, so `received` and `promise` can no
 *   longer grow, and is left only when all of `received` is executed, the
 *   disk was read and the promise has expired (or was given back);
 * - a replica that was told to die (DIVERGED, ENDING, FENCING) never contends
 *   again, and RELINQUISH is said only when it is reaped.
 */
#include "backup/machine.h"

#include <string.h>

#define IN FT_IN

/* The primary is expected to be heard. */
#define LISTENING (BAK_B(LOADING) | BAK_B(LOADED) | BAK_B(PROTECTED))
/* The way to go live. */
#define CONTENDING                                                           \
    (BAK_B(SUSPECTING) | BAK_B(ARBITRATING) | BAK_B(FENCING_PEER) |          \
     BAK_B(GOING_LIVE))

_Static_assert(BAK_ST_COUNT <= 32, "states fit a set");

static struct bak_effect *bak_do(struct bak_update *up,
                                 enum bak_effect_kind kind)
{
    if (up->count == BAK_UPDATE_MAX) {
        FT_ILLEGAL();
    }
    up->effect[up->count] = (struct bak_effect){ .kind = kind };
    return &up->effect[up->count++];
}

static void bak_close(struct bak *b, struct bak_update *up)
{
    if (b->open) {
        b->open = false;
        bak_do(up, BAK_DO_CLOSE);
    }
}

static void bak_stop_preparing(struct bak *b, struct bak_update *up)
{
    if (b->state == BAK_ST_LOADING && !b->prepared) {
        bak_do(up, BAK_DO_STOP_ARBITER);
    }
}

/* The replica has no future. next: what follows when it is reaped. */
static void bak_kill(struct bak *b, enum bak_state next, enum bak_reason why,
                     struct bak_update *up)
{
    if (b->state == BAK_ST_ARBITRATING) {
        bak_do(up, BAK_DO_STOP_ARBITER);
    }
    bak_stop_preparing(b, up);
    b->reason = why;
    b->state = next;
    b->until = 0;
    b->waiting = false;
    if (!b->qemu_gone) {
        bak_do(up, BAK_DO_KILL_QEMU);
    }
}

/* The pair ends without a go-live and nobody waits for our word. */
static void bak_end(struct bak *b, enum bak_reason why, struct bak_update *up)
{
    bak_close(b, up);
    bak_kill(b, BAK_ST_ENDED, why, up);
}

/* Defined below, each in the section of its rule. */
static void bak_promise(struct bak *b, ft_ns now);
static void bak_may_contend(struct bak *b, ft_ns now, struct bak_update *up);
static void bak_fence_peer(struct bak *b, struct bak_update *up);
static bool bak_has_proof(const struct bak *b, ft_ns now);
static void bak_probe(struct bak *b, struct bak_update *up);
static void bak_try_later(struct bak *b, ft_ns now);

/* ---- rule 1: the Output Rule, acknowledging ----------------------------- */

/*
 * An acknowledgement says that the entries are in memory here, not that they
 * were executed: "as long as the backup VM receives all log entries, [...] it
 * will be able to reach the exact state". It is a promise as well (rule 6).
 */
static void bak_take_entries(struct bak *b, const struct bak_event *ev,
                             struct bak_update *up)
{
    struct bak_effect *e;

    if (b->executed == b->received) {
        b->moved = ev->now; /* from here on it has work */
    }
    b->received = ev->position;
    b->logged = ev->now;
    bak_promise(b, ev->now);
    e = bak_do(up, BAK_DO_SEND_ACK);
    e->position = b->received;
    e->stamp = ev->stamp;
}

/* ---- rule 2: divergence ------------------------------------------------- */

/*
 * A replica that differs from the log can never go live, and says so.
 * RELINQUISH follows when it is reaped.
 */
static void bak_diverged(struct bak *b, const struct bak_event *ev,
                         struct bak_update *up)
{
    if (!IN(b, LISTENING | CONTENDING)) {
        return;
    }
    if (b->open) {
        bak_do(up, BAK_DO_SEND_DIVERGED)->position = ev->position;
    }
    bak_kill(b, BAK_ST_DIVERGED, BAK_WHY_DIVERGED, up);
}

/* ---- rule 3: detection -------------------------------------------------- */

/*
 * "A failure is declared if heartbeating or logging traffic has stopped for
 * longer than a specific timeout." A closed channel counts at once; so does a
 * primary whose agent lives but whose QEMU writes nothing, once the replica
 * waits for it.
 */
static void bak_suspect(struct bak *b, ft_ns now, enum bak_reason why,
                        struct bak_update *up)
{
    b->reason = why;
    bak_close(b, up);
    b->state = BAK_ST_SUSPECTING;
    b->until = 0;
    b->disk_ok = bak_has_proof(b, now);
    if (!b->disk_ok && !b->waiting) {
        bak_probe(b, up);
    }
    bak_may_contend(b, now, up);
}

static void bak_peer_lost(struct bak *b, ft_ns now, enum bak_reason why,
                          struct bak_update *up)
{
    switch (b->state) {
    case BAK_ST_WAITING:
    case BAK_ST_LOADING:
    case BAK_ST_LOADED:
        /* Never announced: the primary runs on without us. */
        bak_end(b, why, up);
        break;
    case BAK_ST_PROTECTED:
        bak_suspect(b, now, why, up);
        break;
    case BAK_ST_RELINQUISHING:
        bak_close(b, up);
        b->state = BAK_ST_ENDED;
        break;
    default:
        bak_close(b, up);
        break;
    }
}

/* The log counts as silent from when the replica had caught up with it: a
 * primary may be waiting for room in the window. */
static void bak_executed(struct bak *b, const struct bak_event *ev)
{
    if (ev->position > b->executed && ev->position <= b->received) {
        b->executed = ev->position;
        b->moved = ev->now;
        if (b->executed == b->received) {
            b->logged = ev->now;
        }
    }
}

static ft_ns bak_silence(const struct bak *b)
{
    ft_ns at = b->heard + b->timing.detect;

    if (b->state == BAK_ST_PROTECTED && b->executed >= b->received &&
        b->logged + b->timing.detect < at) {
        at = b->logged + b->timing.detect;
    }
    return at;
}

/* The other half of detection: this side is to be heard as long as it has an
 * open channel, also while its replica dies. */
static void bak_beat(struct bak *b, ft_ns now, struct bak_update *up)
{
    b->heartbeat = now + b->timing.heartbeat;
    bak_do(up, BAK_DO_SEND_HEARTBEAT);
}

/* ---- rule 4: arbitration ------------------------------------------------ */

/* "If the operation succeeds, the VM is allowed to go live. If the operation
 * fails, [...] the current VM actually halts itself." */
static void bak_arbitrated(struct bak *b, const struct bak_event *ev,
                           struct bak_update *up)
{
    if (b->state != BAK_ST_ARBITRATING) {
        return; /* relinquished: live without it; or dead by now */
    }
    if (ev->ok) {
        bak_fence_peer(b, up);
        return;
    }
    b->reason = BAK_WHY_LOST;
    b->state = b->qemu_gone ? BAK_ST_FENCED : BAK_ST_FENCING;
    if (!b->qemu_gone) {
        bak_do(up, BAK_DO_KILL_QEMU);
    }
}

/* ---- rule 5: when it may contend ---------------------------------------- */

/*
 * The proof that the disk can be read is begun when the primary has been
 * silent for half of `detect`, once in each silence: a busy disk can take as
 * long as the detection does. It still counts when the primary is lost less
 * than `detect` later. A failure before that says nothing yet; it is tried
 * again.
 */
static bool bak_has_proof(const struct bak *b, ft_ns now)
{
    return b->proved != 0 && now - b->proved < b->timing.detect;
}

static ft_ns bak_proof_due(const struct bak *b)
{
    ft_ns at = b->heard + b->timing.detect / 2;

    if (b->state != BAK_ST_PROTECTED || b->waiting ||
        (b->proved != 0 && b->proved >= b->heard)) {
        return FT_NEVER;
    }
    return at > b->until ? at : b->until;
}

static void bak_probe(struct bak *b, struct bak_update *up)
{
    b->waiting = true;
    bak_do(up, BAK_DO_PROBE_DISK);
}

static void bak_probed(struct bak *b, const struct bak_event *ev,
                       struct bak_update *up)
{
    if (!b->waiting || !IN(b, BAK_B(PROTECTED) | BAK_B(SUSPECTING))) {
        return;
    }
    b->waiting = false;
    if (!ev->ok) {
        bak_try_later(b, ev->now);
    }
    if (b->state == BAK_ST_PROTECTED) {
        b->proved = ev->ok ? ev->now : 0;
    } else {
        b->disk_ok = ev->ok;
        bak_may_contend(b, ev->now, up);
    }
}

/*
 * "The backup VM must continue replaying its execution from the log entries
 * until it has consumed the last log entry. At that point, the backup VM will
 * stop replaying mode and start executing as a normal VM." Before it contends
 * it has proved by a read that it can reach the disk (rule 5), and its promise
 * has expired, or the primary's RELINQUISH gives it back (rule 6). With that
 * RELINQUISH it need not win (rule 4): the claim then runs beside, so that no
 * cold start finds the record free.
 */
static void bak_may_contend(struct bak *b, ft_ns now, struct bak_update *up)
{
    struct bak_effect *e;

    if (b->state == BAK_ST_ARBITRATING && b->relinquished) {
        bak_fence_peer(b, up);
        return;
    }
    if (b->state != BAK_ST_SUSPECTING || b->executed != b->received ||
        !b->disk_ok || (now < b->promise && !b->relinquished)) {
        return;
    }
    b->waiting = false; /* a proof that is still under way tells no more */
    e = bak_do(up, BAK_DO_ARBITRATE);
    e->generation = b->generation;
    e->relinquished = b->relinquished;
    b->state = BAK_ST_ARBITRATING;
    if (b->relinquished) {
        bak_fence_peer(b, up);
    }
}

/* ---- rule 6: the promise, and RELINQUISH -------------------------------- */

/*
 * Who acknowledges promises not to go live for a while: the timeline stands in
 * common/types.h. Here it counts from `now`, which was read after the entries
 * came.
 */
static void bak_promise(struct bak *b, ft_ns now)
{
    ft_ns promise = now + b->timing.lease + b->timing.margin;

    if (promise > b->promise) {
        b->promise = promise;
    }
}

/* Both sides count with the primary's detection and lease. The margin is each
 * host's own caution: the larger one holds. */
static void bak_agree(struct bak *b, const struct bak_event *ev)
{
    b->timing.detect = ev->detect;
    b->timing.lease = ev->lease;
    if (ev->margin > b->timing.margin) {
        b->timing.margin = ev->margin;
    }
}

/* RELINQUISH is sent after the reaping, and only then. */
static void bak_relinquish(struct bak *b, ft_ns now, struct bak_update *up)
{
    b->qemu_gone = true;
    if (!b->open) {
        b->state = BAK_ST_ENDED;
        return;
    }
    bak_do(up, BAK_DO_SEND_RELINQUISH)->position = b->received;
    b->state = BAK_ST_RELINQUISHING;
    b->waiting = false;
    b->until = now + b->timing.detect;
}

static void bak_qemu_died(struct bak *b, const struct bak_event *ev,
                          struct bak_update *up)
{
    if (b->qemu_gone) {
        return;
    }
    b->qemu_gone = true;
    switch (b->state) {
    case BAK_ST_LOADING:
    case BAK_ST_LOADED:
    case BAK_ST_PROTECTED:
        b->reason = BAK_WHY_QEMU_DIED;
        bak_stop_preparing(b, up);
        bak_relinquish(b, ev->now, up);
        break;
    case BAK_ST_DIVERGED:
    case BAK_ST_ENDING:
        bak_relinquish(b, ev->now, up);
        break;
    case BAK_ST_FENCING:
        b->state = BAK_ST_FENCED;
        break;
    case BAK_ST_WAITING:
    case BAK_ST_SUSPECTING:
    case BAK_ST_ARBITRATING:
    case BAK_ST_FENCING_PEER:
    case BAK_ST_GOING_LIVE:
        bak_end(b, BAK_WHY_QEMU_DIED, up);
        break;
    default:
        break;
    }
}

/* ---- rule 7: go-live ---------------------------------------------------- */

/*
 * The last entry is consumed, the disk is reachable and the arbiter won. Then
 * the peer is fenced (the backup waits while the result is unknown), the
 * disks are opened, and the guest is live. Each step follows the answer of
 * the one before.
 */
static void bak_fence_peer(struct bak *b, struct bak_update *up)
{
    b->state = BAK_ST_FENCING_PEER;
    b->waiting = true;
    bak_do(up, BAK_DO_FENCE_PEER);
}

static void bak_go_live(struct bak *b, struct bak_update *up)
{
    b->state = BAK_ST_GOING_LIVE;
    b->waiting = true;
    bak_do(up, BAK_DO_GO_LIVE)->position = b->received;
}

static void bak_try_later(struct bak *b, ft_ns now)
{
    b->waiting = false;
    b->until = now + b->timing.retry;
}

static void bak_retry(struct bak *b, struct bak_update *up)
{
    b->waiting = true;
    switch (b->state) {
    case BAK_ST_SUSPECTING:
        bak_do(up, BAK_DO_PROBE_DISK);
        break;
    case BAK_ST_FENCING_PEER:
        bak_do(up, BAK_DO_FENCE_PEER);
        break;
    case BAK_ST_GOING_LIVE:
        bak_do(up, BAK_DO_GO_LIVE)->position = b->received;
        break;
    default:
        break;
    }
}

/* ---- rule 8: announced protection --------------------------------------- */

/* LOADED says that this side could take the guest over: the replica executes,
 * and what the test-and-set needs is made, so that a storage which fills up
 * later cannot stand in its way. */
static void bak_loaded(struct bak *b, struct bak_update *up)
{
    if (b->state == BAK_ST_LOADING && b->loaded && b->prepared) {
        b->state = BAK_ST_LOADED;
        bak_do(up, BAK_DO_SEND_LOADED)->position = b->received;
    }
}

/* A backup may contend only after it received PROTECTED, and all that was
 * sent before it. */
static void bak_announced(struct bak *b, const struct bak_event *ev,
                          struct bak_update *up)
{
    if (b->state == BAK_ST_LOADING || ev->position > b->received) {
        bak_peer_lost(b, ev->now, BAK_WHY_PEER_BAD, up);
    } else if (b->state == BAK_ST_LOADED) {
        b->state = BAK_ST_PROTECTED;
        b->announced = true;
        b->logged = b->moved = ev->now;
    }
}

/* ---- rule 10: lag ------------------------------------------------------- */

/* A replica that has work and does not move is of no use, and in the end the
 * primary would wait for it: the window is full then. It is given up, and
 * redundancy returns with another one. */
static ft_ns bak_stall(const struct bak *b)
{
    return b->state == BAK_ST_PROTECTED && b->executed < b->received
             ? b->moved + b->timing.stall
             : FT_NEVER;
}

/* ---- rule 11: control entries ------------------------------------------- */

/*
 * A power-off entry ends the backup instead of a go-live (I6), wherever it is
 * on its way there.
 */
static void bak_powered_off(struct bak *b, struct bak_update *up)
{
    if (IN(b, LISTENING | CONTENDING)) {
        bak_end(b, BAK_WHY_POWER_OFF, up);
    }
}

static void bak_told_to_end(struct bak *b, const struct bak_event *ev,
                            struct bak_update *up)
{
    if (ev->code == LC_END_POWER_OFF) {
        bak_powered_off(b, up);
    } else if (IN(b, LISTENING)) {
        bak_kill(b, BAK_ST_ENDING, BAK_WHY_UNPROTECTED, up);
    }
}

/* ---- one event after the other ------------------------------------------ */

static void bak_timeout(struct bak *b, const struct bak_event *ev,
                        struct bak_update *up)
{
    ft_ns now = ev->now;

    if (IN(b, LISTENING) && now >= bak_silence(b)) {
        bak_peer_lost(b, now,
                      now >= b->heard + b->timing.detect ? BAK_WHY_PEER_SILENT
                                                         : BAK_WHY_LOG_SILENT,
                      up);
    } else if (now >= bak_stall(b)) {
        bak_kill(b, BAK_ST_ENDING, BAK_WHY_STALLED, up);
    } else if (now >= bak_proof_due(b)) {
        bak_probe(b, up);
    } else if (b->state == BAK_ST_RELINQUISHING && now >= b->until) {
        bak_peer_lost(b, now, BAK_WHY_PEER_SILENT, up);
    } else if (IN(b, CONTENDING) && !b->waiting && b->until != 0 &&
               now >= b->until) {
        b->until = 0;
        bak_retry(b, up);
    }
    bak_may_contend(b, now, up);
    if (b->open && now >= b->heartbeat) {
        bak_beat(b, now, up);
    }
}

static bool bak_from_peer(enum bak_event_kind kind)
{
    return kind >= BAK_EV_HEARD && kind <= BAK_EV_CLOSED;
}

void bak_step(struct bak *b, const struct bak_event *ev,
              struct bak_update *up)
{
    up->count = 0;
    if (!bak_expects(b, ev->kind)) {
        FT_ILLEGAL();
    }
    if (bak_from_peer(ev->kind)) {
        if (!b->open) {
            return; /* closed: what is still under way means nothing */
        }
        b->heard = ev->now;
    }

    switch (ev->kind) {
    case BAK_EV_CONNECTED:
        if (b->state == BAK_ST_WAITING) {
            b->open = true;
            b->state = BAK_ST_LOADING;
            b->heard = ev->now;
            bak_agree(b, ev);
            bak_beat(b, ev->now, up);
            bak_do(up, BAK_DO_LOAD);
            bak_do(up, BAK_DO_PREPARE_TAKE)->generation = b->generation;
        }
        break;
    case BAK_EV_HEARD:
        break;
    case BAK_EV_ENTRIES:
        if (!IN(b, LISTENING)) {
            break;
        }
        if (ev->position <= b->received) {
            bak_peer_lost(b, ev->now, BAK_WHY_PEER_BAD, up);
            break;
        }
        bak_take_entries(b, ev, up);
        break;
    case BAK_EV_PROTECTED:
        bak_announced(b, ev, up);
        break;
    case BAK_EV_RELINQUISH:
        if (IN(b, LISTENING | BAK_B(ENDING) | BAK_B(DIVERGED) |
                      BAK_B(RELINQUISHING))) {
            bak_do(up, BAK_DO_SEND_RELINQUISH_ACK)->position = b->received;
        }
        if (b->state == BAK_ST_PROTECTED) {
            b->relinquished = true;
            bak_suspect(b, ev->now, BAK_WHY_RELINQUISH, up);
        } else {
            bak_peer_lost(b, ev->now, BAK_WHY_RELINQUISH, up);
        }
        break;
    case BAK_EV_RELINQUISH_ACK:
        if (b->state == BAK_ST_RELINQUISHING) {
            bak_peer_lost(b, ev->now, BAK_WHY_NONE, up);
        }
        break;
    case BAK_EV_END:
        bak_told_to_end(b, ev, up);
        break;
    case BAK_EV_CLONE_FAILED:
        if (b->state == BAK_ST_PROTECTED) {
            bak_peer_lost(b, ev->now, BAK_WHY_PEER_BAD, up);
        } else {
            bak_peer_lost(b, ev->now, BAK_WHY_CLONE, up);
        }
        break;
    case BAK_EV_CLOSED:
        bak_peer_lost(b, ev->now, BAK_WHY_PEER_CLOSED, up);
        break;
    case BAK_EV_LOADED:
        b->loaded = true;
        bak_loaded(b, up);
        break;
    case BAK_EV_PREPARED:
        b->prepared = true;
        bak_loaded(b, up);
        break;
    case BAK_EV_LOAD_FAILED:
        if (b->state == BAK_ST_LOADING) {
            bak_do(up, BAK_DO_SEND_CLONE_FAILED);
            bak_end(b, BAK_WHY_LOAD, up);
        }
        break;
    case BAK_EV_EXECUTED:
        bak_executed(b, ev);
        bak_may_contend(b, ev->now, up);
        break;
    case BAK_EV_DISK:
        bak_probed(b, ev, up);
        break;
    case BAK_EV_WENT_LIVE:
        if (b->state == BAK_ST_GOING_LIVE) {
            b->state = BAK_ST_LIVE;
            b->waiting = false;
            bak_do(up, BAK_DO_BECOME_PRIMARY)->generation = b->generation;
        }
        break;
    case BAK_EV_LIVE_FAILED:
        if (b->state == BAK_ST_GOING_LIVE) {
            bak_try_later(b, ev->now);
        }
        break;
    case BAK_EV_DIVERGED:
        bak_diverged(b, ev, up);
        break;
    case BAK_EV_POWERED_OFF:
        bak_powered_off(b, up);
        break;
    case BAK_EV_QEMU_DIED:
        bak_qemu_died(b, ev, up);
        break;
    case BAK_EV_ARBITRATED:
        bak_arbitrated(b, ev, up);
        break;
    case BAK_EV_PEER_FENCED:
        if (b->state != BAK_ST_FENCING_PEER) {
            break;
        }
        if (ev->ok) {
            bak_go_live(b, up);
        } else {
            bak_try_later(b, ev->now);
        }
        break;
    case BAK_EV_GIVE_UP:
        if (IN(b, LISTENING)) {
            bak_kill(b, BAK_ST_ENDING, BAK_WHY_GIVEN_UP, up);
        } else if (b->state == BAK_ST_WAITING) {
            bak_end(b, BAK_WHY_GIVEN_UP, up);
        }
        break;
    case BAK_EV_TIMEOUT:
        bak_timeout(b, ev, up);
        break;
    case BAK_EV_COUNT:
        FT_ILLEGAL();
    }
}

ft_ns bak_deadline(const struct bak *b)
{
    ft_ns at = FT_NEVER;

    if (IN(b, LISTENING)) {
        at = bak_silence(b);
    }
    at = ft_sooner(at, bak_stall(b));
    at = ft_sooner(at, bak_proof_due(b));
    if (b->open) {
        at = ft_sooner(at, b->heartbeat);
    }
    if (b->state == BAK_ST_RELINQUISHING ||
        (IN(b, CONTENDING) && !b->waiting && b->until != 0)) {
        at = ft_sooner(at, b->until);
    }
    if (b->state == BAK_ST_SUSPECTING && b->disk_ok && !b->relinquished &&
        b->executed == b->received) {
        at = ft_sooner(at, b->promise);
    }
    return at;
}

void bak_init(struct bak *b, const struct ft_timing *t, uint64_t generation)
{
    memset(b, 0, sizeof(*b));
    b->timing = *t;
    b->state = BAK_ST_WAITING;
    b->generation = generation;
}

const char *bak_invariant(const struct bak *b)
{
    if (IN(b, CONTENDING | BAK_B(LIVE) | BAK_B(PROTECTED)) && !b->announced) {
        return "only a backup that received PROTECTED may contend";
    }
    if (IN(b, CONTENDING | BAK_B(LIVE)) && b->open) {
        return "who contends receives and acknowledges nothing more";
    }
    if (IN(b, BAK_B(ARBITRATING) | BAK_B(FENCING_PEER) | BAK_B(GOING_LIVE) |
                  BAK_B(LIVE)) &&
        (b->executed != b->received || !b->disk_ok)) {
        return "a contender has executed all and can read the disk";
    }
    if (b->executed > b->received) {
        return "nothing is executed that was not received";
    }
    if (b->qemu_gone && IN(b, LISTENING | CONTENDING | BAK_B(FENCING))) {
        return "without its QEMU a backup only winds up";
    }
    if (IN(b, BAK_B(RELINQUISHING)) && !b->qemu_gone) {
        return "RELINQUISH is said after the replica is reaped";
    }
    return NULL;
}
