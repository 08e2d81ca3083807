/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * steps.h - between driver.c, which does what the shipped cores ask for, and
 * steps.c, which decides what happens to them
 */
#ifndef MODEL_STEPS_H
#define MODEL_STEPS_H

#include "world.h"

/* The step that is being made. */
struct step {
    const struct world *from;
    struct world w;
    const char *wrong; /* the promise that it breaks */
    bool impossible;   /* a queue is full: it must wait */
    bool stop_at_page; /* the agent is stopped before its store */
    world_each *each;
    void *opaque;
};
extern struct step now;
extern const char *const host[SLOTS];

void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void wrong(const char *promise);

bool storage_is(const struct record *r);
/* Every new file needs it; what was prepared for a take is there already. */
bool storage_has_room(const struct slot *h, bool take);
void storage_set(uint8_t kind, uint8_t generation, uint8_t owner);

/* Raise an event in a core of slot s, and do what it asks for. */
void pri_happens(unsigned s, struct pri_event ev);
void bak_happens(unsigned s, struct bak_event ev);
void tas_happens(unsigned s, struct tas_event ev);
void arbiter(unsigned s, enum tas_event_kind kind, enum tas_op op,
             uint64_t generation);

void close_side(struct channel *c, int d);
void cut(struct channel *c, int d);
/* The store into the page that QEMU reads before each output. */
void page_store(unsigned s);

#endif
