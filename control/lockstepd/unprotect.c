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

#include "common/host/json.h"
#include "control/libvirt/virt.h"
#include "control/lockstepd/agent-client.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/job.h"
#include "control/lockstepd/keeper.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/vm.h"

#define ALONE_MS 60000

/* No new try from now on, and an end to one that runs. Refused where there is
 * nothing to end. */
static int stop_wanting(struct ctl *ctl, struct vm *vm, char *peer,
                        size_t size, bool *was, struct ft_err *err)
{
    bool wanted, backup;

    pthread_mutex_lock(&ctl->lock);
    *was = vm->wanted;
    wanted = vm->wanted || vm->role != VM_NONE;
    backup = vm->role == VM_BACKUP;
    snprintf(peer, size, "%s", vm->peer);
    if (!backup) {
        vm->wanted = false;
        atomic_store(&vm->stop, true);
    }
    pthread_mutex_unlock(&ctl->lock);
    if (backup)
        return ft_err_set(err, EINVAL, "domain %s: this host is its backup: "
                          "run 'lockstep unprotect %s' on %s, its primary",
                          vm->name, vm->name, peer);
    if (!wanted && !agent_client_alive(ctl, vm->uuid)) {
        atomic_store(&vm->stop, false);
        return ft_err_set(err, ENOENT, "domain %s: it is not protected",
                          vm->name);
    }
    return 0;
}

static int wait_alone(struct job *job, struct vm *vm, struct ft_err *err)
{
    for (int waited = 0; ; waited += 100) {
        json_t *status;
        bool done;

        if (agent_client_status(job->ctl, vm->uuid, &status, err) < 0)
            return -1;
        done = !vm_in_pair(status);
        if (!done && waited >= ALONE_MS)
            ft_err_set(err, ETIMEDOUT, "domain %s: still %s after %d s (%s); "
                       "it goes on trying", vm->name,
                       ft_json_text(status, "state"), ALONE_MS / 1000,
                       ft_json_text(status, "reason"));
        json_decref(status);
        if (done)
            return 0;
        if (waited >= ALONE_MS || job_sleep(job, 100, err) < 0)
            return -1;
    }
}

static int end_pair(struct job *job, struct vm *vm, struct ft_err *err)
{
    struct ctl *ctl = job->ctl;
    json_t *status;
    bool paired;

    if (!agent_client_alive(ctl, vm->uuid))
        return 0;
    if (agent_client_status(ctl, vm->uuid, &status, err) < 0)
        return -1;
    paired = vm_in_pair(status);
    json_decref(status);
    if (paired && agent_client_order(ctl, vm->uuid, "unprotect", err) < 0)
        return -1;
    if (wait_alone(job, vm, err) < 0)
        return -1;
    agent_client_order(ctl, vm->uuid, "quit", NULL);   /* or the keeper does */
    return 0;
}

/* What protection had changed about the domain. */
static int restore(struct ctl *ctl, struct vm *vm, virDomainPtr dom,
                   struct ft_err *err)
{
    bool autostart;

    pthread_mutex_lock(&ctl->lock);
    vm->role = VM_NONE;
    autostart = vm->autostart;
    vm->autostart = false;
    *vm->last = 0;
    pthread_mutex_unlock(&ctl->lock);
    if (autostart)
        virDomainSetAutostart(dom, 1);
    vm_note(ctl, vm, "%s", "ended by 'lockstep unprotect'");
    virt_set_protection(ctl->virt, vm->uuid, NULL);
    return registry_save(ctl, vm, err);
}

/* The wish goes onto the disk first: a pair that ended by it must not come
 * back after a restart. Refused, nothing has changed. */
static int begin(struct ctl *ctl, struct vm *vm, bool was,
                 struct ft_err *err)
{
    int rc = vm_begin(ctl, vm, "unprotect", 30000, err);

    if (rc == 0) {
        rc = registry_save(ctl, vm, err);
        if (rc < 0)
            vm_end(ctl, vm);
    }
    pthread_mutex_lock(&ctl->lock);
    if (rc < 0)
        vm->wanted = was;
    atomic_store(&vm->stop, false);   /* a later pair may come back */
    pthread_mutex_unlock(&ctl->lock);
    return rc;
}

int unprotect_run(struct job *job, const char *domain, char *summary,
                  size_t size, struct ft_err *err)
{
    struct ctl *ctl = job->ctl;
    virDomainPtr dom = virt_domain(ctl->virt, domain, err);
    char uuid[VIR_UUID_STRING_BUFLEN], peer[CTL_NAME];
    struct vm *vm;
    bool was;
    int rc;

    if (!dom)
        return -1;
    virDomainGetUUIDString(dom, uuid);
    vm = registry_vm(ctl, uuid, virDomainGetName(dom));
    rc = stop_wanting(ctl, vm, peer, sizeof(peer), &was, err);
    if (rc == 0)
        rc = begin(ctl, vm, was, err);
    if (rc == 0) {
        job_progress(job, "end", -1, "ending the pair with %s",
                     *peer ? peer : "its backup");
        rc = end_pair(job, vm, err);
        if (rc == 0)
            rc = restore(ctl, vm, dom, err);
        vm_end(ctl, vm);
        snprintf(summary, size, "%s is not protected any more; it runs on "
                 "%s", vm->name, ctl->options.host_name);
    }
    virDomainFree(dom);
    return rc;
}
