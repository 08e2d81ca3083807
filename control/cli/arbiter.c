/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * arbiter.c - lockstep arbiter format | show | test
 *
 * Works on the storage directly, without lockstepd: an arbiter is looked at
 * when something is wrong.
 */
#include "control/cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/id.h"
#include "shared-disk/file.h"
#include "shared-disk/selftest.h"

static int arbiter_usage(FILE *to)
{
    fputs("Usage: lockstep arbiter format [--force] URI|FOLDER\n"
          "       lockstep arbiter show [URI|FOLDER]\n"
          "       lockstep arbiter test [--rounds N] [--with NAME] "
          "[URI|FOLDER]\n\n"
          "format marks a folder on shared storage as an arbiter, with a "
          "random id.\n"
          "show   prints its id, and each domain's record.\n"
          "test   lets two contenders take records at the same moment; each "
          "round must\n"
          "       have one winner. --with NAME: run it on both hosts at the "
          "same time with\n"
          "       the same NAME; else both contenders are on this host.\n"
          "Without URI the one of lockstepd.conf is taken.\n",
          to);
    return to == stdout ? CLI_OK : CLI_USAGE;
}

static int arbiter_failed(const struct ft_err *err)
{
    fprintf(stderr, "lockstep: %s\n", err->text);
    return CLI_FAILED;
}

static int format(const char *dir, bool force)
{
    char id[TAS_FILE_ID];
    struct ft_err err;

    if (tas_file_format(dir, force, id, &err) < 0) {
        return arbiter_failed(&err);
    }
    printf("%s is an arbiter, id %s\n"
           "Set [arbiter] uri=file:%s in lockstepd.conf on both hosts.\n",
           dir, id, dir);
    return CLI_OK;
}

static void show_record(const struct tas_block *b, const char *wrong,
                        void *arg)
{
    char uuid[UUID_STR_LEN];
    unsigned *n = arg;

    uuid_unparse_lower(b->vm, uuid);
    if (wrong) {
        printf("%s  unreadable: %s\n", uuid, wrong);
    } else if (b->state == TAS_BLOCK_OWNED) {
        printf("%s  generation %llu  owned by %s\n", uuid,
               (unsigned long long)b->generation, b->host);
    } else {
        printf("%s  generation %llu  free\n", uuid,
               (unsigned long long)b->generation);
    }
    ++*n;
}

static int show(const char *dir)
{
    char id[TAS_FILE_ID];
    struct ft_err err;
    unsigned n = 0;

    if (tas_file_id(dir, id, &err) < 0) {
        return arbiter_failed(&err);
    }
    printf("arbiter file:%s, id %s\n", dir, id);
    if (tas_file_each(dir, show_record, &n, &err) < 0) {
        return arbiter_failed(&err);
    }
    if (!n) {
        puts("no records");
    }
    return CLI_OK;
}

static void progress(unsigned round, unsigned rounds, void *arg)
{
    (void)arg;
    if (isatty(STDERR_FILENO) && (round % 10 == 0 || round == rounds)) {
        fprintf(stderr, "\r%u of %u rounds%s", round, rounds,
                round == rounds ? "\n" : "");
    }
}

static int test(const struct ft_options *o, const char *uri, unsigned rounds,
                const char *with)
{
    struct tas_selftest t = { .uri = uri,
                              .rounds = rounds,
                              .host = o->host_name,
                              .with = with,
                              .progress = progress };
    struct tas_selftest_result r;
    struct ft_err err;

    if (tas_selftest_run(&t, &r, &err) < 0) {
        return arbiter_failed(&err);
    }
    printf("%s: %u rounds, exactly one winner in each (%u here); "
           "test-and-set %.1f ms on average, %.1f ms at worst\n",
           uri, r.rounds, r.won, r.mean_ms, r.worst_ms);
    return CLI_OK;
}

int cli_arbiter(const struct ft_options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        { "force", 0, NULL, 'f' }, { "rounds", 1, NULL, 'r' },
        { "with", 1, NULL, 'w' },  { "help", 0, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    const char *what = argv[0], *uri, *dir, *with = NULL;
    char full[TAS_FOLDER_TEXT], *end;
    struct ft_err err;
    bool force = false;
    unsigned long rounds = 0;
    int c;

    optind = 0; /* glibc: begin anew */
    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 'f') {
            force = true;
        } else if (c == 'r') {
            rounds = strtoul(optarg, &end, 10);
            if (*optarg < '1' || *optarg > '9' || *end || rounds > 10000) {
                fputs("lockstep: --rounds: a number from 1 to 10000\n",
                      stderr);
                return CLI_USAGE;
            }
        } else if (c == 'w') {
            with = optarg;
        } else {
            return arbiter_usage(c == 'h' ? stdout : stderr);
        }
    }
    if (!what || optind < argc - 1) {
        return arbiter_usage(stderr);
    }
    if (!strcmp(what, "help") || !strcmp(what, "--help")) {
        return arbiter_usage(stdout);
    }
    uri = optind < argc ? argv[optind] : o->arbiter_uri;
    if (optind == argc && !strcmp(what, "format")) {
        return arbiter_usage(stderr);
    }
    if (!*uri) {
        fputs("lockstep: no arbiter is named: name one, or set [arbiter] "
              "uri= in lockstepd.conf\n",
              stderr);
        return CLI_USAGE;
    }
    if (*uri == '/') {
        snprintf(full, sizeof(full), "file:%s", uri);
        uri = full;
    }
    dir = tas_file_dir(uri, &err);
    if (!dir) {
        return arbiter_failed(&err);
    }
    if (!strcmp(what, "format")) {
        return format(dir, force);
    }
    if (!strcmp(what, "show")) {
        return show(dir);
    }
    if (!strcmp(what, "test")) {
        return test(o, uri, (unsigned)rounds, with);
    }
    return arbiter_usage(stderr);
}
