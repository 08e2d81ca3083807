/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conn.c - one connection of the logging channel: TLS, queue, life and death
 *
 * Callbacks and freeing: each entry from the loop is bracketed by enter and
 * leave; lc_conn_free() inside stops everything at once and the memory goes
 * when the outermost bracket closes. closed() never comes from within a call
 * of the owner's: a failure feeds the `dead` watcher, which the loop serves
 * after the running callback.
 *
 * Sending: the queue is flushed by a watcher of the lowest priority that is
 * fed when the queue gets its first byte. libev serves it after every other
 * event of this iteration and before it sleeps: frames coalesce into few TLS
 * records, and none waits for another iteration.
 *
 * paper, 3.5; rule 1
 */
#include "logging-channel/conn_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/bounds.h"
#include "common/host/log.h"

#define DEFAULT_TIMEOUT (5 * FT_NS_PER_S)
#define DEFAULT_SILENCE (10 * FT_NS_PER_S)
#define WRITE_STEP (256u << 10) /* bytes given to one SSL_write() */
#define READ_TURN (1u << 20)    /* bytes taken in one turn of the loop */

/* ---- life and death ---- */

static void conn_release(struct lc_conn *c)
{
    lc_queue_free(&c->in);
    lc_queue_free(&c->out);
    free(c);
}

/* No event and no byte from now on. */
static void shut(struct lc_conn *c)
{
    c->state = CONN_OVER;
    lc_conn_connect_done(c);
    ft_watch_stop(&c->watch);
    ft_timer_stop(&c->timer);
    ft_timer_stop(&c->again);
    ev_clear_pending(c->loop, &c->flush);
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
}

void lc_conn_enter(struct lc_conn *c)
{
    c->depth++;
}

bool lc_conn_leave(struct lc_conn *c)
{
    if (--c->depth == 0 && c->freed) {
        SSL_free(c->ssl);
        conn_release(c);
        return false;
    }
    return !c->freed;
}

void lc_conn_free(struct lc_conn *c)
{
    if (!c || c->freed) {
        return;
    }
    lc_conn_enter(c);
    shut(c);
    ev_clear_pending(c->loop, &c->dead);
    c->freed = true;
    lc_conn_leave(c);
}

static void update_watch(struct lc_conn *c);

static void conn_fail(struct lc_conn *c, const struct ft_err *err)
{
    if (c->state == CONN_OVER) {
        return;
    }
    c->why = *err;
    ft_err_prefix(&c->why, "peer %s", c->name);
    shut(c);
    ev_feed_event(c->loop, &c->dead, EV_PREPARE);
}

void lc_conn_failf(struct lc_conn *c, int code, const char *fmt, ...)
{
    struct ft_err err;
    va_list ap;

    err.code = code;
    va_start(ap, fmt);
    vsnprintf(err.text, sizeof(err.text), fmt, ap);
    va_end(ap);
    conn_fail(c, &err);
}

static void dead_cb(struct ev_loop *loop, ev_prepare *w, int revents)
{
    struct lc_conn *c = w->data;

    (void)loop;
    (void)revents;
    lc_conn_enter(c);
    c->ops->closed(c, &c->why, c->arg);
    lc_conn_leave(c);
}

/* ---- sending ---- */

void lc_conn_wants_flush(struct lc_conn *c)
{
    if (!ev_is_pending(&c->flush)) {
        ev_feed_event(c->loop, &c->flush, EV_PREPARE);
    }
}

static void tls_failed(struct lc_conn *c, int error, int sys)
{
    struct ft_err err;

    lc_tls_explain(&c->check, c->state == CONN_HANDSHAKE, error, sys, &err);
    conn_fail(c, &err);
}

static bool write_some(struct lc_conn *c)
{
    size_t n = c->out.used < WRITE_STEP ? c->out.used : WRITE_STEP, done = 0;
    int rc;

    /* A write that was begun must be repeated with no fewer bytes. */
    if (n < c->write_retry) {
        n = c->write_retry;
    }
    errno = 0;
    rc = SSL_write_ex(c->ssl, c->out.buf + c->out.start, n, &done);
    c->write_wants_read = false;
    if (rc == 1) {
        c->write_retry = 0;
        lc_queue_drop(&c->out, done);
        return true;
    }
    rc = SSL_get_error(c->ssl, rc);
    if (rc == SSL_ERROR_WANT_WRITE || rc == SSL_ERROR_WANT_READ) {
        c->write_retry = n;
        c->write_wants_read = rc == SSL_ERROR_WANT_READ;
    } else {
        tls_failed(c, rc, errno);
    }
    return false;
}

static void send_end(struct lc_conn *c)
{
    if (!c->own_ended && c->own_end_wanted && !c->out.used) {
        int rc = SSL_shutdown(c->ssl);

        if (rc < 0) {
            rc = SSL_get_error(c->ssl, rc);
            if (rc == SSL_ERROR_WANT_WRITE) {
                return;
            }
        }
        ERR_clear_error();
        c->own_ended = true;
        if (c->state == CONN_FINISHING) {
            shutdown(c->fd, SHUT_WR);
        }
    }
}

static bool can_transfer(const struct lc_conn *c)
{
    return c->state == CONN_FRAMES || c->state == CONN_RAW ||
           c->state == CONN_FINISHING;
}

/* Write as much as goes. Calls nobody but drained() and the relay. */
static void flush(struct lc_conn *c)
{
    if (!can_transfer(c)) {
        return;
    }
    ERR_clear_error();
    while (c->out.used && write_some(c)) {
    }
    if (c->state == CONN_OVER) {
        return;
    }
    send_end(c);
    update_watch(c);
    if (c->full && c->out.used <= c->low_water) {
        c->full = false;
        if (c->state == CONN_FRAMES && c->ops->drained) {
            c->ops->drained(c, c->arg);
        }
    }
}

static void flush_cb(struct ev_loop *loop, ev_prepare *w, int revents)
{
    struct lc_conn *c = w->data;

    (void)loop;
    (void)revents;
    lc_conn_enter(c);
    flush(c);
    if (c->state == CONN_RAW) {
        c->raw_event(c, c->raw_arg);
    }
    lc_conn_leave(c);
}

void lc_conn_flush(struct lc_conn *c)
{
    lc_conn_enter(c);
    flush(c);
    lc_conn_leave(c);
}

void lc_conn_finish(struct lc_conn *c)
{
    if (c->state == CONN_OVER || c->state == CONN_FINISHING) {
        return;
    }
    if (!can_transfer(c)) {
        lc_conn_failf(c, ECANCELED, "given up");
        return;
    }
    c->state = CONN_FINISHING;
    c->own_end_wanted = true;
    c->paused = false;
    ft_timer_after(&c->timer, c->timeout);
    lc_conn_wants_flush(c);
    update_watch(c);
}

/* ---- receiving ---- */

size_t lc_conn_tls_read(struct lc_conn *c, void *buf, size_t cap)
{
    size_t n = 0;
    int rc;

    if (c->peer_ended || c->state == CONN_OVER) {
        return 0;
    }
    ERR_clear_error();
    errno = 0;
    rc = SSL_read_ex(c->ssl, buf, cap, &n);
    c->read_wants_write = false;
    if (rc == 1) {
        return n;
    }
    rc = SSL_get_error(c->ssl, rc);
    if (rc == SSL_ERROR_WANT_WRITE || rc == SSL_ERROR_WANT_READ) {
        c->read_wants_write = rc == SSL_ERROR_WANT_WRITE;
    } else if (rc == SSL_ERROR_ZERO_RETURN) {
        c->peer_ended = true;
    } else if (c->state == CONN_FINISHING) {
        c->peer_ended = true;
    } else {
        tls_failed(c, rc, errno);
    }
    return 0;
}

/* A turn takes a bounded number of bytes; the rest waits for the next
 * iteration, so that a busy peer does not keep timers and heartbeats
 * waiting. */
static void receive_frames(struct lc_conn *c)
{
    size_t turn = 0;

    lc_conn_take_frames(c); /* what a pause left behind */
    while (lc_conn_takes_frames(c)) {
        uint8_t *to;
        size_t n, cap;

        to = lc_queue_room(&c->in, 32768);
        if (!to) {
            lc_conn_failf(c, ENOMEM, "no memory for a frame");
            return;
        }
        cap = c->in.size - c->in.start - c->in.used;
        n = lc_conn_tls_read(c, to, cap);
        if (!n) {
            break;
        }
        c->in.used += n;
        lc_conn_take_frames(c);
        turn += n;
        if (turn >= READ_TURN) {
            ft_timer_after(&c->again, 0);
            return;
        }
    }
    if (lc_conn_takes_frames(c) && c->peer_ended) {
        lc_conn_failf(c, ECONNRESET,
                      c->in.used ? "closed by the peer inside a frame"
                                 : "closed by the peer");
    }
}

static void receive_and_drop(struct lc_conn *c)
{
    uint8_t waste[16384];
    int i;

    for (i = 0; i < 64 && lc_conn_tls_read(c, waste, sizeof(waste)); i++) {
    }
    if (c->state == CONN_FINISHING && c->peer_ended && c->own_ended) {
        lc_conn_failf(c, ESHUTDOWN, "closed by this side");
    }
}

static void conn_receive(struct lc_conn *c)
{
    switch (c->state) {
    case CONN_FRAMES:
        receive_frames(c);
        break;
    case CONN_RAW:
        c->raw_event(c, c->raw_arg);
        break;
    case CONN_FINISHING:
        receive_and_drop(c);
        break;
    default:
        break;
    }
}

static void conn_again_cb(struct ft_timer *t, void *arg)
{
    struct lc_conn *c = arg;

    (void)t;
    lc_conn_enter(c);
    if (!c->paused || c->state == CONN_RAW) {
        conn_receive(c);
    }
    if (!c->freed) {
        update_watch(c);
    }
    lc_conn_leave(c);
}

void lc_conn_pause(struct lc_conn *c, bool pause)
{
    if (c->paused == pause || !can_transfer(c)) {
        return;
    }
    c->paused = pause;
    if (!pause) {
        /* OpenSSL, or our own buffer, may hold bytes for which no event
         * comes. */
        ft_timer_after(&c->again, 0);
    }
    update_watch(c);
}

/* ---- the socket's events ---- */

static void update_watch(struct lc_conn *c)
{
    int events = 0;

    if (!can_transfer(c)) {
        return;
    }
    if ((!c->paused && !c->peer_ended &&
         (c->state != CONN_FRAMES || lc_conn_takes_frames(c))) ||
        c->write_wants_read) {
        events |= EV_READ;
    }
    if (c->out.used || (c->read_wants_write && !c->paused) ||
        (c->own_end_wanted && !c->own_ended)) {
        events |= EV_WRITE;
    }
    ft_watch_set(&c->watch, events);
}

static void handshake(struct lc_conn *c)
{
    int rc;

    ERR_clear_error();
    errno = 0;
    rc = SSL_do_handshake(c->ssl);
    if (rc == 1) {
        c->state = CONN_FRAMES;
        ft_timer_after(&c->timer, c->timeout); /* for the greetings */
        update_watch(c);
        c->ops->ready(c, c->arg);
        if (!c->freed) {
            conn_receive(c);
        }
        return;
    }
    rc = SSL_get_error(c->ssl, rc);
    if (rc == SSL_ERROR_WANT_READ) {
        ft_watch_set(&c->watch, EV_READ);
    } else if (rc == SSL_ERROR_WANT_WRITE) {
        ft_watch_set(&c->watch, EV_WRITE);
    } else {
        tls_failed(c, rc, errno);
    }
}

static void conn_watch_cb(struct ft_watch *w, int events, void *arg)
{
    struct lc_conn *c = arg;

    (void)w;
    lc_conn_enter(c);
    switch (c->state) {
    case CONN_CONNECTING:
    case CONN_PREAMBLE:
        lc_conn_on_connecting(c, events);
        break;
    case CONN_HANDSHAKE:
        handshake(c);
        break;
    case CONN_FRAMES:
    case CONN_RAW:
    case CONN_FINISHING:
        if ((events & EV_WRITE) || c->write_wants_read) {
            flush(c);
        }
        /* a relay looks at both directions, also when it does not read */
        if (!c->freed && (!c->paused || c->state == CONN_RAW)) {
            conn_receive(c);
        }
        break;
    default:
        break;
    }
    if (!c->freed) {
        update_watch(c);
    }
    lc_conn_leave(c);
}

static void conn_timer_cb(struct ft_timer *t, void *arg)
{
    struct lc_conn *c = arg;

    (void)t;
    lc_conn_enter(c);
    switch (c->state) {
    case CONN_HANDSHAKE:
        lc_conn_failf(c, ETIMEDOUT, "no TLS handshake within %lld ms",
                      (long long)(c->timeout / FT_NS_PER_MS));
        break;
    case CONN_FRAMES:
        if (!c->channel.sent || !c->channel.received) {
            lc_conn_failf(c, ETIMEDOUT, "%s within %lld ms",
                          c->side == LC_CONNECTOR ? "no WELCOME"
                          : c->channel.received   ? "HELLO was not answered"
                                                  : "no HELLO",
                          (long long)(c->timeout / FT_NS_PER_MS));
        }
        break;
    case CONN_RAW:
        break;
    case CONN_FINISHING:
        lc_conn_failf(c, ESHUTDOWN,
                      "closed by this side; the peer did not "
                      "close");
        break;
    default:
        lc_conn_connect_timeout(c);
        break;
    }
    lc_conn_leave(c);
}

/* ---- making ---- */

void lc_conn_set_name(struct lc_conn *c, const struct sockaddr *sa,
                      socklen_t n)
{
    const char *who = *c->check.expected ? c->check.expected : "unknown";
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getnameinfo(sa, n, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV)) {
        snprintf(c->name, sizeof(c->name), "%.255s", who);
    } else {
        snprintf(c->name, sizeof(c->name), "%.128s (%.64s port %.16s)", who,
                 host, port);
    }
}

void lc_conn_socket_options(struct lc_conn *c)
{
    int one = 1, count = 3, every = (int)(c->silence / FT_NS_PER_S / 4);
    unsigned ms = (unsigned)(c->silence / FT_NS_PER_MS);

    if (every < 1) {
        every = 1;
    }
    /* These only make a dead peer known earlier: a failure here ends
     * nothing. */
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPIDLE, &every, sizeof(every));
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

struct lc_conn *lc_conn_new(const struct lc_conn_config *config,
                            enum lc_side side, struct ft_err *err)
{
    struct lc_conn *c = calloc(1, sizeof(*c));

    if (!c) {
        ft_err_set(err, ENOMEM, "connection: no memory");
        return NULL;
    }
    c->loop = config->loop;
    c->fd = -1;
    c->side = side;
    c->tls = config->tls;
    c->vm = config->vm;
    c->ops = config->ops;
    c->arg = config->arg;
    c->timeout = config->timeout ? config->timeout : DEFAULT_TIMEOUT;
    c->silence = config->silence ? config->silence : DEFAULT_SILENCE;
    c->high_water = config->high_water ? config->high_water : FT_LOG_QUEUE;
    c->low_water = config->low_water ? config->low_water : c->high_water / 4;
    if (config->peer) {
        snprintf(c->check.expected, sizeof(c->check.expected), "%s",
                 config->peer);
    }
    snprintf(c->name, sizeof(c->name), "%s",
             config->peer ? config->peer : "unknown");
    lc_channel_init(&c->channel, config->kind, side, &config->pair,
                    config->generation);
    ft_watch_init(&c->watch, c->loop, -1, conn_watch_cb, c);
    ft_timer_init(&c->timer, c->loop, conn_timer_cb, c);
    ft_timer_init(&c->again, c->loop, conn_again_cb, c);
    ev_prepare_init(&c->flush, flush_cb);
    ev_set_priority(&c->flush, EV_MINPRI);
    c->flush.data = c;
    ev_prepare_init(&c->dead, dead_cb);
    c->dead.data = c;
    return c;
}

void lc_conn_start_tls(struct lc_conn *c)
{
    struct ft_err err;

    c->ssl = lc_tls_session(c->tls, c->fd, c->side == LC_ACCEPTOR, &c->check,
                            &err);
    if (!c->ssl) {
        conn_fail(c, &err);
        return;
    }
    c->state = CONN_HANDSHAKE;
    ft_watch_init(&c->watch, c->loop, c->fd, conn_watch_cb, c);
    ft_watch_set(&c->watch, EV_READ | EV_WRITE);
    ft_timer_after(&c->timer, c->timeout);
}

struct lc_conn *lc_conn_accept(const struct lc_conn_config *config, int fd,
                               struct ft_err *err)
{
    struct lc_conn *c = lc_conn_new(config, LC_ACCEPTOR, err);
    struct sockaddr_storage sa;
    socklen_t n = sizeof(sa);

    if (!c) {
        close(fd);
        return NULL;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    c->fd = fd;
    if (!getpeername(fd, (struct sockaddr *)&sa, &n)) {
        lc_conn_set_name(c, (struct sockaddr *)&sa, n);
    }
    lc_conn_socket_options(c);
    lc_conn_start_tls(c);
    return c;
}

/* ---- asking ---- */

void lc_conn_set_arg(struct lc_conn *c, const struct lc_conn_ops *ops,
                     void *arg)
{
    c->ops = ops;
    c->arg = arg;
}

bool lc_conn_is_ready(const struct lc_conn *c)
{
    return c->state == CONN_FRAMES || c->state == CONN_RAW;
}

bool lc_conn_full(const struct lc_conn *c)
{
    return c->full;
}

size_t lc_conn_queued(const struct lc_conn *c)
{
    return c->out.used;
}

const char *lc_conn_name(const struct lc_conn *c)
{
    return c->name;
}

bool lc_conn_peer_is(const struct lc_conn *c, const char *host)
{
    return lc_tls_peer_is(c->ssl, host);
}

int lc_conn_peer_address(const struct lc_conn *c, struct sockaddr_storage *to,
                         socklen_t *n)
{
    *n = sizeof(*to);
    return getpeername(c->fd, (struct sockaddr *)to, n);
}
