/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent-report.h - what an agent says of its pair (docs/agent.md), read once */
#ifndef LOCKSTEPD_AGENT_REPORT_H
#define LOCKSTEPD_AGENT_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/host/err.h"
#include "common/pair-state.h"
#include "control/lockstepd/proof.h"
#include "control/lockstepd/sizes.h"

struct agent_report {
    enum ft_role role;
    enum ft_pair_state state; /* NONE: it was no status */
    char reason[FT_ERR_TEXT];
    char pair[33];
    char peer[CTL_NAME];
    uint64_t generation, tried;
    char qemu[PROOF_BUILD_ID]; /* what its QEMU said hello with, or "" */
    bool unused;               /* a replica that nobody has filled */
    uint64_t sent, remaining;  /* of the clone, bytes */
};

/* o: borrowed; may be NULL or another object: then all is empty. */
void agent_report_parse(struct agent_report *s, const json_t *o);

/* Its host is bound to another one: in a pair, or in one that is being made or
 * ended. An agent that has a role alone is not: its guest runs by itself. */
bool agent_report_is_bound(const struct agent_report *s);

#endif
