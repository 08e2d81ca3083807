/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the roles of this QEMU
 *
 * Theory of Operation
 *
 * Three roles, NONE <-> RECORD and (incoming) -> REPLAY -> NONE; never from
 * one of the latter to the other. phase.h has what is true within each and
 * what may follow; all moves are made by lockstep_move(), which traces them
 * and checks the invariant. Each role is a state of upstream's record/replay
 * (replay_mode), switchable at run time because the replay lock is always in
 * use when the object exists. In NONE nothing is logged and the event queue
 * is off, so draining the block layer really drains and a clone's device
 * state is complete.
 *
 * What is logged is what the guest can see: reads of clocks on the vCPU
 * thread, and in the main loop inside a "section" (timers that a checkpoint
 * orders, the warp timer's start, a reset). All else that runs in this
 * process, monitors, displays, migration, reads clocks raw.
 *
 * paper, 2.1 and 3.2; rules 2 and 10
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "hw/core/cpu.h"
#include "system/cpu-timers.h"
#include "system/cpus.h"
#include "system/replay.h"
#include "system/runstate.h"
#include "../replay-internal.h"
#include "trace.h"
#include "internal.h"

#define TYPE_NAME "lockstep"

LockstepEngine lockstep;

static bool object_given;

static QTAILQ_HEAD(, LockstepPart) parts = QTAILQ_HEAD_INITIALIZER(parts);

/* Depth of the main loop's work that is in the log. */
static __thread unsigned section;

/* ---- the process -------------------------------------------------------- */

void lockstep_option(const char *qom_type)
{
    if (g_str_equal(qom_type, TYPE_NAME)) {
        object_given = true;
    }
}

void lockstep_configure(void)
{
    if (!object_given) {
        return;
    }
    if (replay_mode != REPLAY_MODE_NONE) {
        error_report("-object lockstep and -icount rr= exclude each other");
        exit(1);
    }
    lockstep.enabled = true;
    replay_mutex_init();
    replay_init_events();
    lockstep_attach_init();
}

void lockstep_machine_done(void)
{
    if (lockstep.enabled && !icount_enabled()) {
        error_report("-object lockstep needs -icount shift=N");
        exit(1);
    }
}

void lockstep_process_exit(int status)
{
    if (lockstep.enabled && lockstep_state() != LOCKSTEP_NONE) {
        /*
         * Outputs and requests wait for a peer, and draining would wait for
         * them. A primary that ends so has failed, as far as its replica
         * goes; a replica has nothing that is worth saving.
         */
        lockstep_exit(status);
    }
}

bool lockstep_enabled(void)
{
    return lockstep.enabled;
}

/* ---- phases ------------------------------------------------------------- */

static LockstepState role_of(LockstepPhase phase)
{
    static const LockstepState roles[] = {
#define P(PHASE, ROLE, name, after) LOCKSTEP_##ROLE,
        LOCKSTEP_PHASES(P)
#undef P
    };

    return roles[phase];
}

LockstepState lockstep_state(void)
{
    return role_of(qatomic_read(&lockstep.phase));
}

bool lockstep_replay_over(void)
{
    return lockstep.phase == LOCKSTEP_REPLAY_ENDED ||
           lockstep.phase == LOCKSTEP_REPLAY_DIVERGED;
}

/* A bug. A primary that aborts has failed, and its replica goes live. */
static G_NORETURN void broken(LockstepPhase from, const char *what)
{
    error_report("lockstep: '%s' after '%s': %s",
                 lockstep_phase_name(lockstep.phase),
                 lockstep_phase_name(from), what);
    abort();
}

void lockstep_move(LockstepPhase phase, LockstepStream stream)
{
    static const ReplayMode modes[] = {
        [LOCKSTEP_NONE] = REPLAY_MODE_NONE,
        [LOCKSTEP_RECORD] = REPLAY_MODE_RECORD,
        [LOCKSTEP_REPLAY] = REPLAY_MODE_PLAY,
    };
    LockstepPhase from = lockstep.phase;
    LockstepFacts facts = {
        .phase = phase,
        .stream = stream,
        .session = lockstep_session_is_open(),
        .event = replay_state.has_unread_data,
    };
    const char *wrong;

    g_assert(replay_mutex_locked());
    g_assert(role_of(phase) == role_of(from) || bql_locked());
    if (phase == from && stream == lockstep.stream) {
        return;
    }
    trace_lockstep_move(lockstep_phase_name(from), lockstep_phase_name(phase),
                        lockstep_stream_name(stream), lockstep_position());
    qatomic_set(&lockstep.phase, phase);
    lockstep.stream = stream;
    replay_mode = modes[role_of(phase)];

    if (phase != from && !lockstep_phase_may_follow(phase, from)) {
        broken(from, "the one does not follow the other");
    }
    wrong = lockstep_invariant(&facts);
    if (wrong) {
        broken(from, wrong);
    }
}

void lockstep_set_phase(LockstepPhase phase)
{
    lockstep_move(phase, lockstep.stream);
}

void lockstep_set_stream(LockstepStream stream)
{
    lockstep_move(lockstep.phase, stream);
}

/* ---- clocks ------------------------------------------------------------- */

void lockstep_section_begin(void)
{
    section++;
}

void lockstep_section_end(void)
{
    section--;
}

bool lockstep_clock_is_raw(void)
{
    if (!lockstep.enabled) {
        return false;
    }
    return lockstep_state() == LOCKSTEP_NONE || !replay_mutex_locked() ||
           !(section || qemu_in_vcpu_thread());
}

int64_t lockstep_deadline_clock(QEMUClockType type)
{
    if (lockstep.enabled) {
        if (type == QEMU_CLOCK_HOST) {
            return get_clock_realtime() + lockstep_host_clock_offset();
        }
        if (type == QEMU_CLOCK_VIRTUAL_RT) {
            return cpu_get_clock();
        }
    }
    return qemu_clock_get_ns(type);
}

static bool is_logged_clock(QEMUClockType type)
{
    return type == QEMU_CLOCK_HOST || type == QEMU_CLOCK_VIRTUAL_RT;
}

bool lockstep_ignores_deadline(QEMUClockType type)
{
    return lockstep_state() == LOCKSTEP_REPLAY && is_logged_clock(type);
}

bool lockstep_timers_begin(QEMUClockType type, int64_t first_expires)
{
    if (!lockstep.enabled || !is_logged_clock(type)) {
        return true;
    }
    if (lockstep_state() == LOCKSTEP_RECORD &&
        (!runstate_is_running() ||
         lockstep_deadline_clock(type) < first_expires)) {
        /*
         * Not due: spare the log a checkpoint without effect. Between the end
         * of a clone and the guest's resumption: what a timer does there (the
         * warp timer reads no clock) a replica, which runs, would not repeat.
         */
        return false;
    }
    lockstep_section_begin();
    return true;
}

void lockstep_timers_end(QEMUClockType type)
{
    if (lockstep.enabled && is_logged_clock(type)) {
        lockstep_section_end();
    }
}

/* ---- vCPU thread -------------------------------------------------------- */

/*
 * Rule 10: the guest stops while the log has no room, or too many outputs are
 * held; nothing is dropped.
 */
bool lockstep_throttled(void)
{
    return lockstep.phase == LOCKSTEP_RECORD_ORPHANED ||
           lockstep.phase == LOCKSTEP_RECORD_ENDING ||
           (lockstep.phase == LOCKSTEP_RECORD_RUNS &&
            (lockstep_gate_held_too_much() || !lockstep_log_has_room()));
}

bool lockstep_vcpu_waits(bool idle)
{
    CPUState *cpu;

    if (!lockstep.enabled || lockstep_state() == LOCKSTEP_NONE ||
        !runstate_is_running()) {
        return idle;
    }
    CPU_FOREACH(cpu) {
        if (cpu->stop || !cpu_work_list_empty(cpu)) {
            return false;
        }
    }
    if (lockstep_state() == LOCKSTEP_RECORD) {
        return lockstep_throttled() || (idle && !replay_has_events());
    }
    return lockstep.phase != LOCKSTEP_REPLAY_READY || lockstep_next_is_main();
}

bool lockstep_skips_warp_start(int64_t warp_start, int64_t deadline)
{
    static int64_t logged_deadline = -1;
    static uint64_t logged_generation;

    if (lockstep_state() != LOCKSTEP_RECORD) {
        return false;
    }
    if (deadline < 0) {
        return true;
    }
    if (deadline > 0 && warp_start != -1 && deadline == logged_deadline &&
        logged_generation == lockstep.generation) {
        return true;        /* the timer for it is armed */
    }
    logged_deadline = deadline;
    logged_generation = lockstep.generation;
    return false;
}

bool lockstep_skips_warp_account(int64_t warp_start)
{
    return lockstep_state() == LOCKSTEP_RECORD && warp_start == -1;
}

void lockstep_kick_vcpu(void)
{
    if (first_cpu) {
        qemu_cpu_kick(first_cpu);
    }
}

bool lockstep_work_begin(void)
{
    if (lockstep.enabled && replay_mutex_locked()) {
        replay_mutex_unlock();
        return true;
    }
    return false;
}

void lockstep_work_end(bool locked)
{
    if (locked) {
        bql_unlock();
        replay_mutex_lock();
        bql_lock();
    }
}

/* ---- parts -------------------------------------------------------------- */

void lockstep_register_part(LockstepPart *part)
{
    QTAILQ_INSERT_TAIL(&parts, part, next);
}

/* A callback of each part that has it. */
#define EACH_PART(part, callback)                                           \
    QTAILQ_FOREACH(part, &parts, next)                                      \
        if (part->callback)

/* All of them do it. */
#define PARTS_DO(function, callback)                                        \
    void function(void)                                                     \
    {                                                                       \
        LockstepPart *p;                                                    \
                                                                            \
        EACH_PART(p, callback) {                                            \
            p->callback(p->opaque);                                         \
        }                                                                   \
    }

/* All of them can, or the first that cannot says why. */
#define PARTS_ASK(function, callback)                                       \
    bool function(Error **errp)                                             \
    {                                                                       \
        LockstepPart *p;                                                    \
                                                                            \
        EACH_PART(p, callback) {                                            \
            if (!p->callback(p->opaque, errp)) {                            \
                return false;                                               \
            }                                                               \
        }                                                                   \
        return true;                                                        \
    }

PARTS_ASK(lockstep_parts_can_attach, can_attach)
PARTS_DO(lockstep_parts_start_record, start_record)
PARTS_DO(lockstep_parts_start_replay, start_replay)
PARTS_ASK(lockstep_parts_probe, probe)
PARTS_ASK(lockstep_parts_open, open)
PARTS_DO(lockstep_parts_go_alone, go_alone)
PARTS_DO(lockstep_parts_announce, announce)

unsigned lockstep_parts_live(void)
{
    unsigned reissued = 0;
    LockstepPart *p;

    EACH_PART(p, live) {
        reissued += p->live(p->opaque);
    }
    return reissued;
}
