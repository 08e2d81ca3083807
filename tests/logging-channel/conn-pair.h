/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conn-pair.h - two ends of a connection in one loop, for tests */
#ifndef TEST_CONN_PAIR_H
#define TEST_CONN_PAIR_H

#include <glib.h>

#include "common/host/loop.h"
#include "logging-channel/conn.h"
#include "logging-channel/server.h"

/* One end and what happened to it. */
struct end {
    struct lc_conn *conn;
    const char *host; /* for its greeting */
    bool connector;
    enum lc_kind kind; /* 0: LC_KIND_LOG */
    bool greet;        /* say HELLO or WELCOME by itself */
    unsigned ready, frames, drained, closed;
    uint16_t last_type;
    uint64_t entries_bytes, last_position, sum;
    struct ft_err why;
    /* called after the counting; may be NULL */
    void (*on_ready)(struct end *e);
    void (*on_frame)(struct end *e, const struct lc_msg *m);
    void (*on_drained)(struct end *e);
};

struct pair {
    struct ev_loop *loop;
    struct lc_server *server;
    struct lc_tls *tls_a, *tls_b;
    struct end a, b; /* a connects, b accepts */
    struct lc_conn_config config_b;
    unsigned handed; /* connections that the server handed over */
};

extern const struct lc_conn_ops end_ops;

/* Folders of pki_make(); names that each end expects of the other (NULL:
 * any). b listens on 127.0.0.1 or ::1. */
void pair_begin(struct pair *p, const char *dir_a, const char *dir_b,
                const char *address);
struct lc_conn_config pair_config(struct pair *p, struct end *e,
                                  struct lc_tls *tls, const char *expect);
void pair_connect(struct pair *p, const char *a_expects,
                  const char *b_expects);
/* Run the loop until *what >= n; the test fails after 10 s. */
void pair_until(struct pair *p, const unsigned *what, unsigned n);
void pair_run(struct pair *p, unsigned ms);
void pair_open(struct pair *p); /* both have greeted */
void pair_end(struct pair *p);

/* Of the listener of this process, of which there is one. */
uint16_t listener_port(void);
/* What it accepted and what is still open. */
unsigned listener_accepted(void);

lc_id test_id(uint8_t byte);
void assert_says(const struct ft_err *err, const char *part);

#endif
