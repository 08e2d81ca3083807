/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep's hooks in the block layer and in devices, for programs and targets
 * without the replay engine.
 */
#include "qemu/osdep.h"
#include "block/lockstep-disk.h"
#include "chardev/lockstep-chr.h"
#include "net/lockstep-net.h"

bool lockstep_disk_attach(DeviceState *dev, BlockConf *conf, Error **errp)
{
    return true;
}

bool lockstep_disk_reset(BlockBackend *blk)
{
    return false;
}

bool lockstep_disk_is_image(BlockDriverState *bs)
{
    return false;
}

void lockstep_disk_uses(BlockDriverState *bs, int fd)
{
}

bool lockstep_disk_forgives_lock(BlockDriverState *bs, Error **errp)
{
    return false;
}

void lockstep_disk_await_lease(void)
{
}

void lockstep_net_attach(NICState *nic)
{
}

void lockstep_chr_attach(Chardev *chr, Object *dev)
{
}

bool lockstep_chr_taken(Chardev *chr)
{
    return false;
}

void lockstep_chr_write(Chardev *chr, const uint8_t *buf, int len)
{
}

bool lockstep_chr_passes(Chardev *chr, QEMUChrEvent event)
{
    return true;
}

int lockstep_chr_room(Chardev *chr, int room)
{
    return room;
}
