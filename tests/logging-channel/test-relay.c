/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-relay.c - a byte stream between two UNIX sockets, through TLS */
#include "logging-channel/relay.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn-pair.h"
#include "pki.h"

/* The emulator's end of one side: writes `to_write` bytes of a pattern, ends,
 * and reads until the end. */
struct emulator {
    int fd;
    struct ft_watch watch;
    uint64_t to_write, written, read;
    uint8_t seed, expected;
    bool ended, slow, hold_end;
    unsigned eof;
    struct ft_timer rest;
    struct lc_relay *relay;
    unsigned done;
    bool failed;
    struct ft_err err;
    struct lc_relay_result result;
};

static uint8_t pattern(uint8_t seed, uint64_t at)
{
    return (uint8_t)(seed + at * 7 + (at >> 13));
}

static int interest(const struct emulator *e)
{
    return (e->eof ? 0 : EV_READ) |
           (e->written < e->to_write || (!e->ended && !e->hold_end) ? EV_WRITE
                                                                    : 0);
}

static void emulator_write(struct emulator *e)
{
    uint8_t buf[30000];
    uint64_t left = e->to_write - e->written;
    size_t i, n = left < sizeof(buf) ? (size_t)left : sizeof(buf);
    ssize_t sent;

    if (!n) {
        if (!e->ended && !e->hold_end) {
            e->ended = true;
            shutdown(e->fd, SHUT_WR);
        }
        return;
    }
    for (i = 0; i < n; i++) {
        buf[i] = pattern(e->seed, e->written + i);
    }
    sent = send(e->fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
        e->written += (uint64_t)sent;
    }
}

static void emulator_read(struct emulator *e)
{
    uint8_t buf[50000];
    ssize_t i, n = recv(e->fd, buf, sizeof(buf), MSG_DONTWAIT);

    if (n == 0) {
        e->eof++;
    }
    for (i = 0; i < n; i++) {
        g_assert_cmpuint(buf[i], ==,
                         pattern(e->expected, e->read + (uint64_t)i));
    }
    if (n > 0) {
        e->read += (uint64_t)n;
    }
}

static void emulator_cb(struct ft_watch *w, int events, void *arg)
{
    struct emulator *e = arg;

    if (events & EV_READ) {
        emulator_read(e);
    }
    if (events & EV_WRITE) {
        emulator_write(e);
    }
    if (e->slow && (events & EV_READ)) {
        ft_watch_set(w, 0);
        ft_timer_after(&e->rest, 200000);
        return;
    }
    ft_watch_set(w, interest(e));
}

static void rested(struct ft_timer *t, void *arg)
{
    struct emulator *e = arg;

    (void)t;
    ft_watch_set(&e->watch, interest(e));
}

static void relay_done(struct lc_relay *r, const struct ft_err *err,
                       void *arg)
{
    struct emulator *e = arg;

    e->done++;
    e->failed = err;
    if (err) {
        e->err = *err;
    }
    e->result = lc_relay_result(r);
    lc_relay_free(r);
    e->relay = NULL;
}

static void start(struct pair *p, struct end *end, struct emulator *e)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds),
                    ==, 0);
    e->fd = fds[0];
    ft_watch_init(&e->watch, p->loop, e->fd, emulator_cb, e);
    ft_timer_init(&e->rest, p->loop, rested, e);
    e->relay = lc_relay_start(p->loop, end->conn, fds[1], relay_done, e);
    end->conn = NULL;
    g_assert_nonnull(e->relay);
    ft_watch_set(&e->watch, interest(e));
}

static void stop(struct emulator *e)
{
    ft_watch_stop(&e->watch);
    ft_timer_stop(&e->rest);
    lc_relay_free(e->relay);
    if (e->fd >= 0) {
        close(e->fd);
    }
}

/* Until it has read so many bytes; hangs if it never does. */
static void has_read(struct pair *p, const struct emulator *e, uint64_t n)
{
    while (e->read < n) {
        pair_run(p, 5);
    }
    g_assert_cmpuint(e->read, ==, n);
}

static void setup(struct pair *p, struct emulator *a, struct emulator *b)
{
    memset(a, 0, sizeof(*a));
    memset(b, 0, sizeof(*b));
    a->seed = b->expected = 3;
    b->seed = a->expected = 101;
    pair_begin(p, "a", "b", "127.0.0.1");
    p->a.kind = LC_KIND_CLONE;
    pair_open(p);
}

static void run(uint64_t forth, uint64_t back, bool slow)
{
    struct emulator a, b;
    struct pair p;

    setup(&p, &a, &b);
    a.to_write = forth;
    b.to_write = back;
    b.slow = slow;
    start(&p, &p.a, &a);
    start(&p, &p.b, &b);
    pair_until(&p, &a.done, 1);
    pair_until(&p, &b.done, 1);
    pair_until(&p, &a.eof, 1);
    pair_until(&p, &b.eof, 1);
    g_assert_false(a.failed);
    g_assert_false(b.failed);
    g_assert_cmpuint(a.read, ==, back);
    g_assert_cmpuint(b.read, ==, forth);
    g_assert_cmpuint(a.result.sent, ==, forth);
    g_assert_cmpuint(a.result.received, ==, back);
    g_assert_cmpuint(b.result.discarded, ==, 0);
    stop(&a);
    stop(&b);
    pair_end(&p);
}

static void test_both_ways(void)
{
    run(12 << 20, 9 << 20, false);
    run(5, 0, false);
    run(0, 0, false);
}

static void test_slow_reader(void)
{
    run(6 << 20, 100, true);
}

/* One side has ended; the other still sends for as long as it likes. */
static void test_half_close(void)
{
    struct emulator a, b;
    struct pair p;

    setup(&p, &a, &b);
    a.to_write = 1000;
    b.to_write = 10;
    b.hold_end = true;
    start(&p, &p.a, &a);
    start(&p, &p.b, &b);
    pair_until(&p, &b.eof, 1);
    has_read(&p, &a, 10);
    pair_run(&p, 50);
    g_assert_cmpuint(a.read, ==, 10);
    g_assert_cmpuint(a.eof + a.done + b.done, ==, 0);
    b.to_write = 3 << 20;
    b.hold_end = false;
    ft_watch_set(&b.watch, interest(&b));
    pair_until(&p, &a.eof, 1);
    pair_until(&p, &a.done, 1);
    pair_until(&p, &b.done, 1);
    g_assert_cmpuint(a.read, ==, 3 << 20);
    g_assert_false(a.failed || b.failed);
    stop(&a);
    stop(&b);
    pair_end(&p);
}

/* A writer whose reader's emulator does not read is stopped, not buffered. */
static void test_backpressure(void)
{
    struct emulator a, b;
    struct pair p;
    uint64_t before;

    setup(&p, &a, &b);
    a.to_write = 200 << 20;
    start(&p, &p.a, &a);
    start(&p, &p.b, &b);
    ft_watch_set(&b.watch, 0);
    do { /* until everything between them is full */
        before = a.written;
        pair_run(&p, 400);
    } while (a.written != before);
    g_assert_cmpuint(before, <, 100 << 20);
    stop(&a);
    /* only who reads on learns of the end */
    ft_watch_set(&b.watch, interest(&b));
    pair_until(&p, &b.done, 1);
    g_assert_true(b.failed);
    stop(&b);
    pair_end(&p);
}

static void test_peer_dies(void)
{
    struct emulator a, b;
    struct pair p;

    setup(&p, &a, &b);
    a.to_write = 1000;
    a.hold_end = true;
    start(&p, &p.a, &a);
    start(&p, &p.b, &b);
    has_read(&p, &b, 1000);
    lc_relay_free(a.relay);
    a.relay = NULL;
    pair_until(&p, &b.done, 1);
    g_assert_true(b.failed);
    assert_says(&b.err, "clone stream: peer hosta (127.0.0.1 port ");
    assert_says(&b.err, "without a TLS end");
    stop(&a);
    stop(&b);
    pair_end(&p);
}

/* The emulator closes everything although the peer still sends. */
static void test_emulator_closes(void)
{
    struct emulator a, b;
    struct pair p;

    setup(&p, &a, &b);
    a.to_write = 2 << 20;
    start(&p, &p.a, &a);
    start(&p, &p.b, &b);
    ft_watch_stop(&b.watch);
    close(b.fd);
    b.fd = -1;
    pair_until(&p, &a.done, 1);
    pair_until(&p, &b.done, 1);
    g_assert_false(a.failed || b.failed);
    g_assert_cmpuint(b.result.discarded, >, 0);
    g_assert_cmpuint(b.result.discarded + b.result.received, ==, 2 << 20);
    stop(&a);
    stop(&b);
    pair_end(&p);
}

/* What the peer sends right behind WELCOME belongs to the stream. */
static void test_early_bytes(void)
{
    struct emulator a, b;
    struct pair p;

    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    a.expected = b.seed = 101;
    b.expected = a.seed = 3;
    pair_begin(&p, "a", "b", "127.0.0.1");
    p.a.kind = LC_KIND_CLONE;
    pair_connect(&p, "hostb", "hosta");
    pair_until(&p, &p.b.frames, 1); /* HELLO has come, WELCOME is queued */
    b.to_write = 5000;
    start(&p, &p.b, &b);
    pair_until(&p, &p.a.frames, 1);
    pair_run(&p, 50);
    start(&p, &p.a, &a);
    pair_until(&p, &a.eof, 1);
    g_assert_cmpuint(a.read, ==, 5000);
    pair_until(&p, &a.done, 1);
    pair_until(&p, &b.done, 1);
    g_assert_false(a.failed || b.failed);
    stop(&a);
    stop(&b);
    pair_end(&p);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    pki_begin();
    pki_make("a", "ca1", "hosta", 5);
    pki_make("b", "ca1", "hostb", 5);
    g_test_add_func("/relay/bytes go both ways, unchanged", test_both_ways);
    g_test_add_func("/relay/a slow reader gets everything", test_slow_reader);
    g_test_add_func("/relay/each direction has its own end", test_half_close);
    g_test_add_func("/relay/a reader that stops stops the writer",
                    test_backpressure);
    g_test_add_func("/relay/a peer that dies is no end of the stream",
                    test_peer_dies);
    g_test_add_func("/relay/an emulator may close early",
                    test_emulator_closes);
    g_test_add_func("/relay/bytes behind WELCOME are kept", test_early_bytes);
    rc = g_test_run();
    pki_end();
    return rc;
}
