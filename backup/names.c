/* SPDX-License-Identifier: GPL-2.0-or-later */
/* names.c - the backup core's tables: names, and who may say what when */
#include "backup/machine.h"

static const uint32_t bak_expected[] = {
#define E(NAME, name, states) states,
    BAK_EVENTS(E)
#undef E
};
_Static_assert(sizeof(bak_expected) / sizeof(bak_expected[0])
                   == BAK_EV_COUNT, "one set of states for each event");

bool bak_expects(const struct bak *b, enum bak_event_kind kind)
{
    return kind < BAK_EV_COUNT && (bak_expected[kind] >> b->state & 1) != 0;
}

/* The names, from the tables. */
#define NAMES(list, count)                                                 \
    _Static_assert(sizeof(list) / sizeof(list[0]) == (count),              \
                   "one name for each")

const char *bak_state_name(enum bak_state s)
{
#define S(NAME, name, pair) name,
    static const char *const names[] = { BAK_STATES(S) };
#undef S
    NAMES(names, BAK_ST_COUNT);
    return s < BAK_ST_COUNT ? names[s] : "?";
}

enum ft_pair_state bak_pair_state(enum bak_state s)
{
#define S(NAME, name, pair) FT_PAIR_##pair,
    static const enum ft_pair_state pairs[] = { BAK_STATES(S) };
#undef S
    NAMES(pairs, BAK_ST_COUNT);
    return s < BAK_ST_COUNT ? pairs[s] : FT_PAIR_UNKNOWN;
}

const char *bak_event_name(enum bak_event_kind k)
{
#define E(NAME, name, states) name,
    static const char *const names[] = { BAK_EVENTS(E) };
#undef E
    NAMES(names, BAK_EV_COUNT);
    return k < BAK_EV_COUNT ? names[k] : "?";
}

const char *bak_effect_name(enum bak_effect_kind k)
{
#define F(NAME, name) name,
    static const char *const names[] = { BAK_EFFECTS(F) };
#undef F
    NAMES(names, BAK_DO_COUNT);
    return k < BAK_DO_COUNT ? names[k] : "?";
}

const char *bak_reason_text(enum bak_reason r)
{
#define R(NAME, text) text,
    static const char *const texts[] = { BAK_REASONS(R) };
#undef R
    NAMES(texts, BAK_WHY_COUNT);
    return r < BAK_WHY_COUNT ? texts[r] : "?";
}
