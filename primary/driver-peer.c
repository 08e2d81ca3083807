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
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/host/fdpass.h"
#include "common/host/id.h"
#include "common/host/log.h"

#define CONNECT_PATIENCE (15 * FT_NS_PER_S)

/* ---- both connections --------------------------------------------------- */

static void pri_on_ready(struct lc_conn *c, void *arg)
{
    struct pri_driver *d = arg;
    const struct ft_options *o = d->c.options;
    struct lc_msg m = { .type = LC_HELLO };
    struct lc_hello *h = &m.u.hello;

    h->kind = c == d->session.log ? LC_KIND_LOG : LC_KIND_CLONE;
    h->vm = d->c.vm;
    h->nonce = d->c.nonce;
    h->hb_key = d->session.key;
    h->hb_port = lc_heartbeat_port(d->session.heartbeat);
    h->detect_ms = (uint32_t)o->failover_detect_ms;
    h->lease_ms = (uint32_t)o->failover_lease_ms;
    h->margin_ms = (uint32_t)o->failover_margin_ms;
    lc_set_str(&h->host, o->host_name);
    lc_conn_send(c, &m);
}

static void pri_on_closed(struct lc_conn *c, const struct ft_err *why,
                          void *arg)
{
    struct pri_driver *d = arg;

    ft_host_detail(&d->host, "%s", why->text);
    ft_info("%s: channel: %s", d->c.object, why->text);
    if (c == d->session.clone) {
        d->session.clone = NULL;
    } else {
        d->session.log = NULL;
    }
    lc_conn_free(c);
    if (d->core.state == PRI_ST_CONNECTING) {
        pri_raise_kind(d, PRI_EV_CONNECT_FAILED);
    } else if (d->session.log == NULL) {
        pri_raise_kind(d, PRI_EV_CLOSED);
    }
    /* The clone's connection was lost before QEMU used it: QEMU will find
     * its socket closed and report VL_FAILED. */
}

/* The peer said something that this state of the hand-shake forbids. */
static void give_up(struct pri_driver *d, const char *why)
{
    ft_host_detail(&d->host, "%s", why);
    pri_raise_kind(d, PRI_EV_CONNECT_FAILED);
}

static void on_drained(struct lc_conn *c, void *arg)
{
    (void)c;
    pri_log_pump(arg);
}

static void pri_on_log_frame(struct lc_conn *c, const struct lc_frame *head,
                             const struct lc_msg *m, void *arg);
static void pri_on_clone_frame(struct lc_conn *c, const struct lc_frame *head,
                               const struct lc_msg *m, void *arg);

static const struct lc_conn_ops pri_log_ops = { pri_on_ready,
                                                pri_on_log_frame, on_drained,
                                                pri_on_closed };
static const struct lc_conn_ops pri_clone_ops = { pri_on_ready,
                                                  pri_on_clone_frame, NULL,
                                                  pri_on_closed };

static struct lc_conn *connect_to(struct pri_driver *d, enum lc_kind kind,
                                  const struct lc_conn_ops *ops)
{
    struct lc_conn_config config = ft_session_config(&d->session, kind, ops,
                                                     d);
    struct lc_conn *c;
    struct ft_err err;

    c = lc_conn_connect(&config, d->address, d->port, &err);
    if (c == NULL) {
        give_up(d, err.text);
    }
    return c;
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
        give_up(d, "the peer calls itself by another name");
    } else if (c == d->session.log) {
        d->session.peer_nonce = w->nonce;
        if (ft_session_beat_to(&d->session, w->hb_port, &err) < 0) {
            give_up(d, err.text);
            return;
        }
        pri_raise_kind(d, PRI_EV_WELCOMED);
        d->session.clone = connect_to(d, LC_KIND_CLONE, &pri_clone_ops);
    } else if (!lc_id_equal(&w->nonce, &d->session.peer_nonce)) {
        give_up(d, "another agent answered the second connection");
    } else {
        ft_timer_stop(&d->patience);
        pri_raise_kind(d, PRI_EV_CONNECTED);
    }
}

static void pri_on_clone_frame(struct lc_conn *c, const struct lc_frame *head,
                               const struct lc_msg *m, void *arg)
{
    struct pri_driver *d = arg;

    (void)head;
    if (m->type == LC_WELCOME) {
        on_welcome(d, c, &m->u.welcome);
    } else if (m->type == LC_REFUSE && d->core.state == PRI_ST_CONNECTING) {
        give_up(d, m->u.refuse.text.s);
    }
}

static void pri_on_log_frame(struct lc_conn *c, const struct lc_frame *head,
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
            give_up(d, m->u.refuse.text.s);
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
        ft_host_detail(&d->host, "%s", m->u.diverged.text.s);
        pri_raise_kind(d, PRI_EV_DIVERGED);
        break;
    case LC_END:
        ft_host_detail(&d->host, "%s", m->u.end.text.s);
        pri_raise_kind(d, PRI_EV_END);
        break;
    case LC_CLONE_FAILED:
        ft_host_detail(&d->host, "%s", m->u.clone_failed.text.s);
        pri_raise_kind(d, PRI_EV_CLONE_FAILED);
        break;
    default:
        break;
    }
}

static void pri_on_alive(struct lc_beater *h, uint64_t number, void *arg)
{
    (void)h, (void)number;
    pri_raise_kind(arg, PRI_EV_HEARD);
}

static void on_patience(struct ft_timer *t, void *arg)
{
    struct pri_driver *d = arg;

    (void)t;
    if (d->core.state == PRI_ST_CONNECTING) {
        give_up(d, "the peer did not answer in time");
    }
}

void pri_peer_init(struct pri_driver *d)
{
    d->session.host = &d->host;
    d->session.peer = d->peer;
    d->listener = -1;
    ft_timer_init(&d->patience, d->c.loop, on_patience, d);
}

void pri_peer_connect(struct pri_driver *d)
{
    struct ft_err err;

    d->session.generation = d->core.next;
    ft_random(d->session.key.b, sizeof(d->session.key.b));
    d->session.heartbeat = lc_heartbeat_open(d->c.loop, pri_on_alive, d,
                                             &err);
    if (d->session.heartbeat == NULL) {
        give_up(d, err.text);
        return;
    }
    ft_timer_after(&d->patience, CONNECT_PATIENCE);
    d->session.log = connect_to(d, LC_KIND_LOG, &pri_log_ops);
}

/* ---- the clone's stream ------------------------------------------------- */

static void close_listener(struct pri_driver *d)
{
    char path[FT_CLONE_PATH];

    if (d->listener >= 0) {
        ft_watch_stop(&d->listener_watch);
        close(d->listener);
        d->listener = -1;
        ft_session_clone_path(&d->session, path);
        unlink(path);
    }
}

void pri_peer_clone_over(struct pri_driver *d)
{
    close_listener(d);
    lc_relay_free(d->session.relay);
    d->session.relay = NULL;
}

static void on_clone_socket(struct ft_watch *w, int events, void *arg)
{
    struct pri_driver *d = arg;
    int fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)w, (void)events;
    if (fd < 0) {
        return;
    }
    close_listener(d);
    if (d->session.clone == NULL) {
        close(fd); /* QEMU reports that its stream broke */
    } else {
        ft_session_relay(&d->session, fd);
    }
}

/* QEMU may run as another user than we do: the socket is for its uid only. The
 * folder is that user's, so a link may stand there by now: not followed. */
static void give_to_qemu(const struct pri_driver *d, const char *path)
{
    uid_t uid;
    gid_t gid;

    if (geteuid() == 0 && ft_vmlink_owner(d->c.vmlink, &uid, &gid) == 0 &&
        uid != 0 && lchown(path, uid, gid) < 0) {
        ft_warning("%s: %s: chown: %s", d->c.object, path, strerror(errno));
    }
}

static int begin_clone(struct pri_driver *d, struct ft_err *err)
{
    struct lc_msg m = { .type = LC_VL_CLONE };
    char path[FT_CLONE_PATH];
    int r;

    ft_session_clone_path(&d->session, path);
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
    ft_watch_init(&d->listener_watch, d->c.loop, d->listener, on_clone_socket,
                  d);
    ft_watch_set(&d->listener_watch, EV_READ);
    give_to_qemu(d, path);
    m.u.vl_clone.downtime_ms = d->downtime_ms;
    lc_set_str(&m.u.vl_clone.path, path);
    r = ft_vmlink_send(d->c.vmlink, &d->session.pair, d->session.generation,
                       &m, d->ring.qemu, FT_VMRING_FDS, err);
    ft_vmring_sent(&d->ring);
    return r;
}

void pri_peer_clone(struct pri_driver *d)
{
    struct ft_err err;

    d->clone_sent = d->clone_remaining = 0;
    if (begin_clone(d, &err) < 0) {
        ft_host_detail(&d->host, "%s", err.text);
        close_listener(d);
        pri_raise_kind(d, PRI_EV_CLONE_STOPPED);
    }
}

/* ---- the end ------------------------------------------------------------ */

void pri_peer_close(struct pri_driver *d)
{
    ft_timer_stop(&d->patience);
    close_listener(d);
    ft_session_close(&d->session);
}
