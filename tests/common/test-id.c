/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-id.c - ids as people and files have them, and random ones */
#include <glib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/host/id.h"

#define UUID "5c6bfa24-b6cb-4b6e-8b3d-0d9a6f3e1a01"
#define HEX "5c6bfa24b6cb4b6e8b3d0d9a6f3e1a01"

static void uuids_keep_their_bytes(void)
{
    char text[UUID_STR_LEN];
    ft_id id;

    g_assert_true(ft_uuid_parse(id.b, UUID));
    g_assert_cmpuint(id.b[0], ==, 0x5c);
    g_assert_cmpuint(id.b[15], ==, 0x01);
    uuid_unparse_lower(id.b, text);
    g_assert_cmpstr(text, ==, UUID);
}

static void what_is_no_uuid_is_told(void)
{
    g_assert_true(ft_uuid_is(UUID));
    g_assert_false(ft_uuid_is(""));
    g_assert_false(ft_uuid_is(UUID "0"));
    g_assert_false(ft_uuid_is("5c6bfa24-b6cb-4b6e-8b3d-0d9a6f3e1a0"));
    g_assert_false(ft_uuid_is("5C6BFA24-B6CB-4B6E-8B3D-0D9A6F3E1A01"));
    g_assert_false(ft_uuid_is("../../../../../../../../etc/lockstep"));
}

static void hex_is_a_uuid_without_dashes(void)
{
    char text[FT_HEX_TEXT];
    uint8_t id[16], same[16];

    g_assert_true(ft_unhex(id, HEX));
    g_assert_true(ft_uuid_parse(same, UUID));
    g_assert_cmpmem(id, 16, same, 16);
    ft_hex(text, id);
    g_assert_cmpstr(text, ==, HEX);
    g_assert_false(ft_unhex(id, ""));
    g_assert_false(ft_unhex(id, UUID));
    g_assert_false(ft_unhex(id, HEX "0"));
    g_assert_false(ft_unhex(id, "5c6bfa24b6cb4b6e8b3d0d9a6f3e1a0"));
    g_assert_false(ft_unhex(id, "5c6bfa24b6cb4b6e8b3d0d9a6f3e1a0x"));
    g_assert_false(ft_unhex(id, "5c6bfa24b6cb-4b6e8b3d0d9a6f3e1a0"));
}

static void random_digits_differ(void)
{
    char a[FT_HEX_TEXT], b[FT_HEX_TEXT];
    uint8_t x[32], y[32];

    ft_random_hex(a, 32);
    ft_random_hex(b, 32);
    g_assert_cmpuint(strspn(a, "0123456789abcdef"), ==, 32);
    g_assert_cmpuint(strlen(a), ==, 32);
    g_assert_cmpstr(a, !=, b);
    ft_random_hex(a, 8);
    g_assert_cmpuint(strlen(a), ==, 8);
    ft_random(x, sizeof(x));
    ft_random(y, sizeof(y));
    g_assert_true(memcmp(x, y, sizeof(x)));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/uuid", uuids_keep_their_bytes);
    g_test_add_func("/uuid/is", what_is_no_uuid_is_told);
    g_test_add_func("/hex", hex_is_a_uuid_without_dashes);
    g_test_add_func("/random", random_digits_differ);
    return g_test_run();
}
