/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake-qemu.c - a stand-in for QEMU that speaks the vmlink
 *
 *     fake-qemu SOCKET OUTPUT NAME [incoming] [payload=BYTES]
 *               [hostile=bells|flood|log|silence]
 *
 * Its "guest" is a counter. While it runs, each tick (5 ms) adds one and
 * makes one output: the line "ns NAME state position counter", appended to
 * OUTPUT, the outside world that both sides share. The rules are QEMU's: in
 * RECORD each tick is a batch and its output waits for the gate; a lost
 * vmlink stops the guest; in REPLAY batches are executed, outputs are
 * swallowed, and a lost vmlink ends it. The clone's stream is the counter and
 * a megabyte of padding.
 *
 * SIGUSR1: the guest powers off. SIGUSR2: the disk cannot be reached (toggle),
 * or a hostile QEMU begins what its guest made it do:
 *   bells    makes every bell blocking, fills each, empties none
 *   flood    says VL_PROGRESS as fast as it is read
 *   log      writes log without end, ringing for each batch
 *   silence  closes its ends of the bells
 * It never ends by itself, and ignores VL_FENCE.
 */
#include "common/bytes.h"
#include "role/vmring.h"
#include "logging-channel/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS 5000000ll
#define STREAM_PAD (1u << 20)
#define HELD_MAX 100000

static const char *name, *link_path;
static FILE *output;
static int listener = -1, peer = -1;
static enum lc_vl_state state;
static bool incoming, stopped, powering_off;
static uint64_t counter, position, go_live_last;
static lc_id pair;
static uint64_t generation;
static struct ft_vmring ring;
static struct {
    uint64_t position, counter;
} held[HELD_MAX];
static size_t held_n;
static uint8_t payload[FT_BATCH_MAX];
static uint32_t payload_n = 64;
static volatile sig_atomic_t power_off, no_disk;
static const char *hostile;

static void die(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fprintf(stderr, "fake-qemu %s: ", name);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    _exit(1);
}

static int64_t now(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static void put_output(uint64_t at, uint64_t value)
{
    fprintf(output, "%lld %s %d %llu %llu\n", (long long)now(CLOCK_MONOTONIC),
            name, (int)state, (unsigned long long)at,
            (unsigned long long)value);
    fflush(output);
}

static bool send_msg(const struct lc_msg *m)
{
    struct lc_frame f = { .pair = pair, .generation = generation };
    uint8_t buf[1024];
    size_t n = lc_encode(buf, sizeof(buf), &f, m);

    if (peer >= 0 && send(peer, buf, n, MSG_NOSIGNAL) < 0) {
        fprintf(stderr, "fake-qemu %s: send: %s\n", name, strerror(errno));
        return false;
    }
    return true;
}

static void send_failed(uint16_t command, const char *why)
{
    struct lc_msg m = { .type = LC_VL_FAILED };

    m.u.vl_failed.command = command;
    lc_set_str(&m.u.vl_failed.text, why);
    send_msg(&m);
}

/* ---- the gate ----------------------------------------------------------- */

static void release(void)
{
    size_t i = 0;

    for (; i < held_n; i++) {
        if (state == LC_VL_RECORD &&
            !ft_gate_may_release(ring.ring.page, held[i].position,
                                 (uint64_t)now(CLOCK_BOOTTIME))) {
            break;
        }
        put_output(held[i].position, held[i].counter);
    }
    memmove(held, held + i, (held_n - i) * sizeof(held[0]));
    held_n -= i;
}

static bool record(uint64_t value, bool end)
{
    if (!ft_ring_has_space(&ring.ring, ft_batch_size(payload_n))) {
        return false;
    }
    ft_put_u64(payload, value);
    payload[8] = end;
    if (ft_ring_put(&ring.ring, ++position, payload, payload_n)) {
        ft_vmring_bell(&ring, FT_VMRING_DATA);
    }
    return true;
}

/* ---- the guest ---------------------------------------------------------- */

static void say_ended(void)
{
    struct lc_msg m = { .type = LC_VL_ENDED };

    m.u.vl_ended.position = position;
    m.u.vl_ended.reason = LC_END_POWER_OFF;
    send_msg(&m);
}

static void tick(void)
{
    if (powering_off) {
        static int waited;

        release();
        if (!ft_vmring_is_open(&ring) ||
            __atomic_load_n(&ring.ring.page->acked, __ATOMIC_ACQUIRE) >=
                position ||
            ++waited > 1000000000ll / TICK_NS) {
            _exit(0);
        }
        return;
    }
    if (stopped || incoming || state == LC_VL_REPLAY) {
        return;
    }
    if (power_off) {
        powering_off = true;
        if (state == LC_VL_RECORD) {
            record(counter, true);
        }
        say_ended();
        return;
    }
    if (state == LC_VL_RECORD && !record(counter + 1, false)) {
        return; /* no space: the guest waits */
    }
    counter++;
    if (held_n == HELD_MAX) {
        die("too many outputs held");
    }
    held[held_n].position = position;
    held[held_n++].counter = counter;
    release();
}

static void replay(void)
{
    struct ft_batch b;

    while (state == LC_VL_REPLAY) {
        int r = ft_ring_peek(&ring.ring, 0, position + 1, &b);

        if (r < 0 || (r > 0 && b.length > sizeof(payload))) {
            die("bad batch after position %llu",
                (unsigned long long)position);
        }
        if (r == 0) {
            ft_ring_announce_wait(&ring.ring.page->consumer_waits);
            if (ft_ring_ready(&ring.ring) == 0) {
                break;
            }
            continue;
        }
        ft_ring_copy(&ring.ring, FT_BATCH_HEADER, payload, b.length);
        if (ft_crc32c(0, payload, b.length) != b.crc) {
            die("bad crc at position %llu", (unsigned long long)b.position);
        }
        counter = ft_get_u64(payload);
        position = b.position;
        __atomic_store_n(&ring.ring.page->executed, position,
                         __ATOMIC_RELEASE);
        if (ft_ring_take(&ring.ring, ft_batch_size(b.length))) {
            ft_vmring_bell(&ring, FT_VMRING_SPACE);
        }
        if (payload[8]) {
            say_ended();
            _exit(0);
        }
    }
    if (go_live_last && state == LC_VL_REPLAY && position >= go_live_last) {
        struct lc_msg m = { .type = LC_VL_LIVE };

        m.u.vl_live.position = position;
        go_live_last = 0;
        state = LC_VL_NONE;
        ft_vmring_destroy(&ring);
        send_msg(&m);
    }
}

/* ---- the clone ---------------------------------------------------------- */

static int stream_socket(const char *path, bool to_listen)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    if (to_listen) {
        unlink(path);
        if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
            listen(fd, 1) < 0) {
            die("%s: %s", path, strerror(errno));
        }
    } else if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool all(int fd, uint8_t *p, size_t n, bool out)
{
    while (n > 0) {
        ssize_t k = out ? send(fd, p, n, MSG_NOSIGNAL) : read(fd, p, n);
        if (k <= 0) {
            return false;
        }
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static uint8_t stream[8 + STREAM_PAD];

static void clone_out(const char *path)
{
    struct lc_msg m = { .type = LC_VL_CLONED };
    int fd = stream_socket(path, false);

    if (fd < 0) {
        ft_vmring_destroy(&ring);
        send_failed(LC_VL_CLONE, "cannot connect to the clone's socket");
        return;
    }
    ft_put_u64(stream, counter);
    for (size_t i = 8; i < sizeof(stream); i++) {
        stream[i] = (uint8_t)(i * 7);
    }
    uint8_t done = 0;
    /* The target's answer at the end is the migration's return path. */
    if (!all(fd, stream, sizeof(stream), true) || !all(fd, &done, 1, false)) {
        close(fd);
        ft_vmring_destroy(&ring);
        send_failed(LC_VL_CLONE, "the stream broke");
        return;
    }
    close(fd);
    state = LC_VL_RECORD;
    position = 0;
    m.u.vl_cloned.pause_ns = 1000000;
    send_msg(&m);
}

static void clone_in(const char *path)
{
    struct lc_msg m = { .type = LC_VL_LOADED };
    int lfd = stream_socket(path, true);
    struct pollfd p[2] = { { lfd, POLLIN, 0 }, { peer, POLLIN, 0 } };
    int fd;

    if (poll(p, 2, -1) < 0 || p[1].revents) {
        die("no clone arrived");
    }
    fd = accept(lfd, NULL, NULL);
    close(lfd);
    if (!all(fd, stream, sizeof(stream), false)) {
        die("the clone's stream broke");
    }
    for (size_t i = 8; i < sizeof(stream); i++) {
        if (stream[i] != (uint8_t)(i * 7)) {
            die("the clone's stream is damaged");
        }
    }
    counter = ft_get_u64(stream);
    if (!all(fd, (uint8_t[]){ 1 }, 1, true)) {
        die("the clone's answer: %s", strerror(errno));
    }
    close(fd);
    incoming = false;
    position = 0;
    state = LC_VL_REPLAY;
    send_msg(&m);
}

/* ---- the vmlink --------------------------------------------------------- */

static void lost_peer(void)
{
    close(peer);
    peer = -1;
    if (state == LC_VL_REPLAY) {
        _exit(0);
    }
    if (state == LC_VL_RECORD) {
        stopped = true;
    }
}

static void greet(void)
{
    struct lc_msg m = { .type = LC_VL_HELLO };

    m.u.vl_hello.state = (uint8_t)state;
    m.u.vl_hello.incoming = incoming;
    m.u.vl_hello.position = position;
    m.u.vl_hello.pid = (uint32_t)getpid();
    lc_set_str(&m.u.vl_hello.qemu, "fake 1");
    send_msg(&m);
}

/* Map the ring that the agent has made. */
static void attach(const int *fds)
{
    struct stat st;

    memcpy(ring.fd, fds, sizeof(ring.fd));
    if (fstat(fds[FT_VMRING_MEMFD], &st) < 0) {
        die("no ring");
    }
    ring.map_bytes = (size_t)st.st_size;
    ring.map = mmap(NULL, ring.map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                    fds[FT_VMRING_MEMFD], 0);
    if (ring.map == MAP_FAILED ||
        ft_ring_attach(&ring.ring, ring.map, ring.map_bytes)) {
        die("bad ring");
    }
}

static void obey(const struct lc_frame *f, const struct lc_msg *m, int *fds,
                 int n)
{
    struct lc_msg r = { 0 };

    if (m->type == LC_VL_CLONE || m->type == LC_VL_INCOMING) {
        pair = f->pair;
        generation = f->generation;
        ft_vmring_destroy(&ring);
        if (n != FT_VMRING_FDS) {
            die("bad ring");
        }
        attach(fds);
    }
    if ((m->type == LC_VL_GO_LIVE || m->type == LC_VL_GO_ALONE) &&
        (f->generation != generation || !lc_id_equal(&f->pair, &pair))) {
        send_failed(m->type, "it is for another pair or generation");
        return;
    }
    switch (m->type) {
    case LC_VL_CLONE:
        clone_out(m->u.vl_clone.path.s);
        break;
    case LC_VL_INCOMING:
        clone_in(m->u.vl_incoming.path.s);
        break;
    case LC_VL_PROBE:
        r.type = LC_VL_DISK;
        r.u.vl_disk.ok = !no_disk;
        lc_set_str(&r.u.vl_disk.text, no_disk ? "disk unreachable" : "");
        send_msg(&r);
        break;
    case LC_VL_GO_LIVE:
        go_live_last = m->u.vl_go_live.last;
        if (go_live_last == 0) {
            send_failed(LC_VL_GO_LIVE, "no position");
        }
        break;
    case LC_VL_GO_ALONE:
        state = LC_VL_NONE;
        stopped = false;
        release();
        r.type = LC_VL_ALONE;
        r.u.vl_alone.position = position;
        send_msg(&r);
        ft_vmring_destroy(&ring);
        break;
    case LC_VL_FENCE:
        _exit(0);
    default:
        break;
    }
}

static void receive(void)
{
    uint8_t buf[1024];
    union {
        char bytes[CMSG_SPACE(8 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = { buf, sizeof(buf) };
    struct msghdr mh = { .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes) };
    ssize_t k = recvmsg(peer, &mh, 0);
    struct lc_frame f;
    struct lc_msg m;
    int fds[8], n = 0;

    if (k <= 0) {
        lost_peer();
        return;
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
    if (c != NULL && c->cmsg_type == SCM_RIGHTS) {
        n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(c), (size_t)n * sizeof(int));
    }
    const char *wrong = lc_decode_frame(&f, buf);
    if (wrong == NULL) {
        wrong = lc_decode_body(&m, f.type, buf + LC_HEADER_SIZE,
                               (size_t)k - LC_HEADER_SIZE);
    }
    if (wrong != NULL) {
        die("bad message: %s", wrong);
    }
    obey(&f, &m, fds, n);
}

/* ---- what a guest that has broken out makes of it ----------------------- */

static void fill_bells(void)
{
    /* an eventfd's largest count, or just bytes */
    const uint64_t most = UINT64_MAX - 1;

    for (int i = FT_VMRING_DATA; i < FT_VMRING_FDS; i++) {
        fcntl(ring.fd[i], F_SETFL, O_RDWR | O_NONBLOCK);
        while (write(ring.fd[i], &most, sizeof(most)) > 0) {
        }
        fcntl(ring.fd[i], F_SETFL, O_RDWR);
    }
}

static void be_hostile(void)
{
    struct lc_msg m = { .type = LC_VL_PROGRESS };

    if (strcmp(hostile, "bells") == 0) {
        fill_bells();
        for (;;) { /* what makes the agent ring: log to acknowledge */
            record(++counter, false);
            usleep(1000);
        }
    }
    if (strcmp(hostile, "silence") == 0) {
        for (int i = FT_VMRING_DATA; i < FT_VMRING_FDS; i++) {
            close(ring.fd[i]);
        }
        for (;;) {
            pause();
        }
    }
    while (strcmp(hostile, "log") == 0) {
        record(++counter, false);
        ft_vmring_bell(&ring, FT_VMRING_DATA);
    }
    while (send_msg(&m)) {
    }
    for (;;) {
        pause();
    }
}

static void on_signal(int sig)
{
    if (sig == SIGUSR1) {
        power_off = 1;
    } else if (hostile != NULL) {
        be_hostile();
    } else {
        no_disk = !no_disk;
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int64_t next = now(CLOCK_MONOTONIC);

    if (argc < 4) {
        fprintf(stderr, "usage: fake-qemu SOCKET OUTPUT NAME "
                        "[incoming] [payload=BYTES]\n");
        return 2;
    }
    link_path = argv[1];
    name = argv[3];
    for (int i = 4; i < argc; i++) {
        if (strcmp(argv[i], "incoming") == 0) {
            incoming = true;
        } else if (strncmp(argv[i], "payload=", 8) == 0) {
            payload_n = (uint32_t)atoi(argv[i] + 8);
        } else if (strncmp(argv[i], "hostile=", 8) == 0) {
            hostile = argv[i] + 8;
        }
    }
    if (payload_n < 16 || payload_n > sizeof(payload)) {
        die("payload: out of bounds");
    }
    output = fopen(argv[2], "a");
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", link_path);
    unlink(link_path);
    if (output == NULL ||
        bind(listener, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        listen(listener, 1) < 0) {
        die("%s: %s", link_path, strerror(errno));
    }
    signal(SIGUSR1, on_signal);
    signal(SIGUSR2, on_signal);
    for (;;) {
        bool replaying = state == LC_VL_REPLAY;
        struct pollfd p[3] = {
            { peer < 0 ? listener : -1, POLLIN, 0 },
            { peer, POLLIN, 0 },
            { -1, POLLIN, 0 },
        };
        int64_t left = next - now(CLOCK_MONOTONIC);

        if (ft_vmring_is_open(&ring)) {
            p[2].fd = ring.fd[replaying ? FT_VMRING_DATA : FT_VMRING_GATE];
        }
        poll(p, 3, left > 0 ? (int)(left / 1000000) + 1 : 0);
        if (p[2].revents) {
            ft_vmring_hush(&ring,
                           replaying ? FT_VMRING_DATA : FT_VMRING_GATE);
        }
        if (p[0].revents &&
            (peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
            greet();
        }
        if (p[1].revents) {
            receive();
        }
        if (state == LC_VL_REPLAY) {
            replay();
        }
        if (state == LC_VL_RECORD && !stopped) {
            release();
        }
        if (now(CLOCK_MONOTONIC) >= next) {
            next = now(CLOCK_MONOTONIC) + TICK_NS;
            tick();
        }
    }
}
