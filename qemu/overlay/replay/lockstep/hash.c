/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: is the replica still the same?
 *
 * Now and then the recorder writes a digest of the vCPU's registers, of time
 * and of some pages of memory, at the vCPU's loop top; the replica compares.
 * The pages go round, so that each is looked at every few minutes. What the
 * guest sends out is compared besides (event.c), so a replica that differs is
 * found at the latest when the difference would be seen.
 *
 * Whether the vCPU is halted is left out. It leaves the halt when an interrupt
 * is pending, before the log says that it takes it; a replica may be a turn of
 * its loop ahead there, and has executed nothing yet. What it does then, it
 * does at an instruction that the log has.
 *
 * rule 2
 */
#include "qemu/osdep.h"
#include "exec/memory.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "qemu/timer.h"
#include "system/cpu-timers.h"
#include "internal.h"

#define PAGES 16
#define PAGE 4096

static uint64_t round_robin;

void lockstep_hash_reset(void)
{
    round_robin = 0;
}

static uint16_t fold(uint32_t crc)
{
    return crc ^ crc >> 16;
}

static uint16_t hash_clocks(void)
{
    int64_t clocks[2] = {
        icount_get_raw(), qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL),
    };

    return fold(ft_crc32c(0, clocks, sizeof(clocks)));
}

static uint16_t hash_cpu(void)
{
    uint32_t crc = 0;
    char *text = NULL;
    size_t length = 0;
    CPUState *cpu;
    FILE *f;

    f = open_memstream(&text, &length);
    if (f) {
        CPU_FOREACH(cpu) {
            uint32_t halted = cpu->halted;

            cpu->halted = 0;
            cpu_dump_state(cpu, f, CPU_DUMP_FPU);
            cpu->halted = halted;
        }
        fclose(f);
        crc = ft_crc32c(crc, text, length);
        free(text);
    }
    return fold(crc);
}

static uint32_t hash_ram(void)
{
    MemoryRegion *mr = current_machine->ram;
    uint64_t pages = current_machine->ram_size / PAGE;
    uint32_t crc = 0;
    uint8_t *ram;

    if (!mr || !pages) {
        return 0;
    }
    ram = memory_region_get_ram_ptr(mr);
    for (int i = 0; i < PAGES; i++) {
        crc = ft_crc32c(crc, ram + (round_robin++ % pages) * PAGE, PAGE);
    }
    return crc;
}

/* Rule 2: what is compared besides the outputs. */
uint64_t lockstep_hash_state(void)
{
    uint64_t clocks = hash_clocks(), cpu = hash_cpu();

    return clocks << 48 | cpu << 32 | hash_ram();
}

const char *lockstep_hash_differs_in(uint64_t a, uint64_t b)
{
    uint64_t d = a ^ b;

    return d >> 48 ? "clocks" : d >> 32 ? "registers" : "memory pages";
}
