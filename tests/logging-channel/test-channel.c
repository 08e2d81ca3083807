/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-channel.c - which frame may come next, for every type and side */
#include "logging-channel/channel.h"

#include <glib.h>
#include <string.h>

static const lc_id pair = { { 1 } }, other_pair = { { 2 } };

/* Both ends of a connection; greeted unless fresh. */
static void two(struct lc_channel *a, struct lc_channel *b, enum lc_kind kind,
                bool greeted)
{
    struct lc_frame f;

    lc_channel_init(a, kind, LC_CONNECTOR, &pair, 3);
    lc_channel_init(b, kind, LC_ACCEPTOR, &pair, 3);
    if (greeted) {
        g_assert_null(lc_channel_stamp(a, LC_HELLO, &f));
        g_assert_null(lc_channel_accept(b, &f));
        g_assert_false(lc_channel_open(a));
        g_assert_null(lc_channel_stamp(b, LC_WELCOME, &f));
        g_assert_null(lc_channel_accept(a, &f));
        g_assert_true(lc_channel_open(a));
        g_assert_true(lc_channel_open(b));
    }
}

/* Who may send a type once greeted: 'c'onnector, 'a'cceptor, 'b'oth, '-'. On
 * connections for the log, the clone, control. */
static const struct {
    uint16_t type;
    const char *who;
} rights[] = {
    { LC_HELLO, "---" },
    { LC_WELCOME, "---" },
    { LC_REFUSE, "---" },
    { LC_ENTRIES, "c--" },
    { LC_ACK, "a--" },
    { LC_LOADED, "a--" },
    { LC_PROTECTED, "c--" },
    { LC_RELINQUISH, "b--" },
    { LC_RELINQUISH_ACK, "b--" },
    { LC_DIVERGED, "a--" },
    { LC_END, "b--" },
    { LC_CLONE_FAILED, "b--" },
    { LC_HEARTBEAT, "---" },
    { LC_REQUEST, "--c" },
    { LC_REPLY, "--a" },
    { LC_VL_HELLO, "---" },
    { LC_VL_CLONED, "---" },
    { LC_VL_LOADED, "---" },
    { LC_VL_FAILED, "---" },
    { LC_VL_DISK, "---" },
    { LC_VL_LIVE, "---" },
    { LC_VL_ALONE, "---" },
    { LC_VL_DIVERGED, "---" },
    { LC_VL_ENDED, "---" },
    { LC_VL_PROGRESS, "---" },
    { LC_VL_CLONE, "---" },
    { LC_VL_INCOMING, "---" },
    { LC_VL_CANCEL, "---" },
    { LC_VL_PROBE, "---" },
    { LC_VL_GO_LIVE, "---" },
    { LC_VL_GO_ALONE, "---" },
    { LC_VL_FENCE, "---" },
};

static void test_rights(void)
{
    size_t i, n = 0;
    int kind, side;

#define M(NAME, name, code) n++;
    LC_MESSAGES(M)
#undef M
    g_assert_cmpuint(n, ==, G_N_ELEMENTS(rights));
    for (i = 0; i < n; i++) {
        for (kind = LC_KIND_LOG; kind <= LC_KIND_CONTROL; kind++) {
            for (side = 0; side < 2; side++) {
                char who = rights[i].who[kind - LC_KIND_LOG];
                bool may = who == 'b' || who == (side ? 'a' : 'c');
                struct lc_channel c[2];
                struct lc_frame f = { .sequence = 2,
                                      .generation = 3,
                                      .pair = pair,
                                      .type = rights[i].type };

                two(&c[0], &c[1], (enum lc_kind)kind, true);
                g_assert_true((lc_channel_stamp(&c[side], rights[i].type,
                                                &f) == NULL) == may);
                f.sequence = 2;
                f.generation = 3;
                f.pair = pair;
                f.type = rights[i].type;
                g_assert_true((lc_channel_accept(&c[!side], &f) == NULL) ==
                              may);
            }
        }
    }
}

static void test_greeting(void)
{
    struct lc_channel a, b;
    struct lc_frame f;

    two(&a, &b, LC_KIND_LOG, false);
    g_assert_nonnull(lc_channel_stamp(&a, LC_ENTRIES, &f));
    g_assert_nonnull(lc_channel_stamp(&a, LC_WELCOME, &f));
    g_assert_nonnull(lc_channel_stamp(&b, LC_WELCOME, &f));
    g_assert_null(lc_channel_stamp(&a, LC_HELLO, &f));
    g_assert_cmpuint(f.sequence, ==, 1);
    g_assert_nonnull(lc_channel_stamp(&a, LC_HELLO, &f));
    g_assert_nonnull(lc_channel_stamp(&a, LC_ENTRIES, &f));
    f.type = LC_HELLO;
    f.sequence = 1;
    f.generation = 3;
    f.pair = pair;
    g_assert_null(lc_channel_accept(&b, &f));
    g_assert_nonnull(lc_channel_stamp(&b, LC_ACK, &f));
    g_assert_null(lc_channel_stamp(&b, LC_REFUSE, &f));
    g_assert_null(lc_channel_accept(&a, &f));
    /* after a refusal: nothing, either way */
    g_assert_false(lc_channel_open(&a));
    g_assert_false(lc_channel_open(&b));
    g_assert_nonnull(lc_channel_stamp(&a, LC_ENTRIES, &f));
    g_assert_nonnull(lc_channel_stamp(&b, LC_ACK, &f));
    f.sequence = 2;
    f.type = LC_ENTRIES;
    g_assert_nonnull(lc_channel_accept(&b, &f));
    f.type = LC_ACK;
    g_assert_nonnull(lc_channel_accept(&a, &f));
}

static void test_order(void)
{
    struct lc_channel a, b;
    struct lc_frame f, g;
    int i;

    two(&a, &b, LC_KIND_LOG, true);
    for (i = 2; i < 10; i++) {
        g_assert_null(lc_channel_stamp(&a, LC_ENTRIES, &f));
        g_assert_cmpuint(f.sequence, ==, i);
        g = f;
        g.sequence++;
        g_assert_cmpstr(lc_channel_accept(&b, &g), ==,
                        "a frame is missing, "
                        "repeated or out of order");
        g.sequence -= 2;
        g_assert_nonnull(lc_channel_accept(&b, &g));
        g = f;
        g.generation = 2;
        g_assert_cmpstr(lc_channel_accept(&b, &g), ==,
                        "a frame of another generation");
        g = f;
        g.pair = other_pair;
        g_assert_cmpstr(lc_channel_accept(&b, &g), ==,
                        "a frame of another pair");
        g_assert_null(lc_channel_accept(&b, &f));
        g_assert_nonnull(lc_channel_accept(&b, &f));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/channel/each type has its sender and connection",
                    test_rights);
    g_test_add_func("/channel/HELLO, then WELCOME or REFUSE", test_greeting);
    g_test_add_func("/channel/strict order, pair and generation", test_order);
    return g_test_run();
}
