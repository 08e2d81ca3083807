/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm.h - one domain: what this host knows of it, and who may work on it
 *
 * Theory of Operation
 *
 * A struct vm has a lock of its own, which no function here holds across a
 * call that can block; so threads take a copy (vm_get) and change it by the
 * functions below, each of which is one step in the life of a pair. It is
 * made once and never freed while lockstepd runs.
 *
 * Beside that lock stands the command lock, vm_begin() to vm_end(): it is held
 * for as long as a command, or the keeper's tidying up, works on the domain,
 * and others wait for its end. Only who holds it changes the pair, the host's
 * role in it and the file. Three things are changed without it: what the user
 * wants (vm_stop_wanting ends the very command that holds the lock), the note,
 * and what the keeper sees while no command runs: that a pair is protected,
 * that a replica went live.
 */
#ifndef LOCKSTEPD_VM_H
#define LOCKSTEPD_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/host/err.h"
#include "common/pair-state.h"
#include "control/lockstepd/agent-report.h"
#include "control/lockstepd/sizes.h"

struct vm;

/* A copy of what is known. */
struct vm_info {
    char uuid[CTL_UUID]; /* never changes */
    /* in the file STATE/vm/UUID.json */
    char name[CTL_NAME];
    bool prepared;       /* its definition here is a prepared one */
    bool wanted;         /* the user wants it protected */
    enum ft_role role;   /* this host's, in the last pair */
    char peer[CTL_NAME]; /* the other host of the last pair */
    char arbiter[CTL_URI];
    char pair[33];
    uint64_t generation;     /* of the last pair that was protected */
    bool autostart;          /* libvirt's flag, taken over while protected */
    enum ft_pair_state last; /* how its last pair ended for this host, where
                                   that is not over yet; else NONE */
    char note[FT_ERR_TEXT];  /* why it is not protected */
    /* not in the file */
    bool unsaved;        /* the file could not be written */
    bool stopped;        /* no new backup, and an end to making one */
    const char *command; /* that holds the command lock, or NULL */
};

/* next: in the registry's list, and so for ever. */
struct vm *vm_new(const char *uuid, struct vm *next);
struct vm *vm_next(const struct vm *vm);
const char *vm_uuid(const struct vm *vm);
bool vm_is(struct vm *vm, const char *which); /* uuid or name */
void vm_get(struct vm *vm, struct vm_info *copy);

/* ---- the command lock --------------------------------------------------- */

/* Begin a command. -1: another one runs, and has not ended within wait_ms.
 * what: a literal, for messages. */
int vm_begin(struct vm *vm, const char *what, int wait_ms,
             struct ft_err *err);
void vm_end(struct vm *vm);

/* ---- what is known ----------------------------------------------------- */

void vm_rename(struct vm *vm, const char *name);
void vm_restore(struct vm *vm, const struct vm_info *stored);
/* All but its name, and who was its other host. */
void vm_forget(struct vm *vm);
void vm_set_saved(struct vm *vm, bool saved);
void vm_set_prepared(struct vm *vm, bool prepared);
void vm_set_autostart(struct vm *vm, bool autostart);
/* Say why it is not protected; logged when it is news. */
void vm_note(struct vm *vm, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The stored definition that the other host has been given (carry.h). */
void vm_set_carried(struct vm *vm, const char *xml);
bool vm_is_carried(struct vm *vm, const char *xml);

/* ---- the life of a pair ------------------------------------------------ */

struct vm_pair {
    const char *id, *peer, *arbiter;
    uint64_t generation;
};
/* This pair is about to be made from here: whatever dies from now on, this host
 * has a part in it. What the user wants changes when the pair is made. *was: as
 * it was before. */
void vm_begin_pair(struct vm *vm, const struct vm_pair *pair,
                   struct vm_info *was);
/* It was not made. An earlier pair's host and arbiter count again; where there
 * was none the keeper ends this host's part, when the guest runs alone. */
void vm_give_up_pair(struct vm *vm, const struct vm_info *was);
/* A pair was made, this host is the primary's. */
void vm_become_primary(struct vm *vm, const struct vm_pair *pair);
/* A replica for this pair is about to be started here. */
void vm_become_backup(struct vm *vm, const struct vm_pair *pair);
/* The agent says that its pair is protected. True: that is news. */
bool vm_see_protected(struct vm *vm, const struct agent_report *status);
/* The replica went live: this host has the guest and no backup. */
void vm_take_over(struct vm *vm);
/* This host has no part any more. last: as in struct vm_info. */
void vm_end_part(struct vm *vm, enum ft_pair_state last);

/* ---- what the user wants ----------------------------------------------- */

/* No new backup from now on, and an end to one that is being made; not on the
 * backup's host. *was: as it was before. */
void vm_stop_wanting(struct vm *vm, struct vm_info *was);
/* A later pair may come back by itself. */
void vm_clear_stop(struct vm *vm);
/* The stop was refused. */
void vm_want_again(struct vm *vm, bool wanted);
bool vm_is_stopped(struct vm *vm);

/* ---- its keeper, and the new backup that it makes ----------------------- */

/* True: the caller is its keeper now. */
bool vm_claim_keeper(struct vm *vm);
void vm_release_keeper(struct vm *vm);
/* The same, but not while a command runs: it may have made a pair by now, and
 * relies on the keeper. */
bool vm_resign_keeper(struct vm *vm);

enum vm_try { VM_TRY_NONE, VM_TRY_RUNS, VM_TRY_FAILED };
/* True: the caller makes a new backup now. Not while a command runs. */
bool vm_begin_try(struct vm *vm);
void vm_end_try(struct vm *vm, const char *failure); /* NULL: none */
/* A failure is told once. */
enum vm_try vm_take_try(struct vm *vm, char *failure, size_t size);
/* Its other host is back: try at once. */
void vm_poke(struct vm *vm);
bool vm_take_poke(struct vm *vm);

#endif
