/* SPDX-License-Identifier: GPL-2.0-or-later */
/* names.c - the primary core's tables: names, and who may say what when */
#include "primary/machine.h"

static const uint32_t pri_expected[] = {
#define E(NAME, name, states) states,
    PRI_EVENTS(E)
#undef E
};
_Static_assert(sizeof(pri_expected) / sizeof(pri_expected[0])
                   == PRI_EV_COUNT, "one set of states for each event");

bool pri_expects(const struct pri *p, enum pri_event_kind kind)
{
    return kind < PRI_EV_COUNT && (pri_expected[kind] >> p->state & 1) != 0;
}

/* The names, from the tables. */
#define NAMES(list, count)                                                 \
    _Static_assert(sizeof(list) / sizeof(list[0]) == (count),              \
                   "one name for each")

const char *pri_state_name(enum pri_state s)
{
#define S(NAME, name, pair) name,
    static const char *const names[] = { PRI_STATES(S) };
#undef S
    NAMES(names, PRI_ST_COUNT);
    return s < PRI_ST_COUNT ? names[s] : "?";
}

enum ft_pair_state pri_pair_state(enum pri_state s)
{
#define S(NAME, name, pair) FT_PAIR_##pair,
    static const enum ft_pair_state pairs[] = { PRI_STATES(S) };
#undef S
    NAMES(pairs, PRI_ST_COUNT);
    return s < PRI_ST_COUNT ? pairs[s] : FT_PAIR_UNKNOWN;
}

const char *pri_event_name(enum pri_event_kind k)
{
#define E(NAME, name, states) name,
    static const char *const names[] = { PRI_EVENTS(E) };
#undef E
    NAMES(names, PRI_EV_COUNT);
    return k < PRI_EV_COUNT ? names[k] : "?";
}

const char *pri_effect_name(enum pri_effect_kind k)
{
#define F(NAME, name) name,
    static const char *const names[] = { PRI_EFFECTS(F) };
#undef F
    NAMES(names, PRI_DO_COUNT);
    return k < PRI_DO_COUNT ? names[k] : "?";
}

const char *pri_reason_text(enum pri_reason r)
{
#define R(NAME, text) text,
    static const char *const texts[] = { PRI_REASONS(R) };
#undef R
    NAMES(texts, PRI_WHY_COUNT);
    return r < PRI_WHY_COUNT ? texts[r] : "?";
}
