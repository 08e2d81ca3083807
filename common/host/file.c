/* SPDX-License-Identifier: GPL-2.0-or-later */
/* file.c - a small file that a power cut leaves whole */
#include "common/host/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* All of it, on the disk. -1: errno. */
static int write_text(const char *path, const char *text, unsigned mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode), rc;
    size_t n = strlen(text);

    if (fd < 0) {
        return -1;
    }
    errno = ENOSPC; /* what a write that is cut short means */
    rc = write(fd, text, n) == (ssize_t)n && fsync(fd) == 0 ? 0 : -1;
    if (rc < 0) {
        int why = errno;

        close(fd);
        errno = why;
        return -1;
    }
    return close(fd);
}

/* The names in a file's folder. -1: errno. */
static int sync_names(const char *path)
{
    char dir[PATH_MAX];
    char *slash;
    int fd, rc;

    snprintf(dir, sizeof(dir), "%s", path);
    slash = strrchr(dir, '/');
    if (slash == NULL) {
        errno = EINVAL;
        return -1;
    }
    *slash = '\0';
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    rc = fsync(fd);
    close(fd);
    return rc;
}

int ft_file_replace(const char *path, const char *text, unsigned mode,
                    struct ft_err *err)
{
    char tmp[PATH_MAX];

    snprintf(tmp, sizeof(tmp), "%s.%d", path, (int)gettid());
    if (write_text(tmp, text, mode) < 0 || rename(tmp, path) < 0) {
        ft_err_sys(err, errno, "file %s: cannot write it", path);
        unlink(tmp);
        return -1;
    }
    if (sync_names(path) < 0) {
        return ft_err_sys(err, errno, "file %s: cannot sync its folder",
                          path);
    }
    return 0;
}
