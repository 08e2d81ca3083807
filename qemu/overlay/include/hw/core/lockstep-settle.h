/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: what devices remember beside their vmstate.
 *
 * A load forgets it, or starts it anew. At a clone each of these is called on
 * both sides, guest stopped, so that the source goes on as its replica begins.
 */
#ifndef HW_CORE_LOCKSTEP_SETTLE_H
#define HW_CORE_LOCKSTEP_SETTLE_H

#include "hw/virtio/virtio.h"

/* How far the queues were looked at and signalled; the configuration's
 * generation; whether a driver without DRIVER_OK starts the device. */
void virtio_lockstep_settle(VirtIODevice *vdev);
/* How often a level was raised again at once, and the pause that follows. */
void ioapic_lockstep_settle(DeviceState *dev);
/* When the next lost tick is made up for. */
void mc146818rtc_lockstep_settle(DeviceState *dev);

#endif
