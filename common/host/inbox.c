/* SPDX-License-Identifier: GPL-2.0-or-later */
/* inbox.c - a core's events, one at a time, and its clock */
#include "common/host/inbox.h"

#include <stdlib.h>
#include <string.h>

#include "common/host/log.h"

static void inbox_on_deadline(struct ft_timer *t, void *arg)
{
    struct ft_inbox *in = arg;

    (void)t;
    in->ops->timeout(in->arg);
}

void ft_inbox_init(struct ft_inbox *in, struct ev_loop *loop,
                   const struct ft_inbox_ops *ops, void *arg)
{
    in->ops = ops;
    in->arg = arg;
    in->first = in->count = 0;
    in->stepping = false;
    ft_timer_init(&in->deadline, loop, inbox_on_deadline, in);
    ev_set_priority(&in->deadline.w, EV_MINPRI);
}

void ft_inbox_put(struct ft_inbox *in, const void *event, size_t n)
{
    if (in->count == FT_INBOX_MAX || n > sizeof(in->event[0])) {
        ft_error("internal: an event does not fit the inbox");
        abort();
    }
    memcpy(in->event[(in->first + in->count++) % FT_INBOX_MAX], event, n);
    if (in->stepping) {
        return;
    }
    in->stepping = true;
    while (in->count > 0) {
        uint64_t next[FT_INBOX_WORDS];

        memcpy(next, in->event[in->first], sizeof(next));
        in->first = (in->first + 1) % FT_INBOX_MAX;
        in->count--;
        in->ops->step(in->arg, next);
    }
    in->stepping = false;
    ft_timer_at(&in->deadline, in->ops->deadline(in->arg));
}

void ft_inbox_stop(struct ft_inbox *in)
{
    ft_timer_stop(&in->deadline);
}
