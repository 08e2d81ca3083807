/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * agent-client.c - start an agent, talk to it
 *
 * An agent is a session of its own: it outlives lockstepd, and a new
 * lockstepd finds it again by its socket. A second agent of the same domain
 * ends by itself (the first holds a lock).
 */
#include "control/lockstepd/agent-client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/host/fdpass.h"
#include "common/host/json.h"
#include "common/host/log.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/vm.h"

extern char **environ;

#define START_MS 5000

int agent_client_open(struct ctl *ctl, const char *uuid, struct ft_err *err)
{
    char path[FT_PATH_TEXT];

    snprintf(path, sizeof(path), "%s/agent/%s/agent.sock",
             ctl->options.paths_run, uuid);
    return ft_unix_connect(path, SOCK_STREAM, err);
}

bool agent_client_alive(struct ctl *ctl, const char *uuid)
{
    int fd = agent_client_open(ctl, uuid, NULL);

    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static int send_command(int sock, json_t *command, int fd, struct ft_err *err)
{
    char *text = NULL, *json = json_dumps(command, JSON_COMPACT);
    ssize_t n;

    if (!json || asprintf(&text, "%s\n", json) < 0) {
        free(json);
        return ft_err_set(err, EINVAL, "agent: command is not JSON");
    }
    free(json);
    n = ft_send_fds(sock, text, strlen(text), &fd, fd >= 0, err);
    if (n >= 0 && (size_t)n != strlen(text)) {
        n = ft_err_set(err, EAGAIN, "agent: it does not read");
    }
    free(text);
    return n < 0 ? -1 : 0;
}

int agent_client_request(struct ctl *ctl, const char *uuid, json_t *command,
                         int fd, json_t **reply, int timeout_ms,
                         struct ft_err *err)
{
    ft_ns end = ft_monotonic() + (ft_ns)timeout_ms * FT_NS_PER_MS;
    struct ft_json_reader r;
    json_t *line = NULL;
    int rc = -1, n, sock = agent_client_open(ctl, uuid, err);

    if (reply) {
        *reply = NULL;
    }
    if (sock < 0) {
        ft_err_prefix(err, "agent of %s", uuid);
        json_decref(command);
        return -1;
    }
    ft_json_reader_init(&r, sock);
    if (send_command(sock, command, fd, err) < 0) {
        goto out;
    }
    for (;;) {
        ft_ns now = ft_monotonic();

        n = ft_json_reader_next(&r, &line,
                                now < end
                                    ? (int)((end - now) / FT_NS_PER_MS) + 1
                                    : 0,
                                err);
        if (n < 0) {
            goto out;
        }
        if (n == 0) {
            ft_err_set(err, ECONNRESET, "agent of %s: it has ended", uuid);
            goto out;
        }
        if (json_object_get(line, "ok")) {
            break;
        }
        json_decref(line); /* an event */
        line = NULL;
    }
    if (!json_is_true(json_object_get(line, "ok"))) {
        ft_err_set(err, EPROTO, "%s", ft_json_text(line, "error"));
        goto out;
    }
    if (reply) {
        *reply = line;
        line = NULL;
    }
    rc = 0;
out:
    json_decref(line);
    ft_json_reader_done(&r);
    close(sock);
    json_decref(command);
    return rc;
}

int agent_client_status(struct ctl *ctl, const char *uuid,
                        struct agent_report *status, struct ft_err *err)
{
    json_t *reply;

    if (agent_client_request(ctl, uuid, json_pack("{s:s}", "do", "status"),
                             -1, &reply, 3000, err) < 0) {
        return -1;
    }
    agent_report_parse(status, reply);
    json_decref(reply);
    return 0;
}

int agent_client_order(struct ctl *ctl, const char *uuid, const char *what,
                       struct ft_err *err)
{
    return agent_client_request(ctl, uuid, json_pack("{s:s}", "do", what), -1,
                                NULL, 5000, err);
}

static int spawn_agent(struct ctl *ctl, const char *uuid, struct ft_err *err)
{
    const struct ft_options *o = &ctl->options;
    struct vm_info vm;
    const char *argv[8] = { o->paths_agent, "--vm", uuid, "--name", vm.name };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    char log[FT_PATH_TEXT];
    pid_t pid;
    int n = 5, rc;

    vm_get(registry_vm(ctl, uuid, NULL), &vm);
    if (ctl->config) {
        argv[n++] = "--config";
        argv[n++] = ctl->config;
    }
    argv[n] = NULL;
    snprintf(log, sizeof(log), "%s/agent-%s.log", o->paths_log, uuid);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, log,
                                     O_WRONLY | O_CREAT | O_APPEND, 0640);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    posix_spawnattr_init(&attr);
    sigemptyset(&none);
    sigfillset(&all);
    sigdelset(&all, SIGKILL);
    sigdelset(&all, SIGSTOP);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID |
                                        POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF);
    rc = posix_spawn(&pid, o->paths_agent, &files, &attr, (char *const *)argv,
                     environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    if (rc) {
        return ft_err_sys(err, rc,
                          "program %s: cannot start it ([paths] "
                          "agent= in lockstepd.conf)",
                          o->paths_agent);
    }
    ft_info("vm %s: agent started, process %d, log %s", uuid, (int)pid, log);
    return 0;
}

int agent_client_ensure(struct ctl *ctl, const char *uuid, struct ft_err *err)
{
    char dir[FT_PATH_TEXT];

    if (agent_client_alive(ctl, uuid)) {
        return 0;
    }
    if (registry_run_dir(ctl, uuid, dir, sizeof(dir), err) < 0 ||
        spawn_agent(ctl, uuid, err) < 0) {
        return -1;
    }
    for (int waited = 0; waited < START_MS; waited += 20) {
        if (agent_client_alive(ctl, uuid)) {
            return 0;
        }
        poll(NULL, 0, 20);
    }
    return ft_err_set(err, ETIMEDOUT,
                      "agent of %s: it did not come up "
                      "within %d ms: see %s/agent-%s.log",
                      uuid, START_MS, ctl->options.paths_log, uuid);
}
