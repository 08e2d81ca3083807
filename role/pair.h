/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pair.h - what a role's driver shows of its pair, and the failover timeline
 *
 * Both drivers (primary/driver.h, backup/driver.h) fill the same struct; the
 * agent turns it into the status that people and lockstepd see.
 */
#ifndef FT_ROLE_PAIR_H
#define FT_ROLE_PAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/host/clock.h"
#include "common/pair-state.h"
#include "logging-channel/wire.h"

#define FT_REASON_TEXT 640

struct ft_pair_status {
    enum ft_pair_state state;
    char reason[FT_REASON_TEXT];
    lc_id pair;
    uint64_t generation;
    char peer[256];    /* host name; empty: none */
    uint64_t position; /* last batch sent, or received */
    uint64_t acked, executed;
    uint64_t lag_ms;    /* how far the replica is behind */
    uint64_t log_bytes; /* of the log so far, this generation */
    uint64_t lease_ms;  /* what is left of it; 0: none */
    uint64_t clone_sent, clone_remaining;
};

/* The last failover, step by step. */
#define FT_TIMELINE_MAX 24

struct ft_mark {
    ft_ns monotonic, wall;
    char what[96];
};

struct ft_timeline {
    unsigned n;
    struct ft_mark mark[FT_TIMELINE_MAX];
};

/* Append; a full timeline keeps its beginning. Also logged. object: "pair
 * web1". */
void ft_timeline_add(struct ft_timeline *t, const char *object,
                     const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void ft_timeline_clear(struct ft_timeline *t);

/*
 * Execution lag: when was the first position sent (or received) that is not
 * executed yet? One sample every 10 ms.
 */
#define FT_LAG_SAMPLES 256
struct ft_lag {
    unsigned first, n;
    struct {
        uint64_t position;
        ft_ns at;
    } sample[FT_LAG_SAMPLES];
};
void ft_lag_note(struct ft_lag *l, uint64_t position, ft_ns now);
/* In ns; 0 when executed reaches the last position noted. */
ft_ns ft_lag_of(struct ft_lag *l, uint64_t executed, ft_ns now);

#endif
