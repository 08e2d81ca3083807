/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * work.h - one worker thread for calls that block, answered in the loop
 *
 * For name look-up and for storage that may hang (NFS). The jobs of one
 * worker run in order, one at a time. A job that hangs holds up those
 * behind it, never the loop; its user sets a timer of its own and gives up on
 * the answer, not on the job.
 */
#ifndef FT_HOST_WORK_H
#define FT_HOST_WORK_H

#include <ev.h>

#include "common/host/err.h"

struct ft_worker;

/* name: up to 15 bytes, for ps. NULL: err. */
struct ft_worker *ft_worker_new(struct ev_loop *loop, const char *name,
                                struct ft_err *err);
/* run(job) in the thread, then done(job) in the loop, where job is freed by
 * its owner. -1 when no memory is left (nothing will be called). */
int ft_worker_submit(struct ft_worker *w, void (*run)(void *job),
                     void (*done)(void *job), void *job);
/* Jobs submitted and not yet done. */
/* No `done` is called any more: each job that is waiting, running or finished
 * is passed to drop(job) instead, on some thread, as soon as it can be. Does
 * not wait for a job that hangs. */
void ft_worker_free(struct ft_worker *w, void (*drop)(void *job));

#endif
