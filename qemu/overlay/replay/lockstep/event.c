/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: events that upstream's replay does not have
 *
 *   request   work whose result the log supplies (system/lockstep.h)
 *   action    what an operator asks of the guest while it is protected:
 *             reset, power button. Run at the vCPU's loop top on both sides
 *   state     a digest of registers and memory, compared on replay
 *   output    what the guest sent out: length and crc32c, compared on replay
 *
 * Requests and actions are asynchronous events of the replay queue: written
 * and run at the vCPU's loop top, so at the same instruction on both sides.
 *
 * paper, 2.1, 3.3 and 3.4; rules 2, 7 and 11
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "block/aio.h"
#include "hw/core/cpu.h"
#include "system/replay.h"
#include "system/runstate.h"
#include "qapi/qapi-types-ui.h"
#include "../replay-internal.h"
#include "internal.h"

enum { ITEM_REQUEST = 1, ITEM_RESET = 2, ITEM_POWERDOWN = 3, ITEM_STATE = 4 };

typedef struct Item {
    uint8_t kind;
    uint64_t id;                /* of the request, or the reset's cause */
    uint8_t *data;
    size_t length;
    LockstepRequest *req;
} Item;

static QTAILQ_HEAD(, LockstepRequest) requests =
    QTAILQ_HEAD_INITIALIZER(requests);
static uint64_t last_id;
static bool in_action;

static struct {
    char text[200];
    uint64_t position;
} divergence;

/* ---- requests ----------------------------------------------------------- */

void lockstep_request_begin(LockstepRequest *req)
{
    req->id = ++last_id;
    QTAILQ_INSERT_TAIL(&requests, req, next);
}

static void item_free(Item *item)
{
    g_free(item->data);
    g_free(item);
}

static void add_item(Item *item)
{
    replay_add_event(REPLAY_ASYNC_EVENT_LOCKSTEP, item, NULL, 0);
}

static void add_item_bh(void *opaque)
{
    add_item(opaque);
}

/* Queue it, or run it now when nothing is recorded. */
static void submit_item(Item *item)
{
    if (replay_mutex_locked() || lockstep_state() == LOCKSTEP_NONE) {
        add_item(item);
    } else {
        aio_bh_schedule_oneshot(qemu_get_aio_context(), add_item_bh, item);
    }
}

/*
 * Rule 2: the result of a request, with the data that a disk read, is an entry
 * of the log (paper, 3.4); the replica reads nothing.
 */
void lockstep_request_done(LockstepRequest *req, const void *payload,
                           size_t length)
{
    Item *item;

    if (lockstep_state() == LOCKSTEP_REPLAY) {
        error_report("lockstep: request %" PRIu64 " done while replaying",
                     req->id);
        return;
    }
    item = g_new0(Item, 1);
    item->kind = ITEM_REQUEST;
    item->id = req->id;
    item->req = req;
    item->length = length;
    item->data = g_memdup2(payload, length);
    submit_item(item);
}

bool lockstep_requests_pending(void)
{
    return !QTAILQ_EMPTY(&requests);
}

void lockstep_requests_reset(void)
{
    last_id = 0;
}

/*
 * Rule 7: requests whose end is not in the log are made again, in order (paper,
 * 3.4).
 */
unsigned lockstep_requests_reissue(void)
{
    uint64_t last = last_id, done = 0;
    LockstepRequest *req;
    unsigned n = 0;

    /* Reissuing may end requests and begin new ones: look anew each time. */
    for (;;) {
        QTAILQ_FOREACH(req, &requests, next) {
            if (req->id > done) {
                break;
            }
        }
        if (!req || req->id > last) {
            return n;
        }
        done = req->id;
        req->reissue(req);
        n++;
    }
}

static LockstepRequest *find_request(uint64_t id)
{
    LockstepRequest *req;

    QTAILQ_FOREACH(req, &requests, next) {
        if (req->id == id) {
            return req;
        }
    }
    return NULL;
}

/* ---- actions ------------------------------------------------------------ */

/* Rule 11: reset and power button go through the log. */
static bool submit_action(uint8_t kind, uint64_t id)
{
    Item *item;

    if (lockstep_state() != LOCKSTEP_RECORD || in_action || current_cpu) {
        return false;
    }
    item = g_new0(Item, 1);
    item->kind = kind;
    item->id = id;
    submit_item(item);
    return true;
}

bool lockstep_in_action(void)
{
    return in_action;
}

bool lockstep_reset_request(ShutdownCause reason)
{
    return submit_action(ITEM_RESET, reason);
}

bool lockstep_powerdown_request(void)
{
    return submit_action(ITEM_POWERDOWN, 0);
}

void lockstep_check_state(void)
{
    Item *item = g_new0(Item, 1);

    item->kind = ITEM_STATE;
    submit_item(item);
}

/* ---- as events of the replay queue -------------------------------------- */

void lockstep_event_save(void *opaque)
{
    Item *item = opaque;

    if (item->kind == ITEM_STATE) {
        item->id = lockstep_hash_state();
    }
    replay_put_byte(item->kind);
    replay_put_qword(item->id);
    replay_put_array(item->data, item->length);
}

/* Runs on both sides, right after saving or loading. */
static void check_state(uint64_t logged)
{
    uint64_t mine;

    if (lockstep_state() == LOCKSTEP_REPLAY) {
        mine = lockstep_hash_state();
        if (mine != logged) {
            lockstep_diverged("%s differ: %016" PRIx64 ", the log has %016"
                              PRIx64, lockstep_hash_differs_in(mine, logged),
                              mine, logged);
        }
    }
}

void lockstep_event_run(void *opaque)
{
    Item *item = opaque;

    switch (item->kind) {
    case ITEM_REQUEST:
        QTAILQ_REMOVE(&requests, item->req, next);
        item->req->run(item->req, item->data, item->length);
        break;
    case ITEM_RESET:
        in_action = true;
        qemu_system_reset_request(item->id);
        in_action = false;
        break;
    case ITEM_POWERDOWN:
        qemu_system_powerdown_now();
        break;
    case ITEM_STATE:
        check_state(item->id);
        break;
    }
    item_free(item);
}

/* Returns NULL after a divergence. */
void *lockstep_event_load(void)
{
    Item *item = g_new0(Item, 1);

    item->kind = replay_get_byte();
    item->id = replay_get_qword();
    replay_get_array_alloc(&item->data, &item->length);
    if (lockstep_replay_over()) {
        goto bad;
    }
    switch (item->kind) {
    case ITEM_REQUEST:
        item->req = find_request(item->id);
        if (!item->req) {
            lockstep_diverged("request %" PRIu64 " is not waiting", item->id);
            goto bad;
        }
        return item;
    case ITEM_RESET:
        if (item->id >= SHUTDOWN_CAUSE__MAX) {
            break;
        }
        return item;
    case ITEM_POWERDOWN:
    case ITEM_STATE:
        return item;
    }
    lockstep_diverged("unknown entry %d", item->kind);
bad:
    item_free(item);
    return NULL;
}

/* ---- input -------------------------------------------------------------- */

/* What a log says may be wrong; a clone of it must not be attempted then. */
bool lockstep_input_valid(const InputEvent *evt)
{
    switch (evt->type) {
    case INPUT_EVENT_KIND_KEY:
        switch (evt->u.key.data->key->type) {
        case KEY_VALUE_KIND_NUMBER:
            return true;
        case KEY_VALUE_KIND_QCODE:
            return evt->u.key.data->key->u.qcode.data < Q_KEY_CODE__MAX;
        default:
            return false;
        }
    case INPUT_EVENT_KIND_BTN:
        return evt->u.btn.data->button < INPUT_BUTTON__MAX;
    case INPUT_EVENT_KIND_REL:
        return evt->u.rel.data->axis < INPUT_AXIS__MAX;
    case INPUT_EVENT_KIND_ABS:
        return evt->u.abs.data->axis < INPUT_AXIS__MAX;
    case INPUT_EVENT_KIND_MTT:
        return evt->u.mtt.data->type < INPUT_MULTI_TOUCH_TYPE__MAX &&
               evt->u.mtt.data->axis < INPUT_AXIS__MAX;
    default:
        return false;
    }
}

/* ---- outputs ------------------------------------------------------------ */

/* Rule 2: outputs of the replica are compared, and never leave. */
void lockstep_output_crc(LockstepOutput kind, uint32_t source,
                         uint64_t length, uint32_t crc)
{
    uint32_t l_source, l_crc;
    uint64_t l_length;
    uint8_t l_kind;

    if (lockstep_state() == LOCKSTEP_NONE || lockstep_replay_over()) {
        return;
    }
    g_assert(replay_mutex_locked());
    if (lockstep_state() == LOCKSTEP_RECORD) {
        replay_save_instructions();
        replay_put_event(EVENT_LOCKSTEP_OUTPUT);
        replay_put_byte(kind);
        replay_put_dword(source);
        replay_put_qword(length);
        replay_put_dword(crc);
        return;
    }
    replay_account_executed_instructions();
    if (!replay_next_event_is(EVENT_LOCKSTEP_OUTPUT)) {
        lockstep_diverged("the guest makes output %d/%u that the log does not "
                          "have here", kind, source);
        return;
    }
    l_kind = replay_get_byte();
    l_source = replay_get_dword();
    l_length = replay_get_qword();
    l_crc = replay_get_dword();
    if (lockstep_replay_over()) {
        return;
    }
    if (l_kind != kind || l_source != source || l_length != length ||
        l_crc != crc) {
        lockstep_diverged("output %d/%u of %" PRIu64 " bytes, crc %08x; the "
                          "log has %d/%u of %" PRIu64 " bytes, crc %08x",
                          kind, source, length, crc,
                          l_kind, l_source, l_length, l_crc);
        return;
    }
    replay_finish_event();
}

void lockstep_output(LockstepOutput kind, uint32_t source,
                     const void *buf, size_t length)
{
    if (lockstep_state() != LOCKSTEP_NONE) {
        lockstep_output_crc(kind, source, length,
                            ft_crc32c(0, buf, length));
    }
}

/* ---- divergence --------------------------------------------------------- */

static void diverged_bh(void *opaque)
{
    struct lc_msg m = { .type = LC_VL_DIVERGED };

    m.u.vl_diverged.position = divergence.position;
    lc_set_str(&m.u.vl_diverged.text, divergence.text);
    lockstep_link_send(&m);
}

void lockstep_diverged_report(void)
{
    if (lockstep.phase == LOCKSTEP_REPLAY_DIVERGED) {
        diverged_bh(NULL);
    }
}

const char *lockstep_diverged_text(void)
{
    return divergence.text;
}

void lockstep_diverged(const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    if (lockstep_replay_over()) {
        return;
    }
    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);

    if (lockstep_state() != LOCKSTEP_REPLAY) {
        error_report("lockstep: diverged while not replaying: %s", text);
        abort();
    }
    divergence.position = lockstep_position() + 1;
    snprintf(divergence.text, sizeof(divergence.text),
             "%s (event %u of kind %u, %" PRIu64 " instructions, %d left)",
             text, replay_state.current_event, replay_state.data_kind,
             replay_state.current_icount, replay_state.instruction_count);
    error_report("lockstep: diverged at batch %" PRIu64 ": %s",
                 divergence.position, divergence.text);

    /* Nothing matches any more, and the vCPU thread waits at its top. */
    lockstep_log_hold_nothing();
    lockstep_set_phase(LOCKSTEP_REPLAY_DIVERGED);
    if (current_cpu) {
        cpu_exit(current_cpu);
    }
    aio_bh_schedule_oneshot(qemu_get_aio_context(), diverged_bh, NULL);
}
