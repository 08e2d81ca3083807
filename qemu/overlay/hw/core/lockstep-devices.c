/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: which devices a protected guest may have.
 *
 * paper, 2.1; rule 11
 *
 * A device may be protected when it changes the guest's state only
 *
 *  - on the vCPU thread: in its registers' callbacks, in timers of
 *    QEMU_CLOCK_VIRTUAL of the main timer list, in bottom halves that go
 *    through replay_bh_schedule_event(), and in ends of requests that go
 *    through LockstepRequest or the replay engine's events;
 *  - with what it was given there: no host clock, no random numbers but
 *    qemu_guest_getrandom(), no thread, eventfd or timer of its own;
 *
 * and when its whole state is in its vmstate once block jobs, network queues
 * and requests are drained. Nobody can see that from outside, so there is a
 * list of those that were looked at, and everything else is refused by name.
 *
 * What was looked at (10.0). State outside vmstate is named, with why it does
 * no harm; "settled" is hw/core/lockstep-settle.h.
 *
 *  virtio       what a queue remembers of avail and of its last signal, the
 *               configuration's generation, start_on_kick: settled. A load
 *               sets INTx from isr, to the level that it had
 *  virtio-blk   no ioeventfd, no iothread; dma_restart BH only for requests
 *               that an error policy "stop" kept: refused. Its disk is behind
 *               block/lockstep-disk.c
 *  virtio-net   tx bottom half through replay_bh, tx timer VIRTUAL; either is
 *               begun from tx_waiting when a clone's two sides start to run.
 *               The announce timer is off. Packets that coalesce (rsc) are
 *               lost in a clone: guest_rsc_ext is off, libvirt has no name for
 *               it. Its netdev is behind net/lockstep-net.c
 *  isa-serial   timers VIRTUAL; no watch and no retry, since
 *               chardev/lockstep-chr.c takes all output; modem lines are not
 *               polled (no ioctl); thr_ipending is sampled when it is enabled
 *  i8042, ps2   input events of the replay engine; the throttle timer is off
 *               (kbd-throttle). A modifier key that is held and a turn of the
 *               mouse's second wheel that waits are lost: the next Print or
 *               Pause key, or turn, may diverge, and a new clone is made
 *  vmmouse      a load puts its handler first, where the guest had put it
 *  PIIX, ICH9   PM timer and TCO VIRTUAL, in the state. ICH9's SWSMI and
 *               periodic timers are not: only firmware in SMM enables them,
 *               and UEFI is refused
 *  IDE          empty CD drives only: commands without data or a few bytes by
 *               PIO; atapi_dma is not in the state
 *  AHCI         without drives: its bottom half is outside the log
 *  RTC          timers follow -rtc clock=; host time reads are in the log; the
 *               timer for lost ticks is settled
 *  PIT, lapic   timers VIRTUAL, deadlines in the state
 *  ioapic       count of levels that stay, and the pause after: settled
 *  fdc, i8257   timer VIRTUAL, in the state; the DMA controller's status and
 *               idle bottom half matter while a floppy transfers: drives must
 *               be empty
 *  fw_cfg       each side has its own, read again after a reset: kernel,
 *               initrd and ROMs must be the same on both hosts
 *  kvmvapic     a load maps its ROM and reports TPR accesses as the source
 *               does; its page is used by 32-bit Windows only
 *  PCI          MSI-X table and pending bits, root ports: in the state
 *  VGA          retrace from VIRTUAL; the display is only read
 *
 * Timers of the same nanosecond run in the order in which they were armed; a
 * replica's were armed in the order of loading. Nothing has been seen of it.
 */

#include "qemu/osdep.h"
#include "hw/acpi/acpi.h"
#include "hw/boards.h"
#include "hw/core/lockstep-settle.h"
#include "hw/intc/ioapic.h"
#include "hw/qdev-core.h"
#include "hw/rtc/mc146818rtc.h"
#include "hw/sysbus.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "qemu/notify.h"
#include "system/block-backend.h"
#include "system/cpu-timers.h"
#include "system/lockstep.h"
#include "system/system.h"

static const char *const allowed[] = {
    "ICH9-LPC", "ICH9-SMB", "PIIX3", "PIIX4_PM", "VGA", "floppy", "fw_cfg_io",
    "i440FX", "i440FX-pcihost", "i8042", "i8257", "ich9-ahci", "ide-cd",
    "ioapic", "isa-debugcon", "isa-fdc", "isa-i8259", "isa-pcspk", "isa-pit",
    "isa-serial", "kvmvapic", "mc146818rtc", "mch", "pci-bridge",
    "pcie-pci-bridge", "pcie-root-port", "piix3-ide", "port92", "ps2-kbd",
    "ps2-mouse", "q35-pcihost", "smbus-eeprom", "virtio-blk-device",
    "virtio-blk-pci", "virtio-blk-pci-non-transitional",
    "virtio-blk-pci-transitional", "virtio-net-device", "virtio-net-pci",
    "virtio-net-pci-non-transitional", "virtio-net-pci-transitional",
    "vmmouse", "vmport",
};

/* What to do instead; the first prefix that fits. */
static const struct {
    const char *prefix;
    const char *hint;
} hints[] = {
    { "hpet", "turn it off (libvirt: <timer name='hpet' present='no'/>)" },
    { "virtio-balloon", "remove it (libvirt: <memballoon model='none'/>)" },
    { "virtio-serial", "guest agents and channels are not supported" },
    { "virtio-rng", "remove it, the CPU's rdrand is in the log" },
    { "virtio-scsi", "use virtio-blk" },
    { "virtio-gpu", "use VGA" },
    { "vhost-", "use virtio without vhost" },
    { "vfio-", "a host's device cannot be replayed" },
    { "ich9-usb",
      "remove it (libvirt: <controller type='usb' model='none'/>)" },
    { "piix3-usb",
      "remove it (libvirt: <controller type='usb' model='none'/>)" },
    { "qemu-xhci",
      "remove it (libvirt: <controller type='usb' model='none'/>)" },
    { "cfi.pflash", "use the BIOS" },
    { "isa-parallel", "remove it" },
    { "i6300esb", "remove it" },
    { "pvpanic", "remove it" },
};

static const char *device_hint(DeviceState *dev)
{
    const char *type = object_get_typename(OBJECT(dev));
    DeviceClass *dc = DEVICE_GET_CLASS(dev);
    size_t i;

    for (i = 0; i < ARRAY_SIZE(hints); i++) {
        if (g_str_has_prefix(type, hints[i].prefix)) {
            return hints[i].hint;
        }
    }
    if (test_bit(DEVICE_CATEGORY_NETWORK, dc->categories) ||
        test_bit(DEVICE_CATEGORY_STORAGE, dc->categories)) {
        return "use virtio";
    }
    if (test_bit(DEVICE_CATEGORY_DISPLAY, dc->categories)) {
        return "use VGA";
    }
    return "remove it";
}

static bool device_is_allowed(DeviceState *dev)
{
    const char *type = object_get_typename(OBJECT(dev));
    size_t i;

    for (i = 0; i < ARRAY_SIZE(allowed); i++) {
        if (!strcmp(type, allowed[i])) {
            return true;
        }
    }
    return false;
}

/* May the guest suspend to RAM? A sleeping guest writes no log. */
static bool device_offers_s3(DeviceState *dev)
{
    return object_property_find(OBJECT(dev), ACPI_PM_PROP_S3_DISABLED) &&
           !object_property_get_uint(OBJECT(dev), ACPI_PM_PROP_S3_DISABLED,
                                     &error_abort);
}

static int device_check(DeviceState *dev, void *opaque)
{
    Error **errp = opaque;
    const char *type = object_get_typename(OBJECT(dev));

    if (!strcmp(type, "ide-cd") &&
        !object_dynamic_cast(OBJECT(dev->parent_bus->parent), "piix3-ide")) {
        error_setg(errp, "device %s (%s) cannot be protected: remove it, or "
                   "use machine type pc", dev->id ?: "without a name", type);
        return -1;
    }
    if (device_offers_s3(dev)) {
        error_setg(errp, "device %s cannot be protected: the guest may suspend "
                   "to RAM; turn that off (libvirt: <pm><suspend-to-mem "
                   "enabled='no'/></pm>) and start the guest again", type);
        return -1;
    }
    if (device_is_allowed(dev)) {
        return 0;
    }
    if (dev->id) {
        error_setg(errp, "device %s (%s) cannot be protected: %s", dev->id,
                   type, device_hint(dev));
    } else {
        error_setg(errp, "device %s cannot be protected: %s", type,
                   device_hint(dev));
    }
    return -1;
}

/* A medium of a drive that is not behind our disk node. */
static bool media_check(Error **errp)
{
    BlockBackend *blk;

    for (blk = blk_all_next(NULL); blk; blk = blk_all_next(blk)) {
        DeviceState *dev = blk_get_attached_dev(blk);

        if (dev && !object_dynamic_cast(OBJECT(dev), "virtio-blk-device") &&
            blk_is_inserted(blk)) {
            error_setg(errp, "drive %s (%s) cannot be protected: eject its "
                       "medium or use virtio", dev->id ?: "without a name",
                       object_get_typename(OBJECT(dev)));
            return false;
        }
    }
    return true;
}

static bool devices_can_attach(void *opaque, Error **errp)
{
    Error *err = NULL;

    if (!icount_enabled()) {
        error_setg(errp, "the guest cannot be protected: it was started "
                   "without -icount");
        return false;
    }
    if (current_machine->smp.max_cpus > 1) {
        error_setg(errp, "the guest cannot be protected: it has %u vCPUs, "
                   "only one is supported", current_machine->smp.max_cpus);
        return false;
    }
    if (qbus_walk_children(sysbus_get_default(), device_check, NULL, NULL, NULL,
                           &err)) {
        error_propagate(errp, err);
        return false;
    }
    return media_check(errp);
}

static int device_settle(DeviceState *dev, void *opaque)
{
    if (object_dynamic_cast(OBJECT(dev), TYPE_VIRTIO_DEVICE)) {
        virtio_lockstep_settle(VIRTIO_DEVICE(dev));
    } else if (object_dynamic_cast(OBJECT(dev), TYPE_IOAPIC)) {
        ioapic_lockstep_settle(dev);
    } else if (object_dynamic_cast(OBJECT(dev), TYPE_MC146818_RTC)) {
        mc146818rtc_lockstep_settle(dev);
    }
    return 0;
}

static void devices_settle(void *opaque)
{
    qbus_walk_children(sysbus_get_default(), device_settle, NULL, NULL, NULL,
                       NULL);
}

static LockstepPart devices_part = {
    .can_attach = devices_can_attach,
    .start_record = devices_settle,
    .start_replay = devices_settle,
};

static void devices_machine_done(Notifier *n, void *data)
{
    if (lockstep_enabled()) {
        lockstep_register_part(&devices_part);
    }
}

static Notifier machine_done = { .notify = devices_machine_done };

static void devices_init(void)
{
    qemu_add_machine_init_done_notifier(&machine_done);
}

type_init(devices_init);
