/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim.c - time, chance and the program of the seeded simulation
 *
 *     sim [--seeds N] [--seed S] [--story]
 *
 * Runs seeds 1 to N (default 400), or S alone. The first broken promise ends
 * the run with status 1, the seed, and what happened before.
 */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct coming {
    ft_ns at;
    uint64_t order;
    sim_fn *fn;
    int host;
    const uint64_t *guard;
    uint64_t tag, a, b;
};

enum { COMING = 65536, STORY = 400, LINE = 160 };
static struct coming heap[COMING];
static unsigned heap_count;
static uint64_t orders, random_state;

ft_ns sim_now;
bool sim_failed;
static bool always_tell;
static char story[STORY][LINE];
static unsigned story_count;
static const ft_ns faults_end = 60000 * MS;

struct host hosts[HOSTS];
struct network net;
struct record record;
bool storage_up;
ft_ns storage_slow_until;

/* ---- time --------------------------------------------------------------- */

static bool sooner(const struct coming *a, const struct coming *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void swap(unsigned i, unsigned j)
{
    struct coming c = heap[i];

    heap[i] = heap[j];
    heap[j] = c;
}

void sim_after(ft_ns in, sim_fn *fn, int host, const uint64_t *guard,
               uint64_t a, uint64_t b)
{
    unsigned i = heap_count++;

    if (heap_count > COMING) {
        fprintf(stderr, "sim: too much is to come\n");
        abort();
    }
    heap[i] = (struct coming){
        sim_now + (in > 0 ? in : 0), ++orders, fn, host, guard,
        guard ? *guard : 0,          a,        b
    };
    for (; i && sooner(&heap[i], &heap[(i - 1) / 2]); i = (i - 1) / 2) {
        swap(i, (i - 1) / 2);
    }
}

static struct coming next_coming(void)
{
    struct coming first = heap[0];
    unsigned i = 0, child;

    heap[0] = heap[--heap_count];
    while ((child = 2 * i + 1) < heap_count) {
        if (child + 1 < heap_count &&
            sooner(&heap[child + 1], &heap[child])) {
            child++;
        }
        if (!sooner(&heap[child], &heap[i])) {
            break;
        }
        swap(i, child);
        i = child;
    }
    return first;
}

static void run_until(ft_ns end)
{
    while (!sim_failed && heap_count && heap[0].at <= end) {
        struct coming c = next_coming();

        sim_now = c.at;
        if (!c.guard || *c.guard == c.tag) {
            c.fn(c.host, c.tag, c.a, c.b);
        }
    }
    sim_now = end;
}

/* ---- chance ------------------------------------------------------------- */

uint64_t sim_random(uint64_t below)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u); /* splitmix64 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

bool sim_chance(unsigned per_10000)
{
    return sim_random(10000) < per_10000;
}

bool sim_fault(unsigned per_10000)
{
    return sim_now < faults_end && sim_chance(per_10000);
}

ft_ns sim_between(ft_ns low, ft_ns high)
{
    return low + (ft_ns)sim_random((uint64_t)(high - low + 1));
}

/* ---- the story ---------------------------------------------------------- */

void sim_tell(int host, const char *fmt, ...)
{
    char *line = story[story_count++ % STORY];
    int n = snprintf(line, LINE, "%9.3f s  %-7s", (double)sim_now / 1e9,
                     host == 0   ? "host a"
                     : host == 1 ? "host b"
                                 : "");
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line + n, LINE - (size_t)n, fmt, ap);
    va_end(ap);
    if (always_tell) {
        puts(line);
    }
}

void sim_broken(const char *promise)
{
    if (sim_failed) {
        return;
    }
    sim_failed = true;
    if (!always_tell) {
        unsigned from = story_count > 60 ? story_count - 60 : 0;

        for (unsigned i = from; i < story_count; i++) {
            printf("# %s\n", story[i % STORY]);
        }
    }
    printf("# broken: %s\n", promise);
}

/* ---- the adversary ------------------------------------------------------ */

/* Just under, just over and far over the timeouts. */
static ft_ns some_pause(void)
{
    static const int ms[] = { 20, 300, 700, 790, 850, 950, 1100, 2500, 6000 };

    return ms[sim_random(sizeof ms / sizeof *ms)] * MS +
           sim_between(0, 60 * MS);
}

static void host_down(int h)
{
    sim_tell(h, "the host dies");
    agent_kill(h);
    qemu_kill(h);
    hosts[h].up = false;
}

static void host_back(int h, uint64_t tag, uint64_t a, uint64_t b)
{
    (void)tag, (void)a, (void)b;
    if (!hosts[h].up) {
        sim_tell(h, "the host is back");
        hosts[h].up = true;
        agent_start(h);
    }
}

static void network_back(int h, uint64_t tag, uint64_t a, uint64_t b)
{
    (void)h, (void)tag, (void)a, (void)b;
    sim_tell(-1, "the network is whole");
    net.cut = false;
}

static void storage_back(int h, uint64_t tag, uint64_t a, uint64_t b)
{
    (void)h, (void)tag, (void)a, (void)b;
    sim_tell(-1, "the storage answers");
    storage_up = true;
}

static void misfortune(void)
{
    int h = (int)sim_random(HOSTS);

    switch (sim_random(13)) {
    case 0:
        if (hosts[h].up) {
            host_down(h);
            sim_after(sim_between(500 * MS, 4000 * MS), host_back, h, NULL, 0,
                      0);
        }
        break;
    case 1:
        if (hosts[h].agent.alive) {
            sim_tell(h, "the agent is killed");
            agent_kill(h);
        }
        break;
    case 2:
        if (hosts[h].qemu.mode != GONE) {
            sim_tell(h, "QEMU is killed");
            qemu_kill(h);
        }
        break;
    case 3:
        agent_stop(h, some_pause());
        break;
    case 4:
        qemu_stop(h, sim_chance(1000) ? 12500 * MS : some_pause());
        break;
    case 5: {
        ft_ns pause = some_pause();
        sim_tell(h, "the host stands still for %lld ms",
                 (long long)(pause / MS));
        agent_stop(h, pause);
        qemu_stop(h, pause);
        break;
    }
    case 6:
    case 7:
        sim_tell(-1, "the network is cut");
        net.cut = true;
        sim_after(sim_between(50 * MS, 5000 * MS), network_back, 0, NULL, 0,
                  0);
        break;
    case 8:
        sim_tell(-1, "connections are reset");
        network_reset();
        break;
    case 9:
        net.spike_until = sim_now + some_pause();
        break;
    case 10:
        sim_tell(-1, "the storage does not answer");
        storage_up = false;
        sim_after(sim_between(100 * MS, 6000 * MS), storage_back, 0, NULL, 0,
                  0);
        break;
    case 11:
        storage_slow_until = sim_now + sim_between(0, 5000 * MS);
        break;
    case 12:
        if (hosts[h].agent.alive && hosts[h].agent.role == PRIMARY &&
            sim_chance(3000)) {
            sim_tell(h, "an operator unprotects");
            agent_pri_event(h, PRI_EV_UNPROTECT, 0);
        } else if (hosts[h].qemu.mode == REPLAYS && sim_chance(5000)) {
            sim_tell(h, "a byte of the replica flips");
            hosts[h].qemu.diverged_at = hosts[h].qemu.executed + 5;
        } else if (sim_chance(1500)) {
            qemu_power_off(h);
        }
        break;
    }
}

static void adversary(int h, uint64_t tag, uint64_t a, uint64_t b)
{
    (void)h, (void)tag, (void)b;
    misfortune();
    if (sim_chance(3000)) {
        misfortune(); /* they like company */
    }
    if (sim_now < (ft_ns)a) {
        sim_after(sim_between(100 * MS, 6000 * MS), adversary, 0, NULL, a, 0);
    }
}

/* ---- the program -------------------------------------------------------- */

static void run_seed(uint64_t seed)
{
    memset(hosts, 0, sizeof hosts);
    memset(&net, 0, sizeof net);
    memset(&record, 0, sizeof record);
    heap_count = 0;
    orders = 0;
    story_count = 0;
    random_state = seed * 0x2545f4914f6cdd1du;
    sim_now = 0;
    storage_up = true;
    storage_slow_until = 0;
    for (int h = 0; h < HOSTS; h++) {
        hosts[h].up = true;
        hosts[h].offset = sim_between(0, 1000000 * MS);
        hosts[h].drift_ppm = (int64_t)sim_random(40001) - 20000; /* 2 % */
        hosts[h].agent.life = hosts[h].qemu.life = 1;
    }
    guest_begin();
    qemu_start(0);
    agent_start(0);
    agent_start(1);
    sim_after(sim_between(1000 * MS, 5000 * MS), adversary, 0, NULL,
              (uint64_t)faults_end, 0);
    run_until(faults_end + 10000 * MS);

    /* Storage and network are whole again, everyone awake: nothing may be
     * stuck. */
    run_until(sim_now + 40000 * MS);
    if (!sim_failed) {
        guest_settled();
    }
}

int main(int argc, char **argv)
{
    uint64_t first = 1, last = 400;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--story")) {
            always_tell = true;
        } else if (!strcmp(argv[i], "--seeds") && i + 1 < argc) {
            last = strtoull(argv[++i], NULL, 10);
        } else if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
            first = last = strtoull(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "usage: sim [--seeds N] [--seed S] [--story]\n");
            return 2;
        }
    }
    for (uint64_t seed = first; seed <= last; seed++) {
        run_seed(seed);
        if (sim_failed) {
            printf("not ok 1 - seed %llu keeps the promises (again: sim "
                   "--seed %llu --story)\n1..1\n",
                   (unsigned long long)seed, (unsigned long long)seed);
            return 1;
        }
    }
    printf("# %llu protections, %llu failovers, %llu times alone by grant, "
           "%llu outputs\n",
           (unsigned long long)stat_protected,
           (unsigned long long)stat_failovers, (unsigned long long)stat_alone,
           (unsigned long long)stat_outputs);
    printf("ok 1 - seeds %llu to %llu keep the promises\n1..1\n",
           (unsigned long long)first, (unsigned long long)last);
    return 0;
}
