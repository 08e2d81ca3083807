/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the consoles of the guest.
 *
 * Theory of Operation
 *
 * A chardev that a serial port takes through its "chardev" property belongs to
 * the guest, and is taken over when the property is set. Monitors and chardevs
 * of the host's own are left alone; a multiplexer that a monitor shares cannot
 * be taken.
 *
 * Output. The guest's write is always taken in full, so that no device ever
 * waits for a backend. In RECORD a console is an output: bytes are collected,
 * and become one output of the log at the end of a line, at 256 bytes, or 2 ms
 * of guest time after the first byte, which are all points that the replica
 * reaches too. Bound to the position of the log then (later than the byte,
 * which is the safe side), they are held until lockstep_may_release(). A
 * replica collects and checks in the same way, and prints nothing. What it
 * still collects when it goes live was never an output of the primary, and is
 * printed. NONE writes at once.
 *
 * What may leave goes to the backend without blocking; a backend that is full
 * is tried again every few milliseconds, under the same rule. A backend that
 * does not read at all loses what exceeds 64 KiB, as a serial line without a
 * reader would.
 *
 * Input. Goes through the replay engine's character events: queued by RECORD
 * and given to the device by the vCPU's loop top; REPLAY ignores the backend.
 * What is queued counts as taken when the backend asks for the device's room,
 * or the device, asked again before it has got that, would take too much. A
 * break is not in the log: it is dropped while a log is written or read.
 *
 * paper, 2.2; rule 1
 */

#include "qemu/osdep.h"
#include "chardev/char-fe.h"
#include "chardev/lockstep-chr.h"
#include "chardev-internal.h"
#include "lockstep/ring.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "system/lockstep.h"
#include "system/replay.h"

#define CHR_COLLECT         256
#define CHR_COLLECT_NS      (2 * SCALE_MS)
#define CHR_RETRY_MS        5
#define CHR_MAX_BLOCKED     (64 * 1024)

typedef struct HeldText {
    uint64_t position;
    size_t size, sent;
    QSIMPLEQ_ENTRY(HeldText) next;
    uint8_t data[];
} HeldText;

typedef struct LockstepChr {
    Chardev *chr;
    uint32_t source;

    uint8_t collected[CHR_COLLECT];
    size_t n_collected;
    QEMUTimer *collect;         /* VIRTUAL: an event of the guest */

    QSIMPLEQ_HEAD(, HeldText) held;
    size_t held_bytes;
    QEMUTimer *retry;           /* REALTIME */
    bool lossy;                 /* has warned */

    int queued;                 /* input that the device has not got yet */
    QTAILQ_ENTRY(LockstepChr) next;
} LockstepChr;

static QTAILQ_HEAD(, LockstepChr) consoles = QTAILQ_HEAD_INITIALIZER(consoles);
static char *not_taken;         /* a serial port has it, but it is not ours */

static LockstepChr *chr_find(Chardev *chr)
{
    LockstepChr *s;

    QTAILQ_FOREACH(s, &consoles, next) {
        if (s->chr == chr) {
            return s;
        }
    }
    return NULL;
}

/* --- the Output Rule --- */

static void chr_drop_head(LockstepChr *s)
{
    HeldText *t = QSIMPLEQ_FIRST(&s->held);

    QSIMPLEQ_REMOVE_HEAD(&s->held, next);
    s->held_bytes -= t->size;
    lockstep_held_add(-(int64_t)t->size);
    g_free(t);
}

/* The backend takes nothing now. Nobody waits for it for ever. */
static void chr_blocked(LockstepChr *s)
{
    while (s->held_bytes > CHR_MAX_BLOCKED &&
           lockstep_may_release(QSIMPLEQ_FIRST(&s->held)->position)) {
        chr_drop_head(s);
        if (!s->lossy) {
            warn_report("console %s: its reader does not read, output is lost",
                        s->chr->label);
            s->lossy = true;
        }
    }
    timer_mod(s->retry, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + CHR_RETRY_MS);
}

/* Rule 1: a byte on a console is an output. */
static void chr_release(LockstepChr *s)
{
    HeldText *t;
    int ret;

    while ((t = QSIMPLEQ_FIRST(&s->held)) &&
           lockstep_may_release(t->position)) {
        ret = qemu_chr_write_backend(s->chr, t->data + t->sent,
                                     t->size - t->sent);
        if (ret == 0 || ret == -EAGAIN) {
            chr_blocked(s);
            return;
        }
        if (ret > 0) {
            lockstep_trace_output(LOCKSTEP_OUT_CONSOLE, s->source, t->position,
                                  ret);
            t->sent += ret;
            if (t->sent < t->size) {
                continue;
            }
        }
        /* Sent, or nobody is there. */
        chr_drop_head(s);
    }
}

static void chr_retry(void *opaque)
{
    chr_release(opaque);
}

static void chr_hold(LockstepChr *s, uint64_t position, const uint8_t *buf,
                     size_t len)
{
    HeldText *t = g_malloc(sizeof(*t) + len);

    t->position = position;
    t->size = len;
    t->sent = 0;
    memcpy(t->data, buf, len);
    s->held_bytes += len;
    lockstep_held_add(len);
    QSIMPLEQ_INSERT_TAIL(&s->held, t, next);
}

static void chr_output(LockstepChr *s)
{
    size_t len = s->n_collected;

    s->n_collected = 0;
    timer_del(s->collect);
    if (!len) {
        return;
    }
    if (lockstep_state() != LOCKSTEP_NONE) {
        lockstep_output(LOCKSTEP_OUT_CONSOLE, s->source, s->collected, len);
    }
    if (lockstep_state() != LOCKSTEP_REPLAY) {
        chr_hold(s, lockstep_output_position(), s->collected, len);
    }
}

static void chr_collect_timer(void *opaque)
{
    chr_output(opaque);
}

void lockstep_chr_write(Chardev *chr, const uint8_t *buf, int len)
{
    LockstepChr *s = chr_find(chr);
    int i;

    if (lockstep_state() == LOCKSTEP_NONE) {
        if (len > 0) {
            chr_hold(s, 0, buf, len);
            chr_release(s);
        }
        return;
    }
    for (i = 0; i < len; i++) {
        if (!s->n_collected) {
            timer_mod(s->collect, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                      CHR_COLLECT_NS);
        }
        s->collected[s->n_collected++] = buf[i];
        if (buf[i] == '\n' || s->n_collected == CHR_COLLECT) {
            chr_output(s);
        }
    }
}

static void chr_release_all(void *opaque)
{
    LockstepChr *s;

    QTAILQ_FOREACH(s, &consoles, next) {
        chr_release(s);
    }
}

static void chr_release_notify(Notifier *n, void *data)
{
    chr_release_all(NULL);
}

/* --- input, events of the backend --- */

int lockstep_chr_room(Chardev *chr, int room)
{
    LockstepChr *s = chr_find(chr);

    return s ? MAX(room - s->queued, 0) : room;
}

void lockstep_chr_queue(Chardev *chr, int bytes)
{
    LockstepChr *s = chr_find(chr);

    if (!s || lockstep_state() == LOCKSTEP_REPLAY) {
        return;         /* a replica's input comes from the log */
    }
    s->queued += bytes;
    if (bytes < 0) {
        qemu_notify_event();    /* the backend may ask again */
    }
}

bool lockstep_chr_taken(Chardev *chr)
{
    return lockstep_enabled() && chr_find(chr);
}

bool lockstep_chr_passes(Chardev *chr, QEMUChrEvent event)
{
    return event != CHR_EVENT_BREAK || !lockstep_chr_taken(chr) ||
           lockstep_state() == LOCKSTEP_NONE;
}

/* --- switches of the engine --- */

static bool chr_can_attach(void *opaque, Error **errp)
{
    if (not_taken) {
        error_setg(errp, "console %s cannot be protected: a monitor shares it, "
                   "or it is a serial port of the host", not_taken);
        return false;
    }
    return true;
}

/*
 * RECORD or REPLAY -> NONE: nothing is collected any more. What a slow reader
 * leaves is bound to no log: the next one counts from 1 again.
 */
static void chr_flush_all(void *opaque)
{
    LockstepChr *s;
    HeldText *t;

    QTAILQ_FOREACH(s, &consoles, next) {
        chr_output(s);
        QSIMPLEQ_FOREACH(t, &s->held, next) {
            t->position = 0;
        }
    }
    chr_release_all(NULL);
}

static unsigned chr_live(void *opaque)
{
    chr_flush_all(NULL);
    return 0;
}

static LockstepPart chr_part = {
    .can_attach = chr_can_attach,
    .live = chr_live,
    .go_alone = chr_flush_all,
};

static Notifier release_notifier = { .notify = chr_release_notify };

void lockstep_chr_attach(Chardev *chr, Object *dev)
{
    static bool registered;
    LockstepChr *s;

    if (!lockstep_enabled() || chr_find(chr) ||
        (!object_dynamic_cast(dev, "serial") &&
         !object_dynamic_cast(dev, "isa-debugcon"))) {
        return;
    }

    if (!registered) {
        registered = true;
        lockstep_add_release_notifier(&release_notifier);
        lockstep_register_part(&chr_part);
    }
    if (CHARDEV_IS_MUX(chr) || CHARDEV_GET_CLASS(chr)->chr_ioctl) {
        not_taken = not_taken ?: g_strdup(chr->label);
        return;
    }
    s = g_new0(LockstepChr, 1);
    s->chr = chr;
    s->source = ft_crc32c(0, chr->label, strlen(chr->label));
    s->collect = timer_new_ns(QEMU_CLOCK_VIRTUAL, chr_collect_timer, s);
    s->retry = timer_new_ms(QEMU_CLOCK_REALTIME, chr_retry, s);
    QSIMPLEQ_INIT(&s->held);
    QTAILQ_INSERT_TAIL(&consoles, s, next);

    /* With this feature a chardev cannot be removed, so it stays. */
    qemu_chr_set_feature(chr, QEMU_CHAR_FEATURE_REPLAY);
    replay_register_char_driver(chr);
}
