/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log.c - messages for the operator, and a ring of recent detail
 *
 * One line, one write(2): lines of several processes in one file do not mix.
 * The ring keeps whole lines, each as a NUL-terminated string in a slot of
 * fixed size: 1,024 lines are 256 KiB, some seconds of a busy agent.
 */
#include "common/host/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/host/clock.h"

#define LINE_MAX_BYTES 1024
#define RING_LINES 1024
#define RING_LINE 256
/* An address that knocks for a day fills some megabytes, not the disk. */
#define FEW_LINES 10
#define FEW_SECONDS 60

static struct {
    pthread_mutex_t lock;
    const char *program;
    int fd;
    int to_stderr;
    enum ft_log_level level;
    unsigned next, used;
    char ring[RING_LINES][RING_LINE];
} the_log = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .program = "lockstep",
    .fd = -1,
    .to_stderr = 1,
    .level = FT_LOG_INFO,
};

static const char *const level_names[] = {
    [FT_LOG_ERROR] = "error",
    [FT_LOG_WARNING] = "warning",
    [FT_LOG_INFO] = "info",
    [FT_LOG_DEBUG] = "debug",
};
_Static_assert(sizeof(level_names) / sizeof(level_names[0]) ==
                   FT_LOG_DEBUG + 1,
               "a name for each level");

int ft_log_open(const struct ft_log_config *config, struct ft_err *err)
{
    int fd = -1;

    if (config->file) {
        fd = open(config->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                  0640);
        if (fd < 0) {
            return ft_err_sys(err, errno, "log file %s: cannot open",
                              config->file);
        }
    }
    pthread_mutex_lock(&the_log.lock);
    if (the_log.fd >= 0) {
        close(the_log.fd);
    }
    the_log.fd = fd;
    the_log.program = config->program;
    the_log.to_stderr = config->to_stderr;
    the_log.level = config->level;
    pthread_mutex_unlock(&the_log.lock);
    return 0;
}

void ft_log_close(void)
{
    pthread_mutex_lock(&the_log.lock);
    if (the_log.fd >= 0) {
        close(the_log.fd);
        the_log.fd = -1;
    }
    pthread_mutex_unlock(&the_log.lock);
}

void ft_log_set_level(enum ft_log_level level)
{
    pthread_mutex_lock(&the_log.lock);
    the_log.level = level;
    pthread_mutex_unlock(&the_log.lock);
}

/* A line that cannot be written has nowhere to be reported. */
static void write_out(const char *line, size_t n)
{
    ssize_t ignored;

    if (the_log.to_stderr) {
        ignored = write(STDERR_FILENO, line, n);
        (void)ignored;
    }
    if (the_log.fd >= 0) {
        ignored = write(the_log.fd, line, n);
        (void)ignored;
    }
}

static size_t put_head(char *to, size_t cap, enum ft_log_level level)
{
    struct timespec wall, mono;
    struct tm tm;
    size_t n;

    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_MONOTONIC, &mono);
    gmtime_r(&wall.tv_sec, &tm);
    n = strftime(to, cap, "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(to + n, cap - n,
                          ".%06ldZ %lld.%06ld %s %s: ", wall.tv_nsec / 1000,
                          (long long)mono.tv_sec, mono.tv_nsec / 1000,
                          the_log.program, level_names[level]);
    return n < cap ? n : cap - 1;
}

/* Control characters (a peer's text may hold some) must not forge lines. */
static void make_printable(char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f) {
            *s = ' ';
        }
    }
}

static void log_va(enum ft_log_level level, const char *fmt, va_list ap)
{
    int saved = errno;
    char line[LINE_MAX_BYTES];
    size_t head, n;

    pthread_mutex_lock(&the_log.lock);
    head = put_head(line, sizeof(line) / 2, level);
    vsnprintf(line + head, sizeof(line) - 1 - head, fmt, ap);
    make_printable(line + head);
    n = strlen(line);
    line[n] = '\n';
    if (level <= the_log.level) {
        write_out(line, n + 1);
    } else {
        size_t keep = n < RING_LINE - 1 ? n : RING_LINE - 1;

        memcpy(the_log.ring[the_log.next], line, keep);
        the_log.ring[the_log.next][keep] = '\0';
        the_log.next = (the_log.next + 1) % RING_LINES;
        if (the_log.used < RING_LINES) {
            the_log.used++;
        }
    }
    pthread_mutex_unlock(&the_log.lock);
    errno = saved;
}

void ft_log(enum ft_log_level level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_va(level, fmt, ap);
    va_end(ap);
}

void ft_warning_few(struct ft_few *f, const char *fmt, ...)
{
    unsigned left_out = 0;
    struct timespec now;
    bool may;
    va_list ap;

    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&the_log.lock);
    if (now.tv_sec - f->since_s >= FEW_SECONDS) {
        left_out = f->count > FEW_LINES ? f->count - FEW_LINES : 0;
        f->since_s = now.tv_sec;
        f->count = 0;
    }
    may = ++f->count <= FEW_LINES;
    pthread_mutex_unlock(&the_log.lock);
    if (left_out) {
        ft_warning("log: %u messages like the next one were left out",
                   left_out);
    }
    if (may) {
        va_start(ap, fmt);
        log_va(FT_LOG_WARNING, fmt, ap);
        va_end(ap);
    }
}

void ft_log_dump(const char *why)
{
    int saved = errno;
    char line[LINE_MAX_BYTES];
    size_t head;
    unsigned i;

    pthread_mutex_lock(&the_log.lock);
    head = put_head(line, sizeof(line) / 2, FT_LOG_INFO);
    snprintf(line + head, sizeof(line) - head,
             "log: %u recent lines of detail, because of %s\n", the_log.used,
             why);
    write_out(line, strlen(line));
    for (i = 0; i < the_log.used; i++) {
        unsigned at = (the_log.next + RING_LINES - the_log.used + i) %
                      RING_LINES;

        snprintf(line, sizeof(line), "  %s\n", the_log.ring[at]);
        write_out(line, strlen(line));
    }
    the_log.used = 0;
    pthread_mutex_unlock(&the_log.lock);
    errno = saved;
}
