/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test-phase.c - the phases of the emulator's engine, without an emulator
 *
 * phase.c is the emulator's own file, included here as it is: an object of it
 * would lie in the overlay, all of which goes into the emulator's hash.
 */
#include <glib.h>

#include "qemu/overlay/replay/lockstep/phase.c"

/* What may follow each phase, as the engine's theory tells it. */
static const char *const followers[LOCKSTEP_PHASE__MAX] = {
    [LOCKSTEP_ALONE] = "record: runs, replay: loading",
    [LOCKSTEP_RECORD_RUNS] = "alone, record: orphaned, record: ending",
    [LOCKSTEP_RECORD_ORPHANED] = "alone, record: ending",
    [LOCKSTEP_RECORD_ENDING] = "alone",
    [LOCKSTEP_REPLAY_LOADING] =
        "replay: ready, replay: ended, replay: diverged",
    [LOCKSTEP_REPLAY_READY] =
        "replay: starved, replay: ended, replay: diverged",
    [LOCKSTEP_REPLAY_STARVED] = "alone, replay: ready, replay: diverged",
    [LOCKSTEP_REPLAY_ENDED] = "",
    [LOCKSTEP_REPLAY_DIVERGED] = "",
};

static void test_followers(void)
{
    for (int from = 0; from < LOCKSTEP_PHASE__MAX; from++) {
        g_autoptr(GString) text = g_string_new("");

        for (int to = 0; to < LOCKSTEP_PHASE__MAX; to++) {
            if (lockstep_phase_may_follow(to, from)) {
                g_string_append_printf(text, "%s%s", text->len ? ", " : "",
                                       lockstep_phase_name(to));
            }
        }
        g_test_message("after %s", lockstep_phase_name(from));
        g_assert_cmpstr(text->str, ==, followers[from]);
    }
}

/* Facts that must hold, one after the other, each allowed after the last. */
static void live_through(const LockstepFacts *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g_test_message("%s, %s", lockstep_phase_name(f[i].phase),
                       lockstep_stream_name(f[i].stream));
        g_assert_cmpstr(lockstep_invariant(&f[i]), ==, NULL);
        g_assert_true(i == 0 || f[i].phase == f[i - 1].phase ||
                      lockstep_phase_may_follow(f[i].phase, f[i - 1].phase));
    }
}
#define LIVE_THROUGH(...)                                                    \
    do {                                                                     \
        const LockstepFacts facts[] = { __VA_ARGS__ };                       \
        live_through(facts, G_N_ELEMENTS(facts));                            \
    } while (0)
#define F(p, s, ...)                                                         \
    {                                                                        \
        .phase = LOCKSTEP_##p, .stream = LOCKSTEP_STREAM_##s, __VA_ARGS__    \
    }

static void test_primary(void)
{
    LIVE_THROUGH(F(ALONE, NONE), F(ALONE, OUT, .session = true),
                 F(RECORD_RUNS, OUT, .session = true),
                 F(RECORD_RUNS, NONE, .session = true),
                 F(RECORD_ORPHANED, NONE, .session = true),
                 F(RECORD_ENDING, NONE, .session = true), F(ALONE, NONE));
}

/* The agent says to go alone before the stream is closed. */
static void test_clone_in_vain(void)
{
    LIVE_THROUGH(F(ALONE, OUT, .session = true),
                 F(RECORD_RUNS, OUT, .session = true),
                 F(RECORD_ORPHANED, OUT, .session = true), F(ALONE, OUT),
                 F(ALONE, NONE));
}

static void test_replica(void)
{
    LIVE_THROUGH(F(ALONE, NONE), F(ALONE, IN, .session = true),
                 F(REPLAY_LOADING, IN, .session = true),
                 F(REPLAY_READY, NONE, .session = true),
                 F(REPLAY_READY, NONE, .session = true, .event = true),
                 F(REPLAY_STARVED, NONE, .session = true), F(ALONE, NONE));
}

/* A disk that cannot be used is found while the stream is still open. */
static void test_bad_replica(void)
{
    LIVE_THROUGH(F(REPLAY_LOADING, IN, .session = true),
                 F(REPLAY_DIVERGED, IN, .session = true),
                 F(REPLAY_DIVERGED, NONE, .session = true));
}

static void test_invariant(void)
{
    static const struct {
        LockstepFacts facts;
        const char *wrong;
    } cases[] = {
        { F(RECORD_RUNS, NONE), "whoever records or replays has a session" },
        { F(REPLAY_STARVED, NONE),
          "whoever records or replays has a session" },
        { F(ALONE, NONE, .session = true),
          "a session of a QEMU that is alone belongs to a clone's stream" },
        { F(REPLAY_READY, OUT, .session = true),
          "a replica is cloned by nobody" },
        { F(RECORD_RUNS, IN, .session = true),
          "no guest runs whose state still comes in" },
        { F(REPLAY_STARVED, IN, .session = true),
          "no guest runs whose state still comes in" },
        { F(REPLAY_LOADING, NONE, .session = true),
          "what loads comes in by a stream" },
        { F(REPLAY_STARVED, NONE, .session = true, .event = true),
          "a replica that waits has no event in hand" },
        { F(REPLAY_ENDED, NONE, .session = true, .event = true),
          "a replica that waits has no event in hand" },
        { F(REPLAY_DIVERGED, NONE, .session = true, .event = true),
          "a replica that waits has no event in hand" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_cmpstr(lockstep_invariant(&cases[i].facts), ==,
                        cases[i].wrong);
    }
}

/* Each refusal says something, also in the moment before QEMU exits. */
static void test_go_live(void)
{
    static const char *const why[LOCKSTEP_PHASE__MAX] = {
        [LOCKSTEP_ALONE] = "this QEMU does not replay",
        [LOCKSTEP_RECORD_RUNS] = "this QEMU does not replay",
        [LOCKSTEP_RECORD_ORPHANED] = "this QEMU does not replay",
        [LOCKSTEP_RECORD_ENDING] = "this QEMU does not replay",
        [LOCKSTEP_REPLAY_ENDED] =
            "the guest powered off, and its replica ends with it",
        [LOCKSTEP_REPLAY_DIVERGED] = "registers differ",
    };

    for (int p = 0; p < LOCKSTEP_PHASE__MAX; p++) {
        g_assert_cmpstr(lockstep_refuses_go_live(p,
                                                 p == LOCKSTEP_REPLAY_DIVERGED
                                                     ? "registers differ"
                                                     : ""),
                        ==, why[p]);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/phase/which-may-follow-which", test_followers);
    g_test_add_func("/phase/a-primary-lives", test_primary);
    g_test_add_func("/phase/a-clone-in-vain", test_clone_in_vain);
    g_test_add_func("/phase/a-replica-lives", test_replica);
    g_test_add_func("/phase/a-replica-that-cannot", test_bad_replica);
    g_test_add_func("/phase/what-is-false-is-found", test_invariant);
    g_test_add_func("/phase/go-live-is-refused-with-a-reason", test_go_live);
    return g_test_run();
}
