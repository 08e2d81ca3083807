/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the vmlink, QEMU's socket to the agent
 *
 * A listening SOCK_SEQPACKET socket; one packet is one message of
 * logging-channel/wire.tbl.h with its header, descriptors ride along with
 * SCM_RIGHTS. One client at a time: while one is connected another is turned
 * away, but a dead one is replaced. All of it runs in the main loop, with the
 * replay lock and the BQL held.
 *
 * What the loss of the agent means depends on the state: a recording QEMU
 * stops its guest and lets nothing out, a replaying one leaves, and any other
 * runs on and waits for the next agent.
 *
 * rule 6
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/un.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu-version.h"
#include "system/runstate.h"
#include "internal.h"

#define PACKET_MAX 2048
#define FDS_MAX 8
/* The agent took its decision; QEMU only ends. */
#define STATUS_FENCED 3

typedef struct Packet {
    size_t length;
    uint8_t bytes[];
} Packet;

static struct {
    char *path;
    int listener, client;
    uint64_t sequence;
    GQueue queue;
} vl = { .listener = -1, .client = -1, .queue = G_QUEUE_INIT };

static void on_read(void *opaque);
static void on_write(void *opaque);

void lockstep_exit(int status)
{
    if (vl.path) {
        unlink(vl.path);
    }
    _exit(status);
}

/* ---- sending ------------------------------------------------------------ */

static void drop_client(void)
{
    if (vl.client >= 0) {
        qemu_set_fd_handler(vl.client, NULL, NULL, NULL);
        close(vl.client);
        vl.client = -1;
        g_queue_clear_full(&vl.queue, g_free);
    }
}

/* Rule 6: a recording QEMU whose agent is gone shuts its gate by itself; no
 * lease can be renewed any more. */
static void client_lost(void)
{
    drop_client();
    switch (lockstep_state()) {
    case LOCKSTEP_REPLAY:
        error_report("lockstep: the agent is gone, so is this replica");
        lockstep_exit(1);
    case LOCKSTEP_RECORD:
        error_report("lockstep: the agent is gone: the guest is stopped and "
                     "nothing is let out until another one decides");
        lockstep_gate_shut();
        if (lockstep.phase == LOCKSTEP_RECORD_RUNS) {
            lockstep_set_phase(LOCKSTEP_RECORD_ORPHANED);
        }
        lockstep_kick_vcpu();
        break;
    case LOCKSTEP_NONE:
        if (lockstep_incoming()) {
            lockstep_exit(1);
        }
        lockstep_clone_cancel();
        break;
    }
}

/* Sends what it can. A broken link is noticed by the reader. */
static void flush_queue(void)
{
    Packet *p;

    while (vl.client >= 0 && (p = g_queue_peek_head(&vl.queue))) {
        ssize_t n = send(vl.client, p->bytes, p->length,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        g_free(g_queue_pop_head(&vl.queue));
    }
    if (vl.client >= 0) {
        qemu_set_fd_handler(vl.client, on_read,
                            g_queue_is_empty(&vl.queue) ? NULL : on_write,
                            NULL);
    }
}

static void on_write(void *opaque)
{
    flush_queue();
}

void lockstep_link_send(struct lc_msg *m)
{
    struct lc_frame frame = { .generation = lockstep.generation };
    Packet *p;

    if (vl.client < 0) {
        return;
    }
    frame.sequence = ++vl.sequence;
    memcpy(frame.pair.b, lockstep.pair, sizeof(frame.pair.b));
    p = g_malloc(sizeof(*p) + PACKET_MAX);
    p->length = lc_encode(p->bytes, PACKET_MAX, &frame, m);
    g_assert(p->length);
    g_queue_push_tail(&vl.queue, p);
    flush_queue();
}

void lockstep_link_failed(uint16_t command, const char *text)
{
    struct lc_msg m = { .type = LC_VL_FAILED };

    m.u.vl_failed.command = command;
    lc_set_str(&m.u.vl_failed.text, text);
    error_report("lockstep: %s failed: %s", lc_type_name(command), text);
    lockstep_link_send(&m);
}

static void send_hello(void)
{
    struct lc_msg m = { .type = LC_VL_HELLO };

    m.u.vl_hello.state = lockstep_state();
    m.u.vl_hello.incoming = runstate_check(RUN_STATE_INMIGRATE);
    m.u.vl_hello.position = lockstep_position();
    m.u.vl_hello.pid = getpid();
    lc_set_str(&m.u.vl_hello.qemu, QEMU_FULL_VERSION);
    lockstep_link_send(&m);
    lockstep_diverged_report();
}

/* ---- receiving ---------------------------------------------------------- */

static void close_fds(int *fds, int nfds)
{
    for (int i = 0; i < nfds; i++) {
        close(fds[i]);
    }
}

static void text_of(const lc_str *s, char out[256])
{
    memcpy(out, s->s, s->n);
    out[s->n] = 0;
}

/* Takes the descriptors. */
static void start_session(const struct lc_frame *frame, uint16_t command,
                          const lc_str *path, unsigned downtime_ms,
                          int *fds, int nfds)
{
    Error *err = NULL;
    char text[256];

    text_of(path, text);
    if (lockstep.stream != LOCKSTEP_STREAM_NONE ||
        lockstep_state() != LOCKSTEP_NONE) {
        close_fds(fds, nfds);
        lockstep_link_failed(command, "this QEMU is part of a pair already");
        return;
    }
    if (!lockstep_session_open(&frame->pair, frame->generation, fds, nfds,
                               &err)) {
        close_fds(fds, nfds);
    } else {
        if (command == LC_VL_CLONE) {
            lockstep_clone(text, downtime_ms, &err);
        } else {
            lockstep_incoming_listen(text, &err);
        }
        if (err) {
            lockstep_session_close();
        }
    }
    if (err) {
        lockstep_link_failed(command, error_get_pretty(err));
        error_free(err);
    }
}

static void probe(void)
{
    struct lc_msg m = { .type = LC_VL_DISK };
    Error *err = NULL;

    m.u.vl_disk.ok = lockstep_parts_probe(&err);
    lc_set_str(&m.u.vl_disk.text, err ? error_get_pretty(err) : "");
    error_free(err);
    lockstep_link_send(&m);
}

/* Is this command about the session that runs? */
static bool is_current(const struct lc_frame *frame, uint16_t command)
{
    if (frame->generation == lockstep.generation &&
        !memcmp(frame->pair.b, lockstep.pair, sizeof(lockstep.pair))) {
        return true;
    }
    lockstep_link_failed(command, "it is for another pair or generation");
    return false;
}

static void handle(const struct lc_frame *frame, const struct lc_msg *m,
                   int *fds, int nfds)
{
    char text[256];

    switch (m->type) {
    case LC_VL_CLONE:
        start_session(frame, m->type, &m->u.vl_clone.path,
                      m->u.vl_clone.downtime_ms, fds, nfds);
        return;
    case LC_VL_INCOMING:
        start_session(frame, m->type, &m->u.vl_incoming.path, 0, fds, nfds);
        return;
    case LC_VL_CANCEL:
        if (lockstep_incoming()) {
            lockstep_exit(0);
        }
        lockstep_clone_cancel();
        break;
    case LC_VL_PROBE:
        probe();
        break;
    case LC_VL_GO_LIVE:
        if (is_current(frame, m->type)) {
            lockstep_go_live(m->u.vl_go_live.last);
        }
        break;
    case LC_VL_GO_ALONE:
        if (is_current(frame, m->type)) {
            lockstep_go_alone();
        }
        break;
    case LC_VL_FENCE:
        text_of(&m->u.vl_fence.text, text);
        error_report("lockstep: fenced: %s", text);
        lockstep_exit(STATUS_FENCED);
    default:
        error_report("lockstep: the agent sent %s", lc_type_name(m->type));
        break;
    }
    close_fds(fds, nfds);
}

/* One packet. Returns false at the link's end. */
static bool receive(void)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control;
    uint8_t bytes[PACKET_MAX];
    struct iovec iov = { bytes, sizeof(bytes) };
    struct msghdr h = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = &control, .msg_controllen = sizeof(control),
    };
    struct lc_frame frame;
    struct cmsghdr *c;
    struct lc_msg m;
    const char *wrong;
    int fds[FDS_MAX], nfds = 0;
    ssize_t n;

    n = recvmsg(vl.client, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (n == 0) {
        return false;
    }
    for (c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            nfds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(c), nfds * sizeof(int));
        }
    }
    wrong = n < LC_HEADER_SIZE ? "it is too short"
                               : lc_decode_frame(&frame, bytes);
    if (!wrong) {
        wrong = lc_decode_body(&m, frame.type, bytes + LC_HEADER_SIZE,
                               n - LC_HEADER_SIZE);
    }
    if (wrong) {
        error_report("lockstep: bad message from the agent: %s", wrong);
        close_fds(fds, nfds);
        return false;
    }
    handle(&frame, &m, fds, nfds);
    return true;
}

static void on_read(void *opaque)
{
    if (!receive()) {
        client_lost();
    }
}

static void on_accept(void *opaque)
{
    int fd = accept4(vl.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        return;
    }
    if (vl.client >= 0) {
        GPollFD p = { .fd = vl.client, .events = G_IO_IN };

        /* Take what a dead one left, so that its end is noticed. */
        while (vl.client >= 0 && qemu_poll_ns(&p, 1, 0) > 0) {
            on_read(NULL);
        }
    }
    if (vl.client >= 0) {
        close(fd);
        return;
    }
    vl.client = fd;
    vl.sequence = 0;
    qemu_set_fd_handler(fd, on_read, NULL, NULL);
    send_hello();
}

void lockstep_link_open(const char *path, Error **errp)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(path) >= sizeof(sun.sun_path)) {
        error_setg(errp, "path '%s' is too long for a socket", path);
        return;
    }
    strcpy(sun.sun_path, path);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        error_setg_errno(errp, errno, "cannot make a socket");
        return;
    }
    unlink(path);
    if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ||
        listen(fd, 4) < 0) {
        error_setg_errno(errp, errno, "cannot listen on %s", path);
        close(fd);
        return;
    }
    vl.path = g_strdup(path);
    vl.listener = fd;
    qemu_set_fd_handler(fd, on_accept, NULL, NULL);
}
