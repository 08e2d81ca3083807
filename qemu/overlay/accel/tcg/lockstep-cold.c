/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: cold translation caches
 *
 * A page-table change that the guest did not flush becomes visible when QEMU's
 * TLB happens to walk the tables again. So both sides of a pair begin with the
 * same TLBs and no translated code, and the TLB's size, upstream a matter of
 * real time, follows the number of flushes.
 */
#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "exec/tb-flush.h"
#include "hw/core/cpu.h"
#include "internal-common.h"
#include "system/lockstep.h"
#include "system/lockstep-hooks.h"

static int64_t flushes;

int64_t lockstep_tlb_clock(void)
{
    return lockstep_enabled() ? ++flushes * SCALE_MS : get_clock_realtime();
}

/* All vCPUs are paused. */
void lockstep_cold_start(void)
{
    CPUState *cpu;

    flushes = 0;
    lockstep_walks_reset();
    CPU_FOREACH(cpu) {
        tlb_destroy(cpu);
        tlb_init(cpu);
        tcg_flush_jmp_cache(cpu);
    }
    tb_flush(first_cpu);
}
