/* SPDX-License-Identifier: GPL-2.0-or-later */
/* names.c - the primary core's table: its words, and who may say what when */
#include "primary/machine.h"

bool pri_expects(const struct pri *p, enum pri_event_kind kind)
{
    static const uint32_t states[] = { PRI_EVENTS(FT_THIRD) };

    return kind < PRI_EV_COUNT && FT_IN(p, states[kind]);
}

enum ft_pair_state pri_pair_state(enum pri_state s)
{
    static const enum ft_pair_state pairs[] = { PRI_STATES(FT_THIRD) };

    return s < PRI_ST_COUNT ? pairs[s] : FT_PAIR_UNKNOWN;
}

FT_WORDS(pri_state_name, pri_state, PRI_STATES)
FT_WORDS(pri_event_name, pri_event_kind, PRI_EVENTS)
FT_WORDS(pri_reason_text, pri_reason, PRI_REASONS)
