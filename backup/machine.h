/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * machine.h - the backup's protocol: a pure core
 *
 * One struct bak follows one replica from `waiting` to `protected`, and then
 * to `live` or to its end. events.tbl.h says what each state allows, where
 * each event comes from and which event answers each effect.
 *
 * For the driver
 * - Raise events one at a time; carry out all effects of one step, in their
 *   order, before the next event (an answer that is there at once waits in a
 *   queue).
 * - event.now is read from CLOCK_BOOTTIME *after* the message was received,
 *   never a loop's cached time: an older time would shorten the promise that
 *   the acknowledgement makes.
 * - After each step send TIMEOUT when bak_deadline() comes.
 * - Events of one channel, and of one QEMU, keep their order; messages of
 *   another pair or generation were dropped before.
 */
#ifndef BAK_MACHINE_H
#define BAK_MACHINE_H

#include "backup/events.tbl.h"
#include "common/core.h"
#include "common/pair-state.h"
#include "logging-channel/wire.tbl.h" /* enum lc_end_reason */

enum bak_state { BAK_STATES(FT_NAME) BAK_ST_COUNT };
enum bak_event_kind { BAK_EVENTS(FT_NAME) BAK_EV_COUNT };
enum bak_effect_kind { BAK_EFFECTS(FT_NAME) BAK_DO_COUNT };
enum bak_reason { BAK_REASONS(FT_NAME) BAK_WHY_COUNT };

struct bak_event {
    enum bak_event_kind kind;
    ft_ns now;
    enum lc_end_reason code;     /* END */
    uint64_t position;           /* ENTRIES: last; PROTECTED, EXECUTED */
    ft_ns stamp;                 /* ENTRIES: the primary's, only echoed */
    bool ok;                     /* DISK, ARBITRATED, PEER_FENCED */
    ft_ns detect, lease, margin; /* CONNECTED: what the primary counts with */
};

struct bak_effect {
    enum bak_effect_kind kind;
    bool relinquished;   /* ARBITRATE */
    uint64_t generation; /* PREPARE_TAKE, ARBITRATE, BECOME_PRIMARY */
    uint64_t position;   /* SEND_*, GO_LIVE */
    ft_ns stamp;         /* SEND_ACK */
};

#define BAK_UPDATE_MAX 8
struct bak_update {
    unsigned count;
    struct bak_effect effect[BAK_UPDATE_MAX];
};

/* Flat: may be copied, compared (zeroed first) and hashed. The driver reads
 * it and writes nothing. */
struct bak {
    struct ft_timing timing;
    enum bak_state state;
    enum bak_reason reason;
    uint64_t generation;
    bool loaded;       /* LOADING: LOADED received */
    bool prepared;     /* LOADING: PREPARED received */
    bool announced;    /* PROTECTED received: may contend */
    bool relinquished; /* the primary's RELINQUISH received */
    bool open;         /* the channel */
    bool disk_ok;      /* proved since SUSPECTING began, or less than
                            `detect` before it */
    bool waiting;      /* for the answer to a probe, fence or go-live */
    bool qemu_gone;
    uint64_t received; /* every batch up to it is in memory */
    uint64_t executed;
    ft_ns promise;   /* will not contend before this */
    ft_ns heard;     /* last sign of the peer */
    ft_ns logged;    /* last entries of the primary's QEMU */
    ft_ns proved;    /* PROTECTED: when the disk was last read; 0: not */
    ft_ns moved;     /* when the replica last moved, or got work again */
    ft_ns heartbeat; /* when the next one is due */
    ft_ns until;     /* retry, or the end of this state's patience */
};

/* t: this host's; CONNECTED brings the pair's. */
void bak_init(struct bak *b, const struct ft_timing *t, uint64_t generation);
/* Advance by one event. Effects must be carried out in the order given. */
void bak_step(struct bak *b, const struct bak_event *ev,
              struct bak_update *up);
/* When to send TIMEOUT; FT_NEVER: no need. */
ft_ns bak_deadline(const struct bak *b);
/* NULL, or the sentence that is false. */
const char *bak_invariant(const struct bak *b);
/* May the driver raise this event now? */
bool bak_expects(const struct bak *b, enum bak_event_kind kind);

const char *bak_state_name(enum bak_state s);
enum ft_pair_state bak_pair_state(enum bak_state s); /* to an operator */
const char *bak_event_name(enum bak_event_kind k);
const char *bak_reason_text(enum bak_reason r);

#endif
