/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring.c - the vmlink's shared memory (see ring.h)
 *
 * paper, 2.2; rules 1 and 6: ft_gate_may_release()
 */

#include "ring.h"
#include "bytes.h"

#include <string.h>

#define LOAD_ACQUIRE(w) __atomic_load_n(&(w), __ATOMIC_ACQUIRE)
#define LOAD_RELAXED(w) __atomic_load_n(&(w), __ATOMIC_RELAXED)
#define STORE_RELEASE(w, v) __atomic_store_n(&(w), (v), __ATOMIC_RELEASE)
#define STORE_RELAXED(w, v) __atomic_store_n(&(w), (v), __ATOMIC_RELAXED)

/* ---- crc32c (Castagnoli), slicing by eight ------------------------------ */

/* crc_table[k][b]: the crc of byte b followed by k zero bytes. Built at first
 * use; two threads that build it at once write the same values. */
static uint32_t crc_table[8][256];
static int crc_ready;

static void crc_build(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t c = b;
        for (int i = 0; i < 8; i++) {
            c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
        }
        STORE_RELAXED(crc_table[0][b], c);
    }
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t c = crc_table[0][b];
        for (int k = 1; k < 8; k++) {
            c = crc_table[0][c & 0xff] ^ c >> 8;
            STORE_RELAXED(crc_table[k][b], c);
        }
    }
    STORE_RELEASE(crc_ready, 1);
}

uint32_t ft_crc32c(uint32_t crc, const void *p, size_t n)
{
    const uint8_t *s = p;

    if (!LOAD_ACQUIRE(crc_ready)) {
        crc_build();
    }
    crc = ~crc;
    for (; n >= 8; n -= 8, s += 8) {
        uint32_t lo = crc ^ ft_get_u32(s), hi = ft_get_u32(s + 4);
        crc = crc_table[7][lo & 0xff] ^ crc_table[6][lo >> 8 & 0xff] ^
              crc_table[5][lo >> 16 & 0xff] ^ crc_table[4][lo >> 24] ^
              crc_table[3][hi & 0xff] ^ crc_table[2][hi >> 8 & 0xff] ^
              crc_table[1][hi >> 16 & 0xff] ^ crc_table[0][hi >> 24];
    }
    for (; n; n--, s++) {
        crc = crc_table[0][(crc ^ *s) & 0xff] ^ crc >> 8;
    }
    return ~crc;
}

/* ---- set-up ------------------------------------------------------------- */

static void ring_view(struct ft_ring *r, void *map, uint64_t size)
{
    r->page = map;
    r->data = (uint8_t *)map + FT_RING_DATA;
    r->mask = size - 1;
}

static bool ring_size_ok(uint64_t size)
{
    return size >= 2 * (uint64_t)FT_BATCH_MAX && !(size & (size - 1));
}

void ft_ring_init(struct ft_ring *r, void *map, uint64_t size)
{
    ring_view(r, map, size);
    r->page->size = size;
    STORE_RELEASE(r->page->magic, FT_RING_MAGIC);
}

const char *ft_ring_attach(struct ft_ring *r, void *map, uint64_t map_bytes)
{
    const struct ft_ring_page *page = map;

    if (map_bytes < FT_RING_DATA) {
        return "the shared memory is smaller than its first page";
    }
    if (LOAD_ACQUIRE(page->magic) != FT_RING_MAGIC) {
        return "the shared memory is not a ring";
    }
    uint64_t size = page->size;
    if (!ring_size_ok(size)) {
        return "the ring's size is not a power of two, or too small";
    }
    if (map_bytes != FT_RING_DATA + size) {
        return "the ring's size does not match the shared memory";
    }
    ring_view(r, map, size);
    return NULL;
}

/* ---- copying with wrap -------------------------------------------------- */

static void copy_in(struct ft_ring *r, uint64_t at, const void *from,
                    uint64_t n)
{
    uint64_t offset = at & r->mask, room = r->mask + 1 - offset;
    uint64_t first = n < room ? n : room;

    if (n) {
        memcpy(r->data + offset, from, first);
        memcpy(r->data, (const uint8_t *)from + first, n - first);
    }
}

void ft_ring_copy(const struct ft_ring *r, uint64_t at, void *to, uint64_t n)
{
    uint64_t offset = (LOAD_RELAXED(r->page->tail) + at) & r->mask;
    uint64_t room = r->mask + 1 - offset;
    uint64_t first = n < room ? n : room;

    if (n) {
        memcpy(to, r->data + offset, first);
        memcpy((uint8_t *)to + first, r->data, n - first);
    }
}

/* ---- producer ----------------------------------------------------------- */

uint64_t ft_batch_size(uint32_t payload)
{
    return (FT_BATCH_HEADER + (uint64_t)payload + 7) & ~(uint64_t)7;
}

bool ft_ring_has_space(const struct ft_ring *r, uint64_t bytes)
{
    uint64_t used = LOAD_RELAXED(r->page->head) - LOAD_ACQUIRE(r->page->tail);
    return used <= r->mask + 1 && bytes <= r->mask + 1 - used;
}

static bool publish(struct ft_ring *r, uint64_t head, uint64_t position)
{
    STORE_RELEASE(r->page->committed, position);
    STORE_RELEASE(r->page->head, head);
    return ft_ring_claim_wake(&r->page->consumer_waits);
}

bool ft_ring_put(struct ft_ring *r, uint64_t position, const void *payload,
                 uint32_t length)
{
    static const uint8_t zero[8];
    uint64_t head = LOAD_RELAXED(r->page->head);
    uint64_t end = head + ft_batch_size(length);
    uint8_t header[FT_BATCH_HEADER];

    ft_put_u32(header, length);
    ft_put_u32(header + 4, ft_crc32c(0, payload, length));
    ft_put_u64(header + 8, position);
    copy_in(r, head, header, sizeof header);
    head += sizeof header;
    copy_in(r, head, payload, length);
    head += length;
    copy_in(r, head, zero, end - head);
    return publish(r, end, position);
}

bool ft_ring_put_framed(struct ft_ring *r, uint64_t last, const void *bytes,
                        uint64_t length)
{
    uint64_t head = LOAD_RELAXED(r->page->head);

    copy_in(r, head, bytes, length);
    return publish(r, head + length, last);
}

/* ---- consumer ----------------------------------------------------------- */

uint64_t ft_ring_ready(const struct ft_ring *r)
{
    uint64_t n = LOAD_ACQUIRE(r->page->head) - LOAD_RELAXED(r->page->tail);
    return n <= r->mask + 1 ? n : 0;
}

bool ft_ring_take(struct ft_ring *r, uint64_t n)
{
    STORE_RELEASE(r->page->tail, LOAD_RELAXED(r->page->tail) + n);
    return ft_ring_claim_wake(&r->page->producer_waits);
}

/* The header's own checks, for the ring and for plain memory. */
static int batch_header(const uint8_t *h, uint64_t ready, uint64_t expect,
                        struct ft_batch *out)
{
    out->length = ft_get_u32(h);
    out->crc = ft_get_u32(h + 4);
    out->position = ft_get_u64(h + 8);
    if (out->length > FT_BATCH_MAX || !out->position ||
        (expect && out->position != expect)) {
        return -1;
    }
    return ft_batch_size(out->length) <= ready;
}

int ft_ring_peek(const struct ft_ring *r, uint64_t at, uint64_t expect,
                 struct ft_batch *out)
{
    uint64_t ready = ft_ring_ready(r);
    uint8_t h[FT_BATCH_HEADER];

    if (ready < at || ready - at < sizeof h) {
        return 0;
    }
    ft_ring_copy(r, at, h, sizeof h);
    return batch_header(h, ready - at, expect, out);
}

int ft_batch_parse(const uint8_t *p, uint64_t length, uint64_t expect,
                   struct ft_batch *out, uint64_t *n)
{
    int whole;

    if (length < FT_BATCH_HEADER) {
        return 0;
    }
    whole = batch_header(p, length, expect, out);
    if (whole != 1) {
        return whole;
    }
    *n = ft_batch_size(out->length);
    return ft_crc32c(0, p + FT_BATCH_HEADER, out->length) == out->crc ? 1
                                                                      : -1;
}

/* ---- sleeping and the gate ---------------------------------------------- */

void ft_ring_announce_wait(uint64_t *waits_word)
{
    __atomic_store_n(waits_word, 1, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool ft_ring_claim_wake(uint64_t *waits_word)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return LOAD_RELAXED(*waits_word) &&
           __atomic_exchange_n(waits_word, 0, __ATOMIC_SEQ_CST);
}

/* Rules 1 and 6: an output bound to `position` leaves once that is acknowledged
 * and while the lease runs. */
bool ft_gate_may_release(const struct ft_ring_page *p, uint64_t position,
                         uint64_t now)
{
    switch (LOAD_ACQUIRE(p->gate)) {
    case FT_GATE_FREE:
        return true;
    case FT_GATE_RULE:
        return position <= LOAD_ACQUIRE(p->acked) &&
               now < LOAD_ACQUIRE(p->lease_until);
    default:
        return false;
    }
}
