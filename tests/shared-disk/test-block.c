/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-block.c - golden vectors of the arbiter's record */
#include <glib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/ring.h"
#include "shared-disk/block.h"

static const uint8_t vm[16] = { 0xa0, 1, 2,  3,  4,  5,  6,  7,
                                8,    9, 10, 11, 12, 13, 14, 15 };
static const uint8_t pair[16] = { 0xb0, 1, 2, 3 };
static const uint8_t nonce[16] = { 0xc0, 1, 2, 3 };

static const char golden_free[] =
    "4c534b41"
    "0100"
    "01"
    "00"
    "0500000000000000"
    "a00102030405060708090a0b0c0d0e0f"
    "b0010203000000000000000000000000"
    "00000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "3966d086";
static const char golden_owned[] =
    "4c534b41"
    "0100"
    "02"
    "01"
    "0500000000000000"
    "a00102030405060708090a0b0c0d0e0f"
    "b0010203000000000000000000000000"
    "c0010203000000000000000000000000"
    "616c706861000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "7163cd99";

static char *hex(const uint8_t *p, size_t n)
{
    GString *s = g_string_new("");

    for (size_t i = 0; i < n; i++) {
        g_string_append_printf(s, "%02x", p[i]);
    }
    return g_string_free(s, FALSE);
}

static void check(enum tas_kind kind, const char *golden)
{
    g_autofree char *text = NULL;
    uint8_t bytes[TAS_BLOCK_SIZE], again[TAS_BLOCK_SIZE];
    struct tas_block b, back;
    struct tas_record r;

    tas_block_make(&b, kind, 5, vm, pair, TAS_SIDE_PRIMARY, nonce, "alpha");
    tas_block_encode(&b, bytes);
    text = hex(bytes, strlen(golden) / 2);
    g_assert_cmpstr(text, ==, golden);
    g_assert_cmpstr(tas_block_decode(&back, bytes, sizeof(bytes)), ==, NULL);
    tas_block_encode(&back, again);
    g_assert_cmpmem(bytes, sizeof(bytes), again, sizeof(again));
    r = tas_block_look(&back, pair, TAS_SIDE_PRIMARY);
    g_assert_cmpint(r.kind, ==, kind);
    g_assert_cmpuint(r.generation, ==, 5);
    g_assert_true(r.same_pair);
    g_assert_cmpint(r.mine, ==, kind == TAS_OWNED);
    r = tas_block_look(&back, pair, TAS_SIDE_BACKUP);
    g_assert_true(r.same_pair && !r.mine);
    r = tas_block_look(&back, nonce, TAS_SIDE_PRIMARY);
    g_assert_false(r.same_pair || r.mine);
}

static void test_golden(void)
{
    check(TAS_FREE, golden_free);
    check(TAS_OWNED, golden_owned);
}

static void put_crc(uint8_t *bytes)
{
    ft_put_u32(bytes + 128, ft_crc32c(0, bytes, 128));
}

static void test_every_byte_counts(void)
{
    uint8_t bytes[TAS_BLOCK_SIZE];
    struct tas_block b, back;

    tas_block_make(&b, TAS_OWNED, 5, vm, pair, TAS_SIDE_PRIMARY, nonce,
                   "alpha");
    for (size_t i = 0; i < sizeof(bytes); i++) {
        tas_block_encode(&b, bytes);
        bytes[i] ^= 0x10;
        g_assert_cmpstr(tas_block_decode(&back, bytes, sizeof(bytes)), !=,
                        NULL);
        g_assert_cmpuint(back.generation, ==, 0);
    }
}

static void test_malformed(void)
{
    static const struct {
        size_t at;
        uint8_t value;
        const char *wrong;
    } cases[] = {
        { 0, 0, "this is not an arbiter record" },
        { 4, 2, "the record has another version" },
        { 6, 0, "the record is neither free nor owned" },
        { 6, 3, "the record is neither free nor owned" },
        { 6, 1, "a free record has an owner" },
        { 7, 0, "an owned record has no owner" },
        { 8, 0, "the record has no generation" },
        { 64, 0, "the owner's name is malformed" },
        { 127, 1, "the owner's name is malformed" },
        { 511, 1, "bytes that must be zero are not" },
    };
    uint8_t bytes[TAS_BLOCK_SIZE];
    struct tas_block b, back;

    tas_block_make(&b, TAS_OWNED, 5, vm, pair, TAS_SIDE_PRIMARY, nonce,
                   "alpha");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tas_block_encode(&b, bytes);
        bytes[cases[i].at] = cases[i].value;
        put_crc(bytes);
        g_assert_cmpstr(tas_block_decode(&back, bytes, sizeof(bytes)), ==,
                        cases[i].wrong);
    }
    tas_block_encode(&b, bytes);
    g_assert_cmpstr(tas_block_decode(&back, bytes, 511), ==,
                    "the record has the wrong length");
    memset(bytes, 0, sizeof(bytes));
    g_assert_cmpstr(tas_block_decode(&back, bytes, sizeof(bytes)), ==,
                    "this is not an arbiter record");
}

static void test_long_host(void)
{
    uint8_t bytes[TAS_BLOCK_SIZE];
    struct tas_block b, back;
    char host[300];

    memset(host, 'h', sizeof(host) - 1);
    host[sizeof(host) - 1] = '\0';
    tas_block_make(&b, TAS_OWNED, 5, vm, pair, TAS_SIDE_PRIMARY, nonce, host);
    tas_block_encode(&b, bytes);
    g_assert_cmpstr(tas_block_decode(&back, bytes, sizeof(bytes)), ==, NULL);
    g_assert_cmpuint(strlen(back.host), ==, TAS_NAME_SIZE - 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/block/has its golden bytes", test_golden);
    g_test_add_func("/block/notices a change in any byte",
                    test_every_byte_counts);
    g_test_add_func("/block/names what is malformed", test_malformed);
    g_test_add_func("/block/cuts a long host name", test_long_host);
    return g_test_run();
}
