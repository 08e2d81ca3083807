/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * core.h - what a core makes of its table: enums, words, sets of states
 *
 * A table (primary/events.tbl.h, backup/events.tbl.h, shared-disk/arbiter.h,
 * common/pair-state.tbl.h) has a row for each state, event, effect and reason,
 * under the name that the code uses: PRI_ST_ALONE is found there, with what it
 * means. A list of it, such as PRI_STATES(S), calls S once for each row; S is
 * one of the columns below:
 *
 *   enum pri_state { PRI_STATES(FT_NAME) PRI_ST_COUNT };
 */
#ifndef FT_CORE_H
#define FT_CORE_H

#include "common/types.h"

#define FT_NAME(name, ...) name,
#define FT_WORD(name, word, ...) word, /* for people: a text */
#define FT_THIRD(name, word, third) third,

/* Defines `const char *function(enum type value)`: the text of value's row. */
#define FT_WORDS(function, type, LIST)                                       \
    const char *function(enum type value)                                    \
    {                                                                        \
        static const char *const words[] = { LIST(FT_WORD) };                \
                                                                             \
        return (size_t)value < sizeof(words) / sizeof(words[0])              \
                 ? words[value]                                              \
                 : "?";                                                      \
    }

/* A set of states, and whether a core is in one of them. */
#define FT_SET_OF(state) (UINT32_C(1) << (state))
#define FT_IN(core, set) ((FT_SET_OF((core)->state) & (set)) != 0)

#endif
