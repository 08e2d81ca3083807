/* SPDX-License-Identifier: GPL-2.0-or-later */
/* carry.c - what is to change at the next start goes along at a failover */
#include "control/lockstepd/carry.h"

#include <stdlib.h>

#include "control/libvirt/virt.h"
#include "control/lockstepd/control-conn.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/vm.h"

#define CARRY_S 10

int carry_definition(struct ctl *ctl, struct vm *vm, struct control_conn *to,
                     struct ft_err *err)
{
    char *text = virt_definition(ctl->virt, vm_uuid(vm));
    json_t *reply;
    int rc;

    if (!text) {
        return 0;
    }
    rc = control_call(to,
                      json_pack("{s:s,s:s,s:s}", "do", "definition", "uuid",
                                vm_uuid(vm), "xml", text),
                      &reply, CARRY_S, err);
    if (rc == 0) {
        vm_set_carried(vm, text);
        json_decref(reply);
    }
    free(text);
    return rc;
}

bool carry_is_due(struct ctl *ctl, struct vm *vm)
{
    char *text = virt_definition(ctl->virt, vm_uuid(vm));
    bool due = text && !vm_is_carried(vm, text);

    free(text);
    return due;
}
