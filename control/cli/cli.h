/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cli.h - the parts of the lockstep command */
#ifndef CONTROL_CLI_H
#define CONTROL_CLI_H

#include <jansson.h>
#include <stdbool.h>

#include "common/host/options.h"

/* What lockstep exits with. */
enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,    /* refused, or it did not work; stderr says why */
    CLI_USAGE = 2,     /* the command line is wrong */
    CLI_NO_DAEMON = 3, /* lockstepd does not answer */
    CLI_INTERRUPTED = 130,
};

/* show.c: a status reply for people. */
void cli_show_list(const json_t *domains);
void cli_show_one(const json_t *domain);
void cli_show_metrics(const json_t *domains);

/* arbiter.c: `lockstep arbiter ...`, argv[0] is the word after it. */
int cli_arbiter(const struct ft_options *o, int argc, char **argv);

#endif
