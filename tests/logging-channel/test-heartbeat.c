/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-heartbeat.c - which datagrams count as a sign of life */
#include "logging-channel/heartbeat.h"

#include <arpa/inet.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/loop.h"

static lc_id test_id(uint8_t byte)
{
    lc_id id;

    memset(id.b, byte, sizeof(id.b));
    return id;
}

static struct lc_heartbeat_secret test_secret(void)
{
    struct lc_heartbeat_secret s = { .pair = test_id(2), .generation = 7 };

    memset(s.key.b, 0x5a, sizeof(s.key.b));
    return s;
}

static void drops(const uint8_t *p, size_t n,
                  const struct lc_heartbeat_secret *s, lc_id nonce,
                  uint64_t last, const char *says)
{
    uint64_t number = 0;
    const char *why = lc_heartbeat_check(p, n, s, &nonce, last, &number);

    g_assert_nonnull(why);
    g_assert_nonnull(strstr(why, says));
    g_assert_cmpuint(number, ==, 0);
}

static void test_golden(void)
{
    /* header, number, nonce; the MAC was computed with the openssl program:
     * openssl dgst -sha256 -mac HMAC -macopt hexkey:5a5a... */
    static const char expected[] = "4c43534b"
                                   "3000"
                                   "0100"
                                   "18000000"
                                   "00000000"
                                   "0102030405060708"
                                   "0700000000000000"
                                   "02020202020202020202020202020202"
                                   "0102030405060708"
                                   "09090909090909090909090909090909"
                                   "45a1f55e1e97a35087a1783e27e70237";
    struct lc_heartbeat_secret s = test_secret();
    lc_id nonce = test_id(9);
    uint8_t p[LC_HEARTBEAT_SIZE];
    char hex[2 * LC_HEARTBEAT_SIZE + 1];
    size_t i;

    g_assert_cmpint(lc_heartbeat_make(p, &s, &nonce, 0x0807060504030201u), ==,
                    0);
    for (i = 0; i < sizeof(p); i++) {
        g_snprintf(hex + 2 * i, 3, "%02x", p[i]);
    }
    g_assert_cmpstr(hex, ==, expected);
}

static void test_check(void)
{
    struct lc_heartbeat_secret s = test_secret(), other;
    lc_id nonce = test_id(9);
    uint8_t p[LC_HEARTBEAT_SIZE + 1] = { 0 }, q[LC_HEARTBEAT_SIZE];
    uint64_t number;
    size_t i;

    g_assert_cmpint(lc_heartbeat_make(p, &s, &nonce, 5), ==, 0);
    g_assert_null(
        lc_heartbeat_check(p, LC_HEARTBEAT_SIZE, &s, &nonce, 4, &number));
    g_assert_cmpuint(number, ==, 5);
    drops(p, LC_HEARTBEAT_SIZE, &s, nonce, 5, "repeated or late");
    drops(p, LC_HEARTBEAT_SIZE, &s, nonce, 6, "repeated or late");
    drops(p, LC_HEARTBEAT_SIZE, &s, test_id(8), 4, "another incarnation");
    drops(p, LC_HEARTBEAT_SIZE - 1, &s, nonce, 4, "another size");
    drops(p, LC_HEARTBEAT_SIZE + 1, &s, nonce, 4, "another size");
    drops(p, 0, &s, nonce, 4, "another size");
    other = s;
    other.key.b[31] ^= 1;
    drops(p, LC_HEARTBEAT_SIZE, &other, nonce, 4, "wrong MAC");
    other = s;
    other.generation = 8;
    drops(p, LC_HEARTBEAT_SIZE, &other, nonce, 4, "another pair or gen");
    other = s;
    other.pair = test_id(3);
    drops(p, LC_HEARTBEAT_SIZE, &other, nonce, 4, "another pair or gen");
    /* every bit counts */
    for (i = 0; i < 8 * LC_HEARTBEAT_SIZE; i++) {
        memcpy(q, p, sizeof(q));
        q[i / 8] ^= (uint8_t)(1 << i % 8);
        drops(q, sizeof(q), &s, nonce, 4, "");
    }
}

/* ---- sockets ---- */

#define BEATS 15 /* enough for a median of their distances */

struct ear {
    struct lc_beater *h;
    unsigned heard;
    uint64_t last;
};

static void alive(struct lc_beater *h, uint64_t number, void *arg)
{
    struct ear *e = arg;

    g_assert_true(e->h == h);
    g_assert_cmpuint(number, >, e->last);
    e->last = number;
    e->heard++;
}

static void stop(struct ft_timer *t, void *arg)
{
    (void)t;
    *(bool *)arg = true;
}

static void run(struct ev_loop *loop, ft_ns ns)
{
    struct ft_timer t;
    bool over = false;

    ft_timer_init(&t, loop, stop, &over);
    ft_timer_after(&t, ns);
    while (!over) {
        ev_run(loop, EVRUN_ONCE);
    }
}

static uint64_t heard(const struct ear *e)
{
    return e->heard;
}

/* Until e has so many; the bound is for a test that hangs. */
static void run_until(struct ev_loop *loop, const struct ear *e,
                      uint64_t (*what)(const struct ear *e), uint64_t n)
{
    ft_ns end = ft_monotonic() + 60 * FT_NS_PER_S;

    while (what(e) < n) {
        g_assert_cmpint(ft_monotonic(), <, end);
        run(loop, 5 * FT_NS_PER_MS);
    }
}

/* a speaks, `n` times in all, each as soon as b has heard the one before. */
static void speak(struct ev_loop *loop, struct ear *a, struct ear *b,
                  unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        lc_heartbeat_send(a->h);
        run_until(loop, b, heard, i + 1);
    }
}

static void converse(const struct sockaddr *address)
{
    struct lc_heartbeat_secret s = test_secret();
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    lc_id na = test_id(10), nb = test_id(11);
    struct ear a = { 0 }, b = { 0 };
    struct ft_err err;

    a.h = lc_heartbeat_open(loop, alive, &a, &err);
    b.h = lc_heartbeat_open(loop, alive, &b, &err);
    g_assert_nonnull(a.h);
    g_assert_nonnull(b.h);
    g_assert_cmpint(lc_heartbeat_start(a.h, &s, &na, &nb, address,
                                       lc_heartbeat_port(b.h), &err),
                    ==, 0);
    g_assert_cmpint(lc_heartbeat_start(b.h, &s, &nb, &na, address,
                                       lc_heartbeat_port(a.h), &err),
                    ==, 0);
    /* nothing is sent unless the core says so */
    run(loop, 250 * FT_NS_PER_MS);
    g_assert_cmpuint(a.heard + b.heard, ==, 0);
    speak(loop, &a, &b, BEATS);
    speak(loop, &b, &a, BEATS);

    /* the same datagram again, by whoever saw it; then a stranger's */
    {
        struct sockaddr_storage to;
        uint8_t p[LC_HEARTBEAT_SIZE];
        unsigned count;
        int fd = socket(address->sa_family, SOCK_DGRAM, 0);
        socklen_t n = address->sa_family == AF_INET
                        ? sizeof(struct sockaddr_in)
                        : sizeof(struct sockaddr_in6);

        count = b.heard;
        memcpy(&to, address, n);
        ((struct sockaddr_in *)&to)->sin_port = htons(lc_heartbeat_port(b.h));
        lc_heartbeat_make(p, &s, &na, b.last);
        sendto(fd, p, sizeof(p), 0, (struct sockaddr *)&to, n);
        sendto(fd, "hello", 5, 0, (struct sockaddr *)&to, n);
        lc_heartbeat_make(p, &s, &nb, b.last + 1); /* reflected */
        sendto(fd, p, sizeof(p), 0, (struct sockaddr *)&to, n);
        /* the peer's next one is heard, and none of those before it */
        lc_heartbeat_make(p, &s, &na, b.last + 1);
        sendto(fd, p, sizeof(p), 0, (struct sockaddr *)&to, n);
        run_until(loop, &b, heard, count + 1);
        run(loop, 20 * FT_NS_PER_MS);
        g_assert_cmpuint(b.heard, ==, count + 1);
        close(fd);
    }
    /* another incarnation of a: its numbers begin again */
    na = test_id(12);
    lc_heartbeat_close(a.h);
    a.h = lc_heartbeat_open(loop, alive, &a, &err);
    a.last = b.last = 0;
    lc_heartbeat_start(a.h, &s, &na, &nb, address, lc_heartbeat_port(b.h),
                       &err);
    lc_heartbeat_start(b.h, &s, &nb, &na, address, lc_heartbeat_port(a.h),
                       &err);
    b.heard = 0;
    speak(loop, &a, &b, 1);
    lc_heartbeat_close(a.h);
    lc_heartbeat_close(b.h);
    ev_loop_destroy(loop);
}

static void test_ipv4(void)
{
    struct sockaddr_in sin = { .sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    converse((struct sockaddr *)&sin);
}

static void test_ipv6(void)
{
    struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6,
                                 .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&sin6, sizeof(sin6)) < 0) {
        g_test_skip("this machine has no IPv6 loopback");
    } else {
        converse((struct sockaddr *)&sin6);
    }
    if (fd >= 0) {
        close(fd);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/heartbeat/its bytes are these", test_golden);
    g_test_add_func("/heartbeat/only the peer's next one is accepted",
                    test_check);
    g_test_add_func("/heartbeat/IPv4: sent when told, replays dropped",
                    test_ipv4);
    g_test_add_func("/heartbeat/IPv6: sent when told, replays dropped",
                    test_ipv6);
    return g_test_run();
}
