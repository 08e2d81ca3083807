/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * err.h - how a driver says what went wrong
 *
 * A driver's function that can fail takes a struct ft_err, which it fills in
 * when it returns -1 (or NULL). The text is a whole message for an operator:
 * the object, the reason and, where there is one, what to do.
 */
#ifndef FT_HOST_ERR_H
#define FT_HOST_ERR_H

#define FT_ERR_TEXT 512

struct ft_err {
    int code;               /* an errno value; never 0 after a failure */
    char text[FT_ERR_TEXT]; /* cut, never overrun */
};

/* Each returns -1, so that a caller can return it. err may be NULL. errno is
 * left as it was. A code of 0 is stored as EIO. */
int ft_err_set(struct ft_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, and appends ": " and the text of the errno value `code`. */
int ft_err_sys(struct ft_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Put an object in front: "fmt: text so far". Keeps the code. */
int ft_err_prefix(struct ft_err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
