/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the log's transport
 *
 * Theory of Operation
 *
 * Upstream writes the replay log byte by byte into a file. Here the bytes go
 * into an open batch, and releasing the replay lock commits it: the ring gets
 * whole lock holds only. So a log never ends in the middle of an event or of
 * a synchronous operation, a helper that reads the log never has to wait, and
 * whoever replays may stop at any batch boundary and go live there.
 *
 * A lock hold never sleeps in a put. When the ring has no room the batch stays
 * open and takes the next lock hold's bytes too; the vCPU thread, which writes
 * nearly all of them, waits at its loop top (lockstep_throttled()) while there
 * is no room for the largest batch.
 *
 * Replaying, a batch is copied out of the ring whole. When none is there
 * data_kind becomes EVENT_COUNT, which matches no question, and the engine is
 * "starved": vCPU thread and main loop sleep until the agent writes `data`.
 *
 * A recording QEMU that has nothing to say commits an idle entry about every
 * 50 ms from a timer of the main loop: it proves that this QEMU is alive, and
 * bounds the number of instructions that the replica cannot know of.
 *
 * paper, 2.3 and 3.2; rules 3 and 10
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "hw/core/cpu.h"
#include "system/replay.h"
#include "system/runstate.h"
#include "../replay-internal.h"
#include "internal.h"

#define IDLE_MS 50
/* A digest of the state every so many ticks. */
#define STATE_TICKS 4
/* Stop adding queued events to a batch beyond this, and end the vCPU's slice. */
#define BATCH_SOFT_MAX (2u << 20)
/* What the main loop may write while the vCPU waits for room. */
#define ROOM_RESERVE (1u << 20)
/* Replaying: a log that is not starved and does not move for so long. */
#define STALL_MS 5000

typedef struct Batch {
    uint8_t *buf;
    size_t used, at, size;
} Batch;

static struct {
    bool open;
    void *map;
    size_t map_size;
    struct ft_ring ring;
    int fd_data, fd_space, fd_gate;
    uint64_t position;      /* RECORD: committed. REPLAY: executed */
    uint64_t reading;       /* REPLAY: position of the batch in hand */
    bool committed_since_tick;
    unsigned ticks;
    QEMUTimer *tick;
    unsigned stalled_ms, stalled_event;
    uint64_t stalled_icount;
} session = { .fd_data = -1, .fd_space = -1, .fd_gate = -1 };

static Batch batch;

/* ---- session ------------------------------------------------------------ */

static void batch_reserve(size_t size)
{
    if (size > batch.size) {
        batch.size = pow2ceil(size);
        batch.buf = g_realloc(batch.buf, batch.size);
    }
}

/* One that is full is ringing already; one that the agent has closed wakes
 * nobody. */
static void wake(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN &&
        errno != EPIPE && errno != ECONNRESET) {
        warn_report_once("lockstep: a bell: %s", strerror(errno));
    }
}

bool lockstep_bell_hush(int fd)
{
    uint8_t rings[4096];
    ssize_t n = read(fd, rings, sizeof(rings));

    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Main loop: a bell rang. */
static void hush_bell(int fd)
{
    if (!lockstep_bell_hush(fd)) {
        qemu_set_fd_handler(fd, NULL, NULL, NULL);
    }
}

/* Main loop: the agent has put batches into the ring. */
static void on_data(void *opaque)
{
    hush_bell(session.fd_data);
    if (lockstep.phase == LOCKSTEP_REPLAY_STARVED) {
        lockstep_log_fetch();
        lockstep_log_wake_next();
        lockstep_go_live_poll();
    }
}

/* Main loop: the agent has made room in the ring. */
static void on_space(void *opaque)
{
    hush_bell(session.fd_space);
    lockstep_kick_vcpu();
}

bool lockstep_session_open(const lc_id *pair, uint64_t generation,
                           const int *fds, int nfds, Error **errp)
{
    const char *wrong;
    struct stat st;
    void *map;

    if (nfds != 4) {
        error_setg(errp, "expected 4 descriptors, got %d", nfds);
        return false;
    }
    if (session.open) {
        error_setg(errp, "a session is open already");
        return false;
    }
    if (fstat(fds[0], &st) < 0 || st.st_size < FT_RING_DATA) {
        error_setg(errp, "the ring's descriptor has no size");
        return false;
    }
    map = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED,
               fds[0], 0);
    if (map == MAP_FAILED) {
        error_setg_errno(errp, errno, "cannot map the ring");
        return false;
    }
    wrong = ft_ring_attach(&session.ring, map, st.st_size);
    if (wrong) {
        munmap(map, st.st_size);
        error_setg(errp, "%s", wrong);
        return false;
    }
    close(fds[0]);
    session.open = true;
    session.map = map;
    session.map_size = st.st_size;
    session.fd_data = fds[1];
    session.fd_space = fds[2];
    session.fd_gate = fds[3];
    for (int i = 1; i < 4; i++) {
        g_unix_set_fd_nonblocking(fds[i], true, NULL);
    }
    session.position = session.reading = 0;
    batch.used = batch.at = 0;
    memcpy(lockstep.pair, pair->b, sizeof(lockstep.pair));
    lockstep.generation = generation;
    return true;
}

void lockstep_session_close(void)
{
    if (!session.open) {
        return;
    }
    lockstep_gate_open();
    qemu_set_fd_handler(session.fd_data, NULL, NULL, NULL);
    qemu_set_fd_handler(session.fd_space, NULL, NULL, NULL);
    close(session.fd_data);
    close(session.fd_space);
    close(session.fd_gate);
    session.fd_data = session.fd_space = session.fd_gate = -1;
    munmap(session.map, session.map_size);
    session.map = NULL;
    session.open = false;
    timer_free(session.tick);
    session.tick = NULL;
}

bool lockstep_session_is_open(void)
{
    return session.open;
}

struct ft_ring_page *lockstep_session_page(void)
{
    return session.ring.page;
}

int lockstep_session_gate_fd(void)
{
    return session.fd_gate;
}

uint64_t lockstep_position(void)
{
    return session.position;
}

/* ---- recording ---------------------------------------------------------- */

/* Rule 3: a QEMU that lives is heard, also while its guest is idle. */
static void on_tick_record(void *opaque)
{
    timer_mod(session.tick, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + IDLE_MS);
    if (runstate_is_running() && !lockstep_throttled()) {
        if (++session.ticks % STATE_TICKS == 0) {
            lockstep_check_state();
        }
        if (!session.committed_since_tick && !batch.used) {
            replay_save_instructions();
            replay_put_event(EVENT_LOCKSTEP_IDLE);
        }
    }
    session.committed_since_tick = false;
}

void lockstep_log_start_record(void)
{
    batch.used = 0;
    session.committed_since_tick = false;
    qemu_set_fd_handler(session.fd_space, on_space, NULL, NULL);
    session.tick = timer_new_ms(QEMU_CLOCK_REALTIME, on_tick_record, NULL);
    timer_mod(session.tick, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + IDLE_MS);
}

void lockstep_log_put(const void *buf, size_t size)
{
    if (lockstep_state() == LOCKSTEP_RECORD) {
        batch_reserve(batch.used + size);
        memcpy(batch.buf + batch.used, buf, size);
        batch.used += size;
        if (batch.used > BATCH_SOFT_MAX && current_cpu) {
            /* A loop of RDRAND writes 20 MB/s in one lock hold. */
            cpu_exit(current_cpu);
        }
    }
}

void lockstep_log_commit(void)
{
    if (lockstep_state() != LOCKSTEP_RECORD || !batch.used) {
        return;
    }
    if (!ft_ring_has_space(&session.ring, ft_batch_size(batch.used))) {
        return; /* stays open; lockstep_throttled() stops the guest */
    }
    session.position++;
    session.committed_since_tick = true;
    if (ft_ring_put(&session.ring, session.position, batch.buf, batch.used)) {
        wake(session.fd_data);
    }
    batch.used = 0;
}

/* Rule 10: the ring has room for the largest batch. */
static bool has_room(void)
{
    return ft_ring_has_space(&session.ring,
                             batch.used + FT_BATCH_MAX + ROOM_RESERVE);
}

bool lockstep_log_has_room(void)
{
    if (has_room()) {
        return true;
    }
    ft_ring_announce_wait(&session.ring.page->producer_waits);
    return has_room();
}

bool lockstep_log_may_add(void)
{
    return lockstep_state() != LOCKSTEP_RECORD ||
           (batch.used < BATCH_SOFT_MAX && has_room());
}

/* ---- replaying ---------------------------------------------------------- */

static void on_tick_replay(void *opaque)
{
    uint64_t icount = replay_get_current_icount();

    timer_mod(session.tick, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + IDLE_MS);
    if (lockstep.phase != LOCKSTEP_REPLAY_READY || !runstate_is_running() ||
        session.stalled_event != replay_state.current_event ||
        session.stalled_icount != icount) {
        session.stalled_event = replay_state.current_event;
        session.stalled_icount = icount;
        session.stalled_ms = 0;
        return;
    }
    session.stalled_ms += IDLE_MS;
    if (session.stalled_ms >= STALL_MS) {
        lockstep_diverged("stuck for %d ms", STALL_MS);
    }
}

void lockstep_log_start_replay(void)
{
    batch.used = batch.at = 0;
    session.stalled_ms = 0;
    qemu_set_fd_handler(session.fd_data, on_data, NULL, NULL);
    session.tick = timer_new_ms(QEMU_CLOCK_REALTIME, on_tick_replay, NULL);
    timer_mod(session.tick, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + IDLE_MS);
}

size_t lockstep_log_left(void)
{
    return lockstep_state() == LOCKSTEP_REPLAY ? batch.used - batch.at : 0;
}

void lockstep_log_get(void *buf, size_t size)
{
    if (lockstep_state() != LOCKSTEP_REPLAY || lockstep_replay_over()) {
        memset(buf, 0, size);
        return;
    }
    if (lockstep_log_left() < size) {
        memset(buf, 0, size);
        lockstep_diverged("an event goes beyond its batch");
        return;
    }
    memcpy(buf, batch.buf + batch.at, size);
    batch.at += size;
}

void lockstep_log_get_array(void *buf, size_t *size)
{
    uint32_t n = replay_get_dword();

    if (n != *size && !lockstep_replay_over()) {
        lockstep_diverged("%" PRIu32 " bytes instead of %zu", n, *size);
    }
    lockstep_log_get(buf, *size);
}

/* Copy the next batch out of the ring. False: none, or malformed. */
static bool next_batch(void)
{
    struct ft_batch b;
    int r;

    if (session.position != session.reading) {
        session.position = session.reading;
        qatomic_store_release(&session.ring.page->executed, session.position);
    }
    r = ft_ring_peek(&session.ring, 0, session.reading + 1, &b);
    if (r == 0) {
        ft_ring_announce_wait(&session.ring.page->consumer_waits);
        r = ft_ring_peek(&session.ring, 0, session.reading + 1, &b);
    }
    if (r == 0) {
        return false;
    }
    if (r < 0) {
        lockstep_diverged("batch %" PRIu64 " of the log is malformed",
                          session.reading + 1);
        return false;
    }
    batch_reserve(b.length);
    ft_ring_copy(&session.ring, FT_BATCH_HEADER, batch.buf, b.length);
    if (ft_ring_take(&session.ring, ft_batch_size(b.length))) {
        wake(session.fd_space);
    }
    if (ft_crc32c(0, batch.buf, b.length) != b.crc) {
        lockstep_diverged("batch %" PRIu64 " of the log is damaged",
                          b.position);
        return false;
    }
    session.reading = b.position;
    batch.used = b.length;
    batch.at = 0;
    return true;
}

void lockstep_log_hold_nothing(void)
{
    replay_state.data_kind = EVENT_COUNT;
    replay_state.instruction_count = 0;
    replay_state.has_unread_data = false;
}

static void starve(void)
{
    lockstep_log_hold_nothing();
    if (lockstep.phase == LOCKSTEP_REPLAY_READY) {
        lockstep_set_phase(LOCKSTEP_REPLAY_STARVED);
    }
}

void lockstep_log_fetch(void)
{
    uint8_t kind;

    if (replay_state.has_unread_data || lockstep_state() != LOCKSTEP_REPLAY) {
        return;
    }
    do {
        if (lockstep_replay_over() ||
            (batch.at == batch.used && !next_batch())) {
            starve();
            return;
        }
        if (batch.at == batch.used) {
            kind = EVENT_LOCKSTEP_IDLE;     /* an empty batch */
            continue;
        }
        lockstep_log_get(&kind, 1);
    } while (kind == EVENT_LOCKSTEP_IDLE);

    if (lockstep.phase == LOCKSTEP_REPLAY_STARVED) {
        lockstep_set_phase(LOCKSTEP_REPLAY_READY);
    }
    replay_state.data_kind = kind;
    replay_state.current_event++;
    replay_state.has_unread_data = true;
    if (kind >= EVENT_END) {
        lockstep_diverged("unknown event %d", kind);
        return;
    }
    if (kind == EVENT_INSTRUCTION) {
        uint32_t n = replay_get_dword();

        if (n == 0 || n > INT32_MAX) {
            lockstep_diverged("%" PRIu32 " instructions", n);
            return;
        }
        replay_state.instruction_count = n;
    }
}

bool lockstep_next_is_main(void)
{
    if (replay_state.instruction_count) {
        return false;
    }
    switch (replay_state.data_kind) {
    case EVENT_CHECKPOINT + CHECKPOINT_CLOCK_WARP_START:
    case EVENT_CHECKPOINT + CHECKPOINT_CLOCK_HOST:
    case EVENT_CHECKPOINT + CHECKPOINT_CLOCK_VIRTUAL_RT:
    case EVENT_CHECKPOINT + CHECKPOINT_RESET_REQUESTED:
    case EVENT_CHECKPOINT + CHECKPOINT_SUSPEND_REQUESTED:
        return true;
    default:
        return false;
    }
}

void lockstep_log_wake_next(void)
{
    if (lockstep_state() != LOCKSTEP_REPLAY || !first_cpu) {
        return;
    }
    if (lockstep.phase != LOCKSTEP_REPLAY_READY) {
        lockstep_go_live_poll();
    } else if (lockstep_next_is_main()) {
        qemu_notify_event();
    } else if (!current_cpu) {
        qemu_cpu_kick(first_cpu);
    }
}

bool lockstep_log_drained(void)
{
    return lockstep.phase == LOCKSTEP_REPLAY_STARVED &&
           ft_ring_ready(&session.ring) == 0;
}
