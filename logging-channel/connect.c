/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * connect.c - the connector's way to TLS: addresses, TCP, preamble
 *
 * A numeric address needs no look-up. A name is looked up in a thread of its
 * own, since resolvers block for many seconds when their servers are away;
 * whether the answer is still wanted is decided by who frees the look-up
 * last. Each address gets the whole time-out.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/work.h"
#include "logging-channel/conn_priv.h"

struct lc_lookup {
    struct lc_conn *conn; /* NULL: no longer wanted */
    struct ft_worker *worker;
    char host[256], port[8];
    int rc;
    struct addrinfo *result;
};

static const struct addrinfo hints = {
    .ai_family = AF_UNSPEC,
    .ai_socktype = SOCK_STREAM,
    .ai_flags = AI_NUMERICSERV,
};

void lc_conn_connect_done(struct lc_conn *c)
{
    if (c->addresses) {
        freeaddrinfo(c->addresses);
        c->addresses = NULL;
        c->address = NULL;
    }
    if (c->lookup) {
        c->lookup->conn = NULL;
        c->lookup = NULL;
    }
}

static void next_address(struct lc_conn *c, int code, const char *what);

static void start_preamble(struct lc_conn *c)
{
    c->state = CONN_PREAMBLE;
    c->preamble_sent = 0;
    lc_encode_preamble(c->preamble, c->channel.kind, &c->vm);
    ft_watch_set(&c->watch, EV_WRITE);
    lc_conn_on_connecting(c, EV_WRITE);
}

/* Begin with c->address. */
static void try_address(struct lc_conn *c)
{
    const struct addrinfo *a = c->address;

    lc_conn_set_name(c, a->ai_addr, a->ai_addrlen);
    c->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                   0);
    if (c->fd < 0) {
        next_address(c, errno, "no socket");
        return;
    }
    lc_conn_socket_options(c);
    c->state = CONN_CONNECTING;
    ft_timer_after(&c->timer, c->timeout);
    if (connect(c->fd, a->ai_addr, a->ai_addrlen) < 0 &&
        errno != EINPROGRESS) {
        next_address(c, errno, "cannot connect");
        return;
    }
    ft_watch_init(&c->watch, c->loop, c->fd, c->watch.fn, c);
    ft_watch_set(&c->watch, EV_WRITE);
}

/* This address failed. The message will tell how the last one did. */
static void next_address(struct lc_conn *c, int code, const char *what)
{
    ft_watch_stop(&c->watch);
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
    if (c->address->ai_next) {
        c->address = c->address->ai_next;
        try_address(c);
    } else {
        char text[128];

        lc_conn_failf(c, code, "%s: %s", what,
                      strerror_r(code, text, sizeof(text)));
    }
}

void lc_conn_on_connecting(struct lc_conn *c, int events)
{
    int code = 0;
    socklen_t n = sizeof(code);
    ssize_t sent;

    (void)events;
    if (c->state == CONN_CONNECTING) {
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &code, &n) < 0) {
            code = errno;
        }
        if (code) {
            next_address(c, code, "cannot connect");
            return;
        }
        start_preamble(c);
        return;
    }
    sent = send(c->fd, c->preamble + c->preamble_sent,
                sizeof(c->preamble) - c->preamble_sent, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            next_address(c, errno, "cannot send");
        }
        return;
    }
    c->preamble_sent += (size_t)sent;
    if (c->preamble_sent == sizeof(c->preamble)) {
        ft_watch_stop(&c->watch);
        lc_conn_connect_done(c);
        lc_conn_start_tls(c);
    }
}

void lc_conn_connect_timeout(struct lc_conn *c)
{
    if (c->state == CONN_RESOLVING) {
        lc_conn_failf(c, ETIMEDOUT,
                      "its address could not be looked up "
                      "within %lld ms",
                      (long long)(c->timeout / FT_NS_PER_MS));
    } else if (c->state == CONN_CONNECTING || c->state == CONN_PREAMBLE) {
        next_address(c, ETIMEDOUT, "cannot connect");
    }
}

/* ---- names ---- */

static void lookup_run(void *arg)
{
    struct lc_lookup *l = arg;

    l->rc = getaddrinfo(l->host, l->port, &hints, &l->result);
}

static void lookup_free(void *arg)
{
    struct lc_lookup *l = arg;

    if (l->result) {
        freeaddrinfo(l->result);
    }
    free(l);
}

static void lookup_done(void *arg)
{
    struct lc_lookup *l = arg;
    struct lc_conn *c = l->conn;

    ft_worker_free(l->worker, NULL);
    if (c) {
        lc_conn_enter(c);
        c->lookup = NULL;
        if (l->rc) {
            lc_conn_failf(c, EHOSTUNREACH, "%s: %s", l->host,
                          gai_strerror(l->rc));
        } else {
            c->addresses = c->address = l->result;
            l->result = NULL;
            try_address(c);
        }
        lc_conn_leave(c);
    }
    lookup_free(l);
}

static int start_lookup(struct lc_conn *c, const char *host, const char *port,
                        struct ft_err *err)
{
    struct lc_lookup *l = calloc(1, sizeof(*l));

    if (!l) {
        return ft_err_set(err, ENOMEM, "peer %s: no memory", host);
    }
    snprintf(l->host, sizeof(l->host), "%s", host);
    snprintf(l->port, sizeof(l->port), "%s", port);
    l->worker = ft_worker_new(c->loop, "lookup", err);
    if (!l->worker) {
        free(l);
        return -1;
    }
    if (ft_worker_submit(l->worker, lookup_run, lookup_done, l) < 0) {
        ft_worker_free(l->worker, NULL);
        free(l);
        return ft_err_set(err, ENOMEM, "peer %s: no memory", host);
    }
    l->conn = c;
    c->lookup = l;
    c->state = CONN_RESOLVING;
    ft_timer_after(&c->timer, c->timeout);
    return 0;
}

struct lc_conn *lc_conn_connect(const struct lc_conn_config *config,
                                const char *address, uint16_t port,
                                struct ft_err *err)
{
    struct lc_conn *c = lc_conn_new(config, LC_CONNECTOR, err);
    struct addrinfo numeric = hints;
    char service[8];

    if (!c) {
        return NULL;
    }
    snprintf(service, sizeof(service), "%u", (unsigned)port);
    numeric.ai_flags |= AI_NUMERICHOST;
    if (!getaddrinfo(address, service, &numeric, &c->addresses)) {
        c->address = c->addresses;
        try_address(c);
    } else if (start_lookup(c, address, service, err) < 0) {
        lc_conn_free(c);
        return NULL;
    }
    return c;
}
