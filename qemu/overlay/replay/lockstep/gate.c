/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the Output Rule's gate and the thread that releases outputs
 *
 * "The primary VM may not send an output until the backup VM has received and
 * acknowledged the log entry associated with the operation producing the
 * output." The agent writes what is acknowledged, and until when the lease
 * runs, into the shared page; QEMU looks there immediately before each output
 * leaves. A page, not a message, so that a new word of the agent holds from
 * the instant at which it is written.
 *
 * Releasing must need neither the guest nor the vCPU thread, which holds the
 * replay lock for a whole slice. So a thread of its own waits for the gate's
 * bell and calls the holders of outputs with the BQL only.
 *
 * paper, 2.2 and 3.5; rules 1 and 6
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/event_notifier.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/core/cpu.h"
#include "system/replay.h"
#include "lockstep/bounds.h"
#include "internal.h"

static struct {
    QemuMutex lock;             /* protects page and fd against unmapping */
    struct ft_ring_page *page;  /* NULL: alone, no rule */
    int fd;
    bool shut;
    EventNotifier kick;
    QemuThread thread;
    NotifierList notifiers;
    int64_t held;
    FILE *trace;
} gate = { .fd = -1 };

static uint64_t boottime_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

/*
 * Rule 1: what may leave leaves without the guest, the vCPU thread, or a wait
 * of this thread for more than the BQL (paper, 3.5).
 */
static void *release_thread(void *opaque)
{
    rcu_register_thread();
    for (;;) {
        struct pollfd fds[2] = {
            { .fd = event_notifier_get_fd(&gate.kick), .events = POLLIN },
            { .fd = -1, .events = POLLIN },
        };

        WITH_QEMU_LOCK_GUARD(&gate.lock) {
            fds[1].fd = gate.fd;
        }
        if (poll(fds, 2, -1) < 0) {
            continue;
        }
        event_notifier_test_and_clear(&gate.kick);
        WITH_QEMU_LOCK_GUARD(&gate.lock) {
            if (gate.fd >= 0 && gate.fd == fds[1].fd) {
                if (!lockstep_bell_hush(gate.fd)) {
                    gate.fd = -1;   /* the agent is no more */
                }
            }
        }
        bql_lock();
        notifier_list_notify(&gate.notifiers, NULL);
        lockstep_kick_vcpu();
        bql_unlock();
    }
    return NULL;
}

void lockstep_gate_init(const char *trace, Error **errp)
{
    int ret;

    if (trace) {
        gate.trace = fopen(trace, "we");
        if (!gate.trace) {
            error_setg_errno(errp, errno, "cannot write %s", trace);
            return;
        }
        setvbuf(gate.trace, NULL, _IOLBF, 0);
    }
    ret = event_notifier_init(&gate.kick, false);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot make an eventfd");
        return;
    }
    qemu_thread_create(&gate.thread, "lockstep-gate", release_thread, NULL,
                       QEMU_THREAD_DETACHED);
}

static void __attribute__((constructor)) gate_construct(void)
{
    qemu_mutex_init(&gate.lock);
    notifier_list_init(&gate.notifiers);
}

void lockstep_gate_follow(struct ft_ring_page *page, int fd)
{
    WITH_QEMU_LOCK_GUARD(&gate.lock) {
        gate.page = page;
        gate.fd = fd;
        gate.shut = false;
    }
    lockstep_gate_kick();
}

void lockstep_gate_open(void)
{
    WITH_QEMU_LOCK_GUARD(&gate.lock) {
        gate.page = NULL;
        gate.fd = -1;
        gate.shut = false;
    }
    lockstep_gate_kick();
}

void lockstep_gate_shut(void)
{
    WITH_QEMU_LOCK_GUARD(&gate.lock) {
        gate.shut = true;
    }
}

void lockstep_gate_kick(void)
{
    if (lockstep.enabled) {
        event_notifier_set(&gate.kick);
    }
}

bool lockstep_gate_acked(uint64_t position)
{
    QEMU_LOCK_GUARD(&gate.lock);

    return !gate.page ||
           qatomic_load_acquire(&gate.page->gate) == FT_GATE_FREE ||
           qatomic_load_acquire(&gate.page->acked) >= position;
}

bool lockstep_gate_held_too_much(void)
{
    return qatomic_read(&gate.held) > FT_HELD_MAX;
}

/*
 * Rules 1 and 6: acknowledged up to @position, and the lease runs. Position 0
 * always counts as acknowledged, so it asks for the lease alone.
 */
bool lockstep_may_release(uint64_t position)
{
    QEMU_LOCK_GUARD(&gate.lock);

    if (lockstep_state() == LOCKSTEP_REPLAY || gate.shut) {
        return false;
    }
    return !gate.page ||
           ft_gate_may_release(gate.page, position, boottime_ns());
}

/* Rule 1: an output is bound to the batch in which the guest makes it. */
uint64_t lockstep_output_position(void)
{
    if (lockstep_state() != LOCKSTEP_RECORD) {
        return 0;
    }
    if (current_cpu) {
        cpu_exit(current_cpu);  /* the slice ends, its batch is committed */
    }
    return lockstep_position() + 1;
}

void lockstep_add_release_notifier(Notifier *n)
{
    notifier_list_add(&gate.notifiers, n);
}

void lockstep_held_add(int64_t bytes)
{
    int64_t now = qatomic_fetch_add(&gate.held, bytes) + bytes;

    if (bytes < 0 && now <= FT_HELD_MAX && now - bytes > FT_HELD_MAX) {
        lockstep_kick_vcpu();
    }
}

void lockstep_trace_output(LockstepOutput kind, uint32_t source,
                           uint64_t position, uint64_t length)
{
    static const char *const names[] = { "packet", "write", "console" };
    struct timespec ts;

    if (gate.trace) {
        clock_gettime(CLOCK_MONOTONIC, &ts);
        fprintf(gate.trace, "%lld %s %u %" PRIu64 " %" PRIu64 "\n",
                (long long)(ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec),
                names[kind], source, position, length);
    }
}
