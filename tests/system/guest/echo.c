/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * echo: the service of the small guest.
 *
 * A client sends lines on TCP port 7; each gets one line back.
 *
 *   w N   write number N into sector N of the disk, durably, then "w N"
 *   r N   read sector N from the disk (no cache): "r N VALUE"
 *   p N   nothing but the reply: "p N"
 *   c N   N rounds of arithmetic, for a busy guest: "c N DIGEST"
 *   t     the guest's clocks in ns: "t MONOTONIC REALTIME"
 *   off   power off (no reply)
 *
 * A reply to "w" means that the disk has the sector: it is what a test may
 * hold against the disk after a failover.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SECTOR = 512, CLIENTS = 16, LINE = 64 };

struct client {
    int fd;
    size_t fill;
    char buf[1024];
};

static int disk;
static _Alignas(4096) unsigned char sector[SECTOR];

static uint64_t now(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* One request line without its end; returns the reply's length, 0 for none. */
static int serve(const char *line, char *reply, size_t size)
{
    uint64_t n = 0, value = 0;

    if (!strcmp(line, "t")) {
        return snprintf(reply, size, "t %" PRIu64 " %" PRIu64 "\n",
                        now(CLOCK_MONOTONIC), now(CLOCK_REALTIME));
    }
    if (!strcmp(line, "off")) {
        sync();
        reboot(RB_POWER_OFF);
        return 0;
    }
    if (line[0] == '\0' || line[1] != ' ') {
        return snprintf(reply, size, "? %.20s\n", line);
    }
    n = strtoull(line + 2, NULL, 10);
    switch (line[0]) {
    case 'w':
        memset(sector, 0, sizeof(sector));
        memcpy(sector, &n, sizeof(n));
        snprintf((char *)sector + 16, 32, "%" PRIu64, n);
        if (pwrite(disk, sector, SECTOR, (off_t)n * SECTOR) != SECTOR) {
            return snprintf(reply, size, "! %s\n", strerror(errno));
        }
        return snprintf(reply, size, "w %" PRIu64 "\n", n);
    case 'r':
        if (pread(disk, sector, SECTOR, (off_t)n * SECTOR) != SECTOR) {
            return snprintf(reply, size, "! %s\n", strerror(errno));
        }
        memcpy(&value, sector, sizeof(value));
        return snprintf(reply, size, "r %" PRIu64 " %" PRIu64 "\n", n, value);
    case 'p':
        return snprintf(reply, size, "p %" PRIu64 "\n", n);
    case 'c':
        value = 88172645463325252u;
        for (uint64_t i = 0; i < n; i++) {
            value ^= value << 13;
            value ^= value >> 7;
            value ^= value << 17;
        }
        return snprintf(reply, size, "c %" PRIu64 " %" PRIx64 "\n", n, value);
    default:
        return snprintf(reply, size, "? %.20s\n", line);
    }
}

/* False when the client has gone. */
static int feed(struct client *c)
{
    ssize_t got = read(c->fd, c->buf + c->fill, sizeof(c->buf) - 1 - c->fill);
    char *line = c->buf, *end, reply[128];
    int len;

    if (got <= 0) {
        return 0;
    }
    c->fill += (size_t)got;
    c->buf[c->fill] = '\0';
    while ((end = strchr(line, '\n'))) {
        *end = '\0';
        len = serve(line, reply, sizeof(reply));
        if (len > 0 && write(c->fd, reply, (size_t)len) != len) {
            return 0;
        }
        line = end + 1;
    }
    c->fill = strlen(line);
    memmove(c->buf, line, c->fill + 1);
    return c->fill < sizeof(c->buf) - 1;
}

int main(int argc, char **argv)
{
    struct client clients[CLIENTS];
    struct pollfd fds[CLIENTS + 1];
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(7) };
    int one = 1, used = 0, listener, fd;

    signal(SIGPIPE, SIG_IGN); /* a client may go before its reply comes */
    disk = open(argc > 1 ? argv[1] : "/dev/vda", O_RDWR | O_DIRECT | O_DSYNC);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (disk < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) ||
        listen(listener, CLIENTS)) {
        perror("echo");
        return 1;
    }
    printf("echo: ready\n");
    fflush(stdout);
    for (;;) {
        fds[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
        for (int i = 0; i < used; i++) {
            fds[i + 1] = (struct pollfd){ .fd = clients[i].fd,
                                          .events = POLLIN };
        }
        if (poll(fds, (nfds_t)used + 1, -1) < 0) {
            continue;
        }
        for (int i = used - 1; i >= 0; i--) {
            if (fds[i + 1].revents && !feed(&clients[i])) {
                close(clients[i].fd);
                clients[i] = clients[--used];
            }
        }
        if (fds[0].revents && (fd = accept(listener, NULL, NULL)) >= 0) {
            if (used == CLIENTS) {
                close(fd);
                continue;
            }
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
            clients[used].fd = fd;
            clients[used++].fill = 0;
        }
    }
}
