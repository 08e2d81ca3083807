/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sock.c - agent.sock: commands of lockstepd, events to it
 *
 * One JSON object a line. Each command has one reply, in order; between
 * replies come {"event":"state",...} lines, one whenever the state changed.
 */
#include "agent/agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/host/id.h"
#include "common/host/log.h"

#define CLIENTS_MAX 16

/* ---- arguments ---------------------------------------------------------- */

static const char *get_text(json_t *line, const char *key, size_t max,
                            struct ft_err *err)
{
    const char *s = json_string_value(json_object_get(line, key));

    if (s == NULL || *s == '\0' || strlen(s) > max) {
        ft_err_set(err, EINVAL, "\"%s\" must be a text of 1 to %zu bytes",
                   key, max);
        return NULL;
    }
    return s;
}

/* fallback < 0: the number must be there. */
static int get_number(json_t *line, const char *key, json_int_t min,
                      json_int_t max, json_int_t fallback, json_int_t *out,
                      struct ft_err *err)
{
    json_t *v = json_object_get(line, key);

    if (v == NULL && fallback >= 0) {
        *out = fallback;
        return 0;
    }
    *out = json_integer_value(v);
    if (!json_is_integer(v) || *out < min || *out > max) {
        return ft_err_set(err, EINVAL,
                          "\"%s\" must be a number from %" JSON_INTEGER_FORMAT
                          " to %" JSON_INTEGER_FORMAT,
                          key, min, max);
    }
    return 0;
}

/* What protect and backup have in common. */
static int get_pair(json_t *line, lc_id *pair, uint64_t *generation,
                    const char **peer, const char **arbiter,
                    struct ft_err *err)
{
    const char *hex = get_text(line, "pair", 36, err);
    json_int_t g;

    if (hex == NULL) {
        return -1;
    }
    if (!ft_unhex(pair->b, hex)) {
        return ft_err_set(err, EINVAL, "\"pair\" must be 32 hex digits");
    }
    if (get_number(line, "generation", 1, INT64_MAX, -1, &g, err) < 0) {
        return -1;
    }
    *generation = (uint64_t)g;
    *arbiter = get_text(line, "arbiter", FT_OPTION_TEXT - 1, err);
    if (*arbiter == NULL) {
        return -1;
    }
    *peer = get_text(json_object_get(line, "peer"), "host", 255, err);
    return *peer != NULL ? 0 : ft_err_prefix(err, "\"peer\"");
}

/* ---- commands ----------------------------------------------------------- */

static int do_protect(struct agent *a, json_t *line, struct ft_err *err)
{
    json_t *peer = json_object_get(line, "peer");
    struct pri_pair p = { 0 };
    json_int_t port, downtime;

    if (get_pair(line, &p.pair, &p.generation, &p.peer, &p.arbiter, err) <
        0) {
        return -1;
    }
    p.address = get_text(peer, "address", 255, err);
    if (p.address == NULL ||
        get_number(peer, "port", 1, 65535, -1, &port, err) < 0) {
        return ft_err_prefix(err, "\"peer\"");
    }
    if (get_number(line, "downtime_ms", 10, 10000,
                   a->options.protect_downtime_ms, &downtime, err) < 0) {
        return -1;
    }
    p.port = (uint16_t)port;
    p.downtime_ms = (uint32_t)downtime;
    return agent_protect(a, &p, err);
}

static int do_backup(struct agent *a, json_t *line, struct ft_err *err)
{
    struct bak_driver_config c = { 0 };

    if (get_pair(line, &c.pair, &c.generation, &c.peer, &c.arbiter, err) <
        0) {
        return -1;
    }
    return agent_backup(a, &c, err);
}

static int do_connection(struct agent *a, struct agent_json *j, json_t *line,
                         struct ft_err *err)
{
    int fd = agent_json_take_fd(j);
    json_int_t kind;

    if (fd < 0) {
        return ft_err_set(err, EINVAL, "no descriptor came with the command");
    }
    if (get_number(line, "kind", LC_KIND_LOG, LC_KIND_CLONE, -1, &kind, err) <
        0) {
        close(fd);
        return -1;
    }
    if (a->bak == NULL) {
        close(fd);
        return ft_err_set(err, EBUSY, "%s: no primary is expected here",
                          a->object);
    }
    return bak_driver_connection(a->bak, (enum lc_kind)kind, fd, err);
}

static int obey(struct agent *a, struct agent_json *j, json_t *line,
                struct ft_err *err)
{
    const char *what = get_text(line, "do", 32, err);

    if (what == NULL) {
        return -1;
    }
    if (strcmp(what, "protect") == 0) {
        return do_protect(a, line, err);
    }
    if (strcmp(what, "backup") == 0) {
        return do_backup(a, line, err);
    }
    if (strcmp(what, "connection") == 0) {
        return do_connection(a, j, line, err);
    }
    if (strcmp(what, "unprotect") == 0) {
        return agent_unprotect(a, err);
    }
    if (strcmp(what, "quit") == 0) {
        if (agent_is_busy(a)) {
            return ft_err_set(err, EBUSY,
                              "%s: its pair has not ended; "
                              "unprotect it first",
                              a->object);
        }
        agent_quit(a);
        return 0;
    }
    return ft_err_set(err, EINVAL, "unknown command \"%s\"", what);
}

static void on_line(struct agent_json *j, json_t *line, void *arg)
{
    struct agent *a = arg;
    const char *what = json_string_value(json_object_get(line, "do"));
    struct ft_err err;

    if (what != NULL && strcmp(what, "status") == 0) {
        json_t *o = agent_status(a);

        json_object_set_new(o, "ok", json_true());
        agent_json_send(j, o, NULL, 0);
        json_decref(o);
        return;
    }
    if (obey(a, j, line, &err) < 0) {
        ft_info("%s: command %s refused: %s", a->object,
                what != NULL ? what : "(none)", err.text);
        agent_json_send_error(j, "%s", err.text);
        return;
    }
    agent_json_send_ok(j);
}

static void on_client_gone(struct agent_json *j, const struct ft_err *why,
                           void *arg)
{
    (void)why, (void)arg;
    agent_json_close(j);
}

static const struct agent_json_ops json_ops = { on_line, on_client_gone };

static void on_opened(struct agent_json *j, void *arg)
{
    agent_json_set_arg(j, arg);
}

/* ---- events ------------------------------------------------------------- */

static void send_one(struct agent_json *j, void *arg)
{
    agent_json_send(j, arg, NULL, 0);
}

void agent_sock_event(struct agent *a)
{
    json_t *o;

    if (a->server == NULL) {
        return;
    }
    o = agent_status(a);
    json_object_set_new(o, "event", json_string("state"));
    agent_json_server_each(a->server, send_one, o);
    json_decref(o);
}

int agent_sock_open(struct agent *a, struct ft_err *err)
{
    char path[FT_PATH_TEXT];

    snprintf(path, sizeof(path), "%s/agent.sock", a->own);
    a->server = agent_json_listen(a->loop, path, 0600, CLIENTS_MAX, &json_ops,
                                  on_opened, a, err);
    return a->server != NULL ? 0 : -1;
}

void agent_sock_close(struct agent *a)
{
    if (a->server != NULL) {
        agent_json_server_close(a->server);
        a->server = NULL;
    }
}
