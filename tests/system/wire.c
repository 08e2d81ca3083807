/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wire: a cable with a delay, between two network interfaces.
 *
 * Theory of operation.  Every frame that arrives at interface X leaves by Y
 * and the other way round; frames of IPv4 whose source and destination are
 * the addresses given wait for the delay first, in order.  So a test can
 * delay what one host says to the other (acknowledgements, heartbeats) and
 * leave the guest's traffic through the same cable alone.  It works on whole
 * frames, with the kernel's offload header (PACKET_VNET_HDR), so neither
 * side can tell, except by the clock.
 *
 *   wire [--delay-ms N] [--from ADDRESS] [--to ADDRESS] X Y
 *
 * "ready" on stdout when it carries frames; it ends with its parent.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { FRAME = 65536 + 64, QUEUE = 16384 };

struct frame {
    uint64_t due; /* CLOCK_MONOTONIC, ns */
    size_t size;
    int to;
    unsigned char *bytes;
};

static struct frame queue[QUEUE];
static size_t head, used;
static uint64_t delay_ns;
static in_addr_t only_from, only_to;

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int open_end(const char *name)
{
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    int one = 1, size = 8 << 20;
    struct packet_mreq promisc = { .mr_type = PACKET_MR_PROMISC };
    struct sockaddr_ll addr = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = (int)if_nametoindex(name),
    };

    promisc.mr_ifindex = addr.sll_ifindex;
    if (fd < 0 || !addr.sll_ifindex ||
        setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one,
                   sizeof(one)) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) ||
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promisc,
                   sizeof(promisc)) ||
        bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
        fprintf(stderr, "wire: %s: %s\n", name, strerror(errno));
        exit(1);
    }
    return fd;
}

/* Does this frame have to wait? */
static int waits(const unsigned char *bytes, size_t size)
{
    const unsigned char *eth = bytes + sizeof(struct virtio_net_hdr);
    in_addr_t from, to;

    if (!delay_ns || size < sizeof(struct virtio_net_hdr) + 14 + 20 ||
        eth[12] != 0x08 || eth[13] != 0x00) {
        return 0;
    }
    memcpy(&from, eth + 14 + 12, 4);
    memcpy(&to, eth + 14 + 16, 4);
    return (!only_from || from == only_from) && (!only_to || to == only_to);
}

static void put(int fd, const unsigned char *bytes, size_t size)
{
    while (write(fd, bytes, size) < 0) {
        if (errno == ENOBUFS || errno == EAGAIN) {
            struct pollfd p = { .fd = fd, .events = POLLOUT };

            poll(&p, 1, 10);
        } else if (errno != EINTR) {
            return; /* the link is down: lost */
        }
    }
}

static void carry(int from, int to)
{
    static unsigned char bytes[FRAME];

    for (int i = 0; i < 64; i++) {
        ssize_t got = recv(from, bytes, sizeof(bytes), MSG_DONTWAIT);
        struct frame *f;

        if (got <= 0) {
            return;
        }
        if (!waits(bytes, (size_t)got)) {
            put(to, bytes, (size_t)got);
            continue;
        }
        if (used == QUEUE) {
            fprintf(stderr, "wire: the queue is full, a frame is lost\n");
            continue;
        }
        f = &queue[(head + used++) % QUEUE];
        f->due = now() + delay_ns;
        f->size = (size_t)got;
        f->to = to;
        f->bytes = malloc(f->size);
        if (!f->bytes) {
            abort();
        }
        memcpy(f->bytes, bytes, f->size);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "delay-ms", required_argument, NULL, 'd' },
        { "from", required_argument, NULL, 'f' },
        { "to", required_argument, NULL, 't' },
        { NULL, 0, NULL, 0 },
    };
    struct pollfd ends[2];
    int c;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'd':
            delay_ns = strtoull(optarg, NULL, 10) * 1000000u;
            break;
        case 'f':
            only_from = inet_addr(optarg);
            break;
        case 't':
            only_to = inet_addr(optarg);
            break;
        default:
            return 2;
        }
    }
    if (argc - optind != 2) {
        fprintf(stderr, "usage: wire [options] X Y\n");
        return 2;
    }
    for (int i = 0; i < 2; i++) {
        ends[i].fd = open_end(argv[optind + i]);
        ends[i].events = POLLIN;
    }
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        struct timespec wait, *limit = NULL;
        uint64_t t = now();

        while (used && queue[head].due <= t) {
            put(queue[head].to, queue[head].bytes, queue[head].size);
            free(queue[head].bytes);
            head = (head + 1) % QUEUE;
            used--;
        }
        if (used) {
            t = queue[head].due - t;
            wait.tv_sec = (time_t)(t / 1000000000u);
            wait.tv_nsec = (long)(t % 1000000000u);
            limit = &wait;
        }
        if (ppoll(ends, 2, limit, NULL) < 0 && errno != EINTR) {
            perror("wire: poll");
            return 1;
        }
        for (int i = 0; i < 2; i++) {
            if (ends[i].revents) {
                carry(ends[i].fd, ends[!i].fd);
            }
        }
    }
}
