/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * domain-prepare.c - rewrite a definition for protection, and undo it
 *
 * Each step looks for one property, and where it is missing either makes it
 * (and notes what stood there) or, in a dry run over a running domain's XML,
 * reports it.
 */
#include "control/domain/domain.h"

#include <libxml/xpath.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct step {
    xmlDoc *doc;
    xmlNode *root, *devices;
    const struct dom_options *opt;
    struct dom_report *r;
    bool dry;
};

#define AGAIN "shut the guest down and start it again"

/* Something differs from what it should be. Returns true when the step shall
 * change it. */
static bool change(struct step *s, const char *object, const char *what,
                   const char *why)
{
    if (s->dry) {
        dom_say(s->r, DOM_REFUSED, object, AGAIN,
                "the running guest was not started with %s", what);
        return false;
    }
    dom_say(s->r, DOM_CHANGED, object, NULL, "%s: %s", what, why);
    return true;
}

static xmlNode *record(struct step *s, const char *kind, const char *in,
                       const char *name, const char *type)
{
    xmlNode *own = dom_metadata(s->doc, DOM_NS_PREPARED, "prepared", true);
    xmlNode *n;

    for (n = own->children; n; n = n->next) {
        if (dom_is(n, kind) && dom_attr_is(n, "in", in) &&
            dom_attr_is(n, "name", name) && dom_attr_is(n, "type", type)) {
            return NULL; /* the first original is the one to keep */
        }
    }
    n = xmlNewChild(own, own->ns, BAD_CAST kind, NULL);
    xmlSetProp(n, BAD_CAST "in", BAD_CAST in);
    xmlSetProp(n, BAD_CAST "name", BAD_CAST name);
    if (*type) {
        xmlSetProp(n, BAD_CAST "type", BAD_CAST type);
    }
    return n;
}

static void keep_copy(struct step *s, xmlNode *rec, xmlNode *node)
{
    xmlAddChild(rec, xmlDocCopyNode(node, s->doc, 1));
}

/* Note every child `name` (of that type=) of the element at `in`. */
static void record_was(struct step *s, const char *in, const char *name,
                       const char *type)
{
    xmlNode *rec = record(s, "was", in, name, type);
    xmlNode *parent = dom_path(s->root, in);

    for (xmlNode *n = dom_child(parent, name); rec && n; n = dom_next(n)) {
        if (!*type || dom_attr_is(n, "type", type)) {
            keep_copy(s, rec, n);
        }
    }
}

/* Set an attribute, noting the old value or that there was none. xpath: how
 * undo finds the element. */
static void set_attribute(struct step *s, xmlNode *node, const char *xpath,
                          const char *name, const char *value)
{
    xmlNode *rec = record(s, "attribute", xpath, name, "");

    if (rec && xmlHasProp(node, BAD_CAST name)) {
        xmlSetProp(rec, BAD_CAST "value", BAD_CAST dom_attr(node, name));
    }
    xmlSetProp(node, BAD_CAST name, BAD_CAST value);
}

static void remove_all(xmlNode *parent, const char *name, const char *type)
{
    xmlNode *next;

    for (xmlNode *n = parent->children; n; n = next) {
        next = n->next;
        if (dom_is(n, name) && (!*type || dom_attr_is(n, "type", type))) {
            dom_remove(n);
        }
    }
}

static void step_type(struct step *s)
{
    if (dom_attr_is(s->root, "type", "kvm") &&
        change(s, "type", "qemu (TCG) in place of kvm",
               "recorded execution is emulated")) {
        set_attribute(s, s->root, "/domain", "type", "qemu");
    }
}

static void step_emulator(struct step *s)
{
    xmlNode *n = dom_child(s->devices, "emulator");
    char what[600];

    if (!strcmp(dom_text(n), s->opt->emulator)) {
        return;
    }
    snprintf(what, sizeof(what), "%s%s%s", s->opt->emulator,
             n ? " in place of " : "", n ? dom_text(n) : "");
    if (!change(s, "emulator", what, "the QEMU that records and replays")) {
        return;
    }
    record_was(s, "devices", "emulator", "");
    remove_all(s->devices, "emulator", "");
    n = xmlNewNode(NULL, BAD_CAST "emulator");
    xmlNodeSetContent(n, BAD_CAST s->opt->emulator);
    if (s->devices->children) {
        xmlAddPrevSibling(s->devices->children, n);
    } else {
        xmlAddChild(s->devices, n);
    }
}

static void step_cpu(struct step *s)
{
    xmlNode *old = dom_child(s->root, "cpu"), *cpu, *model;
    const char *mode = dom_attr(old, "mode");
    const char *have = dom_text(dom_child(old, "model"));
    const char *want = s->opt->cpu;
    char what[300];

    if (*have && (!*mode || !strcmp(mode, "custom")) &&
        (!want || !strcmp(want, have))) {
        return;
    }
    if (!want) {
        want = DOM_CPU_DEFAULT;
    }
    snprintf(what, sizeof(what), "model %s in place of %s", want,
             !old                                           ? "the default"
             : *have && (!*mode || !strcmp(mode, "custom")) ? have
             : *mode                                        ? mode
                                                            : "the default");
    if (!change(s, "cpu", what,
                "every host must show the guest the same processor")) {
        return;
    }
    record_was(s, "", "cpu", "");
    cpu = xmlNewNode(NULL, BAD_CAST "cpu");
    xmlSetProp(cpu, BAD_CAST "mode", BAD_CAST "custom");
    xmlSetProp(cpu, BAD_CAST "match", BAD_CAST "exact");
    xmlSetProp(cpu, BAD_CAST "check", BAD_CAST "none");
    model = xmlNewTextChild(cpu, NULL, BAD_CAST "model", BAD_CAST want);
    xmlSetProp(model, BAD_CAST "fallback", BAD_CAST "forbid");
    if (dom_child(old, "topology")) {
        xmlAddChild(cpu,
                    xmlDocCopyNode(dom_child(old, "topology"), s->doc, 1));
    }
    if (old) {
        xmlReplaceNode(old, cpu);
        xmlFreeNode(old);
    } else {
        xmlAddPrevSibling(s->devices, cpu);
    }
}

static xmlNode *timer(xmlNode *clock, const char *name)
{
    xmlNode *n = dom_child(clock, "timer");

    while (n && !dom_attr_is(n, "name", name)) {
        n = dom_next(n);
    }
    return n;
}

static xmlNode *need_timer(struct step *s, const char *name)
{
    xmlNode *clock = dom_child(s->root, "clock"), *n;

    record_was(s, "", "clock", "");
    if (!clock) {
        clock = xmlNewNode(NULL, BAD_CAST "clock");
        xmlSetProp(clock, BAD_CAST "offset", BAD_CAST "utc");
        xmlAddPrevSibling(s->devices, clock);
    }
    n = timer(clock, name);
    if (!n) {
        n = xmlNewChild(clock, NULL, BAD_CAST "timer", NULL);
        xmlSetProp(n, BAD_CAST "name", BAD_CAST name);
    }
    return n;
}

static void step_clock(struct step *s)
{
    xmlNode *clock = dom_child(s->root, "clock");

    if (!dom_attr_is(timer(clock, "hpet"), "present", "no") &&
        change(s, "timer hpet", "no HPET",
               "its periodic timers are driven by the host's clock")) {
        xmlSetProp(need_timer(s, "hpet"), BAD_CAST "present", BAD_CAST "no");
    }
    if (!dom_attr_is(timer(clock, "rtc"), "track", "guest") &&
        change(s, "timer rtc", "track='guest'",
               "the guest's clock chip follows the guest's own time")) {
        xmlSetProp(need_timer(s, "rtc"), BAD_CAST "track", BAD_CAST "guest");
    }
}

static xmlNode *need_sleep(struct step *s, const char *name)
{
    xmlNode *pm = dom_child(s->root, "pm"), *n;

    record_was(s, "", "pm", "");
    if (!pm) {
        pm = xmlNewNode(NULL, BAD_CAST "pm");
        xmlAddPrevSibling(s->devices, pm);
    }
    n = dom_child(pm, name);
    return n ? n : xmlNewChild(pm, NULL, BAD_CAST name, NULL);
}

static void step_pm(struct step *s)
{
    static const char *const sleeps[] = { "suspend-to-mem",
                                          "suspend-to-disk" };

    for (size_t i = 0; i < sizeof(sleeps) / sizeof(sleeps[0]); i++) {
        xmlNode *n = dom_child(dom_child(s->root, "pm"), sleeps[i]);

        if (!dom_attr_is(n, "enabled", "no") &&
            change(s, sleeps[i], "enabled='no'",
                   "a guest that sleeps writes no log and looks dead")) {
            xmlSetProp(need_sleep(s, sleeps[i]), BAD_CAST "enabled",
                       BAD_CAST "no");
        }
    }
}

static void step_memballoon(struct step *s)
{
    xmlNode *n = dom_child(s->devices, "memballoon");

    if (dom_attr_is(n, "model", "none")) {
        return;
    }
    if (!change(s, "memballoon", "none",
                "the host may not take memory from a recorded guest")) {
        return;
    }
    record_was(s, "devices", "memballoon", "");
    remove_all(s->devices, "memballoon", "");
    n = xmlNewChild(s->devices, NULL, BAD_CAST "memballoon", NULL);
    xmlSetProp(n, BAD_CAST "model", BAD_CAST "none");
}

/* Runs after the removal of devices: nothing hangs on USB any more. */
static void step_usb(struct step *s)
{
    xmlNode *n, *none, *first = NULL;

    for (n = dom_child(s->devices, "controller"); n; n = dom_next(n)) {
        if (!dom_attr_is(n, "type", "usb")) {
            continue;
        }
        if (!first) {
            first = n;
        }
        if (!dom_attr_is(n, "model", "none")) {
            break;
        }
    }
    if (first && !n) {
        return;
    }
    if (!change(s, "controller usb", "none",
                "USB is not logged, and nothing hangs on it")) {
        return;
    }
    record_was(s, "devices", "controller", "usb");
    none = xmlNewNode(NULL, BAD_CAST "controller");
    xmlSetProp(none, BAD_CAST "type", BAD_CAST "usb");
    xmlSetProp(none, BAD_CAST "index", BAD_CAST "0");
    xmlSetProp(none, BAD_CAST "model", BAD_CAST "none");
    if (first) { /* in its place: undo shall restore the order too */
        xmlAddPrevSibling(first, none);
    } else {
        xmlAddChild(s->devices, none);
    }
    for (n = none->next; n; n = first) {
        first = n->next;
        if (dom_is(n, "controller") && dom_attr_is(n, "type", "usb")) {
            dom_remove(n);
        }
    }
}

/* Called twice: what hangs on a controller goes before the controller. */
static void step_remove(struct step *s, const char *(*why)(const xmlNode *))
{
    xmlNode *next, *own;
    char object[128];

    for (xmlNode *n = s->devices->children; n; n = next) {
        const char *reason = n->type == XML_ELEMENT_NODE ? why(n) : NULL;

        next = n->next;
        if (!reason) {
            continue;
        }
        dom_object(n, object, sizeof(object));
        if (s->dry) {
            dom_say(s->r, DOM_REFUSED, object, AGAIN,
                    "the running guest still has it: %s", reason);
            continue;
        }
        dom_say(s->r, DOM_CHANGED, object, NULL, "removed: %s", reason);
        own = dom_metadata(s->doc, DOM_NS_PREPARED, "prepared", true);
        own = xmlNewChild(own, own->ns, BAD_CAST "removed", NULL);
        keep_copy(s, own, n);
        dom_remove(n);
    }
}

/* What each device of a kind must have in its <driver>. */
struct driver_setting {
    const char *device, *name, *value;
    const char *key, *id; /* key/@id tells one device from the others */
    const char *action, *why;
};

static void step_driver(struct step *s, const struct driver_setting *set)
{
    char object[128], xpath[300];

    for (xmlNode *n = dom_child(s->devices, set->device); n;
         n = dom_next(n)) {
        if (dom_attr_is(dom_child(n, "driver"), set->name, set->value) ||
            dom_child(n, "readonly")) {
            continue;
        }
        dom_object(n, object, sizeof(object));
        if (!change(s, object, set->action, set->why)) {
            continue;
        }
        snprintf(xpath, sizeof(xpath),
                 "/domain/devices/%s[%s/@%s='%s']/driver", set->device,
                 set->key, set->id,
                 dom_attr(dom_child(n, set->key), set->id));
        set_attribute(s, dom_need(n, "driver"), xpath, set->name, set->value);
    }
}

static void step_drivers(struct step *s)
{
    step_driver(
        s,
        &(struct driver_setting){
            "disk", "error_policy", "report", "target", "dev",
            "error_policy='report'",
            "an I/O error is the guest's to handle; a stop would not be logged" });
    step_driver(
        s,
        &(struct driver_setting){
            "interface", "name", "qemu", "mac", "address", "driver qemu",
            "packets must pass QEMU (not vhost) to wait for the Output Rule" });
}

static void step_lifecycle(struct step *s)
{
    static const struct {
        const char *element, *fine[3], *value, *why;
    } rule[] = {
        { "on_poweroff",
          { "destroy" },
          "destroy",
          "a power-off ends the pair" },
        { "on_reboot",
          { "restart", "destroy" },
          "restart",
          "the guest reboots by itself" },
        { "on_crash",
          { "destroy", "coredump-destroy" },
          "destroy",
          "a crashed guest must not stay as if it ran" },
    };

    for (size_t i = 0; i < sizeof(rule) / sizeof(rule[0]); i++) {
        xmlNode *n = dom_child(s->root, rule[i].element);
        bool fine = false;
        char what[100];

        for (size_t k = 0; k < 3 && rule[i].fine[k]; k++) {
            fine = fine || !n || !strcmp(dom_text(n), rule[i].fine[k]);
        }
        if (fine) {
            continue;
        }
        snprintf(what, sizeof(what), "%s in place of %s", rule[i].value,
                 dom_text(n));
        if (!change(s, rule[i].element, what, rule[i].why)) {
            continue;
        }
        record_was(s, "", rule[i].element, "");
        xmlNodeSetContent(n, BAD_CAST rule[i].value);
    }
}

/* The value that follows option `name`, or "". */
static xmlNode *argument(xmlNode *line, const char *name)
{
    xmlNode *n = dom_child(line, "arg");

    while (n && !dom_attr_is(n, "value", name)) {
        n = dom_next(n);
    }
    return n ? dom_next(n) : NULL;
}

static void add_argument(xmlNode *line, const char *value)
{
    xmlNode *n = xmlNewChild(line, line->ns, BAD_CAST "arg", NULL);

    xmlSetProp(n, BAD_CAST "value", BAD_CAST value);
}

static void step_commandline(struct step *s)
{
    xmlNode *line = dom_commandline(s->doc);
    const char *icount = dom_attr(argument(line, "-icount"), "value");
    const char *object = dom_attr(argument(line, "-object"), "value");
    char want_icount[64], want_object[600], what[700];
    int shift = s->opt->shift, have = -1;
    size_t n;
    xmlNs *ns;

    if (sscanf(icount, "shift=%d,sleep=on", &have) == 1 && shift < 0) {
        shift = have;
    }
    if (shift < 0) {
        shift = DOM_SHIFT_DEFAULT;
    }
    snprintf(want_icount, sizeof(want_icount), "shift=%d,sleep=on", shift);
    snprintf(want_object, sizeof(want_object),
             "lockstep,id=lockstep0,path=%s/vm/%s/vmlink.sock",
             s->opt->run_dir, dom_text(dom_child(s->root, "uuid")));
    n = strlen(want_object);
    if (!strcmp(icount, want_icount) && !strncmp(object, want_object, n) &&
        (!object[n] || object[n] == ',')) {
        return;
    }
    snprintf(what, sizeof(what), "-icount %s -object %s", want_icount,
             want_object);
    if (!change(s, "qemu:commandline", what,
                "count instructions, and listen for the agent")) {
        return;
    }
    if (line) {
        dom_remove(line);
    }
    ns = xmlSearchNsByHref(s->doc, s->root, BAD_CAST DOM_NS_QEMU);
    if (!ns) {
        ns = xmlNewNs(s->root, BAD_CAST DOM_NS_QEMU, BAD_CAST "qemu");
    }
    line = xmlNewChild(s->root, ns, BAD_CAST "commandline", NULL);
    add_argument(line, "-icount");
    add_argument(line, want_icount);
    add_argument(line, "-object");
    add_argument(line, want_object);
}

static void run_steps(xmlDoc *doc, const struct dom_options *opt,
                      struct dom_report *r, bool dry)
{
    struct step s = { .doc = doc, .opt = opt, .r = r, .dry = dry };

    s.root = xmlDocGetRootElement(doc);
    s.devices = dom_child(s.root, "devices");
    if (!s.devices && dry) {
        return;
    }
    if (!s.devices) {
        s.devices = dom_need(s.root, "devices");
    }
    step_type(&s);
    step_emulator(&s);
    step_cpu(&s);
    step_clock(&s);
    step_pm(&s);
    if (dry || opt->remove) {
        step_remove(&s, dom_removed_on_request);
    }
    step_remove(&s, dom_removed_always);
    step_memballoon(&s);
    step_usb(&s);
    step_drivers(&s);
    step_lifecycle(&s);
    step_commandline(&s);
}

int dom_prepare(xmlDoc *doc, const struct dom_options *opt,
                struct dom_report *r)
{
    unsigned before = r->count[DOM_CHANGED];
    xmlNode *own;

    dom_check(doc, opt, r);
    if (r->count[DOM_REFUSED]) {
        return -1;
    }
    run_steps(doc, opt, r, false);
    own = dom_metadata(doc, DOM_NS_PREPARED, "prepared", true);
    xmlSetProp(own, BAD_CAST "version", BAD_CAST "1");
    return (int)(r->count[DOM_CHANGED] - before);
}

enum dom_prepared dom_is_prepared(xmlDoc *doc, const struct dom_options *opt,
                                  struct dom_report *r)
{
    unsigned before = r->count[DOM_REFUSED];

    dom_check(doc, opt, r);
    if (r->count[DOM_REFUSED] != before) {
        return DOM_NOT_PROTECTABLE;
    }
    run_steps(doc, opt, r, true);
    return r->count[DOM_REFUSED] == before ? DOM_PREPARED : DOM_NOT_PREPARED;
}

static xmlNode *find(xmlDoc *doc, const char *xpath)
{
    xmlXPathContext *context = xmlXPathNewContext(doc);
    xmlXPathObject *o = context
                          ? xmlXPathEvalExpression(BAD_CAST xpath, context)
                          : NULL;
    xmlNode *n = o && o->nodesetval && o->nodesetval->nodeNr > 0
                   ? o->nodesetval->nodeTab[0]
                   : NULL;

    xmlXPathFreeObject(o);
    xmlXPathFreeContext(context);
    return n;
}

static bool undo_was(xmlDoc *doc, xmlNode *rec, struct dom_report *r)
{
    xmlNode *root = xmlDocGetRootElement(doc);
    xmlNode *parent = dom_path(root, dom_attr(rec, "in"));
    const char *name = dom_attr(rec, "name"), *type = dom_attr(rec, "type");
    xmlNode *at, *next;
    char object[128];

    if (!parent || !*name) {
        return false;
    }
    at = dom_child(parent, name);
    while (at && *type && !dom_attr_is(at, "type", type)) {
        at = dom_next(at);
    }
    for (xmlNode *n = rec->children; n; n = n->next) {
        xmlNode *copy = xmlDocCopyNode(n, doc, 1);

        if (at) {
            xmlAddPrevSibling(at, copy);
        } else {
            xmlAddChild(parent, copy);
        }
        copy->_private = rec; /* this one stays */
    }
    for (xmlNode *n = parent->children; n; n = next) {
        next = n->next;
        if (dom_is(n, name) && (!*type || dom_attr_is(n, "type", type)) &&
            n->_private != rec) {
            dom_remove(n);
        }
    }
    snprintf(object, sizeof(object), "%s%s%s", name, *type ? " " : "", type);
    dom_say(r, DOM_RESTORED, object, NULL, "%s",
            rec->children ? "as it was before" : "removed, as before");
    return true;
}

static bool undo_attribute(xmlDoc *doc, xmlNode *rec, struct dom_report *r)
{
    xmlNode *n = find(doc, dom_attr(rec, "in"));
    const char *name = dom_attr(rec, "name");
    char object[128];

    if (!n || !*name) {
        return false; /* the device is gone */
    }
    if (xmlHasProp(rec, BAD_CAST "value")) {
        xmlSetProp(n, BAD_CAST name, BAD_CAST dom_attr(rec, "value"));
    } else {
        xmlUnsetProp(n, BAD_CAST name);
    }
    dom_object(dom_is(n, "driver") ? n->parent : n, object, sizeof(object));
    dom_say(r, DOM_RESTORED, object, NULL, "%s as it was before", name);
    if (dom_is(n, "driver") && !n->properties && !n->children) {
        dom_remove(n);
    }
    return true;
}

static bool undo_removed(xmlDoc *doc, xmlNode *rec, struct dom_report *r)
{
    xmlNode *devices = dom_child(xmlDocGetRootElement(doc), "devices");
    char object[128];
    bool any = false;

    for (xmlNode *n = rec->children; devices && n; n = n->next) {
        if (n->type != XML_ELEMENT_NODE) {
            continue;
        }
        xmlAddChild(devices, xmlDocCopyNode(n, doc, 1));
        dom_object(n, object, sizeof(object));
        dom_say(r, DOM_RESTORED, object, NULL, "put back");
        any = true;
    }
    return any;
}

int dom_undo(xmlDoc *doc, struct dom_report *r)
{
    xmlNode *own = dom_metadata(doc, DOM_NS_PREPARED, "prepared", false);
    xmlNode *line = dom_commandline(doc), *meta;
    int n = 0;

    if (!own) {
        return 0;
    }
    for (xmlNode *rec = own->children; rec; rec = rec->next) {
        if (dom_is(rec, "was")) {
            n += undo_was(doc, rec, r);
        } else if (dom_is(rec, "attribute")) {
            n += undo_attribute(doc, rec, r);
        } else if (dom_is(rec, "removed")) {
            n += undo_removed(doc, rec, r);
        }
    }
    if (line) {
        dom_remove(line);
        dom_say(r, DOM_RESTORED, "qemu:commandline", NULL, "removed");
        n++;
    }
    meta = own->parent;
    dom_remove(own);
    dom_set_protection(doc, NULL);
    if (!meta->children) {
        dom_remove(meta);
    }
    return n;
}
