/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * raw.c - a connection as a plain byte stream, for relay.c
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "logging-channel/conn_priv.h"

void lc_conn_raw(struct lc_conn *c,
                 void (*event)(struct lc_conn *c, void *arg), void *arg)
{
    c->raw_event = event;
    c->raw_arg = arg;
    if (c->state == CONN_FRAMES) {
        c->state = CONN_RAW;
        ft_timer_after(&c->again, 0);
    }
}

ssize_t lc_conn_raw_read(struct lc_conn *c, void *buf, size_t cap)
{
    size_t n = c->in.used < cap ? c->in.used : cap;

    /* what came right behind WELCOME was read as if it were frames */
    if (n) {
        memcpy(buf, c->in.buf + c->in.start, n);
        lc_queue_drop(&c->in, n);
        return (ssize_t)n;
    }
    if (c->state != CONN_RAW) {
        errno = ENOTCONN;
        return -1;
    }
    n = lc_conn_tls_read(c, buf, cap);
    if (n) {
        return (ssize_t)n;
    }
    if (c->peer_ended) {
        return 0;
    }
    errno = c->state == CONN_RAW ? EAGAIN : ENOTCONN;
    return -1;
}

size_t lc_conn_raw_room(const struct lc_conn *c)
{
    if (c->state != CONN_RAW || c->own_end_wanted ||
        c->out.used >= c->high_water) {
        return 0;
    }
    return c->high_water - c->out.used;
}

int lc_conn_raw_write(struct lc_conn *c, const void *buf, size_t n)
{
    uint8_t *to;

    if (c->state != CONN_RAW || c->own_end_wanted) {
        return -1;
    }
    to = lc_queue_room(&c->out, n);
    if (!to) {
        lc_conn_failf(c, ENOMEM, "no memory to send");
        return -1;
    }
    memcpy(to, buf, n);
    c->out.used += n;
    lc_conn_wants_flush(c);
    return 0;
}

void lc_conn_raw_end(struct lc_conn *c)
{
    c->own_end_wanted = true;
    lc_conn_wants_flush(c);
}

bool lc_conn_raw_ended(const struct lc_conn *c)
{
    return c->own_ended;
}
