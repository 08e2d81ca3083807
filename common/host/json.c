/* SPDX-License-Identifier: GPL-2.0-or-later */
/* json.c - members of JSON objects, lines without a loop (see json.h) */
#include "common/host/json.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/host/clock.h"
#include "common/host/fdpass.h"

const char *ft_json_text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

uint64_t ft_json_number(const json_t *o, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(o, key));
}

void ft_json_set_text(json_t *o, const char *key, const char *value)
{
    json_t *s = json_string(value);
    char plain[512];
    size_t i = 0;

    if (!s) {
        for (; value[i] && i + 1 < sizeof(plain); i++) {
            plain[i] = value[i] & 0x80 ? '?' : value[i];
        }
        plain[i] = '\0';
        s = json_string(plain);
    }
    json_object_set_new(o, key, s);
}

void ft_json_set_number(json_t *o, const char *key, uint64_t value)
{
    json_object_set_new(o, key, json_integer((json_int_t)value));
}

/* ---- lines -------------------------------------------------------------- */

int ft_json_client_open(const char *path, struct ft_err *err)
{
    return ft_unix_connect(path, SOCK_STREAM, err);
}

/* How long a peer may take nothing while the socket is full. */
#define SEND_MS 5000

static int wait_for(int fd, short events, int timeout_ms, struct ft_err *err)
{
    struct pollfd p = { .fd = fd, .events = events };
    int rc;

    do {
        rc = poll(&p, 1, timeout_ms);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        return ft_err_sys(err, errno, "UNIX socket");
    }
    if (!rc) {
        return ft_err_set(err, ETIMEDOUT, "%s within %d ms",
                          events == POLLIN ? "no answer"
                                           : "the other side takes nothing",
                          timeout_ms);
    }
    return 0;
}

int ft_json_client_send(int fd, json_t *msg, struct ft_err *err)
{
    char *text = json_dumps(msg, JSON_COMPACT);
    size_t n, done = 0;
    int rc = -1;

    if (!text) {
        return ft_err_set(err, EINVAL, "request: not representable as JSON");
    }
    n = strlen(text);
    text[n++] = '\n'; /* in place of the NUL; n counts */
    while (done < n) {
        ssize_t sent = send(fd, text + done, n - done, MSG_NOSIGNAL);

        if (sent >= 0) {
            done += (size_t)sent;
        } else if (errno == EAGAIN) {
            if (wait_for(fd, POLLOUT, SEND_MS, err) < 0) {
                goto out;
            }
        } else if (errno != EINTR) {
            ft_err_sys(err, errno, "UNIX socket: cannot send");
            goto out;
        }
    }
    rc = 0;
out:
    free(text);
    return rc;
}

void ft_json_reader_init(struct ft_json_reader *r, int fd)
{
    r->fd = fd;
    r->used = 0;
    r->buf = NULL;
}

/* A whole line that is already there. 1, 0: none, -1: not JSON. */
static int take_buffered(struct ft_json_reader *r, json_t **line,
                         struct ft_err *err)
{
    char *end = r->used ? memchr(r->buf, '\n', r->used) : NULL;
    json_error_t jerr;
    size_t n;

    if (!end) {
        return 0;
    }
    n = (size_t)(end - r->buf);
    *line = json_loadb(r->buf, n, 0, &jerr);
    r->used -= n + 1;
    memmove(r->buf, end + 1, r->used);
    if (!*line) {
        return ft_err_set(err, EPROTO, "an answer that is not JSON: %s",
                          jerr.text);
    }
    return 1;
}

int ft_json_reader_next(struct ft_json_reader *r, json_t **line,
                        int timeout_ms, struct ft_err *err)
{
    ft_ns end = ft_monotonic() +
                (timeout_ms > 0 ? timeout_ms : 0) * FT_NS_PER_MS;

    if (!r->buf && !(r->buf = malloc(FT_JSON_LINE_MAX))) {
        return ft_err_set(err, ENOMEM, "no memory for an answer");
    }
    for (;;) {
        int rc = take_buffered(r, line, err), left = timeout_ms;
        ssize_t n;

        if (rc) {
            return rc;
        }
        if (r->used == FT_JSON_LINE_MAX) {
            return ft_err_set(err, EMSGSIZE, "an answer that is too long");
        }
        if (timeout_ms > 0) {
            ft_ns now = ft_monotonic();

            left = now < end ? (int)((end - now) / FT_NS_PER_MS) : 0;
        }
        if (wait_for(r->fd, POLLIN, left, err) < 0) {
            return -1;
        }
        n = recv(r->fd, r->buf + r->used, FT_JSON_LINE_MAX - r->used, 0);
        if (n > 0) {
            r->used += (size_t)n;
        } else if (!n) {
            return r->used ? ft_err_set(err, EPROTO, "an answer was cut off")
                           : 0;
        } else if (errno != EINTR && errno != EAGAIN) {
            return ft_err_sys(err, errno, "UNIX socket: cannot receive");
        }
    }
}

void ft_json_reader_done(struct ft_json_reader *r)
{
    free(r->buf);
    r->buf = NULL;
}
