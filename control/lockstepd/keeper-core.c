/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * keeper-core.c - what is to be done next for a domain that is in a pair
 *
 * paper, 3.1; rule 9
 */
#include "control/lockstepd/keeper-core.h"

static struct keeper_action just(enum keeper_action_kind kind)
{
    return (struct keeper_action){ .kind = kind };
}

/* ---- trying again -------------------------------------------------------- */

static void back_off(struct keeper_backoff *b, ft_ns now)
{
    b->wait = b->wait == 0 ? KEEPER_BACKOFF_MIN : 2 * b->wait;
    if (b->wait > KEEPER_BACKOFF_MAX) {
        b->wait = KEEPER_BACKOFF_MAX;
    }
    b->at = now + b->wait;
}

static void reset(struct keeper_backoff *b)
{
    b->at = b->wait = 0;
}

void keeper_failed(struct keeper_core *k, enum keeper_action_kind kind,
                   ft_ns now)
{
    if (kind == KEEPER_TIDY_UP || kind == KEEPER_END_PART) {
        back_off(&k->tidy, now);
    }
    if (kind == KEEPER_START_AGENT) {
        k->agent.at = now + KEEPER_BACKOFF_MIN;
    }
}

/* This host runs the only copy, as far as is known, and the user wants another
 * one. */
static bool wants_backup(const struct keeper_input *in)
{
    return in->wanted && !in->stopped && in->role == FT_ROLE_PRIMARY &&
           (in->agent != KEEPER_AGENT_SAYS || ft_pair_is_alone(in->state));
}

/* ---- an end -------------------------------------------------------------- */

/* A pair is made, or made again: a command is at it, or a try that has not come
 * to its command yet. */
static bool is_in_hand(const struct keeper_input *in)
{
    return in->busy || in->stopped || in->try == KEEPER_TRY_RUNS;
}

/* The guest runs alone and is to: the pair was never made, or was ended. */
static struct keeper_action end_unwanted(const struct keeper_core *k,
                                         const struct keeper_input *in)
{
    if (is_in_hand(in) || in->now < k->tidy.at) {
        return just(KEEPER_WAIT);
    }
    return (struct keeper_action){ .kind = KEEPER_TIDY_UP,
                                   .end = true,
                                   .autostart = true };
}

/* The pair is over on this host: the agent says how. */
static struct keeper_action tidy_what_is_over(const struct keeper_core *k,
                                              const struct keeper_input *in)
{
    bool agreed = in->state == FT_PAIR_ENDED;
    bool backup = in->role == FT_ROLE_BACKUP;
    struct keeper_action a = {
        .kind = KEEPER_TIDY_UP,
        .end = true,
        .destroy = backup,
        .forget = backup,
    };

    if (in->busy || in->now < k->tidy.at) {
        return just(KEEPER_WAIT);
    }
    if (in->role == FT_ROLE_NONE) { /* it has ended before */
        return just(KEEPER_TIDY_UP);
    }
    if (!backup || !agreed) {
        a.last = ft_pair_is_over(in->state) ? in->state : FT_PAIR_OFF;
    }
    if (agreed) {
        a.note = KEEPER_NOTE_REASON;
        a.autostart = !backup;
    } else if (backup) {
        a.note = KEEPER_NOTE_REPLICA;
    } else if (in->state == FT_PAIR_FENCED) {
        a.note = KEEPER_NOTE_FENCED;
    } else {
        a.note = KEEPER_NOTE_ELSEWHERE;
    }
    return a;
}

/* No agent is left, and no QEMU: the arbiter knows who has won. */
static struct keeper_action end_without_agent(const struct keeper_input *in)
{
    struct keeper_action a = {
        .kind = KEEPER_END_PART,
        .end = true,
        .last = FT_PAIR_OFF,
    };

    if (in->role == FT_ROLE_BACKUP) {
        a.forget = true;
        a.note = KEEPER_NOTE_REPLICA;
        return a;
    }
    switch (in->owner) {
    case KEEPER_OWNER_NOT_ASKED:
        return just(KEEPER_ASK_ARBITER);
    case KEEPER_OWNER_US:
        a.note = KEEPER_NOTE_OFF;
        a.autostart = true;
        break;
    case KEEPER_OWNER_OTHER:
        a.last = FT_PAIR_FENCED;
        a.note = KEEPER_NOTE_FENCED;
        break;
    case KEEPER_OWNER_UNKNOWN:
        a.note = KEEPER_NOTE_ELSEWHERE;
        break;
    }
    return a;
}

/* ---- with and without an agent ------------------------------------------- */

static struct keeper_action without_agent(const struct keeper_core *k,
                                          const struct keeper_input *in)
{
    if (in->busy) { /* a command starts and ends agents as it needs */
        return just(KEEPER_WAIT);
    }
    if (in->role == FT_ROLE_NONE) {
        return just(KEEPER_RESIGN);
    }
    if (in->now < k->agent.at || in->now < k->tidy.at) {
        return just(KEEPER_WAIT);
    }
    if (in->qemu == KEEPER_NOT_ASKED) {
        return just(KEEPER_ASK_KERNEL);
    }
    return in->qemu == KEEPER_YES ? just(KEEPER_START_AGENT)
                                  : end_without_agent(in);
}

/* The guest runs here by itself, or is a replica that only waits. */
static struct keeper_action alone(const struct keeper_core *k,
                                  const struct keeper_input *in)
{
    if (in->busy) {
        return just(KEEPER_WAIT);
    }
    switch (in->role) {
    case FT_ROLE_NONE:
        return tidy_what_is_over(k, in);
    case FT_ROLE_PRIMARY:
        if (!in->wanted) {
            return end_unwanted(k, in);
        }
        return wants_backup(in) && in->try != KEEPER_TRY_RUNS &&
                       in->now >= k->backup.at
                 ? just(KEEPER_MAKE_BACKUP)
                 : just(KEEPER_WAIT);
    case FT_ROLE_BACKUP:
        /* Unused for a lockstepd that has died since: nobody will fill it any
         * more. What the agent said may be older than its next command. */
        if (in->unused && in->still_unused == KEEPER_NOT_ASKED) {
            return just(KEEPER_ASK_AGENT);
        }
        if (in->unused && in->still_unused == KEEPER_YES) {
            return tidy_what_is_over(k, in);
        }
        if (in->runs == KEEPER_NOT_ASKED) {
            return just(KEEPER_ASK_LIBVIRT);
        }
        return just(in->runs == KEEPER_YES ? KEEPER_TAKE_OVER : KEEPER_WAIT);
    }
    return just(KEEPER_WAIT);
}

static struct keeper_action with_agent(const struct keeper_core *k,
                                       const struct keeper_input *in)
{
    if (in->state == FT_PAIR_PROTECTED) {
        return just(in->busy ? KEEPER_WAIT : KEEPER_RECORD_PROTECTED);
    }
    if (ft_pair_is_over(in->state)) {
        return tidy_what_is_over(k, in);
    }
    if (ft_pair_is_alone(in->state)) {
        return alone(k, in);
    }
    return just(KEEPER_WAIT); /* the agents are at it */
}

/* rule 9: redundancy is restored, with back-off and a stated reason. What is
 * seen of the present alone decides. */
struct keeper_action keeper_decide(struct keeper_core *k,
                                   const struct keeper_input *in)
{
    if (in->unsaved && !in->busy) {
        return just(KEEPER_SAVE);
    }
    if (in->try == KEEPER_TRY_FAILED && wants_backup(in)) {
        back_off(&k->backup, in->now);
        return just(KEEPER_NOTE_FAILURE);
    }
    if (in->poked || !wants_backup(in)) {
        reset(&k->backup);
    }
    switch (in->agent) {
    case KEEPER_AGENT_GONE:
        return without_agent(k, in);
    case KEEPER_AGENT_MUTE:
        return just(KEEPER_WAIT);
    case KEEPER_AGENT_SAYS:
        break;
    }
    return with_agent(k, in);
}

bool keeper_announces(uint64_t generation, const char *peer)
{
    return generation > 0 && *peer != '\0';
}

const char *keeper_action_name(enum keeper_action_kind kind)
{
    static const char *const names[] = {
#define A(NAME, name) name,
        KEEPER_ACTIONS(A)
#undef A
    };

    _Static_assert(sizeof(names) / sizeof(names[0]) == KEEPER_ACTION_COUNT,
                   "one name for each action");
    return kind < KEEPER_ACTION_COUNT ? names[kind] : "?";
}
