/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * domain-facts.c - what lockstepd reads from a domain, and the replica's XML
 */
#include "control/domain/domain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *copy(const char *s)
{
    char *c = strdup(s);

    if (!c) {
        abort();
    }
    return c;
}

static void add_file(struct dom_facts *f, const char *path, bool disk,
                     const char *role, const char *name)
{
    struct dom_file *file;

    if (!*path) {
        return;
    }
    f->file = realloc(f->file, (f->files + 1) * sizeof(*f->file));
    if (!f->file) {
        abort();
    }
    file = &f->file[f->files++];
    file->path = copy(path);
    file->disk = disk;
    if (asprintf(&file->role, "%s%s%s", role, *name ? " " : "", name) < 0) {
        abort();
    }
}

static void add_network(struct dom_facts *f, const xmlNode *nic)
{
    const char *type = dom_attr(nic, "type");
    const char *name = dom_attr(dom_child(nic, "source"), type);
    char **list;

    if (strcmp(type, "network") && strcmp(type, "bridge")) {
        return;
    }
    list = realloc(f->network, (f->networks + 1) * sizeof(*list));
    if (!list) {
        abort();
    }
    f->network = list;
    if (asprintf(&list[f->networks++], "%s %s", type, name) < 0) {
        abort();
    }
}

static uint64_t memory_kib(const xmlNode *n)
{
    uint64_t value = strtoull(dom_text(n), NULL, 10);
    const char *unit = dom_attr(n, "unit");

    if (!strcmp(unit, "b") || !strcmp(unit, "bytes")) {
        return value / 1024;
    }
    if (!strcmp(unit, "M") || !strcmp(unit, "MiB")) {
        return value << 10;
    }
    if (!strcmp(unit, "G") || !strcmp(unit, "GiB")) {
        return value << 20;
    }
    return value; /* libvirt prints KiB */
}

int dom_facts(xmlDoc *doc, struct dom_facts *f, struct ft_err *err)
{
    const xmlNode *root = xmlDocGetRootElement(doc);
    const xmlNode *devices = dom_child(root, "devices");
    const xmlNode *os = dom_child(root, "os");
    const xmlNode *vcpu = dom_child(root, "vcpu");

    memset(f, 0, sizeof(*f));
    f->name = copy(dom_text(dom_child(root, "name")));
    f->uuid = copy(dom_text(dom_child(root, "uuid")));
    f->type = copy(dom_attr(root, "type"));
    f->emulator = copy(dom_text(dom_child(devices, "emulator")));
    f->machine = copy(dom_attr(dom_child(os, "type"), "machine"));
    f->arch = copy(dom_attr(dom_child(os, "type"), "arch"));
    f->cpu = copy(dom_text(dom_path(root, "cpu/model")));
    f->vcpus = vcpu ? (unsigned)atoi(dom_text(vcpu)) : 1;
    f->memory_kib = memory_kib(dom_child(root, "memory"));
    f->prepared = dom_metadata(doc, DOM_NS_PREPARED, "prepared", false);
    for (xmlNode *n = dom_child(devices, "disk"); n; n = dom_next(n)) {
        const char *dev = dom_attr(dom_child(n, "target"), "dev");
        xmlNode *backing = dom_child(n, "backingStore");

        add_file(f, dom_attr(dom_child(n, "source"), "file"), true, "disk",
                 dev);
        for (; backing; backing = dom_child(backing, "backingStore")) {
            add_file(f, dom_attr(dom_child(backing, "source"), "file"), true,
                     "backing file of disk", dev);
        }
    }
    add_file(f, dom_text(dom_child(os, "kernel")), false, "kernel", "");
    add_file(f, dom_text(dom_child(os, "initrd")), false, "initrd", "");
    add_file(f, dom_text(dom_child(os, "dtb")), false, "dtb", "");
    for (xmlNode *n = dom_child(devices, "interface"); n; n = dom_next(n)) {
        add_network(f, n);
    }
    if (strlen(f->uuid) != 36 || !*f->name) {
        dom_facts_clear(f);
        return ft_err_set(err, EINVAL, "domain XML: no name or uuid");
    }
    return 0;
}

void dom_facts_clear(struct dom_facts *f)
{
    for (size_t i = 0; i < f->files; i++) {
        free(f->file[i].path);
        free(f->file[i].role);
    }
    for (size_t i = 0; i < f->networks; i++) {
        free(f->network[i]);
    }
    free(f->file);
    free(f->network);
    free(f->name);
    free(f->uuid);
    free(f->type);
    free(f->emulator);
    free(f->machine);
    free(f->arch);
    free(f->cpu);
    memset(f, 0, sizeof(*f));
}

static void drop_incoming(xmlDoc *doc)
{
    xmlNode *line = dom_commandline(doc);

    for (xmlNode *n = dom_child(line, "arg"); n; n = dom_next(n)) {
        xmlNode *value = dom_next(n);

        if (!dom_attr_is(n, "value", "-incoming") || !value) {
            continue;
        }
        dom_remove(value);
        dom_remove(n);
        return;
    }
}

static xmlNode *dac_label(const xmlNode *disk)
{
    xmlNode *n = dom_child(dom_child(disk, "source"), "seclabel");

    while (n && !dom_attr_is(n, "model", "dac")) {
        n = dom_next(n);
    }
    return n;
}

static xmlNode *first_disk(xmlDoc *doc)
{
    return dom_child(dom_path(xmlDocGetRootElement(doc), "devices"), "disk");
}

/* The image of a replica's disk is its primary's: libvirt there must not give
 * it to another user, neither when the replica starts nor when it ends. */
static void lend_disks(xmlDoc *doc)
{
    xmlNode *own = dom_metadata(doc, DOM_NS_PREPARED, "prepared", true);

    for (xmlNode *n = first_disk(doc); n; n = dom_next(n)) {
        xmlNode *source = dom_child(n, "source"), *new;

        if (!source || dom_child(n, "readonly") || dac_label(n)) {
            continue;
        }
        new = xmlNewChild(source, NULL, BAD_CAST "seclabel", NULL);
        xmlSetProp(new, BAD_CAST "model", BAD_CAST "dac");
        xmlSetProp(new, BAD_CAST "relabel", BAD_CAST "no");
        new = xmlNewChild(own, own->ns, BAD_CAST "lent", NULL);
        xmlSetProp(new, BAD_CAST "dev",
                   BAD_CAST dom_attr(dom_child(n, "target"), "dev"));
    }
}

static void own_disk(xmlDoc *doc, const char *dev)
{
    xmlNode *n = first_disk(doc), *label;

    while (n && !dom_attr_is(dom_child(n, "target"), "dev", dev)) {
        n = dom_next(n);
    }
    label = n ? dac_label(n) : NULL;
    if (label) {
        dom_remove(label);
    }
}

static void own_disks(xmlDoc *doc)
{
    xmlNode *own = dom_metadata(doc, DOM_NS_PREPARED, "prepared", false);
    xmlNode *lent;

    while (own && (lent = dom_child(own, "lent"))) {
        own_disk(doc, dom_attr(lent, "dev"));
        dom_remove(lent);
    }
}

void dom_to_replica(xmlDoc *doc)
{
    static const char *const arg[] = { "-incoming", "defer" };
    xmlNode *line = dom_commandline(doc);

    drop_incoming(doc);
    for (size_t i = 0; line && i < 2; i++) {
        xmlSetProp(xmlNewChild(line, line->ns, BAD_CAST "arg", NULL),
                   BAD_CAST "value", BAD_CAST arg[i]);
    }
    lend_disks(doc);
    xmlUnsetProp(xmlDocGetRootElement(doc), BAD_CAST "id");
}

void dom_to_definition(xmlDoc *doc)
{
    drop_incoming(doc);
    own_disks(doc);
    xmlUnsetProp(xmlDocGetRootElement(doc), BAD_CAST "id");
}
