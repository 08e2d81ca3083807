/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmlink-pair - be the agents of several QEMUs, by hand
 *
 * Theory of Operation
 *
 * Speaks the vmlink to each QEMU, makes the rings, relays a clone's stream and
 * pumps log batches from the recorder's ring into the replica's, all in one
 * process and one poll loop. So the engine can be tested without network, TLS
 * and arbiter, and the log can be cut exactly at any batch boundary.
 *
 * Commands, one a line on standard input, run in order; what QEMU says is
 * printed as it comes. Any failure ends the program with status 1.
 *
 *   connect NAME PATH         connect to a QEMU's vmlink socket
 *   drop NAME                 close that connection
 *   clone A B GEN [DOWNTIME]  clone A into B as generation GEN
 *   gate A free|shut|rule     set A's gate
 *   hold on|off               stop or go on acknowledging
 *   cut N                     pump no batch beyond position N (0: all)
 *   cut +N                    the same, N batches from here
 *   stream N                  pass no more than N bytes of a stream (0: all)
 *   wait NAME MESSAGE [SEC]   until QEMU has said it (since the last wait)
 *   reach N|cut [SEC]         until batch N is pumped
 *   executed B [SEC]          until B has executed all that was pumped
 *   probe B | golive B | goalone A | fence A | cancel A
 *   kill NAME                 SIGKILL, by the pid of the greeting
 *   run MS                    let time pass
 *   position                  print positions
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "ring.h"
#include "wire.h"

#define ENDS 32
#define LEASE_NS 1000000000ull
#define RELAY_BUF (256u << 10)

struct end {
    char name[16];
    int sock;
    pid_t pid;
    uint64_t sequence;
    uint64_t generation;
    lc_id pair;
    struct ft_ring ring;
    void *map;
    int data, space, gate;
    unsigned seen[64]; /* messages of code 0x80 + i since the last wait */
};

static struct end ends[ENDS];
static struct end *source, *sink;
static uint64_t pumped, limit;
static bool hold;

/* The clone's stream: from a listening socket to B's socket. */
static struct {
    int listener, from, to;
    char b_path[108];
} relay = { -1, -1, -1, "" };
static uint64_t stream_limit, stream_passed;

static const char *dir;

static void fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    printf("FAILED ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    exit(1);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void wake(int fd)
{
    uint64_t one = 1;

    if (fd >= 0 && write(fd, &one, sizeof one) < 0 && errno != EAGAIN) {
        fail("eventfd: %s", strerror(errno));
    }
}

static void drain(int fd)
{
    uint64_t n;

    while (read(fd, &n, sizeof n) > 0) {
    }
}

static struct end *find(const char *name)
{
    for (int i = 0; name && i < ENDS; i++) {
        if (!strcmp(ends[i].name, name)) {
            return &ends[i];
        }
    }
    fail("no QEMU is called %s", name ? name : "(nothing)");
    return NULL;
}

static int unix_connect(const char *path, int type, bool must)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
    for (int i = 0; i < 250; i++) {
        if (!connect(fd, (struct sockaddr *)&sun, sizeof sun)) {
            return fd;
        }
        if (!must) {
            break;
        }
        usleep(20000);
    }
    close(fd);
    if (must) {
        fail("connect %s: %s", path, strerror(errno));
    }
    return -1;
}

static int unix_listen(const char *path)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
    unlink(path);
    if (bind(fd, (struct sockaddr *)&sun, sizeof sun) || listen(fd, 1)) {
        fail("listen %s: %s", path, strerror(errno));
    }
    return fd;
}

/* ---- vmlink ------------------------------------------------------------- */

static void send_msg(struct end *e, struct lc_msg *m, const int *fds,
                     int nfds)
{
    struct lc_frame frame = { .sequence = ++e->sequence,
                              .generation = e->generation,
                              .pair = e->pair };
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(4 * sizeof(int))];
    } control;
    uint8_t buf[2048];
    struct iovec iov = { buf, lc_encode(buf, sizeof buf, &frame, m) };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (nfds) {
        struct cmsghdr *c;

        h.msg_control = &control;
        h.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
        c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, (size_t)nfds * sizeof(int));
    }
    if (sendmsg(e->sock, &h, MSG_NOSIGNAL) < 0) {
        fail("%s: send %s: %s", e->name, lc_type_name(m->type),
             strerror(errno));
    }
}

static void send_type(struct end *e, uint16_t type)
{
    struct lc_msg m = { .type = type };

    send_msg(e, &m, NULL, 0);
}

static void print_msg(struct end *e, const struct lc_msg *m)
{
    printf("%s %s", e->name, lc_type_name(m->type));
    switch (m->type) {
    case LC_VL_HELLO:
        printf(" state=%u incoming=%u position=%" PRIu64 " pid=%u qemu=%s",
               m->u.vl_hello.state, m->u.vl_hello.incoming,
               m->u.vl_hello.position, m->u.vl_hello.pid,
               m->u.vl_hello.qemu.s);
        e->pid = (pid_t)m->u.vl_hello.pid;
        break;
    case LC_VL_CLONED:
        printf(" pause_us=%" PRIu64, m->u.vl_cloned.pause_ns / 1000);
        break;
    case LC_VL_FAILED:
        printf(" %s: %s", lc_type_name(m->u.vl_failed.command),
               m->u.vl_failed.text.s);
        break;
    case LC_VL_DISK:
        printf(" ok=%u %s", m->u.vl_disk.ok, m->u.vl_disk.text.s);
        break;
    case LC_VL_LIVE:
        printf(" position=%" PRIu64 " reissued=%u", m->u.vl_live.position,
               m->u.vl_live.reissued);
        break;
    case LC_VL_ALONE:
        printf(" position=%" PRIu64, m->u.vl_alone.position);
        break;
    case LC_VL_DIVERGED:
        printf(" position=%" PRIu64 " %s", m->u.vl_diverged.position,
               m->u.vl_diverged.text.s);
        break;
    case LC_VL_ENDED:
        printf(" position=%" PRIu64 " reason=%u", m->u.vl_ended.position,
               m->u.vl_ended.reason);
        break;
    case LC_VL_PROGRESS:
        printf(" sent=%" PRIu64 " remaining=%" PRIu64, m->u.vl_progress.sent,
               m->u.vl_progress.remaining);
        break;
    default:
        break;
    }
    printf("\n");
}

static void on_packet(struct end *e)
{
    uint8_t buf[2048];
    ssize_t n = recv(e->sock, buf, sizeof buf, MSG_DONTWAIT);
    struct lc_frame frame;
    struct lc_msg m;
    const char *wrong;

    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        printf("%s closed\n", e->name);
        close(e->sock);
        e->sock = -1;
        e->seen[63]++;
        return;
    }
    wrong = n < LC_HEADER_SIZE ? "short" : lc_decode_frame(&frame, buf);
    if (!wrong) {
        wrong = lc_decode_body(&m, frame.type, buf + LC_HEADER_SIZE,
                               (size_t)n - LC_HEADER_SIZE);
    }
    if (wrong) {
        fail("%s: bad message: %s", e->name, wrong);
    }
    print_msg(e, &m);
    if (m.type >= 0x80 && m.type < 0x80 + 63) {
        e->seen[m.type - 0x80]++;
    }
}

static void new_ring(struct end *e, int fds[4])
{
    uint64_t size = 2 * (uint64_t)FT_BATCH_MAX;

    if (e->map) {
        munmap(e->map, FT_RING_DATA + size);
        close(e->data);
        close(e->space);
        close(e->gate);
    }
    fds[0] = memfd_create("ring", MFD_CLOEXEC);
    if (ftruncate(fds[0], (off_t)(FT_RING_DATA + size))) {
        fail("ftruncate: %s", strerror(errno));
    }
    e->map = mmap(NULL, FT_RING_DATA + size, PROT_READ | PROT_WRITE,
                  MAP_SHARED, fds[0], 0);
    ft_ring_init(&e->ring, e->map, size);
    e->data = fds[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    e->space = fds[2] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    e->gate = fds[3] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

/* ---- the pump ----------------------------------------------------------- */

static void acknowledge(void)
{
    struct ft_ring_page *p;

    if (!source || hold) {
        return;
    }
    p = source->ring.page;
    __atomic_store_n(&p->lease_until, now_ns(CLOCK_BOOTTIME) + LEASE_NS,
                     __ATOMIC_RELEASE);
    if (p->acked != pumped) {
        __atomic_store_n(&p->acked, pumped, __ATOMIC_RELEASE);
        wake(source->gate);
    }
}

static bool pump(void)
{
    static uint8_t buf[FT_BATCH_MAX + 64];
    bool moved = false;
    struct ft_batch b;

    while (source && (!limit || pumped < limit)) {
        int r = ft_ring_peek(&source->ring, 0, pumped + 1, &b);
        uint64_t n;

        if (r == 0) {
            ft_ring_announce_wait(&source->ring.page->consumer_waits);
            r = ft_ring_peek(&source->ring, 0, pumped + 1, &b);
        }
        if (r == 0) {
            break;
        }
        if (r < 0) {
            fail("%s: malformed batch after %" PRIu64, source->name, pumped);
        }
        n = ft_batch_size(b.length);
        if (sink && !ft_ring_has_space(&sink->ring, n)) {
            ft_ring_announce_wait(&sink->ring.page->producer_waits);
            if (!ft_ring_has_space(&sink->ring, n)) {
                break;
            }
        }
        ft_ring_copy(&source->ring, 0, buf, n);
        if (ft_ring_take(&source->ring, n)) {
            wake(source->space);
        }
        pumped = b.position;
        if (sink && ft_ring_put_framed(&sink->ring, pumped, buf, n)) {
            wake(sink->data);
        }
        moved = true;
    }
    if (moved) {
        acknowledge();
    }
    return moved;
}

/* ---- the clone's stream ------------------------------------------------- */

static void relay_step(void)
{
    static uint8_t buf[RELAY_BUF];
    ssize_t n;

    if (relay.listener >= 0) {
        struct pollfd p = { relay.listener, POLLIN, 0 };

        if (poll(&p, 1, 0) > 0) {
            relay.from = accept4(relay.listener, NULL, NULL, SOCK_CLOEXEC);
            close(relay.listener);
            relay.listener = -1;
        }
    }
    if (relay.from < 0) {
        return;
    }
    if (relay.to < 0) {
        relay.to = unix_connect(relay.b_path, SOCK_STREAM, false);
        if (relay.to < 0) {
            return;
        }
    }
    for (int i = 0; i < 64; i++) {
        struct pollfd p = { relay.from, POLLIN, 0 };

        if ((stream_limit && stream_passed >= stream_limit) ||
            poll(&p, 1, 0) <= 0) {
            return;
        }
        n = read(relay.from, buf,
                 stream_limit && stream_limit - stream_passed < sizeof buf
                     ? stream_limit - stream_passed
                     : sizeof buf);
        if (n <= 0) {
            close(relay.from);
            close(relay.to);
            relay.from = relay.to = -1;
            return;
        }
        stream_passed += (uint64_t)n;
        for (ssize_t at = 0; at < n;) {
            ssize_t w = send(relay.to, buf + at, (size_t)(n - at),
                             MSG_NOSIGNAL);

            if (w < 0) {
                printf("stream: %s\n", strerror(errno));
                close(relay.from);
                close(relay.to);
                relay.from = relay.to = -1;
                return;
            }
            at += w;
        }
    }
}

/* ---- one turn of the loop ----------------------------------------------- */

static void turn(int timeout_ms)
{
    struct pollfd p[ENDS + 4];
    int n = 0;

    if (pump()) {
        timeout_ms = 0;
    }
    acknowledge();
    for (int i = 0; i < ENDS; i++) {
        if (ends[i].name[0] && ends[i].sock >= 0) {
            p[n++] = (struct pollfd){ ends[i].sock, POLLIN, 0 };
        }
    }
    if (source) {
        p[n++] = (struct pollfd){ source->data, POLLIN, 0 };
    }
    if (sink) {
        p[n++] = (struct pollfd){ sink->space, POLLIN, 0 };
    }
    if (relay.listener >= 0) {
        p[n++] = (struct pollfd){ relay.listener, POLLIN, 0 };
    }
    if (relay.from >= 0) {
        p[n++] = (struct pollfd){ relay.from, POLLIN, 0 };
    }
    poll(p, (nfds_t)n, timeout_ms < 50 ? timeout_ms : 50);
    if (source) {
        drain(source->data);
    }
    if (sink) {
        drain(sink->space);
    }
    for (int i = 0; i < ENDS; i++) {
        if (ends[i].name[0] && ends[i].sock >= 0) {
            on_packet(&ends[i]);
        }
    }
    relay_step();
    pump();
}

/* ---- commands ----------------------------------------------------------- */

static uint64_t deadline;

static void begin_wait(const char *seconds)
{
    double s = seconds ? atof(seconds) : 120;

    deadline = now_ns(CLOCK_MONOTONIC) + (uint64_t)(s * 1e9);
}

static bool still_waiting(void)
{
    if (now_ns(CLOCK_MONOTONIC) >= deadline) {
        return false;
    }
    turn(20);
    return true;
}

static void start_pair(struct end *a, struct end *b, uint64_t generation,
                       unsigned downtime_ms)
{
    struct lc_msg m = { 0 };
    char path[108];
    int fds[4];

    stream_passed = 0;
    pumped = 0;
    sink = b;
    b->generation = generation;
    memset(&b->pair, 0x5a, sizeof b->pair);
    snprintf(relay.b_path, sizeof relay.b_path, "%s/clone-%s-%d", dir,
             b->name, (int)getpid());
    new_ring(b, fds);
    m.type = LC_VL_INCOMING;
    lc_set_str(&m.u.vl_incoming.path, relay.b_path);
    send_msg(b, &m, fds, 4);
    close(fds[0]);

    source = a;
    snprintf(path, sizeof path, "%s/clone-%s-%d", dir, a->name,
             (int)getpid());
    relay.listener = unix_listen(path);
    a->generation = generation;
    a->pair = b->pair;
    new_ring(a, fds);
    memset(&m, 0, sizeof m);
    m.type = LC_VL_CLONE;
    m.u.vl_clone.downtime_ms = downtime_ms;
    lc_set_str(&m.u.vl_clone.path, path);
    send_msg(a, &m, fds, 4);
    close(fds[0]);
}

static uint64_t executed_by(struct end *b)
{
    return __atomic_load_n(&b->ring.page->executed, __ATOMIC_ACQUIRE);
}

static void cmd_wait(struct end *e, const char *what, const char *seconds)
{
    int code = -1;

    if (!strcmp(what, "closed")) {
        code = 63;
    }
    for (uint16_t t = 0x80; t < 0xa0 && code < 0; t++) {
        if (lc_type_name(t) && !strcmp(lc_type_name(t), what)) {
            code = t - 0x80;
        }
    }
    if (code < 0) {
        fail("no message is called %s", what);
    }
    begin_wait(seconds);
    while (!e->seen[code]) {
        if (!still_waiting()) {
            fail("%s did not say %s", e->name, what);
        }
    }
    e->seen[code] = 0;
}

static void command(char *line)
{
    char *w[6] = { 0 };
    int n = 0;

    for (char *s = strtok(line, " \t\n"); s && n < 6;
         s = strtok(NULL, " \t\n")) {
        w[n++] = s;
    }
    if (!n || w[0][0] == '#') {
        return;
    }
    if (!strcmp(w[0], "connect") && n == 3) {
        struct end *e = NULL;

        for (int i = 0; i < ENDS; i++) {
            if (!strcmp(ends[i].name, w[1])) {
                e = &ends[i];
                break;
            }
            if (!e && !ends[i].name[0]) {
                e = &ends[i];
            }
        }
        if (!e) {
            fail("too many QEMUs");
        }
        snprintf(e->name, sizeof e->name, "%s", w[1]);
        e->sock = unix_connect(w[2], SOCK_SEQPACKET, true);
        e->sequence = 0;
        cmd_wait(e, "VL_HELLO", NULL);
    } else if (!strcmp(w[0], "drop")) {
        struct end *e = find(w[1]);

        close(e->sock);
        e->sock = -1;
    } else if (!strcmp(w[0], "clone") && n >= 4) {
        start_pair(find(w[1]), find(w[2]), strtoull(w[3], NULL, 10),
                   w[4] ? (unsigned)atoi(w[4]) : 300);
    } else if (!strcmp(w[0], "gate") && n == 3) {
        struct end *a = find(w[1]);
        uint64_t g = !strcmp(w[2], "free") ? FT_GATE_FREE
                   : !strcmp(w[2], "shut") ? FT_GATE_SHUT
                                           : FT_GATE_RULE;

        acknowledge();
        __atomic_store_n(&a->ring.page->gate, g, __ATOMIC_RELEASE);
        wake(a->gate);
    } else if (!strcmp(w[0], "hold") && n == 2) {
        hold = !strcmp(w[1], "on");
    } else if (!strcmp(w[0], "cut") && n == 2) {
        limit = w[1][0] == '+' ? pumped + strtoull(w[1] + 1, NULL, 10)
                               : strtoull(w[1], NULL, 10);
    } else if (!strcmp(w[0], "stream") && n == 2) {
        stream_limit = strtoull(w[1], NULL, 10);
    } else if (!strcmp(w[0], "wait") && n >= 3) {
        cmd_wait(find(w[1]), w[2], w[3]);
    } else if (!strcmp(w[0], "reach") && n >= 2) {
        uint64_t to = !strcmp(w[1], "cut") ? limit : strtoull(w[1], NULL, 10);

        begin_wait(w[2]);
        while (pumped < to) {
            if (!still_waiting()) {
                fail("the log did not reach %" PRIu64 ", only %" PRIu64, to,
                     pumped);
            }
        }
    } else if (!strcmp(w[0], "executed") && n >= 2) {
        struct end *b = find(w[1]);
        uint64_t to = pumped;

        begin_wait(w[2]);
        while (executed_by(b) < to) {
            if (!still_waiting()) {
                fail("%s executed %" PRIu64 " of %" PRIu64, b->name,
                     executed_by(b), to);
            }
        }
    } else if (!strcmp(w[0], "probe")) {
        send_type(find(w[1]), LC_VL_PROBE);
    } else if (!strcmp(w[0], "golive")) {
        struct lc_msg m = { .type = LC_VL_GO_LIVE };

        m.u.vl_go_live.last = pumped;
        send_msg(find(w[1]), &m, NULL, 0);
        if (sink == find(w[1])) {
            source = sink = NULL;
        }
    } else if (!strcmp(w[0], "goalone")) {
        send_type(find(w[1]), LC_VL_GO_ALONE);
    } else if (!strcmp(w[0], "fence")) {
        send_type(find(w[1]), LC_VL_FENCE);
    } else if (!strcmp(w[0], "cancel")) {
        send_type(find(w[1]), LC_VL_CANCEL);
    } else if (!strcmp(w[0], "kill")) {
        struct end *e = find(w[1]);

        kill(e->pid, SIGKILL);
        if (e == source) {
            turn(0); /* what it had committed is still in the ring */
            source = NULL;
        }
    } else if (!strcmp(w[0], "run") && n == 2) {
        uint64_t until = now_ns(CLOCK_MONOTONIC) +
                         strtoull(w[1], NULL, 10) * 1000000;

        while (now_ns(CLOCK_MONOTONIC) < until) {
            turn(10);
        }
    } else if (!strcmp(w[0], "position")) {
        printf("position pumped=%" PRIu64 " committed=%" PRIu64
               " executed=%" PRIu64 "\n",
               pumped, source ? source->ring.page->committed : 0,
               sink ? executed_by(sink) : 0);
    } else {
        fail("what is '%s'?", w[0]);
    }
}

int main(int argc, char **argv)
{
    char line[512];

    if (argc != 2) {
        fprintf(stderr, "Usage: vmlink-pair DIRECTORY < commands\n");
        return 2;
    }
    dir = argv[1];
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0); /* poll must see every line */
    for (int i = 0; i < ENDS; i++) {
        ends[i].sock = -1;
    }
    for (;;) {
        struct pollfd p = { 0, POLLIN, 0 };

        while (poll(&p, 1, 0) == 0) {
            turn(10);
        }
        if (!fgets(line, sizeof line, stdin)) {
            break;
        }
        printf("> %s", line);
        command(line);
    }
    printf("done\n");
    return 0;
}
