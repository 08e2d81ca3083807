/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: what block/lockstep-disk.c (requests) and block/lockstep-image.c
 * (the engine's switches) share.
 */
#ifndef BLOCK_LOCKSTEP_DISK_INTERNAL_H
#define BLOCK_LOCKSTEP_DISK_INTERNAL_H

#include "block/block_int.h"
#include "system/lockstep.h"

typedef enum DiskKind {
    DISK_READ, DISK_WRITE, DISK_ZEROES, DISK_DISCARD, DISK_FLUSH,
} DiskKind;

/* The guest's side of a request: lives on the stack of its coroutine. */
typedef struct DiskWait {
    Coroutine *co;              /* set while it waits */
    QEMUIOVector *qiov;
    size_t qiov_offset;
    int ret;
    bool done;
} DiskWait;

typedef struct LockstepDisk LockstepDisk;

typedef struct DiskOp {
    LockstepRequest req;
    LockstepDisk *disk;
    DiskKind kind;
    BdrvRequestFlags flags;
    int64_t offset;
    int64_t bytes;
    uint8_t *buf;               /* WRITE: its data; READ: only during the I/O */
    uint64_t position;          /* of an output */
    uint64_t covers;            /* FLUSH: writes ended before it */
    DiskWait *wait;             /* NULL: the guest no longer waits */
    bool ready;                 /* the I/O is ours to do */
    bool started;
    bool again;                 /* done again at go-live, not a request */
    QTAILQ_ENTRY(DiskOp) next;  /* in ops */
    QTAILQ_ENTRY(DiskOp) link;  /* in requests */
} DiskOp;

/* A write that has ended but is not known durable. */
typedef struct DiskEnded {
    uint64_t number;
    DiskKind kind;
    BdrvRequestFlags flags;
    int64_t offset;
    int64_t bytes;
    uint8_t *buf;               /* only in a replica */
    QTAILQ_ENTRY(DiskEnded) next;
} DiskEnded;

struct LockstepDisk {
    BlockDriverState *bs;
    BlockBackend *child;
    BlockBackend *device;       /* not owned: it owns us */
    BlockDriverState *attaching; /* the image, until @child has it */
    bool writable;
    int fd;                     /* file-posix's of a writable image, or -1 */
    char *id;
    char *path;                 /* qdev path: the same on both sides */
    uint32_t source;
    uint64_t length;
    uint64_t stream_length;     /* these two: in the clone's stream */
    bool wce;

    QTAILQ_HEAD(, DiskOp) ops;  /* whose I/O is not done, in order */
    QTAILQ_HEAD(, DiskOp) requests; /* that have not ended */
    bool kicking, kick_again;
    unsigned again;             /* ops with again set */
    int64_t again_until_ms;     /* REALTIME: until then they are tried */
    bool lost;                  /* one failed: flushes fail for good */

    QTAILQ_HEAD(, DiskEnded) ended;
    int64_t ended_bytes;
    uint64_t ended_count;       /* of all writes ever ended */
    bool flushing;              /* a flush of our own is under way */

    QTAILQ_ENTRY(LockstepDisk) next;
};

typedef QTAILQ_HEAD(LockstepDisks, LockstepDisk) LockstepDisks;
extern LockstepDisks lockstep_disks;
extern BlockDriver bdrv_lockstep_disk;

/* lockstep-disk.c */

/* Hook up with the engine, once. */
void lockstep_disk_init(void);
/* Start what may start. Any thread with the BQL. */
void lockstep_disk_kick(LockstepDisk *s);
/* Writes up to number @up_to are durable. */
void lockstep_disk_durable(LockstepDisk *s, uint64_t up_to);

/* lockstep-image.c */

extern LockstepPart lockstep_disk_part;
void lockstep_disk_closed(LockstepDisk *s);

#endif
