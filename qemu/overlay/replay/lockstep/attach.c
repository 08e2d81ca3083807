/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: how a session begins, a clone of a running guest
 *
 * QEMU's own migration carries the state, through the agents. The differences
 * (each a hook in migration/migration.c): the source keeps its disks active,
 * starts to record once the state is saved, and goes on running; the
 * destination announces nothing, leaves its disks alone, and replays.
 *
 * Recording starts after the state is saved: what saving itself reads, the
 * replica never reads. Both sides then begin with cold translation caches, for
 * a guest may see through a TLB (a stale or an evicted entry decides whether a
 * page-table change that it did not flush has come into effect).
 *
 * The state carries pair and generation, so that a log never meets a replica
 * of another clone.
 *
 * paper, 3.1; rule 8
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-migration.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "hw/core/cpu.h"
#include "migration/migration.h"
#include "migration/misc.h"
#include "migration/options.h"
#include "migration/vmstate.h"
#include "system/cpu-timers.h"
#include "system/cpus.h"
#include "system/replay.h"
#include "system/runstate.h"
#include "system/tcg.h"
#include "../replay-internal.h"
#include "internal.h"

#define PROGRESS_MS 200

typedef struct CloneState {
    uint8_t pair[16];
    uint64_t generation;
    uint64_t icount;
    int64_t clock[REPLAY_CLOCK_COUNT];
} CloneState;

static CloneState state;
static NotifierWithReturn migration_notifier;
static QEMUTimer *progress_timer;
static int64_t stopped_at, pause_ns;
static uint64_t saved_bandwidth, saved_downtime;
static char *refusal;

/* ---- what the stream carries -------------------------------------------- */

static bool clone_state_needed(void *opaque)
{
    return lockstep_cloning();
}

static int clone_state_pre_save(void *opaque)
{
    memcpy(state.pair, lockstep.pair, sizeof(state.pair));
    state.generation = lockstep.generation;
    state.icount = icount_get_raw();
    state.clock[REPLAY_CLOCK_HOST] =
        get_clock_realtime() + lockstep_host_clock_offset();
    state.clock[REPLAY_CLOCK_VIRTUAL_RT] = cpu_get_clock();
    return 0;
}

/* Both sides: the log begins here. */
static void begin_log(void)
{
    replay_state.instruction_count = 0;
    replay_state.current_icount = state.icount;
    replay_state.current_event = 0;
    replay_state.has_unread_data = false;
    replay_state.read_event_id = -1;
    memcpy(replay_state.cached_clock, state.clock, sizeof(state.clock));
    lockstep_requests_reset();
    lockstep_hash_reset();
    lockstep_cold_start();
}

/* The first section of the stream: devices load in REPLAY. */
static int clone_state_post_load(void *opaque, int version_id)
{
    if (!lockstep_incoming() ||
        memcmp(state.pair, lockstep.pair, sizeof(state.pair)) ||
        state.generation != lockstep.generation) {
        error_report("lockstep: the stream is of another clone");
        return -EINVAL;
    }
    begin_log();
    lockstep_log_hold_nothing();
    lockstep_set_phase(LOCKSTEP_REPLAY_LOADING);
    replay_enable_events();
    return 0;
}

static const VMStateDescription vmstate_lockstep = {
    .name = "lockstep",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = clone_state_needed,
    .pre_save = clone_state_pre_save,
    .post_load = clone_state_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_BUFFER(pair, CloneState),
        VMSTATE_UINT64(generation, CloneState),
        VMSTATE_UINT64(icount, CloneState),
        VMSTATE_INT64_ARRAY(clock, CloneState, REPLAY_CLOCK_COUNT),
        VMSTATE_END_OF_LIST()
    },
};

/* ---- source ------------------------------------------------------------- */

static void on_progress(void *opaque)
{
    struct lc_msg m = { .type = LC_VL_PROGRESS };
    g_autoptr(MigrationInfo) info = NULL;

    if (!lockstep_cloning()) {
        return;
    }
    timer_mod(progress_timer,
              qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + PROGRESS_MS);
    info = qmp_query_migrate(NULL);
    if (info && info->ram) {
        m.u.vl_progress.sent = info->ram->transferred;
        m.u.vl_progress.remaining = info->ram->remaining;
        lockstep_link_send(&m);
    }
}

static void clone_over(void)
{
    MigrationParameters *p = &migrate_get_current()->parameters;

    p->max_bandwidth = saved_bandwidth;
    p->downtime_limit = saved_downtime;
    timer_del(progress_timer);
    if (lockstep_state() == LOCKSTEP_NONE) {
        lockstep_session_close();
    }
    lockstep_set_stream(LOCKSTEP_STREAM_NONE);
}

/* Main loop: the migration is over and its stream is closed. */
static int on_migration(NotifierWithReturn *n, MigrationEvent *e, Error **errp)
{
    struct lc_msg m = { .type = LC_VL_CLONED };
    MigrationState *s = migrate_get_current();

    if (!lockstep_cloning() || (e->type != MIG_EVENT_PRECOPY_DONE &&
                                e->type != MIG_EVENT_PRECOPY_FAILED)) {
        return 0;
    }
    if (lockstep_state() == LOCKSTEP_RECORD) {
        m.u.vl_cloned.pause_ns = pause_ns;
        lockstep_link_send(&m);
    } else {
        lockstep_link_failed(LC_VL_CLONE,
                             refusal ? refusal :
                             s->error ? error_get_pretty(s->error) :
                             "the migration was cancelled");
    }
    clone_over();
    return 0;
}

static bool check_can_clone(Error **errp)
{
    if (lockstep_state() != LOCKSTEP_NONE || lockstep_incoming()) {
        error_setg(errp, "this QEMU is part of a pair already");
        return false;
    }
    if (!runstate_is_running()) {
        error_setg(errp, "the guest is not running (%s)",
                   RunState_str(runstate_get()));
        return false;
    }
    if (replay_blocked(errp)) {
        return false;
    }
    if (migrate_multifd() || migrate_postcopy_ram() || migrate_colo() ||
        migrate_auto_converge() || migrate_background_snapshot() ||
        migrate_pause_before_switchover() || migrate_dirty_limit() ||
        migrate_mode() != MIG_MODE_NORMAL) {
        error_setg(errp, "a migration capability is set that does not go "
                   "with protection");
        return false;
    }
    return lockstep_parts_can_attach(errp);
}

/* Rule 8 begins here: the clone (the paper calls it FT VMotion, 3.1). */
void lockstep_clone(const char *path, unsigned downtime_ms, Error **errp)
{
    MigrationParameters *p = &migrate_get_current()->parameters;
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    Error *err = NULL;

    if (!check_can_clone(errp)) {
        return;
    }
    saved_bandwidth = p->max_bandwidth;
    saved_downtime = p->downtime_limit;
    p->max_bandwidth = 0;                       /* no limit */
    p->downtime_limit = downtime_ms ? downtime_ms : saved_downtime;
    g_clear_pointer(&refusal, g_free);
    lockstep_set_stream(LOCKSTEP_STREAM_OUT);
    qmp_migrate(uri, false, NULL, false, false, false, false, &err);
    if (err) {
        if (lockstep_cloning()) {
            clone_over();
        }
        error_propagate(errp, err);
        return;
    }
    timer_mod(progress_timer,
              qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + PROGRESS_MS);
}

void lockstep_clone_cancel(void)
{
    if (lockstep_cloning() && lockstep_state() == LOCKSTEP_NONE) {
        migration_cancel();
    }
}

bool lockstep_cloning(void)
{
    return lockstep.stream == LOCKSTEP_STREAM_OUT;
}

/* Migration thread, replay lock and BQL held, guest stopped and drained. */
bool lockstep_clone_stopped(void)
{
    if (!lockstep_cloning()) {
        return true;
    }
    if (lockstep_requests_pending()) {
        refusal = g_strdup("requests are in flight after draining");
        return false;
    }
    if (qemu_reset_requested_get() != SHUTDOWN_CAUSE_NONE) {
        /* It is carried out, and logged, by this side alone. */
        refusal = g_strdup("the guest is about to be reset");
        return false;
    }
    return true;
}

/*
 * Rule 8: the state is saved. The same thread and locks: what the guest does
 * from here is in the log.
 */
void lockstep_clone_saved(void)
{
    if (!lockstep_cloning()) {
        return;
    }
    begin_log();
    replay_state.data_kind = -1;
    lockstep_set_phase(LOCKSTEP_RECORD_RUNS);
    replay_enable_events();
    lockstep_gate_follow(lockstep_session_page(), lockstep_session_gate_fd());
    lockstep_log_start_record();
    lockstep_parts_start_record();
}

bool lockstep_clone_ended(bool ok)
{
    if (!lockstep_cloning()) {
        return false;
    }
    if (!ok && lockstep_state() == LOCKSTEP_RECORD) {
        lockstep_to_none();
    }
    pause_ns = stopped_at ? get_clock() - stopped_at : 0;
    stopped_at = 0;
    return true;
}

void lockstep_clone_stops(void)
{
    stopped_at = get_clock();
}

/* ---- destination -------------------------------------------------------- */

void lockstep_incoming_listen(const char *path, Error **errp)
{
    g_autofree char *uri = g_strdup_printf("unix:%s", path);

    if (!runstate_check(RUN_STATE_INMIGRATE)) {
        error_setg(errp, "this QEMU was not started with -incoming");
        return;
    }
    lockstep_set_stream(LOCKSTEP_STREAM_IN);
    unlink(path);
    qmp_migrate_incoming(uri, false, NULL, true, false, errp);
    if (errp && *errp) {
        lockstep_session_close();
        lockstep_set_stream(LOCKSTEP_STREAM_NONE);
    }
}

bool lockstep_incoming(void)
{
    return lockstep.stream == LOCKSTEP_STREAM_IN;
}

void lockstep_incoming_failed(const char *why)
{
    if (lockstep_incoming()) {
        lockstep_link_failed(LC_VL_INCOMING, why);
        lockstep_exit(1);
    }
}

/* Main loop, replay lock and BQL held. */
void lockstep_incoming_loaded(void)
{
    struct lc_msg m = { .type = LC_VL_LOADED };

    if (lockstep_state() != LOCKSTEP_REPLAY) {
        lockstep_incoming_failed("the stream is not of a clone");
    }
    lockstep_log_start_replay();
    lockstep_parts_start_replay();
    vm_start();
    lockstep_link_send(&m);

    lockstep_move(lockstep.phase == LOCKSTEP_REPLAY_LOADING
                  ? LOCKSTEP_REPLAY_READY : lockstep.phase,
                  LOCKSTEP_STREAM_NONE);
    lockstep_log_fetch();
    lockstep_log_wake_next();
}

void lockstep_attach_init(void)
{
    vmstate_register(NULL, 0, &vmstate_lockstep, &state);
}

void lockstep_attach_start(void)
{
    progress_timer = timer_new_ms(QEMU_CLOCK_REALTIME, on_progress, NULL);
    migration_add_notifier(&migration_notifier, on_migration);
}
