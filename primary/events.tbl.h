/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * events.tbl.h - the primary core's states, events, effects and reasons
 *
 * machine.h makes the enums of these lists, names.c the words and the check of
 * which events a driver may raise (common/core.h says how).
 */
#ifndef PRI_EVENTS_TBL_H
#define PRI_EVENTS_TBL_H

/* S(NAME, name, pair): pair is the state that an operator sees, one of
 * common/pair-state.tbl.h. */
#define PRI_STATES(S)                                                      \
    /* The guest runs by itself. The gate is free. PROTECT may begin. */   \
    S(PRI_ST_ALONE,         "alone",         FT_PAIR_ALONE)                \
    /* The channel is being opened. QEMU knows nothing yet; gate free. */  \
    S(PRI_ST_CONNECTING,    "connecting",    FT_PAIR_CLONING)              \
    /* QEMU copies its state; from CLONED on it records. Gate free: the    \
     * backup may not contend, so outputs need no one's leave. Meanwhile   \
     * the arbiter is made ready for both sides. */                        \
    S(PRI_ST_CLONING,       "cloning",       FT_PAIR_CLONING)              \
    /* The clone was given up before it was complete; QEMU has not yet     \
     * said how that ended. Gate free. */                                  \
    S(PRI_ST_CANCELLING,    "cancelling",    FT_PAIR_ALONE)                \
    /* Gate shut. Waits until all that was released is acknowledged; what  \
     * is held from here to ANNOUNCING is bounded by timing.hold. */       \
    S(PRI_ST_DRAINING,      "draining",      FT_PAIR_CLONING)              \
    /* Gate shut. free(next) is being written. The last state that can go  \
     * back to ALONE without an arbitration. */                            \
    S(PRI_ST_FREEING,       "freeing",       FT_PAIR_CLONING)              \
    /* PROTECTED was sent, so the arbitration of this generation binds us; \
     * gate under the rule. Not yet reported as protected: the backup has  \
     * not shown that it received it. */                                   \
    S(PRI_ST_ANNOUNCING,    "announcing",    FT_PAIR_CLONING)              \
    /* Both sides know. Outputs leave under the Output Rule. */            \
    S(PRI_ST_PROTECTED,     "protected",     FT_PAIR_PROTECTED)            \
    /* The pair ends with the backup's consent (unprotect, divergence):    \
     * waits, bounded, for its RELINQUISH. Gate under the rule. */         \
    S(PRI_ST_ENDING,        "ending",        FT_PAIR_PROTECTED)            \
    /* The guest powered off; waits until the backup has that entry. */    \
    S(PRI_ST_POWERING_OFF,  "powering-off",  FT_PAIR_PROTECTED)            \
    /* Gate shut. Our QEMU does not work (it has no agent, or writes no    \
     * log), so we contend only when a healthy backup would have won. */   \
    S(PRI_ST_SUSPECTING,    "suspecting",    FT_PAIR_ARBITRATING)          \
    /* Gate shut. An orphan makes sure that free(g) is on record. */       \
    S(PRI_ST_RECLAIMING,    "reclaiming",    FT_PAIR_ARBITRATING)          \
    /* Gate shut. The test-and-set for this generation is under way and is \
     * never taken back. */                                                \
    S(PRI_ST_ARBITRATING,   "arbitrating",   FT_PAIR_ARBITRATING)          \
    /* Granted (or never bound): QEMU was told to go on by itself. */      \
    S(PRI_ST_GOING_ALONE,   "going-alone",   FT_PAIR_ALONE)                \
    /* Our QEMU is dead and reaped: the backup may go live at once. */     \
    S(PRI_ST_RELINQUISHING, "relinquishing", FT_PAIR_FENCED)               \
    /* The backup won. QEMU is being killed; it never resumes. */          \
    S(PRI_ST_FENCING,       "fencing",       FT_PAIR_FENCED)               \
    S(PRI_ST_FENCED,        "fenced",        FT_PAIR_FENCED)               \
    /* The guest is no more: powered off, or its QEMU died. */             \
    S(PRI_ST_ENDED,         "ended",         FT_PAIR_ENDED)

#define PRI_B(state) FT_SET_OF(PRI_ST_##state)
#define PRI_ANY UINT32_MAX

/*
 * E(NAME, name, states): the states in which the event may come. Events from
 * the peer may come in any (what they say is ignored where it means nothing);
 * one from our own driver in another state is a bug and traps.
 */
#define PRI_EVENTS(E)                                                      \
    /* Commands. PROTECT{generation}: the new pair's, above p->highest     \
     * (else it is refused: reason GENERATION). ORPHAN{generation}: first  \
     * event of an agent that found its QEMU recording for generation. */  \
    E(PRI_EV_PROTECT,        "protect", PRI_B(ALONE))                      \
    E(PRI_EV_UNPROTECT,      "unprotect", PRI_ANY)                         \
    E(PRI_EV_ORPHAN,         "orphan", PRI_B(ALONE))                       \
    /* Answers to CONNECT. WELCOMED: the log's connection is open, and the \
     * backup listens for heartbeats from now on. CONNECTED: both          \
     * connections are. Or it failed or was refused. */                    \
    E(PRI_EV_WELCOMED,       "welcomed",       PRI_B(CONNECTING))          \
    E(PRI_EV_CONNECTED,      "connected", PRI_B(CONNECTING))               \
    E(PRI_EV_CONNECT_FAILED, "connect-failed", PRI_B(CONNECTING))          \
    /* From the peer, in the channel's order. HEARD: a valid heartbeat (a  \
     * frame is heard too, without this event). ACK{position, stamp}.      \
     * CLOSED: end of file, error or malformed bytes on the channel. */    \
    E(PRI_EV_HEARD,          "heard", PRI_ANY)                             \
    E(PRI_EV_LOADED,         "loaded", PRI_ANY)                            \
    E(PRI_EV_ACK,            "ack", PRI_ANY)                               \
    E(PRI_EV_RELINQUISH,     "relinquish", PRI_ANY)                        \
    E(PRI_EV_RELINQUISH_ACK, "relinquish-ack", PRI_ANY)                    \
    E(PRI_EV_DIVERGED,       "diverged", PRI_ANY)                          \
    E(PRI_EV_END,            "end", PRI_ANY)                               \
    E(PRI_EV_CLONE_FAILED,   "clone-failed", PRI_ANY)                      \
    E(PRI_EV_CLOSED,         "closed", PRI_ANY)                            \
    /* From our QEMU. LOG{position}: it has committed batches up to        \
     * position. CLONED: VL_CLONED. CLONE_STOPPED: VL_FAILED for VL_CLONE  \
     * (failed, or cancelled). SHUT{position}: answer to SHUT_GATE: the    \
     * highest position to which an output that has left may be bound. As  \
     * the open batch counts, that is the committed position, read after   \
     * the gate word was stored, plus one. WENT_ALONE: VL_ALONE.           \
     * POWERED_OFF{position}: VL_ENDED. QEMU_DIED: the process is gone for \
     * certain (its pidfd is readable), raised after everything that it    \
     * said before. */                                                     \
    E(PRI_EV_LOG,            "log", PRI_ANY)                               \
    E(PRI_EV_CLONED,         "cloned", PRI_B(CLONING) | PRI_B(CANCELLING)  \
                                        | PRI_B(ENDED))                    \
    E(PRI_EV_CLONE_STOPPED,  "clone-stopped",                              \
                             PRI_B(CLONING) | PRI_B(CANCELLING)            \
                                        | PRI_B(ENDED))                    \
    E(PRI_EV_SHUT,           "shut", PRI_ANY)                              \
    E(PRI_EV_WENT_ALONE,     "went-alone",                                 \
                             PRI_B(GOING_ALONE) | PRI_B(ENDED))            \
    E(PRI_EV_POWERED_OFF,    "powered-off", PRI_ANY)                       \
    E(PRI_EV_QEMU_DIED,      "qemu-died", PRI_ANY)                         \
    /* From the arbiter. PREPARED{generation}: answer to PREPARE_TAKE.     \
     * FREED{generation, ok}: answer to WRITE_FREE; not                    \
     * ok: another record stands there. ARBITRATED{generation, ok}: answer \
     * to ARBITRATE; ok: won. An unknown result is no answer: the driver   \
     * tries again for ever. */                                            \
    E(PRI_EV_PREPARED,       "prepared", PRI_ANY)                          \
    E(PRI_EV_FREED,          "freed", PRI_ANY)                             \
    E(PRI_EV_ARBITRATED,     "arbitrated", PRI_ANY)                        \
    /* pri_deadline() has come. Too early or too often does no harm. */    \
    E(PRI_EV_TIMEOUT,        "timeout", PRI_ANY)

/*
 * F(NAME, name): carried out in the order given; each says which event
 * answers it. Fields of struct pri_effect that it uses stand in braces.
 */
#define PRI_EFFECTS(F)                                                     \
    /* Open both connections to the peer and say HELLO for {generation}.   \
     * Bounded by the driver. -> WELCOMED and CONNECTED, or CONNECT_FAILED \
     */                                                                    \
    F(PRI_DO_CONNECT,             "connect")                               \
    /* VL_CLONE for {generation}; relay its stream. -> CLONED or           \
     * CLONE_STOPPED */                                                    \
    F(PRI_DO_START_CLONE,         "start-clone")                           \
    /* VL_CANCEL. -> CLONE_STOPPED, or CLONED when it came too late */     \
    F(PRI_DO_CANCEL_CLONE,        "cancel-clone")                          \
    /* One datagram. No answer. */                                         \
    F(PRI_DO_SEND_HEARTBEAT,      "send-heartbeat")                        \
    /* ENTRIES up to {position} with {stamp}. While the channel is full    \
     * the driver keeps only the latest position and stamp. No answer. */  \
    F(PRI_DO_SEND_ENTRIES,        "send-entries")                          \
    /* Store SHUT in the gate word now, then -> SHUT. */                   \
    F(PRI_DO_SHUT_GATE,           "shut-gate")                             \
    /* Make at the arbiter what the test-and-set of {generation} needs, so \
     * that it can be made when the storage is full. -> PREPARED */        \
    F(PRI_DO_PREPARE_TAKE,        "prepare-take")                          \
    /* Put free({generation}) on record. -> FREED. Replaces what the       \
     * arbiter was asked before. */                                        \
    F(PRI_DO_WRITE_FREE,          "write-free")                            \
    /* Message PROTECTED{position}, or a lower one when the driver has not \
     * sent all entries yet. No answer. */                                 \
    F(PRI_DO_SEND_PROTECTED,      "send-protected")                        \
    /* Store {position} as acked, {lease_until}, then RULE as the gate. */ \
    F(PRI_DO_OPEN_GATE,           "open-gate")                             \
    /* Store {position} as acked and {lease_until}; gate as it is. */      \
    F(PRI_DO_RELEASE,             "release")                               \
    /* Test-and-set free({generation}) -> owned by us. -> ARBITRATED.      \
     * Replaces what the arbiter was asked before. */                      \
    F(PRI_DO_ARBITRATE,           "arbitrate")                             \
    /* Start nothing more at the arbiter; what was started may land. */    \
    F(PRI_DO_STOP_ARBITER,        "stop-arbiter")                          \
    /* VL_GO_ALONE: record no more, release all. -> WENT_ALONE */          \
    F(PRI_DO_GO_ALONE,            "go-alone")                              \
    /* VL_FENCE, and SIGKILL at once. -> QEMU_DIED */                      \
    F(PRI_DO_FENCE,               "fence")                                 \
    /* Messages on the channel; {position}, {code} (enum                   \
     * lc_end_reason). */                                                  \
    F(PRI_DO_SEND_RELINQUISH,     "send-relinquish")                       \
    F(PRI_DO_SEND_RELINQUISH_ACK, "send-relinquish-ack")                   \
    F(PRI_DO_SEND_END,            "send-end")                              \
    F(PRI_DO_SEND_CLONE_FAILED,   "send-clone-failed")                     \
    /* Flush what was sent (without waiting), close both connections, stop \
     * listening to the peer's heartbeats, read the ring no more. No event \
     * of this channel may be raised afterwards, CLOSED neither. */        \
    F(PRI_DO_CLOSE,               "close")

/* R(NAME, text): why the pair is not protected. */
#define PRI_REASONS(R)                                                     \
    R(PRI_WHY_NONE, "")                                                    \
    R(PRI_WHY_CONNECT,                                                     \
      "the backup's host could not be reached or refused")                 \
    R(PRI_WHY_CLONE, "copying the guest's state failed")                   \
    R(PRI_WHY_LOAD, "the backup could not take the guest's state")         \
    R(PRI_WHY_PEER_SILENT, "the backup was not heard in time")             \
    R(PRI_WHY_PEER_CLOSED, "the channel was closed")                       \
    R(PRI_WHY_PEER_BAD, "the backup acknowledged what was never sent")     \
    R(PRI_WHY_PEER_GONE, "the backup gave up its copy")                    \
    R(PRI_WHY_DIVERGED, "the backup diverged")                             \
    R(PRI_WHY_UNPROTECTED, "unprotected by command")                       \
    R(PRI_WHY_ARBITER, "the arbiter did not answer in time")               \
    R(PRI_WHY_GENERATION,                                                  \
      "the arbiter holds this generation or a higher one")                 \
    R(PRI_WHY_DRAIN, "the backup did not acknowledge in time")             \
    R(PRI_WHY_ORPHAN,                                                      \
      "the agent was restarted while the pair was protected")              \
    R(PRI_WHY_LOST, "the backup has won the arbitration")                  \
    R(PRI_WHY_QEMU_DIED, "QEMU died")                                      \
    R(PRI_WHY_POWER_OFF, "the guest powered off")

#endif
