/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pair-state.c - a pair as an operator sees it: its states, a host's role */
#include "common/pair-state.h"

#include <string.h>

static const char *const words[] = { "", FT_PAIR_STATES(FT_WORD) };

const char *ft_pair_state_name(enum ft_pair_state s)
{
    return s < FT_PAIR_COUNT ? words[s] : "?";
}

enum ft_pair_state ft_pair_state_parse(const char *word)
{
    for (unsigned s = FT_PAIR_NONE; s < FT_PAIR_COUNT; s++) {
        if (strcmp(word, words[s]) == 0) {
            return (enum ft_pair_state)s;
        }
    }
    return FT_PAIR_UNKNOWN;
}

bool ft_pair_is_alone(enum ft_pair_state s)
{
    return s == FT_PAIR_ALONE || s == FT_PAIR_LIVE;
}

bool ft_pair_is_over(enum ft_pair_state s)
{
    return s == FT_PAIR_FENCED || s == FT_PAIR_DIVERGED || s == FT_PAIR_ENDED;
}

static const char *const roles[] = {
    [FT_ROLE_NONE] = "none",
    [FT_ROLE_PRIMARY] = "primary",
    [FT_ROLE_BACKUP] = "backup",
};

const char *ft_role_name(enum ft_role r)
{
    return roles[r];
}

enum ft_role ft_role_parse(const char *word)
{
    return strcmp(word, roles[FT_ROLE_PRIMARY]) == 0 ? FT_ROLE_PRIMARY
         : strcmp(word, roles[FT_ROLE_BACKUP]) == 0  ? FT_ROLE_BACKUP
                                                     : FT_ROLE_NONE;
}
