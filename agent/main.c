/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * main.c - lockstep-agent: start, options, signals
 *
 * paper, 3.5; rule 1: acknowledgements do not wait behind the guests
 */
#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/host/id.h"
#include "common/host/log.h"

/* agent.sock appears when QEMU has said hello, so that the first command does
 * not come too early; or, without a QEMU, after this. */
#define READY_LATEST (2 * FT_NS_PER_S)

static const char usage[] =
    "Usage: lockstep-agent --vm UUID [--name NAME] [--config FILE]\n"
    "                      [--trace FILE] [--foreground] [--verbose]\n"
    "One of these runs for each protected VM; lockstepd starts it.\n"
    "\n"
    "  --config FILE   lockstepd.conf; default " FT_CONFIG_DEFAULT "\n"
    "  --vm UUID       the libvirt domain\n"
    "  --name NAME     the domain's name, for messages\n"
    "  --trace FILE    append each acknowledgement: \"NS ACK POSITION\" as a\n"
    "                  backup, \"NS ACKED POSITION\" as a primary\n"
    "  --foreground    log to stderr too, stay in the caller's session\n"
    "  --verbose       log what is of interest for developers\n";

struct arguments {
    const char *config, *vm, *name, *trace;
    bool foreground, verbose;
};

static int parse(struct arguments *args, int argc, char **argv)
{
    static const struct option longs[] = {
        { "config", required_argument, NULL, 'c' },
        { "vm", required_argument, NULL, 'v' },
        { "name", required_argument, NULL, 'n' },
        { "trace", required_argument, NULL, 't' },
        { "foreground", no_argument, NULL, 'f' },
        { "verbose", no_argument, NULL, 'V' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    int c;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) >= 0) {
        switch (c) {
        case 'c':
            args->config = optarg;
            break;
        case 'v':
            args->vm = optarg;
            break;
        case 'n':
            args->name = optarg;
            break;
        case 't':
            args->trace = optarg;
            break;
        case 'f':
            args->foreground = true;
            break;
        case 'V':
            args->verbose = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            return -1;
        }
    }
    return optind == argc && args->vm != NULL ? 0 : -1;
}

/* mkdir -p; the last folder is the owner's only. */
static int make_folder(const char *path, struct ft_err *err)
{
    char part[FT_PATH_TEXT];

    snprintf(part, sizeof(part), "%s", path);
    for (char *p = part + 1; *p; p++) {
        if (*p == '/') {
            *p = '\0';
            if (mkdir(part, 0755) < 0 && errno != EEXIST) {
                return ft_err_sys(err, errno, "%s", part);
            }
            *p = '/';
        }
    }
    if (mkdir(part, 0700) < 0 && errno != EEXIST) {
        return ft_err_sys(err, errno, "%s", part);
    }
    return 0;
}

/* One agent for a VM. The lock lives as long as the process. */
static int take_lock(struct agent *a, struct ft_err *err)
{
    char path[FT_PATH_TEXT];
    int fd;

    snprintf(path, sizeof(path), "%s/agent.lock", a->own);
    fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return ft_err_sys(err, errno, "%s", path);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        return ft_err_set(err, EBUSY,
                          "%s: an agent runs already (%s is "
                          "locked)",
                          a->object, path);
    }
    return 0;
}

static int open_log(struct agent *a, const struct arguments *args,
                    struct ft_err *err)
{
    char path[FT_OPTION_TEXT + 64];
    struct ft_log_config c = {
        .program = "lockstep-agent",
        .file = path,
        .to_stderr = args->foreground,
        .level = args->verbose ? FT_LOG_DEBUG : FT_LOG_INFO,
    };

    if (make_folder(a->options.paths_log, err) < 0) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/agent-%s.log", a->options.paths_log,
             a->uuid);
    return ft_log_open(&c, err);
}

static int prepare(struct agent *a, const struct arguments *args,
                   struct ft_err *err)
{
    if (!ft_uuid_parse(a->vm.b, args->vm)) {
        return ft_err_set(err, EINVAL, "--vm %s: not a UUID in lower case",
                          args->vm);
    }
    snprintf(a->uuid, sizeof(a->uuid), "%s", args->vm);
    snprintf(a->object, sizeof(a->object), "pair %.70s",
             args->name != NULL ? args->name : args->vm);
    if (ft_options_load(&a->options, args->config, err) < 0) {
        return -1;
    }
    snprintf(a->dir, sizeof(a->dir), "%s/vm/%s", a->options.paths_run,
             a->uuid);
    snprintf(a->own, sizeof(a->own), "%s/agent/%s", a->options.paths_run,
             a->uuid);
    if (make_folder(a->dir, err) < 0 || make_folder(a->own, err) < 0 ||
        take_lock(a, err) < 0 || open_log(a, args, err) < 0) {
        return -1;
    }
    if (args->trace != NULL) {
        a->trace = fopen(args->trace, "ae");
        if (a->trace == NULL) {
            return ft_err_sys(err, errno, "--trace %s", args->trace);
        }
        setvbuf(a->trace, NULL, _IOLBF, 0);
    }
    ft_random(a->nonce.b, sizeof(a->nonce.b));
    return 0;
}

/* The agent gets a session of its own: what ends lockstepd must not end
 * its agents. */
static void detach(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    setsid();
    if (fd >= 0) {
        dup2(fd, STDIN_FILENO);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        close(fd);
    }
}

void agent_quit(struct agent *a)
{
    ev_break(a->loop, EVBREAK_ALL);
}

void agent_ready(struct agent *a)
{
    struct ft_err err;

    ft_timer_stop(&a->ready);
    if (a->server == NULL && agent_sock_open(a, &err) < 0) {
        ft_error("%s: %s", a->object, err.text);
        a->failed = true;
        agent_quit(a);
    }
}

static void on_ready_latest(struct ft_timer *t, void *arg)
{
    (void)t;
    agent_ready(arg);
}

static void on_term(struct ev_loop *loop, struct ev_signal *w, int revents)
{
    struct agent *a = w->data;

    (void)loop, (void)revents;
    if (agent_is_busy(a)) {
        /* A pair ends by `unprotect`. A host that goes down kills us in the
         * end, and then the other side takes over. */
        ft_warning("%s: signal %d ignored: its pair has not ended", a->object,
                   w->signum);
        return;
    }
    agent_quit(a);
}

int main(int argc, char **argv)
{
    static struct agent a;
    struct arguments args = { 0 };
    struct ev_signal term, intr;
    struct ft_err err;

    if (parse(&args, argc, argv) < 0) {
        fputs(usage, stderr);
        return 2;
    }
    if (prepare(&a, &args, &err) < 0) {
        fprintf(stderr, "lockstep-agent: %s\n", err.text);
        return 1;
    }
    a.loop = ev_default_loop(0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    agent_status_init(&a);
    if (!args.foreground) {
        detach();
    }
    /* Acknowledgements should not wait behind the guests. The host may
     * refuse this. */
    setpriority(PRIO_PROCESS, 0, -10);
    if (agent_drop_privileges(&err) < 0) {
        ft_error("%s: privileges: %s", a.object, err.text);
        return 1;
    }
    ev_signal_init(&term, on_term, SIGTERM);
    ev_signal_init(&intr, on_term, SIGINT);
    term.data = intr.data = &a;
    ev_signal_start(a.loop, &term);
    ev_signal_start(a.loop, &intr);
    ft_info("%s: agent of %s on %s, pid %d", a.object, a.uuid,
            a.options.host_name, (int)getpid());
    agent_vm_start(&a);
    ft_timer_init(&a.ready, a.loop, on_ready_latest, &a);
    ft_timer_after(&a.ready, READY_LATEST);
    ev_run(a.loop, 0);
    ft_info("%s: the agent ends", a.object);
    agent_vm_stop(&a);
    agent_sock_close(&a);
    if (a.trace != NULL) {
        fclose(a.trace);
    }
    ft_log_close();
    return a.failed ? 1 : 0;
}
