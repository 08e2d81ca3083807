/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pair.c - the failover timeline and the execution lag
 *
 * paper, 3.2; rule 10: the lag is shown
 */
#include "role/pair.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/host/log.h"

/* Two samples are at least this far apart, so that they span seconds. */
#define LAG_STEP (10 * FT_NS_PER_MS)

void ft_timeline_add(struct ft_timeline *t, const char *object,
                     const char *fmt, ...)
{
    char what[sizeof(t->mark[0].what)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (t->n < FT_TIMELINE_MAX) {
        struct ft_mark *m = &t->mark[t->n++];

        m->monotonic = ft_monotonic();
        m->wall = ft_wall();
        snprintf(m->what, sizeof(m->what), "%s", what);
    }
    ft_info("%s: %s", object, what);
}

void ft_timeline_clear(struct ft_timeline *t)
{
    t->n = 0;
}

void ft_lag_note(struct ft_lag *l, uint64_t position, ft_ns now)
{
    unsigned last = (l->first + l->n - 1) % FT_LAG_SAMPLES;

    /* A sample stands for the first position after the one before it, so a
     * later position may join it without making the lag look smaller. */
    if (l->n > 0 &&
        (now - l->sample[last].at < LAG_STEP || l->n == FT_LAG_SAMPLES)) {
        l->sample[last].position = position;
        return;
    }
    last = (l->first + l->n++) % FT_LAG_SAMPLES;
    l->sample[last].position = position;
    l->sample[last].at = now;
}

ft_ns ft_lag_of(struct ft_lag *l, uint64_t executed, ft_ns now)
{
    while (l->n > 0 && l->sample[l->first].position <= executed) {
        l->first = (l->first + 1) % FT_LAG_SAMPLES;
        l->n--;
    }
    return l->n > 0 ? now - l->sample[l->first].at : 0;
}
