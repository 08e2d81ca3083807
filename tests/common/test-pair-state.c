/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-pair-state.c - the states of a pair and their words */
#include "common/pair-state.h"

#include <glib.h>

static void each_word_is_read_as_its_state(void)
{
    for (unsigned s = FT_PAIR_NONE; s < FT_PAIR_COUNT; s++) {
        g_assert_cmpint(ft_pair_state_parse(ft_pair_state_name(s)), ==, s);
    }
    g_assert_cmpstr(ft_pair_state_name(FT_PAIR_NONE), ==, "");
    g_assert_cmpstr(ft_pair_state_name(FT_PAIR_ARBITRATING), ==,
                    "arbitrating");
}

static void another_word_is_not_known(void)
{
    g_assert_cmpint(ft_pair_state_parse("Alone"), ==, FT_PAIR_UNKNOWN);
    g_assert_cmpint(ft_pair_state_parse("of a later version"), ==,
                    FT_PAIR_UNKNOWN);
    g_assert_cmpstr(ft_pair_state_name(FT_PAIR_COUNT), ==, "?");
}

/* For each state: is the guest alone here, is this side at its end? */
static void what_a_state_means(void)
{
    static const struct {
        bool alone, over;
    } want[FT_PAIR_COUNT] = {
        [FT_PAIR_ALONE] = { true, false },
        [FT_PAIR_LIVE] = { true, false },
        [FT_PAIR_FENCED] = { false, true },
        [FT_PAIR_DIVERGED] = { false, true },
        [FT_PAIR_ENDED] = { false, true },
    };

    for (unsigned s = FT_PAIR_NONE; s < FT_PAIR_COUNT; s++) {
        g_assert_cmpint(ft_pair_is_alone(s), ==, want[s].alone);
        g_assert_cmpint(ft_pair_is_over(s), ==, want[s].over);
    }
}

static void each_role_has_a_word(void)
{
    for (unsigned r = FT_ROLE_NONE; r <= FT_ROLE_BACKUP; r++) {
        g_assert_cmpint(ft_role_parse(ft_role_name(r)), ==, r);
    }
    g_assert_cmpstr(ft_role_name(FT_ROLE_BACKUP), ==, "backup");
    g_assert_cmpint(ft_role_parse(""), ==, FT_ROLE_NONE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pair-state/words", each_word_is_read_as_its_state);
    g_test_add_func("/pair-state/other-words", another_word_is_not_known);
    g_test_add_func("/pair-state/meaning", what_a_state_means);
    g_test_add_func("/role/words", each_role_has_a_word);
    return g_test_run();
}
