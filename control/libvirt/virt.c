/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virt.c - the local libvirtd, and nothing but the local one
 *
 * libvirt's calls block, so they are made from the threads of commands and
 * keepers, never from the loop. One connection serves all of them (libvirt
 * allows that); when libvirtd was restarted, the next call opens a new one.
 * How long a call on it may take is bounded by libvirt's keepalive; opening has
 * no bound of its own, so a thread does that and the callers wait for OPEN_S.
 */
#include "control/libvirt/virt.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <net/if.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/host/file.h"
#include "common/host/log.h"
#include "common/host/options.h"

#define OPEN_S 5

struct virt {
    const char *uri;
    const char *host; /* this host's name, for messages */
    const char *state_dir;
    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t opened;
    virConnectPtr conn;
    bool opening;          /* a thread is at it */
    struct timespec until; /* ... and its callers wait until then */
    char why[FT_ERR_TEXT]; /* why the last try failed */
};

int virt_error(struct ft_err *err, const char *fmt, ...)
{
    virErrorPtr last = virGetLastError();
    char text[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return ft_err_set(err, EIO, "%s: %s", text,
                      last && last->message ? last->message
                                            : "libvirt says nothing more");
}

static void quiet(void *arg, virErrorPtr error)
{
    (void)arg, (void)error; /* each caller says it */
}

static void *events_thread(void *arg)
{
    (void)arg;
    for (;;) {
        if (virEventRunDefaultImpl() < 0) {
            sleep(1);
        }
    }
    return NULL;
}

/* Keepalive needs libvirt's own event loop. */
static int start_events(struct ft_err *err)
{
    pthread_t t;

    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0) {
        return virt_error(err, "libvirt: cannot be initialized");
    }
    virSetErrorFunc(NULL, quiet);
    if (pthread_create(&t, NULL, events_thread, NULL)) {
        return ft_err_sys(err, errno, "thread for libvirt");
    }
    pthread_detach(t);
    return 0;
}

struct virt *virt_new(const char *uri, const char *host,
                      const char *state_dir, struct ft_err *err)
{
    struct virt *v;

    if (start_events(err) < 0) {
        return NULL;
    }
    v = calloc(1, sizeof(*v));
    if (!v) {
        abort();
    }
    v->uri = uri;
    v->host = host;
    v->state_dir = state_dir;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->opened, NULL);
    return v;
}

static void *open_thread(void *arg)
{
    struct virt *v = arg;
    virConnectPtr conn = virConnectOpen(v->uri);

    if (conn) {
        virConnectSetKeepAlive(conn, 5, 3);
    }
    pthread_mutex_lock(&v->lock);
    v->conn = conn;
    if (!conn) {
        snprintf(v->why, sizeof(v->why), "%s", virGetLastErrorMessage());
    }
    v->opening = false;
    pthread_cond_broadcast(&v->opened);
    pthread_mutex_unlock(&v->lock);
    return NULL;
}

/* Under the lock: wait until the thread is through, or has had its time. A
 * thread that hangs stays, and so does the verdict, until libvirtd answers. */
static int wait_opened(struct virt *v, struct ft_err *err)
{
    struct timespec *until = &v->until;
    pthread_t t;
    int rc;

    if (!v->opening) {
        rc = pthread_create(&t, NULL, open_thread, v);
        if (rc) {
            return ft_err_sys(err, rc, "lockstepd: cannot start a thread");
        }
        pthread_detach(t);
        v->opening = true;
        clock_gettime(CLOCK_MONOTONIC, until);
        until->tv_sec += OPEN_S;
    }
    while (v->opening) {
        if (pthread_cond_clockwait(&v->opened, &v->lock, CLOCK_MONOTONIC,
                                   until) == ETIMEDOUT) {
            return ft_err_set(err, ETIMEDOUT,
                              "libvirt %s: it does not "
                              "answer within %d s: libvirtd hangs, or is "
                              "stopped: look at it, or restart it",
                              v->uri, OPEN_S);
        }
    }
    if (!v->conn) {
        return ft_err_set(err, EIO,
                          "libvirt %s: not reached; is libvirtd "
                          "running? (%s)",
                          v->uri, v->why);
    }
    return 0;
}

virConnectPtr virt_open(struct virt *v, struct ft_err *err)
{
    virConnectPtr conn = NULL;

    pthread_mutex_lock(&v->lock);
    if (v->conn && virConnectIsAlive(v->conn) != 1) {
        virConnectClose(v->conn);
        v->conn = NULL;
    }
    if (v->conn || wait_opened(v, err) == 0) {
        conn = v->conn;
        virConnectRef(conn);
    }
    pthread_mutex_unlock(&v->lock);
    return conn;
}

static virDomainPtr lookup(virConnectPtr conn, const char *which)
{
    virDomainPtr dom = virDomainLookupByName(conn, which);

    if (!dom && strlen(which) == VIR_UUID_STRING_BUFLEN - 1) {
        dom = virDomainLookupByUUIDString(conn, which);
    }
    return dom;
}

virDomainPtr virt_domain(struct virt *v, const char *which,
                         struct ft_err *err)
{
    virConnectPtr conn = virt_open(v, err);
    virDomainPtr dom;

    if (!conn) {
        return NULL;
    }
    dom = lookup(conn, which); /* keeps a reference to conn */
    if (!dom) {
        virErrorPtr last = virGetLastError();

        if (last && last->code == VIR_ERR_NO_DOMAIN) {
            ft_err_set(err, ENOENT,
                       "domain %s: libvirt on %s does not know "
                       "it: 'virsh list --all' shows those that it knows",
                       which, v->host);
        } else {
            virt_error(err, "domain %s", which);
        }
    }
    virConnectClose(conn);
    return dom;
}

enum virt_state virt_state(struct virt *v, const char *uuid)
{
    struct ft_err err;
    virDomainPtr dom = virt_domain(v, uuid, &err);
    int state = VIR_DOMAIN_NOSTATE, reason, rc;

    if (!dom) {
        return err.code == ENOENT ? VIRT_NOT_THERE : VIRT_NO_ANSWER;
    }
    rc = virDomainGetState(dom, &state, &reason, 0);
    virDomainFree(dom);
    if (rc < 0) {
        return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? VIRT_NOT_THERE
                                                          : VIRT_NO_ANSWER;
    }
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        return VIRT_RUNNING;
    case VIR_DOMAIN_PAUSED:
        return VIRT_PAUSED;
    case VIR_DOMAIN_SHUTDOWN:
        return VIRT_IN_SHUTDOWN;
    case VIR_DOMAIN_SHUTOFF:
    case VIR_DOMAIN_CRASHED:
        return VIRT_SHUT_OFF;
    default:
        return VIRT_UNKNOWN;
    }
}

const char *virt_state_name(enum virt_state state)
{
    static const char *const name[] = {
        [VIRT_NO_ANSWER] = "no answer",     [VIRT_NOT_THERE] = "not there",
        [VIRT_RUNNING] = "running",         [VIRT_PAUSED] = "paused",
        [VIRT_IN_SHUTDOWN] = "in shutdown", [VIRT_SHUT_OFF] = "shut off",
        [VIRT_UNKNOWN] = "unknown",
    };

    return name[state];
}

int virt_active(struct virt *v, const char *uuid)
{
    struct ft_err err;
    virDomainPtr dom = virt_domain(v, uuid, &err);
    int active;

    if (!dom) {
        return err.code == ENOENT ? 0 : -1;
    }
    active = virDomainIsActive(dom);
    if (active < 0 && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN) {
        active = 0; /* it was transient, and has just ended */
    }
    virDomainFree(dom);
    return active;
}

xmlDoc *virt_xml(virDomainPtr dom, unsigned flags, struct ft_err *err)
{
    const char *name = virDomainGetName(dom);
    char *text = virDomainGetXMLDesc(dom, flags);
    xmlDoc *doc;

    if (!text) {
        virt_error(err, "domain %s: cannot read its XML", name);
        return NULL;
    }
    doc = dom_parse(text, err);
    free(text);
    return doc;
}

int virt_define(virConnectPtr conn, xmlDoc *doc, struct ft_err *err)
{
    char *text = dom_print(doc);
    virDomainPtr dom = virDomainDefineXML(conn, text);

    free(text);
    if (!dom) {
        return virt_error(err, "libvirt refuses the definition");
    }
    virDomainFree(dom);
    return 0;
}

void virt_destroy(struct virt *v, const char *uuid)
{
    virDomainPtr dom = virt_domain(v, uuid, NULL);

    if (!dom) {
        return;
    }
    if (virDomainIsActive(dom) == 1) {
        ft_info("domain %s: its replica is removed", virDomainGetName(dom));
        virDomainDestroy(dom);
    }
    virDomainFree(dom);
}

char *virt_definition(struct virt *v, const char *uuid)
{
    virDomainPtr dom = virt_domain(v, uuid, NULL);
    char *text = NULL;

    if (!dom) {
        return NULL;
    }
    if (virDomainIsPersistent(dom) == 1) {
        text = virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_INACTIVE |
                                            VIR_DOMAIN_XML_SECURE);
    }
    virDomainFree(dom);
    return text;
}

static int define_with(virDomainPtr dom, xmlDoc *doc,
                       const struct dom_protection *p, struct ft_err *err)
{
    int rc = -1;

    if (doc) {
        dom_set_protection(doc, p);
        rc = virt_define(virDomainGetConnect(dom), doc, err);
        dom_free(doc);
    }
    return rc;
}

static int define_as_it_runs(virDomainPtr dom, const struct dom_protection *p,
                             struct ft_err *err)
{
    xmlDoc *doc = virt_xml(dom,
                           VIR_DOMAIN_XML_MIGRATABLE | VIR_DOMAIN_XML_SECURE,
                           err);

    if (doc) {
        dom_to_definition(doc);
    }
    return define_with(dom, doc, p, err);
}

int virt_make_permanent(struct virt *v, const char *uuid,
                        const char *definition,
                        const struct dom_protection *p, struct ft_err *err)
{
    virDomainPtr dom = virt_domain(v, uuid, err);
    int rc = -1;

    if (!dom) {
        return -1;
    }
    if (definition) {
        rc = define_with(dom, dom_parse(definition, err), p, err);
        if (rc < 0) {
            ft_warning("domain %s: it is stored as it runs, not as it was to "
                       "be at its next start: %s",
                       virDomainGetName(dom), err->text);
        }
    }
    if (rc < 0) {
        rc = define_as_it_runs(dom, p, err);
    }
    if (rc < 0) {
        ft_err_prefix(err, "domain %s", virDomainGetName(dom));
    }
    virDomainFree(dom);
    return rc;
}

/* On the disk, before libvirt forgets it. */
static int keep_definition(struct virt *v, virDomainPtr dom, const char *uuid,
                           struct ft_err *err)
{
    char *text = virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_INACTIVE |
                                              VIR_DOMAIN_XML_SECURE);
    char path[FT_PATH_TEXT];
    int rc;

    if (!text) {
        return virt_error(err, "domain %s: its definition", uuid);
    }
    snprintf(path, sizeof(path), "%s/vm/%s.xml", v->state_dir, uuid);
    rc = ft_file_replace(path, text, 0640, err);
    free(text);
    return rc;
}

int virt_undefine(struct virt *v, const char *uuid, struct ft_err *err)
{
    virDomainPtr dom = virt_domain(v, uuid, NULL);
    const char *name = dom ? virDomainGetName(dom) : "";
    int rc = 0;

    if (!dom) {
        return 0;
    }
    if (virDomainIsActive(dom) == 1) {
        rc = ft_err_set(err, EBUSY, "domain %s: it is active on %s", name,
                        v->host);
    } else if (keep_definition(v, dom, uuid, err) < 0) {
        rc = -1;
    } else if (virDomainUndefine(dom) < 0) {
        rc = virt_error(err,
                        "domain %s: its old definition on %s cannot be "
                        "removed",
                        name, v->host);
    } else {
        ft_info("domain %s: its old definition here is removed, a copy is "
                "%s/vm/%s.xml",
                name, v->state_dir, uuid);
    }
    virDomainFree(dom);
    return rc;
}

int virt_can_move(virDomainPtr dom, struct ft_err *err)
{
    const char *name = virDomainGetName(dom);
    int checkpoints = virDomainListAllCheckpoints(dom, NULL, 0),
        snapshots = virDomainSnapshotNum(dom, 0);

    if (checkpoints > 0) {
        return ft_err_set(
            err, EBUSY,
            "domain %s: libvirt has checkpoints of it (%d), with which its "
            "definition could not move to another host: "
            "'virsh checkpoint-delete %s NAME' each of them",
            name, checkpoints, name);
    }
    if (snapshots > 0) {
        return ft_err_set(
            err, EBUSY,
            "domain %s: libvirt has snapshots of it (%d), with which its "
            "definition could not move to another host: "
            "'virsh snapshot-delete %s NAME' each of them",
            name, snapshots, name);
    }
    if (virDomainHasManagedSaveImage(dom, 0) == 1) {
        return ft_err_set(err, EBUSY,
                          "domain %s: it has a managed save, with which its "
                          "definition could not move to another host: "
                          "'virsh managedsave-remove %s'",
                          name, name);
    }
    return 0;
}

/* 1: *dom, which has the flag; 0: it cannot have it; -1: not known. */
static int with_autostart(struct virt *v, const char *uuid, virDomainPtr *dom,
                          struct ft_err *err)
{
    struct ft_err why;
    int persistent;

    *dom = virt_domain(v, uuid, &why);
    if (!*dom) {
        *err = why;
        return why.code == ENOENT ? 0 : -1;
    }
    persistent = virDomainIsPersistent(*dom);
    if (persistent == 1) {
        return 1;
    }
    if (persistent < 0) {
        virt_error(err, "domain %s: is it permanent?", uuid);
    }
    virDomainFree(*dom);
    return persistent;
}

int virt_autostart(struct virt *v, const char *uuid, struct ft_err *err)
{
    virDomainPtr dom;
    int on = 0, rc = with_autostart(v, uuid, &dom, err);

    if (rc == 1) {
        rc = virDomainGetAutostart(dom, &on) < 0
               ? virt_error(err, "domain %s: autostart", uuid)
               : on != 0;
        virDomainFree(dom);
    }
    return rc;
}

int virt_set_autostart(struct virt *v, const char *uuid, bool on,
                       struct ft_err *err)
{
    virDomainPtr dom;
    int rc = with_autostart(v, uuid, &dom, err);

    if (rc == 1) {
        rc = virDomainSetAutostart(dom, on) < 0
               ? virt_error(err, "domain %s: its autostart cannot be set %s",
                            uuid, on ? "again" : "off")
               : 0;
        virDomainFree(dom);
    }
    return rc;
}

void virt_set_protection(struct virt *v, const char *uuid,
                         const struct dom_protection *p)
{
    virDomainPtr dom = virt_domain(v, uuid, NULL);
    char *text = p ? dom_print_protection(p) : NULL;
    const char *name = dom ? virDomainGetName(dom) : "";
    unsigned flags = 0;

    if (!dom) {
        goto out;
    }
    if (virDomainIsActive(dom) == 1) {
        flags |= VIR_DOMAIN_AFFECT_LIVE;
    }
    if (virDomainIsPersistent(dom) == 1) {
        flags |= VIR_DOMAIN_AFFECT_CONFIG;
    }
    if (virDomainSetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, text,
                             "lockstep", DOM_NS_PROTECTION, flags) < 0 &&
        p) {
        ft_warning("domain %s: its settings are not in its metadata: %s",
                   name, virGetLastErrorMessage());
    }
    virDomainFree(dom);
out:
    free(text);
}

static bool model_usable(const char *capabilities, const char *model,
                         bool *known)
{
    xmlDoc *doc = xmlReadMemory(capabilities, (int)strlen(capabilities),
                                "c.xml", NULL, 0);
    xmlNode *cpu = doc ? dom_child(xmlDocGetRootElement(doc), "cpu") : NULL;
    bool usable = false;

    *known = false;
    for (xmlNode *mode = dom_child(cpu, "mode"); mode;
         mode = dom_next(mode)) {
        if (!dom_attr_is(mode, "name", "custom")) {
            continue;
        }
        for (xmlNode *m = dom_child(mode, "model"); m; m = dom_next(m)) {
            if (strcmp(dom_text(m), model)) {
                continue;
            }
            *known = true;
            usable = !dom_attr_is(m, "usable", "no");
        }
    }
    dom_free(doc);
    return usable;
}

int virt_cpu_supported(struct virt *v, const struct dom_facts *f,
                       const char *emulator, struct ft_err *err)
{
    virConnectPtr conn = virt_open(v, err);
    const char *host = v->host;
    char *text;
    bool known, usable;

    if (!conn) {
        return -1;
    }
    text = virConnectGetDomainCapabilities(conn, emulator,
                                           *f->arch ? f->arch : NULL,
                                           *f->machine ? f->machine : NULL,
                                           "qemu", 0);
    virConnectClose(conn);
    if (!text) {
        return virt_error(err,
                          "domain %s: machine %s: %s's emulator %s "
                          "does not offer it",
                          f->name, f->machine, host, emulator);
    }
    usable = model_usable(text, f->cpu, &known);
    free(text);
    if (!usable) {
        return ft_err_set(err, ENOTSUP,
                          "domain %s: cpu: model %s %s on %s: "
                          "choose one that both hosts have ('lockstep "
                          "prepare --cpu MODEL', then start it again)",
                          f->name, f->cpu,
                          known ? "lacks features" : "is not known", host);
    }
    return 0;
}

int virt_networks_there(struct virt *v, json_t *networks, struct ft_err *err)
{
    const char *host = v->host;
    size_t i;
    json_t *one;

    json_array_foreach(networks, i, one)
    {
        const char *text = json_string_value(one);
        virConnectPtr conn;
        virNetworkPtr net;
        int active;

        if (text && !strncmp(text, "bridge ", 7)) {
            if (!if_nametoindex(text + 7)) {
                return ft_err_set(err, ENOENT,
                                  "interface: %s has no %s: "
                                  "make it, so that the guest finds its "
                                  "network there",
                                  host, text);
            }
        } else if (text && !strncmp(text, "network ", 8)) {
            conn = virt_open(v, err);
            if (!conn) {
                return -1;
            }
            net = virNetworkLookupByName(conn, text + 8);
            active = net ? virNetworkIsActive(net) : 0;
            if (net) {
                virNetworkFree(net);
            }
            virConnectClose(conn);
            if (active != 1) {
                return ft_err_set(err, ENOENT,
                                  "interface: libvirt's %s is "
                                  "not active on %s: 'virsh net-start %s' "
                                  "there",
                                  text, host, text + 8);
            }
        }
    }
    return 0;
}
