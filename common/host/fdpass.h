/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fdpass.h - bytes with descriptors over UNIX sockets (SCM_RIGHTS)
 *
 * For SOCK_SEQPACKET (one call, one packet) and SOCK_STREAM. Received
 * descriptors are close-on-exec and belong to the caller.
 */
#ifndef FT_HOST_FDPASS_H
#define FT_HOST_FDPASS_H

#include <stddef.h>
#include <sys/types.h>

#include "common/host/err.h"

#define FT_FDS_MAX 8

/* Send n bytes (at least 1) with nfds descriptors; borrows the descriptors.
 * Returns the bytes sent (all of them on SEQPACKET), or -1; err->code EAGAIN
 * when a non-blocking socket is full: then nothing was sent. */
ssize_t ft_send_fds(int sock, const void *buf, size_t n, const int *fds,
                    size_t nfds, struct ft_err *err);
/* Receive up to cap bytes and up to max_fds (<= FT_FDS_MAX) descriptors into
 * fds, their number into *nfds. 0: the peer closed. -1: err; EAGAIN: nothing
 * there; EMSGSIZE: the packet or its descriptors did not fit (they are
 * closed). */
ssize_t ft_recv_fds(int sock, void *buf, size_t cap, int *fds, size_t max_fds,
                    size_t *nfds, struct ft_err *err);

/* UNIX sockets. type: SOCK_STREAM or SOCK_SEQPACKET; the results are
 * non-blocking and close-on-exec. listen: replaces a stale socket file; the new
 * one has `mode`, less the umask, from its first moment. Both refuse a path
 * that does not fit, naming it. */
int ft_unix_listen(const char *path, int type, unsigned mode,
                   struct ft_err *err);
int ft_unix_connect(const char *path, int type, struct ft_err *err);
/* Does a process of this network namespace listen on a socket that was bound to
 * this path? The kernel is asked, nobody is connected to. 1, 0, or -1: not
 * known. */
int ft_unix_has_listener(const char *path);

#endif
