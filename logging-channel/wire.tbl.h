/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wire.tbl.h - every byte of the logging channel and of the vmlink
 *
 * This table is the only definition of the format. wire.h makes the structs
 * from it, wire.c the encoder, the strict decoder and the names, and
 * docs/protocol.md its tables. Integers are little-endian. Codes are never
 * reused.
 *
 * LC_MESSAGES(M): M(NAME, name, code) for each message.
 * LC_FIELDS_name(F): F(type, field) in the order of the bytes.
 *
 * Field types:
 *   u8 u16 u32 u64   unsigned integers
 *   id               16 bytes: a VM's uuid, a pair, a nonce
 *   key              32 bytes
 *   str              u8 length, then that many bytes of UTF-8, no NUL
 *   blob             the rest of the message (last field only)
 */
#ifndef LC_WIRE_TBL_H
#define LC_WIRE_TBL_H

#define LC_VERSION 1

/* The frame's header: in front of every message, on the channel, in the
 * heartbeat's datagram and (with position 0) on the vmlink. */
#define LC_FIELDS_frame(F)                                                 \
    F(u32, magic)      /* LC_MAGIC */                                      \
    F(u16, type)       /* a code of LC_MESSAGES */                         \
    F(u16, version)    /* LC_VERSION */                                    \
    F(u32, length)     /* bytes after this header, at most LC_MAX_BODY */  \
    F(u32, reserved)   /* 0 */                                             \
    F(u64, sequence)   /* counts the frames of one direction, from 1 */    \
    F(u64, generation) /* the pair's generation */                         \
    F(id, pair)        /* the pair's random id */
#define LC_MAGIC 0x4b53434cu /* "LCSK" */
#define LC_HEADER_SIZE 48
#define LC_MAX_BODY (16u << 20)

#define LC_MESSAGES(M)                                                     \
    /* between agents, over TLS */                                         \
    M(HELLO,          hello,          0x0001)                              \
    M(WELCOME,        welcome,        0x0002)                              \
    M(REFUSE,         refuse,         0x0003)                              \
    M(ENTRIES,        entries,        0x0010)                              \
    M(ACK,            ack,            0x0011)                              \
    M(LOADED,         loaded,         0x0020)                              \
    M(PROTECTED,      protected,      0x0021)                              \
    M(RELINQUISH,     relinquish,     0x0022)                              \
    M(RELINQUISH_ACK, relinquish_ack, 0x0023)                              \
    M(DIVERGED,       diverged,       0x0024)                              \
    M(END,            end,            0x0025)                              \
    M(CLONE_FAILED,   clone_failed,   0x0026)                              \
    /* between agents, a UDP datagram; a 16-byte MAC follows the body */   \
    M(HEARTBEAT,      heartbeat,      0x0030)                              \
    /* between lockstepds, over TLS: JSON */                               \
    M(REQUEST,        request,        0x0040)                              \
    M(REPLY,          reply,          0x0041)                              \
    /* vmlink: QEMU to agent */                                            \
    M(VL_HELLO,       vl_hello,       0x0080)                              \
    M(VL_CLONED,      vl_cloned,      0x0081)                              \
    M(VL_LOADED,      vl_loaded,      0x0082)                              \
    M(VL_FAILED,      vl_failed,      0x0083)                              \
    M(VL_DISK,        vl_disk,        0x0084)                              \
    M(VL_LIVE,        vl_live,        0x0085)                              \
    M(VL_ALONE,       vl_alone,       0x0086)                              \
    M(VL_DIVERGED,    vl_diverged,    0x0087)                              \
    M(VL_ENDED,       vl_ended,       0x0088)                              \
    M(VL_PROGRESS,    vl_progress,    0x0089)                              \
    /* vmlink: agent to QEMU */                                            \
    M(VL_CLONE,       vl_clone,       0x0090)                              \
    M(VL_INCOMING,    vl_incoming,    0x0091)                              \
    M(VL_CANCEL,      vl_cancel,      0x0092)                              \
    M(VL_PROBE,       vl_probe,       0x0093)                              \
    M(VL_GO_LIVE,     vl_go_live,     0x0094)                              \
    M(VL_GO_ALONE,    vl_go_alone,    0x0095)                              \
    M(VL_FENCE,       vl_fence,       0x0096)

/* HELLO opens a connection; the connecting side sends it. */
#define LC_FIELDS_hello(F)                                                 \
    F(u8, kind)       /* LC_KIND_*: must equal the preamble's */           \
    F(id, vm)         /* the libvirt domain's uuid */                      \
    F(id, nonce)      /* random, this incarnation of the agent */          \
    F(key, hb_key)    /* key of the heartbeat's MAC, for this pair */      \
    F(u16, hb_port)   /* where the sender receives heartbeats */           \
    F(u32, detect_ms)                                                      \
    F(u32, lease_ms)                                                       \
    F(u32, margin_ms)                                                      \
    F(str, host)      /* sender's host name, as in its certificate */
#define LC_FIELDS_welcome(F)                                               \
    F(id, nonce)                                                           \
    F(u16, hb_port)                                                        \
    F(str, host)
#define LC_FIELDS_refuse(F)                                                \
    F(u16, code)                                                           \
    F(str, text)
/* A run of whole batches, as they stand in the ring (see common/ring.h). */
#define LC_FIELDS_entries(F)                                               \
    F(u64, first)     /* position of the first batch */                    \
    F(u64, last)      /* position of the last */                           \
    F(u64, stamp)     /* sender's clock, ns; only echoed, never compared */\
    F(blob, batches)
#define LC_FIELDS_ack(F)                                                   \
    F(u64, position)  /* every batch up to this is in memory */            \
    F(u64, stamp)     /* of the ENTRIES that reached that position; 0 when \
                         the ack does not renew the lease */               \
    F(u64, executed)  /* position that the replica has executed */
#define LC_FIELDS_loaded(F) F(u64, position)
#define LC_FIELDS_protected(F) F(u64, position)
#define LC_FIELDS_relinquish(F) F(u64, position)
#define LC_FIELDS_relinquish_ack(F) F(u64, position)
#define LC_FIELDS_diverged(F) F(u64, position) F(str, text)
#define LC_FIELDS_end(F)                                                   \
    F(u8, reason)     /* enum lc_end_reason */                             \
    F(str, text)
#define LC_FIELDS_clone_failed(F) F(str, text)
#define LC_FIELDS_heartbeat(F)                                             \
    F(u64, number)                                                         \
    F(id, nonce)
#define LC_FIELDS_request(F) F(blob, json)
#define LC_FIELDS_reply(F) F(blob, json)

/* QEMU's greeting on each connection of the vmlink. */
#define LC_FIELDS_vl_hello(F)                                              \
    F(u8, state)      /* LC_VL_NONE, LC_VL_RECORD, LC_VL_REPLAY */         \
    F(u8, incoming)   /* 1: started with -incoming and not yet loaded */   \
    F(u64, position)  /* last batch committed (record) or executed */      \
    F(u32, pid)                                                            \
    F(str, qemu)      /* version and build id; must be equal on both */
/* The clone's stream is complete, the guest runs, recording from batch 1. */
#define LC_FIELDS_vl_cloned(F) F(u64, pause_ns)
/* The replica has loaded the stream and replays. */
#define LC_FIELDS_vl_loaded(F) F(u64, position)
#define LC_FIELDS_vl_failed(F)                                             \
    F(u16, command)   /* the message that failed */                        \
    F(str, text)
#define LC_FIELDS_vl_disk(F) F(u8, ok) F(str, text)
#define LC_FIELDS_vl_live(F) F(u64, position) F(u32, reissued)
#define LC_FIELDS_vl_alone(F) F(u64, position)
#define LC_FIELDS_vl_diverged(F) F(u64, position) F(str, text)
/* The guest powered off (logged: both sides say it, at this position). */
#define LC_FIELDS_vl_ended(F) F(u64, position) F(u8, reason)
/* Clone progress, about every 200 ms. */
#define LC_FIELDS_vl_progress(F) F(u64, sent) F(u64, remaining)

/* path: a UNIX socket on which the agent listens; QEMU connects to it and
 * writes its migration stream. Descriptors: memfd of the ring, then the
 * bells data, space, gate. */
#define LC_FIELDS_vl_clone(F) F(u32, downtime_ms) F(str, path)
/* path: where QEMU shall listen for the stream. Same descriptors. */
#define LC_FIELDS_vl_incoming(F) F(str, path)
#define LC_FIELDS_vl_cancel(F) F(u8, reserved)
#define LC_FIELDS_vl_probe(F) F(u8, reserved)
/* last: position of the last batch received; QEMU executes up to it first. */
#define LC_FIELDS_vl_go_live(F) F(u64, last)
#define LC_FIELDS_vl_go_alone(F) F(u8, reserved)
#define LC_FIELDS_vl_fence(F) F(str, text)

/* In front of TLS, in clear: which listener's child a connection is for. It
 * only routes; nothing is believed until TLS and HELLO said it again. */
#define LC_FIELDS_preamble(F)                                              \
    F(u32, magic)     /* LC_PREAMBLE_MAGIC */                              \
    F(u16, version)                                                        \
    F(u8, kind)                                                            \
    F(u8, reserved)                                                        \
    F(id, vm)
#define LC_PREAMBLE_MAGIC 0x314b534cu /* "LSK1" */
#define LC_PREAMBLE_SIZE 24

enum lc_kind { LC_KIND_LOG = 1, LC_KIND_CLONE = 2, LC_KIND_CONTROL = 3 };
enum lc_vl_state { LC_VL_NONE = 0, LC_VL_RECORD = 1, LC_VL_REPLAY = 2 };
enum lc_end_reason { LC_END_UNPROTECT = 1, LC_END_POWER_OFF = 2 };

#endif
