/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest of writer.S does: at most every eighth tick it makes a round
 * of requests to a disk, all at once, and the next when all have ended. Blocks
 * have 4 KiB; round n, from 1:
 *
 *   block 4n        written: its first bytes are the status of the read and
 *                   of the flush of round n - 1, the others are 0
 *   block 4n + 1    written with zeroes
 *   block 4n + 2    the same, and may be unmapped
 *   block 4n + 3    discarded
 *   block 0         read
 *   the disk        flushed
 *
 * With DISCARDS a round is so many discards instead, one block after the other,
 * at each tick.
 *
 * The disk is a virtio-blk device as drivers saw it before version 1.0: one
 * queue, polled.
 */
#include <stdint.h>

#ifndef DISCARDS
#define DISCARDS 0
#endif

enum { BLOCK = 4096, SECTORS = BLOCK / 512, PAUSE = DISCARDS ? 1 : 8 };

/* The device's first I/O ports. */
enum {
    GUEST_FEATURES = 4,
    QUEUE_PAGE = 8,
    QUEUE_SIZE = 12,
    QUEUE_SELECT = 14,
    QUEUE_NOTIFY = 16,
    STATUS = 18,
    CAPACITY = 20,
};
enum { FLUSH_FEATURE = 1 << 9 };
enum { IN = 0, OUT = 1, FLUSH = 4, DISCARD = 11, ZEROES = 13, UNMAP = 1 };
enum { NEXT = 1, DEVICE_WRITES = 2, NO_INTERRUPT = 1 };

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

struct request {
    struct {
        uint32_t type, priority;
        uint64_t sector;
    } head;
    struct {
        uint64_t sector;
        uint32_t sectors, flags;
    } range;
    volatile uint8_t status;
};

static const struct {
    uint32_t type, flags;
} kind[] = {
    { OUT, 0 },     { ZEROES, 0 }, { ZEROES, UNMAP },
    { DISCARD, 0 }, { IN, 0 },     { FLUSH, 0 },
};
enum { KINDS = DISCARDS ? DISCARDS : sizeof kind / sizeof kind[0] };

static uint8_t ring[4 * BLOCK] __attribute__((aligned(BLOCK)));
static uint8_t out[BLOCK], in[BLOCK];
static struct request request[KINDS];
static volatile uint16_t *available, *used;
static uint16_t port, size, made;
static uint32_t round, rounds, ticks;

static void out8(uint16_t at, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(at));
}

static void out16(uint16_t at, uint16_t v)
{
    __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(at) : "memory");
}

static void out32(uint16_t at, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(at));
}

static uint16_t in16(uint16_t at)
{
    uint16_t v;

    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(at));
    return v;
}

static uint32_t in32(uint16_t at)
{
    uint32_t v;

    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(at));
    return v;
}

static uint32_t pci(uint32_t slot, uint32_t at)
{
    out32(0xcf8, 0x80000000u | slot << 11 | at);
    return in32(0xcfc);
}

static void find_disk(void)
{
    uint32_t slot = 0;

    while (pci(slot, 0) != 0x10011af4) {
        slot++;
    }
    port = pci(slot, 0x10) & ~3u;
    out32(0xcf8, 0x80000000u | slot << 11 | 4);
    out32(0xcfc, 7); /* ports, memory, bus master */

    out8(port + STATUS, 0);
    out8(port + STATUS, 3);
    out32(port + GUEST_FEATURES, FLUSH_FEATURE);
    out16(port + QUEUE_SELECT, 0);
    size = in16(port + QUEUE_SIZE);
    available = (void *)(ring + size * sizeof(struct descriptor));
    used = (void *)(((uintptr_t)(available + 3 + size) + BLOCK - 1) &
                    ~(uintptr_t)(BLOCK - 1));
    available[0] = NO_INTERRUPT;
    out32(port + QUEUE_PAGE, (uintptr_t)ring / BLOCK);
    out8(port + STATUS, 7);
    rounds = in32(port + CAPACITY) / SECTORS / 4 - 1;
}

static void describe(int at, void *what, uint32_t length, uint16_t flags)
{
    struct descriptor *d = (struct descriptor *)ring + at;

    d->address = (uintptr_t)what;
    d->length = length;
    d->flags = flags;
    d->next = at + 1;
}

static void make(int i)
{
    uint64_t sector = i < 4 ? (4 * round + i) * SECTORS : 0;
    uint32_t type = DISCARDS ? DISCARD : kind[i].type;
    struct request *r = &request[i];
    int at = 3 * i;

    if (DISCARDS) {
        sector = i * SECTORS;
    }
    r->head.type = type;
    r->head.sector = sector;
    r->range.sector = sector;
    r->range.sectors = SECTORS;
    r->range.flags = DISCARDS ? 0 : kind[i].flags;
    describe(at++, &r->head, sizeof r->head, NEXT);
    if (type == IN) {
        describe(at++, in, BLOCK, NEXT | DEVICE_WRITES);
    } else if (type == OUT) {
        describe(at++, out, BLOCK, NEXT);
    } else if (type != FLUSH) {
        describe(at++, &r->range, sizeof r->range, NEXT);
    }
    describe(at, (void *)&r->status, 1, DEVICE_WRITES);
    available[2 + made++ % size] = 3 * i;
}

/* Called at each tick. */
void work(void)
{
    if (!port) {
        find_disk();
    }
    if (++ticks < PAUSE || used[1] != made || round >= rounds) {
        return;
    }
    ticks = 0;
    round++;
    out[0] = request[4].status;
    out[1] = request[5].status;
    for (int i = 0; i < KINDS; i++) {
        make(i);
    }
    available[1] = made;
    out16(port + QUEUE_NOTIFY, 0);
}
