/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent-client.h - start an agent, talk to it */
#ifndef LOCKSTEPD_AGENT_CLIENT_H
#define LOCKSTEPD_AGENT_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "common/host/err.h"
#include "control/lockstepd/agent-report.h"

struct ctl;

/* One command, one reply (given; reply may be NULL). fd: -1 or passed on. */
int agent_client_request(struct ctl *ctl, const char *uuid, json_t *command,
                         int fd, json_t **reply, int timeout_ms,
                         struct ft_err *err);
/* The two commands that most callers need: the agent's status, and one of
 * a single word. */
int agent_client_status(struct ctl *ctl, const char *uuid,
                        struct agent_report *status, struct ft_err *err);
int agent_client_order(struct ctl *ctl, const char *uuid, const char *what,
                       struct ft_err *err);
bool agent_client_alive(struct ctl *ctl, const char *uuid);
/* Start it unless it runs; returns when it listens. */
int agent_client_ensure(struct ctl *ctl, const char *uuid,
                        struct ft_err *err);
/* A connection to it. */
int agent_client_open(struct ctl *ctl, const char *uuid, struct ft_err *err);

#endif
