/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver-log.c - the ring: log out, acknowledgements in, the gate
 *
 * QEMU rings `data` when we sleep and it has committed. We look how far whole
 * batches go (LOG), and when the core says so (SEND_ENTRIES) copy all that is
 * ready once, from the ring into the connection's queue, in frames of about
 * FRAME_MAX. While the queue is full nothing is taken, the ring fills, and
 * QEMU stops its guest: a full window stops the primary, it drops nothing.
 *
 * paper, 2.2 and 3.2; rules 1 and 10
 */
#include "primary/driver-internal.h"

#include <inttypes.h>

#include "common/bounds.h"
#include "common/host/log.h"

#define FRAME_MAX (1u << 20)

/* ---- from the ring to the channel --------------------------------------- */

/* Whole batches from tail on, at least one, up to FRAME_MAX together and not
 * beyond position `to`. Returns their bytes and the last one's position. */
static uint64_t measure(struct pri_driver *d, uint64_t to, uint64_t *last)
{
    uint64_t bytes = 0;
    struct ft_batch b;

    *last = d->sent;
    while (*last < to &&
           ft_ring_peek(&d->ring.ring, bytes, *last + 1, &b) == 1) {
        uint64_t n = ft_batch_size(b.length);

        if (bytes > 0 && bytes + n > FRAME_MAX) {
            break;
        }
        bytes += n;
        *last = b.position;
    }
    return bytes;
}

void pri_log_pump(struct pri_driver *d)
{
    bool wake = false;

    while (d->sent < d->want && d->session.log != NULL && d->reading &&
           !lc_conn_full(d->session.log)) {
        uint64_t last, n = measure(d, d->want, &last);
        uint8_t *to = n > 0 ? lc_conn_entries(d->session.log, d->sent + 1,
                                              last, (uint64_t)d->want_stamp,
                                              (uint32_t)n)
                            : NULL;

        if (to == NULL) {
            break;
        }
        ft_ring_copy(&d->ring.ring, 0, to, n);
        wake |= ft_ring_take(&d->ring.ring, n);
        d->scanned -= n;
        d->sent = last;
        d->log_bytes += n;
    }
    if (wake) {
        ft_vmring_bell(&d->ring, FT_VMRING_SPACE);
    }
}

void pri_log_send(struct pri_driver *d, uint64_t position, ft_ns stamp)
{
    d->want = position;
    d->want_stamp = stamp;
    ft_lag_note(&d->lag, position, stamp);
    pri_log_pump(d);
}

/* How far do whole batches go? False when the ring is not sound. */
static bool scan(struct pri_driver *d)
{
    struct ft_batch b;
    int r;

    while ((r = ft_ring_peek(&d->ring.ring, d->scanned, d->seen + 1, &b)) ==
           1) {
        d->scanned += ft_batch_size(b.length);
        d->seen = b.position;
    }
    return r == 0;
}

/* One look at what QEMU has committed. What it adds meanwhile has the next turn
 * of the loop: it may add without end. */
static void pri_look(struct pri_driver *d)
{
    struct ft_err err;
    uint64_t before = d->seen;

    if (!scan(d)) {
        /* Nothing that this QEMU logged can be relied on any more. */
        ft_error("%s: QEMU's log is malformed after position %" PRIu64
                 "; killing QEMU",
                 d->c.object, d->seen);
        pri_log_stop(d);
        ft_vmlink_kill(d->c.vmlink, &err);
        return;
    }
    if (d->seen > before) {
        pri_raise(d, (struct pri_event){ .kind = PRI_EV_LOG,
                                         .position = d->seen });
    }
    if (!d->reading) {
        return;
    }
    ft_ring_announce_wait(&d->ring.ring.page->consumer_waits);
    if (ft_ring_peek(&d->ring.ring, d->scanned, 0, &(struct ft_batch){ 0 }) !=
        0) {
        ft_timer_after(&d->look_again, 0);
    }
}

static void on_look_again(struct ft_timer *t, void *arg)
{
    (void)t;
    pri_look(arg);
}

static void on_data(struct ft_watch *w, int events, void *arg)
{
    struct pri_driver *d = arg;

    (void)events;
    if (!ft_vmring_hush(&d->ring, FT_VMRING_DATA)) {
        ft_watch_stop(w);
    }
    pri_look(d);
}

/* QEMU has said its last word: what it committed before is still sent. */
void pri_log_drain(struct pri_driver *d)
{
    if (d->reading) {
        pri_look(d);
    }
}

int pri_log_open(struct pri_driver *d, struct ft_err *err)
{
    pri_log_close(d);
    if (ft_vmring_create(&d->ring, FT_LOG_RING, FT_GATE_FREE, err) < 0) {
        return -1;
    }
    d->reading = true;
    d->scanned = d->seen = d->sent = d->want = 0;
    d->executed = d->log_bytes = 0;
    d->lag.n = 0;
    ft_watch_init(&d->data_watch, d->c.loop, d->ring.fd[FT_VMRING_DATA],
                  on_data, d);
    ft_watch_set(&d->data_watch, EV_READ);
    ft_timer_init(&d->look_again, d->c.loop, on_look_again, d);
    ft_ring_announce_wait(&d->ring.ring.page->consumer_waits);
    return 0;
}

void pri_log_stop(struct pri_driver *d)
{
    if (d->reading) {
        d->reading = false;
        ft_watch_stop(&d->data_watch);
        ft_timer_stop(&d->look_again);
    }
}

void pri_log_close(struct pri_driver *d)
{
    pri_log_stop(d);
    ft_vmring_destroy(&d->ring);
}

/* ---- the gate ----------------------------------------------------------- */

uint64_t pri_log_shut(struct pri_driver *d)
{
    uint64_t position;

    if (!ft_vmring_is_open(&d->ring)) {
        return 0;
    }
    ft_vmring_set_gate(&d->ring, FT_GATE_SHUT);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    position = ft_vmring_committed(&d->ring);
    ft_vmring_bell(&d->ring, FT_VMRING_GATE);
    /* Outputs of the batch that is still open may have left as well. */
    return position + 1;
}

void pri_log_release(struct pri_driver *d, uint64_t acked, ft_ns lease_until,
                     bool open)
{
    if (!ft_vmring_is_open(&d->ring)) {
        return;
    }
    ft_vmring_set_acked(&d->ring, acked, (uint64_t)lease_until);
    if (open) {
        ft_vmring_set_gate(&d->ring, FT_GATE_RULE);
    }
    ft_vmring_bell(&d->ring, FT_VMRING_GATE);
}

void pri_log_acked(struct pri_driver *d, const struct lc_ack *ack)
{
    if (ack->executed > d->executed && ack->executed <= d->sent) {
        d->executed = ack->executed;
    }
    if (d->c.trace != NULL) {
        fprintf(d->c.trace, "%" PRId64 " ACKED %" PRIu64 "\n", ft_monotonic(),
                ack->position);
    }
    pri_raise(d, (struct pri_event){ .kind = PRI_EV_ACK,
                                     .position = ack->position,
                                     .stamp = (ft_ns)ack->stamp });
}
