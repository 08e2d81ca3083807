/* SPDX-License-Identifier: GPL-2.0-or-later */
/* autostart.c - a protected domain does not start by itself, and does again */
#include "control/lockstepd/autostart.h"

#include "control/libvirt/virt.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/vm.h"

int autostart_take(struct ctl *ctl, struct vm *vm, struct ft_err *err)
{
    int on = virt_autostart(ctl->virt, vm_uuid(vm), err);

    if (on <= 0) {
        return on;
    }
    vm_set_autostart(vm, true);
    /* It is owed from here on, also when the next step fails. */
    if (registry_save(ctl, vm, err) < 0) {
        return -1;
    }
    return virt_set_autostart(ctl->virt, vm_uuid(vm), false, err);
}

int autostart_give_back(struct ctl *ctl, struct vm *vm, struct ft_err *err)
{
    struct vm_info i;

    vm_get(vm, &i);
    if (!i.autostart) {
        return 0;
    }
    if (virt_set_autostart(ctl->virt, i.uuid, true, err) < 0) {
        return -1;
    }
    vm_set_autostart(vm, false);
    return 0;
}
