/* SPDX-License-Identifier: GPL-2.0-or-later */
/* keeper.h - one thread per domain in a pair */
#ifndef LOCKSTEPD_KEEPER_H
#define LOCKSTEPD_KEEPER_H

#include <jansson.h>
#include <stdbool.h>

struct ctl;
struct vm;

/* Follow this domain's agent, if nobody does yet. */
void keeper_start(struct ctl *ctl, struct vm *vm);
/* Tell the other hosts of our pairs that this one is there (again). */
void keeper_announce(struct ctl *ctl);
/* This host runs the only copy and the user wants another one. */
bool vm_alone(const json_t *status);
/* It has a part in a pair, or in one that is being made or ended. */
bool vm_in_pair(const json_t *status);

#endif
