/* SPDX-License-Identifier: GPL-2.0-or-later */
/* arbiter-lookup.c - what lockstepd reads of an arbiter, outside a failover */
#include "control/lockstepd/arbiter-lookup.h"

#include <errno.h>
#include <stdio.h>

#include "common/host/id.h"
#include "shared-disk/file.h"

const char *arbiter_folder(const char *uri)
{
    const char *dir = tas_file_dir(uri, NULL);

    return dir ? dir : "";
}

int arbiter_id(const char *uri, char *out, size_t size, struct ft_err *err)
{
    const char *dir = tas_file_dir(uri, err);
    char id[TAS_FILE_ID];

    if (!dir || tas_file_id(dir, id, err) < 0) {
        return -1;
    }
    snprintf(out, size, "%s", id);
    return 0;
}

int arbiter_record(const char *uri, const char *uuid, uint64_t *g,
                   char owner[CTL_NAME], struct ft_err *err)
{
    const char *dir = tas_file_dir(uri, err);
    struct tas_block b;
    uint8_t vm[16];

    *g = 0;
    *owner = 0;
    if (!dir) {
        return -1;
    }
    if (!ft_uuid_parse(vm, uuid)) {
        return ft_err_set(err, EINVAL, "vm %s: not a UUID", uuid);
    }
    if (tas_file_read(dir, vm, &b, err) < 0) {
        return -1;
    }
    *g = b.generation;
    if (b.state == TAS_BLOCK_OWNED) {
        snprintf(owner, CTL_NAME, "%s", b.host);
    }
    return 0;
}
