/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virt.h - the local libvirtd, and nothing but the local one
 *
 * A struct virt is the program's one connection, which all threads share; it
 * is opened again when libvirtd was restarted.
 */
#ifndef CONTROL_VIRT_H
#define CONTROL_VIRT_H

#include <jansson.h>
#include <libvirt/libvirt.h>

#include "common/host/err.h"
#include "control/domain/domain.h"

/* Once, and for as long as the program runs; borrows the texts. host: this
 * host's name. NULL: err. The connection is opened when it is needed. */
struct virt *virt_new(const char *uri, const char *host,
                      const char *state_dir, struct ft_err *err);

/* Each call below blocks; never from the loop. */

/* A reference to the connection; virConnectClose() it. NULL: err. */
virConnectPtr virt_open(struct virt *v, struct ft_err *err);
/* By name or uuid. */
virDomainPtr virt_domain(struct virt *v, const char *which,
                         struct ft_err *err);
int virt_error(struct ft_err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))); /* appends libvirt's text: no
                                              argument calls libvirt, which
                                              would take that away */
enum virt_state {
    VIRT_NO_ANSWER, /* of libvirtd */
    VIRT_NOT_THERE, /* libvirtd does not know it */
    VIRT_RUNNING,
    VIRT_PAUSED,
    VIRT_IN_SHUTDOWN,
    VIRT_SHUT_OFF,
    VIRT_UNKNOWN, /* libvirtd does not say */
};
enum virt_state virt_state(struct virt *v, const char *uuid);
const char *virt_state_name(enum virt_state state);
int virt_active(struct virt *v, const char *uuid); /* -1: not known */
xmlDoc *virt_xml(virDomainPtr dom, unsigned flags, struct ft_err *err);
int virt_define(virConnectPtr conn, xmlDoc *doc, struct ft_err *err);
void virt_destroy(struct virt *v, const char *uuid);
/* Define the running domain as `definition` says, or, where that is NULL or
 * libvirt refuses it, as it runs, without -incoming. */
int virt_make_permanent(struct virt *v, const char *uuid,
                        const char *definition,
                        const struct dom_protection *p, struct ft_err *err);
/* What libvirt has stored of it, to be freed. NULL: it is not known, or there
 * is nothing. */
char *virt_definition(struct virt *v, const char *uuid);
/* Nothing that libvirt keeps beside the definition, on this host, stands against
 * virt_undefine(). -1: something does. */
int virt_can_move(virDomainPtr dom, struct ft_err *err);
/* Take out the inactive definition; a copy stays in the state folder. */
int virt_undefine(struct virt *v, const char *uuid, struct ft_err *err);
/* libvirt's flag: 1, 0, or -1 when it is not known. One that is not there, or
 * transient, has none. */
int virt_autostart(struct virt *v, const char *uuid, struct ft_err *err);
int virt_set_autostart(struct virt *v, const char *uuid, bool on,
                       struct ft_err *err);
void virt_set_protection(struct virt *v, const char *uuid,
                         const struct dom_protection *p);
int virt_cpu_supported(struct virt *v, const struct dom_facts *f,
                       const char *emulator, struct ft_err *err);
int virt_networks_there(struct virt *v, json_t *networks, struct ft_err *err);

#endif
