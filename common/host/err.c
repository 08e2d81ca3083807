/* SPDX-License-Identifier: GPL-2.0-or-later */
/* err.c - how a driver says what went wrong */
#include "common/host/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void take_code(struct ft_err *err, int code)
{
    err->code = code ? code : EIO;
}

int ft_err_set(struct ft_err *err, int code, const char *fmt, ...)
{
    int saved = errno;
    va_list ap;

    if (err) {
        take_code(err, code);
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
    }
    errno = saved;
    return -1;
}

int ft_err_sys(struct ft_err *err, int code, const char *fmt, ...)
{
    int saved = errno;
    va_list ap;

    if (err) {
        char why[128];
        size_t n;

        take_code(err, code);
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
        n = strlen(err->text);
        snprintf(err->text + n, sizeof(err->text) - n, ": %s",
                 strerror_r(err->code, why, sizeof(why)));
    }
    errno = saved;
    return -1;
}

int ft_err_prefix(struct ft_err *err, const char *fmt, ...)
{
    int saved = errno;
    va_list ap;

    if (err) {
        char old[FT_ERR_TEXT];
        size_t n;

        memcpy(old, err->text, sizeof(old));
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
        n = strlen(err->text);
        snprintf(err->text + n, sizeof(err->text) - n, ": %s", old);
    }
    errno = saved;
    return -1;
}
