/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * protect.c - make a backup of a running domain on another host
 *
 * Theory of Operation
 *
 *   look      is the domain running, prepared, as it must be?     (nothing
 *   reach     TLS to the other host's lockstepd                    has been
 *   check     files beside the disks and the arbiter, written by   changed
 *             each host and read by the other; emulator, CPU,      up to
 *             networks, names                                      here)
 *   begin     from here on this host has a part in a pair, on file, and the
 *             domain does not start by itself: the keeper mends what dies, and
 *             ends what is not made
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
#include <sys/stat.h>
#include <unistd.h>

#include "common/host/id.h"
#include "common/host/json.h"
#include "common/host/log.h"
#include "control/libvirt/virt.h"
#include "control/lockstepd/agent-client.h"
#include "control/lockstepd/arbiter-lookup.h"
#include "control/lockstepd/autostart.h"
#include "control/lockstepd/carry.h"
#include "control/lockstepd/control-conn.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/job.h"
#include "control/lockstepd/keeper.h"
#include "control/lockstepd/proof.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/vm.h"

#define CHECK_S 90 /* the first look at a new emulator takes long */
#define START_S 60
#define GREET_MS 10000 /* the agent finds its QEMU */
#define ALIVE (5 * FT_NS_PER_S)
#define ALIVE_WAIT_S 3
#define STUCK_MS 60000 /* a clone that does not move */

struct work {
    struct job *job;
    struct ctl *ctl;
    struct vm *vm;
    virDomainPtr dom;
    struct dom_facts facts;
    struct dom_protection policy; /* what is wanted here */
    char arbiter[33];             /* its id */
    char qemu[PROOF_BUILD_ID];    /* of the running emulator */
    char pair[33];
    uint64_t generation;
    struct proof *proof; /* one for each file, then the arbiter's */
    size_t proofs;
    struct control_conn *peer;
    char *replica;      /* its XML */
    struct vm_info was; /* before `begin` */
    char shown[400];    /* the last line of progress */
};

/* ---- look --------------------------------------------------------------- */

static int look_at_definition(struct work *w, xmlDoc *doc, struct ft_err *err)
{
    const struct dom_options o = {
        .emulator = w->ctl->options.paths_emulator,
        .run_dir = w->ctl->options.paths_run,
        .shift = -1,
    };
    struct dom_report r = { 0 };
    enum dom_prepared runs = dom_is_prepared(doc, &o, &r);
    xmlDoc *stored;
    bool prepared;

    if (runs != DOM_PREPARED) {
        dom_report_err(&r, w->facts.name, err);
    }
    dom_report_clear(&r);
    if (runs == DOM_PREPARED || w->facts.prepared) {
        return runs == DOM_PREPARED ? 0 : -1;
    }
    /* It is either not prepared at all, or since it was started. */
    stored = virt_xml(w->dom, VIR_DOMAIN_XML_INACTIVE, NULL);
    prepared = stored &&
               dom_metadata(stored, DOM_NS_PREPARED, "prepared", false);
    dom_free(stored);
    if (prepared) {
        return ft_err_set(err, EINVAL,
                          "domain %s: it was prepared, but runs "
                          "as it was started before: shut it down and start "
                          "it again",
                          w->facts.name);
    }
    if (runs == DOM_NOT_PREPARED) {
        return ft_err_set(err, EINVAL,
                          "domain %s: it is not prepared: run "
                          "'lockstep prepare %s', then shut it down and "
                          "start it again",
                          w->facts.name, w->facts.name);
    }
    return -1; /* what cannot be protected at all, said above */
}

/* Is this host the backup's in the domain's last pair? */
static bool is_replica(struct ctl *ctl, const char *uuid)
{
    struct vm *vm = registry_find(ctl, uuid);
    struct vm_info i;

    if (!vm) {
        return false;
    }
    vm_get(vm, &i);
    return i.role == FT_ROLE_BACKUP;
}

static const char *first_of(const char *a, const char *b, const char *c,
                            const char *d)
{
    return a && *a ? a : *b ? b : *c ? c : d;
}

/* Which backup host and arbiter: those named, else those of its metadata, else
 * those of its last pair. */
static int choose_policy(struct work *w, const struct dom_protection *stored,
                         const char *host, const char *arbiter,
                         struct ft_err *err)
{
    const struct ft_options *o = &w->ctl->options;
    struct vm_info last;

    vm_get(w->vm, &last);
    snprintf(w->policy.backup, sizeof(w->policy.backup), "%s",
             first_of(host, stored->backup, last.peer, ""));
    snprintf(w->policy.arbiter, sizeof(w->policy.arbiter), "%s",
             first_of(arbiter, stored->arbiter, last.arbiter,
                      o->arbiter_uri));
    if (!*w->policy.backup) {
        return ft_err_set(err, EINVAL,
                          "domain %s: no backup host is named: "
                          "say --backup HOST",
                          w->facts.name);
    }
    if (!strcmp(w->policy.backup, o->host_name)) {
        return ft_err_set(err, EINVAL,
                          "host %s: this is the host that the "
                          "domain runs on: name another one",
                          o->host_name);
    }
    if (!*w->policy.arbiter) {
        return ft_err_set(err, EINVAL,
                          "domain %s: no arbiter is named: say "
                          "--arbiter file:/FOLDER, or set [arbiter] uri= in "
                          "lockstepd.conf (make one with 'lockstep arbiter "
                          "format')",
                          w->facts.name);
    }
    return 0;
}

static int look_at_domain(struct work *w, const char *domain,
                          const char *host, const char *arbiter,
                          struct ft_err *err)
{
    const struct ft_options *o = &w->ctl->options;
    char uuid[VIR_UUID_STRING_BUFLEN];
    struct dom_protection stored;
    xmlDoc *doc, *copy;
    int state = 0, reason, rc;

    w->dom = virt_domain(w->ctl->virt, domain, err);
    if (!w->dom) {
        return -1;
    }
    virDomainGetUUIDString(w->dom, uuid);
    virDomainGetState(w->dom, &state, &reason, 0);
    if (state == VIR_DOMAIN_PAUSED && is_replica(w->ctl, uuid)) {
        return ft_err_set(err, EINVAL,
                          "domain %s: this host is its backup: "
                          "a primary is told what to do on its own host "
                          "('lockstep status %s' shows which)",
                          virDomainGetName(w->dom), virDomainGetName(w->dom));
    }
    if (state != VIR_DOMAIN_RUNNING && state != VIR_DOMAIN_BLOCKED) {
        return ft_err_set(err, EINVAL, "domain %s: it is %s: %s",
                          virDomainGetName(w->dom),
                          virt_state_name(virt_state(w->ctl->virt, uuid)),
                          state == VIR_DOMAIN_PAUSED
                              ? "resume it first ('virsh resume')"
                              : "start it first ('virsh start')");
    }
    doc = virt_xml(w->dom, 0, err);
    if (!doc) {
        return -1;
    }
    rc = dom_facts(doc, &w->facts, err);
    if (rc == 0) {
        rc = look_at_definition(w, doc, err);
    }
    dom_get_protection(doc, &stored);
    dom_free(doc);
    if (rc < 0) {
        return -1;
    }
    w->vm = registry_vm(w->ctl, uuid, w->facts.name);

    /* When a host comes back after a failover it is too late to say so; but the
     * keeper's backup matters more. */
    if (w->job->cancel_fd >= 0 && virt_can_move(w->dom, err) < 0) {
        return -1;
    }
    if (choose_policy(w, &stored, host, arbiter, err) < 0) {
        return -1;
    }

    /* The replica is the domain as it runs, and would be backed up here. */
    copy = virt_xml(w->dom, VIR_DOMAIN_XML_MIGRATABLE | VIR_DOMAIN_XML_SECURE,
                    err);
    if (!copy) {
        return -1;
    }
    stored = w->policy;
    snprintf(stored.backup, sizeof(stored.backup), "%s", o->host_name);
    dom_set_protection(copy, &stored);
    dom_to_replica(copy);
    w->replica = dom_print(copy);
    dom_free(copy);
    return 0;
}

/* Wait until the agent has found its QEMU. */
static int wait_greeted(struct work *w, struct agent_report *status,
                        struct ft_err *err)
{
    const char *name = w->facts.name;

    for (int waited = 0;; waited += 100) {
        if (agent_client_status(w->ctl, w->facts.uuid, status, err) < 0) {
            return ft_err_prefix(err, "domain %s", name);
        }
        if (*status->qemu) {
            return 0;
        }
        if (waited >= GREET_MS) {
            return ft_err_set(err, ETIMEDOUT,
                              "domain %s: its QEMU does not "
                              "answer on the vmlink: was it started by "
                              "another lockstep's emulator? Shut it down and "
                              "start it again",
                              name);
        }
        if (job_sleep(w->job, 100, err) < 0) {
            return -1;
        }
    }
}

static uint64_t higher(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The agent, its QEMU, and the next generation's number. */
static int look_at_agent(struct work *w, struct ft_err *err)
{
    const char *uuid = w->facts.uuid, *name = w->facts.name;
    char owner[CTL_NAME];
    struct agent_report status;
    struct vm_info known;
    uint64_t recorded = 0;

    if (agent_client_ensure(w->ctl, uuid, err) < 0) {
        return -1;
    }
    keeper_start(w->ctl, w->vm);
    if (wait_greeted(w, &status, err) < 0) {
        return -1;
    }
    if (agent_report_is_bound(&status)) {
        return ft_err_set(err, EBUSY,
                          "domain %s: it is already %s%s%s: "
                          "'lockstep unprotect %s' ends that",
                          name, ft_pair_state_name(status.state),
                          *status.peer ? ", with " : "", status.peer, name);
    }
    snprintf(w->qemu, sizeof(w->qemu), "%s", status.qemu);
    if (arbiter_id(w->policy.arbiter, w->arbiter, sizeof(w->arbiter), err) <
            0 ||
        arbiter_record(w->policy.arbiter, uuid, &recorded, owner, err) < 0) {
        return -1;
    }
    /* Above all that was ever used, by a clone that failed too. */
    vm_get(w->vm, &known);
    w->generation = 1 + higher(higher(status.generation, status.tried),
                               higher(recorded, known.generation));
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
    if (!w->proof) {
        abort();
    }
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
        json_array_append_new(files,
                              json_pack("{s:s,s:s,s:b,s:I,s:I,s:s,s:s}",
                                        "role", f->file[i].role, "path",
                                        f->file[i].path, "disk",
                                        f->file[i].disk, "inode",
                                        (json_int_t)inode, "size",
                                        (json_int_t)size, "proof", p->file,
                                        "nonce", p->nonce));
    }
    w->proofs = f->files + 1;
    if (proof_write(arbiter_folder(w->policy.arbiter), true, host,
                    &w->proof[f->files], &e) < 0) {
        ft_err_set(err, e.code, "arbiter %s: %s", w->policy.arbiter, e.text);
        goto fail;
    }
    for (size_t i = 0; i < f->networks; i++) {
        json_array_append_new(networks, json_string(f->network[i]));
    }
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:s,s:s,s:s,s:s,"
                     "s:o,s:o}",
                     "do", "check", "uuid", f->uuid, "name", f->name, "host",
                     host, "qemu", w->qemu, "cpu", f->cpu, "machine",
                     f->machine, "arch", f->arch, "memory_kib",
                     (json_int_t)f->memory_kib, "arbiter", w->policy.arbiter,
                     "arbiter_id", w->arbiter, "arbiter_proof",
                     w->proof[f->files].file, "arbiter_nonce",
                     w->proof[f->files].nonce, "files", files, "networks",
                     networks);
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

        if (i < f->files && !f->file[i].disk) {
            continue;
        }
        snprintf(p.file, sizeof(p.file), "%s", ft_json_text(o, "proof"));
        snprintf(p.nonce, sizeof(p.nonce), "%s", ft_json_text(o, "nonce"));
        if (strlen(p.nonce) == 32 && proof_read(&p, &e) == 0) {
            continue;
        }
        return ft_err_set(err, ENOENT,
                          "domain %s: %s: what %s wrote beside "
                          "it is not seen here: both hosts must mount the "
                          "same storage at the same place",
                          f->name, i < f->files ? f->file[i].role : "arbiter",
                          host);
    }
    return 0;
}

static int check_other_host(struct work *w, struct ft_err *err)
{
    json_t *request = describe(w, err), *reply;
    int rc;

    if (!request) {
        return -1;
    }
    if (control_call(w->peer, request, &reply, CHECK_S, err) < 0) {
        return -1;
    }
    rc = read_theirs(w, json_object_get(reply, "proofs"), err);
    json_decref(reply);
    for (size_t i = 0; i < w->proofs; i++) {
        proof_remove(&w->proof[i]);
    }
    return rc;
}

/* ---- start and clone ---------------------------------------------------- */

static struct vm_pair pair_of(const struct work *w)
{
    return (struct vm_pair){
        .id = w->pair,
        .peer = w->policy.backup,
        .arbiter = w->policy.arbiter,
        .generation = w->generation,
    };
}

/* What is promised at the end must get onto the disk; what was promised before
 * stands there, and a backup matters more. */
static int save_if_asked(struct work *w, struct ft_err *err)
{
    return registry_save(w->ctl, w->vm, err) < 0 && w->job->cancel_fd >= 0
             ? -1
             : 0;
}

/* Before QEMU records: one that loses its agent then waits for another, which
 * is started for a host that has a part in a pair only. */
static int begin_pair(struct work *w, struct ft_err *err)
{
    const struct vm_pair pair = pair_of(w);

    vm_begin_pair(w->vm, &pair, &w->was);
    return save_if_asked(w, err) < 0 ? -1
                                     : autostart_take(w->ctl, w->vm, err);
}

/* libvirt gives the images of a domain that has ended to root, and on the host
 * that we come from it may have been slower than the failover. The replica's
 * leaves their owners alone: make it again the user of our QEMU, who is the one
 * that made the vmlink's socket. Where root may not (NFS with root_squash) its
 * libvirt could not either. */
static void lend_images(const struct work *w)
{
    const struct dom_facts *f = &w->facts;
    char path[FT_PATH_TEXT];
    struct stat qemu, image;

    snprintf(path, sizeof(path), "%s/vm/%s/vmlink.sock",
             w->ctl->options.paths_run, f->uuid);
    if (lstat(path, &qemu) < 0 || qemu.st_uid == 0) {
        return;
    }
    for (size_t i = 0; i < f->files; i++) {
        const struct dom_file *file = &f->file[i];

        if (!file->disk || stat(file->path, &image) < 0 ||
            image.st_uid != 0 || image.st_gid != 0) {
            continue;
        }
        if (chown(file->path, qemu.st_uid, qemu.st_gid) < 0) {
            ft_warning("domain %s: %s: %s: its owner stays root: %s", f->name,
                       file->role, file->path, strerror(errno));
        }
    }
}

static int start_replica(struct work *w, struct ft_err *err)
{
    struct vm_info i;
    json_t *reply;

    vm_get(w->vm, &i);
    lend_images(w);
    if (control_call(w->peer,
                     json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:s,s:b}", "do",
                               "start", "uuid", w->facts.uuid, "name",
                               w->facts.name, "xml", w->replica, "pair",
                               w->pair, "generation",
                               (json_int_t)w->generation, "arbiter",
                               w->policy.arbiter, "autostart", i.autostart),
                     &reply, START_S, err) < 0) {
        return -1;
    }
    json_decref(reply);
    return 0;
}

/* What cannot be taken along is said to who asks; a backup matters more. */
static int carry(struct work *w, struct ft_err *err)
{
    return carry_definition(w->ctl, w->vm, w->peer, err) < 0 &&
                   w->job->cancel_fd >= 0
             ? ft_err_prefix(err, "domain %s: its stored definition",
                             w->facts.name)
             : 0;
}

/* A clone that is under way. */
struct clone {
    struct ft_json_reader lines; /* of the agent */
    bool begun;                  /* the agent has said so */
    uint64_t sent;
    ft_ns moved;    /* when `sent` changed */
    ft_ns alive_at; /* when the other lockstepd is told again that we are */
    bool deaf;      /* ... it does not answer any more */
};

static int order_clone(struct work *w, int fd, struct ft_err *err)
{
    json_t *command =
        json_pack("{s:s,s:s,s:I,s:{s:s,s:s,s:I},s:s,s:I}", "do", "protect",
                  "pair", w->pair, "generation", (json_int_t)w->generation,
                  "peer", "host", w->policy.backup, "address",
                  control_address(w->peer), "port",
                  (json_int_t)w->ctl->options.host_port, "arbiter",
                  w->policy.arbiter, "downtime_ms",
                  (json_int_t)w->ctl->options.protect_downtime_ms);
    int rc = ft_json_client_send(fd, command, err);

    json_decref(command);
    return rc;
}

static void show_clone(struct work *w, const struct agent_report *status)
{
    char text[sizeof(w->shown)];
    double sent = (double)status->sent, left = (double)status->remaining;
    int percent = sent + left > 0 ? (int)(100 * sent / (sent + left)) : -1;

    snprintf(text, sizeof(text),
             "copying the guest to %s: %.0f MiB sent, "
             "%.0f MiB left",
             w->policy.backup, sent / 1048576, left / 1048576);
    if (!strcmp(text, w->shown)) {
        return;
    }
    memcpy(w->shown, text, sizeof(text));
    job_progress(w->job, "clone", percent, "%s", text);
}

/* What the agent says of it. 1: protected, 0: not yet, -1: it will not be. */
static int clone_outcome(struct work *w, struct clone *c,
                         const struct agent_report *status,
                         struct ft_err *err)
{
    if (status->sent != c->sent) {
        c->moved = ft_monotonic();
    }
    c->sent = status->sent;
    switch (status->state) {
    case FT_PAIR_NONE: /* the command's answer */
        return 0;
    case FT_PAIR_PROTECTED:
        return !strcmp(status->pair, w->pair);
    case FT_PAIR_CLONING:
        show_clone(w, status);
        /* fall through */
    case FT_PAIR_ARBITRATING:
        c->begun = true;
        return 0;
    default:
        if (!c->begun) {
            return 0;
        }
        return ft_err_set(err, EIO, "domain %s: the clone to %s failed: %s",
                          w->facts.name, w->policy.backup,
                          *status->reason
                              ? status->reason
                              : ft_pair_state_name(status->state));
    }
}

/* The agent's next words, or none for a while. Returns as above. */
static int watch_clone(struct work *w, struct clone *c, struct ft_err *err)
{
    struct agent_report status;
    json_t *line;
    int rc = ft_json_reader_next(&c->lines, &line, 200, err);

    if (rc == 0) {
        return ft_err_set(err, ECONNRESET,
                          "domain %s: its agent has ended: "
                          "see %s/agent-%s.log",
                          w->facts.name, w->ctl->options.paths_log,
                          w->facts.uuid);
    }
    if (rc < 0 && err->code != ETIMEDOUT) {
        return -1;
    }
    if (rc < 0) {
        return ft_monotonic() - c->moved < STUCK_MS * FT_NS_PER_MS
                 ? 0
                 : ft_err_set(err, ETIMEDOUT,
                              "domain %s: the clone to %s has not "
                              "moved for %d s",
                              w->facts.name, w->policy.backup,
                              STUCK_MS / 1000);
    }
    if (json_is_false(json_object_get(line, "ok"))) {
        rc = ft_err_set(err, EIO, "domain %s: %s", w->facts.name,
                        ft_json_text(line, "error"));
    } else {
        agent_report_parse(&status, line);
        rc = clone_outcome(w, c, &status, err);
    }
    json_decref(line);
    return rc;
}

/* The other host's lockstepd keeps the domain for us while it hears us. One
 * that does not answer is let alone: the agents go on without it. */
static void say_alive(struct work *w, struct clone *c)
{
    ft_ns now = ft_monotonic();
    struct ft_err err;
    json_t *reply;

    if (c->deaf || now < c->alive_at) {
        return;
    }
    c->alive_at = now + ALIVE;
    if (control_call(w->peer, json_pack("{s:s}", "do", "alive"), &reply,
                     ALIVE_WAIT_S, &err) == 0) {
        json_decref(reply);
    } else {
        c->deaf = true;
    }
}

static int clone_guest(struct work *w, struct ft_err *err)
{
    int fd = agent_client_open(w->ctl, w->facts.uuid, err), rc;
    struct clone c = { .moved = ft_monotonic() };

    if (fd < 0) {
        return -1;
    }
    ft_json_reader_init(&c.lines, fd);
    rc = order_clone(w, fd, err);
    while (rc == 0) {
        if (job_cancelled(w->job) || w->ctl->quit) {
            rc = ft_err_set(err, ECANCELED, "cancelled");
        } else {
            say_alive(w, &c);
            rc = watch_clone(w, &c, err);
        }
    }
    ft_json_reader_done(&c.lines);
    close(fd);
    return rc < 0 ? -1 : 0;
}

/* The clone did not come to its end: tell our agent, and wait until it runs
 * alone again, so that the next try finds it so. */
static void end_clone(struct work *w)
{
    struct agent_report status;

    agent_client_order(w->ctl, w->facts.uuid, "unprotect", NULL);
    for (int i = 0; i < 100; i++) {
        if (agent_client_status(w->ctl, w->facts.uuid, &status, NULL) < 0 ||
            !agent_report_is_bound(&status)) {
            return;
        }
        poll(NULL, 0, 100);
    }
}

static void give_up(struct work *w)
{
    struct ft_err err;

    end_clone(w);
    vm_give_up_pair(w->vm, &w->was);
    if (registry_save(w->ctl, w->vm, &err) < 0) {
        ft_error("%s", err.text);
    }
}

/* The pair is protected: nothing below can change that any more. */
static void commit_pair(struct work *w)
{
    const struct vm_pair pair = pair_of(w);
    struct ft_err err;
    json_t *reply;

    vm_become_primary(w->vm, &pair);
    if (registry_save(w->ctl, w->vm, &err) < 0) {
        ft_error("%s", err.text);
    }
    virt_set_protection(w->ctl->virt, w->facts.uuid, &w->policy);
    if (control_call(w->peer, json_pack("{s:s}", "do", "commit"), &reply, 10,
                     &err) == 0) {
        json_decref(reply);
    } else {
        ft_warning("pair %s: %s: it keeps the replica by itself",
                   w->facts.name, err.text);
    }
}

static void work_clear(struct work *w)
{
    for (size_t i = 0; i < w->proofs; i++) {
        proof_remove(&w->proof[i]);
    }
    free(w->proof);
    free(w->replica);
    control_close(w->peer);
    dom_facts_clear(&w->facts);
    if (w->dom) {
        virDomainFree(w->dom);
    }
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
        vm_begin(w.vm, "protect", 3000, err) < 0) {
        goto out;
    }
    busy = true;
    if (save_if_asked(&w, err) < 0 || look_at_agent(&w, err) < 0) {
        goto out;
    }
    job_progress(job, "reach", -1, "connecting to %s", w.policy.backup);
    w.peer = control_connect(job, w.policy.backup, err);
    if (!w.peer) {
        goto out;
    }
    job_progress(job, "check", -1, "proving that %s sees the same storage",
                 w.policy.backup);
    if (check_other_host(&w, err) < 0) {
        goto out;
    }
    job_progress(job, "start", -1, "starting the replica on %s",
                 w.policy.backup);
    if (begin_pair(&w, err) < 0 || start_replica(&w, err) < 0 ||
        carry(&w, err) < 0 || clone_guest(&w, err) < 0) {
        give_up(&w);
        goto out;
    }
    commit_pair(&w);
    rc = 0;
    snprintf(summary, size,
             "%s is protected: primary %s, backup %s, "
             "generation %llu",
             w.facts.name, job->ctl->options.host_name, w.policy.backup,
             (unsigned long long)w.generation);
    ft_info("pair %s: %s", w.facts.name, summary);
out:
    if (rc < 0 && err->code == ECANCELED && !job->ctl->quit) {
        ft_err_set(err, ECANCELED,
                   "domain %s: cancelled: what was begun is "
                   "taken back, the guest runs on",
                   domain);
    }
    if (rc < 0) {
        ft_info("protect %s: %s", domain, err->text);
    }
    if (busy) {
        vm_end(w.vm);
    }
    work_clear(&w);
    return rc;
}
