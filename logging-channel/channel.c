/* SPDX-License-Identifier: GPL-2.0-or-later */
/* channel.c - which frame may come next on one connection */
#include "channel.h"

#include <string.h>

/* Who may send a type, on which kinds of connection. */
#define FROM_CONNECTOR LC_CONNECTOR
#define FROM_ACCEPTOR LC_ACCEPTOR
#define FROM_BOTH (LC_CONNECTOR | LC_ACCEPTOR)
#define ON(kind) (1u << (kind))
#define ON_ALL (ON(LC_KIND_LOG) | ON(LC_KIND_CLONE) | ON(LC_KIND_CONTROL))

struct rule {
    uint16_t type;
    uint8_t from, kinds;
    bool opens; /* the first frame of its direction, and only that */
};

static const struct rule rules[] = {
    { LC_HELLO, FROM_CONNECTOR, ON_ALL, true },
    { LC_WELCOME, FROM_ACCEPTOR, ON_ALL, true },
    { LC_REFUSE, FROM_ACCEPTOR, ON_ALL, true },
    { LC_ENTRIES, FROM_CONNECTOR, ON(LC_KIND_LOG), false },
    { LC_ACK, FROM_ACCEPTOR, ON(LC_KIND_LOG), false },
    { LC_LOADED, FROM_ACCEPTOR, ON(LC_KIND_LOG), false },
    { LC_PROTECTED, FROM_CONNECTOR, ON(LC_KIND_LOG), false },
    { LC_RELINQUISH, FROM_BOTH, ON(LC_KIND_LOG), false },
    { LC_RELINQUISH_ACK, FROM_BOTH, ON(LC_KIND_LOG), false },
    { LC_DIVERGED, FROM_ACCEPTOR, ON(LC_KIND_LOG), false },
    { LC_END, FROM_BOTH, ON(LC_KIND_LOG), false },
    { LC_CLONE_FAILED, FROM_BOTH, ON(LC_KIND_LOG), false },
    { LC_REQUEST, FROM_CONNECTOR, ON(LC_KIND_CONTROL), false },
    { LC_REPLY, FROM_ACCEPTOR, ON(LC_KIND_CONTROL), false },
};

static const struct rule *find_rule(uint16_t type)
{
    size_t i;

    for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (rules[i].type == type) {
            return &rules[i];
        }
    }
    return NULL;
}

void lc_channel_init(struct lc_channel *ch, enum lc_kind kind,
                     enum lc_side side, const lc_id *pair,
                     uint64_t generation)
{
    memset(ch, 0, sizeof(*ch));
    ch->kind = (uint8_t)kind;
    ch->side = (uint8_t)side;
    ch->pair = *pair;
    ch->generation = generation;
}

bool lc_channel_open(const struct lc_channel *ch)
{
    return ch->sent && ch->received && !ch->refused;
}

/* May `from` send this type now, having sent `before` frames? */
static const char *check_type(const struct lc_channel *ch, uint16_t type,
                              unsigned from, uint64_t before)
{
    const struct rule *rule = find_rule(type);

    if (!rule || !(rule->kinds & ON(ch->kind))) {
        return "a message that does not belong on this connection";
    }
    if (!(rule->from & from)) {
        return "a message that the other side sends";
    }
    if (ch->refused) {
        return "a message after REFUSE";
    }
    if (before == 0 && !rule->opens) {
        return from == LC_CONNECTOR ? "the first message is not HELLO"
                                    : "the first message is not WELCOME";
    }
    if (before != 0 && rule->opens) {
        return "a second greeting";
    }
    if (from == LC_ACCEPTOR && before == 0 &&
        (from == ch->side ? ch->received : ch->sent) == 0) {
        return "an answer before HELLO";
    }
    /* The connector waits for its WELCOME. */
    if (from == LC_CONNECTOR && before != 0 &&
        (from == ch->side ? ch->received : ch->sent) == 0) {
        return "a message before WELCOME";
    }
    return NULL;
}

const char *lc_channel_stamp(struct lc_channel *ch, uint16_t type,
                             struct lc_frame *frame)
{
    const char *why = check_type(ch, type, ch->side, ch->sent);

    if (why) {
        return why;
    }
    memset(frame, 0, sizeof(*frame));
    frame->type = type;
    frame->sequence = ++ch->sent;
    frame->generation = ch->generation;
    frame->pair = ch->pair;
    ch->refused |= type == LC_REFUSE;
    return NULL;
}

const char *lc_channel_accept(struct lc_channel *ch,
                              const struct lc_frame *frame)
{
    unsigned peer = ch->side == LC_CONNECTOR ? LC_ACCEPTOR : LC_CONNECTOR;
    const char *why;

    if (frame->sequence != ch->received + 1) {
        return "a frame is missing, repeated or out of order";
    }
    if (!lc_id_equal(&frame->pair, &ch->pair)) {
        return "a frame of another pair";
    }
    if (frame->generation != ch->generation) {
        return "a frame of another generation";
    }
    why = check_type(ch, frame->type, peer, ch->received);
    if (why) {
        return why;
    }
    ch->received++;
    ch->refused |= frame->type == LC_REFUSE;
    return NULL;
}
