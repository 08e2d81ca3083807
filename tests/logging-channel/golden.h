/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * golden.h - each message's bytes, literally
 *
 * The format is frozen by these: when a change of wire.tbl.h makes this table
 * wrong, LC_VERSION must change. hex: type and length of the header, then the
 * body, a line for each field. Byte i of field k is 0xki.
 */
#include <stdint.h>

#include "logging-channel/wire.h"

struct golden {
    struct lc_msg m;
    const char *hex;
};

/* clang-format off: a line of bytes for each field */
static const uint8_t blob1[] = { 0x11, 0x12, 0x13, 0x14, 0x15 };
static const uint8_t blob4[] = { 0x41, 0x42, 0x43, 0x44, 0x45 };

static const struct golden golden[] = {
    {
        .m = { .type = LC_HELLO, .u.hello = {
            .kind = 0x11,
            .vm = { { 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
                0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f, 0x20 } },
            .nonce = { { 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38,
                0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x30 } },
            .hb_key = { { 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
                0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0x40, 0x41, 0x42,
                0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c,
                0x4d, 0x4e, 0x4f, 0x40 } },
            .hb_port = 0x5251,
            .detect_ms = 0x64636261,
            .lease_ms = 0x74737271,
            .margin_ms = 0x84838281,
            .host = { 5, "text9" },
        } },
        .hex = "0100" "55000000"
               "11"
               "2122232425262728292a2b2c2d2e2f20"
               "3132333435363738393a3b3c3d3e3f30"
               "4142434445464748494a4b4c4d4e4f404142434445464748494a4b4c"
               "4d4e4f40"
               "5152"
               "61626364"
               "71727374"
               "81828384"
               "057465787439",
    },
    {
        .m = { .type = LC_WELCOME, .u.welcome = {
            .nonce = { { 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
                0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x10 } },
            .hb_port = 0x2221,
            .host = { 5, "text3" },
        } },
        .hex = "0200" "18000000"
               "1112131415161718191a1b1c1d1e1f10"
               "2122"
               "057465787433",
    },
    {
        .m = { .type = LC_REFUSE, .u.refuse = {
            .code = 0x1211,
            .text = { 5, "text2" },
        } },
        .hex = "0300" "08000000"
               "1112"
               "057465787432",
    },
    {
        .m = { .type = LC_ENTRIES, .u.entries = {
            .first = 0x1817161514131211,
            .last = 0x2827262524232221,
            .stamp = 0x3837363534333231,
            .batches = { 5, blob4 },
        } },
        .hex = "1000" "1d000000"
               "1112131415161718"
               "2122232425262728"
               "3132333435363738"
               "4142434445",
    },
    {
        .m = { .type = LC_ACK, .u.ack = {
            .position = 0x1817161514131211,
            .stamp = 0x2827262524232221,
            .executed = 0x3837363534333231,
        } },
        .hex = "1100" "18000000"
               "1112131415161718"
               "2122232425262728"
               "3132333435363738",
    },
    {
        .m = { .type = LC_LOADED, .u.loaded = {
            .position = 0x1817161514131211,
        } },
        .hex = "2000" "08000000"
               "1112131415161718",
    },
    {
        .m = { .type = LC_PROTECTED, .u.protected = {
            .position = 0x1817161514131211,
        } },
        .hex = "2100" "08000000"
               "1112131415161718",
    },
    {
        .m = { .type = LC_RELINQUISH, .u.relinquish = {
            .position = 0x1817161514131211,
        } },
        .hex = "2200" "08000000"
               "1112131415161718",
    },
    {
        .m = { .type = LC_RELINQUISH_ACK, .u.relinquish_ack = {
            .position = 0x1817161514131211,
        } },
        .hex = "2300" "08000000"
               "1112131415161718",
    },
    {
        .m = { .type = LC_DIVERGED, .u.diverged = {
            .position = 0x1817161514131211,
            .text = { 5, "text2" },
        } },
        .hex = "2400" "0e000000"
               "1112131415161718"
               "057465787432",
    },
    {
        .m = { .type = LC_END, .u.end = {
            .reason = 0x11,
            .text = { 5, "text2" },
        } },
        .hex = "2500" "07000000"
               "11"
               "057465787432",
    },
    {
        .m = { .type = LC_CLONE_FAILED, .u.clone_failed = {
            .text = { 5, "text1" },
        } },
        .hex = "2600" "06000000"
               "057465787431",
    },
    {
        .m = { .type = LC_HEARTBEAT, .u.heartbeat = {
            .number = 0x1817161514131211,
            .nonce = { { 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,
                0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f, 0x20 } },
        } },
        .hex = "3000" "18000000"
               "1112131415161718"
               "2122232425262728292a2b2c2d2e2f20",
    },
    {
        .m = { .type = LC_REQUEST, .u.request = {
            .json = { 5, blob1 },
        } },
        .hex = "4000" "05000000"
               "1112131415",
    },
    {
        .m = { .type = LC_REPLY, .u.reply = {
            .json = { 5, blob1 },
        } },
        .hex = "4100" "05000000"
               "1112131415",
    },
    {
        .m = { .type = LC_VL_HELLO, .u.vl_hello = {
            .state = 0x11,
            .incoming = 0x21,
            .position = 0x3837363534333231,
            .pid = 0x44434241,
            .qemu = { 5, "text5" },
        } },
        .hex = "8000" "14000000"
               "11"
               "21"
               "3132333435363738"
               "41424344"
               "057465787435",
    },
    {
        .m = { .type = LC_VL_CLONED, .u.vl_cloned = {
            .pause_ns = 0x1817161514131211,
        } },
        .hex = "8100" "08000000"
               "1112131415161718",
    },
    {
        .m = { .type = LC_VL_LOADED, .u.vl_loaded = {
            .position = 0x1817161514131211,
        } },
        .hex = "8200" "08000000"
               "1112131415161718",
    },
    {
        .m = { .type = LC_VL_FAILED, .u.vl_failed = {
            .command = 0x1211,
            .text = { 5, "text2" },
        } },
        .hex = "8300" "08000000"
               "1112"
               "057465787432",
    },
    {
        .m = { .type = LC_VL_DISK, .u.vl_disk = {
            .ok = 0x11,
            .text = { 5, "text2" },
        } },
        .hex = "8400" "07000000"
               "11"
               "057465787432",
    },
    {
        .m = { .type = LC_VL_LIVE, .u.vl_live = {
            .position = 0x1817161514131211,
            .reissued = 0x24232221,
        } },
        .hex = "8500" "0c000000"
               "1112131415161718"
               "21222324",
    },
    {
        .m = { .type = LC_VL_ALONE, .u.vl_alone = {
            .position = 0x1817161514131211,
        } },
        .hex = "8600" "08000000"
               "1112131415161718",
    },
    {
        .m = { .type = LC_VL_DIVERGED, .u.vl_diverged = {
            .position = 0x1817161514131211,
            .text = { 5, "text2" },
        } },
        .hex = "8700" "0e000000"
               "1112131415161718"
               "057465787432",
    },
    {
        .m = { .type = LC_VL_ENDED, .u.vl_ended = {
            .position = 0x1817161514131211,
            .reason = 0x21,
        } },
        .hex = "8800" "09000000"
               "1112131415161718"
               "21",
    },
    {
        .m = { .type = LC_VL_PROGRESS, .u.vl_progress = {
            .sent = 0x1817161514131211,
            .remaining = 0x2827262524232221,
        } },
        .hex = "8900" "10000000"
               "1112131415161718"
               "2122232425262728",
    },
    {
        .m = { .type = LC_VL_CLONE, .u.vl_clone = {
            .downtime_ms = 0x14131211,
            .path = { 5, "text2" },
        } },
        .hex = "9000" "0a000000"
               "11121314"
               "057465787432",
    },
    {
        .m = { .type = LC_VL_INCOMING, .u.vl_incoming = {
            .path = { 5, "text1" },
        } },
        .hex = "9100" "06000000"
               "057465787431",
    },
    {
        .m = { .type = LC_VL_CANCEL, .u.vl_cancel = {
            .reserved = 0x11,
        } },
        .hex = "9200" "01000000"
               "11",
    },
    {
        .m = { .type = LC_VL_PROBE, .u.vl_probe = {
            .reserved = 0x11,
        } },
        .hex = "9300" "01000000"
               "11",
    },
    {
        .m = { .type = LC_VL_GO_LIVE, .u.vl_go_live = {
            .last = 0x1817161514131211,
        } },
        .hex = "9400" "08000000"
               "1112131415161718",
    },
    {
        .m = { .type = LC_VL_GO_ALONE, .u.vl_go_alone = {
            .reserved = 0x11,
        } },
        .hex = "9500" "01000000"
               "11",
    },
    {
        .m = { .type = LC_VL_FENCE, .u.vl_fence = {
            .text = { 5, "text1" },
        } },
        .hex = "9600" "06000000"
               "057465787431",
    },
};
