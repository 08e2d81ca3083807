/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmlink.c - the agent's end of the vmlink to one QEMU
 *
 * rule 6: what "reaped" means in RELINQUISH (vmlink.h)
 */
#include "role/vmlink.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/host/fdpass.h"
#include "common/host/loop.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* Every message of the vmlink fits, two texts of 255 bytes included. */
#define PACKET_MAX 1024u
/* More than its socket holds: what is read beyond that was sent meanwhile. */
#define DRAIN_MAX 1024u
/* In one turn of the loop: a QEMU that never stops talking does not keep the
 * agent from its other work. */
#define TURN_MAX 64u
/* An honest QEMU says some ten. Each may cost a line of the log. */
#define SECOND_MAX 1000u

struct ft_vmlink {
    struct ev_loop *loop;
    const struct ft_vmlink_ops *ops;
    void *opaque;
    int sock, pidfd;
    pid_t pid;
    uid_t uid;
    gid_t gid;
    bool gone;
    uint64_t sent, received; /* sequence numbers */
    ft_ns second;            /* when it began */
    unsigned said;           /* messages since then */
    struct ft_watch sock_watch, pid_watch;
    struct ft_timer close_later;
    char why[FT_ERR_TEXT];
    bool draining, dead; /* a free while draining waits for its end */
};

/* ---- the end of the socket ---------------------------------------------- */

static void stop_sock(struct ft_vmlink *v)
{
    if (v->sock >= 0) {
        ft_watch_stop(&v->sock_watch);
        close(v->sock);
        v->sock = -1;
    }
}

static void on_close_later(struct ft_timer *t, void *arg)
{
    struct ft_vmlink *v = arg;

    (void)t;
    v->ops->closed(v->opaque, v->why);
}

/* Close now, tell the owner from the loop. */
static void vmlink_fail(struct ft_vmlink *v, const char *why)
{
    if (v->sock >= 0) {
        stop_sock(v);
        snprintf(v->why, sizeof(v->why), "%s", why);
        ft_timer_after(&v->close_later, 0);
    }
}

/* ---- receiving ---------------------------------------------------------- */

static bool talks_too_much(struct ft_vmlink *v)
{
    ft_ns now = ft_monotonic();

    if (now - v->second >= FT_NS_PER_S) {
        v->second = now;
        v->said = 0;
    }
    return ++v->said > SECOND_MAX;
}

static const char *check_frame(struct ft_vmlink *v, const uint8_t *p,
                               size_t n, struct lc_frame *frame,
                               struct lc_msg *msg)
{
    const char *wrong;

    if (talks_too_much(v)) {
        return "QEMU sends messages without end";
    }
    if (n < LC_HEADER_SIZE) {
        return "QEMU sent a packet shorter than its header";
    }
    wrong = lc_decode_frame(frame, p);
    if (wrong != NULL) {
        return wrong;
    }
    if (frame->length != n - LC_HEADER_SIZE) {
        return "QEMU sent a packet whose length differs from its header";
    }
    if (frame->type < LC_VL_HELLO || frame->type > LC_VL_PROGRESS) {
        return "QEMU sent a message that it may not send";
    }
    if ((frame->type == LC_VL_HELLO) != (v->received == 0)) {
        return "QEMU's first message, and no other, must be VL_HELLO";
    }
    v->received++;
    return lc_decode_body(msg, frame->type, p + LC_HEADER_SIZE,
                          n - LC_HEADER_SIZE);
}

/* One packet. Returns false when there is none, or the socket has failed. */
static bool vmlink_receive(struct ft_vmlink *v)
{
    uint8_t packet[PACKET_MAX];
    int fds[FT_FDS_MAX];
    size_t nfds = 0;
    struct lc_frame frame;
    struct lc_msg msg;
    const char *wrong;
    struct ft_err err;
    ssize_t n;

    n = ft_recv_fds(v->sock, packet, sizeof(packet), fds, FT_FDS_MAX, &nfds,
                    &err);
    if (n < 0) {
        if (err.code != EAGAIN && err.code != EINTR) {
            vmlink_fail(v, err.text);
        }
        return false;
    }
    for (size_t i = 0; i < nfds; i++) {
        close(fds[i]); /* QEMU has no reason to send any */
    }
    if (n == 0) {
        vmlink_fail(v, "QEMU closed it");
        return false;
    }
    wrong = check_frame(v, packet, (size_t)n, &frame, &msg);
    if (wrong != NULL) {
        vmlink_fail(v, wrong);
        return false;
    }
    v->ops->message(v->opaque, &frame, &msg);
    return true;
}

static bool receive_some(struct ft_vmlink *v, unsigned most)
{
    v->draining = true;
    while (most-- > 0 && !v->dead && v->sock >= 0 && vmlink_receive(v)) {
    }
    v->draining = false;
    if (v->dead) {
        free(v);
        return false;
    }
    return true;
}

bool ft_vmlink_drain(struct ft_vmlink *v)
{
    return receive_some(v, DRAIN_MAX);
}

static void on_sock(struct ft_watch *w, int events, void *arg)
{
    (void)w, (void)events;
    receive_some(arg, TURN_MAX);
}

static void on_pidfd(struct ft_watch *w, int events, void *arg)
{
    struct ft_vmlink *v = arg;

    (void)events;
    ft_watch_stop(w);
    /* What it said before it died comes first: a power-off must not look
     * like a crash. */
    if (ft_vmlink_drain(v)) {
        v->gone = true;
        v->ops->gone(v->opaque);
    }
}

/* ---- opening ------------------------------------------------------------ */

/* The pid for messages, the pidfd to act on. SO_PEERPIDFD (Linux 6.5) has no
 * race with a pid that is used again. */
static int open_pidfd(struct ft_vmlink *v, const char *path,
                      struct ft_err *err)
{
    struct ucred cred;
    socklen_t n = sizeof(cred);

    if (getsockopt(v->sock, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0) {
        return ft_err_sys(err, errno, "vmlink %s: SO_PEERCRED", path);
    }
    v->pid = cred.pid;
    v->uid = cred.uid;
    v->gid = cred.gid;
    n = sizeof(v->pidfd);
    if (getsockopt(v->sock, SOL_SOCKET, SO_PEERPIDFD, &v->pidfd, &n) == 0) {
        return 0;
    }
    v->pidfd = (int)syscall(SYS_pidfd_open, cred.pid, 0);
    if (v->pidfd < 0) {
        return ft_err_sys(err, errno, "vmlink %s: pidfd of QEMU, pid %d",
                          path, (int)cred.pid);
    }
    return 0;
}

int ft_vmlink_connect(struct ft_vmlink **out, struct ev_loop *loop,
                      const char *path, const struct ft_vmlink_ops *ops,
                      void *opaque, struct ft_err *err)
{
    struct ft_vmlink *v = calloc(1, sizeof(*v));

    if (v == NULL) {
        return ft_err_set(err, ENOMEM, "vmlink %s: out of memory", path);
    }
    v->loop = loop;
    v->ops = ops;
    v->opaque = opaque;
    v->pidfd = -1;
    v->sock = ft_unix_connect(path, SOCK_SEQPACKET, err);
    if (v->sock < 0 || open_pidfd(v, path, err) < 0) {
        goto out;
    }
    ft_watch_init(&v->sock_watch, loop, v->sock, on_sock, v);
    ft_watch_init(&v->pid_watch, loop, v->pidfd, on_pidfd, v);
    ft_timer_init(&v->close_later, loop, on_close_later, v);
    ft_watch_set(&v->sock_watch, EV_READ);
    ft_watch_set(&v->pid_watch, EV_READ);
    *out = v;
    return 0;
out:
    if (v->sock >= 0) {
        close(v->sock);
    }
    free(v);
    return -1;
}

void ft_vmlink_free(struct ft_vmlink *v)
{
    if (v == NULL) {
        return;
    }
    stop_sock(v);
    ft_timer_stop(&v->close_later);
    ft_watch_stop(&v->pid_watch);
    close(v->pidfd);
    if (v->draining) {
        v->dead = true;
        return;
    }
    free(v);
}

/* ---- sending ------------------------------------------------------------ */

int ft_vmlink_send(struct ft_vmlink *v, const lc_id *pair,
                   uint64_t generation, const struct lc_msg *msg,
                   const int *fds, int n, struct ft_err *err)
{
    struct lc_frame frame = { .sequence = v->sent + 1,
                              .generation = generation,
                              .pair = *pair };
    uint8_t packet[PACKET_MAX];
    struct ft_err local;
    size_t bytes;

    err = err != NULL ? err : &local;
    if (v->sock < 0) {
        return ft_err_set(err, ENOTCONN, "vmlink: send %s: it is closed",
                          lc_type_name(msg->type));
    }
    bytes = lc_encode(packet, sizeof(packet), &frame, msg);
    if (bytes == 0) {
        return ft_err_set(err, EINVAL, "vmlink: message %#x does not fit",
                          (unsigned)msg->type);
    }
    v->sent++;
    /* A few small messages a session: a full socket buffer means that QEMU
     * has not read for long, so that counts as a failure too. */
    if (ft_send_fds(v->sock, packet, bytes, fds, (size_t)n, err) < 0) {
        ft_err_prefix(err, "vmlink: send %s", lc_type_name(msg->type));
        vmlink_fail(v, err->text);
        return -1;
    }
    return 0;
}

int ft_vmlink_kill(struct ft_vmlink *v, struct ft_err *err)
{
    if (v->gone) {
        return 0;
    }
    if (syscall(SYS_pidfd_send_signal, v->pidfd, SIGKILL, NULL, 0) < 0 &&
        errno != ESRCH) {
        return ft_err_sys(err, errno, "SIGKILL to QEMU, pid %d", (int)v->pid);
    }
    return 0;
}

int ft_vmlink_fence(struct ft_vmlink *v, const lc_id *pair,
                    uint64_t generation, const char *why, struct ft_err *err)
{
    struct lc_msg m = { .type = LC_VL_FENCE };

    lc_set_str(&m.u.vl_fence.text, why);
    ft_vmlink_send(v, pair, generation, &m, NULL, 0, err);
    return ft_vmlink_kill(v, err);
}

pid_t ft_vmlink_pid(const struct ft_vmlink *v)
{
    return v->pid;
}

int ft_vmlink_owner(const struct ft_vmlink *v, uid_t *uid, gid_t *gid)
{
    *uid = v->uid;
    *gid = v->gid;
    return v->sock >= 0 ? 0 : -1;
}
