/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * keeper.c - one thread per domain in a pair: follow its agent
 *
 * Theory of Operation
 *
 * The agent decides; the keeper draws the consequences that only lockstepd
 * can: it starts an agent that died again while its QEMU lives, makes the
 * domain permanent where it went live, makes a new backup for a guest that
 * runs alone, and tidies up what is over. Each step looks at the present
 * state only, so that it may run after a restart of lockstepd, twice, or
 * late. Nothing in a failover waits for it.
 *
 * paper, 3.1; rule 9
 */
#include "control/lockstepd/keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/json.h"
#include "common/host/log.h"
#include "control/libvirt/virt.h"
#include "control/lockstepd/agent-client.h"
#include "control/lockstepd/control-conn.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/job.h"
#include "control/lockstepd/proof.h"
#include "control/lockstepd/protect.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/vm.h"

#define TICK_MS 1000
#define BACKOFF_MIN_MS 1000
#define BACKOFF_MAX_MS 30000

struct keeper {
    struct ctl *ctl;
    struct vm *vm;
    ft_ns tidy_at;       /* not before, after the agent refused to end */
    int tidy_wait_ms;
};

bool vm_alone(const json_t *status)
{
    const char *state = ft_json_text(status, "state");

    return !strcmp(state, "alone") || !strcmp(state, "live");
}

bool vm_in_pair(const json_t *status)
{
    return !vm_alone(status) && strcmp(ft_json_text(status, "role"), "none");
}

static bool is_over(const json_t *status)
{
    const char *state = ft_json_text(status, "state");

    return !strcmp(state, "ended") || !strcmp(state, "fenced") ||
        !strcmp(state, "diverged");
}

/* A replica that was started for a lockstepd which has died since: nobody will
 * fill it any more. */
static bool is_abandoned(struct keeper *k, enum vm_role role,
                         const json_t *status)
{
    json_t *now;
    bool unused;

    if (role != VM_BACKUP || vm_in_pair(status) ||
        !json_is_true(json_object_get(status, "unused")) ||
        agent_client_status(k->ctl, k->vm->uuid, &now, NULL) < 0)
        return false;
    unused = json_is_true(json_object_get(now, "unused"));
    json_decref(now);
    return unused;
}

static void save(struct ctl *ctl, struct vm *vm)
{
    bool told = vm->unsaved;
    struct ft_err err;

    if (registry_save(ctl, vm, &err) < 0 && !told)
        ft_error("%s; tried again while the pair lasts", err.text);
}

/* ---- redundancy comes back by itself ------------------------------------ */

static bool still_wanted(struct ctl *ctl, struct vm *vm)
{
    bool wanted;

    pthread_mutex_lock(&ctl->lock);
    wanted = vm->wanted && vm->role == VM_PRIMARY &&
        (!vm->status || vm_alone(vm->status));
    pthread_mutex_unlock(&ctl->lock);
    return wanted && !atomic_load(&vm->stop) && !ctl->quit;
}

static void *reprotect_thread(void *arg)
{
    struct keeper *k = arg;
    struct ctl *ctl = k->ctl;
    struct vm *vm = k->vm;
    struct job job = { .ctl = ctl, .cancel_fd = -1, .stop = &vm->stop };
    int wait = BACKOFF_MIN_MS;

    while (still_wanted(ctl, vm)) {
        char host[CTL_NAME], arbiter[CTL_URI], summary[400];
        struct ft_err err = { 0 };

        pthread_mutex_lock(&ctl->lock);
        snprintf(host, sizeof(host), "%s", vm->peer);
        snprintf(arbiter, sizeof(arbiter), "%s", vm->arbiter);
        pthread_mutex_unlock(&ctl->lock);
        if (protect_run(&job, vm->uuid, host, arbiter, summary,
                        sizeof(summary), &err) == 0)
            break;
        if (!still_wanted(ctl, vm))
            break;
        vm_note(ctl, vm, "no backup: %s; tried again every %d s at most",
                err.text, BACKOFF_MAX_MS / 1000);
        for (int left = wait; left > 0 && still_wanted(ctl, vm) &&
             !atomic_load(&vm->poke); left -= 100)
            poll(NULL, 0, 100);
        wait = atomic_exchange(&vm->poke, false) ? BACKOFF_MIN_MS
            : wait * 2 < BACKOFF_MAX_MS ? wait * 2 : BACKOFF_MAX_MS;
    }
    pthread_mutex_lock(&ctl->lock);
    vm->reprotects = false;
    pthread_mutex_unlock(&ctl->lock);
    thread_end(&ctl->background);
    free(k);
    return NULL;
}

static void reprotect(struct keeper *k)
{
    struct keeper *copy = malloc(sizeof(*copy));
    struct ft_err err;
    bool start;

    if (!copy)
        abort();
    *copy = *k;
    pthread_mutex_lock(&k->ctl->lock);
    start = !k->vm->reprotects && !k->vm->busy;
    if (start)
        k->vm->reprotects = true;
    pthread_mutex_unlock(&k->ctl->lock);
    if (start &&
        thread_start(&k->ctl->background, reprotect_thread, copy, &err) == 0)
        return;
    if (start) {
        pthread_mutex_lock(&k->ctl->lock);
        k->vm->reprotects = false;
        pthread_mutex_unlock(&k->ctl->lock);
    }
    free(copy);
}

/* ---- the states --------------------------------------------------------- */

/* This host's replica is the guest now. */
static void took_over(struct keeper *k)
{
    struct ctl *ctl = k->ctl;
    struct vm *vm = k->vm;
    struct dom_protection p;
    struct ft_err err;

    pthread_mutex_lock(&ctl->lock);
    snprintf(p.backup, sizeof(p.backup), "%s", vm->peer);
    snprintf(p.arbiter, sizeof(p.arbiter), "%s", vm->arbiter);
    pthread_mutex_unlock(&ctl->lock);
    if (virt_make_permanent(ctl->virt, vm->uuid, &p, &err) < 0) {
        vm_note(ctl, vm, "live, but its definition is not stored on this "
                "host yet: %s", err.text);
        return;   /* the next step tries again */
    }
    virt_set_protection(ctl->virt, vm->uuid, &p);
    pthread_mutex_lock(&ctl->lock);
    vm->role = VM_PRIMARY;
    vm->wanted = true;
    vm->prepared = true;
    *vm->last = 0;
    pthread_mutex_unlock(&ctl->lock);
    save(ctl, vm);
    vm_note(ctl, vm, "it went live here; its other host was %s", p.backup);
}

static void note_protected(struct keeper *k, const json_t *status)
{
    enum vm_role role = !strcmp(ft_json_text(status, "role"), "backup")
        ? VM_BACKUP : VM_PRIMARY;
    struct vm *vm = k->vm;
    uint64_t g = ft_json_number(status, "generation");
    bool news;

    pthread_mutex_lock(&k->ctl->lock);
    news = vm->role != role || vm->generation != g ||
        (role == VM_PRIMARY && !vm->wanted);
    vm->role = role;
    vm->generation = g;
    if (role == VM_PRIMARY)
        vm->wanted = true;
    if (*ft_json_text(status, "peer"))
        snprintf(vm->peer, sizeof(vm->peer), "%s",
                 ft_json_text(status, "peer"));
    snprintf(vm->pair, sizeof(vm->pair), "%s", ft_json_text(status, "pair"));
    pthread_mutex_unlock(&k->ctl->lock);
    if (news)
        save(k->ctl, vm);
}

/* This host has no part any more. Say how that came, and where the guest is.
 * A replica leaves nothing on the disk. */
static void end_part(struct keeper *k, enum vm_role role, const char *state,
                     const char *reason)
{
    struct vm *vm = k->vm;
    bool agreed = !strcmp(state, "ended");

    if (role == VM_BACKUP)
        registry_forget(k->ctl, vm);
    pthread_mutex_lock(&k->ctl->lock);
    vm->role = VM_NONE;
    vm->wanted = false;
    if (role == VM_PRIMARY || !agreed)
        snprintf(vm->last, sizeof(vm->last), "%s", state);
    pthread_mutex_unlock(&k->ctl->lock);
    if (agreed)
        vm_note(k->ctl, vm, "%s", reason);
    else if (role == VM_BACKUP)
        vm_note(k->ctl, vm, "%s; %s makes a new replica by itself while the "
                "guest runs there", reason, vm->peer);
    else if (!strcmp(state, "fenced"))
        vm_note(k->ctl, vm, "%s; the guest belongs to %s now: do not start "
                "it here; this host is made its backup by itself", reason,
                vm->peer);
    else
        vm_note(k->ctl, vm, "it does not run here any more; start it here%s%s",
                *reason ? " unless it runs on " : "", reason);
    if (role == VM_PRIMARY)
        save(k->ctl, vm);
}

/* The pair is over on this host: remove the replica, end the agent. */
static void tidy_up(struct keeper *k, const json_t *status)
{
    struct ctl *ctl = k->ctl;
    struct vm *vm = k->vm;
    enum vm_role role;

    if (ft_monotonic() < k->tidy_at)
        return;
    if (vm_begin(ctl, vm, "tidying up", 0, NULL) < 0)
        return;   /* a command is at work; it, or the next step, will */
    pthread_mutex_lock(&ctl->lock);
    role = vm->role;
    pthread_mutex_unlock(&ctl->lock);
    if (role == VM_BACKUP)
        virt_destroy(ctl->virt, vm->uuid);
    if (agent_client_order(ctl, vm->uuid, "quit", NULL) < 0) {
        k->tidy_wait_ms = k->tidy_wait_ms ? 2 * k->tidy_wait_ms
                                          : BACKOFF_MIN_MS;
        if (k->tidy_wait_ms > BACKOFF_MAX_MS)
            k->tidy_wait_ms = BACKOFF_MAX_MS;
        k->tidy_at = ft_monotonic() +
            (ft_ns)k->tidy_wait_ms * FT_NS_PER_MS;
    } else if (role != VM_NONE) {
        end_part(k, role, ft_json_text(status, "state"),
                 ft_json_text(status, "reason"));
    }
    vm_end(ctl, vm);
}

static void step(struct keeper *k)
{
    struct vm *vm = k->vm;
    json_t *status;
    enum vm_role role;
    bool wanted, busy, unsaved;

    pthread_mutex_lock(&k->ctl->lock);
    status = json_incref(vm->status);
    role = vm->role;
    wanted = vm->wanted;
    busy = vm->busy != NULL;
    unsaved = vm->unsaved;
    pthread_mutex_unlock(&k->ctl->lock);
    if (unsaved && !busy)
        save(k->ctl, vm);
    if (!status)
        return;
    if (!strcmp(ft_json_text(status, "state"), "protected")) {
        if (!busy)
            note_protected(k, status);
    } else if (is_over(status) || (!busy && is_abandoned(k, role, status))) {
        tidy_up(k, status);
    } else if (vm_alone(status)) {
        if (role == VM_BACKUP) {
            /* Not one that only waits for its primary. */
            if (!busy && virt_state(k->ctl->virt, vm->uuid) == VIRT_RUNNING)
                took_over(k);
        }
        if (role == VM_PRIMARY && wanted && !busy)
            reprotect(k);
        else if (role == VM_NONE && !busy)
            tidy_up(k, status);
    }
    json_decref(status);
}

/* ---- following ---------------------------------------------------------- */

static void take_status(struct keeper *k, json_t *line)
{
    struct vm *vm = k->vm;

    pthread_mutex_lock(&k->ctl->lock);
    json_decref(vm->status);
    vm->status = line;
    pthread_cond_broadcast(&k->ctl->changed);
    pthread_mutex_unlock(&k->ctl->lock);
}

static void follow(struct keeper *k, int fd)
{
    struct ft_json_reader r;
    struct ft_err err;
    json_t *line, *ask = json_pack("{s:s}", "do", "status");
    int n;

    ft_json_reader_init(&r, fd);
    n = ft_json_client_send(fd, ask, &err);
    json_decref(ask);
    while (n >= 0 && !k->ctl->quit) {
        n = ft_json_reader_next(&r, &line, TICK_MS, &err);
        if (n == 0 || (n < 0 && err.code != ETIMEDOUT))
            break;
        if (n > 0 && *ft_json_text(line, "state"))
            take_status(k, line);
        else if (n > 0)
            json_decref(line);
        n = 0;
        step(k);
    }
    ft_json_reader_done(&r);
    take_status(k, NULL);
}

static bool has_argument(const char *pid, const char *want)
{
    char path[300], line[32768];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, line, sizeof(line));   /* nothing, of one that has ended */
    close(fd);
    return n > 0 && memmem(line, (size_t)n, want, strlen(want));
}

/* Does the domain's QEMU run? Asked of the kernel: libvirtd may be away, and a
 * process number may be another's by now. */
static bool qemu_runs(struct keeper *k)
{
    char want[FT_OPTION_TEXT + CTL_UUID + 32];
    struct dirent *e;
    bool found = false;
    DIR *d = opendir("/proc");

    if (!d)
        return true;   /* not known: a new agent will see */
    snprintf(want, sizeof(want), "path=%s/vm/%s/vmlink.sock",
             k->ctl->options.paths_run, k->vm->uuid);
    while (!found && (e = readdir(d)))
        found = *e->d_name >= '1' && *e->d_name <= '9' &&
            has_argument(e->d_name, want);
    closedir(d);
    return found;
}

/* No agent is left to tell what happened: the arbiter knows who has won. */
static void end_unseen(struct keeper *k, enum vm_role role)
{
    struct ctl *ctl = k->ctl;
    struct vm *vm = k->vm;
    char uri[CTL_URI], owner[CTL_NAME] = "", reason[CTL_NAME + 200];
    uint64_t g = 0, known;

    pthread_mutex_lock(&ctl->lock);
    snprintf(uri, sizeof(uri), "%s", vm->arbiter);
    known = vm->generation;
    pthread_mutex_unlock(&ctl->lock);
    if (role == VM_BACKUP) {
        end_part(k, role, "off", "the replica does not run here any more");
        return;
    }
    arbiter_record(uri, vm->uuid, &g, owner, NULL);
    if (!*owner || g < known) {
        end_part(k, role, "off", vm->peer);
    } else if (!strcmp(owner, ctl->options.host_name)) {
        end_part(k, role, "off", "");
    } else {
        snprintf(reason, sizeof(reason), "%s owns generation %llu", owner,
                 (unsigned long long)g);
        end_part(k, role, "fenced", reason);
    }
}

/* The agent is gone. Is there something for a new one? */
static bool needs_agent(struct keeper *k)
{
    struct vm *vm = k->vm;
    enum vm_role role;

    pthread_mutex_lock(&k->ctl->lock);
    role = vm->role;
    pthread_mutex_unlock(&k->ctl->lock);
    if (role == VM_NONE)
        return false;
    if (qemu_runs(k))
        return true;
    /* Not when a command has begun: what it writes counts. */
    if (vm_begin(k->ctl, vm, "tidying up", 0, NULL) == 0) {
        end_unseen(k, role);
        vm_end(k->ctl, vm);
    }
    return false;
}

/* Nothing is left to follow. Not while a command is at work: it may have made
 * a pair by now and relies on this thread. */
static bool resign(struct keeper *k)
{
    struct vm *vm = k->vm;
    bool idle;

    pthread_mutex_lock(&k->ctl->lock);
    idle = !vm->busy;
    if (idle)
        vm->keeper = false;
    pthread_mutex_unlock(&k->ctl->lock);
    return idle;
}

static void *keeper_thread(void *arg)
{
    struct keeper *k = arg;
    struct ctl *ctl = k->ctl;
    struct vm *vm = k->vm;

    while (!ctl->quit) {
        struct ft_err err;
        int fd = agent_client_open(ctl, vm->uuid, &err);

        if (fd >= 0) {
            follow(k, fd);
            close(fd);
            poll(NULL, 0, 50);
            continue;
        }
        pthread_mutex_lock(&ctl->lock);
        if (vm->busy) {   /* a command starts and ends agents as it needs */
            pthread_mutex_unlock(&ctl->lock);
            poll(NULL, 0, 100);
            continue;
        }
        pthread_mutex_unlock(&ctl->lock);
        if (!needs_agent(k)) {
            if (resign(k))
                break;
            continue;   /* a command began meanwhile */
        }
        ft_warning("pair %s: its agent is gone, a new one is started",
                   vm->name);
        if (agent_client_ensure(ctl, vm->uuid, &err) < 0) {
            vm_note(ctl, vm, "no agent: %s", err.text);
            poll(NULL, 0, TICK_MS);
        }
    }
    thread_end(&ctl->background);
    free(k);
    return NULL;
}

void keeper_start(struct ctl *ctl, struct vm *vm)
{
    struct keeper *k = calloc(1, sizeof(*k));
    struct ft_err err;
    bool start;

    if (!k)
        abort();
    k->ctl = ctl;
    k->vm = vm;
    pthread_mutex_lock(&ctl->lock);
    start = !vm->keeper;
    vm->keeper = true;
    pthread_mutex_unlock(&ctl->lock);
    if (start && thread_start(&ctl->background, keeper_thread, k, &err) == 0)
        return;
    if (start) {
        ft_error("pair %s: it is not watched: %s", vm->name, err.text);
        pthread_mutex_lock(&ctl->lock);
        vm->keeper = false;
        pthread_mutex_unlock(&ctl->lock);
    }
    free(k);
}

/* ---- being back --------------------------------------------------------- */

static void *announce_thread(void *arg)
{
    struct keeper *k = arg;
    struct job job = { .ctl = k->ctl, .cancel_fd = -1 };
    char host[CTL_NAME];
    struct control_conn *p = NULL;
    struct ft_err err;
    json_t *reply;

    pthread_mutex_lock(&k->ctl->lock);
    snprintf(host, sizeof(host), "%s", k->vm->peer);
    pthread_mutex_unlock(&k->ctl->lock);
    for (int i = 0; i < 5 && !p && !k->ctl->quit; i++) {
        p = control_connect(&job, host, &err);
        if (!p)
            job_sleep(&job, TICK_MS, NULL);
    }
    if (p && control_call(p, json_pack("{s:s}", "do", "hello"), &reply, 5,
                          &err) == 0)
        json_decref(reply);
    control_close(p);
    thread_end(&k->ctl->background);
    free(k);
    return NULL;
}

void keeper_announce(struct ctl *ctl)
{
    for (struct vm *vm = ctl->vms; vm; vm = vm->next) {
        struct keeper *k;

        if (!vm->generation || !*vm->peer)
            continue;
        k = malloc(sizeof(*k));
        if (!k)
            abort();
        *k = (struct keeper){ .ctl = ctl, .vm = vm };
        if (thread_start(&ctl->background, announce_thread, k, NULL) < 0)
            free(k);
    }
}
