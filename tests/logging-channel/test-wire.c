/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-wire.c - the bytes of every message, and what a decoder refuses */
#include <glib.h>
#include <string.h>

#include "golden.h"

#define N_GOLDEN G_N_ELEMENTS(golden)

static const struct lc_frame head = {
    .sequence = 0x0807060504030201u,
    .generation = 0x1817161514131211u,
    .pair = { { 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
                0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f } },
};

static char *to_hex(const uint8_t *p, size_t n)
{
    char *s = g_malloc0(2 * n + 1);
    size_t i;

    for (i = 0; i < n; i++) {
        g_snprintf(s + 2 * i, 3, "%02x", p[i]);
    }
    return s;
}

/* A copy that ends where the heap block ends: a sanitizer sees overreads. */
static uint8_t *exact(const uint8_t *p, size_t n)
{
    uint8_t *copy = g_malloc(n ? n : 1);

    memcpy(copy, p, n);
    return copy;
}

/* The whole frame, from the vector: the header's constant parts here. */
static char *expected_hex(const struct golden *g)
{
    return g_strdup_printf("4c43534b"
                           "%.4s"
                           "0100"
                           "%.8s"
                           "00000000"
                           "0102030405060708"
                           "1112131415161718"
                           "202122232425262728292a2b2c2d2e2f"
                           "%s",
                           g->hex, g->hex + 4, g->hex + 12);
}

static void test_each_message_has_a_vector(void)
{
    static const uint16_t types[] = {
#define M(NAME, name, code) code,
        LC_MESSAGES(M)
#undef M
    };
    size_t i;

    g_assert_cmpuint(N_GOLDEN, ==, G_N_ELEMENTS(types));
    for (i = 0; i < N_GOLDEN; i++) {
        g_assert_cmphex(golden[i].m.type, ==, types[i]);
        g_assert_nonnull(lc_type_name(types[i]));
    }
    g_assert_null(lc_type_name(0));
    g_assert_null(lc_type_name(0xffff));
}

static void test_encode(void)
{
    uint8_t buf[512];
    size_t i, n, body;
    char *have, *want;

    for (i = 0; i < N_GOLDEN; i++) {
        memset(buf, 0xee, sizeof(buf));
        n = lc_encode(buf, sizeof(buf), &head, &golden[i].m);
        have = to_hex(buf, n);
        want = expected_hex(&golden[i]);
        g_assert_cmpstr(have, ==, want);
        g_free(have);
        g_free(want);
        body = lc_body_size(&golden[i].m);
        g_assert_cmpuint(n, ==, LC_HEADER_SIZE + body);
        g_assert_cmpuint(buf[n], ==, 0xee);
        /* exactly enough, and one byte too few */
        g_assert_cmpuint(lc_encode(buf, n, &head, &golden[i].m), ==, n);
        g_assert_cmpuint(lc_encode(buf, n - 1, &head, &golden[i].m), ==, 0);
    }
}

static const lc_blob *blob_of(const struct lc_msg *m)
{
    switch (m->type) {
    case LC_ENTRIES:
        return &m->u.entries.batches;
    case LC_REQUEST:
        return &m->u.request.json;
    case LC_REPLY:
        return &m->u.reply.json;
    }
    return NULL;
}

static void test_encode_head(void)
{
    uint8_t whole[512], part[512];
    size_t i, n, k, blob;

    for (i = 0; i < N_GOLDEN; i++) {
        const lc_blob *b = blob_of(&golden[i].m);

        blob = b ? b->n : 0;
        n = lc_encode(whole, sizeof(whole), &head, &golden[i].m);
        k = lc_encode_head(part, sizeof(part), &head, &golden[i].m);
        g_assert_cmpuint(k + blob, ==, n);
        g_assert_cmpmem(part, k, whole, k);
    }
}

static void test_decode(void)
{
    uint8_t buf[512], again[512];
    size_t i, n;

    for (i = 0; i < N_GOLDEN; i++) {
        struct lc_frame frame;
        struct lc_msg m;
        uint8_t *p;

        n = lc_encode(buf, sizeof(buf), &head, &golden[i].m);
        p = exact(buf, n);
        g_assert_cmpstr(lc_decode_frame(&frame, p), ==, NULL);
        g_assert_cmpuint(frame.type, ==, golden[i].m.type);
        g_assert_cmpuint(frame.length, ==, n - LC_HEADER_SIZE);
        g_assert_cmphex(frame.sequence, ==, head.sequence);
        g_assert_cmphex(frame.generation, ==, head.generation);
        g_assert_true(lc_id_equal(&frame.pair, &head.pair));
        g_assert_cmpstr(lc_decode_body(&m, frame.type, p + LC_HEADER_SIZE,
                                       frame.length),
                        ==, NULL);
        g_assert_cmpuint(lc_encode(again, sizeof(again), &head, &m), ==, n);
        g_assert_cmpmem(again, n, buf, n);
        g_free(p);
    }
}

static void test_truncations(void)
{
    uint8_t buf[512];
    size_t i, k, n;

    for (i = 0; i < N_GOLDEN; i++) {
        const lc_blob *b = blob_of(&golden[i].m);
        struct lc_msg m;

        n = lc_encode(buf, sizeof(buf), &head, &golden[i].m) - LC_HEADER_SIZE;
        for (k = 0; k < n; k++) {
            uint8_t *p = exact(buf + LC_HEADER_SIZE, k);
            const char *why = lc_decode_body(&m, golden[i].m.type, p, k);

            /* a blob is the rest, however long: only its head counts */
            if (b && k >= n - b->n) {
                g_assert_null(why);
            } else {
                g_assert_cmpstr(why, ==, "the message is too short");
            }
            g_free(p);
        }
    }
}

static void test_trailing_bytes(void)
{
    uint8_t buf[512];
    size_t i, k, n;

    for (i = 0; i < N_GOLDEN; i++) {
        struct lc_msg m;

        if (blob_of(&golden[i].m)) {
            continue;
        }
        memset(buf, 0, sizeof(buf));
        n = lc_encode(buf, sizeof(buf), &head, &golden[i].m) - LC_HEADER_SIZE;
        for (k = 1; k < 20; k++) {
            g_assert_cmpstr(lc_decode_body(&m, golden[i].m.type,
                                           buf + LC_HEADER_SIZE, n + k),
                            ==, "the message is too long for its type");
        }
    }
}

static void frame_says(size_t at, uint8_t value, const char *says)
{
    struct lc_msg m = { .type = LC_LOADED };
    struct lc_frame f;
    uint8_t buf[64];

    m.u.loaded.position = 1;
    g_assert_cmpuint(lc_encode(buf, sizeof(buf), &head, &m), ==, 56);
    buf[at] = value;
    g_assert_cmpstr(lc_decode_frame(&f, buf), ==, says);
}

static void test_headers(void)
{
    size_t i;

    for (i = 0; i < 4; i++) {
        frame_says(i, 0xff, "not a frame of the logging channel");
    }
    frame_says(4, 0xf0, "unknown message type");
    frame_says(5, 0x01, "unknown message type");
    frame_says(6, 2, "another version of the logging channel");
    frame_says(7, 1, "another version of the logging channel");
    frame_says(11, 1, "the message is too long");
    for (i = 12; i < 16; i++) {
        frame_says(i, 1, "reserved bytes are not zero");
    }
    /* numbers, generation, pair: any value (channel.h judges them) */
    for (i = 16; i < 48; i++) {
        frame_says(i, 0xff, NULL);
    }
}

/* 2^24 is the largest body. */
static void test_body_bounds(void)
{
    struct lc_msg m = { .type = LC_ENTRIES };
    uint8_t *big = g_malloc(LC_HEADER_SIZE + LC_MAX_BODY + 1);
    uint8_t *data = g_malloc0(LC_MAX_BODY);
    struct lc_frame f;

    memset(&m.u.entries, 0, sizeof(m.u.entries));
    m.u.entries.batches.p = data;
    m.u.entries.batches.n = LC_MAX_BODY - 24;
    g_assert_cmpuint(lc_encode(big, LC_HEADER_SIZE + LC_MAX_BODY + 1, &head,
                               &m),
                     ==, LC_HEADER_SIZE + LC_MAX_BODY);
    g_assert_null(lc_decode_frame(&f, big));
    m.u.entries.batches.n++;
    g_assert_cmpuint(lc_encode(big, LC_HEADER_SIZE + LC_MAX_BODY + 1, &head,
                               &m),
                     ==, 0);
    g_free(big);
    g_free(data);
    m.type = 0x7fff;
    g_assert_cmpuint(lc_body_size(&m), ==, 0);
    g_assert_cmpuint(lc_encode((uint8_t[64]){ 0 }, 64, &head, &m), ==, 0);
}

static void test_texts(void)
{
    uint8_t body[300] = { 0 };
    struct lc_msg m;
    lc_str s;
    char text[400];
    size_t i;

    /* CLONE_FAILED{str}: 255 bytes fit, a NUL inside does not */
    body[0] = 255;
    memset(body + 1, 'x', 255);
    g_assert_null(lc_decode_body(&m, LC_CLONE_FAILED, body, 256));
    g_assert_cmpuint(strlen(m.u.clone_failed.text.s), ==, 255);
    body[200] = 0;
    g_assert_cmpstr(lc_decode_body(&m, LC_CLONE_FAILED, body, 256), ==,
                    "a text has a NUL byte in it");
    body[0] = 0;
    g_assert_null(lc_decode_body(&m, LC_CLONE_FAILED, body, 1));
    g_assert_cmpstr(m.u.clone_failed.text.s, ==, "");

    /* lc_set_str cuts between characters */
    for (i = 0; i < 300; i += 3) {
        memcpy(text + i, "\xe2\x82\xac", 4);
    }
    lc_set_str(&s, text);
    g_assert_cmpuint(s.n, ==, 255);
    g_assert_true(g_utf8_validate(s.s, s.n, NULL));
    lc_set_str(&s, text + 1);
    g_assert_cmpuint(s.n, ==, 254);
    memset(text, 'y', 255);
    text[255] = 0;
    lc_set_str(&s, text);
    g_assert_cmpuint(s.n, ==, 255);
    text[4] = 0;
    lc_set_str(&s, text);
    g_assert_cmpstr(s.s, ==, "yyyy");
}

static void test_preamble(void)
{
    static const char expected[] = "4c534b31"
                                   "0100"
                                   "02"
                                   "00"
                                   "202122232425262728292a2b2c2d2e2f";
    uint8_t p[LC_PREAMBLE_SIZE], q[LC_PREAMBLE_SIZE];
    struct lc_preamble out;
    unsigned i;
    char *hex;

    lc_encode_preamble(p, LC_KIND_CLONE, &head.pair);
    hex = to_hex(p, sizeof(p));
    g_assert_cmpstr(hex, ==, expected);
    g_free(hex);
    g_assert_null(lc_decode_preamble(&out, p));
    g_assert_cmpuint(out.kind, ==, LC_KIND_CLONE);
    g_assert_true(lc_id_equal(&out.vm, &head.pair));
    for (i = 0; i < 8; i++) {
        memcpy(q, p, sizeof(q));
        q[i] ^= 0x40;
        g_assert_nonnull(lc_decode_preamble(&out, q));
    }
    for (i = 0; i < 256; i++) {
        memcpy(q, p, sizeof(q));
        q[6] = (uint8_t)i;
        g_assert_true((lc_decode_preamble(&out, q) == NULL) ==
                      (i >= LC_KIND_LOG && i <= LC_KIND_CONTROL));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wire/each message has a golden vector",
                    test_each_message_has_a_vector);
    g_test_add_func("/wire/encoding gives these bytes", test_encode);
    g_test_add_func("/wire/a head without its blob is the same",
                    test_encode_head);
    g_test_add_func("/wire/decoding gives the message back", test_decode);
    g_test_add_func("/wire/every truncation is refused", test_truncations);
    g_test_add_func("/wire/every trailing byte is refused",
                    test_trailing_bytes);
    g_test_add_func("/wire/a header's fields are checked", test_headers);
    g_test_add_func("/wire/bodies have a bound", test_body_bounds);
    g_test_add_func("/wire/texts have bounds and no NUL", test_texts);
    g_test_add_func("/wire/the preamble", test_preamble);
    return g_test_run();
}
