/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * control-conn.c - a CONTROL connection to another lockstepd, as blocking
 * calls
 *
 * The connection itself is logging-channel/conn.h on a loop of this thread's
 * own, which runs only while a call waits. Requests and replies are JSON, one
 * at a time.
 */
#include "control/lockstepd/control-conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/json.h"
#include "common/host/log.h"
#include "common/host/loop.h"
#include "control/lockstepd/agent-client.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/job.h"
#include "control/lockstepd/sizes.h"
#include "logging-channel/conn.h"

#define OPEN_S 10

struct control_conn {
    struct ctl *ctl;
    struct job *job; /* or NULL */
    struct ev_loop *loop;
    struct lc_conn *conn;
    struct lc_tls *tls;
    char host[CTL_NAME];
    char address[128];
    bool connector, ready, open;
    struct ft_timer tick; /* so that a wait looks around */
    struct ft_err why;    /* code != 0: it is over */
    json_t *inbox;
};

static void end_conn(struct control_conn *p, const struct ft_err *why)
{
    if (!p->why.code) {
        p->why = *why;
    }
    ev_break(p->loop, EVBREAK_ALL);
}

static void end_conn_of(struct control_conn *p, int code, const char *text)
{
    struct ft_err e;

    ft_err_set(&e, code, "host %s: %s", p->host, text);
    end_conn(p, &e);
}

static void send_hello(struct control_conn *p)
{
    struct lc_msg m = { .type = LC_HELLO };

    m.u.hello.kind = LC_KIND_CONTROL;
    lc_set_str(&m.u.hello.host, p->ctl->options.host_name);
    lc_conn_send(p->conn, &m);
}

static void on_ready(struct lc_conn *c, void *arg)
{
    struct control_conn *p = arg;

    (void)c;
    p->ready = true;
    if (p->connector) {
        send_hello(p);
    }
}

static void take_json(struct control_conn *p, const lc_blob *b)
{
    json_error_t je;
    json_t *o = json_loadb((const char *)b->p, b->n, 0, &je);

    if (!json_is_object(o) || p->inbox) {
        json_decref(o);
        end_conn_of(p, EPROTO,
                    o ? "it speaks out of turn"
                      : "it sent something that is not JSON");
        return;
    }
    p->inbox = o;
    ev_break(p->loop, EVBREAK_ALL);
}

static void on_hello(struct control_conn *p, struct lc_conn *c,
                     const struct lc_hello *h)
{
    struct lc_msg m = { .type = LC_WELCOME };

    if (!lc_conn_peer_is(c, h->host.s)) {
        m.type = LC_REFUSE;
        m.u.refuse.code = EACCES;
        lc_set_str(&m.u.refuse.text, "your certificate does not carry the "
                                     "host name that you give");
        lc_conn_send(c, &m);
        lc_conn_flush(c);
        end_conn_of(p, EACCES,
                    "its certificate does not carry the name it gives");
        return;
    }
    snprintf(p->host, sizeof(p->host), "%s", h->host.s);
    lc_set_str(&m.u.welcome.host, p->ctl->options.host_name);
    lc_conn_send(c, &m);
    p->open = true;
    ev_break(p->loop, EVBREAK_ALL);
}

static void on_frame(struct lc_conn *c, const struct lc_frame *head,
                     const struct lc_msg *m, void *arg)
{
    struct control_conn *p = arg;

    (void)head;
    switch (m->type) {
    case LC_HELLO:
        on_hello(p, c, &m->u.hello);
        break;
    case LC_WELCOME:
        p->open = true;
        ev_break(p->loop, EVBREAK_ALL);
        break;
    case LC_REFUSE:
        end_conn_of(p, ECONNREFUSED, m->u.refuse.text.s);
        break;
    case LC_REQUEST:
        take_json(p, &m->u.request.json);
        break;
    case LC_REPLY:
        take_json(p, &m->u.reply.json);
        break;
    default:
        end_conn_of(p, EPROTO, "it sent a message that does not belong here");
    }
}

static void on_closed(struct lc_conn *c, const struct ft_err *why, void *arg)
{
    (void)c;
    end_conn(arg, why);
}

static void on_drained(struct lc_conn *c, void *arg)
{
    struct control_conn *p = arg;

    (void)c;
    ev_break(p->loop, EVBREAK_ALL);
}

static const struct lc_conn_ops conn_ops = {
    .ready = on_ready,
    .frame = on_frame,
    .drained = on_drained,
    .closed = on_closed,
};

/* Run the loop until `done` says so, or the time is up. */
static int run_until(struct control_conn *p,
                     bool (*done)(const struct control_conn *p),
                     int timeout_s, struct ft_err *err)
{
    ft_ns end = ft_monotonic() + (ft_ns)timeout_s * FT_NS_PER_S;

    while (!done(p)) {
        if (p->why.code) {
            *err = p->why;
            return -1;
        }
        if (p->job && job_cancelled(p->job)) {
            return ft_err_set(err, ECANCELED, "cancelled");
        }
        if (p->ctl->quit) {
            return ft_err_set(err, ECANCELED, "lockstepd is ending");
        }
        if (ft_monotonic() >= end) {
            return ft_err_set(err, ETIMEDOUT,
                              "host %s: no answer within "
                              "%d s",
                              p->host, timeout_s);
        }
        ev_run(p->loop, EVRUN_ONCE);
    }
    return 0;
}

static void on_tick(struct ft_timer *t, void *arg)
{
    (void)t, (void)arg; /* waking up is all: run_until() looks around */
}

static struct control_conn *control_new(struct ctl *ctl, struct job *job)
{
    struct control_conn *p = calloc(1, sizeof(*p));

    if (!p) {
        abort();
    }
    p->ctl = ctl;
    p->job = job;
    p->loop = ev_loop_new(EVFLAG_AUTO);
    if (!p->loop) {
        abort();
    }
    ft_timer_init(&p->tick, p->loop, on_tick, NULL);
    ft_timer_every(&p->tick, 200 * FT_NS_PER_MS);
    return p;
}

void control_close(struct control_conn *p)
{
    if (!p) {
        return;
    }
    ft_timer_stop(&p->tick);
    lc_conn_free(p->conn);
    if (p->tls) {
        lc_tls_free(p->tls);
    }
    ev_loop_destroy(p->loop);
    json_decref(p->inbox);
    free(p);
}

const char *control_host(const struct control_conn *p)
{
    return p->host;
}

const char *control_address(const struct control_conn *p)
{
    return p->address;
}

static bool is_open(const struct control_conn *p)
{
    return p->open;
}

static bool has_inbox(const struct control_conn *p)
{
    return p->inbox != NULL;
}

static bool is_sent(const struct control_conn *p)
{
    return !lc_conn_queued(p->conn);
}

int control_resolve(const char *host, char *out, size_t size,
                    struct ft_err *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_ADDRCONFIG },
                    *list;
    int rc = getaddrinfo(host, NULL, &hints, &list);

    if (rc) {
        return ft_err_set(err, ENOENT,
                          "host %s: its name does not resolve "
                          "(%s): add it to /etc/hosts or to the DNS",
                          host, gai_strerror(rc));
    }
    getnameinfo(list->ai_addr, list->ai_addrlen, out, (socklen_t)size, NULL,
                0, NI_NUMERICHOST);
    freeaddrinfo(list);
    return 0;
}

static struct lc_conn_config config_of(struct control_conn *p)
{
    return (struct lc_conn_config){
        .loop = p->loop,
        .tls = p->tls,
        .kind = LC_KIND_CONTROL,
        .timeout = OPEN_S * FT_NS_PER_S,
        .ops = &conn_ops,
        .arg = p,
    };
}

/* A certificate of ours that is no good is refused by whoever connects, with
 * its reason: that is more than a closed connection says. */
static int load_tls(struct control_conn *p, struct ft_err *err)
{
    const struct ft_options *o = &p->ctl->options;

    p->tls = lc_tls_load(o->pki_dir, p->connector ? o->host_name : NULL, err);
    return p->tls ? 0 : -1;
}

/* A refused connection tells this side little. */
static void add_what_to_do(struct ft_err *err)
{
    char text[FT_ERR_TEXT];
    const char *what;

    switch (err->code) {
    case ECONNREFUSED:
        what = "is lockstepd running there?";
        break;
    case ECONNRESET:
    case EPIPE:
        what = "see lockstepd.log there (has it no certificate? was it "
               "stopped?)";
        break;
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
        what = "is the host up, and its lockstepd running?";
        break;
    default:
        return; /* it says enough */
    }
    snprintf(text, sizeof(text), "%s", err->text);
    ft_err_set(err, err->code, "%s: %s", text, what);
}

struct control_conn *control_connect(struct job *job, const char *host,
                                     struct ft_err *err)
{
    struct control_conn *p = control_new(job->ctl, job);
    struct lc_conn_config config;

    p->connector = true;
    snprintf(p->host, sizeof(p->host), "%s", host);
    if (load_tls(p, err) < 0 ||
        control_resolve(host, p->address, sizeof(p->address), err) < 0) {
        goto fail;
    }
    config = config_of(p);
    config.peer = host;
    p->conn = lc_conn_connect(&config, p->address,
                              (uint16_t)p->ctl->options.host_port, err);
    if (!p->conn || run_until(p, is_open, 2 * OPEN_S, err) < 0) {
        add_what_to_do(err);
        goto fail;
    }
    return p;
fail:
    control_close(p);
    return NULL;
}

struct control_conn *control_accept(struct ctl *ctl, int fd,
                                    struct ft_err *err)
{
    struct control_conn *p = control_new(ctl, NULL);
    struct sockaddr_storage sa;
    socklen_t n = sizeof(sa);
    struct lc_conn_config config;

    snprintf(p->host, sizeof(p->host), "(not yet known)");
    if (getpeername(fd, (struct sockaddr *)&sa, &n) == 0) {
        getnameinfo((struct sockaddr *)&sa, n, p->address, sizeof(p->address),
                    NULL, 0, NI_NUMERICHOST);
    }
    if (load_tls(p, err) < 0) {
        close(fd);
        goto fail;
    }
    config = config_of(p);
    p->conn = lc_conn_accept(&config, fd, err);
    if (!p->conn || run_until(p, is_open, OPEN_S, err) < 0) {
        goto fail;
    }
    return p;
fail:
    control_close(p);
    return NULL;
}

static int send_json(struct control_conn *p, uint16_t type, json_t *o,
                     struct ft_err *err)
{
    char *text = json_dumps(o, JSON_COMPACT);
    struct lc_msg m = { .type = type };
    lc_blob blob = { .p = (const uint8_t *)text };
    int rc = -1;

    json_decref(o);
    if (!text) {
        return ft_err_set(err, EINVAL, "host %s: not representable as JSON",
                          p->host);
    }
    blob.n = (uint32_t)strlen(text);
    if (type == LC_REQUEST) {
        m.u.request.json = blob;
    } else {
        m.u.reply.json = blob;
    }
    if (lc_conn_send(p->conn, &m) == 0) {
        rc = run_until(p, is_sent, OPEN_S, err);
    } else {
        ft_err_set(err, ENOTCONN, "host %s: %s", p->host,
                   p->why.code ? p->why.text : "the connection is over");
    }
    free(text);
    return rc;
}

int control_call(struct control_conn *p, json_t *request, json_t **reply,
                 int timeout_s, struct ft_err *err)
{
    json_t *o;

    *reply = NULL;
    json_decref(p->inbox);
    p->inbox = NULL;
    if (send_json(p, LC_REQUEST, request, err) < 0 ||
        run_until(p, has_inbox, timeout_s, err) < 0) {
        return -1;
    }
    o = p->inbox;
    p->inbox = NULL;
    if (!json_is_true(json_object_get(o, "ok"))) {
        ft_err_set(err, EPROTO, "%s",
                   *ft_json_text(o, "error") ? ft_json_text(o, "error")
                                             : "it refused");
        json_decref(o);
        return -1;
    }
    *reply = o;
    return 0;
}

int control_next(struct control_conn *p, json_t **request, int timeout_s,
                 struct ft_err *err)
{
    if (run_until(p, has_inbox, timeout_s, err) < 0) {
        return err->code == ECONNRESET ? 0 : -1;
    }
    *request = p->inbox;
    p->inbox = NULL;
    return 1;
}

int control_reply(struct control_conn *p, json_t *reply, struct ft_err *err)
{
    return send_json(p, LC_REPLY, reply, err);
}
