/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * status.c - what `lockstep status` is told
 *
 * One flat object for a domain: the agent's own words where there is an
 * agent, put together with what the user asked for and what libvirt sees.
 */
#include "control/lockstepd/status.h"

#include <string.h>

#include "common/host/json.h"
#include "control/libvirt/virt.h"
#include "control/lockstepd/agent-client.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/keeper.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/vm.h"

static void default_text(json_t *o, const char *key, const char *value)
{
    if (!*ft_json_text(o, key))
        ft_json_set_text(o, key, value);
}

static bool in_pair(const json_t *agent)
{
    const char *role = ft_json_text(agent, "role");

    return !strcmp(role, "primary") || !strcmp(role, "backup");
}

/* Where there is no agent that could say it. */
static const char *own_state(const struct vm *v, enum virt_state libvirt)
{
    if (libvirt == VIRT_SHUT_OFF || libvirt == VIRT_NOT_THERE)
        return *v->last ? v->last : "off";
    return libvirt != VIRT_NO_ANSWER ? "alone" : "unknown";
}

static const char *own_reason(const struct vm *v)
{
    return v->prepared
        ? "prepared; 'lockstep protect' makes a backup while it runs"
        : "not prepared; 'lockstep prepare' makes it ready";
}

json_t *status_of(struct ctl *ctl, struct vm *vm)
{
    const char *own = ctl->options.host_name;
    enum virt_state libvirt;
    json_t *o = NULL;
    struct vm v;
    bool is_protected, backup, elsewhere;

    if (agent_client_alive(ctl, vm->uuid))
        agent_client_request(ctl, vm->uuid, json_pack("{s:s}", "do",
                             "status"), -1, &o, 1000, NULL);
    if (!o)
        o = json_object();
    json_object_del(o, "ok");
    pthread_mutex_lock(&ctl->lock);
    v = *vm;
    pthread_mutex_unlock(&ctl->lock);

    libvirt = virt_state(ctl->virt, v.uuid);
    default_text(o, "state", own_state(&v, libvirt));
    is_protected = !strcmp(ft_json_text(o, "state"), "protected");
    /* Its last pair has ended here, and it lives on there. */
    elsewhere = !strcmp(ft_json_text(o, "state"), "fenced") ||
        (!in_pair(o) && *v.last && !v.prepared);
    if (elsewhere)
        ft_json_set_text(o, "role", "none");
    backup = !strcmp(ft_json_text(o, "role"), "backup") ||
        (!in_pair(o) && !elsewhere && v.role == VM_BACKUP);
    ft_json_set_text(o, "domain", v.name);
    ft_json_set_text(o, "uuid", v.uuid);
    ft_json_set_text(o, "host", own);
    ft_json_set_text(o, "libvirt", virt_state_name(libvirt));
    ft_json_set_text(o, "protection",
                     is_protected ? "protected" : "not protected");
    default_text(o, "role", vm_role_name(v.role));
    /* A note about the last pair's end is old when the guest runs again; that
     * it belongs to the other host is not. */
    if (*v.note && (!in_pair(o) || vm_alone(o)) &&
        (libvirt != VIRT_RUNNING || !*v.last ||
         !strcmp(v.last, "fenced")))
        ft_json_set_text(o, "reason", v.note);
    else if (!v.wanted && v.role == VM_NONE)
        default_text(o, "reason", own_reason(&v));
    if (!ft_json_number(o, "generation"))
        ft_json_set_number(o, "generation", v.generation);
    if (!strncmp(ft_json_text(o, "pair"), "00000000000000000000000000000000",
                 32) || !*ft_json_text(o, "pair"))
        ft_json_set_text(o, "pair", v.pair);
    default_text(o, "peer", v.peer);
    ft_json_set_text(o, "primary",
                     backup || elsewhere ? ft_json_text(o, "peer")
                     : in_pair(o) || libvirt == VIRT_RUNNING ? own : "");
    ft_json_set_text(o, "backup", backup ? own
                     : !elsewhere && (is_protected || v.wanted)
                     ? ft_json_text(o, "peer") : "");
    ft_json_set_text(o, "arbiter",
                     *v.arbiter ? v.arbiter : ctl->options.arbiter_uri);
    default_text(o, "fence", ctl->options.failover_fence);
    json_object_set_new(o, "wanted", json_boolean(v.wanted));
    json_object_set_new(o, "prepared", json_boolean(v.prepared));
    json_object_set_new(o, "stored", json_boolean(!v.unsaved));
    if (v.busy)
        ft_json_set_text(o, "command", v.busy);
    return o;
}

json_t *status_all(struct ctl *ctl)
{
    json_t *list = json_array();
    struct vm *vm;

    pthread_mutex_lock(&ctl->lock);
    vm = ctl->vms;   /* only ever grows in front */
    pthread_mutex_unlock(&ctl->lock);
    for (; vm; vm = vm->next) {
        bool shown;

        pthread_mutex_lock(&ctl->lock);
        shown = vm->prepared || vm->wanted || vm->role != VM_NONE ||
            vm->busy || *vm->last;
        pthread_mutex_unlock(&ctl->lock);
        if (shown)
            json_array_append_new(list, status_of(ctl, vm));
    }
    return list;
}
