/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * agent-helper.c - what the agent's test needs and Perl cannot do
 *
 *     agent-helper format DIR        mark DIR as an arbiter
 *     agent-helper take DIR VM PAIR SIDE
 *                                    be an agent of that side (1 or 2) that
 *                                    wins the generation on record
 *     agent-helper forward PORT SOCK be lockstepd's listener: hand each
 *                                    connection to the agent at SOCK, and
 *                                    print its answer
 */
#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/fdpass.h"
#include "common/host/id.h"
#include "common/host/json.h"
#include "logging-channel/server.h"
#include "shared-disk/file.h"

static void on_connection(int fd, enum lc_kind kind, const lc_id *vm,
                          const char *from, void *arg)
{
    const char *path = arg;
    struct ft_json_reader reader;
    struct ft_err err;
    char line[64];
    json_t *reply = NULL;
    int sock, n;

    (void)vm;
    n = snprintf(line, sizeof(line), "{\"do\":\"connection\",\"kind\":%d}\n",
                 (int)kind);
    sock = ft_json_client_open(path, &err);
    if (sock < 0 || ft_send_fds(sock, line, (size_t)n, &fd, 1, &err) < 0) {
        fprintf(stderr, "agent-helper: %s\n", err.text);
    } else {
        ft_json_reader_init(&reader, sock);
        if (ft_json_reader_next(&reader, &reply, 2000, &err) == 1) {
            char *text = json_dumps(reply, JSON_COMPACT);

            printf("%s %s\n", from, text);
            fflush(stdout);
            free(text);
            json_decref(reply);
        }
        ft_json_reader_done(&reader);
    }
    if (sock >= 0) {
        close(sock);
    }
    close(fd);
}

static int take(const char *dir, const char *vm, const char *pair, int side,
                struct ft_err *err)
{
    struct tas_who who = { .side = (uint8_t)side,
                           .nonce = "its predecessor",
                           .host = "itshost" };
    struct tas_record seen;
    struct tas_block b;

    if (!ft_uuid_parse(who.vm, vm) || !ft_unhex(who.pair, pair)) {
        return ft_err_set(err, EINVAL, "not an id");
    }
    if (tas_file_read(dir, who.vm, &b, err) < 0) {
        return -1;
    }
    seen = tas_block_look(&b, who.pair, who.side);
    return tas_file_write(dir, &who, &seen, TAS_OWNED, seen.generation,
                          err) == TAS_OK
             ? 0
             : -1;
}

int main(int argc, char **argv)
{
    struct ft_err err = { 0 };

    if (argc == 3 && strcmp(argv[1], "format") == 0) {
        if (tas_file_format(argv[2], false, NULL, &err) < 0) {
            fprintf(stderr, "agent-helper: %s\n", err.text);
            return 1;
        }
        return 0;
    }
    if (argc == 6 && strcmp(argv[1], "take") == 0) {
        if (take(argv[2], argv[3], argv[4], atoi(argv[5]), &err) < 0) {
            fprintf(stderr, "agent-helper: %s\n", err.text);
            return 1;
        }
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "forward") == 0) {
        struct ev_loop *loop = ev_default_loop(0);

        if (lc_server_open(loop, "127.0.0.1", (uint16_t)atoi(argv[2]),
                           on_connection, argv[3], &err) == NULL) {
            fprintf(stderr, "agent-helper: %s\n", err.text);
            return 1;
        }
        ev_run(loop, 0);
        return 0;
    }
    fprintf(stderr, "usage: agent-helper format DIR | take DIR VM PAIR SIDE "
                    "| forward PORT SOCK\n");
    return 2;
}
