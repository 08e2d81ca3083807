/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mutate.h - what the fuzzers share: good inputs damaged, always in the same way
 *
 * The first byte of an input chooses the parser and stays.
 */
#ifndef FUZZ_MUTATE_H
#define FUZZ_MUTATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(x)                                                             \
    do {                                                                     \
        if (!(x)) {                                                          \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);          \
            abort();                                                         \
        }                                                                    \
    } while (0)

#ifndef LIBFUZZER

#define INPUT 4096

static uint64_t random_state = 1;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static size_t mutate(uint8_t *p, size_t n)
{
    static const uint8_t nasty[] = { 0, 1, 0x7f, 0x80, 0xff, 48, 255 };
    unsigned times = (unsigned)(next_random() % 4);
    size_t at, k;

    while (times--) {
        at = 1 + next_random() % (n - 1);
        switch (next_random() % 6) {
        case 0:
            p[at] ^= (uint8_t)(1 << next_random() % 8);
            break;
        case 1:
            p[at] = nasty[next_random() % sizeof(nasty)];
            break;
        case 2:
            n = at + 1; /* cut off */
            break;
        case 3:
            k = next_random() % 16; /* too much */
            memset(p + n, 0x41, n + k < INPUT ? k : 0);
            n += n + k < INPUT ? k : 0;
            break;
        case 4:
            k = 1 + next_random() % (n - 1); /* a copied piece */
            memmove(p + at, p + k, n - (at > k ? at : k));
            break;
        default:
            memset(p + at, 0xff, n - at < 8 ? n - at : 8);
        }
    }
    return n;
}

/* For FUZZ_SECONDS, or 3. */
static bool fuzz_goes_on(void)
{
    const char *seconds = getenv("FUZZ_SECONDS");
    static time_t end;

    if (!end) {
        end = time(NULL) + (seconds ? atoi(seconds) : 3);
    }
    return time(NULL) < end;
}

#endif
#endif
