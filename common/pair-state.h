/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pair-state.h - a pair as an operator sees it: its states, a host's role */
#ifndef FT_PAIR_STATE_H
#define FT_PAIR_STATE_H

#include "common/core.h"
#include "common/pair-state.tbl.h"

enum ft_pair_state {
    FT_PAIR_NONE, /* nothing is said: no word, "" */
    FT_PAIR_STATES(FT_NAME) FT_PAIR_COUNT
};

const char *ft_pair_state_name(enum ft_pair_state s);
/* A word that is none of them is UNKNOWN: another version's. */
enum ft_pair_state ft_pair_state_parse(const char *word);

/* The guest runs here and has no backup. */
bool ft_pair_is_alone(enum ft_pair_state s);
/* This side has come to its end and will never run the guest again. */
bool ft_pair_is_over(enum ft_pair_state s);

/* What a host is in a pair. */
enum ft_role { FT_ROLE_NONE, FT_ROLE_PRIMARY, FT_ROLE_BACKUP };

const char *ft_role_name(enum ft_role r);
/* Any other word is NONE. */
enum ft_role ft_role_parse(const char *word);

#endif
