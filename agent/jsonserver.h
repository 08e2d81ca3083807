/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * jsonserver.h - one JSON object a line over a UNIX stream socket
 *
 * The agent's end of the lines of common/host/json.h, in a loop. A line that
 * is too long (FT_JSON_LINE_MAX), not JSON or not an object closes the
 * connection with that reason, after one reply that says so.
 *
 * Descriptors arrive with the first byte of the line that they belong to, in
 * order: a handler of a command that carries one takes it with
 * agent_json_take_fd(). What nobody took is closed with the connection.
 */
#ifndef AGENT_JSONSERVER_H
#define AGENT_JSONSERVER_H

#include <ev.h>
#include <stdbool.h>

#include "common/host/json.h"

#define AGENT_JSON_QUEUE_MAX (4u << 20) /* unsent bytes; over it: closed */
#define AGENT_JSON_FDS_MAX 16           /* received and not yet taken */

struct agent_json;

struct agent_json_ops {
    /* A line. Borrows line (json_incref() to keep it). May close j. */
    void (*line)(struct agent_json *j, json_t *line, void *arg);
    /* The other side is gone, or was cut off for `why`. Called once, not
     * after agent_json_close(). The handler calls agent_json_close(). */
    void (*gone)(struct agent_json *j, const struct ft_err *why, void *arg);
};

/* Takes fd (made non-blocking) and talks on it. ops is borrowed for good. */
struct agent_json *agent_json_open(struct ev_loop *loop, int fd,
                                   const struct agent_json_ops *ops,
                                   void *arg);
/* Queue one line and send what can be sent now. Borrows msg. fds are
 * duplicated, so that the caller may close its own at once. -1: closed, or over
 * the bound (then `gone` follows). */
int agent_json_send(struct agent_json *j, json_t *msg, const int *fds,
                    size_t nfds);
/* {"ok":false,"error":text} and {"ok":true}: the usual replies. */
int agent_json_send_ok(struct agent_json *j);
int agent_json_send_error(struct agent_json *j, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The oldest descriptor received and not yet taken (gives it), or -1. */
int agent_json_take_fd(struct agent_json *j);
void agent_json_set_arg(struct agent_json *j, void *arg);
/* Send what is queued (at most a second, in the loop), then close and free;
 * no callback comes any more. Allowed inside callbacks. */
void agent_json_close(struct agent_json *j);

/* A listener that opens each connection with ops and tells `opened`, which
 * usually calls agent_json_set_arg(). Bounded: over max the newest is closed
 * with an error line. */
struct agent_json_server;
struct agent_json_server *agent_json_listen(
    struct ev_loop *loop, const char *path, unsigned mode, unsigned max,
    const struct agent_json_ops *ops,
    void (*opened)(struct agent_json *j, void *arg), void *arg,
    struct ft_err *err);
/* Also closes its connections, without callbacks, and removes the path. */
void agent_json_server_close(struct agent_json_server *s);
/* Call fn for each open connection (for broadcasts). fn must not close. */
void agent_json_server_each(struct agent_json_server *s,
                            void (*fn)(struct agent_json *j, void *arg),
                            void *arg);

#endif
