/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the block node between a guest's disk and its image.
 *
 * Theory of Operation
 *
 * QEMU puts a "lockstep-disk" node above the root node of each virtio-blk
 * device when it realizes; no option names it:
 *
 *      virtio-blk --(BlockBackend)--> lockstep-disk
 *                                         : s->child, a BlockBackend
 *                                         v
 *                                     format node --> protocol node
 *
 * Everything above the node is deterministic, everything below it is not. So
 * limits, length, block sizes and geometry are fixed above it, and do not
 * depend on the image. The image is reached through a BlockBackend and not as
 * a graph child: a BlockBackend may lie over an inactive image, and the graph
 * must not change while requests that will end only with a log entry hold its
 * lock.
 *
 * Requests. A request is a DiskOp, submitted where the guest makes it (on the
 * vCPU thread) and ended by the engine through LockstepRequest:
 *
 *   NONE, RECORD  the I/O is done on a bounce buffer; its result {status,
 *                 data read} ends the request: at once in NONE, at an exact
 *                 instruction in RECORD. Errors are results like others.
 *   REPLAY        nothing is done; the entry of the log ends the request.
 *   go live       requests that the log did not end are done for real.
 *
 * Guest memory is thus written only in the end of a request, never while the
 * I/O runs. Requests in flight that overlap are done one after the other in
 * the order of their submission, so that doing them again has the same end.
 *
 * Output Rule. A shared disk is the outside world. Writes, write-zeroes,
 * discards and flushes are outputs: logged at submission, and their I/O waits
 * until lockstep_may_release(), which is asked immediately before the I/O is
 * submitted to the image; file-posix asks for the lease once more, see
 * lockstep_disk_await_lease(). Waiting does not stop the guest; the virtqueue
 * bounds what may wait.
 *
 * Durability. A write that has ended may still be lost by the disk until a
 * flush. The replica cannot know what the primary's host left undone, so it
 * keeps the data of all writes ended since the last flush, and at go-live does
 * them again, in order, and flushes. An error there may pass: it tries for some
 * seconds. Should that fail, the guest's flushes fail from then on. A flush of the guest covers the writes that had ended when it
 * was submitted. To bound the memory the primary does a flush of its own when
 * 64 MiB, or 4096 requests, are not known durable, before it lets the write or
 * discard end that goes over the bound; the result of that write then says up to where writes are durable. The
 * guest sees nothing but a slower write.
 *
 * Reset. A device reset must not wait for requests (their end is an event of
 * the log, which cannot come while the vCPU is inside the reset). It ends
 * them for the guest with an error, at the same instruction on both sides;
 * the I/O goes on, and requests that overlap it still keep their order, but
 * nobody waits for it.
 *
 * Image files. file-posix opens a node that has no writer read-only, and again,
 * by its path, when a writer comes: for a replica at go-live. The path may not
 * lead there any more by then: libvirt on the dead primary's host has given the
 * file back to root. So the image of a disk that the guest may write is open
 * for writing from the device's realization on; who cannot open it does not
 * start. A replica proves now and then that the descriptor still serves.
 *
 * Image locks. QEMU started with -incoming opens images inactive: it takes no
 * lock and an attempt to write asserts, which proves that a replica does not
 * write. Going live activates the image, and then file-posix takes its locks.
 * The dead primary may still hold them: paused, or its host's NFS lease not
 * yet over. The arbiter's grant, and not image locks, excludes the peer; so
 * while disks are opened for go-live, and only then, a refused lock is a
 * warning, and that image is used without locks until a timer, each second, can
 * take them: nobody else shall start on it when the dead primary's are gone. An
 * ordinary start, and an ordinary incoming migration, lock as ever.
 *
 * paper, 2.2 and 3.4; rules 1, 2 and 7
 */

#include "qemu/osdep.h"
#include "block/lockstep-disk.h"
#include "lockstep-disk-internal.h"
#include "lockstep/ring.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/units.h"
#include "system/block-backend.h"

#define DISK_ALIGNMENT      512
#define DISK_BOUNCE_ALIGN   4096
#define DISK_MAX_TRANSFER   (1 * MiB)
#define DISK_MAX_UNDURABLE  (64 * MiB)
/* What an entry counts for that bound beside its data: a request at go-live. */
#define DISK_ENTRY_COST     (16 * KiB)
/* A pause between tries at go-live. */
#define DISK_AGAIN_PAUSE_NS (100 * SCALE_MS)

/* The result of a request: le32 status, le64 durable, then data read. */
#define RESULT_SIZE 12

LockstepDisks lockstep_disks = QTAILQ_HEAD_INITIALIZER(lockstep_disks);
static QEMUBH *release_bh;

/* --- writes that are not known durable --- */

static int64_t disk_cost(DiskKind kind, int64_t bytes)
{
    return DISK_ENTRY_COST + (kind == DISK_WRITE ? bytes : 0);
}

void lockstep_disk_durable(LockstepDisk *s, uint64_t up_to)
{
    DiskEnded *e;

    while ((e = QTAILQ_FIRST(&s->ended)) && e->number <= up_to) {
        QTAILQ_REMOVE(&s->ended, e, next);
        s->ended_bytes -= disk_cost(e->kind, e->bytes);
        qemu_vfree(e->buf);
        g_free(e);
    }
}

/* Takes op->buf. */
static void disk_write_ended(LockstepDisk *s, DiskOp *op)
{
    DiskEnded *e;

    s->ended_count++;
    if (lockstep_state() == LOCKSTEP_NONE) {
        return;             /* a clone begins with a flush */
    }

    e = g_new(DiskEnded, 1);
    *e = (DiskEnded) {
        .number = s->ended_count,
        .kind = op->kind,
        .flags = op->flags,
        .offset = op->offset,
        .bytes = op->bytes,
    };
    if (lockstep_state() == LOCKSTEP_REPLAY) {
        e->buf = g_steal_pointer(&op->buf);
    }
    s->ended_bytes += disk_cost(e->kind, e->bytes);
    QTAILQ_INSERT_TAIL(&s->ended, e, next);
}

/* --- the I/O --- */

/*
 * Rule 7: of two requests that race for a place on the disk the earlier is done
 * first, on both sides and again at go-live (paper, 3.4).
 */
static bool disk_overlap(const DiskOp *a, const DiskOp *b)
{
    return (a->kind != DISK_READ || b->kind != DISK_READ) &&
           a->kind != DISK_FLUSH && b->kind != DISK_FLUSH &&
           a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

/* Rule 1: a write to a shared disk is an output. */
static bool disk_may_start(LockstepDisk *s, DiskOp *op)
{
    DiskOp *earlier;

    if (op->started || !op->ready) {
        return false;
    }
    QTAILQ_FOREACH(earlier, &s->ops, next) {
        if (earlier == op) {
            break;
        }
        if (disk_overlap(earlier, op)) {
            return false;
        }
    }
    return op->kind == DISK_READ || op->again ||
           lockstep_may_release(op->position);
}

static int coroutine_fn disk_io(LockstepDisk *s, DiskOp *op)
{
    QEMUIOVector qiov;

    switch (op->kind) {
    case DISK_READ:
        op->buf = qemu_memalign(DISK_BOUNCE_ALIGN, op->bytes);
        qemu_iovec_init_buf(&qiov, op->buf, op->bytes);
        return blk_co_preadv(s->child, op->offset, op->bytes, &qiov, 0);
    case DISK_WRITE:
        qemu_iovec_init_buf(&qiov, op->buf, op->bytes);
        return blk_co_pwritev(s->child, op->offset, op->bytes, &qiov, 0);
    case DISK_ZEROES:
        return blk_co_pwrite_zeroes(s->child, op->offset, op->bytes, op->flags);
    case DISK_DISCARD:
        return blk_co_pdiscard(s->child, op->offset, op->bytes, 0);
    case DISK_FLUSH:
        return s->lost ? -EIO : blk_co_flush(s->child);
    }
    g_assert_not_reached();
}

/*
 * Bound what is not known durable: see "Durability" above. Returns the number
 * of the last durable write, or 0.
 */
static int coroutine_fn disk_bound_undurable(LockstepDisk *s, DiskOp *op,
                                             uint64_t *durable)
{
    uint64_t covers = s->ended_count;
    int ret;

    if (lockstep_state() != LOCKSTEP_RECORD || s->flushing ||
        s->ended_bytes + disk_cost(op->kind, op->bytes) <=
            DISK_MAX_UNDURABLE) {
        return 0;
    }
    s->flushing = true;
    ret = blk_co_flush(s->child);
    s->flushing = false;
    if (ret == 0) {
        *durable = covers;
    }
    return ret;
}

/* At go-live: what has ended for the guest, see "Durability" above. */
static void coroutine_fn disk_io_again(LockstepDisk *s, DiskOp *op)
{
    int ret;

    while ((ret = disk_io(s, op)) < 0 &&
           qemu_clock_get_ms(QEMU_CLOCK_REALTIME) < s->again_until_ms) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, DISK_AGAIN_PAUSE_NS);
    }
    if (ret < 0) {
        error_report("disk %s: writing again %" PRId64 " bytes at %" PRId64
                     " failed: %s", s->id, op->bytes, op->offset,
                     strerror(-ret));
        s->lost = true;
    }
    QTAILQ_REMOVE(&s->ops, op, next);
    s->again--;
    g_free(op);
    aio_wait_kick();
    lockstep_disk_kick(s);
}

static void coroutine_fn disk_io_entry(void *opaque)
{
    DiskOp *op = opaque;
    LockstepDisk *s = op->disk;
    uint64_t durable = 0;
    g_autofree uint8_t *result = NULL;
    size_t length = RESULT_SIZE;
    int ret;

    if (op->again) {
        disk_io_again(s, op);
        return;
    }
    if (op->kind != DISK_READ) {
        lockstep_trace_output(LOCKSTEP_OUT_WRITE, s->source, op->position,
                              op->bytes);
    }
    ret = disk_io(s, op);

    if (ret >= 0 && op->kind != DISK_READ && op->kind != DISK_FLUSH) {
        ret = disk_bound_undurable(s, op, &durable);
    }
    if (op->kind == DISK_READ && ret >= 0) {
        length += op->bytes;
    }
    result = g_malloc(length);
    stl_le_p(result, ret);
    stq_le_p(result + 4, durable);
    if (length > RESULT_SIZE) {
        memcpy(result + RESULT_SIZE, op->buf, op->bytes);
    }
    if (op->kind == DISK_READ) {
        qemu_vfree(op->buf);
        op->buf = NULL;
    }

    /* From here on it is the engine's; overlapping requests may go. */
    QTAILQ_REMOVE(&s->ops, op, next);
    lockstep_request_done(&op->req, result, length);
    aio_wait_kick();
    lockstep_disk_kick(s);
}

/* Start what may start. Any thread with the BQL. */
void lockstep_disk_kick(LockstepDisk *s)
{
    DiskOp *op;

    s->kick_again = true;
    if (s->kicking) {
        return;
    }
    s->kicking = true;
    while (s->kick_again) {
        s->kick_again = false;
        QTAILQ_FOREACH(op, &s->ops, next) {
            if (disk_may_start(s, op)) {
                op->started = true;
                qemu_coroutine_enter(qemu_coroutine_create(disk_io_entry, op));
                /* It may have ended already: the list has changed. */
                s->kick_again = true;
                break;
            }
        }
    }
    s->kicking = false;
}

static void disk_release_bh(void *opaque)
{
    LockstepDisk *s;

    QTAILQ_FOREACH(s, &lockstep_disks, next) {
        lockstep_disk_kick(s);
    }
}

/* On the release thread, with the BQL: the I/O belongs in the main loop. */
static void disk_release_notify(Notifier *n, void *data)
{
    LockstepDisk *s;
    DiskOp *op;

    QTAILQ_FOREACH(s, &lockstep_disks, next) {
        QTAILQ_FOREACH(op, &s->ops, next) {
            if (op->ready && !op->started) {
                qemu_bh_schedule(release_bh);
                return;
            }
        }
    }
}

/* --- requests --- */

/* The end of a request, where the log has it. */
static void disk_run(LockstepRequest *req, const uint8_t *data, size_t length)
{
    DiskOp *op = container_of(req, DiskOp, req);
    LockstepDisk *s = op->disk;
    DiskWait *wait = op->wait;
    uint64_t durable;
    int ret;

    if (length < RESULT_SIZE) {
        lockstep_diverged("disk %s: a result of %zu bytes", s->id, length);
        return;
    }
    ret = (int32_t)ldl_le_p(data);
    durable = ldq_le_p(data + 4);
    data += RESULT_SIZE;
    length -= RESULT_SIZE;
    if (length != (op->kind == DISK_READ && ret >= 0 ? op->bytes : 0)) {
        lockstep_diverged("disk %s: %zu bytes read for a request of %" PRId64,
                          s->id, length, op->bytes);
        return;
    }

    if (!op->started) {
        /* A replica's: it was only waiting. */
        QTAILQ_REMOVE(&s->ops, op, next);
    }
    QTAILQ_REMOVE(&s->requests, op, link);
    if (durable) {
        lockstep_disk_durable(s, durable);
    }
    if (ret >= 0 && op->kind == DISK_FLUSH) {
        lockstep_disk_durable(s, op->covers);
    } else if (ret >= 0 && op->kind != DISK_READ) {
        disk_write_ended(s, op);
    }

    if (wait) {
        if (length) {
            qemu_iovec_from_buf(wait->qiov, wait->qiov_offset, data, length);
        }
        wait->ret = ret;
        wait->done = true;
    }
    qemu_vfree(op->buf);
    g_free(op);

    if (wait && wait->co) {
        aio_co_wake(wait->co);
    }
}

static void disk_reissue(LockstepRequest *req)
{
    DiskOp *op = container_of(req, DiskOp, req);

    op->ready = true;
    op->position = 0;
    lockstep_disk_kick(op->disk);
}

static uint32_t disk_crc(const DiskOp *op)
{
    uint8_t head[24];
    uint32_t crc;

    stl_le_p(head, op->kind);
    stl_le_p(head + 4, op->flags);
    stq_le_p(head + 8, op->offset);
    stq_le_p(head + 16, op->bytes);
    crc = ft_crc32c(0, head, sizeof(head));
    return op->buf ? ft_crc32c(crc, op->buf, op->bytes) : crc;
}

/*
 * Rule 2: the I/O uses a bounce buffer, so that the guest sees its memory
 * change at an instruction that the log has (paper, 3.4).
 */
static int coroutine_fn disk_submit(BlockDriverState *bs, DiskKind kind,
                                    int64_t offset, int64_t bytes,
                                    QEMUIOVector *qiov, size_t qiov_offset,
                                    BdrvRequestFlags flags)
{
    LockstepDisk *s = bs->opaque;
    DiskWait wait = { .qiov = qiov, .qiov_offset = qiov_offset };
    DiskOp *op = g_new(DiskOp, 1);

    *op = (DiskOp) {
        .req.run = disk_run,
        .req.reissue = disk_reissue,
        .disk = s,
        .kind = kind,
        .flags = flags,
        .offset = offset,
        .bytes = bytes,
        .covers = s->ended_count,
        .wait = &wait,
        .ready = lockstep_state() != LOCKSTEP_REPLAY,
    };
    if (kind == DISK_WRITE) {
        op->buf = qemu_memalign(DISK_BOUNCE_ALIGN, bytes);
        qemu_iovec_to_buf(qiov, qiov_offset, op->buf, bytes);
    }

    lockstep_request_begin(&op->req);
    if (kind != DISK_READ && lockstep_state() != LOCKSTEP_NONE) {
        lockstep_output_crc(LOCKSTEP_OUT_WRITE, s->source, bytes, disk_crc(op));
        op->position = lockstep_output_position();
    }
    QTAILQ_INSERT_TAIL(&s->requests, op, link);
    QTAILQ_INSERT_TAIL(&s->ops, op, next);
    lockstep_disk_kick(s);

    if (!wait.done) {
        wait.co = qemu_coroutine_self();
        qemu_coroutine_yield();
    }
    return wait.ret;
}

static int coroutine_fn GRAPH_RDLOCK
disk_co_preadv_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                    QEMUIOVector *qiov, size_t qiov_offset,
                    BdrvRequestFlags flags)
{
    return disk_submit(bs, DISK_READ, offset, bytes, qiov, qiov_offset, 0);
}

static int coroutine_fn GRAPH_RDLOCK
disk_co_pwritev_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                     QEMUIOVector *qiov, size_t qiov_offset,
                     BdrvRequestFlags flags)
{
    return disk_submit(bs, DISK_WRITE, offset, bytes, qiov, qiov_offset, 0);
}

static int coroutine_fn GRAPH_RDLOCK
disk_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                      BdrvRequestFlags flags)
{
    return disk_submit(bs, DISK_ZEROES, offset, bytes, NULL, 0,
                       flags & BDRV_REQ_MAY_UNMAP);
}

static int coroutine_fn GRAPH_RDLOCK
disk_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return disk_submit(bs, DISK_DISCARD, offset, bytes, NULL, 0, 0);
}

static int coroutine_fn GRAPH_RDLOCK disk_co_flush(BlockDriverState *bs)
{
    return disk_submit(bs, DISK_FLUSH, 0, 0, NULL, 0, 0);
}

/* --- device reset --- */

bool lockstep_disk_reset(BlockBackend *blk)
{
    LockstepDisk *s;
    DiskOp *op;

    if (lockstep_state() == LOCKSTEP_NONE) {
        return false;
    }
    QTAILQ_FOREACH(s, &lockstep_disks, next) {
        if (s->device == blk) {
            break;
        }
    }
    if (!s) {
        return false;
    }

again:
    QTAILQ_FOREACH(op, &s->requests, link) {
        DiskWait *wait = g_steal_pointer(&op->wait);

        if (wait) {
            assert(wait->co);
            wait->ret = -ECANCELED;
            wait->done = true;
            aio_co_wake(wait->co);
            goto again;
        }
    }
    return true;
}

/* --- the node --- */

static int64_t coroutine_fn GRAPH_RDLOCK disk_co_getlength(BlockDriverState *bs)
{
    LockstepDisk *s = bs->opaque;

    return s->length;
}

static void disk_refresh_limits(BlockDriverState *bs, Error **errp)
{
    bs->bl = (BlockLimits) {
        .request_alignment = DISK_ALIGNMENT,
        .max_transfer = DISK_MAX_TRANSFER,
        .pdiscard_alignment = DISK_ALIGNMENT,
        .pwrite_zeroes_alignment = DISK_ALIGNMENT,
        .min_mem_alignment = DISK_ALIGNMENT,
        .opt_mem_alignment = DISK_BOUNCE_ALIGN,
        .max_iov = IOV_MAX,
    };
}

/* In monitors the node stands for its image. */
static void GRAPH_RDLOCK disk_refresh_filename(BlockDriverState *bs)
{
    LockstepDisk *s = bs->opaque;

    if (s->child && blk_bs(s->child)) {
        pstrcpy(bs->exact_filename, sizeof(bs->exact_filename),
                blk_bs(s->child)->filename);
    }
}

static int GRAPH_UNLOCKED disk_open(BlockDriverState *bs, QDict *options,
                                    int flags, Error **errp)
{
    LockstepDisk *s = bs->opaque;

    s->bs = bs;
    s->fd = -1;
    QTAILQ_INIT(&s->ops);
    QTAILQ_INIT(&s->requests);
    QTAILQ_INIT(&s->ended);
    bs->supported_zero_flags = BDRV_REQ_MAY_UNMAP;
    QTAILQ_INSERT_TAIL(&lockstep_disks, s, next);
    return 0;
}

static void GRAPH_UNLOCKED disk_close(BlockDriverState *bs)
{
    LockstepDisk *s = bs->opaque;

    assert(QTAILQ_EMPTY(&s->requests) && QTAILQ_EMPTY(&s->ops));
    lockstep_disk_durable(s, UINT64_MAX);
    QTAILQ_REMOVE(&lockstep_disks, s, next);
    lockstep_disk_closed(s);
}

/* Not registered: only lockstep_disk_attach() makes one. */
BlockDriver bdrv_lockstep_disk = {
    .format_name            = "lockstep-disk",
    .instance_size          = sizeof(LockstepDisk),

    .bdrv_open              = disk_open,
    .bdrv_close             = disk_close,
    .bdrv_co_getlength      = disk_co_getlength,
    .bdrv_refresh_limits    = disk_refresh_limits,
    .bdrv_refresh_filename  = disk_refresh_filename,

    .bdrv_co_preadv_part    = disk_co_preadv_part,
    .bdrv_co_pwritev_part   = disk_co_pwritev_part,
    .bdrv_co_pwrite_zeroes  = disk_co_pwrite_zeroes,
    .bdrv_co_pdiscard       = disk_co_pdiscard,
    .bdrv_co_flush          = disk_co_flush,
};

static Notifier release_notifier = { .notify = disk_release_notify };

void lockstep_disk_init(void)
{
    if (!release_bh) {
        release_bh = qemu_bh_new(disk_release_bh, NULL);
        lockstep_add_release_notifier(&release_notifier);
        lockstep_register_part(&lockstep_disk_part);
    }
}
