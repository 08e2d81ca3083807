/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cases.tbl.h - each event of the backup, in the variants whose answers differ
 *
 * C(VARIANT, EVENT, fields): what the event says, m being the core in its
 * typical state (test-machine.c), which it is in at the time NOW. Read by
 * tests/common/machine-table.h and docs/print-transitions.c.
 */
#define CASES(C)                                                           \
    C(CONNECTED, CONNECTED, .detect = 1000 * MS, .lease = 800 * MS,        \
      .margin = 100 * MS)                                                  \
    C(HEARD, HEARD, .ok = true)                                            \
    C(ENTRIES, ENTRIES, .position = m->received + 1, .stamp = 77)          \
    C(ENTRIES_OLD, ENTRIES, .position = m->received, .stamp = 77)          \
    C(PROTECTED, PROTECTED, .position = m->received)                       \
    C(PROTECTED_BAD, PROTECTED, .position = m->received + 1)               \
    C(RELINQUISH, RELINQUISH, .position = 3)                               \
    C(RELINQUISH_ACK, RELINQUISH_ACK, .position = 3)                       \
    C(END_UNPROTECT, END, .code = LC_END_UNPROTECT)                        \
    C(END_POWER_OFF, END, .code = LC_END_POWER_OFF)                        \
    C(CLONE_FAILED, CLONE_FAILED, .ok = true)                              \
    C(CLOSED, CLOSED, .ok = true)                                          \
    C(LOADED, LOADED, .position = 0)                                       \
    C(LOAD_FAILED, LOAD_FAILED, .ok = false)                               \
    C(EXECUTED, EXECUTED, .position = m->executed + 1)                     \
    C(EXECUTED_ALL, EXECUTED, .position = m->received)                     \
    C(DISK, DISK, .ok = true)                                              \
    C(DISK_FAILED, DISK, .ok = false)                                      \
    C(WENT_LIVE, WENT_LIVE, .ok = true)                                    \
    C(LIVE_FAILED, LIVE_FAILED, .ok = true)                                \
    C(DIVERGED, DIVERGED, .position = 3)                                   \
    C(POWERED_OFF, POWERED_OFF, .position = 3)                             \
    C(QEMU_DIED, QEMU_DIED, .ok = true)                                    \
    C(PREPARED, PREPARED, .ok = true)                                      \
    C(WON, ARBITRATED, .ok = true)                                         \
    C(LOST, ARBITRATED, .ok = false)                                       \
    C(PEER_FENCED, PEER_FENCED, .ok = true)                                \
    C(FENCE_FAILED, PEER_FENCED, .ok = false)                              \
    C(GIVE_UP, GIVE_UP, .ok = true)                                        \
    C(TIMEOUT_EARLY, TIMEOUT, .ok = true)                                  \
    C(TIMEOUT_BEAT, TIMEOUT, .now = NOW + 100 * MS)                        \
    C(TIMEOUT_HALF, TIMEOUT, .now = NOW + 500 * MS)                        \
    C(TIMEOUT_STALL, TIMEOUT, .now = NOW + 800 * MS)                       \
    C(TIMEOUT_LATER, TIMEOUT, .now = NOW + 1000 * MS)
