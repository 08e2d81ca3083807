/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm.c - one domain: what this host knows of it, and who may work on it */
#include "control/lockstepd/vm.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/host/log.h"

struct vm {
    struct vm *next;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t ended; /* a command */
    struct vm_info i;
    bool keeper;               /* its thread runs */
    enum vm_try try;           /* of a new backup, by the keeper */
    char failure[FT_ERR_TEXT]; /* ... why the last one failed */
    bool poked;
    char *carried; /* or NULL */
};

static void set(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

static struct vm_info *lock(struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    return &vm->i;
}

static void unlock(struct vm *vm)
{
    pthread_mutex_unlock(&vm->lock);
}

struct vm *vm_new(const char *uuid, struct vm *next)
{
    struct vm *vm = calloc(1, sizeof(*vm));

    if (!vm) {
        abort();
    }
    pthread_mutex_init(&vm->lock, NULL);
    pthread_cond_init(&vm->ended, NULL);
    set(vm->i.uuid, sizeof(vm->i.uuid), uuid);
    set(vm->i.name, sizeof(vm->i.name), uuid);
    vm->next = next;
    return vm;
}

struct vm *vm_next(const struct vm *vm)
{
    return vm->next;
}

const char *vm_uuid(const struct vm *vm)
{
    return vm->i.uuid;
}

bool vm_is(struct vm *vm, const char *which)
{
    const struct vm_info *i = lock(vm);
    bool is = !strcmp(i->uuid, which) || !strcmp(i->name, which);

    unlock(vm);
    return is;
}

void vm_get(struct vm *vm, struct vm_info *copy)
{
    *copy = *lock(vm);
    unlock(vm);
}

/* ---- the command lock --------------------------------------------------- */

int vm_begin(struct vm *vm, const char *what, int wait_ms, struct ft_err *err)
{
    struct vm_info *i = lock(vm);
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += wait_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    while (i->command &&
           pthread_cond_clockwait(&vm->ended, &vm->lock, CLOCK_MONOTONIC,
                                  &until) != ETIMEDOUT)
        ;
    if (i->command) {
        rc = ft_err_set(err, EBUSY,
                        "domain %s: another command is at work "
                        "on it (%s): wait for its end, or stop it",
                        i->name, i->command);
    } else {
        i->command = what;
    }
    unlock(vm);
    return rc;
}

void vm_end(struct vm *vm)
{
    lock(vm)->command = NULL;
    pthread_cond_broadcast(&vm->ended);
    unlock(vm);
}

/* ---- what is known ----------------------------------------------------- */

void vm_rename(struct vm *vm, const char *name)
{
    struct vm_info *i = lock(vm);

    set(i->name, sizeof(i->name), name);
    unlock(vm);
}

void vm_restore(struct vm *vm, const struct vm_info *stored)
{
    *lock(vm) = *stored;
    unlock(vm);
}

void vm_forget(struct vm *vm)
{
    struct vm_info *i = lock(vm);

    i->prepared = i->wanted = i->autostart = false;
    i->role = FT_ROLE_NONE;
    i->generation = 0; /* the arbiter knows better */
    i->last = FT_PAIR_NONE;
    *i->note = 0;
    i->unsaved = false;
    unlock(vm);
}

void vm_set_saved(struct vm *vm, bool saved)
{
    lock(vm)->unsaved = !saved;
    unlock(vm);
}

void vm_set_prepared(struct vm *vm, bool prepared)
{
    lock(vm)->prepared = prepared;
    unlock(vm);
}

void vm_set_autostart(struct vm *vm, bool autostart)
{
    lock(vm)->autostart = autostart;
    unlock(vm);
}

void vm_note(struct vm *vm, const char *fmt, ...)
{
    char text[sizeof(vm->i.note)], name[CTL_NAME];
    struct vm_info *i;
    va_list ap;
    bool news;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    i = lock(vm);
    news = strcmp(i->note, text) != 0;
    memcpy(i->note, text, sizeof(text));
    set(name, sizeof(name), i->name);
    unlock(vm);
    if (news && *text) {
        ft_info("pair %s: %s", name, text);
    }
}

static void drop_carried(struct vm *vm)
{
    free(vm->carried);
    vm->carried = NULL;
}

void vm_set_carried(struct vm *vm, const char *xml)
{
    lock(vm);
    drop_carried(vm);
    vm->carried = strdup(xml);
    unlock(vm);
}

bool vm_is_carried(struct vm *vm, const char *xml)
{
    bool is;

    lock(vm);
    is = vm->carried && !strcmp(vm->carried, xml);
    unlock(vm);
    return is;
}

/* ---- the life of a pair ------------------------------------------------ */

static void set_hosts(struct vm_info *i, const char *pair, const char *peer,
                      const char *arbiter)
{
    set(i->pair, sizeof(i->pair), pair);
    set(i->peer, sizeof(i->peer), peer);
    set(i->arbiter, sizeof(i->arbiter), arbiter);
}

static void set_pair(struct vm_info *i, const struct vm_pair *pair)
{
    i->prepared = true;
    i->last = FT_PAIR_NONE;
    i->generation = pair->generation;
    set_hosts(i, pair->id, pair->peer, pair->arbiter);
    *i->note = 0;
}

/* The generation stays that of the last pair that was protected: whoever owns
 * that one or a later one has the guest. */
void vm_begin_pair(struct vm *vm, const struct vm_pair *pair,
                   struct vm_info *was)
{
    struct vm_info *i = lock(vm);

    *was = *i;
    drop_carried(vm); /* it is another replica's */
    set_hosts(i, pair->id, pair->peer, pair->arbiter);
    if (i->role == FT_ROLE_NONE) {
        i->role = FT_ROLE_PRIMARY;
    }
    unlock(vm);
}

void vm_give_up_pair(struct vm *vm, const struct vm_info *was)
{
    struct vm_info *i = lock(vm);

    if (was->role != FT_ROLE_NONE) {
        set_hosts(i, was->pair, was->peer, was->arbiter);
    }
    unlock(vm);
}

void vm_become_primary(struct vm *vm, const struct vm_pair *pair)
{
    struct vm_info *i = lock(vm);

    set_pair(i, pair);
    i->role = FT_ROLE_PRIMARY;
    i->wanted = true;
    unlock(vm);
}

void vm_become_backup(struct vm *vm, const struct vm_pair *pair)
{
    struct vm_info *i = lock(vm);

    set_pair(i, pair);
    i->role = FT_ROLE_BACKUP;
    i->wanted = false;
    unlock(vm);
}

bool vm_see_protected(struct vm *vm, const struct agent_report *status)
{
    enum ft_role role = status->role == FT_ROLE_BACKUP ? FT_ROLE_BACKUP
                                                       : FT_ROLE_PRIMARY;
    struct vm_info *i = lock(vm);
    bool news = i->role != role || i->generation != status->generation ||
                (role == FT_ROLE_PRIMARY && !i->wanted);

    i->role = role;
    i->generation = status->generation;
    if (role == FT_ROLE_PRIMARY) {
        i->wanted = true;
    }
    if (*status->peer) {
        set(i->peer, sizeof(i->peer), status->peer);
    }
    set(i->pair, sizeof(i->pair), status->pair);
    unlock(vm);
    return news;
}

void vm_take_over(struct vm *vm)
{
    struct vm_info *i = lock(vm);

    i->role = FT_ROLE_PRIMARY;
    i->wanted = true;
    i->prepared = true;
    i->last = FT_PAIR_NONE;
    unlock(vm);
}

void vm_end_part(struct vm *vm, enum ft_pair_state last)
{
    struct vm_info *i = lock(vm);

    i->role = FT_ROLE_NONE;
    i->wanted = false;
    i->last = last;
    unlock(vm);
}

/* ---- what the user wants ----------------------------------------------- */

void vm_stop_wanting(struct vm *vm, struct vm_info *was)
{
    struct vm_info *i = lock(vm);

    *was = *i;
    if (i->role != FT_ROLE_BACKUP) {
        i->wanted = false;
        i->stopped = true;
    }
    unlock(vm);
}

void vm_clear_stop(struct vm *vm)
{
    lock(vm)->stopped = false;
    unlock(vm);
}

void vm_want_again(struct vm *vm, bool wanted)
{
    struct vm_info *i = lock(vm);

    i->wanted = wanted;
    i->stopped = false;
    unlock(vm);
}

bool vm_is_stopped(struct vm *vm)
{
    bool stopped = lock(vm)->stopped;

    unlock(vm);
    return stopped;
}

/* ---- its keeper, and the new backup that it makes ----------------------- */

bool vm_claim_keeper(struct vm *vm)
{
    bool claimed;

    lock(vm);
    claimed = !vm->keeper;
    vm->keeper = true;
    if (vm->try == VM_TRY_FAILED) { /* an earlier keeper's */
        vm->try = VM_TRY_NONE;
    }
    unlock(vm);
    return claimed;
}

void vm_release_keeper(struct vm *vm)
{
    lock(vm);
    vm->keeper = false;
    unlock(vm);
}

bool vm_resign_keeper(struct vm *vm)
{
    const struct vm_info *i = lock(vm);
    bool idle = !i->command;

    if (idle) {
        vm->keeper = false;
    }
    unlock(vm);
    return idle;
}

bool vm_begin_try(struct vm *vm)
{
    const struct vm_info *i = lock(vm);
    bool begun = vm->try != VM_TRY_RUNS && !i->command;

    if (begun) {
        vm->try = VM_TRY_RUNS;
    }
    unlock(vm);
    return begun;
}

void vm_end_try(struct vm *vm, const char *failure)
{
    lock(vm);
    vm->try = failure ? VM_TRY_FAILED : VM_TRY_NONE;
    set(vm->failure, sizeof(vm->failure), failure ? failure : "");
    unlock(vm);
}

enum vm_try vm_take_try(struct vm *vm, char *failure, size_t size)
{
    enum vm_try try;

    lock(vm);
    try = vm->try;
    if (try == VM_TRY_FAILED) {
        set(failure, size, vm->failure);
        vm->try = VM_TRY_NONE;
    }
    unlock(vm);
    return try;
}

void vm_poke(struct vm *vm)
{
    lock(vm);
    vm->poked = true;
    unlock(vm);
}

bool vm_take_poke(struct vm *vm)
{
    bool poked;

    lock(vm);
    poked = vm->poked;
    vm->poked = false;
    unlock(vm);
    return poked;
}
