/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the block node between a guest's disk and its image.
 *
 * See block/lockstep-disk.c for the theory of operation.
 */
#ifndef BLOCK_LOCKSTEP_DISK_H
#define BLOCK_LOCKSTEP_DISK_H

#include "hw/block/block.h"

/*
 * Put a lockstep-disk node between @conf->blk and its root node, and make the
 * parts of @conf deterministic that otherwise follow the image. Called when
 * @dev realizes, before its permissions are set. Does nothing without
 * "-object lockstep".
 */
bool lockstep_disk_attach(DeviceState *dev, BlockConf *conf, Error **errp);

/*
 * @blk's device is reset. Returns true when its requests were ended here, so
 * that the caller must not drain: the log decides when a request ends.
 */
bool lockstep_disk_reset(BlockBackend *blk);

/*
 * For file-posix: is @bs the image of a disk that the guest may write? Then it
 * is open for writing, in a replica too, see "Image files" in
 * block/lockstep-disk.c.
 */
bool lockstep_disk_is_image(BlockDriverState *bs);

/* For file-posix: from now on @fd is the descriptor of @bs. */
void lockstep_disk_uses(BlockDriverState *bs, int fd);

/*
 * For file-posix: a lock of the image was refused with *@errp. True (and the
 * error is turned into a warning) while this QEMU goes live, see "Image locks"
 * in block/lockstep-disk.c.
 */
bool lockstep_disk_forgives_lock(BlockDriverState *bs, Error **errp);

/*
 * In file-posix.c: take the locks of an image that is used without them. False
 * when somebody else still has one.
 */
bool raw_lockstep_lock_again(BlockDriverState *bs);

/*
 * For file-posix, in a worker thread, immediately before work that may write:
 * waits while this QEMU records and its lease is over or its gate shut. It was
 * asked when the write was submitted, but a process that is stopped before a
 * worker came to it must not write over a live peer when it wakes.
 */
void lockstep_disk_await_lease(void);

#endif
