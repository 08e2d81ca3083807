/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * proof.c - does the other host see the same file? the same emulator?
 *
 * A path proves nothing: both hosts may have a /shared of their own. So each
 * host writes a file with a random content beside the image, on the storage,
 * and reads the other's. The inode number and the size of the image itself
 * must agree too.
 */
#include "control/lockstepd/proof.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/host/id.h"
#include "common/host/options.h"

int proof_write(const char *path, bool folder, const char *host,
                struct proof *p, struct ft_err *err)
{
    char real[PATH_MAX], tag[17], *dir = real;
    int fd, rc = 0;

    memset(p, 0, sizeof(*p));
    if (!realpath(path, real)) {
        return ft_err_sys(err, errno, "%s", path);
    }
    if (!folder) {
        dir = dirname(real);
    }
    ft_random_hex(tag, 16);
    ft_random_hex(p->nonce, 32);
    if (snprintf(p->file, sizeof(p->file), "%s/.lockstep-%s-%s", dir, host,
                 tag) >= (int)sizeof(p->file)) {
        *p->file = 0;
        return ft_err_set(err, ENAMETOOLONG, "%s: the path is too long",
                          path);
    }
    fd = open(p->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
              0644);
    if (fd < 0 || write(fd, p->nonce, 32) != 32 || fsync(fd) < 0) {
        rc = ft_err_sys(err, errno,
                        "folder %s: cannot write a file that the "
                        "other host could read",
                        dir);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (rc < 0) {
        proof_remove(p);
    }
    return rc;
}

int proof_read(const struct proof *p, struct ft_err *err)
{
    char buf[64] = "";
    int fd = open(p->file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n;

    if (fd < 0) {
        return ft_err_sys(err, errno, "%s", p->file);
    }
    n = read(fd, buf, sizeof(buf) - 1);
    close(fd);
    if (n != 32 || memcmp(buf, p->nonce, 32)) {
        return ft_err_set(err, EINVAL, "%s: holds something else", p->file);
    }
    return 0;
}

void proof_remove(struct proof *p)
{
    if (*p->file) {
        unlink(p->file);
    }
    *p->file = 0;
}

int proof_stat(const char *path, uint64_t *inode, uint64_t *size,
               struct ft_err *err)
{
    /* open: NFS checks with its server again */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0) {
        return ft_err_sys(err, errno, "%s", path);
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return ft_err_set(err, EINVAL, "%s: not a regular file", path);
    }
    close(fd);
    *inode = st.st_ino;
    *size = (uint64_t)st.st_size;
    return 0;
}

int proof_build_id(const char *emulator, char id[PROOF_BUILD_ID],
                   struct ft_err *err)
{
    char path[FT_OPTION_TEXT + sizeof(".build-id")], text[PROOF_BUILD_ID];
    FILE *f;
    size_t n;

    snprintf(path, sizeof(path), "%s.build-id", emulator);
    f = fopen(path, "re");
    if (!f) {
        return ft_err_sys(err, errno,
                          "emulator %s: cannot read %s, "
                          "which qemu/build installs beside it: build it "
                          "there, or correct [paths] emulator= in "
                          "lockstepd.conf",
                          emulator, path);
    }
    n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = 0;
    if (n < 2 || strcspn(text, "\n") != n - 1) {
        return ft_err_set(err, EINVAL,
                          "emulator %s: file %s is not the one "
                          "line that qemu/build writes: install the emulator "
                          "again",
                          emulator, path);
    }
    text[n - 1] = 0;
    snprintf(id, PROOF_BUILD_ID, "%s", text);
    return 0;
}
