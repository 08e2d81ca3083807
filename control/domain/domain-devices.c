/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * domain-devices.c - which domains and devices can be protected
 *
 * An allow-list: a device is protected only when everything that it tells the
 * guest goes through the log and everything that it tells the world waits for
 * the Output Rule. What is not listed is refused by name.
 *
 * Three kinds of refusal differ in what the user can do: some devices are of
 * no use to a protected guest and are taken out without asking (a random
 * number source, an idle USB controller); some the guest can do without, and
 * --remove takes them out (screen, sound); the others are the user's to solve
 * (a passed-through device, a disk's cache mode).
 */
#include "control/domain/domain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VIRSH_EDIT "change it with 'virsh edit'"

/* Devices without a check of their own. */
static const struct {
    const char *element;
    enum { ALLOWED, ON_REQUEST, NEVER } what;
    const char *reason, *action;
} table[] = {
    { "emulator", ALLOWED, NULL, NULL },
    { "memballoon", ALLOWED, NULL, NULL }, /* prepare makes it none */
    { "rng", ALLOWED, NULL, NULL },        /* prepare removes it */
    { "audio", ALLOWED, NULL, NULL },      /* no device by itself */
    { "graphics", ON_REQUEST, "a screen's input is not logged", NULL },
    { "video", ON_REQUEST,
      "a graphics card is not on the list of devices "
      "that replay the same",
      NULL },
    { "sound", ON_REQUEST, "sound is timed by the host", NULL },
    { "channel", ON_REQUEST,
      "what a channel (guest agent, spice) says is "
      "not logged",
      NULL },
    { "redirdev", ON_REQUEST, "USB redirection is not logged", NULL },
    { "redirfilter", ON_REQUEST, "USB redirection is not logged", NULL },
    { "hub", ON_REQUEST, "USB is not logged", NULL },
    { "smartcard", ON_REQUEST, "a smart card is not logged", NULL },
    { "watchdog", ON_REQUEST, "a watchdog's action cannot be logged", NULL },
    { "panic", ON_REQUEST, "its event cannot be logged", NULL },
    { "parallel", ON_REQUEST, "a parallel port is not logged", NULL },
    { "vsock", ON_REQUEST,
      "vsock goes past the log, through the host's "
      "kernel",
      NULL },
    { "tpm", NEVER, "a TPM keeps its state outside the guest",
      "remove the <tpm> device" },
    { "hostdev", NEVER,
      "a passed-through device of the host cannot be "
      "replayed on another",
      "remove the <hostdev> device, or use a virtio "
      "device in its place" },
    { "filesystem", NEVER,
      "a shared folder (9p, virtiofs) goes past the "
      "log",
      "remove the <filesystem> device, or put the files on a virtio "
      "disk" },
    { "shmem", NEVER, "memory shared with the host changes outside the log",
      "remove the <shmem> device" },
    { "memory", NEVER, "memory modules are not supported",
      "give the memory in <memory> instead" },
    { "crypto", NEVER, "a virtio crypto device is not logged",
      "remove the <crypto> device" },
    { "iommu", NEVER, "a virtual IOMMU is not supported",
      "remove the <iommu> device" },
    { "lease", NEVER, "leases are the arbiter's work here",
      "remove the <lease> element" },
};

static bool usb_device(const xmlNode *device)
{
    if (dom_is(device, "input")) {
        return dom_attr_is(device, "bus", "usb");
    }
    if (dom_is(device, "redirdev") || dom_is(device, "hub")) {
        return true;
    }
    return dom_is(device, "disk") &&
           dom_attr_is(dom_child(device, "target"), "bus", "usb");
}

static bool uses_controller(const xmlNode *device, const char *type)
{
    if (!strcmp(type, "usb")) {
        return usb_device(device);
    }
    if (!strcmp(type, "virtio-serial")) {
        return (dom_is(device, "channel") || dom_is(device, "console")) &&
               (dom_attr_is(dom_child(device, "target"), "type", "virtio") ||
                dom_attr_is(dom_child(device, "address"), "type",
                            "virtio-serial"));
    }
    return dom_is(device, "disk") &&
           dom_attr_is(dom_child(device, "target"), "bus", type);
}

static bool idle_controller(const xmlNode *controller)
{
    const char *type = dom_attr(controller, "type");

    for (xmlNode *n = controller->parent->children; n; n = n->next) {
        if (uses_controller(n, type)) {
            return false;
        }
    }
    return true;
}

const char *dom_removed_always(const xmlNode *device)
{
    if (dom_is(device, "rng")) {
        return "it feeds the host's randomness to the guest outside the log; "
               "the guest's own generator is enough";
    }
    if (dom_is(device, "controller") &&
        (dom_attr_is(device, "type", "virtio-serial") ||
         dom_attr_is(device, "type", "scsi")) &&
        idle_controller(device)) {
        return "nothing uses it";
    }
    return NULL;
}

const char *dom_removed_on_request(const xmlNode *device)
{
    if (device->type != XML_ELEMENT_NODE) {
        return NULL;
    }
    if (dom_is(device, "video") &&
        dom_attr_is(dom_child(device, "model"), "type", "none")) {
        return NULL;
    }
    if (dom_is(device, "input") && !dom_attr_is(device, "bus", "ps2")) {
        return "only PS/2 input is logged";
    }
    if (dom_is(device, "console") &&
        !dom_attr_is(dom_child(device, "target"), "type", "serial")) {
        return "a virtio console is not logged";
    }
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].what == ON_REQUEST && dom_is(device, table[i].element)) {
            return table[i].reason;
        }
    }
    return NULL;
}

static void refuse(struct dom_report *r, const char *object,
                   const char *action, const char *reason)
{
    dom_say(r, DOM_REFUSED, object, action, "%s", reason);
}

static void check_disk(const xmlNode *d, const char *object,
                       struct dom_report *r)
{
    const xmlNode *driver = dom_child(d, "driver");
    const xmlNode *source = dom_child(d, "source");
    const char *cache = dom_attr(driver, "cache");
    const char *type = dom_attr(driver, "type");
    const char *kind = dom_attr(d, "device");
    const char *bus = dom_attr(dom_child(d, "target"), "bus");

    if (*kind && strcmp(kind, "disk")) {
        dom_say(r, DOM_REFUSED, object,
                "remove the drive ('virsh edit'); "
                "install from it before you prepare the domain",
                "a %s drive cannot be protected", kind);
        return;
    }
    if (strcmp(bus, "virtio")) {
        dom_say(r, DOM_REFUSED, object, "set <target bus='virtio'/>",
                "it is on the %s bus, only virtio disks are logged",
                *bus ? bus : "default");
    }
    if (!dom_attr_is(d, "type", "file") || !source ||
        !*dom_attr(source, "file")) {
        dom_say(r, DOM_REFUSED, object,
                "use an image file in a folder that both hosts mount",
                "its source is of type '%s', only image files are supported",
                dom_attr(d, "type"));
    } else if (dom_attr(source, "file")[0] != '/') {
        refuse(r, object, VIRSH_EDIT, "its path is not absolute");
    }
    if (strcmp(type, "raw") && strcmp(type, "qcow2")) {
        dom_say(r, DOM_REFUSED, object,
                "convert it to raw or qcow2 "
                "(qemu-img convert) and set <driver type=.../>",
                "its format is '%s'", *type ? type : "not stated");
    }
    if (strcmp(cache, "none") && strcmp(cache, "directsync")) {
        dom_say(r, DOM_REFUSED, object,
                "set <driver ... cache='none'/> "
                "('virsh edit'; effective at the next start)",
                "its cache mode is '%s': a page cache of a dead host may "
                "write late over newer data",
                *cache ? cache : "default");
    }
    if (*dom_attr(driver, "iothread")) {
        refuse(r, object, "take iothread= out of its <driver>",
               "an I/O thread's timing is not logged");
    }
    if (dom_child(d, "iotune")) {
        refuse(r, object, "remove <iotune>; limit the rate at the storage",
               "throttling is timed by the host");
    }
    if (dom_child(d, "shareable")) {
        refuse(r, object, "give the domain a disk of its own",
               "it is <shareable/>: other guests may change it outside the "
               "log");
    }
    if (dom_child(d, "transient")) {
        refuse(r, object, "remove <transient/>",
               "a transient disk exists on one host only");
    }
    if (dom_child(d, "encryption") || dom_path(d, "source/encryption")) {
        refuse(r, object, "encrypt inside the guest",
               "its secret is known to one host only");
    }
    if (dom_child(d, "mirror")) {
        refuse(r, object, "end it with 'virsh blockjob --abort'",
               "a block job is running on it");
    }
}

static void check_interface(const xmlNode *d, const char *object,
                            struct dom_report *r)
{
    const char *type = dom_attr(d, "type");
    const char *model = dom_attr(dom_child(d, "model"), "type");
    const xmlNode *driver = dom_child(d, "driver");

    if (strcmp(type, "bridge") && strcmp(type, "network") &&
        strcmp(type, "ethernet")) {
        dom_say(r, DOM_REFUSED, object,
                "connect it to a bridge or a libvirt network that both hosts "
                "have",
                "its type '%s' cannot move to another host with its "
                "connections",
                type);
    }
    if (strcmp(model, "virtio")) {
        dom_say(r, DOM_REFUSED, object, "set <model type='virtio'/>",
                "its model is '%s', only virtio is supported",
                *model ? model : "default");
    }
    if (*dom_attr(driver, "queues") && !dom_attr_is(driver, "queues", "1")) {
        refuse(r, object, "take queues= out of its <driver>",
               "more than one queue is not logged");
    }
    if (dom_child(dom_child(d, "tune"), "sndbuf")) {
        refuse(r, object, "take <sndbuf> out of its <tune>",
               "packets beyond <sndbuf> would be lost, and not sent later");
    }
}

static void check_controller(const xmlNode *d, const char *object,
                             struct dom_report *r)
{
    /* usb, scsi, virtio-serial: idle ones go away in prepare, and the
     * device that hangs on one is refused itself. */
    static const char *const fine[] = {
        "pci", "ide", "sata", "fdc", "isa", "usb", "scsi", "virtio-serial"
    };
    const char *type = dom_attr(d, "type");

    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
        if (!strcmp(type, fine[i])) {
            return;
        }
    }
    dom_say(r, DOM_REFUSED, object,
            "remove it, or move its devices to "
            "virtio",
            "a %s controller is not on the list", type);
}

static void check_chardev(const xmlNode *d, const char *object,
                          struct dom_report *r)
{
    static const char *const fine[] = { "pty", "null", "file", "unix" };
    const char *type = dom_attr(d, "type");

    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
        if (!strcmp(type, fine[i])) {
            return;
        }
    }
    dom_say(r, DOM_REFUSED, object, "use a pty (or file, unix, null)",
            "a serial port of type '%s' cannot be taken over by another "
            "host",
            type);
}

static void check_device(const xmlNode *d, const struct dom_options *opt,
                         struct dom_report *r)
{
    const char *reason = dom_removed_on_request(d);
    char object[128];

    dom_object(d, object, sizeof(object));
    if (dom_removed_always(d)) {
        return;
    }
    if (reason) {
        if (!opt->remove) {
            refuse(r, object,
                   "'lockstep prepare --remove' takes it out "
                   "(--undo puts it back)",
                   reason);
        }
        return;
    }
    if (dom_is(d, "disk")) {
        check_disk(d, object, r);
    } else if (dom_is(d, "interface")) {
        check_interface(d, object, r);
    } else if (dom_is(d, "controller")) {
        check_controller(d, object, r);
    } else if (dom_is(d, "serial") || dom_is(d, "console")) {
        check_chardev(d, object, r);
    } else if (!dom_is(d, "input") && !dom_is(d, "video")) {
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
            if (!dom_is(d, table[i].element)) {
                continue;
            }
            if (table[i].what == NEVER) {
                refuse(r, object, table[i].action, table[i].reason);
            }
            return;
        }
        refuse(r, object, "remove it ('virsh edit')",
               "this device is not on the list of devices that replay the "
               "same");
    }
}

static void check_domain_type(const xmlNode *root,
                              const struct dom_options *opt,
                              struct dom_report *r)
{
    const char *type = dom_attr(root, "type");
    const xmlNode *os = dom_path(root, "os/type");
    const char *machine = dom_attr(os, "machine");

    if (!strcmp(type, "kvm")) {
        if (!opt->tcg) {
            refuse(r, "type",
                   "'lockstep prepare --tcg' converts it (slower: "
                   "the guest is emulated)",
                   "it runs under KVM, whose "
                   "execution cannot be recorded");
        }
    } else if (strcmp(type, "qemu")) {
        dom_say(r, DOM_REFUSED, "type", NULL, "'%s' is not a QEMU domain",
                type);
    }
    if (*dom_attr(os, "arch") && !dom_attr_is(os, "arch", "x86_64")) {
        dom_say(r, DOM_REFUSED, "os", "only x86_64 guests are supported",
                "its architecture is %s", dom_attr(os, "arch"));
    }
    if (*machine && strncmp(machine, "pc", 2) && strcmp(machine, "q35")) {
        dom_say(r, DOM_REFUSED, "os", "use pc or q35",
                "the machine '%s' is not supported", machine);
    }
}

void dom_check(xmlDoc *doc, const struct dom_options *opt,
               struct dom_report *r)
{
    const xmlNode *root = xmlDocGetRootElement(doc);
    const xmlNode *os = dom_child(root, "os");
    const xmlNode *devices = dom_child(root, "devices");
    const xmlNode *vcpu = dom_child(root, "vcpu");
    const char *offset = dom_attr(dom_child(root, "clock"), "offset");
    const xmlNode *own = dom_metadata(doc, DOM_NS_PREPARED, "prepared",
                                      false);
    int vcpus = vcpu ? atoi(dom_text(vcpu)) : 1;

    check_domain_type(root, opt, r);
    if (vcpus != 1) {
        dom_say(r, DOM_REFUSED, "vcpu",
                "set <vcpu>1</vcpu> ('virsh "
                "setvcpus DOMAIN 1 --config --maximum')",
                "it has %d virtual CPUs, their interleaving cannot be "
                "replayed",
                vcpus);
    }
    if (dom_attr_is(os, "firmware", "efi") || dom_child(os, "nvram") ||
        dom_attr_is(dom_child(os, "loader"), "type", "pflash")) {
        refuse(r, "os", "use the BIOS (no <loader>, no firmware='efi')",
               "UEFI keeps its variables in a file that is not protected");
    }
    if (!strcmp(offset, "localtime") || !strcmp(offset, "timezone")) {
        dom_say(r, DOM_REFUSED, "clock",
                "set <clock offset='variable' "
                "basis='localtime'/> or offset='utc'",
                "offset '%s' reads the host's time zone", offset);
    }
    if (dom_child(root, "launchSecurity")) {
        refuse(r, "launchSecurity", "remove it",
               "encrypted memory cannot be copied to another host");
    }
    if (dom_path(root, "features/hyperv")) {
        refuse(r, "features/hyperv", "remove <hyperv>",
               "these need KVM, whose execution cannot be recorded");
    }
    for (xmlNode *n = root->children; n; n = n->next) {
        if (!own && n == dom_commandline(doc)) {
            refuse(r, "qemu:commandline",
                   "remove it; Lockstep writes its "
                   "own",
                   "arguments given by hand may break the replay");
        }
        if (dom_is(n, "override")) {
            refuse(r, "qemu:override", "remove it",
                   "properties given by hand may break the replay");
        }
    }
    for (xmlNode *n = devices ? devices->children : NULL; n; n = n->next) {
        if (n->type == XML_ELEMENT_NODE) {
            check_device(n, opt, r);
        }
    }
}
