/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver.c - hosts the primary's core: events in, effects out, in order
 *
 * Whatever happens becomes an event in the inbox; also what answers an effect
 * at once (SHUT_GATE).
 *
 * rule 4: which arbiter is asked, and for which side
 */
#include "primary/driver-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/host/log.h"

#define PROGRESS (100 * FT_NS_PER_MS)

/* ---- the arbiter -------------------------------------------------------- */

static void pri_on_decided(struct tas_driver *f, enum tas_op op,
                           uint64_t generation, enum tas_result result,
                           void *arg)
{
    struct pri_driver *d = arg;

    (void)f;
    if (op == TAS_OP_PREPARE) {
        pri_raise(d, (struct pri_event){ .kind = PRI_EV_PREPARED,
                                         .generation = generation });
        return;
    }
    if (op == TAS_OP_FREE) {
        pri_raise(d, (struct pri_event){ .kind = PRI_EV_FREED,
                                         .generation = generation,
                                         .ok = result == TAS_RES_DONE });
        return;
    }
    ft_host_mark(&d->host, "arbitration %s",
                 result == TAS_RES_WON ? "won" : "lost");
    pri_raise(d, (struct pri_event){ .kind = PRI_EV_ARBITRATED,
                                     .generation = generation,
                                     .ok = result == TAS_RES_WON });
}

/* Rule 4: which arbiter is asked from now on, and for which side of the pair.
 * -1: err; then the one before is kept. */
static int pri_open_arbiter(struct pri_driver *d, const char *uri,
                            const lc_id *pair, enum tas_side side,
                            struct ft_err *err)
{
    struct tas_driver *f;

    f = tas_driver_open(d->c.loop, uri, &d->c.vm, pair, side, &d->c.nonce,
                        d->c.options->host_name, pri_on_decided, d, err);
    if (f == NULL) {
        return -1;
    }
    tas_driver_close(d->host.arbiter);
    d->host.arbiter = f;
    return 0;
}

/* ---- effects ------------------------------------------------------------ */

static void tell_qemu(struct pri_driver *d, uint16_t type)
{
    struct lc_msg m = { .type = type };
    struct ft_err err;

    if (ft_vmlink_send(d->c.vmlink, &d->session.pair, d->session.generation,
                       &m, NULL, 0, &err) < 0) {
        ft_error("%s: %s", d->c.object, err.text);
    }
}

static void pri_send_end(struct pri_driver *d, enum lc_end_reason code)
{
    struct lc_msg m = { .type = LC_END };

    m.u.end.reason = (uint8_t)code;
    lc_set_str(&m.u.end.text, pri_reason_text(d->core.reason));
    ft_session_send(&d->session, &m);
}

static void pri_send_position(struct pri_driver *d, uint16_t type,
                              uint64_t position)
{
    struct lc_msg m = { .type = type };

    switch (type) {
    case LC_PROTECTED:
        m.u.protected.position = position;
        break;
    case LC_RELINQUISH:
        m.u.relinquish.position = position;
        break;
    default:
        m.u.relinquish_ack.position = position;
        break;
    }
    ft_session_send(&d->session, &m);
}

static void pri_send_clone_failed(struct pri_driver *d)
{
    struct lc_msg m = { .type = LC_CLONE_FAILED };

    lc_set_str(&m.u.clone_failed.text, d->host.detail);
    ft_session_send(&d->session, &m);
}

static void pri_shut_gate(struct pri_driver *d)
{
    pri_raise(d, (struct pri_event){ .kind = PRI_EV_SHUT,
                                     .position = pri_log_shut(d) });
}

static void pri_fence(struct pri_driver *d)
{
    struct ft_err err;

    if (ft_vmlink_fence(d->c.vmlink, &d->session.pair, d->session.generation,
                        pri_reason_text(d->core.reason), &err) < 0) {
        ft_error("%s: %s", d->c.object, err.text);
    }
}

static void pri_carry_out(struct pri_driver *d, const struct pri_effect *e)
{
    switch (e->kind) {
    case PRI_DO_CONNECT:
        pri_peer_connect(d);
        break;
    case PRI_DO_START_CLONE:
        pri_peer_clone(d);
        break;
    case PRI_DO_CANCEL_CLONE:
        tell_qemu(d, LC_VL_CANCEL);
        pri_peer_clone_over(d);
        break;
    case PRI_DO_SEND_HEARTBEAT:
        ft_session_beat(&d->session);
        break;
    case PRI_DO_SEND_ENTRIES:
        pri_log_send(d, e->position, e->stamp);
        break;
    case PRI_DO_SHUT_GATE:
        pri_shut_gate(d);
        break;
    case PRI_DO_PREPARE_TAKE:
        tas_driver_begin(d->host.arbiter, TAS_OP_PREPARE, e->generation);
        break;
    case PRI_DO_WRITE_FREE:
        tas_driver_begin(d->host.arbiter, TAS_OP_FREE, e->generation);
        break;
    case PRI_DO_SEND_PROTECTED:
        /* PROTECTED goes before the entries that still wait for room in
         * the channel, so it must not say that they were sent. */
        pri_send_position(d, LC_PROTECTED, d->sent);
        break;
    case PRI_DO_OPEN_GATE:
        pri_log_release(d, e->position, e->lease_until, true);
        break;
    case PRI_DO_RELEASE:
        pri_log_release(d, e->position, e->lease_until, false);
        break;
    case PRI_DO_ARBITRATE:
        ft_host_mark(&d->host, "arbitration begun");
        tas_driver_begin(d->host.arbiter, TAS_OP_TAKE, e->generation);
        break;
    case PRI_DO_STOP_ARBITER:
        tas_driver_stop(d->host.arbiter);
        break;
    case PRI_DO_GO_ALONE:
        tell_qemu(d, LC_VL_GO_ALONE);
        break;
    case PRI_DO_FENCE:
        pri_fence(d);
        break;
    case PRI_DO_SEND_RELINQUISH:
        pri_send_position(d, LC_RELINQUISH, e->position);
        break;
    case PRI_DO_SEND_RELINQUISH_ACK:
        pri_send_position(d, LC_RELINQUISH_ACK, e->position);
        break;
    case PRI_DO_SEND_END:
        pri_send_end(d, e->code);
        break;
    case PRI_DO_SEND_CLONE_FAILED:
        pri_send_clone_failed(d);
        break;
    case PRI_DO_CLOSE:
        pri_log_stop(d);
        pri_peer_close(d);
        break;
    case PRI_DO_COUNT:
        abort();
    }
}

/* ---- stepping ----------------------------------------------------------- */

/* A protected pair is lost: this is the timeline's first mark. It is made
 * before the effects are carried out, which cause the next ones and may
 * take time. */
static void pri_note_loss(struct pri_driver *d, enum pri_state before)
{
    bool bound = before == PRI_ST_PROTECTED || before == PRI_ST_ANNOUNCING;

    if (bound && FT_IN(&d->core, PRI_B(SUSPECTING) | PRI_B(ARBITRATING) |
                                     PRI_B(RELINQUISHING))) {
        ft_host_begin(&d->host);
        ft_host_mark(&d->host, "%s", pri_reason_text(d->core.reason));
    }
}

/* What a change of state means for people, once its effects are carried out. */
static void pri_note_state(struct pri_driver *d)
{
    enum pri_state now = d->core.state;
    const char *why = pri_reason_text(d->core.reason);

    if (now != PRI_ST_ALONE) {
        d->live = false;
    }
    switch (now) {
    case PRI_ST_ALONE:
        pri_log_close(d);
        ft_host_over(&d->host);
        ft_info("%s: alone%s%s", d->c.object, *why ? ": " : "", why);
        break;
    case PRI_ST_FENCED:
    case PRI_ST_ENDED:
        pri_log_close(d);
        ft_host_over(&d->host);
        ft_info("%s: %s: %s", d->c.object,
                ft_pair_state_name(pri_pair_state(now)), why);
        break;
    case PRI_ST_PROTECTED:
        d->host.detail[0] = '\0';
        ft_info("%s: protected by %s, generation %" PRIu64, d->c.object,
                d->peer, d->core.generation);
        break;
    default:
        break;
    }
}

/* One event: the core's step, and what it asked for, in its order. */
static void pri_on_event(void *arg, const void *event)
{
    struct pri_driver *d = arg;
    enum pri_state before = d->core.state;
    struct pri_update up;
    struct pri_event ev;

    memcpy(&ev, event, sizeof(ev));
    if (!pri_expects(&d->core, ev.kind)) {
        ft_host_unexpected(&d->host, pri_event_name(ev.kind),
                           pri_state_name(before));
        return;
    }
    pri_step(&d->core, &ev, &up);
    if (before != d->core.state) {
        ft_host_moved(&d->host, pri_event_name(ev.kind),
                      pri_state_name(before), pri_state_name(d->core.state));
        pri_note_loss(d, before);
    }
    for (unsigned i = 0; i < up.count; i++) {
        pri_carry_out(d, &up.effect[i]);
    }
    ft_host_check(&d->host, pri_invariant(&d->core));
    if (before != d->core.state) {
        pri_note_state(d);
        d->c.changed(d->c.arg);
    }
}

static ft_ns pri_when(void *arg)
{
    return pri_deadline(&((const struct pri_driver *)arg)->core);
}

static void pri_on_deadline(void *arg)
{
    pri_raise_kind(arg, PRI_EV_TIMEOUT);
}

static const struct ft_inbox_ops pri_inbox_ops = { pri_on_event, pri_when,
                                                   pri_on_deadline };

void pri_raise(struct pri_driver *d, struct pri_event ev)
{
    ev.now = ft_boottime();
    ft_inbox_put(&d->host.inbox, &ev, sizeof(ev));
}

/* ---- the owner's calls -------------------------------------------------- */

struct pri_driver *pri_driver_new(const struct pri_driver_config *c)
{
    struct pri_driver *d = calloc(1, sizeof(*d));
    struct ft_timing timing;
    struct ft_err err;

    if (d == NULL) {
        return NULL;
    }
    d->c = c->host;
    d->live = c->live;
    ft_host_init(&d->host, &d->c, &pri_inbox_ops, d);
    timing = ft_host_timing(&d->host);
    pri_init(&d->core, &timing, c->generation);
    pri_peer_init(d);
    d->session.pair = c->pair;
    d->session.generation = c->generation;
    /* This guest was the backup of c->pair until now, and it is that side's
     * grant of c->generation which is still to be put on record: the primary's
     * name would deny it to us, or give it to the host that lost it. */
    if (c->claim != NULL &&
        pri_open_arbiter(d, c->claim, &c->pair, TAS_SIDE_BACKUP, &err) == 0) {
        tas_driver_begin(d->host.arbiter, TAS_OP_TAKE, c->generation);
    }
    return d;
}

void pri_driver_free(struct pri_driver *d)
{
    if (d == NULL) {
        return;
    }
    ft_host_close(&d->host);
    pri_peer_close(d);
    pri_log_close(d);
    lc_tls_free(d->session.tls);
    free(d);
}

int pri_driver_protect(struct pri_driver *d, const struct pri_pair *pair,
                       struct ft_err *err)
{
    const struct ft_options *o = d->c.options;
    struct lc_tls *tls;

    if (!pri_expects(&d->core, PRI_EV_PROTECT)) {
        return ft_err_set(err, EBUSY, "%s: it is %s already", d->c.object,
                          ft_pair_state_name(pri_pair_state(d->core.state)));
    }
    if (pair->generation <= d->core.highest) {
        return ft_err_set(err, EINVAL,
                          "%s: generation %" PRIu64 " was used "
                          "before; the next is %" PRIu64,
                          d->c.object, pair->generation, d->core.highest + 1);
    }
    tls = lc_tls_load(o->pki_dir, o->host_name, err);
    if (tls == NULL) {
        return -1;
    }
    if (pri_open_arbiter(d, pair->arbiter, &pair->pair, TAS_SIDE_PRIMARY,
                         err) < 0) {
        lc_tls_free(tls);
        return -1;
    }
    lc_tls_free(d->session.tls);
    d->session.tls = tls;
    d->session.pair = pair->pair;
    d->port = pair->port;
    d->downtime_ms = pair->downtime_ms;
    snprintf(d->peer, sizeof(d->peer), "%s", pair->peer);
    snprintf(d->address, sizeof(d->address), "%s", pair->address);
    d->host.detail[0] = '\0';
    ft_info("%s: making a backup on %s, generation %" PRIu64, d->c.object,
            d->peer, pair->generation);
    pri_raise(d, (struct pri_event){ .kind = PRI_EV_PROTECT,
                                     .generation = pair->generation });
    return 0;
}

int pri_driver_orphan(struct pri_driver *d, const lc_id *pair,
                      uint64_t generation, uint64_t position,
                      const char *arbiter, struct ft_err *err)
{
    if (pri_open_arbiter(d, arbiter, pair, TAS_SIDE_PRIMARY, err) < 0) {
        return -1;
    }
    d->session.pair = *pair;
    d->session.generation = generation;
    d->seen = d->sent = position;
    ft_warning("%s: QEMU was found recording for generation %" PRIu64
               " without its agent; its gate stays shut, and it goes on "
               "alone only if its backup does not",
               d->c.object, generation);
    ft_timeline_clear(d->c.timeline);
    ft_host_mark(&d->host, "orphan found");
    pri_raise(d, (struct pri_event){ .kind = PRI_EV_ORPHAN,
                                     .generation = generation });
    return 0;
}

void pri_driver_unprotect(struct pri_driver *d)
{
    pri_raise_kind(d, PRI_EV_UNPROTECT);
}

void pri_driver_gone(struct pri_driver *d)
{
    /* What it had committed before it died may still be sent. */
    pri_log_drain(d);
    pri_raise_kind(d, PRI_EV_QEMU_DIED);
}

static void pri_on_failed(struct pri_driver *d, const struct lc_vl_failed *f)
{
    if (d->core.state == PRI_ST_CLONING) {
        ft_host_detail(&d->host, "%s", f->text.s);
    }
    ft_host_failed(&d->host, f);
    if (f->command == LC_VL_CLONE) {
        pri_raise_kind(d, PRI_EV_CLONE_STOPPED);
    }
}

/* Told as often as an honest QEMU says it (about every 200 ms). */
static void pri_on_progress(struct pri_driver *d,
                            const struct lc_vl_progress *p)
{
    ft_ns now = ft_boottime();

    d->clone_sent = p->sent;
    d->clone_remaining = p->remaining;
    if (now - d->progress_told >= PROGRESS) {
        d->progress_told = now;
        d->c.changed(d->c.arg);
    }
}

void pri_driver_message(struct pri_driver *d, const struct lc_msg *msg)
{
    switch (msg->type) {
    case LC_VL_CLONED:
        ft_info("%s: cloned, the guest paused %" PRIu64 " us", d->c.object,
                msg->u.vl_cloned.pause_ns / 1000);
        pri_raise_kind(d, PRI_EV_CLONED);
        break;
    case LC_VL_FAILED:
        pri_on_failed(d, &msg->u.vl_failed);
        break;
    case LC_VL_ALONE:
        ft_host_mark(&d->host, "the guest goes on alone");
        pri_raise_kind(d, PRI_EV_WENT_ALONE);
        break;
    case LC_VL_ENDED:
        ft_info("%s: the guest powered off", d->c.object);
        pri_log_drain(d);
        pri_raise(d,
                  (struct pri_event){ .kind = PRI_EV_POWERED_OFF,
                                      .position = msg->u.vl_ended.position });
        break;
    case LC_VL_PROGRESS:
        pri_on_progress(d, &msg->u.vl_progress);
        break;
    default:
        ft_warning("%s: unexpected from QEMU: %s", d->c.object,
                   lc_type_name(msg->type));
        break;
    }
}

/* ---- what it looks like ------------------------------------------------- */

void pri_driver_status(struct pri_driver *d, struct ft_pair_status *s)
{
    ft_ns now = ft_boottime();

    memset(s, 0, sizeof(*s));
    s->state = d->live ? FT_PAIR_LIVE : pri_pair_state(d->core.state);
    ft_host_reason(&d->host, pri_reason_text(d->core.reason), s->reason);
    s->pair = d->session.pair;
    s->generation = d->core.next ? d->core.next : d->core.generation;
    if (pri_driver_is_busy(d)) {
        snprintf(s->peer, sizeof(s->peer), "%s", d->peer);
    }
    s->position = d->core.sent;
    s->acked = d->core.acked;
    s->executed = d->executed;
    s->lag_ms = (uint64_t)(ft_lag_of(&d->lag, d->executed, now) /
                           FT_NS_PER_MS);
    s->log_bytes = d->log_bytes;
    if (d->core.gate == PRI_GATE_RULE && d->core.lease_until > now) {
        s->lease_ms = (uint64_t)((d->core.lease_until - now) / FT_NS_PER_MS);
    }
    s->clone_sent = d->clone_sent;
    s->clone_remaining = d->clone_remaining;
}

bool pri_driver_is_busy(const struct pri_driver *d)
{
    return d->core.state != PRI_ST_ALONE && !pri_driver_is_over(d);
}

bool pri_driver_is_over(const struct pri_driver *d)
{
    return d->core.state == PRI_ST_FENCED || d->core.state == PRI_ST_ENDED;
}

bool pri_driver_is_primary(const struct pri_driver *d)
{
    return d->core.generation != 0 || d->core.next != 0;
}
