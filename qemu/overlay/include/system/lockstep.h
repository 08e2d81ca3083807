/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: what the rest of QEMU may ask of the replay engine.
 *
 * Roles of a QEMU that has "-object lockstep,id=...,path=SOCKET":
 *   NONE    an ordinary guest; nothing is logged, outputs flow
 *   RECORD  every nondeterministic event goes into the open batch
 *   REPLAY  events come from the log; no I/O, outputs are swallowed
 * A switch happens in the main loop with all vCPUs paused, replay mutex and
 * BQL held.
 */
#ifndef SYSTEM_LOCKSTEP_H
#define SYSTEM_LOCKSTEP_H

#include "qemu/notify.h"
#include "qemu/queue.h"

typedef enum LockstepState {
    LOCKSTEP_NONE, LOCKSTEP_RECORD, LOCKSTEP_REPLAY,
} LockstepState;

/* True once -object lockstep was seen; constant afterwards. */
bool lockstep_enabled(void);
LockstepState lockstep_state(void);

/*
 * Output Rule. An output that the guest makes now, on the vCPU thread or in a
 * replayed event, is bound to the position of the open batch. Calling it asks
 * for an early commit (the slice ends soon). RECORD only; else returns 0.
 */
uint64_t lockstep_output_position(void);
/* May an output bound to @position leave now? Reads the shared page (gate,
 * acked, lease). Always true in NONE with an open gate. Any thread. */
bool lockstep_may_release(uint64_t position);
/* Called with the BQL held, *without* the replay mutex, on the release thread,
 * whenever the gate page changed or a lease or role changed. Callbacks release
 * what they may and must not touch guest state. */
void lockstep_add_release_notifier(Notifier *n);
/* Bound on held outputs (bytes, all holders together). Over the bound the vCPU
 * stops at its loop top until enough was released. */
void lockstep_held_add(int64_t bytes);

typedef enum LockstepOutput {
    LOCKSTEP_OUT_PACKET, LOCKSTEP_OUT_WRITE, LOCKSTEP_OUT_CONSOLE,
} LockstepOutput;
/*
 * Record or check one output: RECORD writes {kind, source, length, crc32c} into
 * the log; REPLAY reads that entry and compares, and reports a divergence when
 * it differs. NONE: nothing. Call at the (deterministic) point where the guest
 * makes the output, before lockstep_output_position().
 */
void lockstep_output(LockstepOutput kind, uint32_t source,
                     const void *buf, size_t length);
/* The same for scattered data whose crc32c the caller has computed. */
void lockstep_output_crc(LockstepOutput kind, uint32_t source,
                         uint64_t length, uint32_t crc);

/* The replica differs from the log: stop replaying for good and tell the
 * agent. In RECORD or NONE this is a bug and aborts. */
void G_GNUC_PRINTF(1, 2) lockstep_diverged(const char *fmt, ...);

/*
 * Work with a result that the log supplies (disk requests). Begin at a
 * deterministic point; ids are equal on both sides.
 *   RECORD, NONE: the owner does the work and calls lockstep_request_done()
 *     from the main loop. NONE runs ->run from there; RECORD queues it, and the
 *     vCPU's loop top writes {id, payload} and calls ->run.
 *   REPLAY: the owner does nothing. When the entry arrives ->run is called at
 *     the same instruction with the logged payload.
 *   Go-live: for each request still waiting, in order of id, ->reissue is
 *     called (state NONE by then); the owner does the work and calls done().
 * @data is valid during ->run only.
 */
typedef struct LockstepRequest LockstepRequest;
struct LockstepRequest {
    void (*run)(LockstepRequest *req, const uint8_t *data, size_t length);
    void (*reissue)(LockstepRequest *req);
    uint64_t id;
    QTAILQ_ENTRY(LockstepRequest) next;
};
void lockstep_request_begin(LockstepRequest *req);
/* The payload is copied. */
void lockstep_request_done(LockstepRequest *req, const void *payload,
                           size_t length);

/*
 * A part with state of its own in a switch. All run in the main loop, vCPUs
 * paused, replay mutex and BQL held; NULL members are skipped.
 */
typedef struct LockstepPart {
    /* May a clone start? Refuse with a reason that an operator understands. */
    bool (*can_attach)(void *opaque, Error **errp);
    void (*start_record)(void *opaque);           /* NONE -> RECORD */
    void (*start_replay)(void *opaque);           /* incoming -> REPLAY */
    /* REPLAY: can everything be opened that go-live needs? A real read. */
    bool (*probe)(void *opaque, Error **errp);
    /* Go-live, still REPLAY: open the disks. Failure leaves REPLAY. */
    bool (*open)(void *opaque, Error **errp);
    /* Go-live, now NONE: before requests are reissued. Returns how many
     * completed but not durable writes were reissued. */
    unsigned (*live)(void *opaque);
    void (*go_alone)(void *opaque);               /* RECORD -> NONE */
    void (*announce)(void *opaque);               /* after go-live: MAC etc. */
    void *opaque;
    QTAILQ_ENTRY(LockstepPart) next;
} LockstepPart;
void lockstep_register_part(LockstepPart *part);

/* Trace of (CLOCK_MONOTONIC ns, kind, source, position) at the moment an
 * output left, when -object lockstep has trace=FILE. */
void lockstep_trace_output(LockstepOutput kind, uint32_t source,
                           uint64_t position, uint64_t length);

#endif
