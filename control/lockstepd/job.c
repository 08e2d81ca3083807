/* SPDX-License-Identifier: GPL-2.0-or-later */
/* job.c - work that someone may give up on, and that says how far it is */
#include "control/lockstepd/job.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>

#include "control/lockstepd/ctl.h"
#include "control/lockstepd/vm.h"

bool job_cancelled(const struct job *job)
{
    struct pollfd p = { .fd = job->cancel_fd, .events = POLLRDHUP };

    if (job->vm && vm_is_stopped(job->vm)) {
        return true;
    }
    return job->cancel_fd >= 0 && poll(&p, 1, 0) == 1 &&
           (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

int job_sleep(const struct job *job, int ms, struct ft_err *err)
{
    for (int left = ms; left > 0; left -= 100) {
        if (job_cancelled(job) || job->ctl->quit) {
            return ft_err_set(err, ECANCELED, "cancelled");
        }
        poll(NULL, 0, left < 100 ? left : 100);
    }
    return 0;
}

void job_progress(struct job *job, const char *phase, int percent,
                  const char *fmt, ...)
{
    char text[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (job->progress) {
        job->progress(job, phase, percent, text);
    }
}
