/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * types.h - time, and the timing that both ends of a pair agree on
 *
 * Time is CLOCK_BOOTTIME of this host, in ns, read once per event. It is
 * never compared with another host's.
 */
#ifndef FT_TYPES_H
#define FT_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int64_t ft_ns;

#define FT_NS_PER_MS INT64_C(1000000)
#define FT_NEVER INT64_MAX

/* What HELLO carries (detect, lease, margin), and local constants. */
struct ft_timing {
    ft_ns detect;    /* silence of the peer that counts as its loss */
    ft_ns lease;     /* an acknowledgement allows outputs for this long */
    ft_ns margin;    /* the backup's promise is this much longer */
    ft_ns heartbeat; /* between two heartbeats */
    ft_ns retry;     /* before a failed probe, fence or go-live is repeated */
    ft_ns grace;     /* a primary without a working QEMU contends this much
                        later than its backup could */
    ft_ns hold;      /* a clone may hold the guest's outputs for this long */
    ft_ns stall;     /* a replica that has work and does not move for this
                        long is given up */
};

#define FT_TIMING_DEFAULT                                                  \
    ((struct ft_timing){ .detect = 1000 * FT_NS_PER_MS,                    \
                         .lease = 800 * FT_NS_PER_MS,                      \
                         .margin = 100 * FT_NS_PER_MS,                     \
                         .heartbeat = 100 * FT_NS_PER_MS,                  \
                         .retry = 200 * FT_NS_PER_MS,                      \
                         .grace = 500 * FT_NS_PER_MS,                      \
                         .hold = 5000 * FT_NS_PER_MS,                      \
                         .stall = 10000 * FT_NS_PER_MS })

/* An event that the driver may not raise in this state: a bug of ours, and
 * going on would be a guess. Cores call nothing, not even abort(). */
#define FT_ILLEGAL() __builtin_trap()

#endif
