/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * jsonserver.c - one JSON object a line over a UNIX stream socket
 *
 * Closing inside a callback: agent_json_close() detaches the connection at once
 * (no watcher, no callback) and frees it when the outermost function of this
 * file that works on it returns (`depth`). One that still has something to
 * send lingers, detached, until it is sent or a second has passed.
 */
#include "agent/jsonserver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/host/fdpass.h"
#include "common/host/loop.h"

#define READ_STEP 65536u
#define LINGER (1 * FT_NS_PER_S)

/* One line to send; its descriptors go with its first byte. */
struct out {
    struct out *next;
    size_t used, sent, nfds;
    int fds[FT_FDS_MAX];
    char bytes[];
};

struct agent_json {
    struct ev_loop *loop;
    int fd;
    struct ft_watch watch;
    struct ft_timer linger;
    const struct agent_json_ops *ops;
    void *arg;
    struct agent_json_server *server; /* NULL: a client's */
    struct agent_json *prev, *next;   /* in server's list */

    char *in;
    size_t in_used, in_size, in_searched;
    int fds[AGENT_JSON_FDS_MAX];
    size_t nfds;

    struct out *out, **out_last;
    size_t out_bytes;

    unsigned depth;
    bool over;     /* gone() was or is being called: no more I/O */
    bool detached; /* agent_json_close() was called */
};

struct agent_json_server {
    struct ev_loop *loop;
    int fd;
    struct ft_listener listener;
    char *path;
    unsigned max, count;
    const struct agent_json_ops *ops;
    void (*opened)(struct agent_json *j, void *arg);
    void *arg;
    struct agent_json *first;
};

static void json_release(struct agent_json *j)
{
    while (j->nfds) {
        close(j->fds[--j->nfds]);
    }
    while (j->out) {
        struct out *o = j->out;

        j->out = o->next;
        while (o->sent == 0 && o->nfds) {
            close(o->fds[--o->nfds]);
        }
        free(o);
    }
    ft_watch_stop(&j->watch);
    ft_timer_stop(&j->linger);
    close(j->fd);
    free(j->in);
    free(j);
}

static void enter(struct agent_json *j)
{
    j->depth++;
}

/* Returns false when j is gone from now on. */
static bool leave(struct agent_json *j)
{
    if (--j->depth == 0 && j->detached && (j->over || !j->out)) {
        json_release(j);
        return false;
    }
    return !j->detached;
}

static void json_fail(struct agent_json *j, int code, const char *why)
{
    struct ft_err err;

    if (j->over) {
        return;
    }
    j->over = true;
    ft_watch_stop(&j->watch);
    if (!j->detached) {
        ft_err_set(&err, code, "%s", why);
        j->ops->gone(j, &err, j->arg);
    }
}

static void send_queued(struct agent_json *j)
{
    while (j->out && !j->over) {
        struct out *o = j->out;
        struct ft_err err;
        ssize_t n;

        n = ft_send_fds(j->fd, o->bytes + o->sent, o->used - o->sent, o->fds,
                        o->sent ? 0 : o->nfds, &err);
        if (n < 0) {
            if (err.code != EAGAIN) {
                json_fail(j, err.code, err.text);
            }
            break;
        }
        if (!o->sent) {
            while (o->nfds) {
                close(o->fds[--o->nfds]);
            }
        }
        o->sent += (size_t)n;
        j->out_bytes -= (size_t)n;
        if (o->sent == o->used) {
            j->out = o->next;
            if (!j->out) {
                j->out_last = &j->out;
            }
            free(o);
        }
    }
    if (!j->over) {
        ft_watch_set(&j->watch,
                     (j->detached ? 0 : EV_READ) | (j->out ? EV_WRITE : 0));
    }
}

static void json_refuse(struct agent_json *j, const char *why)
{
    agent_json_send_error(j, "%s", why);
    json_fail(j, EPROTO, why);
}

static void take_line(struct agent_json *j, char *line, size_t n)
{
    json_error_t jerr;
    json_t *msg;
    char why[256];

    msg = json_loadb(line, n, JSON_REJECT_DUPLICATES, &jerr);
    if (!msg) {
        snprintf(why, sizeof(why), "a line that is not JSON: %s", jerr.text);
        json_refuse(j, why);
    } else if (!json_is_object(msg)) {
        json_refuse(j, "a line that is not a JSON object");
    } else {
        j->ops->line(j, msg, j->arg);
    }
    json_decref(msg);
}

static void take_lines(struct agent_json *j)
{
    size_t start = 0;

    while (!j->over && !j->detached) {
        char *from = j->in + start + j->in_searched;
        char *end = memchr(from, '\n', j->in_used - start - j->in_searched);

        if (!end) {
            j->in_searched = j->in_used - start;
            break;
        }
        j->in_searched = 0;
        from = j->in + start;
        start = (size_t)(end - j->in) + 1;
        if (end > from) {
            take_line(j, from, (size_t)(end - from));
        }
    }
    memmove(j->in, j->in + start, j->in_used - start);
    j->in_used -= start;
    if (!j->over && !j->detached && j->in_used >= FT_JSON_LINE_MAX) {
        json_refuse(j, "a line that is too long");
    }
}

static bool make_room(struct agent_json *j)
{
    size_t size = j->in_size ? j->in_size * 2 : READ_STEP;
    char *bigger;

    if (j->in_size - j->in_used >= READ_STEP / 2) {
        return true;
    }
    bigger = realloc(j->in, size);
    if (!bigger) {
        return false;
    }
    j->in = bigger;
    j->in_size = size;
    return true;
}

static void json_receive(struct agent_json *j)
{
    struct ft_err err;
    int fds[FT_FDS_MAX];
    bool excess = false;
    size_t i, nfds;
    ssize_t n;

    if (!make_room(j)) {
        json_fail(j, ENOMEM, "no memory for a line");
        return;
    }
    n = ft_recv_fds(j->fd, j->in + j->in_used, j->in_size - j->in_used, fds,
                    FT_FDS_MAX, &nfds, &err);
    if (n < 0) {
        if (err.code != EAGAIN) {
            json_fail(j, err.code, err.text);
        }
        return;
    }
    for (i = 0; i < nfds; i++) {
        if (j->nfds < AGENT_JSON_FDS_MAX) {
            j->fds[j->nfds++] = fds[i];
        } else {
            close(fds[i]);
            excess = true;
        }
    }
    if (excess) {
        json_refuse(j, "too many descriptors that no command takes");
        return;
    }
    if (!n) {
        json_fail(j, 0,
                  j->in_used ? "closed inside a line"
                             : "closed by the other side");
        return;
    }
    j->in_used += (size_t)n;
    take_lines(j);
}

static void json_watch_cb(struct ft_watch *w, int events, void *arg)
{
    struct agent_json *j = arg;

    (void)w;
    enter(j);
    if (events & EV_WRITE) {
        send_queued(j);
    }
    if ((events & EV_READ) && !j->over && !j->detached) {
        json_receive(j);
    }
    leave(j);
}

static void linger_cb(struct ft_timer *t, void *arg)
{
    struct agent_json *j = arg;

    (void)t;
    enter(j);
    j->over = true;
    leave(j);
}

struct agent_json *agent_json_open(struct ev_loop *loop, int fd,
                                   const struct agent_json_ops *ops,
                                   void *arg)
{
    struct agent_json *j = calloc(1, sizeof(*j));

    if (!j) {
        close(fd);
        return NULL;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    j->loop = loop;
    j->fd = fd;
    j->ops = ops;
    j->arg = arg;
    j->out_last = &j->out;
    ft_watch_init(&j->watch, loop, fd, json_watch_cb, j);
    ft_timer_init(&j->linger, loop, linger_cb, j);
    ft_watch_set(&j->watch, EV_READ);
    return j;
}

static bool duplicate(struct out *o, const int *fds, size_t nfds)
{
    for (o->nfds = 0; o->nfds < nfds; o->nfds++) {
        o->fds[o->nfds] = fcntl(fds[o->nfds], F_DUPFD_CLOEXEC, 0);
        if (o->fds[o->nfds] < 0) {
            while (o->nfds) {
                close(o->fds[--o->nfds]);
            }
            return false;
        }
    }
    return true;
}

static struct out *make_line(json_t *msg, const int *fds, size_t nfds)
{
    size_t n = json_dumpb(msg, NULL, 0, JSON_COMPACT);
    struct out *o;

    if (!n || n >= FT_JSON_LINE_MAX || nfds > FT_FDS_MAX) {
        return NULL;
    }
    o = calloc(1, sizeof(*o) + n + 1);
    if (!o || !duplicate(o, fds, nfds)) {
        free(o);
        return NULL;
    }
    json_dumpb(msg, o->bytes, n, JSON_COMPACT);
    o->bytes[n] = '\n';
    o->used = n + 1;
    return o;
}

int agent_json_send(struct agent_json *j, json_t *msg, const int *fds,
                    size_t nfds)
{
    struct out *o;
    int rc;

    if (j->over || j->detached) {
        return -1;
    }
    o = make_line(msg, fds, nfds);
    if (!o) {
        return -1;
    }
    *j->out_last = o;
    j->out_last = &o->next;
    j->out_bytes += o->used;
    enter(j);
    send_queued(j);
    if (j->out_bytes > AGENT_JSON_QUEUE_MAX) {
        json_fail(j, ENOBUFS, "the other side does not read");
    }
    rc = j->over ? -1 : 0;
    leave(j);
    return rc;
}

int agent_json_send_ok(struct agent_json *j)
{
    json_t *msg = json_pack("{s:b}", "ok", 1);
    int rc = agent_json_send(j, msg, NULL, 0);

    json_decref(msg);
    return rc;
}

int agent_json_send_error(struct agent_json *j, const char *fmt, ...)
{
    char text[FT_ERR_TEXT];
    json_t *msg;
    va_list ap;
    int rc;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    msg = json_pack("{s:b,s:s}", "ok", 0, "error", text);
    if (!msg) {
        /* a peer's text that is not UTF-8 */
        msg = json_pack("{s:b,s:s}", "ok", 0, "error", "unprintable error");
    }
    rc = agent_json_send(j, msg, NULL, 0);
    json_decref(msg);
    return rc;
}

int agent_json_take_fd(struct agent_json *j)
{
    int fd;

    if (!j->nfds) {
        return -1;
    }
    fd = j->fds[0];
    memmove(j->fds, j->fds + 1, --j->nfds * sizeof(int));
    return fd;
}

void agent_json_set_arg(struct agent_json *j, void *arg)
{
    j->arg = arg;
}

static void leave_server(struct agent_json *j)
{
    if (!j->server) {
        return;
    }
    if (j->prev) {
        j->prev->next = j->next;
    } else {
        j->server->first = j->next;
    }
    if (j->next) {
        j->next->prev = j->prev;
    }
    j->server->count--;
    j->server = NULL;
}

void agent_json_close(struct agent_json *j)
{
    if (!j || j->detached) {
        return;
    }
    enter(j);
    j->detached = true;
    leave_server(j);
    if (!j->over && j->out) {
        send_queued(j);
        ft_timer_after(&j->linger, LINGER);
    } else {
        ft_watch_stop(&j->watch);
    }
    leave(j);
}

/* ---- listener ---- */

static void json_accept_cb(struct ft_watch *w, int events, void *arg)
{
    struct agent_json_server *s = arg;
    struct agent_json *j;
    int fd;

    (void)w;
    (void)events;
    fd = ft_listener_accept(&s->listener);
    if (fd < 0) {
        return;
    }
    j = agent_json_open(s->loop, fd, s->ops, s->arg);
    if (!j) {
        return;
    }
    if (s->count >= s->max) {
        agent_json_send_error(j, "%s: more than %u connections", s->path,
                              s->max);
        agent_json_close(j);
        return;
    }
    j->server = s;
    j->next = s->first;
    if (s->first) {
        s->first->prev = j;
    }
    s->first = j;
    s->count++;
    if (s->opened) {
        s->opened(j, s->arg);
    }
}

struct agent_json_server *agent_json_listen(
    struct ev_loop *loop, const char *path, unsigned mode, unsigned max,
    const struct agent_json_ops *ops,
    void (*opened)(struct agent_json *j, void *arg), void *arg,
    struct ft_err *err)
{
    struct agent_json_server *s = calloc(1, sizeof(*s));

    if (!s || !(s->path = strdup(path))) {
        free(s);
        ft_err_set(err, ENOMEM, "UNIX socket %s: no memory", path);
        return NULL;
    }
    s->fd = ft_unix_listen(path, SOCK_STREAM, mode, err);
    if (s->fd < 0) {
        free(s->path);
        free(s);
        return NULL;
    }
    s->loop = loop;
    s->max = max;
    s->ops = ops;
    s->opened = opened;
    s->arg = arg;
    ft_listener_init(&s->listener, loop, s->fd, json_accept_cb, s);
    return s;
}

void agent_json_server_close(struct agent_json_server *s)
{
    if (!s) {
        return;
    }
    while (s->first) {
        agent_json_close(s->first);
    }
    ft_listener_stop(&s->listener);
    unlink(s->path);
    close(s->fd);
    free(s->path);
    free(s);
}

void agent_json_server_each(struct agent_json_server *s,
                            void (*fn)(struct agent_json *j, void *arg),
                            void *arg)
{
    struct agent_json *j, *next;

    for (j = s->first; j; j = next) {
        next = j->next;
        fn(j, arg);
    }
}
