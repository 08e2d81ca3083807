/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * arbiter-lookup.h - what lockstepd reads of an arbiter, outside a failover
 *
 * The agents alone ask it for a grant; a command and the keeper only look.
 */
#ifndef LOCKSTEPD_ARBITER_LOOKUP_H
#define LOCKSTEPD_ARBITER_LOOKUP_H

#include <stddef.h>
#include <stdint.h>

#include "common/host/err.h"
#include "control/lockstepd/sizes.h"

/* The arbiter's random id, and the folder behind file: URIs. */
int arbiter_id(const char *uri, char *out, size_t size, struct ft_err *err);
const char *arbiter_folder(const char *uri);
/* Highest generation that it has a record of, 0: none; and the host that owns
 * it, "": free. */
int arbiter_record(const char *uri, const char *uuid, uint64_t *g,
                   char owner[CTL_NAME], struct ft_err *err);

#endif
