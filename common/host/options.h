/* SPDX-License-Identifier: GPL-2.0-or-later */
/* options.h - lockstepd.conf: read, check, explain (see options.tbl.h) */
#ifndef FT_HOST_OPTIONS_H
#define FT_HOST_OPTIONS_H

#include <stdint.h>
#include <stdio.h>

#include "common/host/err.h"
#include "common/host/options.tbl.h"

#define FT_OPTION_TEXT 256
/* A path below a folder of [paths], as RUN/agent/UUID/agent.sock. */
#define FT_PATH_TEXT (FT_OPTION_TEXT + 128)
#define FT_CONFIG_DEFAULT SYSCONFDIR "/lockstep/lockstepd.conf"

/* One flat struct; a setting is the member section_key, e.g. host_name. */
struct ft_options {
#define STR(section, key, def, allowed, unit, meaning)                       \
    char section##_##key[FT_OPTION_TEXT];
#define INT(section, key, def, min, max, unit, meaning)                      \
    int64_t section##_##key;
    FT_OPTIONS(STR, INT)
#undef STR
#undef INT
};

/* Defaults, then the file. An unknown section or key, a value out of bounds
 * or not of its type, a key given twice: -1 and "FILE:LINE: [host] port=..:
 * reason". file NULL: FT_CONFIG_DEFAULT, which may be absent. After that,
 * what depends on two settings is checked, and an empty host name becomes
 * the system's. */
int ft_options_load(struct ft_options *o, const char *file,
                    struct ft_err *err);
/* One setting, as in "host.port=16521". */
int ft_options_set(struct ft_options *o, const char *assignment,
                   struct ft_err *err);
void ft_options_help(FILE *to);   /* for --help */
void ft_options_sample(FILE *to); /* a commented file of defaults */

#endif
