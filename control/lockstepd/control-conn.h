/* SPDX-License-Identifier: GPL-2.0-or-later */
/* control-conn.h - a CONTROL connection between two lockstepds */
#ifndef LOCKSTEPD_CONTROL_CONN_H
#define LOCKSTEPD_CONTROL_CONN_H

#include <jansson.h>
#include <stddef.h>

#include "common/host/err.h"

struct ctl;
struct job;
struct control_conn;

/* job: asked while waiting whether it is cancelled. */
struct control_conn *control_connect(struct job *job, const char *host,
                                     struct ft_err *err);
struct control_conn *control_accept(struct ctl *ctl, int fd,
                                    struct ft_err *err);
void control_close(struct control_conn *p);
const char *control_host(const struct control_conn *p);
const char *control_address(const struct control_conn *p); /* no port */
int control_call(struct control_conn *p, json_t *request, json_t **reply,
                 int timeout_s, struct ft_err *err);
/* 1: *request (given), 0: closed, -1: err; it has been silent for timeout_s. */
int control_next(struct control_conn *p, json_t **request, int timeout_s,
                 struct ft_err *err);
int control_reply(struct control_conn *p, json_t *reply, struct ft_err *err);
/* A numeric address of a host name. */
int control_resolve(const char *host, char *out, size_t size,
                    struct ft_err *err);

#endif
