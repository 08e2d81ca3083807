/* SPDX-License-Identifier: GPL-2.0-or-later */
/* protect.h - make a backup of a running domain on another host */
#ifndef LOCKSTEPD_PROTECT_H
#define LOCKSTEPD_PROTECT_H

#include <stddef.h>

#include "common/host/err.h"

struct job;

/* domain: name or uuid. host, arbiter: NULL or "": as before. */
int protect_run(struct job *job, const char *domain, const char *host,
                const char *arbiter, char *summary, size_t size,
                struct ft_err *err);

#endif
