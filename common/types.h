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

static inline ft_ns ft_sooner(ft_ns a, ft_ns b)
{
    return a < b ? a : b;
}

/*
 * The timeline of rule 6, with the defaults. The primary A has sent entries at
 * 0 and hangs just after; they were 5 ms on their way. A column is 25 ms.
 *
 *     0                   500         800 905 1005
 *  A  |===============================|
 *     stamp: outputs may leave        stamp + lease: nothing leaves any more,
 *                                     also if A wakes later
 *  B  |###################################|
 *     receipt: does not contend           receipt + lease + margin: may
 *     |...................|...................|
 *     hears nothing       detect / 2:         detect: suspects A, closes the
 *                         proves the disk     channel; contends, goes live
 *
 * A counts from before the entries left and B from after they came, each on
 * its own clock. So B waits for longer than A's lease runs: by the time on the
 * way, and by `margin`, which covers clocks that differ in speed (an eighth,
 * here). An acknowledgement of entries that A's QEMU wrote renews both; a
 * heartbeat is heard, and renews neither. Closing the channel shortens neither.
 * RELINQUISH says that A's QEMU is reaped, so B waits no more.
 *
 * A primary whose own QEMU wrote no log for 3/4 of `detect`, or whose agent is
 * new and found it recording, is what failed. It lets a healthy backup win. A
 * column is 50 ms.
 *
 *     0                   1000              1900      2400
 *  A  |-------------------|-----------------|---------|
 *     shuts its gate      detect: B has     lease     grace: A contends
 *                         missed A          + margin
 */

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

#define FT_TIMING_DEFAULT                                                    \
    ((struct ft_timing){ .detect = 1000 * FT_NS_PER_MS,                      \
                         .lease = 800 * FT_NS_PER_MS,                        \
                         .margin = 100 * FT_NS_PER_MS,                       \
                         .heartbeat = 100 * FT_NS_PER_MS,                    \
                         .retry = 200 * FT_NS_PER_MS,                        \
                         .grace = 500 * FT_NS_PER_MS,                        \
                         .hold = 5000 * FT_NS_PER_MS,                        \
                         .stall = 10000 * FT_NS_PER_MS })

/* An event that the driver may not raise in this state: a bug of ours, and
 * going on would be a guess. Cores call nothing, not even abort(). */
#define FT_ILLEGAL() __builtin_trap()

#endif
