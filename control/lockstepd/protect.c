/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * protect.c - make a backup of a running domain on another host, or end it
 *
 * Theory of Operation
 *
 *   look      is the domain running, prepared, as it must be?     (nothing
 *   reach     TLS to the other host's lockstepd                    has been
 *   check     files beside the disks and the arbiter, written by   changed
 *             each host and read by the other; emulator, CPU,      up to
 *             networks, names                                      here)
 *   start     the other host starts the replica, paused, and its agent
 *   clone     our agent copies the guest while it runs
 *   commit    the other host keeps what it has
 *
 * Until `commit` the other host takes everything back when the connection
 * ends, whatever the reason. From the clone's end the pair lives on its own:
 * it is protected when the agents say so, not when we do.
 *
 * paper, 3.1; rule 8
 */
#include "control/lockstepd/protect.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/id.h"
#include "common/host/json.h"
#include "common/host/log.h"
#include "control/libvirt/virt.h"
#include "control/lockstepd/agent-client.h"
#include "control/lockstepd/control-conn.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/job.h"
#include "control/lockstepd/keeper.h"
#include "control/lockstepd/proof.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/vm.h"

#define CHECK_S 90         /* the first look at a new emulator takes long */
#define START_S 60
#define GREET_MS 10000     /* the agent finds its QEMU */
#define STUCK_MS 60000     /* a clone that does not move */

struct work {
    struct job *job;
    struct ctl *ctl;
    struct vm *vm;
    virDomainPtr dom;
    struct dom_facts facts;
    struct dom_protection policy;    /* what is wanted here */
    char arbiter[33];                /* its id */
    char qemu[PROOF_BUILD_ID];       /* of the running emulator */
    char pair[33];
    uint64_t generation;
    struct proof *proof;             /* one for each file, then the arbiter's */
    size_t proofs;
    struct control_conn *peer;
    char *replica;                   /* its XML */
    bool autostart;
    char shown[400];                 /* the last line of progress */
};

/* ---- look --------------------------------------------------------------- */

static int look_at_definition(struct work *w, xmlDoc *doc,
                              struct ft_err *err)
{
    const struct dom_options o = {
        .emulator = w->ctl->options.paths_emulator,
        .run_dir = w->ctl->options.paths_run, .shift = -1,
    };
    struct dom_report r = { 0 };
    xmlDoc *stored;
    bool good, prepared;

    dom_check(doc, &o, &r);
    good = !r.count[DOM_REFUSED] && dom_is_prepared(doc, &o, &r);
    if (!good)
        dom_report_err(&r, w->facts.name, err);
    dom_report_clear(&r);
    if (good || w->facts.prepared)
        return good ? 0 : -1;
    /* It is either not prepared at all, or since it was started. */
    stored = virt_xml(w->dom, VIR_DOMAIN_XML_INACTIVE, NULL);
    prepared = stored && dom_metadata(stored, DOM_NS_PREPARED, "prepared",
                                      false);
    dom_free(stored);
    if (prepared)
        return ft_err_set(err, EINVAL, "domain %s: it was prepared, but runs "
                          "as it was started before: shut it down and start "
                          "it again", w->facts.name);
    if (strstr(err->text, "was not started with"))
        return ft_err_set(err, EINVAL, "domain %s: it is not prepared: run "
                          "'lockstep prepare %s', then shut it down and "
                          "start it again", w->facts.name, w->facts.name);
    return -1;   /* what cannot be protected at all, said above */
}

static bool is_replica(struct ctl *ctl, const char *uuid)
{
    struct vm *vm = registry_find(ctl, uuid);
    bool replica;

    pthread_mutex_lock(&ctl->lock);
    replica = vm && vm->role == VM_BACKUP;
    pthread_mutex_unlock(&ctl->lock);
    return replica;
}

static int look_at_domain(struct work *w, const char *domain, const char *host,
                          const char *arbiter, struct ft_err *err)
{
    const struct ft_options *o = &w->ctl->options;
    char uuid[VIR_UUID_STRING_BUFLEN];
    struct dom_protection stored;
    xmlDoc *doc, *copy;
    int state = 0, reason, rc;

    w->dom = virt_domain(w->ctl->virt, domain, err);
    if (!w->dom)
        return -1;
    virDomainGetUUIDString(w->dom, uuid);
    virDomainGetState(w->dom, &state, &reason, 0);
    if (state == VIR_DOMAIN_PAUSED && is_replica(w->ctl, uuid))
        return ft_err_set(err, EINVAL, "domain %s: this host is its backup: "
                          "a primary is told what to do on its own host "
                          "('lockstep status %s' shows which)",
                          virDomainGetName(w->dom),
                          virDomainGetName(w->dom));
    if (state != VIR_DOMAIN_RUNNING && state != VIR_DOMAIN_BLOCKED)
        return ft_err_set(err, EINVAL, "domain %s: it is %s: %s",
                          virDomainGetName(w->dom),
                          virt_state_name(virt_state(w->ctl->virt, uuid)),
                          state == VIR_DOMAIN_PAUSED
                          ? "resume it first ('virsh resume')"
                          : "start it first ('virsh start')");
    doc = virt_xml(w->dom, 0, err);
    if (!doc)
        return -1;
    rc = dom_facts(doc, &w->facts, err);
    if (rc == 0)
        rc = look_at_definition(w, doc, err);
    dom_get_protection(doc, &stored);
    dom_free(doc);
    if (rc < 0)
        return -1;
    w->vm = registry_vm(w->ctl, uuid, w->facts.name);

    snprintf(w->policy.backup, sizeof(w->policy.backup), "%s",
             host && *host ? host : stored.backup);
    snprintf(w->policy.arbiter, sizeof(w->policy.arbiter), "%s",
             arbiter && *arbiter ? arbiter : *stored.arbiter
             ? stored.arbiter : o->arbiter_uri);
    if (!*w->policy.backup)
        return ft_err_set(err, EINVAL, "domain %s: no backup host is named: "
                          "say --backup HOST", w->facts.name);
    if (!strcmp(w->policy.backup, o->host_name))
        return ft_err_set(err, EINVAL, "host %s: this is the host that the "
                          "domain runs on: name another one",
                          o->host_name);
    if (!*w->policy.arbiter)
        return ft_err_set(err, EINVAL, "domain %s: no arbiter is named: say "
                          "--arbiter file:/FOLDER, or set [arbiter] uri= in "
                          "lockstepd.conf (make one with 'lockstep arbiter "
                          "format')", w->facts.name);

    /* The replica is the domain as it runs, and would be backed up here. */
    copy = virt_xml(w->dom, VIR_DOMAIN_XML_MIGRATABLE |
                    VIR_DOMAIN_XML_SECURE, err);
    if (!copy)
        return -1;
    stored = w->policy;
    snprintf(stored.backup, sizeof(stored.backup), "%s", o->host_name);
    dom_set_protection(copy, &stored);
    dom_to_replica(copy);
    w->replica = dom_print(copy);
    dom_free(copy);
    return 0;
}

/* The agent, its QEMU, and the next generation's number. */
static int look_at_agent(struct work *w, struct ft_err *err)
{
    const char *uuid = w->facts.uuid, *name = w->facts.name;
    char owner[CTL_NAME];
    json_t *status = NULL;
    uint64_t g, recorded = 0;
    int waited = 0;

    if (agent_client_ensure(w->ctl, uuid, err) < 0)
        return -1;
    keeper_start(w->ctl, w->vm);
    for (;;) {
        if (agent_client_status(w->ctl, uuid, &status, err) < 0)
            return ft_err_prefix(err, "domain %s", name);
        if (*ft_json_text(status, "qemu"))
            break;
        json_decref(status);
        if (waited >= GREET_MS)
            return ft_err_set(err, ETIMEDOUT, "domain %s: its QEMU does not "
                              "answer on the vmlink: was it started by "
                              "another lockstep's emulator? Shut it down and "
                              "start it again", name);
        if (job_sleep(w->job, 100, err) < 0)
            return -1;
        waited += 100;
    }
    if (vm_in_pair(status)) {
        ft_err_set(err, EBUSY, "domain %s: it is already %s%s%s: "
                   "'lockstep unprotect %s' ends that", name,
                   ft_json_text(status, "state"),
                   *ft_json_text(status, "peer") ? ", with " : "",
                   ft_json_text(status, "peer"), name);
        json_decref(status);
        return -1;
    }
    g = ft_json_number(status, "generation");
    if (ft_json_number(status, "tried") > g)   /* by a clone that failed */
        g = ft_json_number(status, "tried");
    snprintf(w->qemu, sizeof(w->qemu), "%s", ft_json_text(status, "qemu"));
    json_decref(status);
    if (arbiter_id(w->policy.arbiter, w->arbiter, sizeof(w->arbiter),
                   err) < 0 ||
        arbiter_record(w->policy.arbiter, uuid, &recorded, owner, err) < 0)
        return -1;
    if (recorded > g)
        g = recorded;
    pthread_mutex_lock(&w->ctl->lock);
    if (w->vm->generation > g)
        g = w->vm->generation;
    w->generation = g + 1;
    pthread_mutex_unlock(&w->ctl->lock);
    ft_random_hex(w->pair, 32);
    return 0;
}

/* ---- check -------------------------------------------------------------- */

static json_t *describe(struct work *w, struct ft_err *err)
{
    const char *host = w->ctl->options.host_name;
    json_t *files = json_array(), *networks = json_array();
    const struct dom_facts *f = &w->facts;
    struct ft_err e;

    w->proof = calloc(f->files + 1, sizeof(*w->proof));
    if (!w->proof)
        abort();
    for (size_t i = 0; i < f->files; i++) {
        struct proof *p = &w->proof[i];
        uint64_t inode = 0, size = 0;

        w->proofs = i + 1;
        if (proof_stat(f->file[i].path, &inode, &size, &e) < 0 ||
            (f->file[i].disk &&
             proof_write(f->file[i].path, false, host, p, &e) < 0)) {
            ft_err_set(err, e.code, "domain %s: %s: %s", f->name,
                       f->file[i].role, e.text);
            goto fail;
        }
        json_array_append_new(files, json_pack(
            "{s:s,s:s,s:b,s:I,s:I,s:s,s:s}", "role", f->file[i].role,
            "path", f->file[i].path, "disk", f->file[i].disk,
            "inode", (json_int_t)inode, "size", (json_int_t)size,
            "proof", p->file, "nonce", p->nonce));
    }
    w->proofs = f->files + 1;
    if (proof_write(arbiter_folder(w->policy.arbiter), true, host,
                    &w->proof[f->files], &e) < 0) {
        ft_err_set(err, e.code, "arbiter %s: %s", w->policy.arbiter, e.text);
        goto fail;
    }
    for (size_t i = 0; i < f->networks; i++)
        json_array_append_new(networks, json_string(f->network[i]));
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:s,s:s,s:s,s:s,"
                     "s:o,s:o}",
                     "do", "check", "uuid", f->uuid, "name", f->name,
                     "host", host, "qemu", w->qemu, "cpu", f->cpu,
                     "machine", f->machine, "arch", f->arch,
                     "memory_kib", (json_int_t)f->memory_kib,
                     "arbiter", w->policy.arbiter,
                     "arbiter_id", w->arbiter,
                     "arbiter_proof", w->proof[f->files].file,
                     "arbiter_nonce", w->proof[f->files].nonce,
                     "files", files, "networks", networks);
fail:
    json_decref(files);
    json_decref(networks);
    return NULL;
}

/* The files that the other host wrote in answer. */
static int read_theirs(struct work *w, json_t *list, struct ft_err *err)
{
    const struct dom_facts *f = &w->facts;
    const char *host = w->policy.backup;

    for (size_t i = 0; i <= f->files; i++) {
        json_t *o = json_array_get(list, i);
        struct proof p;
        struct ft_err e;

        if (i < f->files && !f->file[i].disk)
            continue;
        snprintf(p.file, sizeof(p.file), "%s", ft_json_text(o, "proof"));
        snprintf(p.nonce, sizeof(p.nonce), "%s", ft_json_text(o, "nonce"));
        if (strlen(p.nonce) == 32 && proof_read(&p, &e) == 0)
            continue;
        return ft_err_set(err, ENOENT, "domain %s: %s: what %s wrote beside "
                          "it is not seen here: both hosts must mount the "
                          "same storage at the same place", f->name,
                          i < f->files ? f->file[i].role : "arbiter", host);
    }
    return 0;
}

static int check_other_host(struct work *w, struct ft_err *err)
{
    json_t *request = describe(w, err), *reply;
    int rc;

    if (!request)
        return -1;
    if (control_call(w->peer, request, &reply, CHECK_S, err) < 0)
        return -1;
    rc = read_theirs(w, json_object_get(reply, "proofs"), err);
    json_decref(reply);
    for (size_t i = 0; i < w->proofs; i++)
        proof_remove(&w->proof[i]);
    return rc;
}

/* ---- start and clone ---------------------------------------------------- */

static int start_replica(struct work *w, struct ft_err *err)
{
    json_t *reply;

    if (control_call(w->peer, json_pack(
            "{s:s,s:s,s:s,s:s,s:s,s:I,s:s}", "do", "start",
            "uuid", w->facts.uuid, "name", w->facts.name,
            "xml", w->replica, "pair", w->pair,
            "generation", (json_int_t)w->generation,
            "arbiter", w->policy.arbiter), &reply, START_S, err) < 0)
        return -1;
    json_decref(reply);
    return 0;
}

static void show_clone(struct work *w, const json_t *status)
{
    char text[sizeof(w->shown)];
    const json_t *p = json_object_get(status, "progress");
    double sent = (double)ft_json_number(p, "sent");
    double left = (double)ft_json_number(p, "remaining");
    int percent = sent + left > 0 ? (int)(100 * sent / (sent + left)) : -1;

    if (strcmp(ft_json_text(status, "state"), "cloning"))
        return;
    snprintf(text, sizeof(text), "copying the guest to %s: %.0f MiB sent, "
             "%.0f MiB left", w->policy.backup, sent / 1048576,
             left / 1048576);
    if (!strcmp(text, w->shown))
        return;
    memcpy(w->shown, text, sizeof(text));
    job_progress(w->job, "clone", percent, "%s", text);
}

/* 1: protected, 0: not yet, -1: it will not be */
static int clone_outcome(struct work *w, const json_t *status, bool *begun,
                         struct ft_err *err)
{
    const char *state = ft_json_text(status, "state");

    if (!strcmp(state, "protected"))
        return strcmp(ft_json_text(status, "pair"), w->pair) ? 0 : 1;
    if (!strcmp(state, "cloning") || !strcmp(state, "arbitrating")) {
        *begun = true;
        return 0;
    }
    if (!*begun)
        return 0;
    return ft_err_set(err, EIO, "domain %s: the clone to %s failed: %s",
                      w->facts.name, w->policy.backup,
                      *ft_json_text(status, "reason")
                      ? ft_json_text(status, "reason") : state);
}

static int clone_guest(struct work *w, struct ft_err *err)
{
    int fd = agent_client_open(w->ctl, w->facts.uuid, err), rc = -1, n;
    ft_ns moved = ft_monotonic();
    uint64_t last = 0;
    struct ft_json_reader r;
    bool begun = false;
    json_t *line, *command;

    if (fd < 0)
        return -1;
    ft_json_reader_init(&r, fd);
    command = json_pack("{s:s,s:s,s:I,s:{s:s,s:s,s:I},s:s,s:I}",
                        "do", "protect", "pair", w->pair,
                        "generation", (json_int_t)w->generation, "peer",
                        "host", w->policy.backup,
                        "address", control_address(w->peer), "port",
                        (json_int_t)w->ctl->options.host_port,
                        "arbiter", w->policy.arbiter, "downtime_ms",
                        (json_int_t)w->ctl->options.protect_downtime_ms);
    n = ft_json_client_send(fd, command, err);
    json_decref(command);
    while (n >= 0) {
        uint64_t sent;

        if (job_cancelled(w->job) || w->ctl->quit) {
            ft_err_set(err, ECANCELED, "cancelled");
            break;
        }
        n = ft_json_reader_next(&r, &line, 200, err);
        if (n == 0) {
            ft_err_set(err, ECONNRESET, "domain %s: its agent has ended: "
                       "see %s/agent-%s.log", w->facts.name,
                       w->ctl->options.paths_log, w->facts.uuid);
            break;
        }
        if (n < 0 && err->code != ETIMEDOUT)
            break;
        if (n < 0) {
            n = 0;
            if (ft_monotonic() - moved < STUCK_MS * FT_NS_PER_MS)
                continue;
            ft_err_set(err, ETIMEDOUT, "domain %s: the clone to %s has not "
                       "moved for %d s", w->facts.name, w->policy.backup,
                       STUCK_MS / 1000);
            break;
        }
        if (json_is_false(json_object_get(line, "ok"))) {
            ft_err_set(err, EIO, "domain %s: %s", w->facts.name,
                       ft_json_text(line, "error"));
            json_decref(line);
            break;
        }
        show_clone(w, line);
        sent = ft_json_number(json_object_get(line, "progress"), "sent");
        if (sent != last)
            moved = ft_monotonic();
        last = sent;
        n = *ft_json_text(line, "state")
            ? clone_outcome(w, line, &begun, err) : 0;
        json_decref(line);
        if (n > 0) {
            rc = 0;
            break;
        }
    }
    ft_json_reader_done(&r);
    close(fd);
    return rc;
}

/* The clone did not come to its end: tell our agent, and wait until it runs
 * alone again, so that the next try finds it so. */
static void give_up(struct work *w)
{
    for (int i = 0; i < 100; i++) {
        json_t *status = NULL;
        bool alone;

        if (i == 0)
            agent_client_order(w->ctl, w->facts.uuid, "unprotect", NULL);
        if (agent_client_status(w->ctl, w->facts.uuid, &status, NULL) < 0)
            return;
        alone = !vm_in_pair(status);
        json_decref(status);
        if (alone)
            return;
        poll(NULL, 0, 100);
    }
}

static int commit_pair(struct work *w, struct ft_err *err)
{
    struct vm *vm = w->vm;
    json_t *reply;
    int was = 0;

    virDomainGetAutostart(w->dom, &was);
    pthread_mutex_lock(&w->ctl->lock);
    vm->prepared = vm->wanted = true;
    vm->role = VM_PRIMARY;
    vm->generation = w->generation;
    vm->autostart = vm->autostart || was;
    *vm->last = 0;
    w->autostart = vm->autostart;
    snprintf(vm->peer, sizeof(vm->peer), "%s", w->policy.backup);
    snprintf(vm->arbiter, sizeof(vm->arbiter), "%s", w->policy.arbiter);
    snprintf(vm->pair, sizeof(vm->pair), "%s", w->pair);
    pthread_mutex_unlock(&w->ctl->lock);
    if (was)
        virDomainSetAutostart(w->dom, 0);
    vm_note(w->ctl, vm, "%s", "");
    if (registry_save(w->ctl, vm, err) < 0)
        ft_error("%s", err->text);   /* protected all the same */
    virt_set_protection(w->ctl->virt, vm->uuid, &w->policy);
    if (control_call(w->peer, json_pack("{s:s,s:b}", "do", "commit",
                                        "autostart", w->autostart),
                     &reply, 10, err) == 0)
        json_decref(reply);
    else
        ft_warning("pair %s: %s: it keeps the replica by itself",
                   vm->name, err->text);
    return 0;
}

static void work_clear(struct work *w)
{
    for (size_t i = 0; i < w->proofs; i++)
        proof_remove(&w->proof[i]);
    free(w->proof);
    free(w->replica);
    control_close(w->peer);
    dom_facts_clear(&w->facts);
    if (w->dom)
        virDomainFree(w->dom);
}

int protect_run(struct job *job, const char *domain, const char *host,
                const char *arbiter, char *summary, size_t size,
                struct ft_err *err)
{
    struct work w = { .job = job, .ctl = job->ctl };
    bool busy = false;
    int rc = -1;

    job_progress(job, "look", -1, "looking at domain %s", domain);
    if (look_at_domain(&w, domain, host, arbiter, err) < 0 ||
        vm_begin(job->ctl, w.vm, "protect", 3000, err) < 0)
        goto out;
    busy = true;
    /* What is promised at the end must get onto the disk; what was promised
     * before stands there, and a backup matters more. */
    if (registry_save(job->ctl, w.vm, err) < 0 && job->cancel_fd >= 0)
        goto out;
    if (look_at_agent(&w, err) < 0)
        goto out;
    job_progress(job, "reach", -1, "connecting to %s", w.policy.backup);
    w.peer = control_connect(job, w.policy.backup, err);
    if (!w.peer)
        goto out;
    job_progress(job, "check", -1, "proving that %s sees the same storage",
                 w.policy.backup);
    if (check_other_host(&w, err) < 0)
        goto out;
    job_progress(job, "start", -1, "starting the replica on %s",
                 w.policy.backup);
    if (start_replica(&w, err) < 0)
        goto out;
    if (clone_guest(&w, err) < 0) {
        give_up(&w);
        goto out;
    }
    rc = commit_pair(&w, err);
    snprintf(summary, size, "%s is protected: primary %s, backup %s, "
             "generation %llu", w.facts.name, job->ctl->options.host_name,
             w.policy.backup, (unsigned long long)w.generation);
    ft_info("pair %s: %s", w.facts.name, summary);
out:
    if (rc < 0 && err->code == ECANCELED && !job->ctl->quit)
        ft_err_set(err, ECANCELED, "domain %s: cancelled: what was begun is "
                   "taken back, the guest runs on", domain);
    if (rc < 0)
        ft_info("protect %s: %s", domain, err->text);
    if (busy)
        vm_end(job->ctl, w.vm);
    work_clear(&w);
    return rc;
}
