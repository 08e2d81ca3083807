/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz-wire.c - what a peer, QEMU or the storage may send, damaged
 *
 * One input: a byte that chooses the parser, then its bytes. Every parser is
 * total: it accepts or says why not, reads nothing outside, and what it
 * accepts encodes to the same bytes again.
 *
 * `make check` runs main(): deterministic mutations of good messages for some
 * seconds (FUZZ_SECONDS). For libFuzzer:
 *   clang -g -D_GNU_SOURCE -DLIBFUZZER -fsanitize=fuzzer,address,undefined \
 *     -I. -Icommon -Ilogging-channel tests/fuzz/fuzz-wire.c \
 *     logging-channel/wire.c logging-channel/channel.c common/ring.c \
 *     shared-disk/block.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/ring.h"
#include "logging-channel/channel.h"
#include "logging-channel/wire.h"
#include "shared-disk/block.h"
#include "tests/fuzz/mutate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum parser { STREAM, STREAM_OPEN, PREAMBLE, BATCHES, RING, BLOCK, PARSERS };

/* ---- the parsers ---- */

/* One frame at the front. Returns its size, or 0. */
static size_t one_frame(struct lc_channel *ch, const uint8_t *p, size_t n)
{
    static uint8_t again[1 << 17];
    struct lc_frame f;
    struct lc_msg m;
    size_t whole;

    if (n < LC_HEADER_SIZE || lc_decode_frame(&f, p)) {
        return 0;
    }
    CHECK(f.length <= LC_MAX_BODY && lc_type_name(f.type));
    whole = LC_HEADER_SIZE + f.length;
    if (n < whole || lc_channel_accept(ch, &f) ||
        lc_decode_body(&m, f.type, p + LC_HEADER_SIZE, f.length)) {
        return 0;
    }
    CHECK(m.type == f.type);
    CHECK(lc_body_size(&m) == f.length);
    if (whole <= sizeof(again)) {
        CHECK(lc_encode(again, sizeof(again), &f, &m) == whole);
        CHECK(!memcmp(again, p, whole));
    }
    return whole;
}

static void stream(const uint8_t *p, size_t n, bool greeted)
{
    static const lc_id pair = { { 7 } };
    struct lc_channel ch;
    struct lc_frame f;
    uint64_t before;
    size_t k;

    lc_channel_init(&ch, LC_KIND_LOG, greeted ? LC_CONNECTOR : LC_ACCEPTOR,
                    &pair, 3);
    if (greeted) {
        CHECK(!lc_channel_stamp(&ch, LC_HELLO, &f));
    }
    do {
        before = ch.received;
        k = one_frame(&ch, p, n);
        CHECK(ch.received == before || ch.received == before + 1);
        p += k;
        n -= k;
    } while (k);
}

static void preamble(const uint8_t *p, size_t n)
{
    uint8_t again[LC_PREAMBLE_SIZE];
    struct lc_preamble out;

    if (n >= LC_PREAMBLE_SIZE && !lc_decode_preamble(&out, p)) {
        lc_encode_preamble(again, out.kind, &out.vm);
        CHECK(!memcmp(again, p, sizeof(again)));
    }
}

static void batches(const uint8_t *p, size_t n)
{
    uint64_t expect = 1, k = 0;
    struct ft_batch b;

    while (ft_batch_parse(p, n, expect, &b, &k) == 1) {
        CHECK(k <= n && k >= FT_BATCH_HEADER && k % 8 == 0);
        CHECK(b.position == expect && b.length + FT_BATCH_HEADER <= k);
        p += k;
        n -= k;
        expect++;
    }
}

/* The first bytes become the counters' page: what a mad QEMU may write. */
static void ring(const uint8_t *p, size_t n)
{
    static uint8_t *map;
    struct ft_ring r;
    struct ft_batch b;
    uint8_t out[64];
    uint64_t words[3], ready;

    if (!map) {
        map = calloc(1, FT_RING_DATA + 2 * FT_BATCH_MAX);
        CHECK(map);
    }
    ft_ring_init(&r, map, 2 * FT_BATCH_MAX);
    if (n < sizeof(words)) {
        return;
    }
    memcpy(words, p, sizeof(words));
    r.page->head = words[0];
    r.page->tail = words[1];
    memcpy(r.data, p, n < 4096 ? n : 4096);
    memcpy(r.data + (words[1] & r.mask) / 2, p, n < 4096 ? n : 4096);
    ready = ft_ring_ready(&r);
    CHECK(ready <= 2 * FT_BATCH_MAX);
    if (ft_ring_peek(&r, words[2], 0, &b) == 1) {
        CHECK(b.length <= FT_BATCH_MAX);
        CHECK(words[2] + ft_batch_size(b.length) <= ready);
    }
    if (ready >= sizeof(out)) {
        ft_ring_copy(&r, ready - sizeof(out), out, sizeof(out));
    }
    CHECK(!ft_ring_attach(&r, map, FT_RING_DATA + 2 * FT_BATCH_MAX));
}

static void block(const uint8_t *p, size_t n)
{
    static const uint8_t id[16] = { 1 };
    uint8_t again[TAS_BLOCK_SIZE];
    struct tas_block b;

    if (!tas_block_decode(&b, p, n)) {
        CHECK(n == TAS_BLOCK_SIZE);
        tas_block_encode(&b, again);
        CHECK(!memcmp(again, p, n));
        CHECK(tas_block_look(&b, id, 1).generation == b.generation);
    } else {
        CHECK(b.generation == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *p;
    size_t n;

    if (!size) {
        return 0;
    }
    /* ends where the heap block ends, for the sanitizer */
    n = size - 1;
    p = malloc(n ? n : 1);
    CHECK(p);
    memcpy(p, data + 1, n);
    switch (data[0] % PARSERS) {
    case STREAM:
    case STREAM_OPEN:
        stream(p, n, data[0] % PARSERS == STREAM_OPEN);
        break;
    case PREAMBLE:
        preamble(p, n);
        break;
    case BATCHES:
        batches(p, n);
        break;
    case RING:
        ring(p, n);
        break;
    case BLOCK:
        block(p, n);
        break;
    }
    free(p);
    return 0;
}

#ifndef LIBFUZZER

/* ---- good inputs, and mutations of them ---- */

#include "tests/logging-channel/golden.h"

static size_t put_frames(uint8_t *to, size_t cap, enum parser which)
{
    struct lc_frame f = { .generation = 3, .pair = { { 7 } } };
    size_t used = 0, i, k;

    for (i = 0; i < 6; i++) {
        const struct lc_msg *m =
            &golden[next_random() % (sizeof(golden) / sizeof(golden[0]))].m;

        if (i == 0) {
            m = &golden[which == STREAM ? 0 : 1].m;
        }
        f.sequence = i + 1;
        k = lc_encode(to + used, cap - used, &f, m);
        used += k;
    }
    return used;
}

static size_t put_batches(uint8_t *to)
{
    static uint8_t *map;
    struct ft_ring r;
    uint64_t i, n;

    if (!map) {
        map = calloc(1, FT_RING_DATA + 2 * FT_BATCH_MAX);
        CHECK(map);
    }
    memset(map, 0, FT_RING_DATA);
    ft_ring_init(&r, map, 2 * FT_BATCH_MAX);
    for (i = 1; i < 5; i++) {
        ft_ring_put(&r, i, golden, (uint32_t)(next_random() % 200));
    }
    n = ft_ring_ready(&r);
    ft_ring_copy(&r, 0, to, n);
    return n;
}

static size_t good_input(uint8_t *to)
{
    static const uint8_t id[16] = { 1, 2 };
    enum parser which = (enum parser)(next_random() % PARSERS);
    struct tas_block b;
    lc_id vm = { { 5 } };

    to[0] = (uint8_t)which;
    switch (which) {
    case STREAM:
    case STREAM_OPEN:
        return 1 + put_frames(to + 1, INPUT - 1, which);
    case PREAMBLE:
        lc_encode_preamble(to + 1, LC_KIND_LOG, &vm);
        return 1 + LC_PREAMBLE_SIZE;
    case BATCHES:
        return 1 + put_batches(to + 1);
    case RING:
        memset(to + 1, 0, 24);
        to[1] = (uint8_t)next_random();
        return 25 + put_batches(to + 25);
    default:
        tas_block_make(&b, next_random() % 2 ? TAS_FREE : TAS_OWNED,
                       next_random() % 9 + 1, id, id, 1, id, "hosta");
        tas_block_encode(&b, to + 1);
        return 1 + TAS_BLOCK_SIZE;
    }
}

int main(void)
{
    unsigned long runs = 0;
    uint8_t input[INPUT + 16];

    printf("1..1\n");
    while (fuzz_goes_on()) {
        for (unsigned i = 0; i < 1000; i++, runs++) {
            LLVMFuzzerTestOneInput(input, mutate(input, good_input(input)));
        }
    }
    printf("# %lu inputs\n", runs);
    printf("ok 1 - damaged messages, batches and records harm nobody\n");
    return 0;
}

#endif
