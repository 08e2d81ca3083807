/* SPDX-License-Identifier: GPL-2.0-or-later */
/* queue.c - bytes on their way (see queue.h) */
#include "logging-channel/queue.h"

#include <stdlib.h>
#include <string.h>

uint8_t *lc_queue_room(struct lc_queue *q, size_t n)
{
    if (q->size - q->start - q->used < n) {
        if (q->start && q->size - q->used >= n && q->start >= q->used) {
            memmove(q->buf, q->buf + q->start, q->used);
        } else {
            size_t size = q->size ? q->size : 16384;
            uint8_t *bigger;

            while (size - q->used < n) {
                size *= 2;
            }
            bigger = malloc(size);
            if (!bigger) {
                return NULL;
            }
            if (q->used) {
                memcpy(bigger, q->buf + q->start, q->used);
            }
            free(q->buf);
            q->buf = bigger;
            q->size = size;
        }
        q->start = 0;
    }
    return q->buf + q->start + q->used;
}

void lc_queue_drop(struct lc_queue *q, size_t n)
{
    q->start += n;
    q->used -= n;
    if (!q->used) {
        q->start = 0;
    }
}

void lc_queue_free(struct lc_queue *q)
{
    free(q->buf);
    memset(q, 0, sizeof(*q));
}
