/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * main.c - the daemon's main thread: accept, route, start threads
 *
 * It can be ended and started again at any time: what runs, runs in the
 * agents; a new lockstepd finds them by their sockets.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/host/fdpass.h"
#include "common/host/id.h"
#include "common/host/log.h"
#include "common/host/loop.h"
#include "control/libvirt/virt.h"
#include "control/lockstepd/agent-client.h"
#include "control/lockstepd/commands.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/keeper.h"
#include "control/lockstepd/proof.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/replica.h"
#include "control/lockstepd/vm.h"
#include "logging-channel/server.h"
#include "logging-channel/tls.h"

#define COMMANDS_MAX 64    /* of `lockstep`, at once */
#define CONNECTIONS_MAX 64 /* of other hosts, at once */

/* ---- threads ------------------------------------------------------------ */

static struct ft_few no_thread; /* as many as a stranger has connections */

/* Takes fd when it succeeds. */
static int hand_to_thread(struct ctl *ctl, struct thread_pool *pool,
                          void *(*run)(void *), int fd, struct ft_err *err)
{
    struct incoming *in = malloc(sizeof(*in));

    if (!in) {
        abort();
    }
    in->ctl = ctl;
    in->fd = fd;
    if (thread_start(pool, run, in, err) == 0) {
        return 0;
    }
    ft_warning_few(&no_thread, "%s", err->text);
    free(in);
    return -1;
}

/* ---- connections of other hosts ----------------------------------------- */

struct handover {
    struct ctl *ctl;
    int fd;
    enum lc_kind kind;
    char uuid[CTL_UUID], from[160];
};

/* LOG and CLONE belong to the domain's agent. */
static void *handover_thread(void *arg)
{
    static struct ft_few not_taken;
    struct handover *h = arg;
    struct ft_err err;

    if (agent_client_request(h->ctl, h->uuid,
                             json_pack("{s:s,s:i}", "do", "connection",
                                       "kind", (int)h->kind),
                             h->fd, NULL, 3000, &err) < 0) {
        ft_warning_few(&not_taken, "vm %s: connection from %s not taken: %s",
                       h->uuid, h->from, err.text);
    }
    close(h->fd);
    thread_end(&h->ctl->connections);
    free(h);
    return NULL;
}

static void on_peer(int fd, enum lc_kind kind, const lc_id *vm,
                    const char *from, void *arg)
{
    struct ctl *ctl = arg;
    struct handover *h;
    struct ft_err err;

    if (kind == LC_KIND_CONTROL) {
        if (hand_to_thread(ctl, &ctl->connections, replica_thread, fd, &err) <
            0) {
            close(fd);
        }
        return;
    }
    h = calloc(1, sizeof(*h));
    if (!h) {
        abort();
    }
    h->ctl = ctl;
    h->fd = fd;
    h->kind = kind;
    uuid_unparse_lower(vm->b, h->uuid);
    snprintf(h->from, sizeof(h->from), "%s", from);
    if (thread_start(&ctl->connections, handover_thread, h, &err) == 0) {
        return;
    }
    ft_warning_few(&no_thread, "%s", err.text);
    close(fd);
    free(h);
}

/* ---- commands ----------------------------------------------------------- */

static void on_command(struct ft_watch *w, int events, void *arg)
{
    struct ctl *ctl = arg;
    int fd = ft_listener_accept(&ctl->listener);
    struct ft_err err;

    (void)w, (void)events;
    if (fd < 0) {
        if (ft_timer_running(&ctl->listener.rest)) {
            ft_warning("lockstepd: commands wait: %s", strerror(errno));
        }
        return;
    }
    if (hand_to_thread(ctl, &ctl->commands, commands_thread, fd, &err) < 0) {
        dprintf(fd, "{\"ok\":false,\"error\":\"%s\"}\n", err.text);
        close(fd);
    }
}

/* ---- begin and end ------------------------------------------------------ */

/* Tell systemd. The protocol is one datagram, meant to be written by hand
 * where libsystemd is not wanted: see "Standalone implementations" in
 * sd_notify(3). */
static void notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd;

    if (!path || strlen(path) >= sizeof(sa.sun_path) ||
        (*path != '/' && *path != '@')) {
        return;
    }
    memcpy(sa.sun_path, path, strlen(path));
    if (*path == '@') {
        sa.sun_path[0] = '\0';
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&sa,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
                       strlen(path)));
    close(fd);
}

static void on_signal(struct ev_loop *loop, ev_signal *w, int events)
{
    struct ctl *ctl = w->data;

    (void)events;
    ft_info("lockstepd: signal %d, ending; pairs stay as they are",
            w->signum);
    ctl->quit = true;
    ev_break(loop, EVBREAK_ALL);
}

/* Agents that an earlier lockstepd has left, and pairs on file. */
static void find_agents(struct ctl *ctl)
{
    char dir[FT_PATH_TEXT];
    struct dirent *e;
    DIR *d;

    snprintf(dir, sizeof(dir), "%s/vm", ctl->options.paths_run);
    d = opendir(dir);
    while (d && (e = readdir(d))) {
        if (ft_uuid_is(e->d_name) && agent_client_alive(ctl, e->d_name)) {
            keeper_start(ctl, registry_vm(ctl, e->d_name, NULL));
        }
    }
    if (d) {
        closedir(d);
    }
    for (struct vm *vm = registry_first(ctl); vm; vm = vm_next(vm)) {
        struct vm_info i;

        vm_get(vm, &i);
        if (i.role != FT_ROLE_NONE) {
            keeper_start(ctl, vm);
        }
    }
}

static int check_tls(struct ctl *ctl)
{
    struct ft_err err;
    struct lc_tls *tls = lc_tls_load(ctl->options.pki_dir,
                                     ctl->options.host_name, &err);

    if (!tls) {
        ft_warning("%s", err.text);
        ft_warning("lockstepd: no pair can be made until that is mended");
        return -1;
    }
    lc_tls_free(tls);
    return 0;
}

static int serve(struct ctl *ctl, struct ft_err *err)
{
    struct ev_signal sig[2];
    const int number[] = { SIGTERM, SIGINT };
    struct lc_server *server;
    char path[FT_PATH_TEXT];
    int sock;

    snprintf(path, sizeof(path), "%s/lockstepd.sock", ctl->options.paths_run);
    sock = ft_unix_connect(path, SOCK_STREAM, NULL);
    if (sock >= 0) {
        close(sock);
        return ft_err_set(err, EADDRINUSE,
                          "lockstepd: another one answers "
                          "on %s: end it first",
                          path);
    }
    server = lc_server_open(ctl->loop, ctl->options.host_listen,
                            (uint16_t)ctl->options.host_port, on_peer, ctl,
                            err);
    if (!server) {
        return -1;
    }
    sock = ft_unix_listen(path, SOCK_STREAM, 0600, err);
    if (sock < 0) {
        lc_server_close(server);
        return -1;
    }
    ft_listener_init(&ctl->listener, ctl->loop, sock, on_command, ctl);
    for (int i = 0; i < 2; i++) {
        ev_signal_init(&sig[i], on_signal, number[i]);
        sig[i].data = ctl;
        ev_signal_start(ctl->loop, &sig[i]);
    }
    check_tls(ctl);
    keeper_announce(ctl); /* before the keepers see that pairs are over */
    find_agents(ctl);
    ft_info("lockstepd %s: host %s, port %d, ready", PACKAGE_VERSION,
            ctl->options.host_name, (int)ctl->options.host_port);
    notify("READY=1");
    ev_run(ctl->loop, 0);
    notify("STOPPING=1");
    ft_listener_stop(&ctl->listener);
    close(sock);
    unlink(path);
    lc_server_close(server);
    /* Commands see `quit` and take back what is not finished. */
    for (int i = 0;
         i < 50 && ctl->commands.running + ctl->connections.running +
                           ctl->background.running >
                       0;
         i++) {
        usleep(100000);
    }
    return 0;
}

static void usage(FILE *to)
{
    fprintf(to,
            "Usage: lockstepd [--config FILE] [--set SECTION.KEY=VALUE]...\n"
            "The Lockstep daemon of one host. It stays in the foreground.\n\n"
            "  -c, --config FILE   read FILE (default %s)\n"
            "  -s, --set S.K=V     a setting, over the file's\n"
            "  -d, --debug         log details too\n"
            "      --sample        print a commented configuration file\n"
            "  -h, --help          print this and all settings\n"
            "  -V, --version       print the version\n\n",
            FT_CONFIG_DEFAULT);
    if (to == stdout) {
        ft_options_help(to);
    }
}

static int load(struct ctl *ctl, int argc, char **argv)
{
    static const struct option longs[] = {
        { "config", 1, NULL, 'c' }, { "set", 1, NULL, 's' },
        { "debug", 0, NULL, 'd' },  { "sample", 0, NULL, 'S' },
        { "help", 0, NULL, 'h' },   { "version", 0, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    const char *set[32];
    struct ft_err err;
    int c, sets = 0;
    bool debug = false;

    while ((c = getopt_long(argc, argv, "c:s:dhV", longs, NULL)) != -1) {
        switch (c) {
        case 'c':
            ctl->config = optarg;
            break;
        case 's':
            if (sets < 32) {
                set[sets++] = optarg;
            }
            break;
        case 'd':
            debug = true;
            break;
        case 'S':
            ft_options_sample(stdout);
            exit(0);
        case 'h':
            usage(stdout);
            exit(0);
        case 'V':
            puts("lockstepd " PACKAGE_VERSION);
            exit(0);
        default:
            usage(stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr,
                "lockstepd: %s: no argument is expected; see "
                "--help\n",
                argv[optind]);
        return 2;
    }
    if (ft_options_load(&ctl->options, ctl->config, &err) < 0) {
        goto bad;
    }
    for (int i = 0; i < sets; i++) {
        if (ft_options_set(&ctl->options, set[i], &err) < 0) {
            goto bad;
        }
    }
    if (debug) {
        ft_log_set_level(FT_LOG_DEBUG);
    }
    return 0;
bad:
    fprintf(stderr, "lockstepd: %s\n", err.text);
    return 2;
}

int main(int argc, char **argv)
{
    static struct ctl ctl = {
        .commands = { .what = "commands", .max = COMMANDS_MAX },
        .connections = { .what = "connections", .max = CONNECTIONS_MAX },
        .background = { .what = "threads of its own", .max = INT_MAX },
    };
    char log[FT_PATH_TEXT];
    struct ft_log_config lc = { .program = "lockstepd",
                                .file = log,
                                .to_stderr = 1,
                                .level = FT_LOG_INFO };
    struct ft_err err;
    int rc = load(&ctl, argc, argv);

    if (rc) {
        return rc;
    }
    signal(SIGPIPE, SIG_IGN);
    umask(027);
    pthread_mutex_init(&ctl.vms_lock, NULL);
    xmlInitParser();
    ctl.loop = ev_default_loop(EVFLAG_AUTO); /* reaps agents */
    if (registry_load(&ctl, &err) < 0) {
        goto fail;
    }
    snprintf(log, sizeof(log), "%s/lockstepd.log", ctl.options.paths_log);
    if (ft_log_open(&lc, &err) < 0) {
        goto fail;
    }
    ctl.virt = virt_new(ctl.options.libvirt_uri, ctl.options.host_name,
                        ctl.options.paths_state, &err);
    if (!ctl.virt || serve(&ctl, &err) < 0) {
        goto fail;
    }
    return 0;
fail:
    ft_error("%s", err.text);
    return 1;
}
