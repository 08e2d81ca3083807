/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * selftest.h - does this storage give a grant to exactly one of two?
 *
 * N rounds; in each, two contenders take the same free record at the same
 * moment. A round is good when one is told that it won, the other that it
 * lost, and the record names the winner. A store whose test-and-set is not
 * atomic (or is cached) fails within some hundred rounds.
 */
#ifndef TAS_SELFTEST_H
#define TAS_SELFTEST_H

#include "common/host/err.h"

struct tas_selftest {
    const char *uri;
    unsigned rounds;  /* 0: 200 */
    const char *host; /* for the owner's name; "a"/"b" added */
    /* Two hosts: the same name for both runs, e.g. "test-1". The first to
     * come waits for the other in the folder. NULL: two processes of this
     * host. */
    const char *with;
    unsigned wait_ms; /* two hosts: for the other; 0: 60,000 */
    /* After each round; may be NULL. */
    void (*progress)(unsigned round, unsigned rounds, void *arg);
    void *arg;
};

struct tas_selftest_result {
    unsigned rounds;          /* carried out */
    unsigned won, lost;       /* by this contender (one host: the first) */
    unsigned both, none;      /* rounds with two winners, with none */
    double mean_ms, worst_ms; /* of one test-and-set */
};

/* Blocks. 0: the store can be trusted; -1: err says what was seen. */
int tas_selftest_run(const struct tas_selftest *t,
                     struct tas_selftest_result *r, struct ft_err *err);

#endif
