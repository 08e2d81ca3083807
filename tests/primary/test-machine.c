/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test-machine.c - the primary core, one (state, event) pair after the other,
 * by the table in machine.tbl.h (see tests/common/machine-table.h), and stories
 */
#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "primary/machine.h"

/* What each effect is called in the table. */
static const char *pri_effect_name(enum pri_effect_kind k);
FT_WORDS(pri_effect_name, pri_effect_kind, PRI_EFFECTS)

#define MS FT_NS_PER_MS
#define NOW (100000 * MS)

#include "tests/primary/cases.tbl.h"

/* Generation 4 was the last pair, 5 is being made or holds. Positions 1 to 7
 * were sent 20 ms ago, 5 are acknowledged; everyone was just heard. */
static void typical(struct pri *p, enum pri_state s)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    bool unbound = s == PRI_ST_CONNECTING || s == PRI_ST_CLONING ||
                   s == PRI_ST_DRAINING || s == PRI_ST_FREEING;
    bool bound = s == PRI_ST_ANNOUNCING || s == PRI_ST_PROTECTED ||
                 s == PRI_ST_ENDING || s == PRI_ST_POWERING_OFF;

    pri_init(p, &t, 4);
    p->state = s;
    p->heard = p->logged = NOW;
    p->heartbeat = s == PRI_ST_CONNECTING ? 0 : NOW + 50 * MS;
    p->highest = 5;
    if (unbound) {
        p->next = 5;
    } else if (s != PRI_ST_ALONE && s != PRI_ST_CANCELLING) {
        p->generation = 5;
    }
    if (unbound || bound || s == PRI_ST_RELINQUISHING) {
        p->sent = s == PRI_ST_CONNECTING ? 0 : 7;
        p->acked = s == PRI_ST_CONNECTING ? 0 : 5;
        p->stamp = s == PRI_ST_CONNECTING ? 0 : NOW - 20 * MS;
    }
    if (bound) {
        p->recording = p->loaded = true;
        p->gate = PRI_GATE_RULE;
        p->lease_until = NOW + 700 * MS;
    }
    switch (s) {
    case PRI_ST_CLONING:
        p->recording = p->prepared = true;
        break;
    case PRI_ST_DRAINING:
        p->shut = true;
        p->awaited = 7;
        /* fall through */
    case PRI_ST_FREEING:
        p->recording = p->loaded = true;
        p->gate = PRI_GATE_SHUT;
        p->until = NOW + 600 * MS;
        break;
    case PRI_ST_ANNOUNCING:
        p->awaited = 6;
        break;
    case PRI_ST_ENDING:
        p->reason = PRI_WHY_UNPROTECTED;
        p->until = NOW + 600 * MS;
        break;
    case PRI_ST_POWERING_OFF:
        p->powered_off = true;
        p->awaited = 7;
        p->until = NOW + 600 * MS;
        break;
    case PRI_ST_SUSPECTING:
        p->until = NOW + 2400 * MS;
        /* fall through */
    case PRI_ST_RECLAIMING:
    case PRI_ST_ARBITRATING:
        p->recording = true;
        p->gate = PRI_GATE_SHUT;
        break;
    case PRI_ST_GOING_ALONE:
        p->recording = true;
        break;
    case PRI_ST_RELINQUISHING:
        p->gate = PRI_GATE_SHUT;
        p->qemu_gone = true;
        p->until = NOW + 600 * MS;
        break;
    case PRI_ST_FENCED:
        p->qemu_gone = true;
        break;
    default:
        break;
    }
}

#define CORE pri
#define M(name) pri_##name
#define M_(NAME) PRI_##NAME
#include "tests/common/machine-table.h"

static struct pri_event event_at(const struct beat *b)
{
    return (struct pri_event){
        .kind = b->kind,
        .now = b->at * MS,
        .generation = b->gen,
        .position = b->pos,
        .stamp = b->stamp * MS,
        .ok = b->ok,
    };
}

/* clang-format off */
#define BECOMES_PROTECTED                                                  \
    B(10, PROTECT, .gen = 1, TO("connecting", "connect")),                 \
    B(20, CONNECTED,                                                       \
      TO("cloning", "send-heartbeat, start-clone, prepare-take")),         \
    B(21, PREPARED, .gen = 1, TO("cloning", "")),                          \
    B(30, CLONED, TO("cloning", "")),                                      \
    B(40, LOG, .pos = 1, TO("cloning", "send-entries")),                   \
    B(50, LOADED, .pos = 1, TO("draining", "shut-gate")),                  \
    B(51, SHUT, .pos = 2, TO("draining", "")),                             \
    B(52, ACK, .pos = 1, .stamp = 40, TO("draining", "")),                 \
    B(53, LOG, .pos = 2, TO("draining", "send-entries")),                  \
    B(54, ACK, .pos = 2, .stamp = 53, TO("freeing", "write-free")),        \
    B(60, FREED, .gen = 1, .ok = true,                                     \
      TO("announcing", "send-protected, open-gate")),                      \
    B(61, LOG, .pos = 3, TO("announcing", "send-entries")),                \
    B(62, ACK, .pos = 3, .stamp = 61, TO("protected", "release"))
/* clang-format on */

static void test_announces_in_order(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct pri p;

    pri_init(&p, &t, 0);
    PLAY(&p, BECOMES_PROTECTED);
    g_assert_cmpuint(p.generation, ==, 1);
    g_assert_cmpint(p.lease_until, ==, (61 + 800) * MS);
}

/* clang-format off */
/* The end of a clone holds the guest's outputs: a slow storage may, for longer
 * than a silent peer, but not for ever. */
#define BECOMES_FREEING                                                    \
    B(10, PROTECT, .gen = 1, TO("connecting", "connect")),                 \
    B(20, CONNECTED,                                                       \
      TO("cloning", "send-heartbeat, start-clone, prepare-take")),         \
    B(21, PREPARED, .gen = 1, TO("cloning", "")),                          \
    B(30, CLONED, TO("cloning", "")),                                      \
    B(50, LOADED, .pos = 1, TO("draining", "shut-gate")),                  \
    B(900, HEARD, TO("draining", "")),                                     \
    B(1800, HEARD, TO("draining", "")),                                    \
    B(1801, TIMEOUT, TO("draining", "send-heartbeat")),                    \
    B(1802, LOG, .pos = 1, TO("draining", "send-entries")),                \
    B(1803, SHUT, .pos = 1, TO("draining", "")),                           \
    B(1804, ACK, .pos = 1, .stamp = 0, TO("freeing", "write-free")),       \
    B(2700, HEARD, TO("freeing", "")),                                     \
    B(3600, HEARD, TO("freeing", ""))
/* clang-format on */

static void test_holds_outputs_for_a_while(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct pri p;

    pri_init(&p, &t, 0);
    PLAY(&p, BECOMES_FREEING,
         B(3601, TIMEOUT, TO("freeing", "send-heartbeat")),
         B(4000, FREED, .gen = 1, .ok = true,
           TO("announcing", "send-protected, open-gate")));
    pri_init(&p, &t, 0);
    PLAY(&p, BECOMES_FREEING, B(4500, HEARD, TO("freeing", "")),
         B(5049, TIMEOUT, TO("freeing", "send-heartbeat")),
         B(5050, TIMEOUT,
           TO("going-alone",
              "send-clone-failed, close, stop-arbiter, go-alone")));
    g_assert_cmpint(p.reason, ==, PRI_WHY_ARBITER);
    /* a silent peer is lost as ever */
    pri_init(&p, &t, 0);
    PLAY(&p, BECOMES_FREEING,
         B(4600, TIMEOUT,
           TO("going-alone",
              "send-clone-failed, close, stop-arbiter, go-alone")));
    g_assert_cmpint(p.reason, ==, PRI_WHY_PEER_SILENT);
}

/* A storage that is full costs the guest nothing: its gate stays open. */
static void test_prepares_before_it_shuts_the_gate(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct pri p;

    pri_init(&p, &t, 0);
    PLAY(&p, B(10, PROTECT, .gen = 1, TO("connecting", "connect")),
         B(20, CONNECTED,
           TO("cloning", "send-heartbeat, start-clone, prepare-take")),
         B(30, CLONED, TO("cloning", "")), B(50, LOADED, TO("cloning", "")),
         B(55, PREPARED, .gen = 9, TO("cloning", "")),
         B(60, PREPARED, .gen = 1, TO("draining", "shut-gate")));
    g_assert_cmpint(p.until, ==, 60 * MS + t.hold);
}

static void test_not_bound_before_protected(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct pri p;

    pri_init(&p, &t, 0);
    PLAY(&p, B(10, PROTECT, .gen = 1, TO("connecting", "connect")),
         B(20, CONNECTED,
           TO("cloning", "send-heartbeat, start-clone, prepare-take")),
         B(30, CLOSED,
           TO("cancelling",
              "send-clone-failed, close, stop-arbiter, cancel-clone")),
         B(40, CLONED, TO("going-alone", "go-alone")),
         B(50, WENT_ALONE, TO("alone", "")));
    g_assert_cmpuint(p.generation, ==, 0);
    g_assert_cmpuint(p.highest, ==, 1);
    g_assert_cmpint(p.reason, ==, PRI_WHY_PEER_CLOSED);
}

/* I3 */
static void test_alone_only_with_the_grant(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct pri p;

    pri_init(&p, &t, 0);
    PLAY(&p, BECOMES_PROTECTED,
         B(70, CLOSED, TO("arbitrating", "shut-gate, close, arbitrate")),
         B(80, ARBITRATED, .gen = 1, .ok = true,
           TO("going-alone", "go-alone")),
         B(90, WENT_ALONE, TO("alone", "")));
    pri_init(&p, &t, 0);
    PLAY(&p, BECOMES_PROTECTED,
         B(70, CLOSED, TO("arbitrating", "shut-gate, close, arbitrate")),
         B(80, ARBITRATED, .gen = 1, .ok = false, TO("fencing", "fence")),
         B(90, QEMU_DIED, TO("fenced", "")));
}

/* A QEMU that writes nothing (stopped) is what failed: the healthy backup,
 * which waits for lease + margin at most, must win. */
static void test_a_stopped_qemu_contends_late(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct pri p;

    pri_init(&p, &t, 0);
    PLAY(&p, BECOMES_PROTECTED,
         B(1062, CLOSED, TO("suspecting", "shut-gate, close")),
         B(3461, TIMEOUT, TO("suspecting", "")),
         B(3462, TIMEOUT, TO("arbitrating", "arbitrate")));
}

static void test_an_orphan_contends_late(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct pri p;

    pri_init(&p, &t, 0);
    PLAY(&p, B(10, ORPHAN, .gen = 3, TO("suspecting", "")),
         B(2410, TIMEOUT, TO("reclaiming", "write-free")),
         B(2420, FREED, .gen = 3, .ok = false,
           TO("arbitrating", "arbitrate")),
         B(2430, ARBITRATED, .gen = 3, .ok = true,
           TO("going-alone", "go-alone")));
}

/* I6 */
static void test_a_power_off_needs_no_second_word(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct pri p;

    pri_init(&p, &t, 0);
    PLAY(&p, BECOMES_PROTECTED,
         B(70, LOG, .pos = 4, TO("protected", "send-entries")),
         B(71, POWERED_OFF, .pos = 4, TO("powering-off", "")),
         B(72, QEMU_DIED, TO("powering-off", "")),
         B(73, ACK, .pos = 4, .stamp = 70,
           TO("ended", "release, send-end, close")));
    pri_init(&p, &t, 0);
    PLAY(&p, BECOMES_PROTECTED,
         B(71, POWERED_OFF, .pos = 4, TO("powering-off", "")),
         B(72, QEMU_DIED, TO("powering-off", "")),
         B(73, CLOSED, TO("arbitrating", "shut-gate, close, arbitrate")),
         B(74, ARBITRATED, .gen = 1, .ok = true, TO("ended", "")));
}

static void test_the_lease_counts_from_the_stamp(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct pri p;

    pri_init(&p, &t, 0);
    PLAY(&p, BECOMES_PROTECTED,
         B(100, LOG, .pos = 4, TO("protected", "send-entries")),
         B(110, LOG, .pos = 5, TO("protected", "send-entries")),
         /* received, but the promise is withheld */
         B(120, ACK, .pos = 4, .stamp = 0, TO("protected", "release")));
    g_assert_cmpint(p.lease_until, ==, (61 + 800) * MS);
    /* an older stamp does not shorten it, whenever it comes */
    PLAY(&p, B(500, ACK, .pos = 5, .stamp = 110, TO("protected", "release")),
         B(600, ACK, .pos = 5, .stamp = 100, TO("protected", "")));
    g_assert_cmpint(p.lease_until, ==, (110 + 800) * MS);
}

static void test_deadlines_are_told(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct pri p;

    pri_init(&p, &t, 0);
    g_assert_cmpint(pri_deadline(&p), ==, FT_NEVER);
    PLAY(&p, BECOMES_PROTECTED);
    g_assert_cmpint(pri_deadline(&p), ==, 120 * MS);
    PLAY(&p, B(1000, TIMEOUT, TO("protected", "send-heartbeat")));
    g_assert_cmpint(pri_deadline(&p), ==, 1062 * MS);
}

static void test_is_heard_from_the_welcome_on(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    struct pri p;

    pri_init(&p, &t, 0);
    PLAY(&p, B(10, PROTECT, .gen = 1, TO("connecting", "connect")));
    g_assert_cmpint(pri_deadline(&p), ==, FT_NEVER);
    PLAY(&p, B(20, WELCOMED, TO("connecting", "send-heartbeat")),
         B(119, TIMEOUT, TO("connecting", "")),
         B(120, TIMEOUT, TO("connecting", "send-heartbeat")),
         B(130, CONNECTED,
           TO("cloning", "send-heartbeat, start-clone, prepare-take")));
    g_assert_cmpint(pri_deadline(&p), ==, 230 * MS);
    PLAY(&p, B(140, CLOSED,
               TO("cancelling",
                  "send-clone-failed, close, stop-arbiter, cancel-clone")));
    g_assert_cmpint(pri_deadline(&p), ==, FT_NEVER);
}

/* Nothing that a peer says, in whatever order, breaks a core. */
static void test_takes_anything(void)
{
    struct ft_timing t = FT_TIMING_DEFAULT;
    ft_ns now = NOW;
    struct pri p;

    pri_init(&p, &t, 0);
    for (int i = 0; i < 300000; i++) {
        struct pri_update up;

        now += g_test_rand_int_range(0, 80) * MS;
        struct pri_event ev = {
            .kind = (enum pri_event_kind)g_test_rand_int_range(0,
                                                               PRI_EV_COUNT),
            .now = now,
            .generation = any_position(),
            .position = any_position(),
            .stamp = any_time(now),
            .ok = g_test_rand_bit(),
        };

        if (i % 100 == 0) {
            pri_init(&p, &t, 0);
        }
        if (!pri_expects(&p, ev.kind)) {
            continue;
        }
        pri_step(&p, &ev, &up);
        g_assert_cmpuint(up.count, <=, PRI_UPDATE_MAX);
        g_assert_cmpstr(pri_invariant(&p), ==, NULL);
    }
}

static void test_an_illegal_event_traps(void)
{
    if (g_test_subprocess()) {
        struct ft_timing t = FT_TIMING_DEFAULT;
        struct pri p;

        pri_init(&p, &t, 0);
        PLAY(&p, B(10, WENT_ALONE, TO("alone", "")));
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
    g_test_add_func("/primary/every state and event has its row", test_table);
    g_test_add_func("/primary/announces protection in order",
                    test_announces_in_order);
    g_test_add_func("/primary/holds outputs for a clone, but not for ever",
                    test_holds_outputs_for_a_while);
    g_test_add_func("/primary/makes the arbiter ready while it clones",
                    test_prepares_before_it_shuts_the_gate);
    g_test_add_func("/primary/is not bound before PROTECTED is sent",
                    test_not_bound_before_protected);
    g_test_add_func("/primary/goes alone only with the grant",
                    test_alone_only_with_the_grant);
    g_test_add_func("/primary/contends late when its QEMU writes nothing",
                    test_a_stopped_qemu_contends_late);
    g_test_add_func("/primary/contends late as an orphan",
                    test_an_orphan_contends_late);
    g_test_add_func("/primary/ends a power-off once it is acknowledged",
                    test_a_power_off_needs_no_second_word);
    g_test_add_func("/primary/counts the lease from the entry's stamp",
                    test_the_lease_counts_from_the_stamp);
    g_test_add_func("/primary/tells its deadlines", test_deadlines_are_told);
    g_test_add_func("/primary/is heard from the backup's welcome on",
                    test_is_heard_from_the_welcome_on);
    g_test_add_func("/primary/takes anything in any order",
                    test_takes_anything);
    g_test_add_func("/primary/traps on its driver's illegal event",
                    test_an_illegal_event_traps);
    return g_test_run();
}
