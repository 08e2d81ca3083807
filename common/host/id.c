/* SPDX-License-Identifier: GPL-2.0-or-later */
/* id.c - ids as people and files have them (see id.h) */
#include "common/host/id.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

bool ft_uuid_parse(uint8_t id[16], const char *text)
{
    char lower[UUID_STR_LEN];

    if (uuid_parse(text, id) < 0) {
        return false;
    }
    uuid_unparse_lower(id, lower);
    return strcmp(text, lower) == 0;
}

bool ft_uuid_is(const char *text)
{
    uint8_t id[16];

    return ft_uuid_parse(id, text);
}

void ft_hex(char out[FT_HEX_TEXT], const uint8_t id[16])
{
    char uuid[UUID_STR_LEN];

    uuid_unparse_lower(id, uuid);
    snprintf(out, FT_HEX_TEXT, "%.8s%.4s%.4s%.4s%.12s", uuid, uuid + 9,
             uuid + 14, uuid + 19, uuid + 24);
}

bool ft_unhex(uint8_t id[16], const char *text)
{
    char uuid[UUID_STR_LEN];

    if (strlen(text) != FT_HEX_TEXT - 1) {
        return false;
    }
    snprintf(uuid, sizeof(uuid), "%.8s-%.4s-%.4s-%.4s-%.12s", text, text + 8,
             text + 12, text + 16, text + 20);
    return uuid_parse(uuid, id) == 0;
}

void ft_random(void *to, size_t bytes)
{
    /* Fails only where there is no such call, or for more than it gives at
     * once: neither is anything that a caller could do better about. */
    if (getrandom(to, bytes, 0) != (ssize_t)bytes) {
        abort();
    }
}

void ft_random_hex(char *to, size_t digits)
{
    char hex[FT_HEX_TEXT];
    uint8_t id[16];

    ft_random(id, sizeof(id));
    ft_hex(hex, id);
    snprintf(to, digits + 1, "%s", hex);
}
