/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conn-pair.c - two ends of a connection in one loop, for tests */
#include "conn-pair.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pki.h"

#define FDS 256 /* descriptors of a test are below */

lc_id test_id(uint8_t byte)
{
    lc_id id;

    memset(id.b, byte, sizeof(id.b));
    return id;
}

void assert_says(const struct ft_err *err, const char *part)
{
    if (!strstr(err->text, part)) {
        g_error("\"%s\" does not say \"%s\"", err->text, part);
    }
    g_assert_cmpint(err->code, !=, 0);
}

static void greet(struct end *e)
{
    struct lc_msg m;

    memset(&m, 0, sizeof(m));
    if (e->connector) {
        m.type = LC_HELLO;
        m.u.hello.kind = e->kind ? e->kind : LC_KIND_LOG;
        m.u.hello.vm = test_id(1);
        lc_set_str(&m.u.hello.host, e->host);
    } else {
        m.type = LC_WELCOME;
        lc_set_str(&m.u.welcome.host, e->host);
    }
    g_assert_cmpint(lc_conn_send(e->conn, &m), ==, 0);
}

static void on_ready(struct lc_conn *c, void *arg)
{
    struct end *e = arg;

    e->ready++;
    g_assert_true(lc_conn_is_ready(c));
    if (e->greet && e->connector) {
        greet(e);
    }
    if (e->on_ready) {
        e->on_ready(e);
    }
}

static void on_frame(struct lc_conn *c, const struct lc_frame *head,
                     const struct lc_msg *m, void *arg)
{
    struct end *e = arg;
    uint32_t i;

    (void)c;
    g_assert_cmpuint(head->sequence, ==, e->frames + 1);
    e->frames++;
    e->last_type = m->type;
    if (m->type == LC_HELLO && e->greet) {
        greet(e);
    }
    if (m->type == LC_ENTRIES) {
        e->entries_bytes += m->u.entries.batches.n;
        e->last_position = m->u.entries.last;
        for (i = 0; i < m->u.entries.batches.n; i++) {
            e->sum = e->sum * 31 + m->u.entries.batches.p[i];
        }
    }
    if (e->on_frame) {
        e->on_frame(e, m);
    }
}

static void on_drained(struct lc_conn *c, void *arg)
{
    struct end *e = arg;

    (void)c;
    e->drained++;
    if (e->on_drained) {
        e->on_drained(e);
    }
}

static void on_closed(struct lc_conn *c, const struct ft_err *why, void *arg)
{
    struct end *e = arg;

    e->closed++;
    e->why = *why;
    g_assert_true(e->conn == c || !e->conn);
    lc_conn_free(c);
    e->conn = NULL;
}

const struct lc_conn_ops end_ops = {
    .ready = on_ready,
    .frame = on_frame,
    .drained = on_drained,
    .closed = on_closed,
};

struct lc_conn_config pair_config(struct pair *p, struct end *e,
                                  struct lc_tls *tls, const char *expect)
{
    struct lc_conn_config config = {
        .loop = p->loop,
        .tls = tls,
        .kind = e->kind ? e->kind : LC_KIND_LOG,
        .vm = test_id(1),
        .pair = test_id(2),
        .generation = 7,
        .peer = expect,
        .timeout = 30 * FT_NS_PER_S,
        .high_water = 1 << 20,
        .ops = &end_ops,
        .arg = e,
    };

    return config;
}

static void on_accepted(int fd, enum lc_kind kind, const lc_id *vm,
                        const char *from, void *arg)
{
    struct pair *p = arg;
    lc_id expected = test_id(1);
    struct ft_err err;

    g_assert_nonnull(from);
    p->handed++;
    if (p->b.conn || !p->config_b.tls) {
        close(fd);
        return;
    }
    g_assert_cmpint(kind, ==, p->config_b.kind);
    g_assert_true(lc_id_equal(vm, &expected));
    p->b.conn = lc_conn_accept(&p->config_b, fd, &err);
    g_assert_nonnull(p->b.conn);
}

void pair_begin(struct pair *p, const char *dir_a, const char *dir_b,
                const char *address)
{
    struct ft_err err;

    memset(p, 0, sizeof(*p));
    p->loop = ev_loop_new(EVFLAG_AUTO);
    p->tls_a = lc_tls_load(pki_path(dir_a), NULL, &err);
    g_assert_nonnull(p->tls_a);
    p->tls_b = lc_tls_load(pki_path(dir_b), NULL, &err);
    g_assert_nonnull(p->tls_b);
    p->server = lc_server_open(p->loop, address, 0, on_accepted, p, &err);
    if (!p->server) {
        g_error("%s", err.text);
    }
    p->a.connector = true;
    p->a.greet = p->b.greet = true;
    p->a.host = "hosta";
    p->b.host = "hostb";
    p->config_b = pair_config(p, &p->b, p->tls_b, "hosta");
}

/* The local port of a TCP socket, 0: fd is none. */
static uint16_t port_of(int fd, bool *listens)
{
    struct sockaddr_storage sa;
    socklen_t n = sizeof(sa), size = sizeof(int);
    int type, accepts;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
        type != SOCK_STREAM ||
        getsockname(fd, (struct sockaddr *)&sa, &n) < 0 ||
        (sa.ss_family != AF_INET && sa.ss_family != AF_INET6) ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &size) < 0) {
        return 0;
    }
    *listens = accepts;
    return ntohs(sa.ss_family == AF_INET6
                     ? ((struct sockaddr_in6 *)&sa)->sin6_port
                     : ((struct sockaddr_in *)&sa)->sin_port);
}

uint16_t listener_port(void)
{
    for (int fd = 3; fd < FDS; fd++) {
        bool listens;
        uint16_t port = port_of(fd, &listens);

        if (port && listens) {
            return port;
        }
    }
    g_error("nothing listens");
}

unsigned listener_accepted(void)
{
    uint16_t port = listener_port();
    unsigned n = 0;

    for (int fd = 3; fd < FDS; fd++) {
        bool listens;

        n += port_of(fd, &listens) == port && !listens;
    }
    return n;
}

void pair_connect(struct pair *p, const char *a_expects,
                  const char *b_expects)
{
    struct lc_conn_config config = pair_config(p, &p->a, p->tls_a, a_expects);
    struct ft_err err;

    p->config_b.peer = b_expects;
    p->config_b.kind = config.kind;
    p->a.conn = lc_conn_connect(&config, "127.0.0.1", listener_port(), &err);
    g_assert_nonnull(p->a.conn);
}

static void late(struct ft_timer *t, void *arg)
{
    (void)t;
    (void)arg;
    g_error("nothing came within 60 s");
}

void pair_until(struct pair *p, const unsigned *what, unsigned n)
{
    struct ft_timer t;

    ft_timer_init(&t, p->loop, late, NULL);
    ft_timer_after(&t, 60 * FT_NS_PER_S);
    while (*what < n) {
        ev_run(p->loop, EVRUN_ONCE);
    }
    ft_timer_stop(&t);
}

static void stop(struct ft_timer *t, void *arg)
{
    (void)t;
    *(unsigned *)arg = 1;
}

void pair_run(struct pair *p, unsigned ms)
{
    struct ft_timer t;
    unsigned over = 0;

    ft_timer_init(&t, p->loop, stop, &over);
    ft_timer_after(&t, ms * FT_NS_PER_MS);
    while (!over) {
        ev_run(p->loop, EVRUN_ONCE);
    }
}

void pair_open(struct pair *p)
{
    pair_connect(p, "hostb", "hosta");
    pair_until(p, &p->a.frames, 1);
    g_assert_cmpint(p->a.last_type, ==, LC_WELCOME);
}

void pair_end(struct pair *p)
{
    lc_conn_free(p->a.conn);
    lc_conn_free(p->b.conn);
    lc_server_close(p->server);
    lc_tls_free(p->tls_a);
    lc_tls_free(p->tls_b);
    ev_loop_destroy(p->loop);
}
