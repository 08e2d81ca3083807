/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * events.tbl.h - the backup core's states, events, effects and reasons
 *
 * machine.h makes the enums from these tables, machine.c the names and the
 * check of which events a driver may raise.
 */
#ifndef BAK_EVENTS_TBL_H
#define BAK_EVENTS_TBL_H

/* S(NAME, name, pair): pair is the state that an operator sees, one of
 * common/pair-state.tbl.h. */
#define BAK_STATES(S)                                                      \
    /* No primary has come yet. */                                         \
    S(WAITING,       "waiting",       CLONING)                             \
    /* QEMU takes the stream; entries are received and acknowledged. */    \
    S(LOADING,       "loading",       CLONING)                             \
    /* The replica executes. It may not contend: the primary still runs    \
     * without our grant. */                                               \
    S(LOADED,        "loaded",        CLONING)                             \
    /* PROTECTED was received: may contend when the primary is lost. */    \
    S(PROTECTED,     "protected",     PROTECTED)                           \
    /* The primary is lost. Channel closed: nothing more is received or    \
     * acknowledged. Executes what it has, proves that the disk can be     \
     * read, waits until its promise has expired. Never goes back. */      \
    S(SUSPECTING,    "suspecting",    ARBITRATING)                         \
    /* The test-and-set is under way and is never taken back. */           \
    S(ARBITRATING,   "arbitrating",   ARBITRATING)                         \
    /* Won. The old primary is being fenced at the storage, if policy says \
     * so; an unknown result waits. */                                     \
    S(FENCING_PEER,  "fencing-peer",  ARBITRATING)                         \
    /* QEMU opens the disks and stops being a replica. */                  \
    S(GOING_LIVE,    "going-live",    ARBITRATING)                         \
    /* The only guest. Final: this host's primary core goes on, alone, in  \
     * the same generation. */                                             \
    S(LIVE,          "live",          LIVE)                                \
    /* The replica differs from the log and is being killed; it can never  \
     * go live. RELINQUISH follows when it is reaped. */                   \
    S(DIVERGED,      "diverged",      DIVERGED)                            \
    /* The pair is to end; the replica is being killed. RELINQUISH         \
     * follows when it is reaped. */                                       \
    S(ENDING,        "ending",        PROTECTED)                           \
    /* RELINQUISH was sent; it will never contend again. */                \
    S(RELINQUISHING, "relinquishing", ENDED)                               \
    /* The primary won. The replica is being killed. */                    \
    S(FENCING,       "fencing",       FENCED)                              \
    S(FENCED,        "fenced",        FENCED)                              \
    /* No replica: the guest powered off, the clone failed, or the pair    \
     * ended. */                                                           \
    S(ENDED,         "ended",         ENDED)

#define BAK_B(state) (UINT32_C(1) << BAK_ST_##state)
#define BAK_ANY UINT32_MAX
#define BAK_DEAD (BAK_B(DIVERGED) | BAK_B(ENDING) | BAK_B(RELINQUISHING)   \
                  | BAK_B(FENCING) | BAK_B(FENCED) | BAK_B(ENDED))

/*
 * E(NAME, name, states): the states in which the event may come. Events from
 * the peer may come in any; one from our own driver in another state is a bug
 * and traps. BAK_DEAD: an answer that crosses the end is ignored.
 */
#define BAK_EVENTS(E)                                                      \
    /* The primary's HELLO was accepted and WELCOME sent. */               \
    E(CONNECTED,      "connected",      BAK_B(WAITING) | BAK_DEAD)         \
    /* From the peer, in the channel's order. HEARD: a valid heartbeat (a  \
     * frame is heard too). ENTRIES{position, stamp}: every batch up to    \
     * position is in the agent's memory. PROTECTED{position}, RELINQUISH, \
     * RELINQUISH_ACK, CLONE_FAILED. END{code}: enum lc_end_reason. CLOSED:\
     * end of file, error or malformed bytes, after all whole frames. */   \
    E(HEARD,          "heard",          BAK_ANY)                           \
    E(ENTRIES,        "entries",        BAK_ANY)                           \
    E(PROTECTED,      "protected",      BAK_ANY)                           \
    E(RELINQUISH,     "relinquish",     BAK_ANY)                           \
    E(RELINQUISH_ACK, "relinquish-ack", BAK_ANY)                           \
    E(END,            "end",            BAK_ANY)                           \
    E(CLONE_FAILED,   "clone-failed",   BAK_ANY)                           \
    E(CLOSED,         "closed",         BAK_ANY)                           \
    /* From our QEMU. LOADED: VL_LOADED. LOAD_FAILED: VL_FAILED for        \
     * VL_INCOMING. EXECUTED{position}: the replica has executed up to it; \
     * raised when it has caught up, else every 100 ms, and only after all \
     * that the vmlink held when the page was read. DISK{ok}: VL_DISK.     \
     * WENT_LIVE: VL_LIVE. LIVE_FAILED: VL_FAILED for VL_GO_LIVE.          \
     * DIVERGED: VL_DIVERGED. POWERED_OFF: VL_ENDED. QEMU_DIED: the        \
     * process is gone for certain (its pidfd is readable), raised after   \
     * everything that it said before. */                                  \
    E(LOADED,         "loaded",         BAK_B(LOADING) | BAK_DEAD)         \
    E(LOAD_FAILED,    "load-failed",    BAK_B(LOADING) | BAK_DEAD)         \
    E(EXECUTED,       "executed",       BAK_ANY)                           \
    E(DISK,           "disk",           BAK_ANY)                           \
    E(WENT_LIVE,      "went-live",      BAK_B(GOING_LIVE) | BAK_DEAD)      \
    E(LIVE_FAILED,    "live-failed",    BAK_B(GOING_LIVE) | BAK_DEAD)      \
    E(DIVERGED,       "diverged",       BAK_ANY)                           \
    E(POWERED_OFF,    "powered-off",    BAK_ANY)                           \
    E(QEMU_DIED,      "qemu-died",      BAK_ANY)                           \
    /* ARBITRATED{ok}: answer to ARBITRATE; ok: won. An unknown result is  \
     * no answer. PEER_FENCED{ok}: answer to FENCE_PEER; not ok: failed or \
     * unknown. */                                                         \
    E(ARBITRATED,     "arbitrated",     BAK_ANY)                           \
    E(PEER_FENCED,    "peer-fenced",    BAK_B(FENCING_PEER) | BAK_DEAD)    \
    /* This host wants to be rid of its replica (the agent is told to      \
     * quit, the host shuts down). Ignored once it contends. */            \
    E(GIVE_UP,        "give-up",        BAK_ANY)                           \
    /* bak_deadline() has come. Too early or too often does no harm. */    \
    E(TIMEOUT,        "timeout",        BAK_ANY)

/*
 * F(NAME, name): carried out in the order given; each says which event
 * answers it. Fields of struct bak_effect that it uses stand in braces.
 */
#define BAK_EFFECTS(F)                                                     \
    /* VL_INCOMING. -> LOADED or LOAD_FAILED */                            \
    F(LOAD,                "load")                                         \
    /* One datagram. No answer. */                                         \
    F(SEND_HEARTBEAT,      "send-heartbeat")                               \
    /* ACK{position, stamp}; the driver adds the executed position. */     \
    F(SEND_ACK,            "send-ack")                                     \
    F(SEND_LOADED,         "send-loaded")                                  \
    F(SEND_DIVERGED,       "send-diverged")                                \
    F(SEND_RELINQUISH,     "send-relinquish")                              \
    F(SEND_RELINQUISH_ACK, "send-relinquish-ack")                          \
    F(SEND_CLONE_FAILED,   "send-clone-failed")                            \
    /* Flush what was sent (without waiting), close both connections, stop \
     * listening to the peer's heartbeats. What was read but not yet       \
     * raised as ENTRIES is dropped. No event of this channel may be       \
     * raised afterwards, CLOSED neither. */                               \
    F(CLOSE,               "close")                                        \
    /* VL_PROBE. -> DISK. No answer counts as not ok. */                   \
    F(PROBE_DISK,          "probe-disk")                                   \
    /* Test-and-set free({generation}) -> owned by us. -> ARBITRATED.      \
     * {relinquished}: it runs beside the go-live, for the record. */      \
    F(ARBITRATE,           "arbitrate")                                    \
    /* Start nothing more at the arbiter; what was started may land. */    \
    F(STOP_ARBITER,        "stop-arbiter")                                 \
    /* As policy says. Policy none: -> PEER_FENCED{ok} at once. */         \
    F(FENCE_PEER,          "fence-peer")                                   \
    /* VL_GO_LIVE{position}. -> WENT_LIVE or LIVE_FAILED */                \
    F(GO_LIVE,             "go-live")                                      \
    /* Go on with pri_init(.., {generation}) on this QEMU. */              \
    F(BECOME_PRIMARY,      "become-primary")                               \
    /* SIGKILL. -> QEMU_DIED */                                            \
    F(KILL_QEMU,           "kill-qemu")

/* R(NAME, text): why it came to this state. */
#define BAK_REASONS(R)                                                     \
    R(NONE,        "")                                                     \
    R(LOAD,        "QEMU could not take the guest's state")                \
    R(CLONE,       "the primary gave up the clone")                        \
    R(PEER_SILENT, "the primary was not heard in time")                    \
    R(LOG_SILENT,  "the primary's QEMU wrote no log in time")              \
    R(PEER_CLOSED, "the channel was closed")                               \
    R(PEER_BAD,    "the primary sent entries out of order")                \
    R(RELINQUISH,  "the primary's QEMU died")                              \
    R(DIVERGED,    "the replica diverged")                                 \
    R(UNPROTECTED, "the primary ended the pair")                           \
    R(GIVEN_UP,    "given up by this host")                                \
    R(LOST,        "the primary has won the arbitration")                  \
    R(QEMU_DIED,   "the replica's QEMU died")                              \
    R(POWER_OFF,   "the guest powered off")

#endif
