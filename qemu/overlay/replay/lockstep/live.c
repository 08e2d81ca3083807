/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: how a session ends
 *
 *   go-live      REPLAY -> NONE: the log is consumed, the replica goes on
 *   go alone     RECORD -> NONE: the replica is lost or dismissed
 *   power-off    the guest ends, on both sides at the same log position
 *
 * A replica goes live exactly where its log ends: the guest has executed what
 * the log covers and not one instruction more. Requests whose completion is
 * not in the log are made anew; from then on the guest just runs. The clocks
 * continue from the last values that the log supplied, never backwards.
 *
 * paper, 2.3 and 3.3; rules 4, 5, 7 and 11
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-events-run-state.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/seqlock.h"
#include "qemu/timer.h"
#include "block/block.h"
#include "hw/core/cpu.h"
#include "migration/misc.h"
#include "system/cpu-timers.h"
#include "system/cpu-timers-internal.h"
#include "system/cpus.h"
#include "system/replay.h"
#include "system/runstate.h"
#include "../replay-internal.h"
#include "internal.h"

/* How long a guest's power-off waits for its acknowledgement. */
#define END_ACK_MS 1000

static int64_t host_offset;
static QEMUBH *live_bh;
static bool live_wanted;
static uint64_t live_last;

static struct {
    ShutdownCause cause;
    uint64_t position;
    QEMUTimer *timer;
    int64_t give_up_ms;
} end;

int64_t lockstep_host_clock_offset(void)
{
    return qatomic_read_i64(&host_offset);
}

/* ---- REPLAY -> NONE ----------------------------------------------------- */

/* Rule 7: the real clocks continue from what the guest saw last. */
static void continue_clocks(void)
{
    int64_t rt = replay_state.cached_clock[REPLAY_CLOCK_VIRTUAL_RT];
    int64_t host = replay_state.cached_clock[REPLAY_CLOCK_HOST];
    int64_t ahead = host - get_clock_realtime();

    seqlock_write_lock(&timers_state.vm_clock_seqlock,
                       &timers_state.vm_clock_lock);
    timers_state.cpu_clock_offset += rt - cpu_get_clock_locked();
    seqlock_write_unlock(&timers_state.vm_clock_seqlock,
                         &timers_state.vm_clock_lock);
    qatomic_set_i64(&host_offset, MAX(ahead, 0));
}

static void forget_log(void)
{
    replay_state.data_kind = -1;
    replay_state.instruction_count = 0;
    replay_state.has_unread_data = false;
    replay_state.read_event_id = -1;
}

/* Rule 5: all that the backup received, up to the last batch of VL_GO_LIVE. */
static bool caught_up(void)
{
    return lockstep_log_drained() && lockstep_position() >= live_last;
}

/* Rule 7, in its order. The agent has won the arbitration. */
static void go_live_bh(void *opaque)
{
    struct lc_msg m = { .type = LC_VL_LIVE };
    Error *err = NULL;
    uint64_t position;
    unsigned reissued;

    if (!live_wanted || lockstep.phase != LOCKSTEP_REPLAY_STARVED ||
        !caught_up()) {
        return;
    }
    pause_all_vcpus();
    lockstep_log_fetch();
    if (!caught_up()) {
        resume_all_vcpus();
        lockstep_log_wake_next();
        return;
    }
    live_wanted = false;
    if (!lockstep_parts_open(&err)) {
        resume_all_vcpus();
        lockstep_link_failed(LC_VL_GO_LIVE, error_get_pretty(err));
        error_free(err);
        return;
    }
    bdrv_activate_all(&err);
    if (err) {
        resume_all_vcpus();
        lockstep_link_failed(LC_VL_GO_LIVE, error_get_pretty(err));
        error_free(err);
        return;
    }

    position = lockstep_position();
    continue_clocks();
    forget_log();
    lockstep_session_close();
    lockstep_set_phase(LOCKSTEP_ALONE);

    reissued = lockstep_parts_live();
    reissued += lockstep_requests_reissue();
    replay_lockstep_flush_events();

    resume_all_vcpus();
    qemu_notify_event();
    qapi_event_send_resume();
    lockstep_parts_announce();
    lockstep_gate_kick();

    m.u.vl_live.position = position;
    m.u.vl_live.reissued = reissued;
    lockstep_link_send(&m);
    info_report("lockstep: live at batch %" PRIu64 ", %u requests reissued",
                position, reissued);
}

void lockstep_live_init(void)
{
    live_bh = qemu_bh_new(go_live_bh, NULL);
}

void lockstep_go_live(uint64_t last)
{
    const char *why = lockstep_refuses_go_live(lockstep.phase,
                                               lockstep_diverged_text());

    if (why) {
        lockstep_link_failed(LC_VL_GO_LIVE, why);
        return;
    }
    live_last = last;
    live_wanted = true;
    qemu_bh_schedule(live_bh);
}

void lockstep_go_live_poll(void)
{
    if (live_wanted && lockstep.phase == LOCKSTEP_REPLAY_STARVED) {
        qemu_bh_schedule(live_bh);
    }
}

/* ---- RECORD -> NONE ----------------------------------------------------- */

/* All vCPUs are paused. What was queued runs without being logged. */
void lockstep_to_none(void)
{
    lockstep_session_close();
    lockstep_set_phase(LOCKSTEP_ALONE);
    forget_log();
    replay_lockstep_flush_events();
    lockstep_parts_go_alone();
}

/* Rule 4: the agent has the grant, or nobody was ever bound. */
void lockstep_go_alone(void)
{
    struct lc_msg m = { .type = LC_VL_ALONE };
    bool ended;

    if (lockstep_state() != LOCKSTEP_RECORD) {
        lockstep_link_failed(LC_VL_GO_ALONE, "this QEMU does not record");
        return;
    }
    m.u.vl_alone.position = lockstep_position();
    ended = lockstep.phase == LOCKSTEP_RECORD_ENDING;
    pause_all_vcpus();
    lockstep_to_none();
    if (ended) {
        qemu_system_shutdown_request(end.cause);    /* it waited for an ack */
    } else {
        resume_all_vcpus();
        qemu_notify_event();
    }
    lockstep_link_send(&m);
}

/* ---- power-off ---------------------------------------------------------- */

static void send_ended(uint64_t position, ShutdownCause cause)
{
    struct lc_msg m = { .type = LC_VL_ENDED };

    m.u.vl_ended.position = position;
    m.u.vl_ended.reason = cause;
    lockstep_link_send(&m);
}

/* Recording: the replica has the entry, or does not answer. */
static void end_timer(void *opaque)
{
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);

    if (lockstep.phase != LOCKSTEP_RECORD_ENDING) {
        return;     /* went alone meanwhile */
    }
    if (lockstep_gate_acked(end.position)) {
        /* It will never go live, so nothing more needs to be held. */
        pause_all_vcpus();
        lockstep_to_none();
        qemu_system_shutdown_request(end.cause);
    } else if (now >= end.give_up_ms) {
        error_report("lockstep: the guest's power-off was not acknowledged");
        lockstep_exit(0);
    } else {
        timer_mod(end.timer, now + 5);
    }
}

static void end_bh(void *opaque)
{
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);

    if (lockstep.phase != LOCKSTEP_RECORD_ENDING) {
        return;
    }
    send_ended(end.position, end.cause);
    end.give_up_ms = now + END_ACK_MS;
    if (!end.timer) {
        end.timer = timer_new_ms(QEMU_CLOCK_REALTIME, end_timer, NULL);
    }
    timer_mod(end.timer, now);
}

/*
 * Rule 11: a power-off is an entry of the log (paper, 3.3); the process ends
 * when the replica has it.
 */
bool lockstep_shutdown_request(ShutdownCause reason)
{
    if (!shutdown_caused_by_guest(reason) && !lockstep_in_action()) {
        return false;
    }
    switch (lockstep_state()) {
    case LOCKSTEP_REPLAY:
        return true;        /* the log says when */
    case LOCKSTEP_RECORD:
        if (lockstep.phase == LOCKSTEP_RECORD_ENDING ||
            !replay_mutex_locked()) {
            return true;
        }
        replay_save_instructions();
        replay_put_event(EVENT_SHUTDOWN + reason);
        end.position = lockstep_position() + 1;
        end.cause = reason;
        lockstep_set_phase(LOCKSTEP_RECORD_ENDING);
        if (current_cpu) {
            cpu_exit(current_cpu);
        }
        aio_bh_schedule_oneshot(qemu_get_aio_context(), end_bh, NULL);
        return true;
    default:
        return false;
    }
}

/*
 * Rule 3: a guest that sleeps writes no log and would count as dead. S3 is not
 * offered to it (hw/core/lockstep-devices.c), and asking anyway has no effect.
 */
bool lockstep_suspend_request(void)
{
    return lockstep_state() != LOCKSTEP_NONE;
}

static void replay_end_bh(void *opaque)
{
    lockstep_exit(0);
}

/* Rule 11. Replaying: the log's last event; this replica never goes live. */
void lockstep_replay_shutdown(ShutdownCause cause)
{
    send_ended(lockstep_position() + 1, cause);
    lockstep_log_hold_nothing();
    lockstep_set_phase(LOCKSTEP_REPLAY_ENDED);
    if (current_cpu) {
        cpu_exit(current_cpu);
    }
    aio_bh_schedule_oneshot(qemu_get_aio_context(), replay_end_bh, NULL);
}
