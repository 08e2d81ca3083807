/* SPDX-License-Identifier: GPL-2.0-or-later */
/* names.c - the backup core's table: its words, and who may say what when */
#include "backup/machine.h"

bool bak_expects(const struct bak *b, enum bak_event_kind kind)
{
    static const uint32_t states[] = { BAK_EVENTS(FT_THIRD) };

    return kind < BAK_EV_COUNT && FT_IN(b, states[kind]);
}

enum ft_pair_state bak_pair_state(enum bak_state s)
{
    static const enum ft_pair_state pairs[] = { BAK_STATES(FT_THIRD) };

    return s < BAK_ST_COUNT ? pairs[s] : FT_PAIR_UNKNOWN;
}

FT_WORDS(bak_state_name, bak_state, BAK_STATES)
FT_WORDS(bak_event_name, bak_event_kind, BAK_EVENTS)
FT_WORDS(bak_reason_text, bak_reason, BAK_REASONS)
