/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wire.c - encoder, strict decoder and names of wire.tbl.h
 *
 * Each field type has a put, a get and a size; the rest is the table's work.
 * A decode fails on the first byte that is missing, too much, or not what the
 * type allows; it never reads outside [p, p + n).
 */

#include "wire.h"
#include "bytes.h"

#include <string.h>

/* ---- a cursor over bytes ------------------------------------------------ */

struct cursor {
    const uint8_t *p;
    size_t left;
    const char *error; /* the first thing that was wrong */
};

static const uint8_t *take(struct cursor *c, size_t n)
{
    const uint8_t *p = c->p;

    if (c->error || c->left < n) {
        c->error = c->error ? c->error : "the message is too short";
        return NULL;
    }
    c->p += n;
    c->left -= n;
    return p;
}

/* ---- the field types ---------------------------------------------------- */

#define size_u8(v) ((void)(v), (size_t)1)
#define size_u16(v) ((void)(v), (size_t)2)
#define size_u32(v) ((void)(v), (size_t)4)
#define size_u64(v) ((void)(v), (size_t)8)
#define size_id(v) ((void)(v), (size_t)16)
#define size_key(v) ((void)(v), (size_t)32)
#define size_str(v) ((size_t)1 + (v)->n)
#define size_blob(v) ((size_t)(v)->n)

static uint8_t *put_u8(uint8_t *p, const lc_u8 *v)
{
    *p = *v;
    return p + 1;
}

static uint8_t *put_u16(uint8_t *p, const lc_u16 *v)
{
    ft_put_u16(p, *v);
    return p + 2;
}

static uint8_t *put_u32(uint8_t *p, const lc_u32 *v)
{
    ft_put_u32(p, *v);
    return p + 4;
}

static uint8_t *put_u64(uint8_t *p, const lc_u64 *v)
{
    ft_put_u64(p, *v);
    return p + 8;
}

static uint8_t *put_id(uint8_t *p, const lc_id *v)
{
    memcpy(p, v->b, sizeof v->b);
    return p + sizeof v->b;
}

static uint8_t *put_key(uint8_t *p, const lc_key *v)
{
    memcpy(p, v->b, sizeof v->b);
    return p + sizeof v->b;
}

static uint8_t *put_str(uint8_t *p, const lc_str *v)
{
    *p = v->n;
    memcpy(p + 1, v->s, v->n);
    return p + 1 + v->n;
}

static uint8_t *put_blob(uint8_t *p, const lc_blob *v)
{
    if (v->n) {
        memcpy(p, v->p, v->n);
    }
    return p + v->n;
}

static void get_u8(struct cursor *c, lc_u8 *v)
{
    const uint8_t *p = take(c, 1);
    *v = p ? *p : 0;
}

static void get_u16(struct cursor *c, lc_u16 *v)
{
    const uint8_t *p = take(c, 2);
    *v = p ? ft_get_u16(p) : 0;
}

static void get_u32(struct cursor *c, lc_u32 *v)
{
    const uint8_t *p = take(c, 4);
    *v = p ? ft_get_u32(p) : 0;
}

static void get_u64(struct cursor *c, lc_u64 *v)
{
    const uint8_t *p = take(c, 8);
    *v = p ? ft_get_u64(p) : 0;
}

static void get_id(struct cursor *c, lc_id *v)
{
    const uint8_t *p = take(c, sizeof v->b);
    if (p) {
        memcpy(v->b, p, sizeof v->b);
    }
}

static void get_key(struct cursor *c, lc_key *v)
{
    const uint8_t *p = take(c, sizeof v->b);
    if (p) {
        memcpy(v->b, p, sizeof v->b);
    }
}

static void get_str(struct cursor *c, lc_str *v)
{
    const uint8_t *p = take(c, 1);
    uint8_t n = p ? *p : 0;

    p = take(c, n);
    v->n = p ? n : 0;
    if (p) {
        memcpy(v->s, p, n);
        if (memchr(p, 0, n)) {
            c->error = "a text has a NUL byte in it";
        }
    }
    v->s[v->n] = 0;
}

static void get_blob(struct cursor *c, lc_blob *v)
{
    v->n = c->error ? 0 : (uint32_t)c->left;
    v->p = take(c, v->n);
}

/* ---- one function a message, from the table ----------------------------- */

/* clang-format off */
#define SIZE(type, field) n += size_##type(&m->field);
#define PUT(type, field) p = put_##type(p, &m->field);
#define GET(type, field) get_##type(c, &m->field);
#define M(NAME, name, code)                                                \
    __attribute__((unused)) /* frame's, preamble's */                      \
    static inline size_t size_of_##name(const struct lc_##name *m)         \
    {                                                                      \
        size_t n = 0;                                                      \
        LC_FIELDS_##name(SIZE)                                             \
        return n;                                                          \
    }                                                                      \
    static uint8_t *put_##name(uint8_t *p, const struct lc_##name *m)      \
    {                                                                      \
        LC_FIELDS_##name(PUT)                                              \
        return p;                                                          \
    }                                                                      \
    static void get_##name(struct cursor *c, struct lc_##name *m)          \
    {                                                                      \
        LC_FIELDS_##name(GET)                                              \
    }
LC_MESSAGES(M)
M(FRAME, frame, 0)
M(PREAMBLE, preamble, 0)
#undef M
#undef SIZE
#undef PUT
#undef GET

const char *lc_type_name(uint16_t type)
{
    switch (type) {
#define M(NAME, name, code) case LC_##NAME: return #NAME;
    LC_MESSAGES(M)
#undef M
    }
    return NULL;
}

size_t lc_body_size(const struct lc_msg *m)
{
    switch (m->type) {
#define M(NAME, name, code) case LC_##NAME: return size_of_##name(&m->u.name);
    LC_MESSAGES(M)
#undef M
    }
    return 0;
}

static uint8_t *put_body(uint8_t *p, const struct lc_msg *m)
{
    switch (m->type) {
#define M(NAME, name, code) case LC_##NAME: return put_##name(p, &m->u.name);
    LC_MESSAGES(M)
#undef M
    }
    return p;
}
/* clang-format on */

/* The trailing blob's length, for the messages that have one. */
static size_t blob_size(const struct lc_msg *m)
{
    switch (m->type) {
    case LC_ENTRIES:
        return m->u.entries.batches.n;
    case LC_REQUEST:
        return m->u.request.json.n;
    case LC_REPLY:
        return m->u.reply.json.n;
    }
    return 0;
}

static bool fill_frame(struct lc_frame *out, const struct lc_frame *frame,
                       const struct lc_msg *m, size_t body)
{
    if (!lc_type_name(m->type) || body > LC_MAX_BODY) {
        return false;
    }
    *out = *frame;
    out->magic = LC_MAGIC;
    out->type = m->type;
    out->version = LC_VERSION;
    out->length = (uint32_t)body;
    out->reserved = 0;
    return true;
}

size_t lc_encode(uint8_t *buf, size_t cap, const struct lc_frame *frame,
                 const struct lc_msg *m)
{
    size_t body = lc_body_size(m);
    struct lc_frame f;

    if (cap < LC_HEADER_SIZE || cap - LC_HEADER_SIZE < body ||
        !fill_frame(&f, frame, m, body)) {
        return 0;
    }
    put_body(put_frame(buf, &f), m);
    return LC_HEADER_SIZE + body;
}

size_t lc_encode_head(uint8_t *buf, size_t cap, const struct lc_frame *frame,
                      const struct lc_msg *m)
{
    size_t body = lc_body_size(m), head = body - blob_size(m);
    struct lc_msg bare = *m;
    struct lc_frame f;

    if (cap < LC_HEADER_SIZE || cap - LC_HEADER_SIZE < head ||
        !fill_frame(&f, frame, m, body)) {
        return 0;
    }
    switch (bare.type) {
    case LC_ENTRIES:
        bare.u.entries.batches.n = 0;
        break;
    case LC_REQUEST:
        bare.u.request.json.n = 0;
        break;
    case LC_REPLY:
        bare.u.reply.json.n = 0;
        break;
    }
    put_body(put_frame(buf, &f), &bare);
    return LC_HEADER_SIZE + head;
}

const char *lc_decode_frame(struct lc_frame *frame, const uint8_t *p)
{
    struct cursor c = { p, LC_HEADER_SIZE, NULL };

    get_frame(&c, frame);
    if (frame->magic != LC_MAGIC) {
        return "not a frame of the logging channel";
    }
    if (frame->version != LC_VERSION) {
        return "another version of the logging channel";
    }
    if (!lc_type_name(frame->type)) {
        return "unknown message type";
    }
    if (frame->length > LC_MAX_BODY) {
        return "the message is too long";
    }
    return frame->reserved ? "reserved bytes are not zero" : NULL;
}

const char *lc_decode_body(struct lc_msg *m, uint16_t type, const uint8_t *p,
                           size_t n)
{
    struct cursor c = { p, n, NULL };

    m->type = type;
    switch (type) {
#define M(NAME, name, code)                                                  \
    case LC_##NAME:                                                          \
        get_##name(&c, &m->u.name);                                          \
        break;
        LC_MESSAGES(M)
#undef M
    default:
        return "unknown message type";
    }
    if (!c.error && c.left) {
        c.error = "the message is too long for its type";
    }
    return c.error;
}

void lc_encode_preamble(uint8_t out[LC_PREAMBLE_SIZE], uint8_t kind,
                        const lc_id *vm)
{
    struct lc_preamble p = { .magic = LC_PREAMBLE_MAGIC,
                             .version = LC_VERSION,
                             .kind = kind,
                             .vm = *vm };

    put_preamble(out, &p);
}

const char *lc_decode_preamble(struct lc_preamble *out,
                               const uint8_t p[LC_PREAMBLE_SIZE])
{
    struct cursor c = { p, LC_PREAMBLE_SIZE, NULL };

    get_preamble(&c, out);
    if (out->magic != LC_PREAMBLE_MAGIC) {
        return "not a Lockstep connection";
    }
    if (out->version != LC_VERSION) {
        return "another version of Lockstep";
    }
    if (out->kind < LC_KIND_LOG || out->kind > LC_KIND_CONTROL ||
        out->reserved) {
        return "unknown kind of connection";
    }
    return NULL;
}

void lc_set_str(lc_str *to, const char *text)
{
    size_t n = strlen(text);

    if (n > 255) {
        for (n = 255; n && ((uint8_t)text[n] & 0xc0) == 0x80; n--) {
        }
    }
    to->n = (uint8_t)n;
    memcpy(to->s, text, n);
    to->s[n] = 0;
}

bool lc_id_equal(const lc_id *a, const lc_id *b)
{
    return !memcmp(a->b, b->b, sizeof a->b);
}
