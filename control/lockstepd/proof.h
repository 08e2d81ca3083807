/* SPDX-License-Identifier: GPL-2.0-or-later */
/* proof.h - does the other host see the same file? the same emulator? */
#ifndef LOCKSTEPD_PROOF_H
#define LOCKSTEPD_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/host/err.h"

#define PROOF_BUILD_ID 128

struct proof {
    char file[1024]; /* path of the nonce file */
    char nonce[33];
};

/* Writes a nonce file into the folder of `path` (folder: path is the
 * folder). */
int proof_write(const char *path, bool folder, const char *host,
                struct proof *p, struct ft_err *err);
int proof_read(const struct proof *p, struct ft_err *err);
void proof_remove(struct proof *p);
int proof_stat(const char *path, uint64_t *inode, uint64_t *size,
               struct ft_err *err);
/* What an emulator of this host will say in its greeting to its agent. */
int proof_build_id(const char *emulator, char id[PROOF_BUILD_ID],
                   struct ft_err *err);

#endif
