/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the images behind lockstep-disk nodes, when they are attached, and
 * when QEMU changes its role. The theory is in block/lockstep-disk.c.
 *
 * paper, 2.3 and 3.4; rules 5, 6 and 7
 */

#include "qemu/osdep.h"
#include "block/aio-wait.h"
#include "block/blockjob.h"
#include "block/lockstep-disk.h"
#include "block/thread-pool.h"
#include "lockstep-disk-internal.h"
#include "lockstep/ring.h"
#include "hw/qdev-core.h"
#include "migration/vmstate.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/timer.h"
#include "system/block-backend.h"

/* Writes at go-live that are under way together. */
#define DISK_AGAIN_AT_ONCE 128
/* How long they are tried when they fail. */
#define DISK_AGAIN_MS      5000
#define DISK_AGAIN_PAUSE_US (100 * 1000)

/* How often the locks are tried that a go-live had to override. */
#define DISK_LOCK_MS       1000

/* Of an image, to prove that it can be reached. */
#define DISK_PROOF_BYTES 4096

static bool taking_over;
static GSList *lockless;        /* images that were opened without their lock */
static QEMUTimer *lock_timer;

/* --- the clone's stream --- */

static int disk_pre_save(void *opaque)
{
    LockstepDisk *s = opaque;

    s->stream_length = s->length;
    s->wce = blk_enable_write_cache(s->device);
    return 0;
}

static int disk_post_load(void *opaque, int version_id)
{
    LockstepDisk *s = opaque;

    if (s->stream_length != s->length) {
        error_report("disk %s: the source's image has %" PRIu64 " bytes, "
                     "ours %" PRIu64, s->id, s->stream_length, s->length);
        return -EINVAL;
    }
    blk_set_enable_write_cache(s->device, s->wce);
    return 0;
}

static const VMStateDescription vmstate_disk = {
    .name = "lockstep-disk",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = disk_pre_save,
    .post_load = disk_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(stream_length, LockstepDisk),
        VMSTATE_BOOL(wce, LockstepDisk),
        VMSTATE_END_OF_LIST()
    },
};

void lockstep_disk_closed(LockstepDisk *s)
{
    vmstate_unregister(NULL, &vmstate_disk, s);
    blk_unref(s->child);
    g_free(s->id);
    g_free(s->path);
}

/* --- switches of the engine --- */

/* The node that does the I/O; NULL before there is one. */
static BlockDriverState *disk_bottom(LockstepDisk *s)
{
    BlockDriverState *bs = s->attaching ?: blk_bs(s->child);
    BdrvChild *child;

    GRAPH_RDLOCK_GUARD_MAINLOOP();

    while (bs && (child = bdrv_primary_child(bs))) {
        bs = child->bs;
    }
    return bs;
}

static LockstepDisk *disk_of_image(BlockDriverState *bs)
{
    LockstepDisk *s;

    QTAILQ_FOREACH(s, &lockstep_disks, next) {
        if (s->writable && disk_bottom(s) == bs) {
            return s;
        }
    }
    return NULL;
}

bool lockstep_disk_is_image(BlockDriverState *bs)
{
    return disk_of_image(bs) != NULL;
}

void lockstep_disk_uses(BlockDriverState *bs, int fd)
{
    LockstepDisk *s = disk_of_image(bs);

    if (s) {
        s->fd = fd;
    }
}

static bool disk_error_is_reported(LockstepDisk *s, bool is_read)
{
    BlockdevOnError action = blk_get_on_error(s->device, is_read);

    return action == BLOCKDEV_ON_ERROR_REPORT ||
           action == BLOCKDEV_ON_ERROR_IGNORE;
}

static bool disks_can_attach(void *opaque, Error **errp)
{
    LockstepDisk *s;

    QTAILQ_FOREACH(s, &lockstep_disks, next) {
        BlockDriverState *bottom = disk_bottom(s);

        if (bottom->drv != &bdrv_file) {
            error_setg(errp, "disk %s cannot be protected: it is not an image "
                       "file (%s)", s->id, bottom->drv->format_name);
            return false;
        }
        if (blk_is_writable(s->device) &&
            !(bottom->open_flags & BDRV_O_NOCACHE)) {
            error_setg(errp, "disk %s cannot be protected: its host cache may "
                       "write late; use cache=none or directsync", s->id);
            return false;
        }
        if (!disk_error_is_reported(s, true) ||
            !disk_error_is_reported(s, false)) {
            error_setg(errp, "disk %s cannot be protected: an I/O error would "
                       "stop the guest; use error policy \"report\"", s->id);
            return false;
        }
        if (blk_get_public(s->device)->throttle_group_member.throttle_state) {
            error_setg(errp, "disk %s cannot be protected: it has I/O limits",
                       s->id);
            return false;
        }
        if (blk_getlength(s->child) != s->length) {
            error_setg(errp, "disk %s cannot be protected: its image was "
                       "resized since the guest started", s->id);
            return false;
        }
        if (s->lost) {
            error_setg(errp, "disk %s cannot be protected: it lost writes when "
                       "this guest went live; start the guest again", s->id);
            return false;
        }
    }

    WITH_JOB_LOCK_GUARD() {
        BlockJob *job = block_job_next_locked(NULL);

        if (job) {
            error_setg(errp, "block job %s must end first", job->job.id);
            return false;
        }
    }
    return true;
}

static void disks_start_record(void *opaque)
{
    LockstepDisk *s;

    QTAILQ_FOREACH(s, &lockstep_disks, next) {
        /* The engine has drained, and stopping the guest has flushed. */
        assert(QTAILQ_EMPTY(&s->requests) && QTAILQ_EMPTY(&s->ended));
        s->ended_count = 0;
    }
}

static void disks_start_replay(void *opaque)
{
    LockstepDisk *s;
    Error *err = NULL;

    QTAILQ_FOREACH(s, &lockstep_disks, next) {
        s->ended_count = 0;
        /* Our node is active: let the device write to it. */
        if (bdrv_activate(s->bs, &err) < 0 || err) {
            error_reportf_err(err, "disk %s: ", s->id);
            lockstep_diverged("disk %s cannot be used", s->id);
            return;
        }
    }
}

typedef struct DiskProof {
    int fd;
    void *buf;
    int ret;
    bool done;
} DiskProof;

/*
 * In a worker thread: may this process read and write the file, now? What is
 * allocated already is allocated again: that needs all that a write needs, and
 * leaves the image of a running primary as it is. A storage that does not know
 * that (NFS before 4.2) is asked to open the file again, wherever it is now.
 */
static int disk_prove_work(void *opaque)
{
    DiskProof *p = opaque;
    g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", p->fd);
    int fd;

    if (pread(p->fd, p->buf, DISK_PROOF_BYTES, 0) < 0) {
        return -errno;
    }
    if (RETRY_ON_EINTR(fallocate(p->fd, FALLOC_FL_KEEP_SIZE, 0,
                                 DISK_PROOF_BYTES)) == 0) {
        return 0;
    }
    if (errno != EOPNOTSUPP && errno != ENOSYS) {
        return -errno;
    }
    fd = open(self, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    close(fd);
    return 0;
}

static void disk_proved(void *opaque, int ret)
{
    DiskProof *p = opaque;

    p->ret = ret;
    p->done = true;
    aio_wait_kick();
}

static int disk_prove(LockstepDisk *s)
{
    QEMU_AUTO_VFREE uint8_t *buf = blk_blockalign(s->child, DISK_PROOF_BYTES);
    DiskProof p = { .fd = s->fd, .buf = buf };

    thread_pool_submit_aio(disk_prove_work, &p, disk_proved, &p);
    AIO_WAIT_WHILE_UNLOCKED(NULL, !p.done);
    return p.ret;
}

/*
 * Rule 5: the proof that the disk can be reached. A guest's read alone shows
 * little: qcow2 does not ask the storage for what was never written. Reads are
 * allowed on an inactive image, and it was opened O_DIRECT.
 */
static bool disks_probe(void *opaque, Error **errp)
{
    LockstepDisk *s;
    int64_t bytes;
    int ret;

    QTAILQ_FOREACH(s, &lockstep_disks, next) {
        QEMU_AUTO_VFREE uint8_t *buf = blk_blockalign(s->child,
                                                      DISK_PROOF_BYTES);

        bytes = MIN(DISK_PROOF_BYTES, s->length);
        ret = bytes ? blk_pread(s->child, 0, bytes, buf, 0) : 0;
        if (ret < 0) {
            error_setg_errno(errp, -ret, "disk %s cannot be read", s->id);
            return false;
        }
        ret = s->writable ? disk_prove(s) : 0;
        if (ret < 0) {
            error_setg_errno(errp, -ret, "disk %s cannot be written", s->id);
            return false;
        }
        if (blk_getlength(s->child) != s->length) {
            error_setg(errp, "disk %s has %" PRId64 " bytes, expected %" PRIu64,
                       s->id, blk_getlength(s->child), s->length);
            return false;
        }
    }
    return true;
}

/* The locks that were overridden are taken when the other side is gone. */
static void disk_lock_again(void *opaque)
{
    GSList *next;

    for (GSList *l = lockless; l; l = next) {
        BlockDriverState *bs = l->data;

        next = l->next;
        if (bs->refcnt == 1 || raw_lockstep_lock_again(bs)) {
            info_report("image %s: %s", bs->filename, bs->refcnt == 1
                        ? "is in use no more" : "its lock is taken again");
            lockless = g_slist_delete_link(lockless, l);
            bdrv_unref(bs);
        }
    }
    if (lockless) {
        timer_mod(lock_timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                  DISK_LOCK_MS);
    }
}

bool lockstep_disk_forgives_lock(BlockDriverState *bs, Error **errp)
{
    if (!taking_over) {
        return false;
    }
    if (!g_slist_find(lockless, bs)) {
        bdrv_ref(bs);
        lockless = g_slist_append(lockless, bs);
    }
    if (!lock_timer) {
        lock_timer = timer_new_ms(QEMU_CLOCK_REALTIME, disk_lock_again, NULL);
    }
    timer_mod(lock_timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
              DISK_LOCK_MS);
    if (errp && *errp) {
        warn_report_err(*errp);
        *errp = NULL;
    }
    return true;
}

/*
 * Rule 6: in the worker thread, immediately before the system call. The write's
 * position is acknowledged already; position 0 asks for the lease alone.
 */
void lockstep_disk_await_lease(void)
{
    while (lockstep_state() == LOCKSTEP_RECORD && !lockstep_may_release(0)) {
        g_usleep(1000);
    }
}

/* Rule 7: the images become writable here. */
static bool disks_open(void *opaque, Error **errp)
{
    LockstepDisk *s;
    bool ok = true;

    taking_over = true;
    QTAILQ_FOREACH(s, &lockstep_disks, next) {
        Error *err = NULL;

        if (bdrv_activate(blk_bs(s->child), &err) < 0 || err) {
            error_propagate_prepend(errp, err, "disk %s: ", s->id);
            ok = false;
            break;
        }
        if (blk_getlength(s->child) != s->length) {
            error_setg(errp, "disk %s has %" PRId64 " bytes, expected %" PRIu64,
                       s->id, blk_getlength(s->child), s->length);
            ok = false;
            break;
        }
    }
    taking_over = false;
    return ok;
}

/* @e stays, and its data, until all is flushed. */
static void disk_write_one_again(LockstepDisk *s, DiskEnded *e,
                                 DiskOp *outstanding)
{
    DiskOp *op = g_new(DiskOp, 1);

    *op = (DiskOp) {
        .disk = s,
        .kind = e->kind,
        .flags = e->flags,
        .offset = e->offset,
        .bytes = e->bytes,
        .buf = e->buf,
        .ready = true,
        .again = true,
    };
    if (outstanding) {
        QTAILQ_INSERT_BEFORE(outstanding, op, next);
    } else {
        QTAILQ_INSERT_TAIL(&s->ops, op, next);
    }
    s->again++;
}

static unsigned disk_write_all_again(LockstepDisk *s, DiskOp *outstanding)
{
    DiskEnded *e = QTAILQ_FIRST(&s->ended);
    unsigned count = 0;

    while (e) {
        while (e && s->again < DISK_AGAIN_AT_ONCE) {
            disk_write_one_again(s, e, outstanding);
            e = QTAILQ_NEXT(e, next);
            count++;
        }
        lockstep_disk_kick(s);
        AIO_WAIT_WHILE_UNLOCKED(NULL, s->again > 0);
    }
    return count;
}

/* Rule 7: write again what has ended and may be lost, see "Durability". */
static unsigned disk_write_again(LockstepDisk *s)
{
    int64_t begun = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    DiskOp *outstanding = QTAILQ_FIRST(&s->ops);
    unsigned count;
    int ret;

    s->again_until_ms = begun + DISK_AGAIN_MS;
    while ((count = disk_write_all_again(s, outstanding))) {
        /* A flush that fails may have lost what it was to flush. */
        ret = blk_flush(s->child);
        if (ret >= 0) {
            break;
        }
        if (qemu_clock_get_ms(QEMU_CLOCK_REALTIME) >= s->again_until_ms) {
            error_report("disk %s: flush at go-live failed: %s", s->id,
                         strerror(-ret));
            s->lost = true;
            break;
        }
        g_usleep(DISK_AGAIN_PAUSE_US);
    }
    lockstep_disk_durable(s, UINT64_MAX);
    if (count) {
        info_report("disk %s: wrote %u writes again that were not flushed, "
                    "in %" PRId64 " ms", s->id, count,
                    qemu_clock_get_ms(QEMU_CLOCK_REALTIME) - begun);
    }
    return count;
}

static unsigned disks_live(void *opaque)
{
    LockstepDisk *s;
    unsigned count = 0;

    QTAILQ_FOREACH(s, &lockstep_disks, next) {
        count += disk_write_again(s);
    }
    return count;
}

static void disks_go_alone(void *opaque)
{
    LockstepDisk *s;

    QTAILQ_FOREACH(s, &lockstep_disks, next) {
        lockstep_disk_durable(s, UINT64_MAX);
        lockstep_disk_kick(s);
    }
}

LockstepPart lockstep_disk_part = {
    .can_attach = disks_can_attach,
    .start_record = disks_start_record,
    .start_replay = disks_start_replay,
    .probe = disks_probe,
    .open = disks_open,
    .live = disks_live,
    .go_alone = disks_go_alone,
};

/* What virtio-blk would otherwise learn from the image. */
static void disk_fix_conf(BlockConf *conf, BlockBackend *blk, int64_t length)
{
    if (!conf->cyls && !conf->heads && !conf->secs) {
        conf->heads = 16;
        conf->secs = 63;
        conf->cyls = MIN(MAX(length / (512 * 16 * 63), 2), 16383);
    }
    /* The default would stop the guest when the host's disk is full. */
    if (conf->werror == BLOCKDEV_ON_ERROR_AUTO &&
        blk_get_on_error(blk, false) == BLOCKDEV_ON_ERROR_ENOSPC) {
        conf->werror = BLOCKDEV_ON_ERROR_REPORT;
    }
}

bool lockstep_disk_attach(DeviceState *dev, BlockConf *conf, Error **errp)
{
    BlockBackend *blk = conf->blk;
    BlockDriverState *image = blk_bs(blk);
    bool writable = blk_supports_write_perm(blk);
    BlockDriverState *bs;
    LockstepDisk *s;
    uint64_t shared;
    int64_t length;
    int ret;

    if (!lockstep_enabled()) {
        return true;
    }
    if (image->drv == &bdrv_lockstep_disk) {
        return true;
    }
    lockstep_disk_init();

    length = bdrv_getlength(image);
    if (length < 0) {
        error_setg_errno(errp, -length, "cannot get the length of the image");
        return false;
    }

    bs = bdrv_new_open_driver(&bdrv_lockstep_disk, NULL, BDRV_O_NOCACHE |
                              BDRV_O_UNMAP | (writable ? BDRV_O_RDWR : 0),
                              errp);
    if (!bs) {
        return false;
    }
    s = bs->opaque;
    s->device = blk;
    s->writable = writable;
    s->length = length;
    bs->total_sectors = DIV_ROUND_UP(length, BDRV_SECTOR_SIZE);
    s->path = qdev_get_dev_path(dev);
    s->path = s->path ?: g_strdup("");
    s->id = g_strdup(dev->id ?: dev->parent_bus && dev->parent_bus->parent &&
                     dev->parent_bus->parent->id ? dev->parent_bus->parent->id
                                                 : s->path);
    s->source = ft_crc32c(0, s->path, strlen(s->path));

    shared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED |
             BLK_PERM_RESIZE | (conf->share_rw ? BLK_PERM_WRITE : 0);
    s->child = blk_new(qemu_get_aio_context(), BLK_PERM_CONSISTENT_READ |
                       (writable ? BLK_PERM_WRITE : 0), shared);
    blk_set_disable_request_queuing(s->child, true);
    blk_set_force_allow_inactivate(s->child);

    bdrv_ref(image);
    if (blk_replace_bs(blk, bs, errp) < 0) {
        bdrv_unref(image);
        bdrv_unref(bs);
        return false;
    }
    s->attaching = image;
    ret = blk_insert_bs(s->child, image, errp);
    s->attaching = NULL;
    if (ret < 0) {
        blk_replace_bs(blk, image, NULL);
        bdrv_unref(image);
        bdrv_unref(bs);
        return false;
    }
    bdrv_unref(image);
    bdrv_unref(bs);             /* @blk holds it */

    vmstate_register_any(VMSTATE_IF(dev), &vmstate_disk, s);
    disk_fix_conf(conf, blk, length);
    return true;
}
