/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * block.tbl.h - every byte of the arbiter's record
 *
 * This table is the only definition of the format. block.h makes the struct
 * from it, block.c the encoder and the strict decoder. Integers are
 * little-endian. A record fills one block of TAS_BLOCK_SIZE bytes, so that a
 * COMPARE AND WRITE of one sector can exchange it; bytes behind the last
 * field are zero.
 *
 * TAS_BLOCK_FIELDS(F): F(type, field) in the order of the bytes.
 *   u8 u16 u32 u64   unsigned integers
 *   id               16 bytes
 *   name             TAS_NAME_SIZE bytes: UTF-8, then at least one NUL, NUL
 *                    up to the end
 */
#ifndef TAS_BLOCK_TBL_H
#define TAS_BLOCK_TBL_H

#define TAS_BLOCK_SIZE 512
#define TAS_BLOCK_MAGIC 0x414b534cu /* "LSKA" */
#define TAS_BLOCK_VERSION 1
#define TAS_NAME_SIZE 64

#define TAS_BLOCK_FIELDS(F)                                                \
    F(u32, magic)      /* TAS_BLOCK_MAGIC */                               \
    F(u16, version)    /* TAS_BLOCK_VERSION */                             \
    F(u8, state)       /* enum tas_block_state */                          \
    F(u8, side)        /* owner: enum tas_side; free: 0 */                 \
    F(u64, generation) /* from 1 */                                        \
    F(id, vm)          /* the libvirt domain's uuid */                     \
    F(id, pair)        /* the pair's random id */                          \
    F(id, nonce)       /* owner: the agent that asked; free: zero */       \
    F(name, host)      /* owner: its host; free: empty */                  \
    F(u32, crc)        /* crc32c of all bytes before */

enum tas_block_state { TAS_BLOCK_FREE = 0x01, TAS_BLOCK_OWNED = 0x02 };
/* Whose the grant is: pair, generation and side name one copy of the guest.
 * nonce and host only say who asked for it, for people. */
enum tas_side { TAS_SIDE_PRIMARY = 0x01, TAS_SIDE_BACKUP = 0x02 };

#endif
