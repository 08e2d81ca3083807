/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver-peer.c - the two connections, the heartbeat, the clone's stream
 *
 * lockstepd hands over sockets whose preamble named this VM. Until TLS and
 * HELLO have passed such a connection is only one of a few pending ones, so
 * that a stranger cannot take the primary's place. The clone's connection
 * waits, paused, until QEMU listens; then a relay carries its stream.
 *
 * paper, 3.1; rule 8
 */
#include "backup/driver-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/host/fdpass.h"
#include "common/host/log.h"

/* QEMU's listener comes a moment after VL_INCOMING. */
#define QEMU_RETRY (5 * FT_NS_PER_MS)
#define QEMU_TRIES 2000u

/* ---- the log's connection ----------------------------------------------- */

static void lost(struct bak_driver *d, const char *why)
{
    ft_host_detail(&d->host, "%s", why);
    ft_info("%s: channel: %s", d->c.object, why);
    bak_raise_kind(d, BAK_EV_CLOSED);
}

void bak_peer_malformed(struct bak_driver *d, const char *why)
{
    lc_conn_free(d->session.log);
    d->session.log = NULL;
    lost(d, why);
}

static void on_log_closed(struct lc_conn *c, const struct ft_err *why,
                          void *arg)
{
    struct bak_driver *d = arg;

    lc_conn_free(c);
    d->session.log = NULL;
    lost(d, why->text);
}

static void bak_on_log_frame(struct lc_conn *c, const struct lc_frame *head,
                             const struct lc_msg *m, void *arg)
{
    struct bak_driver *d = arg;

    (void)c, (void)head;
    switch (m->type) {
    case LC_ENTRIES:
        bak_log_entries(d, &m->u.entries);
        break;
    case LC_PROTECTED:
        bak_raise(d,
                  (struct bak_event){ .kind = BAK_EV_PROTECTED,
                                      .position = m->u.protected.position });
        break;
    case LC_RELINQUISH:
        bak_raise_kind(d, BAK_EV_RELINQUISH);
        break;
    case LC_RELINQUISH_ACK:
        bak_raise_kind(d, BAK_EV_RELINQUISH_ACK);
        break;
    case LC_END:
        if (m->u.end.reason != LC_END_POWER_OFF) {
            ft_host_detail(&d->host, "%s", m->u.end.text.s);
        }
        bak_raise(d, (struct bak_event){ .kind = BAK_EV_END,
                                         .code = m->u.end.reason });
        break;
    case LC_CLONE_FAILED:
        ft_host_detail(&d->host, "%s", m->u.clone_failed.text.s);
        bak_raise_kind(d, BAK_EV_CLONE_FAILED);
        break;
    default:
        break;
    }
}

static void bak_on_ready(struct lc_conn *c, void *arg)
{
    (void)c, (void)arg; /* the connector speaks first */
}

static const struct lc_conn_ops bak_log_ops = { bak_on_ready,
                                                bak_on_log_frame, NULL,
                                                on_log_closed };

static void bak_on_alive(struct lc_beater *h, uint64_t number, void *arg)
{
    (void)h, (void)number;
    bak_raise_kind(arg, BAK_EV_HEARD);
}

static int start_heartbeat(struct bak_driver *d, const struct lc_hello *h,
                           struct ft_err *err)
{
    struct ft_session *s = &d->session;

    s->key = h->hb_key;
    s->peer_nonce = h->nonce;
    s->heartbeat = lc_heartbeat_open(d->c.loop, bak_on_alive, d, err);
    return s->heartbeat != NULL ? ft_session_beat_to(s, h->hb_port, err) : -1;
}

/* ---- the clone's stream ------------------------------------------------- */

static void bak_on_clone_frame(struct lc_conn *c, const struct lc_frame *head,
                               const struct lc_msg *m, void *arg)
{
    (void)c, (void)head, (void)m, (void)arg;
}

static void on_clone_closed(struct lc_conn *c, const struct ft_err *why,
                            void *arg)
{
    struct bak_driver *d = arg;

    ft_info("%s: the clone's connection: %s", d->c.object, why->text);
    lc_conn_free(c);
    d->session.clone = NULL;
    ft_timer_stop(&d->connect_qemu);
}

static const struct lc_conn_ops bak_clone_ops = { bak_on_ready,
                                                  bak_on_clone_frame, NULL,
                                                  on_clone_closed };

static void on_connect_qemu(struct ft_timer *t, void *arg)
{
    struct bak_driver *d = arg;
    char path[FT_CLONE_PATH];
    struct ft_err err;
    int fd;

    ft_session_clone_path(&d->session, path);
    fd = ft_unix_connect(path, SOCK_STREAM, &err);
    if (fd >= 0) {
        ft_session_relay(&d->session, fd);
    } else if (++d->connect_tries < QEMU_TRIES) {
        ft_timer_after(t, QEMU_RETRY);
    } else {
        ft_host_detail(&d->host, "QEMU does not listen for the clone: %s",
                       err.text);
        ft_error("%s: QEMU does not listen for the clone: %s", d->c.object,
                 err.text);
        lc_conn_free(d->session.clone);
        d->session.clone = NULL;
    }
}

/* ---- pending connections ------------------------------------------------ */

static void forget_pending(struct bak_driver *d, struct lc_conn *c)
{
    int to = 0;

    for (int i = 0; i < BAK_PENDING_MAX; i++) {
        if (d->pending[i] != c) {
            d->pending[to++] = d->pending[i];
        }
    }
    while (to < BAK_PENDING_MAX) {
        d->pending[to++] = NULL;
    }
}

static void on_pending_closed(struct lc_conn *c, const struct ft_err *why,
                              void *arg)
{
    struct bak_driver *d = arg;

    ft_warning_few(&d->refused, "%s: a connection was refused: %s",
                   d->c.object, why->text);
    forget_pending(d, c);
    lc_conn_free(c);
}

/* NULL, or why not. */
static const char *check_hello(const struct bak_driver *d,
                               const struct lc_hello *h)
{
    const struct ft_session *s = &d->session;

    if (!lc_id_equal(&h->vm, &d->c.vm)) {
        return "HELLO names another VM";
    }
    if (strcmp(h->host.s, d->peer) != 0) {
        return "HELLO names another host than the one expected";
    }
    if (h->detect_ms < 200 || h->detect_ms > 60000 || h->lease_ms < 100 ||
        h->lease_ms > h->detect_ms || h->margin_ms < 10 ||
        h->margin_ms > 10000) {
        return "HELLO's failover times are out of bounds";
    }
    if (h->kind == LC_KIND_LOG && d->core.state != BAK_ST_WAITING) {
        return "this backup has its primary already";
    }
    if (h->kind == LC_KIND_CLONE &&
        (s->log == NULL || s->clone != NULL || s->relay != NULL ||
         d->core.state != BAK_ST_LOADING ||
         !lc_id_equal(&h->nonce, &s->peer_nonce))) {
        return "the clone's connection does not belong to the log's";
    }
    return NULL;
}

static void refuse(struct lc_conn *c, const char *why)
{
    struct lc_msg m = { .type = LC_REFUSE };

    m.u.refuse.code = 1;
    lc_set_str(&m.u.refuse.text, why);
    lc_conn_send(c, &m);
    ft_session_farewell(&c);
}

static void welcome(struct bak_driver *d, struct lc_conn *c)
{
    struct lc_msg m = { .type = LC_WELCOME };

    m.u.welcome.nonce = d->c.nonce;
    m.u.welcome.hb_port = lc_heartbeat_port(d->session.heartbeat);
    lc_set_str(&m.u.welcome.host, d->c.options->host_name);
    lc_conn_send(c, &m);
}

static void on_pending_frame(struct lc_conn *c, const struct lc_frame *head,
                             const struct lc_msg *m, void *arg)
{
    struct bak_driver *d = arg;
    const struct lc_hello *h = &m->u.hello;
    struct ft_err err;
    const char *why;

    (void)head;
    forget_pending(d, c);
    why = m->type != LC_HELLO ? "HELLO is missing" : check_hello(d, h);
    if (why != NULL) {
        ft_warning_few(&d->refused, "%s: a connection was refused: %s",
                       d->c.object, why);
        refuse(c, why);
        return;
    }
    if (h->kind == LC_KIND_CLONE) {
        d->session.clone = c;
        lc_conn_set_arg(c, &bak_clone_ops, d);
        welcome(d, c);
        /* What follows is no frame: it waits for the relay. */
        lc_conn_pause(c, true);
        d->connect_tries = 0;
        ft_timer_after(&d->connect_qemu, QEMU_RETRY);
        return;
    }
    d->session.log = c;
    lc_conn_set_arg(c, &bak_log_ops, d);
    if (start_heartbeat(d, h, &err) < 0) {
        lc_heartbeat_close(d->session.heartbeat);
        d->session.heartbeat = NULL;
        d->session.log = NULL;
        ft_error("%s: heartbeat: %s", d->c.object, err.text);
        refuse(c, err.text);
        return;
    }
    welcome(d, c);
    ft_info("%s: the primary is %s", d->c.object, lc_conn_name(c));
    bak_raise(d, (struct bak_event){ .kind = BAK_EV_CONNECTED,
                                     .detect = h->detect_ms * FT_NS_PER_MS,
                                     .lease = h->lease_ms * FT_NS_PER_MS,
                                     .margin = h->margin_ms * FT_NS_PER_MS });
}

static const struct lc_conn_ops pending_ops = { bak_on_ready,
                                                on_pending_frame, NULL,
                                                on_pending_closed };

int bak_driver_connection(struct bak_driver *d, enum lc_kind kind, int fd,
                          struct ft_err *err)
{
    struct lc_conn_config config = ft_session_config(&d->session, kind,
                                                     &pending_ops, d);
    struct lc_conn *c;

    if (d->core.state > BAK_ST_LOADING) {
        close(fd);
        return ft_err_set(err, EBUSY,
                          "%s: this backup has its primary "
                          "already",
                          d->c.object);
    }
    c = lc_conn_accept(&config, fd, err);
    if (c == NULL) {
        return -1;
    }
    /* The oldest first. A full list loses its oldest: idle strangers must
     * not keep the primary out. */
    if (d->pending[BAK_PENDING_MAX - 1] != NULL) {
        struct lc_conn *oldest = d->pending[0];

        ft_warning_few(&d->refused,
                       "%s: a connection was closed: it has not said HELLO "
                       "and others wait: %s",
                       d->c.object, lc_conn_name(oldest));
        forget_pending(d, oldest);
        lc_conn_free(oldest);
    }
    for (int i = 0; i < BAK_PENDING_MAX; i++) {
        if (d->pending[i] == NULL) {
            d->pending[i] = c;
            break;
        }
    }
    return 0;
}

/* ---- begin and end ------------------------------------------------------ */

void bak_peer_init(struct bak_driver *d)
{
    d->session.host = &d->host;
    d->session.peer = d->peer;
    ft_timer_init(&d->connect_qemu, d->c.loop, on_connect_qemu, d);
}

void bak_peer_close(struct bak_driver *d)
{
    ft_timer_stop(&d->connect_qemu);
    for (int i = 0; i < BAK_PENDING_MAX; i++) {
        lc_conn_free(d->pending[i]);
        d->pending[i] = NULL;
    }
    ft_session_close(&d->session);
}
