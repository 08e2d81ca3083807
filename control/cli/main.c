/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * main.c - the lockstep command: it asks lockstepd and prints the answer
 */
#include "control/cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/host/json.h"

static const char usage_text[] =
    "Usage: lockstep [--config FILE] COMMAND ...\n"
    "Keep a libvirt domain running when its host dies.\n"
    "\n"
    "  prepare DOMAIN              rewrite its definition so that it can be\n"
    "                              protected; effective at its next start\n"
    "      --undo                  put back what prepare changed\n"
    "      --tcg                   convert a KVM domain (slower)\n"
    "      --remove                take out devices that cannot be logged\n"
    "      --cpu MODEL             the guest's processor (default qemu64)\n"
    "      --shift N               2^N ns of guest time an instruction\n"
    "  protect DOMAIN --backup HOST\n"
    "                              make a backup on HOST; the guest runs on\n"
    "      --arbiter URI           instead of lockstepd.conf's\n"
    "      --json                  progress and result as JSON lines\n"
    "  unprotect DOMAIN            end the pair; the guest runs on\n"
    "  status [DOMAIN]             how the domains are protected\n"
    "      --json                  for programs\n"
    "      --watch                 again every second\n"
    "      --metrics               in Prometheus' text format\n"
    "  arbiter format|show|test    the record on shared storage that lets one\n"
    "                              side live ('lockstep arbiter help')\n"
    "\n"
    "      --config FILE           lockstepd's configuration\n"
    "  -h, --help                  print this\n"
    "  -V, --version               print the version\n"
    "\n"
    "Exit status: 0 done; 1 refused or failed, stderr says why; 2 usage;\n"
    "3 lockstepd does not answer; 130 interrupted, and taken back.\n";

#define ASK_MS 200
#define STATUS_S 60 /* lockstepd itself gives libvirtd less */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    if (interrupted) {
        _exit(CLI_INTERRUPTED); /* it does not wait for the answer */
    }
    interrupted = 1;
}

static int fail(enum cli_exit code, const char *message)
{
    fprintf(stderr, "lockstep: %s\n", message);
    return code;
}

static int usage(const char *command, const char *what)
{
    fprintf(stderr,
            "lockstep: %s%s%s; 'lockstep --help' shows the "
            "commands\n",
            command, *command ? ": " : "", what);
    return CLI_USAGE;
}

/* Behind the options there is one domain. */
static int no_domain(const char *command, int left)
{
    return usage(command,
                 left < 1 ? "no DOMAIN is named" : "one DOMAIN at a time");
}

/* ---- asking ------------------------------------------------------------- */

static void print_line(const json_t *o, bool json)
{
    const json_t *p = json_object_get(o, "progress");
    const char *kind = ft_json_text(o, "line");

    if (json) {
        json_dumpf(o, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (p) {
        int percent = (int)json_integer_value(json_object_get(p, "percent"));

        if (percent >= 0) {
            printf("%-6s %3d %%  %s\n", ft_json_text(p, "phase"), percent,
                   ft_json_text(p, "text"));
        } else {
            printf("%-6s        %s\n", ft_json_text(p, "phase"),
                   ft_json_text(p, "text"));
        }
    } else if (*kind) {
        printf("%-8s  %s: %s\n", kind, ft_json_text(o, "object"),
               ft_json_text(o, "text"));
        if (*ft_json_text(o, "action")) {
            printf("%-8s    %s\n", "", ft_json_text(o, "action"));
        }
    }
    fflush(stdout);
}

/* A conversation with lockstepd. */
struct talk {
    int fd, patience_s, waited; /* waited: ms in which nothing came */
    bool told;                  /* lockstepd, that we were interrupted */
};

static int no_daemon(const struct ft_err *err)
{
    char message[FT_ERR_TEXT + 80];

    snprintf(message, sizeof(message), "lockstepd does not answer: %s%s",
             err->text,
             err->code == EACCES || err->code == EPERM ? ": are you root?"
                                                       : ": is it running?");
    return fail(CLI_NO_DAEMON, message);
}

/* The next line, or NULL: then *rc. */
static json_t *next_line(struct talk *t, struct ft_json_reader *r, int *rc)
{
    struct ft_err err;
    json_t *line;
    int n;

    do {
        n = ft_json_reader_next(r, &line, ASK_MS, &err);
        if (interrupted && !t->told) {
            t->told = true;
            shutdown(t->fd, SHUT_WR);
            fputs("lockstep: interrupted; taking back what is not finished "
                  "(again: without waiting)\n",
                  stderr);
        }
        t->waited = n < 0 && err.code == ETIMEDOUT ? t->waited + ASK_MS : 0;
    } while (t->waited != 0 &&
             (!t->patience_s || t->waited < t->patience_s * 1000));
    if (n > 0) {
        return line;
    }
    if (t->waited != 0) {
        *rc = fail(CLI_NO_DAEMON, "lockstepd does not answer: it hangs, or "
                                  "is stopped");
    } else if (n == 0) {
        *rc = fail(t->told ? CLI_INTERRUPTED : CLI_NO_DAEMON,
                   "lockstepd has ended, or was ended, before it was done");
    } else {
        *rc = fail(CLI_FAILED, err.text);
    }
    return NULL;
}

/* A command that was interrupted hangs up its sending side; lockstepd takes
 * back what is not finished, and then answers. patience_s: how long nothing
 * may come, 0: for ever. */
static int ask(const struct ft_options *o, json_t *q, bool json,
               int patience_s, json_t **reply)
{
    struct talk t = { .patience_s = patience_s };
    int n, rc = CLI_FAILED;
    char path[FT_PATH_TEXT];
    struct ft_json_reader r;
    struct ft_err err;
    json_t *line;

    *reply = NULL;
    snprintf(path, sizeof(path), "%s/lockstepd.sock", o->paths_run);
    t.fd = ft_json_client_open(path, &err);
    if (t.fd < 0) {
        json_decref(q);
        return no_daemon(&err);
    }
    n = ft_json_client_send(t.fd, q, &err);
    json_decref(q);
    ft_json_reader_init(&r, t.fd);
    if (n < 0) {
        rc = fail(CLI_FAILED, err.text);
        goto out;
    }
    while ((line = next_line(&t, &r, &rc)) != NULL &&
           !json_object_get(line, "ok")) {
        print_line(line, json);
        json_decref(line);
    }
    if (line == NULL) {
        goto out;
    }
    if (json_is_true(json_object_get(line, "ok"))) {
        rc = CLI_OK;
        *reply = line;
    } else {
        if (json) {
            print_line(line, true);
        }
        rc = fail(t.told ? CLI_INTERRUPTED : CLI_FAILED,
                  ft_json_text(line, "error"));
        json_decref(line);
    }
out:
    ft_json_reader_done(&r);
    close(t.fd);
    return rc;
}

/* ---- commands ----------------------------------------------------------- */

static int finish(int rc, json_t *reply, bool json)
{
    if (rc == CLI_OK && json) {
        print_line(reply, true);
    } else if (rc == CLI_OK) {
        puts(ft_json_text(reply, "summary"));
    }
    json_decref(reply);
    return rc;
}

static int prepare(const struct ft_options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        { "undo", 0, NULL, 'u' },   { "tcg", 0, NULL, 't' },
        { "remove", 0, NULL, 'r' }, { "cpu", 1, NULL, 'c' },
        { "shift", 1, NULL, 's' },  { NULL, 0, NULL, 0 },
    };
    json_t *q = json_pack("{s:s}", "do", "prepare"), *reply;
    char *end;
    long shift;
    int c, rc;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'u':
            json_object_set_new(q, "undo", json_true());
            break;
        case 't':
            json_object_set_new(q, "tcg", json_true());
            break;
        case 'r':
            json_object_set_new(q, "remove", json_true());
            break;
        case 'c':
            json_object_set_new(q, "cpu", json_string(optarg));
            break;
        case 's':
            shift = strtol(optarg, &end, 10);
            if (!*optarg || *end || shift < 0 || shift > 10) {
                return fail(CLI_USAGE, "--shift: a number from 0 to 10");
            }
            json_object_set_new(q, "shift", json_integer(shift));
            break;
        default:
            return usage(argv[0], "wrong usage");
        }
    }
    if (optind != argc - 1) {
        return no_domain(argv[0], argc - optind);
    }
    json_object_set_new(q, "domain", json_string(argv[optind]));
    rc = ask(o, q, false, 0, &reply);
    return finish(rc, reply, false);
}

static int protect(const struct ft_options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        { "backup", 1, NULL, 'b' },
        { "arbiter", 1, NULL, 'a' },
        { "json", 0, NULL, 'j' },
        { NULL, 0, NULL, 0 },
    };
    bool protecting = !strcmp(argv[0], "protect"), json = false;
    json_t *q = json_pack("{s:s}", "do", argv[0]), *reply;
    int c, rc;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'b' && protecting) {
            json_object_set_new(q, "backup", json_string(optarg));
        } else if (c == 'a' && protecting) {
            json_object_set_new(q, "arbiter", json_string(optarg));
        } else if (c == 'j') {
            json = true;
        } else {
            return usage(argv[0], "wrong usage");
        }
    }
    if (optind != argc - 1) {
        return no_domain(argv[0], argc - optind);
    }
    json_object_set_new(q, "domain", json_string(argv[optind]));
    rc = ask(o, q, json, 0, &reply);
    return finish(rc, reply, json);
}

static int status(const struct ft_options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        { "json", 0, NULL, 'j' },
        { "watch", 0, NULL, 'w' },
        { "metrics", 0, NULL, 'm' },
        { NULL, 0, NULL, 0 },
    };
    bool json = false, watch = false, metrics = false;
    json_t *reply, *list;
    int c, rc;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        json = json || c == 'j';
        watch = watch || c == 'w';
        metrics = metrics || c == 'm';
        if (c == '?') {
            return usage(argv[0], "wrong usage");
        }
    }
    if (optind < argc - 1) {
        return no_domain(argv[0], argc - optind);
    }
    signal(SIGINT, SIG_DFL); /* there is nothing to take back */
    signal(SIGTERM, SIG_DFL);
    do {
        json_t *q = json_pack("{s:s}", "do", "status");

        if (optind < argc) {
            json_object_set_new(q, "domain", json_string(argv[optind]));
        }
        rc = ask(o, q, json, STATUS_S, &reply);
        if (rc != CLI_OK) {
            return rc;
        }
        list = json_object_get(reply, "domains");
        json_object_del(reply, "ok");
        if (watch && !json && isatty(STDOUT_FILENO)) {
            fputs("\033[H\033[2J", stdout);
        }
        if (json) {
            json_dumpf(reply, stdout, watch ? JSON_COMPACT : JSON_INDENT(2));
            putchar('\n');
        } else if (metrics) {
            cli_show_metrics(list);
        } else if (optind < argc) {
            cli_show_one(json_array_get(list, 0));
        } else {
            cli_show_list(list);
        }
        fflush(stdout);
        json_decref(reply);
        if (watch) {
            poll(NULL, 0, 1000);
        }
    } while (watch);
    return CLI_OK;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        { "config", 1, NULL, 'c' },
        { "help", 0, NULL, 'h' },
        { "version", 0, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    struct sigaction sa = { .sa_handler = on_interrupt };
    const char *config = NULL, *what;
    struct ft_options o;
    struct ft_err err;
    int c;

    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    while ((c = getopt_long(argc, argv, "+hVc:", longs, NULL)) != -1) {
        switch (c) {
        case 'c':
            config = optarg;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return CLI_OK;
        case 'V':
            puts("lockstep " PACKAGE_VERSION);
            return CLI_OK;
        default:
            return usage("", "wrong usage");
        }
    }
    argc -= optind;
    argv += optind;
    optind = 0; /* glibc: begin anew */
    if (argc < 1) {
        return usage("", "no command is given");
    }
    what = argv[0];
    if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) &&
        strcmp(what, "arbiter")) {
        fputs(usage_text, stdout);
        return CLI_OK;
    }
    if (ft_options_load(&o, config, &err) < 0) {
        return fail(CLI_USAGE, err.text);
    }
    if (!strcmp(what, "prepare")) {
        return prepare(&o, argc, argv);
    }
    if (!strcmp(what, "protect") || !strcmp(what, "unprotect")) {
        return protect(&o, argc, argv);
    }
    if (!strcmp(what, "status")) {
        return status(&o, argc, argv);
    }
    if (!strcmp(what, "arbiter")) {
        return cli_arbiter(&o, argc - 1, argv + 1);
    }
    return usage(what, "there is no such command");
}
