/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring.h - the vmlink's shared memory: a ring of log batches and the gate
 *
 * Theory of Operation
 *
 * One memfd per session of a QEMU (one generation, one direction): a page of
 * counters, then a power of two of data bytes. One producer, one consumer.
 * While QEMU records it produces and the agent consumes; while it replays the
 * agent produces and QEMU consumes.
 *
 * A batch is the atomic unit of the log: what QEMU wrote between taking and
 * releasing the replay mutex. In the ring and on the channel it is
 *
 *     u32 length of the payload, u32 crc32c of the payload, u64 position,
 *     payload, zero bytes up to a multiple of 8
 *
 * Positions count from 1 in each generation, without gaps. A batch is
 * published whole: head moves once, with release order, after its last byte.
 * Bytes wrap at the end of the data area.
 *
 * Wake-ups: a side that is going to sleep sets its `waits` word, looks again,
 * then waits for its bell; the other side rings it only when it has exchanged
 * the word to 0. Bells (role/vmring.h): `data` (to the consumer), `space` (to
 * the producer), `gate` (to QEMU: acked, lease_until or gate changed).
 *
 * The gate: what QEMU reads immediately before an output leaves. FREE: no
 * rule (alone, or not yet protected). SHUT: nothing leaves. RULE: an output
 * bound to position p leaves when p <= acked and now < lease_until, on
 * CLOCK_BOOTTIME of this host.
 */
#ifndef FT_RING_H
#define FT_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FT_RING_MAGIC 0x31676e69724b534cull /* "LSKring1" */
#define FT_RING_DATA 4096u                  /* offset of the data area */
#define FT_BATCH_HEADER 16u
#define FT_BATCH_MAX (8u << 20) /* payload; a ring is at least twice this */

enum ft_gate { FT_GATE_FREE = 0, FT_GATE_SHUT = 1, FT_GATE_RULE = 2 };

/* Each group on its own cache line; every word has one writer. */
/* clang-format off */
struct ft_ring_page {
    uint64_t magic, size;               /* 0x000 set once; data bytes */
    uint64_t pad0[6];
    uint64_t head, committed;           /* 0x040 producer: bytes, position */
    uint64_t pad1[6];
    uint64_t tail, executed;            /* 0x080 consumer: bytes, position */
    uint64_t pad2[6];
    uint64_t gate, acked, lease_until;  /* 0x0c0 agent */
    uint64_t pad3[5];
    uint64_t producer_waits;            /* 0x100 */
    uint64_t pad4[7];
    uint64_t consumer_waits;            /* 0x140 */
    uint64_t pad5[7];
};
/* clang-format on */
_Static_assert(sizeof(struct ft_ring_page) == 0x180, "ring page layout");

/* A process's view of a ring. Borrows the mapping. */
struct ft_ring {
    struct ft_ring_page *page;
    uint8_t *data;
    uint64_t mask;
};

/* Prepare a fresh, zeroed mapping of FT_RING_DATA + size bytes. size: power
 * of two, at least 2 * FT_BATCH_MAX. */
void ft_ring_init(struct ft_ring *r, void *map, uint64_t size);
/* Attach to a mapping that the other side prepared, of map_bytes bytes.
 * Returns NULL, or the sentence that says what is wrong with it. */
const char *ft_ring_attach(struct ft_ring *r, void *map, uint64_t map_bytes);

/* Producer. Bytes that a batch of this payload takes. */
uint64_t ft_batch_size(uint32_t payload);
bool ft_ring_has_space(const struct ft_ring *r, uint64_t bytes);
/* Publish one batch; the caller has checked space. Returns true when the
 * consumer sleeps and wants its bell rung. */
bool ft_ring_put(struct ft_ring *r, uint64_t position, const void *payload,
                 uint32_t length);
/* Publish bytes that already are whole, framed batches (from the channel),
 * ending at position last. */
bool ft_ring_put_framed(struct ft_ring *r, uint64_t last, const void *bytes,
                        uint64_t length);

/* Consumer. Bytes ready to take. */
uint64_t ft_ring_ready(const struct ft_ring *r);
/* Copy n bytes from `at` bytes behind tail, n + at <= ready. */
void ft_ring_copy(const struct ft_ring *r, uint64_t at, void *to, uint64_t n);
/* Give back n bytes. Returns true when the producer waits for its bell. */
bool ft_ring_take(struct ft_ring *r, uint64_t n);

struct ft_batch {
    uint32_t length, crc;
    uint64_t position;
};
/* Parse the header at `at` behind tail and check it against ready bytes, the
 * maximum and the expected position (0: any). Returns 1 a whole batch is
 * there, 0 none yet, -1 malformed. */
int ft_ring_peek(const struct ft_ring *r, uint64_t at, uint64_t expect,
                 struct ft_batch *out);
/* The same over plain memory (a channel frame's batches). *n: bytes of the
 * batch with header and padding. */
int ft_batch_parse(const uint8_t *p, uint64_t length, uint64_t expect,
                   struct ft_batch *out, uint64_t *n);
uint32_t ft_crc32c(uint32_t crc, const void *p, size_t n);

/* Sleep protocol (either side): announce, look again, or cancel. */
void ft_ring_announce_wait(uint64_t *waits_word);
bool ft_ring_claim_wake(uint64_t *waits_word);

/* The gate. now: CLOCK_BOOTTIME, ns. */
bool ft_gate_may_release(const struct ft_ring_page *p, uint64_t position,
                         uint64_t now);

#endif
