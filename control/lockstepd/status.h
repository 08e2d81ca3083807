/* SPDX-License-Identifier: GPL-2.0-or-later */
/* status.h - what `lockstep status` is told */
#ifndef LOCKSTEPD_STATUS_H
#define LOCKSTEPD_STATUS_H

#include <jansson.h>

struct ctl;
struct vm;

json_t *status_of(struct ctl *ctl, struct vm *vm); /* gives it */
json_t *status_all(struct ctl *ctl);

#endif
