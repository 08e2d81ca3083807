/* SPDX-License-Identifier: GPL-2.0-or-later */
/* frames.c - frames into and out of a connection's byte queues */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "common/host/log.h"
#include "logging-channel/conn_priv.h"

/* Greetings are small; before them a stranger with a good certificate must
 * not make us take 16 MiB. */
#define GREETING_MAX 4096u

/* ---- in ---- */

/* The name that the peer gives itself must be that of its certificate. */
static const char *check_greeting(struct lc_conn *c, const struct lc_msg *m)
{
    const lc_str *host;

    if (m->type == LC_HELLO) {
        if (m->u.hello.kind != c->channel.kind) {
            return "HELLO is for another kind of connection than the "
                   "preamble";
        }
        host = &m->u.hello.host;
    } else if (m->type == LC_WELCOME) {
        host = &m->u.welcome.host;
    } else {
        return NULL;
    }
    if (*c->check.expected && strcasecmp(host->s, c->check.expected)) {
        return "it calls itself by another host's name";
    }
    if (!lc_conn_peer_is(c, host->s)) {
        return "it calls itself by a name that its certificate is not for";
    }
    return NULL;
}

/* Takes one frame from the front. false: not whole yet, or over. */
static bool take_frame(struct lc_conn *c)
{
    const uint8_t *p = c->in.buf + c->in.start;
    struct lc_frame frame;
    struct lc_msg m;
    const char *why;
    size_t whole;

    if (c->in.used < LC_HEADER_SIZE) {
        return false;
    }
    why = lc_decode_frame(&frame, p);
    if (!why && frame.length > GREETING_MAX &&
        !lc_channel_open(&c->channel)) {
        why = "a greeting that is too long";
    }
    if (why) {
        lc_conn_failf(c, EPROTO, "malformed input: %s", why);
        return false;
    }
    whole = LC_HEADER_SIZE + frame.length;
    if (c->in.used < whole) {
        if (!lc_queue_room(&c->in, whole - c->in.used)) {
            lc_conn_failf(c, ENOMEM, "no memory for a frame of %zu bytes",
                          whole);
        }
        return false;
    }
    why = lc_channel_accept(&c->channel, &frame);
    if (!why) {
        why = lc_decode_body(&m, frame.type, p + LC_HEADER_SIZE,
                             frame.length);
    }
    if (!why) {
        why = check_greeting(c, &m);
    }
    if (why) {
        lc_conn_failf(c, EPROTO, "malformed input: %s (%s, frame %llu)", why,
                      lc_type_name(frame.type),
                      (unsigned long long)frame.sequence);
        return false;
    }
    c->ops->frame(c, &frame, &m, c->arg);
    /* the callback may queue, pause, finish or free, but not read */
    lc_queue_drop(&c->in, whole);
    return true;
}

bool lc_conn_takes_frames(const struct lc_conn *c)
{
    return !c->freed && !c->paused && c->state == CONN_FRAMES &&
           !(c->channel.kind == LC_KIND_CLONE &&
             lc_channel_open(&c->channel));
}

void lc_conn_take_frames(struct lc_conn *c)
{
    while (lc_conn_takes_frames(c) && take_frame(c)) {
    }
}

/* ---- out ---- */

static int refuse_to_send(struct lc_conn *c, const char *why)
{
    ft_error("peer %s: message not sent: %s", c->name, why);
    return -1;
}

/* Space for head and blob, with the head written. */
static uint8_t *queue(struct lc_conn *c, const struct lc_msg *m, size_t blob)
{
    size_t n = LC_HEADER_SIZE + lc_body_size(m), head;
    struct lc_frame frame;
    const char *why;
    uint8_t *to;

    if (c->state != CONN_FRAMES) {
        return NULL;
    }
    if (c->out.used > c->high_water + LC_MAX_BODY) {
        lc_conn_failf(c, ENOBUFS, "%zu bytes are queued and more came",
                      c->out.used);
        return NULL;
    }
    if (n - LC_HEADER_SIZE > LC_MAX_BODY) {
        refuse_to_send(c, "it is too long");
        return NULL;
    }
    to = lc_queue_room(&c->out, n);
    if (!to) {
        lc_conn_failf(c, ENOMEM, "no memory to send %zu bytes", n);
        return NULL;
    }
    why = lc_channel_stamp(&c->channel, m->type, &frame);
    if (why) {
        refuse_to_send(c, why);
        return NULL;
    }
    head = lc_encode_head(to, n, &frame, m);
    if (head + blob != n) {
        lc_conn_failf(c, EPROTO, "own message not encodable");
        return NULL;
    }
    c->out.used += n;
    if (c->out.used >= c->high_water) {
        c->full = true;
    }
    lc_conn_wants_flush(c);
    return to + head;
}

int lc_conn_send(struct lc_conn *c, const struct lc_msg *m)
{
    const lc_blob *blob = NULL;
    uint8_t *to;

    switch (m->type) {
    case LC_ENTRIES:
        blob = &m->u.entries.batches;
        break;
    case LC_REQUEST:
        blob = &m->u.request.json;
        break;
    case LC_REPLY:
        blob = &m->u.reply.json;
        break;
    }
    to = queue(c, m, blob ? blob->n : 0);
    if (!to) {
        return -1;
    }
    if (blob && blob->n) {
        memcpy(to, blob->p, blob->n);
    }
    return 0;
}

uint8_t *lc_conn_entries(struct lc_conn *c, uint64_t first, uint64_t last,
                         uint64_t stamp, uint32_t n)
{
    struct lc_msg m;

    m.type = LC_ENTRIES;
    m.u.entries.first = first;
    m.u.entries.last = last;
    m.u.entries.stamp = stamp;
    m.u.entries.batches.n = n;
    m.u.entries.batches.p = NULL;
    return queue(c, &m, n);
}
