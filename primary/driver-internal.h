/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver-internal.h - shared by the files of the primary's driver
 *
 *   driver.c        the core and its effects
 *   driver-peer.c   the two connections, the heartbeat, the clone's stream
 *   driver-log.c    the ring: log out, acknowledgements in, the gate
 */
#ifndef PRI_DRIVER_INTERNAL_H
#define PRI_DRIVER_INTERNAL_H

#include "common/host/inbox.h"
#include "common/host/loop.h"
#include "role/vmring.h"
#include "logging-channel/conn.h"
#include "logging-channel/heartbeat.h"
#include "logging-channel/relay.h"
#include "primary/driver.h"
#include "primary/machine.h"
#include "shared-disk/driver.h"

#define PRI_PATH_MAX 320

struct pri_driver {
    struct pri_driver_config c;
    struct pri core;
    struct ft_inbox inbox;
    bool live;
    bool dump;                              /* the log, when this is over */
    char detail[256];                     /* what the reason leaves out */

    /* The pair that is, or is being made. */
    lc_id pair;
    char peer[256], address[256], arbiter_uri[FT_OPTION_TEXT];
    uint16_t port;
    uint32_t downtime_ms;
    struct tas_driver *arbiter;

    /* driver-peer.c */
    struct lc_tls *tls;
    struct lc_conn *log, *clone;
    struct lc_beater *heartbeat;
    struct ft_timer patience;               /* of CONNECT */
    lc_key key;
    lc_id peer_nonce;
    struct lc_relay *relay;
    int listener;
    struct ft_watch listener_watch;
    uint64_t session;          /* generation that our QEMU records for */
    uint64_t clone_sent, clone_remaining;

    /* driver-log.c */
    struct ft_vmring ring;
    struct ft_watch data_watch;
    bool reading;
    uint64_t scanned;                       /* bytes behind tail */
    uint64_t seen, sent;                    /* positions */
    uint64_t want;                          /* may be sent up to here */
    ft_ns want_stamp;
    uint64_t executed;                      /* by the replica, as it said */
    uint64_t log_bytes;
    struct ft_lag lag;
};

/* driver.c: give the core an event; effects follow at once, or after those
 * that are being carried out. now is filled in. */
void pri_raise(struct pri_driver *d, struct pri_event ev);
static inline void pri_raise_kind(struct pri_driver *d,
                                  enum pri_event_kind kind)
{
    pri_raise(d, (struct pri_event){ .kind = kind });
}
void pri_detail(struct pri_driver *d, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* driver-peer.c */
void pri_peer_init(struct pri_driver *d);
void pri_peer_connect(struct pri_driver *d);
void pri_peer_send(struct pri_driver *d, const struct lc_msg *m);
void pri_peer_beat(struct pri_driver *d);       /* SEND_HEARTBEAT */
void pri_peer_close(struct pri_driver *d);
void pri_peer_clone(struct pri_driver *d);      /* START_CLONE */
void pri_peer_clone_over(struct pri_driver *d);

/* driver-log.c */
int pri_log_open(struct pri_driver *d, struct ft_err *err);
void pri_log_drain(struct pri_driver *d);       /* read what is there */
void pri_log_stop(struct pri_driver *d);        /* read no more */
void pri_log_close(struct pri_driver *d);
void pri_log_send(struct pri_driver *d, uint64_t position, ft_ns stamp);
void pri_log_pump(struct pri_driver *d);        /* the channel has room */
uint64_t pri_log_shut(struct pri_driver *d);    /* the position for SHUT */
void pri_log_release(struct pri_driver *d, uint64_t acked,
                     ft_ns lease_until, bool open);
void pri_log_acked(struct pri_driver *d, const struct lc_ack *ack);

#endif
