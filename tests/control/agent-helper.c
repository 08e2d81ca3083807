/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * agent-helper.c - what the agent's test needs and Perl cannot do
 *
 *     agent-helper format DIR        mark DIR as an arbiter
 *     agent-helper forward PORT SOCK be lockstepd's listener: hand each
 *                                    connection to the agent at SOCK, and
 *                                    print its answer
 */
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/fdpass.h"
#include "common/host/jsonline.h"
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

int main(int argc, char **argv)
{
    struct ft_err err;

    if (argc == 3 && strcmp(argv[1], "format") == 0) {
        if (tas_file_format(argv[2], false, NULL, &err) < 0) {
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
    fprintf(stderr, "usage: agent-helper format DIR | forward PORT SOCK\n");
    return 2;
}
