/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * print-wire.c - the tables of docs/protocol.md, from wire.tbl.h
 *
 * tests/logging-channel/protocol-doc.t compares its output with the document.
 */

#include "logging-channel/wire.h"

#include <stdio.h>
#include <string.h>

static unsigned offset;
static const char *tail; /* "" while offsets are fixed, "+" behind a str */

static void field(const char *type, unsigned size, const char *name)
{
    if (size) {
        printf("| %u%s | %s | %u | `%s` |\n", offset, tail, type, size, name);
        offset += size;
        return;
    }
    printf("| %u%s | %s | varies | `%s` |\n", offset, tail, type, name);
    if (!strcmp(type, "str")) {
        offset += 1;
    }
    tail = "+";
}

static void begin(const char *title, unsigned code)
{
    if (code) {
        printf("\n**%s** (0x%04x)\n\n", title, code);
    } else {
        printf("\n**%s**\n\n", title);
    }
    printf("| offset | type | bytes | field |\n|---|---|---|---|\n");
    offset = 0;
    tail = "";
}

enum {
    SIZE_u8 = 1,
    SIZE_u16 = 2,
    SIZE_u32 = 4,
    SIZE_u64 = 8,
    SIZE_id = 16,
    SIZE_key = 32,
    SIZE_str = 0,
    SIZE_blob = 0
};

/* clang-format off */
int main(void)
{
#define F(type, name) field(#type, SIZE_##type, #name);
    begin("header of every frame", 0);
    LC_FIELDS_frame(F)
    begin("preamble", 0);
    LC_FIELDS_preamble(F)
#define M(NAME, name, code) begin(#NAME, code); LC_FIELDS_##name(F)
    LC_MESSAGES(M)
    return 0;
}
/* clang-format on */
