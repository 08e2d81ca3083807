/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * carry.h - what is to change at the next start goes along at a failover
 *
 * Theory of Operation
 *
 * A replica is the domain as it runs. What an operator has edited since it was
 * started (`virsh edit`, `virsh desc --config`) is in libvirt's stored
 * definition on the primary's host alone. That is sent to the other host with
 * each clone, and again when it has changed: the keeper looks every 10 s. The
 * other host stores it when it has the guest.
 */
#ifndef LOCKSTEPD_CARRY_H
#define LOCKSTEPD_CARRY_H

#include <stdbool.h>

#include "common/host/err.h"

struct control_conn;
struct ctl;
struct vm;

/* Send it, where there is one. -1: the other host refuses it, or is away. */
int carry_definition(struct ctl *ctl, struct vm *vm, struct control_conn *to,
                     struct ft_err *err);
/* Has it changed since it was sent? */
bool carry_is_due(struct ctl *ctl, struct vm *vm);

#endif
