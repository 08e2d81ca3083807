/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: page-table walks that a guest may see
 *
 * A walk sets the accessed and dirty bits. Guests clear accessed bits without
 * a flush, to learn later which pages are in use, so they see whether a page
 * was walked again. When QEMU's TLB evicts an entry, and what it evicts,
 * depends on things outside the guest: how its code was cut into slices and
 * translated. A primary and a replica differed in a few such bits, then in
 * which page they reclaimed.
 *
 * So a second walk of the same page changes nothing, until the guest flushes
 * it: as if the TLB never evicted. Which pages were walked is kept here, in
 * buckets of eight; a flush only moves an epoch on. Used by the vCPU thread
 * only, and only while recording or replaying.
 */
#include "qemu/osdep.h"
#include "system/lockstep.h"
#include "system/lockstep-hooks.h"

#define IDX_BITS 4
#define WAYS 8
#define BUCKETS_MIN (1u << 12)
#define BUCKETS_MAX (1u << 20)

typedef struct Walk {
    uint64_t key;       /* page number and mmu index */
    uint64_t life;      /* epoch, and 1 when the page may be written */
} Walk;

static Walk *walks;
static uint32_t buckets;
static uint64_t epochs[1 << IDX_BITS];

static uint64_t key_of(int mmu_idx, uint64_t addr)
{
    return addr >> 12 << IDX_BITS | mmu_idx;
}

static Walk *bucket_of(uint64_t key)
{
    uint64_t hash = key * 0x9e3779b97f4a7c15ull;

    return walks + (hash >> 40 & (buckets - 1)) * WAYS;
}

static bool is_live(const Walk *w)
{
    return w->life >> 1 == epochs[w->key & ((1 << IDX_BITS) - 1)];
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

static bool insert(uint64_t key, uint64_t life)
{
    Walk *w = bucket_of(key);

    for (int i = 0; i < WAYS; i++) {
        if (!is_live(&w[i])) {
            w[i] = (Walk) { key, life };
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
            fits &= insert(old[i].key, old[i].life);
        }
    }
    return fits;
}

static bool in_use(void)
{
    return walks && lockstep_state() != LOCKSTEP_NONE;
}

bool lockstep_walk_is_old(int mmu_idx, uint64_t addr, bool store)
{
    Walk *w = in_use() ? find(key_of(mmu_idx, addr)) : NULL;

    return w && (!store || (w->life & 1));
}

void lockstep_walk_done(int mmu_idx, uint64_t addr, bool writable)
{
    uint64_t key = key_of(mmu_idx, addr);
    Walk *w;

    if (!in_use()) {
        return;
    }
    w = find(key);
    if (w) {
        w->life |= writable;
    } else {
        while (!insert(key, epochs[mmu_idx] << 1 | writable) && grow()) {
        }
    }
}

void lockstep_walk_flush(int mmu_idx)
{
    epochs[mmu_idx]++;
}

void lockstep_walk_flush_page(int mmu_idx, uint64_t addr)
{
    Walk *w = in_use() ? find(key_of(mmu_idx, addr)) : NULL;

    if (w) {
        w->life = 0;
    }
}

/* Both sides begin with none. */
void lockstep_walks_reset(void)
{
    g_free(walks);
    buckets = BUCKETS_MIN;
    walks = g_new0(Walk, (size_t)buckets * WAYS);
    for (int i = 0; i < ARRAY_SIZE(epochs); i++) {
        epochs[i] = 1;
    }
}
