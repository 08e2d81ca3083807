/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * work.c - one worker thread for calls that block, answered in the loop
 *
 * Two references hold the worker's memory: the owner's and the thread's. The
 * thread may be in a system call that never returns when the owner goes; it
 * then frees the rest if it ever comes back.
 */
#include "common/host/work.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct job {
    struct job *next;
    void (*run)(void *job);
    void (*done)(void *job);
    void *arg;
};

struct queue {
    struct job *first, **last;
};

struct ft_worker {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct queue todo, finished;
    bool orphaned; /* the owner has gone; drop what is left */
    void (*drop)(void *job);
    struct ev_loop *loop;
    ev_async async;
};

static void queue_init(struct queue *q)
{
    q->first = NULL;
    q->last = &q->first;
}

static void queue_put(struct queue *q, struct job *j)
{
    j->next = NULL;
    *q->last = j;
    q->last = &j->next;
}

static struct job *queue_take(struct queue *q)
{
    struct job *j = q->first;

    if (j) {
        q->first = j->next;
        if (!q->first) {
            q->last = &q->first;
        }
    }
    return j;
}

static void drop_all(struct ft_worker *w, struct queue *q)
{
    struct job *j;

    while ((j = queue_take(q))) {
        if (w->drop) {
            w->drop(j->arg);
        }
        free(j);
    }
}

static void *worker_main(void *arg)
{
    struct ft_worker *w = arg;

    pthread_mutex_lock(&w->lock);
    while (!w->orphaned) {
        struct job *j = queue_take(&w->todo);

        if (!j) {
            pthread_cond_wait(&w->wake, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        j->run(j->arg);
        pthread_mutex_lock(&w->lock);
        queue_put(&w->finished, j);
        if (!w->orphaned) {
            ev_async_send(w->loop, &w->async);
        }
    }
    pthread_mutex_unlock(&w->lock);
    drop_all(w, &w->finished);
    drop_all(w, &w->todo);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return NULL;
}

/* One job at a time: `done` may free the worker, or submit more. */
static void finished_cb(struct ev_loop *loop, ev_async *async, int revents)
{
    struct ft_worker *w = async->data;
    struct job *j;
    bool more;

    (void)revents;
    pthread_mutex_lock(&w->lock);
    j = queue_take(&w->finished);
    more = w->finished.first;
    pthread_mutex_unlock(&w->lock);
    if (more) {
        ev_async_send(loop, async);
    }
    if (j) {
        void (*done)(void *job) = j->done;
        void *arg = j->arg;

        free(j);
        done(arg);
    }
}

struct ft_worker *ft_worker_new(struct ev_loop *loop, const char *name,
                                struct ft_err *err)
{
    struct ft_worker *w = calloc(1, sizeof(*w));
    sigset_t all, saved;
    pthread_attr_t attr;
    pthread_t thread;
    char shortened[16];
    int rc;

    if (!w) {
        ft_err_set(err, ENOMEM, "worker %s: no memory", name);
        return NULL;
    }
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    queue_init(&w->todo);
    queue_init(&w->finished);
    w->loop = loop;
    ev_async_init(&w->async, finished_cb);
    w->async.data = w;
    ev_async_start(loop, &w->async);

    /* Signals are the loop's business. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &attr, worker_main, w);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    if (rc) {
        ft_err_sys(err, rc, "worker %s: cannot start a thread", name);
        ev_async_stop(loop, &w->async);
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->lock);
        free(w);
        return NULL;
    }
    strncpy(shortened, name, sizeof(shortened) - 1);
    shortened[sizeof(shortened) - 1] = '\0';
    pthread_setname_np(thread, shortened);
    return w;
}

int ft_worker_submit(struct ft_worker *w, void (*run)(void *job),
                     void (*done)(void *job), void *job)
{
    struct job *j = calloc(1, sizeof(*j));

    if (!j) {
        return -1;
    }
    j->run = run;
    j->done = done;
    j->arg = job;
    pthread_mutex_lock(&w->lock);
    queue_put(&w->todo, j);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    return 0;
}

void ft_worker_free(struct ft_worker *w, void (*drop)(void *job))
{
    if (!w) {
        return;
    }
    ev_async_stop(w->loop, &w->async);
    pthread_mutex_lock(&w->lock);
    w->drop = drop;
    w->orphaned = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}
