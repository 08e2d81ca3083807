/* SPDX-License-Identifier: GPL-2.0-or-later */
/* options.c - lockstepd.conf: read, check, explain (see options.tbl.h) */
#include "common/host/options.h"

#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum option_type { TYPE_TEXT, TYPE_NUMBER };

struct option {
    const char *section, *key;
    enum option_type type;
    size_t offset;
    const char *text, *allowed; /* TYPE_TEXT */
    int64_t number, min, max;   /* TYPE_NUMBER */
    const char *unit, *meaning;
};

static const struct option options[] = {
#define STR(s, k, def, words, u, m)                                          \
    { .section = #s,                                                         \
      .key = #k,                                                             \
      .type = TYPE_TEXT,                                                     \
      .offset = offsetof(struct ft_options, s##_##k),                        \
      .text = def,                                                           \
      .allowed = words,                                                      \
      .unit = u,                                                             \
      .meaning = m },
#define INT(s, k, def, lo, hi, u, m)                                         \
    { .section = #s,                                                         \
      .key = #k,                                                             \
      .type = TYPE_NUMBER,                                                   \
      .offset = offsetof(struct ft_options, s##_##k),                        \
      .number = def,                                                         \
      .min = lo,                                                             \
      .max = hi,                                                             \
      .unit = u,                                                             \
      .meaning = m },
    FT_OPTIONS(STR, INT)
#undef STR
#undef INT
};
#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

#define STR(s, k, def, words, u, m)                                          \
    _Static_assert(sizeof(def) <= FT_OPTION_TEXT, "the default fits");
#define INT(s, k, def, lo, hi, u, m)                                         \
    _Static_assert((lo) <= (def) && (def) <= (hi), "the default is allowed");
FT_OPTIONS(STR, INT)
#undef STR
#undef INT

static const struct {
    const char *name, *meaning;
} sections[] = {
#define S(section, meaning) { #section, meaning },
    FT_SECTIONS(S)
#undef S
};
#define N_SECTIONS (sizeof(sections) / sizeof(sections[0]))

static char *text_of(struct ft_options *o, const struct option *d)
{
    return (char *)o + d->offset;
}

static void set_number(struct ft_options *o, const struct option *d,
                       int64_t v)
{
    memcpy((char *)o + d->offset, &v, sizeof(v));
}

static void set_defaults(struct ft_options *o)
{
    size_t i;

    memset(o, 0, sizeof(*o));
    for (i = 0; i < N_OPTIONS; i++) {
        const struct option *d = &options[i];

        if (d->type == TYPE_TEXT) {
            strcpy(text_of(o, d), d->text);
        } else {
            set_number(o, d, d->number);
        }
    }
}

static bool is_one_of(const char *words, const char *value)
{
    size_t n = strlen(value);

    for (;;) {
        size_t len = strcspn(words, "|");

        if (len == n && !memcmp(words, value, n)) {
            return true;
        }
        if (!words[len]) {
            return false;
        }
        words += len + 1;
    }
}

static int assign(struct ft_options *o, const struct option *d,
                  const char *value, struct ft_err *err)
{
    if (d->type == TYPE_TEXT) {
        if (strlen(value) >= FT_OPTION_TEXT) {
            return ft_err_set(err, EINVAL, "[%s] %s: longer than %d bytes",
                              d->section, d->key, FT_OPTION_TEXT - 1);
        }
        if (*d->allowed && !is_one_of(d->allowed, value)) {
            return ft_err_set(err, EINVAL, "[%s] %s=%s: must be one of %s",
                              d->section, d->key, value, d->allowed);
        }
        strcpy(text_of(o, d), value);
    } else {
        char *end;
        long long v;

        errno = 0;
        v = strtoll(value, &end, 10);
        if (errno || end == value || *end || v < d->min || v > d->max) {
            return ft_err_set(err, EINVAL,
                              "[%s] %s=%s: must be a whole "
                              "number from %" PRId64 " to %" PRId64 " (%s)",
                              d->section, d->key, value, d->min, d->max,
                              d->unit);
        }
        set_number(o, d, v);
    }
    return 0;
}

static const struct option *find_option(const char *section, const char *key)
{
    size_t i;

    for (i = 0; i < N_OPTIONS; i++) {
        if (!strcmp(options[i].section, section) &&
            !strcmp(options[i].key, key)) {
            return &options[i];
        }
    }
    return NULL;
}

static int say_unknown(const char *section, const char *key,
                       struct ft_err *err)
{
    char known[FT_ERR_TEXT / 2] = "";
    size_t i, n = 0;

    for (i = 0; i < N_OPTIONS && n < sizeof(known); i++) {
        if (!strcmp(options[i].section, section)) {
            n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s",
                                  n ? ", " : "", options[i].key);
        }
    }
    if (n) {
        return ft_err_set(err, EINVAL,
                          "[%s] %s: unknown setting; this "
                          "section has %s",
                          section, key, known);
    }
    for (i = 0; i < N_SECTIONS && n < sizeof(known); i++) {
        n += (size_t)snprintf(known + n, sizeof(known) - n, "%s[%s]",
                              n ? ", " : "", sections[i].name);
    }
    return ft_err_set(err, EINVAL, "[%s] %s: unknown section; there are %s",
                      section, key, known);
}

/* What depends on more than one setting. */
static int check_together(const struct ft_options *o, struct ft_err *err)
{
    if (o->failover_lease_ms > o->failover_detect_ms) {
        return ft_err_set(err, EINVAL,
                          "[failover] lease_ms=%" PRId64
                          ": must not be above detect_ms=%" PRId64
                          ", or a go-live waits for the lease",
                          o->failover_lease_ms, o->failover_detect_ms);
    }
    return 0;
}

struct parse {
    struct ft_options *o;
    FILE *in;
    int line; /* that was read last */
    bool given[N_OPTIONS];
    struct ft_err err; /* the first that our own checks found */
    int err_line;
};

/* libinih reports the number of the first bad line, but not to its handler:
 * lines are counted here, to know whether that line is the one of p->err. A
 * line over libinih's buffer would be taken as two. */
static char *read_line(char *to, int cap, void *arg)
{
    struct parse *p = arg;
    char *line = fgets(to, cap, p->in);

    if (line) {
        p->line++;
        if (!strchr(line, '\n') && !feof(p->in) && !p->err.code) {
            ft_err_set(&p->err, EINVAL, "a line of more than %d bytes",
                       cap - 2);
            p->err_line = p->line;
        }
    }
    return line;
}

static int refuse_line(struct parse *p)
{
    p->err_line = p->line;
    return 0;
}

/* 1: go on; 0: ini.h notes this line as the first that is wrong. */
static int on_setting(void *arg, const char *section, const char *key,
                      const char *value)
{
    struct parse *p = arg;
    const struct option *d = find_option(section, key);

    if (p->err.code) {
        return 1;
    }
    if (!d) {
        say_unknown(section, key, &p->err);
        return refuse_line(p);
    }
    if (p->given[d - options]) {
        ft_err_set(&p->err, EINVAL, "[%s] %s: given twice", section, key);
        return refuse_line(p);
    }
    p->given[d - options] = true;
    return assign(p->o, d, value, &p->err) < 0 ? refuse_line(p) : 1;
}

static int fill_host_name(struct ft_options *o, struct ft_err *err)
{
    if (!o->host_name[0] &&
        gethostname(o->host_name, sizeof(o->host_name) - 1) < 0) {
        return ft_err_sys(err, errno, "host name");
    }
    return 0;
}

int ft_options_load(struct ft_options *o, const char *file,
                    struct ft_err *err)
{
    struct parse p = { .o = o };
    const char *path = file ? file : FT_CONFIG_DEFAULT;
    int line;

    set_defaults(o);
    p.in = fopen(path, "re");
    if (!p.in) {
        if (!file && errno == ENOENT) {
            return fill_host_name(o, err);
        }
        return ft_err_sys(err, errno, "%s: cannot read", path);
    }
    line = ini_parse_stream(read_line, &p, on_setting, &p);
    fclose(p.in);
    if (line || p.err.code) {
        if (!p.err.code || (line && line < p.err_line)) {
            p.err_line = line;
            ft_err_set(&p.err, EINVAL,
                       "neither a [section] nor a "
                       "setting=value");
        }
        return ft_err_set(err, EINVAL, "%s:%d: %s", path, p.err_line,
                          p.err.text);
    }
    if (check_together(o, err) < 0) {
        return ft_err_prefix(err, "%s", path);
    }
    return fill_host_name(o, err);
}

int ft_options_set(struct ft_options *o, const char *assignment,
                   struct ft_err *err)
{
    char section[32], key[32];
    const struct option *d;
    int n = 0;

    if (sscanf(assignment, "%31[a-z].%31[a-z_]=%n", section, key, &n) != 2 ||
        !n) {
        return ft_err_set(err, EINVAL,
                          "%s: not of the form "
                          "section.key=value",
                          assignment);
    }
    d = find_option(section, key);
    if (!d) {
        return say_unknown(section, key, err);
    }
    if (assign(o, d, assignment + n, err) < 0) {
        return -1;
    }
    return check_together(o, err);
}

/* Words filled into lines of at most 76 columns behind a prefix. */
static void print_filled(FILE *to, const char *prefix, const char *text)
{
    size_t column = 0, indent = strlen(prefix);

    while (*text) {
        size_t n = strcspn(text, " ");

        if (column && column + 1 + n > 76) {
            fputc('\n', to);
            column = 0;
        }
        if (!column) {
            fputs(prefix, to);
            column = indent;
        } else {
            fputc(' ', to);
            column++;
        }
        fwrite(text, 1, n, to);
        column += n;
        text += n + strspn(text + n, " ");
    }
    fputc('\n', to);
}

static void describe_option(char *to, size_t cap, const struct option *d)
{
    size_t n = (size_t)snprintf(to, cap, "%s", d->meaning);

    if (d->type == TYPE_NUMBER) {
        snprintf(to + n, cap - n, " (%s, %" PRId64 " to %" PRId64 ")",
                 d->unit, d->min, d->max);
    } else if (*d->allowed) {
        snprintf(to + n, cap - n, " (%s)", d->allowed);
    }
}

static void print_default(FILE *to, const struct option *d)
{
    if (d->type == TYPE_NUMBER) {
        fprintf(to, "%s=%" PRId64 "\n", d->key, d->number);
    } else {
        fprintf(to, "%s=%s\n", d->key, d->text);
    }
}

void ft_options_help(FILE *to)
{
    char text[512];
    size_t s, i;

    fprintf(to, "Settings in " FT_CONFIG_DEFAULT
                " (or --config FILE), with their defaults:\n");
    for (s = 0; s < N_SECTIONS; s++) {
        fprintf(to, "\n[%s]  %s\n", sections[s].name, sections[s].meaning);
        for (i = 0; i < N_OPTIONS; i++) {
            if (strcmp(options[i].section, sections[s].name)) {
                continue;
            }
            fputs("  ", to);
            print_default(to, &options[i]);
            describe_option(text, sizeof(text), &options[i]);
            print_filled(to, "      ", text);
        }
    }
}

void ft_options_sample(FILE *to)
{
    char text[512];
    size_t s, i;

    fprintf(to, "# lockstepd.conf: every setting with its default.\n"
                "# A comment starts a line of its own.\n");
    for (s = 0; s < N_SECTIONS; s++) {
        fprintf(to, "\n# %s\n[%s]\n", sections[s].meaning, sections[s].name);
        for (i = 0; i < N_OPTIONS; i++) {
            if (strcmp(options[i].section, sections[s].name)) {
                continue;
            }
            describe_option(text, sizeof(text), &options[i]);
            print_filled(to, "# ", text);
            fputc('#', to);
            print_default(to, &options[i]);
        }
    }
}
