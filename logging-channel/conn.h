/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conn.h - one connection of the logging channel: TCP, preamble, TLS, frames
 *
 * Theory of Operation
 *
 *   connector: TCP connect -> preamble in clear -> TLS -> ready()
 *              -> send HELLO -> WELCOME arrives -> frames
 *   acceptor:  lockstepd's listener reads the preamble (server.h), hands the
 *              socket on -> TLS -> ready() -> HELLO arrives -> send WELCOME
 *
 * Nothing blocks. What lc_conn_send() queues leaves before the loop sleeps
 * again: all frames of one iteration together. Over high_water bytes queued,
 * lc_conn_full() is true and the caller stops sending; when the queue has
 * fallen to low_water, drained() is called. A reader that cannot take more
 * calls lc_conn_pause(); the peer's TCP then stops, and after `silence` gives
 * the connection up: to the kernel a window that stays closed is a dead peer.
 *
 * Any failure (refused, silent, wrong peer, malformed bytes, closed) ends in
 * one closed() call with a message for the operator. Then nothing more comes;
 * the owner calls lc_conn_free(), which is allowed in every callback.
 */
#ifndef LC_CONN_H
#define LC_CONN_H

#include <ev.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "common/host/clock.h"
#include "common/host/err.h"
#include "logging-channel/tls.h"
#include "logging-channel/wire.h"

struct lc_conn;

struct lc_conn_ops {
    /* TLS is up and the peer is who it should be. */
    void (*ready)(struct lc_conn *c, void *arg);
    /* One frame, valid in every respect that channel.h and wire.h check. m
     * and its blob are borrowed for the call. */
    void (*frame)(struct lc_conn *c, const struct lc_frame *head,
                  const struct lc_msg *m, void *arg);
    /* The queue was over high_water and has fallen to low_water. May be NULL
     * when the caller never gets there. */
    void (*drained)(struct lc_conn *c, void *arg);
    /* The connection is over; called once. why->code: an errno; ECONNRESET
     * or 0 bytes: "closed by the peer". Not called after lc_conn_free(). */
    void (*closed)(struct lc_conn *c, const struct ft_err *why, void *arg);
};

struct lc_conn_config {
    struct ev_loop *loop;
    struct lc_tls *tls; /* borrowed until lc_conn_connect/accept end */
    enum lc_kind kind;
    lc_id vm;            /* connector: goes into the preamble */
    lc_id pair;          /* zero for LC_KIND_CONTROL */
    uint64_t generation; /* 0 for LC_KIND_CONTROL */
    const char *peer;    /* host name that the peer's certificate must
                                   carry; NULL: any of this CA (the acceptor
                                   of LC_KIND_CONTROL). Copied. */
    ft_ns timeout;       /* for TCP, TLS, greetings each; 0: 5 s */
    ft_ns silence;       /* TCP_USER_TIMEOUT and keepalive; 0: 10 s */
    size_t high_water;   /* 0: FT_LOG_QUEUE */
    size_t low_water;    /* 0: high_water / 4 */
    const struct lc_conn_ops *ops; /* borrowed for good */
    void *arg;
};

/* Begin to connect. address: IPv4, IPv6 or a name (looked up in a thread; a
 * failover should never depend on that). NULL: err; later failures come to
 * closed(), as "peer hostb (10.0.0.2 port 16520): Connection refused". */
struct lc_conn *lc_conn_connect(const struct lc_conn_config *config,
                                const char *address, uint16_t port,
                                struct ft_err *err);
/* Begin TLS on an accepted socket whose preamble has been read. Takes fd,
 * also when it fails. */
struct lc_conn *lc_conn_accept(const struct lc_conn_config *config, int fd,
                               struct ft_err *err);
/* Close at once (what is queued is lost) and free. NULL is allowed. */
void lc_conn_free(struct lc_conn *c);
/* Send what is queued and the TLS end, then close; closed() follows, at the
 * latest after `timeout`. */
void lc_conn_finish(struct lc_conn *c);

/* Queue one frame. sequence, pair and generation are filled in. Returns 0, or
 * -1 when the connection is over or this message may not be sent now. A
 * message much over high_water closes the connection (a bug of the caller's).
 * HELLO and WELCOME must carry our host name. */
int lc_conn_send(struct lc_conn *c, const struct lc_msg *m);
/* Queue ENTRIES with n bytes of batches and return where to put them (valid
 * until the next call with c), or NULL as above: the log is copied once, from
 * the ring into the queue. */
uint8_t *lc_conn_entries(struct lc_conn *c, uint64_t first, uint64_t last,
                         uint64_t stamp, uint32_t n);
/* Write now rather than at the end of this iteration. */
void lc_conn_flush(struct lc_conn *c);
bool lc_conn_full(const struct lc_conn *c);
size_t lc_conn_queued(const struct lc_conn *c);
/* Stop or go on reading. Callable inside frame(): no further frame comes. */
void lc_conn_pause(struct lc_conn *c, bool pause);
void lc_conn_set_arg(struct lc_conn *c, const struct lc_conn_ops *ops,
                     void *arg);

bool lc_conn_is_ready(const struct lc_conn *c);
/* "hostb (10.0.0.2 port 16520)"; lives as long as c. */
const char *lc_conn_name(const struct lc_conn *c);
/* Does the peer's certificate carry this name? (After ready.) */
bool lc_conn_peer_is(const struct lc_conn *c, const char *host);
/* The peer's address, for the heartbeat. 0 or -1. */
int lc_conn_peer_address(const struct lc_conn *c, struct sockaddr_storage *to,
                         socklen_t *n);

/* ---- raw bytes, for relay.c ---- */

/* After HELLO and WELCOME of LC_KIND_CLONE (what came behind them has
 * waited): from here on there are no frames. event(c, arg) is called when
 * there may be bytes to read or room to write; closed() as before. */
void lc_conn_raw(struct lc_conn *c,
                 void (*event)(struct lc_conn *c, void *arg), void *arg);
/* >0 bytes; 0 the peer ended its direction in good order; -1 errno EAGAIN:
 * none now, or ENOTCONN: over. */
ssize_t lc_conn_raw_read(struct lc_conn *c, void *buf, size_t cap);
/* Room up to high_water. */
size_t lc_conn_raw_room(const struct lc_conn *c);
int lc_conn_raw_write(struct lc_conn *c, const void *buf, size_t n);
/* End our direction after what is queued; reading goes on. */
void lc_conn_raw_end(struct lc_conn *c);
/* The end was written and the queue is empty. */
bool lc_conn_raw_ended(const struct lc_conn *c);

#endif
