/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * session.c - the channel of one pair, as far as both ends are alike
 *
 * paper, 2.3; rule 3: where the heartbeats go, and what closing means
 */
#include "role/session.h"

#include <errno.h>
#include <stdio.h>

#include "common/host/log.h"

struct lc_conn_config ft_session_config(const struct ft_session *s,
                                        enum lc_kind kind,
                                        const struct lc_conn_ops *ops,
                                        void *arg)
{
    return (struct lc_conn_config){
        .loop = s->host->c->loop,
        .tls = s->tls,
        .kind = kind,
        .vm = s->host->c->vm,
        .pair = s->pair,
        .generation = s->generation,
        .peer = s->peer,
        .ops = ops,
        .arg = arg,
    };
}

int ft_session_beat_to(struct ft_session *s, uint16_t port,
                       struct ft_err *err)
{
    struct lc_heartbeat_secret secret = {
        .pair = s->pair,
        .generation = s->generation,
        .key = s->key,
    };
    struct sockaddr_storage to;
    socklen_t n = sizeof(to);

    if (lc_conn_peer_address(s->log, &to, &n) < 0) {
        return ft_err_set(err, ENOTCONN, "the peer has no address");
    }
    return lc_heartbeat_start(s->heartbeat, &secret, &s->host->c->nonce,
                              &s->peer_nonce, (struct sockaddr *)&to, port,
                              err);
}

void ft_session_beat(struct ft_session *s)
{
    if (s->heartbeat != NULL) {
        lc_heartbeat_send(s->heartbeat);
    }
}

void ft_session_send(struct ft_session *s, const struct lc_msg *m)
{
    if (s->log != NULL && lc_conn_send(s->log, m) < 0) {
        ft_warning("%s: %s could not be sent", s->host->c->object,
                   lc_type_name(m->type));
    }
}

/* ---- the clone's stream ------------------------------------------------- */

void ft_session_clone_path(const struct ft_session *s,
                           char path[FT_CLONE_PATH])
{
    snprintf(path, FT_CLONE_PATH, "%s/clone.sock", s->host->c->dir);
}

static void on_relayed(struct lc_relay *r, const struct ft_err *err,
                       void *arg)
{
    struct ft_session *s = arg;
    struct lc_relay_result n = lc_relay_result(r);

    if (err != NULL) {
        ft_host_detail(s->host, "the clone's stream: %s", err->text);
        ft_warning("%s: the clone's stream: %s", s->host->c->object,
                   err->text);
    } else {
        ft_info("%s: the clone's stream is complete, %llu bytes sent, %llu "
                "received",
                s->host->c->object, (unsigned long long)n.sent,
                (unsigned long long)n.received);
    }
    lc_relay_free(r);
    s->relay = NULL;
}

void ft_session_relay(struct ft_session *s, int fd)
{
    struct lc_conn *c = s->clone;

    s->clone = NULL;
    s->relay = lc_relay_start(s->host->c->loop, c, fd, on_relayed, s);
    if (s->relay != NULL) {
        lc_conn_pause(c, false);
    }
}

/* ---- the end ------------------------------------------------------------ */

static void late_ready(struct lc_conn *c, void *arg)
{
    (void)arg;
    lc_conn_free(c);
}

static void late_frame(struct lc_conn *c, const struct lc_frame *head,
                       const struct lc_msg *m, void *arg)
{
    (void)c, (void)head, (void)m, (void)arg;
}

static void late_closed(struct lc_conn *c, const struct ft_err *why,
                        void *arg)
{
    (void)why, (void)arg;
    lc_conn_free(c);
}

static const struct lc_conn_ops late_ops = { late_ready, late_frame, NULL,
                                             late_closed };

void ft_session_farewell(struct lc_conn **c)
{
    if (*c != NULL && lc_conn_is_ready(*c)) {
        lc_conn_set_arg(*c, &late_ops, NULL);
        lc_conn_pause(*c, false);
        lc_conn_finish(*c);
    } else {
        lc_conn_free(*c);
    }
    *c = NULL;
}

void ft_session_close(struct ft_session *s)
{
    ft_session_farewell(&s->log);
    lc_conn_free(s->clone);
    s->clone = NULL;
    lc_relay_free(s->relay);
    s->relay = NULL;
    lc_heartbeat_close(s->heartbeat);
    s->heartbeat = NULL;
}
