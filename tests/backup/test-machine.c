/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test-machine.c - the backup core, one (state, event) pair after the other,
 * by the table in machine.tbl.h (see tests/common/machine-table.h), and stories
 */
#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "backup/machine.h"

/* What each effect is called in the table. */
static const char *bak_effect_name(enum bak_effect_kind k);
FT_WORDS(bak_effect_name, bak_effect_kind, BAK_EFFECTS)

#define MS FT_NS_PER_MS
#define NOW (100000 * MS)

#include "tests/backup/cases.tbl.h"

/* Generation 5. Positions 1 to 7 were received just now, 5 are executed (and
 * the replica has not moved for 9.3 s), but all of them in a state that only
 * comes after that. */
static void typical(struct bak *b, enum bak_state s)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    bool contends = s == BAK_ST_ARBITRATING || s == BAK_ST_FENCING_PEER ||
                    s == BAK_ST_GOING_LIVE || s == BAK_ST_LIVE;

    bak_init(b, &t, 5);
    b->state = s;
    b->heard = b->logged = NOW;
    b->heartbeat = NOW + 50 * MS;
    b->moved = NOW + 700 * MS - t.stall;
    if (s == BAK_ST_WAITING) {
        return;
    }
    b->received = 7;
    b->executed = contends ? 7 : 5;
    b->open = s == BAK_ST_LOADING || s == BAK_ST_LOADED ||
              s == BAK_ST_PROTECTED || s == BAK_ST_DIVERGED ||
              s == BAK_ST_ENDING || s == BAK_ST_RELINQUISHING;
    b->promise = NOW + 900 * MS;
    b->prepared = s == BAK_ST_LOADING;
    b->announced = s != BAK_ST_LOADING && s != BAK_ST_LOADED;
    b->disk_ok = contends;
    b->waiting = s == BAK_ST_SUSPECTING || s == BAK_ST_FENCING_PEER ||
                 s == BAK_ST_GOING_LIVE;
    if (s == BAK_ST_RELINQUISHING) {
        b->until = NOW + 600 * MS;
    }
    b->qemu_gone = s == BAK_ST_RELINQUISHING || s == BAK_ST_FENCED ||
                   s == BAK_ST_ENDED;
}

#define CORE bak
#define M(name) bak_##name
#define M_(NAME) BAK_##NAME
#include "tests/common/machine-table.h"

static struct bak_event event_at(const struct beat *b)
{
    return (struct bak_event){
        .kind = b->kind,
        .now = b->at * MS,
        .code = b->code,
        .position = b->pos,
        .stamp = b->stamp * MS,
        .ok = b->ok,
        .detect = 1000 * MS,
        .lease = 800 * MS,
        .margin = 100 * MS,
    };
}

/* clang-format off */
#define BECOMES_PROTECTED                                                  \
    B(10, CONNECTED,                                                       \
      TO("loading", "send-heartbeat, load, prepare-take")),                \
    B(11, PREPARED, TO("loading", "")),                                    \
    B(20, ENTRIES, .pos = 1, .stamp = 5, TO("loading", "send-ack")),       \
    B(30, LOADED, TO("loaded", "send-loaded")),                            \
    B(40, EXECUTED, .pos = 1, TO("loaded", "")),                           \
    B(50, ENTRIES, .pos = 2, .stamp = 6, TO("loaded", "send-ack")),        \
    B(60, PROTECTED, .pos = 2, TO("protected", "")),                       \
    B(70, ENTRIES, .pos = 3, .stamp = 7, TO("protected", "send-ack"))
/* clang-format on */

static void test_goes_live_in_order(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED,
         B(80, CLOSED, TO("suspecting", "close, probe-disk")),
         B(90, DISK, .ok = true, TO("suspecting", "")),
         /* the promise has not expired */
         B(100, EXECUTED, .pos = 3, TO("suspecting", "")));
    g_assert_cmpint(bak_deadline(&b), ==, (70 + 800 + 100) * MS);
    PLAY(&b, B(969, TIMEOUT, TO("suspecting", "")),
         B(970, TIMEOUT, TO("arbitrating", "arbitrate")),
         B(975, ARBITRATED, .ok = true, TO("fencing-peer", "fence-peer")),
         B(980, PEER_FENCED, .ok = true, TO("going-live", "go-live")),
         B(990, WENT_LIVE, TO("live", "become-primary")));
}

/* A storage that is full keeps it from being a backup, while the guest still
 * runs without one. */
static void test_prepares_before_loaded(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    bak_init(&b, &t, 1);
    PLAY(&b,
         B(10, CONNECTED,
           TO("loading", "send-heartbeat, load, prepare-take")),
         B(30, LOADED, TO("loading", "")),
         B(40, PREPARED, TO("loaded", "send-loaded")));
    bak_init(&b, &t, 2);
    PLAY(&b,
         B(10, CONNECTED,
           TO("loading", "send-heartbeat, load, prepare-take")),
         B(30, LOADED, TO("loading", "")),
         B(40, CLOSED, TO("ended", "close, stop-arbiter, kill-qemu")));
    bak_init(&b, &t, 3);
    PLAY(&b,
         B(10, CONNECTED,
           TO("loading", "send-heartbeat, load, prepare-take")),
         B(40, QEMU_DIED,
           TO("relinquishing", "stop-arbiter, send-relinquish")));
}

/* I4 */
static void test_executes_all_first(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED,
         B(80, CLOSED, TO("suspecting", "close, probe-disk")),
         B(90, DISK, .ok = true, TO("suspecting", "")),
         B(2000, EXECUTED, .pos = 2, TO("suspecting", "")),
         B(2001, TIMEOUT, TO("suspecting", "")),
         B(2002, EXECUTED, .pos = 3, TO("arbitrating", "arbitrate")),
         B(2003, ARBITRATED, .ok = false, TO("fencing", "kill-qemu")),
         B(2004, QEMU_DIED, TO("fenced", "")));
}

static void test_never_contends_before_protected(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    bak_init(&b, &t, 1);
    PLAY(&b,
         B(10, CONNECTED,
           TO("loading", "send-heartbeat, load, prepare-take")),
         B(11, PREPARED, TO("loading", "")),
         B(30, LOADED, TO("loaded", "send-loaded")),
         B(1009, TIMEOUT, TO("loaded", "send-heartbeat")),
         B(1010, TIMEOUT, TO("ended", "close, kill-qemu")));
}

static void test_probes_until_it_can_read(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED,
         B(75, EXECUTED, .pos = 3, TO("protected", "")),
         B(1069, TIMEOUT, TO("protected", "probe-disk, send-heartbeat")),
         /* that one counts: it is not begun twice */
         B(1075, TIMEOUT, TO("suspecting", "close")),
         B(1080, DISK, .ok = false, TO("suspecting", "")),
         B(1279, TIMEOUT, TO("suspecting", "")),
         B(1280, TIMEOUT, TO("suspecting", "probe-disk")),
         B(1290, DISK, .ok = true, TO("arbitrating", "arbitrate")));
}

static void test_proves_the_disk_early(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED,
         B(75, EXECUTED, .pos = 3, TO("protected", "")),
         B(569, TIMEOUT, TO("protected", "send-heartbeat")));
    g_assert_cmpint(bak_deadline(&b), ==, 570 * MS);
    PLAY(&b, B(570, TIMEOUT, TO("protected", "probe-disk")),
         B(580, DISK, .ok = true, TO("protected", "")),
         B(1069, TIMEOUT, TO("protected", "send-heartbeat")),
         B(1070, TIMEOUT, TO("arbitrating", "close, arbitrate")));
}

static void test_an_early_failure_says_nothing(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED,
         B(600, TIMEOUT, TO("protected", "probe-disk, send-heartbeat")),
         B(610, DISK, .ok = false, TO("protected", "")),
         B(809, TIMEOUT, TO("protected", "send-heartbeat")),
         B(810, TIMEOUT, TO("protected", "probe-disk")),
         B(820, DISK, .ok = false, TO("protected", "")),
         B(830, CLOSED, TO("suspecting", "close, probe-disk")));
}

static void test_an_old_proof_is_none(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    for (int at = 1579; at <= 1580; at++) {
        const char *effects = at < 1580 ? "close" : "close, probe-disk";

        bak_init(&b, &t, 1);
        PLAY(&b, BECOMES_PROTECTED,
             B(570, TIMEOUT, TO("protected", "probe-disk, send-heartbeat")),
             B(580, DISK, .ok = true, TO("protected", "")),
             B(590, HEARD, TO("protected", "")),
             B(1500, HEARD, TO("protected", "")),
             B(at, CLOSED, TO("suspecting", effects)));
    }
}

static void test_gives_up_a_replica_that_stalls(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED, B(9900, HEARD, TO("protected", "")),
         B(10059, TIMEOUT, TO("protected", "send-heartbeat")),
         B(10060, TIMEOUT, TO("ending", "kill-qemu")));
    g_assert_cmpint(b.reason, ==, BAK_WHY_STALLED);

    /* one that is only slow, or has nothing to do, is kept */
    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED,
         B(9900, EXECUTED, .pos = 2, TO("protected", "")),
         B(9910, HEARD, TO("protected", "")),
         B(10060, TIMEOUT, TO("protected", "send-heartbeat")),
         B(10070, EXECUTED, .pos = 3, TO("protected", "")),
         B(10900, HEARD, TO("protected", "")),
         B(11000, ENTRIES, .pos = 4, TO("protected", "send-ack")),
         B(11900, ENTRIES, .pos = 5, TO("protected", "send-ack")));
    g_assert_cmpint(b.moved, ==, 11000 * MS);
}

static void test_counts_with_the_pair(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;
    struct bak_update up;
    struct bak_event hello = { .kind = BAK_EV_CONNECTED,
                               .now = 10 * MS,
                               .detect = 3000 * MS,
                               .lease = 2400 * MS };

    for (int margin = 50; margin <= 300; margin += 250) {
        bak_init(&b, &t, 1);
        hello.margin = margin * MS;
        bak_step(&b, &hello, &up);
        PLAY(&b, B(15, PREPARED, TO("loading", "")),
             B(20, ENTRIES, .pos = 1, TO("loading", "send-ack")),
             B(3019, TIMEOUT, TO("loading", "send-heartbeat")),
             B(3020, TIMEOUT, TO("ended", "close, kill-qemu")));
        /* the larger margin */
        g_assert_cmpint(b.promise, ==,
                        (20 + 2400 + (margin > 100 ? margin : 100)) * MS);
    }
}

static void test_is_heard_to_the_end(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED,
         B(80, END, .code = 1, TO("ending", "kill-qemu")));
    g_assert_cmpint(bak_deadline(&b), ==, 110 * MS);
    PLAY(&b, B(110, TIMEOUT, TO("ending", "send-heartbeat")),
         B(120, QEMU_DIED, TO("relinquishing", "send-relinquish")),
         B(210, TIMEOUT, TO("relinquishing", "send-heartbeat")),
         B(220, RELINQUISH_ACK, TO("ended", "close")));
    g_assert_cmpint(bak_deadline(&b), ==, FT_NEVER);
}

static void test_relinquish_ends_the_waiting(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED,
         B(80, RELINQUISH, .pos = 3,
           TO("suspecting", "send-relinquish-ack, close, probe-disk")),
         B(81, EXECUTED, .pos = 3, TO("suspecting", "")),
         B(82, DISK, .ok = true, TO("fencing-peer", "arbitrate, fence-peer")),
         /* an earlier try of the dead primary means nothing any more */
         B(83, ARBITRATED, .ok = false, TO("fencing-peer", "")),
         B(84, PEER_FENCED, .ok = true, TO("going-live", "go-live")));
}

static void test_a_stopped_log_is_news(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED, B(900, HEARD, TO("protected", "")),
         /* not yet executed: it may wait for room in our window */
         B(1200, TIMEOUT, TO("protected", "send-heartbeat")),
         B(1300, EXECUTED, .pos = 3, TO("protected", "")),
         B(1800, HEARD, TO("protected", "")),
         B(2299, TIMEOUT, TO("protected", "send-heartbeat")),
         B(2300, TIMEOUT, TO("suspecting", "close, probe-disk")));
    g_assert_cmpint(b.reason, ==, BAK_WHY_LOG_SILENT);
}

/* I6 */
static void test_a_power_off_never_goes_live(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED,
         B(80, CLOSED, TO("suspecting", "close, probe-disk")),
         B(90, DISK, .ok = true, TO("suspecting", "")),
         B(95, POWERED_OFF, .pos = 3, TO("ended", "kill-qemu")),
         B(2000, TIMEOUT, TO("ended", "")));
    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED,
         B(80, END, .code = 2, TO("ended", "close, kill-qemu")));
}

static void test_relinquishes_when_reaped(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct bak b;

    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED,
         B(80, END, .code = 1, TO("ending", "kill-qemu")),
         B(81, ENTRIES, .pos = 4, .stamp = 8, TO("ending", "")),
         B(82, QEMU_DIED, TO("relinquishing", "send-relinquish")),
         B(83, RELINQUISH_ACK, TO("ended", "close")));
    bak_init(&b, &t, 1);
    PLAY(&b, BECOMES_PROTECTED,
         B(80, DIVERGED, .pos = 3,
           TO("diverged", "send-diverged, kill-qemu")),
         B(81, CLOSED, TO("diverged", "close")),
         B(82, QEMU_DIED, TO("ended", "")));
}

/* Nothing that a peer says, in whatever order, breaks a core. */
static void test_takes_anything(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    ft_ns now = NOW;
    struct bak b;

    bak_init(&b, &t, 1);
    for (int i = 0; i < 300000; i++) {
        struct bak_update up;

        now += g_test_rand_int_range(0, 80) * MS;
        struct bak_event ev = {
            .kind = (enum bak_event_kind)g_test_rand_int_range(0,
                                                               BAK_EV_COUNT),
            .now = now,
            .code = g_test_rand_int_range(-1, 5),
            .position = any_position(),
            .stamp = any_time(now),
            .ok = g_test_rand_bit(),
            .detect = g_test_rand_int_range(0, 2000) * MS,
            .lease = g_test_rand_int_range(0, 2000) * MS,
            .margin = g_test_rand_int_range(0, 2000) * MS,
        };

        if (i % 100 == 0) {
            bak_init(&b, &t, 1);
        }
        if (!bak_expects(&b, ev.kind)) {
            continue;
        }
        bak_step(&b, &ev, &up);
        g_assert_cmpuint(up.count, <=, BAK_UPDATE_MAX);
        g_assert_cmpstr(bak_invariant(&b), ==, NULL);
    }
}

static void test_an_illegal_event_traps(void)
{
    if (g_test_subprocess()) {
        struct ft_timing t = FT_TIMING_DEFAULT;
        struct bak b;

        bak_init(&b, &t, 1);
        PLAY(&b, B(10, WENT_LIVE, TO("waiting", "")));
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--table") == 0) {
        print_table();
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/backup/every state and event has its row", test_table);
    g_test_add_func("/backup/goes live in order", test_goes_live_in_order);
    g_test_add_func("/backup/executes all that it received first",
                    test_executes_all_first);
    g_test_add_func("/backup/makes the arbiter ready while it loads",
                    test_prepares_before_loaded);
    g_test_add_func("/backup/never contends before PROTECTED",
                    test_never_contends_before_protected);
    g_test_add_func("/backup/probes the disk until it can read",
                    test_probes_until_it_can_read);
    g_test_add_func("/backup/proves the disk when its primary grows silent",
                    test_proves_the_disk_early);
    g_test_add_func("/backup/takes no early failure for an answer",
                    test_an_early_failure_says_nothing);
    g_test_add_func("/backup/takes no old proof for a proof",
                    test_an_old_proof_is_none);
    g_test_add_func("/backup/gives up a replica that does not move",
                    test_gives_up_a_replica_that_stalls);
    g_test_add_func("/backup/counts with the primary's times",
                    test_counts_with_the_pair);
    g_test_add_func("/backup/is heard as long as the channel is open",
                    test_is_heard_to_the_end);
    g_test_add_func("/backup/does not wait after RELINQUISH",
                    test_relinquish_ends_the_waiting);
    g_test_add_func("/backup/suspects a primary that writes no log",
                    test_a_stopped_log_is_news);
    g_test_add_func("/backup/never goes live after a power-off",
                    test_a_power_off_never_goes_live);
    g_test_add_func("/backup/relinquishes when its replica is reaped",
                    test_relinquishes_when_reaped);
    g_test_add_func("/backup/takes anything in any order",
                    test_takes_anything);
    g_test_add_func("/backup/traps on its driver's illegal event",
                    test_an_illegal_event_traps);
    return g_test_run();
}
