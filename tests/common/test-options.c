/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-options.c - lockstepd.conf: what is taken and what is refused */
#include "common/host/options.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64];

static int load(struct ft_options *o, const char *text, struct ft_err *err)
{
    FILE *f = fopen(path, "w");

    fputs(text, f);
    fclose(f);
    return ft_options_load(o, path, err);
}

static void refused(const char *text, int line, const char *says)
{
    struct ft_options o;
    struct ft_err err;
    char at[96];

    g_assert_cmpint(load(&o, text, &err), ==, -1);
    g_snprintf(at, sizeof(at), "%s:%d: ", path, line);
    if (!g_str_has_prefix(err.text, at) || !strstr(err.text, says)) {
        g_error("\"%s\" does not begin with %s and say \"%s\"", err.text, at,
                says);
    }
}

static void test_defaults(void)
{
    char name[256] = "";
    struct ft_options o;
    struct ft_err err;

    g_assert_cmpint(load(&o, "", &err), ==, 0);
    gethostname(name, sizeof(name) - 1);
    g_assert_cmpstr(o.host_name, ==, name);
    g_assert_cmpint(o.host_port, ==, 16520);
    g_assert_cmpint(o.failover_detect_ms, ==, 1000);
    g_assert_cmpint(o.failover_lease_ms, ==, 800);
    g_assert_cmpint(o.failover_margin_ms, ==, 100);
    g_assert_cmpstr(o.failover_fence, ==, "none");
    g_assert_cmpstr(o.libvirt_uri, ==, "qemu:///system");
    g_assert_cmpstr(o.paths_run, ==, "/run/lockstep");
}

static void test_taken(void)
{
    struct ft_options o;
    struct ft_err err;

    g_assert_cmpint(load(&o,
                         "# comment\n; too\n\n[host]\nname = hosta\n"
                         "port=17000\n[arbiter]\nuri=file:/shared/arb\n"
                         "[failover]\nfence=required\n",
                         &err),
                    ==, 0);
    g_assert_cmpstr(o.host_name, ==, "hosta");
    g_assert_cmpint(o.host_port, ==, 17000);
    g_assert_cmpstr(o.arbiter_uri, ==, "file:/shared/arb");
    g_assert_cmpstr(o.failover_fence, ==, "required");
    g_assert_cmpint(ft_options_set(&o, "host.port=1", &err), ==, 0);
    g_assert_cmpint(o.host_port, ==, 1);
    g_assert_cmpint(ft_options_set(&o, "host.name=", &err), ==, 0);
    g_assert_cmpstr(o.host_name, ==, "");
}

static void test_refused(void)
{
    struct ft_options o;
    struct ft_err err;
    char text[600];

    refused("[host]\nprot=1\n", 2,
            "[host] prot: unknown setting; this "
            "section has name, listen, port");
    refused("\n[hots]\nport=1\n", 3, "unknown section; there are [host], ");
    refused("port=1\n", 1, "[] port: unknown section");
    refused("[host]\nport=0\n", 2,
            "[host] port=0: must be a whole number "
            "from 1 to 65535 (TCP port)");
    refused("[host]\nport=65536\n", 2, "from 1 to 65535");
    refused("[host]\nport=\n", 2, "from 1 to 65535");
    refused("[host]\nport=17x\n", 2, "from 1 to 65535");
    refused("[host]\nport=99999999999999999999\n", 2, "from 1 to 65535");
    refused("[failover]\nfence=maybe\n", 2, "must be one of none|required");
    refused("[host]\nport=1\nport=2\n", 3, "given twice");
    refused("[host]\nnonsense\nport=0\n", 2, "neither a [section] nor");
    refused("[host]\nport=0\nnonsense\n", 2, "[host] port=0");
    g_snprintf(text, sizeof(text), "[host]\nname=%0300d\n", 1);
    refused(text, 2, "a line of more than");
    g_assert_cmpint(load(&o, "[failover]\nlease_ms=1001\n", &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "must not be above detect_ms=1000"));
    g_assert_cmpint(ft_options_load(&o, "/dev/null", &err), ==, 0);
    g_assert_cmpint(ft_options_set(&o, "host.port", &err), ==, -1);
    g_assert_cmpint(ft_options_set(&o, "hostport=1", &err), ==, -1);
    g_assert_cmpint(ft_options_set(&o, "host.xyz=1", &err), ==, -1);
    g_assert_cmpint(ft_options_load(&o, "/nonexistent/x", &err), ==, -1);
    g_assert_nonnull(
        strstr(err.text, "/nonexistent/x: cannot read: No such"));
}

/* The sample, uncommented, is the defaults. */
static void test_sample(void)
{
    struct ft_options o, defaults;
    struct ft_err err;
    char *text = NULL, *p;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    ft_options_sample(f);
    fclose(f);
    g_assert_cmpint(load(&o, text, &err), ==, 0);
    for (p = text; (p = strstr(p, "\n#")); p++) {
        const char *end = strchr(p + 1, '\n');

        if (p[2] != ' ' && memchr(p, '=', (size_t)(end - p))) {
            p[1] = ' ';
            memmove(p + 1, p + 2, strlen(p + 1));
        }
    }
    if (load(&o, text, &err) < 0) {
        g_error("%s", err.text);
    }
    g_assert_cmpint(ft_options_load(&defaults, "/dev/null", &err), ==, 0);
    memcpy(defaults.host_name, o.host_name, sizeof(o.host_name));
    g_assert_cmpmem(&o, sizeof(o), &defaults, sizeof(defaults));
    free(text);
    f = open_memstream(&text, &n);
    ft_options_help(f);
    fclose(f);
    g_assert_nonnull(strstr(text, "[failover]"));
    g_assert_nonnull(strstr(text, "detect_ms=1000\n"));
    g_assert_nonnull(strstr(text, "(ms, 200 to 60000)"));
    for (p = text; *p; p += strcspn(p, "\n") + 1) {
        g_assert_cmpuint(strcspn(p, "\n"), <=, 100);
    }
    free(text);
}

int main(int argc, char **argv)
{
    int rc, fd;

    g_test_init(&argc, &argv, NULL);
    strcpy(path, "/tmp/lockstep-options-XXXXXX");
    fd = mkstemp(path);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_test_add_func("/options/defaults", test_defaults);
    g_test_add_func("/options/a file's settings are taken", test_taken);
    g_test_add_func("/options/refused with file, line and reason",
                    test_refused);
    g_test_add_func("/options/help and sample come from the table",
                    test_sample);
    rc = g_test_run();
    unlink(path);
    return rc;
}
