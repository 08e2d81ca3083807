/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: what this QEMU does now, and what it may do next
 *
 * A role (LockstepState) has phases: a guest that runs alone one, a recorder
 * three, a replica five. The migration stream of a clone is told beside them,
 * for a recorder may lose its agent, or its guest end, before the stream is
 * closed. engine.c keeps both and alone changes them, by lockstep_move().
 *
 * Pure: nothing of QEMU, so tests/qemu/test-phase.c compiles it as it is.
 */
#ifndef LOCKSTEP_PHASE_H
#define LOCKSTEP_PHASE_H

#include <stdbool.h>

/* P(PHASE, ROLE, name, after which phases): what is true in it. */
#define LOCKSTEP_PHASES(P)                                                  \
    /* The guest runs (or waits for a stream); nothing is logged. */        \
    P(ALONE, NONE, "alone",                                                 \
      B(RECORD_RUNS) | B(RECORD_ORPHANED) | B(RECORD_ENDING) |              \
      B(REPLAY_STARVED))                                                    \
    /* What the guest sees goes into the log. */                            \
    P(RECORD_RUNS, RECORD, "record: runs", B(ALONE))                        \
    /* The agent is gone: the vCPU waits, until another says to go alone. */ \
    P(RECORD_ORPHANED, RECORD, "record: orphaned", B(RECORD_RUNS))          \
    /* The guest's power-off is in the log: the vCPU waits until it is      \
     * acknowledged. */                                                     \
    P(RECORD_ENDING, RECORD, "record: ending",                              \
      B(RECORD_RUNS) | B(RECORD_ORPHANED))                                  \
    /* Devices load; the guest has not started. */                          \
    P(REPLAY_LOADING, REPLAY, "replay: loading", B(ALONE))                  \
    /* The guest executes what the log has. */                              \
    P(REPLAY_READY, REPLAY, "replay: ready",                                \
      B(REPLAY_LOADING) | B(REPLAY_STARVED))                                \
    /* All that the ring had is executed: the vCPU waits for more. From here \
     * alone may a replica go live. */                                      \
    P(REPLAY_STARVED, REPLAY, "replay: starved", B(REPLAY_READY))           \
    /* The log ended with the guest's power-off: QEMU exits. */             \
    P(REPLAY_ENDED, REPLAY, "replay: ended",                                \
      B(REPLAY_LOADING) | B(REPLAY_READY))                                  \
    /* The guest is not the primary's any more: it never runs again. */     \
    P(REPLAY_DIVERGED, REPLAY, "replay: diverged",                          \
      B(REPLAY_LOADING) | B(REPLAY_READY) | B(REPLAY_STARVED))

typedef enum LockstepPhase {
#define P(PHASE, ROLE, name, after) LOCKSTEP_##PHASE,
    LOCKSTEP_PHASES(P)
#undef P
    LOCKSTEP_PHASE__MAX,
} LockstepPhase;

typedef enum LockstepStream {
    LOCKSTEP_STREAM_NONE,
    LOCKSTEP_STREAM_OUT,    /* VL_CLONE was accepted, the migration runs */
    LOCKSTEP_STREAM_IN,     /* VL_INCOMING was accepted, not yet loaded */
} LockstepStream;

/* What lockstep_invariant() looks at. */
typedef struct LockstepFacts {
    LockstepPhase phase;
    LockstepStream stream;
    bool session;           /* the ring is mapped */
    bool event;             /* an event of the log is in hand */
} LockstepFacts;

const char *lockstep_phase_name(LockstepPhase p);
const char *lockstep_stream_name(LockstepStream s);
bool lockstep_phase_may_follow(LockstepPhase to, LockstepPhase from);
/* NULL, or the sentence that is false. */
const char *lockstep_invariant(const LockstepFacts *f);
/* NULL, or why a GO_LIVE is refused. @diverged: what the divergence was. */
const char *lockstep_refuses_go_live(LockstepPhase p, const char *diverged);

#endif
