/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: cold translation caches
 *
 * What QEMU's TLB holds of a clone's source was walked before anybody kept a
 * record of it (lockstep-walks.c), and its replica has nothing. So both sides
 * of a pair begin with empty TLBs and no translated code.
 *
 * paper, 3.1; rule 8
 */
#include "qemu/osdep.h"
#include "exec/tb-flush.h"
#include "hw/core/cpu.h"
#include "internal-common.h"
#include "system/lockstep-hooks.h"

/* All vCPUs are paused. */
void lockstep_cold_start(void)
{
    CPUState *cpu;

    lockstep_walks_reset();
    CPU_FOREACH(cpu) {
        tlb_destroy(cpu);
        tlb_init(cpu);
        tcg_flush_jmp_cache(cpu);
    }
    tb_flush(first_cpu);
}
