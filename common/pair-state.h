/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pair-state.h - the states of a pair, their words, and two questions */
#ifndef FT_PAIR_STATE_H
#define FT_PAIR_STATE_H

#include "common/core.h"
#include "common/pair-state.tbl.h"

enum ft_pair_state {
    FT_PAIR_NONE,               /* nothing is said: no word, "" */
    FT_PAIR_STATES(FT_NAME)
    FT_PAIR_COUNT
};

const char *ft_pair_state_name(enum ft_pair_state s);
/* A word that is none of them is UNKNOWN: another version's. */
enum ft_pair_state ft_pair_state_parse(const char *word);

/* The guest runs here and has no backup. */
bool ft_pair_is_alone(enum ft_pair_state s);
/* This side has come to its end and will never run the guest again. */
bool ft_pair_is_over(enum ft_pair_state s);

#endif
