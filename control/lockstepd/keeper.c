/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * keeper.c - one thread per domain in a pair: it follows the agent
 *
 * Theory of Operation
 *
 * The agent decides a failover; keeper-core.c decides the consequences that
 * only lockstepd can draw, and this thread carries them out, one at a time, as
 * the roles' drivers do for their cores. It gathers what the core wants to
 * know, whenever the agent says something and at least once a second. Nothing
 * in a failover waits for it.
 *
 * paper, 3.1; rule 9
 */
#include "control/lockstepd/keeper.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/clock.h"
#include "common/host/fdpass.h"
#include "common/host/json.h"
#include "common/host/log.h"
#include "control/libvirt/virt.h"
#include "control/lockstepd/agent-client.h"
#include "control/lockstepd/arbiter-lookup.h"
#include "control/lockstepd/autostart.h"
#include "control/lockstepd/carry.h"
#include "control/lockstepd/control-conn.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/job.h"
#include "control/lockstepd/keeper-core.h"
#include "control/lockstepd/protect.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/vm.h"

#define TICK_MS 1000
#define LOOK (10 * FT_NS_PER_S)
#define TRY_TICK_MS 100 /* while a new backup is tried or waited for */

struct keeper {
    struct ctl *ctl;
    struct vm *vm;
    struct keeper_core core;
    enum keeper_action_kind did; /* last */
    struct agent_report status;  /* the agent's last words */
    struct vm_info i;            /* what the last round has seen */
    bool hurry;                  /* a new backup is tried, or waits */
    char failure[FT_ERR_TEXT];   /* of the last try */
    ft_ns look_at;               /* ... after what lasts while protected */
    char owner[CTL_NAME];        /* what the arbiter has said */
    uint64_t owned;
};

static void save(struct keeper *k)
{
    struct ft_err err;

    if (registry_save(k->ctl, k->vm, &err) < 0 && !k->i.unsaved) {
        ft_error("%s; tried again while the pair lasts", err.text);
    }
}

/* ---- what takes long has a thread of its own ---------------------------- */

struct errand {
    struct ctl *ctl;
    struct vm *vm;
};

static int send_on_errand(struct ctl *ctl, struct vm *vm,
                          void *(*run)(void *errand))
{
    struct errand *e = malloc(sizeof(*e));

    if (!e) {
        abort();
    }
    *e = (struct errand){ ctl, vm };
    if (thread_start(&ctl->background, run, e, NULL) == 0) {
        return 0;
    }
    free(e);
    return -1;
}

static void *backup_thread(void *arg)
{
    struct errand *e = arg;
    struct job job = { .ctl = e->ctl, .cancel_fd = -1, .vm = e->vm };
    struct ft_err err = { 0 };
    struct vm_info i;
    char summary[400];
    int rc;

    vm_get(e->vm, &i);
    rc = protect_run(&job, i.uuid, i.peer, i.arbiter, summary,
                     sizeof(summary), &err);
    vm_end_try(e->vm, rc < 0 ? err.text : NULL);
    thread_end(&e->ctl->background);
    free(e);
    return NULL;
}

static void make_backup(struct keeper *k)
{
    if (vm_begin_try(k->vm) &&
        send_on_errand(k->ctl, k->vm, backup_thread) < 0) {
        vm_end_try(k->vm, NULL); /* the next round begins one */
    }
}

static void *carry_thread(void *arg)
{
    struct errand *e = arg;
    struct job job = { .ctl = e->ctl, .cancel_fd = -1 };
    struct control_conn *c;
    struct ft_err err;
    struct vm_info i;

    vm_get(e->vm, &i);
    c = control_connect(&job, i.peer, &err);
    if (!c || carry_definition(e->ctl, e->vm, c, &err) < 0) {
        vm_note(e->vm, "its stored definition is not on %s: %s", i.peer,
                err.text);
    }
    control_close(c);
    thread_end(&e->ctl->background);
    free(e);
    return NULL;
}

static void *announce_thread(void *arg)
{
    struct errand *e = arg;
    struct job job = { .ctl = e->ctl, .cancel_fd = -1 };
    struct control_conn *c = NULL;
    struct ft_err err;
    struct vm_info i;
    json_t *reply;

    vm_get(e->vm, &i);
    for (int n = 0; n < 5 && !c && !e->ctl->quit; n++) {
        c = control_connect(&job, i.peer, &err);
        if (!c) {
            job_sleep(&job, TICK_MS, NULL);
        }
    }
    if (c && control_call(c, json_pack("{s:s}", "do", "hello"), &reply, 5,
                          &err) == 0) {
        json_decref(reply);
    }
    control_close(c);
    thread_end(&e->ctl->background);
    free(e);
    return NULL;
}

void keeper_announce(struct ctl *ctl)
{
    for (struct vm *vm = registry_first(ctl); vm; vm = vm_next(vm)) {
        struct vm_info i;

        vm_get(vm, &i);
        if (keeper_announces(i.generation, i.peer)) {
            send_on_errand(ctl, vm, announce_thread);
        }
    }
}

/* ---- an end ------------------------------------------------------------- */

static void note_end(struct keeper *k, enum keeper_note note,
                     const char *reason)
{
    const char *peer = k->i.peer;

    switch (note) {
    case KEEPER_NOTE_NONE:
        break;
    case KEEPER_NOTE_REASON:
        vm_note(k->vm, "%s", reason);
        break;
    case KEEPER_NOTE_REPLICA:
        vm_note(k->vm,
                "%s; %s makes a new replica by itself while the "
                "guest runs there",
                reason, peer);
        break;
    case KEEPER_NOTE_FENCED:
        vm_note(k->vm,
                "%s; the guest belongs to %s now: do not start it "
                "here; this host is made its backup by itself",
                reason, peer);
        break;
    case KEEPER_NOTE_ELSEWHERE:
        vm_note(k->vm, "it does not run here any more; start it here%s%s",
                *peer ? " unless it runs on " : "", peer);
        break;
    case KEEPER_NOTE_OFF:
        vm_note(k->vm, "it does not run here any more; start it here");
        break;
    }
}

/* This host has no part any more. Say how that came, and where the guest
 * is. */
static void end_part(struct keeper *k, const struct keeper_action *a,
                     const char *reason)
{
    if (a->forget) {
        registry_forget(k->ctl, k->vm);
    }
    vm_end_part(k->vm, a->last);
    note_end(k, a->note, reason);
    if (!a->forget) {
        save(k);
    }
}

/* Take the command lock, if all is still as it was when this was decided: what
 * a command has written meanwhile counts. */
static bool begin_tidying(struct keeper *k)
{
    struct vm_info now;

    if (vm_begin(k->vm, "tidying up", 0, NULL) < 0) {
        return false;
    }
    vm_get(k->vm, &now);
    if (now.role == k->i.role && now.generation == k->i.generation) {
        return true;
    }
    vm_end(k->vm);
    return false;
}

/* Where the guest is this host's again, it starts by itself as it did. */
static bool give_back(struct keeper *k, const struct keeper_action *a)
{
    struct ft_err err;

    if (!a->autostart || autostart_give_back(k->ctl, k->vm, &err) == 0) {
        return true;
    }
    vm_note(k->vm, "%s; tried again every %d s at most", err.text,
            (int)(KEEPER_BACKOFF_MAX / FT_NS_PER_S));
    return false;
}

/* What the agent has said when this was decided may be old by now. */
static bool says_the_same(struct keeper *k)
{
    struct agent_report now;

    return agent_client_status(k->ctl, k->i.uuid, &now, NULL) == 0 &&
           now.state == k->status.state && now.unused == k->status.unused &&
           now.generation == k->status.generation;
}

/* The pair is over on this host: remove the replica, end the agent. */
static void tidy_up(struct keeper *k, const struct keeper_action *a)
{
    if (!begin_tidying(k)) {
        return;
    }
    if (!says_the_same(k)) {
        vm_end(k->vm);
        return; /* the next round decides */
    }
    if (a->destroy) {
        virt_destroy(k->ctl->virt, k->i.uuid);
    }
    if (!give_back(k, a) ||
        agent_client_order(k->ctl, k->i.uuid, "quit", NULL) < 0) {
        keeper_failed(&k->core, a->kind, ft_monotonic());
    } else if (a->end) {
        end_part(k, a, k->status.reason);
    }
    vm_end(k->vm);
}

static void end_unseen(struct keeper *k, const struct keeper_action *a)
{
    char reason[CTL_NAME + 200];

    if (!begin_tidying(k)) {
        return;
    }
    if (k->i.role == FT_ROLE_BACKUP) {
        snprintf(reason, sizeof(reason),
                 "the replica does not run here any more");
    } else {
        snprintf(reason, sizeof(reason), "%s owns generation %llu", k->owner,
                 (unsigned long long)k->owned);
    }
    if (give_back(k, a)) {
        end_part(k, a, reason);
    } else {
        keeper_failed(&k->core, a->kind, ft_monotonic());
    }
    vm_end(k->vm);
}

/* ---- the rest ----------------------------------------------------------- */

/* What its metadata says of the pair. */
static struct dom_protection policy_of(const struct vm_info *i)
{
    struct dom_protection p;

    snprintf(p.backup, sizeof(p.backup), "%s", i->peer);
    snprintf(p.arbiter, sizeof(p.arbiter), "%s", i->arbiter);
    return p;
}

static void set_policy(struct keeper *k)
{
    struct dom_protection p;
    struct vm_info now;

    vm_get(k->vm, &now);
    p = policy_of(&now);
    virt_set_protection(k->ctl->virt, now.uuid, &p);
}

/* This host's replica is the guest now. */
static void take_over(struct keeper *k)
{
    char *definition = registry_carried(k->ctl, k->vm);
    struct dom_protection p = policy_of(&k->i);
    struct ft_err err;
    int rc = virt_make_permanent(k->ctl->virt, k->i.uuid, definition, &p,
                                 &err);

    free(definition);
    if (rc < 0) {
        vm_note(k->vm,
                "live, but its definition is not stored on this "
                "host yet: %s",
                err.text);
        return; /* the next round tries again */
    }
    virt_set_protection(k->ctl->virt, k->i.uuid, &p);
    vm_take_over(k->vm);
    save(k);
    vm_note(k->vm, "it went live here; its other host was %s", p.backup);
}

/* What holds while a pair lasts, whoever made it and whatever was done since:
 * all of it is on file, and the domain does not start by itself. */
static void record_protected(struct keeper *k)
{
    bool news = vm_see_protected(k->vm, &k->status);
    ft_ns now = ft_monotonic();
    struct ft_err err;

    if (news) {
        save(k);
    }
    if (k->status.role == FT_ROLE_BACKUP || (!news && now < k->look_at) ||
        vm_begin(k->vm, "looking after it", 0, NULL) < 0) {
        return;
    }
    k->look_at = now + LOOK;
    if (autostart_take(k->ctl, k->vm, &err) < 0) {
        vm_note(k->vm, "it may start by itself: %s", err.text);
    }
    if (news) {
        set_policy(k);
    }
    if (carry_is_due(k->ctl, k->vm)) {
        send_on_errand(k->ctl, k->vm, carry_thread);
    }
    vm_end(k->vm);
}

static void start_agent(struct keeper *k)
{
    struct ft_err err;

    ft_warning("pair %s: its agent is gone, a new one is started", k->i.name);
    if (agent_client_ensure(k->ctl, k->i.uuid, &err) < 0) {
        vm_note(k->vm, "no agent: %s", err.text);
        keeper_failed(&k->core, KEEPER_START_AGENT, ft_monotonic());
    }
}

/* Does the domain's QEMU run? It listens on its vmlink as long as it does. The
 * kernel is asked: libvirtd may be away, and a process number may be another's
 * by now. */
static bool qemu_runs(struct keeper *k)
{
    char path[FT_PATH_TEXT];

    snprintf(path, sizeof(path), "%s/vm/%s/vmlink.sock",
             k->ctl->options.paths_run, k->i.uuid);
    return ft_unix_has_listener(path) != 0; /* not known: an agent will see */
}

static bool is_still_unused(struct keeper *k)
{
    struct agent_report now;

    return agent_client_status(k->ctl, k->i.uuid, &now, NULL) == 0 &&
           now.unused;
}

static void ask_arbiter(struct keeper *k, struct keeper_input *in)
{
    arbiter_record(k->i.arbiter, k->i.uuid, &k->owned, k->owner, NULL);
    if (!*k->owner || k->owned < k->i.generation) {
        in->owner = KEEPER_OWNER_UNKNOWN;
    } else if (!strcmp(k->owner, k->ctl->options.host_name)) {
        in->owner = KEEPER_OWNER_US;
    } else {
        in->owner = KEEPER_OWNER_OTHER;
    }
}

/* ---- a round ------------------------------------------------------------ */

static void gather(struct keeper *k, struct keeper_input *in)
{
    memset(in, 0, sizeof(*in));
    in->now = ft_monotonic();
    switch (vm_take_try(k->vm, k->failure, sizeof(k->failure))) {
    case VM_TRY_NONE:
        in->try = KEEPER_TRY_NONE;
        break;
    case VM_TRY_RUNS:
        in->try = KEEPER_TRY_RUNS;
        break;
    case VM_TRY_FAILED:
        in->try = KEEPER_TRY_FAILED;
        break;
    }
    /* While one is tried, the word waits for how that ends. */
    in->poked = in->try != KEEPER_TRY_RUNS && vm_take_poke(k->vm);
    vm_get(k->vm, &k->i);
    in->role = k->i.role;
    in->wanted = k->i.wanted;
    in->stopped = k->i.stopped;
    in->busy = k->i.command != NULL;
    in->unsaved = k->i.unsaved;
    in->state = k->status.state;
    in->unused = k->status.unused;
}

static enum keeper_answer yes(bool answer)
{
    return answer ? KEEPER_YES : KEEPER_NO;
}

/* Returns whether the core is to be asked again, with the answer. */
static bool carry_out(struct keeper *k, const struct keeper_action *a,
                      struct keeper_input *in)
{
    switch (a->kind) {
    case KEEPER_SAVE:
        save(k);
        in->unsaved = false;
        return true;
    case KEEPER_NOTE_FAILURE:
        vm_note(k->vm, "no backup: %s; tried again every %d s at most",
                k->failure, (int)(KEEPER_BACKOFF_MAX / FT_NS_PER_S));
        in->try = KEEPER_TRY_NONE;
        return true;
    case KEEPER_ASK_AGENT:
        in->still_unused = yes(is_still_unused(k));
        return true;
    case KEEPER_ASK_LIBVIRT:
        in->runs = yes(virt_state(k->ctl->virt, k->i.uuid) == VIRT_RUNNING);
        return true;
    case KEEPER_ASK_KERNEL:
        in->qemu = yes(qemu_runs(k));
        return true;
    case KEEPER_ASK_ARBITER:
        ask_arbiter(k, in);
        return true;
    case KEEPER_RECORD_PROTECTED:
        record_protected(k);
        return false;
    case KEEPER_TAKE_OVER:
        take_over(k);
        return false;
    case KEEPER_MAKE_BACKUP:
        make_backup(k);
        return false;
    case KEEPER_TIDY_UP:
        tidy_up(k, a);
        return false;
    case KEEPER_END_PART:
        end_unseen(k, a);
        return false;
    case KEEPER_START_AGENT:
        start_agent(k);
        return false;
    case KEEPER_WAIT:
    case KEEPER_RESIGN:
    case KEEPER_ACTION_COUNT:
        return false;
    }
    return false;
}

/* Returns what was done. */
static enum keeper_action_kind step(struct keeper *k, bool agent)
{
    struct keeper_input in;
    struct keeper_action a;

    gather(k, &in);
    in.agent = !agent                   ? KEEPER_AGENT_GONE
             : in.state == FT_PAIR_NONE ? KEEPER_AGENT_MUTE
                                        : KEEPER_AGENT_SAYS;
    do {
        a = keeper_decide(&k->core, &in);
        if (a.kind != k->did) {
            ft_debug("pair %s: keeper: %s", k->i.name,
                     keeper_action_name(a.kind));
        }
        k->did = a.kind;
    } while (carry_out(k, &a, &in));
    k->hurry = in.try == KEEPER_TRY_RUNS || k->core.backup.wait > 0;
    return a.kind;
}

static void follow(struct keeper *k, int fd)
{
    json_t *line, *ask = json_pack("{s:s}", "do", "status");
    struct agent_report status;
    struct ft_json_reader r;
    struct ft_err err;
    int n;

    ft_json_reader_init(&r, fd);
    n = ft_json_client_send(fd, ask, &err);
    json_decref(ask);
    while (n >= 0 && !k->ctl->quit) {
        n = ft_json_reader_next(&r, &line, k->hurry ? TRY_TICK_MS : TICK_MS,
                                &err);
        if (n == 0 || (n < 0 && err.code != ETIMEDOUT)) {
            break;
        }
        if (n > 0) {
            agent_report_parse(&status, line);
            if (status.state != FT_PAIR_NONE) {
                k->status = status;
            }
            json_decref(line);
        }
        n = 0;
        step(k, true);
    }
    ft_json_reader_done(&r);
    memset(&k->status, 0, sizeof(k->status));
}

static void *keeper_thread(void *arg)
{
    struct keeper *k = arg;
    struct ctl *ctl = k->ctl;

    while (!ctl->quit) {
        int fd = agent_client_open(ctl, vm_uuid(k->vm), NULL);

        if (fd >= 0) {
            follow(k, fd);
            close(fd);
            poll(NULL, 0, 50);
        } else if (step(k, false) != KEEPER_RESIGN) {
            poll(NULL, 0, 100);
        } else if (vm_resign_keeper(k->vm)) {
            break; /* else a command began meanwhile */
        }
    }
    thread_end(&ctl->background);
    free(k);
    return NULL;
}

void keeper_start(struct ctl *ctl, struct vm *vm)
{
    struct keeper *k;
    struct ft_err err;

    if (!vm_claim_keeper(vm)) {
        return;
    }
    k = calloc(1, sizeof(*k));
    if (!k) {
        abort();
    }
    k->ctl = ctl;
    k->vm = vm;
    if (thread_start(&ctl->background, keeper_thread, k, &err) == 0) {
        return;
    }
    vm_get(vm, &k->i);
    ft_error("pair %s: it is not watched: %s", k->i.name, err.text);
    vm_release_keeper(vm);
    free(k);
}
