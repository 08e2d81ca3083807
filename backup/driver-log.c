/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver-log.c - the log: from the channel into the ring
 *
 * A frame's batches are checked (positions without a gap, checksums), put
 * into the ring or, when that is full, into memory, and then acknowledged:
 * received, not executed. What waits in memory is bounded by FT_LOG_WINDOW;
 * beyond it the socket is not read, so that the primary stops in the end.
 *
 * How far the replica is stands in the ring's page. Nobody rings for it, so
 * the agent looks: every LOOK_IDLE, which is often enough for the lag that is
 * shown, and every LOOK_OFTEN while a go-live waits.
 *
 * paper, 2.2 and 3.2; rules 1 and 10
 */
#include "backup/driver-internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/bounds.h"
#include "common/host/log.h"

/* The agent reads on as soon as a little has room again: until then the
 * primary's guest stands still, and a window that stays closed ends the
 * connection (conn.h). */
#define RESUME (FT_LOG_WINDOW - (4u << 20))
#define LOOK_IDLE (50 * FT_NS_PER_MS)
#define LOOK_OFTEN (1 * FT_NS_PER_MS)

/* NULL, or what is wrong. */
static const char *bak_check(const struct bak_driver *d,
                             const struct lc_entries *e)
{
    uint64_t at = 0, n, expect = d->received + 1;
    struct ft_batch b;

    if (e->first != expect || e->last < e->first) {
        return "entries are missing or come twice";
    }
    while (at < e->batches.n) {
        if (ft_batch_parse(e->batches.p + at, e->batches.n - at, expect, &b,
                           &n) != 1) {
            return "a batch is damaged";
        }
        at += n;
        expect++;
    }
    return expect == e->last + 1 ? NULL : "the frame lacks batches";
}

static void put(struct bak_driver *d, const uint8_t *bytes, uint32_t n,
                uint64_t last)
{
    if (ft_ring_put_framed(&d->ring.ring, last, bytes, n)) {
        ft_vmring_bell(&d->ring, FT_VMRING_DATA);
    }
}

static void set_paused(struct bak_driver *d, bool pause)
{
    if (d->paused != pause && d->session.log != NULL) {
        lc_conn_pause(d->session.log, pause);
        d->paused = pause;
    }
}

static void keep(struct bak_driver *d, const struct lc_entries *e)
{
    struct bak_chunk *k = malloc(sizeof(*k) + e->batches.n);

    if (k == NULL) {
        /* Nothing may be acknowledged that is not kept. */
        ft_error("%s: no memory for the log", d->c.object);
        abort();
    }
    k->next = NULL;
    k->last = e->last;
    k->n = e->batches.n;
    memcpy(k->bytes, e->batches.p, k->n);
    *d->tail = k;
    d->tail = &k->next;
    d->waiting += k->n;
    if (d->waiting > FT_LOG_WINDOW) {
        set_paused(d, true);
    }
}

/* Memory -> ring, as far as there is room; then wait for more. */
static void refill(struct bak_driver *d)
{
    for (;;) {
        struct bak_chunk *k = d->head;

        if (k == NULL) {
            return;
        }
        if (!ft_ring_has_space(&d->ring.ring, k->n)) {
            ft_ring_announce_wait(&d->ring.ring.page->producer_waits);
            if (!ft_ring_has_space(&d->ring.ring, k->n)) {
                return;
            }
        }
        put(d, k->bytes, k->n, k->last);
        d->head = k->next;
        if (d->head == NULL) {
            d->tail = &d->head;
        }
        d->waiting -= k->n;
        free(k);
        if (d->waiting < RESUME) {
            set_paused(d, false);
        }
    }
}

void bak_log_entries(struct bak_driver *d, const struct lc_entries *e)
{
    const char *wrong = ft_vmring_is_open(&d->ring)
                          ? bak_check(d, e)
                          : "entries before the clone";

    if (wrong != NULL) {
        bak_peer_malformed(d, wrong);
        return;
    }
    if (d->head == NULL && ft_ring_has_space(&d->ring.ring, e->batches.n)) {
        put(d, e->batches.p, e->batches.n, e->last);
    } else {
        keep(d, e);
        refill(d);
    }
    d->received = e->last;
    d->log_bytes += e->batches.n;
    ft_lag_note(&d->lag, e->last, ft_boottime());
    bak_raise(d, (struct bak_event){ .kind = BAK_EV_ENTRIES,
                                     .position = e->last,
                                     .stamp = (ft_ns)e->stamp });
}

/* ---- how far the replica is --------------------------------------------- */

uint64_t bak_log_executed(struct bak_driver *d)
{
    uint64_t at = ft_vmring_is_open(&d->ring) ? ft_vmring_executed(&d->ring)
                                              : d->core.executed;

    /* The page is QEMU's to write: believe it up to what it was given. */
    return at <= d->received ? at : d->received;
}

bool bak_log_look(struct bak_driver *d)
{
    uint64_t at = bak_log_executed(d);

    /* The page was read first: what QEMU said before it wrote the page (that
     * the guest powered off, that it diverged) comes before EXECUTED. */
    if (!ft_vmlink_drain(d->c.vmlink)) {
        return false;
    }
    if (at > d->core.executed) {
        bak_raise(d, (struct bak_event){ .kind = BAK_EV_EXECUTED,
                                         .position = at });
    }
    return true;
}

static void on_look(struct ft_timer *t, void *arg)
{
    (void)t;
    bak_log_look(arg);
}

void bak_log_watch(struct bak_driver *d, bool often)
{
    ft_timer_every(&d->look, often ? LOOK_OFTEN : LOOK_IDLE);
}

static void on_space(struct ft_watch *w, int events, void *arg)
{
    struct bak_driver *d = arg;

    (void)events;
    if (!ft_vmring_hush(&d->ring, FT_VMRING_SPACE)) {
        ft_watch_stop(w);
    }
    refill(d);
}

/* ---- open and close ----------------------------------------------------- */

void bak_log_init(struct bak_driver *d)
{
    d->tail = &d->head;
    ft_timer_init(&d->look, d->c.loop, on_look, d);
}

int bak_log_open(struct bak_driver *d, struct ft_err *err)
{
    /* A replica's outputs are swallowed; once it is live they are its own
     * business, so the gate does not matter. */
    if (ft_vmring_create(&d->ring, FT_LOG_RING, FT_GATE_FREE, err) < 0) {
        return -1;
    }
    ft_watch_init(&d->space_watch, d->c.loop, d->ring.fd[FT_VMRING_SPACE],
                  on_space, d);
    ft_watch_set(&d->space_watch, EV_READ);
    bak_log_watch(d, false);
    return 0;
}

void bak_log_close(struct bak_driver *d)
{
    ft_timer_stop(&d->look);
    if (ft_vmring_is_open(&d->ring)) {
        ft_watch_stop(&d->space_watch);
    }
    ft_vmring_destroy(&d->ring);
    while (d->head != NULL) {
        struct bak_chunk *k = d->head;

        d->head = k->next;
        free(k);
    }
    d->tail = &d->head;
    d->waiting = 0;
}
