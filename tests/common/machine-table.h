/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * machine-table.h - a core against its table of (state, event) pairs
 *
 * What the tests of the two roles' cores share: the table, and how a story is
 * played (below). machine.tbl.h in the test's own folder lists every pair:
 * ON(state, event, next state, effects in their order), STAYS(state, events
 * that change and cause nothing), TRAPS(state, events that the driver may not
 * raise). `test-machine --table` prints it anew, to be read and compared,
 * never to be believed.
 *
 * Each state is tested in one typical instance, each event in the variants
 * that lead to different answers. Before this is included:
 * CORE, M(name), M_(NAME)  struct pri: pri, pri_##name, PRI_##NAME
 * CASES(C)                 cases.tbl.h
 * typical(m, state)        makes the typical instance, at NOW
 */
#ifndef MACHINE_TABLE_H
#define MACHINE_TABLE_H

enum variant {
#define C(VARIANT, EVENT, ...) V_##VARIANT,
    CASES(C) V_COUNT
#undef C
};

static const char *const variant_name[] = {
#define C(VARIANT, EVENT, ...) #VARIANT,
    CASES(C)
#undef C
};

static const char *const state_name[] = {
#define S(NAME, name, pair) &#NAME[sizeof("PRI_ST_") - 1], /* ALONE */
    M_(STATES)(S)
#undef S
};

static struct M(event) event_of(enum variant v, const struct CORE *m)
{
    struct M(event) ev = { .now = NOW };

    switch (v) {
#define C(VARIANT, EVENT, ...)                                               \
    case V_##VARIANT:                                                        \
        ev = (struct M(event)){ .kind = M_(EV_##EVENT), __VA_ARGS__ };       \
        break;
        CASES(C)
#undef C
    case V_COUNT:
        break;
    }
    ev.now = ev.now == 0 ? NOW : ev.now;
    return ev;
}

static const char *text_of(const struct M(update) *up)
{
    static char text[512];

    text[0] = '\0';
    for (unsigned i = 0; i < up->count; i++) {
        g_strlcat(text, i ? ", " : "", sizeof(text));
        g_strlcat(text, M(effect_name)(up->effect[i].kind), sizeof(text));
    }
    return text;
}

struct row {
    enum M(state) state;
    const char *events; /* names of variants, each behind a space */
    int next;           /* TRAPS: -1 */
    const char *effects;
};

#define ON(STATE, VARIANT, NEXT, effects)                                    \
    { M_(ST_##STATE), " " #VARIANT, M_(ST_##NEXT), effects },
#define STAYS(STATE, variants)                                               \
    { M_(ST_##STATE), variants, M_(ST_##STATE), "" },
#define TRAPS(STATE, variants) { M_(ST_##STATE), variants, -1, "" },
static const struct row table[] = {
#include "machine.tbl.h"
};

static const struct row *row_of(enum M(state) s, int v)
{
    const struct row *found = NULL;

    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        g_auto(GStrv) names = g_strsplit(table[i].events, " ", 0);

        if (table[i].state == s &&
            g_strv_contains((const char *const *)names, variant_name[v])) {
            g_assert_null(found);
            found = &table[i];
        }
    }
    return found;
}

static void test_pair(enum M(state) s, int v)
{
    const struct row *r = row_of(s, v);
    struct CORE m;
    struct M(update) up;
    struct M(event) ev;

    g_test_message("%s, %s", state_name[s], variant_name[v]);
    g_assert_nonnull(r);
    typical(&m, s);
    g_assert_cmpstr(M(invariant)(&m), ==, NULL);
    ev = event_of((enum variant)v, &m);
    g_assert_cmpint(M(expects)(&m, ev.kind), ==, r->next >= 0);
    if (r->next < 0) {
        return;
    }
    M(step)(&m, &ev, &up);
    g_assert_cmpstr(state_name[m.state], ==, state_name[r->next]);
    g_assert_cmpstr(text_of(&up), ==, r->effects);
    g_assert_cmpstr(M(invariant)(&m), ==, NULL);
}

static void test_table(void)
{
    for (int s = 0; s < M_(ST_COUNT); s++) {
        for (int v = 0; v < V_COUNT; v++) {
            test_pair((enum M(state))s, v);
        }
    }
}

static void print_list(const char *macro, const char *state,
                       const GString *list)
{
    g_auto(GStrv) names = g_strsplit(list->str + 1, " ", 0);
    size_t column;

    if (list->len == 0) {
        return;
    }
    printf("%s(%s,\n      \"", macro, state);
    column = 7;
    for (char **n = names; *n; n++) {
        if (column + strlen(*n) > 74) {
            printf("\"\n      \"");
            column = 7;
        }
        column += (size_t)printf(" %s", *n);
    }
    printf("\")\n");
}

static void print_table(void)
{
    for (int s = 0; s < M_(ST_COUNT); s++) {
        g_autoptr(GString) stays = g_string_new("");
        g_autoptr(GString) traps = g_string_new("");

        printf("\n/* %s */\n", M(state_name)((enum M(state))s));
        for (int v = 0; v < V_COUNT; v++) {
            struct CORE m;
            struct M(update) up;
            struct M(event) ev;
            char line[200];

            typical(&m, (enum M(state))s);
            ev = event_of((enum variant)v, &m);
            if (!M(expects)(&m, ev.kind)) {
                g_string_append_printf(traps, " %s", variant_name[v]);
                continue;
            }
            M(step)(&m, &ev, &up);
            if ((int)m.state == s && up.count == 0) {
                g_string_append_printf(stays, " %s", variant_name[v]);
                continue;
            }
            snprintf(line, sizeof(line), "ON(%s, %s, %s,", state_name[s],
                     variant_name[v], state_name[m.state]);
            printf("%s%s\"%s\")\n", line,
                   strlen(line) + strlen(text_of(&up)) > 75 ? "\n   " : " ",
                   text_of(&up));
        }
        print_list("STAYS", state_name[s], stays);
        print_list("TRAPS", state_name[s], traps);
    }
}

/*
 * Stories: PLAY(&core, B(...), B(...)). One beat a line: when (in ms), the
 * event, the fields that matter in it, and TO(what it must lead to): the state
 * and the effects, in their order.
 */
struct beat {
    int at; /* ms */
    enum M(event_kind) kind;
    uint64_t gen, pos;
    int stamp; /* ms */
    int code;  /* END */
    bool ok;
    const char *state, *effects;
};
/* clang-format off */
#define TO(STATE, EFFECTS) .state = STATE, .effects = EFFECTS
#define B(ms, EVENT, ...) { .at = ms, .kind = M_(EV_##EVENT), __VA_ARGS__ }
/* clang-format on */
#define PLAY(core, ...)                                                      \
    do {                                                                     \
        const struct beat beats[] = { __VA_ARGS__ };                         \
        play(core, beats, sizeof(beats) / sizeof(beats[0]));                 \
    } while (0)

/* The test's: which fields of the core's event a beat fills. */
static struct M(event) event_at(const struct beat *b);

static void play(struct CORE *m, const struct beat *b, size_t n)
{
    for (size_t i = 0; i < n; i++, b++) {
        struct M(update) up;
        struct M(event) ev = event_at(b);

        g_test_message("%d ms: %s", b->at, M(event_name)(b->kind));
        M(step)(m, &ev, &up);
        g_assert_cmpstr(M(state_name)(m->state), ==, b->state);
        g_assert_cmpstr(text_of(&up), ==, b->effects);
        g_assert_cmpstr(M(invariant)(m), ==, NULL);
    }
}

/* What anybody might say. */
static uint64_t any_position(void)
{
    return g_test_rand_bit() ? (uint64_t)g_test_rand_int_range(0, 12)
                             : (uint64_t)g_test_rand_int() << 33;
}

static ft_ns any_time(ft_ns now)
{
    switch (g_test_rand_int_range(0, 4)) {
    case 0:
        return 0;
    case 1:
        return now + g_test_rand_int_range(-5, 5);
    case 2:
        return now - g_test_rand_int_range(0, 1000) * MS;
    default:
        return (ft_ns)((uint64_t)(uint32_t)g_test_rand_int() << 32);
    }
}

#endif
