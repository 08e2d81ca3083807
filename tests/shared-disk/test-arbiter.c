/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test-arbiter.c - the test-and-set core
 *
 * The table lists every event in every state of both operations; below it
 * are stories of lost replies, stale reads and late landings.
 */
#include <glib.h>
#include <string.h>

#include "shared-disk/arbiter.h"

static const char *const state_names[] = { TAS_STATES(FT_WORD) };

#define MS FT_NS_PER_MS
#define NOW (100000 * MS)

static const struct tas_record absent = { .kind = TAS_ABSENT };
#define FREE(g)                                                              \
    {                                                                        \
        .kind = TAS_FREE, .generation = (g), .same_pair = true               \
    }
#define MINE(g)                                                              \
    {                                                                        \
        .kind = TAS_OWNED, .generation = (g), .same_pair = true,             \
        .mine = true                                                         \
    }
#define THEIRS(g)                                                            \
    {                                                                        \
        .kind = TAS_OWNED, .generation = (g), .same_pair = true              \
    }
#define OTHER_PAIR(g)                                                        \
    {                                                                        \
        .kind = TAS_FREE, .generation = (g)                                  \
    }

/* R(variant, EVENT, fields) */
#define CASES(C)                                                             \
    C("begin free", BEGIN, .op = TAS_OP_FREE, .generation = 6)               \
    C("begin take", BEGIN, .op = TAS_OP_TAKE, .generation = 6)               \
    C("begin prepare", BEGIN, .op = TAS_OP_PREPARE, .generation = 6)         \
    C("stop", STOP, .op = TAS_OP_NONE)                                       \
    C("read absent", READ, .seen = { .kind = TAS_ABSENT })                   \
    C("read free(4)", READ, .seen = FREE(4))                                 \
    C("read free(5)", READ, .seen = FREE(5))                                 \
    C("read free(6)", READ, .seen = FREE(6))                                 \
    C("read mine(5)", READ, .seen = MINE(5))                                 \
    C("read theirs(5)", READ, .seen = THEIRS(5))                             \
    C("read other pair(5)", READ, .seen = OTHER_PAIR(5))                     \
    C("read nonsense", READ, .seen = { .kind = TAS_FREE })                   \
    C("read failed", READ, .status = TAS_UNKNOWN)                            \
    C("read too late", READ, .number = 1, .seen = MINE(5))                   \
    C("wrote", WROTE, .status = TAS_OK)                                      \
    C("miscompare", WROTE, .status = TAS_MISCOMPARE)                         \
    C("write failed", WROTE, .status = TAS_UNKNOWN)                          \
    C("wrote too late", WROTE, .number = 1, .status = TAS_OK)                \
    C("prepared", PREPARED, .status = TAS_OK)                                \
    C("preparation failed", PREPARED, .status = TAS_UNKNOWN)                 \
    C("prepared too late", PREPARED, .number = 1, .status = TAS_OK)          \
    C("time-out early", TIMEOUT, .now = NOW + 10 * MS)                       \
    C("time-out", TIMEOUT, .now = NOW + 1000 * MS)

static const struct {
    const char *name;
    struct tas_event ev;
} cases[] = {
#define C(variant, EVENT, ...)                                               \
    { variant, { .kind = TAS_EV_##EVENT, __VA_ARGS__ } },
    CASES(C)
#undef C
};
#define N_CASES (sizeof(cases) / sizeof(cases[0]))

/* Generation 5 is worked on; generation 4 was seen. One column for each
 * variant above, in its order: the state that follows, then r (read), w
 * (write), p (prepare), or the result. "=" stays and does nothing. */
static const struct {
    enum tas_state state;
    enum tas_op op;
    const char *columns;
} rows[] = {
    { TAS_ST_IDLE, TAS_OP_NONE,
      "R:r R:r Q:p = = = = = = = = = = = = = = = = = = = =" },
    /*      begin       stop absent f4  f5    f6      mine5   theirs5 other  */
    { TAS_ST_READING, TAS_OP_FREE,
      "R:r R:r Q:p I: P: T:w O:done O:taken O:taken O:taken O:taken P: P: ="
      " = = = = = = = = P:" },
    { TAS_ST_READING, TAS_OP_TAKE,
      "R:r R:r Q:p I: P: P: T:w O:lost O:won O:lost P: P: P: ="
      " = = = = = = = = P:" },
    /*                                  wrote  miscompare failed late */
    { TAS_ST_TRYING, TAS_OP_FREE,
      "R:r R:r Q:p I: = = = = = = = = = = O:done R:r P: = = = = = P:" },
    { TAS_ST_TRYING, TAS_OP_TAKE,
      "R:r R:r Q:p I: = = = = = = = = = = O:won R:r P: = = = = = P:" },
    { TAS_ST_PAUSING, TAS_OP_FREE,
      "R:r R:r Q:p I: = = = = = = = = = = = = = = = = = = R:r" },
    { TAS_ST_PAUSING, TAS_OP_TAKE,
      "R:r R:r Q:p I: = = = = = = = = = = = = = = = = = = R:r" },
    { TAS_ST_PREPARING, TAS_OP_PREPARE,
      "R:r R:r Q:p I: = = = = = = = = = = = = = = O:done P: = = P:" },
    { TAS_ST_PAUSING, TAS_OP_PREPARE,
      "R:r R:r Q:p I: = = = = = = = = = = = = = = = = = = Q:p" },
    { TAS_ST_OVER, TAS_OP_TAKE,
      "R:r R:r Q:p I: = = = = = = = = = = = = = = = = = = =" },
};

static const char *describe(const struct tas *before, const struct tas *t,
                            const struct tas_update *up)
{
    static char text[64];

    if (up->count == 0 && t->state == before->state) {
        return "=";
    }
    g_snprintf(text, sizeof(text), "%c:", "IRTQPO"[t->state]);
    if (up->count != 0) {
        g_assert_cmpuint(up->count, ==, 1);
        g_strlcat(text,
                  up->effect[0].kind == TAS_DO_READ    ? "r"
                  : up->effect[0].kind == TAS_DO_WRITE ? "w"
                  : up->effect[0].kind == TAS_DO_PREPARE
                      ? "p"
                      : tas_result_name(up->effect[0].result),
                  sizeof(text));
    }
    return text;
}

static void test_table(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        g_auto(GStrv) columns = g_strsplit(rows[i].columns, " ", 0);

        g_assert_cmpuint(g_strv_length(columns), ==, N_CASES);
        for (size_t c = 0; c < N_CASES; c++) {
            struct tas_timing timing = TAS_TIMING_DEFAULT;
            struct tas_event ev = cases[c].ev;
            struct tas_update up;
            struct tas t, before;

            tas_init(&t, &timing);
            t.state = rows[i].state;
            t.op = rows[i].op;
            t.result = t.state == TAS_ST_OVER ? TAS_RES_WON : TAS_RES_NONE;
            t.generation = 5;
            t.highest = 4;
            t.number = 9;
            t.until = NOW + 50 * MS;
            ev.now = ev.now ? ev.now : NOW;
            ev.number = ev.number ? ev.number : 9;
            before = t;
            tas_step(&t, &ev, &up);
            g_test_message("%s, %s", state_names[rows[i].state],
                           cases[c].name);
            g_assert_cmpstr(describe(&before, &t, &up), ==, columns[c]);
            g_assert_cmpstr(tas_invariant(&t), ==, NULL);
        }
    }
}

/* Stories: what the storage answers, and what must come of it. */
static struct tas_effect begin(struct tas *t, enum tas_op op, uint64_t g)
{
    struct tas_timing timing = TAS_TIMING_DEFAULT;
    struct tas_event ev = { .kind = TAS_EV_BEGIN,
                            .now = NOW,
                            .op = op,
                            .generation = g };
    struct tas_update up;

    tas_init(t, &timing);
    tas_step(t, &ev, &up);
    g_assert_cmpuint(up.count, ==, 1);
    return up.effect[0];
}

static struct tas_effect answer(struct tas *t, enum tas_event_kind kind,
                                enum tas_status status,
                                struct tas_record seen)
{
    struct tas_event ev = { .kind = kind,
                            .now = NOW,
                            .status = status,
                            .number = t->number,
                            .seen = seen };
    struct tas_update up;

    tas_step(t, &ev, &up);
    if (t->state == TAS_ST_PAUSING) {
        g_assert_cmpuint(up.count, ==, 0);
        ev.kind = TAS_EV_TIMEOUT;
        ev.now = tas_deadline(t);
        tas_step(t, &ev, &up);
    }
    g_assert_cmpuint(up.count, ==, 1);
    return up.effect[0];
}

static void test_lost_reply(void)
{
    struct tas_record mine = MINE(5), free5 = FREE(5);
    struct tas_effect e;
    struct tas t;

    begin(&t, TAS_OP_TAKE, 5);
    e = answer(&t, TAS_EV_READ, TAS_OK, free5);
    g_assert_cmpint(e.kind, ==, TAS_DO_WRITE);
    g_assert_cmpint(e.desired, ==, TAS_OWNED);
    g_assert_cmpuint(e.expect.generation, ==, 5);
    e = answer(&t, TAS_EV_WROTE, TAS_UNKNOWN, absent);
    g_assert_cmpint(e.kind, ==, TAS_DO_READ);
    e = answer(&t, TAS_EV_READ, TAS_OK, mine);
    g_assert_cmpint(e.result, ==, TAS_RES_WON);
}

static void test_landed_late(void)
{
    struct tas_record mine = MINE(5), free5 = FREE(5);
    struct tas_effect e;
    struct tas t;

    begin(&t, TAS_OP_TAKE, 5);
    answer(&t, TAS_EV_READ, TAS_OK, free5);
    answer(&t, TAS_EV_WROTE, TAS_UNKNOWN, absent);
    e = answer(&t, TAS_EV_READ, TAS_OK, free5); /* not yet landed */
    g_assert_cmpint(e.kind, ==, TAS_DO_WRITE);
    e = answer(&t, TAS_EV_WROTE, TAS_MISCOMPARE, absent); /* now it has */
    g_assert_cmpint(e.kind, ==, TAS_DO_READ);
    e = answer(&t, TAS_EV_READ, TAS_OK, mine);
    g_assert_cmpint(e.result, ==, TAS_RES_WON);
}

/* I5 */
static void test_tries_for_ever(void)
{
    struct tas_record free5 = FREE(5), stale = FREE(4);
    struct tas_effect e;
    struct tas t;

    begin(&t, TAS_OP_TAKE, 5);
    for (int i = 0; i < 1000; i++) {
        e = answer(&t, TAS_EV_READ, TAS_UNKNOWN, absent);
        g_assert_cmpint(e.kind, ==, TAS_DO_READ);
        e = answer(&t, TAS_EV_READ, TAS_OK, absent);
        g_assert_cmpint(e.kind, ==, TAS_DO_READ);
    }
    e = answer(&t, TAS_EV_READ, TAS_OK, free5);
    g_assert_cmpint(e.kind, ==, TAS_DO_WRITE);
    e = answer(&t, TAS_EV_WROTE, TAS_MISCOMPARE, absent);
    /* a stale read says nothing, neither lost nor free */
    e = answer(&t, TAS_EV_READ, TAS_OK, stale);
    g_assert_cmpint(e.kind, ==, TAS_DO_READ);
    e = answer(&t, TAS_EV_READ, TAS_OK, absent);
    g_assert_cmpint(e.kind, ==, TAS_DO_READ);
}

static void test_first_free_record(void)
{
    struct tas_effect e;
    struct tas t;

    begin(&t, TAS_OP_FREE, 1);
    e = answer(&t, TAS_EV_READ, TAS_OK, absent);
    g_assert_cmpint(e.kind, ==, TAS_DO_WRITE);
    g_assert_cmpint(e.expect.kind, ==, TAS_ABSENT);
    g_assert_cmpint(e.desired, ==, TAS_FREE);
    e = answer(&t, TAS_EV_WROTE, TAS_OK, absent);
    g_assert_cmpint(e.result, ==, TAS_RES_DONE);
}

/* I10 */
static void test_new_generation(void)
{
    struct tas_record theirs = THEIRS(5), stale = FREE(5);
    struct tas_effect e;
    struct tas t;

    /* the owner of 5 was someone else and gave it back: 6 is still ours */
    begin(&t, TAS_OP_FREE, 6);
    e = answer(&t, TAS_EV_READ, TAS_OK, theirs);
    g_assert_cmpint(e.kind, ==, TAS_DO_WRITE);
    g_assert_cmpuint(e.generation, ==, 6);
    answer(&t, TAS_EV_WROTE, TAS_OK, absent);
    /* from now on generation 5 is a stale read */
    {
        struct tas_event ev = { .kind = TAS_EV_BEGIN,
                                .now = NOW,
                                .op = TAS_OP_FREE,
                                .generation = 5 };
        struct tas_update up;

        tas_step(&t, &ev, &up);
        e = answer(&t, TAS_EV_READ, TAS_OK, stale);
        g_assert_cmpint(e.kind, ==, TAS_DO_READ);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/arbiter/every state and event has its answer",
                    test_table);
    g_test_add_func("/arbiter/a lost reply of a win is a win",
                    test_lost_reply);
    g_test_add_func("/arbiter/a try that lands late is a win",
                    test_landed_late);
    g_test_add_func("/arbiter/unknown is tried again for ever",
                    test_tries_for_ever);
    g_test_add_func("/arbiter/the first record follows a positive absence",
                    test_first_free_record);
    g_test_add_func("/arbiter/generations never go back",
                    test_new_generation);
    return g_test_run();
}
