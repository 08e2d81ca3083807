/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virt.h - the local libvirtd, and nothing but the local one */
#ifndef CONTROL_VIRT_H
#define CONTROL_VIRT_H

#include <jansson.h>
#include <libvirt/libvirt.h>

#include "common/host/err.h"
#include "control/domain/domain.h"

struct ctl;

/* Each call blocks; never from the loop. */
int virt_start_events(struct ctl *ctl, struct ft_err *err);
/* A reference to the connection; virConnectClose() it. NULL: err. */
virConnectPtr virt_open(struct ctl *ctl, struct ft_err *err);
/* By name or uuid. */
virDomainPtr virt_domain(struct ctl *ctl, const char *which,
                         struct ft_err *err);
int virt_error(struct ft_err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));   /* appends libvirt's text */
/* "running", "paused", "in shutdown", "shut off", "not there", "unknown" (it
 * does not say), "no answer" (of libvirtd) */
const char *virt_state(struct ctl *ctl, const char *uuid);
int virt_active(struct ctl *ctl, const char *uuid);   /* -1: not known */
xmlDoc *virt_xml(virDomainPtr dom, unsigned flags, struct ft_err *err);
int virt_define(virConnectPtr conn, xmlDoc *doc, struct ft_err *err);
void virt_destroy(struct ctl *ctl, const char *uuid);
/* Define the running domain as it runs, without -incoming. */
int virt_make_permanent(struct ctl *ctl, const char *uuid,
                        const struct dom_protection *p, struct ft_err *err);
/* Take out the inactive definition; a copy stays in the state folder. */
int virt_undefine(struct ctl *ctl, const char *uuid, struct ft_err *err);
void virt_set_protection(struct ctl *ctl, const char *uuid,
                         const struct dom_protection *p);
int virt_cpu_supported(struct ctl *ctl, const struct dom_facts *f,
                       const char *emulator, struct ft_err *err);
int virt_networks_there(struct ctl *ctl, json_t *networks,
                        struct ft_err *err);

#endif
