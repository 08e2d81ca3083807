/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test-domain.c - prepare, its undo and its refusals over real domain XML
 */
#include <glib.h>
#include <libxml/c14n.h>
#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>

#include "control/domain/domain.h"

#define EMULATOR "/usr/libexec/lockstep/qemu-system-x86_64"

static const struct dom_options plain_options = {
    .emulator = EMULATOR,
    .run_dir = "/run/lockstep",
    .shift = -1,
};

static xmlDoc *load(const char *name)
{
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "tests",
                                                  "control", "domain",
                                                  "domains", name, NULL);
    g_autofree char *text = NULL;
    struct ft_err err = { 0 };
    xmlDoc *doc;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    doc = dom_parse(text, &err);
    g_assert_cmpstr(err.text, ==, "");
    g_assert_nonnull(doc);
    return doc;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A tree as text in which the order of siblings and attributes, which
 * libvirt sets itself, does not count. */
static char *canonical(const xmlNode *n)
{
    g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(g_free);
    GString *out = g_string_new(NULL);

    if (n->type == XML_TEXT_NODE) {
        g_string_append(out, (const char *)n->content);
        return g_string_free(out, FALSE);
    }
    if (n->type != XML_ELEMENT_NODE) {
        return g_string_free(out, FALSE);
    }
    for (xmlAttr *a = n->properties; a; a = a->next) {
        g_ptr_array_add(parts,
                        g_strdup_printf(" @%s='%s'", (const char *)a->name,
                                        dom_attr(n, (const char *)a->name)));
    }
    for (xmlNode *c = n->children; c; c = c->next) {
        g_ptr_array_add(parts, canonical(c));
    }
    if (parts->len) {
        qsort(parts->pdata, parts->len, sizeof(void *), by_text);
    }
    g_string_append_printf(out, "<%s", (const char *)n->name);
    for (guint i = 0; i < parts->len; i++) {
        g_string_append(out, parts->pdata[i]);
    }
    g_string_append_printf(out, "/%s>", (const char *)n->name);
    return g_string_free(out, FALSE);
}

static char *canonical_doc(xmlDoc *doc)
{
    return canonical(xmlDocGetRootElement(doc));
}

/* Print and parse again, as a round trip through libvirt does. */
static xmlDoc *again(xmlDoc *doc)
{
    g_autofree char *text = dom_print(doc);

    dom_free(doc);
    return dom_parse(text, NULL);
}

static xmlNode *at(xmlDoc *doc, const char *path)
{
    return dom_path(xmlDocGetRootElement(doc), path);
}

static bool said(const struct dom_report *r, const char *object,
                 const char *text)
{
    for (size_t i = 0; i < r->n; i++) {
        if (!strcmp(r->line[i].object, object) &&
            strstr(r->line[i].text, text)) {
            return true;
        }
    }
    return false;
}

static void dump(const struct dom_report *r)
{
    for (size_t i = 0; i < r->n; i++) {
        g_test_message("%s: %s%s%s", r->line[i].object, r->line[i].text,
                       r->line[i].action ? ": " : "",
                       r->line[i].action ? r->line[i].action : "");
    }
}

static void prepares_a_plain_domain(void)
{
    xmlDoc *doc = load("plain.xml");
    struct dom_report r = { 0 };
    xmlNode *line;

    g_assert_cmpint(dom_prepare(doc, &plain_options, &r), >, 0);
    dump(&r);
    doc = again(doc);
    g_assert_cmpstr(dom_text(at(doc, "devices/emulator")), ==, EMULATOR);
    g_assert_cmpstr(dom_text(at(doc, "cpu/model")), ==, "qemu64");
    g_assert_cmpstr(dom_attr(at(doc, "cpu"), "mode"), ==, "custom");
    g_assert_cmpstr(dom_attr(at(doc, "devices/memballoon"), "model"), ==,
                    "none");
    g_assert_cmpstr(dom_attr(at(doc, "devices/controller"), "model"), ==,
                    "none");
    g_assert_cmpstr(dom_attr(at(doc, "pm/suspend-to-mem"), "enabled"), ==,
                    "no");
    g_assert_cmpstr(dom_attr(at(doc, "pm/suspend-to-disk"), "enabled"), ==,
                    "no");
    g_assert_cmpstr(dom_attr(at(doc, "devices/interface/driver"), "name"), ==,
                    "qemu");
    g_assert_cmpstr(dom_attr(at(doc, "devices/disk/driver"), "error_policy"),
                    ==, "report");
    line = dom_child(dom_commandline(doc), "arg");
    g_assert_cmpstr(dom_attr(line, "value"), ==, "-icount");
    line = dom_next(line);
    g_assert_cmpstr(dom_attr(line, "value"), ==, "shift=1,sleep=on");
    line = dom_next(line);
    g_assert_cmpstr(dom_attr(line, "value"), ==, "-object");
    line = dom_next(line);
    g_assert_cmpstr(dom_attr(line, "value"), ==,
                    "lockstep,id=lockstep0,path=/run/lockstep/vm/"
                    "5c6bfa24-b6cb-4b6e-8b3d-0d9a6f3e1a01/vmlink.sock");
    g_assert_null(dom_next(line));
    dom_report_clear(&r);
    dom_free(doc);
}

static void second_time_changes_nothing(void)
{
    xmlDoc *doc = load("plain.xml");
    struct dom_options o = plain_options;
    struct dom_report r = { 0 };
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;

    dom_prepare(doc, &o, &r);
    doc = again(doc);
    first = canonical_doc(doc);
    dom_report_clear(&r);
    g_assert_cmpint(dom_prepare(doc, &o, &r), ==, 0);
    g_assert_cmpuint(r.n, ==, 0);
    second = canonical_doc(doc);
    g_assert_cmpstr(first, ==, second);
    g_assert_cmpint(dom_is_prepared(doc, &o, &r), ==, DOM_PREPARED);
    /* another shift is one change */
    o.shift = 3;
    g_assert_cmpint(dom_prepare(doc, &o, &r), ==, 1);
    g_assert_true(said(&r, "qemu:commandline", "shift=3"));
    dom_report_clear(&r);
    dom_free(doc);
}

static void undo_restores(gconstpointer name)
{
    struct dom_options o = plain_options;
    xmlDoc *doc = load(name);
    struct dom_report r = { 0 };
    g_autofree char *before = canonical_doc(doc);
    g_autofree char *after = NULL;

    o.tcg = o.remove = true;
    g_assert_cmpint(dom_prepare(doc, &o, &r), >, 0);
    doc = again(doc);
    /* and again with other wishes: the originals must not be lost */
    o.cpu = "Nehalem";
    o.shift = 4;
    g_assert_cmpint(dom_prepare(doc, &o, &r), >, 0);
    doc = again(doc);
    g_assert_cmpint(dom_undo(doc, &r), >, 0);
    dump(&r);
    doc = again(doc);
    after = canonical_doc(doc);
    g_assert_cmpstr(before, ==, after);
    g_assert_cmpint(dom_undo(doc, &r), ==, 0);
    dom_report_clear(&r);
    dom_free(doc);
}

static void undo_keeps_later_edits(void)
{
    xmlDoc *doc = load("plain.xml");
    struct dom_report r = { 0 };
    xmlNode *disk;

    dom_prepare(doc, &plain_options, &r);
    xmlNodeSetContent(at(doc, "memory"), BAD_CAST "1024");
    disk = xmlCopyNode(at(doc, "devices/disk"), 1);
    xmlSetProp(dom_child(disk, "target"), BAD_CAST "dev", BAD_CAST "vdb");
    xmlAddChild(at(doc, "devices"), disk);
    dom_undo(doc, &r);
    g_assert_cmpstr(dom_text(at(doc, "memory")), ==, "1024");
    disk = dom_next(at(doc, "devices/disk"));
    g_assert_nonnull(disk);
    g_assert_cmpstr(dom_attr(dom_child(disk, "driver"), "error_policy"), ==,
                    "report");
    dom_report_clear(&r);
    dom_free(doc);
}

static void virt_install(void)
{
    xmlDoc *doc = load("virt-install.xml");
    struct dom_options o = plain_options;
    struct dom_report r = { 0 };

    g_assert_cmpint(dom_prepare(doc, &o, &r), ==, -1);
    g_assert_true(said(&r, "type", "KVM"));
    g_assert_true(said(&r, "graphics spice", "not logged"));
    g_assert_true(said(&r, "input tablet", "PS/2"));
    g_assert_false(said(&r, "input mouse", ""));
    dom_report_clear(&r);
    dom_free(doc);

    doc = load("virt-install.xml");
    o.tcg = o.remove = true;
    g_assert_cmpint(dom_prepare(doc, &o, &r), >, 0);
    dump(&r);
    g_assert_cmpstr(dom_attr(xmlDocGetRootElement(doc), "type"), ==, "qemu");
    g_assert_null(at(doc, "devices/graphics"));
    g_assert_null(at(doc, "devices/video"));
    g_assert_null(at(doc, "devices/channel"));
    g_assert_null(at(doc, "devices/rng"));
    g_assert_null(at(doc, "devices/redirdev"));
    g_assert_cmpstr(dom_text(at(doc, "on_crash")), ==, "destroy");
    g_assert_nonnull(at(doc, "cpu/topology"));
    for (xmlNode *n = at(doc, "devices/controller"); n; n = dom_next(n)) {
        g_assert_false(dom_attr_is(n, "type", "virtio-serial"));
        if (dom_attr_is(n, "type", "usb")) {
            g_assert_cmpstr(dom_attr(n, "model"), ==, "none");
        }
    }
    dom_report_clear(&r);
    g_assert_cmpint(dom_is_prepared(doc, &o, &r), ==, DOM_PREPARED);
    dom_report_clear(&r);
    dom_free(doc);
}

static void a_running_unprepared_domain_is_told(void)
{
    xmlDoc *doc = load("plain.xml");
    struct dom_report r = { 0 };
    struct ft_err err = { 0 };

    g_assert_cmpint(dom_is_prepared(doc, &plain_options, &r), ==,
                    DOM_NOT_PREPARED);
    g_assert_true(said(&r, "emulator", EMULATOR));
    g_assert_true(said(&r, "qemu:commandline", "-icount"));
    g_assert_true(said(&r, "timer rtc", "track"));
    g_assert_true(
        said(&r, "suspend-to-mem", "not started with enabled='no'"));
    dom_report_err(&r, "web1", &err);
    g_assert_true(g_str_has_prefix(err.text, "domain web1: emulator: "));
    g_assert_nonnull(strstr(err.text, "start it again"));
    dom_report_clear(&r);
    dom_free(doc);
}

/* Every refusal: object, and a piece of the reason. */
static const struct {
    const char *object, *reason;
    bool removable;
} refusal[] = {
    { "type", "runs under KVM", false },
    { "vcpu", "2 virtual CPUs", false },
    { "os", "architecture is aarch64", false },
    { "os", "machine 'virt'", false },
    { "os", "UEFI", false },
    { "clock", "'localtime'", false },
    { "launchSecurity", "encrypted memory", false },
    { "features/hyperv", "KVM", false },
    { "qemu:commandline", "by hand", false },
    { "disk vda", "cache mode is 'default'", false },
    { "disk vdb", "cache mode is 'writeback'", false },
    { "disk vdb", "format is 'vmdk'", false },
    { "disk vdb", "not absolute", false },
    { "disk vdb", "<shareable/>", false },
    { "disk vdb", "transient", false },
    { "disk vdb", "throttling", false },
    { "disk vdb", "secret", false },
    { "disk sda", "type 'block'", false },
    { "disk sda", "on the scsi bus", false },
    { "disk sda", "I/O thread", false },
    { "disk hda", "cdrom drive", false },
    { "interface 52:54:00:00:00:01", "type 'user'", false },
    { "interface 52:54:00:00:00:02", "type 'vhostuser'", false },
    { "interface 52:54:00:00:00:03", "model is 'e1000'", false },
    { "interface 52:54:00:00:00:03", "one queue", false },
    { "interface 52:54:00:00:00:03", "<sndbuf>", false },
    { "controller ccid", "not on the list", false },
    { "serial tcp", "type 'tcp'", false },
    { "console pty", "virtio console", true },
    { "channel unix", "not logged", true },
    { "input tablet", "PS/2", true },
    { "graphics vnc", "not logged", true },
    { "video qxl", "not on the list", true },
    { "sound ich9", "timed by the host", true },
    { "watchdog i6300esb", "cannot be logged", true },
    { "vsock", "past the log", true },
    { "hostdev pci", "passed-through", false },
    { "filesystem x", "shared folder", false },
    { "tpm tpm-crb", "outside the guest", false },
    { "shmem", "outside the log", false },
    { "memory dimm", "modules", false },
    { "iommu", "IOMMU", false },
    { "crypto", "not logged", false },
    { "newdevice", "not on the list", false },
};

static void refuses_each_by_name(void)
{
    xmlDoc *doc = load("bad.xml");
    struct dom_options o = plain_options;
    struct dom_report r = { 0 };

    g_assert_cmpint(dom_prepare(doc, &o, &r), ==, -1);
    dump(&r);
    for (size_t i = 0; i < G_N_ELEMENTS(refusal); i++) {
        if (!said(&r, refusal[i].object, refusal[i].reason)) {
            g_error("no refusal of %s for %s", refusal[i].object,
                    refusal[i].reason);
        }
    }
    for (size_t i = 0; i < r.n; i++) {
        g_assert_nonnull(r.line[i].action);
    }
    g_assert_cmpuint(r.count[DOM_REFUSED], ==, G_N_ELEMENTS(refusal));
    g_assert_cmpuint(r.count[DOM_CHANGED], ==, 0);
    dom_report_clear(&r);
    o.remove = true;
    g_assert_cmpint(dom_prepare(doc, &o, &r), ==, -1);
    for (size_t i = 0; i < G_N_ELEMENTS(refusal); i++) {
        g_assert_cmpint(said(&r, refusal[i].object, refusal[i].reason), ==,
                        !refusal[i].removable);
    }
    dom_report_clear(&r);
    dom_free(doc);
}

/* Disks whose owner libvirt shall leave alone. */
static int unlabelled(xmlDoc *doc)
{
    xmlNode *devices = dom_child(xmlDocGetRootElement(doc), "devices");
    int count = 0;

    for (xmlNode *n = dom_child(devices, "disk"); n; n = dom_next(n)) {
        xmlNode *label = dom_path(n, "source/seclabel");

        count += dom_attr_is(label, "model", "dac") &&
                 dom_attr_is(label, "relabel", "no");
    }
    return count;
}

static void a_label_of_the_users_stays(void)
{
    xmlDoc *doc = load("plain.xml");
    xmlNode *devices = dom_child(xmlDocGetRootElement(doc), "devices");
    xmlNode *disk = dom_child(devices, "disk");
    xmlNode *label = xmlNewChild(dom_child(disk, "source"), NULL,
                                 BAD_CAST "seclabel", NULL);
    struct dom_report r = { 0 };

    xmlSetProp(label, BAD_CAST "model", BAD_CAST "dac");
    xmlSetProp(label, BAD_CAST "relabel", BAD_CAST "no");
    dom_prepare(doc, &plain_options, &r);
    dom_to_replica(doc);
    g_assert_cmpint(unlabelled(doc), ==, 1);
    dom_to_definition(doc);
    g_assert_cmpint(unlabelled(doc), ==, 1);
    dom_report_clear(&r);
    dom_free(doc);
}

static void facts_and_replica(void)
{
    xmlDoc *doc = load("plain.xml");
    struct dom_report r = { 0 };
    struct dom_facts f;
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    xmlNode *n;
    int count = 0;

    dom_prepare(doc, &plain_options, &r);
    g_assert_cmpint(dom_facts(doc, &f, NULL), ==, 0);
    g_assert_cmpstr(f.name, ==, "web1");
    g_assert_cmpstr(f.cpu, ==, "qemu64");
    g_assert_cmpuint(f.memory_kib, ==, 512 * 1024);
    g_assert_cmpuint(f.files, ==, 1);
    g_assert_cmpstr(f.file[0].path, ==, "/srv/shared/web1.img");
    g_assert_cmpstr(f.file[0].role, ==, "disk vda");
    g_assert_cmpuint(f.networks, ==, 1);
    g_assert_cmpstr(f.network[0], ==, "bridge br0");
    g_assert_true(f.prepared);
    before = canonical_doc(doc);
    dom_to_replica(doc);
    dom_to_replica(doc);
    for (n = dom_child(dom_commandline(doc), "arg"); n; n = dom_next(n)) {
        count += dom_attr_is(n, "value", "-incoming") ||
                 dom_attr_is(n, "value", "defer");
    }
    g_assert_cmpint(count, ==, 2);
    g_assert_cmpint(unlabelled(doc), ==, 1);
    dom_to_definition(doc);
    after = canonical_doc(doc);
    g_assert_cmpstr(before, ==, after);
    dom_facts_clear(&f);
    dom_report_clear(&r);
    dom_free(doc);
}

static void settings_live_in_metadata(void)
{
    xmlDoc *doc = load("virt-install.xml");
    struct dom_protection p = { .backup = "hostb" }, q;
    g_autofree char *text = NULL;

    g_assert_false(dom_get_protection(doc, &q));
    g_strlcpy(p.arbiter, "file:/srv/a&b", sizeof(p.arbiter));
    dom_set_protection(doc, &p);
    doc = again(doc);
    g_assert_true(dom_get_protection(doc, &q));
    g_assert_cmpstr(q.backup, ==, "hostb");
    g_assert_cmpstr(q.arbiter, ==, "file:/srv/a&b");
    text = dom_print_protection(&p);
    g_assert_cmpstr(text, ==,
                    "<protection backup=\"hostb\" "
                    "arbiter=\"file:/srv/a&amp;b\"/>");
    dom_set_protection(doc, NULL);
    g_assert_false(dom_get_protection(doc, &q));
    dom_free(doc);
}

static void bad_xml_is_an_error(void)
{
    static const char *const bad[] = { "", "<", "<network/>", "<domain>" };
    struct ft_err err;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        memset(&err, 0, sizeof(err));
        g_assert_null(dom_parse(bad[i], &err));
        g_assert_cmpint(err.code, !=, 0);
    }
}

int main(int argc, char **argv)
{
    if (!g_getenv("G_TEST_SRCDIR")) {
        g_setenv("G_TEST_SRCDIR",
                 g_getenv("top_srcdir") ? g_getenv("top_srcdir") : ".", TRUE);
    }
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/domain/prepare-plain", prepares_a_plain_domain);
    g_test_add_func("/domain/idempotent", second_time_changes_nothing);
    g_test_add_data_func("/domain/undo/plain", "plain.xml", undo_restores);
    g_test_add_data_func("/domain/undo/virt-install", "virt-install.xml",
                         undo_restores);
    g_test_add_func("/domain/undo/later-edits", undo_keeps_later_edits);
    g_test_add_func("/domain/virt-install", virt_install);
    g_test_add_func("/domain/not-started-prepared",
                    a_running_unprepared_domain_is_told);
    g_test_add_func("/domain/refusals", refuses_each_by_name);
    g_test_add_func("/domain/replica", facts_and_replica);
    g_test_add_func("/domain/label", a_label_of_the_users_stays);
    g_test_add_func("/domain/settings", settings_live_in_metadata);
    g_test_add_func("/domain/bad-xml", bad_xml_is_an_error);
    return g_test_run();
}
