/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmlink.h - the agent's end of the vmlink to one QEMU
 *
 * A SOCK_SEQPACKET connection to the socket on which QEMU listens, one
 * message of wire.tbl.h in each packet, and a pidfd of that QEMU. The pidfd
 * is what "reaped" rests on: `gone` is called when the kernel has ended every
 * thread of the process, so nothing of it can send or write any more (except
 * what it had already submitted to the kernel).
 */
#ifndef FT_ROLE_VMLINK_H
#define FT_ROLE_VMLINK_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/host/err.h"
#include "logging-channel/wire.h"

struct ft_vmlink;

struct ft_vmlink_ops {
    /* One message from QEMU, VL_HELLO first. Strings in it are borrowed. */
    void (*message)(void *opaque, const struct lc_frame *frame,
                    const struct lc_msg *msg);
    /* The socket is closed (why: borrowed); the process may still live. */
    void (*closed)(void *opaque, const char *why);
    /* The process has ended. May come before or after `closed`. */
    void (*gone)(void *opaque);
};

/*
 * Connect to QEMU. *out is given to the caller. Fails at once when nobody
 * listens. The callbacks come from the loop, or from ft_vmlink_drain(), and
 * may call ft_vmlink_free().
 */
int ft_vmlink_connect(struct ft_vmlink **out, struct ev_loop *loop,
                      const char *path, const struct ft_vmlink_ops *ops,
                      void *opaque, struct ft_err *err);
/* Closes the socket; QEMU does then what its state demands. */
void ft_vmlink_free(struct ft_vmlink *v);

/*
 * Send one message under this pair and generation, with n descriptors
 * (borrowed). A failure also leads to `closed`.
 */
int ft_vmlink_send(struct ft_vmlink *v, const lc_id *pair,
                   uint64_t generation, const struct lc_msg *msg,
                   const int *fds, int n, struct ft_err *err);

/* Hand over now what QEMU has said so far, not only when the loop comes to it.
 * Not from a callback of v's. False: a callback has freed v. */
bool ft_vmlink_drain(struct ft_vmlink *v);

/* SIGKILL, safe against a reused pid. `gone` follows. */
int ft_vmlink_kill(struct ft_vmlink *v, struct ft_err *err);
/* VL_FENCE with the reason, as far as QEMU still reads it, and SIGKILL at
 * once. */
int ft_vmlink_fence(struct ft_vmlink *v, const lc_id *pair,
                    uint64_t generation, const char *why, struct ft_err *err);
pid_t ft_vmlink_pid(const struct ft_vmlink *v);
/* Who runs QEMU. 0, or -1 when the kernel does not say. */
int ft_vmlink_owner(const struct ft_vmlink *v, uid_t *uid, gid_t *gid);

#endif
