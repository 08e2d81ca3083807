/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log.h - messages for the operator, and a ring of recent detail
 *
 * The level says what the operator should do. error: act. warning: watch.
 * info: a state changed. debug: nothing; it goes into a ring in memory that
 * ft_log_dump() writes out when something has gone wrong.
 *
 * A message begins with its object: ft_info("pair web1: protected, ...").
 * Lines carry the wall clock (UTC) and the monotonic clock, so that the logs
 * of the two hosts can be read together and intervals be measured:
 *
 *     2026-11-20T10:31:07.123456Z 512.004211 lockstepd info: pair web1: ...
 *
 * Any thread may log.
 */
#ifndef FT_HOST_LOG_H
#define FT_HOST_LOG_H

#include <stdint.h>

#include "common/host/err.h"

enum ft_log_level {
    FT_LOG_ERROR,
    FT_LOG_WARNING,
    FT_LOG_INFO,
    FT_LOG_DEBUG,
};

struct ft_log_config {
    const char *program;     /* borrowed for ever: a literal, argv[0] */
    const char *file;        /* NULL: none. Appended to, mode 0640 */
    int to_stderr;           /* write to stderr too */
    enum ft_log_level level; /* up to this level is written out */
};

/* Start. Without it messages up to info go to stderr. May be called again,
 * e.g. to reopen the file after it was rotated. */
int ft_log_open(const struct ft_log_config *config, struct ft_err *err);
void ft_log_close(void);
void ft_log_set_level(enum ft_log_level level);

void ft_log(enum ft_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
#define ft_error(...) ft_log(FT_LOG_ERROR, __VA_ARGS__)
#define ft_warning(...) ft_log(FT_LOG_WARNING, __VA_ARGS__)
#define ft_info(...) ft_log(FT_LOG_INFO, __VA_ARGS__)
#define ft_debug(...) ft_log(FT_LOG_DEBUG, __VA_ARGS__)

/* For what a stranger can cause: of f's messages some come through in each while,
 * and how many did not is told with the next one that does. f begins as zero. */
struct ft_few {
    int64_t since_s;
    unsigned count;
};
void ft_warning_few(struct ft_few *f, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Write out what the ring holds and empty it. why: "go-live of web1". */
void ft_log_dump(const char *why);

#endif
