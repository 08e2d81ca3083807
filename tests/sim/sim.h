/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim.h - two simulated hosts around the shipped cores
 *
 * Theory of Operation
 *
 * One process, one thread, one list of things to come, ordered by a true time
 * that no host can see. Each host has a clock of its own (offset and drift),
 * an agent (the shipped pri, bak and tas cores and a thin driver), a QEMU and
 * the page between the two. Between the hosts lie an ordered channel and lossy
 * heartbeats, beside them one storage with one record. All that is random
 * comes from the seed, so a seed is a run.
 *
 *   sim.c    time, chance, the story that is told on a failure, the program
 *   host.c   agents: cores, driver, channel, storage
 *   guest.c  QEMUs, and what the outside sees: the promises are checked here
 */
#ifndef SIM_H
#define SIM_H

#include "backup/machine.h"
#include "primary/machine.h"
#include "shared-disk/arbiter.h"

#define MS FT_NS_PER_MS
enum { HOSTS = 2, HELD = 64, QUEUE = 512, GENERATIONS = 64 };

/* ---- time and chance (sim.c) -------------------------------------------- */

typedef void sim_fn(int host, uint64_t tag, uint64_t a, uint64_t b);
/* Call fn after `in`; it is dropped when tag is not *guard any more (the
 * thing it was meant for died meanwhile). guard may be NULL. */
void sim_after(ft_ns in, sim_fn *fn, int host, const uint64_t *guard,
               uint64_t a, uint64_t b);
extern ft_ns sim_now;
uint64_t sim_random(uint64_t below);
bool sim_chance(unsigned per_10000);
/* The same, but never once the faults are over. */
bool sim_fault(unsigned per_10000);
ft_ns sim_between(ft_ns low, ft_ns high);
void sim_tell(int host, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A promise is broken: tell the story and end this seed. */
void sim_broken(const char *promise);
extern bool sim_failed;

/* ---- the world ---------------------------------------------------------- */

enum role { NOBODY, PRIMARY, BACKUP };
enum mode { GONE, RUNS, RECORDS, LOADS, REPLAYS };

struct page {
    enum pri_gate gate;
    uint64_t acked;
    ft_ns lease_until; /* on this host's clock */
};

struct qemu {
    enum mode mode;
    uint64_t life;       /* changes when it dies */
    uint64_t generation; /* recorded or replayed, or lived through */
    uint64_t pair;
    uint64_t committed;   /* RECORDS: last batch */
    uint64_t executed;    /* REPLAYS */
    uint64_t diverged_at; /* REPLAYS: it will; 0: no */
    uint64_t off_at;      /* RECORDS: position of the power-off entry */
    bool orphaned;        /* recording without an agent: gate shut */
    ft_ns stopped_until;  /* SIGSTOP, or the host stands still */
    struct page page;
    uint64_t held[HELD]; /* positions that outputs are bound to */
    unsigned held_count;
};

struct record {
    enum tas_kind kind;
    uint64_t generation, pair;
    int host; /* it has one side in each pair */
};

/* A message, or an event of the driver, that waits for its agent. */
struct item {
    bool pri; /* for which core */
    struct pri_event pe;
    struct bak_event be;
};

struct agent {
    bool alive;
    uint64_t life;
    enum role role;
    struct pri pri;
    struct bak bak;
    struct tas tas;
    uint64_t pair;
    uint64_t link; /* this side's connection; 0: closed */
    ft_ns stopped_until;
    struct item queue[QUEUE];
    unsigned first, count;
    bool draining;
    uint64_t received;  /* BACKUP: batches in memory */
    ft_ns vmlink_last;  /* QEMU's words keep their order */
    struct record seen; /* what the last read of the record told */
    bool late;          /* stopped between a decision and its effects */
    struct pri_update pri_late;
    struct bak_update bak_late;
};

struct host {
    bool up;
    ft_ns offset;
    int64_t drift_ppm;
    struct agent agent;
    struct qemu qemu;
    uint64_t boots;
};

struct network {
    bool cut;          /* partition */
    ft_ns spike_until; /* slow for a while */
    ft_ns last[HOSTS]; /* arrival of the last message to host h: order */
};

extern struct host hosts[HOSTS];
extern struct network net;
extern struct record record;
extern bool storage_up;
extern ft_ns storage_slow_until;

ft_ns host_clock(int h);

/* ---- agents (host.c) ---------------------------------------------------- */

void agent_start(int h);
void agent_kill(int h);
void agent_stop(int h, ft_ns for_how_long); /* SIGSTOP */
void agent_pri_event(int h, enum pri_event_kind kind, uint64_t position);
void agent_bak_event(int h, enum bak_event_kind kind, uint64_t position);
void agent_wake(int h);
void agent_protect(int h); /* lockstepd: redundancy returns by itself */
void network_reset(void);  /* both ends see their connection closed */

/* ---- guests and promises (guest.c) -------------------------------------- */

void guest_begin(void);
void qemu_start(int h);
void qemu_kill(int h);
void qemu_stop(int h, ft_ns for_how_long);
void qemu_start_clone(int from, int to, uint64_t generation);
void qemu_cancel_clone(int h);
void qemu_go_alone(int h);
void qemu_go_live(int h, uint64_t last);
void qemu_release(int h);
void qemu_received(int h);
void qemu_power_off(int h);
void guest_told_relinquish(int h, uint64_t generation);
void guest_record_changes(const struct record *to);
/* After a time without faults: who can live, lives. */
void guest_settled(void);

extern uint64_t stat_failovers, stat_protected, stat_outputs, stat_alone;

#endif
