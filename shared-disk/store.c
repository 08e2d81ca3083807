/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store.c - an arbiter's back end, in a thread
 *
 * One operation is with the thread; the newest other one waits in `next`.
 */
#include "shared-disk/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/host/log.h"
#include "common/host/work.h"
#include "shared-disk/file.h"

struct job {
    struct tas_store *store; /* used in the loop only */
    struct tas_effect effect;
    struct tas_who who;
    char dir[TAS_URI_TEXT];
    struct tas_answer answer;
};

struct tas_store {
    struct ft_worker *worker;
    struct tas_who who;
    char dir[TAS_URI_TEXT];
    void (*answer)(const struct tas_answer *a, void *arg);
    void *arg;
    bool busy;
    bool waiting;
    struct tas_effect next;
};

struct tas_store *tas_store_open(struct ev_loop *loop, const char *uri,
                                 const struct tas_who *who,
                                 void (*answer)(const struct tas_answer *a,
                                                void *arg),
                                 void *arg, struct ft_err *err)
{
    const char *dir = tas_file_dir(uri, err);
    struct tas_store *s;

    if (!dir) {
        return NULL;
    }
    s = calloc(1, sizeof(*s));
    if (!s) {
        ft_err_set(err, ENOMEM, "arbiter %s: no memory", uri);
        return NULL;
    }
    s->worker = ft_worker_new(loop, "arbiter", err);
    if (!s->worker) {
        free(s);
        return NULL;
    }
    s->who = *who;
    strncpy(s->dir, dir, sizeof(s->dir) - 1);
    s->answer = answer;
    s->arg = arg;
    return s;
}

/* ---- in the thread ---- */

static void run_read(struct job *j)
{
    struct tas_answer *a = &j->answer;
    struct tas_block b;

    a->kind = TAS_EV_READ;
    if (tas_file_read(j->dir, j->who.vm, &b, &a->err) < 0) {
        a->status = TAS_UNKNOWN;
        return;
    }
    a->seen = tas_block_look(&b, j->who.pair, j->who.side);
    if ((a->seen.mine ||
         (a->seen.same_pair && j->effect.desired == TAS_FREE)) &&
        tas_file_sync(j->dir, j->who.vm, &a->err) < 0) {
        a->status = TAS_UNKNOWN;
        return;
    }
    a->status = TAS_OK;
    memcpy(a->owner, b.host, sizeof(a->owner));
}

static void run_job(void *arg)
{
    struct job *j = arg;

    j->answer.number = j->effect.number;
    if (j->effect.kind == TAS_DO_READ) {
        run_read(j);
    } else if (j->effect.kind == TAS_DO_PREPARE) {
        j->answer.kind = TAS_EV_PREPARED;
        j->answer.status = tas_file_prepare(j->dir, &j->who,
                                            j->effect.generation,
                                            &j->answer.err) == 0
                             ? TAS_OK
                             : TAS_UNKNOWN;
    } else {
        j->answer.kind = TAS_EV_WROTE;
        j->answer.status = tas_file_write(j->dir, &j->who, &j->effect.expect,
                                          j->effect.desired,
                                          j->effect.generation,
                                          &j->answer.err);
    }
}

/* ---- in the loop ---- */

static void submit_job(struct tas_store *s, const struct tas_effect *effect);

static void done(void *arg)
{
    struct job *j = arg;
    struct tas_store *s = j->store;
    struct tas_answer answer = j->answer;

    free(j);
    s->busy = false;
    if (s->waiting) {
        s->waiting = false;
        submit_job(s, &s->next);
    }
    s->answer(&answer, s->arg);
}

static void submit_job(struct tas_store *s, const struct tas_effect *effect)
{
    struct job *j = calloc(1, sizeof(*j));

    if (!j) {
        return; /* the core's time-out tries again */
    }
    j->store = s;
    j->effect = *effect;
    j->who = s->who;
    memcpy(j->dir, s->dir, sizeof(j->dir));
    if (ft_worker_submit(s->worker, run_job, done, j) < 0) {
        free(j);
        return;
    }
    s->busy = true;
}

void tas_store_do(struct tas_store *s, const struct tas_effect *effect)
{
    if (s->busy) {
        s->next = *effect;
        s->waiting = true;
    } else {
        submit_job(s, effect);
    }
}

void tas_store_close(struct tas_store *s)
{
    if (s) {
        ft_worker_free(s->worker, free);
        free(s);
    }
}
