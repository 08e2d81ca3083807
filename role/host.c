/* SPDX-License-Identifier: GPL-2.0-or-later */
/* host.c - what both roles' drivers keep around their core, and do alike */
#include "role/host.h"

#include <stdarg.h>
#include <stdlib.h>

#include "common/host/log.h"

void ft_host_init(struct ft_host *h, const struct ft_host_config *c,
                  const struct ft_inbox_ops *ops, void *arg)
{
    h->c = c;
    h->arbiter = NULL;
    h->detail[0] = '\0';
    h->dump = false;
    ft_inbox_init(&h->inbox, c->loop, ops, arg);
}

void ft_host_close(struct ft_host *h)
{
    ft_inbox_stop(&h->inbox);
    tas_driver_close(h->arbiter);
    h->arbiter = NULL;
}

struct ft_timing ft_host_timing(const struct ft_host *h)
{
    const struct ft_options *o = h->c->options;
    struct ft_timing t = FT_TIMING_DEFAULT;

    t.detect = o->failover_detect_ms * FT_NS_PER_MS;
    t.lease = o->failover_lease_ms * FT_NS_PER_MS;
    t.margin = o->failover_margin_ms * FT_NS_PER_MS;
    t.hold = o->protect_hold_ms * FT_NS_PER_MS;
    return t;
}

/* ---- for people --------------------------------------------------------- */

void ft_host_detail(struct ft_host *h, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(h->detail, sizeof(h->detail), fmt, ap);
    va_end(ap);
}

void ft_host_begin(struct ft_host *h)
{
    h->dump = true; /* not now: it might wait for a disk */
    ft_timeline_clear(h->c->timeline);
}

void ft_host_over(struct ft_host *h)
{
    if (h->dump) {
        h->dump = false;
        ft_log_dump(h->c->object);
    }
}

void ft_host_failed(struct ft_host *h, const struct lc_vl_failed *f)
{
    const char *name = lc_type_name(f->command);

    ft_warning("%s: QEMU: %s failed: %s", h->c->object,
               name != NULL ? name : "a command", f->text.s);
}

void ft_host_reason(const struct ft_host *h, const char *why,
                    char out[FT_REASON_TEXT])
{
    const char *trouble = tas_driver_trouble(h->arbiter);
    const char *detail = *why ? h->detail : "";

    snprintf(out, FT_REASON_TEXT, "%s%s%s%s%s", why, *detail ? ": " : "",
             detail, trouble ? "; " : "", trouble ? trouble : "");
}

/* ---- around each step of the core --------------------------------------- */

void ft_host_moved(const struct ft_host *h, const char *event,
                   const char *before, const char *now)
{
    ft_debug("%s: %s: %s -> %s", h->c->object, event, before, now);
}

void ft_host_unexpected(const struct ft_host *h, const char *event,
                        const char *state)
{
    ft_warning("%s: unexpected: %s while %s", h->c->object, event, state);
}

void ft_host_check(const struct ft_host *h, const char *broken)
{
    if (broken != NULL) {
        ft_error("%s: internal: %s", h->c->object, broken);
        ft_log_dump(h->c->object);
        abort();
    }
}
