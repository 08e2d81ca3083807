/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * commands.c - one thread per lockstep command on lockstepd.sock
 *
 * A client sends one object, {"do":"protect","domain":...}, and gets lines:
 * {"line":TEXT} and {"progress":{...}} while it lasts, at the end
 * {"ok":true,...} or {"ok":false,"error":TEXT}. A client that hangs up
 * cancels its command.
 */
#include "control/lockstepd/commands.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/host/json.h"
#include "common/host/log.h"
#include "control/libvirt/virt.h"
#include "control/lockstepd/agent-client.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/job.h"
#include "control/lockstepd/protect.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/status.h"
#include "control/lockstepd/unprotect.h"
#include "control/lockstepd/vm.h"

static void send_line(int fd, json_t *o)
{
    if (ft_json_client_send(fd, o, NULL) < 0) {
        shutdown(fd, SHUT_RDWR); /* as if it had hung up */
    }
    json_decref(o);
}

/* A line that is only looked at: it is dropped while its client, which may
 * be stopped, does not read. */
static void send_progress(struct job *job, const char *phase, int percent,
                          const char *text)
{
    struct pollfd p = { .fd = job->cancel_fd, .events = POLLOUT };

    if (poll(&p, 1, 0) != 1) {
        return;
    }
    send_line(job->cancel_fd,
              json_pack("{s:{s:s,s:i,s:s}}", "progress", "phase", phase,
                        "percent", percent, "text", text));
}

/* ---- prepare ------------------------------------------------------------ */

/* Of a refused command the client is told what stands against it, and no
 * more: nothing was changed. */
static void send_report(int fd, const struct dom_report *r, bool done)
{
    static const char *const kind[] = {
        [DOM_CHANGED] = "changed",
        [DOM_RESTORED] = "restored",
        [DOM_REFUSED] = "refused",
    };

    for (size_t i = 0; i < r->n; i++) {
        const struct dom_line *l = &r->line[i];

        if (!done && l->kind != DOM_REFUSED) {
            continue;
        }
        send_line(fd, json_pack("{s:s,s:s,s:s,s:s*}", "line", kind[l->kind],
                                "object", l->object, "text", l->text,
                                "action", l->action));
    }
}

static int may_be_changed(struct ctl *ctl, virDomainPtr dom,
                          const struct vm_info *vm, bool undo,
                          struct ft_err *err)
{
    if (undo && vm->role != FT_ROLE_NONE) {
        return ft_err_set(err, EBUSY,
                          "domain %s: it is part of a pair (%s): "
                          "'lockstep unprotect %s' first",
                          vm->name, ft_role_name(vm->role), vm->name);
    }
    if (virDomainIsPersistent(dom) != 1) {
        return ft_err_set(err, EINVAL,
                          "domain %s: it is transient: libvirt "
                          "keeps no definition that could be prepared: "
                          "'virsh define' it",
                          vm->name);
    }
    if (!undo && access(ctl->options.paths_emulator, X_OK) < 0) {
        return ft_err_sys(err, errno,
                          "program %s: the patched emulator is "
                          "not there ([paths] emulator= in lockstepd.conf)",
                          ctl->options.paths_emulator);
    }
    return 0;
}

static int save_prepared(struct ctl *ctl, struct vm *vm, bool prepared,
                         struct ft_err *err)
{
    vm_set_prepared(vm, prepared);
    return registry_save(ctl, vm, err);
}

static int redefine(struct ctl *ctl, virDomainPtr dom, struct vm *vm,
                    xmlDoc *doc, bool undo, struct ft_err *err)
{
    virConnectPtr conn = virDomainGetConnect(dom);
    struct vm_info was;
    struct dom_facts f;
    char dir[FT_PATH_TEXT];
    int rc;

    vm_get(vm, &was);
    if (undo) {
        if (virt_define(conn, doc, err) < 0) {
            return ft_err_prefix(err, "domain %s", was.name);
        }
        registry_forget(ctl, vm);
        return 0;
    }
    if (dom_facts(doc, &f, err) < 0) {
        return -1;
    }
    rc = virt_cpu_supported(ctl->virt, &f, ctl->options.paths_emulator, err);
    dom_facts_clear(&f);
    /* What may fail for want of room comes before the definition changes. */
    if (rc < 0 ||
        registry_run_dir(ctl, was.uuid, dir, sizeof(dir), err) < 0 ||
        save_prepared(ctl, vm, true, err) < 0) {
        return -1;
    }
    if (virt_define(conn, doc, err) == 0) {
        return 0;
    }
    ft_err_prefix(err, "domain %s", was.name);
    save_prepared(ctl, vm, was.prepared, NULL);
    return -1;
}

static int prepare(struct ctl *ctl, int fd, json_t *q, virDomainPtr dom,
                   struct vm *vm, char *summary, size_t size,
                   struct ft_err *err)
{
    json_t *shift = json_object_get(q, "shift");
    bool undo = json_is_true(json_object_get(q, "undo"));
    const char *cpu = ft_json_text(q, "cpu");
    struct dom_options o = {
        .emulator = ctl->options.paths_emulator,
        .run_dir = ctl->options.paths_run,
        .shift = shift ? (int)json_integer_value(shift) : -1,
        .tcg = json_is_true(json_object_get(q, "tcg")),
        .remove = json_is_true(json_object_get(q, "remove")),
        .cpu = *cpu ? cpu : NULL,
    };
    struct dom_report r = { 0 };
    struct vm_info known;
    xmlDoc *doc;
    int n, rc = -1;

    if (o.shift > DOM_SHIFT_MAX) {
        return ft_err_set(err, EINVAL, "--shift %d: it must be from 0 to %d",
                          o.shift, DOM_SHIFT_MAX);
    }
    vm_get(vm, &known);
    if (may_be_changed(ctl, dom, &known, undo, err) < 0) {
        return -1;
    }
    doc = virt_xml(dom, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE, err);
    if (!doc) {
        return -1;
    }
    n = undo ? dom_undo(doc, &r) : dom_prepare(doc, &o, &r);
    if (n < 0) {
        ft_err_set(err, EINVAL,
                   "domain %s: it cannot be protected as it is; "
                   "nothing was changed",
                   known.name);
    } else if (n == 0 && undo) {
        ft_err_set(err, ENOENT, "domain %s: it is not prepared", known.name);
    } else if (redefine(ctl, dom, vm, doc, undo, err) == 0) {
        rc = 0;
        snprintf(
            summary, size, "%s %s%s", known.name,
            undo ? "is as it was before it was prepared"
            : n  ? "is prepared"
                 : "is already prepared",
            n && virDomainIsActive(dom) == 1
                ? "; effective at its next start (shut it down, then start "
                  "it: a reboot inside the guest is not enough)"
                : "");
        if (n) {
            ft_info("domain %s: %s", known.name,
                    undo ? "prepare undone" : "prepared");
        }
    }
    send_report(fd, &r, rc == 0);
    dom_report_clear(&r);
    dom_free(doc);
    return rc;
}

static int do_prepare(struct ctl *ctl, int fd, json_t *q, char *summary,
                      size_t size, struct ft_err *err)
{
    virDomainPtr dom = virt_domain(ctl->virt, ft_json_text(q, "domain"), err);
    char uuid[VIR_UUID_STRING_BUFLEN];
    struct vm *vm;
    int rc;

    if (!dom) {
        return -1;
    }
    virDomainGetUUIDString(dom, uuid);
    vm = registry_vm(ctl, uuid, virDomainGetName(dom));
    rc = vm_begin(vm, "prepare", 3000, err);
    if (rc == 0) {
        rc = prepare(ctl, fd, q, dom, vm, summary, size, err);
        vm_end(vm);
    }
    virDomainFree(dom);
    return rc;
}

/* ---- status ------------------------------------------------------------- */

static json_t *do_status(struct ctl *ctl, json_t *q, struct ft_err *err)
{
    const char *which = ft_json_text(q, "domain");
    char uuid[VIR_UUID_STRING_BUFLEN];
    virDomainPtr dom;
    struct vm *vm;
    json_t *list;

    if (!*which) {
        list = status_all(ctl);
    } else {
        vm = registry_find(ctl, which);
        if (!vm) {
            dom = virt_domain(ctl->virt, which, err);
            if (!dom) {
                return NULL;
            }
            virDomainGetUUIDString(dom, uuid);
            vm = registry_vm(ctl, uuid, virDomainGetName(dom));
            virDomainFree(dom);
        }
        list = json_array();
        json_array_append_new(list, status_of(ctl, vm));
    }
    return json_pack("{s:b,s:s,s:o}", "ok", 1, "host", ctl->options.host_name,
                     "domains", list);
}

/* ---- the thread --------------------------------------------------------- */

static json_t *run_command(struct ctl *ctl, int fd, json_t *q,
                           struct ft_err *err)
{
    struct job job = { .ctl = ctl,
                       .cancel_fd = fd,
                       .progress = send_progress };
    const char *what = ft_json_text(q, "do");
    const char *domain = ft_json_text(q, "domain");
    char summary[512] = "";
    int rc;

    if (!strcmp(what, "status")) {
        return do_status(ctl, q, err);
    }
    if (!*domain) {
        ft_err_set(err, EINVAL, "no domain is named");
        return NULL;
    }
    if (!strcmp(what, "prepare")) {
        rc = do_prepare(ctl, fd, q, summary, sizeof(summary), err);
    } else if (!strcmp(what, "protect")) {
        rc = protect_run(&job, domain, ft_json_text(q, "backup"),
                         ft_json_text(q, "arbiter"), summary, sizeof(summary),
                         err);
    } else if (!strcmp(what, "unprotect")) {
        rc = unprotect_run(&job, domain, summary, sizeof(summary), err);
    } else {
        rc = ft_err_set(err, EINVAL,
                        "command '%s' is not known to this "
                        "lockstepd",
                        what);
    }
    return rc < 0 ? NULL
                  : json_pack("{s:b,s:s}", "ok", 1, "summary", summary);
}

void *commands_thread(void *arg)
{
    struct incoming *in = arg;
    struct ft_json_reader r;
    struct ft_err err = { 0 };
    json_t *q = NULL, *reply;

    ft_json_reader_init(&r, in->fd);
    if (ft_json_reader_next(&r, &q, 5000, &err) == 1) {
        reply = run_command(in->ctl, in->fd, q, &err);
        if (!reply) {
            reply = json_pack("{s:b,s:s}", "ok", 0, "error", err.text);
        }
        if (!reply) {
            reply = json_pack("{s:b,s:s}", "ok", 0, "error",
                              "it failed for a reason that is not text");
        }
        send_line(in->fd, reply);
        json_decref(q);
    }
    ft_json_reader_done(&r);
    close(in->fd);
    thread_end(&in->ctl->commands);
    free(in);
    return NULL;
}
