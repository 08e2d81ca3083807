/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * print-transitions.c - docs/transitions.md, from the tables of the cores
 *
 * `make transitions` writes the document anew; tests/common/transitions-doc.t
 * compares it with this program's output.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char *shown; /* the state whose table is being printed */
static int rows;

/* WENT_ALONE: went-alone, as it is written in logs. */
static void word(const char *name)
{
    for (; *name; name++) {
        putchar(*name == '_' ? '-' : tolower((unsigned char)*name));
    }
}

static void begin(const char *state)
{
    if (shown != NULL && strcmp(shown, state) == 0) {
        return;
    }
    shown = state;
    rows = 0;
    printf("\n### ");
    word(state);
    printf("\n");
}

static void on(const char *state, const char *event, const char *next,
               const char *effects)
{
    begin(state);
    if (rows++ == 0) {
        printf("\n| event | next state | effects, in this order |\n"
               "|---|---|---|\n");
    }
    printf("| ");
    word(event);
    printf(" | ");
    if (strcmp(state, next) == 0) {
        printf("stays");
    } else {
        printf("**");
        word(next);
        printf("**");
    }
    printf(" | %s |\n", effects);
}

/* events: names of variants, each behind a space. */
static void list(const char *state, const char *what, const char *events)
{
    int column;

    begin(state);
    column = printf("\n%s:", what);
    while (*events == ' ') {
        size_t n = strcspn(++events, " ");

        if (column + (int)n > 74) {
            printf("\n");
            column = 0;
        } else {
            column += printf(" ");
        }
        for (size_t k = 0; k < n; k++) {
            putchar(events[k] == '_' ? '-'
                                     : tolower((unsigned char)events[k]));
        }
        events += n;
        column += (int)n + printf("%s", *events ? "," : ".");
    }
    printf("\n");
}

static void variant(const char *name, const char *event, const char *fields)
{
    if (strcmp(name, event) == 0) {
        return;
    }
    printf("| ");
    word(name);
    printf(" | ");
    word(event);
    printf(" | `%s` |\n", fields);
}

#define C(VARIANT, EVENT, ...) variant(#VARIANT, #EVENT, #__VA_ARGS__);
#define ON(STATE, VARIANT, NEXT, effects)                                    \
    on(#STATE, #VARIANT, #NEXT, effects);
#define STAYS(STATE, variants) list(#STATE, "Changes nothing", variants);
#define TRAPS(STATE, variants)                                               \
    list(#STATE, "May not come (a bug of the driver)", variants);

static void variants(void)
{
    printf("\n| variant | event | with |\n|---|---|---|\n");
}

static void primary(void)
{
    printf("\n## The primary\n");
    variants();
#include "tests/primary/cases.tbl.h"
    CASES(C)
#undef CASES
#include "tests/primary/machine.tbl.h"
}

static void backup(void)
{
    printf("\n## The backup\n");
    variants();
#include "tests/backup/cases.tbl.h"
    CASES(C)
#undef CASES
#include "tests/backup/machine.tbl.h"
}

int main(void)
{
    printf(
        "# What each core does on every event\n"
        "\n"
        "Printed by `make transitions` from `tests/primary/` and\n"
        "`tests/backup/machine.tbl.h`, the tables against which the cores'\n"
        "tests hold `primary/machine.c` and `backup/machine.c`: change those,\n"
        "then print this page again. What each state allows, where each event\n"
        "comes from and what answers each effect stands in\n"
        "`primary/events.tbl.h` and `backup/events.tbl.h`.\n"
        "\n"
        "An event has variants where what it says matters. Each meets its\n"
        "state in one typical instance (`m` below, at the time NOW), which\n"
        "`typical()` in the test makes; other instances are the business of\n"
        "the stories in the same file, and of the explorer.\n");
    primary();
    backup();
    return 0;
}
