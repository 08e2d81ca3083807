/* SPDX-License-Identifier: GPL-2.0-or-later */
/* unprotect.h - end the pair; the guest runs on where it runs */
#ifndef LOCKSTEPD_UNPROTECT_H
#define LOCKSTEPD_UNPROTECT_H

#include <stddef.h>

#include "common/host/err.h"

struct job;

int unprotect_run(struct job *job, const char *domain, char *summary,
                  size_t size, struct ft_err *err);

#endif
