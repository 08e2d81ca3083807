/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unprotect.c - end the pair; the guest runs on where it runs
 *
 * The command is given to the primary's host. Its agent asks the arbiter, or
 * has the backup's word, before it goes on alone; the backup's host sees its
 * own agent end and removes the replica by itself.
 *
 * rule 4
 */
#include "control/lockstepd/unprotect.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control/libvirt/virt.h"
#include "control/lockstepd/agent-client.h"
#include "control/lockstepd/autostart.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/job.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/vm.h"

#define ALONE_MS 60000

/* From now on no new try begins, and one that runs ends. Refused where
 * there is nothing to end. */
static int stop_wanting(struct ctl *ctl, struct vm *vm, struct vm_info *was,
                        struct ft_err *err)
{
    vm_stop_wanting(vm, was);
    if (was->role == FT_ROLE_BACKUP) {
        return ft_err_set(err, EINVAL,
                          "domain %s: this host is its backup: "
                          "run 'lockstep unprotect %s' on %s, its primary",
                          was->name, was->name, was->peer);
    }
    if (!was->wanted && was->role == FT_ROLE_NONE &&
        !agent_client_alive(ctl, was->uuid)) {
        vm_clear_stop(vm);
        return ft_err_set(err, ENOENT, "domain %s: it is not protected",
                          was->name);
    }
    return 0;
}

static int wait_alone(struct job *job, const struct vm_info *vm,
                      struct ft_err *err)
{
    struct agent_report status;

    for (int waited = 0;; waited += 100) {
        if (agent_client_status(job->ctl, vm->uuid, &status, err) < 0) {
            return -1;
        }
        if (!agent_report_is_bound(&status)) {
            return 0;
        }
        if (waited >= ALONE_MS) {
            return ft_err_set(err, ETIMEDOUT,
                              "domain %s: still %s after %d "
                              "s (%s); it goes on trying",
                              vm->name, ft_pair_state_name(status.state),
                              ALONE_MS / 1000, status.reason);
        }
        if (job_sleep(job, 100, err) < 0) {
            return -1;
        }
    }
}

static int end_pair(struct job *job, const struct vm_info *vm,
                    struct ft_err *err)
{
    struct ctl *ctl = job->ctl;
    struct agent_report status;

    if (!agent_client_alive(ctl, vm->uuid)) {
        return 0;
    }
    if (agent_client_status(ctl, vm->uuid, &status, err) < 0) {
        return -1;
    }
    if (agent_report_is_bound(&status) &&
        agent_client_order(ctl, vm->uuid, "unprotect", err) < 0) {
        return -1;
    }
    if (wait_alone(job, vm, err) < 0) {
        return -1;
    }
    agent_client_order(ctl, vm->uuid, "quit", NULL); /* or the keeper does */
    return 0;
}

/* What protection had changed about the domain. */
static int restore(struct ctl *ctl, struct vm *vm, struct ft_err *err)
{
    if (autostart_give_back(ctl, vm, err) < 0) {
        return -1; /* the keeper does it when libvirtd answers */
    }
    vm_end_part(vm, FT_PAIR_NONE);
    vm_note(vm, "%s", "ended by 'lockstep unprotect'");
    virt_set_protection(ctl->virt, vm_uuid(vm), NULL);
    return registry_save(ctl, vm, err);
}

/* The wish goes onto the disk first: a pair that ended by it must not come
 * back after a restart. When it is refused nothing has changed. */
static int begin(struct ctl *ctl, struct vm *vm, bool wanted,
                 struct ft_err *err)
{
    int rc = vm_begin(vm, "unprotect", 30000, err);

    if (rc == 0) {
        rc = registry_save(ctl, vm, err);
        if (rc < 0) {
            vm_end(vm);
        }
    }
    if (rc < 0) {
        vm_want_again(vm, wanted);
    } else {
        vm_clear_stop(vm);
    }
    return rc;
}

int unprotect_run(struct job *job, const char *domain, char *summary,
                  size_t size, struct ft_err *err)
{
    struct ctl *ctl = job->ctl;
    virDomainPtr dom = virt_domain(ctl->virt, domain, err);
    char uuid[VIR_UUID_STRING_BUFLEN];
    struct vm_info was;
    struct vm *vm;
    int rc;

    if (!dom) {
        return -1;
    }
    virDomainGetUUIDString(dom, uuid);
    vm = registry_vm(ctl, uuid, virDomainGetName(dom));
    rc = stop_wanting(ctl, vm, &was, err);
    if (rc == 0) {
        rc = begin(ctl, vm, was.wanted, err);
    }
    if (rc == 0) {
        job_progress(job, "end", -1, "ending the pair with %s",
                     *was.peer ? was.peer : "its backup");
        rc = end_pair(job, &was, err);
        if (rc == 0) {
            rc = restore(ctl, vm, err);
        }
        vm_end(vm);
        snprintf(summary, size,
                 "%s is not protected any more; it runs on "
                 "%s",
                 was.name, ctl->options.host_name);
    }
    virDomainFree(dom);
    return rc;
}
