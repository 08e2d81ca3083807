/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * jsonline.h - one JSON object a line over a UNIX stream socket
 *
 * The protocol between lockstep, lockstepd and its agents. Lines are bounded
 * (FT_JSON_LINE_MAX); a line that is too long, not JSON or not an object
 * closes the connection with that reason, after one reply that says so.
 *
 * Descriptors arrive with the first byte of the line that they belong to, in
 * order: a handler of a command that carries one takes it with
 * ft_json_take_fd(). What nobody took is closed with the connection.
 */
#ifndef FT_HOST_JSONLINE_H
#define FT_HOST_JSONLINE_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>

#include "common/host/err.h"

#define FT_JSON_LINE_MAX (1u << 20)
#define FT_JSON_QUEUE_MAX (4u << 20)   /* unsent bytes; over it: closed */
#define FT_JSON_FDS_MAX 16             /* received and not yet taken */

struct ft_json;

struct ft_json_ops {
    /* A line. Borrows line (json_incref() to keep it). May close j. */
    void (*line)(struct ft_json *j, json_t *line, void *arg);
    /* The other side is gone, or was cut off for `why`. Called once, not
     * after ft_json_close(). The handler calls ft_json_close(). */
    void (*gone)(struct ft_json *j, const struct ft_err *why, void *arg);
};

/* Takes fd (made non-blocking) and talks on it. ops is borrowed for good. */
struct ft_json *ft_json_open(struct ev_loop *loop, int fd,
                             const struct ft_json_ops *ops, void *arg);
/* Connect to a socket and open it. NULL: err says which and why. */
struct ft_json *ft_json_connect(struct ev_loop *loop, const char *path,
                                const struct ft_json_ops *ops, void *arg,
                                struct ft_err *err);
/* Queue one line and send what can be sent now. Borrows msg. fds are
 * duplicated, so that the caller may close his at once. -1: closed, or over
 * the bound (then `gone` follows). */
int ft_json_send(struct ft_json *j, json_t *msg, const int *fds, size_t nfds);
/* {"ok":false,"error":text} and {"ok":true}: the usual replies. */
int ft_json_send_ok(struct ft_json *j);
int ft_json_send_error(struct ft_json *j, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The oldest descriptor received and not yet taken (gives it), or -1. */
int ft_json_take_fd(struct ft_json *j);
void ft_json_set_arg(struct ft_json *j, void *arg);
/* The peer's process, uid and gid as the kernel says; 0 or -1. */
int ft_json_peer(const struct ft_json *j, int *pid, unsigned *uid,
                 unsigned *gid);
bool ft_json_drained(const struct ft_json *j);   /* nothing left to send */
/* Send what is queued (at most a second, in the loop), then close and free;
 * no callback comes any more. Allowed inside callbacks. */
void ft_json_close(struct ft_json *j);

/* A listener that opens each connection with ops and tells `opened`, which
 * usually calls ft_json_set_arg(). Bounded: over max the newest is closed
 * with an error line. */
struct ft_json_server;
struct ft_json_server *ft_json_listen(struct ev_loop *loop, const char *path,
                                      unsigned mode, unsigned max,
                                      const struct ft_json_ops *ops,
                                      void (*opened)(struct ft_json *j,
                                                     void *arg),
                                      void *arg, struct ft_err *err);
/* Also closes its connections, without callbacks, and removes the path. */
void ft_json_server_close(struct ft_json_server *s);
/* Call fn for each open connection (for broadcasts). fn must not close. */
void ft_json_server_each(struct ft_json_server *s,
                         void (*fn)(struct ft_json *j, void *arg), void *arg);

/* Without a loop, for command-line programs: connect, send one line, then
 * take lines one at a time. timeout_ms < 0: wait for ever. A peer that takes
 * nothing for 5 s makes send fail; then part of the line may have gone, and the
 * connection is of no more use. */
int ft_json_client_open(const char *path, struct ft_err *err);
int ft_json_client_send(int fd, json_t *msg, struct ft_err *err);
struct ft_json_reader {
    int fd;
    size_t used;
    char *buf;
};
void ft_json_reader_init(struct ft_json_reader *r, int fd);   /* borrows fd */
/* 1: *line (gives it), 0: the other side closed, -1: err. */
int ft_json_reader_next(struct ft_json_reader *r, json_t **line,
                        int timeout_ms, struct ft_err *err);
void ft_json_reader_done(struct ft_json_reader *r);

#endif
