/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * autostart.h - a protected domain does not start by itself, and does again
 *
 * Theory of Operation
 *
 * A host that comes back after a failover must not start a second copy. So
 * libvirt's flag is off from before a pair is made until the guest is this
 * host's alone again, and what the operator had set is on file (vm.h). While
 * the file says that it was on, it is owed; whoever ends the pair pays.
 */
#ifndef LOCKSTEPD_AUTOSTART_H
#define LOCKSTEPD_AUTOSTART_H

#include "common/host/err.h"

struct ctl;
struct vm;

/* Off; what was set is on file before. -1: it may be on. */
int autostart_take(struct ctl *ctl, struct vm *vm, struct ft_err *err);
/* As the operator set it; the caller saves the file. -1: nothing has changed. */
int autostart_give_back(struct ctl *ctl, struct vm *vm, struct ft_err *err);

#endif
