/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * json.h - JSON objects: their members, and lines of them over a socket
 *
 * lockstep, lockstepd and its agents talk in one JSON object a line. What is
 * here works without a loop: connect, send one line, then take lines one at a
 * time. The agent's end, which has a loop, is agent/jsonserver.h.
 */
#ifndef FT_HOST_JSON_H
#define FT_HOST_JSON_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/host/err.h"

#define FT_JSON_LINE_MAX (1u << 20)

/* A member of o; "" or 0 where there is none of that type. o may be NULL. The
 * text is borrowed from o. */
const char *ft_json_text(const json_t *o, const char *key);
uint64_t ft_json_number(const json_t *o, const char *key);
/* A value may hold what a peer or QEMU said, which JSON does not take when it
 * is not UTF-8: then each byte that is not ASCII becomes a "?". */
void ft_json_set_text(json_t *o, const char *key, const char *value);
void ft_json_set_number(json_t *o, const char *key, uint64_t value);

/* timeout_ms < 0: wait for ever. A peer that takes nothing for 5 s makes send
 * fail; then part of the line may have gone, and the connection is of no more
 * use. */
int ft_json_client_open(const char *path, struct ft_err *err);
int ft_json_client_send(int fd, json_t *msg, struct ft_err *err);
struct ft_json_reader {
    int fd;
    size_t used;
    char *buf;
};
void ft_json_reader_init(struct ft_json_reader *r, int fd); /* borrows fd */
/* 1: *line (gives it), 0: the other side closed, -1: err. */
int ft_json_reader_next(struct ft_json_reader *r, json_t **line,
                        int timeout_ms, struct ft_err *err);
void ft_json_reader_done(struct ft_json_reader *r);

#endif
