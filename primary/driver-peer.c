/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver-peer.c - the two connections, the heartbeat, the clone's stream
 *
 * CONNECT: the log's connection, HELLO, WELCOME; then the clone's, HELLO,
 * WELCOME; then CONNECTED. START_CLONE: QEMU is told to write its migration
 * stream into clone.sock, and a relay carries it to the peer and back.
 *
 * paper, 3.1; rule 8
 */
#include "primary/driver-internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/host/fdpass.h"
#include "common/host/id.h"
#include "common/host/log.h"
#include "role/farewell.h"

#define CONNECT_PATIENCE (15 * FT_NS_PER_S)

/* ---- both connections --------------------------------------------------- */

static void on_ready(struct lc_conn *c, void *arg)
{
    struct pri_driver *d = arg;
    const struct ft_options *o = d->c.options;
    struct lc_msg m = { .type = LC_HELLO };
    struct lc_hello *h = &m.u.hello;

    h->kind = c == d->log ? LC_KIND_LOG : LC_KIND_CLONE;
    h->vm = d->c.vm;
    h->nonce = d->c.nonce;
    h->hb_key = d->key;
    h->hb_port = lc_heartbeat_port(d->heartbeat);
    h->detect_ms = (uint32_t)o->failover_detect_ms;
    h->lease_ms = (uint32_t)o->failover_lease_ms;
    h->margin_ms = (uint32_t)o->failover_margin_ms;
    lc_set_str(&h->host, o->host_name);
    lc_conn_send(c, &m);
}

static void on_closed(struct lc_conn *c, const struct ft_err *why, void *arg)
{
    struct pri_driver *d = arg;

    pri_detail(d, "%s", why->text);
    ft_info("%s: channel: %s", d->c.object, why->text);
    if (c == d->clone) {
        lc_conn_free(c);
        d->clone = NULL;
    } else {
        lc_conn_free(c);
        d->log = NULL;
    }
    if (d->core.state == PRI_ST_CONNECTING) {
        pri_raise_kind(d, PRI_EV_CONNECT_FAILED);
    } else if (d->log == NULL) {
        pri_raise_kind(d, PRI_EV_CLOSED);
    }
    /* The clone's connection lost before QEMU used it: QEMU will find its
     * socket closed and report VL_FAILED. */
}

/* The peer said something that this state of the hand-shake forbids. */
static void refuse(struct pri_driver *d, const char *why)
{
    pri_detail(d, "%s", why);
    pri_raise_kind(d, PRI_EV_CONNECT_FAILED);
}

static void on_drained(struct lc_conn *c, void *arg)
{
    (void)c;
    pri_log_pump(arg);
}

static void on_log_frame(struct lc_conn *c, const struct lc_frame *head,
                         const struct lc_msg *m, void *arg);
static void on_clone_frame(struct lc_conn *c, const struct lc_frame *head,
                           const struct lc_msg *m, void *arg);

static const struct lc_conn_ops log_ops = {
    on_ready, on_log_frame, on_drained, on_closed
};
static const struct lc_conn_ops clone_ops = {
    on_ready, on_clone_frame, NULL, on_closed
};

static struct lc_conn *connect_to(struct pri_driver *d, enum lc_kind kind,
                                  const struct lc_conn_ops *ops)
{
    struct lc_conn_config config = {
        .loop = d->c.loop, .tls = d->tls, .kind = kind, .vm = d->c.vm,
        .pair = d->pair, .generation = d->core.next, .peer = d->peer,
        .ops = ops, .arg = d,
    };
    struct lc_conn *c;
    struct ft_err err;

    c = lc_conn_connect(&config, d->address, d->port, &err);
    if (c == NULL) {
        refuse(d, err.text);
    }
    return c;
}

static int start_heartbeat(struct pri_driver *d, uint16_t port,
                           struct ft_err *err)
{
    struct lc_heartbeat_secret secret = {
        .pair = d->pair, .generation = d->core.next, .key = d->key,
    };
    struct sockaddr_storage to;
    socklen_t n = sizeof(to);

    if (lc_conn_peer_address(d->log, &to, &n) < 0) {
        return ft_err_set(err, ENOTCONN, "the peer has no address");
    }
    return lc_heartbeat_start(d->heartbeat, &secret, &d->c.nonce,
                              &d->peer_nonce, (struct sockaddr *)&to, port,
                              err);
}

/* WELCOME on the log's connection, then on the clone's. */
static void on_welcome(struct pri_driver *d, struct lc_conn *c,
                       const struct lc_welcome *w)
{
    struct ft_err err;

    if (d->core.state != PRI_ST_CONNECTING) {
        return;
    }
    if (strcmp(w->host.s, d->peer) != 0) {
        refuse(d, "the peer calls itself by another name");
    } else if (c == d->log) {
        d->peer_nonce = w->nonce;
        if (start_heartbeat(d, w->hb_port, &err) < 0) {
            refuse(d, err.text);
            return;
        }
        pri_raise_kind(d, PRI_EV_WELCOMED);
        d->clone = connect_to(d, LC_KIND_CLONE, &clone_ops);
    } else if (!lc_id_equal(&w->nonce, &d->peer_nonce)) {
        refuse(d, "another agent answered the second connection");
    } else {
        ft_timer_stop(&d->patience);
        pri_raise_kind(d, PRI_EV_CONNECTED);
    }
}

static void on_clone_frame(struct lc_conn *c, const struct lc_frame *head,
                           const struct lc_msg *m, void *arg)
{
    struct pri_driver *d = arg;

    (void)head;
    if (m->type == LC_WELCOME) {
        on_welcome(d, c, &m->u.welcome);
    } else if (m->type == LC_REFUSE && d->core.state == PRI_ST_CONNECTING) {
        refuse(d, m->u.refuse.text.s);
    }
}

static void on_log_frame(struct lc_conn *c, const struct lc_frame *head,
                         const struct lc_msg *m, void *arg)
{
    struct pri_driver *d = arg;

    (void)head;
    switch (m->type) {
    case LC_WELCOME:
        on_welcome(d, c, &m->u.welcome);
        break;
    case LC_REFUSE:
        if (d->core.state == PRI_ST_CONNECTING) {
            refuse(d, m->u.refuse.text.s);
        }
        break;
    case LC_ACK:
        pri_log_acked(d, &m->u.ack);
        break;
    case LC_LOADED:
        pri_raise(d, (struct pri_event){ .kind = PRI_EV_LOADED,
                                  .position = m->u.loaded.position });
        break;
    case LC_RELINQUISH:
        pri_raise_kind(d, PRI_EV_RELINQUISH);
        break;
    case LC_RELINQUISH_ACK:
        pri_raise_kind(d, PRI_EV_RELINQUISH_ACK);
        break;
    case LC_DIVERGED:
        pri_detail(d, "%s", m->u.diverged.text.s);
        pri_raise_kind(d, PRI_EV_DIVERGED);
        break;
    case LC_END:
        pri_detail(d, "%s", m->u.end.text.s);
        pri_raise_kind(d, PRI_EV_END);
        break;
    case LC_CLONE_FAILED:
        pri_detail(d, "%s", m->u.clone_failed.text.s);
        pri_raise_kind(d, PRI_EV_CLONE_FAILED);
        break;
    default:
        break;
    }
}

static void on_alive(struct lc_beater *h, uint64_t number, void *arg)
{
    (void)h, (void)number;
    pri_raise_kind(arg, PRI_EV_HEARD);
}

static void on_patience(struct ft_timer *t, void *arg)
{
    struct pri_driver *d = arg;

    (void)t;
    if (d->core.state == PRI_ST_CONNECTING) {
        refuse(d, "the peer did not answer in time");
    }
}

void pri_peer_init(struct pri_driver *d)
{
    d->listener = -1;
    ft_timer_init(&d->patience, d->c.loop, on_patience, d);
}

void pri_peer_connect(struct pri_driver *d)
{
    struct ft_err err;

    ft_random(d->key.b, sizeof(d->key.b));
    d->heartbeat = lc_heartbeat_open(d->c.loop, on_alive, d, &err);
    if (d->heartbeat == NULL) {
        refuse(d, err.text);
        return;
    }
    ft_timer_after(&d->patience, CONNECT_PATIENCE);
    d->log = connect_to(d, LC_KIND_LOG, &log_ops);
}

void pri_peer_send(struct pri_driver *d, const struct lc_msg *m)
{
    if (d->log != NULL && lc_conn_send(d->log, m) < 0) {
        ft_warning("%s: %s could not be sent", d->c.object,
                   lc_type_name(m->type));
    }
}

void pri_peer_beat(struct pri_driver *d)
{
    if (d->heartbeat != NULL) {
        lc_heartbeat_send(d->heartbeat);
    }
}

void pri_peer_close(struct pri_driver *d)
{
    ft_timer_stop(&d->patience);
    lc_farewell(&d->log);
    lc_conn_free(d->clone);
    d->clone = NULL;
    lc_heartbeat_close(d->heartbeat);
    d->heartbeat = NULL;
    pri_peer_clone_over(d);
}

/* ---- the clone's stream ------------------------------------------------- */

static void clone_path(const struct pri_driver *d, char *path, size_t n)
{
    snprintf(path, n, "%s/clone.sock", d->c.dir);
}

static void close_listener(struct pri_driver *d)
{
    char path[PRI_PATH_MAX];

    if (d->listener >= 0) {
        ft_watch_stop(&d->listener_watch);
        close(d->listener);
        d->listener = -1;
        clone_path(d, path, sizeof(path));
        unlink(path);
    }
}

void pri_peer_clone_over(struct pri_driver *d)
{
    close_listener(d);
    lc_relay_free(d->relay);
    d->relay = NULL;
}

static void on_relayed(struct lc_relay *r, const struct ft_err *err,
                       void *arg)
{
    struct pri_driver *d = arg;

    if (err != NULL) {
        pri_detail(d, "the clone's stream: %s", err->text);
        ft_warning("%s: the clone's stream: %s", d->c.object, err->text);
    } else {
        ft_info("%s: the clone's stream is complete, %llu bytes",
                d->c.object,
                (unsigned long long)lc_relay_result(r).sent);
    }
    lc_relay_free(r);
    d->relay = NULL;
}

static void on_clone_socket(struct ft_watch *w, int events, void *arg)
{
    struct pri_driver *d = arg;
    struct lc_conn *c = d->clone;
    int fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)w, (void)events;
    if (fd < 0) {
        return;
    }
    close_listener(d);
    if (c == NULL) {
        close(fd); /* QEMU reports that its stream broke */
        return;
    }
    d->clone = NULL;
    d->relay = lc_relay_start(d->c.loop, c, fd, on_relayed, d);
}

/* QEMU may run as another user than we do: the socket is for its uid only. The
 * folder is that user's, so a link may stand there by now: not followed. */
static void give_to_qemu(const struct pri_driver *d, const char *path)
{
    uid_t uid;
    gid_t gid;

    if (geteuid() == 0 &&
        ft_vmlink_owner(d->c.vmlink, &uid, &gid) == 0 && uid != 0 &&
        lchown(path, uid, gid) < 0) {
        ft_warning("%s: %s: chown: %s", d->c.object, path, strerror(errno));
    }
}

static int begin_clone(struct pri_driver *d, struct ft_err *err)
{
    struct lc_msg m = { .type = LC_VL_CLONE };
    char path[PRI_PATH_MAX];

    clone_path(d, path, sizeof(path));
    if (strlen(path) > 255) {
        return ft_err_set(err, ENAMETOOLONG, "%s: the path is too long",
                          path);
    }
    if (pri_log_open(d, err) < 0) {
        return -1;
    }
    d->listener = ft_unix_listen(path, SOCK_STREAM, 0600, err);
    if (d->listener < 0) {
        return -1;
    }
    ft_watch_init(&d->listener_watch, d->c.loop, d->listener,
                  on_clone_socket, d);
    ft_watch_set(&d->listener_watch, EV_READ);
    give_to_qemu(d, path);
    m.u.vl_clone.downtime_ms = d->downtime_ms;
    lc_set_str(&m.u.vl_clone.path, path);
    d->session = d->core.next;
    return ft_vmlink_send(d->c.vmlink, &d->pair, d->core.next, &m,
                          d->ring.fd, FT_VMRING_FDS, err);
}

void pri_peer_clone(struct pri_driver *d)
{
    struct ft_err err;

    d->clone_sent = d->clone_remaining = 0;
    if (begin_clone(d, &err) < 0) {
        pri_detail(d, "%s", err.text);
        close_listener(d);
        pri_raise_kind(d, PRI_EV_CLONE_STOPPED);
    }
}
