/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-conn.c - connections that work: frames, order, backpressure, ends */
#include <string.h>

#include "conn-pair.h"
#include "pki.h"

static void send_entries(struct end *e, uint64_t last, uint32_t n)
{
    uint8_t *to = lc_conn_entries(e->conn, last, last, 99, n);

    g_assert_nonnull(to);
    memset(to, (int)last, n);
}

static int send_ack(struct end *e, uint64_t position)
{
    struct lc_msg m = { .type = LC_ACK };

    memset(&m.u.ack, 0, sizeof(m.u.ack));
    m.u.ack.position = position;
    return lc_conn_send(e->conn, &m);
}

static void ack_it(struct end *e, const struct lc_msg *m)
{
    if (m->type == LC_ENTRIES) {
        send_ack(e, m->u.entries.last);
    }
}

static void test_frames(void)
{
    struct pair p;

    pair_begin(&p, "a", "b", "127.0.0.1");
    p.b.on_frame = ack_it;
    pair_open(&p);
    g_assert_cmpstr(p.b.why.text, ==, "");
    send_entries(&p.a, 1, 100);
    send_entries(&p.a, 2, 0);
    send_entries(&p.a, 3, 3 << 20);
    pair_until(&p, &p.a.frames, 4);
    g_assert_cmpuint(p.b.entries_bytes, ==, 100 + (3 << 20));
    g_assert_cmpuint(p.b.last_position, ==, 3);
    g_assert_cmpuint(p.b.frames, ==, 4);
    g_assert_true(lc_conn_peer_is(p.a.conn, "hostb"));
    g_assert_true(lc_conn_peer_is(p.a.conn, "HOSTB"));
    g_assert_false(lc_conn_peer_is(p.a.conn, "hosta"));
    g_assert_nonnull(
        strstr(lc_conn_name(p.a.conn), "hostb (127.0.0.1 port "));
    pair_end(&p);
}

static void test_ipv6_and_names(void)
{
    struct pair p;
    struct lc_conn_config config;
    struct ft_err err;
    struct sockaddr_storage sa;
    socklen_t n;

    pair_begin(&p, "a", "b", "*");
    config = pair_config(&p, &p.a, p.tls_a, "hostb");
    p.a.conn = lc_conn_connect(&config, "localhost", listener_port(), &err);
    g_assert_nonnull(p.a.conn);
    pair_until(&p, &p.a.frames, 1);
    g_assert_cmpint(lc_conn_peer_address(p.a.conn, &sa, &n), ==, 0);
    pair_end(&p);
}

/* Every frame of an iteration has left when the loop is about to sleep. */
static struct end *watched;
static unsigned sleeps;

static void about_to_sleep(struct ev_loop *loop, ev_prepare *w, int revents)
{
    (void)loop;
    (void)w;
    (void)revents;
    sleeps++;
    g_assert_cmpuint(lc_conn_queued(watched->conn), ==, 0);
}

static void send_many(struct ft_timer *t, void *arg)
{
    struct end *e = arg;
    uint64_t i;

    (void)t;
    for (i = 1; i <= 20; i++) {
        send_entries(e, i, 200);
    }
    g_assert_cmpuint(lc_conn_queued(e->conn), >, 20 * 200);
}

static void test_same_iteration(void)
{
    struct ft_timer t;
    ev_prepare w;
    struct pair p;

    pair_begin(&p, "a", "b", "127.0.0.1");
    p.b.on_frame = ack_it;
    pair_open(&p);
    watched = &p.a;
    ev_prepare_init(&w, about_to_sleep);
    ev_prepare_start(p.loop, &w);
    ft_timer_init(&t, p.loop, send_many, &p.a);
    ft_timer_after(&t, 5 * FT_NS_PER_MS);
    pair_until(&p, &p.a.frames, 21);
    ev_prepare_stop(p.loop, &w);
    g_assert_cmpuint(sleeps, >, 0);
    pair_end(&p);
}

static void test_backpressure(void)
{
    uint64_t i, sum = 0;
    struct pair p;
    int k;

    pair_begin(&p, "a", "b", "127.0.0.1");
    pair_open(&p);
    lc_conn_pause(p.b.conn, true);
    for (i = 1; !lc_conn_full(p.a.conn); i++) {
        send_entries(&p.a, i, 64 << 10);
        pair_run(&p, 1);
        g_assert_cmpuint(i, <, 2000);
    }
    g_assert_cmpuint(p.b.frames, ==, 1);
    g_assert_cmpuint(p.a.drained, ==, 0);
    lc_conn_pause(p.b.conn, false);
    pair_until(&p, &p.a.drained, 1);
    g_assert_false(lc_conn_full(p.a.conn));
    pair_until(&p, &p.b.frames, (unsigned)i);
    g_assert_cmpuint(p.b.entries_bytes, ==, (i - 1) * (64 << 10));
    for (i = 1; i <= p.b.last_position; i++) {
        for (k = 0; k < 64 << 10; k++) {
            sum = sum * 31 + (uint8_t)i;
        }
    }
    g_assert_cmpuint(sum, ==, p.b.sum);
    pair_end(&p);
}

static void pause_self(struct end *e, const struct lc_msg *m)
{
    if (m->type == LC_ENTRIES) {
        lc_conn_pause(e->conn, true);
    }
}

static void test_pause_between_frames(void)
{
    struct pair p;
    unsigned i;

    pair_begin(&p, "a", "b", "127.0.0.1");
    p.b.on_frame = pause_self;
    pair_open(&p);
    for (i = 1; i <= 5; i++) {
        send_entries(&p.a, i, 10);
    }
    for (i = 1; i <= 5; i++) {
        pair_until(&p, &p.b.frames, i + 1);
        pair_run(&p, 20);
        g_assert_cmpuint(p.b.frames, ==, i + 1);
        lc_conn_pause(p.b.conn, false);
    }
    pair_end(&p);
}

static void test_order_is_kept_by_sender(void)
{
    struct pair p;

    pair_begin(&p, "a", "b", "127.0.0.1");
    p.a.greet = false;
    pair_connect(&p, "hostb", "hosta");
    pair_until(&p, &p.b.ready, 1);
    /* before HELLO; the wrong side; after HELLO but before WELCOME */
    g_assert_null(lc_conn_entries(p.a.conn, 1, 1, 0, 10));
    g_assert_cmpint(send_ack(&p.b, 1), ==, -1);
    pair_end(&p);
}

static void refuse(struct end *e, const struct lc_msg *m)
{
    struct lc_msg r = { .type = LC_REFUSE };

    g_assert_cmpint(m->type, ==, LC_HELLO);
    memset(&r.u.refuse, 0, sizeof(r.u.refuse));
    r.u.refuse.code = 3;
    lc_set_str(&r.u.refuse.text, "no such VM");
    g_assert_cmpint(lc_conn_send(e->conn, &r), ==, 0);
    lc_conn_finish(e->conn);
}

static void test_refuse_arrives(void)
{
    struct pair p;

    pair_begin(&p, "a", "b", "127.0.0.1");
    p.b.greet = false;
    p.b.on_frame = refuse;
    pair_connect(&p, "hostb", "hosta");
    pair_until(&p, &p.a.closed, 1);
    g_assert_cmpint(p.a.last_type, ==, LC_REFUSE);
    assert_says(&p.a.why, "closed by the peer");
    pair_until(&p, &p.b.closed, 1);
    assert_says(&p.b.why, "closed by this side");
    pair_end(&p);
}

static void free_now(struct end *e)
{
    lc_conn_free(e->conn);
    e->conn = NULL;
}

static void free_on_frame(struct end *e, const struct lc_msg *m)
{
    (void)m;
    free_now(e);
}

/* A peer that is who it should be, and then says nothing. */
static void test_no_greeting(void)
{
    struct pair p;

    pair_begin(&p, "a", "b", "127.0.0.1");
    p.config_b.timeout = 2000 * FT_NS_PER_MS;
    p.a.greet = false;
    pair_connect(&p, "hostb", "hosta");
    pair_until(&p, &p.b.closed, 1);
    assert_says(&p.b.why, "no HELLO within 2000 ms");
    pair_until(&p, &p.a.closed, 1);
    pair_end(&p);

    pair_begin(&p, "a", "b", "127.0.0.1");
    p.b.greet = false;
    p.config_b.timeout = 2000 * FT_NS_PER_MS;
    pair_connect(&p, "hostb", "hosta");
    pair_until(&p, &p.b.frames, 1);
    pair_until(&p, &p.b.closed, 1);
    assert_says(&p.b.why, "HELLO was not answered within 2000 ms");
    pair_end(&p);
}

static void test_free_in_callbacks(void)
{
    struct pair p;

    pair_begin(&p, "a", "b", "127.0.0.1");
    p.a.on_ready = free_now;
    pair_connect(&p, "hostb", "hosta");
    pair_until(&p, &p.b.closed, 1);
    g_assert_cmpuint(p.a.closed, ==, 0);
    pair_end(&p);

    pair_begin(&p, "a", "b", "127.0.0.1");
    p.b.on_frame = free_on_frame;
    pair_connect(&p, "hostb", "hosta");
    pair_until(&p, &p.a.closed, 1);
    g_assert_cmpuint(p.b.closed, ==, 0);
    pair_end(&p);

    /* before it is connected */
    pair_begin(&p, "a", "b", "127.0.0.1");
    pair_connect(&p, "hostb", "hosta");
    free_now(&p.a);
    pair_run(&p, 20);
    pair_end(&p);
}

static void test_finish_sends_the_rest(void)
{
    struct pair p;

    pair_begin(&p, "a", "b", "127.0.0.1");
    pair_open(&p);
    send_entries(&p.a, 1, 2 << 20);
    lc_conn_finish(p.a.conn);
    g_assert_cmpint(send_ack(&p.a, 1), ==, -1);
    pair_until(&p, &p.b.closed, 1);
    g_assert_cmpuint(p.b.entries_bytes, ==, 2 << 20);
    pair_until(&p, &p.a.closed, 1);
    pair_end(&p);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    pki_begin();
    pki_make("a", "ca1", "hosta", 5);
    pki_make("b", "ca1", "hostb", 5);
    g_test_add_func("/conn/frames go both ways, whole and in order",
                    test_frames);
    g_test_add_func("/conn/IPv6 and host names", test_ipv6_and_names);
    g_test_add_func("/conn/what is queued leaves in the same iteration",
                    test_same_iteration);
    g_test_add_func("/conn/a reader that waits stops the sender",
                    test_backpressure);
    g_test_add_func("/conn/a pause holds between two frames",
                    test_pause_between_frames);
    g_test_add_func("/conn/the sender keeps the protocol's order",
                    test_order_is_kept_by_sender);
    g_test_add_func("/conn/a refusal arrives before the end",
                    test_refuse_arrives);
    g_test_add_func("/conn/a peer that does not greet is given up",
                    test_no_greeting);
    g_test_add_func("/conn/an end can be freed in each callback",
                    test_free_in_callbacks);
    g_test_add_func("/conn/finish sends the rest first",
                    test_finish_sends_the_rest);
    rc = g_test_run();
    pki_end();
    return rc;
}
