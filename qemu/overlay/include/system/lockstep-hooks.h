/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the calls that the rest of QEMU makes into the replay engine.
 *
 * Each is cheap and does nothing (or what upstream does) unless QEMU was
 * started with -object lockstep. Devices use system/lockstep.h instead.
 */
#ifndef SYSTEM_LOCKSTEP_HOOKS_H
#define SYSTEM_LOCKSTEP_HOOKS_H

#include "qapi/qapi-types-run-state.h"
#include "qemu/timer.h"

/* ---- start and end of the process (system/vl.c, hw/core/machine.c) ------ */

/* -object's type, before anything else exists. */
void lockstep_option(const char *qom_type);
/* Called where rr= is looked at: from here the replay lock is in use. */
void lockstep_configure(void);
/* The machine is complete. */
void lockstep_machine_done(void);
/* The main loop has ended. Does not return while recording or replaying. */
void lockstep_process_exit(int status);

/* ---- clocks (include/system/replay.h, util/qemu-timer.c) ---------------- */

/* A clock that is read here is not part of the log: nothing is recording, or
 * the reader is a part of QEMU that the guest cannot see. */
bool lockstep_clock_is_raw(void);
/* What must be added to the host's clock so that it never steps back. */
int64_t lockstep_host_clock_offset(void);
/* A clock for deadlines of poll: not logged. */
int64_t lockstep_deadline_clock(QEMUClockType type);
/* Replaying: the log says when these timers fire, not poll. */
bool lockstep_ignores_deadline(QEMUClockType type);
/* Brackets the main loop's work that is in the log. */
void lockstep_section_begin(void);
void lockstep_section_end(void);
/* May this list's timers run now? Pairs with lockstep_timers_end(). */
bool lockstep_timers_begin(QEMUClockType type, int64_t first_expires);
void lockstep_timers_end(QEMUClockType type);

/* ---- vCPU thread (accel/tcg) -------------------------------------------- */

/* Does the vCPU thread wait at its loop top? idle: all vCPUs are halted. */
bool lockstep_vcpu_waits(bool idle);
/* Recording may leave out a WARP_START, or a WARP_ACCOUNT, that changes
 * nothing. deadline: of the guest's next timer, relative; -1 none. */
bool lockstep_skips_warp_start(int64_t warp_start, int64_t deadline);
bool lockstep_skips_warp_account(int64_t warp_start);
/* Forget everything that was translated. */
void lockstep_cold_start(void);

/* ---- the guest's TLB (accel/tcg/cputlb.c, target/i386) ------------------ */

/* What a walk found, if the guest has not flushed it since and it gives the
 * right for this access (an MMUAccessType). size: of the page, in bytes. */
bool lockstep_walk_find(int mmu_idx, uint64_t addr, int access,
                        uint64_t *physical, int *rights, int *size);
void lockstep_walk_done(int mmu_idx, uint64_t addr, uint64_t physical,
                        int rights, int size);
/* The guest flushes. */
void lockstep_walk_flush(uint16_t mmu_idxmap);
/* The same for a page. True: QEMU's TLB must flush all of this index. */
bool lockstep_walk_flush_page(int mmu_idx, uint64_t addr);
/* Flushes are QEMU's own meanwhile, the guest knows nothing of them. */
void lockstep_walks_keep(bool keep);
/* A session begins: forget all walks. */
void lockstep_walks_reset(void);

/* ---- locks (system/cpus.c) ---------------------------------------------- */

/* run_on_cpu() waits for the vCPU thread, which needs the replay lock. */
bool lockstep_work_begin(void);
void lockstep_work_end(bool locked);

/* ---- run state (system/runstate.c, system/cpus.c) ----------------------- */

/* Returns true when the engine took over this request. */
bool lockstep_shutdown_request(ShutdownCause reason);
bool lockstep_reset_request(ShutdownCause reason);
bool lockstep_powerdown_request(void);
/* Returns true when the guest may not sleep. */
bool lockstep_suspend_request(void);
/* system/runstate.c: notify the guest, now. */
void qemu_system_powerdown_now(void);
/* A stop or resume of ours that management software shall not see. */
bool lockstep_hides_events(void);
/* Replaying looks paused from outside. */
bool lockstep_looks_paused(void);

/* ---- monitor ------------------------------------------------------------ */

/* NULL, or why this line of an HMP monitor is refused now. */
const char *lockstep_refuses_hmp(const char *line);
/* The same for QMP; sets the error. */
bool lockstep_refuses_qmp(const char *name, Error **errp);

/* ---- migration ---------------------------------------------------------- */

/* The outgoing migration is a clone: the guest goes on here. */
bool lockstep_cloning(void);
/* The incoming migration is a clone. */
bool lockstep_incoming(void);
/* The guest is about to be stopped: the pause begins. */
void lockstep_clone_stops(void);
/* The guest is stopped, nothing is saved yet. */
bool lockstep_clone_stopped(void);
/* The state is saved: NONE -> RECORD. */
void lockstep_clone_saved(void);
/* Migration's end, VM stopped. Returns true when the guest shall run on. */
bool lockstep_clone_ended(bool ok);
/* The state is loaded: REPLAY begins. */
void lockstep_incoming_loaded(void);
/* The stream could not be loaded. */
void lockstep_incoming_failed(const char *why);

#endif
