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

#include "common/host/loop.h"
#include "primary/driver.h"
#include "primary/machine.h"
#include "role/host.h"
#include "role/session.h"
#include "role/vmring.h"

struct pri_driver {
    struct ft_host_config c;
    struct ft_host host;
    struct pri core;
    bool live;

    /* The pair that is, or is being made. session.generation stays when the
     * core has left it: our QEMU records for that one. */
    struct ft_session session;
    char peer[256], address[256];
    uint16_t port;
    uint32_t downtime_ms;

    /* driver-peer.c */
    struct ft_timer patience; /* of CONNECT */
    int listener;
    struct ft_watch listener_watch;
    uint64_t clone_sent, clone_remaining;
    ft_ns progress_told;

    /* driver-log.c */
    struct ft_vmring ring;
    struct ft_watch data_watch;
    struct ft_timer look_again;
    bool reading;
    uint64_t scanned;    /* bytes behind tail */
    uint64_t seen, sent; /* positions */
    uint64_t want;       /* may be sent up to here */
    ft_ns want_stamp;
    uint64_t executed; /* by the replica, as it said */
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

/* driver-peer.c */
void pri_peer_init(struct pri_driver *d);
void pri_peer_connect(struct pri_driver *d);
void pri_peer_close(struct pri_driver *d);
void pri_peer_clone(struct pri_driver *d); /* START_CLONE */
void pri_peer_clone_over(struct pri_driver *d);

/* driver-log.c */
int pri_log_open(struct pri_driver *d, struct ft_err *err);
void pri_log_drain(struct pri_driver *d); /* read what is there */
void pri_log_stop(struct pri_driver *d);  /* read no more */
void pri_log_close(struct pri_driver *d);
void pri_log_send(struct pri_driver *d, uint64_t position, ft_ns stamp);
void pri_log_pump(struct pri_driver *d);     /* the channel has room */
uint64_t pri_log_shut(struct pri_driver *d); /* the position for SHUT */
void pri_log_release(struct pri_driver *d, uint64_t acked, ft_ns lease_until,
                     bool open);
void pri_log_acked(struct pri_driver *d, const struct lc_ack *ack);

#endif
