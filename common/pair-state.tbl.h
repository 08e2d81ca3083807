/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pair-state.tbl.h - the states of a pair, as an operator sees them
 *
 * The states of the two cores (primary/events.tbl.h, backup/events.tbl.h) are
 * each one of these. The agent says them in its status, lockstepd keeps the
 * last one of a pair that is over, the lockstep command prints them.
 */
#ifndef FT_PAIR_STATE_TBL_H
#define FT_PAIR_STATE_TBL_H

/* S(NAME, word, who, meaning): who says it. A host's agent says what its side
 * of the pair is; lockstepd says the rest, where no agent runs. */
#define FT_PAIR_STATES(S)                                                  \
    S(FT_PAIR_ALONE,       "alone",       "agent",                         \
      "the guest runs here by itself, or its QEMU waits for a clone")      \
    S(FT_PAIR_CLONING,     "cloning",     "agent",                         \
      "a replica is being made; the guest runs on")                        \
    S(FT_PAIR_PROTECTED,   "protected",   "agent",                         \
      "outputs leave under the Output Rule; either host may die")          \
    S(FT_PAIR_ARBITRATING, "arbitrating", "agent",                         \
      "the other side is lost, and the arbiter is being asked")            \
    S(FT_PAIR_LIVE,        "live",        "agent",                         \
      "this side has taken over; the guest runs here by itself")           \
    S(FT_PAIR_FENCED,      "fenced",      "agent, lockstepd",              \
      "this side has lost, and runs no more; the guest is the other's")    \
    S(FT_PAIR_DIVERGED,    "diverged",    "agent",                         \
      "the replica differed from the log and was given up")                \
    S(FT_PAIR_ENDED,       "ended",       "agent",                         \
      "the pair is over, or the guest is: its QEMU is no more")            \
    S(FT_PAIR_OFF,         "off",         "lockstepd",                     \
      "it does not run here")                                              \
    S(FT_PAIR_UNKNOWN,     "unknown",     "lockstepd",                     \
      "libvirtd does not answer")

#endif
