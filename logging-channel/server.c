/* SPDX-License-Identifier: GPL-2.0-or-later */
/* server.c - accept connections and read their preamble */
#include "logging-channel/server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/host/log.h"
#include "common/host/loop.h"

#define SOCKETS_MAX 2

/* A connection that has not said yet what it is for. The list has the
 * oldest first. */
struct pending {
    struct pending *prev, *next;
    struct lc_server *server;
    int fd;
    struct ft_watch watch;
    struct ft_timer timer;
    uint8_t bytes[LC_PREAMBLE_SIZE];
    size_t used;
    char from[96];
};

struct lc_server {
    struct ev_loop *loop;
    lc_server_fn *fn;
    void *arg;
    unsigned sockets;
    int fd[SOCKETS_MAX];
    struct ft_listener listener[SOCKETS_MAX];
    struct pending *first, *last;
    unsigned pending;
    uint16_t port;
    struct ft_few refused;
};

static void server_forget(struct pending *p)
{
    struct lc_server *s = p->server;

    *(p->prev ? &p->prev->next : &s->first) = p->next;
    *(p->next ? &p->next->prev : &s->last) = p->prev;
    s->pending--;
    ft_watch_stop(&p->watch);
    ft_timer_stop(&p->timer);
    if (p->fd >= 0) {
        close(p->fd);
    }
    free(p);
}

static void server_refuse(struct pending *p, const char *why)
{
    ft_warning_few(&p->server->refused, "connection from %s: %s", p->from,
                   why);
    server_forget(p);
}

static void hand_on(struct pending *p)
{
    struct lc_server *s = p->server;
    struct lc_preamble preamble;
    char from[sizeof(p->from)];
    const char *why;
    int fd;

    why = lc_decode_preamble(&preamble, p->bytes);
    if (why) {
        server_refuse(p, why);
        return;
    }
    fd = p->fd;
    p->fd = -1;
    memcpy(from, p->from, sizeof(from));
    server_forget(p);
    s->fn(fd, preamble.kind, &preamble.vm, from, s->arg);
}

static void read_cb(struct ft_watch *w, int events, void *arg)
{
    struct pending *p = arg;
    ssize_t n;

    (void)w;
    (void)events;
    /* never a byte more: the rest is TLS, for whoever takes the socket */
    n = recv(p->fd, p->bytes + p->used, sizeof(p->bytes) - p->used, 0);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            server_refuse(p, strerror(errno));
        }
        return;
    }
    if (n == 0) {
        server_refuse(p, p->used ? "closed inside the preamble"
                                 : "closed without a preamble");
        return;
    }
    p->used += (size_t)n;
    if (p->used == sizeof(p->bytes)) {
        hand_on(p);
    }
}

static void late_cb(struct ft_timer *t, void *arg)
{
    (void)t;
    server_refuse(arg, "no preamble within 5 s");
}

static void name_peer(char *to, size_t cap, const struct sockaddr *sa,
                      socklen_t n)
{
    char host[64], port[16];

    if (getnameinfo(sa, n, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV)) {
        snprintf(to, cap, "an unknown address");
    } else {
        snprintf(to, cap, "%s port %s", host, port);
    }
}

static void server_accept_cb(struct ft_watch *w, int events, void *arg)
{
    struct lc_server *s = arg;
    struct sockaddr_storage sa;
    socklen_t n = sizeof(sa);
    struct pending *p;
    int fd;

    (void)events;
    fd = ft_listener_accept(w == &s->listener[0].watch ? &s->listener[0]
                                                       : &s->listener[1]);
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
            ft_warning_few(&s->refused,
                           "port %u: cannot accept connections: %s", s->port,
                           strerror(errno));
        }
        return;
    }
    if (getpeername(fd, (struct sockaddr *)&sa, &n) < 0) {
        close(fd); /* it is gone again */
        return;
    }
    p = calloc(1, sizeof(*p));
    if (!p) {
        close(fd);
        return;
    }
    p->server = s;
    p->fd = fd;
    name_peer(p->from, sizeof(p->from), (struct sockaddr *)&sa, n);
    ft_watch_init(&p->watch, s->loop, fd, read_cb, p);
    ft_timer_init(&p->timer, s->loop, late_cb, p);
    p->prev = s->last;
    *(s->last ? &s->last->next : &s->first) = p;
    s->last = p;
    s->pending++;
    ft_watch_set(&p->watch, EV_READ);
    ft_timer_after(&p->timer, LC_SERVER_SECONDS * FT_NS_PER_S);
    if (s->pending > LC_SERVER_PENDING) {
        server_refuse(s->first, "too many connections without a preamble");
    }
}

static int add_socket(struct lc_server *s, const struct addrinfo *a,
                      struct ft_err *err)
{
    int one = 1, fd;

    fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return ft_err_sys(err, errno, "socket");
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (a->ai_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, 64) < 0) {
        ft_err_sys(err, errno, "cannot listen");
        close(fd);
        return -1;
    }
    s->fd[s->sockets] = fd;
    ft_listener_init(&s->listener[s->sockets], s->loop, fd, server_accept_cb,
                     s);
    s->sockets++;
    return 0;
}

static void learn_port(struct lc_server *s)
{
    struct sockaddr_storage sa;
    socklen_t n = sizeof(sa);

    if (!getsockname(s->fd[0], (struct sockaddr *)&sa, &n)) {
        s->port = ntohs(sa.ss_family == AF_INET6
                            ? ((struct sockaddr_in6 *)&sa)->sin6_port
                            : ((struct sockaddr_in *)&sa)->sin_port);
    }
}

/* A host without IPv6 (or without IPv4) listens on what it has. */
static int open_sockets(struct lc_server *s, const char *address,
                        struct ft_err *err)
{
    bool all = !strcmp(address, "*");
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
    };
    struct addrinfo *list, *a;
    char service[8];
    bool failed = false;
    int rc;

    snprintf(service, sizeof(service), "%u", s->port);
    rc = getaddrinfo(all ? NULL : address, service, &hints, &list);
    if (rc) {
        return ft_err_set(err, EINVAL, "%s: not an address (%s)", address,
                          gai_strerror(rc));
    }
    for (a = list; a && !failed && s->sockets < SOCKETS_MAX; a = a->ai_next) {
        if (a->ai_family == AF_INET) {
            ((struct sockaddr_in *)a->ai_addr)->sin_port = htons(s->port);
        } else if (a->ai_family == AF_INET6) {
            ((struct sockaddr_in6 *)a->ai_addr)->sin6_port = htons(s->port);
        } else {
            continue;
        }
        if (add_socket(s, a, err) == 0) {
            learn_port(s);
        } else {
            failed = err->code == EADDRINUSE;
        }
    }
    freeaddrinfo(list);
    return s->sockets && !failed ? 0 : -1;
}

struct lc_server *lc_server_open(struct ev_loop *loop, const char *address,
                                 uint16_t port, lc_server_fn *fn, void *arg,
                                 struct ft_err *err)
{
    struct lc_server *s = calloc(1, sizeof(*s));
    struct ft_err why = { .code = EINVAL, .text = "no address" };

    if (!s) {
        ft_err_set(err, ENOMEM, "port %u: no memory", port);
        return NULL;
    }
    s->loop = loop;
    s->fn = fn;
    s->arg = arg;
    s->port = port;
    if (open_sockets(s, address, &why) < 0) {
        ft_err_set(err, why.code, "address %s port %u: %.300s", address, port,
                   why.text);
        lc_server_close(s);
        return NULL;
    }
    return s;
}

void lc_server_close(struct lc_server *s)
{
    unsigned i;

    if (!s) {
        return;
    }
    while (s->first) {
        server_forget(s->first);
    }
    for (i = 0; i < s->sockets; i++) {
        ft_listener_stop(&s->listener[i]);
        close(s->fd[i]);
    }
    free(s);
}
