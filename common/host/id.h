/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * id.h - ids as people and files have them, and where random ones come from
 *
 * An id is 16 bytes (ft_id of common/bytes.h). A VM's is its UUID, which
 * libuuid's uuid_unparse_lower() prints; a pair's, and an arbiter's, is the
 * same 32 digits without the dashes.
 */
#ifndef FT_HOST_ID_H
#define FT_HOST_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uuid.h>

#define FT_HEX_TEXT 33 /* 32 digits and a NUL */

/* False unless text is a UUID as libvirt writes it, in lower case: it names
 * files, so there is one way to write it. */
bool ft_uuid_parse(uint8_t id[16], const char *text);
bool ft_uuid_is(const char *text);

void ft_hex(char out[FT_HEX_TEXT], const uint8_t id[16]);
bool ft_unhex(uint8_t id[16], const char *text);

/* From the kernel; at most 256 bytes, which cannot fail. */
void ft_random(void *to, size_t bytes);
/* At most 32 random digits, and a NUL. */
void ft_random_hex(char *to, size_t digits);

#endif
