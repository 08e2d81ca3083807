/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block.h - the arbiter's record: struct, encoder, strict decoder */
#ifndef TAS_BLOCK_H
#define TAS_BLOCK_H

#include "shared-disk/arbiter.h"
#include "shared-disk/block.tbl.h"

#define TAS_C_u8(f) uint8_t f;
#define TAS_C_u16(f) uint16_t f;
#define TAS_C_u32(f) uint32_t f;
#define TAS_C_u64(f) uint64_t f;
#define TAS_C_id(f) uint8_t f[16];
#define TAS_C_name(f) char f[TAS_NAME_SIZE];
struct tas_block {
#define F(type, field) TAS_C_##type(field)
    TAS_BLOCK_FIELDS(F)
#undef F
};

/* Fills out from b; magic, version and crc are set, not read. */
void tas_block_encode(const struct tas_block *b, uint8_t out[TAS_BLOCK_SIZE]);
/* Returns NULL, or the sentence that says what is wrong with the bytes (and
 * *b is zero then). length must be TAS_BLOCK_SIZE. */
const char *tas_block_decode(struct tas_block *b, const uint8_t *p,
                             size_t length);
/* What a decoded record means to one side of a pair. */
struct tas_record tas_block_look(const struct tas_block *b,
                                 const uint8_t pair[16], uint8_t side);
/* The record that TAS_DO_WRITE wants. host is cut to fit. */
void tas_block_make(struct tas_block *b, enum tas_kind desired,
                    uint64_t generation, const uint8_t vm[16],
                    const uint8_t pair[16], uint8_t side,
                    const uint8_t nonce[16], const char *host);

#endif
