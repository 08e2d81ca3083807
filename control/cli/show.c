/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * show.c - a pair's status as a person wants to read it
 */
#include "control/cli/cli.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/host/json.h"
#include "common/pair-state.h"

static const char *or_dash(const char *s)
{
    return *s ? s : "-";
}

static enum ft_pair_state state(const json_t *o)
{
    return ft_pair_state_parse(ft_json_text(o, "state"));
}

static bool is_protected(const json_t *o)
{
    return state(o) == FT_PAIR_PROTECTED;
}

static void rate(char *buf, size_t size, const json_t *o)
{
    double bits = 8.0 * (double)ft_json_number(o, "log_bytes_per_s");

    if (bits >= 1e6) {
        snprintf(buf, size, "%.1f Mbit/s", bits / 1e6);
    } else {
        snprintf(buf, size, "%.0f kbit/s", bits / 1e3);
    }
}

void cli_show_list(const json_t *domains)
{
    size_t width = strlen("Domain"), i;
    char lag[32], log[32], generation[24];
    json_t *o;

    if (!json_array_size(domains)) {
        puts("No domain is prepared on this host ('lockstep prepare "
             "DOMAIN').");
        return;
    }
    json_array_foreach(domains, i, o)
    {
        size_t n = strlen(ft_json_text(o, "domain"));

        width = n > width ? n : width;
    }
    printf("%-*s  %-13s  %-11s  %-12s  %-12s  %3s  %7s  %s\n", (int)width,
           "Domain", "Protection", "State", "Primary", "Backup", "Gen", "Lag",
           "Log");
    json_array_foreach(domains, i, o)
    {
        snprintf(lag, sizeof(lag), "-");
        snprintf(log, sizeof(log), "-");
        snprintf(generation, sizeof(generation), "%llu",
                 (unsigned long long)ft_json_number(o, "generation"));
        if (is_protected(o)) {
            snprintf(lag, sizeof(lag), "%llu ms",
                     (unsigned long long)ft_json_number(o, "lag_ms"));
            rate(log, sizeof(log), o);
        }
        printf("%-*s  %-13s  %-11s  %-12s  %-12s  %3s  %7s  %s\n", (int)width,
               ft_json_text(o, "domain"), ft_json_text(o, "protection"),
               ft_json_text(o, "state"), or_dash(ft_json_text(o, "primary")),
               or_dash(ft_json_text(o, "backup")),
               ft_json_number(o, "generation") ? generation : "-", lag, log);
        if (!is_protected(o) && *ft_json_text(o, "reason")) {
            printf("%-*s  (%s)\n", (int)width, "", ft_json_text(o, "reason"));
        }
    }
}

static void __attribute__((format(printf, 2, 3)))
row(const char *name, const char *fmt, ...)
{
    va_list ap;

    printf("%-16s ", name);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

static void show_timeline(const json_t *list)
{
    uint64_t t0 = ft_json_number(json_array_get(list, 0), "t_ns");
    json_t *o;
    size_t i;

    if (!json_array_size(list)) {
        return;
    }
    puts("Last failover:");
    json_array_foreach(list, i, o)
        printf("  %+9.1f ms  %s\n",
               (double)(ft_json_number(o, "t_ns") - t0) / 1e6,
               ft_json_text(o, "what"));
}

void cli_show_one(const json_t *o)
{
    const json_t *p = json_object_get(o, "progress");
    enum ft_role role = ft_role_parse(ft_json_text(o, "role"));
    char log[32];

    row("Domain:", "%s", ft_json_text(o, "domain"));
    row("UUID:", "%s", ft_json_text(o, "uuid"));
    row("Protection:", "%s", ft_json_text(o, "protection"));
    row("State:", "%s", ft_json_text(o, "state"));
    if (*ft_json_text(o, "reason")) {
        row("Reason:", "%s", ft_json_text(o, "reason"));
    }
    row("This host:", "%s, %s here (libvirt: %s)", ft_json_text(o, "host"),
        role != FT_ROLE_NONE ? ft_role_name(role) : "no part",
        ft_json_text(o, "libvirt"));
    if (json_is_false(json_object_get(o, "stored"))) {
        row("Not stored:", "its file cannot be written (see "
                           "lockstepd.log)");
    }
    row("Primary:", "%s", or_dash(ft_json_text(o, "primary")));
    row("Backup:", "%s", or_dash(ft_json_text(o, "backup")));
    row("Generation:", "%llu",
        (unsigned long long)ft_json_number(o, "generation"));
    row("Arbiter:", "%s", or_dash(ft_json_text(o, "arbiter")));
    row("Fence:", "%s", or_dash(ft_json_text(o, "fence")));
    if (state(o) == FT_PAIR_CLONING) {
        row("Clone:", "%.0f MiB sent, %.0f MiB left",
            (double)ft_json_number(p, "sent") / 1048576,
            (double)ft_json_number(p, "remaining") / 1048576);
    }
    if (is_protected(o)) {
        rate(log, sizeof(log), o);
        row("Execution lag:", "%llu ms",
            (unsigned long long)ft_json_number(o, "lag_ms"));
        row("Log bandwidth:", "%s", log);
        row("Positions:", "%llu sent, %llu acknowledged, %llu executed",
            (unsigned long long)ft_json_number(o, "position"),
            (unsigned long long)ft_json_number(o, "acked"),
            (unsigned long long)ft_json_number(o, "executed"));
        row("Detection:", "%llu ms",
            (unsigned long long)ft_json_number(o, "detect_ms"));
    }
    if (*ft_json_text(o, "command")) {
        row("Command:", "%s", ft_json_text(o, "command"));
    }
    show_timeline(json_object_get(o, "timeline"));
}

/* The text format that Prometheus reads. */
void cli_show_metrics(const json_t *domains)
{
    static const struct {
        const char *name, *key, *help, *type;
    } metric[] = {
        { "generation", "generation", "Pairs that the domain has had.",
          "gauge" },
        { "lag_milliseconds", "lag_ms", "Execution lag of the backup.",
          "gauge" },
        { "log_bytes_total", "log_bytes", "Log of this generation.",
          "counter" },
        { "log_bytes_per_second", "log_bytes_per_s", "Log bandwidth.",
          "gauge" },
        { "position", "position", "Last log position sent or received.",
          "counter" },
        { "acknowledged_position", "acked", "Last position acknowledged.",
          "counter" },
        { "executed_position", "executed", "Last position executed.",
          "counter" },
    };
    json_t *o;
    size_t i;

    puts("# HELP lockstep_protected Whether the domain has a backup.\n"
         "# TYPE lockstep_protected gauge");
    json_array_foreach(domains, i, o)
        printf("lockstep_protected{domain=\"%s\",role=\"%s\"} %d\n",
               ft_json_text(o, "domain"), ft_json_text(o, "role"),
               is_protected(o));
    for (size_t m = 0; m < sizeof(metric) / sizeof(metric[0]); m++) {
        printf("# HELP lockstep_%s %s\n# TYPE lockstep_%s %s\n",
               metric[m].name, metric[m].help, metric[m].name,
               metric[m].type);
        json_array_foreach(domains, i, o)
            printf("lockstep_%s{domain=\"%s\",role=\"%s\"} %llu\n",
                   metric[m].name, ft_json_text(o, "domain"),
                   ft_json_text(o, "role"),
                   (unsigned long long)ft_json_number(o, metric[m].key));
    }
}
