/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * heartbeat.c - numbered, authenticated UDP datagrams between two agents
 *
 * paper, 2.3; rule 3
 */
#include "logging-channel/heartbeat.h"

#include <errno.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/log.h"
#include "common/host/loop.h"

#define SIGNED (LC_HEARTBEAT_SIZE - LC_HEARTBEAT_MAC)
#define TURN 32 /* datagrams taken in one iteration */

struct lc_beater {
    struct ev_loop *loop;
    int fd, family;
    struct ft_watch watch;
    void (*alive)(struct lc_beater *h, uint64_t number, void *arg);
    void *arg;

    bool running;
    struct lc_heartbeat_secret secret;
    lc_id own_nonce, peer_nonce;
    struct sockaddr_storage to;
    socklen_t to_len;
    uint64_t number; /* of the last sent */
    uint64_t last;   /* highest accepted of this start */
    int send_error;  /* the last one, to log each once */
};

/* ---- the bytes ---- */

static int mac(uint8_t out[EVP_MAX_MD_SIZE], const lc_key *key,
               const uint8_t *p)
{
    unsigned n = 0;

    return HMAC(EVP_sha256(), key->b, sizeof(key->b), p, SIGNED, out, &n) &&
                   n >= LC_HEARTBEAT_MAC
             ? 0
             : -1;
}

int lc_heartbeat_make(uint8_t out[LC_HEARTBEAT_SIZE],
                      const struct lc_heartbeat_secret *secret,
                      const lc_id *nonce, uint64_t number)
{
    struct lc_frame frame = {
        .sequence = number,
        .generation = secret->generation,
        .pair = secret->pair,
    };
    struct lc_msg m = { .type = LC_HEARTBEAT };
    uint8_t full[EVP_MAX_MD_SIZE];

    m.u.heartbeat.number = number;
    m.u.heartbeat.nonce = *nonce;
    if (lc_encode(out, SIGNED, &frame, &m) != SIGNED ||
        mac(full, &secret->key, out) < 0) {
        return -1;
    }
    memcpy(out + SIGNED, full, LC_HEARTBEAT_MAC);
    return 0;
}

const char *lc_heartbeat_check(const uint8_t *p, size_t n,
                               const struct lc_heartbeat_secret *secret,
                               const lc_id *peer_nonce, uint64_t last,
                               uint64_t *number)
{
    uint8_t full[EVP_MAX_MD_SIZE];
    struct lc_frame frame;
    struct lc_msg m;
    const char *why;

    if (n != LC_HEARTBEAT_SIZE) {
        return "a datagram of another size";
    }
    why = lc_decode_frame(&frame, p);
    if (why) {
        return why;
    }
    if (frame.type != LC_HEARTBEAT ||
        frame.length != SIGNED - LC_HEADER_SIZE) {
        return "not a heartbeat";
    }
    if (!lc_id_equal(&frame.pair, &secret->pair) ||
        frame.generation != secret->generation) {
        return "a heartbeat of another pair or generation";
    }
    if (mac(full, &secret->key, p) < 0 ||
        CRYPTO_memcmp(full, p + SIGNED, LC_HEARTBEAT_MAC)) {
        return "a heartbeat with a wrong MAC";
    }
    why = lc_decode_body(&m, frame.type, p + LC_HEADER_SIZE, frame.length);
    if (why) {
        return why;
    }
    if (!lc_id_equal(&m.u.heartbeat.nonce, peer_nonce)) {
        return "a heartbeat of another incarnation of the peer";
    }
    if (m.u.heartbeat.number != frame.sequence) {
        return "a heartbeat whose numbers differ";
    }
    if (m.u.heartbeat.number <= last) {
        return "a heartbeat that is repeated or late";
    }
    *number = m.u.heartbeat.number;
    return NULL;
}

/* ---- the socket ---- */

void lc_heartbeat_send(struct lc_beater *h)
{
    uint8_t p[LC_HEARTBEAT_SIZE];

    if (!h->running ||
        lc_heartbeat_make(p, &h->secret, &h->own_nonce, ++h->number) < 0) {
        return;
    }
    if (sendto(h->fd, p, sizeof(p), MSG_NOSIGNAL | MSG_DONTWAIT,
               (struct sockaddr *)&h->to, h->to_len) == sizeof(p)) {
        h->send_error = 0;
    } else if (errno != h->send_error) {
        /* The peer detects the loss; here it is only logged. */
        h->send_error = errno;
        ft_warning("heartbeat: cannot send: %s", strerror(errno));
    }
}

static void receive_cb(struct ft_watch *w, int events, void *arg)
{
    struct lc_beater *h = arg;
    int i;

    (void)w;
    (void)events;
    for (i = 0; i < TURN; i++) {
        uint8_t p[LC_HEARTBEAT_SIZE + 1];
        uint64_t number = 0;
        const char *why;
        ssize_t n;

        n = recv(h->fd, p, sizeof(p), MSG_DONTWAIT);
        if (n < 0) {
            return; /* none left; or an ICMP error, cleared by this */
        }
        why = h->running
                ? lc_heartbeat_check(p, (size_t)n, &h->secret, &h->peer_nonce,
                                     h->last, &number)
                : "no pair";
        if (why) {
            continue;
        }
        h->last = number;
        h->alive(h, number, h->arg);
        return; /* alive() may have closed h; the rest waits */
    }
}

static int open_socket(int *family)
{
    struct sockaddr_in6 any6 = { .sin6_family = AF_INET6 };
    struct sockaddr_in any4 = { .sin_family = AF_INET };
    int type = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, zero = 0;
    int fd = socket(AF_INET6, type, 0);

    if (fd >= 0) {
        *family = AF_INET6;
        if (!setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)) &&
            !bind(fd, (struct sockaddr *)&any6, sizeof(any6))) {
            return fd;
        }
        close(fd);
    }
    /* a host without IPv6 */
    fd = socket(AF_INET, type, 0);
    *family = AF_INET;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&any4, sizeof(any4)) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

struct lc_beater *lc_heartbeat_open(struct ev_loop *loop,
                                    void (*alive)(struct lc_beater *h,
                                                  uint64_t number, void *arg),
                                    void *arg, struct ft_err *err)
{
    struct lc_beater *h = calloc(1, sizeof(*h));

    if (!h) {
        ft_err_set(err, ENOMEM, "heartbeat: no memory");
        return NULL;
    }
    h->loop = loop;
    h->alive = alive;
    h->arg = arg;
    h->fd = open_socket(&h->family);
    if (h->fd < 0) {
        ft_err_sys(err, errno, "heartbeat: no UDP socket");
        free(h);
        return NULL;
    }
    ft_watch_init(&h->watch, loop, h->fd, receive_cb, h);
    ft_watch_set(&h->watch, EV_READ);
    return h;
}

uint16_t lc_heartbeat_port(const struct lc_beater *h)
{
    struct sockaddr_storage sa;
    socklen_t n = sizeof(sa);

    if (getsockname(h->fd, (struct sockaddr *)&sa, &n) < 0) {
        return 0;
    }
    return ntohs(sa.ss_family == AF_INET6
                     ? ((struct sockaddr_in6 *)&sa)->sin6_port
                     : ((struct sockaddr_in *)&sa)->sin_port);
}

/* The peer's address in the family of our socket. */
static int set_target(struct lc_beater *h, const struct sockaddr *to,
                      uint16_t port)
{
    memset(&h->to, 0, sizeof(h->to));
    if (to->sa_family == AF_INET6 && h->family == AF_INET6) {
        memcpy(&h->to, to, sizeof(struct sockaddr_in6));
        ((struct sockaddr_in6 *)&h->to)->sin6_port = htons(port);
        h->to_len = sizeof(struct sockaddr_in6);
    } else if (to->sa_family == AF_INET && h->family == AF_INET6) {
        struct sockaddr_in6 *mapped = (struct sockaddr_in6 *)&h->to;

        mapped->sin6_family = AF_INET6;
        mapped->sin6_port = htons(port);
        mapped->sin6_addr.s6_addr[10] = 0xff;
        mapped->sin6_addr.s6_addr[11] = 0xff;
        memcpy(&mapped->sin6_addr.s6_addr[12],
               &((const struct sockaddr_in *)to)->sin_addr, 4);
        h->to_len = sizeof(*mapped);
    } else if (to->sa_family == AF_INET) {
        memcpy(&h->to, to, sizeof(struct sockaddr_in));
        ((struct sockaddr_in *)&h->to)->sin_port = htons(port);
        h->to_len = sizeof(struct sockaddr_in);
    } else {
        return -1;
    }
    return 0;
}

int lc_heartbeat_start(struct lc_beater *h,
                       const struct lc_heartbeat_secret *secret,
                       const lc_id *own_nonce, const lc_id *peer_nonce,
                       const struct sockaddr *to, uint16_t port,
                       struct ft_err *err)
{
    if (set_target(h, to, port) < 0) {
        return ft_err_set(err, EAFNOSUPPORT,
                          "heartbeat: the peer's address "
                          "is of a family that this host does not have");
    }
    h->secret = *secret;
    h->own_nonce = *own_nonce;
    h->peer_nonce = *peer_nonce;
    h->last = 0;
    h->send_error = 0;
    h->running = true;
    return 0;
}

void lc_heartbeat_close(struct lc_beater *h)
{
    if (!h) {
        return;
    }
    ft_watch_stop(&h->watch);
    close(h->fd);
    OPENSSL_cleanse(&h->secret, sizeof(h->secret));
    free(h);
}
