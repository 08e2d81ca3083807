/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm.c - the vmlink's life, which driver there is, commands
 *
 * A QEMU that says hello decides what the agent hosts for it: a guest that
 * runs gets the primary's driver (alone at first), a QEMU that waits for a
 * clone waits for the command `backup`, one that records is the orphan of an
 * agent that died. When the QEMU is gone and its driver has wound up, the
 * agent keeps the last status and waits for the next QEMU.
 *
 * rules 4 and 7: an orphan contends for the side that it finds; a replica that
 * went live goes on as the primary of its generation
 */
#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "common/host/log.h"

#define RETRY (50 * FT_NS_PER_MS)
/* A QEMU that has closed its vmlink may live for this long. */
#define MUTE (500 * FT_NS_PER_MS)

static void driver_changed(void *arg)
{
    struct agent *a = arg;

    agent_changed(a);
    /* A driver may not be freed from inside its own step. */
    ft_timer_after(&a->tidy, 0);
}

/* ---- the arbiter's name, kept for an orphan's sake ---------------------- */

static void session_path(const struct agent *a, char *path, size_t n)
{
    snprintf(path, n, "%s/session.json", a->own);
}

static int session_save(struct agent *a, const char *arbiter,
                        struct ft_err *err)
{
    char path[FT_PATH_TEXT], tmp[FT_PATH_TEXT + 8];
    json_t *o = json_pack("{s:s}", "arbiter", arbiter);
    int r, fd;

    session_path(a, path, sizeof(path));
    snprintf(tmp, sizeof(tmp), "%s.new", path);
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    r = fd < 0 || o == NULL ? -1 : json_dumpfd(o, fd, JSON_COMPACT);
    json_decref(o);
    if (fd >= 0) {
        close(fd);
    }
    if (r < 0 || rename(tmp, path) < 0) {
        return ft_err_sys(err, errno, "%s", path);
    }
    snprintf(a->arbiter, sizeof(a->arbiter), "%s", arbiter);
    return 0;
}

static void session_load(struct agent *a)
{
    char path[FT_PATH_TEXT];
    const char *arbiter;
    json_t *o;

    session_path(a, path, sizeof(path));
    o = json_load_file(path, 0, NULL);
    arbiter = json_string_value(json_object_get(o, "arbiter"));
    snprintf(a->arbiter, sizeof(a->arbiter), "%s",
             arbiter != NULL ? arbiter : a->options.arbiter_uri);
    json_decref(o);
}

/* ---- drivers ------------------------------------------------------------ */

static struct ft_host_config host_config(struct agent *a)
{
    return (struct ft_host_config){
        .loop = a->loop,
        .options = &a->options,
        .vmlink = a->vmlink,
        .timeline = &a->timeline,
        .object = a->object,
        .dir = a->dir,
        .trace = a->trace,
        .vm = a->vm,
        .nonce = a->nonce,
        .changed = driver_changed,
        .arg = a,
    };
}

static void new_primary(struct agent *a, const lc_id *pair,
                        uint64_t generation, bool live, bool claim)
{
    struct pri_driver_config c = {
        .host = host_config(a),
        .pair = *pair,
        .generation = generation,
        .live = live,
        .claim = claim ? a->arbiter : NULL,
    };

    a->pri = pri_driver_new(&c);
    if (a->pri == NULL) {
        ft_error("%s: out of memory", a->object);
        abort();
    }
    a->role = generation != 0 ? FT_ROLE_PRIMARY : FT_ROLE_NONE;
}

/* A QEMU says who it is. Rule 4: one that records was left by an agent that
 * died, and goes on alone only with the grant. */
static void adopt(struct agent *a, const struct lc_frame *frame)
{
    const char *state[] = { "by itself", "recording", "replaying" };
    struct ft_err err;

    ft_info("%s: QEMU %s, pid %d, %s%s", a->object, a->qemu.qemu.s,
            (int)ft_vmlink_pid(a->vmlink),
            a->qemu.state <= LC_VL_REPLAY ? state[a->qemu.state] : "?",
            a->qemu.incoming ? ", waits for a clone" : "");
    memset(&a->last, 0, sizeof(a->last));
    a->last.state = FT_PAIR_ALONE;
    a->role = FT_ROLE_NONE;
    switch (a->qemu.state) {
    case LC_VL_NONE:
        if (!a->qemu.incoming) {
            new_primary(a, &frame->pair, frame->generation, false, false);
        } else {
            snprintf(a->last.reason, sizeof(a->last.reason),
                     "QEMU waits for a clone");
        }
        break;
    case LC_VL_RECORD:
        session_load(a);
        new_primary(a, &frame->pair, 0, false, false);
        a->role = FT_ROLE_PRIMARY;
        if (pri_driver_orphan(a->pri, &frame->pair, frame->generation,
                              a->qemu.position, a->arbiter, &err) < 0) {
            /* Without an arbiter nobody may decide; the guest waits. */
            ft_error("%s: QEMU was found recording and cannot go on: %s",
                     a->object, err.text);
            pri_driver_free(a->pri);
            a->pri = NULL;
            a->last.state = FT_PAIR_ARBITRATING;
            snprintf(a->last.reason, sizeof(a->last.reason), "%s", err.text);
        }
        break;
    default:
        ft_warning("%s: QEMU replays for an agent that is no more; it ends",
                   a->object);
        ft_vmlink_kill(a->vmlink, &err);
        break;
    }
    agent_changed(a);
    agent_ready(a);
}

/* Rule 7: the replica is the guest now. */
static void swap_drivers(struct agent *a, bool claim)
{
    struct ft_pair_status s;

    bak_driver_status(a->bak, &s);
    bak_driver_free(a->bak);
    a->bak = NULL;
    new_primary(a, &s.pair, s.generation, true, claim);
    ft_info("%s: live, generation %" PRIu64, a->object, s.generation);
    agent_changed(a);
}

/* The driver, and the vmlink below it. */
static void free_drivers(struct agent *a)
{
    pri_driver_free(a->pri);
    bak_driver_free(a->bak);
    ft_vmlink_free(a->vmlink);
    a->pri = NULL;
    a->bak = NULL;
    a->vmlink = NULL;
}

/* QEMU is gone and its driver has wound up, or its vmlink is made anew. */
static void forget_qemu(struct agent *a)
{
    bool ended = a->gone;
    struct ft_pair_status s;

    agent_pair_status(a, &s);
    free_drivers(a);
    a->greeted = a->gone = false;
    a->last = s;
    if (ended && ft_pair_is_alone(s.state)) {
        a->last.state = FT_PAIR_ENDED;
        snprintf(a->last.reason, sizeof(a->last.reason), "QEMU ended");
    }
    a->last.lease_ms = a->last.lag_ms = 0;
    ft_timer_stop(&a->mute);
    ft_timer_after(&a->retry, RETRY);
    agent_changed(a);
}

static void on_tidy(struct ft_timer *t, void *arg)
{
    struct agent *a = arg;
    bool claim;

    (void)t;
    if (a->bak != NULL && bak_driver_is_live(a->bak, &claim)) {
        swap_drivers(a, claim);
        if (a->gone) {
            pri_driver_gone(a->pri);
        }
    }
    if (a->gone && (a->pri == NULL || pri_driver_is_over(a->pri)) &&
        (a->bak == NULL || bak_driver_is_over(a->bak))) {
        forget_qemu(a);
    } else if (a->pri != NULL && pri_driver_is_primary(a->pri)) {
        a->role = FT_ROLE_PRIMARY;
    }
}

/* ---- the vmlink --------------------------------------------------------- */

static void on_message(void *opaque, const struct lc_frame *frame,
                       const struct lc_msg *msg)
{
    struct agent *a = opaque;

    if (msg->type == LC_VL_HELLO) {
        a->greeted = true;
        a->qemu = msg->u.vl_hello;
        adopt(a, frame);
    } else if (a->pri != NULL) {
        pri_driver_message(a->pri, msg);
    } else if (a->bak != NULL) {
        bak_driver_message(a->bak, msg);
    }
}

static void on_closed(void *opaque, const char *why)
{
    struct agent *a = opaque;

    ft_info("%s: vmlink: %s", a->object, why);
    if (!a->gone) {
        ft_timer_after(&a->mute, MUTE);
    }
}

static void on_qemu_gone(void *opaque)
{
    struct agent *a = opaque;

    ft_info("%s: QEMU, pid %d, has ended", a->object,
            (int)ft_vmlink_pid(a->vmlink));
    a->gone = true;
    if (a->pri != NULL) {
        pri_driver_gone(a->pri);
    }
    if (a->bak != NULL) {
        bak_driver_gone(a->bak);
    }
    ft_timer_after(&a->tidy, 0);
}

/* QEMU has closed the vmlink, but its process lives. One that runs alone
 * is greeted anew; one that belongs to a pair obeys nobody any more, and
 * is killed. */
static void on_mute(struct ft_timer *t, void *arg)
{
    struct agent *a = arg;
    struct ft_err err;

    (void)t;
    if (a->vmlink == NULL || a->gone) {
        return;
    }
    if (agent_is_busy(a) || a->bak != NULL) {
        ft_error("%s: QEMU, pid %d, closed the vmlink but lives; killing it",
                 a->object, (int)ft_vmlink_pid(a->vmlink));
        ft_vmlink_kill(a->vmlink, &err);
        return;
    }
    forget_qemu(a);
}

static const struct ft_vmlink_ops vmlink_ops = { on_message, on_closed,
                                                 on_qemu_gone };

static void on_retry(struct ft_timer *t, void *arg)
{
    struct agent *a = arg;
    char path[FT_PATH_TEXT];
    struct ft_err err;

    snprintf(path, sizeof(path), "%s/vmlink.sock", a->dir);
    if (ft_vmlink_connect(&a->vmlink, a->loop, path, &vmlink_ops, a, &err) <
        0) {
        ft_timer_after(t, RETRY);
    }
}

void agent_vm_start(struct agent *a)
{
    ft_timer_init(&a->retry, a->loop, on_retry, a);
    ft_timer_init(&a->tidy, a->loop, on_tidy, a);
    ft_timer_init(&a->mute, a->loop, on_mute, a);
    snprintf(a->last.reason, sizeof(a->last.reason), "QEMU is not there");
    on_retry(&a->retry, a);
}

void agent_vm_stop(struct agent *a)
{
    ft_timer_stop(&a->retry);
    ft_timer_stop(&a->tidy);
    ft_timer_stop(&a->mute);
    free_drivers(a);
}

/* ---- commands ----------------------------------------------------------- */

bool agent_is_busy(const struct agent *a)
{
    return (a->pri != NULL && pri_driver_is_busy(a->pri)) ||
           (a->bak != NULL && !bak_driver_is_over(a->bak));
}

/* What makes either role impossible. */
static int check_possible(struct agent *a, struct ft_err *err)
{
    if (strcmp(a->options.failover_fence, "none") != 0) {
        return ft_err_set(err, ENOTSUP,
                          "%s: [failover] fence=%s: this "
                          "version cannot fence at the storage; set "
                          "fence=none to rely on the lease",
                          a->object, a->options.failover_fence);
    }
    if (!a->greeted || a->gone) {
        return ft_err_set(err, ENOTCONN,
                          "%s: QEMU is not there; start the "
                          "domain",
                          a->object);
    }
    return 0;
}

int agent_protect(struct agent *a, const struct pri_pair *pair,
                  struct ft_err *err)
{
    if (check_possible(a, err) < 0) {
        return -1;
    }
    if (a->pri == NULL) {
        return ft_err_set(err, EBUSY,
                          "%s: this host holds its backup, or "
                          "QEMU waits for a clone",
                          a->object);
    }
    /* The arbiter that binds a pair must stay on file while it lasts. */
    if (pri_driver_is_busy(a->pri)) {
        struct ft_pair_status s;

        pri_driver_status(a->pri, &s);
        return s.state == FT_PAIR_ALONE
                 ? ft_err_set(err, EBUSY, "%s: its last pair is still ending",
                              a->object)
                 : ft_err_set(err, EBUSY, "%s: it is %s already", a->object,
                              ft_pair_state_name(s.state));
    }
    if (session_save(a, pair->arbiter, err) < 0 ||
        pri_driver_protect(a->pri, pair, err) < 0) {
        return -1;
    }
    a->tried = pair->generation;
    a->role = FT_ROLE_PRIMARY;
    agent_changed(a);
    return 0;
}

int agent_backup(struct agent *a, struct bak_driver_config *c,
                 struct ft_err *err)
{
    if (check_possible(a, err) < 0) {
        return -1;
    }
    if (a->bak != NULL || a->pri != NULL || !a->qemu.incoming) {
        return ft_err_set(err, EBUSY, "%s: %s", a->object,
                          a->bak != NULL ? "it is a backup already"
                                         : "its QEMU does not wait for a "
                                           "clone");
    }
    c->host = host_config(a);
    if (session_save(a, c->arbiter, err) < 0) {
        return -1;
    }
    a->bak = bak_driver_new(c, err);
    if (a->bak == NULL) {
        return -1;
    }
    a->role = FT_ROLE_BACKUP;
    ft_info("%s: a backup for %s, generation %" PRIu64, a->object, c->peer,
            c->generation);
    agent_changed(a);
    return 0;
}

int agent_unprotect(struct agent *a, struct ft_err *err)
{
    if (!agent_is_busy(a)) {
        return ft_err_set(err, EINVAL, "%s: it is not protected", a->object);
    }
    if (a->pri != NULL) {
        pri_driver_unprotect(a->pri);
    } else {
        bak_driver_give_up(a->bak);
    }
    return 0;
}
