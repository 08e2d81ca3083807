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
#include "control/lockstepd/registry.h"
#include "control/lockstepd/vm.h"

static void default_text(json_t *o, const char *key, const char *value)
{
    if (!*ft_json_text(o, key)) {
        ft_json_set_text(o, key, value);
    }
}

/* Where there is no agent that could say it. */
static enum ft_pair_state own_state(const struct vm_info *v,
                                    enum virt_state libvirt)
{
    if (libvirt == VIRT_SHUT_OFF || libvirt == VIRT_NOT_THERE) {
        return v->last != FT_PAIR_NONE ? v->last : FT_PAIR_OFF;
    }
    return libvirt != VIRT_NO_ANSWER ? FT_PAIR_ALONE : FT_PAIR_UNKNOWN;
}

static const char *own_reason(const struct vm_info *v)
{
    return v->prepared
             ? "prepared; 'lockstep protect' makes a backup while it runs"
             : "not prepared; 'lockstep prepare' makes it ready";
}

/* What is put together of an agent's words and of what this host knows. */
struct view {
    struct vm_info vm;
    enum virt_state libvirt;
    enum ft_pair_state state;
    enum ft_role role; /* shown: the agent's, else the last pair's */
    bool elsewhere;    /* its last pair has ended here, and it lives
                                   on there */
    bool backup;       /* this host is its backup, or was at last */
};

static void look_at(struct view *w, struct ctl *ctl, struct vm *vm,
                    const struct agent_report *agent)
{
    bool agent_speaks = agent->state != FT_PAIR_NONE;

    vm_get(vm, &w->vm);
    w->libvirt = virt_state(ctl->virt, w->vm.uuid);
    w->state = agent_speaks ? agent->state : own_state(&w->vm, w->libvirt);
    w->elsewhere = w->state == FT_PAIR_FENCED ||
                   (agent->role == FT_ROLE_NONE &&
                    w->vm.last != FT_PAIR_NONE && !w->vm.prepared);
    w->role = w->elsewhere ? FT_ROLE_NONE
            : agent_speaks ? agent->role
                           : w->vm.role;
    w->backup = !w->elsewhere && (agent->role == FT_ROLE_BACKUP ||
                                  (agent->role == FT_ROLE_NONE &&
                                   w->vm.role == FT_ROLE_BACKUP));
}

static void add_reason(json_t *o, const struct view *w)
{
    const struct vm_info *v = &w->vm;

    /* A note about the last pair's end is old when the guest runs again; that
     * it belongs to the other host is not. */
    if (*v->note && (w->role == FT_ROLE_NONE || ft_pair_is_alone(w->state)) &&
        (w->libvirt != VIRT_RUNNING || v->last == FT_PAIR_NONE ||
         v->last == FT_PAIR_FENCED)) {
        ft_json_set_text(o, "reason", v->note);
    } else if (!v->wanted && v->role == FT_ROLE_NONE) {
        default_text(o, "reason", own_reason(v));
    }
}

static void add_hosts(json_t *o, const struct view *w, const char *own)
{
    const char *peer = ft_json_text(o, "peer");
    bool is_protected = w->state == FT_PAIR_PROTECTED;
    bool runs = w->role != FT_ROLE_NONE || w->libvirt == VIRT_RUNNING;

    ft_json_set_text(o, "primary",
                     w->backup || w->elsewhere ? peer
                     : runs                    ? own
                                               : "");
    ft_json_set_text(o, "backup",
                     w->backup                                         ? own
                     : !w->elsewhere && (is_protected || w->vm.wanted) ? peer
                                                                       : "");
}

json_t *status_of(struct ctl *ctl, struct vm *vm)
{
    struct agent_report agent;
    struct view w;
    const struct vm_info *v = &w.vm;
    json_t *o = NULL;

    if (agent_client_alive(ctl, vm_uuid(vm))) {
        agent_client_request(ctl, vm_uuid(vm),
                             json_pack("{s:s}", "do", "status"), -1, &o, 1000,
                             NULL);
    }
    if (!o) {
        o = json_object();
    }
    json_object_del(o, "ok");
    agent_report_parse(&agent, o);
    look_at(&w, ctl, vm, &agent);

    default_text(o, "state", ft_pair_state_name(w.state));
    ft_json_set_text(o, "role", ft_role_name(w.role));
    ft_json_set_text(o, "domain", v->name);
    ft_json_set_text(o, "uuid", v->uuid);
    ft_json_set_text(o, "host", ctl->options.host_name);
    ft_json_set_text(o, "libvirt", virt_state_name(w.libvirt));
    ft_json_set_text(o, "protection",
                     w.state == FT_PAIR_PROTECTED ? "protected"
                                                  : "not protected");
    add_reason(o, &w);
    if (!agent.generation) {
        ft_json_set_number(o, "generation", v->generation);
    }
    if (!*agent.pair ||
        !strcmp(agent.pair, "00000000000000000000000000000000")) {
        ft_json_set_text(o, "pair", v->pair);
    }
    default_text(o, "peer", v->peer);
    add_hosts(o, &w, ctl->options.host_name);
    ft_json_set_text(o, "arbiter",
                     *v->arbiter ? v->arbiter : ctl->options.arbiter_uri);
    default_text(o, "fence", ctl->options.failover_fence);
    json_object_set_new(o, "wanted", json_boolean(v->wanted));
    json_object_set_new(o, "prepared", json_boolean(v->prepared));
    json_object_set_new(o, "stored", json_boolean(!v->unsaved));
    if (v->command) {
        ft_json_set_text(o, "command", v->command);
    }
    return o;
}

json_t *status_all(struct ctl *ctl)
{
    json_t *list = json_array();
    struct vm_info v;

    for (struct vm *vm = registry_first(ctl); vm; vm = vm_next(vm)) {
        vm_get(vm, &v);
        if (v.prepared || v.wanted || v.role != FT_ROLE_NONE || v.command ||
            v.last != FT_PAIR_NONE) {
            json_array_append_new(list, status_of(ctl, vm));
        }
    }
    return list;
}
