/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cases.tbl.h - each event of the primary, in the variants whose answers differ
 *
 * C(VARIANT, EVENT, fields): what the event says, m being the core in its
 * typical state (test-machine.c), which it is in at the time NOW. Read by
 * tests/common/machine-table.h and docs/print-transitions.c.
 */
#define CASES(C)                                                           \
    C(PROTECT, PROTECT, .generation = m->highest + 1)                      \
    C(PROTECT_OLD, PROTECT, .generation = m->highest)                      \
    C(UNPROTECT, UNPROTECT, .ok = true)                                    \
    C(ORPHAN, ORPHAN, .generation = 9)                                     \
    C(WELCOMED, WELCOMED, .ok = true)                                      \
    C(CONNECTED, CONNECTED, .ok = true)                                    \
    C(CONNECT_FAILED, CONNECT_FAILED, .ok = true)                          \
    C(HEARD, HEARD, .ok = true)                                            \
    C(LOADED, LOADED, .position = 3)                                       \
    C(ACK_OLD, ACK, .position = m->acked)                                  \
    C(ACK, ACK, .position = m->sent)                                       \
    C(ACK_RENEWS, ACK, .position = m->sent, .stamp = m->stamp)             \
    C(ACK_UNSENT, ACK, .position = m->sent + 1, .stamp = m->stamp)         \
    C(ACK_FUTURE, ACK, .position = m->sent, .stamp = m->stamp + 1)         \
    C(RELINQUISH, RELINQUISH, .position = 3)                               \
    C(RELINQUISH_ACK, RELINQUISH_ACK, .position = 3)                       \
    C(DIVERGED, DIVERGED, .position = 3)                                   \
    C(END, END, .position = 3)                                             \
    C(CLONE_FAILED, CLONE_FAILED, .position = 3)                           \
    C(CLOSED, CLOSED, .ok = true)                                          \
    C(LOG_OLD, LOG, .position = m->sent)                                   \
    C(LOG, LOG, .position = m->sent + 1)                                   \
    C(CLONED, CLONED, .ok = true)                                          \
    C(CLONE_STOPPED, CLONE_STOPPED, .ok = true)                            \
    C(SHUT, SHUT, .position = m->sent + 1)                                 \
    C(WENT_ALONE, WENT_ALONE, .ok = true)                                  \
    C(POWERED_OFF, POWERED_OFF, .position = m->sent)                       \
    C(QEMU_DIED, QEMU_DIED, .ok = true)                                    \
    C(PREPARED, PREPARED, .ok = true,                                      \
      .generation = m->next ? m->next : m->generation)                     \
    C(FREED, FREED, .ok = true,                                            \
      .generation = m->next ? m->next : m->generation)                     \
    C(FREED_TAKEN, FREED, .ok = false,                                     \
      .generation = m->next ? m->next : m->generation)                     \
    C(FREED_OTHER, FREED, .ok = true, .generation = 77)                    \
    C(WON, ARBITRATED, .ok = true, .generation = m->generation)            \
    C(LOST, ARBITRATED, .ok = false, .generation = m->generation)          \
    C(WON_OTHER, ARBITRATED, .ok = true, .generation = 77)                 \
    C(TIMEOUT_EARLY, TIMEOUT, .ok = true)                                  \
    C(TIMEOUT_BEAT, TIMEOUT, .now = NOW + 100 * MS)                        \
    C(TIMEOUT_SILENT, TIMEOUT, .now = NOW + 1000 * MS)                     \
    C(TIMEOUT_PATIENCE, TIMEOUT, .now = NOW + 2500 * MS)
