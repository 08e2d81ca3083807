/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wire.h - structs and strict codec made from wire.tbl.h
 *
 * Pure: no allocation, no I/O. Also compiled into QEMU.
 */
#ifndef LC_WIRE_H
#define LC_WIRE_H

#include "bytes.h"
#include "wire.tbl.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t lc_u8;
typedef uint16_t lc_u16;
typedef uint32_t lc_u32;
typedef uint64_t lc_u64;
typedef ft_id lc_id;
typedef struct {
    uint8_t b[32];
} lc_key;
/* Text of at most 255 bytes; s[n] is always 0 after a decode. */
typedef struct {
    uint8_t n;
    char s[256];
} lc_str;
/* Borrows: after a decode it points into the frame's bytes. */
typedef struct {
    uint32_t n;
    const uint8_t *p;
} lc_blob;

enum lc_type {
#define M(NAME, name, code) LC_##NAME = code,
    LC_MESSAGES(M)
#undef M
};

#define LC_FIELD(type, field) lc_##type field;
#define M(NAME, name, code)                                                  \
    struct lc_##name {                                                       \
        LC_FIELDS_##name(LC_FIELD)                                           \
    };
LC_MESSAGES(M)
M(FRAME, frame, 0)
M(PREAMBLE, preamble, 0)
#undef M
#undef LC_FIELD

struct lc_msg {
    uint16_t type; /* enum lc_type; says which member of u counts */
    union {
#define M(NAME, name, code) struct lc_##name name;
        LC_MESSAGES(M)
#undef M
    } u;
};

/* "ENTRIES", or NULL for an unknown code. */
const char *lc_type_name(uint16_t type);

/* The body's bytes for m; 0 for an unknown type. */
size_t lc_body_size(const struct lc_msg *m);

/*
 * Encode header and body into buf. frame's magic, version, type, length and
 * reserved are filled in here; sequence, generation and pair come from frame.
 * Returns the bytes written, or 0 when cap is too small or the body too large.
 */
size_t lc_encode(uint8_t *buf, size_t cap, const struct lc_frame *frame,
                 const struct lc_msg *m);

/*
 * Encode header and body, but leave out the bytes of a trailing blob: the
 * caller sends m's blob right after (no copy of a large ENTRIES). Same result
 * and errors.
 */
size_t lc_encode_head(uint8_t *buf, size_t cap, const struct lc_frame *frame,
                      const struct lc_msg *m);

/* Decode a header of LC_HEADER_SIZE bytes. Returns NULL, or what is wrong. */
const char *lc_decode_frame(struct lc_frame *frame, const uint8_t *p);

/* Decode the body of a frame of that type and exactly n bytes. Returns NULL,
 * or what is wrong. */
const char *lc_decode_body(struct lc_msg *m, uint16_t type, const uint8_t *p,
                           size_t n);

void lc_encode_preamble(uint8_t out[LC_PREAMBLE_SIZE], uint8_t kind,
                        const lc_id *vm);
const char *lc_decode_preamble(struct lc_preamble *out,
                               const uint8_t p[LC_PREAMBLE_SIZE]);

/* Fill a str from text, cut at 255 bytes (whole UTF-8 characters). */
void lc_set_str(lc_str *to, const char *text);

bool lc_id_equal(const lc_id *a, const lc_id *b);

#endif
