/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the object, and what the monitors refuse
 *
 * What an operator does to a protected guest must go through the log, or the
 * replica would not do it. Reset and power button do; questions need not. All
 * the rest is refused, with a message that says so.
 *
 * paper, 3.3; rule 11
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "qom/object_interfaces.h"
#include "hw/core/cpu.h"
#include "system/runstate.h"
#include "internal.h"

/* ---- the monitors ------------------------------------------------------- */

static bool in_list(const char *name, const char *const *list)
{
    for (; *list; list++) {
        if (g_str_equal(name, *list)) {
            return true;
        }
    }
    return false;
}

static const char *const logged[] = {
    "system_reset", "system_powerdown", NULL
};
static const char *const harmless[] = {
    "qmp_capabilities", "quit", "qom-get", "qom-list", "qom-list-types",
    "qom-list-properties", "device-list-properties", "human-monitor-command",
    "set_password", "expire_password", "change-vnc-password", "add_client",
    "getfd", "closefd", "add-fd", "remove-fd", "screendump",
    "migrate-set-capabilities", "trace-event-set-state",
    /* HMP */
    "q", "info", "help", "?", "print", "p", "log",
    NULL
};
/* They read memory as a device's driver does: reading some registers changes
 * the device, and on one side only. */
static const char *const reading[] = { "x", "xp", NULL };

/* Rule 11: NULL, or why @name may not be used now. */
static const char *refused(const char *name)
{
    bool recording = lockstep_cloning() || lockstep_state() == LOCKSTEP_RECORD;

    if (!recording && lockstep_state() != LOCKSTEP_REPLAY) {
        return NULL;
    }
    if (g_str_has_prefix(name, "query-") ||
        g_str_has_prefix(name, "x-query-") || in_list(name, harmless)) {
        return NULL;
    }
    if (in_list(name, reading)) {
        return "an address may be a device's register, and reading it would "
               "change the device";
    }
    if (recording) {
        return in_list(name, logged) ? NULL :
               "the replica would not do the same";
    }
    return "this is the replica of a guest that runs elsewhere";
}

const char *lockstep_refuses_hmp(const char *line)
{
    g_autofree char *word = NULL;

    line += strspn(line, " \t");
    word = g_strndup(line, strcspn(line, " \t/"));
    return refused(word);
}

bool lockstep_refuses_qmp(const char *name, Error **errp)
{
    const char *why = refused(name);

    if (why) {
        error_setg(errp, "%s: refused while protected by Lockstep: %s",
                   name, why);
    }
    return why != NULL;
}

bool lockstep_hides_events(void)
{
    return lockstep.stream != LOCKSTEP_STREAM_NONE ||
           lockstep_state() == LOCKSTEP_REPLAY;
}

bool lockstep_looks_paused(void)
{
    return lockstep_state() == LOCKSTEP_REPLAY;
}

/* ---- -object lockstep --------------------------------------------------- */

#define TYPE_LOCKSTEP "lockstep"
OBJECT_DECLARE_SIMPLE_TYPE(LockstepObject, LOCKSTEP)

struct LockstepObject {
    Object parent_obj;
    char *path, *trace;
};

static char *get_path(Object *obj, Error **errp)
{
    return g_strdup(LOCKSTEP(obj)->path);
}

static void set_path(Object *obj, const char *value, Error **errp)
{
    g_free(LOCKSTEP(obj)->path);
    LOCKSTEP(obj)->path = g_strdup(value);
}

static char *get_trace(Object *obj, Error **errp)
{
    return g_strdup(LOCKSTEP(obj)->trace);
}

static void set_trace(Object *obj, const char *value, Error **errp)
{
    g_free(LOCKSTEP(obj)->trace);
    LOCKSTEP(obj)->trace = g_strdup(value);
}

static char *get_state(Object *obj, Error **errp)
{
    static const char *const names[] = { "none", "record", "replay" };

    return g_strdup(names[lockstep_state()]);
}

static void get_position(Object *obj, Visitor *v, const char *name,
                         void *opaque, Error **errp)
{
    uint64_t position = lockstep_position();

    visit_type_uint64(v, name, &position, errp);
}

static void lockstep_complete(UserCreatable *uc, Error **errp)
{
    LockstepObject *o = LOCKSTEP(uc);
    static bool one;

    ERRP_GUARD();
    if (!lockstep_enabled()) {
        error_setg(errp, "lockstep must be given on the command line");
        return;
    }
    if (one) {
        error_setg(errp, "there can only be one lockstep object");
        return;
    }
    if (!o->path) {
        error_setg(errp, "'path' of the agent's socket is missing");
        return;
    }
    lockstep_gate_init(o->trace, errp);
    if (*errp) {
        return;
    }
    lockstep_attach_start();
    lockstep_live_init();
    lockstep_link_open(o->path, errp);
    one = true;
}

static bool lockstep_can_be_deleted(UserCreatable *uc)
{
    return false;
}

static void lockstep_finalize(Object *obj)
{
    g_free(LOCKSTEP(obj)->path);
    g_free(LOCKSTEP(obj)->trace);
}

static void lockstep_class_init(ObjectClass *oc, void *data)
{
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(oc);

    ucc->complete = lockstep_complete;
    ucc->can_be_deleted = lockstep_can_be_deleted;
    object_class_property_add_str(oc, "path", get_path, set_path);
    object_class_property_set_description(oc, "path",
        "UNIX socket on which QEMU waits for the VM's agent");
    object_class_property_add_str(oc, "trace", get_trace, set_trace);
    object_class_property_set_description(oc, "trace",
        "File for a line per output that leaves");
    object_class_property_add_str(oc, "state", get_state, NULL);
    object_class_property_add(oc, "position", "uint64", get_position, NULL,
                              NULL, NULL);
}

static const TypeInfo lockstep_info = {
    .name = TYPE_LOCKSTEP,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(LockstepObject),
    .instance_finalize = lockstep_finalize,
    .class_init = lockstep_class_init,
    .interfaces = (InterfaceInfo[]) {
        { TYPE_USER_CREATABLE },
        { }
    },
};

static void register_types(void)
{
    type_register_static(&lockstep_info);
}

type_init(register_types);
