/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * events.tbl.h - the backup core's states, events, effects and reasons
 *
 * machine.h makes the enums of these lists, names.c the words and the check of
 * which events a driver may raise (common/core.h says how).
 */
#ifndef BAK_EVENTS_TBL_H
#define BAK_EVENTS_TBL_H

/* S(NAME, name, pair): pair is the state that an operator sees, one of
 * common/pair-state.tbl.h. */
#define BAK_STATES(S)                                                      \
    /* No primary has come yet. */                                         \
    S(BAK_ST_WAITING,       "waiting",       FT_PAIR_CLONING)              \
    /* QEMU takes the stream; entries are received and acknowledged.       \
     * Meanwhile the arbiter is made ready for this side. */               \
    S(BAK_ST_LOADING,       "loading",       FT_PAIR_CLONING)              \
    /* The replica executes. It may not contend: the primary still runs    \
     * without our grant. */                                               \
    S(BAK_ST_LOADED,        "loaded",        FT_PAIR_CLONING)              \
    /* PROTECTED was received: may contend when the primary is lost.       \
     * Proves that the disk can be read when the primary grows silent. */  \
    S(BAK_ST_PROTECTED,     "protected",     FT_PAIR_PROTECTED)            \
    /* The primary is lost. Channel closed: nothing more is received or    \
     * acknowledged. Executes what it has, proves that the disk can be     \
     * read unless that was done just before, waits until its promise has  \
     * expired. Never goes back. */                                        \
    S(BAK_ST_SUSPECTING,    "suspecting",    FT_PAIR_ARBITRATING)          \
    /* The test-and-set is under way and is never taken back. */           \
    S(BAK_ST_ARBITRATING,   "arbitrating",   FT_PAIR_ARBITRATING)          \
    /* Won. The old primary is being fenced at the storage, if policy says \
     * so; an unknown result waits. */                                     \
    S(BAK_ST_FENCING_PEER,  "fencing-peer",  FT_PAIR_ARBITRATING)          \
    /* QEMU opens the disks and stops being a replica. */                  \
    S(BAK_ST_GOING_LIVE,    "going-live",    FT_PAIR_ARBITRATING)          \
    /* The only guest. Final: this host's primary core goes on, alone, in  \
     * the same generation. */                                             \
    S(BAK_ST_LIVE,          "live",          FT_PAIR_LIVE)                 \
    /* The replica differs from the log and is being killed; it can never  \
     * go live. RELINQUISH follows when it is reaped. */                   \
    S(BAK_ST_DIVERGED,      "diverged",      FT_PAIR_DIVERGED)             \
    /* The pair is to end; the replica is being killed. RELINQUISH         \
     * follows when it is reaped. */                                       \
    S(BAK_ST_ENDING,        "ending",        FT_PAIR_PROTECTED)            \
    /* RELINQUISH was sent; it will never contend again. */                \
    S(BAK_ST_RELINQUISHING, "relinquishing", FT_PAIR_ENDED)                \
    /* The primary won. The replica is being killed. */                    \
    S(BAK_ST_FENCING,       "fencing",       FT_PAIR_FENCED)               \
    S(BAK_ST_FENCED,        "fenced",        FT_PAIR_FENCED)               \
    /* No replica: the guest powered off, the clone failed, or the pair    \
     * ended. */                                                           \
    S(BAK_ST_ENDED,         "ended",         FT_PAIR_ENDED)

#define BAK_B(state) FT_SET_OF(BAK_ST_##state)
#define BAK_ANY UINT32_MAX
#define BAK_DEAD (BAK_B(DIVERGED) | BAK_B(ENDING) | BAK_B(RELINQUISHING)   \
                  | BAK_B(FENCING) | BAK_B(FENCED) | BAK_B(ENDED))

/*
 * E(NAME, name, states): the states in which the event may come. Events from
 * the peer may come in any; one from our own driver in another state is a bug
 * and traps. BAK_DEAD: an answer that crosses the end is ignored.
 */
#define BAK_EVENTS(E)                                                      \
    /* The primary's HELLO{detect, lease, margin} was accepted and WELCOME \
     * sent. */                                                            \
    E(BAK_EV_CONNECTED,      "connected", BAK_B(WAITING) | BAK_DEAD)       \
    /* From the peer, in the channel's order. HEARD: a valid heartbeat (a  \
     * frame is heard too). ENTRIES{position, stamp}: every batch up to    \
     * position is in the agent's memory. PROTECTED{position}, RELINQUISH, \
     * RELINQUISH_ACK, CLONE_FAILED. END{code}: enum lc_end_reason. CLOSED:\
     * end of file, error or malformed bytes, after all whole frames. */   \
    E(BAK_EV_HEARD,          "heard", BAK_ANY)                             \
    E(BAK_EV_ENTRIES,        "entries", BAK_ANY)                           \
    E(BAK_EV_PROTECTED,      "protected", BAK_ANY)                         \
    E(BAK_EV_RELINQUISH,     "relinquish", BAK_ANY)                        \
    E(BAK_EV_RELINQUISH_ACK, "relinquish-ack", BAK_ANY)                    \
    E(BAK_EV_END,            "end", BAK_ANY)                               \
    E(BAK_EV_CLONE_FAILED,   "clone-failed", BAK_ANY)                      \
    E(BAK_EV_CLOSED,         "closed", BAK_ANY)                            \
    /* From our QEMU. LOADED: VL_LOADED. LOAD_FAILED: VL_FAILED for        \
     * VL_INCOMING. EXECUTED{position}: the replica has executed up to it; \
     * raised when the driver looks and it has moved, and only after all   \
     * that the vmlink held when the page was read. DISK{ok}: VL_DISK.     \
     * WENT_LIVE: VL_LIVE. LIVE_FAILED: VL_FAILED for VL_GO_LIVE.          \
     * DIVERGED: VL_DIVERGED. POWERED_OFF: VL_ENDED. QEMU_DIED: the        \
     * process is gone for certain (its pidfd is readable), raised after   \
     * everything that it said before. */                                  \
    E(BAK_EV_LOADED,         "loaded", BAK_B(LOADING) | BAK_DEAD)          \
    E(BAK_EV_LOAD_FAILED,    "load-failed", BAK_B(LOADING) | BAK_DEAD)     \
    E(BAK_EV_EXECUTED,       "executed", BAK_ANY)                          \
    E(BAK_EV_DISK,           "disk", BAK_ANY)                              \
    E(BAK_EV_WENT_LIVE,      "went-live", BAK_B(GOING_LIVE) | BAK_DEAD)    \
    E(BAK_EV_LIVE_FAILED,    "live-failed", BAK_B(GOING_LIVE) | BAK_DEAD)  \
    E(BAK_EV_DIVERGED,       "diverged", BAK_ANY)                          \
    E(BAK_EV_POWERED_OFF,    "powered-off", BAK_ANY)                       \
    E(BAK_EV_QEMU_DIED,      "qemu-died", BAK_ANY)                         \
    /* PREPARED: answer to PREPARE_TAKE. */                                \
    E(BAK_EV_PREPARED,       "prepared", BAK_ANY)                          \
    /* ARBITRATED{ok}: answer to ARBITRATE; ok: won. An unknown result is  \
     * no answer. PEER_FENCED{ok}: answer to FENCE_PEER; not ok: failed or \
     * unknown. */                                                         \
    E(BAK_EV_ARBITRATED,     "arbitrated", BAK_ANY)                        \
    E(BAK_EV_PEER_FENCED,    "peer-fenced",                                \
                             BAK_B(FENCING_PEER) | BAK_DEAD)               \
    /* This host wants to be rid of its replica (the agent is told to      \
     * quit, the host shuts down). Ignored once it contends. */            \
    E(BAK_EV_GIVE_UP,        "give-up", BAK_ANY)                           \
    /* bak_deadline() has come. Too early or too often does no harm. */    \
    E(BAK_EV_TIMEOUT,        "timeout", BAK_ANY)

/*
 * F(NAME, name): carried out in the order given; each says which event
 * answers it. Fields of struct bak_effect that it uses stand in braces.
 */
#define BAK_EFFECTS(F)                                                     \
    /* VL_INCOMING. -> LOADED or LOAD_FAILED */                            \
    F(BAK_DO_LOAD,                "load")                                  \
    /* One datagram. No answer. */                                         \
    F(BAK_DO_SEND_HEARTBEAT,      "send-heartbeat")                        \
    /* ACK{position, stamp}; the driver adds the executed position. */     \
    F(BAK_DO_SEND_ACK,            "send-ack")                              \
    F(BAK_DO_SEND_LOADED,         "send-loaded")                           \
    F(BAK_DO_SEND_DIVERGED,       "send-diverged")                         \
    F(BAK_DO_SEND_RELINQUISH,     "send-relinquish")                       \
    F(BAK_DO_SEND_RELINQUISH_ACK, "send-relinquish-ack")                   \
    F(BAK_DO_SEND_CLONE_FAILED,   "send-clone-failed")                     \
    /* Flush what was sent (without waiting), close both connections, stop \
     * listening to the peer's heartbeats. What was read but not yet       \
     * raised as ENTRIES is dropped. No event of this channel may be       \
     * raised afterwards, CLOSED neither. */                               \
    F(BAK_DO_CLOSE,               "close")                                 \
    /* VL_PROBE. -> DISK, also when it cannot be sent. One at a time. */   \
    F(BAK_DO_PROBE_DISK,          "probe-disk")                            \
    /* Make at the arbiter what the test-and-set of {generation} needs, so \
     * that it can be made when the storage is full. -> PREPARED */        \
    F(BAK_DO_PREPARE_TAKE,        "prepare-take")                          \
    /* Test-and-set free({generation}) -> owned by us. -> ARBITRATED.      \
     * {relinquished}: it runs beside the go-live, for the record. */      \
    F(BAK_DO_ARBITRATE,           "arbitrate")                             \
    /* Start nothing more at the arbiter; what was started may land. */    \
    F(BAK_DO_STOP_ARBITER,        "stop-arbiter")                          \
    /* As policy says. Policy none: -> PEER_FENCED{ok} at once. */         \
    F(BAK_DO_FENCE_PEER,          "fence-peer")                            \
    /* VL_GO_LIVE{position}. -> WENT_LIVE or LIVE_FAILED */                \
    F(BAK_DO_GO_LIVE,             "go-live")                               \
    /* Go on with pri_init(.., {generation}) on this QEMU. */              \
    F(BAK_DO_BECOME_PRIMARY,      "become-primary")                        \
    /* SIGKILL. -> QEMU_DIED */                                            \
    F(BAK_DO_KILL_QEMU,           "kill-qemu")

/* R(NAME, text): why it came to this state. */
#define BAK_REASONS(R)                                                     \
    R(BAK_WHY_NONE, "")                                                    \
    R(BAK_WHY_LOAD, "QEMU could not take the guest's state")               \
    R(BAK_WHY_CLONE, "the primary gave up the clone")                      \
    R(BAK_WHY_PEER_SILENT, "the primary was not heard in time")            \
    R(BAK_WHY_LOG_SILENT, "the primary's QEMU wrote no log in time")       \
    R(BAK_WHY_PEER_CLOSED, "the channel was closed")                       \
    R(BAK_WHY_PEER_BAD, "the primary sent entries out of order")           \
    R(BAK_WHY_RELINQUISH, "the primary's QEMU died")                       \
    R(BAK_WHY_DIVERGED, "the replica diverged")                            \
    R(BAK_WHY_UNPROTECTED, "the primary ended the pair")                   \
    R(BAK_WHY_GIVEN_UP, "given up by this host")                           \
    R(BAK_WHY_STALLED,  "the replica has not moved for too long")          \
    R(BAK_WHY_LOST, "the primary has won the arbitration")                 \
    R(BAK_WHY_QEMU_DIED, "the replica's QEMU died")                        \
    R(BAK_WHY_POWER_OFF, "the guest powered off")

#endif
