/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the consoles of the guest.
 *
 * See chardev/lockstep-chr.c for the theory of operation.
 */
#ifndef CHARDEV_LOCKSTEP_CHR_H
#define CHARDEV_LOCKSTEP_CHR_H

#include "chardev/char.h"

/* @dev's property takes @chr: make it a console of the log. Does nothing
 * without "-object lockstep", and for devices that are not consoles. */
void lockstep_chr_attach(Chardev *chr, Object *dev);

/* Was @chr taken over? */
bool lockstep_chr_taken(Chardev *chr);

/* The guest writes: always takes all of it, at once. */
void lockstep_chr_write(Chardev *chr, const uint8_t *buf, int len);

/* May @event reach the device? A break is not in the log. */
bool lockstep_chr_passes(Chardev *chr, QEMUChrEvent event);

/* How much may the backend hand over, when the device has @room bytes free? */
int lockstep_chr_room(Chardev *chr, int room);

/* @bytes of input are queued for the device; negative: it got them. */
void lockstep_chr_queue(Chardev *chr, int bytes);

/* In char.c: write to the backend without blocking. Returns what it took or
 * -errno. */
int qemu_chr_write_backend(Chardev *chr, const uint8_t *buf, int len);

#endif
