/* SPDX-License-Identifier: GPL-2.0-or-later */
/* registry.h - the domains that this host knows, and their files */
#ifndef LOCKSTEPD_REGISTRY_H
#define LOCKSTEPD_REGISTRY_H

#include <stddef.h>

#include "common/host/err.h"

struct ctl;
struct vm;

int registry_load(struct ctl *ctl, struct ft_err *err);
/* Find by uuid, or make. name NULL: leave it. */
struct vm *registry_vm(struct ctl *ctl, const char *uuid, const char *name);
/* The list, with vm_next(); it only ever grows in front. */
struct vm *registry_first(struct ctl *ctl);
struct vm *registry_find(struct ctl *ctl, const char *which); /* or name */
/* Write the file; a failure is remembered (unsaved). */
int registry_save(struct ctl *ctl, struct vm *vm, struct ft_err *err);
/* Remove the file; what is left is shown until lockstepd ends. */
void registry_forget(struct ctl *ctl, struct vm *vm);
/* RUN/vm/UUID, made when it is missing, so that QEMU can listen in it. */
int registry_run_dir(struct ctl *ctl, const char *uuid, char *buf,
                     size_t size, struct ft_err *err);

/* The definition that a replica's host stores when it has the guest: as libvirt
 * has it on the primary's, with what is to change at the next start. NULL: none
 * any more. */
int registry_carry(struct ctl *ctl, struct vm *vm, const char *xml,
                   struct ft_err *err);
/* To be freed; NULL: none. */
char *registry_carried(struct ctl *ctl, const struct vm *vm);

#endif
