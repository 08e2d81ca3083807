/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver-internal.h - shared by the files of the backup's driver
 *
 *   driver.c        the core and its effects
 *   driver-peer.c   the two connections, the heartbeat, the clone's stream
 *   driver-log.c    the log: from the channel into the ring
 */
#ifndef BAK_DRIVER_INTERNAL_H
#define BAK_DRIVER_INTERNAL_H

#include "backup/driver.h"
#include "backup/machine.h"
#include "common/host/log.h"
#include "common/host/loop.h"
#include "role/host.h"
#include "role/session.h"
#include "role/vmring.h"

#define BAK_PENDING_MAX 4

/* Batches of one frame that wait for room in the ring. */
struct bak_chunk {
    struct bak_chunk *next;
    uint64_t last;
    uint32_t n;
    uint8_t bytes[];
};

struct bak_driver {
    struct ft_host_config c;
    struct ft_host host;
    struct bak core;
    bool consumed; /* as the timeline says */
    struct ft_session session;
    char peer[256];

    /* driver-peer.c */
    struct lc_conn *pending[BAK_PENDING_MAX]; /* not yet past HELLO */
    struct ft_few refused;
    struct ft_timer connect_qemu;
    unsigned connect_tries;

    /* driver-log.c */
    struct ft_vmring ring;
    struct ft_watch space_watch;
    struct ft_timer look;           /* at `executed` */
    struct bak_chunk *head, **tail; /* wait for room in the ring */
    uint64_t waiting;               /* their bytes */
    bool paused;
    uint64_t received; /* position */
    uint64_t log_bytes;
    struct ft_lag lag;
};

/* driver.c: give the core an event; effects follow at once, or after those
 * that are being carried out. now is filled in. */
void bak_raise(struct bak_driver *d, struct bak_event ev);
static inline void bak_raise_kind(struct bak_driver *d,
                                  enum bak_event_kind kind)
{
    bak_raise(d, (struct bak_event){ .kind = kind });
}

/* driver-peer.c */
void bak_peer_init(struct bak_driver *d);
void bak_peer_close(struct bak_driver *d);
/* The log's connection broke its rules. */
void bak_peer_malformed(struct bak_driver *d, const char *why);

/* driver-log.c */
void bak_log_init(struct bak_driver *d);
int bak_log_open(struct bak_driver *d, struct ft_err *err);
void bak_log_close(struct bak_driver *d);
void bak_log_entries(struct bak_driver *d, const struct lc_entries *e);
uint64_t bak_log_executed(struct bak_driver *d);
/* Look how far the replica is, and say so. False when the vmlink is gone. */
bool bak_log_look(struct bak_driver *d);
/* How often to look how far the replica is: often while a go-live waits. */
void bak_log_watch(struct bak_driver *d, bool often);

#endif
