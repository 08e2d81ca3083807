/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver.c - hosts the backup's core: events in, effects out, in order
 *
 * Whatever happens becomes an event in the inbox. Its time is read when it is
 * raised, after what it reports has been received: an older time would shorten
 * the promise that an acknowledgement makes.
 *
 * rule 6: the time from which the promise counts
 */
#include "backup/driver-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/host/log.h"

void bak_detail(struct bak_driver *d, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(d->detail, sizeof(d->detail), fmt, ap);
    va_end(ap);
}

/* A step of the failover, for people. */
#define mark(d, ...)                                                       \
    ft_timeline_add((d)->c.timeline, (d)->c.object, __VA_ARGS__)

static void on_arbiter(struct tas_driver *f, enum tas_op op,
                       uint64_t generation, enum tas_result result, void *arg)
{
    struct bak_driver *d = arg;
    bool won = result == TAS_RES_WON;

    (void)f, (void)op, (void)generation;
    mark(d, "arbitration %s", won ? "won" : "lost");
    bak_raise(d, (struct bak_event){ .kind = BAK_EV_ARBITRATED,
                                     .ok = won });
}

/* ---- effects ------------------------------------------------------------ */

static int send_vmlink(struct bak_driver *d, const struct lc_msg *m,
                       const int *fds, int n, struct ft_err *err)
{
    return ft_vmlink_send(d->c.vmlink, &d->c.pair, d->c.generation, m, fds, n,
                          err);
}

static void load(struct bak_driver *d)
{
    struct lc_msg m = { .type = LC_VL_INCOMING };
    char path[FT_OPTION_TEXT + 32];
    struct ft_err err;

    snprintf(path, sizeof(path), "%s/clone.sock", d->c.dir);
    lc_set_str(&m.u.vl_incoming.path, path);
    if (bak_log_open(d, &err) < 0 ||
        send_vmlink(d, &m, d->ring.fd, FT_VMRING_FDS, &err) < 0) {
        bak_detail(d, "%s", err.text);
        ft_error("%s: %s", d->c.object, err.text);
        bak_raise_kind(d, BAK_EV_LOAD_FAILED);
    }
}

static void send_ack(struct bak_driver *d, const struct bak_effect *e)
{
    struct lc_msg m = { .type = LC_ACK };

    m.u.ack.position = e->position;
    m.u.ack.stamp = (uint64_t)e->stamp;
    m.u.ack.executed = bak_log_executed(d);
    if (d->c.trace != NULL) {
        fprintf(d->c.trace, "%" PRId64 " ACK %" PRIu64 "\n", ft_monotonic(),
                e->position);
    }
    bak_peer_send(d, &m);
}

static void answer_probe(struct bak_driver *d, bool ok)
{
    bak_raise(d, (struct bak_event){ .kind = BAK_EV_DISK, .ok = ok });
}

static void probe(struct bak_driver *d)
{
    struct lc_msg m = { .type = LC_VL_PROBE };
    struct ft_err err;

    if (send_vmlink(d, &m, NULL, 0, &err) < 0) {
        ft_error("%s: %s", d->c.object, err.text);
        answer_probe(d, false); /* it is asked again */
    }
}

static void on_disk(struct bak_driver *d, const struct lc_vl_disk *disk)
{
    if (!disk->ok) {
        bak_detail(d, "%s", disk->text.s);
        ft_warning("%s: the disk cannot be reached: %s", d->c.object,
                   disk->text.s);
    } else if (d->core.state == BAK_ST_PROTECTED) {
        d->detail[0] = 0;
    }
    answer_probe(d, disk->ok);
}

static void go_live(struct bak_driver *d, uint64_t position)
{
    struct lc_msg m = { .type = LC_VL_GO_LIVE };
    struct ft_err err;

    mark(d, "go-live begun");
    m.u.vl_go_live.last = position;
    if (send_vmlink(d, &m, NULL, 0, &err) < 0) {
        ft_error("%s: %s", d->c.object, err.text);
        bak_raise_kind(d, BAK_EV_LIVE_FAILED);
    }
}

static void kill_qemu(struct bak_driver *d)
{
    struct lc_msg m = { .type = LC_VL_FENCE };
    struct ft_err err;

    lc_set_str(&m.u.vl_fence.text, bak_reason_text(d->core.reason));
    send_vmlink(d, &m, NULL, 0, &err);
    if (ft_vmlink_kill(d->c.vmlink, &err) < 0) {
        ft_error("%s: %s", d->c.object, err.text);
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
        lc_set_str(&m.u.diverged.text, d->detail);
        break;
    case LC_RELINQUISH:
        m.u.relinquish.position = position;
        break;
    case LC_RELINQUISH_ACK:
        m.u.relinquish_ack.position = position;
        break;
    default:
        lc_set_str(&m.u.clone_failed.text, d->detail);
        break;
    }
    bak_peer_send(d, &m);
}

static void carry_out(struct bak_driver *d, const struct bak_effect *e)
{
    switch (e->kind) {
    case BAK_DO_LOAD:
        load(d);
        break;
    case BAK_DO_SEND_HEARTBEAT:
        bak_peer_beat(d);
        break;
    case BAK_DO_SEND_ACK:
        send_ack(d, e);
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
    case BAK_DO_ARBITRATE:
        mark(d, "arbitration begun%s", e->relinquished
                                           ? " for the record only" : "");
        tas_driver_begin(d->arbiter, TAS_OP_TAKE, e->generation);
        break;
    case BAK_DO_STOP_ARBITER:
        tas_driver_stop(d->arbiter);
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
        kill_qemu(d);
        break;
    case BAK_DO_COUNT:
        abort();
    }
}

/* ---- stepping ----------------------------------------------------------- */

/* The detail in memory, once nothing depends on our speed any more. */
static void dump(struct bak_driver *d)
{
    if (d->dump) {
        d->dump = false;
        ft_log_dump(d->c.object);
    }
}

/* What a change of state means for people. */
static void note_state(struct bak_driver *d)
{
    const char *why = bak_reason_text(d->core.reason);

    switch (d->core.state) {
    case BAK_ST_SUSPECTING:
        d->dump = true; /* not now: it might wait for a disk */
        ft_timeline_clear(d->c.timeline);
        mark(d, "detected: %s", why);
        bak_log_watch(d, true);
        break;
    case BAK_ST_PROTECTED:
        d->detail[0] = '\0';
        ft_info("%s: protects %s, generation %" PRIu64, d->c.object, d->peer,
                d->c.generation);
        break;
    case BAK_ST_LIVE:
        bak_log_close(d);
        dump(d);
        break;
    case BAK_ST_DIVERGED:
    case BAK_ST_FENCED:
    case BAK_ST_ENDED:
        dump(d);
        ft_info("%s: %s: %s%s%s", d->c.object,
                ft_pair_state_name(bak_pair_state(d->core.state)), why,
                d->detail[0] ? ": " : "", d->detail);
        break;
    default:
        break;
    }
}

static void note_progress(struct bak_driver *d, bool disk_was_ok)
{
    if (d->core.disk_ok && !disk_was_ok) {
        mark(d, "disk reached");
    }
    if (d->core.state >= BAK_ST_SUSPECTING && d->core.state < BAK_ST_LIVE &&
        !d->consumed && d->core.executed == d->core.received) {
        d->consumed = true;
        mark(d, "consumed: the last entry, position %" PRIu64,
             d->core.received);
        bak_log_watch(d, false);
    }
}

static void step(struct bak_driver *d, const struct bak_event *ev)
{
    enum bak_state before = d->core.state;
    bool disk_was_ok = d->core.disk_ok;
    struct bak_update up = { 0 };
    const char *broken;

    bak_step(&d->core, ev, &up);
    if (before != d->core.state) {
        ft_debug("%s: %s: %s -> %s", d->c.object, bak_event_name(ev->kind),
                 bak_state_name(before), bak_state_name(d->core.state));
        if (d->core.state == BAK_ST_SUSPECTING) {
            d->consumed = false;
        }
    }
    if (before != d->core.state && before == BAK_ST_PROTECTED) {
        /* Time counts: note it before the effects. */
        note_state(d);
    }
    note_progress(d, disk_was_ok);
    for (unsigned i = 0; i < up.count; i++) {
        carry_out(d, &up.effect[i]);
    }
    broken = bak_invariant(&d->core);
    if (broken != NULL) {
        ft_error("%s: internal: %s", d->c.object, broken);
        ft_log_dump(d->c.object);
        abort();
    }
    if (before != d->core.state) {
        if (before != BAK_ST_PROTECTED) {
            note_state(d);
        }
        d->c.changed(d->c.arg);
    }
}

static void on_event(void *arg, const void *event)
{
    struct bak_driver *d = arg;
    struct bak_event ev;

    memcpy(&ev, event, sizeof(ev));
    if (bak_expects(&d->core, ev.kind)) {
        step(d, &ev);
    } else {
        /* Only QEMU can bring this about, by a message that answers
         * nothing. */
        ft_warning("%s: unexpected: %s while %s", d->c.object,
                   bak_event_name(ev.kind), bak_state_name(d->core.state));
    }
}

static ft_ns deadline(void *arg)
{
    const struct bak_driver *d = arg;

    return bak_deadline(&d->core);
}

static void on_deadline(void *arg)
{
    /* An agent that could not run for a while has not looked either: its
     * replica may have moved. */
    if (bak_log_look(arg)) {
        bak_raise_kind(arg, BAK_EV_TIMEOUT);
    }
}

static const struct ft_inbox_ops inbox_ops = {
    on_event, deadline, on_deadline
};

void bak_raise(struct bak_driver *d, struct bak_event ev)
{
    ev.now = ft_boottime();
    ft_inbox_put(&d->inbox, &ev, sizeof(ev));
}

/* ---- the owner's calls -------------------------------------------------- */

struct bak_driver *bak_driver_new(const struct bak_driver_config *c,
                                  struct ft_err *err)
{
    const struct ft_options *o = c->options;
    struct ft_timing timing = FT_TIMING_DEFAULT;
    struct bak_driver *d = calloc(1, sizeof(*d));

    if (d == NULL) {
        ft_err_set(err, ENOMEM, "%s: out of memory", c->object);
        return NULL;
    }
    d->c = *c;
    snprintf(d->peer, sizeof(d->peer), "%s", c->peer);
    d->c.peer = d->peer;
    d->tls = lc_tls_load(o->pki_dir, o->host_name, err);
    if (d->tls == NULL) {
        goto out;
    }
    d->arbiter = tas_driver_open(c->loop, c->arbiter, &c->vm, &c->pair,
                                 TAS_SIDE_BACKUP, &c->nonce, o->host_name,
                                 on_arbiter, d, err);
    if (d->arbiter == NULL) {
        goto out;
    }
    d->c.arbiter = NULL;
    timing.margin = o->failover_margin_ms * FT_NS_PER_MS;
    bak_init(&d->core, &timing, c->generation);
    ft_inbox_init(&d->inbox, c->loop, &inbox_ops, d);
    bak_peer_init(d);
    bak_log_init(d);
    return d;
out:
    lc_tls_free(d->tls);
    free(d);
    return NULL;
}

void bak_driver_free(struct bak_driver *d)
{
    if (d == NULL) {
        return;
    }
    ft_inbox_stop(&d->inbox);
    bak_peer_close(d);
    bak_log_close(d);
    tas_driver_close(d->arbiter);
    lc_tls_free(d->tls);
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

static void on_failed(struct bak_driver *d, const struct lc_vl_failed *f)
{
    const char *name = lc_type_name(f->command);

    bak_detail(d, "%s", f->text.s);
    ft_warning("%s: QEMU: %s failed: %s", d->c.object,
               name != NULL ? name : "a command", f->text.s);
    if (f->command == LC_VL_INCOMING) {
        bak_raise_kind(d, BAK_EV_LOAD_FAILED);
    } else if (f->command == LC_VL_GO_LIVE) {
        mark(d, "go-live failed: %s", f->text.s);
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
        on_failed(d, &msg->u.vl_failed);
        break;
    case LC_VL_DISK:
        on_disk(d, &msg->u.vl_disk);
        break;
    case LC_VL_LIVE:
        mark(d, "live: %u writes issued again, network announced",
             msg->u.vl_live.reissued);
        bak_raise_kind(d, BAK_EV_WENT_LIVE);
        break;
    case LC_VL_DIVERGED:
        bak_detail(d, "%s", msg->u.vl_diverged.text.s);
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
    const char *trouble = tas_driver_trouble(d->arbiter);
    ft_ns now = ft_boottime();

    memset(s, 0, sizeof(*s));
    s->state = bak_pair_state(d->core.state);
    if (d->core.state == BAK_ST_WAITING) {
        why = "waiting for the primary";
    }
    snprintf(s->reason, sizeof(s->reason), "%s%s%s%s%s", why,
             *why && d->detail[0] ? ": " : "", d->detail,
             trouble ? "; " : "", trouble ? trouble : "");
    s->pair = d->c.pair;
    s->generation = d->c.generation;
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
