/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * relay.c - carry a byte stream between a connection and a UNIX socket
 *
 * Two pumps. Out: UNIX -> the connection's queue, while that has room. In:
 * connection -> one buffer -> UNIX; while the buffer is not empty nothing is
 * read from the connection, so the peer's TCP stops. pump() runs both until
 * neither moves, then says which events it waits for.
 *
 * paper, 3.1; rule 8: the clone's stream
 */
#include "logging-channel/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/host/loop.h"

#define STEP (128u << 10)
#define TURN 32 /* steps of each pump in one iteration */

struct lc_relay {
    struct ev_loop *loop;
    struct lc_conn *conn;
    int fd;
    struct ft_watch watch;
    struct ft_timer again;
    void (*done)(struct lc_relay *r, const struct ft_err *err, void *arg);
    void *arg;
    struct lc_relay_result result;

    uint8_t in[STEP];
    size_t in_start, in_used;
    bool unix_ended; /* our QEMU has ended its direction */
    bool peer_ended; /* the peer has, and all of it is delivered */
    bool deaf;       /* our QEMU reads no more: discard */
    bool over;       /* done() was called */
    unsigned depth;
    bool freed;
};

static void relay_release(struct lc_relay *r)
{
    free(r);
}

static void stop(struct lc_relay *r)
{
    ft_watch_stop(&r->watch);
    ft_timer_stop(&r->again);
    lc_conn_free(r->conn);
    r->conn = NULL;
    if (r->fd >= 0) {
        close(r->fd);
        r->fd = -1;
    }
}

static void relay_finish(struct lc_relay *r, const struct ft_err *err)
{
    if (!r->over) {
        r->over = true;
        stop(r);
        r->done(r, err, r->arg);
    }
}

static void fail_unix(struct lc_relay *r, int code, const char *what)
{
    struct ft_err err;

    ft_err_sys(&err, code, "clone stream: the emulator's socket: %s", what);
    relay_finish(r, &err);
}

/* Returns whether something moved. */
static bool pump_out(struct lc_relay *r)
{
    uint8_t buf[STEP];
    size_t room = lc_conn_raw_room(r->conn);
    ssize_t n;

    if (r->unix_ended || !room) {
        return false;
    }
    n = recv(r->fd, buf, room < sizeof(buf) ? room : sizeof(buf), 0);
    if (n > 0) {
        r->result.sent += (uint64_t)n;
        lc_conn_raw_write(r->conn, buf, (size_t)n);
        return true;
    }
    if (n == 0) {
        r->unix_ended = true;
        lc_conn_raw_end(r->conn);
        return true;
    }
    if (errno != EAGAIN && errno != EINTR) {
        fail_unix(r, errno, "cannot read");
    }
    return false;
}

static bool deliver(struct lc_relay *r)
{
    ssize_t n = send(r->fd, r->in + r->in_start, r->in_used, MSG_NOSIGNAL);

    if (n < 0) {
        if (errno == EPIPE || errno == ECONNRESET) {
            /* The UNIX side has closed, whether its own direction is done
             * or not: what it does not want is no error of the stream. */
            r->deaf = true;
            return true;
        }
        if (errno != EAGAIN && errno != EINTR) {
            fail_unix(r, errno, "cannot write");
        }
        return false;
    }
    r->result.received += (uint64_t)n;
    r->in_start += (size_t)n;
    r->in_used -= (size_t)n;
    return true;
}

static bool pump_in(struct lc_relay *r)
{
    ssize_t n;

    if (r->in_used) {
        if (!r->deaf) {
            return deliver(r);
        }
        r->result.discarded += r->in_used;
        r->in_used = 0;
        return true;
    }
    if (r->peer_ended) {
        return false;
    }
    r->in_start = 0;
    n = lc_conn_raw_read(r->conn, r->in, sizeof(r->in));
    if (n > 0) {
        r->in_used = (size_t)n;
        return true;
    }
    if (n == 0) {
        r->peer_ended = true;
        shutdown(r->fd, SHUT_WR);
        return true;
    }
    return false; /* nothing there, or over: then closed() comes */
}

static void pump(struct lc_relay *r)
{
    bool more = true;
    int i;

    for (i = 0; more && i < TURN; i++) {
        more = !r->over && pump_out(r);
        more = (!r->over && pump_in(r)) || more;
    }
    if (r->over) {
        return;
    }
    if (r->unix_ended && r->peer_ended && lc_conn_raw_ended(r->conn)) {
        relay_finish(r, NULL);
        return;
    }
    lc_conn_pause(r->conn, r->in_used != 0);
    ft_watch_set(&r->watch,
                 (!r->unix_ended && lc_conn_raw_room(r->conn) ? EV_READ : 0) |
                     (r->in_used ? EV_WRITE : 0));
    if (more) {
        ft_timer_after(&r->again, 0);
    }
}

static void relay_run(struct lc_relay *r)
{
    r->depth++;
    if (!r->over) {
        pump(r);
    }
    if (--r->depth == 0 && r->freed) {
        relay_release(r);
    }
}

static void conn_event(struct lc_conn *c, void *arg)
{
    (void)c;
    relay_run(arg);
}

static void relay_watch_cb(struct ft_watch *w, int events, void *arg)
{
    (void)w;
    (void)events;
    relay_run(arg);
}

static void relay_again_cb(struct ft_timer *t, void *arg)
{
    (void)t;
    relay_run(arg);
}

static void conn_ready(struct lc_conn *c, void *arg)
{
    (void)c;
    (void)arg;
}

static void conn_frame(struct lc_conn *c, const struct lc_frame *head,
                       const struct lc_msg *m, void *arg)
{
    (void)c;
    (void)head;
    (void)m;
    (void)arg;
}

static void conn_closed(struct lc_conn *c, const struct ft_err *why,
                        void *arg)
{
    struct lc_relay *r = arg;
    struct ft_err err = *why;

    (void)c;
    r->depth++;
    ft_err_prefix(&err, "clone stream");
    relay_finish(r, &err);
    if (--r->depth == 0 && r->freed) {
        relay_release(r);
    }
}

static const struct lc_conn_ops conn_ops = {
    .ready = conn_ready,
    .frame = conn_frame,
    .closed = conn_closed,
};

struct lc_relay *lc_relay_start(
    struct ev_loop *loop, struct lc_conn *c, int fd,
    void (*done)(struct lc_relay *r, const struct ft_err *err, void *arg),
    void *arg)
{
    struct lc_relay *r = calloc(1, sizeof(*r));

    if (!r) {
        lc_conn_free(c);
        close(fd);
        return NULL;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    r->loop = loop;
    r->conn = c;
    r->fd = fd;
    r->done = done;
    r->arg = arg;
    ft_watch_init(&r->watch, loop, fd, relay_watch_cb, r);
    ft_timer_init(&r->again, loop, relay_again_cb, r);
    lc_conn_set_arg(c, &conn_ops, r);
    lc_conn_raw(c, conn_event, r);
    ft_timer_after(&r->again, 0);
    return r;
}

struct lc_relay_result lc_relay_result(const struct lc_relay *r)
{
    return r->result;
}

void lc_relay_free(struct lc_relay *r)
{
    if (!r || r->freed) {
        return;
    }
    r->over = true;
    stop(r);
    r->freed = true;
    if (!r->depth) {
        relay_release(r);
    }
}
