/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clock.h - the host's clocks, in nanoseconds
 *
 * Boottime: what the cores are given, and the lease, as QEMU compares it with
 * lease_until (it goes on while the host is suspended). Monotonic: libev's
 * timers, the log. Wall: for people.
 */
#ifndef FT_HOST_CLOCK_H
#define FT_HOST_CLOCK_H

#include <time.h>

#include "common/types.h"

#define FT_NS_PER_S INT64_C(1000000000)

static inline ft_ns ft_clock(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (ft_ns)ts.tv_sec * FT_NS_PER_S + ts.tv_nsec;
}

static inline ft_ns ft_monotonic(void)
{
    return ft_clock(CLOCK_MONOTONIC);
}

static inline ft_ns ft_boottime(void)
{
    return ft_clock(CLOCK_BOOTTIME);
}

static inline ft_ns ft_wall(void)
{
    return ft_clock(CLOCK_REALTIME);
}

#endif
