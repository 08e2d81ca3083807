/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * relay.h - carry a byte stream between a connection and a UNIX socket
 *
 * The clone's stream: QEMU writes its migration stream into the agent's UNIX
 * socket, the agents carry it over TLS, the other QEMU reads it from its own;
 * what goes back (migration's return path) takes the same way. Each direction
 * has its own end: an end of file here becomes a TLS end there and then a
 * shutdown(SHUT_WR). A side that does not read stops the side that writes.
 */
#ifndef LC_RELAY_H
#define LC_RELAY_H

#include "logging-channel/conn.h"

struct lc_relay;

struct lc_relay_result {
    uint64_t sent;      /* bytes from the UNIX socket to the peer */
    uint64_t received;  /* bytes from the peer to the UNIX socket */
    uint64_t discarded; /* from the peer, after our QEMU had closed */
};

/* The connection has passed HELLO and WELCOME. Takes c and fd, also when
 * it fails (NULL only without memory). done is called once: err is NULL
 * when both directions ended in good order, else the reason. The relay is
 * then freed by the owner with lc_relay_free(), allowed in done. */
struct lc_relay *lc_relay_start(
    struct ev_loop *loop, struct lc_conn *c, int fd,
    void (*done)(struct lc_relay *r, const struct ft_err *err, void *arg),
    void *arg);
struct lc_relay_result lc_relay_result(const struct lc_relay *r);
/* Close both ends at once. NULL is allowed. */
void lc_relay_free(struct lc_relay *r);

#endif
