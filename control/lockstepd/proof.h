/* SPDX-License-Identifier: GPL-2.0-or-later */
/* proof.h - does the other host see the same file? the same emulator? */
#ifndef LOCKSTEPD_PROOF_H
#define LOCKSTEPD_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/host/err.h"
#include "control/lockstepd/sizes.h"

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
/* The arbiter's random id, and the folder behind file: URIs. */
int arbiter_id(const char *uri, char *out, size_t size, struct ft_err *err);
const char *arbiter_folder(const char *uri);
/* Highest generation that it has a record of, 0: none; and the host that owns
 * it, "": free. */
int arbiter_record(const char *uri, const char *uuid, uint64_t *g,
                   char owner[CTL_NAME], struct ft_err *err);

#endif
