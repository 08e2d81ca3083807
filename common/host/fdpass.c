/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fdpass.c - bytes with descriptors over UNIX sockets (SCM_RIGHTS) */
#include "common/host/fdpass.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PROC_ACCEPTS 0x10000 /* __SO_ACCEPTCON, of the kernel's table */

union control {
    char buf[CMSG_SPACE(sizeof(int) * FT_FDS_MAX)];
    struct cmsghdr align;
};

ssize_t ft_send_fds(int sock, const void *buf, size_t n, const int *fds,
                    size_t nfds, struct ft_err *err)
{
    struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = n };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    union control control;
    ssize_t sent;

    if (!n || nfds > FT_FDS_MAX) {
        return ft_err_set(err, EINVAL, "descriptors: %zu with %zu bytes",
                          nfds, n);
    }
    if (nfds) {
        struct cmsghdr *cmsg;

        memset(&control, 0, sizeof(control));
        msg.msg_control = control.buf;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
        memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * nfds);
    }
    do {
        sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        return ft_err_sys(err, errno == EWOULDBLOCK ? EAGAIN : errno,
                          "UNIX socket: cannot send");
    }
    return sent;
}

/* All descriptors of a message are taken out, so that none leaks. */
static size_t take_fds(struct msghdr *msg, int *fds, size_t max, int *excess)
{
    struct cmsghdr *cmsg;
    size_t got = 0;

    for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        size_t i, n;

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
            if (got < max) {
                fds[got++] = fd;
            } else {
                close(fd);
                *excess = 1;
            }
        }
    }
    return got;
}

ssize_t ft_recv_fds(int sock, void *buf, size_t cap, int *fds, size_t max_fds,
                    size_t *nfds, struct ft_err *err)
{
    struct iovec iov = { .iov_base = buf, .iov_len = cap };
    union control control;
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.buf,
        .msg_controllen = sizeof(control.buf),
    };
    int excess = 0;
    ssize_t n;

    *nfds = 0;
    do {
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return ft_err_sys(err, errno == EWOULDBLOCK ? EAGAIN : errno,
                          "UNIX socket: cannot receive");
    }
    *nfds = take_fds(&msg, fds, max_fds, &excess);
    if (excess || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        while (*nfds) {
            close(fds[--*nfds]);
        }
        return ft_err_set(err, EMSGSIZE,
                          "UNIX socket: a message of more "
                          "than %zu bytes or %zu descriptors",
                          cap, max_fds);
    }
    return n;
}

static int fill_address(struct sockaddr_un *sun, const char *path,
                        struct ft_err *err)
{
    size_t n = strlen(path);

    memset(sun, 0, sizeof(*sun));
    sun->sun_family = AF_UNIX;
    if (!n || n >= sizeof(sun->sun_path)) {
        return ft_err_set(err, ENAMETOOLONG,
                          "UNIX socket %s: a path must "
                          "have 1 to %zu bytes",
                          path, sizeof(sun->sun_path) - 1);
    }
    memcpy(sun->sun_path, path, n);
    return 0;
}

int ft_unix_listen(const char *path, int type, unsigned mode,
                   struct ft_err *err)
{
    struct sockaddr_un sun;
    struct stat st;
    int fd;

    if (fill_address(&sun, path, err) < 0) {
        return -1;
    }
    if (!lstat(path, &st)) {
        struct ft_err ignored;

        if (!S_ISSOCK(st.st_mode)) {
            return ft_err_set(err, EEXIST,
                              "UNIX socket %s: a file that is "
                              "not a socket is in the way",
                              path);
        }
        fd = ft_unix_connect(path, type, &ignored);
        if (fd >= 0) {
            close(fd);
            return ft_err_set(err, EADDRINUSE,
                              "UNIX socket %s: another "
                              "process listens on it",
                              path);
        }
        unlink(path);
    }
    fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return ft_err_sys(err, errno, "UNIX socket %s", path);
    }
    /* The mode must hold from the first moment, not from a later chmod: the
     * file gets the socket's own (less the umask, which other threads may
     * rely on and which is left alone). */
    if (fchmod(fd, mode) < 0 ||
        bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ||
        listen(fd, 64) < 0) {
        ft_err_sys(err, errno, "UNIX socket %s: cannot listen", path);
        close(fd);
        return -1;
    }
    return fd;
}

int ft_unix_connect(const char *path, int type, struct ft_err *err)
{
    struct sockaddr_un sun;
    int fd;

    if (fill_address(&sun, path, err) < 0) {
        return -1;
    }
    fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return ft_err_sys(err, errno, "UNIX socket %s", path);
    }
    if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
        ft_err_sys(err, errno, "UNIX socket %s: cannot connect", path);
        close(fd);
        return -1;
    }
    return fd;
}

int ft_unix_has_listener(const char *path)
{
    FILE *f = fopen("/proc/net/unix", "re");
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    int found = 0;

    if (f == NULL) {
        return -1;
    }
    while (!found && (n = getline(&line, &size, f)) > 0) {
        unsigned long flags = 0;
        int at = 0;

        line[n - 1] = '\0'; /* the end of the line */
        /* number: references protocol flags type state inode path */
        sscanf(line, "%*s %*s %*s %lx %*s %*s %*s %n", &flags, &at);
        found = at > 0 && (flags & PROC_ACCEPTS) && !strcmp(line + at, path);
    }
    free(line);
    fclose(f);
    return found;
}
