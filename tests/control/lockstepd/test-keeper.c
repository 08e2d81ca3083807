/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test-keeper.c - what the keeper does next, row by row (rule 9)
 *
 * Each row is a situation in words, what the keeper sees, and the one action
 * that follows. Then: trying again, told as a story; and what holds in every
 * situation there is.
 */
#include "control/lockstepd/keeper-core.h"

#include <glib.h>

#define MS FT_NS_PER_MS
#define S (1000 * MS)

/* Beginnings of rows: this host's role, and what its agent says. */
#define PRIMARY .role = FT_ROLE_PRIMARY, .wanted = true
#define UNWANTED .role = FT_ROLE_PRIMARY
#define BACKUP .role = FT_ROLE_BACKUP
#define NOBODY .role = FT_ROLE_NONE
#define SAYS(word) .agent = KEEPER_AGENT_SAYS, .state = FT_PAIR_##word
#define GONE .agent = KEEPER_AGENT_GONE
#define MUTE .agent = KEEPER_AGENT_MUTE
#define FAILED .try = KEEPER_TRY_FAILED
#define RUNS .try = KEEPER_TRY_RUNS

/* Ends of rows. */
#define IN(...)                                                              \
    {                                                                        \
        .now = 100 * S, __VA_ARGS__                                          \
    }
#define DO(KIND)                                                             \
    {                                                                        \
        .kind = KEEPER_##KIND                                                \
    }
#define TIDY_UP(...)                                                         \
    {                                                                        \
        .kind = KEEPER_TIDY_UP, __VA_ARGS__                                  \
    }
#define END_PART(...)                                                        \
    {                                                                        \
        .kind = KEEPER_END_PART, .end = true, __VA_ARGS__                    \
    }
#define REPLICA_ENDS .destroy = true, .forget = true, .end = true
#define AUTOSTART .autostart = true
#define SHOWN(word) .last = FT_PAIR_##word
#define NOTE(WHAT) .note = KEEPER_NOTE_##WHAT

static const struct row {
    const char *name;
    struct keeper_input in;
    struct keeper_action want;
} rows[] = {
    /* ---- a guest that runs alone gets a new backup ---- */
    { "alone and wanted: a new backup", IN(PRIMARY, SAYS(ALONE)),
      DO(MAKE_BACKUP) },
    { "went live, made permanent, and wanted: a new backup",
      IN(PRIMARY, SAYS(LIVE)), DO(MAKE_BACKUP) },
    { "... not while one is being made", IN(PRIMARY, SAYS(ALONE), RUNS),
      DO(WAIT) },
    { "... not while a command works on it",
      IN(PRIMARY, SAYS(ALONE), .busy = true), DO(WAIT) },
    { "... not when nobody wants one: its part is over",
      IN(UNWANTED, SAYS(ALONE)), TIDY_UP(.end = true, AUTOSTART) },
    { "... not while the user ends the pair",
      IN(PRIMARY, SAYS(ALONE), .stopped = true), DO(WAIT) },
    { "... not while the agents are at it", IN(PRIMARY, SAYS(CLONING)),
      DO(WAIT) },
    { "... nor while the arbiter is asked", IN(PRIMARY, SAYS(ARBITRATING)),
      DO(WAIT) },
    { "a state of another version: hands off", IN(PRIMARY, SAYS(UNKNOWN)),
      DO(WAIT) },
    { "an agent that has not said anything yet", IN(PRIMARY, MUTE),
      DO(WAIT) },
    { "a try that failed: its reason is told",
      IN(PRIMARY, SAYS(ALONE), FAILED), DO(NOTE_FAILURE) },
    { "... also when the agent has died meanwhile", IN(PRIMARY, GONE, FAILED),
      DO(NOTE_FAILURE) },
    { "... not when it was protected all the same",
      IN(PRIMARY, SAYS(PROTECTED), FAILED), DO(RECORD_PROTECTED) },
    { "... not when the user has ended it",
      IN(PRIMARY, SAYS(ALONE), FAILED, .stopped = true), DO(WAIT) },

    /* ---- a pair that was begun and is not made ---- */
    { "it is being made", IN(UNWANTED, SAYS(CLONING), .busy = true),
      DO(WAIT) },
    { "whoever made it has died: the agents are at it",
      IN(UNWANTED, SAYS(CLONING)), DO(WAIT) },
    { "... and have made it", IN(UNWANTED, SAYS(PROTECTED)),
      DO(RECORD_PROTECTED) },
    { "... or not: its part is over", IN(UNWANTED, SAYS(LIVE)),
      TIDY_UP(.end = true, AUTOSTART) },
    { "... but not while the user ends it",
      IN(UNWANTED, SAYS(ALONE), .stopped = true), DO(WAIT) },
    { "... nor while it is tried", IN(UNWANTED, SAYS(ALONE), RUNS),
      DO(WAIT) },
    { "... nor while a command works on it",
      IN(UNWANTED, SAYS(ALONE), .busy = true), DO(WAIT) },
    { "its agent died while it was being made: does QEMU run?",
      IN(UNWANTED, GONE), DO(ASK_KERNEL) },
    { "... it does, and waits for an agent",
      IN(UNWANTED, GONE, .qemu = KEEPER_YES), DO(START_AGENT) },
    { "... not while the command is at work",
      IN(UNWANTED, GONE, .qemu = KEEPER_YES, .busy = true), DO(WAIT) },

    /* ---- a protected pair is remembered ---- */
    { "protected, on the primary's host", IN(PRIMARY, SAYS(PROTECTED)),
      DO(RECORD_PROTECTED) },
    { "protected, on the backup's host", IN(BACKUP, SAYS(PROTECTED)),
      DO(RECORD_PROTECTED) },
    { "protected, found by a lockstepd that knew nothing of it",
      IN(NOBODY, SAYS(PROTECTED)), DO(RECORD_PROTECTED) },
    { "... not while a command works on it",
      IN(PRIMARY, SAYS(PROTECTED), .busy = true), DO(WAIT) },
    { "a file that could not be written is written first",
      IN(PRIMARY, SAYS(PROTECTED), .unsaved = true), DO(SAVE) },
    { "... also before its agent says anything",
      IN(BACKUP, MUTE, .unsaved = true), DO(SAVE) },
    { "... not while a command works on it",
      IN(PRIMARY, SAYS(PROTECTED), .unsaved = true, .busy = true), DO(WAIT) },

    /* ---- a replica that went live is made permanent ---- */
    { "a replica says live: does libvirt say that it runs?",
      IN(BACKUP, SAYS(LIVE)), DO(ASK_LIBVIRT) },
    { "it runs: the domain is this host's",
      IN(BACKUP, SAYS(LIVE), .runs = KEEPER_YES), DO(TAKE_OVER) },
    { "also when a later agent only knows that it is alone",
      IN(BACKUP, SAYS(ALONE), .runs = KEEPER_YES), DO(TAKE_OVER) },
    { "it is paused, or libvirtd does not answer: later",
      IN(BACKUP, SAYS(LIVE), .runs = KEEPER_NO), DO(WAIT) },
    { "a command is at work: later", IN(BACKUP, SAYS(LIVE), .busy = true),
      DO(WAIT) },

    /* ---- a replica that nobody will fill ---- */
    { "a replica that waits for its primary: is that still so?",
      IN(BACKUP, SAYS(ALONE), .unused = true), DO(ASK_AGENT) },
    { "nobody came: it is tidied up",
      IN(BACKUP, SAYS(ALONE), .unused = true, .still_unused = KEEPER_YES),
      TIDY_UP(REPLICA_ENDS, SHOWN(OFF), NOTE(REPLICA)) },
    { "somebody came: does it run?",
      IN(BACKUP, SAYS(ALONE), .unused = true, .still_unused = KEEPER_NO),
      DO(ASK_LIBVIRT) },
    { "the command that makes it is at work",
      IN(BACKUP, SAYS(ALONE), .unused = true, .busy = true), DO(WAIT) },
    { "one that is being filled is left alone", IN(BACKUP, SAYS(CLONING)),
      DO(WAIT) },

    /* ---- what is over is tidied up ---- */
    { "a fenced replica", IN(BACKUP, SAYS(FENCED)),
      TIDY_UP(REPLICA_ENDS, SHOWN(FENCED), NOTE(REPLICA)) },
    { "a replica that diverged", IN(BACKUP, SAYS(DIVERGED)),
      TIDY_UP(REPLICA_ENDS, SHOWN(DIVERGED), NOTE(REPLICA)) },
    { "a replica whose pair was ended by agreement", IN(BACKUP, SAYS(ENDED)),
      TIDY_UP(REPLICA_ENDS, SHOWN(NONE), NOTE(REASON)) },
    { "a fenced primary: the guest is the other host's",
      IN(PRIMARY, SAYS(FENCED)),
      TIDY_UP(.end = true, SHOWN(FENCED), NOTE(FENCED)) },
    { "a primary whose guest powered off", IN(PRIMARY, SAYS(ENDED)),
      TIDY_UP(.end = true, AUTOSTART, SHOWN(ENDED), NOTE(REASON)) },
    { "an agent without a part any more is asked to quit",
      IN(NOBODY, SAYS(ALONE)), DO(TIDY_UP) },
    { "... and one whose pair had ended before", IN(NOBODY, SAYS(ENDED)),
      DO(TIDY_UP) },
    { "not while a command works on it",
      IN(BACKUP, SAYS(FENCED), .busy = true), DO(WAIT) },
    { "an idle agent is a command's while that works",
      IN(NOBODY, SAYS(ALONE), .busy = true), DO(WAIT) },

    /* ---- an agent that is gone ---- */
    { "no part: nothing to follow", IN(NOBODY, GONE), DO(RESIGN) },
    { "a part: does its QEMU run?", IN(PRIMARY, GONE), DO(ASK_KERNEL) },
    { "... also on the backup's host", IN(BACKUP, GONE), DO(ASK_KERNEL) },
    { "QEMU runs: a new agent", IN(PRIMARY, GONE, .qemu = KEEPER_YES),
      DO(START_AGENT) },
    { "the replica's QEMU runs: a new agent",
      IN(BACKUP, GONE, .qemu = KEEPER_YES), DO(START_AGENT) },
    { "a command starts and ends agents as it needs",
      IN(PRIMARY, GONE, .busy = true), DO(WAIT) },
    { "... so nobody resigns meanwhile", IN(NOBODY, GONE, .busy = true),
      DO(WAIT) },
    { "neither agent nor replica: its part is over",
      IN(BACKUP, GONE, .qemu = KEEPER_NO),
      END_PART(.forget = true, SHOWN(OFF), NOTE(REPLICA)) },
    { "neither agent nor guest: who owns it?",
      IN(PRIMARY, GONE, .qemu = KEEPER_NO), DO(ASK_ARBITER) },
    { "the arbiter does not know, or has an older generation",
      IN(PRIMARY, GONE, .qemu = KEEPER_NO, .owner = KEEPER_OWNER_UNKNOWN),
      END_PART(SHOWN(OFF), NOTE(ELSEWHERE)) },
    { "this host owns it",
      IN(PRIMARY, GONE, .qemu = KEEPER_NO, .owner = KEEPER_OWNER_US),
      END_PART(AUTOSTART, SHOWN(OFF), NOTE(OFF)) },
    { "the other host has won",
      IN(PRIMARY, GONE, .qemu = KEEPER_NO, .owner = KEEPER_OWNER_OTHER),
      END_PART(SHOWN(FENCED), NOTE(FENCED)) },
};

static void expect(const char *name, const struct keeper_action *have,
                   const struct keeper_action *want)
{
    if (have->kind != want->kind || have->destroy != want->destroy ||
        have->end != want->end || have->forget != want->forget ||
        have->autostart != want->autostart || have->last != want->last ||
        have->note != want->note) {
        g_error(
            "%s: %s, end %d forget %d destroy %d autostart %d last '%s' note %d",
            name, keeper_action_name(have->kind), have->end, have->forget,
            have->destroy, have->autostart, ft_pair_state_name(have->last),
            have->note);
    }
}

static void each_situation(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct keeper_core k = { 0 };
        struct keeper_action a = keeper_decide(&k, &rows[i].in);

        expect(rows[i].name, &a, &rows[i].want);
    }
}

/* What is decided at a time, in seconds. */
static enum keeper_action_kind at(struct keeper_core *k,
                                  struct keeper_input in, double s)
{
    in.now = (ft_ns)(s * (double)S);
    return keeper_decide(k, &in).kind;
}

static const struct keeper_input alone = { PRIMARY, SAYS(ALONE) };
static const struct keeper_input alone_failed = { PRIMARY, SAYS(ALONE),
                                                  FAILED };

static void a_new_backup_is_tried_less_and_less_often(void)
{
    static const int wait[] = { 1, 2, 4, 8, 16, 30, 30, 30 };
    struct keeper_core k = { 0 };
    double t = 100;

    for (size_t i = 0; i < G_N_ELEMENTS(wait); i++) {
        g_assert_cmpint(at(&k, alone, t), ==, KEEPER_MAKE_BACKUP);
        t += 3;
        g_assert_cmpint(at(&k, alone_failed, t), ==, KEEPER_NOTE_FAILURE);
        g_assert_cmpint(at(&k, alone, t), ==, KEEPER_WAIT);
        g_assert_cmpint(at(&k, alone, t + wait[i] - 0.1), ==, KEEPER_WAIT);
        t += wait[i];
    }
    g_assert_cmpint(at(&k, alone, t), ==, KEEPER_MAKE_BACKUP);
}

static void the_other_hosts_return_ends_the_wait(void)
{
    struct keeper_core k = { 0 };
    struct keeper_input poked = { PRIMARY, SAYS(ALONE), .poked = true };

    for (int i = 0; i < 6; i++) {
        at(&k, alone_failed, 100);
    }
    g_assert_cmpint(at(&k, alone, 101), ==, KEEPER_WAIT);
    g_assert_cmpint(at(&k, poked, 101), ==, KEEPER_MAKE_BACKUP);
    /* and the next wait is a short one again */
    at(&k, alone_failed, 102);
    g_assert_cmpint(at(&k, alone, 103), ==, KEEPER_MAKE_BACKUP);

    /* The word came while a try was under way that then failed. */
    poked.try = KEEPER_TRY_FAILED;
    g_assert_cmpint(at(&k, poked, 104), ==, KEEPER_NOTE_FAILURE);
    poked.try = KEEPER_TRY_NONE;
    g_assert_cmpint(at(&k, poked, 104), ==, KEEPER_MAKE_BACKUP);
}

static void a_later_loss_begins_anew(void)
{
    struct keeper_core k = { 0 };
    const struct keeper_input protected = { PRIMARY, SAYS(PROTECTED) };
    const struct keeper_input quiet = { PRIMARY, GONE, .busy = true };

    for (int i = 0; i < 6; i++) {
        at(&k, alone_failed, 100);
    }
    /* An agent that is started again changes nothing about the wait. */
    g_assert_cmpint(at(&k, quiet, 101), ==, KEEPER_WAIT);
    g_assert_cmpint(at(&k, alone, 102), ==, KEEPER_WAIT);
    g_assert_cmpint(at(&k, protected, 103), ==, KEEPER_RECORD_PROTECTED);
    g_assert_cmpint(at(&k, alone, 104), ==, KEEPER_MAKE_BACKUP);
}

static void an_agent_that_refuses_is_asked_again_later(void)
{
    static const int wait[] = { 1, 2, 4, 8, 16, 30, 30 };
    const struct keeper_input fenced = { BACKUP, SAYS(FENCED) };
    struct keeper_core k = { 0 };
    double t = 100;

    for (size_t i = 0; i < G_N_ELEMENTS(wait); i++) {
        g_assert_cmpint(at(&k, fenced, t), ==, KEEPER_TIDY_UP);
        keeper_failed(&k, KEEPER_TIDY_UP, (ft_ns)(t * (double)S));
        g_assert_cmpint(at(&k, fenced, t + wait[i] - 0.1), ==, KEEPER_WAIT);
        t += wait[i];
    }
}

/* libvirtd does not answer, and autostart is owed. */
static void an_end_that_fails_comes_again(void)
{
    const struct keeper_input off = { PRIMARY, GONE, .qemu = KEEPER_NO,
                                      .owner = KEEPER_OWNER_US };
    struct keeper_core k = { 0 };

    g_assert_cmpint(at(&k, off, 100), ==, KEEPER_END_PART);
    keeper_failed(&k, KEEPER_END_PART, 100 * S);
    g_assert_cmpint(at(&k, off, 100.9), ==, KEEPER_WAIT);
    g_assert_cmpint(at(&k, off, 101), ==, KEEPER_END_PART);
}

static void an_agent_that_does_not_start_is_started_again(void)
{
    const struct keeper_input gone = { PRIMARY, GONE, .qemu = KEEPER_YES };
    struct keeper_core k = { 0 };

    for (double t = 100; t < 104; t += 1) {
        g_assert_cmpint(at(&k, gone, t), ==, KEEPER_START_AGENT);
        keeper_failed(&k, KEEPER_START_AGENT, (ft_ns)(t * (double)S));
        g_assert_cmpint(at(&k, gone, t + 0.9), ==, KEEPER_WAIT);
    }
}

/* This host was away, and is back: who wants to know? */
static void the_other_host_of_a_pair_is_told(void)
{
    g_assert_true(keeper_announces(1, "hostb"));
    g_assert_false(keeper_announces(0, "hostb")); /* never protected */
    g_assert_false(keeper_announces(1, ""));
}

/* ---- in every situation there is ----------------------------------------- */

static bool is_question(enum keeper_action_kind kind)
{
    return kind < KEEPER_WAIT;
}

/* Answer as the driver does. */
static void answer(struct keeper_input *in, enum keeper_action_kind kind,
                   unsigned bits)
{
    enum keeper_answer yes = bits & 1 ? KEEPER_YES : KEEPER_NO;

    switch (kind) {
    case KEEPER_SAVE:
        in->unsaved = false;
        break;
    case KEEPER_NOTE_FAILURE:
        in->try = KEEPER_TRY_NONE;
        break;
    case KEEPER_ASK_AGENT:
        in->still_unused = yes;
        break;
    case KEEPER_ASK_LIBVIRT:
        in->runs = yes;
        break;
    case KEEPER_ASK_KERNEL:
        in->qemu = yes;
        break;
    case KEEPER_ASK_ARBITER:
        in->owner = KEEPER_OWNER_UNKNOWN + bits % 3;
        break;
    default:
        g_assert_not_reached();
    }
}

static void check(const struct keeper_input *in,
                  const struct keeper_action *a)
{
    bool alone_here = in->agent == KEEPER_AGENT_SAYS &&
                      ft_pair_is_alone(in->state);

    if (in->busy) {
        g_assert_cmpint(a->kind, ==, KEEPER_WAIT);
    }
    switch (a->kind) {
    case KEEPER_MAKE_BACKUP:
        g_assert_true(in->role == FT_ROLE_PRIMARY && in->wanted &&
                      !in->stopped && alone_here &&
                      in->try != KEEPER_TRY_RUNS);
        break;
    case KEEPER_TAKE_OVER:
        g_assert_true(in->role == FT_ROLE_BACKUP && alone_here &&
                      in->runs == KEEPER_YES);
        break;
    case KEEPER_RECORD_PROTECTED:
        g_assert_cmpint(in->state, ==, FT_PAIR_PROTECTED);
        break;
    case KEEPER_TIDY_UP:
        g_assert_cmpint(a->destroy, ==, in->role == FT_ROLE_BACKUP);
        g_assert_cmpint(a->end, ==, in->role != FT_ROLE_NONE);
        /* never the guest of a primary that runs, nor a live replica */
        g_assert_true(ft_pair_is_over(in->state) ||
                      in->role == FT_ROLE_NONE ||
                      in->still_unused == KEEPER_YES ||
                      (in->role == FT_ROLE_PRIMARY && !in->wanted &&
                       alone_here && !a->destroy));
        break;
    case KEEPER_END_PART:
        g_assert_true(in->agent == KEEPER_AGENT_GONE &&
                      in->qemu == KEEPER_NO && a->end && !a->destroy);
        break;
    case KEEPER_START_AGENT:
        g_assert_true(in->agent == KEEPER_AGENT_GONE &&
                      in->qemu == KEEPER_YES);
        break;
    case KEEPER_RESIGN:
        g_assert_true(in->agent == KEEPER_AGENT_GONE &&
                      in->role == FT_ROLE_NONE);
        break;
    default:
        g_assert_cmpint(a->kind, ==, KEEPER_WAIT);
    }
    if (a->autostart) { /* never where the other host may have the guest */
        g_assert_true(a->end && in->role == FT_ROLE_PRIMARY);
        g_assert_true(
            alone_here || in->owner == KEEPER_OWNER_US ||
            (in->agent == KEEPER_AGENT_SAYS && in->state == FT_PAIR_ENDED));
    }
    if (a->forget) { /* what a primary's host knows of a pair is kept */
        g_assert_cmpint(in->role, ==, FT_ROLE_BACKUP);
    }
}

/* Ask until there is an action; no question comes twice. */
static enum keeper_action_kind one_round(struct keeper_input in,
                                         unsigned answers)
{
    struct keeper_core k = { 0 };
    unsigned asked = 0;

    for (;;) {
        struct keeper_action a = keeper_decide(&k, &in);

        if (!is_question(a.kind)) {
            check(&in, &a);
            return a.kind;
        }
        g_assert_false(asked >> a.kind & 1);
        asked |= 1u << a.kind;
        answer(&in, a.kind, answers);
    }
}

static void every_situation_comes_to_an_action(void)
{
    bool seen[KEEPER_ACTION_COUNT] = { false };
    unsigned n = 0;

    for (unsigned agent = 0; agent < 3; agent++) {
        for (unsigned state = 0; state < FT_PAIR_COUNT; state++) {
            for (unsigned role = 0; role < 3; role++) {
                for (unsigned try = 0; try < 3; try++) {
                    for (unsigned bits = 0; bits < 64; bits++) {
                        for (unsigned answers = 0; answers < 6; answers++) {
                            struct keeper_input in = {
                                .now = 100 * S,
                                .role = role,
                                .agent = agent,
                                .state = state,
                                .try = try,
                                .wanted = bits & 1,
                                .stopped = bits & 2,
                                .busy = bits & 4,
                                .unsaved = bits & 8,
                                .unused = bits & 16,
                                .poked = bits & 32,
                            };

                            seen[one_round(in, answers)] = true;
                            n++;
                        }
                    }
                }
            }
        }
    }
    g_assert_cmpuint(n, ==, 3 * 11 * 3 * 3 * 64 * 6);
    for (unsigned a = KEEPER_WAIT; a < KEEPER_ACTION_COUNT; a++) {
        if (!seen[a]) {
            g_error("no situation leads to %s", keeper_action_name(a));
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/keeper/each-situation", each_situation);
    g_test_add_func("/keeper/back-off",
                    a_new_backup_is_tried_less_and_less_often);
    g_test_add_func("/keeper/poked", the_other_hosts_return_ends_the_wait);
    g_test_add_func("/keeper/later-loss", a_later_loss_begins_anew);
    g_test_add_func("/keeper/refused-quit",
                    an_agent_that_refuses_is_asked_again_later);
    g_test_add_func("/keeper/failed-end", an_end_that_fails_comes_again);
    g_test_add_func("/keeper/agent-start",
                    an_agent_that_does_not_start_is_started_again);
    g_test_add_func("/keeper/announce", the_other_host_of_a_pair_is_told);
    g_test_add_func("/keeper/every-situation",
                    every_situation_comes_to_an_action);
    return g_test_run();
}
