/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * domain.h - a libvirt domain's XML: may it be protected, make it so, undo it
 *
 * Functions on a parsed document only: no libvirt, no files. What they find
 * and what they change goes into a report, one line for each, which the user
 * reads as it stands.
 *
 * Theory of Operation
 *
 * `prepare` rewrites the persistent definition once. Each change is first
 * noted in the domain's <metadata> under DOM_NS_PREPARED, as the piece of XML
 * that stood there:
 *
 *   <was in="/domain/devices" name="memballoon">ORIGINAL...</was>
 *   <attribute in="/domain/devices/disk[...]/driver" name="error_policy"/>
 *
 * so that `undo` puts back exactly these pieces and leaves alone whatever the
 * user has edited since. A change that is already there is not made again:
 * preparing twice is preparing once. The same steps, run over the XML of the
 * running domain without changing it, tell whether it was started prepared.
 *
 * What the user chose (backup host, arbiter) is a second metadata element,
 * under DOM_NS_PROTECTION.
 */
#ifndef CONTROL_DOMAIN_H
#define CONTROL_DOMAIN_H

#include <libxml/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/host/err.h"

#define DOM_NS_PREPARED "urn:lockstep:prepared:1"
#define DOM_NS_PROTECTION "urn:lockstep:protection:1"
#define DOM_NS_QEMU "http://libvirt.org/schemas/domain/qemu/1.0"

#define DOM_CPU_DEFAULT "qemu64"
#define DOM_SHIFT_DEFAULT 1
#define DOM_SHIFT_MAX 10

/* One line of a report. action: what the user can do about it. */
enum dom_kind { DOM_CHANGED, DOM_RESTORED, DOM_REFUSED };
struct dom_line {
    enum dom_kind kind;
    char *object, *text, *action;
};
struct dom_report {
    struct dom_line *line;
    size_t n;
    unsigned count[3]; /* by kind */
};
/* object and fmt are required, action may be NULL. */
void dom_say(struct dom_report *r, enum dom_kind kind, const char *object,
             const char *action, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void dom_report_clear(struct dom_report *r);
/* The first refusal as one sentence: "disk vda: reason: what to do". */
void dom_report_err(const struct dom_report *r, const char *domain,
                    struct ft_err *err);

struct dom_options {
    const char *emulator; /* absolute path of the patched QEMU */
    const char *run_dir;  /* /run/lockstep */
    const char *cpu;      /* NULL: DOM_CPU_DEFAULT */
    int shift;            /* of -icount; < 0: keep, else the default */
    bool tcg;             /* convert a KVM domain */
    bool remove;          /* take out devices that cannot be protected */
};

/* Parse; NULL: err. dom_free() it. The printed form is malloc()ed. */
xmlDoc *dom_parse(const char *xml, struct ft_err *err);
char *dom_print(xmlDoc *doc);
void dom_free(xmlDoc *doc);

/* What the rest of lockstepd wants to know of a domain. Pointers are into
 * strings that dom_facts_clear() frees. */
struct dom_file {
    char *path;
    char *role; /* "disk vda", "disk vda backing file", "kernel" */
    bool disk;  /* to be proved through the storage */
};
struct dom_facts {
    char *name, *uuid, *emulator, *machine, *cpu, *arch, *type;
    char **network; /* "network default", "bridge br0" */
    size_t networks;
    struct dom_file *file;
    size_t files;
    unsigned vcpus;
    uint64_t memory_kib;
    bool prepared; /* has our metadata */
};
int dom_facts(xmlDoc *doc, struct dom_facts *f, struct ft_err *err);
void dom_facts_clear(struct dom_facts *f);

/* Refuse what cannot be protected. With opt->remove, devices that the guest
 * can do without are not refused (dom_prepare() takes them out). */
void dom_check(xmlDoc *doc, const struct dom_options *opt,
               struct dom_report *r);

/* Check, then rewrite. Returns -1 when something was refused (the document
 * is then to be thrown away), else the number of changes; 0: it was already
 * prepared. */
int dom_prepare(xmlDoc *doc, const struct dom_options *opt,
                struct dom_report *r);
/* Put back what dom_prepare() changed. Returns the number of pieces, 0: it
 * was not prepared. */
int dom_undo(xmlDoc *doc, struct dom_report *r);
/* Has this document, of a running domain, everything that dom_prepare() puts
 * in, and nothing that cannot be protected? Each thing that is missing, or is
 * in the way, is a refusal in the report. */
enum dom_prepared {
    DOM_NOT_PREPARED,    /* dom_prepare() would change something */
    DOM_NOT_PROTECTABLE, /* dom_check() refuses it */
    DOM_PREPARED,
};
enum dom_prepared dom_is_prepared(xmlDoc *doc, const struct dom_options *opt,
                                  struct dom_report *r);

/* Turn the XML of a running primary into that of its replica (adds -incoming
 * defer, and that libvirt leaves the owners of its images alone), and a
 * replica's into a definition (takes both out). */
void dom_to_replica(xmlDoc *doc);
void dom_to_definition(xmlDoc *doc);

/* The user's choice. Empty strings: not set. */
struct dom_protection {
    char backup[256];
    char arbiter[512];
};
bool dom_get_protection(xmlDoc *doc, struct dom_protection *p);
/* NULL takes it out. */
void dom_set_protection(xmlDoc *doc, const struct dom_protection *p);
/* The element alone, for virDomainSetMetadata(); malloc()ed. */
char *dom_print_protection(const struct dom_protection *p);

/* domain-xml.c: the tree, shared by the files of this module. */
xmlNode *dom_child(const xmlNode *parent, const char *name);
xmlNode *dom_next(const xmlNode *node); /* next sibling of that name */
xmlNode *dom_path(const xmlNode *from, const char *path); /* "a/b/c" */
xmlNode *dom_need(xmlNode *parent, const char *name);     /* child, or made */
/* "" when not there; the string lives as long as the attribute. */
const char *dom_attr(const xmlNode *node, const char *name);
const char *dom_text(const xmlNode *node);
bool dom_is(const xmlNode *node, const char *name);
bool dom_attr_is(const xmlNode *node, const char *name, const char *value);
void dom_remove(xmlNode *node); /* and free it */
xmlNode *dom_metadata(xmlDoc *doc, const char *ns, const char *name,
                      bool make);
xmlNode *dom_commandline(xmlDoc *doc); /* <qemu:commandline> or NULL */
/* How a user finds this device: "disk vda", "interface 52:54:..", "tpm". */
void dom_object(const xmlNode *device, char *buf, size_t size);
/* domain-devices.c: what prepare takes out in any case (rng, idle USB), and
 * what it takes out on request. NULL, or the reason. */
const char *dom_removed_always(const xmlNode *device);
const char *dom_removed_on_request(const xmlNode *device);

#endif
