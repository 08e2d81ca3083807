/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * print-pair-states.c - the states in docs/agent.md, from pair-state.tbl.h
 *
 * tests/common/pair-state-doc.t compares its output with the document.
 */
#include <stdio.h>

#include "common/pair-state.tbl.h"

int main(void)
{
#define S(NAME, word, who, meaning)                                          \
    printf("| `%s` | %s | %s |\n", word, who, meaning);
    FT_PAIR_STATES(S)
#undef S
    return 0;
}
