/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: what the engine's files share.
 *
 *   phase.c     what it does now and may do next: a table, an invariant
 *   engine.c    roles, parts, the vCPU thread's waiting, clocks
 *   log.c       batches to and from the ring
 *   event.c     requests, outputs, host actions
 *   hash.c      comparing registers and memory
 *   gate.c      the Output Rule's gate and the release thread
 *   attach.c    a clone's begin: NONE -> RECORD, incoming -> REPLAY
 *   live.c      its end: REPLAY -> NONE, RECORD -> NONE, power-off
 *   link.c      the socket to the agent
 *   monitor.c   what the monitors refuse, and the object
 *
 * Locks: the replay lock is taken before the BQL. Role and session change with
 * both held and all vCPUs paused; so whoever holds one of them may read. The
 * phase within a role changes with the replay lock held.
 */
#ifndef LOCKSTEP_INTERNAL_H
#define LOCKSTEP_INTERNAL_H

#include "qapi/qapi-types-ui.h"
#include "system/lockstep.h"
#include "system/lockstep-hooks.h"
#include "lockstep/ring.h"
#include "lockstep/wire.h"
#include "phase.h"

/* ---- engine.c ----------------------------------------------------------- */

typedef struct LockstepEngine {
    bool enabled;          /* -object was seen; constant from configure on */
    LockstepPhase phase;
    LockstepStream stream;
    uint8_t pair[16];      /* of the running or the last session */
    uint64_t generation;
} LockstepEngine;

extern LockstepEngine lockstep;

/* The one place where phase and stream change. */
void lockstep_move(LockstepPhase phase, LockstepStream stream);
void lockstep_set_phase(LockstepPhase phase);
void lockstep_set_stream(LockstepStream stream);
/* Replaying, and nothing more will be replayed: ended or diverged. */
bool lockstep_replay_over(void);
/* May the vCPU run, as far as the log's room, the gate and the agent go? */
bool lockstep_throttled(void);
/* A wake-up for the vCPU thread at its loop top. BQL held. */
void lockstep_kick_vcpu(void);

bool lockstep_parts_can_attach(Error **errp);
void lockstep_parts_start_record(void);
void lockstep_parts_start_replay(void);
bool lockstep_parts_probe(Error **errp);
bool lockstep_parts_open(Error **errp);
unsigned lockstep_parts_live(void);
void lockstep_parts_go_alone(void);
void lockstep_parts_announce(void);

/* ---- log.c ------------------------------------------------------------- */

/* Events of ours in the log follow upstream's (replay-internal.h). */
bool lockstep_session_open(const lc_id *pair, uint64_t generation,
                           const int *fds, int nfds, Error **errp);
void lockstep_session_close(void);
bool lockstep_session_is_open(void);
struct ft_ring_page *lockstep_session_page(void);
int lockstep_session_gate_fd(void);
/* Empties a bell, whose descriptor does not block. False: the agent has closed
 * it, and it is to be watched no more. */
bool lockstep_bell_hush(int fd);
/* Last committed (RECORD) or executed (REPLAY) batch. */
uint64_t lockstep_position(void);

void lockstep_log_start_record(void);
void lockstep_log_start_replay(void);
/* Bytes into the open batch; false unless recording. */
void lockstep_log_put(const void *buf, size_t size);
/* Bytes of the batch being replayed; zeros and a divergence when it ends. */
void lockstep_log_get(void *buf, size_t size);
/* An array of exactly *size bytes. */
void lockstep_log_get_array(void *buf, size_t *size);
/* How many bytes of the batch are left: the bound of any length in it. */
size_t lockstep_log_left(void);
/* The replay lock is being released. */
void lockstep_log_commit(void);
/* Room for one more lock hold's batch. */
bool lockstep_log_has_room(void);
/* May another event go into the batch that is open? */
bool lockstep_log_may_add(void);
/* Fetch the next event's kind, as replay_fetch_data_kind(). */
void lockstep_log_fetch(void);
/* No event is in hand, and data_kind matches no question. */
void lockstep_log_hold_nothing(void);
/* After an event was consumed or fetched: wake whoever is next. */
void lockstep_log_wake_next(void);
/* Replaying and the next event is one for the main loop. */
bool lockstep_next_is_main(void);
/* Everything up to the last batch in the ring is executed. */
bool lockstep_log_drained(void);

/* ---- event.c ----------------------------------------------------------- */

void lockstep_event_save(void *item);
void lockstep_event_run(void *item);
void *lockstep_event_load(void);
void lockstep_requests_reset(void);
bool lockstep_requests_pending(void);
/* A logged action of an operator runs: what it does, the guest does. */
bool lockstep_in_action(void);
/* Go-live: ->reissue for each that still waits, in order. */
unsigned lockstep_requests_reissue(void);
void lockstep_diverged_report(void);
const char *lockstep_diverged_text(void);

bool lockstep_input_valid(const InputEvent *evt);
/* Recording: ask for a comparison of the whole state. */
void lockstep_check_state(void);

/* ---- hash.c ------------------------------------------------------------- */

void lockstep_hash_reset(void);
/* Registers and time above, some of the memory below. vCPU loop top. */
uint64_t lockstep_hash_state(void);
/* What two of them differ in, for people. */
const char *lockstep_hash_differs_in(uint64_t a, uint64_t b);

/* ---- gate.c ------------------------------------------------------------ */

void lockstep_gate_init(const char *trace, Error **errp);
/* The rule holds from now (RECORD) or no longer (alone). */
void lockstep_gate_follow(struct ft_ring_page *page, int fd);
void lockstep_gate_open(void);
/* Nothing leaves any more, whatever the page says. */
void lockstep_gate_shut(void);
/* Run the release notifiers soon, on their thread. */
void lockstep_gate_kick(void);
bool lockstep_gate_held_too_much(void);
/* Has the agent acknowledged @position, or is there no rule yet? */
bool lockstep_gate_acked(uint64_t position);

/* ---- attach.c ---------------------------------------------------------- */

void lockstep_attach_init(void);
void lockstep_attach_start(void);
void lockstep_clone(const char *path, unsigned downtime_ms, Error **errp);
void lockstep_clone_cancel(void);
void lockstep_incoming_listen(const char *path, Error **errp);

/* ---- live.c ------------------------------------------------------------ */

void lockstep_live_init(void);
void lockstep_go_live(uint64_t last);
void lockstep_go_live_poll(void);
void lockstep_go_alone(void);
void lockstep_to_none(void);
void lockstep_replay_shutdown(ShutdownCause cause);

/* ---- link.c ------------------------------------------------------------ */

void lockstep_link_open(const char *path, Error **errp);
void lockstep_link_send(struct lc_msg *m);
void lockstep_link_failed(uint16_t command, const char *text);
/* Leave at once: no cleanup, no further output. */
G_NORETURN void lockstep_exit(int status);

/* ---- upstream's replay (replay/replay-events.c) ------------------------- */

/* Events off; what is queued runs now, in order. State is NONE already. */
void replay_lockstep_flush_events(void);

#endif
