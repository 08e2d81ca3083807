/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * heartbeat.h - numbered, authenticated UDP datagrams between two agents
 *
 * A datagram is a frame's header (sequence = number), HEARTBEAT{number, nonce
 * of the sender's incarnation}, and the first 16 bytes of HMAC-SHA256 over
 * both, with the key that HELLO carried inside TLS. Accepted: right size and
 * format, right MAC, this pair and generation, the peer's nonce, a number
 * higher than any before. All else is dropped: a stranger's datagram is no
 * news of the peer and no reason to close anything.
 */
#ifndef LC_HEARTBEAT_H
#define LC_HEARTBEAT_H

#include <ev.h>
#include <sys/socket.h>

#include "common/host/clock.h"
#include "common/host/err.h"
#include "logging-channel/wire.h"

#define LC_HEARTBEAT_MAC 16
#define LC_HEARTBEAT_SIZE (LC_HEADER_SIZE + 24 + LC_HEARTBEAT_MAC)

/* The bytes, without I/O. */
struct lc_heartbeat_secret {
    lc_id pair;
    uint64_t generation;
    lc_key key;
};
/* Fills out[LC_HEARTBEAT_SIZE]. 0 or -1 (the crypto library failed). */
int lc_heartbeat_make(uint8_t out[LC_HEARTBEAT_SIZE],
                      const struct lc_heartbeat_secret *secret,
                      const lc_id *nonce, uint64_t number);
/* NULL and *number, or why the datagram is dropped. last: highest number
 * accepted so far. */
const char *lc_heartbeat_check(const uint8_t *p, size_t n,
                               const struct lc_heartbeat_secret *secret,
                               const lc_id *peer_nonce, uint64_t last,
                               uint64_t *number);

struct lc_beater;

/* Open the socket (IPv6 and IPv4, any free port); nothing is sent yet.
 * alive(h, number, arg): one was accepted. NULL: err. */
struct lc_beater *lc_heartbeat_open(struct ev_loop *loop,
                                    void (*alive)(struct lc_beater *h,
                                                  uint64_t number, void *arg),
                                    void *arg, struct ft_err *err);
uint16_t lc_heartbeat_port(const struct lc_beater *h);
/* Say whom to speak to: the address of `to` (of the logging channel's peer) at
 * `port`; accept the peer's from now on. Called again for the next pair or
 * incarnation: numbers go on. */
int lc_heartbeat_start(struct lc_beater *h,
                       const struct lc_heartbeat_secret *secret,
                       const lc_id *own_nonce, const lc_id *peer_nonce,
                       const struct sockaddr *to, uint16_t port,
                       struct ft_err *err);
/* One datagram, now: the role's core says when (SEND_HEARTBEAT). One that
 * cannot be sent is lost, which is for the peer to notice. */
void lc_heartbeat_send(struct lc_beater *h);
void lc_heartbeat_close(struct lc_beater *h); /* NULL is allowed */

#endif
