/* SPDX-License-Identifier: GPL-2.0-or-later */
/* job.h - work that someone may give up on, and that says how far it is */
#ifndef LOCKSTEPD_JOB_H
#define LOCKSTEPD_JOB_H

#include <stdbool.h>

#include "common/host/err.h"

struct ctl;
struct vm;

struct job {
    struct ctl *ctl;
    int cancel_fd; /* hung up: cancelled; -1: none */
    struct vm *vm; /* told to stop: cancelled; NULL: none */
    void (*progress)(struct job *job, const char *phase, int percent,
                     const char *text); /* percent -1: not known */
    void *arg;
};

bool job_cancelled(const struct job *job);
void job_progress(struct job *job, const char *phase, int percent,
                  const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Wait; -1 and err when cancelled. */
int job_sleep(const struct job *job, int ms, struct ft_err *err);

#endif
