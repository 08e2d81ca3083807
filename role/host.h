/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host.h - what both roles' drivers keep around their core, and do alike
 *
 * primary/driver.c and backup/driver.c each host a core: they raise its events
 * through an inbox (common/host/inbox.h) and carry out its effects. What is not
 * one role's own stands here: what the agent gives them, and what people get to
 * see of it all. None of it decides or carries out anything.
 */
#ifndef FT_ROLE_HOST_H
#define FT_ROLE_HOST_H

#include <ev.h>
#include <stdio.h>

#include "common/host/inbox.h"
#include "common/host/options.h"
#include "common/types.h"
#include "role/pair.h"
#include "role/vmlink.h"
#include "shared-disk/driver.h"

/* What the agent gives each driver. All is borrowed. */
struct ft_host_config {
    struct ev_loop *loop;
    const struct ft_options *options;
    struct ft_vmlink *vmlink; /* greeted */
    struct ft_timeline *timeline;
    const char *object; /* "pair web1" */
    const char *dir;    /* run folder of the VM */
    FILE *trace;        /* NULL: none */
    lc_id vm, nonce;
    /* State or reason changed. Not the place to free the driver. */
    void (*changed)(void *arg);
    void *arg;
};

struct ft_host {
    const struct ft_host_config *c; /* the driver's own copy */
    struct ft_inbox inbox;
    struct tas_driver *arbiter; /* opened by the role */
    char detail[256];           /* what the reason leaves out */
    bool dump;                  /* the log, when this is over */
};

/* c: borrowed. ops, arg: the core's inbox. */
void ft_host_init(struct ft_host *h, const struct ft_host_config *c,
                  const struct ft_inbox_ops *ops, void *arg);
void ft_host_close(struct ft_host *h);

/* The options' part of it; the rest as FT_TIMING_DEFAULT. */
struct ft_timing ft_host_timing(const struct ft_host *h);

/* ---- for people ---- */

void ft_host_detail(struct ft_host *h, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A failover begins, and with it a new timeline. */
void ft_host_begin(struct ft_host *h);
/* A step of it. */
#define ft_host_mark(h, ...)                                                 \
    ft_timeline_add((h)->c->timeline, (h)->c->object, __VA_ARGS__)
/* It is over and nothing depends on our speed any more: write out the detail
 * in memory, once. */
void ft_host_over(struct ft_host *h);
/* QEMU could not do what it was told. */
void ft_host_failed(struct ft_host *h, const struct lc_vl_failed *f);
/* The reason as the status shows it: why, the detail when there is a why (it
 * may be empty), and what keeps the arbiter from an answer. */
void ft_host_reason(const struct ft_host *h, const char *why,
                    char out[FT_REASON_TEXT]);

/* ---- around each step of the core ---- */

/* It went from one state to another. */
void ft_host_moved(const struct ft_host *h, const char *event,
                   const char *before, const char *now);
/* QEMU sent what answers nothing; the event is dropped. */
void ft_host_unexpected(const struct ft_host *h, const char *event,
                        const char *state);
/* After the effects. broken: NULL, or the invariant that is false: the agent
 * ends. */
void ft_host_check(const struct ft_host *h, const char *broken);

#endif
