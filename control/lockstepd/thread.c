/* SPDX-License-Identifier: GPL-2.0-or-later */
/* thread.c - threads, counted for each purpose */
#include "control/lockstepd/thread.h"

#include <errno.h>
#include <pthread.h>

int thread_start(struct thread_pool *pool, void *(*run)(void *), void *arg,
                 struct ft_err *err)
{
    pthread_attr_t attr;
    pthread_t t;
    int rc;

    if (atomic_fetch_add(&pool->running, 1) >= pool->max) {
        atomic_fetch_sub(&pool->running, 1);
        return ft_err_set(err, EAGAIN,
                          "lockstepd: more than %d %s at once: "
                          "try again",
                          pool->max, pool->what);
    }
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&t, &attr, run, arg);
    pthread_attr_destroy(&attr);
    if (rc) {
        thread_end(pool);
        return ft_err_sys(err, rc, "lockstepd: cannot start a thread");
    }
    return 0;
}

void thread_end(struct thread_pool *pool)
{
    atomic_fetch_sub(&pool->running, 1);
}
