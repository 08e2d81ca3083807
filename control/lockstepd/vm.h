/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm.h - one domain */
#ifndef LOCKSTEPD_VM_H
#define LOCKSTEPD_VM_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/host/err.h"
#include "control/lockstepd/sizes.h"

struct ctl;

enum vm_role { VM_NONE, VM_PRIMARY, VM_BACKUP };

/* One domain. Made once, never freed while lockstepd runs. */
struct vm {
    struct vm *next;
    char uuid[CTL_UUID];
    /* in the file STATE/vm/UUID.json */
    char name[CTL_NAME];
    bool prepared;              /* its definition here is a prepared one */
    bool wanted;                /* the user wants it protected */
    enum vm_role role;          /* this host's, in the last pair */
    char peer[CTL_NAME];        /* the other host of the last pair */
    char arbiter[CTL_URI];
    char pair[33];
    uint64_t generation;        /* of the last pair that was protected */
    bool autostart;             /* libvirt's flag, taken over while protected */
    char last[16];              /* how its last pair ended for this host, where
                                   that is not over yet: a state of
                                   docs/agent.md; else "" */
    char note[FT_ERR_TEXT];     /* why it is not protected */
    /* not in the file */
    bool unsaved;               /* the file could not be written */
    const char *busy;           /* a command that runs now, or NULL */
    bool keeper;                /* its thread runs */
    bool reprotects;            /* its thread runs */
    atomic_bool stop;           /* end of a running protect, please */
    atomic_bool poke;           /* its other host is back: try at once */
    json_t *status;             /* the agent's last words, or NULL */
};

/* Begin a command on it; -1: another one runs, and still after wait_ms. */
int vm_begin(struct ctl *ctl, struct vm *vm, const char *what, int wait_ms,
             struct ft_err *err);
void vm_end(struct ctl *ctl, struct vm *vm);
void vm_note(struct ctl *ctl, struct vm *vm, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
const char *vm_role_name(enum vm_role role);

#endif
