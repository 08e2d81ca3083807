/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bytes.h - ids, and little-endian integers in byte strings, without casts */
#ifndef FT_BYTES_H
#define FT_BYTES_H

#include <stdint.h>

/* A VM's UUID, a pair's id, a nonce. */
typedef struct {
    uint8_t b[16];
} ft_id;

static inline void ft_put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void ft_put_u32(uint8_t *p, uint32_t v)
{
    ft_put_u16(p, (uint16_t)v);
    ft_put_u16(p + 2, (uint16_t)(v >> 16));
}

static inline void ft_put_u64(uint8_t *p, uint64_t v)
{
    ft_put_u32(p, (uint32_t)v);
    ft_put_u32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t ft_get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t ft_get_u32(const uint8_t *p)
{
    return ft_get_u16(p) | (uint32_t)ft_get_u16(p + 2) << 16;
}

static inline uint64_t ft_get_u64(const uint8_t *p)
{
    return ft_get_u32(p) | (uint64_t)ft_get_u32(p + 4) << 32;
}

#endif
