/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block.c - the arbiter's record: encoder and strict decoder */
#include "shared-disk/block.h"

#include <string.h>

#include "common/bytes.h"
#include "common/ring.h"

#define SIZE_u8 1
#define SIZE_u16 2
#define SIZE_u32 4
#define SIZE_u64 8
#define SIZE_id 16
#define SIZE_name TAS_NAME_SIZE

/* Where each field stands: TAS_AT_name. */
#define F(type, field)                                                       \
    TAS_AT_##field, TAS_LAST_##field = TAS_AT_##field + SIZE_##type - 1,
enum { TAS_BLOCK_FIELDS(F) TAS_AT_END };
#undef F
_Static_assert(TAS_AT_END == TAS_AT_crc + 4, "crc is the last field");
_Static_assert(TAS_AT_END <= TAS_BLOCK_SIZE, "a record fits one block");

#define PUT_u8(p, v) (*(p) = (v))
#define PUT_u16(p, v) ft_put_u16(p, v)
#define PUT_u32(p, v) ft_put_u32(p, v)
#define PUT_u64(p, v) ft_put_u64(p, v)
#define PUT_id(p, v) memcpy(p, v, 16)
#define PUT_name(p, v) put_name(p, v)

#define GET_u8(p, v) ((v) = *(p))
#define GET_u16(p, v) ((v) = ft_get_u16(p))
#define GET_u32(p, v) ((v) = ft_get_u32(p))
#define GET_u64(p, v) ((v) = ft_get_u64(p))
#define GET_id(p, v) memcpy(v, p, 16)
#define GET_name(p, v) memcpy(v, p, TAS_NAME_SIZE)

static void put_name(uint8_t *p, const char *name)
{
    size_t n = 0;

    while (n < TAS_NAME_SIZE - 1 && name[n] != '\0') {
        p[n] = (uint8_t)name[n];
        n++;
    }
    memset(p + n, 0, TAS_NAME_SIZE - n);
}

static bool all_zero(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;

    while (n > 0 && *p == 0) {
        p++;
        n--;
    }
    return n == 0;
}

static bool name_ok(const char *name)
{
    size_t n = 0;

    while (n < TAS_NAME_SIZE && name[n] != '\0') {
        n++;
    }
    return n < TAS_NAME_SIZE && all_zero(name + n, TAS_NAME_SIZE - n);
}

void tas_block_encode(const struct tas_block *b, uint8_t out[TAS_BLOCK_SIZE])
{
    struct tas_block w = *b;

    w.magic = TAS_BLOCK_MAGIC;
    w.version = TAS_BLOCK_VERSION;
    w.crc = 0;
    memset(out, 0, TAS_BLOCK_SIZE);
#define F(type, field) PUT_##type(out + TAS_AT_##field, w.field);
    TAS_BLOCK_FIELDS(F)
#undef F
    ft_put_u32(out + TAS_AT_crc, ft_crc32c(0, out, TAS_AT_crc));
}

static const char *tas_block_wrong(const struct tas_block *b,
                                   const uint8_t *p)
{
    if (b->magic != TAS_BLOCK_MAGIC) {
        return "this is not an arbiter record";
    }
    if (b->version != TAS_BLOCK_VERSION) {
        return "the record has another version";
    }
    if (b->crc != ft_crc32c(0, p, TAS_AT_crc)) {
        return "the record's checksum is wrong";
    }
    if (!all_zero(p + TAS_AT_END, TAS_BLOCK_SIZE - TAS_AT_END)) {
        return "bytes that must be zero are not";
    }
    if (b->state != TAS_BLOCK_FREE && b->state != TAS_BLOCK_OWNED) {
        return "the record is neither free nor owned";
    }
    if (b->generation == 0) {
        return "the record has no generation";
    }
    if (!name_ok(b->host)) {
        return "the owner's name is malformed";
    }
    if (b->state == TAS_BLOCK_FREE &&
        (b->side != 0 || b->host[0] != '\0' ||
         !all_zero(b->nonce, sizeof(b->nonce)))) {
        return "a free record has an owner";
    }
    if (b->state == TAS_BLOCK_OWNED &&
        (b->side == 0 || b->host[0] == '\0' ||
         all_zero(b->nonce, sizeof(b->nonce)))) {
        return "an owned record has no owner";
    }
    return NULL;
}

const char *tas_block_decode(struct tas_block *b, const uint8_t *p,
                             size_t length)
{
    const char *wrong;

    memset(b, 0, sizeof(*b));
    if (length != TAS_BLOCK_SIZE) {
        return "the record has the wrong length";
    }
#define F(type, field) GET_##type(p + TAS_AT_##field, b->field);
    TAS_BLOCK_FIELDS(F)
#undef F
    wrong = tas_block_wrong(b, p);
    if (wrong != NULL) {
        memset(b, 0, sizeof(*b));
    }
    return wrong;
}

struct tas_record tas_block_look(const struct tas_block *b,
                                 const uint8_t pair[16], uint8_t side)
{
    struct tas_record r = { .kind = TAS_ABSENT };

    if (b->generation == 0) {
        return r;
    }
    r.kind = b->state == TAS_BLOCK_OWNED ? TAS_OWNED : TAS_FREE;
    r.generation = b->generation;
    r.same_pair = memcmp(b->pair, pair, 16) == 0;
    r.mine = r.kind == TAS_OWNED && r.same_pair && b->side == side;
    return r;
}

void tas_block_make(struct tas_block *b, enum tas_kind desired,
                    uint64_t generation, const uint8_t vm[16],
                    const uint8_t pair[16], uint8_t side,
                    const uint8_t nonce[16], const char *host)
{
    memset(b, 0, sizeof(*b));
    b->magic = TAS_BLOCK_MAGIC;
    b->version = TAS_BLOCK_VERSION;
    b->state = TAS_BLOCK_FREE;
    b->generation = generation;
    memcpy(b->vm, vm, 16);
    memcpy(b->pair, pair, 16);
    if (desired == TAS_OWNED) {
        b->state = TAS_BLOCK_OWNED;
        b->side = side;
        memcpy(b->nonce, nonce, 16);
        put_name((uint8_t *)b->host, host);
    }
}
