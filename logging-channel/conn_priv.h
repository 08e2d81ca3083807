/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conn_priv.h - what conn.c, connect.c, frames.c, raw.c share */
#ifndef LC_CONN_PRIV_H
#define LC_CONN_PRIV_H

#include <netdb.h>
#include <openssl/ssl.h>

#include "common/host/loop.h"
#include "logging-channel/channel.h"
#include "logging-channel/conn.h"
#include "logging-channel/queue.h"

/* Each state says what is done in it. */
enum conn_state {
    CONN_RESOLVING,  /* a thread looks a name up */
    CONN_CONNECTING, /* TCP; the next address after a failure */
    CONN_PREAMBLE,   /* the 24 bytes go out */
    CONN_HANDSHAKE,  /* TLS */
    CONN_FRAMES,     /* ready() was called: frames in and out */
    CONN_RAW,        /* bytes in and out, for a relay */
    CONN_FINISHING,  /* sends the rest and the TLS end; drops what comes */
    CONN_OVER,       /* closed() was called or is about to be */
};

struct lc_lookup;

struct lc_conn {
    struct ev_loop *loop;
    enum conn_state state;
    int fd;
    SSL *ssl;
    struct lc_tls *tls;
    struct lc_tls_check check;
    struct lc_channel channel;
    enum lc_side side;
    lc_id vm;
    char name[320];
    const struct lc_conn_ops *ops;
    void *arg;
    ft_ns timeout, silence;
    size_t high_water, low_water;

    struct ft_watch watch;
    struct ft_timer timer; /* the state's time-out */
    struct ft_timer again; /* more to read than one turn allows */
    ev_prepare flush;      /* is fed, never started; lowest priority */
    ev_prepare dead;       /* likewise: calls closed() */

    struct lc_queue in, out;
    bool full; /* was over high_water: drained() is due */
    bool paused;
    bool read_wants_write, write_wants_read;
    bool peer_ended, own_end_wanted, own_ended;
    size_t write_retry; /* bytes of a TLS write begun and not done */

    void (*raw_event)(struct lc_conn *c, void *arg);
    void *raw_arg;

    struct lc_lookup *lookup;             /* RESOLVING */
    struct addrinfo *addresses, *address; /* CONNECTING */
    uint16_t port;
    uint8_t preamble[LC_PREAMBLE_SIZE];
    size_t preamble_sent;

    struct ft_err why;
    unsigned depth; /* of our callbacks on the stack */
    bool freed;
};

/* conn.c */
struct lc_conn *lc_conn_new(const struct lc_conn_config *config,
                            enum lc_side side, struct ft_err *err);
void lc_conn_enter(struct lc_conn *c);
bool lc_conn_leave(struct lc_conn *c); /* false: c is gone */
/* Ends the connection. The peer's name completes the text. */
void lc_conn_failf(struct lc_conn *c, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void lc_conn_start_tls(struct lc_conn *c); /* fd is connected */
void lc_conn_set_name(struct lc_conn *c, const struct sockaddr *sa,
                      socklen_t n);
void lc_conn_socket_options(struct lc_conn *c);
void lc_conn_wants_flush(struct lc_conn *c);
/* Plain TLS read. >0, 0: nothing now; the end sets peer_ended; a failure
 * ends c. */
size_t lc_conn_tls_read(struct lc_conn *c, void *buf, size_t cap);

/* frames.c */
/* Not to be called on a clone's connection after the greetings: its bytes
 * wait for lc_conn_raw(). */
bool lc_conn_takes_frames(const struct lc_conn *c);
void lc_conn_take_frames(struct lc_conn *c);

/* connect.c */
void lc_conn_on_connecting(struct lc_conn *c, int events);
void lc_conn_connect_timeout(struct lc_conn *c);
void lc_conn_connect_done(struct lc_conn *c); /* frees what it used */

#endif
