/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * session.h - the channel of one pair, as far as both ends are alike
 *
 * Two connections (the log's, whose frames each role reads in its
 * driver-peer.c, and the clone's), the heartbeats beside them, and the relay
 * that the clone's connection becomes. Who opens them is not alike: the primary
 * connects and says HELLO, the backup takes what lockstepd hands it and says
 * WELCOME; that stands in each role's driver-peer.c.
 */
#ifndef FT_ROLE_SESSION_H
#define FT_ROLE_SESSION_H

#include "logging-channel/conn.h"
#include "logging-channel/heartbeat.h"
#include "logging-channel/relay.h"
#include "role/host.h"

#define FT_CLONE_PATH (FT_OPTION_TEXT + 64)

struct ft_session {
    struct ft_host *host;
    lc_id pair;
    uint64_t generation;
    const char *peer; /* host name; borrowed */
    lc_key key;       /* of the heartbeats */
    lc_id peer_nonce; /* of the peer's agent */
    struct lc_tls *tls;
    struct lc_conn *log, *clone;
    struct lc_beater *heartbeat;
    struct lc_relay *relay;
};

/* How a connection of this session begins. */
struct lc_conn_config ft_session_config(const struct ft_session *s,
                                        enum lc_kind kind,
                                        const struct lc_conn_ops *ops,
                                        void *arg);
/* The log's connection stands, and the peer takes heartbeats at `port`: send
 * ours there, and listen to the peer's. `heartbeat` was opened before. */
int ft_session_beat_to(struct ft_session *s, uint16_t port,
                       struct ft_err *err);
/* One heartbeat (SEND_HEARTBEAT). */
void ft_session_beat(struct ft_session *s);
/* On the log's connection. A session without one says nothing. */
void ft_session_send(struct ft_session *s, const struct lc_msg *m);

/* The socket over which our QEMU gives or takes the clone's stream. */
void ft_session_clone_path(const struct ft_session *s,
                           char path[FT_CLONE_PATH]);
/* The clone's connection, which may have been paused, carries the stream of fd
 * from now on; takes fd. */
void ft_session_relay(struct ft_session *s, int fd);

/* Let a connection go without waiting for it: what is queued is still sent
 * (for as long as lc_conn_finish() allows), what comes is ignored, and then it
 * frees itself. *c becomes NULL. */
void ft_session_farewell(struct lc_conn **c);
/* Rule 3: neither receive nor acknowledge nor beat any more. Keeps the
 * certificates for the next time. */
void ft_session_close(struct ft_session *s);

#endif
