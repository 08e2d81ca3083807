/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent-report.c - what an agent says of its pair (docs/agent.md), read once */
#include "control/lockstepd/agent-report.h"

#include <stdio.h>

#include "common/host/json.h"

static void text(char *to, size_t size, const json_t *o, const char *key)
{
    snprintf(to, size, "%s", ft_json_text(o, key));
}

void agent_report_parse(struct agent_report *s, const json_t *o)
{
    const json_t *progress = json_object_get(o, "progress");

    s->role = ft_role_parse(ft_json_text(o, "role"));
    s->state = ft_pair_state_parse(ft_json_text(o, "state"));
    text(s->reason, sizeof(s->reason), o, "reason");
    text(s->pair, sizeof(s->pair), o, "pair");
    text(s->peer, sizeof(s->peer), o, "peer");
    s->generation = ft_json_number(o, "generation");
    s->tried = ft_json_number(o, "tried");
    text(s->qemu, sizeof(s->qemu), o, "qemu");
    s->unused = json_is_true(json_object_get(o, "unused"));
    s->sent = ft_json_number(progress, "sent");
    s->remaining = ft_json_number(progress, "remaining");
}

bool agent_report_is_bound(const struct agent_report *s)
{
    return s->role != FT_ROLE_NONE && !ft_pair_is_alone(s->state);
}
