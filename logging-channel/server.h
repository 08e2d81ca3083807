/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * server.h - accept connections and read their preamble
 *
 * The preamble's 24 bytes come in clear in front of TLS and say which VM and
 * which kind of connection this is, so that lockstepd can hand the socket to
 * that VM's agent. It only routes. It must be there within 5 s; at most
 * LC_SERVER_PENDING connections wait for theirs, beyond that the oldest is
 * closed, so that idle strangers cannot keep peers out.
 */
#ifndef LC_SERVER_H
#define LC_SERVER_H

#include <ev.h>
#include <stdint.h>

#include "common/host/err.h"
#include "logging-channel/wire.h"

#define LC_SERVER_PENDING 64
#define LC_SERVER_SECONDS 5

struct lc_server;

/* Gives fd: non-blocking, nothing but the preamble consumed. from: "10.0.0.1
 * port 40112". The callee hands fd on or closes it. */
typedef void lc_server_fn(int fd, enum lc_kind kind, const lc_id *vm,
                          const char *from, void *arg);

/* address: "*" for all of IPv4 and IPv6, or a numeric address. port 0: any,
 * for tests. NULL: err. */
struct lc_server *lc_server_open(struct ev_loop *loop, const char *address,
                                 uint16_t port, lc_server_fn *fn, void *arg,
                                 struct ft_err *err);
void lc_server_close(struct lc_server *s);

#endif
