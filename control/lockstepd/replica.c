/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replica.c - be the backup's host: the other side of protect.c
 *
 * One thread serves one CONTROL connection. A replica that was started for it
 * goes away again when the connection ends before `commit`, if its agent says
 * that nobody has filled it; else the pair, or the keeper, decides.
 *
 * paper, 3.1; rule 8
 */
#include "control/lockstepd/replica.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/host/id.h"
#include "common/host/json.h"
#include "common/host/log.h"
#include "control/libvirt/virt.h"
#include "control/lockstepd/agent-client.h"
#include "control/lockstepd/arbiter-lookup.h"
#include "control/lockstepd/control-conn.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/keeper.h"
#include "control/lockstepd/proof.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/vm.h"

#define FILES_MAX 64
#define IDLE_S 600 /* a client that says nothing, and holds nothing here */
#define DEAF_S 20  /* ... while the domain waits: it says ALIVE every 5 s */

struct session {
    struct ctl *ctl;
    struct control_conn *peer;
    struct vm *vm;             /* begun, when not NULL */
    char checked[CTL_UUID];    /* what `check` was about */
    char qemu[PROOF_BUILD_ID]; /* of the emulator, primary's and ours */
    bool started, committed;
    struct proof *proof;
    size_t proofs;
};

static const char *host_of(struct session *s)
{
    return s->ctl->options.host_name;
}

/* ---- check -------------------------------------------------------------- */

/* What is left here of an earlier generation must be over. */
static int clear_agent(struct session *s, const char *uuid, const char *name,
                       struct ft_err *err)
{
    struct agent_report status;

    if (!agent_client_alive(s->ctl, uuid)) {
        return 0;
    }
    if (agent_client_status(s->ctl, uuid, &status, err) < 0) {
        poll(NULL, 0, 500); /* it may just be ending */
        return agent_client_alive(s->ctl, uuid)
                 ? ft_err_prefix(err, "domain %s: host %s", name, host_of(s))
                 : 0;
    }
    if (agent_client_order(s->ctl, uuid, "quit", err) < 0) {
        return ft_err_set(err, EBUSY,
                          "domain %s: %s still has a part in an "
                          "earlier pair (%s: %s): it ends when that is "
                          "decided",
                          name, host_of(s), ft_pair_state_name(status.state),
                          status.reason);
    }
    for (int i = 0; i < 100 && agent_client_alive(s->ctl, uuid); i++) {
        poll(NULL, 0, 20);
    }
    return 0;
}

/* Its agent says that nobody has filled this replica. One that does not answer
 * may have the only copy by now. */
static bool is_empty(struct ctl *ctl, const char *uuid)
{
    struct agent_report status;

    return agent_client_status(ctl, uuid, &status, NULL) == 0 &&
           (status.unused || status.state == FT_PAIR_CLONING);
}

/* A replica here that was never protected, from an earlier try of the very host
 * that asks now: whoever began it is gone. */
static void clear_replica(struct session *s, const char *uuid)
{
    struct vm *vm = registry_find(s->ctl, uuid);
    struct vm_info i;

    if (!vm || vm_begin(vm, "tidying up", 3000, NULL) < 0) {
        return;
    }
    vm_get(vm, &i);
    if (i.role == FT_ROLE_BACKUP && !strcmp(i.peer, control_host(s->peer)) &&
        is_empty(s->ctl, uuid)) {
        virt_destroy(s->ctl->virt, uuid);
        for (int n = 0; n < 100 && virt_active(s->ctl->virt, uuid); n++) {
            poll(NULL, 0, 20);
        }
    }
    vm_end(vm);
}

static int check_domain(struct session *s, json_t *q, struct ft_err *err)
{
    const char *uuid = ft_json_text(q, "uuid"),
               *name = ft_json_text(q, "name");
    char other[VIR_UUID_STRING_BUFLEN] = "";
    struct vm_info known = { .generation = 0 };
    virDomainPtr dom;
    struct vm *vm;
    int active;

    active = virt_active(s->ctl->virt, uuid);
    if (active < 0) {
        virDomainPtr d = virt_domain(s->ctl->virt, uuid, err); /* says why */

        if (d) {
            virDomainFree(d);
        }
        return ft_err_prefix(err, "host %s", host_of(s));
    }
    if (active) {
        return ft_err_set(err, EEXIST,
                          "domain %s: it is already %s on %s: "
                          "the same guest must not run twice; end it there",
                          name,
                          virt_state_name(virt_state(s->ctl->virt, uuid)),
                          host_of(s));
    }
    dom = virt_domain(s->ctl->virt, name, NULL);
    if (!dom) {
        return 0;
    }
    virDomainGetUUIDString(dom, other);
    virDomainFree(dom);
    if (strcmp(other, uuid)) {
        return ft_err_set(err, EEXIST,
                          "domain %s: %s has another domain of "
                          "that name (uuid %s): rename one of them",
                          name, host_of(s), other);
    }
    vm = registry_find(s->ctl, uuid);
    if (vm) {
        vm_get(vm, &known);
    }
    if (!known.generation && !known.prepared) {
        return ft_err_set(err, EEXIST,
                          "domain %s: it is also defined on %s: "
                          "a protected domain's definition moves with it; "
                          "'virsh undefine %s' there",
                          name, host_of(s), name);
    }
    return 0;
}

static int same_build(struct session *s, const char *name, const char *theirs,
                      const char *ours, struct ft_err *err)
{
    if (strcmp(theirs, ours)) {
        return ft_err_set(err, EINVAL,
                          "domain %s: emulator: it runs build "
                          "%.60s, but %s has build %.60s: install the same "
                          "lockstep on both hosts, then shut the guest down "
                          "and start it again",
                          name, theirs, host_of(s), ours);
    }
    return 0;
}

static int check_emulator(struct session *s, json_t *q, struct ft_err *err)
{
    const char *emulator = s->ctl->options.paths_emulator;
    struct dom_facts f = {
        .name = (char *)ft_json_text(q, "name"),
        .cpu = (char *)ft_json_text(q, "cpu"),
        .machine = (char *)ft_json_text(q, "machine"),
        .arch = (char *)ft_json_text(q, "arch"),
    };
    char id[PROOF_BUILD_ID];

    if (proof_build_id(emulator, id, err) < 0) {
        return ft_err_prefix(err, "host %s", host_of(s));
    }
    if (same_build(s, f.name, ft_json_text(q, "qemu"), id, err) < 0) {
        return -1;
    }
    snprintf(s->qemu, sizeof(s->qemu), "%s", id);
    return virt_cpu_supported(s->ctl->virt, &f, emulator, err);
}

static int check_memory(struct session *s, json_t *q, struct ft_err *err)
{
    uint64_t need = ft_json_number(q, "memory_kib"), have = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    char line[200];

    while (f && fgets(line, sizeof(line), f)) {
        unsigned long long v;

        if (sscanf(line, "MemAvailable: %llu kB", &v) == 1) {
            have = v;
        }
    }
    if (f) {
        fclose(f);
    }
    if (have && have < need) {
        return ft_err_set(err, ENOMEM,
                          "domain %s: it needs %llu MiB, and %s "
                          "has %llu MiB left: free some memory there",
                          ft_json_text(q, "name"),
                          (unsigned long long)need / 1024, host_of(s),
                          (unsigned long long)have / 1024);
    }
    return 0;
}

/* One file: theirs beside it must be readable here, and the file itself must
 * be the same one. Then write ours. */
static int check_file(struct session *s, json_t *q, json_t *file,
                      struct proof *ours, struct ft_err *err)
{
    const char *path = ft_json_text(file, "path");
    const char *role = ft_json_text(file, "role");
    const char *name = ft_json_text(q, "name"), *from = control_host(s->peer);
    uint64_t inode, size;
    struct proof theirs;
    struct ft_err e;

    if (proof_stat(path, &inode, &size, &e) < 0) {
        return ft_err_set(err, e.code,
                          "domain %s: %s: %s cannot open %s: "
                          "mount the storage there at the same place",
                          name, role, host_of(s), e.text);
    }
    if (!json_is_true(json_object_get(file, "disk"))) {
        if (size == ft_json_number(file, "size")) {
            return 0;
        }
        return ft_err_set(err, EINVAL,
                          "domain %s: %s: %s is another file on "
                          "%s (%llu bytes, not %llu): copy it",
                          name, role, path, host_of(s),
                          (unsigned long long)size,
                          (unsigned long long)ft_json_number(file, "size"));
    }
    snprintf(theirs.file, sizeof(theirs.file), "%s",
             ft_json_text(file, "proof"));
    snprintf(theirs.nonce, sizeof(theirs.nonce), "%s",
             ft_json_text(file, "nonce"));
    if (strlen(theirs.nonce) != 32 || proof_read(&theirs, &e) < 0) {
        return ft_err_set(err, ENOENT,
                          "domain %s: %s: what %s wrote beside "
                          "%s is not seen on %s: the paths are equal, the "
                          "storage is not: mount the same storage on both "
                          "hosts",
                          name, role, from, path, host_of(s));
    }
    if (inode != ft_json_number(file, "inode") ||
        size < ft_json_number(file, "size")) {
        return ft_err_set(err, EINVAL,
                          "domain %s: %s: %s is not the same "
                          "file on %s (inode %llu, %llu bytes; there %llu, "
                          "%llu): mount the same storage on both hosts",
                          name, role, path, host_of(s),
                          (unsigned long long)inode, (unsigned long long)size,
                          (unsigned long long)ft_json_number(file, "inode"),
                          (unsigned long long)ft_json_number(file, "size"));
    }
    if (proof_write(path, false, host_of(s), ours, &e) < 0) {
        return ft_err_set(err, e.code, "domain %s: %s: on %s: %s", name, role,
                          host_of(s), e.text);
    }
    return 0;
}

static int check_arbiter(struct session *s, json_t *q, struct proof *ours,
                         struct ft_err *err)
{
    const char *uri = ft_json_text(q, "arbiter");
    struct proof theirs;
    struct ft_err e;
    char id[64];

    if (arbiter_id(uri, id, sizeof(id), &e) < 0) {
        return ft_err_set(err, e.code, "arbiter: on %s: %s", host_of(s),
                          e.text);
    }
    snprintf(theirs.file, sizeof(theirs.file), "%s",
             ft_json_text(q, "arbiter_proof"));
    snprintf(theirs.nonce, sizeof(theirs.nonce), "%s",
             ft_json_text(q, "arbiter_nonce"));
    if (strcmp(id, ft_json_text(q, "arbiter_id")) ||
        proof_read(&theirs, &e) < 0) {
        return ft_err_set(err, EINVAL,
                          "arbiter %s: %s and %s do not see the "
                          "same one: mount the same storage on both hosts",
                          uri, control_host(s->peer), host_of(s));
    }
    if (proof_write(arbiter_folder(uri), true, host_of(s), ours, &e) < 0) {
        return ft_err_set(err, e.code, "arbiter %s: on %s: %s", uri,
                          host_of(s), e.text);
    }
    return 0;
}

static json_t *do_check(struct session *s, json_t *q, struct ft_err *err)
{
    const char *uuid = ft_json_text(q, "uuid");
    json_t *files = json_object_get(q, "files"), *proofs;
    size_t n = json_array_size(files);
    char address[128];

    if (!ft_uuid_is(uuid) || n > FILES_MAX || s->proof) {
        ft_err_set(err, EINVAL, "request check: malformed");
        return NULL;
    }
    clear_replica(s, uuid);
    if (check_domain(s, q, err) < 0 ||
        clear_agent(s, uuid, ft_json_text(q, "name"), err) < 0 ||
        check_memory(s, q, err) < 0) {
        return NULL;
    }
    if (control_resolve(control_host(s->peer), address, sizeof(address),
                        err) < 0) {
        ft_err_prefix(err, "on %s", host_of(s));
        return NULL;
    }
    s->proofs = n + 1;
    s->proof = calloc(s->proofs, sizeof(*s->proof));
    if (!s->proof) {
        abort();
    }
    for (size_t i = 0; i < n; i++) {
        if (check_file(s, q, json_array_get(files, i), &s->proof[i], err) <
            0) {
            return NULL;
        }
    }
    if (check_arbiter(s, q, &s->proof[n], err) < 0 ||
        check_emulator(s, q, err) < 0 ||
        virt_networks_there(s->ctl->virt, json_object_get(q, "networks"),
                            err) < 0) {
        return NULL;
    }
    snprintf(s->checked, sizeof(s->checked), "%s", uuid);
    proofs = json_array();
    for (size_t i = 0; i < s->proofs; i++) {
        json_array_append_new(proofs, json_pack("{s:s,s:s}", "proof",
                                                s->proof[i].file, "nonce",
                                                s->proof[i].nonce));
    }
    return json_pack("{s:b,s:o}", "ok", 1, "proofs", proofs);
}

/* ---- start -------------------------------------------------------------- */

/* What is to be started must be what was announced and checked, and nothing
 * that could not be protected here: no host devices, no other program. */
static int check_xml(struct session *s, const char *uuid, const char *name,
                     const char *xml, struct ft_err *err)
{
    const struct dom_options o = {
        .emulator = s->ctl->options.paths_emulator,
        .run_dir = s->ctl->options.paths_run,
        .shift = -1,
    };
    xmlDoc *doc = dom_parse(xml, err);
    struct dom_report r = { 0 };
    struct dom_facts f;
    int rc;

    if (!doc) {
        return ft_err_prefix(err, "domain %s: from %s", name,
                             control_host(s->peer));
    }
    rc = dom_facts(doc, &f, err);
    if (rc == 0 && (strcmp(f.uuid, uuid) || strcmp(f.name, name))) {
        rc = ft_err_set(err, EINVAL,
                        "domain %s: %s sent the definition of "
                        "another one (%s, uuid %s): refused",
                        name, control_host(s->peer), f.name, f.uuid);
    }
    if (rc == 0) {
        if (dom_is_prepared(doc, &o, &r) != DOM_PREPARED) {
            dom_report_err(&r, name, err);
            rc = ft_err_prefix(err, "on %s", host_of(s));
        }
        dom_report_clear(&r);
    }
    dom_facts_clear(&f);
    dom_free(doc);
    return rc;
}

static int start_domain(struct session *s, const char *name, const char *xml,
                        struct ft_err *err)
{
    virConnectPtr conn = virt_open(s->ctl->virt, err);
    virDomainPtr dom;

    if (!conn) {
        return ft_err_prefix(err, "host %s", host_of(s));
    }
    dom = virDomainCreateXML(conn, xml, VIR_DOMAIN_START_PAUSED);
    if (!dom) {
        virt_error(err,
                   "domain %s: libvirt on %s cannot start the replica "
                   "with emulator %s",
                   name, host_of(s), s->ctl->options.paths_emulator);
    } else {
        virDomainFree(dom);
    }
    virConnectClose(conn);
    return dom ? 0 : -1;
}

/* The file beside the emulator may be of another one. */
static int check_replica_build(struct session *s, const char *name,
                               struct ft_err *err)
{
    struct agent_report status;

    if (agent_client_status(s->ctl, s->checked, &status, err) < 0) {
        return -1;
    }
    return same_build(s, name, s->qemu, status.qemu, err);
}

static json_t *do_start(struct session *s, json_t *q, struct ft_err *err)
{
    const char *uuid = ft_json_text(q, "uuid"),
               *name = ft_json_text(q, "name");
    const struct vm_pair pair = {
        .id = ft_json_text(q, "pair"),
        .peer = control_host(s->peer),
        .arbiter = ft_json_text(q, "arbiter"),
        .generation = ft_json_number(q, "generation"),
    };
    struct vm *vm;
    char dir[FT_PATH_TEXT];

    if (!s->proof || s->vm || !ft_uuid_is(uuid) || strcmp(uuid, s->checked)) {
        ft_err_set(err, EINVAL, "request start: malformed");
        return NULL;
    }
    vm = registry_vm(s->ctl, uuid, name);
    if (vm_begin(vm, "being made a backup", 3000, err) < 0) {
        return NULL;
    }
    s->vm = vm;
    if (check_domain(s, q, err) < 0 ||
        check_xml(s, uuid, name, ft_json_text(q, "xml"), err) < 0 ||
        clear_agent(s, uuid, name, err) < 0 ||
        registry_run_dir(s->ctl, uuid, dir, sizeof(dir), err) < 0 ||
        virt_undefine(s->ctl->virt, uuid, err) < 0) {
        return NULL;
    }
    registry_carry(s->ctl, vm, NULL, NULL); /* an earlier pair's */
    vm_become_backup(vm, &pair);
    vm_set_autostart(vm, json_is_true(json_object_get(q, "autostart")));
    s->started = true;
    if (registry_save(s->ctl, vm, err) < 0 ||
        start_domain(s, name, ft_json_text(q, "xml"), err) < 0 ||
        agent_client_ensure(s->ctl, uuid, err) < 0) {
        return NULL;
    }
    if (agent_client_request(s->ctl, uuid,
                             json_pack("{s:s,s:s,s:I,s:{s:s},s:s}", "do",
                                       "backup", "pair", pair.id,
                                       "generation",
                                       (json_int_t)pair.generation, "peer",
                                       "host", pair.peer, "arbiter",
                                       pair.arbiter),
                             -1, NULL, 15000, err) < 0) {
        ft_err_prefix(err, "domain %s: on %s", name, host_of(s));
        return NULL;
    }
    if (check_replica_build(s, name, err) < 0) {
        return NULL;
    }
    keeper_start(s->ctl, vm);
    ft_info("pair %s: replica started for %s, generation %llu", name,
            pair.peer, (unsigned long long)pair.generation);
    return json_pack("{s:b}", "ok", 1);
}

/* Its stored definition on the primary's host, now and whenever it is edited. */
static json_t *do_definition(struct session *s, json_t *q, struct ft_err *err)
{
    const char *xml = ft_json_text(q, "xml");
    struct vm *vm = registry_find(s->ctl, ft_json_text(q, "uuid"));
    struct vm_info i = { .role = FT_ROLE_NONE };

    if (vm) {
        vm_get(vm, &i);
    }
    if (i.role != FT_ROLE_BACKUP || strcmp(i.peer, control_host(s->peer))) {
        ft_err_set(err, EINVAL,
                   "request definition: this host has no replica of %s",
                   control_host(s->peer));
        return NULL;
    }
    if (check_xml(s, i.uuid, i.name, xml, err) < 0 ||
        registry_carry(s->ctl, vm, xml, err) < 0) {
        return NULL;
    }
    return json_pack("{s:b}", "ok", 1);
}

static json_t *do_commit(struct session *s, struct ft_err *err)
{
    if (!s->started) {
        ft_err_set(err, EINVAL, "request commit: nothing was started");
        return NULL;
    }
    s->committed = true;
    return json_pack("{s:b}", "ok", 1);
}

static void end_session(struct session *s)
{
    struct vm_info vm;

    for (size_t i = 0; i < s->proofs; i++) {
        proof_remove(&s->proof[i]);
    }
    free(s->proof);
    if (!s->vm) {
        return;
    }
    vm_get(s->vm, &vm);
    if (s->started && !s->committed) {
        if (is_empty(s->ctl, vm.uuid)) {
            virt_destroy(s->ctl->virt, vm.uuid);
            vm_note(s->vm, "the clone from %s was given up", vm.peer);
        } else {
            ft_info("pair %s: %s left before it said that the pair is made: "
                    "its keeper ends it, or keeps it",
                    vm.name, vm.peer);
        }
        keeper_start(s->ctl, s->vm);
    }
    vm_end(s->vm);
}

/* That host is there again: no need to wait for the next try. */
static json_t *do_hello(struct session *s)
{
    struct vm_info i;

    for (struct vm *vm = registry_first(s->ctl); vm; vm = vm_next(vm)) {
        vm_get(vm, &i);
        if (!strcmp(i.peer, control_host(s->peer))) {
            vm_poke(vm);
        }
    }
    return json_pack("{s:b,s:s}", "ok", 1, "version", PACKAGE_VERSION);
}

static json_t *answer(struct session *s, json_t *q, struct ft_err *err)
{
    const char *what = ft_json_text(q, "do");

    if (!strcmp(what, "hello")) {
        return do_hello(s);
    }
    if (!strcmp(what, "check")) {
        return do_check(s, q, err);
    }
    if (!strcmp(what, "start")) {
        return do_start(s, q, err);
    }
    if (!strcmp(what, "definition")) {
        return do_definition(s, q, err);
    }
    if (!strcmp(what, "commit")) {
        return do_commit(s, err);
    }
    if (!strcmp(what, "alive")) { /* the clone is under way */
        return json_pack("{s:b}", "ok", 1);
    }
    ft_err_set(err, EINVAL,
               "request '%s' is not known: install the same "
               "lockstep on both hosts",
               what);
    return NULL;
}

void *replica_thread(void *arg)
{
    static struct ft_few refused;
    struct incoming *in = arg;
    struct session s = { .ctl = in->ctl };
    struct ft_err err = { 0 };
    json_t *q;

    s.peer = control_accept(s.ctl, in->fd, &err);
    if (!s.peer) {
        ft_warning_few(&refused, "control connection: %s", err.text);
        goto out;
    }
    while (control_next(s.peer, &q, s.vm ? DEAF_S : IDLE_S, &err) == 1) {
        json_t *reply = answer(&s, q, &err);

        if (!reply) {
            ft_info("host %s: request %s refused: %s", control_host(s.peer),
                    ft_json_text(q, "do"), err.text);
            reply = json_pack("{s:b,s:s}", "ok", 0, "error", err.text);
        }
        json_decref(q);
        if (control_reply(s.peer, reply, &err) < 0) {
            break;
        }
    }
    end_session(&s);
    control_close(s.peer);
out:
    thread_end(&in->ctl->connections);
    free(in);
    return NULL;
}
