/* SPDX-License-Identifier: GPL-2.0-or-later */
/* keeper.h - one thread per domain in a pair: it follows the agent */
#ifndef LOCKSTEPD_KEEPER_H
#define LOCKSTEPD_KEEPER_H

struct ctl;
struct vm;

/* Follow this domain's agent, if nobody does yet. */
void keeper_start(struct ctl *ctl, struct vm *vm);
/* Tell the other hosts of our pairs that this one is there (again). */
void keeper_announce(struct ctl *ctl);

#endif
