/* SPDX-License-Identifier: GPL-2.0-or-later */
/* queue.h - bytes on their way, of a connection's input and of its output */
#ifndef LC_QUEUE_H
#define LC_QUEUE_H

#include <stddef.h>
#include <stdint.h>

/* Bytes in order; data are at buf + start, `used` of them. */
struct lc_queue {
    uint8_t *buf;
    size_t start, used, size;
};

/* Where the next n bytes go; the caller then adds to `used`. NULL: no
 * memory. */
uint8_t *lc_queue_room(struct lc_queue *q, size_t n);
void lc_queue_drop(struct lc_queue *q, size_t n); /* from the front */
void lc_queue_free(struct lc_queue *q);

#endif
