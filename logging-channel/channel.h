/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * channel.h - which frame may come next on one connection
 *
 * Theory of Operation
 *
 * TCP and TLS keep order and integrity; this core checks that the program at
 * the other end is a Lockstep of the same pair and generation which follows
 * the protocol: frames are numbered from 1 without a gap in each direction,
 * carry this pair's id and generation, the connecting side's first frame is
 * HELLO and its answer WELCOME or REFUSE, and every later type belongs to
 * this kind of connection and comes from the side that may send it.
 *
 * Total: whatever a peer sends is answered with NULL or with the sentence that
 * closes the connection. Pure.
 */
#ifndef LC_CHANNEL_H
#define LC_CHANNEL_H

#include "wire.h"

enum lc_side { LC_CONNECTOR = 1, LC_ACCEPTOR = 2 };

struct lc_channel {
    uint8_t kind; /* enum lc_kind */
    uint8_t side; /* enum lc_side: which one we are */
    bool refused; /* REFUSE was sent or received: nothing more */
    lc_id pair;
    uint64_t generation;
    uint64_t sent, received; /* frames of each direction so far */
};

void lc_channel_init(struct lc_channel *ch, enum lc_kind kind,
                     enum lc_side side, const lc_id *pair,
                     uint64_t generation);
/* HELLO and WELCOME (or REFUSE) have both passed. */
bool lc_channel_open(const struct lc_channel *ch);
/* Fill in sequence, generation and pair of our next frame and count it. NULL,
 * or why this type must not be sent now (a mistake of our own side). */
const char *lc_channel_stamp(struct lc_channel *ch, uint16_t type,
                             struct lc_frame *frame);
/* The peer's next frame: count it, or say why it closes the connection. */
const char *lc_channel_accept(struct lc_channel *ch,
                              const struct lc_frame *frame);

#endif
