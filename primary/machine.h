/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * machine.h - the primary's protocol: a pure core
 *
 * One struct pri follows one VM on the host where it runs, from `alone` over
 * a clone to `protected`, and back to `alone` or to `fenced`. events.tbl.h
 * says what each state allows, where each event comes from and which event
 * answers each effect.
 *
 * For the driver
 * - Raise events one at a time; carry out all effects of one step, in their
 *   order, before the next event (an answer that is there at once waits in a
 *   queue).
 * - event.now is read from CLOCK_BOOTTIME for the event. It may be a little
 *   old here, since an older stamp only shortens the lease.
 * - After each step send TIMEOUT when pri_deadline() comes.
 * - Events of one channel, and of one QEMU, keep their order; messages of
 *   another pair or generation were dropped before.
 */
#ifndef PRI_MACHINE_H
#define PRI_MACHINE_H

#include "common/core.h"
#include "common/pair-state.h"
#include "logging-channel/wire.tbl.h" /* enum lc_end_reason */
#include "primary/events.tbl.h"

enum pri_state { PRI_STATES(FT_NAME) PRI_ST_COUNT };
enum pri_event_kind { PRI_EVENTS(FT_NAME) PRI_EV_COUNT };
enum pri_effect_kind { PRI_EFFECTS(FT_NAME) PRI_DO_COUNT };
enum pri_reason { PRI_REASONS(FT_NAME) PRI_WHY_COUNT };
enum pri_gate { PRI_GATE_FREE, PRI_GATE_SHUT, PRI_GATE_RULE };

struct pri_event {
    enum pri_event_kind kind;
    ft_ns now;
    uint64_t generation; /* PROTECT, ORPHAN, PREPARED, FREED, ARBITRATED */
    uint64_t position;   /* ACK, LOG, SHUT, POWERED_OFF, LOADED */
    ft_ns stamp;         /* ACK: 0, or one that SEND_ENTRIES carried */
    bool ok;             /* FREED, ARBITRATED */
};

struct pri_effect {
    enum pri_effect_kind kind;
    enum lc_end_reason code; /* SEND_END */
    uint64_t generation;
    uint64_t position;
    ft_ns stamp;
    ft_ns lease_until;
};

#define PRI_UPDATE_MAX 8
struct pri_update {
    unsigned count;
    struct pri_effect effect[PRI_UPDATE_MAX];
};

/* Flat: may be copied, compared (zeroed first) and hashed. The driver reads
 * it and writes nothing. */
struct pri {
    struct ft_timing timing;
    enum pri_state state;
    enum pri_reason reason; /* of the last failure; NONE when protected */
    enum pri_gate gate;     /* as last set by an effect */
    uint64_t generation;    /* whose arbitration binds us; 0: none yet */
    uint64_t next;          /* being cloned for; 0: no clone */
    uint64_t highest;       /* ever used: a new one must be above */
    bool recording;         /* QEMU records for `next` or `generation` */
    bool loaded;            /* LOADED received */
    bool prepared;          /* PREPARED received, for `next` */
    bool shut;              /* SHUT received since SHUT_GATE */
    bool orphan;
    bool powered_off;
    bool qemu_gone;
    uint64_t sent;    /* last position of SEND_ENTRIES */
    uint64_t acked;   /* highest position acknowledged */
    uint64_t awaited; /* position that DRAINING, ANNOUNCING or
                               POWERING_OFF waits for */
    ft_ns stamp;      /* of the last SEND_ENTRIES */
    ft_ns lease_until;
    ft_ns heard;     /* last sign of the peer */
    ft_ns logged;    /* last sign of our QEMU */
    ft_ns heartbeat; /* when the next one is due; 0: nobody listens */
    ft_ns until;     /* when this state's patience ends */
};

/* A guest that runs alone; generation: whose grant we hold, 0 for none. */
void pri_init(struct pri *p, const struct ft_timing *t, uint64_t generation);
/* Advance by one event. Effects must be carried out in the order given. */
void pri_step(struct pri *p, const struct pri_event *ev,
              struct pri_update *up);
/* When to send TIMEOUT; FT_NEVER: no need. */
ft_ns pri_deadline(const struct pri *p);
/* NULL, or the sentence that is false. */
const char *pri_invariant(const struct pri *p);
/* May the driver raise this event now? */
bool pri_expects(const struct pri *p, enum pri_event_kind kind);

const char *pri_state_name(enum pri_state s);
enum ft_pair_state pri_pair_state(enum pri_state s); /* to an operator */
const char *pri_event_name(enum pri_event_kind k);
const char *pri_reason_text(enum pri_reason r);

#endif
