/* SPDX-License-Identifier: GPL-2.0-or-later */
/* thread.h - threads, counted for each purpose */
#ifndef LOCKSTEPD_THREAD_H
#define LOCKSTEPD_THREAD_H

#include <stdatomic.h>

#include "common/host/err.h"

/* The threads of one purpose. What a stranger can start is bounded; a domain
 * always gets its keeper. */
struct thread_pool {
    const char *what; /* for messages: "commands" */
    int max;
    atomic_int running;
};

/* A detached thread, which ends with thread_end(); -1 when there are too
 * many. */
int thread_start(struct thread_pool *pool, void *(*run)(void *arg), void *arg,
                 struct ft_err *err);
void thread_end(struct thread_pool *pool);

#endif
