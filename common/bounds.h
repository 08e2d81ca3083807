/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bounds.h - how much log may wait, and where (paper, 3.2; rule 10)
 *
 * The places in the order in which the log passes them:
 *
 *   where                                at most         when it is full
 *   primary's QEMU -> agent: the ring    FT_LOG_RING      64 MiB  the guest
 *                                        stops until there is room
 *   primary's agent -> the channel       FT_LOG_QUEUE      8 MiB  the agent
 *                                        leaves the log in the ring
 *   backup's agent: memory               FT_LOG_WINDOW    64 MiB  the agent
 *                                        reads no more from the channel
 *   backup's agent -> QEMU: the ring     FT_LOG_RING      64 MiB  the agent
 *                                        keeps the log in memory
 *   together                             FT_LOG_SUM      200 MiB
 *
 * So the primary's host gives 72 MiB for a pair, the backup's 128 MiB, and
 * what is on its way between two of the places comes on top: a batch
 * (FT_BATCH_MAX, 8 MiB), a frame at each end of the channel (LC_MAX_BODY,
 * 16 MiB). Outputs that wait for the log's acknowledgement are bounded by
 * themselves: FT_HELD_MAX, 32 MiB; over it the guest stops, too.
 */
#ifndef FT_BOUNDS_H
#define FT_BOUNDS_H

#define FT_LOG_RING (64u << 20)
#define FT_LOG_QUEUE (8u << 20)
#define FT_LOG_WINDOW (64u << 20)
#define FT_LOG_SUM (FT_LOG_RING + FT_LOG_QUEUE + FT_LOG_WINDOW + FT_LOG_RING)
#define FT_HELD_MAX (32u << 20)

_Static_assert(FT_LOG_SUM == 200u << 20, "the sum above");

#endif
