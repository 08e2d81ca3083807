/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * agent.h - the parts of lockstep-agent, one process for each VM and host
 *
 * Theory of Operation
 *
 * The agent owns the vmlink to its QEMU and, while there is one, a driver:
 * the primary's (primary/driver.h) for a guest that runs here, by itself or
 * protected, the backup's (backup/driver.h) for a replica. A replica that
 * goes live swaps the one for the other, on the same QEMU.
 *
 *   main.c        start, options, signals
 *   vm.c          the vmlink's life, which driver there is, commands
 *   sock.c        agent.sock: commands of lockstepd, events to it
 *   jsonserver.c  ... as JSON lines, in a loop
 *   status.c      the status object
 *   privileges.c  what it gives up at its start
 *
 * The process is started by lockstepd and survives it; nothing that a
 * failover needs is outside this process, the two QEMUs, and the arbiter.
 */
#ifndef AGENT_H
#define AGENT_H

#include <ev.h>
#include <jansson.h>
#include <stdio.h>

#include "agent/jsonserver.h"
#include "backup/driver.h"
#include "common/host/loop.h"
#include "common/host/options.h"
#include "role/pair.h"
#include "role/vmlink.h"
#include "primary/driver.h"

struct agent {
    struct ev_loop *loop;
    struct ft_options options;
    char uuid[37], object[80]; /* object: "pair web1", for messages */
    lc_id vm, nonce;
    char dir[FT_OPTION_TEXT + 48]; /* RUN/vm/UUID: QEMU's sockets */
    char own[FT_OPTION_TEXT + 48]; /* RUN/agent/UUID: out of QEMU's reach */
    FILE *trace;

    /* vm.c */
    struct ft_vmlink *vmlink;
    struct ft_timer retry; /* to connect to QEMU */
    struct ft_timer tidy;  /* after a driver's change */
    struct ft_timer mute;  /* vmlink closed: is QEMU gone too? */
    bool greeted;          /* VL_HELLO has come */
    bool gone;             /* the process has ended */
    struct lc_vl_hello qemu;
    struct pri_driver *pri;
    struct bak_driver *bak;
    enum ft_role role;
    struct ft_pair_status last; /* when there is no driver */
    char arbiter[FT_OPTION_TEXT];
    uint64_t tried; /* highest generation of a `protect` */
    struct ft_timeline timeline;

    /* status.c */
    enum ft_pair_state state;      /* that was shown last */
    ft_ns since;                   /* of that state, monotonic */
    uint64_t rate_bytes, log_rate; /* log_bytes_per_s */
    struct ft_timer rate;

    struct agent_json_server *server;
    struct ft_timer ready; /* to open it without a QEMU */
    bool failed;
};

/* privileges.c; to be called before any thread is made */
int agent_drop_privileges(struct ft_err *err);

/* main.c: leave the loop; open agent.sock, once */
void agent_quit(struct agent *a);
void agent_ready(struct agent *a);

/* vm.c */
void agent_vm_start(struct agent *a);
void agent_vm_stop(struct agent *a);
/* Commands: 0, or -1 and why it is refused; nothing has changed then. */
int agent_protect(struct agent *a, const struct pri_pair *pair,
                  struct ft_err *err);
/* The pair's part of c is filled in. */
int agent_backup(struct agent *a, struct bak_driver_config *c,
                 struct ft_err *err);
int agent_unprotect(struct agent *a, struct ft_err *err);
bool agent_is_busy(const struct agent *a);

/* sock.c */
int agent_sock_open(struct agent *a, struct ft_err *err);
void agent_sock_close(struct agent *a);
void agent_sock_event(struct agent *a);

/* status.c */
void agent_status_init(struct agent *a);
/* The driver's, or the last one's. */
void agent_pair_status(struct agent *a, struct ft_pair_status *s);
json_t *agent_status(struct agent *a); /* gives it */
/* What is shown has changed: tell the clients. */
void agent_changed(struct agent *a);

#endif
