/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lockstep: the phases of a QEMU (see phase.h). Pure. */
#include <stddef.h>

#include "phase.h"

#define B(PHASE) (1u << LOCKSTEP_##PHASE)
#define IN(p, phases) ((1u << (p) & (phases)) != 0)
#define RECORDS (B(RECORD_RUNS) | B(RECORD_ORPHANED) | B(RECORD_ENDING))
/* No event will be taken out of the log, or none is there. */
#define WAITS (B(REPLAY_STARVED) | B(REPLAY_ENDED) | B(REPLAY_DIVERGED))

const char *lockstep_phase_name(LockstepPhase p)
{
    static const char *const names[] = {
#define P(PHASE, ROLE, name, after) name,
        LOCKSTEP_PHASES(P)
#undef P
    };

    return names[p];
}

const char *lockstep_stream_name(LockstepStream s)
{
    static const char *const names[] = { "no stream", "out", "in" };

    return names[s];
}

bool lockstep_phase_may_follow(LockstepPhase to, LockstepPhase from)
{
    static const unsigned after[] = {
#define P(PHASE, ROLE, name, after) after,
        LOCKSTEP_PHASES(P)
#undef P
    };

    return IN(from, after[to]);
}

const char *lockstep_invariant(const LockstepFacts *f)
{
    bool alone = f->phase == LOCKSTEP_ALONE;

    if (!alone && !f->session) {
        return "whoever records or replays has a session";
    }
    if (f->session && alone && f->stream == LOCKSTEP_STREAM_NONE) {
        return "a session of a QEMU that is alone belongs to a clone's stream";
    }
    if (f->stream == LOCKSTEP_STREAM_OUT && !IN(f->phase, B(ALONE) | RECORDS)) {
        return "a replica is cloned by nobody";
    }
    if (f->stream == LOCKSTEP_STREAM_IN &&
        IN(f->phase, RECORDS | B(REPLAY_READY) | B(REPLAY_STARVED))) {
        return "no guest runs whose state still comes in";
    }
    if (f->phase == LOCKSTEP_REPLAY_LOADING &&
        f->stream != LOCKSTEP_STREAM_IN) {
        return "what loads comes in by a stream";
    }
    if (IN(f->phase, WAITS) && f->event) {
        return "a replica that waits has no event in hand";
    }
    return NULL;
}

const char *lockstep_refuses_go_live(LockstepPhase p, const char *diverged)
{
    switch (p) {
    case LOCKSTEP_REPLAY_LOADING:
    case LOCKSTEP_REPLAY_READY:
    case LOCKSTEP_REPLAY_STARVED:
        return NULL;
    case LOCKSTEP_REPLAY_ENDED:
        return "the guest powered off, and its replica ends with it";
    case LOCKSTEP_REPLAY_DIVERGED:
        return diverged;
    default:
        return "this QEMU does not replay";
    }
}
