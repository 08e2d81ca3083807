/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the TLB that the guest sees
 *
 * Theory of Operation
 *
 * A walk of the page tables reads an entry at a certain moment and sets its
 * accessed and dirty bits. Guests change entries, or clear accessed bits, long
 * before they flush, so they see when a page is walked again. When QEMU's TLB
 * loses an entry depends on things outside the guest: how its code was cut into
 * slices and translated, and when the memory map changed (the end of a
 * migration does that to the source). A primary and a replica would differ in a
 * few bits, then in which page they reclaim; or one would take a page fault
 * that the other does not.
 *
 * So what a walk found is kept here until the guest flushes it, and QEMU's TLB
 * is filled from it: to the guest a TLB that never loses an entry, which an
 * x86 processor may have. It is filled and flushed at the same instructions on
 * both sides, whatever QEMU's TLB does. As on a processor, a walk whose rights
 * do not suffice is done again: a page that was read while it was clean is
 * walked by the first store, which sets the dirty bit.
 *
 * Pages are in buckets of eight; a flush of everything only moves an epoch on.
 * Large pages are kept as the 4 KiB pages that were used, and one region for
 * each mmu index covers them all: to flush a page in it flushes the index.
 *
 * Used by the vCPU thread only, and only while recording or replaying.
 *
 * paper, 2.1; rule 2
 */
#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "exec/tb-flush.h"
#include "hw/core/cpu.h"
#include "system/lockstep.h"
#include "system/lockstep-hooks.h"

#define IDX_BITS 4
#define PAGE_BITS 12
#define PAGE_MASK (~0ull << PAGE_BITS)
#define RIGHTS_BITS 3
#define WAYS 8
#define BUCKETS_MIN (1u << 12)
#define BUCKETS_MAX (1u << 20)

typedef struct Walk {
    uint64_t key;       /* page number and mmu index */
    uint64_t epoch;     /* the index's when it was walked */
    uint64_t found;     /* physical page, log2 of its size, rights */
} Walk;

typedef struct Index {
    uint64_t epoch;
    uint64_t large, large_mask;     /* holds all large pages; -1, -1: none */
} Index;

static Walk *walks;
static uint32_t buckets;
static Index indices[1 << IDX_BITS];
static bool kept;

static uint64_t key_of(int mmu_idx, uint64_t addr)
{
    return addr >> PAGE_BITS << IDX_BITS | mmu_idx;
}

static Walk *bucket_of(uint64_t key)
{
    uint64_t hash = key * 0x9e3779b97f4a7c15ull;

    return walks + (hash >> 40 & (buckets - 1)) * WAYS;
}

static bool is_live(const Walk *w)
{
    return w->epoch == indices[w->key & ((1 << IDX_BITS) - 1)].epoch;
}

static Walk *find(uint64_t key)
{
    Walk *w = bucket_of(key);

    for (int i = 0; i < WAYS; i++) {
        if (w[i].key == key && is_live(&w[i])) {
            return &w[i];
        }
    }
    return NULL;
}

static bool insert(Walk walk)
{
    Walk *w = bucket_of(walk.key);

    for (int i = 0; i < WAYS; i++) {
        if (!is_live(&w[i])) {
            w[i] = walk;
            return true;
        }
    }
    return false;
}

/* Twice as many buckets. False: that is too many. */
static bool grow(void)
{
    uint32_t n = buckets * WAYS;
    g_autofree Walk *old = walks;
    bool fits = true;

    if (buckets >= BUCKETS_MAX) {
        g_steal_pointer(&old);
        return false;
    }
    buckets *= 2;
    walks = g_new0(Walk, (size_t)buckets * WAYS);
    for (uint32_t i = 0; i < n; i++) {
        if (is_live(&old[i])) {
            fits &= insert(old[i]);
        }
    }
    return fits;
}

static bool in_use(void)
{
    return walks && lockstep_state() != LOCKSTEP_NONE;
}

static void flush_index(Index *index)
{
    index->epoch++;
    index->large = index->large_mask = -1;
}

static void cover(Index *index, uint64_t addr, uint64_t size)
{
    uint64_t mask = -size;

    if (index->large_mask == -1) {
        index->large = addr;
    } else {
        mask &= index->large_mask;
        while ((index->large ^ addr) & mask) {
            mask <<= 1;
        }
    }
    index->large &= mask;
    index->large_mask = mask;
}

bool lockstep_walk_find(int mmu_idx, uint64_t addr, int access,
                        uint64_t *physical, int *rights, int *size)
{
    Walk *w = in_use() ? find(key_of(mmu_idx, addr)) : NULL;

    if (!w || !(w->found >> access & 1)) {
        return false;
    }
    *physical = w->found & PAGE_MASK;
    *rights = w->found & ((1 << RIGHTS_BITS) - 1);
    *size = 1 << ((w->found & ~PAGE_MASK) >> RIGHTS_BITS);
    return true;
}

void lockstep_walk_done(int mmu_idx, uint64_t addr, uint64_t physical,
                        int rights, int size)
{
    Index *index = &indices[mmu_idx];
    Walk *w, walk = {
        .key = key_of(mmu_idx, addr),
        .epoch = index->epoch,
        .found = (physical & PAGE_MASK) | ctz32(size) << RIGHTS_BITS | rights,
    };

    if (!in_use()) {
        return;
    }
    if (size > 1 << PAGE_BITS) {
        cover(index, addr, size);
    }
    w = find(walk.key);
    if (w) {
        *w = walk;
    } else {
        while (!insert(walk) && grow()) {
        }
    }
}

void lockstep_walk_flush(uint16_t mmu_idxmap)
{
    if (!kept) {
        for (; mmu_idxmap; mmu_idxmap &= mmu_idxmap - 1) {
            flush_index(&indices[ctz32(mmu_idxmap)]);
        }
    }
}

bool lockstep_walk_flush_page(int mmu_idx, uint64_t addr)
{
    Index *index = &indices[mmu_idx];
    Walk *w;

    if (!in_use()) {
        return false;
    }
    if ((addr & index->large_mask) == index->large) {
        flush_index(index);
        tcg_flush_jmp_cache(first_cpu);
        return true;
    }
    w = find(key_of(mmu_idx, addr));
    if (w) {
        w->epoch = 0;
    }
    return false;
}

void lockstep_walks_keep(bool keep)
{
    kept = keep;
}

/* Both sides begin with none. */
void lockstep_walks_reset(void)
{
    g_free(walks);
    buckets = BUCKETS_MIN;
    walks = g_new0(Walk, (size_t)buckets * WAYS);
    for (int i = 0; i < ARRAY_SIZE(indices); i++) {
        indices[i] = (Index) { .epoch = 1, .large = -1, .large_mask = -1 };
    }
}
