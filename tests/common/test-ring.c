/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-ring.c - the vmlink's ring: batches, wrap, two threads, the gate */
#include "common/ring.h"

#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/bytes.h"

#define SIZE (16u << 20) /* the smallest ring: 2 * FT_BATCH_MAX */

struct both {
    void *map;
    struct ft_ring producer, consumer;
};

static void setup(struct both *b)
{
    b->map = mmap(NULL, FT_RING_DATA + SIZE, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert_true(b->map != MAP_FAILED);
    ft_ring_init(&b->producer, b->map, SIZE);
    g_assert_cmpstr(ft_ring_attach(&b->consumer, b->map, FT_RING_DATA + SIZE),
                    ==, NULL);
}

static void teardown(struct both *b)
{
    munmap(b->map, FT_RING_DATA + SIZE);
}

static void test_crc(void)
{
    /* RFC 3720, B.4 */
    uint8_t p[32];
    int i;

    memset(p, 0, 32);
    g_assert_cmphex(ft_crc32c(0, p, 32), ==, 0x8a9136aau);
    memset(p, 0xff, 32);
    g_assert_cmphex(ft_crc32c(0, p, 32), ==, 0x62a8ab43u);
    for (i = 0; i < 32; i++) {
        p[i] = (uint8_t)i;
    }
    g_assert_cmphex(ft_crc32c(0, p, 32), ==, 0x46dd794eu);
    g_assert_cmphex(ft_crc32c(ft_crc32c(0, p, 7), p + 7, 25), ==,
                    0x46dd794eu);
    g_assert_cmphex(ft_crc32c(0, "123456789", 9), ==, 0xe3069283u);
    g_assert_cmphex(ft_crc32c(0, p, 0), ==, 0);
}

static void test_attach(void)
{
    struct both b;
    struct ft_ring r;
    struct ft_ring_page *page;

    setup(&b);
    page = b.map;
    g_assert_nonnull(ft_ring_attach(&r, b.map, 100));
    g_assert_nonnull(ft_ring_attach(&r, b.map, FT_RING_DATA + SIZE / 2));
    g_assert_nonnull(ft_ring_attach(&r, b.map, FT_RING_DATA + SIZE + 1));
    page->size = SIZE - 8;
    g_assert_nonnull(ft_ring_attach(&r, b.map, FT_RING_DATA + SIZE - 8));
    page->size = FT_BATCH_MAX;
    g_assert_nonnull(ft_ring_attach(&r, b.map, FT_RING_DATA + FT_BATCH_MAX));
    page->size = 0;
    g_assert_nonnull(ft_ring_attach(&r, b.map, FT_RING_DATA));
    page->size = SIZE;
    page->magic++;
    g_assert_nonnull(ft_ring_attach(&r, b.map, FT_RING_DATA + SIZE));
    teardown(&b);
}

static void test_layout(void)
{
    static const uint8_t expected[] = {
        3, 0, 0, 0, 0xb7, 0x3f, 0x4b, 0x36, 9, 0, 0, 0,
        0, 0, 0, 0, 'a',  'b',  'c',  0,    0, 0, 0, 0,
    };
    struct both b;
    uint8_t out[24];

    setup(&b);
    g_assert_cmpuint(ft_batch_size(0), ==, 16);
    g_assert_cmpuint(ft_batch_size(1), ==, 24);
    g_assert_cmpuint(ft_batch_size(8), ==, 24);
    g_assert_cmpuint(ft_batch_size(FT_BATCH_MAX), ==, 16 + FT_BATCH_MAX);
    ft_ring_put(&b.producer, 9, "abc", 3);
    g_assert_cmpuint(ft_ring_ready(&b.consumer), ==, 24);
    g_assert_cmpuint(b.producer.page->committed, ==, 9);
    ft_ring_copy(&b.consumer, 0, out, 24);
    g_assert_cmpmem(out, 24, expected, 24);
    teardown(&b);
}

static void test_peek(void)
{
    struct ft_batch batch;
    struct both b;

    setup(&b);
    g_assert_cmpint(ft_ring_peek(&b.consumer, 0, 1, &batch), ==, 0);
    ft_ring_put(&b.producer, 1, "abc", 3);
    ft_ring_put(&b.producer, 2, "", 0);
    g_assert_cmpint(ft_ring_peek(&b.consumer, 0, 1, &batch), ==, 1);
    g_assert_cmpuint(batch.length, ==, 3);
    g_assert_cmpint(ft_ring_peek(&b.consumer, 0, 0, &batch), ==, 1);
    g_assert_cmpint(ft_ring_peek(&b.consumer, 0, 2, &batch), ==, -1);
    g_assert_cmpint(ft_ring_peek(&b.consumer, 24, 2, &batch), ==, 1);
    g_assert_cmpuint(batch.position, ==, 2);
    g_assert_cmpint(ft_ring_peek(&b.consumer, 40, 3, &batch), ==, 0);
    g_assert_cmpint(ft_ring_peek(&b.consumer, 4000, 3, &batch), ==, 0);
    /* a producer gone mad: a length over the bound, position 0 */
    ft_put_u32(b.consumer.data, FT_BATCH_MAX + 1);
    g_assert_cmpint(ft_ring_peek(&b.consumer, 0, 0, &batch), ==, -1);
    ft_put_u32(b.consumer.data, 3);
    ft_put_u64(b.consumer.data + 8, 0);
    g_assert_cmpint(ft_ring_peek(&b.consumer, 0, 0, &batch), ==, -1);
    /* a head that cannot be */
    b.producer.page->head = SIZE + 8;
    g_assert_cmpuint(ft_ring_ready(&b.consumer), ==, 0);
    teardown(&b);
}

static void test_parse(void)
{
    struct ft_batch batch;
    struct both b;
    uint8_t bytes[80], q[80];
    uint64_t n = 0;
    size_t i;

    setup(&b);
    ft_ring_put(&b.producer, 5, "0123456789", 10);
    ft_ring_put(&b.producer, 6, "x", 1);
    ft_ring_copy(&b.consumer, 0, bytes, 56);
    g_assert_cmpint(ft_batch_parse(bytes, 56, 5, &batch, &n), ==, 1);
    g_assert_cmpuint(n, ==, 32);
    g_assert_cmpint(ft_batch_parse(bytes + n, 56 - n, 6, &batch, &n), ==, 1);
    g_assert_cmpuint(n, ==, 24);
    for (i = 0; i < 32; i++) {
        g_assert_cmpint(ft_batch_parse(bytes, i, 5, &batch, &n), ==, 0);
    }
    /* every bit of header and payload is covered (not the padding) */
    for (i = 0; i < 8 * 26; i++) {
        memcpy(q, bytes, 56);
        q[i / 8] ^= (uint8_t)(1 << i % 8);
        g_assert_cmpint(ft_batch_parse(q, 56, 5, &batch, &n), !=, 1);
    }
    teardown(&b);
}

static void test_full(void)
{
    struct both b;
    uint8_t *big = g_malloc0(FT_BATCH_MAX);
    uint64_t size = ft_batch_size(FT_BATCH_MAX);

    setup(&b);
    g_assert_true(ft_ring_has_space(&b.producer, SIZE));
    g_assert_false(ft_ring_has_space(&b.producer, SIZE + 1));
    ft_ring_put(&b.producer, 1, big, FT_BATCH_MAX);
    g_assert_false(ft_ring_has_space(&b.producer, size));
    g_assert_true(ft_ring_has_space(&b.producer, SIZE - size));
    ft_ring_take(&b.consumer, size);
    g_assert_true(ft_ring_has_space(&b.producer, size));
    g_assert_cmpuint(ft_ring_ready(&b.consumer), ==, 0);
    g_free(big);
    teardown(&b);
}

/* ---- two threads, many wraps ---- */

#define BATCHES 60000u

struct traffic {
    struct both b;
    int data, space; /* eventfds */
};

static uint32_t length_of(uint64_t position)
{
    uint64_t x = position * 2654435761u;

    if (position % 5000 == 0) {
        return FT_BATCH_MAX - (uint32_t)(position % 7);
    }
    return (uint32_t)(x >> 7) % 3000;
}

static void wake(int fd)
{
    g_assert_cmpint(eventfd_write(fd, 1), ==, 0);
}

/* Sleep as ring.h says: announce, look again, wait. */
static void sleep_on(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    eventfd_t ignored;

    if (poll(&p, 1, 60000) != 1) {
        g_error("a wake-up was lost");
    }
    eventfd_read(fd, &ignored);
}

static void *produce(void *arg)
{
    struct traffic *t = arg;
    struct ft_ring *r = &t->b.producer;
    uint8_t *payload = g_malloc(FT_BATCH_MAX);
    uint64_t p;

    for (p = 1; p <= BATCHES; p++) {
        uint32_t n = length_of(p);

        memset(payload, (int)p, n);
        if (!ft_ring_has_space(r, ft_batch_size(n))) {
            for (;;) {
                ft_ring_announce_wait(&r->page->producer_waits);
                if (ft_ring_has_space(r, ft_batch_size(n))) {
                    ft_ring_claim_wake(&r->page->producer_waits);
                    break;
                }
                sleep_on(t->space);
            }
        }
        if (ft_ring_put(r, p, payload, n)) {
            wake(t->data);
        }
    }
    g_free(payload);
    return NULL;
}

static void consume(struct traffic *t)
{
    struct ft_ring *r = &t->b.consumer;
    uint8_t *got = g_malloc(ft_batch_size(FT_BATCH_MAX));
    struct ft_batch batch;
    uint64_t p, n, i;

    for (p = 1; p <= BATCHES; p++) {
        while (ft_ring_peek(r, 0, p, &batch) == 0) {
            ft_ring_announce_wait(&r->page->consumer_waits);
            if (ft_ring_peek(r, 0, p, &batch) != 0) {
                ft_ring_claim_wake(&r->page->consumer_waits);
                break;
            }
            sleep_on(t->data);
        }
        g_assert_cmpuint(batch.length, ==, length_of(p));
        ft_ring_copy(r, 0, got, ft_batch_size(batch.length));
        g_assert_cmpint(ft_batch_parse(got, ft_batch_size(batch.length), p,
                                       &batch, &n),
                        ==, 1);
        for (i = 0; i < batch.length; i += 97) {
            g_assert_cmpuint(got[FT_BATCH_HEADER + i], ==, (uint8_t)p);
        }
        if (ft_ring_take(r, n)) {
            wake(t->space);
        }
    }
    g_assert_cmpuint(ft_ring_ready(r), ==, 0);
    g_assert_cmpuint(r->page->committed, ==, BATCHES);
    g_free(got);
}

static void test_two_threads(void)
{
    struct traffic t;
    pthread_t thread;

    setup(&t.b);
    t.data = eventfd(0, EFD_NONBLOCK);
    t.space = eventfd(0, EFD_NONBLOCK);
    g_assert_cmpint(pthread_create(&thread, NULL, produce, &t), ==, 0);
    consume(&t);
    pthread_join(thread, NULL);
    g_assert_cmpuint(t.b.producer.page->head, >, 3 * (uint64_t)SIZE);
    close(t.data);
    close(t.space);
    teardown(&t.b);
}

/* Framed bytes, as they come from the channel, across the wrap. */
static void test_put_framed(void)
{
    struct both a, b;
    struct ft_batch batch;
    uint64_t at, p = 1, k;
    uint8_t *run = g_malloc(3 << 20), *payload = g_malloc0(1 << 20);

    setup(&a);
    setup(&b);
    for (k = 0; k < 20; k++) {
        for (at = 0; at < 3; at++) {
            ft_ring_put(&a.producer, p, payload, (uint32_t)(700000 + 13 * p));
            p++;
        }
        at = ft_ring_ready(&a.consumer);
        ft_ring_copy(&a.consumer, 0, run, at);
        ft_ring_take(&a.consumer, at);
        ft_ring_put_framed(&b.producer, p - 1, run, at);
        g_assert_cmpuint(b.producer.page->committed, ==, p - 1);
        for (at = p - 3; at < p; at++) {
            g_assert_cmpint(ft_ring_peek(&b.consumer, 0, at, &batch), ==, 1);
            ft_ring_take(&b.consumer, ft_batch_size(batch.length));
        }
    }
    g_free(run);
    g_free(payload);
    teardown(&a);
    teardown(&b);
}

static void test_wake_once(void)
{
    struct both b;
    uint64_t *word;

    setup(&b);
    word = &b.producer.page->consumer_waits;
    g_assert_false(ft_ring_put(&b.producer, 1, "", 0));
    ft_ring_announce_wait(word);
    g_assert_true(ft_ring_put(&b.producer, 2, "", 0));
    g_assert_false(ft_ring_put(&b.producer, 3, "", 0));
    ft_ring_announce_wait(word);
    g_assert_true(ft_ring_claim_wake(word));
    g_assert_false(ft_ring_claim_wake(word));
    ft_ring_announce_wait(&b.producer.page->producer_waits);
    g_assert_true(ft_ring_take(&b.consumer, 16));
    g_assert_false(ft_ring_take(&b.consumer, 16));
    teardown(&b);
}

static void test_gate(void)
{
    static const struct {
        uint64_t gate, acked, lease_until, position, now;
        bool may;
    } cases[] = {
        { FT_GATE_FREE, 0, 0, 99, 99, true },
        { FT_GATE_SHUT, 100, 100, 1, 1, false },
        { FT_GATE_RULE, 10, 100, 10, 99, true },
        { FT_GATE_RULE, 10, 100, 11, 99, false },
        { FT_GATE_RULE, 10, 100, 10, 100, false },
        { FT_GATE_RULE, 10, 100, 0, 0, true },
        { FT_GATE_RULE, 0, 0, 0, 0, false },
        { 3, 100, 100, 1, 1, false },
        { UINT64_MAX, 100, 100, 1, 1, false },
    };
    struct ft_ring_page page;
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        memset(&page, 0, sizeof(page));
        page.gate = cases[i].gate;
        page.acked = cases[i].acked;
        page.lease_until = cases[i].lease_until;
        g_assert_true(ft_gate_may_release(&page, cases[i].position,
                                          cases[i].now) == cases[i].may);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ring/crc32c is the one of RFC 3720", test_crc);
    g_test_add_func("/ring/a mapping that is not a ring is refused",
                    test_attach);
    g_test_add_func("/ring/a batch's bytes", test_layout);
    g_test_add_func("/ring/peek finds whole batches only", test_peek);
    g_test_add_func("/ring/parse finds every damaged bit", test_parse);
    g_test_add_func("/ring/a full ring takes nothing", test_full);
    g_test_add_func("/ring/two threads, many wraps, no lost wake-up",
                    test_two_threads);
    g_test_add_func("/ring/framed bytes pass from ring to ring",
                    test_put_framed);
    g_test_add_func("/ring/one wake-up for each announcement",
                    test_wake_once);
    g_test_add_func("/ring/the gate's rule", test_gate);
    return g_test_run();
}
