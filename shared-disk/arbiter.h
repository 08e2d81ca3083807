/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * arbiter.h - the test-and-set on shared storage: a pure core
 *
 * Theory of Operation
 *
 * One record per VM says which generation it is in and whether that one is
 * free or owned (block.tbl.h has its bytes). One struct tas carries one
 * operation at a time to its end:
 *
 *   TAS_OP_FREE  put free(g) on record. Answers DONE, or TAKEN when a record
 *                of g or above stands there that is not our free(g).
 *   TAS_OP_TAKE  free(g) -> owned(g, me). Answers WON or LOST.
 *   TAS_OP_PREPARE  make what TAKE of g needs, so that a storage that is full
 *                by then does not stand in its way. Answers DONE.
 *
 * There is no other answer: an error, a time-out, an absent or an old record
 * is *unknown*, and it is tried again for ever. Every attempt begins with a
 * read, and the write that follows compares with exactly what was read.
 *
 * The driver carries out effects one after the other (it may have a thread
 * that hangs in one: the next one then waits for it), and answers each with
 * its number. Answers to numbers that are no longer awaited are ignored here,
 * so it need not cancel anything. A back end that has several files tells the
 * record with the highest generation, owned above free.
 */
#ifndef TAS_ARBITER_H
#define TAS_ARBITER_H

#include "common/core.h"

/* clang-format off */
/* S(NAME, name) */
#define TAS_STATES(S)                                                      \
    S(TAS_ST_IDLE,    "idle")    /* no operation; starts nothing */        \
    S(TAS_ST_READING, "reading") /* a read is awaited */                   \
    S(TAS_ST_TRYING,  "trying")  /* a compare-and-write is awaited: may    \
                                    land late */                           \
    S(TAS_ST_PREPARING, "preparing") /* an answer to PREPARE is awaited */ \
    S(TAS_ST_PAUSING, "pausing") /* unknown: reads again at `until` */     \
    S(TAS_ST_OVER,    "over")    /* RESULT was given */

/* E(NAME). BEGIN comes from the owner, the others from the back end
 * and the clock. */
#define TAS_EVENTS(E)                                                      \
    E(TAS_EV_BEGIN)   /* {op, generation}: drops what was under way */     \
    E(TAS_EV_STOP)    /* drops it; a write may still land */               \
    E(TAS_EV_READ)    /* {number, status, seen}: answers DO_READ */        \
    E(TAS_EV_WROTE)   /* {number, status}: answers DO_WRITE */             \
    E(TAS_EV_PREPARED) /* {number, status}: answers DO_PREPARE */          \
    E(TAS_EV_TIMEOUT) /* tas_deadline() has come */

/* F(NAME, name) */
#define TAS_EFFECTS(F)                                                     \
    /* Read the VM's record. -> READ */                                    \
    F(TAS_DO_READ,   "read")                                               \
    /* Atomically: when the record still is {expect}, replace it by        \
     * {desired, generation} for this pair. -> WROTE */                    \
    F(TAS_DO_WRITE,  "write")                                              \
    /* Make what TAKE of {generation} needs. -> PREPARED */                \
    F(TAS_DO_PREPARE, "prepare")                                           \
    /* The operation's {result}. */                                        \
    F(TAS_DO_RESULT, "result")
/* clang-format on */

enum tas_state { TAS_STATES(FT_NAME) TAS_ST_COUNT };
enum tas_event_kind { TAS_EVENTS(FT_NAME) TAS_EV_COUNT };
enum tas_effect_kind { TAS_EFFECTS(FT_NAME) TAS_DO_COUNT };

enum tas_op { TAS_OP_NONE, TAS_OP_FREE, TAS_OP_TAKE, TAS_OP_PREPARE };
enum tas_status {
    TAS_OK,         /* done for certain */
    TAS_MISCOMPARE, /* WRITE: the record is another; nothing was written */
    TAS_UNKNOWN,    /* error, time-out, cut connection: may have landed */
};
/* What the storage holds, positively read. ABSENT: the store answered that
 * it has no record of this VM; a store that is not there is TAS_UNKNOWN. */
enum tas_kind { TAS_ABSENT, TAS_FREE, TAS_OWNED };
struct tas_record {
    enum tas_kind kind;
    bool mine;           /* OWNED: by this side of the pair, whichever agent
                            asked for it */
    bool same_pair;      /* the record's pair id is ours */
    uint64_t generation; /* 0 when absent */
};
enum tas_result {
    TAS_RES_NONE,
    TAS_RES_DONE,
    TAS_RES_TAKEN,
    TAS_RES_WON,
    TAS_RES_LOST,
};

struct tas_event {
    enum tas_event_kind kind;
    ft_ns now;
    enum tas_op op;         /* BEGIN */
    uint64_t generation;    /* BEGIN */
    uint32_t number;        /* READ, WROTE, PREPARED */
    enum tas_status status; /* READ, WROTE, PREPARED */
    struct tas_record seen; /* READ with TAS_OK */
};

struct tas_effect {
    enum tas_effect_kind kind;
    uint32_t number;          /* READ, WRITE, PREPARE */
    struct tas_record expect; /* WRITE: what the last READ told */
    enum tas_kind desired;  /* FREE, or OWNED by me. READ: what is sought; it
                                 counts when it is lasting. WRITE */
    uint64_t generation;    /* WRITE, PREPARE */
    enum tas_result result; /* RESULT */
};

#define TAS_UPDATE_MAX 2
struct tas_update {
    unsigned count;
    struct tas_effect effect[TAS_UPDATE_MAX];
};

struct tas_timing {
    ft_ns io;    /* a back end that is silent for this long: unknown */
    ft_ns retry; /* pause before the next attempt */
};
#define TAS_TIMING_DEFAULT                                                   \
    ((struct tas_timing){ .io = 1000 * FT_NS_PER_MS,                         \
                          .retry = 50 * FT_NS_PER_MS })

struct tas {
    struct tas_timing timing;
    enum tas_state state;
    enum tas_op op;
    enum tas_result result; /* of the last operation */
    uint64_t generation;
    uint64_t highest;  /* generation ever seen: a lower one is stale */
    uint32_t number;   /* of the last effect */
    uint32_t attempts; /* of this operation, for messages */
    ft_ns until;
};

void tas_init(struct tas *t, const struct tas_timing *timing);
void tas_step(struct tas *t, const struct tas_event *ev,
              struct tas_update *up);
/* When to send TIMEOUT; FT_NEVER: no need. */
ft_ns tas_deadline(const struct tas *t);
/* NULL, or the sentence that is false. */
const char *tas_invariant(const struct tas *t);

const char *tas_effect_name(enum tas_effect_kind k);
const char *tas_result_name(enum tas_result r);

#endif
