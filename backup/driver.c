/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver.c - hosts the backup's core: events in, effects out, in order
 *
 * Whatever happens becomes an event in the inbox. Its time is read when it is
 * raised, after what it reports has been received: an older time would shorten
 * the promise that an acknowledgement makes.
 *
 * rule 4: it asks the arbiter for the backup's side
 * rule 6: the time from which the promise counts
 */
#include "backup/driver-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/host/log.h"

/* ---- the arbiter -------------------------------------------------------- */

static void bak_on_decided(struct tas_driver *f, enum tas_op op,
                           uint64_t generation, enum tas_result result,
                           void *arg)
{
    struct bak_driver *d = arg;
    bool won = result == TAS_RES_WON;

    (void)f, (void)generation;
    if (op == TAS_OP_PREPARE) {
        bak_raise_kind(d, BAK_EV_PREPARED);
        return;
    }
    ft_host_mark(&d->host, "arbitration %s", won ? "won" : "lost");
    bak_raise(d, (struct bak_event){ .kind = BAK_EV_ARBITRATED, .ok = won });
}

/* ---- effects ------------------------------------------------------------ */

static int command_qemu(struct bak_driver *d, const struct lc_msg *m,
                        const int *fds, int n, struct ft_err *err)
{
    return ft_vmlink_send(d->c.vmlink, &d->session.pair,
                          d->session.generation, m, fds, n, err);
}

static void load(struct bak_driver *d)
{
    struct lc_msg m = { .type = LC_VL_INCOMING };
    char path[FT_CLONE_PATH];
    struct ft_err err;

    ft_session_clone_path(&d->session, path);
    lc_set_str(&m.u.vl_incoming.path, path);
    if (bak_log_open(d, &err) < 0 ||
        command_qemu(d, &m, d->ring.qemu, FT_VMRING_FDS, &err) < 0) {
        ft_host_detail(&d->host, "%s", err.text);
        ft_error("%s: %s", d->c.object, err.text);
        bak_raise_kind(d, BAK_EV_LOAD_FAILED);
    }
    ft_vmring_sent(&d->ring);
}

static void bak_send_ack(struct bak_driver *d, const struct bak_effect *e)
{
    struct lc_msg m = { .type = LC_ACK };

    m.u.ack.position = e->position;
    m.u.ack.stamp = (uint64_t)e->stamp;
    m.u.ack.executed = bak_log_executed(d);
    if (d->c.trace != NULL) {
        fprintf(d->c.trace, "%" PRId64 " ACK %" PRIu64 "\n", ft_monotonic(),
                e->position);
    }
    ft_session_send(&d->session, &m);
}

static void answer_probe(struct bak_driver *d, bool ok)
{
    bak_raise(d, (struct bak_event){ .kind = BAK_EV_DISK, .ok = ok });
}

static void probe(struct bak_driver *d)
{
    struct lc_msg m = { .type = LC_VL_PROBE };
    struct ft_err err;

    if (command_qemu(d, &m, NULL, 0, &err) < 0) {
        ft_error("%s: %s", d->c.object, err.text);
        answer_probe(d, false); /* it is asked again */
    }
}

static void bak_on_disk(struct bak_driver *d, const struct lc_vl_disk *disk)
{
    if (!disk->ok) {
        ft_host_detail(&d->host, "%s", disk->text.s);
        ft_warning("%s: the disk cannot be reached: %s", d->c.object,
                   disk->text.s);
    } else if (d->core.state == BAK_ST_PROTECTED) {
        d->host.detail[0] = 0;
    }
    answer_probe(d, disk->ok);
}

static void go_live(struct bak_driver *d, uint64_t position)
{
    struct lc_msg m = { .type = LC_VL_GO_LIVE };
    struct ft_err err;

    ft_host_mark(&d->host, "go-live begun");
    m.u.vl_go_live.last = position;
    if (command_qemu(d, &m, NULL, 0, &err) < 0) {
        ft_error("%s: %s", d->c.object, err.text);
        bak_raise_kind(d, BAK_EV_LIVE_FAILED);
    }
}

static void send_simple(struct bak_driver *d, uint16_t type,
                        uint64_t position)
{
    struct lc_msg m = { .type = type };

    switch (type) {
    case LC_LOADED:
        m.u.loaded.position = position;
        break;
    case LC_DIVERGED:
        m.u.diverged.position = position;
        lc_set_str(&m.u.diverged.text, d->host.detail);
        break;
    case LC_RELINQUISH:
        m.u.relinquish.position = position;
        break;
    case LC_RELINQUISH_ACK:
        m.u.relinquish_ack.position = position;
        break;
    default:
        lc_set_str(&m.u.clone_failed.text, d->host.detail);
        break;
    }
    ft_session_send(&d->session, &m);
}

static void bak_kill_qemu(struct bak_driver *d)
{
    struct ft_err err;

    if (ft_vmlink_fence(d->c.vmlink, &d->session.pair, d->session.generation,
                        bak_reason_text(d->core.reason), &err) < 0) {
        ft_error("%s: %s", d->c.object, err.text);
    }
}

static void bak_carry_out(struct bak_driver *d, const struct bak_effect *e)
{
    switch (e->kind) {
    case BAK_DO_LOAD:
        load(d);
        break;
    case BAK_DO_SEND_HEARTBEAT:
        ft_session_beat(&d->session);
        break;
    case BAK_DO_SEND_ACK:
        bak_send_ack(d, e);
        break;
    case BAK_DO_SEND_LOADED:
        send_simple(d, LC_LOADED, e->position);
        break;
    case BAK_DO_SEND_DIVERGED:
        send_simple(d, LC_DIVERGED, e->position);
        break;
    case BAK_DO_SEND_RELINQUISH:
        send_simple(d, LC_RELINQUISH, e->position);
        break;
    case BAK_DO_SEND_RELINQUISH_ACK:
        send_simple(d, LC_RELINQUISH_ACK, e->position);
        break;
    case BAK_DO_SEND_CLONE_FAILED:
        send_simple(d, LC_CLONE_FAILED, 0);
        break;
    case BAK_DO_CLOSE:
        bak_peer_close(d);
        break;
    case BAK_DO_PROBE_DISK:
        probe(d);
        break;
    case BAK_DO_PREPARE_TAKE:
        tas_driver_begin(d->host.arbiter, TAS_OP_PREPARE, e->generation);
        break;
    case BAK_DO_ARBITRATE:
        ft_host_mark(&d->host, "arbitration begun%s",
                     e->relinquished ? " for the record only" : "");
        tas_driver_begin(d->host.arbiter, TAS_OP_TAKE, e->generation);
        break;
    case BAK_DO_STOP_ARBITER:
        tas_driver_stop(d->host.arbiter);
        break;
    case BAK_DO_FENCE_PEER:
        /* fence=none: what the lease does not cover stays uncovered. */
        bak_raise(d, (struct bak_event){ .kind = BAK_EV_PEER_FENCED,
                                         .ok = true });
        break;
    case BAK_DO_GO_LIVE:
        go_live(d, e->position);
        break;
    case BAK_DO_BECOME_PRIMARY:
        break; /* the owner sees bak_driver_is_live() */
    case BAK_DO_KILL_QEMU:
        bak_kill_qemu(d);
        break;
    case BAK_DO_COUNT:
        abort();
    }
}

/* ---- stepping ----------------------------------------------------------- */

/* The steps of a failover. They are noted before the effects are carried
 * out, which cause the next ones and may take time. */
static void bak_note_steps(struct bak_driver *d, const struct bak *before)
{
    const struct bak *b = &d->core;

    if (b->state == BAK_ST_SUSPECTING && before->state != b->state) {
        d->consumed = false;
        ft_host_begin(&d->host);
        ft_host_mark(&d->host, "detected: %s", bak_reason_text(b->reason));
        bak_log_watch(d, true);
    }
    if (b->disk_ok && !before->disk_ok) {
        ft_host_mark(&d->host, "disk reached");
    }
    if (b->state >= BAK_ST_SUSPECTING && b->state < BAK_ST_LIVE &&
        !d->consumed && b->executed == b->received) {
        d->consumed = true;
        ft_host_mark(&d->host, "consumed: the last entry, position %" PRIu64,
                     b->received);
        bak_log_watch(d, false);
    }
}

/* What a change of state means for people, once its effects are carried out. */
static void bak_note_state(struct bak_driver *d)
{
    const char *why = bak_reason_text(d->core.reason);

    switch (d->core.state) {
    case BAK_ST_PROTECTED:
        d->host.detail[0] = '\0';
        ft_info("%s: protects %s, generation %" PRIu64, d->c.object, d->peer,
                d->core.generation);
        break;
    case BAK_ST_LIVE:
        bak_log_close(d);
        ft_host_over(&d->host);
        break;
    case BAK_ST_DIVERGED:
    case BAK_ST_FENCED:
    case BAK_ST_ENDED:
        ft_host_over(&d->host);
        ft_info("%s: %s: %s%s%s", d->c.object,
                ft_pair_state_name(bak_pair_state(d->core.state)), why,
                d->host.detail[0] ? ": " : "", d->host.detail);
        break;
    default:
        break;
    }
}

/* One event: the core's step, and what it asked for, in its order. */
static void bak_on_event(void *arg, const void *event)
{
    struct bak_driver *d = arg;
    const struct bak before = d->core;
    struct bak_update up;
    struct bak_event ev;

    memcpy(&ev, event, sizeof(ev));
    if (!bak_expects(&d->core, ev.kind)) {
        ft_host_unexpected(&d->host, bak_event_name(ev.kind),
                           bak_state_name(before.state));
        return;
    }
    bak_step(&d->core, &ev, &up);
    if (before.state != d->core.state) {
        ft_host_moved(&d->host, bak_event_name(ev.kind),
                      bak_state_name(before.state),
                      bak_state_name(d->core.state));
    }
    bak_note_steps(d, &before);
    for (unsigned i = 0; i < up.count; i++) {
        bak_carry_out(d, &up.effect[i]);
    }
    ft_host_check(&d->host, bak_invariant(&d->core));
    if (before.state != d->core.state) {
        bak_note_state(d);
        d->c.changed(d->c.arg);
    }
}

static ft_ns bak_when(void *arg)
{
    return bak_deadline(&((const struct bak_driver *)arg)->core);
}

static void bak_on_deadline(void *arg)
{
    /* An agent that could not run for a while has not looked either: its
     * replica may have moved. */
    if (bak_log_look(arg)) {
        bak_raise_kind(arg, BAK_EV_TIMEOUT);
    }
}

static const struct ft_inbox_ops bak_inbox_ops = { bak_on_event, bak_when,
                                                   bak_on_deadline };

void bak_raise(struct bak_driver *d, struct bak_event ev)
{
    ev.now = ft_boottime();
    ft_inbox_put(&d->host.inbox, &ev, sizeof(ev));
}

/* ---- the owner's calls -------------------------------------------------- */

struct bak_driver *bak_driver_new(const struct bak_driver_config *c,
                                  struct ft_err *err)
{
    const struct ft_options *o = c->host.options;
    struct bak_driver *d = calloc(1, sizeof(*d));
    struct ft_timing timing;

    if (d == NULL) {
        ft_err_set(err, ENOMEM, "%s: out of memory", c->host.object);
        return NULL;
    }
    d->c = c->host;
    ft_host_init(&d->host, &d->c, &bak_inbox_ops, d);
    timing = ft_host_timing(&d->host);
    bak_init(&d->core, &timing, c->generation);
    bak_peer_init(d);
    bak_log_init(d);
    d->session.pair = c->pair;
    d->session.generation = c->generation;
    snprintf(d->peer, sizeof(d->peer), "%s", c->peer);
    d->session.tls = lc_tls_load(o->pki_dir, o->host_name, err);
    if (d->session.tls == NULL) {
        goto out;
    }
    d->host.arbiter = tas_driver_open(d->c.loop, c->arbiter, &d->c.vm,
                                      &c->pair, TAS_SIDE_BACKUP, &d->c.nonce,
                                      o->host_name, bak_on_decided, d, err);
    if (d->host.arbiter == NULL) {
        goto out;
    }
    return d;
out:
    bak_driver_free(d);
    return NULL;
}

void bak_driver_free(struct bak_driver *d)
{
    if (d == NULL) {
        return;
    }
    ft_host_close(&d->host);
    bak_peer_close(d);
    bak_log_close(d);
    lc_tls_free(d->session.tls);
    free(d);
}

void bak_driver_give_up(struct bak_driver *d)
{
    bak_raise_kind(d, BAK_EV_GIVE_UP);
}

void bak_driver_gone(struct bak_driver *d)
{
    bak_raise_kind(d, BAK_EV_QEMU_DIED);
}

static void bak_on_failed(struct bak_driver *d, const struct lc_vl_failed *f)
{
    ft_host_detail(&d->host, "%s", f->text.s);
    ft_host_failed(&d->host, f);
    if (f->command == LC_VL_INCOMING) {
        bak_raise_kind(d, BAK_EV_LOAD_FAILED);
    } else if (f->command == LC_VL_GO_LIVE) {
        ft_host_mark(&d->host, "go-live failed: %s", f->text.s);
        bak_raise_kind(d, BAK_EV_LIVE_FAILED);
    }
}

void bak_driver_message(struct bak_driver *d, const struct lc_msg *msg)
{
    switch (msg->type) {
    case LC_VL_LOADED:
        bak_raise_kind(d, BAK_EV_LOADED);
        break;
    case LC_VL_FAILED:
        bak_on_failed(d, &msg->u.vl_failed);
        break;
    case LC_VL_DISK:
        bak_on_disk(d, &msg->u.vl_disk);
        break;
    case LC_VL_LIVE:
        ft_host_mark(&d->host,
                     "live: %u writes issued again, network announced",
                     msg->u.vl_live.reissued);
        bak_raise_kind(d, BAK_EV_WENT_LIVE);
        break;
    case LC_VL_DIVERGED:
        ft_host_detail(&d->host, "%s", msg->u.vl_diverged.text.s);
        bak_raise(d, (struct bak_event){
                         .kind = BAK_EV_DIVERGED,
                         .position = msg->u.vl_diverged.position });
        break;
    case LC_VL_ENDED:
        bak_raise_kind(d, BAK_EV_POWERED_OFF);
        break;
    case LC_VL_PROGRESS:
        break;
    default:
        ft_warning("%s: unexpected from QEMU: %s", d->c.object,
                   lc_type_name(msg->type));
        break;
    }
}

/* ---- what it looks like ------------------------------------------------- */

void bak_driver_status(struct bak_driver *d, struct ft_pair_status *s)
{
    const char *why = bak_reason_text(d->core.reason);
    ft_ns now = ft_boottime();

    memset(s, 0, sizeof(*s));
    s->state = bak_pair_state(d->core.state);
    if (d->core.state == BAK_ST_WAITING) {
        why = "waiting for the primary";
    }
    ft_host_reason(&d->host, why, s->reason);
    s->pair = d->session.pair;
    s->generation = d->session.generation;
    snprintf(s->peer, sizeof(s->peer), "%s", d->peer);
    s->position = s->acked = d->core.received;
    s->executed = bak_log_executed(d);
    s->lag_ms = (uint64_t)(ft_lag_of(&d->lag, s->executed, now) /
                           FT_NS_PER_MS);
    s->log_bytes = d->log_bytes;
    if (d->core.promise > now) {
        s->lease_ms = (uint64_t)((d->core.promise - now) / FT_NS_PER_MS);
    }
}

bool bak_driver_is_over(const struct bak_driver *d)
{
    return d->core.state == BAK_ST_FENCED || d->core.state == BAK_ST_ENDED;
}

bool bak_driver_is_live(const struct bak_driver *d, bool *claim)
{
    *claim = d->core.relinquished;
    return d->core.state == BAK_ST_LIVE;
}
