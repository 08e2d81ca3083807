/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-json.c - members of JSON objects (lines: tests/agent/test-jsonserver) */
#include "common/host/json.h"

#include <glib.h>
#include <string.h>

static void what_is_not_there_is_empty(void)
{
    json_t *o = json_pack("{s:s,s:i}", "name", "web1", "port", 7000);

    g_assert_cmpstr(ft_json_text(o, "name"), ==, "web1");
    g_assert_cmpuint(ft_json_number(o, "port"), ==, 7000);
    g_assert_cmpstr(ft_json_text(o, "port"), ==, "");
    g_assert_cmpuint(ft_json_number(o, "name"), ==, 0);
    g_assert_cmpstr(ft_json_text(o, "nothing"), ==, "");
    g_assert_cmpuint(ft_json_number(o, "nothing"), ==, 0);
    g_assert_cmpstr(ft_json_text(NULL, "name"), ==, "");
    g_assert_cmpuint(ft_json_number(NULL, "port"), ==, 0);
    json_decref(o);
}

static void what_is_set_is_read(void)
{
    json_t *o = json_object();

    ft_json_set_text(o, "reason", "caf\xc3\xa9");
    g_assert_cmpstr(ft_json_text(o, "reason"), ==, "caf\xc3\xa9");
    ft_json_set_number(o, "n", UINT64_C(1) << 62);
    g_assert_cmpuint(ft_json_number(o, "n"), ==, UINT64_C(1) << 62);
    json_decref(o);
}

static void text_that_is_not_utf8_is_shown_as_far_as_it_goes(void)
{
    char bad[2000];
    json_t *o = json_object();

    ft_json_set_text(o, "reason", "qemu: \xff\xfe.");
    g_assert_cmpstr(ft_json_text(o, "reason"), ==, "qemu: ??.");
    memset(bad, 0xff, sizeof(bad) - 1);
    bad[sizeof(bad) - 1] = '\0';
    ft_json_set_text(o, "reason", bad);
    g_assert_cmpuint(strspn(ft_json_text(o, "reason"), "?"), ==, 511);
    g_assert_cmpuint(strlen(ft_json_text(o, "reason")), ==, 511);
    json_decref(o);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json/absent", what_is_not_there_is_empty);
    g_test_add_func("/json/set", what_is_set_is_read);
    g_test_add_func("/json/not-utf8",
                    text_that_is_not_utf8_is_shown_as_far_as_it_goes);
    return g_test_run();
}
