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
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/log.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/sizes.h"

#define OPEN_S 5

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
    (void)arg, (void)error;   /* each caller says it himself */
}

static void *events_thread(void *arg)
{
    (void)arg;
    for (;;) {
        if (virEventRunDefaultImpl() < 0)
            sleep(1);
    }
    return NULL;
}

/* Keepalive needs libvirt's own event loop. */
int virt_start_events(struct ctl *ctl, struct ft_err *err)
{
    pthread_t t;

    (void)ctl;
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
        return virt_error(err, "libvirt: cannot be initialized");
    virSetErrorFunc(NULL, quiet);
    if (pthread_create(&t, NULL, events_thread, NULL))
        return ft_err_sys(err, errno, "thread for libvirt");
    pthread_detach(t);
    return 0;
}

static void *open_thread(void *arg)
{
    struct ctl *ctl = arg;
    virConnectPtr conn = virConnectOpen(ctl->options.libvirt_uri);

    if (conn)
        virConnectSetKeepAlive(conn, 5, 3);
    pthread_mutex_lock(&ctl->virt_lock);
    ctl->conn = conn;
    if (!conn)
        snprintf(ctl->virt_why, sizeof(ctl->virt_why), "%s",
                 virGetLastErrorMessage());
    ctl->virt_opening = false;
    pthread_cond_broadcast(&ctl->virt_opened);
    pthread_mutex_unlock(&ctl->virt_lock);
    thread_end(&ctl->background);
    return NULL;
}

/* Under virt_lock: wait until the thread is through, or has had its time. A
 * thread that hangs stays, and so does the verdict, until libvirtd answers. */
static int wait_opened(struct ctl *ctl, struct ft_err *err)
{
    struct timespec *until = &ctl->virt_until;

    if (!ctl->virt_opening) {
        if (thread_start(&ctl->background, open_thread, ctl, err) < 0)
            return -1;
        ctl->virt_opening = true;
        clock_gettime(CLOCK_MONOTONIC, until);
        until->tv_sec += OPEN_S;
    }
    while (ctl->virt_opening) {
        if (pthread_cond_clockwait(&ctl->virt_opened, &ctl->virt_lock,
                                   CLOCK_MONOTONIC, until) == ETIMEDOUT)
            return ft_err_set(err, ETIMEDOUT, "libvirt %s: it does not "
                              "answer within %d s: libvirtd hangs, or is "
                              "stopped: look at it, or restart it",
                              ctl->options.libvirt_uri, OPEN_S);
    }
    if (!ctl->conn)
        return ft_err_set(err, EIO, "libvirt %s: not reached; is libvirtd "
                          "running? (%s)", ctl->options.libvirt_uri,
                          ctl->virt_why);
    return 0;
}

virConnectPtr virt_open(struct ctl *ctl, struct ft_err *err)
{
    virConnectPtr conn = NULL;

    pthread_mutex_lock(&ctl->virt_lock);
    if (ctl->conn && virConnectIsAlive(ctl->conn) != 1) {
        virConnectClose(ctl->conn);
        ctl->conn = NULL;
    }
    if (ctl->conn || wait_opened(ctl, err) == 0) {
        conn = ctl->conn;
        virConnectRef(conn);
    }
    pthread_mutex_unlock(&ctl->virt_lock);
    return conn;
}

static virDomainPtr lookup(virConnectPtr conn, const char *which)
{
    virDomainPtr dom = virDomainLookupByName(conn, which);

    if (!dom && strlen(which) == CTL_UUID - 1)
        dom = virDomainLookupByUUIDString(conn, which);
    return dom;
}

virDomainPtr virt_domain(struct ctl *ctl, const char *which,
                         struct ft_err *err)
{
    virConnectPtr conn = virt_open(ctl, err);
    virDomainPtr dom;

    if (!conn)
        return NULL;
    dom = lookup(conn, which);   /* keeps a reference to conn */
    if (!dom) {
        virErrorPtr last = virGetLastError();

        if (last && last->code == VIR_ERR_NO_DOMAIN)
            ft_err_set(err, ENOENT, "domain %s: libvirt on %s does not know "
                       "it: 'virsh list --all' shows those that it knows",
                       which, ctl->options.host_name);
        else
            virt_error(err, "domain %s", which);
    }
    virConnectClose(conn);
    return dom;
}

const char *virt_state(struct ctl *ctl, const char *uuid)
{
    struct ft_err err;
    virDomainPtr dom = virt_domain(ctl, uuid, &err);
    int state = VIR_DOMAIN_NOSTATE, reason, rc;

    if (!dom)
        return err.code == ENOENT ? "not there" : "no answer";
    rc = virDomainGetState(dom, &state, &reason, 0);
    virDomainFree(dom);
    if (rc < 0)
        return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? "not there"
                                                          : "no answer";
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        return "running";
    case VIR_DOMAIN_PAUSED:
        return "paused";
    case VIR_DOMAIN_SHUTDOWN:
        return "in shutdown";
    case VIR_DOMAIN_SHUTOFF:
    case VIR_DOMAIN_CRASHED:
        return "shut off";
    default:
        return "unknown";
    }
}

int virt_active(struct ctl *ctl, const char *uuid)
{
    struct ft_err err;
    virDomainPtr dom = virt_domain(ctl, uuid, &err);
    int active;

    if (!dom)
        return err.code == ENOENT ? 0 : -1;
    active = virDomainIsActive(dom);
    if (active < 0 && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
        active = 0;   /* it was transient, and has just ended */
    virDomainFree(dom);
    return active;
}

xmlDoc *virt_xml(virDomainPtr dom, unsigned flags, struct ft_err *err)
{
    char *text = virDomainGetXMLDesc(dom, flags);
    xmlDoc *doc;

    if (!text) {
        virt_error(err, "domain %s: cannot read its XML",
                   virDomainGetName(dom));
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
    if (!dom)
        return virt_error(err, "libvirt refuses the definition");
    virDomainFree(dom);
    return 0;
}

void virt_destroy(struct ctl *ctl, const char *uuid)
{
    virDomainPtr dom = virt_domain(ctl, uuid, NULL);

    if (!dom)
        return;
    if (virDomainIsActive(dom) == 1) {
        ft_info("domain %s: its replica is removed", virDomainGetName(dom));
        virDomainDestroy(dom);
    }
    virDomainFree(dom);
}

int virt_make_permanent(struct ctl *ctl, const char *uuid,
                        const struct dom_protection *p, struct ft_err *err)
{
    virDomainPtr dom = virt_domain(ctl, uuid, err);
    virConnectPtr conn;
    xmlDoc *doc;
    int rc = -1;

    if (!dom)
        return -1;
    conn = virDomainGetConnect(dom);   /* borrowed from dom */
    doc = virt_xml(dom, VIR_DOMAIN_XML_MIGRATABLE | VIR_DOMAIN_XML_SECURE,
                   err);
    if (doc) {
        dom_to_definition(doc);
        if (p)
            dom_set_protection(doc, p);
        rc = virt_define(conn, doc, err);
        if (rc < 0)
            ft_err_prefix(err, "domain %s", virDomainGetName(dom));
        dom_free(doc);
    }
    virDomainFree(dom);
    return rc;
}

static int keep_copy(struct ctl *ctl, virDomainPtr dom, const char *uuid,
                     struct ft_err *err)
{
    char *text = virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_INACTIVE |
                                     VIR_DOMAIN_XML_SECURE);
    char path[600];
    FILE *f;
    int rc;

    if (!text)
        return virt_error(err, "domain %s", virDomainGetName(dom));
    snprintf(path, sizeof(path), "%s/vm/%s.xml", ctl->options.paths_state,
             uuid);
    f = fopen(path, "we");
    rc = f && fputs(text, f) >= 0 ? 0 : -1;
    if (f && fclose(f) != 0)
        rc = -1;
    if (rc < 0)
        ft_err_sys(err, errno, "file %s: cannot write it", path);
    free(text);
    return rc;
}

int virt_undefine(struct ctl *ctl, const char *uuid, struct ft_err *err)
{
    virDomainPtr dom = virt_domain(ctl, uuid, NULL);
    int rc = 0;

    if (!dom)
        return 0;
    if (virDomainIsActive(dom) == 1)
        rc = ft_err_set(err, EBUSY, "domain %s: it is active on %s",
                        virDomainGetName(dom), ctl->options.host_name);
    else if (keep_copy(ctl, dom, uuid, err) < 0)
        rc = -1;
    else if (virDomainUndefine(dom) < 0)
        rc = virt_error(err, "domain %s: its old definition on %s cannot be "
                        "removed", virDomainGetName(dom),
                        ctl->options.host_name);
    else
        ft_info("domain %s: its old definition here is removed, a copy is "
                "%s/vm/%s.xml", virDomainGetName(dom),
                ctl->options.paths_state, uuid);
    virDomainFree(dom);
    return rc;
}

void virt_set_protection(struct ctl *ctl, const char *uuid,
                         const struct dom_protection *p)
{
    virDomainPtr dom = virt_domain(ctl, uuid, NULL);
    char *text = p ? dom_print_protection(p) : NULL;
    unsigned flags = 0;

    if (!dom)
        goto out;
    if (virDomainIsActive(dom) == 1)
        flags |= VIR_DOMAIN_AFFECT_LIVE;
    if (virDomainIsPersistent(dom) == 1)
        flags |= VIR_DOMAIN_AFFECT_CONFIG;
    if (virDomainSetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, text,
                             "lockstep", DOM_NS_PROTECTION, flags) < 0 && p)
        ft_warning("domain %s: its settings are not in its metadata: %s",
                   virDomainGetName(dom), virGetLastErrorMessage());
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
        if (!dom_attr_is(mode, "name", "custom"))
            continue;
        for (xmlNode *m = dom_child(mode, "model"); m; m = dom_next(m)) {
            if (strcmp(dom_text(m), model))
                continue;
            *known = true;
            usable = !dom_attr_is(m, "usable", "no");
        }
    }
    dom_free(doc);
    return usable;
}

int virt_cpu_supported(struct ctl *ctl, const struct dom_facts *f,
                       const char *emulator, struct ft_err *err)
{
    virConnectPtr conn = virt_open(ctl, err);
    const char *host = ctl->options.host_name;
    char *text;
    bool known, usable;

    if (!conn)
        return -1;
    text = virConnectGetDomainCapabilities(conn, emulator,
                                           *f->arch ? f->arch : NULL,
                                           *f->machine ? f->machine : NULL,
                                           "qemu", 0);
    virConnectClose(conn);
    if (!text)
        return virt_error(err, "domain %s: machine %s: %s's emulator %s "
                          "does not offer it", f->name, f->machine, host,
                          emulator);
    usable = model_usable(text, f->cpu, &known);
    free(text);
    if (!usable)
        return ft_err_set(err, ENOTSUP, "domain %s: cpu: model %s %s on %s: "
                          "choose one that both hosts have ('lockstep "
                          "prepare --cpu MODEL', then start it again)",
                          f->name, f->cpu,
                          known ? "lacks features" : "is not known", host);
    return 0;
}

int virt_networks_there(struct ctl *ctl, json_t *networks,
                        struct ft_err *err)
{
    const char *host = ctl->options.host_name;
    size_t i;
    json_t *v;

    json_array_foreach(networks, i, v) {
        const char *text = json_string_value(v);
        virConnectPtr conn;
        virNetworkPtr net;
        int active;

        if (text && !strncmp(text, "bridge ", 7)) {
            if (!if_nametoindex(text + 7))
                return ft_err_set(err, ENOENT, "interface: %s has no %s: "
                                  "make it, so that the guest finds its "
                                  "network there", host, text);
        } else if (text && !strncmp(text, "network ", 8)) {
            conn = virt_open(ctl, err);
            if (!conn)
                return -1;
            net = virNetworkLookupByName(conn, text + 8);
            active = net ? virNetworkIsActive(net) : 0;
            if (net)
                virNetworkFree(net);
            virConnectClose(conn);
            if (active != 1)
                return ft_err_set(err, ENOENT, "interface: libvirt's %s is "
                                  "not active on %s: 'virsh net-start %s' "
                                  "there", text, host, text + 8);
        }
    }
    return 0;
}
