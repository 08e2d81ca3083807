/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * keeper-core.h - what is to be done next for a domain that is in a pair
 *
 * Theory of Operation
 *
 * The agents decide a failover; this decides what follows from it on a host:
 * an agent that died is started again while its QEMU lives, a domain that went
 * live is made permanent, a guest that runs alone gets a new backup, and what
 * is over is tidied up. It is pure: the driver (keeper.c) says what it sees,
 * keeper_decide() says the one thing to do now.
 *
 * - It looks at the present alone, so that it may come after a restart of
 *   lockstepd, twice or late. What it remembers is when to try again.
 * - What costs something to find out is asked for: the action is then ASK_x,
 *   and the driver calls again with the answer.
 * - Nothing is changed while a command works on the domain (`busy`).
 * - A pair that was begun and not made, and one that the user has ended, are
 *   over when the guest runs alone and nobody wants a backup: whoever began it,
 *   or ended it, may have died before.
 * - A try that failed comes again: a new backup and an end after 1 s, 2 s, 4 s .. 30 s, an agent that does not start after 1 s.
 *   The reason is told each time (NOTE_FAILURE). The other host's return
 *   (`poked`) ends the wait.
 *
 * paper, 3.1; rule 9
 */
#ifndef KEEPER_CORE_H
#define KEEPER_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/pair-state.h"
#include "common/types.h"

#define KEEPER_BACKOFF_MIN (1000 * FT_NS_PER_MS)
#define KEEPER_BACKOFF_MAX (30000 * FT_NS_PER_MS)

struct keeper_backoff {
    ft_ns at;   /* not before; 0: at once */
    ft_ns wait; /* after the last failure; 0: none */
};

/* All zero at first. */
struct keeper_core {
    struct keeper_backoff backup, tidy, agent;
};

enum keeper_answer { KEEPER_NOT_ASKED, KEEPER_NO, KEEPER_YES };

struct keeper_input {
    ft_ns now;
    /* What this host knows of the domain (vm.h). */
    enum ft_role role;
    bool wanted;  /* the user wants it protected */
    bool stopped; /* the user is just ending the pair */
    bool busy;    /* a command works on it */
    bool unsaved; /* its file could not be written */
    /* What its agent says; MUTE: it has not said anything yet. */
    enum { KEEPER_AGENT_GONE, KEEPER_AGENT_MUTE, KEEPER_AGENT_SAYS } agent;
    enum ft_pair_state state;
    bool unused; /* a replica that nobody has filled */
    /* The new backup that the keeper makes; FAILED is told once. */
    enum { KEEPER_TRY_NONE, KEEPER_TRY_RUNS, KEEPER_TRY_FAILED } try;
    bool poked; /* the other host is back */
    /* Answers, NOT_ASKED at first. */
    enum keeper_answer still_unused; /* ASK_AGENT */
    enum keeper_answer runs;         /* ASK_LIBVIRT: not paused */
    enum keeper_answer qemu;         /* ASK_KERNEL: it is there */
    enum {
        KEEPER_OWNER_NOT_ASKED,
        KEEPER_OWNER_UNKNOWN,
        KEEPER_OWNER_US,
        KEEPER_OWNER_OTHER
    } owner; /* ASK_ARBITER */
};

/* A(NAME, name): those of the first part are answered by calling again. */
#define KEEPER_ACTIONS(A)                                                        \
    /* Write the file again; then unsaved is false in this round. */             \
    A(SAVE, "save")                                                              \
    /* Say why there is no backup; then the try is NONE. */                      \
    A(NOTE_FAILURE, "note-failure")                                              \
    /* Ask the agent itself again: is its replica still unused? */               \
    A(ASK_AGENT, "ask-agent")                                                    \
    /* Does libvirt say that the domain runs? */                                 \
    A(ASK_LIBVIRT, "ask-libvirt")                                                \
    /* Is this domain's QEMU there? */                                           \
    A(ASK_KERNEL, "ask-kernel")                                                  \
    /* Who owns this generation or a later one? */                               \
    A(ASK_ARBITER, "ask-arbiter")                                                \
    /* ---- from here on an action is all for this round ---- */                 \
    A(WAIT, "wait")                                                              \
    /* Remember the pair that the agent says is protected. */                    \
    A(RECORD_PROTECTED, "record-protected")                                      \
    /* It went live: make the domain permanent, this host the primary's. */      \
    A(TAKE_OVER, "take-over")                                                    \
    /* Begin to make a new backup on the last one's host. */                     \
    A(MAKE_BACKUP, "make-backup")                                                \
    /* {destroy} the replica, let the agent quit; then {end}. An agent     \
     * that refuses: keeper_failed(). */     \
    A(TIDY_UP, "tidy-up")                                                        \
    /* No agent is left that could end it: {end}. libvirtd does not answer:    \
     * keeper_failed(). */ \
    A(END_PART, "end-part")                                                      \
    /* When that fails: keeper_failed(). */                                      \
    A(START_AGENT, "start-agent")                                                \
    /* Nothing is left to follow. */                                             \
    A(RESIGN, "resign")

enum keeper_action_kind {
#define A(NAME, name) KEEPER_##NAME,
    KEEPER_ACTIONS(A)
#undef A
        KEEPER_ACTION_COUNT
};

/* What is said of a part that has ended. */
enum keeper_note {
    KEEPER_NOTE_NONE,      /* nothing: who ended it has said why */
    KEEPER_NOTE_REASON,    /* the agent's reason */
    KEEPER_NOTE_REPLICA,   /* ... and that the other host makes another */
    KEEPER_NOTE_FENCED,    /* the guest is the other host's */
    KEEPER_NOTE_ELSEWHERE, /* start it, unless it runs on the other host */
    KEEPER_NOTE_OFF,       /* start it */
};

struct keeper_action {
    enum keeper_action_kind kind;
    bool destroy; /* the replica */
    /* How this host's part ends, where it has one. */
    bool end;
    bool forget;             /* a replica leaves nothing on the disk */
    bool autostart;          /* the guest is this host's: as it was set */
    enum ft_pair_state last; /* to be shown from now on; NONE: nothing */
    enum keeper_note note;
};

struct keeper_action keeper_decide(struct keeper_core *k,
                                   const struct keeper_input *in);
/* The action could not be carried out: not before a while. */
void keeper_failed(struct keeper_core *k, enum keeper_action_kind kind,
                   ft_ns now);
/* Has this host been in a pair with that one, so that it is told when lockstepd
 * is there again? */
bool keeper_announces(uint64_t generation, const char *peer);

const char *keeper_action_name(enum keeper_action_kind kind);

#endif
