/* SPDX-License-Identifier: GPL-2.0-or-later */
/* status.c - the status object of an agent */
#include "agent/agent.h"

#include <stdio.h>
#include <string.h>

#include "common/host/id.h"
#include "common/host/json.h"

static json_t *timeline(const struct ft_timeline *t)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < t->n; i++) {
        const struct ft_mark *m = &t->mark[i];

        json_t *one = json_object();

        ft_json_set_number(one, "t_ns", (uint64_t)m->monotonic);
        ft_json_set_number(one, "t_wall", (uint64_t)m->wall);
        ft_json_set_text(one, "what", m->what);
        json_array_append_new(list, one);
    }
    return list;
}

void agent_pair_status(struct agent *a, struct ft_pair_status *s)
{
    if (a->pri != NULL) {
        pri_driver_status(a->pri, s);
    } else if (a->bak != NULL) {
        bak_driver_status(a->bak, s);
    } else {
        *s = a->last;
    }
}

json_t *agent_status(struct agent *a)
{
    struct ft_pair_status s;
    char pair[FT_HEX_TEXT];
    json_t *o;

    agent_pair_status(a, &s);
    ft_hex(pair, s.pair.b);
    o = json_object();
    ft_json_set_text(o, "uuid", a->uuid);
    ft_json_set_text(o, "role", ft_role_name(a->role));
    ft_json_set_text(o, "state", ft_pair_state_name(s.state));
    ft_json_set_text(o, "reason", s.reason);
    ft_json_set_text(o, "pair", pair);
    ft_json_set_number(o, "generation", s.generation);
    ft_json_set_number(o, "tried", a->tried);
    ft_json_set_text(o, "peer", s.peer);
    ft_json_set_number(o, "position", s.position);
    ft_json_set_number(o, "acked", s.acked);
    ft_json_set_number(o, "executed", s.executed);
    ft_json_set_number(o, "lag_ms", s.lag_ms);
    ft_json_set_number(o, "log_bytes", s.log_bytes);
    ft_json_set_number(o, "log_bytes_per_s", a->log_rate);
    ft_json_set_number(o, "lease_ms", s.lease_ms);
    ft_json_set_number(o, "detect_ms",
                       (uint64_t)a->options.failover_detect_ms);
    ft_json_set_text(o, "fence", a->options.failover_fence);
    ft_json_set_number(o, "since_ms",
                       (uint64_t)((ft_monotonic() - a->since) /
                                  FT_NS_PER_MS));
    ft_json_set_number(o, "qemu_pid",
                       a->vmlink != NULL ? (uint64_t)ft_vmlink_pid(a->vmlink)
                                         : 0);
    ft_json_set_text(o, "qemu", a->greeted ? a->qemu.qemu.s : "");
    /* A replica that nobody has filled yet, or ever will. */
    json_object_set_new(o, "unused",
                        json_boolean(a->pri == NULL && a->bak == NULL &&
                                     a->greeted && a->qemu.incoming));
    json_object_set_new(o, "progress",
                        json_pack("{s:I,s:I}", "sent",
                                  (json_int_t)s.clone_sent, "remaining",
                                  (json_int_t)s.clone_remaining));
    json_object_set_new(o, "timeline", timeline(&a->timeline));
    return o;
}

/* ---- changes ------------------------------------------------------------ */

void agent_changed(struct agent *a)
{
    struct ft_pair_status s;

    agent_pair_status(a, &s);
    if (a->state != s.state) {
        a->state = s.state;
        a->since = ft_monotonic();
    }
    agent_sock_event(a);
}

static void on_rate(struct ft_timer *t, void *arg)
{
    struct agent *a = arg;
    struct ft_pair_status s;

    (void)t;
    agent_pair_status(a, &s);
    a->log_rate = s.log_bytes > a->rate_bytes ? s.log_bytes - a->rate_bytes
                                              : 0;
    a->rate_bytes = s.log_bytes;
}

void agent_status_init(struct agent *a)
{
    a->last.state = FT_PAIR_ALONE;
    a->role = FT_ROLE_NONE;
    a->since = ft_monotonic();
    ft_timer_init(&a->rate, a->loop, on_rate, a);
    ft_timer_every(&a->rate, FT_NS_PER_S);
}
