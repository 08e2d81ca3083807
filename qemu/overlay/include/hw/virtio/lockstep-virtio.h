/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: what a virtio device remembers beside its vmstate.
 */
#ifndef HW_VIRTIO_LOCKSTEP_VIRTIO_H
#define HW_VIRTIO_LOCKSTEP_VIRTIO_H

#include "hw/virtio/virtio.h"

/*
 * A load of a device's state forgets how far its queues were looked at and
 * signalled. Forget it here too, so that a clone's source and its replica
 * treat the queues alike.
 */
void virtio_lockstep_settle(VirtIODevice *vdev);

#endif
