/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * inbox.h - a core's events, one at a time, and its clock
 *
 * How both roles' drivers host their core: whatever happens becomes an event
 * that waits for its turn; one is stepped at a time, and all its effects are
 * carried out before the next. Then the core's deadline is set.
 *
 * The deadline comes last of all that an iteration of the loop has to do: an
 * agent that got no processor for a while first takes what its peer has said
 * meanwhile, and only then judges how long the peer has been silent.
 */
#ifndef FT_HOST_INBOX_H
#define FT_HOST_INBOX_H

#include "common/host/loop.h"

#define FT_INBOX_MAX 64
#define FT_INBOX_WORDS 10 /* an event has at most so many uint64_t */

struct ft_inbox_ops {
    /* Step the core and carry out its effects; may put more events. event:
     * the bytes that were put. */
    void (*step)(void *arg, const void *event);
    /* The core's deadline now: of CLOCK_BOOTTIME, or FT_NEVER. */
    ft_ns (*deadline)(void *arg);
    /* It has come: put the core's TIMEOUT. */
    void (*timeout)(void *arg);
};

struct ft_inbox {
    const struct ft_inbox_ops *ops;
    void *arg;
    struct ft_timer deadline;
    unsigned first, count;
    bool stepping;
    uint64_t event[FT_INBOX_MAX][FT_INBOX_WORDS];
};

void ft_inbox_init(struct ft_inbox *in, struct ev_loop *loop,
                   const struct ft_inbox_ops *ops, void *arg);
/* Copies the event's n bytes. It is stepped before this returns, but when
 * called from within a step: then after it. An inbox that is full is a bug of
 * ours and aborts. */
void ft_inbox_put(struct ft_inbox *in, const void *event, size_t n);
/* No deadline comes any more. */
void ft_inbox_stop(struct ft_inbox *in);

#endif
